//! UV_ESM.

use crate::fake::{HIGH, Kvm, LOW, UNITS, World, asks_in, config, page_args, pattern, refuse_nth};
use sha2::{Digest, Sha256};
use ultravisor::event::UvEvent;
use ultravisor::platform::RamRange;
use ultravisor::{Effect, LPID, Life, PageOp, PageState};
use ultravisor_abi::{Gfn, Gpa, HStatus, Hcall, UStatus, Ucall, UnitSize};

/// A normal guest that wrote units 1, 3 and the second above the hole.
fn normal_guest(unit: UnitSize) -> (World, [Gfn; 3]) {
    let mut world = World::new(config(unit));
    let written = [Gfn(1), Gfn(3), Gfn(world.high().0 + 1)];
    for gfn in written {
        world.fill(gfn, pattern(gfn));
    }
    world.uv.take_events();
    (world, written)
}

fn digest_of(world: &World, written: &[Gfn]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for gfn in written {
        hash.update(world.unit.start(*gfn).0.to_le_bytes());
        hash.update(vec![pattern(*gfn); world.unit.bytes() as usize]);
    }
    hash.finalize().into()
}

fn measured(events: &[UvEvent]) -> Option<(u64, [u8; 32])> {
    events.iter().find_map(|event| match event {
        UvEvent::Measured { units, digest } => Some((*units, *digest)),
        UvEvent::Call { .. }
        | UvEvent::Page { .. }
        | UvEvent::Tampered { .. }
        | UvEvent::Life { .. } => None,
    })
}

#[test]
fn what_was_written_is_taken_in_and_measured_and_the_rest_is_zero_without_a_copy() {
    for unit in UNITS {
        let (mut world, written) = normal_guest(unit);
        assert_eq!(world.guest(Ucall::Esm, [0x10_0000, 0x1_0000]), UStatus::Success);
        assert_eq!(world.uv.life(), Life::Secure);

        let asked: Vec<_> = world.kvm.asked.iter().map(|(call, args)| (*call, args[0])).collect();
        let page_in = |gfn: Gfn| (Hcall::SvmPageIn, unit.start(gfn).0);
        let [a, b, c] = written.map(page_in);
        assert_eq!(asked, [(Hcall::SvmInitStart, 0), a, b, c, (Hcall::SvmInitDone, 0)]);

        let events = world.uv.take_events();
        let moved = events.iter().filter_map(|event| match event {
            UvEvent::Page { gfn, op, effect, bytes, .. } => Some((*gfn, *op, *effect, *bytes)),
            UvEvent::Call { .. }
            | UvEvent::Tampered { .. }
            | UvEvent::Life { .. }
            | UvEvent::Measured { .. } => None,
        });
        let taken = |gfn| (gfn, PageOp::TakeIn, Effect::Take, unit.bytes());
        assert_eq!(moved.collect::<Vec<_>>(), written.map(taken));
        assert_eq!(measured(&events), Some((3, digest_of(&world, &written))));

        for gfn in world.all_units() {
            let byte = if written.contains(&gfn) { pattern(gfn) } else { 0 };
            assert_eq!(world.state(gfn), PageState::Secure, "{gfn:?}");
            assert_eq!(world.seen(gfn), Some(vec![byte; unit.bytes() as usize]), "{gfn:?}");
            assert!(world.normal(gfn).iter().all(|byte| *byte == 0), "{gfn:?}");
        }
    }
}

#[test]
fn a_failure_anywhere_gives_the_guest_its_memory_back_bit_for_bit() {
    for unit in UNITS {
        // INIT_START, three page-ins, INIT_DONE.
        for n in 0..5 {
            let (mut world, _) = normal_guest(unit);
            let before = world.snapshot();
            world.kvm.before = refuse_nth(n, HStatus::P3, |_, _| true);
            assert_eq!(world.guest(Ucall::Esm, [1, 1]), UStatus::Parameter, "call {n}");
            assert_eq!(world.snapshot(), before, "call {n}");
            let aborted = world.kvm.asked.last().is_some_and(|(c, _)| *c == Hcall::SvmInitAbort);
            assert_eq!(aborted, n > 0, "call {n}: KVM is told unless it refused to start");
            // Nothing is left behind: a second attempt succeeds.
            assert_eq!(world.guest(Ucall::Esm, [1, 1]), UStatus::Success, "call {n}");
        }
    }
}

/// KVM's H_SVM_INIT_ABORT (`kvmppc_h_svm_init_abort`): page out all, then UV_SVM_TERMINATE.
#[test]
fn an_abort_as_kvm_does_it_gives_the_guest_its_memory_back() {
    for unit in UNITS {
        for ciphertext_is_overwritten in [false, true] {
            let (mut world, written) = normal_guest(unit);
            let before = world.snapshot();
            world.kvm.before = Some(Box::new(move |uv, call, _| {
                if call != Hcall::SvmInitAbort {
                    return (call == Hcall::SvmInitDone).then_some(HStatus::State);
                }
                for gfn in written {
                    let status = uv.host_call(Ucall::PageOut, page_args(unit, gfn));
                    assert_eq!(status, UStatus::Success);
                    if ciphertext_is_overwritten {
                        assert!(uv.memory().normal().write(unit.start(gfn), b"the host was here"));
                    }
                }
                uv.host_call(Ucall::SvmTerminate, [LPID, 0, 0, 0, 0, 0]);
                Some(HStatus::Parameter)
            }));
            assert_eq!(world.guest(Ucall::Esm, [1, 1]), UStatus::Parameter);
            assert_eq!(world.snapshot(), before);
        }
    }
}

#[test]
fn a_vm_that_is_terminated_while_it_becomes_secure_is_normal_again() {
    for n in 0..5 {
        let (mut world, _) = normal_guest(UnitSize::KIB_4);
        let before = world.snapshot();
        let mut calls = 0;
        world.kvm.after = Some(Box::new(move |uv, _, _| {
            calls += 1;
            if calls == n + 1 {
                let status = uv.host_call(Ucall::SvmTerminate, [LPID, 0, 0, 0, 0, 0]);
                assert_eq!(status, UStatus::Success);
            }
        }));
        assert_eq!(world.guest(Ucall::Esm, [1, 1]), UStatus::Parameter, "call {n}");
        assert_eq!(world.snapshot(), before, "call {n}");
    }
}

#[test]
fn the_guest_learns_why_the_hypervisor_would_not_start() {
    let told = [
        (HStatus::Unsupported, UStatus::Function),
        (HStatus::Function, UStatus::Function),
        (HStatus::Authority, UStatus::Permission),
        (HStatus::Permission, UStatus::Permission),
        (HStatus::Busy, UStatus::Retry),
        (HStatus::Parameter, UStatus::Parameter),
    ];
    for (answer, status) in told {
        let (mut world, _) = normal_guest(UnitSize::KIB_4);
        world.kvm.before = refuse_nth(0, answer, |_, _| true);
        assert_eq!(world.guest(Ucall::Esm, [1, 1]), status, "{answer:?}");
    }
}

#[test]
fn a_hypervisor_that_only_says_that_it_gave_a_page_is_not_believed() {
    for n in 0..3 {
        let (mut world, _) = normal_guest(UnitSize::KIB_4);
        let before = world.snapshot();
        world.kvm.before = refuse_nth(n, HStatus::Success, asks_in);
        assert_eq!(world.guest(Ucall::Esm, [1, 1]), UStatus::Parameter);
        assert_eq!(world.snapshot(), before);
    }
}

#[test]
fn a_written_unit_outside_the_slots_fails_the_call_rather_than_becoming_zero() {
    let (mut world, _) = normal_guest(UnitSize::KIB_4);
    let before = world.snapshot();
    let low = RamRange { start: Gpa(0), bytes: LOW * 4096 };
    world.kvm = Kvm::new(UnitSize::KIB_4, vec![low]);
    assert_eq!(world.guest(Ucall::Esm, [1, 1]), UStatus::Parameter);
    assert_eq!(world.snapshot(), before);
}

#[test]
fn a_unit_that_is_written_meanwhile_fails_the_call_rather_than_becoming_zero() {
    for last in [Hcall::SvmPageIn, Hcall::SvmInitDone] {
        let (mut world, _) = normal_guest(UnitSize::KIB_4);
        world.kvm.after = Some(Box::new(move |uv, call, _| {
            if call == last {
                uv.memory_mut().note_write(Gfn(9));
                assert!(uv.memory().normal().write(Gpa(9 * 4096), b"by DMA"));
            }
        }));
        assert_eq!(world.guest(Ucall::Esm, [1, 1]), UStatus::Parameter, "{last:?}");
        assert_eq!(world.uv.life(), Life::Normal);
        assert_eq!(&world.seen(Gfn(9)).expect("normal")[..6], b"by DMA");
    }
}

#[test]
fn a_unit_that_the_host_touches_after_it_was_taken_in_is_measured_all_the_same() {
    for touched_at in [Hcall::SvmPageIn, Hcall::SvmInitDone] {
        let (mut world, written) = normal_guest(UnitSize::KIB_4);
        let args = page_args(world.unit, written[0]);
        world.kvm.after = Some(Box::new(move |uv, call, hcall_args| {
            // During INIT_DONE, or when the next unit is taken in.
            if call == touched_at && hcall_args[0] != args[2] {
                uv.host_call(Ucall::PageOut, args);
            }
        }));
        assert_eq!(world.guest(Ucall::Esm, [1, 1]), UStatus::Success);
        assert_eq!(world.state(written[0]), PageState::PagedOut);
        let expected = Some((3, digest_of(&world, &written)));
        assert_eq!(measured(&world.uv.take_events()), expected);
        let bytes = world.load(written[0]).expect("it is paged in");
        assert_eq!(bytes, vec![pattern(written[0]); 4096]);
    }
}

#[test]
fn a_unit_that_an_aborted_attempt_took_in_is_secure_after_the_next_though_nobody_wrote_it() {
    let (mut world, _) = normal_guest(UnitSize::KIB_4);
    let args = page_args(world.unit, Gfn(9));
    world.kvm.before = Some(Box::new(move |uv, call, _| {
        if call != Hcall::SvmInitDone {
            return None;
        }
        assert_eq!(uv.host_call(Ucall::PageIn, args), UStatus::Success);
        Some(HStatus::Parameter)
    }));
    assert_eq!(world.guest(Ucall::Esm, [1, 1]), UStatus::Parameter);
    assert_eq!(world.state(Gfn(9)), PageState::Normal);
    world.kvm.before = None;
    assert_eq!(world.guest(Ucall::Esm, [1, 1]), UStatus::Success);
    assert_eq!(world.state(Gfn(9)), PageState::Secure);
}

#[test]
fn what_the_host_puts_there_before_the_measurement_is_measured() {
    let (mut world, written) = normal_guest(UnitSize::KIB_4);
    let honest = digest_of(&world, &written);
    let args = page_args(world.unit, written[0]);
    world.kvm.after = Some(Box::new(move |uv, call, _| {
        if call == Hcall::SvmInitDone {
            assert!(uv.memory().normal().write(Gpa(args[2]), b"a Trojan"));
            assert_eq!(uv.host_call(Ucall::PageIn, args), UStatus::Success);
        }
    }));
    assert_eq!(world.guest(Ucall::Esm, [1, 1]), UStatus::Success);
    let (units, digest) = measured(&world.uv.take_events()).expect("it is measured");
    assert_eq!(units, 3);
    assert_ne!(digest, honest);
    assert_eq!(&world.seen(written[0]).expect("secure")[..8], b"a Trojan");
}

#[test]
fn a_secure_vm_may_ask_again_and_nothing_happens() {
    let mut world = World::secure(config(UnitSize::KIB_4));
    let before = world.snapshot();
    assert_eq!(world.guest(Ucall::Esm, [0, 0]), UStatus::Success);
    assert_eq!(world.snapshot(), before);
    assert!(world.kvm.asked.is_empty());
}

#[test]
fn more_memory_than_there_is_secure_memory_is_refused() {
    let unit = UnitSize::KIB_64;
    let room = (LOW + HIGH) * unit.bytes();
    for (secure_bytes, status) in [(room - 1, UStatus::Parameter), (room, UStatus::Success)] {
        let mut world = World::new(ultravisor::platform::Config { secure_bytes, ..config(unit) });
        assert_eq!(world.guest(Ucall::Esm, [1, 1]), status);
    }
}
