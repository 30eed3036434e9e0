//! The software TLB, and the raw loads and stores through it.
//!
//! A TLB entry maps a guest-virtual page straight to host memory. Reads, writes and fetches have
//! sides of their own: a copy between two places a multiple of the TLB's reach apart would
//! otherwise evict itself at every step, and a page that must not be written fast (it holds
//! decoded code, or its dirty bit is clear) is simply absent from the write side.
#![expect(unsafe_code, reason = "guest loads and stores through host pages; each block argued")]

use crate::bus::HostPage;
use core::ptr;
use std::collections::BTreeMap;

/// Bytes in a page.
pub(crate) const PAGE: u64 = 4096;
/// Bits of an address that are the offset in its page.
pub(crate) const OFFSET: u64 = PAGE - 1;

const ENTRIES: usize = 4096;
/// The tag of the entry at `at` while it is empty: a page that another entry is for, from which no
/// address that is looked for at `at` is less than a page away.
const fn empty(at: usize) -> u64 {
    (at ^ 1) as u64 * PAGE
}
/// A page with more TLB entries than this loses them before it gets another.
const SLOTS_MAX: usize = 12;
/// With more pages than this in the reverse map the TLB starts afresh.
const FRAMES_MAX: usize = 1 << 16;

/// Plain numbers of a size that one load or store has: any bit pattern is a value.
pub(crate) trait Scalar: Copy + private::Sealed {}

impl Scalar for u8 {}
impl Scalar for u16 {}
impl Scalar for u32 {}
impl Scalar for u64 {}
impl Scalar for u128 {}

mod private {
    /// Only the integers below: the unsafe code relies on every bit pattern being a value.
    pub trait Sealed {}
    impl Sealed for u8 {}
    impl Sealed for u16 {}
    impl Sealed for u32 {}
    impl Sealed for u64 {}
    impl Sealed for u128 {}
}

impl HostPage {
    /// Copies bytes from `offset` on into `out`, as far as the page goes.
    pub(crate) fn read(self, offset: u64, out: &mut [u8]) {
        let (offset, bytes) = within(offset, out.len());
        // SAFETY: `within` keeps both ends inside the page, which is valid for reads; `out` is
        // a live exclusive reference, so it cannot be guest memory, to which none exist.
        unsafe { ptr::copy_nonoverlapping(self.as_ptr().add(offset), out.as_mut_ptr(), bytes) }
    }

    /// Copies `data` to `offset`, as far as the page goes.
    pub(crate) fn write(self, offset: u64, data: &[u8]) {
        let (offset, bytes) = within(offset, data.len());
        // SAFETY: as in `read`, with the page valid for writes.
        unsafe { ptr::copy_nonoverlapping(data.as_ptr(), self.as_ptr().add(offset), bytes) }
    }

    /// Reads a page-table entry; the low three bits of `offset` do not count.
    pub(crate) fn entry(self, offset: u64) -> u64 {
        let mut bytes = [0; 8];
        self.read(offset & OFFSET & !7, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Copies `bytes` bytes between two pages that may be the same; both ranges are cut at the
    /// page's end. Overlap is the caller's business: the copy is as if through a buffer.
    pub(crate) fn copy_to(self, offset: u64, to: Self, to_offset: u64, bytes: usize) {
        let (offset, bytes) = within(offset, bytes);
        let (to_offset, bytes) = within(to_offset, bytes);
        // SAFETY: both ranges lie inside pages valid for reads and writes; `copy` allows overlap.
        unsafe { ptr::copy(self.as_ptr().add(offset), to.as_ptr().add(to_offset), bytes) }
    }

    /// Fills with a repeated pattern of `pattern.len()` bytes, whole repetitions only.
    pub(crate) fn fill(self, offset: u64, pattern: &[u8], bytes: usize) {
        let (offset, bytes) = within(offset, bytes);
        if let [byte] = *pattern {
            // SAFETY: the range lies inside a page valid for writes.
            unsafe { ptr::write_bytes(self.as_ptr().add(offset), byte, bytes) };
            return;
        }
        let mut done = 0;
        while !pattern.is_empty() && done + pattern.len() <= bytes {
            self.write((offset + done) as u64, pattern);
            done += pattern.len();
        }
    }
}

/// Cuts a range to what lies inside a page.
fn within(offset: u64, bytes: usize) -> (usize, usize) {
    let offset = (offset & OFFSET) as usize;
    (offset, bytes.min(PAGE as usize - offset))
}

/// One mapping. `page` is a host page's first byte unless `tag` is that of [`empty`].
#[derive(Clone, Copy)]
struct Entry {
    /// The guest-virtual page's address.
    tag: u64,
    page: *mut u8,
}

/// Which of the TLB's arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Read,
    Write,
    Fetch,
    /// Pages that may be written but hold decoded code: stores look there first what they hit.
    Guarded,
}

const SIDES: [Side; 4] = [Side::Read, Side::Write, Side::Fetch, Side::Guarded];

struct Array {
    entries: Box<[Entry; ENTRIES]>,
    /// The guest-physical page number behind each entry, apart from what the fast path reads.
    frames: Box<[u64; ENTRIES]>,
}

impl Array {
    fn new() -> Self {
        let entries = boxed(Entry { tag: 0, page: ptr::null_mut() });
        let mut array = Self { entries, frames: boxed(0) };
        array.clear();
        array
    }

    fn clear(&mut self) {
        self.entries.iter_mut().enumerate().for_each(|(at, entry)| entry.tag = empty(at));
    }
}

fn boxed<T: Copy>(value: T) -> Box<[T; ENTRIES]> {
    match vec![value; ENTRIES].into_boxed_slice().try_into() {
        Ok(array) => array,
        Err(_) => Box::new([value; ENTRIES]),
    }
}

const fn index(va: u64) -> usize {
    (va / PAGE) as usize % ENTRIES
}

/// As whom memory is accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Privilege levels 0 to 2.
    Supervisor,
    /// The same while SMAP and RFLAGS.AC are set: user pages are open to it.
    SupervisorAtUser,
    /// Privilege level 3.
    User,
    /// The same while accesses must be aligned: it has no entries for data, so that each is looked at.
    UserAligned,
}

/// As whom memory is accessed, and by addresses of which size. What one is permitted another may
/// not be, and an address of 32 bits wraps where one of 64 bits goes on, so each has entries of its
/// own, and to change between them flushes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub who: Who,
    /// Addresses are cut to 32 bits: no entry is for one above.
    pub narrow: bool,
}

impl View {
    /// As the processor accesses its own tables.
    pub const PROCESSOR: Self = Self { who: Who::Supervisor, narrow: false };

    const ALL: [Self; 8] = {
        use Who::*;
        [
            Self { who: Supervisor, narrow: false },
            Self { who: SupervisorAtUser, narrow: false },
            Self { who: User, narrow: false },
            Self { who: UserAligned, narrow: false },
            Self { who: Supervisor, narrow: true },
            Self { who: SupervisorAtUser, narrow: true },
            Self { who: User, narrow: true },
            Self { who: UserAligned, narrow: true },
        ]
    };

    const fn index(self) -> usize {
        self.who as usize + if self.narrow { 4 } else { 0 }
    }

    /// Whether what only the supervisor may access is closed.
    pub const fn is_user(self) -> bool {
        matches!(self.who, Who::User | Who::UserAligned)
    }

    /// The address that `va` means: one that is none stays so.
    pub const fn cut(self, va: u64) -> u64 {
        if self.narrow && canonical(va) { va & 0xffff_ffff } else { va }
    }
}

/// Whether bits 63 to 47 are equal.
pub(crate) const fn canonical(va: u64) -> bool {
    (((va << 16) as i64) >> 16) as u64 == va
}

/// The entries of one view.
struct Sides {
    read: Array,
    write: Array,
    fetch: Array,
    guarded: Array,
}

impl Sides {
    fn new() -> Self {
        Self { read: Array::new(), write: Array::new(), fetch: Array::new(), guarded: Array::new() }
    }

    fn array(&self, side: Side) -> &Array {
        match side {
            Side::Read => &self.read,
            Side::Write => &self.write,
            Side::Fetch => &self.fetch,
            Side::Guarded => &self.guarded,
        }
    }

    fn array_mut(&mut self, side: Side) -> &mut Array {
        match side {
            Side::Read => &mut self.read,
            Side::Write => &mut self.write,
            Side::Fetch => &mut self.fetch,
            Side::Guarded => &mut self.guarded,
        }
    }
}

/// Where an entry is.
type Slot = (View, Side, u16);

/// The TLB. Only present, permitted, canonical pages are ever in it.
pub(crate) struct Tlb {
    /// The view that loads and stores use now.
    now: Sides,
    view: View,
    /// The others, once they have been used.
    parked: [Option<Sides>; View::ALL.len()],
    /// Some entry may be a piece of a larger page.
    large: bool,
    /// Where a guest-physical page is mapped. Stale slots are harmless: they are checked.
    slots: BTreeMap<u64, Vec<Slot>>,
}

impl Tlb {
    pub fn new() -> Self {
        Self {
            now: Sides::new(),
            view: View::PROCESSOR,
            parked: [const { None }; View::ALL.len()],
            large: false,
            slots: BTreeMap::new(),
        }
    }

    /// As whom memory is accessed now.
    pub fn view(&self) -> View {
        self.view
    }

    /// From now on memory is accessed as `view`.
    pub fn select(&mut self, view: View) {
        if view == self.view {
            return;
        }
        let next = self.parked[view.index()].take().unwrap_or_else(Sides::new);
        self.parked[self.view.index()] = Some(core::mem::replace(&mut self.now, next));
        self.view = view;
    }

    /// The entries of `view`, if there are any.
    fn sides(&self, view: View) -> Option<&Sides> {
        if view == self.view { Some(&self.now) } else { self.parked[view.index()].as_ref() }
    }

    fn sides_mut(&mut self, view: View) -> Option<&mut Sides> {
        if view == self.view { Some(&mut self.now) } else { self.parked[view.index()].as_mut() }
    }

    /// The host address of `T` at `va` if an entry maps all its bytes.
    #[inline(always)]
    fn find<T>(array: &Array, va: u64) -> Option<*mut u8> {
        let entry = &array.entries[index(va)];
        let offset = va.wrapping_sub(entry.tag);
        (offset <= PAGE - size_of::<T>() as u64).then(|| entry.page.wrapping_add(offset as usize))
    }

    /// Loads from `va`, or `None` if the read side does not map it.
    #[inline(always)]
    pub fn load<T: Scalar>(&self, va: u64) -> Option<T> {
        // SAFETY: an entry whose tag is the page of the address looked for holds a `HostPage`, valid
        // for reads of 4096 bytes; `find` says that all of `T` is inside; any bits are a `T`.
        Self::find::<T>(&self.now.read, va).map(|at| unsafe { at.cast::<T>().read_unaligned() })
    }

    /// Loads from `va` through the write side: the first half of a read-modify-write.
    #[inline(always)]
    pub fn load_for_update<T: Scalar>(&self, va: u64) -> Option<T> {
        // SAFETY: as in `load`.
        Self::find::<T>(&self.now.write, va).map(|at| unsafe { at.cast::<T>().read_unaligned() })
    }

    /// Stores to `va`; `false`, and nothing stored, if the write side does not map it.
    #[inline(always)]
    pub fn store<T: Scalar>(&self, va: u64, value: T) -> bool {
        let Some(at) = Self::find::<T>(&self.now.write, va) else {
            return false;
        };
        // SAFETY: as in `load`, the page being valid for writes; no Rust reference to it exists.
        unsafe { at.cast::<T>().write_unaligned(value) };
        true
    }

    /// The host page that `side` maps at `va`, with its guest-physical page number.
    pub fn page(&self, side: Side, va: u64) -> Option<(u64, HostPage)> {
        let array = self.now.array(side);
        let entry = array.entries[index(va)];
        if entry.tag != va & !OFFSET {
            return None;
        }
        let page = ptr::NonNull::new(entry.page)?;
        // SAFETY: an entry with a page's tag was made from a `HostPage`, whose promise holds
        // for as long as the CPU lives.
        Some((array.frames[index(va)], unsafe { HostPage::new(page) }))
    }

    /// Maps the page of `va`, guest-physical page `frame`, at host page `page`.
    ///
    /// A bus may back a page by something else once it is written (a zero page by a real one):
    /// what other entries say about the frame is dropped if it differs.
    pub fn fill(&mut self, side: Side, va: u64, frame: u64, page: HostPage) {
        if self.view.who == Who::UserAligned && side != Side::Fetch {
            return;
        }
        if self.slots.len() >= FRAMES_MAX {
            self.flush();
        }
        if self.is_crowded(frame) || self.backed_elsewhere(frame, page) {
            self.forget(frame, frame);
        }
        let at = index(va);
        let array = self.now.array_mut(side);
        array.entries[at] = Entry { tag: va & !OFFSET, page: page.as_ptr() };
        array.frames[at] = frame;
        let slots = self.slots.entry(frame).or_default();
        let slot = (self.view, side, at as u16);
        if !slots.contains(&slot) {
            slots.push(slot);
        }
    }

    /// Whether an entry of `frame` is, or was when it was last filled, for another host page.
    fn backed_elsewhere(&self, frame: u64, page: HostPage) -> bool {
        let elsewhere = |&(view, side, at): &Slot| {
            self.sides(view).is_some_and(|sides| {
                let (array, at) = (sides.array(side), usize::from(at) % ENTRIES);
                array.frames[at] == frame && array.entries[at].page != page.as_ptr()
            })
        };
        self.slots.get(&frame).is_some_and(|slots| slots.iter().any(elsewhere))
    }

    fn is_crowded(&self, frame: u64) -> bool {
        self.slots.get(&frame).is_some_and(|slots| slots.len() > SLOTS_MAX)
    }

    /// Drops all entries for guest-physical pages `first` to `last`. Costs nothing to speak of
    /// where none are mapped.
    pub fn forget(&mut self, first: u64, last: u64) {
        let known: Vec<u64> = self.slots.range(first..=last).map(|(&frame, _)| frame).collect();
        for frame in known {
            for slot in self.slots.remove(&frame).unwrap_or_default() {
                self.drop_slot(slot, frame);
            }
        }
    }

    /// Drops the write side's entries for page `frame`: stores to it take the slow path from now.
    pub fn forget_writes(&mut self, frame: u64) {
        let Some(slots) = self.slots.get(&frame).cloned() else {
            return;
        };
        for slot in slots.into_iter().filter(|&(_, side, _)| side == Side::Write) {
            self.drop_slot(slot, frame);
        }
    }

    fn drop_slot(&mut self, (view, side, at): Slot, frame: u64) {
        let at = usize::from(at) % ENTRIES;
        if let Some(sides) = self.sides_mut(view) {
            let array = sides.array_mut(side);
            if array.frames[at] == frame {
                array.entries[at].tag = empty(at);
            }
        }
    }

    /// What is mapped now is a piece of a page larger than one entry.
    pub fn note_large(&mut self) {
        self.large = true;
    }

    /// Drops what is mapped at `va` (INVLPG), for all views. A large page goes with all its
    /// entries (SDM volume 3, 4.10.4.1); which those are nobody wrote down.
    pub fn flush_page(&mut self, va: u64) {
        if self.large {
            return self.flush();
        }
        self.each_array(|array| {
            let entry = &mut array.entries[index(va)];
            if entry.tag == va & !OFFSET {
                entry.tag = empty(index(va));
            }
        });
    }

    /// Drops everything (a new CR3, new paging modes).
    pub fn flush(&mut self) {
        self.each_array(Array::clear);
        self.slots.clear();
        self.large = false;
    }

    fn each_array(&mut self, mut change: impl FnMut(&mut Array)) {
        for sides in core::iter::once(&mut self.now).chain(self.parked.iter_mut().flatten()) {
            SIDES.iter().for_each(|&side| change(sides.array_mut(side)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: View = View { who: Who::User, narrow: false };

    /// Host pages that lie behind each other, and stay.
    fn pages<const N: usize>() -> [HostPage; N] {
        let bytes = vec![0_u8; (N + 1) * PAGE as usize].leak();
        let unaligned = bytes.as_mut_ptr();
        let first = unaligned.wrapping_add(unaligned.align_offset(PAGE as usize));
        core::array::from_fn(|n| {
            let page = ptr::NonNull::new(first.wrapping_add(n * PAGE as usize)).expect("no null");
            // SAFETY: aligned, leaked, and `bytes` is not used again.
            unsafe { HostPage::new(page) }
        })
    }

    /// What `page` begins with, and what it ends with.
    fn ends(page: HostPage) -> ([u8; 2], [u8; 2]) {
        let (mut begin, mut end) = ([0; 2], [0; 2]);
        page.read(0, &mut begin);
        page.read(PAGE - 2, &mut end);
        (begin, end)
    }

    #[test]
    fn nothing_goes_past_the_end_of_a_page() {
        let [page, next] = pages();
        page.write(PAGE - 2, &[1; 4]);
        next.fill(PAGE - 2, &[2], 4);
        assert_eq!((ends(page), ends(next)), (([0, 0], [1, 1]), ([0, 0], [2, 2])));
        next.copy_to(PAGE - 2, page, PAGE - 2, 4);
        assert_eq!((ends(page), ends(next)), (([0, 0], [2, 2]), ([0, 0], [2, 2])));
        let mut read = [7; 4];
        page.read(PAGE - 2, &mut read);
        assert_eq!(read, [2, 2, 7, 7]);
    }

    #[test]
    fn loads_and_stores_find_what_their_own_side_maps_whole() {
        let ([page], mut tlb) = (pages(), Tlb::new());
        tlb.fill(Side::Write, 0x5000, 7, page);
        assert!(tlb.store::<u32>(0x5ffc, 0x1234_5678) && !tlb.store::<u32>(0x5ffd, 0));
        assert_eq!(
            (tlb.load_for_update::<u32>(0x5ffc), tlb.load::<u32>(0x5ffc)),
            (Some(0x1234_5678), None)
        );
        tlb.fill(Side::Read, 0x5000, 7, page);
        assert_eq!((tlb.load::<u16>(0x5ffe), tlb.load::<u16>(0x5fff)), (Some(0x1234), None));
    }

    #[test]
    fn each_view_has_entries_of_its_own() {
        let ([page], mut tlb) = (pages(), Tlb::new());
        for (frame, view) in (0..).zip(View::ALL) {
            tlb.select(view);
            tlb.fill(Side::Fetch, 0x5000, frame, page);
        }
        let seen = View::ALL.map(|view| {
            tlb.select(view);
            tlb.page(Side::Fetch, 0x5000)
        });
        assert_eq!(seen, core::array::from_fn(|frame| Some((frame as u64, page))));
    }

    #[test]
    fn entries_of_a_page_stay_until_it_is_backed_by_another_host_page() {
        let ([old, new], mut tlb) = (pages(), Tlb::new());
        tlb.fill(Side::Read, 0x5000, 7, old);
        tlb.fill(Side::Read, 0x8000, 8, old);
        tlb.select(USER);
        tlb.fill(Side::Read, 0x6000, 7, old);
        tlb.fill(Side::Write, 0x6000, 7, old);
        assert_eq!(tlb.page(Side::Read, 0x6000), Some((7, old)));
        tlb.select(View::PROCESSOR);
        assert_eq!(tlb.page(Side::Read, 0x5000), Some((7, old)));
        tlb.fill(Side::Write, 0x7000, 7, new);
        assert_eq!(
            (tlb.page(Side::Read, 0x5000), tlb.page(Side::Write, 0x7000)),
            (None, Some((7, new)))
        );
        assert_eq!(tlb.page(Side::Read, 0x8000), Some((8, old)));
        tlb.fill(Side::Read, 0x5000, 7, new);
        tlb.select(USER);
        assert_eq!((tlb.page(Side::Read, 0x6000), tlb.page(Side::Write, 0x6000)), (None, None));
        tlb.fill(Side::Read, 0x6000, 7, old);
        tlb.select(View::PROCESSOR);
        assert_eq!((tlb.page(Side::Read, 0x5000), tlb.page(Side::Write, 0x7000)), (None, None));
    }

    #[test]
    fn a_page_with_many_entries_loses_them_before_it_gets_another() {
        let ([page], mut tlb) = (pages(), Tlb::new());
        let places = |count: usize| (1..).map(|n| n * PAGE).take(count);
        let mapped =
            |tlb: &Tlb| places(20).filter(|va| tlb.page(Side::Read, *va).is_some()).count();
        // Those that are filled again count once.
        for va in places(12).chain(places(13)) {
            tlb.fill(Side::Read, va, 7, page);
        }
        assert_eq!(mapped(&tlb), 13);
        tlb.fill(Side::Read, 14 * PAGE, 7, page);
        assert_eq!((mapped(&tlb), tlb.page(Side::Read, 14 * PAGE)), (1, Some((7, page))));
    }

    #[test]
    fn a_page_that_is_no_longer_written_fast_is_read_as_before() {
        let ([page], mut tlb) = (pages(), Tlb::new());
        for side in SIDES {
            tlb.fill(side, 0x5000, 7, page);
            tlb.fill(side, 0x6000, 8, page);
        }
        tlb.forget_writes(7);
        assert_eq!(SIDES.map(|side| tlb.page(side, 0x5000).is_some()), [true, false, true, true]);
        assert!(tlb.page(Side::Write, 0x6000).is_some());
    }
}
