//! The guest side: what boot firmware and the kernel's stand-in agree on with whoever starts
//! them, and the logic that can be tested without a guest.
//!
//! The images themselves are the binaries `slof` and `guest` (`src/bin/`), built freestanding
//! with `--cfg uv_guest`; without it this crate is an ordinary library and the binaries are empty.
#![cfg_attr(uv_guest, no_std)]

pub mod bootargs;
pub mod workload;
