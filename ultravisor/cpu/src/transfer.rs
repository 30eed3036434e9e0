//! What far transfers, deliveries and returns share: checks of code and stack segments, the pushing
//! of frames, the change of privilege level.

use crate::bus::Bus;
use crate::cpu::{Cpu, vector};
use crate::mem::View;
use crate::paging::canonical;
use crate::segment::{Attributes, Kind, Seg, Segment, selector};
use crate::uop::Left;

/// Whether a stack of privilege level `level` may be where `selector` says.
pub(crate) fn may_be_stack(attributes: Attributes, selector: u16, level: u8) -> bool {
    matches!(attributes.kind(), Kind::Data { writable: true, .. })
        && selector::rpl(selector) == level
        && attributes.dpl() == level
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
