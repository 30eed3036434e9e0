//! `--report junit=FILE`: JUnit XML as GitLab, GitHub and Jenkins read it. A suite is a scenario
//! file, a case is a run.
//!
//! Times are virtual, so that the same inputs give the same bytes. An expected failure and a run of
//! which nothing is expected are `skipped` with the reason: in every viewer that is neither green
//! nor red, and only there (or in a failure) is a reason shown at all. GitLab leaves out a failure's
//! `message`, so the element's text repeats it.

use super::rows::{Results, Row, State};
use crate::escape;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use std::io::{self, Write};
use std::time::Duration;

/// Characters of one reason that are kept: viewers cut what is longer.
const REASON_CHARS_MAX: usize = 600;

fn inert(text: &str) -> String {
    escape::xml(text, REASON_CHARS_MAX)
}

fn status(row: &Row) -> TestCaseStatus {
    let reasons: Vec<String> = row.reasons().iter().map(|reason| inert(reason)).collect();
    let told = |mut status: TestCaseStatus, kind: &str| {
        let message = match reasons.first() {
            Some(first) if reasons.len() > 1 => {
                format!("{first} (and {} more)", reasons.len() - 1)
            }
            Some(first) => first.clone(),
            None => kind.to_owned(),
        };
        let ended = row.run().map_or_else(String::new, |run| {
            format!("outcome {}, ended {}\n", run.outcome.name(), inert(&run.ended))
        });
        let text = format!("{}\n{ended}repeat: {}\n", reasons.join("\n"), inert(&row.repeat));
        status.set_message(message).set_type(kind).set_description(text);
        status
    };
    match row.state() {
        State::Passed => TestCaseStatus::success(),
        State::NotAsked => {
            let mut status = TestCaseStatus::skipped();
            status.set_message("nothing is expected of this run (`expect: []`)");
            status
        }
        State::ExpectedFailure => told(TestCaseStatus::skipped(), "expected failure"),
        State::Failed => told(TestCaseStatus::non_success(NonSuccessKind::Failure), "unexpected"),
        State::NoVerdict => told(TestCaseStatus::non_success(NonSuccessKind::Error), "no verdict"),
        State::Bug => told(TestCaseStatus::non_success(NonSuccessKind::Error), "bug of uvsim"),
    }
}

fn case(row: &Row) -> TestCase {
    let mut case = TestCase::new(inert(&row.id), status(row));
    case.set_classname(inert(&row.file));
    let phases = row.run().map(|run| run.counters.values());
    let times = phases.into_iter().flatten().filter_map(|phase| phase.get("time.ns"));
    case.set_time(Duration::from_nanos(times.fold(0, |sum, ns| sum.saturating_add(*ns))));
    case
}

/// Writes the report.
///
/// # Errors
/// `out` fails.
pub fn write(out: &mut impl Write, results: &Results<'_>) -> io::Result<()> {
    let mut report = Report::new("uvsim");
    let mut suites: Vec<TestSuite> = Vec::new();
    let mut files: Vec<&str> = Vec::new();
    for row in results.rows {
        // A file's runs stand together; a name that comes back is another file of that name.
        if files.last() != Some(&row.file.as_str()) {
            files.push(&row.file);
            suites.push(TestSuite::new(inert(&row.file)));
        }
        if let Some(suite) = suites.last_mut() {
            suite.add_test_case(case(row));
        }
    }
    report.add_test_suites(suites);
    report.serialize(&mut *out).map_err(io::Error::other)
}
