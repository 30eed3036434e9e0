//! `--report` on the command line: files, folders and the runner's environment.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

const UVSIM: &str = env!("CARGO_BIN_EXE_uvsim");

/// A guest that boots and exits, in two runs: one as expected, one not.
const SCENARIO: &str = "\
Scenario(
    format: 1,
    name: \"t/boots\",
    about: \"A test.\",
    matrix: [Unit([\"4KiB\", \"64KiB\"])],
    expect: [
        Outcome(id: \"clean\", is: Clean),
        Outcome(id: \"leaks\", is: Leaked, when: [Unit([\"64KiB\"])]),
    ],
)
";

/// `workspace/sub/a.ron` in a temporary folder.
fn workspace() -> TempDir {
    let workspace = TempDir::new().expect("a temporary folder");
    fs::create_dir(workspace.path().join("sub")).expect("a folder");
    fs::write(workspace.path().join("sub/a.ron"), SCENARIO).expect("a file");
    workspace
}

/// `uvsim run a.ron` in `workspace/sub`, as a step of a GitHub job if there is a summary file.
fn uvsim(workspace: &Path, summary: Option<&Path>, arguments: &[&str]) -> Output {
    let mut command = Command::new(UVSIM);
    command.current_dir(workspace.join("sub")).args(["run", "a.ron"]).args(arguments);
    command.env_remove("GITHUB_STEP_SUMMARY").env_remove("GITHUB_WORKSPACE");
    if let Some(summary) = summary {
        // The folder may be reached by a link; the runner names it as the process sees it.
        let real = fs::canonicalize(workspace).expect("it is there");
        command.env("GITHUB_STEP_SUMMARY", summary).env("GITHUB_WORKSPACE", real);
    }
    command.output().expect("uvsim starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is UTF-8")
}

#[test]
fn a_github_step_gets_annotations_on_stdout_and_a_summary_after_what_is_there() {
    let workspace = workspace();
    let summary = workspace.path().join("summary.md");
    fs::write(&summary, "# another tool\n").expect("a file");
    let ran = uvsim(workspace.path(), Some(&summary), &["--report", "github"]);
    let out = text(&ran.stdout);
    assert_eq!(ran.status.code(), Some(1), "{out}{}", text(&ran.stderr));
    let errors: Vec<&str> = out.lines().filter(|line| line.starts_with("::")).collect();
    assert_eq!(errors.len(), 1, "{out}");
    let start =
        "::error file=sub/a.ron,line=8,col=9,title=uvsim FAIL%3A t/boots/unit=64KiB::leaks: ";
    assert!(errors[0].starts_with(start), "{}", errors[0]);
    assert!(out.lines().last().is_some_and(|line| line.starts_with("exit 1: ")), "{out}");
    let told = fs::read_to_string(&summary).expect("the summary");
    assert!(told.starts_with("# another tool\n## uvsim: **not as expected**\n"), "{told}");
    assert!(told.contains("| `t/boots/unit=64KiB` | clean | **FAIL** |"), "{told}");
}

#[test]
fn what_is_wrong_with_the_input_is_told_where_it_stands() {
    let workspace = workspace();
    let wrong = SCENARIO.replace("Clean", "Cleen").replace("Leaked", "Leakt");
    fs::write(workspace.path().join("sub/a.ron"), wrong).expect("a file");
    let summary = workspace.path().join("summary.md");
    let ran = uvsim(workspace.path(), Some(&summary), &["--report", "github"]);
    assert_eq!(ran.status.code(), Some(3));
    let out = text(&ran.stdout);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 2, "{out}");
    assert!(lines[0].starts_with("::error file=sub/a.ron,line=7,col="), "{out}");
    assert!(
        lines[1].starts_with("::error file=sub/a.ron,line=8,col=34,title=uvsim E303::"),
        "{out}"
    );
    assert!(lines[1].ends_with("%0Ahelp: did you mean `Leaked`?"), "{out}");
    assert!(uvsim(workspace.path(), None, &[]).stdout.is_empty());
}

#[test]
fn outside_of_github_the_same_report_has_annotations_and_no_summary() {
    let workspace = workspace();
    let ran = uvsim(workspace.path(), None, &["--report", "github"]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(text(&ran.stdout).contains("::error file=a.ron,line=8,col=9,"));
    assert_eq!(fs::read_dir(workspace.path()).expect("it is there").count(), 1);
}

#[test]
fn a_summary_that_cannot_be_written_exits_6() {
    let workspace = workspace();
    let missing = workspace.path().join("no/such/summary.md");
    let ran = uvsim(workspace.path(), Some(&missing), &["--report", "github"]);
    assert_eq!(ran.status.code(), Some(6));
    assert!(text(&ran.stderr).contains("`summary.md` could not be written: there is no folder"));
}

#[test]
fn a_report_never_takes_the_place_of_what_the_command_reads() {
    let workspace = workspace();
    let scenario = workspace.path().join("sub/a.ron");
    for place in ["a.ron", "./a.ron", "../sub/a.ron"] {
        let ran = uvsim(workspace.path(), None, &[&format!("--report=json={place}")]);
        assert_eq!(ran.status.code(), Some(6), "{place}");
        assert!(text(&ran.stderr).contains("this command reads it"), "{}", text(&ran.stderr));
    }
    let ran = uvsim(workspace.path(), Some(&scenario), &["--report", "github"]);
    assert_eq!(ran.status.code(), Some(6));
    // By another of its names, too: a summary is added to the end of what is there.
    let linked = workspace.path().join("summary.md");
    fs::hard_link(&scenario, &linked).expect("a link");
    let ran = uvsim(workspace.path(), Some(&linked), &["--report", "github"]);
    assert_eq!(ran.status.code(), Some(6), "{}", text(&ran.stderr));
    assert_eq!(fs::read_to_string(&scenario).expect("it is there"), SCENARIO);
    let events = ["--report", "events=e.ndjson"];
    assert_eq!(uvsim(workspace.path(), None, &events).status.code(), Some(1));
    let before = fs::read(workspace.path().join("sub/e.ndjson")).expect("the events");
    let ran = Command::new(UVSIM)
        .current_dir(workspace.path().join("sub"))
        .args(["report", "e.ndjson", "-o", "e.ndjson"])
        .output()
        .expect("uvsim starts");
    assert_eq!(ran.status.code(), Some(6));
    assert_eq!(fs::read(workspace.path().join("sub/e.ndjson")).expect("as before"), before);
}

#[test]
fn two_reports_to_one_file_are_refused_however_it_is_spelt() {
    let workspace = workspace();
    let ran = uvsim(workspace.path(), None, &["--report", "json=r", "--report", "csv=./r"]);
    assert_eq!(ran.status.code(), Some(6));
    assert!(text(&ran.stderr).contains("another report of this command"), "{}", text(&ran.stderr));
}

#[test]
fn a_summary_that_is_a_pipe_without_a_reader_is_not_waited_for() {
    let workspace = workspace();
    let pipe = workspace.path().join("summary");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|status| status.success()), "a pipe can be made");
    let ran = uvsim(workspace.path(), Some(&pipe), &["--report", "github"]);
    assert_eq!(ran.status.code(), Some(6));
}

fn design(name: &str) -> String {
    format!(
        "Design(format: 1, name: \"{name}\", about: \"x\", proposed: (by: \"x\", when: \"x\", \
         source: \"x\"), decides: Init, guest: (virtio: HookedOps, ops: DataDirect), changes: [GuestKernel])"
    )
}

/// What the line `more` says, in one line.
fn more(ran: &Output) -> String {
    let told = text(&ran.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    let (_, rest) = told.split_once(" more ").unwrap_or_else(|| panic!("{told}"));
    rest.split(" --report").next().expect("a split has one part").to_owned()
}

#[test]
fn a_run_is_repeated_with_the_design_that_was_named_the_policy_and_the_day() {
    let workspace = workspace();
    let folder = workspace.path().join("sub");
    let scenario =
        SCENARIO.replace("t/boots", "t/own").replace("matrix:", "design: \"own\", matrix:");
    let design = design("own");
    let policy = "Policy(format: 1, name: \"p\", about: \"x\", rules: [Rule(id: \"r\", level: Warn, \
                  title: \"t\", check: Never(event: Leak))])";
    for (name, contents) in [("-s.ron", &*scenario), ("own.ron", &*design), ("p.ron", policy)] {
        fs::write(folder.join(name), contents).expect("a file");
    }
    let run = |arguments: &[&str]| {
        let mut command = Command::new(UVSIM);
        command.current_dir(&folder).args(arguments).output().expect("uvsim starts")
    };
    let day = ["--policy", "p.ron", "--today", "2026-01-02"];
    let ran = run(&[&["run", "own.ron", "./-s.ron"], &day[..]].concat());
    assert_eq!(ran.status.code(), Some(1), "{}", text(&ran.stderr));
    let again = more(&ran);
    assert!(again.starts_with("uvsim run own.ron ./-s.ron --id t/own/"), "{again}");
    assert!(again.ends_with("--policy p.ron --today 2026-01-02"), "{again}");
    let words: Vec<&str> = again.split(' ').skip(1).collect();
    assert_eq!(run(&words).status.code(), Some(1), "it fails again: {again}");
}

#[test]
fn a_design_that_takes_the_place_of_a_shipped_one_is_told() {
    let workspace = workspace();
    let folder = workspace.path().join("sub");
    fs::write(folder.join("own.ron"), design("d0-legacy-bypass")).expect("a file");
    let ran = uvsim(workspace.path(), None, &["own.ron"]);
    let told = text(&ran.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("`own.ron` takes the place of the design `d0-legacy-bypass`"), "{told}");
}

#[test]
fn files_elsewhere_are_told_apart_and_repeated_by_the_path_that_was_typed() {
    let workspace = workspace();
    let elsewhere = TempDir::new().expect("a temporary folder");
    let first = workspace.path().join("sub/a.ron");
    let second = elsewhere.path().join("a.ron");
    fs::write(&second, SCENARIO.replace("t/boots", "t/other")).expect("a file");
    let ran = Command::new(UVSIM)
        .current_dir("/")
        .arg("run")
        .args([&first, &second])
        .arg(format!("--report=json={}", elsewhere.path().join("r.json").display()))
        .output()
        .expect("uvsim starts");
    assert_eq!(ran.status.code(), Some(1), "{}", text(&ran.stderr));
    let told = text(&ran.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    let more = format!("uvsim run {} --id t/other/unit=64KiB", second.display());
    assert!(told.contains(&more), "{told}");
    let result = fs::read(elsewhere.path().join("r.json")).expect("the result");
    let result: serde_json::Value = serde_json::from_slice(&result).expect("JSON");
    assert_eq!(result["inputs"].as_object().map(serde_json::Map::len), Some(2), "{result}");
}

#[test]
fn a_file_whose_name_nobody_can_copy_is_repeated_by_a_shell_all_the_same() {
    let workspace = workspace();
    for (byte, name) in [(0xfe, "t/other"), (0xff, "t/third")] {
        let file = OsStr::from_bytes(&[b'a', b'\n', b'1', byte]).to_owned();
        let path = workspace.path().join("sub").join(file).with_extension("ron");
        fs::write(path, SCENARIO.replace("t/boots", name)).expect("a file");
    }
    let again = more(&uvsim(workspace.path(), None, &["."]));
    assert_eq!(again, "uvsim run a.ron --id t/boots/unit=64KiB");
    fs::remove_file(workspace.path().join("sub/a.ron")).expect("it is there");
    let run = |how: &str| {
        let mut shell = Command::new("bash");
        let shell = shell.args(["-c", &format!("uvsim() {{ '{UVSIM}' \"$@\"; }}; {how}")]);
        shell.current_dir(workspace.path().join("sub")).output().expect("bash starts")
    };
    let ran = run("uvsim run .");
    let again = more(&ran);
    assert_eq!(again, r"uvsim run $'./a\0121\376.ron' --id t/other/unit=64KiB");
    let told = text(&run(&again).stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("t/other/unit=64KiB") && !told.contains("t/third"), "{told}");
}

#[test]
fn each_report_is_the_same_bytes_on_one_thread_and_on_several() {
    let kinds = ["json", "events", "junit", "md", "csv", "github", "html", "perfetto", "pcapng"];
    let written = |jobs: &str| -> Vec<Vec<u8>> {
        let workspace = workspace();
        let reports = kinds.map(|kind| format!("--report={kind}=out.{kind}"));
        let mut arguments = vec!["-j", jobs];
        arguments.extend(reports.iter().map(String::as_str));
        assert_eq!(uvsim(workspace.path(), None, &arguments).status.code(), Some(1));
        let read = |kind| fs::read(workspace.path().join("sub").join(format!("out.{kind}")));
        kinds.iter().map(|kind| read(kind).expect("the report is there")).collect()
    };
    let one = written("1");
    let id = "t/boots/unit=64KiB";
    assert!(one.iter().all(|report| report.windows(id.len()).any(|part| part == id.as_bytes())));
    assert_eq!(one, written("5"));
}

#[test]
fn a_report_of_any_kind_that_cannot_be_written_exits_6_and_says_so() {
    let kinds = ["json", "events", "junit", "md", "csv", "github", "html", "perfetto", "pcapng"];
    for kind in kinds {
        let workspace = workspace();
        let report = format!("{kind}=no/such/out");
        let ran = uvsim(workspace.path(), None, &["--report", &report]);
        assert_eq!(ran.status.code(), Some(6), "{kind}");
        assert!(text(&ran.stderr).contains("E510"), "{kind}");
        assert_eq!(fs::read_dir(workspace.path().join("sub")).expect("it is there").count(), 1);
    }
}

#[test]
fn a_file_is_demanded_of_all_but_github() {
    let workspace = workspace();
    for wrong in ["json", "junit", "md", "csv", "events", "junit=", "github=", "ktap", ""] {
        let ran = uvsim(workspace.path(), None, &["--report", wrong]);
        assert_eq!(ran.status.code(), Some(2), "{wrong}");
    }
}
