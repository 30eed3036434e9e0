//! Which slots of a bounce pool are free: swiotlb's search (kernel `kernel/dma/swiotlb.c`).
//!
//! The pool is a row of 2 KiB slots in sets of 128. A mapping takes consecutive slots of one set,
//! so it is never larger than 256 KiB. The search starts where the last one ended and goes round
//! once. There is one area: the guest has one CPU.

use alloc::vec;
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

/// The slots of one set, one bit each, the first the lowest.
type Set = u128;

/// Slots of one word of [`Slots::free`].
const WORD_SLOTS: usize = 64;
const SET_WORDS: usize = SET_SLOTS / WORD_SLOTS;

/// Slots whose address is a multiple of [`PAGE_BYTES`].
const PAGE_STARTS: Set = Set::MAX / 3;

/// The slots of one pool.
#[derive(Clone, Debug)]
pub struct Slots {
    /// Which slots are free, in words: nearly every run of slots lies in one, and a set is two. A
    /// run of free slots that ends with its set needs no book-keeping of its own: bits behind a
    /// set's last one read as taken.
    free: Vec<u64>,
    /// Where the next search starts.
    next: usize,
    used: usize,
}

const fn slots_of(bytes: usize) -> usize {
    bytes.div_ceil(SLOT_BYTES)
}

/// `count` slots (1 to [`SET_SLOTS`]) from slot `first` of a set on.
const fn run(first: usize, count: usize) -> Set {
    (Set::MAX >> (SET_SLOTS - count)) << first
}

/// `count` slots (at least 1) from slot `first` of a word on, if they end in that word.
const fn run_in_word(first: usize, count: usize) -> Option<u64> {
    if count <= WORD_SLOTS - first {
        Some((u64::MAX >> (WORD_SLOTS - count)) << first)
    } else {
        None
    }
}

/// Where in a set a run of `wanted` free slots may begin.
fn beginnings(free: Set, wanted: usize) -> Set {
    let (mut begins, mut length) = (free, 1);
    while length < wanted {
        let more = length.min(wanted - length);
        begins &= begins >> more;
        length += more;
    }
    begins
}

impl Slots {
    /// `sets` sets, all free.
    pub fn new(sets: usize) -> Self {
        Self { free: vec![u64::MAX; sets * SET_WORDS], next: 0, used: 0 }
    }

    /// How many slots there are.
    pub fn total(&self) -> usize {
        self.free.len() * WORD_SLOTS
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
        let on_page = bytes >= PAGE_BYTES;
        let first = match self.take_next(wanted, on_page) {
            Some(first) => first,
            None => self.take_found(wanted, on_page).ok_or(NoSlots::Full)?,
        };
        let behind = first + wanted;
        self.next = if behind == self.total() { 0 } else { behind };
        self.used += wanted;
        Ok(first)
    }

    /// Takes the first slots that the search would look at, if they are free: nearly always so.
    fn take_next(&mut self, wanted: usize, on_page: bool) -> Option<usize> {
        let first =
            if on_page { self.next.next_multiple_of(PAGE_BYTES / SLOT_BYTES) } else { self.next };
        let word = self.free.get_mut(first / WORD_SLOTS)?;
        let run = run_in_word(first % WORD_SLOTS, wanted)?;
        (*word & run == run).then(|| {
            *word &= !run;
            first
        })
    }

    /// Takes the first run of `wanted` free slots, from `next` on and round to it again: the set
    /// that the search starts in comes twice.
    fn take_found(&mut self, wanted: usize, on_page: bool) -> Option<usize> {
        let allowed = if on_page { PAGE_STARTS } else { Set::MAX };
        let start = self.next / SET_SLOTS;
        let mut ahead = Set::MAX << (self.next % SET_SLOTS);
        for set in (start..self.free.len() / SET_WORDS).chain(0..=start) {
            let free = self.set(set);
            let begins = beginnings(free, wanted) & allowed & ahead;
            if begins != 0 {
                let first = begins.trailing_zeros() as usize;
                self.put_set(set, free & !run(first, wanted));
                return Some(set * SET_SLOTS + first);
            }
            ahead = Set::MAX;
        }
        None
    }

    /// Gives back what [`Slots::take`] returned for `bytes` bytes.
    pub fn give_back(&mut self, first: usize, bytes: usize) {
        let count = slots_of(bytes.max(1));
        match run_in_word(first % WORD_SLOTS, count) {
            Some(run) => self.free[first / WORD_SLOTS] |= run,
            None => {
                let set = first / SET_SLOTS;
                self.put_set(set, self.set(set) | run(first % SET_SLOTS, count));
            }
        }
        self.used -= count;
    }

    /// Which slots of a set are free.
    fn set(&self, set: usize) -> Set {
        let [low, high] = [0, 1].map(|word| Set::from(self.free[set * SET_WORDS + word]));
        high << WORD_SLOTS | low
    }

    fn put_set(&mut self, set: usize, free: Set) {
        let low = set * SET_WORDS;
        (self.free[low], self.free[low + 1]) = (free as u64, (free >> WORD_SLOTS) as u64);
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

    /// Where the kernel's way of going through the slots one by one finds room.
    fn one_by_one(taken: &[bool], next: usize, bytes: usize) -> Option<usize> {
        let stride = if bytes >= PAGE_BYTES { PAGE_BYTES / SLOT_BYTES } else { 1 };
        let start = next.next_multiple_of(stride);
        let places = (0..taken.len()).step_by(stride).map(|step| (start + step) % taken.len());
        places.into_iter().find(|first| {
            let end = first + slots_of(bytes);
            first / SET_SLOTS == (end - 1) / SET_SLOTS && !taken[*first..end].contains(&true)
        })
    }

    #[test]
    fn the_slots_given_are_those_that_a_search_one_by_one_finds() {
        let mut slots = Slots::new(3);
        let mut taken = vec![false; slots.total()];
        let mut held: Vec<(usize, usize)> = Vec::new();
        for step in 0..20_000_u64 {
            let drawn = mix(step);
            if drawn.is_multiple_of(2) || held.is_empty() {
                let bytes = 1 + (mix(drawn) % (40 * SLOT_BYTES as u64)) as usize;
                let expected = one_by_one(&taken, slots.next, bytes);
                assert_eq!(slots.take(bytes).ok(), expected, "step {step}");
                if let Some(first) = expected {
                    taken[first..first + slots_of(bytes)].fill(true);
                    held.push((first, bytes));
                }
            } else {
                let (first, bytes) = held.swap_remove((drawn >> 1) as usize % held.len());
                slots.give_back(first, bytes);
                taken[first..first + slots_of(bytes)].fill(false);
            }
            assert_eq!(slots.used(), taken.iter().filter(|slot| **slot).count());
        }
    }
}
