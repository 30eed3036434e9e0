//! The host around a secure guest: hypervisor, QEMU-like devices, the machine, scenarios, outputs.
