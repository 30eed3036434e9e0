//! What the command meets of the world: exit codes, terminals, streams.

use crate::arguments::{Chosen, Errors, When};
use crate::escape::{self, shell_word};
use crate::output::words;
use crate::scenario::diagnostics::{self, Fault, Form, Look, one_of};
use crate::scenario::select::{Planned, Selection};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

/// Exit codes. When several hold, the first of 70, 3, 5, 6, 1 wins.
pub mod exit {
    /// All judged and as expected.
    pub const OK: u8 = 0;
    /// Judged, and something is not as expected.
    pub const UNEXPECTED: u8 = 1;
    /// The command line is wrong.
    pub const USAGE: u8 = 2;
    /// A scenario, design, policy or image is wrong: nothing was judged.
    pub const INPUT: u8 = 3;
    /// Nothing was selected.
    pub const NOTHING: u8 = 4;
    /// A run has no verdict.
    pub const NO_VERDICT: u8 = 5;
    /// A report could not be written.
    pub const OUTPUT: u8 = 6;
    /// A bug of ours.
    pub const BUG: u8 = 70;
}

/// What the terminals can do, and what the environment says about them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terminal {
    /// stdout is a terminal.
    pub out_is_tty: bool,
    /// stderr is a terminal.
    pub err_is_tty: bool,
    /// stdin is a terminal.
    pub in_is_tty: bool,
    /// TERM says that the terminal can do nothing but print lines, or nothing at all.
    pub is_dumb: bool,
    /// The locale is UTF-8.
    pub unicode: bool,
    /// NO_COLOR is set, or TERM is `dumb`.
    pub no_color: bool,
    /// CLICOLOR_FORCE is set.
    pub force_color: bool,
    /// CI is set.
    pub ci: bool,
}

impl Terminal {
    /// What this process's terminals and environment say.
    pub fn of_process() -> Self {
        use std::io::IsTerminal;
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(text).unwrap_or_default();
        let locale = locale.to_lowercase();
        Self {
            out_is_tty: io::stdout().is_terminal(),
            err_is_tty: io::stderr().is_terminal(),
            in_is_tty: io::stdin().is_terminal(),
            is_dumb: text("TERM").is_none_or(|term| term == "dumb"),
            unicode: locale.contains("utf-8") || locale.contains("utf8"),
            no_color: set("NO_COLOR") || text("TERM").is_some_and(|term| term == "dumb"),
            force_color: text("CLICOLOR_FORCE").is_some_and(|value| value != "0"),
            ci: set("CI"),
        }
    }
}

impl Terminal {
    /// Whether somebody can press keys and see pictures.
    pub fn has_keys(&self) -> bool {
        self.out_is_tty && self.in_is_tty && !self.is_dumb
    }
}

/// The one switch for the looks of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Colour on stdout.
    pub out_color: bool,
    /// How faults look on stderr.
    pub faults: Look,
    /// Whether a progress bar may be drawn on stderr.
    pub progress: bool,
}

impl Style {
    /// How it all looks: as asked for, else as the terminals and the environment say.
    pub fn new(color: When, plain: bool, errors: Errors, terminal: Terminal) -> Self {
        let wanted = |is_tty: bool| match color {
            When::Always => true,
            When::Never => false,
            When::Auto => !terminal.no_color && (is_tty || terminal.force_color),
        };
        let color = |is_tty: bool| wanted(is_tty) && !plain;
        let form = match errors {
            Errors::Json => Form::Json,
            Errors::Text if plain => Form::Narrated,
            Errors::Text => Form::Picture,
        };
        let faults = Look { color: color(terminal.err_is_tty), unicode: terminal.unicode, form };
        let progress = terminal.err_is_tty && !terminal.ci && !plain;
        Self { out_color: color(terminal.out_is_tty), faults, progress }
    }
}

/// A bar over `total` of `what` on stderr, if one may be drawn.
pub fn progress_bar(style: Style, total: usize, what: &str) -> ProgressBar {
    if !style.progress {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
    let look =
        ProgressStyle::with_template(&format!("{{pos}}/{{len}} {what} {{wide_bar}} {{elapsed}}"));
    bar.with_style(look.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// stdout: after a reader went away nothing more is written to it, and nothing is said about it.
pub struct Out<'a> {
    out: &'a mut dyn Write,
    closed: bool,
    failed: Option<io::Error>,
}

impl<'a> Out<'a> {
    /// Writes to `out`.
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { out, closed: false, failed: None }
    }

    /// Writes `text`, unless nobody reads any more.
    pub fn print(&mut self, text: &str) {
        if self.closed || self.failed.is_some() {
            return;
        }
        match self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            Ok(()) => (),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.closed = true,
            Err(error) => self.failed = Some(error),
        }
    }

    /// Why not everything was written, unless the reader just went away.
    pub fn failure(&self) -> Option<&io::Error> {
        self.failed.as_ref()
    }

    /// Whether something of what was asked for is missing.
    pub fn is_cut(&self) -> bool {
        self.closed || self.failed.is_some()
    }
}

/// stderr: talk that nobody hears is no error.
pub struct Talk<'a>(pub(crate) &'a mut dyn Write);

impl Talk<'_> {
    /// Writes `text`.
    pub fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).and_then(|()| self.0.flush()).ok();
    }

    /// Writes `text`, unless only faults are asked for.
    pub fn say_unless_json(&mut self, text: &str, look: Look) {
        if look.form != Form::Json {
            self.say(text);
        }
    }

    /// Shows faults.
    pub fn faults(&mut self, faults: &[Fault], look: Look) {
        // More than these help nobody.
        const SHOWN_MAX: usize = 100;
        for fault in faults.iter().take(SHOWN_MAX) {
            self.say(&diagnostics::render(fault, look));
        }
        if faults.len() > SHOWN_MAX {
            let more = format!("... and {} more\n", faults.len() - SHOWN_MAX);
            self.say_unless_json(&more, look);
        }
    }
}

/// Why nothing was selected.
pub fn nothing_selected(chosen: &Chosen, selection: &Selection, talk: &mut Talk<'_>) -> u8 {
    let (all, designs) = &selection.kept_of;
    let why = match (&chosen.design, chosen.id.is_some()) {
        _ if *all == 0 && selection.scenarios == 0 => match selection.chapters.as_slice() {
            [] => "there is no scenario here".to_owned(),
            [_, ..] => {
                "a chapter is shown by `uvsim demo FILE`, and there is no scenario here".to_owned()
            }
        },
        (Some(wanted), false) => {
            let runs = words::count(*all, "run");
            match one_of(designs.iter().map(String::as_str)) {
                _ if designs.is_empty() => format!("none of {runs} has a design"),
                names => format!("none of {runs} is of design `{wanted}`; there are {names}"),
            }
        }
        (None, true) => format!("`--id` matches none of {}", words::count(*all, "run")),
        (Some(_), true) => {
            format!("`--design` and `--id` leave none of {}", words::count(*all, "run"))
        }
        (None, false) if *all == 0 => "the scenarios have no runs".to_owned(),
        (None, false) => format!("none of {} can be used here", words::count(*all, "run")),
    };
    let text = format!("exit 4: no run was selected: {why}");
    talk.say(&words::wrapped("", &escape::terminal(&text)));
    exit::NOTHING
}

/// How much of its scenario a command repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    /// The run alone.
    Run,
    /// All runs, since one is judged beside others.
    Scenario,
}

/// The command that repeats a run.
pub fn repeat(run: &Planned, what: Repeats, seed: u64) -> String {
    let mut command = "uvsim run".to_owned();
    for file in run.design_file.iter().chain([&run.typed]) {
        // What begins with a dash would be an option.
        let here = if file.as_os_str().as_bytes().starts_with(b"-") { "./" } else { "" };
        command.push_str(&format!(" {here}{}", shell_word(file)));
    }
    if what == Repeats::Run {
        // The id has no characters that a glob would read otherwise.
        command.push_str(&format!(" --id {}", shell_word(&run.plan.id)));
    }
    if seed != 1 {
        command.push_str(&format!(" --seed {seed}"));
    }
    command
}
