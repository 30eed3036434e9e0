//! A run that goes forward and back: back is forward again, from the start, to an earlier moment.
//!
//! A moment is how many work units the guest has done and how many records there are then. Both only
//! grow, and however a machine is driven it comes through the same moments in the same order.

use super::monitor::EventBreak;
use super::watch::{self, Watch};
use crate::event::{Ended, Record};
use crate::guest_bus::Hidden;
use crate::machine::Machine;
use crate::run::{CannotRun, Prepared};
use std::collections::BTreeSet;
use ultravisor_abi::Gpa;

/// A moment of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Work units of the guest so far.
    pub units: u64,
    /// Records so far.
    pub records: usize,
}

/// Why the run stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// One instruction was executed, or undone.
    Stepped,
    /// The instruction at a breakpoint is next.
    Breakpoint,
    /// A watched access was made, or (going back) is next.
    Watch(Watch),
    /// An event that was asked for has happened, or (going back) is next.
    Event {
        /// As what it was asked for.
        name: String,
        /// Its record's number.
        record: usize,
    },
    /// The run is at its start.
    Start,
    /// The run has ended.
    Ended(Ended),
    /// So many units were done, and nothing has happened.
    Nothing,
}

/// Most bytes of an instruction (SDM volume 2, 2.3.11).
const INSTRUCTION_BYTES_MAX: usize = 15;
/// Breakpoints at one time.
pub const BREAKPOINTS_MAX: usize = 1024;

/// A run, and where it is.
pub struct Replay<'p> {
    prepared: &'p Prepared<'p>,
    machine: Machine<'p>,
    ended: Option<Ended>,
    breakpoints: BTreeSet<u64>,
    watches: Vec<Watch>,
    events: Vec<EventBreak>,
}

impl<'p> Replay<'p> {
    /// Before the first instruction.
    ///
    /// # Errors
    /// The machine cannot be powered on.
    pub fn new(prepared: &'p Prepared<'p>) -> Result<Self, CannotRun> {
        Ok(Self {
            prepared,
            machine: prepared.power_on()?,
            ended: None,
            breakpoints: BTreeSet::new(),
            watches: Vec::new(),
            events: Vec::new(),
        })
    }

    /// What is run.
    pub fn prepared(&self) -> &'p Prepared<'p> {
        self.prepared
    }

    /// The machine, to look at.
    pub fn machine(&self) -> &Machine<'p> {
        &self.machine
    }

    /// What happened so far.
    pub fn records(&self) -> &[Record] {
        self.machine.host().hv.recorder.records()
    }

    /// Where the run is.
    pub fn position(&self) -> Position {
        Position { units: self.machine.cpu().units(), records: self.records().len() }
    }

    /// Stops at the instruction at `address` from now on; `false`: there are too many.
    pub fn add_breakpoint(&mut self, address: u64) -> bool {
        if self.breakpoints.len() >= BREAKPOINTS_MAX {
            return false;
        }
        self.breakpoints.insert(address);
        self.machine.stop_at(address);
        true
    }

    /// Does not stop there any more; `false`: it did not.
    pub fn remove_breakpoint(&mut self, address: u64) -> bool {
        // The CPU still leaves its loop there, which changes nothing but its speed.
        self.breakpoints.remove(&address)
    }

    /// Stops at accesses from now on; `false`: there are too many, or it is too large.
    pub fn add_watch(&mut self, watch: Watch) -> bool {
        let fits = (1..=watch::WATCH_BYTES_MAX).contains(&watch.bytes);
        if !fits || self.watches.len() >= watch::WATCHES_MAX {
            return false;
        }
        self.watches.push(watch);
        self.machine.hide(watch::hidden(&self.watches));
        true
    }

    /// Does not stop at these accesses any more; `false`: it did not.
    pub fn remove_watch(&mut self, watch: Watch) -> bool {
        let Some(place) = self.watches.iter().position(|other| *other == watch) else {
            return false;
        };
        self.watches.remove(place);
        self.machine.hide(watch::hidden(&self.watches));
        true
    }

    /// The events to stop at.
    pub fn events(&self) -> &[EventBreak] {
        &self.events
    }

    /// The same, to change.
    pub fn events_mut(&mut self) -> &mut Vec<EventBreak> {
        &mut self.events
    }

    /// One instruction on.
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other reason is handed on")]
    pub fn step(&mut self) -> Stop {
        let start = self.position().units;
        loop {
            match self.advance(1).0 {
                Stop::Nothing | Stop::Breakpoint if self.position().units > start => {
                    return Stop::Stepped;
                }
                Stop::Nothing | Stop::Breakpoint => (),
                stop => return stop,
            }
        }
    }

    /// On, for `units` work units, until there is a reason to stop.
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other reason is handed on")]
    pub fn resume(&mut self, units: u64) -> Stop {
        let end = self.position().units.saturating_add(units);
        loop {
            let left = end.saturating_sub(self.position().units);
            if left == 0 {
                return Stop::Nothing;
            }
            match self.advance(left).0 {
                Stop::Nothing => (),
                stop => return stop,
            }
        }
    }

    /// One instruction back.
    ///
    /// # Errors
    /// The machine cannot be powered on again.
    pub fn step_back(&mut self) -> Result<Stop, CannotRun> {
        let units = self.position().units;
        self.restart()?;
        let Some(units) = units.checked_sub(1) else { return Ok(Stop::Start) };
        self.go_to(Position { units, records: 0 });
        Ok(Stop::Stepped)
    }

    /// Back to the last reason to stop before here, else to the start.
    ///
    /// # Errors
    /// The machine cannot be powered on again.
    pub fn resume_back(&mut self) -> Result<Stop, CannotRun> {
        let here = self.position();
        self.restart()?;
        let mut last = None;
        while self.position() < here && self.ended.is_none() {
            let left = here.units.saturating_sub(self.position().units).max(1);
            let (stop, place) = self.advance(left);
            if stop != Stop::Nothing && place < here {
                last = Some((stop, place));
            }
        }
        self.restart()?;
        let Some((stop, place)) = last else { return Ok(Stop::Start) };
        self.go_to(place);
        Ok(stop)
    }

    /// One step of the machine, of at most `units` work units: why to stop behind it, and where one
    /// stops for the same reason when one comes from the other side.
    fn advance(&mut self, units: u64) -> (Stop, Position) {
        let before = self.position();
        if let Some(ended) = &self.ended {
            return (Stop::Ended(ended.clone()), before);
        }
        self.ended = self.machine.step(units);
        if self.machine.is_at_hidden() { self.pass_hidden() } else { self.reason(before) }
    }

    /// Makes the access before which the machine has stopped.
    fn pass_hidden(&mut self) -> (Stop, Position) {
        let before = self.position();
        let watch = watch::hit(&self.watches, self.machine.cpu(), &self.code());
        self.machine.hide(Hidden::default());
        while self.ended.is_none() && self.position().units == before.units {
            self.ended = self.machine.step(1);
        }
        self.machine.hide(watch::hidden(&self.watches));
        // Going back one stops before the access, which is not made yet then.
        watch.map_or_else(|| self.reason(before), |watch| (Stop::Watch(watch), before))
    }

    fn reason(&self, before: Position) -> (Stop, Position) {
        let here = self.position();
        let unit = self.prepared.plan().machine.unit;
        let new = self.records().get(before.records..).unwrap_or_default();
        let event = new.iter().zip(before.records..).find_map(|(record, number)| {
            let meant = self.events.iter().find(|event| event.means(&record.event, unit))?;
            Some(Stop::Event { name: meant.to_string(), record: number })
        });
        if let Some(event) = event {
            return (event, before);
        }
        if let Some(ended) = &self.ended {
            return (Stop::Ended(ended.clone()), here);
        }
        // Without a unit done the guest has not come to the breakpoint but was there already.
        let came = here.units > before.units;
        let stops = came && self.breakpoints.contains(&self.machine.cpu().regs.rip);
        (if stops { Stop::Breakpoint } else { Stop::Nothing }, here)
    }

    /// The bytes of the next instruction, as the guest sees them.
    fn code(&self) -> Vec<u8> {
        let (memory, rip) = (self.machine.host().uv.memory(), self.machine.cpu().regs.rip);
        let mut bytes = vec![0; INSTRUCTION_BYTES_MAX];
        if !memory.peek(Gpa(rip), &mut bytes) {
            // The page behind may be away.
            bytes.truncate((4096 - rip % 4096) as usize);
            if !memory.peek(Gpa(rip), &mut bytes) {
                bytes.clear();
            }
        }
        bytes
    }

    /// Back to the start.
    fn restart(&mut self) -> Result<(), CannotRun> {
        self.machine = self.prepared.power_on()?;
        self.ended = None;
        self.breakpoints.iter().for_each(|address| self.machine.stop_at(*address));
        self.machine.hide(watch::hidden(&self.watches));
        Ok(())
    }

    /// On to a later moment of the run, past all reasons to stop.
    fn go_to(&mut self, place: Position) {
        self.machine.hide(Hidden::default());
        while self.position() < place && self.ended.is_none() {
            let left = place.units.saturating_sub(self.position().units).max(1);
            self.ended = self.machine.step(left);
        }
        self.machine.hide(watch::hidden(&self.watches));
    }
}
