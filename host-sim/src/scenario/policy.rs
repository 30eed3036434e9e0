//! Policy files: rules over runs, and waivers that excuse some of them for a while. The module
//! `crate::policy` judges by them.

use super::claims;
use super::codes::Code;
use super::diagnostics::{Fault, SourceText};
use super::expect::{Asked, CheckFile};
use super::head;
use super::reading::{self, At, Located, Reader};
use globset::{GlobBuilder, GlobMatcher};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;

/// `Policy(...)`.
#[derive(Debug, Deserialize)]
#[serde(rename = "Policy", deny_unknown_fields)]
#[expect(missing_docs, reason = "documented at `Policy`, where they lead to")]
pub struct PolicyFile<'a> {
    #[serde(borrow)]
    pub format: Located<'a, u32>,
    #[serde(borrow)]
    pub name: Located<'a, String>,
    #[serde(borrow)]
    pub about: Located<'a, String>,
    #[serde(borrow)]
    pub what_if: Option<Located<'a, bool>>,
    #[serde(borrow)]
    pub rules: Located<'a, Vec<Located<'a, RuleFile<'a>>>>,
    #[serde(borrow)]
    pub waivers: Option<Located<'a, Vec<Located<'a, WaiverFile<'a>>>>>,
}

/// `Rule(...)`.
#[derive(Debug, Deserialize)]
#[serde(rename = "Rule", deny_unknown_fields)]
#[expect(missing_docs, reason = "documented at `Rule`, where they lead to")]
pub struct RuleFile<'a> {
    #[serde(borrow)]
    pub id: Located<'a, String>,
    #[serde(borrow)]
    pub level: Located<'a, Level>,
    #[serde(borrow)]
    pub title: Located<'a, String>,
    #[serde(borrow)]
    pub runs: Option<Located<'a, String>>,
    #[serde(borrow)]
    pub check: Located<'a, CheckFile<'a>>,
    #[serde(borrow)]
    pub help: Option<Located<'a, String>>,
}

/// `Waiver(...)`.
#[derive(Debug, Deserialize)]
#[serde(rename = "Waiver", deny_unknown_fields)]
#[expect(missing_docs, reason = "documented at `Waiver`, where they lead to")]
pub struct WaiverFile<'a> {
    #[serde(borrow)]
    pub rule: Located<'a, String>,
    #[serde(borrow)]
    pub runs: Located<'a, String>,
    #[serde(borrow)]
    pub until: Located<'a, String>,
    #[serde(borrow)]
    pub reason: Located<'a, String>,
    #[serde(borrow)]
    pub owner: Located<'a, String>,
}

/// What follows from a rule that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all(serialize = "snake_case"))]
pub enum Level {
    /// The run fails.
    Deny,
    /// It is only told.
    Warn,
}

/// A pattern over run ids, in which `*` also matches `/`.
#[derive(Clone, Debug)]
pub struct RunGlob {
    text: String,
    matcher: GlobMatcher,
}

impl RunGlob {
    /// The pattern that `text` is.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        Ok(Self { text: text.to_owned(), matcher: matcher(text)? })
    }

    /// Whether it means the run of this id.
    pub fn takes(&self, id: &str) -> bool {
        self.matcher.is_match(id)
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A pattern has at most this many bytes: what is much longer cannot be compiled.
const GLOB_BYTES_MAX: usize = 500;

/// What matches the pattern `text`, in which `*` also matches `/`.
///
/// # Errors
/// What is wrong with it.
pub fn matcher(text: &str) -> Result<GlobMatcher, String> {
    if text.len() > GLOB_BYTES_MAX {
        return Err(format!("it has {} bytes, at most {GLOB_BYTES_MAX}", text.len()));
    }
    let glob = GlobBuilder::new(text).literal_separator(false).build();
    Ok(glob.map_err(|error| error.kind().to_string())?.compile_matcher())
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its id, unique in its policy.
    pub id: String,
    /// What follows if it does not hold.
    pub level: Level,
    /// What it demands, in a few words.
    pub title: String,
    /// Of which runs.
    pub runs: RunGlob,
    /// What must hold.
    pub check: Asked,
    /// What to do about it.
    pub help: Option<String>,
    /// Where it stands in its file.
    pub span: Range<usize>,
}

/// Excuses a rule in some runs, for a while.
#[derive(Clone, Debug)]
pub struct Waiver {
    /// The rule's id.
    pub rule: String,
    /// In which runs.
    pub runs: RunGlob,
    /// The last day on which it excuses.
    pub until: Date,
    /// Why.
    pub reason: String,
    /// Who answers for it.
    pub owner: String,
}

/// What a policy means.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// The sentence.
    pub about: String,
    /// Whether it also judges runs that only say what would follow.
    pub what_if: bool,
    /// The rules in file order.
    pub rules: Vec<Rule>,
    /// The waivers in file order.
    pub waivers: Vec<Waiver>,
    /// The file it is from.
    pub source: Arc<SourceText>,
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(source: &Arc<SourceText>) -> Result<Self, Vec<Fault>> {
        reading::all_of(source, |reader| Self::read_with(reader, source))
    }

    fn read_with<'a>(reader: &mut Reader<'a>, source: &Arc<SourceText>) -> Option<Self> {
        let file: PolicyFile<'a> = reader.whole()?;
        head::check_format(reader, file.format);
        let name = head::name(reader, file.name);
        let about = head::about(reader, file.about);
        let what_if = reader.take_if(file.what_if).is_some_and(|at| at.value);
        let (rules, ids) = read_rules(reader, file.rules);
        let waivers = reader.take_if(file.waivers).map_or_else(Vec::new, |list| list.value);
        let waivers = waivers.into_iter().filter_map(|item| waiver(reader, item, &ids)).collect();
        let (name, source) = (name?.value, source.clone());
        Some(Self { name, about: about?, what_if, rules, waivers, source })
    }
}

/// The rules, and the ids of all of them, of wrong ones too: a waiver for a rule that has another
/// fault is right.
fn read_rules<'a>(
    reader: &mut Reader<'a>,
    file: Located<'a, Vec<Located<'a, RuleFile<'a>>>>,
) -> (Vec<Rule>, Vec<String>) {
    let (mut rules, mut ids): (Vec<Rule>, Vec<String>) = (Vec::new(), Vec::new());
    let place = reader.place(&file);
    let list = reader.take(file).map(|list| list.value);
    if list.as_ref().is_some_and(Vec::is_empty) {
        let message = "a policy without rules demands nothing".to_owned();
        let help = "write a rule; `uvsim new policy FILE` shows some".to_owned();
        reader.fault(Code::NO_RULES, &place, message, Some(help));
    }
    for item in list.unwrap_or_default() {
        let Some(At { value, span }) = reader.take(item) else { continue };
        let id = claims::plain_id(reader, value.id);
        if let Some(At { value: id, span: here }) = &id {
            if ids.contains(id) {
                let message = format!("the rule id `{id}` is there twice");
                reader.fault(Code::DUPLICATE, here, message, None);
            }
            ids.push(id.clone());
        }
        let level = reader.take(value.level);
        let title = sentence(reader, value.title, "title");
        let runs = match value.runs {
            Some(runs) => glob(reader, runs),
            None => RunGlob::new("*").ok(),
        };
        let check = reader.take(value.check).and_then(|at| claims::asked(reader, at));
        let help = value.help.and_then(|help| sentence(reader, help, "help"));
        if let (Some(id), Some(level), Some(title), Some(runs), Some(check)) =
            (id, level, title, runs, check)
        {
            let (id, level) = (id.value, level.value);
            rules.push(Rule { id, level, title, runs, check, help, span });
        }
    }
    (rules, ids)
}

fn waiver<'a>(
    reader: &mut Reader<'a>,
    item: Located<'a, WaiverFile<'a>>,
    ids: &[String],
) -> Option<Waiver> {
    let WaiverFile { rule, runs, until, reason, owner } = reader.take(item)?.value;
    let rule = reader.take(rule).filter(|rule| {
        let is_known = ids.contains(&rule.value);
        if !is_known {
            let names = || ids.iter().map(String::as_str);
            let what = format!("there is no rule `{}`", rule.value);
            reader.unknown(&rule.span, &what, &rule.value, names());
        }
        is_known
    });
    let runs = glob(reader, runs);
    let until = reader.take(until).and_then(|at| date(reader, &at));
    let reason = sentence(reader, reason, "reason");
    let owner = sentence(reader, owner, "owner");
    Some(Waiver { rule: rule?.value, runs: runs?, until: until?, reason: reason?, owner: owner? })
}

fn sentence<'a>(reader: &mut Reader<'a>, text: Located<'a, String>, what: &str) -> Option<String> {
    let At { value, span } = reader.take(text)?;
    if value.trim().is_empty() {
        reader.fault(Code::NO_ABOUT, &span, format!("`{what}` is empty"), None);
        return None;
    }
    Some(value)
}

fn glob<'a>(reader: &mut Reader<'a>, text: Located<'a, String>) -> Option<RunGlob> {
    let At { value, span } = reader.take(text)?;
    match RunGlob::new(&value) {
        Ok(glob) => Some(glob),
        Err(why) => {
            let shown: String = value.chars().take(40).collect();
            let cut = if shown.len() < value.len() { "..." } else { "" };
            let message = format!("`{shown}{cut}` is no pattern over run ids: {why}");
            reader.fault(Code::BAD_GLOB, &span, message, None);
            None
        }
    }
}

fn date(reader: &mut Reader<'_>, at: &At<String>) -> Option<Date> {
    match day(&at.value) {
        Ok(date) => Some(date),
        Err(why) => {
            reader.fault(Code::BAD_DATE, &at.span, why, None);
            None
        }
    }
}

/// The day that `text` says, as YYYY-MM-DD and in no other way.
///
/// # Errors
/// A sentence about what it is not.
pub fn day(text: &str) -> Result<Date, String> {
    let date = text.parse::<Date>().ok();
    date.filter(|date| date.to_string() == text)
        .ok_or_else(|| format!("`{text}` is no day: write YYYY-MM-DD"))
}
