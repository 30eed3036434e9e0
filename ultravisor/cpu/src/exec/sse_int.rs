//! SSE2's packed-integer instructions, and SSE's that only move lanes, as pure functions.
//!
//! Each is named after its instruction (SDM volume 2). Of two sources `a` is the destination's old
//! value and `b` the other; lane 0 is the least significant, as in the register.

/// Defines `$map`, which applies a function to each pair of lanes of type `$lane`.
macro_rules! lanes {
    ($($map:ident: $lane:ty, $bytes:literal;)*) => { $(
        #[inline]
        pub(super) fn $map(a: u128, b: u128, f: impl Fn($lane, $lane) -> $lane) -> u128 {
            let (mut a, b) = (a.to_le_bytes(), b.to_le_bytes());
            let (lanes, _) = a.as_chunks_mut::<$bytes>();
            let (others, _) = b.as_chunks::<$bytes>();
            for (lane, other) in lanes.iter_mut().zip(others) {
                let result = f(<$lane>::from_le_bytes(*lane), <$lane>::from_le_bytes(*other));
                *lane = result.to_le_bytes();
            }
            u128::from_le_bytes(a)
        }
    )* };
}

lanes! {
    bytes: u8, 1;
    signed_bytes: i8, 1;
    words: u16, 2;
    signed_words: i16, 2;
    doublewords: u32, 4;
    signed_doublewords: i32, 4;
    quadwords: u64, 8;
    signed_quadwords: i64, 8;
}

/// Defines instructions that treat every pair of lanes alike.
macro_rules! lanewise {
    ($($name:ident: $map:ident, $doc:literal, $f:expr;)*) => { $(
        #[doc = $doc]
        #[must_use]
        pub fn $name(a: u128, b: u128) -> u128 {
            $map(a, b, $f)
        }
    )* };
}
pub(super) use lanewise;

lanewise! {
    paddb: bytes, "Sum, wrapping.", u8::wrapping_add;
    paddw: words, "Sum, wrapping.", u16::wrapping_add;
    paddd: doublewords, "Sum, wrapping.", u32::wrapping_add;
    paddq: quadwords, "Sum, wrapping.", u64::wrapping_add;
    paddsb: signed_bytes, "Sum, clamped.", i8::saturating_add;
    paddsw: signed_words, "Sum, clamped.", i16::saturating_add;
    paddusb: bytes, "Sum, clamped.", u8::saturating_add;
    paddusw: words, "Sum, clamped.", u16::saturating_add;
    psubb: bytes, "Difference, wrapping.", u8::wrapping_sub;
    psubw: words, "Difference, wrapping.", u16::wrapping_sub;
    psubd: doublewords, "Difference, wrapping.", u32::wrapping_sub;
    psubq: quadwords, "Difference, wrapping.", u64::wrapping_sub;
    psubsb: signed_bytes, "Difference, clamped.", i8::saturating_sub;
    psubsw: signed_words, "Difference, clamped.", i16::saturating_sub;
    psubusb: bytes, "Difference, clamped.", u8::saturating_sub;
    psubusw: words, "Difference, clamped.", u16::saturating_sub;
    pmullw: words, "Low half of the product.", u16::wrapping_mul;
    pmulhw: signed_words, "High half of the signed product.",
        |a, b| ((i32::from(a) * i32::from(b)) >> 16) as i16;
    pmulhuw: words, "High half of the unsigned product.",
        |a, b| ((u32::from(a) * u32::from(b)) >> 16) as u16;
    pmuludq: quadwords, "Product of the low (even) doublewords.",
        |a, b| u64::from(a as u32) * u64::from(b as u32);
    pmaddwd: doublewords, "Sum of the products of two neighbouring signed words.",
        |a, b| {
            let product = |shift: u32| {
                i32::from((a >> shift) as i16) * i32::from((b >> shift) as i16)
            };
            product(0).wrapping_add(product(16)) as u32
        };
    pavgb: bytes, "Average, rounded up.", |a, b| (u16::from(a) + u16::from(b)).div_ceil(2) as u8;
    pavgw: words, "Average, rounded up.", |a, b| (u32::from(a) + u32::from(b)).div_ceil(2) as u16;
    psadbw: quadwords, "Sum of the absolute differences of eight bytes.",
        |a, b| {
            let pairs = a.to_le_bytes().into_iter().zip(b.to_le_bytes());
            pairs.map(|(a, b)| u64::from(a.abs_diff(b))).sum()
        };
    pminub: bytes, "The smaller, unsigned.", u8::min;
    pmaxub: bytes, "The larger, unsigned.", u8::max;
    pminsw: signed_words, "The smaller, signed.", i16::min;
    pmaxsw: signed_words, "The larger, signed.", i16::max;
    pcmpeqb: bytes, "All ones where equal.", |a, b| if a == b { !0 } else { 0 };
    pcmpeqw: words, "All ones where equal.", |a, b| if a == b { !0 } else { 0 };
    pcmpeqd: doublewords, "All ones where equal.", |a, b| if a == b { !0 } else { 0 };
    pcmpgtb: signed_bytes, "All ones where greater, signed.", |a, b| if a > b { !0 } else { 0 };
    pcmpgtw: signed_words, "All ones where greater, signed.", |a, b| if a > b { !0 } else { 0 };
    pcmpgtd: signed_doublewords, "All ones where greater, signed.",
        |a, b| if a > b { !0 } else { 0 };
}

/// Both (also `andps`, `andpd`).
#[must_use]
pub fn pand(a: u128, b: u128) -> u128 {
    a & b
}

/// The source where the destination is clear (also `andnps`, `andnpd`).
#[must_use]
pub fn pandn(a: u128, b: u128) -> u128 {
    !a & b
}

/// Either (also `orps`, `orpd`).
#[must_use]
pub fn por(a: u128, b: u128) -> u128 {
    a | b
}

/// One but not both (also `xorps`, `xorpd`).
#[must_use]
pub fn pxor(a: u128, b: u128) -> u128 {
    a ^ b
}

/// Defines shifts. The count is the low quadword of the second operand, which is the other
/// register or memory operand or the zero-extended immediate; it is never taken modulo anything.
macro_rules! shifts {
    ($($name:ident: $map:ident, $lane:ty, $shift:ident, $beyond:expr;)*) => { $(
        #[doc = "Shift of each lane by the low quadword of `count`."]
        #[must_use]
        pub fn $name(a: u128, count: u128) -> u128 {
            let count = count as u64;
            if count < u64::from(<$lane>::BITS) {
                $map(a, a, |lane, _| lane.$shift(count as u32))
            } else {
                $map(a, a, $beyond)
            }
        }
    )* };
}

shifts! {
    psllw: words, u16, wrapping_shl, |_, _| 0;
    pslld: doublewords, u32, wrapping_shl, |_, _| 0;
    psllq: quadwords, u64, wrapping_shl, |_, _| 0;
    psrlw: words, u16, wrapping_shr, |_, _| 0;
    psrld: doublewords, u32, wrapping_shr, |_, _| 0;
    psrlq: quadwords, u64, wrapping_shr, |_, _| 0;
    psraw: signed_words, i16, wrapping_shr, |lane, _| lane >> 15;
    psrad: signed_doublewords, i32, wrapping_shr, |lane, _| lane >> 31;
}

/// Shift left by `count` bytes; the count is an immediate, 16 and above gives zero.
#[must_use]
pub fn pslldq(a: u128, count: u128) -> u128 {
    if count < 16 { a << (8 * count as u32) } else { 0 }
}

/// Shift right by `count` bytes; the count is an immediate, 16 and above gives zero.
#[must_use]
pub fn psrldq(a: u128, count: u128) -> u128 {
    if count < 16 { a >> (8 * count as u32) } else { 0 }
}

/// Takes alternately `N` bytes of the low half of `a` and of `b`.
#[inline]
fn interleave<const N: usize>(a: u128, b: u128) -> u128 {
    let (a, b, mut out) = (a.to_le_bytes(), b.to_le_bytes(), [0; 16]);
    for (pair, (a, b)) in out.chunks_exact_mut(2 * N).zip(a.chunks_exact(N).zip(b.chunks_exact(N)))
    {
        let (first, second) = pair.split_at_mut(N);
        first.copy_from_slice(a);
        second.copy_from_slice(b);
    }
    u128::from_le_bytes(out)
}

/// Defines the interleaving instructions.
macro_rules! unpacks {
    ($($low:ident, $high:ident: $bytes:literal, $lane:literal;)*) => { $(
        #[doc = concat!("Interleaves the ", $lane, " of the low halves.")]
        #[must_use]
        pub fn $low(a: u128, b: u128) -> u128 {
            interleave::<$bytes>(a, b)
        }

        #[doc = concat!("Interleaves the ", $lane, " of the high halves.")]
        #[must_use]
        pub fn $high(a: u128, b: u128) -> u128 {
            interleave::<$bytes>(a >> 64, b >> 64)
        }
    )* };
}

unpacks! {
    punpcklbw, punpckhbw: 1, "bytes";
    punpcklwd, punpckhwd: 2, "words";
    punpckldq, punpckhdq: 4, "doublewords (also `unpcklps`, `unpckhps`)";
    punpcklqdq, punpckhqdq: 8, "quadwords (also `unpcklpd`, `unpckhpd`)";
}

/// Narrows the eight words of `a`, then those of `b`, to bytes.
#[inline]
fn pack_words(a: u128, b: u128, narrow: impl Fn(i16) -> u8) -> u128 {
    let mut out = [0; 16];
    for (i, byte) in out.iter_mut().enumerate() {
        let source = if i < 8 { a } else { b };
        *byte = narrow((source >> (16 * (i % 8))) as i16);
    }
    u128::from_le_bytes(out)
}

/// Words to signed bytes, clamped.
#[must_use]
pub fn packsswb(a: u128, b: u128) -> u128 {
    pack_words(a, b, |word| word.clamp(i16::from(i8::MIN), i16::from(i8::MAX)) as u8)
}

/// Signed words to unsigned bytes, clamped.
#[must_use]
pub fn packuswb(a: u128, b: u128) -> u128 {
    pack_words(a, b, |word| word.clamp(0, i16::from(u8::MAX)) as u8)
}

/// Doublewords to signed words, clamped.
#[must_use]
pub fn packssdw(a: u128, b: u128) -> u128 {
    let mut out = 0;
    for i in (0..8).rev() {
        let source = if i < 4 { a } else { b };
        let lane = (source >> (32 * (i % 4))) as i32;
        let word = lane.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as u16;
        out = out << 16 | u128::from(word);
    }
    out
}

/// Four lanes of `bits` each, chosen from `low` (lanes 0 and 1) and `high` (2 and 3) by the two-bit
/// fields of `order`.
#[inline]
pub(super) fn select(low: u128, high: u128, bits: u32, order: u8) -> u128 {
    let mask = (1 << bits) - 1;
    (0..4).rev().fold(0, |out, i| {
        let source = if i < 2 { low } else { high };
        out << bits | source >> (bits * u32::from(order >> (2 * i) & 3)) & mask
    })
}

/// The doublewords of `b` in the order given.
#[must_use]
pub fn pshufd(b: u128, order: u8) -> u128 {
    select(b, b, 32, order)
}

/// The low four words of `b` in the order given, the high ones as they are.
#[must_use]
pub fn pshuflw(b: u128, order: u8) -> u128 {
    let low = u128::from(u64::MAX);
    b & !low | select(b & low, b & low, 16, order)
}

/// The high four words of `b` in the order given, the low ones as they are.
#[must_use]
pub fn pshufhw(b: u128, order: u8) -> u128 {
    let low = u128::from(u64::MAX);
    b & low | select(b >> 64, b >> 64, 16, order) << 64
}

/// Two doublewords of `a`, then two of `b`, chosen by `order`.
#[must_use]
pub fn shufps(a: u128, b: u128, order: u8) -> u128 {
    select(a, b, 32, order)
}

/// One quadword of `a` (bit 0 of `order` says which), then one of `b` (bit 1).
#[must_use]
pub fn shufpd(a: u128, b: u128, order: u8) -> u128 {
    let half = |source: u128, bit: u8| source >> (64 * u32::from(order >> bit & 1));
    half(b, 1) << 64 | half(a, 0) & u128::from(u64::MAX)
}

/// `a` with `word` in the lane that the low three bits of `index` name.
#[must_use]
pub fn pinsrw(a: u128, word: u16, index: u8) -> u128 {
    let shift = 16 * u32::from(index & 7);
    a & !(0xffff << shift) | u128::from(word) << shift
}

/// The word in the lane that the low three bits of `index` name.
#[must_use]
pub fn pextrw(b: u128, index: u8) -> u16 {
    (b >> (16 * u32::from(index & 7))) as u16
}

/// The top bit of each of `lanes` lanes, lane 0 in bit 0.
#[inline]
fn signs(b: u128, lanes: u32) -> u32 {
    let width = 128 / lanes;
    (0..lanes).fold(0, |out, i| out | ((b >> (width * i + width - 1)) as u32 & 1) << i)
}

/// The sign bits of the sixteen bytes. (Also which bytes `maskmovdqu` stores.)
#[must_use]
pub fn pmovmskb(b: u128) -> u32 {
    signs(b, 16)
}

/// The sign bits of the four singles.
#[must_use]
pub fn movmskps(b: u128) -> u32 {
    signs(b, 4)
}

/// The sign bits of the two doubles.
#[must_use]
pub fn movmskpd(b: u128) -> u32 {
    signs(b, 2)
}
