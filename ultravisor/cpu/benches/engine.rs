//! Guest instructions per second: integer loop with branches, calls, 8-byte copies, REP.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use std::hint::black_box;
use ultravisor_cpu::{Exit, Reg};

#[path = "../tests/common/mod.rs"]
mod common;
use common::{CODE, DATA, STACK, machine};

/// Rounds of each workload's outer loop.
const ROUNDS: u64 = 10_000;

type Program = fn(&mut CodeAssembler) -> Result<(), IcedError>;

/// Pseudo-random numbers with a branch that no predictor learns.
fn integer_loop(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut again, mut even) = (a.create_label(), a.create_label());
    a.mov(rcx, ROUNDS)?;
    a.mov(eax, 0x1234_5678)?;
    a.set_label(&mut again)?;
    for (shift, left) in [(13, true), (7, false), (17, true)] {
        a.mov(rdx, rax)?;
        if left {
            a.shl(rdx, shift)?;
        } else {
            a.shr(rdx, shift)?;
        }
        a.xor(rax, rdx)?;
    }
    a.lea(rbx, qword_ptr(rbx + rax * 2 + 5))?;
    a.add(rsi, rbx)?;
    a.test(eax, 16)?;
    a.jz(even)?;
    a.sub(rsi, rax)?;
    a.add(rdi, 3)?;
    a.set_label(&mut even)?;
    a.sub(rcx, 1)?;
    a.jnz(again)?;
    a.hlt()
}

/// Fibonacci, the recursive way.
fn calls(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut fib, mut small) = (a.create_label(), a.create_label());
    a.mov(edi, 18)?;
    a.call(fib)?;
    a.hlt()?;
    a.set_label(&mut fib)?;
    a.mov(rax, rdi)?;
    a.cmp(rdi, 2)?;
    a.jb(small)?;
    a.push(rbx)?;
    a.push(rdi)?;
    a.dec(rdi)?;
    a.call(fib)?;
    a.mov(rbx, rax)?;
    a.pop(rdi)?;
    a.sub(rdi, 2)?;
    a.call(fib)?;
    a.add(rax, rbx)?;
    a.pop(rbx)?;
    a.set_label(&mut small)?;
    a.ret()
}

/// A copy as a compiler writes it for 64-bit words.
fn copy(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut round, mut again) = (a.create_label(), a.create_label());
    a.mov(rbx, ROUNDS / 1000)?;
    a.mov(rsi, DATA)?;
    a.mov(rdi, DATA + 0x1_0000)?;
    a.set_label(&mut round)?;
    a.xor(ecx, ecx)?;
    a.set_label(&mut again)?;
    a.mov(rax, qword_ptr(rsi + rcx * 8))?;
    a.mov(qword_ptr(rdi + rcx * 8), rax)?;
    a.add(rcx, 1)?;
    a.cmp(rcx, 4096)?;
    a.jne(again)?;
    a.dec(rbx)?;
    a.jnz(round)?;
    a.hlt()
}

/// The same by REP; its throughput is in work units.
fn rep_copy(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.mov(rsi, DATA)?;
    a.mov(rdi, DATA + 0x1_0000)?;
    a.mov(ecx, 0x1_0000)?;
    a.rep().movsb()?;
    a.hlt()
}

fn engine(criterion: &mut Criterion) {
    let programs: [(&str, Program); 4] = [
        ("integer loop", integer_loop),
        ("calls", calls),
        ("8-byte copy", copy),
        ("rep movsb", rep_copy),
    ];
    let mut group = criterion.benchmark_group("engine");
    for (name, program) in programs {
        let code = common::assemble(program);
        let (mut cpu, mut ram) = machine(&code);
        let mut run = || {
            cpu.regs.rip = CODE;
            cpu.regs.set(Reg::Rsp, STACK);
            let exit = cpu.run(&mut ram, u64::MAX);
            assert_eq!(black_box(exit), Exit::Halt);
            cpu.units()
        };
        let before = run();
        group.throughput(Throughput::Elements(run() - before));
        group.bench_function(name, |bencher| bencher.iter(&mut run));
    }
    group.finish();
}

criterion_group!(benches, engine);
criterion_main!(benches);
