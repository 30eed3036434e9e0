//! The thread's claims, settled: what the scenarios of a selection find, and whether their runs
//! bear it out.

use crate::scenario::argument::{Argument, FindingWord};
use crate::scenario::plan::Plan;
use crate::verdict::Verdict;
use serde::Serialize;
use std::collections::BTreeMap;

/// What is found about one claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Settled {
    /// Its number in the list of the thread's claims.
    pub number: u8,
    /// What is found.
    pub finding: FindingWord,
    /// The condition of `qualified`, or the reason of `not_measurable`.
    pub condition: Option<String>,
    /// Whether every run that was selected bears it out.
    pub holds: bool,
    /// Who said it, and when.
    pub by: String,
    /// The claim, in one sentence.
    pub says: String,
    /// The scenarios that settle it.
    pub scenarios: Vec<String>,
}

/// All claims of a selection.
#[derive(Clone, Debug, Default)]
pub struct Debate(BTreeMap<u8, Settled>);

impl Debate {
    /// Hears one run: what its own scenario says of it (policies have no say in a claim), or `None`
    /// if it did not come back. What fails as listed was expected to.
    pub fn hear(&mut self, plan: &Plan, own: Option<Verdict>) {
        let Some(argument) = plan.claim.as_deref() else { return };
        let settled = self.0.entry(argument.number).or_insert_with(|| first(argument));
        let bears_out = match own {
            Some(Verdict::Pass | Verdict::ExpectedFailure) => true,
            Some(Verdict::None) => settled.finding == FindingWord::NotMeasurable,
            Some(Verdict::Fail) | None => false,
        };
        settled.holds &= bears_out;
        if settled.scenarios.last() != Some(&plan.scenario) {
            settled.scenarios.push(plan.scenario.clone());
        }
    }

    /// The claims by number.
    pub fn settled(self) -> Vec<Settled> {
        self.0.into_values().collect()
    }
}

fn first(argument: &Argument) -> Settled {
    Settled {
        number: argument.number,
        finding: argument.finding.word(),
        condition: argument.finding.text().map(str::to_owned),
        holds: true,
        by: argument.by.clone(),
        says: argument.says.clone(),
        scenarios: Vec::new(),
    }
}
