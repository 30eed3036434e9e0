//! What a user gets: lines for people, JSON for programs, events for later reports.

pub mod events;
pub mod explain;
pub mod human;
pub mod json;
pub mod plan_json;
pub mod target;
pub mod words;
