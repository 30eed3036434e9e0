//! A story: recorded runs and the steps in which they are shown, in each run at its own moment.

use super::recording::Recording;
use super::{moments, telling};
use crate::escape;
use crate::output::words;
use crate::proof::Acting;
use crate::scenario::chapter::{Chapter, Moment, SeenFrom};
use crate::scenario::codes::Code;
use crate::scenario::diagnostics::Fault;

/// A run of a story.
pub struct Told {
    /// How people call it.
    pub label: String,
    /// It, recorded.
    pub recording: Recording,
    /// Who must act for its design, where that could be proved.
    pub acting: Option<Acting>,
}

/// What one step is in one run.
#[derive(Clone, Debug)]
struct View {
    /// Which record.
    at: usize,
    /// What it says; `None`: what the log says.
    says: Option<String>,
}

/// One step.
#[derive(Clone, Debug)]
struct StoryStep {
    title: Option<String>,
    show: Option<usize>,
    views: Vec<View>,
}

/// Recorded runs and their steps.
pub struct Story {
    /// What it is called.
    pub name: String,
    /// What it is about.
    pub about: String,
    /// Its runs, at least one.
    pub runs: Vec<Told>,
    /// What is said beside the comparison at the end.
    pub ends: String,
    steps: Vec<StoryStep>,
}

impl Story {
    /// The story that `chapter` tells of `runs`, its own in its order.
    ///
    /// # Errors
    /// Moments that never come.
    pub fn of_chapter(chapter: &Chapter, runs: Vec<Told>) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut here: Vec<Option<usize>> = vec![None; runs.len()];
        let mut steps = Vec::new();
        for step in &chapter.steps {
            let stays = |at: &Option<usize>| View { at: at.unwrap_or(0), says: None };
            let mut views: Vec<View> = here.iter().map(stays).collect();
            for view in &step.views {
                for &run in &view.of {
                    let recording = &runs[run].recording;
                    let records = &recording.log.records;
                    let found = moments::find(records, view.at, here[run], view.nth);
                    let Some(at) = found else {
                        faults.push(never(chapter, view, &runs[run].label));
                        continue;
                    };
                    here[run] = Some(at);
                    match telling::filled(&view.says, recording, at) {
                        Ok(says) => views[run] = View { at, says: Some(says) },
                        Err(word) => faults.push(not_said(chapter, view, word)),
                    }
                }
            }
            steps.push(StoryStep {
                title: Some(escape::terminal(&step.title)),
                show: step.show,
                views,
            });
        }
        if !faults.is_empty() {
            // What is wrong with a text is wrong with it in each run that it is said of.
            faults.dedup();
            return Err(faults);
        }
        let about = escape::terminal(&chapter.about);
        let (name, ends) = (chapter.name.clone(), escape::terminal(&chapter.ends));
        Ok(Self { name, about, runs, ends, steps })
    }

    /// The story that the logs of `runs` tell by themselves: of whatever converts a page, moves data
    /// or decides how the run comes out. Step for step the runs go on by their own events.
    pub fn of_runs(name: &str, about: &str, runs: Vec<Told>) -> Self {
        let told = |run: &Told| {
            let records = run.recording.log.records.iter().enumerate();
            let mut told: Vec<usize> = records
                .filter(|(_, record)| moments::is_told(&record.event))
                .map(|(at, _)| at)
                .collect();
            if told.last() != Some(&run.recording.last()) {
                told.push(run.recording.last());
            }
            told
        };
        let all: Vec<Vec<usize>> = runs.iter().map(told).collect();
        let longest = all.iter().map(Vec::len).max().unwrap_or(0);
        let step = |number: usize| StoryStep {
            title: None,
            show: None,
            views: all
                .iter()
                .map(|told| View { at: told[number.min(told.len() - 1)], says: None })
                .collect(),
        };
        let steps = (0..longest).map(step).collect();
        let ends = "That is how it came out. `uvsim explain WORD` tells what each word means.";
        let about = escape::terminal(about);
        Self { name: name.to_owned(), about, runs, ends: ends.to_owned(), steps }
    }

    /// How many steps, the comparison at the end left out.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there are none: never.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The run that step `step` shows if nobody chose another.
    pub fn shown_at(&self, step: usize) -> usize {
        let before = self.steps.iter().take(step + 1).rev();
        before.filter_map(|step| step.show).next().unwrap_or(0)
    }

    /// Whether step `step` brings a run of its own onto the screen.
    pub fn shows(&self, step: usize) -> Option<usize> {
        self.steps.get(step)?.show
    }

    /// The record that step `step` is at in `run`.
    pub fn at(&self, step: usize, run: usize) -> usize {
        self.steps[step.min(self.steps.len() - 1)].views[run].at
    }

    /// The title of step `step` in `run`.
    pub fn title(&self, step: usize, run: usize) -> String {
        let recording = &self.runs[run].recording;
        let title = self.steps.get(step).and_then(|step| step.title.clone());
        title.unwrap_or_else(|| telling::title(&recording.record(self.at(step, run)).event).into())
    }

    /// What step `step` says of `run`.
    pub fn says(&self, step: usize, run: usize) -> String {
        let view = &self.steps[step.min(self.steps.len() - 1)].views[run];
        let says = view.says.clone();
        says.unwrap_or_else(|| telling::sentence(&self.runs[run].recording, view.at))
    }

    /// The first step behind `step` at which `gfn` has changed its state in `run` since `step`.
    pub fn next_move(&self, step: usize, run: usize, gfn: u64) -> Option<usize> {
        let moved = self.runs[run].recording.next_move(gfn, self.at(step, run))?;
        (step + 1..self.len()).find(|&later| self.at(later, run) >= moved)
    }
}

/// A word that the event says nothing about.
fn not_said(chapter: &Chapter, view: &SeenFrom, word: &str) -> Fault {
    Fault {
        code: Code::NO_MOMENT,
        message: format!("`{{{word}}}` is nothing that this event tells"),
        source: Some(chapter.source.clone()),
        span: view.span.clone(),
        label: "in this text",
        choice: None,
        help: Some("counters, {time}, {took} and {outcome} are known at each event".to_owned()),
    }
}

/// A text for an event that never comes.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other moments are said by their names")]
fn never(chapter: &Chapter, view: &SeenFrom, label: &str) -> Fault {
    let nth = match view.nth {
        1 => String::new(),
        nth => format!("number {nth} of "),
    };
    let moment = match view.at {
        Moment::PageOut { .. } => "a page-out as this one".to_owned(),
        Moment::Touch { .. } => "a touch as this one".to_owned(),
        other => format!("`{other:?}`"),
    };
    Fault {
        code: Code::NO_MOMENT,
        message: format!("{nth}{moment} never comes in the run \"{label}\" behind the step before"),
        source: Some(chapter.source.clone()),
        span: view.span.clone(),
        label: "this text has no event",
        choice: None,
        help: Some(format!(
            "`uvsim demo` with the scenario's file instead of the chapter's shows what comes \
             ({} in all)",
            words::count(chapter.steps.len(), "step")
        )),
    }
}
