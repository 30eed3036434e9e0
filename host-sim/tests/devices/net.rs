//! virtio-net: frames out to a sink, frames back from an echo.

use crate::rig::{BUFFERS, Rig, options, readable, writable};
use host_sim::device::{Due, Serviced};
use host_sim::event::QueueIndex;
use host_sim::scenario::plan::{DeviceKind, Peer, QemuOptions};

const SEND: u64 = BUFFERS;
const TAKE: u64 = BUFFERS + 0x2000;
const FRAME: [u8; 60] = *b"a frame of sixty bytes, as short as Ethernet allows it to be";

fn net(peer: Peer, options: QemuOptions) -> Rig {
    Rig::new(DeviceKind::Net { peer }, options)
}

/// Offers one frame, its header apart.
fn send(rig: &mut Rig, header: u32, frame: &[u8]) {
    rig.write(SEND, &[0; 12]);
    rig.write(SEND + 16, frame);
    rig.offer(1, &[readable(SEND, header), readable(SEND + 16, frame.len() as u32)]);
}

fn echo_due() -> Serviced {
    Serviced::Done(Due { again: false, also: Some(QueueIndex(0)) })
}

#[test]
fn a_sink_keeps_the_frames_without_their_headers() {
    for (legacy, header) in [(false, 12), (true, 10)] {
        let mut rig = net(Peer::Sink, QemuOptions { legacy, ..options() });
        send(&mut rig, header, &FRAME);
        send(&mut rig, header, &FRAME[..59]);
        rig.serve_all(1);
        assert_eq!(rig.used(1), [(0, 0), (2, 0)]);
        let wire = rig.device.frames_sent().expect("a network device");
        assert_eq!((wire.frames(), wire.bytes(), wire.lost()), (2, 119, 0));
        assert_eq!(wire.kept().collect::<Vec<_>>(), [&FRAME[..], &FRAME[..59]]);
    }
}

#[test]
fn a_frame_is_sent_in_qemus_order() {
    let mut rig = net(Peer::Sink, options());
    send(&mut rig, 12, &FRAME);
    rig.serve_all(1);
    let expected = [
        "used r2",
        "used w2", // no notifications, please
        "avail r2",
        "avail r2",
        "desc r16",
        "desc r16",
        "header r12",
        "data r60", //
        "used w8",
        "used w2",
        "avail r2", // given back, interrupted
        "avail r2", // nothing more
        "used r2",
        "used w2",
        "avail r2", // notifications again, and a last look
    ];
    assert_eq!(rig.touches(), expected);
}

#[test]
fn an_echo_comes_back_as_soon_as_there_is_a_buffer() {
    let mut rig = net(Peer::Echo, options());
    send(&mut rig, 12, &FRAME);
    assert_eq!(rig.serve(1), echo_due());
    rig.serve_all(0);
    assert_eq!(rig.used(0), [], "no buffer yet");
    let flags = rig.areas(0).used;
    assert_eq!(rig.read_u16(flags), 0, "tell me when there is one");

    rig.offer(0, &[writable(TAKE, 12), writable(TAKE + 0x100, 1514)]);
    rig.touches();
    rig.serve_all(0);
    assert_eq!(rig.used(0), [(2, 72)]);
    assert_eq!(rig.read(TAKE, 12), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], "num_buffers is 1");
    assert_eq!(rig.read(TAKE + 0x100, 60), FRAME);
    assert_eq!(rig.read_u16(flags), 1, "no need to tell of more");
    let expected = [
        "avail r2",
        "used r2",
        "used w2",
        "avail r2",
        "desc r16",
        "desc r16", //
        "header w12",
        "data w60",
        "used w8",
        "used w2",
        "avail r2",
    ];
    assert_eq!(rig.touches(), expected);
}

#[test]
fn a_device_without_a_frame_to_deliver_leaves_the_receive_ring_alone() {
    let mut rig = net(Peer::Echo, options());
    rig.offer(0, &[writable(TAKE, 1526)]);
    rig.serve_all(0);
    assert_eq!(rig.touches(), [""; 0]);
}

#[test]
fn a_frame_that_does_not_fit_is_lost_and_its_buffer_is_not() {
    let mut rig = net(Peer::Echo, options());
    rig.offer(0, &[writable(TAKE, 40)]);
    send(&mut rig, 12, &FRAME);
    assert_eq!(rig.serve(1), echo_due());
    rig.serve_all(0);
    assert_eq!(rig.used(0), []);
    assert_eq!(rig.device.frames_sent().map(|wire| wire.lost()), Some(1));

    send(&mut rig, 12, &FRAME[..28]);
    assert_eq!(rig.serve(1), echo_due());
    rig.serve_all(0);
    assert_eq!(rig.used(0), [(0, 40)]);
}

#[test]
fn a_frame_with_half_a_header_is_garbage() {
    let mut rig = net(Peer::Sink, options());
    rig.offer(1, &[readable(SEND, 11)]);
    rig.serve_all(1);
    assert_eq!(rig.broken(), Some(("a frame with a short virtio-net header", true)));
}

#[test]
fn a_reset_forgets_what_was_to_come_back() {
    let mut rig = net(Peer::Echo, options());
    send(&mut rig, 12, &FRAME);
    assert_eq!(rig.serve(1), echo_due());
    rig.start();
    rig.offer(0, &[writable(TAKE, 1526)]);
    rig.serve_all(0);
    assert_eq!(rig.used(0), []);
    assert_eq!(rig.device.frames_sent().map(|wire| wire.frames()), Some(1));
}

#[test]
fn more_frames_than_may_wait_are_lost_and_counted() {
    let mut rig = net(Peer::Echo, options());
    for _ in 0..300 {
        send(&mut rig, 12, &FRAME);
        assert_eq!(rig.serve(1), echo_due());
        rig.host.events.clear();
    }
    let wire = rig.device.frames_sent().expect("a network device");
    assert_eq!((wire.frames(), wire.lost()), (300, 300 - 256));
}
