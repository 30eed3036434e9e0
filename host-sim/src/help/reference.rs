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
}
