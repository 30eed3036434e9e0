//! Waivers: valid, past, unused.

use crate::rig::{self, Does, is_base, judged, policy, rule, scenario};
use host_sim::event::{Event, LeakPlace};
use host_sim::scenario::plan::Plan;

/// The base design leaks.
fn does(plan: &Plan) -> Does {
    let leak = Event::Leak { place: LeakPlace::Memory, at: 0 };
    Does::steady(if is_base(plan) { vec![leak] } else { Vec::new() })
}

fn no_leak() -> String {
    rule("no-leak", "Never(event: Leak)")
}

fn waiver(runs: &str) -> String {
    format!(
        "Waiver(rule: \"no-leak\", runs: \"{runs}\", until: \"2026-06-30\", \
         reason: \"the bug on show\", owner: \"teaching\")"
    )
}

#[test]
fn a_waiver_excuses_up_to_and_on_its_last_day() {
    let policy = policy(&no_leak(), &waiver("*design=d0-*"));
    let scenario = scenario("expect: []");
    let ran = judged(&does, &scenario, &policy, "2026-06-30");
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert_eq!(ran.verdict("d0-legacy-bypass"), "expected_failure");
    let ruling = ran.ruling("d0-legacy-bypass", "no-leak");
    assert_eq!(ruling["verdict"], "expected_failure");
    assert_eq!(ruling["waiver"]["owner"], "teaching");
    assert_eq!(ruling["waiver"]["until"], "2026-06-30");
    assert_eq!(ran.ruling("d5-platform-hook", "no-leak")["waiver"], serde_json::Value::Null);
    assert_eq!(ran.json["today"], "2026-06-30");
    assert!(ran.out.contains("policy  p, as of 2026-06-30"), "{}", ran.out);
    let told = "waived  p no-leak until 2026-06-30 (teaching): the bug on show";
    assert!(ran.out.contains(told), "{}", ran.out);
    assert!(!ran.err.contains("warning"), "{}", ran.err);

    let past = judged(&does, &scenario, &policy, "2026-07-01");
    assert_eq!((past.code, past.verdict("d0-legacy-bypass")), (1, "fail"));
    assert_eq!(past.ruling("d0-legacy-bypass", "no-leak")["waiver"]["expired"], true);
    let (out, err) = (rig::flat(&past.out), rig::flat(&past.err));
    assert!(out.contains("[the waiver of teaching ended on 2026-06-30]"), "{out}");
    assert!(err.contains("ended on 2026-06-30: what it excused is denied again"), "{err}");
}

#[test]
fn a_scenario_that_says_nothing_has_no_verdict_unless_a_denied_rule_fails_it() {
    let silent = scenario("");
    let denied = judged(&does, &silent, &policy(&no_leak(), ""), "2026-06-30");
    assert_eq!(denied.verdict("d0-legacy-bypass"), "fail");
    assert!(denied.out.contains("1 NOT as expected, 1 without a verdict"), "{}", denied.out);
    // The run without a verdict comes before the one that failed (`explain exit codes`).
    assert_eq!(denied.code, 5);
    let waived = judged(&does, &silent, &policy(&no_leak(), &waiver("*d0-*")), "2026-06-30");
    assert_eq!(waived.verdict("d0-legacy-bypass"), "none");
    assert!(waived.out.contains("2 without a verdict"), "{}", waived.out);
    assert_eq!(waived.code, 5);
}

#[test]
fn the_day_changes_nothing_but_the_waivers() {
    let policy = policy(&no_leak(), "");
    let scenario = scenario("expect: []");
    let strip = |mut json: serde_json::Value| {
        json.as_object_mut().expect("an object").remove("today");
        json
    };
    let one = judged(&does, &scenario, &policy, "2026-06-30");
    let other = judged(&does, &scenario, &policy, "2036-06-30");
    assert_ne!(one.json, other.json);
    let (one, other) = (strip(one.json), strip(other.json));
    assert_eq!(one["runs"], other["runs"]);
}

#[test]
fn a_waiver_that_excuses_nothing_is_told_and_so_is_one_that_means_no_run() {
    let scenario = scenario("expect: []");
    let unused = policy(&no_leak(), &waiver("*design=d5-*"));
    let ran = judged(&does, &scenario, &unused, "2026-06-01");
    assert_eq!(ran.verdict("d0-legacy-bypass"), "fail");
    assert!(ran.err.contains("excuses nothing in this selection"), "{}", ran.err);

    let elsewhere = policy(&no_leak(), &waiver("thread/*"));
    let ran = judged(&does, &scenario, &elsewhere, "2026-06-01");
    assert!(ran.err.contains("means no run of this selection"), "{}", ran.err);
}

#[test]
fn a_valid_waiver_wins_over_one_that_is_past() {
    let both = format!("{}, {}", waiver("*").replace("06-30", "05-30"), waiver("*d0*"));
    let ran = judged(&does, &scenario("expect: []"), &policy(&no_leak(), &both), "2026-06-01");
    assert_eq!(ran.ruling("d0-legacy-bypass", "no-leak")["waiver"]["until"], "2026-06-30");
    assert!(ran.err.contains("ended on 2026-05-30; another excuses the same"), "{}", ran.err);
    assert!(!ran.err.contains("denied again"), "{}", ran.err);
}

#[test]
fn a_waiver_excuses_rules_and_not_the_scenario() {
    let scenario = scenario("expect: [Outcome(id: \"clean\", is: Clean)]");
    let ran = judged(&does, &scenario, &policy(&no_leak(), &waiver("*d0*")), "2026-06-01");
    assert_eq!((ran.code, ran.verdict("d0-legacy-bypass")), (1, "fail"));
}

#[test]
fn check_tells_waivers_that_are_past_and_a_wrong_day_is_a_usage_error() {
    let files = rig::folder(&[
        ("s.ron", &scenario("expect: []")),
        ("p.ron", &policy(&no_leak(), &waiver("*"))),
    ]);
    let (s, p) = (files.path().join("s.ron"), files.path().join("p.ron"));
    let (s, p) = (rig::text(&s), rig::text(&p));
    let ran = rig::uvsim(&does, &["check", s, "--policy", p, "--today", "2026-07-01"]);
    assert_eq!(ran.code, 0);
    assert!(ran.err.contains("ended on 2026-06-30"), "{}", ran.err);
    let ran = rig::uvsim(&does, &["check", s, "--policy", p, "--today", "2026-06-30"]);
    assert!(!ran.err.contains("ended on"), "{}", ran.err);
    for day in ["tomorrow", "2026-02-30", "2026-6-1", "20260601", "2026-06-01T00:00"] {
        let ran = rig::uvsim(&does, &["run", s, "--policy", p, "--today", day]);
        assert_eq!(ran.code, 2, "{day}");
        assert!(ran.err.contains("write YYYY-MM-DD"), "{}", ran.err);
    }
    // Without a day given, it is today's: the policy's far future is not past.
    let far = policy(&no_leak(), &waiver("*d0*").replace("2026-06-30", "9999-12-31"));
    let files = rig::folder(&[("s.ron", &scenario("expect: []")), ("p.ron", &far)]);
    let p = files.path().join("p.ron");
    let ran = rig::run(&does, &[rig::text(&files.path().join("s.ron")), "--policy", rig::text(&p)]);
    assert_eq!(ran.code, 0, "{}", ran.err);
}
