//! PVH: what its start structure says (Xen's `xen/include/public/arch-x86/hvm/start_info.h`;
//! `docs/misc/pvh.pandoc`).

use super::acpi::RSDP;
use super::map::{Handover, Range};
use super::{Module, Protected};

/// `hvm_start_info.magic`: "xEn3" with the high bit of the E set.
const MAGIC: u32 = 0x336e_c578;
/// The version that has a memory map.
const VERSION: u32 = 1;
/// Bytes of `hvm_start_info` of that version.
const INFO_BYTES: usize = 56;

/// The structure, all that it points to, and how the guest starts.
pub fn hand_over(
    entry: u32,
    map: &[Range],
    command_line: &str,
    modules: &[Module<'_>],
) -> (Vec<u8>, Protected) {
    let mut handover = Handover::default();
    let ebx = handover.put(&[0; INFO_BYTES]);
    // hvm_modlist_entry: paddr, size, cmdline_paddr, reserved.
    let list: Vec<u8> = modules
        .iter()
        .flat_map(|module| {
            let line = handover.put_text(module.command_line);
            let bytes = module.place.end - module.place.start;
            [module.place.start, bytes, u64::from(line), 0]
        })
        .flat_map(u64::to_le_bytes)
        .collect();
    // hvm_memmap_table_entry: addr, size, type, reserved.
    let ranges: Vec<u8> = map
        .iter()
        .flat_map(|range| [range.start, range.bytes, u64::from(range.holds as u32)])
        .flat_map(u64::to_le_bytes)
        .collect();
    let list = if modules.is_empty() { 0 } else { handover.put(&list) };
    let info = [
        [MAGIC, VERSION].map(u32::to_le_bytes).concat(),
        // flags: none is defined for a guest that is no host.
        [0, modules.len() as u32].map(u32::to_le_bytes).concat(),
        // modlist_paddr, cmdline_paddr, rsdp_paddr, memmap_paddr.
        [list, handover.put_text(command_line), RSDP as u32, handover.put(&ranges)]
            .map(|address| u64::from(address).to_le_bytes())
            .concat(),
        // memmap_entries, reserved.
        [map.len() as u32, 0].map(u32::to_le_bytes).concat(),
    ]
    .concat();
    let mut bytes = handover.into_bytes();
    bytes[..INFO_BYTES].copy_from_slice(&info);
    (bytes, Protected { eip: entry, eax: 0, ebx })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::HANDOVER;
    use crate::loader::{map, ram};

    #[test]
    fn the_start_structure_tells_of_memory_command_line_and_modules() {
        let module = Module { place: 0x20_0000..0x20_0005, command_line: "initrd" };
        let map = map::memory_map(&ram(64 << 20));
        let (bytes, start) = hand_over(0x10_0010, &map, "console=hvc0", &[module]);
        assert_eq!((start.eip, start.eax), (0x10_0010, 0));
        let place = |at: u64| (at - HANDOVER.start) as usize;
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let text = |at: u64| {
            let rest = &bytes[place(at)..];
            let end = rest.iter().position(|byte| *byte == 0).expect("a NUL");
            String::from_utf8_lossy(&rest[..end]).into_owned()
        };
        let info = place(u64::from(start.ebx));
        // magic, version, flags, nr_modules
        let head = [0, 4, 8, 12].map(|field| word(info + field));
        assert_eq!(head, [0x336e_c578, 1, 0, 1]);
        assert_eq!(text(long(info + 24)), "console=hvc0");
        assert_eq!(long(info + 32), 0xf_0000, "the RSDP");
        assert_eq!((word(info + 48), word(info + 52)), (5, 0));
        let last = place(long(info + 40)) + 3 * 24;
        assert_eq!(long(last), 0x10_0000);
        assert_eq!((long(last + 8), word(last + 16)), ((64 << 20) - 0x10_0000, 1));
        let list = place(long(info + 16));
        assert_eq!((long(list), long(list + 8)), (0x20_0000, 5));
        assert_eq!((text(long(list + 16)), long(list + 24)), ("initrd".to_owned(), 0));
    }

    #[test]
    fn without_modules_there_is_no_list() {
        let (bytes, _) = hand_over(0x10_0010, &[], "", &[]);
        assert_eq!((bytes[12..16].to_vec(), bytes[16..24].to_vec()), (vec![0; 4], vec![0; 8]));
    }
}
