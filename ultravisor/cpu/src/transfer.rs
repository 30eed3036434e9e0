//! What far transfers, deliveries and returns share: checks of code and stack segments, the pushing
//! of frames, the change of privilege level.

use crate::bus::Bus;
use crate::cpu::{Cpu, vector};
use crate::mem::canonical;
use crate::regs::Reg;
use crate::segment::{Attributes, Kind, Seg, Segment, selector};
use crate::uop::Left;

impl Cpu {
    /// Whether code of a segment is 64-bit code, which only long mode has. What is both, 64-bit and
    /// 32-bit, is nothing: #GP(selector). 16-bit code is our limit.
    pub(crate) fn is_64_bit_code(
        &mut self,
        selector: u16,
        attributes: Attributes,
    ) -> Result<bool, Left> {
        match (attributes.long() && self.is_long_mode(), attributes.big()) {
            (true, false) => Ok(true),
            (false, true) => Ok(false),
            (true, true) => Err(self.raise_for(vector::PROTECTION, selector)),
            (false, false) => Err(self.unsupported()),
        }
    }

    /// #GP(0) for an instruction pointer that is none in code segment `code`.
    pub(crate) fn valid_target(
        &mut self,
        code: Attributes,
        limit: u32,
        rip: u64,
    ) -> Result<(), Left> {
        let long = code.long() && self.is_long_mode();
        let fine = if long { canonical(rip) } else { rip <= u64::from(limit) };
        if fine { Ok(()) } else { Err(self.raise(vector::PROTECTION, Some(0))) }
    }

    /// Goes on at `rip` in code segment `code`, at the level that its selector asks for.
    pub(crate) fn go_far(&mut self, code: Segment, rip: u64) {
        let level = selector::rpl(code.selector);
        self.regs.set_segment(Seg::Cs, code);
        self.regs.rip = rip;
        if level != self.cpl {
            self.set_level(level);
        }
        self.settle();
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
        let bottom = top.wrapping_sub((words.len() * size) as u64);
        if !canonical(bottom) || !canonical(top.wrapping_sub(1)) {
            return Err(self.raise(vector::STACK, Some(0)));
        }
        let highest = top.wrapping_sub(size as u64);
        self.store_frame(bus, (bottom, highest), words, size, level)?;
        Ok(bottom)
    }

    /// Stores `words` of `size` bytes from the linear address of the last to that of the first, as
    /// level `level` may.
    fn store_frame(
        &mut self,
        bus: &mut dyn Bus,
        (lowest, highest): (u64, u64),
        words: &[u64],
        size: usize,
        level: u8,
    ) -> Result<(), Left> {
        let mut frame = vec![0; words.len() * size];
        for (slot, word) in frame.rchunks_exact_mut(size).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes()[..size]);
        }
        let mut store = |cpu: &mut Self| -> Result<(), Left> {
            // The highest word is the first that the processor stores, and to fault.
            cpu.may_store::<u8>(bus, highest)?;
            cpu.store_bytes(bus, lowest, &frame)
        };
        if level < self.cpl { self.implicitly(store) } else { store(self) }
    }

    /// The stack that a return leaves to: SS:RSP, `skipped` bytes further on. A 16-bit stack takes the
    /// lower half of the pointer.
    pub(crate) fn set_outer_stack(
        &mut self,
        stack: Segment,
        code: &Segment,
        outer: u64,
        skipped: u64,
    ) {
        let long = code.attributes.long() && self.is_long_mode();
        let mask = match (long, stack.attributes.big()) {
            (true, _) => u64::MAX,
            (false, true) => 0xffff_ffff,
            (false, false) => 0xffff,
        };
        let rsp = &mut self.regs.gpr[Reg::Rsp];
        *rsp = *rsp & !mask | outer.wrapping_add(skipped) & mask;
        self.regs.set_segment(Seg::Ss, stack);
    }

    /// The same as [`Cpu::push_words`] outside of 64-bit mode, on a stack segment with a limit; what
    /// the stack pointer then is. #SS(selector) if a new stack does not reach so far, else #SS(0).
    pub(crate) fn push_on(
        &mut self,
        bus: &mut dyn Bus,
        stack: &Segment,
        top: u64,
        words: &[u64],
        size: usize,
        level: u8,
    ) -> Result<u64, Left> {
        let bytes = words.len() * size;
        let mask = if stack.attributes.big() { 0xffff_ffff } else { 0xffff };
        let offset = top.wrapping_sub(bytes as u64) & mask;
        let inward = level < self.cpl;
        if !stack.holds(offset, bytes as u64) || offset + bytes as u64 > mask + 1 {
            let selector = if inward { stack.selector } else { 0 };
            return Err(self.raise_for(vector::STACK, selector));
        }
        let highest = stack.linear(top.wrapping_sub(size as u64) & mask);
        self.store_frame(bus, (stack.linear(offset), highest), words, size, level)?;
        Ok(top & !mask | offset)
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
        self.is_64_bit_code(selector, attributes)?;
        self.accessed(bus, selector, descriptor)
    }

    /// The stack segment that a return to `code` finds at `selector`: 64-bit code needs none but in
    /// ring 3.
    pub(crate) fn returned_stack(
        &mut self,
        bus: &mut dyn Bus,
        selector: u16,
        code: &Segment,
    ) -> Result<Segment, Left> {
        let level = selector::rpl(code.selector);
        if selector::is_null(selector) {
            return if level == 3 || !(code.attributes.long() && self.is_long_mode()) {
                Err(self.raise(vector::PROTECTION, Some(0)))
            } else {
                Ok(Segment::null(selector))
            };
        }
        let descriptor = self.required(bus, selector)?;
        let attributes = descriptor.attributes();
        if !attributes.may_be_stack(selector, level) {
            return Err(self.raise_for(vector::PROTECTION, selector));
        }
        if !attributes.present() {
            return Err(self.raise_for(vector::STACK, selector));
        }
        self.accessed(bus, selector, descriptor)
    }

    /// Before going to a less privileged `level`: segments that it may not use become null, and
    /// a null selector 0 (SDM volume 2, IRET: its DPL counts as 0; processors do so). The bases of FS and GS stay, as nobody can tell them from those set by WRMSR.
    pub(crate) fn drop_segments(&mut self, level: u8) {
        for register in [Seg::Es, Seg::Ds, Seg::Fs, Seg::Gs] {
            let segment = self.regs.segment(register);
            let goes = selector::is_null(segment.selector)
                || match segment.attributes.kind() {
                    Kind::Data { .. } | Kind::Code { conforming: false, .. } => {
                        segment.attributes.dpl() < level
                    }
                    Kind::Code { conforming: true, .. } | Kind::System(_) => false,
                };
            if goes {
                // The bases of FS and GS are long mode's registers, too.
                let base = if self.is_long_mode() { segment.base } else { 0 };
                self.regs.set_segment(register, Segment { base, ..Segment::null(0) });
            }
        }
    }
}
