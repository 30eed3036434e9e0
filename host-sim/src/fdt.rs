//! The flattened device tree that a guest starts with.
//!
//! The node `ibm,ultravisor` is there if and only if the guest is to call an ultravisor: it is what a
//! platform hook looks at. (A real one is there for every VM of such a host.) Bootargs are padded to a fixed length, so that a choice made there
//! never moves another byte of the tree.

use crate::iommu;
use thiserror::Error;
use ultravisor::platform::RamRange;
use ultravisor_abi::UnitSize;
use ultravisor_abi::boot::{
    BOOTARGS_BYTES, FDT, FDT_END, HIGH_RAM, IO_APIC, LOCAL_APIC, LOW_RAM_END, PCI_ECAM,
    PCI_ECAM_BYTES, PCI_MEMORY, PCI_MEMORY_END, ULTRAVISOR_COMPATIBLE, ULTRAVISOR_NODE,
    ULTRAVISOR_UNIT_PROPERTY, VIRTIO_INPUT, VIRTIO_INPUTS, VIRTIO_MMIO, VIRTIO_MMIO_STRIDE,
};
use vm_fdt::FdtWriter;

/// Most bytes that the tree may have.
const ROOM_BYTES: usize = (FDT_END.0 - FDT.0) as usize;

/// What is reserved for devices that reach only a part of memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reserved {
    /// Nothing.
    #[default]
    Nothing,
    /// One range that every device is limited to; bus addresses are physical ones.
    DmaRange(RamRange),
    /// A pool for each device, in the order of the devices (kernel
    /// `Documentation/devicetree/bindings/reserved-memory`, `restricted-dma-pool`).
    Pools(Vec<RamRange>),
}

impl Reserved {
    fn ranges(&self) -> &[RamRange] {
        match self {
            Self::Nothing => &[],
            Self::DmaRange(range) => std::slice::from_ref(range),
            Self::Pools(pools) => pools,
        }
    }
}

/// What the tree says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FdtSpec {
    /// Guest RAM in bytes.
    pub memory_bytes: u64,
    /// The protection unit, if there is an ultravisor.
    pub ultravisor_unit: Option<UnitSize>,
    /// How many virtio devices there are.
    pub devices: usize,
    /// Whether they are PCI functions; else they are reached by memory-mapped registers.
    pub pci: bool,
    /// `/chosen/bootargs`, without its padding.
    pub bootargs: String,
    /// Whether it tells of the interrupt controllers and of the devices' inputs.
    pub interrupts: bool,
    /// Bytes of each device's DMA window, if the machine has TCE tables.
    pub dma_window_bytes: Option<u64>,
    /// What is reserved.
    pub reserved: Reserved,
    /// How many nodes there are at least, the root included: the tree is filled up with nodes that
    /// mean nothing, half of them before the ultravisor's.
    pub nodes_min: u32,
}

impl FdtSpec {
    /// Nodes that mean something.
    fn nodes(&self) -> usize {
        // The root, chosen, memory, cpus and one CPU.
        const ALWAYS: usize = 5;
        let reserved = match self.reserved.ranges().len() {
            0 => 0,
            ranges => 1 + ranges,
        };
        let controllers = if self.interrupts { 2 } else { 0 };
        let ultravisor = usize::from(self.ultravisor_unit.is_some());
        ALWAYS + ultravisor + reserved + controllers + usize::from(self.pci) + self.devices
    }

    /// Nodes that mean nothing.
    fn fillers(&self) -> usize {
        (self.nodes_min as usize).saturating_sub(self.nodes())
    }
}

/// Why there is no tree.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FdtError {
    /// They do not fit with their terminator.
    #[error("bootargs have {bytes} bytes, at most {} fit", BOOTARGS_BYTES - 1)]
    BootargsTooLong {
        /// How many there are.
        bytes: usize,
    },
    /// A NUL would end them early.
    #[error("bootargs contain a NUL")]
    BootargsNul,
    /// The tree does not fit where the boot protocol puts it.
    #[error("the device tree has {bytes} bytes, at most {ROOM_BYTES} fit")]
    TooLarge {
        /// How many it has.
        bytes: usize,
    },
    /// The writer refused; a bug of ours.
    #[error("the device tree could not be written: {0}")]
    Writer(String),
}

impl From<vm_fdt::Error> for FdtError {
    fn from(error: vm_fdt::Error) -> Self {
        Self::Writer(error.to_string())
    }
}

/// Builds the tree.
///
/// # Errors
/// See [`FdtError`].
pub fn build(spec: &FdtSpec) -> Result<Vec<u8>, FdtError> {
    let bootargs = padded(&spec.bootargs)?;
    // Each device has a node of more bytes than this: no need to build what cannot fit.
    const NODE_BYTES_MIN: usize = 64;
    let nodes = spec.devices.saturating_add(spec.nodes_min as usize);
    let least_bytes = nodes.saturating_mul(NODE_BYTES_MIN);
    if least_bytes > ROOM_BYTES {
        return Err(FdtError::TooLarge { bytes: least_bytes });
    }
    let mut fdt = FdtWriter::new()?;
    let root = fdt.begin_node("")?;
    fdt.property_u32("#address-cells", 2)?;
    fdt.property_u32("#size-cells", 2)?;
    fdt.property_string("compatible", "uvsim")?;
    fdt.property_string("model", "uvsim")?;
    chosen(&mut fdt, &bootargs)?;
    memory(&mut fdt, spec.memory_bytes)?;
    cpus(&mut fdt)?;
    reserved_memory(&mut fdt, &spec.reserved)?;
    if spec.interrupts {
        controllers(&mut fdt)?;
    }
    let fillers = spec.fillers() as u64;
    (0..fillers / 2).try_for_each(|number| filler(&mut fdt, number))?;
    if let Some(unit) = spec.ultravisor_unit {
        ultravisor(&mut fdt, unit)?;
    }
    (fillers / 2..fillers).try_for_each(|number| filler(&mut fdt, number))?;
    if spec.pci {
        pci(&mut fdt, spec)?;
    } else {
        (0..spec.devices).try_for_each(|slot| virtio_mmio(&mut fdt, spec, slot))?;
    }
    fdt.end_node(root)?;
    let tree = fdt.finish()?;
    if tree.len() > ROOM_BYTES {
        return Err(FdtError::TooLarge { bytes: tree.len() });
    }
    Ok(tree)
}

fn padded(bootargs: &str) -> Result<[u8; BOOTARGS_BYTES], FdtError> {
    let mut bytes = [0; BOOTARGS_BYTES];
    if bootargs.len() >= BOOTARGS_BYTES {
        return Err(FdtError::BootargsTooLong { bytes: bootargs.len() });
    }
    if bootargs.contains('\0') {
        return Err(FdtError::BootargsNul);
    }
    bytes[..bootargs.len()].copy_from_slice(bootargs.as_bytes());
    Ok(bytes)
}

fn chosen(fdt: &mut FdtWriter, bootargs: &[u8]) -> Result<(), vm_fdt::Error> {
    let node = fdt.begin_node("chosen")?;
    fdt.property("bootargs", bootargs)?;
    fdt.end_node(node)
}

fn memory(fdt: &mut FdtWriter, memory_bytes: u64) -> Result<(), vm_fdt::Error> {
    let low_bytes = memory_bytes.min(LOW_RAM_END.0);
    let high_bytes = memory_bytes - low_bytes;
    let mut regions = vec![0, low_bytes];
    if high_bytes > 0 {
        regions.extend([HIGH_RAM.0, high_bytes]);
    }
    let node = fdt.begin_node("memory@0")?;
    fdt.property_string("device_type", "memory")?;
    fdt.property_array_u64("reg", &regions)?;
    fdt.end_node(node)
}

fn cpus(fdt: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
    let cpus = fdt.begin_node("cpus")?;
    fdt.property_u32("#address-cells", 1)?;
    fdt.property_u32("#size-cells", 0)?;
    let cpu = fdt.begin_node("cpu@0")?;
    fdt.property_string("device_type", "cpu")?;
    fdt.property_u32("reg", 0)?;
    fdt.end_node(cpu)?;
    fdt.end_node(cpus)
}

fn ultravisor(fdt: &mut FdtWriter, unit: UnitSize) -> Result<(), vm_fdt::Error> {
    let node = fdt.begin_node(ULTRAVISOR_NODE)?;
    fdt.property_string("compatible", ULTRAVISOR_COMPATIBLE)?;
    // A unit has at most 2 MiB: its size fits a cell.
    fdt.property_u32(ULTRAVISOR_UNIT_PROPERTY, unit.bytes() as u32)?;
    fdt.end_node(node)
}

/// The handle of the I/O APIC.
const IO_APIC_PHANDLE: u32 = 0x100;

/// The interrupt controllers (kernel `Documentation/devicetree/bindings/interrupt-controller`,
/// `intel,ce4100-ioapic` and `intel,ce4100-lapic`).
fn controllers(fdt: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
    for (at, kind) in [(IO_APIC, "ioapic"), (LOCAL_APIC, "lapic")] {
        let node = fdt.begin_node(&format!("interrupt-controller@{:x}", at.0))?;
        fdt.property_string("compatible", &format!("intel,ce4100-{kind}"))?;
        fdt.property_array_u64("reg", &[at.0, 0x1000])?;
        fdt.property_null("interrupt-controller")?;
        fdt.property_u32("#interrupt-cells", 2)?;
        if at == IO_APIC {
            fdt.property_u32("phandle", IO_APIC_PHANDLE)?;
        }
        fdt.end_node(node)?;
    }
    Ok(())
}

fn reserved_memory(fdt: &mut FdtWriter, reserved: &Reserved) -> Result<(), vm_fdt::Error> {
    let (name, compatible) = match reserved {
        Reserved::Nothing => return Ok(()),
        Reserved::DmaRange(_) => ("dma-range", "uvsim,dma-range"),
        Reserved::Pools(_) => ("dma-pool", "restricted-dma-pool"),
    };
    let parent = fdt.begin_node("reserved-memory")?;
    fdt.property_u32("#address-cells", 2)?;
    fdt.property_u32("#size-cells", 2)?;
    fdt.property_null("ranges")?;
    for (slot, range) in reserved.ranges().iter().enumerate() {
        let node = fdt.begin_node(&format!("{name}@{:x}", range.start.0))?;
        fdt.property_string("compatible", compatible)?;
        fdt.property_array_u64("reg", &[range.start.0, range.bytes])?;
        fdt.property_u32("phandle", phandle(slot))?;
        fdt.end_node(node)?;
    }
    fdt.end_node(parent)
}

/// The phandle of a reserved range.
fn phandle(slot: usize) -> u32 {
    u32::try_from(slot + 1).unwrap_or(u32::MAX)
}

/// A node that means nothing, of the size of one of pseries' `ibm,vio` children.
fn filler(fdt: &mut FdtWriter, number: u64) -> Result<(), vm_fdt::Error> {
    let node = fdt.begin_node(&format!("vdevice@{:x}", 0x3000_0000 + number))?;
    fdt.property_string("device_type", "block")?;
    fdt.property_string("compatible", "uvsim,filler")?;
    fdt.property_array_u64("reg", &[0x3000_0000 + number, 0])?;
    fdt.property_string("status", "disabled")?;
    fdt.end_node(node)
}

/// Level-triggered, active high.
const LEVEL_HIGH: u32 = 2;

/// The input of the I/O APIC that the device in `slot` is at.
fn input(slot: usize) -> u32 {
    (VIRTIO_INPUT + slot % VIRTIO_INPUTS) as u32
}

fn virtio_mmio(fdt: &mut FdtWriter, spec: &FdtSpec, slot: usize) -> Result<(), vm_fdt::Error> {
    let address = VIRTIO_MMIO.0 + slot as u64 * VIRTIO_MMIO_STRIDE;
    let node = fdt.begin_node(&format!("virtio_mmio@{address:x}"))?;
    fdt.property_string("compatible", "virtio,mmio")?;
    fdt.property_array_u64("reg", &[address, VIRTIO_MMIO_STRIDE])?;
    if spec.interrupts {
        fdt.property_u32("interrupt-parent", IO_APIC_PHANDLE)?;
        fdt.property_array_u32("interrupts", &[input(slot), LEVEL_HIGH])?;
    }
    dma_window(fdt, spec, slot)?;
    match &spec.reserved {
        Reserved::Nothing => (),
        Reserved::DmaRange(range) => {
            let start = range.start.0;
            fdt.property_array_u64("dma-ranges", &[start, start, range.bytes])?;
        }
        Reserved::Pools(_) => fdt.property_u32("memory-region", phandle(slot))?,
    }
    fdt.end_node(node)
}

/// The window of the device in `slot`: its LIOBN, then start and size of two cells each (PAPR,
/// "ibm,my-dma-window").
fn dma_window(fdt: &mut FdtWriter, spec: &FdtSpec, slot: usize) -> Result<(), vm_fdt::Error> {
    let Some(bytes) = spec.dma_window_bytes else { return Ok(()) };
    let cells = [iommu::liobn(slot), 0, 0, bytes >> 32, bytes & u64::from(u32::MAX)];
    fdt.property_array_u32("ibm,my-dma-window", &cells.map(|cell| cell as u32))
}

/// First cell of an address on a PCI bus: 32-bit memory that must not be prefetched (IEEE 1275, PCI
/// bus binding, 2.2.1.1).
const PCI_MEMORY_32: u32 = 2 << 24;

/// First cell of the address of the function in `slot`: its device number; device 0 is the bridge.
fn pci_function(slot: usize) -> u32 {
    ((slot + 1) << 11) as u32
}

/// The PCI host bridge with a node for each function (kernel
/// `Documentation/devicetree/bindings/pci/host-generic-pci.yaml`).
fn pci(fdt: &mut FdtWriter, spec: &FdtSpec) -> Result<(), vm_fdt::Error> {
    let bridge = fdt.begin_node(&format!("pci@{:x}", PCI_ECAM.0))?;
    fdt.property_string("compatible", "pci-host-ecam-generic")?;
    fdt.property_string("device_type", "pci")?;
    fdt.property_array_u64("reg", &[PCI_ECAM.0, PCI_ECAM_BYTES])?;
    fdt.property_array_u32("bus-range", &[0, 0])?;
    fdt.property_u32("#address-cells", 3)?;
    fdt.property_u32("#size-cells", 2)?;
    let room_bytes = PCI_MEMORY_END.0 - PCI_MEMORY.0;
    fdt.property_array_u32("ranges", &same_on_the_bus(PCI_MEMORY.0, room_bytes))?;
    if let Reserved::DmaRange(range) = &spec.reserved {
        fdt.property_array_u32("dma-ranges", &same_on_the_bus(range.start.0, range.bytes))?;
    }
    if spec.interrupts {
        // Which function, whatever its registers, and which of its four lines.
        fdt.property_u32("#interrupt-cells", 1)?;
        fdt.property_array_u32("interrupt-map-mask", &[0xf800, 0, 0, 7])?;
        let entry = |slot| [pci_function(slot), 0, 0, 1, IO_APIC_PHANDLE, input(slot), LEVEL_HIGH];
        let map: Vec<u32> = (0..spec.devices).flat_map(entry).collect();
        fdt.property_array_u32("interrupt-map", &map)?;
    }
    for slot in 0..spec.devices {
        let node = fdt.begin_node(&format!("virtio@{:x},0", slot + 1))?;
        fdt.property_array_u32("reg", &[pci_function(slot), 0, 0, 0, 0])?;
        if spec.interrupts {
            // INTA.
            fdt.property_u32("interrupts", 1)?;
        }
        dma_window(fdt, spec, slot)?;
        if let Reserved::Pools(_) = &spec.reserved {
            fdt.property_u32("memory-region", phandle(slot))?;
        }
        fdt.end_node(node)?;
    }
    fdt.end_node(bridge)
}

/// An entry of `ranges` for memory that has the same address on the bus: that, the CPU's, the size.
fn same_on_the_bus(start: u64, bytes: u64) -> [u32; 7] {
    let [high, low] = [start >> 32, start & u64::from(u32::MAX)].map(|half| half as u32);
    [PCI_MEMORY_32, high, low, high, low, (bytes >> 32) as u32, bytes as u32]
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::fdt::Fdt;

    fn spec() -> FdtSpec {
        FdtSpec {
            memory_bytes: 64 << 20,
            ultravisor_unit: Some(UnitSize::KIB_64),
            devices: 3,
            bootargs: "uvsim.seed=1".to_owned(),
            ..FdtSpec::default()
        }
    }

    fn built(spec: &FdtSpec) -> Vec<u8> {
        build(spec).expect("the spec is good")
    }

    fn parsed(bytes: &[u8]) -> Fdt<'_> {
        Fdt::new(bytes).expect("the tree can be read")
    }

    #[test]
    fn bootargs_are_padded_to_a_fixed_length() {
        let short = built(&spec());
        let long = built(&FdtSpec { bootargs: "x".repeat(BOOTARGS_BYTES - 1), ..spec() });
        assert_eq!(short.len(), long.len());
        let tree = parsed(&short);
        let node = tree.find_node("/chosen").expect("it is there");
        let value = node.property("bootargs").expect("it is there").value;
        assert_eq!(value.len(), BOOTARGS_BYTES);
        assert!(value.starts_with(b"uvsim.seed=1\0"));
    }

    #[test]
    fn bootargs_that_do_not_fit_are_refused() {
        let too_long = FdtSpec { bootargs: "x".repeat(BOOTARGS_BYTES), ..spec() };
        let bytes = BOOTARGS_BYTES;
        assert_eq!(build(&too_long), Err(FdtError::BootargsTooLong { bytes }));
        let with_nul = FdtSpec { bootargs: "a\0b".to_owned(), ..spec() };
        assert_eq!(build(&with_nul), Err(FdtError::BootargsNul));
    }

    #[test]
    fn devices_stand_in_order_at_their_addresses() {
        let bytes = built(&spec());
        let tree = parsed(&bytes);
        let nodes = tree.all_nodes().filter(|node| node.name.starts_with("virtio_mmio@"));
        let found: Vec<_> = nodes
            .map(|node| {
                let region = node.reg().and_then(|mut reg| reg.next()).expect("it has registers");
                (region.starting_address as u64, region.size)
            })
            .collect();
        let at = |index: u64| (0xd000_0000 + index * 0x1000, Some(0x1000));
        assert_eq!(found, [at(0), at(1), at(2)]);
    }

    #[test]
    fn devices_tell_their_inputs_if_and_only_if_the_tree_tells_of_controllers() {
        let with = built(&FdtSpec { interrupts: true, devices: 9, nodes_min: 40, ..spec() });
        let tree = parsed(&with);
        assert_eq!(tree.all_nodes().count(), 40);
        let controller = tree.find_compatible(&["intel,ce4100-ioapic"]).expect("it is there");
        let handle = cells(&controller, "phandle");
        let nodes = tree.all_nodes().filter(|node| node.name.starts_with("virtio_mmio@"));
        let found: Vec<_> = nodes
            .map(|node| {
                assert_eq!(cells(&node, "interrupt-parent"), handle);
                cells(&node, "interrupts")
            })
            .collect();
        let inputs = [16, 17, 18, 19, 20, 21, 22, 23, 16];
        assert_eq!(found, inputs.map(|input| vec![input, 2]));
        let without = built(&spec());
        assert!(parsed(&without).all_nodes().all(|node| node.property("interrupts").is_none()));
    }

    #[test]
    fn functions_stand_below_their_bridge_with_what_a_window_would_have() {
        let reserved = Reserved::DmaRange(range(0x1_0000_0000, 1 << 20));
        let bytes = built(&FdtSpec {
            pci: true,
            interrupts: true,
            devices: 9,
            dma_window_bytes: Some(0x1_8000_0000),
            reserved,
            nodes_min: 40,
            ..spec()
        });
        let tree = parsed(&bytes);
        assert_eq!(tree.all_nodes().count(), 40);
        assert!(tree.find_compatible(&["virtio,mmio"]).is_none());
        let bridge = tree.find_compatible(&["pci-host-ecam-generic"]).expect("it is there");
        let region = bridge.reg().and_then(|mut reg| reg.next()).expect("it has registers");
        assert_eq!(region.starting_address as u64, 0xe000_0000);
        assert_eq!(cells(&bridge, "bus-range"), [0, 0]);
        let room = [0x0200_0000, 0, 0xd800_0000, 0, 0xd800_0000, 0, 0x0400_0000];
        assert_eq!(cells(&bridge, "ranges"), room);
        assert_eq!(cells(&bridge, "dma-ranges"), [0x0200_0000, 1, 0, 1, 0, 0, 1 << 20]);
        let controller = tree.find_compatible(&["intel,ce4100-ioapic"]).expect("it is there");
        let handle = cells(&controller, "phandle")[0];
        let map = cells(&bridge, "interrupt-map");
        assert_eq!(map[..7], [0x0800, 0, 0, 1, handle, 16, 2]);
        assert_eq!(map[7 * 8..], [0x4800, 0, 0, 1, handle, 16, 2]);
        for (slot, node) in bridge.children().enumerate() {
            let device = slot as u32 + 1;
            assert_eq!(node.name, format!("virtio@{device:x},0"));
            assert_eq!(cells(&node, "reg"), [device << 11, 0, 0, 0, 0]);
            assert_eq!(cells(&node, "interrupts"), [1]);
            let liobn = iommu::liobn(slot) as u32;
            assert_eq!(cells(&node, "ibm,my-dma-window"), [liobn, 0, 0, 1, 0x8000_0000]);
        }
        assert_eq!(bridge.children().count(), 9);
    }

    #[test]
    fn functions_name_their_pools() {
        let pools = [0x10_0000, 0x20_0000].map(|start| range(start, 1 << 16));
        let reserved = Reserved::Pools(pools.to_vec());
        let bytes = built(&FdtSpec { pci: true, devices: 2, reserved, ..spec() });
        let tree = parsed(&bytes);
        let bridge = tree.find_compatible(&["pci-host-ecam-generic"]).expect("it is there");
        let named = bridge.children().map(|node| cells(&node, "memory-region"));
        let handles = tree.find_node("/reserved-memory").expect("it is there");
        assert!(named.eq(handles.children().map(|node| cells(&node, "phandle"))));
        assert!(bridge.property("interrupt-map").is_none());
    }

    #[test]
    fn the_ultravisor_node_is_there_if_and_only_if_it_was_asked_for() {
        for unit in [None, Some(UnitSize::KIB_4), Some(UnitSize::KIB_64)] {
            let bytes = built(&FdtSpec { ultravisor_unit: unit, ..spec() });
            let tree = parsed(&bytes);
            let node = tree.find_compatible(&[ULTRAVISOR_COMPATIBLE]);
            let value = node.and_then(|node| node.property(ULTRAVISOR_UNIT_PROPERTY)?.as_usize());
            assert_eq!(value, unit.map(|unit| unit.bytes() as usize));
        }
    }

    #[test]
    fn memory_beyond_the_hole_starts_at_four_gibibytes() {
        let regions = |memory_bytes| {
            let bytes = built(&FdtSpec { memory_bytes, ..spec() });
            let memory = parsed(&bytes);
            let memory = memory.memory();
            memory.regions().map(|r| (r.starting_address as u64, r.size)).collect::<Vec<_>>()
        };
        assert_eq!(regions(64 << 20), [(0, Some(64 << 20))]);
        assert_eq!(regions(3 << 30), [(0, Some(3 << 30))]);
        assert_eq!(regions(5 << 30), [(0, Some(3 << 30)), (4 << 30, Some(2 << 30))]);
    }

    #[test]
    fn a_tree_that_does_not_fit_is_refused() {
        let many = FdtSpec { devices: 7000, ..spec() };
        assert!(matches!(build(&many), Err(FdtError::TooLarge { .. })));
        let absurd = FdtSpec { devices: usize::MAX, ..spec() };
        assert!(matches!(build(&absurd), Err(FdtError::TooLarge { .. })));
        assert!(build(&FdtSpec { devices: 256, ..spec() }).is_ok());
    }

    fn cells(node: &::fdt::node::FdtNode<'_, '_>, name: &str) -> Vec<u32> {
        let value = node.property(name).map_or(&[][..], |property| property.value);
        value.chunks(4).map(|cell| u32::from_be_bytes(cell.try_into().expect("a cell"))).collect()
    }

    fn range(start: u64, bytes: u64) -> RamRange {
        RamRange { start: ultravisor_abi::Gpa(start), bytes }
    }

    #[test]
    fn each_device_has_a_dma_window_if_and_only_if_there_are_tce_tables() {
        for window in [None, Some(64 << 20), Some(2 << 30)] {
            let bytes = built(&FdtSpec { dma_window_bytes: window, ..spec() });
            let tree = parsed(&bytes);
            let nodes = tree.all_nodes().filter(|node| node.name.starts_with("virtio_mmio@"));
            let found: Vec<_> = nodes.map(|node| cells(&node, "ibm,my-dma-window")).collect();
            let of = |slot: u32| {
                window.map_or(vec![], |bytes| vec![0x1000_0000 | slot, 0, 0, 0, bytes as u32])
            };
            assert_eq!(found, [of(0), of(1), of(2)]);
        }
    }

    #[test]
    fn a_pool_of_its_own_is_named_by_each_device() {
        let pools = vec![range(2 << 20, 512), range(4 << 20, 512), range(6 << 20, 512)];
        let bytes = built(&FdtSpec { reserved: Reserved::Pools(pools), ..spec() });
        let tree = parsed(&bytes);
        for (slot, start) in [(0, 2 << 20), (1, 4 << 20), (2, 6 << 20)] {
            let device = format!("/virtio_mmio@{:x}", 0xd000_0000_u64 + slot * 0x1000);
            let device = tree.find_node(&device).expect("it is there");
            let [phandle] = cells(&device, "memory-region")[..] else { panic!("one cell") };
            let pool = tree.find_phandle(phandle).expect("it is there");
            assert_eq!(pool.name, format!("dma-pool@{start:x}"));
            let region = pool.reg().and_then(|mut reg| reg.next()).expect("it has a range");
            assert_eq!((region.starting_address as u64, region.size), (start, Some(512)));
            let names = pool.compatible().map(|names| names.first().to_owned());
            assert_eq!(names.as_deref(), Some("restricted-dma-pool"));
        }
    }

    #[test]
    fn a_limited_range_is_every_devices_and_its_bus_addresses_are_physical() {
        let reserved = Reserved::DmaRange(range(0x20_0000, 0x10_0000));
        let bytes = built(&FdtSpec { reserved, ..spec() });
        let tree = parsed(&bytes);
        assert!(tree.find_compatible(&["uvsim,dma-range"]).is_some());
        for node in tree.all_nodes().filter(|node| node.name.starts_with("virtio_mmio@")) {
            assert_eq!(cells(&node, "dma-ranges"), [0, 0x20_0000, 0, 0x20_0000, 0, 0x10_0000]);
        }
    }

    #[test]
    fn the_tree_is_filled_up_on_both_sides_of_the_ultravisor_node() {
        for nodes_min in [0, 20, 200, 2000] {
            let bytes = built(&FdtSpec { nodes_min, ..spec() });
            let tree = parsed(&bytes);
            let names: Vec<_> = tree.all_nodes().map(|node| node.name).collect();
            assert_eq!(names.len(), (nodes_min as usize).max(9));
            let place =
                names.iter().position(|name| *name == ULTRAVISOR_NODE).expect("it is there");
            let is_filler = |name: &&&str| name.starts_with("vdevice@");
            let before = names[..place].iter().filter(is_filler).count();
            let after = names[place..].iter().filter(is_filler).count();
            assert_eq!(before + after, (nodes_min as usize).saturating_sub(9));
            assert!(after - before <= 1, "{before} before, {after} after");
        }
        let absurd = FdtSpec { nodes_min: u32::MAX, ..spec() };
        assert!(matches!(build(&absurd), Err(FdtError::TooLarge { .. })));
    }
}
