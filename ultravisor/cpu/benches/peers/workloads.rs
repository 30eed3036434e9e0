//! What the image can do: eight programs, as compilers write such code, each ending in a checksum.
//!
//! A program gets its number of rounds in R12 and returns its checksum in RAX; every other register
//! is its own.

use crate::native;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// One of them.
pub struct Workload {
    pub name: &'static str,
    /// Rounds for a comparison with QEMU: some tenths of a second there.
    pub rounds: u32,
    /// Rounds for one with Bochs, which is an order of magnitude slower.
    pub rounds_bochs: u32,
    /// The part of QEMU's speed that is wanted at least, and hoped for.
    pub wanted: (Option<f64>, Option<f64>),
    pub program: fn(&mut CodeAssembler) -> Result<(), IcedError>,
    /// The same without an engine, where the time is memory's: rounds to checksum.
    pub native: Option<fn(u32) -> u64>,
}

/// In the order of their numbers, which start at 1: 0 only starts and ends the machine.
#[rustfmt::skip]
pub const WORKLOADS: [Workload; 8] = [
    Workload { name: "integer loop, unpredictable branches", rounds: 72, rounds_bochs: 4, wanted: (Some(0.25), Some(0.35)), program: integer_loop, native: None },
    Workload { name: "8-byte copy", rounds: 320, rounds_bochs: 24, wanted: (Some(0.25), Some(0.35)), program: copy, native: None },
    Workload { name: "hash over 16 MiB", rounds: 64, rounds_bochs: 3, wanted: (Some(0.25), Some(0.35)), program: hash, native: None },
    Workload { name: "dependent chase over 16 MiB", rounds: 24, rounds_bochs: 24, wanted: (Some(1.2), Some(1.5)), program: chase, native: Some(native::chase) },
    Workload { name: "recursive calls", rounds: 60, rounds_bochs: 6, wanted: (Some(0.5), Some(0.7)), program: recursion, native: None },
    Workload { name: "rep movsb", rounds: 40, rounds_bochs: 8, wanted: (Some(10.0), None), program: rep_bytes, native: None },
    Workload { name: "rep movsq", rounds: 160, rounds_bochs: 48, wanted: (Some(4.0), None), program: rep_words, native: None },
    Workload { name: "20,000 blocks, four times each", rounds: 4, rounds_bochs: 4, wanted: (None, Some(1.0)), program: cold, native: None },
];

/// Two buffers whose pages do not fall onto each other in a table of 4096, and their sizes.
pub const FROM: u64 = 0x200_0000;
const TO: u64 = 0x380_8000;
const LARGE: u64 = 16 << 20;
/// The chase's steps: bytes of a cache line, and how many of them there are.
pub const LINE: u64 = 64;
pub const LINES: u64 = LARGE / LINE;
const MEDIUM: u64 = 8 << 20;
const SMALL: u64 = 4 << 20;

/// The odd number nearest to 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Writes a word every `step` bytes of the first buffer, each another.
fn fill(a: &mut CodeAssembler, bytes: u64, step: i32) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.mov(rdx, SPREAD)?;
    a.mov(rax, rdx)?;
    a.mov(rdi, FROM)?;
    a.mov(rcx, FROM + bytes - 8)?;
    a.set_label(&mut again)?;
    a.mov(qword_ptr(rdi), rax)?;
    a.add(rax, rdx)?;
    a.add(rdi, step)?;
    a.cmp(rdi, rcx)?;
    a.jbe(again)
}

/// RAX: the words every `step` bytes of the second buffer, each weighted by its place.
fn sum(a: &mut CodeAssembler, bytes: u64, step: i32) -> Result<(), IcedError> {
    let mut again = a.create_label();
    a.xor(eax, eax)?;
    a.mov(rsi, TO)?;
    a.mov(rcx, TO + bytes - 8)?;
    a.set_label(&mut again)?;
    a.imul_3(rax, rax, 31)?;
    a.add(rax, qword_ptr(rsi))?;
    a.add(rsi, step)?;
    a.cmp(rsi, rcx)?;
    a.jbe(again)
}

/// Pseudo-random numbers with a branch that no predictor learns; a round is a million of them.
fn integer_loop(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut again, mut even) = (a.create_label(), a.create_label());
    a.imul_3(rcx, r12, 1_000_000)?;
    a.mov(eax, 0x1234_5678)?;
    for register in [rbx, rsi, rdi] {
        a.mov(register, 1_u64)?;
    }
    a.set_label(&mut again)?;
    for (shift, left) in [(13, true), (7, false), (17, true)] {
        a.mov(rdx, rax)?;
        if left {
            a.shl(rdx, shift)?;
        } else {
            a.shr(rdx, shift)?;
        }
        a.xor(rax, rdx)?;
    }
    a.lea(rbx, qword_ptr(rbx + rax * 2 + 5))?;
    a.add(rsi, rbx)?;
    a.test(eax, 16)?;
    a.jz(even)?;
    a.sub(rsi, rax)?;
    a.add(rdi, 3)?;
    a.set_label(&mut even)?;
    a.sub(rcx, 1)?;
    a.jnz(again)?;
    a.lea(rax, qword_ptr(rsi + rdi))?;
    a.ret()
}

/// A copy of 4 MiB as a compiler writes it for 64-bit words.
fn copy(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut round, mut again) = (a.create_label(), a.create_label());
    fill(a, SMALL, 8)?;
    a.mov(rsi, FROM)?;
    a.mov(rdi, TO)?;
    a.set_label(&mut round)?;
    a.xor(ecx, ecx)?;
    a.set_label(&mut again)?;
    a.mov(rax, qword_ptr(rsi + rcx * 8))?;
    a.mov(qword_ptr(rdi + rcx * 8), rax)?;
    a.add(rcx, 1)?;
    a.cmp(rcx, (SMALL / 8) as i32)?;
    a.jne(again)?;
    a.dec(r12)?;
    a.jnz(round)?;
    sum(a, SMALL, 8)?;
    a.ret()
}

/// A multiply-and-rotate hash, word by word.
fn hash(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut round, mut again) = (a.create_label(), a.create_label());
    fill(a, LARGE, 8)?;
    a.mov(rdx, SPREAD)?;
    a.xor(eax, eax)?;
    a.set_label(&mut round)?;
    a.mov(rsi, FROM)?;
    a.mov(rdi, FROM + LARGE)?;
    a.set_label(&mut again)?;
    a.mov(rcx, qword_ptr(rsi))?;
    a.imul_2(rcx, rdx)?;
    a.rol(rcx, 31)?;
    a.xor(rax, rcx)?;
    a.lea(rax, qword_ptr(rax + rax * 4 + 0x52dc))?;
    a.add(rsi, 8)?;
    a.cmp(rsi, rdi)?;
    a.jne(again)?;
    a.dec(r12)?;
    a.jnz(round)?;
    a.ret()
}

/// 2^18 cache lines, each with the address of the next, in an order that jumps about; a round
/// follows it once around.
fn chase(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut build, mut again) = (a.create_label(), a.create_label());
    a.mov(rdi, FROM)?;
    a.xor(ecx, ecx)?;
    a.set_label(&mut build)?;
    // A linear congruence of full period: its step is 1 modulo 4, its increment odd.
    a.imul_3(rax, rcx, 0x1_a4b5)?;
    a.add(rax, 0x1_2345)?;
    a.and(eax, (LINES - 1) as i32)?;
    a.shl(rax, 6)?;
    a.add(rax, rdi)?;
    a.mov(rdx, rcx)?;
    a.shl(rdx, 6)?;
    a.mov(qword_ptr(rdi + rdx), rax)?;
    a.inc(rcx)?;
    a.cmp(rcx, LINES as i32)?;
    a.jne(build)?;
    a.imul_3(rcx, r12, LINES as i32)?;
    a.xor(ebx, ebx)?;
    a.set_label(&mut again)?;
    a.mov(rdi, qword_ptr(rdi))?;
    a.xor(rbx, rdi)?;
    a.sub(rcx, 1)?;
    a.jnz(again)?;
    a.lea(rax, qword_ptr(rbx + rdi))?;
    a.ret()
}

/// Fibonacci numbers, the recursive way.
fn recursion(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let (mut round, mut fib, mut small) = (a.create_label(), a.create_label(), a.create_label());
    a.xor(ebp, ebp)?;
    a.set_label(&mut round)?;
    a.mov(edi, 27)?;
    a.call(fib)?;
    a.imul_3(rbp, rbp, 31)?;
    a.add(rbp, rax)?;
    a.dec(r12)?;
    a.jnz(round)?;
    a.mov(rax, rbp)?;
    a.ret()?;
    a.set_label(&mut fib)?;
    a.mov(rax, rdi)?;
    a.cmp(rdi, 2)?;
    a.jb(small)?;
    a.push(rbx)?;
    a.push(rdi)?;
    a.dec(rdi)?;
    a.call(fib)?;
    a.mov(rbx, rax)?;
    a.pop(rdi)?;
    a.sub(rdi, 2)?;
    a.call(fib)?;
    a.add(rax, rbx)?;
    a.pop(rbx)?;
    a.set_label(&mut small)?;
    a.ret()
}

/// A copy of 8 MiB by `movs`, whose words count as `bytes` bytes each.
fn rep(a: &mut CodeAssembler, bytes: u64) -> Result<(), IcedError> {
    const STEP: i32 = 520;
    let mut round = a.create_label();
    fill(a, MEDIUM, STEP)?;
    a.set_label(&mut round)?;
    a.mov(rsi, FROM)?;
    a.mov(rdi, TO)?;
    a.mov(rcx, MEDIUM / bytes)?;
    if bytes == 1 {
        a.rep().movsb()?;
    } else {
        a.rep().movsq()?;
    }
    a.dec(r12)?;
    a.jnz(round)?;
    sum(a, MEDIUM, STEP)?;
    a.ret()
}

fn rep_bytes(a: &mut CodeAssembler) -> Result<(), IcedError> {
    rep(a, 1)
}

fn rep_words(a: &mut CodeAssembler) -> Result<(), IcedError> {
    rep(a, 8)
}

/// SplitMix64: the same blocks each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(SPREAD);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// 20,000 blocks that differ, one after another; a round runs each once. Half of them end in a
/// conditional jump over an instruction.
fn cold(a: &mut CodeAssembler) -> Result<(), IcedError> {
    const BLOCKS: u32 = 20_000;
    const REGISTERS: [AsmRegister64; 8] = [rax, rcx, rdx, rsi, rdi, r8, r9, r10];
    let mut random = Random(1);
    let mut round = a.create_label();
    for (register, value) in REGISTERS.into_iter().zip(1_u64..) {
        a.mov(register, value.wrapping_mul(SPREAD))?;
    }
    a.mov(rbx, FROM)?;
    a.set_label(&mut round)?;
    for _ in 0..BLOCKS {
        let mut next = a.create_label();
        for _ in 0..3 + random.below(5) {
            let to = REGISTERS[random.below(8) as usize];
            let from = REGISTERS[random.below(8) as usize];
            one_of_many(a, &mut random, to, from)?;
        }
        let over = REGISTERS[random.below(8) as usize];
        if random.below(2) == 0 {
            a.test(over, 1 << random.below(31))?;
            a.jz(next)?;
            a.add(over, random.below(1 << 31) as i32)?;
        } else {
            a.jmp(next)?;
            a.int3()?;
        }
        a.set_label(&mut next)?;
        a.nop()?;
    }
    a.dec(r12)?;
    a.jnz(round)?;
    for register in &REGISTERS[1..] {
        a.imul_3(rax, rax, 31)?;
        a.add(rax, *register)?;
    }
    a.ret()
}

/// One instruction of the usual mix; a quarter have a memory operand.
fn one_of_many(
    a: &mut CodeAssembler,
    random: &mut Random,
    to: AsmRegister64,
    from: AsmRegister64,
) -> Result<(), IcedError> {
    let place = qword_ptr(rbx + 8 * random.below(512));
    match random.below(12) {
        0 => a.add(to, from),
        1 => a.xor(to, from),
        2 => a.sub(to, random.below(1 << 31) as i32),
        3 => a.lea(to, qword_ptr(to + from * 4 + random.below(256))),
        4 => a.imul_2(to, from),
        5 => a.rol(to, 1 + random.below(31) as u32),
        6 => a.shr(to, 1 + random.below(3) as u32),
        7 => a.or(to, random.below(1 << 31) as i32),
        8 => a.mov(to, random.below(u64::MAX)),
        9 => a.mov(to, place),
        10 => a.mov(place, from),
        _ => a.add(to, place),
    }
}
