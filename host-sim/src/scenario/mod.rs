//! Scenario files: what they say, and what that means.

pub mod expect;
pub mod plan;
