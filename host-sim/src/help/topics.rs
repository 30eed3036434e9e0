//! `uvsim explain`: from a word to its page, and the list of all words.

use super::page::Page;
use super::{codes, shown, terms};
use crate::counters::Counter;
use crate::outcome::Outcome;
use crate::output::words;
use crate::scenario::argument;
use crate::scenario::codes::Code;
use crate::scenario::design::{self, Design, Designs, natural_order};
use crate::scenario::diagnostics::{SourceText, nearest};
use crate::scenario::policy::Policy;
use crate::shipped;
use std::sync::Arc;

const EXIT_CODES: &str = "exit codes";

fn designs() -> Designs {
    design::shipped().unwrap_or_default()
}

/// The page that `wanted` leads to, in any case, with `-` or `_` for a blank.
///
/// # Errors
/// There is none: the word that was probably meant, if one is near.
pub fn find(wanted: &str) -> Result<Page, Option<String>> {
    let word = wanted.trim().to_lowercase();
    let blank = word.replace(['-', '_'], " ");
    let page = code(&word)
        .or_else(|| outcome(&word))
        .or_else(|| counter(&word))
        .or_else(|| terms::word(&blank).or_else(|| terms::word(&word)))
        .or_else(|| (blank == EXIT_CODES || blank == "exit").then(terms::exit_codes))
        .or_else(|| design_called(&word))
        .or_else(|| designs_numbered(&word))
        .or_else(|| rule(&word))
        .or_else(|| claim(&blank));
    page.ok_or_else(|| {
        let all = all();
        let words = || all.iter().flat_map(|(_, words)| words.iter().map(String::as_str));
        nearest(&word, words()).map(str::to_owned)
    })
}

fn code(word: &str) -> Option<Page> {
    let digits = word.strip_prefix('e').unwrap_or(word);
    codes::page(Code(digits.parse().ok()?))
}

fn outcome(word: &str) -> Option<Page> {
    let outcome = Outcome::ALL.into_iter().find(|outcome| outcome.name() == word)?;
    let mut page = terms::outcome(outcome);
    let shown = shown::by(|about| about.outcomes.contains(&outcome));
    page.sections.extend(shown.map(|text| ("shown by", text)));
    Some(page)
}

fn counter(word: &str) -> Option<Page> {
    let counter = Counter::from_name(word)?;
    let mut page = terms::counter(counter);
    let shown = shown::by(|about| about.counters.iter().any(|name| name == counter.name()));
    page.sections.extend(shown.map(|text| ("shown by", text)));
    Some(page)
}

fn design_called(word: &str) -> Option<Page> {
    let designs = designs();
    let design = designs.get(word).or_else(|| {
        let mut called = designs.values().filter(|design| Design::is_called(&design.name, word));
        called.next()
    })?;
    Some(design_page(design))
}

/// A number of the thread's that stands for several designs here, as `d7` does for `d7a-` and `d7b-`.
fn designs_numbered(word: &str) -> Option<Page> {
    let digits = word.strip_prefix('d').filter(|digits| !digits.is_empty())?;
    digits.parse::<u8>().ok()?;
    let designs = designs();
    let letter = |rest: &str| rest.starts_with(|c: char| c.is_ascii_lowercase());
    let is_of_it = |design: &&Design| design.name.strip_prefix(word).is_some_and(letter);
    let of_it: Vec<_> = designs.values().map(|design| &**design).filter(is_of_it).collect();
    (!of_it.is_empty()).then(|| Page {
        word: word.to_owned(),
        kind: "designs",
        what: "One proposal of the thread that can be built in several places, each a design here."
            .to_owned(),
        sections: of_it
            .iter()
            .map(|design| ("see", format!("uvsim explain {}: {}", design.name, design.about)))
            .collect(),
        verbatim: None,
    })
}

fn design_page(design: &Design) -> Page {
    let layers: Vec<&str> = design.changes.iter().map(|layer| terms::layer(*layer)).collect();
    let layers =
        if layers.is_empty() { "nobody: it is the base".to_owned() } else { layers.join(", ") };
    let proposed = &design.proposed;
    let mut sections = vec![
        ("proposed", format!("by {}, {}", proposed.by, proposed.when)),
        ("source", proposed.source.clone()),
        ("changes", layers),
        ("do", format!("uvsim run scenarios --design {}", design.name)),
    ];
    let shown = shown::by(|about| about.designs.contains(&design.name));
    sections.extend(shown.map(|text| ("shown by", text)));
    // The file says what it decides when, and its mechanisms at each layer.
    let text = design.source.text.clone();
    Page {
        word: design.name.clone(),
        kind: "design",
        what: design.about.clone(),
        sections,
        verbatim: Some(("the file", text)),
    }
}

fn policies() -> Vec<Policy> {
    let files = shipped::below("policies/").map(|(path, text)| {
        Arc::new(SourceText { path: format!("scenarios/{path}"), text: text.to_owned() })
    });
    files.filter_map(|source| Policy::read(&source).ok()).collect()
}

/// A rule of the shipped policies; of several with this id, each is told.
fn rule(word: &str) -> Option<Page> {
    let policies = policies();
    let all =
        || policies.iter().flat_map(|policy| policy.rules.iter().map(move |rule| (policy, rule)));
    let found: Vec<_> = all().filter(|(_, rule)| rule.id == word).collect();
    let (_, first) = found.first()?;
    let mut sections = Vec::new();
    let mut text = String::new();
    for (policy, rule) in &found {
        let file = &policy.source.path;
        sections.push(("why", policy.about.clone()));
        sections.extend(rule.help.clone().map(|help| ("do", help)));
        sections.push(("see it", format!("uvsim run scenarios/thread --policy {file}")));
        // A pattern is about ids, which go on after the name where there is a matrix.
        let covers = |name: &str| rule.runs.takes(name) || rule.runs.takes(&format!("{name}/-"));
        sections.extend(shown::by(|about| covers(&about.name)).map(|text| ("covers", text)));
        let rule = policy.source.text.get(rule.span.clone())?;
        text += &format!("// {file}\n{}\n", dedented(rule));
    }
    let (first_char, rest) = first.title.split_at(first.title.chars().next()?.len_utf8());
    Some(Page {
        word: word.to_owned(),
        kind: "rule of a policy",
        what: format!("{}{rest}.", first_char.to_uppercase()),
        sections,
        verbatim: Some(("the rule", text)),
    })
}

/// A piece of a file without the blanks that its lines have in common, but for the first line, which
/// was cut out without them.
fn dedented(text: &str) -> String {
    let blanks = |line: &str| line.len() - line.trim_start().len();
    let common = text.lines().skip(1).map(blanks).min().unwrap_or(0);
    let lines = text.lines().enumerate();
    let lines = lines.map(|(at, line)| if at == 0 { line } else { &line[common..] });
    lines.collect::<Vec<_>>().join("\n")
}

/// A claim of the thread by its number, as the shipped scenarios settle it.
fn claim(word: &str) -> Option<Page> {
    let number: u8 = word.strip_prefix("claim").unwrap_or(word).trim().parse().ok()?;
    if !argument::NUMBERS.contains(&number) {
        return None;
    }
    let all = shown::scenarios();
    let claims = || all.iter().filter_map(|about| about.claim.as_ref());
    let claim = claims().find(|claim| claim.number == number)?;
    let finding = claim.finding.word().name();
    let finding = match claim.finding.text() {
        Some(text) => format!("{finding}: {text}"),
        None => finding.to_owned(),
    };
    let mut sections = vec![
        ("said by", claim.by.clone()),
        ("finding", finding),
        (
            "do",
            "To disagree: open its scenario, change a line and run it again; --report events=FILE \
             says why it comes out so."
                .to_owned(),
        ),
    ];
    let is_it = |claim: &shown::Claim| claim.number == number;
    sections.extend(
        shown::by(|about| about.claim.as_ref().is_some_and(is_it)).map(|text| ("shown by", text)),
    );
    Some(Page {
        word: format!("claim-{number}"),
        kind: "claim of the thread",
        what: claim.says.clone(),
        sections,
        verbatim: None,
    })
}

fn claims_and_rules() -> (Vec<String>, Vec<String>) {
    let mut numbers: Vec<u8> = shown::scenarios()
        .into_iter()
        .filter_map(|about| about.claim.map(|claim| claim.number))
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut rules: Vec<String> =
        policies().into_iter().flat_map(|policy| policy.rules).map(|rule| rule.id).collect();
    rules.sort();
    rules.dedup();
    (numbers.into_iter().map(|number| format!("claim-{number}")).collect(), rules)
}

/// Names with numbers in them by number: d2 before d10.
fn in_order(mut names: Vec<String>) -> Vec<String> {
    names.sort_by(|one, other| natural_order(one, other));
    names
}

/// All words, by kind; what no shipped file has is left out.
pub fn all() -> Vec<(&'static str, Vec<String>)> {
    let codes = codes::all().into_iter().map(|code| code.to_string()).collect();
    let outcomes = Outcome::ALL.iter().map(|outcome| outcome.name().to_owned()).collect();
    let counters = Counter::ALL.iter().map(|counter| counter.name().to_owned()).collect();
    let words = terms::WORDS.iter().map(|(word, _, _)| (*word).to_owned());
    let (claims, rules) = claims_and_rules();
    let mut all = vec![
        ("designs", in_order(designs().into_keys().collect())),
        ("claims of the thread", claims),
        ("rules of the shipped policies", rules),
        ("outcomes", outcomes),
        ("words", words.chain([EXIT_CODES.to_owned()]).collect()),
        ("counters", counters),
        ("error codes", codes),
    ];
    all.retain(|(_, words): &(_, Vec<String>)| !words.is_empty());
    all
}

/// The list of all words, for `explain` without one.
pub fn list() -> String {
    let mut text = "uvsim explain WORD explains one of these:\n".to_owned();
    for (kind, words_of_kind) in all() {
        text += &format!("\n{kind}\n");
        text += &words::wrapped("  ", &words_of_kind.join(", "));
    }
    text
}
