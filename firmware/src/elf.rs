//! The part of ELF that boot firmware needs: is this an image that the boot protocol `elf64`
//! covers, and where do its segments go?
//!
//! Offsets from the System V ABI, "Object files", ELF64. Only fixed-size pieces are looked at,
//! so the caller reads them from wherever the image lies. The host checks images far more
//! strictly before a run; this is what a boot loader would look at.

use ultravisor_abi::boot::IMAGES;

/// Bytes of an ELF64 header.
pub const HEADER_BYTES: usize = 64;
/// Bytes of an ELF64 program header.
pub const PROGRAM_HEADER_BYTES: usize = 56;
/// Most program headers that are looked at.
pub const PROGRAM_HEADERS_MAX: u16 = 64;

/// Why an image is not loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotLoadable {
    /// No ELF magic.
    NotElf,
    /// Not a 64-bit little-endian x86-64 file.
    WrongMachine,
    /// Not ET_EXEC.
    NotStatic,
    /// The program headers have another size, or there are none or too many.
    ProgramHeaders,
    /// A segment's sizes contradict each other, or `p_paddr` is not `p_vaddr`.
    Segment,
    /// A segment does not lie between the start of the images and the end that was given.
    Outside,
}

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where to start.
    pub entry: u64,
    /// Where the program headers lie in the file.
    pub program_headers_offset: u64,
    /// How many there are.
    pub program_headers: u16,
}

/// One segment to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where its bytes lie in the file.
    pub file_offset: u64,
    /// How many there are; the rest of `memory_bytes` is zero.
    pub file_bytes: u64,
    /// Where it goes.
    pub address: u64,
    /// Its size in memory.
    pub memory_bytes: u64,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// Reads the header.
///
/// # Errors
/// Says what about the image is not covered by the boot protocol.
pub fn header(bytes: &[u8; HEADER_BYTES]) -> Result<Header, NotLoadable> {
    const ELFCLASS64_LSB: [u8; 2] = [2, 1];
    const ET_EXEC: u16 = 2;
    const EM_X86_64: u16 = 62;
    if bytes[..4] != *b"\x7fELF" {
        return Err(NotLoadable::NotElf);
    }
    if bytes[4..6] != ELFCLASS64_LSB || u16_at(bytes, 18) != EM_X86_64 {
        return Err(NotLoadable::WrongMachine);
    }
    if u16_at(bytes, 16) != ET_EXEC {
        return Err(NotLoadable::NotStatic);
    }
    let program_headers = u16_at(bytes, 56);
    let sized = usize::from(u16_at(bytes, 54)) == PROGRAM_HEADER_BYTES;
    if !sized || program_headers == 0 || program_headers > PROGRAM_HEADERS_MAX {
        return Err(NotLoadable::ProgramHeaders);
    }
    let (entry, program_headers_offset) = (u64_at(bytes, 24), u64_at(bytes, 32));
    Ok(Header { entry, program_headers_offset, program_headers })
}

/// Reads one program header; `None` if it is nothing to load. Segments must end at or below
/// `end`.
///
/// # Errors
/// Says what about the segment is not covered by the boot protocol.
pub fn segment(
    bytes: &[u8; PROGRAM_HEADER_BYTES],
    end: u64,
) -> Result<Option<Segment>, NotLoadable> {
    const PT_LOAD: u32 = 1;
    if u32_at(bytes, 0) != PT_LOAD {
        return Ok(None);
    }
    let segment = Segment {
        file_offset: u64_at(bytes, 8),
        address: u64_at(bytes, 24),
        file_bytes: u64_at(bytes, 32),
        memory_bytes: u64_at(bytes, 40),
    };
    if segment.file_bytes > segment.memory_bytes
        || segment.file_offset.checked_add(segment.file_bytes).is_none()
        || u64_at(bytes, 16) != segment.address
    {
        return Err(NotLoadable::Segment);
    }
    match segment.address.checked_add(segment.memory_bytes) {
        Some(last) if segment.address >= IMAGES.0 && last <= end => Ok(Some(segment)),
        Some(_) | None => Err(NotLoadable::Outside),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: u64 = 0x400_0000;

    fn good_header() -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[16] = 2;
        bytes[18] = 62;
        bytes[24..32].copy_from_slice(&0x10_0040_u64.to_le_bytes());
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 3;
        bytes
    }

    fn load(address: u64, file_bytes: u64, memory_bytes: u64) -> [u8; PROGRAM_HEADER_BYTES] {
        let mut bytes = [0; PROGRAM_HEADER_BYTES];
        bytes[0] = 1;
        for (at, value) in [(16, address), (24, address), (32, file_bytes), (40, memory_bytes)] {
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn a_good_header_is_read() {
        let expected = Header { entry: 0x10_0040, program_headers_offset: 64, program_headers: 3 };
        assert_eq!(header(&good_header()), Ok(expected));
    }

    #[test]
    fn each_rule_of_the_header_refuses_by_its_own_name() {
        let broken = [
            (0, 0, NotLoadable::NotElf),
            (4, 1, NotLoadable::WrongMachine),
            (5, 2, NotLoadable::WrongMachine),
            (18, 183, NotLoadable::WrongMachine),
            (16, 3, NotLoadable::NotStatic),
            (54, 32, NotLoadable::ProgramHeaders),
            (56, 0, NotLoadable::ProgramHeaders),
            (56, 65, NotLoadable::ProgramHeaders),
        ];
        for (at, value, expected) in broken {
            let mut bytes = good_header();
            bytes[at] = value;
            assert_eq!(header(&bytes), Err(expected), "byte {at} = {value}");
        }
    }

    #[test]
    fn a_segment_must_fit_between_the_images_start_and_the_end() {
        let fits = load(0x10_0000, 0x1000, 0x2000);
        assert!(matches!(segment(&fits, END), Ok(Some(_))));
        assert!(matches!(segment(&load(END - 0x2000, 0, 0x2000), END), Ok(Some(_))));
        for outside in [
            load(0xf_f000, 0x1000, 0x2000),
            load(END - 0x1000, 0x1000, 0x1001),
            load(u64::MAX - 1, 0, 0x1000),
        ] {
            assert_eq!(segment(&outside, END), Err(NotLoadable::Outside));
        }
    }

    #[test]
    fn a_segment_that_contradicts_itself_is_refused() {
        assert_eq!(segment(&load(0x10_0000, 2, 1), END), Err(NotLoadable::Segment));
        let mut moved = load(0x10_0000, 1, 1);
        moved[16] = 1;
        assert_eq!(segment(&moved, END), Err(NotLoadable::Segment));
        let mut wraps = load(0x10_0000, 1, 1);
        wraps[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(segment(&wraps, END), Err(NotLoadable::Segment));
    }

    #[test]
    fn what_is_not_to_be_loaded_is_skipped() {
        let mut note = load(0, 0, 0);
        note[0] = 4;
        assert_eq!(segment(&note, END), Ok(None));
    }
}
