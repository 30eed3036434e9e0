//! CR0, CR2, CR3, CR4, CR8, and the parts of CR0 that have instructions of their own (SDM volume 3,
//! 2.5). Leaving 64-bit mode, and modes that CPUID does not offer, are our limit.

use super::Source;
use crate::bus::Bus;
use crate::cpu::{Cpu, control, vector};
use crate::exec::Place;
use crate::exec::system::privileged;
use crate::paging::PHYSICAL_BITS;
use crate::uop::{Left, Uop};
use crate::width::Width;

/// The bits of CR4 that may be set, as CPUID offers what they switch on.
const CR4_OFFERED: u64 = {
    use control::*;
    TSD | DE | PAE | PGE | PCE | OSFXSR | OSXMMEXCPT | FSGSBASE | PCIDE | OSXSAVE | SMEP | SMAP
};

/// MOV to CR3 with PCIDs: translations may be kept. Ours are not; that is always allowed (SDM
/// volume 3, 4.10.4.1).
const KEEP: u64 = 1 << 63;

fn refused(cpu: &mut Cpu) -> Result<(), Left> {
    Err(cpu.raise(vector::PROTECTION, Some(0)))
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
        _ => return Err(cpu.raise(vector::INVALID_OPCODE, None)),
    };
    *cpu.regs.gpr.slot_mut(uop.dst) = value;
    Ok(())
}

/// `mov crN, r64`.
pub(crate) fn write_control(cpu: &mut Cpu, _: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    privileged(cpu)?;
    let value = cpu.regs.gpr.slot(uop.src);
    match uop.dst {
        0 => set_cr0(cpu, value),
        2 => {
            cpu.regs.cr2 = value;
            Ok(())
        }
        3 => set_cr3(cpu, value),
        4 => set_cr4(cpu, value),
        8 => set_priority(cpu, value),
        _ => Err(cpu.raise(vector::INVALID_OPCODE, None)),
    }
}

/// CD and NW are kept and mean nothing: there is no cache.
fn set_cr0(cpu: &mut Cpu, value: u64) -> Result<(), Left> {
    use control::{AM, CD, EM, ET, MP, NE, NW, PE, PG, TS, WP};
    let paging_alone = value & PG != 0 && value & PE == 0;
    let through_alone = value & NW != 0 && value & CD == 0;
    if value >> 32 != 0 || paging_alone || through_alone {
        return refused(cpu);
    }
    if value & PG == 0 {
        return Err(cpu.unsupported());
    }
    cpu.regs.cr0 = value & (PE | MP | EM | TS | NE | WP | AM | CD | NW | PG) | ET;
    cpu.select_view();
    cpu.flush_all();
    Ok(())
}

fn set_cr3(cpu: &mut Cpu, value: u64) -> Result<(), Left> {
    let keep = if cpu.regs.cr4 & control::PCIDE != 0 { KEEP } else { 0 };
    let value = value & !keep;
    if value >> PHYSICAL_BITS != 0 {
        return refused(cpu);
    }
    cpu.regs.cr3 = value;
    cpu.flush_all();
    Ok(())
}

fn set_cr4(cpu: &mut Cpu, value: u64) -> Result<(), Left> {
    use control::{PAE, PCIDE};
    let begins = value & !cpu.regs.cr4;
    // In long mode PAE stays; PCIDs begin with that of 0.
    if value & PAE == 0 || begins & PCIDE != 0 && cpu.regs.cr3 & 0xfff != 0 {
        return refused(cpu);
    }
    if value & !CR4_OFFERED != 0 {
        return Err(cpu.unsupported());
    }
    cpu.regs.cr4 = value;
    cpu.select_view();
    cpu.flush_all();
    Ok(())
}

/// CR8, the task priority: four bits (SDM volume 3, 10.8.6).
fn set_priority(cpu: &mut Cpu, value: u64) -> Result<(), Left> {
    if value > 15 {
        return refused(cpu);
    }
    cpu.regs.cr8 = value;
    cpu.look_for_events();
    Ok(())
}

/// `clts`.
pub(crate) fn clear_task_switched(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    privileged(cpu)?;
    cpu.regs.cr0 &= !control::TS;
    Ok(())
}

/// `lmsw`: the lower four bits of CR0, of which PE cannot be cleared.
pub(crate) fn load_status<S: Source>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    use control::{EM, MP, PE, TS};
    const LOADED: u64 = PE | MP | EM | TS;
    privileged(cpu)?;
    let value = S::get::<u16>(cpu, bus, uop)?;
    cpu.regs.cr0 = cpu.regs.cr0 & !(LOADED & !PE) | value & LOADED;
    Ok(())
}

/// `smsw`: CR0, as much of it as the operand holds, for whoever asks.
pub(crate) fn store_status<T: Width, P: Place>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let value = cpu.regs.cr0 & T::MASK;
    P::write::<T>(cpu, bus, uop, value)
}
