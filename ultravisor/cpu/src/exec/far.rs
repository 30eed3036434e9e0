//! Far jumps, calls and returns, in 64-bit mode (SDM volume 2, JMP, CALL, RET; volume 3, 5.8).
//!
//! Whatever may fault does so before anything is changed.

use crate::bus::Bus;
use crate::cpu::{Cpu, Edge, vector};
use crate::exec::segments::{far_pointer, may_be_stack};
use crate::mem::View;
use crate::paging::canonical;
use crate::regs::Reg;
use crate::segment::{Attributes, Kind, Seg, Segment, System, selector};
use crate::uop::{Left, Uop};
use crate::width::Width;

/// Where a far transfer leads: the code segment as CS will hold it, and the instruction.
struct Target {
    code: Segment,
    rip: u64,
    /// It goes through a gate to a more privileged level.
    inward: bool,
}

impl Cpu {
    /// Our limit: code that is not 64-bit code. What is both, 64-bit and 32-bit, is nothing:
    /// #GP(selector).
    pub(crate) fn only_64_bit_code(
        &mut self,
        selector: u16,
        attributes: Attributes,
    ) -> Result<(), Left> {
        match (attributes.long(), attributes.big()) {
            (true, false) => Ok(()),
            (true, true) => Err(self.raise_for(vector::PROTECTION, selector)),
            (false, _) => Err(self.unsupported()),
        }
    }

    /// #GP(0) for an instruction pointer that is none.
    pub(crate) fn canonical_target(&mut self, rip: u64) -> Result<(), Left> {
        if canonical(rip) { Ok(()) } else { Err(self.raise(vector::PROTECTION, Some(0))) }
    }

    /// Goes on at `rip` in code segment `code`, at the level that its selector asks for.
    pub(crate) fn go_far(&mut self, code: Segment, rip: u64) {
        let level = selector::rpl(code.selector);
        self.regs.set_segment(Seg::Cs, code);
        self.regs.rip = rip;
        self.edge = Edge::Indirect;
        if level != self.cpl {
            self.set_level(level);
        }
    }

    /// Stores `words` of `size` bytes below `top`, the first highest, as level `level` may: all of
    /// them or none. #SS(0) where the stack is no address.
    pub(crate) fn push_words(
        &mut self,
        bus: &mut dyn Bus,
        top: u64,
        words: &[u64],
        size: usize,
        level: u8,
    ) -> Result<u64, Left> {
        let bytes = words.len() * size;
        let bottom = top.wrapping_sub(bytes as u64);
        let highest = top.wrapping_sub(size as u64);
        if !canonical(bottom) || !canonical(top.wrapping_sub(1)) {
            return Err(self.raise(vector::STACK, Some(0)));
        }
        let mut frame = [0; 64];
        for (slot, word) in frame[..bytes].rchunks_exact_mut(size).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes()[..size]);
        }
        let inward = level < self.cpl;
        if inward {
            self.tlb.select(View::Supervisor);
        }
        // The highest word is the first that the processor stores, and to fault.
        let stored = self
            .load_for_update::<u8>(bus, highest)
            .and_then(|_| self.store_bytes(bus, bottom, &frame[..bytes]));
        if inward {
            self.tlb.select(self.view());
        }
        stored.map(|()| bottom)
    }

    /// The code segment that a return to `selector` leads to: never one more privileged.
    pub(crate) fn returned_code(
        &mut self,
        bus: &mut dyn Bus,
        selector: u16,
    ) -> Result<Segment, Left> {
        if selector::is_null(selector) {
            return Err(self.raise(vector::PROTECTION, Some(0)));
        }
        let descriptor = self.required(bus, selector)?;
        let attributes = descriptor.attributes();
        let (level, dpl) = (selector::rpl(selector), attributes.dpl());
        let fine = match attributes.kind() {
            Kind::Code { conforming: true, .. } => dpl <= level,
            Kind::Code { conforming: false, .. } => dpl == level,
            Kind::Data { .. } | Kind::System(_) => false,
        };
        if !fine || level < self.cpl {
            return Err(self.raise_for(vector::PROTECTION, selector));
        }
        if !attributes.present() {
            return Err(self.raise_for(vector::NOT_PRESENT, selector));
        }
        self.only_64_bit_code(selector, attributes)?;
        self.accessed(bus, selector, descriptor)
    }

    /// The stack segment that a return to 64-bit code of `level` finds at `selector`.
    pub(crate) fn returned_stack(
        &mut self,
        bus: &mut dyn Bus,
        selector: u16,
        level: u8,
    ) -> Result<Segment, Left> {
        if selector::is_null(selector) {
            return if level == 3 {
                Err(self.raise(vector::PROTECTION, Some(0)))
            } else {
                Ok(Segment::null(selector))
            };
        }
        let descriptor = self.required(bus, selector)?;
        let attributes = descriptor.attributes();
        if !may_be_stack(attributes, selector, level) {
            return Err(self.raise_for(vector::PROTECTION, selector));
        }
        if !attributes.present() {
            return Err(self.raise_for(vector::STACK, selector));
        }
        self.accessed(bus, selector, descriptor)
    }

    /// Before going to a less privileged `level`: segments that it may not use become null. The
    /// bases of FS and GS stay, as nobody can tell them from those set by WRMSR.
    pub(crate) fn drop_segments(&mut self, level: u8) {
        for register in [Seg::Es, Seg::Ds, Seg::Fs, Seg::Gs] {
            let segment = self.regs.segment(register);
            let goes = match segment.attributes.kind() {
                Kind::Data { .. } | Kind::Code { conforming: false, .. } => {
                    segment.attributes.dpl() < level
                }
                Kind::Code { conforming: true, .. } | Kind::System(_) => false,
            };
            if goes {
                let base = segment.base;
                self.regs.set_segment(register, Segment { base, ..Segment::null(0) });
            }
        }
    }
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
    let code = (low.0 >> 16) as u16;
    let rip = low.0 & 0xffff | low.0 >> 32 & 0xffff_0000 | high << 32;
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
