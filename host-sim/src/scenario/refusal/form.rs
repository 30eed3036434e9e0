//! Errors of form: brackets, quotes, commas and colons.

use super::brackets::other_name;
use super::values::{unquoted_text, value_fault};
use super::{Said, form_hint, found};
use crate::scenario::codes::Code;
use crate::scenario::scan::{self, Brackets, Scan, unquoted, word_at};
use ron::error::Error;

/// Brackets, quotes and comments that have no end: found in the whole text, whatever ron stopped at.
pub(super) fn broken(error: &Error, text: &str) -> Option<Said> {
    let line = |at: usize| text[..at].matches('\n').count() + 1;
    if matches!(error, Error::UnclosedBlockComment) {
        let start = text.rfind("/*")?;
        let said = Said::new(Code::SYNTAX, "this comment is never closed", start..start + 2);
        return Some(said.help(Some("end it with `*/`".to_owned())));
    }
    if let Some(at) = Scan::new(text).open_string() {
        let end = at + text[at..].find('\n').unwrap_or(text.len() - at).max(1);
        let said = Said::new(Code::SYNTAX, "a `\"` is missing: this text is never closed", at..end);
        return Some(said.label("opened here").help(Some("close it with `\"`".to_owned())));
    }
    match Scan::new(text).brackets() {
        Brackets::Paired => None,
        Brackets::NeverClosed(at, byte) => {
            let message = format!("the `{byte}` of line {} is never closed", line(at));
            let help = format!("add the `{}` that closes it", other(byte));
            let said = Said::new(Code::SYNTAX, message, at..at + 1);
            Some(said.label("opened here").help(Some(help)))
        }
        Brackets::Crossed((open, byte), (close, found)) => {
            let message = format!("the `{byte}` of line {} is closed by `{found}`", line(open));
            let help = format!("write `{}` here, or close what is open inside it", other(byte));
            Some(Said::new(Code::SYNTAX, message, close..close + 1).help(Some(help)))
        }
        Brackets::ClosesNothing(at, byte) => {
            let message = format!("this `{byte}` closes nothing");
            let said = Said::new(Code::SYNTAX, message, at..at + 1);
            Some(said.help(Some("take it out, or look for one that is missing before".to_owned())))
        }
    }
}

fn other(bracket: char) -> char {
    [('(', ')'), ('[', ']')].iter().find(|pair| pair.0 == bracket).map_or('}', |pair| pair.1)
}

/// Errors of form: another type than expected, or no RON at all.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "ron's enum, not ours: what is not named here is told in ron's words"
)]
pub(super) fn shape(error: &Error, text: &str, at: usize, word: &str) -> Said {
    let here = at..(at + word.len().max(1)).min(text.len().max(at));
    let found = found(text, at, word);
    let wrong = |message: String| Said::new(Code::WRONG_SHAPE, message, here.clone());
    let next = text[at..].chars().next().unwrap_or(' ');
    if let Some(said) = value_fault(error, text, at, word) {
        return said;
    }
    match error {
        Error::ExpectedMapColon => {
            colon(wrong(format!("a `:` is missing before {found}")), text, at)
        }
        Error::ExpectedComma => comma(text, at, &found),
        Error::TrailingCharacters => {
            let message = format!("nothing may follow the end of the value, and {found} does");
            let is_head = ["Scenario", "Design", "Policy"].contains(&word);
            let help = is_head.then(|| "one file holds one of them: make two files".to_owned());
            Said::new(Code::SYNTAX, message, here).help(help)
        }
        Error::ExpectedStructLikeEnd | Error::ExpectedOptionEnd => {
            wrong(format!("`)` is expected here, not {found}")).help(form_hint(text, at))
        }
        Error::ExpectedArrayEnd => wrong(format!("`]` is expected here, not {found}")),
        Error::ExpectedChar => single_quotes(text, at),
        Error::InvalidEscape(_) => Said::new(
            Code::SYNTAX,
            "a `\\` in a text starts an escape, and there is none of this name",
            here,
        )
        .help(Some("write `\\\\` for a backslash, `\\n` for a line feed".to_owned())),
        Error::ExpectedStructLike | Error::ExpectedNamedStructLike(_) if next == '{' => {
            braces(wrong(format!("`( )` is expected here, not {found}")), text, at)
        }
        Error::ExpectedStructLike | Error::ExpectedNamedStructLike(_) => {
            wrong(format!("`(` is expected here, not {found}")).help(form_hint(text, at))
        }
        Error::ExpectedIdentifier
        | Error::InvalidIdentifier(_)
        | Error::SuggestRawIdentifier(_) => identifier(wrong, &found, text, at, word),
        Error::ExpectedDifferentLength { .. } => {
            wrong("there are more or fewer values in here than it takes".to_owned())
                .help(form_hint(text, at))
        }
        Error::ExpectedDifferentStructName { .. } => other_name(text, at, word, &found),
        Error::NoSuchExtension(name) => {
            let message = format!("there is no extension `{name}` of RON");
            Said::new(Code::SYNTAX, message, here).help(Some("take it out".to_owned()))
        }
        _ => Said::new(Code::SYNTAX, format!("{error}, and not {found}"), here)
            .help(form_hint(text, at)),
    }
}

fn colon(said: Said, text: &str, at: usize) -> Said {
    let before = text[..at].trim_end().len();
    let name = &text[scan::name_before(text, before)..before];
    match text[at..].chars().next().unwrap_or(' ') {
        '=' => equals_sign(at),
        ',' | ')' => said.help(form_hint(text, at)),
        _ if name.is_empty() => said.help(form_hint(text, at)),
        _ => said.help(Some(format!("write `{name}: ...`"))).edit(before..before, ":"),
    }
}

fn equals_sign(at: usize) -> Said {
    let message = "a field and its value are joined by `:`";
    let said = Said::new(Code::WRONG_SHAPE, message, at..at + 1);
    said.help(Some("write `:` instead of `=`".to_owned())).edit(at..at + 1, ":")
}

/// A text in single quotes, which RON has for single characters.
fn single_quotes(text: &str, at: usize) -> Said {
    let Some((span, inner)) = unquoted_text(text, at, "") else {
        return Said::new(Code::SYNTAX, "this `'` begins nothing", at..(at + 1).min(text.len()));
    };
    let message = format!("a text stands in double quotes, not in single ones as `{inner}` does");
    let said = Said::new(Code::WRONG_SHAPE, message, span.clone());
    said.help(Some(format!("write `\"{inner}\"`"))).edit(span, format!("\"{inner}\""))
}

/// A field's name in quotes, as in JSON.
fn quoted_name(text: &str, end: usize) -> Option<Said> {
    let start = text[..end.checked_sub(1)?].rfind('"')?;
    let name = unquoted(&text[start..end])?;
    let message = format!("the name of a field stands without quotes, not as `\"{name}\"`");
    let said = Said::new(Code::WRONG_SHAPE, message, start..end);
    let said = said.help(Some(format!("drop the quotes: `{name}`")));
    Some(if is_word(name) { said.edit(start..end, name) } else { said })
}

fn is_word(name: &str) -> bool {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Between two values: the picture points at the end of the first.
fn comma(text: &str, at: usize, found: &str) -> Said {
    let end = scan::sign_before(text, at).map_or(at, |(end, _)| end);
    let next = text[at..].chars().next().unwrap_or(' ');
    let special = match next {
        '=' => Some(equals_sign(at)),
        ':' => quoted_name(text, end),
        _ => several_words(text, at, end),
    };
    if let Some(said) = special {
        return said;
    }
    let starts_value = text[at..].starts_with(|c: char| c.is_alphanumeric() || "\"_([".contains(c));
    let message = format!("a `,` is missing before {found}");
    let mark = text[..end].chars().next_back().map_or(0, char::len_utf8);
    let said = Said::new(Code::SYNTAX, message, end - mark..end).label("after this");
    if starts_value && end > 0 { said.edit(end..end, ",") } else { said.help(form_hint(text, at)) }
}

/// A text without quotes that has blanks in it: `about: Pages are shared`.
fn several_words(text: &str, at: usize, end: usize) -> Option<Said> {
    let start = scan::name_before(text, end);
    let is_first = matches!(scan::sign_before(text, start), Some((_, ':')));
    let next = word_at(text, at);
    let is_field = text[at + next.len()..].trim_start().starts_with(':');
    if !is_first || start == end || next.is_empty() || next.starts_with('"') || is_field {
        return None;
    }
    let stop = text[at..].find([',', ')', ']', '\n', '"']).map_or(text.len(), |stop| at + stop);
    let span = start..start + text[start..stop].trim_end().len();
    let words = text[span.clone()].to_owned();
    let message = format!("a text stands in quotes, and `{words}` does not");
    let said = Said::new(Code::WRONG_SHAPE, message, span.clone());
    let help = Some(format!("put it into quotes: `\"{words}\"`"));
    Some(said.help(help).edit(span, format!("\"{words}\"")))
}

/// `{ }` as in JSON: read as `( )`.
fn braces(said: Said, text: &str, at: usize) -> Said {
    let said = said.help(Some(
        "RON writes `( )` where JSON writes `{ }`, and field names without quotes".to_owned(),
    ));
    match scan::closing(text, at) {
        Some(close) => said.edit(at..at + 1, "(").edit(close..close + 1, ")"),
        None => said,
    }
}

fn identifier(
    wrong: impl Fn(String) -> Said,
    found: &str,
    text: &str,
    at: usize,
    word: &str,
) -> Said {
    let follows = text[at + word.len()..].trim_start();
    let first_in_brackets = text[..at].trim_end().ends_with('(');
    if follows.starts_with(':')
        && let Some(said) = quoted_name(text, at + word.len())
    {
        return said;
    }
    if text[at..].starts_with(',') && text[..at].trim_end().ends_with([',', '(']) {
        let said = Said::new(Code::SYNTAX, "there is a `,` too many", at..at + 1);
        return said.help(Some("take it out".to_owned())).edit(at..at + 1, "");
    }
    let said = wrong(format!("a name is expected here, not {found}"));
    match (unquoted(word), form_hint(text, at)) {
        (_, Some(form)) if first_in_brackets => said.help(Some(form)),
        (Some(name), _) => said.help(Some(format!("drop the quotes: `{name}`"))),
        (None, form) => said.help(form),
    }
}
