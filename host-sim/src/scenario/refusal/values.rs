//! Values that are of another kind than wanted, or do not fit.

use super::{DEPTH_MAX, Refused, Said, form_hint, found};
use crate::scenario::codes::Code;
use crate::scenario::scan::{self, unquoted, word_at};
use ron::error::Error;
use std::ops::Range;

/// Numbers that do not fit, what our own types refuse, and nesting.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "ron's enum, not ours: the other functions say the rest"
)]
pub(super) fn number_fault(
    refused: &Refused<'_>,
    text: &str,
    at: usize,
    word: &str,
) -> Option<Said> {
    let error = &refused.error;
    let here = at..(at + word.len().max(1)).min(text.len().max(at));
    Some(match error {
        Error::Message(message) => {
            // The text is a single value whose contents were refused: all of it is meant.
            let is_one = unquoted(text).is_some() || word_at(text, 0) == text;
            let span = if is_one { 0..text.len() } else { here };
            let (message, near) = match message.split_once(": did you mean `") {
                Some((message, near)) => (message, near.strip_suffix("`?")),
                None => (message.as_str(), None),
            };
            let help = near.map(|near| format!("did you mean `{near}`?"));
            let said = Said::new(Code::OUT_OF_RANGE, message, span).help(help);
            if near.is_some() { said.choice(&[], near) } else { said }
        }
        Error::InvalidValueForType { expected, found } => {
            let found = found.replace("a sequence", "a list");
            let is_number = found.starts_with(|c: char| c.is_ascii_digit());
            let found = if is_number { format!("`{found}`") } else { found };
            let is_integer = expected.ends_with("integer");
            let expected = if is_integer { "a whole number without a type" } else { expected };
            let message = format!("{expected} is expected here, not {found}");
            Said::new(Code::WRONG_SHAPE, message, here)
        }
        Error::IntegerOutOfBounds | Error::InvalidIntegerDigit { .. } => {
            let start = if text[..at].ends_with('-') { at - 1 } else { at };
            let number = &text[start..(at + word.len()).min(text.len())];
            if number.contains(['e', 'E']) && !number.contains('x') {
                let message = format!("a whole number is expected here, not `{number}`");
                let help = "write all of its digits; `_` may stand between them".to_owned();
                let said = Said::new(Code::WRONG_SHAPE, message, start..start + number.len());
                return Some(said.help(Some(help)));
            }
            let message = if number.starts_with('-') {
                format!("`{number}` is less than 0, and this field counts from there")
            } else {
                let most = refused.largest.map(|most| format!(", at most {most}"));
                let most = most.unwrap_or_default();
                format!("`{number}` is larger than this field can be{most}")
            };
            Said::new(Code::OUT_OF_RANGE, message, start..start + number.len().max(1))
                .label("out of range")
        }
        Error::ExceededRecursionLimit => {
            let message = format!("values are nested deeper than {DEPTH_MAX}");
            Said::new(Code::TOO_DEEP, message, at..(at + 1).min(text.len().max(at)))
        }
        _ => return None,
    })
}

/// Units that stand in quotes, with the slips that are read as they were meant.
const UNITS: [&str; 12] =
    ["B", "KiB", "MiB", "GiB", "TiB", "KB", "MB", "GB", "ns", "us", "ms", "s"];

/// A number with its unit and without quotes, such as `64MiB` or `64 MiB`, that ron stopped in.
pub(super) fn bare_quantity(error: &Error, text: &str, at: usize) -> Option<Said> {
    if !matches!(error, Error::ExpectedComma | Error::TrailingCharacters | Error::ExpectedString) {
        return None;
    }
    let before = text.get(..at)?;
    let number_end = before.trim_end().len();
    let is_digit = |c: char| c.is_ascii_digit() || c == '.' || c == '_';
    let start = before[..number_end].trim_end_matches(is_digit).len();
    let unit = word_at(text, at);
    let number = &before[start..number_end];
    let is_number = number.starts_with(|c: char| c.is_ascii_digit());
    let is_word = before[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let is_unit = number_end == at || UNITS.iter().any(|known| known.eq_ignore_ascii_case(unit));
    let starts_unit = unit.starts_with(|c: char| c.is_ascii_alphabetic());
    if !is_number || is_word || !is_unit || !starts_unit {
        return None;
    }
    let span = start..at + unit.len();
    let quoted = match unit {
        "KB" | "kB" | "MB" | "GB" | "TB" => format!("\"{number}{}iB\"", &unit[..1].to_uppercase()),
        _ => format!("\"{number}{unit}\""),
    };
    let message = format!("`{}` is no value: sizes and times stand in quotes", &text[span.clone()]);
    let said = Said::new(Code::WRONG_SHAPE, message, span.clone());
    Some(said.help(Some(format!("put it into quotes: `{quoted}`"))).edit(span, quoted))
}

/// Another type of value than expected.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "ron's enum, not ours: the other functions say the rest"
)]
pub(super) fn value_fault(error: &Error, text: &str, at: usize, word: &str) -> Option<Said> {
    let here = at..(at + word.len().max(1)).min(text.len().max(at));
    let found = found(text, at, word);
    let wrong = |message: String| Said::new(Code::WRONG_SHAPE, message, here.clone());
    Some(match error {
        Error::ExpectedInteger | Error::TrailingCharacters if is_fraction(text) => {
            let span = 0..text.len();
            let message = format!("a whole number is expected here, not `{text}`");
            Said::new(Code::WRONG_SHAPE, message, span)
        }
        Error::ExpectedInteger => {
            wrong(format!("a whole number is expected here, not {found}")).help(form_hint(text, at))
        }
        Error::ExpectedBoolean => boolean(wrong, &found, text, word),
        Error::ExpectedString => {
            let said = wrong(format!("a text in quotes is expected here, not {found}"));
            match unquoted_text(text, at, word) {
                Some((span, text)) => {
                    let help = Some(format!("put it into quotes: `\"{text}\"`"));
                    said.help(help).edit(span, format!("\"{text}\""))
                }
                None => said,
            }
        }
        Error::ExpectedArray => {
            let help = if word.is_empty() {
                "write `[ ]` around the items".to_owned()
            } else {
                format!("write `[{}]`: one item is a list too", value_cut(text, at))
            };
            wrong(format!("a list is expected here, not {found}")).help(Some(help))
        }
        _ => return None,
    })
}

fn is_fraction(text: &str) -> bool {
    text.contains('.') && text.parse::<f64>().is_ok()
}

fn boolean(wrong: impl Fn(String) -> Said, found: &str, text: &str, word: &str) -> Said {
    let said = wrong(format!("`true` or `false` is expected here, not {found}"));
    let meant = match word.trim_matches('"').to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => "true",
        "false" | "no" | "off" | "0" => "false",
        _ => return said.choice(&["true", "false"], None),
    };
    let span = said.span.clone();
    let said = said.help(Some(format!("did you mean `{meant}`?")));
    let said = if span.end <= text.len() { said.edit(span, meant) } else { said };
    said.choice(&["true", "false"], Some(meant))
}

/// What stands where a text in quotes should: a word, or one in single quotes.
pub(super) fn unquoted_text<'a>(
    text: &'a str,
    at: usize,
    word: &'a str,
) -> Option<(Range<usize>, &'a str)> {
    if let Some(inner) = text[at..].strip_prefix('\'') {
        let end = inner.find(['\'', '\n', ',', ')'])?;
        let closes = usize::from(inner[end..].starts_with('\''));
        return Some((at..at + 1 + end + closes, &inner[..end]));
    }
    (!word.is_empty() && !word.starts_with('"')).then(|| (at..at + word.len(), word))
}

/// The value at `at`, cut for a hint.
fn value_cut(text: &str, at: usize) -> String {
    let span = scan::field(text, at);
    let value = text[span].trim_end_matches(',').trim();
    let short = value.chars().count() <= 60 && !value.contains('\n');
    if short { value.to_owned() } else { "...".to_owned() }
}
