//! The rules of `error.rs`, in the order in which a file is read.

use super::announce::{self, MultibootHeader};
use super::class::Class;
use super::error::Rule::{
    self, ByteOrder, Dynamic, Entry, FileSize, HeaderCut, Interpreter, Machine, MultibootFlags,
    NoMultiboot, NoPvhNote, NotElf, NotExec, NothingToLoad, Overlap, Pie, ProgramHeaderCount,
    ProgramHeaderSize, ProgramHeadersOutside, SegmentAlign, SegmentFile, SegmentMoved,
    SegmentPlace, SegmentSize, SegmentWraps, Version, WriteExecute, WrongClass,
};
use super::{ImageError, Limits, PROGRAM_HEADERS_MAX, Protocol, Segment, SegmentFlags};
use goblin::elf::header::{EI_CLASS, EI_DATA, EI_VERSION, ELFDATA2LSB, ELFMAG};
use goblin::elf::header::{ET_DYN, ET_EXEC, EV_CURRENT, Header};
use goblin::elf::program_header::{PT_DYNAMIC, PT_INTERP, PT_LOAD, ProgramHeader};
use std::ops::Range;
use ultravisor_abi::Gpa;

/// What a Multiboot header may demand of its loader (Multiboot Specification 0.6.96, 3.1.2): modules
/// on page boundaries, a memory map, a video mode. Bits 3 to 15 would be demands that nobody knows;
/// those from 16 on may be passed over.
const MULTIBOOT_KNOWN: u32 = 0b111;
const MULTIBOOT_DEMANDS: u32 = 0xffff;

/// A header whose program headers are good.
pub(super) struct Checked {
    pub(super) class: Class,
    pub(super) header: Header,
    pub(super) loads: Vec<Load>,
    /// Where it starts, guest-physical.
    pub(super) entry: u64,
}

/// A segment that is good.
pub(super) struct Load {
    header: u16,
    file: Range<usize>,
    /// Where it goes, guest-physical.
    memory: Range<u64>,
    /// Where it thinks that it is.
    virtual_start: u64,
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

    /// Where the byte that the image calls `address` lies, if it is in here.
    const fn physical(&self, address: u64) -> Option<u64> {
        let bytes = self.memory.end - self.memory.start;
        match address.checked_sub(self.virtual_start) {
            Some(offset) if offset < bytes => Some(self.memory.start + offset),
            Some(_) | None => None,
        }
    }
}

pub(super) fn check(bytes: &[u8], limits: &Limits) -> Result<Checked, Vec<ImageError>> {
    let (class, header) = file_header(bytes, limits).map_err(|error| vec![error])?;
    let program_headers = program_headers(bytes, class, &header).map_err(|error| vec![error])?;
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
    if !errors.is_empty() {
        return Err(errors);
    }
    let entry = entry(bytes, limits, &header, &loads).map_err(|error| vec![error])?;
    Ok(Checked { class, header, loads, entry })
}

fn at(header: &ProgramHeader) -> String {
    format!("{} bytes at offset {:#x} of the file", header.p_filesz, header.p_offset)
}

fn both(load: &Load, other: &Load) -> String {
    let shown = |range: &Range<u64>| format!("{:#x} to {:#x}", range.start, range.end);
    let (this, that) = (shown(&load.memory), shown(&other.memory));
    format!("it covers {this}, and program header {} covers {that}", other.header)
}

/// The rule that holds for files of any kind.
pub(super) fn file_size(bytes: &[u8], limits: &Limits) -> Result<(), ImageError> {
    let (size, most) = (bytes.len(), limits.file_bytes_max);
    let found = || format!("{size} bytes, at most {most}");
    if size > most { Err(ImageError::in_file(FileSize, found())) } else { Ok(()) }
}

/// The image's Multiboot header.
pub(super) fn multiboot(bytes: &[u8]) -> Result<MultibootHeader, ImageError> {
    let header = MultibootHeader::find(bytes).ok_or_else(|| {
        let found = announce::instead_of_a_header(bytes);
        let found = found.unwrap_or_else(|| format!("a file of {} bytes", bytes.len()));
        ImageError::in_file(NoMultiboot, found)
    })?;
    if header.flags & MULTIBOOT_DEMANDS & !MULTIBOOT_KNOWN != 0 {
        let found = format!("flags {:#x} at offset {:#x}", header.flags, header.offset);
        return Err(ImageError::in_file(MultibootFlags, found));
    }
    Ok(header)
}

/// Whether a boot loader of Linux's would start it (Linux, `Documentation/arch/x86/boot.rst`, "The
/// Real-Mode Kernel Header").
fn is_bz_image(bytes: &[u8]) -> bool {
    bytes.get(0x1fe..0x200) == Some(&[0x55, 0xaa]) && bytes.get(0x202..0x206) == Some(b"HdrS")
}

fn file_header(bytes: &[u8], limits: &Limits) -> Result<(Class, Header), ImageError> {
    let refuse = |rule, found: String| Err(ImageError::in_file(rule, found));
    let size = bytes.len();
    if !bytes.starts_with(ELFMAG) {
        // Not which bytes: the name may have led to a file that is nobody's business.
        let what = if is_bz_image(bytes) { "a bzImage, Linux's own form," } else { "a file" };
        return refuse(NotElf, format!("{what} of {size} bytes"));
    }
    let class = bytes.get(EI_CLASS).copied().and_then(Class::of);
    let header_bytes = class.unwrap_or_default().header_bytes();
    if size < header_bytes {
        return refuse(HeaderCut, format!("{size} bytes of {header_bytes}"));
    }
    let is_loaded = |class: &Class| limits.protocol.is_physical() || *class == Class::Elf64;
    let Some(class) = class.filter(is_loaded) else {
        let other = announce::instead_of_a_header(bytes).map(|what| format!(", {what}"));
        let found = format!("found {}{}", bytes[EI_CLASS], other.unwrap_or_default());
        return refuse(WrongClass, found);
    };
    for (field, allowed, rule) in
        [(EI_DATA, ELFDATA2LSB, ByteOrder), (EI_VERSION, EV_CURRENT, Version)]
    {
        if bytes[field] != allowed {
            return refuse(rule, format!("found {}", bytes[field]));
        }
    }
    // Class and order are settled, so goblin reads one of the two layouts that are accepted.
    let Ok(header) = goblin::elf::Elf::parse_header(bytes) else {
        return refuse(HeaderCut, format!("{size} bytes of {header_bytes}"));
    };
    for (is_broken, rule, number) in [
        (header.e_machine != class.machine(), Machine, header.e_machine),
        (header.e_type == ET_DYN, Pie, header.e_type),
        (header.e_type != ET_EXEC, NotExec, header.e_type),
        // goblin reads program headers of the class's size whatever this field says.
        (header.e_phentsize != class.program_header_bytes(), ProgramHeaderSize, header.e_phentsize),
        (
            header.e_phnum == 0 || header.e_phnum > PROGRAM_HEADERS_MAX,
            ProgramHeaderCount,
            header.e_phnum,
        ),
    ] {
        if is_broken {
            let place = if class == Class::Elf32 { " in ELF32" } else { "" };
            return refuse(rule, format!("found {number}{place}"));
        }
    }
    Ok((class, header))
}

fn program_headers(
    bytes: &[u8],
    class: Class,
    header: &Header,
) -> Result<Vec<ProgramHeader>, ImageError> {
    let (count, offset) = (header.e_phnum, header.e_phoff);
    let outside = || {
        let found =
            format!("{count} at offset {offset:#x}, and the file has {} bytes", bytes.len());
        ImageError::in_file(ProgramHeadersOutside, found)
    };
    let start = usize::try_from(offset).map_err(|_| outside())?;
    ProgramHeader::parse(bytes, start, usize::from(count), class.layout()).map_err(|_| outside())
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
) -> Result<Load, Vec<(Rule, String)>> {
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
    // Without paging nothing is moved; loaders copy, whatever the alignment, and nobody keeps code
    // from being written.
    let is_mapped = !limits.protocol.is_physical();
    if is_mapped && header.p_vaddr != header.p_paddr {
        let found = format!("p_vaddr {:#x}, p_paddr {:#x}", header.p_vaddr, header.p_paddr);
        broken.push((SegmentMoved, found));
    }
    if is_mapped && !aligned(header) {
        let ProgramHeader { p_align, p_offset, p_vaddr, .. } = *header;
        let found = format!("alignment {p_align:#x}, offset {p_offset:#x}, address {p_vaddr:#x}");
        broken.push((SegmentAlign, found));
    }
    if is_mapped && header.is_write() && header.is_executable() {
        broken.push((WriteExecute, format!("p_flags {:#x}", header.p_flags)));
    }
    match (file, memory) {
        (Some(file), Some(memory)) if broken.is_empty() => {
            let (writable, executable) = (header.is_write(), header.is_executable());
            let flags = SegmentFlags { writable, executable };
            Ok(Load { header: index, file, memory, virtual_start: header.p_vaddr, flags })
        }
        (Some(_) | None, Some(_) | None) => Err(broken),
    }
}

/// Where the segment lies in memory.
fn place(limits: &Limits, header: &ProgramHeader) -> Result<Range<u64>, (Rule, String)> {
    let (start, size) = (header.p_paddr, header.p_memsz);
    let Some(end) = start.checked_add(size) else {
        return Err((SegmentWraps, format!("{size:#x} bytes from {start:#x} on")));
    };
    match limits.misplaced(&(start..end)) {
        Some(found) => Err((SegmentPlace, found)),
        None => Ok(start..end),
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

/// Where it starts: what only all segments together can say.
fn entry(
    bytes: &[u8],
    limits: &Limits,
    header: &Header,
    loads: &[Load],
) -> Result<u64, ImageError> {
    if loads.is_empty() {
        let found = format!("{} of other kinds", header.e_phnum);
        return Err(ImageError::in_file(NothingToLoad, found));
    }
    let code = || loads.iter().filter(|load| load.flags.executable);
    let at = |address: u64| code().any(|load| load.memory.contains(&address)).then_some(address);
    let (entry, found, named) = match limits.protocol {
        Protocol::Elf64 => (header.e_entry, at(header.e_entry), "e_entry"),
        // GRUB (`grub-core/loader/multiboot_elfxx.c`) and QEMU (`include/hw/elf_ops.h.inc`): as the
        // segment that it is in has been moved, else as it is.
        Protocol::Multiboot1 => {
            let entry = header.e_entry;
            let moved = code().find_map(|load| load.physical(entry));
            (entry, moved.or_else(|| at(entry)), "e_entry")
        }
        Protocol::Pvh => {
            let entry = match announce::pvh_note(bytes) {
                Some(Ok(entry)) => entry,
                Some(Err(found)) => return Err(ImageError::in_file(NoPvhNote, found)),
                None => {
                    let found = format!("{} program headers", header.e_phnum);
                    return Err(ImageError::in_file(NoPvhNote, found));
                }
            };
            (entry, at(entry), "the PVH note names")
        }
    };
    found.ok_or_else(|| ImageError::in_file(Entry, format!("{named} {entry:#x}")))
}
