//! The rules of `error.rs`, in the order in which a file is read.

use super::error::Rule::{
    ByteOrder, Class, Dynamic, Entry, FileSize, HeaderCut, Interpreter, Machine, NotElf, NotExec,
    NothingToLoad, Overlap, Pie, ProgramHeaderCount, ProgramHeaderSize, ProgramHeadersOutside,
    SegmentAlign, SegmentFile, SegmentMoved, SegmentPlace, SegmentSize, SegmentWraps, Version,
    WriteExecute,
};
use super::{ImageError, Limits, PROGRAM_HEADERS_MAX, Segment, SegmentFlags};
use goblin::container::{Container, Ctx, Endian};
use goblin::elf::header::{EI_CLASS, EI_DATA, EI_VERSION, ELFCLASS64, ELFDATA2LSB, ELFMAG};
use goblin::elf::header::{EM_X86_64, ET_DYN, ET_EXEC, EV_CURRENT, Header};
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
    header: u16,
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
        let refuse = |rule, found| ImageError::in_program_header(rule, index, found);
        match program_header.p_type {
            PT_INTERP => errors.push(refuse(Interpreter, at(program_header))),
            PT_DYNAMIC => errors.push(refuse(Dynamic, at(program_header))),
            PT_LOAD if program_header.p_memsz > 0 || program_header.p_filesz > 0 => {
                match load(bytes, limits, index, program_header) {
                    Ok(load) => {
                        let crosses = |other: &&Load| overlap(&other.memory, &load.memory);
                        if let Some(other) = loads.iter().find(crosses) {
                            errors.push(refuse(Overlap, both(&load, other)));
                        }
                        loads.push(load);
                    }
                    Err(broken) => {
                        errors.extend(broken.into_iter().map(|(rule, found)| refuse(rule, found)));
                    }
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

fn at(header: &ProgramHeader) -> String {
    format!("{} bytes at offset {:#x} of the file", header.p_filesz, header.p_offset)
}

fn both(load: &Load, other: &Load) -> String {
    let shown = |range: &Range<u64>| format!("{:#x} to {:#x}", range.start, range.end);
    let (this, that) = (shown(&load.memory), shown(&other.memory));
    format!("it covers {this}, and program header {} covers {that}", other.header)
}

fn file_header(bytes: &[u8], limits: &Limits) -> Result<Header, ImageError> {
    let refuse = |rule, found: String| Err(ImageError::in_file(rule, found));
    let (size, most) = (bytes.len(), limits.file_bytes_max);
    if size > most {
        return refuse(FileSize, format!("{size} bytes, at most {most}"));
    }
    if !bytes.starts_with(ELFMAG) {
        // Not which bytes: the name may have led to a file that is nobody's business.
        return refuse(NotElf, format!("a file of {size} bytes"));
    }
    if size < HEADER_BYTES {
        return refuse(HeaderCut, format!("{size} bytes"));
    }
    for (field, allowed, rule) in [
        (EI_CLASS, ELFCLASS64, Class),
        (EI_DATA, ELFDATA2LSB, ByteOrder),
        (EI_VERSION, EV_CURRENT, Version),
    ] {
        if bytes[field] != allowed {
            return refuse(rule, format!("found {}", bytes[field]));
        }
    }
    // Class and order are settled, so goblin reads the one layout that is accepted.
    let Ok(header) = goblin::elf::Elf::parse_header(bytes) else {
        return refuse(HeaderCut, format!("{size} bytes"));
    };
    let found = |number: u16| format!("found {number}");
    if header.e_machine != EM_X86_64 {
        return refuse(Machine, found(header.e_machine));
    }
    if header.e_type == ET_DYN {
        return refuse(Pie, found(header.e_type));
    }
    if header.e_type != ET_EXEC {
        return refuse(NotExec, found(header.e_type));
    }
    // goblin reads program headers of 56 bytes whatever this field says.
    if header.e_phentsize != PROGRAM_HEADER_BYTES {
        return refuse(ProgramHeaderSize, found(header.e_phentsize));
    }
    if header.e_phnum == 0 || header.e_phnum > PROGRAM_HEADERS_MAX {
        return refuse(ProgramHeaderCount, found(header.e_phnum));
    }
    Ok(header)
}

fn program_headers(bytes: &[u8], header: &Header) -> Result<Vec<ProgramHeader>, ImageError> {
    let (count, offset) = (header.e_phnum, header.e_phoff);
    let outside = || {
        let found =
            format!("{count} at offset {offset:#x}, and the file has {} bytes", bytes.len());
        ImageError::in_file(ProgramHeadersOutside, found)
    };
    let start = usize::try_from(offset).map_err(|_| outside())?;
    ProgramHeader::parse(bytes, start, usize::from(count), LAYOUT).map_err(|_| outside())
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
    index: u16,
    header: &ProgramHeader,
) -> Result<Load, Vec<(super::Rule, String)>> {
    let mut broken = Vec::new();
    let file = within(bytes, header.p_offset, header.p_filesz);
    if file.is_none() {
        broken.push((SegmentFile, format!("{}, which has {}", at(header), bytes.len())));
    }
    if header.p_filesz > header.p_memsz {
        let found = format!("{} in the file, {} in memory", header.p_filesz, header.p_memsz);
        broken.push((SegmentSize, found));
    }
    let memory = place(limits, header).map_err(|wrong| broken.push(wrong)).ok();
    if header.p_vaddr != header.p_paddr {
        let found = format!("p_vaddr {:#x}, p_paddr {:#x}", header.p_vaddr, header.p_paddr);
        broken.push((SegmentMoved, found));
    }
    if !aligned(header) {
        let ProgramHeader { p_align, p_offset, p_vaddr, .. } = *header;
        let found = format!("alignment {p_align:#x}, offset {p_offset:#x}, address {p_vaddr:#x}");
        broken.push((SegmentAlign, found));
    }
    if header.is_write() && header.is_executable() {
        broken.push((WriteExecute, format!("p_flags {:#x}", header.p_flags)));
    }
    match (file, memory) {
        (Some(file), Some(memory)) if broken.is_empty() => {
            let (writable, executable) = (header.is_write(), header.is_executable());
            let flags = SegmentFlags { writable, executable };
            Ok(Load { header: index, file, memory, flags })
        }
        (Some(_) | None, Some(_) | None) => Err(broken),
    }
}

/// Where the segment lies in memory.
fn place(limits: &Limits, header: &ProgramHeader) -> Result<Range<u64>, (super::Rule, String)> {
    let (start, size) = (header.p_paddr, header.p_memsz);
    let Some(end) = start.checked_add(size) else {
        return Err((SegmentWraps, format!("{size:#x} bytes from {start:#x} on")));
    };
    let Range { start: lowest, end: highest } = limits.place;
    if start < lowest || end > highest {
        let found = format!("{start:#x} to {end:#x}, and not from {lowest:#x} to {highest:#x}");
        return Err((SegmentPlace, found));
    }
    Ok(start..end)
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
        let found = format!("{} of other kinds", header.e_phnum);
        return Some(ImageError::in_file(NothingToLoad, found));
    }
    let starts = |load: &Load| load.flags.executable && load.memory.contains(&header.e_entry);
    let entry = || ImageError::in_file(Entry, format!("e_entry {:#x}", header.e_entry));
    (!loads.iter().any(starts)).then(entry)
}
