//! The built-in guest on hand-made plans: what it asked for, what was logged, the same every time.

use crate::small::{builtin, position, run};
use firmware::kernel::Kernel;
use firmware::workload::{BlockOp, NetOp, Order, Placement, Work};
use host_sim::event::{Compared, Ended, Event};
use host_sim::log::RunLog;
use host_sim::scenario::plan::{
    Contents, DeviceKind, DevicePlan, Peer, Plan, Plugged, QemuOptions,
};
use std::collections::BTreeMap;
use ultravisor_abi::UnitSize;

fn secure() -> Plan {
    let mut plan = builtin();
    plan.guest.secure = true;
    plan
}

/// A disk, and `requests` writes of 4 KiB that are read back.
fn with_disk(mut plan: Plan, requests: u32) -> Plan {
    let kind = DeviceKind::Blk { sectors: 4096, contents: Contents::Pattern };
    plan.devices = vec![DevicePlan {
        id: "disk".into(),
        kind,
        options: QemuOptions::default(),
        plugged: Plugged::AtStart,
    }];
    let list = [BlockOp::Write { requests, bytes: 4096 }, BlockOp::ReadBack];
    plan.work = vec![Work::Block {
        ops: std::array::from_fn(|index| list.get(index).copied()),
        order: Order::Random,
        placement: Placement::OwnUnit,
        refill: true,
    }];
    plan
}

fn with_net(mut plan: Plan, list: &[NetOp], peer: Peer) -> Plan {
    let kind = DeviceKind::Net { peer };
    plan.devices = vec![DevicePlan {
        id: "net".into(),
        kind,
        options: QemuOptions::default(),
        plugged: Plugged::AtStart,
    }];
    plan.work = vec![Work::Net { ops: std::array::from_fn(|index| list.get(index).copied()) }];
    plan
}

/// How often each (bytes, direction) was mapped; each mapping was unmapped as it was mapped.
fn mappings(log: &RunLog) -> BTreeMap<(u64, u64), u64> {
    let mut counts = BTreeMap::new();
    let mut open = BTreeMap::new();
    for record in &log.records {
        match record.event {
            Event::DmaMap { dma, bytes, direction, .. } => {
                assert_eq!(open.insert(dma, (bytes, direction)), None, "{dma:#x} is lent twice");
                *counts.entry((bytes, direction)).or_default() += 1;
            }
            Event::DmaUnmap { dma, bytes, direction, .. } => {
                assert_eq!(open.remove(&dma), Some((bytes, direction)), "{dma:#x}");
            }
            _ => (),
        }
    }
    assert!(open.is_empty(), "never unmapped: {open:?}");
    counts
}

#[test]
fn the_log_has_the_sizes_and_directions_that_the_driver_asked_for() {
    const TO_DEVICE: u64 = 0;
    const FROM_DEVICE: u64 = 1;
    for plan in [builtin(), secure()] {
        let log = run(&with_disk(plan, 5));
        assert_eq!(log.ended, Ended::Exit(0));
        // Five writes, five reads: table of three descriptors, header, data, status.
        let meant = [
            ((1, FROM_DEVICE), 10),
            ((16, TO_DEVICE), 10),
            ((48, TO_DEVICE), 10),
            ((4096, TO_DEVICE), 5),
            ((4096, FROM_DEVICE), 5),
        ];
        assert_eq!(mappings(&log), BTreeMap::from(meant));
    }
}

#[test]
fn frames_that_nobody_waited_for_come_back_and_do_no_harm() {
    let list = [
        NetOp::Echo { frames: 1, bytes: 100 },
        NetOp::Transmit { frames: 20, bytes: 60 },
        NetOp::Echo { frames: 3, bytes: 60 },
        NetOp::Transmit { frames: 1, bytes: 1514 },
        NetOp::Echo { frames: 1, bytes: 61 },
    ];
    for plan in [builtin(), secure()] {
        let log = run(&with_net(plan, &list, Peer::Echo));
        assert_eq!(log.ended, Ended::Exit(0));
        let compared = log.records.iter().find_map(|record| match record.event {
            Event::Comparison { what: Compared::Wire, bytes, wrong, .. } => Some((bytes, wrong)),
            _ => None,
        });
        assert_eq!(compared, Some((100 + 20 * 60 + 3 * 60 + 1514 + 61, 0)));
    }
}

#[test]
fn a_frame_that_never_comes_back_is_a_timeout_however_many_were_sent_before() {
    let list = [NetOp::Transmit { frames: 2, bytes: 60 }, NetOp::Echo { frames: 1, bytes: 60 }];
    let log = run(&with_net(builtin(), &list, Peer::Sink));
    assert_eq!(log.ended, Ended::Exit(1));
    let report =
        |event: &Event| matches!(event, Event::Report { name, .. } if name == "net-timeout");
    assert!(position(&log, report).is_some());
}

#[test]
fn legacy_devices_work_for_a_normal_guest_and_for_a_secure_one_that_bounces() {
    for plan in [builtin(), secure()] {
        let mut plan = with_disk(plan, 5);
        plan.devices[0].options.legacy = true;
        assert_eq!(run(&plan).ended, Ended::Exit(0), "secure {}", plan.guest.secure);
    }
}

#[test]
fn small_units_and_memory_above_3_gib_make_no_difference_to_a_guest_that_bounces() {
    for unit in [UnitSize::KIB_4, UnitSize::KIB_64] {
        let mut plan = with_disk(secure(), 3);
        plan.machine.unit = unit;
        plan.machine.memory_bytes = 5 << 30;
        let log = run(&plan);
        assert_eq!(log.ended, Ended::Exit(0), "{unit:?}");
        assert!(position(&log, |event| matches!(event, Event::Tampered { .. })).is_none());
    }
}

#[test]
fn the_same_plan_gives_the_same_log_and_another_seed_another() {
    let mut plan = with_disk(secure(), 5);
    let first = run(&plan);
    let second = run(&plan);
    assert_eq!((first.hash, &first.records), (second.hash, &second.records));
    plan.seed = 2;
    assert_ne!(run(&plan).hash, first.hash);
}

#[test]
fn waiting_is_counted_in_work_units() {
    use host_sim::counters::{Counter, Counters, Phase};
    let log = run(&with_disk(builtin(), 5));
    let waited: u64 = log
        .records
        .iter()
        .map(|record| match record.event {
            Event::Wait { ns, .. } => ns,
            _ => 0,
        })
        .sum();
    let counters = Counters::of(&log.records, true);
    assert!(waited > 10 * 1000, "{waited}");
    assert_eq!(counters.sum(Counter::GuestWaitUnits, &Phase::ALL), waited);
}

#[test]
fn a_bypass_with_the_disks_pages_sealed_is_told_by_its_touches() {
    let mut plan = with_disk(secure(), 1);
    plan.guest.kernel = Kernel::LINUX_2018;
    let log = run(&plan);
    assert_ne!(log.ended, Ended::Exit(0));
    assert!(
        position(&log, |event| matches!(event, Event::Foreign { .. } | Event::Broken { .. }))
            .is_some()
    );
}
