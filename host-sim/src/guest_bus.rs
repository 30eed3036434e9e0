//! Guest memory as the CPU's [`Bus`]: page protection meets the TLB here, and nowhere else.
#![expect(unsafe_code, reason = "promises the CPU how long a page of guest memory lives")]

use ultravisor::memory::{GuestPage, Memory};
use ultravisor_abi::Gpa;
use ultravisor_cpu::{Access, Bus, HostPage, Page};

/// The guest's view of its memory.
pub struct GuestBus<'a> {
    memory: &'a mut Memory,
}

impl<'a> GuestBus<'a> {
    /// The view on `memory`.
    pub fn new(memory: &'a mut Memory) -> Self {
        Self { memory }
    }
}

impl Bus for GuestBus<'_> {
    fn page(&mut self, page: Gpa, access: Access) -> Page {
        let write = match access {
            Access::Write => true,
            Access::Read | Access::Fetch => false,
        };
        match self.memory.guest_page(page, write) {
            // SAFETY: the page lies in one of the two mappings, which the machine drops after
            // its CPU; `guest_page` gives whole pages at multiples of 4096. Rust references into
            // the mappings exist only inside calls of the ultravisor, while no guest runs.
            GuestPage::Ram(bytes) => Page::Ram(unsafe { HostPage::new(bytes) }),
            GuestPage::Away(_) => Page::Away,
            GuestPage::NotRam => Page::Mmio,
        }
    }
}
