//! Scenario, design and policy files: what they say, and what that means.
//!
//! In data-flow order: `source` finds and reads files, `head` tells their kind, `reading` turns text
//! into the types of `file`, `design`, `policy` and `expect`; `draft`, `work`, `claims`, `known`,
//! `argument`, `start` and `matrix` check the values, `cell` and `resolve` make the plans, `select` does so
//! for a whole command line.

pub mod argument;
pub mod beneath;
pub mod cell;
pub mod chapter;
pub mod claims;
pub mod codes;
pub mod design;
pub mod diagnostics;
pub mod draft;
pub mod expect;
pub mod file;
pub mod head;
pub mod images;
pub mod known;
pub mod limits;
pub mod matrix;
pub mod mended;
pub mod places;
pub mod plan;
pub mod policy;
pub mod reading;
pub mod refusal;
pub mod resolve;
pub mod scan;
pub mod select;
pub mod sense;
pub mod size;
pub mod source;
pub mod start;
pub mod words;
pub mod work;
