//! The command's arguments, as clap reads them.

use crate::counters::Counter;
use crate::help::{reference, templates};
use crate::scenario::diagnostics::nearest;
use crate::scenario::policy::{day, matcher};
use crate::watchdog;
use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::civil::Date;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

const EXAMPLES: &str = "\
EXAMPLES
  uvsim run scenarios                        run every scenario below a folder
  uvsim run scenarios/basics --design d5     only the runs of one design
  uvsim list scenarios --id '*unit=4KiB*'    the ids of some runs
  uvsim run scenarios --policy scenarios/policies/thread.ron
  uvsim compare scenarios/thread             one table: designs x demands
  uvsim check my.ron                         read and check everything, run nothing
  uvsim run my.ron --report json=result.json --report events=events.ndjson
  uvsim run scenarios --report github --report junit=junit.xml

  uvsim demo                                 watch the ping-pong happen, step by step
  uvsim new block mine.ron                   a commented scenario to start from
  uvsim explain ping-pong                    what a word, a code or a design means

EXIT CODES
  0 all as expected   1 something is not   2 usage   3 wrong input, nothing judged
  4 nothing selected  5 a run has no verdict  6 a report could not be written  70 a bug of uvsim";

const EXPLAIN_EXAMPLES: &str = "\
EXAMPLES
  uvsim explain              all words
  uvsim explain E303         an error code: why, what to do, an example
  uvsim explain d5           a design: who proposed it, what it changes, its file
  uvsim explain slow         an outcome
  uvsim explain round_trips  a counter
  uvsim explain claim-6      a claim of the thread, and what was found
  uvsim explain no-leak      a rule of the shipped policies";

const NEW_EXAMPLES: &str = "\
EXAMPLES
  uvsim new scenario mine.ron && uvsim run mine.ron
  uvsim new policy -         print it";

const COMPARE_EXAMPLES: &str = "\
EXAMPLES
  uvsim compare scenarios/thread --policy scenarios/policies/thread.ron
  uvsim compare scenarios/thread --base d0 --metric uv.calls
  uvsim compare scenarios/thread --format json > compare.json";

const REPORT_EXAMPLES: &str = "\
EXAMPLES
  uvsim run scenarios/basics --report events=events.ndjson
  uvsim report events.ndjson -o report.html             every run, compared first
  uvsim report events.ndjson -o one.html --id '*rings=apart'
  uvsim report events.ndjson -o life.html --id '*rings=apart' --page 0x13
  uvsim report events.ndjson -k perfetto -o trace.pftrace    for ui.perfetto.dev
  uvsim report events.ndjson -k pcapng -o frames.pcapng      for wireshark and tshark

An event file is what `uvsim run --report events=FILE` wrote. A result (`--report json=FILE`) has
totals only: no report can be made of it.";

const DEMO_EXAMPLES: &str = "\
EXAMPLES
  uvsim demo                                 the ping-pong, step by step, in three minutes
  uvsim demo bounce                          how one request is bounced
  uvsim demo --plain designs | less          numbered steps instead of pictures
  uvsim demo my.ron --id '*design=d5*'       any run of your own, forward and back
  uvsim demo leak --record leak.cast         a terminal recording (asciicast v2)

CHAPTERS
  ping-pong  bounce  designs  leak  switch

KEYS
  space next   b back   n this page's next conversion   d the same step in the next run
  home, end    p pause  ? help   q quit";

const GDB_EXAMPLES: &str = "\
EXAMPLES
  uvsim gdb scenarios/thread/what-if.ron --design d0
  gdb -ex 'target remote 127.0.0.1:PORT'     in another terminal, as the first one prints

IN GDB
  break dma_map, watch, stepi, continue      as ever
  reverse-stepi, reverse-continue            back, as far as the first instruction
  monitor break uv.page_out                  stop where a page is encrypted for the host
  monitor view host                          memory as the host sees it: ciphertext
  monitor why, monitor page 0x13             what led here; a page's history
  monitor help                               all of them";

const SCHEMA_EXAMPLES: &str = "\
EXAMPLES
  uvsim schema scenario | less
  uvsim schema result > uvsim.result.schema.json";

/// Shows, page by page, what a host's devices do to a secure guest.
#[derive(Debug, Parser)]
#[command(name = "uvsim", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Command {
    /// When to use colour (NO_COLOR and CLICOLOR_FORCE are respected).
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", env = "UVSIM_COLOR")]
    pub color: When,
    /// Plain lines: no pictures, no colour, no progress bar.
    #[arg(long, global = true, env = "UVSIM_PLAIN", value_parser = FalseyValueParser::new())]
    pub plain: bool,
    /// How errors in input look on stderr: pictures and sentences, or a JSON object a line.
    #[arg(long, global = true, value_name = "FORM", default_value = "text", env = "UVSIM_ERRORS")]
    pub errors: Errors,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// When to do something that depends on the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// If it is a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How errors in input look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Errors {
    /// For people; with `--plain` without pictures.
    Text,
    /// For programs: one object a line for each fault, schema `uvsim.fault/1`.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run scenarios and judge them.
    Run(RunArgs),
    /// Run scenarios and compare their designs: demands, who must act, costs.
    #[command(after_help = COMPARE_EXAMPLES)]
    Compare(CompareArgs),
    /// Make a report of saved events: a page with pictures, a trace, or packets.
    #[command(after_help = REPORT_EXAMPLES)]
    Report(ReportArgs),
    /// Print the id of each run, one a line.
    List(Chosen),
    /// Read and check scenarios, designs, policies and images; run nothing.
    Check(CheckArgs),
    /// Show, step by step and back, what happens: a built-in chapter, or any run.
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(DemoArgs),
    /// Debug one run with gdb, forward and back.
    #[command(after_help = GDB_EXAMPLES)]
    Gdb(GdbArgs),
    /// Explain a word: error code, design, claim, rule, outcome, counter; without one, list them.
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain {
        /// What to explain, e.g. E303, d5, slow, round_trips, ping-pong, claim-6.
        #[arg(value_name = "WORD")]
        words: Vec<String>,
    },
    /// Write a commented file to start from.
    #[command(after_help = NEW_EXAMPLES)]
    New {
        /// What to write.
        #[arg(value_name = "KIND")]
        kind: templates::Kind,
        /// Where to; `-` is stdout. A file that is there already is left as it is.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Print all that a kind of file can say: annotated RON, or JSON Schema for results.
    #[command(after_help = SCHEMA_EXAMPLES)]
    Schema {
        /// Of which kind of file.
        #[arg(value_name = "KIND")]
        kind: reference::Kind,
    },
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

/// `demo`'s arguments.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// A chapter that is built in, a chapter's file, or scenario files.
    #[arg(value_name = "CHAPTER|FILE", default_value = "ping-pong")]
    pub what: String,
    /// Of scenario files, only runs whose id matches; `*` also matches `/`.
    #[arg(long, value_name = "GLOB", env = "UVSIM_ID")]
    pub id: Option<Glob>,
    /// Of scenario files, only runs of this design.
    #[arg(long, value_name = "DESIGN", env = "UVSIM_DESIGN")]
    pub design: Option<String>,
    /// Steps go on by themselves, each after so long: 600ms, 3s.
    #[arg(long, value_name = "TIME")]
    pub auto: Option<Pace>,
    /// Write a terminal recording instead (asciicast v2), 80 x 24.
    #[arg(long, value_name = "FILE.cast")]
    pub record: Option<PathBuf>,
    /// The seed of patterns, orders, keys and secrets.
    #[arg(long, value_name = "S", default_value_t = 1, env = "UVSIM_SEED")]
    pub seed: u64,
}

/// `gdb`'s arguments.
#[derive(Debug, Args)]
pub struct GdbArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would print it")]
    pub chosen: Chosen,
    /// Where to wait for the debugger: an address of this machine alone; port 0 is any free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
}

/// How long a step stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace(pub Duration);

impl FromStr for Pace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, scale) = match text.strip_suffix("ms") {
            Some(number) => (number, 1),
            None => (text.strip_suffix('s').ok_or("write it as 600ms or 3s")?, 1000),
        };
        let number: u64 = number.parse().map_err(|_| "write it as 600ms or 3s".to_owned())?;
        let ms = number.checked_mul(scale).filter(|ms| (1..=3_600_000).contains(ms));
        ms.map(|ms| Self(Duration::from_millis(ms))).ok_or("between 1ms and 3600s".to_owned())
    }
}

/// By which policies to judge.
#[derive(Debug, Args)]
pub struct Judging {
    /// Judge by this policy too (a file, or a folder of them); may be given several times.
    #[arg(long = "policy", value_name = "PATH", env = "UVSIM_POLICY")]
    pub policies: Vec<PathBuf>,
    /// The day by which waivers are judged, and nothing else [default: the UTC date]
    #[arg(long, value_name = "YYYY-MM-DD", env = "UVSIM_TODAY", value_parser = day)]
    pub today: Option<Date>,
}

/// `check`'s arguments.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would print it")]
    pub chosen: Chosen,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would print it")]
    pub judging: Judging,
}

/// `compare`'s arguments.
#[derive(Debug, Args)]
pub struct CompareArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would print it")]
    pub chosen: Chosen,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would print it")]
    pub judging: Judging,
    /// What makes a row.
    #[arg(long, value_name = "WHAT", default_value = "design")]
    pub by: By,
    /// The design that factors are against [default: the fastest clean one of each run]
    #[arg(long, value_name = "DESIGN")]
    pub base: Option<String>,
    /// A counter to show per request too; may be given several times.
    #[arg(long = "metric", value_name = "COUNTER")]
    pub metrics: Vec<Metric>,
    /// What the table looks like.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: TableFormat,
    /// Threads [default: number of cores]
    #[arg(short, long, value_name = "N", env = "UVSIM_JOBS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// Give a run up after so many seconds of real time: it has no verdict [default: 60]
    #[arg(long, value_name = "SECONDS", env = "UVSIM_WALL_CLOCK", value_parser = clap::value_parser!(u64).range(1..=watchdog::SECONDS_MAX))]
    pub wall_clock: Option<u64>,
}

/// What makes a row of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// The design.
    Design,
}

/// What a comparison looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TableFormat {
    /// Tables for a terminal.
    Text,
    /// Markdown.
    Md,
    /// One JSON object, schema `uvsim.compare/1`.
    Json,
}

/// A counter by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric(pub Counter);

impl FromStr for Metric {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Counter::from_name(name).map(Self).ok_or_else(|| {
            let near = nearest(name, Counter::ALL.iter().map(|counter| counter.name()));
            let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            format!("there is no such counter{hint}")
        })
    }
}

impl Chosen {
    /// Whether runs of the selected scenarios may be left out.
    pub fn is_partial(&self) -> bool {
        self.design.is_some() || self.id.is_some()
    }
}

/// `run`'s arguments.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would print it")]
    pub chosen: Chosen,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would print it")]
    pub judging: Judging,
    /// Threads [default: number of cores]
    #[arg(short, long, value_name = "N", env = "UVSIM_JOBS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// Give a run up after so many seconds of real time: it has no verdict [default: 60]
    #[arg(long, value_name = "SECONDS", env = "UVSIM_WALL_CLOCK", value_parser = clap::value_parser!(u64).range(1..=watchdog::SECONDS_MAX))]
    pub wall_clock: Option<u64>,
    /// Write a report, also several: json=FILE, events=FILE, html=FILE, perfetto=FILE,
    /// pcapng=FILE, junit=FILE, md=FILE, csv=FILE or github (annotations on stdout, and a summary
    /// where GITHUB_STEP_SUMMARY says, or with github=FILE into that).
    #[arg(long = "report", value_name = "KIND[=FILE]")]
    pub reports: Vec<ReportArg>,
    /// Print all that the guests wrote to their consoles, above each run's line.
    #[arg(long)]
    pub console: bool,
    /// Set by GitHub's runner.
    #[arg(long, hide = true, env = "GITHUB_STEP_SUMMARY", value_parser = clap::value_parser!(OsString))]
    pub github_step_summary: Option<OsString>,
    /// Set by GitHub's runner.
    #[arg(long, hide = true, env = "GITHUB_WORKSPACE", value_parser = clap::value_parser!(OsString))]
    pub github_workspace: Option<OsString>,
}

/// `report`'s arguments.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Event files, as `uvsim run --report events=FILE` writes them.
    #[arg(value_name = "EVENTS", required = true)]
    pub events: Vec<PathBuf>,
    /// Where to write the report.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// What to make.
    #[arg(short, long, value_name = "KIND", default_value = "html")]
    pub kind: Picture,
    /// Only runs whose id matches; `*` also matches `/`.
    #[arg(long, value_name = "GLOB")]
    pub id: Option<Glob>,
    /// Tell the life of this unit, by its number (0x13), instead of the one that flickers most.
    #[arg(long, value_name = "UNIT", value_parser = unit)]
    pub page: Option<u64>,
}

/// What can be made of saved events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Picture {
    /// One page with pictures; needs no network.
    Html,
    /// A trace for Perfetto's viewer.
    Perfetto,
    /// virtio-net's frames.
    Pcapng,
}

fn unit(text: &str) -> Result<u64, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| "a unit's number is 19 or 0x13".to_owned())
}

/// A pattern over run ids.
#[derive(Clone, Debug)]
pub struct Glob(pub(crate) globset::GlobMatcher);

impl FromStr for Glob {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        matcher(text).map(Self)
    }
}

/// Which kinds of report there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportKind {
    /// The result, one JSON object.
    Json,
    /// The log, NDJSON.
    Events,
    /// JUnit XML.
    Junit,
    /// Annotations and the job's summary.
    Github,
    /// Markdown.
    Md,
    /// One row a run.
    Csv,
    /// One page with pictures.
    Html,
    /// A trace for Perfetto's viewer.
    Perfetto,
    /// virtio-net's frames.
    Pcapng,
}

impl ReportKind {
    const NAMES: [(&'static str, Self); 9] = [
        ("json", Self::Json),
        ("events", Self::Events),
        ("junit", Self::Junit),
        ("github", Self::Github),
        ("md", Self::Md),
        ("csv", Self::Csv),
        ("html", Self::Html),
        ("perfetto", Self::Perfetto),
        ("pcapng", Self::Pcapng),
    ];
}

/// `KIND=FILE`, or `github`, which may go without a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportArg {
    /// Which kind.
    pub kind: ReportKind,
    /// Where to; only `github` goes without.
    pub path: Option<PathBuf>,
}

impl FromStr for ReportArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = text.split_once('=').map_or((text, None), |(a, b)| (a, Some(b)));
        let Some((_, kind)) = ReportKind::NAMES.into_iter().find(|(known, _)| *known == name)
        else {
            let kinds = ReportKind::NAMES.map(|(name, _)| format!("`{name}`"));
            return Err(format!("the kinds of report are {}", kinds.join(", ")));
        };
        match path {
            Some("") => Err("the file's name is missing".to_owned()),
            Some("-") => Err(format!("write {name}=/dev/stdout, or {name}=./- for that file")),
            None if kind != ReportKind::Github => {
                Err(format!("write {name}=FILE: the file's name is missing"))
            }
            path => Ok(Self { kind, path: path.map(PathBuf::from) }),
        }
    }
}
