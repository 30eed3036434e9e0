//! `in`, `out`, `ins`, `outs`: who may, and the exits that they are.

use crate::bus::Bus;
use crate::cpu::{Cpu, vector};
use crate::exec::string::{StringOp, advance, ram_only, source, target};
use crate::exec::system::answer;
use crate::exit::Exit;
use crate::mem::Side;
use crate::regs::Reg;
use crate::uop::{Left, Uop};
use crate::width::Width;

/// The port: an immediate, or dx if that is negative.
fn port(cpu: &Cpu, uop: &Uop) -> u16 {
    if uop.small < 0 { cpu.regs.gpr[Reg::Rdx] as u16 } else { uop.small as u16 }
}

/// #GP(0) unless IOPL or the task-state segment's bitmap lets at `bytes` ports from `port` (SDM
/// volume 1, 18.5).
fn may_use_port(cpu: &mut Cpu, bus: &mut dyn Bus, port: u16, bytes: u32) -> Result<(), Left> {
    if cpu.has_io_privilege() || cpu.port_is_open(bus, port, bytes as u8)? {
        cpu.note_port(port, bytes);
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

pub(crate) struct Ins;
pub(crate) struct Outs;

impl StringOp for Ins {
    fn may<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus) -> Result<(), Left> {
        may_use_port(cpu, bus, cpu.regs.gpr[Reg::Rdx] as u16, T::BITS / 8)
    }

    /// What cannot be stored is not asked for: a port's answer may be its last.
    fn once<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
        let port = cpu.regs.gpr[Reg::Rdx] as u16;
        let to = target::<T>(cpu, uop, true);
        ram_only(cpu, bus, to, Side::Write)?;
        cpu.may_store::<T>(bus, to)?;
        let value = answer(cpu, Exit::PortRead { port, bytes: (T::BITS / 8) as u8 })?;
        cpu.store::<T>(bus, to, value)?;
        // The next iteration asks for its own.
        cpu.supplied = None;
        advance::<T>(cpu, uop, Reg::Rdi, 1);
        Ok(())
    }
}

impl StringOp for Outs {
    fn may<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus) -> Result<(), Left> {
        may_use_port(cpu, bus, cpu.regs.gpr[Reg::Rdx] as u16, T::BITS / 8)
    }

    fn once<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
        let port = cpu.regs.gpr[Reg::Rdx] as u16;
        let from = source::<T>(cpu, uop);
        ram_only(cpu, bus, from, Side::Read)?;
        let value = cpu.load::<T>(bus, from)? as u32;
        cpu.leave_when_done(Exit::PortWrite { port, bytes: (T::BITS / 8) as u8, value });
        advance::<T>(cpu, uop, Reg::Rsi, 1);
        Ok(())
    }
}
