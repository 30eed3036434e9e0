//! 32-bit code: which handlers its jumps, calls and stack instructions have, and those instructions
//! that 64-bit mode has not.

use super::Lowered;
use super::arith::condition;
use super::flow::{jump_if, on_stack, relative, target};
use super::operand::{Kind, bits, kind, segment_number, set_memory};
use crate::exec::branch::{
    CallNear, CallNearTo, Jump, JumpInside, JumpInsideIf, JumpNearTo, ReturnNear, jump_if_no_count,
    loop_back, until,
};
use crate::exec::stack::{
    Flat, Pop, Push, Segmented, Stack, enter, leave, pop_all, pop_flags, pop_memory, push_all,
    push_flags,
};
use crate::exec::{Dst, Imm, Mem, Src, decimal, reach};
use crate::flags::with_condition;
use crate::form::Form;
use crate::regs::Reg;
use crate::uop::{Handler, Meaning, leap, note, nothing, step};
use crate::width::with_width;
use iced_x86::{Code, Instruction, Mnemonic, Register};

/// Evaluates an expression with type aliases for the width of `$bits` (16 or 32) and the stack that
/// code of form `$form` has.
macro_rules! with_stack {
    ($bits:expr, $form:expr, $width:ident, $stack:ident => $value:expr) => {
        match ($bits, $form) {
            (16, Form::Flat) => with_stack!(@ u16, Flat, $width, $stack, $value),
            (16, _) => with_stack!(@ u16, Segmented, $width, $stack, $value),
            (_, Form::Flat) => with_stack!(@ u32, Flat, $width, $stack, $value),
            _ => with_stack!(@ u32, Segmented, $width, $stack, $value),
        }
    };
    (@ $w:ty, $s:ty, $width:ident, $stack:ident, $value:expr) => {{
        type $width = $w;
        type $stack = $s;
        $value
    }};
}

/// The bits of an operand that the stack takes or gives.
fn stack_bits(i: &Instruction) -> Option<u32> {
    match i.stack_pointer_increment().unsigned_abs() {
        2 => Some(16),
        4 => Some(32),
        _ => None,
    }
}

pub(super) fn lower(i: &Instruction, form: Form) -> Option<Lowered> {
    if i.is_jcc_short_or_near() {
        return conditional(i, form);
    }
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other families' mnemonics")]
    match i.mnemonic() {
        Mnemonic::Jmp => jump(i, form),
        Mnemonic::Call => call(i, form),
        Mnemonic::Ret => ret(i, form),
        Mnemonic::Loop => count_loop::<{ until::ALWAYS }>(i),
        Mnemonic::Loope => count_loop::<{ until::EQUAL }>(i),
        Mnemonic::Loopne => count_loop::<{ until::NOT_EQUAL }>(i),
        Mnemonic::Jecxz => relative(i, jump_if_no_count::<u32>),
        Mnemonic::Jcxz => relative(i, jump_if_no_count::<u16>),
        Mnemonic::Push => push(i, form),
        Mnemonic::Pop => pop(i, form),
        Mnemonic::Pushfd | Mnemonic::Pushf => {
            let size = stack_bits(i)?;
            Some(on_stack(i, with_stack!(size, form, T, K => push_flags::<T, K> as Meaning)))
        }
        Mnemonic::Popfd | Mnemonic::Popf => {
            let size = stack_bits(i)?;
            Some(on_stack(i, with_stack!(size, form, T, K => pop_flags::<T, K> as Meaning)))
        }
        Mnemonic::Pushad => Some(on_stack(i, all::<u32>(form, true))),
        Mnemonic::Pusha => Some(on_stack(i, all::<u16>(form, true))),
        Mnemonic::Popad => Some(on_stack(i, all::<u32>(form, false))),
        Mnemonic::Popa => Some(on_stack(i, all::<u16>(form, false))),
        Mnemonic::Leave => {
            let size = if i.code() == Code::Leavew { 16 } else { 32 };
            Some(on_stack(i, with_stack!(size, form, T, K => leave::<T, K> as Meaning)))
        }
        Mnemonic::Enter => {
            let size = if i.code() == Code::Enterw_imm16_imm8 { 16 } else { 32 };
            let meaning = with_stack!(size, form, T, K => enter::<T, K> as Meaning);
            let mut lowered = on_stack(i, meaning);
            lowered.uop.imm = u64::from(i.immediate16());
            lowered.uop.small = i32::from(i.immediate8_2nd());
            Some(lowered)
        }
        _ => former(i),
    }
}

/// What 64-bit mode gave up.
fn former(i: &Instruction) -> Option<Lowered> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other families' mnemonics")]
    let meaning: Meaning = match i.mnemonic() {
        Mnemonic::Daa => decimal::adjust_packed::<false>,
        Mnemonic::Das => decimal::adjust_packed::<true>,
        Mnemonic::Aaa => decimal::adjust_unpacked::<false>,
        Mnemonic::Aas => decimal::adjust_unpacked::<true>,
        Mnemonic::Aam => decimal::split_digits,
        Mnemonic::Aad => decimal::join_digits,
        Mnemonic::Salc => decimal::carry_to_al,
        Mnemonic::Bound => {
            let mut lowered = with_width!(bits(i, 0)?, T => Lowered::plain(i, reach::bound::<T>));
            let Kind::Reg(number, _) = kind(i, 0)? else { return None };
            lowered.uop.src = number;
            set_memory(&mut lowered.uop, i)?;
            return Some(lowered);
        }
        Mnemonic::Arpl => return adjust_level(i),
        Mnemonic::Xlatb => {
            let mut lowered = Lowered::plain(i, reach::translate_byte);
            let narrow = i.memory_base() == Register::BX;
            lowered.uop.imm = if narrow { 0xffff } else { 0xffff_ffff };
            lowered.uop.base = Reg::Rbx as u8;
            lowered.uop.dst = segment_number(i.memory_segment())?;
            return Some(lowered);
        }
        _ => return None,
    };
    let mut lowered = Lowered::plain(i, meaning);
    lowered.reads = super::ALL_FLAGS;
    lowered.uop.imm = if i.op_count() == 1 { i.immediate8().into() } else { 0 };
    Some(lowered)
}

fn adjust_level(i: &Instruction) -> Option<Lowered> {
    let mut lowered = Lowered::plain(i, reach::adjust_level::<Dst>);
    let Kind::Reg(source, _) = kind(i, 1)? else { return None };
    lowered.uop.src = source;
    match kind(i, 0)? {
        Kind::Reg(number, _) => lowered.uop.dst = number,
        Kind::Mem => {
            lowered.uop.meaning = reach::adjust_level::<Mem>;
            set_memory(&mut lowered.uop, i)?;
        }
        Kind::Imm(_) => return None,
    }
    lowered.reads = super::ALL_FLAGS;
    Some(lowered)
}

fn all<T: crate::width::Width>(form: Form, pushes: bool) -> Meaning {
    const fn pick<T: crate::width::Width, K: Stack>(pushes: bool) -> Meaning {
        if pushes { push_all::<T, K> } else { pop_all::<T, K> }
    }
    if form == Form::Flat { pick::<T, Flat>(pushes) } else { pick::<T, Segmented>(pushes) }
}

fn conditional(i: &Instruction, form: Form) -> Option<Lowered> {
    let mut lowered = jump_if(i)?;
    if form != Form::Flat {
        lowered.uop.run = with_condition!(condition(i)?, C => leap::<JumpInsideIf<C>>);
    }
    Some(lowered)
}

fn count_loop<const UNTIL: u8>(i: &Instruction) -> Option<Lowered> {
    let short = matches!(
        i.code(),
        Code::Loop_rel8_16_CX
            | Code::Loop_rel8_32_CX
            | Code::Loope_rel8_16_CX
            | Code::Loope_rel8_32_CX
            | Code::Loopne_rel8_16_CX
            | Code::Loopne_rel8_32_CX
    );
    relative(i, if short { loop_back::<u16, UNTIL> } else { loop_back::<u32, UNTIL> })
}

/// A transfer to a place that the instruction names.
fn direct(i: &Instruction, run: Handler) -> Option<Lowered> {
    let mut lowered = Lowered::new(i, run);
    lowered.uop.imm = target(i)?;
    Some(lowered.ends())
}

/// A transfer through a register or memory.
fn indirect(i: &Instruction, reg: Handler, mem: Handler) -> Option<Lowered> {
    let mut lowered = Lowered::new(i, reg);
    match kind(i, 0)? {
        Kind::Reg(number, _) => lowered.uop.src = number,
        Kind::Mem => {
            set_memory(&mut lowered.uop, i)?;
            lowered.uop.run = mem;
        }
        Kind::Imm(_) => return None,
    }
    Some(lowered.ends())
}

fn jump(i: &Instruction, form: Form) -> Option<Lowered> {
    if target(i).is_some() {
        let flat = form == Form::Flat;
        return direct(i, if flat { leap::<Jump> } else { leap::<JumpInside> });
    }
    #[expect(clippy::wildcard_enum_match_arm, reason = "far ones are another family's")]
    match i.code() {
        Code::Jmp_rm32 => indirect(i, leap::<JumpNearTo<u32, Src>>, leap::<JumpNearTo<u32, Mem>>),
        Code::Jmp_rm16 => indirect(i, leap::<JumpNearTo<u16, Src>>, leap::<JumpNearTo<u16, Mem>>),
        _ => None,
    }
}

fn call(i: &Instruction, form: Form) -> Option<Lowered> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "far ones are another family's")]
    let size = match i.code() {
        Code::Call_rel32_32 | Code::Call_rm32 => 32,
        Code::Call_rel16 | Code::Call_rm16 => 16,
        _ => return None,
    };
    with_stack!(size, form, T, K => if target(i).is_some() {
        direct(i, leap::<CallNear<T, K>>)
    } else {
        indirect(i, leap::<CallNearTo<T, Src, K>>, leap::<CallNearTo<T, Mem, K>>)
    })
}

fn ret(i: &Instruction, form: Form) -> Option<Lowered> {
    let size = if matches!(i.code(), Code::Retnw | Code::Retnw_imm16) { 16 } else { 32 };
    let run = with_stack!(size, form, T, K => leap::<ReturnNear<T, K>> as Handler);
    let mut lowered = Lowered::new(i, run);
    if i.op_count() == 1 {
        lowered.uop.imm = u64::from(i.immediate16());
    }
    lowered.uop.notes |= note::STACK;
    Some(lowered.ends())
}

fn push(i: &Instruction, form: Form) -> Option<Lowered> {
    let size = stack_bits(i)?;
    let operand = kind(i, 0)?;
    let run = with_stack!(size, form, T, K => match operand {
        Kind::Reg(..) => step::<Push<T, Src, K>> as Handler,
        Kind::Imm(_) => step::<Push<T, Imm, K>>,
        Kind::Mem => step::<Push<T, Mem, K>>,
    });
    let mut lowered = Lowered::new(i, run);
    match operand {
        Kind::Reg(number, _) => lowered.uop.src = number,
        Kind::Imm(value) => lowered.uop.small = value as u32 as i32,
        Kind::Mem => set_memory(&mut lowered.uop, i)?,
    }
    if operand != Kind::Mem {
        lowered.uop.notes |= note::STACK;
    }
    Some(lowered)
}

fn pop(i: &Instruction, form: Form) -> Option<Lowered> {
    let size = stack_bits(i)?;
    match kind(i, 0)? {
        Kind::Reg(number, _) => {
            let run = with_stack!(size, form, T, K => step::<Pop<T, K>> as Handler);
            let mut lowered = Lowered::new(i, run);
            lowered.uop.dst = number;
            lowered.uop.notes |= note::STACK;
            Some(lowered)
        }
        Kind::Mem => {
            let mut lowered = Lowered::plain(i, nothing);
            set_memory(&mut lowered.uop, i)?;
            lowered.uop.meaning =
                with_stack!(size, form, T, K => pop_memory::<T, Mem, K> as Meaning);
            Some(lowered)
        }
        Kind::Imm(_) => None,
    }
}
