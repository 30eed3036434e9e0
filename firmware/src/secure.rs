//! Becoming a secure VM, sharing memory as one, and the secret that must never get out.

use crate::calls::{Trouble, declare_secret, ultracall};
use crate::heap::own_units_of;
use crate::pattern::{SECRET_BYTES, secret};
use crate::start::image_start;
use ultravisor_abi::{Gpa, UStatus, Ucall, UnitSize};

/// Asks the ultravisor to make this VM secure. What lies in memory is taken in; the guest goes
/// on at the next instruction.
///
/// # Errors
/// `esm` if the ultravisor refuses or there is none.
pub fn enter(fdt: u64) -> Result<(), Trouble> {
    succeed(ultracall(Ucall::Esm, image_start(), fdt), "esm")
}

/// Shares `bytes` bytes from `start` on with the hypervisor, in one call. Both are whole units.
/// The ultravisor zeroes what it shares.
///
/// # Errors
/// `uv-share` if the ultravisor refuses. (Linux ignores the status; a guest that goes on would
/// hand its rings to pages that the host cannot read.)
pub fn share(unit: UnitSize, start: Gpa, bytes: u64) -> Result<(), Trouble> {
    let (first, count) = (unit.gfn(start).0, bytes >> unit.order());
    succeed(ultracall(Ucall::SharePage, first, count), "uv-share")
}

/// Takes back what [`share`] shared. The ultravisor zeroes it.
///
/// # Errors
/// `uv-unshare` if the ultravisor refuses.
pub fn take_back(unit: UnitSize, start: Gpa, bytes: u64) -> Result<(), Trouble> {
    let (first, count) = (unit.gfn(start).0, bytes >> unit.order());
    succeed(ultracall(Ucall::UnsharePage, first, count), "uv-unshare")
}

/// Takes back all that was shared: what a kernel does before another takes over.
///
/// # Errors
/// `uv-unshare-all` if the ultravisor refuses.
pub fn take_back_all() -> Result<(), Trouble> {
    succeed(ultracall(Ucall::UnshareAllPages, 0, 0), "uv-unshare-all")
}

fn succeed(status: i64, name: &'static str) -> Result<(), Trouble> {
    if status == UStatus::Success.code() { Ok(()) } else { Err(Trouble::failed(name)) }
}

/// Writes this run's secret into a unit of its own and declares it. It is never put into a
/// request, so any sight of it on the host's side is a leak.
pub fn plant_secret(seed: u64, unit: Option<UnitSize>) {
    let place = own_units_of(SECRET_BYTES, unit.map_or(1, |unit| unit.bytes() as usize));
    place.copy_from_slice(&secret(seed));
    declare_secret(place.as_ptr().expose_provenance() as u64, SECRET_BYTES as u64);
}
