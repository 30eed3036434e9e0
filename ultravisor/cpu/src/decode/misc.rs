//! Which handlers strings, flags and system instructions have.

use super::Lowered;
use super::operand::{Kind, gpr, kind, segment, set_memory};
use crate::exec::control::{
    ah_to_flags, complement_carry, flags_to_ah, flush_line, no_operation, set_carry, set_direction,
};
use crate::exec::ports::{self, Ins, Outs};
use crate::exec::string::{Cmps, Lods, Movs, Scas, Stos, StringOp, repeat, single};
use crate::exec::{control_registers, cpuid, debug_registers, fast_call, msr, system};
use crate::uop::{Handler, Meaning, note, nothing};
use crate::width::with_width;
use iced_x86::{Code, CodeSize, Instruction, Mnemonic, OpKind, Register};

pub(super) fn lower(i: &Instruction) -> Option<Lowered> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other families' mnemonics")]
    match i.mnemonic() {
        Mnemonic::Clc => Some(flag(i, set_carry::<false>)),
        Mnemonic::Stc => Some(flag(i, set_carry::<true>)),
        Mnemonic::Cmc => Some(flag(i, complement_carry)),
        Mnemonic::Cld => Some(flag(i, set_direction::<false>)),
        Mnemonic::Std => Some(flag(i, set_direction::<true>)),
        Mnemonic::Lahf => Some(flag(i, flags_to_ah)),
        Mnemonic::Sahf => Some(flag(i, ah_to_flags)),
        Mnemonic::Nop
        | Mnemonic::Endbr64
        | Mnemonic::Mfence
        | Mnemonic::Lfence
        | Mnemonic::Sfence
        | Mnemonic::Prefetchnta
        | Mnemonic::Prefetcht0
        | Mnemonic::Prefetcht1
        | Mnemonic::Prefetcht2
        | Mnemonic::Prefetch
        | Mnemonic::Prefetchw
        | Mnemonic::Prefetchwt1
        | Mnemonic::Reservednop => Some(Lowered::plain(i, no_operation).completes()),
        Mnemonic::Clflush => memory(i, flush_line),
        Mnemonic::Movsb | Mnemonic::Movsw | Mnemonic::Movsq => string::<Movs>(i),
        Mnemonic::Movsd if i.op0_kind() != OpKind::Register && is_string(i) => string::<Movs>(i),
        Mnemonic::Stosb | Mnemonic::Stosw | Mnemonic::Stosd | Mnemonic::Stosq => string::<Stos>(i),
        Mnemonic::Lodsb | Mnemonic::Lodsw | Mnemonic::Lodsd | Mnemonic::Lodsq => string::<Lods>(i),
        Mnemonic::Cmpsb | Mnemonic::Cmpsw | Mnemonic::Cmpsq => string::<Cmps>(i),
        Mnemonic::Cmpsd if is_string(i) => string::<Cmps>(i),
        Mnemonic::Scasb | Mnemonic::Scasw | Mnemonic::Scasd | Mnemonic::Scasq => string::<Scas>(i),
        Mnemonic::Insb | Mnemonic::Insw | Mnemonic::Insd => string::<Ins>(i),
        Mnemonic::Outsb | Mnemonic::Outsw | Mnemonic::Outsd => string::<Outs>(i),
        _ => system_lower(i),
    }
}

fn system_lower(i: &Instruction) -> Option<Lowered> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is left is not implemented")]
    let meaning: Meaning = match i.mnemonic() {
        Mnemonic::Vmcall => system::call,
        Mnemonic::Hlt => system::halt,
        Mnemonic::Pause => system::pause,
        Mnemonic::Ud0 | Mnemonic::Ud1 | Mnemonic::Ud2 => system::undefined,
        Mnemonic::Rdtsc => system::time_stamp,
        Mnemonic::Rdtscp => system::time_stamp_and_cpu,
        Mnemonic::Cpuid => cpuid::identify,
        Mnemonic::Cli => system::set_interrupts::<false>,
        Mnemonic::Sti => system::set_interrupts::<true>,
        Mnemonic::Wbinvd | Mnemonic::Invd => system::write_back,
        Mnemonic::Rdmsr => msr::read_msr,
        Mnemonic::Wrmsr => msr::write_msr,
        Mnemonic::Rdpmc => msr::read_counter,
        Mnemonic::Swapgs => fast_call::swap_gs,
        Mnemonic::Stac => fast_call::open_user_pages::<true>,
        Mnemonic::Clac => fast_call::open_user_pages::<false>,
        Mnemonic::Clts => control_registers::clear_task_switched,
        Mnemonic::Rdrand | Mnemonic::Rdseed => return random(i),
        Mnemonic::In | Mnemonic::Out => return port(i),
        Mnemonic::Mov => return control_register(i),
        Mnemonic::Invlpg => return memory(i, system::invalidate_page).map(Lowered::ends),
        Mnemonic::Lidt => return table(i, system::load_table::<true>),
        Mnemonic::Lgdt => return table(i, system::load_table::<false>),
        Mnemonic::Sidt => return table(i, system::store_table::<true>),
        Mnemonic::Sgdt => return table(i, system::store_table::<false>),
        _ => return None,
    };
    Some(Lowered::plain(i, meaning).ends())
}

/// A single-flag instruction: it always completes, and keeps the flags that it does not write.
fn flag(i: &Instruction, meaning: Meaning) -> Lowered {
    let mut lowered = Lowered::plain(i, meaning).completes();
    lowered.reads = super::ALL_FLAGS;
    lowered
}

fn memory(i: &Instruction, meaning: Meaning) -> Option<Lowered> {
    let mut lowered = Lowered::plain(i, meaning);
    set_memory(&mut lowered.uop, i)?;
    Some(lowered)
}

/// The base and limit of a table; the bits of the base that count.
fn table(i: &Instruction, meaning: Meaning) -> Option<Lowered> {
    let mut lowered = memory(i, meaning)?;
    #[expect(clippy::wildcard_enum_match_arm, reason = "these are the forms of 32-bit code")]
    {
        lowered.uop.imm = match i.code() {
            Code::Lgdt_m1632_16 | Code::Lidt_m1632_16 => 0x00ff_ffff,
            Code::Lgdt_m1632
            | Code::Lidt_m1632
            | Code::Sgdt_m1632
            | Code::Sidt_m1632
            | Code::Sgdt_m1632_16
            | Code::Sidt_m1632_16 => 0xffff_ffff,
            _ => u64::MAX,
        };
    }
    Some(lowered)
}

/// Whether it is the string instruction of that name, not SSE's.
fn is_string(i: &Instruction) -> bool {
    i.is_string_instruction()
}

fn string<O: StringOp>(i: &Instruction) -> Option<Lowered> {
    let size = i.memory_size().size() as u32 * 8;
    let repeats = i.has_rep_prefix() || i.has_repne_prefix();
    let mut lowered = Lowered::plain(i, nothing);
    if repeats {
        lowered.uop.run = with_width!(size, T => repeat::<O, T> as Handler);
        lowered.ends = true;
    } else {
        lowered.uop.meaning = with_width!(size, T => single::<O, T> as Meaning);
    }
    if O::COMPARES && i.has_repne_prefix() {
        lowered.uop.notes |= note::REPEAT_NE;
    }
    lowered.uop.segment = segment(i);
    let narrow = |kind: OpKind| {
        matches!(kind, OpKind::MemorySegESI | OpKind::MemoryESEDI | OpKind::MemorySegEDI)
    };
    let short = |kind: OpKind| {
        matches!(kind, OpKind::MemorySegSI | OpKind::MemoryESDI | OpKind::MemorySegDI)
    };
    if (0..i.op_count()).any(|n| narrow(i.op_kind(n))) {
        lowered.uop.notes |= note::ADDRESS_32;
    }
    if (0..i.op_count()).any(|n| short(i.op_kind(n))) {
        lowered.uop.notes |= note::ADDRESS_16;
    }
    Some(lowered)
}

fn random(i: &Instruction) -> Option<Lowered> {
    let (dst, size) = gpr(i.op0_register())?;
    let mut lowered = Lowered::plain(i, with_width!(size, T => system::random::<T> as Meaning));
    lowered.uop.dst = dst;
    Some(lowered.ends())
}

fn port(i: &Instruction) -> Option<Lowered> {
    let input = i.mnemonic() == Mnemonic::In;
    let (data, port) = if input { (0, 1) } else { (1, 0) };
    let (_, size) = gpr(i.op_register(data))?;
    let meaning = match (input, size) {
        (true, 8) => ports::port_in::<u8> as Meaning,
        (true, 16) => ports::port_in::<u16>,
        (true, _) => ports::port_in::<u32>,
        (false, 8) => ports::port_out::<u8>,
        (false, 16) => ports::port_out::<u16>,
        (false, _) => ports::port_out::<u32>,
    };
    let mut lowered = Lowered::plain(i, meaning);
    lowered.uop.small = match kind(i, port)? {
        Kind::Imm(value) => value as i32 & 0xff,
        Kind::Reg(..) | Kind::Mem => -1,
    };
    Some(lowered.ends())
}

/// `mov` with a control or a debug register.
fn control_register(i: &Instruction) -> Option<Lowered> {
    let (to, from) = (i.op0_register(), i.op1_register());
    // A register as wide as the mode has them.
    let wide = if i.code_size() == CodeSize::Code32 { 32 } else { 64 };
    let number = |register: Register| {
        let first = if register.is_cr() { Register::CR0 } else { Register::DR0 };
        (register as u32).wrapping_sub(first as u32) as u8
    };
    let general = |register: Register| {
        gpr(register).and_then(|(number, size)| (size == wide).then_some(number))
    };
    let (meaning, dst, src): (Meaning, u8, u8) = match (general(to), general(from)) {
        (Some(dst), None) if from.is_cr() => (control_registers::read_control, dst, number(from)),
        (None, Some(src)) if to.is_cr() => (control_registers::write_control, number(to), src),
        (Some(dst), None) if from.is_dr() => (debug_registers::read_debug, dst, number(from)),
        (None, Some(src)) if to.is_dr() => (debug_registers::write_debug, number(to), src),
        _ => return None,
    };
    let mut lowered = Lowered::plain(i, meaning);
    (lowered.uop.dst, lowered.uop.src) = (dst, src);
    Some(lowered.ends())
}
