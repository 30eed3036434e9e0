//! Our own calls: how a guest speaks to the experiment rather than to the machine.
//!
//! They cost no virtual time and change no page. Numbers from 0xFF00, which neither PAPR nor the
//! ultravisor uses. And two inventions of the thread that no specification took up, so that guest
//! and host agree where they lie.

numbered! {
    /// One of our calls.
    OurCall(u64), number, from_number {
        /// `rdi` a [`mark`]; for a label `rsi` and `rdx` hold its 16 bytes, lowest first.
        Mark = 0xFF00, "mark";
        /// `rdi` the exit code. Ends the run.
        Exit = 0xFF04, "exit";
        /// `rdi` GPA, `rsi` length in bytes, 16 or more: what lies there now is secret. There may be
        /// 256 of them, and 64 KiB in all; else `rax` says `H_PARAMETER`.
        Secret = 0xFF08, "secret";
        /// `rdi` a [`ReportKind`], `rsi` and `rdx` its name, 16 bytes, lowest first.
        Report = 0xFF0C, "report";
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

numbered! {
    /// What [`OurCall::Report`] reports.
    ReportKind(u64), number, from_number {
        /// A request ended in an error; nothing wrong was stored or delivered.
        Failed = 0, "failed";
        /// A device or a driver was turned away before its first request.
        Refused = 1, "refused";
        /// What was read back is not what was written.
        Mismatch = 2, "mismatch";
    }
}

/// Feature bit "addresses are guest-physical ones, whatever the device is behind" (D15, floated as
/// NO_TRANSLATION, then ACCESS_PLATFORM_IDENTITY_ADDRESS). Unassigned in virtio 1.2.
pub const F_IDENTITY_ADDRESS: u64 = 1 << 44;

/// Offset of the quirk register among a virtio-mmio device's registers (D13), reserved in virtio
/// 1.2. A guest writes 1, and from its next reset on the device offers bit 33.
pub const QUIRK_REGISTER: u64 = 0xF8;
