//! Segment loads, questions about descriptors, far transfers.

use crate::common::{CODE, DATA, STACK, assemble};
use crate::world::*;
use iced_x86::code_asm::*;
use ultravisor_cpu::{Exit, Reg, Seg, flag};

const GP: u8 = 13;
const SS: u8 = 12;
const NP: u8 = 11;

/// `mov sreg, ax; hlt`, for ES, SS, DS, FS and GS.
fn load_into(register: Seg) -> Vec<u8> {
    vec![0x8e, 0xc0 | (register as u8) << 3, 0xf4]
}

#[test]
fn a_load_takes_base_limit_and_attributes_and_marks_the_descriptor() {
    // SDM volume 3, 3.4.3 and 3.4.5.1 (accessed).
    let at = GDT + u64::from(sel::SMALL);
    for register in [Seg::Es, Seg::Ds, Seg::Fs, Seg::Gs] {
        let (mut cpu, mut ram) = world(&load_into(register));
        ram.write_u64(at, SMALL & !(1 << 40));
        cpu.regs.set(Reg::Rax, sel::SMALL.into());
        assert_eq!(cpu.run(&mut ram, 9), Exit::Halt);
        let segment = cpu.regs.segment(register);
        assert_eq!((segment.selector, segment.base), (sel::SMALL, 0x1234_5678));
        assert_eq!((segment.limit, segment.attributes.0), (0x9abc, 0x4093));
        assert_eq!(ram.read_u64(at), SMALL);
    }
}

#[test]
fn what_a_segment_register_may_not_hold_is_refused_with_its_selector() {
    // SDM volume 2, MOV, protected mode exceptions.
    let beyond = sel::LIMIT + 1;
    let local = sel::LOCAL | 0x10;
    let cases = [
        (Seg::Ds, beyond, GP),
        (Seg::Ds, local, GP),
        (Seg::Ds, sel::EXECUTE_ONLY, GP),
        (Seg::Ds, sel::TSS, GP),
        (Seg::Ds, sel::KERNEL_DATA | 3, GP),
        (Seg::Es, sel::ABSENT_DATA, NP),
        (Seg::Ss, sel::READ_ONLY, GP),
        (Seg::Ss, sel::KERNEL_CODE, GP),
        (Seg::Ss, sel::KERNEL_DATA | 1, GP),
        (Seg::Ss, sel::USER_DATA & !3, GP),
        (Seg::Ss, sel::ABSENT_DATA, SS),
    ];
    for (register, selector, vector) in cases {
        let (mut cpu, mut ram) = world(&load_into(register));
        let before = cpu.regs.segment(register);
        cpu.regs.set(Reg::Rax, selector.into());
        let error = u32::from(selector & !3);
        assert_eq!(cpu.run(&mut ram, 9), exception(vector, error), "{register:?} {selector:#x}");
        assert_eq!((cpu.regs.rip, cpu.units()), (CODE, 0));
        assert_eq!(cpu.regs.segment(register), before);
    }
}

#[test]
fn a_descriptor_that_its_table_holds_in_part_is_beyond_it() {
    // SDM volume 3, 3.5.1: the limit is the last byte of the last descriptor.
    let (mut cpu, mut ram) = world(&load_into(Seg::Ds));
    cpu.regs.gdtr.1 = sel::SMALL + 6;
    cpu.regs.set(Reg::Rax, sel::SMALL.into());
    assert_eq!(cpu.run(&mut ram, 9), exception(GP, u32::from(sel::SMALL)));
}

#[test]
fn the_null_selector_may_be_anywhere_but_in_ring_threes_stack() {
    // SDM volume 2, MOV: null selectors in 64-bit mode.
    for register in [Seg::Es, Seg::Ss, Seg::Ds, Seg::Fs, Seg::Gs] {
        let (mut cpu, mut ram) = world(&load_into(register));
        cpu.regs.set(Reg::Rax, 0);
        assert_eq!(cpu.run(&mut ram, 9), Exit::Halt, "{register:?}");
        assert!(!cpu.regs.segment(register).attributes.present());
    }
    for (selector, register, fault) in [(3, Seg::Ss, true), (0, Seg::Ss, true), (3, Seg::Ds, false)]
    {
        let (mut cpu, mut ram) = user_world(&load_into(register));
        cpu.regs.set(Reg::Rax, selector);
        // HLT is not for ring 3 either: how far it got is the difference.
        assert_eq!(cpu.run(&mut ram, 9), exception(GP, 0));
        assert_eq!(cpu.regs.rip == USER_CODE, fault, "{register:?} {selector}");
    }
}

#[test]
fn ring_three_loads_its_own_data_and_conforming_code_only() {
    // SDM volume 3, 5.6: DPL against both CPL and RPL.
    let cases = [
        (sel::USER_DATA, true),
        (sel::USER_DATA & !3, true),
        (sel::CONFORMING, true),
        (sel::KERNEL_DATA, false),
        (sel::KERNEL_CODE, false),
    ];
    for (selector, fine) in cases {
        let (mut cpu, mut ram) = user_world(&load_into(Seg::Ds));
        cpu.regs.set(Reg::Rax, selector.into());
        let error = if fine { 0 } else { u32::from(selector & !3) };
        assert_eq!(cpu.run(&mut ram, 9), exception(GP, error), "{selector:#x}");
        assert_eq!(cpu.regs.selector(Seg::Ds) == selector, fine);
    }
}

#[test]
fn a_selector_is_stored_in_two_bytes_or_fills_the_register() {
    // SDM volume 2, MOV: a register of 32 or 64 bits is zero-extended.
    let code = assemble(|a| {
        a.mov(ax, ds)?;
        a.mov(ecx, es)?;
        a.mov(rdx, ss)?;
        a.mov(word_ptr(DATA), cs)?;
        a.push(gs)?;
        a.hlt()
    });
    let (mut cpu, mut ram) = world(&code);
    for reg in [Reg::Rax, Reg::Rcx, Reg::Rdx] {
        cpu.regs.set(reg, u64::MAX);
    }
    ram.write_u64(DATA, u64::MAX);
    assert_eq!(cpu.run(&mut ram, 9), Exit::Halt);
    let found = [Reg::Rax, Reg::Rcx, Reg::Rdx].map(|reg| cpu.regs.get(reg));
    assert_eq!(found, [0xffff_ffff_ffff_0010, 0x10, 0x10]);
    assert_eq!(ram.read_u64(DATA), 0xffff_ffff_ffff_0008);
    assert_eq!(ram.read_u64(STACK - 8), 0x10);
}

#[test]
fn popped_and_pointed_to_segments_give_their_base() {
    // SDM volume 3, 3.4.4: FS and GS add their base, 32 bits of it from a descriptor.
    let code = assemble(|a| {
        a.pop(fs)?;
        a.mov(rax, qword_ptr(8).fs())?;
        a.lgs(ecx, fword_ptr(DATA))?;
        a.mov(rdx, qword_ptr(16).gs())?;
        a.hlt()
    });
    let (mut cpu, mut ram) = world(&code);
    let base = DATA + 0x100;
    let small = base << 16 | 0x93 << 40 | 0xff;
    ram.write_u64(GDT + u64::from(sel::SMALL), small);
    ram.write_u64(STACK, sel::SMALL.into());
    ram.write(DATA, &[1, 2, 3, 4, sel::SMALL as u8, 0]);
    ram.write_u64(base + 8, 77);
    ram.write_u64(base + 16, 88);
    assert_eq!(cpu.run(&mut ram, 9), Exit::Halt);
    let found = [Reg::Rax, Reg::Rcx, Reg::Rdx, Reg::Rsp].map(|reg| cpu.regs.get(reg));
    assert_eq!(found, [77, 0x0403_0201, 88, STACK + 8]);
    assert_eq!((cpu.regs.fs_base(), cpu.regs.gs_base()), (base, base));
}

/// SDM volume 2, LDS/LES/LFS/LGS/LSS.
#[test]
fn a_pointer_whose_segment_is_refused_leaves_its_register() {
    let code = assemble(|a| a.lss(rax, tbyte_ptr(DATA)));
    let (mut cpu, mut ram) = world(&code);
    ram.write_u64(DATA, 5);
    ram.write(DATA + 8, &[sel::READ_ONLY as u8, 0]);
    cpu.regs.set(Reg::Rax, 1);
    assert_eq!(cpu.run(&mut ram, 9), exception(GP, u32::from(sel::READ_ONLY)));
    assert_eq!((cpu.regs.get(Reg::Rax), cpu.regs.selector(Seg::Ss)), (1, 0x10));
}

#[test]
fn ltr_takes_a_free_task_segment_and_marks_it() {
    // SDM volume 2, LTR; volume 3, 8.2.2 (busy).
    let code = assemble(|a| {
        a.ltr(ax)?;
        a.str(ecx)?;
        a.ltr(ax)
    });
    let (mut cpu, mut ram) = world(&code);
    cpu.regs.tr = Default::default();
    cpu.regs.set(Reg::Rax, sel::TSS.into());
    // The second time it is busy.
    assert_eq!(cpu.run(&mut ram, 9), exception(GP, u32::from(sel::TSS)));
    assert_eq!((cpu.units(), cpu.regs.get(Reg::Rcx)), (2, sel::TSS.into()));
    assert_eq!((cpu.regs.tr.base, cpu.regs.tr.limit), (TSS, 0x2068));
    assert_eq!(ram.read_u64(GDT + u64::from(sel::TSS)) >> 40 & 15, 11);
    assert_eq!(cpu.regs.tr.attributes.0 & 15, 11);
}

#[test]
fn what_is_no_task_segment_or_local_table_is_not_loaded() {
    // SDM volume 2, LTR and LLDT.
    let ltr = assemble(|a| a.ltr(ax));
    let lldt = assemble(|a| a.lldt(ax));
    let cases: [(&[u8], u16, u32); 7] = [
        (&ltr, 0, 0),
        (&ltr, sel::LDT, sel::LDT.into()),
        (&ltr, sel::LOCAL, sel::LOCAL.into()),
        (&ltr, sel::KERNEL_DATA, sel::KERNEL_DATA.into()),
        (&ltr, sel::SMALL, sel::SMALL.into()),
        (&lldt, sel::TSS, sel::TSS.into()),
        (&lldt, sel::LOCAL, sel::LOCAL.into()),
    ];
    for (code, selector, error) in cases {
        let (mut cpu, mut ram) = world(code);
        cpu.regs.set(Reg::Rax, selector.into());
        assert_eq!(cpu.run(&mut ram, 9), exception(GP, error), "{selector:#x}");
    }
}

/// SDM volume 3, 3.5.1, and volume 2, LLDT: a null selector.
#[test]
fn a_local_table_that_is_gone_selects_nothing() {
    let code = assemble(|a| {
        a.mov(es, ecx)?;
        a.lldt(ax)?;
        a.sldt(rdx)?;
        a.mov(es, ecx)
    });
    let (mut cpu, mut ram) = world(&code);
    set(&mut cpu, [(Reg::Rax, 0), (Reg::Rcx, sel::LOCAL.into()), (Reg::Rdx, 9)]);
    assert_eq!(cpu.run(&mut ram, 9), exception(GP, u32::from(sel::LOCAL)));
    assert_eq!((cpu.units(), cpu.regs.get(Reg::Rdx)), (3, 0));
}

#[test]
fn lar_lsl_verr_and_verw_say_what_may_be_reached() {
    // SDM volume 2, LAR, LSL, VERR/VERW with their tables of types.
    let code = assemble(|a| {
        a.lar(eax, ecx)?;
        a.setz(r8b)?;
        a.lsl(edx, ecx)?;
        a.setz(r9b)?;
        a.verr(cx)?;
        a.setz(r10b)?;
        a.verw(cx)?;
        a.setz(r11b)?;
        a.hlt()
    });
    // Selector, LAR's and LSL's answers, VERR's and VERW's.
    let flat_limit = Some(0xffff_ffff);
    let cases = [
        (0, None, None, false, false),
        (sel::LIMIT + 1, None, None, false, false),
        (sel::KERNEL_CODE, Some(0xa0_9a00), flat_limit, true, false),
        (sel::KERNEL_DATA, Some(0xc0_9200), flat_limit, true, true),
        (sel::KERNEL_DATA | 3, None, None, false, false),
        (sel::CONFORMING | 3, Some(0xa0_9e00), flat_limit, true, false),
        (sel::READ_ONLY, Some(0xc0_9000), flat_limit, true, false),
        (sel::ABSENT_DATA, Some(0xc0_1200), flat_limit, true, true),
        (sel::EXECUTE_ONLY, Some(0xa0_9800), flat_limit, false, false),
        (sel::TSS, Some(0x8900), Some(0x2068), false, false),
        (sel::LDT, Some(0x8200), Some(0xf), false, false),
        // Bits 20 to 23 are of its offset.
        (sel::GATE, Some(0x10_ec00), None, false, false),
        (sel::SMALL, Some(0x40_9300), Some(0x9abc), true, true),
    ];
    for (selector, rights, limit, read, write) in cases {
        let (mut cpu, mut ram) = world(&code);
        set(&mut cpu, [(Reg::Rax, 1), (Reg::Rdx, 2), (Reg::Rcx, selector.into())]);
        set(&mut cpu, [(Reg::R8, 0), (Reg::R9, 0), (Reg::R10, 0), (Reg::R11, 0)]);
        assert_eq!(cpu.run(&mut ram, 20), Exit::Halt);
        let found = |reg, value| (cpu.regs.get(reg) != 0).then_some(cpu.regs.get(value));
        assert_eq!(found(Reg::R8, Reg::Rax), rights, "LAR of {selector:#x}");
        assert_eq!(found(Reg::R9, Reg::Rdx), limit, "LSL of {selector:#x}");
        assert_eq!(cpu.regs.get(Reg::R10) != 0, read, "VERR of {selector:#x}");
        assert_eq!(cpu.regs.get(Reg::R11) != 0, write, "VERW of {selector:#x}");
        let kept = if rights.is_some() { 1 } else { cpu.regs.get(Reg::Rax) };
        assert_eq!(kept, 1, "without an answer the register stays");
    }
}

/// `jmp far m16:64 [rbx]` at [`CODE`], `hlt` at [`GATE_TARGET`]; the pointer is at [`DATA`].
fn far(code: &[u8], selector: u16, offset: u64) -> (ultravisor_cpu::Cpu, crate::common::Ram) {
    let (mut cpu, mut ram) = world(code);
    ram.write(GATE_TARGET, &[0xf4]);
    ram.write_u64(DATA, offset);
    ram.write(DATA + 8, &selector.to_le_bytes());
    cpu.regs.set(Reg::Rbx, DATA);
    (cpu, ram)
}

const JUMP: &[u8] = &[0x48, 0xff, 0x2b];
const CALL: &[u8] = &[0x48, 0xff, 0x1b];

#[test]
fn a_far_jump_goes_to_code_that_its_level_may_enter() {
    // SDM volume 3, 5.8.1; 5.8.4 for the gates.
    let fine = [
        (sel::KERNEL_CODE, sel::KERNEL_CODE),
        (sel::CONFORMING | 3, sel::CONFORMING),
        (sel::EXECUTE_ONLY, sel::EXECUTE_ONLY),
        (sel::GATE, sel::KERNEL_CODE),
        (sel::KERNEL_GATE, sel::KERNEL_CODE),
    ];
    for (selector, lands) in fine {
        let (mut cpu, mut ram) = far(JUMP, selector, GATE_TARGET);
        assert_eq!(cpu.run(&mut ram, 9), Exit::Halt, "{selector:#x}");
        assert_eq!(cpu.regs.rip, GATE_TARGET + 1);
        assert_eq!((stack_and_code(&cpu), cpu.level()), ((0x10, lands), 0));
    }
    let refused = [
        (0, GP),
        (sel::KERNEL_DATA, GP),
        (sel::USER_CODE, GP),
        (sel::KERNEL_CODE | 3, GP),
        (sel::TSS, GP),
        (sel::BOTH_SIZES, GP),
        (sel::LIMIT + 1, GP),
        (sel::ABSENT_CODE, NP),
    ];
    for (selector, vector) in refused {
        let (mut cpu, mut ram) = far(JUMP, selector, GATE_TARGET);
        let told = exception(vector, u32::from(selector & !3));
        assert_eq!(cpu.run(&mut ram, 9), told, "{selector:#x}");
        assert_eq!((cpu.regs.rip, cpu.units()), (CODE, 0));
    }
    let (mut cpu, mut ram) = far(JUMP, sel::KERNEL_CODE, 1 << 63);
    assert_eq!(cpu.run(&mut ram, 9), exception(GP, 0));
}

#[test]
fn a_far_call_pushes_where_it_came_from_and_a_far_return_goes_back() {
    // SDM volume 2, CALL and RET.
    let (mut cpu, mut ram) = far(&[0x48, 0xff, 0x1b, 0xf4], sel::CONFORMING, GATE_TARGET);
    ram.write(GATE_TARGET, &[0x48, 0xca, 0x20, 0]);
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!((cpu.regs.rip, cpu.regs.get(Reg::Rsp)), (GATE_TARGET, STACK - 16));
    assert_eq!((ram.read_u64(STACK - 8), ram.read_u64(STACK - 16)), (8, CODE + 3));
    assert_eq!(cpu.run(&mut ram, 9), Exit::Halt);
    assert_eq!((cpu.regs.rip, cpu.regs.get(Reg::Rsp)), (CODE + 4, STACK + 0x20));
    assert_eq!(stack_and_code(&cpu), (0x10, sel::KERNEL_CODE));
}

#[test]
fn a_call_gate_leads_ring_three_to_the_kernels_stack_and_back() {
    // SDM volume 3, 5.8.5 and 5.8.6; the stack from the task-state segment (8.7).
    let (mut cpu, mut ram) = user_world(&[CALL, &[0x90, 0xf4]].concat());
    ram.write(GATE_TARGET, &[0x48, 0xcb]);
    ram.write_u64(USER_STACK - 0x100, 0x1234);
    ram.write(USER_STACK - 0xf8, &sel::GATE.to_le_bytes());
    cpu.regs.set(Reg::Rbx, USER_STACK - 0x100);
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!((cpu.regs.rip, cpu.level()), (GATE_TARGET, 0));
    assert_eq!(stack_and_code(&cpu), (0, sel::KERNEL_CODE));
    assert_eq!(cpu.regs.get(Reg::Rsp), RSP0 - 32);
    let frame = [1, 2, 3, 4].map(|word| ram.read_u64(RSP0 - 8 * word));
    let back = USER_CODE + CALL.len() as u64;
    assert_eq!(frame, [sel::USER_DATA.into(), USER_STACK, sel::USER_CODE.into(), back]);
    // Back in ring 3, HLT is refused, and so is the kernel's memory.
    assert_eq!(cpu.run(&mut ram, 9), exception(GP, 0));
    assert_eq!((cpu.regs.rip, cpu.level()), (back + 1, 3));
    assert_eq!(stack_and_code(&cpu), (sel::USER_DATA, sel::USER_CODE));
    assert_eq!(cpu.regs.get(Reg::Rsp), USER_STACK);
}

#[test]
fn ring_three_may_not_pass_a_gate_of_ring_zero() {
    // SDM volume 3, 5.8.4: the gate's DPL against CPL and RPL.
    let (mut cpu, mut ram) = user_world(CALL);
    ram.write(USER_STACK - 0xf8, &sel::KERNEL_GATE.to_le_bytes());
    cpu.regs.set(Reg::Rbx, USER_STACK - 0x100);
    assert_eq!(cpu.run(&mut ram, 9), exception(GP, u32::from(sel::KERNEL_GATE)));
}

#[test]
fn going_outward_leaves_no_segment_that_the_outer_ring_may_not_use() {
    // SDM volume 2, RET: the data segment registers are checked.
    let (cpu, _) = user_world(&[0x90]);
    for register in [Seg::Es, Seg::Ds, Seg::Fs, Seg::Gs] {
        let segment = cpu.regs.segment(register);
        assert_eq!((segment.selector, segment.attributes.present()), (0, false));
    }
}

#[test]
fn what_ring_zero_has_in_its_caches_is_not_ring_threes() {
    // SDM volume 3, 4.6: user-mode accesses need U/S, also where ring 0 has just been.
    let (mut cpu, mut ram) = user_world(&[CALL, &[0x48, 0x8b, 0x01]].concat());
    ram.write(GATE_TARGET, &[0x48, 0x8b, 0x01, 0x48, 0xcb]);
    ram.write(USER_STACK - 0xf8, &sel::GATE.to_le_bytes());
    ram.write_u64(DATA, 5);
    set(&mut cpu, [(Reg::Rbx, USER_STACK - 0x100), (Reg::Rcx, DATA)]);
    let told = Exit::Exception { vector: 14, error: Some(5), address: Some(DATA) };
    assert_eq!(cpu.run(&mut ram, 9), told);
    assert_eq!((cpu.regs.get(Reg::Rax), cpu.level()), (5, 3));
    // Nor may it run the kernel's code, decoded or not.
    let (mut cpu, mut ram) = user_world(&[CALL, &[0xff, 0xe2]].concat());
    ram.write(GATE_TARGET, &[0x48, 0xcb]);
    ram.write(USER_STACK - 0xf8, &sel::GATE.to_le_bytes());
    set(&mut cpu, [(Reg::Rbx, USER_STACK - 0x100), (Reg::Rdx, GATE_TARGET)]);
    let told = Exit::Exception { vector: 14, error: Some(0x15), address: Some(GATE_TARGET) };
    assert_eq!(cpu.run(&mut ram, 9), told);
}

#[test]
fn ports_are_for_who_has_the_privilege_or_the_bitmaps_leave() {
    // SDM volume 1, 18.5.2.
    let io_map = 0x68;
    let cases = [(0x60, 1, true), (0x61, 1, false), (0x60, 2, false), (0xffff, 1, true)];
    for (port, bytes, open) in cases {
        let code: &[u8] = if bytes == 1 { &[0xec] } else { &[0x66, 0xed] };
        let (mut cpu, mut ram) = user_world(code);
        ram.write(TSS + 0x66, &[io_map, 0]);
        ram.write(TSS + u64::from(io_map) + 0x61 / 8, &[1 << (0x61 % 8)]);
        cpu.regs.set(Reg::Rdx, port);
        // The byte behind the last port's must be inside the segment, too.
        cpu.regs.tr.limit = u32::from(io_map) + 0x2000;
        let told = Exit::PortRead { port: port as u16, bytes };
        let told = if open { told } else { exception(GP, 0) };
        assert_eq!(cpu.run(&mut ram, 9), told, "{port:#x}");
        cpu.regs.tr.limit = 0x66;
        assert_eq!(cpu.run(&mut ram, 9), exception(GP, 0));
        cpu.set_rflags(flag::IOPL);
        let told = Exit::PortRead { port: port as u16, bytes };
        assert_eq!(cpu.run(&mut ram, 9), told);
    }
}
