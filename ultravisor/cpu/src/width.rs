//! Operand sizes as types: one handler source, four widths.
//!
//! Values travel as `u64`, zero-extended from their width.

use crate::mem::Scalar;
use crate::regs::{Gprs, slot};

/// An integer operand size.
pub(crate) trait Width: Scalar + 'static {
    /// 8, 16, 32 or 64.
    const BITS: u32;
    /// All bits of the width set.
    const MASK: u64 = u64::MAX >> (64 - Self::BITS);
    /// The sign bit.
    const SIGN: u64 = 1 << (Self::BITS - 1);

    /// Reads register `number`, zero-extended.
    fn get(gpr: &Gprs, number: u8) -> u64;
    /// Writes register `number`; `value` may have bits above the width.
    fn set(gpr: &mut Gprs, number: u8, value: u64);
    /// From memory's form.
    fn widen(self) -> u64;
    /// To memory's form.
    fn narrow(value: u64) -> Self;

    /// `value` as a signed number.
    #[inline(always)]
    fn signed(value: u64) -> i64 {
        ((value << (64 - Self::BITS)) as i64) >> (64 - Self::BITS)
    }
}

impl Width for u8 {
    const BITS: u32 = 8;

    /// The high-byte registers are the same code with a shift, so that no byte handler branches.
    #[inline(always)]
    fn get(gpr: &Gprs, number: u8) -> u64 {
        (gpr.slot(number & !slot::HIGH) >> ((number & slot::HIGH) >> 2)) & 0xff
    }

    #[inline(always)]
    fn set(gpr: &mut Gprs, number: u8, value: u64) {
        let shift = (number & slot::HIGH) >> 2;
        let old = gpr.slot_mut(number & !slot::HIGH);
        *old = (*old & !(0xff << shift)) | ((value & 0xff) << shift);
    }

    #[inline(always)]
    fn widen(self) -> u64 {
        u64::from(self)
    }

    #[inline(always)]
    fn narrow(value: u64) -> Self {
        value as Self
    }
}

impl Width for u16 {
    const BITS: u32 = 16;

    #[inline(always)]
    fn get(gpr: &Gprs, number: u8) -> u64 {
        gpr.slot(number) & 0xffff
    }

    #[inline(always)]
    fn set(gpr: &mut Gprs, number: u8, value: u64) {
        let old = gpr.slot_mut(number);
        *old = (*old & !0xffff) | (value & 0xffff);
    }

    #[inline(always)]
    fn widen(self) -> u64 {
        u64::from(self)
    }

    #[inline(always)]
    fn narrow(value: u64) -> Self {
        value as Self
    }
}

impl Width for u32 {
    const BITS: u32 = 32;

    #[inline(always)]
    fn get(gpr: &Gprs, number: u8) -> u64 {
        gpr.slot(number) & 0xffff_ffff
    }

    /// A 32-bit result clears the upper half (SDM volume 1, 3.4.1.1).
    #[inline(always)]
    fn set(gpr: &mut Gprs, number: u8, value: u64) {
        *gpr.slot_mut(number) = value & 0xffff_ffff;
    }

    #[inline(always)]
    fn widen(self) -> u64 {
        u64::from(self)
    }

    #[inline(always)]
    fn narrow(value: u64) -> Self {
        value as Self
    }
}

impl Width for u64 {
    const BITS: u32 = 64;

    #[inline(always)]
    fn get(gpr: &Gprs, number: u8) -> u64 {
        gpr.slot(number)
    }

    #[inline(always)]
    fn set(gpr: &mut Gprs, number: u8, value: u64) {
        *gpr.slot_mut(number) = value;
    }

    #[inline(always)]
    fn widen(self) -> u64 {
        self
    }

    #[inline(always)]
    fn narrow(value: u64) -> Self {
        value
    }
}

/// Evaluates an expression with a type alias bound to the width of `$bits` (8, 16, 32, else 64).
macro_rules! with_width {
    ($bits:expr, $width:ident => $value:expr) => {
        match $bits {
            8 => {
                type $width = u8;
                $value
            }
            16 => {
                type $width = u16;
                $value
            }
            32 => {
                type $width = u32;
                $value
            }
            _ => {
                type $width = u64;
                $value
            }
        }
    };
}
pub(crate) use with_width;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_byte_registers_are_the_second_bytes_of_the_first_four() {
        // SDM volume 1, figure 3-5.
        let mut gpr = Gprs::default();
        for number in 0..4 {
            *gpr.slot_mut(number) = 0x0123_4567_89ab_cde0 + u64::from(number);
            assert_eq!(u8::get(&gpr, number | slot::HIGH), 0xcd);
            u8::set(&mut gpr, number | slot::HIGH, 0x7742);
            assert_eq!(gpr.slot(number), 0x0123_4567_89ab_42e0 + u64::from(number));
            u8::set(&mut gpr, number, 0x7753);
            assert_eq!(gpr.slot(number), 0x0123_4567_89ab_4253);
            assert_eq!((u8::get(&gpr, number), u16::get(&gpr, number)), (0x53, 0x4253));
        }
    }
}
