//! Device registers, read and written by address.
//!
//! Whoever asks has the address from the device tree, or from the configuration space of a PCI
//! function that the tree names: nothing but device registers lies there.
#![expect(unsafe_code, reason = "registers lie at addresses")]

use core::ptr;

/// Reads the register at `address`.
pub fn load<T: Copy>(address: u64) -> T {
    let register = ptr::with_exposed_provenance::<T>(address as usize);
    // SAFETY: a device's register is there, as this module's head says; it is as wide as `T`.
    unsafe { register.read_volatile() }
}

/// Writes the register at `address`.
pub fn store<T: Copy>(address: u64, value: T) {
    let register = ptr::with_exposed_provenance_mut::<T>(address as usize);
    // SAFETY: as in `load`.
    unsafe { register.write_volatile(value) }
}
