//! A `Transport` around `virtio-drivers`' own that does what its drivers leave out.
//!
//! They never accept VIRTIO_F_ACCESS_PLATFORM (bit 33) and never look whether FEATURES_OK held
//! (virtio 1.2, section 3.1.1, step 6). Both belong to the transport, so all drivers get them
//! here, whatever bits they know themselves; and here is where a device's DMA path is decided.

use crate::calls::Trouble;
use crate::dma::decide::{Addresses, Life, Moment, Path};
use crate::dma::setup::attach;
use crate::dma::state::{decide_at, is_firmware, kernel, negotiated};
use crate::kernel::Bit33;
use crate::virtio::Kind;
use crate::virtio::either::Either;
use crate::virtio::wait::Device;
use ultravisor_abi::ours::F_IDENTITY_ADDRESS;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{PhysAddr, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// VIRTIO_F_INDIRECT_DESC.
const INDIRECT_DESC: u64 = 1 << 28;
/// VIRTIO_F_EVENT_IDX.
const EVENT_IDX: u64 = 1 << 29;
/// VIRTIO_F_VERSION_1.
const VERSION_1: u64 = 1 << 32;
/// VIRTIO_F_ACCESS_PLATFORM.
const ACCESS_PLATFORM: u64 = 1 << 33;

/// The transport of the device with index `DEVICE`.
pub struct Guarded<const DEVICE: usize> {
    inner: Either,
    offered: u64,
    accepted: u64,
}

/// What a driver written here negotiated with [`Guarded::negotiate`].
#[derive(Clone, Copy, Debug)]
pub struct Negotiated {
    /// Whether requests of several buffers use an indirect table.
    pub indirect: bool,
    /// Whether notifications are suppressed by event index.
    pub event_idx: bool,
}

impl<const DEVICE: usize> Guarded<DEVICE> {
    const KIND: Kind = Kind::from_index(DEVICE);

    /// The transport of `device`.
    ///
    /// # Errors
    /// `...-init` if its registers are not those of a virtio device that is known here.
    pub fn new(device: Device) -> core::result::Result<Self, Trouble> {
        let registers = device.registers();
        let inner = Either::new(&registers).ok_or(Self::KIND.troubles().init)?;
        attach(DEVICE, &registers);
        Ok(Self { inner, offered: 0, accepted: 0 })
    }

    /// Whether the device offered VIRTIO_F_INDIRECT_DESC. Every driver here accepts it.
    pub fn offers_indirect(&mut self) -> bool {
        self.read_device_features() & INDIRECT_DESC != 0
    }

    /// The steps of virtio 1.2, section 3.1.1, up to FEATURES_OK, for the drivers written here.
    pub fn negotiate(&mut self) -> Negotiated {
        const KNOWN: DeviceStatus = DeviceStatus::ACKNOWLEDGE.union(DeviceStatus::DRIVER);
        self.set_status(DeviceStatus::empty());
        self.set_status(KNOWN);
        let accepted = self.read_device_features() & (INDIRECT_DESC | EVENT_IDX | VERSION_1);
        self.write_driver_features(accepted);
        self.set_status(KNOWN | DeviceStatus::FEATURES_OK);
        self.set_guest_page_size(virtio_drivers::PAGE_SIZE as u32);
        Negotiated { indirect: accepted & INDIRECT_DESC != 0, event_idx: accepted & EVENT_IDX != 0 }
    }

    /// Which bits of the platform's the kernel accepts, of those offered.
    fn platform_bits(&self) -> u64 {
        let (kernel, life) = kernel();
        let wanted = match (Self::KIND, kernel.bit_33) {
            // Its pages are the guest's own, whatever lies between: the driver clears the bit
            // (kernel `virtio_balloon.c`, virtballoon_validate).
            (Kind::Balloon, _) => return 0,
            (_, Bit33::Never) => false,
            // "A driver SHOULD accept VIRTIO_F_ACCESS_PLATFORM if it is offered" (section 6.1).
            (_, Bit33::IfOffered) => true,
            (_, Bit33::IfSecure) => life == Life::Secure,
        };
        let platform = if wanted { ACCESS_PLATFORM } else { 0 };
        let identity = if kernel.identity_bit { F_IDENTITY_ADDRESS } else { 0 };
        self.offered & (platform | identity)
    }

    /// The features are chosen, FEATURES_OK not yet set: a kernel that restricts its devices
    /// refuses here (kernel `virtio_features_ok`).
    fn demand_bits(&mut self) {
        const DEMANDED: u64 = VERSION_1 | ACCESS_PLATFORM;
        let (kernel, life) = kernel();
        if kernel.demands_bits && life == Life::Secure && self.accepted & DEMANDED != DEMANDED {
            self.refuse(Self::KIND.troubles().restricted);
        }
    }

    /// FEATURES_OK was just set: look whether it held, then decide.
    fn features_settled(&mut self) {
        // A legacy device has no such bit (virtio 1.2, section 3.1.2).
        let asked = !self.requires_legacy_layout();
        if asked && !self.inner.get_status().contains(DeviceStatus::FEATURES_OK) {
            let features = Self::KIND.troubles().features;
            self.refuse(if is_firmware() { Trouble::refused("slof-features") } else { features });
        }
        self.decide(Moment::Initialised);
    }

    fn decide(&mut self, moment: Moment) {
        match decide_at(moment, DEVICE) {
            Some(Path::Refuse) => self.refuse(Self::KIND.troubles().no_identity),
            Some(
                Path::Bypass
                | Path::Direct
                | Path::Bounce
                | Path::BounceSmall
                | Path::SharedRings
                | Path::Iommu
                | Path::BounceIommu
                | Path::ShareInPlace,
            )
            | None => (),
        }
    }

    fn refuse(&mut self, why: Trouble) -> ! {
        self.inner.set_status(DeviceStatus::FAILED);
        why.give_up()
    }
}

impl<const DEVICE: usize> Transport for Guarded<DEVICE> {
    fn device_type(&self) -> DeviceType {
        self.inner.device_type()
    }

    fn read_device_features(&mut self) -> u64 {
        self.offered = self.inner.read_device_features();
        self.offered
    }

    fn write_driver_features(&mut self, features: u64) {
        let platform = self.platform_bits();
        self.accepted = features | platform;
        let identity = platform & F_IDENTITY_ADDRESS != 0;
        let addresses = if platform == 0 { Addresses::Raw } else { Addresses::Platform };
        negotiated(DEVICE, addresses, identity);
        self.inner.write_driver_features(self.accepted);
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.inner.max_queue_size(queue)
    }

    #[inline(never)] // a frame of its own in call chains
    fn notify(&mut self, queue: u16) {
        self.inner.notify(queue);
    }

    fn get_status(&self) -> DeviceStatus {
        self.inner.get_status()
    }

    fn set_status(&mut self, status: DeviceStatus) {
        let settles =
            status.contains(DeviceStatus::FEATURES_OK) && !status.contains(DeviceStatus::DRIVER_OK);
        if settles {
            self.demand_bits();
        }
        self.inner.set_status(status);
        if settles {
            self.features_settled();
        }
    }

    fn set_guest_page_size(&mut self, bytes: u32) {
        self.inner.set_guest_page_size(bytes);
    }

    fn requires_legacy_layout(&self) -> bool {
        self.inner.requires_legacy_layout()
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        table: PhysAddr,
        avail: PhysAddr,
        used: PhysAddr,
    ) {
        if !self.inner.queue_set(queue, size, [table, avail, used]) {
            self.refuse(Self::KIND.troubles().no_vector);
        }
    }

    fn queue_unset(&mut self, queue: u16) {
        self.inner.queue_unset(queue);
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        // The first thing that `VirtQueue::new` asks: the queue is about to be created.
        self.decide(Moment::QueueCreation);
        self.inner.queue_used(queue)
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        self.inner.ack_interrupt()
    }

    fn read_config_generation(&self) -> u32 {
        self.inner.read_config_generation()
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T> {
        self.inner.read_config_space(offset)
    }

    fn write_config_space<T: IntoBytes + Immutable>(&mut self, offset: usize, value: T) -> Result {
        self.inner.write_config_space(offset, value)
    }
}
