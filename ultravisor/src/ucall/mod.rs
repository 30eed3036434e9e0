//! TABLE 4: caller × ultracall → who is let in, and which function serves the call.
//!
//! Two doors, because two parties knock: [`Ultravisor::guest_call`] for VMs,
//! [`Ultravisor::host_call`] for the hypervisor. What serves a guest may ask the hypervisor
//! ([`Hypervisor`]), and the hypervisor answers through the host's door.

mod esm;
mod memslot;
mod paging;
mod share;

use crate::event::UvEvent;
use crate::memory::{Memory, NotApplied};
use crate::page_state::{PageOp, PageState};
use crate::platform::{Config, OnTamper};
use crate::svm::{Life, LifeOp, next_life};
use memslot::MemSlot;
use std::collections::BTreeMap;
use std::io;
use ultravisor_abi::ucall::Caller;
use ultravisor_abi::{CallRegs, Gfn, Gpa, HStatus, Hcall, UStatus, Ucall};

/// The logical partition id of the one VM.
pub const LPID: u64 = 1;

/// The hypervisor, as the ultravisor needs it: it answers calls, and while doing so may call the
/// ultravisor's host door.
pub trait Hypervisor {
    /// Serves a hypercall that the ultravisor issues or reflects.
    fn hcall(&mut self, uv: &mut Ultravisor, call: Hcall, args: [u64; 6]) -> HStatus;

    /// The guest faulted on a shared unit whose page the hypervisor had taken back: it maps a
    /// page again by UV_PAGE_IN, or says that it cannot.
    fn page_fault(&mut self, uv: &mut Ultravisor, at: Gpa) -> Result<(), HStatus>;
}

/// What came of a guest's fault on a unit that it could not access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The unit is accessible; the guest goes on.
    Resumed,
    /// The unit did not verify: the guest would fault again for ever.
    Tampered,
    /// The hypervisor did not help.
    Refused(HStatus),
    /// The VM was terminated over it.
    Terminated,
}

/// The ultravisor with its one VM.
pub struct Ultravisor {
    config: Config,
    memory: Memory,
    life: Life,
    /// By first byte; they do not overlap.
    slots: BTreeMap<u64, MemSlot>,
    pate: [u64; 2],
}

/// The caller checks of firmware `core/uvcall.c` (facts, section 2.2): who may issue which call.
/// `Err` is what everybody else gets.
///
/// UV_SHARE_PAGE and its kin from a VM that is not secure: the ABI document says U_INVALID,
/// firmware U_PERMISSION. UV_RETURN is part of coming back from a reflected call here, so as a
/// call of its own it is no function.
#[rustfmt::skip]
pub const fn entitled(caller: Caller, call: Ucall) -> Result<(), UStatus> {
    use {Caller::*, Ucall::*};
    match (caller, call) {
        (Hypervisor, WritePate | RegisterMemSlot | UnregisterMemSlot | PageIn | PageOut
            | PageInval | SvmTerminate)                    => Ok(()),
        (Hypervisor, Return)                               => Err(UStatus::Function),
        (Hypervisor, Esm | SharePage | UnsharePage | UnshareAllPages)
                                                           => Err(UStatus::Permission),

        (NormalGuest | SecureGuest, Esm)                   => Ok(()),
        (SecureGuest, SharePage | UnsharePage | UnshareAllPages) => Ok(()),
        (NormalGuest, SharePage | UnsharePage | UnshareAllPages)
                                                           => Err(UStatus::Permission),
        (NormalGuest | SecureGuest, WritePate | RegisterMemSlot | UnregisterMemSlot | PageIn
            | PageOut | PageInval | SvmTerminate | Return) => Err(UStatus::Permission),
    }
}

impl Ultravisor {
    /// An ultravisor and the memory below it, as `config` says; the VM is normal.
    ///
    /// # Errors
    /// What the operating system says when it refuses to map the two memories.
    pub fn new(config: Config) -> io::Result<Self> {
        let memory = Memory::new(&config, LPID)?;
        Ok(Self { config, memory, life: Life::Normal, slots: BTreeMap::new(), pate: [0; 2] })
    }

    /// Guest memory.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Guest memory, for the guest's CPU and for noting writes. States change by calls only.
    pub fn memory_mut(&mut self) -> &mut Memory {
        &mut self.memory
    }

    /// Where the VM is in its life.
    pub fn life(&self) -> Life {
        self.life
    }

    /// Who a call from this VM comes from.
    pub fn guest(&self) -> Caller {
        match self.life {
            Life::Normal | Life::Transient => Caller::NormalGuest,
            Life::Secure | Life::Terminated => Caller::SecureGuest,
        }
    }

    /// What happened since this was asked last, in order.
    pub fn take_events(&mut self) -> Vec<UvEvent> {
        std::mem::take(&mut self.memory.events)
    }

    /// Serves an ultracall of the guest.
    ///
    /// *Returns* the status for `rax`; U_STATE for whatever a terminated VM is entitled to.
    pub fn guest_call(&mut self, hv: &mut dyn Hypervisor, regs: CallRegs) -> UStatus {
        let caller = self.guest();
        let Some((call, refused)) = self.admit(caller, regs.number) else {
            return UStatus::Function;
        };
        let ended = (self.life == Life::Terminated).then_some(UStatus::State);
        let status = refused.or(ended).unwrap_or_else(|| match call {
            Ucall::Esm => self.esm(hv, regs.args),
            Ucall::SharePage => self.share(hv, regs.args),
            Ucall::UnsharePage => self.unshare(hv, regs.args),
            Ucall::UnshareAllPages => self.unshare_all(hv),
            Ucall::WritePate
            | Ucall::Return
            | Ucall::RegisterMemSlot
            | Ucall::UnregisterMemSlot
            | Ucall::PageIn
            | Ucall::PageOut
            | Ucall::PageInval
            | Ucall::SvmTerminate => UStatus::Permission,
        });
        self.tell(caller, call, regs.args, status)
    }

    /// Serves an ultracall of the hypervisor.
    ///
    /// *Returns* the status.
    pub fn host_call(&mut self, call: Ucall, args: [u64; 6]) -> UStatus {
        let Some((call, refused)) = self.admit(Caller::Hypervisor, call.number()) else {
            return UStatus::Function;
        };
        let status = refused.unwrap_or_else(|| match call {
            Ucall::WritePate => self.write_pate(args),
            Ucall::RegisterMemSlot => self.register_mem_slot(args),
            Ucall::UnregisterMemSlot => self.unregister_mem_slot(args),
            Ucall::PageIn => self.page_in(args),
            Ucall::PageOut => self.page_out(args),
            Ucall::PageInval => self.page_inval(args),
            Ucall::SvmTerminate => self.svm_terminate(args),
            Ucall::Return => UStatus::Function,
            Ucall::Esm | Ucall::SharePage | Ucall::UnsharePage | Ucall::UnshareAllPages => {
                UStatus::Permission
            }
        });
        self.tell(Caller::Hypervisor, call, args, status)
    }

    /// The guest touched a unit that it cannot access in its state (firmware: guest data and
    /// fetch faults, facts 2.6). PAGEDOUT is paged in by asking the hypervisor; a shared unit
    /// that the host took back is the hypervisor's to map.
    pub fn guest_fault(&mut self, hv: &mut dyn Hypervisor, at: Gpa) -> Fault {
        if self.life == Life::Terminated {
            return Fault::Terminated;
        }
        let gfn = self.memory.unit().gfn(at);
        match self.memory.state(gfn) {
            PageState::PagedOut => self.ask_page_in(hv, gfn),
            PageState::SharedInv => self.ask_map(hv, at),
            // Accessible: spurious. In transit: the guest waits inside its own call then.
            PageState::Normal
            | PageState::Secure
            | PageState::Shared
            | PageState::HvSharing
            | PageState::HvShared
            | PageState::HvSharedInv
            | PageState::HvUnsharing
            | PageState::HvUnsharingInv
            | PageState::HvUnshared => Fault::Resumed,
        }
    }

    /// The VM's end. A secure VM's memory is wiped and it never runs again; a transient one has
    /// not begun to run and is normal again, with its memory as it was.
    fn abort(&mut self) {
        match self.life {
            Life::Normal | Life::Terminated => return,
            Life::Transient => self.memory.init_abort(),
            Life::Secure => self.memory.wipe_all(),
        }
        self.live(LifeOp::Terminate).expect("every life can end");
    }

    fn ask_map(&mut self, hv: &mut dyn Hypervisor, at: Gpa) -> Fault {
        let answer = hv.page_fault(self, at);
        let state = self.memory.state(self.memory.unit().gfn(at));
        match (self.life, answer) {
            (Life::Terminated, _) => Fault::Terminated,
            (_, Err(status)) => Fault::Refused(status),
            // The hypervisor says that it did, and did not.
            (_, Ok(())) if state == PageState::SharedInv => Fault::Refused(HStatus::Busy),
            (_, Ok(())) => Fault::Resumed,
        }
    }

    fn ask_page_in(&mut self, hv: &mut dyn Hypervisor, gfn: Gfn) -> Fault {
        let unit = self.memory.unit();
        let args = [unit.start(gfn).0, 0, unit.order().into(), 0, 0, 0];
        let status = hv.hcall(self, Hcall::SvmPageIn, args);
        if self.life == Life::Terminated {
            Fault::Terminated
        } else if self.memory.state(gfn) == PageState::Secure {
            Fault::Resumed
        } else if self.memory.not_verified(gfn) {
            // Whatever the hypervisor makes of it.
            Fault::Tampered
        } else if status == HStatus::Success {
            // The hypervisor says that it did, and did not.
            Fault::Refused(HStatus::Busy)
        } else {
            Fault::Refused(status)
        }
    }

    fn admit(&self, caller: Caller, number: u64) -> Option<(Ucall, Option<UStatus>)> {
        let call = Ucall::from_number(number)?;
        self.config.platform.has_ultravisor().then(|| (call, entitled(caller, call).err()))
    }

    fn tell(&mut self, caller: Caller, call: Ucall, args: [u64; 6], status: UStatus) -> UStatus {
        self.memory.events.push(UvEvent::Call { caller, call, args, status });
        status
    }

    fn live(&mut self, op: LifeOp) -> Option<Life> {
        let from = self.life;
        let to = next_life(from, op)?;
        if from != to {
            self.life = to;
            self.memory.events.push(UvEvent::Life { from, to });
        }
        Some(to)
    }

    /// Applies a row of table 1 and gives its refusal as a status.
    fn step(&mut self, gfn: Gfn, op: PageOp) -> Result<(), UStatus> {
        match self.memory.apply(gfn, op) {
            Ok(_) => Ok(()),
            Err(NotApplied::Refused(status)) => Err(status),
            Err(NotApplied::NotVerified) => {
                if self.config.on_tamper == OnTamper::Terminate {
                    self.abort();
                }
                Err(UStatus::P3)
            }
        }
    }
}
