//! The rules of `error.rs`, in the order in which a file is read.

use super::error::Rule::{
    Dynamic, Entry, FileSize, Machine, NotElf, NotExec, NothingToLoad, Overlap, ProgramHeaderCount,
    ProgramHeaderSize, ProgramHeadersOutside, SegmentAlign, SegmentFile, SegmentMoved,
    SegmentPlace, SegmentSize, WriteExecute,
};
use super::{ImageError, Limits, PROGRAM_HEADERS_MAX, Segment, SegmentFlags};
use goblin::container::{Container, Ctx, Endian};
use goblin::elf::header::{EI_CLASS, EI_DATA, EI_VERSION, ELFCLASS64, ELFDATA2LSB, ELFMAG};
use goblin::elf::header::{EM_X86_64, ET_EXEC, EV_CURRENT, Header, SELFMAG};
use goblin::elf::program_header::{PT_DYNAMIC, PT_INTERP, PT_LOAD, ProgramHeader};
use std::ops::Range;
use ultravisor_abi::Gpa;

/// How the fields of the files that are accepted lie.
pub(super) const LAYOUT: Ctx = Ctx { container: Container::Big, le: Endian::Little };

const HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: u16 = 56;

/// A header whose program headers are good.
pub(super) struct Checked {
    pub(super) header: Header,
    pub(super) loads: Vec<Load>,
}

/// A segment that is good.
pub(super) struct Load {
    file: Range<usize>,
    memory: Range<u64>,
    flags: SegmentFlags,
}

impl Load {
    pub(super) fn segment(&self, bytes: &[u8]) -> Segment {
        Segment {
            gpa: Gpa(self.memory.start),
            bytes: bytes[self.file.clone()].to_vec(),
            mem_bytes: self.memory.end - self.memory.start,
            flags: self.flags,
        }
    }
}

pub(super) fn check(bytes: &[u8], limits: &Limits) -> Result<Checked, Vec<ImageError>> {
    let header = file_header(bytes, limits).map_err(|error| vec![error])?;
    let program_headers = program_headers(bytes, &header).map_err(|error| vec![error])?;
    let mut errors = Vec::new();
    let mut loads: Vec<Load> = Vec::new();
    for (index, program_header) in (0..).zip(&program_headers) {
        match program_header.p_type {
            PT_INTERP | PT_DYNAMIC => {
                errors.push(ImageError::in_header(Dynamic, index, program_header.p_offset));
            }
            PT_LOAD if program_header.p_memsz > 0 || program_header.p_filesz > 0 => {
                match load(bytes, limits, program_header) {
                    Ok(load) => {
                        if loads.iter().any(|other| overlap(&other.memory, &load.memory)) {
                            let start = load.memory.start;
                            errors.push(ImageError::in_header(Overlap, index, start));
                        }
                        loads.push(load);
                    }
                    Err(broken) => errors.extend(
                        broken
                            .iter()
                            .map(|(rule, found)| ImageError::in_header(*rule, index, *found)),
                    ),
                }
            }
            _ => (),
        }
    }
    if errors.is_empty() {
        errors.extend(whole(&header, &loads));
    }
    if errors.is_empty() { Ok(Checked { header, loads }) } else { Err(errors) }
}

fn file_header(bytes: &[u8], limits: &Limits) -> Result<Header, ImageError> {
    let refuse = |rule, found: u64| Err(ImageError::in_file(rule, found));
    if bytes.len() > limits.file_bytes_max {
        return refuse(FileSize, bytes.len() as u64);
    }
    if bytes.len() < HEADER_BYTES || &bytes[..SELFMAG] != ELFMAG {
        return refuse(NotElf, bytes.len() as u64);
    }
    let identity = [bytes[EI_CLASS], bytes[EI_DATA], bytes[EI_VERSION]];
    if identity != [ELFCLASS64, ELFDATA2LSB, EV_CURRENT] {
        return refuse(Machine, u64::from(identity[0]));
    }
    // Class and order are settled, so goblin reads the one layout that is accepted.
    let Ok(header) = goblin::elf::Elf::parse_header(bytes) else {
        return refuse(NotElf, bytes.len() as u64);
    };
    if header.e_machine != EM_X86_64 {
        return refuse(Machine, u64::from(header.e_machine));
    }
    if header.e_type != ET_EXEC {
        return refuse(NotExec, u64::from(header.e_type));
    }
    // goblin reads program headers of 56 bytes whatever this field says.
    if header.e_phentsize != PROGRAM_HEADER_BYTES {
        return refuse(ProgramHeaderSize, u64::from(header.e_phentsize));
    }
    if header.e_phnum == 0 || header.e_phnum > PROGRAM_HEADERS_MAX {
        return refuse(ProgramHeaderCount, u64::from(header.e_phnum));
    }
    Ok(header)
}

fn program_headers(bytes: &[u8], header: &Header) -> Result<Vec<ProgramHeader>, ImageError> {
    let outside = ImageError::in_file(ProgramHeadersOutside, header.e_phoff);
    let size = u64::from(header.e_phnum) * u64::from(PROGRAM_HEADER_BYTES);
    let range = within(bytes, header.e_phoff, size).ok_or(outside)?;
    ProgramHeader::parse(bytes, range.start, usize::from(header.e_phnum), LAYOUT)
        .map_err(|_| outside)
}

/// The bytes of the file from `offset` on, if it has them all.
pub(super) fn within(bytes: &[u8], offset: u64, size: u64) -> Option<Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(size).ok()?)?;
    (end <= bytes.len()).then_some(start..end)
}

/// A segment, or every rule that it breaks with what was found.
fn load(
    bytes: &[u8],
    limits: &Limits,
    header: &ProgramHeader,
) -> Result<Load, Vec<(super::Rule, u64)>> {
    let mut broken = Vec::new();
    let file = within(bytes, header.p_offset, header.p_filesz);
    if file.is_none() {
        broken.push((SegmentFile, header.p_offset));
    }
    if header.p_filesz > header.p_memsz {
        broken.push((SegmentSize, header.p_filesz));
    }
    let end = header.p_paddr.checked_add(header.p_memsz).filter(|end| *end <= limits.place.end);
    if end.is_none() || header.p_paddr < limits.place.start {
        broken.push((SegmentPlace, header.p_paddr));
    }
    if header.p_vaddr != header.p_paddr {
        broken.push((SegmentMoved, header.p_vaddr));
    }
    if !aligned(header) {
        broken.push((SegmentAlign, header.p_align));
    }
    if header.is_write() && header.is_executable() {
        broken.push((WriteExecute, u64::from(header.p_flags)));
    }
    match (file, end) {
        (Some(file), Some(end)) if broken.is_empty() => Ok(Load {
            file,
            memory: header.p_paddr..end,
            flags: SegmentFlags { writable: header.is_write(), executable: header.is_executable() },
        }),
        (Some(_) | None, Some(_) | None) => Err(broken),
    }
}

/// 0 and 1 ask for nothing; else offset and address must agree below the alignment.
const fn aligned(header: &ProgramHeader) -> bool {
    let align = header.p_align;
    align == 0
        || (align.is_power_of_two()
            && header.p_offset & (align - 1) == header.p_vaddr & (align - 1))
}

const fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

/// What only all segments together can say.
fn whole(header: &Header, loads: &[Load]) -> Option<ImageError> {
    if loads.is_empty() {
        return Some(ImageError::in_file(NothingToLoad, u64::from(header.e_phnum)));
    }
    let starts = |load: &Load| load.flags.executable && load.memory.contains(&header.e_entry);
    let entry = ImageError::in_file(Entry, header.e_entry);
    (!loads.iter().any(starts)).then_some(entry)
}
