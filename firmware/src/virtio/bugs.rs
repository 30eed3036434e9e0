//! A block driver with a bug: what the thread feared of guests that go past the DMA API (facts
//! 1.3, claims 5 to 7), and two that stay within it.
//!
//! Every n-th data buffer is treated wrongly; headers and status bytes never are.
#![expect(unsafe_code, reason = "reads a descriptor back from the ring")]

use crate::dma::Direction;
use crate::dma::decide::DATA_BYTES_MIN;
use crate::dma::state::end_of_pool;
use crate::heap::own_units;
use crate::kernel::{Bug, BugKind};
use crate::single::Single;
use crate::virtio::Kind;
use core::ptr::NonNull;

/// An address outside all RAM: 1 TiB.
const OUTSIDE: u64 = 1 << 40;
/// Descriptors of the block driver's queue that are looked at.
const DESCRIPTORS: usize = 16;

/// What is known about the buggy driver.
struct Buggy {
    bug: Option<Bug>,
    /// Data buffers so far.
    buffers: u32,
    /// Whether the one under way is treated wrongly.
    wrong: bool,
    /// Whether there was no room for the one that comes next.
    no_room: bool,
    /// Memory of somebody else's, for guests without a pool: where it lies and its size.
    decoy: Option<(u64, u64)>,
    /// The queue's descriptor table.
    table: Option<NonNull<u8>>,
    /// What the descriptor of the data under way said when the device was done.
    read_back: Option<u64>,
}

static BUGGY: Single<Buggy> = Single::new(Buggy {
    bug: None,
    buffers: 0,
    wrong: false,
    no_room: false,
    decoy: None,
    table: None,
    read_back: None,
});

/// Gives the block driver this bug.
pub fn init(bug: Option<Bug>) {
    BUGGY.with(|buggy| buggy.bug = bug);
}

const fn is_data(bytes: u64) -> bool {
    bytes >= DATA_BYTES_MIN as u64
}

/// Ring memory was allocated: the descriptor table begins what the driver writes.
pub fn ring_is_at(start: NonNull<u8>, direction: u64) {
    if Direction::from_number(direction) != Direction::FromDevice {
        BUGGY.with(|buggy| buggy.table = Some(start));
    }
}

/// A buffer is about to be lent: the address that goes into the ring instead, if it is one that
/// the bug sends past the DMA API.
pub fn address_instead(address: u64, bytes: u64) -> Option<u64> {
    BUGGY.with(|buggy| {
        let bug = buggy.bug?;
        if !is_data(bytes) {
            return None;
        }
        buggy.buffers += 1;
        buggy.wrong = match bug.kind {
            BugKind::FallThrough => core::mem::take(&mut buggy.no_room),
            BugKind::RawSecure
            | BugKind::RawShared
            | BugKind::RawOutside
            | BugKind::NeverUnmap
            | BugKind::ReadBack => buggy.buffers.is_multiple_of(bug.every),
        };
        if !buggy.wrong {
            return None;
        }
        match bug.kind {
            BugKind::RawSecure | BugKind::FallThrough => Some(address),
            BugKind::RawShared => Some(buggy.somebody_elses(bytes)),
            BugKind::RawOutside => Some(OUTSIDE),
            BugKind::NeverUnmap | BugKind::ReadBack => None,
        }
    })
}

/// A buffer comes back: the address whose mapping to undo, if any.
pub fn address_to_undo(address: u64, bytes: u64) -> Option<u64> {
    BUGGY.with(|buggy| {
        let Some(bug) = buggy.bug.filter(|_| is_data(bytes) && buggy.wrong) else {
            return Some(address);
        };
        match bug.kind {
            BugKind::RawSecure
            | BugKind::RawShared
            | BugKind::RawOutside
            | BugKind::NeverUnmap
            | BugKind::FallThrough => None,
            BugKind::ReadBack => Some(buggy.read_back.take().unwrap_or(address)),
        }
    })
}

/// The pool has no room for the data that comes next: whether the driver goes on without.
pub fn goes_on_without_room() -> bool {
    BUGGY.with(|buggy| {
        buggy.no_room = buggy.bug.is_some_and(|bug| bug.kind == BugKind::FallThrough);
        buggy.no_room
    })
}

/// The device is done with a request: a driver that trusts the ring looks there for what it
/// lent. (With indirect descriptors the ring has no data buffer, and the bug does not show.)
pub fn request_done() {
    BUGGY.with(|buggy| {
        let reads = buggy.bug.is_some_and(|bug| bug.kind == BugKind::ReadBack);
        let Some(table) = buggy.table.filter(|_| reads && buggy.wrong) else { return };
        let descriptors = table.cast::<[u64; 2]>();
        // SAFETY: the table of a queue of that many descriptors, 16 bytes each; the queue lives as
        // long as the driver. The device may write there, hence volatile.
        let read = |index| unsafe { descriptors.add(index).read_volatile() };
        let data = (0..DESCRIPTORS).map(read).find(|[_, rest]| is_data(rest & 0xffff_ffff));
        buggy.read_back = data.map(|[address, _]| address);
    });
}

impl Buggy {
    /// Memory that a device may reach and that is not this buffer's: the end of the pool, or
    /// without one just other memory.
    fn somebody_elses(&mut self, bytes: u64) -> u64 {
        if let Some(end) = end_of_pool(Kind::Blk as usize) {
            return end - bytes.next_multiple_of(4096).min(end);
        }
        match self.decoy {
            Some((address, size)) if size >= bytes => address,
            Some(_) | None => {
                let address = own_units(bytes as usize).as_ptr().expose_provenance() as u64;
                self.decoy = Some((address, bytes));
                address
            }
        }
    }
}
