//! Flat images: a Multiboot header's address fields say where the file goes (Multiboot
//! Specification 0.6.96, 3.1.3), whatever its format.

use super::announce::{Addresses, MultibootHeader};
use super::error::Rule::{FlatAddresses, FlatEntry, FlatFile, HeaderCut, SegmentPlace};
use super::{Class, Image, ImageError, Limits, Segment, SegmentFlags, Symbols};
use std::ops::Range;
use ultravisor_abi::Gpa;

/// Takes a flat image apart.
pub(super) fn parse(
    bytes: &[u8],
    limits: &Limits,
    header: MultibootHeader,
) -> Result<Image, ImageError> {
    let refuse = |rule, found| Err(ImageError::in_file(rule, found));
    let Some(fields) = header.addresses(bytes) else {
        return refuse(HeaderCut, format!("{} bytes", bytes.len()));
    };
    let file = file_range(bytes, header, fields)?;
    let start = u64::from(fields.load);
    let loaded_end = start + file.len() as u64;
    let end = match u64::from(fields.bss_end) {
        0 => loaded_end,
        end if end < loaded_end => {
            let found = format!("the bss ends at {end:#x}, what is loaded at {loaded_end:#x}");
            return refuse(FlatAddresses, found);
        }
        end => end,
    };
    if let Some(found) = limits.misplaced(&(start..end)) {
        return refuse(SegmentPlace, found);
    }
    let entry = u64::from(fields.entry);
    if !(start..loaded_end).contains(&entry) {
        return refuse(
            FlatEntry,
            format!("{entry:#x}, and it covers {start:#x} to {loaded_end:#x}"),
        );
    }
    let segment = Segment {
        gpa: Gpa(start),
        bytes: bytes[file].to_vec(),
        mem_bytes: end - start,
        flags: SegmentFlags { writable: true, executable: true },
    };
    Ok(Image {
        entry,
        segments: vec![segment],
        symbols: Symbols::none(Class::Elf32),
        places: Vec::new(),
    })
}

/// Which part of the file is loaded.
fn file_range(
    bytes: &[u8],
    header: MultibootHeader,
    fields: Addresses,
) -> Result<Range<usize>, ImageError> {
    let Addresses { header: at, load, load_end, .. } = fields;
    let before = at.checked_sub(load).ok_or_else(|| {
        let found = format!("the header goes to {at:#x}, what is loaded begins at {load:#x}");
        ImageError::in_file(FlatAddresses, found)
    })?;
    // Where in the file is what goes to `load_addr` (3.1.3, `load_addr`).
    let start = header.offset.checked_sub(before as usize).ok_or_else(|| {
        let found =
            format!("{before:#x} bytes before the header, which is at offset {:#x}", header.offset);
        ImageError::in_file(FlatFile, found)
    })?;
    let size = match load_end {
        0 => bytes.len() - start,
        end if end <= at => {
            let found = format!("what is loaded ends at {end:#x}, the header goes to {at:#x}");
            return Err(ImageError::in_file(FlatAddresses, found));
        }
        end => (end - load) as usize,
    };
    let end = start.saturating_add(size);
    if end > bytes.len() {
        let found = format!(
            "{size:#x} bytes from offset {start:#x} on, and the file has {:#x}",
            bytes.len()
        );
        return Err(ImageError::in_file(FlatFile, found));
    }
    Ok(start..end)
}
