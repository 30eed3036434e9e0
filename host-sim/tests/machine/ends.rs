//! Every way in which a run ends.

use crate::small::{DATA, RING, SECTOR, Write, disk, position, run, small};
use host_sim::event::{Budget, Ended, Event, ExitReason, LeakPlace, Seen, WaitBy};
use host_sim::log::{BY_TAMPERING, RunLog};
use host_sim::scenario::plan::{OnTamper, Plan};
use iced_x86::code_asm::{CodeAssembler, al, byte_ptr, dword_ptr, eax, ecx, rax, rbx, rcx, rdx};
use ultravisor_abi::boot::IMAGES;
use ultravisor_abi::{Hcall, Ucall};

fn waited(log: &RunLog, wanted: WaitBy) -> u64 {
    let waits = log.records.iter().filter_map(|record| match record.event {
        Event::Wait { by, ns } if by == wanted => Some(ns),
        _ => None,
    });
    waits.sum()
}

#[test]
fn a_guest_that_halts_with_nothing_due_is_idle_and_has_left_the_cpu() {
    let log = run(&small(|a| a.hlt().expect("encodable")));
    assert_eq!(log.ended, Ended::Idle);
    let exit = Event::Exit { reason: ExitReason::Idle };
    assert_eq!(log.records.iter().filter(|record| record.event == exit).count(), 1);
}

#[test]
fn a_guest_that_cedes_with_nothing_due_is_idle() {
    let log = run(&small(|a| a.request(Hcall::Cede.number(), [0; 5])));
    assert_eq!(log.ended, Ended::Idle);
}

#[test]
fn a_guest_that_pauses_is_idle_after_one_virtual_second() {
    let log = run(&small(|a| {
        let mut again = a.create_label();
        a.set_label(&mut again).expect("free");
        a.pause().expect("encodable");
        a.jmp(again).expect("encodable");
    }));
    assert_eq!(log.ended, Ended::Idle);
    assert_eq!(waited(&log, WaitBy::Pause), 1_000_000_000);
}

/// A guest that pauses until a clock says that two seconds have passed: `look` leaves in rax what it
/// says, `passed` how much it says then.
fn waiting_by(passed: u64, look: impl Fn(&mut CodeAssembler)) -> RunLog {
    run(&small(|a| {
        look(a);
        a.mov(rbx, rax).expect("encodable");
        let mut again = a.create_label();
        a.set_label(&mut again).expect("free");
        a.pause().expect("encodable");
        look(a);
        a.sub(rax, rbx).expect("encodable");
        a.cmp(rax, passed as i32).expect("encodable");
        a.jb(again).expect("encodable");
        a.exit(0);
    }))
}

#[test]
fn a_guest_that_looks_at_a_clock_while_it_pauses_is_not_idle() {
    let by_stamp = waiting_by(2_000_000_000, |a| {
        a.rdtsc().expect("encodable");
        a.shl(rdx, 32).expect("encodable");
        a.or(rax, rdx).expect("encodable");
    });
    let by_date = waiting_by(2, |a| {
        a.xor(eax, eax).expect("encodable");
        a.out(0x70, al).expect("encodable");
        a.in_(al, 0x71).expect("encodable");
    });
    let by_timer = waiting_by(2_000_000_000, |a| {
        a.mov(ecx, 0xfee0_0000_u32).expect("encodable");
        a.xor(eax, eax).expect("encodable");
        a.sub(eax, dword_ptr(rcx + 0x390)).expect("encodable");
        a.mov(dword_ptr(rcx + 0x3e0), 0xb).expect("encodable");
        a.cmp(dword_ptr(rcx + 0x380), 0).expect("encodable");
        let mut is_running = a.create_label();
        a.jne(is_running).expect("encodable");
        a.mov(dword_ptr(rcx + 0x380), -1).expect("encodable");
        a.set_label(&mut is_running).expect("free");
    });
    for (log, what) in [(by_stamp, "rdtsc"), (by_date, "CMOS"), (by_timer, "APIC")] {
        assert_eq!(log.ended, Ended::Exit(0), "{what}");
        let waited = waited(&log, WaitBy::Pause);
        assert!((1_000_000_000..3_000_000_000).contains(&waited), "{what}: {waited}");
    }
}

#[test]
fn a_guest_that_never_stops_uses_up_its_budget_exactly() {
    let mut plan = small(|a| {
        let mut again = a.create_label();
        a.set_label(&mut again).expect("free");
        a.inc(rax).expect("encodable");
        a.jmp(again).expect("encodable");
    });
    plan.guest.units_max = 1001;
    let log = run(&plan);
    assert_eq!(log.ended, Ended::Budget(Budget::WorkUnits));
    let last = log.records.last().map(|record| record.event.clone());
    assert_eq!(last, Some(Event::Retired { instructions: 1001, units: 1001 }));
}

#[test]
fn an_exception_without_a_handler_is_a_fault_at_its_instruction() {
    let log = run(&small(|a| {
        a.nop().expect("encodable");
        a.ud2().expect("encodable");
    }));
    assert_eq!(
        log.ended,
        Ended::Fault { vector: 6, rip: IMAGES.0 + 1, error: None, address: None }
    );
}

#[test]
fn an_access_that_nobody_answers_is_a_machine_check() {
    for at in [0xd000_0000_u64, 0xe010_0123, 0xc000_0000] {
        let log = run(&small(|a| {
            a.mov(rcx, at).expect("encodable");
            a.mov(al, byte_ptr(rcx)).expect("encodable");
        }));
        let Ended::Fault { vector: 18, address, .. } = log.ended else { panic!("{}", log.ended) };
        assert_eq!(address, Some(at));
    }
}

#[test]
fn what_the_machine_does_not_have_is_our_limit() {
    let log = run(&small(|a| a.vzeroupper().expect("encodable")));
    let Ended::Unsupported { bytes, what, .. } = log.ended else { panic!("{}", log.ended) };
    assert_eq!((&bytes[..], &*what), (&[0xc5, 0xf8, 0x77][..], "vzeroupper"));
}

/// A secure guest has its disk read into a secure unit, and then does `then`.
fn tampering(on_tamper: OnTamper, then: impl FnOnce(&mut CodeAssembler)) -> Plan {
    let mut plan = small(|a| {
        a.become_secure();
        a.start_disk();
        a.ask(1, DATA, SECTOR, true);
        a.wait_for(1);
        then(a);
        a.exit(0);
    });
    plan.machine.on_tamper = on_tamper;
    plan.devices = vec![disk(b"plain")];
    plan
}

fn look(a: &mut CodeAssembler) {
    a.mov(rcx, DATA).expect("encodable");
    a.mov(al, byte_ptr(rcx)).expect("encodable");
}

#[test]
fn code_where_there_is_no_ram_is_told_as_that() {
    let log = run(&small(|a| {
        a.mov(rcx, 0x8000_0000_u64).expect("encodable");
        a.jmp(rcx).expect("encodable");
    }));
    assert!(matches!(&log.ended, Ended::Unsupported { bytes, .. } if bytes.is_empty()));
    let told = host_sim::output::ends::sentence(&log.ended).expect("a sentence");
    assert!(
        told.ends_with("at 0x80000000: code, or tables of pages, where there is no RAM"),
        "{told}"
    );
}

#[test]
fn a_unit_that_a_device_wrote_is_never_seen_again() {
    let log = run(&tampering(OnTamper::Refault, look));
    assert_eq!(log.ended, Ended::Refault(DATA));
    assert!(position(&log, |event| matches!(event, Event::Tampered { .. })).is_some());
    assert_eq!(waited(&log, WaitBy::Refault), 0);
}

#[test]
fn with_somebody_due_a_refault_waits_and_is_tried_again() {
    let log = run(&tampering(OnTamper::Refault, |a| {
        a.register(0x50, 0);
        look(a);
    }));
    assert_eq!(log.ended, Ended::Refault(DATA));
    let tampered = |event: &Event| matches!(event, Event::Tampered { .. });
    assert_eq!(log.records.iter().filter(|record| tampered(&record.event)).count(), 2);
    assert!(
        position(&log, |event| matches!(event, Event::Wait { by: WaitBy::Refault, .. })).is_some()
    );
}

#[test]
fn where_tampering_terminates_a_touch_ends_the_vm_by_that_name() {
    let log = run(&tampering(OnTamper::Terminate, look));
    assert_eq!(log.ended, Ended::SvmTerminated(BY_TAMPERING));
}

#[test]
fn where_tampering_terminates_a_call_that_needs_the_unit_ends_the_vm_by_that_name_too() {
    let share = |a: &mut CodeAssembler| {
        a.request(Ucall::SharePage.number(), [DATA >> 16, 1, 0, 0, 0]);
    };
    let log = run(&tampering(OnTamper::Terminate, share));
    assert_eq!(log.ended, Ended::SvmTerminated(BY_TAMPERING));
    let log = run(&tampering(OnTamper::Refault, share));
    assert_eq!(log.ended, Ended::Exit(0), "the call is refused and the guest goes on");
}

/// A secure guest that declares the 16 bytes at `DATA` as its secret and then does `then`.
fn with_secret(then: impl FnOnce(&mut CodeAssembler)) -> Vec<LeakPlace> {
    let mut plan = small(|a| {
        a.become_secure();
        a.store(DATA, 0x1122_3344_5566_7788);
        a.store(DATA + 8, 0x99aa_bbcc_ddee_ff01);
        a.request(ultravisor_abi::OurCall::Secret.number(), [DATA, 16, 0, 0, 0]);
        a.start_disk();
        then(a);
        a.exit(0);
    });
    plan.devices = vec![disk(b"")];
    let log = run(&plan);
    assert_eq!(log.ended, Ended::Exit(0));
    let leaks = log.records.iter().filter_map(|record| match record.event {
        Event::Leak { place, .. } => Some(place),
        _ => None,
    });
    leaks.collect()
}

#[test]
fn a_secret_shows_wherever_the_host_can_see_it_and_nowhere_else() {
    let [low, high] = [0x1122_3344_5566_7788, 0x99aa_bbcc_ddee_ff01];
    let shared = RING + 0x8000;
    assert_eq!(with_secret(|_| {}), []);
    assert_eq!(
        with_secret(|a| {
            a.store(shared, low);
            a.store(shared + 8, high);
        }),
        [LeakPlace::Memory]
    );
    // Across two units.
    assert_eq!(
        with_secret(|a| {
            a.request(Ucall::SharePage.number(), [(RING >> 16) + 1, 1, 0, 0, 0]);
            a.store(RING + 0x1_0000 - 8, low);
            a.store(RING + 0x1_0000, high);
        }),
        [LeakPlace::Memory]
    );
    assert_eq!(
        with_secret(|a| {
            a.store(shared, low);
            a.store(shared + 8, high);
            a.ask(1, shared, SECTOR, false);
            a.wait_for(1);
            a.store(shared, 0);
        }),
        [LeakPlace::Read, LeakPlace::Disk]
    );
    assert_eq!(
        with_secret(|a| a.request(Hcall::PutTermChar.number(), [0, 16, low, high, 0])),
        [LeakPlace::Console]
    );
    // Sealed, it does not show, wherever it goes.
    assert_eq!(
        with_secret(|a| {
            a.ask(1, DATA, SECTOR, false);
            a.wait_for(1);
        }),
        []
    );
}

#[test]
fn a_secure_unit_shows_as_ciphertext_and_comes_back() {
    let mut plan = small(|a| {
        a.become_secure();
        a.store(DATA, 42);
        a.start_disk();
        a.ask(1, DATA, SECTOR, false);
        a.wait_for(1);
        a.mov(rcx, DATA).expect("encodable");
        a.mov(rax, iced_x86::code_asm::qword_ptr(rcx)).expect("encodable");
        a.exit_with_rax();
    });
    plan.devices = vec![disk(b"")];
    let log = run(&plan);
    assert_eq!(log.ended, Ended::Exit(42));
    let sealed =
        |event: &Event| matches!(event, Event::Touch { gpa: DATA, seen: Seen::Sealed, .. });
    assert!(position(&log, sealed).is_some());
}
