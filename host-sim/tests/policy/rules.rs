//! Each kind of rule, once green and once red.

use crate::rig::{self, Does, bounce, is_base, judged, map, policy, request, rule, scenario};
use host_sim::event::{DeviceIndex, Direction, Ended, Event, LeakPlace, Part, QueueIndex, Seen};
use ultravisor::PageState;
use ultravisor_abi::ReportKind;

const TODAY: &str = "2026-06-01";

/// Judges a guest that does `green` under one design and `red` under the other by one rule.
fn check(check: &str, green: &Does, red: &Does, found: &str) {
    let does = |plan: &_| if is_base(plan) { red.clone() } else { green.clone() };
    let policy = policy(&rule("r", check), "");
    let ran = judged(&does, &scenario("expect: []"), &policy, TODAY);
    let (good, bad) = (ran.ruling("d5-platform-hook", "r"), ran.ruling("d0-legacy-bypass", "r"));
    assert_eq!(good["verdict"], "pass", "{check}: {good}");
    assert_eq!(bad["verdict"], "fail", "{check}: {bad}");
    assert!(bad["found"].as_str().is_some_and(|text| text.contains(found)), "{check}: {bad}");
    assert_eq!(
        (ran.verdict("d5-platform-hook"), ran.verdict("d0-legacy-bypass")),
        ("pass", "fail")
    );
    assert_eq!(ran.code, 1, "{}", ran.out);
    assert!(ran.out.contains("p r: it holds: expected"), "{}", ran.out);
}

fn quiet() -> Does {
    Does::steady(Vec::new())
}

fn one(event: Event) -> Does {
    Does::steady(vec![event])
}

fn leak() -> Event {
    Event::Leak { place: LeakPlace::Memory, at: 0 }
}

fn touch(device: u8, state: PageState) -> Event {
    Event::Touch {
        device: Some(DeviceIndex(device)),
        queue: Some(QueueIndex(0)),
        part: Part::Data,
        direction: Direction::Read,
        gpa: 0,
        bytes: 16,
        gfn: 0,
        state,
        seen: Seen::Plain,
        chain: None,
    }
}

#[test]
fn a_rule_says_what_an_expectation_says() {
    let report = Event::Report { report: ReportKind::Failed, name: "full".into() };
    let foreign = Event::Foreign { device: DeviceIndex(0), queue: QueueIndex(0), dma: 1 };
    let hello = Event::Console { device: None, bytes: b"hello".to_vec() };
    let idle = Does { ended: Ended::Idle, ..quiet() };
    check("Outcome(is: Clean)", &quiet(), &one(leak()), "outcome leaked");
    check("OutcomeIn(is: [Clean, Slow])", &quiet(), &one(leak()), "outcome leaked");
    check("Finding(has: Leaked)", &one(leak()), &quiet(), "clean");
    check("Ended(is: Exit(0))", &quiet(), &idle, "ended idle");
    check(
        "Count(counter: \"bounce.copies\", phase: Steady, must: AtMost(1))",
        &one(bounce()),
        &Does::steady(vec![bounce(), bounce()]),
        "2",
    );
    check("Reports(report: Failed, name: \"full\")", &one(report), &quiet(), "no report");
    check("Says(text: \"hello\")", &one(hello), &quiet(), "0 bytes");
    check("Never(event: Foreign, phase: Steady)", &quiet(), &one(foreign), "1 of them");
    check(
        "Touches(device: \"disk\", state: Secure, must: Exactly(0))",
        &one(touch(0, PageState::Shared)),
        &one(touch(0, PageState::Secure)),
        "1",
    );
}

#[test]
fn a_rate_is_a_bound_times_another_counter_in_integers() {
    let each = |bounces: usize| {
        let mut events = vec![request(), request(), request()];
        events.extend((0..bounces).map(|_| bounce()));
        Does::steady(events)
    };
    let rate =
        "Rate(counter: \"bounce.copies\", per: \"requests\", phase: Steady, must: AtMost(2))";
    check(rate, &each(6), &each(7), "7 for 3");
    // Nothing for nothing is within every bound, something for nothing is not.
    check(rate, &quiet(), &one(bounce()), "1 for 0");
}

#[test]
fn a_rule_about_the_steady_state_is_red_where_it_was_never_reached() {
    let never = Does { ready: false, ended: Ended::Idle, ..quiet() };
    for check_text in [
        "Count(counter: \"round_trips\", phase: Steady, must: Exactly(0))",
        "Rate(counter: \"exits\", per: \"requests\", phase: Steady, must: AtMost(0))",
        "Never(event: Leak, phase: Steady)",
    ] {
        check(check_text, &quiet(), &never, "steady state never reached");
    }
    let rule = rule(
        "r",
        "NoMoreThan(base: \"d0-legacy-bypass\", counter: \"exits\", plus: 9, phase: Steady)",
    );
    let does = |plan: &_| if is_base(plan) { never.clone() } else { quiet() };
    let ran = judged(&does, &scenario("expect: []"), &policy(&rule, ""), TODAY);
    for (run, wanted) in [
        ("d0-legacy-bypass", "steady state never reached"),
        ("d5-platform-hook", "with d0-legacy-bypass, steady state never reached"),
    ] {
        assert_eq!(ran.ruling(run, "r")["verdict"], "fail");
        assert_eq!(ran.ruling(run, "r")["found"], wanted);
    }
}

#[test]
fn a_run_may_cost_so_much_more_than_the_base_design_on_the_same_cell() {
    let cost = "NoMoreThan(base: \"d0-legacy-bypass\", counter: \"dma.instructions\", plus: 5, \
                per: [\"dma.maps\"], phase: Steady)";
    let policy = policy(&rule("cheap", cost), "");
    for (own, verdict) in [(30, "pass"), (31, "fail")] {
        let does = |plan: &_| match is_base(plan) {
            true => Does::steady(vec![map(10), map(10)]),
            false => Does::steady(vec![map(own - 10), map(10)]),
        };
        let ran = judged(&does, &scenario("expect: []"), &policy, TODAY);
        let ruling = ran.ruling("d5-platform-hook", "cheap");
        assert_eq!(ruling["verdict"], verdict, "{ruling}");
        assert_eq!(ruling["found"], format!("{own}, 20 with d0-legacy-bypass, 30 allowed"));
        assert_eq!(ran.ruling("d0-legacy-bypass", "cheap")["verdict"], "pass");
    }
    // Left out by who runs it, the other run is missed and the rule says nothing.
    let files = rig::folder(&[("s.ron", &scenario("expect: []")), ("p.ron", &policy)]);
    let (path, p) = (files.path().join("s.ron"), files.path().join("p.ron"));
    let arguments = [rig::text(&path), "--policy", rig::text(&p), "--design", "d5"];
    let ran = rig::run(&|_| quiet(), &arguments);
    assert_eq!(ran.code, 0);
    assert!(ran.err.replace("\n         ", " ").contains("did not judge cheap"), "{}", ran.err);
    // Where there is no such run at all there is nothing to compare with, and that is not green.
    let alone = scenario("expect: []").replace("\"d0-legacy-bypass\", ", "");
    let ran = judged(&|_| quiet(), &alone, &policy, TODAY);
    let ruling = ran.ruling("d5-platform-hook", "cheap");
    assert_eq!(ruling["verdict"], "fail");
    assert_eq!(ruling["found"], "the selection has no such run with d0-legacy-bypass");
}

#[test]
fn a_rule_covers_the_runs_of_its_pattern_and_those_that_have_its_device() {
    let rules = "Rule(id: \"only\", level: Deny, title: \"t\", runs: \"*d5*\", check: Outcome(is: Leaked)), \
                 Rule(id: \"nic\", level: Deny, title: \"t\", check: Touches(device: \"nic\", must: Exactly(0)))";
    let ran = judged(&|_| quiet(), &scenario("expect: []"), &policy(rules, ""), TODAY);
    assert_eq!(ran.verdict("d5-platform-hook"), "fail");
    assert_eq!(ran.verdict("d0-legacy-bypass"), "none");
    assert!(ran.err.contains("covers no run of this selection by its rules nic"), "{}", ran.err);
    assert!(ran.json["warnings"][0].as_str().is_some_and(|text| text.contains("nic")));
}

#[test]
fn a_policy_that_covers_nothing_says_so() {
    let rules =
        "Rule(id: \"a\", level: Deny, title: \"t\", runs: \"thread/*\", check: Outcome(is: Clean))";
    let ran = judged(&|_| quiet(), &scenario("expect: []"), &policy(rules, ""), TODAY);
    assert_eq!(ran.code, 0);
    assert!(
        ran.err.contains("warning: the policy p covers no run of this selection"),
        "{}",
        ran.err
    );
}

#[test]
fn a_warning_does_not_fail_a_run() {
    let rules = "Rule(id: \"w\", level: Warn, title: \"t\", check: Outcome(is: Leaked))";
    let ran = judged(&|_| quiet(), &scenario("expect: []"), &policy(rules, ""), TODAY);
    assert_eq!(ran.ruling("d5-platform-hook", "w")["verdict"], "fail");
    assert_eq!((ran.code, ran.verdict("d5-platform-hook")), (0, "none"));
    assert!(ran.out.contains("warning p w: t: expected outcome leaked"), "{}", ran.out);
}

#[test]
fn a_what_if_is_judged_only_by_a_policy_that_says_so() {
    let scenario = "Scenario(format: 1, name: \"s\", about: \"A test.\", machine: (platform: PefUnsealed), expect: [])";
    let rules = rule("r", "Outcome(is: Leaked)");
    let ran = judged(&|_| quiet(), scenario, &policy(&rules, ""), TODAY);
    assert_eq!(ran.verdict("s"), "none");
    let says_so = policy(&rules, "").replace("rules:", "what_if: true, rules:");
    let ran = judged(&|_| quiet(), scenario, &says_so, TODAY);
    assert_eq!(ran.verdict("s"), "fail");
}

#[test]
fn a_policy_in_the_selection_is_checked_and_not_applied() {
    let files = rig::folder(&[
        ("s.ron", &scenario("expect: []")),
        ("policies/p.ron", &policy(&rule("r", "Outcome(is: Leaked)"), "")),
    ]);
    let ran = rig::run(&|_| quiet(), &[rig::text(files.path())]);
    assert_eq!((ran.code, ran.verdict("d5-platform-hook")), (0, "none"));
    assert!(ran.json.get("today").is_none() && ran.json["inputs"].as_object().is_some());
    let checked = rig::uvsim(&|_| quiet(), &["check", rig::text(files.path())]);
    assert_eq!(checked.code, 0);
    assert!(
        checked.err.contains("1 scenario, 0 designs and 1 policy are right: 2 runs"),
        "{}",
        checked.err
    );
}

#[test]
fn a_scenario_without_expect_stays_without_a_verdict_however_green_its_rules_are() {
    let ran =
        judged(&|_| quiet(), &scenario(""), &policy(&rule("r", "Outcome(is: Clean)"), ""), TODAY);
    assert_eq!((ran.code, ran.verdict("d5-platform-hook")), (5, "none"));
}
