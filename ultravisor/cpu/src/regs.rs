//! The registers, in the order of their encoding.

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
    /// Set in a byte register's number: bits 8 to 15 of it (ah, ch, dh, bh).
    pub const HIGH: u8 = 0x20;
}

/// The general-purpose registers, indexed by [`Reg`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gprs([u64; 32]);

impl Gprs {
    /// The sixteen registers in encoding order.
    pub fn values(&self) -> [u64; 16] {
        core::array::from_fn(|i| self.0[i])
    }

    #[inline(always)]
    pub(crate) fn slot(&self, number: u8) -> u64 {
        self.0[usize::from(number & 31)]
    }

    #[inline(always)]
    pub(crate) fn slot_mut(&mut self, number: u8) -> &mut u64 {
        &mut self.0[usize::from(number & 31)]
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
    /// Control register 4.
    pub cr4: u64,
    /// The extended-feature register: LME, LMA, NXE, SCE.
    pub efer: u64,
    /// The model-specific register behind SWAPGS.
    pub kernel_gs_base: u64,
    /// What RDTSCP and RDPID-like instructions give as the processor's number.
    pub tsc_aux: u32,
    /// The interrupt descriptor table: base and limit.
    pub idtr: (u64, u16),
    /// The global descriptor table: base and limit.
    pub gdtr: (u64, u16),
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
            cr4: 0,
            efer: 0,
            kernel_gs_base: 0,
            tsc_aux: 0,
            idtr: (0, 0),
            gdtr: (0, 0),
        }
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
