//! Memory operands of 32-bit code that need more than a sum: what the uop before the instruction's
//! own computes.

use crate::bus::Bus;
use crate::cpu::Cpu;
use crate::exec::{Place, Source};
use crate::regs::{Reg, slot};
use crate::segment::Seg;
use crate::uop::{Beyond, Left, Quick, Uop};
use crate::width::Width;
use core::marker::PhantomData;

/// The offset that the operand has, `by` bytes further on; `imm` is the mask of its address size.
#[inline(always)]
fn offset(cpu: &Cpu, uop: &Uop, by: u64) -> u64 {
    cpu.address(uop).wrapping_add(by) & uop.imm
}

/// The segment of a memory operand (`dst`).
fn segment(uop: &Uop) -> Seg {
    Seg::ALL[usize::from(uop.dst) % Seg::ALL.len()]
}

/// The operand's linear address, `small` bytes being inside of its segment; an instruction that
/// accesses none of them gets its address in any case.
fn reach(cpu: &mut Cpu, uop: &Uop, write: bool, by: u64) {
    let offset = offset(cpu, uop, by);
    let va = match u64::from(uop.small.unsigned_abs()) {
        0 => cpu.regs.segment(segment(uop)).linear(offset),
        bytes => cpu.within(segment(uop), offset, bytes, write),
    };
    *cpu.regs.gpr.slot_mut(slot::TEMP) = va;
}

/// An operand in a segment.
pub(crate) struct Reach<const WRITE: bool>;

impl<const WRITE: bool> Quick for Reach<WRITE> {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, _: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<(), Left> {
        reach(cpu, uop, WRITE, 0);
        Ok(())
    }
}

/// The same for BT and its kin with a register (`src`), which counts bits from the address; of width
/// `T`.
pub(crate) struct ReachBit<T, const WRITE: bool>(PhantomData<T>);

impl<T: Width, const WRITE: bool> Quick for ReachBit<T, WRITE> {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, _: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<(), Left> {
        let number = T::signed(T::get(&cpu.regs.gpr, uop.src));
        let step = i64::from(T::BITS / 8) * (number >> T::BITS.trailing_zeros());
        reach(cpu, uop, WRITE, step as u64);
        Ok(())
    }
}

/// An offset that is not an address: that of LEA.
pub(crate) struct Cut;

impl Quick for Cut {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, _: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<(), Left> {
        *cpu.regs.gpr.slot_mut(slot::TEMP) = offset(cpu, uop, 0);
        Ok(())
    }
}

/// `xlat` of 32-bit code: `base` is EBX, `imm` the mask of the address size.
pub(crate) fn translate_byte(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    let offset = offset(cpu, uop, cpu.regs.gpr[Reg::Rax] & 0xff);
    let va = cpu.within(segment(uop), offset, 1, false);
    let value = cpu.load::<u8>(bus, va)?;
    u8::set(&mut cpu.regs.gpr, Reg::Rax as u8, value);
    Ok(())
}

/// `bound`: #BR if the register's signed value lies outside the two at the memory operand.
pub(crate) fn bound<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    let va = cpu.address(uop);
    let lower = T::signed(cpu.load::<T>(bus, va)?);
    let upper = T::signed(cpu.load::<T>(bus, va.wrapping_add(u64::from(T::BITS / 8)))?);
    let index = T::signed(T::get(&cpu.regs.gpr, uop.src));
    if (lower..=upper).contains(&index) {
        Ok(())
    } else {
        Err(cpu.raise(crate::cpu::vector::BOUND, None))
    }
}

/// `arpl`: the destination's requested privilege level becomes at least the source's; ZF says
/// whether it changed.
pub(crate) fn adjust_level<P: Place>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let selector = P::read::<u16>(cpu, bus, uop)?;
    let level = super::Src::get::<u16>(cpu, bus, uop)? & 3;
    let raised = selector & 3 < level;
    if raised {
        P::read_for_update::<u16>(cpu, bus, uop)?;
        P::write::<u16>(cpu, bus, uop, selector & !3 | level)?;
    }
    super::segments::set_zero(cpu, raised);
    Ok(())
}
