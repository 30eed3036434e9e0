//! Guest images: a file is checked, rule by rule, before anything in it is believed.
//!
//! Files may be hostile. Every size and offset is checked with arithmetic that cannot wrap before
//! it is used; sections are looked at for symbols only, and nothing in them is expanded.

mod announce;
pub mod builtin;
mod check;
mod class;
mod error;
mod flat;
mod places;
pub mod sweep;
mod symbols;

pub use announce::{Announced, announced};
pub use class::Class;
pub use error::{HeaderIndex, ImageError, Rule};
pub use places::{PLACES_MAX, Place, PlaceKind};
pub use symbols::{Symbol, Symbols};

use std::ops::Range;
use ultravisor_abi::Gpa;
use ultravisor_abi::boot::{IMAGES, LOW_RAM_END, SLOF, STACK_BYTES};

/// Most bytes of an image file.
pub const FILE_BYTES_MAX: usize = 64 << 20;
/// Most program headers.
pub const PROGRAM_HEADERS_MAX: u16 = 64;
/// Most section headers.
pub const SECTION_HEADERS_MAX: u16 = 4096;
/// Most symbols.
pub const SYMBOLS_MAX: u64 = 100_000;

/// How an image is loaded and started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// In long mode, identity-mapped (`ultravisor_abi::boot`).
    Elf64,
    /// As a Multiboot 1 loader does it: in 32-bit protected mode, without paging.
    Multiboot1,
    /// As a PVH guest of Xen: the same, at an entry of its own.
    Pvh,
}

impl Protocol {
    /// Whether there is no paging when the guest starts: then it is physical addresses that count,
    /// and nobody keeps code and data apart.
    pub const fn is_physical(self) -> bool {
        match self {
            Self::Elf64 => false,
            Self::Multiboot1 | Self::Pvh => true,
        }
    }
}

/// What an image may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How it will be started.
    pub protocol: Protocol,
    /// Most bytes of the file.
    pub file_bytes_max: usize,
    /// Where its segments must lie.
    pub place: Range<u64>,
    /// But for here.
    pub hole: Range<u64>,
}

/// Images that start without paging may lie from here on: behind what a PC's firmware leaves.
const PHYSICAL: u64 = 0x1000;
/// But not here: what a loader hands over lies here, then what a PC's firmware keeps for itself.
pub const HANDOVER: Range<u64> = 0x4_0000..0x9_f000;

impl Limits {
    /// For an image in a guest with this much RAM that starts by `elf64`: from [`IMAGES`] to the
    /// end of the RAM that is mapped at entry.
    pub fn guest(memory_bytes: u64) -> Self {
        Self::of(Protocol::Elf64, memory_bytes)
    }

    /// The same for any protocol: images that start without paging may lie in low memory, too; those
    /// that start with a stack leave it room.
    pub fn of(protocol: Protocol, memory_bytes: u64) -> Self {
        let end = memory_bytes.min(LOW_RAM_END.0);
        let (start, end, hole) = match protocol {
            Protocol::Elf64 => (IMAGES.0, end.saturating_sub(STACK_BYTES), 0..0),
            Protocol::Multiboot1 | Protocol::Pvh => (PHYSICAL, end, HANDOVER.start..IMAGES.0),
        };
        let end = end.max(IMAGES.0);
        Self { protocol, file_bytes_max: FILE_BYTES_MAX, place: start..end, hole }
    }

    /// What is wrong with a segment that lies at `range`, in words.
    fn misplaced(&self, range: &Range<u64>) -> Option<String> {
        let Self { place, hole, .. } = self;
        let but = if hole.is_empty() {
            String::new()
        } else {
            format!(" but for {:#x} to {:#x}", hole.start, hole.end)
        };
        let in_hole = range.start < hole.end && hole.start < range.end;
        let is_good = place.start <= range.start && range.end <= place.end && !in_hole;
        (!is_good).then(|| {
            let Range { start, end } = place;
            format!(
                "{:#x} to {:#x}, and not from {start:#x} to {end:#x}{but}",
                range.start, range.end
            )
        })
    }

    /// For boot firmware.
    pub const fn slof() -> Self {
        let place = SLOF.0..IMAGES.0;
        Self { protocol: Protocol::Elf64, file_bytes_max: FILE_BYTES_MAX, place, hole: 0..0 }
    }
}

/// What a segment may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFlags {
    /// It may be written.
    pub writable: bool,
    /// It may be executed.
    pub executable: bool,
}

/// One segment to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it goes.
    pub gpa: Gpa,
    /// What the file has of it; the rest of `mem_bytes` is zero.
    pub bytes: Vec<u8>,
    /// Its size in memory, at least 1.
    pub mem_bytes: u64,
    /// What it may be used for.
    pub flags: SegmentFlags,
}

impl Segment {
    /// The addresses it covers.
    pub const fn range(&self) -> Range<u64> {
        // Checked at parse: it ends inside guest RAM.
        self.gpa.0..self.gpa.0 + self.mem_bytes
    }
}

/// An image that passed every check.
#[derive(Clone, Debug)]
pub struct Image {
    /// Where it starts, guest-physical.
    pub entry: u64,
    /// Its segments, in the file's order. They do not overlap.
    pub segments: Vec<Segment>,
    /// Its functions; empty if the file is stripped.
    pub symbols: Symbols,
    /// What its file names of it: sections, then variables.
    pub places: Vec<Place>,
}

impl Image {
    /// Checks `bytes` and takes them apart.
    ///
    /// # Errors
    /// All rules that are broken, as far as one can see: a broken header hides what follows.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, Vec<ImageError>> {
        check::file_size(bytes, limits).map_err(|error| vec![error])?;
        if limits.protocol == Protocol::Multiboot1 {
            let header = check::multiboot(bytes).map_err(|error| vec![error])?;
            if header.is_flat() {
                return flat::parse(bytes, limits, header).map_err(|error| vec![error]);
            }
        }
        let checked = check::check(bytes, limits)?;
        let symbols = symbols::find(bytes, &checked).map_err(|error| vec![error])?;
        let places = places::find(bytes, &checked, &symbols);
        let segments = checked.loads.iter().map(|load| load.segment(bytes)).collect();
        Ok(Self { entry: checked.entry, segments, symbols, places })
    }

    /// The first address behind it, and not below [`IMAGES`].
    pub fn end(&self) -> u64 {
        self.segments.iter().map(|segment| segment.range().end).fold(IMAGES.0, u64::max)
    }
}
