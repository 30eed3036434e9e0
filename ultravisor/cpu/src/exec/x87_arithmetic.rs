//! x87's arithmetic on 80 bits, as pure functions with exact flags (SDM volume 1, 8.3 to 8.5).

use super::mxcsr::Rounding;
use super::x87_number::{
    BIAS, Class, Control, Exact, INDEFINITE, INFINITY, INTEGER, MIN_EXPONENT, Operand, Outcome,
    QUIET, SIGN, class, exception, from_integer, is_nan, is_negative, sign, to_magnitude,
};
use core::cmp::Ordering;

/// The invalid operation's flag where a source is signalling.
fn signals(sources: &[u128]) -> u16 {
    let any = sources.iter().any(|&source| class(source) == Class::Signalling);
    if any { exception::INVALID } else { 0 }
}

/// The result if a source is no number: unsupported formats are invalid, of NaNs a quiet one wins
/// over a signalling one, else the larger significand, else the positive one.
pub fn not_numbers(a: u128, b: u128) -> Option<Outcome> {
    if class(a) == Class::Unsupported || class(b) == Class::Unsupported {
        return Some(Outcome::invalid());
    }
    let quiet = |bits: u128| bits | u128::from(QUIET);
    let bits = match (is_nan(a), is_nan(b)) {
        (false, false) => return None,
        (true, false) => a,
        (false, true) => b,
        (true, true) => {
            let kinds = (class(a), class(b));
            match kinds {
                (Class::Signalling, Class::Quiet) => b,
                (Class::Quiet, Class::Signalling) => a,
                _ => match (a as u64).cmp(&(b as u64)) {
                    Ordering::Less => b,
                    Ordering::Greater => a,
                    Ordering::Equal if is_negative(a) => b,
                    Ordering::Equal => a,
                },
            }
        }
    };
    Some(Outcome { bits: quiet(bits), raised: signals(&[a, b]), up: false })
}

/// The denormal exception of sources that are numbers.
fn denormals(a: Operand, b: Operand) -> u16 {
    let of = |bits: u128| if class(bits) == Class::Denormal { exception::DENORMAL } else { 0 };
    a.raised | b.raised | of(a.bits) | of(b.bits)
}

/// Computes on numbers: NaNs are gone, and the denormal exception is added unless it is hidden.
pub(super) fn on_numbers(
    a: Operand,
    b: Operand,
    compute: impl Fn(u128, u128) -> Outcome,
) -> Outcome {
    if let Some(outcome) = not_numbers(a.bits, b.bits) {
        return outcome;
    }
    let mut outcome = compute(a.bits, b.bits);
    let hides = exception::INVALID | exception::DIVIDE_BY_ZERO;
    if outcome.raised & hides == 0 {
        outcome.raised |= denormals(a, b);
    }
    outcome
}

/// `a` plus `b`.
pub fn add(a: Operand, b: Operand, control: Control) -> Outcome {
    on_numbers(a, b, |a, b| sum(a, b, control))
}

/// `a` minus `b`.
pub fn subtract(a: Operand, b: Operand, control: Control) -> Outcome {
    on_numbers(a, b, |a, b| sum(a, b ^ SIGN, control))
}

fn sum(a: u128, b: u128, control: Control) -> Outcome {
    let infinite = |bits: u128| class(bits) == Class::Infinity;
    match (infinite(a), infinite(b)) {
        (true, true) if a != b => return Outcome::invalid(),
        (true, _) => return Outcome::quiet(a),
        (false, true) => return Outcome::quiet(b),
        (false, false) => {}
    }
    let zero = |bits: u128| class(bits) == Class::Zero;
    let cancelled = sign(control.rounding() == Rounding::Down);
    if zero(a) && zero(b) {
        return Outcome::quiet(if a == b { a } else { cancelled });
    }
    let precision = control.precision();
    if zero(a) || zero(b) {
        return Exact::of(if zero(a) { b } else { a }).round(precision, control);
    }
    let (x, y) = (Exact::of(a), Exact::of(b));
    let (high, low) = if x.exponent >= y.exponent { (x, y) } else { (y, x) };
    let (high_digits, low_digits, exponent) = align(high, low);
    let signed = |digits: i128, negative: bool| if negative { -digits } else { digits };
    let sum = signed(high_digits, high.negative) + signed(low_digits, low.negative);
    if sum == 0 {
        return Outcome::quiet(cancelled);
    }
    let exact = Exact { negative: sum < 0, exponent, significand: sum.unsigned_abs() };
    exact.round(precision, control)
}

/// The digits of both at one exponent; of `low`, what is too far below becomes a sticky bit.
fn align(high: Exact, low: Exact) -> (i128, i128, i32) {
    // Room for 64 digits below the sign and a carry.
    const ROOM: u32 = 61;
    let distance = (high.exponent - low.exponent) as u32;
    let up = distance.min(ROOM);
    let down = distance - up;
    let kept = low.significand.checked_shr(down).unwrap_or(0);
    let lost = kept.checked_shl(down).unwrap_or(0) != low.significand;
    let low_digits = kept | u128::from(lost);
    ((high.significand << up) as i128, low_digits as i128, high.exponent - up as i32)
}

/// `a` times `b`.
pub fn multiply(a: Operand, b: Operand, control: Control) -> Outcome {
    on_numbers(a, b, |a, b| {
        let negative = is_negative(a ^ b);
        match (class(a), class(b)) {
            (Class::Infinity, Class::Zero) | (Class::Zero, Class::Infinity) => {
                return Outcome::invalid();
            }
            (Class::Infinity, _) | (_, Class::Infinity) => {
                return Outcome::quiet(sign(negative) | INFINITY);
            }
            (Class::Zero, _) | (_, Class::Zero) => return Outcome::quiet(sign(negative)),
            _ => {}
        }
        let (x, y) = (Exact::of(a), Exact::of(b));
        let exponent = x.exponent + y.exponent;
        let exact = Exact { negative, exponent, significand: x.significand * y.significand };
        exact.round(control.precision(), control)
    })
}

/// `a` by `b`.
pub fn divide(a: Operand, b: Operand, control: Control) -> Outcome {
    on_numbers(a, b, |a, b| {
        let negative = is_negative(a ^ b);
        match (class(a), class(b)) {
            (Class::Infinity, Class::Infinity) | (Class::Zero, Class::Zero) => {
                return Outcome::invalid();
            }
            (Class::Infinity, _) => return Outcome::quiet(sign(negative) | INFINITY),
            (Class::Zero, _) | (_, Class::Infinity) => return Outcome::quiet(sign(negative)),
            (_, Class::Zero) => {
                let bits = sign(negative) | INFINITY;
                return Outcome { bits, raised: exception::DIVIDE_BY_ZERO, up: false };
            }
            _ => {}
        }
        quotient(Exact::of(a), Exact::of(b), negative).round(control.precision(), control)
    })
}

/// At least 67 digits of the quotient, the lowest sticky.
fn quotient(x: Exact, y: Exact, negative: bool) -> Exact {
    const MORE: u32 = 3;
    let dividend = x.significand << 64;
    let (first, rest) = (dividend / y.significand, (dividend % y.significand) << MORE);
    let digits = (first << MORE) | (rest / y.significand);
    let sticky = u128::from(!rest.is_multiple_of(y.significand));
    let exponent = x.exponent - 64 - MORE as i32 - y.exponent;
    Exact { negative, exponent, significand: digits | sticky }
}

/// Applies `f` to one number, with NaNs and the denormal exception taken care of.
pub(super) fn on_number(a: u128, f: impl Fn(u128) -> Outcome) -> Outcome {
    let operand = Operand { bits: a, raised: 0 };
    on_numbers(operand, operand, |a, _| f(a))
}

/// The square root.
pub fn square_root(a: u128, control: Control) -> Outcome {
    on_number(a, |a| {
        if class(a) == Class::Zero {
            return Outcome::quiet(a);
        } else if is_negative(a) {
            return Outcome::invalid();
        } else if class(a) == Class::Infinity {
            return Outcome::quiet(a);
        }
        let number = Exact::of(a);
        // Of 126 or 127 digits, so that the exponent is even, the root has 64; then three more.
        let shift = 62 + (number.exponent & 1);
        let square = number.significand << shift;
        let (mut root, mut exponent) = (square.isqrt(), (number.exponent - shift) / 2);
        let mut rest = square - root * root;
        for _ in 0..3 {
            rest <<= 2;
            let trial = root << 2 | 1;
            root <<= 1;
            exponent -= 1;
            if rest >= trial {
                rest -= trial;
                root |= 1;
            }
        }
        let significand = root | u128::from(rest != 0);
        Exact { negative: false, exponent, significand }.round(control.precision(), control)
    })
}

/// To a whole number by the mode.
pub fn round_to_whole(a: u128, control: Control) -> Outcome {
    on_number(a, |a| {
        let number = Exact::of(a);
        if matches!(class(a), Class::Zero | Class::Infinity) || number.exponent >= 0 {
            return Outcome::quiet(a);
        }
        let Some(rounded) = to_magnitude(a, control.rounding()) else {
            return Outcome::quiet(a);
        };
        let raised = if rounded.inexact { exception::PRECISION } else { 0 };
        let negative = is_negative(a);
        if rounded.digits == 0 {
            return Outcome { bits: sign(negative), raised, up: rounded.up };
        }
        let exact = Exact { negative, exponent: 0, significand: rounded.digits };
        Outcome { bits: exact.round(64, control).bits, raised, up: rounded.up }
    })
}

/// `a` times two to the truncated `b`.
pub fn scale(a: u128, b: u128, control: Control) -> Outcome {
    let operand = |bits: u128| Operand { bits, raised: 0 };
    on_numbers(operand(a), operand(b), |a, b| {
        match (class(a), class(b), is_negative(b)) {
            (Class::Zero, Class::Infinity, false) | (Class::Infinity, Class::Infinity, true) => {
                return Outcome::invalid();
            }
            (_, Class::Infinity, false) => return Outcome::quiet(a & SIGN | INFINITY),
            (_, Class::Infinity, true) => return Outcome::quiet(a & SIGN),
            (Class::Zero | Class::Infinity, ..) => return Outcome::quiet(a),
            _ => {}
        }
        // Far beyond every exponent there is, which one does not matter.
        const FAR: u128 = 0x1_0000;
        let by = to_magnitude(b, Rounding::Truncate).map_or(FAR, |by| by.digits.min(FAR)) as i32;
        let mut number = Exact::of(a);
        number.exponent += if is_negative(b) { -by } else { by };
        number.round(64, control)
    })
}

/// The exponent and the significand of a number, as numbers.
pub fn extract(a: u128) -> (Outcome, u128) {
    match class(a) {
        Class::Unsupported => (Outcome::invalid(), INDEFINITE),
        Class::Quiet | Class::Signalling => {
            let bits = a | u128::from(QUIET);
            (Outcome { bits, raised: signals(&[a]), up: false }, bits)
        }
        Class::Infinity => (Outcome::quiet(INFINITY), a),
        Class::Zero => {
            let bits = SIGN | INFINITY;
            (Outcome { bits, raised: exception::DIVIDE_BY_ZERO, up: false }, a)
        }
        kind @ (Class::Normal | Class::Denormal) => {
            let number = Exact::of(a);
            let raised = if kind == Class::Denormal { exception::DENORMAL } else { 0 };
            let exponent = from_integer((number.exponent + 63).into());
            let significand = a & SIGN | (BIAS as u128) << 64 | number.significand;
            (Outcome { bits: exponent, raised, up: false }, significand)
        }
    }
}

/// A partial remainder: the number left, and what the condition codes tell.
#[derive(Clone, Copy, Debug)]
pub struct Remainder {
    pub outcome: Outcome,
    pub quotient: Quotient,
}

/// How far a reduction came.
#[derive(Clone, Copy, Debug)]
pub enum Quotient {
    /// There was nothing to divide: NaNs, or an invalid operation.
    None,
    /// The number left is still larger than the divisor.
    Partial,
    /// Done; the low three bits of the quotient.
    Whole(u8),
}

/// `a` modulo `b`, the quotient truncated (`fprem`) or to nearest (`NEAREST`, `fprem1`).
pub fn remainder<const NEAREST: bool>(a: u128, b: u128, control: Control) -> Remainder {
    let operand = |bits: u128| Operand { bits, raised: 0 };
    let mut quotient = Quotient::None;
    let outcome = on_numbers(operand(a), operand(b), |a, b| match (class(a), class(b)) {
        (Class::Infinity, _) | (_, Class::Zero) => Outcome::invalid(),
        (Class::Zero, _) => Outcome::quiet(a),
        // A tiny number stays one, and underflows where that is not masked.
        (_, Class::Infinity) => Exact::of(a).round(64, control),
        _ => Outcome::quiet(0),
    });
    let special = |bits: u128| matches!(class(bits), Class::Zero | Class::Infinity);
    let numbers = not_numbers(a, b).is_none() && outcome.raised & exception::INVALID == 0;
    if !numbers || special(a) || special(b) {
        let mut outcome = outcome;
        if numbers {
            quotient = Quotient::Whole(0);
        }
        if numbers && class(a) == Class::Denormal {
            outcome.raised |= exception::DENORMAL;
        }
        return Remainder { outcome, quotient };
    }
    let raised = outcome.raised;
    let mut outcome = reduce::<NEAREST>(a, b, &mut quotient, control);
    outcome.raised |= raised;
    Remainder { outcome, quotient }
}

/// Reduces a finite number by another, as far as one instruction does.
fn reduce<const NEAREST: bool>(
    a: u128,
    b: u128,
    quotient: &mut Quotient,
    control: Control,
) -> Outcome {
    let (x, y) = (Exact::of(a), Exact::of(b));
    let distance = x.exponent - y.exponent;
    if distance < if NEAREST { -1 } else { 0 } {
        *quotient = Quotient::Whole(0);
        return x.round(64, control);
    }
    if distance >= 64 {
        // A multiple of 32 stays for the next ones.
        let step = 32 + distance % 32;
        *quotient = Quotient::Partial;
        let rest = (x.significand << step) % y.significand;
        return whole_or_zero(x.negative, rest, y.exponent + distance - step, control);
    }
    // At one exponent, the lower of both.
    let divisor = y.significand << (-distance).max(0);
    let dividend = x.significand << distance.max(0);
    let exponent = y.exponent.min(x.exponent);
    let (mut whole, mut rest, mut negative) = (dividend / divisor, dividend % divisor, x.negative);
    let above = divisor - rest;
    if NEAREST && (rest > above || rest == above && whole & 1 == 1) {
        (whole, rest, negative) = (whole + 1, above, !negative);
    }
    *quotient = Quotient::Whole(whole as u8 & 7);
    if rest == 0 {
        return Outcome::quiet(sign(x.negative));
    }
    whole_or_zero(negative, rest, exponent, control)
}

/// An exact number, or the zero of that sign.
fn whole_or_zero(negative: bool, significand: u128, exponent: i32, control: Control) -> Outcome {
    if significand == 0 {
        return Outcome::quiet(sign(negative));
    }
    Exact { negative, exponent, significand }.round(64, control)
}

/// Compares; `None` is unordered. A quiet NaN is invalid only for comparisons that say so.
pub fn compare(a: Operand, b: Operand, quiet_is_invalid: bool) -> (Option<Ordering>, u16) {
    if let Some(outcome) = not_numbers(a.bits, b.bits) {
        let invalid = quiet_is_invalid || outcome.raised != 0;
        return (None, if invalid { exception::INVALID } else { 0 });
    }
    (Some(order(a.bits, b.bits)), denormals(a, b))
}

fn order(a: u128, b: u128) -> Ordering {
    let ordinal = |bits: u128| {
        // A denormal with the leading one is as large as a normal number of the same digits.
        let pseudo = class(bits) == Class::Denormal && bits as u64 & INTEGER != 0;
        let magnitude = if pseudo { bits | 1 << 64 } else { bits };
        let magnitude = (magnitude & (SIGN - 1)) as i128;
        if is_negative(bits) { -magnitude } else { magnitude }
    };
    ordinal(a).cmp(&ordinal(b))
}

const _: () = assert!(MIN_EXPONENT == -16382);
