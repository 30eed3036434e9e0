//! `--report events=FILE`: NDJSON, schema `uvsim.events/1`; the saved log that later reports work
//! from. Per run a line with the plan, one line for each record, one for the end.

use super::{json, plan_json};
use crate::event::Event;
use crate::log::RunLog;
use crate::scenario::plan::Plan;
use serde::Serialize;
use std::io::{self, Write};

/// The schema's name.
pub const SCHEMA: &str = "uvsim.events/1";

#[derive(Serialize)]
struct First<'a> {
    schema: &'static str,
    run: &'a str,
    plan: serde_json::Value,
}

#[derive(Serialize)]
struct Line<'a> {
    run: &'a str,
    seq: u64,
    t: u64,
    #[serde(flatten)]
    event: &'a Event,
}

#[derive(Serialize)]
struct Last<'a> {
    run: &'a str,
    end: String,
    event_log_hash: String,
}

/// Writes one run.
///
/// # Errors
/// `out` fails.
pub fn write_run(out: &mut impl Write, plan: &Plan, log: &RunLog) -> io::Result<()> {
    let run = plan.id.as_str();
    json::write_line(out, &First { schema: SCHEMA, run, plan: plan_json::plan(plan) })?;
    for record in &log.records {
        let (seq, t, event) = (record.seq, record.t_ns, &record.event);
        json::write_line(out, &Line { run, seq, t, event })?;
    }
    json::write_line(out, &Last { run, end: log.ended.to_string(), event_log_hash: log.hash_hex() })
}
