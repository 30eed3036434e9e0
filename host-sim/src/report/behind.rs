//! The events behind each number: made by the counters' own fold, so that the two cannot disagree.

use crate::counters::{Counter, Counters, Phase};
use crate::event::Record;
use std::collections::BTreeMap;

/// Events that are kept of each number: the first of them.
pub const KEPT: usize = 6;

/// Which events a number is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    first: BTreeMap<(Counter, Phase), (Vec<u64>, u64)>,
}

impl Behind {
    /// Counts a log and keeps what each count is made of. The clock itself is left out: every
    /// event moves it.
    pub fn of(records: &[Record], marks: bool) -> (Counters, Self) {
        let mut behind = Self::default();
        let counters = Counters::of_with(records, marks, &mut |seq, phase, counter| {
            if counter == Counter::TimeNs {
                return;
            }
            let (first, events) = behind.first.entry((counter, phase)).or_default();
            *events += 1;
            if first.len() < KEPT {
                first.push(seq);
            }
        });
        (counters, behind)
    }

    /// The first events behind a number, and how many there are.
    pub fn get(&self, counter: Counter, phase: Phase) -> (&[u64], u64) {
        self.first.get(&(counter, phase)).map_or((&[], 0), |(first, events)| (first, *events))
    }

    /// All events that are kept.
    pub fn seqs(&self) -> impl Iterator<Item = u64> {
        self.first.values().flat_map(|(first, _)| first.iter().copied())
    }
}
