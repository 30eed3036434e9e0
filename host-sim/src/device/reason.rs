//! Why a device stopped: what a ring or a request can have that makes no sense.

use crate::event::Part;
use crate::touch::TouchFault;
use crate::window::Fault;

/// Most descriptors in one chain, indirect ones included (QEMU's `VIRTQUEUE_MAX_SIZE`).
pub(super) const SEGMENTS_MAX: usize = 1024;

/// Why a device step ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The ring, or a request in it, made no sense.
    Broken(Reason),
    /// QEMU got SIGBUS.
    Killed,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        match fault.why {
            TouchFault::Sigbus => Self::Killed,
            TouchFault::Outside => {
                Self::Broken(Reason::Unreachable { part: fault.part, at: fault.at.0 })
            }
            TouchFault::NotMapped => {
                Self::Broken(Reason::NotMapped { part: fault.part, at: fault.at.0 })
            }
        }
    }
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Self::Broken(reason)
    }
}

/// What made no sense. The cases are those in which QEMU calls `virtio_error`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// QEMU would take any; virtio-queue and the specification want a power of two up to the
    /// offered size.
    #[error("queue size {0} is no power of two up to {1}")]
    Size(u32, u16),
    /// A queue area that is not aligned as the specification says.
    #[error("the {} area at {at:#x} is not aligned", part.name())]
    Misaligned {
        /// Which area.
        part: Part,
        /// Its address.
        at: u64,
    },
    /// A queue area or a buffer that is not guest RAM.
    #[error("the {} range at {at:#x} cannot be reached", part.name())]
    Unreachable {
        /// Doing what.
        part: Part,
        /// Its address.
        at: u64,
    },
    /// An IOMMU mapping went away between the check and the access.
    #[error("the {} access at {at:#x} is not mapped in the IOMMU", part.name())]
    NotMapped {
        /// Doing what.
        part: Part,
        /// Its address.
        at: u64,
    },
    /// More new chains than the ring has entries.
    #[error("the available index jumps from {from} to {to}")]
    AvailableJump {
        /// The next chain that the device would take.
        from: u16,
        /// The index that the driver wrote.
        to: u16,
    },
    /// A head past the descriptor table.
    #[error("available head {0} is outside the descriptor table")]
    Head(u16),
    /// An indirect table that is empty or holds a part of a descriptor.
    #[error("an indirect table of {0} bytes")]
    IndirectSize(u32),
    /// A link past the table.
    #[error("the next descriptor {0} is outside its table")]
    Next(u16),
    /// More descriptors than the table has entries.
    #[error("the descriptor chain loops")]
    Loop,
    /// More than QEMU takes.
    #[error("a chain of more than {SEGMENTS_MAX} descriptors")]
    TooLong,
    /// A readable descriptor after a writable one.
    #[error("a readable descriptor follows a writable one")]
    Order,
    /// A buffer of no bytes.
    #[error("a buffer of zero bytes")]
    EmptyBuffer,
    /// A buffer that is not guest RAM, or that the IOMMU does not map so.
    #[error("the buffer of {bytes} bytes at {at:#x} cannot be mapped")]
    Buffer {
        /// Where the driver said.
        at: u64,
        /// How long.
        bytes: u32,
    },
    /// A request without room for what every request of its kind has.
    #[error("{0}")]
    Request(&'static str),
}
