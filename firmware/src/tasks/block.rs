//! Block work: writes, reads, and reading back what was written, every byte compared.

use crate::calls::{Trouble, declare_secret};
use crate::dma::decide::Life;
use crate::dma::state::kernel;
use crate::heap::{UNIT_BYTES, own_units};
use crate::pattern::{Pattern, SECRET_BYTES, Stream, place, secret, written_position};
use crate::virtio::blk::Disk;
use crate::workload::{BlockOp, OPS_MAX, Order, Placement, Region, SECTOR_BYTES, block_regions};
use alloc::vec;
use core::ops::Range;

/// Where [`Placement::Neighbour`]'s counter lies: the last page of the first unit.
const NEIGHBOUR_OFFSET: usize = UNIT_BYTES - 4096;

/// A block workload and the run's seed.
#[derive(Clone, Copy, Debug)]
pub struct BlockWork {
    /// Steps; `None` after the last.
    pub ops: [Option<BlockOp>; OPS_MAX],
    /// In which order places are visited.
    pub order: Order,
    /// Where the buffer lies.
    pub placement: Placement,
    /// Whether the buffer is written anew before each write.
    pub refill: bool,
    /// The run's seed.
    pub seed: u64,
}

/// The data buffer and the counter beside it.
struct Buffer {
    data: &'static mut [u8],
    neighbour: Option<&'static mut [u8]>,
}

impl Buffer {
    fn new(placement: Placement, bytes: usize, seed: u64) -> Result<Self, Trouble> {
        match placement {
            Placement::OwnUnit => Ok(Self { data: own_units(bytes), neighbour: None }),
            Placement::Heap => Ok(Self { data: vec![0; bytes].leak(), neighbour: None }),
            Placement::Neighbour | Placement::BesideSecret if bytes > NEIGHBOUR_OFFSET => {
                // The neighbour's page would lie inside the buffer.
                Err(Trouble::refused("blk-placement"))
            }
            Placement::Neighbour => {
                let (data, neighbour) = own_units(UNIT_BYTES).split_at_mut(NEIGHBOUR_OFFSET);
                Ok(Self { data: &mut data[..bytes], neighbour: Some(neighbour) })
            }
            Placement::BesideSecret => {
                let (data, neighbour) = own_units(UNIT_BYTES).split_at_mut(NEIGHBOUR_OFFSET);
                neighbour[..SECRET_BYTES].copy_from_slice(&secret(!seed));
                // A normal guest has no secrets from its host.
                if kernel().1 == Life::Secure {
                    let address = neighbour.as_ptr().expose_provenance() as u64;
                    declare_secret(address, SECRET_BYTES as u64);
                }
                Ok(Self { data: &mut data[..bytes], neighbour: None })
            }
        }
    }

    /// The unrelated work that a neighbour does before each request: it counts them.
    fn touch_neighbour(&mut self) {
        if let Some(word) = self.neighbour.as_mut().and_then(|page| page.first_chunk_mut::<8>()) {
            *word = u64::from_le_bytes(*word).wrapping_add(1).to_le_bytes();
            // The counter is read by nobody; the store is the point.
            core::hint::black_box(word);
        }
    }
}

/// Does those steps of the work on `disk` that are in `steps`.
///
/// # Errors
/// The disk's troubles; `blk-too-small` if the steps do not fit on it, `blk-placement` if the
/// buffer does not fit beside its neighbour; mismatches `blk-read` and `blk-readback`.
#[inline(never)] // a frame of its own in call chains
pub fn run(work: &BlockWork, steps: Range<usize>, disk: &mut Disk) -> Result<(), Trouble> {
    if steps.is_empty() {
        return Ok(());
    }
    let regions = block_regions(&work.ops);
    let largest = regions.iter().flatten().map(|region| region.bytes).max().unwrap_or(0);
    if regions.iter().flatten().any(|region| region.end_sector() > disk.sectors()) {
        return Err(Trouble::refused("blk-too-small"));
    }
    let mut buffer = Buffer::new(work.placement, largest as usize, work.seed)?;
    for (index, op) in work.ops.iter().enumerate().take(steps.end).skip(steps.start) {
        match (op, regions[index]) {
            (Some(BlockOp::Write { .. }), Some(region)) => {
                work.write(disk, &mut buffer, index, &region)?;
            }
            (Some(BlockOp::Read { .. }), Some(region)) => {
                work.read(disk, &mut buffer, index, &region)?;
            }
            (Some(BlockOp::ReadBack), _) => work.read_back(disk, &mut buffer, index, &regions)?,
            (Some(BlockOp::Write { .. } | BlockOp::Read { .. }) | None, _) => (),
        }
    }
    Ok(())
}

impl BlockWork {
    fn places(&self, op: usize, region: &Region) -> impl Iterator<Item = u32> + use<> {
        let (seed, order, requests) = (self.seed, self.order, region.requests);
        (0..requests).map(move |number| place(seed, order, op, number, requests))
    }

    #[inline(never)] // a frame of its own in call chains
    fn write(
        &self,
        disk: &mut Disk,
        buffer: &mut Buffer,
        op: usize,
        region: &Region,
    ) -> Result<(), Trouble> {
        let pattern = Pattern::new(self.seed, Stream::Written);
        let bytes = region.bytes as usize;
        if !self.refill {
            pattern.fill(written_position(region, false, 0), &mut buffer.data[..bytes]);
        }
        for place in self.places(op, region) {
            buffer.touch_neighbour();
            if self.refill {
                pattern.fill(written_position(region, true, place), &mut buffer.data[..bytes]);
            }
            disk.write(region.sector(place), &buffer.data[..bytes])?;
        }
        Ok(())
    }

    #[inline(never)] // a frame of its own in call chains
    fn read(
        &self,
        disk: &mut Disk,
        buffer: &mut Buffer,
        op: usize,
        region: &Region,
    ) -> Result<(), Trouble> {
        let expected = Pattern::new(self.seed, Stream::Initial);
        for place in self.places(op, region) {
            let data = fetch(disk, buffer, region, place)?;
            let position = region.sector(place) * SECTOR_BYTES;
            if expected.first_mismatch(position, data).is_some() {
                return Err(Trouble::mismatch("blk-read"));
            }
        }
        Ok(())
    }

    /// What the write steps before step `until` wrote, in the order in which they wrote it.
    #[inline(never)] // a frame of its own in call chains
    fn read_back(
        &self,
        disk: &mut Disk,
        buffer: &mut Buffer,
        until: usize,
        regions: &[Option<Region>],
    ) -> Result<(), Trouble> {
        let expected = Pattern::new(self.seed, Stream::Written);
        for (op, region) in regions.iter().enumerate().take(until) {
            let (Some(BlockOp::Write { .. }), Some(region)) = (self.ops[op], region) else {
                continue;
            };
            for place in self.places(op, region) {
                let data = fetch(disk, buffer, region, place)?;
                let position = written_position(region, self.refill, place);
                if expected.first_mismatch(position, data).is_some() {
                    return Err(Trouble::mismatch("blk-readback"));
                }
            }
        }
        Ok(())
    }
}

/// Reads one place into the emptied buffer: what a device leaves out must not look like what the
/// buffer held before.
fn fetch<'a>(
    disk: &mut Disk,
    buffer: &'a mut Buffer,
    region: &Region,
    place: u32,
) -> Result<&'a [u8], Trouble> {
    buffer.touch_neighbour();
    let data = &mut buffer.data[..region.bytes as usize];
    data.fill(0);
    disk.read(region.sector(place), data)?;
    Ok(data)
}
