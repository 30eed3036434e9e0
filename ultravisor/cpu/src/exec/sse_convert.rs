//! SSE and SSE2 conversions between integers, singles and doubles, with exact flags.
//!
//! Named and shaped as in `sse_fp.rs`. The forms with MMX operands do not exist here.

use super::mxcsr::{Flags, Mxcsr, Rounding};
use super::sse_format::{Double, Format, Lane, Single};
use super::sse_fp::{Outcome, packed, scalar};
use super::sse_round::Unrounded;

/// How many fraction bits a double has more than a single.
const EXTRA: u32 = Double::FRACTION_BITS - Single::FRACTION_BITS;

/// A single as a double, always exact.
fn widen(bits: u64, mxcsr: Mxcsr) -> Lane {
    if Single::is_nan(bits) {
        let sign = (bits & Single::SIGN) << (Double::BITS - Single::BITS);
        let fraction = (bits & (Single::MIN_NORMAL - 1)) << EXTRA;
        let raised = Flags::INVALID.when(Single::is_signalling(bits));
        return Lane { bits: sign | Double::INFINITY | Double::QUIET | fraction, raised };
    }
    let Lane { bits, raised } = Single::source(bits, mxcsr);
    Lane { bits: f64::from(f32::from_bits(bits as u32)).to_bits(), raised }
}

/// A double as a single, rounded as MXCSR says.
fn narrow(bits: u64, mxcsr: Mxcsr) -> Lane {
    if Double::is_nan(bits) {
        let sign = (bits & Double::SIGN) >> (Double::BITS - Single::BITS);
        let fraction = (bits & (Double::MIN_NORMAL - 1)) >> EXTRA;
        let raised = Flags::INVALID.when(Double::is_signalling(bits));
        return Lane { bits: sign | Single::INFINITY | Single::QUIET | fraction, raised };
    }
    let source = Double::source(bits, mxcsr);
    let sign = (source.bits & Double::SIGN) >> (Double::BITS - Single::BITS);
    let mut lane = match Double::magnitude(source.bits) {
        0 => Lane::quiet(sign),
        Double::INFINITY => Lane::quiet(sign | Single::INFINITY),
        _ => Unrounded::of::<Double>(source.bits).round::<Single>(mxcsr),
    };
    lane.raised |= source.raised;
    lane
}

/// A number as a signed integer of `width` bits, or the integer indefinite (the most negative
/// one) if it does not fit or is none. No denormal exception: only INVALID and PRECISION.
fn to_integer<F: Format>(bits: u64, width: u32, mode: Rounding, mxcsr: Mxcsr) -> Lane {
    let limit = 1_u128 << (width - 1);
    let indefinite = Lane { bits: limit as u64, raised: Flags::INVALID };
    let number = Unrounded::of::<F>(F::source(bits, mxcsr).bits);
    // Far too large, infinite or no number: decided before its digits are shifted.
    if number.exponent > 64 || F::magnitude(bits) >= F::INFINITY {
        return indefinite;
    }
    let (magnitude, inexact) = number.drop_digits(-number.exponent, mode);
    if magnitude > limit || magnitude == limit && !number.negative {
        return indefinite;
    }
    let magnitude = magnitude as u64;
    let integer = if number.negative { magnitude.wrapping_neg() } else { magnitude };
    let mask = u64::MAX >> (64 - width);
    Lane { bits: integer & mask, raised: Flags::PRECISION.when(inexact) }
}

/// A signed integer as a number, rounded as MXCSR says.
fn from_integer<F: Format>(integer: i64, mxcsr: Mxcsr) -> Lane {
    if integer == 0 {
        return Lane::quiet(0);
    }
    let significand = u128::from(integer.unsigned_abs());
    Unrounded { negative: integer < 0, exponent: 0, significand }.round::<F>(mxcsr)
}

/// The doubles of `pair` side by side.
fn join(low: Lane, high: Lane, mxcsr: &mut Mxcsr) -> Outcome {
    mxcsr.raise(low.raised | high.raised)?;
    Ok(u128::from(high.bits) << 64 | u128::from(low.bits))
}

/// Two results of 32 bits in the low half, zeros above.
fn join_low(low: Lane, high: Lane, mxcsr: &mut Mxcsr) -> Outcome {
    mxcsr.raise(low.raised | high.raised)?;
    Ok(u128::from(high.bits) << 32 | u128::from(low.bits))
}

/// The lowest single of `b` as a double in `a`'s low half.
///
/// # Errors
/// [`super::mxcsr::Unmasked`] where the CPU takes #XM; so for all functions below.
pub fn cvtss2sd(a: u128, b: u128, mxcsr: &mut Mxcsr) -> Outcome {
    let lane = widen(Single::lane(b, 0), *mxcsr);
    mxcsr.raise(lane.raised)?;
    Ok(Double::with_low(a, lane.bits))
}

/// The low double of `b` as a single in `a`'s lowest lane.
///
/// # Errors
/// See [`cvtss2sd`].
pub fn cvtsd2ss(a: u128, b: u128, mxcsr: &mut Mxcsr) -> Outcome {
    let lane = narrow(Double::lane(b, 0), *mxcsr);
    mxcsr.raise(lane.raised)?;
    Ok(Single::with_low(a, lane.bits))
}

/// The low two singles of `b` as doubles.
///
/// # Errors
/// See [`cvtss2sd`].
pub fn cvtps2pd(_: u128, b: u128, mxcsr: &mut Mxcsr) -> Outcome {
    let (low, high) = (Single::lane(b, 0), Single::lane(b, 1));
    join(widen(low, *mxcsr), widen(high, *mxcsr), mxcsr)
}

/// Both doubles of `b` as singles; the high half becomes zero.
///
/// # Errors
/// See [`cvtss2sd`].
pub fn cvtpd2ps(_: u128, b: u128, mxcsr: &mut Mxcsr) -> Outcome {
    let (low, high) = (Double::lane(b, 0), Double::lane(b, 1));
    join_low(narrow(low, *mxcsr), narrow(high, *mxcsr), mxcsr)
}

/// Four doublewords as singles.
///
/// # Errors
/// See [`cvtss2sd`].
pub fn cvtdq2ps(a: u128, b: u128, mxcsr: &mut Mxcsr) -> Outcome {
    packed::<Single>(a, b, mxcsr, |_, b, mxcsr| from_integer::<Single>(i64::from(b as i32), mxcsr))
}

/// The low two doublewords as doubles, always exact.
///
/// # Errors
/// None in fact; the shape is that of its kin.
pub fn cvtdq2pd(_: u128, b: u128, mxcsr: &mut Mxcsr) -> Outcome {
    let lane = |index| from_integer::<Double>(i64::from((b >> (32 * index)) as i32), *mxcsr);
    join(lane(0), lane(1), mxcsr)
}

/// Four singles as doublewords, rounded as MXCSR says.
///
/// # Errors
/// See [`cvtss2sd`].
pub fn cvtps2dq(a: u128, b: u128, mxcsr: &mut Mxcsr) -> Outcome {
    packed::<Single>(a, b, mxcsr, |_, b, mxcsr| {
        to_integer::<Single>(b, 32, mxcsr.rounding(), mxcsr)
    })
}

/// Four singles as doublewords, truncated.
///
/// # Errors
/// See [`cvtss2sd`].
pub fn cvttps2dq(a: u128, b: u128, mxcsr: &mut Mxcsr) -> Outcome {
    packed::<Single>(a, b, mxcsr, |_, b, mxcsr| {
        to_integer::<Single>(b, 32, Rounding::Truncate, mxcsr)
    })
}

/// Both doubles as doublewords, rounded as MXCSR says; the high half becomes zero.
///
/// # Errors
/// See [`cvtss2sd`].
pub fn cvtpd2dq(_: u128, b: u128, mxcsr: &mut Mxcsr) -> Outcome {
    let lane = |i| to_integer::<Double>(Double::lane(b, i), 32, mxcsr.rounding(), *mxcsr);
    join_low(lane(0), lane(1), mxcsr)
}

/// Both doubles as doublewords, truncated; the high half becomes zero.
///
/// # Errors
/// See [`cvtss2sd`].
pub fn cvttpd2dq(_: u128, b: u128, mxcsr: &mut Mxcsr) -> Outcome {
    let lane = |i| to_integer::<Double>(Double::lane(b, i), 32, Rounding::Truncate, *mxcsr);
    join_low(lane(0), lane(1), mxcsr)
}

/// A signed integer as a single in `a`'s lowest lane. (32-bit forms sign-extend before.)
///
/// # Errors
/// See [`cvtss2sd`].
pub fn cvtsi2ss(a: u128, integer: i64, mxcsr: &mut Mxcsr) -> Outcome {
    scalar::<Single>(a, a, mxcsr, |_, _, mxcsr| from_integer::<Single>(integer, mxcsr))
}

/// A signed integer as a double in `a`'s low half. (32-bit forms sign-extend before.)
///
/// # Errors
/// See [`cvtss2sd`].
pub fn cvtsi2sd(a: u128, integer: i64, mxcsr: &mut Mxcsr) -> Outcome {
    scalar::<Double>(a, a, mxcsr, |_, _, mxcsr| from_integer::<Double>(integer, mxcsr))
}

/// Defines the conversions of a lowest lane to a general register of 32 or 64 bits.
macro_rules! to_register {
    ($($name:ident: $format:ty, $doc:literal, $mode:expr;)*) => { $(
        #[doc = $doc]
        /// `width` is 32 or 64; the result is zero-extended.
        ///
        /// # Errors
        /// See [`cvtss2sd`].
        pub fn $name(b: u128, width: u32, mxcsr: &mut Mxcsr) -> Outcome<u64> {
            let mode: fn(Mxcsr) -> Rounding = $mode;
            let bits = <$format>::lane(b, 0);
            let lane = to_integer::<$format>(bits, width, mode(*mxcsr), *mxcsr);
            mxcsr.raise(lane.raised)?;
            Ok(lane.bits)
        }
    )* };
}

to_register! {
    cvtss2si: Single, "The lowest single as an integer, rounded as MXCSR says.", Mxcsr::rounding;
    cvttss2si: Single, "The lowest single as an integer, truncated.", |_| Rounding::Truncate;
    cvtsd2si: Double, "The low double as an integer, rounded as MXCSR says.", Mxcsr::rounding;
    cvttsd2si: Double, "The low double as an integer, truncated.", |_| Rounding::Truncate;
}
