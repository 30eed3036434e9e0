//! The seam to `virtio-drivers` and drivers whose waits are bounded.
//!
//! `virtio-drivers` is used as it is. What it lacks is added around it: a `Hal` per device, so
//! that each may take its own DMA path ([`hal`]), with the block driver's bugs (`bugs`); a
//! `Transport` that accepts bit 33 and looks whether FEATURES_OK held ([`transport`]), over either of
//! its own (`either`); waits that end ([`wait`]); and per kind of device a
//! driver that reserves slots first, uses only calls that do not block, and names its troubles.

pub mod balloon;
pub mod blk;
pub mod bugs;
pub mod console;
mod either;
pub mod entropy;
mod function;
pub mod hal;
pub mod net;
mod one_queue;
mod pci;
pub mod transport;
pub mod wait;

use crate::calls::Trouble;

/// The troubles of one kind of device, each by its own name.
#[derive(Clone, Copy, Debug)]
pub struct Troubles {
    /// The driver could not set the device up.
    pub init: Trouble,
    /// FEATURES_OK did not hold.
    pub features: Trouble,
    /// It lacks a bit that this kernel demands of devices in a secure guest.
    pub restricted: Trouble,
    /// The kernel demands physical addresses and the DMA API does not promise them.
    pub no_identity: Trouble,
    /// It could not take the vector that it is to interrupt with.
    pub no_vector: Trouble,
    /// A request did not come back in time.
    pub timeout: Trouble,
    /// The same, and the device says that it needs a reset.
    pub needs_reset: Trouble,
    /// The device answered with an error.
    pub io_error: Trouble,
    /// The used ring named a request that was never made.
    pub token: Trouble,
}

macro_rules! troubles {
    ($kind:literal) => {
        Troubles {
            init: Trouble::refused(concat!($kind, "-init")),
            features: Trouble::refused(concat!($kind, "-features-ok")),
            restricted: Trouble::refused(concat!($kind, "-restricted")),
            no_identity: Trouble::refused(concat!($kind, "-no-identity")),
            no_vector: Trouble::refused(concat!($kind, "-no-vector")),
            timeout: Trouble::failed(concat!($kind, "-timeout")),
            needs_reset: Trouble::failed(concat!($kind, "-needs-reset")),
            io_error: Trouble::failed(concat!($kind, "-ioerr")),
            token: Trouble::failed(concat!($kind, "-token")),
        }
    };
}

/// A kind of device that the guest drives. The first of each kind is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Kind {
    /// virtio-blk.
    Blk = 0,
    /// virtio-net.
    Net = 1,
    /// virtio-console.
    Console = 2,
    /// virtio-rng.
    Entropy = 3,
    /// virtio-balloon.
    Balloon = 4,
}

impl Kind {
    /// The kind with this index in [`Kind`]'s order: a const generic carries an index only.
    pub const fn from_index(index: usize) -> Self {
        match index {
            0 => Self::Blk,
            1 => Self::Net,
            2 => Self::Console,
            3 => Self::Entropy,
            _ => Self::Balloon,
        }
    }

    /// Its number in a device's register (virtio 1.2, section 5).
    pub const fn device_id(self) -> u32 {
        match self {
            Self::Net => 1,
            Self::Blk => 2,
            Self::Console => 3,
            Self::Entropy => 4,
            Self::Balloon => 5,
        }
    }

    /// Its troubles.
    pub const fn troubles(self) -> Troubles {
        match self {
            Self::Blk => troubles!("blk"),
            Self::Net => troubles!("net"),
            Self::Console => troubles!("con"),
            Self::Entropy => troubles!("rng"),
            Self::Balloon => troubles!("bal"),
        }
    }
}
