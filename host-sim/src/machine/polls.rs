//! Back ends that poll: when they look at their rings next.
//!
//! A poll is a step like any other, but one that finds nothing is not progress: a guest that waits
//! for polls alone is idle.

use super::{Due, Machine};
use crate::event::{DeviceIndex, Ended};
use crate::window::Window;

/// From one look to the next, in nanoseconds (estimate: QEMU's `poll-max-ns` is 32 us).
const POLL_NS: u64 = 50_000;
/// After looks that found nothing the next is twice as far, up to this. It bounds what a run
/// writes down of polls; QEMU's own polling backs off too, to being notified.
const POLL_MAX_NS: u64 = 400_000;

/// A device's next look.
#[derive(Clone, Copy, Debug)]
struct Next {
    at_ns: u64,
    device: DeviceIndex,
    interval_ns: u64,
}

/// The looks that are to come.
#[derive(Clone, Debug, Default)]
pub(super) struct Polls(Vec<Next>);

impl Polls {
    /// When the next look is.
    pub fn next_ns(&self) -> Option<u64> {
        self.0.iter().map(|next| next.at_ns).min()
    }

    /// When the next look at a device is.
    pub fn next_of(&self, device: DeviceIndex) -> Option<u64> {
        self.0.iter().find(|next| next.device == device).map(|next| next.at_ns)
    }

    /// A device's driver is ready: it is looked at from now on.
    pub fn start(&mut self, device: DeviceIndex, now_ns: u64) {
        self.stop(device);
        self.0.push(Next { at_ns: now_ns + POLL_NS, device, interval_ns: POLL_NS });
    }

    /// A device is not looked at any more.
    pub fn stop(&mut self, device: DeviceIndex) {
        self.0.retain(|next| next.device != device);
    }

    /// The device that is to be looked at by `now_ns`, ties by device; its next look is set as if
    /// this one found nothing.
    pub fn take(&mut self, now_ns: u64) -> Option<DeviceIndex> {
        let ready = self.0.iter_mut().filter(|next| next.at_ns <= now_ns);
        let next = ready.min_by_key(|next| (next.at_ns, next.device))?;
        next.interval_ns = (2 * next.interval_ns).min(POLL_MAX_NS);
        next.at_ns = now_ns + next.interval_ns;
        Some(next.device)
    }
}

impl Machine<'_> {
    /// One look at a device's queues; those with something new are served.
    pub(super) fn poll(&mut self, index: DeviceIndex) -> Option<Ended> {
        if !self.may_reach_memory(index) {
            return None;
        }
        let Some(device) = &mut self.devices[usize::from(index.0)] else { return None };
        let window = Window::new(&mut self.host, index, None);
        let Some(found) = device.poll(&window) else { return Some(Ended::QemuKilled) };
        drop(window);
        if !device.is_up() {
            self.polls.stop(index);
        }
        let at_ns = self.host.hv.recorder.now_ns();
        if !found.is_empty() && device.is_up() {
            self.polls.start(index, at_ns);
        }
        let dues = found.into_iter();
        let mut dues = dues.map(|queue| Due { at_ns, device: index, queue, chain: None });
        dues.find_map(|due| self.serve(due))
    }

    /// A device's status changed: a back end that polls begins or ends.
    pub(super) fn follow_status(&mut self, index: DeviceIndex) {
        let device = self.device(index);
        if device.polls() && device.is_up() {
            self.polls.start(index, self.host.hv.recorder.now_ns());
        } else {
            self.polls.stop(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: DeviceIndex = DeviceIndex(0);
    const SECOND: DeviceIndex = DeviceIndex(1);

    #[test]
    fn looks_that_find_nothing_come_ever_more_seldom_up_to_a_bound() {
        let mut polls = Polls::default();
        polls.start(FIRST, 0);
        let mut gaps = Vec::new();
        for _ in 0..6 {
            let at = polls.next_ns().expect("it is up");
            assert_eq!(polls.take(at - 1), None);
            assert_eq!(polls.take(at), Some(FIRST));
            gaps.push(polls.next_ns().expect("it is up") - at);
        }
        assert_eq!(gaps, [100_000, 200_000, 400_000, 400_000, 400_000, 400_000]);
        polls.start(FIRST, 7);
        assert_eq!(polls.next_ns(), Some(50_007));
        polls.stop(FIRST);
        assert_eq!(polls.next_ns(), None);
    }

    #[test]
    fn of_two_that_are_to_look_at_once_the_first_device_does_first() {
        let mut polls = Polls::default();
        polls.start(SECOND, 0);
        polls.start(FIRST, 0);
        let order: Vec<_> = (0..3).map(|_| polls.take(60_000)).collect();
        assert_eq!(order, [Some(FIRST), Some(SECOND), None]);
    }
}
