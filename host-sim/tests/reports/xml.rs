//! JUnit XML.

use crate::rows::{check, failed, hostile, row, run, with_results};
use host_sim::output::junit;
use host_sim::output::rows::{End, Row};
use host_sim::verdict::Verdict;
use roxmltree::{Document, Node};

fn xml(rows: &[Row]) -> String {
    let mut out = Vec::new();
    with_results(rows, |results| junit::write(&mut out, results)).expect("a Vec takes everything");
    String::from_utf8(out).expect("XML is UTF-8")
}

fn cases<'d>(document: &'d Document<'d>) -> Vec<Node<'d, 'd>> {
    document.descendants().filter(|node| node.has_tag_name("testcase")).collect()
}

fn child<'d>(node: &Node<'d, 'd>, name: &str) -> Node<'d, 'd> {
    let found = node.children().find(|child| child.has_tag_name(name));
    found.unwrap_or_else(|| panic!("no <{name}> in {:?}", node.attribute("name")))
}

#[test]
fn hostile_names_and_messages_leave_valid_xml_with_every_run_in_it() {
    let rows = hostile();
    let text = xml(&rows);
    let allowed = |c: char| {
        matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
            && !host_sim::escape::is_active(c)
    };
    let refused: Vec<char> = text.chars().filter(|c| *c != '\n' && !allowed(*c)).collect();
    assert!(refused.is_empty(), "{refused:?}");
    let document = Document::parse(&text).expect("it is XML");
    assert_eq!(cases(&document).len(), rows.len());
    for (case, row) in cases(&document).iter().zip(&rows) {
        let kind = row.id.split('/').next().expect("a word before the slash");
        let child_name = match kind {
            "fail" => "failure",
            "known" => "skipped",
            _ => "error",
        };
        child(case, child_name);
        assert!(case.attribute("name").is_some_and(|name| name.starts_with(kind)));
        assert!(case.attribute("classname").is_some_and(|name| name.starts_with("dir/")));
    }
    assert!(text.contains("forged") && !text.contains("\n::error"), "{text}");
}

#[test]
fn a_failure_repeats_its_message_in_its_text_with_the_command_that_repeats_the_run() {
    let text = xml(&[failed("t/a/unit=4KiB", "t/a.ron", "outcome slow")]);
    let document = Document::parse(&text).expect("it is XML");
    let all = cases(&document);
    let failure = child(&all[0], "failure");
    let message = "no-ping-pong: expected outcome clean; found outcome slow";
    assert_eq!(failure.attribute("message"), Some(message));
    let body = failure.text().expect("it has text");
    assert!(body.contains(message), "{body}");
    assert!(body.contains("outcome slow, ended exit(0)"), "{body}");
    assert!(body.contains("uvsim run t/a.ron --id t/a/unit=4KiB"), "{body}");
    let case = (all[0].attribute("name"), all[0].attribute("classname"));
    assert_eq!(case, (Some("t/a/unit=4KiB"), Some("t/a.ron")));
}

#[test]
fn a_suite_is_a_file_its_times_are_virtual_and_what_is_not_judged_is_not_green() {
    let judged = |id: &str, verdict, checks| End::Judged(Box::new(run(id, verdict, checks)));
    let known = vec![check("c", Verdict::ExpectedFailure, "outcome slow")];
    let rows = [
        row("a/1", "a.ron", judged("a/1", Verdict::Pass, Vec::new())),
        row("a/2", "a.ron", judged("a/2", Verdict::ExpectedFailure, known)),
        row("b/1", "b.ron", judged("b/1", Verdict::None, Vec::new())),
        row("b/2", "b.ron", End::Unjudged(Box::new(run("b/2", Verdict::None, Vec::new())))),
        row("b/3", "b.ron", End::NotRun("no memory".to_owned())),
    ];
    let text = xml(&rows);
    let document = Document::parse(&text).expect("it is XML");
    let suites: Vec<_> =
        document.descendants().filter(|node| node.has_tag_name("testsuite")).collect();
    let told = |name| suites.iter().map(|suite| suite.attribute(name)).collect::<Vec<_>>();
    assert_eq!(told("name"), [Some("a.ron"), Some("b.ron")]);
    assert_eq!(told("tests"), [Some("2"), Some("3")]);
    assert_eq!(told("errors"), [Some("0"), Some("2")]);
    assert!(!text.contains("timestamp"), "{text}");
    let all = cases(&document);
    let times: Vec<_> = all.iter().map(|case| case.attribute("time")).collect();
    assert_eq!(times, [Some("1.500"), Some("1.500"), Some("1.500"), Some("1.500"), Some("0.000")]);
    assert_eq!(all[0].children().filter(Node::is_element).count(), 0);
    let skipped = child(&all[1], "skipped");
    assert!(skipped.attribute("message").is_some_and(|why| why.contains("[it is on show]")));
    child(&all[2], "skipped");
    child(&all[3], "error");
    child(&all[4], "error");
}
