//! TABLE 5: the guest's DMA decision.
//!
//! The whole dispute of the thread is one `match`: given what the kernel was built to do, whether
//! it is secure, and whether the device's addresses go through the platform (bit 33,
//! VIRTIO_F_ACCESS_PLATFORM, accepted), which path do buffers and rings take?

use crate::bootargs::GuestDma;

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
    /// Bit 33 was not offered: a guest-physical address.
    Raw,
    /// Bit 33 was offered and accepted: an address that the platform's IOMMU translates.
    Platform,
}

impl Addresses {
    /// Both, in the order of the table.
    pub const ALL: [Self; 2] = [Self::Raw, Self::Platform];
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
}

/// From how many bytes on a buffer counts as data and no longer as a header or a status byte
/// (one sector).
pub const DATA_BYTES_MIN: usize = 512;

/// The decision.
#[rustfmt::skip]
pub const fn decide(choice: GuestDma, life: Life, addresses: Addresses) -> Path {
    use {Addresses::*, GuestDma::*, Life::*};
    match (choice, life, addresses) {
        // Linux of 2018: without bit 33 there is no DMA API, whoever the guest is.
        (LegacyBypass, Normal | Secure, Raw) => Path::Bypass,

        // The host reads all of a normal guest's memory: there is nothing to bounce for.
        (PlatformHook | DataDirect | PayloadDirect, Normal, Raw) => Path::Direct,

        // The hook sees that the host cannot read our pages, whatever the device offered.
        (PlatformHook, Secure, Raw) => Path::Bounce,

        // For study: headers and status bytes are safe, the device meets data as ciphertext.
        (DataDirect, Secure, Raw) => Path::BounceSmall,

        // For study: only the rings are safe, the device meets every buffer as ciphertext.
        (PayloadDirect, Secure, Raw) => Path::SharedRings,

        // The device translates and nobody here maps for it: no address would get through.
        (LegacyBypass | PlatformHook | DataDirect | PayloadDirect, Normal | Secure, Platform) => Path::Refuse,
    }
}

impl Path {
    /// Every path.
    pub const ALL: [Self; 6] = [
        Self::Bypass,
        Self::Bounce,
        Self::BounceSmall,
        Self::SharedRings,
        Self::Refuse,
        Self::Direct,
    ];

    /// The path with this number, if there is one.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|path| *path as u64 == number)
    }

    /// Whether a buffer of `bytes` bytes bounces.
    pub const fn bounces(self, bytes: usize) -> bool {
        match self {
            Self::Bounce => true,
            Self::BounceSmall => bytes < DATA_BYTES_MIN,
            Self::Bypass | Self::Direct | Self::SharedRings | Self::Refuse => false,
        }
    }

    /// Whether buffers and rings go through the DMA API at all.
    pub const fn uses_dma_api(self) -> bool {
        match self {
            Self::Direct | Self::Bounce | Self::BounceSmall | Self::SharedRings => true,
            Self::Bypass | Self::Refuse => false,
        }
    }

    /// Whether ring memory comes from shared memory.
    pub const fn shares_rings(self) -> bool {
        match self {
            Self::Bounce | Self::BounceSmall | Self::SharedRings => true,
            Self::Bypass | Self::Direct | Self::Refuse => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use GuestDma::{DataDirect, LegacyBypass, PayloadDirect, PlatformHook};

    const CHOICES: [GuestDma; 4] = [LegacyBypass, PlatformHook, DataDirect, PayloadDirect];

    fn cells() -> impl Iterator<Item = (GuestDma, Life, Addresses, Path)> {
        CHOICES.into_iter().flat_map(|choice| {
            Life::ALL.into_iter().flat_map(move |life| {
                Addresses::ALL.into_iter().map(move |addresses| {
                    (choice, life, addresses, decide(choice, life, addresses))
                })
            })
        })
    }

    #[test]
    fn only_a_secure_guest_ever_bounces_or_shares() {
        for (choice, life, addresses, path) in cells() {
            let uses_pool = path.bounces(1) || path.bounces(1 << 20) || path.shares_rings();
            assert!(!uses_pool || life == Life::Secure, "{choice:?} {life:?} {addresses:?}");
        }
    }

    #[test]
    fn the_hook_is_the_only_choice_that_keeps_a_secure_guest_out_of_the_hosts_reach() {
        for choice in CHOICES {
            let path = decide(choice, Life::Secure, Addresses::Raw);
            let safe = path.shares_rings() && (1..4096).all(|bytes| path.bounces(bytes));
            assert_eq!(safe, choice == PlatformHook, "{choice:?}");
        }
    }

    #[test]
    fn the_bypass_does_not_know_whether_the_guest_is_secure() {
        for addresses in Addresses::ALL {
            let [normal, secure] = Life::ALL.map(|life| decide(LegacyBypass, life, addresses));
            assert_eq!(normal, secure);
        }
    }

    #[test]
    fn a_device_that_translates_never_gets_a_raw_address() {
        for (.., addresses, path) in cells() {
            assert_eq!(addresses == Addresses::Platform, path == Path::Refuse);
        }
    }

    #[test]
    fn in_a_normal_guest_the_choices_differ_only_in_who_is_asked_for_the_address() {
        for choice in CHOICES {
            let path = decide(choice, Life::Normal, Addresses::Raw);
            assert!(!path.bounces(1) && !path.bounces(1 << 20) && !path.shares_rings());
            assert_eq!(path.uses_dma_api(), choice != LegacyBypass, "{choice:?}");
        }
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
        assert_eq!(Path::from_number(6), None);
    }
}
