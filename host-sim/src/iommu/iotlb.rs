//! A vhost back end's IOTLB: which pages it has asked QEMU for.
//!
//! It remembers as many translations as the kernel's vhost does and forgets the oldest first
//! (kernel `drivers/vhost/vhost.c`, `max_iotlb_entries`). Here each is one page, since a TCE is.

use super::PAGE_BYTES;
use std::collections::{BTreeSet, VecDeque};
use ultravisor_abi::DmaAddr;

/// Most translations.
pub const ENTRIES_MAX: usize = 2048;

/// What one device's back end knows.
#[derive(Clone, Debug, Default)]
pub struct Iotlb {
    /// Pages: QEMU answers with all that the translation allows.
    known: BTreeSet<u64>,
    /// The same, oldest first.
    order: VecDeque<u64>,
    hits: u64,
}

impl Iotlb {
    /// Looks up each page of a range, and learns what it did not know. Returns the first address
    /// in each page that it had to ask for.
    pub fn look_up(&mut self, at: DmaAddr, bytes: u64) -> Vec<DmaAddr> {
        let first = at.0 / PAGE_BYTES;
        let last = at.0.saturating_add(bytes.saturating_sub(1)) / PAGE_BYTES;
        let mut asked = Vec::new();
        for page in first..=last {
            if self.known.contains(&page) {
                self.hits += 1;
            } else {
                asked.push(DmaAddr(at.0.max(page * PAGE_BYTES)));
                self.learn(page);
            }
        }
        asked
    }

    fn learn(&mut self, page: u64) {
        while self.known.len() >= ENTRIES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.known.insert(page);
        self.order.push_back(page);
    }

    /// Forgets a page: its translation changed.
    pub fn forget(&mut self, page: u64) {
        if self.known.remove(&page) {
            self.order.retain(|known| *known != page);
        }
    }

    /// Forgets all: the device was reset.
    pub fn forget_all(&mut self) {
        self.known.clear();
        self.order.clear();
    }

    /// How many look-ups found what they looked for since this was asked last.
    pub fn take_hits(&mut self) -> u64 {
        std::mem::take(&mut self.hits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_asked_for_once() {
        let mut iotlb = Iotlb::default();
        assert_eq!(iotlb.look_up(DmaAddr(0x1ff0), 0x20), [DmaAddr(0x1ff0), DmaAddr(0x2000)]);
        assert_eq!(iotlb.look_up(DmaAddr(0x1000), 0x2000), []);
        assert_eq!((iotlb.take_hits(), iotlb.take_hits()), (2, 0));
    }

    #[test]
    fn a_page_whose_translation_changed_is_asked_for_again() {
        let mut iotlb = Iotlb::default();
        iotlb.look_up(DmaAddr(0), 0x2000);
        iotlb.forget(0);
        iotlb.forget(77);
        assert_eq!(iotlb.look_up(DmaAddr(0), 0x2000), [DmaAddr(0)]);
        iotlb.forget_all();
        assert_eq!(iotlb.look_up(DmaAddr(0), 0x2000).len(), 2);
    }

    #[test]
    fn the_oldest_page_is_forgotten_when_there_is_no_room() {
        let mut iotlb = Iotlb::default();
        let room = ENTRIES_MAX as u64 * PAGE_BYTES;
        assert_eq!(iotlb.look_up(DmaAddr(0), room).len(), ENTRIES_MAX);
        assert_eq!(iotlb.look_up(DmaAddr(room), 1).len(), 1);
        assert_eq!(iotlb.look_up(DmaAddr(0x1000), 1).len(), 0);
        assert_eq!(iotlb.look_up(DmaAddr(0), 1).len(), 1, "it was the oldest");
    }
}
