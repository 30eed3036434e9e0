//! What all kinds of file begin with: head word, `format`, `name`, `about`.

use super::codes::Code;
use super::diagnostics::{Choice, Fault, SourceText, nearest};
use super::reading::{At, Located, Reader};
use super::scan;
use std::sync::Arc;

/// The format number that this version reads.
pub const FORMAT: u32 = 1;
/// Names have at most this many characters.
const NAME_MAX: usize = 120;

/// What a file is about has at most this many characters.
const ABOUT_MAX: usize = 1000;

/// The kinds of file, by head word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// `Scenario(`.
    Scenario,
    /// `Design(`.
    Design,
    /// `Policy(`.
    Policy,
    /// `Chapter(`: a chapter of the demo.
    Chapter,
}

/// Tells which kind of file `source` is.
///
/// # Errors
/// It is none that this version reads.
pub fn kind(source: &Arc<SourceText>) -> Result<Head, Fault> {
    let text = &source.text;
    let start = skip_preamble(text).map_err(|open| {
        let message = "this comment is never closed".to_owned();
        let fault = Fault::at(source, open..open + 2, Code::SYNTAX, message);
        fault.help("end it with `*/`")
    })?;
    let rest = &text[start..];
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let word = &rest[..end];
    let first = rest.chars().next();
    let span = start..start + end.max(first.map_or(0, char::len_utf8));
    let fault = |message: String, help: &str| Fault {
        label: "the head word",
        ..Fault::at(source, span, Code::HEAD_WORD, message).help(help)
    };
    match (word, first) {
        ("Scenario", _) => Ok(Head::Scenario),
        ("Design", _) => Ok(Head::Design),
        ("Policy", _) => Ok(Head::Policy),
        ("Chapter", _) => Ok(Head::Chapter),
        (_, None) => {
            let path = &source.path;
            let message = format!("there is nothing in `{path}`: a file starts with {KINDS}");
            Err(fault(message, "`uvsim new scenario FILE` writes one to start from"))
        }
        ("", Some('{' | '(')) => Err(fault(
            format!("the head word is missing: a file starts with {KINDS}"),
            "RON writes `( )` where JSON writes `{ }`, and field names without quotes",
        )),
        ("", Some(sign)) => {
            let message = format!("a file starts with {KINDS}, not with `{sign}`");
            Err(fault(message, "is it a RON file? `uvsim schema scenario` shows one"))
        }
        _ => {
            let near =
                nearest(word, ["Scenario", "Design", "Policy", "Chapter"]).unwrap_or("Scenario");
            let cut: String = word.chars().take(40).collect();
            let message = format!("a file starts with {KINDS}, not with `{cut}`");
            let allowed = ["Scenario", "Design", "Policy", "Chapter"].map(str::to_owned).to_vec();
            let choice = Some(Box::new(Choice { allowed, near: Some(near.to_owned()) }));
            Err(Fault { choice, ..fault(message, &format!("did you mean `{near}(`?")) })
        }
    }
}

const KINDS: &str = "`Scenario(`, `Design(`, `Policy(` or `Chapter(`";

/// Past blanks, comments and `#![...]` attributes.
///
/// # Errors
/// Where a comment begins that has no end.
fn skip_preamble(text: &str) -> Result<usize, usize> {
    let mut rest = text.trim_start_matches('\u{feff}');
    loop {
        rest = rest.trim_start();
        let skipped = if rest.starts_with("//") {
            rest.find('\n')
        } else if rest.starts_with("/*") {
            let open = text.len() - rest.len();
            Some(scan::block_comment(rest).ok_or(open)?)
        } else if rest.starts_with("#![") {
            rest.find(']').map(|at| at + 1)
        } else {
            return Ok(text.len() - rest.len());
        };
        rest = skipped.map_or("", |at| &rest[at..]);
    }
}

/// Refuses a format that this version does not read.
pub fn check_format<'a>(reader: &mut Reader<'a>, format: Located<'a, u32>) {
    if let Some(At { value, span }) = reader.take(format)
        && value != FORMAT
    {
        let version = env!("CARGO_PKG_VERSION");
        let message = format!("format {value} is not known: uvsim {version} reads format {FORMAT}");
        let help = (value > FORMAT).then(|| "a newer uvsim is needed".to_owned());
        reader.fault(Code::FORMAT, &span, message, help);
    }
}

/// Whether `name` is made of `[a-z0-9/-]`, without empty parts.
pub fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '/';
    name.len() <= NAME_MAX
        && name.chars().all(allowed)
        && name.split('/').all(|part| !part.is_empty())
}

/// The name, checked.
pub fn name<'a>(reader: &mut Reader<'a>, name: Located<'a, String>) -> Option<At<String>> {
    let at = reader.take(name)?;
    if is_name(&at.value) {
        return Some(at);
    }
    let message = format!(
        "a name is made of a-z, 0-9 and `-`, with `/` between its parts, at most {NAME_MAX} characters"
    );
    let lower = at.value.to_lowercase().replace([' ', '_'], "-");
    let help = is_name(&lower).then(|| format!("did you mean `\"{lower}\"`?"));
    reader.fault(Code::BAD_NAME, &at.span, message, help);
    None
}

/// The sentence, checked.
pub fn about<'a>(reader: &mut Reader<'a>, about: Located<'a, String>) -> Option<String> {
    let at = reader.take(about)?;
    let length = at.value.chars().count();
    if at.value.trim().is_empty() {
        let message = "`about` is empty: write one sentence that a student understands".to_owned();
        reader.fault(Code::NO_ABOUT, &at.span, message, None);
    } else if length > ABOUT_MAX {
        let message =
            format!("`about` has {length} characters; one sentence has at most {ABOUT_MAX}");
        let help = "put the rest into a comment: `// ...`".to_owned();
        reader.fault(Code::OUT_OF_RANGE, &at.span, message, Some(help));
    } else {
        return Some(at.value);
    }
    None
}
