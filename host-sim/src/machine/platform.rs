//! What QEMU settles while the guest runs: where devices' addresses lead, who is plugged, and what
//! it does when it is told that the VM has become secure.

use super::Machine;
use crate::device::Device;
use crate::event::{DeviceIndex, Event};
use crate::fdt::Reserved;
use crate::loader;
use crate::pc::PciBus;
use crate::scenario::plan::{Plan, Transport};
use ultravisor::platform::RamRange;

/// What the devices behind bit 33 are limited to. The loader has told by now if it does not fit.
pub(super) fn limit(plan: &Plan) -> Option<RamRange> {
    match loader::reserved(&plan.machine, plan.devices.len()) {
        Ok(Reserved::DmaRange(range)) => Some(range),
        Ok(Reserved::Nothing | Reserved::Pools(_)) | Err(_) => None,
    }
}

impl Machine<'_> {
    /// What holds before the guest's first instruction. A VM that is never to become secure has no
    /// switch to wait for: what is plugged after it is there from the start.
    pub(super) fn power_on(&mut self) {
        if self.plan.machine.transport == Transport::Pci {
            self.pc.pci = PciBus::new(self.devices.iter().flatten().map(Device::identity));
        }
        for slot in self.slots() {
            if !self.plan.guest.secure {
                self.device_mut(slot).plug();
            }
            self.settle_dma(slot);
            self.show(slot);
        }
    }

    /// Its function is on the bus if the device is plugged.
    fn show(&mut self, index: DeviceIndex) {
        let is_plugged = self.device(index).is_plugged();
        self.pc.pci.set_present(usize::from(index.0), is_plugged);
    }

    /// Settles where a device's addresses lead, after whatever may have changed that.
    pub(super) fn settle_dma(&mut self, index: DeviceIndex) {
        let dma = self.device(index).dma(self.plan.machine.iommu, self.limit);
        self.host.set_dma(index, dma);
    }

    /// A device was reset: what was known of its addresses is forgotten, and with a virtio-iommu
    /// go its domains.
    pub(super) fn forget_dma(&mut self, index: DeviceIndex) {
        if let Some(iotlb) = self.host.hv.iommus.iotlb(index) {
            iotlb.forget_all();
        }
        if self.device(index).iommu_bypass().is_some() {
            self.host.hv.iommus.domains.reset();
        }
    }

    /// The driver wrote into a device's configuration.
    pub(super) fn configured(&mut self, index: DeviceIndex) {
        if let Some(bypass) = self.device(index).iommu_bypass() {
            self.host.hv.iommus.domains.set_bypass(bypass);
        }
    }

    /// The VM has become secure. If the hypervisor tells QEMU, it walks the devices that are
    /// plugged and turns `iommu_platform` on; what a driver has set up by then is not asked. Then
    /// the devices come that were to come after the switch, as they are.
    pub(super) fn became_secure(&mut self) {
        for index in self.slots() {
            if self.plan.machine.flips_at_esm && self.device_mut(index).turn_platform_on() {
                self.settle_dma(index);
                self.host.hv.recorder.push(Event::Flip { device: index });
            }
        }
        for device in self.slots() {
            if self.device_mut(device).plug() {
                self.show(device);
                self.host.hv.recorder.push(Event::Plugged { device });
            }
        }
    }

    /// The devices' places.
    pub(super) fn slots(&self) -> impl Iterator<Item = DeviceIndex> + use<> {
        (0_u8..).map(DeviceIndex).take(self.devices.len())
    }
}
