//! Random programs of many short blocks, as compilers write them: arithmetic whose flags are read
//! late or never, conditional jumps both ways, loops, calls, stores, REP.

use super::{DATA, Random};
use iced_x86::IcedError;
use iced_x86::code_asm::*;

const BLOCKS: usize = 14;
/// Left alone: rsp; rbx, which points to the data; rcx, by which shifts and REP count.
const WIDE: [AsmRegister64; 8] = [rax, rdx, rbp, r8, r9, r10, r11, r12];
const HALF: [AsmRegister32; 8] = [eax, edx, ebp, r8d, r9d, r10d, r11d, r12d];
const BYTE: [AsmRegister8; 8] = [al, dl, bpl, r8b, ah, dh, r11b, r12b];
/// Bytes of data that a program may write.
pub const REACH: u64 = 0x2000;

/// Writes one; it runs for ever.
pub fn write(a: &mut CodeAssembler, random: &mut Random) -> Result<(), IcedError> {
    let mut blocks: Vec<CodeLabel> = (0..BLOCKS).map(|_| a.create_label()).collect();
    let (mut function, first) = (a.create_label(), blocks[0]);
    a.mov(rbx, DATA + REACH / 2)?;
    for block in 0..BLOCKS {
        a.set_label(&mut blocks[block])?;
        for _ in 0..1 + random.below(9) {
            instruction(a, random)?;
        }
        let to = blocks[random.below(BLOCKS as u64) as usize];
        match random.below(8) {
            0 => a.jmp(to)?,
            1 => a.call(function)?,
            2 => repeat(a, random)?,
            3 => {
                a.lea(rax, ptr(to))?;
                a.jmp(rax)?;
            }
            _ => {
                compare(a, random)?;
                jump_if(a, random, to)?;
            }
        }
    }
    a.jmp(first)?;
    a.set_label(&mut function)?;
    for _ in 0..random.below(6) {
        instruction(a, random)?;
    }
    a.ret()
}

/// What stands in front of a conditional jump: what may be fused with it, or not.
fn compare(a: &mut CodeAssembler, random: &mut Random) -> Result<(), IcedError> {
    let n = |random: &mut Random| random.below(8) as usize;
    let (to, from) = (n(random), n(random));
    let value = random.below(256) as i32 - 128;
    match random.below(16) {
        0 => a.cmp(WIDE[to], WIDE[from]),
        1 => a.cmp(HALF[to], value),
        2 => a.cmp(BYTE[to], value & 127),
        3 => a.cmp(WIDE[to], place(random)),
        4 => a.cmp(dword_ptr(rbx + value), value),
        5 => a.test(WIDE[to], WIDE[from]),
        6 => a.test(BYTE[to], 1 << random.below(7)),
        7 => a.add(WIDE[to], WIDE[from]),
        8 => a.sub(HALF[to], value),
        9 => a.and(WIDE[to], WIDE[from]),
        10 => a.inc(HALF[to]),
        11 => a.dec(WIDE[to]),
        12 => a.sub(WIDE[to], 1),
        13 => a.add(HALF[to], HALF[from]),
        14 => a.or(WIDE[to], WIDE[from]),
        _ => instruction(a, random),
    }
}

fn place(random: &mut Random) -> AsmMemoryOperand {
    qword_ptr(rbx + (random.below(REACH / 2 - 8) as i32 - (REACH / 4) as i32))
}

fn instruction(a: &mut CodeAssembler, random: &mut Random) -> Result<(), IcedError> {
    let (to, from) = (random.below(8) as usize, random.below(8) as usize);
    let value = random.value() as i32;
    let count = 1 + random.below(40) as u32;
    let somewhere = place(random);
    match random.below(38) {
        0 => a.add(WIDE[to], WIDE[from]),
        1 => a.sub(HALF[to], value),
        2 => a.xor(BYTE[to], BYTE[from % 2]),
        3 => a.and(WIDE[to], value),
        4 => a.or(HALF[to], HALF[from]),
        5 => a.adc(WIDE[to], WIDE[from]),
        6 => a.sbb(HALF[to], value),
        7 => a.inc(WIDE[to]),
        8 => a.dec(BYTE[to]),
        9 => a.neg(HALF[to]),
        10 => a.not(WIDE[to]),
        11 => a.shl(WIDE[to], count),
        12 => a.shr(HALF[to], count),
        13 => a.sar(WIDE[to], cl),
        14 => a.rol(WIDE[to], count),
        15 => a.ror(HALF[to], count),
        16 => a.rcl(WIDE[to], count),
        17 => a.imul_2(WIDE[to], WIDE[from]),
        18 => a.lea(WIDE[to], qword_ptr(WIDE[from] + WIDE[to] * 4 + value)),
        19 => a.mov(WIDE[to], random.value()),
        20 => a.mov(WIDE[to], somewhere),
        21 => a.mov(somewhere, WIDE[from]),
        22 => a.add(WIDE[to], somewhere),
        23 => a.add(somewhere, WIDE[from]),
        24 => a.movzx(HALF[to], BYTE[from % 2]),
        25 => a.setb(BYTE[to]),
        26 => a.setle(BYTE[to]),
        27 => a.cmovs(WIDE[to], WIDE[from]),
        28 => a.cmovnp(HALF[to], HALF[from]),
        29 => a.mov(ecx, value & 0xff),
        30 => {
            a.push(WIDE[from])?;
            instruction(a, random)?;
            a.pop(WIDE[to])
        }
        31 => {
            a.and(ecx, 0x7f)?;
            a.mov(qword_ptr(rbx + rcx * 8), WIDE[from])
        }
        32 => a.cmp(WIDE[to], WIDE[from]),
        33..37 => {
            let by = random.below(8) as usize;
            if random.chance(2) {
                a.mov(WIDE[to], WIDE[from])?;
            } else {
                a.mov(HALF[to], HALF[from])?;
            }
            change(a, random, to, by)
        }
        _ => a.bt(WIDE[to], random.below(64) as u32),
    }
}

/// What may be done to a register that was just copied.
fn change(
    a: &mut CodeAssembler,
    random: &mut Random,
    to: usize,
    by: usize,
) -> Result<(), IcedError> {
    let count = 1 + random.below(31) as u32;
    match random.below(10) {
        0 => a.add(WIDE[to], WIDE[by]),
        1 => a.sub(HALF[to], HALF[by]),
        2 => a.and(WIDE[to], 0x7f7f),
        3 => a.or(WIDE[to], WIDE[by]),
        4 => a.xor(HALF[to], 0x55),
        5 => a.shl(WIDE[to], count),
        6 => a.shr(HALF[to], count),
        7 => a.sar(WIDE[to], count),
        8 => a.rol(HALF[to], count),
        _ => a.ror(WIDE[to], count),
    }
}

/// A short REP, upwards.
fn repeat(a: &mut CodeAssembler, random: &mut Random) -> Result<(), IcedError> {
    a.mov(ecx, random.below(70) as i32)?;
    a.lea(rdi, qword_ptr(rbx + random.below(500)))?;
    a.lea(rsi, qword_ptr(rbx + random.below(500)))?;
    match random.below(4) {
        0 => a.rep().movsb(),
        1 => a.rep().stosb(),
        2 => a.repe().cmpsb(),
        _ => a.rep().movsq(),
    }
}

/// A jump by one of the sixteen conditions.
pub fn jump_if(a: &mut CodeAssembler, random: &mut Random, to: CodeLabel) -> Result<(), IcedError> {
    match random.below(16) {
        0 => a.jo(to),
        1 => a.jno(to),
        2 => a.jb(to),
        3 => a.jae(to),
        4 => a.je(to),
        5 => a.jne(to),
        6 => a.jbe(to),
        7 => a.ja(to),
        8 => a.js(to),
        9 => a.jns(to),
        10 => a.jp(to),
        11 => a.jnp(to),
        12 => a.jl(to),
        13 => a.jge(to),
        14 => a.jle(to),
        _ => a.jg(to),
    }
}
