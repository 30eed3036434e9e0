//! The device's side of a split virtqueue, in QEMU's order.
//!
//! virtio-queue's [`Queue`] holds the ring's state and reads and writes its fields; the order of
//! accesses, notification suppression and the checks are those of QEMU's `hw/virtio/virtio.c`
//! (`virtqueue_split_pop`, `virtqueue_fill`, `virtqueue_flush`, `virtio_queue_set_notification`,
//! `virtio_split_should_notify`), because which pages a device touches, and when, is what a run is
//! about. virtio-queue's own walkers stop without a word at a ring that makes no sense; here each
//! case has its [`Reason`].

use super::chain::{Access, Element, Segment, Segments};
use super::reason::{Reason, SEGMENTS_MAX, Stop};
use super::transport::{EVENT_IDX, Layout, Transport};
use crate::event::{Direction, Event, Part, QueueIndex};
use crate::window::{Pane, Window};
use std::sync::atomic::Ordering;
use ultravisor_abi::DmaAddr;
use virtio_queue::desc::split::Descriptor;
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress};

/// Bytes of a descriptor.
const DESCRIPTOR_BYTES: u32 = 16;
/// Available ring flag: no interrupt, please.
const AVAIL_NO_INTERRUPT: u16 = 1;
/// Used ring flag: no notification, please.
const USED_NO_NOTIFY: u16 = 1;

/// One queue as the device knows it: what is in guest memory is the driver's claim, what is here
/// is not.
#[derive(Debug)]
pub(super) struct Ring {
    queue: Queue,
    layout: Option<Layout>,
    /// The driver's available index when it was read last.
    shadow_avail: u16,
    /// Whether the driver was asked to notify.
    notification: bool,
    /// Whether the device polls, and never asks to be notified.
    polled: bool,
    /// Used index at the last interrupt decision.
    signalled: Option<u16>,
}

impl Ring {
    /// A ring at reset, of at most `size_max` entries: a power of two up to 1024.
    pub fn new(size_max: u16) -> Self {
        let queue = Queue::new(size_max).expect("the transport offers a power of two up to 1024");
        let (layout, signalled) = (None, None);
        Self { queue, layout, shadow_avail: 0, notification: true, polled: false, signalled }
    }

    /// Back to reset.
    pub fn reset(&mut self) {
        *self = Self::new(self.queue.max_size());
    }

    /// Takes over where the driver says the queue lies, when that changed. The positions in the
    /// rings stay: only a reset clears them.
    fn set_layout(&mut self, layout: Layout, window: &Window<'_>) -> Result<(), Reason> {
        if self.layout == Some(layout) {
            return Ok(());
        }
        let Layout { size, desc, avail, used } = layout;
        let size_max = self.queue.max_size();
        let size16 = u16::try_from(size).map_err(|_| Reason::Size(size, size_max))?;
        self.queue.try_set_size(size16).map_err(|_| Reason::Size(size, size_max))?;
        let misaligned = |part, at| move |_| Reason::Misaligned { part, at };
        let (table, driver, device) = (GuestAddress(desc), GuestAddress(avail), GuestAddress(used));
        self.queue.try_set_desc_table_address(table).map_err(misaligned(Part::Desc, desc))?;
        self.queue.try_set_avail_ring_address(driver).map_err(misaligned(Part::Avail, avail))?;
        self.queue.try_set_used_ring_address(device).map_err(misaligned(Part::Used, used))?;
        let entries = u64::from(size);
        for (part, at, bytes, direction) in [
            (Part::Desc, desc, 16 * entries, Direction::Read),
            (Part::Avail, avail, 6 + 2 * entries, Direction::Read),
            (Part::Used, used, 6 + 8 * entries, Direction::Write),
        ] {
            if !window.in_range(DmaAddr(at), bytes, direction) {
                return Err(Reason::Unreachable { part, at });
            }
        }
        self.queue.set_ready(true);
        self.layout = Some(layout);
        Ok(())
    }
}

/// A table of descriptors.
#[derive(Clone, Copy)]
struct Table {
    at: u64,
    entries: u32,
    part: Part,
}

/// One service of one queue.
pub(super) struct Step<'s, 'w> {
    window: &'s Window<'w>,
    index: QueueIndex,
    ring: &'s mut Ring,
    transport: &'s mut Transport,
    size: u16,
    event_idx: bool,
    /// Chains that may still be taken: a driver whose rings overlap cannot keep a step going. No
    /// chain outlives its step, so this is also QEMU's bound on chains in use.
    left: u16,
    /// Whether its chains are somebody's data.
    data: bool,
    due: Due,
}

/// Queues that have work because of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// The same queue: more than one step's work was there.
    pub again: bool,
    /// Another queue: a frame came back.
    pub also: Option<QueueIndex>,
}

impl<'s, 'w> Step<'s, 'w> {
    /// Begins to serve queue `index`, which lies where `layout` says.
    pub fn begin(
        window: &'s Window<'w>,
        index: QueueIndex,
        layout: Layout,
        ring: &'s mut Ring,
        transport: &'s mut Transport,
    ) -> Result<Self, Stop> {
        ring.set_layout(layout, window)?;
        let event_idx = transport.has(EVENT_IDX);
        ring.queue.set_event_idx(event_idx);
        let size = ring.queue.size();
        let due = Due::default();
        Ok(Self { window, index, ring, transport, size, event_idx, left: size, data: true, due })
    }

    /// What chains' bytes are read and written through.
    pub fn access(&self) -> Access<'s, 'w> {
        Access { window: self.window, queue: self.index }
    }

    /// The step's window.
    pub fn window(&self) -> &'s Window<'w> {
        self.window
    }

    /// Which queues have work now.
    pub fn due(&self) -> Due {
        self.due
    }

    /// The queue carries no data: its chains are not anybody's requests.
    pub fn is_control(&mut self) {
        self.data = false;
    }

    /// The queue wants another step.
    pub fn serve_again(&mut self) {
        self.due.again = true;
    }

    /// Queue `index` wants a step.
    pub fn serve_also(&mut self, index: QueueIndex) {
        self.due.also = Some(index);
    }

    /// Whether the driver accepted all of `features`.
    pub fn has(&self, features: u64) -> bool {
        self.transport.has(features)
    }

    fn pane(&self, part: Part) -> Pane<'s, 'w> {
        self.window.pane(self.index, part)
    }

    fn load(&self, part: Part, at: u64) -> Result<u16, Stop> {
        let pane = self.pane(part);
        let value = pane.load::<u16>(GuestAddress(at), Ordering::Acquire);
        Ok(u16::from_le(pane.settle(value, DmaAddr(at), 2)?))
    }

    fn store(&self, part: Part, at: u64, value: u16) -> Result<(), Stop> {
        let pane = self.pane(part);
        let done = pane.store(value.to_le(), GuestAddress(at), Ordering::Release);
        Ok(pane.settle(done, DmaAddr(at), 2)?)
    }

    /// Reads the driver's available index.
    fn refresh_avail(&mut self) -> Result<u16, Stop> {
        let pane = self.pane(Part::Avail);
        let index = self.ring.queue.avail_idx(&pane, Ordering::Acquire);
        let at = DmaAddr(self.ring.queue.avail_ring().wrapping_add(2));
        let index = pane.settle(index, at, 2)?.0;
        self.ring.shadow_avail = index;
        Ok(index)
    }

    /// A polling back end's look at a queue: whether the driver's available index has moved since
    /// it was read last. At its first look it asks not to be notified, and keeps to that.
    pub fn poll(&mut self) -> Result<bool, Stop> {
        // With an event index, to ask not to be notified is to look, too.
        let before = self.ring.shadow_avail;
        if self.ring.notification {
            self.set_notification(false)?;
            self.ring.polled = true;
        }
        Ok(self.refresh_avail()? != before)
    }

    /// Whether the driver made nothing available. Guest memory is read only if the device took all
    /// that it knew of.
    pub fn is_empty(&mut self) -> Result<bool, Stop> {
        let next = self.ring.queue.next_avail();
        Ok(self.ring.shadow_avail == next && self.refresh_avail()? == next)
    }

    /// Looks once more whether something is available, and if so wants another step.
    pub fn look_again(&mut self) -> Result<(), Stop> {
        if !self.is_empty()? {
            self.serve_again();
        }
        Ok(())
    }

    /// Takes the next chain. `None`: there is none, or a ring's worth was taken in this step.
    pub fn pop(&mut self) -> Result<Option<Element>, Stop> {
        if self.is_empty()? {
            return Ok(None);
        }
        if self.left == 0 {
            self.serve_again();
            return Ok(None);
        }
        self.left -= 1;
        let next = self.ring.queue.next_avail();
        let head = self.head(next)?;
        self.ring.queue.set_next_avail(next.wrapping_add(1));
        if self.event_idx && self.ring.notification {
            self.set_avail_event(next.wrapping_add(1))?;
        }
        let (mut readable, mut writable) = (Segments::default(), Segments::default());
        let (window, index) = (self.window, self.index);
        let table = self.walk(head, |segment, direction| {
            window.given(index, segment.at);
            if direction == Direction::Read && !writable.is_empty() {
                return Err(Reason::Order);
            }
            check_buffer(window, segment, direction)?;
            match direction {
                Direction::Read => readable.add(segment),
                Direction::Write => writable.add(segment),
            }
            Ok(())
        })?;
        if table.part == Part::Indirect {
            window.given(index, DmaAddr(table.at));
        }
        window.log(Event::Popped {
            device: window.device(),
            queue: self.index,
            head,
            readable: readable.bytes(),
            writable: writable.bytes(),
        });
        Ok(Some(Element { head, readable, writable }))
    }

    /// The head in entry `next` of the available ring.
    fn head(&self, next: u16) -> Result<u16, Stop> {
        let entry = u64::from(next % self.size);
        let at = self.ring.queue.avail_ring().wrapping_add(4 + 2 * entry);
        let head = self.load(Part::Avail, at)?;
        if head >= self.size {
            return Err(Reason::Head(head).into());
        }
        // QEMU counts in `virtqueue_num_heads` only and otherwise goes on with stale heads, up to
        // 65,535 of them: virtio-queue refuses the jump, and so does this.
        let to = self.ring.shadow_avail;
        if to.wrapping_sub(next) > self.size {
            return Err(Reason::AvailableJump { from: next, to }.into());
        }
        Ok(head)
    }

    /// Hands each descriptor of the chain at `head` to `take`. Returns the table that held them.
    fn walk(
        &self,
        head: u16,
        mut take: impl FnMut(Segment, Direction) -> Result<(), Reason>,
    ) -> Result<Table, Stop> {
        let at = self.ring.queue.desc_table();
        let mut table = Table { at, entries: u32::from(self.size), part: Part::Desc };
        let mut descriptor = self.descriptor(table, head)?;
        if descriptor.refers_to_indirect_table() {
            table = self.indirect(descriptor)?;
            descriptor = self.descriptor(table, 0)?;
        }
        // As in QEMU only a head may refer to an indirect table; the flag means nothing elsewhere.
        let mut taken = 0;
        loop {
            if taken == SEGMENTS_MAX {
                return Err(Reason::TooLong.into());
            }
            taken += 1;
            let (at, bytes) = (DmaAddr(descriptor.addr().0), descriptor.len());
            let direction =
                if descriptor.is_write_only() { Direction::Write } else { Direction::Read };
            take(Segment { at, bytes }, direction)?;
            if taken as u64 > u64::from(table.entries) {
                return Err(Reason::Loop.into());
            }
            if !descriptor.has_next() {
                return Ok(table);
            }
            let next = descriptor.next();
            if u32::from(next) >= table.entries {
                return Err(Reason::Next(next).into());
            }
            descriptor = self.descriptor(table, next)?;
        }
    }

    fn indirect(&self, descriptor: Descriptor) -> Result<Table, Stop> {
        let (at, bytes) = (descriptor.addr().0, descriptor.len());
        if bytes == 0 || !bytes.is_multiple_of(DESCRIPTOR_BYTES) {
            return Err(Reason::IndirectSize(bytes).into());
        }
        if !self.window.in_range(DmaAddr(at), u64::from(bytes), Direction::Read) {
            return Err(Reason::Unreachable { part: Part::Indirect, at }.into());
        }
        Ok(Table { at, entries: bytes / DESCRIPTOR_BYTES, part: Part::Indirect })
    }

    fn descriptor(&self, table: Table, index: u16) -> Result<Descriptor, Stop> {
        let pane = self.pane(table.part);
        let at = table.at.wrapping_add(u64::from(DESCRIPTOR_BYTES) * u64::from(index));
        let descriptor = pane.read_obj::<Descriptor>(GuestAddress(at));
        Ok(pane.settle(descriptor, DmaAddr(at), DESCRIPTOR_BYTES as usize)?)
    }

    /// How many bytes the device may write in all chains that wait, without taking any: QEMU's
    /// `virtqueue_get_avail_bytes`, which walks them all.
    pub fn writable_bytes(&mut self) -> Result<u64, Stop> {
        let mut next = self.ring.queue.next_avail();
        let (mut bytes, mut chains) = (0, 0);
        while chains < self.size
            && (self.ring.shadow_avail != next || self.refresh_avail()? != next)
        {
            let head = self.head(next)?;
            self.walk(head, |segment, direction| {
                if direction == Direction::Write {
                    bytes += u64::from(segment.bytes);
                }
                Ok(())
            })?;
            next = next.wrapping_add(1);
            chains += 1;
        }
        Ok(bytes)
    }

    /// Puts the chain taken last back, as if it had not been taken.
    pub fn unpop(&mut self) {
        let next = self.ring.queue.next_avail();
        self.ring.queue.set_next_avail(next.wrapping_sub(1));
    }

    /// Puts a chain into the used ring: the element, then the index.
    pub fn push(&mut self, element: &Element, written: u32) -> Result<(), Stop> {
        let pane = self.pane(Part::Used);
        let done = self.ring.queue.add_used(&pane, element.head, written);
        pane.settle(done, DmaAddr(self.ring.queue.used_ring()), 8)?;
        self.window.log(Event::Completed {
            device: self.window.device(),
            queue: self.index,
            head: element.head,
            written,
            data: self.data,
        });
        Ok(())
    }

    /// Asks the driver to notify, or not to. Without EVENT_IDX that is a flag, read and written;
    /// with it the available index is read either way and, to be notified, put into `avail_event`.
    pub fn set_notification(&mut self, enable: bool) -> Result<(), Stop> {
        if self.ring.polled {
            return Ok(());
        }
        self.ring.notification = enable;
        if self.event_idx {
            let index = self.refresh_avail()?;
            return if enable { self.set_avail_event(index) } else { Ok(()) };
        }
        let at = self.ring.queue.used_ring();
        let flags = self.load(Part::Used, at)?;
        let flags = if enable { flags & !USED_NO_NOTIFY } else { flags | USED_NO_NOTIFY };
        self.store(Part::Used, at, flags)
    }

    fn set_avail_event(&self, index: u16) -> Result<(), Stop> {
        let offset = 4 + 8 * u64::from(self.size);
        self.store(Part::Used, self.ring.queue.used_ring().wrapping_add(offset), index)
    }

    /// Interrupts the driver if it wants to know of what was pushed.
    pub fn notify(&mut self) -> Result<(), Stop> {
        if self.driver_wants_interrupt()? {
            self.transport.raise_used(self.index);
            self.window.log(Event::Interrupt { device: self.window.device(), queue: self.index });
        }
        Ok(())
    }

    fn driver_wants_interrupt(&mut self) -> Result<bool, Stop> {
        let avail = self.ring.queue.avail_ring();
        if !self.event_idx {
            return Ok(self.load(Part::Avail, avail)? & AVAIL_NO_INTERRUPT == 0);
        }
        let new = self.ring.queue.next_used();
        let Some(old) = self.ring.signalled.replace(new) else { return Ok(true) };
        let offset = 4 + 2 * u64::from(self.size);
        let event = self.load(Part::Avail, avail.wrapping_add(offset))?;
        Ok(passes(event, old, new))
    }
}

/// Whether an index that goes from `old` to `new` passes `event` (virtio 1.4, 2.7.10), all modulo
/// 65536.
fn passes(event: u16, old: u16, new: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

/// QEMU maps each buffer when it takes the chain: no byte is touched, but it must be addressable.
fn check_buffer(window: &Window<'_>, segment: Segment, direction: Direction) -> Result<(), Reason> {
    let Segment { at, bytes } = segment;
    if bytes == 0 {
        return Err(Reason::EmptyBuffer);
    }
    if !window.in_range(at, u64::from(bytes), direction) {
        return Err(Reason::Buffer { at: at.0, bytes });
    }
    Ok(())
}
