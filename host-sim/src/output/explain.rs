//! Which events explain a result, and who is guilty of it.

use super::{ends, stuck, words};
use crate::counters::{Phase, PhaseClock};
use crate::escape;
use crate::event::{Cause, Chain, DeviceIndex, Event, Part, QueueIndex, Record, Seen};
use crate::log::RunLog;
use crate::scenario::plan::Plan;
use std::collections::BTreeMap;
use ultravisor::{Effect, Life, PageOp, PageState};

/// Events shown for one run.
const LINES_MAX: usize = 8;
/// Of one kind, the first few are enough.
const OF_A_KIND_MAX: usize = 2;
/// Guest functions shown of one call chain.
const FRAMES_MAX: usize = 3;

/// Lines shown of each console, and characters of a line.
const CONSOLE_LINES_MAX: usize = 3;
const CONSOLE_CHARS_MAX: usize = 160;

/// What explains a run's result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// Sentences in the order of the log, each with its virtual time, and why the guest could not
    /// go on; escaped.
    pub lines: Vec<String>,
    /// Who touched what from where in the guest; escaped.
    pub guilty: Option<String>,
    /// Of a run that got stuck: what was used up, what everybody was doing, where the guest spent
    /// its time; escaped.
    pub stuck: Vec<String>,
    /// The last lines that the guest printed, each behind its console's name; escaped.
    pub console: Vec<String>,
}

/// The kinds of event that explain something, the most telling last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Telling {
    PageIn,
    PageOut,
    SecureTouch,
    SealedTouch,
    Broken,
    Foreign,
    Flip,
    Report,
    Sigbus,
    Life,
    Comparison,
    Tampered,
    Leak,
}

/// Explains a run from its log.
pub fn explain(plan: &Plan, log: &RunLog) -> Explanation {
    let mut clock = PhaseClock::new(plan.guest.marks);
    let mut steady: Vec<(usize, Telling)> = Vec::new();
    let mut other: Vec<(usize, Telling)> = Vec::new();
    for (at, record) in log.records.iter().enumerate() {
        let here = if clock.phase() == Phase::Steady { &mut steady } else { &mut other };
        clock.follow(&record.event);
        let Some(kind) = telling(&record.event) else { continue };
        if here.iter().filter(|(_, known)| *known == kind).count() < OF_A_KIND_MAX {
            here.push((at, kind));
        }
    }
    // What went wrong in steady state tells most; what only happened elsewhere is added.
    let known: Vec<Telling> = steady.iter().map(|(_, kind)| *kind).collect();
    let is_minor =
        |kind: Telling| matches!(kind, Telling::PageIn | Telling::PageOut | Telling::SecureTouch);
    other.retain(|(_, kind)| !known.contains(kind) && (steady.is_empty() || !is_minor(*kind)));
    let mut chosen: Vec<usize> = steady.iter().chain(&other).map(|(at, _)| *at).collect();
    chosen.sort_unstable();
    chosen.truncate(LINES_MAX);
    let records = || chosen.iter().filter_map(|at| log.records.get(*at));
    Explanation {
        lines: records()
            .map(|record| line(plan, record))
            .chain(ends::sentence(&log.ended))
            .collect(),
        guilty: records().find_map(|record| guilty(plan, &record.event)),
        stuck: stuck::lines(plan, log),
        console: console(plan, log, CONSOLE_LINES_MAX, CONSOLE_CHARS_MAX),
    }
}

/// The last lines of each console, at most so many and so long, each behind its console's name and
/// escaped, in the order of the devices, the hypervisor's first.
pub fn console(plan: &Plan, log: &RunLog, lines_max: usize, chars_max: usize) -> Vec<String> {
    let mut texts: BTreeMap<Option<DeviceIndex>, Vec<u8>> = BTreeMap::new();
    for record in &log.records {
        if let Event::Console { device, bytes } = &record.event {
            texts.entry(*device).or_default().extend_from_slice(bytes);
        }
    }
    let lines = texts.iter().flat_map(|(device, text)| {
        let name = device.map_or("hvc0", |_| words::device(plan, *device));
        let lines: Vec<&[u8]> = text.trim_ascii_end().split(|byte| *byte == b'\n').collect();
        let last = lines.into_iter().rev().take(lines_max).collect::<Vec<_>>();
        last.into_iter().rev().map(move |line| {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            escape::console_line(name, line, chars_max)
        })
    });
    lines.collect()
}

fn telling(event: &Event) -> Option<Telling> {
    match event {
        Event::Leak { .. } => Some(Telling::Leak),
        Event::Tampered { .. } => Some(Telling::Tampered),
        Event::Comparison { wrong, .. } => (*wrong > 0).then_some(Telling::Comparison),
        Event::Life { to, .. } => (*to == Life::Terminated).then_some(Telling::Life),
        Event::Sigbus { .. } => Some(Telling::Sigbus),
        Event::Report { .. } => Some(Telling::Report),
        Event::Foreign { .. } => Some(Telling::Foreign),
        Event::Flip { .. } => Some(Telling::Flip),
        Event::Broken { .. } => Some(Telling::Broken),
        Event::Touch { state: PageState::Secure, .. } => Some(Telling::SecureTouch),
        Event::Touch { seen: Seen::Sealed | Seen::Fault, .. } => Some(Telling::SealedTouch),
        Event::Page { op: PageOp::PageOut, .. } => Some(Telling::PageOut),
        Event::Page { op: PageOp::PageIn, effect: Effect::Unseal, .. } => Some(Telling::PageIn),
        Event::Touch { .. }
        | Event::Page { .. }
        | Event::Exit { .. }
        | Event::UvCall { .. }
        | Event::HvCall { .. }
        | Event::Measured { .. }
        | Event::Register { .. }
        | Event::Kick { .. }
        | Event::Popped { .. }
        | Event::Completed { .. }
        | Event::Interrupt { .. }
        | Event::Status { .. }
        | Event::Wait { .. }
        | Event::Mark { .. }
        | Event::Retired { .. }
        | Event::Secret { .. }
        | Event::Console { .. }
        | Event::Decision { .. }
        | Event::DmaMap { .. }
        | Event::DmaUnmap { .. }
        | Event::DmaAlloc { .. }
        | Event::DmaFree { .. }
        | Event::Balloon { .. }
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
        | Event::Bounce { .. } => None,
    }
}

fn line(plan: &Plan, record: &Record) -> String {
    let text = format!("t={}  {}", words::time(record.t_ns), sentence(plan, &record.event));
    escape::terminal_cut(&text, 400)
}

fn sentence(plan: &Plan, event: &Event) -> String {
    match event {
        Event::Touch { .. } => touch(plan, event),
        Event::Page { gfn, op: PageOp::PageOut, cause, .. } => {
            format!("unit {gfn:#x} goes out{}", because(plan, *cause))
        }
        Event::Page { gfn, .. } => format!("unit {gfn:#x} comes back in"),
        Event::Tampered { gfn, writer } => {
            format!("unit {gfn:#x} fails verification{}", by_whom(plan, *writer))
        }
        Event::Leak { place, at } => {
            format!("a declared secret shows in plain: {place:?} at {at:#x}")
        }
        Event::Comparison { device, what, bytes, wrong, first_wrong } => format!(
            "{}: {wrong} of {bytes} bytes compared ({what:?}) are wrong, the first at offset {:#x}",
            words::device(plan, Some(*device)),
            first_wrong.unwrap_or(0),
        ),
        Event::Report { report, name } => format!("the guest reports {}: `{name}`", report.name()),
        Event::Broken { device, queue, reason, .. } => {
            let who = words::toucher(plan, Some(*device), Some(*queue));
            format!("{who} gives up its ring: {reason}")
        }
        Event::Foreign { device, queue, dma } => {
            let who = words::toucher(plan, Some(*device), Some(*queue));
            format!("{who} was given {dma:#x}, which the DMA API did not make")
        }
        Event::Flip { device } => {
            let who = words::device(plan, Some(*device));
            format!("{who}: QEMU, told of the switch, turns iommu_platform on")
        }
        Event::Sigbus { gfn } => format!("QEMU gets SIGBUS: unit {gfn:#x} could not be paged out"),
        Event::Life { from, to } => format!("the VM goes from {} to {}", from.name(), to.name()),
        // Not among the telling ones.
        Event::Exit { .. }
        | Event::UvCall { .. }
        | Event::HvCall { .. }
        | Event::Measured { .. }
        | Event::Register { .. }
        | Event::Kick { .. }
        | Event::Popped { .. }
        | Event::Completed { .. }
        | Event::Interrupt { .. }
        | Event::Status { .. }
        | Event::Wait { .. }
        | Event::Mark { .. }
        | Event::Retired { .. }
        | Event::Secret { .. }
        | Event::Console { .. }
        | Event::Decision { .. }
        | Event::DmaMap { .. }
        | Event::DmaUnmap { .. }
        | Event::DmaAlloc { .. }
        | Event::DmaFree { .. }
        | Event::Balloon { .. }
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
        | Event::Bounce { .. } => format!("{event:?}"),
    }
}

fn touch(plan: &Plan, event: &Event) -> String {
    let Event::Touch { device, queue, part, direction, gpa, bytes, state, seen, .. } = event else {
        return String::new();
    };
    format!(
        "{}, {} {bytes} bytes of {} at {gpa:#x} ({} unit): {}",
        words::toucher(plan, *device, *queue),
        direction.doing(),
        part.name(),
        state.name(),
        seen_words(*seen),
    )
}

fn by_whom(plan: &Plan, writer: Option<Cause>) -> String {
    writer.map_or_else(
        || ", and nobody of ours wrote there".to_owned(),
        |writer| format!(": {} last", words::cause(plan, writer)),
    )
}

fn because(plan: &Plan, cause: Option<Cause>) -> String {
    cause.map_or_else(String::new, |cause| format!(": {}", words::cause(plan, cause)))
}

fn seen_words(seen: Seen) -> &'static str {
    match seen {
        Seen::Plain => "sees plain bytes",
        Seen::Sealed => "sees ciphertext",
        Seen::Own => "sees a page of the host's own",
        Seen::Fault => "fails",
    }
}

fn guilty(plan: &Plan, event: &Event) -> Option<String> {
    let Event::Touch { device, queue, part, state, chain, .. } = event else { return None };
    if *state == PageState::Shared {
        return None;
    }
    Some(escape::terminal_cut(&accusation(plan, (*device, *queue, *part), chain.as_ref()), 600))
}

fn accusation(
    plan: &Plan,
    (device, queue, part): (Option<DeviceIndex>, Option<QueueIndex>, Part),
    chain: Option<&Chain>,
) -> String {
    let what = format!("{}, {}", words::toucher(plan, device, queue), part.name());
    let Some(chain) = chain else { return format!("{what}; no kick of the guest caused it") };
    format!("{what}; kicked by the guest in {}", words::chain(chain, FRAMES_MAX))
}
