//! A saved event file, read back: strictly, run by run, with the hash over its events checked.
//!
//! What is read here is what `--report events=FILE` writes. Reports are made from it alone, so a
//! file that was cut off, joined or changed is refused with the line that shows it.

mod facts;
mod line;

pub use facts::{DeviceFacts, Facts, GuestFacts, MachineFacts};

use crate::counters::Counters;
use crate::event::{Chain, Ended, Event, LogHash, Record};
use crate::findings;
use crate::image::{PLACES_MAX, Place};
use crate::outcome::Outcome;
use crate::recorder::RECORDS_MAX;
use crate::scenario::codes::Code;
use crate::scenario::diagnostics::Fault;
use crate::verdict::Check;
use line::{First, InRun, Last, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use std::sync::Arc;

/// The schema's name.
pub const SCHEMA: &str = "uvsim.events/2";

/// Longest line: a megabyte of console text is four as numbers.
const LINE_BYTES_MAX: u64 = 16 << 20;
/// Longest run, in bytes of its lines.
const RUN_BYTES_MAX: u64 = 4 << 30;

/// Most places that a run names: sections and variables of two images.
const PLACES: usize = 4 * PLACES_MAX;

/// What ties a run's first line to its last: BLAKE3 over both, in hex, without the seal itself and
/// without line ends.
pub fn seal(first: &[u8], last: &[u8]) -> String {
    let mut hash = blake3::Hasher::new();
    hash.update(first.trim_ascii_end()).update(b"\n").update(last.trim_ascii_end());
    hash.finalize().to_hex().to_string()
}

/// Where a run comes from, beside its plan: what a reader needs to repeat it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The version of uvsim that recorded it.
    pub tool_version: String,
    /// The command that repeats it.
    pub repeat: String,
    /// Each input file with its BLAKE3.
    pub inputs: BTreeMap<String, String>,
}

/// All that a report knows of one run beside its events.
#[derive(Clone, Debug)]
pub struct Head {
    /// The run id.
    pub run: String,
    /// Where it comes from.
    pub source: Source,
    /// The plan as the file has it.
    pub plan: Value,
    /// What of it the reports use.
    pub facts: Facts,
    /// What the images' files name of guest memory.
    pub places: Vec<Place>,
    /// What stopped it.
    pub ended: Ended,
    /// BLAKE3 over the binary event records, in hex.
    pub hash: String,
    /// What the scenario expected, judged when it ran.
    pub checks: Vec<Check>,
}

/// One run, read back.
#[derive(Clone, Debug)]
pub struct Saved {
    /// What it is of, and how it ended.
    pub head: Head,
    /// What happened, in order.
    pub records: Vec<Record>,
}

impl Head {
    /// All counters.
    pub fn counters(&self, records: &[Record]) -> Counters {
        Counters::of(records, self.facts.guest.marks)
    }

    /// All that holds of the run, worst first; never empty.
    pub fn findings(&self, records: &[Record], counters: &Counters) -> Vec<Outcome> {
        findings::of_log(self.facts.guest.boot, records, &self.ended, counters)
    }
}

/// Reads an event file run by run; after a fault there is nothing more.
pub struct Reader<R> {
    input: R,
    shown: String,
    line: Vec<u8>,
    number: u64,
    failed: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads `input`, which is called `shown` in messages.
    pub fn new(input: R, shown: impl Into<String>) -> Self {
        Self { input, shown: shown.into(), line: Vec::new(), number: 0, failed: false }
    }

    fn refused(&self, why: impl std::fmt::Display) -> Fault {
        let at = self.number.max(1);
        Fault::bare(Code::EVENTS, format!("`{}`, line {at}: {why}", self.shown))
    }

    /// Refuses a run whose first or last line is not as it was written.
    fn check_seal(&self, run: &str, first: &[u8], sealed: &str) -> Result<(), Fault> {
        let mark = format!(",\"seal\":\"{sealed}\"}}");
        let Some(last) = self.line.trim_ascii_end().strip_suffix(mark.as_bytes()) else {
            return Err(self.refused("the seal is not what the last line ends with"));
        };
        let right = seal(first, &[last, b"}"].concat());
        if right == sealed {
            return Ok(());
        }
        Err(self.refused(format!(
            "the seal over the first and last line of `{run}` is {right}, and the file says {sealed}: \
             its plan, its end or its checks were changed"
        )))
    }

    /// The next line without its line feed; `false` at the end.
    fn next_line(&mut self) -> Result<bool, Fault> {
        self.line.clear();
        let mut limited = (&mut self.input).take(LINE_BYTES_MAX + 1);
        let read = limited.read_until(b'\n', &mut self.line);
        self.number += 1;
        match read {
            Err(error) => Err(self.refused(format!("cannot be read: {}", error.kind()))),
            Ok(0) => Ok(false),
            Ok(_) if self.line.last() == Some(&b'\n') => {
                self.line.pop();
                Ok(true)
            }
            Ok(read) if read as u64 > LINE_BYTES_MAX => {
                Err(self.refused(format!("longer than {LINE_BYTES_MAX} bytes")))
            }
            Ok(_) => {
                Err(self
                    .refused("the line does not end: the file was cut off, or is no event file"))
            }
        }
    }

    fn next_run(&mut self) -> Result<Option<Saved>, Fault> {
        if !self.next_line()? {
            return if self.number == 1 {
                Err(self.refused("the file is empty"))
            } else {
                Ok(None)
            };
        }
        let first_line = self.line.clone();
        let first = self.first()?;
        let facts = Facts::deserialize(&first.plan)
            .map_err(|error| self.refused(format!("the plan is not one: {error}")))?;
        if first.places.len() > PLACES {
            return Err(self.refused(format!("more than {PLACES} places of images")));
        }
        let (records, end, last) = self.records(&first.run)?;
        let mut hash = LogHash::default();
        records.iter().for_each(|record| hash.feed(record));
        let hash: String = hash.finish().iter().map(|byte| format!("{byte:02x}")).collect();
        if hash != last.event_log_hash {
            return Err(self.refused(format!(
                "the hash over the events of `{}` is {hash}, and the file says {}: its events were \
                 changed",
                first.run, last.event_log_hash
            )));
        }
        let ended = Ended::parse(&end)
            .ok_or_else(|| self.refused(format!("`{end}` is no way for a run to end")))?;
        self.check_seal(&first.run, &first_line, &last.seal)?;
        let First { run, source, plan, places, .. } = first;
        let head = Head { run, source, plan, facts, places, ended, hash, checks: last.checks };
        Ok(Some(Saved { head, records }))
    }

    fn first(&self) -> Result<First, Fault> {
        match serde_json::from_slice::<First>(&self.line) {
            Ok(first) if first.schema == SCHEMA => Ok(first),
            Ok(first) => Err(self.refused(foreign(&first.schema))),
            Err(error) => Err(self.refused(self.no_first(&error))),
        }
    }

    fn records(&mut self, run: &str) -> Result<(Vec<Record>, String, Last), Fault> {
        let mut records: Vec<Record> = Vec::new();
        let mut chain: Option<Chain> = None;
        let mut bytes = 0_u64;
        loop {
            if !self.next_line()? {
                let events = records.len();
                return Err(self.refused(format!(
                    "the file ends after {events} events of `{run}`: it was cut off"
                )));
            }
            bytes += self.line.len() as u64;
            let parsed =
                line::parse(&self.line, run).map_err(|error| self.refused(words(&error)))?;
            let mut record = match parsed {
                InRun::End(end, last) => return Ok((records, end, last)),
                InRun::Record(record) => record,
            };
            if record.seq != records.len() as u64 {
                let (found, due) = (record.seq, records.len());
                return Err(self.refused(format!("event {found} where event {due} is due")));
            }
            if records.last().is_some_and(|before| before.t_ns > record.t_ns) {
                return Err(self.refused("time runs backwards"));
            }
            if records.len() as u64 == RECORDS_MAX || bytes > RUN_BYTES_MAX {
                return Err(self.refused("the run is longer than any run can be"));
            }
            share_chain(&mut record.event, &mut chain);
            records.push(record);
        }
    }

    /// Why the line is not the first of a run.
    fn no_first(&self, error: &serde_json::Error) -> String {
        // Another version's fields are others: what is wrong with them is not the news.
        if let Ok(Schema { schema }) = serde_json::from_slice(&self.line)
            && schema != SCHEMA
        {
            return foreign(&schema);
        }
        let text = String::from_utf8_lossy(&self.line);
        if self.number > 1 {
            return format!("a run must begin here: {}", words(error));
        }
        // Pretty-printed JSON is one of ours, or somebody else's.
        let is_brace = text.trim() == "{";
        if is_brace || text.contains("uvsim.result/") || text.contains("uvsim.compare/") {
            return "a JSON object over several lines: if this is a result (`--report json=FILE`), it \
                    has totals only, and no events to make a report of; write them with `--report \
                    events=FILE`"
                .to_owned();
        }
        format!("this is no event file of uvsim: {}", words(error))
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Saved, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.next_run().transpose();
        self.failed = !matches!(next, Some(Ok(_)));
        next
    }
}

fn foreign(schema: &str) -> String {
    if schema.starts_with("uvsim.result/") || schema.starts_with("uvsim.compare/") {
        return format!("`{schema}` has totals only: no report can be made without the events");
    }
    format!("the schema is `{schema}`; this version reads `{SCHEMA}`")
}

/// An error of JSON without its line, which is always 1: each line is read alone.
fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(what) => format!("{what} (column {})", error.column()),
        None => text,
    }
}

/// Touches of one kick have one call chain: it is kept once, as while the run was recorded.
fn share_chain(event: &mut Event, last: &mut Option<Chain>) {
    let (Event::Touch { chain: Some(chain), .. } | Event::Kick { chain, .. }) = event else {
        return;
    };
    match last {
        Some(known) if **known == **chain => *chain = Arc::clone(known),
        Some(_) | None => *last = Some(Arc::clone(chain)),
    }
}
