//! `--report json=FILE`: one object, schema `uvsim.result/1`. Changes only add to it.

use super::stuck;
use crate::counters::{Counter, Counters, Phase, Tally, TouchKey};
use crate::debate::Settled;
use crate::escape;
use crate::log::RunLog;
use crate::outcome::Outcome;
use crate::policy::Ruling;
use crate::scenario::plan::Plan;
use crate::verdict::{Check, Judged, Verdict};
use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, PrettyFormatter};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// The whole report.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    /// `uvsim.result/1`.
    pub schema: &'static str,
    /// The version of uvsim.
    pub tool_version: &'static str,
    /// The seed of every run.
    pub seed: u64,
    /// Each input file with its BLAKE3.
    pub inputs: &'a BTreeMap<String, String>,
    /// What the process will exit with, as far as this report knows: not whether it was written.
    pub exit_code: u8,
    /// The runs in the order of the selection.
    pub runs: Vec<&'a Run>,
    /// What the selection's scenarios find about the thread's claims, by number.
    pub claims: &'a [Settled],
    /// The day by which waivers were judged, if a policy was applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub today: Option<String>,
    /// What was told beside the runs: rules that cover nothing, waivers that are past or unused.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub warnings: &'a [String],
}

/// The schema's name.
pub const SCHEMA: &str = "uvsim.result/1";

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// The run id.
    pub id: String,
    /// Its verdict.
    pub verdict: Verdict,
    /// Its outcome.
    pub outcome: Outcome,
    /// All that holds.
    pub findings: Vec<Outcome>,
    /// What stopped it.
    pub ended: String,
    /// If it got stuck: what was used up, what everybody was doing, where the guest spent its time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stuck: Vec<String>,
    /// Ids of devices left in DEVICE_NEEDS_RESET.
    pub needs_reset: Vec<String>,
    /// Whether it says what would follow rather than what does.
    pub what_if: bool,
    /// Phase, counter, value; what is absent is 0.
    pub counters: BTreeMap<&'static str, BTreeMap<&'static str, u64>>,
    /// The table of touches.
    pub touches: Vec<Touches>,
    /// Each expectation.
    pub checks: Vec<Check>,
    /// What the rules of policies say.
    pub policy: Vec<Ruling>,
    /// BLAKE3 over the binary event records.
    pub event_log_hash: String,
}

/// One row of the table of touches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Touches {
    /// Device id; `null`: the hypervisor.
    pub device: Option<String>,
    /// Queue.
    pub queue: Option<u16>,
    /// Part.
    pub part: &'static str,
    /// State of the unit before.
    pub state: &'static str,
    /// `read` or `write`.
    pub direction: crate::event::Direction,
    /// Touches.
    pub count: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Run {
    /// One judged run.
    pub fn new(plan: &Plan, log: &RunLog, judged: &Judged) -> Self {
        let needs_reset = log
            .needs_reset
            .iter()
            .filter_map(|device| plan.devices.get(usize::from(device.0)))
            .map(|device| device.id.clone())
            .collect();
        Self {
            id: plan.id.clone(),
            verdict: judged.verdict,
            outcome: judged.outcome,
            findings: judged.findings.clone(),
            ended: log.ended.to_string(),
            stuck: stuck::lines(plan, log),
            needs_reset,
            what_if: log.what_if || plan.what_if(),
            counters: counters(&judged.counters),
            touches: touches(plan, &judged.counters),
            checks: judged.checks.clone(),
            policy: Vec::new(),
            event_log_hash: log.hash_hex(),
        }
    }
}

fn counters(counters: &Counters) -> BTreeMap<&'static str, BTreeMap<&'static str, u64>> {
    Phase::ALL
        .into_iter()
        .map(|phase| {
            let values =
                Counter::ALL.iter().map(|counter| (counter.name(), counters.get(*counter, phase)));
            (phase.name(), values.filter(|(_, value)| *value > 0).collect())
        })
        .collect()
}

fn touches(plan: &Plan, counters: &Counters) -> Vec<Touches> {
    let mut rows: BTreeMap<TouchKey, Tally> = BTreeMap::new();
    for (key, _, tally) in counters.touches() {
        let row = rows.entry(*key).or_default();
        row.count += tally.count;
        row.bytes = row.bytes.saturating_add(tally.bytes);
    }
    rows.into_iter()
        .map(|(key, tally)| Touches {
            device: key.device.map(|_| super::words::device(plan, key.device).to_owned()),
            queue: key.queue.map(|queue| queue.0),
            part: key.part.name(),
            state: key.state.name(),
            direction: key.direction,
            count: tally.count,
            bytes: tally.bytes,
        })
        .collect()
}

/// A formatter whose strings are inert: what a terminal would obey is `\u00XX`.
struct Inert<F>(F);

macro_rules! as_inner {
    ($($name:ident($($arg:ident: $ty:ty),*);)*) => {
        $(fn $name<W: ?Sized + Write>(&mut self, out: &mut W $(, $arg: $ty)*) -> io::Result<()> {
            self.0.$name(out $(, $arg)*)
        })*
    };
}

impl<F: Formatter> Formatter for Inert<F> {
    as_inner! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        end_object_key();
        begin_object_value();
        end_object_value();
        write_char_escape(escape: CharEscape);
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        text: &str,
    ) -> io::Result<()> {
        // Nearly all text is plain, and this is most of what a log consists of.
        if text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
            return out.write_all(text.as_bytes());
        }
        let mut rest = text;
        while let Some(at) = rest.find(escape::is_active) {
            out.write_all(&rest.as_bytes()[..at])?;
            let active = rest[at..].chars().next().unwrap_or('?');
            // As JSON has it: in units of UTF-16.
            for unit in active.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = &rest[at + active.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }
}

/// Writes `value` as indented JSON and a line feed.
///
/// # Errors
/// `out` fails.
pub fn write_pretty(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let formatter = Inert(PrettyFormatter::with_indent(b" "));
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, formatter);
    value.serialize(&mut serializer)?;
    out.write_all(b"\n")
}

/// Writes `value` as one line of JSON.
///
/// # Errors
/// `out` fails.
pub fn write_line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, Inert(CompactFormatter));
    value.serialize(&mut serializer)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_strings_are_inert_and_keep_their_meaning() {
        let hostile = "a\u{9b}b\u{202e}c\u{7f}\u{1b}\"\\é\u{e0041}";
        let mut out = Vec::new();
        write_line(&mut out, &hostile).expect("a Vec takes everything");
        let text = String::from_utf8(out).expect("JSON is UTF-8");
        assert!(!text.trim_end().chars().any(escape::is_active), "{text:?}");
        assert_eq!(serde_json::from_str::<String>(&text).expect("it is JSON"), hostile);
    }
}
