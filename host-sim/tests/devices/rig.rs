//! The rig: one device, a host of plain memory below it, and a driver that writes descriptors.
#![expect(unsafe_code, reason = "the fake host hands out pieces of its own memory")]

use host_sim::device::{Device, Due, Effect, Serviced};
use host_sim::event::{DeviceIndex, Direction, Event, QueueIndex};
use host_sim::iommu::domains::{Domains, Refused, Request};
use host_sim::scenario::plan::{Contents, DeviceKind, DevicePlan, Plugged, QemuOptions, Transport};
use host_sim::touch::{Host, Piece, Pieces, Touch, TouchFault};
use host_sim::window::Window;
use std::ops::Range;
use std::ptr::NonNull;
use ultravisor_abi::{DmaAddr, Gpa};

/// Guest memory of the rig.
pub const MEMORY_BYTES: u64 = 1 << 20;
/// Entries of each ring.
pub const RING: u16 = 8;
/// Where tests put their buffers.
pub const BUFFERS: u64 = 0x8_0000;

/// Bytes of text that consoles may keep.
pub const CONSOLE_BYTES: u64 = 1 << 20;

/// One touch, written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub what: &'static str,
    pub direction: Direction,
    pub at: u64,
    pub bytes: u64,
}

/// Plain memory.
pub struct FakeHost {
    memory: Vec<u64>,
    pub seen: Vec<Seen>,
    pub events: Vec<Event>,
    /// Addresses found in descriptors.
    pub given: Vec<u64>,
    /// Touches in here fail so.
    pub poison: Option<(Range<u64>, TouchFault)>,
    pub epoch: u64,
    /// Pieces are at most this long.
    pub piece_bytes: u64,
    /// What the virtio-iommu's driver asked for, over four endpoints.
    pub domains: Domains,
    /// Work units that no event tells of.
    pub worked: u64,
    /// What the IOTLB found.
    pub iotlb_hits: u64,
    /// Bytes of text that consoles may still keep.
    console_left: u64,
}

impl FakeHost {
    pub fn new() -> Self {
        let memory = vec![0; MEMORY_BYTES as usize / 8];
        let (seen, events) = (Vec::new(), Vec::new());
        let (given, piece_bytes) = (Vec::new(), u64::MAX);
        let (domains, worked, iotlb_hits) = (Domains::new(4), 0, 0);
        let (poison, epoch) = (None, 1);
        let console_left = CONSOLE_BYTES;
        Self {
            memory,
            seen,
            events,
            given,
            poison,
            epoch,
            piece_bytes,
            domains,
            worked,
            iotlb_hits,
            console_left,
        }
    }

    fn pointer(&mut self) -> NonNull<u8> {
        NonNull::new(self.memory.as_mut_ptr()).expect("a vector's pointer is not null").cast()
    }

    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the vector owns these bytes, and the borrow of `self` keeps others out.
        unsafe { std::slice::from_raw_parts_mut(self.pointer().as_ptr(), MEMORY_BYTES as usize) }
    }
}

fn inside(at: u64, bytes: u64) -> bool {
    at.checked_add(bytes).is_some_and(|end| end <= MEMORY_BYTES)
}

// SAFETY: pieces lie inside the vector, which never moves or shrinks while the host lives; nothing
// holds a reference to it during a touch, and what changes the epoch needs `&mut`.
unsafe impl Host for FakeHost {
    fn touch(&mut self, touch: &Touch<'_>) -> Result<Pieces, TouchFault> {
        let Touch { part, direction, at, bytes, .. } = *touch;
        assert_ne!(bytes, 0, "a touch has bytes");
        self.seen.push(Seen { what: part.name(), direction, at: at.0, bytes });
        if !inside(at.0, bytes) {
            return Err(TouchFault::Outside);
        }
        if let Some((range, why)) = &self.poison
            && at.0 < range.end
            && range.start < at.0 + bytes
        {
            return Err(*why);
        }
        let base = self.pointer();
        let mut pieces = Vec::new();
        let mut done = 0;
        while done < bytes {
            let count = (bytes - done).min(self.piece_bytes);
            // SAFETY: `at + done` is inside the vector, as just checked.
            let ptr = unsafe { base.add((at.0 + done) as usize) };
            pieces.push(Piece { ptr, bytes: count, gpa: Gpa(at.0 + done) });
            done += count;
        }
        Ok(pieces.into())
    }

    fn in_range(&mut self, _: DeviceIndex, at: DmaAddr, bytes: u64, _: Direction) -> bool {
        inside(at.0, bytes)
    }

    fn is_ram_page(&self, page: Gpa) -> bool {
        inside(page.0, 4096)
    }

    fn discard(&mut self, page: Gpa) -> u64 {
        self.bytes()[page.0 as usize..page.0 as usize + 4096].fill(0);
        4096
    }

    fn iommu(&mut self, request: Request) -> Result<(), Refused> {
        self.domains.serve(request)
    }

    fn take_iotlb_hits(&mut self, _: DeviceIndex) -> u64 {
        std::mem::take(&mut self.iotlb_hits)
    }

    fn works(&mut self, units: u64) {
        self.worked += units;
    }

    fn take_console(&mut self, bytes: u64) -> u64 {
        let kept = bytes.min(self.console_left);
        self.console_left -= kept;
        kept
    }

    fn given(&mut self, _: DeviceIndex, _: QueueIndex, at: DmaAddr) {
        self.given.push(at.0);
    }

    fn log(&mut self, event: Event) {
        self.events.push(event);
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }
}

/// A descriptor as the driver writes it.
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    pub at: u64,
    pub bytes: u32,
    pub flags: u16,
}

pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

/// A buffer that the device reads.
pub fn readable(at: u64, bytes: u32) -> Buffer {
    Buffer { at, bytes, flags: 0 }
}

/// A buffer that the device writes.
pub fn writable(at: u64, bytes: u32) -> Buffer {
    Buffer { at, bytes, flags: WRITE }
}

/// Where one queue lies.
#[derive(Clone, Copy, Debug)]
pub struct Areas {
    pub desc: u64,
    pub avail: u64,
    pub used: u64,
}

pub struct Rig {
    pub host: FakeHost,
    pub device: Device,
    pub legacy: bool,
    free: u16,
    avail: [u16; 2],
    used: [u16; 2],
}

pub fn options() -> QemuOptions {
    QemuOptions { queue_size: RING, ..QemuOptions::default() }
}

pub fn disk(sectors: u64) -> DeviceKind {
    DeviceKind::Blk { sectors, contents: Contents::Pattern }
}

impl Rig {
    /// A device that its driver has set up.
    pub fn new(kind: DeviceKind, options: QemuOptions) -> Self {
        let mut rig = Self::plugged(kind, options, 7);
        rig.start();
        rig
    }

    /// A device at reset, in a run with this seed.
    pub fn plugged(kind: DeviceKind, options: QemuOptions, seed: u64) -> Self {
        let plan = DevicePlan { id: "disk".into(), kind, options, plugged: Plugged::AtStart };
        Self::around(Device::new(DeviceIndex(0), &plan, Transport::Mmio, seed))
    }

    /// A device at reset.
    pub fn around(device: Device) -> Self {
        let (host, legacy) = (FakeHost::new(), device.options().legacy);
        Self { host, device, legacy, free: 0, avail: [0; 2], used: [0; 2] }
    }

    pub fn get(&mut self, offset: u64) -> u32 {
        self.device.read(offset, 4) as u32
    }

    pub fn set(&mut self, offset: u64, value: u32) -> Effect {
        self.device.write(offset, 4, u64::from(value))
    }

    /// What the device offers.
    pub fn offered(&mut self) -> u64 {
        self.set(0x14, 1);
        let high = u64::from(self.get(0x10));
        self.set(0x14, 0);
        high << 32 | u64::from(self.get(0x10))
    }

    pub fn accept(&mut self, features: u64) {
        for (select, value) in [(0, features as u32), (1, (features >> 32) as u32)] {
            self.set(0x24, select);
            self.set(0x20, value);
        }
    }

    /// The driver's whole start: accepts all, two queues, DRIVER_OK.
    pub fn start(&mut self) {
        self.set(0x70, 0);
        (self.free, self.avail, self.used) = (0, [0; 2], [0; 2]);
        self.set(0x70, 3);
        let features = self.offered();
        self.accept(features);
        if !self.legacy {
            self.set(0x70, 11);
        }
        for queue in 0..2 {
            self.set_up(queue);
        }
        let status = self.get(0x70);
        self.set(0x70, status | 4);
    }

    fn set_up(&mut self, queue: u16) {
        self.set(0x30, u32::from(queue));
        if self.get(0x34) == 0 {
            return;
        }
        let Areas { desc, avail, used } = self.areas(queue);
        self.host.bytes()[desc as usize..desc as usize + 0x3000].fill(0);
        self.set(0x38, u32::from(RING));
        if self.legacy {
            self.set(0x28, 4096);
            self.set(0x3c, 4096);
            self.set(0x40, (desc >> 12) as u32);
            return;
        }
        for (low, address) in [(0x80, desc), (0x90, avail), (0xa0, used)] {
            self.set(low, address as u32);
            self.set(low + 4, (address >> 32) as u32);
        }
        self.set(0x44, 1);
    }

    pub fn areas(&self, queue: u16) -> Areas {
        let desc = 0x1_0000 * (u64::from(queue) + 1);
        if self.legacy {
            Areas { desc, avail: desc + 16 * u64::from(RING), used: desc + 0x1000 }
        } else {
            Areas { desc, avail: desc + 0x1000, used: desc + 0x2000 }
        }
    }

    pub fn write(&mut self, at: u64, bytes: &[u8]) {
        self.host.bytes()[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    }

    pub fn read(&mut self, at: u64, bytes: u64) -> Vec<u8> {
        self.host.bytes()[at as usize..(at + bytes) as usize].to_vec()
    }

    pub fn read_u16(&mut self, at: u64) -> u16 {
        u16::from_le_bytes(self.read(at, 2).try_into().expect("two bytes"))
    }

    pub fn descriptor(&mut self, at: u64, buffer: Buffer, next: u16) {
        self.write(at, &buffer.at.to_le_bytes());
        self.write(at + 8, &buffer.bytes.to_le_bytes());
        self.write(at + 12, &buffer.flags.to_le_bytes());
        self.write(at + 14, &next.to_le_bytes());
    }

    /// Writes `buffers` as a chain into the table at `table`, from entry `first` on.
    pub fn chain(&mut self, table: u64, first: u16, buffers: &[Buffer]) {
        for (index, buffer) in (first..).zip(buffers) {
            let last = usize::from(index - first) + 1 == buffers.len();
            let flags = if last { buffer.flags } else { buffer.flags | NEXT };
            let at = table + 16 * u64::from(index);
            self.descriptor(at, Buffer { flags, ..*buffer }, index + 1);
        }
    }

    /// Makes head `head` available.
    pub fn offer_head(&mut self, queue: u16, head: u16) {
        let Areas { avail, .. } = self.areas(queue);
        let next = self.avail[usize::from(queue)];
        self.write(avail + 4 + 2 * u64::from(next % RING), &head.to_le_bytes());
        self.avail[usize::from(queue)] = next.wrapping_add(1);
        self.write(avail + 2, &next.wrapping_add(1).to_le_bytes());
    }

    /// Makes a chain of `buffers` available and returns its head.
    pub fn offer(&mut self, queue: u16, buffers: &[Buffer]) -> u16 {
        if usize::from(self.free) + buffers.len() > usize::from(RING) {
            self.free = 0;
        }
        let head = self.free;
        self.free += buffers.len() as u16;
        let Areas { desc, .. } = self.areas(queue);
        self.chain(desc, head, buffers);
        self.offer_head(queue, head);
        head
    }

    /// Has the queue served.
    pub fn serve(&mut self, queue: u16) -> Serviced {
        let window = Window::new(&mut self.host, DeviceIndex(0), None);
        self.device.service(QueueIndex(queue), &window)
    }

    /// In which queues a polling back end finds something.
    pub fn poll(&mut self) -> Vec<u16> {
        let window = Window::new(&mut self.host, DeviceIndex(0), None);
        let found = self.device.poll(&window).expect("nothing was poisoned");
        found.into_iter().map(|queue| queue.0).collect()
    }

    /// Has the queue served, which leaves nothing to do.
    pub fn serve_all(&mut self, queue: u16) {
        assert_eq!(self.serve(queue), Serviced::Done(Due::default()));
    }

    /// What was used since the last call: (head, length).
    pub fn used(&mut self, queue: u16) -> Vec<(u32, u32)> {
        let Areas { used, .. } = self.areas(queue);
        let end = self.read_u16(used + 2);
        let mut done = Vec::new();
        while self.used[usize::from(queue)] != end {
            let entry = u64::from(self.used[usize::from(queue)] % RING);
            let bytes = self.read(used + 4 + 8 * entry, 8);
            let id = u32::from_le_bytes(bytes[..4].try_into().expect("four bytes"));
            let length = u32::from_le_bytes(bytes[4..].try_into().expect("four bytes"));
            done.push((id, length));
            self.used[usize::from(queue)] = self.used[usize::from(queue)].wrapping_add(1);
        }
        done
    }

    /// The touches since the last call, in words: `desc r16`.
    pub fn touches(&mut self) -> Vec<String> {
        let words = self.host.seen.drain(..).map(|seen| {
            let way = if seen.direction == Direction::Read { 'r' } else { 'w' };
            format!("{} {way}{}", seen.what, seen.bytes)
        });
        words.collect()
    }

    /// The reason of the device's only `Broken` event, and whether DEVICE_NEEDS_RESET was set.
    pub fn broken(&self) -> Option<(&str, bool)> {
        let mut broken = self.host.events.iter().filter_map(|event| {
            if let Event::Broken { reason, needs_reset, .. } = event {
                Some((reason.as_str(), *needs_reset))
            } else {
                None
            }
        });
        let first = broken.next();
        assert_eq!(broken.next(), None, "a broken device does nothing more");
        first
    }
}
