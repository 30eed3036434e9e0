//! `uvsim demo`: a run recorded once and browsed forward and back.
//!
//! `recording` has the log and what was known at each record; `story` has the steps, written in a
//! chapter's file or found in the log; `scene` is what one step shows, as values; `plain`, `screen`
//! and `cast` put scenes on paper, into a terminal and into a file. None of them sees the machine.

mod browser;
mod cast;
mod command;
mod listing;
mod moments;
mod plain;
mod recording;
mod scene;
mod screen;
mod source;
mod story;
mod table;
mod telling;
mod terminal;

pub use browser::{Browser, Key};
pub use command::Demo;
pub use recording::{Recording, unit_of};
pub use scene::{Actor, Scene};
pub use screen::{Look, draw};
pub use source::{CHAPTERS, chapter, runs_of, story_of};
pub use story::Story;
pub use telling::plain as plain_sentence;
