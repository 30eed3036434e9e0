//! `rcpps`, `rcpss`, `rsqrtps`, `rsqrtss`: approximations, the same on every host.
//!
//! The SDM bounds the relative error by 1.5 * 2^-12 and leaves the bits to the CPU, and vendors
//! differ. Here the answer is the true value rounded to 12 fraction bits, halves up: its error is
//! at most 2^-13. Special values are the SDM's: denormal sources count as zeros of their sign,
//! tiny results become zero, no exception is raised and MXCSR is neither read nor written.

use super::sse_format::{Format, Single};

/// Fraction bits of an approximation.
const FRACTION_BITS: u32 = 12;

/// Bias of a single's exponent field.
const BIAS: i64 = 127;

/// Assembles (2^13 + more) / 2^14 * 2^`exponent`, given the fourteen bits of the number in (1/2, 1]
/// with one bit to round by; zero if that is tiny.
fn assemble(sign: u64, exponent: i64, halves: u64) -> u64 {
    let rounded = halves.div_ceil(2) - (1 << FRACTION_BITS);
    // A number that was rounded up to 1 carries into the exponent field by itself.
    let field = (BIAS + exponent - 1) << Single::FRACTION_BITS;
    let fraction = rounded << (Single::FRACTION_BITS - FRACTION_BITS);
    let bits = field + fraction as i64;
    if bits < Single::MIN_NORMAL as i64 { sign } else { sign | bits as u64 }
}

/// The significand with its leading one, and the exponent, of a normal number.
fn parts(bits: u64) -> (u64, i64) {
    let field = Single::magnitude(bits) >> Single::FRACTION_BITS;
    (bits & (Single::MIN_NORMAL - 1) | Single::MIN_NORMAL, field as i64 - BIAS)
}

/// One over the number.
fn reciprocal(bits: u64) -> u64 {
    let sign = bits & Single::SIGN;
    if Single::is_nan(bits) {
        return bits | Single::QUIET;
    } else if Single::magnitude(bits) == Single::INFINITY {
        return sign;
    } else if !Single::is_normal(bits) {
        return sign | Single::INFINITY;
    }
    let (significand, exponent) = parts(bits);
    let one = 1 << (FRACTION_BITS + 2 + Single::FRACTION_BITS);
    assemble(sign, -exponent, one / significand)
}

/// One over the number's square root.
fn reciprocal_root(bits: u64) -> u64 {
    let sign = bits & Single::SIGN;
    if Single::is_nan(bits) {
        return bits | Single::QUIET;
    } else if Single::magnitude(bits) != Single::INFINITY && !Single::is_normal(bits) {
        return sign | Single::INFINITY;
    } else if sign != 0 {
        return Single::INDEFINITE;
    } else if bits == Single::INFINITY {
        return 0;
    }
    let (significand, exponent) = parts(bits);
    // significand / 2^23 is in [1, 4) once the exponent is even, its inverse root in (1/2, 1].
    let significand = significand << (exponent & 1);
    let one = 1 << (2 * (FRACTION_BITS + 2) + Single::FRACTION_BITS);
    let square: u64 = one / significand;
    assemble(0, -(exponent >> 1), square.isqrt())
}

/// Applies `f` to the four lanes.
fn packed(b: u128, f: impl Fn(u64) -> u64) -> u128 {
    (0..4).rev().fold(0, |out, i| out << 32 | u128::from(f(Single::lane(b, i))))
}

/// Approximate reciprocals.
#[must_use]
pub fn rcpps(_: u128, b: u128) -> u128 {
    packed(b, reciprocal)
}

/// The approximate reciprocal of the lowest lane.
#[must_use]
pub fn rcpss(a: u128, b: u128) -> u128 {
    Single::with_low(a, reciprocal(Single::lane(b, 0)))
}

/// Approximate reciprocal square roots.
#[must_use]
pub fn rsqrtps(_: u128, b: u128) -> u128 {
    packed(b, reciprocal_root)
}

/// The approximate reciprocal square root of the lowest lane.
#[must_use]
pub fn rsqrtss(a: u128, b: u128) -> u128 {
    Single::with_low(a, reciprocal_root(Single::lane(b, 0)))
}
