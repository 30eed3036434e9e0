//! The registers of virtio-pci: the common configuration, notifications, ISR, the device's own
//! configuration, and whose message is asked for.

use crate::fuzz::Random;
use crate::rig::{BUFFERS, Rig, disk, options, readable, writable};
use host_sim::device::transport::VERSION_1;
use host_sim::device::{Device, Effect, Serviced};
use host_sim::event::{DeviceIndex, QueueIndex};
use host_sim::scenario::plan::{DeviceKind, DevicePlan, Plugged, Transport};

const NOBODY: u64 = 0xffff;
const RING: u64 = 0x1_0000;

fn plugged(kind: DeviceKind) -> Device {
    let plan = DevicePlan { id: "d".into(), kind, options: options(), plugged: Plugged::AtStart };
    Device::new(DeviceIndex(0), &plan, Transport::Pci, 1)
}

/// Sets queue `queue` up, with its message.
fn set_up(device: &mut Device, queue: u64, vector: u64) {
    device.write(0x16, 2, queue);
    device.write(0x1a, 2, vector);
    for (offset, at) in [(0x20, RING), (0x28, RING + 0x1000), (0x30, RING + 0x2000)] {
        device.write(offset, 8, at + queue * 0x1_0000);
    }
    device.write(0x1c, 2, 1);
}

/// A disk that its driver has set up, with a message for its queue.
fn running(vector: u64) -> Device {
    let mut device = plugged(disk(64));
    for status in [0, 1, 3] {
        device.write(0x14, 1, status);
    }
    device.write(0x08, 4, 1);
    device.write(0x0c, 4, VERSION_1 >> 32);
    device.write(0x14, 1, 11);
    set_up(&mut device, 0, vector);
    device.write(0x14, 1, 15);
    device
}

#[test]
fn the_common_configuration_says_what_was_written() {
    let mut device = running(1);
    let expected = [
        (0x00, 4, 0),
        (0x08, 4, 1),
        (0x0c, 4, VERSION_1 >> 32),
        (0x12, 2, 1),
        (0x14, 1, 15),
        (0x15, 1, 0),
        (0x16, 2, 0),
        (0x18, 2, 8),
        (0x1a, 2, 1),
        (0x1c, 2, 1),
        (0x1e, 2, 0),
        (0x20, 8, RING),
        (0x28, 4, RING + 0x1000),
        (0x34, 4, 0),
    ];
    for (offset, bytes, value) in expected {
        assert_eq!(device.read(offset, bytes), value, "{offset:#x}");
    }
    device.write(0x00, 4, 1);
    assert_eq!(device.read(0x04, 4), VERSION_1 >> 32);
    // What is no field's beginning is nothing.
    assert_eq!((device.read(0x13, 1), device.read(0x38, 4), device.read(0x3ff8, 8)), (0, 0, 0));
}

#[test]
fn a_queue_that_is_not_there_has_no_size_and_takes_nothing() {
    let mut device = plugged(disk(64));
    set_up(&mut device, 7, 0);
    let reads = [0x18, 0x1a, 0x1c, 0x1e].map(|offset| device.read(offset, 2));
    assert_eq!(reads, [0, NOBODY, 0, 0]);
    assert_eq!(device.read(0x20, 8), 0);
}

#[test]
fn a_vector_that_the_function_does_not_have_reads_back_as_none() {
    let mut device = plugged(disk(64));
    for (written, read) in [(0, 0), (1, 1), (2, NOBODY), (NOBODY, NOBODY)] {
        device.write(0x1a, 2, written);
        device.write(0x10, 2, written);
        assert_eq!((device.read(0x1a, 2), device.read(0x10, 2)), (read, read), "{written:#x}");
    }
    device.write(0x10, 2, 1);
    device.write(0x14, 1, 0);
    assert_eq!(device.read(0x10, 2), NOBODY, "a reset takes it away");
}

#[test]
fn a_queue_cannot_be_taken_back_but_by_a_reset() {
    let mut device = running(1);
    device.write(0x1c, 2, 0);
    assert_eq!(device.read(0x1c, 2), 1);
    assert_eq!(device.write(0x14, 1, 0), Effect::Reset);
    assert_eq!(device.read(0x1c, 2), 0);
}

#[test]
fn where_a_notification_goes_counts_and_not_what_is_written() {
    let mut device = running(1);
    for (bytes, value) in [(2, 0), (4, 9), (8, u64::MAX)] {
        let effect = device.write(0x3000, bytes, value);
        assert_eq!(effect, Effect::Notify(QueueIndex(0)), "{bytes} {value}");
    }
    assert_eq!(device.write(0x3004, 2, 0), Effect::Nothing, "it has one queue");
    let of = |offset| Effect::of_notification(Transport::Pci, (offset, 2, 0));
    assert_eq!(of(0x3008), Some(Effect::Notify(QueueIndex(2))));
    assert_eq!((of(0x2ffc), of(0x4000)), (None, None));
}

#[test]
fn a_used_buffer_asks_for_its_queues_message_and_shows_in_the_isr_until_it_is_read() {
    for (vector, asked) in [(1, vec![1]), (NOBODY, vec![])] {
        let mut rig = Rig::around(running(vector));
        rig.write(BUFFERS, &[0; 16]);
        rig.offer(0, &[readable(BUFFERS, 16), writable(BUFFERS + 0x100, 513)]);
        rig.serve_all(0);
        let device = &mut rig.device;
        assert_eq!(device.take_asked().collect::<Vec<_>>(), asked);
        assert_eq!(device.take_asked().count(), 0, "once");
        assert!(device.interrupts());
        assert_eq!((device.read(0x1000, 1), device.read(0x1000, 1)), (1, 0));
        assert!(!device.interrupts());
    }
}

#[test]
fn a_ring_that_makes_no_sense_asks_for_the_configurations_message() {
    let mut rig = Rig::around(running(1));
    rig.device.write(0x10, 2, 0);
    // Far more than there are entries.
    rig.write(RING + 0x1002, &[0xff; 2]);
    rig.serve_all(0);
    let device = &mut rig.device;
    assert!(device.needs_reset());
    assert_eq!(device.take_asked().collect::<Vec<_>>(), [0]);
    assert_eq!((device.read(0x1000, 4), device.read(0x15, 1)), (2, 1));
}

#[test]
fn the_devices_configuration_is_where_its_structure_is() {
    let mut device = plugged(disk(64));
    assert_eq!((device.read(0x2000, 8), device.read(0x2000, 2)), (64, 64));
    assert_eq!(device.identity(), (2, 1));
    assert_eq!(plugged(DeviceKind::Balloon).write(0x2004, 4, 3), Effect::Configured);
}

#[test]
fn random_accesses_neither_panic_nor_reach_memory() {
    let mut random = Random(4);
    for _ in 0..200 {
        let mut rig = Rig::around(running(1));
        for _ in 0..300 {
            let near = [0, 0x1000, 0x2000, 0x3000][random.below(4) as usize] + random.below(0x48);
            let offset = if random.below(8) == 0 { random.next() } else { near };
            let bytes = [1, 2, 4, 8][random.below(4) as usize];
            let value = if random.below(2) == 0 { random.below(32) } else { random.next() };
            rig.device.write(offset, bytes, value);
            rig.device.read(offset, bytes);
        }
        assert_eq!(rig.host.seen, []);
        assert!(matches!(rig.serve(0), Serviced::Done(_)));
    }
}
