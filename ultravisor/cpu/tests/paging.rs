//! The page walk, bit by bit (SDM volume 3, 4.5 to 4.8).

mod common;

use common::{
    ACCESSED, CODE, DATA, DIRTY, LARGE, NO_EXECUTE, PAGE, PRESENT, Ram, USER, WRITABLE, assemble,
    machine,
};
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use ultravisor_abi::Gpa;
use ultravisor_cpu::{Access, Cpu, Exit, Page, Reg, control};

/// A virtual page that nothing else uses, in another part of every table.
const VA: u64 = 0x7f12_3456_7000;

/// Error-code bits (SDM volume 3, 4.7).
const ERROR_PRESENT: u32 = 1;
const ERROR_WRITE: u32 = 2;
const ERROR_RESERVED: u32 = 8;
const ERROR_FETCH: u32 = 16;

/// Emits part of a program.
type Emit = fn(&mut CodeAssembler) -> Result<(), IcedError>;

fn loads() -> Vec<u8> {
    assemble(|a| {
        a.mov(rax, qword_ptr(rbx))?;
        a.hlt()
    })
}

fn stores() -> Vec<u8> {
    assemble(|a| {
        a.mov(qword_ptr(rbx), rax)?;
        a.hlt()
    })
}

/// Runs `code` with rbx at [`VA`], whose page is mapped as `entry` says.
fn run(code: &[u8], entry: u64, level: u32) -> (Exit, Cpu, Ram) {
    let (mut cpu, mut ram) = machine(code);
    let at = ram.entry(VA, level);
    ram.write_u64(at, entry);
    cpu.regs.set(Reg::Rbx, VA);
    let exit = cpu.run(&mut ram, 10);
    (exit, cpu, ram)
}

fn fault(error: u32) -> Exit {
    Exit::Exception { vector: 14, error: Some(error), address: Some(VA) }
}

/// SDM volume 3, 4.8.
#[test]
fn a_load_sets_accessed_on_all_levels_and_dirty_on_none() {
    let (exit, _, mut ram) = run(&loads(), DATA | PRESENT | WRITABLE, 1);
    assert_eq!(exit, Exit::Halt);
    for level in 1..=4 {
        let at = ram.entry(VA, level);
        assert_eq!(ram.read_u64(at) & (ACCESSED | DIRTY), ACCESSED, "level {level}");
    }
}

/// SDM volume 3, 4.8.
#[test]
fn a_store_sets_dirty_on_the_last_level_only() {
    let (exit, _, mut ram) = run(&stores(), DATA | PRESENT | WRITABLE, 1);
    assert_eq!(exit, Exit::Halt);
    for level in 1..=4 {
        let at = ram.entry(VA, level);
        let dirty = if level == 1 { DIRTY } else { 0 };
        assert_eq!(ram.read_u64(at) & (ACCESSED | DIRTY), ACCESSED | dirty, "level {level}");
    }
}

/// SDM volume 3, 4.8.
#[test]
fn a_store_after_a_load_still_sets_dirty() {
    let code = assemble(|a| {
        a.mov(rax, qword_ptr(rbx))?;
        a.mov(qword_ptr(rbx), rax)?;
        a.hlt()
    });
    let (exit, _, mut ram) = run(&code, DATA | PRESENT | WRITABLE, 1);
    assert_eq!(exit, Exit::Halt);
    let at = ram.entry(VA, 1);
    assert_ne!(ram.read_u64(at) & DIRTY, 0);
}

/// SDM volume 3, 4.8: dirty is for a write that is done. Whether a refused one has used its entry,
/// so that this is accessed, it does not say: ours has not.
#[test]
fn a_fault_sets_no_bits() {
    let (exit, cpu, mut ram) = run(&stores(), DATA | PRESENT, 1);
    assert_eq!(exit, fault(ERROR_PRESENT | ERROR_WRITE));
    assert_eq!(cpu.regs.cr2, VA);
    let at = ram.entry(VA, 1);
    assert_eq!(ram.read_u64(at), DATA | PRESENT);
}

/// SDM volume 3, 4.7, flag P.
#[test]
fn what_is_not_present_faults_on_every_level() {
    for level in 1..=4 {
        let (exit, ..) = run(&loads(), 0, level);
        assert_eq!(exit, fault(0), "level {level}");
        let (exit, ..) = run(&stores(), WRITABLE, level);
        assert_eq!(exit, fault(ERROR_WRITE), "level {level}");
    }
}

/// SDM volume 3, 4.5 (4-level paging), bit 7 of a PDE and of a PDPTE.
#[test]
fn two_megabyte_and_one_gigabyte_pages_translate() {
    for (level, size) in [(2, 2 << 20), (3, 1 << 30)] {
        let (exit, cpu, ram) = run(&stores(), PRESENT | WRITABLE | LARGE, level);
        let gpa = VA & (size - 1);
        if gpa < 4 << 20 {
            assert_eq!(exit, Exit::Halt);
            assert_eq!(ram.read_u64(gpa), cpu.regs.get(Reg::Rax));
        } else {
            let value = cpu.regs.get(Reg::Rax);
            assert_eq!(exit, Exit::MmioWrite { gpa: Gpa(gpa), bytes: 8, value });
        }
    }
}

/// SDM volume 3, 4.7, flag RSVD.
#[test]
fn reserved_bits_fault() {
    let low_bit_of_a_large_page = 1 << 13;
    let cases = [
        (1, DATA | PRESENT | 1 << 50),
        (2, PRESENT | LARGE | low_bit_of_a_large_page),
        (3, PRESENT | LARGE | low_bit_of_a_large_page),
        (4, PRESENT | LARGE),
    ];
    for (level, entry) in cases {
        let (exit, ..) = run(&loads(), entry, level);
        assert_eq!(exit, fault(ERROR_PRESENT | ERROR_RESERVED), "level {level}");
    }
}

/// SDM volume 3, 4.6 (XD).
#[test]
fn no_execute_forbids_fetching_only() {
    let (exit, ..) = run(&loads(), DATA | PRESENT | NO_EXECUTE, 1);
    assert_eq!(exit, Exit::Halt);
    let jumps = assemble(|a| a.jmp(rbx));
    let (exit, cpu, _) = run(&jumps, DATA | PRESENT | NO_EXECUTE, 1);
    assert_eq!(exit, fault(ERROR_PRESENT | ERROR_FETCH));
    assert_eq!(cpu.regs.rip, VA);
    assert_eq!(cpu.units(), 1);
}

/// SDM volume 3, 4.5 (4-level paging): bit 63 without IA32_EFER.NXE.
#[test]
fn no_execute_is_reserved_while_it_is_off() {
    let (mut cpu, mut ram) = machine(&loads());
    ram.map(VA, DATA, PRESENT | NO_EXECUTE);
    cpu.regs.efer &= !control::NXE;
    cpu.regs.set(Reg::Rbx, VA);
    assert_eq!(cpu.run(&mut ram, 10), fault(ERROR_PRESENT | ERROR_RESERVED));
}

/// SDM volume 3, 4.6 (CR0.WP), and 2.5.
#[test]
fn write_protect_decides_whether_the_supervisor_obeys() {
    for (write_protect, allowed) in [(true, false), (false, true)] {
        let (mut cpu, mut ram) = machine(&stores());
        ram.map(VA, DATA, PRESENT);
        cpu.regs.set(Reg::Rbx, VA);
        if !write_protect {
            cpu.regs.cr0 &= !control::WP;
        }
        assert_eq!(cpu.run(&mut ram, 10) == Exit::Halt, allowed);
    }
}

/// SDM volume 3, 4.6: the R/W flag of every entry that the walk uses.
#[test]
fn a_read_only_upper_level_makes_all_below_read_only() {
    for level in 2..=4 {
        let (mut cpu, mut ram) = machine(&stores());
        ram.map(VA, DATA, PRESENT | WRITABLE);
        let at = ram.entry(VA, level);
        let entry = ram.read_u64(at);
        ram.write_u64(at, entry & !WRITABLE & !USER);
        cpu.regs.set(Reg::Rbx, VA);
        assert_eq!(cpu.run(&mut ram, 10), fault(ERROR_PRESENT | ERROR_WRITE), "level {level}");
    }
}

/// The walk reads tables by physical address (SDM volume 3, 4.5); that one may be away is the
/// bus's.
#[test]
fn tables_that_are_away_page_in_like_data() {
    let (mut cpu, mut ram) = machine(&loads());
    ram.map(VA, DATA, PRESENT);
    let at = ram.entry(VA, 1);
    cpu.regs.set(Reg::Rbx, VA);
    ram.special.insert(at & !(PAGE - 1), Page::Away);
    let told = Exit::Memory { gpa: Gpa(at), access: Access::Read };
    assert_eq!(cpu.run(&mut ram, 10), told);
    ram.special.clear();
    assert_eq!(cpu.run(&mut ram, 10), Exit::Halt);
    assert!(ram.asked.contains(&(at & !(PAGE - 1), Access::Write)));
}

/// SDM volume 3, 4.10.4.1.
#[test]
fn a_changed_mapping_shows_after_invlpg_or_a_new_cr3() {
    let flushes: [Emit; 2] = [
        |a| a.invlpg(byte_ptr(rbx)),
        |a| {
            a.mov(rdx, cr3)?;
            a.mov(cr3, rdx)
        },
    ];
    for flush in flushes {
        let code = assemble(|a| {
            a.mov(rax, qword_ptr(rbx))?;
            a.mov(qword_ptr(rsi), rdi)?;
            flush(a)?;
            a.mov(rcx, qword_ptr(rbx))?;
            a.hlt()
        });
        let (mut cpu, mut ram) = machine(&code);
        ram.map(VA, DATA, PRESENT);
        ram.write_u64(DATA, 1);
        ram.write_u64(DATA + PAGE, 2);
        let entry = ram.entry(VA, 1);
        cpu.regs.set(Reg::Rbx, VA);
        cpu.regs.set(Reg::Rsi, entry);
        cpu.regs.set(Reg::Rdi, (DATA + PAGE) | PRESENT);
        assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
        assert_eq!((cpu.regs.get(Reg::Rax), cpu.regs.get(Reg::Rcx)), (1, 2));
    }
}

/// SDM volume 3, 4.10.4: what was cached of a mapping goes with its invalidation.
#[test]
fn code_is_found_by_physical_page_after_remapping() {
    // The same virtual address runs one page's code, then another's.
    let (mut cpu, mut ram) = machine(&[]);
    let one = assemble(|a| {
        a.mov(eax, 1)?;
        a.hlt()
    });
    let two = assemble(|a| {
        a.mov(eax, 2)?;
        a.hlt()
    });
    ram.write(CODE, &one);
    ram.write(CODE + PAGE, &two);
    let flush = assemble(|a| {
        a.invlpg(byte_ptr(rbx))?;
        a.hlt()
    });
    ram.write(CODE + 2 * PAGE, &flush);
    cpu.regs.set(Reg::Rbx, VA);
    for (frame, value) in [(CODE, 1), (CODE + PAGE, 2), (CODE, 1)] {
        ram.map(VA, frame, PRESENT);
        cpu.regs.rip = CODE + 2 * PAGE;
        assert_eq!(cpu.run(&mut ram, 10), Exit::Halt);
        cpu.regs.rip = VA;
        assert_eq!(cpu.run(&mut ram, 10), Exit::Halt);
        assert_eq!(cpu.regs.get(Reg::Rax), value);
    }
}

/// SDM volume 3, 4.5: linear addresses may share a page; volume 2, 2.2.1.6: relative to rip.
#[test]
fn the_same_code_at_two_addresses_runs_relative_to_each() {
    let code = assemble(|a| {
        a.lea(rax, qword_ptr(CODE))?;
        a.hlt()
    });
    // Whatever the assembler chose, it must be relative for this test to say anything.
    let (mut cpu, mut ram) = machine(&[0x48, 0x8d, 0x05, 0, 0, 0, 0, 0xf4]);
    assert!(!code.is_empty());
    ram.map(VA, CODE, PRESENT);
    for start in [CODE, VA, CODE] {
        cpu.regs.rip = start;
        assert_eq!(cpu.run(&mut ram, 10), Exit::Halt);
        assert_eq!(cpu.regs.get(Reg::Rax), start + 7);
    }
}

/// SDM volume 3, 4.8: the processor never clears the flags.
#[test]
fn a_store_keeps_the_dirty_bit_of_an_earlier_one() {
    let (exit, _, mut ram) = run(&stores(), DATA | PRESENT | WRITABLE | DIRTY, 1);
    assert_eq!(exit, Exit::Halt);
    let at = ram.entry(VA, 1);
    assert_eq!(ram.read_u64(at), DATA | PRESENT | WRITABLE | ACCESSED | DIRTY);
}

/// SDM volume 3, 4.6: rights are of the linear address, not of the page.
#[test]
fn code_that_is_read_through_a_read_only_page_cannot_be_written_through_it() {
    let code = assemble(|a| {
        a.mov(rax, qword_ptr(rbx))?;
        a.mov(qword_ptr(rbx), rax)?;
        a.hlt()
    });
    let (exit, cpu, _) = run(&code, CODE | PRESENT, 1);
    assert_eq!(exit, fault(ERROR_PRESENT | ERROR_WRITE));
    assert_eq!(cpu.units(), 1);
}

/// SDM volume 3, 4.6: rights are of the linear address, not of the page.
#[test]
fn code_that_is_written_through_a_page_of_data_cannot_be_run_through_it() {
    let code = assemble(|a| {
        a.mov(byte_ptr(rbx + 0x800), 1)?;
        a.jmp(rbx)
    });
    let (exit, cpu, _) = run(&code, CODE | PRESENT | WRITABLE | NO_EXECUTE, 1);
    assert_eq!(exit, fault(ERROR_PRESENT | ERROR_FETCH));
    assert_eq!((cpu.regs.rip, cpu.units()), (VA, 2));
}

/// SDM volume 3, 4.8, and "Self-modifying code": a store to code shows.
#[test]
fn an_accessed_bit_that_falls_on_decoded_code_has_it_decoded_afresh() {
    // The entry of a page, read as code: 03 c1, add eax, ecx; 20 00, and [rax], al; 00 00, add
    // [rax], al, twice. With the accessed bit it begins with 23 c1, and eax, ecx; with the dirty bit
    // too with 63 c1, movsxd eax, ecx.
    const ENTRY: u64 = 0x20_c103;
    const RETURN: u8 = 0xc3;
    let accesses: [(Emit, u64, u64); 3] = [
        (|a| a.mov(rdi, qword_ptr(rbx)), ACCESSED, 0),
        (|a| a.mov(qword_ptr(rbx + 8), rdi), ACCESSED | DIRTY, 0x1000),
        (|a| a.call(rbx), ACCESSED, 0),
    ];
    for (access, marks, then) in accesses {
        let code = assemble(|a| {
            a.mov(eax, DATA as u32)?;
            a.call(rsi)?;
            a.mov(edx, eax)?;
            access(a)?;
            a.mov(eax, DATA as u32)?;
            a.call(rsi)?;
            a.hlt()
        });
        let (mut cpu, mut ram) = machine(&code);
        let at = ram.entry(VA, 1);
        ram.write_u64(at, ENTRY);
        ram.write_u64(at + 8, RETURN.into());
        ram.write(ENTRY & !(PAGE - 1), &[RETURN]);
        for (reg, value) in [(Reg::Rbx, VA), (Reg::Rcx, 0x1000), (Reg::Rsi, at)] {
            cpu.regs.set(reg, value);
        }
        assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
        assert_eq!(ram.read_u64(at), ENTRY | marks);
        assert_eq!((cpu.regs.get(Reg::Rdx), cpu.regs.get(Reg::Rax)), (DATA + 0x1000, then));
    }
}

/// How often the bus was asked for the page of [`DATA`].
fn asked_for_data(ram: &Ram) -> usize {
    ram.asked.iter().filter(|(page, _)| *page == DATA).count()
}

/// SDM volume 3, 4.10.2: translations may be cached.
#[test]
fn a_page_is_asked_for_once_for_loads_and_once_for_stores() {
    let code = assemble(|a| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.mov(rax, qword_ptr(rbx))?;
        a.mov(qword_ptr(rbx), rax)?;
        a.dec(ecx)?;
        a.jnz(again)?;
        a.hlt()
    });
    let (mut cpu, mut ram) = machine(&code);
    ram.map(VA, DATA, PRESENT | WRITABLE);
    cpu.regs.set(Reg::Rbx, VA);
    cpu.regs.set(Reg::Rcx, 10);
    assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
    assert_eq!(asked_for_data(&ram), 2);
}

/// SDM volume 3, 4.10.4.1.
#[test]
fn invlpg_leaves_the_other_pages_where_none_is_large() {
    let code = assemble(|a| {
        a.mov(rax, qword_ptr(rbx))?;
        a.invlpg(byte_ptr(rbx + PAGE as i32))?;
        a.mov(rax, qword_ptr(rbx))?;
        a.invlpg(byte_ptr(rbx))?;
        a.mov(rax, qword_ptr(rbx))?;
        a.hlt()
    });
    let (mut cpu, mut ram) = machine(&code);
    ram.map(VA, DATA, PRESENT);
    cpu.regs.set(Reg::Rbx, VA);
    assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
    assert_eq!(asked_for_data(&ram), 2);
}
