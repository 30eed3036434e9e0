//! Which handlers jumps, calls and stack instructions have, and the fusing of compare with jump.

use super::Lowered;
use super::arith::condition;
use super::operand::{Kind, bits, kind, set_memory};
use crate::exec::alu::{Add, And, Binary, Cmp, Dec, Inc, Sub, Test, Unary};
use crate::exec::branch::{
    Call, CallTo, ChangeJump, CompareJump, Jump, JumpIf, JumpTo, Return, StepJump,
    jump_if_no_count, loop_back, until,
};
use crate::exec::stack::{Long, Pop, Push, enter, leave, pop_flags, pop_memory, push_flags};
use crate::exec::{Dst, Imm, Mem, Src};
use crate::flags::with_condition;
use crate::uop::{Handler, Meaning, Uop, leap, note, nothing, step};
use crate::width::with_width;
use iced_x86::{Code, CodeSize, Instruction, Mnemonic, OpKind};

pub(super) fn lower(i: &Instruction) -> Option<Lowered> {
    if i.is_jcc_short_or_near() {
        return jump_if(i);
    }
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other families' mnemonics")]
    match i.mnemonic() {
        Mnemonic::Jmp => transfer(i, leap::<Jump>, leap::<JumpTo<Src>>, leap::<JumpTo<Mem>>),
        Mnemonic::Call => transfer(i, leap::<Call>, leap::<CallTo<Src>>, leap::<CallTo<Mem>>),
        Mnemonic::Ret => ret(i),
        Mnemonic::Loop => count_loop::<{ until::ALWAYS }>(i),
        Mnemonic::Loope => count_loop::<{ until::EQUAL }>(i),
        Mnemonic::Loopne => count_loop::<{ until::NOT_EQUAL }>(i),
        Mnemonic::Jrcxz => relative(i, jump_if_no_count::<u64>),
        Mnemonic::Jecxz => relative(i, jump_if_no_count::<u32>),
        Mnemonic::Push => push(i),
        Mnemonic::Pop => pop(i),
        Mnemonic::Pushfq => Some(on_stack(i, push_flags::<u64, Long>)),
        Mnemonic::Pushf => Some(on_stack(i, push_flags::<u16, Long>)),
        Mnemonic::Popfq => Some(on_stack(i, pop_flags::<u64, Long>)),
        Mnemonic::Popf => Some(on_stack(i, pop_flags::<u16, Long>)),
        Mnemonic::Leave => Some(on_stack(
            i,
            match i.code() {
                Code::Leavew => leave::<u16, Long>,
                _ => leave::<u64, Long>,
            },
        )),
        Mnemonic::Enter => {
            let meaning = if i.code() == Code::Enterw_imm16_imm8 {
                enter::<u16, Long>
            } else {
                enter::<u64, Long>
            };
            let mut lowered = on_stack(i, meaning);
            lowered.uop.imm = u64::from(i.immediate16());
            lowered.uop.small = i32::from(i.immediate8_2nd());
            Some(lowered)
        }
        _ => None,
    }
}

/// An instruction whose memory is the stack alone.
pub(super) fn on_stack(i: &Instruction, meaning: Meaning) -> Lowered {
    let mut lowered = Lowered::plain(i, meaning);
    lowered.uop.notes |= note::STACK;
    lowered
}

/// The target of a near jump.
pub(super) fn target(i: &Instruction) -> Option<u64> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others are no near branches")]
    match i.op0_kind() {
        OpKind::NearBranch64 => Some(i.near_branch64()),
        // Of 32-bit code; in 64-bit mode the decoder has none.
        OpKind::NearBranch32 => Some(i.near_branch32().into()),
        OpKind::NearBranch16 if i.code_size() == CodeSize::Code32 => Some(i.near_branch16().into()),
        _ => None,
    }
}

pub(super) fn jump_if(i: &Instruction) -> Option<Lowered> {
    let mut lowered = Lowered::new(i, with_condition!(condition(i)?, C => leap::<JumpIf<C>>));
    lowered.uop.imm = target(i)?;
    Some(lowered.ends())
}

pub(super) fn relative(i: &Instruction, meaning: Meaning) -> Option<Lowered> {
    let mut lowered = Lowered::plain(i, meaning);
    lowered.uop.imm = target(i)?;
    Some(lowered.ends())
}

fn count_loop<const UNTIL: u8>(i: &Instruction) -> Option<Lowered> {
    let wide = matches!(
        i.code(),
        Code::Loop_rel8_64_RCX | Code::Loope_rel8_64_RCX | Code::Loopne_rel8_64_RCX
    );
    relative(i, if wide { loop_back::<u64, UNTIL> } else { loop_back::<u32, UNTIL> })
}

/// `jmp` and `call`, near; far ones are our limit.
fn transfer(i: &Instruction, direct: Handler, reg: Handler, mem: Handler) -> Option<Lowered> {
    if let Some(target) = target(i) {
        let mut lowered = Lowered::new(i, direct);
        lowered.uop.imm = target;
        lowered.uop.notes |= note::STACK;
        return Some(lowered.ends());
    }
    let near = matches!(i.code(), Code::Jmp_rm64 | Code::Call_rm64);
    let mut lowered = Lowered::new(i, reg);
    match kind(i, 0)? {
        Kind::Reg(number, 64) if near => lowered.uop.src = number,
        Kind::Mem if near => {
            set_memory(&mut lowered.uop, i)?;
            lowered.uop.run = mem;
        }
        Kind::Reg(..) | Kind::Mem | Kind::Imm(_) => return None,
    }
    Some(lowered.ends())
}

fn ret(i: &Instruction) -> Option<Lowered> {
    if !matches!(i.code(), Code::Retnq | Code::Retnq_imm16) {
        return None;
    }
    let mut lowered = Lowered::new(i, leap::<Return>);
    if i.op_count() == 1 {
        lowered.uop.imm = u64::from(i.immediate16());
    }
    lowered.uop.notes |= note::STACK;
    Some(lowered.ends())
}

fn push(i: &Instruction) -> Option<Lowered> {
    let size = match i.stack_pointer_increment() {
        -8 => 64,
        -2 => 16,
        _ => return None,
    };
    let mut lowered = Lowered::new(i, step::<Push<u64, Src, Long>>);
    let uop = &mut lowered.uop;
    uop.run = match kind(i, 0)? {
        Kind::Reg(number, _) => {
            uop.src = number;
            if size == 64 { step::<Push<u64, Src, Long>> } else { step::<Push<u16, Src, Long>> }
        }
        Kind::Imm(value) => {
            uop.small = value as u32 as i32;
            if size == 64 { step::<Push<u64, Imm, Long>> } else { step::<Push<u16, Imm, Long>> }
        }
        Kind::Mem => {
            set_memory(uop, i)?;
            if size == 64 { step::<Push<u64, Mem, Long>> } else { step::<Push<u16, Mem, Long>> }
        }
    };
    if kind(i, 0)? != Kind::Mem {
        uop.notes |= note::STACK;
    }
    Some(lowered)
}

fn pop(i: &Instruction) -> Option<Lowered> {
    let size = bits(i, 0)?;
    let mut lowered = Lowered::new(i, step::<Pop<u64, Long>>);
    match kind(i, 0)? {
        Kind::Reg(number, _) => {
            lowered.uop.dst = number;
            lowered.uop.notes |= note::STACK;
            lowered.uop.run = with_width!(size, T => step::<Pop<T, Long>>);
        }
        Kind::Mem => {
            lowered = Lowered::plain(i, nothing);
            set_memory(&mut lowered.uop, i)?;
            lowered.uop.meaning = with_width!(size, T => pop_memory::<T, Mem, Long> as Meaning);
        }
        Kind::Imm(_) => return None,
    }
    Some(lowered)
}

/// Conditional jump number `code` behind the comparison `first`.
fn compare_jump<O: Binary>(code: u8, first: &Lowered) -> Option<Handler> {
    let by = first.operands?;
    Some(with_condition!(code, C => with_width!(first.uop.bits, T => match by {
        (Kind::Mem, Kind::Imm(_)) => leap::<CompareJump<O, T, Mem, Imm, C>>,
        (Kind::Mem, _) => leap::<CompareJump<O, T, Mem, Src, C>>,
        (_, Kind::Mem) => leap::<CompareJump<O, T, Dst, Mem, C>>,
        (_, Kind::Imm(_)) => leap::<CompareJump<O, T, Dst, Imm, C>>,
        (_, Kind::Reg(..)) => leap::<CompareJump<O, T, Dst, Src, C>>,
    })))
}

/// The same behind an operation on a whole register.
fn change_jump<O: Binary>(code: u8, first: &Lowered) -> Option<Handler> {
    let wide = first.uop.bits == 64;
    match first.operands? {
        (Kind::Reg(_, 32 | 64), Kind::Reg(..)) => Some(with_condition!(code, C => if wide {
            leap::<ChangeJump<O, u64, Src, C>>
        } else {
            leap::<ChangeJump<O, u32, Src, C>>
        })),
        (Kind::Reg(_, 32 | 64), Kind::Imm(_)) => Some(with_condition!(code, C => if wide {
            leap::<ChangeJump<O, u64, Imm, C>>
        } else {
            leap::<ChangeJump<O, u32, Imm, C>>
        })),
        (Kind::Reg(..) | Kind::Mem | Kind::Imm(_), _) => None,
    }
}

/// The same behind `inc` or `dec`.
fn step_jump<O: Unary>(code: u8, first: &Lowered) -> Option<Handler> {
    match first.operands? {
        (Kind::Reg(_, 64), _) => Some(with_condition!(code, C => leap::<StepJump<O, u64, C>>)),
        (Kind::Reg(_, 32), _) => Some(with_condition!(code, C => leap::<StepJump<O, u32, C>>)),
        (Kind::Reg(..) | Kind::Mem | Kind::Imm(_), _) => None,
    }
}

/// `last` and the conditional jump `i` behind it in one, if `last` is what loops end with. Not in a
/// code segment that ends somewhere, for which jumps ask.
pub(super) fn fuse(last: &Lowered, i: &Instruction, jump: &Uop) -> Option<Lowered> {
    if !i.is_jcc_short_or_near() {
        return None;
    }
    let code = condition(i)?;
    #[expect(clippy::wildcard_enum_match_arm, reason = "only these are fused")]
    let run = match last.mnemonic {
        Mnemonic::Cmp => compare_jump::<Cmp>(code, last)?,
        Mnemonic::Test => compare_jump::<Test>(code, last)?,
        Mnemonic::Add => change_jump::<Add>(code, last)?,
        Mnemonic::Sub => change_jump::<Sub>(code, last)?,
        Mnemonic::And => change_jump::<And>(code, last)?,
        Mnemonic::Inc => step_jump::<Inc>(code, last)?,
        Mnemonic::Dec => step_jump::<Dec>(code, last)?,
        _ => return None,
    };
    // For the uops before it reads what its first half does not write.
    let mut fused = Lowered::new(i, run).ends();
    fused.reads = last.reads | (fused.reads & !last.writes);
    (fused.writes, fused.exits) = (last.writes, last.exits);
    fused.uop = Uop { run, imm: jump.imm, len: last.uop.len + jump.len, ..last.uop };
    fused.uop.notes |= note::FUSED;
    Some(fused)
}
