//! `uvsim compare`: plans through the suite and the proofs into one table.

use crate::arguments::{CompareArgs, TableFormat};
use crate::compare::{Comparison, Sample, Terms};
use crate::escape;
use crate::output::compare_json::{Frame, Report};
use crate::output::{compare_text, human, json, words};
use crate::policy::{self, Court};
use crate::proof::{self, Acting, Tried};
use crate::scenario::design::{Design, natural_order};
use crate::scenario::diagnostics::nearest;
use crate::scenario::plan::Plan;
use crate::scenario::policy::Policy;
use crate::scenario::select::{Planned, Selection};
use crate::streams::{Out, Repeats, Style, Talk, exit, nothing_selected, progress_bar, repeat};
use crate::suite::{self, Done, Pace, Runner, Trouble};
use crate::tally::Tally;
use crate::verdict::{Judged, Verdict};
use jiff::civil::Date;
use std::collections::BTreeMap;

/// Unexpected runs that are named.
const TOLD_MAX: usize = 10;

/// One `uvsim compare`.
pub struct Comparing<'a> {
    /// Its arguments.
    pub arguments: &'a CompareArgs,
    /// What was selected; runs without a design are not compared.
    pub selection: &'a Selection,
    /// The policies that judge it too.
    pub policies: &'a [Policy],
    /// The day by which their waivers do.
    pub today: Date,
    /// How it looks.
    pub style: Style,
}

/// What the suite left.
#[derive(Default)]
struct Found {
    /// By number in the selection.
    judged: BTreeMap<usize, Judged>,
    total: usize,
    tally: Tally,
    talk: Vec<String>,
}

impl Comparing<'_> {
    /// Runs everything, proves, and says what to exit with.
    pub fn run(&self, runner: Runner<'_>, out: &mut Out<'_>, talk: &mut Talk<'_>) -> u8 {
        let runs: Vec<&Planned> =
            self.selection.runs.iter().filter(|run| run.plan.design.is_some()).collect();
        if runs.is_empty() {
            if !self.selection.runs.is_empty() {
                talk.say("no run of the selection has a design, so there is nothing to compare\n");
            }
            return nothing_selected(&self.arguments.chosen, self.selection, talk);
        }
        let base = match self.base(&runs) {
            Ok(base) => base,
            Err(why) => {
                talk.say(&why);
                return exit::USAGE;
            }
        };
        let mut court =
            Court::new(self.policies, self.today).partial(self.arguments.chosen.is_partial());
        let mut found = self.run_all(&runs, runner, &mut court);
        let acting = self.prove(&runs, &mut found, runner);
        court.close(&acting);
        let samples = samples(&runs, &mut found, &court);
        let heads = court.heads();
        let terms = Terms { rules: &heads, acting: &acting, base };
        let comparison = Comparison::new(&samples, terms);
        found.tally.wrong_designs = comparison.wrong_designs();
        self.tell_unexpected(&runs, &samples, &mut found);
        self.conclude(&comparison, &court, &found, (out, talk))
    }

    /// The design that `--base` means, if it is among the runs.
    fn base<'r>(&self, runs: &[&'r Planned]) -> Result<Option<&'r str>, String> {
        let Some(wanted) = &self.arguments.base else { return Ok(None) };
        let mut names: Vec<&str> =
            runs.iter().filter_map(|run| run.plan.design.as_deref()).collect();
        names.sort_by(|one, other| natural_order(one, other));
        names.dedup();
        let found = names.iter().copied().find(|name| Design::is_called(name, wanted));
        found.map(Some).ok_or_else(|| {
            let near = nearest(wanted, names.iter().copied())
                .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let text = format!("error: --base: no run has the design `{wanted}`{near}\n");
            escape::block(&text)
        })
    }

    fn run_all(&self, runs: &[&Planned], runner: Runner<'_>, court: &mut Court<'_>) -> Found {
        let mut found = Found { total: runs.len(), ..Found::default() };
        let bar = progress_bar(self.style, runs.len(), "runs");
        let plans: Vec<&Plan> = runs.iter().map(|run| &run.plan).collect();
        suite::run(&plans, self.pace(), runner, |number, done| {
            let id = escape::terminal(&plans[number].id);
            match done {
                Done::Judged(judged) => {
                    let (log, judged) = *judged;
                    court.hear(number, plans[number], &log, &judged);
                    found.judged.insert(number, judged);
                }
                Done::NotRun(why) => {
                    found.tally.unjudged += 1;
                    let why = escape::terminal_cut(&why, 400);
                    found.talk.push(format!("could not run {id}: {why}\n"));
                }
                Done::Panicked(why) => {
                    found.tally.panicked += 1;
                    let why = escape::terminal_cut(&why, 400);
                    found.talk.push(format!("bug in uvsim: {why} (run {id})\n"));
                }
            }
            bar.inc(1);
        });
        bar.finish_and_clear();
        found
    }

    fn prove(
        &self,
        runs: &[&Planned],
        found: &mut Found,
        runner: Runner<'_>,
    ) -> BTreeMap<String, Acting> {
        let tried: Vec<Tried<'_>> = found
            .judged
            .iter()
            .map(|(number, judged)| {
                let Planned { plan, origin, .. } = runs[*number];
                Tried { plan, origin, outcome: judged.outcome }
            })
            .collect();
        let mut trouble = Trouble::default();
        let acting = proof::prove(&tried, &mut |plans| {
            suite::outcomes(plans, self.pace(), runner, &mut trouble)
        });
        found.tally.panicked += trouble.bugs.len();
        found.tally.unjudged += trouble.not_run.len();
        found.talk.extend(trouble.lines());
        acting
    }

    fn pace(&self) -> Pace {
        Pace::new(self.arguments.jobs, self.arguments.wall_clock)
    }

    /// Names the runs that are not as expected: `run` explains them.
    fn tell_unexpected(&self, runs: &[&Planned], samples: &[Sample<'_>], found: &mut Found) {
        let failed: Vec<&Sample<'_>> =
            samples.iter().filter(|one| one.judged.verdict == Verdict::Fail).collect();
        let compares = Court::new(self.policies, self.today).waits();
        let what = if compares { Repeats::Scenario } else { Repeats::Run };
        for sample in failed.iter().take(TOLD_MAX) {
            let id = &sample.plan.id;
            let Some(run) = runs.iter().find(|run| run.plan.id == *id) else { continue };
            let more = repeat(run, what, self.arguments.chosen.seed);
            let more = human::under(&more, self.policies, self.arguments.judging.today);
            found.talk.push(format!(
                "NOT as expected: {}\n  more  {}\n",
                escape::terminal(id),
                escape::terminal(&more)
            ));
        }
        if failed.len() > TOLD_MAX {
            found.talk.push(format!("... and {} more\n", failed.len() - TOLD_MAX));
        }
    }

    fn conclude(
        &self,
        comparison: &Comparison,
        court: &Court<'_>,
        found: &Found,
        (out, talk): (&mut Out<'_>, &mut Talk<'_>),
    ) -> u8 {
        let CompareArgs { metrics, format, chosen, .. } = self.arguments;
        let metrics: Vec<_> = metrics.iter().map(|metric| metric.0).collect();
        let runs = found.total;
        let code = found.tally.exit_code(false);
        let (warnings, today) = (court.notices(), self.today.to_string());
        let judged_by = human::policies(self.policies, &today);
        match format {
            TableFormat::Text => {
                out.print(&judged_by);
                out.print(&compare_text::text(comparison, &metrics));
            }
            TableFormat::Md => out.print(&compare_text::markdown(comparison, &metrics)),
            TableFormat::Json => {
                let frame = Frame {
                    seed: chosen.seed,
                    inputs: &self.selection.inputs,
                    exit_code: code,
                    today: (!self.policies.is_empty()).then_some(today.as_str()),
                    warnings: &warnings,
                };
                let mut bytes = Vec::new();
                json::write_pretty(&mut bytes, &Report::new(comparison, frame))
                    .expect("a Vec takes everything");
                out.print(&String::from_utf8_lossy(&bytes));
            }
        }
        found.talk.iter().for_each(|line| talk.say(line));
        for warning in &warnings {
            talk.say(&words::wrapped("warning: ", &escape::terminal(warning)));
        }
        let last = format!("exit {code}: {}", found.tally.reason(runs, code));
        let last = words::wrapped("", &last);
        match format {
            TableFormat::Text => out.print(&last),
            // What was asked for is data alone.
            TableFormat::Md | TableFormat::Json => talk.say(&last),
        }
        code
    }
}

/// The runs with the last word about each.
fn samples<'r>(runs: &[&'r Planned], found: &mut Found, court: &Court<'_>) -> Vec<Sample<'r>> {
    let mut samples = Vec::new();
    for (number, mut judged) in std::mem::take(&mut found.judged) {
        let rulings = court.rulings(number);
        judged.verdict = policy::overall(&judged, &rulings);
        found.tally.count(judged.verdict, judged.unjudged);
        let Planned { plan, origin, .. } = &runs[number];
        samples.push(Sample { plan, judged, rulings, compares: origin.prove });
    }
    samples
}
