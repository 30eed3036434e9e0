//! What the flattened device tree says about this machine.
#![expect(unsafe_code, reason = "the boot protocol passes an address")]

use crate::calls::Trouble;
use core::ptr;
use fdt::Fdt;
use fdt::node::FdtNode;
use ultravisor_abi::UnitSize;
use ultravisor_abi::boot::{ULTRAVISOR_COMPATIBLE, ULTRAVISOR_UNIT_PROPERTY};

/// Most virtio devices that are looked at.
pub const DEVICES_MAX: usize = 32;

/// A stretch of RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its first byte.
    pub base: u64,
    /// How many bytes it has.
    pub bytes: u64,
}

/// A device's window in its IOMMU (PAPR, `ibm,my-dma-window`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaWindow {
    /// The logical I/O bus number: which TCE table.
    pub liobn: u64,
    /// Its first I/O address.
    pub start: u64,
    /// How many bytes it has.
    pub bytes: u64,
}

/// How a device is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// By registers in memory that the tree names.
    Mmio,
    /// As a PCI function: the tree names its configuration space.
    Pci,
}

/// What the tree says about one virtio device.
#[derive(Clone, Copy, Debug)]
pub struct Registers {
    /// How it is reached.
    pub bus: Bus,
    /// The address of its registers, or of its configuration space.
    pub base: u64,
    /// How many bytes they are.
    pub bytes: usize,
    /// Its DMA window, if an IOMMU is described for it.
    pub window: Option<DmaWindow>,
    /// The pool of its own that the firmware reserved (`memory-region`, `restricted-dma-pool`).
    pub pool: Option<Region>,
    /// The only memory that it reaches (`dma-ranges`), if that is not all.
    pub range: Option<Region>,
    /// Its input of the I/O APIC, if the tree tells of one.
    pub input: Option<u32>,
}

/// The machine.
pub struct Machine {
    /// `/chosen/bootargs`, padding included.
    pub bootargs: &'static str,
    /// The protection unit, if there is an ultravisor.
    pub ultravisor_unit: Option<UnitSize>,
    /// The whole tree.
    pub tree: &'static [u8],
    /// Where the lowest memory begins that is set aside for devices.
    pub reserved_start: Option<u64>,
    devices: [Option<Registers>; DEVICES_MAX],
}

impl Machine {
    /// Reads the tree at `fdt`. Allocates nothing.
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
        // SAFETY: the same bytes.
        let bytes = unsafe { core::slice::from_raw_parts(start, tree.total_size()) };
        let bootargs = tree.find_node("/chosen").and_then(|node| node.property("bootargs"));
        let bootargs = bootargs.and_then(|property| core::str::from_utf8(property.value).ok());
        let mut machine = Self {
            bootargs: bootargs.ok_or(Trouble::refused("fdt-bootargs"))?,
            ultravisor_unit: None,
            tree: bytes,
            reserved_start: None,
            devices: [None; DEVICES_MAX],
        };
        let pools = Pools::read(&tree);
        machine.reserved_start = pools.lowest;
        let mut places = machine.devices.iter_mut();
        let mut bridge = None;
        for node in tree.all_nodes() {
            if is(node, "virtio,mmio")
                && let Some(place) = places.next()
            {
                *place = registers(node, &pools);
            } else if is(node, ULTRAVISOR_COMPATIBLE) {
                machine.ultravisor_unit = unit(node);
            } else if is(node, "pci-host-ecam-generic") {
                bridge = Bridge::read(node);
            } else if node.name.starts_with("virtio@")
                && let Some(bridge) = &bridge
                && let Some(place) = places.next()
            {
                *place = bridge.function(node, &pools);
            }
        }
        Ok(machine)
    }

    /// The virtio devices, in the tree's order.
    pub fn devices(&self) -> impl Iterator<Item = Registers> {
        self.devices.iter().flatten().copied()
    }
}

/// `/reserved-memory`: pools by their handles, which device nodes name.
struct Pools {
    pools: [Option<(u32, Region)>; DEVICES_MAX],
    lowest: Option<u64>,
}

impl Pools {
    fn read(tree: &Fdt<'_>) -> Self {
        let mut found = Self { pools: [None; DEVICES_MAX], lowest: None };
        let mut places = found.pools.iter_mut();
        let parent = tree.find_node("/reserved-memory");
        for node in parent.iter().flat_map(|parent| parent.children()) {
            let Some([base, bytes]) = numbers(node, "reg") else { continue };
            found.lowest = Some(found.lowest.unwrap_or(base).min(base));
            if is(node, "restricted-dma-pool")
                && let Some(handle) = first_cell(node, "phandle")
                && let Some(place) = places.next()
            {
                *place = Some((handle, Region { base, bytes }));
            }
        }
        found
    }

    fn by_handle(&self, wanted: u32) -> Option<Region> {
        let known = self.pools.iter().flatten().find(|(handle, _)| *handle == wanted);
        known.map(|(_, region)| *region)
    }
}

/// A PCI host bridge (kernel `Documentation/devicetree/bindings/pci/host-generic-pci.yaml`).
struct Bridge {
    /// The address of configuration space.
    configuration: u64,
    /// The only memory that its functions reach, if that is not all.
    range: Option<Region>,
}

impl Bridge {
    fn read(node: FdtNode<'_, '_>) -> Option<Self> {
        let [configuration, _] = numbers(node, "reg")?;
        // Addresses on the bus have one cell more: of which kind they are.
        let range = value(node, "dma-ranges").and_then(|ranges| same(ranges.get(4..)?));
        Some(Self { configuration, range })
    }

    /// The function that `node` tells of (IEEE 1275, PCI bus binding, 2.2.1.1: bus, device and
    /// function number stand in bits 8 to 23 of the first cell of `reg`).
    fn function(&self, node: FdtNode<'_, '_>, pools: &Pools) -> Option<Registers> {
        const BYTES: usize = 0x1000;
        let number = u64::from(first_cell(node, "reg")? >> 8 & 0xffff);
        Some(Registers {
            bus: Bus::Pci,
            base: self.configuration + number * BYTES as u64,
            bytes: BYTES,
            window: window(node),
            pool: pool(node, pools),
            range: self.range,
            // It interrupts by message.
            input: None,
        })
    }
}

fn is(node: FdtNode<'_, '_>, compatible: &str) -> bool {
    node.compatible().is_some_and(|list| list.all().any(|entry| entry == compatible))
}

fn registers(node: FdtNode<'_, '_>, pools: &Pools) -> Option<Registers> {
    let region = node.reg()?.next()?;
    Some(Registers {
        bus: Bus::Mmio,
        base: region.starting_address as u64,
        bytes: region.size?,
        window: window(node),
        pool: pool(node, pools),
        range: value(node, "dma-ranges").and_then(same),
        // The input, then how it is triggered.
        input: first_cell(node, "interrupts"),
    })
}

/// The pool that `memory-region` names.
fn pool(node: FdtNode<'_, '_>, pools: &Pools) -> Option<Region> {
    first_cell(node, "memory-region").and_then(|handle| pools.by_handle(handle))
}

/// `dma-ranges`: bus and CPU addresses of what is described are the same here.
fn same(ranges: &[u8]) -> Option<Region> {
    let [bus, base, bytes] = wide(ranges)?;
    (bus == base).then_some(Region { base, bytes })
}

/// `ibm,my-dma-window`: the bus number, then start and size of two cells each.
fn window(node: FdtNode<'_, '_>) -> Option<DmaWindow> {
    let (liobn, rest) = value(node, "ibm,my-dma-window")?.split_first_chunk()?;
    let [start, bytes] = wide(rest)?;
    Some(DmaWindow { liobn: u32::from_be_bytes(*liobn).into(), start, bytes })
}

/// The first `N` numbers of two cells each.
fn wide<const N: usize>(value: &[u8]) -> Option<[u64; N]> {
    let (words, _) = value.as_chunks::<8>();
    Some(words.first_chunk::<N>()?.map(u64::from_be_bytes))
}

fn numbers<const N: usize>(node: FdtNode<'_, '_>, name: &str) -> Option<[u64; N]> {
    wide(value(node, name)?)
}

fn first_cell(node: FdtNode<'_, '_>, name: &str) -> Option<u32> {
    Some(u32::from_be_bytes(*value(node, name)?.first_chunk()?))
}

#[inline(never)] // once for all: the image is to stay small
fn value<'tree>(node: FdtNode<'_, 'tree>, name: &str) -> Option<&'tree [u8]> {
    Some(node.property(name)?.value)
}

fn unit(node: FdtNode<'_, '_>) -> Option<UnitSize> {
    UnitSize::from_bytes(first_cell(node, ULTRAVISOR_UNIT_PROPERTY)?.into())
}
