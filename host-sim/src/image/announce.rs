//! What an image says of how it wants to be started: its Multiboot header or its PVH note.
//!
//! Multiboot Specification 0.6.96, 3.1 ("OS image format"); Xen's
//! `xen/include/public/elfnote.h` and `docs/misc/pvh.pandoc`.

use super::Protocol;
use super::check::within;
use super::class::Class;
use goblin::elf::header::{ELFMAG, Header};
use goblin::elf::note::NoteDataIterator;
use goblin::elf::program_header::{PT_NOTE, ProgramHeader};

/// The header lies within the first so many bytes of the file, on a multiple of four (3.1).
pub(super) const SEARCHED_BYTES: usize = 8192;
/// Where it begins (3.1.1).
const MAGIC: u32 = 0x1bad_b002;
/// Where a header of Multiboot 2 begins, which is another protocol.
const MAGIC_2: u32 = 0xe852_50d6;
/// `flags`: the address fields say how to load it (3.1.2, bit 16).
const ADDRESSES: u32 = 1 << 16;
/// Notes of one segment are looked at so far.
const NOTE_BYTES_MAX: usize = 64 << 10;
/// `XEN_ELFNOTE_PHYS32_ENTRY`.
const PHYS32_ENTRY: u32 = 18;

/// What an image announces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The protocol.
    pub protocol: Protocol,
    /// By what.
    pub by: String,
}

/// What `bytes` announces, if it says anything. With both a Multiboot header and a PVH note the
/// header counts, as it does for QEMU (`hw/i386/x86-common.c`, `x86_load_linux`).
pub fn announced(bytes: &[u8]) -> Option<Announced> {
    if let Some(header) = MultibootHeader::find(bytes) {
        let by = format!("a Multiboot header at offset {:#x} of the file", header.offset);
        return Some(Announced { protocol: Protocol::Multiboot1, by });
    }
    if let Some(Ok(entry)) = pvh_note(bytes) {
        let by = format!("a PVH note, which names {entry:#x}");
        return Some(Announced { protocol: Protocol::Pvh, by });
    }
    // It means to start by a header, and is to be told that it does not: not to start otherwise.
    let by = late_header(bytes).or_else(|| second_header(bytes))?;
    Some(Announced { protocol: Protocol::Multiboot1, by })
}

/// A right header where no loader looks for it.
fn late_header(bytes: &[u8]) -> Option<String> {
    let late = MultibootHeader::first(bytes, (SEARCHED_BYTES..bytes.len()).step_by(4))?;
    let offset = late.offset;
    Some(format!("one stands at offset {offset:#x}, beyond the first {SEARCHED_BYTES} bytes"))
}

/// A right header of Multiboot 2 (Multiboot2 Specification 2.0, 3.1.1): four words that add up to 0.
fn second_header(bytes: &[u8]) -> Option<String> {
    const SEARCHED_BYTES_2: usize = 32768;
    let mut places = (0..bytes.len().min(SEARCHED_BYTES_2)).step_by(8);
    let sum = |at: usize| {
        (1..4).try_fold(MAGIC_2, |sum: u32, number| {
            Some(sum.wrapping_add(word(bytes, at + 4 * number)?))
        })
    };
    let at = places.find(|at| word(bytes, *at) == Some(MAGIC_2) && sum(*at) == Some(0))?;
    Some(format!("Multiboot 2 at offset {at:#x}"))
}

/// A header whose checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MultibootHeader {
    /// Where in the file it is.
    pub(super) offset: usize,
    /// What it asks for.
    pub(super) flags: u32,
}

/// Where a flat image goes (3.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) header: u32,
    pub(super) load: u32,
    /// 0: as far as the file goes.
    pub(super) load_end: u32,
    /// 0: there is none.
    pub(super) bss_end: u32,
    pub(super) entry: u32,
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(word.try_into().ok()?))
}

/// Where `magic` stands in the part of the file that is searched.
fn places(bytes: &[u8], magic: u32) -> impl Iterator<Item = usize> {
    let end = bytes.len().min(SEARCHED_BYTES);
    (0..end).step_by(4).filter(move |at| word(&bytes[..end], *at) == Some(magic))
}

impl MultibootHeader {
    /// The first whose checksum is right.
    pub(super) fn find(bytes: &[u8]) -> Option<Self> {
        Self::first(bytes, places(bytes, MAGIC))
    }

    fn first(bytes: &[u8], mut places: impl Iterator<Item = usize>) -> Option<Self> {
        places.find_map(|offset| {
            let (flags, checksum) = (word(bytes, offset + 4)?, word(bytes, offset + 8)?);
            let sum = word(bytes, offset)?.wrapping_add(flags).wrapping_add(checksum);
            let is_right = word(bytes, offset) == Some(MAGIC) && sum == 0;
            is_right.then_some(Self { offset, flags })
        })
    }

    /// The address fields; `None` if the header has none, and in the file's end there is no room.
    pub(super) fn addresses(self, bytes: &[u8]) -> Option<Addresses> {
        let field = |number: usize| word(bytes, self.offset + 12 + 4 * number);
        Some(Addresses {
            header: field(0)?,
            load: field(1)?,
            load_end: field(2)?,
            bss_end: field(3)?,
            entry: field(4)?,
        })
    }

    /// Whether the address fields say how to load it, whatever else the file is (3.1.2, bit 16).
    pub(super) const fn is_flat(self) -> bool {
        self.flags & ADDRESSES != 0
    }
}

/// What there is instead of a Multiboot header, for whoever looks for one.
pub(super) fn instead_of_a_header(bytes: &[u8]) -> Option<String> {
    let wrong = places(bytes, MAGIC).next().map(|offset| {
        format!("0x1badb002 stands at offset {offset:#x}, and its checksum is wrong")
    });
    let second =
        || places(bytes, MAGIC_2).next().map(|offset| format!("Multiboot 2 at offset {offset:#x}"));
    wrong.or_else(second).or_else(|| second_header(bytes)).or_else(|| late_header(bytes))
}

/// The entry that a PVH note names, or what is wrong with the note; `None`: there is no such note.
pub(super) fn pvh_note(bytes: &[u8]) -> Option<Result<u64, String>> {
    let class = bytes.starts_with(ELFMAG).then(|| Class::of(*bytes.get(4)?))??;
    if bytes.len() < class.header_bytes() {
        return None;
    }
    let header: Header = goblin::elf::Elf::parse_header(bytes).ok()?;
    let (start, count) = (usize::try_from(header.e_phoff).ok()?, usize::from(header.e_phnum));
    let headers = ProgramHeader::parse(bytes, start, count, class.layout()).ok()?;
    let notes = headers.iter().filter(|header| header.p_type == PT_NOTE);
    notes.filter_map(|notes| of_segment(bytes, class, notes)).next()
}

fn of_segment(bytes: &[u8], class: Class, notes: &ProgramHeader) -> Option<Result<u64, String>> {
    let range = within(bytes, notes.p_offset, notes.p_filesz)?;
    let data = &bytes[range];
    let size = data.len().min(NOTE_BYTES_MAX);
    // Notes of 8-byte alignment are padded to 8 (System V ABI, "Note Section").
    let alignment = if notes.p_align == 8 { 8 } else { 4 };
    let mut all =
        NoteDataIterator { data: &data[..size], size, offset: 0, ctx: (alignment, class.layout()) };
    let is_entry = |note: &goblin::elf::note::Note<'_>| {
        note.n_type == PHYS32_ENTRY && note.name.trim_end_matches('\0') == "Xen"
    };
    let found = all.find_map(|note| note.ok().filter(is_entry))?;
    // A pointer of the image's own width, or 32 bits (QEMU reads the former, Linux writes it).
    Some(match *found.desc {
        [a, b, c, d] => Ok(u64::from(u32::from_le_bytes([a, b, c, d]))),
        [a, b, c, d, e, f, g, h] => Ok(u64::from_le_bytes([a, b, c, d, e, f, g, h])),
        _ => Err(format!("its value has {} bytes", found.desc.len())),
    })
}
