//! The thread's claims: what is found, whether the runs bear it out, and who disagrees.

use crate::rig::{self, Does, bounce, is_base, policy, rule, scenario};
use host_sim::scenario::plan::Plan;

fn claim(number: u8, finding: &str) -> String {
    format!(
        "claim: (number: {number}, by: \"somebody, June 2018\", says: \"It is so.\", finding: {finding}),"
    )
}

fn quiet(_: &Plan) -> Does {
    Does::steady(Vec::new())
}

const CLEAN: &str = "expect: [Outcome(id: \"clean\", is: Clean)],";
const NO_BOUNCE: &str =
    "expect: [Count(id: \"none\", counter: \"bounce.copies\", must: Exactly(0))],";

#[test]
fn a_finding_holds_if_every_run_of_every_scenario_with_that_claim_passes() {
    let first = scenario(&format!("{CLEAN}{}", claim(6, "Qualified(\"device reads\")")));
    let second = first.replace("name: \"s\"", "name: \"t\"").replace(CLEAN, NO_BOUNCE);
    let other = scenario(&format!("{CLEAN}{}", claim(2, "Supported")));
    let other = other.replace("name: \"s\"", "name: \"u\"");
    let files = rig::folder(&[("a.ron", &first), ("b.ron", &second), ("c.ron", &other)]);
    let ran = rig::run(&quiet, &[rig::text(files.path())]);
    let claims = ran.json["claims"].as_array().expect("claims");
    let numbers: Vec<_> = claims.iter().map(|claim| claim["number"].as_u64()).collect();
    assert_eq!(numbers, [Some(2), Some(6)]);
    assert_eq!(claims[1]["finding"], "qualified");
    assert_eq!(claims[1]["condition"], "device reads");
    assert_eq!(claims[1]["holds"], true);
    assert_eq!(claims[1]["scenarios"], serde_json::json!(["s", "t"]));
    assert_eq!(claims[0]["condition"], serde_json::Value::Null);
    assert!(ran.out.contains("claims of the thread\n"), "{}", ran.out);

    // One run of one scenario is otherwise, and the finding is not borne out.
    let does = |plan: &Plan| Does::steady(if is_base(plan) { vec![bounce()] } else { vec![] });
    let ran = rig::run(&does, &[rig::text(files.path())]);
    assert_eq!(ran.json["claims"][1]["holds"], false);
    assert_eq!(ran.json["claims"][0]["holds"], true);
    assert!(ran.out.contains("qualified       NOT BORNE OUT"), "{}", ran.out);
}

#[test]
fn a_listed_failure_bears_a_finding_out_and_a_policy_has_no_say() {
    let known =
        "known_failures: [(check: \"none\", when: [Design([\"d0-legacy-bypass\"])], why: \"w\")],";
    let text = scenario(&format!("{NO_BOUNCE}{known}{}", claim(1, "Refuted")));
    let files =
        rig::folder(&[("s.ron", &text), ("p.ron", &policy(&rule("r", "Outcome(is: Leaked)"), ""))]);
    let does = |plan: &Plan| Does::steady(if is_base(plan) { vec![bounce()] } else { vec![] });
    let p = files.path().join("p.ron");
    let ran = rig::run(&does, &[rig::text(files.path()), "--policy", rig::text(&p)]);
    assert_eq!(ran.code, 1, "the policy denies");
    assert_eq!(ran.json["claims"][0]["holds"], true);
}

#[test]
fn what_cannot_be_measured_needs_no_expectation() {
    let text = scenario(&claim(15, "NotMeasurable(\"history; nothing was measured\")"));
    let files = rig::folder(&[("s.ron", &text)]);
    let ran = rig::run(&quiet, &[rig::text(files.path())]);
    assert_eq!(ran.code, 0, "{}", ran.out);
    assert_eq!(ran.json["claims"][0]["finding"], "not_measurable");
    assert_eq!(ran.json["claims"][0]["holds"], true);
}

#[test]
fn without_claims_nothing_is_said_about_them() {
    let files = rig::folder(&[("s.ron", &scenario(CLEAN))]);
    let ran = rig::run(&quiet, &[rig::text(files.path())]);
    assert_eq!(ran.json["claims"], serde_json::json!([]));
    assert!(!ran.out.contains("claims of the thread"));
}
