//! What a guest is asked to do, in the form in which it travels through `/chosen/bootargs`, and
//! where on the disk it does it. The work itself is in `tasks/`.

use core::ops::Range;

/// Bytes of a disk sector (virtio 1.2, section 5.2.4: always 512).
pub const SECTOR_BYTES: u64 = 512;
/// Most bytes that one entropy request may ask for.
pub const ENTROPY_BYTES_MAX: u32 = 4096;
/// Shortest frame, without its checksum.
pub const FRAME_BYTES_MIN: u32 = 60;
/// Longest frame, without its checksum.
pub const FRAME_BYTES_MAX: u32 = 1514;

/// Most operations that one block or network workload may list.
pub const OPS_MAX: usize = 8;

/// In which order a block workload visits its sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// One request after the other.
    Sequential,
    /// A permutation drawn from the seed. Every request of an op still has a place of its own.
    Random,
}

/// How a block workload's data buffer lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// The buffer starts on a 64 KiB boundary and nothing else lies in the 64 KiB units that it
    /// touches.
    OwnUnit,
    /// As [`Placement::OwnUnit`], but the last 4 KiB page of its first 64 KiB hold unrelated
    /// data: a counter that the guest increments before each request.
    Neighbour,
    /// As [`Placement::Neighbour`], but that page holds a secret, which a secure guest declares.
    BesideSecret,
    /// On the guest's heap, wherever the allocator puts it.
    Heap,
}

/// One step of a block workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockOp {
    /// `requests` writes of `bytes` bytes each, filled with the pattern of address and seed.
    Write {
        /// How many requests.
        requests: u32,
        /// Bytes per request, a multiple of 512.
        bytes: u32,
    },
    /// `requests` reads of `bytes` bytes each; what the disk held at the start is expected.
    Read {
        /// How many requests.
        requests: u32,
        /// Bytes per request, a multiple of 512.
        bytes: u32,
    },
    /// Reads back what all `Write` steps before it wrote, request by request, and compares.
    ReadBack,
}

/// One step of a network workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetOp {
    /// Sends `frames` frames of `bytes` bytes.
    Transmit {
        /// How many frames.
        frames: u32,
        /// Bytes per frame, 60 to 1514.
        bytes: u32,
    },
    /// Sends `frames` frames one by one, waits for each to come back and compares.
    Echo {
        /// How many frames.
        frames: u32,
        /// Bytes per frame, 60 to 1514.
        bytes: u32,
    },
}

/// What to do with one kind of device. The first device of that kind (in FDT order, slof's boot
/// disk excluded) is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// virtio-blk.
    Block {
        /// Steps; `None` after the last.
        ops: [Option<BlockOp>; OPS_MAX],
        /// In which order sectors are visited.
        order: Order,
        /// Where the buffer lies.
        placement: Placement,
        /// Whether the guest writes the buffer anew before each write request. If not, it is
        /// filled once and every write stores the same bytes (the pattern of the op's first).
        refill: bool,
    },
    /// virtio-net.
    Net {
        /// Steps; `None` after the last.
        ops: [Option<NetOp>; OPS_MAX],
    },
    /// virtio-console: writes `lines` lines of text.
    Console {
        /// How many lines.
        lines: u32,
    },
    /// virtio-rng: asks `requests` times for `bytes` bytes.
    Entropy {
        /// How many requests.
        requests: u32,
        /// Bytes per request, at most 4096.
        bytes: u32,
    },
    /// virtio-balloon: gives `pages` pages of 4 KiB to the host and takes them back.
    Balloon {
        /// How many pages.
        pages: u32,
    },
}

impl Work {
    /// How many steps it has, each done to its end before another kernel may take over.
    pub fn steps(&self) -> usize {
        match self {
            Self::Block { ops, .. } => ops.iter().flatten().count(),
            Self::Net { ops } => ops.iter().flatten().count(),
            Self::Console { .. } | Self::Entropy { .. } | Self::Balloon { .. } => 1,
        }
    }
}

/// The part of the steps `from..to` of a whole workload that each of its items does.
pub fn portions(
    work: &[Option<Work>],
    steps: Range<usize>,
) -> impl Iterator<Item = (Work, Range<usize>)> {
    let mut before = 0;
    work.iter().flatten().map(move |item| {
        let count = item.steps();
        let within = |step: usize| step.saturating_sub(before).min(count);
        let portion = within(steps.start)..within(steps.end);
        before += count;
        (*item, portion)
    })
}

/// Most kinds of work in one workload (`Mixed` lists several, done in this order).
pub const WORK_MAX: usize = 5;

/// The stretch of disk that belongs to one write or read step: `requests` places of `bytes`
/// bytes. Steps never overlap: each region starts where the one before it ends, the first at
/// sector 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its first sector.
    pub first_sector: u64,
    /// How many places it has.
    pub requests: u32,
    /// Bytes of one place.
    pub bytes: u32,
}

impl Region {
    /// How many sectors it has.
    pub const fn sectors(&self) -> u64 {
        self.requests as u64 * (self.bytes as u64 / SECTOR_BYTES)
    }

    /// The sector after its last.
    pub const fn end_sector(&self) -> u64 {
        self.first_sector + self.sectors()
    }

    /// The first sector of the place `place`.
    pub const fn sector(&self, place: u32) -> u64 {
        self.first_sector + place as u64 * (self.bytes as u64 / SECTOR_BYTES)
    }
}

/// The regions of a block workload's steps; a [`BlockOp::ReadBack`] has none of its own.
pub fn block_regions(ops: &[Option<BlockOp>]) -> [Option<Region>; OPS_MAX] {
    let mut regions = [None; OPS_MAX];
    let mut first_sector = 0;
    for (op, slot) in ops.iter().zip(&mut regions) {
        match *op {
            Some(BlockOp::Write { requests, bytes } | BlockOp::Read { requests, bytes }) => {
                let region = Region { first_sector, requests, bytes };
                first_sector = region.end_sector();
                *slot = Some(region);
            }
            Some(BlockOp::ReadBack) | None => (),
        }
    }
    regions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(steps: usize) -> Option<Work> {
        let ops = core::array::from_fn(|index| (index < steps).then_some(BlockOp::ReadBack));
        let (order, placement) = (Order::Sequential, Placement::OwnUnit);
        Some(Work::Block { ops, order, placement, refill: true })
    }

    #[test]
    fn every_step_is_in_one_half_and_in_its_place() {
        let work = [blocks(3), Some(Work::Console { lines: 9 }), None, blocks(2), None];
        let ranges = |steps| portions(&work, steps).map(|(_, range)| range).collect::<Vec<_>>();
        assert_eq!(ranges(0..6), [0..3, 0..1, 0..2]);
        assert_eq!(ranges(0..2), [0..2, 0..0, 0..0]);
        assert_eq!(ranges(2..6), [2..3, 0..1, 0..2]);
        assert_eq!(ranges(5..6), [3..3, 1..1, 1..2]);
    }
}
