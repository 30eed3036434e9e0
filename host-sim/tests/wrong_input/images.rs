//! Wrong images: a small generator builds each, a scenario names it, and its message is kept.

use crate::protocols;
use crate::rig::{self, compare};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const FOLDER: &str = "tests/wrong_input/images";

/// A program header.
#[derive(Clone, Copy)]
pub struct Program {
    pub kind: u32,
    pub flags: u32,
    pub offset: u64,
    pub vaddr: u64,
    pub paddr: u64,
    pub file: u64,
    pub memory: u64,
    pub align: u64,
}

/// A section header.
#[derive(Clone, Copy)]
pub struct Section {
    pub kind: u32,
    pub flags: u64,
    pub offset: u64,
    pub size: u64,
    pub link: u32,
    pub entry: u64,
}

/// What an image is written from; every field may lie.
#[derive(Clone)]
pub struct Elf {
    /// Its fields are those of ELF32, whatever `class` says.
    pub narrow: bool,
    pub magic: [u8; 4],
    pub class: u8,
    pub data: u8,
    pub version: u8,
    pub kind: u16,
    pub machine: u16,
    pub entry: u64,
    pub program_offset: u64,
    pub program_bytes: u16,
    pub program_count: Option<u16>,
    pub section_offset: Option<u64>,
    pub section_bytes: u16,
    pub section_count: Option<u16>,
    pub programs: Vec<Program>,
    pub sections: Vec<Section>,
    /// Bytes that stand at offsets of the file.
    pub parts: Vec<(usize, Vec<u8>)>,
    pub bytes_min: usize,
}

pub const CODE: Program = Program {
    kind: 1,
    flags: 5,
    offset: 0x1000,
    vaddr: 0x10_0000,
    paddr: 0x10_0000,
    file: 16,
    memory: 0x2000,
    align: 0x1000,
};

pub const DATA: Program = Program {
    flags: 6,
    offset: 0,
    vaddr: 0x20_0000,
    paddr: 0x20_0000,
    file: 0,
    memory: 0x1000,
    ..CODE
};

/// Symbols at 0x1000, their names behind them.
const SYMBOLS: Section =
    Section { kind: 2, flags: 0, offset: 0x1000, size: 48, link: 2, entry: 24 };
const NAMES: Section = Section { kind: 3, flags: 0, offset: 0x1030, size: 16, link: 0, entry: 0 };
const NOTHING: Section = Section { kind: 0, flags: 0, offset: 0, size: 0, link: 0, entry: 0 };

impl Elf {
    /// An image with which nothing is wrong.
    pub fn good() -> Self {
        Self {
            narrow: false,
            magic: *b"\x7fELF",
            class: 2,
            data: 1,
            version: 1,
            kind: 2,
            machine: 62,
            entry: 0x10_0000,
            program_offset: 64,
            program_bytes: 56,
            program_count: None,
            section_offset: None,
            section_bytes: 64,
            section_count: None,
            programs: vec![CODE, DATA],
            sections: vec![NOTHING, SYMBOLS, NAMES],
            parts: Vec::new(),
            bytes_min: 0x2000,
        }
    }

    /// The same in ELF32.
    pub fn good_32() -> Self {
        let symbols = Section { entry: 16, ..SYMBOLS };
        Self {
            narrow: true,
            class: 1,
            machine: 3,
            program_offset: 52,
            program_bytes: 32,
            section_bytes: 40,
            sections: vec![NOTHING, symbols, NAMES],
            ..Self::good()
        }
    }

    fn with(change: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut elf = Self::good();
        change(&mut elf);
        elf.bytes()
    }

    /// A field that is as wide as the class.
    fn wide(&self, value: u64) -> Vec<u8> {
        if self.narrow { (value as u32).to_le_bytes().into() } else { value.to_le_bytes().into() }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let (header, program) = if self.narrow { (52, 32) } else { (64, 56) };
        let mut out = Vec::new();
        out.extend(self.magic);
        out.extend([self.class, self.data, self.version, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        out.extend(self.kind.to_le_bytes());
        out.extend(self.machine.to_le_bytes());
        out.extend(1_u32.to_le_bytes());
        out.extend(self.wide(self.entry));
        out.extend(self.wide(self.program_offset));
        let sections_at = u64::from(header) + program * self.programs.len() as u64;
        out.extend(self.wide(self.section_offset.unwrap_or(sections_at)));
        out.extend(0_u32.to_le_bytes());
        let sections = self.section_count.unwrap_or(self.sections.len() as u16);
        let programs = self.program_count.unwrap_or(self.programs.len() as u16);
        for field in [header, self.program_bytes, programs, self.section_bytes, sections, 0] {
            out.extend(field.to_le_bytes());
        }
        for p in &self.programs {
            let fields = [p.offset, p.vaddr, p.paddr, p.file, p.memory];
            let fields = fields.into_iter().flat_map(|field| self.wide(field));
            let flags = p.flags.to_le_bytes();
            out.extend(p.kind.to_le_bytes());
            if self.narrow {
                out.extend(fields.chain(flags));
            } else {
                out.extend(flags.into_iter().chain(fields));
            }
            out.extend(self.wide(p.align));
        }
        for s in &self.sections {
            out.extend(0_u32.to_le_bytes());
            out.extend(s.kind.to_le_bytes());
            for field in [s.flags, 0, s.offset, s.size] {
                out.extend(self.wide(field));
            }
            out.extend(s.link.to_le_bytes());
            out.extend(0_u32.to_le_bytes());
            out.extend([8, s.entry].into_iter().flat_map(|field| self.wide(field)));
        }
        out.resize(out.len().max(self.bytes_min), 0);
        for (at, part) in &self.parts {
            out[*at..at + part.len()].copy_from_slice(part);
        }
        out
    }
}

/// A name, and a file that is wrong in one way.
type Case = (&'static str, Vec<u8>);

fn wrong() -> Vec<Case> {
    [wrong_as_files(), wrong_segments(), wrong_sections()].concat()
}

/// Wrong as a whole, or in the headers of all headers.
fn wrong_as_files() -> Vec<Case> {
    vec![
        ("empty", Vec::new()),
        ("text", b"root:x:0:0:root:/root:/bin/bash\n".to_vec()),
        ("archive", b"!<arch>\n".to_vec()),
        ("bz-image", [&[0; 0x1fe][..], b"\x55\xaa\xeb\x66HdrS", &[0; 0x1fa]].concat()),
        ("cut-in-the-header", Elf::good().bytes()[..40].to_vec()),
        ("cut-in-the-program-headers", Elf::good().bytes()[..100].to_vec()),
        ("cut-in-the-code", Elf::good().bytes()[..0x1008].to_vec()),
        ("class-32", Elf::with(|elf| elf.class = 1)),
        ("class-none", Elf::with(|elf| elf.class = 0)),
        ("big-endian", Elf::with(|elf| elf.data = 2)),
        ("version-0", Elf::with(|elf| elf.version = 0)),
        ("machine-arm", Elf::with(|elf| elf.machine = 183)),
        ("machine-power", Elf::with(|elf| elf.machine = 21)),
        ("object-file", Elf::with(|elf| elf.kind = 1)),
        ("core-dump", Elf::with(|elf| elf.kind = 4)),
        ("position-independent", Elf::with(|elf| elf.kind = 3)),
        ("program-headers-of-32-bytes", Elf::with(|elf| elf.program_bytes = 32)),
        ("program-headers-none", Elf::with(|elf| elf.program_count = Some(0))),
        ("program-headers-65", Elf::with(|elf| elf.program_count = Some(65))),
        ("program-headers-65535", Elf::with(|elf| elf.program_count = Some(0xffff))),
        ("program-headers-behind-the-end", Elf::with(|elf| elf.program_offset = 0x2000)),
        ("program-headers-that-wrap", Elf::with(|elf| elf.program_offset = u64::MAX - 8)),
    ]
}

/// Wrong in a program header, or in what they say together.
fn wrong_segments() -> Vec<Case> {
    let program = |change: fn(&mut Program)| Elf::with(|elf| change(&mut elf.programs[1]));
    vec![
        ("interpreter", program(|p| p.kind = 3)),
        ("dynamic", program(|p| p.kind = 2)),
        ("segment-behind-the-end", program(|p| (p.offset, p.file) = (0x8000, 16))),
        (
            "segment-whose-offset-wraps",
            program(|p| (p.offset, p.file) = (u64::MAX - 0xfff, 0x1000)),
        ),
        ("segment-larger-in-the-file", program(|p| p.file = 0x1800)),
        ("segment-in-the-page-tables", program(|p| (p.vaddr, p.paddr) = (0x1000, 0x1000))),
        ("segment-behind-the-memory", program(|p| (p.vaddr, p.paddr) = (1 << 30, 1 << 30))),
        ("segment-larger-than-the-memory", program(|p| p.memory = 1 << 40)),
        ("segment-that-wraps", program(|p| p.memory = u64::MAX)),
        ("segment-moved", program(|p| p.vaddr = 0xffff_8000_0020_0000)),
        ("segment-aligned-to-3", program(|p| p.align = 3)),
        ("segment-not-congruent", program(|p| p.offset = 0x10)),
        ("segment-writable-and-executable", program(|p| p.flags = 7)),
        ("segments-overlap", program(|p| (p.vaddr, p.paddr) = (0x10_1000, 0x10_1000))),
        (
            "segments-one-in-the-other",
            program(|p| (p.vaddr, p.paddr, p.memory) = (0x10_0000, 0x10_0000, 16)),
        ),
        ("nothing-to-load", Elf::with(|elf| elf.programs.iter_mut().for_each(|p| p.kind = 4))),
        (
            "nothing-in-the-segments",
            Elf::with(|elf| {
                elf.programs.iter_mut().for_each(|p| (p.file, p.memory) = (0, 0));
            }),
        ),
        ("entry-outside", Elf::with(|elf| elf.entry = 0x40_0000)),
        ("entry-0", Elf::with(|elf| elf.entry = 0)),
        ("entry-in-data", Elf::with(|elf| elf.entry = 0x20_0000)),
        ("entry-just-behind-the-code", Elf::with(|elf| elf.entry = 0x10_2000)),
        (
            "wrong-in-many-ways",
            Elf::with(|elf| {
                elf.programs[0].flags = 7;
                elf.programs[1] = Program { align: 3, file: 0x4000, vaddr: 5, ..DATA };
                elf.programs.push(Program { kind: 3, ..DATA });
            }),
        ),
    ]
}

/// Wrong in the section headers, the symbols or their names.
fn wrong_sections() -> Vec<Case> {
    let section =
        |at: usize, change: fn(&mut Section)| Elf::with(|elf| change(&mut elf.sections[at]));
    vec![
        ("sections-behind-the-end", Elf::with(|elf| elf.section_offset = Some(0x2000))),
        ("sections-that-wrap", Elf::with(|elf| elf.section_offset = Some(u64::MAX - 8))),
        ("sections-of-40-bytes", Elf::with(|elf| elf.section_bytes = 40)),
        ("sections-4097", Elf::with(|elf| elf.section_count = Some(4097))),
        ("symbols-100001", section(1, |s| s.size = 24 * 100_001)),
        ("symbols-behind-the-end", section(1, |s| s.offset = 0x2000)),
        ("symbols-that-wrap", section(1, |s| s.offset = u64::MAX - 8)),
        ("symbols-of-16-bytes", section(1, |s| s.entry = 16)),
        ("symbols-and-a-half", section(1, |s| s.size = 50)),
        ("symbols-compressed", section(1, |s| s.flags = 0x800)),
        ("names-in-no-section", section(1, |s| s.link = 99)),
        ("names-in-a-section-of-code", section(2, |s| s.kind = 1)),
        ("names-behind-the-end", section(2, |s| s.offset = 0x1fff)),
        ("names-compressed", section(2, |s| s.flags = 0x800)),
    ]
}

/// What `uvsim check` says about a scenario that names `image` and, if it is not empty, this `boot`.
pub fn told(image: &[u8], boot: &str) -> rig::Ran {
    let folder = TempDir::new().expect("a temporary folder");
    let boot = if boot.is_empty() { String::new() } else { format!(", boot: {boot}") };
    let text = format!(
        "Scenario(\n    format: 1,\n    name: \"wrong/image\",\n    about: \"A wrong image.\",\n    \
         guest: (image: File(\"guest.elf\"){boot}),\n    expect: [],\n)\n"
    );
    let scenario = folder.path().join("scenario.ron");
    fs::write(&scenario, text).expect("a file");
    fs::write(folder.path().join("guest.elf"), image).expect("a file");
    rig::uvsim(&["check", scenario.to_str().expect("temporary paths are text")])
}

#[test]
fn the_image_that_all_others_are_made_from_is_good() {
    let told = told(&Elf::good().bytes(), "");
    assert_eq!(told.code, 0, "{}", told.err);
}

#[test]
fn every_wrong_image_gets_the_message_that_was_read_aloud() {
    let mut wrong_messages = Vec::new();
    let others = protocols::wrong();
    let all = wrong().into_iter().map(|(name, bytes)| (name, "", bytes)).chain(others);
    for (name, boot, bytes) in all {
        let told = told(&bytes, boot);
        assert_eq!(told.code, 3, "{name}: {}", told.err);
        assert!(!told.err.contains("root:x:"), "{name}: the file's text is nobody's business");
        let kept = Path::new(FOLDER).join(format!("{name}.txt"));
        wrong_messages.extend(compare(&kept, &told.shown()));
    }
    assert!(wrong_messages.is_empty(), "{}", wrong_messages.join("\n\n"));
}

#[test]
fn every_message_belongs_to_an_image() {
    let mut kept: Vec<String> = fs::read_dir(FOLDER)
        .expect("the messages are there")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    kept.sort();
    let mut names: Vec<String> = wrong().iter().map(|(name, _)| format!("{name}.txt")).collect();
    names.extend(protocols::wrong().iter().map(|(name, ..)| format!("{name}.txt")));
    names.sort();
    assert_eq!(kept, names);
}

#[test]
fn names_of_functions_are_cut_and_made_inert_and_not_read_before_they_are_asked_for() {
    use host_sim::image::{Image, Limits};
    let mut elf = Elf::good();
    elf.programs.truncate(1);
    let name = [b"\x1b[2J\xff".as_slice(), &[b'x'; 1 << 20]].concat();
    elf.sections[1] = Section { size: 24 * 100_000, ..SYMBOLS };
    elf.sections[2] = Section { offset: 0x1000 + 24 * 100_000, size: 1 << 20, ..NAMES };
    let mut bytes = elf.bytes();
    bytes.truncate(0x1000);
    for number in 0..100_000_u64 {
        bytes.extend((number as u32 % 1000).to_le_bytes());
        bytes.extend([2, 0, 1, 0]);
        bytes.extend((0x10_0000 + number).to_le_bytes());
        bytes.extend(1_u64.to_le_bytes());
    }
    bytes.extend(&name[..1 << 20]);
    let image = Image::parse(&bytes, &Limits::guest(64 << 20)).expect("it is good");
    let shown = image.symbols.describe(0x10_0000).expect("a function");
    assert!(shown.starts_with("\\u{1b}[2J") && shown.ends_with("x...+0x0"), "{shown}");
    assert!(shown.len() < 400, "{} bytes", shown.len());
    assert_eq!(image.symbols.functions().len(), 100_000);
}
