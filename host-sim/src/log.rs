//! What a run leaves behind: the log, how it ended, and the hash over it.

use crate::event::{DeviceIndex, Ended, Record};
use crate::image::Place;

/// The word of [`Ended::SvmTerminated`] when the ultravisor ended the VM because a page-in failed
/// verification (`on_tamper: Terminate`).
pub const BY_TAMPERING: &str = "tampering";

/// One finished run.
#[derive(Clone, Debug)]
pub struct RunLog {
    /// What happened, in order.
    pub records: Vec<Record>,
    /// What stopped the run.
    pub ended: Ended,
    /// BLAKE3 over the binary event records.
    pub hash: [u8; 32],
    /// What the images' files name of guest memory.
    pub places: Vec<Place>,
    /// Devices left in DEVICE_NEEDS_RESET.
    pub needs_reset: Vec<DeviceIndex>,
    /// Whether the run says what would follow rather than what does.
    pub what_if: bool,
    /// The runs of the plan's twins, to compare with.
    pub twins: Vec<RunLog>,
}

impl RunLog {
    /// The hash as 64 lower-case hex digits.
    pub fn hash_hex(&self) -> String {
        self.hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
