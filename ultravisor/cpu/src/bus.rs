//! The one trait between the CPU and everything else.
//!
//! The CPU asks it for 4 KiB pages and remembers the answer in its TLB; all else (MMIO, ports,
//! calls, a page that is not accessible now) leaves [`crate::Cpu::run`] as an [`crate::Exit`].
//! Whoever changes what a page is backed by tells the CPU: [`crate::Cpu::forget`].

use core::ptr::NonNull;
use ultravisor_abi::Gpa;

/// What the CPU wants to do with a guest-physical page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Load data, or a page-table entry.
    Read,
    /// Store data, or set accessed/dirty bits.
    Write,
    /// Fetch instructions.
    Fetch,
}

/// 4096 bytes of host memory that back one guest-physical page.
///
/// Holding one proves that the pointer is valid for reads and writes of 4096 bytes, aligned to
/// 4096, and stays mapped for as long as the bus lives. It does **not** prove that the guest may
/// still see it: the CPU drops it at [`crate::Cpu::forget`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostPage(NonNull<u8>);

#[expect(unsafe_code, reason = "states the contract between guest memory and the CPU's TLB")]
impl HostPage {
    /// Wraps a page.
    ///
    /// # Safety
    /// `page` is aligned to 4096, and 4096 bytes from it are mapped for reads and writes until
    /// the CPU that gets it is dropped; nobody holds a Rust reference to those bytes meanwhile.
    pub const unsafe fn new(page: NonNull<u8>) -> Self {
        Self(page)
    }
}

impl HostPage {
    /// The first byte.
    pub const fn as_ptr(self) -> *mut u8 {
        self.0.as_ptr()
    }
}

/// What lies at a guest-physical page, for one kind of access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// RAM that may be accessed so.
    Ram(HostPage),
    /// A device, or nothing: the access becomes [`crate::Exit::MmioRead`] or
    /// [`crate::Exit::MmioWrite`].
    Mmio,
    /// RAM that is not accessible now: the access becomes [`crate::Exit::Memory`] and is tried
    /// again when the CPU is run again.
    Away,
}

/// Guest-physical memory as the CPU sees it.
pub trait Bus {
    /// What lies at the 4 KiB page that starts at `page` (aligned), for `access`.
    ///
    /// An answer of [`Page::Ram`] for [`Access::Write`] also tells the bus that the page will be
    /// written.
    fn page(&mut self, page: Gpa, access: Access) -> Page;
}
