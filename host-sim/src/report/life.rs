//! One page's life: who did what to it, step by step, with what it cost and which state came of it.

use super::pages::Shade;
use super::repeats;
use super::sentence;
use super::spent;
use crate::event::{DeviceIndex, Event, Part, QueueIndex, Record};
use crate::saved::Facts;
use std::collections::BTreeSet;
use ultravisor::{Effect, PageOp};

/// Steps that are followed of one page: rounds are counted over these.
pub const STEPS_MAX: usize = 400_000;

/// Who acts, or is acted on: the lanes of the pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// The guest.
    Guest,
    /// The ultravisor.
    Ultravisor,
    /// The hypervisor and QEMU.
    Host,
    /// A device's back end.
    Device,
}

impl Lane {
    /// All, from the most to the least trusted.
    pub const ALL: [Self; 4] = [Self::Guest, Self::Ultravisor, Self::Host, Self::Device];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Ultravisor => "ultravisor",
            Self::Host => "host",
            Self::Device => "device",
        }
    }
}

/// What kind of step it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The guest notifies a device.
    Kick,
    /// The host side reads or writes.
    Touch,
    /// The page is sealed and handed out.
    PageOut,
    /// It comes back.
    PageIn,
    /// It is shared, or taken back.
    Share,
    /// It enters secure memory, or leaves it for good.
    Move,
    /// The guest copies to or from it.
    Bounce,
    /// Something went wrong.
    Fault,
}

impl Kind {
    /// Its letter.
    pub const fn glyph(self) -> &'static str {
        match self {
            Self::Kick => "K",
            Self::Touch => "T",
            Self::PageOut => "O",
            Self::PageIn => "I",
            Self::Share => "S",
            Self::Move => "M",
            Self::Bounce => "B",
            Self::Fault => "!",
        }
    }

    /// Its name, which is its class in the page too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kick => "kick",
            Self::Touch => "touch",
            Self::PageOut => "page-out",
            Self::PageIn => "page-in",
            Self::Share => "share",
            Self::Move => "move",
            Self::Bounce => "bounce",
            Self::Fault => "fault",
        }
    }

    /// Whether the page changes hands.
    pub const fn converts(self) -> bool {
        match self {
            Self::PageOut | Self::PageIn | Self::Share => true,
            Self::Kick | Self::Touch | Self::Move | Self::Bounce | Self::Fault => false,
        }
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The first event of it.
    pub seq: u64,
    /// Virtual time.
    pub t_ns: u64,
    /// How many events it is: touches of one kind in a row are one step.
    pub events: u64,
    /// What kind.
    pub kind: Kind,
    /// From whom.
    pub from: Lane,
    /// To whom.
    pub to: Lane,
    /// A few words for an arrow.
    pub short: String,
    /// The sentence.
    pub sentence: String,
    /// What it costs, in nanoseconds.
    pub cost_ns: u64,
    /// The page's state after it.
    pub state: Shade,
    /// The guest function behind it.
    pub function: Option<String>,
}

impl Step {
    /// What makes two steps the same in a repeat: all but when and how dear.
    pub fn key(&self) -> (Kind, Lane, Lane, &str, Shade) {
        (self.kind, self.from, self.to, &self.short, self.state)
    }
}

/// A page's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// Which page.
    pub gfn: u64,
    /// What happened to it.
    pub steps: Vec<Step>,
    /// Steps that were not kept.
    pub dropped: u64,
}

/// Steps that are kept for the first picture.
pub const FIRST_MAX: usize = 120;
/// Steps that are kept of rounds.
const ROUNDS_MAX: usize = 80;

/// Steps in a row, and how often they come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// The steps, as they were the first time.
    pub steps: Vec<Step>,
    /// How often.
    pub times: usize,
}

/// What the pictures show of a life: its beginning step by step, and all of it with repeats folded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// Which page.
    pub gfn: u64,
    /// How many steps it has.
    pub total: u64,
    /// The first of them.
    pub first: Vec<Step>,
    /// The rounds, as far as there is room.
    pub rounds: Vec<Round>,
    /// Steps that had no room, repeats folded, and those that were not followed.
    pub left_out: u64,
}

impl Life {
    /// What the pictures show of it.
    pub fn story(mut self) -> Story {
        let keys: Vec<_> = self.steps.iter().map(Step::key).collect();
        let folds = repeats::fold(&keys);
        let (mut room, mut left_out) = (ROUNDS_MAX, self.dropped);
        let mut rounds = Vec::new();
        for fold in folds {
            let kept = fold.items.min(room);
            room -= kept;
            left_out += (fold.items - kept) as u64;
            if kept > 0 {
                let steps = self.steps[fold.from..fold.from + kept].to_vec();
                let times = if kept == fold.items { fold.times } else { 1 };
                rounds.push(Round { steps, times });
            }
        }
        let total = self.steps.len() as u64 + self.dropped;
        self.steps.truncate(FIRST_MAX);
        Story { gfn: self.gfn, total, first: self.steps, rounds, left_out }
    }
}

impl Story {
    /// The events that the pictures point to.
    pub fn seqs(&self) -> impl Iterator<Item = u64> {
        let rounds = self.rounds.iter().flat_map(|round| &round.steps);
        self.first.iter().chain(rounds).map(|step| step.seq)
    }
}

/// The touch that a step was made of last, to which the next may be added.
type Touched = (Option<DeviceIndex>, Option<QueueIndex>, Part, bool);

impl Life {
    /// Follows page `gfn` through a log.
    pub fn of(facts: &Facts, records: &[Record], gfn: u64) -> Self {
        let devices = users(records, gfn);
        let mut fold = Fold {
            facts,
            life: Self { gfn, steps: Vec::new(), dropped: 0 },
            state: before(records, gfn),
            touched: None,
            devices,
        };
        records.iter().for_each(|record| fold.see(record));
        fold.life
    }
}

/// The state of a page before the first event about it: `UV_ESM` makes pages secure of which no
/// event tells.
#[expect(clippy::wildcard_enum_match_arm, reason = "no other event knows a page's state")]
fn before(records: &[Record], page: u64) -> Shade {
    let first = records.iter().find_map(|record| {
        let state = match &record.event {
            Event::Touch { gfn, state, .. } => (*gfn == page).then_some(*state),
            Event::Page { gfn, from, .. } => (*gfn == page).then_some(*from),
            _ => None,
        };
        state.map(Shade::of)
    });
    first.unwrap_or(Shade::Normal)
}

/// The devices that touch a page: their kicks belong to its life.
fn users(records: &[Record], page: u64) -> BTreeSet<DeviceIndex> {
    let mut devices = BTreeSet::new();
    for record in records {
        if let Event::Touch { device: Some(device), gfn, .. } = &record.event
            && *gfn == page
        {
            devices.insert(*device);
        }
    }
    devices
}

struct Fold<'a> {
    facts: &'a Facts,
    life: Life,
    state: Shade,
    touched: Option<Touched>,
    devices: BTreeSet<DeviceIndex>,
}

impl Fold<'_> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "no other event is about a page")]
    fn see(&mut self, record: &Record) {
        let page = self.life.gfn;
        let holds = |address: u64| address >> self.facts.machine.unit.order() == page;
        match &record.event {
            Event::Touch { gfn, .. } if *gfn == page => self.touch(record),
            Event::Page { gfn, .. } if *gfn == page => self.page(record),
            Event::Tampered { gfn, .. } | Event::Sigbus { gfn } if *gfn == page => {
                let to = Lane::Ultravisor;
                self.push(record, (Kind::Fault, Lane::Host, to), "fails verification".into());
            }
            Event::Kick { device, .. } if self.devices.contains(device) => {
                let short = format!("kick {}", sentence::device(self.facts, Some(*device)));
                self.push(record, (Kind::Kick, Lane::Guest, Lane::Device), short);
            }
            Event::Bounce { slot, original, back, .. } if holds(*slot) || holds(*original) => {
                let short = if *back { "bounce back" } else { "bounce out" };
                self.push(record, (Kind::Bounce, Lane::Guest, Lane::Guest), short.into());
            }
            _ => (),
        }
    }

    fn touch(&mut self, record: &Record) {
        let Event::Touch { device, queue, part, direction, state, .. } = &record.event else {
            return;
        };
        self.state = Shade::of(*state);
        let is_write = direction.doing() == "writing";
        let touched = Some((*device, *queue, *part, is_write));
        if self.touched == touched
            && let Some(last) = self.life.steps.last_mut()
        {
            last.events += 1;
            return;
        }
        let (verb, who) = (if is_write { "write" } else { "read" }, *device);
        let from = if who.is_some() { Lane::Device } else { Lane::Host };
        let short = format!("{verb} {}", part.name());
        self.push(record, (Kind::Touch, from, Lane::Host), short);
        self.touched = touched;
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the other rows of the table are moves")]
    fn page(&mut self, record: &Record) {
        let Event::Page { op, to, effect, .. } = &record.event else { return };
        self.state = Shade::of(*to);
        let uv = Lane::Ultravisor;
        let (arrow, short) = match op {
            PageOp::PageOut => ((Kind::PageOut, uv, Lane::Host), "page-out"),
            PageOp::PageIn if *effect == Effect::Unseal => {
                ((Kind::PageIn, uv, Lane::Guest), "page-in")
            }
            PageOp::ShareCommit => ((Kind::Share, Lane::Guest, Lane::Host), "share"),
            PageOp::UnshareCommit if *effect == Effect::ZeroSecure => {
                ((Kind::Share, Lane::Host, Lane::Guest), "unshare")
            }
            PageOp::TakeIn => ((Kind::Move, Lane::Guest, uv), "taken in"),
            PageOp::Terminate => ((Kind::Move, uv, Lane::Host), "VM ends"),
            _ => return,
        };
        self.push(record, arrow, short.into());
    }

    fn push(&mut self, record: &Record, (kind, from, to): (Kind, Lane, Lane), short: String) {
        self.touched = None;
        if self.life.steps.len() == STEPS_MAX {
            self.life.dropped += 1;
            return;
        }
        self.life.steps.push(Step {
            seq: record.seq,
            t_ns: record.t_ns,
            events: 1,
            kind,
            from,
            to,
            short,
            sentence: sentence::of(self.facts, &record.event),
            cost_ns: spent::costs(self.facts).of(&record.event, self.facts.machine.unit),
            state: self.state,
            function: function(&record.event),
        });
    }
}

/// The guest function that led to an event.
fn function(event: &Event) -> Option<String> {
    let (Event::Touch { chain: Some(chain), .. } | Event::Kick { chain, .. }) = event else {
        return None;
    };
    // The outer frame tells more than the notification itself.
    let frame = chain.get(1).or_else(|| chain.first())?;
    (!frame.function.is_empty()).then(|| frame.function.clone())
}
