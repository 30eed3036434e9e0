//! The two formats of SSE numbers, and what the rules of the SDM ask about one number.
//!
//! A lane's bits are held in a `u64` for both formats, so that all rules are written once.

use super::mxcsr::{Flags, Mxcsr};
use core::cmp::Ordering;

/// What one lane of an instruction gives: the result's bits and what computing it raised.
#[derive(Clone, Copy, Debug)]
pub struct Lane {
    /// The result, zero-extended.
    pub bits: u64,
    /// The exceptions, before masking.
    pub raised: Flags,
}

impl Lane {
    /// A result that raised nothing.
    #[must_use]
    pub const fn quiet(bits: u64) -> Self {
        Self { bits, raised: Flags::NONE }
    }
}

/// The operations that round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// First source plus second.
    Add,
    /// First source minus second.
    Subtract,
    /// First source times second.
    Multiply,
    /// First source by second.
    Divide,
    /// Square root of the second source.
    SquareRoot,
}

/// An IEEE 754 binary interchange format.
pub trait Format {
    /// Width of a lane.
    const BITS: u32;
    /// Width of the fraction field.
    const FRACTION_BITS: u32;

    /// How many lanes a register has.
    const LANES: u32 = 128 / Self::BITS;
    /// The sign bit.
    const SIGN: u64 = 1 << (Self::BITS - 1);
    /// Plus infinity, which is also the mask of the exponent field.
    const INFINITY: u64 = Self::SIGN - (1 << Self::FRACTION_BITS);
    /// The fraction bit that tells a quiet NaN from a signalling one.
    const QUIET: u64 = 1 << (Self::FRACTION_BITS - 1);
    /// The smallest positive normal number.
    const MIN_NORMAL: u64 = 1 << Self::FRACTION_BITS;
    /// The exponent of the smallest normal number: 1 - bias.
    const MIN_EXPONENT: i32 = 2 - (1 << (Self::BITS - Self::FRACTION_BITS - 2));
    /// The NaN that an invalid operation gives ("QNaN floating-point indefinite").
    const INDEFINITE: u64 = Self::SIGN | Self::INFINITY | Self::QUIET;

    /// The operation as the host computes it: IEEE 754, to nearest even. Its bits are meant only
    /// for operands and results that are normal numbers or zero, where every host agrees.
    fn on_host(operation: Operation, a: u64, b: u64) -> u64;

    /// Reads lane `index` of a register.
    #[must_use]
    fn lane(register: u128, index: u32) -> u64 {
        (register >> (Self::BITS * index)) as u64 & (Self::SIGN | (Self::SIGN - 1))
    }

    /// `register` with its lowest lane replaced.
    #[must_use]
    fn with_low(register: u128, bits: u64) -> u128 {
        register >> Self::BITS << Self::BITS | u128::from(bits)
    }

    /// The number without its sign.
    #[must_use]
    fn magnitude(bits: u64) -> u64 {
        bits & (Self::SIGN - 1)
    }

    /// Whether it is a NaN of either kind.
    #[must_use]
    fn is_nan(bits: u64) -> bool {
        Self::magnitude(bits) > Self::INFINITY
    }

    /// Whether it is a signalling NaN.
    #[must_use]
    fn is_signalling(bits: u64) -> bool {
        Self::is_nan(bits) && bits & Self::QUIET == 0
    }

    /// Whether it is a denormal number (not zero).
    #[must_use]
    fn is_denormal(bits: u64) -> bool {
        bits & Self::INFINITY == 0 && Self::magnitude(bits) != 0
    }

    /// Whether it is a normal finite number.
    #[must_use]
    fn is_normal(bits: u64) -> bool {
        (Self::MIN_NORMAL..Self::INFINITY).contains(&Self::magnitude(bits))
    }

    /// A denormal source operand as MXCSR wants it seen: as the zero of its sign (DAZ), or as it
    /// is with the denormal exception. Other numbers pass.
    #[must_use]
    fn source(bits: u64, mxcsr: Mxcsr) -> Lane {
        if !Self::is_denormal(bits) {
            Lane::quiet(bits)
        } else if mxcsr.denormals_are_zero() {
            Lane::quiet(bits & Self::SIGN)
        } else {
            Lane { bits, raised: Flags::DENORMAL }
        }
    }

    /// Compares two numbers that are not NaN. Zeros are equal whatever their signs.
    #[must_use]
    fn order(a: u64, b: u64) -> Ordering {
        let ordinal = |bits: u64| {
            let magnitude = Self::magnitude(bits) as i64;
            if bits & Self::SIGN == 0 { magnitude } else { -magnitude }
        };
        ordinal(a).cmp(&ordinal(b))
    }
}

/// 32 bits: `ss` and `ps`.
#[derive(Clone, Copy, Debug)]
pub struct Single;

/// 64 bits: `sd` and `pd`.
#[derive(Clone, Copy, Debug)]
pub struct Double;

/// Applies `$operation` to two host numbers.
macro_rules! on_host {
    ($operation:expr, $a:expr, $b:expr) => {
        match $operation {
            Operation::Add => $a + $b,
            Operation::Subtract => $a - $b,
            Operation::Multiply => $a * $b,
            Operation::Divide => $a / $b,
            Operation::SquareRoot => $b.sqrt(),
        }
    };
}

impl Format for Single {
    const BITS: u32 = 32;
    const FRACTION_BITS: u32 = 23;

    #[inline]
    fn on_host(operation: Operation, a: u64, b: u64) -> u64 {
        let (a, b) = (f32::from_bits(a as u32), f32::from_bits(b as u32));
        u64::from(on_host!(operation, a, b).to_bits())
    }
}

impl Format for Double {
    const BITS: u32 = 64;
    const FRACTION_BITS: u32 = 52;

    #[inline]
    fn on_host(operation: Operation, a: u64, b: u64) -> u64 {
        let (a, b) = (f64::from_bits(a), f64::from_bits(b));
        on_host!(operation, a, b).to_bits()
    }
}
