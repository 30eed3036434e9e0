//! The guest side: what boot firmware and the kernel's stand-in agree on with whoever starts
//! them, and the logic that can be tested without a guest.
//!
//! The images themselves are the binaries `slof` and `guest` (`src/bin/`), built freestanding
//! with `--cfg uv_guest`; without it this crate is an ordinary library and the binaries are empty.
//!
//! In import order, a module using only those above it: what is asked ([`workload`],
//! [`bootargs`]) and what its bytes are ([`pattern`]); what slof may load ([`elf`]); in a guest,
//! the machine's edge (`calls`, `start`, `heap`, `device_tree`, `secure`); the DMA paths
//! ([`dma`]); the seam to `virtio-drivers` and bounded drivers (`virtio`); and the work itself
//! (below `workload`).
#![cfg_attr(uv_guest, no_std)]

extern crate alloc;

pub mod bootargs;
#[cfg(uv_guest)]
pub mod calls;
#[cfg(uv_guest)]
pub mod device_tree;
pub mod dma;
pub mod elf;
#[cfg(uv_guest)]
pub mod heap;
pub mod pattern;
#[cfg(uv_guest)]
pub mod secure;
#[cfg(uv_guest)]
pub mod single;
#[cfg(uv_guest)]
pub mod start;
#[cfg(uv_guest)]
pub mod virtio;
pub mod workload;
