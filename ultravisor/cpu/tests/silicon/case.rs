//! From an instruction to a case: a state in which running it says something.

use crate::common::Random;
use crate::functions;
use crate::generate::{self, Drawn, Mode, Place, code_address, number};
use crate::numbers::{DOUBLE, SINGLE, extended};
use crate::record::{CODE_32, Record, WINDOW, fx};
use crate::structures;
use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};
use ultravisor_cpu::flag;

const RAX: usize = 0;
const RCX: usize = 1;
const RDX: usize = 2;
const RSP: usize = 4;
const RBP: usize = 5;
const RSI: usize = 6;
const RDI: usize = 7;

/// An instruction and what it starts from.
pub struct Case {
    pub instruction: Instruction,
    pub start: Record,
    /// The address of its memory operand, if it has one.
    pub target: u64,
}

/// Draws a case of form `code`, with its operand in memory or not. `None` if there is none.
pub fn draw(code: Code, memory: bool, mode: Mode, random: &mut Random) -> Option<Case> {
    let place = Place::draw(random);
    let Drawn { mut instruction, aim } = generate::draw(code, memory, place, mode, random)?;
    let mut start = state(place, random);
    if mode.is_narrow() {
        start.code_segment = CODE_32.into();
        start.data_segment = mode.data_segment().into();
    }
    let pool = [random.value(), random.value(), random.next()];
    mix(&mut start, &pool, random);
    tune(&mut instruction, &mut start, place, random);
    // The address last: whatever else a register is for, it must lead where it is meant to.
    for (register, value) in [aim.index, aim.base].into_iter().flatten() {
        start.gpr[register] = value;
    }
    if instruction.op_kinds().any(|kind| kind == OpKind::Memory) {
        operand(&instruction, &mut start, aim.target, &pool, random);
    }
    if mode.is_narrow() {
        start.gpr[..8].iter_mut().for_each(|value| *value &= 0xffff_ffff);
    }
    let bytes = generate::encode(&instruction, start.rip)?;
    start.code[..bytes.len()].copy_from_slice(&bytes);
    Some(Case { instruction, start, target: aim.target })
}

/// Registers and data full of numbers that matter.
pub fn state(place: Place, random: &mut Random) -> Record {
    let mut start = Record::new();
    start.window = place.window();
    start.gpr = std::array::from_fn(|_| random.value());
    start.gpr[RSP] = stack(place, random);
    let direction = if random.chance(8) { flag::DF } else { 0 };
    start.rflags = random.next() & flag::ARITHMETIC | direction | flag::IF | flag::ALWAYS;
    for number in 0..16 {
        let value = vector(random);
        start.set_xmm(number, value);
    }
    for number in 0..8 {
        start.set_st(number, extended(random));
    }
    structures::x87_control(&mut start, random);
    start.set_mxcsr(structures::mxcsr(random));
    if place != Place::ReadOnly {
        for chunk in start.data.chunks_exact_mut(16) {
            chunk.copy_from_slice(&vector(random).to_le_bytes());
        }
    }
    start
}

/// A stack pointer with room on both sides, or at the end of what is mapped.
fn stack(place: Place, random: &mut Random) -> u64 {
    let place = if random.chance(2) { Place::Middle } else { place };
    place.address(random, 8)
}

fn vector(random: &mut Random) -> u128 {
    let any = u128::from(random.next()) << 64 | u128::from(random.next());
    match random.below(6) {
        0 | 1 => SINGLE.register(random),
        2 | 3 => DOUBLE.register(random),
        // Small numbers in all lanes.
        4 => any & 0x0103_0103_0103_0103_0103_0103_0103_0103,
        _ => any,
    }
}

/// Puts the same few values in several places, so that comparisons also come out equal.
fn mix(start: &mut Record, pool: &[u64; 3], random: &mut Random) {
    for register in (0..16).filter(|&register| register != RSP) {
        if random.chance(4) {
            start.gpr[register] = pool[random.below(3) as usize];
        }
    }
    if random.chance(4) {
        let value = start.xmm(random.below(16) as usize);
        start.set_xmm(random.below(16) as usize, value);
    }
}

/// Puts something that suits the operand's size to its address.
fn operand(
    instruction: &Instruction,
    start: &mut Record,
    target: u64,
    pool: &[u64; 3],
    random: &mut Random,
) {
    let value = match (instruction.memory_size().size(), random.below(3)) {
        (4, 0) => SINGLE.random(random),
        (8, 0) => DOUBLE.random(random),
        (10, 0 | 1) => return structures::ten_bytes(instruction, start, target, random),
        _ if structures::fill(instruction, start, target, random) => return,
        (_, 1) => pool[random.below(3) as usize],
        _ => return,
    };
    start.poke(target, &value.to_le_bytes());
}

/// What single instructions need to be worth running.
fn tune(instruction: &mut Instruction, start: &mut Record, place: Place, random: &mut Random) {
    if instruction.is_string_instruction() {
        strings(instruction, start, place, random);
    }
    functions::tune(instruction, start, random);
    let gpr = &mut start.gpr;
    #[expect(clippy::wildcard_enum_match_arm, reason = "most need nothing")]
    match instruction.mnemonic() {
        Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc => {
            if let Some(register) = number(instruction.op1_register()) {
                gpr[register] = (random.below(1600) as i64 - 800) as u64;
            }
        }
        Mnemonic::Div | Mnemonic::Idiv if random.chance(2) => {
            gpr[RDX] = if random.chance(2) { 0 } else { random.below(5).wrapping_sub(2) };
        }
        Mnemonic::Maskmovdqu | Mnemonic::Maskmovq => gpr[RDI] = place.address(random, 16),
        Mnemonic::Xlatb => gpr[RAX] = random.below(200),
        Mnemonic::Leave => gpr[RBP] = stack(place, random),
        Mnemonic::Enter => {
            gpr[RBP] = stack(Place::Middle, random);
            instruction.set_immediate16(random.below(200) as u16);
            let level = random.below(6) as u8 | (random.below(2) as u8 * 0xe0);
            instruction.set_immediate8_2nd(level);
        }
        Mnemonic::Loop | Mnemonic::Loope | Mnemonic::Loopne => {
            gpr[RCX] = random.below(4) | random.below(2) << 32;
        }
        Mnemonic::Jrcxz | Mnemonic::Jecxz | Mnemonic::Jcxz => {
            gpr[RCX] = random.below(2) | random.below(2) << 32;
        }
        Mnemonic::Pcmpestri
        | Mnemonic::Pcmpestrm
        | Mnemonic::Pcmpestri64
        | Mnemonic::Pcmpestrm64 => {
            for register in [RAX, RDX] {
                gpr[register] = (random.below(40) as i64 - 20) as u64;
            }
        }
        Mnemonic::Xsave | Mnemonic::Xsave64 | Mnemonic::Xrstor | Mnemonic::Xrstor64 => {
            (gpr[RAX], gpr[RDX]) = (random.below(4), 0);
        }
        Mnemonic::Ret => {
            let bytes = code_address(random).to_le_bytes();
            let at = gpr[RSP];
            if !random.chance(16) {
                start.poke(at, &bytes);
            }
            instruction.set_immediate16(random.below(100) as u16);
        }
        Mnemonic::Popf | Mnemonic::Popfd | Mnemonic::Popfq => {
            let flags = random.next() & (flag::ARITHMETIC | flag::DF) | flag::IF;
            let at = gpr[RSP];
            start.poke(at, &flags.to_le_bytes());
        }
        Mnemonic::Cmpxchg8b | Mnemonic::Cmpxchg16b if random.chance(2) => {
            start.data = std::array::from_fn(|i| (i as u8 & 1).wrapping_mul(7));
            let repeated = u64::from_le_bytes([0, 7, 0, 7, 0, 7, 0, 7]);
            (start.gpr[RAX], start.gpr[RDX]) = (repeated, repeated);
        }
        _ => {}
    }
    jumps(instruction, start, random);
    structures::tune(instruction, start, random);
}

/// Where jumps through a register or memory lead.
fn jumps(instruction: &Instruction, start: &mut Record, random: &mut Random) {
    if !matches!(instruction.mnemonic(), Mnemonic::Jmp | Mnemonic::Call) || random.chance(16) {
        return;
    }
    if let Some(register) = number(instruction.op0_register()) {
        start.gpr[register] = code_address(random);
    } else if instruction.op0_kind() == OpKind::Memory {
        let targets: Vec<u64> = (0..WINDOW / 8).map(|_| code_address(random)).collect();
        for (chunk, target) in start.data.chunks_exact_mut(8).zip(targets) {
            chunk.copy_from_slice(&target.to_le_bytes());
        }
    }
}

/// Pointers and counts of string instructions.
fn strings(instruction: &Instruction, start: &mut Record, place: Place, random: &mut Random) {
    let bytes = instruction.memory_size().size() as u64;
    let narrow = instruction.op_kinds().any(|kind| {
        matches!(kind, OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI)
    });
    let short = instruction
        .op_kinds()
        .any(|kind| matches!(kind, OpKind::MemorySegSI | OpKind::MemorySegDI | OpKind::MemoryESDI));
    let above = if narrow && place != Place::NonCanonical { random.next() << 32 } else { 0 };
    start.gpr[RSI] = place.address(random, bytes) | above;
    start.gpr[RDI] = if random.chance(3) {
        start.gpr[RSI].wrapping_add(random.below(9))
    } else {
        Place::Middle.address(random, bytes) | above
    };
    start.gpr[RCX] = random.below(14) | if short { random.next() << 16 } else { above };
    if random.chance(2) {
        start.data.fill(random.below(2) as u8);
    }
}

/// The registers that make up the memory operand's address.
pub fn address_registers(instruction: &Instruction) -> [Register; 2] {
    [instruction.memory_base().full_register(), instruction.memory_index().full_register()]
}

const _: () = assert!(fx::XMM + 256 <= crate::record::FX_STATE);
