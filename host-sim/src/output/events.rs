//! `--report events=FILE`: NDJSON, schema `uvsim.events/2`; the saved log that later reports work
//! from. Per run a line with the plan, one line for each record, one for the end.

use super::{json, plan_json};
use crate::event::{Event, Record};
use crate::image::Place;
use crate::log::RunLog;
use crate::saved::{self, SCHEMA, Source};
use crate::scenario::plan::Plan;
use crate::verdict::Check;
use serde::Serialize;
use std::io::{self, Write};

#[derive(Serialize)]
struct First<'a> {
    schema: &'static str,
    run: &'a str,
    source: &'a Source,
    places: &'a [Place],
    plan: serde_json::Value,
}

/// One event of a run, as its line says it.
#[derive(Serialize)]
pub struct Line<'a> {
    run: &'a str,
    seq: u64,
    t: u64,
    #[serde(flatten)]
    event: &'a Event,
}

impl<'a> Line<'a> {
    /// The line of `record`.
    pub fn of(run: &'a str, record: &'a Record) -> Self {
        Self { run, seq: record.seq, t: record.t_ns, event: &record.event }
    }
}

#[derive(Serialize)]
struct Last<'a> {
    run: &'a str,
    end: String,
    event_log_hash: String,
    checks: &'a [Check],
    /// Over the first line and this one so far; the reader takes it off the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    seal: Option<String>,
}

/// Writes one run: where it comes from, what it was asked to do, what happened, and what its
/// scenario's expectations say of that.
///
/// # Errors
/// `out` fails.
pub fn write_run(
    out: &mut impl Write,
    source: &Source,
    (plan, log): (&Plan, &RunLog),
    checks: &[Check],
) -> io::Result<()> {
    let run = plan.id.as_str();
    let (places, plan) = (log.places.as_slice(), plan_json::plan(plan));
    let mut first = Vec::new();
    json::write_line(&mut first, &First { schema: SCHEMA, run, source, places, plan })?;
    out.write_all(&first)?;
    for record in &log.records {
        json::write_line(out, &Line::of(run, record))?;
    }
    let (end, event_log_hash) = (log.ended.to_string(), log.hash_hex());
    let mut last = Last { run, end, event_log_hash, checks, seal: None };
    let mut unsealed = Vec::new();
    json::write_line(&mut unsealed, &last)?;
    last.seal = Some(saved::seal(&first, &unsealed));
    json::write_line(out, &last)
}
