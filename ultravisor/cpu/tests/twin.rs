//! The engine against its twin: the same programs by a plain `match` over decoded instructions,
//! which shares nothing with the engine but iced's decoder, and takes its flags from the manual.
//!
//! They go instruction by instruction, side by side, and must leave the same registers, flags and
//! memory. What the manual leaves undefined of the flags the twin takes over from the engine.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "it has the instructions that the programs have, and stops at any other"
)]

mod common;

use common::{DATA, RAM_BYTES, Ram, Random, STACK, machine, programs};
use iced_x86::{
    Code, ConditionCode, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register,
};
use ultravisor_cpu::{Cpu, Exit, flag};

/// Programs of one run, and instructions of each; `UVSIM_TWIN_PROGRAMS` asks for more.
const PROGRAMS: u64 = 1000;
const INSTRUCTIONS: u64 = 600;
/// The arithmetic flags.
const ARITHMETIC: u64 = flag::CF | flag::PF | flag::AF | flag::ZF | flag::SF | flag::OF;

/// Registers, flags and memory, and nothing remembered of any of them.
struct Twin {
    gpr: [u64; 16],
    rip: u64,
    flags: u64,
    /// Flags that the last instruction left undefined.
    undefined: u64,
    memory: Vec<u8>,
}

/// What a result of `bits` bits is seen through.
fn mask(bits: u32) -> u64 {
    u64::MAX >> (64 - bits)
}

fn sign(value: u64, bits: u32) -> bool {
    value >> (bits - 1) & 1 != 0
}

fn extended(value: u64, bits: u32) -> u64 {
    ((value << (64 - bits)) as i64 >> (64 - bits)) as u64
}

impl Twin {
    fn new(cpu: &Cpu, ram: &Ram) -> Self {
        let mut gpr = [0; 16];
        gpr.copy_from_slice(&cpu.regs.gpr.values()[..16]);
        let memory = ram.read(0, RAM_BYTES as usize).to_vec();
        Self { gpr, rip: cpu.regs.rip, flags: cpu.rflags(), undefined: 0, memory }
    }

    fn load(&self, at: u64, bytes: usize) -> u64 {
        let mut word = [0; 8];
        word[..bytes].copy_from_slice(&self.memory[at as usize..][..bytes]);
        u64::from_le_bytes(word)
    }

    fn store(&mut self, at: u64, bytes: usize, value: u64) {
        self.memory[at as usize..][..bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
    }

    fn register(&self, register: Register) -> u64 {
        let whole = self.gpr[register.full_register().number()];
        match register {
            Register::AH | Register::CH | Register::DH | Register::BH => whole >> 8 & 0xff,
            _ => whole & mask(register.size() as u32 * 8),
        }
    }

    /// SDM volume 1, 3.4.1.1: results of 32 bits are zero-extended, smaller ones leave the rest.
    fn set_register(&mut self, register: Register, value: u64) {
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

    fn address(&self, i: &Instruction) -> u64 {
        let of = |register| if register == Register::None { 0 } else { self.register(register) };
        if i.is_ip_rel_memory_operand() {
            return i.ip_rel_memory_address();
        }
        let index = of(i.memory_index()).wrapping_mul(i.memory_index_scale().into());
        of(i.memory_base()).wrapping_add(index).wrapping_add(i.memory_displacement64())
    }

    fn operand(&self, i: &Instruction, number: u32) -> u64 {
        match i.op_kind(number) {
            OpKind::Register => self.register(i.op_register(number)),
            OpKind::Memory => self.load(self.address(i), i.memory_size().size()),
            _ => i.immediate(number),
        }
    }

    fn set_operand(&mut self, i: &Instruction, value: u64) {
        match i.op0_kind() {
            OpKind::Register => self.set_register(i.op0_register(), value),
            _ => self.store(self.address(i), i.memory_size().size(), value),
        }
    }

    /// The width of the first operand.
    fn bits(i: &Instruction) -> u32 {
        let bytes = match i.op0_kind() {
            OpKind::Register => i.op0_register().size(),
            _ => i.memory_size().size(),
        };
        bytes as u32 * 8
    }

    fn set(&mut self, flag: u64, on: bool) {
        self.flags = if on { self.flags | flag } else { self.flags & !flag };
    }

    /// SF, ZF and PF (SDM volume 1, 3.4.3.1).
    fn tell(&mut self, result: u64, bits: u32) {
        self.set(flag::SF, sign(result, bits));
        self.set(flag::ZF, result & mask(bits) == 0);
        self.set(flag::PF, (result as u8).count_ones().is_multiple_of(2));
    }

    fn carry(&self) -> u64 {
        u64::from(self.flags & flag::CF != 0)
    }

    fn add(&mut self, a: u64, b: u64, carry: u64, bits: u32) -> u64 {
        let whole = u128::from(a) + u128::from(b & mask(bits)) + u128::from(carry);
        let result = whole as u64 & mask(bits);
        self.tell(result, bits);
        self.set(flag::CF, whole > u128::from(mask(bits)));
        self.set(flag::AF, (a & 15) + (b & 15) + carry > 15);
        self.set(flag::OF, sign((a ^ result) & (b ^ result), bits));
        result
    }

    fn subtract(&mut self, a: u64, b: u64, borrow: u64, bits: u32) -> u64 {
        let b = b & mask(bits);
        let result = a.wrapping_sub(b).wrapping_sub(borrow) & mask(bits);
        self.tell(result, bits);
        self.set(flag::CF, u128::from(b) + u128::from(borrow) > u128::from(a));
        self.set(flag::AF, (b & 15) + borrow > a & 15);
        self.set(flag::OF, sign((a ^ b) & (a ^ result), bits));
        result
    }

    fn logic(&mut self, result: u64, bits: u32) -> u64 {
        self.tell(result, bits);
        self.set(flag::CF | flag::OF, false);
        self.undefined = flag::AF;
        result
    }

    fn condition(&self, code: ConditionCode) -> bool {
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

    fn push(&mut self, value: u64) {
        self.gpr[4] -= 8;
        self.store(self.gpr[4], 8, value);
    }

    fn pop(&mut self) -> u64 {
        self.gpr[4] += 8;
        self.load(self.gpr[4] - 8, 8)
    }

    /// Executes the instruction at `rip`, all of it if it repeats; *returns* it.
    fn step(&mut self) -> Instruction {
        let code = &self.memory[self.rip as usize..][..15];
        let i = Decoder::with_ip(64, code, self.rip, DecoderOptions::NONE).decode();
        self.rip = i.next_ip();
        self.undefined = 0;
        let done = self.arithmetic(&i) || self.shift(&i) || self.flow(&i) || self.string(&i);
        assert!(done || self.other(&i), "the twin has no {i} ({:?})", i.code());
        i
    }

    fn arithmetic(&mut self, i: &Instruction) -> bool {
        use Mnemonic::*;
        if !matches!(
            i.mnemonic(),
            Add | Adc | Sub | Sbb | Cmp | And | Or | Xor | Test | Inc | Dec | Neg
        ) {
            return false;
        }
        let bits = Self::bits(i);
        let a = self.operand(i, 0);
        let b = if i.op_count() > 1 { self.operand(i, 1) & mask(bits) } else { 1 };
        let (carry, kept) = (self.carry(), self.flags & flag::CF);
        let result = match i.mnemonic() {
            Add => self.add(a, b, 0, bits),
            Adc => self.add(a, b, carry, bits),
            Inc => self.add(a, 1, 0, bits),
            Sub | Cmp => self.subtract(a, b, 0, bits),
            Sbb => self.subtract(a, b, carry, bits),
            Dec => self.subtract(a, 1, 0, bits),
            Neg => self.subtract(0, a, 0, bits),
            And | Test => self.logic(a & b, bits),
            Or => self.logic(a | b, bits),
            _ => self.logic(a ^ b, bits),
        };
        if matches!(i.mnemonic(), Inc | Dec) {
            self.set(flag::CF, kept != 0);
        }
        if !matches!(i.mnemonic(), Cmp | Test) {
            self.set_operand(i, result);
        }
        true
    }

    /// SDM volume 2, SAL/SAR/SHL/SHR and RCL/RCR/ROL/ROR: bit by bit.
    fn shift(&mut self, i: &Instruction) -> bool {
        use Mnemonic::*;
        let kind = i.mnemonic();
        if !matches!(kind, Shl | Shr | Sar | Rol | Ror | Rcl | Rcr) {
            return false;
        }
        let bits = Self::bits(i);
        let count = self.operand(i, 1) & if bits == 64 { 63 } else { 31 };
        let before = self.operand(i, 0);
        let (mut value, mut carry) = (before, self.carry());
        for _ in 0..count {
            let (top, low) = (value >> (bits - 1) & 1, value & 1);
            let (next, out) = match kind {
                Shl => (value << 1, top),
                Shr => (value >> 1, low),
                Sar => (value >> 1 | top << (bits - 1), low),
                Rol => (value << 1 | top, top),
                Ror => (value >> 1 | low << (bits - 1), low),
                Rcl => (value << 1 | carry, top),
                _ => (value >> 1 | carry << (bits - 1), low),
            };
            (value, carry) = (next & mask(bits), out);
        }
        self.set_operand(i, value);
        if count == 0 {
            return true;
        }
        self.set(flag::CF, carry != 0);
        let top = sign(value, bits);
        let overflow = match kind {
            Shl | Rol | Rcl => top != (carry != 0),
            Shr => sign(before, bits),
            Sar => false,
            _ => top != sign(value << 1, bits),
        };
        self.set(flag::OF, overflow);
        if count > 1 {
            self.undefined |= flag::OF;
        }
        if matches!(kind, Shl | Shr | Sar) {
            self.tell(value, bits);
            self.undefined |= flag::AF;
            // SDM volume 2: of SHL and SHR past the operand's width.
            if kind != Sar && count >= u64::from(bits) {
                self.undefined |= flag::CF;
            }
        }
        true
    }

    fn flow(&mut self, i: &Instruction) -> bool {
        use Mnemonic::*;
        match i.mnemonic() {
            Push => {
                let value = extended(self.operand(i, 0), Self::bits(i));
                self.push(value);
            }
            Pop => {
                let value = self.pop();
                self.set_operand(i, value);
            }
            Ret => self.rip = self.pop(),
            Call => {
                let target = self.target(i);
                self.push(i.next_ip());
                self.rip = target;
            }
            Jmp => self.rip = self.target(i),
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
            OpKind::NearBranch64 => i.near_branch_target(),
            _ => self.operand(i, 0),
        }
    }

    /// Upwards: no program sets DF.
    fn string(&mut self, i: &Instruction) -> bool {
        let bytes: u64 = match i.code() {
            Code::Movsb_m8_m8 | Code::Stosb_m8_AL | Code::Cmpsb_m8_m8 => 1,
            Code::Movsq_m64_m64 => 8,
            _ => return false,
        };
        let repeats = i.has_rep_prefix();
        while !repeats || self.gpr[1] != 0 {
            let (from, to) = (self.gpr[6], self.gpr[7]);
            match i.mnemonic() {
                Mnemonic::Stosb => self.store(to, 1, self.gpr[0]),
                Mnemonic::Cmpsb => {
                    let (a, b) = (self.load(from, 1), self.load(to, 1));
                    self.subtract(a, b, 0, 8);
                }
                _ => self.store(to, bytes as usize, self.load(from, bytes as usize)),
            }
            self.gpr[7] += bytes;
            if i.mnemonic() != Mnemonic::Stosb {
                self.gpr[6] += bytes;
            }
            if !repeats {
                break;
            }
            self.gpr[1] -= 1;
            if i.mnemonic() == Mnemonic::Cmpsb && self.flags & flag::ZF == 0 {
                break;
            }
        }
        true
    }

    fn other(&mut self, i: &Instruction) -> bool {
        use Mnemonic::*;
        let bits = if i.op_count() > 0 { Self::bits(i) } else { 64 };
        match i.mnemonic() {
            Mov | Movzx => {
                let value = self.operand(i, 1);
                self.set_operand(i, value);
            }
            Lea => self.set_operand(i, self.address(i)),
            Not => {
                let value = !self.operand(i, 0);
                self.set_operand(i, value);
            }
            Imul => {
                let (a, b) = (self.operand(i, 0), self.operand(i, 1));
                let signed = |value| i128::from(extended(value, bits) as i64);
                let product = signed(a) * signed(b);
                self.set_operand(i, product as u64);
                let lost = product != signed(product as u64);
                self.set(flag::CF | flag::OF, lost);
                self.undefined = flag::SF | flag::ZF | flag::AF | flag::PF;
            }
            Bt => {
                let (a, b) = (self.operand(i, 0), self.operand(i, 1));
                self.set(flag::CF, a >> (b % u64::from(bits)) & 1 != 0);
                self.undefined = flag::OF | flag::SF | flag::AF | flag::PF;
            }
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

/// What of the twin is not as the engine has it.
fn differences(twin: &Twin, cpu: &Cpu, ram: &Ram) -> Vec<String> {
    let mut found = Vec::new();
    for (number, (ours, twins)) in cpu.regs.gpr.values().iter().zip(twin.gpr).enumerate() {
        if *ours != twins {
            found.push(format!("register {number} is {ours:#x}, twin {twins:#x}"));
        }
    }
    if cpu.regs.rip != twin.rip {
        found.push(format!("rip is {:#x}, twin {:#x}", cpu.regs.rip, twin.rip));
    }
    let (ours, twins) = (cpu.rflags() & ARITHMETIC, twin.flags & ARITHMETIC);
    if ours != twins {
        found.push(format!("flags are {ours:#x}, twin {twins:#x}"));
    }
    for (at, bytes) in [(DATA, programs::REACH), (STACK - 0x400, 0x400)] {
        let twins = &twin.memory[at as usize..][..bytes as usize];
        if ram.read(at, bytes as usize) != twins {
            found.push(format!("memory from {at:#x} on"));
        }
    }
    found
}

/// One program on the engine in slices of any length, on the engine unit by unit, and on the twin.
/// *Returns* how many instructions were compared.
fn compare(number: u64, random: &mut Random) -> u64 {
    let code = common::assemble(|a| programs::write(a, random));
    let (mut fast, mut fast_ram) = machine(&code);
    let (mut plain, mut plain_ram) = machine(&code);
    let mut twin = Twin::new(&plain, &plain_ram);
    let mut compared = 0;
    while compared < INSTRUCTIONS {
        let most = if random.chance(2) { 12 } else { 400 };
        assert_eq!(fast.run(&mut fast_ram, 1 + random.below(most)), Exit::Budget);
        let mut within = false;
        while plain.units() < fast.units() {
            let at = plain.regs.rip;
            assert_eq!(plain.run(&mut plain_ram, 1), Exit::Budget);
            within = plain.regs.rip == at;
            if within {
                // A repetition that goes on: the twin does all of it at once.
                continue;
            }
            let i = twin.step();
            twin.flags = twin.flags & !twin.undefined | plain.rflags() & twin.undefined;
            let found = differences(&twin, &plain, &plain_ram);
            assert!(found.is_empty(), "program {number}: after {i} at {at:#x}: {found:?}");
            compared += 1;
        }
        if !within {
            let found = differences(&twin, &fast, &fast_ram);
            assert!(found.is_empty(), "program {number}, a slice of the fast way: {found:?}");
        }
    }
    compared
}

#[test]
fn the_engine_leaves_what_a_plain_match_over_instructions_does() {
    let programs = std::env::var("UVSIM_TWIN_PROGRAMS").ok().and_then(|text| text.parse().ok());
    let programs: u64 = programs.unwrap_or(PROGRAMS);
    let mut random = Random(20);
    let compared: u64 = (0..programs).map(|number| compare(number, &mut random)).sum();
    assert!(compared >= programs * INSTRUCTIONS, "{compared}");
}
