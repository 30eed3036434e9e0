//! The register file: features, status, queue set-up, reset.

use crate::rig::{BUFFERS, Rig, disk, options, readable, writable};
use host_sim::device::Effect;
use host_sim::device::transport::{ACCESS_PLATFORM, EVENT_IDX, INDIRECT_DESC, VERSION_1};
use host_sim::event::QueueIndex;
use host_sim::iommu::{AddressSpace, Dma};
use host_sim::qemu::{device_at, plug, slot};
use host_sim::scenario::plan::{
    Backend, DeviceKind, DevicePlan, Iommu, Peer, Plugged, QemuOptions, Transport,
};
use ultravisor_abi::Gpa;
use ultravisor_abi::ours::{F_IDENTITY_ADDRESS, QUIRK_REGISTER};

const BLK: u64 = 1 << 2 | 1 << 6 | 1 << 9;

#[test]
fn a_device_says_what_it_is() {
    for (legacy, version) in [(false, 2), (true, 1)] {
        let mut rig = Rig::plugged(disk(64), QemuOptions { legacy, ..options() }, 1);
        assert_eq!(rig.get(0x00), u32::from_le_bytes(*b"virt"));
        assert_eq!(rig.get(0x04), version);
        assert_eq!(rig.get(0x08), 2);
        assert_eq!(rig.get(0x0c), u32::from_le_bytes(*b"QEMU"));
    }
}

#[test]
fn options_decide_what_is_offered() {
    let base = QemuOptions { indirect_desc: false, ..options() };
    let all = QemuOptions { iommu_platform: true, event_idx: true, ..options() };
    let cases = [
        (base, BLK | VERSION_1),
        (QemuOptions { indirect_desc: true, ..base }, BLK | VERSION_1 | INDIRECT_DESC),
        (QemuOptions { event_idx: true, ..base }, BLK | VERSION_1 | EVENT_IDX),
        (QemuOptions { iommu_platform: true, ..base }, BLK | VERSION_1 | ACCESS_PLATFORM),
        (all, BLK | VERSION_1 | ACCESS_PLATFORM | INDIRECT_DESC | EVENT_IDX),
        (QemuOptions { legacy: true, ..all }, BLK | INDIRECT_DESC | EVENT_IDX),
    ];
    for (options, offered) in cases {
        assert_eq!(Rig::plugged(disk(64), options, 1).offered(), offered, "{options:?}");
    }
}

#[test]
fn features_ok_does_not_stick_if_the_driver_does_not_accept_the_platform() {
    let mut rig = Rig::plugged(disk(64), QemuOptions { iommu_platform: true, ..options() }, 1);
    rig.set(0x70, 3);
    rig.accept(VERSION_1);
    assert_eq!(rig.set(0x70, 11), Effect::StatusChanged(3));
    assert_eq!(rig.get(0x70), 3);

    rig.accept(VERSION_1 | ACCESS_PLATFORM);
    assert_eq!(rig.set(0x70, 11), Effect::StatusChanged(11));
    assert_eq!(rig.get(0x70), 11);
}

#[test]
fn where_bit_33_may_be_refused_features_ok_sticks_without_it() {
    for (optional_33, identity_bit) in [(true, false), (false, true)] {
        let options = QemuOptions { iommu_platform: true, optional_33, identity_bit, ..options() };
        let mut rig = Rig::plugged(disk(64), options, 1);
        assert_ne!(rig.offered() & ACCESS_PLATFORM, 0);
        rig.set(0x70, 3);
        rig.accept(VERSION_1);
        assert_eq!(rig.set(0x70, 11), Effect::StatusChanged(11));
    }
}

#[test]
fn the_identity_bit_comes_with_bit_33_and_to_no_legacy_device() {
    let both = ACCESS_PLATFORM | F_IDENTITY_ADDRESS;
    for (legacy, offered) in [(false, both), (true, 0)] {
        let options = QemuOptions { identity_bit: true, legacy, ..options() };
        assert_eq!(Rig::plugged(disk(64), options, 1).offered() & both, offered);
    }
}

#[test]
fn the_quirk_counts_from_the_next_reset_on_and_only_where_it_is_known() {
    for (quirk, value, offered) in
        [(true, 1, ACCESS_PLATFORM), (true, 0, 0), (true, 2, 0), (false, 1, 0)]
    {
        let mut rig = Rig::plugged(disk(64), QemuOptions { quirk, ..options() }, 1);
        rig.device.write(QUIRK_REGISTER, 4, value);
        assert_eq!(rig.offered() & ACCESS_PLATFORM, 0, "not yet");
        for _ in 0..2 {
            rig.set(0x70, 0);
            assert_eq!(rig.offered() & ACCESS_PLATFORM, offered, "{quirk} {value}");
        }
    }
}

/// Where a device's addresses lead once its driver has accepted `features` of what it offers.
fn dma(options: QemuOptions, features: u64, iommu: Iommu) -> Dma {
    let mut rig = Rig::plugged(disk(64), options, 1);
    rig.set(0x70, 3);
    rig.accept(features);
    rig.set(0x70, 11);
    rig.device.dma(iommu, None)
}

#[test]
fn a_devices_address_space_follows_from_its_options_and_the_drivers_answer() {
    use AddressSpace::{Identity, Raw, Tce, VirtioIommu};
    let base = options();
    let on = QemuOptions { iommu_platform: true, ..base };
    let optional = QemuOptions { optional_33: true, ..on };
    let identity = QemuOptions { identity_bit: true, ..base };
    let all = !0;
    for (options, features, iommu, space) in [
        (base, all, Iommu::Tce, Raw),
        (on, all, Iommu::Tce, Tce),
        (on, VERSION_1, Iommu::Tce, Tce),
        (on, all, Iommu::Absent, Identity),
        (on, all, Iommu::VirtioIommu, VirtioIommu),
        (optional, all, Iommu::Tce, Tce),
        (optional, VERSION_1, Iommu::Tce, Raw),
        (identity, all, Iommu::Tce, Identity),
        (identity, VERSION_1, Iommu::Tce, Raw),
        (identity, VERSION_1 | ACCESS_PLATFORM, Iommu::Tce, Tce),
        (QemuOptions { legacy: true, ..on }, all, Iommu::Tce, Raw),
    ] {
        assert_eq!(dma(options, features, iommu).space, space, "{options:?} {features:#x}");
    }
}

#[test]
fn a_vhost_back_end_looks_up_only_where_bit_33_is_in_effect() {
    for (backend, iommu_platform, looks_up) in [
        (Backend::Vhost, true, true),
        (Backend::Vhost, false, false),
        (Backend::Qemu, true, false),
        (Backend::Poll, true, false),
    ] {
        let options = QemuOptions { backend, iommu_platform, ..options() };
        assert_eq!(dma(options, !0, Iommu::Absent).looks_up, looks_up, "{backend:?}");
    }
}

#[test]
fn turning_the_platform_on_shows_at_once() {
    let mut rig = Rig::new(disk(64), options());
    assert!(rig.device.turn_platform_on());
    assert!(!rig.device.turn_platform_on(), "it is on");
    assert_ne!(rig.offered() & ACCESS_PLATFORM, 0);
    assert_eq!(rig.device.dma(Iommu::Tce, None).space, AddressSpace::Tce);
    let mut legacy = Rig::new(disk(64), QemuOptions { legacy: true, ..options() });
    assert!(!legacy.device.turn_platform_on());
}

#[test]
fn features_stay_as_they_were_at_features_ok() {
    let mut rig = Rig::new(disk(64), options());
    rig.accept(0);
    rig.set(0x70, 15);
    rig.offer_head(0, 99);
    rig.serve_all(0);
    assert!(rig.device.needs_reset(), "still a VERSION_1 device");
}

#[test]
fn a_modern_device_is_not_served_before_driver_ok_and_a_legacy_one_is() {
    for (legacy, used) in [(false, 0), (true, 1)] {
        let mut rig = Rig::new(disk(64), QemuOptions { legacy, ..options() });
        rig.set(0x70, 11);
        rig.offer(0, &[readable(BUFFERS, 16), writable(BUFFERS + 16, 513)]);
        rig.serve_all(0);
        assert_eq!(rig.used(0).len(), used);
    }
}

#[test]
fn a_reset_clears_all_but_what_the_device_is() {
    for (legacy, ready) in [(false, 0x44), (true, 0x40)] {
        let mut rig = Rig::new(disk(64), QemuOptions { legacy, ..options() });
        rig.offer_head(0, 99);
        rig.serve_all(0);
        assert_eq!(rig.set(0x70, 0), Effect::Reset);
        for register in [0x60, 0x70, ready] {
            assert_eq!(rig.get(register), 0, "{register:#x}");
        }
        assert!(!rig.device.broken() && !rig.device.interrupts());
        assert_eq!(rig.get(0x08), 2);
    }
}

#[test]
fn a_legacy_queue_address_of_zero_resets_the_device() {
    let mut rig = Rig::new(disk(64), QemuOptions { legacy: true, ..options() });
    rig.set(0x30, 0);
    assert_eq!(rig.get(0x40), 0x10);
    assert_eq!(rig.set(0x40, 0), Effect::Reset);
    assert_eq!(rig.get(0x70), 0);
}

#[test]
fn each_interface_has_its_own_registers_and_what_it_lacks_reads_zero() {
    let mut modern = Rig::new(disk(64), options());
    modern.set(0x30, 0);
    assert_eq!(modern.get(0x44), 1);
    modern.set(0x40, 5);
    assert_eq!(modern.get(0x40), 0);
    let mut legacy = Rig::new(disk(64), QemuOptions { legacy: true, ..options() });
    legacy.set(0x30, 0);
    for register in [0x44, 0xfc, 0x08c, 0x200, 0xffc, 0x20, 0x50] {
        let expected = if register >= 0x100 { u32::MAX } else { 0 };
        assert_eq!(legacy.get(register), expected, "{register:#x}");
    }
    for bytes in [1, 2, 8] {
        assert_eq!(modern.device.read(0, bytes), 0, "registers are four bytes wide");
        assert_eq!(modern.device.write(0x70, bytes, 0), Effect::Nothing);
    }
    assert_eq!(modern.device.read(2, 4), 0, "and aligned");
}

#[test]
fn a_queue_that_does_not_exist_has_no_size_and_ignores_what_is_written() {
    let mut rig = Rig::new(disk(64), options());
    for queue in [1, 1023, 4096, u32::MAX] {
        rig.set(0x30, 1);
        rig.set(0x30, queue);
        rig.set(0x44, 1);
        assert_eq!((rig.get(0x34), rig.get(0x44)), (0, 0));
        assert_eq!(rig.set(0x50, queue), Effect::Nothing);
    }
    assert_eq!(rig.set(0x50, 0), Effect::Notify(QueueIndex(0)));
}

#[test]
fn configuration_is_read_by_the_byte_and_ends_in_ones() {
    let mut rig = Rig::plugged(disk(0x0102_0304_0506), options(), 1);
    let bytes: Vec<u64> = (0..8).map(|at| rig.device.read(0x100 + at, 1)).collect();
    assert_eq!(bytes, [6, 5, 4, 3, 2, 1, 0, 0]);
    assert_eq!(rig.device.read(0x101, 2), 0x0405);
    assert_eq!(rig.device.read(0x100, 8), 0x0102_0304_0506);
    assert_eq!(rig.get(0x114), 512, "blk_size");
    assert_eq!(rig.device.read(0x100 + 31, 2), 0xffff);
    assert_eq!(rig.device.read(u64::MAX, 4), 0xffff_ffff);
    rig.device.write(0x100, 4, 0);
    assert_eq!(rig.get(0x100), 0x0304_0506);
}

#[test]
fn devices_are_plugged_in_the_plans_order_and_found_by_address() {
    let kinds = [disk(8), DeviceKind::Net { peer: Peer::Sink }, DeviceKind::Console];
    let plan = kinds.map(|kind| DevicePlan {
        id: "d".into(),
        kind,
        options: options(),
        plugged: Plugged::AtStart,
    });
    let mut devices = plug(&plan, Transport::Mmio, 1);
    let ids: Vec<u64> = devices.iter_mut().map(|device| device.read(8, 4)).collect();
    assert_eq!(ids, [2, 1, 3]);
    let third = slot(devices[2].index());
    assert_eq!(third, Gpa(0xd000_2000));
    assert_eq!(device_at(3, Gpa(third.0 + 0x70)), Some((devices[2].index(), 0x70)));
    for gpa in [0xcfff_ffff, 0xd000_3000, u64::MAX] {
        assert_eq!(device_at(3, Gpa(gpa)), None);
    }
}

#[test]
fn a_poll_finds_what_was_there_before_the_first_and_nothing_twice() {
    for event_idx in [false, true] {
        let mut rig = Rig::new(disk(64), QemuOptions { event_idx, ..options() });
        rig.write(BUFFERS, &[0; 16]);
        rig.offer(0, &[readable(BUFFERS, 16), writable(BUFFERS + 0x100, 513)]);
        assert_eq!((rig.poll(), rig.poll()), (vec![0], vec![]), "event_idx {event_idx}");
        rig.serve_all(0);
        assert_eq!((rig.used(0).len(), rig.poll()), (1, vec![]));
        rig.offer(0, &[readable(BUFFERS, 16), writable(BUFFERS + 0x100, 513)]);
        assert_eq!((rig.poll(), rig.poll()), (vec![0], vec![]), "event_idx {event_idx}");
    }
}
