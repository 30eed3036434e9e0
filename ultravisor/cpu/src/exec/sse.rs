//! SSE and SSE2 in the engine: what the instructions of `sse_int.rs`, `sse_fp.rs`,
//! `sse_convert.rs` and `sse_approximate.rs` read and write.
//!
//! An instruction is a type named like it, over the kind of its source operand. Operands: `dst` is
//! the destination's register, `src` the source's, `imm` the immediate byte.
#![expect(non_camel_case_types, reason = "handlers are named as their instructions")]

use super::mxcsr::{Mxcsr, Unmasked};
use super::{sse_approximate, sse_convert, sse_fp, sse_int};
use crate::bus::Bus;
use crate::cpu::{Cpu, control};
use crate::flags::Flags;
use crate::uop::{Exec, Left, Uop};
use core::marker::PhantomData;

/// Exception vectors that only SSE raises here (SDM volume 3, table 6-1).
mod vector {
    pub const INVALID_OPCODE: u8 = 6;
    pub const DEVICE_NOT_AVAILABLE: u8 = 7;
    pub const SIMD: u8 = 19;
}

/// Where an instruction's source comes from. Shorter ones are zero-extended.
pub(crate) trait Source {
    /// Reads it.
    fn read(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<u128, Left>;
}

/// A vector register.
pub(crate) struct Xmm;
/// A general-purpose register; 32-bit forms look at its lower half only.
pub(crate) struct Gpr;
/// The immediate.
pub(crate) struct Imm;
/// 16 bytes of memory, aligned.
pub(crate) struct M128;
/// 16 bytes of memory at any address.
pub(crate) struct Unaligned;
/// 8 bytes of memory.
pub(crate) struct M64;
/// 4 bytes of memory.
pub(crate) struct M32;
/// 2 bytes of memory.
pub(crate) struct M16;
/// A byte of memory.
pub(crate) struct M8;

impl Source for Xmm {
    #[inline(always)]
    fn read(cpu: &mut Cpu, _: &mut dyn Bus, uop: &Uop) -> Result<u128, Left> {
        Ok(*xmm(cpu, uop.src))
    }
}

impl Source for Gpr {
    #[inline(always)]
    fn read(cpu: &mut Cpu, _: &mut dyn Bus, uop: &Uop) -> Result<u128, Left> {
        Ok(cpu.regs.gpr.slot(uop.src).into())
    }
}

impl Source for Imm {
    #[inline(always)]
    fn read(_: &mut Cpu, _: &mut dyn Bus, uop: &Uop) -> Result<u128, Left> {
        Ok(uop.imm.into())
    }
}

impl Source for M128 {
    #[inline(always)]
    fn read(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<u128, Left> {
        let va = cpu.address(uop);
        cpu.aligned_16(va)?;
        cpu.load_128(bus, va)
    }
}

impl Source for Unaligned {
    #[inline(always)]
    fn read(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<u128, Left> {
        cpu.load_128(bus, cpu.address(uop))
    }
}

impl Source for M64 {
    #[inline(always)]
    fn read(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<u128, Left> {
        cpu.load::<u64>(bus, cpu.address(uop)).map(u128::from)
    }
}

impl Source for M32 {
    #[inline(always)]
    fn read(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<u128, Left> {
        cpu.load::<u32>(bus, cpu.address(uop)).map(u128::from)
    }
}

impl Source for M16 {
    #[inline(always)]
    fn read(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<u128, Left> {
        cpu.load::<u16>(bus, cpu.address(uop)).map(u128::from)
    }
}

impl Source for M8 {
    #[inline(always)]
    fn read(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<u128, Left> {
        cpu.load::<u8>(bus, cpu.address(uop)).map(u128::from)
    }
}

/// Vector register `number`.
#[inline(always)]
pub(super) fn xmm(cpu: &mut Cpu, number: u8) -> &mut u128 {
    &mut cpu.regs.xmm[usize::from(number & 15)]
}

/// #UD or #NM where the control registers say that there is no SSE now (SDM volume 3, 2.5).
#[inline(always)]
pub(super) fn usable(cpu: &mut Cpu) -> Result<(), Left> {
    if cpu.regs.cr4 & control::OSFXSR == 0 {
        return Err(cpu.raise(vector::INVALID_OPCODE, None));
    }
    reachable(cpu)
}

/// The part of [`usable`] that is CR0's.
#[inline(always)]
pub(super) fn reachable(cpu: &mut Cpu) -> Result<(), Left> {
    if cpu.regs.cr0 & control::EM != 0 {
        Err(cpu.raise(vector::INVALID_OPCODE, None))
    } else if cpu.regs.cr0 & control::TS != 0 {
        Err(cpu.raise(vector::DEVICE_NOT_AVAILABLE, None))
    } else {
        Ok(())
    }
}

/// Runs a floating-point operation on the guest's MXCSR: its flags stay set even if it ends in
/// #XM (#UD if the guest does not expect #XM: SDM volume 3, 2.5, OSXMMEXCPT).
#[inline(always)]
pub(super) fn with_mxcsr<T>(
    cpu: &mut Cpu,
    operation: impl FnOnce(&mut Mxcsr) -> Result<T, Unmasked>,
) -> Result<T, Left> {
    let mut mxcsr = Mxcsr::existing(cpu.regs.mxcsr);
    let result = operation(&mut mxcsr);
    cpu.regs.mxcsr = mxcsr.bits();
    result.map_err(|Unmasked| {
        let expected = cpu.regs.cr4 & control::OSXMMEXCPT != 0;
        cpu.raise(if expected { vector::SIMD } else { vector::INVALID_OPCODE }, None)
    })
}

/// Defines handlers that do not store: a type for each name, and what it does to the CPU, given
/// `$b` read from its source.
macro_rules! handlers {
    (#[$doc:meta] |$cpu:ident, $uop:ident, $b:ident| [$($name:ident = $f:path),* $(,)?]
        $f_name:ident => $body:expr) =>
    {
        $(
            #[$doc]
            pub(crate) struct $name<S>(PhantomData<S>);

            impl<S: Source> Exec for $name<S> {
                fn exec(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
                    usable(cpu)?;
                    let $b = S::read(cpu, bus, uop)?;
                    let ($cpu, $uop, $f_name) = (cpu, uop, $f);
                    $body
                }
            }
        )*
    };
}
pub(super) use handlers;

/// [`handlers!`] for functions that have the instruction's name in `$module`.
macro_rules! named {
    ($module:ident: $($name:ident)*; $doc:literal,
        |$cpu:ident, $uop:ident, $b:ident, $f:ident| $body:expr) =>
    {
        handlers! {
            #[doc = $doc]
            |$cpu, $uop, $b| [$($name = $module::$name),*] $f => $body
        }
    };
}
pub(super) use named;

named! {
    sse_int: paddb paddw paddd paddq paddsb paddsw paddusb paddusw
        psubb psubw psubd psubq psubsb psubsw psubusb psubusw
        pmullw pmulhw pmulhuw pmuludq pmaddwd pavgb pavgw psadbw pminub pmaxub pminsw pmaxsw
        pcmpeqb pcmpeqw pcmpeqd pcmpgtb pcmpgtw pcmpgtd pand pandn por pxor
        psllw pslld psllq psrlw psrld psrlq psraw psrad pslldq psrldq
        punpcklbw punpcklwd punpckldq punpcklqdq punpckhbw punpckhwd punpckhdq punpckhqdq
        packsswb packuswb packssdw;
    "An integer instruction of two sources.",
    |cpu, uop, b, compute| {
        let a = xmm(cpu, uop.dst);
        *a = compute(*a, b);
        Ok(())
    }
}

named! {
    sse_approximate: rcpps rcpss rsqrtps rsqrtss;
    "An approximation.",
    |cpu, uop, b, compute| {
        let a = xmm(cpu, uop.dst);
        *a = compute(*a, b);
        Ok(())
    }
}

named! {
    sse_int: pshufd pshuflw pshufhw;
    "A shuffle of one source.",
    |cpu, uop, b, compute| {
        *xmm(cpu, uop.dst) = compute(b, uop.imm as u8);
        Ok(())
    }
}

named! {
    sse_int: shufps shufpd;
    "A shuffle of two sources.",
    |cpu, uop, b, compute| {
        let a = xmm(cpu, uop.dst);
        *a = compute(*a, b, uop.imm as u8);
        Ok(())
    }
}

named! {
    sse_int: pmovmskb movmskps movmskpd;
    "Sign bits to a general-purpose register.",
    |cpu, uop, b, compute| {
        *cpu.regs.gpr.slot_mut(uop.dst) = compute(b).into();
        Ok(())
    }
}

handlers! {
    /// A word to a general-purpose register.
    |cpu, uop, b| [pextrw = sse_int::pextrw]
    compute => {
        *cpu.regs.gpr.slot_mut(uop.dst) = compute(b, uop.imm as u8).into();
        Ok(())
    }
}

handlers! {
    /// A word from a general-purpose register or memory.
    |cpu, uop, b| [pinsrw = sse_int::pinsrw]
    compute => {
        let a = xmm(cpu, uop.dst);
        *a = compute(*a, b as u16, uop.imm as u8);
        Ok(())
    }
}

named! {
    sse_fp: addps addss addpd addsd subps subss subpd subsd mulps mulss mulpd mulsd
        divps divss divpd divsd sqrtps sqrtss sqrtpd sqrtsd
        minps minss minpd minsd maxps maxss maxpd maxsd;
    "A floating-point instruction.",
    |cpu, uop, b, compute| {
        let a = *xmm(cpu, uop.dst);
        *xmm(cpu, uop.dst) = with_mxcsr(cpu, |mxcsr| compute(a, b, mxcsr))?;
        Ok(())
    }
}

named! {
    sse_convert: cvtss2sd cvtsd2ss cvtps2pd cvtpd2ps cvtdq2ps cvtdq2pd cvtps2dq cvttps2dq
        cvtpd2dq cvttpd2dq;
    "A conversion between vector registers.",
    |cpu, uop, b, compute| {
        let a = *xmm(cpu, uop.dst);
        *xmm(cpu, uop.dst) = with_mxcsr(cpu, |mxcsr| compute(a, b, mxcsr))?;
        Ok(())
    }
}

named! {
    sse_fp: cmpps cmpss cmppd cmpsd;
    "A comparison by a predicate.",
    |cpu, uop, b, compute| {
        let a = *xmm(cpu, uop.dst);
        let predicate = uop.imm as u8;
        *xmm(cpu, uop.dst) = with_mxcsr(cpu, |mxcsr| compute(a, b, predicate, mxcsr))?;
        Ok(())
    }
}

named! {
    sse_fp: comiss comisd ucomiss ucomisd;
    "A comparison into RFLAGS.",
    |cpu, uop, b, compute| {
        let a = *xmm(cpu, uop.dst);
        let flags = with_mxcsr(cpu, |mxcsr| compute(a, b, mxcsr))?;
        cpu.flags = Flags::known(flags);
        Ok(())
    }
}

handlers! {
    /// A 32-bit integer to a number.
    |cpu, uop, b| [
        cvtsi2ss_32 = sse_convert::cvtsi2ss,
        cvtsi2sd_32 = sse_convert::cvtsi2sd,
    ]
    compute => {
        let a = *xmm(cpu, uop.dst);
        let integer = i64::from(b as i32);
        *xmm(cpu, uop.dst) = with_mxcsr(cpu, |mxcsr| compute(a, integer, mxcsr))?;
        Ok(())
    }
}

handlers! {
    /// A 64-bit integer to a number.
    |cpu, uop, b| [
        cvtsi2ss_64 = sse_convert::cvtsi2ss,
        cvtsi2sd_64 = sse_convert::cvtsi2sd,
    ]
    compute => {
        let a = *xmm(cpu, uop.dst);
        *xmm(cpu, uop.dst) = with_mxcsr(cpu, |mxcsr| compute(a, b as i64, mxcsr))?;
        Ok(())
    }
}

/// Conversions to an integer of `$bits` bits.
macro_rules! to_integer {
    ($bits:literal: $($name:ident = $f:ident)*) => {
        handlers! {
            /// A number to an integer register, zero-extended.
            |cpu, uop, b| [$($name = sse_convert::$f),*]
            compute => {
                let integer = with_mxcsr(cpu, |mxcsr| compute(b, $bits, mxcsr))?;
                *cpu.regs.gpr.slot_mut(uop.dst) = integer;
                Ok(())
            }
        }
    };
}

to_integer! { 32:
    cvtss2si_32 = cvtss2si cvttss2si_32 = cvttss2si
    cvtsd2si_32 = cvtsd2si cvttsd2si_32 = cvttsd2si
}
to_integer! { 64:
    cvtss2si_64 = cvtss2si cvttss2si_64 = cvttss2si
    cvtsd2si_64 = cvtsd2si cvttsd2si_64 = cvttsd2si
}
