//! virtio-blk: what is done, and in which order memory is touched for it.

use crate::rig::{BUFFERS, Buffer, INDIRECT, Rig, disk, options, readable, writable};
use host_sim::device::Serviced;
use host_sim::event::Event;
use host_sim::scenario::plan::QemuOptions;
use host_sim::touch::TouchFault;

const HEADER: u64 = BUFFERS;
const STATUS: u64 = BUFFERS + 0x100;
const TABLE: u64 = BUFFERS + 0x200;
const DATA: u64 = BUFFERS + 0x1000;
const IN: u32 = 0;
const OUT: u32 = 1;

fn header(rig: &mut Rig, kind: u32, sector: u64) {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&kind.to_le_bytes());
    bytes[8..].copy_from_slice(&sector.to_le_bytes());
    rig.write(HEADER, &bytes);
    rig.write(STATUS, &[0xff]);
}

fn data(kind: u32, bytes: u32) -> Buffer {
    if kind == OUT { readable(DATA, bytes) } else { writable(DATA, bytes) }
}

/// One request of three descriptors, offered.
fn request(rig: &mut Rig, kind: u32, sector: u64, bytes: u32) {
    header(rig, kind, sector);
    rig.offer(0, &[readable(HEADER, 16), data(kind, bytes), writable(STATUS, 1)]);
}

fn status(rig: &mut Rig) -> u8 {
    rig.read(STATUS, 1)[0]
}

#[test]
fn a_read_and_a_write_touch_memory_in_qemus_order() {
    for (kind, payload) in [(IN, "data w512"), (OUT, "data r512")] {
        let mut rig = Rig::new(disk(64), options());
        request(&mut rig, kind, 3, 512);
        rig.serve_all(0);
        let expected = [
            // No notifications, please.
            "used r2",
            "used w2", //
            // The index, the head, its descriptors, the header; no more heads.
            "avail r2",
            "avail r2",
            "desc r16",
            "desc r16",
            "desc r16",
            "header r16",
            "avail r2",
            // Notifications again, and a last look.
            "used r2",
            "used w2",
            "avail r2", //
            // The work, and the driver's flags to see whether it wants an interrupt.
            payload,
            "status w1",
            "used w8",
            "used w2",
            "avail r2",
        ];
        assert_eq!(rig.touches(), expected);
        assert_eq!(status(&mut rig), 0);
    }
}

#[test]
fn with_event_idx_the_index_is_read_and_no_flag_is() {
    let mut rig = Rig::new(disk(64), QemuOptions { event_idx: true, ..options() });
    request(&mut rig, IN, 3, 512);
    rig.serve_all(0);
    let taken = [
        "avail r2", // the index, to suppress notifications
        "avail r2",
        "desc r16",
        "desc r16",
        "desc r16",
        "header r16",
        "avail r2", //
        "avail r2",
        "used w2",
        "avail r2", // avail_event, and a last look
    ];
    let done = ["data w512", "status w1", "used w8", "used w2"];
    // The first interrupt is raised without a look at used_event.
    assert_eq!(rig.touches(), [&taken[..], &done].concat());
    assert_eq!(rig.read_u16(0x1_2000 + 4 + 8 * 8), 1, "avail_event is the index");

    request(&mut rig, IN, 3, 512);
    rig.serve_all(0);
    assert_eq!(rig.touches(), [&taken[..], &done, &["avail r2"]].concat());
}

#[test]
fn an_indirect_table_is_read_as_its_own_part() {
    let mut rig = Rig::new(disk(64), options());
    header(&mut rig, OUT, 0);
    rig.chain(TABLE, 0, &[readable(HEADER, 16), data(OUT, 512), writable(STATUS, 1)]);
    rig.offer(0, &[Buffer { at: TABLE, bytes: 48, flags: INDIRECT }]);
    rig.serve_all(0);
    let touches = rig.touches();
    assert_eq!(
        touches[4..9],
        ["desc r16", "indirect r16", "indirect r16", "indirect r16", "header r16"]
    );
    assert_eq!(rig.used(0), [(0, 1)]);
    assert_eq!(
        rig.host.given,
        [HEADER, DATA, STATUS, TABLE],
        "what the driver put into descriptors"
    );
}

#[test]
fn all_chains_are_taken_before_the_first_is_done() {
    let mut rig = Rig::new(disk(64), options());
    request(&mut rig, OUT, 0, 512);
    rig.offer(0, &[readable(HEADER, 16), data(OUT, 1024), writable(STATUS, 1)]);
    rig.serve_all(0);
    let touches = rig.touches();
    let headers = touches.iter().rposition(|touch| touch == "header r16");
    let data = touches.iter().position(|touch| touch == "data r512");
    assert!(headers < data, "{touches:?}");
    assert_eq!(rig.used(0), [(0, 1), (3, 1)]);
}

#[test]
fn what_was_written_is_read_back_and_the_judge_sees_it() {
    let mut rig = Rig::new(disk(64), options());
    let mut before = [0; 1024];
    rig.device.disk().expect("a disk").read(3 * 512, &mut before);
    assert_ne!(before, [0; 1024], "the pattern is not zero");
    rig.write(DATA, &[0xa5; 512]);
    request(&mut rig, OUT, 3, 512);
    rig.serve_all(0);

    request(&mut rig, IN, 3, 1024);
    rig.serve_all(0);
    assert_eq!(rig.used(0), [(0, 1), (3, 1025)]);
    assert_eq!(rig.read(DATA, 512), [0xa5; 512]);
    assert_eq!(rig.read(DATA + 512, 512), before[512..]);

    let disk = rig.device.disk().expect("a disk");
    let written: Vec<u64> = disk.written().map(|(offset, _)| offset).collect();
    assert_eq!(written, [0], "one block of 4 KiB");
    let mut initial = [0; 1024];
    disk.initial(3 * 512, &mut initial);
    assert_eq!(initial, before);
}

#[test]
fn a_request_past_the_end_fails_and_touches_no_data() {
    // One sector too far; half a sector too far; where the byte address wraps; no whole sector.
    for (sector, bytes) in [(64, 512), (63, 1024), (u64::MAX, 512), (u64::MAX / 512, 512), (0, 100)]
    {
        let mut rig = Rig::new(disk(64), options());
        request(&mut rig, OUT, sector, bytes);
        rig.serve_all(0);
        assert_eq!(status(&mut rig), 1, "sector {sector}, {bytes} bytes");
        assert!(!rig.touches().iter().any(|touch| touch.starts_with("data")));
    }
}

#[test]
fn flush_is_ok_the_name_is_told_and_what_is_unknown_is_unsupported() {
    let mut rig = Rig::new(disk(64), options());
    for (kind, expected) in [(4, 0), (8, 0), (11, 2), (0x7fff_ffff, 2)] {
        header(&mut rig, kind, 0);
        rig.offer(0, &[readable(HEADER, 16), writable(DATA, 20), writable(STATUS, 1)]);
        rig.serve_all(0);
        assert_eq!(status(&mut rig), expected, "type {kind}");
    }
    assert_eq!(rig.read(DATA, 5), *b"disk\0");
}

#[test]
fn a_request_cut_into_descriptors_of_one_byte_is_the_same_request() {
    let mut rig = Rig::new(disk(64), options());
    header(&mut rig, IN, 3);
    let head = (0..16).map(|byte| readable(HEADER + byte, 1));
    let body = (0..512).map(|byte| writable(DATA + byte, 1));
    let chain: Vec<Buffer> = head.chain(body).chain([writable(STATUS, 1)]).collect();
    rig.chain(TABLE + 0x2000, 0, &chain);
    let bytes = 16 * chain.len() as u32;
    rig.offer(0, &[Buffer { at: TABLE + 0x2000, bytes, flags: INDIRECT }]);
    rig.serve_all(0);
    let mut expected = [0; 512];
    rig.device.disk().expect("a disk").read(3 * 512, &mut expected);
    assert_eq!(rig.read(DATA, 512), expected);
    let touches = rig.touches();
    let count = |word| touches.iter().filter(|touch| *touch == word).count();
    assert_eq!((count("header r1"), count("data w1"), count("status w1")), (16, 512, 1));
}

#[test]
fn bytes_that_lie_in_several_pieces_arrive_in_order() {
    let mut rig = Rig::new(disk(64), options());
    rig.host.piece_bytes = 100;
    request(&mut rig, IN, 5, 512);
    rig.serve_all(0);
    let mut expected = [0; 512];
    rig.device.disk().expect("a disk").read(5 * 512, &mut expected);
    assert_eq!(rig.read(DATA, 512), expected);
}

#[test]
fn a_sigbus_kills_qemu_wherever_it_strikes() {
    for at in [0x1_0000, 0x1_1000, 0x1_2000, HEADER, DATA, STATUS] {
        let mut rig = Rig::new(disk(64), options());
        request(&mut rig, OUT, 0, 512);
        rig.host.poison = Some((at..at + 4, TouchFault::Sigbus));
        assert_eq!(rig.serve(0), Serviced::QemuKilled, "{at:#x}");
        assert_eq!(rig.broken(), None);
        let completed = |event: &Event| matches!(event, Event::Completed { .. });
        assert!(!rig.host.events.iter().any(completed));
    }
}

#[test]
fn an_interrupt_is_raised_unless_the_driver_does_not_want_it() {
    let interrupts = |rig: &Rig| {
        rig.host.events.iter().filter(|event| matches!(event, Event::Interrupt { .. })).count()
    };
    let mut rig = Rig::new(disk(64), options());
    request(&mut rig, IN, 0, 512);
    rig.serve_all(0);
    assert_eq!((interrupts(&rig), rig.get(0x60)), (1, 1));
    rig.set(0x64, 1);
    assert_eq!(rig.get(0x60), 0);

    rig.write(0x1_1000, &1_u16.to_le_bytes());
    request(&mut rig, IN, 0, 512);
    rig.serve_all(0);
    assert_eq!((interrupts(&rig), rig.get(0x60)), (1, 0));
}

#[test]
fn with_event_idx_an_interrupt_waits_for_the_used_event() {
    let mut rig = Rig::new(disk(64), QemuOptions { event_idx: true, ..options() });
    let used_event = 0x1_1000 + 4 + 2 * 8;
    let mut raised = Vec::new();
    for event in [0_u16, 2, 2, 9] {
        rig.write(used_event, &event.to_le_bytes());
        request(&mut rig, IN, 0, 512);
        rig.serve_all(0);
        raised.push(rig.get(0x60));
        rig.set(0x64, 1);
    }
    // The first always; used index 2 has not passed event 2, 3 has; 4 has not passed 9.
    assert_eq!(raised, [1, 0, 1, 0]);
}

#[test]
fn a_reset_in_the_middle_starts_from_the_beginning_and_keeps_the_disk() {
    let mut rig = Rig::new(disk(64), options());
    rig.write(DATA, &[7; 512]);
    request(&mut rig, OUT, 0, 512);
    rig.serve_all(0);
    request(&mut rig, IN, 0, 512);
    rig.start();
    request(&mut rig, IN, 0, 512);
    rig.write(DATA, &[0; 512]);
    rig.serve_all(0);
    assert_eq!(rig.used(0), [(0, 513)]);
    assert_eq!(rig.read(DATA, 512), [7; 512]);
}

#[test]
fn a_legacy_ring_lies_in_one_block() {
    let mut rig = Rig::new(disk(64), QemuOptions { legacy: true, ..options() });
    request(&mut rig, IN, 3, 512);
    rig.serve_all(0);
    assert_eq!(rig.used(0), [(0, 513)]);
    let used = rig.host.seen.iter().filter(|seen| seen.what == "used").map(|seen| seen.at);
    assert!(used.clone().count() > 0 && used.clone().all(|at| at >= 0x1_1000));
}
