//! The mode that code is executed in (SDM volume 3, 2.2), and what segments mean outside of 64-bit
//! mode.
//!
//! 64-bit mode and 32-bit code share handlers. What 32-bit code needs more is decided when it is
//! decoded, so that 64-bit code pays nothing: its registers' upper halves are zero (the manual lets
//! a processor forget them on the way there: SDM volume 1, 3.4.1.1); the sum that an address is may
//! be wider than 32 bits, no entry of the TLB is for such a one, and where it is looked up the hard
//! way it is cut ([`View::cut`]). Where a segment is not simply all memory, a uop before the
//! instruction's own computes the linear address, or [`NOWHERE`] if the segment does not let at it,
//! which faults when it is accessed.

use crate::cpu::{Cpu, control, vector};
use crate::form::{Form, NOWHERE};
use crate::mem::{View, Who};
use crate::regs::Reg;
use crate::segment::{Attributes, Kind, Seg, Segment};
use crate::uop::Left;

/// Whether a segment is all memory, to be loaded from and stored to.
fn is_flat(segment: &Segment) -> bool {
    let all = segment.base == 0 && segment.limit == u32::MAX && segment.attributes.present();
    all && matches!(segment.attributes.kind(), Kind::Data { writable: true, expands_down: false })
}

impl Cpu {
    /// 32-bit protected mode at `eip`, as boot protocols for 32-bit code hand over (Multiboot 0.6.96,
    /// 3.2; Xen's PVH): no paging, ring 0, interrupts off, code segment 8 and data segments 16, all of
    /// 4 GiB, of which no table in memory tells; a task-state segment of 104 bytes at 0. The
    /// general-purpose registers stay but for their upper halves: what the protocol has in EAX and
    /// EBX is the caller's to set.
    pub fn enter_protected_mode(&mut self, eip: u32) {
        use control::{ET, PE};
        (self.regs.cr0, self.regs.cr3, self.regs.cr4, self.regs.efer) = (PE | ET, 0, 0, 0);
        self.regs.rip = eip.into();
        for register in Seg::ALL {
            self.regs.set_segment(register, Segment::flat(16, Attributes::data(0)));
        }
        self.regs.set_segment(Seg::Cs, Segment::flat(8, Attributes::code_32(0)));
        let attributes = Attributes::BUSY_TASK;
        self.regs.tr = Segment { selector: 0, base: 0, limit: 0x67, attributes };
        self.begin();
    }

    /// How wide the code is that the CPU runs: 64, 32, or 16 where it is in a mode that the engine has
    /// not.
    pub fn bitness(&self) -> u32 {
        self.form.bitness()
    }

    /// The mode that the registers say.
    fn mode(&self) -> Form {
        let regs = &self.regs;
        let code = regs.segment(Seg::Cs);
        if regs.cr0 & control::PE == 0 {
            return Form::Missing;
        }
        match (self.is_long_mode() && code.attributes.long(), code.attributes.big()) {
            (true, false) => return Form::Long,
            (true, true) | (false, false) => return Form::Missing,
            (false, true) => {}
        }
        let stack = regs.segment(Seg::Ss);
        let others = [regs.segment(Seg::Ds), regs.segment(Seg::Es)];
        let flat = code.base == 0
            && code.limit == u32::MAX
            && stack.attributes.big()
            && others.iter().chain([&stack]).all(is_flat);
        if flat { Form::Flat } else { Form::Segmented }
    }

    /// EFER.LMA: 64-bit mode or compatibility mode.
    pub(crate) fn is_long_mode(&self) -> bool {
        self.regs.efer & control::LMA != 0 && self.regs.cr0 & control::PG != 0
    }

    /// Segments or control registers may have changed: what is next is decoded for what holds now.
    pub(crate) fn settle(&mut self) {
        let form = self.mode();
        if form.is_narrow() {
            for reg in &Reg::ALL[..8] {
                self.regs.gpr[*reg] &= 0xffff_ffff;
            }
            self.regs.rip &= 0xffff_ffff;
        }
        if form != self.form {
            self.form = form;
            self.select_view();
            self.leave = true;
        }
        self.leave |= form == Form::Segmented;
    }

    /// Paging, or what it says, may have changed, and with it the mode.
    pub(crate) fn remode(&mut self) {
        self.settle();
        self.select_view();
        self.flush_all();
    }

    /// The linear address of the instruction at `rip`.
    pub(crate) fn code_address(&self, rip: u64) -> u64 {
        match self.form {
            Form::Long | Form::Flat | Form::Missing => rip,
            Form::Segmented => self.regs.segment(Seg::Cs).linear(rip),
        }
    }

    /// How many bytes the code segment has at `rip`, itself included; #GP(0) for none.
    pub(crate) fn code_room(&mut self, rip: u64) -> Result<usize, Left> {
        match self.form {
            Form::Long | Form::Flat | Form::Missing => Ok(usize::MAX),
            Form::Segmented => {
                self.inside_code_segment(rip)?;
                Ok((u64::from(self.regs.segment(Seg::Cs).limit) - rip) as usize + 1)
            }
        }
    }

    /// As the processor accesses its own tables: as supervisor whatever the privilege level.
    pub(crate) fn processor_view(&self) -> View {
        View { who: Who::Supervisor, narrow: !self.is_long_mode() }
    }

    /// The linear address of `bytes` bytes at `offset` of a segment; [`NOWHERE`] if it does not let
    /// at them.
    pub(crate) fn within(&self, segment: Seg, offset: u64, bytes: u64, write: bool) -> u64 {
        let segment = self.regs.segment(segment);
        if segment.admits(write) && segment.holds(offset, bytes) {
            segment.linear(offset)
        } else {
            NOWHERE
        }
    }

    /// The bits of the stack pointer that count.
    pub(crate) fn stack_mask(&self) -> u64 {
        match (self.form, self.regs.segment(Seg::Ss).attributes.big()) {
            (Form::Long, _) => u64::MAX,
            (Form::Flat | Form::Segmented | Form::Missing, true) => 0xffff_ffff,
            (Form::Flat | Form::Segmented | Form::Missing, false) => 0xffff,
        }
    }

    /// #GP(0) if the code segment does not reach to `eip`.
    pub(crate) fn inside_code_segment(&mut self, eip: u64) -> Result<(), Left> {
        if eip <= u64::from(self.regs.segment(Seg::Cs).limit) {
            Ok(())
        } else {
            Err(self.raise(vector::PROTECTION, Some(0)))
        }
    }
}
