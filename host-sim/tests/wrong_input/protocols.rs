//! Wrong images of the boot protocols that start in 32-bit mode.

use crate::images::{CODE, DATA, Elf, Program, told};

/// A name, what the scenario says of `boot`, and a file that is wrong in one way.
type Case = (&'static str, &'static str, Vec<u8>);

const MAGIC: u32 = 0x1bad_b002;
/// Where in the file the code is, and so its Multiboot header or its note.
const CODE_AT: usize = 0x1000;

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A Multiboot header with these flags and, behind its checksum, these fields.
fn header(flags: u32, fields: &[u32]) -> Vec<u8> {
    let checksum = 0_u32.wrapping_sub(MAGIC).wrapping_sub(flags);
    [words(&[MAGIC, flags, checksum]), words(fields)].concat()
}

/// An ELF32 image with a Multiboot header, changed.
fn multiboot(change: impl FnOnce(&mut Elf)) -> Vec<u8> {
    let parts = vec![(CODE_AT, header(3, &[]))];
    let mut elf = Elf { parts, ..Elf::good_32() };
    change(&mut elf);
    elf.bytes()
}

/// A flat image: nothing but its header, and a page of something.
fn flat(fields: [u32; 5]) -> Vec<u8> {
    let mut bytes = header(1 << 16, &fields);
    bytes.resize(0x1000, 0);
    bytes
}

/// A note of Xen's of type 18 with this value.
fn note(value: &[u8]) -> Vec<u8> {
    [words(&[4, value.len() as u32, 18]), b"Xen\0".to_vec(), value.to_vec()].concat()
}

/// An ELF32 image with this note.
fn pvh(note: Vec<u8>) -> Elf {
    let file = note.len() as u64;
    let mut elf = Elf { parts: vec![(CODE_AT, note)], ..Elf::good_32() };
    elf.programs.push(Program { kind: 4, offset: CODE_AT as u64, file, align: 4, ..DATA });
    elf
}

pub fn wrong() -> Vec<Case> {
    [wrong_headers(), wrong_addresses(), wrong_notes(), wrong_in_elf_32()].concat()
}

fn wrong_headers() -> Vec<Case> {
    let of = |part: Vec<u8>| Elf { parts: vec![(CODE_AT, part)], ..Elf::good_32() }.bytes();
    let mut late = Elf { parts: vec![(0x2000, header(3, &[]))], ..Elf::good_32() };
    late.bytes_min = 0x3000;
    vec![
        ("multiboot-without-a-header", "Multiboot1", Elf::good_32().bytes()),
        ("multiboot-of-no-file", "Multiboot1", Vec::new()),
        ("multiboot-checksum-wrong", "Multiboot1", of(words(&[MAGIC, 3, 0]))),
        ("multiboot-header-too-late", "Multiboot1", late.bytes()),
        ("multiboot-2", "Multiboot1", of(words(&[0xe852_50d6, 0, 24]))),
        ("multiboot-2-and-elf-32", "", of(words(&[0xe852_50d6, 0, 24]))),
        ("multiboot-2-alone", "", {
            let second = words(&[0xe852_50d6, 0, 24, 0_u32.wrapping_sub(0xe852_50d6 + 24)]);
            Elf { parts: vec![(CODE_AT, second)], ..Elf::good() }.bytes()
        }),
        ("multiboot-header-too-late-alone", "", {
            let parts = vec![(0x2000, header(3, &[]))];
            Elf { parts, bytes_min: 0x3000, ..Elf::good() }.bytes()
        }),
        ("multiboot-demands-what-nobody-knows", "", of(header(0x13, &[]))),
    ]
}

fn wrong_addresses() -> Vec<Case> {
    const AT: u32 = 0x10_0000;
    let cut = flat([AT, AT, 0, 0, AT])[..20].to_vec();
    let cases = [
        ("flat-cut-in-the-header", cut),
        ("flat-header-before-its-load-address", flat([AT, AT + 0x1000, 0, 0, AT])),
        ("flat-ends-before-its-header", flat([AT, AT, AT, 0, AT])),
        ("flat-bss-before-its-end", flat([AT, AT, AT + 0x1000, AT + 0x800, AT])),
        ("flat-begins-before-the-file", flat([AT + 0x20, AT, 0, 0, AT])),
        ("flat-longer-than-the-file", flat([AT, AT, AT + 0x1001, 0, AT])),
        ("flat-entry-in-its-bss", flat([AT, AT, 0, AT + 0x2000, AT + 0x1000])),
        ("flat-below-4-kib", flat([0xfe0, 0xfe0, 0, 0, 0xfe0])),
        ("flat-in-the-video-memory", flat([0xb_8000, 0xb_8000, 0, 0, 0xb_8000])),
        ("flat-behind-the-memory", flat([AT, AT, 0, 0xc000_0000, AT])),
    ];
    cases.map(|(name, bytes)| (name, "", bytes)).to_vec()
}

fn wrong_notes() -> Vec<Case> {
    let entry = |entry: u32| pvh(note(&words(&[entry]))).bytes();
    let mut other = pvh(note(&words(&[0x10_0000])));
    other.parts[0].1[12] = b'Y';
    vec![
        ("pvh-without-a-note", "Pvh", Elf::good_32().bytes()),
        ("pvh-note-of-2-bytes", "Pvh", pvh(note(&[0, 1])).bytes()),
        ("pvh-note-of-somebody-else", "Pvh", other.bytes()),
        ("pvh-entry-outside", "", entry(0x40_0000)),
        ("pvh-entry-in-data", "", entry(0x20_0000)),
    ]
}

fn wrong_in_elf_32() -> Vec<Case> {
    let cases = [
        ("elf-32-for-x86-64", multiboot(|elf| elf.machine = 62)),
        ("elf-32-position-independent", multiboot(|elf| elf.kind = 3)),
        ("elf-32-program-headers-of-56-bytes", multiboot(|elf| elf.program_bytes = 56)),
        ("elf-32-sections-of-64-bytes", multiboot(|elf| elf.section_bytes = 64)),
        ("elf-32-symbols-of-24-bytes", multiboot(|elf| elf.sections[1].entry = 24)),
        ("elf-32-segment-behind-the-end", multiboot(|elf| elf.programs[0].offset = 0x1ff8)),
        (
            "elf-32-segment-where-the-command-line-lies",
            multiboot(|elf| elf.programs[1].paddr = 0x8_0000),
        ),
        ("elf-32-segments-overlap", multiboot(|elf| elf.programs[1].paddr = 0x10_1000)),
        ("elf-32-segment-to-4-gib", multiboot(|elf| elf.programs[1].paddr = 0xffff_f000)),
        ("elf-32-entry-outside", multiboot(|elf| elf.entry = 0x40_0000)),
    ];
    let cut = Elf::good_32().bytes()[..0x30].to_vec();
    let cases = cases.map(|(name, bytes)| (name, "", bytes)).to_vec();
    [vec![("elf-32-cut-in-the-header", "Pvh", cut)], cases].concat()
}

#[test]
fn the_images_that_these_are_made_from_are_good_though_segments_move_and_are_written_and_executed()
{
    let moved = Program { flags: 7, vaddr: 0xc010_0000, align: 3, ..CODE };
    let at = 0x10_0000;
    for image in [
        multiboot(|_| ()),
        multiboot(|elf| {
            elf.programs[0] = moved;
            elf.entry = 0xc010_0000;
        }),
        // The entry as it is in memory, where the code thinks that it is elsewhere.
        multiboot(|elf| elf.programs[0] = moved),
        flat([at, at, 0, 0, at]),
        flat([0x8200, 0x8200, 0, 0, 0x8200]),
        pvh(note(&words(&[at]))).bytes(),
        pvh(note(&words(&[at, 0]))).bytes(),
    ] {
        let told = told(&image, "");
        assert_eq!(told.code, 0, "{}", told.err);
    }
}
