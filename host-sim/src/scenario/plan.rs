//! What a scenario means: one run, with every name resolved, every default filled, every limit
//! checked. The machine is built from this and from nothing else.

use super::argument::Argument;
use super::design::Layer;
use super::limits::Limits;
use crate::image::Protocol;
use firmware::bootargs::{Rings, Waits};
use firmware::kernel::{Bug, Kernel, Kexec, Switch, Tce};
use firmware::workload::Work;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use ultravisor_abi::UnitSize;

/// Which ultravisor there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(serialize = "kebab-case"))]
pub enum Platform {
    /// None.
    Plain,
    /// Power PEF as its public firmware does it.
    Pef,
    /// A what-if: states, calls and charged times of PEF, but page-out copies plaintext and
    /// page-in takes back whatever lies there, unverified.
    PefUnsealed,
}

/// Which cost table the virtual clock follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(serialize = "kebab-case"))]
pub enum CostProfile {
    /// Page crypto as the public firmware does it: table-driven C, 20 ns/B (default).
    Firmware,
    /// Page crypto with vector AES, 0.5 ns/B: a what-if.
    VectorAes,
}

/// What happens when a page-in fails verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(serialize = "kebab-case"))]
pub enum OnTamper {
    /// The guest faults again for ever, as the firmware lets it (default).
    Refault,
    /// The ultravisor terminates the VM.
    Terminate,
}

/// Which IOMMU lies between the devices and guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(serialize = "kebab-case"))]
pub enum Iommu {
    /// pseries' TCE tables: each device has a DMA window (default). A device uses it only if bit
    /// 33 says so.
    Tce,
    /// None, as on s390: bit 33 changes nothing about an address.
    Absent,
    /// A virtio-iommu device. An endpoint that no domain is attached to bypasses it (D16).
    VirtioIommu,
}

/// What the FDT reserves for devices that reach only a part of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(serialize = "kebab-case"))]
pub enum Describes {
    /// Nothing.
    Nothing,
    /// One range, of the size of the swiotlb pool and the rings, that every device is limited to
    /// (D9).
    DmaRange,
    /// A pool for each device: `restricted-dma-pool` (D22).
    RestrictedPools,
}

/// How the guest reaches its virtio devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(serialize = "kebab-case"))]
pub enum Transport {
    /// Registers at fixed addresses (virtio 1.4, 4.2).
    #[default]
    Mmio,
    /// Functions on a PCI bus, modern ones, with MSI-X (virtio 1.4, 4.1).
    Pci,
}

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachinePlan {
    /// Which ultravisor.
    pub platform: Platform,
    /// Guest RAM in bytes: a multiple of the unit, at most 16 TiB.
    pub memory_bytes: u64,
    /// The protection unit.
    pub unit: UnitSize,
    /// The guest's swiotlb pool in bytes.
    pub swiotlb_bytes: u64,
    /// Cost table.
    pub cost: CostProfile,
    /// From a kick to the device's first touch, in nanoseconds (default 3000, estimate).
    pub kick_latency_ns: u64,
    /// What a failed page-in leads to.
    pub on_tamper: OnTamper,
    /// Whether each touch of a device is a step of its own.
    pub interleave_touch: bool,
    /// Which IOMMU.
    pub iommu: Iommu,
    /// How the guest reaches its devices.
    pub transport: Transport,
    /// What the FDT reserves.
    pub describes: Describes,
    /// How many nodes the FDT has at least: it is filled up with nodes that mean nothing.
    pub fdt_nodes: u32,
    /// Whether the hypervisor tells QEMU at UV_ESM, and QEMU turns `iommu_platform` on for each
    /// device that is plugged then (D6).
    pub flips_at_esm: bool,
}

/// Which image the guest runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImagePlan {
    /// The kernel's stand-in that is built into the binary.
    Builtin,
    /// A file beside the scenario.
    File {
        /// Its path as the scenario wrote it.
        path: String,
        /// Its bytes, already checked as an ELF image.
        bytes: Arc<[u8]>,
    },
}

/// How the guest is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(serialize = "kebab-case"))]
pub enum Boot {
    /// Boot firmware loads the image from a disk of its own, `boot`.
    Slof,
    /// The machine loads the image (boot protocol `elf64`).
    Elf64,
    /// The machine loads the image as a Multiboot 1 loader does.
    Multiboot1,
    /// The machine loads the image as Xen does for a PVH guest.
    Pvh,
}

impl Boot {
    /// All, in the order of the README's chapter.
    pub const ALL: [Self; 4] = [Self::Elf64, Self::Slof, Self::Multiboot1, Self::Pvh];

    /// How the guest's image is started in the end.
    pub const fn protocol(self) -> Protocol {
        match self {
            Self::Slof | Self::Elf64 => Protocol::Elf64,
            Self::Multiboot1 => Protocol::Multiboot1,
            Self::Pvh => Protocol::Pvh,
        }
    }

    /// As a scenario writes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Slof => "Slof",
            Self::Elf64 => "Elf64",
            Self::Multiboot1 => "Multiboot1",
            Self::Pvh => "Pvh",
        }
    }
}

impl From<Protocol> for Boot {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Elf64 => Self::Elf64,
            Protocol::Multiboot1 => Self::Multiboot1,
            Protocol::Pvh => Self::Pvh,
        }
    }
}

/// A file that a loader puts into the guest's memory beside its image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModulePlan {
    /// Its path as the scenario wrote it.
    pub path: String,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
    /// What the guest is told with it. Default: nothing.
    pub command_line: String,
}

/// The guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestPlan {
    /// Which image.
    pub image: ImagePlan,
    /// How it is started. Default: as the image announces it, by a Multiboot header or a PVH note;
    /// one that announces nothing by `Elf64`.
    pub boot: Boot,
    /// Why it is started so, in words.
    pub boot_because: String,
    /// Its command line, for `Multiboot1` and `Pvh`: at most 4095 bytes. Default: empty.
    pub command_line: String,
    /// Files that lie in its memory when it starts, for `Multiboot1` and `Pvh`: at most 64.
    pub modules: Vec<ModulePlan>,
    /// Whether the FDT shows an ultravisor and the guest is told to call UV_ESM.
    pub secure: bool,
    /// Whether it marks ready and done. If not, all is steady state.
    pub marks: bool,
    /// What its kernel does about DMA (from the design).
    pub kernel: Kernel,
    /// How it maps many pages at once.
    pub tce: Tce,
    /// What its block driver does wrong, if anything.
    pub bug: Option<Bug>,
    /// When it becomes secure.
    pub switch: Switch,
    /// Whether a new kernel takes over in the middle of the work.
    pub kexec: Kexec,
    /// Whether boot firmware knows the TCE IOMMU (from the design).
    pub slof_tce: bool,
    /// Where its rings lie under direct DMA.
    pub rings: Rings,
    /// What it does while it waits for a device.
    pub waits: Waits,
    /// Bound of its waits, in virtual nanoseconds.
    pub wait_ns: u64,
    /// Work units after which the run ends as `budget(work-units)`.
    pub units_max: u64,
}

/// What a disk holds at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// The pattern of address and seed (`firmware::pattern`).
    Pattern,
    /// Zeros.
    Zero,
    /// A file beside the scenario; the rest is zero.
    File {
        /// Its path as the scenario wrote it.
        path: String,
        /// Its bytes.
        bytes: Arc<[u8]>,
    },
}

/// Who is at the other end of a network device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(serialize = "kebab-case"))]
pub enum Peer {
    /// Takes frames and says nothing.
    Sink,
    /// Sends each frame back.
    Echo,
}

/// A device's kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// virtio-blk.
    Blk {
        /// Size in sectors of 512 bytes.
        sectors: u64,
        /// What it holds at the start.
        contents: Contents,
    },
    /// virtio-net.
    Net {
        /// Who answers.
        peer: Peer,
    },
    /// virtio-console.
    Console,
    /// virtio-rng.
    Entropy,
    /// virtio-balloon.
    Balloon,
}

/// Who serves a device's queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(serialize = "kebab-case"))]
pub enum Backend {
    /// QEMU itself.
    #[default]
    Qemu,
    /// A vhost-like back end: with bit 33 it looks up each address in an IOTLB of its own, and a
    /// miss asks QEMU.
    Vhost,
    /// A thread of QEMU's that polls the rings and needs no notification.
    Poll,
}

/// When a device is plugged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(serialize = "kebab-case"))]
pub enum Plugged {
    /// It is there from the start.
    #[default]
    AtStart,
    /// Once the VM is secure; before, its place is empty (device id 0). A VM that is not to become
    /// secure has no switch to wait for: there it is plugged at the start.
    AfterSwitch,
}

/// QEMU's options of one device. Names and defaults are those of pseries' virtio-pci in 2018,
/// except `event_idx` (off: the guest driver's wrap handling loses kicks after 65,535 requests).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct QemuOptions {
    /// `iommu_platform`: offer bit 33 and put the device behind the TCE IOMMU. Default off.
    pub iommu_platform: bool,
    /// Present the legacy interface: no VERSION_1, no bits 32 and above. Default off.
    pub legacy: bool,
    /// `event_idx`. Default off.
    pub event_idx: bool,
    /// `indirect_desc`. Default on.
    pub indirect_desc: bool,
    /// `ioeventfd`: notifications are served by a thread of QEMU's, not inside the exit. Default
    /// on.
    pub ioeventfd: bool,
    /// `queue-size`. Default 256 (virtio-blk and virtio-net), at most 1024.
    pub queue_size: u16,
    /// With `iommu_platform`: a driver that does not accept bit 33 is served all the same, and
    /// its addresses are physical (D18). Default off.
    pub optional_33: bool,
    /// Offer the identity-address bit (D15; not in the virtio specification): a driver that
    /// accepts it promises physical addresses, and one that does not is served as ever. Default
    /// off.
    pub identity_bit: bool,
    /// Have the quirk register: a driver that writes it gets `iommu_platform` from its next reset
    /// on (D13; not in the virtio specification). Default off.
    pub quirk: bool,
    /// Who serves the queues. Default QEMU.
    pub backend: Backend,
}

impl Default for QemuOptions {
    fn default() -> Self {
        Self {
            iommu_platform: false,
            legacy: false,
            event_idx: false,
            indirect_desc: true,
            ioeventfd: true,
            queue_size: 256,
            optional_33: false,
            identity_bit: false,
            quirk: false,
            backend: Backend::Qemu,
        }
    }
}

/// One device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevicePlan {
    /// Its name.
    pub id: String,
    /// Its kind.
    pub kind: DeviceKind,
    /// Its options.
    pub options: QemuOptions,
    /// When it is plugged.
    pub plugged: Plugged,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The run id: `name/axis=value/...`.
    pub id: String,
    /// The scenario's name.
    pub scenario: String,
    /// The scenario's sentence.
    pub about: String,
    /// The axes of this run, in matrix order.
    pub axes: Vec<(String, String)>,
    /// The design's name, if the scenario has one.
    pub design: Option<String>,
    /// The layers that the design says it changes.
    pub changes: Vec<Layer>,
    /// The seed.
    pub seed: u64,
    /// The machine.
    pub machine: MachinePlan,
    /// The guest.
    pub guest: GuestPlan,
    /// What it may use up.
    pub limits: Limits,
    /// The devices in FDT order; slof's boot disk `boot` is the first where `boot` is
    /// [`Boot::Slof`].
    pub devices: Vec<DevicePlan>,
    /// What the guest is asked to do.
    pub work: Vec<Work>,
    /// What is expected; `None`: the scenario has no `expect`, so the run has no verdict.
    pub expect: Option<Vec<super::expect::Expectation>>,
    /// Which of the expectations are listed to fail in this run.
    pub known_failures: Vec<KnownFailure>,
    /// Other runs of the scenario that an expectation compares this one with: they are run with it.
    pub twins: Vec<Plan>,
    /// The claim of the thread that the scenario settles.
    pub claim: Option<Arc<Argument>>,
}

/// A check that is listed to fail: it must, or the run fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownFailure {
    /// The check's id.
    pub check: String,
    /// Why it fails.
    pub why: String,
}

impl Plan {
    /// Whether results say what would follow rather than what does.
    pub fn what_if(&self) -> bool {
        match self.machine.platform {
            Platform::PefUnsealed => true,
            Platform::Plain | Platform::Pef => false,
        }
    }
}
