//! Random bytes in rings, tables, headers and registers: no panic, no step without end.

use crate::rig::{Areas, BUFFERS, FakeHost, RING, Rig, disk, options};
use host_sim::device::{Due, Serviced};
use host_sim::scenario::plan::{DeviceKind, Peer, QemuOptions};

/// splitmix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn device(random: &mut Random) -> Rig {
    let kind = match random.below(6) {
        0 | 1 => disk(64),
        2 => DeviceKind::Net { peer: Peer::Echo },
        3 => DeviceKind::Console,
        4 => DeviceKind::Balloon,
        _ => DeviceKind::Entropy,
    };
    let (legacy, event_idx) = (random.below(2) == 0, random.below(2) == 0);
    Rig::new(kind, QemuOptions { legacy, event_idx, ..options() })
}

/// Descriptors that are wrong in few places only get deep into the code.
fn scribble(rig: &mut Rig, random: &mut Random, queue: u16) {
    let Areas { desc, avail, .. } = rig.areas(queue);
    for entry in 0..u64::from(RING) {
        let wild = random.below(16) == 0;
        let at = if wild { random.next() } else { BUFFERS + random.below(0x1000) };
        let bytes = if random.below(32) == 0 { random.next() } else { random.below(600) };
        let flags = random.below(8) as u16 & if random.below(4) == 0 { 7 } else { 3 };
        let next = random.below(u64::from(RING) + u64::from(wild)) as u16;
        let buffer = crate::rig::Buffer { at, bytes: bytes as u32, flags };
        rig.descriptor(desc + 16 * entry, buffer, next);
        let head = random.below(u64::from(RING) + u64::from(wild)) as u16;
        rig.write(avail + 4 + 2 * entry, &head.to_le_bytes());
    }
    let index = rig.read_u16(avail + 2).wrapping_add(random.below(6) as u16);
    rig.write(avail + 2, &index.to_le_bytes());
    for word in 0..64 {
        let value = if random.below(2) == 0 { random.below(16) } else { random.next() };
        rig.write(BUFFERS + 8 * word, &value.to_le_bytes());
    }
    if random.below(8) == 0 {
        let at = avail + random.below(64);
        rig.write(at, &random.next().to_le_bytes());
    }
}

#[test]
fn random_rings_neither_panic_nor_run_for_ever() {
    let mut random = Random(1);
    let (mut broken, mut served) = (0, 0);
    for _ in 0..4_000 {
        let mut rig = device(&mut random);
        for _ in 0..4 {
            let queue = random.below(2) as u16;
            scribble(&mut rig, &mut random, queue);
            rig.host.seen.clear();
            let serviced = rig.serve(queue);
            // A ring's worth of chains of 1,024 descriptors is the most, each touched five times.
            assert!(rig.host.seen.len() < 5 * 1024 * usize::from(RING));
            assert_ne!(serviced, Serviced::QemuKilled, "nothing was poisoned");
            served += rig.used(queue).len();
        }
        broken += usize::from(rig.device.broken());
    }
    // The random rings reach both ends.
    assert!(broken > 500 && served > 500, "{broken} broken, {served} chains served");
}

#[test]
fn random_register_writes_neither_panic_nor_reach_memory() {
    let mut random = Random(2);
    for _ in 0..200 {
        let mut rig = device(&mut random);
        for _ in 0..300 {
            let offset = if random.below(4) == 0 { random.next() } else { random.below(0x120) };
            let offset = if random.below(2) == 0 { offset & !3 } else { offset };
            let bytes = [1, 2, 4, 4, 4, 8][random.below(6) as usize];
            let value = if random.below(2) == 0 { random.below(32) } else { random.next() };
            rig.device.write(offset, bytes, value);
            rig.device.read(offset, bytes);
        }
        assert_eq!(rig.host.seen, []);
        for queue in 0..2 {
            let serviced = rig.serve(queue);
            assert!(matches!(serviced, Serviced::Done(Due { .. })));
        }
    }
}

#[test]
fn the_same_rings_lead_to_the_same_touches() {
    let run = || {
        let mut random = Random(3);
        let mut rig = device(&mut random);
        scribble(&mut rig, &mut random, 0);
        rig.serve_all(0);
        let FakeHost { seen, events, .. } = rig.host;
        (seen, events)
    };
    assert_eq!(run(), run());
}
