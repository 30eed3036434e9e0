//! Calls: what a guest asks of hypervisor and ultravisor, and what the hypervisor sees of it.

use crate::small::{DATA, RING, Write, hypercalls, run, small};
use host_sim::event::{Ended, Event};
use iced_x86::code_asm::{CodeAssembler, qword_ptr, rax, rcx, rdx};
use ultravisor_abi::boot::IMAGES;
use ultravisor_abi::{HStatus, Hcall, Ucall};

const GARBAGE: u64 = 0x5ec2_e75e_c2e7_0001;

fn put(a: &mut CodeAssembler, length: u64) {
    let text = u64::from_le_bytes(*b"abcdefgh");
    a.request(Hcall::PutTermChar.number(), [0, length, text, text, GARBAGE]);
    a.exit(0);
}

#[test]
fn the_hypervisor_sees_all_of_a_normal_guests_registers_and_of_a_secure_ones_only_arguments() {
    let text = u64::from_le_bytes(*b"abcdefgh");
    let normal = run(&small(|a| put(a, 16)));
    assert_eq!(hypercalls(&normal, Hcall::PutTermChar)[0].1[..5], [0, 16, text, text, GARBAGE]);
    let secure = run(&small(|a| {
        a.become_secure();
        put(a, 16);
    }));
    let told = hypercalls(&secure, Hcall::PutTermChar);
    assert_eq!(told, [(HStatus::Success, [0, 16, text, text, 0, 0])]);
}

#[test]
fn the_console_takes_up_to_16_bytes_of_terminal_0() {
    for (length, status) in [(0, HStatus::Success), (16, HStatus::Success), (17, HStatus::P2)] {
        let log = run(&small(|a| put(a, length)));
        assert_eq!(hypercalls(&log, Hcall::PutTermChar)[0].0, status, "{length}");
        let shown = log.records.iter().find_map(|record| match &record.event {
            Event::Console { device: None, bytes } => Some(bytes.clone()),
            _ => None,
        });
        let meant = b"abcdefghabcdefgh".get(..length as usize).map(<[u8]>::to_vec);
        assert_eq!(shown, meant, "{length}");
    }
    let log = run(&small(|a| {
        a.request(Hcall::PutTermChar.number(), [1, 1, 0, 0, 0]);
        a.exit(0);
    }));
    assert_eq!(hypercalls(&log, Hcall::PutTermChar)[0].0, HStatus::Parameter);
}

/// What the guest gets from a call, by its exit code.
fn answer(secure: bool, number: u64, args: [u64; 5]) -> Ended {
    let log = run(&small(|a| {
        if secure {
            a.become_secure();
        }
        a.request(number, args);
        a.exit_with_rax();
    }));
    log.ended
}

#[test]
fn a_guest_is_not_told_success_for_what_nobody_did() {
    for secure in [false, true] {
        for call in [Hcall::LogicalCiLoad, Hcall::LogicalCiStore] {
            let ended = answer(secure, call.number(), [4, 0xd000_0000, 0, 0, 0]);
            assert_eq!(ended, Ended::Exit(HStatus::Function.code().cast_unsigned()), "{call:?}");
        }
    }
}

#[test]
fn the_ultravisors_own_hypercalls_are_not_a_guests() {
    let page_in = Hcall::SvmPageIn.number();
    let unsupported = HStatus::Unsupported.code().cast_unsigned();
    let function = HStatus::Function.code().cast_unsigned();
    assert_eq!(answer(false, page_in, [DATA, 0, 16, 0, 0]), Ended::Exit(unsupported));
    assert_eq!(answer(true, page_in, [DATA, 0, 16, 0, 0]), Ended::Exit(function));
}

#[test]
fn becoming_secure_moves_memory_under_the_cpus_eyes() {
    // The CPU has read DATA before, or written it too: both sides of its TLB must go. What was
    // only read was never taken in, so no event names its unit.
    for written in [false, true] {
        let log = run(&small(|a| {
            if written {
                a.store(DATA, 40);
            }
            a.mov(rcx, DATA).expect("encodable");
            a.mov(rax, qword_ptr(rcx)).expect("encodable");
            a.request(Ucall::Esm.number(), [IMAGES.0, 0x1_0000, 0, 0, 0]);
            a.mov(rcx, DATA).expect("encodable");
            a.mov(rdx, 2_u64).expect("encodable");
            a.add(qword_ptr(rcx), rdx).expect("encodable");
            a.mov(rax, qword_ptr(rcx)).expect("encodable");
            a.exit_with_rax();
        }));
        assert_eq!(log.ended, Ended::Exit(if written { 42 } else { 2 }));
    }
}

#[test]
fn a_unit_is_zero_for_the_guest_after_sharing_and_after_taking_back_and_not_after_sharing_twice() {
    let shares = |calls: &[Ucall], meant: u64| {
        let log = run(&small(|a| {
            a.become_secure();
            for call in calls {
                a.store(DATA, 7);
                a.request(call.number(), [DATA >> 16, 1, 0, 0, 0]);
            }
            a.mov(rcx, DATA).expect("encodable");
            a.mov(rax, qword_ptr(rcx)).expect("encodable");
            a.exit_with_rax();
        }));
        assert_eq!(log.ended, Ended::Exit(meant), "{calls:?}");
    };
    shares(&[], 0);
    shares(&[Ucall::SharePage], 0);
    shares(&[Ucall::SharePage, Ucall::UnsharePage], 0);
    shares(&[Ucall::SharePage, Ucall::SharePage], 7);
    shares(&[Ucall::UnsharePage], 7);
}

#[test]
fn a_store_to_a_device_of_a_secure_guest_is_an_exit_first_and_then_the_ultravisors_hypercall() {
    let mut plan = small(|a| {
        a.become_secure();
        a.register(0x70, 1);
        a.exit(0);
    });
    plan.devices = vec![crate::small::disk(b"")];
    let log = run(&plan);
    let reflected =
        |event: &Event| matches!(event, Event::HvCall { call: Hcall::LogicalCiStore, .. });
    let at = crate::small::position(&log, reflected).expect("it is reflected");
    assert!(matches!(log.records[at - 1].event, Event::Exit { .. }), "{:?}", log.records[at - 1]);
    assert_eq!(hypercalls(&log, Hcall::LogicalCiStore)[0].1, [4, 0xd000_0070, 1, 0, 0, 0]);
    assert!(matches!(log.records[at + 1].event, Event::Register { write: true, .. }));
    assert_eq!(RING >> 16, 0x40);
}
