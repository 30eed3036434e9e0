//! What can be wrong with an image: one rule, one code, one sentence, and what to do.

use std::fmt;

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $sentence:literal, $act:literal;)*) => {
        /// A rule that images must keep.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Rule {
            $($(#[$doc])* $name,)*
        }

        impl Rule {
            /// Every rule, by code.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its error code, E321 to E339 and E350 to E364.
            pub const fn code(self) -> u16 {
                match self {
                    $(Self::$name => $code,)*
                }
            }

            /// What is wrong where it is broken.
            pub const fn sentence(self) -> &'static str {
                match self {
                    $(Self::$name => $sentence,)*
                }
            }

            /// What to do about it.
            pub const fn act(self) -> &'static str {
                match self {
                    $(Self::$name => $act,)*
                }
            }
        }
    };
}

rules! {
    /// The file's size.
    FileSize = 321, "the file is larger than the limit", "strip it of debug information";
    /// Magic.
    NotElf = 322, "the file is no ELF file: it does not begin with 7f 45 4c 46",
        "name the linked image, not its source, an archive or a script; a bzImage has one in it: see the README under `Linux`";
    /// e_machine.
    Machine = 323, "the image is for another machine than x86-64 (e_machine 62, in ELF32 3)",
        "build it for x86_64, or for i386 if it starts in 32-bit mode";
    /// e_type.
    NotExec = 324, "the image is no executable (e_type 2)",
        "link it: an object file, a library or a core dump does not start";
    /// e_phentsize.
    ProgramHeaderSize = 325, "a program header must have 56 bytes, in ELF32 32",
        "link it again: no linker writes another size";
    /// e_phnum.
    ProgramHeaderCount = 326, "there must be 1 to 64 program headers",
        "link it with few segments: code, constants, data";
    /// e_phoff.
    ProgramHeadersOutside = 327, "the program headers lie outside the file",
        "copy it again: the file may be cut off";
    /// PT_DYNAMIC.
    Dynamic = 328, "the image is linked dynamically, and there is no dynamic loader",
        "link it with `-static -no-pie`";
    /// p_offset, p_filesz.
    SegmentFile = 329, "the segment's bytes lie outside the file",
        "copy it again: the file may be cut off";
    /// p_filesz, p_memsz.
    SegmentSize = 330, "the segment has more bytes in the file than in memory",
        "link it again: p_filesz must not be larger than p_memsz";
    /// p_paddr, p_memsz.
    SegmentPlace = 331, "the segment does not lie where images of this guest may lie",
        "link it to 0x100000 (`-Ttext-segment=0x100000`), or give the guest more memory";
    /// p_vaddr, p_paddr.
    SegmentMoved = 332, "p_vaddr and p_paddr must be equal: memory is identity-mapped",
        "link it without `AT(...)` in the linker script";
    /// p_align.
    SegmentAlign = 333, "the alignment must be 0 or a power of two that offset and address share",
        "link it again: offset and address must agree below p_align";
    /// p_flags.
    WriteExecute = 334, "a segment must not be writable and executable",
        "link it without `-N` and without `-z execstack`, code and data apart";
    /// Two segments.
    Overlap = 335, "the segment overlaps an earlier one",
        "give each section of the linker script addresses of its own";
    /// No PT_LOAD.
    NothingToLoad = 336, "no program header loads anything",
        "link it as a program: it has no code that would be loaded";
    /// e_entry.
    Entry = 337, "the entry lies in no executable segment",
        "name the entry to the linker: `-e _start`";
    /// e_shoff, e_shentsize.
    SectionHeaders = 338, "the section headers lie outside the file or have another size than 64, in ELF32 40",
        "strip it, or copy it again: the file may be cut off";
    /// Symbols.
    TooManySymbols = 339, "there are more symbols than the limit", "strip it (`strip -g` first)";
    /// e_ident to e_shstrndx.
    HeaderCut = 350, "the file ends inside its header",
        "copy it again: the file is cut off";
    /// EI_CLASS.
    WrongClass = 351, "the image is not ELF64 (class 2), and nothing in it says how to start it otherwise",
        "build it for 64 bits (`-m64`), or give it a Multiboot 1 header or a PVH note";
    /// EI_DATA.
    ByteOrder = 352, "the image is not little-endian (data 1)", "build it for x86_64";
    /// EI_VERSION.
    Version = 353, "the image's ELF version is not 1", "link it again: there is no other version";
    /// e_type is ET_DYN.
    Pie = 354, "the image is position-independent (e_type 3), and nobody relocates it here",
        "link it with `-static -no-pie`";
    /// PT_INTERP.
    Interpreter = 355, "the image asks for a program that loads it, and there is none here",
        "link it with `-static -no-pie`";
    /// p_paddr + p_memsz.
    SegmentWraps = 356, "the segment goes past the end of all addresses",
        "link it again: p_paddr + p_memsz must fit into 64 bits";
    /// SHT_SYMTAB, its SHT_STRTAB.
    SymbolTable = 357, "the symbol table or its names lie outside the file, or have another form",
        "strip it, or copy it again: the file may be cut off";
    /// e_shnum.
    TooManySections = 358, "there are more sections than the limit", "strip it";
    /// Multiboot: magic, checksum.
    NoMultiboot = 359, "the file has no Multiboot 1 header",
        "put one into its first 8192 bytes, on a multiple of 4: 0x1badb002, flags, and what makes the sum 0; or start it otherwise: `boot: Elf64`";
    /// Multiboot: flags.
    MultibootFlags = 360, "the Multiboot header demands what no loader knows: bits 3 to 15 of its flags",
        "clear them: a loader must refuse what it does not know";
    /// Multiboot: header_addr, load_addr, load_end_addr, bss_end_addr.
    FlatAddresses = 361, "the Multiboot header's address fields contradict each other",
        "order them: load_addr, header_addr, load_end_addr, bss_end_addr";
    /// Multiboot: what the address fields ask for.
    FlatFile = 362, "the Multiboot header's address fields ask for more than the file has",
        "build it again: load_addr goes with the file's beginning, load_end_addr with its end";
    /// Multiboot: entry_addr.
    FlatEntry = 363, "the Multiboot header's entry_addr lies outside of what is loaded",
        "name the address of the first instruction there";
    /// XEN_ELFNOTE_PHYS32_ENTRY.
    NoPvhNote = 364, "the image has no PVH note (name `Xen`, type 18) of 4 or 8 bytes",
        "add the note in a PT_NOTE segment: it holds the physical address of the 32-bit entry";
}

/// A header of a file, by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderIndex {
    /// A program header.
    Program(u16),
    /// A section header.
    Section(u16),
}

impl fmt::Display for HeaderIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(index) => write!(f, "program header {index}"),
            Self::Section(index) => write!(f, "section header {index}"),
        }
    }
}

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageError {
    /// Which rule.
    pub rule: Rule,
    /// The header that breaks it, if one does.
    pub header: Option<HeaderIndex>,
    /// What was found there, and what is allowed.
    pub found: String,
}

impl ImageError {
    pub(super) const fn in_file(rule: Rule, found: String) -> Self {
        Self { rule, header: None, found }
    }

    pub(super) const fn in_program_header(rule: Rule, index: u16, found: String) -> Self {
        Self { rule, header: Some(HeaderIndex::Program(index)), found }
    }

    pub(super) const fn in_section(rule: Rule, index: u16, found: String) -> Self {
        Self { rule, header: Some(HeaderIndex::Section(index)), found }
    }
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(header) = self.header {
            write!(f, "{header}: ")?;
        }
        write!(f, "{} ({})", self.rule.sentence(), self.found)
    }
}

impl std::error::Error for ImageError {}
