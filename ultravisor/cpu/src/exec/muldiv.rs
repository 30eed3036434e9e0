//! Multiplication and division.

use super::Source;
use crate::bus::Bus;
use crate::cpu::{Cpu, vector};
use crate::flags::{Flags, bit, pack, zero_sign_parity};
use crate::regs::{Reg, slot};
use crate::uop::{Beyond, Left, Quick, Uop};
use crate::width::Width;
use core::marker::PhantomData;

/// CF and OF say that the upper half matters; SF is the result's, ZF, AF and PF are undefined.
fn set_flags<T: Width>(cpu: &mut Cpu, low: u64, wide: bool) {
    cpu.flags = Flags::known(
        (zero_sign_parity::<T>(low) & !bit::ZF) | pack([(wide, bit::CF), (wide, bit::OF)]),
    );
}

/// Two- and three-operand `imul`: `dst = A * B`.
pub(crate) struct Multiply<T, A, B, const FLAGS: bool>(PhantomData<(T, A, B)>);

impl<T: Width, A: Source, B: Source, const FLAGS: bool> Quick for Multiply<T, A, B, FLAGS> {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<(), Left> {
        let a = T::signed(A::get::<T>(cpu, bus, uop)?);
        let b = T::signed(B::get::<T>(cpu, bus, uop)?);
        let low = a.wrapping_mul(b) as u64 & T::MASK;
        if FLAGS {
            let whole = i128::from(a) * i128::from(b);
            set_flags::<T>(cpu, low, whole != i128::from(T::signed(low)));
        }
        T::set(&mut cpu.regs.gpr, uop.dst, low);
        Ok(())
    }
}

/// The destination register as a source, for two-operand `imul`.
pub(crate) struct DstValue;

impl Source for DstValue {
    #[inline(always)]
    fn get<T: Width>(
        cpu: &mut Cpu,
        _: &mut (impl Beyond + ?Sized),
        uop: &Uop,
    ) -> Result<u64, Left> {
        Ok(T::get(&cpu.regs.gpr, uop.dst))
    }
}

/// Writes a double-width value to ax, dx:ax, edx:eax or rdx:rax.
fn set_pair<T: Width>(cpu: &mut Cpu, low: u64, high: u64) {
    let gpr = &mut cpu.regs.gpr;
    T::set(gpr, Reg::Rax as u8, low);
    if T::BITS == 8 {
        u8::set(gpr, Reg::Rax as u8 | slot::HIGH, high);
    } else {
        T::set(gpr, Reg::Rdx as u8, high);
    }
}

/// `mul`.
pub(crate) fn multiply_unsigned<T: Width, S: Source>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let b = S::get::<T>(cpu, bus, uop)?;
    let whole = u128::from(T::get(&cpu.regs.gpr, Reg::Rax as u8)) * u128::from(b);
    let (low, high) = (whole as u64 & T::MASK, (whole >> T::BITS) as u64 & T::MASK);
    set_pair::<T>(cpu, low, high);
    set_flags::<T>(cpu, low, high != 0);
    Ok(())
}

/// One-operand `imul`.
pub(crate) fn multiply_signed<T: Width, S: Source>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let b = T::signed(S::get::<T>(cpu, bus, uop)?);
    let a = T::signed(T::get(&cpu.regs.gpr, Reg::Rax as u8));
    let whole = i128::from(a) * i128::from(b);
    let (low, high) = (whole as u64 & T::MASK, (whole >> T::BITS) as u64 & T::MASK);
    set_pair::<T>(cpu, low, high);
    set_flags::<T>(cpu, low, whole != i128::from(T::signed(low)));
    Ok(())
}

/// The double-width dividend.
fn dividend<T: Width>(cpu: &Cpu) -> u128 {
    let gpr = &cpu.regs.gpr;
    let low = T::get(gpr, Reg::Rax as u8);
    let high = if T::BITS == 8 {
        u8::get(gpr, Reg::Rax as u8 | slot::HIGH)
    } else {
        T::get(gpr, Reg::Rdx as u8)
    };
    (u128::from(high) << T::BITS) | u128::from(low)
}

/// `div`: #DE for a zero divisor or a quotient that does not fit. All flags are undefined; they
/// stay.
pub(crate) fn divide_unsigned<T: Width, S: Source>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let by = u128::from(S::get::<T>(cpu, bus, uop)?);
    let what = dividend::<T>(cpu);
    // Dividends that fit 64 bits, nearly all, are spared the slow 128-bit division.
    let parts = match (u64::try_from(what), by as u64) {
        (_, 0) => None,
        (Ok(what), by) => Some((u128::from(what / by), what % by)),
        (Err(_), _) => Some((what / by, (what % by) as u64)),
    };
    match parts {
        Some((quotient, remainder)) if quotient <= u128::from(T::MASK) => {
            set_pair::<T>(cpu, quotient as u64, remainder);
            Ok(())
        }
        _ => Err(cpu.raise(vector::DIVIDE, None)),
    }
}

/// `idiv`: rounds towards zero; #DE as for `div`.
pub(crate) fn divide_signed<T: Width, S: Source>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let by = i128::from(T::signed(S::get::<T>(cpu, bus, uop)?));
    let spare = 128 - 2 * T::BITS;
    let what = ((dividend::<T>(cpu) << spare) as i128) >> spare;
    let parts = what.checked_div(by).zip(what.checked_rem(by));
    match parts {
        Some((quotient, remainder))
            if i128::from(T::signed(quotient as u64 & T::MASK)) == quotient =>
        {
            set_pair::<T>(cpu, quotient as u64 & T::MASK, remainder as u64 & T::MASK);
            Ok(())
        }
        _ => Err(cpu.raise(vector::DIVIDE, None)),
    }
}
