//! Fields and variants: unknown, missing, there twice.

use super::{Refused, Said, form_of, homes};
use crate::scenario::codes::Code;
use crate::scenario::scan::{self, word_at};
use ron::error::Error;

/// What is wrong with a field or a variant as a word.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "ron's enum, not ours: the other functions say the rest"
)]
pub(super) fn word_fault(refused: &Refused<'_>, text: &str, at: usize) -> Option<Said> {
    Some(match &refused.error {
        Error::NoSuchStructField { expected, found, outer } => {
            let said = unknown(refused.head, outer.as_deref(), expected, found, at);
            if said.near().is_some_and(|near| !text.contains(&format!("{near}:"))) {
                return Some(said);
            }
            // Without a guess that can be, the field is read as if it were not there.
            Said { edits: vec![(scan::field(text, at), String::new())], ..said }
        }
        Error::NoSuchEnumVariant { expected, found, .. } => {
            Said::unknown("variant", "", found, expected, at)
        }
        Error::MissingStructField { field, outer } => missing(field, outer.as_deref(), text, at),
        Error::DuplicateStructField { field, .. } => {
            let message = format!("the field `{field}` is there twice");
            let said = Said::new(Code::DUPLICATE, message, at..at + word_at(text, at).len().max(1));
            let said = said.label("again here").edit(scan::field(text, at), "");
            said.help(Some("keep one of the two".to_owned()))
        }
        _ => return None,
    })
}

/// A field that its struct has not: perhaps another has it.
fn unknown(head: &str, outer: Option<&str>, expected: &[&str], found: &str, at: usize) -> Said {
    let whose = outer.map_or_else(String::new, |outer| format!(" in `{outer}`"));
    let said = Said::unknown("field", &whose, found, expected, at);
    if let Some(home) = homes::exact(head, expected, found) {
        return Said { edits: Vec::new(), ..said.choice(expected, None).help(Some(home)) };
    }
    match said.near() {
        Some(_) => said,
        None => said.help(homes::nearly(head, expected, found)),
    }
}

fn missing(field: &str, outer: Option<&str>, text: &str, at: usize) -> Said {
    let whose = outer.map_or_else(String::new, |outer| format!(" of `{outer}`"));
    let span = scan::enclosing(text, at.min(text.len()));
    let said =
        Said::new(Code::MISSING, format!("the field `{field}`{whose} is missing"), span.clone());
    let said = said.label("in here").help(outer.and_then(form_of));
    let open = text[span.clone()].find('(').map(|open| span.start + open);
    let Some(close) = open.and_then(|open| scan::closing(text, open)) else { return said };
    // Read as if it were there, with a value that is not looked at.
    let comma = match scan::sign_before(text, close) {
        Some((_, '(' | ',')) | None => "",
        Some(_) => ", ",
    };
    said.edit(close..close, format!("{comma}{field}: (), "))
}
