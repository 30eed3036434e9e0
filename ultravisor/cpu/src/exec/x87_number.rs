//! Numbers of 80 bits: their kinds, rounding by x87's rules, and conversion from and to the other
//! formats (SDM volume 1, 4.2.2, 4.8, 4.9 and 8.2), as pure functions.

use super::mxcsr::Rounding;
use super::sse_format::{Double, Format, Single};

/// Exceptions, in the bit order of the status and control words.
pub mod exception {
    pub const INVALID: u16 = 1;
    pub const DENORMAL: u16 = 1 << 1;
    pub const DIVIDE_BY_ZERO: u16 = 1 << 2;
    pub const OVERFLOW: u16 = 1 << 3;
    pub const UNDERFLOW: u16 = 1 << 4;
    pub const PRECISION: u16 = 1 << 5;
    /// Those that are found before anything is computed: unmasked, nothing is stored.
    pub const BEFORE: u16 = INVALID | DENORMAL | DIVIDE_BY_ZERO;
}

/// The sign bit.
pub const SIGN: u128 = 1 << 79;
/// The leading one, which this format keeps.
pub const INTEGER: u64 = 1 << 63;
/// Tells a quiet NaN from a signalling one.
pub const QUIET: u64 = 1 << 62;
/// The exponent field's largest value: infinities and NaNs.
pub const FIELD_MAX: i32 = 0x7fff;
/// The NaN that an invalid operation gives.
pub const INDEFINITE: u128 = 0xffff << 64 | (INTEGER | QUIET) as u128;
/// Plus infinity.
pub const INFINITY: u128 = 0x7fff << 64 | INTEGER as u128;
/// The bias of the exponent.
pub const BIAS: i32 = 16383;
/// The exponent of the smallest normal number.
pub const MIN_EXPONENT: i32 = 1 - BIAS;
/// What an unmasked overflow or underflow moves the exponent by, to keep the number.
const WRAP: i32 = 24576;

/// The control word, as far as arithmetic looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Control(pub u16);

impl Control {
    /// Whether `exception` gives a result instead of #MF.
    pub fn masks(self, exception: u16) -> bool {
        self.0 & exception == exception
    }

    pub fn rounding(self) -> Rounding {
        match self.0 >> 10 & 3 {
            0 => Rounding::Nearest,
            1 => Rounding::Down,
            2 => Rounding::Up,
            _ => Rounding::Truncate,
        }
    }

    /// How many digits the results of the four operations and of square roots keep.
    pub fn precision(self) -> u32 {
        match self.0 >> 8 & 3 {
            0 => 24,
            2 => 53,
            _ => 64,
        }
    }
}

/// A result, what computing it raised, and whether it was rounded away from zero.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub bits: u128,
    pub raised: u16,
    pub up: bool,
}

impl Outcome {
    /// A result that raised nothing.
    pub const fn quiet(bits: u128) -> Self {
        Self { bits, raised: 0, up: false }
    }

    /// The result of an operation that has none.
    pub const fn invalid() -> Self {
        Self { bits: INDEFINITE, raised: exception::INVALID, up: false }
    }
}

/// A source, with what loading it raised (a memory operand in another format).
#[derive(Clone, Copy, Debug)]
pub struct Operand {
    pub bits: u128,
    pub raised: u16,
}

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Zero,
    /// With or without the leading one; both count as the smallest exponent.
    Denormal,
    Normal,
    Infinity,
    Quiet,
    Signalling,
    /// Unnormal, pseudo-infinity, pseudo-NaN: invalid since the 387.
    Unsupported,
}

/// The class of 80 bits.
pub fn class(bits: u128) -> Class {
    let (field, significand) = (field(bits), bits as u64);
    let leading = significand & INTEGER != 0;
    match (field, significand & !INTEGER) {
        (0, 0) if !leading => Class::Zero,
        (0, _) => Class::Denormal,
        (FIELD_MAX, 0) if leading => Class::Infinity,
        (FIELD_MAX, fraction) if leading && fraction & QUIET != 0 => Class::Quiet,
        (FIELD_MAX, _) if leading => Class::Signalling,
        _ if leading => Class::Normal,
        _ => Class::Unsupported,
    }
}

/// The exponent field.
pub fn field(bits: u128) -> i32 {
    (bits >> 64) as i32 & FIELD_MAX
}

pub fn is_negative(bits: u128) -> bool {
    bits & SIGN != 0
}

pub fn is_nan(bits: u128) -> bool {
    matches!(class(bits), Class::Quiet | Class::Signalling)
}

/// The sign bit of a number below zero.
pub const fn sign(negative: bool) -> u128 {
    if negative { SIGN } else { 0 }
}

/// A non-zero number, exact but for its lowest bit, which may stand for a remainder ("sticky").
#[derive(Clone, Copy, Debug)]
pub struct Exact {
    pub negative: bool,
    /// The weight of the significand's lowest bit.
    pub exponent: i32,
    pub significand: u128,
}

/// Digits after rounding.
#[derive(Clone, Copy, Debug)]
pub struct Rounded {
    pub digits: u128,
    pub inexact: bool,
    pub up: bool,
}

impl Exact {
    /// A finite number's value, its leading digit in bit 63.
    pub fn of(bits: u128) -> Self {
        let significand = bits as u64;
        let shift = significand.leading_zeros() & 63;
        Self {
            negative: is_negative(bits),
            exponent: field(bits).max(1) - BIAS - 63 - shift as i32,
            significand: u128::from(significand << shift),
        }
    }

    /// Drops the lowest `count` digits by the mode's rule (if negative, appends zeros).
    pub fn drop_digits(self, count: i32, mode: Rounding) -> Rounded {
        if count <= 0 {
            return Rounded { digits: self.significand << -count, inexact: false, up: false };
        }
        let kept = self.significand.checked_shr(count as u32).unwrap_or(0);
        let rest = self.significand - kept.checked_shl(count as u32).unwrap_or(0);
        // Past the width nothing reaches half but what is beyond a u128 anyway.
        let half = 1_u128.checked_shl(count as u32 - 1).unwrap_or(u128::MAX);
        let up = match mode {
            Rounding::Nearest => rest > half || rest == half && kept & 1 == 1,
            Rounding::Down => self.negative && rest != 0,
            Rounding::Up => !self.negative && rest != 0,
            Rounding::Truncate => false,
        };
        Rounded { digits: kept + u128::from(up), inexact: rest != 0, up }
    }

    /// How many digits the significand has.
    fn width(self) -> i32 {
        128 - self.significand.leading_zeros() as i32
    }

    /// The nearest number of `precision` digits that the mode allows, with all that raises.
    pub fn round(self, precision: u32, control: Control) -> Outcome {
        let leading = self.exponent + self.width() - 1;
        let rounded = self.drop_digits(self.width() - precision as i32, control.rounding());
        let carried = rounded.digits >> precision != 0;
        let leading_after = leading + i32::from(carried);
        if leading_after < MIN_EXPONENT {
            return self.round_small(precision, leading_after, rounded, control);
        }
        let digits = if carried { rounded.digits >> 1 } else { rounded.digits };
        self.assemble(digits << (64 - precision), leading_after, rounded, precision, control)
    }

    /// Puts the exponent to normalised digits; overflow is found here.
    fn assemble(
        self,
        significand: u128,
        leading: i32,
        rounded: Rounded,
        precision: u32,
        control: Control,
    ) -> Outcome {
        use exception::{OVERFLOW, PRECISION};
        let inexact = if rounded.inexact { PRECISION } else { 0 };
        let build = |field: i32| sign(self.negative) | (field as u128) << 64 | significand;
        let biased = leading + BIAS;
        if biased < FIELD_MAX {
            return Outcome { bits: build(biased), raised: inexact, up: rounded.up };
        }
        if !control.masks(OVERFLOW) {
            if biased - WRAP < FIELD_MAX {
                let bits = build(biased - WRAP);
                return Outcome { bits, raised: OVERFLOW | inexact, up: rounded.up };
            }
            // Too large even so.
            let bits = sign(self.negative) | INFINITY;
            return Outcome { bits, raised: OVERFLOW | PRECISION, up: true };
        }
        let infinite = match control.rounding() {
            Rounding::Nearest => true,
            Rounding::Down => self.negative,
            Rounding::Up => !self.negative,
            Rounding::Truncate => false,
        };
        let largest = (FIELD_MAX as u128 - 1) << 64 | u128::from(u64::MAX << (64 - precision));
        let bits = sign(self.negative) | if infinite { INFINITY } else { largest };
        Outcome { bits, raised: OVERFLOW | PRECISION, up: infinite }
    }

    /// Rounds a number that is below the smallest normal one even when rounded (`leading` is its
    /// exponent then, `rounded` its digits).
    fn round_small(
        self,
        precision: u32,
        leading: i32,
        rounded: Rounded,
        control: Control,
    ) -> Outcome {
        use exception::{PRECISION, UNDERFLOW};
        if !control.masks(UNDERFLOW) && leading + BIAS + WRAP <= 0 {
            // FSCALE alone comes so far (SDM volume 2, FSCALE).
            return Outcome { bits: sign(self.negative), raised: UNDERFLOW | PRECISION, up: false };
        }
        if !control.masks(UNDERFLOW) {
            let carried = rounded.digits >> precision != 0;
            let digits = if carried { rounded.digits >> 1 } else { rounded.digits };
            let significand = digits << (64 - precision);
            let mut outcome =
                self.assemble(significand, leading + WRAP, rounded, precision, control);
            outcome.raised |= UNDERFLOW;
            return outcome;
        }
        if !control.masks(UNDERFLOW) {
            // Too small even so.
            return Outcome { bits: sign(self.negative), raised: UNDERFLOW | PRECISION, up: false };
        }
        let lowest = MIN_EXPONENT - (precision as i32 - 1);
        let rounded = self.drop_digits(lowest - self.exponent, control.rounding());
        let significand = rounded.digits << (64 - precision);
        // Rounded up to the smallest normal number, the leading one is the exponent's.
        let field = significand >> 63;
        let raised = if rounded.inexact { UNDERFLOW | PRECISION } else { 0 };
        Outcome { bits: sign(self.negative) | field << 64 | significand, raised, up: rounded.up }
    }
}

/// A number of format `F` as 80 bits: exact. A signalling NaN stays one.
pub fn widen<F: Format>(bits: u64) -> Operand {
    let negative = bits & F::SIGN != 0;
    let magnitude = F::magnitude(bits);
    let fraction = magnitude & (F::MIN_NORMAL - 1);
    let shift = 63 - F::FRACTION_BITS;
    if magnitude >= F::INFINITY {
        let significand = u128::from(fraction << shift | INTEGER);
        return Operand { bits: sign(negative) | 0x7fff << 64 | significand, raised: 0 };
    } else if magnitude == 0 {
        return Operand { bits: sign(negative), raised: 0 };
    }
    let denormal = F::is_denormal(bits);
    let field = (magnitude >> F::FRACTION_BITS).max(1) as i32;
    let digits = if denormal { fraction } else { fraction | F::MIN_NORMAL } << shift;
    let normalised = digits.leading_zeros();
    let exponent = field - 1 + F::MIN_EXPONENT - normalised as i32 + BIAS;
    let significand = u128::from(digits << normalised);
    let raised = if denormal { exception::DENORMAL } else { 0 };
    Operand { bits: sign(negative) | (exponent as u128) << 64 | significand, raised }
}

/// 80 bits as a number of format `F`, in the low bits.
pub fn narrow<F: Format>(bits: u128, control: Control) -> Outcome {
    let negative = if is_negative(bits) { F::SIGN } else { 0 };
    let special = |magnitude: u64| Outcome::quiet((negative | magnitude).into());
    match class(bits) {
        Class::Zero => special(0),
        Class::Infinity => special(F::INFINITY),
        Class::Unsupported => Outcome { bits: F::INDEFINITE.into(), ..Outcome::invalid() },
        kind @ (Class::Quiet | Class::Signalling) => {
            let fraction = (bits as u64) << 1 >> (64 - F::FRACTION_BITS);
            let raised = if kind == Class::Signalling { exception::INVALID } else { 0 };
            Outcome { raised, ..special(F::INFINITY | F::QUIET | fraction) }
        }
        Class::Normal | Class::Denormal => narrow_finite::<F>(Exact::of(bits), control),
    }
}

/// Rounds to format `F`. Unmasked, overflow and underflow store nothing, so that their result's
/// bits do not matter.
fn narrow_finite<F: Format>(number: Exact, control: Control) -> Outcome {
    use exception::{OVERFLOW, PRECISION, UNDERFLOW};
    let mode = control.rounding();
    let negative = if number.negative { F::SIGN } else { 0 };
    let digits = F::FRACTION_BITS as i32 + 1;
    let leading = number.exponent + 63;
    let unbounded = number.drop_digits(64 - digits, mode);
    let carried = unbounded.digits >> digits != 0;
    let tiny = leading + i32::from(carried) < F::MIN_EXPONENT;
    let lowest = F::MIN_EXPONENT - F::FRACTION_BITS as i32;
    let rounded = if leading < F::MIN_EXPONENT {
        number.drop_digits(lowest - number.exponent, mode)
    } else {
        unbounded
    };
    let above = (leading - F::MIN_EXPONENT).max(0);
    let magnitude = rounded.digits + ((above as u128) << F::FRACTION_BITS);
    let inexact = if rounded.inexact { PRECISION } else { 0 };
    let up = rounded.up;
    if magnitude >= u128::from(F::INFINITY) {
        let infinite = match mode {
            Rounding::Nearest => true,
            Rounding::Down => number.negative,
            Rounding::Up => !number.negative,
            Rounding::Truncate => false,
        };
        let magnitude = if infinite { F::INFINITY } else { F::INFINITY - 1 };
        let masked = control.masks(OVERFLOW);
        let inexact = if masked { PRECISION } else { 0 };
        let bits = u128::from(negative | magnitude);
        return Outcome { bits, raised: OVERFLOW | inexact, up: masked && infinite };
    }
    let masked = control.masks(UNDERFLOW);
    let raised = match (tiny, masked) {
        (true, false) => UNDERFLOW,
        (true, true) if rounded.inexact => UNDERFLOW | PRECISION,
        (true, true) | (false, _) => inexact,
    };
    let up = up && (masked || !tiny);
    Outcome { bits: u128::from(negative) | magnitude, raised, up }
}

/// An integer as 80 bits: exact.
pub fn from_integer(value: i64) -> u128 {
    if value == 0 {
        return 0;
    }
    let magnitude = value.unsigned_abs();
    let shift = magnitude.leading_zeros();
    let field = (BIAS + 63 - shift as i32) as u128;
    sign(value < 0) | field << 64 | u128::from(magnitude << shift)
}

/// A whole number by the mode, as its magnitude, unless it is too large for 64 bits or none.
pub fn to_magnitude(bits: u128, mode: Rounding) -> Option<Rounded> {
    match class(bits) {
        Class::Zero => Some(Rounded { digits: 0, inexact: false, up: false }),
        Class::Normal | Class::Denormal => {
            let number = Exact::of(bits);
            (number.exponent <= 0).then(|| number.drop_digits(-number.exponent, mode))
        }
        Class::Infinity | Class::Quiet | Class::Signalling | Class::Unsupported => None,
    }
}

/// 80 bits as an integer of `width` bits, or the most negative one if it does not fit.
pub fn to_integer(bits: u128, width: u32, mode: Rounding) -> Outcome {
    let limit = 1_u128 << (width - 1);
    let indefinite = Outcome { bits: limit, ..Outcome::invalid() };
    let Some(rounded) = to_magnitude(bits, mode) else {
        return indefinite;
    };
    let negative = is_negative(bits);
    if rounded.digits > limit || rounded.digits == limit && !negative {
        return indefinite;
    }
    let magnitude = rounded.digits as u64;
    let value = if negative { magnitude.wrapping_neg() } else { magnitude };
    let raised = if rounded.inexact { exception::PRECISION } else { 0 };
    Outcome { bits: (value & (u64::MAX >> (64 - width))).into(), raised, up: rounded.up }
}

/// Single to 80 bits.
pub fn from_single(bits: u64) -> Operand {
    widen::<Single>(bits)
}

/// Double to 80 bits.
pub fn from_double(bits: u64) -> Operand {
    widen::<Double>(bits)
}
