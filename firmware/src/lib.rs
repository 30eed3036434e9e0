//! The guest side: what boot firmware and the kernel's stand-in agree on with whoever starts
//! them, and the logic that can be tested without a guest.
//!
//! The images themselves are the binaries `slof` and `guest` (`src/bin/`), built freestanding
//! with `--cfg uv_guest`; without it this crate is an ordinary library and the binaries are empty.
//!
//! In import order, a module using only those above it: what is asked ([`workload`],
//! [`kernel`], [`bootargs`]) and what its bytes are ([`pattern`]); what slof may load ([`elf`]); in a guest,
//! the machine's edge (`calls`, `start`, `interrupts`, `heap`, `device_tree`, `secure`); the DMA paths
//! ([`dma`]); the seam to `virtio-drivers` and bounded drivers (`virtio`); the work itself
//! (`tasks`) and the drivers that do it (`drivers`); and when a guest becomes secure or another
//! kernel takes over (`life`).
#![cfg_attr(uv_guest, no_std)]

extern crate alloc;

pub mod workload;
pub mod pattern;
pub mod kernel;
pub mod bootargs;
pub mod elf;
#[cfg(uv_guest)]
pub mod calls;
#[cfg(uv_guest)]
pub mod single;
#[cfg(uv_guest)]
pub mod heap;
#[cfg(uv_guest)]
pub mod device_tree;
#[cfg(uv_guest)]
pub mod start;
#[cfg(uv_guest)]
mod registers;
#[cfg(uv_guest)]
pub mod interrupts;
#[cfg(uv_guest)]
pub mod secure;
pub mod dma;
#[cfg(uv_guest)]
pub mod virtio;
#[cfg(uv_guest)]
pub mod tasks;
#[cfg(uv_guest)]
pub mod drivers;
#[cfg(uv_guest)]
pub mod life;
