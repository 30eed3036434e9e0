//! Guests that know nothing but a PC: their text, their clock, their end.

use super::small::{run, small};
use host_sim::event::{Ended, Event, ExitReason};
use host_sim::log::RunLog;
use iced_x86::code_asm::{
    CodeAssembler, CodeLabel, al, ax, byte_ptr, dword_ptr, dx, eax, ecx, edx, ptr, qword_ptr, rax,
    rbx, rsi, word_ptr,
};

/// `out` of a byte to a port.
pub fn out(a: &mut CodeAssembler, port: u32, value: u32) {
    a.mov(edx, port).expect("a mov");
    a.mov(eax, value).expect("a mov");
    a.out(dx, al).expect("an out");
}

pub fn text(log: &RunLog) -> Vec<String> {
    let told = log.records.iter().filter_map(|record| match &record.event {
        Event::Console { device: None, bytes } => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    });
    told.collect()
}

fn port_exits(log: &RunLog) -> usize {
    let is = |event: &Event| matches!(event, Event::Exit { reason: ExitReason::Port });
    log.records.iter().filter(|record| is(&record.event)).count()
}

#[test]
fn a_guest_that_prints_on_com1_as_drivers_do_is_heard_line_by_line_and_ends_itself() {
    let log = run(&small(|a| {
        let (mut text, mut next, mut wait) = (a.create_label(), a.create_label(), a.create_label());
        a.lea(rsi, byte_ptr(text)).expect("the text");
        a.set_label(&mut next).expect("a label");
        // Until the line can take a byte (LSR, bit 5).
        a.mov(edx, 0x3fd_u32).expect("a mov");
        a.set_label(&mut wait).expect("a label");
        a.in_(al, dx).expect("an in");
        a.test(al, 0x20).expect("a test");
        a.jz(wait).expect("a jump");
        a.mov(edx, 0x3f8_u32).expect("a mov");
        a.lodsb().expect("a byte");
        a.test(al, al).expect("a test");
        let mut done = a.create_label();
        a.jz(done).expect("a jump");
        a.out(dx, al).expect("an out");
        a.jmp(next).expect("a jump");
        a.set_label(&mut done).expect("a label");
        out(a, 0xf4, 0x10);
        a.set_label(&mut text).expect("a label");
        a.db(b"hello\nworld\0").expect("bytes");
    }));
    assert_eq!(log.ended, Ended::Exit(33));
    assert_eq!(text(&log), ["hello\n", "world"]);
    // Two for each byte, one more LSR for the zero, and the exit.
    assert_eq!(port_exits(&log), 2 * 11 + 2);
}

#[test]
fn power_off_ends_the_guest_with_success() {
    let log = run(&small(|a| {
        out(a, 0xe9, u32::from(b'!'));
        a.mov(edx, 0x604_u32).expect("a mov");
        a.mov(eax, 0x2000).expect("a mov");
        a.out(dx, ax).expect("an out");
    }));
    assert_eq!((log.ended.clone(), text(&log)), (Ended::Exit(0), vec!["!".to_owned()]));
}

#[test]
fn a_delay_by_the_timer_takes_as_long_as_it_says() {
    let log = run(&small(|a| {
        // Ten milliseconds by counter 2 in mode 0, polled at port B.
        for (port, value) in [(0x61, 1), (0x43, 0xb0), (0x42, 0x9c), (0x42, 0x2e)] {
            out(a, port, value);
        }
        let mut wait = a.create_label();
        a.set_label(&mut wait).expect("a label");
        a.in_(al, 0x61_i32).expect("an in");
        a.test(al, 0x20).expect("a test");
        a.jz(wait).expect("a jump");
        out(a, 0xf4, 0);
    }));
    assert_eq!(log.ended, Ended::Exit(1));
    let times: Vec<u64> = log
        .records
        .iter()
        .filter(|record| matches!(record.event, Event::Exit { .. }))
        .map(|record| record.t_ns)
        .collect();
    let waited = times.last().expect("it exits") - times.first().expect("it exits");
    assert!((10_000_000..10_100_000).contains(&waited), "{waited}");
}

#[test]
fn what_a_pc_without_that_device_would_do_happens_where_nobody_answers() {
    let log = run(&small(|a| {
        // Mask all interrupts after the usual set-up, then look for a PCI host and for COM2.
        for (port, value) in [
            (0x20, 0x11),
            (0xa0, 0x11),
            (0x21, 0x20),
            (0xa1, 0x28),
            (0x21, 4),
            (0xa1, 2),
            (0x21, 1),
            (0xa1, 1),
            (0x21, 0xff),
            (0xa1, 0xff),
            (0x80, 0),
        ] {
            out(a, port, value);
        }
        a.mov(edx, 0xcfc_u32).expect("a mov");
        a.in_(eax, dx).expect("an in");
        a.add(eax, 1).expect("an add");
        let mut wrong = a.create_label();
        a.jnz(wrong).expect("a jump");
        out(a, 0xf4, 0);
        a.set_label(&mut wrong).expect("a label");
        out(a, 0xf4, 1);
    }));
    assert_eq!(log.ended, Ended::Exit(1), "the bus reads all ones");
}

/// Loads a table of handlers with one at `vector`, and a table of segments for it.
pub fn handle(a: &mut CodeAssembler, vector: u64, handler: CodeLabel) {
    let (table, segments) = (0x30_0000_u64, 0x30_2000_u64);
    let mut store = |at: u64, value: u64| {
        a.mov(rax, value).expect("a mov");
        a.mov(rbx, at).expect("a mov");
        a.mov(qword_ptr(rbx), rax).expect("a store");
    };
    store(segments + 8, 0x00af_9b00_0000_ffff);
    store(segments + 16, 0x00cf_9300_0000_ffff);
    store(segments + 0x100, (segments << 16) | 23);
    store(segments + 0x108, segments >> 48);
    store(segments + 0x110, (table << 16) | 0xfff);
    store(segments + 0x118, table >> 48);
    a.mov(rbx, segments + 0x100).expect("a mov");
    a.lgdt(ptr(rbx)).expect("a lgdt");
    a.lidt(ptr(rbx + 0x10)).expect("a lidt");
    // Its address in pieces, selector 8, an interrupt gate.
    a.lea(rax, byte_ptr(handler)).expect("a handler");
    a.mov(rbx, table + 16 * vector).expect("a mov");
    a.mov(word_ptr(rbx), ax).expect("a store");
    a.mov(dword_ptr(rbx + 2), 0x8e00_0008_u32).expect("a store");
    a.mov(word_ptr(rbx + 4), 0x8e00).expect("a store");
    a.shr(rax, 16).expect("a shift");
    a.mov(word_ptr(rbx + 6), ax).expect("a store");
}

/// A guest that halts until `ticks` ticks of a millisecond have come.
fn ticking(ticks: u32) -> RunLog {
    run(&small(|a| {
        let (mut handler, mut wait) = (a.create_label(), a.create_label());
        handle(a, 0x20, handler);
        for (port, value) in [
            (0x20, 0x11),
            (0x21, 0x20),
            (0x21, 4),
            (0x21, 1),
            (0x21, 0xfe),
            (0x43, 0x34),
            (0x40, 0xa9),
            (0x40, 0x04),
        ] {
            out(a, port, value);
        }
        a.xor(ecx, ecx).expect("a xor");
        a.sti().expect("a sti");
        a.set_label(&mut wait).expect("a label");
        a.hlt().expect("a hlt");
        a.cmp(ecx, ticks).expect("a cmp");
        a.jb(wait).expect("a jump");
        out(a, 0xf4, 0);
        a.set_label(&mut handler).expect("a label");
        a.inc(ecx).expect("an inc");
        out(a, 0x20, 0x20);
        a.iretq().expect("an iret");
    }))
}

#[test]
fn a_guest_that_halts_is_woken_by_each_tick_of_its_timer() {
    let log = ticking(10);
    assert_eq!(log.ended, Ended::Exit(1));
    let taken: Vec<u64> = log
        .records
        .iter()
        .filter(|record| record.event == Event::Taken { vector: 0x20 })
        .map(|record| record.t_ns)
        .collect();
    assert_eq!(taken.len(), 10);
    for pair in taken.windows(2) {
        // 1193 periods of the 8254's input are 999.85 us.
        assert!((999_000..1_001_000).contains(&(pair[1] - pair[0])), "{taken:?}");
    }
    assert_eq!(ticking(10).hash, log.hash);
}

#[test]
fn a_guest_that_halts_with_interrupts_off_is_idle_though_its_timer_runs() {
    let log = run(&small(|a| {
        for (port, value) in [(0x43, 0x34), (0x40, 0), (0x40, 0x10), (0x21, 0xfe)] {
            out(a, port, value);
        }
        a.hlt().expect("a hlt");
    }));
    assert_eq!(log.ended, Ended::Idle);
}

#[test]
fn com1_says_by_an_interrupt_that_it_can_send() {
    let log = run(&small(|a| {
        let (mut handler, mut wait) = (a.create_label(), a.create_label());
        handle(a, 0x24, handler);
        for (port, value) in
            [(0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 3), (0x21, 0xef), (0x3f9, 2)]
        {
            out(a, port, value);
        }
        a.sti().expect("a sti");
        a.set_label(&mut wait).expect("a label");
        a.hlt().expect("a hlt");
        a.jmp(wait).expect("a jump");
        a.set_label(&mut handler).expect("a label");
        out(a, 0x3f9, 0);
        out(a, 0x3f8, u32::from(b'k'));
        out(a, 0xf4, 0);
    }));
    assert_eq!((log.ended.clone(), text(&log)), (Ended::Exit(1), vec!["k".to_owned()]));
}
