//! What can be wrong with an image: one rule, one code, one sentence.

use std::fmt;

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $sentence:literal;)*) => {
        /// A rule that images must keep.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Rule {
            $($(#[$doc])* $name,)*
        }

        impl Rule {
            /// Every rule, by code.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its error code, E321 to E339.
            pub const fn code(self) -> u16 {
                match self {
                    $(Self::$name => $code,)*
                }
            }

            /// What it demands, and what to do.
            pub const fn sentence(self) -> &'static str {
                match self {
                    $(Self::$name => $sentence,)*
                }
            }
        }
    };
}

rules! {
    /// The file's size.
    FileSize = 321, "the file is larger than the limit";
    /// Magic and header size.
    NotElf = 322, "the file is no ELF file: it lacks the magic or its header is cut off";
    /// Class, byte order, version, machine.
    Machine = 323, "the image is not for this machine: it must be ELF64, little-endian, x86-64";
    /// e_type.
    NotExec = 324, "the image is not ET_EXEC: link it with `-static -no-pie`";
    /// e_phentsize.
    ProgramHeaderSize = 325, "a program header must have 56 bytes";
    /// e_phnum.
    ProgramHeaderCount = 326, "there must be 1 to 64 program headers";
    /// e_phoff.
    ProgramHeadersOutside = 327, "the program headers lie outside the file";
    /// PT_INTERP, PT_DYNAMIC.
    Dynamic = 328, "the image wants a dynamic loader and there is none: link it with `-static`";
    /// p_offset, p_filesz.
    SegmentFile = 329, "the segment's bytes lie outside the file";
    /// p_filesz, p_memsz.
    SegmentSize = 330, "the segment has more bytes in the file than in memory";
    /// p_paddr, p_memsz.
    SegmentPlace = 331, "the segment does not lie where images of this guest may lie";
    /// p_vaddr, p_paddr.
    SegmentMoved = 332, "p_vaddr and p_paddr must be equal: memory is identity-mapped";
    /// p_align.
    SegmentAlign = 333, "the alignment must be 0 or a power of two that offset and address share";
    /// p_flags.
    WriteExecute = 334, "a segment must not be writable and executable";
    /// Two segments.
    Overlap = 335, "the segment overlaps an earlier one";
    /// No PT_LOAD.
    NothingToLoad = 336, "no program header loads anything";
    /// e_entry.
    Entry = 337, "the entry lies in no executable segment";
    /// Section headers and symbol table.
    SectionHeaders = 338, "section headers or symbol table are broken: strip the image";
    /// Too many symbols or sections.
    TooManySymbols = 339, "there are more than 4096 sections or 100000 symbols: strip the image";
}

/// One broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageError {
    /// Which rule.
    pub rule: Rule,
    /// The index of the program header that breaks it, if one does.
    pub program_header: Option<u16>,
    /// What was found there: a size, an address, an offset or a number.
    pub found: u64,
}

impl ImageError {
    pub(super) const fn in_file(rule: Rule, found: u64) -> Self {
        Self { rule, program_header: None, found }
    }

    pub(super) const fn in_header(rule: Rule, index: u16, found: u64) -> Self {
        Self { rule, program_header: Some(index), found }
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E{}", self.rule.code())?;
        if let Some(index) = self.program_header {
            write!(f, ", program header {index}")?;
        }
        write!(f, ": {} (found {:#x})", self.rule.sentence(), self.found)
    }
}

impl std::error::Error for ImageError {}
