//! ELF images: the built ones pass, each rule refuses by its own code, and no bytes whatever make
//! the reader panic, hang or believe a size.

use host_sim::image::builtin::{GUEST, SLOF};
use host_sim::image::{HeaderIndex, Image, ImageError, Limits, Rule, sweep};
use iced_x86::Code;
use std::collections::BTreeSet;
use ultravisor_abi::boot::STACK_BYTES;

const MEMORY: u64 = 64 << 20;

/// The functions that the machine watches by name (design, section 5).
const PROBE_POINTS: [&str; 6] =
    ["dma_decide", "dma_map", "dma_unmap", "dma_alloc", "dma_free", "swiotlb_bounce"];

fn guest() -> Image {
    Image::parse(GUEST, &Limits::guest(MEMORY)).expect("the built guest passes")
}

fn slof() -> Image {
    Image::parse(SLOF, &Limits::slof()).expect("the built slof passes")
}

/// One program header of type PT_LOAD.
struct Load {
    flags: u32,
    offset: u64,
    at: u64,
    file: u64,
    mem: u64,
}

const TEXT: Load = Load { flags: 5, offset: 0x1000, at: 0x10_0000, file: 16, mem: 0x2000 };

/// An ELF image of these segments, made by hand.
fn image_of(loads: &[Load]) -> Vec<u8> {
    let mut bytes = vec![0; 0x1010];
    put(&mut bytes, 0, b"\x7fELF\x02\x01\x01");
    put(&mut bytes, 16, &2_u16.to_le_bytes()); // e_type: ET_EXEC
    put(&mut bytes, 18, &62_u16.to_le_bytes()); // e_machine: x86-64
    put(&mut bytes, 20, &1_u32.to_le_bytes()); // e_version
    put(&mut bytes, 24, &0x10_0000_u64.to_le_bytes()); // e_entry
    put(&mut bytes, 32, &64_u64.to_le_bytes()); // e_phoff
    put(&mut bytes, 52, &64_u16.to_le_bytes()); // e_ehsize
    put(&mut bytes, 54, &56_u16.to_le_bytes()); // e_phentsize
    put(&mut bytes, 56, &(loads.len() as u16).to_le_bytes()); // e_phnum
    for (index, load) in loads.iter().enumerate() {
        let start = 64 + index * 56;
        put(&mut bytes, start, &1_u32.to_le_bytes());
        put(&mut bytes, start + 4, &load.flags.to_le_bytes());
        let fields = [load.offset, load.at, load.at, load.file, load.mem, 0x1000];
        for (field, value) in fields.into_iter().enumerate() {
            put(&mut bytes, start + 8 + field * 8, &value.to_le_bytes());
        }
    }
    bytes
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn errors(bytes: &[u8]) -> Vec<ImageError> {
    Image::parse(bytes, &Limits::guest(MEMORY)).err().unwrap_or_default()
}

fn rules(bytes: &[u8]) -> Vec<Rule> {
    errors(bytes).iter().map(|error| error.rule).collect()
}

#[test]
fn the_smallest_good_image_is_taken_apart() {
    let image = Image::parse(&image_of(&[TEXT]), &Limits::guest(MEMORY)).expect("it is good");
    assert_eq!(image.entry, 0x10_0000);
    let [only] = &image.segments[..] else { panic!("one segment: {:?}", image.segments) };
    assert_eq!((only.range(), only.bytes.len()), (0x10_0000..0x10_2000, 16));
    assert!(only.flags.executable && !only.flags.writable);
    assert!(image.symbols.is_empty());
}

/// A field changed: where, to what.
type Change = (usize, &'static [u8]);

/// What is broken by which changes of the smallest good image.
const BROKEN: &[(Rule, &[Change])] = &[
    (Rule::NotElf, &[(0, b"\x7eELF")]),
    (Rule::WrongClass, &[(4, b"\x01")]),
    (Rule::ByteOrder, &[(5, b"\x02")]),
    (Rule::Version, &[(6, b"\x00")]),
    (Rule::Machine, &[(18, b"\xb7")]),
    (Rule::Pie, &[(16, b"\x03")]),
    (Rule::NotExec, &[(16, b"\x01")]),
    (Rule::ProgramHeaderSize, &[(54, b"\x20")]),
    (Rule::ProgramHeaderCount, &[(56, b"\x00")]),
    (Rule::ProgramHeaderCount, &[(56, b"\x41")]),
    (Rule::ProgramHeaderCount, &[(56, b"\xff\xff")]),
    (Rule::ProgramHeadersOutside, &[(32, b"\xff\xff\xff\xff\xff\xff\xff\xff")]),
    (Rule::Interpreter, &[(64, b"\x03")]),
    (Rule::Dynamic, &[(64, b"\x02")]),
    (Rule::SegmentFile, &[(64 + 8, b"\x00\x10\x01")]),
    (Rule::SegmentFile, &[(64 + 8, b"\x00\xf0\xff\xff\xff\xff\xff\xff")]),
    (Rule::SegmentSize, &[(64 + 40, b"\x0f\x00")]),
    (Rule::SegmentWraps, &[(64 + 40, b"\xff\xff\xff\xff\xff\xff\xff\xff")]),
    (Rule::SegmentPlace, &[(64 + 40, b"\xff\xff\xff\xff\xff\xff\xff\x0f")]),
    (Rule::SegmentPlace, &[(64 + 16, b"\0\0\x08"), (64 + 24, b"\0\0\x08"), (24, b"\0\0\x08")]),
    (Rule::SegmentMoved, &[(64 + 16, b"\0\x10\x10")]),
    (Rule::SegmentAlign, &[(64 + 48, b"\x03\x00")]),
    (Rule::SegmentAlign, &[(64 + 48, b"\x00\x00\x20")]),
    (Rule::WriteExecute, &[(64 + 4, b"\x07")]),
    (Rule::NothingToLoad, &[(64, b"\x04")]),
    (Rule::Entry, &[(24, b"\x00\x20\x10")]),
    (Rule::Entry, &[(64 + 4, b"\x06")]),
    (Rule::SectionHeaders, &[(40, b"\x40"), (58, b"\x20\x00\x01\x00")]),
    (Rule::SectionHeaders, &[(40, b"\xff\xff"), (58, b"\x40\x00\x01\x00")]),
    (Rule::TooManySections, &[(40, b"\x40"), (58, b"\x40\x00\x01\x10")]),
];

#[test]
fn each_rule_refuses_by_its_own_code() {
    // These are in tests of their own.
    let mut seen = BTreeSet::from([Rule::FileSize, Rule::HeaderCut, Rule::Overlap]);
    seen.extend([Rule::TooManySymbols, Rule::SymbolTable]);
    // These are of other protocols: `wrong_input` breaks them.
    seen.extend([Rule::NoMultiboot, Rule::MultibootFlags, Rule::NoPvhNote]);
    seen.extend([Rule::FlatAddresses, Rule::FlatFile, Rule::FlatEntry]);
    for (rule, changes) in BROKEN {
        let mut bytes = image_of(&[TEXT]);
        for (at, value) in *changes {
            put(&mut bytes, *at, value);
        }
        assert_eq!(rules(&bytes), [*rule], "{changes:?}");
        seen.insert(*rule);
    }
    assert_eq!(seen, Rule::ALL.iter().copied().collect());
}

#[test]
fn every_code_is_its_rules_own() {
    let codes: Vec<u16> = Rule::ALL.iter().map(|rule| rule.code()).collect();
    assert_eq!(codes, (321..=339).chain(350..=364).collect::<Vec<_>>());
}

#[test]
fn a_file_may_be_as_large_as_the_limit_and_no_larger() {
    let bytes = image_of(&[TEXT]);
    let under = |file_bytes_max| {
        let limits = Limits { file_bytes_max, ..Limits::guest(MEMORY) };
        Image::parse(&bytes, &limits).map_err(|errors| errors[0].rule).map(drop)
    };
    assert_eq!(under(bytes.len()), Ok(()));
    assert_eq!(under(bytes.len() - 1), Err(Rule::FileSize));
}

#[test]
fn a_file_that_ends_inside_its_header_is_told_from_one_that_is_no_image() {
    let bytes = image_of(&[TEXT]);
    let cut = |bytes_left: usize| rules(&bytes[..bytes_left]);
    assert_eq!((cut(63), cut(3)), (vec![Rule::HeaderCut], vec![Rule::NotElf]));
    assert_eq!((cut(64), cut(119)), ([Rule::ProgramHeadersOutside].into(), cut(64)));
}

#[test]
fn an_image_may_have_as_many_program_headers_as_the_limit_and_no_more() {
    let at = |index: u64| 0x10_0000 + index * 0x2000;
    let loads: Vec<Load> = (0..65).map(|index| Load { at: at(index), ..TEXT }).collect();
    assert_eq!(rules(&image_of(&loads[..64])), []);
    assert_eq!(rules(&image_of(&loads)), [Rule::ProgramHeaderCount]);
}

#[test]
fn a_segment_without_a_byte_is_passed_over_whatever_it_says_and_one_without_memory_is_not() {
    let nothing = Load { flags: 7, offset: u64::MAX, at: 0x50, file: 0, mem: 0 };
    let image = Image::parse(&image_of(&[TEXT, nothing]), &Limits::guest(MEMORY));
    assert_eq!(image.expect("it is good").segments.len(), 1);
    let in_the_file_alone = Load { mem: 0, at: 0x10_4000, ..TEXT };
    assert_eq!(rules(&image_of(&[TEXT, in_the_file_alone])), [Rule::SegmentSize]);
}

#[test]
fn an_interpreter_is_refused_with_its_place_in_the_file() {
    let mut bytes = image_of(&[TEXT]);
    put(&mut bytes, 64, &3_u32.to_le_bytes());
    let found = errors(&bytes)[0].to_string();
    assert!(found.contains("16 bytes at offset 0x1000 of the file"), "{found}");
}

#[test]
fn a_symbol_table_lies_in_the_file_and_has_at_most_100000_symbols() {
    // Where the guest's own section headers say that its symbols are.
    let mut bytes = GUEST.to_vec();
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    let sections = word(40) as usize;
    let is_table = |at: &usize| word(*at) & 0xffff_ffff_0000_0000 == 2 << 32;
    let table = (0..64).map(|index| sections + index * 64).find(is_table).expect("it has symbols");
    put(&mut bytes, table + 24, &u64::MAX.to_le_bytes());
    assert_eq!(rules(&bytes), [Rule::SymbolTable]);
    put(&mut bytes, table + 32, &(24 * 100_001_u64).to_le_bytes());
    assert_eq!(rules(&bytes), [Rule::TooManySymbols]);
}

/// The smallest good image with these symbols behind it, as (type, section, name), then their names,
/// then the headers of `sections` sections: the first is none, the second and third are these.
fn with_symbols(symbols: &[(u8, u16, &str)], sections: u16) -> Vec<u8> {
    let mut bytes = image_of(&[TEXT]);
    let (mut table, mut names) = (Vec::new(), vec![0]);
    for (kind, section, name) in symbols {
        table.extend((names.len() as u32).to_le_bytes());
        table.extend([*kind, 0]);
        table.extend(section.to_le_bytes());
        table.extend([0x10_0000_u64.to_le_bytes(), 16_u64.to_le_bytes()].concat());
        names.extend(name.bytes().chain([0]));
    }
    let at = bytes.len() as u64;
    let headers = at + (table.len() + names.len()) as u64;
    put(&mut bytes, 40, &headers.to_le_bytes());
    put(&mut bytes, 58, &64_u16.to_le_bytes());
    put(&mut bytes, 60, &sections.to_le_bytes());
    bytes.extend([&table[..], &names].concat());
    let kept = [
        (0, 0, 0, 0, 0),
        (2, at, table.len(), 2, 24),
        (3, headers - names.len() as u64, names.len(), 0, 0),
    ];
    for (kind, at, size, link, entry) in kept {
        let words = [kind << 32, 0, 0, at, size as u64, link, 1, entry];
        bytes.extend(words.iter().flat_map(|word: &u64| word.to_le_bytes()));
    }
    bytes.resize(headers as usize + usize::from(sections) * 64, 0);
    bytes
}

/// What is broken once a field of header 1, the symbols', or 2, the names', is `value`.
fn with_section(header: usize, field: usize, value: u64) -> Vec<Rule> {
    let mut bytes = with_symbols(&[(2, 1, "f")], 3);
    let at = bytes.len() - (3 - header) * 64 + field;
    put(&mut bytes, at, &value.to_le_bytes());
    rules(&bytes)
}

#[test]
fn symbols_are_the_defined_functions() {
    let all = [(2, 1, "f"), (2, 0, "undefined"), (1, 1, "object"), (2, 1, ""), (2, 1, "g")];
    let image = Image::parse(&with_symbols(&all, 3), &Limits::guest(MEMORY)).expect("it is good");
    let names: Vec<_> = image.symbols.functions().iter().map(|f| image.symbols.name(f)).collect();
    assert_eq!(names, ["f", "g"]);
    assert!(!image.symbols.is_empty());
    for (field, nothing) in [(40, &[0; 8][..]), (60, &[0; 2])] {
        let mut bytes = with_symbols(&all, 3);
        put(&mut bytes, field, nothing);
        // Nor does their size matter then.
        put(&mut bytes, 58, &[0; 2]);
        let image = Image::parse(&bytes, &Limits::guest(MEMORY)).expect("it is good");
        assert!(image.symbols.is_empty(), "without section headers there are none");
    }
}

#[test]
fn a_name_that_is_printable_is_shown_as_it_is() {
    let image = with_symbols(&[(2, 1, "it's \"a\" \\")], 3);
    let image = Image::parse(&image, &Limits::guest(MEMORY)).expect("it is good");
    assert_eq!(image.symbols.describe(0x10_0001).as_deref(), Some("it's \"a\" \\+0x1"));
}

#[test]
fn a_section_of_symbols_is_checked_field_by_field() {
    let [size, link, entry, offset, flags] = [32, 40, 56, 24, 8];
    let whole = with_symbols(&[(2, 1, "f")], 3).len() as u64;
    assert_eq!(with_section(1, size, 24), []);
    for (header, field, value) in [
        (1, flags, 0x800),
        (1, size, 25),
        (1, entry, 23),
        (1, entry, 0),
        (1, link, 1),
        (1, link, 3),
        (1, offset, whole - 23),
        (2, flags, 0x800),
        (2, size, whole),
        (2, offset, whole),
    ] {
        assert_eq!(with_section(header, field, value), [Rule::SymbolTable], "{header} {field}");
    }
    assert_eq!(with_section(1, offset, whole - 24), []);
    assert_eq!(with_section(1, flags, 0x7ff), []);
}

#[test]
fn an_image_may_have_as_many_sections_and_symbols_as_the_limits_and_no_more() {
    let (sections, symbols) = (4096, 100_000);
    assert_eq!(rules(&with_symbols(&[(2, 1, "f")], sections)), []);
    assert_eq!(rules(&with_symbols(&[(2, 1, "f")], sections + 1)), [Rule::TooManySections]);
    let mut all = vec![(2, 1, "f"); symbols];
    assert_eq!(rules(&with_symbols(&all, 3)), []);
    all.push((2, 1, "g"));
    assert_eq!(rules(&with_symbols(&all, 3)), [Rule::TooManySymbols]);
    let mut cut = with_symbols(&[(2, 1, "f")], 3);
    cut.pop();
    assert_eq!(rules(&cut), [Rule::SectionHeaders]);
}

#[test]
fn segments_may_touch_and_not_overlap() {
    let with_second_at =
        |at| image_of(&[TEXT, Load { flags: 6, offset: 0, at, file: 0, mem: 0x1000 }]);
    assert_eq!(rules(&with_second_at(0x10_2000)), []);
    let below = Load { flags: 6, offset: 0, at: 0x10_0000, file: 0, mem: 0x1000 };
    let (moved, entry) = (Load { at: 0x10_1000, ..TEXT }, 0x10_1000_u64.to_le_bytes());
    let mut in_the_other_order = image_of(&[moved, below]);
    put(&mut in_the_other_order, 24, &entry);
    assert_eq!(rules(&in_the_other_order), []);
    let found = errors(&with_second_at(0x10_1000));
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].rule, found[0].header), (Rule::Overlap, Some(HeaderIndex::Program(1))));
    assert_eq!(
        found[0].to_string(),
        "program header 1: the segment overlaps an earlier one (it covers 0x101000 to 0x102000, and \
         program header 0 covers 0x100000 to 0x102000)"
    );
}

#[test]
fn a_segment_may_end_where_the_room_for_the_stack_begins_and_not_behind_that() {
    let with_size = |mem| rules(&image_of(&[Load { mem, ..TEXT }]));
    let most = MEMORY - STACK_BYTES - 0x10_0000;
    assert_eq!(with_size(most), []);
    assert_eq!(with_size(most + 1), [Rule::SegmentPlace]);
}

#[test]
fn all_broken_rules_of_all_segments_are_named() {
    let bytes = image_of(&[
        Load { flags: 7, file: 0x3000, ..TEXT },
        Load { flags: 6, offset: 0x123, at: 0x50, file: 0, mem: 0x1000 },
    ]);
    let expected = [
        Rule::SegmentFile,
        Rule::SegmentSize,
        Rule::WriteExecute,
        Rule::SegmentPlace,
        Rule::SegmentAlign,
    ];
    assert_eq!(rules(&bytes), expected);
}

#[test]
fn the_built_images_pass_and_lie_where_they_should() {
    let (guest, slof) = (guest(), slof());
    assert_eq!((guest.entry, slof.entry), (0x10_0000, 0x8_0000));
    for image in [&guest, &slof] {
        assert!(image.segments.iter().any(|segment| segment.flags.executable));
        assert!(image.segments.iter().all(|s| !(s.flags.executable && s.flags.writable)));
    }
    // Neither passes for the other.
    assert!(Image::parse(SLOF, &Limits::guest(MEMORY)).is_err());
    assert!(Image::parse(GUEST, &Limits::slof()).is_err());
}

#[test]
fn the_probe_points_are_functions_of_the_guest_with_names_and_sizes() {
    let symbols = guest().symbols;
    for name in PROBE_POINTS {
        let address = symbols.address(name).unwrap_or_else(|| panic!("{name} is not there"));
        let (function, offset) = symbols.resolve(address).expect("it has a size");
        assert_eq!((&*symbols.name(function), offset), (name, 0));
        assert!(function.bytes > 8, "{name} has a body");
    }
}

#[test]
fn the_probe_points_are_called_and_not_inlined() {
    let image = guest();
    let called: BTreeSet<u64> = sweep::instructions(&image)
        .filter(|i| matches!(i.code(), Code::Call_rel32_64 | Code::Jmp_rel32_64))
        .map(|instruction| instruction.near_branch_target())
        .collect();
    for name in PROBE_POINTS {
        let address = image.symbols.address(name).expect("it is there");
        assert!(called.contains(&address), "nobody calls {name}");
    }
}

#[test]
fn every_byte_of_the_built_code_is_an_instruction() {
    for image in [guest(), slof()] {
        let mut count = 0;
        for instruction in sweep::instructions(&image) {
            assert!(!instruction.is_invalid(), "no instruction at {:#x}", instruction.ip());
            count += 1;
        }
        assert!(count > 3000, "{count} instructions");
    }
}

#[test]
fn no_path_of_the_building_machine_is_in_the_images() {
    let cargo_home = std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME"));
    let paths = [env!("CARGO_MANIFEST_DIR").to_owned(), cargo_home.expect("cargo needs one")];
    for (name, bytes) in [("guest", GUEST), ("slof", SLOF)] {
        for path in &paths {
            let found = bytes.windows(path.len()).any(|window| window == path.as_bytes());
            assert!(!found, "{path} is in {name}");
        }
    }
}

#[test]
fn no_truncation_panics_or_passes_unnoticed() {
    let whole = guest();
    for end in 0..GUEST.len() {
        if let Ok(image) = Image::parse(&GUEST[..end], &Limits::guest(MEMORY)) {
            assert_eq!(image.segments, whole.segments, "cut at {end}");
        }
    }
}

#[test]
fn no_flipped_bytes_panic() {
    let limits = Limits::guest(MEMORY);
    let mut state = 1_u64;
    let mut draw = |below: usize| {
        state = firmware::pattern::mix(state.wrapping_add(0x9e37_79b9_7f4a_7c15));
        (state % below as u64) as usize
    };
    let headers = 64 + 4 * 56;
    let sections = GUEST.len() - 64 * 12;
    let mut passed = 0;
    for round in 0..20_000 {
        let mut bytes = GUEST.to_vec();
        for _ in 0..=draw(4) {
            // Mostly where it hurts: headers at the front, section headers at the end.
            let at = match round % 4 {
                0 => draw(bytes.len()),
                1 => sections + draw(bytes.len() - sections),
                _ => draw(headers),
            };
            bytes[at] = draw(256) as u8;
        }
        if let Ok(image) = Image::parse(&bytes, &limits) {
            passed += 1;
            let total: u64 = image.segments.iter().map(|segment| segment.mem_bytes).sum();
            assert!(total <= MEMORY);
            for function in image.symbols.functions().iter().take(8) {
                assert!(image.symbols.describe(function.address).is_some());
            }
        }
    }
    // Flips in code and in padding are no business of the loader's; the rest is refused.
    assert!((1000..15_000).contains(&passed), "{passed} passed");
}
