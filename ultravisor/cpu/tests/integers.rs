//! The integer set against the processor underneath: random encodings of every supported form.
//!
//! Bytes are drawn at random, decoded, and kept if they are one supported instruction that
//! touches registers, flags and the window only. Flags that the manual leaves undefined are
//! masked. (What is compared is silicon, so this runs on x86-64 Linux alone.)

mod common;
#[path = "sse/silicon.rs"]
mod silicon;

use common::{CODE, DATA, PRESENT, Ram, Random, TABLES, WRITABLE};
use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register, RflagsBits};
use memmap2::MmapMut;
use silicon::{Registers, SIGFPE, Signal, Snippet};
use std::collections::BTreeMap;
use ultravisor_cpu::{Cpu, Exit, Reg, flag, supports};

/// Bytes that both sides map at the same address.
const WINDOW: u64 = 0x1_0000;
/// Snippets, each run from several states.
const SNIPPETS: usize = 6000;
const STATES: usize = 6;
const LENGTH_MAX: usize = 15;

#[rustfmt::skip]
const TESTED: &[Mnemonic] = {
    use Mnemonic::*;
    &[
        Adc, Add, And, Bsf, Bsr, Bswap, Bt, Btc, Btr, Bts, Cbw, Cdq, Cdqe, Clc, Cld, Cmc,
        Cmova, Cmovae, Cmovb, Cmovbe, Cmove, Cmovg, Cmovge, Cmovl, Cmovle, Cmovne, Cmovno,
        Cmovnp, Cmovns, Cmovo, Cmovp, Cmovs, Cmp, Cmpsb, Cmpsq, Cmpsw, Cmpxchg, Cmpxchg16b,
        Cmpxchg8b, Cqo, Cwd, Cwde, Dec, Div, Idiv, Imul, Inc, Lahf, Lea, Lodsb, Lodsd, Lodsq,
        Lodsw, Mov, Movsb, Movsq, Movsw, Movsx, Movsxd, Movzx, Mul, Neg, Nop, Not, Or, Rcl, Rcr,
        Rol, Ror, Sahf, Sal, Sar, Sbb, Scasb, Scasd, Scasq, Scasw, Seta, Setae, Setb, Setbe, Sete,
        Setg, Setge, Setl, Setle, Setne, Setno, Setnp, Setns, Seto, Setp, Sets, Shl, Shld, Shr,
        Shrd, Stc, Std, Stosb, Stosd, Stosq, Stosw, Sub, Test, Xadd, Xchg, Xlatb, Xor,
    ]
};

/// Opcodes that chance would seldom draw.
const RARE: &[&[u8]] = &[
    &[0x0f, 0xc7, 0x0e],
    &[0x0f, 0xc7, 0x4b],
    &[0x0f, 0xb0],
    &[0x0f, 0xb1],
    &[0x0f, 0xc0],
    &[0x0f, 0xc1],
    &[0x0f, 0xa4],
    &[0x0f, 0xad],
    &[0x0f, 0xab],
    &[0x0f, 0xbb],
    &[0x98],
    &[0x99],
    &[0x9e],
    &[0x9f],
    &[0xa6],
    &[0xa7],
    &[0xae],
    &[0xaf],
    &[0xd7],
];

/// Random bytes that may be one instruction.
fn draw(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    match random.below(10) {
        0 | 1 => bytes.push(0x66),
        2 => bytes.push(if random.chance(2) { 0xf2 } else { 0xf3 }),
        3 if random.chance(2) => bytes.push(0xf0),
        4 if random.chance(2) => bytes.push(0x67),
        _ => {}
    }
    if random.chance(2) {
        bytes.push(0x40 | random.below(16) as u8);
    }
    match random.below(8) {
        0 => bytes.extend(RARE[random.below(RARE.len() as u64) as usize]),
        1..4 => bytes.push(0x0f),
        _ => {}
    }
    while bytes.len() < LENGTH_MAX {
        bytes.push(random.next() as u8);
    }
    bytes
}

/// The instruction that `bytes` start with, if it is one to test.
fn accept(bytes: &[u8]) -> Option<Instruction> {
    let plain = DecoderOptions::NONE;
    let i = Decoder::with_ip(64, bytes, CODE, plain).decode();
    // This processor may have what the engine's does not: the encodings mean something else then.
    if i.is_invalid() || !TESTED.contains(&i.mnemonic()) || !supports(&i) {
        return None;
    }
    let stack = |register: Register| register.full_register() == Register::RSP;
    let names_stack = (0..i.op_count())
        .any(|n| i.op_kind(n) == OpKind::Register && stack(i.op_register(n)))
        || stack(i.memory_base());
    let other_segment = matches!(i.memory_segment(), Register::FS | Register::GS);
    let control =
        (0..i.op_count()).any(|n| i.op_kind(n) == OpKind::Register && !i.op_register(n).is_gpr());
    let unreachable = i.is_ip_rel_memory_operand()
        || has_memory(&i)
            && (i.memory_base() == Register::None
                || i.memory_base() == i.memory_index()
                || i.memory_base().is_gpr32());
    let narrow_string = (0..i.op_count()).any(|n| {
        matches!(i.op_kind(n), OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI)
    });
    let refused = names_stack || other_segment || control || unreachable || narrow_string;
    (!refused).then_some(i)
}

fn has_memory(i: &Instruction) -> bool {
    i.mnemonic() != Mnemonic::Lea && (0..i.op_count()).any(|n| i.op_kind(n) == OpKind::Memory)
}

fn number(register: Register) -> usize {
    register.full_register().number()
}

/// A state in which `i` accesses the window at `window` only.
fn state(random: &mut Random, i: &Instruction, window: u64) -> Registers {
    let mut state = Registers { mxcsr: 0x1f80, ..Registers::default() };
    state.gpr = core::array::from_fn(|_| random.value());
    state.gpr[4] = 0;
    let middle = window + WINDOW / 2;
    let mut place = || middle + random.below(0x800) - 0x400;
    if i.is_string_instruction() {
        state.gpr[6] = place();
        state.gpr[7] = if random.chance(3) { state.gpr[6] + random.below(9) } else { middle };
        state.gpr[1] = random.below(14);
    }
    let flags = flag::ARITHMETIC | flag::DF;
    state.rflags = (random.next() & flags) | flag::ALWAYS;
    if matches!(i.mnemonic(), Mnemonic::Div | Mnemonic::Idiv) && random.chance(2) {
        state.gpr[2] = if random.chance(2) { 0 } else { random.below(5).wrapping_sub(2) };
    }
    if i.mnemonic() == Mnemonic::Xlatb {
        state.gpr[3] = middle;
    } else if has_memory(i) {
        aim(random, i, &mut state, middle);
    }
    state
}

/// Chooses the memory operand's base so that the address falls near `middle`.
fn aim(random: &mut Random, i: &Instruction, state: &mut Registers, middle: u64) {
    let bit_string =
        matches!(i.mnemonic(), Mnemonic::Bt | Mnemonic::Btc | Mnemonic::Btr | Mnemonic::Bts)
            && i.op1_kind() == OpKind::Register;
    if bit_string {
        let at = number(i.op1_register());
        state.gpr[at] = random.next() as i16 as i64 as u64;
    }
    let mut target = middle + random.below(0x400);
    if i.mnemonic() == Mnemonic::Cmpxchg16b {
        target &= !15;
    }
    let index =
        if i.memory_index() == Register::None { 0 } else { state.gpr[number(i.memory_index())] };
    let scaled = index.wrapping_mul(u64::from(i.memory_index_scale()));
    let base = number(i.memory_base());
    state.gpr[base] = target.wrapping_sub(scaled).wrapping_sub(i.memory_displacement64());
}

/// Whether the state leads where nobody promises anything, or out of the window.
fn skipped(i: &Instruction, state: &Registers) -> bool {
    let bits = operand_bits(i);
    let bit_base =
        matches!(i.mnemonic(), Mnemonic::Bt | Mnemonic::Btc | Mnemonic::Btr | Mnemonic::Bts)
            && has_memory(i)
            && i.op1_kind() == OpKind::Register
            && [i.memory_base(), i.memory_index()]
                .iter()
                .any(|r| r.full_register() == i.op1_register().full_register());
    let double = matches!(i.mnemonic(), Mnemonic::Shld | Mnemonic::Shrd);
    bit_base
        || (double && count(i, state) > bits)
        || (i.mnemonic() == Mnemonic::Bswap && bits == 16)
}

fn operand_bits(i: &Instruction) -> u32 {
    let register = i.op0_kind() == OpKind::Register;
    let bytes = if register { i.op0_register().size() } else { i.memory_size().size() };
    bytes as u32 * 8
}

/// A shift's count as the processor cuts it.
fn count(i: &Instruction, state: &Registers) -> u32 {
    let last = i.op_count() - 1;
    let by_register = i.op_kind(last) == OpKind::Register;
    let raw = if by_register { state.gpr[1] as u32 } else { i.immediate(last) as u32 };
    raw & if operand_bits(i) == 64 { 63 } else { 31 }
}

/// Flags of RFLAGS that the manual leaves undefined (SDM volume 1, appendix A, and volume 2).
fn undefined(i: &Instruction, state: &Registers) -> u64 {
    let named = [
        (RflagsBits::OF, flag::OF),
        (RflagsBits::SF, flag::SF),
        (RflagsBits::ZF, flag::ZF),
        (RflagsBits::AF, flag::AF),
        (RflagsBits::CF, flag::CF),
        (RflagsBits::PF, flag::PF),
    ];
    let by_table = named
        .iter()
        .filter(|(iced, _)| i.rflags_undefined() & iced != 0)
        .fold(0, |mask, (_, bit)| mask | bit);
    use Mnemonic::{Rcl, Rcr, Rol, Ror, Sal, Sar, Shl, Shld, Shr, Shrd};
    if !matches!(i.mnemonic(), Shl | Sal | Shr | Sar | Shld | Shrd | Rol | Ror | Rcl | Rcr) {
        return by_table;
    }
    let count = count(i, state);
    let rotate = matches!(i.mnemonic(), Rol | Ror | Rcl | Rcr);
    let adjust = if rotate { 0 } else { flag::AF };
    let past = count >= operand_bits(i) && !rotate;
    match count {
        0 => 0,
        1 => adjust,
        _ if past => adjust | flag::OF | flag::CF,
        _ => adjust | flag::OF,
    }
}

/// The engine's side.
struct Guest {
    cpu: Cpu,
    ram: Ram,
}

impl Guest {
    fn new(window: u64) -> Self {
        let mut ram = Ram::identity();
        for offset in (0..WINDOW).step_by(4096) {
            ram.map(window + offset, DATA + offset, PRESENT | WRITABLE);
        }
        let mut cpu = Cpu::new();
        cpu.enter_long_mode(TABLES, CODE, 0);
        Self { cpu, ram }
    }

    /// Executes `bytes` once: what the signal would have been on the processor.
    fn run(&mut self, bytes: &[u8], state: &mut Registers) -> Result<(), Signal> {
        self.ram.write(CODE, bytes);
        self.ram.write(CODE + bytes.len() as u64, &[0xf4]);
        self.cpu.forget(ultravisor_abi::Gpa(CODE), 16);
        self.cpu.regs.rip = CODE;
        self.cpu.set_rflags(state.rflags);
        for (reg, value) in Reg::ALL.into_iter().zip(state.gpr) {
            self.cpu.regs.set(reg, value);
        }
        let exit = self.cpu.run(&mut self.ram, 1000);
        state.gpr = self.cpu.regs.gpr.values();
        state.rflags = self.cpu.rflags();
        if matches!(exit, Exit::Exception { vector: 0, .. }) {
            return Err(SIGFPE);
        }
        assert_eq!(exit, Exit::Halt, "{bytes:x?}");
        Ok(())
    }
}

#[test]
fn every_integer_form_does_what_the_processor_does() {
    let mut window = MmapMut::map_anon(WINDOW as usize).expect("anonymous memory");
    let at = window.as_ptr() as u64;
    let mut guest = Guest::new(at);
    let mut random = Random(0x1234_5678);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut done = 0;
    while done < SNIPPETS {
        let bytes = draw(&mut random);
        let Some(i) = accept(&bytes) else {
            continue;
        };
        let tally = seen.entry(format!("{:?}", i.mnemonic())).or_default();
        // Common encodings would crowd out the rare ones.
        if *tally > 150 && !random.chance(8) {
            continue;
        }
        *tally += 1;
        done += 1;
        let bytes = &bytes[..i.len()];
        let snippet = Snippet::new(|a| a.db(bytes));
        for _ in 0..STATES {
            compare(&mut random, &mut guest, &snippet, &mut window, &i, bytes);
        }
    }
    for mnemonic in TESTED {
        let name = format!("{mnemonic:?}");
        let times = seen.get(&name).copied().unwrap_or(0);
        assert!(times >= 3 || name == "Sal", "{name} was drawn only {times} times");
    }
}

fn compare(
    random: &mut Random,
    guest: &mut Guest,
    snippet: &Snippet,
    window: &mut MmapMut,
    i: &Instruction,
    bytes: &[u8],
) {
    let start = state(random, i, window.as_ptr() as u64);
    if skipped(i, &start) {
        return;
    }
    window.fill_with(|| random.next() as u8 & 0x83);
    guest.ram.write(DATA, window);
    let (mut expected, mut found) = (start, start);
    let native = snippet.run(&mut expected);
    let engine = guest.run(bytes, &mut found);
    let mask = undefined(i, &start);
    for side in [&mut expected, &mut found] {
        side.rflags &= (flag::ARITHMETIC | flag::DF) & !mask;
        side.gpr[4] = 0;
    }
    assert_eq!(engine, native, "{i} {bytes:x?}");
    if engine.is_ok() {
        assert_eq!(found.gpr, expected.gpr, "{i} {bytes:x?} from {start:x?}");
        assert_eq!(found.rflags, expected.rflags, "{i} {bytes:x?} from {start:x?}");
    }
    assert!(guest.ram.read(DATA, WINDOW as usize) == &window[..], "{i} {bytes:x?}: memory");
}
