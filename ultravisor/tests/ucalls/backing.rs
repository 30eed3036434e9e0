//! How much real memory guest memory may take: at the bound, and one past it.

use crate::fake::{BACKED_BYTES_MAX, World, config};
use ultravisor::Ultravisor;
use ultravisor::platform::{Config, RamRange};
use ultravisor_abi::{Gfn, Gpa, UStatus, UnitSize};

/// Reading what nobody wrote is counted in blocks of this size, and so many of them may be read.
const READ_BLOCK: u64 = 2 << 20;
const READ_BLOCKS: u64 = 1 << 15;
/// Where other RAM lies, far above the hole below 4 GiB.
const START: Gpa = Gpa(1 << 32);

/// RAM of `bytes` bytes from [`START`] on.
fn machine(bytes: u64) -> Ultravisor {
    let unit = UnitSize::KIB_64;
    let ram = vec![RamRange { start: START, bytes }];
    Ultravisor::new(Config { ram, ..config(unit) }).expect("address space is plenty")
}

#[test]
fn reads_are_counted_once_for_each_block_and_bounded() {
    let mut uv = machine((READ_BLOCKS + 1) * READ_BLOCK);
    let memory = uv.memory_mut();
    for _ in 0..2 {
        for block in 0..READ_BLOCKS {
            memory.note_read(Gpa(START.0 + block * READ_BLOCK));
            memory.note_read(Gpa(START.0 + (block + 1) * READ_BLOCK - 1));
        }
    }
    assert!(!memory.exhausted(), "so many may be read");
    memory.note_read(Gpa(START.0 + READ_BLOCKS * READ_BLOCK));
    assert!(memory.exhausted(), "one block more is too much");
}

#[test]
fn reads_outside_ram_cost_nothing() {
    let mut uv = machine(READ_BLOCK);
    let memory = uv.memory_mut();
    for block in 1..=READ_BLOCKS + 1 {
        memory.note_read(Gpa(START.0 + block * READ_BLOCK));
    }
    assert!(!memory.exhausted());
}

#[test]
fn units_are_backed_once_for_however_many_writes_and_bounded() {
    let unit = UnitSize::KIB_64;
    let units = BACKED_BYTES_MAX / (2 * unit.bytes());
    let mut uv = machine(BACKED_BYTES_MAX + unit.bytes());
    let memory = uv.memory_mut();
    let first = unit.gfn(START).0;
    for _ in 0..2 {
        (first..first + units).for_each(|gfn| memory.note_write(Gfn(gfn)));
    }
    assert_eq!(memory.backed_units(), units);
    assert!(!memory.exhausted(), "so many may be backed");
    memory.note_write(Gfn(first + units));
    assert!(memory.exhausted(), "one unit more is too much");
}

#[test]
fn units_outside_ram_are_not_backed() {
    let mut uv = machine(1 << 20);
    let memory = uv.memory_mut();
    // The last would be RAM if its address were cut to 64 bits.
    let beyond = (1 << 48) + UnitSize::KIB_64.gfn(START).0;
    for gfn in [0, u64::MAX, u64::MAX >> 16, beyond] {
        memory.note_write(Gfn(gfn));
    }
    assert_eq!(memory.backed_units(), 0);
}

#[test]
fn a_share_backs_its_units_and_is_refused_whole_past_the_bound() {
    let unit = UnitSize::KIB_64;
    let units = BACKED_BYTES_MAX / (2 * unit.bytes());
    let mut config = config(unit);
    let start = Gpa(1 << 33);
    config.ram.push(RamRange { start, bytes: BACKED_BYTES_MAX });
    let mut world = World::secure(config);
    let free = units - world.uv.memory().backed_units();
    assert_eq!(world.share(unit.gfn(start).0, free), UStatus::Success);
    assert_eq!(world.uv.memory().backed_units(), units);
    // What is shared already backs nothing new.
    assert_eq!(world.share(unit.gfn(start).0, free), UStatus::Success);
    assert!(!world.uv.memory().exhausted(), "so many may be backed");
    assert_eq!(world.share(unit.gfn(start).0, free + 1), UStatus::P2);
    assert!(world.uv.memory().exhausted(), "one unit more is too much");
}

/// Real memory of this process in bytes (proc(5), `/proc/pid/statm`).
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("this is Linux");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("the second number") * 4096
}

#[test]
fn a_pool_that_is_shared_before_anybody_uses_it_takes_no_real_memory() {
    let bytes = BACKED_BYTES_MAX / 2 - (4 << 20);
    let mut config = config(UnitSize::KIB_64);
    let start = Gpa(1 << 33);
    config.ram.push(RamRange { start, bytes });
    let mut world = World::secure(config);
    let before = resident();
    let (first, units) = (world.unit.gfn(start).0, bytes / world.unit.bytes());
    assert_eq!(world.share(first, units), UStatus::Success);
    assert_eq!(world.unshare(first, units), UStatus::Success);
    // Other tests of this program run meanwhile; all of them together take less.
    let taken = resident().saturating_sub(before);
    assert!(taken < bytes / 2, "{taken} bytes");
}
