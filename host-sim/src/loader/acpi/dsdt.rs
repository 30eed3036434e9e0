//! The DSDT: the devices that a guest cannot find by itself, in ACPI's own language (ACPI Specification
//! 6.5, chapters 6, 7 and 20).

use super::{HEADER_BYTES, MACHINE, OEM, REVISION, Told};
use crate::loader::bios::COM1;
use crate::scenario::plan::Transport;
use acpi_tables::Aml;
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Device, EISAName, IO, Interrupt, Memory32Fixed, Name,
    Package, PackageBuilder, ResourceTemplate, Scope,
};
use acpi_tables::sdt::Sdt;
use ultravisor_abi::boot::{
    PCI_ECAM, PCI_ECAM_BYTES, PCI_MEMORY, PCI_MEMORY_END, VIRTIO_INPUT, VIRTIO_INPUTS, VIRTIO_MMIO,
    VIRTIO_MMIO_STRIDE,
};

/// The first with integers of 64 bits (20.1).
const VERSION: u8 = 2;
/// The input that COM1 is at, of the 8259As as of the I/O APIC.
const COM1_INPUT: u32 = 4;

/// The table.
pub fn table(told: Told) -> Sdt {
    let mut devices = [pci_bus(told), motherboard(), com1()].concat();
    if told.transport == Transport::Mmio {
        devices.extend((0..told.devices).flat_map(virtio_mmio));
    }
    let mut table = Sdt::new(*b"DSDT", HEADER_BYTES, VERSION, OEM, MACHINE, REVISION);
    let off = Package::new(vec![&0_u8, &0_u8, &0_u8, &0_u8]);
    table.append_slice(&coded(&Name::new("_S5_".into(), &off)));
    table.append_slice(&Scope::raw("_SB_".into(), devices));
    table
}

fn coded(object: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    object.to_aml_bytes(&mut bytes);
    bytes
}

/// The device `name`, the `number`-th that is known by `id`, with what else is said of it.
fn device(name: &str, id: &dyn Aml, number: u32, said: &[&dyn Aml]) -> Vec<u8> {
    let (id, number) = (Name::new("_HID".into(), id), Name::new("_UID".into(), &number));
    let all = [&id as &dyn Aml, &number].into_iter().chain(said.iter().copied());
    coded(&Device::new(name.into(), all.collect()))
}

/// `_CRS`: what a device decodes, and where it interrupts.
fn resources(all: Vec<&dyn Aml>) -> Name {
    Name::new("_CRS".into(), &ResourceTemplate::new(all))
}

/// The input of the I/O APIC that the device in `slot` is at.
fn input(slot: usize) -> u32 {
    (VIRTIO_INPUT + slot % VIRTIO_INPUTS) as u32
}

/// The PCI bus: PNP0A08, for those who know no PCI Express PNP0A03. What its functions ask for lies in
/// the memory that it passes on; which inputs their lines are at is told for those that are there.
fn pci_bus(told: Told) -> Vec<u8> {
    let last = (PCI_MEMORY_END.0 - 1) as u32;
    let not_cacheable = AddressSpaceCacheable::NotCacheable;
    let resources = resources(vec![
        &AddressSpace::new_bus_number(0_u16, 0_u16),
        // The ports of configuration space.
        &IO::new(0xcf8, 0xcf8, 1, 8),
        &AddressSpace::new_memory(not_cacheable, true, PCI_MEMORY.0 as u32, last, None),
    ]);
    let said: [&dyn Aml; 4] = [
        &Name::new("_CID".into(), &EISAName::new("PNP0A03")),
        &Name::new("_SEG".into(), &0_u8),
        &Name::new("_BBN".into(), &0_u8),
        &resources,
    ];
    let lines = (told.transport == Transport::Pci && told.devices > 0).then(|| lines(told.devices));
    let lines = lines.iter().map(|lines| lines as &dyn Aml);
    let said: Vec<&dyn Aml> = said.into_iter().chain(lines).collect();
    device("PCI0", &EISAName::new("PNP0A08"), 0, &said)
}

/// `_PRT` (6.2.13): for any function of the device in each slot, the first of its lines.
fn lines(devices: usize) -> Name {
    let mut lines = PackageBuilder::new();
    for slot in 0..devices {
        let (address, line) = (((slot as u32 + 1) << 16) | 0xffff, 0_u8);
        lines.add_element(&Package::new(vec![&address, &line, &0_u8, &input(slot)]));
    }
    Name::new("_PRT".into(), &lines)
}

/// What is nobody else's: configuration space as memory, which guests look for here before they
/// believe MCFG (PCI Firmware Specification 3.0, 4.1.2).
fn motherboard() -> Vec<u8> {
    let memory = Memory32Fixed::new(true, PCI_ECAM.0 as u32, PCI_ECAM_BYTES as u32);
    device("MBRD", &EISAName::new("PNP0C02"), 0, &[&resources(vec![&memory])])
}

fn com1() -> Vec<u8> {
    let resources = resources(vec![
        &IO::new(COM1, COM1, 1, 8),
        // Edge-triggered, active high, its alone.
        &Interrupt::new(true, true, false, false, COM1_INPUT),
    ]);
    device("COM1", &EISAName::new("PNP0501"), 0, &[&resources])
}

/// The device in `slot`, as Linux' `virtio_mmio.c` knows it.
fn virtio_mmio(slot: usize) -> Vec<u8> {
    let address = VIRTIO_MMIO.0 + slot as u64 * VIRTIO_MMIO_STRIDE;
    let resources = resources(vec![
        &Memory32Fixed::new(true, address as u32, VIRTIO_MMIO_STRIDE as u32),
        // Level-triggered, active high, shared.
        &Interrupt::new(true, false, false, true, input(slot)),
    ]);
    // It sees what the processor's caches hold.
    let coherent = Name::new("_CCA".into(), &1_u8);
    device(&format!("VR{slot:02X}"), &"LNRO0005", slot as u32, &[&coherent, &resources])
}
