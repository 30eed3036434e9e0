//! `--report md=FILE` and the summary of a GitHub job: what came out, as Markdown.
//!
//! All text that a file or a guest wrote stands in code spans, in which a viewer sees no link, no
//! HTML and no mention; backticks and bars, which would end a span or a cell, are escaped.

use super::rows::{Results, Row, State};
use super::words;
use crate::counters::{Counter, Counters, Phase};
use crate::debate::Settled;
use crate::escape;
use std::fmt::Write;

/// Unexpected runs that are told in full.
const TOLD_MAX: usize = 50;
/// Checks told of one run.
const REASONS_MAX: usize = 20;
/// Characters kept of one check.
const REASON_CHARS_MAX: usize = 600;

fn code(text: &str) -> String {
    escape::markdown_code(text, REASON_CHARS_MAX)
}

/// Adds lines while they fit, and remembers how many did not.
struct Room {
    text: String,
    bytes_max: usize,
}

impl Room {
    /// Kept free for saying what was left out.
    const RESERVE: usize = 320;

    fn add(&mut self, piece: &str) -> bool {
        let fits = self.text.len() + piece.len() + Self::RESERVE <= self.bytes_max;
        if fits {
            self.text.push_str(piece);
        }
        fits
    }

    /// Adds a head and as many pieces as fit, and says how many more of `total` there are.
    fn section(
        &mut self,
        head: &str,
        pieces: impl Iterator<Item = String>,
        (total, what): (usize, &str),
    ) {
        let shown = match total > 0 && self.add(head) {
            true => pieces.take_while(|piece| self.add(piece)).count(),
            false => 0,
        };
        if shown < total {
            let left = words::count(total - shown, what);
            write!(self.text, "\n... and {left} more, left out here.\n")
                .expect("a String takes everything");
        }
    }
}

fn table_row(row: &Row) -> String {
    let state = row.state();
    let verdict = if state.is_unexpected() {
        format!("**{}**", state.word())
    } else {
        state.word().to_owned()
    };
    let Some(run) = row.run() else {
        return format!("| {} | | {verdict} | | | | |\n", code(&row.id));
    };
    let get = |phase: Phase, counter: Counter| {
        let values = run.counters.get(phase.name());
        values.and_then(|values| values.get(counter.name())).copied().unwrap_or(0)
    };
    let conversions = |phases: &[Phase]| -> u64 {
        let each = phases.iter().flat_map(|phase| {
            Counters::CONVERSIONS.into_iter().map(|counter| get(*phase, counter))
        });
        each.sum()
    };
    let time: u64 = Phase::ALL.into_iter().map(|phase| get(phase, Counter::TimeNs)).sum();
    let outcome = run.outcome.name();
    let what_if = if run.what_if { " (what-if)" } else { "" };
    format!(
        "| {} | {outcome}{what_if} | {verdict} | {} | {}+{} | {} | {} |\n",
        code(&row.id),
        get(Phase::Steady, Counter::RoundTrips),
        conversions(&[Phase::Init]),
        conversions(&[Phase::Steady, Phase::After]),
        get(Phase::Steady, Counter::BounceCopies),
        words::time(time),
    )
}

fn claim_row(claim: &Settled) -> String {
    let holds = if claim.holds { "yes" } else { "**no**" };
    let condition = claim.condition.as_deref().map_or_else(String::new, code);
    let (number, finding) = (claim.number, claim.finding.name());
    format!("| {number} | {finding} | {holds} | {} | {condition} |\n", code(&claim.says))
}

fn told(row: &Row) -> String {
    let mut text = format!("\n### {} {}\n\n", row.state().word(), code(&row.id));
    let reasons = row.reasons();
    for reason in reasons.iter().take(REASONS_MAX) {
        text += &format!("- {}\n", code(reason));
    }
    if reasons.len() > REASONS_MAX {
        text += &format!("- and {} more\n", reasons.len() - REASONS_MAX);
    }
    if let Some(run) = row.run() {
        text += &format!("- ended {}\n", code(&run.ended));
    }
    text + &format!("- repeat: {}\n", code(&row.repeat))
}

/// The report, at most `bytes_max` bytes long; what does not fit is counted.
pub fn render(results: &Results<'_>, bytes_max: usize) -> String {
    let mut room = Room { text: String::new(), bytes_max };
    let mark = if results.report.exit_code == 0 { "as expected" } else { "**not as expected**" };
    room.add(&format!(
        "## uvsim: {mark}\n\nexit {}: {}\n",
        results.report.exit_code,
        code(results.conclusion)
    ));
    let unexpected: Vec<&Row> =
        results.rows.iter().filter(|row| row.state().is_unexpected()).collect();
    let pieces = unexpected.iter().take(TOLD_MAX).map(|row| told(row));
    room.section("", pieces, (unexpected.len(), "unexpected run"));
    let claims = results.report.claims;
    let head = "\n| claim | finding | borne out | says | condition |\n|--:|---|---|---|---|\n";
    room.section(head, claims.iter().map(claim_row), (claims.len(), "claim"));
    let warnings = results.report.warnings;
    let pieces = warnings.iter().map(|warning| format!("- {}\n", code(warning)));
    room.section("\nWarnings:\n\n", pieces, (warnings.len(), "warning"));
    let head = "\n| run | outcome | verdict | round trips | conversions | bounces | time |\n\
                |---|---|---|--:|--:|--:|--:|\n";
    room.section(head, results.rows.iter().map(table_row), (results.rows.len(), "run"));
    let expected = || results.rows.iter().filter(|row| row.state() == State::ExpectedFailure);
    room.section(
        "\nExpected failures:\n",
        expected().map(told),
        (expected().count(), "expected failure"),
    );
    room.add(
        "\nRound trips and bounces in steady state; conversions: initialisation + the rest. Time is \
         modelled, from estimates; polling guests pay for no interrupt or wake-up.\n",
    );
    room.text
}
