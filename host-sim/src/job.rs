//! `uvsim run`: plans through the suite into lines, reports and an exit code.

use crate::arguments::RunArgs;
use crate::debate::Debate;
use crate::escape;
use crate::output::explain::{self, Explanation};
use crate::output::human::{self, Paint};
use crate::output::rows::{End, Results, Row};
use crate::output::{json, words};
use crate::policy::{self, Court};
use crate::proof::{self, Acting, Tried};
use crate::reports::Reports;
use crate::saved::Source;
use crate::scenario::plan::Plan;
use crate::scenario::policy::Policy;
use crate::scenario::select::{Planned, Selection};
use crate::streams::{Out, Repeats, Style, Talk, nothing_selected, progress_bar, repeat};
use crate::suite::{self, Done, Pace, Runner, Trouble};
use crate::tally::Tally;
use crate::verdict::{Judged, Verdict};
use indicatif::ProgressBar;
use jiff::civil::Date;
use std::collections::BTreeMap;

/// One `uvsim run`.
pub struct Job<'a> {
    /// Its arguments.
    pub arguments: &'a RunArgs,
    /// What was selected.
    pub selection: &'a Selection,
    /// The policies that judge it too.
    pub policies: &'a [Policy],
    /// The day by which their waivers do.
    pub today: Date,
    /// How it looks.
    pub style: Style,
}

/// A run that its scenario has judged and that its rules may not have.
struct Heard {
    judged: Judged,
    /// Made while the log is there, if the run may turn out unexpected.
    explanation: Option<Explanation>,
    run: Box<json::Run>,
}

/// Everything that grows while the suite runs.
struct Progress<'j, 'w, 't, 'o> {
    job: &'j Job<'j>,
    out: &'o mut Out<'w>,
    talk: &'o mut Talk<'t>,
    bar: ProgressBar,
    court: Court<'j>,
    /// By number; a rule that looks at several runs keeps all of them waiting.
    waiting: BTreeMap<usize, Heard>,
    debate: Debate,
    rows: BTreeMap<usize, Row>,
    reports: Reports,
    tally: Tally,
    any_what_if: bool,
    last_scenario: String,
}

impl Job<'_> {
    /// Runs everything and says what to exit with.
    pub fn run(&self, runner: Runner<'_>, out: &mut Out<'_>, talk: &mut Talk<'_>) -> u8 {
        let runs = &self.selection.runs;
        if runs.is_empty() {
            return nothing_selected(&self.arguments.chosen, self.selection, talk);
        }
        let mut progress = Progress {
            job: self,
            out,
            talk,
            bar: progress_bar(self.style, runs.len(), "runs"),
            court: Court::new(self.policies, self.today).partial(self.is_partial()),
            waiting: BTreeMap::new(),
            debate: Debate::default(),
            rows: BTreeMap::new(),
            reports: Reports::open(self.arguments, self.selection),
            tally: Tally::default(),
            any_what_if: runs.iter().any(|run| run.plan.what_if()),
            last_scenario: String::new(),
        };
        progress.print(&human::policies(self.policies, &self.today.to_string()));
        progress.print(&human::header());
        let plans: Vec<&Plan> = runs.iter().map(|run| &run.plan).collect();
        suite::run(&plans, self.pace(), runner, |number, done| progress.take(number, done));
        progress.settle_all(runner);
        progress.bar.finish_and_clear();
        progress.reports.finish_events();
        progress.conclude()
    }

    /// Whether runs of the selected scenarios were left out.
    fn is_partial(&self) -> bool {
        self.arguments.chosen.is_partial()
    }

    fn pace(&self) -> Pace {
        Pace::new(self.arguments.jobs, self.arguments.wall_clock)
    }
}

impl Progress<'_, '_, '_, '_> {
    fn print(&mut self, text: &str) {
        let Self { bar, out, .. } = self;
        bar.suspend(|| out.print(text));
    }

    fn take(&mut self, number: usize, done: Done) {
        let planned = &self.job.selection.runs[number];
        let plan = &planned.plan;
        match done {
            Done::Panicked(why) => {
                self.debate.hear(plan, None);
                self.panicked(planned, &why);
                self.keep(number, End::Bug(why));
            }
            Done::NotRun(why) => {
                self.debate.hear(plan, None);
                self.not_run(planned, &why);
                self.keep(number, End::NotRun(why));
            }
            Done::Judged(judged) => {
                let (log, judged) = *judged;
                self.reports.take(&self.source(planned), (plan, &log), &judged.checks);
                if self.job.arguments.console {
                    self.print(&human::console(plan, &log));
                }
                self.debate.hear(plan, Some(judged.verdict));
                self.court.hear(number, plan, &log, &judged);
                let rulings = self.court.rulings(number);
                let may_fail =
                    self.court.waits() || policy::overall(&judged, &rulings) == Verdict::Fail;
                let explanation = may_fail.then(|| explain::explain(plan, &log));
                let run = Box::new(json::Run::new(plan, &log, &judged));
                let heard = Heard { judged, explanation, run };
                if self.court.waits() {
                    self.waiting.insert(number, heard);
                } else {
                    self.settle(number, heard);
                }
            }
        }
        self.bar.inc(1);
    }

    /// Settles the runs that waited for a rule that looks at several.
    fn settle_all(&mut self, runner: Runner<'_>) {
        if !self.court.waits() {
            return;
        }
        let acting =
            if self.court.asks_who_must_act() { self.prove(runner) } else { BTreeMap::new() };
        self.court.close(&acting);
        for (number, heard) in std::mem::take(&mut self.waiting) {
            self.settle(number, heard);
        }
    }

    fn prove(&mut self, runner: Runner<'_>) -> BTreeMap<String, Acting> {
        let runs = &self.job.selection.runs;
        let tried: Vec<Tried<'_>> = self
            .waiting
            .iter()
            .map(|(number, heard)| {
                let Planned { plan, origin, .. } = &runs[*number];
                Tried { plan, origin, outcome: heard.judged.outcome }
            })
            .collect();
        let (pace, mut trouble) = (self.job.pace(), Trouble::default());
        let acting =
            proof::prove(&tried, &mut |plans| suite::outcomes(plans, pace, runner, &mut trouble));
        self.tally.panicked += trouble.bugs.len();
        self.tally.unjudged += trouble.not_run.len();
        for line in trouble.lines() {
            self.say(&line);
        }
        acting
    }

    /// The last word about a run.
    fn settle(&mut self, number: usize, heard: Heard) {
        let Heard { mut judged, explanation, mut run } = heard;
        let Planned { plan, .. } = &self.job.selection.runs[number];
        let rulings = self.court.rulings(number);
        judged.verdict = policy::overall(&judged, &rulings);
        self.tally.count(judged.verdict, judged.unjudged);
        if plan.scenario != self.last_scenario {
            self.print(&human::scenario(plan));
            self.last_scenario.clone_from(&plan.scenario);
        }
        self.print(&human::run(plan, &judged, Paint(self.job.style.out_color)));
        self.print(&human::excused(&judged, &rulings));
        if judged.verdict == Verdict::Fail {
            let more = format!("{} --report events=events.ndjson", self.more(number));
            let why = explanation.unwrap_or_default();
            let text = human::unexpected(plan, &run.ended, &judged, &rulings, (&why, &more));
            self.print(&text);
        }
        run.verdict = judged.verdict;
        run.policy = rulings;
        let is_silent = judged.unjudged && judged.verdict != Verdict::Fail;
        self.keep(number, if is_silent { End::Unjudged(run) } else { End::Judged(run) });
    }

    /// Where a run comes from, for those who read its events later.
    fn source(&self, planned: &Planned) -> Source {
        let Planned { file, .. } = planned;
        let hash = self.job.selection.inputs.get(file);
        Source {
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            repeat: repeat(planned, Repeats::Run, self.job.arguments.chosen.seed),
            inputs: hash.map(|hash| (file.clone(), hash.clone())).into_iter().collect(),
        }
    }

    /// The command that judges a run again, as it was judged here.
    fn more(&self, number: usize) -> String {
        let RunArgs { chosen, judging, .. } = self.job.arguments;
        let rulings = self.court.rulings(number);
        let is_beside_others =
            rulings.iter().any(|ruling| ruling.compares && ruling.verdict == Verdict::Fail);
        let what = if is_beside_others { Repeats::Scenario } else { Repeats::Run };
        let command = repeat(&self.job.selection.runs[number], what, chosen.seed);
        human::under(&command, self.job.policies, judging.today)
    }

    fn say(&mut self, text: &str) {
        let Self { bar, talk, .. } = self;
        bar.suspend(|| talk.say(text));
    }

    fn panicked(&mut self, planned: &Planned, why: &str) {
        self.tally.panicked += 1;
        let seed = self.job.arguments.chosen.seed;
        let text = format!(
            "bug in uvsim: {} (run {}, seed {seed})\n  repeat: {}\n",
            escape::terminal_cut(why, 400),
            escape::terminal(&planned.plan.id),
            escape::terminal(&repeat(planned, Repeats::Run, seed)),
        );
        self.say(&text);
    }

    fn not_run(&mut self, planned: &Planned, why: &str) {
        self.tally.unjudged += 1;
        let id = escape::terminal(&planned.plan.id);
        self.say(&format!("could not run {id}: {}\n", escape::terminal_cut(why, 400)));
    }

    /// Keeps a run for the reports.
    fn keep(&mut self, number: usize, end: End) {
        let repeat = self.more(number);
        let Planned { plan, file, places, .. } = &self.job.selection.runs[number];
        let row = Row {
            id: plan.id.clone(),
            file: file.clone(),
            scenario: plan.scenario.clone(),
            design: plan.design.clone(),
            axes: plan.axes.clone(),
            repeat,
            places: places.clone(),
            end,
        };
        self.rows.insert(number, row);
    }

    /// Writes the reports and the closing lines; the last says why the code is what it is.
    fn conclude(mut self) -> u8 {
        // A claim is settled by all of its runs or not at all.
        let debate = std::mem::take(&mut self.debate);
        let claims = if self.job.is_partial() { Vec::new() } else { debate.settled() };
        let rows: Vec<Row> = std::mem::take(&mut self.rows).into_values().collect();
        let warnings = self.court.notices();
        let exit_code = self.exit_code();
        let conclusion = self.reason(exit_code);
        let Job { arguments, selection, policies, today, .. } = self.job;
        let (seed, inputs) = (arguments.chosen.seed, &selection.inputs);
        let report = json::Report {
            schema: json::SCHEMA,
            tool_version: env!("CARGO_PKG_VERSION"),
            seed,
            inputs,
            exit_code,
            runs: rows.iter().filter_map(Row::run).collect(),
            claims: &claims,
            today: (!policies.is_empty()).then(|| today.to_string()),
            warnings: &warnings,
        };
        let results = Results { rows: &rows, report: &report, conclusion: &conclusion };
        self.print(&human::claims(&claims));
        self.print(&human::legend(self.any_what_if));
        self.reports.finish(&results, self.out);
        for warning in warnings {
            self.say(&words::wrapped("warning: ", &escape::terminal(&warning)));
        }
        self.talk.faults(self.reports.faults(), self.job.style.faults);
        let code = self.exit_code();
        let why = self.reason(code);
        self.print(&words::wrapped("", &format!("exit {code}: {why}")));
        code
    }

    fn exit_code(&self) -> u8 {
        self.tally.exit_code(!self.reports.faults().is_empty() || self.out.is_cut())
    }

    fn reason(&self, code: u8) -> String {
        self.tally.reason(self.job.selection.runs.len(), code)
    }
}
