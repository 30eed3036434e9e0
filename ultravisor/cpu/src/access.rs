//! Loads and stores as instructions make them: the TLB first, else page by page.
//!
//! A store happens whole or not at all: both pages of one that crosses a boundary are translated
//! before a byte is written.

use crate::bus::{Bus, HostPage};
use crate::cpu::{Cpu, vector};
use crate::exit::Exit;
use crate::mem::{OFFSET, PAGE, Side, Who};
use crate::paging::Place;
use crate::uop::{Beyond, Left};
use crate::width::Width;
use ultravisor_abi::Gpa;

/// The pieces of an access: one, or two where it crosses a page boundary.
struct Pieces {
    /// Guest-physical page number, page, offset, bytes: of the last no more than are left.
    parts: [(u64, HostPage, u64, usize); 2],
    count: usize,
}

/// What an access hits.
enum Hit {
    Ram(Pieces),
    /// All of it one device's.
    Mmio(Gpa),
}

impl Cpu {
    /// Loads an integer, zero-extended.
    #[inline(always)]
    pub(crate) fn load<T: Width>(
        &mut self,
        bus: &mut (impl Beyond + ?Sized),
        va: u64,
    ) -> Result<u64, Left> {
        match self.tlb.load::<T>(va) {
            Some(value) => Ok(value.widen()),
            None => self.load_slow(bus.bus()?, va, size_of::<T>()),
        }
    }

    /// Loads an integer that the same instruction will store to: fails where the store would.
    #[inline(always)]
    pub(crate) fn load_for_update<T: Width>(
        &mut self,
        bus: &mut (impl Beyond + ?Sized),
        va: u64,
    ) -> Result<u64, Left> {
        match self.tlb.load_for_update::<T>(va) {
            Some(value) => Ok(value.widen()),
            None => self.load_for_update_slow(bus.bus()?, va, size_of::<T>()),
        }
    }

    /// Fails where a store to RAM would, and changes nothing.
    #[inline(always)]
    pub(crate) fn may_store<T: Width>(
        &mut self,
        bus: &mut (impl Beyond + ?Sized),
        va: u64,
    ) -> Result<(), Left> {
        match self.tlb.load_for_update::<T>(va) {
            Some(_) => Ok(()),
            None => self.may_store_slow(bus.bus()?, va, size_of::<T>()),
        }
    }

    /// Stores the low bytes of `value`.
    #[inline(always)]
    pub(crate) fn store<T: Width>(
        &mut self,
        bus: &mut (impl Beyond + ?Sized),
        va: u64,
        value: u64,
    ) -> Result<(), Left> {
        if self.tlb.store(va, T::narrow(value)) {
            return Ok(());
        }
        self.store_slow(bus.bus()?, va, value, size_of::<T>())
    }

    /// Loads 16 bytes at any alignment; a device does not answer those.
    #[inline(always)]
    pub(crate) fn load_128(&mut self, bus: &mut dyn Bus, va: u64) -> Result<u128, Left> {
        match self.tlb.load::<u128>(va) {
            Some(value) => Ok(value),
            None => {
                let mut bytes = [0; 16];
                self.load_bytes(bus, va, &mut bytes)?;
                Ok(u128::from_le_bytes(bytes))
            }
        }
    }

    /// Stores 16 bytes at any alignment; a device does not take those.
    #[inline(always)]
    pub(crate) fn store_128(
        &mut self,
        bus: &mut dyn Bus,
        va: u64,
        value: u128,
    ) -> Result<(), Left> {
        if self.tlb.store(va, value) {
            return Ok(());
        }
        self.store_bytes(bus, va, &value.to_le_bytes())
    }

    /// #GP(0) unless `va` is a multiple of 16: for the aligned forms, before they access.
    #[inline(always)]
    pub(crate) fn aligned_16(&mut self, va: u64) -> Result<(), Left> {
        if va & 15 == 0 { Ok(()) } else { Err(self.raise(vector::PROTECTION, Some(0))) }
    }

    #[cold]
    fn load_slow(&mut self, bus: &mut dyn Bus, va: u64, bytes: usize) -> Result<u64, Left> {
        match self.hit(bus, va, bytes, Side::Read)? {
            Hit::Ram(pieces) => {
                let mut out = [0; 8];
                pieces.read(&mut out[..bytes]);
                Ok(u64::from_le_bytes(out))
            }
            Hit::Mmio(gpa) => self.ask_device(gpa, bytes),
        }
    }

    /// What a device answers: the instruction is executed again once it has.
    fn ask_device(&mut self, gpa: Gpa, bytes: usize) -> Result<u64, Left> {
        match self.supplied {
            Some(value) => Ok(value & (u64::MAX >> (64 - 8 * bytes))),
            None => Err(self.leave(Exit::MmioRead { gpa, bytes: bytes as u8 })),
        }
    }

    #[cold]
    fn load_for_update_slow(
        &mut self,
        bus: &mut dyn Bus,
        va: u64,
        bytes: usize,
    ) -> Result<u64, Left> {
        match self.hit(bus, va, bytes, Side::Write)? {
            Hit::Ram(pieces) => {
                let mut out = [0; 8];
                pieces.read(&mut out[..bytes]);
                Ok(u64::from_le_bytes(out))
            }
            Hit::Mmio(gpa) => self.ask_device(gpa, bytes),
        }
    }

    #[cold]
    fn may_store_slow(&mut self, bus: &mut dyn Bus, va: u64, bytes: usize) -> Result<(), Left> {
        match self.hit(bus, va, bytes, Side::Write)? {
            Hit::Ram(_) => Ok(()),
            Hit::Mmio(_) => Err(self.unsupported()),
        }
    }

    #[cold]
    fn store_slow(
        &mut self,
        bus: &mut dyn Bus,
        va: u64,
        value: u64,
        bytes: usize,
    ) -> Result<(), Left> {
        match self.hit(bus, va, bytes, Side::Write)? {
            Hit::Ram(pieces) => self.write(&pieces, &value.to_le_bytes()[..bytes]),
            Hit::Mmio(gpa) => {
                let value = value & (u64::MAX >> (64 - 8 * bytes));
                self.leave_when_done(Exit::MmioWrite { gpa, bytes: bytes as u8, value });
            }
        }
        Ok(())
    }

    /// Loads up to a page of bytes from RAM; MMIO is unsupported.
    #[cold]
    pub(crate) fn load_bytes(
        &mut self,
        bus: &mut dyn Bus,
        va: u64,
        out: &mut [u8],
    ) -> Result<(), Left> {
        match self.hit(bus, va, out.len(), Side::Read)? {
            Hit::Ram(pieces) => {
                pieces.read(out);
                Ok(())
            }
            Hit::Mmio(_) => Err(self.unsupported()),
        }
    }

    /// Stores up to a page of bytes to RAM; MMIO is unsupported.
    #[cold]
    pub(crate) fn store_bytes(
        &mut self,
        bus: &mut dyn Bus,
        va: u64,
        data: &[u8],
    ) -> Result<(), Left> {
        match self.hit(bus, va, data.len(), Side::Write)? {
            Hit::Ram(pieces) => {
                self.write(&pieces, data);
                Ok(())
            }
            Hit::Mmio(_) => Err(self.unsupported()),
        }
    }

    /// Translates `bytes` bytes (1 to 4096) at `va`, all pages before any access.
    fn hit(&mut self, bus: &mut dyn Bus, va: u64, bytes: usize, side: Side) -> Result<Hit, Left> {
        if self.tlb.view().who == Who::UserAligned {
            self.check_alignment(va, bytes)?;
        }
        let va = self.tlb.view().cut(va);
        self.note_access(va, bytes, side);
        let offset = va & OFFSET;
        let first = bytes.min((PAGE - offset) as usize);
        let place = self.translate(bus, va, side)?;
        if first == bytes {
            return Ok(match place {
                Place::Ram(frame, page) => Hit::Ram(Pieces {
                    parts: [(frame, page, offset, bytes), (frame, page, 0, 0)],
                    count: 1,
                }),
                Place::Mmio(frame) => Hit::Mmio(Gpa(frame * PAGE + offset)),
            });
        }
        let behind = self.translate(bus, va.wrapping_add(first as u64), side)?;
        match (place, behind) {
            (Place::Ram(frame, page), Place::Ram(next, next_page)) => Ok(Hit::Ram(Pieces {
                parts: [(frame, page, offset, first), (next, next_page, 0, bytes)],
                count: 2,
            })),
            (Place::Ram(..) | Place::Mmio(_), _) => Err(self.unsupported()),
        }
    }

    /// #AC(0) unless an integer of `bytes` bytes is aligned at `va` (SDM volume 3, 6.15). Processors
    /// differ in what they check of larger operands: our limit.
    #[cold]
    fn check_alignment(&mut self, va: u64, bytes: usize) -> Result<(), Left> {
        match bytes {
            1 | 2 | 4 | 8 if va.is_multiple_of(bytes as u64) => Ok(()),
            1 | 2 | 4 | 8 => Err(self.raise(vector::ALIGNMENT, Some(0))),
            _ if va.is_multiple_of(64) => Ok(()),
            _ => Err(self.unsupported()),
        }
    }

    fn write(&mut self, pieces: &Pieces, data: &[u8]) {
        let mut rest = data;
        for &(frame, page, offset, bytes) in &pieces.parts[..pieces.count] {
            let (now, later) = rest.split_at(bytes.min(rest.len()));
            page.write(offset, now);
            self.note_store(frame, offset, now.len() as u64);
            rest = later;
        }
    }

    /// If what was stored is decoded code: it is dropped before the next instruction.
    #[inline]
    pub(crate) fn note_store(&mut self, frame: u64, offset: u64, bytes: u64) {
        let lines = self.code.hit(frame, offset, bytes);
        if lines != 0 {
            self.code_hit.push((frame, lines));
            self.leave_for_code();
        }
    }
}

impl Pieces {
    fn read(&self, out: &mut [u8]) {
        let mut rest = out;
        for &(_, page, offset, bytes) in &self.parts[..self.count] {
            let (now, later) = rest.split_at_mut(bytes.min(rest.len()));
            page.read(offset, now);
            rest = later;
        }
    }
}
