//! Exchange-and-add, compare-and-exchange. One CPU runs at a time, so LOCK changes nothing.

use super::Place;
use super::alu::{Add, Binary, Cmp};
use crate::bus::Bus;
use crate::cpu::Cpu;
use crate::flags::{Flags, bit, pack};
use crate::regs::Reg;
use crate::uop::{Left, Uop};
use crate::width::Width;

/// `xadd place, src`.
pub(crate) fn exchange_add<T: Width, P: Place>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let old = P::read_for_update::<T>(cpu, bus, uop)?;
    let add = T::get(&cpu.regs.gpr, uop.src);
    P::write::<T>(cpu, bus, uop, old.wrapping_add(add) & T::MASK)?;
    let sum = Add::apply::<T, true>(cpu, old, add);
    T::set(&mut cpu.regs.gpr, uop.src, old);
    if !P::MEMORY {
        // With both operands one register, the sum is what stays.
        T::set(&mut cpu.regs.gpr, uop.dst, sum);
    }
    Ok(())
}

/// `cmpxchg place, src`. Memory is written in either case, a register only if it is exchanged; the
/// accumulator only if it differs.
pub(crate) fn compare_exchange<T: Width, P: Place>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let old = P::read_for_update::<T>(cpu, bus, uop)?;
    let expected = T::get(&cpu.regs.gpr, Reg::Rax as u8);
    let new = T::get(&cpu.regs.gpr, uop.src);
    if old == expected {
        P::write::<T>(cpu, bus, uop, new)?;
    } else {
        if P::MEMORY {
            P::write::<T>(cpu, bus, uop, old)?;
        }
        T::set(&mut cpu.regs.gpr, Reg::Rax as u8, old);
    }
    Cmp::apply::<T, true>(cpu, expected, old);
    Ok(())
}

fn set_zero(cpu: &mut Cpu, zero: bool) {
    let kept = cpu.flags.bits() & !bit::ZF;
    cpu.flags = Flags::known(kept | pack([(zero, bit::ZF)]));
}

/// `cmpxchg8b`: edx:eax against 8 bytes, ecx:ebx the new value.
pub(crate) fn compare_exchange_8(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    let va = cpu.address(uop);
    let old = cpu.load_for_update::<u64>(bus, va)?;
    let pair = |cpu: &Cpu, high: Reg, low: Reg| {
        (cpu.regs.gpr[high] << 32) | (cpu.regs.gpr[low] & 0xffff_ffff)
    };
    let equal = old == pair(cpu, Reg::Rdx, Reg::Rax);
    let new = if equal { pair(cpu, Reg::Rcx, Reg::Rbx) } else { old };
    cpu.store::<u64>(bus, va, new)?;
    if !equal {
        cpu.regs.gpr[Reg::Rax] = old & 0xffff_ffff;
        cpu.regs.gpr[Reg::Rdx] = old >> 32;
    }
    set_zero(cpu, equal);
    Ok(())
}

/// `cmpxchg16b`: rdx:rax against 16 aligned bytes, rcx:rbx the new value.
pub(crate) fn compare_exchange_16(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    let va = cpu.address(uop);
    cpu.aligned_16(va)?;
    // Aligned, both halves are in the page that this makes sure of.
    cpu.may_store::<u64>(bus, va)?;
    let old = cpu.load_128(bus, va)?;
    let pair = |cpu: &Cpu, high: Reg, low: Reg| {
        (u128::from(cpu.regs.gpr[high]) << 64) | u128::from(cpu.regs.gpr[low])
    };
    let equal = old == pair(cpu, Reg::Rdx, Reg::Rax);
    let new = if equal { pair(cpu, Reg::Rcx, Reg::Rbx) } else { old };
    cpu.store_128(bus, va, new)?;
    if !equal {
        cpu.regs.gpr[Reg::Rax] = old as u64;
        cpu.regs.gpr[Reg::Rdx] = (old >> 64) as u64;
    }
    set_zero(cpu, equal);
    Ok(())
}
