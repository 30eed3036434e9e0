//! Table 1, obeyed: every page call of the hypervisor on a unit in every state that a call can
//! bring it to, those inside a transaction included.

use crate::fake::{World, asks_in, asks_to_share, config, page_args};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use ultravisor::page_state::next;
use ultravisor::{LPID, PageOp, PageState, Ultravisor};
use ultravisor_abi::{Gfn, Gpa, HStatus, Hcall, UStatus, Ucall, UnitSize};

const UNIT: UnitSize = UnitSize::KIB_4;
const IT: Gfn = Gfn(3);

fn issue(uv: &mut Ultravisor, op: PageOp) -> UStatus {
    if op == PageOp::Inval {
        let args = [LPID, UNIT.start(IT).0, UNIT.order().into(), 0, 0, 0];
        return uv.host_call(Ucall::PageInval, args);
    }
    let call = if op == PageOp::PageOut { Ucall::PageOut } else { Ucall::PageIn };
    uv.host_call(call, page_args(UNIT, IT))
}

/// Status, state and bytes are the table's; what is refused changes nothing.
fn obeys(uv: &mut Ultravisor, op: PageOp) -> PageState {
    let from = uv.memory().state(IT);
    let mut before = [0; 4096];
    uv.memory().normal().read(UNIT.start(IT), &mut before);
    let status = issue(uv, op);
    match next(from, op) {
        Ok(step) => {
            assert_eq!(status, UStatus::Success, "{from:?} --{op:?}");
            assert_eq!(uv.memory().state(IT), step.to, "{from:?} --{op:?}");
        }
        Err(refusal) => {
            let mut after = [0; 4096];
            uv.memory().normal().read(UNIT.start(IT), &mut after);
            assert_eq!((status, uv.memory().state(IT)), (refusal, from), "{from:?} --{op:?}");
            assert_eq!(before, after, "{from:?} --{op:?}");
        }
    }
    from
}

/// Ways to bring [`IT`] to a state, as (what the guest shares and unshares, when the hypervisor
/// gets its turn, whether it invalidates first).
#[derive(Clone, Copy)]
enum Moment {
    /// Outside any call, after these.
    Settled(fn(&mut World)),
    /// While the guest shares units 3 and 4: when this unit is asked for, before it is given.
    Asked(Gfn),
    /// While the guest unshares units 3 and 4: when this unit is asked for.
    Unasked(Gfn),
}

fn bring(moment: Moment, invalidate: bool, op: PageOp) -> PageState {
    let mut world = World::secure(config(UNIT));
    let seen = Rc::new(RefCell::new(None));
    let note = Rc::clone(&seen);
    let turn = move |uv: &mut Ultravisor| {
        if invalidate {
            issue(uv, PageOp::Inval);
        }
        *note.borrow_mut() = Some(obeys(uv, op));
    };
    let during = |gfn: Gfn, which: fn(Hcall, [u64; 6]) -> bool| {
        let mut done = false;
        let hook: crate::fake::Before = Box::new(move |uv, call, args| {
            if !done && which(call, args) && Gpa(args[0]) == UNIT.start(gfn) {
                done = true;
                turn(uv);
            }
            None
        });
        Some(hook)
    };
    match moment {
        Moment::Settled(prepare) => {
            prepare(&mut world);
            *seen.borrow_mut() = Some(obeys(&mut world.uv, op));
        }
        Moment::Asked(gfn) => {
            world.kvm.before = during(gfn, asks_to_share);
            assert_eq!(world.share(3, 2), UStatus::Success);
        }
        Moment::Unasked(gfn) => {
            assert_eq!(world.share(3, 2), UStatus::Success);
            world.kvm.before = during(gfn, asks_in);
            assert_eq!(world.unshare(3, 2), UStatus::Success);
            assert_eq!(world.seen(IT), Some(vec![0; 4096]));
        }
    }
    seen.take().expect("the hypervisor had its turn")
}

#[test]
fn every_page_call_in_every_state_does_what_the_table_says() {
    let settled: [fn(&mut World); 4] = [
        |_| {},
        |world| assert_eq!(world.page_out(IT), UStatus::Success),
        |world| assert_eq!(world.share(3, 1), UStatus::Success),
        |world| {
            assert_eq!(world.share(3, 1), UStatus::Success);
            assert_eq!(world.inval(IT), UStatus::Success);
        },
    ];
    let transit =
        [Moment::Asked(IT), Moment::Asked(Gfn(4)), Moment::Unasked(IT), Moment::Unasked(Gfn(4))];
    let moments = settled.map(Moment::Settled).into_iter().chain(transit);
    let mut covered = BTreeSet::new();
    for moment in moments {
        for invalidate in [false, true] {
            for op in [PageOp::PageIn, PageOp::PageOut, PageOp::Inval] {
                covered.insert(bring(moment, invalidate, op));
            }
        }
    }
    let mut all = BTreeSet::from(PageState::ALL);
    all.remove(&PageState::Normal); // a secure VM has no such unit
    assert_eq!(covered, all);
}

#[test]
fn what_a_page_call_finds_in_a_transient_vm_is_in_the_table_too() {
    for first in [PageOp::PageIn, PageOp::PageOut, PageOp::Inval] {
        for second in [PageOp::PageIn, PageOp::PageOut, PageOp::Inval] {
            let mut world = World::new(config(UNIT));
            world.fill(IT, 7);
            let before = world.snapshot();
            world.kvm.before = Some(Box::new(move |uv, call, _| {
                if call != Hcall::SvmInitDone {
                    return None;
                }
                for op in [first, second] {
                    let from = uv.memory().state(IT);
                    let row = if op == PageOp::PageIn { PageOp::TakeIn } else { op };
                    let expected = next(from, row).map(|step| step.to);
                    let status = issue(uv, op);
                    assert_eq!(status, expected.err().unwrap_or(UStatus::Success), "{from:?}");
                    assert_eq!(uv.memory().state(IT), expected.unwrap_or(from), "{from:?}");
                }
                Some(HStatus::State)
            }));
            assert_eq!(world.guest(Ucall::Esm, [1, 1]), UStatus::Parameter);
            // Taking a unit in twice copies what the host put there last: an empty page here.
            if first != PageOp::PageIn && second != PageOp::PageIn {
                assert_eq!(world.snapshot(), before, "{first:?} {second:?}");
            }
        }
    }
}
