//! What the manual leaves undefined: the reviewed table of results that are not compared.
//!
//! Sources are iced-x86's table of flags (from SDM volume 1, appendix A) and, where that depends on
//! operands, the instruction's page in SDM volume 2.

use crate::case::{Case, address_registers};
use crate::functions;
use crate::generate::number;
use crate::record::{DATA, LIMITED, PAGE, READ_ONLY};
use crate::structures::status;
use iced_x86::{Code, Instruction, MemorySize, Mnemonic, OpKind, Register, RflagsBits};
use std::ops::Range;
use ultravisor_cpu::flag;

/// What of an outcome is not compared.
#[derive(Clone, Debug, Default)]
pub struct Undefined {
    /// Bits of RFLAGS.
    pub flags: u64,
    /// A general-purpose register, and bits of it.
    pub gpr: Option<(usize, u64)>,
    /// Which of the bytes that cannot be accessed CR2 names: of an operand of many accesses, makers
    /// do not start with the same one.
    pub fault_address: bool,
    /// Whether an address that is none is #SS or #GP.
    pub stack_or_protection: bool,
    /// Bits of the x87 status word.
    pub status: u16,
    /// Condition codes and flags count only if nothing is pending: the manual sets them where an
    /// exception is masked, and some makers always do.
    pub unless_pending: bool,
    /// Bytes of the memory operand: where the last x87 instruction was, which processors keep at
    /// different times, and which bits MXCSR has.
    pub bytes: Vec<Range<u64>>,
}

/// What is undefined after `case`; `None` if nothing that it does is defined.
pub fn of(case: &Case) -> Option<Undefined> {
    let i = &case.instruction;
    if functions::is_undefined(case) {
        return None;
    }
    #[expect(clippy::wildcard_enum_match_arm, reason = "the table names those with a row")]
    let gpr = match i.mnemonic() {
        // SDM, BSWAP: "when the operand is 16 bits the result is undefined".
        Mnemonic::Bswap if i.op0_register().size() == 2 => return None,
        // SDM, SHLD and SHRD: a count above the operand size.
        Mnemonic::Shld | Mnemonic::Shrd if count(case) > operand_bits(i) => return None,
        // A bit offset that is also part of the address was set for one of its two roles.
        Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc
            if i.op0_kind() == OpKind::Memory
                && address_registers(i).contains(&i.op1_register().full_register()) =>
        {
            return None;
        }
        // SDM, BSF and BSR: of zero. All makers keep the destination, but not all its upper half.
        Mnemonic::Bsf | Mnemonic::Bsr if i.op0_register().size() == 4 => {
            number(i.op0_register()).map(|register| (register, 0xffff_ffff_0000_0000))
        }
        // SDM, MASKMOVDQU: which bytes are looked at where some are not selected.
        Mnemonic::Maskmovdqu | Mnemonic::Maskmovq
            if !(DATA..READ_ONLY - 16).contains(&case.start.gpr[7])
                || case.start.data_segment == LIMITED.into()
                || i.op0_kind() == OpKind::MemorySegDI =>
        {
            return None;
        }
        // Whether a target that is none or a stack that cannot be written is found first.
        Mnemonic::Call if !(DATA + 16..READ_ONLY).contains(&case.start.gpr[4]) => return None,
        // The host keeps more parts of the state than the engine has.
        Mnemonic::Xsave | Mnemonic::Xsave64 | Mnemonic::Xrstor | Mnemonic::Xrstor64
            if case.start.gpr[0] as u32 > 3 || case.start.gpr[2] as u32 != 0 =>
        {
            return None;
        }
        // AMD's MM, bit 17 of MXCSR.
        Mnemonic::Fxrstor | Mnemonic::Fxrstor64 if has_strange_mxcsr(case) => return None,
        // When it is looked whether the segment may be written.
        Mnemonic::Arpl if i.segment_prefix() == Register::CS => return None,
        _ => None,
    };
    Some(Undefined {
        status: status_bits(i.mnemonic()),
        unless_pending: compares(i.mnemonic()),
        flags: flags(case),
        gpr,
        fault_address: both_operands_fault(case)
            || matches!(i.memory_size().size(), 14 | 17..)
            || i.memory_size() == MemorySize::Xsave
            || i.memory_size() == MemorySize::Xsave64,
        // AMD counts the destination of `pop` to the stack, and where `call` finds its target.
        stack_or_protection: matches!(i.mnemonic(), Mnemonic::Pop | Mnemonic::Call),
        bytes: bytes(i.code())
            .iter()
            .map(|(start, end)| case.target + start..case.target + end)
            .chain(pushed_half(case))
            .collect(),
    })
}

/// Bits of the x87 status word.
fn status_bits(mnemonic: Mnemonic) -> u16 {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the table names those with a row")]
    match mnemonic {
        // SDM, FFREE: the condition codes.
        Mnemonic::Ffree | Mnemonic::Ffreep => status::CONDITIONS,
        // Whether an approximation was rounded up.
        _ if functions::is_one(mnemonic) => status::C1,
        _ => 0,
    }
}

/// Whether two memory operands lie where nothing is: as those with 16-bit addresses do.
fn both_operands_fault(case: &Case) -> bool {
    let (i, gpr) = (&case.instruction, case.start.gpr);
    let mut kinds = i.op_kinds();
    let short = kinds.all(|kind| matches!(kind, OpKind::MemorySegSI | OpKind::MemoryESDI));
    let nowhere = |register: usize| !(DATA - 64..READ_ONLY + PAGE).contains(&gpr[register]);
    i.is_string_instruction() && case.start.is_narrow() && (short || nowhere(6) && nowhere(7))
}

/// Whether a saved state that is to be loaded has a bit in MXCSR that not all makers have.
fn has_strange_mxcsr(case: &Case) -> bool {
    let offset = case.start.offset(case.target + 26, 1);
    offset.is_some_and(|offset| case.start.data[offset] & 2 != 0)
}

/// SDM, PUSH: of a segment register in 32 bits the upper half is cleared or stays.
fn pushed_half(case: &Case) -> Option<Range<u64>> {
    let i = &case.instruction;
    let pushed = i.mnemonic() == Mnemonic::Push && i.op0_register().is_segment_register();
    let top = case.start.gpr[4];
    (pushed && i.stack_pointer_increment() == -4).then(|| top.wrapping_sub(2)..top)
}

/// Whether it is a comparison of x87's.
fn compares(mnemonic: Mnemonic) -> bool {
    use Mnemonic::{
        Fcom, Fcomi, Fcomip, Fcomp, Fcompp, Ficom, Ficomp, Ftst, Fucom, Fucomi, Fucomip, Fucomp,
        Fucompp,
    };
    matches!(
        mnemonic,
        Fcom | Fcomi
            | Fcomip
            | Fcomp
            | Fcompp
            | Ficom
            | Ficomp
            | Ftst
            | Fucom
            | Fucomi
            | Fucomip
            | Fucomp
            | Fucompp
    )
}

/// Bytes of a saved state that are not compared.
fn bytes(code: Code) -> &'static [(u64, u64)] {
    #[expect(clippy::wildcard_enum_match_arm, reason = "no other form saves such")]
    match code {
        Code::Fnstenv_m28byte | Code::Fnsave_m108byte => &[(12, 26)],
        Code::Fnstenv_m14byte | Code::Fnsave_m94byte => &[(6, 14)],
        Code::Fxsave_m512byte | Code::Fxsave64_m512byte | Code::Xsave_mem | Code::Xsave64_mem => {
            &[(6, 24), (28, 32)]
        }
        _ => &[],
    }
}

fn operand_bits(i: &Instruction) -> u32 {
    let register = i.op0_kind() == OpKind::Register;
    let bytes = if register { i.op0_register().size() } else { i.memory_size().size() };
    bytes as u32 * 8
}

/// A shift's count as the processor cuts it.
fn count(case: &Case) -> u32 {
    let i = &case.instruction;
    let last = i.op_count() - 1;
    let by_register = i.op_kind(last) == OpKind::Register;
    let raw = if by_register { case.start.gpr[1] as u32 } else { i.immediate(last) as u32 };
    raw & if operand_bits(i) == 64 { 63 } else { 31 }
}

/// Bits of RFLAGS.
fn flags(case: &Case) -> u64 {
    use Mnemonic::{Rcl, Rcr, Rol, Ror, Sal, Sar, Shl, Shld, Shr, Shrd};
    let i = &case.instruction;
    if !matches!(i.mnemonic(), Shl | Sal | Shr | Sar | Shld | Shrd | Rol | Ror | Rcl | Rcr) {
        return by_table(i);
    }
    // A count of zero changes nothing, one defines OF, one past the width loses CF, too.
    let rotate = matches!(i.mnemonic(), Rol | Ror | Rcl | Rcr);
    let adjust = if rotate { 0 } else { flag::AF };
    match count(case) {
        0 => 0,
        1 => adjust,
        count if count >= operand_bits(i) && !rotate => adjust | flag::OF | flag::CF,
        _ => adjust | flag::OF,
    }
}

/// What iced-x86 says, as bits of RFLAGS.
fn by_table(i: &Instruction) -> u64 {
    let named = [
        (RflagsBits::OF, flag::OF),
        (RflagsBits::SF, flag::SF),
        (RflagsBits::ZF, flag::ZF),
        (RflagsBits::AF, flag::AF),
        (RflagsBits::CF, flag::CF),
        (RflagsBits::PF, flag::PF),
    ];
    let undefined = i.rflags_undefined();
    named.iter().filter(|(iced, _)| undefined & iced != 0).fold(0, |bits, (_, bit)| bits | bit)
}

/// Whether the form's result is an approximation, whose bits are the maker's choice: how far the
/// relative error may go, in units of 2^-12 (SDM volume 2, RCPPS and RSQRTPS).
pub fn is_approximate(code: Code) -> bool {
    matches!(
        code,
        Code::Rcpps_xmm_xmmm128
            | Code::Rcpss_xmm_xmmm32
            | Code::Rsqrtps_xmm_xmmm128
            | Code::Rsqrtss_xmm_xmmm32
    )
}
