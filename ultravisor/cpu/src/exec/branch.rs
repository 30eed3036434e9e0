//! Jumps, calls, returns, loops. They end a block.

use super::{Place, Source};
use crate::bus::Bus;
use crate::cpu::{Cpu, vector};
use crate::exec::alu::{Binary, Unary};
use crate::exec::stack::{Long, Stack, drop, peek, push};
use crate::form::Form;
use crate::mem::canonical;
use crate::regs::Reg;
use crate::uop::{Beyond, Flow, Leap, Left, Uop};
use crate::width::Width;
use core::marker::PhantomData;

#[inline(always)]
fn take(cpu: &mut Cpu, uop: &Uop) -> Flow {
    cpu.regs.rip = uop.imm;
    Flow::Taken
}

#[inline(always)]
fn take_if(cpu: &mut Cpu, uop: &Uop, holds: bool) -> Flow {
    if holds { take(cpu, uop) } else { Flow::Through }
}

/// A near jump faults itself if its target is not canonical (SDM volume 2, JMP and RET).
#[inline(always)]
fn go_to(cpu: &mut Cpu, target: u64) -> Result<Flow, Left> {
    if !canonical(target) {
        return Err(cpu.raise(vector::PROTECTION, Some(0)));
    }
    cpu.regs.rip = target;
    Ok(Flow::Indirect)
}

/// `jmp rel`.
pub(crate) struct Jump;

impl Leap for Jump {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, _: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<Flow, Left> {
        Ok(take(cpu, uop))
    }
}

/// `jcc rel`.
pub(crate) struct JumpIf<const CONDITION: u8>;

impl<const CONDITION: u8> Leap for JumpIf<CONDITION> {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, _: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<Flow, Left> {
        let holds = cpu.flags.holds::<CONDITION>();
        Ok(take_if(cpu, uop, holds))
    }
}

/// `cmp` or `test` with the `jcc rel` behind it.
pub(crate) struct CompareJump<O, T, P, S, const CONDITION: u8>(PhantomData<(O, T, P, S)>);

impl<O: Binary, T: Width, P: Place, S: Source, const CONDITION: u8> Leap
    for CompareJump<O, T, P, S, CONDITION>
{
    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<Flow, Left> {
        let b = S::get::<T>(cpu, bus, uop)?;
        let a = P::read::<T>(cpu, bus, uop)?;
        O::apply::<T, true>(cpu, a, b);
        let holds = cpu.flags.holds::<CONDITION>();
        Ok(take_if(cpu, uop, holds))
    }
}

/// An operation on a register with the `jcc rel` behind it.
pub(crate) struct ChangeJump<O, T, S, const CONDITION: u8>(PhantomData<(O, T, S)>);

impl<O: Binary, T: Width, S: Source, const CONDITION: u8> Leap for ChangeJump<O, T, S, CONDITION> {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<Flow, Left> {
        let b = S::get::<T>(cpu, bus, uop)?;
        let a = T::get(&cpu.regs.gpr, uop.dst);
        let result = O::apply::<T, true>(cpu, a, b);
        T::set(&mut cpu.regs.gpr, uop.dst, result);
        let holds = cpu.flags.holds::<CONDITION>();
        Ok(take_if(cpu, uop, holds))
    }
}

/// The same for an operation without a source: `inc` and `dec`.
pub(crate) struct StepJump<O, T, const CONDITION: u8>(PhantomData<(O, T)>);

impl<O: Unary, T: Width, const CONDITION: u8> Leap for StepJump<O, T, CONDITION> {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, _: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<Flow, Left> {
        let a = T::get(&cpu.regs.gpr, uop.dst);
        let result = O::apply::<T, true>(cpu, a);
        T::set(&mut cpu.regs.gpr, uop.dst, result);
        let holds = cpu.flags.holds::<CONDITION>();
        Ok(take_if(cpu, uop, holds))
    }
}

/// A call ends its block, so `rip` already is the address behind it.
#[inline(always)]
fn push_return<T: Width, K: Stack>(
    cpu: &mut Cpu,
    bus: &mut (impl Beyond + ?Sized),
) -> Result<(), Left> {
    let behind = cpu.regs.rip;
    push::<T, K>(cpu, bus, behind)
}

/// `call rel`.
pub(crate) struct Call;

impl Leap for Call {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<Flow, Left> {
        push_return::<u64, Long>(cpu, bus)?;
        Ok(take(cpu, uop))
    }
}

/// `call r/m64`.
pub(crate) struct CallTo<S>(PhantomData<S>);

impl<S: Source> Leap for CallTo<S> {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<Flow, Left> {
        let target = S::get::<u64>(cpu, bus, uop)?;
        if !canonical(target) {
            return Err(cpu.raise(vector::PROTECTION, Some(0)));
        }
        push_return::<u64, Long>(cpu, bus)?;
        go_to(cpu, target)
    }
}

/// `jmp r/m64`.
pub(crate) struct JumpTo<S>(PhantomData<S>);

impl<S: Source> Leap for JumpTo<S> {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<Flow, Left> {
        let target = S::get::<u64>(cpu, bus, uop)?;
        go_to(cpu, target)
    }
}

/// `ret` and `ret imm16` (in `imm`).
pub(crate) struct Return;

impl Leap for Return {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<Flow, Left> {
        let rsp = cpu.regs.gpr[Reg::Rsp];
        let target = cpu.load::<u64>(bus, rsp)?;
        let flow = go_to(cpu, target)?;
        cpu.regs.gpr[Reg::Rsp] = rsp.wrapping_add(8).wrapping_add(uop.imm);
        Ok(flow)
    }
}

/// #GP(0) unless the code segment of 32-bit code reaches to `target`.
#[inline(always)]
fn inside(cpu: &mut Cpu, target: u64) -> Result<(), Left> {
    if cpu.form == Form::Segmented { cpu.inside_code_segment(target) } else { Ok(()) }
}

#[inline(always)]
fn go_inside(cpu: &mut Cpu, target: u64) -> Result<Flow, Left> {
    inside(cpu, target)?;
    cpu.regs.rip = target;
    Ok(Flow::Indirect)
}

/// `jmp rel` in a code segment that ends somewhere.
pub(crate) struct JumpInside;

impl Leap for JumpInside {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, _: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<Flow, Left> {
        inside(cpu, uop.imm)?;
        Ok(take(cpu, uop))
    }
}

/// `jcc rel` in a code segment that ends somewhere.
pub(crate) struct JumpInsideIf<const CONDITION: u8>;

impl<const CONDITION: u8> Leap for JumpInsideIf<CONDITION> {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, _: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<Flow, Left> {
        let holds = cpu.flags.holds::<CONDITION>();
        if holds {
            inside(cpu, uop.imm)?;
        }
        Ok(take_if(cpu, uop, holds))
    }
}

/// `call rel` of 32-bit code; an instruction pointer of width `T`.
pub(crate) struct CallNear<T, K>(PhantomData<(T, K)>);

impl<T: Width, K: Stack> Leap for CallNear<T, K> {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<Flow, Left> {
        inside(cpu, uop.imm)?;
        push_return::<T, K>(cpu, bus)?;
        Ok(take(cpu, uop))
    }
}

/// `call r/m` of 32-bit code.
pub(crate) struct CallNearTo<T, S, K>(PhantomData<(T, S, K)>);

impl<T: Width, S: Source, K: Stack> Leap for CallNearTo<T, S, K> {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<Flow, Left> {
        let target = S::get::<T>(cpu, bus, uop)?;
        inside(cpu, target)?;
        push_return::<T, K>(cpu, bus)?;
        go_inside(cpu, target)
    }
}

/// `jmp r/m` of 32-bit code.
pub(crate) struct JumpNearTo<T, S>(PhantomData<(T, S)>);

impl<T: Width, S: Source> Leap for JumpNearTo<T, S> {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<Flow, Left> {
        let target = S::get::<T>(cpu, bus, uop)?;
        go_inside(cpu, target)
    }
}

/// `ret` and `ret imm16` (in `imm`) of 32-bit code.
pub(crate) struct ReturnNear<T, K>(PhantomData<(T, K)>);

impl<T: Width, K: Stack> Leap for ReturnNear<T, K> {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<Flow, Left> {
        let target = peek::<T, K>(cpu, bus, 0)?;
        let flow = go_inside(cpu, target)?;
        drop::<K>(cpu, u64::from(T::BITS / 8).wrapping_add(uop.imm));
        Ok(flow)
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
    let again = count != 0
        && match UNTIL {
            until::EQUAL => cpu.flags.zero(),
            until::NOT_EQUAL => !cpu.flags.zero(),
            _ => true,
        };
    if again {
        inside(cpu, uop.imm)?;
    }
    T::set(&mut cpu.regs.gpr, Reg::Rcx as u8, count);
    cpu.edge = take_if(cpu, uop, again);
    Ok(())
}

/// `jrcxz`, `jecxz`, `jcxz`.
pub(crate) fn jump_if_no_count<T: Width>(
    cpu: &mut Cpu,
    _: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let none = T::get(&cpu.regs.gpr, Reg::Rcx as u8) == 0;
    if none {
        inside(cpu, uop.imm)?;
    }
    cpu.edge = take_if(cpu, uop, none);
    Ok(())
}
