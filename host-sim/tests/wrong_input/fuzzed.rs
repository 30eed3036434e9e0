//! What fuzzing starts from and what it found: every file of the fuzzer's corpora goes through its
//! target, without the fuzzer.

use crate::targets::TARGETS;
use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Below this crate, where tests run: a folder for each target.
const CORPORA: &str = "fuzz/corpus";

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

#[test]
fn what_fuzzing_found_stays_fixed() {
    let mut wrong = Vec::new();
    for (name, target) in TARGETS {
        let files = entries(&Path::new(CORPORA).join(name));
        assert!(files.len() >= 3, "{name} starts from {} files", files.len());
        for file in files {
            let input = fs::read(&file).expect("it can be read");
            if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
                wrong.push(file.display().to_string());
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_corpus_has_its_target() {
    let names: BTreeSet<PathBuf> =
        TARGETS.iter().map(|(name, _)| Path::new(CORPORA).join(name)).collect();
    assert_eq!(entries(Path::new(CORPORA)).into_iter().collect::<BTreeSet<_>>(), names);
}
