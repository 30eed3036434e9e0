//! Every SSE and SSE2 instruction form in the engine, against the processor.

use crate::guest::{DATA, DATA_BYTES, Guest};
use crate::operands::{DOUBLE, SINGLE, Seeded, controls};
use crate::silicon::{Registers, SIGFPE, SIGSEGV, Snippet};
use iced_x86::{
    Code, CpuidFeature, EncodingKind, Instruction, MemoryOperand, OpCodeOperandKind as Kind,
    OpKind, Register,
};
use ultravisor_cpu::Exit;

/// All forms of SSE and SSE2 that exist in 64-bit mode in the legacy encoding.
fn all_forms() -> impl Iterator<Item = Code> {
    Code::values().filter(|code| {
        let features = code.cpuid_features();
        let of_sse = [CpuidFeature::SSE, CpuidFeature::SSE2, CpuidFeature::FXSR];
        features.iter().any(|feature| of_sse.contains(feature))
            && code.encoding() == EncodingKind::Legacy
            && code.op_code().mode64()
    })
}

/// Whether an operand is an MMX register, or the form needs one.
fn is_mmx(code: Code) -> bool {
    code.op_code()
        .op_kinds()
        .iter()
        .any(|kind| matches!(*kind, Kind::mm_reg | Kind::mm_or_mem | Kind::mm_rm))
}

/// Hints and fences: no operand to compare. They are tested by running.
fn is_silent(code: Code) -> bool {
    matches!(
        code,
        Code::Sfence
            | Code::Lfence
            | Code::Mfence
            | Code::Prefetchnta_m8
            | Code::Prefetcht0_m8
            | Code::Prefetcht1_m8
            | Code::Prefetcht2_m8
    )
}

/// Approximations: their bits are not the processor's. See `floating.rs`.
fn is_approximate(code: Code) -> bool {
    matches!(
        code,
        Code::Rcpps_xmm_xmmm128
            | Code::Rcpss_xmm_xmmm32
            | Code::Rsqrtps_xmm_xmmm128
            | Code::Rsqrtss_xmm_xmmm32
    )
}

/// Those whose memory operand is a structure: they have tests of their own.
fn is_structured(code: Code) -> bool {
    matches!(
        code,
        Code::Ldmxcsr_m32
            | Code::Fxsave_m512byte
            | Code::Fxsave64_m512byte
            | Code::Fxrstor_m512byte
            | Code::Fxrstor64_m512byte
    )
}

/// The forms that the engine is to have.
fn comparable_or_special() -> impl Iterator<Item = Code> {
    all_forms().filter(|&code| !is_mmx(code) && !is_silent(code))
}

/// The forms that a random state can be thrown at.
fn comparable() -> impl Iterator<Item = Code> {
    comparable_or_special().filter(|&code| !is_approximate(code) && !is_structured(code))
}

/// General registers that operands use; rsi and rdi point to the data, rsp is the host's.
const GENERAL: [(Register, Register); 6] = [
    (Register::EAX, Register::RAX),
    (Register::EBX, Register::RBX),
    (Register::EDX, Register::RDX),
    (Register::EBP, Register::RBP),
    (Register::R8D, Register::R8),
    (Register::R15D, Register::R15),
];

/// An instruction of form `code` with random operands; `None` if the form has no memory operand
/// and one is asked for, or the other way round.
fn instruction(code: Code, memory: bool, seeded: &mut Seeded) -> Option<Instruction> {
    let mut instruction = Instruction::default();
    instruction.set_code(code);
    let mut has_memory = false;
    for (operand, kind) in (0..).zip(code.op_code().op_kinds()) {
        let (r32, r64) = GENERAL[seeded.below(6) as usize];
        let xmm = Register::XMM0 + seeded.below(16) as u32;
        #[expect(clippy::wildcard_enum_match_arm, reason = "a kind that SSE has not is a failure")]
        let register = match *kind {
            Kind::imm8 => {
                instruction.set_op_kind(operand, OpKind::Immediate8);
                instruction.set_immediate8(seeded.next() as u8);
                continue;
            }
            Kind::seg_rDI => {
                instruction.set_op_kind(operand, OpKind::MemorySegRDI);
                has_memory = true;
                continue;
            }
            Kind::xmm_or_mem | Kind::r32_or_mem | Kind::r64_or_mem | Kind::mem if memory => {
                instruction.set_op_kind(operand, OpKind::Memory);
                has_memory = true;
                continue;
            }
            Kind::xmm_or_mem | Kind::xmm_reg | Kind::xmm_rm => xmm,
            Kind::r32_or_mem | Kind::r32_reg | Kind::r32_rm => r32,
            Kind::r64_or_mem | Kind::r64_reg | Kind::r64_rm => r64,
            Kind::mem => return None,
            other => panic!("{code:?} has an operand of kind {other:?}"),
        };
        instruction.set_op_kind(operand, OpKind::Register);
        instruction.set_op_register(operand, register);
    }
    (has_memory == memory).then_some(instruction)
}

/// A random addressing mode for `instruction`, and the values of rsi and rcx that make it point
/// to the byte `offset` of the data at `data`.
struct Pointer {
    base: u64,
    index: u64,
}

fn point(instruction: &mut Instruction, data: u64, offset: u64, seeded: &mut Seeded) -> Pointer {
    if instruction.op_kinds().any(|kind| kind == OpKind::MemorySegRDI) {
        return Pointer { base: data + offset, index: seeded.below(1 << 32) };
    }
    let (displacement, scale) = (seeded.below(512) as i64 - 256, 1 << seeded.below(4));
    let index = seeded.below(2) * seeded.below(64);
    let operand = MemoryOperand::with_base_index_scale_displ_size(
        Register::RSI,
        Register::RCX,
        scale,
        displacement,
        if (-128..128).contains(&displacement) { 1 } else { 8 },
    );
    instruction.set_memory_base(operand.base);
    instruction.set_memory_index(operand.index);
    instruction.set_memory_index_scale(operand.scale);
    instruction.set_memory_displacement64(operand.displacement as u64);
    instruction.set_memory_displ_size(operand.displ_size);
    let base = data + offset - index * u64::from(scale);
    Pointer { base: base.wrapping_sub(displacement as u64), index }
}

/// Registers full of numbers that matter, and any control bits.
fn state(seeded: &mut Seeded) -> Registers {
    const ARITHMETIC_FLAGS: u64 = 0x8d5;
    let mut registers = Registers {
        rflags: 2 | seeded.next() & ARITHMETIC_FLAGS,
        mxcsr: controls()[seeded.below(32) as usize],
        ..Registers::default()
    };
    if seeded.below(4) == 0 {
        registers.mxcsr = registers.mxcsr & !0x1f80 | (seeded.below(64) << 7) as u32;
    }
    for xmm in &mut registers.xmm {
        *xmm = match seeded.below(4) {
            0 => SINGLE.register(seeded),
            1 => DOUBLE.register(seeded),
            2 => seeded.register() & 0x7f | seeded.register() << 64,
            _ => seeded.register(),
        };
    }
    registers.gpr = std::array::from_fn(|_| DOUBLE.random(seeded));
    registers.gpr[4] = 0;
    registers
}

/// What a run left behind: how it ended, the registers but for the pointers, and the data.
#[derive(Debug, PartialEq)]
struct Left {
    /// The vector of the exception that ended it.
    exception: Option<u8>,
    registers: Registers,
    data: Vec<u8>,
}

fn left(exception: Option<u8>, mut registers: Registers, pointer: &Pointer, data: &[u8]) -> Left {
    for number in [6, 7] {
        assert_eq!(registers.gpr[number], pointer.base, "the pointers stay");
        registers.gpr[number] = 0;
    }
    Left { exception, registers, data: data.to_vec() }
}

fn natively(code: &[u8], start: &Registers, pointer: &Pointer, data: &mut [u8]) -> Left {
    let mut registers = *start;
    let snippet = Snippet::new(|asm| asm.db(code));
    (registers.gpr[6], registers.gpr[7]) = (pointer.base, pointer.base);
    let exception = match snippet.run(&mut registers) {
        Ok(()) => None,
        Err(SIGFPE) => Some(19),
        Err(SIGSEGV) => Some(13),
        Err(other) => panic!("{other:?}"),
    };
    // What Linux adds to RFLAGS: interrupts are on; a fault sets RF for the way back.
    registers.rflags &= !0x1_0200;
    left(exception, registers, pointer, data)
}

fn simulated(
    guest: &mut Guest,
    code: &[u8],
    start: &Registers,
    pointer: &Pointer,
    data: &mut [u8],
) -> Left {
    let mut registers = *start;
    (registers.gpr[6], registers.gpr[7]) = (pointer.base, pointer.base);
    let exception = match guest.run(code, &mut registers, data) {
        None => None,
        Some(Exit::Exception { vector, .. }) => {
            assert_eq!(guest.position(), 0, "an exception leaves rip at the instruction");
            Some(vector)
        }
        Some(other) => panic!("{other:?}"),
    };
    left(exception, registers, pointer, data)
}

/// Page-aligned bytes for the processor's side.
fn page() -> memmap2::MmapMut {
    memmap2::MmapMut::map_anon(DATA_BYTES).expect("a page")
}

fn fill(data: &mut [u8], seeded: &mut Seeded) {
    for chunk in data.chunks_exact_mut(16) {
        let value = match seeded.below(3) {
            0 => SINGLE.register(seeded),
            1 => DOUBLE.register(seeded),
            _ => seeded.register(),
        };
        chunk.copy_from_slice(&value.to_le_bytes());
    }
}

/// Runs `instruction` from a random state on both sides. Says which exception both took.
fn agree(guest: &mut Guest, mut instruction: Instruction, seeded: &mut Seeded) -> Option<u8> {
    let (mut native, mut ours) = (page(), vec![0; DATA_BYTES]);
    let window = 0x700..0x900;
    fill(&mut native[window.clone()], seeded);
    ours.copy_from_slice(&native);
    let mut offset = 0x800 + 16 * seeded.below(4);
    if seeded.below(8) == 0 {
        offset += seeded.below(16);
    }
    let mut start = state(seeded);
    let (before, twin) = (instruction, Seeded(seeded.0));
    let at_home = point(&mut instruction, native.as_ptr() as u64, offset, seeded);
    start.gpr[1] = at_home.index;
    let code = encode(&instruction);
    let expected = natively(&code, &start, &at_home, &mut native);
    let mut again = before;
    let in_guest = point(&mut again, DATA, offset, &mut { twin });
    let found = simulated(guest, &code, &start, &in_guest, &mut ours);
    assert!(
        found == expected,
        "{instruction:?} from {start:x?} at {offset:#x}: {}",
        difference(&found, &expected)
    );
    expected.exception
}

/// What differs, short enough to read.
fn difference(found: &Left, expected: &Left) -> String {
    let data = found.data.iter().zip(&expected.data).position(|(a, b)| a != b);
    format!(
        "exception {:?}, processor {:?}; registers {:x?}, processor {:x?}; first byte {data:x?}",
        found.exception, expected.exception, found.registers, expected.registers
    )
}

fn encode(instruction: &Instruction) -> Vec<u8> {
    let mut encoder = iced_x86::Encoder::new(64);
    encoder.encode(instruction, 0x1_0000).expect("the form is encodable");
    encoder.take_buffer()
}

#[test]
fn every_form_does_to_registers_memory_and_mxcsr_what_the_processor_does() {
    let mut guest = Guest::new();
    let (mut tried, mut protection, mut numeric) = (0, 0, 0);
    for code in comparable() {
        let mut seeded = Seeded(code as u64);
        for round in 0..200 {
            if let Some(instruction) = instruction(code, round % 2 == 0, &mut seeded) {
                let exception = agree(&mut guest, instruction, &mut seeded);
                tried += 1;
                protection += u32::from(exception == Some(13));
                numeric += u32::from(exception == Some(19));
            }
        }
    }
    assert!(tried > 30_000, "only {tried} instructions were tried");
    assert!(protection > 1000, "only {protection} were misaligned where that matters");
    assert!(numeric > 1000, "only {numeric} raised an unmasked exception");
}

/// An instruction of the integer set that reads or writes flags, to stand between others.
fn flag_user(seeded: &mut Seeded) -> Instruction {
    let (a, b) = (GENERAL[seeded.below(6) as usize].1, GENERAL[seeded.below(6) as usize].1);
    let two = |code| Instruction::with2(code, a, b).expect("two registers");
    match seeded.below(4) {
        0 => two(Code::Adc_r64_rm64),
        1 => two(Code::Cmova_r64_rm64),
        2 => two(Code::Cmovp_r64_rm64),
        _ => two(Code::Add_r64_rm64),
    }
}

#[test]
fn blocks_of_many_forms_leave_what_the_processor_leaves() {
    const LENGTH: u64 = 24;
    let (mut guest, mut seeded) = (Guest::new(), Seeded(11));
    let forms: Vec<Code> = comparable().collect();
    for round in 0..3000 {
        let (mut native, mut ours) = (page(), vec![0; DATA_BYTES]);
        fill(&mut native[0x700..0x900], &mut seeded);
        ours.copy_from_slice(&native);
        let mut code = Vec::new();
        for _ in 0..LENGTH {
            let form = forms[seeded.below(forms.len() as u64) as usize];
            let memory = seeded.below(2) == 0;
            let drawn = instruction(form, memory, &mut seeded);
            let mut next = drawn.unwrap_or_else(|| flag_user(&mut seeded));
            if next.op_kinds().any(|kind| kind == OpKind::Memory) {
                next.set_memory_base(Register::RSI);
                next.set_memory_displacement64(16 * seeded.below(8));
                next.set_memory_displ_size(1);
            }
            code.extend(encode(&next));
        }
        let mut start = state(&mut seeded);
        start.mxcsr |= 0x1f80;
        let home = Pointer { base: native.as_ptr() as u64 + 0x780, index: 0 };
        let expected = natively(&code, &start, &home, &mut native);
        let away = Pointer { base: DATA + 0x780, index: 0 };
        let found = simulated(&mut guest, &code, &start, &away, &mut ours);
        assert!(found == expected, "block {round}: {}", difference(&found, &expected));
    }
}

#[test]
fn the_table_has_every_form_but_those_on_mmx_registers() {
    let mut seeded = Seeded(5);
    let mut forms = 0;
    for code in comparable_or_special() {
        for memory in [false, true] {
            if let Some(mut instruction) = instruction(code, memory, &mut seeded) {
                point(&mut instruction, DATA, 0, &mut seeded);
                assert!(ultravisor_cpu::supports(&instruction), "{code:?}, memory: {memory}");
                forms += 1;
            }
        }
    }
    assert!(forms > 350, "only {forms} forms were looked at");
    for code in all_forms().filter(|&code| is_silent(code)) {
        let mut instruction = Instruction::default();
        instruction.set_code(code);
        instruction.set_op0_kind(OpKind::Memory);
        instruction.set_memory_base(Register::RSI);
        assert!(ultravisor_cpu::supports(&instruction), "{code:?}");
    }
    for code in all_forms().filter(|&code| is_mmx(code)) {
        let mut instruction = Instruction::default();
        instruction.set_code(code);
        assert!(!ultravisor_cpu::supports(&instruction), "{code:?} needs MMX");
    }
}
