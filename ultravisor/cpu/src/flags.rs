//! The six arithmetic flags, computed when somebody asks (SDM volume 1, 3.4.3.1).
//!
//! An instruction leaves its operands and its result; most flags are overwritten unread.

use crate::width::Width;

/// Bits of RFLAGS.
pub mod bit {
    /// Carry.
    pub const CF: u64 = 1;
    /// Even parity of the low byte.
    pub const PF: u64 = 1 << 2;
    /// Carry out of bit 3.
    pub const AF: u64 = 1 << 4;
    /// Zero.
    pub const ZF: u64 = 1 << 6;
    /// Sign.
    pub const SF: u64 = 1 << 7;
    /// Single-step trap.
    pub const TF: u64 = 1 << 8;
    /// Interrupts enabled.
    pub const IF: u64 = 1 << 9;
    /// String instructions go down.
    pub const DF: u64 = 1 << 10;
    /// Signed overflow.
    pub const OF: u64 = 1 << 11;
    /// I/O privilege level, two bits.
    pub const IOPL: u64 = 3 << 12;
    /// Nested task.
    pub const NT: u64 = 1 << 14;
    /// The next instruction is no breakpoint.
    pub const RF: u64 = 1 << 16;
    /// Alignment check.
    pub const AC: u64 = 1 << 18;
    /// CPUID is there.
    pub const ID: u64 = 1 << 21;
    /// The six that arithmetic writes.
    pub const ARITHMETIC: u64 = CF | PF | AF | ZF | SF | OF;
    /// Bit 1 reads as one.
    pub const ALWAYS: u64 = 2;
}

/// What the last flag-writing instruction was, as far as its flags are concerned; and what of it
/// is kept: as few numbers as will do, because they are stored far more often than asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// `a` holds the flags.
    Known,
    /// `a` is an operand, `b` the sum.
    Add,
    /// `b` was subtracted from `a`.
    Sub,
    /// `and`, `or`, `xor`, `test`, with result `a`: CF and OF clear. AF is undefined; the silicon
    /// clears it.
    Logic,
    /// Like adding one, with result `a`, but CF is that of before, kept in `b`.
    Inc,
    /// Like subtracting one, with result `a`, but CF is that of before, kept in `b`.
    Dec,
}

/// The arithmetic flags, not yet computed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flags {
    a: u64,
    b: u64,
    origin: Origin,
    bits: u8,
}

impl Flags {
    pub const fn known(flags: u64) -> Self {
        Self { a: flags & bit::ARITHMETIC, b: 0, origin: Origin::Known, bits: 64 }
    }

    #[inline(always)]
    const fn of<T: Width>(origin: Origin, a: u64, b: u64) -> Self {
        Self { a, b, origin, bits: T::BITS as u8 }
    }

    #[inline(always)]
    pub const fn add<T: Width>(a: u64, result: u64) -> Self {
        Self::of::<T>(Origin::Add, a, result)
    }

    #[inline(always)]
    pub const fn sub<T: Width>(a: u64, b: u64) -> Self {
        Self::of::<T>(Origin::Sub, a, b)
    }

    #[inline(always)]
    pub const fn logic<T: Width>(result: u64) -> Self {
        Self::of::<T>(Origin::Logic, result, 0)
    }

    #[inline(always)]
    pub const fn inc<T: Width>(result: u64, carry: bool) -> Self {
        Self::of::<T>(Origin::Inc, result, carry as u64)
    }

    #[inline(always)]
    pub const fn dec<T: Width>(result: u64, carry: bool) -> Self {
        Self::of::<T>(Origin::Dec, result, carry as u64)
    }

    #[inline(always)]
    fn top(&self, value: u64) -> bool {
        (value >> (self.bits - 1)) & 1 != 0
    }

    /// The result, cut to its width; nothing that makes sense for [`Origin::Known`].
    #[inline(always)]
    fn result(&self) -> u64 {
        match self.origin {
            Origin::Add => self.b,
            Origin::Sub => self.a.wrapping_sub(self.b) & (u64::MAX >> (64 - self.bits)),
            Origin::Known | Origin::Logic | Origin::Inc | Origin::Dec => self.a,
        }
    }

    #[inline(always)]
    pub fn carry(&self) -> bool {
        match self.origin {
            Origin::Known => self.a & bit::CF != 0,
            Origin::Add => self.b < self.a,
            Origin::Sub => self.a < self.b,
            Origin::Logic => false,
            Origin::Inc | Origin::Dec => self.b != 0,
        }
    }

    #[inline(always)]
    pub fn zero(&self) -> bool {
        match self.origin {
            Origin::Known => self.a & bit::ZF != 0,
            Origin::Sub => self.a == self.b,
            Origin::Add | Origin::Logic | Origin::Inc | Origin::Dec => self.result() == 0,
        }
    }

    #[inline(always)]
    pub fn sign(&self) -> bool {
        match self.origin {
            Origin::Known => self.a & bit::SF != 0,
            Origin::Add | Origin::Sub | Origin::Logic | Origin::Inc | Origin::Dec => {
                self.top(self.result())
            }
        }
    }

    #[inline(always)]
    pub fn overflow(&self) -> bool {
        let smallest = 1_u64 << (self.bits - 1);
        let result = self.result();
        match self.origin {
            Origin::Known => self.a & bit::OF != 0,
            // The other operand is the difference, and only its top bit counts.
            Origin::Add => self.top((self.a ^ result) & (result.wrapping_sub(self.a) ^ result)),
            Origin::Sub => self.top((self.a ^ self.b) & (self.a ^ result)),
            Origin::Logic => false,
            Origin::Inc => result == smallest,
            Origin::Dec => result == smallest - 1,
        }
    }

    #[inline(always)]
    pub fn parity(&self) -> bool {
        match self.origin {
            Origin::Known => self.a & bit::PF != 0,
            Origin::Add | Origin::Sub | Origin::Logic | Origin::Inc | Origin::Dec => {
                (self.result() as u8).count_ones() & 1 == 0
            }
        }
    }

    fn adjust(&self) -> bool {
        match self.origin {
            Origin::Add => (self.a ^ self.b ^ self.b.wrapping_sub(self.a)) & 0x10 != 0,
            Origin::Sub => (self.a ^ self.b ^ self.result()) & 0x10 != 0,
            // What is known is told whole: `bits`.
            Origin::Known | Origin::Logic => false,
            Origin::Inc => self.a & 15 == 0,
            Origin::Dec => self.a & 15 == 15,
        }
    }

    /// `a < b` as signed numbers: SF differs from OF.
    #[inline(always)]
    fn less(&self) -> bool {
        if self.origin == Origin::Sub {
            let shift = 64 - self.bits;
            return ((self.a << shift) as i64) < ((self.b << shift) as i64);
        }
        self.sign() != self.overflow()
    }

    /// The flags as bits of RFLAGS.
    pub fn bits(&self) -> u64 {
        if self.origin == Origin::Known {
            return self.a;
        }
        pack([
            (self.carry(), bit::CF),
            (self.parity(), bit::PF),
            (self.adjust(), bit::AF),
            (self.zero(), bit::ZF),
            (self.sign(), bit::SF),
            (self.overflow(), bit::OF),
        ])
    }

    /// Whether condition `CONDITION` (0 to 15, as Jcc encodes it; SDM volume 1, appendix B) holds.
    #[inline(always)]
    pub fn holds<const CONDITION: u8>(&self) -> bool {
        let positive = match CONDITION >> 1 {
            0 => self.overflow(),
            1 => self.carry(),
            2 => self.zero(),
            3 if self.origin == Origin::Sub => self.a <= self.b,
            3 => self.carry() || self.zero(),
            4 => self.sign(),
            5 => self.parity(),
            6 => self.less(),
            _ => self.zero() || self.less(),
        };
        positive != (CONDITION & 1 != 0)
    }
}

/// ORs the masks of those that hold.
#[inline(always)]
pub(crate) fn pack<const N: usize>(flags: [(bool, u64); N]) -> u64 {
    flags.iter().fold(0, |bits, &(set, mask)| if set { bits | mask } else { bits })
}

/// ZF, SF and PF of `result`: what most instructions do with these three.
#[inline(always)]
pub(crate) fn zero_sign_parity<T: Width>(result: u64) -> u64 {
    pack([
        (result & T::MASK == 0, bit::ZF),
        (result & T::SIGN != 0, bit::SF),
        ((result as u8).count_ones() & 1 == 0, bit::PF),
    ])
}

/// Evaluates an expression with a constant bound to condition `$code` (0 to 15).
macro_rules! with_condition {
    (@arms $code:expr, $name:ident, $value:expr, $($n:literal)*) => {
        match $code {
            $($n => { const $name: u8 = $n; $value })*
            _ => { const $name: u8 = 15; $value }
        }
    };
    ($code:expr, $name:ident => $value:expr) => {
        with_condition!(@arms $code, $name, $value, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    };
}
pub(crate) use with_condition;

#[cfg(test)]
mod tests {
    use super::{Flags, bit, zero_sign_parity};
    use crate::width::Width;

    /// The flags of a sum or difference that is `exact` without a width, and `signed` of signed
    /// operands, by what the manual says of each (SDM volume 1, 3.4.3.1).
    fn by_the_book<T: Width>(exact: i128, signed: i128, low: i128) -> u64 {
        let half = 1_i128 << (T::BITS - 1);
        let result = exact as u64 & T::MASK;
        let mut flags = 0;
        for (holds, mask) in [
            (!(0..2 * half).contains(&exact), bit::CF),
            ((0..8).filter(|at| result >> at & 1 == 1).count() % 2 == 0, bit::PF),
            (!(0..16).contains(&low), bit::AF),
            (result == 0, bit::ZF),
            (i128::from(result) >= half, bit::SF),
            (!(-half..half).contains(&signed), bit::OF),
        ] {
            flags += if holds { mask } else { 0 };
        }
        flags
    }

    /// Whether condition `code` holds, as the manual writes it (SDM volume 1, appendix B).
    fn condition(code: u8, flags: u64) -> bool {
        let [c, p, z, s, o] =
            [bit::CF, bit::PF, bit::ZF, bit::SF, bit::OF].map(|mask| flags / mask % 2 == 1);
        [
            o,
            !o,
            c,
            !c,
            z,
            !z,
            c | z,
            !(c | z),
            s,
            !s,
            p,
            !p,
            s ^ o,
            !(s ^ o),
            z | (s ^ o),
            !(z | (s ^ o)),
        ][usize::from(code)]
    }

    /// `flags` says the same as `expected`, asked for whole and by each condition; and so do those once
    /// they are known.
    fn check(flags: Flags, expected: u64, what: &str) {
        for flags in [flags, Flags::known(expected | !bit::ARITHMETIC)] {
            assert_eq!(flags.bits(), expected, "{what}, {flags:?}");
            for code in 0..16 {
                let holds = with_condition!(code, CONDITION => flags.holds::<CONDITION>());
                assert_eq!(
                    holds,
                    condition(code, expected),
                    "condition {code} of {what}, {flags:?}"
                );
            }
        }
    }

    /// Every instruction's flags for operands `a` and `b` of width `T`.
    fn check_pair<T: Width>(a: u64, b: u64) {
        let what = |name: &str| format!("{name} of {a:#x} and {b:#x}, {} bits", T::BITS);
        let (x, y) = (i128::from(a), i128::from(b));
        let (signed_x, signed_y) = (i128::from(T::signed(a)), i128::from(T::signed(b)));
        let sum = by_the_book::<T>(x + y, signed_x + signed_y, x % 16 + y % 16);
        check(Flags::add::<T>(a, a.wrapping_add(b) & T::MASK), sum, &what("the sum"));
        let difference = by_the_book::<T>(x - y, signed_x - signed_y, x % 16 - y % 16);
        check(Flags::sub::<T>(a, b), difference, &what("the difference"));
        let both = by_the_book::<T>(i128::from(a & b), 0, 0);
        check(Flags::logic::<T>(a & b), both, &what("what is in both"));
        assert_eq!(zero_sign_parity::<T>(a & b), both, "{}", what("what is in both"));
        for carry in [false, true] {
            let kept = |flags: u64| flags & !bit::CF | u64::from(carry);
            let next = kept(by_the_book::<T>(x + 1, signed_x + 1, x % 16 + 1));
            check(Flags::inc::<T>(a.wrapping_add(1) & T::MASK, carry), next, &what("the next"));
            let last = kept(by_the_book::<T>(x - 1, signed_x - 1, x % 16 - 1));
            check(Flags::dec::<T>(a.wrapping_sub(1) & T::MASK, carry), last, &what("the last"));
        }
    }

    /// Operands near all edges of width `T`.
    fn check_edges<T: Width>() {
        let edges = [0, 1 << 3, 1 << 4, 1 << 7, 1 << 8, T::SIGN, 0x5a5a_5a5a_5a5a_5a5a];
        let near = |edge: u64| (0..3).map(move |step| (edge + step).wrapping_sub(1) & T::MASK);
        for a in edges.into_iter().flat_map(near) {
            edges.into_iter().flat_map(near).for_each(|b| check_pair::<T>(a, b));
        }
    }

    #[test]
    fn flags_are_those_of_the_manual_for_all_bytes_and_near_the_edges_of_wider_operands() {
        for a in 0..=255 {
            (0..=255).for_each(|b| check_pair::<u8>(a, b));
        }
        check_edges::<u16>();
        check_edges::<u32>();
        check_edges::<u64>();
    }

    #[test]
    fn the_flags_have_their_places() {
        // SDM volume 1, figure 3-8.
        let places = [
            (bit::CF, 0),
            (bit::PF, 2),
            (bit::AF, 4),
            (bit::ZF, 6),
            (bit::SF, 7),
            (bit::TF, 8),
            (bit::IF, 9),
            (bit::DF, 10),
            (bit::OF, 11),
            (bit::NT, 14),
            (bit::RF, 16),
            (bit::AC, 18),
            (bit::ID, 21),
        ];
        for (mask, place) in places {
            assert_eq!((mask.trailing_zeros(), mask.count_ones()), (place, 1));
        }
        assert_eq!((bit::IOPL, bit::ARITHMETIC, bit::ALWAYS), (0x3000, 0x8d5, 2));
    }
}
