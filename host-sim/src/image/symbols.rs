//! An image's functions: which one an address is in, and where one of a name is.
//!
//! Names come from the file and may hold anything: they are cut at 256 bytes, and what is shown
//! of them is escaped.

use super::check::{Checked, within};
use super::class::Class;
use super::error::Rule::{SectionHeaders, SymbolTable, TooManySections, TooManySymbols};
use super::{ImageError, SECTION_HEADERS_MAX, SYMBOLS_MAX};
use goblin::elf::section_header::{SHF_COMPRESSED, SHT_STRTAB, SHT_SYMTAB, SectionHeader};
use goblin::elf::sym::{STT_FUNC, STT_OBJECT, Symtab};
use std::borrow::Cow;
use std::fmt::{self, Write};
use std::sync::OnceLock;

/// Most bytes of a name.
pub const NAME_BYTES_MAX: usize = 256;
/// Most bytes of a name without its mangling, which can be longer.
const SHOWN_BYTES_MAX: usize = 1024;

/// One function or variable. Its name stays in the file's table until somebody asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Its first byte.
    pub address: u64,
    /// Its size in bytes; 0 if the file does not say.
    pub bytes: u64,
    /// Where its name begins.
    name: usize,
}

/// The functions of an image: the tables as the file has them, checked to be inside it, and read
/// when the first function is looked for.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    class: Class,
    table: Vec<u8>,
    names: Vec<u8>,
    functions: OnceLock<Vec<Symbol>>,
}

impl Symbols {
    /// None, of a file that is taken for this class.
    pub(super) fn none(class: Class) -> Self {
        Self { class, ..Self::default() }
    }

    /// The class of the file that they are of.
    pub fn class(&self) -> Class {
        self.class
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.functions().is_empty()
    }

    /// The functions, by address, those at one address by name.
    pub fn functions(&self) -> &[Symbol] {
        self.functions.get_or_init(|| self.of_kind(STT_FUNC))
    }

    /// The variables, by address, those at one address by name; read anew each time.
    pub fn objects(&self) -> Vec<Symbol> {
        self.of_kind(STT_OBJECT)
    }

    /// The symbols of one type that are defined and have a name.
    fn of_kind(&self, kind: u8) -> Vec<Symbol> {
        let count = self.table.len() / self.class.symbol_bytes() as usize;
        let layout = self.class.layout();
        let Ok(table) = Symtab::parse(&self.table, 0, count, layout) else { return Vec::new() };
        let defined =
            table.iter().filter(|symbol| symbol.st_type() == kind && symbol.st_shndx != 0);
        let found = defined.map(|symbol| Symbol {
            address: symbol.st_value,
            bytes: symbol.st_size,
            name: symbol.st_name,
        });
        let mut found: Vec<Symbol> =
            found.filter(|symbol| !self.name_bytes(symbol).is_empty()).collect();
        found.sort_by_key(|symbol| (symbol.address, self.name_bytes(symbol)));
        found
    }

    fn name_bytes(&self, symbol: &Symbol) -> &[u8] {
        name_at(&self.names, symbol.name)
    }

    /// The symbol's name as the file has it, cut at [`NAME_BYTES_MAX`].
    pub fn name(&self, symbol: &Symbol) -> Cow<'_, str> {
        String::from_utf8_lossy(self.name_bytes(symbol))
    }

    /// Where the function of this name begins (the lowest, if there are several).
    pub fn address(&self, name: &str) -> Option<u64> {
        let named = |symbol: &&Symbol| self.name_bytes(symbol) == name.as_bytes();
        self.functions().iter().find(named).map(|symbol| symbol.address)
    }

    /// The function that `address` is in, and how far from its start. One without a size reaches
    /// to the next. Of several at one place the first in alphabetical order is meant.
    pub fn resolve(&self, address: u64) -> Option<(&Symbol, u64)> {
        let functions = self.functions();
        let after = functions.partition_point(|function| function.address <= address);
        let start = functions.get(after.checked_sub(1)?)?.address;
        let function = &functions[functions.partition_point(|other| other.address < start)];
        let offset = address - start;
        (function.bytes == 0 || offset < function.bytes).then_some((function, offset))
    }

    /// `function+0xoffset`, escaped, as people read it; `None` if the address is in no function.
    pub fn describe(&self, address: u64) -> Option<String> {
        let (function, offset) = self.resolve(address)?;
        Some(format!("{}+{offset:#x}", self.shown(function)))
    }

    /// The symbol's name, escaped, as people read it.
    pub fn shown(&self, symbol: &Symbol) -> String {
        let cut = if self.name_bytes(symbol).len() == NAME_BYTES_MAX { "..." } else { "" };
        format!("{}{cut}", readable(&self.name(symbol)))
    }
}

/// The image's symbols, none if it is stripped: only their place is looked at here.
pub(super) fn find(bytes: &[u8], checked: &Checked) -> Result<Symbols, ImageError> {
    let Checked { class, header, .. } = checked;
    if header.e_shnum == 0 || header.e_shoff == 0 {
        return Ok(Symbols::none(*class));
    }
    let sections = sections(bytes, checked)?;
    let symbol_bytes = class.symbol_bytes();
    let numbered = (0..).zip(&sections);
    let Some((index, table)) = numbered.clone().find(|(_, s)| s.sh_type == SHT_SYMTAB) else {
        return Ok(Symbols::none(*class));
    };
    let count = table.sh_size / symbol_bytes;
    if count > SYMBOLS_MAX {
        let found = format!("{count}, at most {SYMBOLS_MAX}");
        return Err(ImageError::in_section(TooManySymbols, index, found));
    }
    let table = &bytes[part(bytes, index, table, symbol_bytes)?];
    let link = sections[usize::from(index)].sh_link;
    let named = numbered.clone().find(|(index, s)| u32::from(*index) == link && is_names(s));
    let Some((index, names)) = named else {
        let found = format!("its names are said to be in section {link}, which holds none");
        return Err(ImageError::in_section(SymbolTable, index, found));
    };
    let names = &bytes[part(bytes, index, names, 0)?];
    let (table, names) = (table.to_vec(), names.to_vec());
    Ok(Symbols { class: *class, table, names, functions: OnceLock::new() })
}

fn is_names(section: &SectionHeader) -> bool {
    section.sh_type == SHT_STRTAB
}

/// Where in the file a section is whose entries have `entry_bytes` (0: it has no entries).
fn part(
    bytes: &[u8],
    index: u16,
    section: &SectionHeader,
    entry_bytes: u64,
) -> Result<std::ops::Range<usize>, ImageError> {
    let SectionHeader { sh_offset, sh_size, sh_entsize, sh_flags, .. } = *section;
    let refuse = |found: String| Err(ImageError::in_section(SymbolTable, index, found));
    if sh_flags & u64::from(SHF_COMPRESSED) != 0 {
        return refuse("it is compressed".to_owned());
    }
    if entry_bytes != 0 && sh_entsize != entry_bytes {
        return refuse(format!("a symbol has {sh_entsize} bytes, not {entry_bytes}"));
    }
    if entry_bytes != 0 && !sh_size.is_multiple_of(entry_bytes) {
        return refuse(format!("{sh_size} bytes are no whole number of symbols"));
    }
    within(bytes, sh_offset, sh_size).map_or_else(
        || {
            let file = bytes.len();
            refuse(format!(
                "{sh_size} bytes at offset {sh_offset:#x} of the file, which has {file}"
            ))
        },
        Ok,
    )
}

pub(super) fn sections(bytes: &[u8], checked: &Checked) -> Result<Vec<SectionHeader>, ImageError> {
    let Checked { class, header, .. } = checked;
    let (count, each, offset) = (header.e_shnum, header.e_shentsize, header.e_shoff);
    if count > SECTION_HEADERS_MAX {
        let found = format!("{count}, at most {SECTION_HEADERS_MAX}");
        return Err(ImageError::in_file(TooManySections, found));
    }
    let broken = || {
        let file = bytes.len();
        let found =
            format!("{count} of {each} bytes at offset {offset:#x}, and the file has {file}");
        ImageError::in_file(SectionHeaders, found)
    };
    if each != class.section_header_bytes() {
        return Err(broken());
    }
    let start = usize::try_from(offset).map_err(|_| broken())?;
    SectionHeader::parse(bytes, start, usize::from(count), class.layout()).map_err(|_| broken())
}

/// The name that begins at `offset`, cut; empty if there is none.
pub(super) fn name_at(names: &[u8], offset: usize) -> &[u8] {
    let rest = names.get(offset..).unwrap_or_default();
    let rest = &rest[..rest.len().min(NAME_BYTES_MAX)];
    let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    &rest[..end]
}

/// A name without its mangling and with everything but printable ASCII escaped.
fn readable(name: &str) -> String {
    let mut shown = Shown(String::with_capacity(name.len()));
    // A name may be short and say that it is long: what is over the limit is left off.
    let whole = write!(shown, "{:#}", rustc_demangle::demangle(name)).is_ok();
    if !whole {
        shown.0.push_str("...");
    }
    shown.0
}

/// Printable text of at most [`SHOWN_BYTES_MAX`].
struct Shown(String);

impl Write for Shown {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                ' '..='~' => self.0.push(character),
                _ => self.0.extend(character.escape_default()),
            }
            if self.0.len() >= SHOWN_BYTES_MAX {
                return Err(fmt::Error);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tables as a file has them.
    fn symbols(list: &[(u64, u64, &str)]) -> Symbols {
        let mut symbols = Symbols { names: vec![0], ..Symbols::default() };
        for (address, bytes, name) in list {
            symbols.table.extend((symbols.names.len() as u32).to_le_bytes());
            // st_info: a function; st_shndx: section 1.
            symbols.table.extend([STT_FUNC, 0, 1, 0]);
            symbols.table.extend(address.to_le_bytes());
            symbols.table.extend(bytes.to_le_bytes());
            symbols.names.extend(name.bytes());
            symbols.names.push(0);
        }
        symbols
    }

    #[test]
    fn an_address_belongs_to_the_function_around_it_and_to_none_between_two() {
        let symbols = symbols(&[(0x200, 0, "open"), (0x100, 0x10, "first")]);
        assert_eq!(symbols.describe(0xff), None);
        assert_eq!(symbols.describe(0x100).as_deref(), Some("first+0x0"));
        assert_eq!(symbols.describe(0x10f).as_deref(), Some("first+0xf"));
        assert_eq!(symbols.describe(0x110), None);
        assert_eq!(symbols.describe(0x999).as_deref(), Some("open+0x799"));
    }

    #[test]
    fn variables_are_apart_from_functions_and_a_file_without_symbols_keeps_its_class() {
        let mut both = symbols(&[(0x100, 8, "run"), (0x300, 16, "table"), (0x200, 8, "count")]);
        for symbol in [1, 2] {
            both.table[symbol * 24 + 4] = STT_OBJECT;
        }
        let found: Vec<_> = both.objects().iter().map(|o| (o.address, o.bytes)).collect();
        assert_eq!(found, [(0x200, 8), (0x300, 16)]);
        assert_eq!(both.functions().len(), 1);
        assert_eq!(both.class(), Class::default());
        for class in [Class::Elf32, Class::Elf64] {
            assert_eq!(Symbols::none(class).class(), class);
        }
    }

    #[test]
    fn every_name_is_found_though_one_is_shown() {
        let symbols = symbols(&[(0x100, 8, "memcpy"), (0x100, 8, "bcmp"), (0x300, 8, "bcmp")]);
        assert_eq!(symbols.describe(0x101).as_deref(), Some("bcmp+0x1"));
        assert_eq!(symbols.address("memcpy"), Some(0x100));
        assert_eq!(symbols.address("bcmp"), Some(0x100));
        assert_eq!(symbols.address("memset"), None);
    }

    #[test]
    fn names_are_shown_without_mangling() {
        let shown = readable("_ZN8firmware3dma5slots5Slots4take17hd597155c6f1dbfb1E");
        assert_eq!(shown, "firmware::dma::slots::Slots::take");
        let shown = readable(concat!(
            "_ZN58_$LT$alloc..string..String$u20$as$u20$core..fmt..Write$GT$",
            "9write_str17h0123456789abcdefE"
        ));
        assert_eq!(shown, "<alloc::string::String as core::fmt::Write>::write_str");
        assert_eq!(readable("dma_map"), "dma_map");
        assert_eq!(readable("_ZN9999999999999999999999E"), "_ZN9999999999999999999999E");
        assert_eq!(readable("_ZN3abcE"), "abc");
        let shown = readable("_RNvMsa_NtCsgEmfK2I1SDS_4core3fmtNtB5_9Formatter3pad");
        assert_eq!(shown, "<core::fmt::Formatter>::pad");
    }

    #[test]
    fn what_could_speak_to_a_terminal_is_escaped() {
        assert_eq!(readable("a\u{1b}[2Jb\u{202e}\n"), "a\\u{1b}[2Jb\\u{202e}\\n");
    }

    #[test]
    fn a_long_name_is_cut() {
        let long = vec![b'x'; 100_000];
        assert_eq!(name_at(&long, 0).len(), NAME_BYTES_MAX);
        assert_eq!(name_at(b"abc\0def\0", 4), b"def");
        assert_eq!(name_at(b"abc", 4), b"");
        let symbols = symbols(&[(0x100, 0, &"x".repeat(1000))]);
        let shown = symbols.describe(0x100).expect("it is there");
        assert_eq!(shown, format!("{}...+0x0", "x".repeat(NAME_BYTES_MAX)));
    }
}
