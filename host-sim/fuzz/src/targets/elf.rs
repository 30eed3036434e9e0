//! ELF images: any bytes, and headers that are nearly right. What is accepted keeps every promise
//! that the loader relies on.

use arbitrary::{Result, Unstructured};
use host_sim::image::{Image, Limits, Protocol};

const MEMORY_BYTES: u64 = 64 << 20;

/// Any bytes.
pub fn bytes(data: &[u8]) {
    let protocols = [Protocol::Elf64, Protocol::Multiboot1, Protocol::Pvh];
    let guests = protocols.map(|protocol| Limits::of(protocol, MEMORY_BYTES));
    let announced = host_sim::image::announced(data);
    for limits in guests.into_iter().chain([Limits::slof()]) {
        match Image::parse(data, &limits) {
            Ok(image) => {
                check(&image, data, &limits);
                // What a loader is told to look for is what it finds.
                let by = announced.as_ref().map(|announced| announced.protocol);
                assert!(limits.protocol != Protocol::Multiboot1 || by == Some(limits.protocol));
            }
            Err(errors) => {
                assert!(!errors.is_empty());
                for error in errors {
                    let said = error.to_string();
                    assert!(!said.contains(host_sim::escape::is_active), "{said:?}");
                }
            }
        }
    }
}

fn check(image: &Image, file: &[u8], limits: &Limits) {
    let mut ranges: Vec<_> = image.segments.iter().map(|segment| segment.range()).collect();
    for segment in &image.segments {
        assert!(segment.bytes.len() as u64 <= segment.mem_bytes && segment.mem_bytes > 0);
        assert!(segment.bytes.len() <= file.len());
        assert!(segment.range().end <= MEMORY_BYTES);
        let is_both = segment.flags.writable && segment.flags.executable;
        assert!(!is_both || limits.protocol.is_physical());
    }
    ranges.sort_by_key(|range| range.start);
    assert!(ranges.is_sorted_by(|one, next| one.end <= next.start), "segments overlap");
    let mut code = image.segments.iter().filter(|segment| segment.flags.executable);
    let starts = code.any(|segment| segment.range().contains(&image.entry));
    assert!(starts, "it begins in no code");
    for address in [0, image.entry, u64::MAX] {
        let said = image.symbols.describe(address).unwrap_or_default();
        assert!(!said.contains(host_sim::escape::is_active), "{said:?}");
    }
    for function in image.symbols.functions().iter().take(64) {
        image.symbols.describe(function.address);
    }
}

/// Bytes behind the program headers that belong to segments, symbols and names.
const BODY_BYTES: u64 = 0x300;
/// Symbols of the table, and bytes of it and of its names.
const SYMBOLS: u64 = 8;
const TABLE_BYTES: u64 = 24 * SYMBOLS;
const NAMES_BYTES: u64 = 64;
/// Where the first segment goes, and the distance to the next.
const PLACE: u64 = 0x10_0000;
const APART: u64 = 0x1000;

/// A file under construction: each number is right, at an edge, or any.
struct File<'u, 'd> {
    u: &'u mut Unstructured<'d>,
    bytes: Vec<u8>,
}

impl File<'_, '_> {
    fn number(&mut self, right: u64) -> Result<u64> {
        const EDGES: [u64; 12] =
            [0, 1, 56, 63, 64, 65, 0xffff, PLACE, MEMORY_BYTES, u32::MAX as u64, 1 << 63, u64::MAX];
        Ok(match self.u.arbitrary::<u8>()? {
            0..=199 => right,
            200..=229 => *self.u.choose(&EDGES)?,
            230..=249 => right.wrapping_add_signed(i64::from(self.u.arbitrary::<i8>()?)),
            _ => self.u.arbitrary()?,
        })
    }

    /// Numbers of so many bytes each.
    fn put(&mut self, bytes: usize, right: &[u64]) -> Result<()> {
        for right in right {
            let number = self.number(*right)?.to_le_bytes();
            self.bytes.extend(&number[..bytes]);
        }
        Ok(())
    }

    fn header(&mut self, segments: u64, sections_at: u64) -> Result<()> {
        self.bytes.extend(b"\x7fELF");
        self.put(1, &[2, 1, 1, 0])?;
        self.bytes.resize(16, 0);
        self.put(2, &[2, 62])?;
        self.put(4, &[1])?;
        self.put(8, &[PLACE, 64, sections_at])?;
        self.put(4, &[0])?;
        self.put(2, &[64, 56, segments, 64, 3, 0])
    }

    fn segments(&mut self, count: u64, body: u64) -> Result<()> {
        for segment in 0..count {
            let at = PLACE + APART * segment;
            self.put(4, &[1, [5, 6, 4][segment as usize % 3]])?;
            self.put(8, &[body, at, at, 0x80, 0x100, 1])?;
        }
        Ok(())
    }

    /// Symbols, then their names.
    fn symbols(&mut self) -> Result<()> {
        for symbol in 0..SYMBOLS {
            self.put(4, &[symbol * 3])?;
            self.put(1, &[0x12, 0])?;
            self.put(2, &[1])?;
            self.put(8, &[PLACE + symbol * 8, 8])?;
        }
        let names = self.u.len().min(NAMES_BYTES as usize);
        self.bytes.extend(self.u.bytes(names)?);
        Ok(())
    }

    fn sections(&mut self, body: u64) -> Result<()> {
        let names = body + TABLE_BYTES;
        for (kind, at, bytes, link) in
            [(0, 0, 0, 0), (2, body, TABLE_BYTES, 2), (3, names, NAMES_BYTES, 0)]
        {
            self.put(4, &[0, kind])?;
            self.put(8, &[0, 0, at, bytes])?;
            self.put(4, &[link, 1])?;
            self.put(8, &[1, 24])?;
        }
        Ok(())
    }
}

/// An image with up to six program headers, three sections and a few symbols.
fn image(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let segments = u.int_in_range(0..=6)?;
    let body = 64 + 56 * segments;
    let sections_at = body + BODY_BYTES;
    let mut file = File { u, bytes: Vec::new() };
    file.header(segments, sections_at)?;
    file.segments(segments, body)?;
    file.symbols()?;
    file.bytes.resize(sections_at as usize, 0);
    file.sections(body)?;
    let kept = file.number(file.bytes.len() as u64)?;
    file.bytes.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
    Ok(file.bytes)
}

/// Headers that are nearly right.
pub fn header(data: &[u8]) {
    if let Ok(file) = image(&mut Unstructured::new(data)) {
        bytes(&file);
    }
}
