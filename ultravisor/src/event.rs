//! What the ultravisor did: values, told once, where it is known.

use crate::page_state::{Effect, PageOp, PageState};
use crate::svm::Life;
use ultravisor_abi::ucall::Caller;
use ultravisor_abi::{Gfn, UStatus, Ucall};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UvEvent {
    /// A call ended.
    Call {
        /// Who issued it.
        caller: Caller,
        /// Which.
        call: Ucall,
        /// Its arguments.
        args: [u64; 6],
        /// Its status.
        status: UStatus,
    },
    /// A unit moved. A step that changes neither state nor bytes is not told.
    Page {
        /// Which unit.
        gfn: Gfn,
        /// By which operation.
        op: PageOp,
        /// From.
        from: PageState,
        /// To.
        to: PageState,
        /// What happened to the bytes.
        effect: Effect,
        /// How many bytes were copied, sealed, unsealed or zeroed; 0 for a seal that is none
        /// (`pef-unsealed`).
        bytes: u64,
    },
    /// A page-in failed verification.
    Tampered {
        /// Which unit.
        gfn: Gfn,
    },
    /// The VM's life went on.
    Life {
        /// From.
        from: Life,
        /// To.
        to: Life,
    },
    /// UV_ESM measured what it took in.
    Measured {
        /// How many units.
        units: u64,
        /// SHA-256 over (GPA as 8 bytes, the unit's bytes) of each, in ascending order.
        digest: [u8; 32],
    },
}
