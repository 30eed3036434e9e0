//! QEMU: a plan's devices, where their registers lie, and what lies between them and guest memory.

use crate::device::Device;
use crate::event::DeviceIndex;
use crate::iommu::tce::Tces;
use crate::iommu::{self, Iommus};
use crate::scenario::plan::{DevicePlan, Iommu, MachinePlan, Transport};
use ultravisor_abi::Gpa;
use ultravisor_abi::boot::{VIRTIO_MMIO, VIRTIO_MMIO_STRIDE};

/// Most devices of one machine.
pub const DEVICES_MAX: usize = 32;

/// The devices of `plan`, in its order: the first gets the first slot. What is past
/// [`DEVICES_MAX`] is left out; a checked plan has no more.
pub fn plug(plan: &[DevicePlan], over: Transport, seed: u64) -> Vec<Device> {
    let slots = plan.iter().take(DEVICES_MAX).zip(0_u8..);
    slots.map(|(plan, slot)| Device::new(DeviceIndex(slot), plan, over, seed)).collect()
}

/// The IOMMU of a machine with these devices. A virtio-iommu is a device itself, in the slot after
/// the last, and an endpoint is a slot.
pub fn add_iommu(machine: &MachinePlan, devices: &mut Vec<Device>) -> Iommus {
    let slots = devices.len();
    let tces = match machine.iommu {
        Iommu::Tce => Some(Tces::new(slots, iommu::window_bytes(machine.memory_bytes))),
        Iommu::Absent => None,
        Iommu::VirtioIommu => {
            let index = u8::try_from(slots).unwrap_or(u8::MAX);
            devices.push(Device::virtio_iommu(DeviceIndex(index), machine.transport));
            None
        }
    };
    Iommus::new(slots, tces)
}

/// Where the registers of device `index` begin.
pub fn slot(index: DeviceIndex) -> Gpa {
    Gpa(VIRTIO_MMIO.0 + u64::from(index.0) * VIRTIO_MMIO_STRIDE)
}

/// Which of `devices` plugged devices has a register at `gpa`, and at which offset.
pub fn device_at(devices: usize, gpa: Gpa) -> Option<(DeviceIndex, u64)> {
    let offset = gpa.0.checked_sub(VIRTIO_MMIO.0)?;
    let index = u8::try_from(offset / VIRTIO_MMIO_STRIDE).ok()?;
    (usize::from(index) < devices).then_some((DeviceIndex(index), offset % VIRTIO_MMIO_STRIDE))
}
