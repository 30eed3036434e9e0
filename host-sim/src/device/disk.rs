//! A disk: what it held at the start, as a function, and the blocks written since.

use crate::scenario::plan::Contents;
use firmware::pattern::{Pattern, Stream};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of a sector (virtio 1.4, 5.2.2: always 512, whatever the block size).
pub(super) const SECTOR_BYTES: u64 = 512;
/// Bytes of the blocks in which what was written is kept.
pub const DISK_BLOCK_BYTES: u64 = 4096;

/// Most blocks of one disk that may be written (256 MiB): a write beyond is an I/O error, as it is
/// when the file behind a disk of QEMU's finds no space left.
const BLOCKS_MAX: usize = 1 << 16;
/// Blocks of one piece of host memory: one allocation for each written block would cost more than
/// its copy.
const PIECE_BLOCKS: usize = 16;

/// What a disk held at the start.
#[derive(Clone, Debug)]
enum Start {
    Pattern(Pattern),
    Zero,
    File(Arc<[u8]>),
}

impl Start {
    fn fill(&self, offset: u64, out: &mut [u8]) {
        match self {
            Self::Pattern(pattern) => pattern.fill(offset, out),
            Self::Zero => out.fill(0),
            Self::File(bytes) => {
                let file = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..));
                let file = file.unwrap_or_default();
                let count = file.len().min(out.len());
                out[..count].copy_from_slice(&file[..count]);
                out[count..].fill(0);
            }
        }
    }
}

/// A disk. Its cost follows what was written, not its size.
#[derive(Clone, Debug)]
pub struct Disk {
    sectors: u64,
    start: Start,
    written: Written,
}

/// The blocks that were written: where each lies, and their bytes in the order of first writing.
#[derive(Clone, Debug, Default)]
struct Written {
    places: BTreeMap<u64, usize>,
    pieces: Vec<Vec<u8>>,
}

impl Written {
    fn len(&self) -> usize {
        self.places.len()
    }

    fn get(&self, block: u64) -> Option<&[u8]> {
        self.places.get(&block).map(|&place| &self.pieces[place / PIECE_BLOCKS][within(place)])
    }

    fn get_mut(&mut self, block: u64) -> Option<&mut [u8]> {
        let place = *self.places.get(&block)?;
        Some(&mut self.pieces[place / PIECE_BLOCKS][within(place)])
    }

    /// Keeps `bytes` for `block`, which was not written before.
    fn insert(&mut self, block: u64, bytes: &[u8]) {
        let place = self.places.len();
        if place.is_multiple_of(PIECE_BLOCKS) {
            self.pieces.push(Vec::with_capacity(PIECE_BLOCKS * DISK_BLOCK_BYTES as usize));
        }
        self.pieces[place / PIECE_BLOCKS].extend_from_slice(bytes);
        self.places.insert(block, place);
    }
}

/// Where a block lies in its piece.
const fn within(place: usize) -> std::ops::Range<usize> {
    let start = place % PIECE_BLOCKS * DISK_BLOCK_BYTES as usize;
    start..start + DISK_BLOCK_BYTES as usize
}

impl Disk {
    /// A disk of `sectors` sectors of 512 bytes that holds `contents`; `seed` is the run's.
    pub fn new(sectors: u64, contents: &Contents, seed: u64) -> Self {
        let start = match contents {
            Contents::Pattern => Start::Pattern(Pattern::new(seed, Stream::Initial)),
            Contents::Zero => Start::Zero,
            Contents::File { bytes, .. } => Start::File(Arc::clone(bytes)),
        };
        // No byte address wraps.
        let sectors = sectors.min(u64::MAX / SECTOR_BYTES);
        Self { sectors, start, written: Written::default() }
    }

    /// How many sectors of 512 bytes.
    pub fn sectors(&self) -> u64 {
        self.sectors
    }

    /// Whether `sector` and all that follow it over `bytes` bytes exist.
    pub fn holds(&self, sector: u64, bytes: u64) -> bool {
        let count = bytes.div_ceil(SECTOR_BYTES);
        self.sectors.checked_sub(sector).is_some_and(|left| count <= left)
    }

    /// Whether `bytes` bytes more can be stored, wherever they go.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        let most = (bytes / DISK_BLOCK_BYTES).saturating_add(2);
        most <= (BLOCKS_MAX - self.written.len()) as u64
    }

    /// What byte `offset` and those after it hold now.
    pub fn read(&self, offset: u64, out: &mut [u8]) {
        for (block, within, span) in spans(offset, out.len()) {
            let out = &mut out[span];
            match self.written.get(block) {
                Some(bytes) => out.copy_from_slice(&bytes[within..within + out.len()]),
                None => self.start.fill(block * DISK_BLOCK_BYTES + within as u64, out),
            }
        }
    }

    /// What byte `offset` and those after it held at the start.
    pub fn initial(&self, offset: u64, out: &mut [u8]) {
        self.start.fill(offset, out);
    }

    /// Stores `bytes` from byte `offset` on. The caller checks that they fit.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (block, within, span) in spans(offset, bytes.len()) {
            let bytes = &bytes[span];
            match self.written.get_mut(block) {
                Some(kept) => kept[within..within + bytes.len()].copy_from_slice(bytes),
                // A block that is written whole need not be filled first.
                None if bytes.len() as u64 == DISK_BLOCK_BYTES => self.written.insert(block, bytes),
                None => {
                    let mut whole = [0; DISK_BLOCK_BYTES as usize];
                    self.start.fill(block * DISK_BLOCK_BYTES, &mut whole);
                    whole[within..within + bytes.len()].copy_from_slice(bytes);
                    self.written.insert(block, &whole);
                }
            }
        }
    }

    /// The blocks of [`DISK_BLOCK_BYTES`] that were written, in order, each with its byte offset.
    pub fn written(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let Written { places, pieces } = &self.written;
        places.iter().map(|(block, &place)| {
            (block * DISK_BLOCK_BYTES, &pieces[place / PIECE_BLOCKS][within(place)])
        })
    }
}

/// The blocks that `bytes` bytes from `offset` on touch: (block, first byte in it, which of the
/// bytes).
fn spans(offset: u64, bytes: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == bytes {
            return None;
        }
        let at = offset + done as u64;
        let within = (at % DISK_BLOCK_BYTES) as usize;
        let count = (DISK_BLOCK_BYTES as usize - within).min(bytes - done);
        let span = done..done + count;
        done += count;
        Some((at / DISK_BLOCK_BYTES, within, span))
    })
}
