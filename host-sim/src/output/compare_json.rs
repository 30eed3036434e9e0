//! `uvsim compare --format json`: one object, schema `uvsim.compare/1`. Changes only add to it.

use super::compare_grid;
use crate::compare::{Comparison, Mark, Row, RuleHead};
use crate::counters::{Counter, Phase};
use crate::outcome::Outcome;
use crate::proof::{Acting, Standing};
use crate::scenario::design::Layer;
use serde::Serialize;
use std::collections::BTreeMap;

/// The schema's name.
pub const SCHEMA: &str = "uvsim.compare/1";

/// What the report says besides its rows.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The seed of every run.
    pub seed: u64,
    /// Each input file with its BLAKE3.
    pub inputs: &'a BTreeMap<String, String>,
    /// What the process will exit with.
    pub exit_code: u8,
    /// The day by which waivers were judged, if a policy was applied.
    pub today: Option<&'a str>,
    /// What was told beside the runs.
    pub warnings: &'a [String],
}

/// The whole report.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    schema: &'static str,
    tool_version: &'static str,
    seed: u64,
    inputs: &'a BTreeMap<String, String>,
    exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    today: Option<&'a str>,
    base: Option<&'a str>,
    rules: &'a [RuleHead],
    rows: Vec<RowJson<'a>>,
    notes: Vec<String>,
    warnings: &'a [String],
}

#[derive(Debug, Serialize)]
struct RowJson<'a> {
    designs: &'a [String],
    what_if: bool,
    runs: usize,
    outcome: Option<Outcome>,
    outcomes: BTreeMap<&'static str, usize>,
    who_must_act: Option<Who<'a>>,
    worked: u64,
    requests: u64,
    init: BTreeMap<&'static str, u64>,
    steady: BTreeMap<&'static str, u64>,
    ping_pong: BTreeMap<&'static str, u64>,
    factor_hundredths: Option<u64>,
    policy: Vec<Option<Mark>>,
}

#[derive(Debug, Serialize)]
struct Who<'a> {
    standing: &'static str,
    needed: &'a [Layer],
    unproven: &'a [Layer],
    unclaimed: &'a [Layer],
}

impl<'a> Report<'a> {
    /// `comparison` with all of its counters, raw.
    pub fn new(comparison: &'a Comparison, frame: Frame<'a>) -> Self {
        let Frame { seed, inputs, exit_code, today, warnings } = frame;
        Self {
            schema: SCHEMA,
            tool_version: env!("CARGO_PKG_VERSION"),
            seed,
            inputs,
            exit_code,
            today,
            base: comparison.base.as_deref(),
            rules: &comparison.rules,
            rows: comparison.rows.iter().map(row).collect(),
            notes: compare_grid::notes(comparison),
            warnings,
        }
    }
}

fn row(row: &Row) -> RowJson<'_> {
    let counters = |phase| -> BTreeMap<&'static str, u64> {
        let all = Counter::ALL.iter().map(|one| (one.name(), row.costs.get(*one, phase)));
        all.filter(|(_, value)| *value > 0).collect()
    };
    RowJson {
        designs: &row.designs,
        what_if: row.what_if,
        runs: row.runs,
        outcome: row.outcomes.keys().next().copied(),
        outcomes: row.outcomes.iter().map(|(outcome, count)| (outcome.name(), *count)).collect(),
        who_must_act: row.acting.as_ref().map(who),
        worked: row.costs.runs,
        requests: row.costs.requests(),
        init: counters(Phase::Init),
        steady: counters(Phase::Steady),
        ping_pong: compare_grid::ping_pong(row).into_iter().collect(),
        factor_hundredths: row.factor,
        policy: row.marks.clone(),
    }
}

fn who(acting: &Acting) -> Who<'_> {
    let Acting { standing, needed, unproven, unclaimed } = acting;
    let standing = match standing {
        Standing::Untried => "untried",
        Standing::NotClean => "not_clean",
        Standing::Proved => "proved",
    };
    Who { standing, needed, unproven, unclaimed }
}
