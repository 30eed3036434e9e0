//! Typed expectations of a scenario.

/// One expectation. (The front end defines its kinds.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Its id, unique in the scenario.
    pub id: String,
}
