//! Random programs of every general-purpose form that the processor's manual has for integers:
//! any operands, any width, 64-bit and 32-bit code, REP in both directions, flags through the
//! stack, and code that changes itself. What [`programs`] has instead is what compilers
//! write, and so what the engine fuses.

use crate::common::programs::{self, REACH};
use crate::common::{CODE, DATA, Random};
use iced_x86::code_asm::*;
use iced_x86::{
    Code, CodeSize, DecoderOptions, Encoder, EncodingKind, IcedError, Instruction, MemoryOperand,
    Mnemonic, OpCodeOperandKind as Kind, OpKind, Register,
};

const BLOCKS: usize = 12;
/// What the programs have, in all its forms whose operands [`Forms::operand`] can draw.
#[rustfmt::skip]
const MNEMONICS: &[Mnemonic] = &[
    Mnemonic::Add, Mnemonic::Adc, Mnemonic::Sub, Mnemonic::Sbb, Mnemonic::Cmp, Mnemonic::And,
    Mnemonic::Or, Mnemonic::Xor, Mnemonic::Test, Mnemonic::Inc, Mnemonic::Dec, Mnemonic::Neg,
    Mnemonic::Not, Mnemonic::Shl, Mnemonic::Shr, Mnemonic::Sar, Mnemonic::Rol, Mnemonic::Ror,
    Mnemonic::Rcl, Mnemonic::Rcr, Mnemonic::Shld, Mnemonic::Shrd, Mnemonic::Mul, Mnemonic::Imul,
    Mnemonic::Mov, Mnemonic::Movzx, Mnemonic::Movsx, Mnemonic::Movsxd, Mnemonic::Movbe,
    Mnemonic::Lea, Mnemonic::Xchg, Mnemonic::Xadd, Mnemonic::Cmpxchg, Mnemonic::Bswap,
    Mnemonic::Bt, Mnemonic::Bts, Mnemonic::Btr, Mnemonic::Btc, Mnemonic::Bsf, Mnemonic::Bsr,
    Mnemonic::Tzcnt, Mnemonic::Lzcnt, Mnemonic::Popcnt, Mnemonic::Andn, Mnemonic::Blsi,
    Mnemonic::Blsr, Mnemonic::Blsmsk, Mnemonic::Bextr, Mnemonic::Bzhi, Mnemonic::Mulx,
    Mnemonic::Rorx, Mnemonic::Sarx, Mnemonic::Shlx, Mnemonic::Shrx, Mnemonic::Pdep,
    Mnemonic::Pext, Mnemonic::Cbw, Mnemonic::Cwde, Mnemonic::Cdqe, Mnemonic::Cwd, Mnemonic::Cdq,
    Mnemonic::Cqo, Mnemonic::Lahf, Mnemonic::Sahf, Mnemonic::Cmc, Mnemonic::Clc, Mnemonic::Stc,
    Mnemonic::Seto, Mnemonic::Setno, Mnemonic::Setb, Mnemonic::Setae, Mnemonic::Sete,
    Mnemonic::Setne, Mnemonic::Setbe, Mnemonic::Seta, Mnemonic::Sets, Mnemonic::Setns,
    Mnemonic::Setp, Mnemonic::Setnp, Mnemonic::Setl, Mnemonic::Setge, Mnemonic::Setle,
    Mnemonic::Setg, Mnemonic::Cmovo, Mnemonic::Cmovno, Mnemonic::Cmovb, Mnemonic::Cmovae,
    Mnemonic::Cmove, Mnemonic::Cmovne, Mnemonic::Cmovbe, Mnemonic::Cmova, Mnemonic::Cmovs,
    Mnemonic::Cmovns, Mnemonic::Cmovp, Mnemonic::Cmovnp, Mnemonic::Cmovl, Mnemonic::Cmovge,
    Mnemonic::Cmovle, Mnemonic::Cmovg,
];
/// What a conditional jump may be fused with.
#[rustfmt::skip]
const FUSIBLE: &[Mnemonic] = &[
    Mnemonic::Cmp, Mnemonic::Test, Mnemonic::Add, Mnemonic::Sub, Mnemonic::And, Mnemonic::Inc,
    Mnemonic::Dec,
];

/// The forms of one kind of code.
pub struct Forms {
    bits: u32,
    all: Vec<Code>,
    fusible: Vec<Code>,
}

/// An operand that may be a register or memory.
fn may_be_memory(kind: Kind) -> bool {
    matches!(kind, Kind::r8_or_mem | Kind::r16_or_mem | Kind::r32_or_mem | Kind::r64_or_mem)
}

/// Whether the bit that a register counts off may lie outside the memory operand (SDM volume 2,
/// BT).
fn counts_bits_by_register(code: Code) -> bool {
    matches!(code.mnemonic(), Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc)
        && !code.op_code().op_kinds().contains(&Kind::imm8)
}

/// Whether the manual leaves the result undefined: BSWAP of 16 bits; SHLD and SHRD of 16 bits,
/// whose count may exceed them.
fn is_undefined(code: Code) -> bool {
    matches!(code.mnemonic(), Mnemonic::Bswap | Mnemonic::Shld | Mnemonic::Shrd)
        && code.op_code().operand_size() == 16
}

impl Forms {
    /// Of 64-bit or 32-bit code.
    pub fn new(bits: u32) -> Self {
        let mut all: Vec<Code> = Code::values().filter(|&code| Self::has(bits, code)).collect();
        // In this order a mnemonic's forms stand together, and [`Self::instruction`] finds them.
        all.sort_by_key(|code| code.mnemonic());
        let fusible = all.iter().copied().filter(|code| FUSIBLE.contains(&code.mnemonic()));
        Self { bits, fusible: fusible.collect(), all }
    }

    /// Each of them.
    pub fn all(&self) -> &[Code] {
        &self.all
    }

    fn has(bits: u32, code: Code) -> bool {
        let op = code.op_code();
        let exists = if bits == 64 { op.mode64() } else { op.mode32() };
        // Old and strange processors' own forms are decoded only for who asks.
        let exists = exists && op.decoder_option() == DecoderOptions::NONE;
        let encoding = matches!(code.encoding(), EncodingKind::Legacy | EncodingKind::VEX);
        let known = op.op_kinds().iter().all(|&kind| Self::knows(bits, kind));
        let asked = MNEMONICS.contains(&code.mnemonic());
        exists && encoding && known && asked && op.is_instruction() && !is_undefined(code)
    }

    fn knows(bits: u32, kind: Kind) -> bool {
        let memory = kind == Kind::mem || may_be_memory(kind);
        memory || Self::register(bits, kind, &mut Random(0)).is_some() || immediate(kind).is_some()
    }

    /// Not the stack pointer, nor the data's: rsp, rbx, and their parts.
    fn register(bits: u32, kind: Kind, random: &mut Random) -> Option<Register> {
        use Register::*;
        const BYTES: [Register; 12] = [AL, CL, DL, AH, CH, DH, BPL, SIL, R8L, R11L, R14L, DIL];
        const WORDS: [Register; 12] = [AX, CX, DX, BP, SI, DI, R8W, R9W, R10W, R11W, R13W, R15W];
        let narrow = bits == 32;
        let word = WORDS[random.below(if narrow { 6 } else { 12 }) as usize];
        #[expect(clippy::wildcard_enum_match_arm, reason = "the other kinds are no such registers")]
        Some(match kind {
            Kind::r8_or_mem | Kind::r8_reg | Kind::r8_opcode => {
                BYTES[random.below(if narrow { 6 } else { 12 }) as usize]
            }
            Kind::r16_or_mem | Kind::r16_reg | Kind::r16_opcode => word,
            Kind::r32_or_mem | Kind::r32_reg | Kind::r32_opcode | Kind::r32_vvvv => {
                word.full_register32()
            }
            Kind::r64_or_mem | Kind::r64_reg | Kind::r64_opcode | Kind::r64_vvvv => {
                word.full_register()
            }
            Kind::al => AL,
            Kind::cl => CL,
            Kind::ax => AX,
            Kind::eax => EAX,
            Kind::rax => RAX,
            _ => return Option::None,
        })
    }

    /// Memory near the data's pointer; LEA's, which is not touched, anywhere.
    fn memory(&self, code: Code, random: &mut Random) -> MemoryOperand {
        let near = random.below(REACH / 2 - 8) as i64 - (REACH / 4) as i64;
        let short = self.bits == 32 || random.chance(8);
        if code.mnemonic() != Mnemonic::Lea {
            return MemoryOperand::with_base_displ(
                if short { Register::EBX } else { Register::RBX },
                near,
            );
        }
        let kind = if short { Kind::r32_reg } else { Kind::r64_reg };
        let mut any = || Self::register(self.bits, kind, random).unwrap_or_default();
        let (base, index) = (any(), any());
        let scale = 1 << random.below(4);
        MemoryOperand::with_base_index_scale_displ_size(base, index, scale, near, 4)
    }

    fn operand(&self, i: &mut Instruction, number: u32, kind: Kind, random: &mut Random) {
        let touches = !counts_bits_by_register(i.code());
        if kind == Kind::mem || may_be_memory(kind) && touches && random.chance(3) {
            let memory = self.memory(i.code(), random);
            i.set_op_kind(number, OpKind::Memory);
            i.set_memory_base(memory.base);
            i.set_memory_index(memory.index);
            i.set_memory_index_scale(memory.scale);
            i.set_memory_displacement64(memory.displacement as u64);
            i.set_memory_displ_size(if memory.base.size() == 4 { 4 } else { 8 });
            let lock = i.code().op_code().can_use_lock_prefix() && random.chance(4);
            i.set_has_lock_prefix(lock);
        } else if let Some(register) = Self::register(self.bits, kind, random) {
            i.set_op_kind(number, OpKind::Register);
            i.set_op_register(number, register);
        } else if let Some(immediate) = immediate(kind) {
            i.set_op_kind(number, immediate);
            let value = if random.chance(3) { random.value() } else { random.next() };
            let value = if kind == Kind::imm8_const_1 { 1 } else { value };
            set_immediate(i, immediate, value);
        }
    }

    /// One of `codes` with operands that go together.
    fn draw(&self, codes: &[Code], random: &mut Random) -> Instruction {
        loop {
            let code = codes[random.below(codes.len() as u64) as usize];
            let mut i = Instruction::default();
            i.set_code(code);
            i.set_code_size(if self.bits == 64 { CodeSize::Code64 } else { CodeSize::Code32 });
            for (number, &kind) in (0..).zip(code.op_code().op_kinds()) {
                self.operand(&mut i, number, kind, random);
            }
            // AH and a register that needs REX, for one, do not.
            if Encoder::new(self.bits).encode(&i, CODE).is_ok() {
                return i;
            }
        }
    }

    fn instruction(&self, a: &mut CodeAssembler, random: &mut Random) -> Result<(), IcedError> {
        match random.below(24) {
            0 => self.divide(a, random),
            1 => self.through_the_stack(a, random),
            _ => {
                // Each as often as any other, however many forms it has.
                let mnemonic = MNEMONICS[random.below(MNEMONICS.len() as u64) as usize];
                let first = self.all.partition_point(|code| code.mnemonic() < mnemonic);
                let last = self.all.partition_point(|code| code.mnemonic() <= mnemonic);
                if first == last {
                    return self.instruction(a, random);
                }
                a.add_instruction(self.draw(&self.all[first..last], random))
            }
        }
    }

    /// A division that does not fault: by a positive number, of what is only extended to its width.
    fn divide(&self, a: &mut CodeAssembler, random: &mut Random) -> Result<(), IcedError> {
        let by = (random.next() as i32 >> random.below(31)) & i32::MAX | 1;
        a.mov(ecx, by)?;
        match random.below(if self.bits == 64 { 6 } else { 4 }) {
            0 => {
                a.xor(edx, edx)?;
                a.div(ecx)
            }
            1 => {
                a.cdq()?;
                a.idiv(ecx)
            }
            2 => {
                a.movzx(eax, al)?;
                a.or(cl, 1)?;
                a.div(cl)
            }
            3 => {
                a.and(cx, 0x7fff)?;
                a.cwd()?;
                a.idiv(cx)
            }
            4 => {
                a.xor(edx, edx)?;
                a.div(rcx)
            }
            _ => {
                a.cqo()?;
                a.idiv(rcx)
            }
        }
    }

    /// Something on the stack, the flags or a register of any width, while something else is done.
    fn through_the_stack(
        &self,
        a: &mut CodeAssembler,
        random: &mut Random,
    ) -> Result<(), IcedError> {
        match (random.below(4), self.bits) {
            (0, 64) => {
                a.pushfq()?;
                self.instruction(a, random)?;
                a.popfq()
            }
            (0, _) => {
                a.pushfd()?;
                self.instruction(a, random)?;
                a.popfd()
            }
            (1, _) => {
                a.push(dx)?;
                self.instruction(a, random)?;
                a.pop(si)
            }
            (2, 64) => {
                a.push(random.next() as i32)?;
                self.instruction(a, random)?;
                a.pop(rdi)
            }
            (2, _) => {
                a.push(random.next() as i32)?;
                self.instruction(a, random)?;
                a.pop(edi)
            }
            (_, 64) => {
                a.push(rbp)?;
                a.mov(rbp, rsp)?;
                a.leave()
            }
            _ => {
                a.push(ebp)?;
                a.mov(ebp, esp)?;
                a.leave()
            }
        }
    }

    /// A string instruction of any width, once or repeated, in either direction.
    fn strings(&self, a: &mut CodeAssembler, random: &mut Random) -> Result<(), IcedError> {
        const STRINGS: [[Code; 4]; 5] = [
            [Code::Movsb_m8_m8, Code::Movsw_m16_m16, Code::Movsd_m32_m32, Code::Movsq_m64_m64],
            [Code::Stosb_m8_AL, Code::Stosw_m16_AX, Code::Stosd_m32_EAX, Code::Stosq_m64_RAX],
            [Code::Lodsb_AL_m8, Code::Lodsw_AX_m16, Code::Lodsd_EAX_m32, Code::Lodsq_RAX_m64],
            [Code::Cmpsb_m8_m8, Code::Cmpsw_m16_m16, Code::Cmpsd_m32_m32, Code::Cmpsq_m64_m64],
            [Code::Scasb_AL_m8, Code::Scasw_AX_m16, Code::Scasd_EAX_m32, Code::Scasq_RAX_m64],
        ];
        let widths = if self.bits == 64 { 4 } else { 3 };
        let code = STRINGS[random.below(5) as usize][random.below(widths) as usize];
        let down = random.chance(3);
        a.mov(ecx, random.below(70) as i32)?;
        a.mov(edi, (DATA + REACH / 2 + random.below(500)) as u32)?;
        a.mov(esi, (DATA + REACH / 2 + random.below(500)) as u32)?;
        if down {
            a.std()?;
        }
        let mut i = Instruction::default();
        i.set_code(code);
        for (number, &kind) in (0..).zip(code.op_code().op_kinds()) {
            let wide = self.bits == 64;
            #[expect(clippy::wildcard_enum_match_arm, reason = "the others are registers")]
            match kind {
                Kind::seg_rSI if wide => i.set_op_kind(number, OpKind::MemorySegRSI),
                Kind::seg_rSI => i.set_op_kind(number, OpKind::MemorySegESI),
                Kind::es_rDI if wide => i.set_op_kind(number, OpKind::MemoryESRDI),
                Kind::es_rDI => i.set_op_kind(number, OpKind::MemoryESEDI),
                _ => self.operand(&mut i, number, kind, random),
            }
        }
        match random.below(3) {
            0 => i.set_has_rep_prefix(true),
            1 => i.set_has_repne_prefix(code.op_code().can_use_repne_prefix()),
            _ => {}
        }
        a.add_instruction(i)?;
        if down { a.cld() } else { Ok(()) }
    }

    /// Code that changes the instruction behind it: its number, or which it is.
    fn patch(&self, a: &mut CodeAssembler, random: &mut Random) -> Result<(), IcedError> {
        let mut site = a.create_label();
        // `inc eax` is ff c0, `dec eax` ff c8.
        let turns = random.chance(2);
        if turns {
            a.and(al, 8)?;
            a.or(al, 0xc0)?;
        }
        if self.bits == 64 {
            a.lea(rdi, ptr(site))?;
            a.mov(byte_ptr(rdi + 1), al)?;
        } else {
            let mut here = a.create_label();
            a.call(here)?;
            a.set_label(&mut here)?;
            a.pop(edi)?;
            // pop is one byte long, the store three.
            a.mov(byte_ptr(edi + 1 + 3 + 1), al)?;
        }
        a.set_label(&mut site)?;
        if turns {
            a.add_instruction(Instruction::with1(Code::Inc_rm32, Register::EAX)?)
        } else {
            a.add_instruction(Instruction::with2(Code::Mov_r32_imm32, Register::EDX, 7)?)
        }
    }

    /// Writes a program; it runs for ever.
    pub fn write(&self, a: &mut CodeAssembler, random: &mut Random) -> Result<(), IcedError> {
        let mut blocks: Vec<CodeLabel> = (0..BLOCKS).map(|_| a.create_label()).collect();
        let (mut function, first) = (a.create_label(), blocks[0]);
        a.mov(ebx, (DATA + REACH / 2) as u32)?;
        for block in 0..BLOCKS {
            a.set_label(&mut blocks[block])?;
            for _ in 0..1 + random.below(9) {
                self.instruction(a, random)?;
            }
            let to = blocks[random.below(BLOCKS as u64) as usize];
            match random.below(10) {
                0 => a.jmp(to)?,
                1 => a.call(function)?,
                2 => self.strings(a, random)?,
                3 => self.patch(a, random)?,
                4 => a.loop_(to)?,
                _ => {
                    a.add_instruction(self.draw(&self.fusible, random))?;
                    programs::jump_if(a, random, to)?;
                }
            }
        }
        a.jmp(first)?;
        a.set_label(&mut function)?;
        for _ in 0..random.below(6) {
            self.instruction(a, random)?;
        }
        a.ret()
    }
}

fn immediate(kind: Kind) -> Option<OpKind> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other kinds are no immediates")]
    Some(match kind {
        Kind::imm8 | Kind::imm8_const_1 => OpKind::Immediate8,
        Kind::imm8sex16 => OpKind::Immediate8to16,
        Kind::imm8sex32 => OpKind::Immediate8to32,
        Kind::imm8sex64 => OpKind::Immediate8to64,
        Kind::imm16 => OpKind::Immediate16,
        Kind::imm32 => OpKind::Immediate32,
        Kind::imm32sex64 => OpKind::Immediate32to64,
        Kind::imm64 => OpKind::Immediate64,
        _ => return None,
    })
}

fn set_immediate(i: &mut Instruction, kind: OpKind, value: u64) {
    #[expect(clippy::wildcard_enum_match_arm, reason = "of the kinds above the widest is left")]
    match kind {
        OpKind::Immediate8 => i.set_immediate8(value as u8),
        OpKind::Immediate8to16 => i.set_immediate8to16((value as i8).into()),
        OpKind::Immediate8to32 => i.set_immediate8to32((value as i8).into()),
        OpKind::Immediate8to64 => i.set_immediate8to64((value as i8).into()),
        OpKind::Immediate16 => i.set_immediate16(value as u16),
        OpKind::Immediate32 => i.set_immediate32(value as u32),
        OpKind::Immediate32to64 => i.set_immediate32to64((value as i32).into()),
        _ => i.set_immediate64(value),
    }
}
