//! `--report csv=FILE`: one flat row for each run, the same columns whatever the selection.

use super::rows::{End, Results, Row};
use crate::counters::{Counter, Phase};
use crate::escape;
use crate::scenario::matrix::AXES;
use std::io::{self, Write};

/// The columns before the axes and the counters.
const FIRST: [&str; 10] = [
    "id",
    "file",
    "scenario",
    "design",
    "seed",
    "verdict",
    "outcome",
    "ended",
    "what_if",
    "event_log_hash",
];

/// The columns: ten facts, `axis.NAME` for each axis there is (empty where it is not crossed),
/// `PHASE.COUNTER` for each phase and counter.
pub fn header() -> Vec<String> {
    let facts = FIRST.into_iter().map(str::to_owned);
    let axes = AXES.iter().map(|name| format!("axis.{name}"));
    let counters = Phase::ALL.into_iter().flat_map(|phase| {
        Counter::ALL.iter().map(move |counter| format!("{}.{}", phase.name(), counter.name()))
    });
    facts.chain(axes).chain(counters).collect()
}

fn row(row: &Row, seed: u64) -> Vec<String> {
    let run = row.run();
    let verdict = match &row.end {
        End::Bug(_) => "bug",
        End::NotRun(_) | End::Unjudged(_) => "no_verdict",
        End::Judged(run) => run.verdict.name(),
    };
    let mut cells = vec![
        escape::csv(&row.id),
        escape::csv(&row.file),
        escape::csv(&row.scenario),
        escape::csv(row.design.as_deref().unwrap_or("")),
        seed.to_string(),
        verdict.to_owned(),
        run.map_or("", |run| run.outcome.name()).to_owned(),
        escape::csv(run.map_or("", |run| &run.ended)),
        run.map_or_else(String::new, |run| run.what_if.to_string()),
        run.map_or("", |run| &run.event_log_hash).to_owned(),
    ];
    cells.extend(AXES.iter().map(|name| {
        let here = row.axes.iter().find(|(axis, _)| axis == name);
        here.map_or_else(String::new, |(_, value)| escape::csv(value))
    }));
    for phase in Phase::ALL {
        let values = run.and_then(|run| run.counters.get(phase.name()));
        cells.extend(Counter::ALL.iter().map(|counter| match (run, values) {
            (None, _) => String::new(),
            (Some(_), values) => {
                let value = values.and_then(|values| values.get(counter.name()));
                value.copied().unwrap_or(0).to_string()
            }
        }));
    }
    cells
}

/// Writes the table.
///
/// # Errors
/// `out` fails.
pub fn write(out: &mut impl Write, results: &Results<'_>) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(header())?;
    for one in results.rows {
        writer.write_record(row(one, results.report.seed))?;
    }
    writer.flush()
}
