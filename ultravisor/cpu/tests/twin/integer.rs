//! What the twin knows of integers: sums, differences, shifts, products.

use crate::ARITHMETIC;
use crate::twin::{Twin, extended, mask, sign};
use iced_x86::{Instruction, Mnemonic, OpKind, Register};
use ultravisor_cpu::flag;

impl Twin {
    /// SF, ZF and PF (SDM volume 1, 3.4.3.1).
    pub fn tell(&mut self, result: u64, bits: u32) {
        self.set(flag::SF, sign(result, bits));
        self.set(flag::ZF, result & mask(bits) == 0);
        self.set(flag::PF, (result as u8).count_ones().is_multiple_of(2));
    }

    pub fn carry(&self) -> u64 {
        u64::from(self.flags & flag::CF != 0)
    }

    fn add(&mut self, a: u64, b: u64, carry: u64, bits: u32) -> u64 {
        let whole = u128::from(a) + u128::from(b & mask(bits)) + u128::from(carry);
        let result = whole as u64 & mask(bits);
        self.tell(result, bits);
        self.set(flag::CF, whole > u128::from(mask(bits)));
        self.set(flag::AF, (a & 15) + (b & 15) + carry > 15);
        self.set(flag::OF, sign((a ^ result) & (b ^ result), bits));
        result
    }

    pub fn subtract(&mut self, a: u64, b: u64, borrow: u64, bits: u32) -> u64 {
        let b = b & mask(bits);
        let result = a.wrapping_sub(b).wrapping_sub(borrow) & mask(bits);
        self.tell(result, bits);
        self.set(flag::CF, u128::from(b) + u128::from(borrow) > u128::from(a));
        self.set(flag::AF, (b & 15) + borrow > a & 15);
        self.set(flag::OF, sign((a ^ b) & (a ^ result), bits));
        result
    }

    pub fn logic(&mut self, result: u64, bits: u32) -> u64 {
        self.tell(result, bits);
        self.set(flag::CF | flag::OF, false);
        self.undefined = flag::AF;
        result
    }

    pub fn arithmetic(&mut self, i: &Instruction) -> bool {
        use Mnemonic::*;
        if !matches!(
            i.mnemonic(),
            Add | Adc
                | Sub
                | Sbb
                | Cmp
                | And
                | Or
                | Xor
                | Test
                | Inc
                | Dec
                | Neg
                | Not
                | Xadd
                | Cmpxchg
        ) {
            return false;
        }
        if i.mnemonic() == Not {
            self.set_operand(i, !self.operand(i, 0));
            return true;
        }
        if i.mnemonic() == Cmpxchg {
            self.compare_and_exchange(i);
            return true;
        }
        let bits = Self::bits(i);
        let a = self.operand(i, 0);
        let b = if i.op_count() > 1 { self.operand(i, 1) & mask(bits) } else { 1 };
        let (carry, kept) = (self.carry(), self.flags & flag::CF);
        let result = match i.mnemonic() {
            Add | Xadd => self.add(a, b, 0, bits),
            Adc => self.add(a, b, carry, bits),
            Inc => self.add(a, 1, 0, bits),
            Sub | Cmp => self.subtract(a, b, 0, bits),
            Sbb => self.subtract(a, b, carry, bits),
            Dec => self.subtract(a, 1, 0, bits),
            Neg => self.subtract(0, a, 0, bits),
            And | Test => self.logic(a & b, bits),
            Or => self.logic(a | b, bits),
            _ => self.logic(a ^ b, bits),
        };
        if matches!(i.mnemonic(), Inc | Dec) {
            self.set(flag::CF, kept != 0);
        }
        if i.mnemonic() == Xadd {
            self.set_operand_at(i, 1, a);
        }
        if !matches!(i.mnemonic(), Cmp | Test) {
            self.set_operand(i, result);
        }
        true
    }

    /// SDM volume 2, CMPXCHG: memory that is not exchanged is written back. A register is not (the
    /// silicon test shows it), nor zero-extended.
    fn compare_and_exchange(&mut self, i: &Instruction) {
        let bits = Self::bits(i);
        let (is, new) = (self.operand(i, 0), self.operand(i, 1));
        let wanted = self.gpr[0] & mask(bits);
        self.subtract(wanted, is, 0, bits);
        if wanted == is {
            self.set_operand(i, new);
            return;
        }
        let accumulator = match bits {
            8 => Register::AL,
            16 => Register::AX,
            32 => Register::EAX,
            _ => Register::RAX,
        };
        if i.op0_kind() == OpKind::Memory {
            self.set_operand(i, is);
        }
        self.set_register(accumulator, is);
    }

    /// SDM volume 2, SAL/SAR/SHL/SHR and RCL/RCR/ROL/ROR: bit by bit.
    pub fn shift(&mut self, i: &Instruction) -> bool {
        use Mnemonic::*;
        let kind = i.mnemonic();
        if !matches!(kind, Shl | Shr | Sar | Rol | Ror | Rcl | Rcr) || i.op_count() != 2 {
            return false;
        }
        let bits = Self::bits(i);
        let count = self.operand(i, 1) & if bits == 64 { 63 } else { 31 };
        let before = self.operand(i, 0);
        let (mut value, mut carry) = (before, self.carry());
        for _ in 0..count {
            let (top, low) = (value >> (bits - 1) & 1, value & 1);
            let (next, out) = match kind {
                Shl => (value << 1, top),
                Shr => (value >> 1, low),
                Sar => (value >> 1 | top << (bits - 1), low),
                Rol => (value << 1 | top, top),
                Ror => (value >> 1 | low << (bits - 1), low),
                Rcl => (value << 1 | carry, top),
                _ => (value >> 1 | carry << (bits - 1), low),
            };
            (value, carry) = (next & mask(bits), out);
        }
        self.set_operand(i, value);
        if count == 0 {
            return true;
        }
        self.set(flag::CF, carry != 0);
        let top = sign(value, bits);
        let overflow = match kind {
            Shl | Rol | Rcl => top != (carry != 0),
            Shr => sign(before, bits),
            Sar => false,
            _ => top != sign(value << 1, bits),
        };
        self.set(flag::OF, overflow);
        if count > 1 {
            self.undefined |= flag::OF;
        }
        if matches!(kind, Shl | Shr | Sar) {
            self.tell(value, bits);
            self.undefined |= flag::AF;
            // SDM volume 2: of SHL and SHR past the operand's width.
            if kind != Sar && count >= u64::from(bits) {
                self.undefined |= flag::CF;
            }
        }
        true
    }

    /// SDM volume 2, MUL, IMUL, DIV, IDIV, MULX. No program divides what faults.
    pub fn multiply(&mut self, i: &Instruction) -> bool {
        use Mnemonic::*;
        if !matches!(i.mnemonic(), Mul | Imul | Div | Idiv | Mulx) {
            return false;
        }
        let bits = Self::bits(i);
        let signed = |value: u64| i128::from(extended(value, bits) as i64);
        match (i.mnemonic(), i.op_count()) {
            (Imul, 2 | 3) => {
                let count = i.op_count();
                let product =
                    signed(self.operand(i, count - 2)) * signed(self.operand(i, count - 1));
                self.set_operand(i, product as u64);
                self.lost(product != signed(product as u64));
            }
            (Imul, _) => {
                let product = signed(self.gpr[0]) * signed(self.operand(i, 0));
                self.set_wide(bits, product as u128);
                self.lost(product != signed(product as u64));
            }
            (Mul, _) => {
                let product = u128::from(self.gpr[0] & mask(bits)) * u128::from(self.operand(i, 0));
                self.set_wide(bits, product);
                self.lost(product >> bits != 0);
            }
            (Mulx, _) => {
                let product = u128::from(self.gpr[2] & mask(bits)) * u128::from(self.operand(i, 2));
                self.set_operand_at(i, 1, product as u64 & mask(bits));
                self.set_operand(i, (product >> bits) as u64);
            }
            (kind, _) => {
                self.divide(kind == Idiv, bits, self.operand(i, 0));
                self.undefined = ARITHMETIC;
            }
        }
        true
    }

    /// The flags of a multiplication, half of which may be lost.
    fn lost(&mut self, lost: bool) {
        self.set(flag::CF | flag::OF, lost);
        self.undefined = flag::SF | flag::ZF | flag::AF | flag::PF;
    }

    /// Into AX, DX:AX, EDX:EAX or RDX:RAX.
    fn set_wide(&mut self, bits: u32, value: u128) {
        let (low, high) = match bits {
            8 => return self.set_register(Register::AX, value as u64 & 0xffff),
            16 => (Register::AX, Register::DX),
            32 => (Register::EAX, Register::EDX),
            _ => (Register::RAX, Register::RDX),
        };
        self.set_register(low, value as u64 & mask(bits));
        self.set_register(high, (value >> bits) as u64 & mask(bits));
    }

    fn divide(&mut self, is_signed: bool, bits: u32, by: u64) {
        let (low, high) =
            if bits == 8 { (self.gpr[0], self.gpr[0] >> 8) } else { (self.gpr[0], self.gpr[2]) };
        let whole = u128::from(high & mask(bits)) << bits | u128::from(low & mask(bits));
        let (quotient, rest) = if is_signed {
            let whole = (whole << (128 - 2 * bits)) as i128 >> (128 - 2 * bits);
            let by = i128::from(extended(by, bits) as i64);
            ((whole / by) as u64, (whole % by) as u64)
        } else {
            ((whole / u128::from(by)) as u64, (whole % u128::from(by)) as u64)
        };
        let both = u128::from(rest & mask(bits)) << bits | u128::from(quotient & mask(bits));
        self.set_wide(bits, both);
    }
}
