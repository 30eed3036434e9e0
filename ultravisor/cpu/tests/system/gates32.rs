//! The system side of protected mode: 8-byte gates, a 32-bit task-state segment, rings, call gates; and
//! what interrupts compatibility mode.

use crate::common::{CODE, DATA, Ram, STACK};
use crate::delivery;
use crate::protected::{GDT, assemble_32, protected, sel32};
use crate::world::{self, flat};
use iced_x86::code_asm::*;
use ultravisor_cpu::{Attributes, Cpu, Exit, Reg, Seg, Segment, flag};

const IDT: u64 = DATA + 0x3_0000;
const TSS: u64 = DATA + 0x3_2000;
/// Where ring 0's stack begins when ring 3 is left.
const ESP0: u64 = DATA + 0x4_0000;
const USER_STACK: u64 = DATA + 0x5_0000;
const HANDLERS: u64 = CODE + 0x1_0000;
const USER_CODE: u64 = CODE + 0x2_0000;

/// Selectors behind those of [`sel32`].
const USER_CODE_SEL: u16 = 0x50 | 3;
const USER_DATA_SEL: u16 = 0x58 | 3;
const GATE_SEL: u16 = 0x60 | 3;
const TSS_SEL: u16 = 0x68;
const GDT_LIMIT: u16 = 0x6f;

const INTERRUPT: u64 = 0x8e;
const TRAP: u64 = 0x8f;
const INTERRUPT_16: u64 = 0x86;
const TASK: u64 = 0x85;
const USER_INTERRUPT: u64 = 0xee;

fn read_u32(ram: &Ram, at: u64) -> u64 {
    ram.read_u64(at) & 0xffff_ffff
}

fn write_u32(ram: &mut Ram, at: u64, value: u64) {
    ram.write(at, &(value as u32).to_le_bytes());
}

/// An 8-byte gate.
const fn gate(kind: u64, selector: u16, target: u64, words: u64) -> u64 {
    let [low, _] = world::gate(kind, selector, target, words);
    low
}

fn handler(vector: u8) -> u64 {
    HANDLERS + 4 * u64::from(vector)
}

/// Ring 0 runs `code`, with a handler for each vector that is a HLT of its own.
fn guest(code: &[u8]) -> (Cpu, Ram) {
    let start = assemble_32(|a| {
        a.lidt(fword_ptr(DATA + 0x800))?;
        a.mov(eax, u32::from(TSS_SEL))?;
        a.ltr(ax)
    });
    let (mut cpu, mut ram) = protected(&[&start, code].concat());
    let more = [
        flat(0xfb, false, true),
        flat(0xf3, false, true),
        gate(0xec, sel32::CODE, CODE + 0x4000, 2),
        world::wide(0x89, TSS, 0x2068)[0],
    ];
    for (at, entry) in (GDT + 0x50..).step_by(8).zip(more) {
        ram.write_u64(at, entry);
    }
    cpu.regs.gdtr = (GDT, GDT_LIMIT);
    for vector in 0..=255 {
        let at = IDT + 8 * u64::from(vector);
        ram.write_u64(at, gate(INTERRUPT, sel32::CODE, handler(vector), 0));
        ram.write(handler(vector), &[0xf4]);
    }
    ram.write(DATA + 0x800, &0x7ff_u16.to_le_bytes());
    ram.write(DATA + 0x802, &(IDT as u32).to_le_bytes());
    write_u32(&mut ram, TSS + 4, ESP0);
    write_u32(&mut ram, TSS + 8, sel32::DATA.into());
    // No bitmap of ports.
    ram.write(TSS + 0x66, &[0xff, 0xff]);
    assert_eq!(cpu.run(&mut ram, 3), Exit::Budget);
    (cpu, ram)
}

/// Leaves ring 0 for `eip`, as a kernel does: by IRET. All segments of data are ring 3's.
pub fn go_to_ring_3(cpu: &mut Cpu, ram: &mut Ram, eip: u64) {
    let table = [(0x50, flat(0xfb, false, true)), (0x58, flat(0xf3, false, true))];
    table.into_iter().for_each(|(at, entry)| ram.write_u64(GDT + at, entry));
    cpu.regs.gdtr = (GDT, GDT_LIMIT);
    let frame = [eip, USER_CODE_SEL.into(), flag::ALWAYS, USER_STACK, USER_DATA_SEL.into()];
    for (at, word) in (STACK - 0x100..).step_by(4).zip(frame) {
        write_u32(ram, at, word);
    }
    ram.write(CODE + 0x3000, &[0xcf]);
    cpu.regs.set(Reg::Rsp, STACK - 0x100);
    cpu.regs.rip = CODE + 0x3000;
    assert_eq!(cpu.run(ram, 1), Exit::Budget);
    assert_eq!((cpu.regs.rip, cpu.level()), (eip, 3));
    let attributes = Attributes::data(3);
    for register in [Seg::Ds, Seg::Es] {
        let segment = Segment { selector: USER_DATA_SEL, base: 0, limit: u32::MAX, attributes };
        cpu.regs.set_segment(register, segment);
    }
}

/// Ring 3 runs `code`.
fn user(code: &[u8]) -> (Cpu, Ram) {
    let (mut cpu, mut ram) = guest(&[]);
    ram.write(USER_CODE, code);
    go_to_ring_3(&mut cpu, &mut ram, USER_CODE);
    (cpu, ram)
}

fn frame<const N: usize>(cpu: &Cpu, ram: &Ram) -> [u64; N] {
    let top = cpu.regs.get(Reg::Rsp);
    std::array::from_fn(|word| read_u32(ram, top + 4 * word as u64))
}

fn handled(cpu: &mut Cpu, ram: &mut Ram, vector: u8) {
    assert_eq!(cpu.run(ram, 100), Exit::Halt);
    assert_eq!(cpu.regs.rip, handler(vector) + 1);
}

/// Where the code of [`guest`] begins: behind LIDT, MOV and LTR (with an operand-size prefix).
const BEGIN: u64 = CODE + 7 + 5 + 4;

#[test]
fn a_fault_pushes_three_words_and_an_error_code_on_the_same_stack() {
    // SDM volume 3, 6.12.1 and 6.13, figure 6-4.
    let (mut cpu, mut ram) = guest(&[0x0f, 0x0b]);
    handled(&mut cpu, &mut ram, 6);
    assert_eq!(frame(&cpu, &ram), [BEGIN, sel32::CODE.into(), flag::ALWAYS | flag::RF]);
    assert_eq!(cpu.regs.get(Reg::Rsp), STACK - 12);
    // mov ds, ax with a selector beyond the table.
    let (mut cpu, mut ram) = guest(&[0x8e, 0xd8]);
    cpu.regs.set(Reg::Rax, 0x1000);
    handled(&mut cpu, &mut ram, 13);
    let pushed = [0x1000, BEGIN, sel32::CODE.into(), flag::ALWAYS | flag::RF];
    assert_eq!(frame(&cpu, &ram), pushed);
}

#[test]
fn interrupt_gates_clear_if_trap_gates_do_not_and_16_bit_ones_push_halves() {
    // SDM volume 3, 6.12.1.3; volume 2, INT n.
    for (kind, left) in [(INTERRUPT, 0), (TRAP, flag::IF)] {
        let (mut cpu, mut ram) = guest(&[0xcd, 0x20]);
        ram.write_u64(IDT + 8 * 0x20, gate(kind, sel32::CODE, handler(0x20), 0));
        cpu.set_rflags(flag::IF | flag::NT);
        handled(&mut cpu, &mut ram, 0x20);
        assert_eq!(cpu.rflags(), flag::ALWAYS | left);
        let flags = flag::ALWAYS | flag::IF | flag::NT;
        assert_eq!(frame(&cpu, &ram), [BEGIN + 2, sel32::CODE.into(), flags]);
    }
    let (mut cpu, mut ram) = guest(&[0xcd, 0x20]);
    ram.write_u64(IDT + 8 * 0x20, gate(INTERRUPT_16, sel32::CODE, 0xdead_4000, 0));
    ram.write(0x4000, &[0xf4]);
    assert_eq!(cpu.run(&mut ram, 9), Exit::Halt);
    assert_eq!((cpu.regs.rip, cpu.regs.get(Reg::Rsp)), (0x4001, STACK - 6));
    let halves = ((BEGIN + 2) & 0xffff) | u64::from(sel32::CODE) << 16;
    assert_eq!(read_u32(&ram, STACK - 6), halves);
}

#[test]
fn from_ring_three_the_stack_is_that_of_the_task_and_iret_goes_back() {
    // SDM volume 3, 6.12.1 and 8.2.1; volume 2, IRET.
    let (mut cpu, mut ram) = user(&[0xcd, 0x80, 0x90]);
    ram.write_u64(IDT + 8 * 0x80, gate(USER_INTERRUPT, sel32::CODE, handler(0x80), 0));
    ram.write(handler(0x80), &[0xcf]);
    cpu.set_rflags(flag::IF | flag::CF);
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!((cpu.regs.rip, cpu.level()), (handler(0x80), 0));
    let stack = cpu.regs.segment(Seg::Ss);
    assert_eq!((stack.selector, cpu.regs.get(Reg::Rsp)), (sel32::DATA, ESP0 - 20));
    let flags = flag::ALWAYS | flag::IF | flag::CF;
    let from = [USER_CODE + 2, USER_CODE_SEL.into(), flags, USER_STACK, USER_DATA_SEL.into()];
    assert_eq!(frame(&cpu, &ram), from);
    assert_eq!(cpu.run(&mut ram, 2), Exit::Budget);
    assert_eq!((cpu.regs.rip, cpu.level(), cpu.rflags()), (USER_CODE + 3, 3, flags));
    assert_eq!(cpu.regs.get(Reg::Rsp), USER_STACK);
    assert_eq!(cpu.regs.selector(Seg::Ss), USER_DATA_SEL);
}

#[test]
fn ring_three_may_only_use_gates_that_let_it() {
    // SDM volume 3, 6.12.1.1: the vector is in the error code.
    let (mut cpu, mut ram) = user(&[0xcd, 0x21]);
    handled(&mut cpu, &mut ram, 13);
    assert_eq!(frame::<2>(&cpu, &ram), [0x21 << 3 | 2, USER_CODE]);
}

#[test]
fn a_task_without_a_stack_is_ts_and_a_handler_that_cannot_be_reached_a_double_fault() {
    // SDM volume 3, 6.15 (#TS, #DF).
    let (mut cpu, mut ram) = user(&[0x0f, 0x0b]);
    write_u32(&mut ram, TSS + 8, USER_DATA_SEL.into());
    let end = cpu.run(&mut ram, 9);
    // Neither #TS nor #DF finds a stack.
    assert!(matches!(end, Exit::Shutdown { vector: 6, .. }), "{end:?}");
    let (mut cpu, mut ram) = guest(&[0x0f, 0x0b]);
    ram.write_u64(IDT + 8 * 6, 0);
    handled(&mut cpu, &mut ram, 13);
    let (mut cpu, mut ram) = guest(&[0xf7, 0xf1]);
    cpu.regs.set(Reg::Rcx, 0);
    ram.write_u64(IDT, 0);
    handled(&mut cpu, &mut ram, 8);
    assert_eq!(frame::<2>(&cpu, &ram), [0, BEGIN]);
}

#[test]
fn a_call_gate_passes_words_on_to_the_inner_stack_and_a_far_return_drops_both() {
    // SDM volume 3, 5.8.5 and 5.8.6; volume 2, RET.
    let mut code = vec![0x9a];
    code.extend([0_u8; 4]);
    code.extend(GATE_SEL.to_le_bytes());
    let (mut cpu, mut ram) = user(&code);
    write_u32(&mut ram, USER_STACK, 0x1111);
    write_u32(&mut ram, USER_STACK + 4, 0x2222);
    ram.write(CODE + 0x4000, &[0xca, 8, 0]);
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!((cpu.regs.rip, cpu.level()), (CODE + 0x4000, 0));
    let pushed =
        [USER_CODE + 7, USER_CODE_SEL.into(), 0x1111, 0x2222, USER_STACK, USER_DATA_SEL.into()];
    assert_eq!(frame(&cpu, &ram), pushed);
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!((cpu.regs.rip, cpu.level()), (USER_CODE + 7, 3));
    assert_eq!(cpu.regs.get(Reg::Rsp), USER_STACK + 8);
}

/// What SDM volume 3, chapters on tasks and 8086 emulation describe is not built.
#[test]
fn tasks_and_virtual_8086_mode_are_our_limit() {
    let (mut cpu, mut ram) = guest(&[0xcd, 0x20]);
    ram.write_u64(IDT + 8 * 0x20, gate(TASK, TSS_SEL, 0, 0));
    let end = cpu.run(&mut ram, 9);
    assert!(matches!(end, Exit::Unsupported { length: 2, .. }), "{end:?}");
    assert_eq!(cpu.regs.rip, BEGIN);
    let mut code = vec![0xea];
    code.extend([0_u8; 4]);
    code.extend(TSS_SEL.to_le_bytes());
    let (mut cpu, mut ram) = guest(&code);
    // Busy, it is #GP; only a free one would be switched to.
    handled(&mut cpu, &mut ram, 13);
    let (mut cpu, mut ram) = guest(&code);
    ram.write_u64(GDT + u64::from(TSS_SEL), world::wide(0x89, TSS, 0x2068)[0]);
    let end = cpu.run(&mut ram, 9);
    assert!(matches!(end, Exit::Unsupported { length: 7, .. }), "{end:?}");
    // IRET with VM, and with NT.
    for (flags, set) in [(flag::ALWAYS | 1 << 17, 0), (flag::ALWAYS, flag::NT)] {
        let (mut cpu, mut ram) = guest(&[0xcf]);
        for (at, word) in (STACK..).step_by(4).zip([CODE, sel32::CODE.into(), flags]) {
            write_u32(&mut ram, at, word);
        }
        cpu.set_rflags(set);
        let end = cpu.run(&mut ram, 9);
        assert!(matches!(end, Exit::Unsupported { length: 1, .. }), "{end:?}");
    }
}

#[test]
fn the_tasks_bitmap_opens_ports_to_ring_three() {
    // SDM volume 1, 18.5.2.
    let (mut cpu, mut ram) = user(&[0xe6, 0x80]);
    handled(&mut cpu, &mut ram, 13);
    let (mut cpu, mut ram) = user(&[0xe6, 0x80]);
    ram.write(TSS + 0x66, &0x68_u16.to_le_bytes());
    assert!(matches!(cpu.run(&mut ram, 9), Exit::PortWrite { port: 0x80, .. }));
}

#[test]
fn sysenter_and_sysexit_go_between_rings_of_32_bit_code() {
    // SDM volume 2, SYSENTER and SYSEXIT; volume 3, 5.8.7.
    let (mut cpu, mut ram) = user(&[0x0f, 0x34]);
    let msrs = &mut cpu.regs.msrs;
    msrs.sysenter_cs = sel32::CODE.into();
    (msrs.sysenter_esp, msrs.sysenter_eip) = (ESP0, CODE + 0x4000);
    ram.write(CODE + 0x4000, &[0x0f, 0x35]);
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!((cpu.regs.rip, cpu.level(), cpu.regs.get(Reg::Rsp)), (CODE + 0x4000, 0, ESP0));
    assert_eq!(cpu.regs.segment(Seg::Cs).attributes, Attributes::code_32(0));
    cpu.regs.set(Reg::Rcx, USER_STACK);
    cpu.regs.set(Reg::Rdx, USER_CODE);
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!((cpu.regs.rip, cpu.level(), cpu.regs.get(Reg::Rsp)), (USER_CODE, 3, USER_STACK));
    assert_eq!(cpu.regs.selector(Seg::Cs), (sel32::CODE + 16) | 3);
}

/// A machine of long mode whose ring 0 runs 32-bit code by `iretq`, or ring 3 by `sysretd`.
fn compatibility(code: &[u8], back: &[u8], level: u16) -> (Cpu, Ram) {
    let (mut cpu, mut ram) = delivery::guest(back);
    let at = world::GDT + u64::from(world::sel::COMPATIBILITY);
    ram.write_u64(at, flat(0x9b | u64::from(level) << 5, false, true));
    ram.write(world::USER_CODE, code);
    let selector = u64::from(world::sel::COMPATIBILITY | level);
    let stack = if level == 3 { world::sel::USER_DATA } else { world::sel::KERNEL_DATA };
    let frame = [world::USER_CODE, selector, flag::ALWAYS, world::USER_STACK, stack.into()];
    for (at, word) in (STACK..).step_by(8).zip(frame) {
        ram.write_u64(at, word);
    }
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!((cpu.regs.rip, u16::from(cpu.level())), (world::USER_CODE, level));
    (cpu, ram)
}

#[test]
fn compatibility_mode_is_interrupted_through_64_bit_gates_and_iretq_goes_back() {
    // SDM volume 3, 6.14.
    const IRETQ: [u8; 2] = [0x48, 0xcf];
    for level in [0, 3] {
        // inc eax; ud2; inc eax
        let (mut cpu, mut ram) = compatibility(&[0x40, 0x0f, 0x0b, 0x40], &IRETQ, level);
        cpu.regs.set(Reg::Rax, 0xffff_ffff_ffff_ffff);
        delivery::handled(&mut cpu, &mut ram, 6);
        assert_eq!((cpu.level(), cpu.regs.get(Reg::Rax)), (0, 0));
        let [rip, code, _, stack, _] = delivery::frame(&cpu, &ram);
        assert_eq!((rip, stack), (world::USER_CODE + 1, world::USER_STACK));
        assert_eq!(code, u64::from(world::sel::COMPATIBILITY | level));
        let top = cpu.regs.get(Reg::Rsp);
        ram.write_u64(top, rip + 2);
        ram.write(cpu.regs.rip, &IRETQ);
        cpu.forget_code(ultravisor_abi::Gpa(cpu.regs.rip), 2);
        assert_eq!(cpu.run(&mut ram, 2), Exit::Budget);
        assert_eq!((cpu.regs.rip, u16::from(cpu.level())), (world::USER_CODE + 4, level));
        assert_eq!(cpu.regs.get(Reg::Rax), 1);
    }
}

#[test]
fn sysret_leads_to_32_bit_code_whose_syscall_is_undefined() {
    // SDM volume 2, SYSRET and SYSCALL.
    let (mut cpu, mut ram) = delivery::guest(&[0x0f, 0x07]);
    ram.write(world::USER_CODE, &[0x40, 0x0f, 0x05]);
    cpu.regs.efer |= 1;
    cpu.regs.msrs.star = 0x13 << 48;
    cpu.regs.set(Reg::Rcx, world::USER_CODE | 0xdead << 32);
    cpu.regs.set(Reg::R11, flag::ALWAYS | flag::CF);
    assert_eq!(cpu.run(&mut ram, 2), Exit::Budget);
    assert_eq!((cpu.regs.rip, cpu.level()), (world::USER_CODE + 1, 3));
    let code = cpu.regs.segment(Seg::Cs);
    assert_eq!((code.selector, code.attributes), (0x13, Attributes::code_32(3)));
    assert_eq!(cpu.regs.selector(Seg::Ss), 0x1b);
    delivery::handled(&mut cpu, &mut ram, 6);
}

#[test]
fn a_gate_of_long_mode_does_not_lead_to_32_bit_code() {
    // SDM volume 3, 6.14.1.
    let (mut cpu, mut ram) = delivery::guest(&[0x0f, 0x0b]);
    delivery::set_gate(&mut ram, 6, 0x8e, world::sel::COMPATIBILITY, 0);
    delivery::handled(&mut cpu, &mut ram, 13);
    // It came up in a delivery: EXT.
    let told = u64::from(world::sel::COMPATIBILITY) | 1;
    assert_eq!(delivery::frame::<1>(&cpu, &ram), [told]);
}
