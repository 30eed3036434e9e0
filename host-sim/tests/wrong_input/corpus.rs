//! The corpus of wrong files: each with the message that it gets, word for word. BLESS=1 rewrites
//! the messages; read them aloud before you keep them.

use crate::rig::{self, Ran, compare};
use std::fs;
use std::path::Path;

/// Below this crate, where tests run: so the messages show a path that can be typed.
const FOLDER: &str = "tests/wrong_input/files";

fn names() -> Vec<String> {
    let entries = fs::read_dir(FOLDER).expect("the corpus is there");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ron"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    names
}

/// What a good message has whatever its words: a code, the same in every form, and no more than a
/// terminal can take.
fn is_told_in_every_form(path: &str, told: &Ran) -> Result<(), String> {
    let narrated = rig::uvsim(&["check", "--plain", path]);
    let json = rig::uvsim(&["check", "--errors", "json", path]);
    let codes = |text: &str, before: &str, after: char| -> Vec<String> {
        let found = text.split(before).skip(1).filter_map(|rest| rest.split(after).next());
        found.map(str::to_owned).collect()
    };
    let wanted = codes(&narrated.err, "error[", ']');
    let faults: Vec<serde_json::Value> = json
        .err
        .lines()
        .map(|line| serde_json::from_str(line).map_err(|why| format!("{why}: {line}")))
        .collect::<Result<_, _>>()?;
    let found: Vec<&str> = faults.iter().filter_map(|fault| fault["code"].as_str()).collect();
    let pictured = wanted.iter().all(|code| told.err.contains(code.as_str()));
    let inert = |ran: &Ran| !ran.err.chars().any(|c| c != '\n' && host_sim::escape::is_active(c));
    let placed = |fault: &serde_json::Value| {
        let is_empty = fs::read(path).is_ok_and(|text| text.is_empty());
        let has_place = fault["line"].as_u64() >= Some(1) && fault["column"].as_u64() >= Some(1);
        fault["file"] == path && (has_place || is_empty)
    };
    let same_code = [&narrated, &json].iter().all(|ran| ran.code == told.code);
    for (holds, what) in [
        (told.code == 3, "it exits with 3"),
        (same_code, "every form exits alike"),
        (!wanted.is_empty() && found == wanted, "JSON has the codes of the sentences"),
        (pictured, "the pictures have the codes of the sentences"),
        (told.err.is_ascii(), "without UTF-8 the pictures are ASCII"),
        ([told, &narrated, &json].into_iter().all(inert), "nothing speaks to a terminal"),
        (faults.iter().all(placed), "each fault has file, line and column"),
        (told.out.is_empty(), "stdout is empty"),
    ] {
        if !holds {
            return Err(format!(
                "{path}: not so: {what}\n{}{}{}",
                told.err, narrated.err, json.err
            ));
        }
    }
    Ok(())
}

#[test]
fn every_wrong_file_gets_the_message_that_was_read_aloud() {
    let names = names();
    assert!(names.len() >= 120, "{} files", names.len());
    let mut wrong = Vec::new();
    for name in &names {
        let path = format!("{FOLDER}/{name}.ron");
        let told = rig::uvsim(&["check", &path]);
        wrong.extend(is_told_in_every_form(&path, &told).err());
        wrong.extend(compare(&Path::new(FOLDER).join(format!("{name}.txt")), &told.shown()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_message_belongs_to_a_file() {
    let names = names();
    for entry in fs::read_dir(FOLDER).expect("the corpus is there") {
        let path = entry.expect("an entry").path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        assert!(names.contains(&stem), "{} has no file", path.display());
    }
}

#[test]
fn the_whole_corpus_at_once_is_refused_file_by_file() {
    let told = rig::uvsim(&["check", "--plain", FOLDER]);
    assert_eq!(told.code, 3);
    assert!(told.err.contains("... and "), "more faults than are shown are counted");
    assert!(told.err.contains("faults in the input, nothing was judged"), "{}", told.err);
}
