//! A hypervisor that does as KVM does (facts 2.5), a guest that touches memory, and the two put
//! together with an ultravisor.
#![expect(unsafe_code, reason = "the guest's stores go to the page that the ultravisor gave")]

use ultravisor::event::UvEvent;
use ultravisor::frames::NORMAL_BASE;
use ultravisor::memory::GuestPage;
use ultravisor::platform::{Config, OnTamper, Platform, RamRange};
use ultravisor::view::{Actor, View, view};
use ultravisor::{Fault, Hypervisor, LPID, Life, PageState, Ultravisor};
use ultravisor_abi::hcall::H_PAGE_IN_SHARED;
use ultravisor_abi::{CallRegs, Gfn, Gpa, HStatus, Hcall, UStatus, Ucall, UnitSize};

/// What may be backed in every test's machine.
pub const BACKED_BYTES_MAX: u64 = 1 << 30;
/// Units of low RAM in every test's machine: GFN 0 to 15.
pub const LOW: u64 = 16;
/// Units of RAM from 4 GiB on.
pub const HIGH: u64 = 4;
/// Both unit sizes that tests run with.
pub const UNITS: [UnitSize; 2] = [UnitSize::KIB_4, UnitSize::KIB_64];

/// What happens before the hypervisor serves a call: `Some` is answered in its stead.
pub type Before = Box<dyn FnMut(&mut Ultravisor, Hcall, [u64; 6]) -> Option<HStatus>>;
/// What happens after it served a call.
pub type After = Box<dyn FnMut(&mut Ultravisor, Hcall, [u64; 6])>;

/// The hypervisor.
pub struct Kvm {
    unit: UnitSize,
    slots: Vec<RamRange>,
    /// Every call it got, in order.
    pub asked: Vec<(Hcall, [u64; 6])>,
    pub before: Option<Before>,
    pub after: Option<After>,
    /// Its answer to a guest fault on a shared unit whose page it took: `None` maps it again.
    pub fault_answer: Option<Result<(), HStatus>>,
}

impl Kvm {
    pub fn new(unit: UnitSize, slots: Vec<RamRange>) -> Self {
        let (before, after, fault_answer) = (None, None, None);
        Self { unit, slots, asked: Vec::new(), before, after, fault_answer }
    }

    fn serve(&self, uv: &mut Ultravisor, call: Hcall, args: [u64; 6]) -> HStatus {
        match call {
            Hcall::SvmInitStart => {
                let register = |(id, slot): (usize, &RamRange)| {
                    let args = [LPID, slot.start.0, slot.bytes, 0, id as u64, 0];
                    uv.host_call(Ucall::RegisterMemSlot, args) == UStatus::Success
                };
                let registered = self.slots.iter().enumerate().all(register);
                if registered { HStatus::Success } else { HStatus::Parameter }
            }
            Hcall::SvmPageIn => self.give(uv, self.unit.gfn(Gpa(args[0]))),
            Hcall::SvmInitDone => HStatus::Success,
            Hcall::SvmInitAbort => HStatus::Parameter,
            Hcall::SvmPageOut
            | Hcall::PutTce
            | Hcall::LogicalCiLoad
            | Hcall::LogicalCiStore
            | Hcall::PutTermChar
            | Hcall::Cede
            | Hcall::PutTceIndirect
            | Hcall::StuffTce => HStatus::Function,
        }
    }

    fn give(&self, uv: &mut Ultravisor, gfn: Gfn) -> HStatus {
        let given = uv.host_call(Ucall::PageIn, page_args(self.unit, gfn)) == UStatus::Success;
        if given { HStatus::Success } else { HStatus::Parameter }
    }
}

impl Hypervisor for Kvm {
    fn hcall(&mut self, uv: &mut Ultravisor, call: Hcall, args: [u64; 6]) -> HStatus {
        self.asked.push((call, args));
        if let Some(answer) = self.before.as_mut().and_then(|before| before(uv, call, args)) {
            return answer;
        }
        let status = self.serve(uv, call, args);
        if let Some(after) = &mut self.after {
            after(uv, call, args);
        }
        status
    }

    fn page_fault(&mut self, uv: &mut Ultravisor, at: Gpa) -> Result<(), HStatus> {
        self.fault_answer.unwrap_or_else(|| {
            let status = self.give(uv, self.unit.gfn(at));
            if status == HStatus::Success { Ok(()) } else { Err(status) }
        })
    }
}

/// The arguments of UV_PAGE_IN and UV_PAGE_OUT for a unit.
pub fn page_args(unit: UnitSize, gfn: Gfn) -> [u64; 6] {
    let gpa = unit.start(gfn).0;
    [LPID, NORMAL_BASE + gpa, gpa, 0, unit.order().into(), 0]
}

/// Low RAM and RAM above 4 GiB, with a hole between them.
pub fn ram(unit: UnitSize) -> Vec<RamRange> {
    let high = Gpa(1 << 32);
    vec![
        RamRange { start: Gpa(0), bytes: LOW * unit.bytes() },
        RamRange { start: high, bytes: HIGH * unit.bytes() },
    ]
}

/// A machine's configuration: PEF, firmware's way with tampering, plenty of secure memory.
pub fn config(unit: UnitSize) -> Config {
    Config {
        platform: Platform::Pef,
        unit,
        ram: ram(unit),
        seed: 1,
        on_tamper: OnTamper::Refault,
        secure_bytes: 1 << 40,
        backed_bytes_max: BACKED_BYTES_MAX,
    }
}

/// What somebody who could look everywhere would see: for I8, "a failed call changes nothing".
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot {
    life: Life,
    pate: [u64; 2],
    units: Vec<(Gfn, PageState, Option<Vec<u8>>)>,
}

/// An ultravisor, its guest and its hypervisor.
pub struct World {
    pub uv: Ultravisor,
    pub kvm: Kvm,
    pub unit: UnitSize,
}

impl World {
    pub fn new(config: Config) -> Self {
        let (unit, ram) = (config.unit, config.ram.clone());
        let uv = Ultravisor::new(config).expect("two sparse mappings");
        Self { uv, kvm: Kvm::new(unit, ram), unit }
    }

    /// A secure guest whose low and high units hold a pattern of their own. (UV_ESM took them in.)
    pub fn secure(config: Config) -> Self {
        let mut world = Self::new(config);
        for gfn in world.all_units() {
            world.fill(gfn, pattern(gfn));
        }
        assert_eq!(world.guest(Ucall::Esm, [1, 1]), UStatus::Success);
        world.kvm.asked.clear();
        world.uv.take_events();
        world
    }

    /// The first unit above the hole.
    pub fn high(&self) -> Gfn {
        self.unit.gfn(Gpa(1 << 32))
    }

    pub fn all_units(&self) -> Vec<Gfn> {
        let high = self.high().0;
        (0..LOW).chain(high..high + HIGH).map(Gfn).collect()
    }

    pub fn guest(&mut self, call: Ucall, args: [u64; 2]) -> UStatus {
        let args = [args[0], args[1], 0, 0, 0, 0];
        self.uv.guest_call(&mut self.kvm, CallRegs { number: call.number(), args })
    }

    pub fn share(&mut self, first: u64, count: u64) -> UStatus {
        self.guest(Ucall::SharePage, [first, count])
    }

    pub fn unshare(&mut self, first: u64, count: u64) -> UStatus {
        self.guest(Ucall::UnsharePage, [first, count])
    }

    pub fn page_in(&mut self, gfn: Gfn) -> UStatus {
        self.uv.host_call(Ucall::PageIn, page_args(self.unit, gfn))
    }

    pub fn page_out(&mut self, gfn: Gfn) -> UStatus {
        self.uv.host_call(Ucall::PageOut, page_args(self.unit, gfn))
    }

    pub fn inval(&mut self, gfn: Gfn) -> UStatus {
        let args = [LPID, self.unit.start(gfn).0, self.unit.order().into(), 0, 0, 0];
        self.uv.host_call(Ucall::PageInval, args)
    }

    pub fn terminate(&mut self) -> UStatus {
        self.uv.host_call(Ucall::SvmTerminate, [LPID, 0, 0, 0, 0, 0])
    }

    pub fn state(&self, gfn: Gfn) -> PageState {
        self.uv.memory().state(gfn)
    }

    /// The guest stores `bytes` at `gpa`, faulting as long as it is helped.
    pub fn store(&mut self, gpa: Gpa, bytes: &[u8]) -> Result<(), Fault> {
        let mut at = gpa;
        for piece in bytes.chunks(4096) {
            let page = Gpa(at.0 & !0xfff);
            assert!(at.0 - page.0 + piece.len() as u64 <= 4096, "pieces lie in one page");
            let to = loop {
                match self.uv.memory_mut().guest_page(page, true) {
                    GuestPage::Ram(to) => break to,
                    GuestPage::Away(_) => self.resolve(at)?,
                    GuestPage::NotRam => panic!("{at:?} is no RAM"),
                }
            };
            // SAFETY: `to` is a guest page of 4096 bytes, `piece` lies inside it (asserted), and
            // nobody else uses guest memory meanwhile.
            unsafe {
                let to = to.as_ptr().add((at.0 - page.0) as usize);
                std::ptr::copy_nonoverlapping(piece.as_ptr(), to, piece.len());
            }
            at.0 += piece.len() as u64;
        }
        Ok(())
    }

    /// The guest loads a whole unit, faulting as long as it is helped.
    pub fn load(&mut self, gfn: Gfn) -> Result<Vec<u8>, Fault> {
        let start = self.unit.start(gfn);
        while let GuestPage::Away(_) = self.uv.memory_mut().guest_page(start, false) {
            self.resolve(start)?;
        }
        Ok(self.seen(gfn).expect("accessible by now"))
    }

    fn resolve(&mut self, at: Gpa) -> Result<(), Fault> {
        let fault = self.uv.guest_fault(&mut self.kvm, at);
        let accessible = self.uv.memory().peek(at, &mut [0]);
        assert!(fault != Fault::Resumed || accessible, "{at:?}: the guest would fault for ever");
        if fault == Fault::Resumed { Ok(()) } else { Err(fault) }
    }

    /// The guest fills a unit with one byte.
    pub fn fill(&mut self, gfn: Gfn, byte: u8) {
        let bytes = vec![byte; self.unit.bytes() as usize];
        self.store(self.unit.start(gfn), &bytes).expect("the guest can get at it");
    }

    /// What the guest would see of a unit without faulting.
    pub fn seen(&self, gfn: Gfn) -> Option<Vec<u8>> {
        let mut bytes = vec![0; self.unit.bytes() as usize];
        self.uv.memory().peek(self.unit.start(gfn), &mut bytes).then_some(bytes)
    }

    /// What lies in a unit's normal memory.
    pub fn normal(&self, gfn: Gfn) -> Vec<u8> {
        let mut bytes = vec![0; self.unit.bytes() as usize];
        assert!(self.uv.memory().normal().read(self.unit.start(gfn), &mut bytes));
        bytes
    }

    /// The host touches a unit: as KVM, a page-out first if it cannot get at it.
    pub fn host_touch(&mut self, gfn: Gfn) -> Result<(), UStatus> {
        match view(Actor::Host, self.state(gfn)) {
            View::Plain | View::Sealed | View::Own => Ok(()),
            View::Fault => {
                let status = self.page_out(gfn);
                if status == UStatus::Success { Ok(()) } else { Err(status) }
            }
        }
    }

    /// The host writes into a unit that it has touched.
    pub fn host_write(&mut self, gfn: Gfn, offset: u64, bytes: &[u8]) {
        self.uv.memory_mut().note_write(gfn);
        let at = Gpa(self.unit.start(gfn).0 + offset);
        assert!(self.uv.memory().normal().write(at, bytes));
    }

    pub fn snapshot(&self) -> Snapshot {
        let units = self.all_units().into_iter();
        let units = units.map(|gfn| (gfn, self.state(gfn), self.seen(gfn))).collect();
        Snapshot { life: self.uv.life(), pate: self.uv.pate(), units }
    }

    /// How many bytes each page event since the last time moved, sealed or zeroed.
    pub fn page_events(&mut self) -> Vec<UvEvent> {
        let events = self.uv.take_events().into_iter();
        events.filter(|event| matches!(event, UvEvent::Page { .. })).collect()
    }
}

/// The byte that a unit is filled with at first.
pub fn pattern(gfn: Gfn) -> u8 {
    (gfn.0 % 251) as u8 + 1
}

/// A hypervisor that answers `answer` to the `n`th (from 0) call that `which` picks.
pub fn refuse_nth(
    n: usize,
    answer: HStatus,
    which: impl Fn(Hcall, [u64; 6]) -> bool + 'static,
) -> Option<Before> {
    let mut seen = 0;
    Some(Box::new(move |_, call, args| {
        let chosen = which(call, args);
        seen += usize::from(chosen);
        (chosen && seen == n + 1).then_some(answer)
    }))
}

/// H_SVM_PAGE_IN that asks for a shared page.
pub fn asks_to_share(call: Hcall, args: [u64; 6]) -> bool {
    call == Hcall::SvmPageIn && args[1] == H_PAGE_IN_SHARED
}

/// H_SVM_PAGE_IN that asks for a page-in, or to let a shared page go.
pub fn asks_in(call: Hcall, args: [u64; 6]) -> bool {
    call == Hcall::SvmPageIn && args[1] == 0
}
