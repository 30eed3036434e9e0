//! SYSCALL, SYSENTER and their returns; SWAPGS; the bases of FS and GS; SMAP's flag (SDM volume 2;
//! volume 3, 5.8.7 and 5.8.8). Segments are not read from any table: they are flat.

use crate::bus::Bus;
use crate::cpu::{Cpu, control, vector};
use crate::exec::system::privileged;
use crate::flags::bit;
use crate::form::Form;
use crate::mem::canonical;
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

/// Goes to `rip` at the level of `code`, with flat segments of these selectors.
fn go(cpu: &mut Cpu, attributes: Attributes, code: u16, stack: u16, rip: u64) {
    let level = attributes.dpl();
    let at_level = |value: u16| value & !selector::RPL | u16::from(level);
    cpu.regs.set_segment(Seg::Ss, Segment::flat(at_level(stack), Attributes::data(level)));
    cpu.go_far(Segment::flat(at_level(code), attributes), rip);
}

/// `syscall`: 64-bit mode's alone (SDM volume 2, SYSCALL).
pub(crate) fn call(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    if cpu.regs.efer & control::SCE == 0 || cpu.form != Form::Long {
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
    go(cpu, Attributes::code_64(0), code, code.wrapping_add(8), lstar);
    Ok(())
}

/// `sysret` to 64-bit code (`WIDE`) or to compatibility mode.
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
    // The manual has #UD first; the processors that were tried have this.
    privileged(cpu)?;
    if cpu.form != Form::Long {
        return Err(undefined(cpu));
    }
    let rip = cpu.regs.gpr[Reg::Rcx];
    if WIDE && !canonical(rip) {
        return Err(refused(cpu));
    }
    let user = (cpu.regs.msrs.star >> 48) as u16;
    let flags = cpu.regs.gpr[Reg::R11] & RESTORED;
    let stack = user.wrapping_add(8);
    if WIDE {
        go(cpu, Attributes::code_64(3), user.wrapping_add(16), stack, rip);
    } else {
        go(cpu, Attributes::code_32(3), user, stack, rip & 0xffff_ffff);
    }
    cpu.set_rflags(flags);
    cpu.look_for_events();
    Ok(())
}

/// The segments of SYSENTER and SYSEXIT; #GP(0) if there are none.
fn sysenter_code(cpu: &mut Cpu) -> Result<u16, Left> {
    let code = cpu.regs.msrs.sysenter_cs as u16;
    if selector::is_null(code) { Err(refused(cpu)) } else { Ok(code & !selector::RPL) }
}

/// `sysenter`: to 64-bit code in long mode, else to 32-bit code.
pub(crate) fn enter(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    let code = sysenter_code(cpu)?;
    cpu.system_flags &= !bit::IF;
    let (rsp, rip) = (cpu.regs.msrs.sysenter_esp, cpu.regs.msrs.sysenter_eip);
    let long = cpu.is_long_mode();
    let attributes = if long { Attributes::code_64(0) } else { Attributes::code_32(0) };
    let mask = if long { u64::MAX } else { 0xffff_ffff };
    cpu.regs.gpr[Reg::Rsp] = rsp & mask;
    go(cpu, attributes, code, code.wrapping_add(8), rip & mask);
    Ok(())
}

/// `sysexit` to 64-bit code (`WIDE`) or to 32-bit code.
pub(crate) fn exit<const WIDE: bool>(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    let code = sysenter_code(cpu)?;
    privileged(cpu)?;
    let (rsp, rip) = (cpu.regs.gpr[Reg::Rcx], cpu.regs.gpr[Reg::Rdx]);
    if !WIDE {
        cpu.regs.gpr[Reg::Rsp] = rsp & 0xffff_ffff;
        let (code, stack) = (code.wrapping_add(16), code.wrapping_add(24));
        go(cpu, Attributes::code_32(3), code, stack, rip & 0xffff_ffff);
        return Ok(());
    }
    if !canonical(rsp) || !canonical(rip) {
        return Err(refused(cpu));
    }
    cpu.regs.gpr[Reg::Rsp] = rsp;
    go(cpu, Attributes::code_64(3), code.wrapping_add(32), code.wrapping_add(40), rip);
    Ok(())
}

/// `swapgs`: 64-bit mode's alone.
pub(crate) fn swap_gs(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    if cpu.form != Form::Long {
        return Err(undefined(cpu));
    }
    privileged(cpu)?;
    let old = cpu.regs.gs_base();
    let new = core::mem::replace(&mut cpu.regs.kernel_gs_base, old);
    cpu.regs.set_gs_base(new);
    Ok(())
}

/// #UD unless CR4 lets every ring at the bases, and in 32-bit code.
fn open_bases(cpu: &mut Cpu) -> Result<(), Left> {
    if cpu.regs.cr4 & control::FSGSBASE == 0 || cpu.form != Form::Long {
        Err(undefined(cpu))
    } else {
        Ok(())
    }
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
