//! The command: verbs and exit codes. Everything that it needs of the world comes in by
//! [`World`], so that a test can be the world.

use crate::arguments::{CheckArgs, Chosen, Command, Judging, Verb, When};
use crate::comparing::Comparing;
use crate::escape;
use crate::help_verbs;
use crate::job::Job;
use crate::output::words;
use crate::reporting;
use crate::reports;
use crate::scenario::diagnostics::Fault;
use crate::scenario::policy::Policy;
use crate::scenario::select::{self, Filter, Selection};
use crate::streams::{Out, Style, Talk};
use crate::suite::Runner;
use clap::{ColorChoice, CommandFactory, FromArgMatches};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
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
        Verb::List(chosen) => match selection(&chosen, None, &mut talk, style) {
            Ok((selection, _)) => list(&selection, &mut out),
            Err((code, _)) => code,
        },
        Verb::Check(CheckArgs { chosen, judging }) => {
            match selection(&chosen, Some(&judging), &mut talk, style) {
                Ok((selection, policies)) => {
                    let today = judging.today.unwrap_or_else(utc_today);
                    check(&selection, &policies, today, &mut talk)
                }
                Err((code, _)) => code,
            }
        }
        Verb::Compare(arguments) => {
            match selection(&arguments.chosen, Some(&arguments.judging), &mut talk, style) {
                Ok((selection, policies)) => {
                    let today = arguments.judging.today.unwrap_or_else(utc_today);
                    let (arguments, selection, policies) = (&arguments, &selection, &policies);
                    let job = Comparing { arguments, selection, policies, today, style };
                    job.run(runner, &mut out, &mut talk)
                }
                Err((code, _)) => code,
            }
        }
        Verb::Report(arguments) => reporting::report(&arguments, style, &mut talk),
        Verb::Explain { words } => help_verbs::explain(&words, &mut out, &mut talk),
        Verb::New { kind, file } => help_verbs::new(kind, &file, style, &mut out, &mut talk),
        Verb::Schema { kind } => help_verbs::schema(kind, &mut out),
        Verb::Run(arguments) => {
            match selection(&arguments.chosen, Some(&arguments.judging), &mut talk, style) {
                Ok((selection, policies)) => {
                    let today = arguments.judging.today.unwrap_or_else(utc_today);
                    let (arguments, selection, policies) = (&arguments, &selection, &policies);
                    let job = Job { arguments, selection, policies, today, style };
                    job.run(runner, &mut out, &mut talk)
                }
                Err((code, faults)) => {
                    out.print(&reports::of_faults(&arguments, &faults));
                    code
                }
            }
        }
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

/// The UTC date, for waivers alone: no run sees it.
#[expect(clippy::disallowed_methods, reason = "waivers end on days of the calendar")]
fn utc_today() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}

/// What is meant, or the exit code and what is wrong, which was told already.
fn selection(
    chosen: &Chosen,
    judging: Option<&Judging>,
    talk: &mut Talk<'_>,
    style: Style,
) -> Result<(Selection, Vec<Policy>), (u8, Vec<Fault>)> {
    let mut paths = chosen.paths.clone();
    if paths.is_empty() {
        if !Path::new(DEFAULT_PATH).is_dir() {
            talk.say("error: no PATH given, and there is no folder `scenarios` here\n");
            return Err((exit::USAGE, Vec::new()));
        }
        paths.push(PathBuf::from(DEFAULT_PATH));
    }
    let mut inputs = BTreeMap::new();
    let named = judging.map_or(&[][..], |judging| &judging.policies);
    let policies = select::policies(named, &mut inputs);
    let read = match (select::select(&paths, chosen.seed), policies) {
        (Ok(selection), Ok(policies)) => Ok((selection, policies)),
        (Ok(_), Err(faults)) | (Err(faults), Ok(_)) => Err(faults),
        (Err(mut faults), Err(more)) => {
            let new: Vec<_> = more.into_iter().filter(|fault| !faults.contains(fault)).collect();
            faults.extend(new);
            Err(faults)
        }
    };
    let (mut selection, policies) = read.map_err(|faults| {
        talk.faults(&faults, style.faults);
        let files = words::count(faults.len(), "fault");
        talk.say(&format!("exit 3: {files} in the input, nothing was judged\n"));
        (exit::INPUT, faults)
    })?;
    selection.inputs.extend(inputs);
    let id = chosen.id.as_ref().map(|glob| glob.0.clone());
    selection.keep(&Filter { design: chosen.design.clone(), id });
    Ok((selection, policies))
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

fn check(selection: &Selection, policies: &[Policy], today: Date, talk: &mut Talk<'_>) -> u8 {
    let Selection { runs, scenarios, designs, policies: beside, .. } = selection;
    let count = words::count;
    let mut kinds = vec![count(*scenarios, "scenario"), count(*designs, "design")];
    match (*beside).max(policies.len()) {
        0 => (),
        1 => kinds.push("1 policy".to_owned()),
        many => kinds.push(format!("{many} policies")),
    }
    let last = kinds.pop().unwrap_or_default();
    talk.say(
        &format!("{} and {last} are right: {}\n", kinds.join(", "), count(runs.len(), "run"),),
    );
    for warning in policies.iter().flat_map(|policy| crate::policy::past_waivers(policy, today)) {
        talk.say(&words::wrapped("warning: ", &escape::terminal(&warning)));
    }
    exit::OK
}
