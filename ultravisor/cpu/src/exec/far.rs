//! Far jumps, calls and returns, in 64-bit mode (SDM volume 2, JMP, CALL, RET; volume 3, 5.8).
//!
//! Whatever may fault does so before anything is changed.

use crate::bus::Bus;
use crate::cpu::{Cpu, vector};
use crate::exec::segments::far_pointer;
use crate::regs::Reg;
use crate::segment::{Kind, Seg, Segment, System, selector};
use crate::uop::{Left, Uop};
use crate::width::Width;

/// Where a far transfer leads: the code segment as CS will hold it, and the instruction.
struct Target {
    code: Segment,
    rip: u64,
    /// It goes through a gate to a more privileged level.
    inward: bool,
}

/// What a call may do that a jump may not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Jump,
    Call,
}

/// Where `selector`:`offset` leads.
fn target(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    selector: u16,
    offset: u64,
    by: By,
) -> Result<Target, Left> {
    if selector::is_null(selector) {
        return Err(cpu.raise(vector::PROTECTION, Some(0)));
    }
    let descriptor = cpu.required(bus, selector)?;
    let attributes = descriptor.attributes();
    let (dpl, rpl) = (attributes.dpl(), selector::rpl(selector));
    let fine = match attributes.kind() {
        Kind::Code { conforming: true, .. } => dpl <= cpu.cpl,
        Kind::Code { conforming: false, .. } => dpl == cpu.cpl && rpl <= cpu.cpl,
        Kind::System(system) if system.in_long_mode() == System::CallGate => {
            return through_gate(cpu, bus, selector, by);
        }
        // Long mode has no tasks to go to.
        Kind::System(_) | Kind::Data { .. } => false,
    };
    if !fine {
        return Err(cpu.raise_for(vector::PROTECTION, selector));
    }
    if !attributes.present() {
        return Err(cpu.raise_for(vector::NOT_PRESENT, selector));
    }
    cpu.only_64_bit_code(selector, attributes)?;
    cpu.canonical_target(offset)?;
    let code = cpu.accessed(bus, selector, descriptor)?;
    let selector = selector & !selector::RPL | u16::from(cpu.cpl);
    Ok(Target { code: Segment { selector, ..code }, rip: offset, inward: false })
}

/// Where the call gate of `selector` leads (SDM volume 3, 5.8.3 and 5.8.4).
fn through_gate(cpu: &mut Cpu, bus: &mut dyn Bus, gate: u16, by: By) -> Result<Target, Left> {
    let found = cpu.wide_descriptor(bus, gate)?;
    let level = cpu.cpl.max(selector::rpl(gate));
    let Some((low, high)) = found.filter(|(low, _)| low.attributes().dpl() >= level) else {
        return Err(cpu.raise_for(vector::PROTECTION, gate));
    };
    if !low.attributes().present() {
        return Err(cpu.raise_for(vector::NOT_PRESENT, gate));
    }
    let (code, rip) = (low.gate_selector(), low.gate_target(high));
    if selector::is_null(code) {
        return Err(cpu.raise(vector::PROTECTION, Some(0)));
    }
    let descriptor = cpu.required(bus, code)?;
    let attributes = descriptor.attributes();
    let dpl = attributes.dpl();
    let (fine, level) = match (attributes.kind(), by) {
        (Kind::Code { conforming: true, .. }, By::Jump | By::Call) => (dpl <= cpu.cpl, cpu.cpl),
        (Kind::Code { conforming: false, .. }, By::Jump) => (dpl == cpu.cpl, dpl),
        (Kind::Code { conforming: false, .. }, By::Call) => (dpl <= cpu.cpl, dpl),
        (Kind::Data { .. } | Kind::System(_), By::Jump | By::Call) => (false, 0),
    };
    // A gate of long mode leads to 64-bit code and nowhere else.
    if !fine || !attributes.long() || attributes.big() {
        return Err(cpu.raise_for(vector::PROTECTION, code));
    }
    if !attributes.present() {
        return Err(cpu.raise_for(vector::NOT_PRESENT, code));
    }
    cpu.canonical_target(rip)?;
    let segment = cpu.accessed(bus, code, descriptor)?;
    let selector = code & !selector::RPL | u16::from(level);
    Ok(Target { code: Segment { selector, ..segment }, rip, inward: level < cpu.cpl })
}

/// `jmp m16:T`.
pub(crate) fn jump<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    let (selector, offset) = far_pointer::<T>(cpu, bus, uop)?;
    let target = target(cpu, bus, selector, offset, By::Jump)?;
    cpu.go_far(target.code, target.rip);
    Ok(())
}

/// `call m16:T`. What is pushed has width `T`, through a gate 8 bytes.
pub(crate) fn call<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    let (selector, offset) = far_pointer::<T>(cpu, bus, uop)?;
    // A call ends its block, so `rip` already is the address behind it.
    let behind = cpu.regs.rip;
    let from = u64::from(cpu.regs.selector(Seg::Cs));
    let rsp = cpu.regs.gpr[Reg::Rsp];
    let gate = matches!(cpu.descriptor(bus, selector)?, Some(found) if found.system().is_some());
    let target = target(cpu, bus, selector, offset, By::Call)?;
    let level = selector::rpl(target.code.selector);
    let bottom = if target.inward {
        let stack = u64::from(cpu.regs.selector(Seg::Ss));
        let top = cpu.stack_of(bus, level)?;
        cpu.push_words(bus, top, &[stack, rsp, from, behind], 8, level)?
    } else {
        let size = if gate { 8 } else { size_of::<T>() };
        cpu.push_words(bus, rsp, &[from, behind], size, level)?
    };
    cpu.regs.gpr[Reg::Rsp] = bottom;
    if target.inward {
        cpu.regs.set_segment(Seg::Ss, Segment::null(level.into()));
    }
    cpu.go_far(target.code, target.rip);
    Ok(())
}

/// `retf` and `retf imm16` (in `imm`): to the same level or a less privileged one, whose stack is
/// then popped too.
pub(crate) fn return_far<T: Width>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let size = u64::from(T::BITS / 8);
    let rsp = cpu.regs.gpr[Reg::Rsp];
    let rip = cpu.load::<T>(bus, rsp)?;
    let selector = cpu.load::<T>(bus, rsp.wrapping_add(size))? as u16;
    let code = cpu.returned_code(bus, selector)?;
    let level = selector::rpl(selector);
    let behind = rsp.wrapping_add(2 * size).wrapping_add(uop.imm);
    if level == cpu.cpl {
        cpu.canonical_target(rip)?;
        cpu.regs.gpr[Reg::Rsp] = behind;
        cpu.go_far(code, rip);
        return Ok(());
    }
    let outer = cpu.load::<T>(bus, behind)?;
    let selector = cpu.load::<T>(bus, behind.wrapping_add(size))? as u16;
    let stack = cpu.returned_stack(bus, selector, level)?;
    cpu.canonical_target(rip)?;
    cpu.regs.gpr[Reg::Rsp] = outer.wrapping_add(uop.imm);
    cpu.regs.set_segment(Seg::Ss, stack);
    cpu.drop_segments(level);
    cpu.go_far(code, rip);
    Ok(())
}
