//! The limits of a run: what bounds it whatever its guest does, each with a default, a most that
//! a scenario may ask for, and the error code that tells of it.

use super::codes::Code;
use super::file::LimitsFile;
use super::reading::{At, Located, Reader};
use super::size::Size;
use crate::event::Budget;
use std::ops::RangeInclusive;

/// What a run may use up. Work units are the guest's own (`guest: (budget: ..)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Steps of the host side: exits and calls served, queues served, looks at rings, and with
    /// `interleave: Touch` touches. Default: 1 million, at most 100 million.
    pub host_steps: u64,
    /// Calls of the guest: ultracalls, hypercalls and marks, reports, secrets. Default: 100
    /// thousand, at most 10 million.
    pub calls: u64,
    /// Console text of all consoles together, in bytes. Default: "1MiB", at most "16MiB".
    pub console_bytes: u64,
    /// Events of the log. Default: 1 million, at most 4 million.
    pub log_events: u64,
    /// Real memory of units ever written or converted, in bytes; where there is an ultravisor each
    /// counts twice, since it may lie in both memories. Default: "256MiB", at most "1GiB".
    pub memory_bytes: u64,
    /// Leaks that are told one by one; further ones are counted. Default: 1000, at most 100
    /// thousand.
    pub findings: u64,
}

/// One row of the table of limits.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// The field that sets it.
    pub field: &'static str,
    /// What a run has unless its scenario says otherwise.
    pub default: u64,
    /// What a scenario may ask for.
    pub range: (u64, u64),
    /// What tells that it is used up.
    pub code: Code,
    /// What is counted.
    pub counts: &'static str,
}

const fn limit(
    field: &'static str,
    default: u64,
    range: (u64, u64),
    code: Code,
    counts: &'static str,
) -> Limit {
    Limit { field, default, range, code, counts }
}

/// The table of limits (reference: threat model, H6 to H9).
#[rustfmt::skip]
pub const LIMITS: [Limit; 7] = [
    WORK_UNITS, HOST_STEPS, CALLS, CONSOLE, LOG, MEMORY, FINDINGS,
];

/// Work units.
pub const WORK_UNITS: Limit =
    limit("budget", 50_000_000, (1, 10_000_000_000), Code::WORK_UNITS, "work units");
const HOST_STEPS: Limit =
    limit("host_steps", 1_000_000, (1, 100_000_000), Code::HOST_STEPS, "host steps");
const CALLS: Limit = limit("calls", 100_000, (1, 10_000_000), Code::CALLS, "calls");
const CONSOLE: Limit = limit("console", 1 << 20, (0, 16 << 20), Code::CONSOLE, "of text");
const LOG: Limit = limit("log", 1_000_000, (1, 4_000_000), Code::LOG, "events");
const MEMORY: Limit = limit("memory", 256 << 20, (1 << 20, 1 << 30), Code::MEMORY, "of memory");
/// Leaks that are told one by one.
pub const FINDINGS: Limit = limit("findings", 1000, (1, 100_000), Code::FINDINGS, "leaks");

impl Limit {
    /// The row of a budget.
    pub const fn of(budget: Budget) -> Self {
        match budget {
            Budget::WorkUnits => WORK_UNITS,
            Budget::HostSteps => HOST_STEPS,
            Budget::Calls => CALLS,
            Budget::Console => CONSOLE,
            Budget::Log => LOG,
            Budget::Memory => MEMORY,
        }
    }

    /// So much of what it counts, as people say it.
    pub fn amount(&self, value: u64) -> String {
        let is_size = self.counts.starts_with("of ");
        if is_size { Size(value).to_string() } else { value.to_string() }
    }

    /// How a scenario sets it.
    pub fn setting(&self, value: &str) -> String {
        let group = if self.code == Code::WORK_UNITS { "guest" } else { "limits" };
        format!("{group}: ({}: {value})", self.field)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            host_steps: HOST_STEPS.default,
            calls: CALLS.default,
            console_bytes: CONSOLE.default,
            log_events: LOG.default,
            memory_bytes: MEMORY.default,
            findings: FINDINGS.default,
        }
    }
}

impl Limits {
    /// Reads `limits:`, each value checked against its range.
    pub fn read<'a>(reader: &mut Reader<'a>, file: LimitsFile<'a>) -> Self {
        let mut limits = Self::default();
        set(reader, &mut limits.host_steps, file.host_steps, &HOST_STEPS, |value| *value);
        set(reader, &mut limits.calls, file.calls, &CALLS, |value| *value);
        set(reader, &mut limits.console_bytes, file.console, &CONSOLE, |Size(bytes)| *bytes);
        set(reader, &mut limits.log_events, file.log, &LOG, |value| *value);
        set(reader, &mut limits.memory_bytes, file.memory, &MEMORY, |Size(bytes)| *bytes);
        set(reader, &mut limits.findings, file.findings, &FINDINGS, |value| *value);
        limits
    }

    /// How much of a budget there is.
    pub const fn of(&self, budget: Budget, work_units: u64) -> u64 {
        match budget {
            Budget::WorkUnits => work_units,
            Budget::HostSteps => self.host_steps,
            Budget::Calls => self.calls,
            Budget::Console => self.console_bytes,
            Budget::Log => self.log_events,
            Budget::Memory => self.memory_bytes,
        }
    }
}

fn set<'a, T>(
    reader: &mut Reader<'a>,
    field: &mut u64,
    file: Option<Located<'a, T>>,
    limit: &Limit,
    number: impl Fn(&T) -> u64,
) {
    let Some(At { value, span }) = reader.take_if(file) else { return };
    let value = number(&value);
    let range: RangeInclusive<u64> = limit.range.0..=limit.range.1;
    if range.contains(&value) {
        *field = value;
    } else {
        let what = limit.counts;
        let [value, least, most] =
            [value, *range.start(), *range.end()].map(|value| limit.amount(value));
        let message = format!("{value} {what} is not from {least} to {most}");
        reader.fault(Code::OUT_OF_RANGE, &span, message, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_has_its_default_and_its_range_in_its_own_measure() {
        let said = LIMITS.map(|limit| {
            let [default, least, most] = [limit.default, limit.range.0, limit.range.1];
            [default, least, most].map(|value| limit.amount(value))
        });
        let wanted = [
            ["50000000", "1", "10000000000"],
            ["1000000", "1", "100000000"],
            ["100000", "1", "10000000"],
            ["1MiB", "0B", "16MiB"],
            ["1000000", "1", "4000000"],
            ["256MiB", "1MiB", "1GiB"],
            ["1000", "1", "100000"],
        ];
        assert_eq!(said, wanted);
    }

    #[test]
    fn a_limit_says_where_a_scenario_sets_it() {
        assert_eq!(WORK_UNITS.setting("7"), "guest: (budget: 7)");
        assert_eq!(CALLS.setting("7"), "limits: (calls: 7)");
    }

    #[test]
    fn each_budget_is_bounded_by_its_own_limit() {
        let limits = Limits {
            host_steps: 1,
            calls: 2,
            console_bytes: 3,
            log_events: 4,
            memory_bytes: 5,
            findings: 6,
        };
        let bounds = [
            Budget::WorkUnits,
            Budget::HostSteps,
            Budget::Calls,
            Budget::Console,
            Budget::Log,
            Budget::Memory,
        ]
        .map(|budget| limits.of(budget, 7));
        assert_eq!(bounds, [7, 1, 2, 3, 4, 5]);
    }
}
