//! Exit codes: what is broken never ends with 0 (all is well) or 1 (judged, and not as expected).

use crate::rig;
use host_sim::cli::{self, Terminal, World};
use host_sim::scenario::plan::Plan;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use tempfile::TempDir;

const RIGHT: &str = "Scenario(format: 1, name: \"right\", about: \"x\", matrix: [Secure([false, true])], \
                     expect: [Outcome(id: \"clean\", is: Clean)])";
const RULE: &str = "Rule(id: \"r\", level: Deny, title: \"t\", check: Never(event: Leak))";

const CHAPTER: &str = "Chapter(format: 1, name: \"c\", about: \"x\", ends: \"y\", \
                       runs: [Run(key: \"raw\", scenario: \"demo/disk\", label: \"l\")], \
                       steps: [Step(title: \"t\", show: \"raw\", \
                       views: [View(of: [\"raw\"], at: Ready, says: \"x\")])])";

/// A folder with a scenario that is right, one that is not, policies, and a file that is an image
/// no more than it is a scenario.
fn folder() -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    let policy = |rules: &str, waivers: &str| {
        format!(
            "Policy(format: 1, name: \"p\", about: \"x\", rules: [{rules}], waivers: [{waivers}])"
        )
    };
    let waiver = |reason: &str| {
        format!("Waiver(rule: \"r\", runs: \"*\", until: \"2099-01-01\", owner: \"o\"{reason})")
    };
    let many_rules: Vec<String> =
        (0..2000).map(|number| RULE.replace("\"r\"", &format!("\"r{number}\""))).collect();
    let many_rules = many_rules.join(", ");
    let many: Vec<String> = (20..270).map(|nodes| nodes.to_string()).collect();
    let many = many.join(", ");
    let elf = RIGHT.replace("matrix", "guest: (image: File(\"noise\")), matrix");
    for (name, text) in [
        ("right.ron", RIGHT),
        ("wrong.ron", &RIGHT.replace("Clean", "Cleen")),
        ("silent/a.ron", "Scenario(format: 1, name: \"silent\", about: \"x\")"),
        ("other/wrong.ron", "Design(format: 1, name: \"d99\")"),
        ("elf.ron", &elf),
        ("no-rules.ron", &policy("", "")),
        ("rules.ron", &policy(RULE, "")),
        ("no-reason.ron", &policy(RULE, &waiver(""))),
        ("empty-reason.ron", &policy(RULE, &waiver(", reason: \"\""))),
        ("broken-rule.ron", &policy("Rule(id: \"r\")", "")),
        (
            "unknown-counter.ron",
            &policy(
                &RULE.replace("Never(event: Leak)", "Count(counter: \"c\", must: Exactly(0))"),
                "",
            ),
        ),
        ("chapter.ron", CHAPTER),
        ("noise", "\u{7f}noise"),
        ("nothing/readme.txt", "no scenario"),
        ("upper/WRONG.RON", &RIGHT.replace("Clean", "Cleen")),
        ("many.ron", &RIGHT.replace("true])", &format!("true]), FdtNodes([{many}])"))),
        ("many-rules.ron", &policy(&many_rules, "")),
    ] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    folder
}

/// What is typed (a word with `@` names a file of the folder), and the code that it ends with.
const BROKEN: &[(&[&str], u8)] = &[
    (&[], 2),
    (&["fly"], 2),
    (&["run", "--speed", "9"], 2),
    (&["run", "@right.ron", "--report", "yaml=x"], 2),
    (&["run", "@right.ron", "--report", "json="], 2),
    (&["run", "@right.ron", "-j", "0"], 2),
    (&["run", "@right.ron", "--seed", "-1"], 2),
    (&["run", "@right.ron", "--today", "tomorrow"], 2),
    (&["run", "@right.ron", "--id", "["], 2),
    (&["run", "@right.ron", "--policy"], 2),
    (&["check", "@right.ron", "--errors", "xml"], 2),
    (&["compare", "@right.ron", "--metric", "bananas"], 2),
    (&["explain", "bananas"], 2),
    (&["explain", "E303", "bananas"], 2),
    (&["report", "@right.ron", "-o", "@x", "-k", "pcapng", "--page", "1"], 2),
    (&["run"], 2),
    (&["run", "@right.ron", "--report", "json=-"], 2),
    (&["run", "-\n::error::x"], 2),
    (&["run", "@wrong.ron"], 3),
    (&["check", "@wrong.ron"], 3),
    (&["list", "@wrong.ron"], 3),
    (&["compare", "@wrong.ron"], 3),
    (&["run", "@right.ron", "@wrong.ron"], 3),
    (&["run", "@missing.ron"], 3),
    (&["gdb", "@missing.ron"], 3),
    (&["run", "@many.ron", "--policy", "@many-rules.ron"], 3),
    (&["check", "@upper"], 3),
    (&["check", "@missing.ron"], 3),
    (&["run", "@noise"], 3),
    (&["run", "@elf.ron"], 3),
    (&["check", "@other"], 3),
    (&["run", "@."], 3),
    (&["run", "@right.ron", "--policy", "@missing.ron"], 3),
    (&["run", "@right.ron", "--policy", "@nothing"], 3),
    (&["run", "@right.ron", "--policy", "@right.ron"], 3),
    (&["run", "@right.ron", "--policy", "@no-rules.ron"], 3),
    (&["run", "@right.ron", "--policy", "@no-reason.ron"], 3),
    (&["run", "@right.ron", "--policy", "@empty-reason.ron"], 3),
    (&["run", "@right.ron", "--policy", "@broken-rule.ron"], 3),
    (&["run", "@right.ron", "--policy", "@unknown-counter.ron"], 3),
    (&["check", "@no-rules.ron"], 3),
    (&["run", "@nothing"], 4),
    (&["run", "@chapter.ron"], 4),
    (&["check", "@nothing"], 4),
    (&["list", "@nothing"], 4),
    (&["compare", "@nothing"], 4),
    (&["run", "@rules.ron"], 4),
    (&["run", "@right.ron", "--id", "left*"], 4),
    (&["check", "@right.ron", "--id", "left*"], 4),
    (&["list", "@right.ron", "--design", "d5"], 4),
    (&["run", "@silent"], 5),
    (&["run", "@right.ron"], 5),
    (&["run", "@right.ron", "--report", "json=@no/such/folder/x.json"], 6),
    (&["run", "@right.ron", "--report", "json=@nothing"], 6),
    (&["new", "scenario", "@right.ron"], 6),
    (&["new", "scenario", "@no/such/folder/new.ron"], 6),
];

/// The words with the folder's path for each `@`.
fn typed(words: &[&str], folder: &Path) -> Vec<String> {
    let path = format!("{}/", folder.display());
    words.iter().map(|word| word.replace('@', &path)).collect()
}

#[test]
fn nothing_that_is_broken_exits_with_0_or_1() {
    assert!(BROKEN.len() >= 30);
    let folder = folder();
    let mut wrong = Vec::new();
    let chapter = format!("{}/chapter.ron", folder.path().display());
    for (words, code) in BROKEN {
        let words = typed(words, folder.path());
        // A run of these cannot start: whatever else is wrong comes before that, or is worse.
        let cannot = |_: &Plan, _: &AtomicBool| Err("no memory".to_owned());
        let arguments = std::iter::once("uvsim".to_owned()).chain(words.iter().cloned());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let (runner, terminal) = (&cannot, Terminal::default());
        let world = World { runner, out: &mut out, err: &mut err, terminal };
        let found = cli::main(arguments.map(OsString::from), world);
        let said = String::from_utf8_lossy(&[out, err].concat()).into_owned();
        // Worse than a report that cannot be written is a run without a verdict.
        let wanted = if *code == 6 && words[0] == "run" { 5 } else { *code };
        assert!(!said.lines().any(|line| line.starts_with("::")), "{words:?}: {said}");
        let is_chapter = said.contains("`uvsim demo FILE`") == (words.last() == Some(&chapter));
        if found != wanted || said.is_empty() || !is_chapter {
            wrong.push(format!("{words:?}: exit {found}, not {wanted}\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_uvsim"))
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_exits_with_6_and_says_so() {
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").expect("a full device");
    for words in [&["list", "@right.ron"][..], &["explain", "d5"], &["schema", "scenario"]] {
        let folder = folder();
        let words = typed(words, folder.path());
        let ran = binary().args(&words).stdout(full()).output().expect("uvsim starts");
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(6), "{words:?}: {said}");
        assert!(said.contains("E510"), "{said}");
    }
    // Talk that nobody hears changes nothing.
    let folder = folder();
    let wrong = typed(&["check", "@wrong.ron"], folder.path());
    let ran = binary().args(wrong).stderr(full()).output().expect("uvsim starts");
    assert_eq!(ran.status.code(), Some(3));
}

/// Runs the real thing with files of at most `blocks` x 512 bytes.
#[cfg(target_os = "linux")]
fn limited(blocks: u32, words: &[String]) -> std::process::Output {
    Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f \"$1\"; shift; exec \"$@\"", "sh"])
        .arg(blocks.to_string())
        .arg(env!("CARGO_BIN_EXE_uvsim"))
        .args(words)
        .output()
        .expect("a shell starts")
}

#[cfg(target_os = "linux")]
#[test]
fn a_report_that_does_not_fit_leaves_the_old_one_and_no_rest() {
    let folder = folder();
    let small = RIGHT.replace("Outcome(id: \"clean\", is: Clean)", "Ended(id: \"e\", is: Exit(0))");
    fs::write(folder.path().join("right.ron"), small).expect("a file");
    for kind in ["json", "events"] {
        let report = folder.path().join(format!("report.{kind}"));
        fs::write(&report, "the old one").expect("a file");
        let words = typed(
            &["run", "@right.ron", "--report", &format!("{kind}=@report.{kind}")],
            folder.path(),
        );
        let ran = limited(1, &words);
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.code(), Some(6), "{said}{}", String::from_utf8_lossy(&ran.stdout));
        assert!(said.contains("E510"), "{said}");
        assert_eq!(fs::read_to_string(&report).expect("it is there"), "the old one");
        let rest = fs::read_dir(folder.path()).expect("it is there").flatten();
        let rest: Vec<PathBuf> =
            rest.map(|entry| entry.path()).filter(|path| is_part(path)).collect();
        assert_eq!(rest, Vec::<PathBuf>::new());
        // With room it is written whole.
        assert_eq!(limited(1 << 20, &words).status.code(), Some(0));
        assert!(fs::read_to_string(&report).expect("it is there").ends_with("}\n"));
    }
}

fn is_part(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "part")
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_takes_no_files_exits_with_6() {
    // Not even the superuser may make a file there.
    let folder = folder();
    for report in
        ["json=/proc/self/x.json", "events=/sys/x.ndjson", "md=/dev/full", "csv=/dev/null"]
    {
        let words = typed(&["run", "@right.ron", "--report", report], folder.path());
        let ran = binary().args(&words).output().expect("uvsim starts");
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.code(), Some(6), "{report}: {said}");
        assert!(said.contains("E510"), "{said}");
    }
}

#[cfg(unix)]
#[test]
fn a_report_never_follows_a_link() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("mine.txt"), "mine").expect("a file");
    std::os::unix::fs::symlink(at("mine.txt"), at("report.json")).expect("a link");
    let ran = binary()
        .args(typed(&["run", "@right.ron", "--report", "json=@report.json"], folder.path()))
        .output()
        .expect("uvsim starts");
    assert_eq!(ran.status.code(), Some(6), "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(fs::read_to_string(at("mine.txt")).expect("it is there"), "mine");
    assert!(at("report.json").is_symlink());
}

#[test]
fn a_reader_that_goes_away_exits_with_6_and_nothing_is_said() {
    let folder = folder();
    let matrix = "Unit([\"4KiB\", \"64KiB\"]), QueueSize([2, 4, 8, 16, 32, 64, 128, 256]), EventIdx([false, true]), Ioeventfd([false, \
                  true]), IndirectDesc([false, true]), Legacy([false, true]), Secure([false, true])";
    // More than a pipe holds (pipe(7): 64 KiB), or nobody notices.
    let name = "long-name/".repeat(10);
    let text =
        RIGHT.replace("Secure([false, true])", matrix).replace("right", name.trim_end_matches('/'));
    fs::write(folder.path().join("right.ron"), text).expect("a file");
    let mut child = binary()
        .args(typed(&["list", "@right.ron"], folder.path()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("uvsim starts");
    let mut first = [0; 10];
    let mut reader = child.stdout.take().expect("it is piped");
    reader.read_exact(&mut first).expect("a name");
    drop(reader);
    let mut told = String::new();
    child.stderr.take().expect("it is piped").read_to_string(&mut told).expect("text");
    let status = child.wait().expect("it ends");
    assert_eq!(&first, b"long-name/");
    assert_eq!((status.code(), told.as_str()), (Some(6), ""));
}

/// A stream in which a bug of ours lives.
struct Buggy;

impl Write for Buggy {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        panic!("a bug \u{1b}[31mof ours");
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_bug_of_ours_anywhere_exits_with_70_the_seed_and_the_command_that_repeats_it() {
    let folder = folder();
    let runner = |_: &Plan, _: &AtomicBool| Err("nothing runs".to_owned());
    let words = typed(&["list", "@right.ron", "--seed", "9"], folder.path());
    let arguments = std::iter::once("uvsim".to_owned()).chain(words.iter().cloned());
    let mut err = Vec::new();
    let (out, terminal) = (&mut Buggy, Terminal::default());
    let world = World { runner: &runner, out, err: &mut err, terminal };
    let code = cli::guarded(arguments.map(OsString::from).collect(), world);
    let said = String::from_utf8(err).expect("text");
    assert_eq!(code, 70);
    assert!(
        said.starts_with("bug in uvsim: a bug \\x1b[31mof ours (seed 9)\n  repeat: "),
        "{said:?}"
    );
    assert!(said.ends_with(&format!("uvsim {}\n", words.join(" "))), "{said}");
}

#[test]
fn the_words_for_an_empty_selection_say_what_is_there() {
    let folder = folder();
    for (words, says) in [
        (&["check", "@nothing"][..], "there is no scenario here"),
        (&["run", "@right.ron", "--design", "d5"], "none of 2 runs has a design"),
        (&["run", "@right.ron", "--id", "left*"], "`--id` matches none of 2 runs"),
    ] {
        let words = typed(words, folder.path());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ran = rig::uvsim(&words);
        assert!(ran.code == 4 && ran.err.contains(says), "{}", ran.err);
    }
}
