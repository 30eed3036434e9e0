//! Guest memory: the tables, the two memories and the seals, joined.
//!
//! [`Memory::apply`] is the one door through which a unit changes state: it asks table 1, obeys
//! the effect, and tells what happened.

use crate::event::UvEvent;
use crate::frames::{Frames, NormalMemory};
use crate::page_state::{Effect, PageOp, PageState, Step, next};
use crate::platform::{Config, RamRange};
use crate::seal::{Seal, Sealer};
use crate::unit_map::UnitMap;
use crate::view::{Actor, View, view};
use sha2::{Digest, Sha256};
use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use ultravisor_abi::{Gfn, Gpa, UStatus, UnitSize};

/// Reading what nobody wrote costs page tables of the simulator's own, one for so many bytes.
const READ_BLOCK_BYTES: u64 = 2 << 20;
/// Such a block may be read for each so many bytes that may be backed: all of them together cost an
/// eighth of that in page tables.
const BACKED_BYTES_PER_READ_BLOCK: u64 = 32 << 10;

/// What the guest's CPU finds at a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestPage {
    /// RAM: 4096 bytes from here.
    Ram(NonNull<u8>),
    /// RAM that is not accessible in this state.
    Away(PageState),
    /// No RAM.
    NotRam,
}

/// Why [`Memory::apply`] did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotApplied {
    /// The table says no, with this status.
    Refused(UStatus),
    /// The unit did not verify.
    NotVerified,
}

/// A unit that was written or that ever changed state.
#[derive(Clone, Debug)]
struct Unit {
    state: PageState,
    /// Whether anybody ever wrote it.
    written: bool,
    /// Whether it was ever sealed: what is neither written nor sealed is zero in both memories.
    sealed: bool,
    /// What is needed to let it back in. There is one exactly in [`PageState::PagedOut`].
    seal: Option<Seal>,
    /// Whether the last page-in failed verification.
    not_verified: bool,
}

impl Unit {
    fn new(state: PageState) -> impl FnOnce() -> Self {
        move || Self { state, written: false, sealed: false, seal: None, not_verified: false }
    }
}

/// Guest memory.
pub struct Memory {
    frames: Frames,
    units: UnitMap<Unit>,
    /// The state of a unit that has no entry: normal, or secure once the VM became secure.
    untouched: PageState,
    sealer: Sealer,
    seals: bool,
    unit: UnitSize,
    ram: Vec<RamRange>,
    backed: Backed,
    pub(crate) events: Vec<UvEvent>,
}

/// How much real memory guest memory has taken.
#[derive(Default)]
struct Backed {
    /// Units with an entry.
    units: u64,
    /// A bit for each block that was read.
    read: Vec<u64>,
    /// How many those are.
    blocks: u64,
    /// Most of both.
    units_max: u64,
    blocks_max: u64,
    /// Whether somebody asked for more than there may be.
    exhausted: bool,
}

impl Backed {
    fn new(config: &Config) -> Self {
        // Where there is an ultravisor, a unit may lie in both memories.
        let memories = if config.platform.has_ultravisor() { 2 } else { 1 };
        Self {
            units_max: config.backed_bytes_max / (memories * config.unit.bytes()),
            blocks_max: config.backed_bytes_max / BACKED_BYTES_PER_READ_BLOCK,
            ..Self::default()
        }
    }

    /// Notes a read at `at`, which is RAM.
    fn read(&mut self, at: Gpa) {
        let block = at.0 / READ_BLOCK_BYTES;
        let (word, bit) = ((block / 64) as usize, 1 << (block % 64));
        if word >= self.read.len() {
            self.read.resize(word + 1, 0);
        }
        if self.read[word] & bit == 0 {
            self.read[word] |= bit;
            self.blocks += 1;
            self.exhausted |= self.blocks > self.blocks_max;
        }
    }
}

impl Memory {
    /// Memory as `config` says, all normal and zero.
    ///
    /// # Errors
    /// RAM that is not as [`Config`] says; what the operating system says when it refuses the
    /// mappings.
    pub(crate) fn new(config: &Config, svm_id: u64) -> io::Result<Self> {
        if !config.ram_is_sound() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "RAM ranges are not sound"));
        }
        let end = config.ram.last().map_or(Gpa(0), RamRange::end);
        Ok(Self {
            frames: Frames::new(end, config.unit)?,
            units: UnitMap::new(config.unit.gfn(end).0),
            untouched: PageState::Normal,
            sealer: Sealer::new(svm_id, config.seed),
            seals: config.platform.seals(),
            unit: config.unit,
            ram: config.ram.clone(),
            backed: Backed::new(config),
            events: Vec::new(),
        })
    }

    /// The protection unit.
    pub fn unit(&self) -> UnitSize {
        self.unit
    }

    /// The host side's handle: normal memory.
    pub fn normal(&self) -> &NormalMemory {
        self.frames.normal()
    }

    /// Whether all of `bytes` bytes at `gpa` are guest RAM.
    pub fn is_ram(&self, gpa: Gpa, bytes: u64) -> bool {
        self.ram.iter().any(|range| range.holds(gpa, bytes))
    }

    /// The state of a unit.
    pub fn state(&self, gfn: Gfn) -> PageState {
        self.units.get(gfn).map_or(self.untouched, |unit| unit.state)
    }

    /// Whether the unit's last page-in failed verification.
    pub fn not_verified(&self, gfn: Gfn) -> bool {
        self.units.get(gfn).is_some_and(|unit| unit.not_verified)
    }

    /// Every unit that was written or that changed state, in ascending order.
    pub fn touched(&self) -> impl Iterator<Item = (Gfn, PageState)> {
        self.units.iter().map(|(gfn, unit)| (gfn, unit.state))
    }

    /// As [`Self::touched`], for the units in `units`.
    pub(crate) fn touched_in(&self, units: Range<u64>) -> impl Iterator<Item = (Gfn, PageState)> {
        self.units.range(units).map(|(gfn, unit)| (gfn, unit.state))
    }

    /// Every unit that anybody ever wrote, in ascending order.
    pub(crate) fn written(&self) -> Vec<Gfn> {
        self.units.iter().filter(|(_, unit)| unit.written).map(|(gfn, _)| gfn).collect()
    }

    /// Whether every written unit was taken in. One that was not would become zero, and nobody
    /// would know.
    pub(crate) fn all_written_are_in(&self) -> bool {
        self.units.iter().all(|(_, unit)| !unit.written || unit.state != PageState::Normal)
    }

    /// Notes that somebody (the guest, a device, the loader) writes this unit. What is not RAM has
    /// no pages to note.
    pub fn note_write(&mut self, gfn: Gfn) {
        if gfn.0 > self.unit.gfn(Gpa(u64::MAX)).0
            || !self.is_ram(self.unit.start(gfn), self.unit.bytes())
        {
            return;
        }
        self.note_backed(gfn);
        if let Some(unit) = self.units.entry(gfn, Unit::new(self.untouched)) {
            unit.written = true;
        }
    }

    /// Notes that somebody reads at `at`. What is not RAM costs nothing.
    pub fn note_read(&mut self, at: Gpa) {
        if self.is_ram(at, 1) {
            self.backed.read(at);
        }
    }

    /// Whether more memory was asked for than may be backed ([`Config::backed_bytes_max`]): the run ends.
    pub fn exhausted(&self) -> bool {
        self.backed.exhausted
    }

    /// How many units were ever written or converted.
    pub fn backed_units(&self) -> u64 {
        self.backed.units
    }

    /// Whether `units` units more may be backed; if not, memory counts as exhausted.
    pub(crate) fn has_room_for(&mut self, units: u64) -> bool {
        let fits = self.backed.units.saturating_add(units) <= self.backed.units_max;
        self.backed.exhausted |= !fits;
        fits
    }

    fn note_backed(&mut self, gfn: Gfn) {
        if self.units.get(gfn).is_none() {
            self.backed.units += 1;
            self.backed.exhausted |= self.backed.units > self.backed.units_max;
        }
    }

    /// What the guest's CPU finds at the 4 KiB page `page`, for a load or fetch, or for a store.
    pub fn guest_page(&mut self, page: Gpa, write: bool) -> GuestPage {
        // An unaligned "page" could reach into the next unit, whose state is another.
        if !page.0.is_multiple_of(4096) || !self.is_ram(page, 4096) {
            return GuestPage::NotRam;
        }
        let gfn = self.unit.gfn(page);
        let state = self.state(gfn);
        match view(Actor::Guest, state) {
            View::Fault => return GuestPage::Away(state),
            View::Plain | View::Sealed | View::Own => {}
        }
        if write {
            self.note_write(gfn);
        } else {
            self.backed.read(page);
        }
        if self.backed.exhausted {
            return GuestPage::Away(state);
        }
        let bytes = match state {
            PageState::Normal | PageState::Shared => self.frames.normal().at(page, 4096),
            PageState::Secure => self.frames.secure_at(page, 4096),
            PageState::PagedOut
            | PageState::SharedInv
            | PageState::HvSharing
            | PageState::HvShared
            | PageState::HvSharedInv
            | PageState::HvUnsharing
            | PageState::HvUnsharingInv
            | PageState::HvUnshared => return GuestPage::Away(state),
        };
        bytes.map_or(GuestPage::NotRam, GuestPage::Ram)
    }

    /// Copies guest bytes as the guest sees them, without changing any state: what the ultravisor
    /// itself or a debugger may look at. `false` if a part is not accessible to the guest.
    pub fn peek(&self, gpa: Gpa, out: &mut [u8]) -> bool {
        let mut at = gpa.0;
        for chunk in chunks(out, gpa, 4096) {
            let state = self.state(self.unit.gfn(Gpa(at)));
            if view(Actor::Guest, state) != View::Plain {
                return false;
            }
            let copied = if state == PageState::Secure {
                self.frames.read_secure(Gpa(at), chunk)
            } else {
                self.frames.normal().read(Gpa(at), chunk)
            };
            if !copied || !self.is_ram(Gpa(at), chunk.len() as u64) {
                return false;
            }
            at += chunk.len() as u64;
        }
        true
    }

    /// Copies what the ultravisor itself has of guest memory: the secure bytes of a unit that is
    /// secure or paged out, else what lies in normal memory. Changes nothing; `false` outside RAM.
    pub fn peek_inside(&self, gpa: Gpa, out: &mut [u8]) -> bool {
        self.peek_with(gpa, out, |memory, at, chunk| match memory.state(memory.unit.gfn(at)) {
            PageState::Secure | PageState::PagedOut => memory.frames.read_secure(at, chunk),
            PageState::Normal
            | PageState::Shared
            | PageState::SharedInv
            | PageState::HvSharing
            | PageState::HvShared
            | PageState::HvSharedInv
            | PageState::HvUnsharing
            | PageState::HvUnsharingInv
            | PageState::HvUnshared => memory.frames.normal().read(at, chunk),
        })
    }

    /// Copies what the host side would see if it touched guest memory now: of a secure unit, what a
    /// page-out would hand it. Changes nothing, the nonce included; `false` outside RAM.
    pub fn peek_outside(&self, gpa: Gpa, out: &mut [u8]) -> bool {
        self.peek_with(gpa, out, |memory, at, chunk| {
            let gfn = memory.unit.gfn(at);
            match view(Actor::Host, memory.state(gfn)) {
                View::Plain | View::Sealed | View::Own => memory.frames.normal().read(at, chunk),
                View::Fault => {
                    let start = memory.unit.start(gfn);
                    let mut unit = vec![0; usize::try_from(memory.unit.bytes()).unwrap_or(0)];
                    if !memory.frames.read_secure(start, &mut unit) {
                        return false;
                    }
                    if memory.seals {
                        let plain = unit.clone();
                        memory.sealer.preview(start, &plain, &mut unit);
                    }
                    let from = usize::try_from(at.0 - start.0).unwrap_or(usize::MAX);
                    let Some(seen) = unit.get(from..from + chunk.len()) else { return false };
                    chunk.copy_from_slice(seen);
                    true
                }
            }
        })
    }

    /// Reads chunk by chunk, each within one page of 4 KiB.
    fn peek_with(
        &self,
        gpa: Gpa,
        out: &mut [u8],
        read: impl Fn(&Self, Gpa, &mut [u8]) -> bool,
    ) -> bool {
        let mut at = gpa.0;
        for chunk in chunks(out, gpa, 4096) {
            if !self.is_ram(Gpa(at), chunk.len() as u64) || !read(self, Gpa(at), chunk) {
                return false;
            }
            at += chunk.len() as u64;
        }
        true
    }

    /// Moves a unit by `op`: state, bytes, and the event that tells of it.
    ///
    /// # Errors
    /// [`NotApplied`]; then nothing changed.
    pub(crate) fn apply(&mut self, gfn: Gfn, op: PageOp) -> Result<Step, NotApplied> {
        let from = self.state(gfn);
        let step = next(from, op).map_err(NotApplied::Refused)?;
        let bytes = self.obey(gfn, step.effect)?;
        if from != step.to || step.effect != Effect::Keep {
            let unit = self.unit_mut(gfn);
            unit.state = step.to;
            debug_assert_eq!(unit.seal.is_some(), step.to == PageState::PagedOut, "{gfn:?} {op:?}");
            self.events.push(UvEvent::Page {
                gfn,
                op,
                from,
                to: step.to,
                effect: step.effect,
                bytes,
            });
        }
        Ok(step)
    }

    /// The VM became secure: what was never taken in is secure from now on, and zero, without a
    /// copy or a walk over the partition (table 1, `(Normal, InitDone)`).
    pub(crate) fn init_done(&mut self) {
        for (gfn, state) in self.touched().collect::<Vec<_>>() {
            // A unit that was touched but not taken in holds bytes of the host's in normal
            // memory; the secure unit at its place was never used and is zero.
            if state == PageState::Normal {
                self.apply(gfn, PageOp::InitDone).expect("a row of table 1");
            }
        }
        self.untouched = match next(self.untouched, PageOp::InitDone) {
            Ok(step) => step.to,
            Err(_) => self.untouched,
        };
    }

    /// Ends the VM's life in memory: every unit that holds anything is wiped.
    pub(crate) fn wipe_all(&mut self) {
        for (gfn, _) in self.touched().collect::<Vec<_>>() {
            self.apply(gfn, PageOp::Terminate).expect("terminate works from everywhere");
        }
        self.untouched = PageState::Normal;
    }

    /// Undoes what a transient VM took in.
    pub(crate) fn init_abort(&mut self) {
        for (gfn, _) in self.touched().collect::<Vec<_>>() {
            self.apply(gfn, PageOp::InitAbort).expect("a transient VM shares nothing");
        }
    }

    /// Measures all units that were written: (how many, SHA-256). A unit that the host touched
    /// after it was taken in is paged out by now; its parked secure unit is what was sealed, and
    /// what it must unseal to.
    pub(crate) fn measure(&mut self) -> (u64, [u8; 32]) {
        let mut hash = Sha256::new();
        let written = self.written();
        for gfn in &written {
            hash.update(self.unit.start(*gfn).0.to_le_bytes());
            hash.update(&*self.frames.secure_unit(*gfn));
        }
        (written.len() as u64, hash.finalize().into())
    }

    /// Does to the bytes what the table says, and says how many they were.
    fn obey(&mut self, gfn: Gfn, effect: Effect) -> Result<u64, NotApplied> {
        let unit_bytes = self.unit.bytes();
        match effect {
            Effect::Keep | Effect::Fresh | Effect::Map => return Ok(0),
            // A pool of slots is shared before anybody uses it. To zero it would be to back it.
            Effect::ZeroNormal | Effect::ZeroSecure | Effect::Wipe if self.is_zero(gfn) => {}
            Effect::Take => {
                let (normal, secure) = self.frames.both_units(gfn);
                secure.copy_from_slice(normal);
                normal.fill(0);
            }
            Effect::Restore => {
                let (normal, secure) = self.frames.both_units(gfn);
                normal.copy_from_slice(secure);
                secure.fill(0);
                self.set_seal(gfn, None);
            }
            Effect::Seal => return Ok(self.seal(gfn)),
            Effect::Unseal => return self.unseal(gfn),
            Effect::ZeroNormal => self.frames.normal_unit(gfn).fill(0),
            Effect::ZeroSecure => {
                let (normal, secure) = self.frames.both_units(gfn);
                secure.fill(0);
                normal.fill(0);
            }
            Effect::Wipe => {
                self.frames.secure_unit(gfn).fill(0);
                self.set_seal(gfn, None);
            }
        }
        Ok(unit_bytes)
    }

    /// Whether both memories are zero there because nobody ever used them.
    fn is_zero(&self, gfn: Gfn) -> bool {
        self.units.get(gfn).is_none_or(|unit| !unit.written && !unit.sealed)
    }

    fn seal(&mut self, gfn: Gfn) -> u64 {
        let at = self.unit.start(gfn);
        let (normal, secure) = self.frames.both_units(gfn);
        let (seal, bytes) = if self.seals {
            (self.sealer.seal(at, secure, normal), self.unit.bytes())
        } else {
            normal.copy_from_slice(secure);
            (Seal::none(), 0)
        };
        self.set_seal(gfn, Some(seal));
        bytes
    }

    fn unseal(&mut self, gfn: Gfn) -> Result<u64, NotApplied> {
        let at = self.unit.start(gfn);
        let seal = self.units.get(gfn).and_then(|unit| unit.seal.clone());
        let seal = seal.expect("a paged-out unit has a seal");
        let (normal, secure) = self.frames.both_units(gfn);
        let bytes = if self.seals {
            if self.sealer.unseal(at, &seal, normal, secure).is_err() {
                self.events.push(UvEvent::Tampered { gfn });
                self.unit_mut(gfn).not_verified = true;
                return Err(NotApplied::NotVerified);
            }
            self.unit.bytes()
        } else {
            secure.copy_from_slice(normal);
            0
        };
        normal.fill(0);
        self.set_seal(gfn, None);
        Ok(bytes)
    }

    fn set_seal(&mut self, gfn: Gfn, seal: Option<Seal>) {
        let unit = self.unit_mut(gfn);
        unit.sealed |= seal.is_some();
        unit.seal = seal;
        unit.not_verified = false;
    }

    fn unit_mut(&mut self, gfn: Gfn) -> &mut Unit {
        self.note_backed(gfn);
        let fresh = Unit::new(self.untouched);
        self.units.entry(gfn, fresh).expect("callers check units against slots")
    }
}

/// Splits `out` so that no piece crosses a multiple of `step` counted from `gpa`.
fn chunks(out: &mut [u8], gpa: Gpa, step: u64) -> impl Iterator<Item = &mut [u8]> {
    let mut rest = out;
    let mut at = gpa.0;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let room = usize::try_from(step - at % step).unwrap_or(usize::MAX).min(rest.len());
        let (piece, tail) = std::mem::take(&mut rest).split_at_mut(room);
        rest = tail;
        at = at.wrapping_add(room as u64);
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_remembered_in_a_bit_for_each_block() {
        let mut backed = Backed::default();
        backed.read(Gpa((1 << 40) - 1));
        assert_eq!(backed.read.len() as u64, (1 << 40) / READ_BLOCK_BYTES / 64);
    }
}
