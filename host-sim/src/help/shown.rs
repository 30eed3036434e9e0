//! What the shipped scenarios are about: which of them shows a design, an outcome, a counter.

use crate::outcome::Outcome;
use crate::scenario::argument::{ArgumentFile, Finding};
use crate::scenario::diagnostics::SourceText;
use crate::scenario::expect::ExpectFile;
use crate::scenario::file::ScenarioFile;
use crate::scenario::head::{self, Head};
use crate::scenario::matrix::AxisFile;
use crate::scenario::reading::{Located, Reader};
use crate::shipped;
use std::sync::Arc;

/// What one shipped scenario is about, as its text says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Its path below `scenarios/`.
    pub path: String,
    /// Its name: the beginning of its runs' ids.
    pub name: String,
    /// Its sentence.
    pub about: String,
    /// The designs that it names.
    pub designs: Vec<String>,
    /// The outcomes that it expects.
    pub outcomes: Vec<Outcome>,
    /// The counters that it expects something of.
    pub counters: Vec<String>,
    /// The thread's claim that it settles.
    pub claim: Option<Claim>,
}

/// What a scenario says about a claim of the thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its number.
    pub number: u8,
    /// Who said it, and when.
    pub by: String,
    /// The claim.
    pub says: String,
    /// What is found.
    pub finding: Finding,
}

/// The shipped scenarios, in path order.
pub fn scenarios() -> Vec<About> {
    shipped::FILES.iter().filter_map(|(path, text)| about(path, text)).collect()
}

fn about(path: &str, text: &str) -> Option<About> {
    let source = Arc::new(SourceText { path: path.to_owned(), text: text.to_owned() });
    if head::kind(&source).ok()? != Head::Scenario {
        return None;
    }
    let mut reader = Reader::new(&source);
    let file: ScenarioFile<'_> = reader.whole()?;
    let mut about = About {
        path: path.to_owned(),
        name: reader.take(file.name)?.value,
        about: reader.take(file.about)?.value,
        designs: reader.take_if(file.design).map(|design| design.value).into_iter().collect(),
        ..About::default()
    };
    about.claim = reader.take_if(file.claim).and_then(|claim| read_claim(&mut reader, claim.value));
    let axes = reader.take_if(file.matrix).map_or_else(Vec::new, |list| list.value);
    for axis in axes {
        let Some(axis) = reader.take(axis) else { continue };
        if let AxisFile::Design(names) = axis.value {
            about.designs.extend(take_all(&mut reader, names));
        }
    }
    let expected = reader.take_if(file.expect).map_or_else(Vec::new, |list| list.value);
    for expectation in take_all(&mut reader, expected) {
        match expectation {
            ExpectFile::Outcome { is, .. } => about.outcomes.push(is),
            ExpectFile::OutcomeIn { is, .. } => about.outcomes.extend(is),
            ExpectFile::Finding { has, .. } => about.outcomes.push(has),
            ExpectFile::Count { counter, .. } => {
                about.counters.extend(reader.take(counter).map(|counter| counter.value));
            }
            ExpectFile::Ended { .. }
            | ExpectFile::Touches { .. }
            | ExpectFile::Reports { .. }
            | ExpectFile::Says { .. }
            | ExpectFile::Never { .. }
            | ExpectFile::SameView { .. } => (),
        }
    }
    Some(about)
}

fn read_claim<'a>(reader: &mut Reader<'a>, file: ArgumentFile<'a>) -> Option<Claim> {
    Some(Claim {
        number: reader.take(file.number)?.value,
        by: reader.take(file.by)?.value,
        says: reader.take(file.says)?.value,
        finding: reader.take(file.finding)?.value,
    })
}

fn take_all<'a, T>(reader: &mut Reader<'a>, list: Vec<Located<'a, T>>) -> Vec<T> {
    list.into_iter().filter_map(|item| reader.take(item)).map(|at| at.value).collect()
}

/// Scenarios named on one page; more would hide the rest.
const NAMED_MAX: usize = 6;

/// The scenarios that `shows` takes, as a section of a page; `None` if there is none.
pub fn by(shows: impl Fn(&About) -> bool) -> Option<String> {
    let found: Vec<About> = scenarios().into_iter().filter(shows).collect();
    let mut lines: Vec<String> = found
        .iter()
        .take(NAMED_MAX)
        .map(|about| format!("scenarios/{}: {}", about.path, about.about))
        .collect();
    if found.len() > NAMED_MAX {
        lines.push(format!("and {} more", found.len() - NAMED_MAX));
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}
