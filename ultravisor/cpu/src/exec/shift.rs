//! Shifts and rotates (SDM volume 2, SAL/SAR/SHL/SHR and RCL/RCR/ROL/ROR, SHLD, SHRD).
//!
//! A count of zero changes nothing, flags included. OF is defined for counts of one only; for
//! others it is what the formula for one gives, as the silicon does for shifts.

use super::{Place, Source};
use crate::bus::Bus;
use crate::cpu::Cpu;
use crate::flags::{Flags, bit, pack, zero_sign_parity};
use crate::regs::Reg;
use crate::uop::{Beyond, Left, Quick, Uop};
use crate::width::Width;
use core::marker::PhantomData;

/// A shift or rotate by a count that is not zero, already cut to 5 or 6 bits.
pub(crate) trait Shift {
    fn apply<T: Width, const FLAGS: bool>(cpu: &mut Cpu, a: u64, count: u32) -> u64;
}

pub(crate) struct Shl;
pub(crate) struct Shr;
pub(crate) struct Sar;
pub(crate) struct Rol;
pub(crate) struct Ror;
pub(crate) struct Rcl;
pub(crate) struct Rcr;

fn set_shift_flags<T: Width>(cpu: &mut Cpu, result: u64, carry: bool, overflow: bool) {
    cpu.flags =
        Flags::known(zero_sign_parity::<T>(result) | pack([(carry, bit::CF), (overflow, bit::OF)]));
}

/// Rotates write CF and OF only.
fn set_rotate_flags(cpu: &mut Cpu, carry: bool, overflow: bool) {
    let kept = cpu.flags.bits() & !(bit::CF | bit::OF);
    cpu.flags = Flags::known(kept | pack([(carry, bit::CF), (overflow, bit::OF)]));
}

impl Shift for Shl {
    #[inline(always)]
    fn apply<T: Width, const FLAGS: bool>(cpu: &mut Cpu, a: u64, count: u32) -> u64 {
        let result = (a << count) & T::MASK;
        if FLAGS {
            // The last bit out is bit BITS - count; past the width it is zero.
            let carry = count <= T::BITS && (a >> (T::BITS - count)) & 1 != 0;
            let overflow = (result & T::SIGN != 0) != carry;
            set_shift_flags::<T>(cpu, result, carry, overflow);
        }
        result
    }
}

impl Shift for Shr {
    #[inline(always)]
    fn apply<T: Width, const FLAGS: bool>(cpu: &mut Cpu, a: u64, count: u32) -> u64 {
        let result = a >> count;
        if FLAGS {
            let carry = (a >> (count - 1)) & 1 != 0;
            // The top bit of the operand, for a count of one; of what was last shifted, else.
            let overflow = ((a >> (count - 1)) & T::SIGN) != 0;
            set_shift_flags::<T>(cpu, result, carry, overflow);
        }
        result
    }
}

impl Shift for Sar {
    #[inline(always)]
    fn apply<T: Width, const FLAGS: bool>(cpu: &mut Cpu, a: u64, count: u32) -> u64 {
        let wide = T::signed(a);
        let result = (wide >> count) as u64 & T::MASK;
        if FLAGS {
            let carry = (wide >> (count - 1)) & 1 != 0;
            set_shift_flags::<T>(cpu, result, carry, false);
        }
        result
    }
}

impl Shift for Rol {
    #[inline(always)]
    fn apply<T: Width, const FLAGS: bool>(cpu: &mut Cpu, a: u64, count: u32) -> u64 {
        let by = count % T::BITS;
        let result = if by == 0 { a } else { ((a << by) | (a >> (T::BITS - by))) & T::MASK };
        if FLAGS {
            let carry = result & 1 != 0;
            set_rotate_flags(cpu, carry, (result & T::SIGN != 0) != carry);
        }
        result
    }
}

impl Shift for Ror {
    #[inline(always)]
    fn apply<T: Width, const FLAGS: bool>(cpu: &mut Cpu, a: u64, count: u32) -> u64 {
        let by = count % T::BITS;
        let result = if by == 0 { a } else { ((a >> by) | (a << (T::BITS - by))) & T::MASK };
        if FLAGS {
            let carry = result & T::SIGN != 0;
            set_rotate_flags(cpu, carry, carry != (result & (T::SIGN >> 1) != 0));
        }
        result
    }
}

impl Shift for Rcl {
    fn apply<T: Width, const FLAGS: bool>(cpu: &mut Cpu, a: u64, count: u32) -> u64 {
        let by = count % (T::BITS + 1);
        let wide = u128::from(a) | (u128::from(cpu.flags.carry()) << T::BITS);
        let turned = (wide << by) | (wide >> (T::BITS + 1 - by));
        let result = turned as u64 & T::MASK;
        let carry = (turned >> T::BITS) & 1 != 0;
        if FLAGS {
            set_rotate_flags(cpu, carry, (result & T::SIGN != 0) != carry);
        }
        result
    }
}

impl Shift for Rcr {
    fn apply<T: Width, const FLAGS: bool>(cpu: &mut Cpu, a: u64, count: u32) -> u64 {
        let by = count % (T::BITS + 1);
        let wide = u128::from(a) | (u128::from(cpu.flags.carry()) << T::BITS);
        let turned = (wide >> by) | (wide << (T::BITS + 1 - by));
        let result = turned as u64 & T::MASK;
        let carry = (turned >> T::BITS) & 1 != 0;
        if FLAGS {
            let next = result & (T::SIGN >> 1) != 0;
            set_rotate_flags(cpu, carry, (result & T::SIGN != 0) != next);
        }
        result
    }
}

/// The bits of a count that matter: six for 64-bit operands, else five.
const fn count_mask<T: Width>() -> u64 {
    if T::BITS == 64 { 63 } else { 31 }
}

/// `op place, count`, the count an immediate or cl.
pub(crate) struct ShiftBy<O, T, P, C, const FLAGS: bool>(PhantomData<(O, T, P, C)>);

impl<O: Shift, T: Width, P: Place, C: Source, const FLAGS: bool> Quick
    for ShiftBy<O, T, P, C, FLAGS>
{
    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<(), Left> {
        let count = (C::get::<u8>(cpu, bus, uop)? & count_mask::<T>()) as u32;
        let a = P::read_for_update::<T>(cpu, bus, uop)?;
        // A 32-bit register is written even then: its upper half is cleared.
        let result = if count == 0 { a } else { O::apply::<T, FLAGS>(cpu, a, count) };
        P::write::<T>(cpu, bus, uop, result)
    }
}

/// `high` above `low`.
fn join<T: Width>(high: u64, low: u64) -> u128 {
    (u128::from(high) << T::BITS) | u128::from(low)
}

/// `shld` (`LEFT`) and `shrd`: the count is an immediate, or cl if that is negative.
/// A count above the width, which a 16-bit operand can have, leaves all undefined.
pub(crate) fn double<T: Width, P: Place, const LEFT: bool>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let count = if uop.small < 0 { cpu.regs.gpr[Reg::Rcx] } else { uop.small as u64 };
    let count = (count & count_mask::<T>()) as u32;
    let a = P::read_for_update::<T>(cpu, bus, uop)?;
    if count == 0 {
        return P::write::<T>(cpu, bus, uop, a);
    }
    let b = T::get(&cpu.regs.gpr, uop.src);
    let (result, carry) = if LEFT {
        let carry = u128::from(a) << count >> T::BITS;
        ((join::<T>(a, b) << count >> T::BITS) as u64 & T::MASK, carry)
    } else {
        ((join::<T>(b, a) >> count) as u64 & T::MASK, u128::from(a >> (count - 1)))
    };
    P::write::<T>(cpu, bus, uop, result)?;
    set_shift_flags::<T>(cpu, result, carry & 1 != 0, (a ^ result) & T::SIGN != 0);
    Ok(())
}
