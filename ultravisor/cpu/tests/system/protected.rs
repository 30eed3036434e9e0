//! 32-bit code: where it starts, how it becomes 64-bit code, segments, stacks, and the instructions that
//! are its alone.

use crate::common::{CODE, DATA, PAGE, PRESENT, RAM_BYTES, Ram, STACK, TABLES, WRITABLE};
use crate::world::{exception, flat};
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use ultravisor_cpu::{Attributes, Cpu, Exit, Reg, Seg, Segment, control, flag};

/// Where the global descriptor table is.
pub const GDT: u64 = DATA + 0x2_0000;

/// Where a segment of code begins: neither a page nor a line of one does.
const CODE_BASE: u64 = CODE + 0x44;

/// Selectors of that table.
pub mod sel32 {
    pub const CODE: u16 = 0x08;
    pub const DATA: u16 = 0x10;
    pub const LONG: u16 = 0x18;
    /// 64 KiB at [`super::DATA`], 16-bit as a stack.
    pub const LIMITED: u16 = 0x20;
    /// At [`super::DATA`], from offset 0x1000 on.
    pub const DOWN: u16 = 0x28;
    pub const READ_ONLY: u16 = 0x30;
    /// Code of 32 KiB at [`super::CODE_BASE`], which may be read.
    pub const BASED_CODE: u16 = 0x38;
    pub const CODE_16: u16 = 0x40;
    /// As [`BASED_CODE`], a little further on.
    pub const OTHER_CODE: u16 = 0x48;
    /// The last byte of the table.
    pub const LIMIT: u16 = 0x4f;
}

/// A descriptor of `kind` (type, S, DPL, P) with `sizes` (AVL, L, D, G).
pub const fn descriptor(kind: u64, sizes: u64, base: u64, limit: u64) -> u64 {
    let base = (base & 0xff_ffff) << 16 | (base >> 24 & 0xff) << 56;
    limit & 0xffff | (limit >> 16 & 15) << 48 | base | kind << 40 | sizes << 52
}

pub fn assemble_32(write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Vec<u8> {
    let mut assembler = CodeAssembler::new(32).expect("32 is a bitness");
    write(&mut assembler).expect("valid operands");
    assembler.assemble(CODE).expect("valid instructions")
}

/// A machine as a boot protocol leaves it, without tables of pages, whose guest has loaded a global
/// table of segments and runs `code`.
pub fn protected(code: &[u8]) -> (Cpu, Ram) {
    let mut ram = Ram::new(RAM_BYTES);
    let table = [
        0,
        flat(0x9b, false, true),
        flat(0x93, false, true),
        flat(0x9b, true, false),
        descriptor(0x93, 0, DATA, 0xffff),
        descriptor(0x97, 4, DATA, 0xfff),
        flat(0x91, false, true),
        descriptor(0x9b, 4, CODE_BASE, 0x7fff),
        flat(0x9b, false, false),
        descriptor(0x9b, 4, CODE_BASE + 0x80, 0x7fff),
    ];
    for (at, entry) in (GDT..).step_by(8).zip(table) {
        ram.write_u64(at, entry);
    }
    ram.write(CODE, code);
    let mut cpu = Cpu::new();
    cpu.enter_protected_mode(CODE as u32);
    cpu.regs.gdtr = (GDT, sel32::LIMIT);
    cpu.regs.set(Reg::Rsp, STACK);
    (cpu, ram)
}

/// Runs `code` to its HLT.
fn ran(code: &[u8]) -> (Cpu, Ram) {
    let (mut cpu, mut ram) = protected(code);
    assert_eq!(cpu.run(&mut ram, 1000), Exit::Halt);
    (cpu, ram)
}

fn far(opcode: u8, selector: u16, offset: u64) -> Vec<u8> {
    let mut bytes = vec![opcode];
    bytes.extend((offset as u32).to_le_bytes());
    bytes.extend(selector.to_le_bytes());
    bytes
}

fn read_u32(ram: &Ram, at: u64) -> u32 {
    ram.read_u64(at) as u32
}

#[test]
fn a_32_bit_start_is_what_boot_protocols_hand_over() {
    // Multiboot 0.6.96, 3.2; Xen's PVH.
    let (cpu, _) = protected(&[]);
    assert_eq!((cpu.regs.cr0, cpu.regs.cr4, cpu.regs.efer), (0x11, 0, 0));
    assert_eq!((cpu.rflags(), cpu.level()), (flag::ALWAYS, 0));
    let code = cpu.regs.segment(Seg::Cs);
    assert_eq!((code.base, code.limit, code.attributes), (0, u32::MAX, Attributes::code_32(0)));
    for register in [Seg::Ds, Seg::Es, Seg::Fs, Seg::Gs, Seg::Ss] {
        let data = cpu.regs.segment(register);
        assert_eq!((data.base, data.limit, data.attributes), (0, u32::MAX, Attributes::data(0)));
    }
    assert_eq!((cpu.regs.tr.limit, cpu.regs.tr.attributes), (0x67, Attributes(0x8b)));
}

/// 32-bit code that maps the first 2 MiB to themselves by long mode's tables, switches long mode
/// on, and goes to `target` in 64-bit code.
fn to_long_mode(target: u64) -> Vec<u8> {
    let mut code = assemble_32(|a| {
        let next = PRESENT | WRITABLE;
        for level in 0..2 {
            let table = TABLES + PAGE * level;
            a.mov(dword_ptr(table), (table + PAGE + next) as i32)?;
        }
        for page in 0..2 {
            let entry = TABLES + 2 * PAGE + 8 * page;
            a.mov(dword_ptr(entry), (page << 21 | 0x80 | next) as i32)?;
        }
        a.mov(eax, TABLES as i32)?;
        a.mov(cr3, eax)?;
        a.mov(eax, cr4)?;
        a.or(eax, control::PAE as i32)?;
        a.mov(cr4, eax)?;
        a.mov(ecx, 0xc000_0080_u32)?;
        a.rdmsr()?;
        a.or(eax, control::LME as i32)?;
        a.wrmsr()?;
        a.mov(eax, cr0)?;
        a.or(eax, 1 << 31)?;
        a.mov(cr0, eax)
    });
    code.extend(far(0xea, sel32::LONG, target));
    code
}

#[test]
fn a_32_bit_start_switches_itself_to_64_bit_code() {
    // SDM volume 3, 9.8.5.
    let target = CODE + 0x1000;
    let (mut cpu, mut ram) = protected(&to_long_mode(target));
    ram.write(target, &[0x49, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, 0xf4]);
    assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
    assert_eq!(cpu.regs.get(Reg::R8), 0x0807_0605_0403_0201);
    assert_eq!(cpu.regs.efer, control::LME | control::LMA);
    assert_eq!((cpu.regs.selector(Seg::Cs), cpu.regs.rip), (sel32::LONG, target + 11));
}

#[test]
fn compatibility_mode_is_32_bit_code_under_64_bit_tables_and_goes_back() {
    // SDM volume 3, 2.2; volume 1, 3.4.1.1: upper halves do not outlive 32-bit code.
    let (target, narrow) = (CODE + 0x1000, CODE + 0x2000);
    let (mut cpu, mut ram) = protected(&to_long_mode(target));
    let pointer = DATA + 0x100;
    ram.write(pointer, &far(0, sel32::CODE, narrow)[1..]);
    // or rax, -1; mov rdx, rax; jmp far [rbx] (m16:32).
    ram.write(target, &[0x48, 0x83, 0xc8, 0xff, 0x48, 0x89, 0xc2, 0xff, 0x2b]);
    let mut code = assemble_32(|a| {
        a.inc(eax)?;
        a.push(esp)?;
        a.call(dword_ptr(DATA + 0x200))
    });
    code.extend(far(0xea, sel32::LONG, target + 0x100));
    ram.write(narrow, &code);
    ram.write(DATA + 0x200, &((narrow + 0x100) as u32).to_le_bytes());
    ram.write(narrow + 0x100, &[0xc3]);
    ram.write(target + 0x100, &[0xf4]);
    cpu.regs.set(Reg::Rbx, pointer);
    assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
    assert_eq!(cpu.regs.rip, target + 0x101);
    assert_eq!((cpu.regs.get(Reg::Rax), cpu.regs.get(Reg::Rdx)), (0, 0xffff_ffff));
    assert_eq!(cpu.regs.get(Reg::Rsp), STACK - 4);
    assert_eq!(read_u32(&ram, STACK - 4), STACK as u32);
}

#[test]
fn the_mode_changes_only_as_the_manual_lets_it() {
    // SDM volume 3, 9.8.5 and 4.1.2; volume 2, MOV (control registers).
    let with = |prepare: &dyn Fn(&mut Cpu)| {
        let (mut cpu, mut ram) = protected(&assemble_32(|a| a.mov(cr0, eax)));
        cpu.regs.set(Reg::Rax, cpu.regs.cr0 | control::PG);
        prepare(&mut cpu);
        cpu.run(&mut ram, 1)
    };
    // Long mode without PAE, and from 64-bit code.
    assert_eq!(with(&|cpu| cpu.regs.efer = control::LME), exception(13, 0));
    let long = |cpu: &mut Cpu| {
        (cpu.regs.efer, cpu.regs.cr4) = (control::LME, control::PAE);
        let code = cpu.regs.segment(Seg::Cs);
        let attributes = Attributes(code.attributes.0 | 1 << 13);
        cpu.regs.set_segment(Seg::Cs, Segment { attributes, ..code });
    };
    assert_eq!(with(&long), exception(13, 0));
    // Real mode is our limit.
    let real = with(&|cpu| cpu.regs.set(Reg::Rax, 0x10));
    assert!(matches!(real, Exit::Unsupported { length: 3, .. }), "{real:?}");
    // LME while paging is on.
    let (mut cpu, mut ram) = protected(&[0x0f, 0x30]);
    cpu.regs.cr0 |= control::PG;
    ram.write(TABLES, &0x83_u32.to_le_bytes());
    (cpu.regs.cr3, cpu.regs.cr4) = (TABLES, control::PSE);
    cpu.regs.set(Reg::Rcx, 0xc000_0080);
    cpu.regs.set(Reg::Rax, control::LME);
    assert_eq!(cpu.run(&mut ram, 1), exception(13, 0));
}

#[test]
fn addresses_wrap_at_32_bits_and_with_a_prefix_at_16() {
    // SDM volume 1, 3.3.5 and 3.6.
    let (cpu, _) = ran(&assemble_32(|a| {
        a.mov(dword_ptr(DATA), 0x1234_5678)?;
        a.mov(ebx, 0x8000_0000_u32)?;
        a.mov(eax, dword_ptr(ebx * 2 + DATA))?;
        a.mov(ecx, (DATA as u32).wrapping_add(0x8000_0000))?;
        a.mov(edx, dword_ptr(ecx + 0x8000_0000_u32))?;
        a.lea(esi, dword_ptr(ebx + ebx * 2 + 5))?;
        a.mov(ebp, 0x0001_ffff)?;
        a.lea(edi, dword_ptr(bp + 2))?;
        a.hlt()
    }));
    let [loaded, _, again, _, _, _, sum, short, ..] = cpu.regs.gpr.values();
    assert_eq!((loaded, again), (0x1234_5678, 0x1234_5678));
    assert_eq!((sum, short), (0x8000_0005, 1));
}

/// SDM volume 3, 3.4: linear addresses have 32 bits.
#[test]
fn an_instruction_pointer_wraps_at_four_gigabytes() {
    // Nothing is at the top, so what is fetched there is a device's; the address says that it wrapped.
    let (mut cpu, mut ram) = protected(&assemble_32(|a| a.jmp(0xffff_fff0)));
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!(cpu.regs.rip, 0xffff_fff0);
    // jmp rel32 from CODE to 16 below 0.
    let rel = 0_u32.wrapping_sub(CODE as u32 + 5 + 16);
    let (mut cpu, mut ram) = protected(&[&[0xe9], &rel.to_le_bytes()[..]].concat());
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!(cpu.regs.rip, 0xffff_fff0);
}

#[test]
fn a_segment_moves_addresses_and_its_limit_ends_them() {
    // SDM volume 3, 3.4.3, 5.3 and 5.5.
    let inside = assemble_32(|a| {
        a.mov(ax, u32::from(sel32::LIMITED))?;
        a.mov(ds, ax)?;
        a.mov(dword_ptr(0xfffc), 0x5555_aaaa)?;
        a.mov(es, ax)?;
        a.mov(edi, 0x100)?;
        a.stosb()?;
        a.hlt()
    });
    let (_, ram) = ran(&inside);
    assert_eq!(read_u32(&ram, DATA + 0xfffc), 0x5555_aaaa);
    assert_eq!(ram.read(DATA + 0x100, 1), [0x20]);
    let load = |selector: u16, offset: u32| {
        let (mut cpu, mut ram) = protected(&assemble_32(|a| {
            a.mov(ds, ax)?;
            a.mov(ecx, dword_ptr(ebx))
        }));
        cpu.regs.set(Reg::Rax, selector.into());
        cpu.regs.set(Reg::Rbx, offset.into());
        cpu.run(&mut ram, 2)
    };
    assert_eq!(load(sel32::LIMITED, 0xfffc), Exit::Budget);
    assert_eq!(load(sel32::LIMITED, 0xfffd), exception(13, 0));
    assert_eq!(load(sel32::DOWN, 0x1000), Exit::Budget);
    assert_eq!(load(sel32::DOWN, 0xfff), exception(13, 0));
    assert_eq!(load(0, DATA as u32), exception(13, 0));
    assert_eq!(load(sel32::READ_ONLY, DATA as u32), Exit::Budget);
}

#[test]
fn nothing_is_stored_through_a_segment_that_may_not_be_written() {
    // SDM volume 3, 5.5: read-only data and code.
    for (selector, fine) in [(sel32::READ_ONLY, false), (sel32::DATA, true)] {
        let (mut cpu, mut ram) = protected(&assemble_32(|a| {
            a.mov(ds, ax)?;
            a.xadd(dword_ptr(ebx), ecx)
        }));
        cpu.regs.set(Reg::Rax, selector.into());
        cpu.regs.set(Reg::Rbx, DATA);
        let end = cpu.run(&mut ram, 2);
        assert_eq!(end, if fine { Exit::Budget } else { exception(13, 0) });
    }
    let (mut cpu, mut ram) = protected(&assemble_32(|a| a.mov(dword_ptr(DATA).cs(), eax)));
    assert_eq!(cpu.run(&mut ram, 1), exception(13, 0));
    let (mut cpu, mut ram) = protected(&assemble_32(|a| a.mov(eax, dword_ptr(CODE).cs())));
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
}

#[test]
fn a_stack_segment_with_a_limit_is_ss_and_a_16_bit_one_uses_sp() {
    // SDM volume 1, 6.2.2 and 6.2.3; volume 3, 6.15 (#SS).
    let code = assemble_32(|a| {
        a.mov(ss, ax)?;
        a.push(ebx)?;
        a.pop(ecx)?;
        a.mov(edx, dword_ptr(ebp + 2))
    });
    let (mut cpu, mut ram) = protected(&code);
    cpu.regs.set(Reg::Rax, sel32::LIMITED.into());
    cpu.regs.set(Reg::Rbx, 0x0bad_cafe);
    cpu.regs.set(Reg::Rsp, 0x1234_0010);
    cpu.regs.set(Reg::Rbp, 0xfffb);
    assert_eq!(cpu.run(&mut ram, 2), Exit::Budget);
    assert_eq!(cpu.regs.get(Reg::Rsp), 0x1234_000c);
    assert_eq!(read_u32(&ram, DATA + 0xc), 0x0bad_cafe);
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!((cpu.regs.get(Reg::Rcx), cpu.regs.get(Reg::Rsp)), (0x0bad_cafe, 0x1234_0010));
    assert_eq!(cpu.run(&mut ram, 1), exception(12, 0));
    // Two bytes of a push would be below the segment's end, which is its beginning.
    let (mut cpu, mut ram) = protected(&code);
    cpu.regs.set(Reg::Rax, sel32::DOWN.into());
    cpu.regs.set(Reg::Rsp, 0x1002);
    assert_eq!(cpu.run(&mut ram, 2), exception(12, 0));
    assert_eq!(cpu.regs.get(Reg::Rsp), 0x1002);
}

#[test]
fn code_with_a_base_runs_where_its_segment_puts_it_and_ends_at_its_limit() {
    // SDM volume 2, JMP: an offset beyond the limit is #GP(0) at the jump; one that is run into, there.
    let start = |offset: u64, code: &[u8]| {
        let (mut cpu, mut ram) = protected(&far(0xea, sel32::BASED_CODE, offset));
        ram.write(CODE_BASE + offset, code);
        (cpu.run(&mut ram, 9), cpu)
    };
    let (end, cpu) = start(0x100, &assemble_32(|a| a.hlt()));
    assert_eq!((end, cpu.regs.rip), (Exit::Halt, 0x101));
    let (end, cpu) = start(0x100, &[0xe8, 0, 0, 0, 0, 0xf4]);
    assert_eq!((end, cpu.regs.rip), (Exit::Halt, 0x106));
    assert_eq!(cpu.regs.get(Reg::Rsp), STACK - 4);
    let (end, cpu) = start(0x100, &[0xe9, 0xfb, 0x7e, 0, 0]);
    assert_eq!((end, cpu.regs.rip), (exception(13, 0), 0x100));
    let (end, cpu) = start(0x7ffe, &[0x90, 0xb8, 0, 0]);
    assert_eq!((end, cpu.regs.rip), (exception(13, 0), 0x7fff));
    let (mut cpu, mut ram) = protected(&far(0xea, sel32::BASED_CODE, 0x8000));
    assert_eq!(cpu.run(&mut ram, 9), exception(13, 0));
}

/// SDM volume 3, 3.4.5 (D/B flag).
#[test]
fn code_of_16_bits_is_our_limit() {
    let (mut cpu, mut ram) = protected(&far(0xea, sel32::CODE_16, CODE));
    let end = cpu.run(&mut ram, 9);
    assert!(matches!(end, Exit::Unsupported { length: 7, .. }), "{end:?}");
    assert_eq!(cpu.regs.rip, CODE);
}

#[test]
fn all_registers_are_pushed_and_popped_but_for_the_stack_pointer() {
    // SDM volume 2, PUSHA and POPA.
    let (mut cpu, mut ram) = protected(&[0x60, 0x66, 0x60, 0x66, 0x61, 0x61, 0xf4]);
    let values: [u64; 8] = std::array::from_fn(|i| (0x1111_2222 * (i as u64 + 1)) & 0xffff_ffff);
    for (reg, value) in Reg::ALL.into_iter().zip(values) {
        cpu.regs.set(reg, if reg == Reg::Rsp { STACK } else { value });
    }
    assert_eq!(cpu.run(&mut ram, 2), Exit::Budget);
    assert_eq!(cpu.regs.get(Reg::Rsp), STACK - 48);
    assert_eq!(read_u32(&ram, STACK - 4), values[0] as u32);
    assert_eq!(read_u32(&ram, STACK - 20), STACK as u32);
    assert_eq!(read_u32(&ram, STACK - 34) as u16, values[0] as u16);
    let before = cpu.regs.gpr.values();
    assert_eq!(cpu.run(&mut ram, 9), Exit::Halt);
    assert_eq!(cpu.regs.get(Reg::Rsp), STACK);
    for reg in Reg::ALL[..8].iter().filter(|reg| **reg != Reg::Rsp) {
        assert_eq!(cpu.regs.get(*reg), before[*reg as usize]);
    }
}

#[test]
fn into_and_bound_are_exceptions_when_they_should_be() {
    // SDM volume 2, INTO and BOUND: a trap behind it, and a fault at it.
    let (mut cpu, mut ram) = protected(&[0xce, 0xf4]);
    assert_eq!(cpu.run(&mut ram, 9), Exit::Halt);
    let (mut cpu, mut ram) = protected(&[0xce, 0xf4]);
    cpu.set_rflags(flag::OF);
    assert_eq!(cpu.run(&mut ram, 9), exception(4, None));
    for (index, fine) in [(-3_i32, true), (-4, false), (7, true), (8, false)] {
        let (mut cpu, mut ram) = protected(&[0x62, 0x03]);
        ram.write(DATA, &(-3_i32).to_le_bytes());
        ram.write(DATA + 4, &7_i32.to_le_bytes());
        cpu.regs.set(Reg::Rbx, DATA);
        cpu.regs.set(Reg::Rax, u64::from(index as u32));
        let end = cpu.run(&mut ram, 1);
        assert_eq!(end, if fine { Exit::Budget } else { exception(5, None) }, "{index}");
    }
}

#[test]
fn sixty_four_bit_modes_own_instructions_are_undefined() {
    // SDM volume 2, SYSCALL ("in 64-bit mode"), CPUID's bit for it, REX bytes.
    let (mut cpu, mut ram) = protected(&[0x0f, 0x05]);
    cpu.regs.efer = control::SCE;
    assert_eq!(cpu.run(&mut ram, 1), exception(6, None));
    let (mut cpu, mut ram) = protected(&[0x48, 0x0f, 0xa2]);
    cpu.regs.set(Reg::Rax, 0x8000_0002);
    assert_eq!(cpu.run(&mut ram, 2), Exit::Budget);
    // 48 is DEC EAX here.
    assert_eq!(cpu.regs.get(Reg::Rdx) & (1 << 11 | 1 << 29), 1 << 29);
}

#[test]
fn long_mode_ends_in_compatibility_mode_when_paging_does() {
    // SDM volume 3, 9.8.5.4.
    let (target, narrow) = (CODE + 0x1000, CODE + 0x2000);
    let (mut cpu, mut ram) = protected(&to_long_mode(target));
    ram.write(DATA + 0x100, &far(0, sel32::CODE, narrow)[1..]);
    ram.write(target, &[0xff, 0x2b]);
    cpu.regs.set(Reg::Rbx, DATA + 0x100);
    let code = assemble_32(|a| {
        a.mov(eax, cr0)?;
        a.and(eax, i32::MAX)?;
        a.mov(cr0, eax)?;
        a.mov(ecx, 0xc000_0080_u32)?;
        a.rdmsr()?;
        // An address that long mode's tables did not map.
        a.mov(edx, dword_ptr(RAM_BYTES as u32 - 4))?;
        a.hlt()
    });
    ram.write(narrow, &code);
    ram.write(RAM_BYTES - 4, &[1, 2, 3, 4]);
    assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
    assert_eq!((cpu.regs.efer, cpu.regs.cr0 & control::PG), (control::LME, 0));
    assert_eq!(cpu.regs.get(Reg::Rax), control::LME);
    assert_eq!(cpu.regs.get(Reg::Rdx), 0x0403_0201);
}

#[test]
fn a_tables_address_has_32_bits_or_24_and_six_bytes_are_stored() {
    // SDM volume 2, LGDT, SGDT.
    let (mut cpu, mut ram) = protected(&assemble_32(|a| {
        a.lgdt(fword_ptr(DATA))?;
        a.sgdt(fword_ptr(DATA + 0x10))?;
        a.db(&[0x66])?;
        a.lgdt(fword_ptr(DATA))
    }));
    ram.write_u64(DATA, 0xfedc_1234_5678_9abc);
    ram.write_u64(DATA + 0x10, u64::MAX);
    assert_eq!(cpu.run(&mut ram, 2), Exit::Budget);
    assert_eq!(cpu.regs.gdtr, (0x1234_5678, 0x9abc));
    assert_eq!(ram.read_u64(DATA + 0x10), 0xffff_1234_5678_9abc);
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!(cpu.regs.gdtr, (0x34_5678, 0x9abc));
}

#[test]
fn a_far_pointer_loads_a_segment_and_a_null_one_is_refused_when_it_is_used() {
    // SDM volume 2, LDS/LES/LSS and MOV: SS may not be null outside of 64-bit mode.
    let (mut cpu, mut ram) = protected(&assemble_32(|a| {
        a.les(ecx, fword_ptr(DATA))?;
        a.lds(edx, fword_ptr(DATA + 0x10))?;
        a.mov(al, byte_ptr(ecx).es())?;
        a.mov(al, byte_ptr(edx))
    }));
    ram.write(DATA, &far(0, sel32::LIMITED, 0x20)[1..]);
    ram.write(DATA + 0x10, &far(0, 3, DATA)[1..]);
    ram.write(DATA + 0x20, &[0x5a]);
    assert_eq!(cpu.run(&mut ram, 3), Exit::Budget);
    assert_eq!((cpu.regs.get(Reg::Rax), cpu.regs.get(Reg::Rdx)), (0x5a, DATA));
    assert_eq!(cpu.run(&mut ram, 9), exception(13, 0));
    let (mut cpu, mut ram) = protected(&assemble_32(|a| a.mov(ss, ax)));
    assert_eq!(cpu.run(&mut ram, 9), exception(13, 0));
}

#[test]
fn a_far_call_pushes_two_words_of_its_size_and_a_far_return_pops_them() {
    // SDM volume 2, CALL and RET.
    let target = CODE + 0x1000;
    let (mut cpu, mut ram) = protected(&[&far(0x9a, sel32::CODE, target)[..], &[0xf4]].concat());
    ram.write(target, &[0xca, 8, 0]);
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!((cpu.regs.rip, cpu.regs.get(Reg::Rsp)), (target, STACK - 8));
    assert_eq!(ram.read_u64(STACK - 8), (CODE + 7) | u64::from(sel32::CODE) << 32);
    assert_eq!(cpu.run(&mut ram, 9), Exit::Halt);
    assert_eq!((cpu.regs.rip, cpu.regs.get(Reg::Rsp)), (CODE + 8, STACK + 8));
    let mut code = vec![0x66, 0x9a, 0, 0x20];
    code.extend(sel32::CODE.to_le_bytes());
    let (mut cpu, mut ram) = protected(&code);
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!((cpu.regs.rip, cpu.regs.get(Reg::Rsp)), (0x2000, STACK - 4));
    let low = (CODE + 6) & 0xffff;
    assert_eq!(u64::from(read_u32(&ram, STACK - 4)), low | u64::from(sel32::CODE) << 16);
}

#[test]
fn a_repetition_that_comes_to_the_end_of_its_segment_stops_there() {
    // SDM volume 2, REP: registers are those of the iteration that faults.
    let (mut cpu, mut ram) = protected(&assemble_32(|a| {
        a.mov(es, ax)?;
        a.rep().stosd()
    }));
    cpu.regs.set(Reg::Rax, sel32::LIMITED.into());
    cpu.regs.set(Reg::Rcx, 0x100);
    cpu.regs.set(Reg::Rdi, 0x1_0000 - 32 + 1);
    assert_eq!(cpu.run(&mut ram, 99), exception(13, 0));
    assert_eq!((cpu.regs.get(Reg::Rcx), cpu.regs.get(Reg::Rdi)), (0x100 - 7, 0xfffd));
    assert_eq!(read_u32(&ram, DATA + 0xfff9), sel32::LIMITED.into());
    assert_eq!(read_u32(&ram, DATA + 0xfffd), 0);
}

#[test]
fn a_breakpoint_is_at_a_linear_address_whatever_the_base_of_the_code() {
    // SDM volume 3, 17.2.1.
    let (mut cpu, mut ram) = protected(&far(0xea, sel32::BASED_CODE, 0x100));
    ram.write(CODE_BASE + 0x100, &[0x40, 0x40, 0xf4]);
    cpu.break_at(CODE_BASE + 0x101);
    assert_eq!(cpu.run(&mut ram, 99), Exit::Breakpoint);
    assert_eq!((cpu.regs.rip, cpu.regs.get(Reg::Rax)), (0x101, 1));
    assert_eq!(cpu.run(&mut ram, 99), Exit::Halt);
}

/// SDM volume 3, 3.4: the linear address is base and offset.
#[test]
fn the_same_offset_in_another_code_segment_is_other_code() {
    let (mut cpu, mut ram) = protected(&far(0xea, sel32::BASED_CODE, 0x100));
    // inc eax, and off to the same offset there: inc ebx.
    let there = [&[0x40], &far(0xea, sel32::OTHER_CODE, 0x100)[..]].concat();
    ram.write(CODE_BASE + 0x100, &there);
    ram.write(CODE_BASE + 0x180, &[0x43, 0xf4]);
    assert_eq!(cpu.run(&mut ram, 99), Exit::Halt);
    assert_eq!((cpu.regs.get(Reg::Rax), cpu.regs.get(Reg::Rbx)), (1, 1));
}

#[test]
fn code_that_is_overwritten_is_decoded_afresh_through_a_base_too() {
    // SDM volume 3, "Self-modifying code"; the store is at another offset than the code.
    let (mut cpu, mut ram) = protected(&far(0xea, sel32::BASED_CODE, 0x100));
    let code = assemble_32(|a| {
        a.mov(byte_ptr(CODE_BASE + 0x100 + 7), 0x48)?;
        a.inc(eax)?;
        a.hlt()
    });
    assert_eq!(code[7], 0x40);
    ram.write(CODE_BASE + 0x100, &code);
    assert_eq!(cpu.run(&mut ram, 99), Exit::Halt);
    assert_eq!(cpu.regs.get(Reg::Rax), 0xffff_ffff);
}
