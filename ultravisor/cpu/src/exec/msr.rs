//! Model-specific registers (SDM volume 4). Those of the local APIC are the machine's: they leave as
//! ports do.

use crate::bus::Bus;
use crate::cpu::{Cpu, control, vector};
use crate::exec::system::{answer, counter, privileged};
use crate::exit::Exit;
use crate::mem::canonical;
use crate::paging::PHYSICAL_BITS;
use crate::regs::Reg;
use crate::uop::{Left, Uop};

/// Their numbers.
mod number {
    pub const P5_MC_TYPE: u32 = 1;
    pub const TSC: u32 = 0x10;
    pub const PLATFORM_ID: u32 = 0x17;
    pub const APIC_BASE: u32 = 0x1b;
    pub const BIOS_UPDATE: u32 = 0x79;
    pub const BIOS_SIGN_ID: u32 = 0x8b;
    pub const MTRR_CAPABILITIES: u32 = 0xfe;
    pub const SYSENTER_CS: u32 = 0x174;
    pub const SYSENTER_ESP: u32 = 0x175;
    pub const SYSENTER_EIP: u32 = 0x176;
    pub const MISC_ENABLE: u32 = 0x1a0;
    pub const DEBUGCTL: u32 = 0x1d9;
    pub const MTRR_RANGES: u32 = 0x200;
    pub const MTRR_RANGES_LAST: u32 = 0x20f;
    pub const MTRR_FIXED_64K: u32 = 0x250;
    pub const MTRR_FIXED_16K: u32 = 0x258;
    pub const MTRR_FIXED_16K_LAST: u32 = 0x259;
    pub const MTRR_FIXED_4K: u32 = 0x268;
    pub const MTRR_FIXED_4K_LAST: u32 = 0x26f;
    pub const PAT: u32 = 0x277;
    pub const MTRR_DEFAULT: u32 = 0x2ff;
    pub const TSC_DEADLINE: u32 = 0x6e0;
    pub const X2APIC: u32 = 0x800;
    pub const X2APIC_LAST: u32 = 0x8ff;
    pub const EFER: u32 = 0xc000_0080;
    pub const STAR: u32 = 0xc000_0081;
    pub const LSTAR: u32 = 0xc000_0082;
    pub const CSTAR: u32 = 0xc000_0083;
    pub const FMASK: u32 = 0xc000_0084;
    pub const FS_BASE: u32 = 0xc000_0100;
    pub const GS_BASE: u32 = 0xc000_0101;
    pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
    pub const TSC_AUX: u32 = 0xc000_0103;
}

/// Eight variable ranges, fixed ranges, write combining.
const MTRR_CAPABILITIES: u64 = 8 | 1 << 8 | 1 << 10;

/// What to do about a register that the engine does not have. Those that processors have though no
/// bit of CPUID says so (SDM volume 4, table 2-2) are our limit; of the others CPUID says that they
/// are not there, and an access to those is #GP(0) (volume 2, RDMSR), which kernels rely on.
fn absent(cpu: &mut Cpu, number: u32) -> Left {
    use number::{BIOS_SIGN_ID, BIOS_UPDATE, DEBUGCTL, MISC_ENABLE, P5_MC_TYPE, PLATFORM_ID};
    match number {
        0..=P5_MC_TYPE | PLATFORM_ID | BIOS_UPDATE | BIOS_SIGN_ID | MISC_ENABLE | DEBUGCTL => {
            cpu.unsupported()
        }
        _ => cpu.raise(vector::PROTECTION, Some(0)),
    }
}

/// Whether the machine answers for it.
const fn is_apics(number: u32) -> bool {
    matches!(
        number,
        number::APIC_BASE | number::TSC_DEADLINE | number::X2APIC..=number::X2APIC_LAST
    )
}

/// A deadline of the local APIC's timer in the guest's count of time as one in the machine's, or the
/// other way round (SDM volume 3, 11.5.4.1). 0 is none; one before the count began is past.
fn shifted(deadline: u64, by: i128) -> u64 {
    if deadline == 0 {
        return 0;
    }
    (i128::from(deadline) + by).clamp(1, u64::MAX.into()) as u64
}

/// Which of [`crate::regs::Msrs::mtrr`] a range register is.
const fn mtrr(number: u32) -> Option<usize> {
    use number::*;
    let (first, base) = match number {
        MTRR_RANGES..=MTRR_RANGES_LAST => (MTRR_RANGES, 0),
        MTRR_FIXED_64K => (MTRR_FIXED_64K, 16),
        MTRR_FIXED_16K..=MTRR_FIXED_16K_LAST => (MTRR_FIXED_16K, 17),
        MTRR_FIXED_4K..=MTRR_FIXED_4K_LAST => (MTRR_FIXED_4K, 19),
        _ => return None,
    };
    Some((number - first) as usize + base)
}

/// Whether `kind` is a memory type: uncacheable, write combining, through, protected, back.
const fn is_memory_type(kind: u8) -> bool {
    matches!(kind, 0 | 1 | 4..=6)
}

/// Whether a range register may hold `value` (SDM volume 3, 11.11.2).
fn fits_mtrr(number: u32, value: u64) -> bool {
    let beyond = value >> PHYSICAL_BITS != 0;
    match number {
        number::MTRR_RANGES..=number::MTRR_RANGES_LAST if number & 1 == 0 => {
            is_memory_type(value as u8) && value & 0xf00 == 0 && !beyond
        }
        number::MTRR_RANGES..=number::MTRR_RANGES_LAST => value & 0x7ff == 0 && !beyond,
        _ => value.to_le_bytes().into_iter().all(is_memory_type),
    }
}

/// Whether an entry of the page attribute table may be so: a memory type, or "uncached minus".
const fn is_page_attribute(kind: u8) -> bool {
    is_memory_type(kind) || kind == 7
}

/// `rdmsr`.
pub(crate) fn read_msr(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    privileged(cpu)?;
    let number = cpu.regs.gpr[Reg::Rcx] as u32;
    let value = read(cpu, number)?;
    cpu.regs.gpr[Reg::Rax] = value & 0xffff_ffff;
    cpu.regs.gpr[Reg::Rdx] = value >> 32;
    Ok(())
}

fn read(cpu: &mut Cpu, number: u32) -> Result<u64, Left> {
    if number == number::TSC_DEADLINE {
        let deadline = answer(cpu, Exit::MsrRead { number })?;
        return Ok(shifted(deadline, cpu.regs.msrs.tsc_ahead.into()));
    }
    if is_apics(number) {
        return answer(cpu, Exit::MsrRead { number });
    }
    let (regs, msrs) = (&cpu.regs, &cpu.regs.msrs);
    if let Some(range) = mtrr(number) {
        return Ok(msrs.mtrr.get(range).copied().unwrap_or(0));
    }
    Ok(match number {
        number::TSC => return counter(cpu),
        number::MTRR_CAPABILITIES => MTRR_CAPABILITIES,
        number::MTRR_DEFAULT => msrs.mtrr_default,
        number::PAT => msrs.pat,
        number::SYSENTER_CS => msrs.sysenter_cs,
        number::SYSENTER_ESP => msrs.sysenter_esp,
        number::SYSENTER_EIP => msrs.sysenter_eip,
        number::EFER => regs.efer,
        number::STAR => msrs.star,
        number::LSTAR => msrs.lstar,
        number::CSTAR => msrs.cstar,
        number::FMASK => msrs.fmask,
        number::FS_BASE => regs.fs_base(),
        number::GS_BASE => regs.gs_base(),
        number::KERNEL_GS_BASE => regs.kernel_gs_base,
        number::TSC_AUX => u64::from(regs.tsc_aux),
        _ => return Err(absent(cpu, number)),
    })
}

/// `wrmsr`. #GP for an address that is not canonical, for a memory type that is none.
pub(crate) fn write_msr(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    privileged(cpu)?;
    let gpr = &cpu.regs.gpr;
    let value = (gpr[Reg::Rdx] << 32) | (gpr[Reg::Rax] & 0xffff_ffff);
    let number = gpr[Reg::Rcx] as u32;
    if number == number::TSC_DEADLINE {
        let value = shifted(value, -i128::from(cpu.regs.msrs.tsc_ahead));
        return answer(cpu, Exit::MsrWrite { number, value }).map(drop);
    }
    if is_apics(number) {
        return answer(cpu, Exit::MsrWrite { number, value }).map(drop);
    }
    if number == number::TSC {
        let machines = answer(cpu, Exit::TimeStamp)?;
        cpu.regs.msrs.tsc_ahead = value.wrapping_sub(machines) as i64;
        return Ok(());
    }
    if !fits(number, value) {
        return Err(cpu.raise(vector::PROTECTION, Some(0)));
    }
    if number == number::EFER {
        return set_efer(cpu, value);
    }
    let msrs = &mut cpu.regs.msrs;
    if let Some(range) = mtrr(number).and_then(|range| msrs.mtrr.get_mut(range)) {
        *range = value;
        return Ok(());
    }
    match number {
        number::MTRR_DEFAULT => msrs.mtrr_default = value,
        number::PAT => msrs.pat = value,
        number::SYSENTER_CS => msrs.sysenter_cs = value & 0xffff_ffff,
        number::SYSENTER_ESP => msrs.sysenter_esp = value,
        number::SYSENTER_EIP => msrs.sysenter_eip = value,
        number::STAR => msrs.star = value,
        number::LSTAR => msrs.lstar = value,
        number::CSTAR => msrs.cstar = value,
        number::FMASK => msrs.fmask = value & 0xffff_ffff,
        number::FS_BASE => cpu.regs.set_fs_base(value),
        number::GS_BASE => cpu.regs.set_gs_base(value),
        number::KERNEL_GS_BASE => cpu.regs.kernel_gs_base = value,
        number::TSC_AUX => cpu.regs.tsc_aux = value as u32,
        _ => return Err(absent(cpu, number)),
    }
    Ok(())
}

/// Whether register `number` may hold `value`.
fn fits(number: u32, value: u64) -> bool {
    const ENABLES: u64 = 3 << 10;
    match number {
        number::SYSENTER_ESP
        | number::SYSENTER_EIP
        | number::LSTAR
        | number::CSTAR
        | number::FS_BASE
        | number::GS_BASE
        | number::KERNEL_GS_BASE => canonical(value),
        number::MTRR_CAPABILITIES => false,
        number::MTRR_DEFAULT => is_memory_type(value as u8) && value & !(ENABLES | 0xff) == 0,
        number::PAT => value.to_le_bytes().into_iter().all(is_page_attribute),
        _ => mtrr(number).is_none() || fits_mtrr(number, value),
    }
}

/// LME stays as it is while paging is on (SDM volume 3, 9.8.5); LMA is the processor's.
fn set_efer(cpu: &mut Cpu, value: u64) -> Result<(), Left> {
    use control::{LMA, LME, NXE, PG, SCE};
    let changes = value ^ cpu.regs.efer;
    let while_paging = changes & LME != 0 && cpu.regs.cr0 & PG != 0;
    if value & !(SCE | LME | LMA | NXE) != 0 || while_paging {
        return Err(cpu.raise(vector::PROTECTION, Some(0)));
    }
    cpu.regs.efer = value & !LMA | cpu.regs.efer & LMA;
    cpu.flush_all();
    Ok(())
}

/// `rdpmc`: there are no counters, so none has the number asked for.
pub(crate) fn read_counter(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    Err(cpu.raise(vector::PROTECTION, Some(0)))
}
