//! Rows made by hand, with text that every sink must make inert.

use host_sim::counters::Counter;
use host_sim::debate::Settled;
use host_sim::outcome::Outcome;
use host_sim::output::json;
use host_sim::output::rows::{End, Results, Row};
use host_sim::scenario::argument::FindingWord;
use host_sim::verdict::{Check, Verdict};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a guest or a file may say to break out of a report.
pub const HOSTILE: [&str; 16] = [
    "]]>",
    "<script>alert(1)</script>",
    "\u{1b}[31mred\u{1b}[0m",
    "\u{0}\u{1}\u{8}\u{b}\u{1f}",
    "\u{85}\u{fffe}\u{ffff}\u{feff}",
    "a\r\n::error::forged",
    "::set-output name=x::y",
    "##[error]forged",
    "%0A::warning::forged",
    "| a | b |\n|---|---|",
    "`code` **bold** [link](https://example.org) ![image](x)",
    "@everyone #1 https://example.org www.example.org",
    "=cmd|' /C calc'!A0",
    "&amp; &#x1b; \"quoted\" 'single'",
    "\u{202e}txt.exe\u{2066}",
    "\t\t",
];

/// A run that came out like this.
pub fn run(id: &str, verdict: Verdict, checks: Vec<Check>) -> json::Run {
    let counters = [("init", 3), ("steady", 1_500_000_000), ("after", 7)];
    let counters = counters.map(|(phase, ns)| (phase, BTreeMap::from([("time.ns", ns)])));
    json::Run {
        id: id.to_owned(),
        verdict,
        outcome: Outcome::Slow,
        findings: vec![Outcome::Slow],
        ended: "exit(0)".to_owned(),
        stuck: Vec::new(),
        needs_reset: Vec::new(),
        what_if: false,
        counters: BTreeMap::from(counters),
        touches: Vec::new(),
        checks,
        policy: Vec::new(),
        event_log_hash: "0".repeat(64),
    }
}

/// A check that does not hold, or is listed as failing.
pub fn check(id: &str, verdict: Verdict, found: &str) -> Check {
    let known = (verdict == Verdict::ExpectedFailure).then(|| "it is on show".to_owned());
    let (id, found) = (id.to_owned(), found.to_owned());
    Check { id, verdict, expected: "outcome clean".to_owned(), found, known }
}

/// A row of that run.
pub fn row(id: &str, file: &str, end: End) -> Row {
    Row {
        id: id.to_owned(),
        file: file.to_owned(),
        scenario: "t/a".to_owned(),
        design: Some("d5-platform-hook".to_owned()),
        axes: vec![("unit".to_owned(), "4KiB".to_owned())],
        repeat: format!("uvsim run {file} --id {id}"),
        places: Arc::new(BTreeMap::from([("no-ping-pong".to_owned(), (7, 9))])),
        end,
    }
}

/// A run that failed one check.
pub fn failed(id: &str, file: &str, found: &str) -> Row {
    let checks = vec![check("no-ping-pong", Verdict::Fail, found)];
    row(id, file, End::Judged(Box::new(run(id, Verdict::Fail, checks))))
}

/// A row of each way in which a run can come back, all in hostile words.
pub fn hostile() -> Vec<Row> {
    let mut rows = Vec::new();
    for text in HOSTILE {
        let file = format!("dir/{text}.ron");
        rows.push(failed(&format!("fail/{text}"), &file, text));
        let known = vec![check("no-ping-pong", Verdict::ExpectedFailure, text)];
        let id = format!("known/{text}");
        let known = run(&id, Verdict::ExpectedFailure, known);
        rows.push(row(&id, &file, End::Judged(Box::new(known))));
        rows.push(row(&format!("not-run/{text}"), &file, End::NotRun(text.to_owned())));
        rows.push(row(&format!("bug/{text}"), &file, End::Bug(text.to_owned())));
    }
    for row in &mut rows {
        row.design = Some(HOSTILE[12].to_owned());
        row.axes = vec![("unit".to_owned(), HOSTILE[12].to_owned())];
    }
    rows
}

/// The results of these rows.
pub fn with_results<T>(rows: &[Row], use_them: impl FnOnce(&Results<'_>) -> T) -> T {
    with_words(rows, &[], use_them)
}

/// The results of these rows, with a claim and a warning in each of these words.
pub fn with_words<T>(rows: &[Row], words: &[&str], use_them: impl FnOnce(&Results<'_>) -> T) -> T {
    let inputs = BTreeMap::new();
    let claim = |text: &&str| Settled {
        number: 6,
        finding: FindingWord::Qualified,
        condition: Some((*text).to_owned()),
        holds: false,
        by: (*text).to_owned(),
        says: (*text).to_owned(),
        scenarios: Vec::new(),
    };
    let claims: Vec<Settled> = words.iter().map(claim).collect();
    let warnings: Vec<String> = words.iter().map(|text| (*text).to_owned()).collect();
    let report = json::Report {
        schema: json::SCHEMA,
        tool_version: "0",
        seed: 1,
        inputs: &inputs,
        exit_code: 1,
        runs: rows.iter().filter_map(Row::run).collect(),
        claims: &claims,
        today: None,
        warnings: &warnings,
    };
    let conclusion = "2 runs: 1 as expected, 1 NOT as expected";
    use_them(&Results { rows, report: &report, conclusion })
}

/// The value of a counter of a run made by [`run`].
pub fn steady_time() -> (Counter, u64) {
    (Counter::TimeNs, 1_500_000_000)
}
