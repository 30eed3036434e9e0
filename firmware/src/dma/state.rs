//! What the guest knows about DMA: its kernel's choices, its bounce pools, and for each device
//! what was negotiated, decided and mapped.
//!
//! Guest addresses are identity-mapped, so an address here is both what the CPU uses and what a
//! device gets, unless an IOMMU lies between.

use crate::bootargs::Rings;
use crate::calls::Trouble;
use crate::device_tree::Region;
use crate::dma::Direction;
use crate::dma::ask::dma_decide;
use crate::dma::bounce::swiotlb_bounce;
use crate::dma::decide::{Addresses, Life, Moment, Path, Window, moment};
use crate::dma::in_place::InPlace;
use crate::dma::rings::{OwnUnits, SHARED_BYTES, SharedPages};
use crate::dma::slots::MAPPING_BYTES_MAX;
use crate::dma::swiotlb::{POOL_GRANULE_BYTES, Swiotlb};
use crate::dma::tce::{Space, Writer};
use crate::heap::{UNIT_BYTES, own_units_untouched};
use crate::kernel::{Bit33, Kernel, Ops, Tce};
use crate::single::Single;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU8, Ordering};
use ultravisor_abi::UnitSize;

/// How many devices are driven at once: one of each kind.
pub const DEVICES: usize = 5;

/// What a request without slots ends in.
const SWIOTLB_FULL: Trouble = Trouble::failed("swiotlb-full");

/// Whether any device needs more of the DMA API than its direct ops, 1 or 0: what the first
/// instruction of `dma_map` and `dma_unmap` tests.
pub static NEEDS_WORK: AtomicU8 = AtomicU8::new(0);

/// A pool of bounce slots with pages for rings behind it.
pub(super) struct Area {
    pub(super) region: Region,
    pub(super) pool: Swiotlb,
    pub(super) rings: SharedPages,
}

impl Area {
    /// Slots and ring pages in `region`: the pages take [`SHARED_BYTES`], the slots the rest.
    pub(super) fn new(region: Region) -> Self {
        let slots_bytes = region.bytes.saturating_sub(SHARED_BYTES);
        let slots_bytes = slots_bytes - slots_bytes % POOL_GRANULE_BYTES;
        Self {
            region,
            pool: Swiotlb::new(region.base, slots_bytes),
            rings: SharedPages::new(region.base + slots_bytes),
        }
    }
}

/// What is known about one device.
pub(super) struct Device {
    pub(super) ops: Ops,
    pub(super) addresses: Addresses,
    /// Whether the device promised to take physical addresses (D15).
    pub(super) identity: bool,
    /// `None` until it was decided.
    pub(super) path: Option<Path>,
    /// Its IOMMU window, if it has one.
    pub(super) space: Option<Space>,
    /// Which area is its.
    pub(super) area: usize,
}

impl Device {
    /// Nobody drives it yet.
    pub(super) const UNKNOWN: Self = Self {
        ops: Ops::Iommu,
        addresses: Addresses::Raw,
        identity: false,
        path: None,
        space: None,
        area: 0,
    };
}

/// The guest's DMA state.
pub struct Dma {
    /// Whether this is boot firmware and no kernel yet.
    pub(super) firmware: bool,
    pub(super) kernel: Kernel,
    pub(super) life: Life,
    pub(super) rings: Rings,
    pub(super) areas: Vec<Area>,
    pub(super) own: OwnUnits,
    pub(super) writer: Writer,
    pub(super) in_place: Option<InPlace>,
    pub(super) devices: [Device; DEVICES],
}

/// The one that the guest has. Until `setup::init` it is boot firmware that knows no IOMMU.
pub static DMA: Single<Dma> = Single::new(Dma {
    firmware: true,
    kernel: Kernel { bit_33: Bit33::Never, ..Kernel::LINUX_2018 },
    life: Life::Normal,
    rings: Rings::Together,
    areas: Vec::new(),
    own: OwnUnits::new(),
    writer: Writer::new(Tce::Single, None),
    in_place: None,
    devices: [const { Device::UNKNOWN }; DEVICES],
});

/// Whether boot firmware asks, and not a kernel.
pub fn is_firmware() -> bool {
    DMA.with(|dma| dma.firmware)
}

/// What the kernel was built to do, and whether its guest is secure.
pub fn kernel() -> (Kernel, Life) {
    DMA.with(|dma| (dma.kernel, dma.life))
}

/// Notes what a device's driver negotiated, before anything is decided for it.
pub fn negotiated(device: usize, addresses: Addresses, identity: bool) {
    DMA.with(|dma| {
        let device = &mut dma.devices[device];
        (device.addresses, device.identity, device.path) = (addresses, identity, None);
    });
}

/// `now` has come for `device`: decides its path, if this is when this kernel does. Returns what
/// is decided so far.
pub fn decide_at(now: Moment, device: usize) -> Option<Path> {
    DMA.with(|dma| {
        let due = match moment(dma.kernel.virtio) {
            // Ring memory is asked for as well (kernel `vring_alloc_queue`).
            Moment::EachBuffer if now == Moment::QueueCreation => true,
            moment @ (Moment::Initialised
            | Moment::QueueCreation
            | Moment::EachBuffer
            | Moment::EachMapping) => moment == now,
        };
        if due { Some(dma.decide(device)) } else { dma.devices[device].path }
    })
}

/// Whether the buffers and rings of `device` go through the DMA API.
pub fn uses_dma_api(device: usize) -> bool {
    DMA.with(|dma| dma.uses_dma_api(device))
}

/// The same for a buffer that is about to be lent: a kernel that decides for each decides now.
pub fn sends_through_api(device: usize) -> bool {
    DMA.with(|dma| {
        if moment(dma.kernel.virtio) == Moment::EachBuffer {
            dma.decide(device).uses_dma_api()
        } else {
            dma.uses_dma_api(device)
        }
    })
}

/// Most bytes that one mapping of `device` may have; larger requests are split.
pub fn mapping_bytes_max(device: usize) -> usize {
    let bounces = DMA.with(|dma| dma.path(device).bounces(usize::MAX));
    if bounces { MAPPING_BYTES_MAX } else { usize::MAX }
}

/// Finds slots for those of a request's buffers that will bounce: all of them, or none.
///
/// # Errors
/// `swiotlb-full`.
pub fn reserve(device: usize, sizes: impl IntoIterator<Item = usize>) -> Result<(), Trouble> {
    DMA.with(|dma| {
        let path = dma.path(device);
        let bounced = sizes.into_iter().filter(|bytes| path.bounces(*bytes));
        match dma.area(device) {
            Some(area) => area.pool.reserve(bounced).map_err(|_| SWIOTLB_FULL),
            None => Ok(()),
        }
    })
}

/// Gives back what [`reserve`] found and no driver used.
pub fn cancel(device: usize) {
    DMA.with(|dma| {
        if let Some(area) = dma.area(device) {
            area.pool.cancel();
        }
    });
}

/// The end of the slots of `device`, if it has any.
pub fn end_of_pool(device: usize) -> Option<u64> {
    DMA.with(|dma| {
        let area = dma.area(device).filter(|area| area.pool.contains(area.region.base));
        area.map(|area| area.pool.end())
    })
}

/// Where the CPU finds what `device` knows as `address`.
pub fn cpu_address(device: usize, address: u64) -> u64 {
    DMA.with(|dma| {
        let space = dma.devices[device].space.as_ref();
        space.and_then(|space| space.real(address)).unwrap_or(address)
    })
}

impl Dma {
    /// The index of the area in `region`, made if there is none yet.
    pub(super) fn area_at(&mut self, region: Region) -> usize {
        let known = self.areas.iter().position(|area| area.region == region);
        known.unwrap_or_else(|| {
            self.areas.push(Area::new(region));
            self.areas.len() - 1
        })
    }

    /// An area of `pool_bytes` bytes of slots in units of the heap's.
    pub(super) fn new_area(
        &mut self,
        pool_bytes: u64,
        unit: Option<UnitSize>,
    ) -> Result<(), Trouble> {
        const WRONG: Trouble = Trouble::refused("swiotlb-size");
        if !pool_bytes.is_multiple_of(POOL_GRANULE_BYTES) {
            return Err(WRONG);
        }
        let bytes = pool_bytes.checked_add(SHARED_BYTES).ok_or(WRONG)?;
        let granule = unit.map_or(0, |unit| unit.bytes() as usize).max(UNIT_BYTES);
        let base = own_units_untouched(bytes as usize, granule).expose_provenance() as u64;
        self.area_at(Region { base, bytes });
        Ok(())
    }

    fn area(&mut self, device: usize) -> Option<&mut Area> {
        self.areas.get_mut(self.devices[device].area)
    }

    /// The path of a device. One that nobody decided for has none.
    fn path(&self, device: usize) -> Path {
        self.devices[device].path.unwrap_or(Path::Refuse)
    }

    fn uses_dma_api(&self, device: usize) -> bool {
        moment(self.kernel.virtio) == Moment::EachMapping || self.path(device).uses_dma_api()
    }

    /// Decides the path of `device`.
    fn decide(&mut self, device: usize) -> Path {
        let Device { ops, addresses, identity, space, .. } = &self.devices[device];
        let window = if space.is_some() && !identity { Window::Tce } else { Window::None };
        let path = dma_decide(
            self.kernel.virtio as u64,
            *ops as u64,
            self.life as u64,
            *addresses as u64,
            window as u64,
        );
        let path = Path::from_number(path).unwrap_or(Path::Refuse);
        if self.devices[device].path.replace(path) != Some(path) {
            self.note_work();
        }
        path
    }

    /// Sets [`NEEDS_WORK`] for the paths as they are now.
    pub(super) fn note_work(&self) {
        let direct = |device: &Device| match device.path {
            None | Some(Path::Bypass | Path::Direct) => true,
            Some(
                Path::Bounce
                | Path::BounceSmall
                | Path::SharedRings
                | Path::Refuse
                | Path::Iommu
                | Path::BounceIommu
                | Path::ShareInPlace,
            ) => false,
        };
        // A kernel that decides inside the API has work to do there each time.
        let decides = moment(self.kernel.virtio) == Moment::EachMapping;
        let needs_work = decides || !self.devices.iter().all(direct);
        NEEDS_WORK.store(needs_work.into(), Ordering::Relaxed);
    }

    /// Lends `bytes` bytes at `address` to `device`; what goes into the ring.
    pub fn map(
        &mut self,
        device: usize,
        address: u64,
        bytes: u64,
        direction: Direction,
    ) -> Result<u64, Trouble> {
        if moment(self.kernel.virtio) == Moment::EachMapping {
            self.decide(device);
        }
        let path = self.path(device);
        let mut real = address;
        if path.bounces(bytes as usize) {
            let area = self.area(device).ok_or(SWIOTLB_FULL)?;
            real = area.pool.map(address, bytes as usize).map_err(|_| SWIOTLB_FULL)?;
            // Copied out whatever the direction is: bytes that the device leaves alone survive.
            swiotlb_bounce(real, address, bytes, 0);
        }
        if path == Path::ShareInPlace
            && let Some(in_place) = &mut self.in_place
        {
            in_place.lend(address, bytes)?;
        }
        self.map_in_window(device, real, bytes, direction)
    }

    /// Takes back what [`Dma::map`] lent, by what is known about the address and not by the path
    /// that the device has now.
    pub fn unmap(
        &mut self,
        device: usize,
        address: u64,
        bytes: u64,
        direction: Direction,
    ) -> Result<(), Trouble> {
        let space = self.devices[device].space.as_mut();
        let real = space.and_then(|space| space.unmap(&self.writer, address)).unwrap_or(address);
        if let Some(area) = self.area(device)
            && let Some(mapping) = area.pool.mapping(real)
        {
            if direction.device_writes() {
                swiotlb_bounce(real, mapping.original, mapping.bytes as u64, 1);
            }
            area.pool.unmap(real);
        } else if let Some(in_place) = &mut self.in_place {
            in_place.take_back(real, bytes)?;
        }
        Ok(())
    }

    /// Memory for a ring of `device`, in whole pages and not zeroed: where the CPU finds it.
    pub fn take_ring(&mut self, device: usize, bytes: u64, direction: Direction) -> Option<u64> {
        let shares = self.devices[device].path.is_some_and(Path::shares_rings);
        match self.area(device) {
            Some(area) if shares => area.rings.take(bytes as usize),
            Some(_) | None => self.own.take(device, bytes as usize, direction, self.rings),
        }
    }

    /// The same through the DMA API: also the address that the device has for it.
    pub fn allocate(
        &mut self,
        device: usize,
        bytes: u64,
        direction: Direction,
    ) -> Result<Option<(u64, u64)>, Trouble> {
        if moment(self.kernel.virtio) == Moment::EachMapping {
            self.decide(device);
        }
        let Some(start) = self.take_ring(device, bytes, direction) else { return Ok(None) };
        // Both ways, whoever writes: so are Linux's coherent mappings.
        let address = self.map_in_window(device, start, bytes, Direction::Both)?;
        Ok(Some((start, address)))
    }

    /// Takes a ring's memory back.
    pub fn free(&mut self, device: usize, address: u64, bytes: u64) {
        let space = self.devices[device].space.as_mut();
        let start = space.and_then(|space| space.unmap(&self.writer, address)).unwrap_or(address);
        self.own.give_back(start);
        if let Some(area) = self.area(device) {
            area.rings.give_back(start, bytes as usize);
        }
    }

    /// Maps `bytes` bytes at `real` in the window of `device`, if its path does.
    fn map_in_window(
        &mut self,
        device: usize,
        real: u64,
        bytes: u64,
        direction: Direction,
    ) -> Result<u64, Trouble> {
        let Device { path, space, .. } = &mut self.devices[device];
        match space {
            Some(space) if path.is_some_and(Path::maps) => {
                space.map(&mut self.writer, real, bytes, direction)
            }
            Some(_) | None => Ok(real),
        }
    }
}
