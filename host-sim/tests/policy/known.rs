//! Known failures are strict.

use crate::rig::{self, Does, bounce, is_base, scenario};
use host_sim::scenario::plan::Plan;

const EXPECT: &str = "expect: [Count(id: \"no-bounce\", counter: \"bounce.copies\", must: Exactly(0)), \
                      Outcome(id: \"clean\", is: Clean)],";
const KNOWN: &str = "known_failures: [(check: \"no-bounce\", when: [Design([\"d0-legacy-bypass\"])], \
                     why: \"this is the bug on show\")],";

fn base_bounces(plan: &Plan) -> Does {
    Does::steady(if is_base(plan) { vec![bounce()] } else { Vec::new() })
}

fn run(does: &(dyn Fn(&Plan) -> Does + Sync), known: &str) -> rig::Ran {
    let files = rig::folder(&[("s.ron", &scenario(&format!("{EXPECT}{known}")))]);
    rig::run(does, &[rig::text(files.path())])
}

#[test]
fn a_known_failure_is_an_expected_failure_and_says_why() {
    let ran = run(&base_bounces, KNOWN);
    assert_eq!(ran.code, 0, "{}", ran.out);
    assert_eq!(ran.verdict("d0-legacy-bypass"), "expected_failure");
    assert_eq!(ran.verdict("d5-platform-hook"), "pass");
    let check = &ran.json["runs"][0]["checks"][0];
    assert_eq!(check["verdict"], "expected_failure");
    assert_eq!(check["known"], "this is the bug on show");
    assert!(ran.json["runs"][0]["checks"][1].get("known").is_none());
    assert!(ran.out.contains("known   no-bounce: this is the bug on show"), "{}", ran.out);
    assert!(ran.out.contains("1 as expected, 1 expected to fail"), "{}", ran.out);
    assert_eq!(run(&base_bounces, "").code, 1);
}

#[test]
fn a_known_failure_that_passes_fails_the_run() {
    let ran = run(&|_| Does::steady(Vec::new()), KNOWN);
    assert_eq!((ran.code, ran.verdict("d0-legacy-bypass")), (1, "fail"));
    let told = rig::flat(&ran.out);
    assert!(told.contains("a known failure passed: remove the entry"), "{told}");
}

#[test]
fn what_fails_besides_a_known_failure_fails_the_run() {
    let leaks = |plan: &Plan| {
        let mut does = base_bounces(plan);
        let place = host_sim::event::LeakPlace::Memory;
        does.steady.push(host_sim::event::Event::Leak { place, at: 0 });
        does
    };
    assert_eq!(run(&leaks, KNOWN).verdict("d0-legacy-bypass"), "fail");
}

#[test]
fn without_when_it_is_about_every_run() {
    let everywhere = "known_failures: [(check: \"no-bounce\", why: \"all do\")],";
    let ran = run(&|_| Does::steady(vec![bounce()]), everywhere);
    assert_eq!((ran.code, ran.verdict("d5-platform-hook")), (0, "expected_failure"));
}
