//! The small words that events are made of.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A device, by its place in the plan's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceIndex(pub u8);

/// A queue of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QueueIndex(pub u16);

/// What part of its work made the host side touch guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// A descriptor table entry.
    Desc,
    /// The available ring.
    Avail,
    /// The used ring.
    Used,
    /// An indirect descriptor table.
    Indirect,
    /// A request's header (virtio-blk's 16 bytes, virtio-net's 12).
    Header,
    /// A request's data.
    Data,
    /// virtio-blk's status byte.
    Status,
    /// Memory that a hypercall names (e.g. the list of H_PUT_TCE_INDIRECT).
    Hypercall,
}

impl Part {
    /// Every part, in the order of the `round_trips.PART` counters.
    pub const ALL: [Self; 8] = [
        Self::Desc,
        Self::Avail,
        Self::Used,
        Self::Indirect,
        Self::Header,
        Self::Data,
        Self::Status,
        Self::Hypercall,
    ];

    /// The name used in counters and outputs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Desc => "desc",
            Self::Avail => "avail",
            Self::Used => "used",
            Self::Indirect => "indirect",
            Self::Header => "header",
            Self::Data => "data",
            Self::Status => "status",
            Self::Hypercall => "hypercall",
        }
    }
}

/// Which way bytes went in a touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The host side read.
    Read,
    /// The host side wrote.
    Write,
}

impl Direction {
    /// What the host side was doing.
    pub const fn doing(self) -> &'static str {
        match self {
            Self::Read => "reading",
            Self::Write => "writing",
        }
    }
}

/// What a touch saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// The guest's bytes.
    Plain,
    /// Ciphertext.
    Sealed,
    /// A page of the host's own.
    Own,
    /// Nothing: the access failed (page-out refused, outside memory, not mapped in the IOMMU).
    Fault,
}

/// One frame of a guest call chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallFrame {
    /// Program counter (the innermost) or return address.
    pub pc: u64,
    /// `function+0xoffset`, escaped, from the image's symbols; empty if unknown.
    pub function: String,
}

/// A guest call chain, innermost first.
pub type Chain = Arc<[CallFrame]>;

/// Why a unit was paged out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The host side touched it.
    Touch {
        /// Which device; `None`: the hypervisor itself.
        device: Option<DeviceIndex>,
        /// Which queue.
        queue: Option<QueueIndex>,
        /// Doing what.
        part: Part,
    },
    /// The hypervisor asked for it without touching it.
    Asked,
}

/// Why the guest came back to the hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitReason {
    /// A register of an emulated device, handled in QEMU.
    Mmio,
    /// A queue notification: handled in the kernel with ioeventfd, else in QEMU.
    Notify,
    /// A hypercall of a normal guest or one that the ultravisor reflected or issued.
    Hypercall,
    /// A page fault that the hypervisor must solve.
    PageFault,
    /// HLT. (H_CEDE is a hypercall; PAUSE stays in the guest, the host only lets time pass.)
    Idle,
    /// An I/O port, handled in QEMU.
    Port,
    /// A register of the local APIC or the I/O APIC, handled in the kernel.
    Apic,
    /// The guest ran, and was stopped to take an interrupt.
    Interrupt,
}

/// What the guest waited by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitBy {
    /// `pause`.
    Pause,
    /// `hlt`.
    Halt,
    /// H_CEDE.
    Cede,
    /// A page-in that failed verification is tried again when something else happens.
    Refault,
}

/// What an actor was doing when the run got stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doing {
    /// The guest executes instructions.
    Running,
    /// The guest waits by `pause`, `hlt` or H_CEDE.
    Waiting,
    /// The guest touches a unit that does not come back, again and again.
    Refaulting,
    /// The device is to serve a queue.
    Due,
    /// The device is in the middle of serving a queue, touch by touch.
    Serving,
    /// The device's back end is to look at its rings.
    Polling,
    /// The device is set up, and has nothing to do.
    Idling,
    /// The device is a PCI function that may not reach memory.
    Barred,
    /// The device is not set up, or needs a reset.
    Down,
}

/// What can wake a guest that has halted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WakeSource {
    /// The local APIC's timer.
    ApicTimer,
    /// The 8254's counter 0.
    Timer,
    /// COM1.
    Com1,
    /// A virtio device.
    Device,
}

/// Why it did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyAsleep {
    /// The clock is not set.
    Unset,
    /// It is masked, at each interrupt controller that it is at.
    Masked,
    /// It asks, and something more urgent is served or has priority.
    HeldOff,
    /// It has nothing to say.
    Quiet,
}

/// Where a byte comparison looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compared {
    /// The disk's sectors against what the guest meant to write.
    Disk,
    /// The frames sent against what the guest meant to send.
    Wire,
    /// The console's text against what the guest meant to print.
    Console,
}

/// Where a declared secret showed in plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeakPlace {
    /// In what a host-side read returned.
    Read,
    /// In normal memory at the end.
    Memory,
    /// On a disk at the end.
    Disk,
    /// In a frame.
    Wire,
    /// In console output.
    Console,
}

/// A marked moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// Initialisation is over.
    Ready,
    /// The work is done.
    Done,
    /// A name the guest gave, escaped.
    Label(String),
}
