//! The run's log while it is written, and the clock that it moves.
//!
//! Each event is stamped with the clock, takes as long as its cost says, and is fed to the hash.

use crate::cost::CostTable;
use crate::event::{Event, LogHash, Record};
use ultravisor_abi::UnitSize;

/// Most records of one run. The run ends as `budget(log)` when they are used up.
pub const RECORDS_MAX: usize = 4_000_000;

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
}

impl Recorder {
    /// An empty log at time 0.
    pub fn new(costs: CostTable, unit: UnitSize) -> Self {
        Self {
            records: Vec::with_capacity(4096),
            clock_ps: 0,
            host_units: 0,
            costs,
            unit,
            hash: LogHash::default(),
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

    /// Whether the log is full.
    pub fn full(&self) -> bool {
        self.records.len() >= RECORDS_MAX
    }

    /// Writes one event down. When the log is full it is dropped: the run ends before its next
    /// step.
    pub fn push(&mut self, event: Event) {
        if let Event::Touch { bytes, .. } = event {
            self.host_works(bytes / COPIED_BYTES_PER_UNIT);
        }
        if let Event::Page { bytes, .. } = event {
            self.host_works(bytes / CONVERTED_BYTES_PER_UNIT);
        }
        if self.full() {
            return;
        }
        let record = Record { seq: self.records.len() as u64, t_ns: self.now_ns(), event };
        self.clock_ps = self
            .clock_ps
            .saturating_add(self.costs.of(&record.event, self.unit).saturating_mul(1000));
        self.hash.feed(&record);
        self.records.push(record);
    }

    /// The records and the hash over all of them.
    pub fn finish(self) -> (Vec<Record>, [u8; 32]) {
        (self.records, self.hash.finish())
    }
}
