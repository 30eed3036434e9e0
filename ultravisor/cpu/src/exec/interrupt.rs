//! `int`, `int3`, `int1` and `iret` (SDM volume 2), in long mode.

use crate::bus::Bus;
use crate::cpu::{Cpu, vector};
use crate::event::{Cause, Event};
use crate::flags::bit;
use crate::regs::Reg;
use crate::segment::{Seg, selector};
use crate::uop::{Left, Uop};
use crate::width::Width;

/// `int n` and `int3` (the vector in `imm`): to the handler, which comes back behind it. Without a
/// table of handlers it is an exception that is told.
pub(crate) fn interrupt(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    let vector = uop.imm as u8;
    if !cpu.delivers {
        return Err(cpu.raise(vector, None));
    }
    cpu.enter_handler(bus, &Event::new(vector, Cause::Software))
}

/// `int1`: #DB as hardware raises it, so the gate's privilege level does not count.
pub(crate) fn debug_interrupt(cpu: &mut Cpu, bus: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    if !cpu.delivers {
        return Err(cpu.raise(vector::DEBUG, None));
    }
    cpu.enter_handler(bus, &Event::new(vector::DEBUG, Cause::Trap))
}

/// `iret` with words of width `T`. In 64-bit mode it pops the stack in any case. Its end, be it
/// by a fault, lets NMIs in again (SDM volume 3, 6.7.1).
pub(crate) fn interrupt_return<T: Width>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let done = leave_handler::<T>(cpu, bus, uop);
    if done.is_ok() || cpu.is_stopped_by_fault() {
        cpu.nmi_blocked = false;
    }
    done
}

fn leave_handler<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    if cpu.system_flags & bit::NT != 0 {
        // Long mode has no task to return to.
        return Err(cpu.raise(vector::PROTECTION, Some(0)));
    }
    let size = u64::from(T::BITS / 8);
    let mut frame = [0; 5];
    for (word, at) in frame.iter_mut().zip(0..) {
        let va = cpu.regs.gpr[Reg::Rsp].wrapping_add(size * at);
        *word = cpu.load::<T>(bus, va)?;
    }
    let [rip, code, flags, rsp, stack] = frame;
    let code = cpu.returned_code(bus, code as u16)?;
    let level = selector::rpl(code.selector);
    let stack = cpu.returned_stack(bus, stack as u16, level)?;
    cpu.canonical_target(rip)?;
    let resumes = flags & bit::RF != 0 && T::BITS > 16;
    cpu.restore_flags(flags, T::MASK);
    if resumes {
        cpu.resume_behind(uop);
    }
    cpu.regs.gpr[Reg::Rsp] = rsp;
    cpu.regs.set_segment(Seg::Ss, stack);
    if level > cpu.cpl {
        cpu.drop_segments(level);
    }
    cpu.go_far(code, rip);
    Ok(())
}
