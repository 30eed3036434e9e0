//! How full the swiotlb pool is: the mappings that bounce, from map to unmap.

use super::timeline::{BINS, Timeline};
use crate::event::{Event, Record};
use std::collections::BTreeMap;

/// Bytes of a slot: Linux' IO_TLB_SIZE, `1 << IO_TLB_SHIFT` with a shift of 11.
pub const SLOT_BYTES: u64 = 2048;

/// Occupancy over a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// The most slots in use in each bin of the timeline.
    pub bins: Vec<u64>,
    /// The most that were in use at once.
    pub high: u64,
    /// The event at which they were.
    pub high_seq: u64,
    /// Mappings that bounced.
    pub mappings: u64,
    /// Copies.
    pub copies: u64,
}

/// A mapping that may turn out to bounce.
struct Mapping {
    from: usize,
    slots: u64,
    bounced: bool,
}

impl Slots {
    /// Occupancy from a log. A mapping bounces if a slot was copied to or from while it was made or
    /// undone.
    #[expect(clippy::wildcard_enum_match_arm, reason = "no other event is about a slot")]
    pub fn of(timeline: &Timeline, records: &[Record]) -> Self {
        let mut slots = Self::default();
        let mut open: BTreeMap<u64, Mapping> = BTreeMap::new();
        // At which record how many slots come (or go).
        let mut changes: BTreeMap<usize, i64> = BTreeMap::new();
        let mut bounced = false;
        for (at, record) in records.iter().enumerate() {
            match &record.event {
                Event::Bounce { .. } => {
                    slots.copies += 1;
                    bounced = true;
                }
                Event::DmaMap { bytes, dma, .. } => {
                    let slots = bytes.div_ceil(SLOT_BYTES).max(1);
                    let bounced = std::mem::take(&mut bounced);
                    open.insert(*dma, Mapping { from: at, slots, bounced });
                }
                Event::DmaUnmap { dma, .. } => {
                    let back = std::mem::take(&mut bounced);
                    if let Some(mapping) = open.remove(dma)
                        && (mapping.bounced || back)
                    {
                        slots.close(&mapping, Some(at), &mut changes);
                    }
                }
                _ => (),
            }
        }
        for mapping in open.values().filter(|mapping| mapping.bounced) {
            slots.close(mapping, None, &mut changes);
        }
        slots.fill(timeline, records, &changes);
        slots
    }

    fn close(&mut self, mapping: &Mapping, to: Option<usize>, changes: &mut BTreeMap<usize, i64>) {
        let count = i64::try_from(mapping.slots).unwrap_or(i64::MAX);
        self.mappings += 1;
        let mut change = |at: usize, by: i64| {
            let sum = changes.entry(at).or_default();
            *sum = sum.saturating_add(by);
        };
        change(mapping.from, count);
        if let Some(to) = to {
            change(to, -count);
        }
    }

    fn fill(&mut self, timeline: &Timeline, records: &[Record], changes: &BTreeMap<usize, i64>) {
        if self.copies == 0 {
            return;
        }
        self.bins = vec![0; BINS as usize];
        let (mut used, mut filled) = (0_u64, 0_usize);
        for (at, by) in changes {
            let record = &records[*at];
            let bin = timeline.bin(record.t_ns) as usize;
            for quiet in self.bins.iter_mut().take(bin).skip(filled) {
                *quiet = used;
            }
            self.bins[bin] = self.bins[bin].max(used);
            used = used.saturating_add_signed(*by);
            self.bins[bin] = self.bins[bin].max(used);
            filled = bin + 1;
            if used > self.high {
                (self.high, self.high_seq) = (used, record.seq);
            }
        }
        self.bins.iter_mut().skip(filled).for_each(|quiet| *quiet = used);
    }
}
