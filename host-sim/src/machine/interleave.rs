//! `interleave: Touch`: each touch of a device is a step of its own, and the guest runs between
//! two of them for as long as the first took.
//!
//! A device serves a queue in one go, so it does so on a thread of its own, which stops at each
//! touch until the machine has made it. The two threads never work at the same time on anything
//! that the other can see: the order of a run is the machine's alone. While a queue is served, the
//! device is away; whoever needs it (a register, QEMU being told of the switch) waits, as for
//! QEMU's big lock, until it is back. A notification by ioeventfd does not need it.
#![expect(unsafe_code, reason = "hands on what the host promises about pieces of memory")]

use super::{Due, Machine};
use crate::device::{Device, Serviced};
use crate::event::{Chain, DeviceIndex, Direction, Ended, Event, Part, QueueIndex};
use crate::host::HostSide;
use crate::iommu::domains::{Refused, Request};
use crate::touch::{Host, Piece, Pieces, Touch, TouchFault};
use crate::window::Window;
use std::panic::resume_unwind;
use std::ptr::{NonNull, with_exposed_provenance_mut};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use ultravisor_abi::{DmaAddr, Gpa};

/// A touch without the chain of its kick, which the machine keeps.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    queue: QueueIndex,
    part: Part,
    direction: Direction,
    at: DmaAddr,
    bytes: u64,
}

/// What a device's thread wants of the host.
#[derive(Debug)]
enum Ask {
    Touch(Wanted),
    InRange(DmaAddr, u64, Direction),
    Given(QueueIndex, DmaAddr),
    IsRamPage(Gpa),
    Discard(Gpa),
    Iommu(Request),
    TakeIotlbHits,
    Works(u64),
    TakeConsole(u64),
    Log(Box<Event>),
}

/// A piece as a number: a pointer is not sent to another thread.
#[derive(Clone, Copy, Debug)]
struct Sent {
    address: usize,
    bytes: u64,
    gpa: Gpa,
}

/// What the host says.
#[derive(Debug)]
enum Answer {
    Touched(Result<Vec<Sent>, TouchFault>),
    Is(bool),
    Count(u64),
    Iommu(Result<(), Refused>),
    Done,
}

/// The host as the device's thread has it.
struct Remote {
    asks: Sender<Ask>,
    answers: Receiver<Answer>,
}

impl Remote {
    /// `None` once the machine has ended: then nothing matters any more.
    fn ask(&self, ask: Ask) -> Option<Answer> {
        self.asks.send(ask).ok()?;
        self.answers.recv().ok()
    }
}

// SAFETY: the pieces are those of the host behind it, and point into normal memory, which stays
// mapped until the machine drops its host; it joins this thread before. The epoch never changes
// although the guest runs between two touches: then this thread waits inside of `touch`, so no
// access is under way, and whoever accessed a piece of an earlier touch afterwards would read
// memory that is still there (devices do not: each access is one window call).
unsafe impl Host for Remote {
    fn touch(&mut self, touch: &Touch<'_>) -> Result<Pieces, TouchFault> {
        let Touch { queue, part, direction, at, bytes, .. } = *touch;
        let answer = self.ask(Ask::Touch(Wanted { queue, part, direction, at, bytes }));
        let Some(Answer::Touched(sent)) = answer else { return Err(TouchFault::Sigbus) };
        let piece = |sent: Sent| {
            let ptr = NonNull::new(with_exposed_provenance_mut(sent.address));
            let ptr = ptr.ok_or(TouchFault::Outside)?;
            Ok(Piece { ptr, bytes: sent.bytes, gpa: sent.gpa })
        };
        let pieces: Result<Vec<Piece>, TouchFault> = sent?.into_iter().map(piece).collect();
        pieces.map(Pieces::from)
    }

    fn in_range(&mut self, _: DeviceIndex, at: DmaAddr, bytes: u64, direction: Direction) -> bool {
        matches!(self.ask(Ask::InRange(at, bytes, direction)), Some(Answer::Is(true)))
    }

    fn given(&mut self, _: DeviceIndex, queue: QueueIndex, at: DmaAddr) {
        self.ask(Ask::Given(queue, at));
    }

    fn is_ram_page(&self, page: Gpa) -> bool {
        matches!(self.ask(Ask::IsRamPage(page)), Some(Answer::Is(true)))
    }

    fn discard(&mut self, page: Gpa) -> u64 {
        count(self.ask(Ask::Discard(page)))
    }

    fn iommu(&mut self, request: Request) -> Result<(), Refused> {
        match self.ask(Ask::Iommu(request)) {
            Some(Answer::Iommu(done)) => done,
            _ => Ok(()),
        }
    }

    fn take_iotlb_hits(&mut self, _: DeviceIndex) -> u64 {
        count(self.ask(Ask::TakeIotlbHits))
    }

    fn works(&mut self, units: u64) {
        self.ask(Ask::Works(units));
    }

    fn take_console(&mut self, bytes: u64) -> u64 {
        count(self.ask(Ask::TakeConsole(bytes)))
    }

    fn log(&mut self, event: Event) {
        self.ask(Ask::Log(Box::new(event)));
    }

    fn epoch(&self) -> u64 {
        0
    }
}

fn count(answer: Option<Answer>) -> u64 {
    match answer {
        Some(Answer::Count(count)) => count,
        _ => 0,
    }
}

/// A queue that is being served.
pub(super) struct Service {
    due: Due,
    /// When its next touch is made.
    at_ns: u64,
    /// That touch.
    next: Wanted,
    asks: Receiver<Ask>,
    answers: Sender<Answer>,
    thread: JoinHandle<(Device, Serviced)>,
}

impl Service {
    /// When it goes on.
    pub fn at_ns(&self) -> u64 {
        self.at_ns
    }

    /// Which queue is served.
    pub fn queue(&self) -> QueueIndex {
        self.due.queue
    }

    /// Which device is away.
    pub fn device(&self) -> DeviceIndex {
        self.due.device
    }
}

/// What the thread came to.
enum Came {
    /// Its next touch.
    ToTouch(Wanted),
    /// Its end.
    ToEnd,
}

/// Answers all that takes no time, up to the next touch or the end.
fn listen(
    host: &mut HostSide,
    device: DeviceIndex,
    asks: &Receiver<Ask>,
    answers: &Sender<Answer>,
) -> Came {
    while let Ok(ask) = asks.recv() {
        let answer = match ask {
            Ask::Touch(wanted) => return Came::ToTouch(wanted),
            Ask::InRange(at, bytes, direction) => {
                Answer::Is(host.in_range(device, at, bytes, direction))
            }
            Ask::Given(queue, at) => {
                host.given(device, queue, at);
                Answer::Done
            }
            Ask::IsRamPage(page) => Answer::Is(host.is_ram_page(page)),
            Ask::Discard(page) => Answer::Count(host.discard(page)),
            Ask::Iommu(request) => Answer::Iommu(host.iommu(request)),
            Ask::TakeIotlbHits => Answer::Count(host.take_iotlb_hits(device)),
            Ask::Works(units) => {
                host.works(units);
                Answer::Done
            }
            Ask::TakeConsole(bytes) => Answer::Count(host.take_console(bytes)),
            Ask::Log(event) => {
                host.log(*event);
                Answer::Done
            }
        };
        // The thread waits for it.
        if answers.send(answer).is_err() {
            break;
        }
    }
    Came::ToEnd
}

/// Makes a touch; its pieces as numbers.
fn make(host: &mut HostSide, device: DeviceIndex, wanted: Wanted, chain: Option<&Chain>) -> Answer {
    let Wanted { queue, part, direction, at, bytes } = wanted;
    let touched = host.touch(&Touch { device, queue, part, direction, at, bytes, chain });
    let sent = |piece: &Piece| Sent {
        address: piece.ptr.as_ptr().expose_provenance(),
        bytes: piece.bytes,
        gpa: piece.gpa,
    };
    Answer::Touched(touched.map(|pieces| pieces.as_slice().iter().map(sent).collect()))
}

impl Machine<'_> {
    /// Begins to serve a queue, up to its first touch.
    #[expect(
        clippy::disallowed_methods,
        reason = "the thread works only while the machine waits for it: one at a time"
    )]
    pub(super) fn begin(&mut self, due: Due) -> Option<Ended> {
        let (index, queue, chain) = (due.device, due.queue, due.chain.clone());
        let mut device = self.devices[usize::from(index.0)].take()?;
        let (asks_to, asks) = channel();
        let (answers, answers_from) = channel();
        let thread = thread::spawn(move || {
            let mut host = Remote { asks: asks_to, answers: answers_from };
            let window = Window::new(&mut host, index, chain);
            let serviced = device.service(queue, &window);
            drop(window);
            (device, serviced)
        });
        match listen(&mut self.host, index, &asks, &answers) {
            Came::ToTouch(next) => {
                let at_ns = self.host.hv.recorder.now_ns();
                self.services.push(Service { due, at_ns, next, asks, answers, thread });
                None
            }
            Came::ToEnd => self.end(due, thread),
        }
    }

    /// Makes the next touch of the service at `place`, and hears what follows.
    pub(super) fn go_on(&mut self, place: usize) -> Option<Ended> {
        let mut service = self.services.swap_remove(place);
        let before = self.host.hv.recorder.now_ns();
        let index = service.due.device;
        let answer = make(&mut self.host, index, service.next, service.due.chain.as_ref());
        // A thread that is gone has ended, and is heard of next.
        let _ = service.answers.send(answer);
        match listen(&mut self.host, index, &service.asks, &service.answers) {
            Came::ToTouch(next) => {
                let now = self.host.hv.recorder.now_ns();
                service.next = next;
                service.at_ns = now + (now - before).max(1);
                self.services.push(service);
                None
            }
            Came::ToEnd => self.end(service.due, service.thread),
        }
    }

    /// The device is back.
    fn end(&mut self, due: Due, thread: JoinHandle<(Device, Serviced)>) -> Option<Ended> {
        let (device, serviced) = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        self.devices[usize::from(due.device.0)] = Some(device);
        self.served(due, serviced)
    }

    /// The first service that goes on now, ties by device.
    pub(super) fn ready_service(&self) -> Option<usize> {
        let now = self.host.hv.recorder.now_ns();
        let ready = self.services.iter().enumerate().filter(|(_, one)| one.at_ns <= now);
        ready.min_by_key(|(_, one)| (one.at_ns, one.due.device)).map(|(place, _)| place)
    }

    /// Whether a device is away.
    pub(super) fn is_away(&self, device: DeviceIndex) -> bool {
        self.services.iter().any(|service| service.device() == device)
    }

    /// Has a device finish what it serves: somebody needs it.
    pub(super) fn call_back(&mut self, device: DeviceIndex) -> Option<Ended> {
        while let Some(place) = self.services.iter().position(|one| one.device() == device) {
            if let Some(ended) = self.go_on(place) {
                return Some(ended);
            }
        }
        None
    }

    /// The run has ended: threads that wait are told so by nobody answering, and give their devices
    /// back.
    pub(super) fn break_off(&mut self) {
        for service in std::mem::take(&mut self.services) {
            let Service { due, asks, answers, thread, .. } = service;
            drop((asks, answers));
            let (device, _) = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            self.devices[usize::from(due.device.0)] = Some(device);
        }
    }
}
