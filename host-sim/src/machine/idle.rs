//! How long a guest that waits with nothing due may do so: its pauses grow, and end the run unless it
//! looks at a clock.

/// The first `pause` takes this long, in nanoseconds, and each further one an eighth of what the guest
/// has waited so far: a bounded wait costs few records, however long.
const PAUSE_NS: u64 = 10_000;
/// No pause takes longer: a guest that looks at a clock between them, if only now and then, is not
/// kept from it.
const PAUSE_MAX_NS: u64 = 100_000_000;
/// One that has waited so long without a look waits for others, and there is nobody.
const BLIND_MAX_NS: u64 = 1_000_000_000;

/// A wait with nothing due.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Idle {
    /// How long it has taken so far.
    waited_ns: u64,
    /// How much of it since the guest looked at a clock.
    blind_ns: u64,
    /// Whether it has looked at one since it paused last.
    has_looked: bool,
}

impl Idle {
    /// The guest reads what time it is, or how long something is still to run: it waits for that.
    pub fn looks_at_a_clock(&mut self) {
        self.has_looked = true;
    }

    /// How long the next pause takes, at most `poll_ns` if somebody polls then; `None` if the guest
    /// is idle.
    pub fn pause(&mut self, poll_ns: Option<u64>) -> Option<u64> {
        let longest = poll_ns.unwrap_or((self.waited_ns / 8).max(PAUSE_NS)).min(PAUSE_MAX_NS);
        let ns = if std::mem::take(&mut self.has_looked) {
            self.blind_ns = 0;
            longest
        } else if self.blind_ns < BLIND_MAX_NS {
            let ns = longest.min(BLIND_MAX_NS - self.blind_ns);
            self.blind_ns += ns;
            ns
        } else {
            return None;
        };
        self.waited_ns += ns;
        Some(ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(mut looks: impl FnMut(u64) -> bool) -> (u64, u64) {
        let (mut idle, mut now, mut pauses) = (Idle::default(), 0, 0);
        while now < 1_000 * BLIND_MAX_NS {
            if looks(pauses) {
                idle.looks_at_a_clock();
            }
            let Some(ns) = idle.pause(None) else { break };
            (now, pauses) = (now + ns, pauses + 1);
        }
        (now, pauses)
    }

    #[test]
    fn a_guest_that_looks_at_no_clock_is_idle_after_a_second_and_few_pauses() {
        assert_eq!(pauses(|_| false), (BLIND_MAX_NS, 89));
    }

    #[test]
    fn one_that_looks_now_and_then_may_wait_as_long_as_it_likes_in_pauses_that_stay_short() {
        let (now, pauses) = pauses(|pause| pause % 2 == 0);
        assert!(now >= 1_000 * BLIND_MAX_NS, "{now}");
        let mean_ns = now / pauses;
        assert!((PAUSE_MAX_NS * 9 / 10..=PAUSE_MAX_NS).contains(&mean_ns), "{pauses}");
    }

    #[test]
    fn a_pause_ends_when_somebody_polls() {
        assert_eq!(Idle::default().pause(Some(7)), Some(7));
    }
}
