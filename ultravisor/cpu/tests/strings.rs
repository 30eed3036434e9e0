//! REP: counts, directions, overlaps, page boundaries, budgets and faults in the middle.

mod common;

use common::{CODE, DATA, PAGE, Random, assemble, machine};
use ultravisor_abi::Gpa;
use ultravisor_cpu::{Access, Cpu, Exit, Page, Reg, flag};

/// `movs` of `size` bytes, one at a time, on a plain array.
fn model(memory: &mut [u8], mut from: usize, mut to: usize, count: usize, size: usize, down: bool) {
    for _ in 0..count {
        let element = memory[from..from + size].to_vec();
        memory[to..to + size].copy_from_slice(&element);
        if down {
            (from, to) = (from - size, to - size);
        } else {
            (from, to) = (from + size, to + size);
        }
    }
}

#[test]
fn copies_are_as_if_done_one_by_one() {
    let mut random = Random(7);
    for round in 0..400 {
        let size = 1 << random.below(4);
        let down = random.chance(4);
        let count = random.below(1200);
        let from = 0x3000 + random.below(0x1000);
        let near = random.chance(2);
        let to = if near { from + random.below(64) - 32 } else { 0x8000 + random.below(0x1000) };
        let code = assemble(|a| {
            match size {
                1 => a.rep().movsb()?,
                2 => a.rep().movsw()?,
                4 => a.rep().movsd()?,
                _ => a.rep().movsq()?,
            }
            a.hlt()
        });
        let (mut cpu, mut ram) = machine(&code);
        let mut expected: Vec<u8> = (0..0x10000).map(|_| random.next() as u8).collect();
        ram.write(DATA, &expected);
        cpu.set_rflags(if down { flag::DF } else { 0 });
        cpu.regs.set(Reg::Rsi, DATA + from);
        cpu.regs.set(Reg::Rdi, DATA + to);
        cpu.regs.set(Reg::Rcx, count);
        // In slices, so that every REP also stops in its middle.
        let slice = 1 + random.below(900);
        while cpu.run(&mut ram, slice) == Exit::Budget {}
        let size = size as usize;
        // Downwards, what is below the window is not reached: 1200 * 8 < 0x3000.
        model(&mut expected, from as usize, to as usize, count as usize, size, down);
        assert!(ram.read(DATA, 0x10000) == &expected[..], "round {round}");
        assert_eq!(cpu.units(), count.max(1) + 1);
        assert_eq!(cpu.instructions(), 2);
        assert_eq!(cpu.regs.get(Reg::Rcx), 0);
    }
}

fn fills(count: u64) -> (Cpu, common::Ram) {
    let code = assemble(|a| {
        a.rep().stosd()?;
        a.hlt()
    });
    let (mut cpu, ram) = machine(&code);
    cpu.regs.set(Reg::Rax, 0x0403_0201);
    cpu.regs.set(Reg::Rdi, DATA);
    cpu.regs.set(Reg::Rcx, count);
    (cpu, ram)
}

#[test]
fn no_iteration_is_one_unit_and_changes_nothing() {
    let (mut cpu, mut ram) = fills(0);
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!((cpu.units(), cpu.instructions()), (1, 1));
    assert_eq!(cpu.regs.get(Reg::Rdi), DATA);
    assert_eq!(ram.read_u64(DATA), 0);
}

#[test]
fn a_budget_stops_between_two_iterations() {
    let (mut cpu, mut ram) = fills(3000);
    assert_eq!(cpu.run(&mut ram, 1500), Exit::Budget);
    assert_eq!((cpu.units(), cpu.instructions()), (1500, 0));
    assert_eq!((cpu.regs.rip, cpu.regs.get(Reg::Rcx)), (CODE, 1500));
    assert_eq!(cpu.regs.get(Reg::Rdi), DATA + 6000);
    assert_eq!(ram.read(DATA + 5996, 8), [1, 2, 3, 4, 0, 0, 0, 0]);
    assert_eq!(cpu.run(&mut ram, 9999), Exit::Halt);
    assert_eq!((cpu.units(), cpu.instructions()), (3001, 2));
}

#[test]
fn a_fault_in_the_middle_keeps_what_was_done() {
    let (mut cpu, mut ram) = fills(3000);
    cpu.regs.set(Reg::Rdi, DATA + 2);
    ram.map(DATA + PAGE, 0, 0);
    let exit = cpu.run(&mut ram, 9999);
    assert!(matches!(exit, Exit::Exception { vector: 14, address: Some(_), .. }), "{exit:?}");
    assert_eq!(cpu.units(), 1023);
    assert_eq!(cpu.regs.get(Reg::Rcx), 3000 - 1023);
    assert_eq!(cpu.regs.get(Reg::Rdi), DATA + 2 + 4 * 1023);
    assert_eq!(cpu.regs.rip, CODE);
    assert_eq!(ram.read(DATA + PAGE - 2, 2), [0, 0]);
}

#[test]
fn a_page_away_in_the_middle_goes_on_where_it_stopped() {
    let (mut cpu, mut ram) = fills(2048);
    ram.special.insert(DATA + PAGE, Page::Away);
    let told = Exit::Memory { gpa: Gpa(DATA + PAGE), access: Access::Write };
    assert_eq!(cpu.run(&mut ram, 9999), told);
    assert_eq!((cpu.units(), cpu.instructions()), (1024, 0));
    ram.special.clear();
    assert_eq!(cpu.run(&mut ram, 9999), Exit::Halt);
    assert_eq!(cpu.units(), 2049);
    assert_eq!(ram.read(DATA + 2 * PAGE - 4, 8), [1, 2, 3, 4, 0, 0, 0, 0]);
}

#[test]
fn comparing_stops_at_the_first_difference() {
    let code = assemble(|a| {
        a.repe().cmpsb()?;
        a.hlt()
    });
    let (mut cpu, mut ram) = machine(&code);
    ram.write(DATA, b"abcdefgh");
    ram.write(DATA + 0x100, b"abcdeXgh");
    cpu.regs.set(Reg::Rsi, DATA);
    cpu.regs.set(Reg::Rdi, DATA + 0x100);
    cpu.regs.set(Reg::Rcx, 8);
    assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
    assert_eq!((cpu.regs.get(Reg::Rcx), cpu.units()), (2, 7));
    assert_eq!(cpu.rflags() & (flag::ZF | flag::CF), 0);
}

#[test]
fn a_fill_over_its_own_code_is_seen() {
    // stosb upwards over the bytes behind it: they become `hlt` and are executed as such.
    let code = assemble(|a| {
        a.rep().stosb()?;
        a.ud2()
    });
    let (mut cpu, mut ram) = machine(&code);
    cpu.regs.set(Reg::Rdi, CODE + 2);
    cpu.regs.set(Reg::Rax, 0xf4);
    cpu.regs.set(Reg::Rcx, 100);
    assert_eq!(cpu.run(&mut ram, 1000), Exit::Halt);
    assert_eq!(cpu.units(), 101);
}
