//! House rules, kept by reading our own sources.
//!
//! Each rule is a function from sources to complaints (`file:line: what`), and each is tested on
//! a snippet that breaks it, so that a rule which cannot fail is noticed.

mod arrows;
mod map;
mod rules;
mod sources;
mod thread;

use host_sim::run;
use host_sim::scenario::select;
use host_sim::verdict::{self, Verdict};
use sources::Source;

/// Fails with every complaint.
fn complain(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    complain(sources::all().iter().flat_map(rules::first_line).collect());
}

#[test]
fn no_left_over_markers() {
    complain(sources::all().iter().flat_map(rules::markers).collect());
}

#[test]
fn files_stay_readable_in_one_sitting() {
    complain(sources::all().iter().flat_map(rules::length).collect());
}

#[test]
fn tables_have_no_wildcard_arm() {
    let all = sources::all();
    for (path, function) in rules::TABLES {
        let table = all.iter().find(|source| source.path == path).and_then(rules::table);
        let arms = table.unwrap_or_default().iter().filter(|(_, line)| line.contains("=>")).count();
        assert!(arms >= 5, "{path}: the table of `{function}` is gone");
    }
    complain(all.iter().flat_map(rules::wildcards).collect());
}

#[test]
fn unsafe_code_is_where_the_readme_says() {
    let allowed = map::block(&sources::readme(), "unsafe");
    complain(sources::all().iter().flat_map(|source| rules::opted_in(source, &allowed)).collect());
}

#[test]
fn imports_run_one_way() {
    complain(arrows::CRATES.iter().flat_map(|name| arrows::check(name, &sources::all())).collect());
}

#[test]
fn crates_hear_only_of_what_they_may_know() {
    complain(arrows::strangers(&sources::manifests()));
}

/// The README's block `name` is `printed`. `BLESS=1` writes it.
fn shows(name: &str, printed: &str) {
    if std::env::var_os("BLESS").is_some() {
        sources::bless(name, printed);
    }
    let found = map::block(&sources::readme(), name);
    assert!(found == printed, "BLESS=1 cargo test -p host-sim --test tidy rewrites {name}");
}

#[test]
fn the_readme_shows_what_the_code_says() {
    shows("map", &map::print(&sources::all()));
    shows("page-states", &map::page_states());
}

#[test]
fn the_readme_shows_the_thread_as_it_is_measured() {
    shows("designs", &thread::designs());
    shows("claims", &thread::claims());
}

#[test]
fn every_rule_about_the_thread_is_red_in_one_run_and_green_in_another() {
    assert_eq!(thread::one_sided_rules(), Vec::<String>::new());
}

#[test]
fn the_readme_scenario_runs_as_it_expects() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("mine.ron");
    std::fs::write(&file, map::block(&sources::readme(), "mine.ron")).expect("it can be written");
    let selection = select::select(&[file], 1);
    let selection = selection.unwrap_or_else(|faults| panic!("{}", faults[0].message));
    assert_eq!(selection.runs.len(), 4);
    for planned in selection.runs {
        let log = run::run(&planned.plan).expect("it can start");
        assert_eq!(
            verdict::judge(&planned.plan, &log).verdict,
            Verdict::Pass,
            "{}",
            planned.plan.id
        );
    }
}

#[test]
fn each_rule_can_fail() {
    let bad =
        |text: &str| Source { path: "ultravisor/src/page_state.rs".into(), text: text.into() };
    assert_eq!(rules::first_line(&bad("use std::io;\n")).len(), 1);
    assert_eq!(rules::first_line(&bad("//! What it is.\n")).len(), 0);
    let marker = format!("{}{}", "TO", "DO");
    assert_eq!(rules::markers(&bad(&format!("//! x\n// {marker}: later\n"))).len(), 1);
    assert_eq!(rules::length(&bad(&"\n".repeat(rules::LINES_MAX + 1))).len(), 1);
    let table =
        "pub const fn next(x: X) {\n    (A, _) => 1,\n    _ => 2,\n    (A_B, C) => 3,\n}\n_ => 4\n";
    assert_eq!(rules::wildcards(&bad(table)).len(), 2);
    assert_eq!(rules::opted_in(&bad("#![expect(unsafe_code, reason = \"\")]\n"), "").len(), 1);
    let lib = Source { path: "ultravisor/src/lib.rs".into(), text: "mod a;\nmod b;\n".into() };
    let a = Source { path: "ultravisor/src/a.rs".into(), text: "use crate::b::B;\n".into() };
    assert_eq!(arrows::check("ultravisor", &[lib, a]).len(), 1);
    let manifest =
        ("firmware".to_owned(), "[dependencies]\nhost-sim.workspace = true\n".to_owned());
    assert_eq!(arrows::strangers(&[manifest]).len(), 1);
    assert!(map::print(&[bad("//! What it is. And more.\n")]).contains("What it is\n"));
}
