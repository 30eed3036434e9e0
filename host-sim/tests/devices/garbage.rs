//! Rings that make no sense: each case has its reason, and the device does nothing more.

use crate::rig::{
    Areas, BUFFERS, Buffer, INDIRECT, MEMORY_BYTES, NEXT, RING, Rig, disk, options, readable,
    writable,
};
use host_sim::device::{Due, Serviced};
use host_sim::scenario::plan::{DeviceKind, QemuOptions};

/// Makes a mess of a started device's queue 0.
type Mess = fn(&mut Rig);

const TABLE: u64 = BUFFERS + 0x4000;

fn offer_indirect(rig: &mut Rig, bytes: u32) {
    rig.offer(0, &[Buffer { at: TABLE, bytes, flags: INDIRECT }]);
}

fn link(rig: &mut Rig, flags: u16, next: u16) {
    let Areas { desc, .. } = rig.areas(0);
    rig.descriptor(desc, Buffer { at: BUFFERS, bytes: 16, flags }, next);
    rig.offer_head(0, 0);
}

/// What the driver does, and a part of the reason.
const CASES: [(Mess, &str); 13] = [
    (|rig| rig.offer_head(0, RING), "head 8"),
    (
        |rig| {
            let Areas { avail, .. } = rig.areas(0);
            rig.write(avail + 2, &(RING + 1).to_le_bytes());
        },
        "jumps from 0 to 9",
    ),
    (|rig| link(rig, NEXT, 0), "loops"),
    (|rig| link(rig, NEXT, RING), "next descriptor 8"),
    (|rig| link(rig, NEXT, 1), "zero bytes"),
    (|rig| offer_indirect(rig, 0), "indirect table of 0 bytes"),
    (|rig| offer_indirect(rig, 24), "indirect table of 24 bytes"),
    (|rig| offer_indirect(rig, 0xffff_fff0), "indirect range"),
    (
        |rig| {
            rig.chain(TABLE, 0, &[readable(BUFFERS, 1); 1025]);
            offer_indirect(rig, 16 * 1025);
        },
        "more than 1024",
    ),
    (
        |rig| {
            rig.offer(0, &[writable(BUFFERS, 1), readable(BUFFERS, 16)]);
        },
        "readable descriptor follows",
    ),
    (
        |rig| {
            rig.offer(0, &[readable(MEMORY_BYTES - 8, 16), writable(BUFFERS, 1)]);
        },
        "buffer of 16 bytes at 0xffff8",
    ),
    (
        |rig| {
            rig.offer(0, &[readable(u64::MAX - 3, 16), writable(BUFFERS, 1)]);
        },
        "cannot be mapped",
    ),
    (
        |rig| {
            rig.offer(0, &[readable(BUFFERS, 15), writable(BUFFERS, 1)]);
        },
        "short header",
    ),
];

fn messy(legacy: bool, mess: Mess) -> Rig {
    let mut rig = Rig::new(disk(64), QemuOptions { legacy, ..options() });
    mess(&mut rig);
    rig.serve_all(0);
    rig
}

#[test]
fn each_mess_has_its_reason() {
    for legacy in [false, true] {
        for (mess, reason) in CASES {
            let rig = messy(legacy, mess);
            let (found, needs_reset) = rig.broken().expect(reason);
            assert!(found.contains(reason), "{found} instead of {reason}");
            assert_eq!(needs_reset, !legacy);
        }
    }
}

#[test]
fn a_modern_device_says_that_it_needs_a_reset() {
    let (mess, _) = CASES[0];
    let mut rig = messy(false, mess);
    assert_eq!(rig.get(0x70), 64 | 15);
    assert_eq!(rig.get(0x60), 2, "a configuration change interrupt");
    assert_eq!(rig.get(0xfc), 1, "a new configuration generation");
    assert!(rig.device.needs_reset() && rig.device.broken());
}

#[test]
fn a_legacy_device_goes_silent() {
    let (mess, _) = CASES[0];
    let mut rig = messy(true, mess);
    assert_eq!(rig.get(0x70), 7, "as the driver wrote it");
    assert_eq!(rig.get(0x60), 0);
    assert!(!rig.device.needs_reset() && rig.device.broken());
}

#[test]
fn a_broken_device_touches_nothing_until_it_is_reset() {
    for legacy in [false, true] {
        let mut rig = messy(legacy, CASES[0].0);
        rig.touches();
        rig.serve_all(0);
        assert_eq!(rig.touches(), [""; 0]);
        rig.start();
        assert!(!rig.device.broken());
        rig.offer(0, &[readable(BUFFERS, 16), writable(BUFFERS + 16, 513)]);
        rig.serve_all(0);
        assert_eq!(rig.used(0).len(), 1);
    }
}

#[test]
fn a_queue_that_is_not_in_memory_or_not_aligned_or_not_sized_so_is_refused_at_its_first_use() {
    let cases: [(u64, u32, &str); 6] = [
        (0x80, 0x1_0008, "desc area at 0x10008 is not aligned"),
        (0x90, 0x1_1001, "avail area at 0x11001 is not aligned"),
        (0xa0, 0x1_2002, "used area at 0x12002 is not aligned"),
        (0x80, 0xf_fff0, "desc range at 0xffff0"),
        (0x38, 3, "queue size 3"),
        (0x38, 16, "queue size 16"),
    ];
    for (register, value, reason) in cases {
        let mut rig = Rig::new(disk(64), options());
        rig.set(0x30, 0);
        rig.set(register, value);
        rig.serve_all(0);
        assert_eq!(rig.touches(), [""; 0], "{reason}");
        let (found, _) = rig.broken().expect(reason);
        assert!(found.contains(reason), "{found} instead of {reason}");
    }
}

#[test]
fn the_driver_may_reuse_its_ring_for_ever_and_indices_wrap() {
    let mut rig = Rig::new(disk(64), options());
    for _ in 0..70_000 {
        rig.offer(0, &[readable(BUFFERS, 16), writable(BUFFERS + 16, 513)]);
        rig.serve_all(0);
        assert_eq!(rig.used(0).len(), 1);
        rig.host.events.clear();
        rig.host.seen.clear();
    }
}

#[test]
fn a_ring_that_feeds_itself_ends_each_step_after_a_rings_worth() {
    let mut rig = Rig::new(DeviceKind::Console, options());
    for _ in 0..0x1_0000 - usize::from(RING) {
        rig.offer(1, &[readable(BUFFERS, 1)]);
        rig.serve_all(1);
        rig.host.events.clear();
        rig.host.seen.clear();
    }
    // The driver moves its available ring so that the index lies where the second used element
    // has its id, and makes a ring's worth available. The second chain's head is 7: given back, it
    // stands for 7 chains more.
    let Areas { desc, used, .. } = rig.areas(1);
    let avail = used + 10;
    rig.set(0x30, 1);
    rig.set(0x90, avail as u32);
    for head in 0..RING {
        rig.descriptor(desc + 16 * u64::from(head), readable(BUFFERS, 1), 0);
    }
    rig.write(avail, &[0; 4 + 2 * RING as usize]);
    rig.write(avail + 4 + 2, &7_u16.to_le_bytes());

    assert_eq!(rig.serve(1), Serviced::Done(Due { again: true, also: None }));
    let taken = |rig: &mut Rig| rig.touches().iter().filter(|touch| *touch == "data r1").count();
    assert_eq!(taken(&mut rig), usize::from(RING));
    rig.serve_all(1);
    assert_eq!(taken(&mut rig), 7);
}

#[test]
fn a_full_ring_is_one_step() {
    let mut rig = Rig::new(DeviceKind::Entropy, options());
    for _ in 0..RING {
        rig.offer(0, &[writable(BUFFERS, 1)]);
    }
    rig.serve_all(0);
    assert_eq!(rig.used(0).len(), usize::from(RING));
}
