//! What leaves the CPU or changes its mode: ports, calls, clocks, control and model-specific
//! registers. They end a block.

use crate::bus::Bus;
use crate::cpu::{Cpu, control, vector};
use crate::exit::Exit;
use crate::flags::{Flags, bit};
use crate::paging::{PHYSICAL_BITS, canonical};
use crate::regs::Reg;
use crate::uop::{Left, Uop};
use crate::width::Width;

/// An exit that is told once the instruction is done.
pub(crate) fn call(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
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

/// The answer to `exit`, which ends the run if there is none yet.
fn answer(cpu: &mut Cpu, exit: Exit) -> Result<u64, Left> {
    match cpu.supplied {
        Some(value) => Ok(value),
        None => Err(cpu.leave(exit)),
    }
}

/// `rdtsc`.
pub(crate) fn time_stamp(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    let value = answer(cpu, Exit::TimeStamp)?;
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

/// The port: an immediate, or dx if that is negative.
fn port(cpu: &Cpu, uop: &Uop) -> u16 {
    if uop.small < 0 { cpu.regs.gpr[Reg::Rdx] as u16 } else { uop.small as u16 }
}

/// #GP(0) unless IOPL or the task-state segment's bitmap lets at `bytes` ports from `port` (SDM
/// volume 1, 18.5).
fn may_use_port(cpu: &mut Cpu, bus: &mut dyn Bus, port: u16, bytes: u32) -> Result<(), Left> {
    if cpu.has_io_privilege() || cpu.port_is_open(bus, port, bytes as u8)? {
        Ok(())
    } else {
        Err(cpu.raise(vector::PROTECTION, Some(0)))
    }
}

/// `in`.
pub(crate) fn port_in<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    let port = port(cpu, uop);
    may_use_port(cpu, bus, port, T::BITS / 8)?;
    let value = answer(cpu, Exit::PortRead { port, bytes: (T::BITS / 8) as u8 })?;
    T::set(&mut cpu.regs.gpr, Reg::Rax as u8, value);
    Ok(())
}

/// `out`.
pub(crate) fn port_out<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    let value = T::get(&cpu.regs.gpr, Reg::Rax as u8) as u32;
    let port = port(cpu, uop);
    may_use_port(cpu, bus, port, T::BITS / 8)?;
    cpu.leave_when_done(Exit::PortWrite { port, bytes: (T::BITS / 8) as u8, value });
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
    cpu.tlb.flush_page(va);
    cpu.remapped = true;
    Ok(())
}

/// `wbinvd`: caches are not modelled.
pub(crate) fn write_back(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    privileged(cpu)
}

/// `mov r64, crN`.
pub(crate) fn read_control(cpu: &mut Cpu, _: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    privileged(cpu)?;
    let regs = &cpu.regs;
    let value = match uop.src {
        0 => regs.cr0,
        2 => regs.cr2,
        3 => regs.cr3,
        4 => regs.cr4,
        8 => regs.cr8,
        _ => return Err(cpu.unsupported()),
    };
    *cpu.regs.gpr.slot_mut(uop.dst) = value;
    Ok(())
}

/// `mov crN, r64`. Leaving 64-bit mode, and modes that CPUID does not offer, are our limit.
pub(crate) fn write_control(cpu: &mut Cpu, _: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    use control::{AM, EM, ET, MP, NE, OSFXSR, OSXMMEXCPT, OSXSAVE, PAE, PE, PG, PGE, TS, WP};
    privileged(cpu)?;
    let value = cpu.regs.gpr.slot(uop.src);
    if uop.dst == 8 {
        return set_priority(cpu, value);
    }
    match uop.dst {
        0 if value & (PE | PG) == PE | PG
            && value & !(PE | MP | EM | TS | ET | NE | WP | AM | PG) == 0 =>
        {
            cpu.regs.cr0 = value | ET;
        }
        2 => cpu.regs.cr2 = value,
        3 if value >> PHYSICAL_BITS == 0 => cpu.regs.cr3 = value,
        4 if value & PAE != 0 && value & !(PAE | PGE | OSFXSR | OSXMMEXCPT | OSXSAVE) == 0 => {
            cpu.regs.cr4 = value;
        }
        _ => return Err(cpu.unsupported()),
    }
    if uop.dst != 2 {
        cpu.flush_all();
    }
    Ok(())
}

/// CR8, the task priority: four bits (SDM volume 3, 10.8.6).
fn set_priority(cpu: &mut Cpu, value: u64) -> Result<(), Left> {
    if value > 15 {
        return Err(cpu.raise(vector::PROTECTION, Some(0)));
    }
    cpu.regs.cr8 = value;
    cpu.look_for_events();
    Ok(())
}

/// Model-specific registers that the engine has (SDM volume 4).
mod msr {
    pub const EFER: u32 = 0xc000_0080;
    pub const FS_BASE: u32 = 0xc000_0100;
    pub const GS_BASE: u32 = 0xc000_0101;
    pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
    pub const TSC_AUX: u32 = 0xc000_0103;
}

/// `rdmsr`.
pub(crate) fn read_msr(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    privileged(cpu)?;
    let value = match cpu.regs.gpr[Reg::Rcx] as u32 {
        msr::EFER => cpu.regs.efer,
        msr::FS_BASE => cpu.regs.fs_base(),
        msr::GS_BASE => cpu.regs.gs_base(),
        msr::KERNEL_GS_BASE => cpu.regs.kernel_gs_base,
        msr::TSC_AUX => u64::from(cpu.regs.tsc_aux),
        _ => return Err(cpu.unsupported()),
    };
    cpu.regs.gpr[Reg::Rax] = value & 0xffff_ffff;
    cpu.regs.gpr[Reg::Rdx] = value >> 32;
    Ok(())
}

/// `wrmsr`. #GP for a base that is not canonical.
pub(crate) fn write_msr(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    use control::{LMA, LME, NXE, SCE};
    privileged(cpu)?;
    let gpr = &cpu.regs.gpr;
    let value = (gpr[Reg::Rdx] << 32) | (gpr[Reg::Rax] & 0xffff_ffff);
    let number = gpr[Reg::Rcx] as u32;
    if matches!(number, msr::FS_BASE | msr::GS_BASE | msr::KERNEL_GS_BASE) && !canonical(value) {
        return Err(cpu.raise(vector::PROTECTION, Some(0)));
    }
    match number {
        msr::EFER if value & !(SCE | LME | LMA | NXE) == 0 && value & LME != 0 => {
            cpu.regs.efer = value | LMA;
            cpu.flush_all();
        }
        msr::FS_BASE => cpu.regs.set_fs_base(value),
        msr::GS_BASE => cpu.regs.set_gs_base(value),
        msr::KERNEL_GS_BASE => cpu.regs.kernel_gs_base = value,
        msr::TSC_AUX => cpu.regs.tsc_aux = value as u32,
        _ => return Err(cpu.unsupported()),
    }
    Ok(())
}

/// `swapgs`.
pub(crate) fn swap_gs(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    privileged(cpu)?;
    let old = cpu.regs.gs_base();
    let new = core::mem::replace(&mut cpu.regs.kernel_gs_base, old);
    cpu.regs.set_gs_base(new);
    Ok(())
}

/// `lidt` (`INTERRUPTS`), `lgdt`. #GP(0) for a base that is not canonical.
pub(crate) fn load_table<const INTERRUPTS: bool>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    privileged(cpu)?;
    let va = cpu.address(uop);
    let mut bytes = [0; 10];
    cpu.load_bytes(bus, va, &mut bytes)?;
    let mut base = [0; 8];
    base.copy_from_slice(&bytes[2..]);
    let (base, limit) = (u64::from_le_bytes(base), u16::from_le_bytes([bytes[0], bytes[1]]));
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

/// `sidt` (`INTERRUPTS`), `sgdt`.
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
    cpu.store_bytes(bus, va, &bytes)
}
