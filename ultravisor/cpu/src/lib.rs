//! An x86-64 machine that runs whatever a compiler emits.
//!
//! Knows nothing of page protection, virtio or scenarios: it has a [`Bus`] that answers for
//! pages, and an [`Exit`] for everything else.

pub mod bus;
pub mod exit;

pub use bus::{Access, Bus, HostPage, Page};
pub use exit::Exit;

/// One virtual CPU. (Placeholder for the engine.)
#[derive(Debug, Default)]
pub struct Cpu {}
