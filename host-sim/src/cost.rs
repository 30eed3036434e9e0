//! What things cost in virtual time. Every number carries its tag; estimates stay estimates in
//! every output.
//!
//! The table is read by one fold: [`CostTable::of`] says how long an event takes, and the clock
//! advances by that. What the guest executes itself (copies, slot searches, the decision) is paid
//! in work units and never charged again here.

use crate::event::{Event, ExitReason};
use crate::scenario::plan::{CostProfile, Platform};
use ultravisor::{Effect, PageOp};
use ultravisor_abi::UnitSize;
use ultravisor_abi::ucall::Caller;

/// Where a number comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tag {
    /// Read in a published source.
    Read,
    /// Arithmetic on such numbers.
    Derived,
    /// An engineering estimate.
    Estimate,
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// In picoseconds (per event, or per byte).
    pub ps: u64,
    /// Where it comes from.
    pub tag: Tag,
    /// What it says.
    pub source: &'static str,
}

const fn cost(ps: u64, tag: Tag, source: &'static str) -> Cost {
    Cost { ps, tag, source }
}

const fn nothing() -> Cost {
    cost(0, Tag::Read, "there is no such event on this platform")
}

/// The costs of one platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostTable {
    /// One work unit of the guest.
    pub guest_unit: Cost,
    /// Guest to host kernel and back.
    pub exit: Cost,
    /// In addition, when QEMU must run.
    pub user: Cost,
    /// The guest, which had halted, is woken, without the exit of its HLT.
    pub wake: Cost,
    /// A call that the ultravisor serves itself.
    pub ultracall: Cost,
    /// One unit shared or unshared, with its hypercall, ultracall and zeroing.
    pub convert: Cost,
    /// One unit paged out, without the cipher: fault, crossings, migration, TLB flush.
    pub page_out: Cost,
    /// One unit paged in, without the cipher.
    pub page_in: Cost,
    /// The cipher, per byte and direction.
    pub cipher_byte: Cost,
    /// Taking one unit in during UV_ESM, without the copy.
    pub take_in: Cost,
    /// That copy, per byte.
    pub copy_byte: Cost,
    /// A vhost back end asks QEMU for one translation.
    pub iotlb_miss: Cost,
    /// It knows one.
    pub iotlb_hit: Cost,
}

/// The table of a platform.
pub const fn table(platform: Platform, profile: CostProfile) -> CostTable {
    match platform {
        Platform::Plain => PLAIN,
        Platform::Pef | Platform::PefUnsealed => match profile {
            CostProfile::Firmware => PEF,
            CostProfile::VectorAes => CostTable { cipher_byte: VECTOR_AES, ..PEF },
        },
    }
}

const GUEST_UNIT: Cost = cost(1_000, Tag::Estimate, "one work unit a nanosecond");

const VECTOR_AES: Cost = cost(500, Tag::Estimate, "vector AES on POWER8 and x86, with slack");

const IOTLB_MISS: Cost = cost(
    10_000_000,
    Tag::Estimate,
    "a message to QEMU and its answer, two wake-ups; no published number",
);

const IOTLB_HIT: Cost =
    cost(40_000, Tag::Estimate, "one look-up in an interval tree; no published number");

const PLAIN: CostTable = CostTable {
    guest_unit: GUEST_UNIT,
    exit: cost(1_000_000, Tag::Read, "kvm-unit-tests vmexit, CVM_eval cpuid: 450-1250 ns"),
    user: cost(1_500_000, Tag::Derived, "port-in to QEMU minus port-in to the kernel"),
    wake: cost(
        5_000_000,
        Tag::Derived,
        "fio at depth 1 by interrupt minus by polling, 6 us on Intel (CVM_eval), less one exit",
    ),
    ultracall: nothing(),
    convert: nothing(),
    page_out: nothing(),
    page_in: nothing(),
    cipher_byte: nothing(),
    take_in: nothing(),
    copy_byte: nothing(),
    iotlb_miss: IOTLB_MISS,
    iotlb_hit: IOTLB_HIT,
};

const PEF: CostTable = CostTable {
    guest_unit: GUEST_UNIT,
    exit: cost(3_700_000, Tag::Estimate, "POWER9 exit 2300 ns and two ultravisor legs"),
    user: cost(3_000_000, Tag::Estimate, "no published number"),
    wake: cost(21_300_000, Tag::Estimate, "25 us, less one exit; no published number"),
    ultracall: cost(1_000_000, Tag::Estimate, "no published number"),
    convert: cost(12_000_000, Tag::Estimate, "no published number"),
    page_out: cost(12_000_000, Tag::Estimate, "bounded by POWER9's 112 us page fault"),
    page_in: cost(12_000_000, Tag::Estimate, "bounded by POWER9's 112 us page fault"),
    cipher_byte: cost(
        20_000,
        Tag::Estimate,
        "the firmware's C code measured on x86 at 29-56 ns/B, scaled to POWER9",
    ),
    take_in: cost(12_000_000, Tag::Estimate, "as a page-in without its cipher"),
    copy_byte: cost(150, Tag::Derived, "fio with bounce buffers: 0.13-0.16 ns/B"),
    iotlb_miss: IOTLB_MISS,
    iotlb_hit: IOTLB_HIT,
};

impl CostTable {
    /// The rows with their names, for outputs.
    pub const fn rows(&self) -> [(&'static str, Cost); 13] {
        [
            ("guest work unit", self.guest_unit),
            ("exit", self.exit),
            ("exit to QEMU, in addition", self.user),
            ("wake-up of a guest that had halted, in addition", self.wake),
            ("ultracall", self.ultracall),
            ("share or unshare one unit", self.convert),
            ("page-out of one unit, without cipher", self.page_out),
            ("page-in of one unit, without cipher", self.page_in),
            ("cipher, per byte", self.cipher_byte),
            ("take-in of one unit, without copy", self.take_in),
            ("take-in copy, per byte", self.copy_byte),
            ("vhost IOTLB miss", self.iotlb_miss),
            ("vhost IOTLB hit", self.iotlb_hit),
        ]
    }

    /// How long an event takes, in nanoseconds. `unit` is charged whole for what works on units,
    /// on `pef-unsealed` too.
    pub fn of(&self, event: &Event, unit: UnitSize) -> u64 {
        let ps = match event {
            Event::Exit { reason } => self.exit_ps(*reason),
            Event::UvCall { caller, .. } => match caller {
                Caller::NormalGuest | Caller::SecureGuest => self.ultracall.ps,
                Caller::Hypervisor => 0, // part of the conversion that it serves
            },
            Event::Page { op, effect, .. } => self.page_ps(*op, *effect, unit),
            // The whole unit was read and hashed before the tag differed.
            Event::Tampered { .. } => self.page_in.ps + self.cipher_byte.ps * unit.bytes(),
            Event::Woken { .. } => self.wake.ps,
            Event::Wait { ns, .. } => ns.saturating_mul(1000),
            Event::IotlbMiss { .. } => self.iotlb_miss.ps,
            Event::IotlbHits { hits, .. } => hits.saturating_mul(self.iotlb_hit.ps),
            Event::HvCall { .. }
            | Event::Life { .. }
            | Event::Measured { .. }
            | Event::Touch { .. }
            | Event::Register { .. }
            | Event::Kick { .. }
            | Event::Popped { .. }
            | Event::Completed { .. }
            | Event::Interrupt { .. }
            | Event::Status { .. }
            | Event::Broken { .. }
            | Event::Sigbus { .. }
            | Event::Mark { .. }
            | Event::Retired { .. }
            | Event::Secret { .. }
            | Event::Report { .. }
            | Event::Console { .. }
            | Event::Decision { .. }
            | Event::DmaMap { .. }
            | Event::DmaUnmap { .. }
            | Event::DmaAlloc { .. }
            | Event::DmaFree { .. }
            | Event::Bounce { .. }
            | Event::Foreign { .. }
            | Event::Balloon { .. }
            | Event::Flip { .. }
            | Event::Plugged { .. }
            | Event::Frame { .. }
            | Event::Taken { .. }
            | Event::Unwoken { .. }
            | Event::Leak { .. }
            | Event::Comparison { .. }
            | Event::Actor { .. }
            | Event::Hot { .. }
            | Event::LeaksLeftOut { .. } => 0,
        };
        ps / 1000
    }

    const fn exit_ps(&self, reason: ExitReason) -> u64 {
        match reason {
            ExitReason::Mmio | ExitReason::Port => self.exit.ps + self.user.ps,
            ExitReason::Notify
            | ExitReason::Hypercall
            | ExitReason::Idle
            | ExitReason::Apic
            | ExitReason::Interrupt => self.exit.ps,
            ExitReason::PageFault => 0, // part of the page-in
        }
    }

    const fn page_ps(&self, op: PageOp, effect: Effect, unit: UnitSize) -> u64 {
        match op {
            PageOp::ShareCommit | PageOp::UnshareCommit => self.convert.ps,
            PageOp::PageOut => self.page_out.ps + self.cipher_byte.ps * unit.bytes(),
            PageOp::PageIn => match effect {
                Effect::Unseal => self.page_in.ps + self.cipher_byte.ps * unit.bytes(),
                Effect::Map => self.page_in.ps,
                Effect::Keep
                | Effect::Take
                | Effect::Fresh
                | Effect::Restore
                | Effect::Seal
                | Effect::ZeroNormal
                | Effect::ZeroSecure
                | Effect::Wipe => 0,
            },
            PageOp::TakeIn => self.take_in.ps + self.copy_byte.ps * unit.bytes(),
            PageOp::InitDone
            | PageOp::InitAbort
            | PageOp::ShareBegin
            | PageOp::ShareRevert
            | PageOp::UnshareBegin
            | PageOp::UnshareGrant
            | PageOp::UnshareGranted
            | PageOp::UnshareRevert
            | PageOp::Inval
            | PageOp::Terminate => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::WaitBy;
    use ultravisor::PageState;

    fn page_out() -> Event {
        Event::Page {
            gfn: 0,
            op: PageOp::PageOut,
            from: PageState::Secure,
            to: PageState::PagedOut,
            effect: Effect::Seal,
            bytes: 0,
            cause: None,
        }
    }

    /// Costs, section 2: one 64 KiB cycle is about 2.6 ms with the firmware's cipher and about
    /// 90 us with vector AES.
    #[test]
    fn one_ping_pong_costs_what_the_cost_note_says() {
        let unit = UnitSize::KIB_64;
        let firmware = table(Platform::Pef, CostProfile::Firmware).of(&page_out(), unit);
        let vector = table(Platform::Pef, CostProfile::VectorAes).of(&page_out(), unit);
        assert_eq!(2 * firmware, 2_645_440);
        assert_eq!(2 * vector, 89_536);
    }

    #[test]
    fn a_wait_takes_as_long_as_it_says() {
        let wait = Event::Wait { by: WaitBy::Pause, ns: 1234 };
        let table = table(Platform::Plain, CostProfile::Firmware);
        assert_eq!(table.of(&wait, UnitSize::KIB_4), 1234);
    }

    #[test]
    fn without_an_ultravisor_nothing_is_converted_and_nothing_charged() {
        let table = table(Platform::Plain, CostProfile::Firmware);
        assert_eq!(table.of(&page_out(), UnitSize::KIB_64), 0);
    }
}
