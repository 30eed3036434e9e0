//! The image on this engine: flat memory, a start info as PVH has it, COM1 and the exit port.
#![expect(unsafe_code, reason = "hands out pages of a mapping that it owns")]

use crate::image::{
    COM1, COM1_CONTROL, COM1_EMPTY, COM1_STATUS, EXIT_PORT, MEMORY, PVH_COMMAND_LINE, PVH_MAGIC,
};
use core::ptr::NonNull;
use goblin::elf::Elf;
use goblin::elf::program_header::PT_LOAD;
use memmap2::MmapMut;
use ultravisor_abi::Gpa;
use ultravisor_cpu::{Access, Bus, Cpu, Exit, HostPage, Page, Reg};

/// Where the start info, the command line, and the tables until the image loads its own are.
const START_INFO: u64 = 0x1000;
const COMMAND_LINE: u64 = 0x2000;
const TABLES: u64 = 0x3000;
const STACK: u64 = 0x9_0000;

struct Ram(MmapMut);

impl Ram {
    fn write(&mut self, gpa: u64, bytes: &[u8]) {
        self.0[gpa as usize..][..bytes.len()].copy_from_slice(bytes);
    }
}

impl Bus for Ram {
    fn page(&mut self, page: Gpa, _: Access) -> Page {
        if page.0 >= self.0.len() as u64 {
            return Page::Mmio;
        }
        let at = NonNull::new(self.0[page.0 as usize..].as_mut_ptr()).expect("inside the mapping");
        // SAFETY: the mapping is page-aligned and outlives the CPU; while that runs nobody refers
        // to its bytes.
        Page::Ram(unsafe { HostPage::new(at) })
    }
}

/// What a run of the image said.
pub struct Outcome {
    pub checksum: String,
    /// Guest instructions, a whole REP being one.
    pub instructions: u64,
}

/// Runs `image` with `command`.
pub fn run(image: &[u8], command: &str) -> Outcome {
    let mut ram = Ram(MmapMut::map_anon(MEMORY as usize).expect("anonymous memory"));
    let elf = Elf::parse(image).expect("an image of ours");
    for segment in elf.program_headers.iter().filter(|segment| segment.p_type == PT_LOAD) {
        ram.write(segment.p_paddr, &image[segment.file_range()]);
    }
    ram.write(START_INFO, &PVH_MAGIC.to_le_bytes());
    ram.write(START_INFO + PVH_COMMAND_LINE as u64, &COMMAND_LINE.to_le_bytes());
    ram.write(COMMAND_LINE, command.as_bytes());
    for (table, entry) in [(TABLES, (TABLES + 0x1000) | 3), (TABLES + 0x1000, 0x83)] {
        ram.write(table, &u64::to_le_bytes(entry));
    }
    let mut cpu = Cpu::new();
    cpu.enter_long_mode(TABLES, elf.entry, STACK);
    cpu.regs.set(Reg::Rdi, START_INFO);
    let checksum = serve(&mut cpu, &mut ram);
    Outcome { checksum, instructions: cpu.instructions() }
}

/// Runs until the exit port is written; what came out of COM1.
fn serve(cpu: &mut Cpu, ram: &mut Ram) -> String {
    let mut told = String::new();
    loop {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the image does nothing else")]
        match cpu.run(ram, u64::MAX) {
            Exit::PortRead { port: COM1_STATUS, .. } => cpu.supply(COM1_EMPTY),
            Exit::PortWrite { port: COM1_CONTROL, .. } => (),
            Exit::PortWrite { port: COM1, value, .. } => told.push(char::from(value as u8)),
            Exit::PortWrite { port: EXIT_PORT, .. } => return told.trim().to_owned(),
            other => panic!("{other:?} at {:#x}", cpu.regs.rip),
        }
    }
}
