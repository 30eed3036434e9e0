//! A run that got stuck says where everybody stood, and where the guest spent its time.

use super::Machine;
use crate::event::{CallFrame, DeviceIndex, Doing, Ended, Event, QueueIndex, SAMPLE_UNITS, WaitBy};
use std::collections::BTreeMap;

/// How many of the hottest program counters are told.
const HOT_MAX: usize = 5;
/// Most program counters that are told apart; samples of further ones count as samples only.
const DIFFERENT_MAX: usize = 4096;
/// A guest that has worked no more units than this since it last waited is in a loop that waits.
const WAIT_LOOP_UNITS: u64 = 1000;

/// Where the guest was, looked at each [`SAMPLE_UNITS`] work units.
#[derive(Debug, Default)]
pub(super) struct Samples {
    taken: u64,
    counts: BTreeMap<u64, u64>,
}

impl Samples {
    /// From `now`, how many units it is to the next look: at least 1.
    pub fn units_to_next(&self, now: u64) -> u64 {
        ((self.taken + 1) * SAMPLE_UNITS).saturating_sub(now).max(1)
    }

    /// The guest has worked `now` units in all and is at `pc`. A long instruction counts once for
    /// each look that it would have met.
    pub fn take(&mut self, now: u64, pc: u64) {
        let due = (now / SAMPLE_UNITS).saturating_sub(self.taken);
        if due == 0 {
            return;
        }
        self.taken += due;
        if self.counts.len() < DIFFERENT_MAX || self.counts.contains_key(&pc) {
            *self.counts.entry(pc).or_default() += due;
        }
    }

    /// The hottest program counters, ties by address.
    fn hottest(&self) -> Vec<(u64, u64)> {
        let mut counts: Vec<(u64, u64)> = self.counts.iter().map(|(pc, n)| (*pc, *n)).collect();
        counts.sort_by_key(|(pc, samples)| (std::cmp::Reverse(*samples), *pc));
        counts.truncate(HOT_MAX);
        counts
    }
}

/// What an actor was doing.
struct Stood {
    doing: Doing,
    queue: Option<QueueIndex>,
    at_ns: Option<u64>,
}

impl Machine<'_> {
    /// The run has ended: if it got stuck, writes down how.
    pub(super) fn tell_stuck(&mut self, ended: &Ended) {
        let guest = match ended {
            Ended::Idle => Doing::Waiting,
            Ended::Refault(_) => Doing::Refaulting,
            Ended::Budget(_) => self.guest_is_doing(),
            Ended::Exit(_)
            | Ended::SvmTerminated(_)
            | Ended::QemuKilled
            | Ended::Fault { .. }
            | Ended::Unsupported { .. } => return,
        };
        let chain = Some(self.chains.capture(&self.cpu, self.host.uv.memory()));
        let (device, queue, at_ns) = (None, None, None);
        let guest = Event::Actor { device, doing: guest, queue, at_ns, chain };
        self.host.hv.recorder.push(guest);
        if self.attention.is_asleep() {
            self.tell_silence();
        }
        for index in self.slots() {
            let Stood { doing, queue, at_ns } = self.device_stood(index);
            let device = Some(index);
            let actor = Event::Actor { device, doing, queue, at_ns, chain: None };
            self.host.hv.recorder.push(actor);
        }
        let of = self.samples.taken;
        for (pc, samples) in self.samples.hottest() {
            let frame = CallFrame { pc, function: self.chains.function(pc) };
            self.host.hv.recorder.push(Event::Hot { frame, samples, of });
        }
    }

    fn guest_is_doing(&self) -> Doing {
        let units = self.cpu.units();
        match self.waited {
            Some((WaitBy::Refault, at)) if at == units => Doing::Refaulting,
            Some((_, at)) if units - at <= WAIT_LOOP_UNITS => Doing::Waiting,
            Some(_) | None => Doing::Running,
        }
    }

    fn device_stood(&self, index: DeviceIndex) -> Stood {
        if let Some(service) = self.services.iter().find(|service| service.device() == index) {
            let (queue, at_ns) = (Some(service.queue()), Some(service.at_ns()));
            return Stood { doing: Doing::Serving, queue, at_ns };
        }
        if self.device(index).is_up() && !self.may_reach_memory(index) {
            return Stood { doing: Doing::Barred, queue: None, at_ns: None };
        }
        let due = self.due.iter().filter(|due| due.device == index);
        if let Some(due) = due.min_by_key(|due| (due.at_ns, due.queue)) {
            let (queue, at_ns) = (Some(due.queue), Some(due.at_ns));
            return Stood { doing: Doing::Due, queue, at_ns };
        }
        if let Some(at_ns) = self.polls.next_of(index) {
            return Stood { doing: Doing::Polling, queue: None, at_ns: Some(at_ns) };
        }
        let doing = if self.device(index).is_up() { Doing::Idling } else { Doing::Down };
        Stood { doing, queue: None, at_ns: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_look_is_counted_where_the_guest_was_and_long_instructions_count_for_each() {
        let mut samples = Samples::default();
        assert_eq!(samples.units_to_next(0), SAMPLE_UNITS);
        samples.take(SAMPLE_UNITS - 1, 7);
        assert_eq!((samples.units_to_next(SAMPLE_UNITS - 1), samples.taken), (1, 0));
        samples.take(SAMPLE_UNITS, 7);
        samples.take(SAMPLE_UNITS + 5, 8);
        samples.take(4 * SAMPLE_UNITS + 3, 9);
        assert_eq!(samples.hottest(), [(9, 3), (7, 1)]);
        assert_eq!(samples.units_to_next(4 * SAMPLE_UNITS + 3), SAMPLE_UNITS - 3);
    }

    #[test]
    fn a_guest_that_is_somewhere_else_each_time_takes_no_more_memory() {
        let mut samples = Samples::default();
        for look in 1..10_000 {
            samples.take(look * SAMPLE_UNITS, look);
        }
        assert_eq!((samples.counts.len(), samples.taken), (DIFFERENT_MAX, 9_999));
        assert_eq!(samples.hottest().len(), HOT_MAX);
    }
}
