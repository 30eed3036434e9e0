//! Memory operands of 32-bit code: where the plain sum will do, and what is computed before the
//! instruction where it will not.

use super::Lowered;
use super::operand::segment_number;
use crate::exec::reach::{Cut, Reach, ReachBit};
use crate::form::Form;
use crate::regs::slot;
use crate::uop::{Handler, Uop, note, step};
use crate::width::with_width;
use iced_x86::{
    Instruction, InstructionInfoFactory, InstructionInfoOptions, MemorySize, Mnemonic, OpAccess,
    OpKind, Register,
};

/// Bytes of what XSAVE and XRSTOR access: x87, SSE and the header.
const XSAVE_BYTES: usize = 576;
/// Displacements so far below 4 GiB are negative numbers.
const BELOW: u32 = 1 << 20;

/// Whether an operand is the kind of memory that has an address of its own, or [`Register::EDI`]'s of
/// MASKMOVDQU.
const fn is_memory(kind: OpKind) -> bool {
    matches!(kind, OpKind::Memory | OpKind::MemorySegEDI | OpKind::MemorySegDI)
}

/// Gives the operand of `lowered`, which is `i` in code of form `form`, its address; what has to be
/// computed before it.
pub(super) fn prepare(i: &Instruction, lowered: &mut Lowered, form: Form) -> Option<Lowered> {
    if i.is_string_instruction() {
        strings(i, &mut lowered.uop, form);
        return None;
    }
    if i.mnemonic() == Mnemonic::Xlatb {
        return None;
    }
    let operand = (0..i.op_count()).find(|&n| is_memory(i.op_kind(n)))?;
    let short = is_short(i, operand);
    let uop = &mut lowered.uop;
    if i.mnemonic() == Mnemonic::Lea {
        return short.then(|| split(uop, step::<Cut>, 0xffff));
    }
    let segment = i.memory_segment();
    let all = matches!(segment, Register::DS | Register::ES | Register::SS);
    let counts_bits = is_bit_string(i);
    if form == Form::Flat && all && !short && !counts_bits {
        uop.segment = slot::ZERO;
        uop.disp = displacement(uop);
        return None;
    }
    let access = access(i, operand);
    let bytes = if access == OpAccess::NoMemAccess { 0 } else { bytes(i) };
    let run = if counts_bits { bit_handler(i, access) } else { handler(access) };
    let source = uop.src;
    let mut first = split(uop, run, if short { 0xffff } else { 0xffff_ffff });
    let before = &mut first.uop;
    before.small = bytes as i32;
    before.dst = segment_number(segment)?;
    before.src = source;
    if i.mnemonic() == Mnemonic::Pop && i.memory_base() == Register::ESP {
        // Its address counts from where the stack pointer is afterwards.
        before.disp = before.disp.wrapping_add(bytes as u64);
    }
    Some(first)
}

/// Splits off the computation of an operand's address by `run`, whose offset has the bits of `mask`.
fn split(uop: &mut Uop, run: Handler, mask: u64) -> Lowered {
    let mut first = Lowered::new(&Instruction::default(), run).completes();
    first.uop = Uop { run, imm: mask, segment: slot::ZERO, ..super::operand::prepare(uop) };
    first
}

/// Whether its address has 16 bits.
fn is_short(i: &Instruction, operand: u32) -> bool {
    let registers = [i.memory_base(), i.memory_index()];
    i.op_kind(operand) == OpKind::MemorySegDI
        || registers.iter().any(|register| register.is_gpr16())
        || registers == [Register::None; 2] && i.memory_displ_size() == 2
}

/// Whether a register counts bits from the operand.
fn is_bit_string(i: &Instruction) -> bool {
    matches!(i.mnemonic(), Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc)
        && i.op1_kind() == OpKind::Register
}

/// A displacement that is a number and no address: sign-extended, so that the sum needs no wrapping.
fn displacement(uop: &Uop) -> u64 {
    let value = uop.disp as u32;
    let relative = uop.base != slot::ZERO || uop.index != slot::ZERO;
    if relative && value >= BELOW.wrapping_neg() {
        i64::from(value as i32) as u64
    } else {
        value.into()
    }
}

/// What is done with operand `operand`.
fn access(i: &Instruction, operand: u32) -> OpAccess {
    let options = InstructionInfoOptions::NO_REGISTER_USAGE;
    InstructionInfoFactory::new().info_options(i, options).op_access(operand)
}

fn bytes(i: &Instruction) -> usize {
    let size = i.memory_size();
    let saves = matches!(size, MemorySize::Xsave | MemorySize::Xsave64);
    if saves { XSAVE_BYTES } else { size.size().max(1) }
}

fn writes(access: OpAccess) -> bool {
    match access {
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite => {
            true
        }
        OpAccess::None | OpAccess::NoMemAccess | OpAccess::Read | OpAccess::CondRead => false,
    }
}

fn handler(access: OpAccess) -> Handler {
    if writes(access) { step::<Reach<true>> } else { step::<Reach<false>> }
}

fn bit_handler(i: &Instruction, access: OpAccess) -> Handler {
    let size = i.memory_size().size() * 8;
    with_width!(size, T => if writes(access) {
        step::<ReachBit<T, true>>
    } else {
        step::<ReachBit<T, false>>
    })
}

/// String instructions look at segments themselves, where those are not all memory.
fn strings(i: &Instruction, uop: &mut Uop, form: Form) {
    let named = (0..i.op_count())
        .any(|n| matches!(i.op_kind(n), OpKind::MemorySegSI | OpKind::MemorySegESI));
    let source = if named { i.memory_segment() } else { Register::DS };
    let all = form == Form::Flat && matches!(source, Register::DS | Register::ES | Register::SS);
    uop.segment = slot::ZERO;
    uop.notes |= if all { 0 } else { note::CHECKED };
    uop.dst = segment_number(source).unwrap_or_default();
}
