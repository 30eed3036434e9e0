//! Moves, extensions, addresses, conditional moves and sets.

use super::{Dst, Imm, Place, Source};
use crate::bus::Bus;
use crate::cpu::Cpu;
use crate::regs::{Reg, slot};
use crate::uop::{Beyond, Left, Quick, Uop};
use crate::width::Width;
use core::marker::PhantomData;

/// `mov place, source`.
pub(crate) struct Mov<T, P, S>(PhantomData<(T, P, S)>);

impl<T: Width, P: Place, S: Source> Quick for Mov<T, P, S> {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<(), Left> {
        let value = S::get::<T>(cpu, bus, uop)?;
        P::write::<T>(cpu, bus, uop, value)
    }
}

/// `mov r64, imm64`.
pub(crate) struct MovWide;

impl Quick for MovWide {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, _: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<(), Left> {
        *cpu.regs.gpr.slot_mut(uop.dst) = uop.imm;
        Ok(())
    }
}

/// `movzx`, `movsx`, `movsxd`: `To` from a narrower `From`.
pub(crate) struct Extend<To, From, S, const SIGNED: bool>(PhantomData<(To, From, S)>);

impl<To: Width, From: Width, S: Source, const SIGNED: bool> Quick for Extend<To, From, S, SIGNED> {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<(), Left> {
        let value = S::get::<From>(cpu, bus, uop)?;
        let value = if SIGNED { From::signed(value) as u64 } else { value };
        To::set(&mut cpu.regs.gpr, uop.dst, value);
        Ok(())
    }
}

/// `lea`.
pub(crate) struct Lea<T>(PhantomData<T>);

impl<T: Width> Quick for Lea<T> {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, _: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<(), Left> {
        let value = cpu.address(uop);
        T::set(&mut cpu.regs.gpr, uop.dst, value);
        Ok(())
    }
}

/// With a 32-bit address size: the sum cut to 32 bits, before the segment's base is added.
pub(crate) struct Prepare;

impl Quick for Prepare {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, _: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<(), Left> {
        let base = cpu.regs.gpr.slot(uop.segment);
        let offset = cpu.address(uop).wrapping_sub(base) & 0xffff_ffff;
        *cpu.regs.gpr.slot_mut(slot::TEMP) = base.wrapping_add(offset);
        Ok(())
    }
}

/// `cmovcc`: loads in any case; a 32-bit one clears the upper half in any case.
pub(crate) struct Cmov<T, S, const CONDITION: u8>(PhantomData<(T, S)>);

impl<T: Width, S: Source, const CONDITION: u8> Quick for Cmov<T, S, CONDITION> {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<(), Left> {
        let new = S::get::<T>(cpu, bus, uop)?;
        let old = T::get(&cpu.regs.gpr, uop.dst);
        let value = if cpu.flags.holds::<CONDITION>() { new } else { old };
        T::set(&mut cpu.regs.gpr, uop.dst, value);
        Ok(())
    }
}

/// `setcc`.
pub(crate) struct Set<P, const CONDITION: u8>(PhantomData<P>);

impl<P: Place, const CONDITION: u8> Quick for Set<P, CONDITION> {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<(), Left> {
        let value = u64::from(cpu.flags.holds::<CONDITION>());
        P::write::<u8>(cpu, bus, uop, value)
    }
}

/// `xchg place, src`.
pub(crate) fn exchange<T: Width, P: Place>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let old = P::read_for_update::<T>(cpu, bus, uop)?;
    let new = T::get(&cpu.regs.gpr, uop.src);
    P::write::<T>(cpu, bus, uop, new)?;
    T::set(&mut cpu.regs.gpr, uop.src, old);
    Ok(())
}

/// `bswap`; of a 16-bit register it is undefined (the silicon clears it).
pub(crate) fn byte_swap<T: Width>(cpu: &mut Cpu, _: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    let value = T::get(&cpu.regs.gpr, uop.dst);
    T::set(&mut cpu.regs.gpr, uop.dst, value.swap_bytes() >> (64 - T::BITS));
    Ok(())
}

/// `cbw`, `cwde`, `cdqe`: rax from its lower half.
pub(crate) fn extend_accumulator<To: Width, From: Width>(
    cpu: &mut Cpu,
    _: &mut dyn Bus,
    _: &Uop,
) -> Result<(), Left> {
    let value = From::signed(cpu.regs.gpr[Reg::Rax]) as u64;
    To::set(&mut cpu.regs.gpr, Reg::Rax as u8, value);
    Ok(())
}

/// `cwd`, `cdq`, `cqo`: rdx from the sign of rax.
pub(crate) fn sign_to_rdx<T: Width>(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    let sign = T::signed(cpu.regs.gpr[Reg::Rax]) >> 63;
    T::set(&mut cpu.regs.gpr, Reg::Rdx as u8, sign as u64);
    Ok(())
}

/// `xlat`: al from the table at the memory operand (rbx), indexed by al.
pub(crate) fn translate_byte(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    let va = cpu.address(uop).wrapping_add(cpu.regs.gpr[Reg::Rax] & 0xff);
    let value = cpu.load::<u8>(bus, va)?;
    u8::set(&mut cpu.regs.gpr, Reg::Rax as u8, value);
    Ok(())
}

/// Whether an immediate move fits [`Imm`] with its sign extension.
pub(crate) type MovImm<T> = Mov<T, Dst, Imm>;
