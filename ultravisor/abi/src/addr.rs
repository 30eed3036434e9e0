//! Addresses as types: mixing up what the CPU means and what the device means does not compile.

/// A guest-physical address, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gpa(pub u64);

/// The number of one protection unit of guest-physical memory. It counts **units** (64 KiB for
/// PEF), not x86 pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gfn(pub u64);

/// What a driver puts into a ring: an address on the device's side of whatever translates, in
/// bytes. Equal to a [`Gpa`] only where nothing translates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DmaAddr(pub u64);

/// The page size of the protection protocol: a power of two from 4 KiB to 2 MiB.
///
/// PEF's protocol knows 64 KiB only (ultravisor document, UV_PAGE_IN: order 16).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitSize {
    order: u32,
}

impl UnitSize {
    /// 4 KiB: s390 PV, SEV-SNP, CCA, pKVM.
    pub const KIB_4: Self = Self { order: 12 };
    /// 64 KiB: PEF.
    pub const KIB_64: Self = Self { order: 16 };

    /// The size of `1 << order` bytes, or `None` outside 4 KiB to 2 MiB.
    pub const fn from_order(order: u32) -> Option<Self> {
        if order >= 12 && order <= 21 { Some(Self { order }) } else { None }
    }

    /// The size of `bytes` bytes, or `None` if it is no power of two from 4 KiB to 2 MiB.
    pub const fn from_bytes(bytes: u64) -> Option<Self> {
        if bytes.is_power_of_two() { Self::from_order(bytes.trailing_zeros()) } else { None }
    }

    /// log2 of the size: what page calls carry as `order`.
    pub const fn order(self) -> u32 {
        self.order
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        1 << self.order
    }

    /// The unit that holds `gpa`.
    pub const fn gfn(self, gpa: Gpa) -> Gfn {
        Gfn(gpa.0 >> self.order)
    }

    /// The first byte of unit `gfn`. Units past the address space give the wrapped address; only
    /// units inside a memory slot are meant.
    pub const fn start(self, gfn: Gfn) -> Gpa {
        Gpa(gfn.0 << self.order)
    }

    /// Whether `gpa` is the first byte of a unit.
    pub const fn aligned(self, gpa: Gpa) -> bool {
        gpa.0 & (self.bytes() - 1) == 0
    }
}
