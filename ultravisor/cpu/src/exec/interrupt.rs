//! `int`, `int3`, `into`, `int1` and `iret` (SDM volume 2). Virtual-8086 mode and the return to a task
//! are our limit.

use crate::bus::Bus;
use crate::cpu::{Cpu, vector};
use crate::event::{Cause, Event};
use crate::exec::stack::{self, Stack, peek};
use crate::flags::bit;
use crate::form::Form;
use crate::segment::selector;
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

/// `into`: an interrupt if OF is set.
pub(crate) fn overflow(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    if cpu.flags.overflow() { interrupt(cpu, bus, uop) } else { Ok(()) }
}

/// `iret` with words of width `T`. In 64-bit mode it pops the stack in any case. Its end, be it
/// by a fault, lets NMIs in again (SDM volume 3, 6.7.1).
pub(crate) fn interrupt_return<T: Width, K: Stack>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let done = leave_handler::<T, K>(cpu, bus, uop);
    if done.is_ok() || cpu.is_stopped_by_fault() {
        cpu.nmi_blocked = false;
    }
    done
}

fn leave_handler<T: Width, K: Stack>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    /// RFLAGS: virtual-8086 mode.
    const VM: u64 = 1 << 17;
    let long = cpu.is_long_mode();
    if cpu.system_flags & bit::NT != 0 {
        // Long mode has no task to return to.
        return Err(if long { cpu.raise(vector::PROTECTION, Some(0)) } else { cpu.unsupported() });
    }
    let size = u64::from(T::BITS / 8);
    let [rip, selector, flags] = [0, 1, 2].map(|word| peek::<T, K>(cpu, bus, size * word));
    let (rip, selector, flags) = (rip?, selector? as u16, flags?);
    if !long && flags & VM != 0 && cpu.cpl == 0 {
        return Err(cpu.unsupported());
    }
    let code = cpu.returned_code(bus, selector)?;
    let level = selector::rpl(code.selector);
    let outer = if level > cpu.cpl || cpu.form == Form::Long {
        let rsp = peek::<T, K>(cpu, bus, size * 3)?;
        let selector = peek::<T, K>(cpu, bus, size * 4)? as u16;
        Some((rsp, cpu.returned_stack(bus, selector, &code)?))
    } else {
        None
    };
    cpu.valid_target(code.attributes, code.limit, rip)?;
    let resumes = flags & bit::RF != 0 && T::BITS > 16;
    cpu.restore_flags(flags, T::MASK);
    if resumes {
        cpu.resume_behind(uop);
    }
    match outer {
        Some((rsp, stack)) => cpu.set_outer_stack(stack, &code, rsp, 0),
        None => stack::drop::<K>(cpu, size * 3),
    }
    if level > cpu.cpl {
        cpu.drop_segments(level);
    }
    cpu.go_far(code, rip);
    Ok(())
}
