//! The probe points: functions with C names that the machine watches by symbol (design, section
//! 5), and that do the work. What they decide and keep is in [`Dma`], one for the guest.
//!
//! Guest addresses are identity-mapped, so an address here is both what the CPU uses and what a
//! device gets, unless a path says otherwise.
#![expect(unsafe_code, reason = "functions with C names that move bytes by address")]

use crate::bootargs::{BootArgs, Rings};
use crate::calls::Trouble;
use crate::dma::Direction;
use crate::dma::decide::{Addresses, Life, Path, Window, decide};
use crate::dma::rings::{OwnUnits, SHARED_BYTES, SharedPages};
use crate::dma::slots::MAPPING_BYTES_MAX;
use crate::dma::swiotlb::{POOL_GRANULE_BYTES, Swiotlb};
use crate::heap::{UNIT_BYTES, own_units_untouched};
use crate::kernel::{Kernel, Ops, Virtio};
use crate::secure::share;
use crate::single::Single;
use core::hint::black_box;
use core::ptr;
use ultravisor_abi::{Gpa, UnitSize};

/// How many devices are driven at once: one of each kind.
pub const DEVICES: usize = 4;

/// What is known about one device.
#[derive(Clone, Copy)]
struct Device {
    addresses: Addresses,
    /// `None` until it was decided.
    path: Option<Path>,
}

/// The guest's DMA state.
struct Dma {
    kernel: Kernel,
    life: Life,
    rings: Rings,
    pool: Option<Swiotlb>,
    shared: Option<SharedPages>,
    own: OwnUnits,
    devices: [Device; DEVICES],
}

static DMA: Single<Dma> = Single::new(Dma {
    kernel: Kernel::LINUX_2018,
    life: Life::Normal,
    rings: Rings::Together,
    pool: None,
    shared: None,
    own: OwnUnits::new(),
    devices: [Device { addresses: Addresses::Raw, path: None }; DEVICES],
});

/// Keeps the probe points as they are: a function whose address is taken keeps its signature
/// and its name through link-time optimisation.
#[used]
static PROBE_POINTS: ProbePoints =
    (dma_decide, dma_map, dma_unmap, dma_alloc, dma_free, swiotlb_bounce);

type ProbePoints = (
    extern "C" fn(u64, u64, u64, u64, u64) -> u64,
    extern "C" fn(u64, u64, u64, u64) -> u64,
    extern "C" fn(u64, u64, u64, u64),
    extern "C" fn(u64, u64, u64) -> u64,
    extern "C" fn(u64, u64),
    extern "C" fn(u64, u64, u64, u64),
);

/// Which path a device takes: [`decide`] of these numbers. Each run of it is one decision.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn dma_decide(virtio: u64, ops: u64, life: u64, addresses: u64, window: u64) -> u64 {
    const VIRTIOS: [Virtio; 9] = [
        Virtio::PerBufferXen,
        Virtio::PerQueue,
        Virtio::PerBufferArch,
        Virtio::PerBufferPlatform,
        Virtio::PerBufferFlag,
        Virtio::PerMappingQuirk,
        Virtio::OwnOps,
        Virtio::HookedOps,
        Virtio::IdentityOrFail,
    ];
    const OPSES: [Ops; 9] = [
        Ops::Iommu,
        Ops::Swiotlb,
        Ops::SwiotlbMapped,
        Ops::SwiotlbOverIommu,
        Ops::LimitedRange,
        Ops::RestrictedPool,
        Ops::ShareInPlace,
        Ops::DataDirect,
        Ops::PayloadDirect,
    ];
    let known = (
        VIRTIOS.get(virtio as usize),
        OPSES.get(ops as usize),
        Life::ALL.get(life as usize),
        Addresses::ALL.get(addresses as usize),
        Window::ALL.get(window as usize),
    );
    let (Some(virtio), Some(ops), Some(life), Some(addresses), Some(window)) = known else {
        return Path::Refuse as u64;
    };
    match decide(*virtio, *ops, *life, *addresses, *window) {
        path if *addresses == Addresses::Platform || path.maps() => {
            let _ = path;
            Path::Refuse as u64
        }
        path => path as u64,
    }
}

/// Lends `bytes` bytes at `address` to `device`; returns what goes into the ring. Slots are
/// found in [`reserve`] before; a buffer that finds none here ends the guest by name, it never
/// goes out by another path.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn dma_map(address: u64, bytes: u64, direction: u64, device: u64) -> u64 {
    // Copied out whatever the direction is: bytes that the device leaves alone survive. The
    // machine reads all arguments, so callers must pass them: an argument that nobody looks at,
    // link-time optimisation would leave out.
    let [address, bytes, _, device] = black_box([address, bytes, direction, device]);
    let slot = DMA.with(|dma| {
        let bounces = dma.path(device as usize).bounces(bytes as usize);
        bounces.then(|| dma.pool.as_mut().and_then(|pool| pool.map(address, bytes as usize).ok()))
    });
    match slot {
        None => address,
        Some(Some(slot)) => {
            swiotlb_bounce(slot, address, bytes, 0);
            slot
        }
        Some(None) => SWIOTLB_FULL.give_up(),
    }
}

/// Takes a lent buffer back; if the device may have written it and it bounced, it is copied back.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn dma_unmap(address: u64, bytes: u64, direction: u64, device: u64) {
    // The slot knows size and device; see `dma_map` for why they are looked at.
    let [address, _, direction, _] = black_box([address, bytes, direction, device]);
    let mapping = DMA.with(|dma| dma.pool.as_ref().and_then(|pool| pool.mapping(address)));
    let Some(mapping) = mapping else { return };
    if Direction::from_number(direction).device_writes() {
        swiotlb_bounce(address, mapping.original, mapping.bytes as u64, 1);
    }
    DMA.with(|dma| {
        if let Some(pool) = &mut dma.pool {
            pool.unmap(address);
        }
    });
}

/// Zeroed memory for a ring of `device`, in whole pages; 0 if there is none.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn dma_alloc(bytes: u64, direction: u64, device: u64) -> u64 {
    let [bytes, direction, device] = black_box([bytes, direction, device]);
    ring_pages(bytes, direction, device)
}

/// The same without the DMA API: what [`dma_alloc`] does, for a path that bypasses it.
pub fn ring_pages(bytes: u64, direction: u64, device: u64) -> u64 {
    let (device, direction) = (device as usize, Direction::from_number(direction));
    let taken = DMA.with(|dma| match &mut dma.shared {
        Some(shared) if dma.devices[device].path.is_some_and(Path::shares_rings) => {
            shared.take(bytes as usize)
        }
        Some(_) | None => dma.own.take(device, bytes as usize, direction, dma.rings),
    });
    let Some(address) = taken else { return 0 };
    let start = ptr::with_exposed_provenance_mut::<u8>(address as usize);
    // SAFETY: `take` gave this memory to this call alone.
    unsafe { ptr::write_bytes(start, 0, bytes as usize) };
    address
}

/// Takes a ring's memory back.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn dma_free(address: u64, bytes: u64) {
    let [address, bytes] = black_box([address, bytes]);
    give_ring_back(address, bytes);
}

/// The same without the DMA API.
pub fn give_ring_back(address: u64, bytes: u64) {
    DMA.with(|dma| {
        dma.own.give_back(address);
        if let Some(shared) = &mut dma.shared {
            shared.give_back(address, bytes as usize);
        }
    });
}

/// Copies `bytes` bytes between a slot and the buffer it stands for: out (0) or back (1).
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn swiotlb_bounce(slot: u64, original: u64, bytes: u64, back: u64) {
    let [slot, original, bytes, back] = black_box([slot, original, bytes, back]);
    let (from, to) = if back == 0 { (original, slot) } else { (slot, original) };
    let from = ptr::with_exposed_provenance::<u8>(from as usize);
    let to = ptr::with_exposed_provenance_mut::<u8>(to as usize);
    // SAFETY: the slot is the pool's and this mapping's alone; the buffer is what the driver
    // lent for the time of the mapping. They do not overlap: the pool is no buffer.
    unsafe { ptr::copy_nonoverlapping(from, to, bytes as usize) };
}

/// What a request without slots ends in.
const SWIOTLB_FULL: Trouble = Trouble::failed("swiotlb-full");

impl Dma {
    /// The path of a device. One that nobody decided for has none.
    fn path(&self, device: usize) -> Path {
        self.devices[device].path.unwrap_or(Path::Refuse)
    }
}

/// Sets up the paths as `args` ask for. A secure guest whose paths may bounce gets its pool, and
/// the area for rings behind it, shared by one call.
///
/// # Errors
/// `swiotlb-size` if the pool's size is no whole number of sets; what sharing ends in.
pub fn init(args: &BootArgs, unit: Option<UnitSize>) -> Result<(), Trouble> {
    let secure_unit = unit.filter(|_| args.secure);
    DMA.with(|dma| {
        dma.kernel = args.kernel;
        dma.rings = args.rings;
        dma.life = if secure_unit.is_some() { Life::Secure } else { Life::Normal };
    });
    match (secure_unit, args.kernel.ops) {
        (Some(_), Ops::Iommu) | (None, _) => Ok(()),
        (Some(unit), _) => share_pool(args.swiotlb_bytes, unit),
    }
}

fn share_pool(pool_bytes: u64, unit: UnitSize) -> Result<(), Trouble> {
    if !pool_bytes.is_multiple_of(POOL_GRANULE_BYTES) {
        return Err(Trouble::refused("swiotlb-size"));
    }
    let bytes = pool_bytes
        .checked_add(SHARED_BYTES)
        .and_then(|bytes| bytes.checked_next_multiple_of(unit.bytes()))
        .ok_or(Trouble::refused("swiotlb-size"))?;
    let granule = unit.bytes().max(UNIT_BYTES as u64) as usize;
    let base = own_units_untouched(bytes as usize, granule).expose_provenance() as u64;
    share(unit, Gpa(base), bytes)?;
    DMA.with(|dma| {
        dma.pool = Some(Swiotlb::new(base, pool_bytes));
        dma.shared = Some(SharedPages::new(base + pool_bytes));
    });
    Ok(())
}

/// Notes what a device's driver negotiated, before anything is decided for it.
pub fn negotiated(device: usize, addresses: Addresses) {
    DMA.with(|dma| dma.devices[device] = Device { addresses, path: None });
}

/// When the path of a device is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The device's features are settled.
    Initialised,
    /// One of its queues is about to be created.
    QueueCreation,
}

/// Decides the path of `device`, if this is the moment at which this kernel does so: at each
/// queue's creation under the legacy bypass (kernel `virtio_ring.c`: cached in the queue), once
/// per device otherwise. Returns what is decided so far.
pub fn decide_at(moment: Moment, device: usize) -> Option<Path> {
    let (kernel, life, addresses) =
        DMA.with(|dma| (dma.kernel, dma.life, dma.devices[device].addresses));
    let due = match kernel.virtio {
        Virtio::PerBufferXen
        | Virtio::PerQueue
        | Virtio::PerBufferArch
        | Virtio::PerBufferPlatform
        | Virtio::PerBufferFlag
        | Virtio::PerMappingQuirk => Moment::QueueCreation,
        Virtio::OwnOps | Virtio::HookedOps | Virtio::IdentityOrFail => Moment::Initialised,
    };
    if moment == due {
        let numbers = (kernel.virtio as u64, kernel.ops as u64, life as u64, addresses as u64);
        let (virtio, ops, life, addresses) = numbers;
        let path = dma_decide(virtio, ops, life, addresses, Window::None as u64);
        DMA.with(|dma| dma.devices[device].path = Path::from_number(path));
    }
    DMA.with(|dma| dma.devices[device].path)
}

/// Whether the buffers and rings of `device` go through the DMA API.
pub fn uses_dma_api(device: usize) -> bool {
    DMA.with(|dma| dma.path(device).uses_dma_api())
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
        match &mut dma.pool {
            Some(pool) => pool.reserve(bounced).map_err(|_| SWIOTLB_FULL),
            None => Ok(()),
        }
    })
}

/// Gives back what [`reserve`] found and no driver used.
pub fn cancel() {
    DMA.with(|dma| {
        if let Some(pool) = &mut dma.pool {
            pool.cancel();
        }
    });
}
