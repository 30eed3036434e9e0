//! Which handlers the integer instructions have: arithmetic, moves, shifts, multiplication, bits.

use super::Lowered;
use super::operand::{Kind, bits, fits_small, kind, set_memory};
use crate::exec::alu::{
    Adc, Add, Alu, And, Binary, Cmp, Dec, Inc, Neg, Not, One, Or, Sbb, Sub, Test, Unary, Xor,
};
use crate::exec::bits::{change, scan, test_bit, test_bit_string};
use crate::exec::moves::{
    Cmov, Extend, Lea, Mov, MovImm, MovWide, Set, byte_swap, exchange, extend_accumulator,
    sign_to_rdx, translate_byte,
};
use crate::exec::muldiv::{
    DstValue, Multiply, divide_signed, divide_unsigned, multiply_signed, multiply_unsigned,
};
use crate::exec::shift::{Rcl, Rcr, Rol, Ror, Sar, Shift, ShiftBy, Shl, Shr, double};
use crate::exec::{Dst, Imm, Mem, Near, Src, atomic};
use crate::flags::with_condition;
use crate::regs::Reg;
use crate::uop::{Handler, Meaning, Uop, step};
use crate::width::with_width;
use iced_x86::{CodeSize, ConditionCode, Instruction, Mnemonic};

/// Evaluates an expression with a type alias for the place that operand kind `$kind` is.
macro_rules! with_place {
    ($memory:expr, $place:ident => $value:expr) => {
        if $memory {
            type $place = Mem;
            $value
        } else {
            type $place = Dst;
            $value
        }
    };
}

/// The same for a source.
macro_rules! with_source {
    ($memory:expr, $source:ident => $value:expr) => {
        if $memory {
            type $source = Mem;
            $value
        } else {
            type $source = Src;
            $value
        }
    };
}

pub(super) fn lower(i: &Instruction) -> Option<Lowered> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other families' mnemonics")]
    match i.mnemonic() {
        Mnemonic::Add => binary::<Add>(i),
        Mnemonic::Or => binary::<Or>(i),
        Mnemonic::Adc => binary::<Adc>(i),
        Mnemonic::Sbb => binary::<Sbb>(i),
        Mnemonic::And => binary::<And>(i),
        Mnemonic::Sub => binary::<Sub>(i),
        Mnemonic::Xor => binary::<Xor>(i),
        Mnemonic::Cmp => binary::<Cmp>(i),
        Mnemonic::Test => binary::<Test>(i),
        Mnemonic::Inc => unary::<Inc>(i),
        Mnemonic::Dec => unary::<Dec>(i),
        Mnemonic::Neg => unary::<Neg>(i),
        Mnemonic::Not => unary::<Not>(i),
        Mnemonic::Mov => mov(i),
        Mnemonic::Movzx => extend::<false>(i),
        Mnemonic::Movsx | Mnemonic::Movsxd => extend::<true>(i),
        Mnemonic::Lea => lea(i),
        Mnemonic::Shl | Mnemonic::Sal => shift::<Shl>(i),
        Mnemonic::Shr => shift::<Shr>(i),
        Mnemonic::Sar => shift::<Sar>(i),
        Mnemonic::Rol => shift::<Rol>(i),
        Mnemonic::Ror => shift::<Ror>(i),
        Mnemonic::Rcl => shift::<Rcl>(i),
        Mnemonic::Rcr => shift::<Rcr>(i),
        Mnemonic::Shld => shift_double::<true>(i),
        Mnemonic::Shrd => shift_double::<false>(i),
        Mnemonic::Imul => imul(i),
        Mnemonic::Mul | Mnemonic::Div | Mnemonic::Idiv => accumulate(i),
        Mnemonic::Bt => bit_test::<{ change::KEEP }>(i),
        Mnemonic::Bts => bit_test::<{ change::SET }>(i),
        Mnemonic::Btr => bit_test::<{ change::RESET }>(i),
        Mnemonic::Btc => bit_test::<{ change::COMPLEMENT }>(i),
        Mnemonic::Bsf => bit_scan::<false>(i),
        Mnemonic::Bsr => bit_scan::<true>(i),
        Mnemonic::Xchg | Mnemonic::Xadd | Mnemonic::Cmpxchg => swap(i),
        Mnemonic::Cmpxchg8b => pair(i, atomic::compare_exchange_8),
        Mnemonic::Cmpxchg16b => pair(i, atomic::compare_exchange_16),
        Mnemonic::Bswap => swap_bytes(i),
        Mnemonic::Cbw => Some(accumulator(i, extend_accumulator::<u16, u8>)),
        Mnemonic::Cwde => Some(accumulator(i, extend_accumulator::<u32, u16>)),
        Mnemonic::Cdqe => Some(accumulator(i, extend_accumulator::<u64, u32>)),
        Mnemonic::Cwd => Some(accumulator(i, sign_to_rdx::<u16>)),
        Mnemonic::Cdq => Some(accumulator(i, sign_to_rdx::<u32>)),
        Mnemonic::Cqo => Some(accumulator(i, sign_to_rdx::<u64>)),
        Mnemonic::Xlatb => xlat(i),
        _ => conditional(i),
    }
}

/// The number of the condition that the instruction tests, as it is encoded.
pub(super) fn condition(i: &Instruction) -> Option<u8> {
    (i.condition_code() as u8).checked_sub(ConditionCode::o as u8)
}

/// Fills the operands of a two-operand form in; the operand size.
fn two(lowered: &mut Lowered, i: &Instruction) -> Option<(u32, Kind, Kind)> {
    let (first, second) = (kind(i, 0)?, kind(i, 1)?);
    let size = bits(i, 0)?;
    let uop = &mut lowered.uop;
    uop.bits = size as u8;
    match first {
        Kind::Reg(number, _) => uop.dst = number,
        Kind::Mem => set_memory(uop, i)?,
        Kind::Imm(_) => return None,
    }
    match second {
        Kind::Reg(number, _) => uop.src = number,
        Kind::Mem => set_memory(uop, i)?,
        Kind::Imm(value) if fits_small(value, size) => uop.small = value as u32 as i32,
        Kind::Imm(_) => return None,
    }
    lowered.exits = first == Kind::Mem || second == Kind::Mem;
    Some((size, first, second))
}

fn alu<O: Binary, const FLAGS: bool>(uop: &Uop, first: Kind, second: Kind) -> Handler {
    with_width!(uop.bits, T => match (first, second) {
        (Kind::Mem, Kind::Imm(_)) => step::<Alu<O, T, Mem, Imm, FLAGS>>,
        (Kind::Mem, _) => step::<Alu<O, T, Mem, Src, FLAGS>>,
        (_, Kind::Mem) if uop.based() => step::<Alu<O, T, Dst, Near, FLAGS>>,
        (_, Kind::Mem) => step::<Alu<O, T, Dst, Mem, FLAGS>>,
        (_, Kind::Imm(_)) => step::<Alu<O, T, Dst, Imm, FLAGS>>,
        (_, Kind::Reg(..)) => step::<Alu<O, T, Dst, Src, FLAGS>>,
    })
}

fn binary<O: Binary>(i: &Instruction) -> Option<Lowered> {
    let mut lowered = Lowered::new(i, step::<MovWide>);
    let (_, first, second) = two(&mut lowered, i)?;
    lowered.operands = Some((first, second));
    lowered.uop.run = alu::<O, true>(&lowered.uop, first, second);
    let quiet = alu::<O, false>(&lowered.uop, first, second);
    Some(lowered.writes_flags(i).quiet(i, quiet))
}

fn unary<O: Unary>(i: &Instruction) -> Option<Lowered> {
    let mut lowered = Lowered::new(i, step::<MovWide>);
    let (size, memory) = one(&mut lowered, i)?;
    lowered.operands = Some((kind(i, 0)?, kind(i, 0)?));
    let pick = |flags: bool| -> Handler {
        with_width!(size, T => with_place!(memory, P => if flags {
            step::<One<O, T, P, true>>
        } else {
            step::<One<O, T, P, false>>
        }))
    };
    lowered.uop.run = pick(true);
    Some(lowered.writes_flags(i).quiet(i, pick(false)))
}

/// Fills a single register-or-memory operand in as destination and source.
fn one(lowered: &mut Lowered, i: &Instruction) -> Option<(u32, bool)> {
    let size = bits(i, 0)?;
    lowered.uop.bits = size as u8;
    let memory = match kind(i, 0)? {
        Kind::Reg(number, _) => {
            lowered.uop.dst = number;
            lowered.uop.src = number;
            false
        }
        Kind::Mem => {
            set_memory(&mut lowered.uop, i)?;
            true
        }
        Kind::Imm(_) => return None,
    };
    lowered.exits = memory;
    Some((size, memory))
}

fn mov(i: &Instruction) -> Option<Lowered> {
    let mut lowered = Lowered::new(i, step::<MovWide>);
    if let (Kind::Reg(number, 64), Kind::Imm(value)) = (kind(i, 0)?, kind(i, 1)?) {
        lowered.uop.dst = number;
        lowered.uop.imm = value;
        return Some(lowered.completes());
    }
    let (size, first, second) = two(&mut lowered, i)?;
    lowered.operands = Some((first, second));
    let near = lowered.uop.based();
    lowered.uop.run = with_width!(size, T => match (first, second) {
        (Kind::Mem, Kind::Imm(_)) => step::<Mov<T, Mem, Imm>>,
        (Kind::Mem, _) if near => step::<Mov<T, Near, Src>>,
        (Kind::Mem, _) => step::<Mov<T, Mem, Src>>,
        (_, Kind::Mem) if near => step::<Mov<T, Dst, Near>>,
        (_, Kind::Mem) => step::<Mov<T, Dst, Mem>>,
        (_, Kind::Imm(_)) => step::<MovImm<T>>,
        (_, Kind::Reg(..)) => step::<Mov<T, Dst, Src>>,
    });
    Some(lowered)
}

fn extend<const SIGNED: bool>(i: &Instruction) -> Option<Lowered> {
    let mut lowered = Lowered::new(i, step::<MovWide>);
    let (size, _, second) = two(&mut lowered, i)?;
    let from = bits(i, 1)?;
    lowered.uop.run = with_source!(second == Kind::Mem, S => with_width!(size, T => match from {
        8 => step::<Extend<T, u8, S, SIGNED>>,
        16 => step::<Extend<T, u16, S, SIGNED>>,
        _ => step::<Extend<T, u32, S, SIGNED>>,
    }));
    Some(lowered)
}

fn lea(i: &Instruction) -> Option<Lowered> {
    let mut lowered = Lowered::new(i, step::<MovWide>);
    let (size, ..) = two(&mut lowered, i)?;
    lowered.uop.segment = crate::regs::slot::ZERO;
    lowered.uop.run = with_width!(size, T => step::<Lea<T>>);
    Some(lowered.completes())
}

fn shift<O: Shift>(i: &Instruction) -> Option<Lowered> {
    let mut lowered = Lowered::new(i, step::<MovWide>);
    let (size, memory) = one(&mut lowered, i)?;
    let count = match kind(i, 1)? {
        Kind::Imm(value) => Some(value & if size == 64 { 63 } else { 31 }),
        Kind::Reg(number, _) => {
            lowered.uop.src = number;
            None
        }
        Kind::Mem => return None,
    };
    lowered.uop.small = count.unwrap_or(0) as i32;
    let pick = |flags: bool| -> Handler {
        with_width!(size, T => with_place!(memory, P => match (count.is_some(), flags) {
            (true, true) => step::<ShiftBy<O, T, P, Imm, true>>,
            (true, false) => step::<ShiftBy<O, T, P, Imm, false>>,
            (false, _) => step::<ShiftBy<O, T, P, Src, true>>,
        }))
    };
    lowered.uop.run = pick(true);
    if count.is_some_and(|count| count != 0) {
        lowered = lowered.writes_flags(i).quiet(i, pick(false));
        lowered.operands = Some((kind(i, 0)?, kind(i, 1)?));
    }
    Some(lowered)
}

fn shift_double<const LEFT: bool>(i: &Instruction) -> Option<Lowered> {
    let mut lowered = Lowered::plain(i, crate::uop::nothing);
    let (size, first, _) = two(&mut lowered, i)?;
    lowered.uop.small = match kind(i, 2)? {
        Kind::Imm(value) => value as i32 & 63,
        Kind::Reg(..) | Kind::Mem => -1,
    };
    let memory = first == Kind::Mem;
    lowered.uop.meaning = with_width!(size, T => with_place!(memory, P => double::<T, P, LEFT>));
    lowered.reads = super::ALL_FLAGS;
    Some(lowered)
}

fn imul(i: &Instruction) -> Option<Lowered> {
    if i.op_count() == 1 {
        return accumulate(i);
    }
    let mut lowered = Lowered::new(i, step::<MovWide>);
    let (size, _, second) = two(&mut lowered, i)?;
    let memory = second == Kind::Mem;
    let immediate = i.op_count() == 3;
    if immediate {
        let Kind::Imm(value) = kind(i, 2)? else {
            return None;
        };
        lowered.uop.small = value as u32 as i32;
    }
    let pick = |flags: bool| -> Handler {
        with_width!(size, T => with_source!(memory, S => match (immediate, flags) {
            (true, true) => step::<Multiply<T, S, Imm, true>>,
            (true, false) => step::<Multiply<T, S, Imm, false>>,
            (false, true) => step::<Multiply<T, S, DstValue, true>>,
            (false, false) => step::<Multiply<T, S, DstValue, false>>,
        }))
    };
    lowered.uop.run = pick(true);
    Some(lowered.writes_flags(i).quiet(i, pick(false)))
}

/// The forms whose other operand is the accumulator.
fn accumulate(i: &Instruction) -> Option<Lowered> {
    let mut lowered = Lowered::plain(i, crate::uop::nothing);
    let (size, memory) = one(&mut lowered, i)?;
    lowered.uop.meaning = with_width!(size, T => with_source!(memory, S => {
        #[expect(clippy::wildcard_enum_match_arm, reason = "called for these four")]
        match i.mnemonic() {
            Mnemonic::Mul => multiply_unsigned::<T, S> as Meaning,
            Mnemonic::Imul => multiply_signed::<T, S>,
            Mnemonic::Div => divide_unsigned::<T, S>,
            Mnemonic::Idiv => divide_signed::<T, S>,
            _ => return None,
        }
    }));
    lowered.exits |= matches!(i.mnemonic(), Mnemonic::Div | Mnemonic::Idiv);
    Some(lowered)
}

fn bit_test<const CHANGE: u8>(i: &Instruction) -> Option<Lowered> {
    let mut lowered = Lowered::plain(i, crate::uop::nothing);
    let (size, first, second) = two(&mut lowered, i)?;
    lowered.uop.meaning = with_width!(size, T => match (first, second) {
        (Kind::Mem, Kind::Imm(_)) => test_bit::<T, Mem, Imm, CHANGE> as Meaning,
        // The address has come to the bit's word already: see `reach`.
        (Kind::Mem, _) if i.code_size() == CodeSize::Code32 => test_bit::<T, Mem, Src, CHANGE>,
        (Kind::Mem, _) => test_bit_string::<T, CHANGE>,
        (_, Kind::Imm(_)) => test_bit::<T, Dst, Imm, CHANGE>,
        (_, Kind::Reg(..) | Kind::Mem) => test_bit::<T, Dst, Src, CHANGE>,
    });
    lowered.reads = super::ALL_FLAGS;
    Some(lowered)
}

fn bit_scan<const REVERSE: bool>(i: &Instruction) -> Option<Lowered> {
    let mut lowered = Lowered::plain(i, crate::uop::nothing);
    let (size, _, second) = two(&mut lowered, i)?;
    lowered.uop.meaning = with_width!(size, T => with_source!(second == Kind::Mem, S => {
        scan::<T, S, REVERSE> as Meaning
    }));
    lowered.reads = super::ALL_FLAGS;
    Some(lowered)
}

fn swap(i: &Instruction) -> Option<Lowered> {
    let mut lowered = Lowered::plain(i, crate::uop::nothing);
    let (size, first, second) = two(&mut lowered, i)?;
    let mut memory = first == Kind::Mem;
    if second == Kind::Mem {
        // Only `xchg` may name its memory operand second; it is symmetric.
        lowered.uop.src = lowered.uop.dst;
        memory = true;
    }
    lowered.uop.meaning = with_width!(size, T => with_place!(memory, P => {
        #[expect(clippy::wildcard_enum_match_arm, reason = "called for these three")]
        match i.mnemonic() {
            Mnemonic::Xchg => exchange::<T, P> as Meaning,
            Mnemonic::Xadd => atomic::exchange_add::<T, P>,
            Mnemonic::Cmpxchg => atomic::compare_exchange::<T, P>,
            _ => return None,
        }
    }));
    if i.mnemonic() == Mnemonic::Xchg && !memory {
        return Some(lowered.completes());
    }
    Some(lowered)
}

fn pair(i: &Instruction, meaning: Meaning) -> Option<Lowered> {
    let mut lowered = Lowered::plain(i, meaning);
    set_memory(&mut lowered.uop, i)?;
    lowered.reads = super::ALL_FLAGS;
    Some(lowered)
}

fn swap_bytes(i: &Instruction) -> Option<Lowered> {
    let mut lowered = Lowered::plain(i, crate::uop::nothing);
    let (size, _) = one(&mut lowered, i)?;
    lowered.uop.meaning = with_width!(size, T => byte_swap::<T> as Meaning);
    Some(lowered.completes())
}

fn accumulator(i: &Instruction, meaning: Meaning) -> Lowered {
    Lowered::plain(i, meaning).completes()
}

fn xlat(i: &Instruction) -> Option<Lowered> {
    if i.memory_base() != iced_x86::Register::RBX {
        return None;
    }
    let mut lowered = Lowered::plain(i, translate_byte);
    lowered.uop.base = Reg::Rbx as u8;
    lowered.uop.segment = super::operand::segment(i);
    Some(lowered)
}

/// `cmovcc` and `setcc`: mnemonics by the dozen, told apart by what they are made of.
fn conditional(i: &Instruction) -> Option<Lowered> {
    let code = condition(i)?;
    let mut lowered = Lowered::new(i, step::<MovWide>);
    if i.is_jcc_short_or_near() {
        return None;
    }
    if i.op_count() == 2 {
        let (size, _, second) = two(&mut lowered, i)?;
        let memory = second == Kind::Mem;
        lowered.uop.run = with_condition!(code, C => match (size, memory) {
            (16, false) => step::<Cmov<u16, Src, C>>,
            (16, true) => step::<Cmov<u16, Mem, C>>,
            (32, false) => step::<Cmov<u32, Src, C>>,
            (32, true) => step::<Cmov<u32, Mem, C>>,
            (_, false) => step::<Cmov<u64, Src, C>>,
            (_, true) => step::<Cmov<u64, Mem, C>>,
        });
        return Some(lowered);
    }
    let (size, memory) = one(&mut lowered, i)?;
    if size != 8 || i.op_count() != 1 {
        return None;
    }
    lowered.uop.run = with_condition!(code, C => with_place!(memory, P => step::<Set<P, C>>));
    Some(lowered)
}
