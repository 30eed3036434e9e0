//! Words with too few brackets or too many, and signs that begin no value: ron's errors in our words.

use super::{Refused, Said, form_hint, form_of};
use crate::scenario::codes::Code;
use crate::scenario::scan;
use ron::error::Error;

/// What to say about `refused` in `text`, where `word` stands at `at`, if it is about brackets.
pub(super) fn say(refused: &Refused<'_>, text: &str, at: usize, word: &str) -> Option<Said> {
    without(refused, text, at, word)
        .or_else(|| needless(&refused.error, text, at))
        .or_else(|| no_value(&refused.error, text, at))
}

/// A variant whose values are left out: `RawSecure` for `RawSecure(every: 8)`.
fn without(refused: &Refused<'_>, text: &str, at: usize, word: &str) -> Option<Said> {
    let behind = text.get(at + word.len()..)?.trim_start();
    let is_start = text[..at].trim().is_empty();
    if !is_start || !refused.variants.contains(&word) || behind.starts_with('(') {
        return None;
    }
    let message = format!("`{word}` takes its values in brackets, and there are none");
    let help = form_of(word).unwrap_or_else(|| format!("it is written `{word}()`"));
    Some(Said::new(Code::WRONG_SHAPE, message, at..at + word.len()).help(Some(help)))
}

/// Brackets behind a variant that takes no values: `Zero()` for `Zero`.
fn needless(error: &Error, text: &str, at: usize) -> Option<Said> {
    if !matches!(error, Error::TrailingCharacters | Error::ExpectedComma) {
        return None;
    }
    let end = text[..at].trim_end().len();
    let word = &text[scan::name_before(text, end)..end];
    let is_variant = word.starts_with(|c: char| c.is_ascii_uppercase());
    if !text[at..].starts_with('(') || !is_variant {
        return None;
    }
    let close = scan::closing(text, at)?;
    let message = format!("`{word}` takes no values");
    let said = Said::new(Code::WRONG_SHAPE, message, at..close + 1);
    Some(said.help(Some(format!("drop the brackets: `{word}`"))).edit(at..close + 1, ""))
}

/// A sign that begins no value.
fn no_value(error: &Error, text: &str, at: usize) -> Option<Said> {
    let Error::UnexpectedChar(sign) = error else { return None };
    let place = text[at..].starts_with(*sign).then_some(at)?;
    let span = place..place + sign.len_utf8();
    let (message, help) = match sign {
        ')' | ']' | '}' | ',' | ':' => {
            (format!("a value is missing before `{sign}`"), form_hint(text, at))
        }
        '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{ab}' | '\u{bb}' | '\u{2018}' | '\u{2019}'
        | '`' => {
            let wrong = if *sign == '`' { "backticks".to_owned() } else { format!("`{sign}`") };
            let message = format!("a text stands in straight double quotes, not in {wrong}");
            (message, Some("write `\"` on both sides".to_owned()))
        }
        _ => (format!("`{sign}` begins no value"), form_hint(text, at)),
    };
    Some(Said::new(Code::SYNTAX, message, span).help(help))
}

/// Another name before a struct's bracket than the field's own, or something that is no struct.
pub(super) fn other_name(text: &str, at: usize, word: &str, found: &str) -> Said {
    let span = at..(at + word.len().max(1)).min(text.len().max(at));
    let said = Said::new(Code::WRONG_SHAPE, format!("`(` is expected here, not {found}"), span);
    let is_name =
        text.get(at + word.len()..).is_some_and(|rest| rest.trim_start().starts_with('('));
    if word.is_empty() || !is_name {
        return said;
    }
    said.help(Some(format!("drop `{word}`"))).edit(at..at + word.len(), "")
}
