//! What one step shows, as values: whoever draws it adds nothing.

use super::listing::Line;
use super::recording::{Recording, unit_of};
use super::story::Story;
use super::telling;
use crate::counters::{Counter, Phase};
use crate::event::{Event, Part};
use crate::output::words;
use std::collections::{BTreeMap, BTreeSet};
use ultravisor::{PageOp, PageState};
use ultravisor_abi::ucall::Caller;

/// Pages in a row of the grid, and rows.
pub const GRID: (usize, usize) = (16, 7);
/// Instructions shown before the next one, and behind it.
const INSTRUCTIONS: (usize, usize) = (2, 1);

/// Who acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    /// The guest's code.
    Guest,
    /// The ultravisor.
    Ultravisor,
    /// The hypervisor and QEMU.
    Host,
    /// A device that QEMU emulates.
    Device,
}

impl Actor {
    /// All of them, from the most trusted to the least.
    pub const ALL: [Self; 4] = [Self::Guest, Self::Ultravisor, Self::Host, Self::Device];

    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Ultravisor => "ultravisor",
            Self::Host => "host",
            Self::Device => "device",
        }
    }

    /// What it is.
    pub const fn role(self) -> &'static str {
        match self {
            Self::Guest => "driver and data, secret",
            Self::Ultravisor => "keeps the secret",
            Self::Host => "hypervisor, QEMU",
            Self::Device => "disk, net: QEMU's too",
        }
    }
}

/// One page in the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Which unit.
    pub gfn: u64,
    /// Its state.
    pub state: PageState,
    /// Whether the step is about it.
    pub in_focus: bool,
    /// Whether it changed its state since the step before.
    pub moved: bool,
}

/// The glyph of a state: told without colour too.
pub const fn glyph(state: PageState) -> char {
    match state {
        PageState::Normal => '.',
        PageState::Secure => 'S',
        PageState::PagedOut => '#',
        PageState::Shared | PageState::SharedInv => '=',
        PageState::HvSharing
        | PageState::HvShared
        | PageState::HvSharedInv
        | PageState::HvUnsharing
        | PageState::HvUnsharingInv
        | PageState::HvUnshared => '~',
    }
}

/// One step in one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scene {
    /// The story's name.
    pub story: String,
    /// The step's number from 1, and how many there are.
    pub step: (usize, usize),
    /// Its title.
    pub title: String,
    /// The run's name, number from 1, and how many there are.
    pub run: (String, usize, usize),
    /// Virtual time.
    pub time: String,
    /// The pages that the story tells of, at most a grid full.
    pub grid: Vec<Cell>,
    /// How many such pages there are in all.
    pub pages: usize,
    /// Bytes of a page.
    pub unit: u64,
    /// The page that the step is about, in words.
    pub focus: Option<String>,
    /// Who acts.
    pub acting: Actor,
    /// What was counted up to here.
    pub counts: Vec<(&'static str, u64)>,
    /// The guest's function and its instructions.
    pub function: String,
    /// The instructions.
    pub code: Vec<Line>,
    /// What happens, and what it means.
    pub says: String,
}

/// The counts of a scene.
const COUNTS: [(&str, Counter); 6] = [
    ("requests served", Counter::Requests),
    ("pages out", Counter::UvPageOut),
    ("pages back in", Counter::UvPageIn),
    ("round trips", Counter::RoundTrips),
    ("pages shared", Counter::UvShare),
    ("copies", Counter::BounceCopies),
];

impl Scene {
    /// Step `step` of `story` in `run`; `focus` is the page to look at if the step is about none.
    pub fn of(story: &Story, step: usize, run: usize, focus: Option<u64>) -> Self {
        let told = &story.runs[run];
        let recording = &told.recording;
        let at = story.at(step, run);
        let before = step.checked_sub(1).map(|before| story.at(before, run));
        let record = recording.record(at);
        let unit = recording.plan.machine.unit.bytes();
        let focus = unit_of(&record.event, unit).or(focus);
        let counters = recording.counters(at);
        let place = recording.place(at);
        let function = place.and_then(|place| recording.listing.function(place));
        let (grid, pages) = grid(story, run, at, before, focus);
        Self {
            story: story.name.clone(),
            step: (step + 1, story.len()),
            title: story.title(step, run),
            run: (told.label.clone(), run + 1, story.runs.len()),
            time: words::time(record.t_ns),
            grid,
            pages,
            unit,
            focus: focus.map(|gfn| focus_words(recording, gfn, at)),
            acting: acting(&record.event),
            counts: COUNTS
                .map(|(name, counter)| (name, counters.sum(counter, &Phase::ALL)))
                .to_vec(),
            function: function.unwrap_or_else(|| match place {
                Some(place) => format!("{place:#x}"),
                None => "the guest has not run yet".to_owned(),
            }),
            code: place.map_or_else(Vec::new, |place| {
                recording.listing.around(place, INSTRUCTIONS.0, INSTRUCTIONS.1)
            }),
            says: story.says(step, run),
        }
    }
}

/// The page that a step is about.
pub fn focus_of(story: &Story, step: usize, run: usize) -> Option<u64> {
    let recording = &story.runs[run].recording;
    let unit = recording.plan.machine.unit.bytes();
    unit_of(&recording.record(story.at(step, run)).event, unit)
}

/// The grid around the page in focus, and how many pages there are to show in all. The runs of a
/// story with the same unit have the same pages in it, so that nothing moves when one switches.
fn grid(
    story: &Story,
    run: usize,
    at: usize,
    before: Option<usize>,
    focus: Option<u64>,
) -> (Vec<Cell>, usize) {
    let recording = &story.runs[run].recording;
    let unit = recording.plan.machine.unit;
    let alike = story.runs.iter().filter(|other| other.recording.plan.machine.unit == unit);
    let all: BTreeSet<u64> = alike.flat_map(|other| other.recording.units()).collect();
    let all: Vec<u64> = all.into_iter().collect();
    let (columns, rows) = GRID;
    let row = focus.map_or(0, |gfn| all.partition_point(|other| *other < gfn) / columns);
    let last_first = all.len().div_ceil(columns).saturating_sub(rows);
    let first = row.saturating_sub(rows / 2).min(last_first) * columns;
    let cell = |gfn: &u64| {
        let state = recording.state(*gfn, at);
        let moved = before.is_some_and(|before| recording.state(*gfn, before) != state);
        Cell { gfn: *gfn, state, in_focus: focus == Some(*gfn), moved }
    };
    (all.iter().skip(first).take(columns * rows).map(cell).collect(), all.len())
}

fn focus_words(recording: &Recording, gfn: u64, at: usize) -> String {
    let parts = uses(recording.parts(gfn));
    let what = if parts.is_empty() { String::new() } else { format!(" ({parts})") };
    let state = telling::state_words(recording.state(gfn, at));
    format!("{}{what}: {state}", telling::page(gfn))
}

/// What a page is used for, in a word or two.
fn uses(parts: impl Iterator<Item = Part>) -> String {
    let mut words: BTreeMap<u8, &str> = BTreeMap::new();
    for part in parts {
        let (order, word) = match part {
            Part::Desc | Part::Avail | Part::Used => (0, "ring"),
            Part::Indirect => (1, "list"),
            Part::Header => (2, "header"),
            Part::Data => (3, "data"),
            Part::Status => (4, "status"),
            Part::Hypercall => (5, "call"),
        };
        words.insert(order, word);
    }
    words.into_values().collect::<Vec<_>>().join(", ")
}

/// Who does what an event tells.
fn acting(event: &Event) -> Actor {
    match event {
        Event::Page { op, .. } => match op {
            PageOp::ShareBegin | PageOp::UnshareBegin => Actor::Guest,
            PageOp::TakeIn
            | PageOp::InitDone
            | PageOp::InitAbort
            | PageOp::ShareCommit
            | PageOp::ShareRevert
            | PageOp::UnshareGrant
            | PageOp::UnshareGranted
            | PageOp::UnshareCommit
            | PageOp::UnshareRevert
            | PageOp::PageIn
            | PageOp::PageOut
            | PageOp::Inval
            | PageOp::Terminate => Actor::Ultravisor,
        },
        Event::Tampered { .. } | Event::Life { .. } | Event::Measured { .. } => Actor::Ultravisor,
        Event::UvCall { caller, .. } => match caller {
            Caller::NormalGuest | Caller::SecureGuest => Actor::Guest,
            Caller::Hypervisor => Actor::Host,
        },
        Event::Touch { device: None, .. }
        | Event::Exit { .. }
        | Event::HvCall { .. }
        | Event::Register { .. }
        | Event::Status { .. }
        | Event::Sigbus { .. }
        | Event::Flip { .. }
        | Event::Plugged { .. }
        | Event::Leak { .. }
        | Event::LeaksLeftOut { .. }
        | Event::Actor { .. }
        | Event::Hot { .. }
        | Event::Comparison { .. } => Actor::Host,
        Event::Touch { device: Some(_), .. }
        | Event::Popped { .. }
        | Event::Completed { .. }
        | Event::Interrupt { .. }
        | Event::Broken { .. }
        | Event::Foreign { .. }
        | Event::Balloon { .. }
        | Event::IotlbMiss { .. }
        | Event::Frame { .. }
        | Event::IotlbHits { .. } => Actor::Device,
        Event::Kick { .. }
        | Event::Taken { .. }
        | Event::Woken { .. }
        | Event::Unwoken { .. }
        | Event::Wait { .. }
        | Event::Mark { .. }
        | Event::Retired { .. }
        | Event::Secret { .. }
        | Event::Report { .. }
        | Event::Console { .. }
        | Event::Decision { .. }
        | Event::DmaMap { .. }
        | Event::DmaUnmap { .. }
        | Event::DmaAlloc { .. }
        | Event::DmaFree { .. }
        | Event::Bounce { .. } => Actor::Guest,
    }
}
