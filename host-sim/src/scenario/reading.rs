//! Text to values: RON in which everything that a later check may point at knows its place, and in
//! which every faulty value is reported, not only the first.

use super::codes::Code;
use super::diagnostics::{Choice, Fault, SourceText, nearest, one_of};
use super::mended::{Edit, Mended};
use super::refusal::{self, DEPTH_MAX, Refused, Said};
use super::scan::{unquoted, without_comments, word_at};
use ron::error::SpannedError;
use ron::extensions::Extensions;
use ron::value::RawValue;
use serde::{Deserialize, Deserializer};
use std::ops::Range;
use std::sync::Arc;

/// Of one file so many faults are told.
const FAULTS_MAX: usize = 100;
/// A text is read again so often, each time with what was told read as it was meant.
const READINGS_MAX: usize = 24;
/// A longer text is read once: it is no mistake of a beginner.
const REREAD_BYTES_MAX: usize = 64 << 10;

/// How texts are read.
pub(super) fn options() -> ron::Options {
    ron::Options::default()
        .with_default_extension(Extensions::IMPLICIT_SOME)
        // ron counts a value and the list or struct that it is.
        .with_recursion_limit(2 * DEPTH_MAX + 2)
}

/// A value that was read on its own, and its text: a slice of the whole file's text, from which
/// its place follows. A value that cannot be read does not stop the others.
#[derive(Clone, Debug)]
pub struct Located<'a, T> {
    text: &'a str,
    value: Result<T, Box<Wrong>>,
}

/// Why a value could not be read.
#[derive(Clone, Debug)]
struct Wrong {
    error: SpannedError,
    /// For a value in quotes: what is wrong with it without them.
    bare: Option<Result<(), ron::Error>>,
    /// The variants that there are, if it is the name of one that is wanted.
    variants: &'static [&'static str],
    /// The largest whole number that there is room for, if one is wanted.
    largest: Option<u64>,
}

/// The largest whole number that a `T` takes, if it takes any.
fn largest<'a, T: Deserialize<'a>>() -> Option<u64> {
    const TEXTS: [(&str, u64); 4] = [
        ("18446744073709551615", u64::MAX),
        ("4294967295", u32::MAX as u64),
        ("65535", u16::MAX as u64),
        ("255", u8::MAX as u64),
    ];
    let fits = |text: &&(&'static str, u64)| options().from_str::<T>(text.0).is_ok();
    TEXTS.iter().find(fits).map(|(_, number)| *number)
}

impl<'de: 'a, 'a, T: Deserialize<'a>> Deserialize<'de> for Located<'a, T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(from)?;
        let text: &'a str = without_comments(raw.get_ron());
        let value = options().from_str(text).map_err(|error| {
            let bare = unquoted(text).map(|text| options().from_str::<T>(text));
            let bare = bare.map(|read| read.map(drop).map_err(|error| error.code));
            // A name that no variant has, to be told those that there are.
            let variants = match options().from_str::<T>("No_Variant").map_err(|error| error.code) {
                Err(ron::Error::NoSuchEnumVariant { expected, .. }) => expected,
                Ok(_) | Err(_) => &[],
            };
            let is_too_large = error.code == ron::Error::IntegerOutOfBounds;
            let largest = if is_too_large { largest::<T>() } else { None };
            Box::new(Wrong { error, bare, variants, largest })
        });
        Ok(Self { text, value })
    }
}

/// A value and the bytes of the file's text that it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Range<usize>,
}

impl<T> At<T> {
    /// Another value at the same place.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> At<U> {
        At { value: f(self.value), span: self.span }
    }
}

/// One text being read, and what is wrong with it so far. Places are those of the text as it was
/// written, though it may be read with what was told already mended.
#[derive(Debug)]
pub struct Reader<'a> {
    source: &'a Arc<SourceText>,
    text: &'a str,
    mended: Option<&'a Mended>,
    faults: Vec<Fault>,
    edits: Vec<Edit>,
}

/// What `read` makes of a whole file. After a fault it is read again with that place as it was
/// probably meant: so one mistake does not hide the next.
///
/// # Errors
/// All that is wrong with it: a file with one fault means nothing.
pub fn all_of<T>(
    source: &Arc<SourceText>,
    mut read: impl FnMut(&mut Reader<'_>) -> Option<T>,
) -> Result<T, Vec<Fault>> {
    let mut mended = Mended::new(&source.text);
    let mut told: Vec<Fault> = Vec::new();
    let readings = if source.text.len() > REREAD_BYTES_MAX { 1 } else { READINGS_MAX };
    for _ in 0..readings {
        let mut reader = Reader::new(source);
        (reader.text, reader.mended) = (mended.text(), Some(&mended));
        let meaning = read(&mut reader);
        let Reader { faults, edits, .. } = reader;
        let new: Vec<Fault> = faults
            .into_iter()
            .filter(|fault| !mended.hides(&fault.span) && !told.contains(fault))
            .collect();
        told.extend(new);
        match meaning {
            Some(meaning) if told.is_empty() => return Ok(meaning),
            Some(_) | None if told.len() > FAULTS_MAX => break,
            Some(_) | None => (),
        }
        if !mended.edit(&source.text, edits) {
            break;
        }
    }
    told.sort_by_key(|fault| fault.span.start);
    Err(told)
}

impl<'a> Reader<'a> {
    /// Starts on `source`.
    pub fn new(source: &'a Arc<SourceText>) -> Self {
        let text = source.text.as_str();
        Self { source, text, mended: None, faults: Vec::new(), edits: Vec::new() }
    }

    /// The whole text as one `T`, or `None` after a fault.
    pub fn whole<T: Deserialize<'a>>(&mut self) -> Option<T> {
        match options().from_str(self.text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.refuse(self.text, Wrong { error, bare: None, variants: &[], largest: None });
                None
            }
        }
    }

    /// The value of `located`, or `None` after a fault.
    pub fn take<T>(&mut self, located: Located<'a, T>) -> Option<At<T>> {
        let span = self.span(located.text);
        match located.value {
            Ok(value) => Some(At { value, span }),
            Err(wrong) => {
                self.refuse(located.text, *wrong);
                None
            }
        }
    }

    /// Where `located` stands.
    pub fn place<T>(&self, located: &Located<'a, T>) -> Range<usize> {
        self.span(located.text)
    }

    /// As [`Self::take`] for a field that may be left out; `None` in both cases.
    pub fn take_if<T>(&mut self, located: Option<Located<'a, T>>) -> Option<At<T>> {
        located.and_then(|located| self.take(located))
    }

    /// As [`Self::take`], with the text as written, without quotes.
    pub fn take_with_text<T>(&mut self, located: Located<'a, T>) -> Option<(At<T>, &'a str)> {
        let text = located.text.trim_matches('"');
        self.take(located).map(|at| (at, text))
    }

    /// Adds a fault at `span`.
    pub fn fault(
        &mut self,
        code: Code,
        span: &Range<usize>,
        message: String,
        help: Option<String>,
    ) {
        self.push(Fault { help, ..Fault::at(self.source, span.clone(), code, message) });
    }

    /// Adds a fault about `found` at `span`: `what` says that there is no such thing, and it is
    /// none of `allowed`.
    pub fn unknown<'w>(
        &mut self,
        span: &Range<usize>,
        what: &str,
        found: &str,
        allowed: impl IntoIterator<Item = &'w str>,
    ) {
        let allowed: Vec<&str> = allowed.into_iter().collect();
        let message = match allowed[..] {
            [] => format!("{what}, nor any other"),
            [only] => format!("{what}; there is `{only}`"),
            _ => format!("{what}; there are {}", one_of(allowed.iter().copied())),
        };
        let near = nearest(found, allowed.iter().copied()).map(str::to_owned);
        let fault = Fault::at(self.source, span.clone(), Code::UNKNOWN_ID, message);
        self.push(Fault {
            help: near.as_ref().map(|near| format!("did you mean `{near}`?")),
            choice: Some(Box::new(Choice {
                allowed: allowed.into_iter().map(str::to_owned).collect(),
                near,
            })),
            ..fault
        });
    }

    /// Adds a fault, unless it or enough others are there.
    pub fn push(&mut self, fault: Fault) {
        if self.faults.len() == FAULTS_MAX {
            let message = format!("there are more than {FAULTS_MAX} faults; the rest is not told");
            let span = fault.span.clone();
            self.faults.push(Fault::at(self.source, span, Code::FAULTS, message));
        } else if self.faults.len() < FAULTS_MAX && !self.faults.contains(&fault) {
            // The same place may be met once for each cell of a matrix.
            self.faults.push(fault);
        }
    }

    /// Whether anything was wrong.
    pub fn is_faulty(&self) -> bool {
        !self.faults.is_empty()
    }

    /// Where in the text as written `at` of the text as read is.
    fn original(&self, at: usize) -> usize {
        self.mended.map_or(at, |mended| mended.original(at))
    }

    /// Where `part` begins in the text as read. Both are slices of the same allocation: `Located`
    /// borrows from the text.
    fn start(&self, part: &str) -> usize {
        let start = part.as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        start.min(self.text.len())
    }

    fn span(&self, part: &str) -> Range<usize> {
        let start = self.start(part);
        self.original(start)..self.original((start + part.len()).min(self.text.len()))
    }

    fn refuse(&mut self, text: &str, wrong: Wrong) {
        if self.faults.len() > FAULTS_MAX {
            return;
        }
        let base = self.start(text);
        let from = byte_offset(text, wrong.error.span.start);
        let to = byte_offset(text, wrong.error.span.end).max(from);
        let Wrong { error, bare, variants, largest } = wrong;
        let head = word_at(without_comments(self.text), 0);
        let refused = Refused { error: error.code, head, span: from..to, bare, variants, largest };
        let said = refusal::say(&refused, text);
        let place =
            |span: Range<usize>| self.original(base + span.start)..self.original(base + span.end);
        let Said { code, message, span, label, help, choice, edits } = said;
        let edits: Vec<Edit> = edits.into_iter().map(|(span, text)| (place(span), text)).collect();
        let fault = Fault::at(self.source, place(span), code, message);
        self.edits.extend(edits);
        self.push(Fault { label, help, choice: choice.map(Box::new), ..fault });
    }
}

/// Where ron's position (line and column in characters, from 1) is in `text`.
fn byte_offset(text: &str, position: ron::error::Position) -> usize {
    let mut offset = 0;
    for _ in 1..position.line {
        let Some(at) = text[offset..].find('\n') else { return text.len() };
        offset += at + 1;
    }
    let line = &text[offset..];
    offset
        + line.char_indices().nth(position.col.saturating_sub(1)).map_or(line.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_and_never_leave_the_text() {
        let text = "é(\n ü)";
        let at = |line, col| byte_offset(text, ron::error::Position { line, col });
        assert_eq!((at(1, 2), at(2, 3), at(9, 9)), (2, text.len() - 1, text.len()));
    }
}
