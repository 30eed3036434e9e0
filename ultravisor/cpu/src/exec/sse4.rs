//! SSE3, SSSE3, SSE4.1 and SSE4.2: what they do to integers and bits, as pure functions.
//!
//! Each is named after its instruction (SDM volume 2). Of two sources `a` is the destination's old
//! value and `b` the other.

use super::sse_int::{
    bytes, doublewords, lanewise, quadwords, select, signed_bytes, signed_doublewords,
    signed_quadwords, signed_words, words,
};

lanewise! {
    pabsb: bytes, "Magnitude of the source.", |_, b| (b as i8).unsigned_abs();
    pabsw: words, "Magnitude of the source.", |_, b| (b as i16).unsigned_abs();
    pabsd: doublewords, "Magnitude of the source.", |_, b| (b as i32).unsigned_abs();
    psignb: signed_bytes, "Times the sign of the source.", |a, b| a.wrapping_mul(b.signum());
    psignw: signed_words, "Times the sign of the source.", |a, b| a.wrapping_mul(b.signum());
    psignd: signed_doublewords, "Times the sign of the source.",
        |a, b| a.wrapping_mul(b.signum());
    pmulhrsw: signed_words, "High half of the product, rounded.",
        |a, b| ((((i32::from(a) * i32::from(b)) >> 14) + 1) >> 1) as i16;
    pmaddubsw: words, "Sum of two neighbouring products of unsigned and signed bytes, clamped.",
        |a, b| {
            let product = |shift: u32| i32::from((a >> shift) as u8) * i32::from((b >> shift) as i8);
            let sum = product(0) + product(8);
            sum.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as u16
        };
    pmuldq: quadwords, "Signed product of the low doublewords.",
        |a, b| i64::from(a as i32).wrapping_mul(i64::from(b as i32)) as u64;
    pmulld: doublewords, "Low half of the product.", u32::wrapping_mul;
    pcmpeqq: quadwords, "All ones where equal.", |a, b| if a == b { !0 } else { 0 };
    pcmpgtq: signed_quadwords, "All ones where greater, signed.",
        |a, b| if a > b { !0 } else { 0 };
    pminsb: signed_bytes, "The smaller, signed.", i8::min;
    pmaxsb: signed_bytes, "The larger, signed.", i8::max;
    pminuw: words, "The smaller, unsigned.", u16::min;
    pmaxuw: words, "The larger, unsigned.", u16::max;
    pminud: doublewords, "The smaller, unsigned.", u32::min;
    pmaxud: doublewords, "The larger, unsigned.", u32::max;
    pminsd: signed_doublewords, "The smaller, signed.", i32::min;
    pmaxsd: signed_doublewords, "The larger, signed.", i32::max;
}

/// The bytes of `a` that `b` names; zero where it has its top bit set.
#[must_use]
pub fn pshufb(a: u128, b: u128) -> u128 {
    let table = a.to_le_bytes();
    let pick = |index: u8| if index & 0x80 != 0 { 0 } else { table[usize::from(index & 15)] };
    u128::from_le_bytes(b.to_le_bytes().map(pick))
}

/// `a` above `b`, shifted right by `count` bytes.
#[must_use]
pub fn palignr(a: u128, b: u128, count: u8) -> u128 {
    match u32::from(count) {
        0 => b,
        count @ 1..16 => b >> (8 * count) | a << (128 - 8 * count),
        count @ 16..32 => a >> (8 * (count - 16)),
        _ => 0,
    }
}

/// The even and the odd lanes of `a` below those of `b`, side by side: what horizontal instructions
/// combine.
pub(super) fn neighbours(a: u128, b: u128, bits: u32) -> (u128, u128) {
    let lanes = 128 / bits;
    let mask = (1_u128 << bits) - 1;
    let take = |odd: u32| {
        (0..lanes).rev().fold(0, |out, lane| {
            let source = if lane < lanes / 2 { a } else { b };
            let from = 2 * (lane % (lanes / 2)) + odd;
            out << bits | source >> (bits * from) & mask
        })
    };
    (take(0), take(1))
}

/// Defines instructions that combine neighbouring lanes of each source.
macro_rules! horizontal {
    ($($name:ident: $bits:literal, $with:path, $doc:literal;)*) => { $(
        #[doc = $doc]
        #[must_use]
        pub fn $name(a: u128, b: u128) -> u128 {
            let (even, odd) = neighbours(a, b, $bits);
            $with(even, odd)
        }
    )* };
}

horizontal! {
    phaddw: 16, super::sse_int::paddw, "Sums of neighbouring words.";
    phaddd: 32, super::sse_int::paddd, "Sums of neighbouring doublewords.";
    phaddsw: 16, super::sse_int::paddsw, "Sums of neighbouring words, clamped.";
    phsubw: 16, super::sse_int::psubw, "Differences of neighbouring words.";
    phsubd: 32, super::sse_int::psubd, "Differences of neighbouring doublewords.";
    phsubsw: 16, super::sse_int::psubsw, "Differences of neighbouring words, clamped.";
}

/// The even singles, each twice.
#[must_use]
pub fn movsldup(b: u128) -> u128 {
    select(b, b, 32, 0b10_10_00_00)
}

/// The odd singles, each twice.
#[must_use]
pub fn movshdup(b: u128) -> u128 {
    select(b, b, 32, 0b11_11_01_01)
}

/// The low double, twice.
#[must_use]
pub fn movddup(b: u128) -> u128 {
    let low = b & u128::from(u64::MAX);
    low << 64 | low
}

/// Lanes of `b` where the top bit of the mask's lane is set, of `a` elsewhere.
fn blend_by_sign(a: u128, b: u128, mask: u128, bits: u32) -> u128 {
    let lane = u128::MAX >> (128 - bits);
    (0..128 / bits).fold(a, |out, i| {
        let here = lane << (bits * i);
        if mask >> (bits * (i + 1) - 1) & 1 != 0 { out & !here | b & here } else { out }
    })
}

/// Bytes of `b` where `mask` is negative.
#[must_use]
pub fn pblendvb(a: u128, b: u128, mask: u128) -> u128 {
    blend_by_sign(a, b, mask, 8)
}

/// Singles of `b` where `mask` is negative.
#[must_use]
pub fn blendvps(a: u128, b: u128, mask: u128) -> u128 {
    blend_by_sign(a, b, mask, 32)
}

/// Doubles of `b` where `mask` is negative.
#[must_use]
pub fn blendvpd(a: u128, b: u128, mask: u128) -> u128 {
    blend_by_sign(a, b, mask, 64)
}

/// Lanes of `b` where the bit of `order` is set, of `a` elsewhere.
fn blend_by_bits(a: u128, b: u128, order: u8, bits: u32) -> u128 {
    let lane = u128::MAX >> (128 - bits);
    (0..128 / bits).filter(|i| order >> i & 1 != 0).fold(a, |out, i| {
        let here = lane << (bits * i);
        out & !here | b & here
    })
}

/// Words by the bits of `order`.
#[must_use]
pub fn pblendw(a: u128, b: u128, order: u8) -> u128 {
    blend_by_bits(a, b, order, 16)
}

/// Singles by the bits of `order`.
#[must_use]
pub fn blendps(a: u128, b: u128, order: u8) -> u128 {
    blend_by_bits(a, b, order & 15, 32)
}

/// Doubles by the bits of `order`.
#[must_use]
pub fn blendpd(a: u128, b: u128, order: u8) -> u128 {
    blend_by_bits(a, b, order & 3, 64)
}

/// Defines extensions of the lowest lanes to wider ones.
macro_rules! extensions {
    ($($name:ident: $from:ty => $to:ty, $bits:literal => $wide:literal;)*) => { $(
        /// The lowest lanes, each extended.
        #[must_use]
        pub fn $name(b: u128) -> u128 {
            (0..128 / $wide).rev().fold(0, |out, i: u32| {
                let lane = (b >> ($bits * i)) as $from;
                out << $wide | u128::from(<$to>::from(lane).cast_unsigned())
            })
        }
    )* };
}

extensions! {
    pmovsxbw: i8 => i16, 8 => 16;
    pmovsxbd: i8 => i32, 8 => 32;
    pmovsxbq: i8 => i64, 8 => 64;
    pmovsxwd: i16 => i32, 16 => 32;
    pmovsxwq: i16 => i64, 16 => 64;
    pmovsxdq: i32 => i64, 32 => 64;
    pmovzxbw: u8 => i16, 8 => 16;
    pmovzxbd: u8 => i32, 8 => 32;
    pmovzxbq: u8 => i64, 8 => 64;
    pmovzxwd: u16 => i32, 16 => 32;
    pmovzxwq: u16 => i64, 16 => 64;
    pmovzxdq: u32 => i64, 32 => 64;
}

/// Signed doublewords to unsigned words, clamped.
#[must_use]
pub fn packusdw(a: u128, b: u128) -> u128 {
    (0..8).rev().fold(0, |out, i| {
        let source = if i < 4 { a } else { b };
        let lane = (source >> (32 * (i % 4))) as i32;
        out << 16 | lane.clamp(0, i32::from(u16::MAX)) as u128
    })
}

/// The smallest word and, above it, which it is (the first of equals).
#[must_use]
pub fn phminposuw(b: u128) -> u128 {
    let word = |i: u32| (b >> (16 * i)) as u16;
    let smallest = (0..8).min_by_key(|&i| (word(i), i)).unwrap_or(0);
    u128::from(smallest) << 16 | u128::from(word(smallest))
}

/// Eight sums of four absolute differences: a window that slides over `a` against four bytes of `b`.
#[must_use]
pub fn mpsadbw(a: u128, b: u128, order: u8) -> u128 {
    let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
    let (from, fixed) = (usize::from(order >> 2 & 1) * 4, usize::from(order & 3) * 4);
    (0..8).rev().fold(0, |out, i| {
        let sum: u16 = (0..4).map(|j| u16::from(a[from + i + j].abs_diff(b[fixed + j]))).sum();
        out << 16 | u128::from(sum)
    })
}

/// `a` with `value` in lane `index` of `bits` bits; the index is cut to the lanes there are.
fn insert(a: u128, value: u64, index: u8, bits: u32) -> u128 {
    let shift = bits * (u32::from(index) % (128 / bits));
    let mask = u128::MAX >> (128 - bits);
    a & !(mask << shift) | (u128::from(value) & mask) << shift
}

/// Lane `index` of `bits` bits; the index is cut to the lanes there are.
fn extract(b: u128, index: u8, bits: u32) -> u64 {
    let shift = bits * (u32::from(index) % (128 / bits));
    (b >> shift & (u128::MAX >> (128 - bits))) as u64
}

/// Defines the insertions and extractions.
macro_rules! lanes_of {
    ($($insert:ident, $extract:ident: $bits:literal;)*) => { $(
        /// The destination with one lane replaced.
        #[must_use]
        pub fn $insert(a: u128, value: u64, index: u8) -> u128 {
            insert(a, value, index, $bits)
        }

        /// One lane.
        #[must_use]
        pub fn $extract(b: u128, index: u8) -> u64 {
            extract(b, index, $bits)
        }
    )* };
}

lanes_of! {
    pinsrb, pextrb: 8;
    pinsrd, pextrd: 32;
    pinsrq, pextrq: 64;
}

/// A single of `b` (of a register, the one that `order` says) into a lane of `a`, and lanes cleared.
#[must_use]
pub fn insertps(a: u128, single: u32, order: u8) -> u128 {
    let placed = insert(a, single.into(), order >> 4 & 3, 32);
    blend_by_bits(placed, 0, order & 15, 32)
}

/// ZF: nothing in common; CF: nothing of `b` outside of `a`.
#[must_use]
pub fn ptest(a: u128, b: u128) -> (bool, bool) {
    (a & b == 0, !a & b == 0)
}
