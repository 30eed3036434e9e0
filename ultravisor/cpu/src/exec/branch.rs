//! Jumps, calls, returns, loops. They end a block.

use super::{Place, Source};
use crate::bus::Bus;
use crate::cpu::{Cpu, Edge, vector};
use crate::exec::alu::Binary;
use crate::paging::canonical;
use crate::regs::Reg;
use crate::uop::{Beyond, Left, Quick, Uop};
use crate::width::Width;
use core::marker::PhantomData;

#[inline(always)]
fn take(cpu: &mut Cpu, uop: &Uop) {
    cpu.regs.rip = uop.imm;
    cpu.edge = Edge::Taken;
}

/// A near jump faults itself if its target is not canonical (SDM volume 2, JMP and RET).
#[inline(always)]
fn go_to(cpu: &mut Cpu, target: u64) -> Result<(), Left> {
    if !canonical(target) {
        return Err(cpu.raise(vector::PROTECTION, Some(0)));
    }
    cpu.regs.rip = target;
    cpu.edge = Edge::Indirect;
    Ok(())
}

/// `jmp rel`.
pub(crate) struct Jump;

impl Quick for Jump {
    const STORES: bool = false;

    #[inline(always)]
    fn exec(cpu: &mut Cpu, _: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<(), Left> {
        take(cpu, uop);
        Ok(())
    }
}

/// `jcc rel`.
pub(crate) struct JumpIf<const CONDITION: u8>;

impl<const CONDITION: u8> Quick for JumpIf<CONDITION> {
    const STORES: bool = false;

    #[inline(always)]
    fn exec(cpu: &mut Cpu, _: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<(), Left> {
        if cpu.flags.holds::<CONDITION>() {
            take(cpu, uop);
        }
        Ok(())
    }
}

/// `cmp` or `test` with the `jcc rel` behind it.
pub(crate) struct CompareJump<O, T, P, S, const CONDITION: u8>(PhantomData<(O, T, P, S)>);

impl<O: Binary, T: Width, P: Place, S: Source, const CONDITION: u8> Quick
    for CompareJump<O, T, P, S, CONDITION>
{
    const STORES: bool = false;

    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<(), Left> {
        let b = S::get::<T>(cpu, bus, uop)?;
        let a = P::read::<T>(cpu, bus, uop)?;
        O::apply::<T, true>(cpu, a, b);
        if cpu.flags.holds::<CONDITION>() {
            take(cpu, uop);
        }
        Ok(())
    }
}

#[inline(always)]
fn push_return(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized)) -> Result<(), Left> {
    let rsp = cpu.regs.gpr[Reg::Rsp].wrapping_sub(8);
    // A call ends its block, so `rip` already is the address behind it.
    let behind = cpu.regs.rip;
    cpu.store::<u64>(bus, rsp, behind)?;
    cpu.regs.gpr[Reg::Rsp] = rsp;
    Ok(())
}

/// `call rel`.
pub(crate) struct Call;

impl Quick for Call {
    const STORES: bool = false;

    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<(), Left> {
        push_return(cpu, bus)?;
        take(cpu, uop);
        Ok(())
    }
}

/// `call r/m64`.
pub(crate) struct CallTo<S>(PhantomData<S>);

impl<S: Source> Quick for CallTo<S> {
    const STORES: bool = false;

    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<(), Left> {
        let target = S::get::<u64>(cpu, bus, uop)?;
        if !canonical(target) {
            return Err(cpu.raise(vector::PROTECTION, Some(0)));
        }
        push_return(cpu, bus)?;
        go_to(cpu, target)
    }
}

/// `jmp r/m64`.
pub(crate) struct JumpTo<S>(PhantomData<S>);

impl<S: Source> Quick for JumpTo<S> {
    const STORES: bool = false;

    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<(), Left> {
        let target = S::get::<u64>(cpu, bus, uop)?;
        go_to(cpu, target)
    }
}

/// `ret` and `ret imm16` (in `imm`).
pub(crate) struct Return;

impl Quick for Return {
    const STORES: bool = false;

    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<(), Left> {
        let rsp = cpu.regs.gpr[Reg::Rsp];
        let target = cpu.load::<u64>(bus, rsp)?;
        go_to(cpu, target)?;
        cpu.regs.gpr[Reg::Rsp] = rsp.wrapping_add(8).wrapping_add(uop.imm);
        Ok(())
    }
}

/// What a LOOP waits for besides the count.
pub(crate) mod until {
    pub const ALWAYS: u8 = 0;
    pub const EQUAL: u8 = 1;
    pub const NOT_EQUAL: u8 = 2;
}

/// `loop`, `loope`, `loopne` with a counter of width `T`.
pub(crate) fn loop_back<T: Width, const UNTIL: u8>(
    cpu: &mut Cpu,
    _: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let count = T::get(&cpu.regs.gpr, Reg::Rcx as u8).wrapping_sub(1) & T::MASK;
    T::set(&mut cpu.regs.gpr, Reg::Rcx as u8, count);
    let again = match UNTIL {
        until::EQUAL => cpu.flags.zero(),
        until::NOT_EQUAL => !cpu.flags.zero(),
        _ => true,
    };
    if again && count != 0 {
        take(cpu, uop);
    }
    Ok(())
}

/// `jrcxz`, `jecxz`.
pub(crate) fn jump_if_no_count<T: Width>(
    cpu: &mut Cpu,
    _: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    if T::get(&cpu.regs.gpr, Reg::Rcx as u8) == 0 {
        take(cpu, uop);
    }
    Ok(())
}
