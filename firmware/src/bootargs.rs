//! `/chosen/bootargs`: the choices that reach a guest, as text.
//!
//! The host prints them ([`core::fmt::Display`]) and the guest parses them; both sides use this
//! file, so they cannot drift apart. Words are separated by blanks, e.g.
//! `uvsim.secure=1 uvsim.dma=platform-hook uvsim.swiotlb=8388608 uvsim.rings=together`.

use crate::workload::{WORK_MAX, Work};

/// The guest's DMA path: the mechanism that a design chooses. What it means for one device is
/// decided in one `match` of the guest (`dma/decide.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestDma {
    /// Linux of 2018: the DMA API only if the device negotiated ACCESS_PLATFORM (bit 33), else
    /// raw guest-physical addresses; computed at queue creation (D0).
    LegacyBypass,
    /// Ops are chosen at initialisation by one platform hook: swiotlb ops when the FDT has the
    /// ultravisor node and the guest went secure, direct ops otherwise (D4 + D5).
    PlatformHook,
    /// Rings and small buffers (headers, status bytes) bounce, data goes direct: a broken design
    /// for study.
    DataDirect,
    /// Rings come from shared memory, every streaming buffer goes direct: another.
    PayloadDirect,
}

/// Where ring memory lies when it is not taken from swiotlb's shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rings {
    /// Descriptor table, available ring and used ring of a queue in one 64 KiB unit.
    Together,
    /// The used ring in a 64 KiB unit of its own.
    Apart,
}

/// All that a guest is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootArgs {
    /// Whether the guest shall call UV_ESM.
    pub secure: bool,
    /// The run's seed: patterns, orders, the guest's secret.
    pub seed: u64,
    /// The DMA path.
    pub dma: GuestDma,
    /// Size of the swiotlb pool in bytes, a multiple of 256 KiB.
    pub swiotlb_bytes: u64,
    /// Where rings lie under direct DMA.
    pub rings: Rings,
    /// What to do; `None` after the last.
    pub work: [Option<Work>; WORK_MAX],
    /// Bound of every wait, in virtual nanoseconds.
    pub wait_ns: u64,
}
