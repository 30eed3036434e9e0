//! An event in one plain sentence, with what it cost and what it is the how-manieth of.

#![expect(clippy::wildcard_enum_match_arm, reason = "each sentence names the events that it tells")]

use super::recording::{Recording, unit_of};
use crate::counters::{Counter, Counters, Phase};
use crate::escape;
use crate::event::{
    Cause, Compared, DeviceIndex, Direction, Event, LeakPlace, Mark, Part, Record, Seen, WaitBy,
};
use crate::output::words;
use crate::scenario::chapter::{Piece, pieces};
use crate::scenario::plan::Plan;
use ultravisor::{Effect, Life, PageOp, PageState};

/// Most characters of a guest's or a file's own words in a sentence.
const QUOTED_MAX: usize = 60;

/// `text` with its words in braces filled in from record `at` of a log.
///
/// # Errors
/// A word that this record says nothing about.
pub fn filled<'t>(text: &'t str, recording: &Recording, at: usize) -> Result<String, &'t str> {
    let counters = recording.counters(at);
    let mut out = String::with_capacity(text.len());
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Word(word) => {
                out.push_str(&word_of(word, recording, at, &counters).ok_or(word)?);
            }
        }
    }
    Ok(escape::terminal(&out))
}

fn word_of(word: &str, recording: &Recording, at: usize, counters: &Counters) -> Option<String> {
    let record = recording.record(at);
    if let Some(counter) = Counter::from_name(word) {
        let value = counters.sum(counter, &Phase::ALL);
        return Some(match counter == Counter::TimeNs {
            true => words::time(value),
            false => value.to_string(),
        });
    }
    let unit = recording.plan.machine.unit.bytes();
    let event = &record.event;
    match word {
        "page" => unit_of(event, unit).map(page),
        "address" => address_of(event).map(|at| format!("{at:#x}")),
        "bytes" => bytes_of(event).map(|bytes| bytes.to_string()),
        "part" => part_of(event).map(|part| part_words(part).to_owned()),
        "device" => {
            device_of(event).map(|device| words::device(&recording.plan, Some(device)).to_owned())
        }
        "time" => Some(words::time(record.t_ns)),
        "took" => Some(words::time(recording.took_ns(at))),
        "outcome" => Some(recording.outcome.name().to_owned()),
        "name" => match event {
            Event::Report { name, .. } => Some(name.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// How a unit is called: by its number.
pub fn page(gfn: u64) -> String {
    format!("page {gfn:#x}")
}

fn address_of(event: &Event) -> Option<u64> {
    match event {
        Event::Touch { gpa, .. } | Event::Secret { gpa, .. } => Some(*gpa),
        Event::Bounce { slot, .. } => Some(*slot),
        Event::DmaMap { dma, .. } | Event::Foreign { dma, .. } => Some(*dma),
        Event::Leak { at, .. } => Some(*at),
        _ => None,
    }
}

fn bytes_of(event: &Event) -> Option<u64> {
    match event {
        Event::Touch { bytes, .. }
        | Event::Page { bytes, .. }
        | Event::Bounce { bytes, .. }
        | Event::Secret { bytes, .. }
        | Event::DmaMap { bytes, .. }
        | Event::Comparison { bytes, .. } => Some(*bytes),
        _ => None,
    }
}

fn part_of(event: &Event) -> Option<Part> {
    match event {
        Event::Touch { part, .. }
        | Event::Page { cause: Some(Cause::Touch { part, .. }), .. }
        | Event::Tampered { writer: Some(Cause::Touch { part, .. }), .. } => Some(*part),
        _ => None,
    }
}

/// The device that an event is about.
pub fn device_of(event: &Event) -> Option<DeviceIndex> {
    match event {
        Event::Touch { device, .. }
        | Event::Console { device, .. }
        | Event::Page { cause: Some(Cause::Touch { device, .. }), .. } => *device,
        Event::Register { device, .. }
        | Event::Kick { device, .. }
        | Event::Popped { device, .. }
        | Event::Completed { device, .. }
        | Event::Interrupt { device, .. }
        | Event::Status { device, .. }
        | Event::Broken { device, .. }
        | Event::Foreign { device, .. }
        | Event::Balloon { device, .. }
        | Event::Flip { device }
        | Event::Plugged { device }
        | Event::IotlbMiss { device, .. }
        | Event::IotlbHits { device, .. }
        | Event::Comparison { device, .. } => Some(*device),
        _ => None,
    }
}

/// What a part of a device's work is, for people who do not know virtio.
pub const fn part_words(part: Part) -> &'static str {
    match part {
        Part::Desc => "the descriptor table",
        Part::Avail => "the ring of requests",
        Part::Used => "the ring of answers",
        Part::Indirect => "the request's list of buffers",
        Part::Header => "the request's header",
        Part::Data => "the data",
        Part::Status => "the status byte",
        Part::Hypercall => "a list of a hypercall",
    }
}

/// What a unit's state means, in a few words.
pub const fn state_words(state: PageState) -> &'static str {
    match state {
        PageState::Normal => "normal: the host sees it",
        PageState::Secure => "secure: the guest's alone",
        PageState::PagedOut => "paged out: the host holds ciphertext",
        PageState::Shared => "shared: both see it",
        PageState::SharedInv => "shared, not mapped",
        PageState::HvSharing
        | PageState::HvShared
        | PageState::HvSharedInv
        | PageState::HvUnsharing
        | PageState::HvUnsharingInv
        | PageState::HvUnshared => "on its way",
    }
}

/// A title for an event that no chapter tells of.
pub const fn title(event: &Event) -> &'static str {
    match event {
        Event::Page { op: PageOp::PageOut, .. } => "A page goes out",
        Event::Page { op: PageOp::PageIn, .. } => "A page comes back",
        Event::Page { op: PageOp::ShareCommit, .. } => "A page is shared",
        Event::Page { .. } => "A page moves",
        Event::Tampered { .. } => "A page fails verification",
        Event::Life { .. } => "The VM's life goes on",
        Event::Measured { .. } => "The guest is measured",
        Event::Kick { .. } => "The guest kicks a device",
        Event::Completed { .. } => "A device has served a request",
        Event::Broken { .. } => "A device gives up its ring",
        Event::Sigbus { .. } => "QEMU gets SIGBUS",
        Event::Mark { .. } => "The guest marks a moment",
        Event::Secret { .. } => "The guest declares a secret",
        Event::Report { .. } => "The guest reports",
        Event::Bounce { .. } => "The guest copies",
        Event::Balloon { .. } => "The balloon moves",
        Event::Flip { .. } => "QEMU turns iommu_platform on",
        Event::Plugged { .. } => "QEMU plugs a device",
        Event::Leak { .. } => "A secret shows",
        Event::Comparison { .. } => "The end's comparison",
        Event::Touch { .. } => "A device touches a page",
        Event::Exit { .. }
        | Event::UvCall { .. }
        | Event::HvCall { .. }
        | Event::Register { .. }
        | Event::Popped { .. }
        | Event::Interrupt { .. }
        | Event::Status { .. }
        | Event::Wait { .. }
        | Event::Retired { .. }
        | Event::Console { .. }
        | Event::Decision { .. }
        | Event::DmaMap { .. }
        | Event::DmaUnmap { .. }
        | Event::DmaAlloc { .. }
        | Event::DmaFree { .. }
        | Event::Foreign { .. }
        | Event::IotlbMiss { .. }
        | Event::Frame { .. }
        | Event::Taken { .. }
        | Event::Woken { .. }
        | Event::Unwoken { .. }
        | Event::Actor { .. }
        | Event::Hot { .. }
        | Event::LeaksLeftOut { .. }
        | Event::IotlbHits { .. } => "The run goes on",
    }
}

/// What record `at` says.
pub fn sentence(recording: &Recording, at: usize) -> String {
    let record = recording.record(at);
    let said = match &record.event {
        Event::Page { .. } => page_moved(recording, at, record),
        Event::Completed { .. } => completed(recording, at),
        other => plain(&recording.plan, other),
    };
    let end = match at == recording.last() {
        true => format!(
            " The run has ended: {}. It came out {}.",
            recording.log.ended,
            recording.outcome.name()
        ),
        false => String::new(),
    };
    escape::terminal_cut(&format!("{said}{end}"), 440)
}

fn page_moved(recording: &Recording, at: usize, record: &Record) -> String {
    let Event::Page { gfn, op, effect, cause, .. } = &record.event else { return String::new() };
    let (plan, took) = (&recording.plan, words::time(recording.took_ns(at)));
    let counters = recording.counters(at);
    let total = |counter| counters.sum(counter, &Phase::ALL);
    match op {
        PageOp::PageOut => {
            let why = cause.map_or_else(String::new, |cause| match cause {
                Cause::Touch { device, part, .. } => format!(
                    "{} wants {}, and that lies in a secure page. ",
                    capital(words::device(plan, device)),
                    part_words(part)
                ),
                Cause::Asked => "The hypervisor asks for a page. ".to_owned(),
            });
            let how = if plan.what_if() { "hands out" } else { "encrypts" };
            let number = total(Counter::UvPageOut);
            format!("{why}The ultravisor {how} {} ({took}): page-out number {number}.", page(*gfn))
        }
        PageOp::PageIn if *effect == Effect::Unseal => {
            let how = if plan.what_if() { "takes back" } else { "verifies and decrypts" };
            format!(
                "The guest touches {} again, which is out. The ultravisor {how} it ({took}): \
                 page-in number {}, round trip number {}.",
                page(*gfn),
                total(Counter::UvPageIn),
                total(Counter::RoundTrips)
            )
        }
        PageOp::ShareCommit => format!(
            "The guest gives {} to the host for good: both see it now ({} shared so far).",
            page(*gfn),
            total(Counter::UvShare)
        ),
        PageOp::UnshareCommit => format!(
            "The guest takes {} back from the host: it is zeroed and the guest's alone again.",
            page(*gfn)
        ),
        _ => format!("{} moves by {}.", capital(&page(*gfn)), op.name()),
    }
}

/// What a request has come to since its kick.
fn completed(recording: &Recording, at: usize) -> String {
    let Event::Completed { device, written, .. } = &recording.record(at).event else {
        return String::new();
    };
    let before = recording.log.records[..at].iter().rev();
    let since = before.take_while(|record| !matches!(record.event, Event::Kick { .. }));
    let (mut touches, mut outs) = (0_u64, 0_u64);
    for record in since.take(100_000) {
        touches += u64::from(matches!(record.event, Event::Touch { .. }));
        outs += u64::from(matches!(record.event, Event::Page { op: PageOp::PageOut, .. }));
    }
    let done = recording.counters(at).sum(Counter::Requests, &Phase::ALL);
    format!(
        "{} has served a request ({done} so far) and wrote {written} bytes. Since the kick the \
         host side touched guest memory {touches} times; {outs} pages went out for it.",
        capital(words::device(&recording.plan, Some(*device)))
    )
}

/// The sentence of an event that needs nothing but itself.
pub fn plain(plan: &Plan, event: &Event) -> String {
    let device = |device: &DeviceIndex| capital(words::device(plan, Some(*device)));
    match event {
        Event::Tampered { gfn, writer } => {
            let who = writer.map_or_else(
                || "Nobody of ours wrote there.".to_owned(),
                |writer| format!("{} last.", capital(&words::cause(plan, writer))),
            );
            format!("{} fails verification: it is not what was sealed. {who}", capital(&page(*gfn)))
        }
        Event::Life { to: Life::Secure, .. } => {
            "The guest is a secure one from here on: all its memory is its own.".to_owned()
        }
        Event::Life { to: Life::Transient, .. } => {
            "The guest asks to become secure: the ultravisor \
            begins to copy its pages into secure memory."
                .to_owned()
        }
        Event::Life { from, to } => {
            format!("The VM goes from {} to {}.", from.name(), to.name())
        }
        Event::Measured { units, .. } => {
            format!("The ultravisor took the guest in: {units} pages were copied and measured.")
        }
        Event::Kick { device: index, .. } => {
            format!(
                "The guest has put a request into the ring and kicks {}.",
                words::device(plan, Some(*index))
            )
        }
        Event::Broken { device: index, reason, .. } => {
            format!("{} gives up its ring: {reason}.", device(index))
        }
        Event::Sigbus { gfn } => {
            format!("QEMU gets SIGBUS: {} could not be paged out.", page(*gfn))
        }
        Event::Leak { place, at } => {
            format!("A declared secret shows in plain {} at {at:#x}.", leak_words(*place))
        }
        Event::Comparison { device: index, what, bytes, wrong, .. } => format!(
            "{}: {bytes} bytes compared ({}), {wrong} of them wrong.",
            device(index),
            compared_words(*what)
        ),
        Event::Flip { device: index } => format!(
            "{}: QEMU, told that the guest is secure now, turns iommu_platform on.",
            device(index)
        ),
        Event::Plugged { device: index } => {
            format!("QEMU plugs {}.", words::device(plan, Some(*index)))
        }
        Event::Balloon { inflate, pages, .. } => {
            format!("The balloon {} {pages} pages.", if *inflate { "takes" } else { "gives back" })
        }
        Event::Touch { device: index, part, direction, bytes, gfn, state, seen, .. } => format!(
            "{} {} {bytes} bytes of {} in {} ({}) and {}.",
            capital(words::device(plan, *index)),
            if *direction == Direction::Read { "reads" } else { "writes" },
            part_words(*part),
            page(*gfn),
            state.name(),
            seen_words(*seen)
        ),
        other => of_guest(other),
    }
}

/// The sentence of what the guest does, and of what has none of its own.
fn of_guest(event: &Event) -> String {
    match event {
        Event::Mark { mark: Mark::Ready } => "The guest is ready: its work begins.".to_owned(),
        Event::Mark { mark: Mark::Done } => "The guest's work is done.".to_owned(),
        Event::Mark { mark: Mark::Label(name) } => format!("The guest marks `{}`.", cut(name)),
        Event::Secret { gpa, bytes } => {
            format!("The guest declares {bytes} bytes at {gpa:#x} a secret: nobody may see them.")
        }
        Event::Report { report, name } => {
            format!("The guest reports {}: `{}`.", report.name(), cut(name))
        }
        Event::Bounce { slot, original, bytes, back } => match back {
            false => format!(
                "The guest copies {bytes} bytes from its own buffer at {original:#x} to the shared \
                 slot at {slot:#x}: the host will see the copy, never the buffer."
            ),
            true => format!(
                "The guest copies {bytes} bytes from the shared slot at {slot:#x} back to its own \
                 buffer at {original:#x}."
            ),
        },
        Event::Wait { by, ns } => {
            format!("The guest waits {} ({}).", words::time(*ns), wait_words(*by))
        }
        Event::Retired { instructions, .. } => {
            format!("The guest has run {instructions} instructions since this was told last.")
        }
        other => format!("{}.", capital(kind(other))),
    }
}

/// The field's word for an event that has no sentence.
fn kind(event: &Event) -> &'static str {
    match event {
        Event::Exit { .. } => "the guest comes back to the hypervisor",
        Event::UvCall { call, .. } => call.name(),
        Event::HvCall { call, .. } => call.name(),
        Event::Register { .. } => "a device register is accessed",
        Event::Popped { .. } => "a device takes a request",
        Event::Interrupt { .. } => "a device tells the guest that it is done",
        Event::Taken { .. } => "an interrupt reaches the guest",
        Event::Woken { .. } => "an interrupt wakes the guest, which had halted",
        Event::Status { .. } => "the driver writes the device's status",
        Event::Console { .. } => "the guest prints",
        Event::Decision { .. } => "the guest decides how to do DMA",
        Event::DmaMap { .. } => "the guest maps a buffer for a device",
        Event::DmaUnmap { .. } => "the guest unmaps a buffer",
        Event::DmaAlloc { .. } => "the guest allocates memory for a device",
        Event::DmaFree { .. } => "the guest frees memory of a device",
        Event::Foreign { .. } => "a device gets an address that the DMA API did not make",
        Event::IotlbMiss { .. } | Event::IotlbHits { .. } => "a back end looks up an address",
        _ => "the run goes on",
    }
}

/// `text` with its first letter large.
fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

fn cut(text: &str) -> String {
    escape::terminal_cut(text, QUOTED_MAX)
}

const fn seen_words(seen: Seen) -> &'static str {
    match seen {
        Seen::Plain => "sees plain bytes",
        Seen::Sealed => "sees ciphertext",
        Seen::Own => "sees a page of the host's own",
        Seen::Fault => "fails",
    }
}

const fn leak_words(place: LeakPlace) -> &'static str {
    match place {
        LeakPlace::Read => "in what the host read",
        LeakPlace::Memory => "in memory that the host can read",
        LeakPlace::Disk => "on a disk",
        LeakPlace::Wire => "in a frame",
        LeakPlace::Console => "on the console",
    }
}

const fn compared_words(what: Compared) -> &'static str {
    match what {
        Compared::Disk => "disk against what the guest meant",
        Compared::Wire => "frames against what the guest meant",
        Compared::Console => "text against what the guest meant",
    }
}

const fn wait_words(by: WaitBy) -> &'static str {
    match by {
        WaitBy::Pause => "pause",
        WaitBy::Halt => "hlt",
        WaitBy::Cede => "H_CEDE",
        WaitBy::Refault => "for a page that does not verify",
    }
}
