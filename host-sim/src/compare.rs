//! Designs against demands: the runs of a selection, grouped by design, as one table's numbers. All
//! are integers, or hundredths of integers; how they look is the outputs' business.

mod factor;

use crate::counters::{Counter, Counters, Phase};
use crate::outcome::Outcome;
use crate::policy::Ruling;
use crate::proof::{self, Acting};
use crate::scenario::design::natural_order;
use crate::scenario::plan::Plan;
use crate::scenario::policy::{Level, Policy, Rule};
use crate::verdict::{Judged, Verdict};
use serde::Serialize;
use std::collections::BTreeMap;

/// One run of the selection that came back.
#[derive(Debug)]
pub struct Sample<'a> {
    /// What was run.
    pub plan: &'a Plan,
    /// How it came out.
    pub judged: Judged,
    /// What the rules say.
    pub rulings: Vec<Ruling>,
    /// Whether its figures compare designs: its scenario does not say `prove: false`.
    pub compares: bool,
}

impl Sample<'_> {
    /// Whether all of its work is verified: only then its costs are those of the work.
    fn worked(&self) -> bool {
        match self.judged.outcome {
            Outcome::Clean | Outcome::Slow => true,
            Outcome::Unsupported
            | Outcome::Leaked
            | Outcome::Corrupted
            | Outcome::Tampered
            | Outcome::Crashed
            | Outcome::Stuck
            | Outcome::Failed
            | Outcome::Refused => false,
        }
    }

    fn steady(&self, counter: Counter) -> u64 {
        self.judged.counters.get(counter, Phase::Steady)
    }
}

/// What one rule says about one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// Runs in which it holds.
    pub pass: usize,
    /// Runs in which it does not.
    pub fail: usize,
    /// Runs in which it does not and is waived.
    pub waived: usize,
}

/// The head of a rule's column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleHead {
    /// The policy's name.
    pub policy: String,
    /// The rule's id.
    pub rule: String,
    /// What it demands.
    pub title: String,
    /// What follows if it does not hold.
    pub level: Level,
}

/// Sums over the runs of a row whose work is verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    /// How many runs these are.
    pub runs: u64,
    /// Each counter by phase; what is absent is 0.
    sums: BTreeMap<(Phase, Counter), u64>,
}

impl Costs {
    fn of<'a>(samples: impl IntoIterator<Item = &'a Sample<'a>>) -> Self {
        let mut costs = Self::default();
        for sample in samples {
            costs.runs += 1;
            for phase in Phase::ALL {
                for counter in Counter::ALL {
                    let value = sample.judged.counters.get(*counter, phase);
                    if value > 0 {
                        let sum = costs.sums.entry((phase, *counter)).or_default();
                        *sum = sum.saturating_add(value);
                    }
                }
            }
        }
        costs
    }

    /// One counter in one phase.
    pub fn get(&self, counter: Counter, phase: Phase) -> u64 {
        self.sums.get(&(phase, counter)).copied().unwrap_or(0)
    }

    /// Several counters together.
    pub fn sum(&self, counters: &[Counter], phase: Phase) -> u64 {
        counters.iter().map(|counter| self.get(*counter, phase)).fold(0, u64::saturating_add)
    }

    /// Requests completed in steady state.
    pub fn requests(&self) -> u64 {
        self.get(Counter::Requests, Phase::Steady)
    }

    /// Hundredths of `counters` per request in steady state; `None` without requests.
    pub fn per_request(&self, counters: &[Counter]) -> Option<u64> {
        hundredths(self.sum(counters, Phase::Steady), self.requests())
    }

    /// Hundredths of `counters` per run in initialisation; `None` without runs.
    pub fn init_per_run(&self, counters: &[Counter]) -> Option<u64> {
        hundredths(self.sum(counters, Phase::Init), self.runs)
    }
}

/// `part / whole` in hundredths, rounded down; `None` if `whole` is 0.
pub fn hundredths(part: u64, whole: u64) -> Option<u64> {
    let exact = (u128::from(part) * 100).checked_div(u128::from(whole))?;
    Some(u64::try_from(exact).unwrap_or(u64::MAX))
}

/// A group of designs that no run can tell apart.
#[derive(Clone, Debug)]
pub struct Row {
    /// Their names, in order.
    pub designs: Vec<String>,
    /// Whether its runs only say what would follow if pages were not sealed.
    pub what_if: bool,
    /// Runs of each design of the group.
    pub runs: usize,
    /// How many of them came out how, worst first.
    pub outcomes: BTreeMap<Outcome, usize>,
    /// Who must act; `None` for a what-if.
    pub acting: Option<Acting>,
    /// What the work costs.
    pub costs: Costs,
    /// Modelled time against the best (or the base) on the same runs, in hundredths.
    pub factor: Option<u64>,
    /// One for each rule; `None`: it covers none of the runs.
    pub marks: Vec<Option<Mark>>,
}

/// The whole table.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The rows: real ones first, designs in natural order.
    pub rows: Vec<Row>,
    /// The heads of the rules' columns.
    pub rules: Vec<RuleHead>,
    /// The design that factors are against; `None`: the best of each run.
    pub base: Option<String>,
}

/// What the rows are made from, besides the samples.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The rules that judged.
    pub rules: &'a [(&'a Policy, &'a Rule)],
    /// Who must act, by design.
    pub acting: &'a BTreeMap<String, Acting>,
    /// `--base`.
    pub base: Option<&'a str>,
}

impl Comparison {
    /// Groups `samples` by design; runs without one are left out. Outcomes and costs are those of
    /// the runs that compare, rules are about all; a design without a run that compares has no row,
    /// unless no run at all does.
    pub fn new(samples: &[Sample<'_>], terms: Terms<'_>) -> Self {
        let any_compares = samples.iter().any(|sample| sample.compares);
        let counts = |run: &Sample<'_>| run.compares || !any_compares;
        let mut by_design: BTreeMap<(bool, &str), Vec<&Sample<'_>>> = BTreeMap::new();
        for sample in samples {
            if let Some(design) = &sample.plan.design {
                let key = (sample.plan.what_if(), design.as_str());
                by_design.entry(key).or_default().push(sample);
            }
        }
        let factors = factor::Factors::new(samples, terms.base);
        let mut rows: Vec<(Row, Vec<&Sample<'_>>)> = Vec::new();
        for ((what_if, design), runs) in by_design {
            let main: Vec<&Sample<'_>> = runs.iter().copied().filter(|run| counts(run)).collect();
            if main.is_empty() {
                continue;
            }
            let mut row = row((what_if, design), &main, &factors, terms);
            row.marks =
                terms.rules.iter().map(|(policy, rule)| mark(&runs, policy, rule)).collect();
            let twin = rows.iter_mut().find(|(other, theirs)| {
                other.what_if == what_if && other.acting == row.acting && are_twins(theirs, &runs)
            });
            match twin {
                Some((other, _)) => other.designs.push(design.to_owned()),
                None => rows.push((row, runs)),
            }
        }
        let mut rows: Vec<Row> = rows.into_iter().map(|(row, _)| row).collect();
        for row in &mut rows {
            row.designs.sort_by(|one, other| natural_order(one, other));
        }
        rows.sort_by(|one, other| {
            let names = natural_order(&one.designs[0], &other.designs[0]);
            one.what_if.cmp(&other.what_if).then(names)
        });
        let heads = terms.rules.iter().map(|(policy, rule)| RuleHead {
            policy: policy.name.clone(),
            rule: rule.id.clone(),
            title: rule.title.clone(),
            level: rule.level,
        });
        Self { rows, rules: heads.collect(), base: terms.base.map(str::to_owned) }
    }

    /// Designs whose file claims less than they were seen to need.
    pub fn wrong_designs(&self) -> usize {
        let wrong = self
            .rows
            .iter()
            .filter(|row| row.acting.as_ref().is_some_and(|acting| !acting.unclaimed.is_empty()));
        wrong.map(|row| row.designs.len()).sum()
    }
}

fn row(
    (what_if, design): (bool, &str),
    runs: &[&Sample<'_>],
    factors: &factor::Factors,
    terms: Terms<'_>,
) -> Row {
    let mut outcomes = BTreeMap::new();
    for run in runs {
        *outcomes.entry(run.judged.outcome).or_insert(0) += 1;
    }
    let worked = runs.iter().copied().filter(|run| run.worked());
    Row {
        designs: vec![design.to_owned()],
        what_if,
        runs: runs.len(),
        outcomes,
        acting: terms.acting.get(design).filter(|_| !what_if).cloned(),
        costs: Costs::of(worked),
        factor: factors.of(runs),
        marks: Vec::new(),
    }
}

fn mark(runs: &[&Sample<'_>], policy: &Policy, rule: &Rule) -> Option<Mark> {
    let mut mark = Mark::default();
    let rulings = runs.iter().flat_map(|run| &run.rulings);
    for ruling in rulings.filter(|one| one.policy == policy.name && one.rule == rule.id) {
        match ruling.verdict {
            Verdict::Pass => mark.pass += 1,
            Verdict::Fail => mark.fail += 1,
            Verdict::ExpectedFailure => mark.waived += 1,
            Verdict::None => (),
        }
    }
    (mark != Mark::default()).then_some(mark)
}

/// Whether two designs come out the same, in all that is counted, wherever both were run; and that
/// is wherever runs compare.
fn are_twins(one: &[&Sample<'_>], other: &[&Sample<'_>]) -> bool {
    let theirs: BTreeMap<_, _> = other.iter().map(|run| (proof::cell(run.plan), *run)).collect();
    let ours: BTreeMap<_, _> = one.iter().map(|run| (proof::cell(run.plan), *run)).collect();
    let both = ours.iter().filter_map(|(cell, run)| Some((run, theirs.get(cell)?)));
    let compared = |runs: &BTreeMap<_, &Sample<'_>>, in_both: &BTreeMap<_, &Sample<'_>>| {
        runs.iter().all(|(cell, run)| !run.compares || in_both.contains_key(cell))
    };
    let mut met = both.map(|(run, twin)| is_same_result(&run.judged, &twin.judged)).peekable();
    met.peek().is_some()
        && met.all(|same| same)
        && compared(&ours, &theirs)
        && compared(&theirs, &ours)
}

fn is_same_result(one: &Judged, other: &Judged) -> bool {
    let values = |counters: &Counters| -> Vec<u64> {
        let phases = Phase::ALL.into_iter();
        let all =
            phases.flat_map(|phase| Counter::ALL.iter().map(move |counter| (phase, *counter)));
        all.map(|(phase, counter)| counters.get(counter, phase)).collect()
    };
    one.findings == other.findings
        && values(&one.counters) == values(&other.counters)
        && one.counters.touches().eq(other.counters.touches())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_hundredths_rounded_down_and_nothing_of_nothing_is_none() {
        assert_eq!((hundredths(1, 3), hundredths(7, 0)), (Some(33), None));
        assert_eq!(hundredths(u64::MAX, 1), Some(u64::MAX));
    }
}
