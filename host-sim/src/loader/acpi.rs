//! ACPI tables for guests that are told no device tree (ACPI Specification 6.5), by `acpi_tables`.
//!
//! They lie where a PC's firmware has them, in what the memory map reserves. What they tell of is there:
//! the interrupt controllers, the PCI bus, virtio-mmio devices, COM1 and the way to switch off.

mod dsdt;

use super::map::BIOS;
use crate::scenario::plan::Transport;
use acpi_tables::Aml;
use acpi_tables::facs::FACS;
use acpi_tables::fadt::{FADT, FADTBuilder, Flags};
use acpi_tables::madt::{EnabledStatus, IoApic, ProcessorLocalApic};
use acpi_tables::mcfg::MCFG;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use ultravisor_abi::boot::{IO_APIC, LOCAL_APIC, PCI_ECAM};

/// Who made them, and for what machine.
const OEM: [u8; 6] = *b"UVSIM ";
const MACHINE: [u8; 8] = *b"UVSIM   ";
const REVISION: u32 = 1;
/// Bytes of a table's header (5.2.6).
const HEADER_BYTES: u32 = 36;

/// Where the pointer to all of them lies (5.2.5.1: on a multiple of 16 between 0xe0000 and 0xfffff).
pub const RSDP: u64 = BIOS;

/// ACPI's event registers (4.8.3.1), status and enable, each of two bytes; and its control register.
pub const PM1_EVENT: u16 = 0x600;
/// PM1a control (4.8.3.2), where QEMU's `q35` and `pc` have it.
pub const PM1_CONTROL: u16 = 0x604;

/// What they tell of that differs between machines.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// How many device slots there are.
    pub devices: usize,
    /// How the guest reaches the devices in them.
    pub transport: Transport,
}

/// Tables, one behind the other from [`RSDP`] on.
struct Area(Vec<u8>);

impl Area {
    /// Puts `table` behind what is there, where the one of the strictest alignment may lie (FACS, 5.2.10).
    /// Says where that is: below 4 GiB.
    fn put(&mut self, table: &dyn Aml) -> u32 {
        self.0.resize(self.0.len().next_multiple_of(64), 0);
        let at = RSDP as u32 + self.0.len() as u32;
        table.to_aml_bytes(&mut self.0);
        at
    }
}

/// All tables, from [`RSDP`] on.
pub fn tables(told: Told) -> Vec<u8> {
    let mut area = Area(vec![0; Rsdp::len()]);
    let facs = area.put(&FACS::new());
    let dsdt = area.put(&dsdt::table(told));
    let mut list = XSDT::new(OEM, MACHINE, REVISION);
    let mut short_list = Sdt::new(*b"RSDT", HEADER_BYTES, 1, OEM, MACHINE, REVISION);
    for table in [&fadt(facs, dsdt) as &dyn Aml, &madt(), &mcfg()] {
        let at = area.put(table);
        list.add_entry(at.into());
        short_list.append_slice(&at.to_le_bytes());
    }
    let (list, short_list) = (area.put(&list), area.put(&short_list));
    let pointer = pointer(list, short_list);
    area.0[..pointer.len()].copy_from_slice(&pointer);
    area.0
}

/// The RSDP (5.2.5.3), with the RSDT too, which guests that know ACPI 1.0 alone read: `acpi_tables`
/// leaves its address 0.
fn pointer(xsdt: u32, rsdt: u32) -> Vec<u8> {
    const RSDT: usize = 16;
    /// Where a sum is, and how many bytes it makes 0.
    const SUMS: [(usize, usize); 2] = [(8, 20), (32, 36)];
    let mut bytes = Vec::new();
    Rsdp::new(OEM, xsdt.into()).to_aml_bytes(&mut bytes);
    bytes[RSDT..][..4].copy_from_slice(&rsdt.to_le_bytes());
    for (at, covered) in SUMS {
        bytes[at] = 0;
        let sum = bytes[..covered].iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        bytes[at] = sum.wrapping_neg();
    }
    bytes
}

/// What of ACPI's fixed hardware is there (5.2.9): registers to switch off with, and no more. ACPI is on
/// from the start, and can be switched neither on nor off.
fn fadt(facs: u32, dsdt: u32) -> FADT {
    /// The 8254, the 8259As and COM1 are there (IAPC_BOOT_ARCH, table 5.11).
    const LEGACY_DEVICES: u16 = 1;
    /// Which input ACPI's own events would have, if any came: where a PC has it.
    const SCI: u16 = 9;
    /// More than this is to say that a state of sleep between instructions is not there.
    const NO_C2: u16 = 101;
    const NO_C3: u16 = 1001;
    let mut table = FADTBuilder::new(OEM, MACHINE, REVISION)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        // Neither buttons nor a wake-up by the clock are fixed hardware here.
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton)
        .flag(Flags::FixRtc);
    (table.firmware_ctrl, table.dsdt) = (facs.into(), dsdt.into());
    (table.x_firmware_ctrl, table.x_dsdt) = (u64::from(facs).into(), u64::from(dsdt).into());
    table.sci_int = SCI.into();
    (table.pm1a_evt_blk, table.pm1_evt_len) = (u32::from(PM1_EVENT).into(), 4);
    (table.pm1a_cnt_blk, table.pm1_cnt_len) = (u32::from(PM1_CONTROL).into(), 2);
    (table.p_lvl2_lat, table.p_lvl3_lat) = (NO_C2.into(), NO_C3.into());
    table.iapc_boot_arch = LEGACY_DEVICES.into();
    table.finalize()
}

/// The interrupt controllers (5.2.12): one processor's, the I/O APIC, and that the 8254, which a PC has
/// at input 0 of its 8259As, is at input 2 of that.
fn madt() -> Sdt {
    /// The first with the structures below as they are (5.2.12).
    const VERSION: u8 = 5;
    /// There are 8259As too, to be masked by whoever uses the APICs.
    const PCAT_COMPAT: u32 = 1;
    /// Interrupt source override: type, length, bus (ISA), source, input, flags (as the bus has it).
    const CLOCK: [u8; 10] = [2, 10, 0, 0, 2, 0, 0, 0, 0, 0];
    let mut table = Sdt::new(*b"APIC", HEADER_BYTES, VERSION, OEM, MACHINE, REVISION);
    let mut body = [LOCAL_APIC.0 as u32, PCAT_COMPAT].map(u32::to_le_bytes).concat();
    ProcessorLocalApic::new(0, 0, EnabledStatus::Enabled).to_aml_bytes(&mut body);
    IoApic::new(0, IO_APIC.0 as u32, 0).to_aml_bytes(&mut body);
    body.extend(CLOCK);
    table.append_slice(&body);
    table
}

/// Where PCI's configuration space lies as memory (PCI Firmware Specification 3.0, 4.1.2).
fn mcfg() -> MCFG {
    let mut table = MCFG::new(OEM, MACHINE, REVISION);
    table.add_ecam(PCI_ECAM.0, 0, 0, 0);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a guest finds, by address.
    struct Found(Vec<u8>);

    impl Found {
        fn bytes(&self, at: u64, bytes: usize) -> &[u8] {
            &self.0[(at - RSDP) as usize..][..bytes]
        }

        fn word(&self, at: u64) -> u32 {
            u32::from_le_bytes(self.bytes(at, 4).try_into().expect("4 bytes"))
        }

        fn long(&self, at: u64) -> u64 {
            u64::from_le_bytes(self.bytes(at, 8).try_into().expect("8 bytes"))
        }

        /// The table at `at`, whose sum must be 0.
        fn table(&self, at: u64) -> &[u8] {
            let table = self.bytes(at, self.word(at + 4) as usize);
            assert_eq!(sum(table), 0, "{:?}", &table[..4]);
            table
        }

        fn tables(&self) -> Vec<u64> {
            let list = self.long(RSDP + 24);
            let end = list + u64::from(self.word(list + 4));
            assert_eq!(&self.table(list)[..4], b"XSDT");
            (list + 36..end).step_by(8).map(|at| self.long(at)).collect()
        }

        /// The table with this signature.
        fn named(&self, signature: &[u8]) -> u64 {
            let mut tables = self.tables().into_iter();
            tables.find(|at| self.table(*at).starts_with(signature)).expect("it is there")
        }
    }

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    fn found(transport: Transport) -> Found {
        Found(tables(Told { devices: 16, transport }))
    }

    #[test]
    fn each_table_is_found_from_the_pointer_and_its_bytes_add_up() {
        let found = found(Transport::Mmio);
        assert_eq!(found.bytes(RSDP, 8), b"RSD PTR ");
        assert_eq!((sum(found.bytes(RSDP, 20)), sum(found.bytes(RSDP, 36))), (0, 0));
        let tables = found.tables();
        let short_list = u64::from(found.word(RSDP + 16));
        assert_eq!(&found.table(short_list)[..4], b"RSDT");
        let end = short_list + u64::from(found.word(short_list + 4));
        let short: Vec<u64> =
            (short_list + 36..end).step_by(4).map(|at| found.word(at).into()).collect();
        assert_eq!(short, tables);
        let names: Vec<_> = tables.iter().map(|at| &found.table(*at)[..4]).collect();
        assert_eq!(names, [b"FACP", b"APIC", b"MCFG"]);
        let fixed = found.named(b"FACP");
        assert_eq!(found.word(fixed + 36) % 64, 0);
        assert_eq!(found.bytes(found.word(fixed + 36).into(), 4), b"FACS");
        assert_eq!(u64::from(found.word(fixed + 40)), found.long(fixed + 140));
        assert_eq!(&found.table(found.word(fixed + 40).into())[..4], b"DSDT");
        assert!(RSDP + found.0.len() as u64 <= 0x10_0000, "beyond the BIOS");
    }

    #[test]
    fn the_controllers_the_power_and_configuration_space_are_where_the_machine_has_them() {
        let found = found(Transport::Pci);
        let fixed = found.named(b"FACP");
        assert_eq!((found.word(fixed + 56), found.word(fixed + 64)), (0x600, 0x604));
        let reset_register_is_there = found.word(fixed + 112) >> 10 & 1;
        assert_eq!(reset_register_is_there, 0);
        let controllers = found.named(b"APIC");
        assert_eq!(found.word(controllers + 36), 0xfee0_0000);
        assert_eq!(found.bytes(controllers + 44, 8), [0, 8, 0, 0, 1, 0, 0, 0]);
        assert_eq!(found.bytes(controllers + 52, 4), [1, 12, 0, 0]);
        assert_eq!(found.word(controllers + 56), 0xfec0_0000);
        assert_eq!(found.bytes(controllers + 64, 10), [2, 10, 0, 0, 2, 0, 0, 0, 0, 0]);
        let configuration = found.named(b"MCFG");
        assert_eq!(found.long(configuration + 44), 0xe000_0000);
        assert_eq!(found.bytes(configuration + 52, 4), [0; 4]);
    }

    #[test]
    fn the_namespace_has_the_devices_of_the_transport_and_the_line_of_each_function() {
        let namespace = |transport| {
            let found = found(transport);
            let at = found.word(found.named(b"FACP") + 40);
            found.table(at.into()).to_vec()
        };
        let times = |bytes: &[u8], wanted: &[u8]| {
            bytes.windows(wanted.len()).filter(|window| *window == wanted).count()
        };
        let (by_mmio, by_pci) = (namespace(Transport::Mmio), namespace(Transport::Pci));
        assert_eq!((times(&by_mmio, b"LNRO0005"), times(&by_pci, b"LNRO0005")), (16, 0));
        assert_eq!((times(&by_mmio, b"VR0F"), times(&by_mmio, b"PCI0")), (1, 1));
        // Package of 4: the double word 0x2ffff, Zero, Zero, the byte 17.
        let second = [4, 0x0c, 0xff, 0xff, 2, 0, 0, 0, 0x0a, 17];
        assert_eq!((times(&by_mmio, &second), times(&by_pci, &second)), (0, 1));
    }
}
