//! PUSH, POP and their relatives. In 64-bit mode operands are 8 bytes, in 32-bit code 4, or 2 with
//! a prefix.

use super::{Place, Source};
use crate::bus::Bus;
use crate::cpu::{Cpu, vector};
use crate::form::NOWHERE;
use crate::regs::Reg;
use crate::segment::Seg;
use crate::uop::{Beyond, Left, Quick, Uop};
use crate::width::Width;
use core::marker::PhantomData;

/// Where the stack is and how far its pointer goes.
pub(crate) trait Stack: 'static {
    /// The bits of the stack pointer that count.
    fn mask(cpu: &Cpu) -> u64;

    /// The linear address of `bytes` bytes at `offset`; #SS(0) if the segment does not let at them.
    fn at(cpu: &mut Cpu, offset: u64, bytes: u64, write: bool) -> Result<u64, Left>;
}

/// That of 64-bit mode.
pub(crate) struct Long;
/// That of 32-bit code whose segments are all memory.
pub(crate) struct Flat;
/// That of 32-bit code with any stack segment: B says whether its pointer has 32 bits.
pub(crate) struct Segmented;

impl Stack for Long {
    #[inline(always)]
    fn mask(_: &Cpu) -> u64 {
        u64::MAX
    }

    #[inline(always)]
    fn at(_: &mut Cpu, offset: u64, _: u64, _: bool) -> Result<u64, Left> {
        Ok(offset)
    }
}

impl Stack for Flat {
    #[inline(always)]
    fn mask(_: &Cpu) -> u64 {
        0xffff_ffff
    }

    #[inline(always)]
    fn at(_: &mut Cpu, offset: u64, _: u64, _: bool) -> Result<u64, Left> {
        Ok(offset)
    }
}

impl Stack for Segmented {
    fn mask(cpu: &Cpu) -> u64 {
        cpu.stack_mask()
    }

    fn at(cpu: &mut Cpu, offset: u64, bytes: u64, write: bool) -> Result<u64, Left> {
        match cpu.within(Seg::Ss, offset, bytes, write) {
            NOWHERE => Err(cpu.raise(vector::STACK, Some(0))),
            va => Ok(va),
        }
    }
}

/// The stack pointer `by` further on.
#[inline(always)]
pub(crate) fn pointer<K: Stack>(cpu: &Cpu, by: u64) -> u64 {
    cpu.regs.gpr[Reg::Rsp].wrapping_add(by) & K::mask(cpu)
}

#[inline(always)]
pub(crate) fn set_pointer<K: Stack>(cpu: &mut Cpu, offset: u64) {
    let mask = K::mask(cpu);
    let rsp = &mut cpu.regs.gpr[Reg::Rsp];
    *rsp = *rsp & !mask | offset & mask;
}

/// The bytes of width `T`.
const fn size<T: Width>() -> u64 {
    (T::BITS / 8) as u64
}

/// `push`.
pub(crate) struct Push<T, S, K>(PhantomData<(T, S, K)>);

impl<T: Width, S: Source, K: Stack> Quick for Push<T, S, K> {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<(), Left> {
        let value = S::get::<T>(cpu, bus, uop)?;
        push::<T, K>(cpu, bus, value)
    }
}

#[inline(always)]
pub(crate) fn push<T: Width, K: Stack>(
    cpu: &mut Cpu,
    bus: &mut (impl Beyond + ?Sized),
    value: u64,
) -> Result<(), Left> {
    let offset = pointer::<K>(cpu, size::<T>().wrapping_neg());
    let va = K::at(cpu, offset, size::<T>(), true)?;
    cpu.store::<T>(bus, va, value)?;
    set_pointer::<K>(cpu, offset);
    Ok(())
}

/// What is `above` bytes above the top of the stack.
#[inline(always)]
pub(crate) fn peek<T: Width, K: Stack>(
    cpu: &mut Cpu,
    bus: &mut (impl Beyond + ?Sized),
    above: u64,
) -> Result<u64, Left> {
    let offset = pointer::<K>(cpu, above);
    let va = K::at(cpu, offset, size::<T>(), false)?;
    cpu.load::<T>(bus, va)
}

/// Takes `bytes` bytes off the stack.
#[inline(always)]
pub(crate) fn drop<K: Stack>(cpu: &mut Cpu, bytes: u64) {
    let offset = pointer::<K>(cpu, bytes);
    set_pointer::<K>(cpu, offset);
}

/// `pop r`.
pub(crate) struct Pop<T, K>(PhantomData<(T, K)>);

impl<T: Width, K: Stack> Quick for Pop<T, K> {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<(), Left> {
        let value = peek::<T, K>(cpu, bus, 0)?;
        // rsp first: `pop rsp` keeps what was popped.
        drop::<K>(cpu, size::<T>());
        T::set(&mut cpu.regs.gpr, uop.dst, value);
        Ok(())
    }
}

/// `pop m`: an address based on rsp is taken after the increment (SDM volume 2, POP).
pub(crate) fn pop_memory<T: Width, P: Place, K: Stack>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let rsp = cpu.regs.gpr[Reg::Rsp];
    let value = peek::<T, K>(cpu, bus, 0)?;
    drop::<K>(cpu, size::<T>());
    P::write::<T>(cpu, bus, uop, value).inspect_err(|_| cpu.regs.gpr[Reg::Rsp] = rsp)
}

/// `pushfq`, `pushfd`, `pushf`. VM and RF read as zero.
pub(crate) fn push_flags<T: Width, K: Stack>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    _: &Uop,
) -> Result<(), Left> {
    let value = cpu.rflags();
    push::<T, K>(cpu, bus, value)
}

/// `popfq`, `popfd`, `popf`. RF is cleared.
pub(crate) fn pop_flags<T: Width, K: Stack>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    _: &Uop,
) -> Result<(), Left> {
    let value = peek::<T, K>(cpu, bus, 0)?;
    cpu.restore_flags(value, T::MASK);
    drop::<K>(cpu, size::<T>());
    Ok(())
}

/// `leave`, and `leavew` (`u16`), which restores the lower part of rbp only.
pub(crate) fn leave<T: Width, K: Stack>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    _: &Uop,
) -> Result<(), Left> {
    let frame = cpu.regs.gpr[Reg::Rbp] & K::mask(cpu);
    let va = K::at(cpu, frame, size::<T>(), false)?;
    let value = cpu.load::<T>(bus, va)?;
    set_pointer::<K>(cpu, frame.wrapping_add(size::<T>()));
    T::set(&mut cpu.regs.gpr, Reg::Rbp as u8, value);
    Ok(())
}

/// The eight registers in the order of PUSHA, the first pushed first.
const ALL: [Reg; 8] =
    [Reg::Rax, Reg::Rcx, Reg::Rdx, Reg::Rbx, Reg::Rsp, Reg::Rbp, Reg::Rsi, Reg::Rdi];

/// `pushad`, `pusha`: ESP as it was before.
pub(crate) fn push_all<T: Width, K: Stack>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    _: &Uop,
) -> Result<(), Left> {
    let words = ALL.map(|reg| T::get(&cpu.regs.gpr, reg as u8));
    let bottom = pointer::<K>(cpu, (8 * size::<T>()).wrapping_neg());
    let va = K::at(cpu, bottom, 8 * size::<T>(), true)?;
    let mut bytes = [0; 32];
    let bytes = &mut bytes[..8 * size_of::<T>()];
    for (slot, word) in bytes.rchunks_exact_mut(size_of::<T>()).zip(words) {
        slot.copy_from_slice(&word.to_le_bytes()[..size_of::<T>()]);
    }
    // The highest word is the first that is pushed, and to fault.
    cpu.may_store::<T>(bus, va.wrapping_add(7 * size::<T>()))?;
    cpu.store_bytes(bus, va, bytes)?;
    set_pointer::<K>(cpu, bottom);
    Ok(())
}

/// `popad`, `popa`: what was pushed of ESP is skipped.
pub(crate) fn pop_all<T: Width, K: Stack>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    _: &Uop,
) -> Result<(), Left> {
    let bottom = pointer::<K>(cpu, 0);
    let va = K::at(cpu, bottom, 8 * size::<T>(), false)?;
    let mut bytes = [0; 32];
    let bytes = &mut bytes[..8 * size_of::<T>()];
    cpu.load_bytes(bus, va, bytes)?;
    for (slot, reg) in bytes.rchunks_exact(size_of::<T>()).zip(ALL) {
        let mut word = [0; 8];
        word[..slot.len()].copy_from_slice(slot);
        if reg != Reg::Rsp {
            T::set(&mut cpu.regs.gpr, reg as u8, u64::from_le_bytes(word));
        }
    }
    set_pointer::<K>(cpu, bottom.wrapping_add(8 * size::<T>()));
    Ok(())
}

/// `enter imm16, level` (`imm`, `small`): pushes rbp, then the frame pointers of the enclosing
/// levels, which lie below rbp, then its own. One after the other: where the two overlap, what was
/// pushed is copied.
pub(crate) fn enter<T: Width, K: Stack>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    const LEVELS: u64 = 32;
    let size = size::<T>();
    let level = u64::from(uop.small as u8) % LEVELS;
    let (rsp, rbp) = (cpu.regs.gpr[Reg::Rsp], cpu.regs.gpr[Reg::Rbp]);
    let mask = K::mask(cpu);
    let frame = rsp.wrapping_sub(size) & mask;
    let lowest = frame.wrapping_sub(size * level) & mask;
    let new_rsp = lowest.wrapping_sub(uop.imm & 0xffff) & mask;
    // Whatever can fault does so before anything is written. The stack takes at most 264 bytes, so
    // that with both ends all of it can be written. The instruction ends with a check of the new
    // top (SDM, ENTER).
    for outer in 1..level {
        let va = K::at(cpu, rbp.wrapping_sub(size * outer) & mask, size, false)?;
        cpu.load::<T>(bus, va)?;
    }
    for (offset, bytes) in [(frame, size), (lowest, size), (new_rsp, 1)] {
        let va = K::at(cpu, offset, bytes, true)?;
        if bytes == 1 {
            cpu.may_store::<u8>(bus, va)?;
        } else {
            cpu.may_store::<T>(bus, va)?;
        }
    }
    let put = |cpu: &mut Cpu, bus: &mut dyn Bus, offset: u64, value: u64| {
        let va = K::at(cpu, offset & mask, size, true)?;
        cpu.store::<T>(bus, va, value)
    };
    put(cpu, bus, frame, rbp)?;
    for outer in 1..level {
        let va = K::at(cpu, rbp.wrapping_sub(size * outer) & mask, size, false)?;
        let pointer = cpu.load::<T>(bus, va)?;
        put(cpu, bus, frame.wrapping_sub(size * outer), pointer)?;
    }
    if level > 0 {
        put(cpu, bus, lowest, frame)?;
    }
    T::set(&mut cpu.regs.gpr, Reg::Rbp as u8, frame);
    set_pointer::<K>(cpu, new_rsp);
    Ok(())
}
