//! Which slots of a bounce pool are free: swiotlb's search (kernel `kernel/dma/swiotlb.c`).
//!
//! The pool is a row of 2 KiB slots in sets of 128. A mapping takes consecutive slots of one set,
//! so it is never larger than 256 KiB. The search starts where the last one ended and goes round
//! once. There is one area: the guest has one CPU.

use alloc::vec::Vec;

/// Bytes of one slot.
pub const SLOT_BYTES: usize = 2048;
/// Slots of one set.
pub const SET_SLOTS: usize = 128;
/// Most bytes of one mapping.
pub const MAPPING_BYTES_MAX: usize = SLOT_BYTES * SET_SLOTS;
/// From this size on a mapping starts on a multiple of this size.
const PAGE_BYTES: usize = 4096;

/// Why no slots were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSlots {
    /// More than [`MAPPING_BYTES_MAX`]: the caller must split.
    TooLarge,
    /// No free run is long enough now.
    Full,
}

/// The slots of one pool.
#[derive(Clone, Debug)]
pub struct Slots {
    /// Per slot: how many free slots follow in its set, itself included; 0 if it is taken.
    free_run: Vec<u8>,
    /// Where the next search starts.
    next: usize,
    used: usize,
}

const fn slots_of(bytes: usize) -> usize {
    bytes.div_ceil(SLOT_BYTES)
}

impl Slots {
    /// `sets` sets, all free.
    pub fn new(sets: usize) -> Self {
        let free_run = (0..sets * SET_SLOTS).map(|slot| (SET_SLOTS - slot % SET_SLOTS) as u8);
        Self { free_run: free_run.collect(), next: 0, used: 0 }
    }

    /// How many slots there are.
    pub fn total(&self) -> usize {
        self.free_run.len()
    }

    /// How many are taken.
    pub const fn used(&self) -> usize {
        self.used
    }

    /// Takes consecutive slots for `bytes` bytes (at least 1) and returns the first.
    ///
    /// # Errors
    /// See [`NoSlots`].
    pub fn take(&mut self, bytes: usize) -> Result<usize, NoSlots> {
        if bytes > MAPPING_BYTES_MAX {
            return Err(NoSlots::TooLarge);
        }
        let wanted = slots_of(bytes.max(1));
        if wanted > self.total() - self.used {
            return Err(NoSlots::Full);
        }
        let stride = if bytes >= PAGE_BYTES { PAGE_BYTES / SLOT_BYTES } else { 1 };
        let start = self.next.next_multiple_of(stride);
        let first = (0..self.total())
            .step_by(stride)
            .map(|step| (start + step) % self.total())
            .find(|slot| usize::from(self.free_run[*slot]) >= wanted)
            .ok_or(NoSlots::Full)?;
        self.mark_taken(first, wanted);
        Ok(first)
    }

    fn mark_taken(&mut self, first: usize, count: usize) {
        self.free_run[first..first + count].fill(0);
        // The free slots before it in the set now end here.
        let set_start = first - first % SET_SLOTS;
        let before = self.free_run[set_start..first].iter_mut().rev();
        for (distance, run) in (1..).zip(before.take_while(|run| **run != 0)) {
            *run = distance;
        }
        self.next = (first + count) % self.total();
        self.used += count;
    }

    /// Gives back what [`Slots::take`] returned for `bytes` bytes.
    pub fn give_back(&mut self, first: usize, bytes: usize) {
        let count = slots_of(bytes.max(1));
        let set_start = first - first % SET_SLOTS;
        let after = first + count;
        let mut run = if after < set_start + SET_SLOTS { self.free_run[after] } else { 0 };
        for slot in self.free_run[first..after].iter_mut().rev() {
            run += 1;
            *slot = run;
        }
        for slot in self.free_run[set_start..first].iter_mut().rev().take_while(|run| **run != 0) {
            run += 1;
            *slot = run;
        }
        self.used -= count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::mix;

    #[test]
    fn the_search_goes_on_where_it_ended() {
        let mut slots = Slots::new(1);
        assert_eq!(slots.take(1), Ok(0));
        slots.give_back(0, 1);
        assert_eq!(slots.take(1), Ok(1));
        assert_eq!(slots.take(2049), Ok(2));
        assert_eq!(slots.take(1), Ok(4));
    }

    #[test]
    fn a_page_or_more_starts_on_a_page() {
        let mut slots = Slots::new(1);
        assert_eq!(slots.take(16), Ok(0));
        assert_eq!(slots.take(4096), Ok(2));
        assert_eq!(slots.take(4095), Ok(4));
    }

    #[test]
    fn a_mapping_may_fill_a_set_and_no_more() {
        let mut slots = Slots::new(2);
        assert_eq!(slots.take(MAPPING_BYTES_MAX + 1), Err(NoSlots::TooLarge));
        assert_eq!(slots.take(1), Ok(0));
        assert_eq!(slots.take(MAPPING_BYTES_MAX), Ok(SET_SLOTS));
        assert_eq!(slots.take(MAPPING_BYTES_MAX), Err(NoSlots::Full));
    }

    #[test]
    fn a_full_pool_says_so_and_recovers() {
        let mut slots = Slots::new(1);
        for _ in 0..SET_SLOTS {
            assert!(slots.take(SLOT_BYTES).is_ok());
        }
        assert_eq!(slots.take(1), Err(NoSlots::Full));
        slots.give_back(64, SLOT_BYTES);
        assert_eq!(slots.take(1), Ok(64));
    }

    #[test]
    fn an_empty_pool_is_always_full() {
        assert_eq!(Slots::new(0).take(1), Err(NoSlots::Full));
    }

    /// The free runs as they follow from which slots are taken.
    fn runs_from(taken: &[bool]) -> Vec<u8> {
        let mut runs = vec![0; taken.len()];
        for slot in (0..taken.len()).rev() {
            let ends_set = slot % SET_SLOTS == SET_SLOTS - 1;
            let following = if ends_set { 0 } else { runs[slot + 1] };
            runs[slot] = if taken[slot] { 0 } else { following + 1 };
        }
        runs
    }

    #[test]
    fn no_slot_is_ever_given_twice_and_the_runs_stay_true() {
        let mut slots = Slots::new(3);
        let mut taken = vec![false; slots.total()];
        let mut held: Vec<(usize, usize)> = Vec::new();
        for step in 0..20_000_u64 {
            let drawn = mix(step);
            if drawn.is_multiple_of(2) || held.is_empty() {
                let bytes = 1 + (mix(drawn) % (40 * SLOT_BYTES as u64)) as usize;
                if let Ok(first) = slots.take(bytes) {
                    let end = first + slots_of(bytes);
                    assert!(taken[first..end].iter().all(|slot| !slot), "slot given twice");
                    assert_eq!(first / SET_SLOTS, (end - 1) / SET_SLOTS, "crosses a set");
                    taken[first..end].fill(true);
                    held.push((first, bytes));
                }
            } else {
                let (first, bytes) = held.swap_remove((drawn >> 1) as usize % held.len());
                slots.give_back(first, bytes);
                taken[first..first + slots_of(bytes)].fill(false);
            }
            assert_eq!(slots.free_run, runs_from(&taken), "step {step}");
            assert_eq!(slots.used(), taken.iter().filter(|slot| **slot).count());
        }
    }
}
