//! What is wrong with an input: where, what was allowed, what was probably meant.

use super::codes::Code;
use crate::escape;
use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError,
    MietteSpanContents, ReportHandler, SourceCode, SourceSpan, SpanContents,
};
use serde::Serialize;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use textwrap::WordSplitter;

/// One input text and the name by which it is shown.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceText {
    /// The path as the user can type it; never made absolute.
    pub path: String,
    /// The text.
    pub text: String,
}

impl SourceText {
    /// Line and column of the character at byte `at`, both from 1, columns in characters.
    pub fn position(&self, at: usize) -> Option<(usize, usize)> {
        let before = self.text.get(..at)?;
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        Some((line, before[line_start..].chars().count() + 1))
    }
}

/// One fault of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its code.
    pub code: Code,
    /// What is wrong, and what is allowed.
    pub message: String,
    /// The text it is in, unless it is about a whole file or argument.
    pub source: Option<Arc<SourceText>>,
    /// Which bytes of that text.
    pub span: Range<usize>,
    /// What to write at the marked place of the picture.
    pub label: &'static str,
    /// What to do, or what was probably meant.
    pub help: Option<String>,
    /// The words that are allowed there, if they are words.
    pub choice: Option<Box<Choice>>,
}

/// Words of which one must be taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// All of them.
    pub allowed: Vec<String>,
    /// The one that is nearest to what is there.
    pub near: Option<String>,
}

impl Fault {
    /// A fault that is not about a place in a text.
    pub fn bare(code: Code, message: impl Into<String>) -> Self {
        let (message, label) = (message.into(), "");
        Self { code, message, source: None, span: 0..0, label, help: None, choice: None }
    }

    /// A fault of a whole file; `message` names it.
    pub fn of_file(code: Code, path: impl Into<String>, message: impl Into<String>) -> Self {
        let source = Some(Arc::new(SourceText { path: path.into(), text: String::new() }));
        Self { source, ..Self::bare(code, message) }
    }

    /// A fault at `span` of `source`.
    pub fn at(
        source: &Arc<SourceText>,
        span: Range<usize>,
        code: Code,
        message: impl Into<String>,
    ) -> Self {
        Self { source: Some(source.clone()), span, label: "here", ..Self::bare(code, message) }
    }

    /// The same fault with what to do about it.
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// Line and column of its first character, both from 1, columns in characters.
    pub fn position(&self) -> Option<(usize, usize)> {
        self.text()?.position(self.span.start)
    }

    /// The text that it is about a place in.
    fn text(&self) -> Option<&Arc<SourceText>> {
        self.source.as_ref().filter(|source| !source.text.is_empty())
    }

    /// `path:line:col`, `path`, or nothing.
    pub fn place(&self) -> String {
        match (&self.source, self.position()) {
            (Some(source), Some((line, col))) => format!("{}:{line}:{col}", source.path),
            (Some(source), None) => source.path.clone(),
            (None, _) => String::new(),
        }
    }

    /// Where it comes among others: by file, then place.
    pub fn order(&self) -> (String, usize, u16) {
        let path = self.source.as_ref().map_or_else(String::new, |source| source.path.clone());
        (path, self.span.start, self.code.0)
    }
}

/// The nearest of `allowed` to `found`, if it is near enough to be what was meant.
pub fn nearest<'a>(found: &str, allowed: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let found_lower: String = found.chars().take(64).collect::<String>().to_lowercase();
    allowed
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&found_lower, &word.to_lowercase()), word))
        .filter(|(distance, word)| *distance <= 1 + word.chars().count() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// "`a`, `b` or `c`", for messages.
pub fn one_of<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        None => "nothing".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

/// How faults are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Whether to use colour.
    pub color: bool,
    /// Whether the terminal takes more than ASCII.
    pub unicode: bool,
    /// For whom it is.
    pub form: Form,
}

/// For whom faults are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A picture of the place: for people at a terminal.
    Picture,
    /// The same in sentences: for screen readers and logs.
    Narrated,
    /// One JSON object a line, schema `uvsim.fault/1`: for editors and other programs.
    Json,
}

/// Source text whose columns count characters, as [`Fault::position`] does (miette counts bytes).
#[derive(Debug)]
struct Picture {
    name: String,
    text: String,
}

impl SourceCode for Picture {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let inner = self.text.read_span(span, lines_before, lines_after)?;
        let before = self.text.get(..inner.span().offset()).unwrap_or("");
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            inner.data(),
            *inner.span(),
            inner.line(),
            before[line_start..].chars().count(),
            inner.line_count(),
        )))
    }
}

/// A fault as miette wants it: owned, escaped text with a span moved accordingly.
#[derive(Debug)]
struct Shown<'a> {
    fault: &'a Fault,
    source: Option<Picture>,
    span: Range<usize>,
}

impl<'a> Shown<'a> {
    fn new(fault: &'a Fault) -> Self {
        let Some(source) = fault.text() else {
            return Self { fault, source: None, span: 0..0 };
        };
        let moved = |at: usize| escape::block(source.text.get(..at).unwrap_or("")).len();
        let span = moved(fault.span.start)..moved(fault.span.end);
        let (name, text) = (escape::terminal(&source.path), escape::block(&source.text));
        Self { fault, source: Some(Picture { name, text }), span }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&said(&self.fault.message))
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn code<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        Some(Box::new(self.fault.code))
    }

    fn help<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        let help = self.fault.help.as_ref()?;
        Some(Box::new(said(help)))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.source.as_ref()?;
        let label = self.fault.label;
        Some(Box::new(
            std::iter::once(LabeledSpan::underline(self.span.clone())).map(move |span| {
                LabeledSpan::new(Some(label.to_owned()), span.offset(), span.len())
            }),
        ))
    }
}

struct Rendered<'a>(&'a Shown<'a>, Look);

impl fmt::Display for Rendered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let theme = match (self.1.color, self.1.unicode) {
            (true, true) => GraphicalTheme::unicode(),
            (false, true) => GraphicalTheme::unicode_nocolor(),
            (true, false) => GraphicalTheme {
                characters: miette::ThemeCharacters::ascii(),
                ..GraphicalTheme::unicode()
            },
            (false, false) => GraphicalTheme::none(),
        };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_width(100)
            .with_links(false)
            .with_word_splitter(WordSplitter::NoHyphenation)
            .with_cause_chain();
        handler.debug(self.0, f)
    }
}

/// Fewer characters than this around a fault are never cut from a long line.
const LINE_MAX: usize = 2_000;

/// The text of one fault, ending in a line feed.
pub fn render(fault: &Fault, look: Look) -> String {
    let longest = fault.source.as_ref().map_or(0, |source| {
        let lines = source.text.get(fault.span.clone()).unwrap_or("").lines().count().max(1);
        let near = source.text.lines().map(str::len).max().unwrap_or(0);
        if lines > 60 { usize::MAX } else { near }
    });
    match look.form {
        Form::Json => json(fault),
        Form::Picture if longest <= LINE_MAX => {
            let shown = Shown::new(fault);
            let picture = format!("{}\n", Rendered(&shown, look));
            if look.unicode { picture } else { in_ascii(&picture) }
        }
        Form::Picture | Form::Narrated => narrated(fault),
    }
}

/// `picture` for a terminal that takes ASCII only: to one that reads its bytes in another way, the
/// file's letters could be commands.
fn in_ascii(picture: &str) -> String {
    picture.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect()
}

/// Characters of a message or a help: names in it may be as long as a file.
const SAID_MAX: usize = 2_000;

/// A message or a help, inert.
fn said(text: &str) -> String {
    escape::terminal_cut(text, SAID_MAX)
}

/// Characters of a source line that are read out.
const READ_OUT_MAX: usize = 160;

/// `error[E303]: what` / `  --> file:line:col` / `  line N: its text` / `  columns A to B: label` /
/// `  help: what was meant`.
fn narrated(fault: &Fault) -> String {
    let mut out = format!("error[{}]: {}\n", fault.code, said(&fault.message));
    let place = fault.place();
    if !place.is_empty() {
        out.push_str(&format!("  --> {}\n", escape::terminal(&place)));
    }
    if let Some((source, (line, from))) = fault.text().zip(fault.position()) {
        let text = source.text.lines().nth(line - 1).unwrap_or("");
        let start = text.chars().take_while(|c| c.is_whitespace()).count();
        let text = escape::terminal_cut(text.trim(), READ_OUT_MAX);
        if !text.is_empty() && from <= READ_OUT_MAX + start {
            out.push_str(&format!("  line {line}: {text}\n"));
        }
        let label = fault.label;
        match source.position(fault.span.end) {
            Some((end, to)) if end == line && to > from + 1 => {
                out.push_str(&format!("  columns {from} to {}: {label}\n", to - 1));
            }
            Some((end, _)) if end > line => {
                out.push_str(&format!("  column {from}, on to line {end}: {label}\n"));
            }
            Some(_) | None => out.push_str(&format!("  column {from}: {label}\n")),
        }
    }
    if let Some(help) = &fault.help {
        out.push_str(&format!("  help: {}\n", said(help)));
    }
    out
}

/// The schema of a fault as JSON.
pub const SCHEMA: &str = "uvsim.fault/1";

/// A fault for programs. Lines and columns count from 1, columns in characters; the end is the
/// first column behind the place.
#[derive(Serialize)]
struct Told<'a> {
    schema: &'static str,
    code: String,
    message: String,
    file: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
    end_line: Option<usize>,
    end_column: Option<usize>,
    label: &'static str,
    help: Option<String>,
    allowed: &'a [String],
    near: Option<&'a str>,
}

/// One line of JSON. Text of files is made inert in it too: it may end up on a terminal.
fn json(fault: &Fault) -> String {
    let (line, column) = fault.position().unzip();
    let end = fault.text().and_then(|source| source.position(fault.span.end));
    let (end_line, end_column) = end.unzip();
    let choice = fault.choice.as_deref();
    let told = Told {
        schema: SCHEMA,
        code: fault.code.to_string(),
        message: said(&fault.message),
        file: fault.source.as_ref().map(|source| escape::terminal(&source.path)),
        line,
        column,
        end_line,
        end_column,
        label: fault.label,
        help: fault.help.as_deref().map(said),
        allowed: choice.map_or(&[], |choice| &choice.allowed[..]),
        near: choice.and_then(|choice| choice.near.as_deref()),
    };
    let text = serde_json::to_string(&told).expect("strings and numbers always become JSON");
    format!("{text}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault_in(text: &str, span: Range<usize>) -> Fault {
        let source = Arc::new(SourceText { path: "a.ron".into(), text: text.into() });
        let message = "what \u{1b}[31mis wrong".to_owned();
        let fault = Fault::at(&source, span, Code::UNKNOWN_WORD, message);
        let choice = Choice { allowed: vec!["b".into()], near: Some("b".into()) };
        Fault { choice: Some(Box::new(choice)), ..fault.help("did you mean `b`?") }
    }

    #[test]
    fn a_fault_shows_file_line_column_and_help_and_nothing_a_terminal_obeys() {
        let fault = fault_in("line one\n  \u{1b}é bad\n", 15..18);
        assert_eq!(fault.position(), Some((2, 6)));
        for (unicode, form) in
            [(true, Form::Picture), (false, Form::Picture), (false, Form::Narrated)]
        {
            let text = render(&fault, Look { color: false, unicode, form });
            assert!(unicode || text.is_ascii() || text.contains('é'), "{text}");
            for wanted in ["E303", "a.ron:2:6", "did you mean `b`?", "\\x1b[31m"] {
                assert!(text.contains(wanted), "{wanted} is missing in:\n{text}");
            }
            assert!(!text.contains('\u{1b}'), "{text:?}");
        }
    }

    #[test]
    fn a_name_as_long_as_a_file_is_cut_in_each_form() {
        let fault = Fault::bare(Code::UNKNOWN_WORD, "x".repeat(100_000)).help("y".repeat(100_000));
        for form in [Form::Picture, Form::Narrated, Form::Json] {
            let text = render(&fault, Look { color: false, unicode: false, form });
            assert!(text.len() < 3 * SAID_MAX && text.contains("..."), "{form:?}: {}", text.len());
        }
    }

    #[test]
    fn a_fault_is_told_to_programs_field_by_field() {
        let fault = fault_in("line one\n  \u{1b}é bad\n", 15..18);
        let look = Look { color: true, unicode: true, form: Form::Json };
        let text = render(&fault, look);
        assert!(!text.contains('\u{1b}') && text.lines().count() == 1, "{text}");
        let told: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        let wanted = serde_json::json!({
            "schema": "uvsim.fault/1", "code": "E303", "message": "what \\x1b[31mis wrong",
            "file": "a.ron", "line": 2, "column": 6, "end_line": 2, "end_column": 9,
            "label": "here", "help": "did you mean `b`?", "allowed": ["b"], "near": "b",
        });
        assert_eq!(told, wanted);
    }

    #[test]
    fn a_near_word_is_suggested_and_a_far_one_is_not() {
        assert_eq!(nearest("mahcine", ["machine", "guest"]), Some("machine"));
        assert_eq!(nearest("plain", ["Plain", "Pef"]), Some("Plain"));
        assert_eq!(nearest("xyzzy", ["machine", "guest"]), None);
    }

    #[test]
    fn every_code_is_in_the_table_once_and_in_order() {
        assert!(Code::ALL.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(Code(325).sentence(), Code::IMAGE.sentence());
    }
}
