//! gdb's `monitor`: what no debugger knows of, pages, conversions, and whose eyes one looks with.

use super::replay::Stop;
use super::target::Debugged;
use crate::demo::{plain_sentence, unit_of};
use crate::escape;
use crate::event::{Cause, Event, Record};
use crate::output::words;
use crate::scenario::diagnostics::nearest;
use crate::scenario::plan::Plan;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use ultravisor::memory::Memory;
use ultravisor::{Effect, PageOp, PageState};
use ultravisor_abi::{Gfn, Gpa, UnitSize};

/// Lines of a history: the last ones.
const HISTORY_MAX: usize = 40;
/// Events that are stopped at.
const EVENTS_MAX: usize = 64;
/// How far back `why` looks for what led here.
const LOOKED_AT_MAX: usize = 100_000;

/// Whose eyes memory is read with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The guest's: pages that are away cannot be read.
    Guest,
    /// The hypervisor's, QEMU's and a device's: of a secure page, ciphertext.
    Host,
    /// The ultravisor's.
    Ultravisor,
}

impl View {
    const ALL: [(&'static str, Self); 3] =
        [("guest", Self::Guest), ("host", Self::Host), ("ultravisor", Self::Ultravisor)];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, view)| *view == self).map_or("", |(name, _)| name)
    }

    /// Reads as much from `start` on as can be seen; how much. No page is converted for it.
    pub fn read(self, memory: &Memory, start: Gpa, out: &mut [u8]) -> usize {
        let mut done = 0;
        while done < out.len() {
            let Some(at) = start.0.checked_add(done as u64) else { break };
            let room = usize::try_from(4096 - at % 4096).unwrap_or(4096).min(out.len() - done);
            let chunk = &mut out[done..done + room];
            let seen = match self {
                Self::Guest => memory.peek(Gpa(at), chunk),
                Self::Host => memory.peek_outside(Gpa(at), chunk),
                Self::Ultravisor => memory.peek_inside(Gpa(at), chunk),
            };
            if !seen {
                break;
            }
            done += room;
        }
        done
    }
}

/// A word for an event, and whether an event is that.
type Kind = (&'static str, fn(&Event) -> bool);

/// The events that one can stop at.
const KINDS: [Kind; 12] = [
    ("uv.page_out", |event| matches!(event, Event::Page { op: PageOp::PageOut, .. })),
    ("uv.page_in", |event| {
        matches!(event, Event::Page { op: PageOp::PageIn, effect: Effect::Unseal, .. })
    }),
    ("uv.share", |event| matches!(event, Event::Page { op: PageOp::ShareCommit, .. })),
    ("uv.unshare", |event| matches!(event, Event::Page { op: PageOp::UnshareCommit, .. })),
    ("uv.tampered", |event| matches!(event, Event::Tampered { .. })),
    ("touch", |event| matches!(event, Event::Touch { .. })),
    ("kick", |event| matches!(event, Event::Kick { .. })),
    ("bounce", |event| matches!(event, Event::Bounce { .. })),
    ("request", |event| matches!(event, Event::Completed { data: true, .. })),
    ("mark", |event| matches!(event, Event::Mark { .. })),
    ("report", |event| matches!(event, Event::Report { .. })),
    ("leak", |event| matches!(event, Event::Leak { .. })),
];

/// An event to stop at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventBreak {
    /// Which of [`KINDS`].
    kind: usize,
    /// Of which page alone.
    page: Option<u64>,
}

impl EventBreak {
    /// Stops at the events of this name, of one page or of all; `None`: there is no such event.
    pub fn named(name: &str, page: Option<u64>) -> Option<Self> {
        let kind = KINDS.iter().position(|(known, _)| *known == name)?;
        Some(Self { kind, page })
    }

    /// Whether this event is one.
    pub fn means(&self, event: &Event, unit: UnitSize) -> bool {
        let is_kind = KINDS.get(self.kind).is_some_and(|(_, is)| is(event));
        is_kind && self.page.is_none_or(|page| unit_of(event, unit.bytes()) == Some(page))
    }
}

impl fmt::Display for EventBreak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = KINDS.get(self.kind).map_or("", |(name, _)| name);
        match self.page {
            Some(page) => write!(f, "{name} {page:#x}"),
            None => write!(f, "{name}"),
        }
    }
}

const HELP: &str = "\
monitor view guest|host|ultravisor  whose eyes memory is read with; no page is converted for it
monitor pages                       the states of all pages that anybody has touched
monitor page N                      one page (0x13 or 19): its state and its history
monitor break EVENT [PAGE]          stop at an event, also when going back:
                                    uv.page_out uv.page_in uv.share uv.unshare uv.tampered touch
                                    kick bounce request mark report leak
monitor breaks                      the events that are stopped at
monitor delete [N]                  no more stops at event number N, or at any
monitor why                         what led to where the run is
monitor where                       virtual time and position
Registers and memory are read-only: a run that was changed could not be gone back in.
";

/// The answer to a command; each line ends with a line feed.
pub fn answer(debugged: &mut Debugged<'_>, command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().take(8).collect();
    match words.as_slice() {
        [] | ["help"] => HELP.to_owned(),
        ["view"] => format!("memory is read as the {} sees it\n", debugged.view.name()),
        ["view", name] => match View::ALL.iter().find(|(known, _)| known == name) {
            Some((_, view)) => {
                debugged.view = *view;
                // gdb keeps what it has read.
                format!("memory is read as the {name} sees it (gdb: `maint flush dcache`)\n")
            }
            None => "there are views guest, host and ultravisor\n".to_owned(),
        },
        ["pages"] => pages(debugged.replay.machine().host().uv.memory()),
        ["page", number] => match parse(number) {
            Some(page) => history(debugged, page),
            None => "write the page's number as 0x13 or 19\n".to_owned(),
        },
        ["break", name] => break_at(debugged, name, None),
        ["break", name, number] => match parse(number) {
            Some(page) => break_at(debugged, name, Some(page)),
            None => "write the page's number as 0x13 or 19\n".to_owned(),
        },
        ["break"] => "write `monitor break EVENT`; `monitor help` has an example\n".to_owned(),
        ["breaks"] => breaks(debugged),
        ["delete"] => {
            debugged.replay.events_mut().clear();
            breaks(debugged)
        }
        ["delete", number] => {
            let place = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
            match place.filter(|place| *place < debugged.replay.events().len()) {
                Some(place) => {
                    debugged.replay.events_mut().remove(place);
                    breaks(debugged)
                }
                None => "there is no event of that number: `monitor breaks`\n".to_owned(),
            }
        }
        ["why"] => why(debugged),
        ["where"] => place(debugged),
        [word, ..] => {
            let known =
                ["help", "view", "pages", "page", "break", "breaks", "delete", "why", "where"];
            let near = nearest(word, known)
                .map_or_else(String::new, |near| format!("; did you mean `monitor {near}`?"));
            let word = escape::terminal_cut(word, 40);
            format!("there is no `monitor {word}`{near}\n`monitor help` lists all\n")
        }
    }
}

fn parse(number: &str) -> Option<u64> {
    match number.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => number.parse().ok(),
    }
}

fn break_at(debugged: &mut Debugged<'_>, name: &str, page: Option<u64>) -> String {
    let Some(event) = EventBreak::named(name, page) else {
        let names = || KINDS.iter().map(|(known, _)| *known);
        let near = nearest(name, names())
            .map_or_else(String::new, |near| format!("did you mean `{near}`? "));
        let all: Vec<&str> = names().collect();
        return format!("no such event; {near}there are {}\n", all.join(", "));
    };
    if debugged.replay.events().len() >= EVENTS_MAX {
        return format!("there are {EVENTS_MAX} already: `monitor delete`\n");
    }
    debugged.replay.events_mut().push(event);
    breaks(debugged)
}

fn breaks(debugged: &Debugged<'_>) -> String {
    let events = debugged.replay.events();
    if events.is_empty() {
        return "no event is stopped at\n".to_owned();
    }
    let lines = events.iter().zip(1..).map(|(event, number)| format!("{number}  {event}\n"));
    lines.collect()
}

/// Ranges of pages in one state.
fn pages(memory: &Memory) -> String {
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    let mut ranges: Vec<(u64, u64, PageState)> = Vec::new();
    for (gfn, state) in memory.touched() {
        *totals.entry(state.name()).or_default() += 1;
        match ranges.last_mut() {
            Some((_, last, known)) if *known == state && *last + 1 == gfn.0 => *last = gfn.0,
            _ => ranges.push((gfn.0, gfn.0, state)),
        }
    }
    let totals: Vec<String> =
        totals.into_iter().map(|(state, count)| format!("{count} {state}")).collect();
    let mut out = format!(
        "pages of {} KiB that anybody wrote or converted: {}\n",
        memory.unit().bytes() / 1024,
        totals.join(", ")
    );
    let more = ranges.len().saturating_sub(HISTORY_MAX);
    for (first, last, state) in ranges.into_iter().take(HISTORY_MAX) {
        line(&mut out, &format!("{first:#x}..{last:#x}  {}", state.name()));
    }
    if more > 0 {
        line(&mut out, &format!("and {more} ranges more: `monitor page N`"));
    }
    out
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{}", escape::terminal_cut(text, 300)).expect("a String takes it");
}

/// What happened to a page up to here.
fn history(debugged: &Debugged<'_>, page: u64) -> String {
    let replay = &debugged.replay;
    let memory = replay.machine().host().uv.memory();
    let start = page.checked_mul(memory.unit().bytes()).map(Gpa);
    if start.is_none_or(|start| !memory.is_ram(start, 1)) {
        return "that is no page of the guest's RAM\n".to_owned();
    }
    let plan = replay.prepared().plan();
    let unit = plan.machine.unit.bytes();
    let about = |record: &&Record| unit_of(&record.event, unit) == Some(page);
    let all: Vec<&Record> = replay.records().iter().filter(about).collect();
    let mut out = format!(
        "page {page:#x} is {}; {}\n",
        memory.state(Gfn(page)).name(),
        words::count(all.len(), "event")
    );
    let skipped = all.len().saturating_sub(HISTORY_MAX);
    if skipped > 0 {
        line(&mut out, &format!("... {skipped} before"));
    }
    for record in all.into_iter().skip(skipped) {
        line(&mut out, &told(plan, record));
    }
    out
}

/// One record in a line.
#[expect(clippy::wildcard_enum_match_arm, reason = "the demo has the sentences of the others")]
fn told(plan: &Plan, record: &Record) -> String {
    let said = match &record.event {
        Event::Page { gfn, op, from, to, cause, .. } => {
            let cause = cause.map_or_else(String::new, |cause| match cause {
                Cause::Asked => ": the hypervisor asked for it".to_owned(),
                cause => format!(": {}", words::cause(plan, cause)),
            });
            format!("page {gfn:#x}: {} ({} -> {}){cause}", op.name(), from.name(), to.name())
        }
        other => plain_sentence(plan, other),
    };
    format!("#{} t={}  {said}", record.seq, words::time(record.t_ns))
}

/// What led to where the run is: the last conversion or what it stopped at, the touch before it, and
/// the kick before that with its chain of calls.
#[expect(clippy::wildcard_enum_match_arm, reason = "any other stop has no event of its own")]
fn why(debugged: &Debugged<'_>) -> String {
    let replay = &debugged.replay;
    let (plan, records) = (replay.prepared().plan(), replay.records());
    let mut out = format!("{}\n", stopped(&debugged.stop));
    if matches!(debugged.stop, Stop::Event { record, .. } if record >= records.len()) {
        out.push_str("going back, that event is what happens next; before it:\n");
    }
    let at = match debugged.stop {
        Stop::Event { record, .. } if record < records.len() => Some(record),
        _ => records.iter().rposition(|record| {
            matches!(record.event, Event::Page { .. } | Event::Tampered { .. })
        }),
    };
    let Some(at) = at else {
        out.push_str("no page has been converted yet\n");
        return out;
    };
    let from = at.saturating_sub(LOOKED_AT_MAX);
    let before = |is: fn(&Event) -> bool| {
        let found = records[from..at].iter().rposition(|record| is(&record.event));
        found.map(|place| from + place)
    };
    let touch = before(|event| matches!(event, Event::Touch { .. }));
    let kick = before(|event| matches!(event, Event::Kick { .. }));
    let caused = matches!(records[at].event, Event::Page { cause: Some(Cause::Touch { .. }), .. });
    let led: Vec<usize> = kick.into_iter().chain(touch.filter(|_| caused)).chain([at]).collect();
    for number in led {
        line(&mut out, &told(plan, &records[number]));
        if let Event::Kick { chain, .. } = &records[number].event {
            for frame in chain.iter().take(8) {
                line(&mut out, &format!("    {:#x} {}", frame.pc, frame.function));
            }
        }
    }
    out
}

/// Why the run stands still, in a line.
pub fn stopped(stop: &Stop) -> String {
    match stop {
        Stop::Stepped => "stopped after one instruction".to_owned(),
        Stop::Breakpoint => "stopped at a breakpoint".to_owned(),
        Stop::Watch(watch) => {
            format!("stopped at an access to {} bytes at {:#x}", watch.bytes, watch.address)
        }
        Stop::Event { name, record } => format!("stopped at {name}, event #{record}"),
        Stop::Start => "the run is at its start".to_owned(),
        Stop::Ended(ended) => format!("the run has ended: {ended}"),
        Stop::Nothing => "stopped because you asked".to_owned(),
    }
}

fn place(debugged: &Debugged<'_>) -> String {
    let replay = &debugged.replay;
    let position = replay.position();
    let now = replay.machine().host().hv.recorder.now_ns();
    format!(
        "t={}, work unit {}, {} of the log; {}\n",
        words::time(now),
        position.units,
        words::count(position.records, "event"),
        stopped(&debugged.stop)
    )
}
