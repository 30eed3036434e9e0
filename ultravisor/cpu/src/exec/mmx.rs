//! MMX in the engine: SSE's integer functions on the low 64 bits of x87's registers (SDM volume 1,
//! chapter 9).
#![expect(non_camel_case_types, reason = "handlers are named as their instructions")]

use super::sse::{Source, reachable, usable, with_mxcsr, xmm};
use super::x87::no_error;
use super::{sse_convert, sse_int, sse4};
use crate::bus::Bus;
use crate::cpu::Cpu;
use crate::uop::{Exec, Left, Uop};
use core::marker::PhantomData;

/// The exponent and sign that a write leaves above the 64 bits.
const ABOVE: u128 = 0xffff << 64;

/// An MMX register as a source.
pub(crate) struct Mm;

impl Source for Mm {
    fn read(cpu: &mut Cpu, _: &mut dyn Bus, uop: &Uop) -> Result<u128, Left> {
        Ok(u128::from(mm(cpu, uop.src)))
    }
}

/// The same for an instruction that otherwise does not touch MMX's state.
pub(crate) struct Entering;

impl Source for Entering {
    fn read(cpu: &mut Cpu, _: &mut dyn Bus, uop: &Uop) -> Result<u128, Left> {
        no_error(cpu)?;
        enter(cpu);
        Ok(u128::from(mm(cpu, uop.src)))
    }
}

fn mm(cpu: &Cpu, number: u8) -> u64 {
    cpu.regs.x87.registers[usize::from(number & 7)] as u64
}

fn set_mm(cpu: &mut Cpu, number: u8, value: u64) {
    cpu.regs.x87.registers[usize::from(number & 7)] = ABOVE | u128::from(value);
}

/// #UD, #NM or #MF where they have precedence.
fn gate(cpu: &mut Cpu) -> Result<(), Left> {
    reachable(cpu)?;
    no_error(cpu)
}

/// Every MMX instruction but EMMS makes all registers full, and R0 the top.
fn enter(cpu: &mut Cpu) {
    cpu.regs.x87.set_top(0);
    cpu.regs.x87.full = 0xff;
}

/// `emms`.
pub(crate) fn leave(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    gate(cpu)?;
    cpu.regs.x87.set_top(0);
    cpu.regs.x87.full = 0;
    Ok(())
}

/// Defines instructions whose result goes to an MMX register: from `$a`, what it held, `$b`, the
/// source, and the immediate.
macro_rules! to_mm {
    ($($name:ident = |$a:ident, $b:ident, $imm:ident| $body:expr;)*) => { $(
        /// An MMX instruction.
        pub(crate) struct $name<S>(PhantomData<S>);

        impl<S: Source> Exec for $name<S> {
            fn exec(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
                gate(cpu)?;
                let $b = S::read(cpu, bus, uop)?;
                enter(cpu);
                let ($a, $imm) = (u128::from(mm(cpu, uop.dst)), uop.imm as u8);
                let result: u128 = $body;
                set_mm(cpu, uop.dst, result as u64);
                Ok(())
            }
        }
    )* };
}

/// Defines instructions that are an SSE function on the low half.
macro_rules! alike {
    ($module:ident: $($name:ident)*) => {
        to_mm! { $($name = |a, b, _imm| $module::$name(a, b);)* }
    };
}

alike! { sse_int:
    paddb paddw paddd paddq paddsb paddsw paddusb paddusw
    psubb psubw psubd psubq psubsb psubsw psubusb psubusw
    pmullw pmulhw pmulhuw pmuludq pmaddwd pavgb pavgw psadbw pminub pmaxub pminsw pmaxsw
    pcmpeqb pcmpeqw pcmpeqd pcmpgtb pcmpgtw pcmpgtd pand pandn por pxor
    psllw pslld psllq psrlw psrld psrlq psraw psrad
    punpcklbw punpcklwd punpckldq
}

alike! { sse4:
    pmaddubsw psignb psignw psignd pmulhrsw pabsb pabsw pabsd
}

/// Defines instructions that are an SSE function on the two sources side by side.
macro_rules! side_by_side {
    ($module:ident: $($name:ident)*) => {
        to_mm! { $($name = |a, b, _imm| $module::$name(a | b << 64, 0);)* }
    };
}

side_by_side! { sse_int: packsswb packuswb packssdw }
side_by_side! { sse4: phaddw phaddd phaddsw phsubw phsubd phsubsw }

to_mm! {
    load = |_a, b, _imm| b;
    load_32 = |_a, b, _imm| b & 0xffff_ffff;
    punpckhbw = |a, b, _imm| sse_int::punpcklbw(a >> 32, b >> 32);
    punpckhwd = |a, b, _imm| sse_int::punpcklwd(a >> 32, b >> 32);
    punpckhdq = |a, b, _imm| sse_int::punpckldq(a >> 32, b >> 32);
    // Three bits of an index count.
    pshufb = |a, b, _imm| sse4::pshufb(a, b & !0x7878_7878_7878_7878);
    pshufw = |_a, b, imm| sse_int::pshuflw(b, imm);
    palignr = |a, b, imm| {
        if imm < 16 { (a << 64 | b) >> (8 * u32::from(imm)) } else { 0 }
    };
    pinsrw = |a, b, imm| sse_int::pinsrw(a, b as u16, imm & 3);
}

/// Defines instructions from an MMX register to a general-purpose one.
macro_rules! to_gpr {
    ($($name:ident = |$b:ident, $imm:ident| $body:expr;)*) => { $(
        /// An MMX register to a general-purpose one.
        pub(crate) struct $name;

        impl Exec for $name {
            fn exec(cpu: &mut Cpu, _: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
                gate(cpu)?;
                enter(cpu);
                let ($b, $imm) = (mm(cpu, uop.src), uop.imm as u8);
                *cpu.regs.gpr.slot_mut(uop.dst) = $body;
                Ok(())
            }
        }
    )* };
}

to_gpr! {
    to_gpr_32 = |b, _imm| b & 0xffff_ffff;
    to_gpr_64 = |b, _imm| b;
    pmovmskb = |b, _imm| sse_int::pmovmskb(b.into()).into();
    pextrw = |b, imm| sse_int::pextrw(b.into(), imm & 3).into();
}

/// `movd m32, mm` and `movq m64, mm`.
pub(crate) struct store<const WIDE: bool>;

impl<const WIDE: bool> Exec for store<WIDE> {
    fn exec(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
        gate(cpu)?;
        let (va, value) = (cpu.address(uop), mm(cpu, uop.src));
        if WIDE {
            cpu.store::<u64>(bus, va, value)?;
        } else {
            cpu.store::<u32>(bus, va, value)?;
        }
        enter(cpu);
        Ok(())
    }
}

/// `maskmovq`: the bytes of `dst` that `src` selects.
pub(crate) struct maskmovq;

impl Exec for maskmovq {
    fn exec(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
        gate(cpu)?;
        let (value, mask) = (u128::from(mm(cpu, uop.dst)), u128::from(mm(cpu, uop.src)));
        let va = cpu.address(uop);
        super::sse_move::store_selected(cpu, bus, va, value, mask)?;
        enter(cpu);
        Ok(())
    }
}

/// `movq2dq`.
pub(crate) struct movq2dq;

impl Exec for movq2dq {
    fn exec(cpu: &mut Cpu, _: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
        usable(cpu)?;
        no_error(cpu)?;
        enter(cpu);
        *xmm(cpu, uop.dst) = mm(cpu, uop.src).into();
        Ok(())
    }
}

/// `movdq2q`.
pub(crate) struct movdq2q;

impl Exec for movdq2q {
    fn exec(cpu: &mut Cpu, _: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
        usable(cpu)?;
        no_error(cpu)?;
        enter(cpu);
        let value = *xmm(cpu, uop.src) as u64;
        set_mm(cpu, uop.dst, value);
        Ok(())
    }
}

/// Defines conversions of two doublewords to numbers in a vector register.
macro_rules! from_integers {
    ($($name:ident = |$a:ident, $b:ident, $mxcsr:ident| $body:expr;)*) => { $(
        /// Two doublewords to numbers.
        pub(crate) struct $name<S>(PhantomData<S>);

        impl<S: Source> Exec for $name<S> {
            fn exec(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
                usable(cpu)?;
                let $b = S::read(cpu, bus, uop)?;
                let $a = *xmm(cpu, uop.dst);
                let result = with_mxcsr(cpu, |$mxcsr| $body)?;
                *xmm(cpu, uop.dst) = result;
                Ok(())
            }
        }
    )* };
}

const HIGH: u128 = !(u64::MAX as u128);

from_integers! {
    cvtpi2ps = |a, b, mxcsr| {
        let low = sse_convert::cvtdq2ps(a, b, mxcsr)?;
        Ok(a & HIGH | low & !HIGH)
    };
    cvtpi2pd = |a, b, mxcsr| sse_convert::cvtdq2pd(a, b, mxcsr);
}

/// Defines conversions of two numbers to doublewords in an MMX register. The source's upper half
/// does not count where there are but two numbers in the lower one.
macro_rules! to_integers {
    ($($name:ident = $convert:ident, $mask:expr;)*) => { $(
        /// Two numbers to doublewords.
        pub(crate) struct $name<S>(PhantomData<S>);

        impl<S: Source> Exec for $name<S> {
            fn exec(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
                usable(cpu)?;
                no_error(cpu)?;
                let b = S::read(cpu, bus, uop)? & $mask;
                // Also where #XM follows.
                enter(cpu);
                let result = with_mxcsr(cpu, |mxcsr| sse_convert::$convert(0, b, mxcsr))?;
                set_mm(cpu, uop.dst, result as u64);
                Ok(())
            }
        }
    )* };
}

to_integers! {
    cvtps2pi = cvtps2dq, !HIGH;
    cvttps2pi = cvttps2dq, !HIGH;
    cvtpd2pi = cvtpd2dq, u128::MAX;
    cvttpd2pi = cvttpd2dq, u128::MAX;
}
