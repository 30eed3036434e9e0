//! Watchpoints: which accesses they mean, and which accesses an instruction is about to make.

use crate::guest_bus::Hidden;
use iced_x86::{Decoder, DecoderOptions, InstructionInfoFactory, OpAccess, Register};
use std::ops::Range;
use ultravisor_cpu::{Cpu, Reg};

/// Watchpoints at one time: each may hide pages.
pub const WATCHES_MAX: usize = 64;
/// Most bytes of one watchpoint.
pub const WATCH_BYTES_MAX: u64 = 4096;

/// Which accesses are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Stores.
    Write,
    /// Loads.
    Read,
    /// Both.
    Any,
}

/// One watchpoint. Guest-virtual addresses are taken as guest-physical ones: boot protocol `elf64`
/// maps the low 4 GiB so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watch {
    /// Its first byte.
    pub address: u64,
    /// How many bytes.
    pub bytes: u64,
    /// Which accesses.
    pub kind: Kind,
}

/// One access of an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Access {
    range: Range<u64>,
    reads: bool,
    writes: bool,
}

/// The pages that `watches` lie in.
pub fn hidden(watches: &[Watch]) -> Hidden {
    let mut hidden = Hidden::default();
    for watch in watches {
        let last = watch.address.saturating_add(watch.bytes.saturating_sub(1));
        for page in (watch.address >> 12)..=(last >> 12) {
            if watch.kind != Kind::Write {
                hidden.reads.insert(page << 12);
            }
            if watch.kind != Kind::Read {
                hidden.writes.insert(page << 12);
            }
        }
    }
    hidden
}

/// The watchpoint that the instruction `bytes` at the CPU's `rip` is about to hit.
pub fn hit(watches: &[Watch], cpu: &Cpu, bytes: &[u8]) -> Option<Watch> {
    let accesses = accesses(cpu, bytes);
    watches.iter().copied().find(|watch| {
        let end = watch.address.saturating_add(watch.bytes);
        accesses.iter().any(|access| {
            let meant = match watch.kind {
                Kind::Write => access.writes,
                Kind::Read => access.reads,
                Kind::Any => true,
            };
            meant && access.range.start < end && watch.address < access.range.end
        })
    })
}

/// What the instruction at `rip` is about to access.
fn accesses(cpu: &Cpu, bytes: &[u8]) -> Vec<Access> {
    let mut decoder = Decoder::with_ip(cpu.bitness(), bytes, cpu.regs.rip, DecoderOptions::NONE);
    let instruction = decoder.decode();
    let mut factory = InstructionInfoFactory::new();
    let used = factory.info(&instruction).used_memory().to_vec();
    let accesses = used.iter().filter_map(|memory| {
        let start = memory.virtual_address(0, |register, _, _| value(cpu, register))?;
        // A string instruction without a known size is one that is repeated: one element is next.
        let bytes = (memory.memory_size().size() as u64).max(1);
        let (reads, writes) = match memory.access() {
            OpAccess::Read | OpAccess::CondRead => (true, false),
            OpAccess::Write | OpAccess::CondWrite => (false, true),
            OpAccess::ReadWrite | OpAccess::ReadCondWrite => (true, true),
            OpAccess::None | OpAccess::NoMemAccess => return None,
        };
        Some(Access { range: start..start.saturating_add(bytes), reads, writes })
    });
    accesses.collect()
}

/// The value of a register in an address.
#[expect(clippy::wildcard_enum_match_arm, reason = "iced's enum: the others are no part of one")]
fn value(cpu: &Cpu, register: Register) -> Option<u64> {
    Some(match register {
        Register::ES | Register::CS | Register::SS | Register::DS => 0,
        Register::FS => cpu.regs.fs_base(),
        Register::GS => cpu.regs.gs_base(),
        _ => {
            let full = register.full_register();
            let number = (full as usize).checked_sub(Register::RAX as usize)?;
            let value = cpu.regs.get(*Reg::ALL.get(number)?);
            match register.size() {
                8 => value,
                4 => value & 0xffff_ffff,
                2 => value & 0xffff,
                _ => value & 0xff,
            }
        }
    })
}
