//! An image's functions: which one an address is in, and where one of a name is.
//!
//! Names come from the file and may hold anything: they are cut at 256 bytes, and what is shown
//! of them is escaped.

use super::check::{LAYOUT, within};
use super::error::Rule::{SectionHeaders, TooManySymbols};
use super::{ImageError, SECTION_HEADERS_MAX, SYMBOLS_MAX};
use goblin::elf::header::Header;
use goblin::elf::section_header::{SHT_STRTAB, SHT_SYMTAB, SectionHeader};
use goblin::elf::sym::{STT_FUNC, Symtab};
use std::collections::BTreeMap;

/// Most bytes of a name.
pub const NAME_BYTES_MAX: usize = 256;

const SECTION_HEADER_BYTES: u16 = 64;
const SYMBOL_BYTES: u64 = 24;

/// One function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Its first byte.
    pub address: u64,
    /// Its size in bytes; 0 if the file does not say.
    pub bytes: u64,
    /// Its name as the file has it, cut.
    pub name: String,
}

/// The functions of an image.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    /// By address.
    functions: Vec<Symbol>,
    by_name: BTreeMap<String, u64>,
}

impl Symbols {
    fn new(mut functions: Vec<Symbol>) -> Self {
        // Of several names for one address the first in alphabetical order is shown.
        functions.sort_by(|a, b| (a.address, &a.name).cmp(&(b.address, &b.name)));
        let by_name = functions.iter().rev().map(|f| (f.name.clone(), f.address)).collect();
        functions.dedup_by_key(|function| function.address);
        Self { functions, by_name }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// The functions, by address.
    pub fn functions(&self) -> &[Symbol] {
        &self.functions
    }

    /// Where the function of this name begins (the lowest, if there are several).
    pub fn address(&self, name: &str) -> Option<u64> {
        self.by_name.get(name).copied()
    }

    /// The function that `address` is in, and how far from its start. One without a size reaches
    /// to the next.
    pub fn resolve(&self, address: u64) -> Option<(&Symbol, u64)> {
        let after = self.functions.partition_point(|function| function.address <= address);
        let function = self.functions.get(after.checked_sub(1)?)?;
        let offset = address - function.address;
        (function.bytes == 0 || offset < function.bytes).then_some((function, offset))
    }

    /// `function+0xoffset`, escaped, as people read it; `None` if the address is in no function.
    pub fn describe(&self, address: u64) -> Option<String> {
        let (function, offset) = self.resolve(address)?;
        Some(format!("{}+{offset:#x}", readable(&function.name)))
    }
}

/// The image's functions; none if it is stripped.
pub(super) fn read(bytes: &[u8], header: &Header) -> Result<Symbols, ImageError> {
    if header.e_shnum == 0 || header.e_shoff == 0 {
        return Ok(Symbols::default());
    }
    let sections = sections(bytes, header)?;
    let Some(table) = sections.iter().find(|section| section.sh_type == SHT_SYMTAB) else {
        return Ok(Symbols::default());
    };
    let broken = ImageError::in_file(SectionHeaders, table.sh_offset);
    let names = sections.get(table.sh_link as usize).filter(|s| s.sh_type == SHT_STRTAB);
    let names = names.and_then(|names| within(bytes, names.sh_offset, names.sh_size));
    let names = &bytes[names.ok_or(broken)?];
    let count = table.sh_size / SYMBOL_BYTES;
    if count > SYMBOLS_MAX {
        return Err(ImageError::in_file(TooManySymbols, count));
    }
    let range = within(bytes, table.sh_offset, table.sh_size).ok_or(broken)?;
    let symbols = Symtab::parse(bytes, range.start, count as usize, LAYOUT).map_err(|_| broken)?;
    let functions = symbols.iter().filter(|symbol| symbol.st_type() == STT_FUNC);
    let functions = functions.filter(|symbol| symbol.st_shndx != 0).map(|symbol| Symbol {
        address: symbol.st_value,
        bytes: symbol.st_size,
        name: name_at(names, symbol.st_name),
    });
    Ok(Symbols::new(functions.filter(|function| !function.name.is_empty()).collect()))
}

fn sections(bytes: &[u8], header: &Header) -> Result<Vec<SectionHeader>, ImageError> {
    let broken = ImageError::in_file(SectionHeaders, header.e_shoff);
    if header.e_shnum > SECTION_HEADERS_MAX {
        return Err(ImageError::in_file(TooManySymbols, u64::from(header.e_shnum)));
    }
    if header.e_shentsize != SECTION_HEADER_BYTES {
        return Err(broken);
    }
    let size = u64::from(header.e_shnum) * u64::from(SECTION_HEADER_BYTES);
    let range = within(bytes, header.e_shoff, size).ok_or(broken)?;
    SectionHeader::parse(bytes, range.start, usize::from(header.e_shnum), LAYOUT)
        .map_err(|_| broken)
}

/// The name that begins at `offset`, cut; empty if there is none.
fn name_at(names: &[u8], offset: usize) -> String {
    let rest = names.get(offset..).unwrap_or_default();
    let rest = &rest[..rest.len().min(NAME_BYTES_MAX)];
    let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    String::from_utf8_lossy(&rest[..end]).into_owned()
}

/// A name without its mangling (Rust's legacy scheme: `_ZN`, parts with their lengths, a hash,
/// `E`) and with everything but printable ASCII escaped.
fn readable(name: &str) -> String {
    let plain = demangled(name).unwrap_or_else(|| name.to_owned());
    let mut shown = String::with_capacity(plain.len());
    for character in plain.chars() {
        match character {
            ' '..='~' => shown.push(character),
            _ => shown.extend(character.escape_default()),
        }
    }
    shown
}

fn demangled(name: &str) -> Option<String> {
    let mut rest = name.strip_prefix("_ZN")?;
    let mut parts = Vec::new();
    while let Some(digits) = rest.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0) {
        let length: usize = rest[..digits].parse().ok()?;
        let end = digits.checked_add(length)?;
        parts.push(rest.get(digits..end)?);
        rest = &rest[end..];
    }
    let hash = parts.pop()?;
    let hashed = hash.len() == 17 && hash.starts_with('h');
    if !hashed || parts.is_empty() {
        return None;
    }
    let joined = parts.join("::");
    let joined = joined.replace("_$", "$").replace("..", "::");
    const ESCAPES: [(&str, &str); 8] = [
        ("$LT$", "<"),
        ("$GT$", ">"),
        ("$RF$", "&"),
        ("$LP$", "("),
        ("$RP$", ")"),
        ("$C$", ","),
        ("$u20$", " "),
        ("$BP$", "*"),
    ];
    Some(ESCAPES.iter().fold(joined, |text, (code, plain)| text.replace(code, plain)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbols(list: &[(u64, u64, &str)]) -> Symbols {
        let symbol = |&(address, bytes, name): &(u64, u64, &str)| Symbol {
            address,
            bytes,
            name: name.to_owned(),
        };
        Symbols::new(list.iter().map(symbol).collect())
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
        assert_eq!(readable("_ZN3abcE"), "_ZN3abcE");
    }

    #[test]
    fn what_could_speak_to_a_terminal_is_escaped() {
        assert_eq!(readable("a\u{1b}[2Jb\u{202e}\n"), "a\\u{1b}[2Jb\\u{202e}\\n");
    }

    #[test]
    fn a_long_name_is_cut() {
        let long = vec![b'x'; 100_000];
        assert_eq!(name_at(&long, 0).len(), NAME_BYTES_MAX);
        assert_eq!(name_at(b"abc\0def\0", 4), "def");
        assert_eq!(name_at(b"abc", 4), "");
        assert_eq!(name_at(&[0xff, 0xfe, 0], 0), "\u{fffd}\u{fffd}");
    }
}
