//! What a device may ask of the host below it: the seam between `window.rs` and `host.rs`.
#![expect(unsafe_code, reason = "whoever hands out pieces of memory promises how long they live")]

use crate::event::{Chain, DeviceIndex, Direction, Event, Part, QueueIndex};
use crate::iommu::domains::{Refused, Request};
use ultravisor_abi::{DmaAddr, Gpa};

/// One access by a device, before anything was translated or checked: a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch<'a> {
    /// Which device.
    pub device: DeviceIndex,
    /// Which queue.
    pub queue: QueueIndex,
    /// Doing what.
    pub part: Part,
    /// Which way.
    pub direction: Direction,
    /// Where the driver said.
    pub at: DmaAddr,
    /// How many bytes; never 0.
    pub bytes: u64,
    /// The guest's call chain at the kick that caused it.
    pub chain: Option<&'a Chain>,
}

/// Why a touch failed. Each has been logged as a touch that saw [`crate::event::Seen::Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TouchFault {
    /// Not guest RAM (or it wraps).
    Outside,
    /// The IOMMU has no mapping that allows it.
    NotMapped,
    /// The page-out failed; QEMU gets SIGBUS.
    Sigbus,
}

/// A piece of guest memory that a touch may use: contiguous in normal memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The first byte in normal memory.
    pub ptr: std::ptr::NonNull<u8>,
    /// How many bytes.
    pub bytes: u64,
    /// Where this is in guest-physical memory.
    pub gpa: Gpa,
}

/// Where the bytes of one touch lie, in order. One piece nearly always, and then no allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pieces {
    /// All of it.
    One(Piece),
    /// Parts that are not neighbours in normal memory.
    Many(Vec<Piece>),
}

impl Pieces {
    /// The pieces, in order.
    pub fn as_slice(&self) -> &[Piece] {
        match self {
            Self::One(piece) => std::slice::from_ref(piece),
            Self::Many(pieces) => pieces,
        }
    }

    /// How many bytes they hold together.
    pub fn bytes(&self) -> u64 {
        self.as_slice().iter().fold(0, |sum, piece| sum.saturating_add(piece.bytes))
    }
}

impl From<Vec<Piece>> for Pieces {
    fn from(pieces: Vec<Piece>) -> Self {
        match pieces[..] {
            [piece] => Self::One(piece),
            _ => Self::Many(pieces),
        }
    }
}

/// The host below a device.
///
/// # Safety
/// Each [`Piece`] that [`Self::touch`] returns is memory that may be read, and written if the
/// touch was a write, through its pointer for as long as [`Self::epoch`] does not change. Only
/// calls through `&mut self` change the epoch, and while it lasts nothing holds a Rust reference
/// to that memory.
pub unsafe trait Host {
    /// Translates and checks `touch`, pages out what must be paged out (the whole range first),
    /// logs one event for each unit touched, and says where the bytes lie. Neighbouring units
    /// come as one piece; together the pieces are `touch.bytes` long.
    ///
    /// # Errors
    /// See [`TouchFault`]; nothing may be accessed then.
    fn touch(&mut self, touch: &Touch<'_>) -> Result<Pieces, TouchFault>;

    /// As [`Self::touch`], but only asks whether the range is guest RAM that the device can
    /// address: nothing is paged out or logged.
    fn in_range(
        &mut self,
        device: DeviceIndex,
        at: DmaAddr,
        bytes: u64,
        direction: Direction,
    ) -> bool;

    /// A driver gave a device this address in a descriptor.
    fn given(&mut self, device: DeviceIndex, queue: QueueIndex, at: DmaAddr);

    /// Whether the 4 KiB page at `page` is guest RAM.
    fn is_ram_page(&self, page: Gpa) -> bool;

    /// The balloon took the 4 KiB page at `page`, which is guest RAM: gives it back to the
    /// operating system. Returns how many bytes the host got.
    fn discard(&mut self, page: Gpa) -> u64;

    /// The driver of the virtio-iommu asks for something.
    ///
    /// # Errors
    /// See [`Refused`].
    fn iommu(&mut self, request: Request) -> Result<(), Refused>;

    /// How many look-ups in the device's IOTLB found what they looked for since this was asked
    /// last.
    fn take_iotlb_hits(&mut self, device: DeviceIndex) -> u64;

    /// Takes work units of the run's budget for what no event tells.
    fn works(&mut self, units: u64);

    /// So many bytes of text come to a console: how many of them it may keep.
    fn take_console(&mut self, bytes: u64) -> u64;

    /// Logs an event.
    fn log(&mut self, event: Event);

    /// Changes each time when a piece handed out before may no longer be used: when the guest
    /// runs, or a unit changes its backing for another reason than a touch of this step.
    fn epoch(&self) -> u64;
}
