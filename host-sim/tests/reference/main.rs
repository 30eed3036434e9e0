//! `uvsim schema`: the references are printed from the types that files are read into, so they
//! cannot say something else. BLESS=1 rewrites them.

mod notes;
mod print;
mod types;

use host_sim::scenario::chapter::Chapter;
use host_sim::scenario::design::Design;
use host_sim::scenario::diagnostics::{Fault, SourceText};
use host_sim::scenario::policy::Policy;
use host_sim::scenario::select;
use print::Printer;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use types::{Kind, Types};

/// File, root type, what its first lines say.
const REFERENCES: [(&str, &str, &str); 4] = [
    (
        "scenario.ron",
        "ScenarioFile",
        "All that a scenario can say. No run needs more than a few of these.",
    ),
    ("design.ron", "DesignFile", "All that a design can say."),
    ("policy.ron", "PolicyFile", "All that a policy can say."),
    ("chapter.ron", "ChapterFile", "All that a chapter of the demo can say."),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/help/reference")
}

fn printed(types: &Types) -> Vec<(&'static str, String)> {
    let mut used = notes::Used::default();
    let all = REFERENCES
        .map(|(file, root, about)| (file, Printer::new(types, &mut used).whole(root, about)));
    let unused = used.unused();
    assert!(unused.is_empty(), "notes on fields that are not there: {unused:?}");
    all.into()
}

#[test]
fn the_references_say_what_the_types_say() {
    for (file, text) in printed(&types::read()) {
        let path = folder().join(file);
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, &text).expect("the reference can be written");
        }
        let found = fs::read_to_string(&path).expect("the reference is there");
        assert!(found == text, "BLESS=1 cargo test -p host-sim --test reference rewrites {file}");
        let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > 100).collect();
        assert!(wide.is_empty(), "{wide:#?}");
    }
}

/// Every field and variant that can be reached from `name`.
fn words(types: &Types, name: &str, found: &mut Vec<String>) {
    let mut shapes = Vec::new();
    match types.get(name) {
        Some(Kind::Struct(_, fields)) => {
            found.extend(fields.iter().map(|field| format!("{}:", field.name)));
            shapes.extend(fields.iter().map(|field| &field.shape));
        }
        Some(Kind::Enum(variants)) => {
            for variant in variants {
                found.push(variant.name.clone());
                match &variant.held {
                    types::Held::Nothing => (),
                    types::Held::Values(held) => shapes.extend(held),
                    types::Held::Fields(fields) => {
                        found.extend(fields.iter().map(|field| format!("{}:", field.name)));
                        shapes.extend(fields.iter().map(|field| &field.shape));
                    }
                }
            }
        }
        None => (),
    }
    for shape in shapes {
        if shape.name != name {
            words(types, &shape.name, found);
        }
    }
}

#[test]
fn every_field_and_every_word_is_in_its_reference() {
    let types = types::read();
    for (file, root, _) in REFERENCES {
        let mut types = types.clone();
        if root != "ScenarioFile" {
            // Only scenarios have axes; a policy's types have them, but a rule cannot say them.
            types.remove("AxisFile");
        }
        let text = fs::read_to_string(folder().join(file)).expect("the reference is there");
        let (mut all, mut missing) = (Vec::new(), Vec::new());
        words(&types, root, &mut all);
        assert!(all.len() > 15, "{root}: {all:?}");
        let known = |c: char| c.is_alphanumeric() || c == '_';
        for word in all {
            let there = text.match_indices(&word).any(|(at, _)| {
                let (before, after) = (&text[..at], &text[at + word.len()..]);
                !before.ends_with(known) && (word.ends_with(':') || !after.starts_with(known))
            });
            if !there {
                missing.push(word);
            }
        }
        assert!(missing.is_empty(), "{file}: {missing:?}");
    }
}

fn source(file: &str) -> Arc<SourceText> {
    let text = fs::read_to_string(folder().join(file)).expect("the reference is there");
    Arc::new(SourceText { path: file.to_owned(), text })
}

fn told(faults: &[Fault]) -> Vec<String> {
    faults
        .iter()
        .map(|fault| format!("{} {} {}", fault.code, fault.place(), fault.message))
        .collect()
}

#[test]
fn the_references_of_designs_policies_and_chapters_are_files_of_these_kinds() {
    Design::read(&source("design.ron")).unwrap_or_else(|faults| panic!("{:#?}", told(&faults)));
    Policy::read(&source("policy.ron")).unwrap_or_else(|faults| panic!("{:#?}", told(&faults)));
    Chapter::read(&source("chapter.ron")).unwrap_or_else(|faults| panic!("{:#?}", told(&faults)));
}

#[test]
fn the_reference_of_scenarios_can_be_read_and_only_says_too_much_at_once() {
    // Choices that exclude each other, files that are not there, a matrix of everything.
    const TOO_MUCH: [u16; 5] = [311, 316, 317, 411, 414];
    let faults = select::select(&[folder().join("scenario.ron")], 1).err().unwrap_or_default();
    let wrong: Vec<Fault> =
        faults.iter().filter(|fault| !TOO_MUCH.contains(&fault.code.0)).cloned().collect();
    assert!(wrong.is_empty(), "{:#?}", told(&wrong));
}

#[test]
fn a_field_without_a_comment_or_a_note_is_noticed() {
    let mut types = types::read();
    let Some(Kind::Struct(_, fields)) = types.get_mut("ScenarioFile") else { panic!("a struct") };
    let mut new = fields[0].clone();
    (new.name, new.doc) = ("shiny".to_owned(), String::new());
    fields.push(new);
    let mut used = notes::Used::default();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        Printer::new(&types, &mut used).whole("ScenarioFile", "x")
    }));
    assert!(result.is_err());
}
