//! What the host side does to guest memory of its own accord: the list that a hypercall names, and
//! pages that a balloon gives back.

use super::{By, HostSide, Written};
use crate::event::{Direction, Event, Part};
use crate::iommu::tce::LIST_MAX;
use crate::iommu::{PAGE_BYTES, Run};
use ultravisor::{Life, PageState};
use ultravisor_abi::{Gpa, HStatus, Hcall};

/// Bytes that are given back in one work unit of the run's budget.
const DISCARDED_BYTES_PER_UNIT: u64 = 256;

/// Bytes of a TCE.
const TCE_BYTES: u64 = 8;

impl HostSide {
    /// A hypercall of the guest's: as it is, or as the ultravisor reflected it.
    pub fn hypercall(&mut self, call: Hcall, args: [u64; 6], by_ultravisor: bool) -> HStatus {
        match call {
            Hcall::PutTceIndirect => {
                let status = self.put_tce_indirect(args);
                self.hv.recorder.push(Event::HvCall { call, args, status, by_ultravisor });
                status
            }
            Hcall::PutTce
            | Hcall::StuffTce
            | Hcall::LogicalCiLoad
            | Hcall::LogicalCiStore
            | Hcall::PutTermChar
            | Hcall::Cede
            | Hcall::SvmPageIn
            | Hcall::SvmPageOut
            | Hcall::SvmInitStart
            | Hcall::SvmInitDone
            | Hcall::SvmInitAbort => {
                if by_ultravisor {
                    ultravisor::Hypervisor::hcall(&mut self.hv, &mut self.uv, call, args)
                } else {
                    self.hv.guest_hcall(&mut self.uv, call, args)
                }
            }
        }
    }

    /// H_PUT_TCE_INDIRECT `(LIOBN, I/O address, list, count)`. The list is read like any other
    /// guest memory: if it is secure it is paged out, and its entries are ciphertext. Entries are
    /// little-endian, as this guest is.
    fn put_tce_indirect(&mut self, args: [u64; 6]) -> HStatus {
        let [liobn, ioba, list, count, ..] = args;
        let in_one_page = count <= LIST_MAX && list.is_multiple_of(PAGE_BYTES);
        if !in_one_page || self.hv.iommus.tces.entries(liobn, ioba, count).is_err() {
            return HStatus::Parameter;
        }
        let mut bytes = vec![0; (count * TCE_BYTES) as usize];
        if !self.read_for_call(Gpa(list), &mut bytes) {
            return HStatus::Parameter;
        }
        let (quads, _) = bytes.as_chunks();
        let tces: Vec<u64> = quads.iter().map(|quad| u64::from_le_bytes(*quad)).collect();
        self.hv.put_tces([liobn, ioba], &tces)
    }

    /// The hypervisor reads memory that a call names. `false`: it is not RAM, or cannot be paged
    /// out.
    fn read_for_call(&mut self, gpa: Gpa, out: &mut [u8]) -> bool {
        let run = Run { gpa, bytes: out.len() as u64 };
        if out.is_empty() {
            return true;
        }
        let (part, direction) = (Part::Hypercall, Direction::Read);
        let by = By { device: None, queue: None, part, direction, chain: None };
        if !self.uv.memory().is_ram(gpa, run.bytes) || self.touch_run(&by, run).is_err() {
            return false;
        }
        if self.secrets.any() {
            self.look_for_leak(&[run]);
        }
        self.normal.read(gpa, out)
    }

    /// QEMU gives a page back to the operating system; what is read there next is zero.
    ///
    /// A secure page is not QEMU's to give: KVM unmaps it, the ultravisor refuses to let go of it
    /// (UV_PAGE_INVAL of a secure page; facts 2.6: a unit keeps its secure page for ever), and
    /// nothing comes back. Of a unit that is paged out the host holds the only copy, and a page
    /// is less than the unit: QEMU leaves it alone, as it does with parts of a host page.
    pub(super) fn discard_page(&mut self, page: Gpa) -> u64 {
        self.hv.recorder.host_works(PAGE_BYTES / DISCARDED_BYTES_PER_UNIT);
        let unit = self.uv.memory().unit();
        let gfn = unit.gfn(page);
        match self.uv.memory().state(gfn) {
            PageState::Normal | PageState::Shared => {
                let bytes = PAGE_BYTES;
                self.uv.memory_mut().note_write(gfn);
                self.normal.write(page, &[0; PAGE_BYTES as usize]);
                self.written.push(Written { gpa: page, bytes });
                bytes
            }
            PageState::Secure => {
                // KVM unmaps whole units: once, with the first of their pages.
                if self.uv.life() == Life::Secure && unit.start(gfn) == page {
                    self.hv.invalidate(&mut self.uv, gfn);
                }
                0
            }
            PageState::PagedOut
            | PageState::SharedInv
            | PageState::HvSharing
            | PageState::HvShared
            | PageState::HvSharedInv
            | PageState::HvUnsharing
            | PageState::HvUnsharingInv
            | PageState::HvUnshared => 0,
        }
    }
}
