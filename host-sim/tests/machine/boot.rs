//! Guests that start in 32-bit mode: what a Multiboot loader and PVH hand over, and how they end.

use super::ports::{out, text};
use super::small::{self, run};
use host_sim::event::Ended;
use host_sim::log::RunLog;
use host_sim::scenario::plan::{Boot, ImagePlan, ModulePlan, Plan};
use iced_x86::code_asm::{
    CodeAssembler, al, ax, bl, byte_ptr, cr0, cr3, cr4, dword_ptr, dx, eax, ebx, ecx, edi, edx,
    esi, esp, fword_ptr, rax, rdi,
};
use ultravisor_abi::OurCall;
use ultravisor_abi::boot::IMAGES;

/// Where in the file, and behind [`IMAGES`], the code begins.
const CODE: u64 = 0x100;
const MAGIC: u32 = 0x1bad_b002;

fn words(list: &[u32]) -> Vec<u8> {
    list.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn header(flags: u32) -> Vec<u8> {
    words(&[MAGIC, flags, 0_u32.wrapping_sub(MAGIC).wrapping_sub(flags)])
}

/// 32-bit code at [`CODE`].
fn code(write: impl FnOnce(&mut CodeAssembler)) -> Vec<u8> {
    let mut assembler = CodeAssembler::new(32).expect("32 is a bitness");
    write(&mut assembler);
    assembler.assemble(IMAGES.0 + CODE).expect("the test's code is right")
}

/// An ELF32 image: program headers, then `announcement` at 0x80, then the code.
fn elf_32(announcement: &[u8], has_note: bool, code: &[u8]) -> Vec<u8> {
    let at = IMAGES.0 as u32;
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0\x01\0\0\0".to_vec();
    file.extend(words(&[at + CODE as u32, 52, 0, 0]));
    let notes = u8::from(has_note);
    file.extend([52, 0, 32, 0, 1 + notes, 0, 40, 0, 0, 0, 0, 0]);
    let bytes = CODE as u32 + code.len() as u32;
    file.extend(words(&[1, 0, at, at, bytes, bytes + 0x1000, 7, 0]));
    let note = announcement.len() as u32;
    file.extend(words(&[4, 0x80, 0, 0, note, note, 4, 4]));
    file.resize(0x80, 0);
    file.extend(announcement);
    file.resize(CODE as usize, 0);
    file.extend(code);
    file
}

fn plan(boot: Boot, bytes: Vec<u8>) -> Plan {
    let mut plan = small::builtin();
    plan.guest.image = ImagePlan::File { path: "small.elf".into(), bytes: bytes.into() };
    (plan.guest.boot, plan.guest.marks) = (boot, false);
    plan.guest.command_line = "verbose=1".into();
    let module = |bytes: &[u8], line: &str| ModulePlan {
        path: "module".into(),
        bytes: bytes.into(),
        command_line: line.into(),
    };
    plan.guest.modules = vec![module(b"first\0", "one"), module(b"second\0", "two")];
    plan
}

/// The file of a Multiboot guest.
pub fn multiboot_file(write: impl FnOnce(&mut CodeAssembler)) -> Vec<u8> {
    elf_32(&header(3), false, &code(write))
}

fn multiboot(write: impl FnOnce(&mut CodeAssembler)) -> Plan {
    plan(Boot::Multiboot1, multiboot_file(write))
}

fn pvh(write: impl FnOnce(&mut CodeAssembler)) -> Plan {
    let note = [words(&[4, 4, 18]), b"Xen\0".to_vec(), words(&[(IMAGES.0 + CODE) as u32])];
    plan(Boot::Pvh, elf_32(&note.concat(), true, &code(write)))
}

/// Prints the text that `esi` points at, and a line feed.
fn print(a: &mut CodeAssembler) {
    let (mut next, mut done) = (a.create_label(), a.create_label());
    a.mov(edx, 0xe9).expect("encodable");
    a.set_label(&mut next).expect("free");
    a.mov(al, byte_ptr(esi)).expect("encodable");
    a.inc(esi).expect("encodable");
    a.test(al, al).expect("encodable");
    a.jz(done).expect("encodable");
    a.out(dx, al).expect("encodable");
    a.jmp(next).expect("encodable");
    a.set_label(&mut done).expect("free");
    a.mov(al, 10).expect("encodable");
    a.out(dx, al).expect("encodable");
}

fn power_off(a: &mut CodeAssembler) {
    a.mov(edx, 0x604).expect("encodable");
    a.mov(eax, 0x2000).expect("encodable");
    a.out(dx, ax).expect("encodable");
}

fn ended(log: &RunLog) -> (Ended, Vec<String>) {
    (log.ended.clone(), text(log))
}

fn told(lines: &[&str]) -> (Ended, Vec<String>) {
    (Ended::Exit(0), lines.iter().map(|line| (*line).to_owned()).collect())
}

#[test]
fn a_multiboot_guest_finds_its_command_line_its_modules_and_who_loaded_it() {
    let log = run(&multiboot(|a| {
        let mut right = a.create_label();
        a.cmp(eax, 0x2bad_b002_u32 as i32).expect("encodable");
        a.je(right).expect("encodable");
        out(a, 0xf4, 0);
        a.set_label(&mut right).expect("free");
        let info = |field: i32| dword_ptr(ebx) + field;
        a.mov(edi, info(24)).expect("encodable");
        // cmdline; the second module's text and bytes; boot_loader_name
        a.mov(esi, info(16)).expect("encodable");
        print(a);
        a.mov(esi, dword_ptr(edi) + 24).expect("encodable");
        print(a);
        a.mov(esi, dword_ptr(edi) + 16).expect("encodable");
        print(a);
        a.mov(esi, info(64)).expect("encodable");
        print(a);
        power_off(a);
    }));
    assert_eq!(ended(&log), told(&["verbose=1\n", "two\n", "second\n", "uvsim\n"]));
}

#[test]
fn a_pvh_guest_finds_its_command_line_and_its_modules() {
    let log = run(&pvh(|a| {
        let mut right = a.create_label();
        a.cmp(dword_ptr(ebx), 0x336e_c578).expect("encodable");
        a.je(right).expect("encodable");
        out(a, 0xf4, 0);
        a.set_label(&mut right).expect("free");
        a.mov(edi, dword_ptr(ebx) + 16).expect("encodable");
        // cmdline_paddr; the second module's cmdline_paddr and paddr
        for (register, field) in [(ebx, 24), (edi, 32 + 16), (edi, 32)] {
            a.mov(esi, dword_ptr(register) + field).expect("encodable");
            print(a);
        }
        power_off(a);
    }));
    assert_eq!(ended(&log), told(&["verbose=1\n", "two\n", "second\n"]));
}

/// Follows the pointer to ACPI's tables in `ebx` to where its first one, FADT, says that PM1a control is,
/// and switches off there.
fn switch_off_as_acpi_says(a: &mut CodeAssembler) {
    a.mov(edi, dword_ptr(ebx) + 24).expect("encodable");
    a.mov(edi, dword_ptr(edi) + 36).expect("encodable");
    a.mov(edx, dword_ptr(edi) + 64).expect("encodable");
    a.mov(eax, 0x2000).expect("encodable");
    a.out(dx, ax).expect("encodable");
}

#[test]
fn a_pvh_guest_is_told_of_acpi_and_a_multiboot_guest_finds_it_where_a_bios_has_it() {
    let told_so = run(&pvh(|a| {
        a.mov(ebx, dword_ptr(ebx) + 32).expect("encodable");
        switch_off_as_acpi_says(a);
    }));
    assert_eq!(ended(&told_so), told(&[]));
    let found = run(&multiboot(|a| {
        let (mut next, mut right) = (a.create_label(), a.create_label());
        a.mov(ebx, 0xe_0000).expect("encodable");
        a.set_label(&mut next).expect("free");
        a.cmp(dword_ptr(ebx), u32::from_le_bytes(*b"RSD ") as i32).expect("encodable");
        a.je(right).expect("encodable");
        a.add(ebx, 16).expect("encodable");
        a.jmp(next).expect("encodable");
        a.set_label(&mut right).expect("free");
        switch_off_as_acpi_says(a);
    }));
    assert_eq!(ended(&found), told(&[]));
}

#[test]
fn what_is_not_in_the_file_is_zero_and_the_guest_may_write_its_code() {
    let log = run(&multiboot(|a| {
        // Behind the file: `mov al, '?'`, `ret`; the second time the zero there is added to '!'.
        let behind = (IMAGES.0 + CODE + 0x800) as u32;
        a.mov(bl, byte_ptr(behind + 3)).expect("encodable");
        for (at, byte) in (behind..).zip([0xb0, 0x3f, 0xc3]) {
            a.mov(byte_ptr(at), byte).expect("encodable");
        }
        a.mov(esp, 0x20_0000).expect("encodable");
        a.mov(ecx, behind).expect("encodable");
        a.mov(edx, 0xe9).expect("encodable");
        a.call(ecx).expect("encodable");
        a.out(dx, al).expect("encodable");
        a.add(bl, i32::from(b'!')).expect("encodable");
        a.mov(byte_ptr(behind + 1), bl).expect("encodable");
        a.call(ecx).expect("encodable");
        a.out(dx, al).expect("encodable");
        power_off(a);
    }));
    assert_eq!(ended(&log), told(&["?!"]));
}

#[test]
fn a_flat_image_starts_where_its_header_says() {
    let code = code(|a| out(a, 0xf4, 7));
    let at = IMAGES.0 as u32;
    let mut file = [header(1 << 16), words(&[at, at, 0, 0, at + CODE as u32])].concat();
    file.resize(CODE as usize, 0);
    file.extend(code);
    let log = run(&plan(Boot::Multiboot1, file));
    assert_eq!(log.ended, Ended::Exit(15));
}

#[test]
fn what_stands_on_the_screen_is_told_when_the_run_ends() {
    let log = run(&multiboot(|a| {
        for (cell, character) in (0..).step_by(2).zip(*b"hi!") {
            a.mov(byte_ptr(0xb_8000_u32 + 160 + cell), u32::from(character)).expect("encodable");
        }
        a.cli().expect("encodable");
        a.hlt().expect("encodable");
    }));
    assert_eq!(ended(&log), (Ended::Idle, vec!["\n".to_owned(), "hi!\n".to_owned()]));
}

/// Page tables that map the first 2 MiB to themselves, below 2 MiB, then long mode at the label
/// that is given to the far jump.
fn to_long_mode(a: &mut CodeAssembler) {
    const TABLES: u32 = 0x18_0000;
    for (at, entry) in [(0, TABLES + 0x1003), (0x1000, TABLES + 0x2003), (0x2000, 0x83)] {
        a.mov(dword_ptr(TABLES + at), entry).expect("encodable");
    }
    a.mov(eax, TABLES).expect("encodable");
    a.mov(cr3, eax).expect("encodable");
    a.mov(eax, 1 << 5).expect("encodable");
    a.mov(cr4, eax).expect("encodable");
    a.mov(ecx, 0xc000_0080_u32).expect("encodable");
    a.mov(eax, 1 << 8).expect("encodable");
    a.xor(edx, edx).expect("encodable");
    a.wrmsr().expect("encodable");
    a.mov(eax, 0x8000_0011_u32).expect("encodable");
    a.mov(cr0, eax).expect("encodable");
}

#[test]
fn a_guest_of_64_bits_switches_by_itself_and_then_makes_calls() {
    let log = run(&multiboot(|a| {
        let mut long = CodeAssembler::new(64).expect("64 is a bitness");
        long.mov(rdi, 42_u64).expect("encodable");
        long.mov(rax, OurCall::Exit.number()).expect("encodable");
        long.vmcall().expect("encodable");
        // Far from here, so that its address is known: at 1 MiB + 0x800.
        let long = long.assemble(0).expect("it is right");
        let target = (IMAGES.0 + 0x800) as u32;
        for (at, byte) in (target..).zip(long) {
            a.mov(byte_ptr(at), u32::from(byte)).expect("encodable");
        }
        to_long_mode(a);
        a.mov(esp, 0x1f_0000).expect("encodable");
        // A table of one descriptor, 64-bit code, and what says where it is.
        const TABLE: u32 = 0x19_0000;
        for (at, word) in [(8, 0xffff), (12, 0x00af_9a00), (16, 15), (18, TABLE)] {
            a.mov(dword_ptr(TABLE + at), word).expect("encodable");
        }
        a.lgdt(fword_ptr(TABLE + 16)).expect("encodable");
        a.push(8).expect("encodable");
        a.push(target as i32).expect("encodable");
        a.retf().expect("encodable");
    }));
    assert_eq!(log.ended, Ended::Exit(42));
}
