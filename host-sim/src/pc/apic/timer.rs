//! The local APIC's timer: one shot, periodic, or a deadline of the time-stamp counter (SDM volume 3,
//! 11.5.4). It and the counter count virtual nanoseconds.

/// Ticks a second of its input, before it is divided, and of the time-stamp counter.
pub const HZ: u32 = 1_000_000_000;

/// Bits 17 and 18 of its entry in the local vector table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It counts down once.
    #[default]
    OneShot,
    /// It begins anew at 0.
    Periodic,
    /// It waits for a value of the time-stamp counter.
    Deadline,
}

impl Mode {
    /// The mode in an entry of the local vector table; `None`: reserved.
    pub const fn of(entry: u32) -> Option<Self> {
        match entry >> 17 & 3 {
            0 => Some(Self::OneShot),
            1 => Some(Self::Periodic),
            2 => Some(Self::Deadline),
            _ => None,
        }
    }
}

/// The timer. Time is virtual, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Timer {
    mode: Mode,
    /// The divide configuration register.
    divide: u32,
    initial: u32,
    /// What was left to count at `since_ns`; 0: it stands still.
    left: u32,
    since_ns: u64,
    /// How often it has expired since then, as far as that was told.
    told: u64,
    /// 0: none.
    deadline_ns: u64,
}

impl Default for Timer {
    fn default() -> Self {
        Self {
            mode: Mode::OneShot,
            divide: 0,
            initial: 0,
            left: 0,
            since_ns: 0,
            told: 0,
            deadline_ns: 0,
        }
    }
}

impl Timer {
    /// Nanoseconds for each count (SDM volume 3, figure 11-10).
    fn tick_ns(&self) -> u64 {
        match self.divide & 0b11 | (self.divide & 0b1000) >> 1 {
            7 => 1,
            code => 2 << code,
        }
    }

    fn ticks(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.since_ns) / self.tick_ns()
    }

    /// How often it has expired since `since_ns`.
    fn expired(&self, now_ns: u64) -> u64 {
        let ticks = self.ticks(now_ns);
        match (self.mode, ticks.checked_sub(u64::from(self.left))) {
            (Mode::Deadline, _) => u64::from(self.deadline_ns != 0 && self.deadline_ns <= now_ns),
            _ if self.left == 0 => 0,
            (Mode::OneShot | Mode::Periodic, None) => 0,
            (Mode::OneShot, Some(_)) => 1,
            (Mode::Periodic, Some(behind)) => 1 + behind / u64::from(self.initial.max(1)),
        }
    }

    /// Whether it has expired since this was asked last. Once is as good as often.
    pub fn take_expired(&mut self, now_ns: u64) -> bool {
        let expired = self.expired(now_ns);
        let is_new = std::mem::replace(&mut self.told, expired) < expired;
        if is_new && self.mode == Mode::Deadline {
            (self.deadline_ns, self.told) = (0, 0);
        }
        is_new
    }

    /// When it expires next after [`Timer::take_expired`] was asked last.
    pub fn next_ns(&self) -> Option<u64> {
        let (left, initial) = (u64::from(self.left), u64::from(self.initial));
        let ticks = match (self.mode, self.told) {
            (Mode::Deadline, _) => return Some(self.deadline_ns).filter(|at| *at != 0),
            _ if left == 0 => return None,
            (Mode::OneShot | Mode::Periodic, 0) => left,
            (Mode::OneShot, _) => return None,
            (Mode::Periodic, told) => told.checked_mul(initial)?.checked_add(left)?,
        };
        ticks.checked_mul(self.tick_ns())?.checked_add(self.since_ns)
    }

    /// The current count register.
    pub fn count(&self, now_ns: u64) -> u32 {
        let ticks = self.ticks(now_ns);
        match (self.mode, u64::from(self.left).checked_sub(ticks)) {
            (Mode::Deadline, _) => 0,
            _ if self.left == 0 => 0,
            (Mode::OneShot | Mode::Periodic, Some(left)) if left > 0 => left as u32,
            (Mode::OneShot, _) => 0,
            (Mode::Periodic, _) => {
                let behind = (ticks - u64::from(self.left)) % u64::from(self.initial.max(1));
                self.initial - behind as u32
            }
        }
    }

    /// The initial count register.
    pub fn initial(&self) -> u32 {
        self.initial
    }

    /// The divide configuration register.
    pub fn divide(&self) -> u32 {
        self.divide
    }

    /// The deadline, or 0.
    pub fn deadline(&self) -> u64 {
        self.deadline_ns
    }

    /// It counts on from where it is.
    fn go_on(&mut self, now_ns: u64) {
        (self.left, self.since_ns, self.told) = (self.count(now_ns), now_ns, 0);
    }

    /// Begins to count; from 0: stops. A timer with a deadline does not.
    pub fn set_initial(&mut self, count: u32, now_ns: u64) {
        if self.mode != Mode::Deadline {
            (self.initial, self.left, self.since_ns, self.told) = (count, count, now_ns, 0);
        }
    }

    /// Bits 0, 1 and 3 count.
    pub fn set_divide(&mut self, divide: u32, now_ns: u64) {
        self.go_on(now_ns);
        self.divide = divide & 0b1011;
    }

    /// To and from deadlines, it stops.
    pub fn set_mode(&mut self, mode: Mode, now_ns: u64) {
        if mode == self.mode {
            return;
        }
        let stops = mode == Mode::Deadline || self.mode == Mode::Deadline;
        self.go_on(now_ns);
        if stops {
            (self.left, self.deadline_ns) = (0, 0);
        }
        self.mode = mode;
    }

    /// IA32_TSC_DEADLINE: 0 is none, and what is past is now. Ignored in another mode.
    pub fn set_deadline(&mut self, deadline: u64) {
        if self.mode == Mode::Deadline {
            (self.deadline_ns, self.told) = (deadline, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(mode: Mode, count: u32, divide: u32) -> Timer {
        let mut timer = Timer::default();
        timer.set_mode(mode, 0);
        timer.set_divide(divide, 0);
        timer.set_initial(count, 1000);
        timer
    }

    /// SDM volume 3, figure 11-10.
    #[test]
    fn the_divisor_is_a_power_of_two_by_three_bits() {
        let divides = [0b0000, 0b0001, 0b0010, 0b0011, 0b1000, 0b1001, 0b1010, 0b1011];
        for (divide, by) in divides.into_iter().zip([2, 4, 8, 16, 32, 64, 128, 1]) {
            let timer = counting(Mode::OneShot, 100, divide);
            assert_eq!(timer.next_ns(), Some(1000 + 100 * by), "{divide:#b}");
            assert_eq!(timer.count(1000 + 30 * by), 70);
        }
        assert_eq!(counting(Mode::OneShot, 1, !0b1011).divide(), 0);
    }

    /// SDM volume 3, 11.5.4.
    #[test]
    fn one_shot_expires_once_and_stands_at_zero() {
        let mut timer = counting(Mode::OneShot, 500, 0b1011);
        assert_eq!([1000, 1499, 1500, 9999].map(|now| timer.count(now)), [500, 1, 0, 0]);
        assert!(!timer.take_expired(1499));
        assert_eq!(timer.next_ns(), Some(1500));
        assert!(timer.take_expired(1500));
        assert!(!timer.take_expired(9999));
        assert_eq!((timer.next_ns(), timer.initial()), (None, 500));
        timer.set_initial(0, 9999);
        assert_eq!((timer.next_ns(), timer.take_expired(u64::MAX)), (None, false));
    }

    /// SDM volume 3, 11.5.4.
    #[test]
    fn periodic_expires_at_each_multiple_and_many_at_once_are_one() {
        let mut timer = counting(Mode::Periodic, 500, 0b1011);
        assert_eq!(
            [1499, 1500, 1501, 1999, 2000].map(|now| timer.count(now)),
            [1, 500, 499, 1, 500]
        );
        for expected in [1500, 2000, 2500] {
            assert_eq!(timer.next_ns(), Some(expected));
            assert!(!timer.take_expired(expected - 1));
            assert!(timer.take_expired(expected));
        }
        assert!(timer.take_expired(10_001));
        assert_eq!(timer.next_ns(), Some(10_500));
        // Slower from here on: what was left of this period is left.
        timer.set_divide(0b0000, 10_100);
        assert_eq!((timer.count(10_100), timer.next_ns()), (400, Some(10_900)));
        timer.take_expired(10_900);
        assert_eq!(timer.next_ns(), Some(11_900));
        // Once more, and no longer.
        timer.set_mode(Mode::OneShot, 11_000);
        assert_eq!(timer.next_ns(), Some(11_900));
        assert!(timer.take_expired(11_900));
        assert_eq!(timer.next_ns(), None);
    }

    /// SDM volume 3, 11.5.4.1.
    #[test]
    fn a_deadline_is_of_its_mode_alone_and_over_when_it_has_come() {
        let mut timer = counting(Mode::OneShot, 500, 0b1011);
        timer.set_deadline(7000);
        assert_eq!((timer.deadline(), timer.next_ns()), (0, Some(1500)));
        timer.set_mode(Mode::Deadline, 1100);
        assert_eq!((timer.next_ns(), timer.count(1200)), (None, 0), "the count is off");
        timer.set_initial(9, 1200);
        assert_eq!(timer.initial(), 500, "and stays so");
        timer.set_deadline(7000);
        assert_eq!((timer.deadline(), timer.next_ns()), (7000, Some(7000)));
        assert!(!timer.take_expired(6999));
        assert!(timer.take_expired(7000));
        assert_eq!((timer.deadline(), timer.next_ns(), timer.take_expired(9000)), (0, None, false));
        timer.set_deadline(5);
        assert!(timer.take_expired(9000), "what is past is now");
        timer.set_deadline(9999);
        timer.set_deadline(0);
        assert!(!timer.take_expired(u64::MAX), "disarmed");
        timer.set_deadline(9999);
        timer.set_mode(Mode::Periodic, 9500);
        assert!(!timer.take_expired(u64::MAX), "another mode");
    }

    /// SDM volume 3, 11.5.4.1.
    #[test]
    fn a_time_that_no_clock_reaches_is_never() {
        let mut timer = counting(Mode::OneShot, u32::MAX, 0b1010);
        timer.set_initial(u32::MAX, u64::MAX - 1);
        assert_eq!(timer.next_ns(), None);
        assert_eq!(timer.count(u64::MAX), u32::MAX);
    }
}
