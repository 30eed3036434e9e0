//! How the DMA state comes to be: at boot, when the guest becomes secure, when a driver comes to
//! its device or leaves it, and when another kernel takes over.

use crate::bootargs::BootArgs;
use crate::calls::Trouble;
use crate::device_tree::{Machine, Region, Registers};
use crate::dma::ask::tree_is_at;
use crate::dma::decide::{Life, installed};
use crate::dma::in_place::InPlace;
use crate::dma::state::{Area, DMA, Device};
use crate::dma::tce::{Space, Writer};
use crate::kernel::{Kernel, Ops};
use crate::secure::share;
use ultravisor_abi::{Gpa, UnitSize};

/// Sets up what the kernel was built to do. Its pools get their places, not yet shared.
///
/// # Errors
/// `swiotlb-size` if the pool's size is no whole number of sets.
pub fn init(args: &BootArgs, machine: &Machine) -> Result<(), Trouble> {
    tree_is_at(machine.tree);
    DMA.with(|dma| {
        dma.firmware = false;
        dma.kernel = args.kernel;
        dma.rings = args.rings;
        dma.writer = Writer::new(args.tce, machine.ultravisor_unit);
        match args.kernel.ops {
            Ops::Iommu => (),
            Ops::LimitedRange | Ops::RestrictedPool => {
                for registers in machine.devices() {
                    if let Some(region) = described(args.kernel.ops, &registers) {
                        dma.area_at(region);
                    }
                }
            }
            // No slots, only rings.
            Ops::ShareInPlace if args.secure => dma.new_area(0, machine.ultravisor_unit)?,
            Ops::Swiotlb
            | Ops::SwiotlbMapped
            | Ops::SwiotlbOverIommu
            | Ops::DataDirect
            | Ops::PayloadDirect
                if args.secure =>
            {
                dma.new_area(args.swiotlb_bytes, machine.ultravisor_unit)?;
            }
            Ops::ShareInPlace
            | Ops::Swiotlb
            | Ops::SwiotlbMapped
            | Ops::SwiotlbOverIommu
            | Ops::DataDirect
            | Ops::PayloadDirect => (),
        }
        Ok(())
    })
}

/// Boot firmware that knows the TCE IOMMU: accepts bit 33 and maps what it gives the device.
pub fn init_firmware_with_iommu() {
    DMA.with(|dma| dma.kernel = Kernel::LINUX_2018);
}

/// The guest is secure: shares the areas, one call each, and maps them 1:1 if the kernel does.
/// A kernel that took over from another does it again.
///
/// # Errors
/// What sharing ends in.
pub fn became_secure(machine: &Machine, unit: UnitSize) -> Result<(), Trouble> {
    DMA.with(|dma| {
        dma.life = Life::Secure;
        for Area { region, .. } in &dma.areas {
            let bytes = region.bytes.next_multiple_of(unit.bytes());
            share(unit, Gpa(region.base), bytes)?;
        }
        if dma.kernel.ops == Ops::ShareInPlace && dma.in_place.is_none() {
            dma.in_place = Some(InPlace::new(unit));
        }
        let windows = || machine.devices().filter_map(|registers| registers.window);
        if windows().next().is_some() {
            dma.writer.became_secure(unit)?;
        }
        if dma.kernel.ops == Ops::SwiotlbMapped {
            for window in windows() {
                for Area { region, .. } in &dma.areas {
                    dma.writer.map_one_to_one(window, region.base, region.bytes);
                }
            }
        }
        Ok(())
    })
}

/// Every device was reset, or will be by those who take over: nothing that was lent still is.
/// Ring memory of the old drivers stays where it is; nobody uses it again.
pub fn restart() {
    DMA.with(|dma| {
        for device in &mut dma.devices {
            if let Some(space) = &mut device.space {
                space.unmap_all(&dma.writer);
            }
            *device = Device::UNKNOWN;
        }
        for area in &mut dma.areas {
            *area = Area::new(area.region);
        }
        if let Some(in_place) = &mut dma.in_place {
            in_place.forget();
        }
        dma.note_work();
    });
}

/// Which region `ops` would use for a device, as the FDT describes it.
fn described(ops: Ops, registers: &Registers) -> Option<Region> {
    match ops {
        Ops::LimitedRange => registers.range,
        Ops::RestrictedPool => registers.pool,
        Ops::Iommu
        | Ops::Swiotlb
        | Ops::SwiotlbMapped
        | Ops::SwiotlbOverIommu
        | Ops::ShareInPlace
        | Ops::DataDirect
        | Ops::PayloadDirect => None,
    }
}

/// A driver is about to drive the device at `registers`; nothing is decided for it yet.
pub fn attach(device: usize, registers: &Registers) {
    DMA.with(|dma| {
        if let Some(space) = &mut dma.devices[device].space {
            space.unmap_all(&dma.writer);
        }
        let region = described(dma.kernel.ops, registers);
        dma.devices[device] = Device {
            ops: installed(dma.kernel.ops, region.is_some()),
            space: registers.window.map(Space::new),
            area: region.map_or(0, |region| dma.area_at(region)),
            ..Device::UNKNOWN
        };
    });
}

/// The device was reset and its driver is gone: its mappings end.
pub fn detach(device: usize) {
    DMA.with(|dma| {
        if let Some(space) = &mut dma.devices[device].space {
            space.unmap_all(&dma.writer);
        }
    });
}
