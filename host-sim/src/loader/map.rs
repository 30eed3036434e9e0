//! What a PC's firmware would say of memory, for guests that are told no device tree.

use crate::image::HANDOVER;
use ultravisor::platform::RamRange;
use ultravisor_abi::boot::{IMAGES, PCI_ECAM, PCI_ECAM_BYTES};

/// What lies in a range of addresses, numbered as E820 numbers it (ACPI 6.5, table 15.374; so does
/// Multiboot, and so does Xen's `hvm_memmap_table_entry`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Holds {
    /// RAM that the guest may use.
    Ram = 1,
    /// What it must leave alone.
    Reserved = 2,
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Its first address.
    pub start: u64,
    /// Its size.
    pub bytes: u64,
    /// What lies there.
    pub holds: Holds,
}

/// Where a PC has its extended BIOS data area: what lies below it is conventional memory.
pub const CONVENTIONAL_END: u64 = 0x9_fc00;
/// Where a PC's video memory begins; from there to 1 MiB no RAM is promised.
const VIDEO: u64 = 0xa_0000;
/// Where a PC's BIOS lies, up to 1 MiB; here the tables that it would leave.
pub const BIOS: u64 = 0xf_0000;

/// The memory map of a PC with this RAM, by address.
pub fn memory_map(ram: &[RamRange]) -> Vec<Range> {
    let reserved =
        |start: u64, end: u64| Range { start, bytes: end - start, holds: Holds::Reserved };
    let mut map = vec![
        Range { start: 0, bytes: CONVENTIONAL_END, holds: Holds::Ram },
        reserved(CONVENTIONAL_END, VIDEO),
        reserved(BIOS, IMAGES.0),
    ];
    map.extend(ram.iter().filter_map(|range| {
        let start = range.start.0.max(IMAGES.0);
        let bytes = (range.start.0 + range.bytes).checked_sub(start)?;
        Some(Range { start, bytes, holds: Holds::Ram })
    }));
    map.push(reserved(PCI_ECAM.0, PCI_ECAM.0 + PCI_ECAM_BYTES));
    map.sort_by_key(|range| range.start);
    map
}

/// What is handed over, while it is laid out: structures and strings one after the other, in RAM that
/// the guest may use once it has read it.
#[derive(Debug, Default)]
pub struct Handover {
    bytes: Vec<u8>,
}

impl Handover {
    /// Puts `bytes` behind what is there, on a multiple of eight; says where that is. A guest has
    /// 32 bits for the address, and the room ends far below 4 GiB.
    pub fn put(&mut self, bytes: &[u8]) -> u32 {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let at = HANDOVER.start as u32 + self.bytes.len() as u32;
        self.bytes.extend(bytes);
        at
    }

    /// Puts `text` there with a NUL behind it.
    pub fn put_text(&mut self, text: &str) -> u32 {
        self.put(&[text.as_bytes(), b"\0"].concat())
    }

    /// All of it, from the start of [`HANDOVER`] on.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loader::ram;

    #[test]
    fn the_map_is_in_order_has_no_overlap_and_all_ram_but_that_of_the_video_memory() {
        for bytes in [16 << 20, 3 << 30, 5 << 30] {
            let map = memory_map(&ram(bytes));
            for pair in map.windows(2) {
                assert!(pair[0].start + pair[0].bytes <= pair[1].start, "{pair:?}");
            }
            let usable = map.iter().filter(|range| range.holds == Holds::Ram);
            let told: u64 = usable.map(|range| range.bytes).sum();
            assert_eq!(told, bytes - (IMAGES.0 - CONVENTIONAL_END));
        }
        let large = memory_map(&ram(5 << 30));
        let last = Range { start: 4 << 30, bytes: 2 << 30, holds: Holds::Ram };
        assert_eq!(large.last(), Some(&last));
    }

    #[test]
    fn what_is_handed_over_lies_on_multiples_of_eight_where_it_is_said_to_lie() {
        let mut handover = Handover::default();
        assert_eq!(handover.put_text("abc"), 0x4_0000);
        assert_eq!(handover.put(&[7; 9]), 0x4_0008);
        assert_eq!(handover.put_text(""), 0x4_0018);
        let bytes = handover.into_bytes();
        assert_eq!((&bytes[..4], &bytes[8..17], bytes[0x18]), (&b"abc\0"[..], &[7; 9][..], 0));
    }
}
