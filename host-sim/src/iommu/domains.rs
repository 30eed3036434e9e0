//! The domains of a virtio-iommu: which endpoint is attached to which, and what each maps.
//!
//! Source: virtio 1.2, 5.13. An endpoint is a device's slot.

use super::PAGE_BYTES;
use crate::event::{DeviceIndex, Direction};
use std::collections::BTreeMap;

/// Map flag: the endpoint may read (VIRTIO_IOMMU_MAP_F_READ).
pub const MAP_READ: u32 = 1;
/// Map flag: the endpoint may write (VIRTIO_IOMMU_MAP_F_WRITE).
pub const MAP_WRITE: u32 = 2;

/// Most mappings of all domains together; one more is refused (VIRTIO_IOMMU_S_NOMEM).
pub const MAPPINGS_MAX: usize = 1 << 16;

/// Why a request was refused: the statuses of virtio 1.2, 5.13.6.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Refused {
    /// VIRTIO_IOMMU_S_UNSUPP.
    Unsupported = 2,
    /// VIRTIO_IOMMU_S_INVAL.
    Invalid = 4,
    /// VIRTIO_IOMMU_S_RANGE: not whole pages.
    Range = 5,
    /// VIRTIO_IOMMU_S_NOENT: no such endpoint or domain.
    NoEntry = 6,
    /// VIRTIO_IOMMU_S_NOMEM.
    NoMemory = 8,
}

/// What a driver asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Puts an endpoint into a domain, out of the one that it was in.
    Attach {
        /// Which domain; it is made if there is none.
        domain: u32,
        /// Which endpoint.
        endpoint: u32,
    },
    /// Takes an endpoint out of its domain.
    Detach {
        /// Which domain.
        domain: u32,
        /// Which endpoint.
        endpoint: u32,
    },
    /// Maps a range.
    Map {
        /// In which domain.
        domain: u32,
        /// First address.
        start: u64,
        /// Last address.
        end: u64,
        /// Where the first lies in guest-physical memory.
        physical: u64,
        /// [`MAP_READ`], [`MAP_WRITE`].
        flags: u32,
    },
    /// Undoes all mappings inside a range.
    Unmap {
        /// In which domain.
        domain: u32,
        /// First address.
        start: u64,
        /// Last address.
        end: u64,
    },
}

/// A mapping of whole pages.
#[derive(Clone, Copy, Debug)]
struct Mapping {
    /// Last page.
    last: u64,
    /// Guest page of the first.
    to: u64,
    flags: u32,
}

/// One domain.
#[derive(Clone, Debug, Default)]
pub struct Domain {
    /// By first page; they do not overlap.
    mappings: BTreeMap<u64, Mapping>,
}

impl Domain {
    /// The guest page of page `page`, if it is mapped for this direction.
    pub fn lookup(&self, page: u64, direction: Direction) -> Option<u64> {
        let (first, mapping) = self.mappings.range(..=page).next_back()?;
        let allows = match direction {
            Direction::Read => MAP_READ,
            Direction::Write => MAP_WRITE,
        };
        (page <= mapping.last && mapping.flags & allows != 0).then(|| mapping.to + (page - first))
    }

    fn overlaps(&self, first: u64, last: u64) -> bool {
        self.mappings.range(..=last).next_back().is_some_and(|(_, found)| found.last >= first)
    }
}

/// Where an endpoint's addresses lead.
#[derive(Clone, Copy, Debug)]
pub enum Leads<'d> {
    /// Through its domain.
    Through(&'d Domain),
    /// Past the IOMMU: they are guest-physical.
    Past,
    /// Nowhere.
    Nowhere,
}

/// All domains, and who is attached.
#[derive(Clone, Debug, Default)]
pub struct Domains {
    endpoints: u32,
    /// Whether an endpoint that is attached to none is cut off (the configuration's `bypass` is 0).
    cut_off: bool,
    attached: BTreeMap<u8, u32>,
    domains: BTreeMap<u32, Domain>,
    mappings: usize,
}

impl Domains {
    /// No domains, over `endpoints` endpoints.
    pub fn new(endpoints: u8) -> Self {
        Self { endpoints: endpoints.into(), ..Self::default() }
    }

    /// Where a device's addresses lead.
    pub fn of(&self, device: DeviceIndex) -> Leads<'_> {
        let domain = self.attached.get(&device.0).and_then(|domain| self.domains.get(domain));
        match domain {
            Some(domain) => Leads::Through(domain),
            None if self.cut_off => Leads::Nowhere,
            None => Leads::Past,
        }
    }

    /// The driver says whether endpoints that are attached to no domain bypass.
    pub fn set_bypass(&mut self, bypass: bool) {
        self.cut_off = !bypass;
    }

    /// All endpoints in no domain, as at reset. What the driver said of bypassing stays (5.13.5).
    pub fn reset(&mut self) {
        let Self { endpoints, cut_off, .. } = *self;
        *self = Self { endpoints, cut_off, ..Self::default() };
    }

    /// Does what `request` asks for.
    ///
    /// # Errors
    /// [`Refused`]; then nothing changed.
    pub fn serve(&mut self, request: Request) -> Result<(), Refused> {
        match request {
            Request::Attach { domain, endpoint } => self.attach(domain, self.endpoint(endpoint)?),
            Request::Detach { domain, endpoint } => self.detach(domain, self.endpoint(endpoint)?),
            Request::Map { domain, start, end, physical, flags } => {
                self.map(domain, (start, end), physical, flags)
            }
            Request::Unmap { domain, start, end } => self.unmap(domain, start, end),
        }
    }

    fn endpoint(&self, number: u32) -> Result<u8, Refused> {
        let known = u8::try_from(number).ok().filter(|_| number < self.endpoints);
        known.ok_or(Refused::NoEntry)
    }

    fn attach(&mut self, domain: u32, endpoint: u8) -> Result<(), Refused> {
        if let Some(before) = self.attached.insert(endpoint, domain)
            && before != domain
        {
            self.drop_if_unused(before);
        }
        self.domains.entry(domain).or_default();
        Ok(())
    }

    fn detach(&mut self, domain: u32, endpoint: u8) -> Result<(), Refused> {
        if self.attached.get(&endpoint) != Some(&domain) {
            return Err(Refused::Invalid);
        }
        self.attached.remove(&endpoint);
        self.drop_if_unused(domain);
        Ok(())
    }

    /// A domain goes with its last endpoint, and its mappings with it (5.13.6.4).
    fn drop_if_unused(&mut self, domain: u32) {
        if !self.attached.values().any(|attached| *attached == domain)
            && let Some(gone) = self.domains.remove(&domain)
        {
            self.mappings -= gone.mappings.len();
        }
    }

    fn map(
        &mut self,
        domain: u32,
        (start, end): (u64, u64),
        physical: u64,
        flags: u32,
    ) -> Result<(), Refused> {
        let (first, last) = pages(start, end)?;
        if !physical.is_multiple_of(PAGE_BYTES) || physical.checked_add(end - start).is_none() {
            return Err(Refused::Range);
        }
        let full = self.mappings >= MAPPINGS_MAX;
        let domain = self.domains.get_mut(&domain).ok_or(Refused::NoEntry)?;
        if flags & !(MAP_READ | MAP_WRITE) != 0 || domain.overlaps(first, last) {
            return Err(Refused::Invalid);
        }
        if full {
            return Err(Refused::NoMemory);
        }
        domain.mappings.insert(first, Mapping { last, to: physical / PAGE_BYTES, flags });
        self.mappings += 1;
        Ok(())
    }

    /// Mappings are undone whole: a range that cuts one is refused (5.13.6.6).
    fn unmap(&mut self, domain: u32, start: u64, end: u64) -> Result<(), Refused> {
        let (first, last) = pages(start, end)?;
        let domain = self.domains.get_mut(&domain).ok_or(Refused::NoEntry)?;
        let before = domain.mappings.range(..first).next_back();
        let cut_in_front = before.is_some_and(|(_, mapping)| mapping.last >= first);
        let inside: Vec<u64> = domain.mappings.range(first..=last).map(|(at, _)| *at).collect();
        let cut_behind = inside.last().is_some_and(|at| domain.mappings[at].last > last);
        if cut_in_front || cut_behind {
            return Err(Refused::Range);
        }
        self.mappings -= inside.len();
        inside.iter().for_each(|at| {
            domain.mappings.remove(at);
        });
        Ok(())
    }
}

/// The page numbers of a range of whole pages, both ends included.
fn pages(start: u64, end: u64) -> Result<(u64, u64), Refused> {
    let whole = start.is_multiple_of(PAGE_BYTES) && end % PAGE_BYTES == PAGE_BYTES - 1;
    if start > end || !whole {
        return Err(Refused::Range);
    }
    Ok((start / PAGE_BYTES, end / PAGE_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: DeviceIndex = DeviceIndex(1);
    const BOTH: u32 = MAP_READ | MAP_WRITE;

    fn attached() -> Domains {
        let mut domains = Domains::new(2);
        domains.serve(Request::Attach { domain: 7, endpoint: 1 }).expect("it is there");
        domains
    }

    fn map(start: u64, end: u64, physical: u64) -> Request {
        Request::Map { domain: 7, start, end, physical, flags: BOTH }
    }

    fn unmap(start: u64, end: u64) -> Request {
        Request::Unmap { domain: 7, start, end }
    }

    fn page(domains: &Domains, page: u64) -> Option<u64> {
        match domains.of(DEVICE) {
            Leads::Through(domain) => domain.lookup(page, Direction::Read),
            Leads::Past | Leads::Nowhere => None,
        }
    }

    #[test]
    fn an_endpoint_is_in_no_domain_until_it_is_attached_and_after_it_is_detached() {
        let mut domains = Domains::new(2);
        assert!(matches!(domains.of(DEVICE), Leads::Past));
        domains.serve(Request::Attach { domain: 7, endpoint: 1 }).expect("it is there");
        domains.serve(map(0, 0xfff, 0x5000)).expect("it is free");
        assert_eq!(page(&domains, 0), Some(5));
        domains.serve(Request::Detach { domain: 7, endpoint: 1 }).expect("it is attached");
        assert!(matches!(domains.of(DEVICE), Leads::Past));
        domains.set_bypass(false);
        domains.reset();
        assert!(matches!(domains.of(DEVICE), Leads::Nowhere), "the setting outlives a reset");
        domains.serve(Request::Attach { domain: 7, endpoint: 1 }).expect("it is there");
        assert_eq!(page(&domains, 0), None, "the mappings went with the domain");
    }

    #[test]
    fn a_mapping_holds_from_its_first_page_to_its_last() {
        let mut domains = attached();
        domains.serve(map(0x2000, 0x4fff, 0x1_0000)).expect("it is free");
        let found: Vec<_> = (1..6).map(|number| page(&domains, number)).collect();
        assert_eq!(found, [None, Some(0x10), Some(0x11), Some(0x12), None]);
    }

    #[test]
    fn mappings_do_not_overlap_and_are_undone_whole() {
        let mut domains = attached();
        domains.serve(map(0x2000, 0x4fff, 0x1_0000)).expect("it is free");
        for (start, end) in [(0x2000, 0x2fff), (0x1000, 0x2fff), (0x4000, 0x5fff), (0, 0xffff)] {
            assert_eq!(domains.serve(map(start, end, 0)), Err(Refused::Invalid), "{start:#x}");
        }
        for (start, end) in [(0x3000, 0x4fff), (0x2000, 0x3fff), (0x3000, 0x3fff)] {
            assert_eq!(domains.serve(unmap(start, end)), Err(Refused::Range), "{start:#x}");
        }
        assert_eq!(page(&domains, 2), Some(0x10));
        domains.serve(unmap(0, u64::MAX)).expect("it is inside");
        assert_eq!(page(&domains, 2), None);
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_its_status() {
        let mut domains = attached();
        let unknown = Request::Attach { domain: 7, endpoint: 2 };
        assert_eq!(domains.serve(unknown), Err(Refused::NoEntry));
        let other = Request::Detach { domain: 8, endpoint: 1 };
        assert_eq!(domains.serve(other), Err(Refused::Invalid));
        let nowhere = Request::Unmap { domain: 8, start: 0, end: 0xfff };
        assert_eq!(domains.serve(nowhere), Err(Refused::NoEntry));
        for (start, end, physical) in
            [(1, 0xfff, 0), (0, 0x1000, 0), (0, 0xfff, 1), (0x1000, 0xfff, 0), (0, 0xfff, !0)]
        {
            assert_eq!(domains.serve(map(start, end, physical)), Err(Refused::Range), "{start:#x}");
        }
        let wrapping = map(0, 0x1fff, u64::MAX - 0xfff);
        assert_eq!(domains.serve(wrapping), Err(Refused::Range));
    }

    #[test]
    fn there_is_room_for_so_many_mappings_and_no_more() {
        let mut domains = attached();
        let nth = |number: u64| map(number * 0x1000, number * 0x1000 + 0xfff, 0);
        for number in 0..MAPPINGS_MAX as u64 {
            domains.serve(nth(number)).expect("there is room");
        }
        let one_more = nth(MAPPINGS_MAX as u64);
        assert_eq!(domains.serve(one_more), Err(Refused::NoMemory));
        domains.serve(unmap(0, 0xfff)).expect("it is one of them");
        domains.serve(one_more).expect("there is room again");
    }
}
