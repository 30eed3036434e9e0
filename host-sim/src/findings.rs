//! How a run came out: a fold over the log, the counters and how it ended.

use crate::counters::{Counter, Counters, Phase};
use crate::event::{DeviceIndex, Ended, Event, Record};
use crate::log::{BY_TAMPERING, RunLog};
use crate::outcome::Outcome;
use crate::scenario::plan::{Boot, Plan};
use ultravisor_abi::ReportKind;

/// What the log says that an outcome may rest on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Facts {
    leaks: bool,
    wrong_bytes: bool,
    tampered: bool,
    failed: bool,
    requests: bool,
    refused_at_once: bool,
    refused_late: bool,
}

impl Facts {
    /// Whether the guest was turned away before its first request, and never later.
    fn turned_away(&self) -> bool {
        self.refused_at_once && !self.refused_late
    }

    fn of(records: &[Record], boot_disk: Option<DeviceIndex>) -> Self {
        let mut facts = Self::default();
        records.iter().for_each(|record| facts.see(&record.event, boot_disk));
        facts
    }

    fn see(&mut self, event: &Event, boot_disk: Option<DeviceIndex>) {
        match event {
            Event::Leak { .. } => self.leaks = true,
            Event::Comparison { wrong, .. } => self.wrong_bytes |= *wrong > 0,
            Event::Tampered { .. } => self.tampered = true,
            Event::Completed { device, data, .. } => {
                self.requests |= *data && Some(*device) != boot_disk;
            }
            Event::Report { report, .. } => match report {
                ReportKind::Mismatch => self.wrong_bytes = true,
                ReportKind::Failed => self.failed = true,
                ReportKind::Refused if self.requests => self.refused_late = true,
                ReportKind::Refused => self.refused_at_once = true,
            },
            Event::Exit { .. }
            | Event::UvCall { .. }
            | Event::HvCall { .. }
            | Event::Page { .. }
            | Event::Life { .. }
            | Event::Measured { .. }
            | Event::Touch { .. }
            | Event::Register { .. }
            | Event::Kick { .. }
            | Event::Popped { .. }
            | Event::Interrupt { .. }
            | Event::Status { .. }
            | Event::Broken { .. }
            | Event::Sigbus { .. }
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
            | Event::Bounce { .. }
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
            | Event::Foreign { .. } => (),
        }
    }
}

/// All that holds of a run, worst first; never empty.
pub fn findings(plan: &Plan, log: &RunLog, counters: &Counters) -> Vec<Outcome> {
    of_log(plan.guest.boot, &log.records, &log.ended, counters)
}

/// As [`findings`], from what a saved log has of the plan.
pub fn of_log(boot: Boot, records: &[Record], ended: &Ended, counters: &Counters) -> Vec<Outcome> {
    // Boot firmware's own requests are not the guest's.
    let boot_disk = (boot == Boot::Slof).then_some(DeviceIndex(0));
    let facts = Facts::of(records, boot_disk);
    let mut found: Vec<Outcome> = Outcome::ALL
        .into_iter()
        .filter(|outcome| holds(*outcome, &facts, ended, counters))
        .collect();
    if found.is_empty() {
        // Every end but exit 0 is a finding of its own, so this run exited with 0 after "done".
        let ping_pong = counters.get(Counter::RoundTrips, Phase::Steady) > 0;
        found.push(if ping_pong { Outcome::Slow } else { Outcome::Clean });
    }
    found
}

fn holds(outcome: Outcome, facts: &Facts, ended: &Ended, counters: &Counters) -> bool {
    let by_tampering = matches!(ended, Ended::SvmTerminated(why) if *why == BY_TAMPERING);
    match outcome {
        Outcome::Unsupported => matches!(ended, Ended::Unsupported { .. }),
        Outcome::Leaked => facts.leaks,
        Outcome::Corrupted => facts.wrong_bytes,
        Outcome::Tampered => facts.tampered || by_tampering,
        Outcome::Crashed => match ended {
            Ended::Fault { .. } | Ended::QemuKilled => true,
            Ended::SvmTerminated(_) => !by_tampering,
            Ended::Exit(_)
            | Ended::Budget(_)
            | Ended::Idle
            | Ended::Refault(_)
            | Ended::Unsupported { .. } => false,
        },
        Outcome::Stuck => matches!(ended, Ended::Budget(_) | Ended::Idle | Ended::Refault(_)),
        Outcome::Failed => {
            facts.failed || facts.refused_late || exit_unexplained(facts, ended, counters)
        }
        Outcome::Refused => facts.turned_away(),
        // These two hold only if nothing else does.
        Outcome::Slow | Outcome::Clean => false,
    }
}

/// Whether the guest's exit is a failure of its own: with a code, or too early, and not because it
/// was turned away before its first request.
fn exit_unexplained(facts: &Facts, ended: &Ended, counters: &Counters) -> bool {
    match ended {
        Ended::Exit(0) => !counters.done() && !facts.turned_away(),
        Ended::Exit(_) => !facts.turned_away(),
        Ended::SvmTerminated(_)
        | Ended::QemuKilled
        | Ended::Budget(_)
        | Ended::Idle
        | Ended::Refault(_)
        | Ended::Fault { .. }
        | Ended::Unsupported { .. } => false,
    }
}
