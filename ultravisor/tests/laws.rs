//! The laws of the tables, each over every cell: page state × operation, actor × page state, life
//! × call, caller × call.

use std::collections::BTreeSet;
use ultravisor::page_state::{Step, next};
use ultravisor::svm::{LifeOp, next_life};
use ultravisor::ucall::entitled;
use ultravisor::view::{Actor, View, view};
use ultravisor::{Effect, Life, PageOp, PageState};
use ultravisor_abi::ucall::Caller;
use ultravisor_abi::{UStatus, Ucall};

/// Every cell of table 1.
fn cells() -> impl Iterator<Item = (PageState, PageOp)> {
    PageState::ALL.into_iter().flat_map(|from| PageOp::ALL.into_iter().map(move |op| (from, op)))
}

/// Every cell of table 1 that is a step.
fn steps() -> impl Iterator<Item = (PageState, PageOp, Step)> {
    cells().filter_map(|(from, op)| Some((from, op, next(from, op).ok()?)))
}

/// Every state that operations from `ops` lead to from `start`, `start` included.
fn reachable(start: PageState, ops: &[PageOp]) -> BTreeSet<PageState> {
    let mut found = BTreeSet::from([start]);
    let mut frontier = vec![start];
    while let Some(from) = frontier.pop() {
        for op in ops {
            if let Ok(step) = next(from, *op)
                && found.insert(step.to)
            {
                frontier.push(step.to);
            }
        }
    }
    found
}

/// What the host gets to see.
fn host(page: PageState) -> View {
    view(Actor::Host, page)
}

/// What the hypervisor can do to a unit of a secure VM on its own account.
const HOST_OPS: [PageOp; 3] = [PageOp::PageIn, PageOp::PageOut, PageOp::Inval];

// --- Table 1: what happens to the bytes

#[test]
fn a_page_the_host_could_not_read_is_never_handed_over_in_plain() {
    for (from, op, step) in steps() {
        let private = matches!(host(from), View::Fault | View::Sealed);
        if private && host(step.to) == View::Plain {
            let harmless = match step.effect {
                Effect::ZeroNormal | Effect::Wipe => true,
                // The VM has run no code since these bytes came from there.
                Effect::Restore => op == PageOp::InitAbort,
                Effect::Keep
                | Effect::Take
                | Effect::Fresh
                | Effect::Seal
                | Effect::Unseal
                | Effect::ZeroSecure
                | Effect::Map => false,
            };
            assert!(harmless, "{from:?} --{op:?}--> {step:?}");
        }
    }
}

#[test]
fn secure_bytes_leave_secure_memory_only_sealed_or_by_an_abort() {
    for (from, op, step) in steps() {
        match step.effect {
            Effect::Seal => assert_eq!((from, step.to), (PageState::Secure, PageState::PagedOut)),
            Effect::Restore => assert_eq!((op, step.to), (PageOp::InitAbort, PageState::Normal)),
            Effect::Keep
            | Effect::Take
            | Effect::Fresh
            | Effect::Unseal
            | Effect::ZeroNormal
            | Effect::ZeroSecure
            | Effect::Map
            | Effect::Wipe => {}
        }
    }
}

#[test]
fn a_page_becomes_paged_out_only_by_being_sealed() {
    for (from, op, step) in steps() {
        if step.to == PageState::PagedOut && from != PageState::PagedOut {
            assert_eq!(step.effect, Effect::Seal, "{from:?} --{op:?}--> {step:?}");
        }
    }
}

#[test]
fn a_paged_out_page_becomes_secure_only_by_being_verified() {
    for op in PageOp::ALL {
        if let Ok(step) = next(PageState::PagedOut, op) {
            let verified = step.effect == Effect::Unseal;
            let ended = step.to == PageState::Normal;
            let untouched = step.to == PageState::PagedOut && step.effect == Effect::Keep;
            assert!(verified != (ended || untouched), "paged_out --{op:?}--> {step:?}");
            assert_eq!(verified, step.to == PageState::Secure, "paged_out --{op:?}--> {step:?}");
        }
    }
}

#[test]
fn only_a_paged_out_page_is_unsealed() {
    for (from, op, step) in steps() {
        if step.effect == Effect::Unseal {
            assert_eq!(from, PageState::PagedOut, "{op:?}");
        }
    }
}

/// The guest must never read, as its own secret bytes, what the host could have written.
#[test]
fn what_the_host_could_write_becomes_secure_only_measured_verified_or_zeroed() {
    for (from, op, step) in steps() {
        let writable = matches!(host(from), View::Plain | View::Own | View::Sealed);
        if writable && step.to == PageState::Secure {
            let checked = matches!(
                step.effect,
                Effect::Take | Effect::Fresh | Effect::Unseal | Effect::ZeroSecure
            );
            assert!(checked, "{from:?} --{op:?}--> {step:?}");
            // Unverified bytes are copied in only while the VM is transient, before it is measured.
            assert!(step.effect != Effect::Take || op == PageOp::TakeIn, "{from:?} --{op:?}");
        }
    }
}

#[test]
fn sharing_gives_the_host_zeros_and_unsharing_gives_the_guest_zeros() {
    for (from, op, step) in steps() {
        if op == PageOp::ShareCommit && step.to == PageState::Shared {
            assert_eq!(step.effect, Effect::ZeroNormal, "{from:?}");
        }
        if op == PageOp::UnshareCommit {
            assert_eq!(step.effect, Effect::ZeroSecure, "{from:?}");
        }
    }
}

#[test]
fn a_share_that_is_undone_never_touched_a_byte() {
    let ops = [
        PageOp::ShareBegin,
        PageOp::PageIn,
        PageOp::Inval,
        PageOp::UnshareGrant,
        PageOp::UnshareGranted,
        PageOp::ShareRevert,
        PageOp::UnshareRevert,
    ];
    for from in reachable(PageState::Secure, &ops) {
        for op in ops {
            if let Ok(step) = next(from, op) {
                assert_eq!(step.effect, Effect::Keep, "{from:?} --{op:?}--> {step:?}");
            }
        }
    }
}

#[test]
fn terminating_works_from_everywhere_and_wipes() {
    for from in PageState::ALL {
        let end = Step { to: PageState::Normal, effect: Effect::Wipe };
        assert_eq!(next(from, PageOp::Terminate), Ok(end), "{from:?}");
    }
}

#[test]
fn only_terminating_wipes() {
    for (from, op, step) in steps() {
        assert_eq!(step.effect == Effect::Wipe, op == PageOp::Terminate, "{from:?} --{op:?}");
    }
}

// --- Table 1: where the steps lead

#[test]
fn every_state_is_reachable_from_normal() {
    assert_eq!(reachable(PageState::Normal, &PageOp::ALL), BTreeSet::from(PageState::ALL));
}

#[test]
fn a_secure_page_is_normal_again_only_when_the_vm_ends() {
    for (from, op, step) in steps() {
        if from != PageState::Normal && step.to == PageState::Normal {
            assert!(matches!(op, PageOp::InitAbort | PageOp::Terminate), "{from:?} --{op:?}");
        }
    }
}

#[test]
fn doing_it_twice_is_refused_or_leads_to_where_once_led() {
    for (from, op, step) in steps() {
        if let Ok(again) = next(step.to, op) {
            assert_eq!(again.to, step.to, "{from:?} --{op:?}--> {step:?} --{op:?}--> {again:?}");
        }
    }
}

#[test]
fn asking_for_what_already_holds_changes_nothing() {
    let holds = [
        (PageOp::InitDone, PageState::Secure),
        (PageOp::ShareBegin, PageState::Shared),
        (PageOp::ShareBegin, PageState::SharedInv),
        (PageOp::UnshareBegin, PageState::Secure),
        (PageOp::UnshareBegin, PageState::PagedOut),
        (PageOp::Inval, PageState::SharedInv),
        (PageOp::Inval, PageState::HvSharedInv),
        (PageOp::Inval, PageState::HvUnsharingInv),
    ];
    for (op, state) in holds {
        let same = Step { to: state, effect: Effect::Keep };
        assert_eq!(next(state, op), Ok(same), "{state:?} --{op:?}");
    }
}

#[test]
fn a_transaction_is_begun_and_ended_by_share_and_unshare_alone() {
    let begin = [PageOp::ShareBegin, PageOp::UnshareBegin];
    let end = [
        PageOp::ShareCommit,
        PageOp::ShareRevert,
        PageOp::UnshareCommit,
        PageOp::UnshareRevert,
        PageOp::Terminate,
    ];
    for (from, op, step) in steps() {
        if !from.in_transit() && step.to.in_transit() {
            assert!(begin.contains(&op), "{from:?} --{op:?}--> {step:?}");
        }
        if from.in_transit() && !step.to.in_transit() {
            assert!(end.contains(&op), "{from:?} --{op:?}--> {step:?}");
        }
    }
}

#[test]
fn a_unit_in_transit_takes_no_second_transaction() {
    for from in PageState::ALL.into_iter().filter(|state| state.in_transit()) {
        for op in [PageOp::ShareBegin, PageOp::UnshareBegin] {
            assert_eq!(next(from, op), Err(UStatus::P2), "{from:?} --{op:?}");
        }
    }
}

#[test]
fn every_transaction_can_be_undone() {
    let undo = [
        PageOp::ShareRevert,
        PageOp::UnshareGrant,
        PageOp::UnshareGranted,
        PageOp::UnshareCommit,
        PageOp::UnshareRevert,
    ];
    for from in PageState::ALL.into_iter().filter(|state| state.in_transit()) {
        assert!(reachable(from, &undo).contains(&PageState::Secure), "{from:?}");
    }
}

#[test]
fn the_host_alone_neither_shares_nor_unshares() {
    let shared = |state| matches!(state, PageState::Shared | PageState::SharedInv);
    for from in PageState::ALL {
        for to in reachable(from, &HOST_OPS) {
            assert_eq!(shared(from), shared(to), "{from:?} ..> {to:?}");
            assert_eq!(from == PageState::Normal, to == PageState::Normal, "{from:?} ..> {to:?}");
        }
    }
}

#[test]
fn what_the_host_takes_back_it_can_give_again() {
    for (from, op, step) in steps() {
        if op == PageOp::Inval && from != step.to {
            assert!(reachable(step.to, &[PageOp::PageIn]).contains(&from), "{from:?}");
        }
    }
    let there_and_back = next(PageState::Secure, PageOp::PageOut)
        .and_then(|out| next(out.to, PageOp::PageIn))
        .map(|back| back.to);
    assert_eq!(there_and_back, Ok(PageState::Secure));
}

#[test]
fn a_transient_vm_shares_nothing_and_can_always_go_back() {
    let ops = [PageOp::TakeIn, PageOp::PageOut, PageOp::Inval];
    let transient = reachable(PageState::Normal, &ops);
    assert!(transient.contains(&PageState::PagedOut));
    for state in transient {
        assert!(!state.in_transit() && host(state) != View::Own, "{state:?}");
        let aborted = next(state, PageOp::InitAbort).map(|step| step.to);
        assert_eq!(aborted, Ok(PageState::Normal), "{state:?}");
    }
}

#[test]
fn once_the_vm_is_secure_no_unit_is_normal() {
    for state in PageState::ALL {
        let to = next(state, PageOp::InitDone).map(|step| step.to);
        assert!(to.is_ok_and(|to| to != PageState::Normal), "{state:?}");
    }
}

/// Facts 2.6: what a call may answer when it finds a unit in a state that it cannot use.
#[test]
fn refusals_are_those_that_the_firmware_gives() {
    for (from, op) in cells() {
        if let Err(status) = next(from, op) {
            let expected = match (from, op) {
                // Not now: the unit is about to be secure, or must be paged in first.
                (PageState::HvUnshared, PageOp::PageOut)
                | (PageState::PagedOut, PageOp::ShareBegin) => UStatus::Retry,
                (_, PageOp::PageOut) => UStatus::Parameter,
                _ => UStatus::P2,
            };
            assert_eq!(status, expected, "{from:?} --{op:?}");
        }
    }
}

/// Facts 2.4, "GFN transitions". KVM's *secure* is paged in or paged out; its tags say *normal* of
/// units that the guest has shared or unshared only while KVM has not been asked for them, which
/// is after INIT_DONE in the ultravisor's eyes: that row speaks of [`PageState::Secure`] here.
#[test]
fn kvms_table_of_guest_frames_agrees() {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Kvm {
        Secure,
        Shared,
        Normal,
    }
    const fn seen_by_kvm(state: PageState) -> Option<Kvm> {
        match state {
            PageState::Normal => Some(Kvm::Normal),
            PageState::Secure | PageState::PagedOut => Some(Kvm::Secure),
            PageState::Shared | PageState::SharedInv => Some(Kvm::Shared),
            PageState::HvSharing
            | PageState::HvShared
            | PageState::HvSharedInv
            | PageState::HvUnsharing
            | PageState::HvUnsharingInv
            | PageState::HvUnshared => None,
        }
    }
    /// Where a whole call leads: each operation is done if the table lets it.
    fn call(from: PageState, ops: &[PageOp]) -> PageState {
        ops.iter().fold(from, |state, op| next(state, *op).map_or(state, |step| step.to))
    }
    let share = [PageOp::PageIn, PageOp::ShareBegin, PageOp::PageIn, PageOp::ShareCommit];
    let unshare = [PageOp::UnshareBegin, PageOp::UnshareGranted, PageOp::UnshareCommit];
    for from in PageState::ALL {
        let Some(tag) = seen_by_kvm(from) else { continue };
        let after_init = if tag == Kvm::Shared { Kvm::Shared } else { Kvm::Secure };
        // Its columns share, unshare, terminate are the same in all three rows.
        let expected = [Kvm::Shared, Kvm::Secure, Kvm::Normal];
        let begun = call(from, &[PageOp::InitDone]);
        let found = [call(begun, &share), call(begun, &unshare), call(begun, &[PageOp::Terminate])];
        assert_eq!(found.map(seen_by_kvm), expected.map(Some), "{from:?}");
        assert_eq!(seen_by_kvm(begun), Some(after_init), "{from:?}");
    }
}

// --- Table 2: who sees what

#[test]
fn a_device_sees_what_the_host_sees() {
    for page in PageState::ALL {
        assert_eq!(view(Actor::Device, page), view(Actor::Host, page), "{page:?}");
    }
}

#[test]
fn nobody_but_the_guest_sees_a_secure_page() {
    for actor in Actor::ALL {
        let plain = view(actor, PageState::Secure) == View::Plain;
        assert_eq!(plain, actor == Actor::Guest, "{actor:?}");
    }
}

#[test]
fn the_guest_sees_its_own_bytes_or_nothing() {
    for page in PageState::ALL {
        assert!(matches!(view(Actor::Guest, page), View::Plain | View::Fault), "{page:?}");
    }
}

#[test]
fn the_guest_sees_plain_exactly_where_nothing_must_happen_first() {
    for page in PageState::ALL {
        // A page-in, or mapping again, is what would happen; in transit it waits.
        let away = page.in_transit()
            || next(page, PageOp::PageIn)
                .is_ok_and(|step| step.to != page || step.effect == Effect::Unseal);
        assert_eq!(view(Actor::Guest, page) == View::Plain, !away, "{page:?}");
    }
}

#[test]
fn the_host_sees_ciphertext_exactly_where_something_was_sealed() {
    for page in PageState::ALL {
        let sealed = steps().any(|(_, _, step)| step.to == page && step.effect == Effect::Seal);
        assert_eq!(host(page) == View::Sealed, sealed, "{page:?}");
    }
}

#[test]
fn a_touch_that_faults_is_cured_by_a_page_out_or_must_wait_for_a_transaction() {
    for page in PageState::ALL {
        if host(page) == View::Fault {
            let cured = next(page, PageOp::PageOut).is_ok_and(|step| host(step.to) != View::Fault);
            assert!(cured != page.in_transit(), "{page:?}");
        }
    }
}

#[test]
fn both_sides_see_the_same_bytes_only_where_the_guest_gave_them_up() {
    for page in PageState::ALL {
        if view(Actor::Guest, page) == View::Plain && host(page) == View::Plain {
            let given = steps().any(|(_, _, step)| {
                step.to == page && matches!(step.effect, Effect::ZeroNormal | Effect::Map)
            });
            assert!(given || page == PageState::Normal, "{page:?}");
        }
    }
}

// --- Table 3: the life of a VM

/// Facts 2.4, "VM transitions", cell for cell where KVM has one; `None` is its *error*. Its
/// *normal* after the termination of a secure VM is [`Life::Terminated`] here.
#[test]
fn kvms_table_of_vm_states_agrees() {
    let table = [
        (Life::Normal, [Some(Life::Transient), None, None, Some(Life::Normal)]),
        (Life::Secure, [None, None, None, Some(Life::Terminated)]),
        (Life::Transient, [None, Some(Life::Secure), Some(Life::Normal), Some(Life::Normal)]),
    ];
    for (from, expected) in table {
        assert_eq!(LifeOp::ALL.map(|op| next_life(from, op)), expected, "{from:?}");
    }
}

#[test]
fn a_terminated_vm_stays_terminated() {
    for op in LifeOp::ALL {
        let to = next_life(Life::Terminated, op);
        let expected = (op == LifeOp::Terminate).then_some(Life::Terminated);
        assert_eq!(to, expected, "{op:?}");
    }
}

#[test]
fn every_life_can_end_and_only_init_done_makes_a_vm_secure() {
    for from in Life::ALL {
        assert!(next_life(from, LifeOp::Terminate).is_some(), "{from:?}");
        for op in LifeOp::ALL {
            if next_life(from, op) == Some(Life::Secure) {
                assert_eq!((from, op), (Life::Transient, LifeOp::InitDone));
            }
        }
    }
}

// --- Table 4: who may call

/// Facts 2.2, column *caller*: each call belongs to the hypervisor or to guests.
#[test]
fn each_call_is_let_in_from_its_own_side_only() {
    use Caller::{Hypervisor, NormalGuest, SecureGuest};
    let belongs: [(&[Ucall], &[Caller]); 4] = [
        (
            &[
                Ucall::WritePate,
                Ucall::RegisterMemSlot,
                Ucall::UnregisterMemSlot,
                Ucall::PageIn,
                Ucall::PageOut,
                Ucall::PageInval,
                Ucall::SvmTerminate,
            ],
            &[Hypervisor],
        ),
        // It belongs to the hypervisor, but coming back from a reflected call replaces it.
        (&[Ucall::Return], &[]),
        // A secure VM's UV_ESM succeeds and does nothing (ultravisor document, UV_ESM).
        (&[Ucall::Esm], &[NormalGuest, SecureGuest]),
        (&[Ucall::SharePage, Ucall::UnsharePage, Ucall::UnshareAllPages], &[SecureGuest]),
    ];
    let listed: usize = belongs.iter().map(|(calls, _)| calls.len()).sum();
    assert_eq!(listed, Ucall::ALL.len(), "every call is listed once");
    for (calls, callers) in belongs {
        for call in calls {
            for caller in Caller::ALL {
                let entitled = entitled(caller, *call);
                assert_eq!(entitled.is_ok(), callers.contains(&caller), "{caller:?} {call:?}");
                let none = (caller, *call) == (Hypervisor, Ucall::Return);
                let refusal = if none { UStatus::Function } else { UStatus::Permission };
                assert!(entitled.is_ok() || entitled == Err(refusal), "{caller:?} {call:?}");
            }
        }
    }
}

// --- The tables as text

/// The lint against wildcard arms does not look into tuples.
#[test]
fn no_table_has_a_wildcard_arm() {
    let calls = include_str!("../src/ucall/mod.rs");
    let (_, from_table) = calls.split_once("pub const fn entitled(").expect("table 4 is there");
    let (table_4, _) = from_table.split_once("\n}\n").expect("it ends");
    let tables = [
        ("page_state.rs", include_str!("../src/page_state.rs")),
        ("view.rs", include_str!("../src/view.rs")),
        ("svm.rs", include_str!("../src/svm.rs")),
        ("ucall/mod.rs, entitled", table_4),
    ];
    for (name, text) in tables {
        assert!(text.contains("match ("), "{name} is a table");
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let wildcard = code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == "_");
            assert!(!wildcard, "{name}:{}: {line}", number + 1);
        }
    }
}

// --- The words

#[test]
fn states_operations_effects_and_lives_are_called_what_logs_and_tables_say() {
    assert_eq!(
        PageState::ALL.map(PageState::name),
        [
            "normal",
            "secure",
            "paged_out",
            "shared",
            "shared_inv",
            "hv_sharing",
            "hv_shared",
            "hv_shared_inv",
            "hv_unsharing",
            "hv_unsharing_inv",
            "hv_unshared",
        ]
    );
    assert_eq!(
        PageOp::ALL.map(PageOp::name),
        [
            "take_in",
            "init_done",
            "init_abort",
            "share_begin",
            "share",
            "share_revert",
            "unshare_begin",
            "unshare_grant",
            "unshare_granted",
            "unshare",
            "unshare_revert",
            "page_in",
            "page_out",
            "inval",
            "terminate",
        ]
    );
    assert_eq!(
        Effect::ALL.map(Effect::name),
        [
            "keep",
            "take",
            "fresh",
            "restore",
            "seal",
            "unseal",
            "zero_normal",
            "zero_secure",
            "map",
            "wipe",
        ]
    );
    assert_eq!(Life::ALL.map(Life::name), ["normal", "transient", "secure", "terminated"]);
}
