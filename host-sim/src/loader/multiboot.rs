//! Multiboot 1: what its information structure says (Multiboot Specification 0.6.96, 3.3).

use super::map::{CONVENTIONAL_END, Handover, Range};
use super::{Module, Protected};
use ultravisor_abi::boot::IMAGES;

/// What EAX holds when the guest starts (3.2).
const BOOTED: u32 = 0x2bad_b002;
/// Bytes of the structure, up to and with the framebuffer's fields.
const INFO_BYTES: usize = 116;
/// `flags` (3.3): which of the fields are there.
const HAS_MEMORY: u32 = 1;
const HAS_COMMAND_LINE: u32 = 1 << 2;
const HAS_MODULES: u32 = 1 << 3;
const HAS_MEMORY_MAP: u32 = 1 << 6;
const HAS_NAME: u32 = 1 << 9;

/// Who has loaded it.
const LOADER: &str = "uvsim";

/// Where fields lie in the structure (3.3).
mod at {
    pub const FLAGS: usize = 0;
    pub const MEM_LOWER: usize = 4;
    pub const MEM_UPPER: usize = 8;
    pub const CMDLINE: usize = 16;
    pub const MODS_COUNT: usize = 20;
    pub const MODS_ADDR: usize = 24;
    pub const MMAP_LENGTH: usize = 44;
    pub const MMAP_ADDR: usize = 48;
    pub const BOOT_LOADER_NAME: usize = 64;
}

/// The structure, all that it points to, and how the guest starts.
pub fn hand_over(
    entry: u32,
    map: &[Range],
    command_line: &str,
    modules: &[Module<'_>],
) -> (Vec<u8>, Protected) {
    let mut handover = Handover::default();
    // The structure comes first; what it points to is known when that has been laid out.
    let ebx = handover.put(&[0; INFO_BYTES]);
    let list: Vec<u8> = modules
        .iter()
        .flat_map(|module| {
            let line = handover.put_text(module.command_line);
            // mod_start, mod_end, string, reserved; below 4 GiB, as the low RAM is.
            [module.place.start as u32, module.place.end as u32, line, 0]
        })
        .flat_map(u32::to_le_bytes)
        .collect();
    let ranges: Vec<u8> = map.iter().flat_map(memory_range).collect();
    let fields = [
        (at::FLAGS, flags(modules)),
        (at::MEM_LOWER, (CONVENTIONAL_END / 1024) as u32),
        (at::MEM_UPPER, upper_kib(map)),
        (at::CMDLINE, handover.put_text(command_line)),
        (at::MODS_COUNT, modules.len() as u32),
        (at::MODS_ADDR, handover.put(&list)),
        (at::MMAP_LENGTH, ranges.len() as u32),
        (at::MMAP_ADDR, handover.put(&ranges)),
        (at::BOOT_LOADER_NAME, handover.put_text(LOADER)),
    ];
    let mut bytes = handover.into_bytes();
    for (at, value) in fields {
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    (bytes, Protected { eip: entry, eax: BOOTED, ebx })
}

fn flags(modules: &[Module<'_>]) -> u32 {
    let always = HAS_MEMORY | HAS_COMMAND_LINE | HAS_MEMORY_MAP | HAS_NAME;
    if modules.is_empty() { always } else { always | HAS_MODULES }
}

/// `mem_upper`: KiB from 1 MiB to the first hole.
fn upper_kib(map: &[Range]) -> u32 {
    let upper = map.iter().find(|range| range.start == IMAGES.0);
    upper.map_or(0, |range| (range.bytes / 1024) as u32)
}

/// One entry of the memory map: its own size without that field, where, how much, what.
fn memory_range(range: &Range) -> Vec<u8> {
    const SIZE: u32 = 20;
    let mut bytes = SIZE.to_le_bytes().to_vec();
    bytes.extend(range.start.to_le_bytes());
    bytes.extend(range.bytes.to_le_bytes());
    bytes.extend((range.holds as u32).to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::HANDOVER;
    use crate::loader::{map, ram};

    /// What a guest reads.
    struct Memory(Vec<u8>);

    impl Memory {
        fn word(&self, at: u32) -> u32 {
            let at = at as usize - HANDOVER.start as usize;
            u32::from_le_bytes(self.0[at..at + 4].try_into().expect("4 bytes"))
        }

        fn long(&self, at: u32) -> u64 {
            u64::from(self.word(at)) | (u64::from(self.word(at + 4)) << 32)
        }

        fn text(&self, at: u32) -> String {
            let rest = &self.0[at as usize - HANDOVER.start as usize..];
            let end = rest.iter().position(|byte| *byte == 0).expect("a NUL");
            String::from_utf8_lossy(&rest[..end]).into_owned()
        }
    }

    fn handed(modules: &[Module<'_>]) -> (Memory, Protected) {
        let map = map::memory_map(&ram(5 << 30));
        let (bytes, start) = hand_over(0x10_000c, &map, "a=b c", modules);
        (Memory(bytes), start)
    }

    #[test]
    fn the_guest_finds_its_memory_its_command_line_and_who_loaded_it() {
        let (memory, start) = handed(&[]);
        assert_eq!((start.eip, start.eax), (0x10_000c, 0x2bad_b002));
        let info = start.ebx;
        assert_eq!(memory.word(info), 0b10_0100_0101, "memory, command line, map, name");
        assert_eq!((memory.word(info + 4), memory.word(info + 8)), (639, (3 << 20) - 1024));
        assert_eq!(memory.text(memory.word(info + 16)), "a=b c");
        assert_eq!(memory.text(memory.word(info + 64)), "uvsim");
        assert_eq!(memory.word(info + 20), 0, "no modules");
    }

    #[test]
    fn the_map_is_walked_by_the_size_that_stands_before_each_entry() {
        let (memory, start) = handed(&[]);
        let (bytes, map) = (memory.word(start.ebx + 44), memory.word(start.ebx + 48));
        let (mut at, mut found) = (map, Vec::new());
        while at < map + bytes {
            found.push((memory.long(at + 4), memory.long(at + 12), memory.word(at + 20)));
            at += memory.word(at) + 4;
        }
        let wanted = [
            (0, 0x9_fc00, 1),
            (0x9_fc00, 0x400, 2),
            (0xf_0000, 0x1_0000, 2),
            (0x10_0000, (3 << 30) - 0x10_0000, 1),
            (0xe000_0000, 0x10_0000, 2),
            (4 << 30, 2 << 30, 1),
        ];
        assert_eq!((at, found), (map + bytes, wanted.to_vec()));
    }

    #[test]
    fn each_module_has_its_place_and_its_text() {
        let modules = [
            Module { place: 0x20_0000..0x20_0005, command_line: "first" },
            Module { place: 0x20_1000..0x20_1000, command_line: "" },
        ];
        let (memory, start) = handed(&modules);
        let info = start.ebx;
        assert_eq!((memory.word(info) & HAS_MODULES, memory.word(info + 20)), (HAS_MODULES, 2));
        let list = memory.word(info + 24);
        assert_eq!((memory.word(list), memory.word(list + 4)), (0x20_0000, 0x20_0005));
        assert_eq!(memory.text(memory.word(list + 8)), "first");
        assert_eq!((memory.word(list + 16), memory.word(list + 20)), (0x20_1000, 0x20_1000));
        assert_eq!(memory.text(memory.word(list + 24)), "");
    }
}
