//! `uvsim explain`, `new` and `schema`: every word has its page, every code an input that breaks
//! its rule, every template runs green.

use host_sim::cli::{self, Terminal, World};
use host_sim::counters::Counter;
use host_sim::demo;
use host_sim::help::codes::{self, Example};
use host_sim::help::{result_schema, topics};
use host_sim::image::Rule;
use host_sim::outcome::Outcome;
use host_sim::run;
use host_sim::scenario::chapter::Chapter;
use host_sim::scenario::codes::Code;
use host_sim::scenario::diagnostics::{Fault, SourceText};
use host_sim::scenario::plan::Plan;
use host_sim::scenario::{design, select};
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tempfile::TempDir;

struct Ran {
    code: u8,
    out: String,
    err: String,
}

fn uvsim(arguments: &[&str]) -> Ran {
    let words = std::iter::once("uvsim").chain(arguments.iter().copied()).map(OsString::from);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let runner =
        |plan: &Plan, late: &AtomicBool| run::run_until(plan, late).map_err(|why| why.to_string());
    let terminal = Terminal::default();
    let world = World { runner: &runner, out: &mut out, err: &mut err, terminal };
    let code = cli::main(words, world);
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    Ran { code, out: text(out), err: text(err) }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

fn faults_of(text: &[u8]) -> Vec<Fault> {
    let folder = TempDir::new().expect("a temporary folder");
    fs::write(folder.path().join("a.ron"), text).expect("a file");
    select::select(&[folder.path().join("a.ron")], 1).err().unwrap_or_default()
}

fn scenario(fields: &str) -> String {
    format!("Scenario(format: 1, name: \"a\", about: \"A test.\", {fields})")
}

/// Inputs for the codes whose page can only say in words what breaks the rule.
fn in_words(code: Code) -> Vec<Fault> {
    let devices = |count: usize| {
        let list: Vec<String> = (0..count).map(|at| format!("Console(id: \"c{at}\")")).collect();
        scenario(&format!("devices: [{}]", list.join(", ")))
    };
    match code {
        Code::TOO_LARGE => faults_of(&vec![b' '; (1 << 20) + 1]),
        Code::TOO_DEEP => {
            let nested = format!("workload: {}None{}", "Mixed([".repeat(70), "])".repeat(70));
            faults_of(scenario(&nested).as_bytes())
        }
        Code::NOT_TEXT => faults_of(b"Scenario(\xff)"),
        Code::BAD_ARGUMENT => {
            select::select(&[PathBuf::from("no/such/place.ron")], 1).err().unwrap_or_default()
        }
        Code::MATRIX => {
            let sizes: Vec<String> = (0..4097).map(|at| format!("\"{at}ns\"")).collect();
            faults_of(
                scenario(&format!("matrix: [KickLatency([{}])]", sizes.join(", "))).as_bytes(),
            )
        }
        Code::FILE_LIMIT => {
            let folder = TempDir::new().expect("a temporary folder");
            let image = fs::File::create(folder.path().join("x.elf")).expect("a file");
            image.set_len((64 << 20) + 1).expect("a sparse file");
            let path = folder.path().join("a.ron");
            fs::write(&path, scenario("guest: (image: File(\"x.elf\"))")).expect("a file");
            select::select(&[path], 1).err().unwrap_or_default()
        }
        Code::COUNT_LIMIT => faults_of(devices(17).as_bytes()),
        Code::EVENTS => {
            let read = host_sim::saved::Reader::new(&b"{}\n"[..], "e").filter_map(Result::err);
            read.collect()
        }
        Code::FAULTS => {
            let list = "Outcom(), ".repeat(101);
            faults_of(scenario(&format!("expect: [{list}]")).as_bytes())
        }
        Code::NO_MOMENT => {
            let chapter = demo::chapter("leak").expect("it ships");
            let text = chapter.source.text.replace("at: Secret", "at: Flip");
            let source = Arc::new(SourceText { path: "a.ron".to_owned(), text });
            let chapter = Chapter::read(&source).expect("it can be read");
            let runner = |plan: &Plan, late: &AtomicBool| {
                run::run_until(plan, late).map_err(|why| why.to_string())
            };
            let runs = demo::runs_of(&chapter, None, 1, &mut BTreeSet::new()).expect("they ship");
            demo::story_of(&chapter, &runs, &runner).err().unwrap_or_default()
        }
        Code::DISAGREEMENT => {
            let folder = TempDir::new().expect("a temporary folder");
            for (name, finding) in [("a", "Supported"), ("b", "Refuted")] {
                let claim = format!(
                    "Scenario(format: 1, name: \"{name}\", about: \"A test.\", claim: (number: 6, \
                     by: \"x\", says: \"y\", finding: {finding}), \
                     expect: [Outcome(id: \"clean\", is: Clean)])"
                );
                fs::write(folder.path().join(format!("{name}.ron")), claim).expect("a file");
            }
            select::select(&[folder.path().to_owned()], 1).err().unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

#[test]
fn every_code_has_a_page_with_an_input_that_is_refused_with_it() {
    let pages: Vec<Code> = codes::PAGES.iter().map(|told| told.code).collect();
    let known: Vec<Code> = Code::ALL.iter().map(|(code, _)| *code).collect();
    assert_eq!(pages, known, "the pages are in the order of the codes, and complete");
    for told in codes::PAGES {
        let faults = match told.example {
            Example::Fields(fields) => faults_of(scenario(fields).as_bytes()),
            Example::File(text) => faults_of(text.as_bytes()),
            Example::Words(_) => in_words(told.code),
        };
        let found: Vec<Code> = faults.iter().map(|fault| fault.code).collect();
        // About images and outputs: tests/image.rs and the next test; about runs: their limits in
        // tests/machine/limits.rs.
        let of_runs = (401..=409).contains(&told.code.0);
        let elsewhere = [Code::IMAGE, Code::OUTPUT].contains(&told.code) || of_runs;
        assert!(found.contains(&told.code) || elsewhere, "{}: {faults:?}", told.code);
        let rule = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(told.rule);
        assert!(rule.is_file(), "{}: {}", told.code, told.rule);
    }
}

#[test]
fn the_codes_of_outputs_and_images_are_met_too() {
    let folder = TempDir::new().expect("a temporary folder");
    let missing = folder.path().join("no/such/a.ron");
    let ran = uvsim(&["new", "minimal", text(&missing)]);
    assert!(ran.code == 6 && ran.err.contains("E510"), "{}", ran.err);
    fs::write(folder.path().join("x.elf"), b"no image").expect("a file");
    let path = folder.path().join("a.ron");
    fs::write(&path, scenario("guest: (image: File(\"x.elf\"))")).expect("a file");
    let faults = select::select(&[path], 1).expect_err("that is no image");
    assert!(faults.iter().all(|fault| (321..=339).contains(&fault.code.0)), "{faults:?}");
    for rule in Rule::ALL {
        let page = uvsim(&["explain", &format!("E{}", rule.code())]);
        assert!(page.code == 0 && page.out.contains("guest images"), "{}", page.out);
    }
}

#[test]
fn every_word_of_the_list_has_a_page_of_readable_width() {
    let list = uvsim(&["explain"]);
    assert_eq!((list.code, list.err.as_str()), (0, ""));
    let mut met = 0;
    for (kind, words) in topics::all() {
        assert!(list.out.contains(kind), "{kind}");
        for word in words {
            let page = uvsim(&["explain", &word]);
            assert_eq!(page.code, 0, "{word}: {}", page.err);
            assert!(page.out.to_lowercase().starts_with(&word.to_lowercase()), "{}", page.out);
            assert!(page.out.lines().count() > 3, "{}", page.out);
            let prose = page.out.split("\n  the file\n").next().expect("text");
            let prose = prose.split("\n  the rule\n").next().expect("text");
            assert!(prose.lines().all(|line| line.chars().count() <= 100), "{prose}");
            met += 1;
        }
    }
    assert!(met > Counter::ALL.len() + Outcome::ALL.len() + Code::ALL.len(), "{met}");
    assert!(list.out.lines().all(|line| line.chars().count() <= 100));
}

#[test]
fn a_word_is_found_however_it_is_written() {
    for (written, found) in [
        (&["e303"][..], "E303 (error code)"),
        (&["303"], "E303 (error code)"),
        (&["D5"], "d5-platform-hook (design)"),
        (&["Slow"], "slow (outcome)"),
        (&["round_trips"], "round_trips (counter)"),
        (&["round-trip"], "round trip (word)"),
        (&["who", "must", "act"], "who must act (word)"),
        (&["claim", "6"], "claim-6 (claim of the thread)"),
        (&["6"], "claim-6 (claim of the thread)"),
        (&["No-Ping-Pong"], "no-ping-pong (rule of a policy)"),
        (&["exit-codes"], "exit codes (word)"),
        (&["E303", "d5"], "E303 (error code)"),
    ] {
        let ran = uvsim(&[&["explain"], written].concat());
        assert!(ran.out.starts_with(found), "{written:?}: {}{}", ran.out, ran.err);
    }
}

#[test]
fn several_words_have_their_pages_one_after_the_other() {
    let page = |word: &str| uvsim(&["explain", word]).out;
    assert_eq!(uvsim(&["explain", "E303", "d5"]).out, format!("{}\n{}", page("E303"), page("d5")));
}

#[test]
fn a_page_says_who_proposed_a_design_and_which_scenarios_show_it() {
    let page = uvsim(&["explain", "d5"]).out;
    for part in ["by Benjamin Herrenschmidt", "guest kernel", "scenarios/basics/", "decides: Init"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    let designs = design::shipped().expect("the shipped designs are right");
    for name in designs.keys() {
        let page = uvsim(&["explain", name]).out;
        assert!(page.contains(&format!("name: \"{name}\"")), "{page}");
    }
    // One proposal of the thread, two designs.
    let page = uvsim(&["explain", "d7"]).out;
    assert!(
        page.contains("explain d7a-quirk-in-dma-api") && page.contains("explain d7b-"),
        "{page}"
    );
    assert_eq!(uvsim(&["explain", "d99"]).code, 2);
    let page = uvsim(&["explain", "tampered"]).out;
    assert!(page.contains("shown by    scenarios/"), "{page}");
}

#[test]
fn a_claim_says_its_finding_and_a_rule_shows_its_text_and_what_it_covers() {
    let page = uvsim(&["explain", "claim-6"]).out;
    for part in ["said by", "finding", "scenarios/thread/claims/06-"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let page = uvsim(&["explain", "no-ping-pong"]).out;
    let parts = [
        "\n    Rule(\n        id: \"no-ping-pong\",\n",
        "\n    )\n",
        "covers      scenarios/thread/",
    ];
    for part in parts {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert_eq!(uvsim(&["explain", "26"]).code, 2);
}

#[test]
fn designs_are_listed_by_number() {
    let all = topics::all();
    let designs = &all.iter().find(|(kind, _)| *kind == "designs").expect("there are designs").1;
    let place = |start: &str| designs.iter().position(|name| name.starts_with(start));
    let places = ["d0-", "d2-", "d7a-", "d7b-", "d10-", "d23-", "share-"].map(place);
    assert!(places.is_sorted() && places[0].is_some(), "{designs:?}");
}

#[test]
fn an_unknown_word_exits_2_with_the_nearest_one() {
    let ran = uvsim(&["explain", "ping-pnog"]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("did you mean `ping-pong`?"), "{}", ran.err);
    let ran = uvsim(&["explain", "\u{1b}[31mnothing like it at all"]);
    assert_eq!(ran.code, 2);
    assert!(!ran.err.contains('\u{1b}') && !ran.err.contains("did you mean"), "{:?}", ran.err);
}

#[test]
fn every_template_runs_green_as_it_is() {
    for kind in ["scenario", "minimal", "block", "net"] {
        let folder = TempDir::new().expect("a temporary folder");
        let path = folder.path().join("My_Own.test.ron");
        let ran = uvsim(&["new", kind, text(&path)]);
        assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
        assert!(ran.err.contains("next: uvsim run "), "{}", ran.err);
        let ran = uvsim(&["run", text(&path)]);
        assert_eq!(ran.code, 0, "{kind}: {}{}", ran.out, ran.err);
        let ids = uvsim(&["list", text(&path)]).out;
        assert!(ids.lines().all(|id| id.starts_with("mine/my-own-test")), "{ids}");
    }
}

#[test]
fn a_new_design_can_be_named_by_a_scenario_and_a_new_policy_judges_it() {
    let folder = TempDir::new().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    assert_eq!(uvsim(&["new", "design", text(&at("my-hook.ron"))]).code, 0);
    assert_eq!(uvsim(&["new", "policy", text(&at("rules.ron"))]).code, 0);
    let block = uvsim(&["new", "block", "-"]);
    assert_eq!((block.code, block.err.as_str()), (0, ""));
    let mine = block.out.replace("\"d5-platform-hook\"", "\"my-hook\"");
    assert_ne!(mine, block.out);
    fs::write(at("mine.ron"), mine).expect("a file");
    let ran = uvsim(&["run", text(folder.path()), "--policy", text(&at("rules.ron"))]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(!ran.err.contains("warning"), "{}", ran.err);
}

/// The text of the README between two markers, without its indent.
fn readme(name: &str) -> String {
    let readme = include_str!("../../README.md");
    let rest = readme.split_once(&format!("<!-- {name} -->\n")).expect("it begins").1;
    let text = rest.split_once(&format!("<!-- /{name} -->")).expect("it ends").0;
    text.lines().flat_map(|line| [line.strip_prefix("    ").unwrap_or(line), "\n"]).collect()
}

#[test]
fn the_readmes_guest_is_built_and_runs_by_the_readmes_text_alone() {
    let folder = TempDir::new().expect("a temporary folder");
    for name in ["hello.S", "hello.ron"] {
        fs::write(folder.path().join(name), readme(name)).expect("a file");
    }
    let commands = readme("hello.sh");
    let (build, run) = commands.trim().split_once('\n').expect("two commands");
    let built = Command::new("sh").args(["-c", build]).current_dir(folder.path()).output();
    let built = built.expect("there is a shell");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    assert_eq!(run, "uvsim run hello.ron");
    let ran = uvsim(&["run", text(&folder.path().join("hello.ron"))]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);

    // No test downloads a kernel: with another image in its place, the scenario around it is right.
    let linux = folder.path().join("linux.ron");
    fs::write(&linux, readme("linux.ron")).expect("a file");
    fs::copy(folder.path().join("hello.elf"), folder.path().join("vmlinux")).expect("an image");
    fs::write(folder.path().join("initrd"), "").expect("a file");
    let checked = uvsim(&["check", text(&linux)]);
    assert_eq!(checked.code, 0, "{}{}", checked.out, checked.err);
    assert!(readme("linux.sh").ends_with("uvsim run linux.ron\n"));
}

#[test]
fn what_is_there_already_is_left_as_it_is() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("a.ron");
    fs::write(&path, "mine").expect("a file");
    let ran = uvsim(&["new", "minimal", text(&path)]);
    assert_eq!(ran.code, 6);
    assert!(ran.err.contains("left as it is") && ran.err.contains("another name"), "{}", ran.err);
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "mine");
    for wrong in [&["new", "minimal"][..], &["new", "sev", "a.ron"], &["schema"], &["schema", "x"]]
    {
        assert_eq!(uvsim(wrong).code, 2, "{wrong:?}");
    }
}

/// `schema` with nothing allowed that it does not name.
fn closed(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(fields) => {
            let has_own = fields.get("properties").is_some_and(Value::is_object);
            for (_, value) in fields.iter_mut() {
                *value = closed(std::mem::take(value));
            }
            if has_own {
                fields.insert("additionalProperties".to_owned(), false.into());
            }
        }
        Value::Array(items) => {
            for item in items {
                *item = closed(std::mem::take(item));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (),
    }
    schema
}

/// Results with a failure, a known failure, a waived rule, a warning and a claim.
fn results() -> Value {
    let folder = TempDir::new().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    let claimed = "Scenario(format: 1, name: \"a\", about: \"A test.\", guest: (secure: true), \
         devices: [Blk(id: \"disk\", sectors: 64)], \
         workload: Block(ops: [Write(requests: 2, bytes: \"4KiB\"), ReadBack]), \
         design: \"d5-platform-hook\", matrix: [Unit([\"4KiB\", \"64KiB\"])], \
         claim: (number: 6, by: \"x\", says: \"y\", finding: Qualified(\"z\")), \
         expect: [Outcome(id: \"clean\", is: Clean), Outcome(id: \"slow\", is: Slow), \
         Count(id: \"none\", counter: \"kicks\", must: Exactly(0))], \
         known_failures: [(check: \"slow\", when: [Unit([\"4KiB\"])], why: \"w\")])";
    fs::write(at("a.ron"), claimed).expect("a file");
    let policy = "Policy(format: 1, name: \"p\", about: \"x\", rules: [\
         Rule(id: \"r\", level: Deny, title: \"t\", check: Outcome(is: Slow), help: \"h\"), \
         Rule(id: \"none\", level: Warn, title: \"t\", runs: \"no-such-run\", check: Never(event: Leak))], \
         waivers: [Waiver(rule: \"r\", runs: \"*=4KiB\", until: \"2000-01-01\", reason: \"w\", owner: \"o\")])";
    fs::write(at("p.ron"), policy).expect("a file");
    let json = format!("json={}", text(&at("result.json")));
    let ran =
        uvsim(&["run", text(&at("a.ron")), "--policy", text(&at("p.ron")), "--report", &json]);
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    let result = fs::read_to_string(at("result.json")).expect("the report");
    serde_json::from_str(&result).expect("it is JSON")
}

#[test]
fn real_results_have_what_the_schema_says_and_nothing_else() {
    let printed: Value =
        serde_json::from_str(&uvsim(&["schema", "result"]).out).expect("the schema is JSON");
    assert_eq!(printed, result_schema::schema());
    jsonschema::meta::validate(&printed).expect("it is a schema");
    let validator = jsonschema::validator_for(&closed(printed)).expect("it is a schema");
    let result = results();
    let errors: Vec<String> = validator
        .iter_errors(&result)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    for (part, there) in [
        ("touches", !result["runs"][0]["touches"].as_array().expect("a list").is_empty()),
        ("waiver", result["runs"][0]["policy"][0]["waiver"].is_object()),
        ("no waiver", result["runs"][1]["policy"][0]["waiver"].is_null()),
        ("known", result["runs"][0]["checks"][1]["known"].is_string()),
        ("claim", result["claims"][0]["number"] == 6),
        ("warnings", result["warnings"].is_array()),
    ] {
        assert!(there, "{part} is not tried: {result:#}");
    }
    let mut wrong = result;
    wrong["runs"][0]["verdict"] = "perhaps".into();
    assert!(!validator.is_valid(&wrong));
}

#[test]
fn references_are_printed_as_they_are() {
    for kind in ["scenario", "design", "policy"] {
        let ran = uvsim(&["schema", kind]);
        assert_eq!(ran.code, 0);
        assert!(ran.out.to_lowercase().contains(&format!("\n{kind}(")), "{}", ran.out);
    }
}
