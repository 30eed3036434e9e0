//! The hypervisor: KVM's secure-page tables, memory slots and H_SVM_* calls.
//!
//! It knows about a unit only what it was told or did itself ([`Tag`]); what the ultravisor
//! knows it cannot ask. Source: kernel `arch/powerpc/kvm/book3s_hv_uvmem.c` (facts 2.4, 2.5).

use crate::event::{Cause, Event};
use crate::iommu::{Iommus, PAGE_BYTES};
use crate::recorder::Recorder;
use std::collections::BTreeMap;
use ultravisor::event::UvEvent;
use ultravisor::frames::NORMAL_BASE;
use ultravisor::platform::RamRange;
use ultravisor::unit_map::UnitMap;
use ultravisor::{LPID, PageOp, Ultravisor};
use ultravisor_abi::hcall::H_PAGE_IN_SHARED;
use ultravisor_abi::{Gfn, Gpa, HStatus, Hcall, UStatus, Ucall, UnitSize};

/// Entries of a table that are cleared in one work unit of the run's budget.
const ENTRIES_PER_UNIT: u64 = 8;

/// What the hypervisor knows of a unit (kernel: the bits of a slot's `pfns` array).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// A normal VM's page.
    Normal,
    /// Secure and paged in: the host's page table has a device-private entry, and a touch faults.
    SecureIn,
    /// Secure and paged out: a normal page with ciphertext.
    SecureOut,
    /// Shared: a normal page.
    Shared,
}

/// The hypervisor.
pub struct Hypervisor {
    /// The log: whoever works on the host side writes it through here.
    pub recorder: Recorder,
    /// What lies between devices and guest memory.
    pub iommus: Iommus,
    slots: Vec<RamRange>,
    unit: UnitSize,
    tags: UnitMap<Tag>,
    untouched: Tag,
    started: bool,
    /// Why it is paging out right now.
    cause: Option<Cause>,
    /// Who wrote into a paged-out unit last.
    writers: BTreeMap<u64, Cause>,
    /// Units whose backing changed and that the CPU must forget.
    changed: Changed,
    /// Whether a page-in has failed verification.
    tampered: bool,
    /// What its console shows.
    terminal: Vec<u8>,
}

/// Which units the CPU must forget.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// All: the VM's life went on, so that even untouched units are backed otherwise now.
    pub all: bool,
    /// These.
    pub units: Vec<Gfn>,
}

impl Hypervisor {
    /// A hypervisor of one normal VM with these memory slots.
    pub fn new(slots: Vec<RamRange>, unit: UnitSize, recorder: Recorder) -> Self {
        let end = slots.iter().map(|slot| slot.start.0 + slot.bytes).max().unwrap_or(0);
        Self {
            recorder,
            iommus: Iommus::default(),
            slots,
            unit,
            tags: UnitMap::new(end / unit.bytes()),
            untouched: Tag::Normal,
            started: false,
            cause: None,
            writers: BTreeMap::new(),
            changed: Changed::default(),
            tampered: false,
            terminal: Vec::new(),
        }
    }

    /// What the console of H_PUT_TERM_CHAR shows.
    pub fn terminal(&self) -> &[u8] {
        &self.terminal
    }

    /// Whether a page-in has failed verification so far.
    pub fn tampered(&self) -> bool {
        self.tampered
    }

    /// What is known of a unit.
    pub fn tag(&self, gfn: Gfn) -> Tag {
        self.tags.get(gfn).copied().unwrap_or(self.untouched)
    }

    /// Units whose backing changed since this was asked last.
    pub fn take_changed(&mut self) -> Changed {
        std::mem::take(&mut self.changed)
    }

    /// Somebody wrote into a unit that is paged out: its page-in will fail, because of this.
    pub fn note_writer(&mut self, gfn: Gfn, writer: Cause) {
        self.writers.insert(gfn.0, writer);
    }

    /// A touch of a secure unit, as KVM handles the fault on its device-private entry: the
    /// ultravisor is asked to page it out; if it refuses, QEMU gets SIGBUS.
    ///
    /// # Errors
    /// The ultravisor's refusal.
    pub fn page_out(&mut self, uv: &mut Ultravisor, gfn: Gfn, cause: Cause) -> Result<(), UStatus> {
        if self.tag(gfn) != Tag::SecureIn {
            return Ok(());
        }
        self.cause = Some(cause);
        let start = self.unit.start(gfn).0;
        let order = u64::from(self.unit.order());
        let status = uv.host_call(Ucall::PageOut, [LPID, NORMAL_BASE + start, start, 0, order, 0]);
        self.absorb(uv);
        self.cause = None;
        if status != UStatus::Success {
            self.recorder.push(Event::Sigbus { gfn: gfn.0 });
            return Err(status);
        }
        self.writers.remove(&gfn.0);
        self.set(gfn, Tag::SecureOut);
        Ok(())
    }

    /// The host unmaps a unit of a secure VM: the ultravisor is told, and its answer ignored
    /// (kernel `book3s_hv_uvmem.c`, `kvmppc_uvmem_drop_pages` and its callers).
    pub fn invalidate(&mut self, uv: &mut Ultravisor, gfn: Gfn) {
        let order = u64::from(self.unit.order());
        uv.host_call(Ucall::PageInval, [LPID, self.unit.start(gfn).0, order, 0, 0, 0]);
        self.absorb(uv);
    }

    /// Takes over what the ultravisor told: in the log it stands where it happened.
    pub fn absorb(&mut self, uv: &mut Ultravisor) {
        for event in uv.take_events() {
            match &event {
                UvEvent::Page { gfn, .. } => self.changed.units.push(*gfn),
                UvEvent::Life { .. } => self.changed.all = true,
                UvEvent::Tampered { .. } => self.tampered = true,
                UvEvent::Call { .. } | UvEvent::Measured { .. } => {}
            }
            let event = self.told(event);
            self.recorder.push(event);
        }
    }

    fn told(&self, event: UvEvent) -> Event {
        match event {
            UvEvent::Call { caller, call, args, status } => {
                Event::UvCall { caller, call, args, status }
            }
            UvEvent::Page { gfn, op, from, to, effect, bytes } => {
                let cause = if op == PageOp::PageOut { self.cause } else { None };
                Event::Page { gfn: gfn.0, op, from, to, effect, bytes, cause }
            }
            UvEvent::Tampered { gfn } => {
                Event::Tampered { gfn: gfn.0, writer: self.writers.get(&gfn.0).copied() }
            }
            UvEvent::Life { from, to } => Event::Life { from, to },
            UvEvent::Measured { units, digest } => Event::Measured {
                units,
                digest: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            },
        }
    }

    fn set(&mut self, gfn: Gfn, tag: Tag) {
        if let Some(known) = self.tags.entry(gfn, || tag) {
            *known = tag;
        }
    }

    fn serve(&mut self, uv: &mut Ultravisor, call: Hcall, args: [u64; 6]) -> HStatus {
        match call {
            Hcall::SvmInitStart => self.init_start(uv),
            Hcall::SvmInitDone => self.init_done(),
            Hcall::SvmInitAbort => self.init_abort(),
            Hcall::SvmPageIn => self.svm_page_in(uv, args),
            Hcall::SvmPageOut => self.svm_page_out(uv, args),
            Hcall::PutTermChar => self.put_term_char(args),
            // The machine waits.
            Hcall::Cede => HStatus::Success,
            // Only the ultravisor makes these, of a load or store: a guest accesses its devices
            // itself, and to claim success for an access that nobody did would be a lie.
            Hcall::LogicalCiLoad | Hcall::LogicalCiStore => HStatus::Function,
            Hcall::PutTce => self.put_tce(args),
            Hcall::StuffTce => self.stuff_tce(args),
            // It reads guest memory: `host.rs` serves it.
            Hcall::PutTceIndirect => HStatus::Function,
        }
    }

    /// H_SVM_INIT_START: registers every slot with the ultravisor; failure unwinds.
    fn init_start(&mut self, uv: &mut Ultravisor) -> HStatus {
        for (id, slot) in self.slots.clone().into_iter().enumerate() {
            let args = [LPID, slot.start.0, slot.bytes, 0, id as u64, 0];
            let status = uv.host_call(Ucall::RegisterMemSlot, args);
            self.absorb(uv);
            if status != UStatus::Success {
                for id in 0..id as u64 {
                    uv.host_call(Ucall::UnregisterMemSlot, [LPID, id, 0, 0, 0, 0]);
                    self.absorb(uv);
                }
                return HStatus::Parameter;
            }
        }
        self.started = true;
        HStatus::Success
    }

    /// H_SVM_INIT_DONE: what was never asked for is secure too, and never copied.
    fn init_done(&mut self) -> HStatus {
        if !self.started {
            return HStatus::Unsupported;
        }
        self.untouched = Tag::SecureIn;
        HStatus::Success
    }

    /// H_SVM_INIT_ABORT: returns H_PARAMETER, which is what the guest gets.
    fn init_abort(&mut self) -> HStatus {
        if !self.started {
            return HStatus::Unsupported;
        }
        if self.untouched == Tag::SecureIn {
            return HStatus::State;
        }
        self.started = false;
        self.tags = UnitMap::new(
            self.slots.iter().map(|s| (s.start.0 + s.bytes) / self.unit.bytes()).max().unwrap_or(0),
        );
        HStatus::Parameter
    }

    /// H_SVM_PAGE_IN `(gpa, flags, order)`.
    fn svm_page_in(&mut self, uv: &mut Ultravisor, args: [u64; 6]) -> HStatus {
        let [gpa, flags, order, ..] = args;
        if !self.started {
            return HStatus::Unsupported;
        }
        if order != u64::from(self.unit.order()) {
            return HStatus::P3;
        }
        if flags & !H_PAGE_IN_SHARED != 0 {
            return HStatus::P2;
        }
        let gfn = self.unit.gfn(Gpa(gpa));
        if !self.slots.iter().any(|slot| slot.holds(Gpa(gpa), self.unit.bytes())) {
            return HStatus::Parameter;
        }
        let shared = flags == H_PAGE_IN_SHARED;
        // A unit that is paged in already cannot be paged in; sharing it goes on.
        if !shared && self.untouched == Tag::SecureIn && self.tag(gfn) == Tag::SecureIn {
            return HStatus::Parameter;
        }
        self.give(uv, gfn, if shared { Tag::Shared } else { Tag::SecureIn })
    }

    /// Gives the ultravisor the unit's normal page by UV_PAGE_IN.
    fn give(&mut self, uv: &mut Ultravisor, gfn: Gfn, becomes: Tag) -> HStatus {
        let start = self.unit.start(gfn).0;
        let order = u64::from(self.unit.order());
        let status = uv.host_call(Ucall::PageIn, [LPID, NORMAL_BASE + start, start, 0, order, 0]);
        self.absorb(uv);
        if status != UStatus::Success {
            return HStatus::Parameter;
        }
        self.set(gfn, becomes);
        HStatus::Success
    }

    /// H_SVM_PAGE_OUT `(gpa, flags, order)`: as a touch, but asked for.
    fn svm_page_out(&mut self, uv: &mut Ultravisor, args: [u64; 6]) -> HStatus {
        let [gpa, flags, order, ..] = args;
        if !self.started {
            return HStatus::Unsupported;
        }
        if order != u64::from(self.unit.order()) {
            return HStatus::P3;
        }
        if flags != 0 {
            return HStatus::P2;
        }
        match self.page_out(uv, self.unit.gfn(Gpa(gpa)), Cause::Asked) {
            Ok(()) => HStatus::Success,
            Err(_) => HStatus::Parameter,
        }
    }

    /// H_PUT_TCE `(LIOBN, I/O address, TCE)`.
    fn put_tce(&mut self, args: [u64; 6]) -> HStatus {
        let [liobn, ioba, tce, ..] = args;
        let slots = &self.slots;
        self.iommus.put_tce([liobn, ioba, tce], |page| is_in(slots, page))
    }

    /// H_STUFF_TCE `(LIOBN, I/O address, TCE, count)`.
    fn stuff_tce(&mut self, args: [u64; 6]) -> HStatus {
        let [liobn, ioba, tce, count, ..] = args;
        let status = self.iommus.stuff_tce([liobn, ioba, tce, count]);
        if status == HStatus::Success {
            self.recorder.host_works(count / ENTRIES_PER_UNIT);
        }
        status
    }

    /// What H_PUT_TCE_INDIRECT found in its list goes into the table, entry by entry: those before
    /// one that is not sound stay.
    pub fn put_tces(&mut self, [liobn, ioba]: [u64; 2], tces: &[u64]) -> HStatus {
        self.recorder.host_works(tces.len() as u64);
        let addresses = (0..).map(|page| ioba.wrapping_add(page * PAGE_BYTES));
        let slots = &self.slots;
        let put = |(at, tce): (u64, &u64)| {
            self.iommus.put_tce([liobn, at, *tce], |page| is_in(slots, page)).ok()
        };
        addresses.zip(tces).try_for_each(put).err().unwrap_or(HStatus::Success)
    }

    /// H_PUT_TERM_CHAR `(terminal, length, bytes 0-7, bytes 8-15)`.
    fn put_term_char(&mut self, args: [u64; 6]) -> HStatus {
        let [terminal, length, low, high, ..] = args;
        if terminal != 0 {
            return HStatus::Parameter;
        }
        let Some(length) = usize::try_from(length).ok().filter(|length| *length <= 16) else {
            return HStatus::P2;
        };
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&low.to_le_bytes());
        bytes[8..].copy_from_slice(&high.to_le_bytes());
        self.print(&bytes[..length]);
        HStatus::Success
    }

    /// Text comes to the console: of H_PUT_TERM_CHAR, or of a PC's ports.
    pub fn print(&mut self, bytes: &[u8]) {
        let kept = self.recorder.take_console(bytes.len() as u64);
        let told = &bytes[..usize::try_from(kept).unwrap_or(bytes.len())];
        self.terminal.extend_from_slice(told);
        if !told.is_empty() || bytes.is_empty() {
            self.recorder.push(Event::Console { device: None, bytes: told.to_vec() });
        }
    }

    /// A hypercall of a normal guest. H_SVM_* are not its to make.
    pub fn guest_hcall(&mut self, uv: &mut Ultravisor, call: Hcall, args: [u64; 6]) -> HStatus {
        let status = match ultravisor::reflect::arguments(call) {
            None => HStatus::Unsupported,
            Some(_) => self.serve(uv, call, args),
        };
        self.recorder.push(Event::HvCall { call, args, status, by_ultravisor: false });
        status
    }
}

/// Whether the IOMMU page at `page` is in a memory slot.
fn is_in(slots: &[RamRange], page: Gpa) -> bool {
    slots.iter().any(|slot| slot.holds(page, PAGE_BYTES))
}

impl ultravisor::Hypervisor for Hypervisor {
    fn hcall(&mut self, uv: &mut Ultravisor, call: Hcall, args: [u64; 6]) -> HStatus {
        self.absorb(uv);
        let status = self.serve(uv, call, args);
        self.recorder.push(Event::HvCall { call, args, status, by_ultravisor: true });
        status
    }

    fn page_fault(&mut self, uv: &mut Ultravisor, at: Gpa) -> Result<(), HStatus> {
        self.absorb(uv);
        self.give(uv, self.unit.gfn(at), Tag::Shared).ok()
    }
}
