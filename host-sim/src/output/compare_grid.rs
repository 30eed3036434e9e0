//! A comparison as grids of text: what both the terminal's tables and Markdown's show.

use super::words;
use crate::compare::{Comparison, Mark, Row, RuleHead};
use crate::counters::{Counter, Counters, Phase};
use crate::escape;
use crate::proof::{Acting, Standing};
use crate::scenario::policy::Level;

/// One table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    /// What it shows.
    pub heading: &'static str,
    /// The heads of its columns; the first `words` columns hold text, the others numbers or marks.
    pub header: Vec<String>,
    /// How many columns hold text.
    pub words: usize,
    /// The rows.
    pub rows: Vec<Vec<String>>,
}

/// `n/a` where there is nothing to divide by.
pub const NOT_AVAILABLE: &str = "n/a";

/// Hundredths for people: two digits after the point where they tell something.
pub fn fixed(hundredths: Option<u64>) -> String {
    match hundredths {
        None => NOT_AVAILABLE.to_owned(),
        Some(value) if value % 100 == 0 || value >= 100_000 => (value / 100).to_string(),
        Some(value) => format!("{}.{:02}", value / 100, value % 100),
    }
}

/// The names of a row's designs, and whether it is a what-if.
fn names(row: &Row) -> String {
    let what_if = if row.what_if { " (what-if)" } else { "" };
    format!("{}{what_if}", escape::terminal(&row.designs.join(", ")))
}

/// The worst outcome, and in how many of the runs.
fn outcome(row: &Row) -> String {
    let Some((worst, count)) = row.outcomes.iter().next() else { return String::new() };
    format!("{} {count}/{}", worst.name(), row.runs)
}

/// Who must act: `-` where nothing can be proved, `!` at what the design's file does not claim.
fn who(acting: Option<&Acting>) -> String {
    let Some(acting) = acting else { return "-".to_owned() };
    match acting.standing {
        Standing::Untried => return "? (no run to prove it on)".to_owned(),
        Standing::NotClean => return "-".to_owned(),
        Standing::Proved => (),
    }
    let needed = acting.needed.iter().map(|layer| {
        let wrong = if acting.unclaimed.contains(layer) { "!" } else { "" };
        format!("{}{wrong}", layer.name())
    });
    let unproven = acting.unproven.iter().map(|layer| format!("{} (unproven)", layer.name()));
    let all: Vec<String> = needed.chain(unproven).collect();
    if all.is_empty() { "nobody".to_owned() } else { all.join(", ") }
}

/// A rule's mark: the worst that it says about the row's runs.
pub fn mark(mark: Option<Mark>, level: Level) -> &'static str {
    match (mark, level) {
        (None, _) => ".",
        (Some(Mark { fail: 0, waived: 0, .. }), _) => "ok",
        (Some(Mark { fail: 0, .. }), _) => "w",
        (Some(_), Level::Deny) => "X",
        (Some(_), Level::Warn) => "!",
    }
}

/// What the marks mean.
pub const MARKS: &str = "ok: holds in every run. X: denied in one. w: waived in one. !: a warning in one. .: covers \
                         no run.";

/// A rule's column is headed by a letter.
pub fn letter(number: usize) -> String {
    let letter = u8::try_from(number % 26).map_or('?', |at| char::from(b'a' + at));
    if number < 26 { letter.to_string() } else { format!("{letter}{}", number / 26) }
}

/// What the letters stand for.
pub fn rule_line(number: usize, head: &RuleHead) -> String {
    let RuleHead { policy, rule, title, level } = head;
    let warns = if *level == Level::Warn { " (only a warning)" } else { "" };
    let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
    escape::terminal_cut(&format!("{}  {policy} {rule}: {title}{warns}", letter(number)), 300)
}

/// Pages that hold rings: descriptors, both rings, and indirect tables.
const RINGS: [Counter; 4] = [
    Counter::RoundTripsDesc,
    Counter::RoundTripsAvail,
    Counter::RoundTripsUsed,
    Counter::RoundTripsIndirect,
];
const HEADER_AND_STATUS: [Counter; 2] = [Counter::RoundTripsHeader, Counter::RoundTripsStatus];

/// The tables: demands, data path, costs. `metrics` are columns more, per request.
pub fn grids(comparison: &Comparison, metrics: &[Counter]) -> [Grid; 3] {
    [demands(comparison), data_path(comparison), costs(comparison, metrics)]
}

fn heads(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn demands(comparison: &Comparison) -> Grid {
    let mut header = heads(&["design", "outcome", "who must act"]);
    header.extend((0..comparison.rules.len()).map(letter));
    let rows = comparison.rows.iter().map(|row| {
        let marks = row.marks.iter().zip(&comparison.rules);
        let marks = marks.map(|(one, head)| mark(*one, head.level).to_owned());
        [names(row), outcome(row), who(row.acting.as_ref())].into_iter().chain(marks).collect()
    });
    Grid { heading: "designs and demands", header, words: 3, rows: rows.collect() }
}

fn data_path(comparison: &Comparison) -> Grid {
    let header = heads(&[
        "design",
        "requests",
        "decisions",
        "DMA instr.",
        "conv. init",
        "conv.",
        "pp rings",
        "pp hdr+status",
        "pp data",
    ]);
    let rows = comparison.rows.iter().map(|row| {
        let costs = &row.costs;
        vec![
            names(row),
            costs.requests().to_string(),
            fixed(costs.per_request(&[Counter::DmaDecisions])),
            fixed(costs.per_request(&[Counter::DmaInstructions])),
            fixed(costs.init_per_run(&Counters::CONVERSIONS)),
            fixed(costs.per_request(&Counters::CONVERSIONS)),
            fixed(costs.per_request(&RINGS)),
            fixed(costs.per_request(&HEADER_AND_STATUS)),
            fixed(costs.per_request(&[Counter::RoundTripsData])),
        ]
    });
    Grid { heading: "data path, per request", header, words: 1, rows: rows.collect() }
}

fn costs(comparison: &Comparison, metrics: &[Counter]) -> Grid {
    let mut header =
        heads(&["design", "bounces", "bytes bounced", "exits", "hypercalls", "time", "x best"]);
    if comparison.base.is_some() {
        header[6] = "x base".to_owned();
    }
    header.extend(metrics.iter().map(|metric| metric.name().to_owned()));
    let rows = comparison.rows.iter().map(|row| {
        let per_request = |counter| row.costs.per_request(&[counter]);
        let time = per_request(Counter::TimeNs);
        let mut cells = vec![
            names(row),
            fixed(per_request(Counter::BounceCopies)),
            fixed(per_request(Counter::BounceBytes)),
            fixed(per_request(Counter::Exits)),
            fixed(per_request(Counter::HvCalls)),
            time.map_or_else(|| NOT_AVAILABLE.to_owned(), |time| words::time(time / 100)),
            fixed(row.factor),
        ];
        cells.extend(metrics.iter().map(|metric| fixed(per_request(*metric))));
        cells
    });
    Grid { heading: "costs, per request", header, words: 1, rows: rows.collect() }
}

/// What the numbers are of, and what they are not.
pub fn notes(comparison: &Comparison) -> Vec<String> {
    let reference = match &comparison.base {
        Some(base) => format!("{} on the same runs", escape::terminal(base)),
        None => "the fastest clean design on the same runs".to_owned(),
    };
    let mut notes = vec![
        "Numbers are of steady state, over the runs whose work is verified (clean or slow); conv. init \
         is per run. Conversions: shares, unshares, page-outs, page-ins. pp: ping-pong by the part \
         of the request."
            .to_owned(),
        format!(
            "Time is modelled, from estimates, not measured; polling guests have no interrupt or \
             wake-up cost. The factor is against {reference}."
        ),
        "Who must act is proved: the layer put back to its 2018 base, a clean secure run stops being \
         clean. -: clean in no secure run, so there is nothing to prove. Outcomes, costs and proofs are \
         of scenarios that do not say `prove: false`; rules are about all."
            .to_owned(),
    ];
    if comparison
        .rows
        .iter()
        .any(|row| row.acting.as_ref().is_some_and(|acting| !acting.unclaimed.is_empty()))
    {
        notes.push("!: needed, and the design's file does not claim it.".to_owned());
    }
    if comparison.rows.iter().any(|row| row.what_if) {
        notes.push(
            "what-if: pages are not really sealed; it shows what would follow if I/O went on."
                .to_owned(),
        );
    }
    notes
}

/// The sum that JSON gives beside what it is made of.
pub fn ping_pong(row: &Row) -> [(&'static str, u64); 3] {
    let steady = |counters: &[Counter]| row.costs.sum(counters, Phase::Steady);
    [
        ("rings", steady(&RINGS)),
        ("header_status", steady(&HEADER_AND_STATUS)),
        ("data", steady(&[Counter::RoundTripsData])),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_nothing_is_rounded_up() {
        let said = [None, Some(0), Some(107), Some(99_999), Some(100_099), Some(500)].map(fixed);
        assert_eq!(said, ["n/a", "0", "1.07", "999.99", "1000", "5"]);
    }

    #[test]
    fn the_worst_run_marks_the_row() {
        let of = |pass, fail, waived| Some(Mark { pass, fail, waived });
        assert_eq!(mark(None, Level::Deny), ".");
        assert_eq!(mark(of(3, 0, 0), Level::Deny), "ok");
        assert_eq!(mark(of(3, 0, 1), Level::Deny), "w");
        assert_eq!(mark(of(3, 1, 1), Level::Deny), "X");
        assert_eq!(mark(of(3, 1, 0), Level::Warn), "!");
    }

    #[test]
    fn rules_have_letters_of_their_own() {
        assert_eq!([0, 25, 26].map(letter), ["a", "z", "a1"]);
    }
}
