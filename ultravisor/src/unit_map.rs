//! A value for each unit of guest memory: two levels, lazy, so that cost follows the units
//! touched and never the size of the partition.

use std::ops::Range;
use ultravisor_abi::Gfn;

/// Units per second-level block: 8 bytes of first level stand for 2 MiB of 4 KiB units.
const BLOCK: usize = 512;

/// A map from units to `T`; what was never set has no value.
#[derive(Clone, Debug)]
pub struct UnitMap<T> {
    blocks: Vec<Option<Box<[Option<T>; BLOCK]>>>,
}

impl<T: Clone> UnitMap<T> {
    /// An empty map for units below `units`.
    pub fn new(units: u64) -> Self {
        let blocks = usize::try_from(units.div_ceil(BLOCK as u64)).expect("usize has 64 bits");
        Self { blocks: vec![None; blocks] }
    }

    /// The value of a unit.
    pub fn get(&self, gfn: Gfn) -> Option<&T> {
        let (block, slot) = place(gfn);
        self.blocks.get(block)?.as_ref()?[slot].as_ref()
    }

    /// The value of a unit, made by `default` if there is none. `None` past the map's end.
    pub fn entry(&mut self, gfn: Gfn, default: impl FnOnce() -> T) -> Option<&mut T> {
        let (block, slot) = place(gfn);
        let block = self.blocks.get_mut(block)?;
        let block = block.get_or_insert_with(|| Box::new([const { None }; BLOCK]));
        Some(block[slot].get_or_insert_with(default))
    }

    /// Every unit that has a value, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (Gfn, &T)> {
        self.range(0..u64::MAX)
    }

    /// Every unit in `units` that has a value, in ascending order. Costs nothing for units in
    /// blocks that were never used.
    pub fn range(&self, units: Range<u64>) -> impl Iterator<Item = (Gfn, &T)> {
        let (first, _) = place(Gfn(units.start));
        let (last, _) = place(Gfn(units.end));
        let blocks = first.min(self.blocks.len())..last.saturating_add(1).min(self.blocks.len());
        let used = blocks.clone().zip(&self.blocks[blocks]);
        used.filter_map(|(b, block)| Some((b, block.as_ref()?)))
            .flat_map(|(b, block)| {
                let values = block.iter().enumerate();
                values.filter_map(move |(s, value)| {
                    Some((Gfn((b * BLOCK + s) as u64), value.as_ref()?))
                })
            })
            .filter(move |(gfn, _)| units.contains(&gfn.0))
    }
}

fn place(gfn: Gfn) -> (usize, usize) {
    let block = usize::try_from(gfn.0 / BLOCK as u64).unwrap_or(usize::MAX);
    (block, (gfn.0 % BLOCK as u64) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_is_found_and_nothing_else() {
        let mut map = UnitMap::new(2000);
        for gfn in [0, 511, 512, 1999] {
            *map.entry(Gfn(gfn), || 0).unwrap() = gfn + 1;
        }
        assert_eq!(map.get(Gfn(1999)), Some(&2000));
        assert_eq!(map.get(Gfn(513)), None);
        let set: Vec<u64> = map.iter().map(|(gfn, _)| gfn.0).collect();
        assert_eq!(set, [0, 511, 512, 1999]);
    }

    #[test]
    fn a_range_gives_what_lies_in_it() {
        let mut map = UnitMap::new(2000);
        for gfn in [0, 511, 512, 1024, 1999] {
            *map.entry(Gfn(gfn), || 0).unwrap() = gfn;
        }
        let units = |range| map.range(range).map(|(gfn, _)| gfn.0).collect::<Vec<_>>();
        assert_eq!(units(511..1024), [511, 512]);
        assert_eq!(units(0..1), [0]);
        assert_eq!(units(1..511), []);
        assert_eq!(units(1025..u64::MAX), [1999]);
        assert_eq!(units(1 << 40..1 << 50), []);
        assert_eq!(units(7..7), []);
    }

    #[test]
    fn past_the_end_there_is_nothing() {
        let mut map = UnitMap::new(10);
        assert!(map.entry(Gfn(512), || 1).is_none());
        assert_eq!(map.get(Gfn(u64::MAX)), None);
    }
}
