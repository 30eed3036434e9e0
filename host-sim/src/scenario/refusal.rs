//! ron's errors in our words: what is wrong, what is allowed there, what was probably meant, and
//! how to read on.

use super::codes::Code;
use super::diagnostics::{Choice, nearest, one_of};
use super::file::FORMS;
use super::mended::Edit;
use super::scan::{self, Brackets, Scan, unquoted, word_at};
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
pub struct Refused {
    /// The error.
    pub error: Error,
    /// Where it is in the text that was read.
    pub span: Range<usize>,
    /// For a value in quotes: what is wrong with it without them.
    pub bare: Option<Result<(), Error>>,
    /// The variants that there are, if the name of one is wanted.
    pub variants: &'static [&'static str],
}

/// What to say about `refused`, which was found in `text`.
pub fn say(refused: &Refused, text: &str) -> Said {
    let start = refused.span.start.min(text.len());
    let at = start + (text[start..].len() - text[start..].trim_start().len());
    let word = word_at(text, at);
    if let Some(said) = needless_quotes(refused, text) {
        return said;
    }
    word_fault(&refused.error, text, at)
        .or_else(|| number_fault(&refused.error, text, at, word))
        .or_else(|| bare_quantity(&refused.error, text, at))
        .or_else(|| broken(&refused.error, text))
        .or_else(|| no_variant(refused, text, at, word))
        .unwrap_or_else(|| shape(&refused.error, text, at, word))
}

/// A value in quotes that takes none.
fn needless_quotes(refused: &Refused, text: &str) -> Option<Said> {
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

/// Fields and variants: unknown, missing, there twice.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "ron's enum, not ours: the other functions say the rest"
)]
fn word_fault(error: &Error, text: &str, at: usize) -> Option<Said> {
    Some(match error {
        Error::NoSuchStructField { expected, found, outer } => {
            let whose = outer.as_deref().map_or_else(String::new, |outer| format!(" in `{outer}`"));
            let said = Said::unknown("field", &whose, found, expected, at);
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

/// Something that is no name where a variant's is wanted.
fn no_variant(refused: &Refused, text: &str, at: usize, word: &str) -> Option<Said> {
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

/// Numbers that do not fit, what our own types refuse, and nesting.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "ron's enum, not ours: the other functions say the rest"
)]
fn number_fault(error: &Error, text: &str, at: usize, word: &str) -> Option<Said> {
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
            let message = format!("`{number}` is not a number that this field can hold");
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
fn bare_quantity(error: &Error, text: &str, at: usize) -> Option<Said> {
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

/// Brackets, quotes and comments that have no end: found in the whole text, whatever ron stopped at.
fn broken(error: &Error, text: &str) -> Option<Said> {
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

/// Errors of form: another type than expected, or no RON at all.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "ron's enum, not ours: what is not named here is told in ron's words"
)]
fn shape(error: &Error, text: &str, at: usize, word: &str) -> Said {
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
        Error::ExpectedDifferentStructName { expected, .. } => {
            wrong(format!("`{expected}(` is expected here, not {found}"))
        }
        _ => Said::new(Code::SYNTAX, format!("{error}, and not {found}"), here)
            .help(form_hint(text, at)),
    }
}

/// Another type of value than expected.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "ron's enum, not ours: the other functions say the rest"
)]
fn value_fault(error: &Error, text: &str, at: usize, word: &str) -> Option<Said> {
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
fn unquoted_text<'a>(text: &'a str, at: usize, word: &'a str) -> Option<(Range<usize>, &'a str)> {
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
