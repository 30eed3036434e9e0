//! Share in place: a buffer's units are shared for as long as a device has it (pKVM's way).
//!
//! No bounce pool, but sharing and taking back both zero a unit (ultravisor document,
//! UV_SHARE_PAGE), so its contents are carried around each. And all that lies in the unit beside the
//! buffer is the host's to read meanwhile.
#![expect(unsafe_code, reason = "carries the contents of units by address")]

use crate::calls::Trouble;
use crate::dma::lent::{LentUnits, units_touched};
use crate::heap::{UNIT_BYTES, own_units_untouched};
use crate::secure::{share, take_back};
use crate::start::image_end;
use core::ptr;
use ultravisor_abi::{Gfn, Gpa, UnitSize};

/// What lends units.
pub struct InPlace {
    unit: UnitSize,
    lent: LentUnits,
    /// A unit of its own that contents wait in.
    scratch: *mut u8,
}

impl InPlace {
    /// A guest whose units have this size.
    pub fn new(unit: UnitSize) -> Self {
        let bytes = unit.bytes() as usize;
        let scratch = own_units_untouched(bytes, bytes.max(UNIT_BYTES));
        Self { unit, lent: LentUnits::new(), scratch }
    }

    /// Lends the units of `bytes` bytes at `address`.
    ///
    /// # Errors
    /// `share-kernel` if that would zero the code that runs; as [`share`].
    pub fn lend(&mut self, address: u64, bytes: u64) -> Result<(), Trouble> {
        for unit in units_touched(address, bytes, self.unit.order()) {
            if self.unit.start(Gfn(unit)).0 < image_end() {
                return Err(Trouble::failed("share-kernel"));
            }
            if self.lent.lend(unit) {
                self.carry(unit, share)?;
            }
        }
        Ok(())
    }

    /// Takes them back, with what the device wrote.
    ///
    /// # Errors
    /// As [`take_back`].
    pub fn take_back(&mut self, address: u64, bytes: u64) -> Result<(), Trouble> {
        for unit in units_touched(address, bytes, self.unit.order()) {
            if self.lent.take_back(unit) {
                self.carry(unit, take_back)?;
            }
        }
        Ok(())
    }

    /// Nothing is lent any more: all shares were taken back at once.
    pub fn forget(&mut self) {
        self.lent = LentUnits::new();
    }

    /// Does `change` to a unit and keeps its contents.
    fn carry(
        &self,
        unit: u64,
        change: fn(UnitSize, Gpa, u64) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let start = self.unit.start(Gfn(unit));
        let bytes = self.unit.bytes();
        let contents = ptr::with_exposed_provenance_mut::<u8>(start.0 as usize);
        // SAFETY: a whole unit of RAM above this image, and the scratch unit, which is this
        // value's alone. Nothing between the copies looks at what lies in the unit: the stack and
        // this value are elsewhere, and the driver that lent the buffer is waiting.
        unsafe {
            ptr::copy_nonoverlapping(contents, self.scratch, bytes as usize);
            change(self.unit, start, bytes)?;
            ptr::copy_nonoverlapping(self.scratch, contents, bytes as usize);
        }
        Ok(())
    }
}
