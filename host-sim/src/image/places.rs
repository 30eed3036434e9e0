//! What an image's file says of where things lie: its sections, and its larger data objects.

use super::check::{Checked, within};
use super::symbols::{self, Symbol, Symbols};
use goblin::elf::section_header::{SHF_ALLOC, SHF_EXECINSTR, SectionHeader};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::ops::Range;

/// Most sections, and most objects, that are named.
pub const PLACES_MAX: usize = 64;
/// An object of fewer bytes tells nothing of a page.
const OBJECT_BYTES_MIN: u64 = 64;

/// What lies at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlaceKind {
    /// A section with code.
    Text,
    /// Another section.
    Data,
    /// A variable.
    Object,
}

/// A part of an image that its file names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Its first byte, guest-physical.
    pub gpa: u64,
    /// Its size in bytes, at least 1.
    pub bytes: u64,
    /// What it is.
    pub holds: PlaceKind,
    /// Its name; of a section as the file has it, so escape it.
    pub name: String,
}

impl Place {
    /// Whether some of it lies in `range`.
    pub fn is_in(&self, range: &Range<u64>) -> bool {
        self.gpa < range.end && range.start < self.gpa.saturating_add(self.bytes)
    }
}

/// The sections that are loaded, then the largest objects; each by address.
pub(super) fn find(bytes: &[u8], checked: &Checked, symbols: &Symbols) -> Vec<Place> {
    let mut places = sections(bytes, checked);
    places.extend(objects(symbols));
    places
}

/// The sections that have a name; none of a file without section headers.
fn sections(bytes: &[u8], checked: &Checked) -> Vec<Place> {
    let Ok(sections) = symbols::sections(bytes, checked) else { return Vec::new() };
    let names = sections.get(usize::from(checked.header.e_shstrndx));
    let names = names.and_then(|names| within(bytes, names.sh_offset, names.sh_size));
    let names = names.map_or(&[][..], |names| &bytes[names]);
    let has = |section: &SectionHeader, flag: u32| section.sh_flags & u64::from(flag) != 0;
    let loaded = sections.iter().filter(|section| has(section, SHF_ALLOC) && section.sh_size > 0);
    let named = loaded.map(|section| Place {
        gpa: section.sh_addr,
        bytes: section.sh_size,
        holds: if has(section, SHF_EXECINSTR) { PlaceKind::Text } else { PlaceKind::Data },
        name: String::from_utf8_lossy(symbols::name_at(names, section.sh_name)).into_owned(),
    });
    let mut places: Vec<Place> =
        named.filter(|place| !place.name.is_empty()).take(PLACES_MAX).collect();
    places.sort_by_key(|place| place.gpa);
    places
}

fn objects(symbols: &Symbols) -> Vec<Place> {
    let mut objects = symbols.objects();
    objects.retain(|object| object.bytes >= OBJECT_BYTES_MIN);
    objects.sort_by_key(|object| (Reverse(object.bytes), object.address));
    objects.truncate(PLACES_MAX);
    objects.sort_by_key(|object| object.address);
    let place = |object: &Symbol| Place {
        gpa: object.address,
        bytes: object.bytes,
        holds: PlaceKind::Object,
        name: symbols.shown(object),
    };
    objects.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Image, Limits, builtin};

    #[test]
    fn the_guest_of_ours_has_its_sections_in_the_order_of_memory() {
        let image = Image::parse(builtin::GUEST, &Limits::guest(1 << 30)).expect("it is ours");
        let sections: Vec<_> =
            image.places.iter().filter(|place| place.holds != PlaceKind::Object).collect();
        let names: Vec<&str> = sections.iter().map(|place| place.name.as_str()).collect();
        assert_eq!(names, [".text", ".rodata", ".data", ".bss"]);
        assert_eq!(sections[0].holds, PlaceKind::Text);
        assert!(sections[0].is_in(&(image.entry..image.entry + 1)));
        assert!(!sections[1].is_in(&(image.entry..image.entry + 1)));
        assert!(sections.is_sorted_by_key(|place| place.gpa));
    }

    #[test]
    fn a_place_is_in_a_range_that_it_shares_a_byte_with() {
        let place =
            Place { gpa: 0x1000, bytes: 0x10, holds: PlaceKind::Object, name: "DISK".to_owned() };
        assert!(place.is_in(&(0x100f..0x2000)) && place.is_in(&(0..0x1001)));
        assert!(!place.is_in(&(0x1010..0x2000)) && !place.is_in(&(0..0x1000)));
        let wild = Place { gpa: u64::MAX, bytes: u64::MAX, ..place };
        assert!(!wild.is_in(&(0..0x1000)));
    }
}
