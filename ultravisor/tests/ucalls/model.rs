//! What should happen: a small machine of its own, written from facts 2.4 and 2.6 and not from
//! the tables under test. It knows no transit states (between two calls there are none), and of a
//! unit's bytes only one word with which all of it is filled.

use super::fake::{HIGH, LOW};
use std::collections::BTreeMap;
use ultravisor::frames::NORMAL_BASE;
use ultravisor::{Fault, LPID, Life};
use ultravisor_abi::{HStatus, UStatus, Ucall, UnitSize};

/// Where a unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Normal,
    In,
    Out,
    Shared,
    SharedInv,
}

/// A unit.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    pub at: At,
    /// The word in secure memory, while it counts.
    pub guest: u64,
    /// The word in normal memory, while it is not ciphertext.
    pub host: u64,
    /// Whether the ciphertext is what was sealed.
    intact: bool,
    /// Whether the last page-in failed verification.
    dead: bool,
    written: bool,
}

/// How the hypervisor misbehaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Refuses {
    /// It refuses H_SVM_PAGE_IN(non-shared) of this unit.
    pub page_in: Option<u64>,
    /// It refuses H_SVM_PAGE_IN(shared) of this unit.
    pub share: Option<u64>,
    /// It refuses H_SVM_INIT_DONE.
    pub init_done: bool,
    /// It refuses to map a shared page again.
    pub map: bool,
}

/// One thing that somebody does.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    Load { gfn: u64 },
    Store { gfn: u64, word: u64 },
    HostRead { gfn: u64 },
    HostWrite { gfn: u64, word: u64 },
    Guest { call: Ucall, args: [u64; 2] },
    Host { call: Ucall, args: [u64; 6] },
    Refuse(Refuses),
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Call(UStatus),
    Guest(Result<(), Fault>),
    Host(Result<(), UStatus>),
    None,
}

/// The machine.
pub struct Model {
    pub life: Life,
    pub pages: BTreeMap<u64, Page>,
    pub seals: bool,
    pub terminates: bool,
    pub pate: [u64; 2],
    unit: UnitSize,
    refuses: Refuses,
    /// (first unit, units, id)
    slots: Vec<(u64, u64, u64)>,
}

impl Model {
    pub fn new(unit: UnitSize, seals: bool, terminates: bool) -> Self {
        let page =
            Page { at: At::Normal, guest: 0, host: 0, intact: true, dead: false, written: false };
        let high = (1 << 32) / unit.bytes();
        let pages = (0..LOW).chain(high..high + HIGH).map(|gfn| (gfn, page)).collect();
        let (refuses, slots) = (Refuses::default(), Vec::new());
        Self { life: Life::Normal, pages, seals, terminates, pate: [0; 2], unit, refuses, slots }
    }

    pub fn perform(&mut self, action: Action) -> Outcome {
        match action {
            Action::Load { gfn } => Outcome::Guest(self.resolve(gfn)),
            Action::Store { gfn, word } => Outcome::Guest(self.resolve(gfn).map(|()| {
                let page = self.page(gfn);
                page.written = true;
                *(if page.at == At::In { &mut page.guest } else { &mut page.host }) = word;
            })),
            Action::HostRead { gfn } => Outcome::Host(self.touch(gfn)),
            Action::HostWrite { gfn, word } => Outcome::Host(self.touch(gfn).map(|()| {
                let page = self.page(gfn);
                page.written = true;
                page.host = word;
                page.intact = false;
            })),
            Action::Guest { call, args } => Outcome::Call(self.guest_call(call, args)),
            Action::Host { call, args } => Outcome::Call(self.host_call(call, args)),
            Action::Refuse(refuses) => {
                self.refuses = refuses;
                Outcome::None
            }
        }
    }

    fn page(&mut self, gfn: u64) -> &mut Page {
        self.pages.get_mut(&gfn).expect("actions touch RAM only")
    }

    /// The host touches a secure page: it gets ciphertext.
    fn touch(&mut self, gfn: u64) -> Result<(), UStatus> {
        let page = self.page(gfn);
        if page.at == At::In {
            (page.at, page.intact, page.host) = (At::Out, true, page.guest);
        }
        Ok(())
    }

    /// The guest touches a page: it is brought in if the hypervisor helps.
    fn resolve(&mut self, gfn: u64) -> Result<(), Fault> {
        match self.pages[&gfn].at {
            At::Normal | At::In | At::Shared => Ok(()),
            At::SharedInv if self.refuses.map => Err(Fault::Refused(HStatus::Busy)),
            At::SharedInv => {
                self.page(gfn).at = At::Shared;
                Ok(())
            }
            At::Out => match self.ask_in(gfn) {
                _ if self.life == Life::Terminated => Err(Fault::Terminated),
                Ok(()) => Ok(()),
                Err(_) if self.page(gfn).dead => Err(Fault::Tampered),
                Err(status) => Err(Fault::Refused(status)),
            },
        }
    }

    fn ask_in(&mut self, gfn: u64) -> Result<(), HStatus> {
        if self.refuses.page_in == Some(gfn) {
            return Err(HStatus::Busy);
        }
        if self.verify(gfn) { Ok(()) } else { Err(HStatus::Parameter) }
    }

    /// A page-in of a paged-out unit.
    fn verify(&mut self, gfn: u64) -> bool {
        let seals = self.seals;
        let page = self.page(gfn);
        if seals && !page.intact {
            page.dead = true;
            if self.terminates {
                self.end();
            }
            return false;
        }
        (page.at, page.dead) = (At::In, false);
        if !seals {
            page.guest = page.host;
        }
        true
    }

    fn end(&mut self) {
        self.life = Life::Terminated;
        for page in self.pages.values_mut() {
            page.at = At::Normal;
        }
    }

    fn guest_call(&mut self, call: Ucall, args: [u64; 2]) -> UStatus {
        match (self.life, call) {
            (Life::Normal, Ucall::Esm) => self.esm(args),
            (Life::Secure, Ucall::Esm) => UStatus::Success,
            (Life::Secure, Ucall::SharePage) => self.share(args),
            (Life::Secure, Ucall::UnsharePage) => match self.range(args) {
                Some(units) => self.unshare(&units),
                None => UStatus::P2,
            },
            (Life::Secure, Ucall::UnshareAllPages) => {
                let all: Vec<u64> = self.pages.keys().copied().collect();
                self.unshare(&all)
            }
            (
                Life::Terminated,
                Ucall::Esm | Ucall::SharePage | Ucall::UnsharePage | Ucall::UnshareAllPages,
            ) => UStatus::State,
            _ => UStatus::Permission,
        }
    }

    fn esm(&mut self, [image, fdt]: [u64; 2]) -> UStatus {
        if image == 0 {
            return UStatus::P2;
        }
        if fdt == 0 {
            return UStatus::P3;
        }
        // KVM registers both RAM ranges, as slots 0 and 1.
        let free = self.slots.is_empty();
        self.slots.clear();
        let refused =
            |(gfn, page): (&u64, &Page)| page.written && self.refuses.page_in == Some(*gfn);
        if !free || self.pages.iter().any(refused) || self.refuses.init_done {
            return UStatus::Parameter;
        }
        let high = (1 << 32) / self.unit.bytes();
        self.slots = vec![(0, LOW, 0), (high, HIGH, 1)];
        self.life = Life::Secure;
        for page in self.pages.values_mut() {
            let taken = if page.written { page.host } else { 0 };
            (page.at, page.guest, page.host) = (At::In, taken, 0);
        }
        UStatus::Success
    }

    fn in_slot(&self, gfn: u64) -> bool {
        self.slots.iter().any(|(first, units, _)| gfn >= *first && gfn - first < *units)
    }

    fn range(&self, [first, count]: [u64; 2]) -> Option<Vec<u64>> {
        let units: Vec<u64> = (0..count.min(LOW + HIGH + 1))
            .map_while(|i| first.checked_add(i))
            .filter(|gfn| self.in_slot(*gfn))
            .collect();
        (count > 0 && units.len() as u64 == count).then_some(units)
    }

    fn share(&mut self, args: [u64; 2]) -> UStatus {
        let Some(units) = self.range(args) else { return UStatus::P2 };
        let mut granted = Vec::new();
        for gfn in units {
            for _ in 0..3 {
                if self.page(gfn).at == At::Out {
                    let _ = self.ask_in(gfn);
                }
            }
            if self.life == Life::Terminated {
                return UStatus::State;
            }
            match self.pages[&gfn].at {
                At::In if self.refuses.share != Some(gfn) => granted.push(gfn),
                At::Shared | At::SharedInv => {}
                At::In | At::Out | At::Normal => return self.revert(&granted),
            }
        }
        for gfn in granted {
            let page = self.page(gfn);
            (page.at, page.host) = (At::Shared, 0);
        }
        UStatus::Success
    }

    fn revert(&mut self, granted: &[u64]) -> UStatus {
        if granted.iter().any(|gfn| self.refuses.page_in == Some(*gfn)) {
            self.end();
            return UStatus::State;
        }
        UStatus::P2
    }

    fn unshare(&mut self, units: &[u64]) -> UStatus {
        for gfn in units {
            let shared = matches!(self.page(*gfn).at, At::Shared | At::SharedInv);
            if shared && self.refuses.page_in == Some(*gfn) {
                self.end();
                return UStatus::State;
            }
        }
        for gfn in units {
            let page = self.page(*gfn);
            if matches!(page.at, At::Shared | At::SharedInv) {
                (page.at, page.guest, page.host) = (At::In, 0, 0);
            }
        }
        UStatus::Success
    }

    fn host_call(&mut self, call: Ucall, args: [u64; 6]) -> UStatus {
        match call {
            Ucall::PageIn | Ucall::PageOut => self.page_call(call == Ucall::PageIn, args),
            Ucall::PageInval => self.inval(args),
            Ucall::RegisterMemSlot => self.register(args),
            Ucall::UnregisterMemSlot => {
                let known = self.slots.iter().position(|(_, _, id)| *id == args[1]);
                match known {
                    _ if args[0] != LPID => UStatus::Parameter,
                    Some(slot) if self.life != Life::Secure => {
                        self.slots.remove(slot);
                        UStatus::Success
                    }
                    Some(_) | None => UStatus::P2,
                }
            }
            Ucall::WritePate if args[0] != LPID => UStatus::Parameter,
            Ucall::WritePate if self.life != Life::Normal => UStatus::Permission,
            Ucall::WritePate => {
                self.pate = [args[1], args[2]];
                UStatus::Success
            }
            Ucall::SvmTerminate if args[0] != LPID => UStatus::Parameter,
            Ucall::SvmTerminate => {
                if self.life != Life::Normal {
                    self.end();
                    self.slots.clear();
                }
                UStatus::Success
            }
            Ucall::Return => UStatus::Function,
            Ucall::Esm | Ucall::SharePage | Ucall::UnsharePage | Ucall::UnshareAllPages => {
                UStatus::Permission
            }
        }
    }

    fn page_call(&mut self, is_in: bool, [lpid, page, gpa, _, order, _]: [u64; 6]) -> UStatus {
        if order != u64::from(self.unit.order()) {
            return UStatus::P5;
        }
        let own = page == NORMAL_BASE.wrapping_add(gpa) && page >= NORMAL_BASE;
        if !own || gpa % self.unit.bytes() != 0 {
            return UStatus::P2;
        }
        match self.life {
            _ if lpid != LPID => return UStatus::Parameter,
            Life::Normal | Life::Transient => return UStatus::Parameter,
            Life::Terminated if is_in => return UStatus::State,
            Life::Terminated => return UStatus::Success,
            Life::Secure => {}
        }
        let gfn = gpa / self.unit.bytes();
        if !self.in_slot(gfn) {
            return UStatus::P3;
        }
        match (is_in, self.pages[&gfn].at) {
            (true, At::Out) if self.verify(gfn) => UStatus::Success,
            (true, At::Out) => UStatus::P3,
            (true, At::Shared | At::SharedInv) => {
                self.page(gfn).at = At::Shared;
                UStatus::Success
            }
            (true, At::In | At::Normal) => UStatus::P2,
            (false, At::In) => {
                let _ = self.touch(gfn);
                UStatus::Success
            }
            (false, _) => UStatus::Parameter,
        }
    }

    fn inval(&mut self, [lpid, gpa, order, ..]: [u64; 6]) -> UStatus {
        if order != u64::from(self.unit.order()) {
            return UStatus::P3;
        }
        if lpid != LPID || self.life != Life::Secure {
            return UStatus::Parameter;
        }
        let gfn = gpa / self.unit.bytes();
        if gpa % self.unit.bytes() != 0 || !self.in_slot(gfn) {
            return UStatus::P2;
        }
        match self.page(gfn).at {
            At::Shared | At::SharedInv => {
                self.page(gfn).at = At::SharedInv;
                UStatus::Success
            }
            At::Normal | At::In | At::Out => UStatus::P2,
        }
    }

    fn register(&mut self, [lpid, start, bytes, flags, id, _]: [u64; 6]) -> UStatus {
        let size = self.unit.bytes();
        let (first, units) = (start / size, bytes / size);
        if lpid != LPID || self.life == Life::Terminated {
            return UStatus::Parameter;
        }
        if start % size != 0 || !self.pages.contains_key(&first) {
            return UStatus::P2;
        }
        let is_ram = |i: u64| self.pages.contains_key(&(first + i));
        if bytes == 0 || bytes % size != 0 || units > LOW + HIGH || !(0..units).all(is_ram) {
            return UStatus::P3;
        }
        if flags != 0 {
            return UStatus::P4;
        }
        let clash = |(f, n, i): &(u64, u64, u64)| *i == id || (first < f + n && *f < first + units);
        if id > 0xffff || self.slots.iter().any(clash) {
            return UStatus::P5;
        }
        self.slots.push((first, units, id));
        UStatus::Success
    }
}
