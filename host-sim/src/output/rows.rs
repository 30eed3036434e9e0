//! One run as every report file tells it, and all of them with what the process will say.

use super::json;
use crate::outcome::Outcome;
use crate::policy::Ruling;
use crate::scenario::places::Places;
use crate::verdict::Verdict;
use std::sync::Arc;

/// One run of the selection, in its order.
#[derive(Clone, Debug)]
pub struct Row {
    /// The run id.
    pub id: String,
    /// The scenario's file, as shown.
    pub file: String,
    /// The scenario's name.
    pub scenario: String,
    /// The design's name, if it has one.
    pub design: Option<String>,
    /// The values of the matrix, in its order.
    pub axes: Vec<(String, String)>,
    /// The command that repeats it.
    pub repeat: String,
    /// Where its expectations stand.
    pub places: Arc<Places>,
    /// How it came back.
    pub end: End,
}

/// How a run came back.
#[derive(Clone, Debug)]
pub enum End {
    /// It ran and was judged.
    Judged(Box<json::Run>),
    /// It ran, but the scenario says nothing about it.
    Unjudged(Box<json::Run>),
    /// It could not start, for this reason.
    NotRun(String),
    /// A bug of ours, with its message.
    Bug(String),
}

/// What a report says of a run, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// A bug of ours.
    Bug,
    /// No verdict.
    NoVerdict,
    /// Not as expected.
    Failed,
    /// Fails, as is known.
    ExpectedFailure,
    /// Nothing was expected.
    NotAsked,
    /// As expected.
    Passed,
}

impl State {
    /// The word for it in tables.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Bug => "bug",
            Self::NoVerdict => "no verdict",
            Self::Failed => "FAIL",
            Self::ExpectedFailure => "expected failure",
            Self::NotAsked => "nothing expected",
            Self::Passed => "ok",
        }
    }

    /// Whether somebody must look at it.
    pub const fn is_unexpected(self) -> bool {
        match self {
            Self::Bug | Self::NoVerdict | Self::Failed => true,
            Self::ExpectedFailure | Self::NotAsked | Self::Passed => false,
        }
    }
}

impl Row {
    /// What there is to say of it.
    pub fn state(&self) -> State {
        match &self.end {
            End::Bug(_) => State::Bug,
            End::NotRun(_) | End::Unjudged(_) => State::NoVerdict,
            End::Judged(run) => match run.verdict {
                Verdict::Pass => State::Passed,
                Verdict::Fail => State::Failed,
                Verdict::ExpectedFailure => State::ExpectedFailure,
                Verdict::None => State::NotAsked,
            },
        }
    }

    /// The result, if it ran.
    pub fn run(&self) -> Option<&json::Run> {
        match &self.end {
            End::Judged(run) | End::Unjudged(run) => Some(run),
            End::NotRun(_) | End::Bug(_) => None,
        }
    }

    /// The sentences that say why it is what it is: one for each check that does not hold. They
    /// may hold a guest's text: each sink escapes them.
    pub fn reasons(&self) -> Vec<String> {
        let run = match &self.end {
            End::Bug(why) => return vec![format!("a bug of uvsim: {why}")],
            End::NotRun(why) => return vec![format!("could not run: {why}")],
            End::Unjudged(_) => {
                return vec!["the scenario has no `expect` for this run".to_owned()];
            }
            End::Judged(run) => run,
        };
        let broken = run.checks.iter().filter(|check| match check.verdict {
            Verdict::Fail | Verdict::ExpectedFailure => true,
            Verdict::Pass | Verdict::None => false,
        });
        let checks = broken.map(|check| {
            let why = check.known.as_ref().map_or_else(String::new, |why| format!(" [{why}]"));
            format!("{}: expected {}; found {}{why}", check.id, check.expected, check.found)
        });
        let rulings = run
            .policy
            .iter()
            .filter(|ruling| ruling.denies() || ruling.verdict == Verdict::ExpectedFailure);
        checks.chain(rulings.map(Ruling::sentence)).collect()
    }

    /// Where the first expectation that does not hold stands; else where the file begins.
    pub fn place(&self) -> (usize, usize) {
        let checks = self.run().map_or(&[][..], |run| &run.checks);
        let failed = checks.iter().filter(|check| check.verdict == Verdict::Fail);
        failed.filter_map(|check| self.places.get(&check.id)).min().copied().unwrap_or((1, 1))
    }

    /// The key that puts the worst runs first; among equals the order stays.
    pub fn badness(&self) -> (State, Option<Outcome>) {
        (self.state(), self.run().map(|run| run.outcome))
    }
}

/// All runs, and what the process says of them.
#[derive(Debug)]
pub struct Results<'a> {
    /// The runs in the order of the selection.
    pub rows: &'a [Row],
    /// What is said of all of them, and those that ran.
    pub report: &'a json::Report<'a>,
    /// The last line: why the exit code is what it is.
    pub conclusion: &'a str,
}
