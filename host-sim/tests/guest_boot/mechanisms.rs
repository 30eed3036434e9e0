//! The mechanisms that the thread's designs bundle, each by itself: when a kernel decides, what
//! its DMA API does, which bits it accepts, when it switches, and what its bugs do.

use super::alone::{
    READ, WRITE, assert_disk, block, guest, net_work, patterned, run, secure, shared, slof,
};
use super::flat::device::{ACCESS_PLATFORM, Device, Habit, Kind};
use super::flat::{Did, End, Flat, MEMORY, args};
use firmware::bootargs::BootArgs;
use firmware::kernel::{Bit33, Bug, BugKind, Kernel, Kexec, Ops, Switch, Tce, Virtio};
use firmware::workload::{BlockOp, WORK_MAX, Work};
use host_sim::fdt::{FdtSpec, Reserved};
use host_sim::image::builtin;
use ultravisor::platform::RamRange;
use ultravisor_abi::ReportKind::{Failed, Mismatch, Refused};
use ultravisor_abi::ours::F_IDENTITY_ADDRESS;
use ultravisor_abi::{Gpa, Hcall, ReportKind, Ucall, UnitSize};

const LIST: [BlockOp; 3] = [WRITE, READ, BlockOp::ReadBack];
/// Requests of [`LIST`].
const REQUESTS: usize = 5 + 3 + 5;
const WINDOW_BYTES: u64 = MEMORY;
/// The first device's TCE table.
const BUS: u64 = 0x1000_0000;

/// A machine with TCE tables.
fn with_windows(args: &BootArgs) -> FdtSpec {
    FdtSpec { dma_window_bytes: Some(WINDOW_BYTES), ..plain(args) }
}

fn plain(args: &BootArgs) -> FdtSpec {
    FdtSpec {
        memory_bytes: MEMORY,
        ultravisor_unit: args.secure.then_some(UnitSize::KIB_64),
        devices: 1,
        bootargs: args.to_string(),
        ..FdtSpec::default()
    }
}

/// A disk that QEMU's `iommu_platform=on` gives: it demands bit 33.
fn platform_disk() -> Device {
    patterned(Habit::Good).demanding(ACCESS_PLATFORM)
}

fn run_on(spec: &FdtSpec, devices: Vec<Device>) -> (Flat, End) {
    let mut flat = Flat::on(&guest(), spec, devices);
    let end = flat.run();
    (flat, end)
}

#[track_caller]
fn assert_good((flat, end): &(Flat, End)) {
    assert_eq!(*end, End::Exit(0), "{:?}", flat.reported());
    assert_disk(&flat.devices[0], &LIST);
    assert!(flat.faults.is_empty(), "{:x?}", flat.faults);
}

fn ended((flat, end): &(Flat, End)) -> (Option<(ReportKind, &str)>, End) {
    (flat.reported(), end.clone())
}

fn refused(name: &str) -> (Option<(ReportKind, &str)>, End) {
    (Some((Refused, name)), End::Exit(2))
}

fn failed(name: &str) -> (Option<(ReportKind, &str)>, End) {
    (Some((Failed, name)), End::Exit(1))
}

/// The TCEs that single calls put.
fn tces(flat: &Flat) -> impl Iterator<Item = u64> {
    flat.hypercalls(Hcall::PutTce).map(|[_, _, tce, _]| tce).filter(|tce| *tce != 0)
}

fn kernel(virtio: Virtio, ops: Ops) -> Kernel {
    Kernel { virtio, ops, ..Kernel::LINUX_2018 }
}

/// How often `name` is entered, of a run that ends well.
fn entries(spec: &FdtSpec, disk: Device, name: &'static str) -> u64 {
    let image = guest();
    let mut flat = Flat::on(&image, spec, vec![disk]);
    flat.watch(&image, &[name]);
    assert_eq!(flat.run(), End::Exit(0), "{:?}", flat.reported());
    flat.entered.get(name).copied().unwrap_or(0)
}

#[test]
fn who_decides_for_each_buffer_decides_for_the_ring_and_each_of_three_buffers() {
    let decisions = |virtio| {
        let args = secure(kernel(virtio, Ops::Swiotlb), &LIST);
        entries(&plain(&args), patterned(Habit::Good), "dma_decide")
    };
    let (once, each) = (1, 1 + 3 * REQUESTS as u64);
    let expected = [each, once, each, each, each, 2 + each - 1, once, once, once];
    assert_eq!(Virtio::ALL.map(decisions), expected);
}

#[test]
fn a_search_of_the_tree_costs_more_the_longer_the_tree_is() {
    let instructions = |virtio, nodes_min| {
        let args = secure(kernel(virtio, Ops::Swiotlb), &LIST);
        let spec = FdtSpec { nodes_min, ..plain(&args) };
        let good = run_on(&spec, vec![patterned(Habit::Good)]);
        assert_good(&good);
        good.0.cpu.instructions()
    };
    let grows_by = |virtio| instructions(virtio, 400) - instructions(virtio, 40);
    let once_read = grows_by(Virtio::PerBufferFlag);
    for virtio in [Virtio::PerBufferArch, Virtio::PerBufferPlatform] {
        let searched = grows_by(virtio) - once_read;
        assert!(searched > 1000 * 3 * REQUESTS as u64, "{virtio:?}: {searched}");
    }
}

#[test]
fn the_arch_callback_is_not_asked_about_a_device_with_bit_33_and_the_platform_is() {
    let instructions = |virtio, nodes_min| {
        let args = secure(kernel(virtio, Ops::Swiotlb), &LIST);
        let good = run_on(&FdtSpec { nodes_min, ..plain(&args) }, vec![platform_disk()]);
        assert_good(&good);
        good.0.cpu.instructions()
    };
    let grows_by = |virtio| instructions(virtio, 400) - instructions(virtio, 40);
    let read_once = grows_by(Virtio::PerBufferFlag);
    assert_eq!(grows_by(Virtio::PerBufferArch), read_once);
    assert!(grows_by(Virtio::PerBufferPlatform) > 2 * read_once);
}

#[test]
fn a_device_behind_an_iommu_gets_mapped_addresses_that_are_not_the_physical_ones() {
    for (tce, put) in [(Tce::Single, Hcall::PutTce), (Tce::Indirect, Hcall::PutTceIndirect)] {
        let list = [BlockOp::Write { requests: 5, bytes: 64 << 10 }, BlockOp::ReadBack];
        let args = BootArgs { work: block(&list), tce, ..args() };
        let (flat, end) = run_on(&with_windows(&args), vec![platform_disk()]);
        assert_eq!((end, flat.faults.len()), (End::Exit(0), 0), "{:?}", flat.reported());
        assert_disk(&flat.devices[0], &list);
        assert!(flat.devices[0].buffers.iter().all(|(at, ..)| (4096..1 << 20).contains(at)));
        assert!(flat.hypercalls(put).count() >= 10);
        assert_eq!(flat.hypercalls(Hcall::StuffTce).count() > 0, tce != Tce::Single);
        // The rings stay mapped, nothing else does.
        assert_eq!(flat.tables[&BUS].len(), 2, "{:x?}", flat.tables);
        assert!(flat.tables[&BUS].iter().all(|(page, tce)| *page != tce / 4096));
    }
}

#[test]
fn a_mapping_allows_no_more_than_its_direction() {
    let args = BootArgs { work: block(&LIST), ..args() };
    let (flat, _) = run_on(&with_windows(&args), vec![platform_disk()]);
    let mut counts = [0; 4];
    tces(&flat).for_each(|tce| counts[(tce & 4095) as usize] += 1);
    // Written data and headers; read data and status; two rings.
    assert_eq!(counts, [0, 5 + REQUESTS, 3 + 5 + REQUESTS, 2]);
}

#[test]
fn a_hypervisor_that_refuses_to_map_ends_the_guest_by_name() {
    let args = BootArgs { work: block(&LIST), ..args() };
    let mut flat = Flat::on(&guest(), &with_windows(&args), vec![platform_disk()]);
    flat.tce_status = -4;
    let end = flat.run();
    assert_eq!(ended(&(flat, end)), failed("put-tce"));
}

#[test]
fn a_pool_that_is_mapped_one_to_one_serves_devices_with_and_without_bit_33() {
    let kernel = Kernel { ops: Ops::SwiotlbMapped, ..Kernel::PLATFORM_HOOK };
    for disk in [patterned(Habit::Good), platform_disk()] {
        let args = secure(kernel, &LIST);
        let good = run_on(&with_windows(&args), vec![disk]);
        assert_good(&good);
        let table = &good.0.tables[&BUS];
        assert!(table.iter().all(|(page, tce)| *page == tce / 4096 && tce & 3 == 3));
        // The pool of 1 MiB and 64 pages for rings, all shared.
        assert_eq!(table.len(), 256 + 64);
        assert!(table.keys().all(|page| good.0.shared.contains(&(page >> 4))));
    }
}

#[test]
fn a_list_of_tces_lies_in_a_shared_page_unless_nobody_thought_of_it() {
    for (tce, thought_of) in [(Tce::Indirect, true), (Tce::IndirectUnshared, false)] {
        let kernel = Kernel { ops: Ops::SwiotlbMapped, ..Kernel::PLATFORM_HOOK };
        let args = BootArgs { tce, ..secure(kernel, &LIST) };
        let (flat, end) = run_on(&with_windows(&args), vec![platform_disk()]);
        assert_eq!(end, End::Exit(0), "{:?}", flat.reported());
        let lists: Vec<_> = flat.hypercalls(Hcall::PutTceIndirect).collect();
        let [[_, _, list, 320]] = lists[..] else { panic!("256 + 64 pages fit one: {lists:?}") };
        assert_eq!(flat.shared.contains(&(list >> 16)), thought_of);
        assert_eq!(list & 0xffff, 0, "it has a unit of its own");
    }
}

#[test]
fn what_mapping_the_pool_came_to_goes_unseen() {
    let kernel = Kernel { ops: Ops::SwiotlbMapped, ..Kernel::PLATFORM_HOOK };
    let mut flat =
        Flat::on(&guest(), &with_windows(&secure(kernel, &LIST)), vec![patterned(Habit::Good)]);
    flat.tce_status = -4;
    assert_eq!(flat.run(), End::Exit(0), "{:?}", flat.reported());
}

#[test]
fn swiotlb_over_the_iommu_maps_slots_and_nothing_else() {
    let kernel = Kernel { ops: Ops::SwiotlbOverIommu, ..Kernel::PLATFORM_HOOK };
    let good = run_on(&with_windows(&secure(kernel, &LIST)), vec![platform_disk()]);
    assert_good(&good);
    let (flat, _) = good;
    assert!(tces(&flat).all(|tce| flat.shared.contains(&(tce >> 16))));
    assert_eq!(flat.tables[&BUS].len(), 2, "the rings stay mapped");
}

#[test]
fn a_pool_that_nobody_mapped_is_out_of_reach_behind_an_iommu() {
    let args = secure(Kernel::PLATFORM_HOOK, &LIST);
    let done = run_on(&with_windows(&args), vec![platform_disk()]);
    assert_eq!(ended(&done), failed("blk-needs-reset"));
    assert!(!done.0.faults.is_empty());
}

const RESERVED: u64 = MEMORY - (8 << 20);

fn range(base: u64, bytes: u64) -> RamRange {
    RamRange { start: Gpa(base), bytes }
}

#[test]
fn described_memory_is_where_every_buffer_goes_in_secure_and_normal_guests() {
    let limited = Reserved::DmaRange(range(RESERVED, 2 << 20));
    let pools = Reserved::Pools(vec![range(RESERVED, 768 << 10)]);
    for (ops, reserved, bytes) in
        [(Ops::LimitedRange, limited, 2 << 20), (Ops::RestrictedPool, pools, 768 << 10)]
    {
        for is_secure in [false, true] {
            let kernel = Kernel { ops, ..Kernel::PLATFORM_HOOK };
            let args = BootArgs { secure: is_secure, ..secure(kernel, &LIST) };
            let spec = FdtSpec { reserved: reserved.clone(), ..plain(&args) };
            let good = run_on(&spec, vec![platform_disk()]);
            assert_good(&good);
            let (flat, _) = good;
            let within = RESERVED..RESERVED + bytes;
            assert!(flat.devices[0].buffers.iter().all(|(at, ..)| within.contains(at)));
            let expected = if is_secure { vec![within] } else { vec![] };
            assert_eq!(shared(&flat), expected);
        }
    }
}

#[test]
fn memory_that_is_reserved_is_not_the_heaps() {
    let with = |base| {
        let work = [Some(Work::Balloon { pages: 1000 }), None, None, None, None];
        let args = BootArgs { work, ..args() };
        let reserved = Reserved::Pools(vec![range(base, 768 << 10)]);
        let balloon = Device::new(Kind::Balloon, Habit::Good);
        run_on(&FdtSpec { reserved, ..plain(&args) }, vec![balloon])
    };
    assert_eq!(with(RESERVED).1, End::Exit(0));
    // Less than 3 MiB are left below.
    assert_eq!(ended(&with(4 << 20)), failed("no-memory"));
}

#[test]
fn each_device_has_the_restricted_pool_that_is_described_for_it() {
    let kernel = Kernel { ops: Ops::RestrictedPool, ..Kernel::PLATFORM_HOOK };
    let mut args = secure(kernel, &LIST);
    args.work[1] = Some(net_work());
    let places = [RESERVED, RESERVED + (2 << 20)];
    let pools = places.map(|base| range(base, 768 << 10)).into();
    let spec = FdtSpec { devices: 2, reserved: Reserved::Pools(pools), ..plain(&args) };
    let net = Device::new(Kind::Net, Habit::Good).offering(ACCESS_PLATFORM);
    let good = run_on(&spec, vec![platform_disk(), net]);
    assert_good(&good);
    for (device, base) in good.0.devices.iter().zip(places) {
        assert!(!device.buffers.is_empty());
        assert!(device.buffers.iter().all(|(at, ..)| (base..base + (768 << 10)).contains(at)));
    }
}

#[test]
fn ops_for_described_memory_are_the_iommus_where_nothing_is_described() {
    for ops in [Ops::LimitedRange, Ops::RestrictedPool] {
        let args = secure(Kernel { ops, ..Kernel::PLATFORM_HOOK }, &LIST);
        let good = run_on(&with_windows(&args), vec![platform_disk()]);
        assert_good(&good);
        assert!(shared(&good.0).is_empty());
        assert!(good.0.hypercalls(Hcall::PutTce).count() > 3 * REQUESTS);
    }
}

#[test]
fn sharing_in_place_keeps_contents_and_takes_every_unit_back() {
    let kernel = Kernel { ops: Ops::ShareInPlace, ..Kernel::PLATFORM_HOOK };
    for (placement, bytes) in [("own", 4096), ("nb", 4096), ("heap", 512), ("heap", 70_144)] {
        let list = [BlockOp::Write { requests: 5, bytes }, READ, BlockOp::ReadBack];
        let args = secure(kernel, &list);
        let bootargs = args.to_string().replace(",own,", &format!(",{placement},"));
        for habit in [Habit::Good, Habit::Indirect] {
            let mut flat = Flat::new(&guest(), bootargs.clone(), true, vec![patterned(habit)]);
            assert_eq!(flat.run(), End::Exit(0), "{placement}: {:?}", flat.reported());
            assert_disk(&flat.devices[0], &list);
            // Only the area for rings, 256 KiB, is left.
            assert_eq!(flat.shared.len(), 4, "{placement} {habit:?}");
            let calls = |which| {
                let is = |did: &&Did| matches!(did, Did::Ucall(call, ..) if *call == which);
                flat.did.iter().filter(is).count()
            };
            assert_eq!(calls(Ucall::SharePage), calls(Ucall::UnsharePage) + 1);
        }
    }
}

#[test]
fn a_device_that_demands_bit_33_is_lost_to_a_kernel_that_does_not_accept_it() {
    let with = |bit_33, is_secure| {
        let args = BootArgs {
            secure: is_secure,
            ..secure(Kernel { bit_33, ..Kernel::PLATFORM_HOOK }, &LIST)
        };
        run_on(&plain(&args), vec![platform_disk()])
    };
    assert_eq!(ended(&with(Bit33::Never, true)), refused("blk-features-ok"));
    assert_eq!(ended(&with(Bit33::IfSecure, false)), refused("blk-features-ok"));
    assert_good(&with(Bit33::IfSecure, true));
    assert_good(&with(Bit33::IfOffered, false));
}

#[test]
fn the_identity_bit_is_accepted_if_known_and_means_physical_addresses() {
    let disk = || patterned(Habit::Good).offering(ACCESS_PLATFORM | F_IDENTITY_ADDRESS);
    for identity_bit in [true, false] {
        let kernel = Kernel { identity_bit, ..Kernel::PLATFORM_HOOK };
        let args = BootArgs { secure: false, ..secure(kernel, &LIST) };
        let good = run_on(&with_windows(&args), vec![disk()]);
        assert_good(&good);
        assert_eq!(good.0.devices[0].accepted & F_IDENTITY_ADDRESS != 0, identity_bit);
        assert_eq!(good.0.hypercalls(Hcall::PutTce).count() == 0, identity_bit);
    }
}

#[test]
fn a_secure_guest_that_demands_both_bits_refuses_a_device_before_it_starts() {
    let with = |disk: Device, is_secure| {
        let kernel = Kernel { demands_bits: true, ..Kernel::PLATFORM_HOOK };
        let args = BootArgs { secure: is_secure, ..secure(kernel, &LIST) };
        run_on(&plain(&args), vec![disk])
    };
    for habit in [Habit::Good, Habit::Legacy] {
        let done = with(patterned(habit), true);
        assert_eq!(ended(&done), refused("blk-restricted"));
        assert_eq!(done.0.devices[0].read(0x70, 4), 128, "FAILED is set, FEATURES_OK never was");
        assert_good(&with(patterned(habit), false));
    }
    assert_good(&with(platform_disk(), true));
}

#[test]
fn who_demands_identity_fails_the_probe_where_addresses_are_translated() {
    let with = |ops, disk| {
        let args = secure(kernel(Virtio::IdentityOrFail, ops), &LIST);
        run_on(&with_windows(&args), vec![disk])
    };
    let raw = || patterned(Habit::Good);
    assert_eq!(ended(&with(Ops::Iommu, raw())), refused("blk-no-identity"));
    assert_eq!(ended(&with(Ops::SwiotlbOverIommu, raw())), refused("blk-no-identity"));
    assert_good(&with(Ops::Swiotlb, raw()));
    assert_good(&with(Ops::SwiotlbOverIommu, platform_disk()));
}

#[test]
fn a_poked_device_offers_bit_33_after_its_reset() {
    for pokes_quirk in [false, true] {
        let args = secure(Kernel { pokes_quirk, ..Kernel::PLATFORM_HOOK }, &LIST);
        let good = run_on(&plain(&args), vec![patterned(Habit::Good)]);
        assert_good(&good);
        assert_eq!(good.0.devices[0].accepted & ACCESS_PLATFORM != 0, pokes_quirk);
    }
}

#[test]
fn a_guest_may_use_its_devices_before_the_switch() {
    for (switch, resets) in [(Switch::AfterProbe, 5), (Switch::Forgetful, 2)] {
        let mut args = secure(Kernel::PLATFORM_HOOK, &LIST);
        args.switch = switch;
        let good = run_on(&plain(&args), vec![patterned(Habit::Good)]);
        assert_good(&good);
        let (flat, _) = good;
        assert_eq!(flat.devices[0].requests, 1 + REQUESTS, "one to warm up");
        assert_eq!(flat.devices[0].resets, resets, "{switch:?}");
        let esm = flat.did.iter().position(|did| matches!(did, Did::Ucall(Ucall::Esm, ..)));
        let first = flat.did.iter().position(|did| matches!(did, Did::Mmio(_)));
        assert!(first < esm, "{switch:?}");
        // Who forgets to reset keeps the path that was decided before: direct.
        let private = |(at, ..): &&(u64, u32, bool)| !flat.shared.contains(&(at >> 16));
        let direct = flat.devices[0].buffers.iter().filter(private).count();
        let expected = if switch == Switch::Forgetful { 3 * (1 + REQUESTS) } else { 3 };
        assert_eq!(direct, expected, "{switch:?}");
    }
}

#[test]
fn a_device_that_is_plugged_after_the_switch_is_found_then() {
    for switch in [Switch::BeforeProbe, Switch::AfterProbe, Switch::Forgetful] {
        let args = BootArgs { switch, ..secure(Kernel::PLATFORM_HOOK, &LIST) };
        let good = run_on(&plain(&args), vec![patterned(Habit::Good).late()]);
        assert_good(&good);
        assert_eq!(good.0.devices[0].requests, REQUESTS, "{switch:?}");
    }
}

#[test]
fn another_kernel_takes_over_in_the_middle_of_the_work() {
    for kexec in [Kexec::Reset, Kexec::Live] {
        for is_secure in [false, true] {
            let mut args = secure(Kernel::PLATFORM_HOOK, &LIST);
            (args.kexec, args.secure) = (kexec, is_secure);
            args.work[1] = Some(net_work());
            args.work[2] = Some(Work::Console { lines: 2 });
            let mut devices = vec![patterned(Habit::Good)];
            devices.extend([Kind::Net, Kind::Console].map(|kind| Device::new(kind, Habit::Good)));
            let good = run_on(&FdtSpec { devices: 3, ..plain(&args) }, devices);
            assert_good(&good);
            let (flat, _) = good;
            assert_eq!(flat.devices[0].requests, REQUESTS, "no step is done twice");
            assert_eq!(flat.devices[1].sent.len(), 5);
            let taken_back = |did: &&Did| matches!(did, Did::Ucall(Ucall::UnshareAllPages, ..));
            assert_eq!(flat.did.iter().filter(taken_back).count(), usize::from(is_secure));
            let shares = shared(&flat);
            assert_eq!(shares.len(), if is_secure { 2 } else { 0 });
            assert!(shares.windows(2).all(|pair| pair[0] == pair[1]), "the pool has its place");
        }
    }
}

fn with_bug(kind: BugKind, list: &[BlockOp], args: BootArgs) -> (Flat, End) {
    let bug = Some(Bug { kind, every: 2 });
    run(&BootArgs { bug, work: block(list), ..args }, Habit::Good)
}

#[test]
fn a_raw_address_goes_past_the_api_with_every_second_data_buffer() {
    let list = [BlockOp::Write { requests: 6, bytes: 4096 }];
    let args = secure(Kernel::PLATFORM_HOOK, &[]);
    let (flat, end) = with_bug(BugKind::RawSecure, &list, args);
    assert_eq!(end, End::Exit(0), "this machine does not protect pages");
    let data = flat.devices[0].buffers.iter().filter(|(_, bytes, _)| *bytes == 4096);
    let private: Vec<bool> = data.map(|(at, ..)| !flat.shared.contains(&(at >> 16))).collect();
    assert_eq!(private, [false, true, false, true, false, true]);
    assert!(flat.devices[0].buffers.iter().any(|(at, ..)| flat.shared.contains(&(at >> 16))));
}

#[test]
fn a_shared_page_of_somebody_elses_corrupts_and_is_noticed_when_read_back() {
    let list = [BlockOp::Write { requests: 6, bytes: 4096 }, BlockOp::ReadBack];
    for is_secure in [false, true] {
        let args = BootArgs { secure: is_secure, ..secure(Kernel::PLATFORM_HOOK, &[]) };
        let done = with_bug(BugKind::RawShared, &list, args);
        assert_eq!(ended(&done), (Some((Mismatch, "blk-readback")), End::Exit(3)));
        assert!(done.0.faults.is_empty(), "{:x?}", done.0.faults);
    }
}

#[test]
fn an_address_outside_all_memory_leads_nowhere() {
    let list = [BlockOp::Write { requests: 2, bytes: 4096 }];
    let (flat, _) = with_bug(BugKind::RawOutside, &list, secure(Kernel::PLATFORM_HOOK, &[]));
    assert_eq!(flat.faults.first(), Some(&(1 << 40)));
}

#[test]
fn a_mapping_that_is_never_undone_fills_the_pool() {
    // 1 MiB of slots: 4 KiB are lost with every second request.
    let list = [BlockOp::Write { requests: 600, bytes: 512 }];
    let args = BootArgs { swiotlb_bytes: 256 << 10, ..secure(Kernel::PLATFORM_HOOK, &[]) };
    let done = with_bug(BugKind::NeverUnmap, &list, args);
    assert_eq!(ended(&done), failed("swiotlb-full"));
    assert!(done.0.devices[0].requests > 200);
}

#[test]
fn a_descriptor_read_back_is_harmless_while_nobody_changes_it() {
    let done = with_bug(BugKind::ReadBack, &LIST, secure(Kernel::PLATFORM_HOOK, &[]));
    assert_good(&done);
}

/// slof and the guest from the boot disk, whose options are `boot`'s.
fn boot(slof_tce: bool, boot: impl Fn(Device) -> Device) -> (Flat, End) {
    let args = BootArgs { boot_disk: true, slof_tce, work: block(&LIST), ..args() };
    let disk = boot(Device::disk(builtin::GUEST.to_vec(), Habit::Good));
    let spec = FdtSpec { devices: 2, ..with_windows(&args) };
    let mut flat = Flat::on(&slof(), &spec, vec![disk, platform_disk()]);
    let end = flat.run();
    (flat, end)
}

#[test]
fn todays_slof_does_not_boot_from_a_disk_that_demands_bit_33_and_one_with_tce_does() {
    let demands = |disk: Device| disk.demanding(ACCESS_PLATFORM);
    assert_eq!(ended(&boot(false, demands)), refused("slof-features"));
    for (slof_tce, maps) in [(true, true), (false, false)] {
        let (flat, end) = boot(slof_tce, |disk| if maps { demands(disk) } else { disk });
        assert_eq!((end, flat.faults.len()), (End::Exit(0), 0), "{:?}", flat.reported());
        assert_disk(&flat.devices[1], &LIST);
        assert!(flat.tables.get(&BUS).is_none_or(|table| table.is_empty()));
    }
}

#[test]
fn a_balloon_gets_every_page_once_and_gives_each_back() {
    for pages in [1, 256, 600] {
        let work = [Some(Work::Balloon { pages }), None, None, None, None];
        let args = BootArgs { secure: true, kernel: Kernel::PLATFORM_HOOK, work, ..args() };
        let balloon = Device::new(Kind::Balloon, Habit::Good);
        let (flat, end) = run_on(&plain(&args), vec![balloon]);
        assert_eq!(end, End::Exit(0), "{:?}", flat.reported());
        let sent = flat.devices[0].sent.concat();
        let (pfns, _) = sent.as_chunks::<4>();
        let pfns: Vec<u32> = pfns.iter().map(|pfn| u32::from_le_bytes(*pfn)).collect();
        let (inflated, deflated) = pfns.split_at(pages as usize);
        assert_eq!(inflated, deflated);
        let inflated: std::collections::BTreeSet<_> = inflated.iter().collect();
        assert_eq!(inflated.len(), pages as usize);
        assert!(flat.devices[0].sent.iter().all(|array| array.len() <= 1024));
        assert!(flat.devices[0].buffers.iter().all(|(at, ..)| flat.shared.contains(&(at >> 16))));
    }
}

#[test]
fn a_balloon_never_accepts_bit_33() {
    let balloon = || Device::new(Kind::Balloon, Habit::Good).offering(ACCESS_PLATFORM);
    let with = |demands_bits, device| {
        let work = [Some(Work::Balloon { pages: 3 }), None, None, None, None];
        let kernel = Kernel { demands_bits, ..Kernel::PLATFORM_HOOK };
        run_on(&plain(&BootArgs { secure: true, kernel, work, ..args() }), vec![device])
    };
    assert_eq!(with(false, balloon()).1, End::Exit(0));
    assert_eq!(
        ended(&with(false, balloon().demanding(ACCESS_PLATFORM))),
        refused("bal-features-ok")
    );
    assert_eq!(ended(&with(true, balloon())), refused("bal-restricted"));
}

#[test]
fn a_guest_that_needs_nothing_pays_at_most_five_instructions() {
    let image = guest();
    let address = |name| image.symbols.address(name).expect("the image has it");
    let mut flat = Flat::new(&image, args().to_string(), false, vec![]);
    let mut cost = |name| {
        let before = flat.cpu.instructions();
        let back = super::alone::call(&mut flat, address(name), [0x1234, 512, 0]);
        (flat.cpu.instructions() - before - 1, back)
    };
    assert_eq!(cost("dma_map"), (4, 0x1234));
    assert_eq!(cost("dma_unmap").0, 3);
}

#[test]
fn work_that_needs_a_device_which_is_not_there_is_refused_by_name() {
    let work = [Some(Work::Balloon { pages: 1 }); WORK_MAX];
    let done = run(&BootArgs { work, ..args() }, Habit::Good);
    assert_eq!(ended(&done), refused("no-bal"));
}
