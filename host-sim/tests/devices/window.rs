//! The window: one touch for each access, faults remembered, no slice past its step.

use crate::rig::{CONSOLE_BYTES, FakeHost, MEMORY_BYTES};
use host_sim::event::{DeviceIndex, Direction, Event, Part, QueueIndex};
use host_sim::iommu::domains::{Refused, Request};
use host_sim::touch::TouchFault;
use host_sim::window::{Fault, Window};
use ultravisor_abi::{DmaAddr, Gpa};
use vm_memory::{Bytes, GuestAddress, GuestMemory, Permissions};

const QUEUE: QueueIndex = QueueIndex(1);

fn open(host: &mut FakeHost) -> Window<'_> {
    Window::new(host, DeviceIndex(0), None)
}

#[test]
fn an_access_is_one_touch_however_many_pieces_it_has() {
    let mut host = FakeHost::new();
    host.piece_bytes = 10;
    let mut out = [0; 64];
    {
        let window = open(&mut host);
        let bytes: Vec<u8> = (0..64).collect();
        window.pane(QUEUE, Part::Data).write_all(DmaAddr(0x100), &bytes).expect("in range");
        window.pane(QUEUE, Part::Header).read_exact(DmaAddr(0x100), &mut out).expect("in range");
    }
    assert!(out.iter().copied().eq(0..64));
    let seen: Vec<_> =
        host.seen.iter().map(|seen| (seen.what, seen.direction, seen.bytes)).collect();
    assert_eq!(seen, [("data", Direction::Write, 64), ("header", Direction::Read, 64)]);
}

#[test]
fn an_access_of_no_bytes_touches_nothing() {
    let mut host = FakeHost::new();
    {
        let window = open(&mut host);
        let pane = window.pane(QUEUE, Part::Data);
        pane.read_exact(DmaAddr(u64::MAX), &mut []).expect("nothing to read");
        pane.write_all(DmaAddr(u64::MAX), &[]).expect("nothing to write");
        assert_eq!(pane.write(&[], GuestAddress(0)).expect("nothing to write"), 0);
    }
    assert_eq!(host.seen, []);
}

#[test]
fn a_fault_is_remembered_even_if_the_access_swallows_it() {
    let mut host = FakeHost::new();
    host.poison = Some((0x1000..0x2000, TouchFault::Sigbus));
    let window = open(&mut host);
    let pane = window.pane(QUEUE, Part::Avail);
    let found = pane.load::<u16>(GuestAddress(0x1002), std::sync::atomic::Ordering::Relaxed);
    assert!(found.is_err());
    let at = DmaAddr(0x1002);
    let fault = Fault { queue: QUEUE, part: Part::Avail, at, bytes: 2, why: TouchFault::Sigbus };
    assert_eq!(window.take_fault(), Some(fault));
    assert_eq!(window.take_fault(), None);
}

#[test]
fn an_access_that_wraps_is_outside() {
    let mut host = FakeHost::new();
    let window = open(&mut host);
    let pane = window.pane(QUEUE, Part::Data);
    let fault = pane.read_exact(DmaAddr(u64::MAX - 1), &mut [0; 8]).expect_err("wraps");
    assert_eq!(fault.why, TouchFault::Outside);
}

#[test]
fn asking_for_a_range_touches_nothing() {
    let mut host = FakeHost::new();
    {
        let window = open(&mut host);
        let pane = window.pane(QUEUE, Part::Desc);
        assert!(pane.check_range(GuestAddress(0), MEMORY_BYTES as usize, Permissions::Read));
        assert!(pane.check_range(GuestAddress(u64::MAX), 0, Permissions::Read), "of nothing");
        assert!(!pane.check_range(GuestAddress(1), MEMORY_BYTES as usize, Permissions::Read));
    }
    assert_eq!(host.seen, []);
}

#[test]
fn what_a_device_asks_and_tells_comes_to_the_host_and_its_answer_back() {
    let mut host = FakeHost::new();
    host.bytes()[0x1000..0x2000].fill(7);
    host.iotlb_hits = 5;
    let kept = {
        let window = open(&mut host);
        window.given(QUEUE, DmaAddr(0x1234));
        window.works(9);
        window.log(Event::Plugged { device: DeviceIndex(0) });
        assert!(window.is_ram_page(Gpa(0x1000)) && !window.is_ram_page(Gpa(MEMORY_BYTES)));
        assert_eq!(window.discard(Gpa(0x1000)), 4096);
        assert_eq!((window.take_iotlb_hits(), window.take_iotlb_hits()), (5, 0));
        let attach = |endpoint| window.iommu(Request::Attach { domain: 1, endpoint });
        assert_eq!((attach(3), attach(4)), (Ok(()), Err(Refused::NoEntry)));
        (window.take_console(CONSOLE_BYTES - 2), window.take_console(100))
    };
    assert_eq!(kept, (CONSOLE_BYTES - 2, 2));
    assert_eq!((&host.given[..], host.worked), (&[0x1234][..], 9));
    assert_eq!(host.events, [Event::Plugged { device: DeviceIndex(0) }]);
    assert!(host.bytes()[0x1000..0x2000].iter().all(|byte| *byte == 0));
}

/// A host below which the guest runs in the middle of a step.
struct Restless(FakeHost);

#[expect(unsafe_code, reason = "a host that breaks the rule, to see that it is noticed")]
// SAFETY: pieces are the inner host's, and stay valid: the epoch changes for nothing.
unsafe impl host_sim::touch::Host for Restless {
    fn touch(
        &mut self,
        touch: &host_sim::touch::Touch<'_>,
    ) -> Result<host_sim::touch::Pieces, TouchFault> {
        self.0.epoch += 1;
        self.0.touch(touch)
    }

    fn in_range(&mut self, device: DeviceIndex, at: DmaAddr, bytes: u64, way: Direction) -> bool {
        self.0.in_range(device, at, bytes, way)
    }

    fn is_ram_page(&self, page: Gpa) -> bool {
        self.0.is_ram_page(page)
    }

    fn discard(&mut self, page: Gpa) -> u64 {
        self.0.discard(page)
    }

    fn iommu(&mut self, request: Request) -> Result<(), Refused> {
        self.0.iommu(request)
    }

    fn take_iotlb_hits(&mut self, device: DeviceIndex) -> u64 {
        self.0.take_iotlb_hits(device)
    }

    fn works(&mut self, units: u64) {
        self.0.works(units);
    }

    fn take_console(&mut self, bytes: u64) -> u64 {
        self.0.take_console(bytes)
    }

    fn given(&mut self, device: DeviceIndex, queue: QueueIndex, at: DmaAddr) {
        self.0.given(device, queue, at);
    }

    fn log(&mut self, event: Event) {
        self.0.log(event);
    }

    fn epoch(&self) -> u64 {
        self.0.epoch()
    }
}

#[test]
#[should_panic(expected = "a window outlived its device step")]
fn a_window_that_outlives_its_step_is_noticed() {
    let mut host = Restless(FakeHost::new());
    let window = Window::new(&mut host, DeviceIndex(0), None);
    let done = window.pane(QUEUE, Part::Data).read_exact(DmaAddr(0), &mut [0; 8]);
    assert!(done.is_ok(), "never reached");
}
