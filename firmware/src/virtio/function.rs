//! A PCI function: what its configuration space says of the registers that lie in memory, and the
//! message that it interrupts with.
#![expect(unsafe_code, reason = "the library's trait has an unsafe function, which does nothing")]

use crate::registers::{load, store};
use ultravisor_abi::boot::{LOCAL_APIC, PCI_MEMORY, PCI_MEMORY_END};
use virtio_drivers::transport::pci::bus::{
    CapabilityInfo, ConfigurationAccess, DeviceFunction, PCI_CAP_ID_VNDR, PciRoot,
};
use virtio_drivers::transport::pci::{
    VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_CAP_NOTIFY_CFG, VIRTIO_VENDOR_ID,
};

/// What `PciRoot` is asked about: a [`Function`] has but one function in it.
pub const ITSELF: DeviceFunction = DeviceFunction { bus: 0, device: 0, function: 0 };

/// A modern virtio device's number is this much less than its device ID (virtio 1.4, 4.1.2).
const DEVICE_ID_OFFSET: u32 = 0x1040;
/// The first base address register (PCI Local Bus 3.0, 6.1).
const BASE_ADDRESS: u64 = 0x10;
/// In a base address register: the next one holds the upper half (6.2.5.1).
const WIDE: u32 = 1 << 2;
/// Capability ID of MSI-X (6.8.2).
const MSI_X: u8 = 0x11;

/// The configuration space of one function, at this address.
#[derive(Clone, Copy, Debug)]
pub struct Function(pub u64);

impl Function {
    /// The number of the virtio device that it is, if it is there and one.
    pub fn virtio_id(self) -> Option<u32> {
        let ids = self.word(0);
        let known = ids & 0xffff == u32::from(VIRTIO_VENDOR_ID);
        (ids >> 16).checked_sub(DEVICE_ID_OFFSET).filter(|_| known)
    }

    /// Where its common configuration structure lies.
    pub fn common(self) -> Option<u64> {
        self.structure(VIRTIO_PCI_CAP_COMMON_CFG).map(|(_, address)| address)
    }

    /// Where its notification structure lies, and what a queue's offset is multiplied by (virtio
    /// 1.4, 4.1.4.4).
    pub fn notifications(self) -> Option<(u64, u32)> {
        const MULTIPLIER: u64 = 16;
        let (capability, address) = self.structure(VIRTIO_PCI_CAP_NOTIFY_CFG)?;
        Some((address, self.word(capability + MULTIPLIER)))
    }

    /// Has it interrupt by messages, the first of which is `vector` to this processor. Nothing if it
    /// cannot.
    pub fn send_messages(self, vector: u8) -> Option<()> {
        const ENABLE: u32 = 1 << 31;
        const MASK_ALL: u32 = 1 << 30;
        let capability = self.capability(|found| found.id == MSI_X)?;
        let table = self.word(capability + 4);
        let entry = self.memory(table & 7, table & !7)?;
        // Address, data, and a mask that is off (PCI Local Bus 3.0, 6.8.2.6 to 6.8.2.9).
        for (at, value) in [(0, LOCAL_APIC.0 as u32), (4, 0), (8, u32::from(vector)), (12, 0)] {
            store(entry + at, value);
        }
        store(self.0 + capability, self.word(capability) & !MASK_ALL | ENABLE);
        Some(())
    }

    /// The capability of virtio's that tells of a structure of `kind`, and where that lies (virtio
    /// 1.4, 4.1.4).
    fn structure(self, kind: u8) -> Option<(u64, u64)> {
        let capability = self.capability(|found| {
            found.id == PCI_CAP_ID_VNDR && found.private_header >> 8 == u16::from(kind)
        })?;
        let bar = self.word(capability + 4);
        Some((capability, self.memory(bar & 7, self.word(capability + 8))?))
    }

    /// Where in configuration space the first capability is of which `is` says so.
    fn capability(self, is: impl FnMut(&CapabilityInfo) -> bool) -> Option<u64> {
        PciRoot::new(self).capabilities(ITSELF).find(is).map(|found| found.offset.into())
    }

    /// The address of byte `offset` of the memory that base address register `index` tells of. A host
    /// that puts it where no function's memory may lie is not followed there.
    fn memory(self, index: u32, offset: u32) -> Option<u64> {
        let register = BASE_ADDRESS + 4 * u64::from(index);
        let low = self.word(register);
        let high = if low & WIDE == 0 { 0 } else { self.word(register + 4) };
        let start = u64::from(high) << 32 | u64::from(low & !0xf);
        let address = start.wrapping_add(offset.into());
        is_function_memory(address).then_some(address)
    }

    fn word(self, register: u64) -> u32 {
        load(self.0 + register)
    }
}

/// Whether functions' memory may lie at `address`.
pub fn is_function_memory(address: u64) -> bool {
    (PCI_MEMORY.0..PCI_MEMORY_END.0).contains(&address)
}

impl ConfigurationAccess for Function {
    fn read_word(&self, _itself: DeviceFunction, register: u8) -> u32 {
        self.word(register.into())
    }

    fn write_word(&mut self, _itself: DeviceFunction, register: u8, value: u32) {
        store(self.0 + u64::from(register), value);
    }

    unsafe fn unsafe_clone(&self) -> Self {
        *self
    }
}
