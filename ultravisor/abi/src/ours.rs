//! Our own calls: how a guest speaks to the experiment rather than to the machine.
//!
//! They cost no virtual time and change no page. Numbers from 0xFF00, which neither PAPR nor the
//! ultravisor uses.

/// One of our calls. The value is its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u64)]
pub enum OurCall {
    /// `rdi` a [`mark`]; for a label `rsi` and `rdx` hold its 16 bytes, lowest first.
    Mark = 0xFF00,
    /// `rdi` the exit code. Ends the run.
    Exit = 0xFF04,
    /// `rdi` GPA, `rsi` length in bytes: what lies there now is secret.
    Secret = 0xFF08,
    /// `rdi` a [`ReportKind`], `rsi` and `rdx` its name, 16 bytes, lowest first.
    Report = 0xFF0C,
}

impl OurCall {
    /// Every call, by number.
    pub const ALL: [Self; 4] = [Self::Mark, Self::Exit, Self::Secret, Self::Report];

    /// The call with this number, if there is one.
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            0xFF00 => Some(Self::Mark),
            0xFF04 => Some(Self::Exit),
            0xFF08 => Some(Self::Secret),
            0xFF0C => Some(Self::Report),
            _ => None,
        }
    }

    /// Its number, as passed in `rax`.
    pub const fn number(self) -> u64 {
        match self {
            Self::Mark => 0xFF00,
            Self::Exit => 0xFF04,
            Self::Secret => 0xFF08,
            Self::Report => 0xFF0C,
        }
    }
}

/// What [`OurCall::Mark`] marks.
pub mod mark {
    /// Initialisation is over: steady state begins.
    pub const READY: u64 = 0;
    /// The work is done: steady state ends.
    pub const DONE: u64 = 1;
    /// A named moment.
    pub const LABEL: u64 = 2;
}

/// What [`OurCall::Report`] reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u64)]
pub enum ReportKind {
    /// A request ended in an error; nothing wrong was stored or delivered.
    Failed = 0,
    /// A device or a driver was turned away before its first request.
    Refused = 1,
    /// What was read back is not what was written.
    Mismatch = 2,
}

impl ReportKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Failed, Self::Refused, Self::Mismatch];

    /// The name used in every output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Mismatch => "mismatch",
        }
    }

    /// The kind with this number, if there is one.
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::Failed),
            1 => Some(Self::Refused),
            2 => Some(Self::Mismatch),
            _ => None,
        }
    }
}
