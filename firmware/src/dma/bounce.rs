//! The probe point `swiotlb_bounce`: one copy between a private buffer and a shared slot.
#![expect(unsafe_code, reason = "a function with a C name that moves bytes by address")]

use core::hint::black_box;
use core::ptr;

/// Copies `bytes` bytes between a slot and the buffer it stands for: out (0) or back (1).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn swiotlb_bounce(slot: u64, original: u64, bytes: u64, back: u64) {
    // The machine reads all arguments, so callers must pass them: an argument that nobody looks
    // at, link-time optimisation would leave out.
    let [slot, original, bytes, back] = black_box([slot, original, bytes, back]);
    let (from, to) = if back == 0 { (original, slot) } else { (slot, original) };
    let from = ptr::with_exposed_provenance::<u8>(from as usize);
    let to = ptr::with_exposed_provenance_mut::<u8>(to as usize);
    // SAFETY: the slot is the pool's and this mapping's alone; the buffer is what the driver
    // lent for the time of the mapping. They do not overlap: the pool is no buffer.
    unsafe { ptr::copy_nonoverlapping(from, to, bytes as usize) };
}
