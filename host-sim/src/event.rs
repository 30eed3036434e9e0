//! The words of the log: everything that a run can tell, as one enum.
//!
//! Parts of the machine say what happened, once, where they know it. Counters, outcome, verdict
//! and every output are folds over the log; none of them sees the machine.

use serde::{Deserialize, Serialize};
use ultravisor::{Effect, Life, PageOp, PageState};
use ultravisor_abi::ucall::Caller;
use ultravisor_abi::{HStatus, Hcall, ReportKind, UStatus, Ucall};

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number, from 0.
    pub seq: u64,
    /// Virtual time at which it begins, in nanoseconds.
    pub t_ns: u64,
    /// What happened.
    pub event: Event,
}

/// How much of a frame is kept in the log: the headers of common protocols.
pub const FRAME_HEAD_BYTES: usize = 128;

/// What happened. In NDJSON `kind` is the dotted name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields)]
pub enum Event {
    /// The guest came back to the hypervisor.
    #[serde(rename = "exit")]
    Exit {
        /// Why.
        reason: ExitReason,
    },
    /// An ultracall ended.
    #[serde(rename = "uv.call")]
    UvCall {
        /// Who issued it.
        #[serde(with = "names::caller")]
        caller: Caller,
        /// Which.
        #[serde(with = "names::ucall")]
        call: Ucall,
        /// Its arguments.
        args: [u64; 6],
        /// Its status.
        #[serde(with = "names::ustatus")]
        status: UStatus,
    },
    /// A hypercall ended.
    #[serde(rename = "hv.call")]
    HvCall {
        /// Which.
        #[serde(with = "names::hcall")]
        call: Hcall,
        /// Its arguments.
        args: [u64; 6],
        /// Its status.
        #[serde(with = "names::hstatus")]
        status: HStatus,
        /// Whether the ultravisor reflected or issued it.
        by_ultravisor: bool,
    },
    /// A unit moved in the page-state table (refused moves are not moves; a `Keep` to the same
    /// state is not logged).
    #[serde(rename = "uv.page")]
    Page {
        /// Which unit.
        gfn: u64,
        /// By which row of the table.
        #[serde(with = "names::page_op")]
        op: PageOp,
        /// From.
        #[serde(with = "names::page_state")]
        from: PageState,
        /// To.
        #[serde(with = "names::page_state")]
        to: PageState,
        /// What happened to the bytes.
        #[serde(with = "names::effect")]
        effect: Effect,
        /// Payload bytes that were copied, sealed, unsealed or zeroed (0 for sealing on
        /// `pef-unsealed`).
        bytes: u64,
        /// Why, for a page-out.
        cause: Option<Cause>,
    },
    /// A page-in failed verification: the unit stays paged out.
    #[serde(rename = "uv.tampered")]
    Tampered {
        /// Which unit.
        gfn: u64,
        /// Who wrote into the ciphertext last, if anybody did.
        writer: Option<Cause>,
    },
    /// The VM's life went on.
    #[serde(rename = "svm.life")]
    Life {
        /// From.
        #[serde(with = "names::life")]
        from: Life,
        /// To.
        #[serde(with = "names::life")]
        to: Life,
    },
    /// UV_ESM took the guest in.
    #[serde(rename = "uv.measured")]
    Measured {
        /// How many units.
        units: u64,
        /// SHA-256 over (GPA, bytes) of each, in hex.
        digest: String,
    },
    /// The host side touched one unit of guest memory.
    #[serde(rename = "touch")]
    Touch {
        /// Which device; `None`: the hypervisor itself.
        device: Option<DeviceIndex>,
        /// Which queue.
        queue: Option<QueueIndex>,
        /// Doing what.
        part: Part,
        /// Which way.
        direction: Direction,
        /// Where it begins in this unit.
        gpa: u64,
        /// How many bytes in this unit.
        bytes: u64,
        /// Which unit.
        gfn: u64,
        /// The unit's state before.
        #[serde(with = "names::page_state")]
        state: PageState,
        /// What was seen.
        seen: Seen,
        /// For a unit that is not shared: the guest's call chain at the kick that caused this;
        /// `None` if no kick did.
        chain: Option<Chain>,
    },
    /// A device register was read or written.
    #[serde(rename = "mmio")]
    Register {
        /// Which device.
        device: DeviceIndex,
        /// Offset in its 4 KiB window.
        offset: u64,
        /// Whether it was written.
        write: bool,
        /// Width in bytes.
        bytes: u8,
        /// The value read or written.
        value: u64,
    },
    /// The guest notified a queue.
    #[serde(rename = "virtio_queue_notify")]
    Kick {
        /// Which device.
        device: DeviceIndex,
        /// Which queue.
        queue: QueueIndex,
        /// Where the guest was.
        chain: Chain,
    },
    /// A device took a chain from the available ring.
    #[serde(rename = "virtqueue_pop")]
    Popped {
        /// Which device.
        device: DeviceIndex,
        /// Which queue.
        queue: QueueIndex,
        /// The chain's head.
        head: u16,
        /// Bytes it may read.
        readable: u64,
        /// Bytes it may write.
        writable: u64,
    },
    /// A device put a chain into the used ring.
    #[serde(rename = "virtqueue_fill")]
    Completed {
        /// Which device.
        device: DeviceIndex,
        /// Which queue.
        queue: QueueIndex,
        /// The chain's head.
        head: u16,
        /// Bytes written, as told in the used ring.
        written: u32,
        /// Whether this is a data queue (the `requests` counter counts those).
        data: bool,
    },
    /// A device told the guest that buffers were used.
    #[serde(rename = "virtio_notify")]
    Interrupt {
        /// Which device.
        device: DeviceIndex,
        /// Which queue.
        queue: QueueIndex,
    },
    /// The guest wrote a device's status register (0 resets it).
    #[serde(rename = "virtio_set_status")]
    Status {
        /// Which device.
        device: DeviceIndex,
        /// The value as the device took it.
        status: u8,
    },
    /// A ring made no sense: the device set DEVICE_NEEDS_RESET (VERSION_1) or went silent
    /// (legacy).
    #[serde(rename = "virtio_error")]
    Broken {
        /// Which device.
        device: DeviceIndex,
        /// Which queue.
        queue: QueueIndex,
        /// Whether DEVICE_NEEDS_RESET was set.
        needs_reset: bool,
        /// What made no sense.
        reason: String,
    },
    /// QEMU got SIGBUS: a page-out failed.
    #[serde(rename = "sigbus")]
    Sigbus {
        /// Which unit.
        gfn: u64,
    },
    /// The guest waited and the clock jumped.
    #[serde(rename = "wait")]
    Wait {
        /// By what.
        by: WaitBy,
        /// How long, in nanoseconds.
        ns: u64,
    },
    /// The guest marked a moment.
    #[serde(rename = "mark")]
    Mark {
        /// Which.
        mark: Mark,
    },
    /// How much the guest has run since the last such record. Written before each mark and at the
    /// end, so that counters can be split by phase.
    #[serde(rename = "retired")]
    Retired {
        /// Instructions (a whole REP is one).
        instructions: u64,
        /// Work units (each REP iteration is one).
        units: u64,
    },
    /// The guest declared a secret.
    #[serde(rename = "secret")]
    Secret {
        /// Where.
        gpa: u64,
        /// How long.
        bytes: u64,
    },
    /// The guest reported by name.
    #[serde(rename = "report")]
    Report {
        /// What kind.
        #[serde(with = "names::report")]
        report: ReportKind,
        /// The name, escaped.
        name: String,
    },
    /// Console output by H_PUT_TERM_CHAR or virtio-console (then with its device), raw bytes.
    #[serde(rename = "console")]
    Console {
        /// Which device; `None`: the hypervisor's console.
        device: Option<DeviceIndex>,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The guest ran its which-DMA-path predicate.
    #[serde(rename = "dma.decide")]
    Decision {
        /// What it returned.
        path: u64,
        /// Instructions inside, those of probed calls inside it left out: they are told with those.
        instructions: u64,
    },
    /// `dma_map` returned.
    #[serde(rename = "dma.map")]
    DmaMap {
        /// The buffer.
        address: u64,
        /// Its length.
        bytes: u64,
        /// 0 to-device, 1 from-device, 2 both.
        direction: u64,
        /// The address for the device.
        dma: u64,
        /// Instructions inside, those of probed calls inside it left out: they are told with those.
        instructions: u64,
    },
    /// `dma_unmap` returned.
    #[serde(rename = "dma.unmap")]
    DmaUnmap {
        /// The address for the device.
        dma: u64,
        /// Its length.
        bytes: u64,
        /// 0 to-device, 1 from-device, 2 both.
        direction: u64,
        /// Instructions inside, those of probed calls inside it left out: they are told with those.
        instructions: u64,
    },
    /// `dma_alloc` returned.
    #[serde(rename = "dma.alloc")]
    DmaAlloc {
        /// How much.
        bytes: u64,
        /// The address for the device.
        dma: u64,
    },
    /// `dma_free` returned.
    #[serde(rename = "dma.free")]
    DmaFree {
        /// The address for the device.
        dma: u64,
        /// How much.
        bytes: u64,
    },
    /// `swiotlb_bounce` was entered.
    #[serde(rename = "swiotlb_bounced")]
    Bounce {
        /// The slot's address.
        slot: u64,
        /// The original buffer.
        original: u64,
        /// How much.
        bytes: u64,
        /// Whether from the slot back to the buffer.
        back: bool,
    },
    /// A device was given an address that came from neither `dma_map` nor `dma_alloc`.
    #[serde(rename = "dma.foreign")]
    Foreign {
        /// Which device.
        device: DeviceIndex,
        /// Which queue.
        queue: QueueIndex,
        /// The address.
        dma: u64,
    },
    /// The balloon took pages, or gave them back: one chain's.
    #[serde(rename = "balloon")]
    Balloon {
        /// Which device.
        device: DeviceIndex,
        /// Whether it took them.
        inflate: bool,
        /// How many pages of 4 KiB.
        pages: u64,
        /// How many more numbers named no page of guest RAM; QEMU skips those.
        skipped: u64,
        /// Bytes that the host got back.
        reclaimed: u64,
    },
    /// QEMU, told of the switch, turned `iommu_platform` on for a device.
    #[serde(rename = "qemu.flip")]
    Flip {
        /// Which device.
        device: DeviceIndex,
    },
    /// QEMU plugged a device while the guest ran.
    #[serde(rename = "qemu.plug")]
    Plugged {
        /// Which device.
        device: DeviceIndex,
    },
    /// A vhost back end asked QEMU for a translation.
    #[serde(rename = "vhost.iotlb_miss")]
    IotlbMiss {
        /// Which device.
        device: DeviceIndex,
        /// Which queue.
        queue: QueueIndex,
        /// The address.
        dma: u64,
    },
    /// How many translations a vhost back end knew during one step.
    #[serde(rename = "vhost.iotlb_hits")]
    IotlbHits {
        /// Which device.
        device: DeviceIndex,
        /// Which queue.
        queue: QueueIndex,
        /// How many.
        hits: u64,
    },
    /// A frame went over the wire, as everybody on it sees it.
    #[serde(rename = "net.frame")]
    Frame {
        /// Which device.
        device: DeviceIndex,
        /// Which queue: 0 the guest received it, 1 it sent it.
        queue: QueueIndex,
        /// Its length.
        bytes: u64,
        /// Its first bytes, [`FRAME_HEAD_BYTES`] at most; in NDJSON in hex.
        #[serde(with = "names::hex")]
        head: Vec<u8>,
    },
    /// The guest was interrupted: its handler is next.
    #[serde(rename = "cpu.interrupt")]
    Taken {
        /// Which entry of its table of handlers.
        vector: u8,
    },
    /// The guest, which had halted, was woken: what woke it is delivered next.
    #[serde(rename = "cpu.wake")]
    Woken {
        /// By which interrupt; `None`: by a non-maskable one.
        vector: Option<u8>,
    },
    /// A declared secret showed in plain.
    #[serde(rename = "leak")]
    Leak {
        /// Where.
        place: LeakPlace,
        /// The GPA, or the offset on the device.
        at: u64,
    },
    /// The end's byte comparison.
    #[serde(rename = "compare")]
    Comparison {
        /// Which device.
        device: DeviceIndex,
        /// What.
        what: Compared,
        /// Bytes compared.
        bytes: u64,
        /// Bytes that are neither what was there before nor what the guest meant.
        wrong: u64,
        /// Offset of the first wrong one.
        first_wrong: Option<u64>,
    },
    /// The run got stuck: what one of its actors was doing then.
    #[serde(rename = "stuck.actor")]
    Actor {
        /// Which device; `None`: the guest.
        device: Option<DeviceIndex>,
        /// What.
        doing: Doing,
        /// With which queue.
        queue: Option<QueueIndex>,
        /// When it was to act next, in virtual nanoseconds.
        at_ns: Option<u64>,
        /// Where the guest was.
        chain: Option<Chain>,
    },
    /// The run got stuck with a guest that had halted: what could have woken it, and why it did not.
    #[serde(rename = "stuck.wake")]
    Unwoken {
        /// What.
        source: WakeSource,
        /// Which device, if it is one.
        device: Option<DeviceIndex>,
        /// Why not.
        why: WhyAsleep,
    },
    /// The run got stuck: where the guest spent its time.
    #[serde(rename = "stuck.hot")]
    Hot {
        /// Program counter and function.
        frame: CallFrame,
        /// How many of the samples were there.
        samples: u64,
        /// How many samples were taken, one each [`SAMPLE_UNITS`] work units.
        of: u64,
    },
    /// Leaks that were found and are not in the log, because there were too many.
    #[serde(rename = "leaks.left_out")]
    LeaksLeftOut {
        /// How many.
        count: u64,
    },
}

/// Each so many work units of the guest it is noted where the guest is. Not a round number, so
/// that a loop's length seldom divides it.
pub const SAMPLE_UNITS: u64 = 65_521;

mod encode;
mod ended;
mod log_hash;
/// How the abi's and the ultravisor's enums stand in JSON: by the field's names.
mod names;
mod words;

pub use ended::{Budget, Ended};
pub use log_hash::LogHash;
pub use words::*;
