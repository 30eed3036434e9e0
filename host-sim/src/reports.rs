//! The report files of one command: opened before anything runs, written when all has run.

use crate::arguments::{ReportArg, ReportKind, RunArgs};
use crate::escape::shell_word;
use crate::log::RunLog;
use crate::output::rows::{Results, Row};
use crate::output::target::{self, Taken, Target};
use crate::output::{csv, events, github, json, junit, markdown, plan_json};
use crate::policy::Ruling;
use crate::report::digest::{Digest, Gathered};
use crate::report::html::{self, Judgement, Page};
use crate::report::{packets, trace};
use crate::saved::{Facts, Head, Source};
use crate::scenario::diagnostics::Fault;
use crate::scenario::plan::Plan;
use crate::scenario::select::Selection;
use crate::streams::Out;
use crate::verdict::Check;
use serde::Deserialize;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The step's summary, opened.
struct Summary {
    path: PathBuf,
    file: File,
}

/// All reports of one command.
pub struct Reports {
    events: Vec<Target>,
    traces: Vec<(Target, trace::Writer)>,
    packets: Vec<Target>,
    /// What the page is made from, if one was asked for.
    gathered: Option<Gathered>,
    command: String,
    files: Vec<(ReportKind, Target)>,
    annotate: bool,
    summary: Option<Summary>,
    /// The current folder's path in the repository, empty or ending in `/`.
    prefix: String,
    faults: Vec<Fault>,
}

impl Reports {
    /// Opens all that were asked for, so that what cannot be written is known early; what was
    /// read stays as it is.
    pub fn open(arguments: &RunArgs, selection: &Selection) -> Self {
        let policies = arguments.judging.policies.iter().cloned();
        let read = selection.read.iter().cloned().chain(policies);
        let inputs = selection.inputs.keys().map(PathBuf::from);
        let mut taken = Taken::by(read.chain(inputs));
        let mut reports = Self {
            events: Vec::new(),
            traces: Vec::new(),
            packets: Vec::new(),
            gathered: None,
            command: command(arguments),
            files: Vec::new(),
            annotate: false,
            summary: None,
            prefix: prefix(arguments),
            faults: Vec::new(),
        };
        for report in &arguments.reports {
            reports.open_one(report, arguments.github_step_summary.as_deref(), &mut taken);
        }
        reports
    }

    fn open_one(&mut self, report: &ReportArg, summary: Option<&OsStr>, taken: &mut Taken) {
        if report.kind == ReportKind::Github {
            self.annotate = true;
        }
        let Some(path) = &report.path else { return self.open_summary(summary, taken) };
        match (taken.take(path).and_then(|()| Target::open(path)), report.kind) {
            (Ok(target), ReportKind::Events) => self.events.push(target),
            (
                Ok(target),
                kind @ (ReportKind::Json
                | ReportKind::Junit
                | ReportKind::Github
                | ReportKind::Md
                | ReportKind::Csv),
            ) => self.files.push((kind, target)),
            (Ok(target), kind @ ReportKind::Html) => {
                self.gathered.get_or_insert_default();
                self.files.push((kind, target));
            }
            (Ok(target), ReportKind::Perfetto) => {
                self.traces.push((target, trace::Writer::default()));
            }
            (Ok(target), ReportKind::Pcapng) => self.packets.push(target),
            (Err(fault), _) => self.faults.push(fault),
        }
    }

    /// The summary is the runner's file: it is appended to, as other steps' tools do.
    fn open_summary(&mut self, summary: Option<&OsStr>, taken: &mut Taken) {
        let Some(path) = summary.filter(|path| !path.is_empty()) else { return };
        let path = PathBuf::from(path);
        if let Err(fault) = taken.take(&path) {
            return self.faults.push(fault);
        }
        // A pipe that nobody reads is refused instead of waited for.
        let at_once = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
        let mut options = OpenOptions::new();
        match options.append(true).create(true).custom_flags(at_once).open(&path) {
            Ok(file) => self.summary = Some(Summary { path, file }),
            Err(error) => self.faults.push(target::fault(&path, &error)),
        }
    }

    /// Writes one run to the reports that are made of events, while the others still run.
    pub fn take(&mut self, source: &Source, (plan, log): (&Plan, &RunLog), checks: &[Check]) {
        let Self { events: targets, faults, .. } = self;
        retain(targets, faults, |out| events::write_run(out, source, (plan, log), checks));
        if self.traces.is_empty() && self.packets.is_empty() && self.gathered.is_none() {
            return;
        }
        let head = head(source, (plan, log), checks);
        let Self { traces, packets: targets, gathered, faults, .. } = self;
        traces.retain_mut(|(target, trace)| {
            let written = trace.run(target.writer(), &head, &log.records);
            kept(written, target, faults)
        });
        retain(targets, faults, |out| packets::write_run(out, &head, &log.records));
        if let Some(gathered) = gathered {
            gathered.push(Digest::of(head, &log.records, None));
        }
    }

    /// Ends the reports that are made of events: what is wrong after this is wrong with a report of
    /// the results.
    pub fn finish_events(&mut self) {
        let traces = std::mem::take(&mut self.traces).into_iter().map(|(target, _)| target);
        let events = std::mem::take(&mut self.events).into_iter();
        for target in events.chain(traces).chain(std::mem::take(&mut self.packets)) {
            self.faults.extend(target.finish().err());
        }
    }

    /// The page, with what the command knows of each run.
    fn page(&self, results: &Results<'_>) -> Page {
        let digests = self.gathered.as_ref().map_or(&[][..], |gathered| &gathered.runs);
        let runs = digests.iter().map(|digest| {
            let row = results.rows.iter().find(|row| row.id == digest.sum.head.run);
            let run = row.and_then(Row::run);
            let judgement = Judgement {
                verdict: run.map(|run| run.verdict),
                rules: run
                    .map_or_else(Vec::new, |run| run.policy.iter().map(Ruling::sentence).collect()),
            };
            html::Run { digest: digest.clone(), judgement }
        });
        Page {
            runs: runs.collect(),
            command: self.command.clone(),
            conclusion: Some(results.conclusion.to_owned()),
            data: "All events: the same command with `--report events=FILE`.".to_owned(),
        }
    }

    /// Writes all reports of the results; annotations go to `out`, where the runner reads them.
    pub fn finish(&mut self, results: &Results<'_>, out: &mut Out<'_>) {
        for (kind, mut target) in std::mem::take(&mut self.files) {
            let written = match kind {
                ReportKind::Html => {
                    target.writer().write_all(html::render(&self.page(results)).as_bytes())
                }
                ReportKind::Json
                | ReportKind::Events
                | ReportKind::Junit
                | ReportKind::Github
                | ReportKind::Md
                | ReportKind::Csv
                | ReportKind::Perfetto
                | ReportKind::Pcapng => write(kind, &mut target, results),
            };
            let finished = match written {
                Ok(()) => target.finish(),
                Err(error) => Err(target.failed(&error)),
            };
            self.faults.extend(finished.err());
        }
        if let Some(summary) = self.summary.take()
            && let Err(error) = append(&summary.file, results)
        {
            self.faults.push(target::fault(&summary.path, &error));
        }
        if self.annotate {
            out.print(&github::annotations(results, &self.prefix));
        }
    }

    /// What could not be written so far.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

fn write(kind: ReportKind, target: &mut Target, results: &Results<'_>) -> io::Result<()> {
    let out = target.writer();
    match kind {
        ReportKind::Json => json::write_pretty(out, results.report),
        ReportKind::Junit => junit::write(out, results),
        ReportKind::Csv => csv::write(out, results),
        ReportKind::Md | ReportKind::Github => {
            out.write_all(markdown::render(results, usize::MAX).as_bytes())
        }
        // Written run by run, in `take`, or from what was gathered there.
        ReportKind::Events | ReportKind::Html | ReportKind::Perfetto | ReportKind::Pcapng => Ok(()),
    }
}

/// Writes to each target; one that cannot be written is told and written no more.
fn retain(
    targets: &mut Vec<Target>,
    faults: &mut Vec<Fault>,
    mut write: impl FnMut(&mut BufWriter<File>) -> io::Result<()>,
) {
    targets.retain_mut(|target| {
        let written = write(target.writer());
        kept(written, target, faults)
    });
}

fn kept(written: io::Result<()>, target: &Target, faults: &mut Vec<Fault>) -> bool {
    faults.extend(written.as_ref().err().map(|error| target.failed(error)));
    written.is_ok()
}

/// What a saved log would say of this run.
fn head(source: &Source, (plan, log): (&Plan, &RunLog), checks: &[Check]) -> Head {
    let told = plan_json::plan(plan);
    Head {
        run: plan.id.clone(),
        source: source.clone(),
        facts: Facts::deserialize(&told)
            .expect("a plan's text has its facts: a test reads it back"),
        plan: told,
        places: log.places.clone(),
        ended: log.ended.clone(),
        hash: log.hash_hex(),
        checks: checks.to_vec(),
    }
}

/// The command, as far as it chose what ran and was written.
fn command(arguments: &RunArgs) -> String {
    let chosen = &arguments.chosen;
    let mut command = "uvsim run".to_owned();
    let mut add =
        |words: &str, value: &OsStr| command.push_str(&format!("{words} {}", shell_word(value)));
    chosen.paths.iter().for_each(|path| add("", path.as_os_str()));
    chosen.design.iter().for_each(|design| add(" --design", design.as_ref()));
    chosen.id.iter().for_each(|glob| add(" --id", glob.0.glob().glob().as_ref()));
    if chosen.seed != 1 {
        add(" --seed", chosen.seed.to_string().as_ref());
    }
    arguments.judging.policies.iter().for_each(|path| add(" --policy", path.as_os_str()));
    for report in &arguments.reports {
        if let (ReportKind::Html, Some(path)) = (report.kind, &report.path) {
            let mut value = OsString::from("html=");
            value.push(path);
            add(" --report", &value);
        }
    }
    command
}

/// Appends what still fits into the step's summary: what is too long GitHub drops as a whole.
fn append(mut file: &File, results: &Results<'_>) -> io::Result<()> {
    let there = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let room = github::SUMMARY_BYTES_MAX.saturating_sub(there);
    file.write_all(markdown::render(results, room).as_bytes())
}

/// What is wrong with the input, where it was asked for annotations.
pub fn of_faults(arguments: &RunArgs, faults: &[Fault]) -> String {
    let asked = arguments.reports.iter().any(|report| report.kind == ReportKind::Github);
    if asked { github::input_faults(faults, &prefix(arguments)) } else { String::new() }
}

/// Where in the repository this command runs: `GITHUB_WORKSPACE` is the whole of it.
fn prefix(arguments: &RunArgs) -> String {
    let here = std::env::current_dir().ok();
    let workspace = arguments.github_workspace.as_deref().filter(|path| !path.is_empty());
    let below = here.as_deref().zip(workspace);
    let below = below.and_then(|(here, workspace)| here.strip_prefix(Path::new(workspace)).ok());
    match below.map(|below| below.to_string_lossy().into_owned()) {
        Some(below) if !below.is_empty() => format!("{below}/"),
        Some(_) | None => String::new(),
    }
}
