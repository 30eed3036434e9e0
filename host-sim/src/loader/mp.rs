//! The tables of the MultiProcessor Specification 1.4, by which kernels that know no ACPI find the
//! interrupt controllers and what is wired to them.

use super::acpi::Told;
use crate::scenario::plan::Transport;
use ultravisor_abi::boot::{IO_APIC, LOCAL_APIC, VIRTIO_INPUT, VIRTIO_INPUTS};

/// Bytes of the floating pointer (4.1), which lies before the table.
const POINTER_BYTES: usize = 16;
/// Bytes of the table's header (4.2).
const HEADER_BYTES: usize = 44;
/// Version 1.4.
const REVISION: u8 = 4;

/// Kinds of entries (4.3).
mod kind {
    pub const PROCESSOR: u8 = 0;
    pub const BUS: u8 = 1;
    pub const IO_APIC: u8 = 2;
    pub const IO_INTERRUPT: u8 = 3;
    pub const LOCAL_INTERRUPT: u8 = 4;
}

/// What an interrupt is to the processor (table 4-11).
#[derive(Clone, Copy)]
#[repr(u8)]
enum Means {
    Vectored = 0,
    NonMaskable = 1,
    /// The 8259As say which vector it is.
    External = 3,
}

/// Buses, by number.
const PCI: u8 = 0;
const ISA: u8 = 1;

/// The floating pointer and the table, to lie at `at`, below 4 GiB and on a multiple of 16.
pub fn tables(at: u64, told: Told) -> Vec<u8> {
    let entries = entries(told);
    let mut pointer = b"_MP_".to_vec();
    pointer.extend((at as u32 + POINTER_BYTES as u32).to_le_bytes());
    // Its length in units of 16 bytes, the version, its sum; there is a table, and the 8259As go through.
    pointer.extend([1, REVISION, 0, 0, 0, 0, 0, 0]);
    let bytes = HEADER_BYTES + entries.iter().map(Vec::len).sum::<usize>();
    let mut table = b"PCMP".to_vec();
    table.extend((bytes as u16).to_le_bytes());
    table.extend([REVISION, 0]);
    table.extend(b"UVSIM   UVSIM       ");
    // No table of the maker's.
    table.extend([0; 6]);
    table.extend((entries.len() as u16).to_le_bytes());
    table.extend((LOCAL_APIC.0 as u32).to_le_bytes());
    table.extend([0; 4]);
    table.extend(entries.concat());
    (pointer[10], table[7]) = (to_zero(&pointer), to_zero(&table));
    [pointer, table].concat()
}

/// What all bytes, of which that of the sum is 0 yet, lack to add up to 0.
fn to_zero(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte))
}

/// In the order of their kinds, as the specification wants it.
fn entries(told: Told) -> Vec<Vec<u8>> {
    let functions = match told.transport {
        Transport::Mmio => 0,
        Transport::Pci => told.devices,
    };
    let mut entries = vec![
        processor(),
        bus(PCI, b"PCI   "),
        bus(ISA, b"ISA   "),
        io_apic(),
        // The 8259As, the 8254 and COM1.
        io_interrupt(Means::External, (ISA, 0), 0),
        io_interrupt(Means::Vectored, (ISA, 0), 2),
        io_interrupt(Means::Vectored, (ISA, 4), 4),
    ];
    entries.extend((0..functions).map(|slot| {
        // The device's number, and which of its lines: the first (D.3).
        let line = ((slot + 1) << 2) as u8;
        io_interrupt(Means::Vectored, (PCI, line), (VIRTIO_INPUT + slot % VIRTIO_INPUTS) as u8)
    }));
    entries.extend([local_interrupt(Means::External, 0), local_interrupt(Means::NonMaskable, 1)]);
    entries
}

/// The only one, which starts the others (4.3.1).
fn processor() -> Vec<u8> {
    const LOCAL_APIC_VERSION: u8 = 0x14;
    const USABLE_AND_FIRST: u8 = 3;
    /// As CPUID has it: family 15.
    const SIGNATURE: u32 = 0xf00;
    /// A coprocessor, CMPXCHG8B, a local APIC: those of CPUID's that the table knows and that are there.
    const FEATURES: u32 = 1 | 1 << 8 | 1 << 9;
    let head = vec![kind::PROCESSOR, 0, LOCAL_APIC_VERSION, USABLE_AND_FIRST];
    [head, [SIGNATURE, FEATURES, 0, 0].map(u32::to_le_bytes).concat()].concat()
}

fn bus(number: u8, name: &[u8; 6]) -> Vec<u8> {
    [&[kind::BUS, number], &name[..]].concat()
}

fn io_apic() -> Vec<u8> {
    const VERSION: u8 = 0x11;
    const USABLE: u8 = 1;
    [vec![kind::IO_APIC, 0, VERSION, USABLE], (IO_APIC.0 as u32).to_le_bytes().to_vec()].concat()
}

/// A bus's line at an input of the I/O APIC, triggered as the bus has it.
fn io_interrupt(means: Means, (bus, line): (u8, u8), input: u8) -> Vec<u8> {
    vec![kind::IO_INTERRUPT, means as u8, 0, 0, bus, line, 0, input]
}

/// What is at a pin of each local APIC.
fn local_interrupt(means: Means, pin: u8) -> Vec<u8> {
    const EACH: u8 = 0xff;
    vec![kind::LOCAL_INTERRUPT, means as u8, 0, 0, ISA, 0, EACH, pin]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    fn number(bytes: &[u8]) -> usize {
        bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
    }

    /// The entries of the table, walked as a kernel walks them.
    fn walked(transport: Transport) -> Vec<Vec<u8>> {
        let bytes = tables(0xf_1000, Told { devices: 9, transport });
        let (pointer, table) = bytes.split_at(16);
        assert_eq!((&pointer[..4], number(&pointer[4..8])), (&b"_MP_"[..], 0xf_1010));
        assert_eq!((&table[..4], number(&table[4..6])), (&b"PCMP"[..], table.len()));
        assert_eq!((sum(pointer), sum(table)), (0, 0));
        assert_eq!(number(&table[36..40]), 0xfee0_0000);
        let (mut rest, mut found) = (&table[44..], Vec::new());
        while !rest.is_empty() {
            let (entry, others) = rest.split_at(if rest[0] == 0 { 20 } else { 8 });
            found.push(entry.to_vec());
            rest = others;
        }
        assert_eq!(found.len(), number(&table[34..36]));
        assert!(found.is_sorted_by_key(|entry| entry[0]));
        found
    }

    #[test]
    fn the_tables_add_up_and_tell_of_one_processor_and_the_io_apic() {
        let found = walked(Transport::Mmio);
        assert_eq!(found[0][..4], [0, 0, 0x14, 3]);
        assert_eq!(&found[1][2..], b"PCI   ");
        assert_eq!(&found[2][2..], b"ISA   ");
        assert_eq!(found[3], [2, 0, 0x11, 1, 0, 0, 0xc0, 0xfe]);
        // The 8254 is at input 2 instead of 0.
        assert_eq!(found[5], [3, 0, 0, 0, 1, 0, 0, 2]);
        assert_eq!(found.len(), 9);
    }

    #[test]
    fn the_line_of_each_function_is_at_its_input() {
        let found = walked(Transport::Pci);
        let lines: Vec<_> = found.iter().filter(|entry| entry[0] == 3 && entry[4] == 0).collect();
        assert_eq!(lines.len(), 9);
        assert_eq!(lines[0][5..], [1 << 2, 0, 16]);
        assert_eq!(lines[8][5..], [9 << 2, 0, 16]);
    }
}
