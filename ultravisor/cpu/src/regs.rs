//! The registers, in the order of their encoding.

use crate::segment::{Attributes, Hidden, Seg, Segment};
use crate::x87::X87;
use core::ops::{Index, IndexMut};

/// A general-purpose register, numbered as instructions encode it (SDM volume 2, 2.2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reg {
    /// rax
    Rax,
    /// rcx
    Rcx,
    /// rdx
    Rdx,
    /// rbx
    Rbx,
    /// rsp
    Rsp,
    /// rbp
    Rbp,
    /// rsi
    Rsi,
    /// rdi
    Rdi,
    /// r8
    R8,
    /// r9
    R9,
    /// r10
    R10,
    /// r11
    R11,
    /// r12
    R12,
    /// r13
    R13,
    /// r14
    R14,
    /// r15
    R15,
}

impl Reg {
    /// All sixteen, in encoding order.
    pub const ALL: [Self; 16] = [
        Self::Rax,
        Self::Rcx,
        Self::Rdx,
        Self::Rbx,
        Self::Rsp,
        Self::Rbp,
        Self::Rsi,
        Self::Rdi,
        Self::R8,
        Self::R9,
        Self::R10,
        Self::R11,
        Self::R12,
        Self::R13,
        Self::R14,
        Self::R15,
    ];
}

/// What an address is made of besides the sixteen registers. They sit behind the general-purpose
/// registers, so that an effective address is three additions without a branch.
pub(crate) mod slot {
    /// Always zero: "no base", "no index", "no segment".
    pub const ZERO: u8 = 16;
    /// The base of FS.
    pub const FS: u8 = 17;
    /// The base of GS.
    pub const GS: u8 = 18;
    /// An address computed by the uop before, where the plain sum does not do.
    pub const TEMP: u8 = 19;
    /// The base of ES.
    pub const ES: u8 = 20;
    /// The base of CS.
    pub const CS: u8 = 21;
    /// The base of SS.
    pub const SS: u8 = 22;
    /// The base of DS.
    pub const DS: u8 = 23;
    /// Set in a byte register's number: bits 8 to 15 of it (ah, ch, dh, bh).
    pub const HIGH: u8 = 0x20;
}

/// The general-purpose registers, indexed by [`Reg`], and behind them what [`slot`] names. There
/// is a place for every number that a byte can be, so that none has to be checked; most stay zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Gprs([u64; 256]);

impl Default for Gprs {
    fn default() -> Self {
        Self([0; 256])
    }
}

impl core::fmt::Debug for Gprs {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.values()).finish()
    }
}

impl Gprs {
    /// The sixteen registers in encoding order.
    pub fn values(&self) -> [u64; 16] {
        core::array::from_fn(|i| self.0[i])
    }

    #[inline(always)]
    pub(crate) fn slot(&self, number: u8) -> u64 {
        self.0[usize::from(number)]
    }

    #[inline(always)]
    pub(crate) fn slot_mut(&mut self, number: u8) -> &mut u64 {
        &mut self.0[usize::from(number)]
    }
}

impl Index<Reg> for Gprs {
    type Output = u64;

    #[inline(always)]
    fn index(&self, reg: Reg) -> &u64 {
        &self.0[reg as usize]
    }
}

impl IndexMut<Reg> for Gprs {
    #[inline(always)]
    fn index_mut(&mut self, reg: Reg) -> &mut u64 {
        &mut self.0[reg as usize]
    }
}

/// Model-specific registers that are kept as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Msrs {
    /// The selectors of SYSCALL (bits 32 to 47) and SYSRET (48 to 63).
    pub star: u64,
    /// Where SYSCALL goes.
    pub lstar: u64,
    /// Where it goes from compatibility mode.
    pub cstar: u64,
    /// The flags that it clears.
    pub fmask: u64,
    /// The code segment of SYSENTER.
    pub sysenter_cs: u64,
    /// Its stack.
    pub sysenter_esp: u64,
    /// Where it goes.
    pub sysenter_eip: u64,
    /// The page attribute table.
    pub pat: u64,
    /// The default memory type and whether ranges count.
    pub mtrr_default: u64,
    /// Memory types of ranges: eight variable (base, mask), then eleven fixed ones.
    pub mtrr: [u64; 27],
    /// How far the time-stamp counter is ahead of the machine's, because it was written.
    pub tsc_ahead: i64,
}

impl Default for Msrs {
    /// After reset (SDM volume 3, table 9-1 and 11.12.4).
    fn default() -> Self {
        Self {
            star: 0,
            lstar: 0,
            cstar: 0,
            fmask: 0,
            sysenter_cs: 0,
            sysenter_esp: 0,
            sysenter_eip: 0,
            pat: 0x0007_0406_0007_0406,
            mtrr_default: 0,
            mtrr: [0; 27],
            tsc_ahead: 0,
        }
    }
}

/// Everything architectural but RFLAGS, which [`crate::Cpu::rflags`] computes when asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regs {
    /// rax to r15.
    pub gpr: Gprs,
    /// The next instruction.
    pub rip: u64,
    /// xmm0 to xmm15.
    pub xmm: [u128; 16],
    /// SSE control and status (SDM volume 1, 10.2.3).
    pub mxcsr: u32,
    /// x87 and MMX.
    pub x87: X87,
    /// Which parts of the state XSAVE may manage: x87 (bit 0, always) and SSE (bit 1).
    pub xcr0: u64,
    /// Control register 0.
    pub cr0: u64,
    /// The address of the last page fault.
    pub cr2: u64,
    /// The root of the page tables.
    pub cr3: u64,
    /// The four entries that PAE paging begins with, as they were when CR3 was loaded.
    pub directory_pointers: [u64; 4],
    /// Control register 4.
    pub cr4: u64,
    /// The local APIC's task priority, the upper half of which is CR8: its interrupts wait whose
    /// vectors are of no higher class (SDM volume 3, 11.8.3.1 and 11.8.6).
    pub task_priority: u8,
    /// The addresses of the four debug breakpoints.
    pub dr: [u64; 4],
    /// What the breakpoints wait for (SDM volume 3, 17.2.4). Set from outside it has no effect.
    pub dr7: u64,
    /// What debug exceptions were about (SDM volume 3, 17.2.3).
    pub dr6: u64,
    /// The extended-feature register: LME, LMA, NXE, SCE.
    pub efer: u64,
    /// The model-specific register behind SWAPGS.
    pub kernel_gs_base: u64,
    /// The others.
    pub msrs: Msrs,
    /// What RDTSCP and RDPID-like instructions give as the processor's number.
    pub tsc_aux: u32,
    /// The interrupt descriptor table: base and limit.
    pub idtr: (u64, u16),
    /// The global descriptor table: base and limit.
    pub gdtr: (u64, u16),
    /// The local descriptor table.
    pub ldtr: Segment,
    /// The task-state segment.
    pub tr: Segment,
    /// ES to GS but for their bases; see [`Regs::segment`].
    segments: [Hidden; 6],
}

impl Default for Regs {
    /// After reset as far as long mode cares; MXCSR masks all exceptions.
    fn default() -> Self {
        Self {
            gpr: Gprs::default(),
            rip: 0,
            xmm: [0; 16],
            mxcsr: 0x1f80,
            x87: X87::default(),
            xcr0: 1,
            cr0: 0,
            cr2: 0,
            cr3: 0,
            directory_pointers: [0; 4],
            cr4: 0,
            task_priority: 0,
            dr: [0; 4],
            dr7: 0x400,
            dr6: 0xffff_0ff0,
            efer: 0,
            kernel_gs_base: 0,
            msrs: Msrs::default(),
            tsc_aux: 0,
            idtr: (0, 0),
            gdtr: (0, 0),
            ldtr: Segment::default(),
            tr: Segment::default(),
            segments: [Hidden::default(); 6],
        }
    }
}

/// Where the base of a segment register is among the numbers that addresses are made of.
const fn base_slot(register: Seg) -> u8 {
    match register {
        Seg::Es => slot::ES,
        Seg::Cs => slot::CS,
        Seg::Ss => slot::SS,
        Seg::Ds => slot::DS,
        Seg::Fs => slot::FS,
        Seg::Gs => slot::GS,
    }
}

impl Regs {
    /// The value of `reg`.
    pub fn get(&self, reg: Reg) -> u64 {
        self.gpr[reg]
    }

    /// Sets `reg`.
    pub fn set(&mut self, reg: Reg, value: u64) {
        self.gpr[reg] = value;
    }

    /// A segment register.
    pub fn segment(&self, register: Seg) -> Segment {
        let Hidden { selector, limit, attributes } = self.segments[register as usize];
        Segment { selector, base: self.gpr.slot(base_slot(register)), limit, attributes }
    }

    /// Sets a segment register, hidden part and all. The privilege level does not follow CS.
    pub fn set_segment(&mut self, register: Seg, segment: Segment) {
        let Segment { selector, base, limit, attributes } = segment;
        *self.gpr.slot_mut(base_slot(register)) = base;
        self.segments[register as usize] = Hidden { selector, limit, attributes };
    }

    /// The selector in a segment register.
    pub fn selector(&self, register: Seg) -> u16 {
        self.segments[register as usize].selector
    }

    /// Flat segments as boot protocols for 64-bit code hand them over: code 8, data 16.
    pub(crate) fn set_flat_segments(&mut self) {
        for register in Seg::ALL {
            self.set_segment(register, Segment::flat(16, Attributes::data(0)));
        }
        self.set_segment(Seg::Cs, Segment::flat(8, Attributes::code_64(0)));
    }

    /// The base of segment FS.
    pub fn fs_base(&self) -> u64 {
        self.gpr.slot(slot::FS)
    }

    /// The base of segment GS.
    pub fn gs_base(&self) -> u64 {
        self.gpr.slot(slot::GS)
    }

    /// Sets the base of segment FS.
    pub fn set_fs_base(&mut self, base: u64) {
        *self.gpr.slot_mut(slot::FS) = base;
    }

    /// Sets the base of segment GS.
    pub fn set_gs_base(&mut self, base: u64) {
        *self.gpr.slot_mut(slot::GS) = base;
    }
}
