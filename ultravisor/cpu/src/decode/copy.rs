//! A copy of a register and what changes the copy, in one.

use super::Lowered;
use super::operand::Kind;
use crate::exec::alu::{Add, Alu, And, Binary, Or, Sub, Xor};
use crate::exec::shift::{Rol, Ror, Sar, Shift, ShiftBy, Shl, Shr};
use crate::exec::{Copied, Imm, Src};
use crate::uop::{Handler, Uop, note, step};
use iced_x86::{Instruction, Mnemonic};

/// `last` and the instruction `i` behind it in one, if `last` copies a register and `next`, which
/// is what `i` would be by itself, changes the copy: all of it, and by something else.
pub(super) fn fuse(last: &Lowered, i: &Instruction, next: &Lowered) -> Option<Lowered> {
    let (Kind::Reg(to, size), Kind::Reg(from, _)) = last.operands? else {
        return None;
    };
    let (Kind::Reg(changed, changed_size), by) = next.operands? else {
        return None;
    };
    let whole = (changed, changed_size) == (to, size) && matches!(size, 32 | 64);
    if last.mnemonic != Mnemonic::Mov || !whole || by == Kind::Reg(to, size) {
        return None;
    }
    let (run, quiet) = handlers(i.mnemonic(), size == 64, by)?;
    let (first, second) = (&last.uop, &next.uop);
    let mut fused = Lowered::new(i, run).writes_flags(i).quiet(i, quiet).completes();
    fused.uop = Uop { run, base: from, at: first.at, before: first.before, ..*second };
    fused.uop.len = first.len + second.len;
    fused.uop.notes |= note::FUSED;
    Some(fused)
}

/// With flags and without.
type Pair = (Handler, Handler);

fn handlers(mnemonic: Mnemonic, wide: bool, by: Kind) -> Option<Pair> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "only these are fused")]
    match mnemonic {
        Mnemonic::Add => binary::<Add>(wide, by),
        Mnemonic::Sub => binary::<Sub>(wide, by),
        Mnemonic::And => binary::<And>(wide, by),
        Mnemonic::Or => binary::<Or>(wide, by),
        Mnemonic::Xor => binary::<Xor>(wide, by),
        Mnemonic::Shl | Mnemonic::Sal => shift::<Shl>(wide, by),
        Mnemonic::Shr => shift::<Shr>(wide, by),
        Mnemonic::Sar => shift::<Sar>(wide, by),
        Mnemonic::Rol => shift::<Rol>(wide, by),
        Mnemonic::Ror => shift::<Ror>(wide, by),
        _ => None,
    }
}

fn binary<O: Binary>(wide: bool, by: Kind) -> Option<Pair> {
    match (by, wide) {
        (Kind::Reg(..), true) => {
            Some((step::<Alu<O, u64, Copied, Src, true>>, step::<Alu<O, u64, Copied, Src, false>>))
        }
        (Kind::Reg(..), false) => {
            Some((step::<Alu<O, u32, Copied, Src, true>>, step::<Alu<O, u32, Copied, Src, false>>))
        }
        (Kind::Imm(_), true) => {
            Some((step::<Alu<O, u64, Copied, Imm, true>>, step::<Alu<O, u64, Copied, Imm, false>>))
        }
        (Kind::Imm(_), false) => {
            Some((step::<Alu<O, u32, Copied, Imm, true>>, step::<Alu<O, u32, Copied, Imm, false>>))
        }
        (Kind::Mem, _) => None,
    }
}

/// By an immediate that is not zero: what `arith` leaves a second operand for.
fn shift<O: Shift>(wide: bool, by: Kind) -> Option<Pair> {
    match (by, wide) {
        (Kind::Imm(_), true) => Some((
            step::<ShiftBy<O, u64, Copied, Imm, true>>,
            step::<ShiftBy<O, u64, Copied, Imm, false>>,
        )),
        (Kind::Imm(_), false) => Some((
            step::<ShiftBy<O, u32, Copied, Imm, true>>,
            step::<ShiftBy<O, u32, Copied, Imm, false>>,
        )),
        (Kind::Reg(..) | Kind::Mem, _) => None,
    }
}
