//! Mapping in a device's TCE table: PAPR's H_PUT_TCE, H_PUT_TCE_INDIRECT and H_STUFF_TCE.
//!
//! A TCE is a real page address with a permission bit for each direction; 0 is unmapped. Many pages
//! at once go through a list in memory that the hypervisor reads: in a secure guest that list
//! must lie in a shared page, which is what pseries forgot at first (facts 1.1, Jan 2020).
#![expect(unsafe_code, reason = "the list that the hypervisor reads lies at an address")]

use crate::calls::{Trouble, hypercall};
use crate::device_tree::DmaWindow;
use crate::dma::Direction;
use crate::dma::iovas::{IOMMU_PAGE_BYTES, Iovas, pages_touched};
use crate::heap::{UNIT_BYTES, own_units_untouched};
use crate::kernel::Tce;
use crate::secure::share;
use alloc::vec::Vec;
use core::ptr;
use ultravisor_abi::{Gpa, HStatus, Hcall, UnitSize};

/// The device may read the page (kernel `asm/tce.h`, TCE_PCI_READ).
const READ: u64 = 1;
/// The device may write the page.
const WRITE: u64 = 2;
/// Entries of one list: what fits a page (PAPR, H_PUT_TCE_INDIRECT).
const LIST_ENTRIES: u64 = 512;

/// What a device may do with pages of this direction.
const fn permission(direction: Direction) -> u64 {
    match direction {
        Direction::ToDevice => READ,
        Direction::FromDevice => WRITE,
        Direction::Both => READ | WRITE,
    }
}

/// How TCEs reach the table.
pub struct Writer {
    how: Tce,
    /// The unit that the list has for itself.
    granule: usize,
    /// The list's page, if there is one.
    list: Option<u64>,
}

impl Writer {
    /// A kernel that maps as `how` says, on a machine with protection units of this size.
    pub const fn new(how: Tce, unit: Option<UnitSize>) -> Self {
        let granule = match unit {
            Some(unit) if unit.bytes() as usize > UNIT_BYTES => unit.bytes() as usize,
            Some(_) | None => UNIT_BYTES,
        };
        Self { how, granule, list: None }
    }

    /// The list's page, in a unit of its own from the first use on.
    fn list(&mut self) -> u64 {
        *self.list.get_or_insert_with(|| {
            let page = own_units_untouched(IOMMU_PAGE_BYTES as usize, self.granule);
            page.expose_provenance() as u64
        })
    }

    /// The guest became secure: a kernel that thinks of it shares its list.
    ///
    /// # Errors
    /// As [`share`].
    pub fn became_secure(&mut self, unit: UnitSize) -> Result<(), Trouble> {
        match self.how {
            Tce::Indirect => share(unit, Gpa(self.list()), unit.bytes()),
            Tce::Single | Tce::IndirectUnshared => Ok(()),
        }
    }

    /// Maps `pages` IOMMU pages at I/O address `ioba` to those from `real` on; the first status
    /// that is not success.
    fn put(&mut self, liobn: u64, ioba: u64, real: u64, pages: u64, permission: u64) -> i64 {
        let tce = |page: u64| (real + page * IOMMU_PAGE_BYTES) | permission;
        let at = |page: u64| ioba + page * IOMMU_PAGE_BYTES;
        if self.how == Tce::Single || pages == 1 {
            let puts =
                (0..pages).map(|page| hypercall(Hcall::PutTce, [liobn, at(page), tce(page), 0]));
            return first_failure(puts);
        }
        let list = self.list();
        let entries = ptr::with_exposed_provenance_mut::<u64>(list as usize);
        let starts = (0..pages).step_by(LIST_ENTRIES as usize);
        first_failure(starts.map(|start| {
            let count = LIST_ENTRIES.min(pages - start);
            for entry in 0..count {
                // SAFETY: the list's page is the writer's alone and holds `LIST_ENTRIES` entries.
                unsafe { entries.add(entry as usize).write_volatile(tce(start + entry)) };
            }
            hypercall(Hcall::PutTceIndirect, [liobn, at(start), list, count])
        }))
    }

    /// Unmaps `pages` pages from `ioba` on.
    fn clear(&self, liobn: u64, ioba: u64, pages: u64) {
        // Nothing to do about a status: Linux prints it and goes on.
        match self.how {
            Tce::Single => {
                for page in 0..pages {
                    let at = ioba + page * IOMMU_PAGE_BYTES;
                    let _ = hypercall(Hcall::PutTce, [liobn, at, 0, 0]);
                }
            }
            Tce::Indirect | Tce::IndirectUnshared => {
                let _ = hypercall(Hcall::StuffTce, [liobn, ioba, 0, pages]);
            }
        }
    }

    /// Maps `bytes` bytes from `start` on at their own addresses in `window`, readable and
    /// writable. The status goes unseen, as it does in Linux.
    pub fn map_one_to_one(&mut self, window: DmaWindow, start: u64, bytes: u64) {
        let pages = pages_touched(start, bytes);
        let _ = self.put(window.liobn, start, start, pages, READ | WRITE);
    }
}

fn first_failure(statuses: impl Iterator<Item = i64>) -> i64 {
    let success = HStatus::Success.code();
    let mut statuses = statuses;
    statuses.find(|status| *status != success).unwrap_or(success)
}

/// One mapping in a window.
#[derive(Clone, Copy)]
struct Mapped {
    ioba: u64,
    pages: u64,
    /// What it was made for, to the byte.
    real: u64,
}

/// A device's window and what is mapped there.
pub struct Space {
    window: DmaWindow,
    iovas: Iovas,
    /// The rings and the buffers of the requests under way.
    mapped: Vec<Mapped>,
}

impl Space {
    /// A window in which nothing is mapped.
    pub const fn new(window: DmaWindow) -> Self {
        Self { window, iovas: Iovas::new(window.bytes), mapped: Vec::new() }
    }

    /// Maps the pages of `bytes` bytes at `real`; their I/O address.
    ///
    /// # Errors
    /// `iova-full` if the window has no room, `put-tce` if the hypervisor refuses.
    pub fn map(
        &mut self,
        writer: &mut Writer,
        real: u64,
        bytes: u64,
        direction: Direction,
    ) -> Result<u64, Trouble> {
        let (pages, within) = (pages_touched(real, bytes), real % IOMMU_PAGE_BYTES);
        let offset = self.iovas.take(pages).ok_or(Trouble::failed("iova-full"))?;
        let ioba = self.window.start + offset;
        let (liobn, permission) = (self.window.liobn, permission(direction));
        if writer.put(liobn, ioba, real - within, pages, permission) != HStatus::Success.code() {
            return Err(Trouble::failed("put-tce"));
        }
        self.mapped.push(Mapped { ioba, pages, real });
        Ok(ioba + within)
    }

    /// What is mapped at the I/O address that [`Space::map`] returned.
    pub fn real(&self, iova: u64) -> Option<u64> {
        self.position(iova).map(|index| self.mapped[index].real)
    }

    /// Undoes a mapping; what it was made for. An address that was never given undoes nothing.
    pub fn unmap(&mut self, writer: &Writer, iova: u64) -> Option<u64> {
        let Mapped { ioba, pages, real } = self.mapped.swap_remove(self.position(iova)?);
        writer.clear(self.window.liobn, ioba, pages);
        self.iovas.give_back(ioba - self.window.start, pages);
        Some(real)
    }

    /// Undoes all mappings.
    pub fn unmap_all(&mut self, writer: &Writer) {
        while let Some(Mapped { ioba, pages, .. }) = self.mapped.pop() {
            writer.clear(self.window.liobn, ioba, pages);
            self.iovas.give_back(ioba - self.window.start, pages);
        }
    }

    fn position(&self, iova: u64) -> Option<usize> {
        let is = |mapped: &Mapped| mapped.ioba + mapped.real % IOMMU_PAGE_BYTES == iova;
        self.mapped.iter().rposition(is)
    }
}
