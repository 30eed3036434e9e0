//! SSE2's packed-integer instructions, and those that move lanes, against the processor.

use crate::exec::sse_int;
use crate::operands::{DOUBLE, Seeded};
use crate::silicon::{Registers, Snippet};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

const CASES: usize = 5_000;

/// A register with lanes of all sizes at and near their extremes.
fn operand(seeded: &mut Seeded) -> u128 {
    let (mut out, random) = (0_u128, seeded.register());
    for i in 0..16 {
        let byte = match seeded.below(6) {
            0 => 0,
            1 => 0xff,
            2 => 0x7f,
            3 => 0x80,
            _ => (random >> (8 * i)) as u8,
        };
        out |= u128::from(byte) << (8 * i);
    }
    out
}

/// A shift count: mostly about the lanes' widths; at times with one high bit that must count too,
/// and always with an upper quadword that must not.
fn count(seeded: &mut Seeded) -> u128 {
    let small = u128::from(seeded.below(70));
    let high = if seeded.below(4) == 0 { 1 << (7 + seeded.below(57)) } else { 0 };
    seeded.register() << 64 | high | small
}

/// Runs `op xmm0, xmm1` on both sides.
fn agree(
    name: &str,
    body: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
    ours: impl Fn(u128, u128) -> u128,
    second: impl Fn(&mut Seeded) -> u128,
) {
    let snippet = Snippet::new(body);
    let mut seeded = Seeded(name.bytes().fold(0, |seed, b| seed << 5 ^ u64::from(b)));
    for _ in 0..CASES {
        let (a, b) = (operand(&mut seeded), second(&mut seeded));
        let mut registers = Registers { mxcsr: 0x1f80, ..Registers::default() };
        (registers.xmm[0], registers.xmm[1]) = (a, b);
        snippet.run(&mut registers).expect("integer instructions do not fault");
        let (found, expected) = (ours(a, b), registers.xmm[0]);
        assert!(
            found == expected,
            "{name} {a:#034x}, {b:#034x}: {found:#034x}, processor {expected:#034x}"
        );
    }
}

macro_rules! agree {
    ($second:expr; $($name:ident)*) => {
        $(agree(stringify!($name), |asm| asm.$name(xmm0, xmm1), sse_int::$name, $second);)*
    };
}

#[test]
fn arithmetic_and_comparison_are_the_processors() {
    agree!(operand; paddb paddw paddd paddq paddsb paddsw paddusb paddusw
        psubb psubw psubd psubq psubsb psubsw psubusb psubusw
        pmullw pmulhw pmulhuw pmuludq pmaddwd pavgb pavgw psadbw pminub pmaxub pminsw pmaxsw
        pcmpeqb pcmpeqw pcmpeqd pcmpgtb pcmpgtw pcmpgtd);
    // Equal lanes are rare among random ones.
    agree!(|seeded| operand(seeded) & 0x00ff_0000_ffff_ffff; pcmpeqb pcmpeqw pcmpeqd);
}

#[test]
fn logic_packing_and_unpacking_are_the_processors() {
    agree!(operand; pand pandn por pxor packsswb packssdw packuswb
        punpcklbw punpcklwd punpckldq punpcklqdq punpckhbw punpckhwd punpckhdq punpckhqdq);
}

#[test]
fn shifts_by_a_register_use_its_whole_low_quadword() {
    agree!(count; psllw pslld psllq psrlw psrld psrlq psraw psrad);
}

#[test]
fn shifts_by_an_immediate_are_the_processors_for_every_immediate() {
    for by in [0, 1, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 255_u32] {
        macro_rules! by_immediate {
            ($($name:ident)*) => { $(
                let ours = |a, _| sse_int::$name(a, by.into());
                agree(stringify!($name), |asm| asm.$name(xmm0, by), ours, operand);
            )* };
        }
        by_immediate!(psllw pslld psllq psrlw psrld psrlq psraw psrad pslldq psrldq);
    }
}

#[test]
fn shuffles_are_the_processors_for_every_order() {
    let mut seeded = Seeded(3);
    for order in 0..=255_u8 {
        let (a, b) = (seeded.register(), seeded.register());
        let imm = i32::from(order);
        macro_rules! shuffles {
            ($($name:ident: $ours:expr;)*) => { $(
                let snippet = Snippet::new(|asm| asm.$name(xmm0, xmm1, imm));
                let mut registers = Registers { mxcsr: 0x1f80, ..Registers::default() };
                (registers.xmm[0], registers.xmm[1]) = (a, b);
                snippet.run(&mut registers).expect("shuffles do not fault");
                assert_eq!($ours, registers.xmm[0], "{} by {order:#x}", stringify!($name));
            )* };
        }
        shuffles! {
            pshufd: sse_int::pshufd(b, order);
            pshuflw: sse_int::pshuflw(b, order);
            pshufhw: sse_int::pshufhw(b, order);
            shufps: sse_int::shufps(a, b, order);
            shufpd: sse_int::shufpd(a, b, order);
        }
    }
}

#[test]
fn words_and_signs_go_to_and_from_general_registers_as_the_processor_moves_them() {
    let mut seeded = Seeded(4);
    for index in (0..8).chain([0xff]) {
        let snippet = Snippet::new(|asm| {
            asm.pmovmskb(ecx, xmm1)?;
            asm.movmskps(edx, xmm1)?;
            asm.movmskpd(ebx, xmm1)?;
            asm.pinsrw(xmm0, eax, index)?;
            asm.pextrw(eax, xmm1, index)
        });
        let (a, b, word) = (seeded.register(), operand(&mut seeded), DOUBLE.random(&mut seeded));
        let mut registers = Registers { mxcsr: 0x1f80, ..Registers::default() };
        (registers.xmm[0], registers.xmm[1], registers.gpr[0]) = (a, b, word);
        snippet.run(&mut registers).expect("moves do not fault");
        let lane = index as u8;
        assert_eq!(sse_int::pinsrw(a, word as u16, lane), registers.xmm[0]);
        assert_eq!(u64::from(sse_int::pextrw(b, lane)), registers.gpr[0]);
        assert_eq!(u64::from(sse_int::pmovmskb(b)), registers.gpr[1]);
        assert_eq!(u64::from(sse_int::movmskps(b)), registers.gpr[2]);
        assert_eq!(u64::from(sse_int::movmskpd(b)), registers.gpr[3]);
    }
}
