//! How code is decoded and what its addresses go through: the modes that the engine has.

/// No address: what a segment does not let at. It is not canonical, so an access there is #GP(0),
/// or #SS(0) by way of the stack segment; and it stays so a few bytes further on.
pub(crate) const NOWHERE: u64 = 1 << 63;

/// How code is decoded, and what its addresses go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Form {
    /// 64-bit mode.
    Long,
    /// 32-bit code, of protected or compatibility mode, for which CS, DS, ES and SS are all memory.
    Flat,
    /// 32-bit code with other segments.
    Segmented,
    /// Real mode, virtual-8086 mode, 16-bit code: our limit.
    Missing,
}

impl Form {
    /// Whether it is 32-bit code.
    pub const fn is_narrow(self) -> bool {
        matches!(self, Self::Flat | Self::Segmented)
    }

    /// What iced-x86 calls its bitness.
    pub const fn bitness(self) -> u32 {
        match self {
            Self::Long => 64,
            Self::Flat | Self::Segmented => 32,
            Self::Missing => 16,
        }
    }

    /// An instruction pointer of such code.
    pub const fn cut(self, rip: u64) -> u64 {
        match self {
            Self::Long | Self::Missing => rip,
            Self::Flat | Self::Segmented => rip & 0xffff_ffff,
        }
    }
}
