//! UV_ESM: a normal VM becomes secure.

use super::{Hypervisor, LPID, Ultravisor};
use crate::event::UvEvent;
use crate::page_state::PageState;
use crate::svm::{Life, LifeOp};
use ultravisor_abi::{HStatus, Hcall, UStatus};

impl Ultravisor {
    /// UV_ESM `(image base, FDT)`. No ESM blob is checked.
    ///
    /// The hypervisor is told to start; every unit that anybody ever wrote is taken in through
    /// it and measured; then it is told that all is done. What nobody wrote is secure and zero
    /// from then on, without a copy or a walk.
    ///
    /// *Returns* U_SUCCESS too if the VM is secure already. *Refuses*: a zero image base U_P2, a
    /// zero FDT U_P3 (as firmware; the document says U_PARAMETER and U_P2). If the hypervisor
    /// does not play along (a written unit outside the slots, or written while all this happens,
    /// included) the VM stays normal, with its memory as it was, and is told: U_FUNCTION (it does
    /// not know how), U_PERMISSION (it may not), else U_PARAMETER.
    pub(super) fn esm(&mut self, hv: &mut dyn Hypervisor, args: [u64; 6]) -> UStatus {
        let [image, fdt, ..] = args;
        match self.life {
            Life::Secure => return UStatus::Success,
            Life::Transient | Life::Terminated => return UStatus::State,
            Life::Normal => {}
        }
        if image == 0 {
            return UStatus::P2;
        }
        if fdt == 0 {
            return UStatus::P3;
        }
        self.live(LifeOp::InitStart).expect("a normal VM may start");
        let started = hv.hcall(self, Hcall::SvmInitStart, [0; 6]);
        if started != HStatus::Success {
            self.back_to_normal();
            return told(started);
        }
        let Some((units, digest)) = self.take_all_in(hv) else {
            // The hypervisor answers H_PARAMETER to the guest when it has aborted.
            hv.hcall(self, Hcall::SvmInitAbort, [0; 6]);
            self.back_to_normal();
            return UStatus::Parameter;
        };
        self.memory.events.push(UvEvent::Measured { units, digest });
        self.memory.init_done();
        self.live(LifeOp::InitDone).expect("a transient VM may become secure");
        UStatus::Success
    }

    /// Has every written unit brought in, and measures them: (how many, SHA-256). `None` if the
    /// hypervisor refused one, or ended the VM meanwhile.
    fn take_all_in(&mut self, hv: &mut dyn Hypervisor) -> Option<(u64, [u8; 32])> {
        let unit = self.memory.unit();
        for gfn in self.memory.written() {
            let start = unit.start(gfn);
            let args = [start.0, 0, unit.order().into(), 0, 0, 0];
            let taken = hv.hcall(self, Hcall::SvmPageIn, args) == HStatus::Success
                && self.memory.state(gfn) == PageState::Secure;
            if !taken {
                return None;
            }
        }
        // Looked at before and after: once KVM has answered INIT_DONE it takes no INIT_ABORT.
        if !self.memory.all_written_are_in() {
            return None;
        }
        let done = hv.hcall(self, Hcall::SvmInitDone, [0; 6]) == HStatus::Success;
        let ready = done && self.life == Life::Transient && self.memory.all_written_are_in();
        ready.then(|| self.memory.measure())
    }

    /// Undoes all that was done. KVM ends H_SVM_INIT_ABORT by UV_SVM_TERMINATE: then nothing is
    /// left to undo.
    fn back_to_normal(&mut self) {
        if self.life == Life::Transient {
            self.memory.init_abort();
            self.slots.clear();
            self.live(LifeOp::InitAbort).expect("a transient VM may abort");
        }
    }
}

/// How a guest learns why H_SVM_INIT_START failed.
const fn told(status: HStatus) -> UStatus {
    match status {
        HStatus::Unsupported | HStatus::Function => UStatus::Function,
        HStatus::Authority | HStatus::Permission => UStatus::Permission,
        HStatus::Busy => UStatus::Retry,
        HStatus::Success
        | HStatus::Parameter
        | HStatus::P2
        | HStatus::P3
        | HStatus::P4
        | HStatus::State => UStatus::Parameter,
    }
}

const _: () = assert!(LPID != 0, "lpid 0 is the hypervisor's own partition");
