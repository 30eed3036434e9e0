//! `uvsim schema scenario|design|policy|chapter`: all that a file can say, as an annotated file.
//!
//! The texts are printed from the types' own comments by `tests/reference`, which fails when a type
//! says something else, and rewrites them with BLESS=1.

use super::result_schema;
use clap::ValueEnum;

/// Of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A scenario file, as annotated RON.
    Scenario,
    /// A design file, as annotated RON.
    Design,
    /// A policy file, as annotated RON.
    Policy,
    /// A chapter of the demo, as annotated RON.
    Chapter,
    /// The report `json=FILE`, as JSON Schema.
    Result,
}

impl Kind {
    /// The text.
    pub fn text(self) -> String {
        match self {
            Self::Scenario => include_str!("reference/scenario.ron").to_owned(),
            Self::Design => include_str!("reference/design.ron").to_owned(),
            Self::Policy => include_str!("reference/policy.ron").to_owned(),
            Self::Chapter => include_str!("reference/chapter.ron").to_owned(),
            Self::Result => result_schema::print(),
        }
    }

    /// The kinds of files that have a field or a value called `word`, in any case.
    pub fn with_word(word: &str) -> Vec<&'static str> {
        let files = [Self::Scenario, Self::Design, Self::Policy, Self::Chapter];
        let names = ["scenario", "design", "policy", "chapter"];
        let has = |kind: Self| kind.text().lines().any(|line| names_it(line, word));
        files.into_iter().zip(names).filter(|(kind, _)| has(*kind)).map(|(_, name)| name).collect()
    }
}

/// Whether the line of a reference is about `word`: it begins with it, and a colon, a bracket, a comma
/// or the line's end follows.
fn names_it(line: &str, word: &str) -> bool {
    let line = line.trim_start_matches(['/', ' ']);
    let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(line.len());
    let (first, rest) = line.split_at(end);
    first.eq_ignore_ascii_case(word) && (rest.is_empty() || rest.starts_with([':', '(', ',']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_values_are_found_in_their_files_and_prose_is_not() {
        assert_eq!(Kind::with_word("transport"), ["scenario"]);
        assert_eq!(Kind::with_word("Pci"), ["scenario"]);
        assert_eq!(Kind::with_word("rules"), ["policy"]);
        assert_eq!(Kind::with_word("format"), ["scenario", "design", "policy", "chapter"]);
        assert!(Kind::with_word("Whether").is_empty());
    }
}
