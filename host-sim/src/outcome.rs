//! The words for how a run came out.

use serde::{Deserialize, Serialize};

/// An outcome. The first that holds, in this order, is the run's; all that hold are its findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all(serialize = "snake_case"))]
pub enum Outcome {
    /// Our limit: the machine does not implement what the guest did.
    Unsupported,
    /// A declared secret showed in plain.
    Leaked,
    /// A byte comparison says so.
    Corrupted,
    /// A page-in failed verification.
    Tampered,
    /// Guest fault, VM terminated otherwise than by tampering, or QEMU killed by SIGBUS.
    Crashed,
    /// A budget used up, or nothing due.
    Stuck,
    /// A request ended in an error that the guest reported by name; or exit other than 0; or exit
    /// 0 before "done" by a guest that uses marks.
    Failed,
    /// Turned away before the first request, by name.
    Refused,
    /// The work is verified, with at least one ping-pong in steady state.
    Slow,
    /// Exit 0 and none of the others.
    Clean,
}

impl Outcome {
    /// Every outcome, worst first.
    pub const ALL: [Self; 10] = [
        Self::Unsupported,
        Self::Leaked,
        Self::Corrupted,
        Self::Tampered,
        Self::Crashed,
        Self::Stuck,
        Self::Failed,
        Self::Refused,
        Self::Slow,
        Self::Clean,
    ];

    /// The name used in every output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unsupported => "unsupported",
            Self::Leaked => "leaked",
            Self::Corrupted => "corrupted",
            Self::Tampered => "tampered",
            Self::Crashed => "crashed",
            Self::Stuck => "stuck",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Slow => "slow",
            Self::Clean => "clean",
        }
    }
}
