//! What the twin knows of single bits, of BMI, and of shifts over two registers.

use crate::twin::{Twin, extended, mask, sign};
use iced_x86::{Instruction, Mnemonic};
use ultravisor_cpu::flag;

impl Twin {
    pub fn bit(&mut self, i: &Instruction) -> bool {
        self.one_bit(i)
            || self.counts(i)
            || self.fields(i)
            || self.without_flags(i)
            || self.double(i)
    }

    /// SDM volume 2, BT, BTS, BTR, BTC.
    fn one_bit(&mut self, i: &Instruction) -> bool {
        use Mnemonic::*;
        if !matches!(i.mnemonic(), Bt | Bts | Btr | Btc) {
            return false;
        }
        let before = self.operand(i, 0);
        let bit = 1 << (self.operand(i, 1) % u64::from(Self::bits(i)));
        self.set(flag::CF, before & bit != 0);
        self.undefined = flag::OF | flag::SF | flag::AF | flag::PF;
        match i.mnemonic() {
            Bts => self.set_operand(i, before | bit),
            Btr => self.set_operand(i, before & !bit),
            Btc => self.set_operand(i, before ^ bit),
            _ => {}
        }
        true
    }

    /// SDM volume 2, BSF, BSR, TZCNT, LZCNT, POPCNT.
    fn counts(&mut self, i: &Instruction) -> bool {
        use Mnemonic::*;
        if !matches!(i.mnemonic(), Bsf | Bsr | Tzcnt | Lzcnt | Popcnt) {
            return false;
        }
        let bits = Self::bits(i);
        let from = self.operand(i, 1);
        let leading = from.leading_zeros() - (64 - bits);
        let result = match i.mnemonic() {
            Bsf => from.trailing_zeros(),
            Bsr => 63 - from.leading_zeros().min(63),
            Tzcnt => from.trailing_zeros().min(bits),
            Lzcnt => leading,
            _ => from.count_ones(),
        };
        self.undefined = flag::OF | flag::SF | flag::AF | flag::PF;
        match i.mnemonic() {
            Bsf | Bsr => {
                self.undefined |= flag::CF;
                self.set(flag::ZF, from == 0);
                // Of nothing: the destination stays as it is.
                if from == 0 {
                    return true;
                }
            }
            Popcnt => {
                self.undefined = 0;
                self.set(flag::CF | flag::OF | flag::SF | flag::AF | flag::PF, false);
                self.set(flag::ZF, from == 0);
            }
            _ => {
                self.set(flag::CF, from == 0);
                self.set(flag::ZF, result == 0);
            }
        }
        self.set_operand(i, result.into());
        true
    }

    /// SDM volume 2, ANDN, BLSI, BLSR, BLSMSK, BEXTR, BZHI.
    fn fields(&mut self, i: &Instruction) -> bool {
        use Mnemonic::*;
        if !matches!(i.mnemonic(), Andn | Blsi | Blsr | Blsmsk | Bextr | Bzhi) {
            return false;
        }
        let bits = Self::bits(i);
        let a = self.operand(i, 1);
        let second = if i.op_count() > 2 { self.operand(i, 2) } else { 0 };
        let low = |count: u64| if count < 64 { !(u64::MAX << count) } else { u64::MAX };
        let control = second & 0xff;
        let (result, carry) = match i.mnemonic() {
            Andn => (!a & second, false),
            Blsi => (a & a.wrapping_neg(), a != 0),
            Blsr => (a & a.wrapping_sub(1), a == 0),
            Blsmsk => (a ^ a.wrapping_sub(1), a == 0),
            Bextr => {
                let shifted = if control < 64 { a >> control } else { 0 };
                (shifted & low(second >> 8 & 0xff), false)
            }
            _ => (a & low(control), control >= u64::from(bits)),
        };
        let result = result & mask(bits);
        self.tell(result, bits);
        self.set(flag::CF, carry);
        self.set(flag::OF, false);
        self.undefined = flag::AF | flag::PF;
        if i.mnemonic() == Bextr {
            self.undefined |= flag::SF;
        }
        self.set_operand(i, result);
        true
    }

    /// SDM volume 2, RORX, SARX, SHLX, SHRX, PDEP, PEXT: bit by bit where bits move one by one.
    fn without_flags(&mut self, i: &Instruction) -> bool {
        use Mnemonic::*;
        if !matches!(i.mnemonic(), Rorx | Sarx | Shlx | Shrx | Pdep | Pext) {
            return false;
        }
        let bits = Self::bits(i);
        let (a, b) = (self.operand(i, 1), self.operand(i, 2));
        let count = (b & u64::from(bits - 1)) as u32;
        let places = (0..bits).filter(|place| b >> place & 1 != 0);
        let bit = |from: u32, to: u32| (a >> from & 1) << to;
        let result = match i.mnemonic() {
            Rorx => (0..bits).map(|place| bit((place + count) % bits, place)).sum(),
            Sarx => (extended(a, bits) as i64 >> count) as u64,
            Shlx => a << count,
            Shrx => a >> count,
            Pdep => (0..).zip(places).map(|(from, place)| bit(from, place)).sum(),
            _ => (0..).zip(places).map(|(to, place)| bit(place, to)).sum(),
        };
        self.set_operand(i, result & mask(bits));
        true
    }

    /// SDM volume 2, SHLD and SHRD of 32 and 64 bits.
    fn double(&mut self, i: &Instruction) -> bool {
        let left = match i.mnemonic() {
            Mnemonic::Shld => true,
            Mnemonic::Shrd => false,
            _ => return false,
        };
        let bits = Self::bits(i);
        let count = (self.operand(i, 2) & u64::from(bits - 1)) as u32;
        let (before, other) = (self.operand(i, 0), self.operand(i, 1));
        if count == 0 {
            // Written all the same: a register of 32 bits is zero-extended.
            self.set_operand(i, before);
            return true;
        }
        let (high, low) = if left { (before, other) } else { (other, before) };
        let both = u128::from(high) << bits | u128::from(low);
        let (result, carry) = if left {
            ((both << count >> bits) as u64 & mask(bits), before >> (bits - count) & 1)
        } else {
            ((both >> count) as u64 & mask(bits), before >> (count - 1) & 1)
        };
        self.tell(result, bits);
        self.set(flag::CF, carry != 0);
        self.set(flag::OF, sign(result ^ before, bits));
        self.undefined = flag::AF;
        if count > 1 {
            self.undefined |= flag::OF;
        }
        self.set_operand(i, result);
        true
    }
}
