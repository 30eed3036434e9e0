//! SSE3's and SSE4.1's floating-point instructions, as pure functions with exact flags.
//!
//! Named and shaped as in `sse_fp.rs`.

use super::mxcsr::{Flags, Mxcsr, Rounding};
use super::sse_format::{Double, Format, Lane, Single};
use super::sse_fp::{self, Outcome, packed, scalar};
use super::sse_round::Unrounded;
use super::sse4::neighbours;

/// Defines instructions that combine neighbouring lanes of each source.
macro_rules! horizontal {
    ($($name:ident: $bits:literal, $with:ident, $doc:literal;)*) => { $(
        #[doc = $doc]
        ///
        /// # Errors
        /// [`super::mxcsr::Unmasked`] where the CPU takes #XM; so for all functions below.
        pub fn $name(a: u128, b: u128, mxcsr: &mut Mxcsr) -> Outcome {
            let (even, odd) = neighbours(a, b, $bits);
            sse_fp::$with(even, odd, mxcsr)
        }
    )* };
}

horizontal! {
    haddps: 32, addps, "Sums of neighbouring singles.";
    haddpd: 64, addpd, "Sums of neighbouring doubles.";
    hsubps: 32, subps, "Differences of neighbouring singles.";
    hsubpd: 64, subpd, "Differences of neighbouring doubles.";
}

/// `b` with the even lanes negated, NaNs excepted: adding that is subtracting there.
fn with_even_negated<F: Format>(b: u128) -> u128 {
    (0..F::LANES)
        .step_by(2)
        .filter(|&i| !F::is_nan(F::lane(b, i)))
        .fold(b, |out, i| out ^ u128::from(F::SIGN) << (F::BITS * i))
}

/// Even lanes subtracted, odd ones added.
///
/// # Errors
/// See [`haddps`].
pub fn addsubps(a: u128, b: u128, mxcsr: &mut Mxcsr) -> Outcome {
    sse_fp::addps(a, with_even_negated::<Single>(b), mxcsr)
}

/// The low lane subtracted, the high one added.
///
/// # Errors
/// See [`haddps`].
pub fn addsubpd(a: u128, b: u128, mxcsr: &mut Mxcsr) -> Outcome {
    sse_fp::addpd(a, with_even_negated::<Double>(b), mxcsr)
}

/// One lane of `roundps` and its kin: to a whole number, by the mode that `control` names.
fn whole<F: Format>(control: u8, bits: u64, mxcsr: Mxcsr) -> Lane {
    if F::is_nan(bits) {
        let raised = Flags::INVALID.when(F::is_signalling(bits));
        return Lane { bits: bits | F::QUIET, raised };
    }
    // No denormal exception, but they may count as zero.
    let bits = F::source(bits, mxcsr).bits;
    let number = Unrounded::of::<F>(bits);
    if F::magnitude(bits) == 0 || F::magnitude(bits) == F::INFINITY || number.exponent >= 0 {
        return Lane::quiet(bits);
    }
    let mode = match control & 7 {
        0 => Rounding::Nearest,
        1 => Rounding::Down,
        2 => Rounding::Up,
        3 => Rounding::Truncate,
        _ => mxcsr.rounding(),
    };
    let (magnitude, inexact) = number.drop_digits(-number.exponent, mode);
    let quiet = control & 8 != 0;
    let raised = Flags::PRECISION.when(inexact && !quiet);
    if magnitude == 0 {
        return Lane { bits: bits & F::SIGN, raised };
    }
    let exact = Unrounded { negative: number.negative, exponent: 0, significand: magnitude };
    Lane { bits: exact.round::<F>(mxcsr).bits, raised }
}

/// Defines the four roundings.
macro_rules! roundings {
    ($($name:ident: $lanes:ident, $format:ty;)*) => { $(
        /// The second source rounded to whole numbers.
        ///
        /// # Errors
        /// See [`haddps`].
        pub fn $name(a: u128, b: u128, control: u8, mxcsr: &mut Mxcsr) -> Outcome {
            $lanes::<$format>(a, b, mxcsr, |_, b, mxcsr| whole::<$format>(control, b, mxcsr))
        }
    )* };
}

roundings! {
    roundps: packed, Single;
    roundss: scalar, Single;
    roundpd: packed, Double;
    roundsd: scalar, Double;
}

/// `value` where the bit of `order` is set, zero in the other lanes.
fn chosen(value: u128, order: u8, bits: u32) -> u128 {
    let lane = u128::MAX >> (128 - bits);
    (0..128 / bits)
        .filter(|i| order >> i & 1 != 0)
        .fold(0, |out, i| out | value & lane << (bits * i))
}

/// The dot product of the singles that the upper half of `order` names, to the lanes that the lower
/// half names. Products are summed in pairs.
///
/// # Errors
/// See [`haddps`].
pub fn dpps(a: u128, b: u128, order: u8, mxcsr: &mut Mxcsr) -> Outcome {
    let (a, b) = (chosen(a, order >> 4, 32), chosen(b, order >> 4, 32));
    let products = chosen(sse_fp::mulps(a, b, mxcsr)?, order >> 4, 32);
    let pairs = haddps(products, products, mxcsr)?;
    let sum = haddps(pairs, pairs, mxcsr)?;
    Ok(chosen(sum, order & 15, 32))
}

/// The same for doubles.
///
/// # Errors
/// See [`haddps`].
pub fn dppd(a: u128, b: u128, order: u8, mxcsr: &mut Mxcsr) -> Outcome {
    let chosen_here = order >> 4 & 3;
    let (a, b) = (chosen(a, chosen_here, 64), chosen(b, chosen_here, 64));
    let products = chosen(sse_fp::mulpd(a, b, mxcsr)?, chosen_here, 64);
    let sum = haddpd(products, products, mxcsr)?;
    Ok(chosen(sum, order & 3, 64))
}
