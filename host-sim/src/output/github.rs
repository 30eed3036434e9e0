//! `--report github`: workflow commands that GitHub shows as annotations of the changed files.
//!
//! GitHub keeps ten annotations of a kind for each step, so the worst are told and the rest are
//! counted. Messages are escaped as the runner decodes them: `%`, CR and LF, in properties `:` and
//! `,` too.

use super::rows::{Results, Row};
use super::words;
use crate::escape;
use crate::scenario::diagnostics::Fault;

/// Annotations of one kind that GitHub keeps for one step.
const ANNOTATIONS_MAX: usize = 10;
/// Characters of one message; GitHub cuts at 4 KiB.
const MESSAGE_CHARS_MAX: usize = 1000;
/// Characters of a path or title.
const PROPERTY_CHARS_MAX: usize = 200;
/// The summary of one step may have this many bytes.
pub const SUMMARY_BYTES_MAX: usize = 1 << 20;

fn data(lines: &[String]) -> String {
    escape::github_message(lines, MESSAGE_CHARS_MAX)
}

fn property(text: &str) -> String {
    escape::github_property(text, PROPERTY_CHARS_MAX)
}

/// The path in the repository, if it is one: `prefix` is where in it the command runs.
fn in_repository(prefix: &str, file: &str) -> Option<String> {
    let inside = !file.starts_with('/') && file.split('/').all(|part| part != "..");
    inside.then(|| format!("{prefix}{}", file.trim_start_matches("./")))
}

fn annotation(row: &Row, prefix: &str) -> String {
    let place = in_repository(prefix, &row.file).map_or_else(String::new, |file| {
        let (line, col) = row.place();
        format!("file={},line={line},col={col},", property(&file))
    });
    let title = property(&format!("uvsim {}: {}", row.state().word(), row.id));
    let mut lines = row.reasons();
    lines.push(format!("repeat: {}", row.repeat));
    format!("::error {place}title={title}::{}\n", data(&lines))
}

/// The annotations, each on a line of its own. `prefix` is the current folder's path in the
/// repository, empty or ending in `/`.
pub fn annotations(results: &Results<'_>, prefix: &str) -> String {
    let mut unexpected: Vec<&Row> =
        results.rows.iter().filter(|row| row.state().is_unexpected()).collect();
    unexpected.sort_by_key(|row| row.badness());
    let all = unexpected.len();
    let told = if all > ANNOTATIONS_MAX { ANNOTATIONS_MAX - 1 } else { all };
    let mut text: String =
        unexpected.iter().take(told).map(|row| annotation(row, prefix)).collect();
    if told < all {
        let more = words::count(all - told, "run");
        text += &format!("::error title=uvsim::and {more} more, see the summary\n");
    }
    for warning in results.report.warnings.iter().take(ANNOTATIONS_MAX) {
        text += &format!("::warning title=uvsim::{}\n", data(std::slice::from_ref(warning)));
    }
    text
}

/// What is wrong with the input, as annotations.
pub fn input_faults(faults: &[Fault], prefix: &str) -> String {
    let told = if faults.len() > ANNOTATIONS_MAX { ANNOTATIONS_MAX - 1 } else { faults.len() };
    let mut text = String::new();
    for fault in faults.iter().take(told) {
        let file = fault.source.as_ref().and_then(|source| in_repository(prefix, &source.path));
        let place = file.map_or_else(String::new, |file| {
            let (line, col) = fault.position().unwrap_or((1, 1));
            format!("file={},line={line},col={col},", property(&file))
        });
        let help = fault.help.iter().map(|help| format!("help: {help}"));
        let lines: Vec<String> = std::iter::once(fault.message.clone()).chain(help).collect();
        text += &format!("::error {place}title=uvsim {}::{}\n", fault.code, data(&lines));
    }
    if told < faults.len() {
        let more = words::count(faults.len() - told, "fault");
        text += &format!("::error title=uvsim::and {more} more, see the log\n");
    }
    text
}
