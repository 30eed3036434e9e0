//! Annotations and summaries as GitHub reads them.

use crate::rows::{failed, hostile, row, with_results, with_words};
use host_sim::output::github;
use host_sim::output::rows::{End, Row};

/// What the runner makes of a line: the properties and the message, decoded.
fn decoded(line: &str) -> (Vec<(String, String)>, String) {
    let rest = line.strip_prefix("::error ").unwrap_or_else(|| panic!("no command: {line}"));
    let (properties, message) = rest.split_once("::").expect("a message follows");
    let plain = |text: &str| {
        let text = text.replace("%0D", "\r").replace("%0A", "\n");
        text.replace("%3A", ":").replace("%2C", ",").replace("%25", "%")
    };
    let pairs = properties.split(',').filter_map(|pair| pair.split_once('='));
    let pairs = pairs.map(|(name, value)| (name.to_owned(), plain(value))).collect();
    (pairs, plain(message))
}

fn annotations(rows: &[Row], prefix: &str) -> String {
    with_results(rows, |results| github::annotations(results, prefix))
}

#[test]
fn an_annotation_stands_at_the_expectation_that_does_not_hold() {
    let text = annotations(&[failed("t/a", "t/a.ron", "outcome slow")], "sub/folder/");
    let (properties, message) = decoded(text.trim_end());
    let wanted =
        [("file", "sub/folder/t/a.ron"), ("line", "7"), ("col", "9"), ("title", "uvsim FAIL: t/a")];
    let wanted = wanted.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(properties, wanted);
    let first = "no-ping-pong: expected outcome clean; found outcome slow\n";
    assert_eq!(message, format!("{first}repeat: uvsim run t/a.ron --id t/a"));
}

#[test]
fn a_file_outside_of_the_repository_is_not_named_as_one_in_it() {
    for file in ["../a.ron", "/etc/a.ron", "x/../../a.ron"] {
        let text = annotations(&[failed("t/a", file, "x")], "");
        assert!(!text.contains("file="), "{text}");
    }
}

#[test]
fn eleven_are_told_as_the_nine_worst_and_a_count() {
    let mut rows: Vec<Row> =
        (0..10).map(|number| failed(&format!("t/{number}"), "t/a.ron", "x")).collect();
    assert_eq!(annotations(&rows, "").lines().count(), 10);
    assert!(!annotations(&rows, "").contains("more"));
    rows.push(row("t/bug", "t/a.ron", End::Bug("index out of bounds".to_owned())));
    let text = annotations(&rows, "");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 10);
    assert!(lines[0].contains("uvsim bug%3A t/bug"), "{}", lines[0]);
    assert_eq!(lines[9], "::error title=uvsim::and 2 runs more, see the summary");
}

#[test]
fn warnings_are_told_as_warnings_ten_at_most() {
    let words: Vec<String> = (0..12).map(|number| format!("a\n::error::{number}%")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let text = with_words(&[], &words, |results| github::annotations(results, ""));
    assert_eq!(text.lines().count(), 10);
    let escaped = "::warning title=uvsim::a\\x0a::error::";
    assert!(text.lines().all(|line| line.starts_with(escaped) && line.ends_with("%25")), "{text}");
}

#[test]
fn nothing_unexpected_is_no_annotation() {
    assert_eq!(annotations(&[], ""), "");
}

#[test]
fn hostile_text_starts_no_command_of_its_own() {
    let rows = hostile();
    // Each on its own, so that none hides behind the limit.
    for row in rows.iter().filter(|row| row.state().is_unexpected()) {
        let text = annotations(std::slice::from_ref(row), "");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1, "{text:?}");
        assert!(!lines[0].chars().any(host_sim::escape::is_active), "{text:?}");
        assert!(!lines[0].contains("##["), "{text:?}");
        let (properties, message) = decoded(lines[0]);
        let names: Vec<&str> = properties.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["file", "line", "col", "title"], "{text:?}");
        assert!(message.contains("repeat: "), "{message:?}");
    }
}
