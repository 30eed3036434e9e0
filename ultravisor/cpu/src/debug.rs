//! Debug registers: breakpoints on instructions, data and ports (SDM volume 3, 17.2).
//!
//! They cost nothing while none is set: a page with a data breakpoint has no entry in the TLB, so
//! that accesses to it come by here, and blocks end before an instruction with a breakpoint.

use crate::cpu::{Cpu, control};
use crate::mem::{PAGE, Side};

/// Bits of DR7.
mod dr7 {
    /// MOV to and from debug registers is a debug exception.
    pub const GENERAL_DETECT: u64 = 1 << 13;
    /// Reads as one.
    pub const ALWAYS: u64 = 1 << 10;
    /// What can be written.
    pub const WRITABLE: u64 = 0xffff_23ff;
}

/// Bits of DR6.
mod dr6 {
    /// MOV to or from a debug register was next.
    pub const DETECTED: u64 = 1 << 13;
    /// Read as one.
    pub const ALWAYS: u64 = 0xffff_0ff0;
    /// What can be written.
    pub const WRITABLE: u64 = 0xe00f;
}

/// DR6: single step.
pub(crate) const SINGLE_STEP: u64 = 1 << 14;

/// What a breakpoint waits for (R/W of DR7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    Execution,
    Writes,
    Ports,
    Accesses,
}

impl Waits {
    const BY_FIELD: [Self; 4] = [Self::Execution, Self::Writes, Self::Ports, Self::Accesses];
}

/// One of the four breakpoints, if it is enabled.
#[derive(Clone, Copy, Debug)]
struct Breakpoint {
    waits: Waits,
    address: u64,
    bytes: u64,
}

impl Breakpoint {
    /// Whether it has a byte among `bytes` from `start` on.
    fn touches(&self, start: u64, bytes: u64) -> bool {
        let first = self.address & !(self.bytes - 1);
        start.wrapping_sub(first) < self.bytes || first.wrapping_sub(start) < bytes
    }
}

impl Cpu {
    /// Breakpoint `number`, if it is enabled, locally or globally.
    fn debug_breakpoint(&self, number: usize) -> Option<Breakpoint> {
        // LEN: 1, 2, 8 and 4 bytes.
        const BYTES: [u64; 4] = [1, 2, 8, 4];
        let dr7 = self.regs.dr7;
        let fields = dr7 >> (16 + 4 * number);
        let address = *self.regs.dr.get(number)?;
        (dr7 >> (2 * number) & 3 != 0).then_some(Breakpoint {
            waits: Waits::BY_FIELD[(fields & 3) as usize],
            address,
            bytes: BYTES[(fields >> 2 & 3) as usize],
        })
    }

    /// The bits of DR6 for the breakpoints that `hit` says are hit.
    fn debug_hits(&self, hit: impl Fn(&Breakpoint) -> bool) -> u64 {
        let hits = |number| self.debug_breakpoint(number).is_some_and(|point| hit(&point));
        (0..4).filter(|&number| hits(number)).fold(0, |bits, number| bits | 1 << number)
    }

    /// The breakpoints at the instruction that is next, unless they are to be passed: RF is set,
    /// the stack segment has just been loaded, or it has begun.
    pub(crate) fn instruction_hits(&self) -> u64 {
        let rip = self.code_address(self.regs.rip);
        if self.regs.dr7 & 0xff == 0 || self.passes_breakpoints() {
            return 0;
        }
        self.debug_hits(|point| point.waits == Waits::Execution && point.address == rip)
    }

    /// Whether some byte of the page of `va` has a breakpoint on data.
    pub(crate) fn watches_page(&self, va: u64) -> bool {
        let page = va & !(PAGE - 1);
        self.regs.dr7 & 0xff != 0
            && self.debug_hits(|point| match point.waits {
                Waits::Writes | Waits::Accesses => point.touches(page, PAGE),
                Waits::Execution | Waits::Ports => false,
            }) != 0
    }

    /// Notes the breakpoints that an access of data hits: a debug exception follows the
    /// instruction.
    #[inline]
    pub(crate) fn note_access(&mut self, va: u64, bytes: usize, side: Side) {
        if self.regs.dr7 & 0xff != 0 {
            let writes = matches!(side, Side::Write | Side::Guarded);
            self.note_hits(self.debug_hits(|point| match point.waits {
                Waits::Writes => writes && point.touches(va, bytes as u64),
                Waits::Accesses => side != Side::Fetch && point.touches(va, bytes as u64),
                Waits::Execution | Waits::Ports => false,
            }));
        }
    }

    /// The same for ports (CR4.DE).
    pub(crate) fn note_port(&mut self, port: u16, bytes: u32) {
        if self.regs.cr4 & control::DE != 0 && self.regs.dr7 & 0xff != 0 {
            self.note_hits(self.debug_hits(|point| {
                point.waits == Waits::Ports && point.touches(port.into(), bytes.into())
            }));
        }
    }

    fn note_hits(&mut self, hits: u64) {
        if hits != 0 {
            self.pending.touched |= hits;
            self.leave = true;
        }
    }

    /// Whether MOV with a debug register is a debug exception now, which DR6 then says.
    pub(crate) fn detects_debugging(&mut self) -> bool {
        let detects = self.regs.dr7 & dr7::GENERAL_DETECT != 0;
        if detects {
            self.regs.dr6 |= dr6::DETECTED;
        }
        detects
    }

    /// The handler of a debug exception may use the registers.
    pub(crate) fn allow_debugging(&mut self) {
        self.regs.dr7 &= !dr7::GENERAL_DETECT;
    }

    /// A debug register: 0 to 3, 6 or 7.
    pub(crate) fn debug_register(&self, number: u8) -> u64 {
        match number {
            6 => self.regs.dr6,
            7 => self.regs.dr7,
            number => self.regs.dr[usize::from(number & 3)],
        }
    }

    /// Sets a debug register; what it changes holds from the next instruction on.
    pub(crate) fn set_debug_register(&mut self, number: u8, value: u64) {
        match number {
            6 => {
                self.regs.dr6 = value & dr6::WRITABLE | dr6::ALWAYS;
                return;
            }
            7 => self.regs.dr7 = value & dr7::WRITABLE | dr7::ALWAYS,
            number => self.regs.dr[usize::from(number & 3)] = value,
        }
        self.flush_all();
        self.recut = true;
        self.breakpoints = self.asked.clone();
        for number in 0..4 {
            if let Some(point) = self.debug_breakpoint(number)
                && point.waits == Waits::Execution
            {
                self.breakpoints.insert(point.address);
            }
        }
    }
}
