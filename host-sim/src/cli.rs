//! The command: arguments, verbs, exit codes. Everything that it needs of the world comes in by
//! [`World`], so that tests can run it whole.

use crate::output::escape;
use crate::output::human::shell_word;
use crate::scenario::diagnostics::{self, Fault, Look};
use crate::scenario::select::{self, Filter, Selection};
use crate::suite::Runner;
use clap::builder::FalseyValueParser;
use clap::{Args, ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

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

const EXAMPLES: &str = "\
EXAMPLES
  uvsim run scenarios                        run every scenario below a folder
  uvsim run scenarios/basics --design d5     only the runs of one design
  uvsim list scenarios --id '*unit=4KiB*'    the ids of some runs
  uvsim check my.ron                         read and check everything, run nothing
  uvsim run my.ron --report json=result.json --report events=events.ndjson

EXIT CODES
  0 all as expected   1 something is not   2 usage   3 wrong input, nothing judged
  4 nothing selected  5 a run has no verdict  6 a report could not be written  70 a bug of uvsim";

/// Shows, page by page, what a host's devices do to a secure guest.
#[derive(Debug, Parser)]
#[command(name = "uvsim", version, after_help = EXAMPLES, max_term_width = 100)]
struct Command {
    /// When to use colour (NO_COLOR and CLICOLOR_FORCE are respected).
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", env = "UVSIM_COLOR")]
    color: When,
    /// Plain lines: no pictures, no colour, no progress bar.
    #[arg(long, global = true, env = "UVSIM_PLAIN", value_parser = FalseyValueParser::new())]
    plain: bool,
    #[command(subcommand)]
    verb: Verb,
}

/// When to do something that depends on the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum When {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run scenarios and judge them.
    Run(RunArgs),
    /// Print the id of each run, one a line.
    List(Chosen),
    /// Read and check scenarios, designs and images; run nothing.
    Check(Chosen),
}

/// Which runs.
#[derive(Debug, Args)]
pub struct Chosen {
    /// Scenario and design files, and folders of them [default: scenarios]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Only runs of this design: its name, or the part before the first dash.
    #[arg(long, value_name = "DESIGN", env = "UVSIM_DESIGN")]
    pub design: Option<String>,
    /// Only runs whose id matches; `*` also matches `/`.
    #[arg(long, value_name = "GLOB", env = "UVSIM_ID")]
    pub id: Option<Glob>,
    /// The seed of patterns, orders, keys and secrets.
    #[arg(long, value_name = "S", default_value_t = 1, env = "UVSIM_SEED")]
    pub seed: u64,
}

/// `run`'s arguments.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would print it")]
    pub chosen: Chosen,
    /// Threads [default: number of cores]
    #[arg(short, long, value_name = "N", env = "UVSIM_JOBS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// Write a report: `json=FILE` or `events=FILE`; may be given several times.
    #[arg(long = "report", value_name = "KIND=FILE")]
    pub reports: Vec<ReportArg>,
}

/// A pattern over run ids.
#[derive(Clone, Debug)]
pub struct Glob(globset::GlobMatcher);

impl FromStr for Glob {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let glob = globset::GlobBuilder::new(text).literal_separator(false).build();
        glob.map(|glob| Self(glob.compile_matcher())).map_err(|error| error.kind().to_string())
    }
}

/// Which kinds of report there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportKind {
    /// The result, one JSON object.
    Json,
    /// The log, NDJSON.
    Events,
}

/// `KIND=FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportArg {
    /// Which kind.
    pub kind: ReportKind,
    /// Where to.
    pub path: PathBuf,
}

impl FromStr for ReportArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, path) = text.split_once('=').ok_or("write KIND=FILE, e.g. json=result.json")?;
        let kind = match kind {
            "json" => ReportKind::Json,
            "events" => ReportKind::Events,
            _ => return Err("the kinds of report are `json` and `events`".to_owned()),
        };
        if path.is_empty() {
            return Err("the file's name is missing".to_owned());
        }
        Ok(Self { kind, path: PathBuf::from(path) })
    }
}

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

/// What the terminals can do, and what the environment says about them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terminal {
    /// stdout is a terminal.
    pub out_is_tty: bool,
    /// stderr is a terminal.
    pub err_is_tty: bool,
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
            unicode: locale.contains("utf-8") || locale.contains("utf8"),
            no_color: set("NO_COLOR") || text("TERM").is_some_and(|term| term == "dumb"),
            force_color: text("CLICOLOR_FORCE").is_some_and(|value| value != "0"),
            ci: set("CI"),
        }
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
    fn new(color: When, plain: bool, terminal: Terminal) -> Self {
        let wanted = |is_tty: bool| match color {
            When::Always => true,
            When::Never => false,
            When::Auto => !terminal.no_color && (is_tty || terminal.force_color),
        };
        let color = |is_tty: bool| wanted(is_tty) && !plain;
        let faults = Look { color: color(terminal.err_is_tty), unicode: terminal.unicode, plain };
        let progress = terminal.err_is_tty && !terminal.ci && !plain;
        Self { out_color: color(terminal.out_is_tty), faults, progress }
    }
}

/// stdout: a reader that went away is no error, and nothing more is written to it.
pub struct Out<'a> {
    out: &'a mut dyn Write,
    closed: bool,
    failed: Option<io::Error>,
}

impl Out<'_> {
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

    /// Whether everything that somebody still reads was written.
    pub fn failure(&self) -> Option<&io::Error> {
        self.failed.as_ref()
    }

    /// Whether the reader went away.
    pub fn is_closed(&self) -> bool {
        self.closed
    }
}

/// stderr: talk that nobody hears is no error.
pub struct Talk<'a>(&'a mut dyn Write);

impl Talk<'_> {
    /// Writes `text`.
    pub fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).and_then(|()| self.0.flush()).ok();
    }

    /// Shows faults.
    pub fn faults(&mut self, faults: &[Fault], look: Look) {
        // More than these help nobody.
        const SHOWN_MAX: usize = 100;
        for fault in faults.iter().take(SHOWN_MAX) {
            self.say(&diagnostics::render(fault, look));
        }
        if faults.len() > SHOWN_MAX {
            self.say(&format!("... and {} more\n", faults.len() - SHOWN_MAX));
        }
    }
}

/// Runs the command and says what to exit with.
pub fn main(arguments: impl IntoIterator<Item = OsString>, world: World<'_>) -> u8 {
    let World { runner, out, err, terminal } = world;
    let (mut out, mut talk) = (Out { out, closed: false, failed: None }, Talk(err));
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
                let job = crate::job::Job { arguments: &arguments, selection: &selection, style };
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

/// Why nothing was selected.
pub fn nothing_selected(talk: &mut Talk<'_>) -> u8 {
    talk.say("exit 4: no run was selected\n");
    exit::NOTHING
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

/// The command that repeats one run.
pub fn repeat(file: &str, id: &str, seed: u64) -> String {
    let seed = if seed == 1 { String::new() } else { format!(" --seed {seed}") };
    // The id has no characters that a glob would read otherwise.
    format!("uvsim run {} --id {}{seed}", shell_word(file), shell_word(id))
}
