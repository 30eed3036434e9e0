//! Where virtual time went: guest work, copies, conversions, calls, waiting; by phase.

use crate::cost::{self, CostTable};
use crate::counters::{Phase, PhaseClock};
use crate::event::{Event, Record};
use crate::saved::Facts;
use std::collections::BTreeMap;
use ultravisor::PageOp;

/// What time was spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// The guest works.
    Compute,
    /// The guest copies between a buffer and a swiotlb slot.
    Copy,
    /// Units are shared or taken back.
    Share,
    /// Units are sealed.
    PageOut,
    /// Units are unsealed, or mapped.
    PageIn,
    /// Units are copied in during UV_ESM.
    TakeIn,
    /// Exits, wake-ups, calls and translations.
    Calls,
    /// The guest waits.
    Wait,
}

impl Work {
    /// All, in the order of the bars.
    pub const ALL: [Self; 8] = [
        Self::Compute,
        Self::Copy,
        Self::Share,
        Self::PageOut,
        Self::PageIn,
        Self::TakeIn,
        Self::Calls,
        Self::Wait,
    ];

    /// Its name in pictures and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Copy => "copy",
            Self::Share => "share",
            Self::PageOut => "page-out",
            Self::PageIn => "page-in",
            Self::TakeIn => "take-in",
            Self::Calls => "exits and calls",
            Self::Wait => "wait",
        }
    }

    /// The letter that stands for it where colour is not enough.
    pub const fn glyph(self) -> &'static str {
        match self {
            Self::Compute => "c",
            Self::Copy => "b",
            Self::Share => "s",
            Self::PageOut => "o",
            Self::PageIn => "i",
            Self::TakeIn => "t",
            Self::Calls => "x",
            Self::Wait => "w",
        }
    }

    /// What an event that takes time is.
    #[expect(clippy::wildcard_enum_match_arm, reason = "what costs nothing is nothing")]
    fn of(event: &Event) -> Self {
        match event {
            Event::Wait { .. } => Self::Wait,
            Event::Tampered { .. } => Self::PageIn,
            Event::Page { op: PageOp::PageOut, .. } => Self::PageOut,
            Event::Page { op: PageOp::PageIn, .. } => Self::PageIn,
            Event::Page { op: PageOp::TakeIn, .. } => Self::TakeIn,
            Event::Page { .. } => Self::Share,
            // Of the others only exits, wake-ups, ultracalls and translations cost anything.
            _ => Self::Calls,
        }
    }
}

/// The cost table of a run.
pub fn costs(facts: &Facts) -> CostTable {
    cost::table(facts.machine.platform, facts.machine.cost)
}

/// Nanoseconds by phase and kind of work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    ns: BTreeMap<(Phase, Work), u64>,
}

impl Spent {
    /// Sorts the time of a whole log. An event takes what the cost table says; what lies between its
    /// end and the next event is the guest's work, and after `swiotlb_bounce` was entered its copy.
    pub fn of(facts: &Facts, records: &[Record]) -> Self {
        let mut spent = Self::default();
        let table = costs(facts);
        let mut clock = PhaseClock::new(facts.guest.marks);
        let mut last: Option<(u64, Work)> = Some((0, Work::Compute));
        for record in records {
            if let Some((end, work)) = last {
                spent.add(clock.phase(), work, record.t_ns.saturating_sub(end));
            }
            let takes = table.of(&record.event, facts.machine.unit);
            spent.add(clock.phase(), Work::of(&record.event), takes);
            clock.follow(&record.event);
            let is_bounce = matches!(record.event, Event::Bounce { .. });
            let work = if is_bounce { Work::Copy } else { Work::Compute };
            last = Some((record.t_ns.saturating_add(takes), work));
        }
        spent
    }

    fn add(&mut self, phase: Phase, work: Work, ns: u64) {
        if ns > 0 {
            let sum = self.ns.entry((phase, work)).or_default();
            *sum = sum.saturating_add(ns);
        }
    }

    /// Nanoseconds of one kind in one phase.
    pub fn get(&self, phase: Phase, work: Work) -> u64 {
        self.ns.get(&(phase, work)).copied().unwrap_or(0)
    }

    /// All nanoseconds of a phase.
    pub fn total(&self, phase: Phase) -> u64 {
        let each = Work::ALL.into_iter().map(|work| self.get(phase, work));
        each.fold(0, u64::saturating_add)
    }
}
