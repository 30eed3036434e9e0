//! The command: verbs and exit codes. Everything that it needs of the world comes in by
//! [`World`], so that a test can be the world.

use crate::arguments::{Chosen, Command, Verb, When};
use crate::escape;
use crate::job::Job;
use crate::scenario::select::{self, Filter, Selection};
use crate::streams::{Out, Style, Talk};
use crate::suite::Runner;
use clap::{ColorChoice, CommandFactory, FromArgMatches};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

pub use crate::streams::{Terminal, exit};

/// What the command finds around it.
pub struct World<'a> {
    /// Runs one plan.
    pub runner: Runner<'a>,
    /// Where what was asked for goes.
    pub out: &'a mut dyn Write,
    /// Where talk goes.
    pub err: &'a mut dyn Write,
    /// What the terminals can do.
    pub terminal: Terminal,
}

/// Runs the command and says what to exit with.
pub fn main(arguments: impl IntoIterator<Item = OsString>, world: World<'_>) -> u8 {
    let World { runner, out, err, terminal } = world;
    let (mut out, mut talk) = (Out::new(out), Talk(err));
    let early = Style::new(When::Auto, false, terminal);
    let parsed = Command::command()
        .color(if early.faults.color { ColorChoice::Always } else { ColorChoice::Never })
        .try_get_matches_from(arguments)
        .and_then(|matches| Command::from_arg_matches(&matches));
    let command = match parsed {
        Ok(command) => command,
        Err(error) => return usage(&error, &mut out, &mut talk, early),
    };
    let style = Style::new(command.color, command.plain, terminal);
    let code = match command.verb {
        Verb::List(chosen) => match selection(&chosen, &mut talk, style) {
            Ok(selection) => list(&selection, &mut out),
            Err(code) => code,
        },
        Verb::Check(chosen) => match selection(&chosen, &mut talk, style) {
            Ok(selection) => check(&selection, &mut talk),
            Err(code) => code,
        },
        Verb::Run(arguments) => match selection(&arguments.chosen, &mut talk, style) {
            Ok(selection) => {
                let job = Job { arguments: &arguments, selection: &selection, style };
                job.run(runner, &mut out, &mut talk)
            }
            Err(code) => code,
        },
    };
    if let Some(error) = out.failure() {
        talk.say(&format!("error[E510]: stdout: {}\n", error.kind()));
        return if code == exit::OK || code == exit::UNEXPECTED { exit::OUTPUT } else { code };
    }
    code
}

fn usage(error: &clap::Error, out: &mut Out<'_>, talk: &mut Talk<'_>, style: Style) -> u8 {
    let text = error.render();
    if error.use_stderr() {
        let text = if style.faults.color { text.ansi().to_string() } else { text.to_string() };
        talk.say(&text);
        return exit::USAGE;
    }
    out.print(&if style.out_color { text.ansi().to_string() } else { text.to_string() });
    exit::OK
}

/// The folder that is meant without a PATH.
const DEFAULT_PATH: &str = "scenarios";

fn selection(chosen: &Chosen, talk: &mut Talk<'_>, style: Style) -> Result<Selection, u8> {
    let mut paths = chosen.paths.clone();
    if paths.is_empty() {
        if !Path::new(DEFAULT_PATH).is_dir() {
            talk.say("error: no PATH given, and there is no folder `scenarios` here\n");
            return Err(exit::USAGE);
        }
        paths.push(PathBuf::from(DEFAULT_PATH));
    }
    let mut selection = select::select(&paths, chosen.seed).map_err(|faults| {
        talk.faults(&faults, style.faults);
        let files = crate::output::words::count(faults.len(), "fault");
        talk.say(&format!("exit 3: {files} in the input, nothing was judged\n"));
        exit::INPUT
    })?;
    let id = chosen.id.as_ref().map(|glob| glob.0.clone());
    selection.keep(&Filter { design: chosen.design.clone(), id });
    Ok(selection)
}

fn list(selection: &Selection, out: &mut Out<'_>) -> u8 {
    for run in &selection.runs {
        out.print(&format!("{}\n", escape::terminal(&run.plan.id)));
        if out.is_closed() {
            return exit::OK;
        }
    }
    if selection.runs.is_empty() { exit::NOTHING } else { exit::OK }
}

fn check(selection: &Selection, talk: &mut Talk<'_>) -> u8 {
    let Selection { runs, scenarios, designs, .. } = selection;
    let count = crate::output::words::count;
    talk.say(&format!(
        "{} and {} are right: {}\n",
        count(*scenarios, "scenario"),
        count(*designs, "design"),
        count(runs.len(), "run"),
    ));
    exit::OK
}
