//! A descriptor chain that a device took from a ring: two lists of segments, read and written by
//! byte offset, so that a device never sees how the driver cut its request into descriptors.

use crate::event::{Part, QueueIndex};
use crate::window::{Fault, Window};
use ultravisor_abi::DmaAddr;

/// One descriptor's buffer: a claim of the driver's, checked to be in range when it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Where, as the driver said.
    pub at: DmaAddr,
    /// How many bytes; never 0.
    pub bytes: u32,
}

/// Segments in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Segments(Vec<Segment>);

impl Segments {
    /// How many bytes they hold together.
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|segment| u64::from(segment.bytes)).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends one.
    pub fn add(&mut self, segment: Segment) {
        self.0.push(segment);
    }

    /// Where the bytes from `offset` on lie, at most `bytes` of them: (address, length) in order,
    /// no length 0.
    fn spans(&self, offset: u64, bytes: u64) -> impl Iterator<Item = (DmaAddr, u64)> {
        let (mut skip, mut left) = (offset, bytes);
        self.0.iter().filter_map(move |segment| {
            let begin = skip.min(u64::from(segment.bytes));
            skip -= begin;
            let length = (u64::from(segment.bytes) - begin).min(left);
            left -= length;
            (length > 0).then(|| (DmaAddr(segment.at.0.wrapping_add(begin)), length))
        })
    }
}

/// What a device does its chain's bytes through.
#[derive(Clone, Copy)]
pub(super) struct Access<'s, 'w> {
    /// The step's window.
    pub window: &'s Window<'w>,
    /// Which queue.
    pub queue: QueueIndex,
}

impl Access<'_, '_> {
    /// Fills `out` with the bytes of `from` from `offset` on: one window call for each descriptor.
    /// Returns how many there were.
    pub fn gather(
        &self,
        part: Part,
        from: &Segments,
        offset: u64,
        out: &mut [u8],
    ) -> Result<usize, Fault> {
        let pane = self.window.pane(self.queue, part);
        let mut done = 0;
        for (at, bytes) in from.spans(offset, out.len() as u64) {
            let end = done + bytes as usize;
            pane.read_exact(at, &mut out[done..end])?;
            done = end;
        }
        Ok(done)
    }

    /// Writes `bytes` into `to` from `offset` on: one window call for each descriptor. Returns how
    /// many bytes had room.
    pub fn scatter(
        &self,
        part: Part,
        to: &Segments,
        offset: u64,
        bytes: &[u8],
    ) -> Result<usize, Fault> {
        let pane = self.window.pane(self.queue, part);
        let mut done = 0;
        for (at, length) in to.spans(offset, bytes.len() as u64) {
            let end = done + length as usize;
            pane.write_all(at, &bytes[done..end])?;
            done = end;
        }
        Ok(done)
    }
}

/// A chain taken from the available ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Element {
    /// Its head, which goes back into the used ring.
    pub head: u16,
    /// What the device may read.
    pub readable: Segments,
    /// What the device may write.
    pub writable: Segments,
}
