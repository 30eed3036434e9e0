//! PUSH, POP and their relatives. In 64-bit mode operands are 8 bytes, or 2 with a prefix.

use super::{Place, Source};
use crate::bus::Bus;
use crate::cpu::Cpu;
use crate::regs::Reg;
use crate::uop::{Beyond, Left, Quick, Uop};
use crate::width::Width;
use core::marker::PhantomData;

/// `push`.
pub(crate) struct Push<T, S>(PhantomData<(T, S)>);

impl<T: Width, S: Source> Quick for Push<T, S> {
    const STORES: bool = true;

    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<(), Left> {
        let value = S::get::<T>(cpu, bus, uop)?;
        push::<T>(cpu, bus, value)
    }
}

#[inline(always)]
pub(crate) fn push<T: Width>(
    cpu: &mut Cpu,
    bus: &mut (impl Beyond + ?Sized),
    value: u64,
) -> Result<(), Left> {
    let rsp = cpu.regs.gpr[Reg::Rsp].wrapping_sub(u64::from(T::BITS / 8));
    cpu.store::<T>(bus, rsp, value)?;
    cpu.regs.gpr[Reg::Rsp] = rsp;
    Ok(())
}

/// `pop r`.
pub(crate) struct Pop<T>(PhantomData<T>);

impl<T: Width> Quick for Pop<T> {
    const STORES: bool = false;

    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<(), Left> {
        let rsp = cpu.regs.gpr[Reg::Rsp];
        let value = cpu.load::<T>(bus, rsp)?;
        // rsp first: `pop rsp` keeps what was popped.
        cpu.regs.gpr[Reg::Rsp] = rsp.wrapping_add(u64::from(T::BITS / 8));
        T::set(&mut cpu.regs.gpr, uop.dst, value);
        Ok(())
    }
}

/// `pop m`: an address based on rsp is taken after the increment (SDM volume 2, POP).
pub(crate) fn pop_memory<T: Width, P: Place>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let rsp = cpu.regs.gpr[Reg::Rsp];
    let value = cpu.load::<T>(bus, rsp)?;
    cpu.regs.gpr[Reg::Rsp] = rsp.wrapping_add(u64::from(T::BITS / 8));
    P::write::<T>(cpu, bus, uop, value).inspect_err(|_| cpu.regs.gpr[Reg::Rsp] = rsp)
}

/// `pushfq`, `pushf`. VM and RF read as zero.
pub(crate) fn push_flags<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    let value = cpu.rflags();
    push::<T>(cpu, bus, value)
}

/// `popfq`, `popf`. RF is cleared.
pub(crate) fn pop_flags<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    let rsp = cpu.regs.gpr[Reg::Rsp];
    let value = cpu.load::<T>(bus, rsp)?;
    cpu.restore_flags(value, T::MASK);
    cpu.regs.gpr[Reg::Rsp] = rsp.wrapping_add(u64::from(T::BITS / 8));
    Ok(())
}

/// `leave`, and `leavew` (`u16`), which restores the lower part of rbp only.
pub(crate) fn leave<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    let frame = cpu.regs.gpr[Reg::Rbp];
    let value = cpu.load::<T>(bus, frame)?;
    cpu.regs.gpr[Reg::Rsp] = frame.wrapping_add(u64::from(T::BITS / 8));
    T::set(&mut cpu.regs.gpr, Reg::Rbp as u8, value);
    Ok(())
}

/// `enter imm16, level` (`imm`, `small`): pushes rbp, then the frame pointers of the enclosing
/// levels, which lie below rbp, then its own. One after the other: where the two overlap, what was
/// pushed is copied.
pub(crate) fn enter<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    const LEVELS: u64 = 32;
    let size = u64::from(T::BITS / 8);
    let level = u64::from(uop.small as u8) % LEVELS;
    let (rsp, rbp) = (cpu.regs.gpr[Reg::Rsp], cpu.regs.gpr[Reg::Rbp]);
    let frame = rsp.wrapping_sub(size);
    let lowest = frame.wrapping_sub(size * level);
    let new_rsp = lowest.wrapping_sub(uop.imm & 0xffff);
    // Whatever can fault does so before anything is written. The stack takes at most 264 bytes, so
    // that with both ends all of it can be written. The instruction ends with a check of the new
    // top (SDM, ENTER).
    for outer in 1..level {
        cpu.load::<T>(bus, rbp.wrapping_sub(size * outer))?;
    }
    cpu.load_for_update::<T>(bus, frame)?;
    cpu.load_for_update::<T>(bus, lowest)?;
    cpu.load_for_update::<u8>(bus, new_rsp)?;
    cpu.store::<T>(bus, frame, rbp)?;
    for outer in 1..level {
        let pointer = cpu.load::<T>(bus, rbp.wrapping_sub(size * outer))?;
        cpu.store::<T>(bus, frame.wrapping_sub(size * outer), pointer)?;
    }
    if level > 0 {
        cpu.store::<T>(bus, lowest, frame)?;
    }
    T::set(&mut cpu.regs.gpr, Reg::Rbp as u8, frame);
    cpu.regs.gpr[Reg::Rsp] = new_rsp;
    Ok(())
}
