//! The host around a secure guest: hypervisor, QEMU-like devices, the machine, scenarios, outputs.

pub mod device;
pub mod event;
pub mod fdt;
pub mod image;
pub mod qemu;
pub mod scenario;
pub mod touch;
pub mod window;
