//! UV_PAGE_IN, UV_PAGE_OUT, UV_PAGE_INVAL, termination, and the platforms that differ.

use crate::fake::{UNITS, World, asks_in, config, pattern, refuse_nth};
use ultravisor::event::UvEvent;
use ultravisor::platform::{Config, OnTamper, Platform};
use ultravisor::{Effect, Fault, LPID, Life, PageOp, PageState};
use ultravisor_abi::{Gfn, Gpa, HStatus, Hcall, UStatus, Ucall, UnitSize};

const IT: Gfn = Gfn(3);

fn secure() -> World {
    World::secure(config(UnitSize::KIB_4))
}

fn unsealed() -> World {
    World::secure(Config { platform: Platform::PefUnsealed, ..config(UnitSize::KIB_4) })
}

/// The one page event since the last time: operation, effect, bytes.
fn told(world: &mut World) -> Vec<(PageOp, Effect, u64)> {
    let told = |event| match event {
        UvEvent::Page { op, effect, bytes, .. } => Some((op, effect, bytes)),
        UvEvent::Call { .. }
        | UvEvent::Tampered { .. }
        | UvEvent::Life { .. }
        | UvEvent::Measured { .. } => None,
    };
    world.uv.take_events().into_iter().filter_map(told).collect()
}

#[test]
fn what_was_paged_out_comes_back_and_the_host_saw_ciphertext() {
    for unit in UNITS {
        let mut world = World::secure(config(unit));
        let plain = vec![pattern(IT); unit.bytes() as usize];
        assert_eq!(world.page_out(IT), UStatus::Success);
        assert_eq!(told(&mut world), [(PageOp::PageOut, Effect::Seal, unit.bytes())]);
        assert_eq!(world.state(IT), PageState::PagedOut);
        assert_eq!(world.seen(IT), None);
        let first = world.normal(IT);
        let repeated = first.windows(16).any(|window| window == [pattern(IT); 16]);
        assert!(!repeated, "plaintext shows");

        assert_eq!(world.load(IT), Ok(plain.clone()));
        assert_eq!(told(&mut world), [(PageOp::PageIn, Effect::Unseal, unit.bytes())]);
        assert!(world.normal(IT).iter().all(|byte| *byte == 0), "the page goes back empty");

        assert_eq!(world.page_out(IT), UStatus::Success);
        assert_ne!(world.normal(IT), first, "the same bytes look different");
        assert_eq!(world.load(IT), Ok(plain));
    }
}

#[test]
fn a_unit_that_nobody_ever_wrote_is_paged_out_as_zeros() {
    let mut world = World::new(config(UnitSize::KIB_4));
    world.fill(Gfn(1), 1);
    assert_eq!(world.guest(Ucall::Esm, [1, 1]), UStatus::Success);
    assert_eq!(world.host_touch(IT), Ok(()));
    assert!(world.normal(IT).iter().any(|byte| *byte != 0));
    assert_eq!(world.load(IT), Ok(vec![0; 4096]));
}

#[test]
fn a_host_write_into_ciphertext_makes_a_dead_page() {
    for unit in UNITS {
        let mut world = World::secure(config(unit));
        let start = unit.start(IT);
        assert_eq!(world.page_out(IT), UStatus::Success);
        let last = unit.bytes() - 1;
        let byte = world.normal(IT)[last as usize];
        world.host_write(IT, last, &[byte ^ 1]);
        for _ in 0..3 {
            assert!(!world.uv.memory().not_verified(IT) || world.seen(IT).is_none());
            assert_eq!(world.uv.guest_fault(&mut world.kvm, start), Fault::Tampered);
            assert!(world.uv.memory().not_verified(IT));
            assert_eq!(world.state(IT), PageState::PagedOut);
            assert_eq!(world.page_in(IT), UStatus::P3);
        }
        assert!(world.uv.take_events().contains(&UvEvent::Tampered { gfn: IT }));
        assert_eq!(world.uv.life(), Life::Secure);
        // A lie does not make it better, and the old bytes do.
        world.kvm.before = refuse_nth(0, HStatus::Success, asks_in);
        assert_eq!(world.uv.guest_fault(&mut world.kvm, start), Fault::Tampered);
        world.host_write(IT, last, &[byte]);
        assert_eq!(world.load(IT), Ok(vec![pattern(IT); unit.bytes() as usize]));
        assert!(!world.uv.memory().not_verified(IT));
    }
}

#[test]
fn tampering_ends_the_vm_if_that_was_chosen() {
    let chosen = Config { on_tamper: OnTamper::Terminate, ..config(UnitSize::KIB_4) };
    let mut world = World::secure(chosen);
    assert_eq!(world.page_out(IT), UStatus::Success);
    world.host_write(IT, 0, b"x");
    assert_eq!(world.uv.guest_fault(&mut world.kvm, Gpa(3 * 4096)), Fault::Terminated);
    assert_eq!(world.uv.life(), Life::Terminated);
    for gfn in world.all_units() {
        assert_eq!(world.state(gfn), PageState::Normal);
        assert_ne!(world.seen(gfn), Some(vec![pattern(gfn); 4096]));
    }
}

#[test]
fn an_old_version_and_another_units_version_are_refused() {
    let mut world = secure();
    let other = Gfn(4);
    assert_eq!(world.page_out(IT), UStatus::Success);
    let old = world.normal(IT);
    assert!(world.load(IT).is_ok());
    world.fill(IT, 0x77);
    assert_eq!(world.page_out(IT), UStatus::Success);
    let new = world.normal(IT);
    world.host_write(IT, 0, &old);
    assert_eq!(world.page_in(IT), UStatus::P3, "replayed");

    world.fill(other, 0x77);
    assert_eq!(world.page_out(other), UStatus::Success);
    let others = world.normal(other);
    world.host_write(IT, 0, &others);
    world.host_write(other, 0, &new);
    assert_eq!(world.page_in(IT), UStatus::P3, "swapped");
    assert_eq!(world.page_in(other), UStatus::P3, "swapped");

    world.host_write(IT, 0, &new);
    assert_eq!(world.page_in(IT), UStatus::Success);
    assert_eq!(world.seen(IT), Some(vec![0x77; 4096]));
}

#[test]
fn a_hypervisor_that_does_not_help_stops_the_guest() {
    let mut world = secure();
    assert_eq!(world.page_out(IT), UStatus::Success);
    for (answer, found) in [
        (HStatus::Busy, HStatus::Busy),
        (HStatus::Parameter, HStatus::Parameter),
        (HStatus::Success, HStatus::Busy),
    ] {
        world.kvm.before = refuse_nth(0, answer, asks_in);
        let fault = world.uv.guest_fault(&mut world.kvm, Gpa(3 * 4096));
        assert_eq!(fault, Fault::Refused(found), "{answer:?}");
    }
    assert_eq!(world.load(IT), Ok(vec![pattern(IT); 4096]));
    assert_eq!(world.uv.guest_fault(&mut world.kvm, Gpa(3 * 4096)), Fault::Resumed, "spurious");
}

#[test]
fn without_sealing_the_host_reads_plaintext_and_its_bytes_are_taken_back() {
    let mut world = unsealed();
    assert_eq!(world.page_out(IT), UStatus::Success);
    assert_eq!(told(&mut world), [(PageOp::PageOut, Effect::Seal, 0)]);
    assert_eq!(world.state(IT), PageState::PagedOut);
    assert_eq!(world.normal(IT), vec![pattern(IT); 4096]);
    world.host_write(IT, 0, b"stored by DMA");
    let bytes = world.load(IT).expect("unverified");
    assert_eq!(told(&mut world), [(PageOp::PageIn, Effect::Unseal, 0)]);
    assert_eq!(&bytes[..13], b"stored by DMA");
    assert_eq!(bytes[13..], vec![pattern(IT); 4096 - 13]);
    assert!(world.normal(IT).iter().all(|byte| *byte == 0));
}

#[test]
fn without_an_ultravisor_no_call_exists() {
    let mut world = World::new(Config { platform: Platform::Plain, ..config(UnitSize::KIB_4) });
    world.fill(IT, 1);
    let before = world.snapshot();
    for call in Ucall::ALL {
        assert_eq!(world.guest(*call, [1, 1]), UStatus::Function, "{call:?}");
        let args = [LPID, 0, 0, 0, 12, 0];
        assert_eq!(world.uv.host_call(*call, args), UStatus::Function, "{call:?}");
    }
    assert_eq!(world.snapshot(), before);
    assert_eq!(world.uv.take_events(), []);
    assert!(world.kvm.asked.is_empty());
}

#[test]
fn termination_wipes_and_nothing_works_afterwards() {
    for unit in UNITS {
        let mut world = World::secure(config(unit));
        assert_eq!(world.share(1, 1), UStatus::Success);
        assert_eq!(world.page_out(Gfn(2)), UStatus::Success);
        assert_eq!(world.terminate(), UStatus::Success);
        assert_eq!(world.uv.life(), Life::Terminated);
        let after = world.snapshot();
        for gfn in world.all_units() {
            assert_ne!(world.seen(gfn), Some(vec![pattern(gfn); unit.bytes() as usize]));
        }
        world.uv.take_events();
        assert_eq!(world.page_in(Gfn(2)), UStatus::State);
        assert_eq!(world.page_out(Gfn(3)), UStatus::Success, "a successful no-op");
        assert_eq!(world.inval(Gfn(1)), UStatus::Parameter);
        let slot = [LPID, 0, unit.bytes(), 0, 0, 0];
        assert_eq!(world.uv.host_call(Ucall::RegisterMemSlot, slot), UStatus::Parameter);
        let pate = [LPID, 1, 2, 0, 0, 0];
        assert_eq!(world.uv.host_call(Ucall::WritePate, pate), UStatus::Permission);
        for call in [Ucall::Esm, Ucall::SharePage, Ucall::UnsharePage, Ucall::UnshareAllPages] {
            assert_eq!(world.guest(call, [1, 1]), UStatus::State, "{call:?}");
        }
        assert_eq!(world.uv.guest_fault(&mut world.kvm, Gpa(0)), Fault::Terminated);
        assert_eq!(world.terminate(), UStatus::Success, "twice equals once");
        assert_eq!(world.page_events(), []);
        assert_eq!(world.snapshot(), after);
    }
}

#[test]
fn terminating_a_normal_vm_changes_nothing() {
    let mut world = World::new(config(UnitSize::KIB_4));
    world.fill(IT, 5);
    let before = world.snapshot();
    assert_eq!(world.terminate(), UStatus::Success);
    assert_eq!(world.snapshot(), before);
    assert_eq!(world.guest(Ucall::Esm, [1, 1]), UStatus::Success);
}

#[test]
fn the_hypervisor_writes_the_entry_of_a_normal_vm_only() {
    let mut world = World::new(config(UnitSize::KIB_4));
    assert_eq!(world.uv.host_call(Ucall::WritePate, [LPID, 7, 8, 0, 0, 0]), UStatus::Success);
    assert_eq!(world.uv.pate(), [7, 8]);
    world.fill(IT, 5);
    world.kvm.after = Some(Box::new(|uv, call, _| {
        if call == Hcall::SvmPageIn {
            let status = uv.host_call(Ucall::WritePate, [LPID, 9, 9, 0, 0, 0]);
            assert_eq!(status, UStatus::Permission, "transient");
        }
    }));
    assert_eq!(world.guest(Ucall::Esm, [1, 1]), UStatus::Success);
    let status = world.uv.host_call(Ucall::WritePate, [LPID, 9, 9, 0, 0, 0]);
    assert_eq!(status, UStatus::Permission);
    assert_eq!(world.uv.pate(), [7, 8]);
}

#[test]
fn a_live_svms_slot_stays() {
    let mut world = secure();
    let unregister = [LPID, 0, 0, 0, 0, 0];
    assert_eq!(world.uv.host_call(Ucall::UnregisterMemSlot, unregister), UStatus::P2);
    assert_eq!(world.page_out(IT), UStatus::Success);
}

#[test]
fn a_page_is_its_own_and_no_other() {
    let mut world = secure();
    let unaligned = Gpa(world.unit.start(Gfn(4)).0 - 8);
    let found = world.uv.memory_mut().guest_page(unaligned, false);
    assert_eq!(found, ultravisor::memory::GuestPage::NotRam, "it would reach into the next unit");
    let hole = Gfn(world.high().0 - 1);
    world.uv.memory_mut().note_write(hole);
    world.uv.memory_mut().note_write(Gfn(u64::MAX));
    assert!(world.uv.memory().touched().all(|(gfn, _)| gfn != hole));
}
