//! Known failures: checks of a scenario that are listed to fail, strictly, in some of its runs.

use super::claims::{self, Conditional};
use super::codes::Code;
use super::matrix::{self, Axis, AxisFile, Value};
use super::plan::KnownFailure;
use super::reading::{At, Located, Reader};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// One of `known_failures: [...]` as the file says it.
#[derive(Debug, Deserialize)]
#[serde(rename = "known_failure", deny_unknown_fields)]
#[expect(missing_docs, reason = "documented at `KnownFailure`, where they lead to")]
pub struct KnownFile<'a> {
    #[serde(borrow)]
    pub check: Located<'a, String>,
    #[serde(borrow, default)]
    pub when: Vec<Located<'a, AxisFile<'a>>>,
    #[serde(borrow)]
    pub why: Located<'a, String>,
}

/// One entry with the runs that it is about.
#[derive(Clone, Debug)]
pub struct Entry {
    failure: KnownFailure,
    when: Vec<Axis>,
    span: Range<usize>,
}

/// Reads `known_failures:` of a scenario with these checks and axes.
pub fn read<'a>(
    reader: &mut Reader<'a>,
    list: Vec<Located<'a, KnownFile<'a>>>,
    checks: &[Conditional],
    axes: &[Axis],
) -> Vec<Entry> {
    let mut entries = Vec::new();
    for item in list {
        let Some(At { value: KnownFile { check, when, why }, span }) = reader.take(item) else {
            continue;
        };
        let check = check_called(reader, check, checks);
        let when = claims::conditions(reader, when, axes);
        let why = reader.take(why).filter(|why| {
            let is_said = !why.value.trim().is_empty();
            if !is_said {
                let message = "`why` is empty: say why it fails".to_owned();
                reader.fault(Code::NO_ABOUT, &why.span, message, None);
            }
            is_said
        });
        if let (Some(check), Some(why)) = (check, why) {
            let failure = KnownFailure { check, why: why.value };
            entries.push(Entry { failure, when, span });
        }
    }
    entries
}

fn check_called<'a>(
    reader: &mut Reader<'a>,
    name: Located<'a, String>,
    checks: &[Conditional],
) -> Option<String> {
    let At { value, span } = reader.take(name)?;
    let ids = || checks.iter().map(Conditional::id);
    if ids().any(|id| id == value) {
        return Some(value);
    }
    reader.unknown(&span, &format!("`expect` has no check `{value}`"), &value, ids());
    None
}

/// Refuses entries that are about no run at all: they would excuse nothing for ever.
pub fn check(
    reader: &mut Reader<'_>,
    entries: &[Entry],
    checks: &[Conditional],
    axes: &[Axis],
    runs: usize,
) {
    for entry in entries {
        let is_about = |number| entry.is_about(checks, &matrix::combination(axes, number));
        if !(0..runs).any(is_about) {
            let check = &entry.failure.check;
            let message = format!("there is no run in which `{check}` is both checked and known");
            reader.fault(Code::CONTRADICTION, &entry.span, message, None);
        }
    }
}

/// Refuses a second entry about a check in a run that another is about: nobody would read it.
pub fn check_twice(reader: &mut Reader<'_>, entries: &[Entry], axes: &[Axis], runs: usize) {
    let mut told = BTreeSet::new();
    for number in 0..runs {
        let cell = matrix::combination(axes, number);
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        let here = entries.iter().enumerate();
        for (at, entry) in here.filter(|(_, entry)| claims::is_met(&entry.when, &cell)) {
            let check = entry.failure.check.as_str();
            if seen.insert(check, at).is_some() && told.insert(at) {
                let message = format!("`{check}` is known to fail already in one of these runs");
                let help = Some("keep one of the two, or narrow its `when:`".to_owned());
                reader.fault(Code::DUPLICATE, &entry.span, message, help);
            }
        }
    }
}

impl Entry {
    fn is_about(&self, checks: &[Conditional], cell: &[(&'static str, &Value)]) -> bool {
        let checked =
            |check: &Conditional| check.id() == self.failure.check && check.is_about(cell);
        claims::is_met(&self.when, cell) && checks.iter().any(checked)
    }
}

/// The known failures of one run.
pub fn of_run(
    entries: &[Entry],
    checks: &[Conditional],
    cell: &[(&'static str, &Value)],
) -> Vec<KnownFailure> {
    let here = entries.iter().filter(|entry| entry.is_about(checks, cell));
    here.map(|entry| entry.failure.clone()).collect()
}
