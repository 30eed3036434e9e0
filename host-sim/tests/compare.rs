//! `uvsim compare`: rows, proofs, factors, formats.

use firmware::kernel::Kernel;
use host_sim::cli::{self, Terminal, World};
use host_sim::event::{DeviceIndex, Ended, Event, Mark, QueueIndex, Record};
use host_sim::log::RunLog;
use host_sim::scenario::plan::Plan;
use serde_json::Value;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use tempfile::TempDir;

struct Ran {
    code: u8,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).expect("stdout is JSON and nothing else")
    }
}

/// What plays the machine.
type Runs<'a> = &'a (dyn Fn(&Plan) -> Result<RunLog, String> + Sync);

fn uvsim(runs: Runs<'_>, arguments: &[&str]) -> Ran {
    let words = ["uvsim", "compare"].into_iter().chain(arguments.iter().copied());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let terminal = Terminal::default();
    let runner = |plan: &Plan, _: &AtomicBool| runs(plan);
    let world = World { runner: &runner, out: &mut out, err: &mut err, terminal };
    let code = cli::main(words.map(OsString::from), world);
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    Ran { code, out: text(out), err: text(err) }
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    folder
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

fn scenario(designs: &str, rest: &str) -> String {
    format!(
        "Scenario(format: 1, name: \"s\", about: \"A test.\", guest: (secure: true),\n\
         matrix: [Design([{designs}])], {rest})"
    )
}

const TWO: &str = "\"d0-legacy-bypass\", \"d5-platform-hook\"";

/// A guest that does two requests and these events, at these times.
fn log(plan: &Plan, events: Vec<(u64, Event)>) -> RunLog {
    let request = Event::Completed {
        device: DeviceIndex(0),
        queue: QueueIndex(0),
        head: 0,
        written: 0,
        data: true,
    };
    let mut all = vec![(0, Event::Mark { mark: Mark::Ready })];
    all.extend([(100, request.clone()), (200, request)]);
    all.extend(events);
    let end = all.iter().map(|(t_ns, _)| *t_ns).max().unwrap_or(0);
    all.push((end, Event::Mark { mark: Mark::Done }));
    let records = all.into_iter().zip(0..);
    RunLog {
        records: records.map(|((t_ns, event), seq)| Record { seq, t_ns, event }).collect(),
        ended: Ended::Exit(0),
        hash: *blake3::hash(plan.id.as_bytes()).as_bytes(),
        needs_reset: Vec::new(),
        what_if: plan.what_if(),
        places: Vec::new(),
        twins: Vec::new(),
    }
}

fn bounce(bytes: u64) -> Event {
    Event::Bounce { slot: 0, original: 0, bytes, back: false }
}

/// Works with every kernel; that of 2018 takes 400 ns, every other 500 ns and three bounces.
fn all_work(plan: &Plan) -> Result<RunLog, String> {
    if plan.guest.kernel == Kernel::LINUX_2018 {
        return Ok(log(plan, vec![(400, bounce(8))]));
    }
    Ok(log(plan, vec![(500, bounce(16)), (500, bounce(16)), (500, bounce(16))]))
}

/// Works with every kernel but that of 2018, which ends in a fault.
fn hook_works(plan: &Plan) -> Result<RunLog, String> {
    let log = all_work(plan)?;
    let ended = if plan.guest.kernel == Kernel::LINUX_2018 { Ended::Idle } else { Ended::Exit(0) };
    Ok(RunLog { ended, ..log })
}

fn row<'j>(json: &'j Value, design: &str) -> &'j Value {
    let rows = json["rows"].as_array().expect("rows");
    let row = rows.iter().find(|row| {
        row["designs"].as_array().is_some_and(|names| names.iter().any(|name| name == design))
    });
    row.expect("a row of this design")
}

#[test]
fn numbers_are_sums_over_verified_runs_and_factors_are_against_the_best() {
    let files = folder(&[("s.ron", &scenario(TWO, "expect: []"))]);
    let ran = uvsim(&all_work, &[text(files.path()), "--format", "json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let json = ran.json();
    assert_eq!(json["schema"], "uvsim.compare/1");
    assert_eq!(json["base"], Value::Null);
    let (base, hook) = (row(&json, "d0-legacy-bypass"), row(&json, "d5-platform-hook"));
    assert_eq!((&base["requests"], &hook["requests"]), (&2.into(), &2.into()));
    assert_eq!(hook["steady"]["bounce.bytes"], 48);
    assert_eq!(hook["outcomes"]["clean"], 1);
    assert_eq!(
        (&base["factor_hundredths"], &hook["factor_hundredths"]),
        (&100.into(), &125.into())
    );
    // Both are clean with and without the change, so nobody is seen to be needed.
    assert_eq!(hook["who_must_act"]["unproven"], serde_json::json!(["guest-kernel"]));
    let ran = uvsim(&all_work, &[text(files.path()), "--format", "json", "--base", "d5"]);
    let json = ran.json();
    assert_eq!(json["base"], "d5-platform-hook");
    assert_eq!(row(&json, "d0-legacy-bypass")["factor_hundredths"], 80);
}

#[test]
fn a_design_that_does_not_work_has_no_costs_and_nothing_to_prove() {
    let files = folder(&[("s.ron", &scenario(TWO, "expect: []"))]);
    let ran = uvsim(&hook_works, &[text(files.path()), "--format", "json"]);
    let json = ran.json();
    let (base, hook) = (row(&json, "d0-legacy-bypass"), row(&json, "d5-platform-hook"));
    assert_eq!(base["outcome"], "stuck");
    assert_eq!((&base["requests"], &base["factor_hundredths"]), (&0.into(), &Value::Null));
    assert_eq!(base["who_must_act"]["standing"], "not_clean");
    assert_eq!(hook["who_must_act"]["standing"], "proved");
    assert_eq!(hook["who_must_act"]["needed"], serde_json::json!(["guest-kernel"]));
    assert_eq!(hook["who_must_act"]["unproven"], serde_json::json!([]));
    let ran = uvsim(&hook_works, &[text(files.path())]);
    let line = |name: &str| ran.out.lines().find(|line| line.contains(name)).expect("its line");
    assert!(line("d0-legacy-bypass").ends_with("stuck 1/1  -"), "{}", ran.out);
    assert!(line("d5-platform-hook").ends_with("clean 1/1  guest kernel"), "{}", ran.out);
    let costs = ran.out.split("costs, per request").nth(1).expect("the third table");
    let costs = costs.lines().find(|line| line.contains("d0-legacy-bypass")).expect("its line");
    assert_eq!(costs.matches("n/a").count(), 6, "{costs}");
}

#[test]
fn designs_that_no_run_can_tell_apart_are_one_row() {
    let designs = format!("{TWO}, \"x-data-direct\"");
    let files = folder(&[("s.ron", &scenario(&designs, "expect: []"))]);
    let json = uvsim(&all_work, &[text(files.path()), "--format", "json"]).json();
    assert_eq!(json["rows"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        row(&json, "x-data-direct")["designs"],
        serde_json::json!(["d5-platform-hook", "x-data-direct"])
    );
    // One more event tells them apart.
    let differs = |plan: &Plan| {
        let mut log = all_work(plan)?;
        if plan.design.as_deref() == Some("x-data-direct") {
            let last = log.records.pop().expect("the mark");
            log.records.push(Record { event: bounce(1), ..last.clone() });
            log.records.push(Record { seq: last.seq + 1, ..last });
        }
        Ok(log)
    };
    let json = uvsim(&differs, &[text(files.path()), "--format", "json"]).json();
    assert_eq!(json["rows"].as_array().map(Vec::len), Some(3));
}

#[test]
fn a_design_that_claims_less_than_it_needs_is_marked_and_red() {
    let mine = shipped_hook_without_claims();
    assert!(mine.contains("changes: []"));
    let files =
        folder(&[("designs/mine.ron", &mine), ("s.ron", &scenario("\"mine\"", "expect: []"))]);
    let ran = uvsim(&hook_works, &[text(files.path())]);
    assert_eq!(ran.code, 1, "{}", ran.out);
    assert!(ran.out.contains("guest kernel!"), "{}", ran.out);
    let told = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("1 design whose file claims less than is needed"), "{told}");
}

fn shipped_hook_without_claims() -> String {
    let hook = include_str!("../../scenarios/designs/d5-platform-hook.ron");
    hook.replace("changes: [GuestKernel]", "changes: []").replace("d5-platform-hook", "mine")
}

#[test]
fn no_line_of_the_tables_is_longer_than_120_columns() {
    let rules: String = (0..14)
        .map(|at| {
            format!(
                "Rule(id: \"rule-{at}\", level: Deny, title: \"{}\", check: Never(event: Leak)),",
                "a long title ".repeat(20)
            )
        })
        .collect();
    let policy = format!("Policy(format: 1, name: \"p\", about: \"A test.\", rules: [{rules}])");
    let long = "d99-".to_owned() + &"very-long-name-".repeat(7) + "x";
    let mine = shipped_hook_without_claims().replace("mine", &long);
    let designs = format!("{TWO}, \"{long}\"");
    let files = folder(&[
        ("p.ron", &policy),
        ("designs/mine.ron", &mine),
        ("s.ron", &scenario(&designs, "expect: []")),
    ]);
    let p = files.path().join("p.ron");
    let ran = uvsim(
        &hook_works,
        &[text(files.path()), "--policy", text(&p), "--metric", "kicks", "--metric", "uv.calls"],
    );
    assert!(ran.out.contains("X") || ran.out.contains("ok"), "{}", ran.out);
    for line in ran.out.lines() {
        assert!(line.chars().count() <= 120, "{} columns: {line}", line.chars().count());
        assert_eq!(line, line.trim_end());
    }
}

#[test]
fn rules_are_columns_and_the_worst_run_marks_them() {
    let policy = "Policy(format: 1, name: \"p\", about: \"A test.\", rules: [\n\
        Rule(id: \"works\", level: Deny, title: \"<b>it | works</b>\", check: Outcome(is: Clean)),\n\
        Rule(id: \"few\", level: Warn, title: \"t\", check: Count(counter: \"bounce.copies\", must: AtMost(1))),\n\
        Rule(id: \"none\", level: Deny, title: \"t\", runs: \"nothing\", check: Outcome(is: Clean))],\n\
        waivers: [Waiver(rule: \"works\", runs: \"*d0*\", until: \"2027-01-01\", reason: \"r\", owner: \"o\")])";
    let files = folder(&[("p.ron", policy), ("s.ron", &scenario(TWO, "expect: []"))]);
    let p = files.path().join("p.ron");
    let arguments = [text(files.path()), "--policy", text(&p), "--today", "2026-06-01"];
    let ran = uvsim(&hook_works, &arguments);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    let marks = |name: &str| -> Vec<String> {
        let line = ran.out.lines().find(|line| line.contains(name)).expect("its line");
        let words: Vec<&str> = line.split_whitespace().collect();
        words[words.len() - 3..].iter().map(|word| (*word).to_owned()).collect()
    };
    assert_eq!(marks("d0-legacy-bypass"), ["w", "ok", "."]);
    assert_eq!(marks("d5-platform-hook"), ["ok", "!", "."]);
    let md = uvsim(&hook_works, &[&arguments[..], &["--format", "md"]].concat());
    assert!(!md.out.contains("<b>") && md.out.contains("it \\| works"), "{}", md.out);
    assert!(md.out.lines().filter(|line| line.starts_with('|')).count() >= 12, "{}", md.out);
    assert!(md.err.contains("exit 0: 2 runs"), "{}", md.err);
    let json = uvsim(&hook_works, &[&arguments[..], &["--format", "json"]].concat()).json();
    assert_eq!(json["today"], "2026-06-01");
    assert_eq!(json["rules"][1]["level"], "warn");
    assert_eq!(json["rows"][0]["policy"][0]["waived"], 1);
    assert_eq!(json["rows"][0]["policy"][2], Value::Null);
    assert!(json["warnings"][0].as_str().is_some_and(|text| text.contains("none")));
}

#[test]
fn what_if_runs_have_rows_of_their_own() {
    let sealed = scenario(TWO, "expect: []");
    let unsealed = sealed.replace("name: \"s\"", "name: \"u\", machine: (platform: PefUnsealed)");
    let files = folder(&[("s.ron", &sealed), ("u.ron", &unsealed)]);
    let json = uvsim(&hook_works, &[text(files.path()), "--format", "json"]).json();
    let kinds: Vec<_> =
        json["rows"].as_array().expect("rows").iter().map(|row| &row["what_if"]).collect();
    assert_eq!(kinds, [false, false, true, true]);
    assert_eq!(json["rows"][3]["who_must_act"], Value::Null);
}

#[test]
fn an_unexpected_run_is_red_and_named_with_a_command_that_explains_it() {
    let expect = "expect: [Outcome(id: \"clean\", is: Clean)]";
    let files = folder(&[("s.ron", &scenario(TWO, expect))]);
    let ran = uvsim(&hook_works, &[text(files.path())]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("NOT as expected: s/design=d0-legacy-bypass"), "{}", ran.err);
    assert!(ran.err.contains("uvsim run"), "{}", ran.err);
    assert!(ran.out.ends_with("exit 1: 2 runs: 1 as expected, 1 NOT as expected\n"), "{}", ran.out);
}

#[test]
fn wrong_arguments_are_usage_errors_and_nothing_to_compare_is_nothing_selected() {
    let files = folder(&[("s.ron", &scenario(TWO, "expect: []"))]);
    let plain = folder(&[("s.ron", "Scenario(format: 1, name: \"s\", about: \"x\", expect: [])")]);
    for (arguments, code, wanted) in [
        (vec![text(files.path()), "--base", "d5-platform-hok"], 2, "did you mean"),
        (vec![text(files.path()), "--metric", "kick"], 2, "did you mean `kicks`?"),
        (vec![text(files.path()), "--format", "xml"], 2, "possible values"),
        (vec![text(files.path()), "--by", "unit"], 2, "possible values"),
        (vec![text(plain.path())], 4, "nothing to compare"),
        (vec![text(files.path()), "--id", "nothing"], 4, ""),
    ] {
        let ran = uvsim(&all_work, &arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(wanted) && ran.out.is_empty(), "{arguments:?}: {}", ran.err);
    }
}

#[test]
fn a_bug_and_a_run_that_cannot_start_are_told() {
    let files = folder(&[("s.ron", &scenario(TWO, "expect: []"))]);
    let buggy = |plan: &Plan| {
        assert!(plan.design.as_deref() != Some("d5-platform-hook"), "a bug");
        all_work(plan)
    };
    let ran = uvsim(&buggy, &[text(files.path())]);
    assert_eq!(ran.code, 70);
    assert!(ran.err.contains("bug in uvsim: a bug (run s/design=d5-platform-hook)"), "{}", ran.err);
    let refused = |_: &Plan| Err("no memory".to_owned());
    let ran = uvsim(&refused, &[text(files.path())]);
    assert_eq!(ran.code, 5);
    assert!(ran.err.contains("could not run s/design=d0-legacy-bypass: no memory"), "{}", ran.err);
}

#[test]
fn the_shipped_basics_compare_the_same_on_any_number_of_threads() {
    let basics = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/basics");
    let real = |plan: &Plan| host_sim::run::run(plan).map_err(|why| why.to_string());
    let [one, four] =
        ["1", "4"].map(|jobs| uvsim(&real, &[basics, "--format", "json", "-j", jobs]));
    assert_eq!((one.code, one.out.as_str()), (0, four.out.as_str()), "{}", one.err);
    let json = one.json();
    let hook = row(&json, "d5-platform-hook");
    assert_eq!(hook["who_must_act"]["needed"], serde_json::json!(["guest-kernel"]));
    assert_eq!(hook["who_must_act"]["unclaimed"], serde_json::json!([]));
    let base = row(&json, "d0-legacy-bypass");
    assert_eq!(base["who_must_act"]["standing"], "not_clean");
    let what_if = json["rows"].as_array().expect("rows").iter().find(|row| row["what_if"] == true);
    assert!(what_if.is_some_and(|row| row["ping_pong"]["data"].as_u64() > Some(0)));
}
