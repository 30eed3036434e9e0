//! `virtio-drivers`' seam to the platform, one type per device.
//!
//! Its functions have no `self`, so which device is meant stands in the type: `DeviceHal<0>` is
//! the disk's, and so on ([`crate::virtio::Kind`]).
#![expect(unsafe_code, reason = "the trait is a promise about addresses")]

use crate::dma::Direction;
use crate::dma::probes::{
    dma_alloc, dma_free, dma_map, dma_unmap, give_ring_back, ring_at, ring_pages,
};
use crate::dma::state::{sends_through_api, uses_dma_api};
use crate::virtio::{Kind, bugs};
use core::ptr::{self, NonNull};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

/// The platform as the device with index `DEVICE` meets it.
pub struct DeviceHal<const DEVICE: usize>;

const fn number(direction: BufferDirection) -> u64 {
    let direction = match direction {
        BufferDirection::DriverToDevice => Direction::ToDevice,
        BufferDirection::DeviceToDriver => Direction::FromDevice,
        BufferDirection::Both => Direction::Both,
    };
    direction as u64
}

fn address(buffer: NonNull<[u8]>) -> u64 {
    buffer.cast::<u8>().expose_provenance().get() as u64
}

/// What the trait's `dma_alloc` says, for any device: once for all, as the image is to stay small.
#[inline(never)]
fn ring_memory(pages: usize, direction: u64, index: usize) -> (PhysAddr, NonNull<u8>) {
    let (bytes, device) = ((pages * PAGE_SIZE) as u64, index as u64);
    let start = if uses_dma_api(index) {
        dma_alloc(bytes, direction, device)
    } else {
        ring_pages(bytes, direction, device)
    };
    // Address 0 means that there is none; the driver then looks at the pointer no further.
    let pointer = NonNull::new(ring_at(start, device)).unwrap_or(NonNull::dangling());
    if index == Kind::Blk as usize && start != 0 {
        bugs::ring_is_at(pointer, direction);
    }
    (start, pointer)
}

/// Likewise `dma_dealloc`.
#[inline(never)]
fn ring_memory_back(start: PhysAddr, pages: usize, index: usize) {
    let bytes = (pages * PAGE_SIZE) as u64;
    if uses_dma_api(index) {
        dma_free(start, bytes, index as u64);
    } else {
        give_ring_back(start, bytes, index as u64);
    }
}

// SAFETY: `dma_alloc` gives whole zeroed pages that nobody else has, or none; all memory is
// identity-mapped, so a page's address is its pointer.
unsafe impl<const DEVICE: usize> Hal for DeviceHal<DEVICE> {
    fn dma_alloc(pages: usize, direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        ring_memory(pages, number(direction), DEVICE)
    }

    unsafe fn dma_dealloc(start: PhysAddr, _pointer: NonNull<u8>, pages: usize) -> i32 {
        ring_memory_back(start, pages, DEVICE);
        0
    }

    unsafe fn mmio_phys_to_virt(start: PhysAddr, _bytes: usize) -> NonNull<u8> {
        // Identity-mapped, as all memory is.
        NonNull::new(ptr::with_exposed_provenance_mut(start as usize))
            .unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, direction: BufferDirection) -> PhysAddr {
        let (address, bytes) = (address(buffer), buffer.len() as u64);
        if DEVICE == Kind::Blk as usize
            && let Some(wrong) = bugs::address_instead(address, bytes)
        {
            return wrong;
        }
        if sends_through_api(DEVICE) {
            dma_map(address, bytes, number(direction), DEVICE as u64)
        } else {
            address
        }
    }

    unsafe fn unshare(start: PhysAddr, buffer: NonNull<[u8]>, direction: BufferDirection) {
        let bytes = buffer.len() as u64;
        let mut start = start;
        if DEVICE == Kind::Blk as usize {
            match bugs::address_to_undo(start, bytes) {
                Some(address) => start = address,
                None => return,
            }
        }
        if uses_dma_api(DEVICE) {
            dma_unmap(start, bytes, number(direction), DEVICE as u64);
        }
    }
}
