//! `uvsim report`: saved events into a page, a trace or packets.

use crate::arguments::{Picture, ReportArgs};
use crate::escape::{self, shell_word};
use crate::event::Record;
use crate::output::target::{Taken, Target};
use crate::output::words;
use crate::report::digest::{Digest, Gathered};
use crate::report::html::{self, Judgement, Page};
use crate::report::{packets, trace};
use crate::saved::{Head, Reader, Saved};
use crate::scenario::codes::Code;
use crate::scenario::diagnostics::Fault;
use crate::scenario::source;
use crate::streams::{Style, Talk, exit};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::Path;

/// Why there is no report.
enum Stopped {
    /// An event file is wrong.
    Input(Fault),
    /// The report could not be written.
    Output(Fault),
}

/// Reads the event files, writes the report, and says what to exit with.
pub fn report(arguments: &ReportArgs, style: Style, talk: &mut Talk<'_>) -> u8 {
    if arguments.page.is_some() && arguments.kind != Picture::Html {
        talk.say("error: --page: a unit's life is told on a page: use it with `--kind html`\n");
        return exit::USAGE;
    }
    match made(arguments, style) {
        Ok(0) => {
            talk.say("exit 4: no run was selected\n");
            exit::NOTHING
        }
        Ok(runs) => {
            let file = escape::terminal(&shell_word(&arguments.output));
            talk.say(&format!("wrote {file}: {}\n", words::count(runs, "run")));
            exit::OK
        }
        Err(Stopped::Input(fault)) => {
            talk.faults(&[fault], style.faults);
            talk.say("exit 3: 1 fault in the input, no report was made\n");
            exit::INPUT
        }
        Err(Stopped::Output(fault)) => {
            talk.faults(&[fault], style.faults);
            talk.say("exit 6: the report could not be written\n");
            exit::OUTPUT
        }
    }
}

/// Makes the report; returns how many runs it has.
fn made(arguments: &ReportArgs, style: Style) -> Result<usize, Stopped> {
    let output = &arguments.output;
    let opened = Taken::by(arguments.events.iter().cloned()).take(output);
    let mut target = opened.and_then(|()| Target::open(output)).map_err(Stopped::Output)?;
    let mut runs = 0;
    match arguments.kind {
        Picture::Html => {
            let mut gathered = Gathered::default();
            each(arguments, style, |head, records| {
                runs += 1;
                gathered.push(Digest::of(head, records, arguments.page));
                Ok(())
            })
            .map_err(|stopped| stopped.map(&target))?;
            let page = page(arguments, gathered);
            let written = target.writer().write_all(html::render(&page).as_bytes());
            written.map_err(|error| Stopped::Output(target.failed(&error)))?;
        }
        Picture::Perfetto => {
            let mut trace = trace::Writer::default();
            let out = target.writer();
            let done = each(arguments, style, |head, records| {
                runs += 1;
                trace.run(out, &head, records)
            });
            done.map_err(|stopped| stopped.map(&target))?;
        }
        Picture::Pcapng => {
            let out = target.writer();
            let done = each(arguments, style, |head, records| {
                runs += 1;
                packets::write_run(out, &head, records)
            });
            done.map_err(|stopped| stopped.map(&target))?;
        }
    }
    if runs > 0 {
        target.finish().map_err(Stopped::Output)?;
    }
    Ok(runs)
}

/// Why reading and writing in one stopped.
enum Broken {
    Read(Fault),
    Write(io::Error),
}

impl Broken {
    fn map(self, target: &Target) -> Stopped {
        match self {
            Self::Read(fault) => Stopped::Input(fault),
            Self::Write(error) => Stopped::Output(target.failed(&error)),
        }
    }
}

/// Hands over each chosen run of each file, in order.
fn each(
    arguments: &ReportArgs,
    style: Style,
    mut take: impl FnMut(Head, &[Record]) -> io::Result<()>,
) -> Result<(), Broken> {
    let mut seen = BTreeSet::new();
    for path in &arguments.events {
        // The same file named twice is one file.
        if !seen.insert(fs::canonicalize(path).unwrap_or_else(|_| path.clone())) {
            continue;
        }
        let (file, shown) = open(path).map_err(Broken::Read)?;
        let bar = bar(style, &file);
        let reader = Reader::new(BufReader::with_capacity(1 << 18, bar.wrap_read(file)), shown);
        for saved in reader {
            let Saved { head, records } = saved.map_err(Broken::Read)?;
            if arguments.id.as_ref().is_none_or(|glob| glob.0.is_match(&head.run)) {
                take(head, &records).map_err(Broken::Write)?;
            }
        }
        bar.finish_and_clear();
    }
    Ok(())
}

fn open(path: &Path) -> Result<(File, String), Fault> {
    let shown = source::shown(path);
    let refuse = |why: &str| Fault::bare(Code::BAD_ARGUMENT, format!("`{shown}` {why}"));
    // Asked before opening: opening a FIFO would wait for a writer.
    let meta = fs::metadata(path)
        .map_err(|error| refuse(&format!("cannot be read: {}", source::reason(&error))))?;
    if !meta.is_file() {
        return Err(refuse("is no regular file"));
    }
    let file = File::open(path)
        .map_err(|error| refuse(&format!("cannot be read: {}", source::reason(&error))))?;
    Ok((file, shown))
}

/// A bar over the bytes of a file on stderr, if one may be drawn.
fn bar(style: Style, file: &File) -> ProgressBar {
    let bytes = file.metadata().map_or(0, |meta| meta.len());
    if !style.progress {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
    let look = ProgressStyle::with_template("reading {bytes}/{total_bytes} {wide_bar} {elapsed}");
    bar.with_style(look.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn page(arguments: &ReportArgs, gathered: Gathered) -> Page {
    let events: Vec<String> = arguments.events.iter().map(shell_word).collect();
    let output = shell_word(&arguments.output);
    let mut command = format!("uvsim report {} -o {output}", events.join(" "));
    if let Some(glob) = &arguments.id {
        command.push_str(&format!(" --id {}", shell_word(glob.0.glob().glob())));
    }
    if let Some(page) = arguments.page {
        command.push_str(&format!(" --page {page:#x}"));
    }
    let runs = gathered.runs.into_iter();
    Page {
        runs: runs.map(|digest| html::Run { digest, judgement: Judgement::default() }).collect(),
        command,
        conclusion: None,
        data: format!(
            "All events: {}. What rules of policies say is not in event files; `uvsim run --report \
             html=FILE --policy POLICY` shows it.",
            events.join(", ")
        ),
    }
}
