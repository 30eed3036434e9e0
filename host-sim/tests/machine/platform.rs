//! What QEMU does at the switch and after it: devices flipped, devices plugged, pages given back.

use crate::small::{DATA, RING, SECTOR, Write, disk, position, run, small};
use host_sim::counters::{Counter, Counters, Phase};
use host_sim::device::transport::{ACCESS_PLATFORM, VERSION_1};
use host_sim::event::{DeviceIndex, Ended, Event, Part, Seen, WaitBy};
use host_sim::log::RunLog;
use host_sim::scenario::plan::{Backend, DeviceKind, Plan, Plugged};
use iced_x86::code_asm::{CodeAssembler, qword_ptr, rax, rcx};
use ultravisor_abi::boot::IMAGES;
use ultravisor_abi::{Hcall, UStatus, Ucall, UnitSize};

fn esm(a: &mut CodeAssembler) {
    a.request(Ucall::Esm.number(), [IMAGES.0, 0x1_0000, 0, 0, 0]);
}

fn share(a: &mut CodeAssembler, at: u64) {
    a.request(Ucall::SharePage.number(), [at >> 16, 1, 0, 0, 0]);
}

/// A guest that has used its disk when it becomes secure, and then does `then`.
fn switching(then: impl FnOnce(&mut CodeAssembler)) -> Plan {
    let mut plan = small(|a| {
        a.start_disk();
        a.ask(1, DATA, SECTOR, true);
        a.wait_for(1);
        esm(a);
        share(a, RING);
        share(a, DATA);
        then(a);
        (0..4).for_each(|_| a.pause().expect("encodable"));
        a.exit(0);
    });
    plan.guest.secure = true;
    plan.machine.flips_at_esm = true;
    plan.devices = vec![disk(b"x")];
    plan
}

fn flips(log: &RunLog) -> usize {
    let flip = Event::Flip { device: DeviceIndex(0) };
    log.records.iter().filter(|record| record.event == flip).count()
}

#[test]
fn a_device_that_was_probed_before_it_is_flipped_faults_on_its_own_ring() {
    let log = run(&switching(|a| a.ask(2, DATA, SECTOR, true)));
    assert_eq!(log.ended, Ended::Exit(0));
    assert_eq!(flips(&log), 1);
    let flip = position(&log, |event| matches!(event, Event::Flip { .. })).expect("as counted");
    let fault =
        |event: &Event| matches!(event, Event::Touch { part: Part::Used, seen: Seen::Fault, .. });
    assert!(position(&log, fault) > Some(flip));
    let broken = position(&log, |event| {
        matches!(event, Event::Broken { reason, needs_reset: true, .. }
            if reason.contains("is not mapped in the IOMMU"))
    });
    assert!(broken > Some(flip));

    let mut plan = switching(|a| a.ask(2, DATA, SECTOR, true));
    plan.machine.flips_at_esm = false;
    let log = run(&plan);
    assert_eq!(flips(&log), 0);
    assert_eq!(position(&log, |event| matches!(event, Event::Broken { .. })), None);
}

#[test]
fn a_device_that_is_reset_after_it_was_flipped_offers_bit_33_and_works_through_tces() {
    let log = run(&switching(|a| {
        a.start_disk_with(VERSION_1 | ACCESS_PLATFORM);
        for page in (0..5).map(|page| RING + page * 0x1000).chain([DATA]) {
            a.request(Hcall::PutTce.number(), [0x1000_0000, page, page | 3, 0, 0]);
        }
        a.store(RING + 0x2000, 0);
        a.ask(1, DATA, SECTOR, true);
    }));
    assert_eq!((log.ended.clone(), flips(&log)), (Ended::Exit(0), 1));
    let completed = |event: &Event| matches!(event, Event::Completed { .. });
    let done = log.records.iter().filter(|record| completed(&record.event)).count();
    assert_eq!(done, 2, "one before the switch, one after");
}

#[test]
fn a_legacy_device_cannot_be_flipped() {
    let mut plan = switching(|_| {});
    plan.devices[0].options.legacy = true;
    plan.guest.image = small(|a| {
        esm(a);
        a.exit(0);
    })
    .guest
    .image;
    let log = run(&plan);
    assert_eq!((log.ended.clone(), flips(&log)), (Ended::Exit(0), 0));
}

/// The device id that a guest reads before it calls UV_ESM, and after.
fn ids(secure: bool, calls: bool) -> (u64, u64, usize) {
    let id = |after: bool| {
        let mut plan = small(|a| {
            if calls && after {
                esm(a);
            }
            a.load_register(8);
            a.exit_with_rax();
        });
        plan.guest.secure = secure;
        plan.devices = vec![disk(b"x")];
        plan.devices[0].plugged = Plugged::AfterSwitch;
        run(&plan)
    };
    let (before, after) = (id(false), id(true));
    let plugged = |event: &Event| matches!(event, Event::Plugged { .. });
    let told = after.records.iter().filter(|record| plugged(&record.event)).count();
    let (Ended::Exit(before), Ended::Exit(after)) = (before.ended, after.ended) else {
        panic!("it exits")
    };
    (before, after, told)
}

#[test]
fn a_device_plugged_after_the_switch_is_an_empty_place_until_the_vm_is_secure() {
    assert_eq!(ids(true, true), (0, 2, 1));
    assert_eq!(ids(true, false), (0, 0, 0), "a switch that never comes");
    assert_eq!(ids(false, false), (2, 2, 0), "no switch to wait for");
}

#[test]
fn what_is_written_to_an_empty_place_is_lost() {
    let mut plan = small(|a| {
        a.register(0x70, 1);
        esm(a);
        a.load_register(0x70);
        a.exit_with_rax();
    });
    plan.guest.secure = true;
    plan.devices = vec![disk(b"x")];
    plan.devices[0].plugged = Plugged::AfterSwitch;
    assert_eq!(run(&plan).ended, Ended::Exit(0));
}

/// A guest that gives its page at [`DATA`] to the balloon and looks at it afterwards.
fn inflating(secure: bool, unit: UnitSize) -> RunLog {
    const NUMBERS: u64 = RING + 0x3000;
    let mut plan = small(|a| {
        if secure {
            esm(a);
            a.request(
                Ucall::SharePage.number(),
                [RING >> unit.order(), 0x1_0000 >> unit.order()]
                    .into_iter()
                    .chain([0; 3])
                    .collect::<Vec<_>>()
                    .try_into()
                    .expect("five"),
            );
        }
        a.store(DATA, 7);
        a.start_disk();
        a.store(NUMBERS, DATA >> 12 | 0xffff_0000 << 32);
        a.store(RING, NUMBERS);
        a.store(RING + 8, 8);
        a.store(RING + 0x1000, 1 << 16);
        a.register(0x50, 0);
        a.wait_for(1);
        a.mov(rcx, DATA).expect("encodable");
        a.mov(rax, qword_ptr(rcx)).expect("encodable");
        a.exit_with_rax();
    });
    plan.guest.secure = secure;
    plan.machine.unit = unit;
    plan.devices = vec![disk(b"")];
    plan.devices[0].kind = DeviceKind::Balloon;
    run(&plan)
}

#[test]
fn the_host_gets_a_normal_guests_page_back_and_a_secure_ones_never() {
    for unit in [UnitSize::KIB_4, UnitSize::KIB_64] {
        for (secure, left, reclaimed) in [(false, 0, 4096), (true, 7, 0)] {
            let log = inflating(secure, unit);
            assert_eq!(log.ended, Ended::Exit(left), "secure {secure}, {unit:?}");
            let told = log.records.iter().find_map(|record| match record.event {
                Event::Balloon { inflate: true, pages, skipped, reclaimed, .. } => {
                    Some((pages, skipped, reclaimed))
                }
                _ => None,
            });
            assert_eq!(told, Some((1, 1, reclaimed)));
            let counters = Counters::of(&log.records, false);
            let count = |counter| counters.get(counter, Phase::Steady);
            assert_eq!(count(Counter::BalloonInflated), 1);
            assert_eq!(count(Counter::BalloonReclaimed), reclaimed);
            let refused = |event: &Event| {
                matches!(event, Event::UvCall { call: Ucall::PageInval, status, .. }
                    if *status == UStatus::P2)
            };
            assert_eq!(position(&log, refused).is_some(), secure, "the ultravisor keeps it");
        }
    }
}

/// A guest with a disk whose back end polls.
fn polled(secure: bool, then: impl FnOnce(&mut CodeAssembler)) -> RunLog {
    let mut plan = small(|a| {
        if secure {
            a.become_secure();
        }
        a.start_disk();
        then(a);
        a.exit(0);
    });
    plan.devices = vec![disk(b"x")];
    plan.devices[0].options.backend = Backend::Poll;
    run(&plan)
}

fn touches(log: &RunLog, wanted: Part) -> usize {
    let told = |event: &Event| matches!(event, Event::Touch { part, .. } if *part == wanted);
    log.records.iter().filter(|record| told(&record.event)).count()
}

#[test]
fn a_back_end_that_polls_needs_no_kick() {
    let log = polled(false, |a| {
        a.make_available(1, DATA, SECTOR, true);
        a.wait_for(1);
        a.make_available(2, DATA, SECTOR, true);
        a.wait_for(2);
    });
    assert_eq!(log.ended, Ended::Exit(0));
    assert_eq!(position(&log, |event| matches!(event, Event::Kick { .. })), None);
    let no_notify = |event: &Event| matches!(event, Event::Touch { part: Part::Used, .. });
    assert!(position(&log, no_notify).is_some(), "it asks not to be notified");
}

#[test]
fn a_guest_that_waits_for_polls_alone_is_idle_after_one_virtual_second() {
    for by in [WaitBy::Pause, WaitBy::Halt] {
        let log = polled(false, |a| {
            let mut again = a.create_label();
            a.set_label(&mut again).expect("free");
            match by {
                WaitBy::Pause => a.pause().expect("encodable"),
                _ => a.hlt().expect("encodable"),
            }
            a.jmp(again).expect("encodable");
        });
        assert_eq!(log.ended, Ended::Idle);
        let polls = touches(&log, Part::Avail);
        assert!((2_400..2_600).contains(&polls), "{polls} in a second");
    }
}

#[test]
fn polling_a_ring_in_secure_memory_pages_it_out_whenever_the_guest_looks_at_it() {
    let log = polled(true, |a| {
        a.request(Ucall::UnsharePage.number(), [RING >> 16, 1, 0, 0, 0]);
        for _ in 0..10 {
            a.pause().expect("encodable");
            a.mov(rcx, RING).expect("encodable");
            a.mov(rax, qword_ptr(rcx)).expect("encodable");
        }
    });
    let counters = Counters::of(&log.records, false);
    let trips = counters.get(Counter::RoundTrips, Phase::Steady);
    assert!(trips >= 1, "{trips}");
}

#[test]
fn a_reset_ends_the_polling() {
    let log = polled(false, |a| {
        a.register(0x70, 0);
        (0..10).for_each(|_| a.pause().expect("encodable"));
    });
    assert_eq!((log.ended.clone(), touches(&log, Part::Avail)), (Ended::Exit(0), 0));
}
