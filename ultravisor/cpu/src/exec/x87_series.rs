//! Sines, arctangents, powers and logarithms of [`Exact`] numbers, to some 120 digits: series, after
//! an argument has been brought near zero. Results are never exact unless it is said.

use super::x87_fixed::{Fraction, normal, product, quotient, scaled};
use super::x87_number::Exact;

/// Pi as the processor turns angles by it: 66 digits, two of them before the point (SDM volume 1,
/// 8.3.8).
const TURNING_PI: u128 = 0x3_243f_6a88_85a3_08d3;
/// Pi, with 126 digits behind the point.
const PI: u128 = 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1;
/// A quarter of pi.
const QUARTER_PI: Fraction = Fraction(0x6487_ed51_10b4_611a_6263_3145_c06e_0e68);
/// The arctangent of a half.
const ARCTANGENT_OF_HALF: Fraction = Fraction(0x3b58_ce0a_c376_9ed1_5bf9_117b_2f0e_a340);
/// The natural logarithm of two.
const LN_2: Fraction = Fraction(0x58b9_0bfb_e8e7_bcd5_e4f1_d9cc_01f9_7b57);
/// The binary logarithm of e.
const LOG2_E: Fraction = Fraction(0xb8aa_3b29_5c17_f0bb_be87_fed0_691d_3e88);
/// The square root of two.
const ROOT_2: Fraction = Fraction(0xb504_f333_f9de_6484_597d_89b3_754a_be9f);
const HALF: Fraction = Fraction(1 << 126);

/// What one takes off or adds; never nothing, since no series ends.
fn some(part: Fraction) -> u128 {
    part.0.max(1)
}

/// 1 - z/(d (d + 1)) (1 - z/((d + 2) (d + 3)) (1 - ...)), where `d` is the first divisor.
fn nested(z: Fraction, first: usize) -> Fraction {
    // An angle of an eighth turn needs 17 of them.
    const TERMS: usize = 18;
    (0..TERMS).rev().fold(Fraction::ONE, |sum, n| {
        let divisor = first + 2 * n;
        let part = z.times(sum).over(divisor).over(divisor + 1);
        Fraction(Fraction::ONE.0 - some(part))
    })
}

/// 1 + z/3 + z^2/5 + z^3/7 ..., or with changing signs.
fn odd_divisors(z: Fraction, alternates: bool) -> Fraction {
    // z is a ninth at most: more than three digits for each.
    const TERMS: usize = 42;
    let last = Fraction::one_by(2 * TERMS + 1);
    (0..TERMS).rev().fold(last, |sum, n| {
        let (whole, part) = (Fraction::one_by(2 * n + 1).0, some(z.times(sum)));
        Fraction(if alternates { whole - part } else { whole + part })
    })
}

fn square(number: Exact) -> Fraction {
    let fraction = Fraction::of(number);
    fraction.times(fraction)
}

/// An angle, turned by quarters until an eighth at most is left.
#[derive(Clone, Copy, Debug)]
pub struct Turned {
    /// How many quarters, modulo 4.
    quarters: u8,
    rest: Exact,
}

impl Turned {
    /// Of an angle below 2^63, by its magnitude.
    pub fn of(angle: Exact) -> Self {
        let angle = Exact { negative: false, ..angle };
        // Pi has 64 digits behind the point, half of it 65.
        let shift = angle.exponent + 65;
        if shift <= 0 {
            return Self { quarters: 0, rest: angle };
        }
        let units = angle.significand << shift;
        let (quarters, rest) = (units / TURNING_PI, units % TURNING_PI);
        let beyond = rest > TURNING_PI / 2;
        Self {
            quarters: (quarters + u128::from(beyond)) as u8 & 3,
            rest: Exact {
                negative: beyond,
                exponent: -65,
                significand: if beyond { TURNING_PI - rest } else { rest },
            },
        }
    }

    /// The sine, or the cosine: that is the sine a quarter further.
    fn sine_after(self, quarters: u8) -> Exact {
        let turned = (self.quarters + quarters) & 3;
        let mut value = if turned & 1 == 0 { sine(self.rest) } else { cosine(self.rest) };
        value.negative ^= turned >= 2;
        value
    }

    /// Its sine.
    pub fn sine(self) -> Exact {
        self.sine_after(0)
    }

    /// Its cosine.
    pub fn cosine(self) -> Exact {
        self.sine_after(1)
    }

    /// Its tangent.
    pub fn tangent(self) -> Exact {
        quotient(self.sine(), self.cosine())
    }
}

fn sine(angle: Exact) -> Exact {
    scaled(angle, nested(square(angle), 2))
}

fn cosine(angle: Exact) -> Exact {
    nested(square(angle), 1).exact(false)
}

/// Two to the power of `x`, less one; `x` is not zero and from -1 to 1.
pub fn power_less_one(x: Exact) -> Exact {
    // 0.7^n by the factorial of n + 1.
    const TERMS: usize = 34;
    let exponent = scaled(x, LN_2);
    let t = Fraction::of(exponent);
    let sum = (2..=TERMS).rev().fold(Fraction::ONE, |sum, n| {
        let (one, part) = (Fraction::ONE.0, some(t.times(sum).over(n)));
        Fraction(if x.negative { one - part } else { one + part })
    });
    scaled(exponent, sum)
}

/// A logarithm.
#[derive(Clone, Copy, Debug)]
pub enum Logarithm {
    /// Of a power of two.
    Whole(i32),
    /// Of any other number.
    Near(Exact),
}

/// The binary logarithm of a positive number.
pub fn logarithm(number: Exact) -> Logarithm {
    let number = normal(number);
    let (mantissa, whole) = (Fraction(number.significand), number.exponent + 127);
    if mantissa == Fraction::ONE {
        return Logarithm::Whole(whole);
    }
    // m from 1/sqrt(2) to sqrt(2), and (m - 1) / (m + 1).
    let (whole, above, below, negative) = if mantissa <= ROOT_2 {
        let above = Exact { significand: mantissa.0 - Fraction::ONE.0, ..mantissa.exact(false) };
        (whole, above, (mantissa.0 >> 1) + HALF.0, false)
    } else {
        let above =
            Exact { negative: true, exponent: -128, significand: mantissa.0.wrapping_neg() };
        (whole + 1, above, (mantissa.0 >> 2) + HALF.0, true)
    };
    let part =
        logarithm_of_ratio(above, Exact { negative: false, exponent: -126, significand: below });
    if whole == 0 {
        return Logarithm::Near(part);
    }
    // 15 digits before the point, 112 behind it.
    let part = (Fraction::of(part).0 >> 15) as i128;
    let sum = (i128::from(whole) << 112) + if negative { -part } else { part };
    let significand = sum.unsigned_abs();
    Logarithm::Near(Exact { negative: sum < 0, exponent: -112, significand })
}

/// The binary logarithm of 1 + `x`, where `x` is not zero and from -1/2 to 1/2.
pub fn logarithm_near_one(x: Exact) -> Exact {
    let half = Fraction::of(x).0 >> 1;
    let below = if x.negative { Fraction::ONE.0 - half } else { Fraction::ONE.0 + half };
    logarithm_of_ratio(x, Exact { negative: false, exponent: -126, significand: below })
}

/// The binary logarithm of the number `m` for which (m - 1) / (m + 1) is `above` by `below`.
fn logarithm_of_ratio(above: Exact, below: Exact) -> Exact {
    let z = quotient(above, below);
    let half = product(scaled(z, odd_divisors(square(z), false)), LOG2_E.exact(false));
    Exact { exponent: half.exponent + 1, ..half }
}

/// The angle of the point (`x`, `y`), from 0 to pi; `y` is above zero, and `x` not zero.
pub fn angle(y: Exact, x: Exact) -> Exact {
    let magnitude = |number: Exact| normal(Exact { negative: false, ..number });
    let (height, width) = (magnitude(y), magnitude(x));
    let is_steep = (height.exponent, height.significand) > (width.exponent, width.significand);
    let ratio = if is_steep { quotient(width, height) } else { quotient(height, width) };
    let eighth = arctangent(ratio);
    if !is_steep && !x.negative {
        return eighth;
    }
    let mut angle = Fraction::of(eighth).0 >> 1;
    angle = if is_steep { (PI >> 1) - angle } else { angle };
    angle = if x.negative { PI - angle } else { angle };
    Exact { negative: false, exponent: -126, significand: angle }
}

/// So many eighths of a turn by pi: up to 4.
pub fn eighths_of_turn(eighths: u8) -> Exact {
    Exact { negative: false, exponent: -126, significand: (PI >> 2) * u128::from(eighths) }
}

/// The arctangent of a number from above 0 to 1.
fn arctangent(ratio: Exact) -> Exact {
    let series = |t: Exact| scaled(t, odd_divisors(square(t), true));
    let t = Fraction::of(ratio);
    if t < Fraction::one_by(4) {
        return series(ratio);
    }
    // The difference of two angles has the tangent (t - c) / (1 + c t).
    let (from, is_below, above, below) = if t <= Fraction(HALF.0 + (HALF.0 >> 1)) {
        let above = Fraction(t.0.abs_diff(HALF.0));
        (ARCTANGENT_OF_HALF, t < HALF, above, Fraction(HALF.0 + (t.0 >> 2)))
    } else {
        (QUARTER_PI, true, Fraction(Fraction::ONE.0 - t.0), Fraction(HALF.0 + (t.0 >> 1)))
    };
    if above.0 == 0 {
        return from.exact(false);
    }
    let below = Exact { exponent: -126, ..below.exact(false) };
    let step = Fraction::of(series(quotient(above.exact(false), below))).0;
    Fraction(if is_below { from.0 - step } else { from.0 + step }).exact(false)
}
