//! Wrong policies, known failures and claims: each fault where it stands, all at once.

use crate::rig::{self, Does};
use host_sim::scenario::diagnostics::Fault;
use host_sim::scenario::select;
use std::collections::BTreeMap;
use std::fs;

fn faults_of(text: &str) -> Vec<Fault> {
    let files = rig::folder(&[("a.ron", text)]);
    select::select(&[files.path().to_owned()], 1).err().unwrap_or_default()
}

/// Code, place and a part of message or help of the fault, the only one or the first in its place.
fn check_all(table: &[(&str, u16, (usize, usize), &str)], whole: impl Fn(&str) -> String) {
    for (body, code, place, wanted) in table {
        let faults = faults_of(&whole(body));
        // Several fields may be missing in one place.
        let Some(fault) = faults.first() else { panic!("{body}: nothing is wrong") };
        assert!(faults.iter().all(|other| other.span == fault.span), "{body}: {faults:?}");
        let said = format!("{} {}", fault.message, fault.help.as_deref().unwrap_or_default());
        assert_eq!((fault.code.0, fault.position()), (*code, Some(*place)), "{body}: {said}");
        assert!(said.contains(wanted), "{body}: {said}");
    }
}

/// The rules stand on line 2.
fn rules(rules: &str) -> String {
    format!("Policy(format: 1, name: \"p\", about: \"A test.\", rules: [\n{rules}])")
}

/// One rule, whose check stands on line 3.
fn checks(check: &str) -> String {
    rules(&format!("Rule(id: \"a\", level: Deny, title: \"t\", check:\n{check})"))
}

/// A good rule, and a waiver that stands on line 3.
fn waivers(waiver: &str) -> String {
    format!(
        "Policy(format: 1, name: \"p\", about: \"A test.\", rules: [\n\
         Rule(id: \"no-leak\", level: Deny, title: \"t\", check: Never(event: Leak))], waivers: [\n{waiver}])"
    )
}

#[test]
fn rules_are_read_as_strictly_as_scenarios() {
    check_all(
        &[
            (
                "Rule(id: \"a\", level: Dney, title: \"t\", check: Never(event: Leak))",
                303,
                (2, 22),
                "did you mean `Deny`?",
            ),
            (
                "Rule(id: \"A b\", level: Deny, title: \"t\", check: Never(event: Leak))",
                313,
                (2, 10),
                "a-z",
            ),
            (
                "Rule(id: \"a\", level: Deny, title: \" \", check: Never(event: Leak))",
                314,
                (2, 35),
                "`title` is empty",
            ),
            (
                "Rule(id: \"a\", level: Deny, title: \"t\", runs: \"a[\", check: Never(event: Leak))",
                341,
                (2, 46),
                "no pattern over run ids",
            ),
            (
                "Rule(id: \"a\", level: Deny, title: \"t\", chekc: Never(event: Leak))",
                303,
                (2, 40),
                "did you mean `check`?",
            ),
            ("Rule(id: \"a\", level: Deny, title: \"t\")", 305, (2, 1), "`check`"),
            (
                "Rule(id: \"a\", level: Deny, title: \"t\", check: Never(event: Leak)),\n\
                 Rule(id: \"a\", level: Warn, title: \"t\", check: Never(event: Leak))",
                315,
                (3, 10),
                "there twice",
            ),
        ],
        rules,
    );
}

#[test]
fn checks_know_their_counters_and_words() {
    check_all(
        &[
            ("Count(counter: \"kick\", must: Exactly(0))", 316, (3, 16), "did you mean `kicks`?"),
            (
                "Rate(counter: \"exits\", per: \"request\", must: AtMost(1))",
                316,
                (3, 29),
                "did you mean `requests`?",
            ),
            (
                "NoMoreThan(base: \"d0\", counter: \"exits\", per: [\"dma.map\"])",
                316,
                (3, 48),
                "did you mean `dma.maps`?",
            ),
            ("WhoMustAct(only: [Kernel])", 303, (3, 19), "`GuestKernel`"),
            ("Outcome(id: \"x\", is: Clean)", 303, (3, 9), "there is no field `id`"),
            (
                "SameView(onlooker: Qemu, until: Switch, like: [])",
                317,
                (3, 1),
                "only a scenario's expectation",
            ),
            ("Outcome(is: Cleen)", 303, (3, 13), "did you mean `Clean`?"),
            ("Rate(counter: \"exits\", must: AtMost(1))", 305, (3, 1), "`per`"),
        ],
        checks,
    );
}

#[test]
fn waivers_name_a_rule_a_pattern_and_a_day_and_who_answers_for_them() {
    let waiver = |field: &str, value: &str| {
        let mut fields = [
            ("rule", "no-leak"),
            ("runs", "*"),
            ("until", "2027-12-31"),
            ("reason", "r"),
            ("owner", "o"),
        ];
        fields.iter_mut().filter(|(name, _)| *name == field).for_each(|(_, old)| *old = value);
        let fields: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}:\n\"{value}\"")).collect();
        format!("Waiver({})", fields.join(", "))
    };
    for (field, value, code, line, wanted) in [
        ("rule", "no-leaks", 316, 4, "did you mean `no-leak`?"),
        ("runs", "{a", 341, 5, "no pattern"),
        ("until", "2027-02-29", 342, 6, "`2027-02-29` is no day"),
        ("until", "2027-2-28", 342, 6, "YYYY-MM-DD"),
        ("until", "next year", 342, 6, "YYYY-MM-DD"),
        ("reason", "", 314, 7, "`reason` is empty"),
        ("owner", "  ", 314, 8, "`owner` is empty"),
    ] {
        check_all(&[(&waiver(field, value), code, (line, 1), wanted)], waivers);
    }
    check_all(&[("Waiver(rule: \"no-leak\")", 305, (3, 1), "is missing")], waivers);
    assert_eq!(faults_of(&waivers(&waiver("", ""))), []);
}

#[test]
fn all_that_is_wrong_with_a_policy_is_told_at_once() {
    let text = rules(
        "Rule(id: \"a\", level: Den, title: \"\", runs: \"[\", check: Count(counter: \"kick\", must: Exactly(0))),\n\
         Rule(id: \"a\", level: Deny, title: \"t\", check: Never(event: Lek))",
    );
    let lines: Vec<_> =
        faults_of(&text).iter().filter_map(Fault::position).map(|at| at.0).collect();
    assert_eq!(lines, [2, 2, 2, 2, 3, 3]);
}

#[test]
fn known_failures_name_a_check_and_runs_that_there_are() {
    let scenario = |entry: &str| {
        format!(
            "Scenario(format: 1, name: \"a\", about: \"A test.\", matrix: [Secure([false, true])],\n\
             expect: [Outcome(id: \"clean\", is: Clean, when: [Secure([true])])], known_failures: [\n{entry}])"
        )
    };
    check_all(
        &[
            ("(check: \"claen\", why: \"w\")", 316, (3, 9), "did you mean `clean`?"),
            ("(check: \"clean\", why: \"\")", 314, (3, 23), "`why` is empty"),
            ("(check: \"clean\")", 305, (3, 1), "`why`"),
            (
                "(check: \"clean\", when: [Unit([\"4KiB\"])], why: \"w\")",
                316,
                (3, 25),
                "no axis `unit`",
            ),
            (
                "(check: \"clean\", when: [Secure([false])], why: \"w\")",
                317,
                (3, 1),
                "there is no run in which",
            ),
        ],
        scenario,
    );
}

#[test]
fn a_claim_has_a_number_a_finding_and_something_that_it_follows_from() {
    let scenario = |claim: &str| {
        let expect = "expect: [Outcome(id: \"clean\", is: Clean)]";
        format!("Scenario(format: 1, name: \"a\", about: \"A test.\", {expect}, claim:\n{claim})")
    };
    check_all(
        &[
            (
                "(number: 26, by: \"b\", says: \"s\", finding: Supported)",
                304,
                (2, 10),
                "from 1 to 25",
            ),
            (
                "(number: 0, by: \"b\", says: \"s\", finding: Supported)",
                304,
                (2, 10),
                "from 1 to 25",
            ),
            (
                "(number: 1, by: \"\", says: \"s\", finding: Supported)",
                314,
                (2, 17),
                "`by` is empty",
            ),
            (
                "(number: 1, by: \"b\", says: \"s\", finding: Suported)",
                303,
                (2, 42),
                "did you mean `Supported`?",
            ),
            (
                "(number: 1, by: \"b\", says: \"s\", finding: Qualified(\" \"))",
                314,
                (2, 42),
                "condition",
            ),
        ],
        scenario,
    );
    let bare = "Scenario(format: 1, name: \"a\", about: \"A test.\", claim:\n\
                (number: 1, by: \"b\", says: \"s\", finding: Refuted))";
    for text in [bare.to_owned(), bare.replace("claim:\n", "expect: [], claim:\n")] {
        let faults = faults_of(&text);
        let [fault] = faults.as_slice() else { panic!("{faults:?}") };
        assert_eq!((fault.code.0, fault.position()), (317, Some((2, 1))));
    }
}

#[test]
fn scenarios_that_find_different_things_about_a_claim_are_refused_with_both_places() {
    let scenario = |name: &str, finding: &str| {
        format!(
            "Scenario(format: 1, name: \"{name}\", about: \"A test.\",\n\
             expect: [Outcome(id: \"clean\", is: Clean)],\n\
             claim: (number: 7, by: \"b\", says: \"{name}\", finding: {finding}))"
        )
    };
    for (other, faulty) in [("Supported", 0), ("Refuted", 1), ("Qualified(\"c\")", 1)] {
        let files = rig::folder(&[
            ("a.ron", &scenario("a", "Supported")),
            ("b.ron", &scenario("b", other)),
        ]);
        let faults = select::select(&[files.path().to_owned()], 1).err().unwrap_or_default();
        assert_eq!(faults.len(), faulty, "{faults:?}");
        for fault in faults {
            assert_eq!((fault.code.0, fault.position()), (343, Some((3, 8))));
            assert!(fault.place().ends_with("b.ron:3:8"), "{}", fault.place());
            assert!(fault.message.contains("a.ron:3:8"), "{}", fault.message);
        }
    }
}

const RULE: &str = "Rule(id: \"r\", level: Deny, title: \"t\", check: Never(event: Leak))";

#[test]
fn a_policy_argument_must_be_a_policy() {
    let files = rig::folder(&[
        ("a.ron", "Scenario(format: 1, name: \"a\", about: \"x\", expect: [])"),
        ("p.ron", &rules(RULE)),
        ("q.ron", &rules(RULE)),
        ("empty/readme.txt", ""),
    ]);
    let at = |name: &str| files.path().join(name);
    let does = |_: &_| Does::steady(Vec::new());
    let scenario = at("a.ron");
    let check = |policy: &str| {
        let policy = at(policy);
        rig::uvsim(&does, &["check", rig::text(&scenario), "--policy", rig::text(&policy)])
    };
    assert_eq!(check("p.ron").code, 0);
    for (wrong, wanted) in [
        ("a.ron", "is no policy"),
        ("missing.ron", "not found"),
        ("empty", "no policy in the folders"),
    ] {
        let ran = check(wrong);
        assert_eq!(ran.code, 3, "{}", ran.err);
        assert!(ran.err.contains(wanted), "{}", ran.err);
    }
    // Two policies of one name cannot be told apart in a result.
    let both = select::policies(&[at("p.ron"), at("q.ron")], &mut BTreeMap::new());
    assert_eq!(both.expect_err("one name").first().map(|fault| fault.code.0), Some(315));
    // Faults of scenarios and of policies are told together.
    fs::write(at("bad.ron"), rules("Rule()")).expect("a file");
    fs::write(at("b.ron"), "Scenario(format: 1)").expect("a file");
    let (bad, b) = (at("bad.ron"), at("b.ron"));
    let ran = rig::uvsim(&does, &["check", rig::text(&b), "--policy", rig::text(&bad)]);
    assert!(
        ran.err.contains("of `Rule` is") && ran.err.contains("of `Scenario` is"),
        "{}",
        ran.err
    );
}

#[test]
fn no_cut_of_a_good_policy_panics_or_is_silently_something_else() {
    let good = waivers(
        "Waiver(rule: \"no-leak\", runs: \"*\", until: \"2027-12-31\", reason: \"r\", owner: \"o\")",
    );
    assert_eq!(faults_of(&good), []);
    for cut in (0..good.len()).step_by(3) {
        assert!(!faults_of(&good[..cut]).is_empty(), "cut at {cut}");
    }
}

#[test]
fn the_policy_that_the_readme_shows_is_right() {
    let readme = include_str!("../../../README.md");
    let start =
        readme.find("```ron\nPolicy(").expect("the README shows a policy") + "```ron\n".len();
    let end = start + readme[start..].find("```").expect("the block ends");
    assert_eq!(faults_of(&readme[start..end]), []);
    assert_ne!(faults_of(&readme[start..end].replace("requests", "request")), []);
}
