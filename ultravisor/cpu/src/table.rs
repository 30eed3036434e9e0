//! Descriptor tables and the task-state segment: what the processor reads and writes for itself.

use crate::bus::Bus;
use crate::cpu::{Cpu, vector};
use crate::mem::canonical;
use crate::segment::{Descriptor, Segment, selector};
use crate::uop::Left;

/// Bits 8 to 12 of the last four bytes of a 16-byte descriptor: a type that must be none, so that
/// its second half is nothing that a selector could select (SDM volume 3, 5.8.3.1).
const UPPER_TYPE: u64 = 0x1f << 40;

/// Where the 64-bit task-state segment has what (SDM volume 3, figure 8-11).
mod tss {
    /// RSP0; RSP1 and RSP2 follow.
    pub const STACKS: u64 = 4;
    /// IST1; six more follow.
    pub const INTERRUPT_STACKS: u64 = 0x24;
    /// The offset of the I/O permission bitmap.
    pub const IO_MAP: u64 = 0x66;
}

impl Cpu {
    /// Makes `access` as the processor makes those to its own tables: as supervisor whatever the
    /// privilege level, and with no user page open to it (SDM volume 3, 4.6: implicit accesses).
    pub(crate) fn implicitly<R>(&mut self, access: impl FnOnce(&mut Self) -> R) -> R {
        self.tlb.select(self.processor_view());
        let result = access(self);
        self.tlb.select(self.view());
        result
    }

    pub(crate) fn table_word(&mut self, bus: &mut dyn Bus, at: u64) -> Result<u64, Left> {
        let mut bytes = [0; 8];
        self.implicitly(|cpu| cpu.load_bytes(bus, at, &mut bytes))?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// An exception whose error code is a selector.
    #[cold]
    pub(crate) fn raise_for(&mut self, vector: u8, selector: u16) -> Left {
        self.raise(vector, Some(u32::from(selector & !selector::RPL)))
    }

    /// Where the descriptor of `selector`, `bytes` bytes long, is; `None` if its table does not
    /// reach so far.
    fn descriptor_at(&self, selector: u16, bytes: u64) -> Option<u64> {
        let offset = u64::from(selector & !(selector::RPL | selector::LOCAL));
        let (base, limit) = if selector & selector::LOCAL == 0 {
            (self.regs.gdtr.0, u64::from(self.regs.gdtr.1))
        } else if self.regs.ldtr.attributes.present() {
            (self.regs.ldtr.base, u64::from(self.regs.ldtr.limit))
        } else {
            return None;
        };
        (offset + bytes - 1 <= limit).then(|| base.wrapping_add(offset))
    }

    /// The descriptor of `selector`, if its table has one there.
    pub(crate) fn descriptor(
        &mut self,
        bus: &mut dyn Bus,
        selector: u16,
    ) -> Result<Option<Descriptor>, Left> {
        let Some(at) = self.descriptor_at(selector, 8) else {
            return Ok(None);
        };
        Ok(Some(Descriptor(self.table_word(bus, at)?)))
    }

    /// The descriptor of `selector`; #GP(selector) if its table ends before it.
    pub(crate) fn required(
        &mut self,
        bus: &mut dyn Bus,
        selector: u16,
    ) -> Result<Descriptor, Left> {
        match self.descriptor(bus, selector)? {
            Some(descriptor) => Ok(descriptor),
            None => Err(self.raise_for(vector::PROTECTION, selector)),
        }
    }

    /// A system descriptor: of long mode 16 bytes, both halves, if the table has them and the second
    /// is nothing by itself; else 8 bytes, and zero.
    pub(crate) fn system_descriptor(
        &mut self,
        bus: &mut dyn Bus,
        selector: u16,
    ) -> Result<Option<(Descriptor, u64)>, Left> {
        if !self.is_long_mode() {
            return Ok(self.descriptor(bus, selector)?.map(|descriptor| (descriptor, 0)));
        }
        let Some(at) = self.descriptor_at(selector, 16) else {
            return Ok(None);
        };
        let descriptor = Descriptor(self.table_word(bus, at)?);
        let upper = self.table_word(bus, at.wrapping_add(8))?;
        Ok((upper & UPPER_TYPE == 0).then_some((descriptor, upper)))
    }

    /// Stores `descriptor` back where that of `selector` is, with a bit set that it had not.
    fn put_back(
        &mut self,
        bus: &mut dyn Bus,
        selector: u16,
        descriptor: Descriptor,
    ) -> Result<(), Left> {
        let Some(at) = self.descriptor_at(selector, 8) else {
            return Ok(());
        };
        // The byte of type, S, DPL and P alone, as the processor does.
        let byte = [(descriptor.0 >> 40) as u8];
        self.implicitly(|cpu| cpu.store_bytes(bus, at.wrapping_add(5), &byte))
    }

    /// What a register loaded with `selector` holds; marks the descriptor as accessed.
    pub(crate) fn accessed(
        &mut self,
        bus: &mut dyn Bus,
        selector: u16,
        descriptor: Descriptor,
    ) -> Result<Segment, Left> {
        let accessed = descriptor.accessed();
        if accessed != descriptor {
            self.put_back(bus, selector, accessed)?;
        }
        Ok(accessed.segment(selector))
    }

    /// A table or task-state segment, with the upper half of its base; #GP(selector) unless that is
    /// canonical.
    pub(crate) fn wide_segment(
        &mut self,
        selector: u16,
        descriptor: Descriptor,
        upper: u64,
    ) -> Result<Segment, Left> {
        let base = u64::from(descriptor.base()) | upper << 32;
        if !canonical(base) {
            return Err(self.raise_for(vector::PROTECTION, selector));
        }
        Ok(Segment { base, ..descriptor.segment(selector) })
    }

    /// Marks the task-state segment of `selector` as in use.
    pub(crate) fn occupy(
        &mut self,
        bus: &mut dyn Bus,
        selector: u16,
        descriptor: Descriptor,
    ) -> Result<(), Left> {
        self.put_back(bus, selector, descriptor.busy())
    }

    /// `bytes` bytes at `offset` of the task-state segment; `None` past its limit.
    fn tss_at(&self, offset: u64, bytes: u64) -> Option<u64> {
        let tr = &self.regs.tr;
        let inside = tr.attributes.present() && offset + bytes - 1 <= u64::from(tr.limit);
        inside.then(|| tr.base.wrapping_add(offset))
    }

    /// The stack for privilege level `level`; #TS if the task-state segment has none.
    pub(crate) fn stack_of(&mut self, bus: &mut dyn Bus, level: u8) -> Result<u64, Left> {
        self.tss_stack(bus, tss::STACKS + 8 * u64::from(level & 3))
    }

    /// Stack `number` (1 to 7) of the interrupt stack table; #TS if the segment has none.
    pub(crate) fn interrupt_stack(&mut self, bus: &mut dyn Bus, number: u8) -> Result<u64, Left> {
        let index = u64::from(number & 7).saturating_sub(1);
        self.tss_stack(bus, tss::INTERRUPT_STACKS + 8 * index)
    }

    /// The stack for privilege level `level` of a 32-bit task-state segment (SDM volume 3, figure 8-2):
    /// #TS if it has none, or none that is a stack of that level; #SS if it is not present.
    pub(crate) fn inner_stack(
        &mut self,
        bus: &mut dyn Bus,
        level: u8,
    ) -> Result<(Segment, u64), Left> {
        let told = self.regs.tr.selector;
        let Some(at) = self.tss_at(tss::STACKS + 8 * u64::from(level & 3), 6) else {
            return Err(self.raise_for(vector::TASK_SEGMENT, told));
        };
        let mut bytes = [0; 8];
        self.implicitly(|cpu| cpu.load_bytes(bus, at, &mut bytes[..6]))?;
        let word = u64::from_le_bytes(bytes);
        let (top, selector) = (word & 0xffff_ffff, (word >> 32) as u16);
        let found =
            if selector::is_null(selector) { None } else { self.descriptor(bus, selector)? };
        let fine = |found: &Descriptor| found.attributes().may_be_stack(selector, level);
        let Some(descriptor) = found.filter(fine) else {
            return Err(self.raise_for(vector::TASK_SEGMENT, selector));
        };
        if !descriptor.attributes().present() {
            return Err(self.raise_for(vector::STACK, selector));
        }
        Ok((self.accessed(bus, selector, descriptor)?, top))
    }

    fn tss_stack(&mut self, bus: &mut dyn Bus, offset: u64) -> Result<u64, Left> {
        match self.tss_at(offset, 8) {
            Some(at) => self.table_word(bus, at),
            None => Err(self.raise_for(vector::TASK_SEGMENT, self.regs.tr.selector)),
        }
    }

    /// Whether the I/O permission bitmap lets at `bytes` ports from `port` (SDM volume 1, 18.5.2):
    /// the two bytes around their bits must be inside the segment, and the bits clear.
    pub(crate) fn port_is_open(
        &mut self,
        bus: &mut dyn Bus,
        port: u16,
        bytes: u8,
    ) -> Result<bool, Left> {
        let Some(at) = self.tss_at(tss::IO_MAP, 2) else {
            return Ok(false);
        };
        let map = self.tss_half(bus, at)?;
        let Some(at) = self.tss_at(u64::from(map) + u64::from(port / 8), 2) else {
            return Ok(false);
        };
        let bits = self.tss_half(bus, at)? >> (port % 8);
        Ok(bits & ((1 << bytes) - 1) == 0)
    }

    fn tss_half(&mut self, bus: &mut dyn Bus, at: u64) -> Result<u16, Left> {
        let mut bytes = [0; 2];
        self.implicitly(|cpu| cpu.load_bytes(bus, at, &mut bytes))?;
        Ok(u16::from_le_bytes(bytes))
    }
}
