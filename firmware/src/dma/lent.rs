//! Which protection units are lent to devices in place, and how often.
//!
//! Units are coarser than buffers: two buffers in one unit must share it once and take it back
//! with the second return. This file is the count; sharing itself is `in_place`'s.

use alloc::vec::Vec;
use core::ops::RangeInclusive;

/// Lent units and how many buffers each serves.
#[derive(Clone, Debug, Default)]
pub struct LentUnits {
    /// Few at a time: the buffers of the requests under way.
    counts: Vec<(u64, u32)>,
}

impl LentUnits {
    /// None yet.
    pub const fn new() -> Self {
        Self { counts: Vec::new() }
    }

    /// One more buffer in `unit`; whether it is the first, so that the unit must be shared.
    pub fn lend(&mut self, unit: u64) -> bool {
        match self.counts.iter_mut().find(|(lent, _)| *lent == unit) {
            Some((_, count)) => {
                *count += 1;
                false
            }
            None => {
                self.counts.push((unit, 1));
                true
            }
        }
    }

    /// One buffer less in `unit`; whether it was the last, so that the unit must be taken back. A
    /// unit that is not lent has no last.
    pub fn take_back(&mut self, unit: u64) -> bool {
        let Some(index) = self.counts.iter().position(|(lent, _)| *lent == unit) else {
            return false;
        };
        self.counts[index].1 -= 1;
        let last = self.counts[index].1 == 0;
        if last {
            self.counts.swap_remove(index);
        }
        last
    }
}

/// The units of `1 << order` bytes that `bytes` bytes (at least 1) at `address` lie in.
pub const fn units_touched(address: u64, bytes: u64, order: u32) -> RangeInclusive<u64> {
    let last = address.saturating_add(bytes.saturating_sub(1));
    address >> order..=last >> order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_lent_twice_is_shared_once_and_taken_back_with_the_second_return() {
        let mut lent = LentUnits::new();
        assert!(lent.lend(7));
        assert!(!lent.lend(7));
        assert!(!lent.take_back(7));
        assert!(lent.take_back(7));
        assert!(!lent.take_back(7), "it is not lent any more");
    }

    #[test]
    fn units_are_counted_each_by_itself() {
        let mut lent = LentUnits::new();
        assert!(lent.lend(1) && lent.lend(2));
        assert!(lent.take_back(1));
        assert!(lent.lend(1) && lent.take_back(2));
    }

    #[test]
    fn a_buffer_lies_in_all_units_from_its_first_to_its_last_byte() {
        assert_eq!(units_touched(0x1_ffff, 1, 16), 1..=1);
        assert_eq!(units_touched(0x1_ffff, 2, 16), 1..=2);
        assert_eq!(units_touched(0x1_0000, 0x2_0000, 16), 1..=2);
    }
}
