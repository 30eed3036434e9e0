//! Where a reader is in a story, and what each key does. It knows neither terminal nor clock.

use super::scene::{self, Scene};
use super::story::Story;
use ultravisor_abi::UnitSize;

/// What a reader can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// The next step.
    Next,
    /// The step before.
    Back,
    /// The next step at which the page in focus has changed its state.
    NextMove,
    /// The same step in the next run.
    Design,
    /// The first step.
    First,
    /// The comparison at the end.
    Last,
    /// Help, or away with it.
    Help,
    /// Whether steps go on by themselves.
    Pause,
    /// That was all.
    Quit,
}

/// What is on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// A step.
    Step,
    /// The comparison at the end.
    End,
    /// What the keys and glyphs mean.
    Help,
}

/// A reader's place.
pub struct Browser<'s> {
    story: &'s Story,
    /// From 0; the number of steps is the comparison.
    step: usize,
    run: usize,
    focus: Option<u64>,
    helps: bool,
    paused: bool,
    note: Option<String>,
}

impl<'s> Browser<'s> {
    /// At the first step.
    pub fn new(story: &'s Story) -> Self {
        let run = story.shown_at(0);
        let focus = scene::focus_of(story, 0, run);
        Self { story, step: 0, run, focus, helps: false, paused: false, note: None }
    }

    /// The story.
    pub fn story(&self) -> &'s Story {
        self.story
    }

    /// What is on the screen.
    pub fn page(&self) -> Page {
        match (self.helps, self.step < self.story.len()) {
            (true, _) => Page::Help,
            (false, true) => Page::Step,
            (false, false) => Page::End,
        }
    }

    /// The scene of the step; at the end, that of the last.
    pub fn scene(&self) -> Scene {
        let step = self.step.min(self.story.len() - 1);
        Scene::of(self.story, step, self.run, self.focus)
    }

    /// What the last key could not do.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Whether there is nothing behind this.
    pub fn is_at_end(&self) -> bool {
        self.step >= self.story.len()
    }

    /// Whether steps that go on by themselves wait.
    pub fn is_paused(&self) -> bool {
        self.paused || self.helps
    }

    /// Does what a key asks; `false`: the reader has had enough.
    pub fn press(&mut self, key: Key) -> bool {
        self.note = None;
        if self.helps {
            self.helps = false;
            return key != Key::Quit;
        }
        match key {
            Key::Quit => return false,
            Key::Help => self.helps = true,
            Key::Pause => self.paused = !self.paused,
            Key::Next if self.is_at_end() => self.note = Some("this is the end".to_owned()),
            Key::Next => self.go_to(self.step + 1),
            Key::Back if self.step == 0 => self.note = Some("this is the first step".to_owned()),
            Key::Back => self.go_to(self.step - 1),
            Key::First => self.go_to(0),
            Key::Last => self.go_to(self.story.len()),
            Key::Design => self.switch(),
            Key::NextMove => self.next_move(),
        }
        true
    }

    fn go_to(&mut self, step: usize) {
        let forward = step > self.step;
        self.step = step;
        if self.is_at_end() {
            return;
        }
        // A step that brings its run is shown in it; going back, one sees what one saw.
        let shown = if forward { self.story.shows(step) } else { Some(self.story.shown_at(step)) };
        self.run = shown.unwrap_or(self.run);
        self.look();
    }

    fn unit(&self) -> UnitSize {
        self.story.runs[self.run].recording.plan.machine.unit
    }

    fn look(&mut self) {
        self.focus = scene::focus_of(self.story, self.step, self.run).or(self.focus);
    }

    fn switch(&mut self) {
        if self.is_at_end() || self.story.runs.len() == 1 {
            let why = if self.is_at_end() { "all runs are here" } else { "there is one run only" };
            self.note = Some(why.to_owned());
            return;
        }
        let before = self.unit();
        self.run = (self.run + 1) % self.story.runs.len();
        if self.unit() != before {
            // Another run's page of the same number lies elsewhere.
            self.focus = None;
        }
        self.look();
    }

    fn next_move(&mut self) {
        let step = self.step.min(self.story.len() - 1);
        let Some(gfn) = self.focus else {
            self.note = Some("no page has been looked at yet".to_owned());
            return;
        };
        match self.story.next_move(step, self.run, gfn) {
            Some(later) if !self.is_at_end() => {
                self.step = later;
                // The page that one follows stays in focus.
            }
            Some(_) | None => {
                self.note = Some(format!("page {gfn:#x} is not converted again in this run"));
            }
        }
    }
}
