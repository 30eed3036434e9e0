//! Text to values: RON in which everything that a later check may point at knows its place, and in
//! which every faulty value is reported, not only the first.

use super::codes::Code;
use super::diagnostics::{Fault, SourceText, nearest, one_of};
use ron::error::{Error, SpannedError};
use ron::extensions::Extensions;
use ron::value::RawValue;
use serde::{Deserialize, Deserializer};
use std::ops::Range;
use std::sync::Arc;

/// Values are nested at most this deep.
const DEPTH_MAX: usize = 64;

fn options() -> ron::Options {
    ron::Options::default()
        .with_default_extension(Extensions::IMPLICIT_SOME)
        .with_recursion_limit(DEPTH_MAX)
}

/// A value that was read on its own, and its text: a slice of the whole file's text, from which
/// its place follows. A value that cannot be read does not stop the others.
#[derive(Clone, Debug)]
pub struct Located<'a, T> {
    text: &'a str,
    value: Result<T, Box<SpannedError>>,
}

impl<'de: 'a, 'a, T: Deserialize<'a>> Deserialize<'de> for Located<'a, T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(from)?;
        let text: &'a str = without_comments(raw.get_ron());
        Ok(Self { text, value: options().from_str(text).map_err(Box::new) })
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

/// One text being read, and what is wrong with it so far.
#[derive(Debug)]
pub struct Reader<'a> {
    source: &'a Arc<SourceText>,
    faults: Vec<Fault>,
}

/// What `read` makes of a whole file.
///
/// # Errors
/// All that is wrong with it: a file with one fault means nothing.
pub fn all_of<'a, T>(
    source: &'a Arc<SourceText>,
    read: impl FnOnce(&mut Reader<'a>) -> Option<T>,
) -> Result<T, Vec<Fault>> {
    let mut reader = Reader::new(source);
    match read(&mut reader) {
        Some(meaning) if !reader.is_faulty() => Ok(meaning),
        Some(_) | None => Err(reader.into_faults()),
    }
}

impl<'a> Reader<'a> {
    /// Starts on `source`.
    pub fn new(source: &'a Arc<SourceText>) -> Self {
        Self { source, faults: Vec::new() }
    }

    /// The whole text as one `T`, or `None` after a fault.
    pub fn whole<T: Deserialize<'a>>(&mut self) -> Option<T> {
        match options().from_str(&self.source.text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.refuse(&self.source.text, &error);
                None
            }
        }
    }

    /// The value of `located`, or `None` after a fault.
    pub fn take<T>(&mut self, located: Located<'a, T>) -> Option<At<T>> {
        let span = self.span(located.text);
        match located.value {
            Ok(value) => Some(At { value, span }),
            Err(error) => {
                self.refuse(located.text, &error);
                None
            }
        }
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
        let label = "here".to_owned();
        let (source, span) = (Some(self.source.clone()), span.clone());
        let fault = Fault { code, message, source, span, label, help };
        // The same place may be met once for each cell of a matrix.
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// Adds a fault that came from elsewhere.
    pub fn push(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Whether anything was wrong.
    pub fn is_faulty(&self) -> bool {
        !self.faults.is_empty()
    }

    /// All that is wrong.
    pub fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    fn span(&self, part: &str) -> Range<usize> {
        // Both are slices of the same allocation: `Located` borrows from the text.
        let start = part.as_ptr().addr().saturating_sub(self.source.text.as_ptr().addr());
        let start = start.min(self.source.text.len());
        start..(start + part.len()).min(self.source.text.len())
    }

    fn refuse(&mut self, text: &str, error: &SpannedError) {
        let base = self.span(text).start;
        let from = byte_offset(text, error.span.start);
        let to = byte_offset(text, error.span.end).max(from);
        let (said, local) = explain(&error.code, text, from..to);
        let span = base + local.start..base + local.end;
        let source = Some(self.source.clone());
        let Said { code, message, label, help } = said;
        let fault = Fault { code, message, source, span, label, help };
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
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

/// `text` without the comments and blanks around its value (ron keeps those before it).
fn without_comments(text: &str) -> &str {
    let mut text = text.trim();
    loop {
        text = if let Some(rest) = text.strip_prefix("//") {
            rest.find('\n').map_or("", |at| &rest[at..]).trim_start()
        } else if text.starts_with("/*") {
            text[block_comment_end(text)..].trim_start()
        } else {
            break;
        }
    }
    let end = Scan::new(text).value_end();
    text[..end].trim_end()
}

/// Where the (nested) block comment at the start of `text` ends.
fn block_comment_end(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    let bytes = text.as_bytes();
    while at + 1 < bytes.len() {
        match (bytes[at], bytes[at + 1]) {
            (b'/', b'*') => (depth, at) = (depth + 1, at + 2),
            (b'*', b'/') => (depth, at) = (depth.saturating_sub(1), at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// Walks over RON's text outside strings and comments.
struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next byte that is neither in a string nor in a comment, and its place.
    fn next_byte(&mut self) -> Option<(usize, u8)> {
        loop {
            let rest = self.text.as_bytes().get(self.at..)?;
            let here = self.at;
            match *rest {
                [] => return None,
                [b'"', ..] => {
                    self.at += string_end(rest);
                    return Some((here, b'"'));
                }
                [b'/', b'/', ..] => {
                    self.at += rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
                }
                [b'/', b'*', ..] => self.at += block_comment_end(&self.text[here..]),
                [byte, ..] => {
                    self.at += 1;
                    return Some((here, byte));
                }
            }
        }
    }

    /// The end of the last byte that belongs to the value.
    fn value_end(mut self) -> usize {
        let mut end = 0;
        while let Some((at, byte)) = self.next_byte() {
            if !byte.is_ascii_whitespace() {
                end = if byte == b'"' { self.at } else { at + 1 };
            }
        }
        end.min(self.text.len())
    }

    /// The brackets that are open at `until`.
    fn open_brackets(mut self, until: usize) -> Vec<(usize, u8)> {
        let mut open = Vec::new();
        while let Some((at, byte)) = self.next_byte() {
            if at >= until {
                break;
            }
            match byte {
                b'(' | b'[' | b'{' => open.push((at, byte)),
                b')' | b']' | b'}' => drop(open.pop()),
                _ => (),
            }
        }
        open
    }
}

/// Bytes of the string literal at the start of `rest`, quotes included.
fn string_end(rest: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = rest.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

struct Said {
    code: Code,
    message: String,
    label: String,
    help: Option<String>,
}

/// The word (identifier, number or string) at `at`.
fn word_at(text: &str, at: usize) -> &str {
    let rest = text.get(at..).unwrap_or("");
    if rest.starts_with('"') {
        return &rest[..string_end(rest.as_bytes())];
    }
    let end = rest.find(|c: char| !c.is_alphanumeric() && !"_.+-".contains(c));
    &rest[..end.unwrap_or(rest.len())]
}

/// ron's error in our words, with the hint that its own text lacks.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "ron's enum, not ours: what is not named here is told in ron's words"
)]
fn explain(error: &Error, text: &str, span: Range<usize>) -> (Said, Range<usize>) {
    let at = span.start + (text[span.start..].len() - text[span.start..].trim_start().len());
    let at = at.min(text.len());
    let word = word_at(text, at);
    let over = |len: usize| at..(at + len.max(1)).min(text.len().max(at));
    match error {
        Error::NoSuchStructField { expected, found, outer } => {
            (unknown("field", found, outer.as_deref(), expected), over(found.len()))
        }
        Error::NoSuchEnumVariant { expected, found, outer } => {
            (unknown("variant", found, outer.as_deref(), expected), over(found.len()))
        }
        Error::MissingStructField { field, outer } => {
            let whose = outer.as_deref().map_or_else(String::new, |outer| format!(" of `{outer}`"));
            let message = format!("the field `{field}`{whose} is missing");
            (Said::new(Code::MISSING, message, "in here", None), enclosing(text, span.start))
        }
        Error::DuplicateStructField { field, .. } => {
            let message = format!("the field `{field}` is there twice");
            (Said::new(Code::DUPLICATE, message, "again here", None), over(word.len()))
        }
        Error::Message(message) => {
            // The text is a single string whose contents were refused: all of it is meant.
            let is_string = text.starts_with('"') && string_end(text.as_bytes()) == text.len();
            let span = if is_string { 0..text.len() } else { over(word.len()) };
            (Said::new(Code::OUT_OF_RANGE, message.clone(), "here", None), span)
        }
        Error::IntegerOutOfBounds | Error::InvalidIntegerDigit { .. } => {
            let start = if text[..at].ends_with('-') { at - 1 } else { at };
            let number = &text[start..(at + word.len()).min(text.len())];
            let message = format!("`{number}` is not a number that this field can hold");
            let said = Said::new(Code::OUT_OF_RANGE, message, "out of range", None);
            (said, start..start + number.len().max(1))
        }
        Error::ExceededRecursionLimit => {
            let message = format!("values are nested deeper than {DEPTH_MAX}");
            (Said::new(Code::TOO_DEEP, message, "here", None), over(1))
        }
        other => shape(other, text, at, word),
    }
}

fn unknown(kind: &str, found: &str, outer: Option<&str>, expected: &[&str]) -> Said {
    let whose = outer.map_or_else(String::new, |outer| format!(" in `{outer}`"));
    let message = format!(
        "there is no {kind} `{found}`{whose}; it takes {}",
        one_of(expected.iter().copied())
    );
    let help =
        nearest(found, expected.iter().copied()).map(|near| format!("did you mean `{near}`?"));
    Said::new(Code::UNKNOWN_WORD, message, &format!("not a known {kind}"), help)
}

impl Said {
    fn new(code: Code, message: String, label: &str, help: Option<String>) -> Self {
        Self { code, message, label: label.to_owned(), help }
    }
}

/// The struct around `at`, from its opening bracket on.
fn enclosing(text: &str, at: usize) -> Range<usize> {
    let open = Scan::new(text).open_brackets(at).last().map_or(0, |(open, _)| *open);
    let name = text[..open].trim_end_matches(|c: char| c.is_alphanumeric() || c == '_').len();
    name..(at + 1).min(text.len())
}

/// Errors of form: another type than expected, or no RON at all.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "ron's enum, not ours: what is not named here is told in ron's words"
)]
fn shape(error: &Error, text: &str, at: usize, word: &str) -> (Said, Range<usize>) {
    let here = at..(at + word.len().max(1)).min(text.len().max(at));
    if let Some(bare) = bare_quantity(text, at) {
        let message =
            format!("`{}` is no value: sizes and times stand in quotes", &text[bare.clone()]);
        let help = Some(format!("put it into quotes: `\"{}\"`", &text[bare.clone()]));
        return (Said::new(Code::WRONG_SHAPE, message, "here", help), bare);
    }
    let open = Scan::new(text).open_brackets(usize::MAX);
    if let Some((start, byte)) = open.last() {
        let line = text[..*start].matches('\n').count() + 1;
        let message = format!("the `{}` of line {line} is never closed", char::from(*byte));
        let said = Said::new(Code::SYNTAX, message, "opened here", None);
        return (said, *start..start + 1);
    }
    let expected = error.to_string();
    let wrong = |help| Said::new(Code::WRONG_SHAPE, expected.clone(), "here", help);
    let next = text[at..].chars().next().unwrap_or(' ');
    let first_in_brackets = text[..at].trim_end().ends_with('(');
    let said = match error {
        Error::ExpectedIdentifier if first_in_brackets && form_hint(text, at).is_some() => {
            wrong(form_hint(text, at))
        }
        Error::InvalidIdentifier(found) | Error::SuggestRawIdentifier(found) if next != '"' => {
            let message = format!("the name of a variant is expected here, not `{found}`");
            Said::new(Code::WRONG_SHAPE, message, "here", form_hint(text, at))
        }
        Error::ExpectedIdentifier
        | Error::ExpectedNamedStructLike(_)
        | Error::InvalidIdentifier(_)
            if next == '"' =>
        {
            wrong(Some(format!("drop the quotes: `{}`", word.trim_matches('"'))))
        }
        Error::ExpectedString if next != '"' && !word.is_empty() => {
            wrong(Some(format!("put it into quotes: `\"{word}\"`")))
        }
        Error::ExpectedStructLike | Error::ExpectedNamedStructLike(_) if next == '{' => wrong(
            Some("RON writes `( )` where JSON writes `{ }`, and field names without quotes".into()),
        ),
        Error::ExpectedMapColon
        | Error::ExpectedDifferentLength { .. }
        | Error::ExpectedStructLike => wrong(form_hint(text, at)),
        Error::ExpectedDifferentStructName { .. }
        | Error::ExpectedArray
        | Error::ExpectedBoolean => wrong(None),
        _ => Said::new(Code::SYNTAX, expected, "here", form_hint(text, at)),
    };
    (said, here)
}

/// A number with a unit right behind it, such as `64MiB`, that ron stopped in at `at`.
fn bare_quantity(text: &str, at: usize) -> Option<Range<usize>> {
    let before = text.get(..at)?;
    let start = before.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '_').len();
    let unit = text[at..].find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len() - at);
    let is_number = before[start..].starts_with(|c: char| c.is_ascii_digit());
    let is_unit = text[at..].starts_with(|c: char| c.is_ascii_alphabetic());
    let is_word = before[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    (is_number && is_unit && !is_word).then_some(start..at + unit)
}

/// The right form of the variant around `at`, if its name is known.
fn form_hint(text: &str, at: usize) -> Option<String> {
    let (open, _) = *Scan::new(text).open_brackets(at.max(1)).last()?;
    let head = &text[..open];
    let name_start = head.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_').len();
    super::file::FORMS
        .iter()
        .find(|(name, _)| *name == &head[name_start..])
        .map(|(_, form)| format!("it is written `{form}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_brackets_in_strings_do_not_count() {
        assert_eq!(without_comments("/* a /* b */ */ // c\n \"x // y\" // z"), "\"x // y\"");
        assert_eq!(
            Scan::new("(\")\" /* ( */ [").open_brackets(usize::MAX),
            [(0, b'('), (13, b'[')]
        );
    }

    #[test]
    fn positions_count_characters_and_never_leave_the_text() {
        let text = "é(\n ü)";
        let at = |line, col| byte_offset(text, ron::error::Position { line, col });
        assert_eq!((at(1, 2), at(2, 3), at(9, 9)), (2, text.len() - 1, text.len()));
    }
}
