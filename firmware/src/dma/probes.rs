//! The probe points: functions with C names that the machine watches by symbol (design, section
//! 5), and through which drivers ask. `dma_decide` and `swiotlb_bounce` are in `ask` and `bounce`.
#![expect(unsafe_code, reason = "functions with C names")]

use crate::calls::Trouble;
use crate::dma::Direction;
use crate::dma::ask::dma_decide;
use crate::dma::bounce::swiotlb_bounce;
use crate::dma::state::{DMA, NEEDS_WORK, cpu_address};
use core::arch::naked_asm;
use core::hint::black_box;
use core::ptr;

/// Keeps the probe points as they are: a function whose address is taken keeps its signature
/// and its name through link-time optimisation.
#[used]
static PROBE_POINTS: ProbePoints =
    (dma_decide, dma_map, dma_unmap, dma_alloc, dma_free, swiotlb_bounce);

type ProbePoints = (
    extern "C" fn(u64, u64, u64, u64, u64) -> u64,
    extern "C" fn(u64, u64, u64, u64) -> u64,
    extern "C" fn(u64, u64, u64, u64),
    extern "C" fn(u64, u64, u64) -> u64,
    extern "C" fn(u64, u64, u64),
    extern "C" fn(u64, u64, u64, u64),
);

/// Lends `bytes` bytes at `address` to `device`; returns what goes into the ring. A buffer that
/// cannot be lent ends the guest by name, it never goes out by another path: slots are found in
/// `reserve` before.
///
/// Where all devices take the direct path this is four instructions: a guest that needs nothing
/// pays nothing.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub extern "C" fn dma_map(address: u64, bytes: u64, direction: u64, device: u64) -> u64 {
    naked_asm!(
        "cmp byte ptr [rip + {needs_work}], 0",
        "jne {work}",
        "mov rax, rdi",
        "ret",
        needs_work = sym NEEDS_WORK,
        work = sym map_with_work,
    )
}

/// Takes a lent buffer back; if the device may have written it and it bounced, it is copied back.
/// Three instructions where all devices take the direct path.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub extern "C" fn dma_unmap(address: u64, bytes: u64, direction: u64, device: u64) {
    naked_asm!(
        "cmp byte ptr [rip + {needs_work}], 0",
        "jne {work}",
        "ret",
        needs_work = sym NEEDS_WORK,
        work = sym unmap_with_work,
    )
}

extern "C" fn map_with_work(address: u64, bytes: u64, direction: u64, device: u64) -> u64 {
    let direction = Direction::from_number(direction);
    DMA.with(|dma| dma.map(device as usize, address, bytes, direction))
        .unwrap_or_else(|trouble| trouble.give_up())
}

extern "C" fn unmap_with_work(address: u64, bytes: u64, direction: u64, device: u64) {
    let direction = Direction::from_number(direction);
    DMA.with(|dma| dma.unmap(device as usize, address, bytes, direction))
        .unwrap_or_else(|trouble: Trouble| trouble.give_up());
}

/// Zeroed memory for a ring of `device`, in whole pages: the address that the device gets; 0 if
/// there is none.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn dma_alloc(bytes: u64, direction: u64, device: u64) -> u64 {
    // The machine reads all arguments, so callers must pass them: an argument that nobody looks
    // at, link-time optimisation would leave out.
    let [bytes, direction, device] = black_box([bytes, direction, device]);
    let direction = Direction::from_number(direction);
    match DMA.with(|dma| dma.allocate(device as usize, bytes, direction)) {
        Ok(Some((start, address))) => {
            zero(start, bytes);
            address
        }
        Ok(None) => 0,
        Err(trouble) => trouble.give_up(),
    }
}

/// The same without the DMA API, for a path that bypasses it.
pub fn ring_pages(bytes: u64, direction: u64, device: u64) -> u64 {
    let direction = Direction::from_number(direction);
    let start = DMA.with(|dma| dma.take_ring(device as usize, bytes, direction)).unwrap_or(0);
    if start != 0 {
        zero(start, bytes);
    }
    start
}

/// Where the CPU finds the ring that `device` knows at `address`.
pub fn ring_at(address: u64, device: u64) -> *mut u8 {
    ptr::with_exposed_provenance_mut(cpu_address(device as usize, address) as usize)
}

/// `bytes` bytes of ring memory at `start`, which was just taken.
fn zero(start: u64, bytes: u64) {
    let start = ptr::with_exposed_provenance_mut::<u8>(start as usize);
    // SAFETY: whoever calls this took this memory for itself alone.
    unsafe { ptr::write_bytes(start, 0, bytes as usize) };
}

/// Takes a ring's memory back.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn dma_free(address: u64, bytes: u64, device: u64) {
    let [address, bytes, device] = black_box([address, bytes, device]);
    give_ring_back(address, bytes, device);
}

/// The same without the DMA API.
pub fn give_ring_back(address: u64, bytes: u64, device: u64) {
    DMA.with(|dma| dma.free(device as usize, address, bytes));
}
