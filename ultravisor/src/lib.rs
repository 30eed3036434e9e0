//! The ultravisor: it keeps two promises about a secure VM's memory.
//!
//! *Secrecy*: what the guest did not share, the host never sees but sealed. *Integrity*: what the
//! guest reads is what it last wrote, or it does not get on. Modules in data-flow order; a file
//! imports only what stands above it here.

pub mod page_state;
pub mod svm;
pub mod view;

pub use page_state::{Effect, PageOp, PageState};
pub use svm::Life;
