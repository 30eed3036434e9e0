//! The guest image that every engine runs unchanged: an ELF64 of generated code, so that no
//! compiler's version moves the figures.
//!
//! It can be entered in three ways: at `e_entry` in 64-bit mode (this engine), by its PVH note
//! (QEMU's `-kernel`), by its multiboot2 header (GRUB, for Bochs); the last two are 32-bit entries.
//! Its command line holds `@WORKLOAD,ROUNDS`. It does that work, writes a checksum of 16 hex digits
//! and a newline to COM1, and ends the machine.

use crate::workloads::WORKLOADS;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// Where the image is loaded, and how much memory its machine has at least.
const LOADED_AT: u64 = 0x10_0000;
pub const MEMORY: u64 = 128 << 20;
/// The top of its stack: far from the image's end and from the workloads' buffers.
const STACK: u64 = 0x1f0_0000;

/// COM1's data register, its line status register, and the bit there that says that all is sent.
pub const COM1: u16 = 0x3f8;
pub const COM1_STATUS: u16 = 0x3fd;
pub const COM1_EMPTY: u64 = 0x40;
/// COM1's line control register, and what it is set to: 8 bits, no parity, one stop bit.
pub const COM1_CONTROL: u16 = 0x3fb;
const COM1_8N1: u32 = 3;
/// A write here ends QEMU (`isa-debug-exit`) and our runner.
pub const EXIT_PORT: u16 = 0xf4;
/// This word, written here byte by byte, ends Bochs.
const BOCHS_EXIT: (u16, &[u8]) = (0x8900, b"Shutdown");

const MULTIBOOT2_MAGIC: u32 = 0xe852_50d6;
/// What a multiboot2 loader leaves in EAX.
const MULTIBOOT2_LOADED: u32 = 0x36d7_6289;
/// Where PVH's start info holds the address of the command line.
pub const PVH_COMMAND_LINE: usize = 24;
pub const PVH_MAGIC: u32 = 0x336e_c578;
/// The note that names the 32-bit entry (`XEN_ELFNOTE_PHYS32_ENTRY`).
const PVH_NOTE: u32 = 18;

/// In front of the code: the multiboot2 header, then the note, then the descriptor table.
const NOTE_AT: u64 = LOADED_AT + 0x40;
const NOTE_BYTES: u64 = 20;
const GDT_AT: u64 = LOADED_AT + 0x80;
const GDTR_AT: u64 = LOADED_AT + 0xa0;
const ENTRY_32: u64 = LOADED_AT + 0x100;
const ENTRY_64: u64 = LOADED_AT + 0x200;
const PAGE: u64 = 0x1000;
const TABLES_AT: u64 = LOADED_AT + PAGE;
const CODE_AT: u64 = TABLES_AT + 3 * PAGE;
/// Where in the file the loaded bytes begin.
const FILE_OFFSET: u64 = PAGE;

/// The ELF file.
pub fn build() -> Result<Vec<u8>, IcedError> {
    let mut code = Vec::new();
    let mut entries = Vec::new();
    for workload in &WORKLOADS {
        let at = CODE_AT + code.len() as u64;
        entries.push(at);
        let mut assembler = CodeAssembler::new(64)?;
        (workload.program)(&mut assembler)?;
        code.extend(assembler.assemble(at)?);
        code.resize(code.len().next_multiple_of(64), 0xcc);
    }
    let mut loaded = vec![0; (CODE_AT - LOADED_AT) as usize];
    let mut put = |at: u64, bytes: &[u8]| {
        loaded[(at - LOADED_AT) as usize..][..bytes.len()].copy_from_slice(bytes);
    };
    put(LOADED_AT, &multiboot2_header());
    put(NOTE_AT, &note());
    put(GDT_AT, &words(&[0, 0x00af_9a00_0000_ffff, 0x00cf_9200_0000_ffff]));
    put(GDTR_AT, &[&[23, 0], &GDT_AT.to_le_bytes()[..]].concat());
    put(ENTRY_32, &to_long_mode()?);
    put(ENTRY_64, &start(&entries)?);
    put(TABLES_AT, &page_tables());
    loaded.extend(code);
    Ok([elf_headers(loaded.len() as u64), loaded].concat())
}

fn words(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn halves(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Header, load segment, note segment; padded to where the loaded bytes begin.
fn elf_headers(bytes: u64) -> Vec<u8> {
    const EXECUTABLE_X86_64: u64 = 2 | 62 << 16 | 1 << 32;
    let size_and_entries = [64_u16, 56, 2, 0, 0, 0].map(u16::to_le_bytes).concat();
    let ident = [0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let load = [1 | 7 << 32, FILE_OFFSET, LOADED_AT, LOADED_AT, bytes, bytes, PAGE];
    let note_at = FILE_OFFSET + (NOTE_AT - LOADED_AT);
    let note = [4 | 4 << 32, note_at, NOTE_AT, NOTE_AT, NOTE_BYTES, NOTE_BYTES, 4];
    let mut file = ident.to_vec();
    file.extend(words(&[EXECUTABLE_X86_64, ENTRY_64, 64, 0]));
    file.extend([0; 4]);
    file.extend(size_and_entries);
    file.extend(words(&[load, note].concat()));
    file.resize(FILE_OFFSET as usize, 0);
    file
}

/// Magic, architecture i386, length, checksum; the 32-bit entry's address; the end.
fn multiboot2_header() -> Vec<u8> {
    const LENGTH: u32 = 40;
    let checksum = 0_u32.wrapping_sub(MULTIBOOT2_MAGIC).wrapping_sub(LENGTH);
    let entry = [3, 12, ENTRY_32 as u32, 0];
    let end = [0, 8];
    [halves(&[MULTIBOOT2_MAGIC, 0, LENGTH, checksum]), halves(&entry), halves(&end)].concat()
}

fn note() -> Vec<u8> {
    [halves(&[4, 4, PVH_NOTE]), b"Xen\0".to_vec(), halves(&[ENTRY_32 as u32])].concat()
}

/// The first GiB to itself by 2 MiB pages, accessed and dirty from the start.
fn page_tables() -> Vec<u8> {
    const RIGHTS: u64 = 0x63;
    const LARGE: u64 = 0x80;
    let table = |next: u64| {
        let mut entries = vec![0; 512];
        entries[0] = next | RIGHTS;
        words(&entries)
    };
    let large: Vec<u64> = (0..512).map(|number| number << 21 | RIGHTS | LARGE).collect();
    [table(TABLES_AT + PAGE), table(TABLES_AT + 2 * PAGE), words(&large)].concat()
}

/// From flat 32-bit mode to [`ENTRY_64`], what the loader left in EBX and EAX in RDI and RSI.
fn to_long_mode() -> Result<Vec<u8>, IcedError> {
    const PAE: u32 = 1 << 5;
    const EFER: u32 = 0xc000_0080;
    const LONG_MODE: u32 = 1 << 8;
    const PAGING: u32 = 1 << 31;
    let mut a = CodeAssembler::new(32)?;
    a.mov(edi, ebx)?;
    a.mov(esi, eax)?;
    a.lgdt(ptr(GDTR_AT))?;
    a.mov(eax, cr4)?;
    a.or(eax, PAE as i32)?;
    a.mov(cr4, eax)?;
    a.mov(eax, TABLES_AT as u32)?;
    a.mov(cr3, eax)?;
    a.mov(ecx, EFER)?;
    a.rdmsr()?;
    a.or(eax, LONG_MODE as i32)?;
    a.wrmsr()?;
    a.mov(eax, cr0)?;
    a.or(eax, PAGING as i32)?;
    a.mov(cr0, eax)?;
    a.db(&[0xea])?; // jmp far, to the 64-bit code segment
    a.dd(&[ENTRY_64 as u32])?;
    a.dw(&[8])?;
    a.assemble(ENTRY_32)
}

/// Finds the command line, does what it says, and reports.
fn start(entries: &[u64]) -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(64)?;
    let mut number = a.create_label();
    a.mov(eax, TABLES_AT as u32)?;
    a.mov(cr3, rax)?;
    a.mov(esp, STACK as u32)?;
    find_command_line(&mut a)?;
    a.call(number)?;
    a.mov(rbx, rax)?;
    a.inc(rsi)?;
    a.call(number)?;
    a.mov(r12, rax)?;
    let mut report = a.create_label();
    a.xor(eax, eax)?;
    for (id, &entry) in (1..).zip(entries) {
        let mut other = a.create_label();
        a.cmp(ebx, id)?;
        a.jne(other)?;
        a.call(entry)?;
        a.jmp(report)?;
        a.set_label(&mut other)?;
        a.xor(eax, eax)?;
    }
    a.set_label(&mut report)?;
    tell(&mut a)?;
    a.set_label(&mut number)?;
    read_number(&mut a)?;
    a.assemble(ENTRY_64)
}

/// RSI: behind the `@` of the command line. Without one, the machine halts.
fn find_command_line(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut multiboot, mut tag, mut scan) = (a.create_label(), a.create_label(), a.create_label());
    let (mut found, mut next) = (a.create_label(), a.create_label());
    a.cmp(esi, MULTIBOOT2_LOADED as i32)?;
    a.je(multiboot)?;
    a.mov(rsi, qword_ptr(rdi + PVH_COMMAND_LINE))?;
    a.jmp(scan)?;
    a.set_label(&mut multiboot)?;
    a.add(rdi, 8)?;
    a.set_label(&mut tag)?;
    a.lea(rsi, qword_ptr(rdi + 8))?;
    a.cmp(dword_ptr(rdi), 1)?; // the tag of the command line
    a.je(scan)?;
    a.mov(eax, dword_ptr(rdi + 4))?;
    a.add(rax, 7)?;
    a.and(rax, -8)?;
    a.add(rdi, rax)?;
    a.jmp(tag)?;
    a.set_label(&mut scan)?;
    a.lodsb()?;
    a.cmp(al, i32::from(b'@'))?;
    a.je(found)?;
    a.test(al, al)?;
    a.jne(scan)?;
    a.set_label(&mut next)?;
    a.hlt()?;
    a.jmp(next)?;
    a.set_label(&mut found)?;
    a.nop()
}

/// RAX: the decimal number at RSI, which moves behind it.
fn read_number(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut digit, mut done) = (a.create_label(), a.create_label());
    a.xor(eax, eax)?;
    a.set_label(&mut digit)?;
    a.movzx(ecx, byte_ptr(rsi))?;
    a.sub(ecx, i32::from(b'0'))?;
    a.cmp(ecx, 10)?;
    a.jae(done)?;
    a.lea(rax, qword_ptr(rax + rax * 4))?;
    a.lea(rax, qword_ptr(rcx + rax * 2))?;
    a.inc(rsi)?;
    a.jmp(digit)?;
    a.set_label(&mut done)?;
    a.ret()
}

/// Writes RAX to COM1 and ends the machine.
fn tell(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut digit, mut small, mut send) = (a.create_label(), a.create_label(), a.create_label());
    let (mut wait, mut halted) = (a.create_label(), a.create_label());
    a.mov(rbx, rax)?;
    a.mov(edx, u32::from(COM1_CONTROL))?;
    a.mov(eax, COM1_8N1)?;
    a.out(dx, al)?;
    a.mov(r12d, 17)?;
    a.set_label(&mut digit)?;
    a.rol(rbx, 4)?;
    a.mov(ecx, ebx)?;
    a.and(ecx, 15)?;
    a.add(ecx, i32::from(b'0'))?;
    a.cmp(ecx, i32::from(b'9'))?;
    a.jbe(small)?;
    a.add(ecx, i32::from(b'a' - b'9' - 1))?;
    a.set_label(&mut small)?;
    a.cmp(r12d, 1)?;
    a.jne(send)?;
    a.mov(ecx, i32::from(b'\n'))?;
    a.set_label(&mut send)?;
    a.mov(edx, u32::from(COM1))?;
    a.mov(eax, ecx)?;
    a.out(dx, al)?;
    a.mov(edx, u32::from(COM1_STATUS))?;
    a.set_label(&mut wait)?;
    a.in_(al, dx)?;
    a.test(al, COM1_EMPTY as i32)?;
    a.je(wait)?;
    a.dec(r12d)?;
    a.jne(digit)?;
    a.xor(eax, eax)?;
    a.mov(edx, u32::from(EXIT_PORT))?;
    a.out(dx, al)?;
    a.mov(edx, u32::from(BOCHS_EXIT.0))?;
    for &letter in BOCHS_EXIT.1 {
        a.mov(al, i32::from(letter))?;
        a.out(dx, al)?;
    }
    a.set_label(&mut halted)?;
    a.hlt()?;
    a.jmp(halted)
}
