//! The images by themselves: the order of their calls, their work, and every trouble by its name.

use super::flat::device::{Device, Habit, Kind};
use super::flat::{Did, End, Flat, MEMORY, args};
use firmware::bootargs::{BootArgs, Rings};
use firmware::kernel::{Kernel, Ops};
use firmware::pattern::{Pattern, SectorSource, Stream, console_line, is_frame, sector_at_end};
use firmware::workload::{BlockOp, NetOp, OPS_MAX, Order, Placement, WORK_MAX, Work};
use host_sim::image::{Image, Limits, builtin, sweep};
use std::ops::Range;
use ultravisor_abi::ReportKind::{Failed, Mismatch, Refused};
use ultravisor_abi::{ReportKind, Ucall};
use ultravisor_cpu::{Exit, Reg};

const HELLO: &[u8] = include_bytes!("../../../scenarios/basics/own-elf/hello.elf");

pub fn guest() -> Image {
    Image::parse(builtin::GUEST, &Limits::guest(MEMORY)).expect("the built guest passes")
}

pub fn slof() -> Image {
    Image::parse(builtin::SLOF, &Limits::slof()).expect("the built slof passes")
}

fn hello() -> Image {
    Image::parse(HELLO, &Limits::guest(MEMORY)).expect("the example passes")
}

pub fn ops(list: &[BlockOp]) -> [Option<BlockOp>; OPS_MAX] {
    std::array::from_fn(|index| list.get(index).copied())
}

pub fn block(list: &[BlockOp]) -> [Option<Work>; WORK_MAX] {
    let work = Work::Block {
        ops: ops(list),
        order: Order::Random,
        placement: Placement::OwnUnit,
        refill: true,
    };
    [Some(work), None, None, None, None]
}

pub const WRITE: BlockOp = BlockOp::Write { requests: 5, bytes: 4096 };
pub const READ: BlockOp = BlockOp::Read { requests: 3, bytes: 1024 };

/// A disk of 1 MiB that holds the initial pattern.
pub fn patterned(habit: Habit) -> Device {
    let mut medium = vec![0; 1 << 20];
    Pattern::new(args().seed, Stream::Initial).fill(0, &mut medium);
    Device::disk(medium, habit)
}

/// Runs the guest with these bootargs on one disk.
pub fn run(args: &BootArgs, habit: Habit) -> (Flat, End) {
    let mut flat = Flat::new(&guest(), args.to_string(), args.secure, vec![patterned(habit)]);
    let end = flat.run();
    (flat, end)
}

const DATA_DIRECT: Kernel = Kernel { ops: Ops::DataDirect, ..Kernel::PLATFORM_HOOK };
const PAYLOAD_DIRECT: Kernel = Kernel { ops: Ops::PayloadDirect, ..Kernel::PLATFORM_HOOK };

pub fn secure(kernel: Kernel, list: &[BlockOp]) -> BootArgs {
    BootArgs { secure: true, kernel, work: block(list), ..args() }
}

pub fn assert_disk(disk: &Device, list: &[BlockOp]) {
    for (sector, bytes) in (0..).zip(disk.medium.chunks(512)) {
        let (stream, position) = match sector_at_end(&ops(list), true, sector) {
            SectorSource::Initial => (Stream::Initial, sector * 512),
            SectorSource::Written(position) => (Stream::Written, position),
        };
        let pattern = Pattern::new(args().seed, stream);
        assert_eq!(pattern.first_mismatch(position, bytes), None, "sector {sector}");
    }
}

/// What UV_SHARE_PAGE named.
pub fn shared(flat: &Flat) -> Vec<Range<u64>> {
    let shares = flat.did.iter().filter_map(|did| match did {
        Did::Ucall(Ucall::SharePage, first, count) => Some(first << 16..(first + count) << 16),
        Did::Ucall(..)
        | Did::Hcall(..)
        | Did::Mark(_)
        | Did::Secret(..)
        | Did::Report(..)
        | Did::Mmio(_) => None,
    });
    shares.collect()
}

#[test]
fn a_guest_without_work_marks_ready_and_done_and_exits() {
    let (flat, end) = run(&args(), Habit::Good);
    assert_eq!(end, End::Exit(0), "{:?}", flat.did);
    let marks: Vec<_> = flat.did.iter().filter(|did| matches!(did, Did::Mark(_))).collect();
    assert_eq!(marks, [&Did::Mark(0), &Did::Mark(1)]);
    assert_eq!(flat.console, "guest: ready\nguest: done\n");
}

#[test]
fn a_secure_guest_touches_no_device_before_it_is_secure() {
    let (flat, end) = run(&secure(Kernel::PLATFORM_HOOK, &[WRITE]), Habit::Good);
    assert_eq!(end, End::Exit(0), "{:?}", flat.reported());
    assert_eq!(flat.did[0], Did::Ucall(Ucall::Esm, 0x10_0000, 0x1_0000));
    assert!(matches!(flat.did[1], Did::Secret(at, 32) if at % 0x1_0000 == 0));
    assert!(matches!(flat.did[2], Did::Ucall(Ucall::SharePage, ..)));
    assert!(matches!(flat.did[3], Did::Mmio(0)));
}

#[test]
fn a_guest_that_may_not_become_secure_says_so() {
    let mut flat =
        Flat::new(&guest(), secure(Kernel::PLATFORM_HOOK, &[]).to_string(), true, vec![]);
    flat.esm_status = -11;
    assert_eq!(flat.run(), End::Exit(1));
    assert_eq!(flat.reported(), Some((Failed, "esm")));
}

#[test]
fn what_is_written_is_on_the_disk_and_read_back() {
    let list = [WRITE, READ, BlockOp::ReadBack];
    for rings in [Rings::Together, Rings::Apart] {
        for habit in [Habit::Good, Habit::Indirect, Habit::Legacy] {
            let args = BootArgs { rings, work: block(&list), ..args() };
            let (flat, end) = run(&args, habit);
            assert_eq!(end, End::Exit(0), "{habit:?}: {:?}", flat.reported());
            assert_eq!(flat.devices[0].requests, 5 + 3 + 5);
            assert_disk(&flat.devices[0], &list);
        }
    }
}

#[test]
fn every_placement_does_the_same_work() {
    for placement in [Placement::OwnUnit, Placement::Neighbour, Placement::Heap] {
        for refill in [false, true] {
            let list = [WRITE, BlockOp::ReadBack];
            let order = Order::Sequential;
            let work = Work::Block { ops: ops(&list), order, placement, refill };
            let args = BootArgs { work: [Some(work), None, None, None, None], ..args() };
            let (flat, end) = run(&args, Habit::Good);
            assert_eq!(end, End::Exit(0), "{placement:?}: {:?}", flat.reported());
        }
    }
}

#[test]
fn a_bouncing_guest_shows_the_device_nothing_but_what_it_shared() {
    let list = [WRITE, READ, BlockOp::ReadBack];
    for habit in [Habit::Good, Habit::Indirect] {
        let (flat, end) = run(&secure(Kernel::PLATFORM_HOOK, &list), habit);
        assert_eq!(end, End::Exit(0), "{:?}", flat.reported());
        let [shared] = &shared(&flat)[..] else { panic!("one call shares all: {:?}", flat.did) };
        assert!(shared.end - shared.start < (1 << 20) + (512 << 10));
        for (address, bytes, _) in &flat.devices[0].buffers {
            let end = address + u64::from(*bytes);
            assert!(shared.start <= *address && end <= shared.end, "{address:#x}");
        }
        assert_disk(&flat.devices[0], &list);
    }
}

#[test]
fn the_paths_differ_in_which_buffers_go_direct() {
    let direct_sizes = |kernel| {
        let (flat, end) = run(&secure(kernel, &[WRITE]), Habit::Good);
        assert_eq!(end, End::Exit(0), "{kernel:?}: {:?}", flat.reported());
        let shared = shared(&flat);
        let private = |at: u64| !shared.iter().any(|range| range.contains(&at));
        let direct = flat.devices[0].buffers.iter().filter(|(at, ..)| private(*at));
        direct.map(|(_, bytes, _)| *bytes).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(direct_sizes(Kernel::PLATFORM_HOOK), [].into());
    assert_eq!(direct_sizes(DATA_DIRECT), [4096].into());
    assert_eq!(direct_sizes(PAYLOAD_DIRECT), [1, 16, 4096].into());
    assert_eq!(direct_sizes(Kernel::LINUX_2018), [1, 16, 4096].into());
}

#[test]
fn each_buffer_costs_one_copy_out_and_one_back_if_the_device_writes_it() {
    let count = |habit, list: &[BlockOp]| {
        let image = guest();
        let args = secure(Kernel::PLATFORM_HOOK, list).to_string();
        let mut flat = Flat::new(&image, args, true, vec![patterned(habit)]);
        flat.watch(&image, &["swiotlb_bounce", "dma_map", "dma_unmap", "dma_decide"]);
        assert_eq!(flat.run(), End::Exit(0), "{:?}", flat.reported());
        ["swiotlb_bounce", "dma_map", "dma_unmap", "dma_decide"].map(|name| flat.entered[name])
    };
    // Header 1, data 1 or 2, status 2, indirect table 1.
    assert_eq!(count(Habit::Good, &[WRITE]), [5 * 4, 5 * 3, 5 * 3, 1]);
    assert_eq!(count(Habit::Good, &[READ]), [3 * 5, 3 * 3, 3 * 3, 1]);
    assert_eq!(count(Habit::Indirect, &[WRITE]), [5 * 5, 5 * 4, 5 * 4, 1]);
}

#[test]
fn a_request_beyond_256_kib_is_split_when_it_bounces() {
    let list = [BlockOp::Write { requests: 1, bytes: 640 << 10 }, BlockOp::ReadBack];
    let (flat, end) = run(&secure(Kernel::PLATFORM_HOOK, &list), Habit::Good);
    assert_eq!(end, End::Exit(0), "{:?}", flat.reported());
    assert_eq!(flat.devices[0].requests, 2 * 3);
    assert_disk(&flat.devices[0], &list);
    let (flat, end) = run(&BootArgs { work: block(&list), ..args() }, Habit::Good);
    assert_eq!((end, flat.devices[0].requests), (End::Exit(0), 2));
}

#[test]
fn a_request_that_finds_no_slots_never_reaches_the_device() {
    let list = [BlockOp::Write { requests: 2, bytes: 256 << 10 }];
    let args = BootArgs { swiotlb_bytes: 256 << 10, ..secure(Kernel::PLATFORM_HOOK, &list) };
    let (flat, end) = run(&args, Habit::Good);
    assert_eq!(end, End::Exit(1));
    assert_eq!(flat.reported(), Some((Failed, "swiotlb-full")));
    assert_eq!(flat.devices[0].requests, 0);
}

#[test]
fn every_trouble_is_reported_by_its_name() {
    let cases: [(Habit, ReportKind, &str, u64); 8] = [
        (Habit::IoError, Failed, "blk-ioerr", 1),
        (Habit::Silent, Failed, "blk-timeout", 1),
        (Habit::NeedsReset, Failed, "blk-needs-reset", 1),
        (Habit::WrongToken, Failed, "blk-token", 1),
        (Habit::RefusesFeatures, Refused, "blk-features-ok", 2),
        (Habit::Corrupts, Mismatch, "blk-readback", 3),
        (Habit::Forgets, Mismatch, "blk-readback", 3),
        (Habit::Good, Refused, "blk-too-small", 2),
    ];
    for (habit, kind, name, code) in cases {
        let requests = if habit == Habit::Good { 1000 } else { 1 };
        let list = [BlockOp::Write { requests, bytes: 4096 }, BlockOp::ReadBack];
        let args = BootArgs { work: block(&list), ..args() };
        let (flat, end) = run(&args, habit);
        assert_eq!((flat.reported(), end), (Some((kind, name)), End::Exit(code)), "{habit:?}");
    }
}

#[test]
fn a_read_of_what_the_disk_should_hold_is_compared() {
    let args = BootArgs { work: block(&[READ]), ..args() };
    let (flat, end) = run(&args, Habit::Corrupts);
    assert_eq!((flat.reported(), end), (Some((Mismatch, "blk-read")), End::Exit(3)));
}

#[test]
fn a_guest_that_is_told_nonsense_refuses() {
    let nonsense = [
        (args().to_string().replace("uvsim.seed=7", "uvsim.seed=x"), "bootargs"),
        (BootArgs { work: block(&[WRITE]), boot_disk: true, ..args() }.to_string(), "no-blk"),
        (
            BootArgs { work: [Some(Work::Console { lines: 1 }); WORK_MAX], ..args() }.to_string(),
            "no-con",
        ),
    ];
    for (bootargs, name) in nonsense {
        let mut flat = Flat::new(&guest(), bootargs, false, vec![patterned(Habit::Good)]);
        assert_eq!(flat.run(), End::Exit(2));
        assert_eq!(flat.reported(), Some((Refused, name)));
    }
}

#[test]
fn slof_loads_the_guest_from_the_first_disk_and_the_guest_uses_the_second() {
    let list = [WRITE, BlockOp::ReadBack];
    let args = BootArgs { boot_disk: true, work: block(&list), ..args() };
    let boot = Device::disk(builtin::GUEST.to_vec(), Habit::Good);
    let disks = vec![boot, patterned(Habit::Good)];
    let mut flat = Flat::new(&slof(), args.to_string(), false, disks);
    assert_eq!(flat.run(), End::Exit(0), "{:?}", flat.reported());
    assert_eq!(flat.console, "slof: image loaded\nguest: ready\nguest: done\n");
    assert_disk(&flat.devices[1], &list);
}

#[test]
fn slof_refuses_what_it_cannot_start() {
    let no_elf = vec![0; 1 << 16];
    let cut = builtin::GUEST[..4096].to_vec();
    let mut shared_object = builtin::GUEST.to_vec();
    shared_object[16] = 3;
    let mut lost_entry = builtin::GUEST.to_vec();
    lost_entry[24..28].copy_from_slice(&0x1000_u32.to_le_bytes());
    let below = builtin::SLOF.to_vec();
    let images = [
        (Some(no_elf), "slof-not-elf"),
        (Some(cut), "slof-short"),
        (Some(shared_object), "slof-not-static"),
        (Some(lost_entry), "slof-entry"),
        (Some(below), "slof-outside"),
        (None, "slof-no-disk"),
    ];
    for (image, name) in images {
        let disks = image.map(|bytes| Device::disk(bytes, Habit::Good));
        let disks = disks.into_iter().collect();
        let mut flat = Flat::new(&slof(), args().to_string(), false, disks);
        assert_eq!(flat.run(), End::Exit(2), "{name}");
        assert_eq!(flat.reported(), Some((Refused, name)));
    }
}

#[test]
fn the_example_in_c_computes_prints_and_exits() {
    let mut flat = Flat::new(&hello(), String::new(), false, vec![]);
    assert_eq!(flat.run(), End::Exit(0));
    assert_eq!(flat.console, "Hello from a guest in C: 1229 primes below 10000\n");
}

#[test]
fn the_engine_knows_every_instruction_of_the_images() {
    for image in [guest(), slof(), hello()] {
        for instruction in sweep::instructions(&image) {
            let at = instruction.ip();
            assert!(ultravisor_cpu::supports(&instruction), "{at:#x}: {:?}", instruction.code());
        }
    }
}

/// All kinds of work at once, on devices of this habit.
fn mixed(args: &BootArgs, habit: Habit) -> (Flat, End) {
    let devices = [Kind::Net, Kind::Console, Kind::Entropy].map(|kind| Device::new(kind, habit));
    let mut flat = Flat::new(&guest(), args.to_string(), args.secure, devices.into());
    let end = flat.run();
    (flat, end)
}

pub fn net_work() -> Work {
    let list = [NetOp::Transmit { frames: 3, bytes: 60 }, NetOp::Echo { frames: 2, bytes: 1514 }];
    Work::Net { ops: std::array::from_fn(|index| list.get(index).copied()) }
}

#[test]
fn frames_lines_and_entropy_go_through_on_every_path() {
    let work = [
        Some(net_work()),
        Some(Work::Console { lines: 4 }),
        Some(Work::Entropy { requests: 3, bytes: 100 }),
        None,
        None,
    ];
    for kernel in [Kernel::LINUX_2018, Kernel::PLATFORM_HOOK] {
        for habit in [Habit::Good, Habit::Indirect, Habit::Legacy] {
            let args = BootArgs { secure: true, kernel, work, ..args() };
            let (flat, end) = mixed(&args, habit);
            assert_eq!(end, End::Exit(0), "{kernel:?} {habit:?}: {:?}", flat.reported());
            let [net, console, entropy] = &flat.devices[..] else { panic!("three devices") };
            // A legacy network header lacks the count of buffers (virtio 1.2, section 5.1.6.1).
            let header = if habit == Habit::Legacy { 10 } else { 12 };
            assert_eq!(net.sent.len(), 5);
            for (number, frame) in (0..).zip(&net.sent) {
                assert!(is_frame(args.seed, number, &frame[header..]), "frame {number}");
            }
            let lines: Vec<_> = (0..4).map(|n| console_line(args.seed, n).to_vec()).collect();
            assert_eq!(console.sent, lines);
            assert_eq!(entropy.requests, 3);
        }
    }
}

#[test]
fn a_frame_that_comes_back_changed_or_never_is_noticed() {
    let args = BootArgs { work: [Some(net_work()), None, None, None, None], ..args() };
    let echo = (Some((Mismatch, "net-echo")), End::Exit(3));
    let cases = [
        (Habit::Corrupts, echo.clone()),
        (Habit::Forgets, echo),
        (Habit::Silent, (Some((Failed, "net-timeout")), End::Exit(1))),
        (Habit::NeedsReset, (Some((Failed, "net-needs-reset")), End::Exit(1))),
        (Habit::WrongToken, (Some((Failed, "net-token")), End::Exit(1))),
    ];
    for (habit, expected) in cases {
        let (flat, end) = mixed(&args, habit);
        assert_eq!((flat.reported(), end), expected, "{habit:?}");
    }
}

#[test]
fn entropy_that_did_not_arrive_is_noticed() {
    let work = [Some(Work::Entropy { requests: 1, bytes: 64 }), None, None, None, None];
    let args = BootArgs { work, ..args() };
    let cases = [
        (Habit::Forgets, (Mismatch, "rng-zeros"), 3),
        (Habit::IoError, (Failed, "rng-empty"), 1),
        (Habit::Silent, (Failed, "rng-timeout"), 1),
        (Habit::RefusesFeatures, (Refused, "rng-features-ok"), 2),
    ];
    for (habit, report, code) in cases {
        let (flat, end) = mixed(&args, habit);
        assert_eq!((flat.reported(), end), (Some(report), End::Exit(code)), "{habit:?}");
    }
}

/// Calls a function of the guest image: arguments in, `rax` out.
pub fn call(flat: &mut Flat, address: u64, arguments: [u64; 3]) -> u64 {
    const RETURN: u64 = 0x9_0000;
    const HLT: u8 = 0xf4;
    flat.ram.write(RETURN, &[HLT]);
    flat.ram.write(MEMORY - 8, &RETURN.to_le_bytes());
    let gpr = &mut flat.cpu.regs.gpr;
    gpr[Reg::Rsp] = MEMORY - 8;
    for (reg, value) in [Reg::Rdi, Reg::Rsi, Reg::Rdx].into_iter().zip(arguments) {
        gpr[reg] = value;
    }
    flat.cpu.regs.rip = address;
    assert_eq!(flat.run(), End::Other(Exit::Halt));
    assert_eq!(flat.cpu.rflags() & ultravisor_cpu::flag::DF, 0, "strings go upwards again");
    flat.cpu.regs.gpr[Reg::Rax]
}

#[test]
fn the_memory_functions_move_fill_and_compare_like_a_slice() {
    const AT: u64 = 0x20_0000;
    let image = guest();
    let address = |name| image.symbols.address(name).expect("the image has it");
    let mut flat = Flat::new(&image, args().to_string(), false, vec![]);
    for bytes in [0, 1, 7, 8, 9, 16, 31, 64, 65] {
        for (from, to) in [(0, 100), (100, 0), (8, 0), (0, 8), (3, 0), (0, 3), (20, 0), (0, 20)] {
            let mut expected: Vec<u8> = (0..200).map(|byte| (byte * 7 + bytes) as u8).collect();
            flat.ram.write(AT, &expected);
            let arguments = [AT + to as u64, AT + from as u64, bytes as u64];
            assert_eq!(call(&mut flat, address("memmove"), arguments), AT + to as u64);
            expected.copy_within(from..from + bytes, to);
            assert_eq!(flat.ram.read(AT, 200), expected, "{bytes} bytes from {from} to {to}");
        }
        call(&mut flat, address("memset"), [AT + 3, 0x1_23, bytes as u64]);
        assert!(flat.ram.read(AT + 3, bytes).iter().all(|byte| *byte == 0x23));
        for differs in 0..bytes {
            flat.ram.write(AT, &[0x80; 200]);
            flat.ram.write(AT + differs as u64, &[0x7f]);
            let arguments = [AT, AT + 100, bytes as u64];
            let order = call(&mut flat, address("memcmp"), arguments) as i32;
            assert!(order < 0, "byte {differs} of {bytes} is less");
            let arguments = [AT + 100, AT, bytes as u64];
            assert!((call(&mut flat, address("memcmp"), arguments) as i32) > 0);
        }
        flat.ram.write(AT, &[0x80; 200]);
        let arguments = [AT, AT + 100, bytes as u64];
        assert_eq!(call(&mut flat, address("memcmp"), arguments) as i32, 0);
    }
}
