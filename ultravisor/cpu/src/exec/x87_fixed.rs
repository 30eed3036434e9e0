//! Arithmetic of 128 digits for x87's functions: fractions in fixed point, and products and
//! quotients of [`Exact`] numbers. What lies below the lowest digit is cut off.

use super::x87_number::Exact;

/// A number from 0 to below 2, with 127 digits behind the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fraction(pub u128);

impl Fraction {
    /// One.
    pub const ONE: Self = Self(1 << 127);

    /// A number's magnitude, which is below 2.
    pub fn of(number: Exact) -> Self {
        let shift = 127 + number.exponent;
        Self(if shift >= 0 {
            number.significand.checked_shl(shift as u32).unwrap_or(0)
        } else {
            number.significand.checked_shr(shift.unsigned_abs()).unwrap_or(0)
        })
    }

    /// The product, which is below 2.
    pub fn times(self, other: Self) -> Self {
        Self(high(self.0, other.0) << 1)
    }

    /// One by a whole number up to [`WHOLE_MAX`].
    pub fn one_by(whole: usize) -> Self {
        RECIPROCALS[whole]
    }

    /// Divided by a whole number up to [`WHOLE_MAX`].
    pub fn over(self, whole: usize) -> Self {
        self.times(RECIPROCALS[whole])
    }

    /// As a number.
    pub fn exact(self, negative: bool) -> Exact {
        Exact { negative, exponent: -127, significand: self.0 }
    }
}

/// What series divide by is at most this.
pub const WHOLE_MAX: usize = 85;

/// One by each whole number; dividing takes many times as long as multiplying.
const RECIPROCALS: [Fraction; WHOLE_MAX + 1] = {
    let mut all = [Fraction::ONE; WHOLE_MAX + 1];
    let mut whole = 1;
    while whole <= WHOLE_MAX {
        all[whole] = Fraction(Fraction::ONE.0 / whole as u128);
        whole += 1;
    }
    all
};

/// The upper half of the product.
fn high(a: u128, b: u128) -> u128 {
    let halves = |number: u128| (number >> 64, u128::from(number as u64));
    let ((a_high, a_low), (b_high, b_low)) = (halves(a), halves(b));
    let (upper, lower) = (a_high * b_low, a_low * b_high);
    let middle = ((a_low * b_low) >> 64) + u128::from(upper as u64) + u128::from(lower as u64);
    a_high * b_high + (upper >> 64) + (lower >> 64) + (middle >> 64)
}

/// The same number with its leading digit in bit 127. It is not zero.
pub fn normal(number: Exact) -> Exact {
    let shift = number.significand.leading_zeros();
    let exponent = number.exponent - shift as i32;
    Exact { exponent, significand: number.significand << shift, ..number }
}

/// The product of numbers that are not zero.
pub fn product(a: Exact, b: Exact) -> Exact {
    let (a, b) = (normal(a), normal(b));
    Exact {
        negative: a.negative != b.negative,
        exponent: a.exponent + b.exponent + 128,
        significand: high(a.significand, b.significand),
    }
}

/// A number times a fraction; neither is zero.
pub fn scaled(number: Exact, by: Fraction) -> Exact {
    product(number, by.exact(false))
}

/// The next 64 digits of a quotient, and the rest: `rest` is below `divisor`, whose leading digit is
/// in bit 127 (Knuth, The Art of Computer Programming 4.3.1, algorithm D, with digits of 64 bits).
fn next_digits(rest: u128, divisor: u128) -> (u128, u128) {
    const DIGIT: u128 = 1 << 64;
    let (first, second) = (divisor >> 64, u128::from(divisor as u64));
    let (mut digits, mut left) = (rest / first, rest % first);
    // By its first digit alone it may be two too many.
    while digits >= DIGIT || digits * second > left << 64 {
        digits -= 1;
        left += first;
        if left >= DIGIT {
            break;
        }
    }
    (digits, (rest << 64).wrapping_sub(divisor.wrapping_mul(digits)))
}

/// The quotient of numbers that are not zero.
pub fn quotient(a: Exact, b: Exact) -> Exact {
    let (a, b) = (normal(a), normal(b));
    let divisor = b.significand;
    // Both have the same leading digit, so that what stands before the point is one at most.
    let whole = u128::from(a.significand >= divisor);
    let (upper, rest) = next_digits(a.significand - whole * divisor, divisor);
    let (lower, _) = next_digits(rest, divisor);
    let digits = whole << 127 | (upper << 64 | lower) >> 1;
    Exact {
        negative: a.negative != b.negative,
        exponent: a.exponent - b.exponent - 127,
        significand: digits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(significand: u128) -> Exact {
        Exact { negative: false, exponent: 0, significand }
    }

    /// A number's value, as near as a double comes.
    fn value(number: Exact) -> f64 {
        number.significand as f64 * f64::from(number.exponent).exp2()
    }

    #[test]
    fn products_and_quotients_are_those_of_whole_numbers() {
        for (a, b) in [(1, 1), (3, 5), (u64::MAX, 7), (u64::MAX, u64::MAX), (1 << 63, 3)] {
            let (a, b) = (u128::from(a), u128::from(b));
            let found = product(whole(a), whole(b));
            assert_eq!(normal(found).significand, normal(whole(a * b)).significand, "{a} {b}");
            let found = quotient(whole(a * b), whole(b));
            assert_eq!(normal(found).significand, normal(whole(a)).significand, "{a} {b}");
            assert!((value(found) / a as f64 - 1.0).abs() < 1e-15, "{a} {b}");
        }
    }

    #[test]
    fn a_quotient_is_cut_off_below_its_last_digit() {
        let third = quotient(whole(1), whole(3));
        assert_eq!((third.significand, third.exponent), (u128::MAX / 3, -128));
    }

    #[test]
    fn digits_that_were_guessed_too_high_are_set_right() {
        for (a, b) in [
            (u128::MAX - 1, u128::MAX),
            (1 << 127, (1 << 127) + 1),
            (1 << 127, (1 << 127) + u128::from(u64::MAX)),
            ((1 << 127) + 5, u128::MAX),
            (u128::MAX << 64, u128::MAX),
        ] {
            // As one does it on paper, digit after digit.
            let (mut rest, mut digits) = (a, 0_u128);
            for _ in 0..128 {
                let carry = rest >> 127;
                rest <<= 1;
                let fits = carry == 1 || rest >= b;
                rest = if fits { rest.wrapping_sub(b) } else { rest };
                digits = digits << 1 | u128::from(fits);
            }
            let (upper, left) = next_digits(a, b);
            let (lower, left) = next_digits(left, b);
            assert_eq!((upper << 64 | lower, left), (digits, rest), "{a:x} {b:x}");
        }
    }

    #[test]
    fn fractions_multiply_below_two() {
        let half = Fraction::one_by(2);
        assert_eq!(half.times(half), Fraction::one_by(4));
        assert_eq!(half.over(4), Fraction::one_by(8));
        assert_eq!(Fraction::of(whole(1)), Fraction::ONE);
        assert_eq!(Fraction::of(Exact { exponent: -400, ..whole(1) }), Fraction(0));
    }
}
