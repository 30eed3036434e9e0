//! Far jumps, calls and returns (SDM volume 2, JMP, CALL, RET; volume 3, 5.8). Tasks and 16-bit gates,
//! which only protected mode has, are our limit.
//!
//! Whatever may fault does so before anything is changed.

use crate::bus::Bus;
use crate::cpu::{Cpu, vector};
use crate::exec::segments::far_pointer;
use crate::exec::stack::{self, Segmented, Stack, peek};
use crate::form::Form;
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
    /// How many words a gate passes on from the outer stack.
    words: usize,
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
        Kind::System(System::CallGate) => return through_gate(cpu, bus, selector, by),
        // Long mode has no tasks to go to.
        Kind::System(System::CallGate16 | System::TaskGate | System::Tss | System::Tss16)
            if !cpu.is_long_mode() =>
        {
            return Err(cpu.unsupported());
        }
        Kind::System(_) | Kind::Data { .. } => false,
    };
    if !fine {
        return Err(cpu.raise_for(vector::PROTECTION, selector));
    }
    if !attributes.present() {
        return Err(cpu.raise_for(vector::NOT_PRESENT, selector));
    }
    cpu.is_64_bit_code(selector, attributes)?;
    cpu.valid_target(attributes, descriptor.limit(), offset)?;
    let code = cpu.accessed(bus, selector, descriptor)?;
    let selector = selector & !selector::RPL | u16::from(cpu.cpl);
    Ok(Target { code: Segment { selector, ..code }, rip: offset, inward: false, words: 0 })
}

/// Where the call gate of `selector` leads (SDM volume 3, 5.8.3 and 5.8.4).
fn through_gate(cpu: &mut Cpu, bus: &mut dyn Bus, gate: u16, by: By) -> Result<Target, Left> {
    let found = cpu.system_descriptor(bus, gate)?;
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
    let elsewhere = cpu.is_long_mode() && (!attributes.long() || attributes.big());
    if !fine || elsewhere {
        return Err(cpu.raise_for(vector::PROTECTION, code));
    }
    if !attributes.present() {
        return Err(cpu.raise_for(vector::NOT_PRESENT, code));
    }
    cpu.is_64_bit_code(code, attributes)?;
    cpu.valid_target(attributes, descriptor.limit(), rip)?;
    let segment = cpu.accessed(bus, code, descriptor)?;
    let selector = code & !selector::RPL | u16::from(level);
    let words = if cpu.is_long_mode() { 0 } else { low.gate_words() };
    Ok(Target { code: Segment { selector, ..segment }, rip, inward: level < cpu.cpl, words })
}

/// Where the far pointer of a jump or call is.
pub(crate) trait Pointer {
    fn get<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(u16, u64), Left>;
}

/// At the memory operand.
pub(crate) struct InMemory;
/// In the instruction: the offset in `imm`, the selector in `small`.
pub(crate) struct Here;

impl Pointer for InMemory {
    fn get<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(u16, u64), Left> {
        far_pointer::<T>(cpu, bus, uop)
    }
}

impl Pointer for Here {
    fn get<T: Width>(_: &mut Cpu, _: &mut dyn Bus, uop: &Uop) -> Result<(u16, u64), Left> {
        Ok((uop.small as u16, uop.imm))
    }
}

/// `jmp m16:T`, `jmp ptr16:T`.
pub(crate) fn jump<T: Width, P: Pointer>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let (selector, offset) = P::get::<T>(cpu, bus, uop)?;
    let target = target(cpu, bus, selector, offset, By::Jump)?;
    cpu.go_far(target.code, target.rip);
    Ok(())
}

/// `call m16:T`, `call ptr16:T`. What is pushed has width `T`, through a gate 8 bytes, or 4 outside of
/// long mode.
pub(crate) fn call<T: Width, P: Pointer>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let (selector, offset) = P::get::<T>(cpu, bus, uop)?;
    // A call ends its block, so `rip` already is the address behind it.
    let behind = cpu.regs.rip;
    let from = u64::from(cpu.regs.selector(Seg::Cs));
    let rsp = cpu.regs.gpr[Reg::Rsp];
    let gate = cpu.descriptor(bus, selector)?.is_some_and(|found| found.system(false).is_some());
    let target = target(cpu, bus, selector, offset, By::Call)?;
    let level = selector::rpl(target.code.selector);
    let long = cpu.is_long_mode();
    let size = match (gate, long) {
        (false, _) => size_of::<T>(),
        (true, true) => 8,
        (true, false) => 4,
    };
    let stack = u64::from(cpu.regs.selector(Seg::Ss));
    let frame = [stack, rsp, from, behind];
    match (target.inward, long) {
        (true, true) => {
            let top = cpu.stack_of(bus, level)?;
            let bottom = cpu.push_words(bus, top, &frame, 8, level)?;
            cpu.regs.gpr[Reg::Rsp] = bottom;
            cpu.regs.set_segment(Seg::Ss, Segment::null(level.into()));
        }
        (true, false) => {
            let words = passed_on(cpu, bus, target.words)?;
            let (segment, top) = cpu.inner_stack(bus, level)?;
            let frame: Vec<u64> = [&frame[..2], &words, &frame[2..]].concat();
            let offset = cpu.push_on(bus, &segment, top, &frame, 4, level)?;
            cpu.regs.set_segment(Seg::Ss, segment);
            cpu.regs.gpr[Reg::Rsp] = offset;
        }
        (false, _) if cpu.form == Form::Long || gate && long => {
            cpu.regs.gpr[Reg::Rsp] = cpu.push_words(bus, rsp, &frame[2..], size, level)?;
        }
        (false, _) => {
            let segment = cpu.regs.segment(Seg::Ss);
            cpu.regs.gpr[Reg::Rsp] = cpu.push_on(bus, &segment, rsp, &frame[2..], size, level)?;
        }
    }
    cpu.go_far(target.code, target.rip);
    Ok(())
}

/// The `count` words on top of the stack, which a call gate passes on, as a frame has them: the
/// uppermost first.
fn passed_on(cpu: &mut Cpu, bus: &mut dyn Bus, count: usize) -> Result<Vec<u64>, Left> {
    (0..count as u64).rev().map(|word| peek::<u32, Segmented>(cpu, bus, 4 * word)).collect()
}

/// `retf` and `retf imm16` (in `imm`): to the same level or a less privileged one, whose stack is
/// then popped too.
pub(crate) fn return_far<T: Width, K: Stack>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let size = u64::from(T::BITS / 8);
    let rip = peek::<T, K>(cpu, bus, 0)?;
    let selector = peek::<T, K>(cpu, bus, size)? as u16;
    let code = cpu.returned_code(bus, selector)?;
    let level = selector::rpl(selector);
    let behind = (2 * size).wrapping_add(uop.imm);
    if level == cpu.cpl {
        cpu.valid_target(code.attributes, code.limit, rip)?;
        stack::drop::<K>(cpu, behind);
        cpu.go_far(code, rip);
        return Ok(());
    }
    let outer = peek::<T, K>(cpu, bus, behind)?;
    let selector = peek::<T, K>(cpu, bus, behind.wrapping_add(size))? as u16;
    let stack = cpu.returned_stack(bus, selector, &code)?;
    cpu.valid_target(code.attributes, code.limit, rip)?;
    cpu.set_outer_stack(stack, &code, outer, uop.imm);
    cpu.drop_segments(level);
    cpu.go_far(code, rip);
    Ok(())
}
