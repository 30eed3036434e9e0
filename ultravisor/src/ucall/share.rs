//! UV_SHARE_PAGE, UV_UNSHARE_PAGE, UV_UNSHARE_ALL_PAGES: what a secure guest gives up, and takes
//! back.
//!
//! Each is a transaction in two phases (firmware `core/svm_host.c`): every unit is announced to
//! the hypervisor first, and only when it granted all of them are they committed and zeroed.

use super::{Fault, Hypervisor, Ultravisor};
use crate::page_state::{PageOp, PageState};
use crate::svm::Life;
use ultravisor_abi::hcall::H_PAGE_IN_SHARED;
use ultravisor_abi::{Gfn, Gpa, HStatus, Hcall, UStatus};

/// How often a paged-out unit is asked for before a share gives up.
const PAGE_IN_TRIES: u32 = 3;

impl Ultravisor {
    /// UV_SHARE_PAGE `(first GFN, count)`.
    ///
    /// *Refuses*: a range that is empty or not inside the slots, or a unit in transit, U_P2 (the
    /// ABI document: U_PARAMETER). Firmware notices a unit in transit only when it gets there and
    /// returns without reverting; here the range is looked over first. A unit that the hypervisor
    /// refuses: all is reverted, U_P2; if that fails too, the VM is aborted, U_STATE.
    pub(super) fn share(&mut self, hv: &mut dyn Hypervisor, args: [u64; 6]) -> UStatus {
        let Some(range) = self.claimed(args[0], args[1]) else { return UStatus::P2 };
        if self.memory.touched_in(range.clone()).any(|(_, state)| state.in_transit()) {
            return UStatus::P2;
        }
        // Sharing backs each unit: more than may be backed ends the run, whatever is said here.
        let known = self.memory.touched_in(range.clone()).count() as u64;
        if !self.memory.has_room_for(range.end - range.start - known) {
            return UStatus::P2;
        }
        for gfn in range.clone() {
            if let Err(status) = self.begin_share(hv, Gfn(gfn)) {
                return self.revert_share(hv, range.start..gfn + 1, status);
            }
        }
        for gfn in range {
            if self.memory.state(Gfn(gfn)).in_transit() {
                self.step(Gfn(gfn), PageOp::ShareCommit).expect("granted units commit");
            }
        }
        UStatus::Success
    }

    /// UV_UNSHARE_PAGE `(first GFN, count)`.
    ///
    /// *Refuses*: a range that is empty or not inside the slots, or a unit in transit, U_P2. If
    /// the hypervisor refuses to let go, the VM is aborted, U_STATE.
    pub(super) fn unshare(&mut self, hv: &mut dyn Hypervisor, args: [u64; 6]) -> UStatus {
        let Some(range) = self.claimed(args[0], args[1]) else { return UStatus::P2 };
        // A unit that was never touched is secure: there is nothing to take back.
        let units: Vec<_> = self.memory.touched_in(range).collect();
        if units.iter().any(|(_, state)| state.in_transit()) {
            return UStatus::P2;
        }
        self.unshare_units(hv, units.into_iter().map(|(gfn, _)| gfn).collect())
    }

    /// UV_UNSHARE_ALL_PAGES: what [`Self::unshare`] does, for all that the guest ever shared.
    pub(super) fn unshare_all(&mut self, hv: &mut dyn Hypervisor) -> UStatus {
        let shared = self
            .memory
            .touched()
            .filter(|(_, state)| matches!(state, PageState::Shared | PageState::SharedInv))
            .map(|(gfn, _)| gfn)
            .collect();
        self.unshare_units(hv, shared)
    }

    fn unshare_units(&mut self, hv: &mut dyn Hypervisor, units: Vec<Gfn>) -> UStatus {
        for gfn in &units {
            if let Err(status) = self.step(*gfn, PageOp::UnshareBegin) {
                return status;
            }
            if self.memory.state(*gfn).in_transit() && self.let_go(hv, *gfn).is_err() {
                self.abort();
                return UStatus::State;
            }
        }
        for gfn in units {
            if self.memory.state(gfn).in_transit() {
                self.step(gfn, PageOp::UnshareCommit).expect("units let go commit");
            }
        }
        UStatus::Success
    }

    /// The range as units, if it is not empty and lies inside the slots: the guest's claim,
    /// checked.
    fn claimed(&self, first: u64, count: u64) -> Option<std::ops::Range<u64>> {
        let unit = self.memory.unit();
        let end = first.checked_add(count)?;
        let reaches = end.checked_mul(unit.bytes())?;
        let start = Gpa(first.checked_mul(unit.bytes())?);
        if count == 0 || !self.memory.is_ram(start, reaches - start.0) {
            return None;
        }
        self.in_slots(start, Gpa(reaches)).then_some(first..end)
    }

    /// Announces one unit and has the hypervisor give a page for it.
    fn begin_share(&mut self, hv: &mut dyn Hypervisor, gfn: Gfn) -> Result<(), UStatus> {
        for _ in 0..PAGE_IN_TRIES {
            if self.memory.state(gfn) != PageState::PagedOut {
                break;
            }
            if self.ask_page_in(hv, gfn) == Fault::Terminated {
                return Err(UStatus::State);
            }
        }
        match self.step(gfn, PageOp::ShareBegin) {
            Ok(()) => {}
            // It could not be paged in.
            Err(UStatus::Retry) => return Err(UStatus::P2),
            Err(status) => return Err(status),
        }
        if self.memory.state(gfn) != PageState::HvSharing {
            return Ok(()); // shared before: nothing changes
        }
        let granted = self.ask(hv, gfn, H_PAGE_IN_SHARED) == HStatus::Success;
        let given = matches!(self.memory.state(gfn), PageState::HvShared | PageState::HvSharedInv);
        if granted && given { Ok(()) } else { Err(UStatus::P2) }
    }

    /// Undoes what a share that cannot be completed has begun.
    fn revert_share(
        &mut self,
        hv: &mut dyn Hypervisor,
        range: std::ops::Range<u64>,
        status: UStatus,
    ) -> UStatus {
        if self.life == Life::Terminated {
            return UStatus::State;
        }
        for gfn in range.map(Gfn) {
            let reverted = match self.memory.state(gfn) {
                PageState::HvSharing => self.step(gfn, PageOp::ShareRevert),
                PageState::HvShared | PageState::HvSharedInv => self
                    .step(gfn, PageOp::UnshareGrant)
                    .and_then(|()| self.let_go(hv, gfn))
                    .and_then(|()| self.step(gfn, PageOp::UnshareRevert)),
                PageState::Normal
                | PageState::Secure
                | PageState::PagedOut
                | PageState::Shared
                | PageState::SharedInv
                | PageState::HvUnsharing
                | PageState::HvUnsharingInv
                | PageState::HvUnshared => Ok(()),
            };
            if reverted.is_err() {
                self.abort();
                return UStatus::State;
            }
        }
        status
    }

    /// Has the hypervisor let go of a unit that is being unshared.
    fn let_go(&mut self, hv: &mut dyn Hypervisor, gfn: Gfn) -> Result<(), UStatus> {
        self.ask(hv, gfn, 0).ok().map_err(|_| UStatus::P2)?;
        self.step(gfn, PageOp::UnshareGranted)
    }

    fn ask(&mut self, hv: &mut dyn Hypervisor, gfn: Gfn, flags: u64) -> HStatus {
        let unit = self.memory.unit();
        let args = [unit.start(gfn).0, flags, unit.order().into(), 0, 0, 0];
        hv.hcall(self, Hcall::SvmPageIn, args)
    }
}
