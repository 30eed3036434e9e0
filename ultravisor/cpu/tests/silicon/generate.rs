//! From a form to instructions: operands of every kind that the mode has, from a seed.

use crate::common::Random;
use crate::record::{DATA, ENTRY, FLAT, GS_BASE, LIMITED, PAGE, READ_ONLY, WINDOW};
use iced_x86::{
    Code, CodeSize, Encoder, Instruction, MemorySize, OpCodeOperandKind as Kind, OpKind, Register,
};

/// What code is run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// 64-bit mode.
    Long,
    /// 32-bit code with segments that are all memory.
    Flat,
    /// 32-bit code whose DS and ES have a base and a limit.
    Limited,
}

impl Mode {
    /// Whether it is 32-bit code.
    pub fn is_narrow(self) -> bool {
        self != Self::Long
    }

    /// What DS and ES hold.
    pub fn data_segment(self) -> u16 {
        if self == Self::Limited { LIMITED } else { FLAT }
    }

    /// How many registers of a kind there are.
    fn registers(self) -> u64 {
        if self.is_narrow() { 8 } else { 16 }
    }
}

/// An instruction, and which address its memory operand is to have.
pub struct Drawn {
    pub instruction: Instruction,
    /// The effective address meant, and the registers that have to hold something for it.
    pub aim: Aim,
}

/// Where the memory operand points, and what makes it do so.
#[derive(Clone, Copy, Default)]
pub struct Aim {
    pub target: u64,
    /// Registers in encoding order, and the values they must have.
    pub base: Option<(usize, u64)>,
    pub index: Option<(usize, u64)>,
}

/// Where the data lies for a case, and where its operands should point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Around the boundary of two pages that may be written.
    Middle,
    /// At the end of what may be written.
    End,
    /// In a page that may only be read.
    ReadOnly,
    /// At an address that is none.
    NonCanonical,
}

impl Place {
    pub fn draw(random: &mut Random) -> Self {
        match random.below(24) {
            0 | 1 => Self::End,
            2 => Self::ReadOnly,
            3 => Self::NonCanonical,
            _ => Self::Middle,
        }
    }

    /// Where the window starts.
    pub fn window(self) -> u64 {
        match self {
            Self::Middle | Self::NonCanonical => DATA + PAGE - WINDOW as u64 / 2,
            Self::End => READ_ONLY - WINDOW as u64,
            Self::ReadOnly => READ_ONLY,
        }
    }

    /// An address for an operand of `bytes` bytes, aligned more often than not.
    pub fn address(self, random: &mut Random, bytes: u64) -> u64 {
        let align = if random.chance(4) { 1 } else { bytes.next_power_of_two().clamp(1, 64) };
        let (from, room) = match self {
            Self::Middle if bytes > 256 => (self.window() + 64, 256),
            Self::Middle => (self.window() + 256, 480),
            // The last bytes that may be written, and the first that may not.
            Self::End => (READ_ONLY - bytes.min(512) - 8, 24),
            Self::ReadOnly => (READ_ONLY, PAGE - 600),
            Self::NonCanonical => (0x0000_8000_0000_0000 + (random.next() >> 20), 256),
        };
        (from + random.below(room)).next_multiple_of(align)
    }
}

const GPR64: [Register; 16] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RBX,
    Register::RSP,
    Register::RBP,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];

fn from(first: Register, random: &mut Random, count: u64) -> Register {
    first + random.below(count) as u32
}

/// The register or memory that operand kind `kind` can be, as a register.
fn register(kind: Kind, mode: Mode, random: &mut Random) -> Option<Register> {
    let all = mode.registers();
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other kinds are no registers of ours")]
    Some(match kind {
        Kind::r8_or_mem | Kind::r8_reg | Kind::r8_opcode => {
            from(Register::AL, random, if mode.is_narrow() { 8 } else { 20 })
        }
        Kind::r16_or_mem | Kind::r16_reg | Kind::r16_reg_mem | Kind::r16_rm | Kind::r16_opcode => {
            from(Register::AX, random, all)
        }
        Kind::r32_or_mem
        | Kind::r32_reg
        | Kind::r32_reg_mem
        | Kind::r32_rm
        | Kind::r32_opcode
        | Kind::r32_vvvv => from(Register::EAX, random, all),
        Kind::r64_or_mem
        | Kind::r64_reg
        | Kind::r64_reg_mem
        | Kind::r64_rm
        | Kind::r64_opcode
        | Kind::r64_vvvv => from(Register::RAX, random, 16),
        Kind::mm_or_mem | Kind::mm_reg | Kind::mm_rm => from(Register::MM0, random, 8),
        Kind::xmm_or_mem | Kind::xmm_reg | Kind::xmm_rm => from(Register::XMM0, random, all),
        Kind::sti_opcode => from(Register::ST0, random, 8),
        Kind::cr_reg => {
            [Register::CR0, Register::CR2, Register::CR3, Register::CR4][random.below(4) as usize]
        }
        Kind::dr_reg => from(Register::DR0, random, 4),
        Kind::seg_reg => from(Register::ES, random, 6),
        Kind::st0 => Register::ST0,
        Kind::al => Register::AL,
        Kind::cl => Register::CL,
        Kind::ax => Register::AX,
        Kind::dx => Register::DX,
        Kind::eax => Register::EAX,
        Kind::rax => Register::RAX,
        Kind::es => Register::ES,
        Kind::cs => Register::CS,
        Kind::ss => Register::SS,
        Kind::ds => Register::DS,
        Kind::fs => Register::FS,
        Kind::gs => Register::GS,
        _ => return None,
    })
}

const fn may_be_memory(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::r8_or_mem
            | Kind::r16_or_mem
            | Kind::r32_or_mem
            | Kind::r64_or_mem
            | Kind::mm_or_mem
            | Kind::xmm_or_mem
    )
}

/// The kind of operand that an immediate, branch or string operand of the form is; `short` says that
/// the address size is not the mode's own.
fn fixed(kind: Kind, mode: Mode, short: bool) -> Option<OpKind> {
    let (a32, a16) = (short && !mode.is_narrow(), short && mode.is_narrow());
    if let Some(string) = string(kind, a16) {
        return Some(string);
    }
    let a32 = a32 || mode.is_narrow();
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other kinds are not fixed")]
    Some(match kind {
        Kind::imm8 | Kind::imm8_const_1 | Kind::imm4_m2z => OpKind::Immediate8,
        Kind::imm8sex16 => OpKind::Immediate8to16,
        Kind::imm8sex32 => OpKind::Immediate8to32,
        Kind::imm8sex64 => OpKind::Immediate8to64,
        Kind::imm16 => OpKind::Immediate16,
        Kind::imm32 => OpKind::Immediate32,
        Kind::imm32sex64 => OpKind::Immediate32to64,
        Kind::imm64 => OpKind::Immediate64,
        Kind::br64_1 | Kind::br64_4 => OpKind::NearBranch64,
        Kind::br32_1 | Kind::br32_4 => OpKind::NearBranch32,
        Kind::br16_1 | Kind::br16_2 => OpKind::NearBranch16,
        Kind::farbr2_2 => OpKind::FarBranch16,
        Kind::farbr4_2 => OpKind::FarBranch32,
        Kind::seg_rSI if a32 => OpKind::MemorySegESI,
        Kind::seg_rSI => OpKind::MemorySegRSI,
        Kind::es_rDI if a32 => OpKind::MemoryESEDI,
        Kind::es_rDI => OpKind::MemoryESRDI,
        Kind::seg_rDI if a32 => OpKind::MemorySegEDI,
        Kind::seg_rDI => OpKind::MemorySegRDI,
        _ => return None,
    })
}

/// The same for string operands with 16-bit addresses.
fn string(kind: Kind, a16: bool) -> Option<OpKind> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other kinds are no strings")]
    match kind {
        Kind::seg_rSI if a16 => Some(OpKind::MemorySegSI),
        Kind::es_rDI if a16 => Some(OpKind::MemoryESDI),
        Kind::seg_rDI if a16 => Some(OpKind::MemorySegDI),
        _ => None,
    }
}

/// The shape of a memory operand.
struct Addressing {
    target: u64,
    bytes: u64,
}

/// How many bytes its memory operand has.
fn bytes(code: Code) -> u64 {
    // What x87 and SSE have of it, with the header.
    const XSAVE: u64 = 576;
    let size = code.op_code().memory_size();
    if matches!(size, MemorySize::Xsave | MemorySize::Xsave64) {
        XSAVE
    } else {
        size.size().max(1) as u64
    }
}

/// Draws an instruction of form `code`; `memory` says which shape is wanted where there are two.
/// `None` if the form has no such shape, or none that can be run where `place` is.
pub fn draw(
    code: Code,
    memory: bool,
    place: Place,
    mode: Mode,
    random: &mut Random,
) -> Option<Drawn> {
    let mut instruction = Instruction::default();
    instruction.set_code(code);
    if mode.is_narrow() {
        instruction.set_code_size(CodeSize::Code32);
    }
    let op = code.op_code();
    let bytes = bytes(code);
    let mut aim = Aim { target: place.address(random, bytes), ..Aim::default() };
    let short = random.chance(12) && place != Place::NonCanonical;
    let mut has_memory = false;
    let mut immediates = 0;
    for (operand, &kind) in (0..).zip(op.op_kinds()) {
        if matches!(kind, Kind::mem | Kind::mem_offs) || may_be_memory(kind) && memory {
            has_memory = true;
            let addressing = Addressing { target: aim.target, bytes };
            instruction.set_op_kind(operand, OpKind::Memory);
            aim = if mode.is_narrow() {
                address_32(&mut instruction, kind, &addressing, (mode, short), random)?
            } else {
                address(&mut instruction, kind, &addressing, short, random)?
            };
        } else if let Some(register) = register(kind, mode, random) {
            instruction.set_op_kind(operand, OpKind::Register);
            instruction.set_op_register(operand, register);
        } else if kind == Kind::seg_rBX_al {
            has_memory = true;
            instruction.set_op_kind(operand, OpKind::Memory);
            instruction.set_memory_base(match (mode.is_narrow(), short) {
                (false, false) => Register::RBX,
                (true, true) => Register::BX,
                (false, true) | (true, false) => Register::EBX,
            });
            instruction.set_memory_index(Register::AL);
            aim.base = Some((3, aim.target));
        } else {
            let first = fixed(kind, mode, short)?;
            let second = first == OpKind::Immediate8 && immediates > 0;
            let fixed = if second { OpKind::Immediate8_2nd } else { first };
            instruction.set_op_kind(operand, fixed);
            immediate(&mut instruction, fixed, random);
            immediates += 1;
            if matches!(kind, Kind::imm8_const_1) {
                instruction.set_immediate8(1);
            }
        }
    }
    let either = op.op_kinds().iter().any(|&kind| may_be_memory(kind));
    if either && has_memory != memory {
        return None;
    }
    prefixes(&mut instruction, has_memory && memory, random);
    Some(Drawn { instruction, aim })
}

/// Fills an immediate or a branch's target in.
fn immediate(instruction: &mut Instruction, kind: OpKind, random: &mut Random) {
    let value = if random.chance(3) { random.value() } else { random.next() };
    #[expect(clippy::wildcard_enum_match_arm, reason = "string operands have no value")]
    match kind {
        OpKind::Immediate8 => instruction.set_immediate8(value as u8),
        OpKind::Immediate8_2nd => instruction.set_immediate8_2nd(value as u8),
        OpKind::Immediate8to16 => instruction.set_immediate8to16((value as i8).into()),
        OpKind::Immediate8to32 => instruction.set_immediate8to32((value as i8).into()),
        OpKind::Immediate8to64 => instruction.set_immediate8to64((value as i8).into()),
        OpKind::Immediate16 => instruction.set_immediate16(value as u16),
        OpKind::Immediate32 => instruction.set_immediate32(value as u32),
        OpKind::Immediate32to64 => instruction.set_immediate32to64((value as i32).into()),
        OpKind::Immediate64 => instruction.set_immediate64(value),
        OpKind::NearBranch64 => instruction.set_near_branch64(around(random, 100)),
        OpKind::NearBranch32 => instruction.set_near_branch32(around(random, 100) as u32),
        OpKind::FarBranch16 | OpKind::FarBranch32 => {
            instruction.set_far_branch_selector(value as u16);
        }
        _ => {}
    }
}

/// Prefixes that the form may have.
fn prefixes(instruction: &mut Instruction, memory: bool, random: &mut Random) {
    let op = instruction.code().op_code();
    if op.can_use_lock_prefix() && memory && random.chance(4) {
        instruction.set_has_lock_prefix(true);
    }
    let string = instruction.is_string_instruction();
    if string && random.chance(2) {
        if op.can_use_rep_prefix() && (!op.can_use_repne_prefix() || random.chance(2)) {
            instruction.set_has_rep_prefix(true);
        } else if op.can_use_repne_prefix() {
            instruction.set_has_repne_prefix(true);
        }
    }
}

/// A random addressing mode that reaches `addressing.target`.
fn address(
    instruction: &mut Instruction,
    kind: Kind,
    addressing: &Addressing,
    a32: bool,
    random: &mut Random,
) -> Option<Aim> {
    let target = addressing.target;
    let mut sum = target;
    let reachable = target < 1 << 31;
    if random.chance(12) {
        instruction.set_segment_prefix(Register::GS);
        sum = sum.wrapping_sub(GS_BASE);
    }
    let mut aim = Aim { target, ..Aim::default() };
    if kind == Kind::mem_offs {
        instruction.set_memory_displ_size(if a32 { 4 } else { 8 });
        instruction.set_memory_displacement64(sum);
        return (!a32 || reachable).then_some(aim);
    }
    let all = if a32 { Register::EAX } else { Register::RAX };
    match random.below(16) {
        0 if reachable => {
            instruction.set_memory_displ_size(8);
            instruction.set_memory_displacement64(sum);
            return Some(aim);
        }
        1 if reachable => {
            instruction.set_memory_base(Register::RIP);
            instruction.set_memory_displ_size(8);
            instruction.set_memory_displacement64(sum);
            return Some(aim);
        }
        _ => {}
    }
    let displacement = match random.below(4) {
        0 => 0,
        1 => random.below(256) as i64 - 128,
        2 => random.below(addressing.bytes * 4 + 8) as i64,
        _ => random.next() as i32 as i64 >> random.below(20),
    };
    let size = if a32 { 4 } else { 8 };
    instruction.set_memory_displ_size(if (-128..128).contains(&displacement) { 1 } else { size });
    instruction.set_memory_displacement64(if a32 {
        u64::from(displacement as u32)
    } else {
        displacement as u64
    });
    sum = sum.wrapping_sub(displacement as u64);
    let base = random.below(16) as usize;
    let index = random.below(16) as usize;
    instruction.set_memory_base(all + base as u32);
    if random.chance(2) && index != 4 && index != base {
        let scale = 1 << random.below(4);
        let value = if random.chance(2) { random.value() } else { random.below(0x1000) };
        instruction.set_memory_index(all + index as u32);
        instruction.set_memory_index_scale(scale);
        aim.index = Some((index, value));
        sum = sum.wrapping_sub(value.wrapping_mul(u64::from(scale)));
    }
    if a32 {
        // What is above the address size does not count.
        sum = sum & 0xffff_ffff | random.next() << 32;
    }
    aim.base = Some((base, sum));
    Some(aim)
}

/// The same for 32-bit code; in 16 bits only the first 64 KiB are reached, where nothing is.
fn address_32(
    instruction: &mut Instruction,
    kind: Kind,
    addressing: &Addressing,
    (mode, short): (Mode, bool),
    random: &mut Random,
) -> Option<Aim> {
    let override_ = [Register::GS, Register::SS, Register::FS, Register::CS];
    if random.chance(8) {
        instruction.set_segment_prefix(override_[random.below(4) as usize]);
    }
    let width = if short { 2 } else { 4 };
    let mut aim = Aim { target: addressing.target, ..Aim::default() };
    let displacement = match random.below(4) {
        0 => 0,
        1 => random.below(256).wrapping_sub(128) as u32,
        2 => random.below(addressing.bytes * 4 + 8) as u32,
        _ => random.next() as u32,
    };
    if kind == Kind::mem_offs || short || random.chance(12) {
        instruction.set_memory_displ_size(width);
        let offset = addressing.target.wrapping_sub(base_of(instruction, mode)) as u32;
        let offset = if short { offset & 0xffff } else { offset };
        instruction.set_memory_displacement64(offset.into());
        if short && kind != Kind::mem_offs {
            short_registers(instruction, random);
        }
        return Some(aim);
    }
    let small = (-128..128).contains(&(displacement as i32));
    instruction.set_memory_displ_size(if small { 1 } else { 4 });
    instruction.set_memory_displacement64(displacement.into());
    let (base, index) = (random.below(8) as usize, random.below(8) as usize);
    instruction.set_memory_base(Register::EAX + base as u32);
    let mut sum = (addressing.target as u32).wrapping_sub(displacement);
    if random.chance(2) && index != 4 && index != base {
        let scale = 1 << random.below(4);
        let value = random.next() as u32;
        instruction.set_memory_index(Register::EAX + index as u32);
        instruction.set_memory_index_scale(scale);
        aim.index = Some((index, value.into()));
        sum = sum.wrapping_sub(value.wrapping_mul(scale));
    }
    sum = sum.wrapping_sub(base_of(instruction, mode) as u32);
    aim.base = Some((base, sum.into()));
    Some(aim)
}

/// The base of the segment that the operand is in.
fn base_of(instruction: &Instruction, mode: Mode) -> u64 {
    let prefix = instruction.segment_prefix();
    let of_stack = matches!(instruction.memory_base(), Register::ESP | Register::EBP);
    let by_default = prefix == Register::None && !of_stack;
    if prefix == Register::GS || by_default && mode == Mode::Limited { GS_BASE } else { 0 }
}

/// The registers that 16-bit addresses are made of (SDM volume 2, table 2-1).
fn short_registers(instruction: &mut Instruction, random: &mut Random) {
    use Register::{BP, BX, DI, None, SI};
    let pairs =
        [(BX, SI), (BX, DI), (BP, SI), (BP, DI), (SI, None), (DI, None), (BP, None), (BX, None)];
    let (base, index) = pairs[random.below(8) as usize];
    instruction.set_memory_base(base);
    instruction.set_memory_index(index);
}

/// The instruction's bytes where snippets start.
pub fn encode(instruction: &Instruction, at: u64) -> Option<Vec<u8>> {
    let narrow = instruction.code_size() == CodeSize::Code32;
    let mut encoder = Encoder::new(if narrow { 32 } else { 64 });
    encoder.encode(instruction, at).ok()?;
    Some(encoder.take_buffer())
}

/// The number of a general-purpose register, in encoding order.
pub fn number(register: Register) -> Option<usize> {
    let full = register.full_register();
    GPR64.iter().position(|&candidate| candidate == full)
}

/// An address up to `most` bytes before or behind the snippet, where a trap waits.
fn around(random: &mut Random, most: u64) -> u64 {
    if random.chance(2) { ENTRY - 1 - random.below(most) } else { ENTRY + 16 + random.below(most) }
}

/// An address in the code page, for what jumps there.
pub fn code_address(random: &mut Random) -> u64 {
    around(random, PAGE / 2 - 64)
}
