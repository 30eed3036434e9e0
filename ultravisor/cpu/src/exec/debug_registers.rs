//! `mov` with debug registers (SDM volume 2; volume 3, 17.2).

use crate::bus::Bus;
use crate::cpu::{Cpu, control, vector};
use crate::exec::system::privileged;
use crate::uop::{Left, Uop};

/// The register that `number` names: DR4 and DR5 are DR6 and DR7, or with CR4.DE nothing.
fn named(cpu: &mut Cpu, number: u8) -> Result<u8, Left> {
    let aliased = matches!(number, 4 | 5);
    if number > 7 || aliased && cpu.regs.cr4 & control::DE != 0 {
        return Err(cpu.raise(vector::INVALID_OPCODE, None));
    }
    privileged(cpu)?;
    if cpu.detects_debugging() {
        return Err(cpu.raise(vector::DEBUG, None));
    }
    Ok(if aliased { number + 2 } else { number })
}

/// `mov r64, drN`.
pub(crate) fn read_debug(cpu: &mut Cpu, _: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    let number = named(cpu, uop.src)?;
    // 32-bit code sees the lower half.
    *cpu.regs.gpr.slot_mut(uop.dst) = cpu.form.cut(cpu.debug_register(number));
    Ok(())
}

/// `mov drN, r64`. DR6 and DR7 have 32 bits: #GP(0) for more.
pub(crate) fn write_debug(cpu: &mut Cpu, _: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    let number = named(cpu, uop.dst)?;
    let value = cpu.regs.gpr.slot(uop.src);
    if number >= 6 && value >> 32 != 0 {
        return Err(cpu.raise(vector::PROTECTION, Some(0)));
    }
    cpu.set_debug_register(number, value);
    Ok(())
}
