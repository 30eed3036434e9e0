//! Guest memory as the CPU's [`Bus`]: page protection meets the TLB here, and nowhere else.
#![expect(unsafe_code, reason = "promises the CPU how long a page of guest memory lives")]

use std::collections::BTreeSet;
use ultravisor::memory::{GuestPage, Memory};
use ultravisor_abi::Gpa;
use ultravisor_cpu::{Access, Bus, HostPage, Page};

/// Pages that the CPU shall stop at instead of accessing them: how a debugger watches memory. By
/// the page's first address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hidden {
    /// From loads.
    pub reads: BTreeSet<u64>,
    /// From stores.
    pub writes: BTreeSet<u64>,
}

impl Hidden {
    /// Whether an access of this kind to the page that starts at `page` is to stop.
    pub fn hides(&self, page: Gpa, access: Access) -> bool {
        match access {
            Access::Read => self.reads.contains(&page.0),
            Access::Write => self.writes.contains(&page.0),
            Access::Fetch => false,
        }
    }

    /// Every page that is hidden from anything.
    pub fn pages(&self) -> impl Iterator<Item = Gpa> {
        self.reads.union(&self.writes).map(|page| Gpa(*page))
    }
}

/// The guest's view of its memory.
pub struct GuestBus<'a> {
    memory: &'a mut Memory,
    hidden: Option<&'a Hidden>,
}

impl<'a> GuestBus<'a> {
    /// The view on `memory`.
    pub fn new(memory: &'a mut Memory) -> Self {
        Self { memory, hidden: None }
    }

    /// The same view without the pages that `hidden` names.
    pub fn without(memory: &'a mut Memory, hidden: &'a Hidden) -> Self {
        Self { memory, hidden: Some(hidden) }
    }
}

impl Bus for GuestBus<'_> {
    fn page(&mut self, page: Gpa, access: Access) -> Page {
        if self.hidden.is_some_and(|hidden| hidden.hides(page, access)) {
            return Page::Away;
        }
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
