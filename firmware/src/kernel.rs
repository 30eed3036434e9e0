//! What a guest's kernel was built to do about DMA: the mechanisms that designs bundle.
//!
//! Sources: facts 1.2 (the thread's designs), 1.4 (what Linux did in the end).

/// Who decides whether virtio goes through the DMA API, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Virtio {
    /// Linux of 2018: for every buffer, bit 33 or else the Xen exception, a static test that is
    /// false here (D0).
    PerBufferXen,
    /// Linux since: the same test, once per queue and cached there.
    PerQueue,
    /// For every buffer: bit 33, else a callback of the architecture, which searches the FDT for
    /// the ultravisor node each time (D1).
    PerBufferArch,
    /// For every buffer: first that platform predicate, with its search, then bit 33 (D2).
    PerBufferPlatform,
    /// For every buffer: bit 33, else a static flag "memory is encrypted" beside the Xen test
    /// (D14, D19).
    PerBufferFlag,
    /// Always the DMA API; which quirk a device has is looked up by the API itself, for every
    /// mapping (D7, in the DMA core).
    PerMappingQuirk,
    /// Always the DMA API; without bit 33 virtio installs its own direct ops when features are
    /// final (D4).
    OwnOps,
    /// As `OwnOps`, but one platform hook may install other ops (D5; D7, where the back end is
    /// bound).
    HookedOps,
    /// At probe: without bit 33 the DMA API only in a secure guest, and only if it promises that
    /// its addresses are physical ones; else the probe fails (D17).
    IdentityOrFail,
}

impl Virtio {
    /// Every one, in the order of the enum: the index is the number that `dma_decide` takes.
    pub const ALL: [Self; 9] = [
        Self::PerBufferXen,
        Self::PerQueue,
        Self::PerBufferArch,
        Self::PerBufferPlatform,
        Self::PerBufferFlag,
        Self::PerMappingQuirk,
        Self::OwnOps,
        Self::HookedOps,
        Self::IdentityOrFail,
    ];
}

/// What the DMA API's back end does in a secure guest. In a normal one it maps in the IOMMU for a
/// device behind one and hands out physical addresses otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ops {
    /// As in a normal guest (2018).
    Iommu,
    /// swiotlb's own ops: every buffer bounces, slots are known by their physical addresses, and
    /// nobody maps them in an IOMMU.
    Swiotlb,
    /// The same with the pool and the rings mapped 1:1 in each device's default DMA window (D10).
    SwiotlbMapped,
    /// swiotlb layered over the IOMMU's ops: every buffer bounces, and its slots are mapped in the
    /// IOMMU for as long as they are lent (D11).
    SwiotlbOverIommu,
    /// What lies outside the device's DMA range, as the FDT describes it, bounces; the pool is
    /// that range (D9).
    LimitedRange,
    /// Each device has a pool of its own, at the place that the FDT reserves (D22).
    RestrictedPool,
    /// No bounce: the buffer's units are shared while they are lent (pKVM's way).
    ShareInPlace,
    /// For study: headers and status bytes bounce, data goes direct, rings are shared.
    DataDirect,
    /// For study: only the rings are shared.
    PayloadDirect,
}

impl Ops {
    /// Every one, in the order of the enum: the index is the number that `dma_decide` takes.
    pub const ALL: [Self; 9] = [
        Self::Iommu,
        Self::Swiotlb,
        Self::SwiotlbMapped,
        Self::SwiotlbOverIommu,
        Self::LimitedRange,
        Self::RestrictedPool,
        Self::ShareInPlace,
        Self::DataDirect,
        Self::PayloadDirect,
    ];
}

/// Whether the kernel accepts VIRTIO_F_ACCESS_PLATFORM (bit 33).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bit33 {
    /// It does not know it (Linux before 4.8).
    Never,
    /// Whenever it is offered.
    IfOffered,
    /// Only if the platform says that it needs it: in a secure guest (D18).
    IfSecure,
}

/// A guest kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Who decides, and when.
    pub virtio: Virtio,
    /// What the DMA API does in a secure guest.
    pub ops: Ops,
    /// Bit 33.
    pub bit_33: Bit33,
    /// Whether it accepts the identity-address bit (D15; not in the virtio specification).
    pub identity_bit: bool,
    /// Whether a secure guest refuses devices that lack bits 32 and 33 (D20).
    pub demands_bits: bool,
    /// Whether it writes the quirk register of each device at the switch (D13).
    pub pokes_quirk: bool,
}

impl Kernel {
    /// Linux of 2018.
    pub const LINUX_2018: Self = Self {
        virtio: Virtio::PerBufferXen,
        ops: Ops::Iommu,
        bit_33: Bit33::IfOffered,
        identity_bit: false,
        demands_bits: false,
        pokes_quirk: false,
    };
    /// D5: ops chosen at initialisation, swiotlb in a secure guest.
    pub const PLATFORM_HOOK: Self =
        Self { virtio: Virtio::HookedOps, ops: Ops::Swiotlb, ..Self::LINUX_2018 };
}

/// How a kernel maps many pages at once in a TCE table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tce {
    /// One H_PUT_TCE for each page.
    Single,
    /// H_PUT_TCE_INDIRECT with its list in a shared page.
    Indirect,
    /// The same with the list in an ordinary page: what Linux does where nobody thought of it.
    IndirectUnshared,
}

/// When a secure guest calls UV_ESM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Before it touches any device.
    BeforeProbe,
    /// After its drivers have used the devices; it resets and probes them again.
    AfterProbe,
    /// The same, but it forgets to reset them and goes on with the rings that it has.
    Forgetful,
}

/// Whether a new kernel takes over in the middle of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kexec {
    /// No.
    Never,
    /// The old kernel resets the devices, then takes its shares back (UV_UNSHARE_ALL_PAGES).
    Reset,
    /// The devices stay live while the shares are taken back; the new kernel resets them.
    Live,
}

/// What a buggy driver does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BugKind {
    /// Posts the buffer's own address, in secure memory, past the DMA API.
    RawSecure,
    /// Posts an address in shared memory that belongs to somebody else.
    RawShared,
    /// Posts an address outside all memory slots.
    RawOutside,
    /// Never undoes the mapping.
    NeverUnmap,
    /// Takes the address to undo from the descriptor in the ring, which the device may write.
    ReadBack,
    /// Posts the buffer's own address where the pool has no room for it.
    FallThrough,
}

/// A buggy driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bug {
    /// What it does wrong.
    pub kind: BugKind,
    /// With every how many-th data buffer, from 1.
    pub every: u32,
}
