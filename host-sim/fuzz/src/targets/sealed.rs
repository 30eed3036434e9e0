//! Sealed pages in a hostile host's hands: changed, swapped, replayed. What comes back in is what
//! went out, or does not come back.

use super::fake::{World, config};
use arbitrary::{Result, Unstructured};
use ultravisor::PageState;
use ultravisor_abi::{Gfn, UStatus, Ucall, UnitSize};

/// Units that are played with.
const UNITS: u64 = 4;
/// Actions of one host.
const ACTIONS_MAX: usize = 48;

struct Play {
    world: World,
    /// Ciphertexts that the host saw, each with the unit that it is of.
    kept: Vec<(u64, Vec<u8>)>,
    /// What the guest last wrote into each unit.
    meant: [u8; UNITS as usize],
}

impl Play {
    fn new() -> Self {
        let mut world = World::new(config(UnitSize::KIB_4));
        let meant = [1, 2, 3, 4];
        for (gfn, byte) in (0..).zip(meant) {
            world.fill(Gfn(gfn), byte);
        }
        assert_eq!(world.guest(Ucall::Esm, [1, 1]), UStatus::Success);
        Self { world, kept: Vec::new(), meant }
    }

    fn act(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let unit = u.int_in_range(0..=UNITS - 1)?;
        let (gfn, out) = (Gfn(unit), self.world.state(Gfn(unit)) == PageState::PagedOut);
        match u.int_in_range(0..=6)? {
            0 | 1 if !out => self.away(unit),
            2 if out => {
                let (at, bits) = (u.int_in_range(0..=4095)?, u.arbitrary::<u8>()?);
                let byte = self.world.normal(gfn)[at as usize] ^ bits;
                self.world.host_write(gfn, at, &[byte]);
            }
            3 if out && !self.kept.is_empty() => {
                let replayed = u.choose_index(self.kept.len())?;
                self.world.host_write(gfn, 0, &self.kept[replayed].1);
            }
            4 if !out => {
                let byte = u.arbitrary()?;
                self.world.fill(gfn, byte);
                self.meant[unit as usize] = byte;
            }
            _ if out => self.back(unit),
            _ => {}
        }
        Ok(())
    }

    /// The host takes a unit.
    fn away(&mut self, unit: u64) {
        assert_eq!(self.world.page_out(Gfn(unit)), UStatus::Success);
        let sealed = self.world.normal(Gfn(unit));
        assert!(self.kept.iter().all(|(_, other)| *other != sealed), "a ciphertext comes twice");
        self.kept.push((unit, sealed));
    }

    /// The guest touches a unit that is out.
    fn back(&mut self, unit: u64) {
        let last = self.kept.iter().rev().find(|(of, _)| *of == unit);
        let sealed = last.map(|(_, bytes)| bytes).expect("it went out");
        let untouched = self.world.normal(Gfn(unit)) == *sealed;
        let loaded = self.world.load(Gfn(unit));
        assert_eq!(loaded.is_ok(), untouched, "unit {unit}");
        match loaded {
            Ok(bytes) => assert!(bytes.iter().all(|byte| *byte == self.meant[unit as usize])),
            Err(_) => assert_eq!(self.world.seen(Gfn(unit)), None, "nothing of it is seen"),
        }
    }
}

pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let mut play = Play::new();
    for _ in 0..ACTIONS_MAX {
        if u.is_empty() || play.act(&mut u).is_err() {
            break;
        }
    }
}
