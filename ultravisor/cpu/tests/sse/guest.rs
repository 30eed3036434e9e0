//! The engine's side: a small guest that runs one snippet.
#![expect(unsafe_code, reason = "makes the pages that the engine's bus promises")]

use crate::silicon::Registers;
use std::ptr::NonNull;
use ultravisor_abi::Gpa;
use ultravisor_cpu::{Access, Bus, Cpu, Exit, HostPage, Page, Reg};

/// Where the page tables are, one of each level: 2 MiB, identity-mapped.
const TABLES: u64 = 0x1000;
/// Where the snippet is put.
const CODE: u64 = 0x1_0000;
/// Where the data is.
pub const DATA: u64 = 0x2_0000;
/// How much data there is.
pub const DATA_BYTES: usize = 4096;
const MEMORY: usize = 0x3_0000;
/// Where a device is: behind the memory, but mapped.
pub const DEVICE: u64 = 0x10_0000;

/// Memory, a CPU, and the order in which they are dropped.
pub struct Guest {
    /// CR0 for the next run.
    pub cr0: u64,
    /// CR4 for the next run.
    pub cr4: u64,
    /// The base of FS for the next run.
    pub fs_base: u64,
    cpu: Cpu,
    memory: Memory,
}

struct Memory(memmap2::MmapMut);

impl Bus for Memory {
    fn page(&mut self, page: Gpa, _: Access) -> Page {
        if page.0 >= MEMORY as u64 {
            return Page::Mmio;
        }
        let first = self.0.as_mut_ptr().wrapping_add(page.0 as usize);
        match NonNull::new(first) {
            // SAFETY: the mapping is page-aligned, covers `page` whole and outlives the CPU, a
            // field dropped before it; `Guest` makes slices of it only while the CPU stands still.
            Some(first) => Page::Ram(unsafe { HostPage::new(first) }),
            None => Page::Away,
        }
    }
}

impl Guest {
    /// A guest that has done nothing.
    pub fn new() -> Self {
        const TABLE: u64 = 3;
        const ENTRIES: u64 = 512;
        let memory = memmap2::MmapMut::map_anon(MEMORY).expect("some pages");
        let mut cpu = Cpu::new();
        cpu.enter_long_mode(TABLES, CODE, 0);
        let (cr0, cr4) = (cpu.regs.cr0, cpu.regs.cr4);
        let mut guest = Self { cr0, cr4, fs_base: 0, cpu, memory: Memory(memory) };
        for level in 0..3 {
            guest.entry(TABLES + 0x1000 * level, (TABLES + 0x1000 * (level + 1)) | TABLE);
        }
        for page in 0..ENTRIES {
            guest.entry(TABLES + 0x3000 + 8 * page, (page << 12) | TABLE);
        }
        guest
    }

    /// Takes the pages from `address` on out of the page tables.
    pub fn unmap_from(&mut self, address: u64) {
        for page in address >> 12..512 {
            self.entry(TABLES + 0x3000 + 8 * page, 0);
        }
    }

    fn entry(&mut self, at: u64, value: u64) {
        self.memory.0[at as usize..][..8].copy_from_slice(&value.to_le_bytes());
    }

    /// Runs `code` with `registers` and `data`, to its end (`None`) or to what stops it.
    pub fn run(&mut self, code: &[u8], registers: &mut Registers, data: &mut [u8]) -> Option<Exit> {
        const HLT: u8 = 0xf4;
        let at = CODE as usize;
        self.memory.0[at..at + code.len()].copy_from_slice(code);
        self.memory.0[at + code.len()] = HLT;
        self.memory.0[DATA as usize..][..data.len()].copy_from_slice(data);
        self.cpu.forget(Gpa(CODE), 4096);
        self.enter(registers);
        let exit = self.cpu.run(&mut self.memory, 1000);
        self.leave(registers);
        data.copy_from_slice(&self.memory.0[DATA as usize..][..data.len()]);
        (exit != Exit::Halt).then_some(exit)
    }

    /// How many bytes into the code the CPU stands.
    pub fn position(&self) -> u64 {
        self.cpu.regs.rip - CODE
    }

    fn enter(&mut self, registers: &Registers) {
        self.cpu.enter_long_mode(TABLES, CODE, 0);
        (self.cpu.regs.cr0, self.cpu.regs.cr4) = (self.cr0, self.cr4);
        self.cpu.regs.set_fs_base(self.fs_base);
        for (reg, value) in Reg::ALL.into_iter().zip(registers.gpr) {
            self.cpu.regs.set(reg, value);
        }
        self.cpu.regs.xmm = registers.xmm;
        self.cpu.regs.mxcsr = registers.mxcsr;
        self.cpu.set_rflags(registers.rflags);
    }

    fn leave(&mut self, registers: &mut Registers) {
        registers.gpr = self.cpu.regs.gpr.values();
        registers.gpr[4] = 0;
        registers.xmm = self.cpu.regs.xmm;
        registers.mxcsr = self.cpu.regs.mxcsr;
        registers.rflags = self.cpu.rflags();
    }
}
