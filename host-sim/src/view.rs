//! What the host side sees of a run, so that two runs can be compared up to a moment.
//!
//! Until a guest enters secure mode nobody on the host side can tell it from one that never will,
//! and QEMU cannot even then, until the first device reset (claims 1 and 17 of the thread): that is
//! an expectation (`SameView`), and this is what it compares.

use crate::event::{Event, Record};
use serde::Deserialize;
use ultravisor::Life;

/// Who looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Onlooker {
    /// Anybody on the host side: the hypervisor, QEMU, a device.
    Host,
    /// QEMU with its devices, which sees neither exits nor hypercalls that are not for it.
    Qemu,
}

impl Onlooker {
    /// The name used in outputs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "the host",
            Self::Qemu => "QEMU",
        }
    }
}

/// Up to which moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Until {
    /// UV_ESM is called: the VM becomes transient.
    Switch,
    /// A device is reset for the first time after that.
    ResetAfterSwitch,
}

impl Until {
    /// The name used in outputs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Switch => "UV_ESM",
            Self::ResetAfterSwitch => "the first device reset after UV_ESM",
        }
    }
}

/// What was seen: kind, device, queue, part, direction, GPA and length of each event, as digests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    seen: Vec<u64>,
    /// How many of them come before the moment, if the run got there.
    until: Option<usize>,
}

impl View {
    /// What `onlooker` saw of a run with these records.
    pub fn of(records: &[Record], onlooker: Onlooker, until: Until) -> Self {
        let mut view = Self::default();
        let mut switched = false;
        for Record { event, .. } in records {
            switched |= is_switch(event);
            let is_reached = match until {
                Until::Switch => switched,
                Until::ResetAfterSwitch => switched && is_reset(event),
            };
            if is_reached && view.until.is_none() {
                view.until = Some(view.seen.len());
            }
            view.seen.extend(visible(event, onlooker).map(|text| digest(&text)));
        }
        view
    }

    /// Compares what was seen up to the moment with as much of `other`. `Ok` is how many events that
    /// were.
    ///
    /// # Errors
    /// The first difference, in words.
    pub fn same_until(&self, other: &Self) -> Result<usize, String> {
        let Some(until) = self.until else { return Err("the moment was never reached".to_owned()) };
        let ours = &self.seen[..until];
        let differs = |at: &usize| other.seen.get(*at) != ours.get(*at);
        match (0..until).find(differs) {
            Some(at) => Err(format!("of {until} events, number {} differs", at + 1)),
            None => Ok(until),
        }
    }
}

fn is_switch(event: &Event) -> bool {
    matches!(event, Event::Life { to: Life::Transient, .. })
}

fn is_reset(event: &Event) -> bool {
    matches!(event, Event::Status { status: 0, .. })
}

fn digest(text: &str) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(text.as_bytes()).as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a filter names what it keeps")]
fn visible(event: &Event, onlooker: Onlooker) -> Option<String> {
    let seen = match event {
        Event::Touch { device, queue, part, direction, gpa, bytes, .. } => {
            format!("touch {device:?} {queue:?} {part:?} {direction:?} {gpa:#x} {bytes}")
        }
        Event::Register { device, offset, write, bytes, value } => {
            format!("register {device:?} {offset:#x} {write} {bytes} {value:#x}")
        }
        Event::Kick { device, queue, .. } => format!("kick {device:?} {queue:?}"),
        Event::Popped { device, queue, head, readable, writable } => {
            format!("popped {device:?} {queue:?} {head} {readable} {writable}")
        }
        Event::Completed { device, queue, head, written, .. } => {
            format!("completed {device:?} {queue:?} {head} {written}")
        }
        Event::Interrupt { device, queue } => format!("interrupt {device:?} {queue:?}"),
        Event::Status { device, status } => format!("status {device:?} {status}"),
        Event::Exit { reason } if onlooker == Onlooker::Host => format!("exit {reason:?}"),
        Event::HvCall { call, args, by_ultravisor: false, .. } if onlooker == Onlooker::Host => {
            format!("{call:?} {args:?}")
        }
        _ => return None,
    };
    Some(seen)
}
