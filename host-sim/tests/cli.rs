//! The command as a user meets it: exit codes, streams, reports.

use host_sim::cli::{self, Terminal, World};
use host_sim::event::{Ended, Event, Mark, Record};
use host_sim::log::RunLog;
use host_sim::scenario::plan::Plan;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use tempfile::TempDir;

/// A run that did its work, and after which nothing is wrong.
fn clean(plan: &Plan) -> Result<RunLog, String> {
    let marks = [Mark::Ready, Mark::Done];
    let records = marks.into_iter().zip(0_u64..);
    let records = records.map(|(mark, seq)| Record { seq, t_ns: seq, event: Event::Mark { mark } });
    let hash = *blake3::hash(plan.id.as_bytes()).as_bytes();
    let (ended, needs_reset, what_if) = (Ended::Exit(0), Vec::new(), plan.what_if());
    Ok(RunLog {
        records: records.collect(),
        ended,
        hash,
        needs_reset,
        what_if,
        places: Vec::new(),
        twins: Vec::new(),
    })
}

fn buggy(plan: &Plan) -> Result<RunLog, String> {
    assert!(!plan.id.contains("bug"), "a bug \u{1b}[31mof ours");
    clean(plan)
}

/// What plays the machine.
type Runs<'a> = &'a (dyn Fn(&Plan) -> Result<RunLog, String> + Sync);

struct Ran {
    code: u8,
    out: String,
    err: String,
}

fn uvsim_with(runs: Runs<'_>, arguments: &[&str]) -> Ran {
    let words = std::iter::once("uvsim").chain(arguments.iter().copied()).map(OsString::from);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let terminal = Terminal::default();
    let runner = |plan: &Plan, _: &AtomicBool| runs(plan);
    let code = cli::main(words, World { runner: &runner, out: &mut out, err: &mut err, terminal });
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    Ran { code, out: text(out), err: text(err) }
}

fn uvsim(arguments: &[&str]) -> Ran {
    uvsim_with(&clean, arguments)
}

fn scenario(name: &str, rest: &str) -> String {
    format!("Scenario(format: 1, name: \"{name}\", about: \"A test.\", {rest})")
}

const EXPECTED: &str = "expect: [Outcome(id: \"clean\", is: Clean)]";
const UNEXPECTED: &str = "expect: [Outcome(id: \"leaks\", is: Leaked)]";

/// A folder with these files.
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

#[test]
fn runs_as_expected_exit_0_and_an_unexpected_one_exits_1_with_the_check_and_a_command() {
    let good = folder(&[("a.ron", &scenario("a", EXPECTED))]);
    let ran = uvsim(&["run", text(good.path())]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.out.ends_with("exit 0: 1 run: 1 as expected\n"), "{}", ran.out);

    let bad = folder(&[("a.ron", &scenario("a", EXPECTED)), ("b.ron", &scenario("b", UNEXPECTED))]);
    let ran = uvsim(&["run", text(bad.path())]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("leaks: expected outcome leaked; found outcome clean"), "{}", ran.out);
    assert!(ran.out.contains("--id b --report events=events.ndjson"), "{}", ran.out);
    assert!(ran.out.ends_with("exit 1: 2 runs: 1 as expected, 1 NOT as expected\n"), "{}", ran.out);
}

#[test]
fn a_wrong_command_line_exits_2_and_help_exits_0() {
    for arguments in [
        &["fly"][..],
        &["run", "--speed", "9"],
        &["run", "--report", "yaml=x"],
        &["run", "--report", "json="],
        &["run", "-j", "0"],
        &["list", "--id", "["],
        &[],
        // No PATH, and no folder `scenarios` where tests run.
        &["run"],
    ] {
        let ran = uvsim(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.err);
        assert!(ran.out.is_empty() && !ran.err.is_empty(), "{arguments:?}");
    }
    let help = uvsim(&["--help"]);
    assert_eq!(help.code, 0);
    assert!(help.out.contains("EXAMPLES") && help.err.is_empty());
}

#[test]
fn one_bad_file_means_nothing_runs() {
    let files =
        folder(&[("a.ron", &scenario("a", EXPECTED)), ("b.ron", &scenario("b", "exect: []"))]);
    let never = |_: &Plan| -> Result<RunLog, String> { panic!("nothing may run") };
    let ran = uvsim_with(&never, &["run", text(files.path())]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    assert!(ran.err.contains("did you mean `expect`?"), "{}", ran.err);
    assert_eq!(uvsim(&["run", "no/such/place.ron"]).code, 3);
    assert_eq!(uvsim(&["check", text(files.path())]).code, 3);
}

#[test]
fn nothing_selected_exits_4() {
    let files = folder(&[("a.ron", &scenario("a", EXPECTED))]);
    let path = text(files.path());
    for arguments in [&["run", path, "--id", "b*"][..], &["list", path, "--design", "d5"]] {
        assert_eq!(uvsim(arguments).code, 4, "{arguments:?}");
    }
    let empty = folder(&[]);
    assert_eq!(uvsim(&["run", text(empty.path())]).code, 4);
    assert_eq!(uvsim(&["check", text(empty.path())]).code, 4);
}

#[test]
fn a_run_without_a_verdict_exits_5_unless_the_scenario_says_that_nothing_is_expected() {
    let silent = folder(&[("a.ron", &scenario("a", "")), ("b.ron", &scenario("b", UNEXPECTED))]);
    assert_eq!(uvsim(&["run", text(silent.path())]).code, 5);
    let nothing = folder(&[("a.ron", &scenario("a", "expect: []"))]);
    let ran = uvsim(&["run", text(nothing.path())]);
    assert_eq!(ran.code, 0);
    assert!(ran.out.contains("with nothing expected"), "{}", ran.out);
    let cannot = |_: &Plan| Err("no memory".to_owned());
    let files = folder(&[("a.ron", &scenario("a", EXPECTED))]);
    let ran = uvsim_with(&cannot, &["run", text(files.path())]);
    assert_eq!(ran.code, 5);
    assert!(ran.err.contains("could not run a: no memory"), "{}", ran.err);
}

#[test]
fn a_run_that_no_expectation_is_about_has_no_verdict() {
    let expect = "matrix: [Secure([false, true])], \
                  expect: [Outcome(id: \"clean\", is: Clean, when: [Secure([true])])]";
    let files = folder(&[("a.ron", &scenario("a", expect))]);
    assert_eq!(uvsim(&["run", text(files.path())]).code, 5);
}

#[test]
fn a_report_that_cannot_be_written_exits_6_and_leaves_nothing_behind() {
    let files = folder(&[("a.ron", &scenario("a", UNEXPECTED))]);
    let missing = format!("json={}/no/such/result.json", text(files.path()));
    let ran = uvsim(&["run", text(files.path()), "--report", &missing]);
    assert_eq!(ran.code, 6);
    assert!(ran.err.contains("E510") && !ran.err.contains(text(files.path())), "{}", ran.err);
    let folder_in_place = format!("events={}", text(files.path()));
    assert_eq!(uvsim(&["run", text(files.path()), "--report", &folder_in_place]).code, 6);
    assert_eq!(fs::read_dir(files.path()).expect("it is there").count(), 1);
}

/// A run that is clean, and printed this.
fn printing(plan: &Plan, parts: &[&[u8]]) -> Result<RunLog, String> {
    let mut log = clean(plan)?;
    for bytes in parts {
        let event = Event::Console { device: None, bytes: bytes.to_vec() };
        log.records.push(Record { seq: log.records.len() as u64, t_ns: 9, event });
    }
    Ok(log)
}

#[test]
fn what_guests_print_is_told_whole_when_asked_for_and_moves_no_cursor() {
    let runs = |plan: &Plan| match plan.id.ends_with("64KiB") {
        true => printing(plan, &[b"on", b"e\r\n\ntwo\n", b"\x1b[2J::error::\xff\n", b"4\n5\n"]),
        false => clean(plan),
    };
    let axes = "matrix: [Unit([\"4KiB\", \"64KiB\"])], expect: [Outcome(id: \"x\", is: Clean)]";
    let folder = folder(&[("a.ron", &scenario("t", axes))]);
    let ran = uvsim_with(&runs, &["run", "--plain", "--console", text(folder.path())]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let said = "\nconsole of t/unit=4KiB: nothing\n";
    assert!(ran.out.contains(said), "{}", ran.out);
    let said = "\nconsole of t/unit=64KiB\n  hvc0| one\n  hvc0| \n  hvc0| two\n  \
                hvc0| \\x1b[2J::error::\\xff\n  hvc0| 4\n  hvc0| 5\n";
    assert!(ran.out.contains(said), "{}", ran.out);
    let ran = uvsim_with(&runs, &["run", "--plain", text(folder.path())]);
    assert!(!ran.out.contains("hvc0"), "{}", ran.out);
}

#[test]
fn a_bug_of_ours_exits_70_with_seed_and_command_and_the_other_runs_are_judged() {
    let files =
        folder(&[("a.ron", &scenario("a", EXPECTED)), ("b.ron", &scenario("bug", EXPECTED))]);
    let ran = uvsim_with(&buggy, &["run", text(files.path()), "--seed", "9"]);
    assert_eq!(ran.code, 70);
    assert!(ran.err.contains("seed 9") && ran.err.contains("--id bug --seed 9"), "{}", ran.err);
    assert!(ran.err.contains("\\x1b[31m") && !ran.err.contains('\u{1b}'), "{:?}", ran.err);
    assert!(ran.out.contains("1 as expected, 1 stopped by a bug of uvsim"), "{}", ran.out);
}

#[test]
fn ids_name_axes_in_matrix_order_and_a_glob_takes_slashes() {
    let matrix = "matrix: [Design([\"d5-platform-hook\", \"d0-legacy-bypass\"]), Unit([\"4KiB\", \"64KiB\"]), \
                  EventIdx([true]), OnTamper([Terminate])]";
    let files = folder(&[("a.ron", &scenario("t/a", matrix))]);
    let path = text(files.path());
    let listed = uvsim(&["list", path, "--id", "*d5*4KiB*"]).out;
    let one = "t/a/design=d5-platform-hook/unit=4KiB/event_idx=true/on_tamper=terminate\n";
    assert_eq!(listed, format!("{one}{}", one.replace("4KiB", "64KiB")));
    assert_eq!(uvsim(&["list", path, "--design", "D0"]).out.lines().count(), 2);
    assert_eq!(uvsim(&["list", path, "--id", &one.trim().replace("64KiB", "4KiB")]).out, one);
    assert_eq!(uvsim(&["list", path]).out.lines().count(), 4);
}

#[test]
fn results_are_the_same_bytes_on_one_thread_and_on_several_and_in_the_order_of_the_selection() {
    let matrix = format!(
        "matrix: [QueueSize([8, 16, 32, 64, 128]), EventIdx([false, true]), Ioeventfd([false, true])], {EXPECTED}"
    );
    let files =
        folder(&[("a.ron", &scenario("a", &matrix)), ("b.ron", &scenario("b", UNEXPECTED))]);
    let path = text(files.path());
    // Later runs finish first.
    let uneven = |plan: &Plan| {
        let turns = if plan.id.contains("queue_size=8/") { 2_000_000 } else { 1 };
        let sum = (0..turns).fold(0_u64, |sum, turn| std::hint::black_box(sum ^ turn));
        std::hint::black_box(sum);
        clean(plan)
    };
    let results: Vec<[String; 3]> = ["1", "2", "7"]
        .map(|jobs| {
            let [json, events] =
                ["result.json", "events.ndjson"].map(|name| files.path().join(name));
            let reports = [format!("json={}", text(&json)), format!("events={}", text(&events))];
            let ran = uvsim_with(
                &uneven,
                &["run", path, "-j", jobs, "--report", &reports[0], "--report", &reports[1]],
            );
            assert_eq!(ran.code, 1, "{}", ran.err);
            let [json, events] = [json, events].map(|path| {
                let text = fs::read_to_string(&path).expect("the report is there");
                fs::remove_file(&path).expect("it can be removed");
                text
            });
            [ran.out, json, events]
        })
        .into();
    assert_eq!(results[0], results[1]);
    assert_eq!(results[0], results[2]);
    let ids: Vec<String> = uvsim(&["list", path]).out.lines().map(str::to_owned).collect();
    let result: serde_json::Value = serde_json::from_str(&results[0][1]).expect("JSON");
    let runs = result["runs"].as_array().expect("runs");
    assert_eq!(runs.iter().map(|run| run["id"].as_str().expect("id")).collect::<Vec<_>>(), ids);
}

#[test]
fn the_json_report_has_the_fields_of_its_schema() {
    let files = folder(&[("a.ron", &scenario("a", UNEXPECTED))]);
    let json = files.path().join("result.json");
    uvsim(&[
        "run",
        text(files.path()),
        "--report",
        &format!("json={}", text(&json)),
        "--seed",
        "5",
    ]);
    let result: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&json).expect("the report")).expect("JSON");
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().expect("an object").keys().cloned().collect()
    };
    let top = ["claims", "exit_code", "inputs", "runs", "schema", "seed", "tool_version"];
    assert_eq!(keys(&result), top);
    assert_eq!((&result["schema"], &result["seed"]), (&"uvsim.result/1".into(), &5.into()));
    assert_eq!(result["exit_code"], 1);
    let run = &result["runs"][0];
    let fields = [
        "checks",
        "counters",
        "ended",
        "event_log_hash",
        "findings",
        "id",
        "needs_reset",
        "outcome",
        "policy",
        "touches",
        "verdict",
        "what_if",
    ];
    assert_eq!(keys(run), fields);
    assert_eq!((&run["verdict"], &run["outcome"]), (&"fail".into(), &"clean".into()));
    assert_eq!(run["event_log_hash"].as_str().map(str::len), Some(64));
    assert_eq!(keys(&run["counters"]), ["after", "init", "steady"]);
    assert_eq!(run["checks"][0]["expected"], "outcome leaked");
}

#[test]
fn the_events_report_is_self_contained_for_each_run() {
    let files = folder(&[(
        "a.ron",
        &scenario("a", &format!("matrix: [Secure([false, true])], {EXPECTED}")),
    )]);
    let events = files.path().join("events.ndjson");
    uvsim(&["run", text(files.path()), "--report", &format!("events={}", text(&events))]);
    let log = fs::read_to_string(&events).expect("the report");
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    assert_eq!(lines.len(), 2 * 4);
    for (run, secure) in lines.chunks(4).zip([false, true]) {
        assert_eq!(run[0]["schema"], "uvsim.events/2");
        assert_eq!(run[0]["plan"]["guest"]["secure"], secure);
        assert_eq!(
            (&run[1]["kind"], &run[1]["seq"], &run[2]["t"]),
            (&"mark".into(), &0.into(), &1.into())
        );
        assert_eq!(run[3]["end"], "exit(0)");
        assert!(run.iter().all(|line| line["run"] == format!("a/secure={secure}")));
    }
}

#[test]
fn lines_for_people_are_at_most_100_columns_but_for_commands() {
    let long = format!(
        "matrix: [Design([\"d5-platform-hook\"]), Placement([OwnUnit, Neighbour]), Order([Sequential]), \
         OnTamper([Terminate]), Interleave([Service])], devices: [Blk(id: \"disk\", sectors: 64)], \
         workload: Block(ops: [Write(requests: 1, bytes: \"4KiB\")]), {UNEXPECTED}"
    );
    let about =
        scenario("a-name/of-some-length", &long).replace("A test.", &"many words ".repeat(40));
    let files = folder(&[("a.ron", &about)]);
    let out = uvsim(&["run", text(files.path())]).out;
    let wide = out.lines().filter(|line| line.chars().count() > 100);
    assert!(
        wide.clone().all(|line| line.trim_start().starts_with("more ")),
        "{:?}",
        wide.collect::<Vec<_>>()
    );
    assert!(out.contains("FAIL") && !out.contains('\u{1b}'));
    assert!(
        uvsim(&["run", "--color", "always", text(files.path())]).out.contains("\u{1b}[1;31mFAIL")
    );
}

#[test]
fn a_design_beside_the_scenario_wins_over_a_shipped_one_and_the_selection_over_both() {
    let own = |iommu: &str| {
        let shipped = include_str!("../../scenarios/designs/d5-platform-hook.ron");
        shipped.replace(
            "    changes:",
            &format!("    qemu: (defaults: (iommu_platform: {iommu})),\n    changes:"),
        )
    };
    let rest = "design: \"d5-platform-hook\", devices: [Entropy(id: \"rng\")], expect: []";
    let one = |iommu_platform: bool| {
        move |plan: &Plan| {
            assert_eq!(plan.devices[0].options.iommu_platform, iommu_platform);
            clean(plan)
        }
    };
    let files = folder(&[("a.ron", &scenario("a", rest))]);
    let path = files.path().join("a.ron");
    assert_eq!(uvsim_with(&one(false), &["run", text(&path)]).code, 0);
    fs::create_dir(files.path().join("designs")).expect("a folder");
    fs::write(files.path().join("designs/x.ron"), own("true")).expect("a file");
    assert_eq!(uvsim_with(&one(true), &["run", text(&path)]).code, 0);
    let other = folder(&[("y.ron", &own("false"))]);
    assert_eq!(uvsim_with(&one(false), &["run", text(&path), text(other.path())]).code, 0);
}
