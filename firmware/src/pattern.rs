//! What the bytes are: disk contents, frames, console text, request order, the guest's secret.
//!
//! Each is a pure function of the run's seed and a position, so guest and host compute the same
//! without exchanging anything: the guest fills and verifies, the host judges disk and wire.

use crate::workload::{BlockOp, Order, Region, SECTOR_BYTES, block_regions};

/// Bytes of an Ethernet header: two addresses and a type.
pub const ETHERNET_HEADER_BYTES: usize = 14;
/// The type of our frames: IEEE 802's first number for local experiments.
pub const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
/// Bytes of one console line, line feed included.
pub const CONSOLE_LINE_BYTES: usize = 40;
/// Bytes of the guest's secret.
pub const SECRET_BYTES: usize = 32;

/// Which of the run's independent byte streams is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// What a patterned disk holds before the run; positions are byte addresses on the disk.
    Initial,
    /// What the guest writes to the disk; positions are byte addresses on the disk.
    Written,
    /// Frame payload; positions are `frame number * 2048 + byte in the frame`.
    Frame,
    /// The guest's secret; positions count its bytes.
    Secret,
}

impl Stream {
    const fn constant(self) -> u64 {
        match self {
            Self::Initial => 0x1b87_3593_cc9e_2d51,
            Self::Written => 0x85eb_ca6b_c2b2_ae35,
            Self::Frame => 0x38b3_4ae5_a1e3_8b93,
            Self::Secret => 0x5bd1_e995_7fb5_d329,
        }
    }
}

/// The finaliser of splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
/// generators", 2014): every input bit reaches every output bit.
pub const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// One stream of one run: an endless row of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    key: u64,
}

impl Pattern {
    /// The stream of this run.
    pub const fn new(seed: u64, stream: Stream) -> Self {
        Self { key: mix(seed ^ stream.constant()) }
    }

    /// The eight bytes from `8 * index`, little-endian. One multiplication of noise a sector and
    /// an addition a word: the guest fills and verifies every byte, and that should not drown
    /// what its drivers cost.
    pub const fn word(self, index: u64) -> u64 {
        let (block, word) = (index / BLOCK_WORDS, index % BLOCK_WORDS);
        let base = mix(self.key.wrapping_add(block.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        base.wrapping_add(word.wrapping_mul(STEP))
    }

    /// The byte at `position`.
    pub const fn byte(self, position: u64) -> u8 {
        self.word(position / 8).to_le_bytes()[(position % 8) as usize]
    }

    /// Writes the bytes from `position` on into `out`.
    pub fn fill(self, position: u64, out: &mut [u8]) {
        let lead = lead_bytes(position, out.len());
        let (head, rest) = out.split_at_mut(lead);
        for (at, byte) in (position..).zip(head) {
            *byte = self.byte(at);
        }
        let mut index = position.wrapping_add(lead as u64) / 8;
        let (mut words, tail) = rest.as_chunks_mut::<8>();
        while !words.is_empty() {
            let (block, others) = words.split_at_mut(words.len().min(left_in_block(index)));
            let mut value = self.word(index);
            index = index.wrapping_add(block.len() as u64);
            for word in block {
                *word = value.to_le_bytes();
                value = value.wrapping_add(STEP);
            }
            words = others;
        }
        let last = self.word(index).to_le_bytes();
        let count = tail.len();
        tail.copy_from_slice(&last[..count]);
    }

    /// The first place where `bytes` differ from the stream's bytes from `position` on.
    pub fn first_mismatch(self, position: u64, bytes: &[u8]) -> Option<usize> {
        let (head, rest) = bytes.split_at(lead_bytes(position, bytes.len()));
        let start = position.wrapping_add(head.len() as u64);
        let (words, tail) = rest.as_chunks::<8>();
        let last = start.wrapping_add(8 * words.len() as u64);
        if self.equals_bytewise(position, head)
            && self.equals_wordwise(start / 8, words)
            && self.equals_bytewise(last, tail)
        {
            return None;
        }
        // Which byte it was is asked once per run at most: search it the simple way.
        (position..).zip(bytes).position(|(at, byte)| *byte != self.byte(at))
    }

    fn equals_wordwise(self, mut index: u64, mut words: &[[u8; 8]]) -> bool {
        while !words.is_empty() {
            let (block, others) = words.split_at(words.len().min(left_in_block(index)));
            let mut value = self.word(index);
            for word in block {
                if u64::from_le_bytes(*word) != value {
                    return false;
                }
                value = value.wrapping_add(STEP);
            }
            index = index.wrapping_add(block.len() as u64);
            words = others;
        }
        true
    }

    fn equals_bytewise(self, position: u64, bytes: &[u8]) -> bool {
        (position..).zip(bytes).all(|(at, byte)| *byte == self.byte(at))
    }
}

/// Words of one sector: they differ by [`STEP`] from one to the next.
const BLOCK_WORDS: u64 = SECTOR_BYTES / 8;
/// Odd, so that no two words of a sector are equal.
const STEP: u64 = 0xd6e8_feb8_6659_fd93;

/// Words from `index` to the end of its sector.
const fn left_in_block(index: u64) -> usize {
    (BLOCK_WORDS - index % BLOCK_WORDS) as usize
}

/// Bytes up to the next position that is a multiple of 8, at most `len`.
const fn lead_bytes(position: u64, len: usize) -> usize {
    let lead = (position.wrapping_neg() % 8) as usize;
    if lead < len { lead } else { len }
}

/// Which place of `requests` a block op visits as its `number`th, `op` being its index in the
/// list. For [`Order::Random`] it is a permutation of `0..requests`: a Feistel network over the
/// next power of four, walked until it lands inside, so it needs no table.
pub fn place(seed: u64, order: Order, op: usize, number: u32, requests: u32) -> u32 {
    match order {
        Order::Sequential => number,
        Order::Random if requests < 2 => number,
        Order::Random => {
            let half_bits = (u32::BITS - (requests - 1).leading_zeros()).div_ceil(2);
            let key = mix(seed ^ mix(op as u64 + 1));
            let mut at = u64::from(number);
            loop {
                at = feistel(key, half_bits, at);
                if at < u64::from(requests) {
                    return at as u32;
                }
            }
        }
    }
}

fn feistel(key: u64, half_bits: u32, value: u64) -> u64 {
    let mask = (1 << half_bits) - 1;
    let (mut left, mut right) = (value >> half_bits, value & mask);
    for round in 1..=4 {
        (left, right) = (right, left ^ (mix(key ^ right ^ (round << 40)) & mask));
    }
    (left << half_bits) | right
}

/// What a disk sector should hold when the guest has done its block work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectorSource {
    /// What it held at the start.
    Initial,
    /// [`Stream::Written`] from this position on.
    Written(u64),
}

/// Where in [`Stream::Written`] the bytes of the request at `place` of a write op come from.
/// Without `refill` every request stores the bytes of the op's place 0.
pub const fn written_position(region: &Region, refill: bool, place: u32) -> u64 {
    let start = region.first_sector * SECTOR_BYTES;
    if refill { start + place as u64 * region.bytes as u64 } else { start }
}

/// What `sector` should hold after all of `ops` ran.
pub fn sector_at_end(ops: &[Option<BlockOp>], refill: bool, sector: u64) -> SectorSource {
    for (op, region) in ops.iter().zip(block_regions(ops)) {
        let (Some(BlockOp::Write { .. }), Some(region)) = (op, region) else { continue };
        let Some(offset) = sector.checked_sub(region.first_sector) else { continue };
        if offset < region.sectors() {
            let per_request = u64::from(region.bytes) / SECTOR_BYTES;
            let place = (offset / per_request) as u32;
            let within = offset % per_request * SECTOR_BYTES;
            return SectorSource::Written(written_position(&region, refill, place) + within);
        }
    }
    SectorSource::Initial
}

/// Writes frame `number` (counted from 0 over the whole workload) into `out`: broadcast, from a
/// locally administered address, [`ETHERTYPE`], then bytes of [`Stream::Frame`].
pub fn frame(seed: u64, number: u64, out: &mut [u8]) {
    let mut header = [0xff; ETHERNET_HEADER_BYTES];
    header[6..12].copy_from_slice(&[0x02, 0, 0, 0, 0, 0x01]);
    header[12..].copy_from_slice(&ETHERTYPE);
    let split = out.len().min(ETHERNET_HEADER_BYTES);
    let (head, payload) = out.split_at_mut(split);
    head.copy_from_slice(&header[..split]);
    Pattern::new(seed, Stream::Frame).fill(frame_position(number), payload);
}

/// Whether `bytes` are frame `number` as [`frame`] makes it.
pub fn is_frame(seed: u64, number: u64, bytes: &[u8]) -> bool {
    let mut header = [0; ETHERNET_HEADER_BYTES];
    frame(seed, number, &mut header);
    bytes.split_at_checked(ETHERNET_HEADER_BYTES).is_some_and(|(head, payload)| {
        let pattern = Pattern::new(seed, Stream::Frame);
        head == header && pattern.first_mismatch(frame_position(number), payload).is_none()
    })
}

const fn frame_position(number: u64) -> u64 {
    number.wrapping_mul(2048)
}

/// Console line `number`: text, its number, and letters drawn from the seed.
pub fn console_line(seed: u64, number: u32) -> [u8; CONSOLE_LINE_BYTES] {
    let mut line = *b"line 0000000000 of the guest: abcdefgh \n";
    let mut rest = number;
    for digit in line[5..15].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let letters = mix(seed ^ mix(u64::from(number))).to_le_bytes();
    for (place, letter) in line[30..38].iter_mut().zip(letters) {
        *place = b'a' + letter % 26;
    }
    line
}

/// The guest's secret of this run.
pub fn secret(seed: u64) -> [u8; SECRET_BYTES] {
    let mut secret = [0; SECRET_BYTES];
    Pattern::new(seed, Stream::Secret).fill(0, &mut secret);
    secret
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_stretch_of_a_stream_is_the_same_wherever_one_starts() {
        let pattern = Pattern::new(7, Stream::Written);
        // Around the end of a sector, where the next begins with noise of its own.
        const AT: u64 = 4096 - 32;
        let mut whole = [0; 64];
        pattern.fill(AT, &mut whole);
        for (position, byte) in (AT..).zip(whole) {
            assert_eq!(byte, pattern.byte(position), "byte {position}");
        }
        for start in 0..40 {
            for len in 0..24 {
                let mut part = vec![0; len];
                pattern.fill(AT + start as u64, &mut part);
                assert_eq!(part, whole[start..start + len], "start {start} len {len}");
                assert_eq!(pattern.first_mismatch(AT + start as u64, &part), None);
            }
        }
    }

    #[test]
    fn the_first_mismatch_is_where_the_byte_was_changed() {
        let pattern = Pattern::new(1, Stream::Initial);
        for start in [0, 1, 7, 8, 9, 490, 496, 511, 512] {
            for at in 0..40 {
                let mut bytes = [0; 40];
                pattern.fill(start, &mut bytes);
                bytes[at] ^= 0x40;
                assert_eq!(pattern.first_mismatch(start, &bytes), Some(at));
            }
        }
    }

    #[test]
    fn streams_and_seeds_do_not_share_words() {
        let mut seen = BTreeSet::new();
        for seed in 0..50 {
            for stream in [Stream::Initial, Stream::Written, Stream::Frame, Stream::Secret] {
                for index in 0..50 {
                    assert!(seen.insert(Pattern::new(seed, stream).word(index)));
                }
            }
        }
    }

    #[test]
    fn a_random_order_visits_every_place_once() {
        for requests in [1, 2, 3, 4, 5, 63, 64, 65, 1000] {
            for op in 0..3 {
                let places: BTreeSet<u32> =
                    (0..requests).map(|i| place(9, Order::Random, op, i, requests)).collect();
                assert_eq!(places, (0..requests).collect());
            }
        }
    }

    #[test]
    fn a_random_order_is_not_the_sequential_one() {
        let moved = (0..64).filter(|i| place(1, Order::Random, 0, *i, 64) != *i).count();
        assert!(moved > 48, "{moved} of 64 moved");
        assert_ne!(place(1, Order::Random, 0, 5, 1 << 20), place(2, Order::Random, 0, 5, 1 << 20));
    }

    #[test]
    fn the_largest_order_ends_and_stays_inside() {
        for number in [0, 1, u32::MAX - 2] {
            assert!(place(3, Order::Random, 0, number, u32::MAX) < u32::MAX);
        }
    }

    #[test]
    fn a_disk_at_the_end_is_written_where_writes_went_and_initial_elsewhere() {
        let ops = [
            Some(BlockOp::Write { requests: 2, bytes: 1024 }),
            Some(BlockOp::Read { requests: 1, bytes: 512 }),
            Some(BlockOp::ReadBack),
            Some(BlockOp::Write { requests: 1, bytes: 512 }),
        ];
        let at = |sector| sector_at_end(&ops, true, sector);
        assert_eq!(at(0), SectorSource::Written(0));
        assert_eq!(at(3), SectorSource::Written(1536));
        assert_eq!(at(4), SectorSource::Initial);
        assert_eq!(at(5), SectorSource::Written(2560));
        assert_eq!(at(6), SectorSource::Initial);
        // Without refill the second request stores the first one's bytes.
        assert_eq!(sector_at_end(&ops, false, 3), SectorSource::Written(512));
    }

    #[test]
    fn a_frame_is_known_again_and_another_is_not() {
        let mut bytes = [0; 60];
        frame(1, 5, &mut bytes);
        assert!(is_frame(1, 5, &bytes));
        assert!(!is_frame(1, 6, &bytes));
        assert!(!is_frame(2, 5, &bytes));
        bytes[59] ^= 1;
        assert!(!is_frame(1, 5, &bytes));
        assert!(!is_frame(1, 5, &[]));
    }

    #[test]
    fn a_console_line_carries_its_number_and_ends_the_line() {
        let line = console_line(1, 4_294_967_295);
        assert!(line.starts_with(b"line 4294967295 of the guest: "));
        assert_eq!(line.last(), Some(&b'\n'));
        assert_ne!(console_line(1, 0)[30..], console_line(2, 0)[30..]);
    }
}
