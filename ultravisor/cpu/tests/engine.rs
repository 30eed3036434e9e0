//! What the machine relies on: budgets, exits, answers, breakpoints, precise faults.

mod common;

use common::{CODE, DATA, PAGE, STACK, assemble, machine};
use iced_x86::code_asm::*;
use ultravisor_abi::Gpa;
use ultravisor_cpu::{Access, Cpu, Exit, Page, Reg, flag};

#[test]
fn a_call_with_arguments_comes_out_and_goes_on_behind() {
    let code = assemble(|a| {
        a.mov(rax, 0xff04_u64)?;
        a.mov(edi, 7)?;
        a.vmcall()?;
        a.add(rdi, rax)?;
        a.hlt()
    });
    let (mut cpu, mut ram) = machine(&code);
    assert_eq!(cpu.run(&mut ram, 100), Exit::Call);
    assert_eq!((cpu.regs.get(Reg::Rax), cpu.regs.get(Reg::Rdi)), (0xff04, 7));
    assert_eq!((cpu.units(), cpu.instructions()), (3, 3));
    cpu.regs.set(Reg::Rax, 1);
    assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
    assert_eq!(cpu.regs.get(Reg::Rdi), 8);
    assert_eq!(cpu.regs.rip, CODE + code.len() as u64);
    assert_eq!(cpu.units(), 5);
}

#[test]
fn a_loop_computes_and_its_budget_is_exact() {
    let code = assemble(|a| {
        let mut again = a.create_label();
        a.xor(eax, eax)?;
        a.mov(ecx, 1000)?;
        a.set_label(&mut again)?;
        a.add(rax, rcx)?;
        a.dec(rcx)?;
        a.jnz(again)?;
        a.hlt()
    });
    let (mut cpu, mut ram) = machine(&code);
    assert_eq!(cpu.run(&mut ram, 1501), Exit::Budget);
    assert_eq!(cpu.units(), 1501);
    assert_eq!(cpu.run(&mut ram, 10_000), Exit::Halt);
    assert_eq!(cpu.regs.get(Reg::Rax), 500_500);
    assert_eq!(cpu.units(), 2 + 3000 + 1);
    assert_eq!(cpu.instructions(), cpu.units());
}

/// Runs `code` to its end in slices of `units` and gives what the guest can see.
fn sliced(code: &[u8], units: u64) -> (Exit, Vec<u64>, u64, u64, u64) {
    let (mut cpu, mut ram) = machine(code);
    loop {
        let before = cpu.units();
        let exit = cpu.run(&mut ram, units);
        if exit == Exit::Budget {
            assert_eq!(cpu.units(), before + units);
        } else {
            let gpr = cpu.regs.gpr.values().to_vec();
            return (exit, gpr, cpu.rflags(), cpu.units(), ram.read_u64(DATA));
        }
    }
}

#[test]
fn how_a_run_is_sliced_does_not_show() {
    let code = assemble(|a| {
        let mut again = a.create_label();
        let mut function = a.create_label();
        a.mov(ebx, 50)?;
        a.mov(r12, DATA)?;
        a.set_label(&mut again)?;
        a.call(function)?;
        a.add(rax, rbx)?;
        a.sub(rdx, rax)?;
        a.xor(rdx, 0x55)?;
        a.adc(qword_ptr(r12), rdx)?;
        a.mov(ecx, ebx)?;
        a.lea(rdi, qword_ptr(r12 + 64))?;
        a.rep().stosb()?;
        a.sub(ebx, 1)?;
        a.cmp(ebx, 0)?;
        a.jne(again)?;
        a.hlt()?;
        a.set_label(&mut function)?;
        a.push(rbx)?;
        a.imul_3(rbx, rbx, 77)?;
        a.add(rax, rbx)?;
        a.pop(rbx)?;
        a.ret()
    });
    let whole = sliced(&code, 1_000_000);
    assert_eq!(whole.0, Exit::Halt);
    assert_ne!(whole.4, 0);
    for units in [1, 2, 3, 5, 7, 13, 64, 100] {
        assert_eq!(sliced(&code, units), whole, "in slices of {units}");
    }
}

#[test]
fn a_device_load_asks_and_takes_the_answer() {
    let code = assemble(|a| {
        a.mov(rbx, DATA)?;
        a.movzx(eax, word_ptr(rbx + 6))?;
        a.mov(dword_ptr(rbx + 8), eax)?;
        a.hlt()
    });
    let (mut cpu, mut ram) = machine(&code);
    ram.special.insert(DATA, Page::Mmio);
    let gpa = Gpa(DATA + 6);
    assert_eq!(cpu.run(&mut ram, 100), Exit::MmioRead { gpa, bytes: 2 });
    assert_eq!(cpu.units(), 1);
    cpu.supply(0xabcd_1234);
    let gpa = Gpa(DATA + 8);
    assert_eq!(cpu.run(&mut ram, 100), Exit::MmioWrite { gpa, bytes: 4, value: 0x1234 });
    assert_eq!(cpu.units(), 3);
    assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
}

#[test]
fn a_device_is_told_the_bytes_of_a_store_and_no_more() {
    let stores = [
        assemble(|a| a.mov(byte_ptr(rbx), al)),
        assemble(|a| a.mov(word_ptr(rbx), ax)),
        assemble(|a| a.mov(dword_ptr(rbx), eax)),
        assemble(|a| a.mov(qword_ptr(rbx), rax)),
    ];
    let values = [0x88, 0x8788, 0x8586_8788, 0x8182_8384_8586_8788];
    for (bytes, (store, value)) in [1, 2, 4, 8].into_iter().zip(stores.into_iter().zip(values)) {
        let (mut cpu, mut ram) = machine(&store);
        ram.special.insert(DATA, Page::Mmio);
        cpu.regs.set(Reg::Rax, values[3]);
        cpu.regs.set(Reg::Rbx, DATA);
        let told = Exit::MmioWrite { gpa: Gpa(DATA), bytes, value };
        assert_eq!(cpu.run(&mut ram, 1), told);
    }
}

#[test]
fn an_answer_serves_one_instruction_only() {
    let code = assemble(|a| {
        a.mov(rbx, DATA)?;
        a.mov(eax, dword_ptr(rbx))?;
        a.mov(ecx, dword_ptr(rbx))?;
        a.hlt()
    });
    let (mut cpu, mut ram) = machine(&code);
    ram.special.insert(DATA, Page::Mmio);
    let asks = Exit::MmioRead { gpa: Gpa(DATA), bytes: 4 };
    assert_eq!(cpu.run(&mut ram, 100), asks);
    cpu.supply(1);
    assert_eq!(cpu.run(&mut ram, 100), asks);
    assert_eq!(cpu.regs.get(Reg::Rax), 1);
    cpu.supply(2);
    assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
    assert_eq!(cpu.regs.get(Reg::Rcx), 2);
}

/// Runs `code` with a device at `DATA` that answers 1, 2, 3, ...: what it was asked and told.
fn with_a_device(code: &[u8], set: impl FnOnce(&mut Cpu)) -> (Cpu, common::Ram, Vec<Exit>) {
    let (mut cpu, mut ram) = machine(code);
    ram.special.insert(DATA, Page::Mmio);
    set(&mut cpu);
    let mut seen = Vec::new();
    let mut answer = 0;
    loop {
        let exit = cpu.run(&mut ram, 100);
        let is_load = matches!(exit, Exit::MmioRead { .. });
        let is_over = !is_load && !matches!(exit, Exit::MmioWrite { .. });
        seen.push(exit);
        if is_load {
            answer += 1;
            cpu.supply(answer);
        }
        if is_over {
            return (cpu, ram, seen);
        }
    }
}

fn reads(offset: u64, bytes: u8) -> Exit {
    Exit::MmioRead { gpa: Gpa(DATA + offset), bytes }
}

fn writes(offset: u64, bytes: u8, value: u64) -> Exit {
    Exit::MmioWrite { gpa: Gpa(DATA + offset), bytes, value }
}

#[test]
fn a_devices_register_is_read_changed_and_written() {
    let code = assemble(|a| {
        a.mov(rbx, DATA)?;
        a.or(dword_ptr(rbx + 4), 0x100)?;
        a.inc(qword_ptr(rbx + 8))?;
        a.mov(eax, 7)?;
        a.lock().xadd(dword_ptr(rbx), eax)?;
        a.mov(ecx, 5)?;
        a.xchg(word_ptr(rbx), cx)?;
        a.bts(dword_ptr(rbx), 4)?;
        a.setc(byte_ptr(rbx))?;
        a.hlt()
    });
    let (cpu, _, seen) = with_a_device(&code, |_| ());
    let expected = [
        [reads(4, 4), writes(4, 4, 0x101)],
        [reads(8, 8), writes(8, 8, 3)],
        [reads(0, 4), writes(0, 4, 10)],
        [reads(0, 2), writes(0, 2, 5)],
        [reads(0, 4), writes(0, 4, 0x15)],
        [writes(0, 1, 0), Exit::Halt],
    ];
    assert_eq!(seen, expected.concat());
    assert_eq!((cpu.regs.get(Reg::Rax), cpu.regs.get(Reg::Rcx)), (3, 4));
    assert_eq!((cpu.instructions(), cpu.units()), (10, 10));
}

#[test]
fn a_compare_and_exchange_writes_a_device_whether_it_is_equal_or_not() {
    let code = assemble(|a| {
        a.mov(eax, 1)?;
        a.mov(ecx, 9)?;
        a.lock().cmpxchg(dword_ptr(DATA), ecx)?;
        a.lock().cmpxchg(dword_ptr(DATA), ecx)?;
        a.hlt()
    });
    let (cpu, _, seen) = with_a_device(&code, |_| ());
    let expected = [reads(0, 4), writes(0, 4, 9), reads(0, 4), writes(0, 4, 2), Exit::Halt];
    assert_eq!((seen, cpu.regs.get(Reg::Rax)), (expected.to_vec(), 2));
}

#[test]
fn strings_reach_a_device_an_element_at_a_time() {
    let from = assemble(|a| {
        a.rep().movsd()?;
        a.hlt()
    });
    let set = |cpu: &mut Cpu, source, target| {
        cpu.regs.set(Reg::Rsi, source);
        cpu.regs.set(Reg::Rdi, target);
        cpu.regs.set(Reg::Rcx, 3);
        cpu.regs.set(Reg::Rax, 0xabcd);
    };
    let (cpu, ram, seen) = with_a_device(&from, |cpu| set(cpu, DATA, DATA + 0x2000));
    assert_eq!(seen, [reads(0, 4), reads(4, 4), reads(8, 4), Exit::Halt]);
    assert_eq!(ram.read(DATA + 0x2000, 12), [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
    assert_eq!((cpu.instructions(), cpu.units(), cpu.regs.get(Reg::Rcx)), (2, 4, 0));

    let to = assemble(|a| {
        a.rep().movsb()?;
        a.hlt()
    });
    let (cpu, _, seen) = with_a_device(&to, |cpu| set(cpu, CODE, DATA + 8));
    let told =
        [0, 1, 2].map(|at| writes(8 + at, 1, u64::from([&to[..], &[0; 3]].concat()[at as usize])));
    assert_eq!(seen, [&told[..], &[Exit::Halt]].concat());
    assert_eq!((cpu.instructions(), cpu.units()), (2, 4));

    let fills = assemble(|a| {
        a.rep().stosw()?;
        a.hlt()
    });
    let (_, _, seen) = with_a_device(&fills, |cpu| set(cpu, 0, DATA));
    let told = [0, 2, 4].map(|at| writes(at, 2, 0xabcd));
    assert_eq!(seen, [&told[..], &[Exit::Halt]].concat());

    let looks = assemble(|a| {
        a.lodsq()?;
        a.mov(eax, 3)?;
        a.repne().scasb()?;
        a.hlt()
    });
    let (cpu, _, seen) = with_a_device(&looks, |cpu| set(cpu, DATA + 0x10, DATA));
    assert_eq!(seen, [reads(0x10, 8), reads(0, 1), reads(1, 1), Exit::Halt]);
    assert_eq!((cpu.regs.get(Reg::Rcx), cpu.regs.get(Reg::Rdi)), (1, DATA + 2));
}

#[test]
fn what_cannot_be_stored_is_not_asked_of_a_device() {
    let code = assemble(|a| a.movsd());
    let (cpu, _, seen) = with_a_device(&code, |cpu| {
        cpu.regs.set(Reg::Rsi, DATA);
        cpu.regs.set(Reg::Rdi, 0x1234_5678_0000_0000);
    });
    assert!(matches!(seen[..], [Exit::Exception { vector: 13, .. }]), "{seen:?}");
    assert_eq!((cpu.regs.rip, cpu.regs.get(Reg::Rsi)), (CODE, DATA));
}

#[test]
fn wide_accesses_and_those_from_device_to_device_are_our_limit() {
    let copies = assemble(|a| a.movsb());
    let compares = assemble(|a| a.cmpsb());
    let crosses = assemble(|a| a.mov(rax, qword_ptr(DATA + PAGE - 4)));
    let wide = assemble(|a| a.movups(xmm0, xmmword_ptr(DATA)));
    let pairs = assemble(|a| a.lock().cmpxchg16b(xmmword_ptr(DATA)));
    for code in [copies, compares, crosses, wide, pairs] {
        let (mut cpu, mut ram) = machine(&code);
        ram.special.insert(DATA, Page::Mmio);
        cpu.regs.set(Reg::Rsi, DATA);
        cpu.regs.set(Reg::Rdi, DATA + 8);
        let Exit::Unsupported { bytes, length } = cpu.run(&mut ram, 1) else {
            panic!("a device must not be half served");
        };
        assert_eq!(&bytes[..usize::from(length)], &code[..]);
        assert_eq!((cpu.regs.rip, cpu.units()), (CODE, 0));
    }
}

#[test]
fn a_pop_to_where_the_stack_pointer_is_afterwards_counts_from_there_in_32_bits_too() {
    // SDM volume 2, POP; pop qword [rsp+8] and pop qword [esp+8].
    for code in [&[0x8f, 0x44, 0x24, 8][..], &[0x67, 0x8f, 0x44, 0x24, 8]] {
        let (mut cpu, mut ram) = machine(code);
        ram.write_u64(STACK, 0x1234);
        assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
        assert_eq!((ram.read_u64(STACK + 16), ram.read_u64(STACK + 8)), (0x1234, 0));
    }
}

#[test]
fn ports_ask_and_tell() {
    let code = assemble(|a| {
        a.in_(al, 0x60)?;
        a.mov(dx, 0x3f8)?;
        a.out(dx, eax)?;
        a.hlt()
    });
    let (mut cpu, mut ram) = machine(&code);
    cpu.regs.set(Reg::Rax, 0x1111);
    assert_eq!(cpu.run(&mut ram, 100), Exit::PortRead { port: 0x60, bytes: 1 });
    cpu.supply(0xff22);
    let told = Exit::PortWrite { port: 0x3f8, bytes: 4, value: 0x1122 };
    assert_eq!(cpu.run(&mut ram, 100), told);
    assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
}

#[test]
fn the_clock_is_asked_for_each_time() {
    let code = assemble(|a| {
        a.rdtsc()?;
        a.pause()?;
        a.rdtscp()
    });
    let (mut cpu, mut ram) = machine(&code);
    assert_eq!(cpu.run(&mut ram, 100), Exit::TimeStamp);
    cpu.supply(0x1_2345_6789);
    assert_eq!(cpu.run(&mut ram, 100), Exit::Pause);
    assert_eq!((cpu.regs.get(Reg::Rdx), cpu.regs.get(Reg::Rax)), (1, 0x2345_6789));
    assert_eq!(cpu.run(&mut ram, 100), Exit::TimeStamp);
}

#[test]
fn a_page_that_is_away_is_tried_again() {
    let code = assemble(|a| {
        a.mov(rbx, DATA)?;
        a.add(dword_ptr(rbx + 4), 5)?;
        a.hlt()
    });
    let (mut cpu, mut ram) = machine(&code);
    ram.special.insert(DATA, Page::Away);
    let told = Exit::Memory { gpa: Gpa(DATA + 4), access: Access::Write };
    assert_eq!(cpu.run(&mut ram, 100), told);
    assert_eq!(cpu.run(&mut ram, 100), told);
    assert_eq!(cpu.units(), 1);
    ram.special.clear();
    assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
    assert_eq!(ram.read(DATA + 4, 4), [5, 0, 0, 0]);
}

#[test]
fn a_breakpoint_stops_once_per_arrival() {
    let code = assemble(|a| {
        let mut again = a.create_label();
        a.mov(ecx, 3)?;
        a.set_label(&mut again)?;
        a.nop()?;
        a.dec(ecx)?;
        a.jnz(again)?;
        a.hlt()
    });
    let (mut cpu, mut ram) = machine(&code);
    assert_eq!(cpu.run(&mut ram, 4), Exit::Budget);
    cpu.break_at(CODE + 6);
    for left in [2, 1] {
        assert_eq!(cpu.run(&mut ram, 100), Exit::Breakpoint);
        assert_eq!(cpu.regs.rip, CODE + 6);
        assert_eq!(cpu.regs.get(Reg::Rcx), left);
    }
    assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
    assert_eq!(cpu.units(), 1 + 9 + 1);
}

#[test]
fn a_breakpoint_where_a_call_returns_stops_at_every_return() {
    let code = assemble(|a| {
        let (mut again, mut function) = (a.create_label(), a.create_label());
        a.mov(ecx, 3)?;
        a.set_label(&mut again)?;
        a.call(function)?;
        a.dec(ecx)?;
        a.jnz(again)?;
        a.hlt()?;
        a.set_label(&mut function)?;
        a.ret()
    });
    let (mut cpu, mut ram) = machine(&code);
    cpu.break_at(CODE + 10);
    for left in [3, 2, 1] {
        assert_eq!(cpu.run(&mut ram, 100), Exit::Breakpoint);
        assert_eq!(cpu.regs.rip, CODE + 10);
        assert_eq!(cpu.regs.get(Reg::Rcx), left);
    }
    assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
    assert_eq!(cpu.units(), 1 + 3 * 4 + 1);
}

#[test]
fn code_behind_a_breakpoint_that_was_passed_before_is_seen_when_it_changes() {
    let code = assemble(|a| {
        let mut again = a.create_label();
        a.mov(ecx, 3)?;
        a.set_label(&mut again)?;
        a.add(ebx, 1)?;
        a.dec(ecx)?;
        a.jnz(again)?;
        a.hlt()
    });
    let (mut cpu, mut ram) = machine(&code);
    cpu.break_at(CODE + 5);
    for _ in 0..2 {
        assert_eq!(cpu.run(&mut ram, 100), Exit::Breakpoint);
    }
    // `add ebx, 1` becomes `add ebx, 9`.
    ram.write(CODE + 7, &[9]);
    cpu.forget_code(Gpa(CODE + 7), 1);
    assert_eq!(cpu.run(&mut ram, 100), Exit::Breakpoint);
    assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
    assert_eq!(cpu.regs.get(Reg::Rbx), 1 + 9 + 9);
}

#[test]
fn a_breakpoint_on_an_instruction_that_must_wait_is_told_once() {
    let code = assemble(|a| {
        a.mov(eax, dword_ptr(DATA))?;
        a.hlt()
    });
    let (mut cpu, mut ram) = machine(&code);
    ram.special.insert(DATA, Page::Away);
    cpu.break_at(CODE);
    assert_eq!(cpu.run(&mut ram, 100), Exit::Breakpoint);
    assert!(matches!(cpu.run(&mut ram, 100), Exit::Memory { .. }));
    ram.special.clear();
    assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
}

#[test]
fn a_breakpoint_between_compare_and_jump_stops_there() {
    let code = assemble(|a| {
        let mut out = a.create_label();
        a.test(eax, eax)?;
        a.je(out)?;
        a.nop()?;
        a.set_label(&mut out)?;
        a.hlt()
    });
    let (mut cpu, mut ram) = machine(&code);
    cpu.break_at(CODE + 2);
    assert_eq!(cpu.run(&mut ram, 100), Exit::Breakpoint);
    assert_eq!((cpu.regs.rip, cpu.units()), (CODE + 2, 1));
    assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
    assert_eq!(cpu.units(), 3);
}

#[test]
fn a_store_that_faults_in_its_second_page_writes_nothing() {
    let code = assemble(|a| a.mov(qword_ptr(DATA + PAGE - 4), rax));
    let (mut cpu, mut ram) = machine(&code);
    ram.map(DATA + PAGE, 0, 0);
    cpu.regs.set(Reg::Rax, u64::MAX);
    let address = Some(DATA + PAGE);
    let told = Exit::Exception { vector: 14, error: Some(2), address };
    assert_eq!(cpu.run(&mut ram, 100), told);
    assert_eq!(ram.read_u64(DATA + PAGE - 8), 0);
    assert_eq!((cpu.regs.rip, cpu.regs.cr2, cpu.units()), (CODE, DATA + PAGE, 0));
}

#[test]
fn a_push_that_faults_leaves_the_stack_pointer() {
    let code = assemble(|a| {
        a.push(rax)?;
        a.call(CODE)
    });
    for (units, rip) in [(0, CODE), (1, CODE + 1)] {
        let (mut cpu, mut ram) = machine(&code);
        let stack = if units == 0 { DATA + PAGE } else { DATA + PAGE + 8 };
        ram.map(DATA, 0, 0);
        cpu.regs.set(Reg::Rsp, stack);
        let exit = cpu.run(&mut ram, 100);
        assert!(matches!(exit, Exit::Exception { vector: 14, error: Some(2), .. }), "{exit:?}");
        assert_eq!((cpu.regs.get(Reg::Rsp), cpu.regs.rip), (DATA + PAGE, rip));
        assert_eq!(cpu.units(), units);
    }
}

#[test]
fn exceptions_have_their_vectors() {
    let mut cases: Vec<(Vec<u8>, u8, Option<u32>)> = Vec::new();
    cases.push((assemble(|a| a.ud2()), 6, None));
    cases.push((assemble(|a| a.int3()), 3, None));
    cases.push((assemble(|a| a.div(rcx)), 0, None));
    cases.push((assemble(|a| a.mov(rax, qword_ptr(rbx))), 13, Some(0)));
    cases.push((assemble(|a| a.mov(rax, qword_ptr(rbp))), 12, Some(0)));
    cases.push((assemble(|a| a.jmp(rbx)), 13, Some(0)));
    cases.push((assemble(|a| a.movaps(xmm1, xmmword_ptr(DATA + 8))), 13, Some(0)));
    for (code, vector, error) in cases {
        let (mut cpu, mut ram) = machine(&code);
        cpu.regs.set(Reg::Rbx, 1 << 63);
        cpu.regs.set(Reg::Rbp, 1 << 63);
        cpu.regs.set(Reg::Rcx, 0);
        let told = Exit::Exception { vector, error, address: None };
        assert_eq!(cpu.run(&mut ram, 100), told, "{code:x?}");
        assert_eq!((cpu.regs.rip, cpu.units()), (CODE, 0));
    }
}

#[test]
fn a_quotient_that_does_not_fit_is_a_divide_error() {
    let unsigned = assemble(|a| a.div(ecx));
    let signed = assemble(|a| a.idiv(rcx));
    let cases = [(unsigned, 0, 1, 1), (signed, 1 << 63, u64::MAX, u64::MAX)];
    for (code, rax_value, rdx_value, rcx_value) in cases {
        let (mut cpu, mut ram) = machine(&code);
        cpu.regs.set(Reg::Rax, rax_value);
        cpu.regs.set(Reg::Rdx, rdx_value);
        cpu.regs.set(Reg::Rcx, rcx_value);
        let exit = cpu.run(&mut ram, 1);
        assert_eq!(exit, Exit::Exception { vector: 0, error: None, address: None });
        assert_eq!(cpu.regs.get(Reg::Rax), rax_value);
    }
}

#[test]
fn a_store_that_ends_the_run_has_computed_its_flags() {
    // add [rdi], al makes nop of the 04 of the next instruction, which wrote all flags anew; then
    // f4 halts.
    let (mut cpu, mut ram) = machine(&[0x00, 0x07, 0x04, 0xf4]);
    cpu.regs.set(Reg::Rdi, CODE + 2);
    cpu.regs.set(Reg::Rax, 0x8c);
    assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
    let shown = flag::SF | flag::PF | flag::AF;
    assert_eq!(cpu.rflags() & (shown | flag::ZF | flag::CF), flag::SF | flag::PF | flag::AF);
    assert_eq!(cpu.instructions(), 3);
}

#[test]
fn code_that_overwrites_the_next_instruction_runs_what_it_wrote() {
    // The store replaces the `mov eax, 1` behind it by `mov eax, 2`, in the same block.
    let code = assemble(|a| {
        a.mov(byte_ptr(CODE + 9), 2)?;
        a.mov(eax, 1)?;
        a.hlt()
    });
    assert_eq!(code[8..10], [0xb8, 1]);
    let (mut cpu, mut ram) = machine(&code);
    assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
    assert_eq!(cpu.regs.get(Reg::Rax), 2);
    assert_eq!(cpu.units(), 3);
}

#[test]
fn data_beside_code_can_be_written_and_code_written_later_is_run() {
    let code = assemble(|a| {
        let mut function = a.create_label();
        let mut again = a.create_label();
        a.mov(ebx, 4)?;
        a.set_label(&mut again)?;
        a.call(function)?;
        a.inc(byte_ptr(CODE + 0x81))?;
        a.inc(dword_ptr(CODE + 0x800))?;
        a.dec(ebx)?;
        a.jnz(again)?;
        a.hlt()?;
        while a.assemble(CODE)?.len() < 0x80 {
            a.nop()?;
        }
        a.set_label(&mut function)?;
        a.mov(eax, 10)?;
        a.add(ecx, eax)?;
        a.ret()
    });
    let (mut cpu, mut ram) = machine(&code);
    cpu.regs.set(Reg::Rcx, 0);
    assert_eq!(cpu.run(&mut ram, 1000), Exit::Halt);
    assert_eq!(cpu.regs.get(Reg::Rcx), 10 + 11 + 12 + 13);
    assert_eq!(ram.read(CODE + 0x800, 1), [4]);
}

#[test]
fn what_somebody_else_wrote_is_run_after_forgetting_the_code_there() {
    let code = assemble(|a| {
        a.mov(eax, 1)?;
        a.hlt()
    });
    let (mut cpu, mut ram) = machine(&code);
    assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
    ram.write(CODE + 1, &[9]);
    cpu.forget_code(Gpa(CODE + 1), 1);
    cpu.regs.rip = CODE;
    assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
    assert_eq!(cpu.regs.get(Reg::Rax), 9);
}

#[test]
fn a_page_backed_elsewhere_is_seen_after_forget() {
    let code = assemble(|a| {
        a.mov(eax, dword_ptr(DATA))?;
        a.mov(dword_ptr(DATA + 4), eax)?;
        a.hlt()
    });
    let (mut cpu, mut ram) = machine(&code);
    ram.write(DATA, &[1]);
    ram.write(DATA + PAGE, &[2]);
    assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
    let other = ultravisor_cpu::Bus::page(&mut ram, Gpa(DATA + PAGE), Access::Write);
    ram.special.insert(DATA, other);
    cpu.forget(Gpa(DATA + 0x800), 1);
    cpu.regs.rip = CODE;
    assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
    assert_eq!(cpu.regs.get(Reg::Rax), 2);
    assert_eq!(ram.read(DATA + PAGE + 4, 1), [2]);
    assert_eq!(ram.read(DATA + 4, 1), [1]);
}

#[test]
fn an_instruction_across_pages_follows_its_second_page() {
    let code = assemble(|a| {
        a.mov(eax, 0x1111_1111)?;
        a.hlt()
    });
    let start = CODE + PAGE - 2;
    let (mut cpu, mut ram) = machine(&[]);
    ram.write(start, &code);
    for _ in 0..2 {
        cpu.regs.rip = start;
        assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
        assert_eq!(cpu.regs.get(Reg::Rax), 0x1111_1111);
    }
    // The same with the second page remapped.
    ram.write(CODE + 4 * PAGE, &[0x22, 0x22, 0x22, 0xf4]);
    ram.map(CODE + PAGE, CODE + 4 * PAGE, common::PRESENT);
    cpu.forget(Gpa(CODE + PAGE), PAGE);
    cpu.regs.rip = start;
    assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
    assert_eq!(cpu.regs.get(Reg::Rax), 0x2222_2211);
}

#[test]
fn a_cpu_without_long_mode_says_so() {
    let mut ram = common::Ram::identity();
    let exit = Cpu::new().run(&mut ram, 100);
    assert!(matches!(exit, Exit::Unsupported { .. }));
}

#[test]
fn what_no_processor_has_is_an_invalid_opcode_and_no_limit_of_ours() {
    // Each a #UD on a processor that was asked: LOCK where it may not be, registers that are not
    // there, what 64-bit mode took away, and holes in the opcode maps (SDM volume 2, appendix A).
    let codes: [&[u8]; 24] = [
        &[0xf0, 0x90],
        &[0xf0, 0x8b, 0x00],
        &[0xf0, 0x01, 0xc0],
        &[0x8e, 0xc8],
        &[0x8e, 0xf0],
        &[0x8c, 0xf8],
        &[0x0f, 0x20, 0xc8],
        &[0xd6],
        &[0x82, 0xc0, 1],
        &[0x06],
        &[0x27],
        &[0x60],
        &[0x9a, 0, 0, 0, 0, 8, 0],
        &[0xce],
        &[0xd4, 10],
        &[0x8d, 0xc0],
        &[0xc6, 0xc8, 1],
        &[0xfe, 0xd0],
        &[0xff, 0xf8],
        &[0x0f, 0x04],
        &[0x0f, 0x0a],
        &[0x0f, 0xba, 0xd0, 1],
        &[0x0f, 0x71, 0xc0],
        &[0xdd, 0xf0],
    ];
    for code in codes {
        let (mut cpu, mut ram) = machine(&[&[0x90], code].concat());
        let exit = cpu.run(&mut ram, 100);
        let Exit::Exception { vector: 6, .. } = exit else {
            panic!("{code:x?}: {exit:?}");
        };
        assert_eq!((cpu.regs.rip, cpu.instructions()), (CODE + 1, 1), "{code:x?}");
    }
    // With so many prefixes it has more than 15 bytes, which is #GP(0).
    let (mut cpu, mut ram) =
        machine(&[&[0x2e; 6][..], &[0x48, 0x81, 0x84, 0x24], &[0; 8]].concat());
    assert!(matches!(cpu.run(&mut ram, 100), Exit::Unsupported { .. }));
}

#[test]
fn what_is_not_implemented_is_named() {
    let code = [0xc4, 0xe2, 0x7d, 0x18, 0x00, 0x90];
    let (mut cpu, mut ram) = machine(&code);
    let Exit::Unsupported { bytes, length } = cpu.run(&mut ram, 100) else {
        panic!("AVX is not implemented");
    };
    assert_eq!(bytes[..usize::from(length)], code[..5]);
    assert_eq!(cpu.regs.rip, CODE);
    assert_eq!(cpu.regs.get(Reg::Rsp), STACK);
}
