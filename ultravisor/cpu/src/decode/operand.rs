//! Operands: which register numbers and addresses an instruction names.

use crate::regs::slot;
use crate::uop::{Uop, note};
use iced_x86::{Instruction, OpKind, Register};

/// What an operand is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A general-purpose register: its number and size in bits.
    Reg(u8, u32),
    Mem,
    /// An immediate, sign-extended as the instruction means it.
    Imm(u64),
}

/// A general-purpose register's number (as [`slot`] has it) and size.
pub(super) fn gpr(register: Register) -> Option<(u8, u32)> {
    let from = |first: Register| (register as u32).wrapping_sub(first as u32);
    if register.is_gpr64() {
        Some((from(Register::RAX) as u8, 64))
    } else if register.is_gpr32() {
        Some((from(Register::EAX) as u8, 32))
    } else if register.is_gpr16() {
        Some((from(Register::AX) as u8, 16))
    } else if register.is_gpr8() {
        // iced-x86's order: al cl dl bl, ah ch dh bh, spl bpl sil dil, r8b to r15b.
        let number = from(Register::AL) as u8;
        Some(match number {
            0..=3 => (number, 8),
            4..=7 => ((number - 4) | slot::HIGH, 8),
            _ => (number - 4, 8),
        })
    } else {
        None
    }
}

/// Operand `number` if it is of an integer instruction.
pub(super) fn kind(instruction: &Instruction, number: u32) -> Option<Kind> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other kind is no plain operand")]
    match instruction.op_kind(number) {
        OpKind::Register => {
            let (register, bits) = gpr(instruction.op_register(number))?;
            Some(Kind::Reg(register, bits))
        }
        OpKind::Memory => Some(Kind::Mem),
        OpKind::Immediate8
        | OpKind::Immediate16
        | OpKind::Immediate32
        | OpKind::Immediate64
        | OpKind::Immediate8to16
        | OpKind::Immediate8to32
        | OpKind::Immediate8to64
        | OpKind::Immediate32to64 => Some(Kind::Imm(instruction.immediate(number))),
        _ => None,
    }
}

/// The size of operand `number` in bits.
pub(super) fn bits(instruction: &Instruction, number: u32) -> Option<u32> {
    match kind(instruction, number)? {
        Kind::Reg(_, bits) => Some(bits),
        Kind::Mem => Some(instruction.memory_size().size() as u32 * 8),
        Kind::Imm(_) => None,
    }
}

/// Puts the memory operand's parts into `uop`.
pub(super) fn set_memory(uop: &mut Uop, instruction: &Instruction) -> Option<()> {
    if instruction.is_ip_rel_memory_operand() {
        uop.disp = instruction.ip_rel_memory_address();
    } else {
        uop.disp = instruction.memory_displacement64();
        uop.base = address_register(instruction.memory_base())?;
        uop.index = address_register(instruction.memory_index())?;
        uop.scale = instruction.memory_index_scale().trailing_zeros() as u8;
    }
    uop.segment = segment(instruction);
    if instruction.memory_segment() == Register::SS {
        uop.notes |= note::STACK;
    }
    Some(())
}

/// The number of a segment register.
pub(super) fn segment_number(register: Register) -> Option<u8> {
    let number = (register as u32).wrapping_sub(Register::ES as u32);
    register.is_segment_register().then_some(number as u8)
}

/// The slot of the segment base that the memory operand adds.
pub(super) fn segment(instruction: &Instruction) -> u8 {
    let register = instruction.memory_segment();
    if register == Register::FS {
        slot::FS
    } else if register == Register::GS {
        slot::GS
    } else {
        slot::ZERO
    }
}

fn address_register(register: Register) -> Option<u8> {
    if register == Register::None {
        return Some(slot::ZERO);
    }
    gpr(register).map(|(number, _)| number)
}

/// Whether the memory operand's address is more than a 64-bit sum.
pub(super) fn needs_preparing(instruction: &Instruction) -> bool {
    let narrow = instruction.memory_base().is_gpr32() || instruction.memory_index().is_gpr32();
    narrow && (0..instruction.op_count()).any(|n| instruction.op_kind(n) == OpKind::Memory)
}

/// Splits off the computation of an operand's address: what is returned goes before `uop`.
pub(super) fn prepare(uop: &mut Uop) -> Uop {
    let mut first = *uop;
    first.notes = (uop.notes & note::STACK) | note::PREPARES;
    uop.disp = 0;
    uop.base = slot::TEMP;
    uop.index = slot::ZERO;
    uop.scale = 0;
    uop.segment = slot::ZERO;
    first
}

/// Whether an immediate of `bits` bits is its low half sign-extended.
pub(super) fn fits_small(value: u64, bits: u32) -> bool {
    let spare = 64 - bits;
    ((value << spare) as i64) >> spare == i64::from(value as u32 as i32) || bits <= 32
}
