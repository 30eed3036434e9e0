//! The host side below the devices: what a touch of guest memory does.
//!
//! It holds the hypervisor, the ultravisor and a handle to normal memory. A device reaches it
//! through `window.rs` only.
#![expect(
    unsafe_code,
    reason = "hands out pieces of normal memory and promises how long they live"
)]

use crate::event::{Cause, DeviceIndex, Direction, Event, LeakPlace, QueueIndex, Seen};
use crate::hypervisor::{Hypervisor, Tag};
use crate::secrets::{Secrets, WINDOW};
use crate::touch::{Host, Piece, Pieces, Touch, TouchFault};
use std::collections::{BTreeMap, BTreeSet};
use ultravisor::frames::NormalMemory;
use ultravisor::view::{Actor, View, view};
use ultravisor::{PageState, Ultravisor};
use ultravisor_abi::{DmaAddr, Gfn, Gpa};

/// A range of guest memory that the host side wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where.
    pub gpa: Gpa,
    /// How much.
    pub bytes: u64,
}

/// Hypervisor, ultravisor and normal memory.
pub struct HostSide {
    /// The hypervisor, with the log.
    pub hv: Hypervisor,
    /// The ultravisor, with guest memory.
    pub uv: Ultravisor,
    /// What the guest declared secret.
    pub secrets: Secrets,
    normal: NormalMemory,
    leaks: BTreeSet<u64>,
    /// What the read under way is about to return.
    read: Vec<u8>,
    written: Vec<Written>,
    mapped: Mapped,
    epoch: u64,
    seals: bool,
}

/// What the guest's DMA API has given out, from the probe points. Unknown until the guest's image
/// has shown that it has probe points at all.
#[derive(Default)]
struct Mapped {
    known: bool,
    /// First address to bytes.
    ranges: BTreeMap<u64, u64>,
}

impl HostSide {
    /// Joins a hypervisor and an ultravisor.
    pub fn new(hv: Hypervisor, uv: Ultravisor, seals: bool) -> Self {
        let normal = uv.memory().normal().clone();
        Self {
            hv,
            uv,
            secrets: Secrets::default(),
            normal,
            leaks: BTreeSet::new(),
            read: Vec::new(),
            written: Vec::new(),
            mapped: Mapped::default(),
            epoch: 0,
            seals,
        }
    }

    /// The guest is about to run: no piece handed out before may be used from now on.
    pub fn guest_runs(&mut self) {
        self.epoch += 1;
    }

    /// Follows the guest's DMA API: what `dma_map` and `dma_alloc` gave out may be given to a
    /// device.
    pub fn note_dma(&mut self, event: &Event) {
        if let Event::DmaMap { dma, bytes, .. } | Event::DmaAlloc { dma, bytes } = event {
            self.mapped.ranges.insert(*dma, *bytes);
        }
        if let Event::DmaUnmap { dma, .. } | Event::DmaFree { dma, .. } = event {
            self.mapped.ranges.remove(dma);
        }
        self.mapped.known = true;
    }

    /// What the host side wrote since this was asked last: the CPU must forget its code there.
    pub fn take_written(&mut self) -> Vec<Written> {
        std::mem::take(&mut self.written)
    }

    /// Normal memory, as the judges look at it in the end.
    pub fn normal(&self) -> &NormalMemory {
        &self.normal
    }

    /// Touches one unit: what will be seen, and the page-out that it takes.
    fn touch_unit(&mut self, touch: &Touch<'_>, gfn: Gfn, gpa: u64, bytes: u64) -> Seen {
        let state = self.uv.memory().state(gfn);
        let faults = self.hv.tag(gfn) == Tag::SecureIn;
        let seen = self.will_see(state, faults);
        let quiet = matches!(state, PageState::Shared);
        self.hv.recorder.push(Event::Touch {
            device: Some(touch.device),
            queue: Some(touch.queue),
            part: touch.part,
            direction: touch.direction,
            gpa,
            bytes,
            gfn: gfn.0,
            state,
            seen,
            chain: if quiet { None } else { touch.chain.cloned() },
        });
        let cause =
            Cause::Touch { device: Some(touch.device), queue: Some(touch.queue), part: touch.part };
        if faults && self.hv.page_out(&mut self.uv, gfn, cause).is_err() {
            return Seen::Fault;
        }
        self.uv.memory_mut().note_read(Gpa(gpa));
        if touch.direction == Direction::Write {
            self.uv.memory_mut().note_write(gfn);
            if self.uv.memory().state(gfn) == PageState::PagedOut {
                self.hv.note_writer(gfn, cause);
            }
        }
        seen
    }

    /// What the host side sees of a unit once it has been paged out if need be (table 2).
    fn will_see(&self, state: PageState, faults: bool) -> Seen {
        let state = match (state, faults) {
            (PageState::Secure, true) => PageState::PagedOut,
            (state, _) => state,
        };
        match view(Actor::Device, state) {
            View::Plain => Seen::Plain,
            View::Sealed if self.seals => Seen::Sealed,
            View::Sealed => Seen::Plain,
            View::Own => Seen::Own,
            View::Fault => Seen::Fault,
        }
    }

    /// Whether what a read is about to return shows a secret; too short a one cannot.
    fn look_for_leak(&mut self, gpa: Gpa, bytes: u64) {
        let Ok(length) = usize::try_from(bytes) else { return };
        if length < WINDOW {
            return;
        }
        self.read.resize(length, 0);
        if !self.normal.read(gpa, &mut self.read) {
            return;
        }
        if let Some(offset) = self.secrets.find(&self.read) {
            let at = gpa.0 + offset as u64;
            if self.leaks.insert(at) {
                self.hv.recorder.push(Event::Leak { place: LeakPlace::Read, at });
            }
        }
    }

    /// A touch that reaches no RAM is told too.
    fn outside(&mut self, touch: &Touch<'_>) -> TouchFault {
        let unit = self.uv.memory().unit();
        self.hv.recorder.push(Event::Touch {
            device: Some(touch.device),
            queue: Some(touch.queue),
            part: touch.part,
            direction: touch.direction,
            gpa: touch.at.0,
            bytes: touch.bytes,
            gfn: unit.gfn(Gpa(touch.at.0)).0,
            state: PageState::Normal,
            seen: Seen::Fault,
            chain: touch.chain.cloned(),
        });
        TouchFault::Outside
    }
}

// SAFETY: a piece points into normal memory, which stays mapped as long as `self.normal` lives.
// Only the guest (which runs after `guest_runs`, a new epoch) and calls through `&mut self`
// change what lies there, and nothing in this crate holds a reference into it.
unsafe impl Host for HostSide {
    fn touch(&mut self, touch: &Touch<'_>) -> Result<Pieces, TouchFault> {
        let gpa = Gpa(touch.at.0);
        if !self.uv.memory().is_ram(gpa, touch.bytes) {
            return Err(self.outside(touch));
        }
        let unit = self.uv.memory().unit();
        let end = gpa.0 + touch.bytes;
        let mut at = gpa.0;
        while at < end {
            let gfn = unit.gfn(Gpa(at));
            let next = end.min(unit.start(Gfn(gfn.0 + 1)).0);
            if self.touch_unit(touch, gfn, at, next - at) == Seen::Fault {
                return Err(TouchFault::Sigbus);
            }
            at = next;
        }
        match touch.direction {
            Direction::Read if self.secrets.any() => {
                self.look_for_leak(gpa, touch.bytes);
            }
            Direction::Read => {}
            Direction::Write => self.written.push(Written { gpa, bytes: touch.bytes }),
        }
        let ptr = self.normal.at(gpa, touch.bytes).ok_or(TouchFault::Outside)?;
        Ok(Pieces::One(Piece { ptr, bytes: touch.bytes, gpa }))
    }

    fn in_range(&self, _device: DeviceIndex, at: DmaAddr, bytes: u64, _: Direction) -> bool {
        self.uv.memory().is_ram(Gpa(at.0), bytes)
    }

    fn given(&mut self, device: DeviceIndex, queue: QueueIndex, at: DmaAddr) {
        let range = self.mapped.ranges.range(..=at.0).next_back();
        let known = range.is_some_and(|(start, bytes)| at.0 - start < (*bytes).max(1));
        if self.mapped.known && !known {
            self.hv.recorder.push(Event::Foreign { device, queue, dma: at.0 });
        }
    }

    fn log(&mut self, event: Event) {
        self.hv.recorder.push(event);
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }
}
