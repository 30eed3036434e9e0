//! `uvsim run`: plans through the suite into lines, reports and an exit code.

use crate::arguments::RunArgs;
use crate::escape;
use crate::output::human::{self, Paint};
use crate::output::rows::{End, Results, Row};
use crate::output::{explain, json, words};
use crate::reports::{GithubJob, Reports};
use crate::scenario::plan::Plan;
use crate::scenario::select::{Planned, Selection};
use crate::streams::{Out, Style, Talk, exit, nothing_selected, repeat};
use crate::suite::{self, Done, Runner};
use crate::verdict::{Judged, Verdict};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::thread;

/// One `uvsim run`.
pub struct Job<'a> {
    /// Its arguments.
    pub arguments: &'a RunArgs,
    /// What was selected.
    pub selection: &'a Selection,
    /// How it looks.
    pub style: Style,
}

/// How many runs came out how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: usize,
    expected_failures: usize,
    not_asked: usize,
    unjudged: usize,
    panicked: usize,
    any_what_if: bool,
}

/// Everything that grows while the suite runs.
struct Progress<'j, 'w, 't, 'o> {
    job: &'j Job<'j>,
    out: &'o mut Out<'w>,
    talk: &'o mut Talk<'t>,
    bar: ProgressBar,
    rows: Vec<Row>,
    reports: Reports,
    tally: Tally,
    last_scenario: String,
}

impl Job<'_> {
    /// Runs everything and says what to exit with.
    pub fn run(&self, runner: Runner<'_>, out: &mut Out<'_>, talk: &mut Talk<'_>) -> u8 {
        let runs = &self.selection.runs;
        if runs.is_empty() {
            return nothing_selected(talk);
        }
        let mut progress = Progress {
            job: self,
            out,
            talk,
            bar: self.bar(),
            rows: Vec::new(),
            reports: Reports::open(&self.arguments.reports, self.github_job()),
            tally: Tally::default(),
            last_scenario: String::new(),
        };
        progress.print(&human::header());
        let plans: Vec<&Plan> = runs.iter().map(|run| &run.plan).collect();
        suite::run(&plans, self.threads(), runner, |number, done| {
            progress.take(&runs[number], done)
        });
        progress.bar.finish_and_clear();
        progress.reports.finish_events();
        progress.write_reports();
        progress.conclude()
    }

    fn github_job(&self) -> GithubJob<'_> {
        let RunArgs { github_step_summary, github_workspace, .. } = self.arguments;
        GithubJob {
            summary: github_step_summary.as_deref(),
            workspace: github_workspace.as_deref(),
        }
    }

    fn threads(&self) -> usize {
        let cores = || thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.arguments.jobs.map_or_else(cores, usize::from)
    }

    fn bar(&self) -> ProgressBar {
        if !self.style.progress {
            return ProgressBar::hidden();
        }
        let total = self.selection.runs.len() as u64;
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{pos}/{len} runs {wide_bar} {elapsed}");
        bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    }
}

impl Progress<'_, '_, '_, '_> {
    fn print(&mut self, text: &str) {
        let Self { bar, out, .. } = self;
        bar.suspend(|| out.print(text));
    }

    fn take(&mut self, planned: &Planned, done: Done) {
        let plan = &planned.plan;
        if plan.scenario != self.last_scenario {
            self.print(&human::scenario(plan));
            self.last_scenario.clone_from(&plan.scenario);
        }
        match done {
            Done::Panicked(why) => {
                self.panicked(planned, &why);
                self.keep(planned, End::Bug(why));
            }
            Done::NotRun(why) => {
                self.not_run(planned, &why);
                self.keep(planned, End::NotRun(why));
            }
            Done::Judged(judged) => {
                let (log, judged) = *judged;
                self.count(plan, &judged);
                self.print(&human::run(plan, &judged, Paint(self.job.style.out_color)));
                if judged.verdict == Verdict::Fail {
                    let seed = self.job.arguments.chosen.seed;
                    let more = repeat(&planned.file, &plan.id, seed);
                    let more = format!("{more} --report events=events.ndjson");
                    let explanation = explain::explain(plan, &log);
                    self.print(&human::unexpected(plan, &log, &judged, &explanation, &more));
                }
                self.reports.take(plan, &log);
                let run = Box::new(json::Run::new(plan, &log, &judged));
                let end = if judged.unjudged { End::Unjudged(run) } else { End::Judged(run) };
                self.keep(planned, end);
            }
        }
        self.bar.inc(1);
    }

    fn count(&mut self, plan: &Plan, judged: &Judged) {
        self.tally.any_what_if |= plan.what_if();
        match judged.verdict {
            Verdict::Pass => self.tally.passed += 1,
            Verdict::Fail => self.tally.failed += 1,
            Verdict::ExpectedFailure => self.tally.expected_failures += 1,
            Verdict::None if judged.unjudged => self.tally.unjudged += 1,
            Verdict::None => self.tally.not_asked += 1,
        }
    }

    fn panicked(&mut self, planned: &Planned, why: &str) {
        self.tally.panicked += 1;
        let seed = self.job.arguments.chosen.seed;
        let text = format!(
            "bug in uvsim: {} (run {}, seed {seed})\n  repeat: {}\n",
            escape::terminal_cut(why, 400),
            escape::terminal(&planned.plan.id),
            escape::terminal(&repeat(&planned.file, &planned.plan.id, seed)),
        );
        let Self { bar, talk, .. } = self;
        bar.suspend(|| talk.say(&text));
    }

    fn not_run(&mut self, planned: &Planned, why: &str) {
        self.tally.unjudged += 1;
        let id = escape::terminal(&planned.plan.id);
        let text = format!("could not run {id}: {}\n", escape::terminal_cut(why, 400));
        let Self { bar, talk, .. } = self;
        bar.suspend(|| talk.say(&text));
    }

    /// Keeps a run for the reports.
    fn keep(&mut self, planned: &Planned, end: End) {
        let Planned { plan, file, places, .. } = planned;
        self.rows.push(Row {
            id: plan.id.clone(),
            file: file.clone(),
            scenario: plan.scenario.clone(),
            design: plan.design.clone(),
            axes: plan.axes.clone(),
            repeat: repeat(file, &plan.id, self.job.arguments.chosen.seed),
            places: places.clone(),
            end,
        });
    }

    fn write_reports(&mut self) {
        let exit_code = self.exit_code();
        let conclusion = self.reason(exit_code);
        let Job { arguments, selection, .. } = self.job;
        let (seed, inputs) = (arguments.chosen.seed, &selection.inputs);
        let report = json::Report {
            schema: json::SCHEMA,
            tool_version: env!("CARGO_PKG_VERSION"),
            seed,
            inputs,
            exit_code,
            runs: self.rows.iter().filter_map(Row::run).collect(),
            claims: [],
        };
        let results =
            Results { rows: &self.rows, seed, inputs, exit_code, conclusion: &conclusion };
        self.reports.finish(&results, &report, self.out);
    }

    fn exit_code(&self) -> u8 {
        let Tally { failed, unjudged, panicked, .. } = self.tally;
        match () {
            () if panicked > 0 => exit::BUG,
            () if unjudged > 0 => exit::NO_VERDICT,
            () if !self.reports.faults().is_empty() => exit::OUTPUT,
            () if failed > 0 => exit::UNEXPECTED,
            () => exit::OK,
        }
    }

    /// The closing lines; the last says why the code is what it is.
    fn conclude(mut self) -> u8 {
        self.print(&human::legend(self.tally.any_what_if));
        self.talk.faults(self.reports.faults(), self.job.style.faults);
        let code = self.exit_code();
        let why = self.reason(code);
        self.print(&words::wrapped("", &format!("exit {code}: {why}")));
        code
    }

    fn reason(&self, code: u8) -> String {
        let Tally { passed, failed, expected_failures, not_asked, unjudged, panicked, .. } =
            self.tally;
        let all = words::count(self.job.selection.runs.len(), "run");
        let mut parts = vec![format!("{passed} as expected")];
        for (number, what) in [
            (expected_failures, "expected to fail"),
            (not_asked, "with nothing expected"),
            (failed, "NOT as expected"),
            (unjudged, "without a verdict"),
            (panicked, "stopped by a bug of uvsim"),
        ] {
            if number > 0 {
                parts.push(format!("{number} {what}"));
            }
        }
        let because = match code {
            exit::BUG => ": a bug of uvsim",
            exit::NO_VERDICT => {
                ": a scenario without `expect`, or a run that could not start, has no verdict"
            }
            exit::OUTPUT => ": a report could not be written",
            _ => "",
        };
        format!("{all}: {}{because}", parts.join(", "))
    }
}
