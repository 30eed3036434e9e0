//! The host around a secure guest: hypervisor, QEMU-like devices, the machine, scenarios, outputs.

pub mod event;
pub mod scenario;
pub mod touch;
