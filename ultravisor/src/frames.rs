//! The two physical memories, and the only owner of guest bytes.
//!
//! Both are anonymous mappings as large as the guest-physical address space in use: sparse, no
//! swap reserved, no huge pages, so that only units that were touched cost memory. A unit lies at
//! its guest-physical address in each. The host side gets a [`NormalMemory`], which is made from
//! normal memory alone: with it no secure byte can be addressed.
#![expect(unsafe_code, reason = "guest memory: raw access to two mappings, each block argued")]

use memmap2::{Advice, MmapOptions, MmapRaw};
use std::io;
use std::ptr::NonNull;
use std::rc::Rc;
use ultravisor_abi::{Gfn, Gpa, UnitSize};

/// Where normal memory begins in the machine's real address space: what page calls carry as the
/// address of a host page. Guest-physical address 0 must not become real address 0, which the
/// firmware refuses (UV_PAGE_IN, U_P2).
pub const NORMAL_BASE: u64 = 1 << 45;
/// Where secure memory begins in the real address space.
pub const SECURE_BASE: u64 = 1 << 46;
// RAM ends below `NORMAL_BASE` (`Config::ram_is_sound`): so the two never meet.
const _: () = assert!(SECURE_BASE >= 2 * NORMAL_BASE);

/// The hypervisor's, QEMU's and the devices' handle to guest memory: normal memory, nothing else.
#[derive(Clone)]
pub struct NormalMemory {
    map: Rc<MmapRaw>,
}

impl NormalMemory {
    /// The first of `bytes` bytes of normal memory at `gpa`, or `None` if they do not fit.
    ///
    /// The pointer is valid for reads and writes of `bytes` bytes for as long as any handle
    /// lives. Nobody holds a reference to guest bytes; use volatile or raw accesses.
    pub fn at(&self, gpa: Gpa, bytes: u64) -> Option<NonNull<u8>> {
        at(&self.map, gpa, bytes)
    }

    /// Copies `out.len()` bytes from `gpa`; `false` if they do not fit.
    pub fn read(&self, gpa: Gpa, out: &mut [u8]) -> bool {
        let Some(from) = at(&self.map, gpa, out.len() as u64) else { return false };
        // SAFETY: `from` is valid for `out.len()` bytes, and `out` is not guest memory.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), out.as_mut_ptr(), out.len()) };
        true
    }

    /// Copies `bytes` to `gpa`; `false` if they do not fit.
    pub fn write(&self, gpa: Gpa, bytes: &[u8]) -> bool {
        let Some(to) = at(&self.map, gpa, bytes.len() as u64) else { return false };
        // SAFETY: `to` is valid for `bytes.len()` bytes, and `bytes` is not guest memory.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to.as_ptr(), bytes.len()) };
        true
    }
}

fn at(map: &MmapRaw, gpa: Gpa, bytes: u64) -> Option<NonNull<u8>> {
    let end = gpa.0.checked_add(bytes)?;
    if end > map.len() as u64 {
        return None;
    }
    // SAFETY: `gpa` is at most the mapping's length, so the result is inside it or one past it.
    NonNull::new(unsafe { map.as_mut_ptr().add(gpa.0 as usize) })
}

/// Both memories. Only `memory.rs` has one.
pub(crate) struct Frames {
    normal: NormalMemory,
    secure: MmapRaw,
    unit: UnitSize,
}

impl Frames {
    /// Maps two memories that reach up to `end` (exclusive), in bytes.
    ///
    /// # Errors
    /// What the operating system says when it refuses the mapping.
    pub fn new(end: Gpa, unit: UnitSize) -> io::Result<Self> {
        Ok(Self { normal: NormalMemory { map: Rc::new(map(end)?) }, secure: map(end)?, unit })
    }

    /// The host side's handle.
    pub fn normal(&self) -> &NormalMemory {
        &self.normal
    }

    /// The first of `bytes` secure bytes at `gpa`, or `None` if they do not fit.
    pub fn secure_at(&self, gpa: Gpa, bytes: u64) -> Option<NonNull<u8>> {
        at(&self.secure, gpa, bytes)
    }

    /// Copies `out.len()` secure bytes from `gpa`; `false` if they do not fit.
    pub fn read_secure(&self, gpa: Gpa, out: &mut [u8]) -> bool {
        let Some(from) = at(&self.secure, gpa, out.len() as u64) else { return false };
        // SAFETY: `from` is valid for `out.len()` bytes, and `out` is not guest memory.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), out.as_mut_ptr(), out.len()) };
        true
    }

    /// The bytes of a unit in normal memory.
    pub fn normal_unit(&mut self, gfn: Gfn) -> &mut [u8] {
        self.both_units(gfn).0
    }

    /// The bytes of a unit in secure memory.
    pub fn secure_unit(&mut self, gfn: Gfn) -> &mut [u8] {
        self.both_units(gfn).1
    }

    /// The bytes of a unit in both memories: (normal, secure).
    ///
    /// # Panics
    /// If the unit is no guest RAM: callers check units against RAM or slots.
    pub fn both_units(&mut self, gfn: Gfn) -> (&mut [u8], &mut [u8]) {
        let (start, bytes) = (self.unit.start(gfn), self.unit.bytes());
        let normal = at(&self.normal.map, start, bytes).expect("the unit is guest RAM");
        let secure = at(&self.secure, start, bytes).expect("both memories are equally large");
        // SAFETY: both ranges are mapped and lie in different mappings. Nobody else holds a
        // reference to them: the CPU's TLB and the host's handles keep raw pointers, which are
        // not used while the ultravisor works (one thread), and `&mut self` lets only one call's
        // slices live at a time.
        unsafe {
            (
                std::slice::from_raw_parts_mut(normal.as_ptr(), bytes as usize),
                std::slice::from_raw_parts_mut(secure.as_ptr(), bytes as usize),
            )
        }
    }
}

fn map(end: Gpa) -> io::Result<MmapRaw> {
    let bytes = usize::try_from(end.0).map_err(io::Error::other)?;
    let map = MmapRaw::from(MmapOptions::new().len(bytes).no_reserve_swap().map_anon()?);
    // A kernel without huge pages refuses the advice, and then it is not needed.
    let _ = map.advise(Advice::NoHugePage);
    Ok(map)
}
