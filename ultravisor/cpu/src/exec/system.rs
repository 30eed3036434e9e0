//! What leaves the CPU: calls, waits, clocks; and the interrupt flag, translations dropped, the
//! tables. They end a block.

use crate::bus::Bus;
use crate::cpu::{Cpu, control, vector};
use crate::exit::Exit;
use crate::flags::{Flags, bit};
use crate::mem::canonical;
use crate::regs::Reg;
use crate::uop::{Left, Uop};
use crate::width::Width;

/// `vmcall`: an exit that is told once the instruction is done. Ring 3 has nobody to call: #GP(0),
/// as the hypervisors whose calls these are refuse those of problem state.
pub(crate) fn call(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    if cpu.cpl == 3 {
        return Err(cpu.raise(vector::PROTECTION, Some(0)));
    }
    cpu.leave_when_done(Exit::Call);
    Ok(())
}

/// `hlt`.
pub(crate) fn halt(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    privileged(cpu)?;
    cpu.leave_when_done(Exit::Halt);
    Ok(())
}

/// `pause`.
pub(crate) fn pause(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    cpu.leave_when_done(Exit::Pause);
    Ok(())
}

/// `ud2`, and what may not be executed.
pub(crate) fn undefined(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    Err(cpu.raise(vector::INVALID_OPCODE, None))
}

/// What the engine does not implement.
pub(crate) fn unsupported(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    Err(cpu.unsupported())
}

/// #GP(0) unless in ring 0.
pub(crate) fn privileged(cpu: &mut Cpu) -> Result<(), Left> {
    if cpu.cpl == 0 { Ok(()) } else { Err(cpu.raise(vector::PROTECTION, Some(0))) }
}

/// The answer to `exit`, which ends the run if there is none yet; #GP(0) if that is a refusal.
pub(crate) fn answer(cpu: &mut Cpu, exit: Exit) -> Result<u64, Left> {
    if core::mem::take(&mut cpu.refused) {
        cpu.supplied = None;
        return Err(cpu.raise(vector::PROTECTION, Some(0)));
    }
    match cpu.supplied {
        Some(value) => Ok(value),
        None => Err(cpu.leave(exit)),
    }
}

/// The time-stamp counter: the machine's, and how far it was set ahead.
pub(crate) fn counter(cpu: &mut Cpu) -> Result<u64, Left> {
    let machines = answer(cpu, Exit::TimeStamp)?;
    Ok(machines.wrapping_add_signed(cpu.regs.msrs.tsc_ahead))
}

/// `rdtsc`: ring 0's alone while CR4.TSD is set.
pub(crate) fn time_stamp(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    if cpu.regs.cr4 & control::TSD != 0 {
        privileged(cpu)?;
    }
    let value = counter(cpu)?;
    cpu.regs.gpr[Reg::Rax] = value & 0xffff_ffff;
    cpu.regs.gpr[Reg::Rdx] = value >> 32;
    Ok(())
}

/// `rdtscp`.
pub(crate) fn time_stamp_and_cpu(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    time_stamp(cpu, bus, uop)?;
    cpu.regs.gpr[Reg::Rcx] = u64::from(cpu.regs.tsc_aux);
    Ok(())
}

/// `rdrand` and `rdseed`: CF says that there is a number, and the machine always has one.
pub(crate) fn random<T: Width>(cpu: &mut Cpu, _: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    let value = answer(cpu, Exit::Random)?;
    T::set(&mut cpu.regs.gpr, uop.dst, value);
    cpu.flags = Flags::known(bit::CF);
    Ok(())
}

/// `cli`, `sti`.
pub(crate) fn set_interrupts<const ON: bool>(
    cpu: &mut Cpu,
    _: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    if !cpu.has_io_privilege() {
        return Err(cpu.raise(vector::PROTECTION, Some(0)));
    }
    if ON && cpu.system_flags & bit::IF == 0 {
        cpu.shade_interrupts(uop);
    }
    cpu.system_flags &= !bit::IF;
    cpu.system_flags |= if ON { bit::IF } else { 0 };
    cpu.look_for_events();
    Ok(())
}

/// `invlpg`.
pub(crate) fn invalidate_page(cpu: &mut Cpu, _: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    privileged(cpu)?;
    let va = cpu.address(uop);
    cpu.tlb.flush_page(cpu.tlb.view().cut(va));
    cpu.remapped = true;
    Ok(())
}

/// `invpcid r64, m128` (SDM volume 2). Whose translations go is a matter of what is kept, and a
/// processor may drop any at any time: but for a single address, all go.
pub(crate) fn invalidate_contexts(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    privileged(cpu)?;
    let kind = cpu.regs.gpr.slot(uop.dst);
    let va = cpu.address(uop);
    let mut bytes = [0; 16];
    cpu.load_bytes(bus, va, &mut bytes)?;
    let descriptor = u128::from_le_bytes(bytes);
    let (context, address) = (descriptor as u64, (descriptor >> 64) as u64);
    let of_one_context = kind < 2;
    let fine = kind <= 3
        && (context < 1 << 12)
        && (!of_one_context || context == 0 || cpu.regs.cr4 & control::PCIDE != 0)
        && (kind != 0 || canonical(address));
    if !fine {
        return Err(cpu.raise(vector::PROTECTION, Some(0)));
    }
    if kind == 0 {
        cpu.tlb.flush_page(address);
        cpu.remapped = true;
    } else {
        cpu.flush_all();
    }
    Ok(())
}

/// `wbinvd`, `invd`: caches are not modelled.
pub(crate) fn write_back(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    privileged(cpu)
}

/// `lidt` (`INTERRUPTS`), `lgdt`; `imm` is the mask of the bits that a base has. #GP(0) for a base
/// that is not canonical.
pub(crate) fn load_table<const INTERRUPTS: bool>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    privileged(cpu)?;
    let va = cpu.address(uop);
    let mut bytes = [0; 10];
    let length = if uop.imm == u64::MAX { 10 } else { 6 };
    cpu.load_bytes(bus, va, &mut bytes[..length])?;
    let mut base = [0; 8];
    base.copy_from_slice(&bytes[2..]);
    let base = u64::from_le_bytes(base) & uop.imm;
    let limit = u16::from_le_bytes([bytes[0], bytes[1]]);
    if !canonical(base) {
        return Err(cpu.raise(vector::PROTECTION, Some(0)));
    }
    if INTERRUPTS {
        cpu.set_handlers(base, limit);
    } else {
        cpu.regs.gdtr = (base, limit);
    }
    Ok(())
}

/// `sidt` (`INTERRUPTS`), `sgdt`: all of the base, whatever the operand size (SDM volume 2, SGDT).
pub(crate) fn store_table<const INTERRUPTS: bool>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let va = cpu.address(uop);
    let (base, limit) = if INTERRUPTS { cpu.regs.idtr } else { cpu.regs.gdtr };
    let mut bytes = [0; 10];
    bytes[..2].copy_from_slice(&limit.to_le_bytes());
    bytes[2..].copy_from_slice(&base.to_le_bytes());
    let length = if uop.imm == u64::MAX { 10 } else { 6 };
    cpu.store_bytes(bus, va, &bytes[..length])
}
