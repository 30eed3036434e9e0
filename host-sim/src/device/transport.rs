//! A device's transport: features, status, queue set-up, and the registers of virtio-mmio (virtio
//! 1.4, 4.2.2, and 4.2.4 for the legacy interface); those of virtio-pci are in `pci.rs`.
//!
//! Reads and writes change nothing but the transport itself; [`Effect`] tells the caller what
//! follows. Where the specification leaves room the transport does what QEMU's
//! `hw/virtio/virtio-mmio.c` does: an access it does not know reads 0 and is ignored when written.

mod pci;

use super::registers::{Interface, REGISTERS, Register};
use crate::event::QueueIndex;
use crate::scenario::plan::{self, QemuOptions};
use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::ops::Range;
use ultravisor_abi::ours::F_IDENTITY_ADDRESS;

/// VIRTIO_F_INDIRECT_DESC.
pub const INDIRECT_DESC: u64 = 1 << 28;
/// VIRTIO_F_EVENT_IDX.
pub const EVENT_IDX: u64 = 1 << 29;
/// VIRTIO_F_VERSION_1.
pub const VERSION_1: u64 = 1 << 32;
/// VIRTIO_F_ACCESS_PLATFORM, once VIRTIO_F_IOMMU_PLATFORM: QEMU's `iommu_platform`.
pub const ACCESS_PLATFORM: u64 = 1 << 33;

/// Status bit: the guest has a driver and it is set up.
pub const STATUS_DRIVER_OK: u8 = 4;
/// Status bit: both sides agree on the features.
pub const STATUS_FEATURES_OK: u8 = 8;
/// Status bit: the device is in a state that only a reset cures.
pub const STATUS_NEEDS_RESET: u8 = 64;

/// InterruptStatus bit: a used buffer.
const INTERRUPT_USED: u32 = 1;
/// InterruptStatus bit: the configuration changed.
const INTERRUPT_CONFIG: u32 = 2;
/// Where configuration space begins.
const CONFIG: u64 = 0x100;
/// "virt", little-endian.
const MAGIC: u32 = 0x7472_6976;
/// QEMU's vendor id, "QEMU".
const VENDOR: u32 = 0x554d_4551;
/// QEMU ignores a queue selector from here on (`VIRTIO_QUEUE_MAX`).
const QUEUE_SELECTORS: u32 = 1024;
/// Alignment of the legacy used ring before the driver says otherwise.
const LEGACY_ALIGN: u32 = 4096;

/// What a device is to the transport.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// Device id (virtio 1.4, 5).
    pub device_id: u32,
    /// Feature bits of the device type.
    pub features: u64,
    /// How many queues.
    pub queues: u16,
    /// Which bytes of configuration space a driver may write.
    pub writable: Range<u64>,
}

/// How a device's addresses are to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addresses {
    /// As guest-physical ones, untranslated and unlimited: bit 33 is not in effect.
    Raw,
    /// As guest-physical ones, which the driver promised.
    Identity,
    /// As the platform says.
    Platform,
}

/// What a register write led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing that anybody else must know.
    Nothing,
    /// The driver notified this queue.
    Notify(QueueIndex),
    /// The device was reset.
    Reset,
    /// The status register has this value now.
    StatusChanged(u8),
    /// The driver wrote into configuration space.
    Configured,
}

impl Effect {
    /// What a write of `bytes` bytes at `offset` does if it is a notification: what KVM sees of it,
    /// which knows no device (ioeventfd).
    pub fn of_notification(
        over: plan::Transport,
        (offset, bytes, value): (u64, u8, u64),
    ) -> Option<Self> {
        match over {
            plan::Transport::Mmio => Self::of_mmio_notification(offset, bytes, value),
            plan::Transport::Pci => pci::notified(offset).map(Self::Notify),
        }
    }

    fn of_mmio_notification(offset: u64, bytes: u8, value: u64) -> Option<Self> {
        let register = REGISTERS.iter().find(|row| row.0 == offset)?.1;
        let is_notification = register == Register::QueueNotify && bytes == 4;
        let queue = u16::try_from(value).ok().map(QueueIndex);
        queue.filter(|_| is_notification).map(Self::Notify)
    }
}

/// Where a ready queue lies. A driver's claim: nothing about it was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Entries.
    pub size: u32,
    /// Descriptor table.
    pub desc: u64,
    /// Available ring (driver area).
    pub avail: u64,
    /// Used ring (device area).
    pub used: u64,
}

/// One queue's registers.
#[derive(Clone, Copy, Debug)]
struct QueueRegisters {
    size: u32,
    desc: u64,
    avail: u64,
    used: u64,
    ready: bool,
    align: u32,
    pfn: u32,
    vector: u16,
}

impl QueueRegisters {
    fn at_reset(size_max: u16) -> Self {
        let size = u32::from(size_max);
        let (align, vector) = (LEGACY_ALIGN, pci::NO_VECTOR);
        Self { size, desc: 0, avail: 0, used: 0, ready: false, align, pfn: 0, vector }
    }

    /// One contiguous block: descriptors, available ring, and the used ring at the next multiple
    /// of the queue's alignment (virtio 1.4, 2.7.2).
    fn legacy_layout(&self, page_shift: u32) -> Option<Layout> {
        if self.pfn == 0 {
            return None;
        }
        let size = u64::from(self.size);
        let desc = u64::from(self.pfn) << page_shift;
        let avail = desc.wrapping_add(16 * size);
        let align = u64::from(self.align.max(1));
        let used = avail.wrapping_add(6 + 2 * size).next_multiple_of(align);
        Some(Layout { size: self.size, desc, avail, used })
    }
}

/// The registers of one device.
#[derive(Debug)]
pub(super) struct Transport {
    over: plan::Transport,
    identity: Identity,
    config: Vec<u8>,
    options: QemuOptions,
    legacy: bool,
    /// Whether `iommu_platform` is in effect: from the start, by the quirk, or because QEMU turned
    /// it on.
    platform: bool,
    /// Whether the driver wrote the quirk register: it counts from the next reset on.
    quirk: bool,
    queue_size_max: u16,
    device_features_sel: u32,
    driver_features_sel: u32,
    /// What the driver wrote; it counts once FEATURES_OK (legacy: at once).
    requested: u64,
    accepted: u64,
    page_shift: u32,
    queue_sel: u32,
    queues: Vec<QueueRegisters>,
    interrupt_status: u32,
    status: u8,
    generation: u32,
    broken: bool,
    /// Whose message tells of a changed configuration (virtio-pci).
    config_vector: u16,
    /// Whose messages are to be sent (virtio-pci).
    asked: BTreeSet<u16>,
}

impl Transport {
    /// A transport at reset. `config` is the device's configuration space.
    pub fn new(
        over: plan::Transport,
        identity: Identity,
        config: Vec<u8>,
        options: &QemuOptions,
    ) -> Self {
        let queue_size_max = ring_size(options.queue_size).get();
        let queues = usize::from(identity.queues);
        Self {
            over,
            identity,
            config,
            options: *options,
            legacy: options.legacy,
            platform: options.iommu_platform,
            quirk: false,
            queue_size_max,
            device_features_sel: 0,
            driver_features_sel: 0,
            requested: 0,
            accepted: 0,
            page_shift: 0,
            queue_sel: 0,
            queues: vec![QueueRegisters::at_reset(queue_size_max); queues],
            interrupt_status: 0,
            status: 0,
            generation: 0,
            broken: false,
            config_vector: pci::NO_VECTOR,
            asked: BTreeSet::new(),
        }
    }

    /// What the device offers: its own features and the ring's as QEMU's options say. A legacy
    /// device has bits 0 to 31 only.
    fn offered(&self) -> u64 {
        let options = &self.options;
        let when = |option, features| if option { features } else { 0 };
        let offered = self.identity.features
            | when(options.indirect_desc, INDIRECT_DESC)
            | when(options.event_idx, EVENT_IDX);
        if self.legacy {
            return offered & u64::from(u32::MAX);
        }
        offered
            | when(self.platform, ACCESS_PLATFORM)
            | when(options.identity_bit, ACCESS_PLATFORM | F_IDENTITY_ADDRESS)
            | VERSION_1
    }

    /// Whether a driver that does not accept bit 33 is served all the same.
    fn is_optional(&self) -> bool {
        self.options.optional_33 || self.options.identity_bit
    }

    /// How the device's addresses are to be taken. `iommu_platform` alone decides, as QEMU fixes
    /// it at plug, except where the bit may be refused: there the driver's answer does.
    pub fn addresses(&self) -> Addresses {
        if self.legacy {
            Addresses::Raw
        } else if self.has(F_IDENTITY_ADDRESS) {
            Addresses::Identity
        } else if self.has(ACCESS_PLATFORM) || self.platform && !self.is_optional() {
            Addresses::Platform
        } else {
            Addresses::Raw
        }
    }

    /// Turns `iommu_platform` on, in whatever state the device is. Returns whether that was new;
    /// a legacy device cannot have it.
    pub fn turn_platform_on(&mut self) -> bool {
        let new = !self.legacy && !self.platform;
        self.platform |= new;
        new
    }

    /// Whether the driver accepted all of `features`.
    pub fn has(&self, features: u64) -> bool {
        self.accepted & features == features
    }

    /// The largest ring that a driver may set up: a power of two.
    pub fn queue_size_max(&self) -> u16 {
        self.queue_size_max
    }

    /// The status register.
    pub fn status(&self) -> u8 {
        self.status
    }

    /// The interrupt status register: bit 0 used buffer, bit 1 configuration change.
    pub fn interrupt_status(&self) -> u32 {
        self.interrupt_status
    }

    /// Whether the device may consume buffers: not while it is broken, and with the modern
    /// interface not before DRIVER_OK (virtio 1.4, 3.1.1; a legacy driver may use the device
    /// before, 3.1.2).
    pub fn running(&self) -> bool {
        !self.broken && (self.legacy || self.status & STATUS_DRIVER_OK != 0)
    }

    /// Whether a ring made no sense and the device waits for a reset.
    pub fn broken(&self) -> bool {
        self.broken
    }

    /// Where queue `index` lies, if the driver made it ready.
    pub fn layout(&self, index: QueueIndex) -> Option<Layout> {
        let queue = self.queues.get(usize::from(index.0))?;
        if self.legacy {
            return queue.legacy_layout(self.page_shift);
        }
        let QueueRegisters { size, desc, avail, used, .. } = *queue;
        queue.ready.then_some(Layout { size, desc, avail, used })
    }

    /// A used buffer is there in queue `index`.
    pub fn raise_used(&mut self, index: QueueIndex) {
        self.interrupt_status |= INTERRUPT_USED;
        let queue = self.queues.get(usize::from(index.0));
        self.ask(queue.map_or(pci::NO_VECTOR, |queue| queue.vector));
    }

    /// A ring made no sense. A device of VERSION_1 says so and raises a configuration change
    /// interrupt; an older one just stops. Returns whether it said so.
    pub fn set_broken(&mut self) -> bool {
        self.broken = true;
        let says_so = self.has(VERSION_1);
        if says_so {
            self.status |= STATUS_NEEDS_RESET;
            if self.status & STATUS_DRIVER_OK != 0 {
                self.interrupt_status |= INTERRUPT_CONFIG;
                self.generation = self.generation.wrapping_add(1);
                self.ask(self.config_vector);
            }
        }
        says_so
    }

    /// A read of `bytes` bytes at `offset` of the device's window.
    pub fn read(&mut self, offset: u64, bytes: u8) -> u64 {
        match self.over {
            plan::Transport::Mmio => self.read_mmio(offset, bytes),
            plan::Transport::Pci => self.read_pci(offset, bytes),
        }
    }

    /// A write of the low `bytes` bytes of `value` at `offset` of the device's window.
    pub fn write(&mut self, offset: u64, bytes: u8, value: u64) -> Effect {
        match self.over {
            plan::Transport::Mmio => self.write_mmio(offset, bytes, value),
            plan::Transport::Pci => self.write_pci(offset, bytes, value),
        }
    }

    fn read_mmio(&self, offset: u64, bytes: u8) -> u64 {
        if let Some(at) = offset.checked_sub(CONFIG) {
            return self.read_config(at, bytes);
        }
        match self.register(offset, bytes) {
            Some(register) => u64::from(self.read_register(register)),
            None => {
                tracing::debug!(offset, bytes, "read of no virtio-mmio register");
                0
            }
        }
    }

    fn write_mmio(&mut self, offset: u64, bytes: u8, value: u64) -> Effect {
        if let Some(at) = offset.checked_sub(CONFIG) {
            return self.write_config(at, bytes, value);
        }
        match self.register(offset, bytes) {
            Some(register) => self.write_register(register, value as u32),
            None => {
                tracing::debug!(offset, bytes, value, "write to no virtio-mmio register");
                Effect::Nothing
            }
        }
    }

    /// The register at `offset`, for an access as wide as registers are.
    fn register(&self, offset: u64, bytes: u8) -> Option<Register> {
        let (_, register, interface) = REGISTERS.iter().find(|row| row.0 == offset)?;
        let present = match interface {
            Interface::Both => true,
            Interface::Modern => !self.legacy,
            Interface::Legacy => self.legacy,
        } && (*register != Register::Quirk || self.options.quirk);
        (present && bytes == 4).then_some(*register)
    }

    /// Configuration space has no alignment and no width; past its end it reads as ones.
    fn read_config(&self, at: u64, bytes: u8) -> u64 {
        let width = usize::from(bytes.min(8));
        let field = usize::try_from(at).ok().and_then(|at| self.config.get(at..)?.get(..width));
        let mut value = [0xff; 8];
        value[width..].fill(0);
        if let Some(field) = field {
            value[..width].copy_from_slice(field);
        }
        u64::from_le_bytes(value)
    }

    /// Only what the device lets its driver write changes, byte by byte.
    fn write_config(&mut self, at: u64, bytes: u8, value: u64) -> Effect {
        let mut effect = Effect::Nothing;
        let written = at..at.saturating_add(u64::from(bytes.min(8)));
        for (place, byte) in written.zip(value.to_le_bytes()) {
            if self.identity.writable.contains(&place)
                && let Some(field) = self.config.get_mut(place as usize)
            {
                *field = byte;
                effect = Effect::Configured;
            } else {
                tracing::debug!(place, byte, "write to configuration space ignored");
            }
        }
        effect
    }

    /// A byte of configuration space.
    pub fn configured(&self, at: u64) -> Option<u8> {
        self.config.get(usize::try_from(at).ok()?).copied()
    }

    fn read_register(&self, register: Register) -> u32 {
        use Register::*;
        let queue = self.queues.get(self.queue_sel as usize);
        match register {
            Magic => MAGIC,
            Version if self.legacy => 1,
            Version => 2,
            DeviceId => self.identity.device_id,
            Vendor => VENDOR,
            DeviceFeatures => half(self.offered(), self.device_features_sel),
            QueueSizeMax => queue.map_or(0, |_| u32::from(self.queue_size_max)),
            QueuePfn => queue.map_or(0, |queue| queue.pfn),
            QueueReady => queue.map_or(0, |queue| u32::from(queue.ready)),
            InterruptStatus => self.interrupt_status,
            Status => u32::from(self.status),
            ConfigGeneration => self.generation,
            // No shared memory region: length and base of all ones (virtio 1.4, 4.2.2).
            ShmLenLow | ShmLenHigh | ShmBaseLow | ShmBaseHigh => u32::MAX,
            DeviceFeaturesSel | DriverFeatures | DriverFeaturesSel | GuestPageSize | QueueSel
            | QueueSize | QueueAlign | QueueNotify | InterruptAck | QueueDescLow
            | QueueDescHigh | QueueDriverLow | QueueDriverHigh | QueueDeviceLow
            | QueueDeviceHigh | ShmSel | Quirk => {
                tracing::debug!(?register, "read of a write-only register");
                0
            }
        }
    }

    fn write_register(&mut self, register: Register, value: u32) -> Effect {
        use Register::*;
        match register {
            DeviceFeaturesSel => self.device_features_sel = value,
            DriverFeatures => self.request_features(value),
            DriverFeaturesSel => self.driver_features_sel = value,
            // QEMU takes the lowest set bit; none means no shift.
            GuestPageSize => self.page_shift = value.trailing_zeros() % u32::BITS,
            QueueSel if value < QUEUE_SELECTORS => self.queue_sel = value,
            QueueNotify if value < u32::from(self.identity.queues) => {
                return Effect::Notify(QueueIndex(value as u16));
            }
            QueuePfn if value == 0 => return self.reset(),
            InterruptAck => self.interrupt_status &= !value,
            Status => return self.set_status(value as u8),
            Quirk => self.quirk |= value == 1,
            QueueSize | QueueAlign | QueuePfn | QueueReady | QueueDescLow | QueueDescHigh
            | QueueDriverLow | QueueDriverHigh | QueueDeviceLow | QueueDeviceHigh => {
                self.set_up_queue(register, value);
            }
            QueueSel | QueueNotify | ShmSel => {}
            Magic | Version | DeviceId | Vendor | DeviceFeatures | QueueSizeMax
            | InterruptStatus | ShmLenLow | ShmLenHigh | ShmBaseLow | ShmBaseHigh
            | ConfigGeneration => {
                tracing::debug!(?register, value, "write to a read-only register");
            }
        }
        Effect::Nothing
    }

    /// The selected queue's part of the table. A queue that does not exist ignores all.
    fn set_up_queue(&mut self, register: Register, value: u32) {
        use Register::*;
        let Some(queue) = self.queues.get_mut(self.queue_sel as usize) else { return };
        match register {
            QueueSize => queue.size = value,
            QueueAlign if value.is_power_of_two() => queue.align = value,
            QueuePfn => queue.pfn = value,
            QueueReady => queue.ready = value != 0,
            QueueDescLow => set_low(&mut queue.desc, value),
            QueueDescHigh => set_high(&mut queue.desc, value),
            QueueDriverLow => set_low(&mut queue.avail, value),
            QueueDriverHigh => set_high(&mut queue.avail, value),
            QueueDeviceLow => set_low(&mut queue.used, value),
            QueueDeviceHigh => set_high(&mut queue.used, value),
            Magic | Version | DeviceId | Vendor | DeviceFeatures | DeviceFeaturesSel
            | DriverFeatures | DriverFeaturesSel | GuestPageSize | QueueSel | QueueSizeMax
            | QueueAlign | QueueNotify | InterruptStatus | InterruptAck | Status | ShmSel
            | ShmLenLow | ShmLenHigh | ShmBaseLow | ShmBaseHigh | Quirk | ConfigGeneration => {}
        }
    }

    /// A legacy driver's features count at once; a modern one's when it sets FEATURES_OK, after
    /// which they stay.
    fn request_features(&mut self, value: u32) {
        match self.driver_features_sel {
            0 => set_low(&mut self.requested, value),
            1 => set_high(&mut self.requested, value),
            _ => return,
        }
        if self.legacy {
            self.accepted = self.requested & self.offered();
        }
    }

    /// The driver writes the status register. FEATURES_OK does not stick, and nothing else of the
    /// write either, if the device lives behind the platform's translation and the driver did not
    /// accept that (QEMU's `virtio_validate_features`).
    fn set_status(&mut self, value: u8) -> Effect {
        if value == 0 {
            return self.reset();
        }
        let agrees = value & STATUS_FEATURES_OK != 0 && self.status & STATUS_FEATURES_OK == 0;
        if agrees && !self.legacy {
            self.accepted = self.requested & self.offered();
            if self.platform && !self.is_optional() && !self.has(ACCESS_PLATFORM) {
                tracing::debug!("FEATURES_OK refused: ACCESS_PLATFORM offered but not accepted");
                return Effect::StatusChanged(self.status);
            }
        }
        self.status = value;
        Effect::StatusChanged(value)
    }

    fn reset(&mut self) -> Effect {
        self.platform |= std::mem::take(&mut self.quirk);
        self.device_features_sel = 0;
        self.driver_features_sel = 0;
        self.requested = 0;
        self.accepted = 0;
        self.page_shift = 0;
        self.queue_sel = 0;
        self.queues.fill(QueueRegisters::at_reset(self.queue_size_max));
        self.interrupt_status = 0;
        self.status = 0;
        self.broken = false;
        self.config_vector = pci::NO_VECTOR;
        self.asked.clear();
        Effect::Reset
    }
}

/// What reads at `offset` of a virtio-mmio place with no device in it: a device id of 0, which a
/// driver is to ignore (virtio 1.4, 4.2.2).
pub(super) fn empty(offset: u64) -> u64 {
    match offset {
        0x000 => MAGIC.into(),
        0x004 => 2,
        _ => 0,
    }
}

/// The largest ring that the option allows: a power of two, at most QEMU's 1024.
fn ring_size(option: u16) -> NonZeroU16 {
    let size = option.clamp(1, 1024);
    NonZeroU16::new(1 << size.ilog2()).expect("a power of two is not 0")
}

/// The 32 bits of `features` that selector `select` shows.
fn half(features: u64, select: u32) -> u32 {
    match select {
        0 => features as u32,
        1 => (features >> 32) as u32,
        _ => 0,
    }
}

fn set_low(field: &mut u64, low: u32) {
    *field = *field & !u64::from(u32::MAX) | u64::from(low);
}

fn set_high(field: &mut u64, high: u32) {
    *field = *field & u64::from(u32::MAX) | u64::from(high) << 32;
}
