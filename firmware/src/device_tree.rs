//! What the flattened device tree says about this machine.
#![expect(unsafe_code, reason = "the boot protocol passes an address")]

use crate::calls::Trouble;
use core::ptr;
use fdt::Fdt;
use fdt::node::FdtNode;
use ultravisor_abi::UnitSize;
use ultravisor_abi::boot::{ULTRAVISOR_COMPATIBLE, ULTRAVISOR_UNIT_PROPERTY};

/// Most virtio-mmio devices that are looked at.
pub const DEVICES_MAX: usize = 32;

/// The registers of one virtio-mmio device.
#[derive(Clone, Copy, Debug)]
pub struct Registers {
    /// Their address.
    pub base: u64,
    /// How many bytes they are.
    pub bytes: usize,
}

/// The machine.
pub struct Machine {
    /// `/chosen/bootargs`, padding included.
    pub bootargs: &'static str,
    /// The protection unit, if there is an ultravisor.
    pub ultravisor_unit: Option<UnitSize>,
    devices: [Option<Registers>; DEVICES_MAX],
}

impl Machine {
    /// Reads the tree at `fdt`.
    ///
    /// # Errors
    /// `fdt-bad` for what is no tree, `fdt-bootargs` for one without bootargs.
    ///
    /// # Safety
    /// A whole flattened device tree lies at `fdt` and nobody changes it.
    pub unsafe fn read(fdt: u64) -> Result<Self, Trouble> {
        let start = ptr::with_exposed_provenance(fdt as usize);
        // SAFETY: the caller vouches for it.
        let tree = unsafe { Fdt::from_ptr(start) }.map_err(|_| Trouble::refused("fdt-bad"))?;
        let bootargs = tree.find_node("/chosen").and_then(|node| node.property("bootargs"));
        let bootargs = bootargs.and_then(|property| core::str::from_utf8(property.value).ok());
        let mut machine = Self {
            bootargs: bootargs.ok_or(Trouble::refused("fdt-bootargs"))?,
            ultravisor_unit: None,
            devices: [None; DEVICES_MAX],
        };
        let mut places = machine.devices.iter_mut();
        for node in tree.all_nodes() {
            if is(node, "virtio,mmio")
                && let Some(place) = places.next()
            {
                *place = registers(node);
            } else if is(node, ULTRAVISOR_COMPATIBLE) {
                machine.ultravisor_unit = unit(node);
            }
        }
        Ok(machine)
    }

    /// The virtio-mmio devices, in the tree's order.
    pub fn devices(&self) -> impl Iterator<Item = Registers> {
        self.devices.iter().flatten().copied()
    }
}

fn is(node: FdtNode<'_, '_>, compatible: &str) -> bool {
    node.compatible().is_some_and(|list| list.all().any(|entry| entry == compatible))
}

fn registers(node: FdtNode<'_, '_>) -> Option<Registers> {
    let region = node.reg()?.next()?;
    Some(Registers { base: region.starting_address as u64, bytes: region.size? })
}

fn unit(node: FdtNode<'_, '_>) -> Option<UnitSize> {
    UnitSize::from_bytes(node.property(ULTRAVISOR_UNIT_PROPERTY)?.as_usize()? as u64)
}
