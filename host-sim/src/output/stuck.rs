//! A run that got stuck, in sentences: which limit was not enough, what everybody was doing, and
//! where the guest spent its time.

use super::words;
use crate::escape;
use crate::event::{Chain, DeviceIndex, Doing, Ended, Event, QueueIndex, WakeSource, WhyAsleep};
use crate::log::RunLog;
use crate::scenario::codes::Code;
use crate::scenario::limits::Limit;
use crate::scenario::plan::Plan;

/// Guest functions shown of a call chain.
const FRAMES_MAX: usize = 3;

/// The sentences, escaped; none if the run did not get stuck.
pub fn lines(plan: &Plan, log: &RunLog) -> Vec<String> {
    let Some(why) = why(plan, &log.ended) else { return Vec::new() };
    let told = log.records.iter().filter_map(|record| {
        if let Event::Actor { device, doing, queue, at_ns, chain } = &record.event {
            return Some(actor_of(plan, *device, *doing, (*queue, *at_ns), chain.as_ref()));
        }
        if let Event::Unwoken { source, device, why } = &record.event {
            return Some(unwoken(*source, words::device(plan, *device), *why));
        }
        let Event::Hot { frame, samples, of } = &record.event else { return None };
        Some(format!("hot: {} in {samples} of {of} looks", words::frame(frame)))
    });
    std::iter::once(why).chain(told).map(|line| escape::terminal_cut(&line, 400)).collect()
}

/// Which limit was not enough, and how to set it.
fn why(plan: &Plan, ended: &Ended) -> Option<String> {
    let code = Code::DEADLOCK;
    match ended {
        Ended::Budget(budget) => {
            let limit = Limit::of(*budget);
            let max = plan.limits.of(*budget, plan.guest.units_max);
            let code = limit.code;
            let counts = limit.counts;
            let setting = limit.setting("..");
            let most = limit.range.1;
            let allows = if max == most {
                format!("the most that `{setting}` allows")
            } else {
                format!("`{setting}` allows up to {}", limit.amount(most))
            };
            Some(format!("{code}: more than {} {counts}; {allows}", limit.amount(max)))
        }
        Ended::Idle => Some(format!("{code}: the guest waits, and nobody has anything left to do")),
        Ended::Refault(gpa) => {
            Some(format!("{code}: the unit at {gpa:#x} does not come back, and nobody else acts"))
        }
        Ended::Exit(_)
        | Ended::SvmTerminated(_)
        | Ended::QemuKilled
        | Ended::Fault { .. }
        | Ended::Unsupported { .. } => None,
    }
}

fn actor_of(
    plan: &Plan,
    device: Option<DeviceIndex>,
    doing: Doing,
    when: (Option<QueueIndex>, Option<u64>),
    chain: Option<&Chain>,
) -> String {
    let who = device.map_or("the guest", |_| words::device(plan, device));
    let place = chain.map_or_else(String::new, |chain| words::chain(chain, FRAMES_MAX));
    actor(who, doing, when, &place)
}

/// What `who` was doing, with which queue, and when it was to act next; `place`: where the guest was,
/// or empty.
pub fn actor(
    who: &str,
    doing: Doing,
    (queue, at_ns): (Option<QueueIndex>, Option<u64>),
    place: &str,
) -> String {
    let queue = queue.map_or_else(String::new, |queue| format!(" queue {}", queue.0));
    let at = at_ns.map_or_else(String::new, |ns| format!(" at t={}", words::time(ns)));
    let place = if place.is_empty() { String::new() } else { format!(" in {place}") };
    match doing {
        Doing::Running => format!("{who} runs{place}"),
        Doing::Waiting => format!("{who} waits{place}"),
        Doing::Refaulting => format!("{who} touches it again and again{place}"),
        Doing::Due => format!("{who} is to serve{queue}{at}"),
        Doing::Serving => format!("{who} is in the middle of{queue}, next{at}"),
        Doing::Polling => format!("{who} is to look at its rings{at}"),
        Doing::Idling => format!("{who} has nothing to do"),
        Doing::Barred => format!("{who} may not reach memory: bus mastering is off"),
        Doing::Down => format!("{who} is not set up, or needs a reset"),
    }
}

/// What could have woken the guest, `device` if it is one, and why it did not.
pub fn unwoken(source: WakeSource, device: &str, why: WhyAsleep) -> String {
    let who = match source {
        WakeSource::ApicTimer => "the local APIC's timer",
        WakeSource::Timer => "the 8254",
        WakeSource::Com1 => "COM1",
        WakeSource::Device => device,
    };
    let why = match why {
        WhyAsleep::Unset => "it is not set",
        WhyAsleep::Masked => "its interrupt is masked",
        WhyAsleep::HeldOff => "its interrupt waits, held off by one that is served or by priority",
        WhyAsleep::Quiet => "it has nothing to say",
    };
    format!("{who} could have woken the guest: {why}")
}
