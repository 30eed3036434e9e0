//! SSE3, SSSE3, SSE4.1, SSE4.2, AES and PCLMULQDQ in the engine: what their instructions read and
//! write. (Shaped like `sse.rs`.)
#![expect(non_camel_case_types, reason = "handlers are named as their instructions")]

use super::sse::{Source, handlers, named, usable, with_mxcsr, xmm};
use super::{cipher, sse_int, sse_string, sse4, sse4_fp};
use crate::bus::Bus;
use crate::cpu::Cpu;
use crate::flags::{Flags, bit, pack};
use crate::regs::Reg;
use crate::uop::{Exec, Left, Uop};
use core::marker::PhantomData;

named! {
    sse4: pshufb phaddw phaddd phaddsw phsubw phsubd phsubsw pmaddubsw psignb psignw psignd
        pmulhrsw pabsb pabsw pabsd pmuldq pmulld pcmpeqq pcmpgtq packusdw
        pminsb pminsd pminuw pminud pmaxsb pmaxsd pmaxuw pmaxud;
    "An integer instruction of two sources.",
    |cpu, uop, b, compute| {
        let a = xmm(cpu, uop.dst);
        *a = compute(*a, b);
        Ok(())
    }
}

named! {
    cipher: aesenc aesenclast aesdec aesdeclast;
    "A round of AES.",
    |cpu, uop, b, compute| {
        let a = xmm(cpu, uop.dst);
        *a = compute(*a, b);
        Ok(())
    }
}

named! {
    sse4: movsldup movshdup movddup phminposuw
        pmovsxbw pmovsxbd pmovsxbq pmovsxwd pmovsxwq pmovsxdq
        pmovzxbw pmovzxbd pmovzxbq pmovzxwd pmovzxwq pmovzxdq;
    "An instruction of one source.",
    |cpu, uop, b, compute| {
        *xmm(cpu, uop.dst) = compute(b);
        Ok(())
    }
}

handlers! {
    /// An instruction of one source.
    |cpu, uop, b| [aesimc = cipher::aesimc]
    compute => {
        *xmm(cpu, uop.dst) = compute(b);
        Ok(())
    }
}

handlers! {
    /// An instruction of one source and an immediate.
    |cpu, uop, b| [aeskeygenassist = cipher::aeskeygenassist]
    compute => {
        *xmm(cpu, uop.dst) = compute(b, uop.imm as u8);
        Ok(())
    }
}

handlers! {
    /// An instruction of two sources and an immediate.
    |cpu, uop, b| [
        palignr = sse4::palignr,
        pblendw = sse4::pblendw,
        blendps = sse4::blendps,
        blendpd = sse4::blendpd,
        mpsadbw = sse4::mpsadbw,
        pclmulqdq = cipher::pclmulqdq,
    ]
    compute => {
        let a = xmm(cpu, uop.dst);
        *a = compute(*a, b, uop.imm as u8);
        Ok(())
    }
}

named! {
    sse4: pblendvb blendvps blendvpd;
    "A choice by the signs in xmm0.",
    |cpu, uop, b, compute| {
        let mask = *xmm(cpu, 0);
        let a = xmm(cpu, uop.dst);
        *a = compute(*a, b, mask);
        Ok(())
    }
}

named! {
    sse4_fp: haddps haddpd hsubps hsubpd addsubps addsubpd;
    "A floating-point instruction.",
    |cpu, uop, b, compute| {
        let a = *xmm(cpu, uop.dst);
        *xmm(cpu, uop.dst) = with_mxcsr(cpu, |mxcsr| compute(a, b, mxcsr))?;
        Ok(())
    }
}

named! {
    sse4_fp: roundps roundss roundpd roundsd dpps dppd;
    "A floating-point instruction with an immediate.",
    |cpu, uop, b, compute| {
        let a = *xmm(cpu, uop.dst);
        let control = uop.imm as u8;
        *xmm(cpu, uop.dst) = with_mxcsr(cpu, |mxcsr| compute(a, b, control, mxcsr))?;
        Ok(())
    }
}

handlers! {
    /// A test of bits into RFLAGS.
    |cpu, uop, b| [ptest = sse4::ptest]
    compute => {
        let (zero, carry) = compute(*xmm(cpu, uop.dst), b);
        cpu.flags = Flags::known(pack([(zero, bit::ZF), (carry, bit::CF)]));
        Ok(())
    }
}

named! {
    sse4: pextrb pextrd pextrq;
    "A lane to a general-purpose register.",
    |cpu, uop, b, compute| {
        *cpu.regs.gpr.slot_mut(uop.dst) = compute(b, uop.imm as u8);
        Ok(())
    }
}

named! {
    sse4: pinsrb pinsrd pinsrq;
    "A lane from a general-purpose register or memory.",
    |cpu, uop, b, compute| {
        let a = xmm(cpu, uop.dst);
        *a = compute(*a, b as u64, uop.imm as u8);
        Ok(())
    }
}

handlers! {
    /// A single from a register, where the immediate also says which.
    |cpu, uop, b| [insertps_register = sse4::insertps]
    compute => {
        let order = uop.imm as u8;
        let single = (b >> (32 * u32::from(order >> 6))) as u32;
        let a = xmm(cpu, uop.dst);
        *a = compute(*a, single, order);
        Ok(())
    }
}

handlers! {
    /// A single from memory.
    |cpu, uop, b| [insertps_memory = sse4::insertps]
    compute => {
        let a = xmm(cpu, uop.dst);
        *a = compute(*a, b as u32, uop.imm as u8);
        Ok(())
    }
}

/// A word of `b`.
fn word(b: u128, index: u8) -> u64 {
    sse_int::pextrw(b, index).into()
}

/// Defines stores of one lane, of a width that is a type.
macro_rules! lane_stores {
    ($($name:ident: $width:ty, $lane:path;)*) => { $(
        /// A lane to memory.
        pub(crate) struct $name;

        impl Exec for $name {
            fn exec(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
                usable(cpu)?;
                let value = $lane(*xmm(cpu, uop.src), uop.imm as u8);
                let va = cpu.address(uop);
                cpu.store::<$width>(bus, va, value)
            }
        }
    )* };
}

lane_stores! {
    store_pextrb: u8, sse4::pextrb;
    store_pextrw: u16, word;
    store_pextrd: u32, sse4::pextrd;
    store_pextrq: u64, sse4::pextrq;
}

/// A length in a register, of 64 bits or (`WIDE` not set) 32.
fn length<const WIDE: bool>(cpu: &Cpu, reg: Reg) -> i64 {
    let value = cpu.regs.gpr[reg];
    if WIDE { value as i64 } else { i64::from(value as i32) }
}

/// Compares strings whose lengths are in rax and rdx.
fn explicit<const WIDE: bool>(cpu: &mut Cpu, uop: &Uop, b: u128) -> sse_string::Compared {
    let (first, second) = (length::<WIDE>(cpu, Reg::Rax), length::<WIDE>(cpu, Reg::Rdx));
    let a = *xmm(cpu, uop.dst);
    sse_string::explicit(a, first, b, second, uop.imm as u8)
}

/// Compares strings that end at a zero.
fn implicit(cpu: &mut Cpu, uop: &Uop, b: u128) -> sse_string::Compared {
    sse_string::implicit(*xmm(cpu, uop.dst), b, uop.imm as u8)
}

handlers! {
    /// The index of a match to ecx.
    |cpu, uop, b| [
        pcmpestri = explicit::<false>,
        pcmpestri64 = explicit::<true>,
        pcmpistri = implicit,
    ]
    compare => {
        let compared = compare(cpu, uop, b);
        cpu.regs.gpr[Reg::Rcx] = compared.index();
        cpu.flags = Flags::known(compared.flags);
        Ok(())
    }
}

handlers! {
    /// The matches as a mask to xmm0.
    |cpu, uop, b| [
        pcmpestrm = explicit::<false>,
        pcmpestrm64 = explicit::<true>,
        pcmpistrm = implicit,
    ]
    compare => {
        let compared = compare(cpu, uop, b);
        *xmm(cpu, 0) = compared.mask();
        cpu.flags = Flags::known(compared.flags);
        Ok(())
    }
}
