//! SSE and SSE2 floating-point arithmetic and comparison, as pure functions with exact flags.
//!
//! Each is named after its instruction; `a` is the destination's old value and first source, `b`
//! the second source, of which the scalar forms use the lowest lane only. Rules are those of the
//! SDM: volume 1, sections 4.8.3 (NaNs), 4.9 (exceptions and their order) and 11.5 (SSE's).

use super::mxcsr::{Flags, Mxcsr, Rounding, Unmasked};
use super::sse_format::{Double, Format, Lane, Operation, Single};
use super::sse_round::Unrounded;
use core::cmp::Ordering;

/// A result, or #XM.
pub type Outcome<T = u128> = Result<T, Unmasked>;

/// Applies `f` to each pair of lanes.
#[inline]
pub fn packed<F: Format>(
    a: u128,
    b: u128,
    mxcsr: &mut Mxcsr,
    f: impl Fn(u64, u64, Mxcsr) -> Lane,
) -> Outcome {
    let (mut out, mut raised) = (0, Flags::NONE);
    for i in (0..F::LANES).rev() {
        let lane = f(F::lane(a, i), F::lane(b, i), *mxcsr);
        raised |= lane.raised;
        out = out << F::BITS | u128::from(lane.bits);
    }
    mxcsr.raise(raised)?;
    Ok(out)
}

/// Applies `f` to the lowest lanes; the others are `a`'s.
#[inline]
pub fn scalar<F: Format>(
    a: u128,
    b: u128,
    mxcsr: &mut Mxcsr,
    f: impl Fn(u64, u64, Mxcsr) -> Lane,
) -> Outcome {
    let lane = f(F::lane(a, 0), F::lane(b, 0), *mxcsr);
    mxcsr.raise(lane.raised)?;
    Ok(F::with_low(a, lane.bits))
}

/// Performs `operation` by x86's rules.
#[inline]
fn arithmetic<F: Format>(operation: Operation, a: u64, b: u64, mxcsr: Mxcsr) -> Lane {
    match ordinary::<F>(operation, a, b, mxcsr) {
        Some(bits) => Lane::quiet(bits),
        None => any::<F>(operation, a, b, mxcsr),
    }
}

/// The common case at the host's speed: rounding to nearest, precision masked and already
/// flagged, numbers and result normal (or zero for a reason that is exact). Then no flag can
/// change, and IEEE 754 leaves one answer.
#[inline]
fn ordinary<F: Format>(operation: Operation, a: u64, b: u64, mxcsr: Mxcsr) -> Option<u64> {
    let settled = mxcsr.rounding() == Rounding::Nearest
        && mxcsr.flags().contains(Flags::PRECISION)
        && mxcsr.masked().contains(Flags::PRECISION);
    let (zero_a, zero_b) = (F::magnitude(a) == 0, F::magnitude(b) == 0);
    let exact_zero = match operation {
        Operation::Add | Operation::Subtract => true,
        Operation::Multiply => zero_a || zero_b,
        Operation::Divide => zero_a,
        Operation::SquareRoot => zero_b,
    };
    let usable = (zero_a || F::is_normal(a) || operation == Operation::SquareRoot)
        && (F::is_normal(b) || zero_b && operation != Operation::Divide);
    if !settled || !usable {
        return None;
    }
    let bits = F::on_host(operation, a, b);
    // A result of just the smallest normal number may have been tiny before it was rounded.
    let plain = F::is_normal(bits) && F::magnitude(bits) != F::MIN_NORMAL;
    (plain || exact_zero && F::magnitude(bits) == 0).then_some(bits)
}

/// Every case, with flags.
#[cold]
fn any<F: Format>(operation: Operation, a: u64, b: u64, mxcsr: Mxcsr) -> Lane {
    let a = if operation == Operation::SquareRoot { b } else { a };
    if F::is_nan(a) || F::is_nan(b) {
        return propagate::<F>(a, b);
    }
    let (a, b) = (F::source(a, mxcsr), F::source(b, mxcsr));
    let mut lane = match operation {
        Operation::Add => sum::<F>(a.bits, b.bits, mxcsr),
        Operation::Subtract => sum::<F>(a.bits, b.bits ^ F::SIGN, mxcsr),
        Operation::Multiply => product::<F>(a.bits, b.bits, mxcsr),
        Operation::Divide => quotient::<F>(a.bits, b.bits, mxcsr),
        Operation::SquareRoot => square_root::<F>(b.bits, mxcsr),
    };
    // An invalid operation or a division by zero is found first and hides a denormal operand.
    let hides = Flags::INVALID | Flags::DIVIDE_BY_ZERO;
    if !lane.raised.intersects(hides) {
        lane.raised |= a.raised | b.raised;
    }
    lane
}

/// The result if a source is a NaN: the first one, made quiet.
fn propagate<F: Format>(a: u64, b: u64) -> Lane {
    let bits = if F::is_nan(a) { a } else { b } | F::QUIET;
    let signalling = F::is_signalling(a) || F::is_signalling(b);
    Lane { bits, raised: Flags::INVALID.when(signalling) }
}

/// The result of an operation that has none.
const fn invalid<F: Format>() -> Lane {
    Lane { bits: F::INDEFINITE, raised: Flags::INVALID }
}

/// The sum of two numbers that are not NaN.
fn sum<F: Format>(a: u64, b: u64, mxcsr: Mxcsr) -> Lane {
    let (infinite_a, infinite_b) = (F::magnitude(a) == F::INFINITY, F::magnitude(b) == F::INFINITY);
    if infinite_a && infinite_b && a != b {
        return invalid::<F>();
    } else if infinite_a || infinite_b {
        return Lane::quiet(if infinite_a { a } else { b });
    }
    let (x, y) = (Unrounded::of::<F>(a), Unrounded::of::<F>(b));
    let (high, low) = if x.exponent >= y.exponent { (x, y) } else { (y, x) };
    let (high_digits, low_digits, exponent) = align(high, low);
    let signed = |digits: i128, negative: bool| if negative { -digits } else { digits };
    let sum = signed(high_digits, high.negative) + signed(low_digits, low.negative);
    if sum == 0 {
        // Equal signs keep theirs; of opposite ones plus wins, but for rounding downwards.
        let negative =
            if x.negative == y.negative { x.negative } else { mxcsr.rounding() == Rounding::Down };
        return Lane::quiet(if negative { F::SIGN } else { 0 });
    }
    Unrounded { negative: sum < 0, exponent, significand: sum.unsigned_abs() }.round::<F>(mxcsr)
}

/// The digits of both numbers at one exponent, which is returned too. `high` has the larger one.
/// Digits of `low` that are too far below `high` to matter one by one become a sticky bit.
fn align(high: Unrounded, low: Unrounded) -> (i128, i128, i32) {
    // Room for the 53 digits of `high` below the sign and a carry.
    const ROOM: u32 = 72;
    let distance = (high.exponent - low.exponent) as u32;
    let up = distance.min(ROOM);
    let down = distance - up;
    let kept = low.significand.checked_shr(down).unwrap_or(0);
    let lost = kept.checked_shl(down).unwrap_or(0) != low.significand;
    let low_digits = kept | u128::from(lost);
    ((high.significand << up) as i128, low_digits as i128, high.exponent - up as i32)
}

/// The sign of a product or quotient.
const fn common_sign<F: Format>(a: u64, b: u64) -> u64 {
    (a ^ b) & F::SIGN
}

/// The product of two numbers that are not NaN.
fn product<F: Format>(a: u64, b: u64, mxcsr: Mxcsr) -> Lane {
    let infinite = F::magnitude(a) == F::INFINITY || F::magnitude(b) == F::INFINITY;
    let zero = F::magnitude(a) == 0 || F::magnitude(b) == 0;
    let sign = common_sign::<F>(a, b);
    match (infinite, zero) {
        (true, true) => return invalid::<F>(),
        (true, false) => return Lane::quiet(sign | F::INFINITY),
        (false, true) => return Lane::quiet(sign),
        (false, false) => {}
    }
    let (x, y) = (Unrounded::of::<F>(a), Unrounded::of::<F>(b));
    let exact = Unrounded {
        negative: sign != 0,
        exponent: x.exponent + y.exponent,
        significand: x.significand * y.significand,
    };
    exact.round::<F>(mxcsr)
}

/// The quotient of two numbers that are not NaN.
fn quotient<F: Format>(a: u64, b: u64, mxcsr: Mxcsr) -> Lane {
    let sign = common_sign::<F>(a, b);
    let (x, y) = (F::magnitude(a), F::magnitude(b));
    if x == y && (x == 0 || x == F::INFINITY) {
        return invalid::<F>();
    } else if x == F::INFINITY {
        return Lane::quiet(sign | F::INFINITY);
    } else if x == 0 || y == F::INFINITY {
        return Lane::quiet(sign);
    } else if y == 0 {
        return Lane { bits: sign | F::INFINITY, raised: Flags::DIVIDE_BY_ZERO };
    }
    let (x, y) = (Unrounded::of::<F>(x), Unrounded::of::<F>(y));
    // A dividend of 128 digits leaves a quotient of at least 75.
    let shift = x.significand.leading_zeros();
    let dividend = x.significand << shift;
    let sticky = u128::from(!dividend.is_multiple_of(y.significand));
    let exact = Unrounded {
        negative: sign != 0,
        exponent: x.exponent - shift as i32 - y.exponent,
        significand: (dividend / y.significand) | sticky,
    };
    exact.round::<F>(mxcsr)
}

/// The square root of a number that is not a NaN.
fn square_root<F: Format>(bits: u64, mxcsr: Mxcsr) -> Lane {
    if F::magnitude(bits) == 0 || bits == F::INFINITY {
        return Lane::quiet(bits);
    } else if bits & F::SIGN != 0 {
        return invalid::<F>();
    }
    let number = Unrounded::of::<F>(bits);
    // At least 127 digits leave a root of 64; the exponent must be even to be halved.
    let shift = number.significand.leading_zeros() as i32;
    let shift = shift - ((number.exponent - shift) & 1);
    let square = number.significand << shift;
    let root = square.isqrt();
    let exact = Unrounded {
        negative: false,
        exponent: (number.exponent - shift) / 2,
        significand: root | u128::from(root * root != square),
    };
    exact.round::<F>(mxcsr)
}

/// The smaller (`Ordering::Less`) or larger number. The second source is the answer if they are
/// equal or either is a NaN (which is then not made quiet).
fn extreme<F: Format>(wanted: Ordering, a: u64, b: u64, mxcsr: Mxcsr) -> Lane {
    let (x, y) = (F::source(a, mxcsr), F::source(b, mxcsr));
    if F::is_nan(a) || F::is_nan(b) {
        return Lane { bits: y.bits, raised: Flags::INVALID };
    }
    let first = F::order(x.bits, y.bits) == wanted;
    Lane { bits: if first { x.bits } else { y.bits }, raised: x.raised | y.raised }
}

/// Compares; `None` is unordered. A quiet NaN is invalid only for comparisons that say so.
fn relation<F: Format>(
    a: u64,
    b: u64,
    quiet_is_invalid: bool,
    mxcsr: Mxcsr,
) -> (Option<Ordering>, Flags) {
    if F::is_nan(a) || F::is_nan(b) {
        let invalid = quiet_is_invalid || F::is_signalling(a) || F::is_signalling(b);
        return (None, Flags::INVALID.when(invalid));
    }
    let (a, b) = (F::source(a, mxcsr), F::source(b, mxcsr));
    (Some(F::order(a.bits, b.bits)), a.raised | b.raised)
}

/// One lane of `cmpps` and its kin: all ones where `predicate` (its low three bits: EQ, LT, LE,
/// UNORD, NEQ, NLT, NLE, ORD) holds.
fn compare<F: Format>(predicate: u8, a: u64, b: u64, mxcsr: Mxcsr) -> Lane {
    let (kind, negated) = (predicate & 3, predicate & 4 != 0);
    let (relation, raised) = relation::<F>(a, b, kind == 1 || kind == 2, mxcsr);
    let holds = match kind {
        0 => relation == Some(Ordering::Equal),
        1 => relation == Some(Ordering::Less),
        2 => matches!(relation, Some(Ordering::Less | Ordering::Equal)),
        _ => relation.is_none(),
    };
    let all_ones = F::SIGN | (F::SIGN - 1);
    Lane { bits: if holds != negated { all_ones } else { 0 }, raised }
}

/// ZF, PF and CF after `comiss` and its kin, at their places in RFLAGS. OF, SF and AF become 0.
fn compare_to_flags<F: Format>(
    a: u128,
    b: u128,
    quiet_is_invalid: bool,
    mxcsr: &mut Mxcsr,
) -> Outcome<u64> {
    const CARRY: u64 = 1 << 0;
    const PARITY: u64 = 1 << 2;
    const ZERO: u64 = 1 << 6;
    let (a, b) = (F::lane(a, 0), F::lane(b, 0));
    let (relation, raised) = relation::<F>(a, b, quiet_is_invalid, *mxcsr);
    mxcsr.raise(raised)?;
    Ok(match relation {
        None => ZERO | PARITY | CARRY,
        Some(Ordering::Less) => CARRY,
        Some(Ordering::Equal) => ZERO,
        Some(Ordering::Greater) => 0,
    })
}

/// Defines the four forms of an instruction.
macro_rules! forms {
    ($($ps:ident, $ss:ident, $pd:ident, $sd:ident: $doc:literal, $f:ident($argument:expr);)*) => {
        $(
            forms!(@one $ps, packed, Single, $doc, $f, $argument);
            forms!(@one $ss, scalar, Single, $doc, $f, $argument);
            forms!(@one $pd, packed, Double, $doc, $f, $argument);
            forms!(@one $sd, scalar, Double, $doc, $f, $argument);
        )*
    };
    (@one $name:ident, $lanes:ident, $format:ty, $doc:literal, $f:ident, $argument:expr) => {
        #[doc = $doc]
        ///
        /// # Errors
        /// [`Unmasked`] where the CPU takes #XM.
        pub fn $name(a: u128, b: u128, mxcsr: &mut Mxcsr) -> Outcome {
            $lanes::<$format>(a, b, mxcsr, |a, b, mxcsr| $f::<$format>($argument, a, b, mxcsr))
        }
    };
}

forms! {
    addps, addss, addpd, addsd: "Sum.", arithmetic(Operation::Add);
    subps, subss, subpd, subsd: "Difference.", arithmetic(Operation::Subtract);
    mulps, mulss, mulpd, mulsd: "Product.", arithmetic(Operation::Multiply);
    divps, divss, divpd, divsd: "Quotient.", arithmetic(Operation::Divide);
    sqrtps, sqrtss, sqrtpd, sqrtsd: "Square root of the second source.",
        arithmetic(Operation::SquareRoot);
    minps, minss, minpd, minsd: "The smaller, or the second source.", extreme(Ordering::Less);
    maxps, maxss, maxpd, maxsd: "The larger, or the second source.", extreme(Ordering::Greater);
}

/// Defines the four comparisons with a predicate.
macro_rules! comparisons {
    ($($name:ident: $lanes:ident, $format:ty;)*) => { $(
        /// All ones in each lane where `predicate` holds, zero elsewhere.
        ///
        /// # Errors
        /// [`Unmasked`] where the CPU takes #XM.
        pub fn $name(a: u128, b: u128, predicate: u8, mxcsr: &mut Mxcsr) -> Outcome {
            $lanes::<$format>(a, b, mxcsr, |a, b, mxcsr| {
                compare::<$format>(predicate, a, b, mxcsr)
            })
        }
    )* };
}

comparisons! {
    cmpps: packed, Single;
    cmpss: scalar, Single;
    cmppd: packed, Double;
    cmpsd: scalar, Double;
}

/// Defines the four comparisons into RFLAGS.
macro_rules! flag_comparisons {
    ($($name:ident: $format:ty, $quiet_is_invalid:literal;)*) => { $(
        /// ZF, PF and CF by comparing the lowest lanes, as bits of RFLAGS; OF, SF and AF are 0.
        ///
        /// # Errors
        /// [`Unmasked`] where the CPU takes #XM; RFLAGS then stay.
        pub fn $name(a: u128, b: u128, mxcsr: &mut Mxcsr) -> Outcome<u64> {
            compare_to_flags::<$format>(a, b, $quiet_is_invalid, mxcsr)
        }
    )* };
}

flag_comparisons! {
    comiss: Single, true;
    comisd: Double, true;
    ucomiss: Single, false;
    ucomisd: Double, false;
}
