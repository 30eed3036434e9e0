//! ron's errors in our words: what is wrong, what is allowed there, what was probably meant, and
//! how to read on.

mod brackets;
mod fields;
mod form;
mod homes;
mod values;

use super::codes::Code;
use super::diagnostics::{Choice, nearest, one_of};
use super::file::FORMS;
use super::mended::Edit;
use super::scan::{self, Scan, unquoted, word_at};
use ron::error::Error;
use std::ops::Range;

/// Values are nested at most this deep.
pub const DEPTH_MAX: usize = 64;

/// So many characters of a wrong word are repeated.
const FOUND_MAX: usize = 60;

/// What there is to say about one error. Places are in the text that was read.
#[derive(Debug)]
pub struct Said {
    /// Its code.
    pub code: Code,
    /// What is wrong, and what is allowed.
    pub message: String,
    /// Which bytes are meant.
    pub span: Range<usize>,
    /// What to write at them.
    pub label: &'static str,
    /// What to do.
    pub help: Option<String>,
    /// The words that are allowed, if they are words.
    pub choice: Option<Choice>,
    /// How to read on.
    pub edits: Vec<Edit>,
}

impl Said {
    fn new(code: Code, message: impl Into<String>, span: Range<usize>) -> Self {
        let (message, label, edits) = (message.into(), "here", Vec::new());
        Self { code, message, span, label, help: None, choice: None, edits }
    }

    fn label(mut self, label: &'static str) -> Self {
        self.label = label;
        self
    }

    fn choice(mut self, allowed: &[&str], near: Option<&str>) -> Self {
        let allowed = allowed.iter().map(|word| (*word).to_owned()).collect();
        self.choice = Some(Choice { allowed, near: near.map(str::to_owned) });
        self
    }

    fn near(&self) -> Option<&str> {
        self.choice.as_ref()?.near.as_deref()
    }

    fn help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }

    fn edit(mut self, span: Range<usize>, text: impl Into<String>) -> Self {
        self.edits.push((span, text.into()));
        self
    }

    /// A word that is none of `expected`.
    fn unknown(kind: &str, whose: &str, found: &str, expected: &[&str], at: usize) -> Self {
        let allowed = one_of(expected.iter().copied());
        let shown: String = found.chars().take(FOUND_MAX).collect();
        let cut = if shown.len() < found.len() { "..." } else { "" };
        let message = format!("there is no {kind} `{shown}{cut}`{whose}; it takes {allowed}");
        let span = at..at + found.len();
        let near = nearest(found, expected.iter().copied());
        let label = if kind == "field" { "not a known field" } else { "not a known variant" };
        let said = Self::new(Code::UNKNOWN_WORD, message, span.clone()).label(label);
        let said = said.choice(expected, near);
        match near {
            Some(near) => said.help(Some(format!("did you mean `{near}`?"))).edit(span, near),
            None => said,
        }
    }
}

/// What ron found, where, and what it finds if the quotes around the value are dropped.
#[derive(Debug)]
pub struct Refused<'a> {
    /// The error.
    pub error: Error,
    /// The word that the whole file begins with.
    pub head: &'a str,
    /// Where it is in the text that was read.
    pub span: Range<usize>,
    /// For a value in quotes: what is wrong with it without them.
    pub bare: Option<Result<(), Error>>,
    /// The variants that there are, if the name of one is wanted.
    pub variants: &'static [&'static str],
    /// The largest whole number that there is room for, if one is wanted.
    pub largest: Option<u64>,
}

/// What to say about `refused`, which was found in `text`.
pub fn say(refused: &Refused<'_>, text: &str) -> Said {
    let start = refused.span.start.min(text.len());
    let at = start + (text[start..].len() - text[start..].trim_start().len());
    let word = word_at(text, at);
    if let Some(said) = needless_quotes(refused, text) {
        return said;
    }
    fields::word_fault(refused, text, at)
        .or_else(|| values::number_fault(refused, text, at, word))
        .or_else(|| values::bare_quantity(&refused.error, text, at))
        .or_else(|| form::broken(&refused.error, text))
        .or_else(|| brackets::say(refused, text, at, word))
        .or_else(|| no_variant(refused, text, at, word))
        .unwrap_or_else(|| form::shape(&refused.error, text, at, word))
}

/// A value in quotes that takes none.
fn needless_quotes(refused: &Refused<'_>, text: &str) -> Option<Said> {
    let inner = unquoted(text)?;
    let message = format!("`{text}` stands in quotes, and this field takes a value without");
    match refused.bare.as_ref()? {
        Ok(()) => {
            let help = Some(format!("drop the quotes: `{inner}`"));
            let said = Said::new(Code::WRONG_SHAPE, message, 0..text.len());
            Some(said.help(help).edit(0..text.len(), inner))
        }
        Err(Error::NoSuchEnumVariant { expected, found, .. }) if !found.is_empty() => {
            let said = Said::unknown("variant", "", found, expected, 0);
            let edits = said.near().map(|near| (0..text.len(), near.to_owned()));
            let edits = edits.into_iter().collect();
            let near = said.near().map(|near| format!("did you mean `{near}`, "));
            let help = near.map_or_else(
                || "take one of these, without quotes".to_owned(),
                |near| format!("{near}without quotes?"),
            );
            Some(Said { help: Some(help), edits, span: 0..text.len(), ..said })
        }
        Err(_) => None,
    }
}

/// Something that is no name where a variant's is wanted.
fn no_variant(refused: &Refused<'_>, text: &str, at: usize, word: &str) -> Option<Said> {
    let is_start = text[..at].trim().is_empty();
    let variants = refused.variants;
    if variants.is_empty() || !is_start || matches!(refused.error, Error::TrailingCharacters) {
        return None;
    }
    let allowed = one_of(variants.iter().copied());
    let message = format!("{allowed} is expected here, not {}", found(text, at, word));
    let span = at..(at + word.len().max(1)).min(text.len().max(at));
    let help = if word.starts_with('"') && variants.contains(&"File") {
        Some(format!("a file is written `File({word})`"))
    } else {
        variants.iter().find_map(|name| form_of(name))
    };
    Some(Said::new(Code::WRONG_SHAPE, message, span).help(help).choice(variants, None))
}

/// What stands at `at`, for a message: a word, a sign, or the end.
fn found(text: &str, at: usize, word: &str) -> String {
    let shown = |text: &str| {
        let line = text.lines().next().unwrap_or("");
        let cut: String = line.chars().take(40).collect();
        if cut.len() < text.len() { format!("`{cut}...`") } else { format!("`{cut}`") }
    };
    match text[at..].chars().next() {
        None => "the end".to_owned(),
        Some(_) if !word.is_empty() => shown(word),
        Some(sign) => format!("`{sign}`"),
    }
}

/// The right form of `name`, if it is known.
fn form_of(name: &str) -> Option<String> {
    let (_, form) = FORMS.iter().find(|(known, _)| *known == name)?;
    Some(format!("it is written `{form}`"))
}

/// The right form of the variant at `at` or around it, if its name is known.
fn form_hint(text: &str, at: usize) -> Option<String> {
    let before = text[..at].trim_end().len();
    let here = &text[scan::name_before(text, before)..before];
    form_of(word_at(text, at)).or_else(|| form_of(here)).or_else(|| {
        let (open, _) = *Scan::new(text).open_brackets(at.max(1)).last()?;
        form_of(&text[scan::name_before(text, open)..open])
    })
}
