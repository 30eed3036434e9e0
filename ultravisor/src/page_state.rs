//! TABLE 1: page state × operation → state, and what happens to the bytes. Start reading here.
//!
//! The states are those of the public ultravisor firmware that a host can interfere with
//! (open-power/ultravisor, `include/svm_host.h`, `core/svm_host.c`). Left out on purpose: the
//! *implicit* forms (units that the ultravisor shares behind the SVM's back for RTAS and TPM
//! buffers; a guest that touches one is aborted) and the *pseudo* forms (the hypervisor believes
//! a unit shared that the SVM still sees as secure). Both exist only between the firmware and
//! services that this machine does not have, so no host action can reach them.
//!
//! Where the kernel's ABI document and the firmware differ, the firmware is followed and the row
//! says so.

use ultravisor_abi::UStatus;

/// The state of one unit of guest memory.
///
/// *Backing* says where its bytes live. The secure unit that a shared unit had before stays
/// parked: firmware never frees secure memory of a live SVM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PageState {
    /// A normal VM's page. *Backing*: normal memory. *Allows*: everything to everybody.
    Normal,
    /// Protected. *Backing*: secure memory. *Allows*: the guest only.
    Secure,
    /// Protected, sealed and handed to the host. *Backing*: ciphertext in normal memory, tag and
    /// nonce in the ultravisor. *Affected by*: a host write makes the next page-in fail.
    PagedOut,
    /// Given up by the guest. *Backing*: normal memory, plain, mapped on both sides.
    Shared,
    /// As [`Self::Shared`], but the host took its page back; the guest faults to the host.
    SharedInv,
    /// The guest asked to share; the hypervisor has not answered yet.
    HvSharing,
    /// The hypervisor gave a page for sharing; not yet committed.
    HvShared,
    /// As [`Self::HvShared`], and the host took that page back again.
    HvSharedInv,
    /// The guest asked to unshare; the hypervisor has not answered yet.
    HvUnsharing,
    /// As [`Self::HvUnsharing`], and the host took its page back meanwhile.
    HvUnsharingInv,
    /// The hypervisor let go of the shared page; not yet committed.
    HvUnshared,
}

impl PageState {
    /// Every state, in the order of a page's life.
    pub const ALL: [Self; 11] = [
        Self::Normal,
        Self::Secure,
        Self::PagedOut,
        Self::Shared,
        Self::SharedInv,
        Self::HvSharing,
        Self::HvShared,
        Self::HvSharedInv,
        Self::HvUnsharing,
        Self::HvUnsharingInv,
        Self::HvUnshared,
    ];

    /// The name used in every output, e.g. `paged_out`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Secure => "secure",
            Self::PagedOut => "paged_out",
            Self::Shared => "shared",
            Self::SharedInv => "shared_inv",
            Self::HvSharing => "hv_sharing",
            Self::HvShared => "hv_shared",
            Self::HvSharedInv => "hv_shared_inv",
            Self::HvUnsharing => "hv_unsharing",
            Self::HvUnsharingInv => "hv_unsharing_inv",
            Self::HvUnshared => "hv_unshared",
        }
    }

    /// Whether a share or unshare of this unit is under way.
    pub const fn in_transit(self) -> bool {
        match self {
            Self::HvSharing
            | Self::HvShared
            | Self::HvSharedInv
            | Self::HvUnsharing
            | Self::HvUnsharingInv
            | Self::HvUnshared => true,
            Self::Normal | Self::Secure | Self::PagedOut | Self::Shared | Self::SharedInv => false,
        }
    }
}

/// What can happen to a unit. One ultracall may be several operations, each with its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PageOp {
    /// UV_PAGE_IN while the VM is transient: the unit is copied in and measured.
    TakeIn,
    /// The VM becomes secure: what was never taken in is secure now, and zero.
    InitDone,
    /// UV_ESM failed, or the hypervisor ended it: the transient VM is a normal one again.
    InitAbort,
    /// UV_SHARE_PAGE, before the hypervisor is asked.
    ShareBegin,
    /// UV_SHARE_PAGE, when all units of the transaction were granted.
    ShareCommit,
    /// UV_SHARE_PAGE, when the hypervisor refused this unit.
    ShareRevert,
    /// UV_UNSHARE_PAGE, before the hypervisor is asked.
    UnshareBegin,
    /// Undoing a granted but uncommitted share: the hypervisor is asked to let go.
    UnshareGrant,
    /// The hypervisor answered H_SVM_PAGE_IN(non-shared) with success.
    UnshareGranted,
    /// UV_UNSHARE_PAGE, when all units of the transaction were let go.
    UnshareCommit,
    /// A granted share was undone: the unit is what it was before.
    UnshareRevert,
    /// UV_PAGE_IN while the VM is secure.
    PageIn,
    /// UV_PAGE_OUT.
    PageOut,
    /// UV_PAGE_INVAL.
    Inval,
    /// UV_SVM_TERMINATE of a secure VM, or the ultravisor aborts it.
    Terminate,
}

impl PageOp {
    /// Every operation, in the order of the table.
    pub const ALL: [Self; 15] = [
        Self::TakeIn,
        Self::InitDone,
        Self::InitAbort,
        Self::ShareBegin,
        Self::ShareCommit,
        Self::ShareRevert,
        Self::UnshareBegin,
        Self::UnshareGrant,
        Self::UnshareGranted,
        Self::UnshareCommit,
        Self::UnshareRevert,
        Self::PageIn,
        Self::PageOut,
        Self::Inval,
        Self::Terminate,
    ];

    /// The name used in every output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TakeIn => "take_in",
            Self::InitDone => "init_done",
            Self::InitAbort => "init_abort",
            Self::ShareBegin => "share_begin",
            Self::ShareCommit => "share",
            Self::ShareRevert => "share_revert",
            Self::UnshareBegin => "unshare_begin",
            Self::UnshareGrant => "unshare_grant",
            Self::UnshareGranted => "unshare_granted",
            Self::UnshareCommit => "unshare",
            Self::UnshareRevert => "unshare_revert",
            Self::PageIn => "page_in",
            Self::PageOut => "page_out",
            Self::Inval => "inval",
            Self::Terminate => "terminate",
        }
    }
}

/// What a step does to the unit's bytes. `memory.rs` obeys; nothing else moves bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Nothing.
    Keep,
    /// Copy normal to secure memory, add them to the measurement, give the host's page back
    /// empty.
    Take,
    /// The secure unit counts as zero from now on; nothing is copied or walked.
    Fresh,
    /// Copy secure to normal memory and zero the secure unit; drop tag and nonce. Only for a
    /// transient VM: it has run no code since its bytes came from there.
    Restore,
    /// Encrypt the secure unit into normal memory; keep tag and nonce.
    Seal,
    /// Verify and decrypt normal memory into the secure unit; give the host's page back empty.
    Unseal,
    /// Zero the host's page and map it; park the secure unit.
    ZeroNormal,
    /// Zero the parked secure unit and map it; give the host's page back empty.
    ZeroSecure,
    /// Map the page that the host gave, as it is.
    Map,
    /// Zero all secure bytes, drop tag and nonce.
    Wipe,
}

impl Effect {
    /// Every effect.
    pub const ALL: [Self; 10] = [
        Self::Keep,
        Self::Take,
        Self::Fresh,
        Self::Restore,
        Self::Seal,
        Self::Unseal,
        Self::ZeroNormal,
        Self::ZeroSecure,
        Self::Map,
        Self::Wipe,
    ];

    /// The name used in every output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Take => "take",
            Self::Fresh => "fresh",
            Self::Restore => "restore",
            Self::Seal => "seal",
            Self::Unseal => "unseal",
            Self::ZeroNormal => "zero_normal",
            Self::ZeroSecure => "zero_secure",
            Self::Map => "map",
            Self::Wipe => "wipe",
        }
    }
}

/// One move of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The state after it.
    pub to: PageState,
    /// What happens to the bytes.
    pub effect: Effect,
}

const fn to(to: PageState, effect: Effect) -> Result<Step, UStatus> {
    Ok(Step { to, effect })
}

/// The table. `Err` is the status that a call which runs into this cell returns; the unit and its
/// bytes are unchanged then.
///
/// Source: firmware `core/svm_host.c`, `core/page_encrypt.c` (facts, sections 2.6 and 2.7).
#[rustfmt::skip]
pub const fn next(from: PageState, op: PageOp) -> Result<Step, UStatus> {
    use {Effect::*, PageOp::*, PageState::*};
    match (from, op) {
        // Becoming secure. A unit may be taken in twice; the later copy counts.
        (Normal | Secure, TakeIn)   => to(Secure, Take),
        // The host touched it after it was taken in.
        (PagedOut, TakeIn)          => to(Secure, Unseal),
        (Shared | SharedInv | HvSharing | HvShared | HvSharedInv | HvUnsharing | HvUnsharingInv
            | HvUnshared, TakeIn)   => Err(UStatus::P2),
        (Normal, InitDone)          => to(Secure, Fresh),
        (Secure | PagedOut | Shared | SharedInv | HvSharing | HvShared | HvSharedInv | HvUnsharing
            | HvUnsharingInv | HvUnshared, InitDone) => to(from, Keep),
        // A transient VM shares nothing, but KVM's H_SVM_INIT_ABORT pages out all that was taken
        // in: the parked unit is what comes back, whatever the host did to the ciphertext.
        (Normal, InitAbort)         => to(Normal, Keep),
        (Secure | PagedOut, InitAbort) => to(Normal, Restore),
        (Shared | SharedInv | HvSharing | HvShared | HvSharedInv | HvUnsharing | HvUnsharingInv
            | HvUnshared, InitAbort) => Err(UStatus::P2),

        // Sharing, in two phases. Sharing what is shared changes nothing and does not zero it
        // (the ABI document zeroes it again).
        (Secure, ShareBegin)        => to(HvSharing, Keep),
        (Shared, ShareBegin)        => to(Shared, Keep),
        (SharedInv, ShareBegin)     => to(SharedInv, Keep),
        // A paged-out unit is paged in first; the call does that before this step.
        (PagedOut, ShareBegin)      => Err(UStatus::Retry),
        (Normal | HvSharing | HvShared | HvSharedInv | HvUnsharing | HvUnsharingInv | HvUnshared,
            ShareBegin) => Err(UStatus::P2),
        (HvShared, ShareCommit)     => to(Shared, ZeroNormal),
        (HvSharedInv, ShareCommit)  => to(SharedInv, Keep),
        (Normal | Secure | PagedOut | Shared | SharedInv | HvSharing | HvUnsharing | HvUnsharingInv
            | HvUnshared, ShareCommit) => Err(UStatus::P2),
        (HvSharing, ShareRevert)    => to(Secure, Keep),
        (Normal | Secure | PagedOut | Shared | SharedInv | HvShared | HvSharedInv | HvUnsharing
            | HvUnsharingInv | HvUnshared, ShareRevert) => Err(UStatus::P2),

        // Unsharing, in two phases. A unit that is not shared stays as it is (the ABI document
        // zeroes it). For a paged-out one the firmware drops tag and nonce, which loses the unit:
        // taken for a slip, not followed.
        (Shared, UnshareBegin)      => to(HvUnsharing, Keep),
        (SharedInv, UnshareBegin)   => to(HvUnsharingInv, Keep),
        (Secure, UnshareBegin)      => to(Secure, Keep),
        (PagedOut, UnshareBegin)    => to(PagedOut, Keep),
        (Normal | HvSharing | HvShared | HvSharedInv | HvUnsharing | HvUnsharingInv | HvUnshared,
            UnshareBegin) => Err(UStatus::P2),
        (HvShared, UnshareGrant)    => to(HvUnsharing, Keep),
        (HvSharedInv, UnshareGrant) => to(HvUnsharingInv, Keep),
        (Normal | Secure | PagedOut | Shared | SharedInv | HvSharing | HvUnsharing | HvUnsharingInv
            | HvUnshared, UnshareGrant) => Err(UStatus::P2),
        (HvUnsharing | HvUnsharingInv, UnshareGranted) => to(HvUnshared, Keep),
        (Normal | Secure | PagedOut | Shared | SharedInv | HvSharing | HvShared | HvSharedInv
            | HvUnshared, UnshareGranted) => Err(UStatus::P2),
        (HvUnshared, UnshareCommit) => to(Secure, ZeroSecure),
        (Normal | Secure | PagedOut | Shared | SharedInv | HvSharing | HvShared | HvSharedInv
            | HvUnsharing | HvUnsharingInv, UnshareCommit) => Err(UStatus::P2),
        // The guest never gave the unit up: its parked bytes are still what it last wrote.
        (HvUnshared, UnshareRevert) => to(Secure, Keep),
        (Normal | Secure | PagedOut | Shared | SharedInv | HvSharing | HvShared | HvSharedInv
            | HvUnsharing | HvUnsharingInv, UnshareRevert) => Err(UStatus::P2),

        // The hypervisor gives a page.
        (PagedOut, PageIn)          => to(Secure, Unseal),
        (Shared | SharedInv, PageIn) => to(Shared, Map),
        (HvSharing | HvShared | HvSharedInv, PageIn) => to(HvShared, Keep),
        (HvUnsharing | HvUnsharingInv, PageIn) => to(HvUnsharing, Keep),
        (Normal | Secure | HvUnshared, PageIn) => Err(UStatus::P2),

        // The hypervisor takes a page. (For a shared unit the ABI document says success.)
        (Secure, PageOut)           => to(PagedOut, Seal),
        (HvUnshared, PageOut)       => Err(UStatus::Retry),
        (Normal | PagedOut | Shared | SharedInv | HvSharing | HvShared | HvSharedInv | HvUnsharing
            | HvUnsharingInv, PageOut) => Err(UStatus::Parameter),

        // The hypervisor took a shared page's backing away. (The ABI header's diagram leads from
        // SHARED_INV back to SHARED; firmware stays.)
        (Shared, Inval)             => to(SharedInv, Keep),
        (HvShared, Inval)           => to(HvSharedInv, Keep),
        (HvUnsharing, Inval)        => to(HvUnsharingInv, Keep),
        (SharedInv, Inval)          => to(SharedInv, Keep),
        (HvSharedInv, Inval)        => to(HvSharedInv, Keep),
        (HvUnsharingInv, Inval)     => to(HvUnsharingInv, Keep),
        (Normal | Secure | PagedOut | HvSharing | HvUnshared, Inval) => Err(UStatus::P2),

        // The end, from everywhere.
        (Normal | Secure | PagedOut | Shared | SharedInv | HvSharing | HvShared | HvSharedInv
            | HvUnsharing | HvUnsharingInv | HvUnshared, Terminate) => to(Normal, Wipe),
    }
}
