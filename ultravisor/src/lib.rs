//! The ultravisor: it keeps two promises about a secure VM's memory.
//!
//! *Secrecy*: what the guest did not share, the host never sees but sealed. *Integrity*: what the
//! guest reads is what it last wrote, or it does not get on.
//!
//! Imports run one way: `page_state`, `svm`, `view`, `event` (the tables and their words); `frames`,
//! `platform`, `unit_map`, `seal`, `memory` (the bytes); `reflect`, `ucall` (the calls). A file
//! imports only what stands before it here.

pub mod page_state;
pub mod view;
pub mod svm;
pub mod frames;
pub mod platform;
pub mod event;
pub mod unit_map;
pub mod seal;
pub mod memory;
pub mod reflect;
pub mod ucall;

pub use page_state::{Effect, PageOp, PageState};
pub use svm::Life;
pub use ucall::{Fault, Hypervisor, LPID, Ultravisor};
