//! CR0, CR2, CR3, CR4, CR8, and the parts of CR0 that have instructions of their own (SDM volume 3,
//! 2.5), and the changes of mode by them (volume 3, 9.8.5 and 4.1.2). Real mode, and what CPUID does not
//! offer, are our limit.

use super::Source;
use crate::bus::Bus;
use crate::cpu::{Cpu, control, vector};
use crate::exec::Place;
use crate::exec::system::privileged;
use crate::form::Form;
use crate::paging::PHYSICAL_BITS;
use crate::segment::Seg;
use crate::uop::{Left, Uop};
use crate::width::Width;

/// The bits of CR4 that may be set, as CPUID offers what they switch on.
const CR4_OFFERED: u64 = {
    use control::*;
    TSD | DE
        | PSE
        | PAE
        | PGE
        | PCE
        | OSFXSR
        | OSXMMEXCPT
        | FSGSBASE
        | PCIDE
        | OSXSAVE
        | SMEP
        | SMAP
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
        8 => u64::from(regs.task_priority >> 4),
        _ => return Err(cpu.raise(vector::INVALID_OPCODE, None)),
    };
    // 32-bit code sees the lower half.
    *cpu.regs.gpr.slot_mut(uop.dst) = cpu.form.cut(value);
    Ok(())
}

/// `mov crN, r64`.
pub(crate) fn write_control(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    privileged(cpu)?;
    let value = cpu.regs.gpr.slot(uop.src);
    match uop.dst {
        0 => set_cr0(cpu, bus, value),
        2 => {
            cpu.regs.cr2 = value;
            Ok(())
        }
        3 => set_cr3(cpu, bus, value),
        4 => set_cr4(cpu, bus, value),
        8 => set_priority(cpu, value),
        _ => Err(cpu.raise(vector::INVALID_OPCODE, None)),
    }
}

/// CD and NW are kept and mean nothing: there is no cache.
fn set_cr0(cpu: &mut Cpu, bus: &mut dyn Bus, value: u64) -> Result<(), Left> {
    use control::{AM, CD, EM, ET, MP, NE, NW, PE, PG, TS, WP};
    let paging_alone = value & PG != 0 && value & PE == 0;
    let through_alone = value & NW != 0 && value & CD == 0;
    if value >> 32 != 0 || paging_alone || through_alone {
        return refused(cpu);
    }
    if value & PE == 0 {
        return Err(cpu.unsupported());
    }
    let value = value & (PE | MP | EM | TS | NE | WP | AM | CD | NW | PG) | ET;
    let begins = value & !cpu.regs.cr0 & PG != 0;
    let ends = !value & cpu.regs.cr0 & PG != 0;
    if begins {
        begin_paging(cpu, bus)?;
    }
    if ends {
        // Not from 64-bit mode, and not with translations of several contexts.
        if cpu.form == Form::Long || cpu.regs.cr4 & control::PCIDE != 0 {
            return refused(cpu);
        }
        cpu.regs.efer &= !control::LMA;
    } else if value & PG != 0 && !begins && (value ^ cpu.regs.cr0) & (CD | NW) != 0 {
        load_directory_pointers(cpu, bus, cpu.regs.cr3, cpu.regs.cr4)?;
    }
    cpu.regs.cr0 = value;
    cpu.remode();
    Ok(())
}

/// What CR0.PG switches on: long mode if EFER.LME asks for it, else 32-bit or PAE paging.
fn begin_paging(cpu: &mut Cpu, bus: &mut dyn Bus) -> Result<(), Left> {
    if cpu.regs.efer & control::LME == 0 {
        return load_directory_pointers(cpu, bus, cpu.regs.cr3, cpu.regs.cr4);
    }
    let of_64_bit_code = cpu.regs.segment(Seg::Cs).attributes.long();
    if cpu.regs.cr4 & control::PAE == 0 || of_64_bit_code {
        return refused(cpu);
    }
    cpu.regs.efer |= control::LMA;
    Ok(())
}

/// The four entries that PAE paging begins with, which the processor keeps; with CR3 and CR4 as
/// they will be. #GP(0) for a reserved bit in one that is present (SDM volume 3, 4.4.1).
fn load_directory_pointers(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    cr3: u64,
    cr4: u64,
) -> Result<(), Left> {
    if cr4 & control::PAE == 0 || cpu.is_long_mode() {
        return Ok(());
    }
    let mut pointers = [0; 4];
    for (pointer, at) in pointers.iter_mut().zip((cr3 & 0xffff_ffe0..).step_by(8)) {
        *pointer = cpu.physical_word(bus, at)?;
        if *pointer & 1 != 0 && *pointer & (0x1e6 | !0 << PHYSICAL_BITS) != 0 {
            return refused(cpu);
        }
    }
    cpu.regs.directory_pointers = pointers;
    Ok(())
}

fn set_cr3(cpu: &mut Cpu, bus: &mut dyn Bus, value: u64) -> Result<(), Left> {
    let keep = if cpu.regs.cr4 & control::PCIDE != 0 { KEEP } else { 0 };
    let value = value & !keep;
    if value >> PHYSICAL_BITS != 0 {
        return refused(cpu);
    }
    if cpu.regs.cr0 & control::PG != 0 {
        load_directory_pointers(cpu, bus, value, cpu.regs.cr4)?;
    }
    cpu.regs.cr3 = value;
    cpu.flush_all();
    Ok(())
}

fn set_cr4(cpu: &mut Cpu, bus: &mut dyn Bus, value: u64) -> Result<(), Left> {
    use control::{PAE, PCIDE, PG, PGE, PSE, SMEP};
    let begins = value & !cpu.regs.cr4;
    let long = cpu.is_long_mode();
    // In long mode PAE stays; PCIDs are long mode's, and begin with that of 0.
    let contexts = begins & PCIDE != 0 && (!long || cpu.regs.cr3 & 0xfff != 0);
    if long && value & PAE == 0 || contexts {
        return refused(cpu);
    }
    if value & !CR4_OFFERED != 0 {
        return Err(cpu.unsupported());
    }
    if cpu.regs.cr0 & PG != 0 && (value ^ cpu.regs.cr4) & (PAE | PGE | PSE | SMEP) != 0 {
        load_directory_pointers(cpu, bus, cpu.regs.cr3, value)?;
    }
    cpu.regs.cr4 = value;
    cpu.remode();
    Ok(())
}

/// CR8, the task priority: four bits, which clear those below (SDM volume 3, 11.8.6).
fn set_priority(cpu: &mut Cpu, value: u64) -> Result<(), Left> {
    if value > 15 {
        return refused(cpu);
    }
    cpu.regs.task_priority = (value as u8) << 4;
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
