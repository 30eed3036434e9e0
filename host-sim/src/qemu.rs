//! QEMU: a plan's devices, plugged, and where their registers lie.

use crate::device::Device;
use crate::event::DeviceIndex;
use crate::scenario::plan::DevicePlan;
use ultravisor_abi::Gpa;
use ultravisor_abi::boot::{VIRTIO_MMIO, VIRTIO_MMIO_STRIDE};

/// Most devices of one machine.
pub const DEVICES_MAX: usize = 32;

/// Plugs the devices of `plan`, in its order: the first gets the first slot. What is past
/// [`DEVICES_MAX`] is not plugged; a checked plan has no more.
pub fn plug(plan: &[DevicePlan], seed: u64) -> Vec<Device> {
    let slots = plan.iter().take(DEVICES_MAX).zip(0_u8..);
    slots.map(|(plan, slot)| Device::new(DeviceIndex(slot), plan, seed)).collect()
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
