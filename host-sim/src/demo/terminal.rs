//! A story on the process's terminal: keys in, screens out.

use super::browser::{Browser, Key};
use super::screen::{self, Look};
use super::story::Story;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::io;
use std::time::Duration;

/// Without `--auto` the terminal is asked for keys this often; nothing depends on it.
const ASKED_EVERY: Duration = Duration::from_secs(3600);

/// No screen has more cells.
const CELLS_MAX: usize = 1 << 22;

/// Lets a reader browse `story` until he has had enough; `each`: steps go on by themselves.
///
/// # Errors
/// The terminal cannot be set up, or is gone. It is put back in any case.
pub fn browse(story: &Story, look: Look, each: Option<Duration>) -> io::Result<()> {
    demand_drawable()?;
    let mut terminal = ratatui::try_init()?;
    let mut browser = Browser::new(story);
    let result = loop {
        let drawable = demand_drawable();
        if let Err(error) = drawable
            .and_then(|()| terminal.draw(|frame| screen::draw(frame, &browser, look)).map(drop))
        {
            break Err(error);
        }
        let wait = each.filter(|_| !browser.is_paused() && !browser.is_at_end());
        match pressed(wait.unwrap_or(ASKED_EVERY)) {
            Ok(Heard::Key(key)) if !browser.press(key) => break Ok(()),
            Ok(Heard::Key(_) | Heard::Redraw) => (),
            Ok(Heard::Nothing) if wait.is_some() => {
                browser.press(Key::Next);
            }
            Ok(Heard::Nothing) => (),
            Err(error) => break Err(error),
        }
    };
    ratatui::restore();
    result
}

/// A terminal may say of itself what it likes, and each of its cells is kept in memory.
///
/// # Errors
/// It says that it is larger than any screen, or does not say how large it is.
fn demand_drawable() -> io::Result<()> {
    let (columns, rows) = ratatui::crossterm::terminal::size()?;
    if usize::from(columns) * usize::from(rows) > CELLS_MAX {
        return Err(io::Error::from(io::ErrorKind::Unsupported));
    }
    Ok(())
}

enum Heard {
    Key(Key),
    Redraw,
    Nothing,
}

fn pressed(wait: Duration) -> io::Result<Heard> {
    if !event::poll(wait)? {
        return Ok(Heard::Nothing);
    }
    Ok(match event::read()? {
        Event::Key(key) if key.kind != KeyEventKind::Release => {
            meaning(key).map_or(Heard::Redraw, Heard::Key)
        }
        Event::Key(_)
        | Event::Resize(..)
        | Event::FocusGained
        | Event::FocusLost
        | Event::Mouse(_)
        | Event::Paste(_) => Heard::Redraw,
    })
}

/// What a key of the terminal means.
#[expect(clippy::wildcard_enum_match_arm, reason = "crossterm's enum: other keys mean nothing")]
fn meaning(key: KeyEvent) -> Option<Key> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return matches!(key.code, KeyCode::Char('c' | 'd')).then_some(Key::Quit);
    }
    Some(match key.code {
        KeyCode::Char(' ') | KeyCode::Enter | KeyCode::Right | KeyCode::Down => Key::Next,
        KeyCode::Char('b') | KeyCode::Left | KeyCode::Up | KeyCode::Backspace => Key::Back,
        KeyCode::Char('n') => Key::NextMove,
        KeyCode::Char('d') | KeyCode::Tab => Key::Design,
        KeyCode::Home | KeyCode::Char('g') => Key::First,
        KeyCode::End | KeyCode::Char('G') => Key::Last,
        KeyCode::Char('p') => Key::Pause,
        KeyCode::Char('?' | 'h') => Key::Help,
        KeyCode::Char('q') | KeyCode::Esc => Key::Quit,
        _ => return None,
    })
}
