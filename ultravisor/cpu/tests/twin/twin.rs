//! The twin: each instruction decoded anew and done by a `match`, as the manual's text has it.

use crate::common::{RAM_BYTES, Ram};
use iced_x86::{ConditionCode, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};
use ultravisor_cpu::{Cpu, flag};

/// Registers, flags and memory, and nothing remembered of any of them.
pub struct Twin {
    /// 64 or 32.
    mode: u32,
    pub gpr: [u64; 16],
    pub rip: u64,
    pub flags: u64,
    /// Flags that the last instruction left undefined.
    pub undefined: u64,
    pub memory: Vec<u8>,
}

/// What a result of `bits` bits is seen through.
pub fn mask(bits: u32) -> u64 {
    u64::MAX >> (64 - bits)
}

pub fn sign(value: u64, bits: u32) -> bool {
    value >> (bits - 1) & 1 != 0
}

/// Sign-extended.
pub fn extended(value: u64, bits: u32) -> u64 {
    ((value << (64 - bits)) as i64 >> (64 - bits)) as u64
}

impl Twin {
    /// As `cpu` is, which is in code of `mode` bits.
    pub fn new(mode: u32, cpu: &Cpu, ram: &Ram) -> Self {
        let mut gpr = [0; 16];
        gpr.copy_from_slice(&cpu.regs.gpr.values()[..16]);
        let memory = ram.read(0, RAM_BYTES as usize).to_vec();
        Self { mode, gpr, rip: cpu.regs.rip, flags: cpu.rflags(), undefined: 0, memory }
    }

    pub fn load(&self, at: u64, bytes: usize) -> u64 {
        let mut word = [0; 8];
        word[..bytes].copy_from_slice(&self.memory[at as usize..][..bytes]);
        u64::from_le_bytes(word)
    }

    pub fn store(&mut self, at: u64, bytes: usize, value: u64) {
        self.memory[at as usize..][..bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
    }

    pub fn register(&self, register: Register) -> u64 {
        let whole = self.gpr[register.full_register().number()];
        match register {
            Register::AH | Register::CH | Register::DH | Register::BH => whole >> 8 & 0xff,
            _ => whole & mask(register.size() as u32 * 8),
        }
    }

    /// SDM volume 1, 3.4.1.1: results of 32 bits are zero-extended, smaller ones leave the rest.
    pub fn set_register(&mut self, register: Register, value: u64) {
        let whole = &mut self.gpr[register.full_register().number()];
        *whole = match (register, register.size()) {
            (Register::AH | Register::CH | Register::DH | Register::BH, _) => {
                *whole & !0xff00 | (value & 0xff) << 8
            }
            (_, 1) => *whole & !0xff | value & 0xff,
            (_, 2) => *whole & !0xffff | value & 0xffff,
            (_, 4) => value & 0xffff_ffff,
            _ => value,
        };
    }

    pub fn address(&self, i: &Instruction) -> u64 {
        let of = |register| if register == Register::None { 0 } else { self.register(register) };
        if i.is_ip_rel_memory_operand() {
            return i.ip_rel_memory_address();
        }
        let index = of(i.memory_index()).wrapping_mul(i.memory_index_scale().into());
        let whole = of(i.memory_base()).wrapping_add(index);
        let bits = i.memory_base().size() as u32 * 8;
        whole.wrapping_add(i.memory_displacement64()) & mask(bits)
    }

    pub fn operand(&self, i: &Instruction, number: u32) -> u64 {
        match i.op_kind(number) {
            OpKind::Register => self.register(i.op_register(number)),
            OpKind::Memory => self.load(self.address(i), i.memory_size().size()),
            _ => i.immediate(number),
        }
    }

    pub fn set_operand(&mut self, i: &Instruction, value: u64) {
        self.set_operand_at(i, 0, value);
    }

    pub fn set_operand_at(&mut self, i: &Instruction, number: u32, value: u64) {
        match i.op_kind(number) {
            OpKind::Register => self.set_register(i.op_register(number), value),
            _ => self.store(self.address(i), i.memory_size().size(), value),
        }
    }

    /// The width of the first operand.
    pub fn bits(i: &Instruction) -> u32 {
        Self::bits_of(i, 0)
    }

    pub fn bits_of(i: &Instruction, number: u32) -> u32 {
        let bytes = match i.op_kind(number) {
            OpKind::Register => i.op_register(number).size(),
            _ => i.memory_size().size(),
        };
        bytes as u32 * 8
    }

    pub fn set(&mut self, flag: u64, on: bool) {
        self.flags = if on { self.flags | flag } else { self.flags & !flag };
    }

    pub fn condition(&self, code: ConditionCode) -> bool {
        let is = |flag| self.flags & flag != 0;
        match code {
            ConditionCode::o => is(flag::OF),
            ConditionCode::no => !is(flag::OF),
            ConditionCode::b => is(flag::CF),
            ConditionCode::ae => !is(flag::CF),
            ConditionCode::e => is(flag::ZF),
            ConditionCode::ne => !is(flag::ZF),
            ConditionCode::be => is(flag::CF) || is(flag::ZF),
            ConditionCode::a => !is(flag::CF) && !is(flag::ZF),
            ConditionCode::s => is(flag::SF),
            ConditionCode::ns => !is(flag::SF),
            ConditionCode::p => is(flag::PF),
            ConditionCode::np => !is(flag::PF),
            ConditionCode::l => is(flag::SF) != is(flag::OF),
            ConditionCode::ge => is(flag::SF) == is(flag::OF),
            ConditionCode::le => is(flag::ZF) || is(flag::SF) != is(flag::OF),
            ConditionCode::g => !is(flag::ZF) && is(flag::SF) == is(flag::OF),
            ConditionCode::None => true,
        }
    }

    fn push(&mut self, bytes: usize, value: u64) {
        self.gpr[4] -= bytes as u64;
        self.store(self.gpr[4], bytes, value);
    }

    fn pop(&mut self, bytes: usize) -> u64 {
        self.gpr[4] += bytes as u64;
        self.load(self.gpr[4] - bytes as u64, bytes)
    }

    /// Executes the instruction at `rip`, all of it if it repeats; *returns* it.
    pub fn step(&mut self) -> Instruction {
        let code = &self.memory[self.rip as usize..][..15];
        let i = Decoder::with_ip(self.mode, code, self.rip, DecoderOptions::NONE).decode();
        self.rip = i.next_ip();
        self.undefined = 0;
        let done = self.arithmetic(&i)
            || self.shift(&i)
            || self.multiply(&i)
            || self.bit(&i)
            || self.flow(&i)
            || self.string(&i)
            || self.flags(&i);
        assert!(done || self.other(&i), "the twin has no {i} ({:?})", i.code());
        i
    }

    fn flow(&mut self, i: &Instruction) -> bool {
        use Mnemonic::*;
        let word = self.mode as usize / 8;
        let pushed = i.stack_pointer_increment().unsigned_abs() as usize;
        match i.mnemonic() {
            Push => {
                let value = self.operand(i, 0);
                self.push(pushed, value);
            }
            Pop => {
                let value = self.pop(pushed);
                self.set_operand(i, value);
            }
            Pushfq | Pushfd => self.push(pushed, self.flags),
            Popfq | Popfd => self.flags = self.pop(pushed),
            Leave => {
                self.gpr[4] = self.gpr[5];
                self.gpr[5] = self.pop(word);
            }
            Ret => self.rip = self.pop(word),
            Call => {
                let target = self.target(i);
                self.push(word, i.next_ip());
                self.rip = target;
            }
            Jmp => self.rip = self.target(i),
            Loop => {
                let count = self.gpr[1].wrapping_sub(1) & mask(self.mode);
                self.gpr[1] = count;
                if count != 0 {
                    self.rip = i.near_branch_target();
                }
            }
            _ if i.is_jcc_short_or_near() => {
                if self.condition(i.condition_code()) {
                    self.rip = i.near_branch_target();
                }
            }
            _ => return false,
        }
        true
    }

    fn target(&self, i: &Instruction) -> u64 {
        match i.op0_kind() {
            OpKind::NearBranch64 | OpKind::NearBranch32 => i.near_branch_target(),
            _ => self.operand(i, 0),
        }
    }

    fn string(&mut self, i: &Instruction) -> bool {
        use Mnemonic::*;
        if !i.is_string_instruction() {
            return false;
        }
        let bytes = i.memory_size().size();
        let step =
            if self.flags & flag::DF != 0 { bytes as u64 } else { (bytes as u64).wrapping_neg() };
        let repeats = i.has_rep_prefix() || i.has_repne_prefix();
        while !repeats || self.gpr[1] != 0 {
            let (from, to) = (self.gpr[6], self.gpr[7]);
            let (reads, writes, compares) = match i.mnemonic() {
                Movsb | Movsw | Movsd | Movsq => (true, true, false),
                Stosb | Stosw | Stosd | Stosq => (false, true, false),
                Lodsb | Lodsw | Lodsd | Lodsq => (true, false, false),
                Cmpsb | Cmpsw | Cmpsd | Cmpsq => (true, true, true),
                _ => (false, true, true),
            };
            let first = if reads { self.load(from, bytes) } else { self.gpr[0] };
            let first = first & mask(bytes as u32 * 8);
            if compares {
                self.subtract(first, self.load(to, bytes), 0, bytes as u32 * 8);
            } else if writes {
                self.store(to, bytes, first);
            } else {
                self.set_operand(i, first);
            }
            if reads {
                self.gpr[6] = from.wrapping_sub(step);
            }
            if writes {
                self.gpr[7] = to.wrapping_sub(step);
            }
            if !repeats {
                break;
            }
            self.gpr[1] -= 1;
            // REPE ends at a difference, REPNE at the same (SDM volume 2, REP).
            if compares && i.has_repne_prefix() == (self.flags & flag::ZF != 0) {
                break;
            }
        }
        true
    }

    /// What moves flags, or is about nothing else.
    fn flags(&mut self, i: &Instruction) -> bool {
        // SF, ZF, AF, PF and CF, as AH has them (SDM volume 2, LAHF).
        const IN_AH: u64 = 0xd5;
        match i.mnemonic() {
            Mnemonic::Lahf => self.set_register(Register::AH, self.flags & IN_AH | 2),
            Mnemonic::Sahf => {
                self.flags = self.flags & !IN_AH | self.register(Register::AH) & IN_AH;
            }
            Mnemonic::Cmc => self.flags ^= flag::CF,
            Mnemonic::Clc => self.set(flag::CF, false),
            Mnemonic::Stc => self.set(flag::CF, true),
            Mnemonic::Cld => self.set(flag::DF, false),
            Mnemonic::Std => self.set(flag::DF, true),
            _ => return false,
        }
        true
    }

    fn other(&mut self, i: &Instruction) -> bool {
        use Mnemonic::*;
        match i.mnemonic() {
            Nop => {}
            Mov | Movzx => {
                let value = self.operand(i, 1);
                self.set_operand(i, value);
            }
            Movsx | Movsxd => {
                let value = extended(self.operand(i, 1), Self::bits_of(i, 1));
                self.set_operand(i, value);
            }
            Movbe => {
                let value = self.operand(i, 1).swap_bytes() >> (64 - Self::bits(i));
                self.set_operand(i, value);
            }
            Bswap => {
                let value = self.operand(i, 0).swap_bytes() >> (64 - Self::bits(i));
                self.set_operand(i, value);
            }
            Lea => self.set_operand(i, self.address(i)),
            Xchg => {
                let (a, b) = (self.operand(i, 0), self.operand(i, 1));
                self.set_operand_at(i, 1, a);
                self.set_operand(i, b);
            }
            Cbw => self.set_register(Register::AX, extended(self.gpr[0], 8)),
            Cwde => self.set_register(Register::EAX, extended(self.gpr[0], 16)),
            Cdqe => self.set_register(Register::RAX, extended(self.gpr[0], 32)),
            Cwd => self.set_register(Register::DX, extended(self.gpr[0] >> 15, 1)),
            Cdq => self.set_register(Register::EDX, extended(self.gpr[0] >> 31, 1)),
            Cqo => self.set_register(Register::RDX, extended(self.gpr[0] >> 63, 1)),
            _ if i.condition_code() == ConditionCode::None => return false,
            // SETcc, then CMOVcc.
            _ if i.op_count() == 1 => {
                let value = self.condition(i.condition_code()).into();
                self.set_operand(i, value);
            }
            _ => {
                // A register of 32 bits is zero-extended even if nothing is moved.
                let from = u32::from(self.condition(i.condition_code()));
                let value = self.operand(i, from);
                self.set_operand(i, value);
            }
        }
        true
    }
}
