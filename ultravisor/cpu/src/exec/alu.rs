//! Two-operand and one-operand integer arithmetic and logic.

use super::{Place, Source};
use crate::cpu::Cpu;
use crate::flags::{Flags, bit, pack, zero_sign_parity};
use crate::uop::{Beyond, Left, Quick, Uop};
use crate::width::Width;
use core::marker::PhantomData;

/// An operation on two values of the same width.
pub(crate) trait Binary {
    /// Whether the result is kept (not so for `cmp` and `test`).
    const KEEPS: bool = true;

    /// The result; the flags, too, if `FLAGS`.
    fn apply<T: Width, const FLAGS: bool>(cpu: &mut Cpu, a: u64, b: u64) -> u64;
}

pub(crate) struct Add;
pub(crate) struct Or;
pub(crate) struct Adc;
pub(crate) struct Sbb;
pub(crate) struct And;
pub(crate) struct Sub;
pub(crate) struct Xor;
pub(crate) struct Cmp;
pub(crate) struct Test;

#[inline(always)]
fn logic<T: Width, const FLAGS: bool>(cpu: &mut Cpu, result: u64) -> u64 {
    if FLAGS {
        cpu.flags = Flags::logic::<T>(result);
    }
    result
}

#[inline(always)]
fn subtract<T: Width, const FLAGS: bool>(cpu: &mut Cpu, a: u64, b: u64) -> u64 {
    let result = a.wrapping_sub(b) & T::MASK;
    if FLAGS {
        cpu.flags = Flags::sub::<T>(a, b);
    }
    result
}

impl Binary for Add {
    #[inline(always)]
    fn apply<T: Width, const FLAGS: bool>(cpu: &mut Cpu, a: u64, b: u64) -> u64 {
        let result = a.wrapping_add(b) & T::MASK;
        if FLAGS {
            cpu.flags = Flags::add::<T>(a, result);
        }
        result
    }
}

impl Binary for Or {
    #[inline(always)]
    fn apply<T: Width, const FLAGS: bool>(cpu: &mut Cpu, a: u64, b: u64) -> u64 {
        logic::<T, FLAGS>(cpu, a | b)
    }
}

impl Binary for And {
    #[inline(always)]
    fn apply<T: Width, const FLAGS: bool>(cpu: &mut Cpu, a: u64, b: u64) -> u64 {
        logic::<T, FLAGS>(cpu, a & b)
    }
}

impl Binary for Xor {
    #[inline(always)]
    fn apply<T: Width, const FLAGS: bool>(cpu: &mut Cpu, a: u64, b: u64) -> u64 {
        logic::<T, FLAGS>(cpu, a ^ b)
    }
}

impl Binary for Sub {
    #[inline(always)]
    fn apply<T: Width, const FLAGS: bool>(cpu: &mut Cpu, a: u64, b: u64) -> u64 {
        subtract::<T, FLAGS>(cpu, a, b)
    }
}

impl Binary for Cmp {
    const KEEPS: bool = false;

    #[inline(always)]
    fn apply<T: Width, const FLAGS: bool>(cpu: &mut Cpu, a: u64, b: u64) -> u64 {
        subtract::<T, FLAGS>(cpu, a, b)
    }
}

impl Binary for Test {
    const KEEPS: bool = false;

    #[inline(always)]
    fn apply<T: Width, const FLAGS: bool>(cpu: &mut Cpu, a: u64, b: u64) -> u64 {
        logic::<T, FLAGS>(cpu, a & b)
    }
}

/// The flags of a sum or difference with carry; `carries` has a bit set where one left that bit.
fn with_carries<T: Width>(a: u64, b: u64, result: u64, carries: u64) -> Flags {
    let top = carries & T::SIGN != 0;
    let below = (a ^ b ^ result) & T::SIGN != 0;
    Flags::known(
        zero_sign_parity::<T>(result)
            | pack([
                (top, bit::CF),
                (top != below, bit::OF),
                ((a ^ b ^ result) & 0x10 != 0, bit::AF),
            ]),
    )
}

impl Binary for Adc {
    #[inline(always)]
    fn apply<T: Width, const FLAGS: bool>(cpu: &mut Cpu, a: u64, b: u64) -> u64 {
        let carry = u64::from(cpu.flags.carry());
        let result = a.wrapping_add(b).wrapping_add(carry) & T::MASK;
        if FLAGS {
            cpu.flags = with_carries::<T>(a, b, result, (a & b) | ((a | b) & !result));
        }
        result
    }
}

impl Binary for Sbb {
    #[inline(always)]
    fn apply<T: Width, const FLAGS: bool>(cpu: &mut Cpu, a: u64, b: u64) -> u64 {
        let borrow = u64::from(cpu.flags.carry());
        let result = a.wrapping_sub(b).wrapping_sub(borrow) & T::MASK;
        if FLAGS {
            cpu.flags = with_carries::<T>(a, b, result, (!a & b) | ((!a | b) & result));
        }
        result
    }
}

/// `op place, source`.
pub(crate) struct Alu<O, T, P, S, const FLAGS: bool>(PhantomData<(O, T, P, S)>);

impl<O: Binary, T: Width, P: Place, S: Source, const FLAGS: bool> Quick for Alu<O, T, P, S, FLAGS> {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<(), Left> {
        let b = S::get::<T>(cpu, bus, uop)?;
        if !O::KEEPS {
            let a = P::read::<T>(cpu, bus, uop)?;
            O::apply::<T, FLAGS>(cpu, a, b);
            return Ok(());
        }
        let a = P::read_for_update::<T>(cpu, bus, uop)?;
        let result = O::apply::<T, FLAGS>(cpu, a, b);
        P::write::<T>(cpu, bus, uop, result)
    }
}

/// An operation on one value.
pub(crate) trait Unary {
    fn apply<T: Width, const FLAGS: bool>(cpu: &mut Cpu, a: u64) -> u64;
}

pub(crate) struct Inc;
pub(crate) struct Dec;
pub(crate) struct Neg;
pub(crate) struct Not;

impl Unary for Inc {
    #[inline(always)]
    fn apply<T: Width, const FLAGS: bool>(cpu: &mut Cpu, a: u64) -> u64 {
        let result = a.wrapping_add(1) & T::MASK;
        if FLAGS {
            cpu.flags = Flags::inc::<T>(result, cpu.flags.carry());
        }
        result
    }
}

impl Unary for Dec {
    #[inline(always)]
    fn apply<T: Width, const FLAGS: bool>(cpu: &mut Cpu, a: u64) -> u64 {
        let result = a.wrapping_sub(1) & T::MASK;
        if FLAGS {
            cpu.flags = Flags::dec::<T>(result, cpu.flags.carry());
        }
        result
    }
}

impl Unary for Neg {
    #[inline(always)]
    fn apply<T: Width, const FLAGS: bool>(cpu: &mut Cpu, a: u64) -> u64 {
        subtract::<T, FLAGS>(cpu, 0, a)
    }
}

impl Unary for Not {
    #[inline(always)]
    fn apply<T: Width, const FLAGS: bool>(_: &mut Cpu, a: u64) -> u64 {
        !a & T::MASK
    }
}

/// `op place`.
pub(crate) struct One<O, T, P, const FLAGS: bool>(PhantomData<(O, T, P)>);

impl<O: Unary, T: Width, P: Place, const FLAGS: bool> Quick for One<O, T, P, FLAGS> {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<(), Left> {
        let a = P::read_for_update::<T>(cpu, bus, uop)?;
        let result = O::apply::<T, FLAGS>(cpu, a);
        P::write::<T>(cpu, bus, uop, result)
    }
}
