//! The run's log while it is written, the clock that it moves, and what the run has used up.
//!
//! Each event is stamped with the clock, takes as long as its cost says, and is fed to the hash.

use crate::cost::CostTable;
use crate::event::{Budget, Event, LogHash, Record};
use crate::scenario::limits::{self, Limit, Limits};
use ultravisor_abi::UnitSize;

/// No run has more records: as many as a scenario may ask for, its leaks, and what is told of its
/// end.
pub const RECORDS_MAX: u64 =
    Limit::of(Budget::Log).range.1 + limits::FINDINGS.range.1 + END_RECORDS_MAX;
/// What is told of a run's end: each device's and the guest's place, comparisons and the like.
const END_RECORDS_MAX: u64 = 1000;

/// Bytes that a device copies for one work unit of the run's budget, and bytes that a conversion
/// goes over (encrypting them is quicker than many small copies). The budget bounds real time, so it
/// counts the host side's work too; virtual time is the cost table's.
const COPIED_BYTES_PER_UNIT: u64 = 64;
const CONVERTED_BYTES_PER_UNIT: u64 = 256;

/// The log, the clock and the hash.
pub struct Recorder {
    records: Vec<Record>,
    clock_ps: u64,
    /// Work units of the host side so far.
    host_units: u64,
    costs: CostTable,
    unit: UnitSize,
    hash: LogHash,
    limits: Limits,
    used: Used,
}

/// How much of its limits the run has used.
#[derive(Debug, Default)]
struct Used {
    host_steps: u64,
    calls: u64,
    console_bytes: u64,
    /// Events that count against the limit of the log.
    events: u64,
    leaks: u64,
    leaks_left_out: u64,
    /// The first limit that was not enough.
    spent: Option<Budget>,
    /// Whether the run is over: what is told now is told whole.
    over: bool,
}

impl Used {
    /// Takes one of what there are `max` of. *Returns* whether there was one left.
    fn take(used: &mut u64, max: u64, budget: Budget, spent: &mut Option<Budget>) -> bool {
        if *used >= max {
            spent.get_or_insert(budget);
            return false;
        }
        *used += 1;
        true
    }
}

impl Recorder {
    /// An empty log at time 0.
    pub fn new(costs: CostTable, unit: UnitSize, limits: Limits) -> Self {
        Self {
            records: Vec::with_capacity(4096),
            clock_ps: 0,
            host_units: 0,
            costs,
            unit,
            hash: LogHash::default(),
            limits,
            used: Used::default(),
        }
    }

    /// Virtual time, in nanoseconds.
    pub fn now_ns(&self) -> u64 {
        self.clock_ps / 1000
    }

    /// The guest worked so many units.
    pub fn worked(&mut self, units: u64) {
        self.clock_ps =
            self.clock_ps.saturating_add(units.saturating_mul(self.costs.guest_unit.ps));
    }

    /// How many units the guest can work until `at_ns`; at least 1.
    pub fn units_until(&self, at_ns: u64) -> u64 {
        let ps = at_ns.saturating_mul(1000).saturating_sub(self.clock_ps);
        (ps / self.costs.guest_unit.ps).max(1)
    }

    /// How much of the run's budget the host side has used, in work units.
    pub fn host_units(&self) -> u64 {
        self.host_units
    }

    /// The host side works so many units: what is not told by an event.
    pub fn host_works(&mut self, units: u64) {
        self.host_units = self.host_units.saturating_add(units);
    }

    /// The first limit that was not enough, if one was not.
    pub fn spent(&self) -> Option<Budget> {
        self.used.spent
    }

    /// The host side is about to take a step. *Returns* whether the run may have it.
    pub fn take_host_step(&mut self) -> bool {
        let Used { host_steps, spent, .. } = &mut self.used;
        Used::take(host_steps, self.limits.host_steps, Budget::HostSteps, spent)
    }

    /// The guest makes a call. *Returns* whether the run may have it.
    pub fn take_call(&mut self) -> bool {
        let Used { calls, spent, .. } = &mut self.used;
        Used::take(calls, self.limits.calls, Budget::Calls, spent)
    }

    /// So many bytes of text come to a console. *Returns* how many of them it may keep.
    pub fn take_console(&mut self, bytes: u64) -> u64 {
        let kept = bytes.min(self.limits.console_bytes - self.used.console_bytes);
        self.used.console_bytes += kept;
        if kept < bytes {
            self.used.spent.get_or_insert(Budget::Console);
        }
        kept
    }

    /// The run is over. What is told from now on is bounded by itself, and told whole: how it got
    /// stuck, and what the judges find.
    pub fn run_is_over(&mut self) {
        self.used.over = true;
    }

    /// Whether there is room for `event`. Leaks have room of their own: a guest must not be able
    /// to hide one behind a full log.
    fn has_room(&mut self, event: &Event) -> bool {
        let Used { events, leaks, leaks_left_out, spent, over, .. } = &mut self.used;
        if matches!(event, Event::Leak { .. }) {
            let fits = *leaks < self.limits.findings;
            *if fits { leaks } else { leaks_left_out } += 1;
            return fits;
        }
        *over || Used::take(events, self.limits.log_events, Budget::Log, spent)
    }

    /// Writes one event down. If there is no room for it it is dropped, and the run ends before
    /// its next step.
    pub fn push(&mut self, event: Event) {
        if let Event::Touch { bytes, .. } = event {
            self.host_works(bytes / COPIED_BYTES_PER_UNIT);
        }
        if let Event::Page { bytes, .. } = event {
            self.host_works(bytes / CONVERTED_BYTES_PER_UNIT);
        }
        if self.has_room(&event) {
            self.write(event);
        }
    }

    fn write(&mut self, event: Event) {
        let record = Record { seq: self.records.len() as u64, t_ns: self.now_ns(), event };
        self.clock_ps = self
            .clock_ps
            .saturating_add(self.costs.of(&record.event, self.unit).saturating_mul(1000));
        self.hash.feed(&record);
        self.records.push(record);
    }

    /// What was written down so far.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The records and the hash over all of them.
    pub fn finish(mut self) -> (Vec<Record>, [u8; 32]) {
        let count = self.used.leaks_left_out;
        if count > 0 {
            self.write(Event::LeaksLeftOut { count });
        }
        (self.records, self.hash.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::table;
    use crate::event::{Direction, LeakPlace, Part, Seen, WaitBy};
    use crate::scenario::plan::{CostProfile, Platform};
    use ultravisor::{Effect, PageOp, PageState};

    fn recorder(limits: Limits) -> Recorder {
        Recorder::new(table(Platform::Plain, CostProfile::Firmware), UnitSize::KIB_64, limits)
    }

    fn wait(ns: u64) -> Event {
        Event::Wait { by: WaitBy::Pause, ns }
    }

    fn leak(at: u64) -> Event {
        Event::Leak { place: LeakPlace::Memory, at }
    }

    fn touch(bytes: u64) -> Event {
        Event::Touch {
            device: None,
            queue: None,
            part: Part::Data,
            direction: Direction::Read,
            gpa: 0,
            bytes,
            gfn: 0,
            state: PageState::Shared,
            seen: Seen::Plain,
            chain: None,
        }
    }

    fn share(bytes: u64) -> Event {
        Event::Page {
            gfn: 0,
            op: PageOp::ShareCommit,
            from: PageState::Secure,
            to: PageState::Shared,
            effect: Effect::ZeroNormal,
            bytes,
            cause: None,
        }
    }

    #[test]
    fn time_goes_on_with_the_guests_work_and_with_what_events_cost() {
        // A work unit takes a nanosecond.
        let mut recorder = recorder(Limits::default());
        assert_eq!(recorder.now_ns(), 0);
        recorder.worked(2500);
        recorder.push(wait(4000));
        recorder.push(leak(0));
        assert_eq!((recorder.now_ns(), recorder.units_until(7000)), (6500, 500));
        assert_eq!((recorder.units_until(6501), recorder.units_until(6500)), (1, 1));
        assert_eq!(recorder.units_until(10), 1, "what is due has the guest go on, if by one unit");
        let records = recorder.records();
        let stamps: Vec<_> = records.iter().map(|record| (record.seq, record.t_ns)).collect();
        assert_eq!(stamps, [(0, 2500), (1, 6500)]);
    }

    #[test]
    fn the_budget_counts_what_the_host_side_copies_and_converts() {
        let mut recorder = recorder(Limits::default());
        recorder.push(touch(4096));
        assert_eq!(recorder.host_units(), 64);
        recorder.push(share(0x1_0000));
        assert_eq!(recorder.host_units(), 64 + 256);
        recorder.host_works(5);
        assert_eq!(recorder.host_units(), 64 + 256 + 5);
        recorder.host_works(u64::MAX);
        assert_eq!(recorder.host_units(), u64::MAX);
    }

    #[test]
    fn each_limit_gives_what_it_says_and_the_first_that_is_not_enough_is_told() {
        let limits = Limits { host_steps: 2, calls: 1, console_bytes: 10, ..Limits::default() };
        let mut run = recorder(limits);
        assert_eq!([(); 2].map(|()| run.take_host_step()), [true; 2]);
        assert_eq!((run.take_call(), run.take_console(4), run.take_console(6)), (true, 4, 6));
        assert_eq!(run.spent(), None, "all is used, and nothing more was asked for");
        assert!(!run.take_call());
        assert_eq!(run.spent(), Some(Budget::Calls));
        assert!(!run.take_host_step());
        assert_eq!(run.spent(), Some(Budget::Calls));
        let mut run = recorder(limits);
        assert!([(); 3].map(|()| run.take_host_step()).ends_with(&[true, false]));
        assert_eq!(run.spent(), Some(Budget::HostSteps));
        let mut run = recorder(limits);
        assert_eq!((run.take_console(7), run.take_console(7), run.take_console(7)), (7, 3, 0));
        assert_eq!(run.spent(), Some(Budget::Console));
    }

    #[test]
    fn a_full_log_takes_leaks_and_what_is_told_of_the_end() {
        let mut run = recorder(Limits { log_events: 2, findings: 2, ..Limits::default() });
        run.push(wait(1));
        run.push(wait(2));
        assert_eq!((run.records().len(), run.spent()), (2, None));
        run.push(wait(3));
        assert_eq!((run.records().len(), run.spent()), (2, Some(Budget::Log)));
        run.push(leak(1));
        run.run_is_over();
        run.push(wait(4));
        for at in 2..5 {
            run.push(leak(at));
        }
        let (records, hash) = run.finish();
        let events: Vec<_> = records.iter().map(|record| record.event.clone()).collect();
        let told = [wait(1), wait(2), leak(1), wait(4), leak(2), Event::LeaksLeftOut { count: 2 }];
        assert_eq!(events, told);
        let mut again = LogHash::default();
        records.iter().for_each(|record| again.feed(record));
        assert_eq!(hash, again.finish());
    }

    #[test]
    fn no_leak_left_out_is_not_told() {
        let mut run = recorder(Limits { findings: 1, ..Limits::default() });
        run.push(leak(0));
        assert_eq!(run.finish().0.len(), 1);
    }

    #[test]
    fn the_longest_log_is_that_of_all_limits_at_their_most() {
        // What a scenario may ask for is in README, "Limits".
        assert_eq!(RECORDS_MAX, 4_000_000 + 100_000 + 1000);
    }
}
