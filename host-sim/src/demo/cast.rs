//! `--record FILE.cast`: the story as a terminal recording (asciicast v2), the same bytes each time.
//!
//! A line of JSON says how large the terminal is, then each line is a time, an `o` and what was
//! written to the terminal. Time is not measured: each step stays as long as its words take to read.

use super::browser::{Browser, Key};
use super::screen::{self, Look, SIZE};
use super::story::Story;
use indicatif::ProgressBar;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};
use serde_json::json;
use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::time::Duration;

/// A step stays at least this long, and so much longer for each character that it says.
const STEP_MS: u64 = 1_500;
const CHARACTER_MS: u64 = 35;

/// Writes the story to `out`: each step for `each`, else for as long as it takes to read it. `bar`
/// goes on by one for each step.
///
/// # Errors
/// `out` fails.
pub fn write(
    out: &mut dyn Write,
    story: &Story,
    each: Option<Duration>,
    bar: &ProgressBar,
) -> io::Result<()> {
    let (width, height) = SIZE;
    let head = json!({
        "version": 2,
        "width": width,
        "height": height,
        "title": format!("uvsim demo {}", story.name),
        "env": { "TERM": "xterm-256color" },
    });
    writeln!(out, "{head}")?;
    let look = Look { color: true, unicode: true };
    let viewport = Viewport::Fixed(Rect::new(0, 0, width, height));
    let written = Written::default();
    let backend = CrosstermBackend::new(written.clone());
    let mut terminal = Terminal::with_options(backend, TerminalOptions { viewport })?;
    let mut browser = Browser::new(story);
    let mut at_ms = 0;
    frame(out, at_ms, b"\x1b[?25l\x1b[2J")?;
    loop {
        terminal.draw(|frame| screen::draw(frame, &browser, look))?;
        frame(out, at_ms, &written.take())?;
        let says = if browser.is_at_end() { &story.ends } else { &browser.scene().says };
        let stays = each.map_or_else(
            || STEP_MS + CHARACTER_MS * says.chars().count() as u64,
            |each| u64::try_from(each.as_millis()).unwrap_or(u64::MAX),
        );
        at_ms = at_ms.saturating_add(stays);
        if browser.is_at_end() {
            return frame(out, at_ms, b"\x1b[?25h\r\n");
        }
        browser.press(Key::Next);
        bar.inc(1);
    }
}

/// What is written to the terminal: the backend keeps one end.
#[derive(Clone, Default)]
struct Written(Rc<RefCell<Vec<u8>>>);

impl Written {
    fn take(&self) -> Vec<u8> {
        self.0.take()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn frame(out: &mut dyn Write, at_ms: u64, bytes: &[u8]) -> io::Result<()> {
    let text = String::from_utf8_lossy(bytes);
    let (seconds, ms) = (at_ms / 1000, at_ms % 1000);
    let text = serde_json::to_string(&text).map_err(io::Error::other)?;
    writeln!(out, "[{seconds}.{ms:03}, \"o\", {text}]")
}
