//! UV_SHARE_PAGE, UV_UNSHARE_PAGE, UV_UNSHARE_ALL_PAGES.

use crate::fake::{
    HIGH, LOW, UNITS, World, asks_in, asks_to_share, config, page_args, pattern, refuse_nth,
};
use ultravisor::event::UvEvent;
use ultravisor::platform::{Config, RamRange};
use ultravisor::{Effect, Fault, LPID, Life, PageOp, PageState};
use ultravisor_abi::hcall::H_PAGE_IN_SHARED;
use ultravisor_abi::{Gfn, Gpa, HStatus, Hcall, UStatus, Ucall, UnitSize};

fn secure() -> World {
    World::secure(config(UnitSize::KIB_4))
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

#[test]
fn a_shared_unit_is_zero_on_both_sides_and_then_common() {
    for unit in UNITS {
        let mut world = World::secure(config(unit));
        // Residue of the host's must not reach the guest either.
        world.host_write(Gfn(4), 0, b"residue");
        assert_eq!(world.share(3, 2), UStatus::Success);
        let order = u64::from(unit.order());
        let ask = |gfn| (Hcall::SvmPageIn, [unit.start(gfn).0, H_PAGE_IN_SHARED, order, 0, 0, 0]);
        assert_eq!(world.kvm.asked, [ask(Gfn(3)), ask(Gfn(4))]);
        for gfn in [Gfn(3), Gfn(4)] {
            assert_eq!(world.state(gfn), PageState::Shared);
            assert!(is_zero(&world.seen(gfn).expect("shared")));
            assert!(is_zero(&world.normal(gfn)));
        }
        world.fill(Gfn(3), 0x5a);
        assert_eq!(world.normal(Gfn(3)), vec![0x5a; unit.bytes() as usize]);
        world.host_write(Gfn(4), 8, b"from the host");
        assert_eq!(&world.seen(Gfn(4)).expect("shared")[8..21], b"from the host");
        assert_eq!(world.state(Gfn(2)), PageState::Secure);
        assert_eq!(world.state(Gfn(5)), PageState::Secure);
    }
}

#[test]
fn sharing_again_zeroes_nothing_and_asks_nobody() {
    let mut world = secure();
    assert_eq!(world.share(3, 1), UStatus::Success);
    world.fill(Gfn(3), 7);
    let before = world.snapshot();
    world.kvm.asked.clear();
    assert_eq!(world.share(3, 1), UStatus::Success);
    assert_eq!(world.snapshot(), before);
    assert!(world.kvm.asked.is_empty());
}

#[test]
fn what_changes_nothing_is_not_told_and_a_shared_page_that_is_given_again_is() {
    let mut world = secure();
    assert_eq!(world.share(3, 1), UStatus::Success);
    world.uv.take_events();
    assert_eq!(world.share(3, 1), UStatus::Success);
    assert_eq!(world.page_events(), []);
    assert_eq!(world.page_in(Gfn(3)), UStatus::Success);
    let (op, from, to) = (PageOp::PageIn, PageState::Shared, PageState::Shared);
    let mapped = UvEvent::Page { gfn: Gfn(3), op, from, to, effect: Effect::Map, bytes: 0 };
    assert_eq!(world.page_events(), [mapped]);
}

#[test]
fn a_paged_out_unit_is_verified_before_it_is_shared() {
    let mut world = secure();
    assert_eq!(world.page_out(Gfn(3)), UStatus::Success);
    assert_eq!(world.share(3, 1), UStatus::Success);
    let flags: Vec<_> = world.kvm.asked.iter().map(|(_, args)| args[1]).collect();
    assert_eq!(flags, [0, H_PAGE_IN_SHARED]);
    assert!(is_zero(&world.normal(Gfn(3))));

    assert_eq!(world.page_out(Gfn(5)), UStatus::Success);
    world.host_write(Gfn(5), 0, b"broken");
    assert_eq!(world.share(4, 2), UStatus::P2);
    assert_eq!(world.state(Gfn(4)), PageState::Secure);
    assert_eq!(world.state(Gfn(5)), PageState::PagedOut);
    assert_eq!(world.seen(Gfn(4)), Some(vec![pattern(Gfn(4)); 4096]));
}

#[test]
fn a_share_that_the_hypervisor_refuses_anywhere_changes_nothing() {
    for unit in UNITS {
        for n in 0..4 {
            let mut world = World::secure(config(unit));
            let before = world.snapshot();
            world.kvm.before = refuse_nth(n, HStatus::Parameter, asks_to_share);
            assert_eq!(world.share(3, 4), UStatus::P2, "unit {n}");
            assert_eq!(world.snapshot(), before, "unit {n}");
            let let_go = world.kvm.asked.iter().filter(|(call, args)| asks_in(*call, *args));
            assert_eq!(let_go.count(), n, "what was granted is let go");
        }
    }
}

#[test]
fn a_hypervisor_that_only_says_that_it_shared_is_not_believed() {
    let mut world = secure();
    let before = world.snapshot();
    world.kvm.before = refuse_nth(1, HStatus::Success, asks_to_share);
    assert_eq!(world.share(3, 3), UStatus::P2);
    assert_eq!(world.snapshot(), before);
}

#[test]
fn a_share_that_cannot_be_undone_ends_the_vm() {
    let mut world = secure();
    world.kvm.before = Some(Box::new(|_, call, args| {
        let refused = asks_in(call, args) || (asks_to_share(call, args) && args[0] == 5 * 4096);
        refused.then_some(HStatus::Busy)
    }));
    assert_eq!(world.share(3, 3), UStatus::State);
    assert_ended_and_wiped(&world);
}

#[test]
fn a_vm_that_is_terminated_while_it_shares_or_unshares_is_told_so() {
    for call in [Ucall::SharePage, Ucall::UnsharePage, Ucall::UnshareAllPages] {
        let mut world = secure();
        assert_eq!(world.share(7, 2), UStatus::Success);
        world.kvm.after = Some(Box::new(|uv, _, args| {
            if args[0] % (2 * 4096) == 0 {
                uv.host_call(Ucall::SvmTerminate, [LPID, 0, 0, 0, 0, 0]);
            }
        }));
        assert_eq!(world.guest(call, [6, 4]), UStatus::State, "{call:?}");
        assert_ended_and_wiped(&world);
    }
}

fn assert_ended_and_wiped(world: &World) {
    assert_eq!(world.uv.life(), Life::Terminated);
    for gfn in world.all_units() {
        assert_eq!(world.state(gfn), PageState::Normal, "{gfn:?}");
        let left = world.seen(gfn).expect("normal");
        let secret = left.windows(16).any(|window| window == [pattern(gfn); 16]);
        assert!(!secret, "{gfn:?}: plaintext is left");
    }
}

#[test]
fn a_page_that_the_host_takes_back_during_the_share_is_mapped_when_the_guest_needs_it() {
    let mut world = secure();
    world.kvm.after = Some(Box::new(|uv, _, args| {
        if args[0] == 3 * 4096 {
            let args = [LPID, args[0], 12, 0, 0, 0];
            assert_eq!(uv.host_call(Ucall::PageInval, args), UStatus::Success);
        }
    }));
    assert_eq!(world.share(3, 2), UStatus::Success);
    assert_eq!(world.state(Gfn(3)), PageState::SharedInv);
    assert_eq!(world.state(Gfn(4)), PageState::Shared);
    world.fill(Gfn(3), 9);
    assert_eq!(world.state(Gfn(3)), PageState::Shared);
    assert_eq!(world.normal(Gfn(3)), vec![9; 4096]);
}

#[test]
fn an_unshared_unit_is_zero_and_the_hosts_page_is_empty() {
    for unit in UNITS {
        let mut world = World::secure(config(unit));
        assert_eq!(world.share(3, 3), UStatus::Success);
        world.fill(Gfn(3), 7);
        world.host_write(Gfn(4), 0, b"injected");
        assert_eq!(world.inval(Gfn(5)), UStatus::Success);
        assert_eq!(world.unshare(3, 3), UStatus::Success);
        for gfn in [Gfn(3), Gfn(4), Gfn(5)] {
            assert_eq!(world.state(gfn), PageState::Secure);
            assert!(is_zero(&world.seen(gfn).expect("secure")), "{gfn:?}");
            assert!(is_zero(&world.normal(gfn)), "{gfn:?}");
        }
    }
}

#[test]
fn unsharing_leaves_alone_what_is_not_shared() {
    let mut world = secure();
    assert_eq!(world.share(4, 1), UStatus::Success);
    assert_eq!(world.page_out(Gfn(5)), UStatus::Success);
    assert_eq!(world.unshare(3, 3), UStatus::Success);
    assert_eq!(world.seen(Gfn(3)), Some(vec![pattern(Gfn(3)); 4096]));
    assert_eq!(world.state(Gfn(5)), PageState::PagedOut);
    assert_eq!(world.load(Gfn(5)), Ok(vec![pattern(Gfn(5)); 4096]));
    let before = world.snapshot();
    assert_eq!(world.unshare(3, 3), UStatus::Success);
    assert_eq!(world.snapshot(), before, "twice equals once");
}

#[test]
fn a_hypervisor_that_does_not_let_go_ends_the_vm() {
    for n in 0..3 {
        let mut world = secure();
        assert_eq!(world.share(3, 3), UStatus::Success);
        world.kvm.before = refuse_nth(n, HStatus::Parameter, asks_in);
        assert_eq!(world.unshare(3, 3), UStatus::State);
        assert_ended_and_wiped(&world);
    }
}

#[test]
fn unsharing_all_takes_back_what_the_guest_shared_and_nothing_else() {
    let mut world = secure();
    let high = world.high().0;
    assert_eq!(world.guest(Ucall::UnshareAllPages, [0, 0]), UStatus::Success);
    assert!(world.kvm.asked.is_empty(), "nothing was shared");

    assert_eq!(world.share(3, 1), UStatus::Success);
    assert_eq!(world.share(high, 2), UStatus::Success);
    assert_eq!(world.inval(Gfn(high)), UStatus::Success);
    assert_eq!(world.page_out(Gfn(8)), UStatus::Success);
    world.uv.take_events();
    assert_eq!(world.guest(Ucall::UnshareAllPages, [0, 0]), UStatus::Success);
    let zeroed: Vec<_> = world
        .page_events()
        .into_iter()
        .filter_map(|event| match event {
            UvEvent::Page { gfn, effect: Effect::ZeroSecure, .. } => Some(gfn.0),
            UvEvent::Page { .. }
            | UvEvent::Call { .. }
            | UvEvent::Tampered { .. }
            | UvEvent::Life { .. }
            | UvEvent::Measured { .. } => None,
        })
        .collect();
    assert_eq!(zeroed, [3, high, high + 1]);
    assert_eq!(world.state(Gfn(8)), PageState::PagedOut);
    assert_eq!(world.seen(Gfn(4)), Some(vec![pattern(Gfn(4)); 4096]));
}

#[test]
fn a_range_that_is_empty_or_not_all_ram_is_refused_before_anybody_is_asked() {
    for unit in UNITS {
        let mut world = World::secure(config(unit));
        let high = world.high().0;
        let wrong = [
            (3, 0),
            (LOW, 1),
            (LOW - 1, 2),
            (0, high + HIGH),
            (high - 1, 2),
            (high, HIGH + 1),
            (0, 1 << 40),
            (0, u64::MAX),
            (u64::MAX, 1),
            (u64::MAX, 2),
            (1 << 63, 1 << 63),
            // Both ends wrap to RAM when turned into bytes.
            (1 << (64 - unit.order()), 1),
            ((1 << (64 - unit.order())) - 1, 2),
        ];
        for (first, count) in wrong {
            let before = world.snapshot();
            assert_eq!(world.share(first, count), UStatus::P2, "{first:#x} {count:#x}");
            assert_eq!(world.unshare(first, count), UStatus::P2, "{first:#x} {count:#x}");
            assert_eq!(world.snapshot(), before);
        }
        assert!(world.kvm.asked.is_empty());
        assert_eq!(world.share(0, LOW), UStatus::Success);
        assert_eq!(world.share(high, HIGH), UStatus::Success);
        assert_eq!(world.unshare(0, LOW), UStatus::Success);
    }
}

/// A guest's count must not decide how long the ultravisor works or how much it allocates.
#[test]
fn unsharing_a_terabyte_costs_what_was_touched() {
    let unit = UnitSize::KIB_4;
    let ram = vec![RamRange { start: Gpa(0), bytes: 1 << 40 }];
    let mut world = World::new(Config { ram, ..config(unit) });
    world.fill(Gfn(1), 1);
    assert_eq!(world.guest(Ucall::Esm, [1, 1]), UStatus::Success);
    assert_eq!(world.share(5, 1), UStatus::Success);
    world.uv.take_events();
    world.kvm.asked.clear();
    for _ in 0..100 {
        assert_eq!(world.unshare(0, 1 << 28), UStatus::Success);
    }
    assert_eq!(world.kvm.asked.len(), 1);
    assert_eq!(world.uv.memory().touched().count(), 2);
}

/// Another vCPU's call while one is under way: here the hypervisor makes it happen.
#[test]
fn a_unit_in_transit_is_refused_to_a_second_call() {
    for call in [Ucall::SharePage, Ucall::UnsharePage] {
        let mut world = secure();
        let mut second = crate::fake::Kvm::new(world.unit, Vec::new());
        world.kvm.before = Some(Box::new(move |uv, _, _| {
            for first in [2, 3] {
                let args = [first, 2, 0, 0, 0, 0];
                let regs = ultravisor_abi::CallRegs { number: call.number(), args };
                assert_eq!(uv.guest_call(&mut second, regs), UStatus::P2, "{call:?}");
            }
            assert!(second.asked.is_empty());
            None
        }));
        assert_eq!(world.share(3, 1), UStatus::Success);
        assert_eq!(world.state(Gfn(3)), PageState::Shared);
    }
}

#[test]
fn a_guest_whose_shared_page_is_gone_waits_for_the_host_and_is_not_lied_to() {
    let mut world = secure();
    let at = Gpa(3 * 4096);
    assert_eq!(world.share(3, 1), UStatus::Success);
    assert_eq!(world.inval(Gfn(3)), UStatus::Success);
    assert_eq!(world.seen(Gfn(3)), None);
    world.kvm.fault_answer = Some(Err(HStatus::Busy));
    assert_eq!(world.uv.guest_fault(&mut world.kvm, at), Fault::Refused(HStatus::Busy));
    world.kvm.fault_answer = Some(Ok(()));
    assert_eq!(world.uv.guest_fault(&mut world.kvm, at), Fault::Refused(HStatus::Busy));
    world.kvm.fault_answer = None;
    // The page that the host gives is mapped as it is: it is the host's.
    world.host_write(Gfn(3), 0, b"hello");
    assert_eq!(world.uv.guest_fault(&mut world.kvm, at), Fault::Resumed);
    assert_eq!(&world.seen(Gfn(3)).expect("shared")[..5], b"hello");
    assert_eq!(world.page_in(Gfn(3)), UStatus::Success, "mapping it again is harmless");
    assert_eq!(page_args(world.unit, Gfn(3))[2], at.0);
}
