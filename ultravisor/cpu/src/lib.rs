//! An x86-64 machine that runs whatever a compiler emits.
//!
//! Knows nothing of page protection, virtio or scenarios: it has a [`Bus`] that answers for
//! pages, and an [`Exit`] for everything else. Inside, from the outside in: `run` (the loop over
//! blocks, budgets) uses `decode` (bytes to uops), which picks from `exec` (what instructions
//! do); they stand on `delivery` (exceptions and interrupts), `access` (loads and stores), `paging` (the
//! walk) and `mem` (the TLB).

pub mod bus;
pub mod exit;
mod mem;
pub mod x87;
pub mod segment;
mod regs;
mod width;
mod flags;
mod form;
mod event;
mod uop;
mod blocks;
mod cpu;
mod mode;
mod debug;
mod paging;
mod access;
mod table;
mod transfer;
mod delivery;
mod exec;
mod decode;
mod run;

pub use bus::{Access, Bus, HostPage, Page};
pub use cpu::{Cpu, LocalApic, control};
pub use decode::supports;
pub use event::Interrupt;
pub use exit::Exit;
pub use flags::bit as flag;
pub use regs::{Gprs, Msrs, Reg, Regs};
pub use segment::{Attributes, Seg, Segment};
