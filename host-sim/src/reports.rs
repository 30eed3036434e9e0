//! The report files of one command: opened before anything runs, written when all has run.

use crate::arguments::{ReportArg, ReportKind, RunArgs};
use crate::log::RunLog;
use crate::output::rows::Results;
use crate::output::target::{self, Target};
use crate::output::{csv, events, github, json, junit, markdown};
use crate::saved::Source;
use crate::scenario::diagnostics::Fault;
use crate::scenario::plan::Plan;
use crate::streams::Out;
use crate::verdict::Check;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The step's summary, opened.
struct Summary {
    path: PathBuf,
    file: File,
}

/// All reports of one command.
pub struct Reports {
    events: Vec<Target>,
    files: Vec<(ReportKind, Target)>,
    annotate: bool,
    summary: Option<Summary>,
    /// The current folder's path in the repository, empty or ending in `/`.
    prefix: String,
    faults: Vec<Fault>,
}

impl Reports {
    /// Opens all that were asked for, so that what cannot be written is known early.
    pub fn open(arguments: &RunArgs) -> Self {
        let mut reports = Self {
            events: Vec::new(),
            files: Vec::new(),
            annotate: false,
            summary: None,
            prefix: prefix(arguments),
            faults: Vec::new(),
        };
        for report in &arguments.reports {
            reports.open_one(report, arguments.github_step_summary.as_deref());
        }
        reports
    }

    fn open_one(&mut self, report: &ReportArg, summary: Option<&OsStr>) {
        if report.kind == ReportKind::Github {
            self.annotate = true;
        }
        let Some(path) = &report.path else { return self.open_summary(summary) };
        match (Target::open(path), report.kind) {
            (Ok(target), ReportKind::Events) => self.events.push(target),
            (
                Ok(target),
                kind @ (ReportKind::Json
                | ReportKind::Junit
                | ReportKind::Github
                | ReportKind::Md
                | ReportKind::Csv),
            ) => self.files.push((kind, target)),
            (Err(fault), _) => self.faults.push(fault),
        }
    }

    /// The summary is the runner's file: it is appended to, as other steps' tools do.
    fn open_summary(&mut self, summary: Option<&OsStr>) {
        let Some(path) = summary.filter(|path| !path.is_empty()) else { return };
        let path = PathBuf::from(path);
        match OpenOptions::new().append(true).create(true).open(&path) {
            Ok(file) => self.summary = Some(Summary { path, file }),
            Err(error) => self.faults.push(target::fault(&path, &error)),
        }
    }

    /// Writes one run to the event reports, while the others still run.
    pub fn take(&mut self, source: &Source, (plan, log): (&Plan, &RunLog), checks: &[Check]) {
        let Self { events: targets, faults, .. } = self;
        targets.retain_mut(|target| {
            match events::write_run(target.writer(), source, (plan, log), checks) {
                Ok(()) => true,
                Err(error) => {
                    faults.push(target.failed(&error));
                    false
                }
            }
        });
    }

    /// Ends the event reports: what is wrong after this is wrong with a report of the results.
    pub fn finish_events(&mut self) {
        for target in std::mem::take(&mut self.events) {
            self.faults.extend(target.finish().err());
        }
    }

    /// Writes all reports of the results; annotations go to `out`, where the runner reads them.
    pub fn finish(&mut self, results: &Results<'_>, out: &mut Out<'_>) {
        for (kind, mut target) in std::mem::take(&mut self.files) {
            let written = write(kind, &mut target, results);
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
        // Written run by run, in `take`.
        ReportKind::Events => Ok(()),
    }
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
