//! x87's trigonometric, logarithmic and exponential instructions (SDM volume 1, 8.3.7 to 8.3.10, and
//! the tables on their pages in volume 2). Results are rounded once from some 120 digits; a processor
//! may be one unit in the last place from that.

use super::x87::{
    control_of, operand, put_on_top, ready, respond, settle, settle_empty, stack_fault,
};
use super::x87_arithmetic::{on_number, on_numbers};
use super::x87_fixed::product;
use super::x87_number::{
    BIAS, Class, Control, Exact, INDEFINITE, INFINITY, Operand, Outcome, class, exception, field,
    is_nan, is_negative, sign,
};
use super::x87_series::{self as series, Logarithm, Turned};
use crate::bus::Bus;
use crate::cpu::Cpu;
use crate::uop::{Left, Uop};
use crate::x87::status::{C1, C2};

/// One.
const ONE: u128 = (BIAS as u128) << 64 | 1 << 63;

/// Numbers, where NaNs are gone already.
macro_rules! numbers {
    () => {
        Class::Normal | Class::Denormal | Class::Quiet | Class::Signalling | Class::Unsupported
    };
}

/// Rounds a number that is no end of a series.
fn rounded(number: Exact, control: Control) -> Outcome {
    Exact { significand: number.significand | 1, ..number }.round(64, control)
}

/// A finite angle that is no zero, or what stands for the others; `None` beyond 2^63.
fn of_angle(
    a: u128,
    at_zero: u128,
    control: Control,
    f: impl Fn(Turned) -> Exact,
) -> Option<Outcome> {
    if class(a) == Class::Normal && field(a) >= BIAS + 63 {
        return None;
    }
    Some(on_number(a, |a| match class(a) {
        Class::Zero => Outcome::quiet(at_zero),
        Class::Infinity => Outcome::invalid(),
        numbers!() => rounded(f(Turned::of(Exact::of(a))), control),
    }))
}

/// Changes the sign as that of an odd function's argument is.
fn odd(a: u128, mut value: Exact) -> Exact {
    value.negative ^= is_negative(a);
    value
}

fn sine(a: u128, control: Control) -> Option<Outcome> {
    of_angle(a, a, control, |turned| odd(a, turned.sine()))
}

fn cosine(a: u128, control: Control) -> Option<Outcome> {
    of_angle(a, ONE, control, Turned::cosine)
}

fn tangent(a: u128, control: Control) -> Option<Outcome> {
    of_angle(a, a, control, |turned| odd(a, turned.tangent()))
}

/// Two to the power of `a`, less one. Beyond 1, where the manual defines nothing, it stays.
fn power(a: u128, control: Control) -> Outcome {
    const MINUS_ONE: u128 = sign(true) | ONE;
    const MINUS_HALF: u128 = sign(true) | (BIAS as u128 - 1) << 64 | 1 << 63;
    on_number(a, |a| match class(a) {
        Class::Zero => Outcome::quiet(a),
        Class::Infinity if is_negative(a) => Outcome::quiet(MINUS_ONE),
        // Processors do not know that it is exact.
        _ if a == ONE => Outcome { raised: exception::PRECISION, ..Outcome::quiet(ONE) },
        _ if a == MINUS_ONE => {
            Outcome { raised: exception::PRECISION, ..Outcome::quiet(MINUS_HALF) }
        }
        _ if field(a) >= BIAS => Outcome::quiet(a),
        Class::Infinity | numbers!() => rounded(series::power_less_one(Exact::of(a)), control),
    })
}

/// `y` times an infinite logarithm.
fn by_infinity(y: u128, negative: bool) -> Outcome {
    match class(y) {
        Class::Zero => Outcome::invalid(),
        Class::Infinity | numbers!() => Outcome::quiet(sign(is_negative(y) != negative) | INFINITY),
    }
}

/// `y` times a logarithm of a number.
fn times(y: u128, logarithm: Logarithm, control: Control) -> Outcome {
    let (negative, is_zero) = match logarithm {
        Logarithm::Whole(whole) => (whole < 0, whole == 0),
        Logarithm::Near(number) => (number.negative, false),
    };
    let negative = is_negative(y) != negative;
    match (class(y), logarithm) {
        (Class::Infinity, _) if is_zero => Outcome::invalid(),
        (Class::Infinity, _) => Outcome::quiet(sign(negative) | INFINITY),
        (Class::Zero, _) => Outcome::quiet(sign(negative)),
        (_, Logarithm::Whole(0)) => Outcome::quiet(sign(negative)),
        (_, Logarithm::Whole(whole)) => {
            let (y, whole) = (Exact::of(y), u128::from(whole.unsigned_abs()));
            let exact = Exact { negative, significand: y.significand * whole, ..y };
            let outcome = exact.round(64, control);
            // Processors do not know that it is exact.
            Outcome { raised: outcome.raised | exception::PRECISION, ..outcome }
        }
        (_, Logarithm::Near(number)) => rounded(product(Exact::of(y), number), control),
    }
}

/// `y` log2(`x`).
fn y_log_x(x: Operand, y: Operand, control: Control) -> Outcome {
    on_numbers(x, y, |x, y| match (class(x), is_negative(x)) {
        (Class::Zero, _) if !matches!(class(y), Class::Zero | Class::Infinity) => {
            Outcome { raised: exception::DIVIDE_BY_ZERO, ..by_infinity(y, true) }
        }
        (Class::Zero, _) => by_infinity(y, true),
        (_, true) => Outcome::invalid(),
        (Class::Infinity, false) => by_infinity(y, false),
        (_, false) => times(y, series::logarithm(Exact::of(x)), control),
    })
}

/// `y` log2(`x` + 1). The manual defines it from -(1 - sqrt(1/2)) to sqrt(1/2) alone: so it is the
/// logarithm further out, too, and invalid where there is none.
fn y_log_x_and_one(x: Operand, y: Operand, control: Control) -> Outcome {
    on_numbers(x, y, |x, y| match class(x) {
        Class::Zero if class(y) == Class::Infinity => Outcome::invalid(),
        Class::Zero => Outcome::quiet(sign(is_negative(x) != is_negative(y))),
        _ if is_negative(x) && field(x) >= BIAS => Outcome::invalid(),
        Class::Infinity => by_infinity(y, false),
        numbers!() => times(y, logarithm_of_next(Exact::of(x)), control),
    })
}

/// log2(`x` + 1).
fn logarithm_of_next(x: Exact) -> Logarithm {
    // The leading digit has the weight 2^(exponent + 63).
    if x.exponent + 63 < -1 {
        return Logarithm::Near(series::logarithm_near_one(x));
    }
    if x.exponent > 0 {
        // One is below the last digit.
        return series::logarithm(Exact {
            significand: x.significand << 8 | 1,
            exponent: x.exponent - 8,
            ..x
        });
    }
    let one = 1_u128 << -x.exponent;
    let significand = if x.negative { one - x.significand } else { one + x.significand };
    series::logarithm(Exact { negative: false, exponent: x.exponent, significand })
}

/// The angle of the point (`x`, `y`).
fn angle(x: Operand, y: Operand, control: Control) -> Outcome {
    on_numbers(x, y, |x, y| {
        let negative = is_negative(y);
        let eighths = match (class(y), class(x), is_negative(x)) {
            (Class::Infinity, Class::Infinity, false) => 1,
            (Class::Infinity, Class::Infinity, true) => 3,
            (Class::Infinity, ..) => 2,
            (Class::Zero, _, false) | (_, Class::Infinity, false) => 0,
            (Class::Zero, _, true) | (_, Class::Infinity, true) => 4,
            (_, Class::Zero, _) => 2,
            _ => {
                let y = Exact { negative: false, ..Exact::of(y) };
                let angle = series::angle(y, Exact::of(x));
                return rounded(Exact { negative, ..angle }, control);
            }
        };
        if eighths == 0 {
            return Outcome::quiet(sign(negative));
        }
        rounded(Exact { negative, ..series::eighths_of_turn(eighths) }, control)
    })
}

/// An instruction on the angle ST(0): out of range it says so by C2 and does nothing.
fn on_angle(cpu: &mut Cpu, f: fn(u128, Control) -> Option<Outcome>) -> Result<(), Left> {
    ready(cpu)?;
    if cpu.regs.x87.is_empty(0) {
        cpu.regs.x87.status &= !C2;
        settle_empty(cpu, 0, 0);
        return Ok(());
    }
    let outcome = f(cpu.regs.x87.st(0), control_of(cpu));
    note_range(cpu, outcome.is_some());
    if let Some(outcome) = outcome {
        settle(cpu, 0, outcome, 0);
    }
    Ok(())
}

/// C2 tells that an angle is out of range.
fn note_range(cpu: &mut Cpu, is_in_range: bool) {
    let status = &mut cpu.regs.x87.status;
    *status = *status & !(C1 | C2) | if is_in_range { 0 } else { C2 };
}

/// `fsin`.
pub(crate) fn fsin(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    on_angle(cpu, sine)
}

/// `fcos`.
pub(crate) fn fcos(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    on_angle(cpu, cosine)
}

/// ST(0) becomes one value and another is pushed, if the angle is in range.
fn on_angle_and_push(
    cpu: &mut Cpu,
    f: fn(u128, Control) -> Option<(Outcome, Outcome)>,
) -> Result<(), Left> {
    ready(cpu)?;
    let (empty, full) = (cpu.regs.x87.is_empty(0), !cpu.regs.x87.is_empty(7));
    if empty || full {
        cpu.regs.x87.status &= !C2;
        let goes_on = if empty { stack_fault::<false>(cpu) } else { stack_fault::<true>(cpu) };
        if goes_on {
            cpu.regs.x87.set_st(0, INDEFINITE);
            put_on_top(cpu, INDEFINITE);
        }
        return Ok(());
    }
    let results = f(cpu.regs.x87.st(0), control_of(cpu));
    note_range(cpu, results.is_some());
    let Some((first, second)) = results else { return Ok(()) };
    if respond(cpu, first.raised | second.raised, second.up) {
        cpu.regs.x87.set_st(0, first.bits);
        put_on_top(cpu, second.bits);
    }
    Ok(())
}

/// `fsincos`: the sine, and the cosine on top of it.
pub(crate) fn fsincos(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    on_angle_and_push(cpu, |a, control| sine(a, control).zip(cosine(a, control)))
}

/// `fptan`: the tangent, and a one on top of it; or what is no number, twice.
pub(crate) fn fptan(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    on_angle_and_push(cpu, |a, control| {
        let tangent = tangent(a, control)?;
        let on_top = if is_nan(tangent.bits) { tangent.bits } else { ONE };
        Some((tangent, Outcome { bits: on_top, ..tangent }))
    })
}

/// `f2xm1`.
pub(crate) fn f2xm1(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    ready(cpu)?;
    if cpu.regs.x87.is_empty(0) {
        settle_empty(cpu, 0, 0);
        return Ok(());
    }
    let outcome = power(cpu.regs.x87.st(0), control_of(cpu));
    settle(cpu, 0, outcome, 0);
    Ok(())
}

/// ST(1) becomes a function of both, and ST(0) is popped.
fn on_two(cpu: &mut Cpu, f: fn(Operand, Operand, Control) -> Outcome) -> Result<(), Left> {
    ready(cpu)?;
    if cpu.regs.x87.is_empty(0) || cpu.regs.x87.is_empty(1) {
        settle_empty(cpu, 1, 1);
        return Ok(());
    }
    let outcome = f(operand(cpu, 0), operand(cpu, 1), control_of(cpu));
    settle(cpu, 1, outcome, 1);
    Ok(())
}

/// `fpatan`.
pub(crate) fn fpatan(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    on_two(cpu, angle)
}

/// `fyl2x`.
pub(crate) fn fyl2x(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    on_two(cpu, y_log_x)
}

/// `fyl2xp1`.
pub(crate) fn fyl2xp1(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    on_two(cpu, y_log_x_and_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything masked, 64 digits, to nearest.
    const PLAIN: Control = Control(0x37f);

    fn number(bits: u128) -> Operand {
        Operand { bits, raised: 0 }
    }

    /// Angle, sine, cosine, tangent: rounded from 600 binary digits, the angle turned by a pi of 66.
    const ANGLES: [[u128; 4]; 5] = [
        // 1, -1.5, 355, 2^62 + 2^50, and the number that is nearest to pi.
        [
            0x3fff << 64 | 1 << 63,
            0x3ffe_d76a_a478_4867_7021,
            0x3ffe_8a51_407d_a834_5c92,
            0x3fff_c759_22e5_f71d_2dc5,
        ],
        [
            0xbfff_c000_0000_0000_0000,
            0xbffe_ff5b_d4d9_636c_56f3,
            0x3ffb_90de_aa7e_2fcd_3a1f,
            0xc002_e19f_6a85_c43b_bad3,
        ],
        [
            0x4007_b180_0000_0000_0000,
            0xbfef_fcde_8183_e8f3_4c10,
            0xbffe_ffff_fffe_0c72_5f3d,
            0x3fef_fcde_8185_d664_e7e1,
        ],
        [
            0x403d_8008_0000_0000_0000,
            0xbffe_f700_8970_32eb_56c3,
            0xbffd_868c_f230_bc8d_535e,
            0x4000_eafa_1274_4d49_cefb,
        ],
        [
            0x4000_c90f_daa2_2168_c235,
            0xbfbf_8000_0000_0000_0000,
            0xbfff_8000_0000_0000_0000,
            0x3fbf_8000_0000_0000_0000,
        ],
    ];

    #[test]
    fn sines_cosines_and_tangents_are_those_of_angles_turned_by_a_pi_of_66_digits() {
        for [angle, expected_sine, expected_cosine, expected_tangent] in ANGLES {
            for (f, expected) in [
                (sine as fn(u128, Control) -> Option<Outcome>, expected_sine),
                (cosine, expected_cosine),
                (tangent, expected_tangent),
            ] {
                let found = f(angle, PLAIN).expect("it is in range");
                assert_eq!(found.bits, expected, "of {angle:x}: {:x}", found.bits);
                assert_eq!(found.raised, exception::PRECISION);
            }
        }
    }

    #[test]
    fn an_angle_of_two_to_the_power_of_63_is_out_of_range() {
        let largest = (BIAS as u128 + 62) << 64 | u128::from(u64::MAX);
        let next = (BIAS as u128 + 63) << 64 | 1 << 63;
        for f in [sine, cosine, tangent] {
            assert!(f(largest, PLAIN).is_some());
            assert!(f(next, PLAIN).is_none() && f(sign(true) | next, PLAIN).is_none());
            assert_eq!(f(INFINITY, PLAIN).map(|found| found.bits), Some(INDEFINITE));
        }
    }

    #[test]
    fn powers_and_logarithms_are_rounded_once() {
        let one = 0x3fff_8000_0000_0000_0000;
        for (x, expected) in [
            (0x3ffe_8000_0000_0000_0000, 0x3ffd_d413_cccf_e779_9211),
            (0xbffe_c000_0000_0000_0000, 0xbffd_cf90_1f5c_e48e_ad21),
            (0x3fb9_8000_0000_0000_0000, 0x3fb8_b172_17f7_d1cf_79ac),
            (one, one),
            (0xbfff_8000_0000_0000_0000, 0xbffe_8000_0000_0000_0000),
        ] {
            assert_eq!(power(x, PLAIN).bits, expected, "{x:x}");
        }
        for (x, y, expected) in [
            (0x4002_a000_0000_0000_0000, one, 0x4000_d49a_784b_cd1b_8afe),
            (0x3ffe_c000_0000_0000_0000, 0x4001_e000_0000_0000_0000, 0xc000_b9ef_d21a_8748_92a9),
            (0x3fff_8000_0000_0000_0001, 0xc001_a000_0000_0000_0000, 0xbfc2_e6d4_c9f3_b31d_ecea),
            (0x4005_8000_0000_0000_0000, 0x4001_8000_0000_0000_0000, 0x4003_c000_0000_0000_0000),
        ] {
            assert_eq!(y_log_x(number(x), number(y), PLAIN).bits, expected, "{x:x} {y:x}");
        }
        for (x, y, expected) in [
            (0x3ffc_8000_0000_0000_0000, one, 0x3ffc_ae00_d1cf_deb4_3cfd),
            (0xbffd_8000_0000_0000_0000, 0x4000_c000_0000_0000_0000, 0xbfff_9f5f_d8a9_063e_3491),
            (0x3faf_8000_0000_0000_0000, one, 0x3faf_b8aa_3b29_5c17_f0bc),
            // Beyond what the manual defines: of 4 and of 2^100 + 1.
            (0x4000_c000_0000_0000_0000, one, 0x4000_8000_0000_0000_0000),
            (0x4063_8000_0000_0000_0000, one, 0x4005_c800_0000_0000_0000),
        ] {
            assert_eq!(y_log_x_and_one(number(x), number(y), PLAIN).bits, expected, "{x:x} {y:x}");
        }
    }

    /// The table of FYL2X (SDM volume 2): a row for each `y`, a column for each `x`.
    #[test]
    fn the_ends_of_the_logarithm_are_those_of_the_table() {
        use exception::{DIVIDE_BY_ZERO, INVALID};
        const NEGATIVE: u128 = sign(true);
        let (half, one, two) = (0x3ffe_8000_0000_0000_0000, ONE, 0x40008000000000000000_u128);
        let columns = [NEGATIVE | INFINITY, NEGATIVE | ONE, NEGATIVE, 0, half, one, two, INFINITY];
        let (no, down, up) = (Outcome::invalid().bits, NEGATIVE | INFINITY, INFINITY);
        let rows = [
            (down, [no, no, up, up, up, no, down, down]),
            (NEGATIVE | ONE, [no, no, up, up, ONE, NEGATIVE, NEGATIVE | ONE, down]),
            (NEGATIVE, [no, no, no, no, 0, NEGATIVE, NEGATIVE, no]),
            (0, [no, no, no, no, NEGATIVE, 0, 0, no]),
            (ONE, [no, no, down, down, NEGATIVE | ONE, 0, ONE, up]),
            (up, [no, no, down, down, down, no, up, up]),
        ];
        for (y, row) in rows {
            for (x, expected) in columns.into_iter().zip(row) {
                let found = y_log_x(number(x), number(y), PLAIN);
                assert_eq!(found.bits, expected, "{x:x} {y:x}: {:x}", found.bits);
                let is_invalid = found.raised & INVALID != 0;
                assert_eq!(is_invalid, expected == no, "{x:x} {y:x}");
                let divides = class(x) == Class::Zero && class(y) == Class::Normal;
                assert_eq!(found.raised & DIVIDE_BY_ZERO != 0, divides, "{x:x} {y:x}");
            }
        }
    }

    #[test]
    fn angles_of_points_lie_in_all_quadrants() {
        for (x, y, expected) in [
            (ONE, ONE, 0x3ffe_c90f_daa2_2168_c235),
            (0x4000_c000_0000_0000_0000, ONE, 0x3ffd_a4bc_7d19_34f7_0924),
            (sign(true) | ONE, 0x4000_8000_0000_0000_0000, 0x4000_8234_5456_726f_b083),
            (0xc001_a000_0000_0000_0000, sign(true) | ONE, 0xc000_bc6d_b9a5_a5d5_bc82),
            (ONE, 0x3fa5_8000_0000_0000_0000, 0x3fa5_8000_0000_0000_0000),
            (0x4001_8000_0000_0000_0000, 0x4000_c000_0000_0000_0000, 0x3ffe_a4bc_7d19_34f7_0924),
            (INFINITY, INFINITY, 0x3ffe_c90f_daa2_2168_c235),
            (sign(true), ONE, 0x3fff_c90f_daa2_2168_c235),
            (sign(true), sign(true), 0xc000_c90f_daa2_2168_c235),
            (0, 0, 0),
        ] {
            let found = angle(number(x), number(y), PLAIN);
            assert_eq!(found.bits, expected, "{x:x} {y:x}: {:x}", found.bits);
        }
    }
}
