//! The command: verbs and exit codes. Everything that it needs of the world comes in by
//! [`World`], so that a test can be the world.

use crate::arguments::{CheckArgs, Chosen, Command, Errors, Judging, Verb, When};
use crate::comparing::Comparing;
use crate::demo::{self, Demo};
use crate::escape::{self, shell_word};
use crate::gdb::Gdb;
use crate::help_verbs;
use crate::job::Job;
use crate::output::words;
use crate::reporting;
use crate::reports;
use crate::scenario::codes::Code;
use crate::scenario::diagnostics::Fault;
use crate::scenario::policy::Policy;
use crate::scenario::select::{self, Filter, Selection};
use crate::streams::{Out, Style, Talk, nothing_selected};
use crate::suite::{self, Runner};
use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Write;
use std::panic::{self, AssertUnwindSafe};
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

/// Runs the command and says what to exit with; a bug of ours ends it with 70, the seed and the
/// command that repeats it.
pub fn guarded(arguments: Vec<OsString>, world: World<'_>) -> u8 {
    let World { runner, out, err, terminal } = world;
    let result = panic::catch_unwind(AssertUnwindSafe(|| {
        main(arguments.clone(), World { runner, out: &mut *out, err: &mut *err, terminal })
    }));
    result.unwrap_or_else(|payload| {
        let why = escape::terminal_cut(&suite::panic_text(payload.as_ref()), 400);
        let (seed, again) = (seed(&arguments), repeat_all(&arguments));
        Talk(err).say(&format!("bug in uvsim: {why} (seed {seed})\n  repeat: {again}\n"));
        exit::BUG
    })
}

/// The seed that `arguments` ask for; 1 where they do not say, or say it in a way that they cannot.
fn seed(arguments: &[OsString]) -> u64 {
    let parsed = panic::catch_unwind(|| Command::try_parse_from(arguments)).ok();
    match parsed.and_then(Result::ok).map(|command| command.verb) {
        Some(Verb::Run(run)) => run.chosen.seed,
        Some(Verb::List(chosen) | Verb::Check(CheckArgs { chosen, .. })) => chosen.seed,
        Some(Verb::Compare(compare)) => compare.chosen.seed,
        Some(Verb::Demo(demo)) => demo.seed,
        Some(Verb::Gdb(gdb)) => gdb.chosen.seed,
        Some(Verb::Report(_) | Verb::Explain { .. } | Verb::New { .. } | Verb::Schema { .. })
        | None => 1,
    }
}

/// The same command again, for a shell: with what the environment adds to it.
fn repeat_all(arguments: &[OsString]) -> String {
    let settings = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.to_str().filter(|name| name.starts_with("UVSIM_"))?.to_owned();
        Some(format!("{name}={}", shell_word(value)))
    });
    let mut settings: Vec<String> = settings.collect();
    settings.sort();
    let words = settings.into_iter().chain(arguments.iter().map(shell_word));
    escape::terminal(&words.collect::<Vec<_>>().join(" "))
}

/// Runs the command and says what to exit with.
pub fn main(arguments: impl IntoIterator<Item = OsString>, world: World<'_>) -> u8 {
    let World { runner, out, err, terminal } = world;
    let (mut out, mut talk) = (Out::new(out), Talk(err));
    let early = Style::new(When::Auto, false, Errors::Text, terminal);
    let command = match parsed(arguments, early) {
        Ok(command) => command,
        Err(error) => return usage(&error, &mut out, &mut talk, early),
    };
    let style = Style::new(command.color, command.plain, command.errors, terminal);
    let code = match command.verb {
        Verb::List(chosen) => match selection(&chosen, None, &mut talk, style) {
            Ok((selection, _)) => list(&chosen, &selection, &mut out, &mut talk),
            Err((code, _)) => code,
        },
        Verb::Check(arguments) => check(&arguments, &mut talk, style),
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
        Verb::Demo(arguments) => {
            let is_interactive = terminal.has_keys() && !command.plain;
            Demo { arguments: &arguments, style, is_interactive }.run(runner, &mut out, &mut talk)
        }
        Verb::Gdb(arguments) => Gdb { arguments: &arguments, style }.run(&mut out, &mut talk),
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
        let message = format!("stdout could not be written: {}", error.kind());
        let fault = Fault::bare(Code::OUTPUT, message);
        talk.faults(&[fault.help("make room, or write somewhere else")], style.faults);
    }
    match code {
        // Part of what was asked for is missing, though nobody may be there to miss it.
        exit::OK | exit::UNEXPECTED if out.is_cut() => exit::OUTPUT,
        code => code,
    }
}

/// The command that `arguments` say. Words that are not right are told as they would be shown
/// anywhere: they may be names of files, and those anybody's.
fn parsed(
    arguments: impl IntoIterator<Item = OsString>,
    style: Style,
) -> Result<Command, clap::Error> {
    let parse = |arguments: Vec<OsString>| {
        Command::command()
            .color(if style.faults.color { ColorChoice::Always } else { ColorChoice::Never })
            .try_get_matches_from(arguments)
            .and_then(|matches| Command::from_arg_matches(&matches))
    };
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let inert = |word: &OsString| OsString::from(escape::terminal(&word.to_string_lossy()));
    parse(arguments.clone()).or_else(|error| {
        if !error.use_stderr() {
            return Err(error);
        }
        parse(arguments.iter().map(inert).collect()).and(Err(error))
    })
}

/// What is wrong with the arguments. A variable of the environment may have several lines: none of
/// them begins a command of a build log.
fn inert_lines(text: &str) -> String {
    let line = |line: &str| {
        let bare = line.trim_start();
        let line =
            if bare.starts_with("::") { line.replacen("::", "\\x3a:", 1) } else { line.to_owned() };
        escape::block(&line)
    };
    text.lines().map(|one| line(one) + "\n").collect()
}

fn usage(error: &clap::Error, out: &mut Out<'_>, talk: &mut Talk<'_>, style: Style) -> u8 {
    let text = error.render();
    if error.use_stderr() {
        let inert = inert_lines(&text.to_string());
        let is_inert = inert == text.to_string();
        let text = if style.faults.color && is_inert { text.ansi().to_string() } else { inert };
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
    let (mut selection, policies) =
        read.map_err(|faults| (wrong_input(&faults, talk, style), faults))?;
    selection.inputs.extend(inputs);
    let id = chosen.id.as_ref().map(|glob| glob.0.clone());
    selection.keep(&Filter { design: chosen.design.clone(), id });
    if let Err(fault) = few_enough(&selection, &policies) {
        let faults = vec![fault];
        return Err((wrong_input(&faults, talk, style), faults));
    }
    for notice in &selection.notices {
        let text = words::wrapped("note: ", &escape::terminal(notice));
        talk.say_unless_json(&text, style.faults);
    }
    Ok((selection, policies))
}

/// Whether there are not too many judgements of rules: each is kept till the reports are written.
fn few_enough(selection: &Selection, policies: &[Policy]) -> Result<(), Fault> {
    const RULINGS_MAX: usize = 400_000;
    let rules: usize = policies.iter().map(|policy| policy.rules.len()).sum();
    let runs = selection.runs.len();
    if rules.saturating_mul(runs) <= RULINGS_MAX {
        return Ok(());
    }
    let message = format!(
        "{rules} rules of policies on {runs} runs, at most {RULINGS_MAX} judgements in one command"
    );
    let fault = Fault::bare(Code::COUNT_LIMIT, message);
    Err(fault.help("choose fewer runs by `--id`, or split the policy"))
}

/// Tells what is wrong with the input; nothing was judged.
fn wrong_input(faults: &[Fault], talk: &mut Talk<'_>, style: Style) -> u8 {
    talk.faults(faults, style.faults);
    let files = words::count(faults.len(), "fault");
    let more = faults.first().map_or(Code::SYNTAX, |fault| fault.code);
    let why = format!(
        "exit 3: {files} in the input, nothing was judged (`uvsim explain {more}` says more)\n"
    );
    talk.say_unless_json(&why, style.faults);
    exit::INPUT
}

/// Whether each chapter's runs are there.
fn runs_of_chapters(selection: &Selection, seed: u64) -> Result<(), Vec<Fault>> {
    let read = selection.chapters.iter().map(|(chapter, folder)| {
        demo::runs_of(chapter, Some(folder), seed, &mut BTreeSet::new()).err().unwrap_or_default()
    });
    let faults: Vec<Fault> = read.flatten().collect();
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

fn list(chosen: &Chosen, selection: &Selection, out: &mut Out<'_>, talk: &mut Talk<'_>) -> u8 {
    for run in &selection.runs {
        out.print(&format!("{}\n", escape::terminal(&run.plan.id)));
        if out.is_cut() {
            return exit::OUTPUT;
        }
    }
    if selection.runs.is_empty() { nothing_selected(chosen, selection, talk) } else { exit::OK }
}

fn check(arguments: &CheckArgs, talk: &mut Talk<'_>, style: Style) -> u8 {
    let CheckArgs { chosen, judging } = arguments;
    let (selection, policies) = match selection(chosen, Some(judging), talk, style) {
        Ok(read) => read,
        Err((code, _)) => return code,
    };
    if let Err(faults) = runs_of_chapters(&selection, chosen.seed) {
        return wrong_input(&faults, talk, style);
    }
    let Selection { runs, scenarios, designs, policies: beside, chapters, .. } = &selection;
    // What is right is what was read: a folder without a file of ours is a slip in the path, and
    // a filter that leaves nothing one in the filter.
    let read = scenarios + designs + beside + chapters.len() + policies.len();
    if read == 0 || chosen.is_partial() && runs.is_empty() {
        return nothing_selected(chosen, &selection, talk);
    }
    let count = words::count;
    let mut kinds = vec![count(*scenarios, "scenario"), count(*designs, "design")];
    match (*beside).max(policies.len()) {
        0 => (),
        1 => kinds.push("1 policy".to_owned()),
        many => kinds.push(format!("{many} policies")),
    }
    if !chapters.is_empty() {
        kinds.push(count(chapters.len(), "chapter"));
    }
    let last = kinds.pop().unwrap_or_default();
    talk.say(
        &format!("{} and {last} are right: {}\n", kinds.join(", "), count(runs.len(), "run"),),
    );
    let today = judging.today.unwrap_or_else(utc_today);
    for warning in policies.iter().flat_map(|policy| crate::policy::past_waivers(policy, today)) {
        talk.say(&words::wrapped("warning: ", &escape::terminal(&warning)));
    }
    exit::OK
}
