//! The DMA paths: how a driver's buffer becomes an address in a ring.
//!
//! Which path a device takes is one table ([`decide`]), and some kernels search the device tree to
//! fill in its question ([`predicate`]). What a path does is small: the buffer itself (direct); a
//! slot of a shared pool with copies to and fro ([`swiotlb`]); pages mapped in an IOMMU
//! ([`iovas`], `tce`); units shared while they are lent ([`lent`], `in_place`). `state` has what
//! the guest knows, `setup` how it comes to know it; the probe points (`ask`, `bounce`, `probes`), real functions whose entry and
//! return the machine sees, do the work.

pub mod decide;
pub mod predicate;
pub mod rings;
pub mod slots;
pub mod swiotlb;
pub mod iovas;
pub mod lent;
#[cfg(uv_guest)]
pub mod tce;
#[cfg(uv_guest)]
pub mod in_place;
#[cfg(uv_guest)]
pub mod ask;
#[cfg(uv_guest)]
pub mod bounce;
#[cfg(uv_guest)]
pub mod state;
#[cfg(uv_guest)]
pub mod setup;
#[cfg(uv_guest)]
pub mod probes;

/// Who may write a buffer while a device holds it. The value is what the probe points carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Direction {
    /// The device only reads it.
    ToDevice = 0,
    /// The device only writes it.
    FromDevice = 1,
    /// Both read and write it.
    Both = 2,
}

impl Direction {
    /// The direction with this number; anything unknown is treated as the most careful one.
    pub const fn from_number(number: u64) -> Self {
        match number {
            0 => Self::ToDevice,
            1 => Self::FromDevice,
            _ => Self::Both,
        }
    }

    /// Whether the device may have written, so that unmapping copies back.
    pub const fn device_writes(self) -> bool {
        match self {
            Self::ToDevice => false,
            Self::FromDevice | Self::Both => true,
        }
    }
}
