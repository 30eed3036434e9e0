//! TCE tables: the IOMMU of a pseries machine.
//!
//! Each device has a table of its own, named by its LIOBN. An entry (TCE) maps one page of the
//! device's DMA window to a page of guest memory, for reading, writing or both. Statuses are those
//! of KVM's handlers (kernel 4.18, `arch/powerpc/kvm/book3s_64_vio.c`): whatever is wrong with an
//! argument is H_PARAMETER.

use super::PAGE_BYTES;
use crate::event::{DeviceIndex, Direction};
use ultravisor_abi::{Gpa, HStatus};

/// TCE bit: the device may read the page (kernel `asm/tce.h`, `TCE_PCI_READ`).
pub const TCE_READ: u64 = 1;
/// TCE bit: the device may write it (`TCE_PCI_WRITE`).
pub const TCE_WRITE: u64 = 2;
/// Most entries of the list of H_PUT_TCE_INDIRECT: it is one page.
pub const LIST_MAX: u64 = 512;

/// Entries that are kept together: 4 KiB of table.
const CHUNK: usize = 512;

/// One device's table. Costs memory where an entry was ever set.
#[derive(Clone, Debug)]
pub struct Table {
    chunks: Vec<Option<Box<[u64; CHUNK]>>>,
}

impl Table {
    fn new(pages: u64) -> Self {
        let chunks = usize::try_from(pages.div_ceil(CHUNK as u64)).expect("a window fits usize");
        Self { chunks: vec![None; chunks] }
    }

    /// The number of the guest page that window page `page` is mapped to for this direction.
    pub fn lookup(&self, page: u64, direction: Direction) -> Option<u64> {
        let (chunk, slot) = place(page);
        let tce = self.chunks.get(chunk)?.as_ref()?[slot];
        let allows = match direction {
            Direction::Read => TCE_READ,
            Direction::Write => TCE_WRITE,
        };
        (tce & allows != 0).then_some(tce / PAGE_BYTES)
    }

    fn set(&mut self, page: u64, tce: u64) {
        let (chunk, slot) = place(page);
        let Some(chunk) = self.chunks.get_mut(chunk) else { return };
        if chunk.is_some() || tce != 0 {
            chunk.get_or_insert_with(|| Box::new([0; CHUNK]))[slot] = tce;
        }
    }
}

fn place(page: u64) -> (usize, usize) {
    let page = usize::try_from(page).unwrap_or(usize::MAX);
    (page / CHUNK, page % CHUNK)
}

/// A machine's tables.
#[derive(Clone, Debug, Default)]
pub struct Tces {
    tables: Vec<Table>,
    /// Pages of each window.
    pages: u64,
}

/// Entries of a table that a call names: checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entries {
    /// Which table.
    pub device: DeviceIndex,
    /// The first page of the window.
    pub first: u64,
    /// How many.
    pub count: u64,
}

impl Tces {
    /// Empty tables for `devices` devices, with windows of `window_bytes` bytes.
    pub fn new(devices: usize, window_bytes: u64) -> Self {
        let pages = window_bytes / PAGE_BYTES;
        Self { tables: vec![Table::new(pages); devices], pages }
    }

    /// A device's table.
    pub fn table(&self, device: DeviceIndex) -> Option<&Table> {
        self.tables.get(usize::from(device.0))
    }

    /// The entries for `count` pages from `ioba` on of the table `liobn`.
    ///
    /// # Errors
    /// H_PARAMETER: no such table, an address that is not a page's, or a range that is not all
    /// inside the window.
    pub fn entries(&self, liobn: u64, ioba: u64, count: u64) -> Result<Entries, HStatus> {
        let slot = liobn.checked_sub(super::liobn(0)).and_then(|slot| u8::try_from(slot).ok());
        let device = slot.map(DeviceIndex).filter(|device| self.table(*device).is_some());
        let first = ioba / PAGE_BYTES;
        let inside = first.checked_add(count).is_some_and(|end| end <= self.pages);
        match device {
            Some(device) if ioba.is_multiple_of(PAGE_BYTES) && inside => {
                Ok(Entries { device, first, count })
            }
            Some(_) | None => Err(HStatus::Parameter),
        }
    }

    /// Whether `tce` may be put: no bit of the page offset but the two, and a page of RAM if it
    /// allows anything.
    pub fn is_sound(tce: u64, is_ram: impl Fn(Gpa) -> bool) -> bool {
        let page = tce & !(TCE_READ | TCE_WRITE);
        let maps = tce != page;
        page.is_multiple_of(PAGE_BYTES) && (!maps || is_ram(Gpa(page)))
    }

    /// Sets one entry that [`Self::entries`] found.
    pub fn set(&mut self, device: DeviceIndex, page: u64, tce: u64) {
        if let Some(table) = self.tables.get_mut(usize::from(device.0)) {
            table.set(page, tce);
        }
    }

    /// H_PUT_TCE.
    pub fn put(
        &mut self,
        liobn: u64,
        ioba: u64,
        tce: u64,
        is_ram: impl Fn(Gpa) -> bool,
    ) -> HStatus {
        match self.entries(liobn, ioba, 1) {
            Ok(Entries { device, first, .. }) if Self::is_sound(tce, is_ram) => {
                self.set(device, first, tce);
                HStatus::Success
            }
            Ok(_) => HStatus::Parameter,
            Err(status) => status,
        }
    }

    /// H_STUFF_TCE. KVM takes no value that allows anything: the call only clears.
    pub fn stuff(&mut self, liobn: u64, ioba: u64, tce: u64, count: u64) -> HStatus {
        match self.entries(liobn, ioba, count) {
            Ok(Entries { device, first, count }) if tce & (TCE_READ | TCE_WRITE) == 0 => {
                (first..first + count).for_each(|page| self.set(device, page, tce));
                HStatus::Success
            }
            Ok(_) => HStatus::Parameter,
            Err(status) => status,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: u64 = TCE_READ | TCE_WRITE;
    const LIOBN: u64 = 0x1000_0001;

    fn tables() -> Tces {
        Tces::new(2, 1 << 20)
    }

    fn is_ram(at: Gpa) -> bool {
        at.0 < 1 << 20
    }

    #[test]
    fn what_is_put_is_found_in_that_table_and_no_other() {
        let mut tces = tables();
        assert_eq!(tces.put(LIOBN, 0x3000, 0x7000 | BOTH, is_ram), HStatus::Success);
        let found = |tces: &Tces, slot| {
            tces.table(DeviceIndex(slot)).and_then(|table| table.lookup(3, Direction::Write))
        };
        assert_eq!((found(&tces, 0), found(&tces, 1)), (None, Some(7)));
        assert_eq!(tces.put(LIOBN, 0x3000, 0, is_ram), HStatus::Success);
        assert_eq!(found(&tces, 1), None);
    }

    #[test]
    fn whatever_is_wrong_with_an_argument_is_h_parameter() {
        let mut tces = tables();
        for (liobn, ioba, tce) in [
            (0x1000_0002, 0, BOTH),
            (0, 0, BOTH),
            (u64::MAX, 0, BOTH),
            (LIOBN, 8, BOTH),
            (LIOBN, 1 << 20, BOTH),
            (LIOBN, !0xfff, BOTH),
            (LIOBN, 0, 0x10 | BOTH),
            (LIOBN, 0, (1 << 20) | BOTH),
            (LIOBN, 0, !0),
        ] {
            let status = tces.put(liobn, ioba, tce, is_ram);
            assert_eq!(status, HStatus::Parameter, "{liobn:#x} {ioba:#x} {tce:#x}");
        }
        // An entry that allows nothing names no page that anybody could reach.
        assert_eq!(tces.put(LIOBN, 0, 1 << 40, is_ram), HStatus::Success);
    }

    #[test]
    fn stuffing_clears_a_range_and_maps_nothing() {
        let mut tces = tables();
        for page in 0..256 {
            tces.put(LIOBN, page * 4096, (page * 4096) | BOTH, is_ram);
        }
        assert_eq!(tces.stuff(LIOBN, 0x1000, BOTH, 1), HStatus::Parameter);
        assert_eq!(tces.stuff(LIOBN, 0x1000, 0, 256), HStatus::Parameter, "past the window");
        assert_eq!(tces.stuff(LIOBN, 0x1000, 0, u64::MAX), HStatus::Parameter);
        assert_eq!(tces.stuff(LIOBN, 0x1000, 0, 0), HStatus::Success, "of nothing");
        assert_eq!(tces.stuff(LIOBN, 0x1000, 0, 254), HStatus::Success);
        let table = tces.table(DeviceIndex(1)).expect("there are two");
        let left = (0..256).filter(|page| table.lookup(*page, Direction::Read).is_some());
        assert!(left.eq([0, 255]));
    }
}
