//! Markdown and CSV.

use crate::rows::{HOSTILE, failed, hostile, row, run, steady_time, with_results, with_words};
use host_sim::output::rows::{End, Row};
use host_sim::output::{csv as table, markdown};
use host_sim::verdict::Verdict;

fn rendered(rows: &[Row], bytes_max: usize) -> String {
    with_results(rows, |results| markdown::render(results, bytes_max))
}

/// `line` without its code spans: what a viewer reads as Markdown.
fn outside_of_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

#[test]
fn hostile_text_is_code_and_nothing_else() {
    let rows = hostile();
    let text = with_words(&rows, &HOSTILE, |results| markdown::render(results, usize::MAX));
    for line in text.lines() {
        assert_eq!(line.matches('`').count() % 2, 0, "{line}");
        let markup = outside_of_code(line);
        for active in ["<", "[", "](", "http", "@", "&", "forged", "::", "\\"] {
            assert!(!markup.contains(active), "{active} in {line}");
        }
        let bars = line.matches('|').count();
        assert!([0, 6, 8].contains(&bars), "{line}");
        assert!(!line.chars().any(host_sim::escape::is_active), "{line}");
    }
    let cells = text.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(cells, rows.len());
    assert_eq!(
        text.lines().filter(|line| line.starts_with("| 6 | qualified | **no** |")).count(),
        16
    );
}

#[test]
fn a_summary_has_the_verdict_the_numbers_and_what_failed() {
    let passed =
        row("t/b", "t/b.ron", End::Judged(Box::new(run("t/b", Verdict::Pass, Vec::new()))));
    let text = rendered(&[failed("t/a", "t/a.ron", "outcome slow"), passed], usize::MAX);
    assert!(text.starts_with("## uvsim: **not as expected**\n"), "{text}");
    assert!(
        text.contains("- `no-ping-pong: expected outcome clean; found outcome slow`"),
        "{text}"
    );
    assert!(text.contains("| `t/a` | slow | **FAIL** | 0 | 0+0 | 0 | 1.500 s |"), "{text}");
    assert!(text.contains("| `t/b` | slow | ok | 0 | 0+0 | 0 | 1.500 s |"), "{text}");
}

#[test]
fn a_summary_that_would_be_too_long_says_how_much_is_left_out() {
    let rows: Vec<Row> =
        (0..500).map(|number| failed(&format!("t/{number}"), "t/a.ron", "x")).collect();
    for bytes_max in [600, 5_000, 20_000] {
        let text = rendered(&rows, bytes_max);
        assert!(text.len() <= bytes_max, "{} of {bytes_max}", text.len());
        assert!(text.contains("more, left out here."), "{text}");
    }
    assert!(rendered(&rows, usize::MAX).contains("and 450 unexpected runs more"));
}

fn parsed(rows: &[Row]) -> Vec<Vec<String>> {
    let mut out = Vec::new();
    with_results(rows, |results| table::write(&mut out, results)).expect("a Vec takes everything");
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(out.as_slice());
    let records = reader.records().map(|record| record.expect("a row of the same length"));
    records.map(|record| record.iter().map(str::to_owned).collect()).collect()
}

#[test]
fn every_row_has_the_same_columns_and_each_counter_its_own() {
    let told = parsed(&[
        failed("t/a", "t/a.ron", "x"),
        row("t/b", "t/b.ron", End::NotRun("no memory".to_owned())),
    ]);
    assert_eq!(told.len(), 3);
    let column = |name: &str| {
        told[0].iter().position(|head| head == name).unwrap_or_else(|| panic!("no column {name}"))
    };
    let (counter, value) = steady_time();
    let time = column(&format!("steady.{}", counter.name()));
    assert_eq!((told[1][time].as_str(), told[2][time].as_str()), (value.to_string().as_str(), ""));
    assert_eq!(told[1][column("steady.round_trips")], "0");
    let facts = ["id", "verdict", "outcome", "axis.unit", "axis.secure"];
    let facts = facts.map(|name| told[1][column(name)].as_str());
    assert_eq!(facts, ["t/a", "fail", "slow", "4KiB", ""]);
    assert_eq!(
        (told[2][column("verdict")].as_str(), told[2][column("outcome")].as_str()),
        ("no_verdict", "")
    );
}

#[test]
fn no_cell_is_a_formula_or_moves_a_cursor() {
    let mut rows = hostile();
    for (row, start) in rows.iter_mut().zip(["=1", "+1", "-1", "@x", "\tx", "\rx", "\nx"]) {
        row.scenario = start.to_owned();
    }
    let told = parsed(&rows);
    assert_eq!(told.len(), rows.len() + 1);
    for cell in told.iter().flatten() {
        assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']), "{cell:?}");
        assert!(!cell.chars().any(host_sim::escape::is_active), "{cell:?}");
    }
    assert_eq!(told[1][2], "'=1");
}
