//! Which I/O addresses of a device's DMA window are free, in IOMMU pages of 4 KiB.
//!
//! The lowest free run is taken, from the window's bottom on, so that an I/O address is never by
//! chance the physical one. The first page stays free: 0 stands for "none" in too many places.

use alloc::vec::Vec;

/// Bytes of an IOMMU page.
pub const IOMMU_PAGE_BYTES: u64 = 4096;

/// The pages of one window.
#[derive(Clone, Debug)]
pub struct Iovas {
    /// One bit a page, set if it is taken; pages behind the last word are free.
    taken: Vec<u64>,
    pages: usize,
    /// No page below this one is free.
    lowest: usize,
}

/// How many IOMMU pages `bytes` bytes at `address` touch.
pub const fn pages_touched(address: u64, bytes: u64) -> u64 {
    (address % IOMMU_PAGE_BYTES).saturating_add(bytes).div_ceil(IOMMU_PAGE_BYTES)
}

impl Iovas {
    /// A window of `bytes` bytes.
    pub const fn new(bytes: u64) -> Self {
        Self { taken: Vec::new(), pages: (bytes / IOMMU_PAGE_BYTES) as usize, lowest: 1 }
    }

    fn is_free(&self, page: usize) -> bool {
        self.taken.get(page / 64).is_none_or(|word| word >> (page % 64) & 1 == 0)
    }

    fn set(&mut self, page: usize, taken: bool) {
        if page / 64 >= self.taken.len() {
            self.taken.resize(page / 64 + 1, 0);
        }
        let bit = 1 << (page % 64);
        let word = &mut self.taken[page / 64];
        *word = if taken { *word | bit } else { *word & !bit };
    }

    /// Takes `count` consecutive pages (at least 1); the offset of the first in the window.
    pub fn take(&mut self, count: u64) -> Option<u64> {
        let count = usize::try_from(count.max(1)).ok()?;
        let (mut first, mut length) = (self.lowest, 0);
        for page in self.lowest..self.pages {
            if !self.is_free(page) {
                (first, length) = (page + 1, 0);
                continue;
            }
            length += 1;
            if length == count {
                (first..=page).for_each(|page| self.set(page, true));
                if first == self.lowest {
                    self.lowest = page + 1;
                }
                return Some(first as u64 * IOMMU_PAGE_BYTES);
            }
        }
        None
    }

    /// Gives back what [`Iovas::take`] returned for `count` pages.
    pub fn give_back(&mut self, offset: u64, count: u64) {
        let first = (offset / IOMMU_PAGE_BYTES) as usize;
        let end = first.saturating_add(count as usize).min(self.pages);
        (first.max(1)..end).for_each(|page| self.set(page, false));
        self.lowest = self.lowest.min(first.max(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::mix;

    const PAGE: u64 = IOMMU_PAGE_BYTES;

    #[test]
    fn the_lowest_free_run_is_given_and_never_page_0() {
        let mut iovas = Iovas::new(16 * PAGE);
        assert_eq!(iovas.take(1), Some(PAGE));
        assert_eq!(iovas.take(2), Some(2 * PAGE));
        iovas.give_back(PAGE, 1);
        assert_eq!(iovas.take(2), Some(4 * PAGE));
        assert_eq!(iovas.take(1), Some(PAGE));
    }

    #[test]
    fn a_full_window_says_so_and_recovers() {
        let mut iovas = Iovas::new(4 * PAGE);
        assert_eq!(iovas.take(4), None, "page 0 is not given");
        assert_eq!(iovas.take(3), Some(PAGE));
        assert_eq!(iovas.take(1), None);
        iovas.give_back(2 * PAGE, 1);
        assert_eq!(iovas.take(1), Some(2 * PAGE));
        assert_eq!(Iovas::new(0).take(1), None);
    }

    #[test]
    fn no_page_is_ever_given_twice() {
        let mut iovas = Iovas::new(300 * PAGE);
        let mut owners = [false; 300];
        let mut held: Vec<(u64, u64)> = Vec::new();
        for step in 0..20_000_u64 {
            let drawn = mix(step);
            if drawn.is_multiple_of(2) || held.is_empty() {
                let count = 1 + mix(drawn) % 70;
                let Some(offset) = iovas.take(count) else { continue };
                let first = (offset / PAGE) as usize;
                let pages = &mut owners[first..first + count as usize];
                assert!(first > 0 && !pages.contains(&true), "step {step}");
                pages.fill(true);
                held.push((offset, count));
            } else {
                let (offset, count) = held.swap_remove((drawn >> 1) as usize % held.len());
                iovas.give_back(offset, count);
                owners[(offset / PAGE) as usize..][..count as usize].fill(false);
            }
        }
    }

    #[test]
    fn a_buffer_touches_the_pages_that_its_bytes_lie_in() {
        assert_eq!(pages_touched(0x1000, 4096), 1);
        assert_eq!(pages_touched(0x1fff, 2), 2);
        assert_eq!(pages_touched(0x1fff, 1), 1);
        assert_eq!(pages_touched(0x1800, 8192), 3);
    }
}
