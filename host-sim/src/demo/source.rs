//! Where a story comes from: a shipped chapter, a chapter's file, or the runs of scenario files.

use super::recording::Recording;
use super::story::{Story, Told};
use crate::escape;
use crate::proof::{self, Acting, Tried};
use crate::scenario::chapter::{Chapter, ShownRun};
use crate::scenario::codes::Code;
use crate::scenario::design;
use crate::scenario::diagnostics::{Fault, SourceText, nearest, one_of};
use crate::scenario::draft::Surroundings;
use crate::scenario::head::{self, Head};
use crate::scenario::places::Places;
use crate::scenario::plan::Plan;
use crate::scenario::policy::RunGlob;
use crate::scenario::resolve;
use crate::scenario::select::{self, Planned, Selection};
use crate::scenario::source::{self, Files, Folder};
use crate::shipped;
use crate::suite::{self, Pace, Runner, Trouble};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The shipped chapters, in the order in which one would look at them: the word of the command line,
/// and the file below `scenarios/`.
pub const CHAPTERS: [(&str, &str); 5] = [
    ("ping-pong", "demo/ping-pong.ron"),
    ("bounce", "demo/bounce.ron"),
    ("designs", "demo/designs.ron"),
    ("leak", "demo/leak.ron"),
    ("switch", "demo/switch.ron"),
];

/// Most runs that are browsed at once.
const RUNS_MAX: usize = 26;
/// Most events of several runs together: each is kept with where the guest was.
const EVENTS_MAX: usize = 1_000_000;

/// Reads the shipped chapter of that word.
///
/// # Errors
/// There is none, or it is wrong: a bug of ours.
pub fn chapter(word: &str) -> Result<Chapter, Vec<Fault>> {
    let file = CHAPTERS.iter().find(|(name, _)| *name == word).map(|(_, file)| *file);
    let found = file.and_then(|file| shipped::FILES.iter().find(|(path, _)| *path == file));
    let (path, text) = found.ok_or_else(|| {
        vec![Fault::bare(Code::BAD_ARGUMENT, format!("there is no chapter `{word}`"))]
    })?;
    Chapter::read(&shipped_source(path, text))
}

fn shipped_source(path: &str, text: &str) -> Arc<SourceText> {
    Arc::new(SourceText { path: format!("(built in) scenarios/{path}"), text: text.to_owned() })
}

/// The chapter in `file`, if that is what the file is.
///
/// # Errors
/// It cannot be read, or is wrong.
pub fn chapter_in(file: &Path) -> Result<Option<Chapter>, Vec<Fault>> {
    if !file.is_file() {
        return Ok(None);
    }
    let found = source::find(&[file.to_owned()], "a chapter's file")?;
    let Some(found) = found.first() else { return Ok(None) };
    let source = source::read_text(found).map_err(|fault| vec![fault])?;
    match head::kind(&source).map_err(|fault| vec![fault])? {
        Head::Chapter => Chapter::read(&source).map(Some),
        Head::Scenario | Head::Design | Head::Policy => Ok(None),
    }
}

/// Records the runs of `chapter`, as [`runs_of`] has them, and finds its moments.
///
/// # Errors
/// Runs that could not start, moments that never come.
pub fn story_of(
    chapter: &Chapter,
    planned: &[Planned],
    runner: Runner<'_>,
) -> Result<Story, Vec<Fault>> {
    let labels = chapter.runs.iter().map(|run| escape::terminal(&run.label)).collect();
    Story::of_chapter(chapter, record(planned, labels, runner)?)
}

/// The runs that `chapter` shows, whose file is in `folder` if it is not a shipped one. What was
/// read for them is put into `read`.
///
/// # Errors
/// Scenarios that are not there or wrong, patterns that do not fit one run.
pub fn runs_of(
    chapter: &Chapter,
    folder: Option<&Path>,
    seed: u64,
    read: &mut BTreeSet<PathBuf>,
) -> Result<Vec<Planned>, Vec<Fault>> {
    chapter.runs.iter().map(|run| run_of(chapter, run, (folder, &mut *read), seed)).collect()
}

/// Records `runs`; the log itself tells the steps.
///
/// # Errors
/// Runs that could not start.
pub fn story_of_runs(runs: &[Planned]) -> Result<Story, Vec<Fault>> {
    let Some(first) = runs.first() else { return Err(Vec::new()) };
    if runs.len() > RUNS_MAX {
        let message = format!(
            "{} runs are selected, and {RUNS_MAX} can be browsed at once: choose by `--id`",
            runs.len()
        );
        return Err(vec![Fault::bare(Code::COUNT_LIMIT, message)]);
    }
    let labels = runs.iter().map(|run| label_of(&run.plan));
    // Who must act is asked of chapters alone: it takes more runs.
    let told = labels.zip(recordings(runs)?);
    let told = told.map(|(label, recording)| Told { label, acting: None, recording }).collect();
    Ok(Story::of_runs(&first.plan.scenario, &first.plan.about, told))
}

/// What tells a run from the others of its scenario.
fn label_of(plan: &Plan) -> String {
    let axes = plan.axes.iter().map(|(axis, value)| match axis.as_str() {
        "design" => value.clone(),
        axis => format!("{axis}={value}"),
    });
    let label: Vec<String> = axes.collect();
    if label.is_empty() { plan.id.clone() } else { label.join(" ") }
}

fn recordings(planned: &[Planned]) -> Result<Vec<Recording>, Vec<Fault>> {
    let (mut all, mut events) = (Vec::new(), 0);
    for run in planned {
        let recording = Recording::of(&run.plan)
            .map_err(|why| vec![Fault::bare(Code::IMAGE, format!("it could not be run: {why}"))])?;
        events += recording.log.records.len();
        if events > EVENTS_MAX && planned.len() > 1 {
            let message = format!("the runs have more than {EVENTS_MAX} events together");
            let fault = Fault::bare(Code::COUNT_LIMIT, message);
            return Err(vec![fault.help("choose fewer of them by `--id`")]);
        }
        all.push(recording);
    }
    Ok(all)
}

fn record(
    planned: &[Planned],
    labels: Vec<String>,
    runner: Runner<'_>,
) -> Result<Vec<Told>, Vec<Fault>> {
    let recordings = recordings(planned)?;
    let acting = prove(planned, &recordings, runner);
    let told = labels.into_iter().zip(recordings).map(|(label, recording)| {
        let design = recording.plan.design.as_ref().filter(|_| !recording.log.what_if);
        let acting = design.and_then(|design| acting.get(design)).cloned();
        Told { label, acting, recording }
    });
    Ok(told.collect())
}

/// Who must act for each design of the runs.
fn prove(
    planned: &[Planned],
    recordings: &[Recording],
    runner: Runner<'_>,
) -> BTreeMap<String, Acting> {
    let tried: Vec<Tried<'_>> = planned
        .iter()
        .zip(recordings)
        .map(|(Planned { plan, origin, .. }, recording)| {
            let outcome = recording.outcome;
            Tried { plan, origin, outcome }
        })
        .collect();
    // A machine that shows nothing about a layer leaves it unproved, which the table tells.
    let (pace, mut trouble) = (Pace::new(None, None), Trouble::default());
    proof::prove(&tried, &mut |plans| suite::outcomes(plans, pace, runner, &mut trouble))
}

/// The one run that a chapter means.
fn run_of(
    chapter: &Chapter,
    run: &ShownRun,
    (folder, read): (Option<&Path>, &mut BTreeSet<PathBuf>),
    seed: u64,
) -> Result<Planned, Vec<Fault>> {
    let fault = |message: String, help: Option<String>| {
        vec![Fault {
            code: Code::UNKNOWN_ID,
            message,
            source: Some(chapter.source.clone()),
            span: run.scenario.span.clone(),
            label: "this run",
            choice: None,
            help,
        }]
    };
    let wanted = &run.scenario.value;
    let beside = folder.map(|folder| beside(folder, wanted, seed)).transpose()?.flatten();
    let runs = match beside {
        Some(selection) => {
            read.extend(selection.read);
            Some(selection.runs)
        }
        None => shipped_runs(wanted, seed)?,
    };
    let Some(runs) = runs else {
        let near = nearest(wanted, shipped_names().iter().map(String::as_str))
            .map(|near| format!("did you mean `{near}`?"));
        let message = format!("there is no scenario `{wanted}` beside this file or built in");
        return Err(fault(message, near));
    };
    let glob = RunGlob::new(run.id.as_deref().unwrap_or("*"))
        .map_err(|why| fault(format!("`id` is no pattern over run ids: {why}"), None))?;
    let mut meant: Vec<Planned> = runs.clone();
    meant.retain(|planned| glob.takes(&planned.plan.id));
    match meant.len() {
        1 => Ok(meant.remove(0)),
        many => {
            let ids = one_of(runs.iter().map(|planned| planned.plan.id.as_str()).take(30));
            let message = format!("`id` must fit one run of `{wanted}` and fits {many}");
            Err(fault(message, Some(format!("the runs are {ids}"))))
        }
    }
}

/// The scenario of this name in a file of `folder`.
fn beside(folder: &Path, name: &str, seed: u64) -> Result<Option<Selection>, Vec<Fault>> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(None) };
    let mut files: Vec<PathBuf> =
        entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "ron"));
    files.sort();
    for path in files.into_iter().take(source::FILES_MAX) {
        let found =
            source::find(std::slice::from_ref(&path), source::SCENARIO_FILES).unwrap_or_default();
        let Some(Ok(source)) = found.first().map(source::read_text) else { continue };
        let is_it = head::kind(&source) == Ok(Head::Scenario)
            && resolve::name(&source).is_some_and(|at| at.value == name);
        if is_it {
            return select::select(&[path], seed).map(Some);
        }
    }
    Ok(None)
}

fn shipped_names() -> Vec<String> {
    let sources = shipped::FILES.iter().map(|(path, text)| shipped_source(path, text));
    let scenarios = sources.filter(|source| head::kind(source) == Ok(Head::Scenario));
    scenarios.filter_map(|source| resolve::name(&source)).map(|at| at.value).collect()
}

/// The runs of a shipped scenario.
fn shipped_runs(name: &str, seed: u64) -> Result<Option<Vec<Planned>>, Vec<Fault>> {
    let sources = shipped::FILES.iter().map(|(path, text)| shipped_source(path, text));
    let found = sources
        .filter(|source| head::kind(source) == Ok(Head::Scenario))
        .find(|source| resolve::name(source).is_some_and(|at| at.value == name));
    let Some(source) = found else { return Ok(None) };
    let designs = design::shipped()?;
    let none = design::Designs::new();
    let lookup = design::Lookup { places: [&none, &none, &designs] };
    let mut inputs = BTreeMap::new();
    let folder = Folder::new(Path::new(""), "");
    let (inputs, read) = (&mut inputs, &mut Files::default());
    let mut around = Surroundings { folder: &folder, inputs, read };
    let made = resolve::plans(&source, lookup, &mut around, seed)?;
    let (file, places) = (source.path.clone(), Arc::new(Places::default()));
    let planned = made.into_iter().map(|made| Planned {
        plan: made.plan,
        file: file.clone(),
        typed: file.clone().into(),
        design_file: None,
        places: places.clone(),
        origin: made.origin,
    });
    Ok(Some(planned.collect()))
}
