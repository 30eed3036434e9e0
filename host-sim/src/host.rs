//! The host side below the devices: what a touch of guest memory does.
//!
//! It holds the hypervisor, the ultravisor and a handle to normal memory. A device reaches it
//! through `window.rs` only.
#![expect(
    unsafe_code,
    reason = "hands out pieces of normal memory and promises how long they live"
)]

mod calls;

use crate::event::{
    Cause, Chain, DeviceIndex, Direction, Event, LeakPlace, Part, QueueIndex, Seen,
};
use crate::hypervisor::{Hypervisor, Tag};
use crate::iommu::domains::{Refused, Request};
use crate::iommu::iotlb::Iotlb;
use crate::iommu::{AddressSpace, Dma, PAGE_BYTES, Run};
use crate::secrets::{Secrets, Sweep, WINDOW};
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
    /// What the read under way is about to return, from its first byte on.
    read: Vec<u8>,
    written: Vec<Written>,
    mapped: Mapped,
    /// What is settled about each device's DMA. One that nothing was said of has raw addresses.
    dma: Vec<Dma>,
    /// Where the range under way lies.
    runs: Vec<Run>,
    /// How many more pages may be translated before the guest runs again.
    pages_left: u64,
    epoch: u64,
    seals: bool,
}

/// What the guest's DMA API has given out, from the probe points. Unknown until the guest's image
/// has shown that it has probe points at all.
#[derive(Default)]
struct Mapped {
    known: bool,
    /// First address to bytes, of each mapping.
    mappings: BTreeMap<u64, u64>,
    /// The same of coherent memory; a mapping may lie inside one.
    allocations: BTreeMap<u64, u64>,
}

impl Mapped {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other events are not about addresses")]
    fn note(&mut self, event: &Event) {
        match event {
            Event::DmaMap { dma, bytes, .. } => drop(self.mappings.insert(*dma, *bytes)),
            Event::DmaUnmap { dma, .. } => drop(self.mappings.remove(dma)),
            Event::DmaAlloc { dma, bytes } => drop(self.allocations.insert(*dma, *bytes)),
            Event::DmaFree { dma, .. } => drop(self.allocations.remove(dma)),
            _ => (),
        }
        self.known = true;
    }

    /// Whether the guest's DMA API gave `at` out; not known is as good as yes.
    fn has(&self, at: u64) -> bool {
        let holds = |ranges: &BTreeMap<u64, u64>| {
            let range = ranges.range(..=at).next_back();
            range.is_some_and(|(start, bytes)| at - start < (*bytes).max(1))
        };
        !self.known || holds(&self.mappings) || holds(&self.allocations)
    }
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
            dma: Vec::new(),
            runs: Vec::new(),
            pages_left: PAGES_MAX,
            epoch: 0,
            seals,
        }
    }

    /// The guest is about to run: no piece handed out before may be used from now on.
    pub fn guest_runs(&mut self) {
        self.epoch += 1;
        self.pages_left = PAGES_MAX;
    }

    /// QEMU settles where a device's addresses lead.
    pub fn set_dma(&mut self, device: DeviceIndex, dma: Dma) {
        let slot = usize::from(device.0);
        if self.dma.len() <= slot {
            self.dma.resize(slot + 1, Dma::default());
        }
        self.dma[slot] = dma;
    }

    fn dma(&self, device: DeviceIndex) -> Dma {
        self.dma.get(usize::from(device.0)).copied().unwrap_or_default()
    }

    /// Follows the guest's DMA API: what `dma_map` and `dma_alloc` gave out may be given to a
    /// device.
    pub fn note_dma(&mut self, event: &Event) {
        self.mapped.note(event);
    }

    /// What the host side wrote since this was asked last: the CPU must forget its code there.
    pub fn take_written(&mut self) -> impl Iterator<Item = Written> {
        self.written.drain(..)
    }

    /// Somebody on the host writes into normal memory, past page states and devices. *Returns*
    /// whether it is guest RAM.
    pub fn scribble(&mut self, gpa: Gpa, bytes: &[u8]) -> bool {
        let length = bytes.len() as u64;
        let written = self.uv.memory().is_ram(gpa, length) && self.normal.write(gpa, bytes);
        if written && length > 0 {
            let unit = self.uv.memory().unit();
            let last = unit.gfn(Gpa(gpa.0 + length - 1)).0;
            (unit.gfn(gpa).0..=last).for_each(|gfn| self.uv.memory_mut().note_write(Gfn(gfn)));
            self.written.push(Written { gpa, bytes: length });
        }
        written
    }

    /// Normal memory, as the judges look at it in the end.
    pub fn normal(&self) -> &NormalMemory {
        &self.normal
    }

    /// Touches one unit: what will be seen, and the page-out that it takes.
    fn touch_unit(&mut self, by: &By<'_>, gfn: Gfn, gpa: u64, bytes: u64) -> Seen {
        let state = self.uv.memory().state(gfn);
        let faults = self.hv.tag(gfn) == Tag::SecureIn;
        let seen = self.will_see(state, faults);
        let quiet = matches!(state, PageState::Shared);
        let By { device, queue, part, direction, chain } = *by;
        self.hv.recorder.push(Event::Touch {
            device,
            queue,
            part,
            direction,
            gpa,
            bytes,
            gfn: gfn.0,
            state,
            seen,
            chain: if quiet { None } else { chain.cloned() },
        });
        let cause = Cause::Touch { device, queue, part };
        if faults && self.hv.page_out(&mut self.uv, gfn, cause).is_err() {
            return Seen::Fault;
        }
        self.uv.memory_mut().note_read(Gpa(gpa));
        if direction == Direction::Write {
            self.uv.memory_mut().note_write(gfn);
            if self.uv.memory().state(gfn) == PageState::PagedOut {
                self.hv.note_writer(gfn, cause);
            }
        }
        seen
    }

    /// Touches every unit of a run of RAM.
    fn touch_run(&mut self, by: &By<'_>, run: Run) -> Result<(), TouchFault> {
        let unit = self.uv.memory().unit();
        let end = run.gpa.0 + run.bytes;
        let mut at = run.gpa.0;
        while at < end {
            let gfn = unit.gfn(Gpa(at));
            let next = end.min(unit.start(Gfn(gfn.0 + 1)).0);
            if self.touch_unit(by, gfn, at, next - at) == Seen::Fault {
                return Err(TouchFault::Sigbus);
            }
            at = next;
        }
        Ok(())
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

    /// The guest is about to take back so many units from `first` on: what lies in those that are
    /// shared was the host's to read until now, whether it did or not.
    pub fn look_before_unshare(&mut self, first: Gfn, count: u64) {
        if !self.secrets.any() {
            return;
        }
        let units = first.0..first.0.saturating_add(count);
        let shared: Vec<Gfn> = if count <= self.uv.memory().backed_units() {
            let state = |gfn: &Gfn| self.uv.memory().state(*gfn);
            units.map(Gfn).filter(|gfn| state(gfn) == PageState::Shared).collect()
        } else {
            let touched = self.uv.memory().touched();
            let shared = touched
                .filter(|(gfn, state)| units.contains(&gfn.0) && *state == PageState::Shared);
            shared.map(|(gfn, _)| gfn).collect()
        };
        let unit = self.uv.memory().unit();
        let mut bytes = vec![0; usize::try_from(unit.bytes()).unwrap_or(0)];
        let mut sweep = Sweep::default();
        for gfn in shared {
            if self.normal.read(unit.start(gfn), &mut bytes)
                && let Some(at) = sweep.find(&self.secrets, unit.start(gfn).0, &bytes)
                && self.leaks.insert(at)
            {
                self.hv.recorder.push(Event::Leak { place: LeakPlace::Memory, at });
            }
        }
    }

    /// Whether what a read is about to return shows a secret; too short a one cannot.
    fn look_for_leak(&mut self, runs: &[Run]) {
        let bytes: u64 = runs.iter().map(|run| run.bytes).sum();
        let Ok(length) = usize::try_from(bytes) else { return };
        if length < WINDOW {
            return;
        }
        if self.read.len() < length {
            self.read.resize(length, 0);
        }
        let mut done = 0;
        for run in runs {
            let end = done + run.bytes as usize;
            if !self.normal.read(run.gpa, &mut self.read[done..end]) {
                return;
            }
            done = end;
        }
        if let Some(offset) = self.secrets.find(&self.read[..length])
            && let Some(at) = place_in(runs, offset as u64)
            && self.leaks.insert(at)
        {
            self.hv.recorder.push(Event::Leak { place: LeakPlace::Read, at });
        }
    }

    /// A touch that reaches no RAM is told too.
    fn missed(&mut self, touch: &Touch<'_>, why: TouchFault) -> TouchFault {
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
        why
    }

    /// Where a range of a device's addresses lies, into `runs`: all of it RAM. What is translated
    /// page by page costs work of the run's budget, and past [`PAGES_MAX`] nothing is found.
    fn translate(
        &mut self,
        device: DeviceIndex,
        (at, bytes): (DmaAddr, u64),
        direction: Direction,
        runs: &mut Vec<Run>,
    ) -> Result<(), TouchFault> {
        let space = self.dma(device).space;
        let by_page = matches!(space, AddressSpace::Tce | AddressSpace::VirtioIommu);
        if by_page && bytes / PAGE_BYTES >= self.pages_left {
            return Err(TouchFault::NotMapped);
        }
        let found = self.hv.iommus.translate(space, device, (at, bytes), direction, runs);
        if by_page {
            let pages = runs.iter().map(|run| run.bytes / PAGE_BYTES + 1).sum::<u64>();
            self.pages_left = self.pages_left.saturating_sub(pages);
            self.hv.recorder.host_works(pages / PAGES_PER_UNIT);
        }
        found.ok_or(TouchFault::NotMapped)?;
        let memory = self.uv.memory();
        let all_ram = runs.iter().all(|run| memory.is_ram(run.gpa, run.bytes));
        if all_ram { Ok(()) } else { Err(TouchFault::Outside) }
    }

    /// What a back end of its own does before a touch: it looks up each page, and asks QEMU for
    /// those that it does not know.
    fn look_up(&mut self, touch: &Touch<'_>) {
        let Some(iotlb) = self.hv.iommus.iotlb(touch.device) else { return };
        for at in iotlb.look_up(touch.at, touch.bytes) {
            let (device, queue) = (touch.device, touch.queue);
            self.hv.recorder.push(Event::IotlbMiss { device, queue, dma: at.0 });
        }
    }

    /// Touches all that `runs` name, and only then says where it lies.
    fn reach(&mut self, touch: &Touch<'_>, runs: &[Run]) -> Result<Pieces, TouchFault> {
        let by = By::from(touch);
        runs.iter().try_for_each(|run| self.touch_run(&by, *run))?;
        match touch.direction {
            Direction::Read if self.secrets.any() => self.look_for_leak(runs),
            Direction::Read => {}
            Direction::Write => {
                let written = runs.iter().map(|run| Written { gpa: run.gpa, bytes: run.bytes });
                self.written.extend(written);
            }
        }
        let piece = |run: &Run| {
            let ptr = self.normal.at(run.gpa, run.bytes).ok_or(TouchFault::Outside)?;
            Ok(Piece { ptr, bytes: run.bytes, gpa: run.gpa })
        };
        match runs {
            [run] => piece(run).map(Pieces::One),
            _ => runs.iter().map(piece).collect::<Result<_, _>>().map(Pieces::Many),
        }
    }
}

/// Most pages that are translated between two runs of the guest. A chain may name gigabytes with
/// each of its descriptors, and a step is indivisible: without a bound it would take for ever.
const PAGES_MAX: u64 = 1 << 22;
/// Pages that are translated in one work unit of the run's budget.
const PAGES_PER_UNIT: u64 = 4;

/// Who touches, and doing what.
struct By<'a> {
    /// Which device; `None`: the hypervisor.
    device: Option<DeviceIndex>,
    queue: Option<QueueIndex>,
    part: Part,
    direction: Direction,
    chain: Option<&'a Chain>,
}

impl<'a> From<&Touch<'a>> for By<'a> {
    fn from(touch: &Touch<'a>) -> Self {
        let Touch { device, queue, part, direction, chain, .. } = *touch;
        Self { device: Some(device), queue: Some(queue), part, direction, chain }
    }
}

/// The guest-physical address of byte `offset` of `runs`.
fn place_in(runs: &[Run], offset: u64) -> Option<u64> {
    let mut left = offset;
    runs.iter().find_map(|run| {
        let here = (left < run.bytes).then_some(run.gpa.0 + left);
        left = left.saturating_sub(run.bytes);
        here
    })
}

// SAFETY: a piece points into normal memory, which stays mapped as long as `self.normal` lives.
// Only the guest (which runs after `guest_runs`, a new epoch) and calls through `&mut self`
// change what lies there, and nothing in this crate holds a reference into it.
unsafe impl Host for HostSide {
    fn touch(&mut self, touch: &Touch<'_>) -> Result<Pieces, TouchFault> {
        let dma = self.dma(touch.device);
        if dma.space == AddressSpace::Raw {
            let run = Run { gpa: Gpa(touch.at.0), bytes: touch.bytes };
            if !self.uv.memory().is_ram(run.gpa, run.bytes) {
                return Err(self.missed(touch, TouchFault::Outside));
            }
            return self.reach(touch, &[run]);
        }
        let mut runs = std::mem::take(&mut self.runs);
        runs.clear();
        let range = (touch.at, touch.bytes);
        let found = self.translate(touch.device, range, touch.direction, &mut runs);
        let reached = match found {
            Ok(()) => {
                if dma.looks_up {
                    self.look_up(touch);
                }
                self.reach(touch, &runs)
            }
            Err(why) => Err(self.missed(touch, why)),
        };
        self.runs = runs;
        reached
    }

    fn in_range(
        &mut self,
        device: DeviceIndex,
        at: DmaAddr,
        bytes: u64,
        direction: Direction,
    ) -> bool {
        if self.dma(device).space == AddressSpace::Raw {
            return self.uv.memory().is_ram(Gpa(at.0), bytes);
        }
        let mut runs = std::mem::take(&mut self.runs);
        runs.clear();
        let found = self.translate(device, (at, bytes), direction, &mut runs).is_ok();
        self.runs = runs;
        found
    }

    fn given(&mut self, device: DeviceIndex, queue: QueueIndex, at: DmaAddr) {
        if !self.mapped.has(at.0) {
            self.hv.recorder.push(Event::Foreign { device, queue, dma: at.0 });
        }
    }

    fn is_ram_page(&self, page: Gpa) -> bool {
        self.uv.memory().is_ram(page, PAGE_BYTES)
    }

    fn discard(&mut self, page: Gpa) -> u64 {
        self.discard_page(page)
    }

    fn iommu(&mut self, request: Request) -> Result<(), Refused> {
        self.hv.recorder.host_works(1);
        self.hv.iommus.serve(request)
    }

    fn take_iotlb_hits(&mut self, device: DeviceIndex) -> u64 {
        self.hv.iommus.iotlb(device).map_or(0, Iotlb::take_hits)
    }

    fn works(&mut self, units: u64) {
        self.hv.recorder.host_works(units);
    }

    fn take_console(&mut self, bytes: u64) -> u64 {
        self.hv.recorder.take_console(bytes)
    }

    fn log(&mut self, event: Event) {
        self.hv.recorder.push(event);
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_a_coherent_allocation_stays_known_with_a_mapping_inside_it() {
        let (address, direction, instructions) = (0, 0, 0);
        let map = |dma, bytes| Event::DmaMap { address, bytes, direction, dma, instructions };
        let unmap = |dma, bytes| Event::DmaUnmap { dma, bytes, direction, instructions };
        let mut mapped = Mapped::default();
        assert!(mapped.has(0x5000), "nobody knows yet");
        mapped.note(&Event::DmaAlloc { bytes: 0x1000, dma: 0x4000 });
        for dma in [0x4000, 0x4200] {
            mapped.note(&map(dma, 0x100));
            assert!(mapped.has(0x4000) && mapped.has(dma) && mapped.has(0x4fff));
            mapped.note(&unmap(dma, 0x100));
            assert!(mapped.has(0x4000) && mapped.has(dma) && mapped.has(0x4fff));
        }
        assert!(!mapped.has(0x3fff) && !mapped.has(0x5000));
        mapped.note(&Event::DmaFree { dma: 0x4000, bytes: 0x1000 });
        assert!(!mapped.has(0x4000));
    }
}
