//! The page walk, with two, three and four levels (SDM volume 3, 4.3 to 4.6).

use crate::bus::{Access, Bus, HostPage, Page};
use crate::cpu::{Cpu, control, vector};
use crate::exit::Exit;
use crate::mem::{OFFSET, PAGE, Side, Who, canonical};
use crate::uop::Left;
use ultravisor_abi::Gpa;

/// Physical-address bits, as CPUID leaf 0x8000_0008 says.
pub(crate) const PHYSICAL_BITS: u32 = 48;

/// Bits of a page-table entry (SDM volume 3, table 4-15 to 4-20).
mod entry {
    pub const PRESENT: u64 = 1;
    pub const WRITABLE: u64 = 1 << 1;
    pub const USER: u64 = 1 << 2;
    pub const ACCESSED: u64 = 1 << 5;
    pub const DIRTY: u64 = 1 << 6;
    pub const LARGE: u64 = 1 << 7;
    pub const NO_EXECUTE: u64 = 1 << 63;
    /// Where the next table or the page is.
    pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
}

/// Bits of a page fault's error code (SDM volume 3, 4.7).
mod error {
    pub const PRESENT: u32 = 1;
    pub const WRITE: u32 = 1 << 1;
    pub const USER: u32 = 1 << 2;
    pub const RESERVED: u32 = 1 << 3;
    pub const FETCH: u32 = 1 << 4;
}

/// What a guest-virtual page is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// Memory: the guest-physical page number, and where it is.
    Ram(u64, HostPage),
    /// No memory; the guest-physical page number.
    Mmio(u64),
}

impl Side {
    /// What the bus is asked for.
    pub(crate) fn access(self) -> Access {
        match self {
            Self::Read => Access::Read,
            Self::Write | Self::Guarded => Access::Write,
            Self::Fetch => Access::Fetch,
        }
    }
}

/// The entries used by a walk, to have their accessed and dirty bits set when it has succeeded.
struct Trail {
    tables: [(u64, u64); 4],
    length: usize,
    /// The bytes of an entry.
    size: usize,
}

/// How addresses are translated (SDM volume 3, table 4-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Paging {
    /// Two levels of entries of 4 bytes.
    Of32,
    /// Three of 8 bytes, the uppermost kept by the processor.
    Pae,
    /// Four of 8 bytes.
    Of48,
}

impl Paging {
    /// How many bits of an address each level takes, in bits.
    const fn step(self) -> u32 {
        match self {
            Self::Of32 => 10,
            Self::Pae | Self::Of48 => 9,
        }
    }

    /// The bytes of an entry.
    const fn size(self) -> usize {
        match self {
            Self::Of32 => 4,
            Self::Pae | Self::Of48 => 8,
        }
    }
}

impl Cpu {
    /// Where the page of `va` is, for `side`: from the TLB, or by a walk that then fills it.
    pub(crate) fn translate(
        &mut self,
        bus: &mut dyn Bus,
        va: u64,
        side: Side,
    ) -> Result<Place, Left> {
        let va = self.tlb.view().cut(va);
        if let Some((frame, page)) = self.tlb.page(side, va) {
            return Ok(Place::Ram(frame, page));
        }
        if side == Side::Write
            && let Some((frame, page)) = self.tlb.page(Side::Guarded, va)
        {
            // No page that is watched is here: none is put here, and a new breakpoint flushes.
            if !self.code.holds(frame) {
                self.tlb.fill(side, va, frame, page);
            }
            return Ok(Place::Ram(frame, page));
        }
        if !canonical(va) {
            return Err(self.non_canonical());
        }
        let access = side.access();
        let gpa = self.walk(bus, va, access)?;
        let frame = gpa / PAGE;
        match bus.page(Gpa(gpa & !OFFSET), access) {
            Page::Mmio => Ok(Place::Mmio(frame)),
            Page::Away => Err(self.leave(Exit::Memory { gpa: Gpa(gpa), access })),
            Page::Ram(page) => {
                let guarded = side == Side::Write && self.code.holds(frame);
                let side = if guarded { Side::Guarded } else { side };
                if side == Side::Fetch || !self.watches_page(va) {
                    self.tlb.fill(side, va, frame, page);
                }
                Ok(Place::Ram(frame, page))
            }
        }
    }

    /// The guest-physical address of `va`, permissions checked, accessed and dirty bits set.
    fn walk(&mut self, bus: &mut dyn Bus, va: u64, access: Access) -> Result<u64, Left> {
        if self.regs.cr0 & control::PG == 0 {
            return Ok(va);
        }
        let paging = self.paging();
        let (first, mut table) = match paging {
            Paging::Of48 => (4, self.regs.cr3 & entry::ADDRESS),
            Paging::Of32 => (2, self.regs.cr3 & 0xffff_f000),
            Paging::Pae => {
                let pointer = self.regs.directory_pointers[(va >> 30 & 3) as usize];
                if pointer & entry::PRESENT == 0 {
                    return Err(self.page_fault(va, access, 0));
                }
                (2, pointer & entry::ADDRESS)
            }
        };
        let (step, size) = (paging.step(), paging.size());
        let mut rights = entry::WRITABLE | entry::USER;
        let mut no_execute = 0;
        let mut trail = Trail { tables: [(0, 0); 4], length: 0, size };
        for level in (1..=first).rev() {
            let shift = 12 + step * (level - 1);
            let at = table + ((va >> shift) & ((1 << step) - 1)) * size as u64;
            let found = self.table_entry(bus, at, size)?;
            if found & entry::PRESENT == 0 {
                return Err(self.page_fault(va, access, 0));
            }
            if self.reserved_set(paging, found, level) {
                return Err(self.page_fault(va, access, error::PRESENT | error::RESERVED));
            }
            trail.tables[trail.length] = (at, found);
            trail.length += 1;
            rights &= found;
            no_execute |= found & entry::NO_EXECUTE;
            if level == 1 || self.is_large(paging, found) {
                if !self.permitted(rights, no_execute, access) {
                    return Err(self.page_fault(va, access, error::PRESENT));
                }
                self.mark(bus, &trail, access)?;
                if level > 1 {
                    self.tlb.note_large();
                }
                let inside = (1 << shift) - 1;
                return Ok((found & entry::ADDRESS & !inside) | (va & inside));
            }
            table = found & entry::ADDRESS;
        }
        Err(self.unsupported())
    }

    /// How addresses are translated while paging is on.
    fn paging(&self) -> Paging {
        match (self.is_long_mode(), self.regs.cr4 & control::PAE != 0) {
            (true, _) => Paging::Of48,
            (false, true) => Paging::Pae,
            (false, false) => Paging::Of32,
        }
    }

    /// Whether `found`, which is of no page table, maps a page.
    fn is_large(&self, paging: Paging, found: u64) -> bool {
        let exists = paging != Paging::Of32 || self.regs.cr4 & control::PSE != 0;
        exists && found & entry::LARGE != 0
    }

    /// Whether `found` has a bit set that must be clear at `level` (SDM volume 3, 4.3, 4.4.2, 4.5.4).
    fn reserved_set(&self, paging: Paging, found: u64, level: u32) -> bool {
        let large = level > 1 && self.is_large(paging, found);
        if paging == Paging::Of32 {
            // PSE-36 is not offered, so a 4 MiB page has no more than 32 bits of address.
            return large && found & 0x003f_e000 != 0;
        }
        let mut reserved = entry::ADDRESS & !((1 << PHYSICAL_BITS) - 1);
        if paging == Paging::Pae {
            reserved |= 0x7ff0_0000_0000_0000;
        }
        if self.regs.efer & control::NXE == 0 {
            reserved |= entry::NO_EXECUTE;
        }
        reserved |= match (level, large) {
            (4, true) => entry::LARGE,
            (3, true) => 0x3fff_e000,
            (2, true) => 0x001f_e000,
            _ => 0,
        };
        found & reserved != 0
    }

    fn permitted(&self, rights: u64, no_execute: u64, access: Access) -> bool {
        let (view, cr4) = (self.tlb.view(), self.regs.cr4);
        let user = view.is_user();
        let of_user = rights & entry::USER != 0;
        // SDM volume 3, 4.6.1: SMEP is about fetches, SMAP about data.
        let kept_from_user = match (view.who, access) {
            (Who::User | Who::UserAligned, _) => false,
            (Who::Supervisor | Who::SupervisorAtUser, Access::Fetch) => cr4 & control::SMEP != 0,
            (Who::Supervisor, Access::Read | Access::Write) => cr4 & control::SMAP != 0,
            (Who::SupervisorAtUser, Access::Read | Access::Write) => false,
        };
        if user && !of_user || kept_from_user && of_user {
            return false;
        }
        match access {
            Access::Read => true,
            Access::Fetch => no_execute == 0,
            Access::Write => {
                let obeys = user || self.regs.cr0 & control::WP != 0;
                rights & entry::WRITABLE != 0 || !obeys
            }
        }
    }

    /// Sets accessed bits along the trail, and the dirty bit of its last entry for a write.
    fn mark(&mut self, bus: &mut dyn Bus, trail: &Trail, access: Access) -> Result<(), Left> {
        for (i, &(at, found)) in trail.tables[..trail.length].iter().enumerate() {
            let last = i + 1 == trail.length;
            let dirty = if last && access == Access::Write { entry::DIRTY } else { 0 };
            let wanted = found | entry::ACCESSED | dirty;
            if wanted != found {
                let page = self.table_page(bus, at, Access::Write)?;
                page.write(at & OFFSET, &wanted.to_le_bytes()[..trail.size]);
                self.note_store(at / PAGE, at & OFFSET, trail.size as u64);
            }
        }
        Ok(())
    }

    /// The page-table entry of `size` bytes at guest-physical `at`.
    fn table_entry(&mut self, bus: &mut dyn Bus, at: u64, size: usize) -> Result<u64, Left> {
        let found = self.table_page(bus, at, Access::Read)?.entry(at);
        Ok(if size == 4 { found >> (8 * (at & 4)) & 0xffff_ffff } else { found })
    }

    /// The eight bytes at guest-physical `at`, a multiple of eight.
    pub(crate) fn physical_word(&mut self, bus: &mut dyn Bus, at: u64) -> Result<u64, Left> {
        self.table_entry(bus, at, 8)
    }

    /// The host page of a page-table entry at guest-physical `at`.
    fn table_page(&mut self, bus: &mut dyn Bus, at: u64, access: Access) -> Result<HostPage, Left> {
        match bus.page(Gpa(at & !OFFSET), access) {
            Page::Ram(page) => Ok(page),
            Page::Away => Err(self.leave(Exit::Memory { gpa: Gpa(at), access })),
            // Page tables in a device are nothing that a guest means.
            Page::Mmio => Err(self.unsupported()),
        }
    }

    fn page_fault(&mut self, va: u64, access: Access, cause: u32) -> Left {
        let write = if access == Access::Write { error::WRITE } else { 0 };
        let user = if self.tlb.view().is_user() { error::USER } else { 0 };
        let forbids = self.regs.efer & control::NXE != 0 && self.regs.cr4 & control::PAE != 0;
        let tells = forbids || self.regs.cr4 & control::SMEP != 0;
        let told = access == Access::Fetch && tells;
        let fetch = if told { error::FETCH } else { 0 };
        self.regs.cr2 = va;
        self.leave(Exit::Exception {
            vector: vector::PAGE_FAULT,
            error: Some(cause | write | user | fetch),
            address: Some(va),
        })
    }
}
