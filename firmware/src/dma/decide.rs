//! TABLE 5: the guest's DMA decision.
//!
//! The whole dispute of the thread is two `match`es: given what the kernel was built to do, whether
//! it is secure, and whether the device's addresses go through the platform (bit 33,
//! VIRTIO_F_ACCESS_PLATFORM, accepted), does virtio go through the DMA API ([`api`])? And if it
//! does, what does the API's back end do with a buffer ([`back_end`])? The two never ask each
//! other: that the back end maps in an IOMMU which the device ignores is possible, as it is in
//! Linux.

use crate::kernel::{Ops, Virtio};

/// Whether the guest is a secure VM of an ultravisor that the FDT names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// The host can read all of its memory.
    Normal,
    /// The host can read only what it shares.
    Secure,
}

impl Life {
    /// Both, in the order of the table.
    pub const ALL: [Self; 2] = [Self::Normal, Self::Secure];
}

/// What a device takes an address in a ring for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Bit 33 was not accepted: a guest-physical address.
    Raw,
    /// Bit 33 was accepted: an address of the platform's, translated if it has an IOMMU.
    Platform,
}

impl Addresses {
    /// Both, in the order of the table.
    pub const ALL: [Self; 2] = [Self::Raw, Self::Platform];
}

/// Whether the FDT gives the device a DMA window of an IOMMU (`ibm,my-dma-window`). On pseries
/// each device has one, whether virtio uses it or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// It has none.
    None,
    /// It has one.
    Tce,
}

impl Window {
    /// Both, in the order of the table.
    pub const ALL: [Self; 2] = [Self::None, Self::Tce];
}

/// When a kernel decides which path a device takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Once per device, when its features are settled; the answer stays until the next reset.
    Initialised,
    /// Once per queue, when it is created; the answer is kept in the queue.
    QueueCreation,
    /// For each buffer, before the DMA API is called or is not; for ring memory too.
    EachBuffer,
    /// Inside the DMA API, for each mapping and for ring memory.
    EachMapping,
}

/// When `virtio` decides.
pub const fn moment(virtio: Virtio) -> Moment {
    match virtio {
        Virtio::OwnOps | Virtio::HookedOps | Virtio::IdentityOrFail => Moment::Initialised,
        Virtio::PerQueue => Moment::QueueCreation,
        Virtio::PerBufferXen
        | Virtio::PerBufferArch
        | Virtio::PerBufferPlatform
        | Virtio::PerBufferFlag => Moment::EachBuffer,
        Virtio::PerMappingQuirk => Moment::EachMapping,
    }
}

/// Where a kernel learns whether its guest is secure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It knows: a static flag, set when the guest became secure.
    Flag,
    /// The FDT is searched for the ultravisor's node, for devices without bit 33.
    SearchIfRaw,
    /// The FDT is searched before anything else is looked at.
    SearchFirst,
}

/// Where `virtio` learns it.
pub const fn source(virtio: Virtio) -> Source {
    match virtio {
        Virtio::PerBufferArch => Source::SearchIfRaw,
        Virtio::PerBufferPlatform => Source::SearchFirst,
        Virtio::PerBufferXen
        | Virtio::PerQueue
        | Virtio::PerBufferFlag
        | Virtio::PerMappingQuirk
        | Virtio::OwnOps
        | Virtio::HookedOps
        | Virtio::IdentityOrFail => Source::Flag,
    }
}

/// Which ops a kernel has on this machine: those that use a range or a pool which the FDT should
/// describe are the IOMMU's where it describes none.
pub const fn installed(ops: Ops, described: bool) -> Ops {
    match ops {
        Ops::LimitedRange | Ops::RestrictedPool if !described => Ops::Iommu,
        Ops::Iommu
        | Ops::Swiotlb
        | Ops::SwiotlbMapped
        | Ops::SwiotlbOverIommu
        | Ops::LimitedRange
        | Ops::RestrictedPool
        | Ops::ShareInPlace
        | Ops::DataDirect
        | Ops::PayloadDirect => ops,
    }
}

/// Whom virtio asks for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Nobody: no DMA API, raw guest-physical addresses.
    Bypass,
    /// The DMA API, with direct ops that virtio brings itself.
    OwnOps,
    /// The DMA API, with the platform's ops.
    PlatformOps,
    /// The same, if they promise that their addresses are physical ones; else nobody may probe.
    IfIdentity,
}

/// Whether virtio goes through the DMA API.
#[rustfmt::skip]
pub const fn api(virtio: Virtio, life: Life, addresses: Addresses) -> Api {
    use {Addresses::*, Life::*, Virtio::*};
    match (virtio, life, addresses) {
        // The device says so itself: the platform's ops, whoever asks.
        (
            PerBufferXen | PerQueue | PerBufferArch | PerBufferPlatform | PerBufferFlag
            | PerMappingQuirk | OwnOps | HookedOps | IdentityOrFail,
            Normal | Secure,
            Platform,
        ) => Api::PlatformOps,

        // Linux of 2018 and since: without bit 33 there is no DMA API, whoever the guest is.
        (PerBufferXen | PerQueue, Normal | Secure, Raw) => Api::Bypass,

        // A test beside the Xen one: the same, but for a secure guest.
        (PerBufferArch | PerBufferPlatform | PerBufferFlag, Normal, Raw) => Api::Bypass,
        (PerBufferArch | PerBufferPlatform | PerBufferFlag, Secure, Raw) => Api::PlatformOps,

        // Virtio brings its ops along. It alone does not see that a guest is secure.
        (OwnOps, Normal | Secure, Raw) => Api::OwnOps,

        // The hook, or the quirk in the API, does.
        (PerMappingQuirk | HookedOps, Normal, Raw) => Api::OwnOps,
        (PerMappingQuirk | HookedOps, Secure, Raw) => Api::PlatformOps,

        (IdentityOrFail, Normal, Raw) => Api::Bypass,
        (IdentityOrFail, Secure, Raw) => Api::IfIdentity,
    }
}

/// What the platform's ops do with a buffer. They know the device's window and nothing of what
/// virtio negotiated.
#[rustfmt::skip]
pub const fn back_end(ops: Ops, life: Life, window: Window) -> Path {
    use {Life::*, Ops::*};
    match (ops, life, window) {
        // The host reads all of a normal guest's memory: there is nothing to bounce for.
        (
            Iommu | Swiotlb | SwiotlbMapped | SwiotlbOverIommu | ShareInPlace | DataDirect | PayloadDirect,
            Normal,
            Window::None,
        ) => Path::Direct,
        (
            Iommu | Swiotlb | SwiotlbMapped | SwiotlbOverIommu | ShareInPlace | DataDirect | PayloadDirect,
            Normal,
            Window::Tce,
        ) => Path::Iommu,

        // The range or the pool is described for the device, not for the guest: a normal guest
        // bounces as well.
        (LimitedRange | RestrictedPool, Normal | Secure, Window::None | Window::Tce) => Path::Bounce,

        // 2018: nobody thought of the host.
        (Iommu, Secure, Window::None) => Path::Direct,
        (Iommu, Secure, Window::Tce) => Path::Iommu,

        // Physical addresses of slots; that they are mapped 1:1 was seen to before, or was not.
        (Swiotlb | SwiotlbMapped, Secure, Window::None | Window::Tce) => Path::Bounce,
        (SwiotlbOverIommu, Secure, Window::None) => Path::Bounce,
        (SwiotlbOverIommu, Secure, Window::Tce) => Path::BounceIommu,

        (ShareInPlace, Secure, Window::None | Window::Tce) => Path::ShareInPlace,

        // For study: headers and status bytes are safe, the device meets data as ciphertext.
        (DataDirect, Secure, Window::None | Window::Tce) => Path::BounceSmall,

        // For study: only the rings are safe, the device meets every buffer as ciphertext.
        (PayloadDirect, Secure, Window::None | Window::Tce) => Path::SharedRings,
    }
}

/// The decision: both tables, one after the other.
pub const fn decide(
    virtio: Virtio,
    ops: Ops,
    life: Life,
    addresses: Addresses,
    window: Window,
) -> Path {
    let platform = back_end(ops, life, window);
    match api(virtio, life, addresses) {
        Api::Bypass => Path::Bypass,
        Api::OwnOps => Path::Direct,
        Api::PlatformOps => platform,
        Api::IfIdentity if platform.promises_identity() => platform,
        Api::IfIdentity => Path::Refuse,
    }
}

/// The path that a device's buffers and rings take. The value is what `dma_decide` returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Path {
    /// No DMA API: raw guest-physical addresses, rings in ordinary pages.
    Bypass = 0,
    /// Every buffer bounces, rings in shared memory.
    Bounce = 1,
    /// Buffers below [`DATA_BYTES_MIN`] bounce, larger ones go direct, rings in shared memory.
    BounceSmall = 2,
    /// No buffer bounces, rings in shared memory.
    SharedRings = 3,
    /// No path leads there: the device is refused by name.
    Refuse = 4,
    /// The DMA API's direct ops: the same addresses, but asked for.
    Direct = 5,
    /// Each buffer, and each ring, is mapped in the device's IOMMU.
    Iommu = 6,
    /// Every buffer bounces, and its slots are mapped in the device's IOMMU; rings in shared
    /// memory, mapped too.
    BounceIommu = 7,
    /// The units of each buffer are shared while the device has it; rings in shared memory.
    ShareInPlace = 8,
}

/// From how many bytes on a buffer counts as data and no longer as a header or a status byte
/// (one sector).
pub const DATA_BYTES_MIN: usize = 512;

impl Path {
    /// Every path, in the order of its number.
    pub const ALL: [Self; 9] = [
        Self::Bypass,
        Self::Bounce,
        Self::BounceSmall,
        Self::SharedRings,
        Self::Refuse,
        Self::Direct,
        Self::Iommu,
        Self::BounceIommu,
        Self::ShareInPlace,
    ];

    /// The path with this number, if there is one.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// Whether a buffer of `bytes` bytes bounces.
    pub const fn bounces(self, bytes: usize) -> bool {
        match self {
            Self::Bounce | Self::BounceIommu => true,
            Self::BounceSmall => bytes < DATA_BYTES_MIN,
            Self::Bypass
            | Self::Direct
            | Self::Iommu
            | Self::SharedRings
            | Self::ShareInPlace
            | Self::Refuse => false,
        }
    }

    /// Whether buffers and rings go through the DMA API at all.
    pub const fn uses_dma_api(self) -> bool {
        match self {
            Self::Direct
            | Self::Bounce
            | Self::BounceSmall
            | Self::SharedRings
            | Self::Iommu
            | Self::BounceIommu
            | Self::ShareInPlace => true,
            Self::Bypass | Self::Refuse => false,
        }
    }

    /// Whether ring memory comes from shared memory.
    pub const fn shares_rings(self) -> bool {
        match self {
            Self::Bounce
            | Self::BounceSmall
            | Self::SharedRings
            | Self::BounceIommu
            | Self::ShareInPlace => true,
            Self::Bypass | Self::Direct | Self::Iommu | Self::Refuse => false,
        }
    }

    /// Whether what the device gets is mapped in its IOMMU, buffer by buffer.
    pub const fn maps(self) -> bool {
        match self {
            Self::Iommu | Self::BounceIommu => true,
            Self::Bypass
            | Self::Direct
            | Self::Bounce
            | Self::BounceSmall
            | Self::SharedRings
            | Self::ShareInPlace
            | Self::Refuse => false,
        }
    }

    /// Whether every address that it gives is a physical one.
    pub const fn promises_identity(self) -> bool {
        self.uses_dma_api() && !self.maps()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Api::{Bypass, IfIdentity, OwnOps, PlatformOps};

    fn api_cells() -> impl Iterator<Item = (Virtio, Life, Addresses, Api)> {
        Virtio::ALL.into_iter().flat_map(|virtio| {
            Life::ALL.into_iter().flat_map(move |life| {
                Addresses::ALL
                    .into_iter()
                    .map(move |addresses| (virtio, life, addresses, api(virtio, life, addresses)))
            })
        })
    }

    fn back_end_cells() -> impl Iterator<Item = (Ops, Life, Window, Path)> {
        Ops::ALL.into_iter().flat_map(|ops| {
            Life::ALL.into_iter().flat_map(move |life| {
                Window::ALL
                    .into_iter()
                    .map(move |window| (ops, life, window, back_end(ops, life, window)))
            })
        })
    }

    #[test]
    fn a_device_that_asks_for_the_platforms_addresses_always_gets_them() {
        for (virtio, life, addresses, api) in api_cells() {
            assert!(addresses == Addresses::Raw || api == PlatformOps, "{virtio:?} {life:?}");
        }
    }

    #[test]
    fn without_bit_33_no_normal_guest_asks_the_platform() {
        for (virtio, life, addresses, api) in api_cells() {
            if (life, addresses) == (Life::Normal, Addresses::Raw) {
                assert!(matches!(api, Bypass | OwnOps), "{virtio:?}");
            }
        }
    }

    #[test]
    fn three_kernels_do_not_see_that_they_are_secure() {
        let blind = Virtio::ALL.into_iter().filter(|virtio| {
            let [normal, secure] = Life::ALL.map(|life| api(*virtio, life, Addresses::Raw));
            normal == secure
        });
        let blind: Vec<_> = blind.collect();
        assert_eq!(blind, [Virtio::PerBufferXen, Virtio::PerQueue, Virtio::OwnOps]);
    }

    #[test]
    fn the_promise_is_asked_of_a_secure_guest_only() {
        let asked: Vec<_> = api_cells().filter(|(.., api)| *api == IfIdentity).collect();
        let cell = (Virtio::IdentityOrFail, Life::Secure, Addresses::Raw, IfIdentity);
        assert_eq!(asked, [cell]);
    }

    #[test]
    fn only_a_described_range_makes_a_normal_guest_bounce() {
        for (ops, life, window, path) in back_end_cells() {
            let uses_pool = path.bounces(1) || path.bounces(1 << 20) || path.shares_rings();
            let described = matches!(ops, Ops::LimitedRange | Ops::RestrictedPool);
            assert!(!uses_pool || life == Life::Secure || described, "{ops:?} {window:?}");
        }
    }

    #[test]
    fn in_a_secure_guest_only_2018_and_the_studies_leave_a_buffer_unprotected() {
        for (ops, life, window, path) in back_end_cells() {
            let safe = path == Path::ShareInPlace
                || path.shares_rings() && (1..4096).all(|bytes| path.bounces(bytes));
            let unsafe_ops = matches!(ops, Ops::Iommu | Ops::DataDirect | Ops::PayloadDirect);
            assert!(life == Life::Normal || safe != unsafe_ops, "{ops:?} {window:?}");
        }
    }

    #[test]
    fn nothing_is_mapped_where_there_is_no_window() {
        for (ops, life, window, path) in back_end_cells() {
            assert!(window == Window::Tce || !path.maps(), "{ops:?} {life:?}");
        }
    }

    #[test]
    fn the_back_end_refuses_nobody_and_bypasses_nothing() {
        for (.., path) in back_end_cells() {
            assert!(path.uses_dma_api(), "{path:?}");
        }
    }

    #[test]
    fn who_demands_identity_never_gets_a_translated_address_for_a_raw_device() {
        for (ops, life, window, _) in back_end_cells() {
            let path = decide(Virtio::IdentityOrFail, ops, life, Addresses::Raw, window);
            assert!(!path.maps(), "{ops:?} {life:?} {window:?}");
            let refused = life == Life::Secure && back_end(ops, life, window).maps();
            assert_eq!(path == Path::Refuse, refused, "{ops:?} {life:?} {window:?}");
        }
    }

    #[test]
    fn only_ops_that_need_a_description_change_without_one() {
        let changed: Vec<Ops> =
            Ops::ALL.into_iter().filter(|ops| installed(*ops, false) != *ops).collect();
        assert_eq!(changed, [Ops::LimitedRange, Ops::RestrictedPool]);
        assert!(Ops::ALL.into_iter().all(|ops| installed(ops, true) == ops));
    }

    #[test]
    fn only_kernels_that_decide_for_each_buffer_search_the_tree() {
        for virtio in Virtio::ALL {
            let searches = source(virtio) != Source::Flag;
            assert!(!searches || moment(virtio) == Moment::EachBuffer, "{virtio:?}");
        }
    }

    #[test]
    fn kernels_and_ops_are_found_by_their_numbers() {
        assert!((0..).zip(Virtio::ALL).all(|(number, virtio)| virtio as u64 == number));
        assert!((0..).zip(Ops::ALL).all(|(number, ops)| ops as u64 == number));
    }

    #[test]
    fn data_begins_at_one_sector() {
        assert!(Path::BounceSmall.bounces(511));
        assert!(!Path::BounceSmall.bounces(512));
    }

    #[test]
    fn a_path_is_found_again_by_its_number() {
        for path in Path::ALL {
            assert_eq!(Path::from_number(path as u64), Some(path));
        }
        assert_eq!(Path::from_number(9), None);
    }
}
