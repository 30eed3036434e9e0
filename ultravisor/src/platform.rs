//! What differs between platforms, and how one ultravisor is configured.

use crate::frames::NORMAL_BASE;
use ultravisor_abi::{Gpa, UnitSize};

/// Which ultravisor there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Platform {
    /// None: every ultracall is U_FUNCTION.
    Plain,
    /// Power PEF as its public firmware does it.
    Pef,
    /// A what-if: [`Platform::Pef`], but a page-out copies plaintext and a page-in takes back
    /// whatever lies there, unverified.
    PefUnsealed,
}

impl Platform {
    /// Every platform.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Pef, Self::PefUnsealed];

    /// Whether there is an ultravisor.
    pub const fn has_ultravisor(self) -> bool {
        match self {
            Self::Plain => false,
            Self::Pef | Self::PefUnsealed => true,
        }
    }

    /// Whether page-outs are encrypted and page-ins verified.
    pub const fn seals(self) -> bool {
        match self {
            Self::Plain | Self::PefUnsealed => false,
            Self::Pef => true,
        }
    }
}

/// What the ultravisor does when a page-in fails verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OnTamper {
    /// Nothing: the unit stays paged out and the guest faults again (firmware).
    Refault,
    /// It terminates the VM.
    Terminate,
}

/// A range of guest RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RamRange {
    /// The first byte, unit-aligned.
    pub start: Gpa,
    /// How many bytes, a multiple of the unit.
    pub bytes: u64,
}

impl RamRange {
    /// Its end (exclusive). A range past the address space ends with it.
    pub const fn end(&self) -> Gpa {
        Gpa(self.start.0.saturating_add(self.bytes))
    }

    /// Whether the whole of `bytes` bytes at `gpa` lies inside.
    pub fn holds(&self, gpa: Gpa, bytes: u64) -> bool {
        gpa.0 >= self.start.0 && gpa.0.checked_add(bytes).is_some_and(|end| end <= self.end().0)
    }
}

/// How an ultravisor and the memory below it are set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which ultravisor.
    pub platform: Platform,
    /// The protection unit.
    pub unit: UnitSize,
    /// Guest RAM, ascending, not overlapping.
    pub ram: Vec<RamRange>,
    /// What keys are drawn from.
    pub seed: u64,
    /// What a failed verification leads to.
    pub on_tamper: OnTamper,
    /// How much secure memory there is, in bytes: registering slots beyond it is refused.
    pub secure_bytes: u64,
    /// Most real memory that may back guest memory, in bytes of units ever written or converted;
    /// where there is an ultravisor each counts twice, since it may lie in both memories. A
    /// partition may be as large as it likes; what it uses is bounded.
    pub backed_bytes_max: u64,
}

impl Config {
    /// Whether RAM is as [`Config::ram`] and [`RamRange`] say, and below the real addresses that
    /// the two memories have.
    pub(crate) fn ram_is_sound(&self) -> bool {
        let whole = |bytes: u64| bytes.is_multiple_of(self.unit.bytes());
        let sound = |range: &RamRange| {
            range.bytes > 0
                && whole(range.start.0)
                && whole(range.bytes)
                && range.end().0 <= NORMAL_BASE
        };
        !self.ram.is_empty()
            && self.ram.iter().all(sound)
            && self.ram.is_sorted_by(|a, b| a.end() <= b.start)
    }
}
