//! Exceptions and interrupts: gates, stacks, error codes, double and triple faults, what waits.

use crate::common::{CODE, DATA, PAGE, Ram, STACK, assemble};
use crate::world::*;
use iced_x86::code_asm::*;
use ultravisor_abi::Gpa;
use ultravisor_cpu::{Access, Cpu, Exit, Interrupt, LocalApic, Page, Reg, Seg, flag};

/// Where the interrupt descriptor table is; 256 gates.
const IDT: u64 = DATA + 0x4_0000;
/// Handlers: each vector's is a HLT of its own.
const HANDLERS: u64 = CODE + 0x4_0000;
/// A stack of the interrupt stack table.
const IST: u64 = DATA + 0x5_0000;

const INTERRUPT: u64 = 0x8e;
const TRAP: u64 = 0x8f;
const USER_INTERRUPT: u64 = 0xee;

pub fn handler(vector: u8) -> u64 {
    HANDLERS + 4 * u64::from(vector)
}

pub fn set_gate(ram: &mut Ram, vector: u8, kind: u64, selector: u16, stack: u64) {
    let halves = gate(kind, selector, handler(vector), stack);
    for (at, half) in (IDT + 16 * u64::from(vector)..).step_by(8).zip(halves) {
        ram.write_u64(at, half);
    }
}

/// Gives the guest a table of handlers, by `lidt`, and leaves it where it was.
fn with_handlers((mut cpu, mut ram): (Cpu, Ram)) -> (Cpu, Ram) {
    for vector in 0..=255 {
        set_gate(&mut ram, vector, INTERRUPT, sel::KERNEL_CODE, 0);
        ram.write(handler(vector), &[0xf4]);
    }
    let start = (cpu.regs.clone(), cpu.level());
    ram.write(DATA + 0x800, &0xfff_u16.to_le_bytes());
    ram.write_u64(DATA + 0x802, IDT);
    ram.write(CODE + 0x800, &assemble(|a| a.lidt(xmmword_ptr(DATA + 0x800))));
    assert_eq!(start.1, 0, "lidt is ring 0's");
    cpu.regs.rip = CODE + 0x800;
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!(cpu.regs.idtr, (IDT, 0xfff));
    cpu.regs.rip = start.0.rip;
    (cpu, ram)
}

/// Ring 0 runs `code`, with handlers.
pub fn guest(code: &[u8]) -> (Cpu, Ram) {
    with_handlers(world(code))
}

/// Ring 3 runs `code`, with handlers.
pub fn user(code: &[u8]) -> (Cpu, Ram) {
    let (mut cpu, mut ram) = with_handlers(world(&[0x48, 0xcb]));
    ram.write(USER_CODE, code);
    let frame = [USER_CODE, sel::USER_CODE.into(), USER_STACK, sel::USER_DATA.into()];
    for (at, word) in (STACK..).step_by(8).zip(frame) {
        ram.write_u64(at, word);
    }
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!((cpu.regs.rip, cpu.level()), (USER_CODE, 3));
    (cpu, ram)
}

/// The words at the stack pointer.
pub fn frame<const N: usize>(cpu: &Cpu, ram: &Ram) -> [u64; N] {
    let top = cpu.regs.get(Reg::Rsp);
    core::array::from_fn(|word| ram.read_u64(top + 8 * word as u64))
}

/// Runs to a HLT, which must be that of `vector`'s handler.
pub fn handled(cpu: &mut Cpu, ram: &mut Ram, vector: u8) {
    assert_eq!(cpu.run(ram, 100), Exit::Halt);
    assert_eq!(cpu.regs.rip, handler(vector) + 1);
}

#[test]
fn a_fault_goes_to_its_handler_with_where_it_was_and_rf() {
    // SDM volume 3, 6.14.2 (frame, alignment), 17.3.1.1 (RF).
    let (mut cpu, mut ram) = guest(&[0x90, 0x0f, 0x0b]);
    cpu.regs.set(Reg::Rsp, STACK - 3);
    let (units, instructions) = (cpu.units(), cpu.instructions());
    handled(&mut cpu, &mut ram, 6);
    // NOP, the delivery, HLT.
    assert_eq!((cpu.units() - units, cpu.instructions() - instructions), (3, 2));
    let pushed = flag::ALWAYS | flag::RF;
    assert_eq!(frame(&cpu, &ram), [CODE + 1, 8, pushed, STACK - 3, 0x10]);
    assert_eq!(cpu.regs.get(Reg::Rsp), STACK - 16 - 40);
    assert_eq!(stack_and_code(&cpu), (0x10, sel::KERNEL_CODE));
}

#[test]
fn a_page_faults_handler_finds_the_error_code_and_cr2() {
    // SDM volume 3, 6.13 and 6.15 (#PF).
    let code = assemble(|a| a.mov(qword_ptr(rbx), rax));
    let (mut cpu, mut ram) = guest(&code);
    ram.map(DATA + PAGE, 0, 0);
    cpu.regs.set(Reg::Rbx, DATA + PAGE + 8);
    handled(&mut cpu, &mut ram, 14);
    assert_eq!(cpu.regs.cr2, DATA + PAGE + 8);
    assert_eq!(frame::<2>(&cpu, &ram), [2, CODE]);
}

#[test]
fn interrupt_gates_clear_if_and_trap_gates_do_not() {
    // SDM volume 3, 6.12.1.3.
    for (kind, left) in [(INTERRUPT, 0), (TRAP, flag::IF)] {
        let (mut cpu, mut ram) = guest(&[0xcd, 0x20]);
        set_gate(&mut ram, 0x20, kind, sel::KERNEL_CODE, 0);
        cpu.set_rflags(flag::IF | flag::NT | flag::DF);
        handled(&mut cpu, &mut ram, 0x20);
        assert_eq!(cpu.rflags(), flag::ALWAYS | flag::DF | left);
        let pushed = flag::ALWAYS | flag::IF | flag::NT | flag::DF;
        // INT is done: it is behind it that the handler comes back to, and without RF.
        assert_eq!(frame::<3>(&cpu, &ram), [CODE + 2, 8, pushed]);
    }
}

#[test]
fn from_ring_three_the_stack_is_ring_zeros_and_iretq_goes_back() {
    // SDM volume 3, 6.14.4; volume 2, IRET.
    let (mut cpu, mut ram) = user(&[0xcd, 0x80, 0x90, 0xf4]);
    set_gate(&mut ram, 0x80, USER_INTERRUPT, sel::KERNEL_CODE, 0);
    ram.write(handler(0x80), &[0x48, 0xcf]);
    cpu.set_rflags(flag::IF | flag::CF);
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!((cpu.regs.rip, cpu.level()), (handler(0x80), 0));
    assert_eq!((stack_and_code(&cpu), cpu.regs.get(Reg::Rsp)), ((0, 8), RSP0 - 40));
    let flags = flag::ALWAYS | flag::IF | flag::CF;
    let from = [sel::USER_CODE.into(), flags, USER_STACK, sel::USER_DATA.into()];
    assert_eq!(frame::<5>(&cpu, &ram)[1..], from);
    assert_eq!(cpu.run(&mut ram, 2), Exit::Budget);
    assert_eq!((cpu.regs.rip, cpu.level(), cpu.rflags()), (USER_CODE + 3, 3, flags));
    assert_eq!(stack_and_code(&cpu), (sel::USER_DATA, sel::USER_CODE));
    assert_eq!(cpu.regs.get(Reg::Rsp), USER_STACK);
    // HLT is not ring 3's.
    handled(&mut cpu, &mut ram, 13);
    assert_eq!(frame::<2>(&cpu, &ram), [0, USER_CODE + 3]);
}

#[test]
fn a_null_selector_keeps_its_level_until_a_return_to_ring_three() {
    // SDM volume 2, MOV and IRET: as processors do it, where a program can see in this way that
    // it was interrupted. mov ds, eax; int 0x80.
    let (mut cpu, mut ram) = user(&[0x8e, 0xd8, 0xcd, 0x80]);
    set_gate(&mut ram, 0x80, USER_INTERRUPT, sel::KERNEL_CODE, 0);
    ram.write(handler(0x80), &[0x48, 0xcf]);
    cpu.regs.set(Reg::Rax, 3);
    for selector in [3, 3, 0] {
        assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
        assert_eq!(cpu.regs.selector(Seg::Ds), selector);
    }
    assert_eq!(cpu.level(), 3);
}

#[test]
fn ring_three_asks_for_its_own_gates_only() {
    // SDM volume 3, 6.12.1.1: DPL counts for INT n and INT3, not for hardware and INT1.
    for (code, vector, back) in [(&[0xcd, 0x21][..], 0x21, 2), (&[0xcc], 3, 1)] {
        let (mut cpu, mut ram) = user(code);
        handled(&mut cpu, &mut ram, 13);
        // The software asked for it, so EXT is clear.
        assert_eq!(frame::<2>(&cpu, &ram), [u64::from(vector) << 3 | 2, USER_CODE]);
        let (mut cpu, mut ram) = user(code);
        set_gate(&mut ram, vector, USER_INTERRUPT, sel::KERNEL_CODE, 0);
        handled(&mut cpu, &mut ram, vector);
        assert_eq!(frame::<1>(&cpu, &ram), [USER_CODE + back]);
    }
    let (mut cpu, mut ram) = user(&[0xf1]);
    handled(&mut cpu, &mut ram, 1);
    assert_eq!(frame::<1>(&cpu, &ram), [USER_CODE + 1]);
}

#[test]
fn the_interrupt_stack_table_gives_a_stack_whatever_the_level() {
    // SDM volume 3, 6.14.5.
    for number in [1, 7] {
        for ring in [0, 3] {
            let ud2 = [0x0f, 0x0b];
            let (mut cpu, mut ram) = if ring == 0 { guest(&ud2) } else { user(&ud2) };
            set_gate(&mut ram, 6, INTERRUPT, sel::KERNEL_CODE, number);
            ram.write_u64(TSS + 0x24 + 8 * (number - 1), IST + 8);
            handled(&mut cpu, &mut ram, 6);
            assert_eq!(cpu.regs.get(Reg::Rsp), IST - 40);
            let stack = if ring == 0 { 0x10 } else { 0 };
            assert_eq!(cpu.regs.selector(Seg::Ss), stack);
        }
    }
}

#[test]
fn what_is_wrong_with_a_gate_is_told_with_its_vector() {
    // SDM volume 3, 6.13 and 6.15 (#GP, #NP); EXT, as a fault is no software interrupt.
    const UD: u64 = 6 << 3 | 2 | 1;
    let cases = [
        (0x85, sel::KERNEL_CODE, 13, UD),
        (0x8c, sel::KERNEL_CODE, 13, UD),
        (0x9e, sel::KERNEL_CODE, 13, UD),
        (0x0e, sel::KERNEL_CODE, 11, UD),
        (INTERRUPT, 0, 13, 1),
        (INTERRUPT, sel::KERNEL_DATA, 13, sel::KERNEL_DATA as u64 | 1),
        (INTERRUPT, sel::USER_CODE, 13, sel::USER_CODE as u64 & !3 | 1),
        (INTERRUPT, sel::COMPATIBILITY, 13, sel::COMPATIBILITY as u64 | 1),
        (INTERRUPT, sel::ABSENT_CODE, 11, sel::ABSENT_CODE as u64 | 1),
        (INTERRUPT, sel::LIMIT + 1, 13, (sel::LIMIT as u64 + 1) | 1),
    ];
    for (kind, selector, vector, error) in cases {
        let (mut cpu, mut ram) = guest(&[0x0f, 0x0b]);
        set_gate(&mut ram, 6, kind, selector, 0);
        handled(&mut cpu, &mut ram, vector);
        assert_eq!(frame::<2>(&cpu, &ram), [error, CODE], "{kind:#x} {selector:#x}");
    }
    let (mut cpu, mut ram) = guest(&[0xcd, 0xff]);
    cpu.regs.idtr.1 = 0xffe;
    handled(&mut cpu, &mut ram, 13);
    assert_eq!(frame::<2>(&cpu, &ram), [0xff << 3 | 2, CODE]);
}

#[test]
fn without_a_stack_in_the_task_segment_it_is_an_invalid_tss() {
    // SDM volume 3, 6.15 (#TS): here #UD's, and #TS's own has a stack of the other table.
    let (mut cpu, mut ram) = user(&[0x0f, 0x0b]);
    set_gate(&mut ram, 6, INTERRUPT, sel::KERNEL_CODE, 2);
    cpu.regs.tr.limit = 0x2c + 6;
    handled(&mut cpu, &mut ram, 10);
    assert_eq!(frame::<2>(&cpu, &ram), [u64::from(sel::TSS) | 1, USER_CODE]);
}

#[test]
fn two_contributory_faults_are_a_double_fault() {
    // SDM volume 3, 6.15, "Interrupt 8"; #DF's error code is 0.
    let (mut cpu, mut ram) = guest(&assemble(|a| a.mov(rax, qword_ptr(rbx))));
    cpu.regs.set(Reg::Rbx, 1 << 63);
    set_gate(&mut ram, 13, 0, 0, 0);
    handled(&mut cpu, &mut ram, 8);
    assert_eq!(frame::<2>(&cpu, &ram), [0, CODE]);
}

#[test]
fn a_stack_that_is_not_mapped_is_a_double_fault_and_with_that_too_the_end() {
    // SDM volume 3, 6.15 (#DF): two page faults; then a triple fault.
    for stack in [0, 1] {
        let (mut cpu, mut ram) = guest(&assemble(|a| a.push(rax)));
        ram.map(DATA, 0, 0);
        cpu.regs.set(Reg::Rsp, DATA + 0x100);
        set_gate(&mut ram, 8, INTERRUPT, sel::KERNEL_CODE, stack);
        ram.write_u64(TSS + 0x24, IST);
        if stack == 1 {
            handled(&mut cpu, &mut ram, 8);
            assert_eq!(frame::<2>(&cpu, &ram), [0, CODE]);
        } else {
            let address = Some(DATA + 0xf8);
            let told = Exit::Shutdown { vector: 14, error: Some(2), address };
            assert_eq!(cpu.run(&mut ram, 100), told);
            assert_eq!((cpu.regs.rip, cpu.regs.get(Reg::Rsp)), (CODE, DATA + 0x100));
        }
    }
}

#[test]
fn a_page_fault_while_a_contributory_one_is_delivered_is_a_page_fault() {
    // SDM volume 3, 6.15, "Interrupt 8".
    let (mut cpu, mut ram) = guest(&assemble(|a| a.mov(rax, qword_ptr(rbx))));
    cpu.regs.set(Reg::Rbx, 1 << 63);
    // A table whose gate for #GP is the last of a page that is not mapped.
    let copy = ram.read(IDT, 0x1000).to_vec();
    ram.write(DATA + 0x6_0000 - 14 * 16, &copy);
    cpu.regs.idtr.0 = DATA + 0x6_0000 - 14 * 16;
    ram.map(DATA + 0x5_f000, 0, 0);
    handled(&mut cpu, &mut ram, 14);
    assert_eq!(frame::<2>(&cpu, &ram), [0, CODE]);
    assert_eq!(cpu.regs.cr2, DATA + 0x6_0000 - 16);
}

/// SDM volume 3, 6.15, "Interrupt 8": a fault in calling the double fault's handler is a shutdown.
#[test]
fn a_table_taken_away_again_is_the_way_to_reset() {
    // A guest that loads a limit of 0 and faults means the triple fault.
    let (mut cpu, mut ram) = guest(&assemble(|a| {
        a.lidt(xmmword_ptr(DATA))?;
        a.int3()
    }));
    let told = Exit::Shutdown { vector: 13, error: Some(0x1a), address: None };
    assert_eq!(cpu.run(&mut ram, 100), told);
}

/// SDM volume 3, 6.14.2 (the frame); that a page of it may be away is the bus's.
#[test]
fn a_frame_is_stored_whole_or_not_at_all_and_tried_again() {
    let (mut cpu, mut ram) = guest(&[0x0f, 0x0b]);
    ram.special.insert(STACK - PAGE, Page::Away);
    cpu.regs.set(Reg::Rsp, STACK + 16);
    // 40 bytes below it: the lower 24 are in the page that is away.
    let told = Exit::Memory { gpa: Gpa(STACK - 24), access: Access::Write };
    for _ in 0..2 {
        assert_eq!(cpu.run(&mut ram, 100), told);
        assert_eq!((cpu.regs.rip, cpu.regs.get(Reg::Rsp)), (CODE, STACK + 16));
        assert_eq!(ram.read_u64(STACK + 8), 0);
    }
    ram.special.clear();
    handled(&mut cpu, &mut ram, 6);
    assert_eq!(frame::<1>(&cpu, &ram), [CODE]);
}

/// SDM volume 3, 6.15: faults of a handler's own first instruction are delivered as any.
#[test]
fn a_handler_that_faults_again_and_again_ends_by_the_budget() {
    let (mut cpu, mut ram) = guest(&[0x0f, 0x0b]);
    set_gate(&mut ram, 6, INTERRUPT, sel::KERNEL_CODE, 1);
    ram.write_u64(TSS + 0x24, IST);
    ram.write(handler(6), &[0x0f, 0x0b]);
    let (units, instructions) = (cpu.units(), cpu.instructions());
    assert_eq!(cpu.run(&mut ram, 1000), Exit::Budget);
    assert_eq!((cpu.units() - units, cpu.instructions()), (1000, instructions));
}

#[test]
fn an_interrupt_waits_for_if_and_for_its_priority() {
    // SDM volume 3, 6.8.1 (IF), 11.8.3 (priority by CR8).
    let code = assemble(|a| {
        a.nop()?;
        a.sti()?;
        a.nop()?;
        a.mov(cr8, rcx)?;
        a.hlt()
    });
    let (mut cpu, mut ram) = guest(&code);
    cpu.regs.task_priority = 0x3f;
    cpu.regs.set(Reg::Rcx, 2);
    cpu.present_interrupt(Some(Interrupt::Local(0x35)));
    assert!(!cpu.wakes());
    assert_eq!(cpu.run(&mut ram, 100), Exit::Interrupt { vector: 0x35 });
    assert_eq!(cpu.regs.rip, handler(0x35));
    assert_eq!(frame::<1>(&cpu, &ram), [CODE + code.len() as u64 - 1]);
    // It is presented no more.
    handled(&mut cpu, &mut ram, 0x35);
    assert!(!cpu.wakes());
}

#[test]
fn an_8259as_interrupt_passes_the_task_priority_by_whatever_its_vector() {
    // SDM volume 3, 11.1: ExtINT has no priority. Vector 2 is a handler's number like another.
    for vector in [0x02, 0x08, 0x35, 0xff] {
        let (mut cpu, mut ram) = guest(&[0x90, 0x90, 0xf4]);
        cpu.set_rflags(flag::IF);
        cpu.regs.task_priority = 0xff;
        cpu.present_interrupt(Some(Interrupt::Local(vector)));
        assert!(!cpu.wakes(), "{vector:#x}");
        cpu.present_interrupt(Some(Interrupt::External(vector)));
        assert_eq!(cpu.run(&mut ram, 9), Exit::Interrupt { vector });
        cpu.raise_nmi();
        assert!(cpu.wakes(), "an NMI is not held off by one");
    }
}

#[test]
fn cr8_is_the_upper_half_of_the_task_priority_and_clears_the_lower() {
    // SDM volume 3, 11.8.6.
    let (mut cpu, mut ram) = guest(&assemble(|a| {
        a.mov(rax, cr8)?;
        a.mov(cr8, rcx)?;
        a.hlt()
    }));
    cpu.regs.task_priority = 0x57;
    cpu.regs.set(Reg::Rcx, 5);
    assert_eq!(cpu.run(&mut ram, 9), Exit::Halt);
    assert_eq!((cpu.regs.get(Reg::Rax), cpu.regs.task_priority), (5, 0x50));
}

#[test]
fn cpuid_tells_of_a_local_apic_if_there_is_one_and_of_its_switch() {
    // SDM volume 2, CPUID: leaves 1, 6, 0xb and 0x15.
    let says = |apic, leaf: u64, part: u64| {
        let (mut cpu, mut ram) = guest(&[0x0f, 0xa2, 0xf4]);
        cpu.offer_apic(apic);
        set(&mut cpu, [(Reg::Rax, leaf), (Reg::Rcx, part)]);
        assert_eq!(cpu.run(&mut ram, 9), Exit::Halt);
        [Reg::Rax, Reg::Rbx, Reg::Rcx, Reg::Rdx].map(|reg| cpu.regs.get(reg))
    };
    let with = |enabled| Some(LocalApic { enabled, clock_hz: 25_000_000 });
    let of_leaf_1 = |apic| says(apic, 1, 0);
    let [_, _, x2apic_and_deadline, on] = of_leaf_1(None);
    assert_eq!((x2apic_and_deadline >> 21 & 9, on >> 9 & 1), (0, 0));
    let [_, _, x2apic_and_deadline, on] = of_leaf_1(with(false));
    assert_eq!((x2apic_and_deadline >> 21 & 9, on >> 9 & 1), (9, 0));
    let [_, _, x2apic_and_deadline, on] = of_leaf_1(with(true));
    assert_eq!((x2apic_and_deadline >> 21 & 9, on >> 9 & 1), (9, 1));
    assert_eq!((says(None, 0, 0)[0], says(with(true), 0, 0)[0]), (0xd, 0x15));
    for leaf in [6, 0xb, 0x15] {
        assert_eq!(says(None, leaf, 0), [0; 4]);
    }
    assert_eq!(says(with(true), 6, 0), [4, 0, 0, 0]);
    assert_eq!(says(with(true), 0x15, 0), [1, 1, 25_000_000, 0]);
    // One thread, one core, and then no level.
    let levels = [0, 1, 2].map(|part| says(with(true), 0xb, part));
    assert_eq!(levels, [[0, 1, 0x100, 0], [0, 1, 0x201, 0], [0, 0, 2, 0]]);
}

#[test]
fn sti_and_a_load_of_ss_hold_interrupts_off_for_one_instruction() {
    // SDM volume 2, STI; volume 3, 6.8.3.
    let sti = assemble(|a| {
        a.sti()?;
        a.nop()?;
        a.nop()?;
        a.hlt()
    });
    let (mut cpu, mut ram) = guest(&sti);
    cpu.present_interrupt(Some(Interrupt::Local(0x40)));
    assert_eq!(cpu.run(&mut ram, 100), Exit::Interrupt { vector: 0x40 });
    assert_eq!(frame::<1>(&cpu, &ram), [CODE + 2]);
    // An STI that changes nothing holds nothing off.
    let (mut cpu, mut ram) = guest(&sti);
    cpu.set_rflags(flag::IF);
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    cpu.present_interrupt(Some(Interrupt::Local(0x40)));
    assert_eq!(cpu.run(&mut ram, 100), Exit::Interrupt { vector: 0x40 });
    assert_eq!(frame::<1>(&cpu, &ram), [CODE + 1]);
    let switch = assemble(|a| {
        a.mov(ss, eax)?;
        a.mov(rsp, rcx)?;
        a.nop()?;
        a.hlt()
    });
    for nmi in [false, true] {
        let (mut cpu, mut ram) = guest(&switch);
        set(&mut cpu, [(Reg::Rax, 0x10), (Reg::Rcx, IST)]);
        cpu.set_rflags(flag::IF);
        assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
        if nmi {
            cpu.raise_nmi()
        } else {
            cpu.present_interrupt(Some(Interrupt::Local(0x40)))
        }
        cpu.run(&mut ram, 3);
        assert_eq!(ram.read_u64(IST - 16), IST, "on the new stack");
    }
}

#[test]
fn nmis_wait_for_the_end_of_the_handler_and_need_no_if() {
    // SDM volume 3, 6.7.1.
    let (mut cpu, mut ram) = guest(&[0x90, 0x90, 0xf4]);
    ram.write(handler(2), &[0x90, 0x48, 0xcf]);
    cpu.raise_nmi();
    assert!(cpu.wakes());
    assert_eq!(cpu.run(&mut ram, 2), Exit::Budget);
    assert_eq!(cpu.regs.rip, handler(2) + 1);
    cpu.raise_nmi();
    assert!(!cpu.wakes());
    // IRETQ, and the next one.
    assert_eq!(cpu.run(&mut ram, 2), Exit::Budget);
    assert_eq!((cpu.regs.rip, frame::<1>(&cpu, &ram)[0]), (handler(2), CODE));
    assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
    assert_eq!(cpu.regs.rip, CODE + 3);
}

#[test]
fn an_iretq_that_faults_lets_nmis_in_too() {
    // SDM volume 3, 6.7.1.
    let (mut cpu, mut ram) = guest(&[0x90]);
    ram.write(handler(2), &[0x48, 0xcf]);
    cpu.raise_nmi();
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    let top = cpu.regs.get(Reg::Rsp);
    ram.write_u64(top + 8, sel::KERNEL_DATA.into());
    cpu.raise_nmi();
    assert_eq!(cpu.run(&mut ram, 2), Exit::Budget);
    assert_eq!((cpu.regs.rip, frame::<1>(&cpu, &ram)[0]), (handler(2), handler(13)));
}

#[test]
fn a_halted_guest_is_woken_by_what_may_come_in() {
    // SDM volume 2, HLT.
    let code = assemble(|a| {
        a.sti()?;
        a.hlt()?;
        a.hlt()
    });
    let (mut cpu, mut ram) = guest(&code);
    ram.write(handler(0x50), &[0x48, 0xcf]);
    assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
    assert!(!cpu.wakes());
    cpu.present_interrupt(Some(Interrupt::Local(0x50)));
    assert!(cpu.wakes());
    assert_eq!(cpu.run(&mut ram, 100), Exit::Interrupt { vector: 0x50 });
    assert_eq!(frame::<1>(&cpu, &ram), [CODE + 2]);
    assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
    assert_eq!(cpu.regs.rip, CODE + 3);
}

#[test]
fn iret_refuses_what_it_may_not_return_to() {
    // SDM volume 2, IRET, 64-bit mode exceptions.
    let good = [CODE + 0x10, 8, flag::ALWAYS, IST, 0x10];
    let cases: [(usize, u64, u8, u64); 8] = [
        (1, 0, 13, 0),
        (1, sel::KERNEL_DATA.into(), 13, sel::KERNEL_DATA.into()),
        (1, sel::ABSENT_CODE.into(), 11, sel::ABSENT_CODE.into()),
        (1, sel::KERNEL_CODE as u64 | 3, 13, sel::KERNEL_CODE.into()),
        (0, 1 << 63, 13, 0),
        (4, sel::READ_ONLY.into(), 13, sel::READ_ONLY.into()),
        (4, sel::ABSENT_DATA.into(), 12, sel::ABSENT_DATA.into()),
        (4, sel::USER_DATA.into(), 13, sel::USER_DATA as u64 & !3),
    ];
    for (word, value, vector, error) in cases {
        let (mut cpu, mut ram) = guest(&[0x48, 0xcf]);
        for (at, good) in (STACK..).step_by(8).zip(good) {
            ram.write_u64(at, good);
        }
        ram.write_u64(STACK + 8 * word as u64, value);
        handled(&mut cpu, &mut ram, vector);
        assert_eq!(frame::<2>(&cpu, &ram), [error, CODE], "word {word} {value:#x}");
        assert_eq!(frame::<5>(&cpu, &ram)[4], STACK);
    }
    let (mut cpu, mut ram) = guest(&[0x48, 0xcf]);
    cpu.set_rflags(flag::NT);
    handled(&mut cpu, &mut ram, 13);
    assert_eq!(frame::<2>(&cpu, &ram), [0, CODE]);
}

#[test]
fn iret_and_popf_give_ring_three_no_privileges() {
    // SDM volume 2, IRET and POPF: IOPL and IF.
    let popf = assemble(|a| {
        a.popfq()?;
        a.pushfq()?;
        a.pop(rax)?;
        a.hlt()
    });
    for (iopl, sets_if) in [(0, false), (3 << 12, true)] {
        let (mut cpu, mut ram) = user(&popf);
        cpu.set_rflags(iopl);
        let asked = flag::IOPL | flag::IF | flag::AC | flag::CF;
        ram.write_u64(USER_STACK - 8, asked);
        cpu.regs.set(Reg::Rsp, USER_STACK - 8);
        handled(&mut cpu, &mut ram, 13);
        let got = flag::ALWAYS | flag::AC | flag::CF | iopl;
        assert_eq!(cpu.regs.get(Reg::Rax), got | if sets_if { flag::IF } else { 0 });
    }
}

#[test]
fn single_step_traps_behind_each_instruction_but_that_which_loads_ss() {
    // SDM volume 3, 17.3.1.4 and 6.8.3; DR6.BS.
    let code = assemble(|a| {
        a.popfq()?;
        a.nop()?;
        a.mov(ss, eax)?;
        a.nop()?;
        a.nop()
    });
    let (mut cpu, mut ram) = guest(&code);
    ram.write(handler(1), &[0x48, 0xcf]);
    ram.write_u64(STACK, flag::TF);
    cpu.regs.set(Reg::Rax, 0x10);
    let mut behind = Vec::new();
    for _ in 0..20 {
        assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
        if cpu.regs.rip == handler(1) {
            assert_eq!(cpu.rflags() & flag::TF, 0);
            assert_eq!(cpu.regs.dr6, 0xffff_4ff0);
            behind.push(frame::<1>(&cpu, &ram)[0] - CODE);
            cpu.regs.dr6 = 0xffff_0ff0;
        }
    }
    assert_eq!(behind[..3], [2, 5, 6]);
}

#[test]
fn single_step_traps_in_each_round_of_a_repeated_instruction() {
    // SDM volume 3, 17.3.1.4 and RF of 17.3.1.1.
    let (mut cpu, mut ram) = guest(&[0xf3, 0xaa, 0x90]);
    ram.write(handler(1), &[0x48, 0xcf]);
    set(&mut cpu, [(Reg::Rcx, 2), (Reg::Rdi, DATA)]);
    cpu.set_rflags(flag::TF);
    let mut seen = Vec::new();
    for _ in 0..6 {
        assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
        if cpu.regs.rip == handler(1) {
            let [back, _, flags] = frame(&cpu, &ram);
            seen.push((back - CODE, flags & flag::RF != 0));
        }
    }
    assert_eq!(seen, [(0, true), (2, false)]);
}

#[test]
fn int_in_single_step_goes_to_the_handler_without_a_trap() {
    // SDM volume 3, 17.3.1.4: the delivery clears TF.
    let (mut cpu, mut ram) = guest(&[0xcd, 0x30]);
    cpu.set_rflags(flag::TF);
    handled(&mut cpu, &mut ram, 0x30);
    assert_eq!(cpu.regs.dr6, 0xffff_0ff0);
}

/// SDM volume 3, 6.6: an interrupt comes between instructions, and one that waits for its answer
/// has begun.
#[test]
fn an_answer_that_was_asked_for_is_not_lost_to_an_interrupt_but_to_a_fault() {
    let told = Exit::MmioRead { gpa: Gpa(DATA), bytes: 8 };
    let code = assemble(|a| {
        a.mov(rax, qword_ptr(rbx))?;
        a.hlt()
    });
    let (mut cpu, mut ram) = guest(&code);
    ram.special.insert(DATA, Page::Mmio);
    cpu.forget(Gpa(DATA), PAGE);
    cpu.regs.set(Reg::Rbx, DATA);
    cpu.set_rflags(flag::IF);
    assert_eq!(cpu.run(&mut ram, 100), told);
    cpu.supply(7);
    cpu.present_interrupt(Some(Interrupt::Local(0x60)));
    assert_eq!(cpu.run(&mut ram, 100), Exit::Interrupt { vector: 0x60 });
    assert_eq!((cpu.regs.get(Reg::Rax), frame::<1>(&cpu, &ram)[0]), (7, CODE + 3));
    // A push of a device's word onto a stack that is not there: the handler's own load asks anew.
    let code = assemble(|a| a.push(qword_ptr(rbx)));
    let (mut cpu, mut ram) = guest(&code);
    ram.special.insert(DATA, Page::Mmio);
    cpu.forget(Gpa(DATA), PAGE);
    ram.map(DATA + PAGE, 0, 0);
    set(&mut cpu, [(Reg::Rbx, DATA), (Reg::Rsp, DATA + PAGE + 8)]);
    set_gate(&mut ram, 14, INTERRUPT, sel::KERNEL_CODE, 1);
    ram.write_u64(TSS + 0x24, IST);
    ram.write(handler(14), &assemble(|a| a.mov(rcx, qword_ptr(rbx))));
    assert_eq!(cpu.run(&mut ram, 100), told);
    cpu.supply(7);
    assert_eq!(cpu.run(&mut ram, 100), told);
    assert_eq!(cpu.regs.rip, handler(14));
}

/// SDM volume 3, table 6-2 (priorities); the breakpoint is the machine's own.
#[test]
fn a_told_breakpoint_is_passed_before_an_interrupt_comes_in() {
    let (mut cpu, mut ram) = guest(&[0x90, 0x90, 0xf4]);
    ram.write(handler(0x70), &[0x48, 0xcf]);
    cpu.set_rflags(flag::IF);
    cpu.break_at(CODE + 1);
    assert_eq!(cpu.run(&mut ram, 100), Exit::Breakpoint);
    cpu.present_interrupt(Some(Interrupt::Local(0x70)));
    assert_eq!(cpu.run(&mut ram, 100), Exit::Interrupt { vector: 0x70 });
    assert_eq!(frame::<1>(&cpu, &ram), [CODE + 2]);
    assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
}

/// SDM volume 3, 6.12; a guest without a table of handlers is told of, not shut down.
#[test]
fn without_a_table_an_int_is_told_as_what_it_is() {
    let (mut cpu, mut ram) = world(&[0xcd, 0x80]);
    assert_eq!(cpu.run(&mut ram, 100), exception(0x80, None));
    assert_eq!((cpu.regs.rip, cpu.units()), (CODE, 0));
}
