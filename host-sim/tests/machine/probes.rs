//! Probe points: what is told of calls that nest, tail-call, are left by a jump, or never return.

use crate::small::{Write, run, with_functions};
use host_sim::event::{Ended, Event};
use iced_x86::code_asm::{CodeAssembler, rax, rcx, rdi, rsi, rsp};

/// Two functions at fixed places, `dma_map` at 0x100 and `dma_decide` at 0x200, and `main`.
fn told(map: impl FnOnce(&mut CodeAssembler), main: impl FnOnce(&mut CodeAssembler)) -> Vec<Event> {
    let plan = with_functions(&[("dma_map", 0x100), ("dma_decide", 0x200)], |a| {
        a.xor(rdi, rdi).expect("encodable");
        main(a);
        a.exit(0);
        fill(a, 0x100);
        map(a);
        fill(a, 0x200);
        a.mov(rax, 5_u64).expect("encodable");
        a.ret().expect("encodable");
    });
    let log = run(&plan);
    assert_eq!(log.ended, Ended::Exit(0));
    let dma = |event: &Event| matches!(event, Event::DmaMap { .. } | Event::Decision { .. });
    log.records.into_iter().map(|record| record.event).filter(dma).collect()
}

/// Fills up with NOPs to `offset`.
fn fill(a: &mut CodeAssembler, offset: usize) {
    let bytes = a.assemble(0x10_0000).expect("the test's code is right").len();
    for _ in bytes..offset {
        a.nop().expect("encodable");
    }
}

fn call(a: &mut CodeAssembler, offset: u64) {
    a.mov(rcx, 0x10_0000 + offset).expect("encodable");
    a.call(rcx).expect("encodable");
}

fn map(address: u64, dma: u64, instructions: u64) -> Event {
    Event::DmaMap { address, bytes: 0, direction: 0, dma, instructions }
}

#[test]
fn instructions_of_a_call_inside_a_call_are_told_once() {
    let events = told(
        |a| {
            call(a, 0x200);
            a.mov(rax, 9_u64).expect("encodable");
            a.ret().expect("encodable");
        },
        |a| {
            a.xor(rsi, rsi).expect("encodable");
            call(a, 0x100);
        },
    );
    assert_eq!(events, [Event::Decision { path: 5, instructions: 2 }, map(0, 9, 4)]);
}

#[test]
fn a_recursive_call_is_told_as_often_as_it_is_made() {
    let events = told(
        |a| {
            let mut deep = a.create_label();
            a.cmp(rdi, 3).expect("encodable");
            a.je(deep).expect("encodable");
            a.inc(rdi).expect("encodable");
            call(a, 0x100);
            a.ret().expect("encodable");
            a.set_label(&mut deep).expect("free");
            a.mov(rax, 7_u64).expect("encodable");
            a.ret().expect("encodable");
        },
        |a| {
            a.xor(rsi, rsi).expect("encodable");
            call(a, 0x100);
        },
    );
    assert_eq!(events, [map(3, 7, 4), map(2, 7, 6), map(1, 7, 6), map(0, 7, 6)]);
}

#[test]
fn a_function_that_tail_calls_another_returns_with_it() {
    let events = told(
        |a| {
            a.mov(rcx, 0x10_0200_u64).expect("encodable");
            a.jmp(rcx).expect("encodable");
        },
        |a| {
            a.xor(rsi, rsi).expect("encodable");
            call(a, 0x100);
        },
    );
    assert_eq!(events, [Event::Decision { path: 5, instructions: 2 }, map(0, 5, 2)]);
}

/// Leaves its frame without returning to it, as `longjmp` does, until `rdi` is 200; then returns.
fn leaves(a: &mut CodeAssembler) {
    let mut last = a.create_label();
    a.cmp(rdi, 200).expect("encodable");
    a.je(last).expect("encodable");
    a.inc(rdi).expect("encodable");
    a.add(rsp, 8).expect("encodable");
    a.jmp(iced_x86::code_asm::r8).expect("encodable");
    a.set_label(&mut last).expect("free");
    a.ret().expect("encodable");
}

#[test]
fn a_call_that_is_left_without_returning_is_not_told_and_later_ones_are() {
    let events = told(leaves, |a| {
        a.xor(rsi, rsi).expect("encodable");
        let mut again = a.create_label();
        let mut back = a.create_label();
        a.lea(iced_x86::code_asm::r8, iced_x86::code_asm::ptr(again)).expect("encodable");
        a.set_label(&mut again).expect("free");
        a.mov(rax, 1_u64).expect("encodable");
        call(a, 0x100);
        a.set_label(&mut back).expect("free");
        a.nop().expect("encodable");
    });
    assert_eq!(events, [map(200, 1, 3)]);
}

#[test]
fn calls_left_at_ever_deeper_stacks_do_not_hide_later_ones() {
    let events = told(leaves, |a| {
        a.xor(rsi, rsi).expect("encodable");
        let mut again = a.create_label();
        a.lea(iced_x86::code_asm::r8, iced_x86::code_asm::ptr(again)).expect("encodable");
        a.set_label(&mut again).expect("free");
        a.sub(rsp, 16).expect("encodable");
        a.mov(rax, 1_u64).expect("encodable");
        call(a, 0x100);
    });
    assert_eq!(events, [map(200, 1, 3)]);
}
