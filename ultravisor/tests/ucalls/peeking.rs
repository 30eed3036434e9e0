//! Looking at guest memory without changing it: as the guest, the ultravisor and the host see it.

use crate::fake::{LOW, UNITS, World, config, pattern};
use ultravisor::PageState;
use ultravisor::memory::Memory;
use ultravisor::platform::{Config, Platform};
use ultravisor_abi::{Gfn, Gpa, UStatus, UnitSize};

/// A way to look.
type Peek = fn(&Memory, Gpa, &mut [u8]) -> bool;

const PEEKS: [Peek; 3] = [Memory::peek, Memory::peek_inside, Memory::peek_outside];

/// `bytes` bytes at `gpa`, if they can be had.
fn looked(world: &World, peek: Peek, gpa: Gpa, bytes: usize) -> Option<Vec<u8>> {
    let mut out = vec![0xee; bytes];
    peek(world.uv.memory(), gpa, &mut out).then_some(out)
}

/// The last hundred bytes of unit 3 and the first two hundred of unit 4.
fn across(world: &World, peek: Peek) -> Option<Vec<u8>> {
    looked(world, peek, Gpa(world.unit.start(Gfn(4)).0 - 100), 300)
}

fn both(first: u8, second: u8) -> Vec<u8> {
    [vec![first; 100], vec![second; 200]].concat()
}

#[test]
fn outside_of_ram_nobody_sees_anything() {
    for unit in UNITS {
        let world = World::secure(config(unit));
        let (hole, end) = (Gpa(LOW * unit.bytes()), Gpa((1 << 32) + 4 * unit.bytes()));
        for peek in PEEKS {
            for start in [hole, end] {
                assert_eq!(looked(&world, peek, start, 1), None, "{start:?}");
                assert_eq!(looked(&world, peek, Gpa(start.0 - 1), 2), None, "{start:?}");
                assert!(looked(&world, peek, Gpa(start.0 - 1), 1).is_some(), "{start:?}");
            }
            assert_eq!(looked(&world, peek, Gpa(u64::MAX), 1), None);
        }
    }
}

#[test]
fn the_ultravisor_sees_what_the_guest_wrote_wherever_it_lies() {
    for unit in UNITS {
        let mut world = World::secure(config(unit));
        let whole = both(pattern(Gfn(3)), pattern(Gfn(4)));
        for peek in [PEEKS[0], PEEKS[1]] {
            assert_eq!(across(&world, peek), Some(whole.clone()));
        }
        assert_eq!(world.page_out(Gfn(4)), UStatus::Success);
        assert_eq!(across(&world, Memory::peek), None, "the guest would fault");
        assert_eq!(across(&world, Memory::peek_inside), Some(whole));
        assert_eq!(world.share(3, 1), UStatus::Success);
        world.host_write(Gfn(3), unit.bytes() - 100, &[7; 100]);
        assert_eq!(across(&world, Memory::peek_inside), Some(both(7, pattern(Gfn(4)))));
    }
}

#[test]
fn the_host_sees_of_a_secure_unit_what_a_page_out_would_hand_it() {
    for unit in UNITS {
        let mut world = World::secure(config(unit));
        // Neither at the unit's start, nor within one page of the CPU's.
        let (at, bytes) = (Gpa(unit.start(Gfn(3)).0 + unit.bytes() - 200), 200);
        let before = world.snapshot();
        let seen = looked(&world, Memory::peek_outside, at, bytes).expect("it is RAM");
        let again = looked(&world, Memory::peek_outside, at, bytes).expect("it is RAM");
        assert_eq!(seen, again, "looking uses no nonce up");
        assert_eq!(world.snapshot(), before, "looking converts nothing");
        assert_ne!(seen, vec![pattern(Gfn(3)); bytes]);
        assert_eq!(world.page_out(Gfn(3)), UStatus::Success);
        let sealed = world.normal(Gfn(3));
        assert_eq!(seen, sealed[sealed.len() - bytes..]);
        assert_eq!(looked(&world, Memory::peek_outside, at, bytes), Some(seen));
    }
}

#[test]
fn the_host_sees_across_units_each_as_its_state_says() {
    for platform in [Platform::Pef, Platform::PefUnsealed] {
        let config = Config { platform, ..config(UnitSize::KIB_64) };
        let mut world = World::secure(config);
        assert_eq!(world.share(4, 1), UStatus::Success);
        world.host_write(Gfn(4), 0, &[9; 200]);
        let seen = across(&world, Memory::peek_outside).expect("it is RAM");
        assert_eq!(seen[100..], [9; 200]);
        let is_plain = seen[..100] == [pattern(Gfn(3)); 100];
        assert_eq!(is_plain, platform == Platform::PefUnsealed);
        assert_eq!(world.state(Gfn(3)), PageState::Secure);
    }
}
