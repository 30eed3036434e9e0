//! What a scenario file says, word for word: the types that the text is read into. What it means
//! is in `plan.rs`; `resolve.rs` leads from here to there.

use super::argument::ArgumentFile;
use super::expect::ExpectFile;
use super::known::KnownFile;
use super::matrix::AxisFile;
use super::plan::{
    Backend, Boot, CostProfile, Iommu, OnTamper, Peer, Platform, Plugged, Transport,
};
use super::reading::Located;
use super::size::{Size, Time};
use super::words::{
    Bit33Word, KexecWord, OrderWord, PlacementWord, RingsWord, SwitchWord, TceWord, WaitsWord,
};
use serde::Deserialize;

/// `Scenario(...)`.
#[derive(Debug, Deserialize)]
#[serde(rename = "Scenario", deny_unknown_fields)]
#[expect(missing_docs, reason = "each field is in the README's table of what a scenario can say")]
pub struct ScenarioFile<'a> {
    #[serde(borrow)]
    pub format: Located<'a, u32>,
    #[serde(borrow)]
    pub name: Located<'a, String>,
    #[serde(borrow)]
    pub about: Located<'a, String>,
    #[serde(borrow)]
    pub design: Option<Located<'a, String>>,
    #[serde(borrow)]
    pub machine: Option<Located<'a, MachineFile<'a>>>,
    #[serde(borrow)]
    pub guest: Option<Located<'a, GuestFile<'a>>>,
    #[serde(borrow)]
    pub limits: Option<Located<'a, LimitsFile<'a>>>,
    #[serde(borrow)]
    pub devices: Option<Located<'a, Vec<Located<'a, DeviceFile<'a>>>>>,
    #[serde(borrow)]
    pub workload: Option<Located<'a, WorkloadFile<'a>>>,
    #[serde(borrow)]
    pub matrix: Option<Located<'a, Vec<Located<'a, AxisFile<'a>>>>>,
    #[serde(borrow)]
    pub expect: Option<Located<'a, Vec<Located<'a, ExpectFile<'a>>>>>,
    #[serde(borrow)]
    pub known_failures: Option<Located<'a, Vec<Located<'a, KnownFile<'a>>>>>,
    #[serde(borrow)]
    pub claim: Option<Located<'a, ArgumentFile<'a>>>,
    #[serde(borrow)]
    pub prove: Option<Located<'a, bool>>,
}

/// `machine: (...)`.
#[derive(Debug, Deserialize)]
#[serde(rename = "machine", deny_unknown_fields)]
#[expect(missing_docs, reason = "each field is in the README's table of what a scenario can say")]
pub struct MachineFile<'a> {
    #[serde(borrow)]
    pub platform: Option<Located<'a, Platform>>,
    #[serde(borrow)]
    pub memory: Option<Located<'a, Size>>,
    #[serde(borrow)]
    pub unit: Option<Located<'a, Size>>,
    #[serde(borrow)]
    pub swiotlb: Option<Located<'a, Size>>,
    #[serde(borrow)]
    pub cost: Option<Located<'a, CostProfile>>,
    #[serde(borrow)]
    pub kick_latency: Option<Located<'a, Time>>,
    #[serde(borrow)]
    pub on_tamper: Option<Located<'a, OnTamper>>,
    #[serde(borrow)]
    pub interleave: Option<Located<'a, Interleave>>,
    #[serde(borrow)]
    pub iommu: Option<Located<'a, Iommu>>,
    #[serde(borrow)]
    pub transport: Option<Located<'a, Transport>>,
    #[serde(borrow)]
    pub fdt_nodes: Option<Located<'a, u32>>,
}

/// What is one indivisible step of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Interleave {
    /// Servicing one queue.
    Service,
    /// One touch.
    Touch,
}

/// `guest: (...)`.
#[derive(Debug, Deserialize)]
#[serde(rename = "guest", deny_unknown_fields)]
#[expect(missing_docs, reason = "each field is in the README's table of what a scenario can say")]
pub struct GuestFile<'a> {
    #[serde(borrow)]
    pub image: Option<Located<'a, ImageFile<'a>>>,
    #[serde(borrow)]
    pub boot: Option<Located<'a, Boot>>,
    #[serde(borrow)]
    pub command_line: Option<Located<'a, String>>,
    #[serde(borrow)]
    pub modules: Option<Located<'a, Vec<Located<'a, ModuleFile<'a>>>>>,
    #[serde(borrow)]
    pub secure: Option<Located<'a, bool>>,
    #[serde(borrow)]
    pub marks: Option<Located<'a, bool>>,
    #[serde(borrow)]
    pub rings: Option<Located<'a, RingsWord>>,
    #[serde(borrow)]
    pub waits: Option<Located<'a, WaitsWord>>,
    #[serde(borrow)]
    pub wait: Option<Located<'a, Time>>,
    #[serde(borrow)]
    pub budget: Option<Located<'a, u64>>,
    #[serde(borrow)]
    pub bit_33: Option<Located<'a, Bit33Word>>,
    #[serde(borrow)]
    pub tce: Option<Located<'a, TceWord>>,
    #[serde(borrow)]
    pub bug: Option<Located<'a, BugFile>>,
    #[serde(borrow)]
    pub switch: Option<Located<'a, SwitchWord>>,
    #[serde(borrow)]
    pub kexec: Option<Located<'a, KexecWord>>,
}

/// One of `modules: [...]` of a guest.
#[derive(Debug, Deserialize)]
#[serde(rename = "module", deny_unknown_fields)]
#[expect(missing_docs, reason = "each field is in the README's table of what a scenario can say")]
pub struct ModuleFile<'a> {
    #[serde(borrow)]
    pub file: Located<'a, String>,
    #[serde(borrow)]
    pub command_line: Option<Located<'a, String>>,
}

/// `limits: (...)`.
#[derive(Debug, Deserialize)]
#[serde(rename = "limits", deny_unknown_fields)]
#[expect(missing_docs, reason = "documented at `Limits`, where they lead to")]
pub struct LimitsFile<'a> {
    #[serde(borrow)]
    pub host_steps: Option<Located<'a, u64>>,
    #[serde(borrow)]
    pub calls: Option<Located<'a, u64>>,
    #[serde(borrow)]
    pub console: Option<Located<'a, Size>>,
    #[serde(borrow)]
    pub log: Option<Located<'a, u64>>,
    #[serde(borrow)]
    pub memory: Option<Located<'a, Size>>,
    #[serde(borrow)]
    pub findings: Option<Located<'a, u64>>,
}

/// `bug: ...` of a guest: what its block driver does wrong, with every how many-th data buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "documented at `BugKind`, where they lead to")]
pub enum BugFile {
    None,
    RawSecure { every: u32 },
    RawShared { every: u32 },
    RawOutside { every: u32 },
    NeverUnmap { every: u32 },
    ReadBack { every: u32 },
    FallThrough,
}

/// `image: ...`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum ImageFile<'a> {
    /// The image that is built into the binary.
    Builtin,
    /// A file below the scenario's folder.
    File(#[serde(borrow)] Located<'a, String>),
}

/// `qemu: (...)` of a device or a design: options that differ from what would be there without.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename = "qemu", deny_unknown_fields)]
#[expect(missing_docs, reason = "documented at `QemuOptions`, where they lead to")]
pub struct QemuFile<'a> {
    pub iommu_platform: Option<bool>,
    pub legacy: Option<bool>,
    pub event_idx: Option<bool>,
    pub indirect_desc: Option<bool>,
    pub ioeventfd: Option<bool>,
    #[serde(borrow)]
    pub queue_size: Option<Located<'a, u16>>,
    pub optional_33: Option<bool>,
    pub identity_bit: Option<bool>,
    pub quirk: Option<bool>,
    pub backend: Option<Backend>,
}

/// One of `devices: [...]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each field is in the README's table of what a scenario can say")]
pub enum DeviceFile<'a> {
    Blk {
        #[serde(borrow)]
        id: Located<'a, String>,
        #[serde(borrow)]
        sectors: Located<'a, u64>,
        #[serde(borrow)]
        contents: Option<Located<'a, ContentsFile<'a>>>,
        plugged: Option<Plugged>,
        #[serde(borrow)]
        qemu: Option<Located<'a, QemuFile<'a>>>,
    },
    Net {
        #[serde(borrow)]
        id: Located<'a, String>,
        #[serde(borrow)]
        peer: Option<Located<'a, Peer>>,
        plugged: Option<Plugged>,
        #[serde(borrow)]
        qemu: Option<Located<'a, QemuFile<'a>>>,
    },
    Console {
        #[serde(borrow)]
        id: Located<'a, String>,
        plugged: Option<Plugged>,
        #[serde(borrow)]
        qemu: Option<Located<'a, QemuFile<'a>>>,
    },
    Entropy {
        #[serde(borrow)]
        id: Located<'a, String>,
        plugged: Option<Plugged>,
        #[serde(borrow)]
        qemu: Option<Located<'a, QemuFile<'a>>>,
    },
    Balloon {
        #[serde(borrow)]
        id: Located<'a, String>,
        plugged: Option<Plugged>,
        #[serde(borrow)]
        qemu: Option<Located<'a, QemuFile<'a>>>,
    },
}

/// `contents: ...` of a disk.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum ContentsFile<'a> {
    /// The pattern of address and seed.
    Pattern,
    /// Zeros.
    Zero,
    /// A file below the scenario's folder; the rest is zero.
    File(#[serde(borrow)] Located<'a, String>),
}

/// `workload: ...`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each field is in the README's table of what a scenario can say")]
pub enum WorkloadFile<'a> {
    None,
    Block {
        #[serde(borrow)]
        ops: Located<'a, Vec<Located<'a, BlockOpFile<'a>>>>,
        order: Option<OrderWord>,
        placement: Option<PlacementWord>,
        refill: Option<bool>,
    },
    Net {
        #[serde(borrow)]
        ops: Located<'a, Vec<Located<'a, NetOpFile<'a>>>>,
    },
    Console {
        #[serde(borrow)]
        lines: Located<'a, u32>,
    },
    Entropy {
        #[serde(borrow)]
        requests: Located<'a, u32>,
        #[serde(borrow)]
        bytes: Located<'a, Size>,
    },
    Balloon {
        #[serde(borrow)]
        pages: Located<'a, u32>,
    },
    Mixed(#[serde(borrow)] Vec<Located<'a, WorkloadFile<'a>>>),
}

/// One step of a block workload.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each field is in the README's table of what a scenario can say")]
pub enum BlockOpFile<'a> {
    Write {
        #[serde(borrow)]
        requests: Located<'a, u32>,
        #[serde(borrow)]
        bytes: Located<'a, Size>,
    },
    Read {
        #[serde(borrow)]
        requests: Located<'a, u32>,
        #[serde(borrow)]
        bytes: Located<'a, Size>,
    },
    ReadBack,
}

/// One step of a network workload.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each field is in the README's table of what a scenario can say")]
pub enum NetOpFile<'a> {
    Transmit {
        #[serde(borrow)]
        frames: Located<'a, u32>,
        #[serde(borrow)]
        bytes: Located<'a, Size>,
    },
    Echo {
        #[serde(borrow)]
        frames: Located<'a, u32>,
        #[serde(borrow)]
        bytes: Located<'a, Size>,
    },
}

/// The right form of each thing that takes fields or values: the hint after a wrong form.
pub const FORMS: &[(&str, &str)] = &[
    ("Scenario", "Scenario(format: 1, name: \"my/first\", about: \"One sentence.\", ...)"),
    ("Design", "Design(format: 1, name: \"d99-mine\", about: \"One sentence.\", ...)"),
    ("Policy", "Policy(format: 1, name: \"mine\", about: \"One sentence.\", rules: [...])"),
    ("Blk", "Blk(id: \"disk\", sectors: 4096, contents: Pattern)"),
    (
        "Net",
        "Net(id: \"net\", peer: Echo)` (a device) or `Net(ops: [Transmit(frames: 8, bytes: \"60B\")])",
    ),
    ("Console", "Console(id: \"console\")` (a device) or `Console(lines: 8)"),
    ("Entropy", "Entropy(id: \"rng\")` (a device) or `Entropy(requests: 8, bytes: \"64B\")"),
    ("Balloon", "Balloon(id: \"balloon\")` (a device) or `Balloon(pages: 64)"),
    ("RawSecure", "RawSecure(every: 8)"),
    ("RawShared", "RawShared(every: 8)"),
    ("RawOutside", "RawOutside(every: 8)"),
    ("NeverUnmap", "NeverUnmap(every: 8)"),
    ("ReadBack", "ReadBack(every: 8)"),
    ("Block", "Block(ops: [Write(requests: 64, bytes: \"4KiB\"), ReadBack], order: Random)"),
    ("Mixed", "Mixed([Console(lines: 8), Entropy(requests: 8, bytes: \"64B\")])"),
    ("Write", "Write(requests: 64, bytes: \"4KiB\")"),
    ("Read", "Read(requests: 64, bytes: \"4KiB\")"),
    ("Transmit", "Transmit(frames: 64, bytes: \"1514B\")"),
    ("Echo", "Echo(frames: 64, bytes: \"1514B\")"),
    ("File", "File(\"own.elf\")"),
    ("Outcome", "Outcome(id: \"clean\", is: Clean)"),
    ("Finding", "Finding(id: \"tampered-too\", has: Tampered)"),
    ("Ended", "Ended(id: \"ends\", is: Exit(0))"),
    ("Count", "Count(id: \"none\", counter: \"round_trips\", phase: Steady, must: Exactly(0))"),
    ("Touches", "Touches(id: \"no-secure-data\", part: Data, state: Secure, must: Exactly(0))"),
    ("Reports", "Reports(id: \"by-name\", report: Failed, name: \"swiotlb-full\")"),
    ("Never", "Never(id: \"no-leak\", event: Leak)"),
    ("Says", "Says(id: \"greets\", text: \"hello\")"),
    ("Exactly", "Exactly(0)"),
    ("AtMost", "AtMost(8)"),
    ("AtLeast", "AtLeast(1)"),
    ("Between", "Between(1, 8)"),
    ("Design", "Design([\"d5-platform-hook\"])"),
    ("Unit", "Unit([\"4KiB\", \"64KiB\"])"),
    ("Secure", "Secure([false, true])"),
    (
        "Rule",
        "Rule(id: \"no-leak\", level: Deny, title: \"nothing leaks\", check: Never(event: Leak))",
    ),
    (
        "Waiver",
        "Waiver(rule: \"no-leak\", runs: \"*\", until: \"2027-12-31\", reason: \"why\", owner: \"who\")",
    ),
    ("Rate", "Rate(counter: \"exits\", per: \"requests\", phase: Steady, must: AtMost(2))"),
    ("NoMoreThan", "NoMoreThan(base: \"d0-legacy-bypass\", counter: \"exits\", plus: 0)"),
    ("WhoMustAct", "WhoMustAct(only: [GuestKernel])"),
    ("Qualified", "Qualified(\"the condition\")"),
    ("NotMeasurable", "NotMeasurable(\"why, and what was measured instead\")"),
];
