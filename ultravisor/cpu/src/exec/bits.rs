//! Bit tests and scans.

use super::{Place, Source};
use crate::bus::Bus;
use crate::cpu::Cpu;
use crate::flags::{Flags, bit, pack};
use crate::uop::{Left, Uop};
use crate::width::Width;

/// What happens to the bit that was tested.
pub(crate) mod change {
    pub const KEEP: u8 = 0;
    pub const SET: u8 = 1;
    pub const RESET: u8 = 2;
    pub const COMPLEMENT: u8 = 3;
}

const fn changed<const CHANGE: u8>(value: u64, mask: u64) -> u64 {
    match CHANGE {
        change::SET => value | mask,
        change::RESET => value & !mask,
        change::COMPLEMENT => value ^ mask,
        _ => value,
    }
}

/// CF becomes the bit; the others are undefined (ZF is defined to stay) and stay.
fn set_carry(cpu: &mut Cpu, carry: bool) {
    cpu.flags = Flags::known((cpu.flags.bits() & !bit::CF) | pack([(carry, bit::CF)]));
}

/// `bt`, `bts`, `btr`, `btc` with the bit's number cut to the operand's width: all but those
/// with memory and a register.
pub(crate) fn test_bit<T: Width, P: Place, S: Source, const CHANGE: u8>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let mask = 1 << (S::get::<T>(cpu, bus, uop)? & u64::from(T::BITS - 1));
    let value = if CHANGE == change::KEEP {
        P::read::<T>(cpu, bus, uop)?
    } else {
        let value = P::read_for_update::<T>(cpu, bus, uop)?;
        P::write::<T>(cpu, bus, uop, changed::<CHANGE>(value, mask))?;
        value
    };
    set_carry(cpu, value & mask != 0);
    Ok(())
}

/// The same with memory and a register, whose whole signed value counts bits from the address.
pub(crate) fn test_bit_string<T: Width, const CHANGE: u8>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let number = T::signed(T::get(&cpu.regs.gpr, uop.src));
    let step = i64::from(T::BITS / 8) * (number >> T::BITS.trailing_zeros());
    let va = cpu.address(uop).wrapping_add(step as u64);
    let mask = 1 << (number as u64 & u64::from(T::BITS - 1));
    let value = if CHANGE == change::KEEP {
        cpu.load::<T>(bus, va)?
    } else {
        let value = cpu.load_for_update::<T>(bus, va)?;
        cpu.store::<T>(bus, va, changed::<CHANGE>(value, mask))?;
        value
    };
    set_carry(cpu, value & mask != 0);
    Ok(())
}

/// `bsf`, and `bsr` (`REVERSE`). Of zero the result is undefined: the destination stays, as all
/// makers document or do. Only ZF is defined.
pub(crate) fn scan<T: Width, S: Source, const REVERSE: bool>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let value = S::get::<T>(cpu, bus, uop)?;
    if value != 0 {
        let at = if REVERSE { 63 - value.leading_zeros() } else { value.trailing_zeros() };
        T::set(&mut cpu.regs.gpr, uop.dst, u64::from(at));
    }
    let kept = cpu.flags.bits() & !bit::ZF;
    cpu.flags = Flags::known(kept | pack([(value == 0, bit::ZF)]));
    Ok(())
}
