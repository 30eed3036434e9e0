//! MXCSR: the control and status register of SSE (SDM volume 1, section 10.2.3).

use core::ops::{BitOr, BitOrAssign};

/// A set of SIMD floating-point exceptions, in the bit order of MXCSR's flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// None.
    pub const NONE: Self = Self(0);
    /// Invalid operation.
    pub const INVALID: Self = Self(1 << 0);
    /// A source operand was denormal.
    pub const DENORMAL: Self = Self(1 << 1);
    /// A finite number was divided by zero.
    pub const DIVIDE_BY_ZERO: Self = Self(1 << 2);
    /// The rounded result does not fit.
    pub const OVERFLOW: Self = Self(1 << 3);
    /// The result is tiny (and inexact, if the exception is masked).
    pub const UNDERFLOW: Self = Self(1 << 4);
    /// The result was rounded.
    pub const PRECISION: Self = Self(1 << 5);

    /// Those that the CPU finds before it computes; one of them unmasked in any lane keeps the
    /// others (overflow, underflow, precision) from being looked for at all (SDM volume 1,
    /// section 11.5.3).
    const BEFORE_COMPUTATION: u8 = Self::INVALID.0 | Self::DENORMAL.0 | Self::DIVIDE_BY_ZERO.0;

    /// `self` if `condition`, else none.
    #[must_use]
    pub const fn when(self, condition: bool) -> Self {
        if condition { self } else { Self::NONE }
    }

    /// Whether all of `other` are in here.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in here.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Flags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// An instruction raised a SIMD floating-point exception that MXCSR does not mask: nothing is
/// stored and the CPU takes #XM (vector 19). The flags are in MXCSR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmasked;

/// The rounding control field (SDM volume 1, table 4-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// To the nearest number, of two equally near to the even one.
    Nearest,
    /// Toward minus infinity.
    Down,
    /// Toward plus infinity.
    Up,
    /// Toward zero.
    Truncate,
}

/// The register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mxcsr(u32);

impl Mxcsr {
    /// The value after reset and after `fninit`-like initialisation: everything masked, round to
    /// nearest, no flag.
    pub const RESET: Self = Self(0x1f80);
    /// The bits that exist; `fxsave` shows it as MXCSR_MASK. A one elsewhere is #GP.
    pub const MASK: u32 = 0xffff;

    const DENORMALS_ARE_ZERO: u32 = 1 << 6;
    const MASKS_SHIFT: u32 = 7;
    const ROUNDING_SHIFT: u32 = 13;
    const FLUSH_TO_ZERO: u32 = 1 << 15;

    /// What `ldmxcsr` loads; `None` where it raises #GP because a reserved bit is set.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Option<Self> {
        if bits & !Self::MASK == 0 { Some(Self(bits)) } else { None }
    }

    /// `bits` without those that do not exist.
    #[must_use]
    pub const fn existing(bits: u32) -> Self {
        Self(bits & Self::MASK)
    }

    /// What `stmxcsr` stores.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The exceptions seen since the guest last cleared them.
    #[must_use]
    pub const fn flags(self) -> Flags {
        Flags((self.0 & 0x3f) as u8)
    }

    /// The exceptions that give a result instead of #XM.
    #[must_use]
    pub const fn masked(self) -> Flags {
        Flags((self.0 >> Self::MASKS_SHIFT & 0x3f) as u8)
    }

    /// The rounding control field.
    #[must_use]
    pub const fn rounding(self) -> Rounding {
        match self.0 >> Self::ROUNDING_SHIFT & 3 {
            0 => Rounding::Nearest,
            1 => Rounding::Down,
            2 => Rounding::Up,
            _ => Rounding::Truncate,
        }
    }

    /// DAZ: a denormal source operand counts as a zero of its sign, and is not reported.
    #[must_use]
    pub const fn denormals_are_zero(self) -> bool {
        self.0 & Self::DENORMALS_ARE_ZERO != 0
    }

    /// FTZ: a tiny result becomes a zero of its sign, if underflow is masked.
    #[must_use]
    pub const fn flush_to_zero(self) -> bool {
        self.0 & Self::FLUSH_TO_ZERO != 0
    }

    /// Takes note of what all lanes of one instruction raised.
    ///
    /// # Errors
    /// [`Unmasked`] if one of them is not masked: the instruction must not store its result.
    pub fn raise(&mut self, raised: Flags) -> Result<(), Unmasked> {
        let unmasked = raised.0 & !self.masked().0;
        let before = unmasked & Flags::BEFORE_COMPUTATION != 0;
        let seen = if before { raised.0 & Flags::BEFORE_COMPUTATION } else { raised.0 };
        self.0 |= u32::from(seen);
        if unmasked == 0 { Ok(()) } else { Err(Unmasked) }
    }
}

impl Default for Mxcsr {
    fn default() -> Self {
        Self::RESET
    }
}
