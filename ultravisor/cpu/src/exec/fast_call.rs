//! SYSCALL, SYSENTER and their returns; SWAPGS; the bases of FS and GS; SMAP's flag (SDM volume 2;
//! volume 3, 5.8.7 and 5.8.8). Segments are not read from any table: they are flat.

use crate::bus::Bus;
use crate::cpu::{Cpu, control, vector};
use crate::exec::system::privileged;
use crate::flags::bit;
use crate::paging::canonical;
use crate::regs::Reg;
use crate::segment::{Attributes, Seg, Segment, selector};
use crate::uop::{Left, Uop};
use crate::width::Width;

fn undefined(cpu: &mut Cpu) -> Left {
    cpu.raise(vector::INVALID_OPCODE, None)
}

fn refused(cpu: &mut Cpu) -> Left {
    cpu.raise(vector::PROTECTION, Some(0))
}

/// Goes to `rip` at `level`, with flat segments of these selectors.
fn go(cpu: &mut Cpu, level: u8, code: u16, stack: u16, rip: u64) {
    let rpl = u16::from(level);
    let at_level = |value: u16| value & !selector::RPL | rpl;
    cpu.regs.set_segment(Seg::Ss, Segment::flat(at_level(stack), Attributes::data(level)));
    cpu.go_far(Segment::flat(at_level(code), Attributes::code_64(level)), rip);
}

/// `syscall`.
pub(crate) fn call(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    if cpu.regs.efer & control::SCE == 0 {
        return Err(undefined(cpu));
    }
    let (star, lstar, mask) = (cpu.regs.msrs.star, cpu.regs.msrs.lstar, cpu.regs.msrs.fmask);
    let flags = cpu.rflags();
    cpu.regs.gpr[Reg::Rcx] = cpu.regs.rip;
    cpu.regs.gpr[Reg::R11] = flags;
    cpu.set_rflags(flags & !mask);
    if mask & bit::TF != 0 {
        // What TF was set for has ended.
        cpu.pending.steps = false;
    }
    let code = (star >> 32) as u16;
    go(cpu, 0, code, code.wrapping_add(8), lstar);
    Ok(())
}

/// `sysret` to 64-bit code; to compatibility mode is our limit.
pub(crate) fn call_return<const WIDE: bool>(
    cpu: &mut Cpu,
    _: &mut dyn Bus,
    _: &Uop,
) -> Result<(), Left> {
    /// What of R11 counts: not RF and VM.
    const RESTORED: u64 = 0x003c_7fd7;
    if cpu.regs.efer & control::SCE == 0 {
        return Err(undefined(cpu));
    }
    privileged(cpu)?;
    if !WIDE {
        return Err(cpu.unsupported());
    }
    let rip = cpu.regs.gpr[Reg::Rcx];
    if !canonical(rip) {
        return Err(refused(cpu));
    }
    let user = (cpu.regs.msrs.star >> 48) as u16;
    let flags = cpu.regs.gpr[Reg::R11] & RESTORED;
    go(cpu, 3, user.wrapping_add(16), user.wrapping_add(8), rip);
    cpu.set_rflags(flags);
    cpu.look_for_events();
    Ok(())
}

/// The segments of SYSENTER and SYSEXIT; #GP(0) if there are none.
fn sysenter_code(cpu: &mut Cpu) -> Result<u16, Left> {
    let code = cpu.regs.msrs.sysenter_cs as u16;
    if selector::is_null(code) { Err(refused(cpu)) } else { Ok(code & !selector::RPL) }
}

/// `sysenter`.
pub(crate) fn enter(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    let code = sysenter_code(cpu)?;
    cpu.system_flags &= !bit::IF;
    cpu.regs.gpr[Reg::Rsp] = cpu.regs.msrs.sysenter_esp;
    go(cpu, 0, code, code.wrapping_add(8), cpu.regs.msrs.sysenter_eip);
    Ok(())
}

/// `sysexit` to 64-bit code; to compatibility mode is our limit.
pub(crate) fn exit<const WIDE: bool>(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    let code = sysenter_code(cpu)?;
    privileged(cpu)?;
    if !WIDE {
        return Err(cpu.unsupported());
    }
    let (rsp, rip) = (cpu.regs.gpr[Reg::Rcx], cpu.regs.gpr[Reg::Rdx]);
    if !canonical(rsp) || !canonical(rip) {
        return Err(refused(cpu));
    }
    cpu.regs.gpr[Reg::Rsp] = rsp;
    go(cpu, 3, code.wrapping_add(32), code.wrapping_add(40), rip);
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

/// #UD unless CR4 lets every ring at the bases.
fn open_bases(cpu: &mut Cpu) -> Result<(), Left> {
    if cpu.regs.cr4 & control::FSGSBASE == 0 { Err(undefined(cpu)) } else { Ok(()) }
}

/// `rdfsbase` (`FS`), `rdgsbase`.
pub(crate) fn read_base<const FS: bool, T: Width>(
    cpu: &mut Cpu,
    _: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    open_bases(cpu)?;
    let base = if FS { cpu.regs.fs_base() } else { cpu.regs.gs_base() };
    T::set(&mut cpu.regs.gpr, uop.dst, base & T::MASK);
    Ok(())
}

/// `wrfsbase` (`FS`), `wrgsbase`.
pub(crate) fn write_base<const FS: bool, T: Width>(
    cpu: &mut Cpu,
    _: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    open_bases(cpu)?;
    let base = T::get(&cpu.regs.gpr, uop.dst);
    if !canonical(base) {
        return Err(refused(cpu));
    }
    if FS {
        cpu.regs.set_fs_base(base)
    } else {
        cpu.regs.set_gs_base(base)
    }
    Ok(())
}

/// `stac` (`ON`), `clac`: #UD but in ring 0.
pub(crate) fn open_user_pages<const ON: bool>(
    cpu: &mut Cpu,
    _: &mut dyn Bus,
    _: &Uop,
) -> Result<(), Left> {
    if cpu.cpl != 0 {
        return Err(undefined(cpu));
    }
    cpu.system_flags &= !bit::AC;
    cpu.system_flags |= if ON { bit::AC } else { 0 };
    cpu.select_view();
    Ok(())
}
