//! What instructions do.
//!
//! How a family is added: write its meaning as functions of type [`crate::uop::Meaning`] in a file
//! here (operands come from the [`Uop`]'s fields; load first, store, and write registers and flags
//! last, so that an `Err(Left)` leaves no trace), write a `lower(&Instruction) -> Option<Lowered>`
//! for it in a file of `decode/`, and add that to the list in `decode::lower`, which is also what
//! [`crate::supports`] asks. Operands in memory are read and written with `cpu.load::<u32>`,
//! `cpu.store::<u32>`, `cpu.load_128`, `cpu.store_128` at `cpu.address(uop)`; the aligned 16-byte
//! forms call `cpu.aligned_16` before. Exceptions are `Err(cpu.raise(vector, error))`, what is
//! not implemented is `Err(cpu.unsupported())`. An instruction that is executed very often gets
//! a handler of its own by implementing [`crate::uop::Quick`] (see `alu`, `moves`), or
//! [`crate::uop::Exec`] if it is long anyway.

pub(crate) mod alu;
pub(crate) mod atomic;
pub(crate) mod bits;
pub(crate) mod branch;
pub(crate) mod cipher;
pub(crate) mod control;
pub(crate) mod control_registers;
pub(crate) mod cpuid;
pub(crate) mod debug_registers;
pub(crate) mod decimal;
pub(crate) mod extension;
pub(crate) mod far;
pub(crate) mod fast_call;
pub(crate) mod interrupt;
pub(crate) mod mmx;
pub(crate) mod moves;
pub(crate) mod msr;
pub(crate) mod muldiv;
pub(crate) mod mxcsr;
pub(crate) mod ports;
pub(crate) mod reach;
pub(crate) mod segments;
pub(crate) mod shift;
pub(crate) mod sse;
pub(crate) mod sse_approximate;
pub(crate) mod sse_convert;
pub(crate) mod sse_format;
pub(crate) mod sse_fp;
pub(crate) mod sse_int;
pub(crate) mod sse_move;
pub(crate) mod sse_round;
pub(crate) mod sse_string;
pub(crate) mod sse4;
pub(crate) mod sse4_forms;
pub(crate) mod sse4_fp;
pub(crate) mod stack;
pub(crate) mod string;
pub(crate) mod system;
pub(crate) mod x87;
pub(crate) mod x87_arithmetic;
mod x87_fixed;
pub(crate) mod x87_functions;
pub(crate) mod x87_memory;
pub(crate) mod x87_number;
mod x87_series;
pub(crate) mod x87_state;

use crate::cpu::Cpu;
use crate::uop::{Beyond, Left, Uop};
use crate::width::Width;
use core::marker::PhantomData;

/// Where a source operand comes from.
pub(crate) trait Source {
    fn get<T: Width>(
        cpu: &mut Cpu,
        bus: &mut (impl Beyond + ?Sized),
        uop: &Uop,
    ) -> Result<u64, Left>;
}

/// Where a destination operand is.
pub(crate) trait Place {
    /// Whether writing it is a store.
    const MEMORY: bool;

    /// The value, if it will not be written.
    fn read<T: Width>(
        cpu: &mut Cpu,
        bus: &mut (impl Beyond + ?Sized),
        uop: &Uop,
    ) -> Result<u64, Left>;

    /// The value, when it will be written: then [`Place::write`] does not fail. A register can
    /// always be.
    #[inline(always)]
    fn read_for_update<T: Width>(
        cpu: &mut Cpu,
        bus: &mut (impl Beyond + ?Sized),
        uop: &Uop,
    ) -> Result<u64, Left> {
        Self::read::<T>(cpu, bus, uop)
    }

    fn write<T: Width>(
        cpu: &mut Cpu,
        bus: &mut (impl Beyond + ?Sized),
        uop: &Uop,
        value: u64,
    ) -> Result<(), Left>;
}

/// Register `src`.
pub(crate) struct Src;
/// Register `dst`.
pub(crate) struct Dst;
/// The memory operand, at the address that `A` computes.
pub(crate) struct At<A>(PhantomData<A>);
/// The memory operand, wherever it is.
pub(crate) type Mem = At<Sum>;
/// The memory operand, if its address is a base and a displacement.
pub(crate) type Near = At<Based>;
/// Register `dst`, after register `base` was copied to it.
pub(crate) struct Copied;
/// The sign-extended small immediate.
pub(crate) struct Imm;

impl Source for Src {
    #[inline(always)]
    fn get<T: Width>(
        cpu: &mut Cpu,
        _: &mut (impl Beyond + ?Sized),
        uop: &Uop,
    ) -> Result<u64, Left> {
        Ok(T::get(&cpu.regs.gpr, uop.src))
    }
}

impl Source for Imm {
    #[inline(always)]
    fn get<T: Width>(_: &mut Cpu, _: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<u64, Left> {
        Ok(i64::from(uop.small) as u64 & T::MASK)
    }
}

/// How a memory operand's address is computed.
pub(crate) trait Address {
    fn of(cpu: &Cpu, uop: &Uop) -> u64;
}

/// From all its parts.
pub(crate) struct Sum;
/// From base and displacement: what most are, in less than half the instructions.
pub(crate) struct Based;

impl Address for Sum {
    #[inline(always)]
    fn of(cpu: &Cpu, uop: &Uop) -> u64 {
        cpu.address(uop)
    }
}

impl Address for Based {
    #[inline(always)]
    fn of(cpu: &Cpu, uop: &Uop) -> u64 {
        uop.disp.wrapping_add(cpu.regs.gpr.slot(uop.base))
    }
}

impl<A: Address> Source for At<A> {
    #[inline(always)]
    fn get<T: Width>(
        cpu: &mut Cpu,
        bus: &mut (impl Beyond + ?Sized),
        uop: &Uop,
    ) -> Result<u64, Left> {
        let va = A::of(cpu, uop);
        cpu.load::<T>(bus, va)
    }
}

impl Place for Dst {
    const MEMORY: bool = false;

    #[inline(always)]
    fn read<T: Width>(
        cpu: &mut Cpu,
        _: &mut (impl Beyond + ?Sized),
        uop: &Uop,
    ) -> Result<u64, Left> {
        Ok(T::get(&cpu.regs.gpr, uop.dst))
    }

    #[inline(always)]
    fn write<T: Width>(
        cpu: &mut Cpu,
        _: &mut (impl Beyond + ?Sized),
        uop: &Uop,
        value: u64,
    ) -> Result<(), Left> {
        T::set(&mut cpu.regs.gpr, uop.dst, value);
        Ok(())
    }
}

impl Place for Copied {
    const MEMORY: bool = false;

    #[inline(always)]
    fn read<T: Width>(
        cpu: &mut Cpu,
        _: &mut (impl Beyond + ?Sized),
        uop: &Uop,
    ) -> Result<u64, Left> {
        Ok(T::get(&cpu.regs.gpr, uop.base))
    }

    #[inline(always)]
    fn write<T: Width>(
        cpu: &mut Cpu,
        bus: &mut (impl Beyond + ?Sized),
        uop: &Uop,
        value: u64,
    ) -> Result<(), Left> {
        Dst::write::<T>(cpu, bus, uop, value)
    }
}

impl<A: Address> Place for At<A> {
    const MEMORY: bool = true;

    #[inline(always)]
    fn read<T: Width>(
        cpu: &mut Cpu,
        bus: &mut (impl Beyond + ?Sized),
        uop: &Uop,
    ) -> Result<u64, Left> {
        let va = A::of(cpu, uop);
        cpu.load::<T>(bus, va)
    }

    #[inline(always)]
    fn read_for_update<T: Width>(
        cpu: &mut Cpu,
        bus: &mut (impl Beyond + ?Sized),
        uop: &Uop,
    ) -> Result<u64, Left> {
        let va = A::of(cpu, uop);
        cpu.load_for_update::<T>(bus, va)
    }

    #[inline(always)]
    fn write<T: Width>(
        cpu: &mut Cpu,
        bus: &mut (impl Beyond + ?Sized),
        uop: &Uop,
        value: u64,
    ) -> Result<(), Left> {
        let va = A::of(cpu, uop);
        cpu.store::<T>(bus, va, value)
    }
}
