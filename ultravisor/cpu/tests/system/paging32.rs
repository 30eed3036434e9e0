//! Paging of protected mode: two levels of 4-byte entries, and PAE's three of 8 bytes.

use crate::common::{ACCESSED, DATA, DIRTY, LARGE, NO_EXECUTE, PAGE, PRESENT, Ram, USER, WRITABLE};
use crate::protected::{assemble_32, protected};
use crate::world::exception;
use iced_x86::code_asm::*;
use ultravisor_cpu::{Cpu, Exit, Reg, control};

/// The page directory, or the four pointers of PAE.
const ROOT: u64 = 0x1000;
const DIRECTORY: u64 = 0x2000;
/// The directory of [`VA`]'s GiB.
const UPPER: u64 = 0x4000;
const TABLE: u64 = 0x3000;
/// An address that only the test's own tables map.
const VA: u64 = 0xc040_3000;

const ERROR_PRESENT: u32 = 1;
const ERROR_WRITE: u32 = 2;
const ERROR_USER: u32 = 4;
const ERROR_RESERVED: u32 = 8;
const ERROR_FETCH: u32 = 16;

fn fault(error: u32, address: u64) -> Exit {
    Exit::Exception { vector: 14, error: Some(error), address: Some(address) }
}

fn loads() -> Vec<u8> {
    assemble_32(|a| a.mov(eax, dword_ptr(ebx)))
}

fn stores() -> Vec<u8> {
    assemble_32(|a| a.mov(dword_ptr(ebx), eax))
}

fn write_u32(ram: &mut Ram, at: u64, value: u64) {
    ram.write(at, &(value as u32).to_le_bytes());
}

fn read_u32(ram: &Ram, at: u64) -> u64 {
    ram.read_u64(at) & 0xffff_ffff
}

/// A machine with 32-bit paging: the first 4 MiB by one large page, and what [`VA`]'s directory
/// entry and table entry say.
fn two_levels(code: &[u8], directory: u64, table: u64) -> (Cpu, Ram) {
    let (mut cpu, mut ram) = protected(code);
    write_u32(&mut ram, ROOT, LARGE | WRITABLE | USER | PRESENT);
    write_u32(&mut ram, ROOT + 4 * (VA >> 22), directory);
    write_u32(&mut ram, TABLE + 4 * (VA >> 12 & 0x3ff), table);
    cpu.regs.cr4 |= control::PSE;
    cpu.regs.cr3 = ROOT;
    cpu.regs.cr0 |= control::PG | control::WP;
    cpu.regs.set(Reg::Rbx, VA + 8);
    (cpu, ram)
}

/// A machine with PAE paging, the first 2 MiB and the code's mapped to themselves. The pointers are
/// loaded as a guest loads them.
fn three_levels(code: &[u8], directory: u64, table: u64) -> (Cpu, Ram) {
    let mut start = assemble_32(|a| {
        a.mov(eax, cr0)?;
        a.or(eax, 1 << 31)?;
        a.mov(cr0, eax)
    });
    start.extend(code);
    let (mut cpu, mut ram) = protected(&start);
    ram.write_u64(ROOT, DIRECTORY | PRESENT);
    ram.write_u64(ROOT + 8 * (VA >> 30), UPPER | PRESENT);
    for page in 0..2 {
        ram.write_u64(DIRECTORY + 8 * page, page << 21 | LARGE | WRITABLE | USER | PRESENT);
    }
    ram.write_u64(UPPER + 8 * (VA >> 21 & 0x1ff), directory);
    ram.write_u64(TABLE + 8 * (VA >> 12 & 0x1ff), table);
    (cpu.regs.cr3, cpu.regs.cr4) = (ROOT, control::PAE);
    cpu.regs.set(Reg::Rbx, VA + 8);
    (cpu, ram)
}

const TABLE_ENTRY: u64 = TABLE | WRITABLE | USER | PRESENT;

#[test]
fn two_levels_lead_to_a_page_and_note_what_was_done() {
    // SDM volume 3, 4.3 and 4.8.
    let (mut cpu, mut ram) = two_levels(&loads(), TABLE_ENTRY, DATA | WRITABLE | PRESENT);
    ram.write_u64(DATA + 8, 0x1234_5678);
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!(cpu.regs.get(Reg::Rax), 0x1234_5678);
    let (of_directory, of_table) = (ROOT + 4 * (VA >> 22), TABLE + 4 * (VA >> 12 & 0x3ff));
    assert_eq!(read_u32(&ram, of_directory), TABLE_ENTRY | ACCESSED);
    assert_eq!(read_u32(&ram, of_table), DATA | WRITABLE | PRESENT | ACCESSED);
    // The neighbours, of which an entry of eight bytes would be the half.
    assert_eq!((read_u32(&ram, of_directory + 4), read_u32(&ram, of_table + 4)), (0, 0));
    let (mut cpu, mut ram) = two_levels(&stores(), TABLE_ENTRY, DATA | WRITABLE | PRESENT);
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!(read_u32(&ram, of_table) & (ACCESSED | DIRTY), ACCESSED | DIRTY);
    assert_eq!(read_u32(&ram, of_directory) & DIRTY, 0);
}

#[test]
fn a_directory_entry_maps_four_megabytes_only_with_pse() {
    // SDM volume 3, 4.3, table 4-4: without PSE-36 bits 21 to 13 are reserved.
    let large = LARGE | WRITABLE | PRESENT;
    let (mut cpu, mut ram) = two_levels(&loads(), large, 0);
    ram.write_u64(VA % (4 << 20) + 8, 7);
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!(cpu.regs.get(Reg::Rax), 7);
    let (mut cpu, mut ram) = two_levels(&loads(), large | 1 << 13, 0);
    assert_eq!(cpu.run(&mut ram, 1), fault(ERROR_PRESENT | ERROR_RESERVED, VA + 8));
    // Without it the bit means nothing, and the entry is a table's.
    let (mut cpu, mut ram) = two_levels(&loads(), TABLE_ENTRY | LARGE, DATA | PRESENT);
    write_u32(&mut ram, ROOT, 0x5000 | WRITABLE | PRESENT);
    (0..1024).for_each(|page| write_u32(&mut ram, 0x5000 + 4 * page, page << 12 | 3));
    cpu.regs.cr4 = 0;
    ram.write_u64(DATA + 8, 9);
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!(cpu.regs.get(Reg::Rax), 9);
}

#[test]
fn what_a_level_forbids_is_forbidden() {
    // SDM volume 3, 4.6.1 and 4.7: in the supervisor WP counts.
    let read_only = DATA | PRESENT;
    let (mut cpu, mut ram) = two_levels(&stores(), TABLE_ENTRY, read_only);
    assert_eq!(cpu.run(&mut ram, 1), fault(ERROR_PRESENT | ERROR_WRITE, VA + 8));
    let (mut cpu, mut ram) = two_levels(&stores(), TABLE_ENTRY & !WRITABLE, read_only | WRITABLE);
    assert_eq!(cpu.run(&mut ram, 1), fault(ERROR_PRESENT | ERROR_WRITE, VA + 8));
    let (mut cpu, mut ram) = two_levels(&stores(), TABLE_ENTRY, read_only);
    cpu.regs.cr0 &= !control::WP;
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    let (mut cpu, mut ram) = two_levels(&loads(), TABLE_ENTRY & !PRESENT, read_only);
    assert_eq!(cpu.run(&mut ram, 1), fault(0, VA + 8));
    assert_eq!(cpu.regs.cr2, VA + 8);
}

/// SDM volume 3, 5.3: whether what goes beyond a limit of 4 GiB faults is the processor's choice,
/// and ours goes on; 3.4: linear addresses have 32 bits.
#[test]
fn an_access_goes_on_from_the_top_of_the_address_space_at_its_beginning() {
    let (mut cpu, mut ram) = two_levels(&stores(), 0, 0);
    write_u32(&mut ram, ROOT + 4 * 1023, TABLE_ENTRY);
    write_u32(&mut ram, TABLE + 4 * 1023, DATA | WRITABLE | PRESENT);
    cpu.regs.set(Reg::Rbx, 0xffff_fffe);
    cpu.regs.set(Reg::Rax, 0xaabb_ccdd);
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!(ram.read(DATA + PAGE - 2, 2), [0xdd, 0xcc]);
    assert_eq!(ram.read(0, 2), [0xbb, 0xaa]);
}

/// SDM volume 3, 5.3 and 3.4, as above.
#[test]
fn code_goes_on_from_the_top_of_the_address_space_at_its_beginning() {
    let (mut cpu, mut ram) = two_levels(&assemble_32(|a| a.jmp(ebx)), 0, 0);
    write_u32(&mut ram, ROOT + 4 * 1023, TABLE_ENTRY);
    write_u32(&mut ram, TABLE + 4 * 1023, DATA | PRESENT);
    // inc eax; inc eax behind which the top is, inside of and behind an instruction.
    ram.write(DATA + PAGE - 2, &[0x40, 0x40]);
    ram.write(0, &[0x43, 0xf4]);
    cpu.regs.set(Reg::Rbx, 0xffff_fffe);
    assert_eq!(cpu.run(&mut ram, 9), Exit::Halt);
    assert_eq!((cpu.regs.rip, cpu.regs.get(Reg::Rax)), (2, 2));
    ram.write(DATA + PAGE - 2, &[0x40, 0xb8]);
    ram.write(0, &[1, 2, 3, 4, 0xf4]);
    cpu.forget_code(ultravisor_abi::Gpa(0), DATA + PAGE);
    cpu.regs.rip = 0xffff_fffe;
    assert_eq!(cpu.run(&mut ram, 9), Exit::Halt);
    assert_eq!((cpu.regs.rip, cpu.regs.get(Reg::Rax)), (5, 0x0403_0201));
}

#[test]
fn pae_has_three_levels_and_its_pointers_are_those_of_when_cr3_was_loaded() {
    // SDM volume 3, 4.4.1 and 4.4.2.
    let code = assemble_32(|a| {
        a.mov(eax, dword_ptr(ebx))?;
        a.mov(dword_ptr(ROOT + 8 * (VA >> 30)), 0)?;
        a.invlpg(dword_ptr(ebx))?;
        a.mov(ecx, dword_ptr(ebx))?;
        a.mov(edx, cr3)?;
        a.mov(cr3, edx)?;
        a.mov(edx, dword_ptr(ebx))
    });
    let (mut cpu, mut ram) = three_levels(&code, TABLE_ENTRY, DATA | WRITABLE | PRESENT);
    ram.write_u64(DATA + 8, 0x77);
    assert_eq!(cpu.run(&mut ram, 7), Exit::Budget);
    assert_eq!((cpu.regs.get(Reg::Rax), cpu.regs.get(Reg::Rcx)), (0x77, 0x77));
    assert_eq!(cpu.run(&mut ram, 9), fault(0, VA + 8));
    let at = TABLE + 8 * (VA >> 12 & 0x1ff);
    assert_eq!(ram.read_u64(at), DATA | WRITABLE | PRESENT | ACCESSED);
}

#[test]
fn a_reserved_bit_of_a_pointer_is_gp_when_it_is_loaded() {
    // SDM volume 3, 4.4.1: bits 2, 1, 8 to 5 and those above the address, of one that is present.
    for (bits, fine) in [(0, true), (2, false), (0x20, false), (0x100, false), (1 << 62, false)] {
        let (mut cpu, mut ram) = three_levels(&[0xf4], 0, 0);
        ram.write_u64(ROOT + 8, 0x5000 | PRESENT | bits);
        let end = cpu.run(&mut ram, 9);
        assert_eq!(end, if fine { Exit::Halt } else { exception(13, 0) }, "{bits:#x}");
        let (mut cpu, mut ram) = three_levels(&[0xf4], 0, 0);
        ram.write_u64(ROOT + 8, 0x5000 | bits);
        assert_eq!(cpu.run(&mut ram, 9), Exit::Halt, "absent, {bits:#x}");
    }
}

#[test]
fn pae_refuses_bits_that_are_reserved_and_code_that_is_data() {
    // SDM volume 3, tables 4-8 to 4-11 (bits 62 to 52 too), and 4.6.1 for NX.
    let page = DATA | WRITABLE | PRESENT;
    for reserved in [1 << 52, 1 << 62, NO_EXECUTE] {
        let (mut cpu, mut ram) = three_levels(&loads(), TABLE_ENTRY, page | reserved);
        assert_eq!(cpu.run(&mut ram, 9), fault(ERROR_PRESENT | ERROR_RESERVED, VA + 8));
    }
    let large = LARGE | WRITABLE | PRESENT | 1 << 13;
    let (mut cpu, mut ram) = three_levels(&loads(), large, 0);
    assert_eq!(cpu.run(&mut ram, 9), fault(ERROR_PRESENT | ERROR_RESERVED, VA + 8));
    let jump = assemble_32(|a| a.jmp(ebx));
    let (mut cpu, mut ram) = three_levels(&jump, TABLE_ENTRY, page | NO_EXECUTE);
    cpu.regs.efer = control::NXE;
    assert_eq!(cpu.run(&mut ram, 9), fault(ERROR_PRESENT | ERROR_FETCH, VA + 8));
}

/// SDM volume 3, 4.6.1, with 4.3.
#[test]
fn ring_three_is_kept_from_the_supervisors_pages() {
    let (mut cpu, mut ram) = two_levels(&loads(), TABLE_ENTRY, DATA | WRITABLE | PRESENT);
    crate::gates32::go_to_ring_3(&mut cpu, &mut ram, crate::common::CODE);
    let error = ERROR_PRESENT | ERROR_USER;
    assert_eq!(cpu.run(&mut ram, 1), fault(error, VA + 8));
}

/// SDM volume 3, 4.4.1.
#[test]
fn an_absent_pointer_of_pae_faults_wherever_it_points() {
    for (pointer, end) in [(UPPER, fault(0, VA + 8)), (UPPER | PRESENT, Exit::Halt)] {
        let code = [loads(), vec![0xf4]].concat();
        let (mut cpu, mut ram) = three_levels(&code, TABLE_ENTRY, DATA | PRESENT);
        ram.write_u64(ROOT + 8 * (VA >> 30), pointer);
        assert_eq!(cpu.run(&mut ram, 9), end);
    }
}

#[test]
fn the_memory_type_of_a_small_page_is_no_large_page() {
    // SDM volume 3, table 4-6: bit 7 is PAT there, and bit 21 of the address is free.
    let (mut cpu, mut ram) = two_levels(&loads(), TABLE_ENTRY, DATA | LARGE | PRESENT);
    ram.write_u64(DATA + 8, 11);
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!(cpu.regs.get(Reg::Rax), 11);
}

#[test]
fn invlpg_drops_all_of_a_large_page_where_every_page_is_large() {
    // SDM volume 3, 4.10.4.1.
    let code = assemble_32(|a| {
        a.mov(eax, dword_ptr(ebx))?;
        a.mov(dword_ptr(esi), edi)?;
        a.invlpg(dword_ptr(ebx + 0x5000))?;
        a.mov(ecx, dword_ptr(ebx))?;
        a.hlt()
    });
    let large = LARGE | WRITABLE | PRESENT;
    let (mut cpu, mut ram) = three_levels(&code, large, 0);
    let at = VA % (2 << 20) + 8;
    ram.write_u64(at, 1);
    ram.write_u64((2 << 20) + at, 2);
    cpu.regs.set(Reg::Rdi, 2 << 20 | large);
    // The directory is not under the large page of VA, but under that of address 0.
    cpu.regs.set(Reg::Rsi, UPPER + 8 * (VA >> 21 & 0x1ff));
    assert_eq!(cpu.run(&mut ram, 20), Exit::Halt);
    assert_eq!((cpu.regs.get(Reg::Rax), cpu.regs.get(Reg::Rcx)), (1, 2));
}

#[test]
fn a_fetch_is_told_as_one_only_if_fetches_can_be_forbidden() {
    // SDM volume 3, 4.7, the I/D flag: CR4.SMEP, or CR4.PAE and EFER.NXE together.
    let jump = assemble_32(|a| a.jmp(ebx));
    for (efer, smep, error) in [
        (0, 0, 0),
        (control::NXE, 0, 0),
        (0, control::SMEP, ERROR_FETCH),
        (control::NXE, control::SMEP, ERROR_FETCH),
    ] {
        let (mut cpu, mut ram) = two_levels(&jump, TABLE_ENTRY, 0);
        // The page of the code is not the user's, so that SMEP lets it run.
        write_u32(&mut ram, ROOT, LARGE | WRITABLE | PRESENT);
        cpu.regs.efer = efer;
        cpu.regs.cr4 |= smep;
        assert_eq!(cpu.run(&mut ram, 9), fault(error, VA + 8), "{efer:#x}, {smep:#x}");
    }
    for (efer, error) in [(0, 0), (control::NXE, ERROR_FETCH)] {
        let (mut cpu, mut ram) = three_levels(&jump, TABLE_ENTRY, 0);
        cpu.regs.efer = efer;
        assert_eq!(cpu.run(&mut ram, 9), fault(error, VA + 8), "PAE, {efer:#x}");
    }
}
