//! Devices behind an IOMMU: what TCEs map, what the hypervisor says to the calls that put them, and
//! what it sees of a list in secure memory.

use crate::small::{DATA, RING, SECTOR, Write, disk, hypercalls, position, run, small};
use host_sim::cost;
use host_sim::counters::{Counter, Counters, Phase};
use host_sim::device::transport::{ACCESS_PLATFORM, VERSION_1};
use host_sim::event::{Cause, DeviceIndex, Direction, Ended, Event, Part, Seen};
use host_sim::host::HostSide;
use host_sim::hypervisor::Hypervisor;
use host_sim::iommu::tce::Tces;
use host_sim::iommu::{AddressSpace, Dma, Iommus};
use host_sim::log::RunLog;
use host_sim::recorder::Recorder;
use host_sim::scenario::limits::Limits;
use host_sim::scenario::plan::{Backend, CostProfile, Describes, Iommu, Plan, Platform};
use host_sim::touch::Host;
use iced_x86::code_asm::{CodeAssembler, qword_ptr, rax, rcx};
use ultravisor::platform::{Config, OnTamper, RamRange};
use ultravisor::{PageState, Ultravisor};
use ultravisor_abi::ours::F_IDENTITY_ADDRESS;
use ultravisor_abi::{DmaAddr, Gpa, HStatus, Hcall, UnitSize};

const LIOBN: u64 = 0x1000_0000;
const BOTH: u64 = 3;
/// Where the device finds [`DATA`]: not where it is.
const IOVA: u64 = 0x7000;
const LIST: u64 = 0x43_0000;
const CONTENT: &[u8] = b"mapped!!";

fn put_tce(a: &mut CodeAssembler, ioba: u64, tce: u64) {
    a.request(Hcall::PutTce.number(), [LIOBN, ioba, tce, 0, 0]);
}

/// Maps the ring's pages one to one.
fn map_ring(a: &mut CodeAssembler) {
    (0..5).for_each(|page| put_tce(a, RING + page * 0x1000, (RING + page * 0x1000) | BOTH));
}

/// Ends with the first bytes of [`DATA`].
fn exit_with_data(a: &mut CodeAssembler) {
    a.mov(rcx, DATA).expect("encodable");
    a.mov(rax, qword_ptr(rcx)).expect("encodable");
    a.exit_with_rax();
}

/// A normal guest with a disk that has `iommu_platform` on.
fn behind(write: impl FnOnce(&mut CodeAssembler)) -> Plan {
    let mut plan = small(write);
    plan.machine.platform = Platform::Plain;
    plan.devices = vec![disk(CONTENT)];
    plan.devices[0].options.iommu_platform = true;
    plan
}

/// A guest that accepts these features, has `map` done, and reads a sector to `at`.
fn reads(features: u64, at: u64, map: impl FnOnce(&mut CodeAssembler)) -> Plan {
    behind(|a| {
        a.start_disk_with(features);
        map(a);
        a.ask(1, at, SECTOR, true);
        (0..4).for_each(|_| a.pause().expect("encodable"));
        exit_with_data(a);
    })
}

fn arrived(log: &RunLog) -> bool {
    log.ended == Ended::Exit(u64::from_le_bytes(CONTENT.try_into().expect("eight bytes")))
}

fn broken(log: &RunLog) -> Option<String> {
    log.records.iter().find_map(|record| match &record.event {
        Event::Broken { reason, .. } => Some(reason.clone()),
        _ => None,
    })
}

#[test]
fn a_device_behind_the_iommu_reaches_what_the_tces_map_and_nothing_else() {
    let features = VERSION_1 | ACCESS_PLATFORM;
    let mapped = run(&reads(features, IOVA, |a| {
        map_ring(a);
        put_tce(a, IOVA, DATA | BOTH);
    }));
    assert!(arrived(&mapped), "{}", mapped.ended);

    for tce in [0, DATA | 1] {
        let log = run(&reads(features, IOVA, |a| {
            map_ring(a);
            put_tce(a, IOVA, tce);
        }));
        assert_eq!(log.ended, Ended::Exit(0), "nothing arrived");
        let reason = format!("the buffer of {SECTOR} bytes at {IOVA:#x} cannot be mapped");
        assert_eq!(broken(&log), Some(reason), "{tce:#x}");
    }
    let no_ring = run(&reads(features, IOVA, |_| {}));
    assert_eq!(broken(&no_ring), Some(format!("the desc range at {RING:#x} cannot be reached")));
}

#[test]
fn a_buffer_over_pages_that_are_not_neighbours_arrives_whole() {
    let log = run(&behind(|a| {
        a.start_disk_with(VERSION_1 | ACCESS_PLATFORM);
        map_ring(a);
        put_tce(a, IOVA, DATA | BOTH);
        put_tce(a, IOVA + 0x1000, (DATA + 0x5000) | BOTH);
        a.ask(1, IOVA + 0xffc, SECTOR, true);
        a.wait_for(1);
        a.mov(rcx, DATA + 0x4ffc).expect("encodable");
        a.mov(rax, qword_ptr(rcx)).expect("encodable");
        a.exit_with_rax();
    }));
    // Four bytes end the first page; the rest begins at the second.
    let half = u32::from_le_bytes(CONTENT[4..].try_into().expect("four bytes"));
    assert_eq!(log.ended, Ended::Exit(u64::from(half) << 32));
    let touched = log.records.iter().filter_map(|record| match record.event {
        Event::Touch { part: Part::Data, gpa, bytes, .. } => Some((gpa, bytes)),
        _ => None,
    });
    assert!(touched.eq([(DATA + 0xffc, 4), (DATA + 0x5000, 508)]));
}

#[test]
fn where_the_driver_may_refuse_bit_33_its_answer_decides_what_addresses_are() {
    let with = |optional: bool, identity: bool, features: u64, at: u64| {
        let mut plan = reads(features, at, |a| {
            map_ring(a);
            put_tce(a, IOVA, DATA | BOTH);
        });
        let options = &mut plan.devices[0].options;
        (options.iommu_platform, options.optional_33, options.identity_bit) =
            (optional, optional, identity);
        arrived(&run(&plan))
    };
    for (optional, identity) in [(true, false), (false, true)] {
        assert!(with(optional, identity, VERSION_1, DATA), "refused: physical");
        assert!(!with(optional, identity, VERSION_1, IOVA));
        assert!(with(optional, identity, VERSION_1 | ACCESS_PLATFORM, IOVA), "through TCEs");
        assert!(!with(optional, identity, VERSION_1 | ACCESS_PLATFORM, DATA));
    }
    for features in [F_IDENTITY_ADDRESS, F_IDENTITY_ADDRESS | ACCESS_PLATFORM] {
        assert!(with(false, true, VERSION_1 | features, DATA), "promised: physical");
        assert!(!with(false, true, VERSION_1 | features, IOVA));
    }
}

#[test]
fn without_an_iommu_bit_33_changes_no_address_and_a_virtio_iommu_is_bypassed() {
    for iommu in [Iommu::Absent, Iommu::VirtioIommu] {
        let mut plan = reads(VERSION_1 | ACCESS_PLATFORM, DATA, |_| {});
        plan.machine.iommu = iommu;
        assert!(arrived(&run(&plan)), "{iommu:?}");
    }
}

#[test]
fn a_limited_device_reaches_the_range_of_the_fdt_and_no_other_memory() {
    let with = |memory_mib: u64| {
        let mut plan = reads(VERSION_1 | ACCESS_PLATFORM, DATA, |_| {});
        plan.machine.memory_bytes = memory_mib << 20;
        plan.machine.describes = Describes::DmaRange;
        plan.machine.swiotlb_bytes = 1 << 20;
        run(&plan)
    };
    // 2 MiB below the stack, aligned: from 4 MiB on in 8 MiB, far above in 64.
    assert!(arrived(&with(8)));
    let log = with(64);
    assert_eq!(broken(&log), Some(format!("the desc range at {RING:#x} cannot be reached")));
}

#[test]
fn whatever_is_wrong_with_a_tce_call_is_h_parameter_and_nothing_is_read() {
    let put = Hcall::PutTce.number();
    let stuff = Hcall::StuffTce.number();
    let indirect = Hcall::PutTceIndirect.number();
    for (number, args) in [
        (put, [LIOBN + 1, 0, BOTH, 0]),
        (put, [LIOBN, 0x10, BOTH, 0]),
        (put, [LIOBN, 64 << 20, BOTH, 0]),
        (put, [LIOBN, 0, (64 << 20) | BOTH, 0]),
        (stuff, [LIOBN, 0, BOTH, 1]),
        (stuff, [LIOBN, 0, 0, u64::MAX]),
        (indirect, [LIOBN, 0, LIST, 513]),
        (indirect, [LIOBN, 0, LIST, u64::MAX]),
        (indirect, [LIOBN, 0, LIST + 8, 1]),
        (indirect, [LIOBN, 0, 64 << 20, 1]),
        (indirect, [LIOBN, 0, !0xfff, 512]),
        (indirect, [LIOBN + 1, 0, LIST, 1]),
        (indirect, [LIOBN, (64 << 20) - 0x1000, LIST, 2]),
    ] {
        for secure in [false, true] {
            let log = run(&behind_pef(|a| {
                if secure {
                    a.become_secure();
                }
                a.request(number, [args[0], args[1], args[2], args[3], 0]);
                a.exit_with_rax();
            }));
            let parameter = HStatus::Parameter.code().cast_unsigned();
            assert_eq!(log.ended, Ended::Exit(parameter), "{number:#x} {args:x?}");
            assert_eq!(position(&log, |event| matches!(event, Event::Touch { .. })), None);
        }
    }
}

fn behind_pef(write: impl FnOnce(&mut CodeAssembler)) -> Plan {
    let mut plan = behind(write);
    plan.machine.platform = Platform::Pef;
    plan
}

#[test]
fn without_tce_tables_no_table_has_a_right_number() {
    let mut plan = behind(|a| {
        put_tce(a, 0, DATA | BOTH);
        a.exit_with_rax();
    });
    plan.machine.iommu = Iommu::Absent;
    assert_eq!(run(&plan).ended, Ended::Exit(HStatus::Parameter.code().cast_unsigned()));
}

/// Maps `count` pages from [`IOVA`] on by a list at [`LIST`] that names [`DATA`] first.
fn put_list(a: &mut CodeAssembler, count: u64) {
    (0..2).for_each(|entry| a.store(LIST + entry * 8, (DATA + entry * 0x1000) | BOTH));
    a.request(Hcall::PutTceIndirect.number(), [LIOBN, IOVA, LIST, count, 0]);
}

#[test]
fn a_list_that_the_hypervisor_can_read_maps_its_pages() {
    let log = run(&reads(VERSION_1 | ACCESS_PLATFORM, IOVA, |a| {
        map_ring(a);
        put_list(a, 2);
    }));
    assert!(arrived(&log), "{}", log.ended);
    let calls = hypercalls(&log, Hcall::PutTceIndirect);
    assert_eq!(calls, [(HStatus::Success, [LIOBN, IOVA, LIST, 2, 0, 0])]);
    let touch = log.records.iter().find_map(|record| match record.event {
        Event::Touch { device: None, queue: None, part, gpa, bytes, .. } => {
            Some((part, gpa, bytes))
        }
        _ => None,
    });
    assert_eq!(touch, Some((Part::Hypercall, LIST, 16)));
}

#[test]
fn a_list_of_nothing_is_not_read() {
    let log = run(&behind(|a| {
        put_list(a, 0);
        a.exit_with_rax();
    }));
    assert_eq!(log.ended, Ended::Exit(0));
    assert_eq!(position(&log, |event| matches!(event, Event::Touch { .. })), None);
}

#[test]
fn a_list_in_secure_memory_is_paged_out_and_maps_garbage() {
    let log = run(&behind_pef(|a| {
        a.become_secure();
        put_list(a, 2);
        a.mov(rcx, LIST).expect("encodable");
        a.mov(rax, qword_ptr(rcx)).expect("encodable");
        a.exit_with_rax();
    }));
    assert_eq!(log.ended, Ended::Exit(DATA | BOTH), "the guest still sees what it wrote");
    assert_eq!(hypercalls(&log, Hcall::PutTceIndirect)[0].0, HStatus::Parameter);
    let told = |wanted: &Event| {
        matches!(
            wanted,
            Event::Touch {
                device: None,
                part: Part::Hypercall,
                state: PageState::Secure,
                seen: Seen::Sealed,
                ..
            }
        )
    };
    assert!(position(&log, told).is_some());
    let cause = Some(Cause::Touch { device: None, queue: None, part: Part::Hypercall });
    let out = |event: &Event| matches!(event, Event::Page { cause: found, .. } if *found == cause);
    assert!(position(&log, out).is_some());
    let counters = Counters::of(&log.records, false);
    assert_eq!(counters.get(Counter::RoundTripsHypercall, Phase::Steady), 1);
    assert!(counters.get(Counter::HvCalls, Phase::Steady) >= 1);
}

#[test]
fn what_stands_before_an_entry_that_is_not_sound_is_mapped() {
    let log = run(&reads(VERSION_1 | ACCESS_PLATFORM, IOVA, |a| {
        map_ring(a);
        a.store(LIST, DATA | BOTH);
        a.store(LIST + 8, 0x123);
        a.request(Hcall::PutTceIndirect.number(), [LIOBN, IOVA, LIST, 2, 0]);
    }));
    assert_eq!(hypercalls(&log, Hcall::PutTceIndirect)[0].0, HStatus::Parameter);
    assert!(arrived(&log), "{}", log.ended);
}

/// Look-ups (hits, misses) of a disk with an IOTLB, and how long the run took.
fn look_ups(backend: Backend, iommu_platform: bool) -> (u64, u64, u64) {
    let features = VERSION_1 | if iommu_platform { ACCESS_PLATFORM } else { 0 };
    let mut plan = reads(features, DATA, |_| {});
    plan.machine.iommu = Iommu::Absent;
    plan.devices[0].options.iommu_platform = iommu_platform;
    plan.devices[0].options.backend = backend;
    let log = run(&plan);
    assert!(arrived(&log), "{}", log.ended);
    let counters = Counters::of(&log.records, false);
    let count = |counter| counters.get(counter, Phase::Steady);
    let time = count(Counter::TimeNs);
    (count(Counter::VhostIotlbHits), count(Counter::VhostIotlbMisses), time)
}

#[test]
fn a_vhost_back_end_looks_addresses_up_where_bit_33_is_accepted_even_without_an_iommu() {
    let (hits, misses, slow) = look_ups(Backend::Vhost, true);
    // Descriptors, available ring, used ring, header, status, data: a page each.
    assert_eq!(misses, 6);
    assert!(hits > misses, "{hits}");
    let (hits, misses, quick) = look_ups(Backend::Vhost, false);
    assert_eq!((hits, misses), (0, 0));
    assert_eq!(look_ups(Backend::Qemu, true), (0, 0, quick));
    assert!(slow > quick + 50_000, "{slow} {quick}");
}

#[test]
fn translations_between_two_runs_of_the_guest_are_bounded_and_paid_for() {
    let unit = UnitSize::KIB_64;
    let ram = vec![RamRange { start: Gpa(0), bytes: 1 << 20 }];
    let uv = Ultravisor::new(Config {
        platform: ultravisor::platform::Platform::Plain,
        unit,
        ram: ram.clone(),
        seed: 1,
        on_tamper: OnTamper::Refault,
        secure_bytes: 1 << 30,
        backed_bytes_max: 1 << 30,
    });
    let costs = cost::table(Platform::Plain, CostProfile::Firmware);
    let hv = Hypervisor::new(ram, unit, Recorder::new(costs, unit, Limits::default()));
    let mut host = HostSide::new(hv, uv.expect("a mebibyte can be mapped"), true);
    host.hv.iommus = Iommus::new(1, Some(Tces::new(1, 1 << 20)));
    for page in (0..1 << 20).step_by(4096) {
        host.hv.iommus.put_tce([LIOBN, page, page | BOTH], |_| true);
    }
    let device = DeviceIndex(0);
    host.set_dma(device, Dma { space: AddressSpace::Tce, looks_up: false });
    let mut whole = || host.in_range(device, DmaAddr(0), 1 << 20, Direction::Read);
    let found = (0..100_000).take_while(|_| whole()).count();
    assert!((16_000..16_400).contains(&found), "{found} times 256 pages");
    assert!(host.hv.recorder.host_units() > 1 << 19);
    host.guest_runs();
    assert!(host.in_range(device, DmaAddr(0), 1 << 20, Direction::Read));
}
