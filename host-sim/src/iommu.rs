//! What lies between a device's addresses and guest memory.
//!
//! [`tce`] is the IOMMU of a pseries machine, [`domains`] that of a virtio-iommu device, and
//! [`iotlb`] what a vhost back end remembers of either. Which of them a device's addresses go
//! through is its [`AddressSpace`].

pub mod domains;
pub mod iotlb;
pub mod tce;

use crate::event::{DeviceIndex, Direction};
use domains::{Domains, Leads, Refused, Request};
use iotlb::{ENTRIES_MAX, Iotlb};
use tce::Tces;
use ultravisor::platform::RamRange;
use ultravisor_abi::{DmaAddr, Gpa, HStatus};

/// Bytes of an IOMMU page.
pub const PAGE_BYTES: u64 = 4096;

/// Most bytes of a device's DMA window: what a 32-bit PCI window has on pseries.
pub const WINDOW_BYTES_MAX: u64 = 2 << 30;

/// How a device's addresses become guest-physical ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressSpace {
    /// Bit 33 is not in effect: they are guest-physical.
    #[default]
    Raw,
    /// Bit 33 is in effect, and there is no IOMMU or the driver promised physical addresses.
    Identity,
    /// Through the device's TCE table.
    Tce,
    /// Through the domain that the endpoint is attached to; past it if there is none.
    VirtioIommu,
    /// Guest-physical, and nothing outside this range.
    Limited(RamRange),
}

/// What QEMU has settled about a device's DMA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dma {
    /// Where its addresses lead.
    pub space: AddressSpace,
    /// Whether a back end of its own looks each address up in an IOTLB.
    pub looks_up: bool,
}

/// A part of a device's range: neighbours in guest-physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Where it begins.
    pub gpa: Gpa,
    /// How many bytes; never 0.
    pub bytes: u64,
}

/// The number of the TCE table of the device in `slot` (LIOBN: logical I/O bus number).
pub const fn liobn(slot: usize) -> u64 {
    0x1000_0000 | slot as u64
}

/// Bytes of the DMA window of each device of a machine with `memory_bytes` of RAM: all of it, so
/// that a window can be mapped one to one, up to [`WINDOW_BYTES_MAX`].
pub fn window_bytes(memory_bytes: u64) -> u64 {
    memory_bytes.min(WINDOW_BYTES_MAX)
}

/// Every IOMMU of a machine.
#[derive(Clone, Debug, Default)]
pub struct Iommus {
    /// TCE tables, one for each device.
    pub tces: Tces,
    /// The virtio-iommu's domains.
    pub domains: Domains,
    /// What vhost back ends know, by the device's slot.
    iotlbs: Vec<Iotlb>,
}

impl Iommus {
    /// The IOMMUs of a machine with `devices` devices. Without TCE tables every number of a table
    /// is wrong.
    pub fn new(devices: usize, tces: Option<Tces>) -> Self {
        Self {
            tces: tces.unwrap_or_default(),
            domains: Domains::new(u8::try_from(devices).unwrap_or(u8::MAX)),
            iotlbs: vec![Iotlb::default(); devices],
        }
    }

    /// H_PUT_TCE.
    pub fn put_tce(
        &mut self,
        [liobn, ioba, tce]: [u64; 3],
        is_ram: impl Fn(Gpa) -> bool,
    ) -> HStatus {
        let status = self.tces.put(liobn, ioba, tce, is_ram);
        self.forget(liobn, ioba, 1);
        status
    }

    /// H_STUFF_TCE.
    pub fn stuff_tce(&mut self, [liobn, ioba, tce, count]: [u64; 4]) -> HStatus {
        let status = self.tces.stuff(liobn, ioba, tce, count);
        self.forget(liobn, ioba, count);
        status
    }

    /// A request of the virtio-iommu's driver.
    ///
    /// # Errors
    /// See [`Domains::serve`].
    pub fn serve(&mut self, request: Request) -> Result<(), Refused> {
        self.iotlbs.iter_mut().for_each(Iotlb::forget_all);
        self.domains.serve(request)
    }

    /// What the back end of a device knows.
    pub fn iotlb(&mut self, device: DeviceIndex) -> Option<&mut Iotlb> {
        self.iotlbs.get_mut(usize::from(device.0))
    }

    /// QEMU tells a back end that translations are no longer what they were.
    fn forget(&mut self, liobn: u64, ioba: u64, count: u64) {
        let Ok(entries) = self.tces.entries(liobn, ioba, count) else { return };
        let Some(iotlb) = self.iotlb(entries.device) else { return };
        if entries.count > ENTRIES_MAX as u64 {
            iotlb.forget_all();
        } else {
            (entries.first..entries.first + entries.count).for_each(|page| iotlb.forget(page));
        }
    }

    /// Where the range lies in guest-physical memory, appended to `runs`, neighbours joined.
    /// `None`: a part of it is not mapped for that direction. What is found is not yet known to be
    /// RAM.
    pub fn translate(
        &self,
        space: AddressSpace,
        device: DeviceIndex,
        (at, bytes): (DmaAddr, u64),
        direction: Direction,
        runs: &mut Vec<Run>,
    ) -> Option<()> {
        let straight = Run { gpa: Gpa(at.0), bytes };
        match space {
            AddressSpace::Raw | AddressSpace::Identity => runs.push(straight),
            AddressSpace::Limited(range) => {
                runs.push(straight);
                return range.holds(Gpa(at.0), bytes).then_some(());
            }
            AddressSpace::Tce => {
                let table = self.tces.table(device)?;
                by_page(at, bytes, runs, |page| table.lookup(page, direction))?;
            }
            AddressSpace::VirtioIommu => match self.domains.of(device) {
                Leads::Past => runs.push(straight),
                Leads::Nowhere => return None,
                Leads::Through(domain) => {
                    by_page(at, bytes, runs, |page| domain.lookup(page, direction))?;
                }
            },
        }
        Some(())
    }
}

/// Translates page by page; `lookup` gives the guest page of an IOMMU page, by their numbers.
fn by_page(
    at: DmaAddr,
    bytes: u64,
    runs: &mut Vec<Run>,
    lookup: impl Fn(u64) -> Option<u64>,
) -> Option<()> {
    let end = at.0.checked_add(bytes)?;
    let mut at = at.0;
    while at < end {
        let offset = at % PAGE_BYTES;
        let count = (PAGE_BYTES - offset).min(end - at);
        let gpa = lookup(at / PAGE_BYTES)? * PAGE_BYTES + offset;
        match runs.last_mut() {
            Some(last) if last.gpa.0 + last.bytes == gpa => last.bytes += count,
            Some(_) | None => runs.push(Run { gpa: Gpa(gpa), bytes: count }),
        }
        at += count;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::tce::{TCE_READ, TCE_WRITE};
    use super::*;
    use ultravisor_abi::HStatus;

    const DEVICE: DeviceIndex = DeviceIndex(0);

    /// A machine in whose first window these pages (page of the window, TCE) are mapped.
    fn mapped(pages: &[(u64, u64)]) -> Iommus {
        let mut iommus = Iommus::new(1, Some(Tces::new(1, 1 << 20)));
        for (page, tce) in pages {
            let status = iommus.put_tce([liobn(0), page * PAGE_BYTES, *tce], |_| true);
            assert_eq!(status, HStatus::Success);
        }
        iommus
    }

    fn translated(iommus: &Iommus, at: u64, bytes: u64, way: Direction) -> Option<Vec<(u64, u64)>> {
        let mut runs = Vec::new();
        let range = (DmaAddr(at), bytes);
        iommus.translate(AddressSpace::Tce, DEVICE, range, way, &mut runs)?;
        Some(runs.iter().map(|run| (run.gpa.0, run.bytes)).collect())
    }

    #[test]
    fn a_range_over_pages_that_are_neighbours_is_one_run_and_others_are_several() {
        let both = TCE_READ | TCE_WRITE;
        let iommus = mapped(&[(1, 0x5000 | both), (2, 0x6000 | both), (3, 0x9000 | both)]);
        let read = |at, bytes| translated(&iommus, at, bytes, Direction::Read);
        assert_eq!(read(0x1010, 0x10), Some(vec![(0x5010, 0x10)]));
        assert_eq!(read(0x1ff0, 0x1010), Some(vec![(0x5ff0, 0x1010)]));
        assert_eq!(read(0x2ff0, 0x20), Some(vec![(0x6ff0, 0x10), (0x9000, 0x10)]));
        assert_eq!(read(0x3ff0, 0x20), None, "the last page is not mapped");
        assert_eq!(read(u64::MAX - 7, 16), None, "it wraps");
        assert_eq!(read(1 << 20, 1), None, "outside the window");
    }

    #[test]
    fn a_page_is_mapped_for_the_directions_that_its_tce_allows() {
        let iommus = mapped(&[(0, 0x5000 | TCE_READ), (1, 0x6000 | TCE_WRITE)]);
        for (at, way, found) in [
            (0, Direction::Read, true),
            (0, Direction::Write, false),
            (0x1000, Direction::Read, false),
            (0x1000, Direction::Write, true),
        ] {
            assert_eq!(translated(&iommus, at, 8, way).is_some(), found, "{at:#x} {way:?}");
        }
    }

    #[test]
    fn a_back_end_asks_again_after_a_tce_changed() {
        let mut iommus = mapped(&[(0, 0x5000 | TCE_READ), (1, 0x6000 | TCE_READ)]);
        let asked = |iommus: &mut Iommus| {
            let iotlb = iommus.iotlb(DEVICE).expect("there is one");
            iotlb.look_up(DmaAddr(0), 0x2000).len()
        };
        assert_eq!((asked(&mut iommus), asked(&mut iommus)), (2, 0));
        iommus.put_tce([liobn(0), 0x1000, 0], |_| true);
        assert_eq!(asked(&mut iommus), 1);
        iommus.stuff_tce([liobn(0), 0, 0, 256]);
        assert_eq!(asked(&mut iommus), 2);
    }

    #[test]
    fn a_limited_device_reaches_its_range_and_nothing_else() {
        let iommus = Iommus::default();
        let range = RamRange { start: Gpa(0x1000), bytes: 0x1000 };
        let reaches = |at, bytes| {
            let space = AddressSpace::Limited(range);
            let found = (DmaAddr(at), bytes);
            iommus.translate(space, DEVICE, found, Direction::Read, &mut Vec::new()).is_some()
        };
        assert!(reaches(0x1000, 0x1000));
        assert!(!reaches(0xfff, 2) && !reaches(0x1fff, 2) && !reaches(u64::MAX, 2));
    }
}
