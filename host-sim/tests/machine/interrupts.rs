//! Guests that sleep until they are interrupted: by the local APIC's timer, by a device through the
//! I/O APIC, by themselves.

use super::ports::{handle, out};
use super::small::{DATA, SECTOR, Write, disk, run, small};
use firmware::bootargs::Waits;
use host_sim::counters::{Counter, Counters, Phase};
use host_sim::event::{DeviceIndex, Ended, Event, ExitReason, WakeSource, WhyAsleep};
use host_sim::log::RunLog;
use host_sim::run::Prepared;
use host_sim::scenario::plan::Plan;
use host_sim::scenario::select;
use iced_x86::code_asm::{
    CodeAssembler, CodeLabel, dword_ptr, eax, ecx, edx, qword_ptr, r12d, r13, rax, rbx, rdx,
};
use std::collections::BTreeSet;
use std::path::Path;
use ultravisor_abi::boot::{IO_APIC, LOCAL_APIC, VIRTIO_MMIO};

const GP: u8 = 13;

/// Stores to a register of the local APIC by memory.
pub fn apic(a: &mut CodeAssembler, offset: u64, value: u32) {
    a.mov(rbx, LOCAL_APIC.0 + offset).expect("a mov");
    a.mov(dword_ptr(rbx), value).expect("a store");
}

/// `wrmsr`.
pub fn msr(a: &mut CodeAssembler, number: u32, value: u64) {
    a.mov(ecx, number).expect("a mov");
    a.mov(eax, value as u32).expect("a mov");
    a.mov(edx, (value >> 32) as u32).expect("a mov");
    a.wrmsr().expect("a wrmsr");
}

/// Sends input `pin` of the I/O APIC to where `entry` says.
pub fn route(a: &mut CodeAssembler, pin: u32, entry: u32) {
    a.mov(rbx, IO_APIC.0).expect("a mov");
    a.mov(dword_ptr(rbx), 0x10 + 2 * pin).expect("a store");
    a.mov(dword_ptr(rbx + 0x10), entry).expect("a store");
}

/// Halts until `r12d` is at least `times`, then ends with success; `handler` counts it up.
fn sleep_until(a: &mut CodeAssembler, times: u32) {
    let mut wait = a.create_label();
    a.xor(r12d, r12d).expect("a xor");
    a.sti().expect("a sti");
    a.set_label(&mut wait).expect("a label");
    a.hlt().expect("a hlt");
    a.cmp(r12d, times).expect("a cmp");
    a.jb(wait).expect("a jump");
    a.exit(0);
}

/// What a handler that counts does, but for its end.
pub fn counting(a: &mut CodeAssembler, handler: &mut CodeLabel) {
    a.set_label(handler).expect("a label");
    a.inc(r12d).expect("an inc");
    a.push(rax).expect("a push");
    a.push(rbx).expect("a push");
    a.push(rdx).expect("a push");
}

pub fn and_return(a: &mut CodeAssembler) {
    a.pop(rdx).expect("a pop");
    a.pop(rbx).expect("a pop");
    a.pop(rax).expect("a pop");
    a.iretq().expect("an iret");
}

/// When interrupts of `vector` woke the guest and were taken; as often the one as the other.
pub fn woken(log: &RunLog, vector: u8) -> Vec<u64> {
    let times = |wanted: Event| -> Vec<u64> {
        let of = log.records.iter().filter(|record| record.event == wanted);
        of.map(|record| record.t_ns).collect()
    };
    let taken = times(Event::Taken { vector });
    let woken = times(Event::Woken { vector: Some(vector) });
    assert_eq!(taken.len(), woken.len(), "{taken:?} {woken:?}");
    woken
}

fn exits(log: &RunLog, wanted: ExitReason) -> usize {
    log.records.iter().filter(|record| record.event == Event::Exit { reason: wanted }).count()
}

/// The same run in steps of so many work units: the same log.
pub fn runs_the_same_in_small_steps(plan: &Plan, log: &RunLog) {
    let prepared = Prepared::new(plan).expect("the image is right");
    for units in [1, 7] {
        let mut machine = prepared.power_on().expect("the machine is right");
        let ended = loop {
            if let Some(ended) = machine.step(units) {
                break ended;
            }
        };
        let records = machine.stop(ended.clone()).host.hv.recorder.finish().0;
        assert_eq!(ended, log.ended, "{units} units");
        let before_the_judges = &log.records[..records.len()];
        assert!(records.iter().eq(before_the_judges), "{units} units");
    }
}

/// A guest that is woken `ticks` times by the local APIC's timer, set by `set`, which must be set
/// again by `again`.
fn ticking(
    ticks: u32,
    set: impl FnOnce(&mut CodeAssembler),
    again: impl FnOnce(&mut CodeAssembler),
) -> Plan {
    small(|a| {
        let mut handler = a.create_label();
        handle(a, 0x40, handler);
        set(a);
        sleep_until(a, ticks);
        counting(a, &mut handler);
        again(a);
        and_return(a);
    })
}

/// SDM volume 3, 11.5.4.
#[test]
fn a_periodic_timer_by_memory_wakes_a_guest_that_halts_at_each_millisecond() {
    let plan = ticking(
        10,
        |a| {
            apic(a, 0x3e0, 0b0011); // by 16
            apic(a, 0x320, 2 << 16 | 0x40);
            apic(a, 0x380, 62_500);
        },
        |a| apic(a, 0xb0, 0),
    );
    let log = run(&plan);
    assert_eq!(log.ended, Ended::Exit(0));
    let times = woken(&log, 0x40);
    assert_eq!(times.len(), 10);
    for pair in times.windows(2) {
        assert_eq!(pair[1] - pair[0], 1_000_000, "{times:?}");
    }
    // Three registers, and an end of each interrupt; asleep it need not be stopped.
    assert_eq!(exits(&log, ExitReason::Apic), 3 + 10);
    assert_eq!((exits(&log, ExitReason::Idle), exits(&log, ExitReason::Interrupt)), (10, 0));
    runs_the_same_in_small_steps(&plan, &log);
}

/// SDM volume 3, 11.5.4.1.
#[test]
fn a_tsc_deadline_in_x2apic_mode_comes_when_the_counter_says_so() {
    const DEADLINE: u32 = 0x6e0;
    fn in_50_us(a: &mut CodeAssembler) {
        a.rdtsc().expect("a rdtsc");
        a.add(eax, 50_000).expect("an add");
        a.mov(ecx, DEADLINE).expect("a mov");
        a.wrmsr().expect("a wrmsr");
    }
    let plan = ticking(
        5,
        |a| {
            msr(a, 0x1b, 0xfee0_0d00);
            msr(a, 0x832, 4 << 16 | 0x40);
            in_50_us(a);
        },
        |a| {
            msr(a, 0x80b, 0);
            in_50_us(a);
        },
    );
    let log = run(&plan);
    assert_eq!(log.ended, Ended::Exit(0));
    let times = woken(&log, 0x40);
    assert_eq!(times.len(), 5);
    for pair in times.windows(2) {
        // Fifty microseconds, and what it takes to be woken, to end the interrupt and to read.
        assert!((50_000..80_000).contains(&(pair[1] - pair[0])), "{times:?}");
    }
    runs_the_same_in_small_steps(&plan, &log);
}

/// SDM volume 3, 6.8.1 (IF) and 11.8.4.
#[test]
fn a_guest_that_runs_is_stopped_for_its_timer_even_if_it_listens_only_later() {
    let log = run(&small(|a| {
        let (mut handler, mut spin) = (a.create_label(), a.create_label());
        handle(a, 0x40, handler);
        apic(a, 0x3e0, 0b1011);
        apic(a, 0x320, 0x40);
        apic(a, 0x380, 20_000);
        a.sti().expect("a sti");
        a.set_label(&mut spin).expect("a label");
        a.jmp(spin).expect("a jump");
        a.set_label(&mut handler).expect("a label");
        a.exit(7);
    }));
    assert_eq!(log.ended, Ended::Exit(7));
    assert_eq!(exits(&log, ExitReason::Interrupt), 1);
    let set = log
        .records
        .iter()
        .find(|record| matches!(record.event, Event::Exit { reason: ExitReason::Interrupt }));
    // Some instructions before the count, and the exit that set it off.
    assert!(set.is_some_and(|record| (20_000..40_000).contains(&record.t_ns)), "{set:?}");
}

/// 82093AA data sheet, 3.2.4; MultiProcessor Specification 1.4, 3.6.2.
#[test]
fn the_8254_reaches_the_guest_through_the_io_apic_while_the_8259as_are_shut() {
    let log = run(&small(|a| {
        let mut handler = a.create_label();
        handle(a, 0x52, handler);
        route(a, 2, 0x52);
        for (port, value) in [(0x43, 0x34), (0x40, 0xa9), (0x40, 0x04)] {
            out(a, port, value);
        }
        sleep_until(a, 3);
        counting(a, &mut handler);
        apic(a, 0xb0, 0);
        and_return(a);
    }));
    assert_eq!((log.ended.clone(), woken(&log, 0x52).len()), (Ended::Exit(0), 3));
}

/// A guest that has its disk interrupt it, and sleeps meanwhile, `requests` times; the interrupt's
/// entry of the I/O APIC is `entry`, and its handler clears the cause or does not.
fn sleeping_for_a_disk(requests: u32, entry: u32, clears: bool) -> Plan {
    let mut plan = small(|a| {
        let mut handler = a.create_label();
        handle(a, 0x50, handler);
        route(a, 16, entry);
        a.start_disk();
        a.xor(r12d, r12d).expect("a xor");
        for number in 1..=requests {
            let (mut wait, mut done) = (a.create_label(), a.create_label());
            a.ask(number.into(), DATA, SECTOR, true);
            a.set_label(&mut wait).expect("a label");
            // Nothing comes between the look and the sleep.
            a.cli().expect("a cli");
            a.cmp(r12d, number).expect("a cmp");
            a.jae(done).expect("a jump");
            a.sti().expect("a sti");
            a.hlt().expect("a hlt");
            a.jmp(wait).expect("a jump");
            a.set_label(&mut done).expect("a label");
            a.nop().expect("a nop");
        }
        a.exit(0);
        counting(a, &mut handler);
        if clears {
            a.mov(rbx, VIRTIO_MMIO.0).expect("a mov");
            a.mov(eax, dword_ptr(rbx + 0x60)).expect("a load");
            a.mov(dword_ptr(rbx + 0x64), eax).expect("a store");
        }
        apic(a, 0xb0, 0);
        and_return(a);
    });
    plan.devices = vec![disk(b"hello")];
    plan
}

/// Virtual I/O Device 1.2, 2.7.7 and 4.2.2; SDM volume 2, HLT.
#[test]
fn a_guest_sleeps_for_its_disk_and_is_woken_once_for_each_request() {
    let plan = sleeping_for_a_disk(4, 0x8050, true);
    let log = run(&plan);
    assert_eq!((log.ended.clone(), woken(&log, 0x50).len()), (Ended::Exit(0), 4));
    let told = |event: &Event| matches!(event, Event::Interrupt { .. });
    assert_eq!(log.records.iter().filter(|record| told(&record.event)).count(), 4);
    runs_the_same_in_small_steps(&plan, &log);
}

/// 82093AA data sheet, 3.2.4 (trigger mode, remote IRR).
#[test]
fn a_level_that_nobody_clears_interrupts_again_and_again_and_an_edge_once() {
    let storm = run(&sleeping_for_a_disk(40, 0x8050, false));
    let taken = |log: &RunLog| {
        log.records.iter().filter(|record| record.event == Event::Taken { vector: 0x50 }).count()
    };
    assert!(taken(&storm) >= 40, "{}", taken(&storm));
    // The line does not fall, so there is no second edge, and the guest sleeps for ever.
    let edge = run(&sleeping_for_a_disk(2, 0x50, false));
    assert_eq!((edge.ended.clone(), taken(&edge)), (Ended::Idle, 1));
    let silent = Event::Unwoken {
        source: WakeSource::Device,
        device: Some(DeviceIndex(0)),
        why: WhyAsleep::HeldOff,
    };
    assert!(edge.records.iter().any(|record| record.event == silent));
}

/// SDM volume 2, HLT; 82093AA data sheet, 3.2.4 (interrupt mask); 8259A data sheet, "Operation
/// command words" (OCW1).
#[test]
fn a_guest_that_sleeps_behind_masks_is_told_so_at_once_and_what_could_have_woken_it() {
    let mut plan = small(|a| {
        a.start_disk();
        a.ask(1, DATA, SECTOR, true);
        // The 8254 ticks, masked.
        for (port, value) in [(0x43, 0x34), (0x40, 0xa9), (0x40, 0x04)] {
            out(a, port, value);
        }
        a.sti().expect("a sti");
        a.hlt().expect("a hlt");
    });
    plan.devices = vec![disk(b"hello")];
    let log = run(&plan);
    assert_eq!(log.ended, Ended::Idle);
    let told: Vec<_> = log
        .records
        .iter()
        .filter_map(|record| match record.event {
            Event::Unwoken { source, why, .. } => Some((source, why)),
            _ => None,
        })
        .collect();
    let expected = [
        (WakeSource::ApicTimer, WhyAsleep::Unset),
        (WakeSource::Timer, WhyAsleep::Masked),
        (WakeSource::Com1, WhyAsleep::Masked),
        (WakeSource::Device, WhyAsleep::Masked),
    ];
    assert_eq!(told, expected);
    // The disk was waited for, and nobody beyond.
    assert!(log.records.last().is_some_and(|record| record.t_ns < 1_000_000));
}

/// SDM volume 3, 11.12.11 (self IPI), 11.8.3.1 and 11.8.6 (CR8).
#[test]
fn a_guest_interrupts_itself_and_its_priority_holds_that_off() {
    let log = run(&small(|a| {
        let (mut handler, mut late) = (a.create_label(), a.create_label());
        handle(a, 0x35, handler);
        msr(a, 0x1b, 0xfee0_0d00);
        a.sti().expect("a sti");
        // Priority 3: class 3 waits.
        msr(a, 0x808, 0x30);
        msr(a, 0x83f, 0x35);
        a.mov(ecx, 0x821).expect("a mov"); // requested: 0x20 to 0x3f
        a.rdmsr().expect("a rdmsr");
        a.cmp(eax, 1 << 21).expect("a cmp");
        a.jne(late).expect("a jump");
        a.mov(rax, iced_x86::code_asm::cr8).expect("a mov");
        a.mov(r13, rax).expect("a mov");
        a.mov(eax, 2).expect("a mov");
        a.mov(iced_x86::code_asm::cr8, rax).expect("a mov");
        a.set_label(&mut late).expect("a label");
        a.exit(1);
        a.set_label(&mut handler).expect("a label");
        // It was presented only then, and the priority reads as it was set by either.
        a.mov(rax, r13).expect("a mov");
        a.exit_with_rax();
    }));
    assert_eq!(log.ended, Ended::Exit(3));
}

/// SDM volume 2, HLT; volume 3, 6.7; 82093AA data sheet, 3.2.4 (delivery mode).
#[test]
fn a_non_maskable_interrupt_wakes_a_guest_that_does_not_listen() {
    let log = run(&small(|a| {
        let mut handler = a.create_label();
        handle(a, 2, handler);
        // The 8254 as a watchdog.
        route(a, 2, 0x400);
        for (port, value) in [(0x43, 0x34), (0x40, 0xa9), (0x40, 0x04)] {
            out(a, port, value);
        }
        a.hlt().expect("a hlt");
        a.exit(1);
        a.set_label(&mut handler).expect("a label");
        a.exit(2);
    }));
    assert_eq!(log.ended, Ended::Exit(2));
    assert!(log.records.iter().any(|record| record.event == Event::Woken { vector: None }));
}

/// SDM volume 3, table 11-6.
#[test]
fn what_the_local_apic_does_not_have_is_a_protection_fault_or_our_limit() {
    let writes = |number, value| run(&small(|a| msr(a, number, value))).ended;
    for (number, value) in [(0x802, 0), (0x80b, 1), (0x1b, 0xfee0_0400), (0x1b, 0xfee0_0901)] {
        let ended = writes(number, value);
        assert!(matches!(ended, Ended::Fault { vector: GP, .. }), "{number:#x}: {ended:?}");
    }
    let elsewhere = writes(0x1b, 0xfed0_0900);
    assert!(matches!(elsewhere, Ended::Unsupported { .. }), "{elsewhere:?}");
    // In x2APIC mode nobody answers at its page.
    let gone = run(&small(|a| {
        msr(a, 0x1b, 0xfee0_0d00);
        a.mov(rbx, LOCAL_APIC.0 + 0x20).expect("a mov");
        a.mov(eax, dword_ptr(rbx)).expect("a load");
    }));
    assert!(matches!(gone.ended, Ended::Fault { vector: 18, .. }), "{:?}", gone.ended);
    let wide = run(&small(|a| {
        a.mov(rbx, LOCAL_APIC.0 + 0x20).expect("a mov");
        a.mov(rax, qword_ptr(rbx)).expect("a load");
    }));
    assert!(matches!(wide.ended, Ended::Unsupported { .. }), "{:?}", wide.ended);
}

/// SDM volume 3, 11.4.2, 11.4.3.
#[test]
fn cpuid_tells_of_the_local_apic_and_follows_its_switch() {
    let bit_9 = |a: &mut CodeAssembler| {
        a.mov(eax, 1).expect("a mov");
        a.cpuid().expect("a cpuid");
        a.shr(edx, 9).expect("a shift");
        a.and(edx, 1).expect("an and");
    };
    let log = run(&small(|a| {
        bit_9(a);
        a.push(rdx).expect("a push");
        msr(a, 0x1b, 0xfee0_0100);
        bit_9(a);
        a.pop(rax).expect("a pop");
        a.shl(edx, 1).expect("a shift");
        a.or(eax, edx).expect("an or");
        a.exit_with_rax();
    }));
    assert_eq!(log.ended, Ended::Exit(1));
}

/// What is converted, and how the run came out; how often the guest was interrupted, and woken.
pub fn conversions(plan: &Plan) -> (String, Vec<(&'static str, u64)>, u64, u64) {
    let log = run(plan);
    let counters = Counters::of(&log.records, plan.guest.marks);
    let all = |counter| counters.sum(counter, &Phase::ALL);
    let ended = match &log.ended {
        // Where exactly is the code's, which differs between the two.
        Ended::Fault { vector, .. } => format!("fault {vector}"),
        other => other.to_string(),
    };
    let wanted = [
        Counter::UvShare,
        Counter::UvUnshare,
        Counter::UvPageOut,
        Counter::UvPageIn,
        Counter::RoundTrips,
        Counter::BounceCopies,
        Counter::DmaMaps,
        Counter::Requests,
    ];
    let counts = wanted.map(|counter| (counter.name(), all(counter))).to_vec();
    (ended, counts, all(Counter::Interrupts), all(Counter::Wakes))
}

#[test]
fn each_design_converts_the_same_pages_whether_its_guest_polls_or_sleeps() {
    let thread = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/thread");
    let files = ["secure.ron", "normal.ron"].map(|file| thread.join(file));
    let selection = select::select(&files, 1).expect("the shipped files are right");
    let mut designs = BTreeSet::new();
    let mut slept = 0;
    for planned in selection.runs {
        let Plan { design, guest, .. } = &planned.plan;
        if !designs.insert((design.clone(), guest.secure)) {
            continue;
        }
        let mut sleeping = planned.plan.clone();
        sleeping.guest.waits = Waits::Interrupts;
        let (ended, counts, interrupts, wakes) = conversions(&planned.plan);
        assert_eq!((interrupts, wakes), (0, 0), "{}", planned.plan.id);
        let (ended_asleep, counts_asleep, interrupts, wakes) = conversions(&sleeping);
        assert_eq!((ended_asleep, counts_asleep), (ended, counts), "{}", planned.plan.id);
        assert!(wakes <= interrupts);
        slept += u64::from(wakes > 0);
    }
    assert!(designs.len() >= 40, "{}", designs.len());
    assert!(slept >= 30, "{slept}");
}
