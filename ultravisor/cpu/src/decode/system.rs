//! Which handlers segment instructions, far transfers, interrupts and system calls have.

use super::Lowered;
use super::operand::{Kind, bits, kind, segment_number, set_memory};
use crate::cpu::vector;
use crate::exec::control_registers::{load_status, store_status};
use crate::exec::fast_call::{self, read_base, write_base};
use crate::exec::segments::{self, Question, Verr, Verw};
use crate::exec::stack::{Long, Segmented};
use crate::exec::system::invalidate_contexts;
use crate::exec::{Dst, Mem, Src, far, interrupt};
use crate::uop::{Meaning, note, nothing, transfer};
use crate::width::with_width;
use iced_x86::{Code, CodeSize, Instruction, Mnemonic, OpKind, Register};

/// Evaluates an expression with type aliases for the width of `$bits` and the stack of the mode that
/// the instruction was decoded for.
macro_rules! with_stack {
    ($bits:expr, $i:expr, $width:ident, $stack:ident => $value:expr) => {
        with_width!($bits, $width => if $i.code_size() == CodeSize::Code32 {
            type $stack = Segmented;
            $value
        } else {
            type $stack = Long;
            $value
        })
    };
}

pub(super) fn lower(i: &Instruction) -> Option<Lowered> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other families' mnemonics")]
    match i.mnemonic() {
        Mnemonic::Mov => move_segment(i),
        Mnemonic::Push => on_stack(i, |size| {
            with_stack!(size, i, T, K => {
                segments::push_segment::<T, K> as Meaning
            })
        }),
        Mnemonic::Pop => on_stack(i, |size| {
            with_stack!(size, i, T, K => {
                segments::pop_segment::<T, K> as Meaning
            })
        }),
        Mnemonic::Lds => load_pointer(i, Register::DS),
        Mnemonic::Les => load_pointer(i, Register::ES),
        Mnemonic::Lss => load_pointer(i, Register::SS),
        Mnemonic::Lfs => load_pointer(i, Register::FS),
        Mnemonic::Lgs => load_pointer(i, Register::GS),
        Mnemonic::Lldt => {
            from(i, 0, segments::load_local_table::<Src>, segments::load_local_table::<Mem>)
        }
        Mnemonic::Ltr => from(i, 0, segments::load_task::<Src>, segments::load_task::<Mem>),
        Mnemonic::Sldt => table_selector::<false>(i),
        Mnemonic::Str => table_selector::<true>(i),
        Mnemonic::Verr => verify::<Verr>(i),
        Mnemonic::Verw => verify::<Verw>(i),
        Mnemonic::Lar => with_width!(bits(i, 0)?, T => {
            question(i, segments::load_rights::<T, Src>, segments::load_rights::<T, Mem>)
        }),
        Mnemonic::Lsl => with_width!(bits(i, 0)?, T => {
            question(i, segments::load_limit::<T, Src>, segments::load_limit::<T, Mem>)
        }),
        Mnemonic::Int => leap(i, interrupt::interrupt, i.immediate8().into()),
        Mnemonic::Int3 => leap(i, interrupt::interrupt, vector::BREAKPOINT.into()),
        Mnemonic::Into => leap(i, interrupt::overflow, vector::OVERFLOW.into()).map(reads_flags),
        Mnemonic::Int1 => leap(i, interrupt::debug_interrupt, 0),
        Mnemonic::Iret => returns(i, 16),
        Mnemonic::Iretd => returns(i, 32),
        Mnemonic::Iretq => returns(i, 64),
        Mnemonic::Syscall => leap(i, fast_call::call, 0),
        Mnemonic::Sysret => leap(i, fast_call::call_return::<false>, 0),
        Mnemonic::Sysretq => leap(i, fast_call::call_return::<true>, 0),
        Mnemonic::Sysenter => leap(i, fast_call::enter, 0),
        Mnemonic::Sysexit => leap(i, fast_call::exit::<false>, 0),
        Mnemonic::Sysexitq => leap(i, fast_call::exit::<true>, 0),
        Mnemonic::Rdfsbase => base(i, read_base::<true, u32>, read_base::<true, u64>),
        Mnemonic::Rdgsbase => base(i, read_base::<false, u32>, read_base::<false, u64>),
        Mnemonic::Wrfsbase => base(i, write_base::<true, u32>, write_base::<true, u64>),
        Mnemonic::Wrgsbase => base(i, write_base::<false, u32>, write_base::<false, u64>),
        Mnemonic::Invpcid => {
            let mut lowered = Lowered::plain(i, invalidate_contexts);
            lowered.uop.dst = register(i, 0)?;
            set_memory(&mut lowered.uop, i)?;
            Some(lowered.ends())
        }
        Mnemonic::Lmsw => from(i, 0, load_status::<Src>, load_status::<Mem>).map(Lowered::ends),
        Mnemonic::Smsw => {
            word(i, store_status::<u16, Mem>, |size| with_width!(size, T => store_status::<T, Dst>))
        }
        Mnemonic::Jmp | Mnemonic::Call | Mnemonic::Retf => far_transfer(i),
        _ => None,
    }
}

/// An instruction whose operand number `operand` is read, a register or memory.
fn from(i: &Instruction, operand: u32, reg: Meaning, mem: Meaning) -> Option<Lowered> {
    let mut lowered = Lowered::plain(i, reg);
    match kind(i, operand)? {
        Kind::Reg(number, _) => lowered.uop.src = number,
        Kind::Mem => {
            set_memory(&mut lowered.uop, i)?;
            lowered.uop.meaning = mem;
        }
        Kind::Imm(_) => return None,
    }
    Some(lowered)
}

/// The general-purpose register that operand `number` is.
fn register(i: &Instruction, number: u32) -> Option<u8> {
    match kind(i, number)? {
        Kind::Reg(register, _) => Some(register),
        Kind::Mem | Kind::Imm(_) => None,
    }
}

/// An instruction whose one operand is written: two bytes of memory, or a register of any size.
fn word(i: &Instruction, mem: Meaning, by_size: impl Fn(u32) -> Meaning) -> Option<Lowered> {
    let mut lowered = Lowered::plain(i, mem);
    match kind(i, 0)? {
        Kind::Reg(number, size) => {
            lowered.uop.dst = number;
            lowered.uop.meaning = by_size(size);
        }
        Kind::Mem => set_memory(&mut lowered.uop, i)?,
        Kind::Imm(_) => return None,
    }
    Some(lowered)
}

/// `mov` with a segment register.
fn move_segment(i: &Instruction) -> Option<Lowered> {
    if let Some(segment) = segment_number(i.op0_register()) {
        let mut lowered = from(i, 1, segments::load_segment::<Src>, segments::load_segment::<Mem>)?;
        lowered.uop.dst = segment;
        return Some(lowered);
    }
    let segment = segment_number(i.op1_register())?;
    let mut lowered = word(
        i,
        segments::store_segment::<u16, Mem>,
        |size| with_width!(size, T => segments::store_segment::<T, Dst>),
    )?;
    lowered.uop.src = segment;
    Some(lowered)
}

/// `push` and `pop` of a segment register.
fn on_stack(i: &Instruction, by_size: impl Fn(u32) -> Meaning) -> Option<Lowered> {
    let segment = segment_number(i.op0_register())?;
    if i.code() == Code::Popw_CS {
        // The first processor's alone.
        return None;
    }
    let bits = i.stack_pointer_increment().unsigned_abs() * 8;
    let mut lowered = Lowered::plain(i, by_size(bits));
    (lowered.uop.dst, lowered.uop.src) = (segment, segment);
    lowered.uop.notes |= note::STACK;
    Some(lowered)
}

fn load_pointer(i: &Instruction, segment: Register) -> Option<Lowered> {
    let mut lowered = Lowered::plain(i, nothing);
    lowered.uop.dst = register(i, 0)?;
    lowered.uop.small = segment_number(segment)?.into();
    set_memory(&mut lowered.uop, i)?;
    lowered.uop.meaning = with_width!(bits(i, 0)?, T => segments::load_pointer::<T> as Meaning);
    Some(lowered)
}

fn table_selector<const TASK: bool>(i: &Instruction) -> Option<Lowered> {
    word(
        i,
        segments::store_table_selector::<TASK, u16, Mem>,
        |size| with_width!(size, T => segments::store_table_selector::<TASK, T, Dst>),
    )
}

/// LAR and LSL: a register for the answer, and all flags but ZF stay.
fn question(i: &Instruction, reg: Meaning, mem: Meaning) -> Option<Lowered> {
    let mut lowered = from(i, 1, reg, mem)?;
    lowered.uop.dst = register(i, 0)?;
    lowered.reads = super::ALL_FLAGS;
    Some(lowered)
}

fn verify<Q: Question>(i: &Instruction) -> Option<Lowered> {
    let mut lowered = from(i, 0, segments::verify::<Q, Src>, segments::verify::<Q, Mem>)?;
    lowered.reads = super::ALL_FLAGS;
    Some(lowered)
}

/// FSGSBASE: one register.
fn base(i: &Instruction, narrow: Meaning, wide: Meaning) -> Option<Lowered> {
    let mut lowered = Lowered::plain(i, if bits(i, 0)? == 32 { narrow } else { wide });
    lowered.uop.dst = register(i, 0)?;
    Some(lowered)
}

/// What goes elsewhere by itself, and uses the stack.
fn leap(i: &Instruction, meaning: Meaning, imm: u64) -> Option<Lowered> {
    let mut lowered = Lowered::new(i, transfer);
    lowered.uop.meaning = meaning;
    lowered.uop.imm = imm;
    lowered.uop.notes |= note::STACK;
    Some(lowered.ends())
}

fn reads_flags(mut lowered: Lowered) -> Lowered {
    lowered.reads = super::ALL_FLAGS;
    lowered
}

fn returns(i: &Instruction, size: u32) -> Option<Lowered> {
    leap(i, with_stack!(size, i, T, K => interrupt::interrupt_return::<T, K> as Meaning), 0)
}

/// The operand size of a far transfer in bits, and what it does.
fn far_form(code: Code) -> Option<(u32, Far)> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "near ones are another family's")]
    Some(match code {
        Code::Jmp_m1616 => (16, Far::Jump),
        Code::Jmp_m1632 => (32, Far::Jump),
        Code::Jmp_m1664 => (64, Far::Jump),
        Code::Jmp_ptr1616 => (16, Far::JumpHere),
        Code::Jmp_ptr1632 => (32, Far::JumpHere),
        Code::Call_m1616 => (16, Far::Call),
        Code::Call_m1632 => (32, Far::Call),
        Code::Call_m1664 => (64, Far::Call),
        Code::Call_ptr1616 => (16, Far::CallHere),
        Code::Call_ptr1632 => (32, Far::CallHere),
        Code::Retfw | Code::Retfw_imm16 => (16, Far::Return),
        Code::Retfd | Code::Retfd_imm16 => (32, Far::Return),
        Code::Retfq | Code::Retfq_imm16 => (64, Far::Return),
        _ => return None,
    })
}

/// The far transfers; `Here` is a pointer in the instruction, else it is in memory.
enum Far {
    Jump,
    JumpHere,
    Call,
    CallHere,
    Return,
}

/// Far jumps, calls and returns. They end their block and set `rip`.
fn far_transfer(i: &Instruction) -> Option<Lowered> {
    let (size, far) = far_form(i.code())?;
    let mut lowered = Lowered::new(i, transfer);
    lowered.uop.meaning = with_width!(size, T => match far {
        Far::Jump => far::jump::<T, far::InMemory> as Meaning,
        Far::JumpHere => far::jump::<T, far::Here>,
        Far::Call => far::call::<T, far::InMemory>,
        Far::CallHere => far::call::<T, far::Here>,
        Far::Return => with_stack!(size, i, T, K => far::return_far::<T, K> as Meaning),
    });
    match far {
        Far::Return => {
            lowered.uop.notes |= note::STACK;
            lowered.uop.imm = if i.op_count() == 1 { u64::from(i.immediate16()) } else { 0 };
        }
        Far::Jump | Far::Call => set_memory(&mut lowered.uop, i)?,
        Far::JumpHere | Far::CallHere => {
            let short = i.op0_kind() == OpKind::FarBranch16;
            lowered.uop.small = i.far_branch_selector().into();
            lowered.uop.imm = if short { i.far_branch16().into() } else { i.far_branch32().into() };
        }
    }
    Some(lowered.ends())
}
