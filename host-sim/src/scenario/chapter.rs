//! Chapters of the demo: which runs are shown, at which of their moments, with which texts. The
//! module `crate::demo` finds the moments in the runs' logs.

use super::claims;
use super::codes::Code;
use super::diagnostics::{Fault, SourceText, nearest, one_of};
use super::head;
use super::reading::{self, At, Located, Reader};
use super::words::{DirectionWord, PartWord, ReportWord, StateWord};
use crate::counters::Counter;
use serde::Deserialize;
use std::ops::Range;
use std::sync::Arc;

/// Most runs of one chapter.
pub const RUNS_MAX: usize = 26;
/// Most steps of one chapter.
pub const STEPS_MAX: usize = 100;
/// Most characters of one text: it has six lines of a small terminal.
pub const TEXT_MAX: usize = 440;
/// Most characters of a title and of a label.
pub const TITLE_MAX: usize = 60;

/// `Chapter(...)`.
#[derive(Debug, Deserialize)]
#[serde(rename = "Chapter", deny_unknown_fields)]
#[expect(missing_docs, reason = "documented at `Chapter`, where they lead to")]
pub struct ChapterFile<'a> {
    #[serde(borrow)]
    pub format: Located<'a, u32>,
    #[serde(borrow)]
    pub name: Located<'a, String>,
    #[serde(borrow)]
    pub about: Located<'a, String>,
    #[serde(borrow)]
    pub runs: Located<'a, Vec<Located<'a, RunFile<'a>>>>,
    #[serde(borrow)]
    pub steps: Located<'a, Vec<Located<'a, StepFile<'a>>>>,
    #[serde(borrow)]
    pub ends: Located<'a, String>,
}

/// `Run(...)` of a chapter.
#[derive(Debug, Deserialize)]
#[serde(rename = "Run", deny_unknown_fields)]
#[expect(missing_docs, reason = "documented at `ShownRun`, where they lead to")]
pub struct RunFile<'a> {
    #[serde(borrow)]
    pub key: Located<'a, String>,
    #[serde(borrow)]
    pub scenario: Located<'a, String>,
    #[serde(borrow)]
    pub id: Option<Located<'a, String>>,
    #[serde(borrow)]
    pub label: Located<'a, String>,
}

/// `Step(...)` of a chapter.
#[derive(Debug, Deserialize)]
#[serde(rename = "Step", deny_unknown_fields)]
#[expect(missing_docs, reason = "documented at `ChapterStep`, where they lead to")]
pub struct StepFile<'a> {
    #[serde(borrow)]
    pub title: Located<'a, String>,
    #[serde(borrow)]
    pub show: Option<Located<'a, String>>,
    #[serde(borrow)]
    pub views: Located<'a, Vec<Located<'a, ViewFile<'a>>>>,
}

/// `View(...)` of a step.
#[derive(Debug, Deserialize)]
#[serde(rename = "View", deny_unknown_fields)]
#[expect(missing_docs, reason = "documented at `SeenFrom`, where they lead to")]
pub struct ViewFile<'a> {
    #[serde(borrow)]
    pub of: Located<'a, Vec<Located<'a, String>>>,
    #[serde(borrow)]
    pub at: Located<'a, Moment>,
    #[serde(borrow)]
    pub nth: Option<Located<'a, u32>>,
    #[serde(borrow)]
    pub says: Located<'a, String>,
}

/// A moment of a run: the event that a step shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Moment {
    /// Where the step before was.
    Stay,
    /// The end of the run.
    End,
    /// The guest becomes a secure one.
    BecomesSecure,
    /// The guest declares a secret.
    Secret,
    /// The guest marks that it is ready.
    Ready,
    /// The guest marks that its work is done.
    Done,
    /// The guest runs its which-DMA-path predicate.
    Decides,
    /// The guest notifies a device.
    Kick,
    /// The host side touches a unit; what is left out may be anything.
    Touch {
        /// Doing what.
        #[serde(default)]
        part: Option<PartWord>,
        /// Which way.
        #[serde(default)]
        direction: Option<DirectionWord>,
        /// Of a unit in which state.
        #[serde(default)]
        state: Option<StateWord>,
    },
    /// A unit is paged out.
    PageOut {
        /// Because of a touch of this part.
        #[serde(default)]
        part: Option<PartWord>,
    },
    /// A unit comes back in.
    PageIn,
    /// A page-in fails verification.
    Tampered,
    /// The guest shares a unit.
    Share,
    /// The guest takes a shared unit back.
    Unshare,
    /// A copy between a buffer and a bounce slot.
    Bounce {
        /// From the slot back to the buffer.
        back: bool,
    },
    /// A device is done with a request.
    Completed,
    /// A device gives up a ring that makes no sense.
    Broken,
    /// The guest reports by name.
    Report {
        /// What kind.
        #[serde(default)]
        kind: Option<ReportWord>,
    },
    /// A secret shows in plain.
    Leak,
    /// The end's byte comparison.
    Compared,
    /// QEMU turns `iommu_platform` on.
    Flip,
}

/// A run that a chapter shows.
#[derive(Clone, Debug)]
pub struct ShownRun {
    /// How the steps call it.
    pub key: String,
    /// The name of its scenario.
    pub scenario: At<String>,
    /// Which of the scenario's runs: a pattern over ids that fits one.
    pub id: Option<String>,
    /// How people call it.
    pub label: String,
}

/// One run's side of a step.
#[derive(Clone, Debug)]
pub struct SeenFrom {
    /// The runs that it is about, by their places in [`Chapter::runs`].
    pub of: Vec<usize>,
    /// Its moment: the `nth` of them behind the moment of the step before.
    pub at: Moment,
    /// From 1.
    pub nth: u32,
    /// What it says, with words in braces that the log fills in.
    pub says: String,
    /// Where it stands.
    pub span: Range<usize>,
}

/// One step.
#[derive(Clone, Debug)]
pub struct ChapterStep {
    /// Its title.
    pub title: String,
    /// The run to show when the step is come to; without one, the run shown before.
    pub show: Option<usize>,
    /// What it looks like in which runs. The others stay where they were, and the log speaks.
    pub views: Vec<SeenFrom>,
}

/// What a chapter means.
#[derive(Clone, Debug)]
pub struct Chapter {
    /// Its name.
    pub name: String,
    /// The sentence.
    pub about: String,
    /// The runs, at least one.
    pub runs: Vec<ShownRun>,
    /// The steps, at least one.
    pub steps: Vec<ChapterStep>,
    /// What stands beside the comparison at the end.
    pub ends: String,
    /// The file it is from.
    pub source: Arc<SourceText>,
}

/// A word in braces that is no counter.
pub const PLACES: [&str; 9] =
    ["page", "address", "bytes", "part", "device", "time", "took", "name", "outcome"];

/// Pieces of a text: as written, or a word in braces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'t> {
    /// As written.
    Text(&'t str),
    /// What stood in braces.
    Word(&'t str),
}

/// Takes a text apart. A brace that is never closed is text.
pub fn pieces(text: &str) -> Vec<Piece<'_>> {
    let (mut rest, mut all) = (text, Vec::new());
    while let Some((before, behind)) = rest.split_once('{') {
        let Some((word, after)) = behind.split_once('}') else { break };
        all.extend([Piece::Text(before), Piece::Word(word)]);
        rest = after;
    }
    all.push(Piece::Text(rest));
    all
}

/// The chapter's name, if it can be read.
pub fn name(source: &Arc<SourceText>) -> Option<At<String>> {
    let mut reader = Reader::new(source);
    let file: ChapterFile<'_> = reader.whole()?;
    reader.take(file.name)
}

impl Chapter {
    /// Reads a chapter's file. Whether its runs exist and have its moments is asked when it is
    /// shown.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(source: &Arc<SourceText>) -> Result<Self, Vec<Fault>> {
        reading::all_of(source, |reader| {
            let file: ChapterFile<'_> = reader.whole()?;
            head::check_format(reader, file.format);
            let name = head::name(reader, file.name);
            let about = head::about(reader, file.about);
            let runs = read_runs(reader, file.runs);
            let keys: Option<Vec<&str>> =
                runs.as_ref().map(|runs| runs.iter().map(|run| run.key.as_str()).collect());
            let steps = read_steps(reader, file.steps, keys.as_deref());
            let ends = text(reader, file.ends, "ends", TEXT_MAX);
            let (name, source) = (name?.value, source.clone());
            Some(Self { name, about: about?, runs: runs?, steps, ends: ends?, source })
        })
    }
}

/// The runs; `None` if something is wrong with one, so that no step is told that it has no run.
fn read_runs<'a>(
    reader: &mut Reader<'a>,
    file: Located<'a, Vec<Located<'a, RunFile<'a>>>>,
) -> Option<Vec<ShownRun>> {
    let list = bounded(reader, file, "runs", RUNS_MAX)?;
    let (mut runs, entries): (Vec<ShownRun>, usize) = (Vec::new(), list.len());
    for item in list {
        let Some(At { value, .. }) = reader.take(item) else { continue };
        let key = claims::plain_id(reader, value.key);
        if let Some(At { value: key, span }) = &key
            && runs.iter().any(|run| run.key == *key)
        {
            let message = format!("the run `{key}` is there twice");
            reader.fault(Code::DUPLICATE, span, message, None);
            continue;
        }
        let scenario = reader.take(value.scenario);
        let id = reader.take_if(value.id).map(|at| at.value);
        let label = text(reader, value.label, "label", TITLE_MAX);
        if let (Some(key), Some(scenario), Some(label)) = (key, scenario, label) {
            runs.push(ShownRun { key: key.value, scenario, id, label });
        }
    }
    (runs.len() == entries).then_some(runs)
}

fn read_steps<'a>(
    reader: &mut Reader<'a>,
    file: Located<'a, Vec<Located<'a, StepFile<'a>>>>,
    keys: Option<&[&str]>,
) -> Vec<ChapterStep> {
    let list = bounded(reader, file, "steps", STEPS_MAX).unwrap_or_default();
    let mut steps = Vec::new();
    for item in list {
        let Some(At { value, span }) = reader.take(item) else { continue };
        let title = text(reader, value.title, "title", TITLE_MAX);
        let show = value.show.and_then(|key| run_called(reader, key, keys));
        let views = reader.take(value.views).map_or_else(Vec::new, |list| list.value);
        let views: Vec<SeenFrom> =
            views.into_iter().filter_map(|item| read_view(reader, item, keys)).collect();
        for (run, key) in keys.unwrap_or_default().iter().enumerate() {
            let times = views.iter().flat_map(|view| &view.of).filter(|of| **of == run).count();
            if times > 1 {
                let message =
                    format!("a step has one view of each run: of `{key}` this has {times}");
                reader.fault(Code::DUPLICATE, &span, message, None);
            }
        }
        if let Some(title) = title {
            steps.push(ChapterStep { title, show, views });
        }
    }
    steps
}

fn read_view<'a>(
    reader: &mut Reader<'a>,
    item: Located<'a, ViewFile<'a>>,
    keys: Option<&[&str]>,
) -> Option<SeenFrom> {
    let At { value, span } = reader.take(item)?;
    let of = reader.take(value.of).map_or_else(Vec::new, |list| {
        if list.value.is_empty() {
            let message = "this view is of no run: nobody would ever see it".to_owned();
            let help = Some("name the runs that it is about: `of: [\"KEY\"]`".to_owned());
            reader.fault(Code::COUNT_LIMIT, &list.span, message, help);
        }
        list.value
    });
    let of = of.into_iter().filter_map(|key| run_called(reader, key, keys)).collect();
    let at = reader.take(value.at);
    let nth = reader.take_if(value.nth);
    if let Some(At { value: 0, span }) = &nth {
        reader.fault(Code::OUT_OF_RANGE, span, "`nth` counts from 1".to_owned(), None);
    }
    let words = reader.take(value.says);
    let says = words.and_then(|words| checked_words(reader, words));
    let nth = nth.map_or(1, |nth| nth.value);
    Some(SeenFrom { of, at: at?.value, nth, says: says?, span })
}

/// A text whose words in braces are all known.
fn checked_words(reader: &mut Reader<'_>, words: At<String>) -> Option<String> {
    let At { value, span } = check_length(reader, words, "says", TEXT_MAX)?;
    for piece in pieces(&value) {
        let Piece::Word(word) = piece else { continue };
        if PLACES.contains(&word) || Counter::from_name(word).is_some() {
            continue;
        }
        let known = || {
            let counters = Counter::ALL.iter().map(|counter| counter.name());
            PLACES.into_iter().chain(counters)
        };
        let message = format!("`{{{word}}}` is neither a counter nor {}", one_of(PLACES));
        let help = nearest(word, known()).map(|near| format!("did you mean `{{{near}}}`?"));
        reader.fault(Code::UNKNOWN_ID, &span, message, help);
    }
    Some(value)
}

fn run_called<'a>(
    reader: &mut Reader<'a>,
    key: Located<'a, String>,
    keys: Option<&[&str]>,
) -> Option<usize> {
    let At { value, span } = reader.take(key)?;
    let keys = keys?;
    let found = keys.iter().position(|key| *key == value);
    if found.is_none() {
        let message =
            format!("the chapter has no run `{value}`; it has {}", one_of(keys.iter().copied()));
        let help = nearest(&value, keys.iter().copied());
        let help = help.map(|near| format!("did you mean `{near}`?"));
        reader.fault(Code::UNKNOWN_ID, &span, message, help);
    }
    found
}

/// A list with at least one and at most `most` entries.
fn bounded<'a, T>(
    reader: &mut Reader<'a>,
    list: Located<'a, Vec<T>>,
    what: &str,
    most: usize,
) -> Option<Vec<T>> {
    let At { value, span } = reader.take(list)?;
    if value.is_empty() || value.len() > most {
        let message = format!("`{what}` has 1 to {most} entries, not {}", value.len());
        reader.fault(Code::COUNT_LIMIT, &span, message, None);
        return None;
    }
    Some(value)
}

fn text<'a>(
    reader: &mut Reader<'a>,
    text: Located<'a, String>,
    what: &str,
    most: usize,
) -> Option<String> {
    let text = reader.take(text)?;
    check_length(reader, text, what, most).map(|at| at.value)
}

fn check_length(
    reader: &mut Reader<'_>,
    text: At<String>,
    what: &str,
    most: usize,
) -> Option<At<String>> {
    let length = text.value.chars().count();
    if text.value.trim().is_empty() {
        reader.fault(Code::NO_ABOUT, &text.span, format!("`{what}` is empty"), None);
        return None;
    }
    if length > most {
        let message = format!("`{what}` has {length} characters; {most} fit on the screen");
        reader.fault(Code::COUNT_LIMIT, &text.span, message, None);
        return None;
    }
    Some(text)
}
