//! Operands worth trying: special numbers, near misses and random ones, from a seed.

/// SplitMix64: small, and the same everywhere.
pub struct Seeded(pub u64);

impl Seeded {
    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// 128 bits.
    pub fn register(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }
}

/// A format's field widths.
#[derive(Clone, Copy)]
pub struct Widths {
    /// The whole lane.
    pub bits: u32,
    /// The fraction field.
    pub fraction: u32,
}

/// `ps`, `ss`.
pub const SINGLE: Widths = Widths { bits: 32, fraction: 23 };
/// `pd`, `sd`.
pub const DOUBLE: Widths = Widths { bits: 64, fraction: 52 };

impl Widths {
    fn exponent_bias(self) -> u64 {
        (1 << (self.bits - self.fraction - 2)) - 1
    }

    /// A number of exponent 2^`exponent` with the given fraction field.
    fn number(self, exponent: i64, fraction: u64) -> u64 {
        let field = (self.exponent_bias() as i64 + exponent) as u64;
        field << self.fraction | fraction & ((1 << self.fraction) - 1)
    }

    /// Zeros, denormals, the ends of every range, integers, halves, infinities, NaNs of both kinds
    /// with payloads: with both signs.
    pub fn special(self) -> Vec<u64> {
        let infinity = self.number(self.exponent_bias() as i64 + 1, 0);
        let min_normal = 1 << self.fraction;
        let quiet = 1 << (self.fraction - 1);
        let mut numbers = vec![
            0,
            1,
            2,
            3,
            quiet,
            min_normal - 2,
            min_normal - 1,
            min_normal,
            min_normal + 1,
            min_normal + min_normal / 2,
            2 * min_normal,
            self.number(0, 0) - 1,
            self.number(0, 0),
            self.number(0, 1),
            self.number(0, quiet),
            self.number(1, 0),
            self.number(1, quiet),
            self.number(-1, 0),
            self.number(-1, 1),
            self.number(-1, quiet),
            self.number(self.fraction.into(), 1),
            self.number(self.fraction.into(), u64::MAX),
            self.number(i64::from(self.fraction) - 1, u64::MAX),
            infinity - 1,
            infinity - 2,
            infinity,
            infinity | 1,
            infinity | 0x155,
            infinity | quiet,
            infinity | quiet | 0x2aa,
            infinity | (quiet - 1),
        ];
        // The neighbourhoods of the integer ranges' ends.
        for exponent in [30, 31, 32, 62, 63, 64] {
            let number = self.number(exponent, 0);
            numbers.extend([number - 1, number, number + 1]);
        }
        let negative: Vec<u64> = numbers.iter().map(|n| n | 1 << (self.bits - 1)).collect();
        numbers.extend(negative);
        numbers
    }

    /// A random number, of a kind that makes trouble likely.
    pub fn random(self, seeded: &mut Seeded) -> u64 {
        let mask = u64::MAX >> (64 - self.bits);
        let sign = (seeded.next() & 1) << (self.bits - 1);
        let random = seeded.next();
        // Few one bits, or few zero bits, at the lower end: exact and halfway cases.
        let sparse = (random & 7) << seeded.below(self.fraction.into());
        let fraction = match seeded.below(4) {
            0 => sparse,
            1 => !sparse,
            _ => random,
        };
        let bias = self.exponent_bias() as i64;
        let near = |centre: i64, seeded: &mut Seeded| centre + seeded.below(8) as i64 - 4;
        let exponent = match seeded.below(8) {
            0 => return random & mask,
            1 => -bias,
            2 => near(5 - bias, seeded),
            3 => near(-bias / 2, seeded),
            4 => near(bias / 2, seeded),
            5 => near(bias - 5, seeded),
            6 => seeded.below(70) as i64 - 3,
            _ => near(0, seeded),
        };
        sign | self.number(exponent, fraction)
    }

    /// A whole register of random lanes.
    pub fn register(self, seeded: &mut Seeded) -> u128 {
        (0..128 / self.bits)
            .fold(0, |out, i| out | u128::from(self.random(seeded)) << (self.bits * i))
    }

    /// `count` registers: each special number in each lane, then random ones; the second source's
    /// register for a first one is to be drawn at random from the same.
    pub fn registers(self, seeded: &mut Seeded, count: usize) -> Vec<u128> {
        let special = self.special();
        let pick = |seeded: &mut Seeded| {
            let index = seeded.below(special.len() as u64) as usize;
            u128::from(special[index])
        };
        let mut out: Vec<u128> = (0..count)
            .map(|i| {
                let mut register = self.register(seeded);
                if i % 2 == 0 {
                    for lane in 0..128 / self.bits {
                        let shift = self.bits * lane;
                        let mask = u128::from(u64::MAX >> (64 - self.bits)) << shift;
                        register = register & !mask | pick(seeded) << shift;
                    }
                }
                register
            })
            .collect();
        out.extend(special.iter().map(|&n| u128::from(n)));
        out
    }
}

/// All MXCSR values that differ in rounding, DAZ and FTZ, with all exceptions masked, once without
/// flags and once with the precision flag set (a program's usual state).
pub fn controls() -> Vec<u32> {
    let mut out = Vec::new();
    for rounding in 0..4 {
        for (daz, ftz, precision) in (0..8).map(|bits| (bits & 1, bits >> 1 & 1, bits >> 2 & 1)) {
            out.push(0x1f80 | rounding << 13 | ftz << 15 | daz << 6 | precision << 5);
        }
    }
    out
}
