//! Modelled time against the best, run by run: only runs that differ in their design alone are
//! compared, and only those whose work is verified.

use super::{Sample, hundredths};
use crate::counters::Counter;
use crate::outcome::Outcome;
use crate::proof;
use std::collections::BTreeMap;

type Cell = (String, Vec<(String, String)>);

/// The time that each cell's best (or base) run takes in steady state, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Factors(BTreeMap<Cell, u64>);

impl Factors {
    /// By `base`, or by the fastest clean run of each cell that more than one design has worked in.
    pub fn new(samples: &[Sample<'_>], base: Option<&str>) -> Self {
        let mut cells: BTreeMap<Cell, Vec<&Sample<'_>>> = BTreeMap::new();
        for sample in samples.iter().filter(|sample| sample.worked()) {
            cells.entry(proof::cell(sample.plan)).or_default().push(sample);
        }
        let mut times = BTreeMap::new();
        for (cell, runs) in cells {
            let reference = |run: &&&Sample<'_>| match base {
                Some(base) => run.plan.design.as_deref() == Some(base),
                None => run.judged.outcome == Outcome::Clean && runs.len() > 1,
            };
            let chosen = runs.iter().filter(reference).map(|run| run.steady(Counter::TimeNs)).min();
            times.extend(chosen.map(|time| (cell, time)));
        }
        Self(times)
    }

    /// The factor of one design's runs, in hundredths; `None` if there is nothing to compare with.
    pub fn of(&self, runs: &[&Sample<'_>]) -> Option<u64> {
        let (mut own, mut reference) = (0_u64, 0_u64);
        for run in runs.iter().filter(|run| run.worked()) {
            if let Some(time) = self.0.get(&proof::cell(run.plan)) {
                own = own.saturating_add(run.steady(Counter::TimeNs));
                reference = reference.saturating_add(*time);
            }
        }
        hundredths(own, reference)
    }
}
