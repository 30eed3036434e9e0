//! The images that are built with this program (`build.rs`).

/// Boot firmware: loads a kernel image from the first disk.
pub const SLOF: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/slof.elf"));

/// The kernel's stand-in.
pub const GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest.elf"));
