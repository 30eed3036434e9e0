//! Decimal arithmetic in AL and AX: AAA, AAS, AAM, AAD, DAA, DAS (SDM volume 2), which 64-bit mode
//! has not. Flags that the manual leaves undefined stay, or are as the processors that were tried.

use crate::bus::Bus;
use crate::cpu::{Cpu, vector};
use crate::flags::{Flags, bit, pack, zero_sign_parity};
use crate::regs::Reg;
use crate::uop::{Left, Uop};
use crate::width::Width;

const RAX: u8 = Reg::Rax as u8;

/// The carry and the adjust flag before, and AL and AX.
fn state(cpu: &Cpu) -> (bool, bool, u64, u64) {
    let flags = cpu.flags.bits();
    let ax = u16::get(&cpu.regs.gpr, RAX);
    (flags & bit::CF != 0, flags & bit::AF != 0, ax & 0xff, ax)
}

/// `daa`, and `das` (`SUBTRACT`): AL becomes two decimal digits.
pub(crate) fn adjust_packed<const SUBTRACT: bool>(
    cpu: &mut Cpu,
    _: &mut dyn Bus,
    _: &Uop,
) -> Result<(), Left> {
    let (carried, adjusted, al, _) = state(cpu);
    let low = al & 15 > 9 || adjusted;
    let high = al > 0x99 || carried;
    let by = if low { 6 } else { 0 } + if high { 0x60 } else { 0 };
    let result = if SUBTRACT { al.wrapping_sub(by) } else { al + by } & 0xff;
    // Of DAS the borrow of the lower digit counts, too.
    let carry = high || SUBTRACT && low && al < 6;
    u8::set(&mut cpu.regs.gpr, RAX, result);
    let arithmetic = zero_sign_parity::<u8>(result);
    cpu.flags = Flags::known(arithmetic | pack([(carry, bit::CF), (low, bit::AF)]));
    Ok(())
}

/// `aaa`, and `aas` (`SUBTRACT`): AL becomes one decimal digit, AH counts the carry.
pub(crate) fn adjust_unpacked<const SUBTRACT: bool>(
    cpu: &mut Cpu,
    _: &mut dyn Bus,
    _: &Uop,
) -> Result<(), Left> {
    let (_, adjusted, al, ax) = state(cpu);
    let carry = al & 15 > 9 || adjusted;
    let by = if carry { 0x106 } else { 0 };
    let result = if SUBTRACT { ax.wrapping_sub(by) } else { ax + by } & 0xff0f;
    u16::set(&mut cpu.regs.gpr, RAX, result);
    let arithmetic = zero_sign_parity::<u8>(result);
    cpu.flags = Flags::known(arithmetic | pack([(carry, bit::CF), (carry, bit::AF)]));
    Ok(())
}

/// `aam`: AL as two digits of base `imm`.
pub(crate) fn split_digits(cpu: &mut Cpu, _: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    let (_, _, al, _) = state(cpu);
    let base = uop.imm & 0xff;
    let (Some(high), Some(low)) = (al.checked_div(base), al.checked_rem(base)) else {
        return Err(cpu.raise(vector::DIVIDE, None));
    };
    u16::set(&mut cpu.regs.gpr, RAX, high << 8 | low);
    cpu.flags = Flags::known(zero_sign_parity::<u8>(low));
    Ok(())
}

/// `aad`: AL from two digits of base `imm`.
pub(crate) fn join_digits(cpu: &mut Cpu, _: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    let (_, _, al, ax) = state(cpu);
    let result = al.wrapping_add((ax >> 8).wrapping_mul(uop.imm)) & 0xff;
    u16::set(&mut cpu.regs.gpr, RAX, result);
    cpu.flags = Flags::known(zero_sign_parity::<u8>(result));
    Ok(())
}

/// `salc`, which the manual does not tell of: AL is all carry.
pub(crate) fn carry_to_al(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    let all = if cpu.flags.carry() { 0xff } else { 0 };
    u8::set(&mut cpu.regs.gpr, RAX, all);
    Ok(())
}
