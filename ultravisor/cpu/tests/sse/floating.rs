//! Floating-point arithmetic, comparison and conversion against the processor: bits and flags.

use crate::exec::mxcsr::{Mxcsr, Unmasked};
use crate::exec::{sse_approximate as approximate, sse_convert as convert, sse_fp as fp};
use crate::operands::{DOUBLE, SINGLE, Seeded, Widths, controls};
use crate::silicon::{Registers, SIGFPE, Snippet};
use iced_x86::code_asm::*;

type Binary = Box<dyn Fn(u128, u128, &mut Mxcsr) -> Result<u128, Unmasked>>;

struct Case {
    name: &'static str,
    widths: Widths,
    snippet: Snippet,
    ours: Binary,
}

/// Pairs instructions `op xmm0, xmm1` with our functions of the same name.
macro_rules! cases {
    ($module:ident, $widths:expr, $($name:ident)*) => {
        [$(Case {
            name: stringify!($name),
            widths: $widths,
            snippet: Snippet::new(|asm| asm.$name(xmm0, xmm1)),
            ours: Box::new($module::$name),
        }),*]
    };
}

fn all() -> Vec<Case> {
    let mut all = Vec::new();
    all.extend(cases!(fp, SINGLE, addps addss subps subss mulps mulss divps divss sqrtps sqrtss
        minps minss maxps maxss));
    all.extend(cases!(fp, DOUBLE, addpd addsd subpd subsd mulpd mulsd divpd divsd sqrtpd sqrtsd
        minpd minsd maxpd maxsd));
    all.extend(cases!(convert, SINGLE, cvtss2sd cvtps2pd cvtps2dq cvttps2dq cvtdq2ps cvtdq2pd));
    all.extend(cases!(convert, DOUBLE, cvtsd2ss cvtpd2ps cvtpd2dq cvttpd2dq));
    all.extend(comparisons());
    all.extend(flag_comparisons());
    all.extend(from_registers());
    all.extend(to_registers());
    all
}

/// The comparisons with each immediate that differs, and one whose upper bits must not matter.
fn comparisons() -> Vec<Case> {
    let mut all = Vec::new();
    for predicate in (0..8).chain([0xfe]) {
        macro_rules! with_predicate {
            ($($name:ident: $widths:expr;)*) => { $(
                all.push(Case {
                    name: stringify!($name),
                    widths: $widths,
                    snippet: Snippet::new(|asm| asm.$name(xmm0, xmm1, predicate)),
                    ours: Box::new(move |a, b, m| fp::$name(a, b, predicate as u8, m)),
                });
            )* };
        }
        with_predicate!(cmpps: SINGLE; cmpss: SINGLE; cmppd: DOUBLE;);
        all.push(Case {
            name: "cmpsd",
            widths: DOUBLE,
            snippet: Snippet::new(|asm| asm.cmpsd_3(xmm0, xmm1, predicate)),
            ours: Box::new(move |a, b, m| fp::cmpsd(a, b, predicate as u8, m)),
        });
    }
    all
}

/// The comparisons into RFLAGS. The snippet puts the arithmetic flags into xmm0; on #XM it stays.
fn flag_comparisons() -> Vec<Case> {
    macro_rules! into_flags {
        ($($name:ident: $widths:expr;)*) => {
            vec![$(Case {
                name: stringify!($name),
                widths: $widths,
                snippet: Snippet::new(|asm| {
                    // OF, SF and AF set before, to see them cleared.
                    asm.mov(eax, 0x7fff_ffff)?;
                    asm.add(eax, 1)?;
                    asm.$name(xmm0, xmm1)?;
                    asm.pushfq()?;
                    asm.pop(rax)?;
                    asm.and(eax, 0x8d5)?;
                    asm.movq(xmm0, rax)
                }),
                ours: Box::new(|a, b, m| fp::$name(a, b, m).map(u128::from)),
            }),*]
        };
    }
    into_flags!(comiss: SINGLE; comisd: DOUBLE; ucomiss: SINGLE; ucomisd: DOUBLE;)
}

/// Conversions from a general register, which the snippet takes from xmm1.
fn from_registers() -> Vec<Case> {
    macro_rules! from_register {
        ($($name:ident, $register:ident, $integer:ty;)*) => {
            vec![$(Case {
                name: stringify!($name),
                widths: DOUBLE,
                snippet: Snippet::new(|asm| {
                    asm.movq(rax, xmm1)?;
                    asm.$name(xmm0, $register)
                }),
                ours: Box::new(|a, b, m| convert::$name(a, (b as $integer).into(), m)),
            }),*]
        };
    }
    from_register!(
        cvtsi2ss, eax, i32; cvtsi2ss, rax, i64; cvtsi2sd, eax, i32; cvtsi2sd, rax, i64;
    )
}

/// Conversions to a general register, which the snippet leaves in xmm0.
fn to_registers() -> Vec<Case> {
    macro_rules! to_register {
        ($($name:ident: $widths:expr;)*) => {
            vec![$(
                Case {
                    name: stringify!($name),
                    widths: $widths,
                    snippet: Snippet::new(|asm| {
                        asm.$name(eax, xmm1)?;
                        asm.movq(xmm0, rax)
                    }),
                    ours: Box::new(|_, b, m| convert::$name(b, 32, m).map(u128::from)),
                },
                Case {
                    name: stringify!($name),
                    widths: $widths,
                    snippet: Snippet::new(|asm| {
                        asm.$name(rax, xmm1)?;
                        asm.movq(xmm0, rax)
                    }),
                    ours: Box::new(|_, b, m| convert::$name(b, 64, m).map(u128::from)),
                },
            )*]
        };
    }
    to_register!(cvtss2si: SINGLE; cvttss2si: SINGLE; cvtsd2si: DOUBLE; cvttsd2si: DOUBLE;)
}

/// What an instruction did: its destination and MXCSR, and whether it was #XM.
type Did = (Result<u128, Unmasked>, u32);

fn natively(snippet: &Snippet, a: u128, b: u128, mxcsr: u32) -> Did {
    let mut registers = Registers { mxcsr, ..Registers::default() };
    (registers.xmm[0], registers.xmm[1]) = (a, b);
    let result = match snippet.run(&mut registers) {
        Ok(()) => Ok(registers.xmm[0]),
        Err(signal) => {
            assert_eq!((signal, registers.xmm[0]), (SIGFPE, a), "#XM stores nothing");
            Err(Unmasked)
        }
    };
    (result, registers.mxcsr)
}

fn ours(
    f: impl Fn(u128, u128, &mut Mxcsr) -> Result<u128, Unmasked>,
    a: u128,
    b: u128,
    m: u32,
) -> Did {
    let mut mxcsr = Mxcsr::from_bits(m).expect("only existing bits");
    let result = f(a, b, &mut mxcsr);
    (result, mxcsr.bits())
}

fn compare(case: &Case, a: u128, b: u128, mxcsr: u32) {
    let expected = natively(&case.snippet, a, b, mxcsr);
    let found = ours(&case.ours, a, b, mxcsr);
    assert!(
        found == expected,
        "{} {a:#034x}, {b:#034x} with MXCSR {mxcsr:#x}: {found:x?}, processor {expected:x?}",
        case.name
    );
}

#[test]
fn every_result_and_flag_is_the_processors_in_every_rounding_mode() {
    for (index, case) in all().iter().enumerate() {
        for mxcsr in controls() {
            let mut seeded = Seeded(index as u64 * 64 + u64::from(mxcsr));
            let first = case.widths.registers(&mut seeded, 1500);
            for &a in &first {
                let b = first[seeded.below(first.len() as u64) as usize];
                compare(case, a, b, mxcsr);
            }
        }
    }
}

#[test]
fn every_pair_of_special_numbers_gives_what_the_processor_gives() {
    for case in &all() {
        let special = case.widths.special();
        for mxcsr in controls().into_iter().filter(|mxcsr| mxcsr & 0x20 == 0) {
            for &a in &special {
                for &b in &special {
                    compare(case, a.into(), b.into(), mxcsr);
                }
            }
        }
    }
}

#[test]
fn an_unmasked_exception_is_raised_when_and_with_the_flags_that_the_processor_raises() {
    for (index, case) in all().iter().enumerate() {
        let mut seeded = Seeded(1000 + index as u64);
        let registers = case.widths.registers(&mut seeded, 3000);
        for &a in &registers {
            let b = registers[seeded.below(registers.len() as u64) as usize];
            let masks = (seeded.below(64) << 7) as u32;
            let control = controls()[seeded.below(32) as usize];
            compare(case, a, b, control & !0x1f80 | masks);
        }
    }
}

/// The relative distance of two singles of the same sign, in units of 2^-12.
fn distance(a: u32, b: f64) -> f64 {
    (f64::from(f32::from_bits(a)) / b - 1.0).abs() * 4096.0
}

#[test]
fn approximations_keep_the_sdms_bound_and_the_processors_special_values() {
    let snippets =
        [Snippet::new(|asm| asm.rcpps(xmm0, xmm1)), Snippet::new(|asm| asm.rsqrtps(xmm0, xmm1))];
    let functions = [approximate::rcpps, approximate::rsqrtps];
    let exact: [fn(f64) -> f64; 2] = [f64::recip, |x| x.sqrt().recip()];
    let mut seeded = Seeded(7);
    let mut ordinary = 0;
    for b in SINGLE.registers(&mut seeded, 100_000) {
        for which in 0..2 {
            let found = functions[which](0, b);
            let (expected, mxcsr) = natively(&snippets[which], 0, b, 0x1f80);
            let expected = expected.expect("approximations raise nothing");
            assert_eq!(mxcsr, 0x1f80, "approximations leave MXCSR");
            for lane in 0..4 {
                let part = |register: u128| (register >> (32 * lane)) as u32;
                let truth = exact[which](f64::from(f32::from_bits(part(b))));
                let context = format!("{which} of {:#x}: {:#x}", part(b), part(found));
                // Near the smallest normal number the SDM lets processors differ.
                let tiny = truth.abs() < f64::from(f32::MIN_POSITIVE) * 1.001;
                if f32::from_bits(part(b)).is_normal() && truth.is_finite() && !tiny {
                    assert!(distance(part(found), truth) <= 1.5, "{context}");
                    ordinary += 1;
                } else if !(tiny && truth != 0.0) {
                    assert_eq!(part(found), part(expected), "{context}");
                }
            }
        }
    }
    assert!(ordinary > 100_000, "only {ordinary} ordinary numbers were tried");
}

#[test]
fn scalar_approximations_change_the_lowest_lane_only() {
    let (a, b) = (u128::MAX, 0x4080_0000_u128);
    let upper = u128::MAX << 32;
    assert_eq!(approximate::rcpss(a, b), upper | 0x3e80_0000);
    assert_eq!(approximate::rsqrtss(a, b), upper | 0x3f00_0000);
}

#[test]
fn a_reciprocal_too_small_for_a_normal_number_is_zero() {
    // 1.0000000000001000... * 2^126 and above (SDM, RCPPS).
    for (source, result) in [(0x7e80_0000, 0x80_0000), (0x7e80_0c01, 0), (0xfe80_0c01, 0x8000_0000)]
    {
        assert_eq!(approximate::rcpps(0, source) as u32, result, "{source:#x}");
    }
}
