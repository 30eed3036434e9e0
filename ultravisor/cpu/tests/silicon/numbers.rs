//! Numbers worth trying: the ends of every range, near misses and random ones, from a seed.

use crate::common::Random;

/// A binary format's field widths.
#[derive(Clone, Copy)]
pub struct Widths {
    /// The whole number.
    pub bits: u32,
    /// The fraction field.
    pub fraction: u32,
}

pub const SINGLE: Widths = Widths { bits: 32, fraction: 23 };
pub const DOUBLE: Widths = Widths { bits: 64, fraction: 52 };

/// The bias of the exponent of an x87 register.
const EXTENDED_BIAS: i64 = 16383;

impl Widths {
    fn bias(self) -> i64 {
        (1 << (self.bits - self.fraction - 2)) - 1
    }

    /// A number of exponent 2^`exponent` with the given fraction field.
    fn number(self, exponent: i64, fraction: u64) -> u64 {
        let field = (self.bias() + exponent) as u64;
        field << self.fraction | fraction & ((1 << self.fraction) - 1)
    }

    /// Zeros, denormals, the ends of every range, integers, halves, infinities, NaNs of both kinds
    /// with payloads: with both signs.
    fn special(self, random: &mut Random) -> u64 {
        let infinity = self.number(self.bias() + 1, 0);
        let (normal, quiet) = (1 << self.fraction, 1 << (self.fraction - 1));
        let whole = i64::from(self.fraction);
        let boundary = [15, 16, 30, 31, 32, 62, 63, 64][random.below(8) as usize];
        let numbers = [
            0,
            random.below(4),
            quiet,
            normal - 1 - random.below(2),
            normal + random.below(2),
            normal + normal / 2,
            2 * normal,
            self.number(0, 0) + random.below(3) - 1,
            self.number(0, quiet),
            self.number(1, quiet * random.below(2)),
            self.number(-1, random.below(2)),
            self.number(-1, quiet),
            self.number(whole - random.below(2) as i64, 1),
            self.number(whole - random.below(3) as i64, u64::MAX),
            self.number(boundary, 0) + random.below(3) - 1,
            infinity - 1 - random.below(2),
            infinity,
            infinity | (1 + random.below(0x200)),
            infinity | quiet | random.below(0x200),
            infinity | (quiet - 1),
        ];
        let number = numbers[random.below(numbers.len() as u64) as usize];
        number | random.below(2) << (self.bits - 1)
    }

    /// A number of a kind that makes trouble likely.
    pub fn random(self, random: &mut Random) -> u64 {
        if random.chance(3) {
            return self.special(random);
        }
        let sign = random.below(2) << (self.bits - 1);
        let fraction = fraction(random, self.fraction);
        let near = |centre: i64, random: &mut Random| centre + random.below(8) as i64 - 4;
        let exponent = match random.below(8) {
            0 => return random.next() & (u64::MAX >> (64 - self.bits)),
            1 => -self.bias(),
            2 => near(5 - self.bias(), random),
            3 => near(-self.bias() / 2, random),
            4 => near(self.bias() / 2, random),
            5 => near(self.bias() - 5, random),
            6 => random.below(70) as i64 - 3,
            _ => near(0, random),
        };
        sign | self.number(exponent, fraction)
    }

    /// A vector register of such numbers; `alike` of them have exponents near each other.
    pub fn register(self, random: &mut Random) -> u128 {
        (0..128 / self.bits)
            .fold(0, |out, i| out | u128::from(self.random(random)) << (self.bits * i))
    }
}

/// Fraction bits: few ones or few zeros at the lower end (exact and halfway cases), or any.
fn fraction(random: &mut Random, width: u32) -> u64 {
    let any = random.next();
    let sparse = (any & 7) << random.below(width.into());
    match random.below(4) {
        0 => sparse,
        1 => !sparse,
        _ => any,
    }
}

/// A number as an x87 register holds it: 80 bits, with the forms that only it has (pseudo-denormal,
/// unnormal, pseudo-infinity, pseudo-NaN).
pub fn extended(random: &mut Random) -> u128 {
    let sign = u128::from(random.below(2)) << 79;
    let near = |centre: i64, random: &mut Random| centre + random.below(8) as i64 - 4;
    let exponent = match random.below(12) {
        0 => 0,
        1 => 0x7fff,
        2 => random.below(5) as i64,
        3 => 0x7ffe - random.below(4) as i64,
        4 => near(EXTENDED_BIAS / 2, random),
        5 => near(EXTENDED_BIAS + EXTENDED_BIAS / 2, random),
        6 => near(EXTENDED_BIAS - 1022, random),
        7 => near(EXTENDED_BIAS - 126, random),
        8 => near(EXTENDED_BIAS, random),
        9 => random.below(0x8000) as i64,
        _ => EXTENDED_BIAS - 3 + random.below(70) as i64,
    };
    let mut significand = match random.below(6) {
        0 => 0,
        1 => fraction(random, 63) << (random.below(40)),
        2 => 1 << random.below(63),
        _ => fraction(random, 63),
    };
    // Where the format keeps the leading one, nearly always one.
    let integer = if exponent == 0 { random.chance(8) } else { !random.chance(24) };
    significand = significand & !(1 << 63) | u64::from(integer) << 63;
    sign | (exponent as u128 & 0x7fff) << 64 | u128::from(significand)
}
