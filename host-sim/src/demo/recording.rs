//! A recording: a run's log, and beside it where the guest was at each record and what was known
//! then. Whoever looks at it goes forward and back as he likes; the machine is gone.

use super::listing::Listing;
use crate::counters::Counters;
use crate::event::{Event, Part, Record};
use crate::log::RunLog;
use crate::outcome::Outcome;
use crate::run::{CannotRun, Prepared};
use crate::scenario::plan::Plan;
use crate::verdict;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use ultravisor::{Life, PageState};

/// The counters are kept for every so many records, and counted on from there.
const KEPT_EVERY: usize = 4096;

/// One run, recorded.
pub struct Recording {
    /// What was run.
    pub plan: Plan,
    /// What happened.
    pub log: RunLog,
    /// How it came out.
    pub outcome: Outcome,
    /// The guest's code.
    pub listing: Listing,
    /// From which record on the guest's next instruction was at which address.
    places: Vec<(usize, u64)>,
    kept: Vec<Counters>,
    pages: Pages,
}

/// The history of each unit that the log tells of.
#[derive(Default)]
struct Pages {
    /// By unit: from which record on it was in which state.
    moves: BTreeMap<u64, Vec<(usize, PageState)>>,
    /// From which record on the others were secure.
    all_secure_from: Option<usize>,
    /// Which parts of a device's work lie there.
    parts: BTreeMap<u64, BTreeSet<Part>>,
}

impl Recording {
    /// Runs `plan` and records it.
    ///
    /// # Errors
    /// It could not even start.
    pub fn of(plan: &Plan) -> Result<Self, CannotRun> {
        let prepared = Prepared::new(plan)?;
        let mut machine = prepared.power_on()?;
        let mut places: Vec<(usize, u64)> = Vec::new();
        let ended = loop {
            let told = machine.host().hv.recorder.records().len();
            let ended = machine.step(u64::MAX);
            let rip = machine.cpu().regs.rip;
            if machine.host().hv.recorder.records().len() > told
                && places.last().is_none_or(|(_, last)| *last != rip)
            {
                places.push((told, rip));
            }
            if let Some(ended) = ended {
                break ended;
            }
        };
        // Nobody sets it: a reader who waits can go away.
        let late = AtomicBool::new(false);
        let log = prepared.conclude(machine.stop(ended), &late).ok_or(CannotRun::WallClock)?;
        let listing = Listing::of(prepared.into_images());
        let outcome = verdict::judge(plan, &log).outcome;
        let kept = keep(&log.records, plan.guest.marks);
        let pages = Pages::of(&log.records);
        Ok(Self { plan: plan.clone(), log, outcome, listing, places, kept, pages })
    }

    /// The record number `at`; there is one in each log: the end is told.
    pub fn record(&self, at: usize) -> &Record {
        &self.log.records[at.min(self.last())]
    }

    /// The number of the last record.
    pub fn last(&self) -> usize {
        self.log.records.len().saturating_sub(1)
    }

    /// How long the event at `at` took, in nanoseconds: until the next one.
    pub fn took_ns(&self, at: usize) -> u64 {
        self.record(at + 1).t_ns.saturating_sub(self.record(at).t_ns)
    }

    /// The guest's next instruction when record `at` was written.
    pub fn place(&self, at: usize) -> Option<u64> {
        let behind = self.places.partition_point(|(from, _)| *from <= at);
        Some(self.places.get(behind.checked_sub(1)?)?.1)
    }

    /// The counters with record `at` counted; at the last one, those of the whole run.
    pub fn counters(&self, at: usize) -> Counters {
        if at >= self.last() {
            return Counters::of(&self.log.records, self.plan.guest.marks);
        }
        let block = (at / KEPT_EVERY).min(self.kept.len() - 1);
        let mut counters = self.kept[block].clone();
        let records = &self.log.records[block * KEPT_EVERY..=at];
        records.iter().for_each(|record| counters.count(record));
        counters
    }

    /// The state of a unit behind record `at`.
    pub fn state(&self, gfn: u64, at: usize) -> PageState {
        let moves = self.pages.moves.get(&gfn).map_or(&[][..], Vec::as_slice);
        let behind = moves.partition_point(|(from, _)| *from <= at);
        match behind.checked_sub(1).and_then(|place| moves.get(place)) {
            Some((_, state)) => *state,
            None if self.pages.all_secure_from.is_some_and(|from| from <= at) => PageState::Secure,
            None => PageState::Normal,
        }
    }

    /// The next record behind `at` that changes the state of a unit.
    pub fn next_move(&self, gfn: u64, at: usize) -> Option<usize> {
        let moves = self.pages.moves.get(&gfn)?;
        moves.get(moves.partition_point(|(from, _)| *from <= at)).map(|(from, _)| *from)
    }

    /// The units that the log tells of, in order.
    pub fn units(&self) -> impl Iterator<Item = u64> {
        let unit = self.plan.machine.unit.bytes();
        // A device may name an address far outside.
        let end = crate::loader::ram(self.plan.machine.memory_bytes)
            .last()
            .map_or(0, |range| range.end().0 / unit);
        let named: BTreeSet<u64> =
            self.pages.moves.keys().chain(self.pages.parts.keys()).copied().collect();
        named.into_iter().filter(move |gfn| *gfn < end)
    }

    /// Which parts of a device's work lie in a unit.
    pub fn parts(&self, gfn: u64) -> impl Iterator<Item = Part> {
        self.pages.parts.get(&gfn).into_iter().flatten().copied()
    }
}

fn keep(records: &[Record], marks: bool) -> Vec<Counters> {
    let mut counters = Counters::new(marks);
    let mut kept = vec![counters.clone()];
    for block in records.chunks_exact(KEPT_EVERY) {
        block.iter().for_each(|record| counters.count(record));
        kept.push(counters.clone());
    }
    kept
}

impl Pages {
    fn of(records: &[Record]) -> Self {
        let mut pages = Self::default();
        for (at, record) in records.iter().enumerate() {
            if let Event::Page { gfn, from, to, .. } = &record.event
                && from != to
            {
                pages.moves.entry(*gfn).or_default().push((at, *to));
            }
            if let Event::Life { to: Life::Secure, .. } = &record.event {
                pages.all_secure_from.get_or_insert(at);
            }
            if let Event::Touch { gfn, part, .. } = &record.event {
                pages.parts.entry(*gfn).or_default().insert(*part);
            }
        }
        pages
    }
}

/// Which unit an event is about.
pub fn unit_of(event: &Event, unit_bytes: u64) -> Option<u64> {
    match event {
        Event::Page { gfn, .. }
        | Event::Tampered { gfn, .. }
        | Event::Touch { gfn, .. }
        | Event::Sigbus { gfn } => Some(*gfn),
        Event::Bounce { slot, .. } => Some(slot / unit_bytes),
        Event::DmaMap { address, .. } => Some(address / unit_bytes),
        Event::Secret { gpa, .. } | Event::Leak { at: gpa, .. } => Some(gpa / unit_bytes),
        Event::Exit { .. }
        | Event::UvCall { .. }
        | Event::HvCall { .. }
        | Event::Life { .. }
        | Event::Measured { .. }
        | Event::Register { .. }
        | Event::Kick { .. }
        | Event::Popped { .. }
        | Event::Completed { .. }
        | Event::Interrupt { .. }
        | Event::Status { .. }
        | Event::Broken { .. }
        | Event::Wait { .. }
        | Event::Mark { .. }
        | Event::Retired { .. }
        | Event::Report { .. }
        | Event::Console { .. }
        | Event::Decision { .. }
        | Event::DmaUnmap { .. }
        | Event::DmaAlloc { .. }
        | Event::DmaFree { .. }
        | Event::Foreign { .. }
        | Event::Balloon { .. }
        | Event::Flip { .. }
        | Event::Plugged { .. }
        | Event::IotlbMiss { .. }
        | Event::IotlbHits { .. }
        | Event::Frame { .. }
        | Event::Taken { .. }
        | Event::Woken { .. }
        | Event::Unwoken { .. }
        | Event::Actor { .. }
        | Event::Hot { .. }
        | Event::LeaksLeftOut { .. }
        | Event::Comparison { .. } => None,
    }
}
