//! Memory slots and the partition-table entry: what the hypervisor tells about a VM.

use super::{LPID, Ultravisor};
use crate::svm::Life;
use ultravisor_abi::{Gpa, UStatus};

/// A range of guest memory that the hypervisor registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MemSlot {
    pub start: Gpa,
    pub bytes: u64,
    pub id: u64,
}

impl MemSlot {
    fn end(&self) -> u64 {
        self.start.0 + self.bytes
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.start.0 < other.end() && other.start.0 < self.end()
    }
}

impl Ultravisor {
    /// Whether the unit that begins at `start` lies in a registered slot.
    pub(super) fn in_slot(&self, start: Gpa) -> bool {
        let unit = self.memory.unit().bytes();
        let below = self.slots.range(..=start.0).next_back();
        below
            .is_some_and(|(_, slot)| start.0.checked_add(unit).is_some_and(|end| end <= slot.end()))
    }

    /// Whether all of `start..end` lies in registered slots, which may adjoin each other. Costs
    /// follow the number of slots, not of units.
    pub(super) fn in_slots(&self, start: Gpa, end: Gpa) -> bool {
        let mut covered = start.0;
        while covered < end.0 {
            match self.slots.range(..=covered).next_back() {
                Some((_, slot)) if slot.end() > covered => covered = slot.end(),
                Some(_) | None => return false,
            }
        }
        true
    }

    /// UV_REGISTER_MEM_SLOT `(lpid, start, bytes, flags, id)`: reserves, does not populate.
    /// (Firmware populates; nothing depends on it here but time at registration.)
    ///
    /// *Refuses*, in this order: unknown lpid, or a terminated VM, U_PARAMETER; a start that is no
    /// unit's or not RAM U_P2; a size that is zero, no multiple of the unit or past the RAM U_P3;
    /// flags U_P4; an id over 16 bits or in use, or an overlap, U_P5; more than the secure memory
    /// there is, U_PARAMETER.
    pub(super) fn register_mem_slot(&mut self, args: [u64; 6]) -> UStatus {
        let [lpid, start, bytes, flags, id, _] = args;
        let unit = self.memory.unit();
        let start = Gpa(start);
        if lpid != LPID || self.life == Life::Terminated {
            return UStatus::Parameter;
        }
        if !unit.aligned(start) || !self.memory.is_ram(start, unit.bytes()) {
            return UStatus::P2;
        }
        if bytes == 0 || bytes % unit.bytes() != 0 || !self.memory.is_ram(start, bytes) {
            return UStatus::P3;
        }
        if flags != 0 {
            return UStatus::P4;
        }
        let slot = MemSlot { start, bytes, id };
        if id > u64::from(u16::MAX)
            || self.slots.values().any(|other| other.id == id || other.overlaps(&slot))
        {
            return UStatus::P5;
        }
        let reserved: u64 = self.slots.values().map(|slot| slot.bytes).sum();
        if reserved.saturating_add(bytes) > self.config.secure_bytes {
            return UStatus::Parameter;
        }
        self.slots.insert(start.0, slot);
        UStatus::Success
    }

    /// UV_UNREGISTER_MEM_SLOT `(lpid, id)`.
    ///
    /// *Refuses*: unknown lpid U_PARAMETER; unknown id, or a live SVM's slot, U_P2.
    pub(super) fn unregister_mem_slot(&mut self, args: [u64; 6]) -> UStatus {
        let [lpid, id, ..] = args;
        if lpid != LPID {
            return UStatus::Parameter;
        }
        if self.life == Life::Secure {
            return UStatus::P2;
        }
        let before = self.slots.len();
        self.slots.retain(|_, slot| slot.id != id);
        if self.slots.len() < before { UStatus::Success } else { UStatus::P2 }
    }

    /// UV_WRITE_PATE `(lpid, dw0, dw1)`: the hypervisor may not change an SVM's entry.
    ///
    /// *Refuses*: unknown lpid U_PARAMETER; a VM that is or was secure U_PERMISSION.
    pub(super) fn write_pate(&mut self, args: [u64; 6]) -> UStatus {
        let [lpid, dw0, dw1, ..] = args;
        if lpid != LPID {
            return UStatus::Parameter;
        }
        match self.life {
            Life::Normal => {
                self.pate = [dw0, dw1];
                UStatus::Success
            }
            Life::Transient | Life::Secure | Life::Terminated => UStatus::Permission,
        }
    }

    /// The VM's partition-table entry, as last written.
    pub fn pate(&self) -> [u64; 2] {
        self.pate
    }

    /// UV_SVM_TERMINATE `(lpid)`. A normal VM stays what it is (kernel's table of VM states; the
    /// ABI document says U_INVALID); a transient one is normal again.
    ///
    /// *Refuses*: unknown lpid U_PARAMETER.
    pub(super) fn svm_terminate(&mut self, args: [u64; 6]) -> UStatus {
        if args[0] != LPID {
            return UStatus::Parameter;
        }
        if self.life != Life::Normal {
            self.abort();
            self.slots.clear();
        }
        UStatus::Success
    }
}
