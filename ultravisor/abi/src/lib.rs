//! Numbers and layouts that the guest, the ultravisor and the host agree on.
//!
//! Four kinds of facts and no behaviour: address types ([`addr`]), the calls with their numbers
//! ([`ucall`], [`hcall`], [`ours`]), their status codes ([`status`]), and where things lie when
//! a guest starts ([`boot`]). The guest images are built against this crate alone.
#![no_std]

#[macro_use]
mod numbered;

pub mod addr;
pub mod boot;
pub mod hcall;
pub mod ours;
pub mod status;
pub mod ucall;

pub use addr::{DmaAddr, Gfn, Gpa, UnitSize};
pub use hcall::Hcall;
pub use ours::{OurCall, ReportKind};
pub use status::{HStatus, UStatus};
pub use ucall::Ucall;

/// One call by `vmcall`, as it stands in the registers.
///
/// The convention: number in `rax`; arguments in `rdi rsi rdx r10 r8 r9`; the signed status comes
/// back in `rax`, outputs in the argument registers, everything else is preserved. (Power passes
/// the number in R3 and arguments from R4 on; ultravisor document, "Ultracalls".)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallRegs {
    /// The call's number, `rax`.
    pub number: u64,
    /// `rdi rsi rdx r10 r8 r9`, in this order.
    pub args: [u64; 6],
}
