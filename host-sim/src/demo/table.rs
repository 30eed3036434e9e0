//! The comparison with which a story ends: its runs side by side.

use super::story::{Story, Told};
use crate::counters::{Counter, Phase};
use crate::help::terms;
use crate::outcome::Outcome;
use crate::output::words;
use crate::proof::Standing;

/// The columns' heads.
pub const HEADS: [&str; 6] = ["how", "comes out", "served", "round trips", "copies", "time"];

/// One run's row, and who must act for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// In the order of [`HEADS`].
    pub cells: [String; 6],
    /// Who must act, in words.
    pub acting: String,
}

/// A row for each run.
pub fn rows(story: &Story) -> Vec<Row> {
    story.runs.iter().map(row).collect()
}

fn row(told: &Told) -> Row {
    let recording = &told.recording;
    let counters = recording.counters(recording.last());
    let sum = |counter: Counter| counters.sum(counter, &Phase::ALL);
    let trips = sum(Counter::RoundTrips);
    let requests = sum(Counter::Requests);
    let per = match (trips, requests) {
        (0, _) | (_, 0) => trips.to_string(),
        _ => format!("{trips} ({} each)", per_request(trips, requests)),
    };
    let cells = [
        told.label.clone(),
        outcome(told),
        requests.to_string(),
        per,
        sum(Counter::BounceCopies).to_string(),
        words::time(sum(Counter::TimeNs)),
    ];
    Row { cells, acting: acting(told) }
}

/// `2`, or `2.5`.
fn per_request(trips: u64, requests: u64) -> String {
    match (trips % requests, trips * 10 / requests) {
        (0, _) => (trips / requests).to_string(),
        (_, tenths) => format!("{}.{}", tenths / 10, tenths % 10),
    }
}

fn outcome(told: &Told) -> String {
    let what_if = if told.recording.log.what_if { " (what if)" } else { "" };
    format!("{}{what_if}", told.recording.outcome.name())
}

/// For a run that came out clean: the layers without which it would not.
fn acting(told: &Told) -> String {
    let Some(acting) = &told.acting else { return String::new() };
    if told.recording.outcome != Outcome::Clean || acting.standing != Standing::Proved {
        return String::new();
    }
    let layers: Vec<&str> = acting.layers().into_iter().map(terms::layer).collect();
    if layers.is_empty() { "nobody".to_owned() } else { layers.join(", ") }
}
