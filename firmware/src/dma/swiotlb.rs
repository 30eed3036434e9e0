//! swiotlb: every buffer that a device shall see is copied to a slot of a pool that the guest
//! shared with the host once, at boot.
//!
//! The guest pays with copies: one for a buffer that the device only reads, two for one that it
//! may write (out as well, so that bytes the device leaves alone survive). The host sees the
//! slots and nothing else, so no page of the guest ever changes state for I/O. This is what
//! pseries' secure guests, s390 PV, SEV and TDX do (kernel `kernel/dma/swiotlb.c`).
//!
//! This file is the book-keeping. It moves no byte: the probe point `swiotlb_bounce` does.

use crate::dma::slots::{NoSlots, SET_SLOTS, SLOT_BYTES, Slots};
use alloc::vec;
use alloc::vec::Vec;

/// A pool is a whole number of these.
pub const POOL_GRANULE_BYTES: u64 = (SLOT_BYTES * SET_SLOTS) as u64;

/// Most buffers of one request: header, data, status, indirect table.
const RESERVED_MAX: usize = 8;

/// A buffer that has slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// Where the buffer itself lies.
    pub original: u64,
    /// Its size; 0 if the slot begins no mapping.
    pub bytes: usize,
}

/// A pool and who has which of its slots.
#[derive(Clone, Debug)]
pub struct Swiotlb {
    base: u64,
    slots: Slots,
    /// By first slot.
    mappings: Vec<Mapping>,
    /// Slots set aside for the request that is being built: `share` of `virtio-drivers` cannot
    /// fail, so what can fail is done before the driver is called.
    reserved: Vec<(usize, usize)>,
}

impl Swiotlb {
    /// The pool of `bytes` bytes at `base`, a whole number of [`POOL_GRANULE_BYTES`] (the rest
    /// is not used).
    pub fn new(base: u64, bytes: u64) -> Self {
        let slots = Slots::new((bytes / POOL_GRANULE_BYTES) as usize);
        let mappings = vec![Mapping::default(); slots.total()];
        Self { base, slots, mappings, reserved: Vec::with_capacity(RESERVED_MAX) }
    }

    /// The address behind the last slot.
    pub fn end(&self) -> u64 {
        self.base + (self.slots.total() * SLOT_BYTES) as u64
    }

    /// Whether `address` lies in the pool.
    pub fn contains(&self, address: u64) -> bool {
        (self.base..self.end()).contains(&address)
    }

    /// How many slots are taken.
    pub const fn slots_used(&self) -> usize {
        self.slots.used()
    }

    /// Sets slots aside for buffers of these sizes: all of them, or none.
    ///
    /// # Errors
    /// As [`Slots::take`].
    pub fn reserve(&mut self, sizes: impl IntoIterator<Item = usize>) -> Result<(), NoSlots> {
        for bytes in sizes {
            match self.slots.take(bytes) {
                Ok(slot) => self.reserved.push((slot, bytes)),
                Err(why) => {
                    self.cancel();
                    return Err(why);
                }
            }
        }
        Ok(())
    }

    /// Gives back what was set aside and not used.
    pub fn cancel(&mut self) {
        for (slot, bytes) in self.reserved.drain(..) {
            self.slots.give_back(slot, bytes);
        }
    }

    /// Slots for the buffer at `original`, from those set aside if one of that size is among
    /// them. Returns their address.
    ///
    /// # Errors
    /// As [`Slots::take`].
    pub fn map(&mut self, original: u64, bytes: usize) -> Result<u64, NoSlots> {
        let slot = match self.reserved.iter().position(|(_, size)| *size == bytes) {
            Some(index) => self.reserved.remove(index).0,
            None => self.slots.take(bytes)?,
        };
        self.mappings[slot] = Mapping { original, bytes };
        Ok(self.base + (slot * SLOT_BYTES) as u64)
    }

    /// The mapping that begins at `address`, if one does.
    pub fn mapping(&self, address: u64) -> Option<Mapping> {
        let mapping = *self.mappings.get(self.slot_at(address)?)?;
        (mapping.bytes != 0).then_some(mapping)
    }

    /// Ends the mapping that begins at `address`; nothing happens if none does.
    pub fn unmap(&mut self, address: u64) {
        if let (Some(mapping), Some(slot)) = (self.mapping(address), self.slot_at(address)) {
            self.mappings[slot] = Mapping::default();
            self.slots.give_back(slot, mapping.bytes);
        }
    }

    fn slot_at(&self, address: u64) -> Option<usize> {
        let offset = address.checked_sub(self.base)? as usize;
        offset.is_multiple_of(SLOT_BYTES).then_some(offset / SLOT_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0x40_0000;

    fn one_set() -> Swiotlb {
        Swiotlb::new(BASE, POOL_GRANULE_BYTES)
    }

    #[test]
    fn a_mapping_is_known_by_its_address_until_it_ends() {
        let mut pool = one_set();
        let address = pool.map(0x1234, 100).expect("the pool is empty");
        assert!(pool.contains(address));
        assert_eq!(pool.mapping(address), Some(Mapping { original: 0x1234, bytes: 100 }));
        assert_eq!(pool.mapping(address + SLOT_BYTES as u64), None);
        assert_eq!(pool.mapping(address + 1), None);
        pool.unmap(address);
        assert_eq!(pool.mapping(address), None);
        assert_eq!(pool.slots_used(), 0);
    }

    #[test]
    fn a_reservation_is_all_or_nothing() {
        let mut pool = one_set();
        let half = POOL_GRANULE_BYTES as usize / 2;
        assert_eq!(pool.reserve([16, half, half]), Err(NoSlots::Full));
        assert_eq!(pool.slots_used(), 0);
        assert_eq!(pool.reserve([16, half]), Ok(()));
        assert_eq!(pool.slots_used(), 1 + SET_SLOTS / 2);
    }

    #[test]
    fn what_was_reserved_is_what_is_mapped() {
        let mut pool = one_set();
        pool.reserve([16, 4096, 1]).expect("the pool is empty");
        let used = pool.slots_used();
        for bytes in [16, 4096, 1] {
            pool.map(0, bytes).expect("it was reserved");
        }
        assert_eq!(pool.slots_used(), used);
        pool.cancel();
        assert_eq!(pool.slots_used(), used, "nothing was left to give back");
    }

    #[test]
    fn an_unused_reservation_is_given_back() {
        let mut pool = one_set();
        pool.reserve([16, 4096]).expect("the pool is empty");
        pool.cancel();
        assert_eq!(pool.slots_used(), 0);
    }

    #[test]
    fn an_address_that_was_never_given_ends_nothing() {
        let mut pool = one_set();
        let address = pool.map(0, 4096).expect("the pool is empty");
        for wrong in [0, BASE - 1, address + 1, address + SLOT_BYTES as u64, u64::MAX] {
            pool.unmap(wrong);
        }
        assert_eq!(pool.slots_used(), 2);
    }
}
