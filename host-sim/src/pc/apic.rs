//! Local APIC and I/O APIC.

mod base;
mod delivery;
mod guest;
mod io;
mod local;
mod registers;
mod timer;
mod vectors;

pub use base::Mode;
pub use io::IoApic;
pub use local::LocalApic;
pub use timer::HZ;

/// Why a register is not accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// #GP(0).
    Protection,
    /// Our limit: what the guest wants is not built.
    NotBuilt(&'static str),
}
