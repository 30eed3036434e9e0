//! Rounding as x86 defines it: from an exact number to a format, with the flags.
//!
//! Done here and not by a library because overflow, tininess (looked for after rounding to full
//! precision, as if the exponent were unbounded: SDM volume 1, section 4.9.1.5) and flush-to-zero
//! have to agree bit by bit, and libraries differ in just these.

use super::mxcsr::{Flags, Mxcsr, Rounding};
use super::sse_format::{Format, Lane};

/// A non-zero number, exact but for its lowest bit: `significand` * 2^`exponent`.
///
/// Where a computation leaves a remainder below the lowest bit, it sets that bit instead
/// ("sticky"); the producer sees to it that at least two more bits than the format keeps are above.
#[derive(Clone, Copy, Debug)]
pub struct Unrounded {
    /// Whether it is below zero.
    pub negative: bool,
    /// The weight of the significand's lowest bit.
    pub exponent: i32,
    /// The digits.
    pub significand: u128,
}

impl Unrounded {
    /// The exact value of a finite, non-zero number's bits. (Zero gets a significand of zero.)
    #[must_use]
    pub fn of<F: Format>(bits: u64) -> Self {
        let field = F::magnitude(bits) >> F::FRACTION_BITS;
        let fraction = bits & (F::MIN_NORMAL - 1);
        let hidden = if field == 0 { 0 } else { F::MIN_NORMAL };
        Self {
            negative: bits & F::SIGN != 0,
            exponent: F::MIN_EXPONENT - F::FRACTION_BITS as i32 + (field as i32 - 1).max(0),
            significand: u128::from(fraction | hidden),
        }
    }

    /// Drops the lowest `count` digits by the mode's rule (or, if negative, appends zeros).
    /// Returns what is left, and whether anything but zeros was dropped.
    #[must_use]
    pub fn drop_digits(self, count: i32, mode: Rounding) -> (u128, bool) {
        if count <= 0 {
            return (self.significand << -count, false);
        }
        let kept = self.significand.checked_shr(count as u32).unwrap_or(0);
        let rest = self.significand - kept.checked_shl(count as u32).unwrap_or(0);
        let half = 1_u128.checked_shl(count as u32 - 1).unwrap_or(u128::MAX);
        let away = match mode {
            Rounding::Nearest => rest > half || rest == half && kept & 1 == 1,
            Rounding::Down => self.negative && rest != 0,
            Rounding::Up => !self.negative && rest != 0,
            Rounding::Truncate => false,
        };
        (kept + u128::from(away), rest != 0)
    }

    /// The nearest number of the format that the mode allows, with everything that raises.
    #[must_use]
    pub fn round<F: Format>(self, mxcsr: Mxcsr) -> Lane {
        let sign = if self.negative { F::SIGN } else { 0 };
        let width = 128 - self.significand.leading_zeros() as i32;
        let full = width - 1 - F::FRACTION_BITS as i32;
        let leading = self.exponent + width - 1;
        if leading < F::MIN_EXPONENT {
            return self.round_small::<F>(full, leading, sign, mxcsr);
        }
        let (significand, inexact) = self.drop_digits(full, mxcsr.rounding());
        // The leading one adds 1 to the exponent field, a carry out of the significand another.
        let field = (leading - F::MIN_EXPONENT) as u64;
        let bits = (field << F::FRACTION_BITS) + significand as u64;
        if bits < F::INFINITY {
            return Lane { bits: sign | bits, raised: Flags::PRECISION.when(inexact) };
        }
        let bits = match (mxcsr.rounding(), self.negative) {
            (Rounding::Nearest, _) | (Rounding::Up, false) | (Rounding::Down, true) => F::INFINITY,
            (Rounding::Truncate, _) | (Rounding::Up, true) | (Rounding::Down, false) => {
                F::INFINITY - 1
            }
        };
        // Unmasked, the result meant is the number itself with a smaller exponent.
        let inexact = inexact || mxcsr.masked().contains(Flags::OVERFLOW);
        Lane { bits: sign | bits, raised: Flags::OVERFLOW | Flags::PRECISION.when(inexact) }
    }

    /// Rounds a number below the smallest normal one; `full` digits would be dropped if the
    /// exponent had no lower bound, and `leading` is the leading digit's weight.
    fn round_small<F: Format>(self, full: i32, leading: i32, sign: u64, mxcsr: Mxcsr) -> Lane {
        let mode = mxcsr.rounding();
        let (unbounded, unbounded_inexact) = self.drop_digits(full, mode);
        let reaches_normal =
            leading + 1 == F::MIN_EXPONENT && unbounded == u128::from(2 * F::MIN_NORMAL);
        let tiny = !reaches_normal;
        let lowest = F::MIN_EXPONENT - F::FRACTION_BITS as i32;
        let (significand, inexact) = self.drop_digits(lowest - self.exponent, mode);
        let masked = mxcsr.masked().contains(Flags::UNDERFLOW);
        let raised = match (tiny, masked) {
            // The result meant is the number itself with a larger exponent.
            (true, false) => Flags::UNDERFLOW | Flags::PRECISION.when(unbounded_inexact),
            (true, true) if mxcsr.flush_to_zero() => {
                return Lane { bits: sign, raised: Flags::UNDERFLOW | Flags::PRECISION };
            }
            (true, true) if inexact => Flags::UNDERFLOW | Flags::PRECISION,
            (true, true) | (false, _) => Flags::PRECISION.when(inexact),
        };
        Lane { bits: sign | significand as u64, raised }
    }
}
