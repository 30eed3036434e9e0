//! x87's trigonometric, logarithmic and exponential instructions: sources from where the manual
//! defines them, and results that a processor may have one unit in the last place off (SDM volume
//! 1, 8.3.10).

use crate::case::Case;
use crate::common::Random;
use crate::record::Record;
use iced_x86::{Instruction, Mnemonic};

const BIAS: u128 = 16383;
/// The leading digit.
const LEADING: u128 = 1 << 63;
const FIELD: u128 = 0x7fff << 64;

/// Whether it is one of them.
pub fn is_one(mnemonic: Mnemonic) -> bool {
    use Mnemonic::{F2xm1, Fcos, Fpatan, Fptan, Fsin, Fsincos, Fyl2x, Fyl2xp1};
    matches!(mnemonic, F2xm1 | Fcos | Fpatan | Fptan | Fsin | Fsincos | Fyl2x | Fyl2xp1)
}

/// Brings sources into the range of the function, mostly.
pub fn tune(instruction: &Instruction, start: &mut Record, random: &mut Random) {
    let mnemonic = instruction.mnemonic();
    if !is_one(mnemonic) || random.chance(4) {
        return;
    }
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others take any number")]
    match mnemonic {
        // Below one, and below a quarter: where these two are defined.
        Mnemonic::F2xm1 => small(start, BIAS - 1, random),
        Mnemonic::Fyl2xp1 => small(start, BIAS - 3, random),
        Mnemonic::Fyl2x if random.chance(2) => near_one(start, random),
        Mnemonic::Fsin | Mnemonic::Fcos | Mnemonic::Fsincos | Mnemonic::Fptan => {
            small(start, BIAS + 62, random);
        }
        _ => (0..2).for_each(|number| with_exponent(start, number, BIAS + 8, 16, random)),
    }
}

/// ST(0) gets one of the exponents below `most`, often one of the next.
fn small(start: &mut Record, most: u128, random: &mut Random) {
    let far = if random.chance(3) { 90 } else { 6 };
    with_exponent(start, 0, most, far, random);
}

fn with_exponent(start: &mut Record, number: usize, most: u128, far: u64, random: &mut Random) {
    let exponent = most - u128::from(random.below(far));
    let value = start.st(number) & !FIELD;
    start.set_st(number, value | exponent << 64 | LEADING);
}

/// ST(0) is near one, above or below it.
fn near_one(start: &mut Record, random: &mut Random) {
    let fraction = u128::from(random.next() >> random.below(63)) & (LEADING - 1);
    let above = BIAS << 64 | LEADING | fraction;
    let below = (BIAS - 1) << 64 | LEADING | (LEADING - 1 - fraction);
    start.set_st(0, if random.chance(2) { above } else { below });
}

/// Whether the manual leaves the result undefined.
pub fn is_undefined(case: &Case) -> bool {
    let x = case.start.st(0);
    let (exponent, negative) = (x >> 64 & 0x7fff, x >> 79 != 0);
    let significand = x & u128::from(u64::MAX);
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others take any number")]
    match case.instruction.mnemonic() {
        // From -1 to 1.
        Mnemonic::F2xm1 => exponent > BIAS || exponent == BIAS && significand > LEADING,
        // From -(1 - sqrt(1/2)) to sqrt(1/2): here to one half above.
        Mnemonic::Fyl2xp1 => exponent >= if negative { BIAS - 2 } else { BIAS - 1 },
        _ => false,
    }
}

/// Lets a result pass that is one unit in the last place off, by making it equal. (What C1 tells,
/// whether it was rounded up, is not compared: processors round what they came near to.)
pub fn approximate(native: &Record, ours: &mut Record) {
    for number in 0..8 {
        let (expected, found) = (native.st(number), ours.st(number));
        if expected != found && ordinal(expected).abs_diff(ordinal(found)) <= 1 {
            ours.set_st(number, expected);
        }
    }
}

/// Numbers in the order of their values, one apart where they are neighbours.
fn ordinal(bits: u128) -> i128 {
    let significand = bits & (u128::from(u64::MAX) >> 1);
    let magnitude = ((bits >> 64 & 0x7fff) << 63 | significand) as i128;
    if bits >> 79 != 0 { -magnitude } else { magnitude }
}
