//! The later general-purpose instructions: counts of bits (POPCNT, LZCNT, TZCNT), BMI1 and BMI2,
//! ADX, MOVBE, CRC32.

use super::Source;
use crate::bus::Bus;
use crate::cpu::Cpu;
use crate::flags::{Flags, bit, pack, zero_sign_parity};
use crate::uop::{Beyond, Left, Uop};
use crate::width::Width;

/// The register whose number is in [`Uop::small`]: the operand that VEX encodes.
pub(crate) struct Third;

impl Source for Third {
    #[inline(always)]
    fn get<T: Width>(
        cpu: &mut Cpu,
        _: &mut (impl Beyond + ?Sized),
        uop: &Uop,
    ) -> Result<u64, Left> {
        Ok(T::get(&cpu.regs.gpr, uop.small as u8))
    }
}

/// An operation on the register-or-memory operand and one other value.
pub(crate) trait Extension {
    fn apply<T: Width>(cpu: &mut Cpu, value: u64, other: u64) -> u64;
}

/// `op dst, source, other`.
pub(crate) fn extension<O: Extension, T: Width, S: Source, C: Source>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let value = S::get::<T>(cpu, bus, uop)?;
    let other = C::get::<T>(cpu, bus, uop)?;
    let result = O::apply::<T>(cpu, value, other) & T::MASK;
    T::set(&mut cpu.regs.gpr, uop.dst, result);
    Ok(())
}

/// Sets CF, and ZF and SF by the result; clears the others.
fn set_flags<T: Width>(cpu: &mut Cpu, result: u64, carry: bool) {
    let by_result = zero_sign_parity::<T>(result) & !bit::PF;
    cpu.flags = Flags::known(by_result | pack([(carry, bit::CF)]));
}

/// Sets CF for a source of zero and ZF for a result of zero; the others are undefined, and stay.
fn set_count_flags(cpu: &mut Cpu, value: u64, result: u64) {
    let kept = cpu.flags.bits() & !(bit::CF | bit::ZF);
    cpu.flags = Flags::known(kept | pack([(value == 0, bit::CF), (result == 0, bit::ZF)]));
}

pub(crate) struct Popcnt;
pub(crate) struct Lzcnt;
pub(crate) struct Tzcnt;
pub(crate) struct Andn;
pub(crate) struct Blsr;
pub(crate) struct Blsmsk;
pub(crate) struct Blsi;
pub(crate) struct Bextr;
pub(crate) struct Bzhi;
pub(crate) struct Pext;
pub(crate) struct Pdep;
pub(crate) struct Shlx;
pub(crate) struct Sarx;
pub(crate) struct Shrx;
pub(crate) struct Rorx;
pub(crate) struct Adcx;
pub(crate) struct Adox;
pub(crate) struct Movbe;

impl Extension for Popcnt {
    fn apply<T: Width>(cpu: &mut Cpu, value: u64, _: u64) -> u64 {
        cpu.flags = Flags::known(pack([(value == 0, bit::ZF)]));
        value.count_ones().into()
    }
}

impl Extension for Lzcnt {
    fn apply<T: Width>(cpu: &mut Cpu, value: u64, _: u64) -> u64 {
        let result = u64::from(value.leading_zeros() - (64 - T::BITS));
        set_count_flags(cpu, value, result);
        result
    }
}

impl Extension for Tzcnt {
    fn apply<T: Width>(cpu: &mut Cpu, value: u64, _: u64) -> u64 {
        let result = u64::from(value.trailing_zeros().min(T::BITS));
        set_count_flags(cpu, value, result);
        result
    }
}

impl Extension for Andn {
    fn apply<T: Width>(cpu: &mut Cpu, value: u64, other: u64) -> u64 {
        let result = !other & value;
        set_flags::<T>(cpu, result, false);
        result
    }
}

impl Extension for Blsr {
    fn apply<T: Width>(cpu: &mut Cpu, value: u64, _: u64) -> u64 {
        let result = value & value.wrapping_sub(1);
        set_flags::<T>(cpu, result, value == 0);
        result
    }
}

impl Extension for Blsmsk {
    fn apply<T: Width>(cpu: &mut Cpu, value: u64, _: u64) -> u64 {
        let result = (value ^ value.wrapping_sub(1)) & T::MASK;
        set_flags::<T>(cpu, result, value == 0);
        result
    }
}

impl Extension for Blsi {
    fn apply<T: Width>(cpu: &mut Cpu, value: u64, _: u64) -> u64 {
        let result = value & value.wrapping_neg();
        set_flags::<T>(cpu, result, value != 0);
        result
    }
}

/// The low `count` bits.
const fn ones(count: u64) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

impl Extension for Bextr {
    fn apply<T: Width>(cpu: &mut Cpu, value: u64, other: u64) -> u64 {
        let (start, length) = (other & 0xff, other >> 8 & 0xff);
        let result = if start < 64 { value >> start & ones(length) } else { 0 };
        set_flags::<T>(cpu, result, false);
        result
    }
}

impl Extension for Bzhi {
    fn apply<T: Width>(cpu: &mut Cpu, value: u64, other: u64) -> u64 {
        let index = other & 0xff;
        let result = value & ones(index);
        set_flags::<T>(cpu, result, index >= u64::from(T::BITS));
        result
    }
}

impl Extension for Pext {
    fn apply<T: Width>(_: &mut Cpu, mask: u64, value: u64) -> u64 {
        let (mut rest, mut result, mut at) = (mask, 0, 0);
        while rest != 0 {
            let from = rest.trailing_zeros();
            result |= (value >> from & 1) << at;
            at += 1;
            rest &= rest - 1;
        }
        result
    }
}

impl Extension for Pdep {
    fn apply<T: Width>(_: &mut Cpu, mask: u64, value: u64) -> u64 {
        let (mut rest, mut result, mut at) = (mask, 0, 0);
        while rest != 0 {
            result |= (value >> at & 1) << rest.trailing_zeros();
            at += 1;
            rest &= rest - 1;
        }
        result
    }
}

impl Extension for Shlx {
    fn apply<T: Width>(_: &mut Cpu, value: u64, other: u64) -> u64 {
        value << (other & u64::from(T::BITS - 1))
    }
}

impl Extension for Sarx {
    fn apply<T: Width>(_: &mut Cpu, value: u64, other: u64) -> u64 {
        (T::signed(value) >> (other & u64::from(T::BITS - 1))) as u64
    }
}

impl Extension for Shrx {
    fn apply<T: Width>(_: &mut Cpu, value: u64, other: u64) -> u64 {
        value >> (other & u64::from(T::BITS - 1))
    }
}

impl Extension for Rorx {
    fn apply<T: Width>(_: &mut Cpu, value: u64, other: u64) -> u64 {
        let by = other as u32 & (T::BITS - 1);
        if by == 0 { value } else { value >> by | value << (T::BITS - by) }
    }
}

/// A sum with one flag as carry in and out, all other flags kept.
fn add_with<T: Width>(cpu: &mut Cpu, a: u64, b: u64, flag: u64) -> u64 {
    let flags = cpu.flags.bits();
    let sum = u128::from(a) + u128::from(b) + u128::from(flags & flag != 0);
    let carry = sum >> T::BITS != 0;
    cpu.flags = Flags::known((flags & !flag) | pack([(carry, flag)]));
    sum as u64
}

impl Extension for Adcx {
    fn apply<T: Width>(cpu: &mut Cpu, value: u64, other: u64) -> u64 {
        add_with::<T>(cpu, value, other, bit::CF)
    }
}

impl Extension for Adox {
    fn apply<T: Width>(cpu: &mut Cpu, value: u64, other: u64) -> u64 {
        add_with::<T>(cpu, value, other, bit::OF)
    }
}

impl Extension for Movbe {
    fn apply<T: Width>(_: &mut Cpu, value: u64, _: u64) -> u64 {
        value.swap_bytes() >> (64 - T::BITS)
    }
}

/// `movbe m, src`.
pub(crate) fn store_swapped<T: Width>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let value = T::get(&cpu.regs.gpr, uop.src);
    let va = cpu.address(uop);
    cpu.store::<T>(bus, va, value.swap_bytes() >> (64 - T::BITS))
}

/// `mulx`: rdx times the source, the upper half to `dst` and the lower to the third register,
/// where both are one the upper.
pub(crate) fn multiply_without_flags<T: Width, S: Source>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let value = S::get::<T>(cpu, bus, uop)?;
    let gpr = &mut cpu.regs.gpr;
    let whole = u128::from(T::get(gpr, crate::regs::Reg::Rdx as u8)) * u128::from(value);
    T::set(gpr, uop.small as u8, whole as u64);
    T::set(gpr, uop.dst, (whole >> T::BITS) as u64);
    Ok(())
}

/// The polynomial of CRC32C, lowest power first (SDM volume 2, CRC32: 0x11EDC6F41).
const CASTAGNOLI: u32 = 0x82f6_3b78;

/// `crc32`: `dst` goes on over the bits of the source.
pub(crate) fn checksum<T: Width, S: Source>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let value = S::get::<T>(cpu, bus, uop)?;
    let mut sum = u64::from(cpu.regs.gpr.slot(uop.dst) as u32) ^ value;
    for _ in 0..T::BITS {
        let out = sum & 1 != 0;
        sum = (sum >> 1) ^ if out { u64::from(CASTAGNOLI) } else { 0 };
    }
    *cpu.regs.gpr.slot_mut(uop.dst) = sum;
    Ok(())
}
