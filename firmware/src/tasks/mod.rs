//! The work itself: one file for each kind of device, each reports by name what went wrong.

pub mod balloon;
pub mod block;
pub mod console;
pub mod entropy;
pub mod net;
