//! TABLE 2: actor × page state → what that actor sees.

use crate::page_state::PageState;

/// Who looks at a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Actor {
    /// The guest's CPU.
    Guest,
    /// The hypervisor and QEMU.
    Host,
    /// A device that QEMU emulates: it reaches memory as QEMU does.
    Device,
}

impl Actor {
    /// Every actor.
    pub const ALL: [Self; 3] = [Self::Guest, Self::Host, Self::Device];
}

/// What an actor sees of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum View {
    /// The guest's bytes.
    Plain,
    /// The guest's bytes, sealed.
    Sealed,
    /// A page of the host's own, which holds nothing of the guest's.
    Own,
    /// Nothing: something must happen first. For the guest: a page-in, or the host maps the page
    /// again. For the host and its devices: a page-out.
    Fault,
}

/// The table (Power PEF: kernel ultravisor document, "Overview"; firmware `core/svm_host.c`).
#[rustfmt::skip]
pub const fn view(actor: Actor, page: PageState) -> View {
    use {Actor::*, PageState::*, View::*};
    match (actor, page) {
        (Guest, Normal | Secure | Shared)            => Plain,
        (Guest, PagedOut | SharedInv)                => Fault,
        // The guest waits inside its ultracall.
        (Guest, HvSharing | HvShared | HvSharedInv
            | HvUnsharing | HvUnsharingInv | HvUnshared) => Fault,

        (Host | Device, Normal | Shared)             => Plain,
        (Host | Device, PagedOut)                    => Sealed,
        (Host | Device, Secure)                      => Fault,
        // The hypervisor has taken the page back: what lies there is its own.
        (Host | Device, SharedInv | HvSharedInv | HvUnsharingInv) => Own,
        (Host | Device, HvSharing | HvUnshared)      => Fault,
        // Given for sharing, not zeroed and mapped for the guest yet: still the host's bytes.
        (Host | Device, HvShared)                    => Own,
        // Not taken away yet.
        (Host | Device, HvUnsharing)                 => Plain,
    }
}
