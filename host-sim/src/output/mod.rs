//! What a user gets: lines for people, JSON for programs, events for later reports.

pub mod compare_grid;
pub mod compare_json;
pub mod compare_text;
pub mod csv;
pub mod ends;
pub mod events;
pub mod explain;
pub mod github;
pub mod human;
pub mod json;
pub mod junit;
pub mod markdown;
pub mod plan_json;
pub mod rows;
pub mod stuck;
pub mod target;
pub mod words;
