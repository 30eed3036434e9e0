//! virtio-iommu: requests in hand-made rings, and what an endpoint reaches after each.

use crate::rig::{BUFFERS, Rig, readable, writable};
use host_sim::device::{Device, Effect};
use host_sim::event::{DeviceIndex, Direction, Event};
use host_sim::iommu::domains::Leads;
use host_sim::scenario::plan::Transport;

const OK: u8 = 0;
const UNSUPPORTED: u8 = 2;
const INVALID: u8 = 4;
const RANGE: u8 = 5;
const NO_ENTRY: u8 = 6;
const TAIL: u64 = BUFFERS + 0x100;

fn iommu() -> Rig {
    let mut rig = Rig::around(Device::virtio_iommu(DeviceIndex(0), Transport::Mmio));
    rig.start();
    rig
}

/// Makes a request and returns its status.
fn ask(rig: &mut Rig, request: &[u8]) -> u8 {
    rig.write(BUFFERS, request);
    rig.write(TAIL, &[0xff; 4]);
    rig.offer(0, &[readable(BUFFERS, request.len() as u32), writable(TAIL, 4)]);
    rig.serve_all(0);
    assert_eq!(rig.read(TAIL + 1, 3), [0; 3]);
    rig.read(TAIL, 1)[0]
}

fn words(kind: u8, words: &[u32]) -> Vec<u8> {
    [u32::from(kind)].iter().chain(words).flat_map(|word| word.to_le_bytes()).collect()
}

fn attach(domain: u32, endpoint: u32) -> Vec<u8> {
    words(1, &[domain, endpoint, 0, 0])
}

fn detach(domain: u32, endpoint: u32) -> Vec<u8> {
    words(2, &[domain, endpoint, 0, 0])
}

fn map(domain: u32, start: u32, end: u32, physical: u32) -> Vec<u8> {
    words(3, &[domain, start, 0, end, 0, physical, 0, 3])
}

fn unmap(domain: u32, start: u32, end: u32) -> Vec<u8> {
    words(4, &[domain, start, 0, end, 0, 0])
}

/// Where endpoint 1 finds page 2.
fn found(rig: &Rig) -> Option<u64> {
    match rig.host.domains.of(DeviceIndex(1)) {
        Leads::Through(domain) => domain.lookup(2, Direction::Write),
        Leads::Past => Some(2),
        Leads::Nowhere => None,
    }
}

#[test]
fn it_says_what_it_is_and_that_endpoints_bypass() {
    let mut rig = iommu();
    assert_eq!(rig.get(0x08), 23);
    assert_eq!(rig.offered() & 0x7f, 1 << 2 | 1 << 6, "MAP_UNMAP, BYPASS_CONFIG");
    assert_eq!(rig.device.read(0x100, 8), 4096_u64.wrapping_neg());
    assert_eq!(rig.device.iommu_bypass(), Some(true));
    assert_eq!(rig.device.write(0x124, 1, 0), Effect::Configured);
    assert_eq!(rig.device.iommu_bypass(), Some(false));
}

#[test]
fn an_endpoint_bypasses_until_it_is_attached_and_then_reaches_what_is_mapped() {
    let mut rig = iommu();
    assert_eq!(found(&rig), Some(2));
    assert_eq!(ask(&mut rig, &attach(9, 1)), OK);
    assert_eq!(found(&rig), None);
    assert_eq!(ask(&mut rig, &map(9, 0x2000, 0x3fff, 0x8000)), OK);
    assert_eq!(found(&rig), Some(8));
    assert_eq!(ask(&mut rig, &unmap(9, 0, 0xffff)), OK);
    assert_eq!(found(&rig), None);
    assert_eq!(ask(&mut rig, &detach(9, 1)), OK);
    assert_eq!(found(&rig), Some(2));
    let data =
        rig.host.events.iter().filter(|event| matches!(event, Event::Completed { data: true, .. }));
    assert_eq!(data.count(), 0, "nobody's data");
    assert_eq!(rig.used(0).len(), 4);
}

#[test]
fn what_makes_no_sense_is_answered_by_its_status_and_changes_nothing() {
    let mut rig = iommu();
    assert_eq!(ask(&mut rig, &attach(9, 1)), OK);
    assert_eq!(ask(&mut rig, &map(9, 0x2000, 0x2fff, 0x8000)), OK);
    let long = [map(9, 0, 0xfff, 0), vec![1; 64]].concat();
    for (request, status) in [
        (words(0, &[0; 8]), UNSUPPORTED),
        (words(5, &[0; 8]), UNSUPPORTED),
        (words(0xff, &[]), UNSUPPORTED),
        (words(1, &[9, 1]), INVALID),
        (words(1, &[9, 1, 2, 0]), INVALID),
        (attach(9, 4), NO_ENTRY),
        (attach(9, u32::MAX), NO_ENTRY),
        (detach(8, 1), INVALID),
        (words(3, &[9]), INVALID),
        (map(8, 0, 0xfff, 0), NO_ENTRY),
        (map(9, 1, 0xfff, 0), RANGE),
        (map(9, 0x2000, 0x2fff, 0), INVALID),
        (words(3, &[9, 0, 0, 0xfff, 0, 0, 0, 8]), INVALID),
        (unmap(9, 0x2000, 0x27ff), RANGE),
        (long, OK),
    ] {
        assert_eq!(ask(&mut rig, &request), status, "{request:x?}");
        assert_eq!(found(&rig), Some(8), "{request:x?}");
    }
}

#[test]
fn a_request_without_head_or_tail_breaks_the_ring() {
    for (head, tail) in [(3, 4), (20, 3)] {
        let mut rig = iommu();
        rig.offer(0, &[readable(BUFFERS, head), writable(TAIL, tail)]);
        rig.serve_all(0);
        assert_eq!(rig.broken(), Some(("an IOMMU request without head or tail", true)));
    }
}

#[test]
fn random_requests_neither_panic_nor_keep_the_device_busy() {
    let mut state = 1_u64;
    let mut random = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    let mut rig = iommu();
    let mut done = 0;
    for _ in 0..2_000 {
        let small = [0, 1, 2, 3, 0xfff, 0x1000, 0x1fff, 0x2000, u32::MAX];
        let kind = (random() % 6) as u8;
        // Few domains and endpoints: much of it makes sense.
        let mut fields = vec![random() % 2, random() % 5];
        fields.extend((0..random() % 8).map(|_| small[random() as usize % 9]));
        done += usize::from(ask(&mut rig, &words(kind, &fields)) == OK);
    }
    assert!(done > 20, "{done} made sense");
}
