//! The two classes of ELF files: how wide their fields are, and so how large their headers.

use goblin::container::{Container, Ctx, Endian};
use goblin::elf::header::{ELFCLASS32, ELFCLASS64, EM_386, EM_X86_64};

/// A class (System V ABI, "ELF header", EI_CLASS).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Class {
    /// Fields of 32 bits, code for the 80386.
    Elf32,
    /// Fields of 64 bits, code for x86-64.
    #[default]
    Elf64,
}

impl Class {
    /// By EI_CLASS.
    pub(super) const fn of(ident: u8) -> Option<Self> {
        match ident {
            ELFCLASS32 => Some(Self::Elf32),
            ELFCLASS64 => Some(Self::Elf64),
            _ => None,
        }
    }

    const fn choose<T: Copy>(self, narrow: T, wide: T) -> T {
        match self {
            Self::Elf32 => narrow,
            Self::Elf64 => wide,
        }
    }

    /// How the fields of a file of this class lie.
    pub(super) const fn layout(self) -> Ctx {
        let container = match self {
            Self::Elf32 => Container::Little,
            Self::Elf64 => Container::Big,
        };
        Ctx { container, le: Endian::Little }
    }

    /// How wide the code in such a file is, in bits. (One of 64 may begin with code of 32.)
    pub const fn bitness(self) -> u32 {
        self.choose(32, 64)
    }

    /// e_machine.
    pub(super) const fn machine(self) -> u16 {
        self.choose(EM_386, EM_X86_64)
    }

    /// Bytes of the ELF header.
    pub(super) const fn header_bytes(self) -> usize {
        self.choose(52, 64)
    }

    /// Bytes of a program header.
    pub(super) const fn program_header_bytes(self) -> u16 {
        self.choose(32, 56)
    }

    /// Bytes of a section header.
    pub(super) const fn section_header_bytes(self) -> u16 {
        self.choose(40, 64)
    }

    /// Bytes of a symbol.
    pub(super) const fn symbol_bytes(self) -> u64 {
        self.choose(16, 24)
    }
}
