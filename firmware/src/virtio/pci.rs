//! `virtio-drivers`' transport over PCI, with what it leaves out: interrupts by message, and a
//! queue's doorbell looked up once instead of at each notification.

use crate::interrupts;
use crate::registers::{load, store};
use crate::virtio::function::{Function, ITSELF, is_function_memory};
use crate::virtio::hal::DeviceHal;
use virtio_drivers::PhysAddr;
use virtio_drivers::transport::Transport as _;
use virtio_drivers::transport::pci::PciTransport;
use virtio_drivers::transport::pci::bus::PciRoot;

/// Fields of the common configuration structure (virtio 1.4, 4.1.4.3).
mod common {
    pub const STATUS: u64 = 0x14;
    pub const QUEUE_SELECT: u64 = 0x16;
    pub const QUEUE_VECTOR: u64 = 0x1a;
    pub const QUEUE_NOTIFY_OFFSET: u64 = 0x1e;
}

/// What a device answers that could not take a vector.
const NO_VECTOR: u16 = 0xffff;
/// No driver here has more queues.
const QUEUES_MAX: usize = 4;

/// A virtio device that is a PCI function.
pub struct Pci {
    /// What `virtio-drivers` does of it.
    pub transport: PciTransport,
    common: u64,
    /// Where each queue is notified; 0: nowhere.
    doorbells: [u64; QUEUES_MAX],
    notifications: (u64, u32),
    /// Whether it interrupts by message.
    messages: bool,
}

/// Where the status of the virtio device `function` is, a byte.
pub fn status_register(function: Function) -> Option<u64> {
    Some(function.common()? + common::STATUS)
}

impl Pci {
    /// The transport of `function`; it is to interrupt by message if this guest sleeps. Nothing if
    /// it lacks something of what virtio 1.4, 4.1.4, says that it has.
    pub fn new(function: Function) -> Option<Self> {
        let (common, notifications) = (function.common()?, function.notifications()?);
        // Whose platform is asked for the addresses of registers does not matter.
        let transport = PciTransport::new::<DeviceHal<0>, _>(&mut PciRoot::new(function), ITSELF);
        let messages =
            interrupts::are_on() && function.send_messages(interrupts::MESSAGE).is_some();
        Some(Self {
            transport: transport.ok()?,
            common,
            notifications,
            doorbells: [0; QUEUES_MAX],
            messages,
        })
    }

    /// Notifies the device of `queue`, which was set.
    pub fn notify(&mut self, queue: u16) {
        if let Some(doorbell) = self.doorbells.get(usize::from(queue)).filter(|bell| **bell != 0) {
            store(*doorbell, queue);
        }
    }

    /// Sets `queue` up, with the vector of its interrupt. Whether the device took that.
    pub fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        [table, avail, used]: [PhysAddr; 3],
    ) -> bool {
        store(self.common + common::QUEUE_SELECT, queue);
        if let Some(doorbell) = self.doorbells.get_mut(usize::from(queue)) {
            let offset: u16 = load(self.common + common::QUEUE_NOTIFY_OFFSET);
            let (address, multiplier) = self.notifications;
            let bell = address.wrapping_add(u64::from(offset) * u64::from(multiplier));
            // A host that says that it is elsewhere is not followed there.
            *doorbell = if is_function_memory(bell) { bell } else { 0 };
        }
        if interrupts::are_on() {
            store(self.common + common::QUEUE_VECTOR, 0_u16);
            let taken: u16 = load(self.common + common::QUEUE_VECTOR);
            if !self.messages || taken == NO_VECTOR {
                return false;
            }
        }
        self.transport.queue_set(queue, size, table, avail, used);
        true
    }
}
