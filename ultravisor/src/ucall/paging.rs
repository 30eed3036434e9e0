//! UV_PAGE_IN, UV_PAGE_OUT, UV_PAGE_INVAL: the hypervisor gives and takes pages.

use super::{LPID, Ultravisor};
use crate::frames::NORMAL_BASE;
use crate::page_state::PageOp;
use crate::svm::Life;
use ultravisor_abi::{Gfn, Gpa, UStatus};

impl Ultravisor {
    /// UV_PAGE_IN `(lpid, source, destination GPA, flags, order)`.
    ///
    /// *Refuses*, in firmware's order (facts 2.6): a wrong order U_P5; a source that is no normal
    /// page of this unit U_P2; unknown lpid U_PARAMETER; a terminated VM U_STATE; a GPA outside
    /// the slots U_P3; then as table 1 says. A unit that does not verify: U_P3. Flags are ignored.
    pub(super) fn page_in(&mut self, args: [u64; 6]) -> UStatus {
        let [lpid, source, gpa, _flags, order, _] = args;
        let gfn = match self.checked_unit(lpid, source, gpa, order) {
            Ok(gfn) => gfn,
            Err(status) => return status,
        };
        let op = match self.life {
            Life::Terminated => return UStatus::State,
            Life::Normal => return UStatus::Parameter,
            Life::Transient => PageOp::TakeIn,
            Life::Secure => PageOp::PageIn,
        };
        if !self.in_slot(Gpa(gpa)) {
            return UStatus::P3;
        }
        self.step(gfn, op).err().unwrap_or(UStatus::Success)
    }

    /// UV_PAGE_OUT `(lpid, destination, source GPA, flags, order)`.
    ///
    /// *Refuses* as [`Self::page_in`]; for a terminated VM it is a successful no-op. The
    /// document's SNAPSHOT flag is ignored, as firmware does.
    pub(super) fn page_out(&mut self, args: [u64; 6]) -> UStatus {
        let [lpid, destination, gpa, _flags, order, _] = args;
        let gfn = match self.checked_unit(lpid, destination, gpa, order) {
            Ok(gfn) => gfn,
            Err(status) => return status,
        };
        match self.life {
            Life::Terminated => return UStatus::Success,
            Life::Normal => return UStatus::Parameter,
            Life::Transient | Life::Secure => {}
        }
        if !self.in_slot(Gpa(gpa)) {
            return UStatus::P3;
        }
        self.step(gfn, PageOp::PageOut).err().unwrap_or(UStatus::Success)
    }

    /// UV_PAGE_INVAL `(lpid, GPA, order)`: the hypervisor took back the page of a shared unit.
    ///
    /// *Refuses*: a wrong order U_P3; unknown lpid, or a VM that the ultravisor does not
    /// protect, U_PARAMETER; a GPA that is no unit's or outside the slots U_P2; then as table 1 says.
    pub(super) fn page_inval(&mut self, args: [u64; 6]) -> UStatus {
        let [lpid, gpa, order, ..] = args;
        let unit = self.memory.unit();
        if order != u64::from(unit.order()) {
            return UStatus::P3;
        }
        if lpid != LPID || matches!(self.life, Life::Normal | Life::Terminated) {
            return UStatus::Parameter;
        }
        if !unit.aligned(Gpa(gpa)) || !self.in_slot(Gpa(gpa)) {
            return UStatus::P2;
        }
        self.step(unit.gfn(Gpa(gpa)), PageOp::Inval).err().unwrap_or(UStatus::Success)
    }

    /// The checks that page-in and page-out share, in firmware's order, up to the lpid.
    ///
    /// A host page is given by its real address. This machine's hypervisor backs each unit by
    /// the normal page of its own; any other is refused as one in the secure range would be.
    fn checked_unit(&self, lpid: u64, page: u64, gpa: u64, order: u64) -> Result<Gfn, UStatus> {
        let unit = self.memory.unit();
        if order != u64::from(unit.order()) {
            return Err(UStatus::P5);
        }
        if page.checked_sub(NORMAL_BASE) != Some(gpa) || !unit.aligned(Gpa(gpa)) {
            return Err(UStatus::P2);
        }
        if lpid != LPID {
            return Err(UStatus::Parameter);
        }
        Ok(unit.gfn(Gpa(gpa)))
    }
}
