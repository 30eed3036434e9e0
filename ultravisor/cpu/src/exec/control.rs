//! Single flags, and the instructions that do nothing here.

use crate::bus::Bus;
use crate::cpu::Cpu;
use crate::flags::{Flags, bit};
use crate::regs::{Reg, slot};
use crate::uop::{Left, Uop};
use crate::width::Width;

/// `clc`, `stc`.
pub(crate) fn set_carry<const VALUE: bool>(
    cpu: &mut Cpu,
    _: &mut dyn Bus,
    _: &Uop,
) -> Result<(), Left> {
    let kept = cpu.flags.bits() & !bit::CF;
    cpu.flags = Flags::known(kept | if VALUE { bit::CF } else { 0 });
    Ok(())
}

/// `cmc`.
pub(crate) fn complement_carry(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    cpu.flags = Flags::known(cpu.flags.bits() ^ bit::CF);
    Ok(())
}

/// `cld`, `std`.
pub(crate) fn set_direction<const DOWN: bool>(
    cpu: &mut Cpu,
    _: &mut dyn Bus,
    _: &Uop,
) -> Result<(), Left> {
    cpu.system_flags &= !bit::DF;
    cpu.system_flags |= if DOWN { bit::DF } else { 0 };
    Ok(())
}

/// The flags that LAHF and SAHF move.
const AH_FLAGS: u64 = bit::SF | bit::ZF | bit::AF | bit::PF | bit::CF;

/// `lahf`: bit 1 of ah is one.
pub(crate) fn flags_to_ah(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    let value = (cpu.flags.bits() & AH_FLAGS) | bit::ALWAYS;
    u8::set(&mut cpu.regs.gpr, Reg::Rax as u8 | slot::HIGH, value);
    Ok(())
}

/// `sahf`: OF stays.
pub(crate) fn ah_to_flags(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    let value = u8::get(&cpu.regs.gpr, Reg::Rax as u8 | slot::HIGH);
    cpu.flags = Flags::known((cpu.flags.bits() & bit::OF) | (value & AH_FLAGS));
    Ok(())
}

/// Hints, fences and landing pads: one CPU that does everything in order needs none.
pub(crate) fn no_operation(_: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    Ok(())
}

/// `clflush`: a load as far as faults are concerned (SDM volume 2, CLFLUSH).
pub(crate) fn flush_line(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    let va = cpu.address(uop);
    cpu.load::<u8>(bus, va).map(|_| ())
}
