//! A device's only way to guest bytes.
//!
//! A [`Window`] is made for one device step and lives no longer. Through it the device reaches
//! panes: a [`Pane`] is the window for one part of one queue's work, and it implements rust-vmm's
//! [`GuestMemory`], so that virtio-queue and every `Bytes` access go through it. Each access is one
//! window call: one [`Host::touch`], which pages out what must be paged out and logs what was
//! touched, and only then hands out bytes.
//!
//! A device gives a [`DmaAddr`] and gets bytes of *normal* memory or a fault; the window holds no
//! handle to anything else, so there is no check here that could be forgotten.
#![expect(unsafe_code, reason = "turns the host's pieces of normal memory into volatile slices")]

use crate::event::{Chain, DeviceIndex, Direction, Event, Part, QueueIndex};
use crate::iommu::domains::{Refused, Request};
use crate::touch::{Host, Piece, Pieces, Touch, TouchFault};
use std::cell::{Cell, RefCell};
use std::io;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use ultravisor_abi::{DmaAddr, Gpa};
use vm_memory::guest_memory::GuestMemorySliceIterator;
use vm_memory::{
    Bytes, GuestAddress, GuestMemory, GuestMemoryError, GuestMemoryRegion, GuestMemoryRegionBytes,
    GuestRegionCollection, GuestUsize, Permissions, VolatileSlice,
};

/// An access that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which queue was served.
    pub queue: QueueIndex,
    /// Doing what.
    pub part: Part,
    /// Where the driver said.
    pub at: DmaAddr,
    /// How many bytes were asked for.
    pub bytes: u64,
    /// Why it failed.
    pub why: TouchFault,
}

/// What one device sees of its guest during one step.
pub struct Window<'a> {
    host: RefCell<&'a mut dyn Host>,
    device: DeviceIndex,
    chain: Option<Chain>,
    fault: Cell<Option<Fault>>,
    epoch: u64,
}

impl<'a> Window<'a> {
    /// Opens the window of `device`. `chain` is the guest's call chain at the kick that caused
    /// the step; `None` if no kick did.
    pub fn new(host: &'a mut dyn Host, device: DeviceIndex, chain: Option<Chain>) -> Self {
        let epoch = host.epoch();
        Self { host: RefCell::new(host), device, chain, fault: Cell::new(None), epoch }
    }

    /// The window for one part of one queue's work.
    pub fn pane(&self, queue: QueueIndex, part: Part) -> Pane<'_, 'a> {
        Pane { window: self, queue, part }
    }

    /// Whose window it is.
    pub fn device(&self) -> DeviceIndex {
        self.device
    }

    /// Whether the device can address the range. Nothing is touched. An empty range is in range.
    pub fn in_range(&self, at: DmaAddr, bytes: u64, direction: Direction) -> bool {
        bytes == 0 || self.host.borrow_mut().in_range(self.device, at, bytes, direction)
    }

    /// Tells the host that a descriptor of `queue` holds the address `at`.
    pub fn given(&self, queue: QueueIndex, at: DmaAddr) {
        self.host.borrow_mut().given(self.device, queue, at);
    }

    /// Whether the 4 KiB page at `page` is guest RAM.
    pub fn is_ram_page(&self, page: Gpa) -> bool {
        self.host.borrow().is_ram_page(page)
    }

    /// The balloon took the 4 KiB page at `page`. Returns how many bytes the host got back.
    pub fn discard(&self, page: Gpa) -> u64 {
        self.host.borrow_mut().discard(page)
    }

    /// The driver of the virtio-iommu asks for something.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn iommu(&self, request: Request) -> Result<(), Refused> {
        self.host.borrow_mut().iommu(request)
    }

    /// What the device's IOTLB found since the last call.
    pub fn take_iotlb_hits(&self) -> u64 {
        self.host.borrow_mut().take_iotlb_hits(self.device)
    }

    /// Takes work units of the run's budget for what no event tells.
    pub fn works(&self, units: u64) {
        self.host.borrow_mut().works(units);
    }

    /// So many bytes of text come to a console: how many of them it may keep.
    pub fn take_console(&self, bytes: u64) -> u64 {
        self.host.borrow_mut().take_console(bytes)
    }

    /// Logs an event.
    pub fn log(&self, event: Event) {
        let mut host = self.host.borrow_mut();
        host.log(event);
        self.assert_same_step(&**host);
    }

    /// The first access that failed since the last call, if any did. virtio-queue and `Bytes`
    /// swallow errors in places, so a device asks here rather than trusting what they return.
    pub fn take_fault(&self) -> Option<Fault> {
        self.fault.take()
    }

    /// No slice outlives one device step: had the guest run since this window was opened, slices
    /// handed out before would be stale.
    fn assert_same_step(&self, host: &dyn Host) {
        assert_eq!(host.epoch(), self.epoch, "a window outlived its device step");
    }

    fn touch(&self, touch: &Touch<'_>) -> Result<Pieces, GuestMemoryError> {
        let mut host = self.host.borrow_mut();
        let touched = host.touch(touch);
        self.assert_same_step(&**host);
        let pieces = touched.map_err(|why| {
            let Touch { queue, part, at, bytes, .. } = *touch;
            if self.fault.get().is_none() {
                self.fault.set(Some(Fault { queue, part, at, bytes, why }));
            }
            match why {
                TouchFault::Outside => GuestMemoryError::InvalidGuestAddress(GuestAddress(at.0)),
                TouchFault::NotMapped | TouchFault::Sigbus => {
                    GuestMemoryError::IOError(io::ErrorKind::PermissionDenied.into())
                }
            }
        })?;
        // `Bytes` would take fewer bytes for a partial transfer.
        assert_eq!(pieces.bytes(), touch.bytes, "the host's pieces do not add up to the touch");
        Ok(pieces)
    }
}

/// What the device sees while it does one part of one queue's work.
#[derive(Clone, Copy)]
pub struct Pane<'w, 'a> {
    window: &'w Window<'a>,
    queue: QueueIndex,
    part: Part,
}

impl Pane<'_, '_> {
    /// Fills `out` from guest memory: one window call, none if `out` is empty.
    ///
    /// # Errors
    /// The fault, which the window then no longer remembers.
    pub fn read_exact(&self, at: DmaAddr, out: &mut [u8]) -> Result<(), Fault> {
        let done = self.read_slice(out, GuestAddress(at.0));
        self.settle(done, at, out.len())
    }

    /// Writes `bytes` to guest memory: one window call, none if there are none.
    ///
    /// # Errors
    /// The fault, which the window then no longer remembers.
    pub fn write_all(&self, at: DmaAddr, bytes: &[u8]) -> Result<(), Fault> {
        let done = self.write_slice(bytes, GuestAddress(at.0));
        self.settle(done, at, bytes.len())
    }

    /// Which fault `done` stands for. An error without a fault of the host's is an address that
    /// wraps: outside.
    pub(crate) fn settle<T, E>(
        &self,
        done: Result<T, E>,
        at: DmaAddr,
        bytes: usize,
    ) -> Result<T, Fault> {
        let fault = self.window.take_fault();
        done.map_err(|_| {
            let (queue, part) = (self.queue, self.part);
            let why = TouchFault::Outside;
            fault.unwrap_or(Fault { queue, part, at, bytes: bytes as u64, why })
        })
    }
}

impl GuestMemory for Pane<'_, '_> {
    type PhysicalMemory = GuestRegionCollection<NoRegion>;
    type Bitmap = ();

    fn check_range(&self, addr: GuestAddress, count: usize, access: Permissions) -> bool {
        let direction = direction_of(access);
        self.window.in_range(DmaAddr(addr.0), count as u64, direction)
    }

    fn get_slices<'s>(
        &'s self,
        addr: GuestAddress,
        count: usize,
        access: Permissions,
    ) -> Result<impl GuestMemorySliceIterator<'s, ()>, GuestMemoryError> {
        if count == 0 {
            return Ok(Slices::new(Pieces::Many(Vec::new())));
        }
        let touch = Touch {
            device: self.window.device,
            queue: self.queue,
            part: self.part,
            direction: direction_of(access),
            at: DmaAddr(addr.0),
            bytes: count as u64,
            chain: self.window.chain.as_ref(),
        };
        Ok(Slices::new(self.window.touch(&touch)?))
    }
}

/// An access that asks to write may change the page: it counts as a write.
fn direction_of(access: Permissions) -> Direction {
    if access.has_write() { Direction::Write } else { Direction::Read }
}

/// The slices of one window call: valid as long as the window is borrowed.
struct Slices<'s> {
    pieces: Pieces,
    next: usize,
    window: PhantomData<&'s Window<'s>>,
}

impl Slices<'_> {
    fn new(pieces: Pieces) -> Self {
        Self { pieces, next: 0, window: PhantomData }
    }
}

impl<'s> Iterator for Slices<'s> {
    type Item = Result<VolatileSlice<'s>, GuestMemoryError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let Piece { ptr, bytes, .. } = *self.pieces.as_slice().get(self.next)?;
        self.next += 1;
        // SAFETY: the host promises (safety section of `Host`) that the piece may be accessed
        // until its epoch changes, which takes `&mut` to the host. The window holds that `&mut`
        // while this slice's lifetime, a borrow of the window, lasts, and lends it to `touch`,
        // `log`, `given` and the few other calls of `Host` that a device may make; `touch` and
        // `log` panic if the epoch is no longer the one at which the window was opened, and the
        // others of our host do not change it. So no access can follow a change. A slice got by a read is written by nobody: devices
        // and virtio-queue ask for `Permissions::Write` before they write.
        Some(Ok(unsafe { VolatileSlice::new(ptr.as_ptr(), bytes as usize) }))
    }
}

impl FusedIterator for Slices<'_> {}

impl<'s> GuestMemorySliceIterator<'s, ()> for Slices<'s> {}

/// The physical memory behind a pane, for rust-vmm's types: there is none that a device could
/// name, so this has no values.
pub enum NoRegion {}

impl GuestMemoryRegion for NoRegion {
    type B = ();

    fn len(&self) -> GuestUsize {
        match *self {}
    }

    fn start_addr(&self) -> GuestAddress {
        match *self {}
    }

    fn bitmap(&self) {
        match *self {}
    }
}

impl GuestMemoryRegionBytes for NoRegion {}
