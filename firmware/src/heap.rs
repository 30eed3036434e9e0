//! The guest's heap: blocks of powers of two, each aligned to its own size.
//!
//! A freed block goes to the list of its size and is found there again; blocks are never merged.
//! Small blocks therefore share pages and units with each other, as on any heap, and a block of
//! 64 KiB or more is alone in the 64 KiB units that it touches.
#![expect(unsafe_code, reason = "an allocator makes memory out of addresses")]

use crate::calls::Trouble;
use crate::single::Single;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr;

/// The coarsest unit that scenarios use: what must be alone asks for blocks of it.
pub const UNIT_BYTES: usize = 64 << 10;
const SMALLEST: usize = 16;
const SIZES: usize = usize::BITS as usize;

struct Heap {
    /// The first address that was never given.
    fresh: usize,
    end: usize,
    /// Freed blocks by log2 of their size; each holds the address of the next, or 0.
    free: [usize; SIZES],
}

static HEAP: Single<Heap> = Single::new(Heap { fresh: 0, end: 0, free: [0; SIZES] });

struct GlobalHeap;

#[global_allocator]
static GLOBAL: GlobalHeap = GlobalHeap;

/// Gives the heap its memory.
///
/// # Safety
/// `start..end` is RAM that nothing else uses from now on.
pub unsafe fn init(start: u64, end: u64) {
    HEAP.with(|heap| (heap.fresh, heap.end) = (start as usize, end as usize));
}

fn block_bytes(layout: Layout) -> Option<usize> {
    layout.size().max(layout.align()).max(SMALLEST).checked_next_power_of_two()
}

impl Heap {
    fn take(&mut self, bytes: usize) -> Option<usize> {
        let list = &mut self.free[bytes.trailing_zeros() as usize];
        if *list != 0 {
            let block = *list;
            // SAFETY: the list holds blocks of this heap that nobody uses; `give_back` wrote the
            // address of the next into their first word.
            *list = unsafe { ptr::with_exposed_provenance::<usize>(block).read() };
            return Some(block);
        }
        let block = self.fresh.checked_next_multiple_of(bytes)?;
        let fresh = block.checked_add(bytes).filter(|fresh| *fresh <= self.end)?;
        self.fresh = fresh;
        Some(block)
    }

    fn give_back(&mut self, block: usize, bytes: usize) {
        let list = &mut self.free[bytes.trailing_zeros() as usize];
        // SAFETY: the block is at least a word long, aligned to its size, and nobody's any more.
        unsafe { ptr::with_exposed_provenance_mut::<usize>(block).write(*list) };
        *list = block;
    }
}

// SAFETY: blocks are at least as long and as aligned as asked for (both are at most the block's
// size, to which it is aligned), lie in memory that `init`'s caller gave away, and a block is in
// a list or in use, never both.
unsafe impl GlobalAlloc for GlobalHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let taken = HEAP.with(|heap| block_bytes(layout).and_then(|bytes| heap.take(bytes)));
        match taken {
            Some(block) => ptr::with_exposed_provenance_mut(block),
            // By name: the message of a failed allocation would have to be formatted.
            None => Trouble::failed("no-memory").give_up(),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(bytes) = block_bytes(layout) {
            HEAP.with(|heap| heap.give_back(block.expose_provenance(), bytes));
        }
    }
}

/// The address of `bytes` bytes that start on a multiple of `unit` (a power of two, at least
/// [`UNIT_BYTES`]), alone in the units that they touch. They are never given back, and not
/// touched here.
pub fn own_units_untouched(bytes: usize, unit: usize) -> *mut u8 {
    let start = HEAP.with(|heap| {
        let start = heap.fresh.checked_next_multiple_of(unit)?;
        let fresh = start.checked_add(bytes.max(1))?.checked_next_multiple_of(unit)?;
        (fresh <= heap.end).then(|| {
            heap.fresh = fresh;
            start
        })
    });
    match start {
        Some(start) => ptr::with_exposed_provenance_mut(start),
        None => Trouble::failed("no-memory").give_up(),
    }
}

/// As [`own_units_untouched`] with units of [`UNIT_BYTES`], zeroed.
pub fn own_units(bytes: usize) -> &'static mut [u8] {
    own_units_of(bytes, UNIT_BYTES)
}

/// The same with units of `unit` bytes, a power of two; at least [`UNIT_BYTES`] are used.
pub fn own_units_of(bytes: usize, unit: usize) -> &'static mut [u8] {
    let start = own_units_untouched(bytes, unit.max(UNIT_BYTES));
    // SAFETY: these bytes are the heap's and given to nobody else; they are zeroed before a
    // slice of them exists.
    unsafe {
        ptr::write_bytes(start, 0, bytes);
        core::slice::from_raw_parts_mut(start, bytes)
    }
}
