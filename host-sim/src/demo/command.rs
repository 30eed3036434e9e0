//! `uvsim demo`: from its arguments to a terminal, to numbered lines, or to a file.

use super::scene::Scene;
use super::screen::Look;
use super::story::Story;
use super::{cast, plain, source, terminal};
use crate::arguments::{Chosen, DemoArgs};
use crate::escape::{self, shell_word};
use crate::output::target::{Taken, Target};
use crate::output::words;
use crate::scenario::diagnostics::Fault;
use crate::scenario::select::{self, Filter, Selection};
use crate::streams::{Out, Style, Talk, exit, nothing_selected, progress_bar};
use crate::suite::Runner;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;

/// One `uvsim demo`.
pub struct Demo<'a> {
    /// Its arguments.
    pub arguments: &'a DemoArgs,
    /// How it looks.
    pub style: Style,
    /// Whether a reader can press keys.
    pub is_interactive: bool,
}

/// Why there is nothing to show.
enum Nothing {
    /// Files are wrong.
    Right(Vec<Fault>),
    /// No run is selected.
    Selected(Box<Selection>),
}

impl From<Vec<Fault>> for Nothing {
    fn from(faults: Vec<Fault>) -> Self {
        Self::Right(faults)
    }
}

impl Demo<'_> {
    /// Records the story and shows it; says what to exit with.
    pub fn run(&self, runner: Runner<'_>, out: &mut Out<'_>, talk: &mut Talk<'_>) -> u8 {
        let (story, read) = match self.story(runner) {
            Ok(made) => made,
            Err(Nothing::Selected(selection)) => {
                return nothing_selected(&self.chosen(), &selection, talk);
            }
            Err(Nothing::Right(faults)) => {
                talk.faults(&faults, self.style.faults);
                talk.say("exit 3: there is nothing to show\n");
                return exit::INPUT;
            }
        };
        if let Some(file) = &self.arguments.record {
            return self.record(&story, file, Taken::by(read), talk);
        }
        if self.is_interactive {
            let look = Look { color: self.style.out_color, unicode: self.style.faults.unicode };
            let Err(error) = terminal::browse(&story, look, self.arguments.auto.map(|p| p.0))
            else {
                return exit::OK;
            };
            talk.say(&format!("the terminal cannot be used ({}): numbered steps\n", error.kind()));
        }
        self.tell(&story, out);
        exit::OK
    }

    /// The story, and the files of the user's that it is made from.
    fn story(&self, runner: Runner<'_>) -> Result<(Story, Vec<PathBuf>), Nothing> {
        let DemoArgs { what, seed, .. } = self.arguments;
        if source::CHAPTERS.iter().any(|(word, _)| *word == what) && !Path::new(what).exists() {
            let chapter = source::chapter(what)?;
            let runs = source::runs_of(&chapter, None, *seed, &mut BTreeSet::new())?;
            return Ok((source::story_of(&chapter, &runs, runner)?, Vec::new()));
        }
        let file = PathBuf::from(what);
        if let Some(chapter) = source::chapter_in(&file)? {
            let mut read = BTreeSet::from([file.clone()]);
            let runs = source::runs_of(&chapter, file.parent(), *seed, &mut read)?;
            return Ok((source::story_of(&chapter, &runs, runner)?, read.into_iter().collect()));
        }
        let chosen = self.chosen();
        let read = select::select(&chosen.paths, *seed);
        let mut selection = read.map_err(|faults| self.hint(faults))?;
        let id = chosen.id.as_ref().map(|glob| glob.0.clone());
        selection.keep(&Filter { design: chosen.design, id });
        if selection.runs.is_empty() {
            return Err(Nothing::Selected(Box::new(selection)));
        }
        let read = selection.read.iter().cloned().collect();
        Ok((source::story_of_runs(&selection.runs)?, read))
    }

    /// The runs that are meant if scenario files are.
    fn chosen(&self) -> Chosen {
        let DemoArgs { what, id, design, seed, .. } = self.arguments;
        let paths = vec![PathBuf::from(what)];
        Chosen { paths, design: design.clone(), id: id.clone(), seed: *seed }
    }

    /// A word that is neither a chapter nor a file: the chapters are told.
    fn hint(&self, mut faults: Vec<Fault>) -> Vec<Fault> {
        if !Path::new(&self.arguments.what).exists() {
            let words: Vec<&str> = source::CHAPTERS.iter().map(|(word, _)| *word).collect();
            for fault in &mut faults {
                fault.help = Some(format!(
                    "the chapters that are built in: {}; else name a file",
                    words.join(", ")
                ));
            }
        }
        faults
    }

    fn tell(&self, story: &Story, out: &mut Out<'_>) {
        out.print(&plain::head(story));
        for step in 0..story.len() {
            let run = story.shown_at(step);
            out.print(&plain::step(&Scene::of(story, step, run, None)));
            if out.is_cut() {
                return;
            }
            if let Some(pace) = self.arguments.auto {
                thread::sleep(pace.0);
            }
        }
        out.print(&plain::end(story));
    }

    fn record(&self, story: &Story, file: &Path, mut taken: Taken, talk: &mut Talk<'_>) -> u8 {
        let opened = taken.take(file).and_then(|()| Target::open(file));
        let shown = escape::terminal(&shell_word(file));
        if opened.is_ok() {
            talk.say(&format!("recording {} into {shown}\n", words::count(story.len(), "step")));
        }
        let written = opened.and_then(|mut target| {
            let mut bytes = Vec::new();
            let each = self.arguments.auto.map(|pace| pace.0);
            let bar = progress_bar(self.style, story.len(), "steps");
            let written = cast::write(&mut bytes, story, each, &bar);
            bar.finish_and_clear();
            written
                .and_then(|()| target.writer().write_all(&bytes))
                .map_err(|error| target.failed(&error))?;
            target.finish()
        });
        match written {
            Ok(()) => exit::OK,
            Err(fault) => {
                talk.faults(&[fault], self.style.faults);
                exit::OUTPUT
            }
        }
    }
}
