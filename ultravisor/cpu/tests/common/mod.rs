//! A bus of plain memory, page tables to go with it, and seeded random numbers.
#![expect(unsafe_code, reason = "hands out pages of a mapping that it owns")]
#![allow(dead_code, reason = "each test program uses some of this")]

pub mod programs;

use core::ptr::NonNull;
use iced_x86::code_asm::CodeAssembler;
use memmap2::MmapMut;
use std::collections::BTreeMap;
use ultravisor_abi::Gpa;
use ultravisor_cpu::{Access, Bus, Cpu, HostPage, Page, Reg};

pub const PAGE: u64 = 4096;
/// Memory of [`Ram::identity`].
pub const RAM_BYTES: u64 = 4 << 20;
/// Where the root of the page tables is; further tables follow.
pub const TABLES: u64 = 0x1000;
/// Where test code goes.
pub const CODE: u64 = 0x10_0000;
/// Where test data goes.
pub const DATA: u64 = 0x20_0000;
/// A stack, with room on both sides.
pub const STACK: u64 = 0x2f_8000;

pub const PRESENT: u64 = 1;
pub const WRITABLE: u64 = 2;
pub const USER: u64 = 4;
pub const ACCESSED: u64 = 0x20;
pub const DIRTY: u64 = 0x40;
pub const LARGE: u64 = 0x80;
pub const NO_EXECUTE: u64 = 1 << 63;

/// Guest-physical memory from 0 on, with pages that answer otherwise.
pub struct Ram {
    map: MmapMut,
    pub special: BTreeMap<u64, Page>,
    pub asked: Vec<(u64, Access)>,
    next_table: u64,
}

impl Ram {
    pub fn new(bytes: u64) -> Self {
        let map = MmapMut::map_anon(bytes as usize).expect("anonymous memory");
        Self { map, special: BTreeMap::new(), asked: Vec::new(), next_table: TABLES + PAGE }
    }

    /// 4 MiB, of which the first 4 MiB are mapped to themselves, 4 KiB pages, all rights.
    pub fn identity() -> Self {
        let mut ram = Self::new(RAM_BYTES);
        for page in 0..RAM_BYTES / PAGE {
            ram.map(page * PAGE, page * PAGE, PRESENT | WRITABLE);
        }
        ram
    }

    pub fn write(&mut self, gpa: u64, bytes: &[u8]) {
        self.map[gpa as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    pub fn read(&self, gpa: u64, bytes: usize) -> &[u8] {
        &self.map[gpa as usize..][..bytes]
    }

    pub fn write_u64(&mut self, gpa: u64, value: u64) {
        self.write(gpa, &value.to_le_bytes());
    }

    pub fn read_u64(&self, gpa: u64) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.read(gpa, 8));
        u64::from_le_bytes(bytes)
    }

    /// Maps the 4 KiB page at `va` to `gpa`.
    pub fn map(&mut self, va: u64, gpa: u64, rights: u64) {
        let at = self.entry(va, 1);
        self.write_u64(at, gpa | rights);
    }

    /// Where the entry of `va` at `level` is; tables above it are made as needed.
    pub fn entry(&mut self, va: u64, level: u32) -> u64 {
        let mut table = TABLES;
        let mut at = 4;
        loop {
            let entry = table + ((va >> (12 + 9 * (at - 1))) & 511) * 8;
            if at == level {
                return entry;
            }
            if self.read_u64(entry) & PRESENT == 0 {
                self.write_u64(entry, self.next_table | PRESENT | WRITABLE | USER);
                self.next_table += PAGE;
                assert!(self.next_table <= CODE, "tables run into the code");
            }
            table = self.read_u64(entry) & 0x000f_ffff_ffff_f000;
            at -= 1;
        }
    }

    pub fn host(&mut self, gpa: u64) -> *mut u8 {
        self.map[gpa as usize..].as_mut_ptr()
    }
}

impl Bus for Ram {
    fn page(&mut self, page: Gpa, access: Access) -> Page {
        self.asked.push((page.0, access));
        if let Some(&special) = self.special.get(&page.0) {
            return special;
        }
        if page.0 >= self.map.len() as u64 {
            return Page::Mmio;
        }
        let at = NonNull::new(self.host(page.0)).expect("inside the mapping");
        // SAFETY: the mapping is page-aligned, outlives the CPU in every test, and is touched
        // through references only while no CPU runs.
        Page::Ram(unsafe { HostPage::new(at) })
    }
}

/// A CPU in long mode at [`CODE`], and memory with `code` there.
pub fn machine(code: &[u8]) -> (Cpu, Ram) {
    let mut ram = Ram::identity();
    ram.write(CODE, code);
    let mut cpu = Cpu::new();
    cpu.enter_long_mode(TABLES, CODE, STACK);
    (cpu, ram)
}

/// The same in 32-bit code without paging.
pub fn machine_32(code: &[u8]) -> (Cpu, Ram) {
    let mut ram = Ram::identity();
    ram.write(CODE, code);
    let mut cpu = Cpu::new();
    cpu.enter_protected_mode(CODE as u32);
    cpu.regs.set(Reg::Rsp, STACK);
    (cpu, ram)
}

/// Assembles 64-bit code at [`CODE`].
pub fn assemble(
    write: impl FnOnce(&mut CodeAssembler) -> Result<(), iced_x86::IcedError>,
) -> Vec<u8> {
    assemble_for(64, write)
}

/// Assembles 64-bit or 32-bit code at [`CODE`].
pub fn assemble_for(
    bits: u32,
    write: impl FnOnce(&mut CodeAssembler) -> Result<(), iced_x86::IcedError>,
) -> Vec<u8> {
    let mut assembler = CodeAssembler::new(bits).expect("64 or 32");
    write(&mut assembler).expect("valid operands");
    assembler.assemble(CODE).expect("valid instructions")
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    /// Values near the edges more often than chance would have them.
    pub fn value(&mut self) -> u64 {
        let bits = [7, 8, 15, 16, 31, 32, 63, 64][self.below(8) as usize];
        let edge = if bits == 64 { 0 } else { 1_u64 << bits };
        match self.below(6) {
            0 => edge.wrapping_add(self.below(3)).wrapping_sub(1),
            1 => self.below(3).wrapping_sub(1),
            2 => self.next() >> self.below(64),
            3 => (self.next() >> self.below(64)).wrapping_neg(),
            _ => self.next(),
        }
    }
}
