//! What a guest is asked to do, in the form in which it travels through `/chosen/bootargs`.

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
}

/// Most kinds of work in one workload (`Mixed` lists several, done in this order).
pub const WORK_MAX: usize = 4;
