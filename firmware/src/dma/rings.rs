//! Ring memory: where descriptor tables, available and used rings lie.
//!
//! Under swiotlb they come from a few pages that are shared at boot ([`SharedPages`]) and are
//! never copied. Without it they are ordinary memory, placed as the scenario says ([`OwnUnits`]):
//! whether a queue's rings lie in one unit or in two decides who destroys whose page.
#![expect(unsafe_code, reason = "ring memory outlives borrows: it is allocated by layout")]

use crate::bootargs::Rings;
use crate::dma::Direction;
use alloc::alloc::{alloc, dealloc};
use alloc::vec::Vec;
use core::alloc::Layout;

/// The page size of ring memory: what `virtio-drivers` allocates in.
pub const PAGE_BYTES: usize = 4096;
/// The coarsest protection unit that rings are kept apart by.
const UNIT_BYTES: usize = 64 << 10;

/// Bytes of the area that [`SharedPages`] hands out.
pub const SHARED_BYTES: u64 = (u64::BITS as usize * PAGE_BYTES) as u64;

/// Pages that are shared with the host, handed out to rings.
#[derive(Clone, Debug)]
pub struct SharedPages {
    base: u64,
    /// One bit a page, set if it is taken.
    taken: u64,
}

impl SharedPages {
    /// Hands out the [`SHARED_BYTES`] bytes at `base`.
    pub const fn new(base: u64) -> Self {
        Self { base, taken: 0 }
    }

    /// Consecutive pages for `bytes` bytes, or `None` if there are none left.
    pub fn take(&mut self, bytes: usize) -> Option<u64> {
        let pages = pages(bytes)?;
        let mask = mask(pages);
        let first = (0..=u64::BITS - pages).find(|first| self.taken & (mask << first) == 0)?;
        self.taken |= mask << first;
        Some(self.base + u64::from(first) * PAGE_BYTES as u64)
    }

    /// Takes back what [`SharedPages::take`] gave for `bytes` bytes; anything else is ignored.
    pub fn give_back(&mut self, address: u64, bytes: usize) {
        let offset = address.wrapping_sub(self.base);
        if let Some(pages) = pages(bytes)
            && offset < SHARED_BYTES
        {
            let first = (offset / PAGE_BYTES as u64) as u32;
            self.taken &= !(mask(pages).checked_shl(first).unwrap_or(0));
        }
    }
}

fn pages(bytes: usize) -> Option<u32> {
    u32::try_from(bytes.div_ceil(PAGE_BYTES)).ok().filter(|pages| (1..=u64::BITS).contains(pages))
}

const fn mask(pages: u32) -> u64 {
    u64::MAX >> (u64::BITS - pages)
}

/// A block of ordinary memory in 64 KiB units that hold nothing but ring parts.
#[derive(Debug)]
struct Block {
    base: usize,
    layout: Layout,
    /// Bytes that are given out, from the start.
    used: usize,
    parts: usize,
    owner: usize,
}

/// Ring memory out of ordinary memory.
#[derive(Debug, Default)]
pub struct OwnUnits {
    blocks: Vec<Block>,
}

impl OwnUnits {
    /// No ring memory yet.
    pub const fn new() -> Self {
        Self { blocks: Vec::new() }
    }

    /// `bytes` bytes (whole pages) for a queue of the device `owner`, not zeroed. The driver's
    /// part (descriptors, available ring) is asked for first, then the device's (used ring);
    /// a legacy queue asks for [`Direction::Both`] at once, its last page being the used ring.
    pub fn take(
        &mut self,
        owner: usize,
        bytes: usize,
        direction: Direction,
        rings: Rings,
    ) -> Option<u64> {
        match (rings, direction) {
            (Rings::Together, Direction::FromDevice) => {
                self.take_beside(owner, bytes).or_else(|| self.take_new(owner, bytes, 0))
            }
            (Rings::Apart, Direction::Both) => {
                // One contiguous block whose last page begins the second unit.
                let before = bytes.checked_sub(PAGE_BYTES)?;
                self.take_new(owner, bytes, before.wrapping_neg() % UNIT_BYTES)
            }
            (Rings::Together, Direction::ToDevice | Direction::Both)
            | (Rings::Apart, Direction::ToDevice | Direction::FromDevice) => {
                self.take_new(owner, bytes, 0)
            }
        }
    }

    /// Space behind the part that the same owner took last, if that unit has any.
    fn take_beside(&mut self, owner: usize, bytes: usize) -> Option<u64> {
        let block = self.blocks.last_mut().filter(|block| block.owner == owner)?;
        let end = block.used.checked_add(bytes).filter(|end| *end <= block.layout.size())?;
        let address = block.base + block.used;
        block.used = end;
        block.parts += 1;
        Some(address as u64)
    }

    fn take_new(&mut self, owner: usize, bytes: usize, skip: usize) -> Option<u64> {
        let used = skip.checked_add(bytes)?;
        let size = used.max(1).checked_next_multiple_of(UNIT_BYTES)?;
        let layout = Layout::from_size_align(size, UNIT_BYTES).ok()?;
        // SAFETY: the size is not zero.
        let base = unsafe { alloc(layout) }.expose_provenance();
        if base == 0 {
            return None;
        }
        self.blocks.push(Block { base, layout, used, parts: 1, owner });
        Some((base + skip) as u64)
    }

    /// Takes back one part; its block is freed with the last. An address that was never given is
    /// ignored.
    pub fn give_back(&mut self, address: u64) {
        let address = address as usize;
        let within = |block: &Block| (block.base..block.base + block.used).contains(&address);
        if let Some(index) = self.blocks.iter().position(within) {
            self.blocks[index].parts -= 1;
            if self.blocks[index].parts == 0 {
                let block = self.blocks.swap_remove(index);
                let start = core::ptr::with_exposed_provenance_mut(block.base);
                // SAFETY: it was allocated with this layout and its last part came back.
                unsafe { dealloc(start, block.layout) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: u64 = UNIT_BYTES as u64;

    #[test]
    fn shared_pages_are_given_once_and_given_again_after_return() {
        let mut shared = SharedPages::new(0x10_0000);
        let all: Vec<u64> = (0..64).map(|_| shared.take(1).expect("there are 64")).collect();
        assert!(all.windows(2).all(|pair| pair[1] == pair[0] + 4096));
        assert_eq!(shared.take(1), None);
        shared.give_back(all[7], 4096);
        shared.give_back(all[8], 1);
        assert_eq!(shared.take(8192), Some(all[7]));
    }

    #[test]
    fn shared_pages_refuse_what_they_cannot_hold() {
        let mut shared = SharedPages::new(0);
        assert_eq!(shared.take(0), None);
        assert_eq!(shared.take(SHARED_BYTES as usize + 1), None);
        assert_eq!(shared.take(SHARED_BYTES as usize), Some(0));
        shared.give_back(u64::MAX, 1);
        assert_eq!(shared.take(1), None);
    }

    fn queue(rings: Rings) -> (u64, u64) {
        let mut units = OwnUnits::new();
        let driver = units.take(0, 4096, Direction::ToDevice, rings).expect("memory");
        let device = units.take(0, 4096, Direction::FromDevice, rings).expect("memory");
        units.give_back(driver);
        units.give_back(device);
        assert!(units.blocks.is_empty(), "all came back");
        (driver, device)
    }

    #[test]
    fn rings_together_share_one_unit() {
        let (driver, device) = queue(Rings::Together);
        assert_eq!(driver / UNIT, device / UNIT);
        assert_ne!(driver, device);
    }

    #[test]
    fn rings_apart_share_none() {
        let (driver, device) = queue(Rings::Apart);
        assert_ne!(driver / UNIT, device / UNIT);
    }

    #[test]
    fn two_queues_of_a_device_never_share_a_unit() {
        let mut units = OwnUnits::new();
        let mut taken = Vec::new();
        for _queue in 0..2 {
            let driver = units.take(1, 4096, Direction::ToDevice, Rings::Together);
            let device = units.take(1, 4096, Direction::FromDevice, Rings::Together);
            taken.push((driver.expect("memory") / UNIT, device.expect("memory") / UNIT));
        }
        assert_ne!(taken[0].0, taken[1].0);
        assert_eq!(taken[0].0, taken[0].1);
        assert_eq!(taken[1].0, taken[1].1);
    }

    #[test]
    fn a_legacy_queues_used_ring_begins_a_unit_when_apart() {
        let mut units = OwnUnits::new();
        let together = units.take(0, 8192, Direction::Both, Rings::Together).expect("memory");
        let apart = units.take(0, 8192, Direction::Both, Rings::Apart).expect("memory");
        assert_eq!(together / UNIT, (together + 4096) / UNIT);
        assert_eq!(apart % UNIT, UNIT - 4096);
    }
}
