//! virtio-console and virtio-rng.

use crate::rig::{BUFFERS, CONSOLE_BYTES, Rig, options, readable, writable};
use host_sim::event::{DeviceIndex, Event};
use host_sim::scenario::plan::DeviceKind;

#[test]
fn console_text_is_kept_in_order_and_logged() {
    let mut rig = Rig::new(DeviceKind::Console, options());
    rig.write(BUFFERS, b"hello, world\n");
    rig.offer(1, &[readable(BUFFERS, 5)]);
    rig.offer(1, &[readable(BUFFERS + 5, 3), readable(BUFFERS + 8, 5)]);
    rig.serve_all(1);
    assert_eq!(rig.device.text(), Some(&b"hello, world\n"[..]));
    let said = rig.host.events.iter().filter_map(|event| {
        if let Event::Console { device, bytes } = event {
            Some((*device, &bytes[..]))
        } else {
            None
        }
    });
    let device = Some(DeviceIndex(0));
    assert_eq!(said.collect::<Vec<_>>(), [(device, &b"hello"[..]), (device, &b", world\n"[..])]);
}

#[test]
fn a_console_interrupts_once_after_all_chains_and_asks_for_every_kick() {
    let mut rig = Rig::new(DeviceKind::Console, options());
    rig.offer(1, &[readable(BUFFERS, 4)]);
    rig.offer(1, &[readable(BUFFERS, 4)]);
    rig.serve_all(1);
    let expected = [
        "avail r2", "avail r2", "desc r16", "data r4", "used w8", "used w2", //
        "avail r2", "desc r16", "data r4", "used w8", "used w2", //
        "avail r2", "avail r2", // nothing more; the interrupt flag
    ];
    assert_eq!(rig.touches(), expected);
}

#[test]
fn console_text_past_the_limit_is_dropped_and_not_read() {
    let mut rig = Rig::new(DeviceKind::Console, options());
    let half = (CONSOLE_BYTES / 4) as u32;
    for _ in 0..5 {
        rig.offer(1, &[readable(BUFFERS, half), readable(BUFFERS, half)]);
        rig.serve_all(1);
    }
    assert_eq!(rig.device.text().map(<[u8]>::len), Some(CONSOLE_BYTES as usize));
    assert_eq!(rig.device.text_dropped(), CONSOLE_BYTES * 3 / 2);
    assert_eq!(rig.used(1).len(), 5);
    let read = rig.host.seen.iter().filter(|seen| seen.what == "data").map(|seen| seen.bytes);
    assert_eq!(read.sum::<u64>(), CONSOLE_BYTES);
}

#[test]
fn nobody_types_so_receive_buffers_stay() {
    let mut rig = Rig::new(DeviceKind::Console, options());
    rig.offer(0, &[writable(BUFFERS, 64)]);
    rig.serve_all(0);
    assert_eq!(rig.touches(), [""; 0]);
}

/// What the last of `requests` requests got in a run with `seed`.
fn random(seed: u64, requests: u64) -> Vec<u8> {
    let mut rig = Rig::plugged(DeviceKind::Entropy, options(), seed);
    rig.start();
    for _ in 0..requests {
        rig.offer(0, &[writable(BUFFERS, 32)]);
        rig.serve_all(0);
    }
    rig.read(BUFFERS, 32)
}

#[test]
fn random_bytes_follow_from_the_seed_and_never_come_twice() {
    assert_eq!(random(1, 1), random(1, 1));
    assert_ne!(random(1, 1), random(2, 1), "another seed");
    assert_ne!(random(1, 1), random(1, 2), "the next request");
    assert_ne!(random(1, 1), [0; 32]);
}

#[test]
fn entropy_is_asked_for_after_a_walk_over_all_chains() {
    let mut rig = Rig::new(DeviceKind::Entropy, options());
    rig.offer(0, &[writable(BUFFERS, 32), writable(BUFFERS + 64, 8)]);
    rig.serve_all(0);
    let expected = [
        "avail r2", "avail r2", "desc r16", "desc r16", "avail r2", // the walk
        "avail r2", "desc r16", "desc r16", "data w32", "data w8", "used w8", "used w2", //
        "avail r2", "avail r2", // the interrupt flag, and a last look
    ];
    assert_eq!(rig.touches(), expected);
    assert_eq!(rig.used(0), [(0, 40)]);
}
