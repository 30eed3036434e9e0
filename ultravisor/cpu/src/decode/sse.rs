//! Which handlers SSE and SSE2 have: the table of forms.
//!
//! By iced-x86's code and not by mnemonic, so that no VEX form gets in.

use super::operand::{gpr, segment, set_memory};
use super::{Lowered, mmx, sse4};
use crate::exec::sse::*;
use crate::exec::sse_move::*;
use crate::regs::Reg;
use crate::uop::{Handler, step};
use iced_x86::{Code, CodeSize, Instruction, OpKind, Register};

/// The handlers of one form, by what its operand that may be either is.
pub(super) struct Row {
    pub register: Option<Handler>,
    pub memory: Option<Handler>,
}

pub(super) fn lower(i: &Instruction) -> Option<Lowered> {
    let row = row(i.code()).or_else(|| sse4::row(i.code())).or_else(|| mmx::row(i.code()))?;
    let mut lowered = Lowered::new(i, step::<load<Imm>>).writes_flags(i);
    let uop = &mut lowered.uop;
    let mut run = row.register;
    for number in 0..i.op_count() {
        #[expect(clippy::wildcard_enum_match_arm, reason = "SSE has no other kinds of operands")]
        match i.op_kind(number) {
            OpKind::Register if number == 0 => uop.dst = register(i.op_register(number))?,
            OpKind::Register if is_masked_store(i) && number == 1 => {
                uop.dst = register(i.op_register(number))?;
            }
            OpKind::Register => uop.src = register(i.op_register(number))?,
            OpKind::Immediate8 => uop.imm = i.immediate8().into(),
            OpKind::Memory => {
                set_memory(uop, i)?;
                run = row.memory;
            }
            // The narrower ones are 32-bit code's: in 64-bit mode the sum would have to be cut.
            OpKind::MemorySegEDI | OpKind::MemorySegDI if i.code_size() != CodeSize::Code32 => {
                return None;
            }
            OpKind::MemorySegRDI | OpKind::MemorySegEDI | OpKind::MemorySegDI => {
                uop.base = Reg::Rdi as u8;
                uop.segment = segment(i);
                run = row.memory;
            }
            _ => return None,
        }
    }
    uop.run = run?;
    Some(lowered)
}

/// Whether its first operand is the memory that rdi points to, and its second is what to store.
fn is_masked_store(i: &Instruction) -> bool {
    matches!(i.code(), Code::Maskmovdqu_rDI_xmm_xmm | Code::Maskmovq_rDI_mm_mm)
}

/// The number of a vector, MMX or general-purpose register.
fn register(register: Register) -> Option<u8> {
    let number = (register as u32).wrapping_sub(Register::XMM0 as u32);
    if register.is_xmm() {
        return u8::try_from(number).ok().filter(|&number| number < 16);
    }
    if register.is_mm() {
        return Some(register.number() as u8);
    }
    gpr(register).map(|(number, _)| number)
}

/// Defines `row`: per form the handler for a register operand, and for one in memory.
macro_rules! rows {
    ($($code:ident: [$($register:ty)?] [$($memory:ty)?];)*) => {
        pub(super) fn row(code: Code) -> Option<Row> {
            match code {
                $(Code::$code => Some(Row {
                    register: rows!(@handler $($register)?),
                    memory: rows!(@handler $($memory)?),
                }),)*
                _ => None,
            }
        }
    };
    (@handler) => { None };
    (@handler $exec:ty) => { Some(step::<$exec>) };
}

pub(super) use rows;

rows! {
    // Moves of whole registers.
    Movups_xmm_xmmm128: [load<Xmm>] [load<Unaligned>];
    Movups_xmmm128_xmm: [load<Xmm>] [store_unaligned];
    Movupd_xmm_xmmm128: [load<Xmm>] [load<Unaligned>];
    Movupd_xmmm128_xmm: [load<Xmm>] [store_unaligned];
    Movaps_xmm_xmmm128: [load<Xmm>] [load<M128>];
    Movaps_xmmm128_xmm: [load<Xmm>] [store_aligned];
    Movapd_xmm_xmmm128: [load<Xmm>] [load<M128>];
    Movapd_xmmm128_xmm: [load<Xmm>] [store_aligned];
    Movdqa_xmm_xmmm128: [load<Xmm>] [load<M128>];
    Movdqa_xmmm128_xmm: [load<Xmm>] [store_aligned];
    Movdqu_xmm_xmmm128: [load<Xmm>] [load<Unaligned>];
    Movdqu_xmmm128_xmm: [load<Xmm>] [store_unaligned];
    Movntps_m128_xmm: [] [store_aligned];
    Movntpd_m128_xmm: [] [store_aligned];
    Movntdq_m128_xmm: [] [store_aligned];
    // Moves of parts.
    Movss_xmm_xmmm32: [merge_32<Xmm>] [load<M32>];
    Movss_xmmm32_xmm: [merge_32<Xmm>] [store_lowest];
    Movsd_xmm_xmmm64: [merge_64<Xmm>] [load<M64>];
    Movsd_xmmm64_xmm: [merge_64<Xmm>] [store_low];
    Movq_xmm_xmmm64: [load_64<Xmm>] [load<M64>];
    Movq_xmmm64_xmm: [load_64<Xmm>] [store_low];
    Movlps_xmm_m64: [] [merge_64<M64>];
    Movlpd_xmm_m64: [] [merge_64<M64>];
    Movhps_xmm_m64: [] [to_high<M64>];
    Movhpd_xmm_m64: [] [to_high<M64>];
    Movlps_m64_xmm: [] [store_low];
    Movlpd_m64_xmm: [] [store_low];
    Movhps_m64_xmm: [] [store_high];
    Movhpd_m64_xmm: [] [store_high];
    Movhlps_xmm_xmm: [from_high<Xmm>] [];
    Movlhps_xmm_xmm: [to_high<Xmm>] [];
    // To and from general-purpose registers.
    Movd_xmm_rm32: [load_32<Gpr>] [load<M32>];
    Movq_xmm_rm64: [load_64<Gpr>] [load<M64>];
    Movd_rm32_xmm: [to_gpr_32<Xmm>] [store_lowest];
    Movq_rm64_xmm: [to_gpr_64<Xmm>] [store_low];
    Movnti_m32_r32: [] [movnti<u32>];
    Movnti_m64_r64: [] [movnti<u64>];
    Movmskps_r32_xmm: [movmskps<Xmm>] [];
    Movmskps_r64_xmm: [movmskps<Xmm>] [];
    Movmskpd_r32_xmm: [movmskpd<Xmm>] [];
    Movmskpd_r64_xmm: [movmskpd<Xmm>] [];
    Pmovmskb_r32_xmm: [pmovmskb<Xmm>] [];
    Pmovmskb_r64_xmm: [pmovmskb<Xmm>] [];
    Pextrw_r32_xmm_imm8: [pextrw<Xmm>] [];
    Pextrw_r64_xmm_imm8: [pextrw<Xmm>] [];
    Pinsrw_xmm_r32m16_imm8: [pinsrw<Gpr>] [pinsrw<M16>];
    Pinsrw_xmm_r64m16_imm8: [pinsrw<Gpr>] [pinsrw<M16>];
    Maskmovdqu_rDI_xmm_xmm: [] [maskmovdqu];
    // State.
    Ldmxcsr_m32: [] [ldmxcsr<M32>];
    Stmxcsr_m32: [] [stmxcsr];
    // Integers.
    Paddb_xmm_xmmm128: [paddb<Xmm>] [paddb<M128>];
    Paddw_xmm_xmmm128: [paddw<Xmm>] [paddw<M128>];
    Paddd_xmm_xmmm128: [paddd<Xmm>] [paddd<M128>];
    Paddq_xmm_xmmm128: [paddq<Xmm>] [paddq<M128>];
    Paddsb_xmm_xmmm128: [paddsb<Xmm>] [paddsb<M128>];
    Paddsw_xmm_xmmm128: [paddsw<Xmm>] [paddsw<M128>];
    Paddusb_xmm_xmmm128: [paddusb<Xmm>] [paddusb<M128>];
    Paddusw_xmm_xmmm128: [paddusw<Xmm>] [paddusw<M128>];
    Psubb_xmm_xmmm128: [psubb<Xmm>] [psubb<M128>];
    Psubw_xmm_xmmm128: [psubw<Xmm>] [psubw<M128>];
    Psubd_xmm_xmmm128: [psubd<Xmm>] [psubd<M128>];
    Psubq_xmm_xmmm128: [psubq<Xmm>] [psubq<M128>];
    Psubsb_xmm_xmmm128: [psubsb<Xmm>] [psubsb<M128>];
    Psubsw_xmm_xmmm128: [psubsw<Xmm>] [psubsw<M128>];
    Psubusb_xmm_xmmm128: [psubusb<Xmm>] [psubusb<M128>];
    Psubusw_xmm_xmmm128: [psubusw<Xmm>] [psubusw<M128>];
    Pmullw_xmm_xmmm128: [pmullw<Xmm>] [pmullw<M128>];
    Pmulhw_xmm_xmmm128: [pmulhw<Xmm>] [pmulhw<M128>];
    Pmulhuw_xmm_xmmm128: [pmulhuw<Xmm>] [pmulhuw<M128>];
    Pmuludq_xmm_xmmm128: [pmuludq<Xmm>] [pmuludq<M128>];
    Pmaddwd_xmm_xmmm128: [pmaddwd<Xmm>] [pmaddwd<M128>];
    Pavgb_xmm_xmmm128: [pavgb<Xmm>] [pavgb<M128>];
    Pavgw_xmm_xmmm128: [pavgw<Xmm>] [pavgw<M128>];
    Psadbw_xmm_xmmm128: [psadbw<Xmm>] [psadbw<M128>];
    Pminub_xmm_xmmm128: [pminub<Xmm>] [pminub<M128>];
    Pmaxub_xmm_xmmm128: [pmaxub<Xmm>] [pmaxub<M128>];
    Pminsw_xmm_xmmm128: [pminsw<Xmm>] [pminsw<M128>];
    Pmaxsw_xmm_xmmm128: [pmaxsw<Xmm>] [pmaxsw<M128>];
    Pcmpeqb_xmm_xmmm128: [pcmpeqb<Xmm>] [pcmpeqb<M128>];
    Pcmpeqw_xmm_xmmm128: [pcmpeqw<Xmm>] [pcmpeqw<M128>];
    Pcmpeqd_xmm_xmmm128: [pcmpeqd<Xmm>] [pcmpeqd<M128>];
    Pcmpgtb_xmm_xmmm128: [pcmpgtb<Xmm>] [pcmpgtb<M128>];
    Pcmpgtw_xmm_xmmm128: [pcmpgtw<Xmm>] [pcmpgtw<M128>];
    Pcmpgtd_xmm_xmmm128: [pcmpgtd<Xmm>] [pcmpgtd<M128>];
    Pand_xmm_xmmm128: [pand<Xmm>] [pand<M128>];
    Pandn_xmm_xmmm128: [pandn<Xmm>] [pandn<M128>];
    Por_xmm_xmmm128: [por<Xmm>] [por<M128>];
    Pxor_xmm_xmmm128: [pxor<Xmm>] [pxor<M128>];
    Psllw_xmm_xmmm128: [psllw<Xmm>] [psllw<M128>];
    Pslld_xmm_xmmm128: [pslld<Xmm>] [pslld<M128>];
    Psllq_xmm_xmmm128: [psllq<Xmm>] [psllq<M128>];
    Psrlw_xmm_xmmm128: [psrlw<Xmm>] [psrlw<M128>];
    Psrld_xmm_xmmm128: [psrld<Xmm>] [psrld<M128>];
    Psrlq_xmm_xmmm128: [psrlq<Xmm>] [psrlq<M128>];
    Psraw_xmm_xmmm128: [psraw<Xmm>] [psraw<M128>];
    Psrad_xmm_xmmm128: [psrad<Xmm>] [psrad<M128>];
    Punpcklbw_xmm_xmmm128: [punpcklbw<Xmm>] [punpcklbw<M128>];
    Punpcklwd_xmm_xmmm128: [punpcklwd<Xmm>] [punpcklwd<M128>];
    Punpckldq_xmm_xmmm128: [punpckldq<Xmm>] [punpckldq<M128>];
    Punpcklqdq_xmm_xmmm128: [punpcklqdq<Xmm>] [punpcklqdq<M128>];
    Punpckhbw_xmm_xmmm128: [punpckhbw<Xmm>] [punpckhbw<M128>];
    Punpckhwd_xmm_xmmm128: [punpckhwd<Xmm>] [punpckhwd<M128>];
    Punpckhdq_xmm_xmmm128: [punpckhdq<Xmm>] [punpckhdq<M128>];
    Punpckhqdq_xmm_xmmm128: [punpckhqdq<Xmm>] [punpckhqdq<M128>];
    Packsswb_xmm_xmmm128: [packsswb<Xmm>] [packsswb<M128>];
    Packuswb_xmm_xmmm128: [packuswb<Xmm>] [packuswb<M128>];
    Packssdw_xmm_xmmm128: [packssdw<Xmm>] [packssdw<M128>];
    Psllw_xmm_imm8: [psllw<Imm>] [];
    Pslld_xmm_imm8: [pslld<Imm>] [];
    Psllq_xmm_imm8: [psllq<Imm>] [];
    Psrlw_xmm_imm8: [psrlw<Imm>] [];
    Psrld_xmm_imm8: [psrld<Imm>] [];
    Psrlq_xmm_imm8: [psrlq<Imm>] [];
    Psraw_xmm_imm8: [psraw<Imm>] [];
    Psrad_xmm_imm8: [psrad<Imm>] [];
    Pslldq_xmm_imm8: [pslldq<Imm>] [];
    Psrldq_xmm_imm8: [psrldq<Imm>] [];
    Pshufd_xmm_xmmm128_imm8: [pshufd<Xmm>] [pshufd<M128>];
    Pshuflw_xmm_xmmm128_imm8: [pshuflw<Xmm>] [pshuflw<M128>];
    Pshufhw_xmm_xmmm128_imm8: [pshufhw<Xmm>] [pshufhw<M128>];
    // Logic and shuffles of numbers.
    Andps_xmm_xmmm128: [pand<Xmm>] [pand<M128>];
    Andpd_xmm_xmmm128: [pand<Xmm>] [pand<M128>];
    Andnps_xmm_xmmm128: [pandn<Xmm>] [pandn<M128>];
    Andnpd_xmm_xmmm128: [pandn<Xmm>] [pandn<M128>];
    Orps_xmm_xmmm128: [por<Xmm>] [por<M128>];
    Orpd_xmm_xmmm128: [por<Xmm>] [por<M128>];
    Xorps_xmm_xmmm128: [pxor<Xmm>] [pxor<M128>];
    Xorpd_xmm_xmmm128: [pxor<Xmm>] [pxor<M128>];
    Unpcklps_xmm_xmmm128: [punpckldq<Xmm>] [punpckldq<M128>];
    Unpckhps_xmm_xmmm128: [punpckhdq<Xmm>] [punpckhdq<M128>];
    Unpcklpd_xmm_xmmm128: [punpcklqdq<Xmm>] [punpcklqdq<M128>];
    Unpckhpd_xmm_xmmm128: [punpckhqdq<Xmm>] [punpckhqdq<M128>];
    Shufps_xmm_xmmm128_imm8: [shufps<Xmm>] [shufps<M128>];
    Shufpd_xmm_xmmm128_imm8: [shufpd<Xmm>] [shufpd<M128>];
    // Arithmetic.
    Addps_xmm_xmmm128: [addps<Xmm>] [addps<M128>];
    Addpd_xmm_xmmm128: [addpd<Xmm>] [addpd<M128>];
    Addss_xmm_xmmm32: [addss<Xmm>] [addss<M32>];
    Addsd_xmm_xmmm64: [addsd<Xmm>] [addsd<M64>];
    Subps_xmm_xmmm128: [subps<Xmm>] [subps<M128>];
    Subpd_xmm_xmmm128: [subpd<Xmm>] [subpd<M128>];
    Subss_xmm_xmmm32: [subss<Xmm>] [subss<M32>];
    Subsd_xmm_xmmm64: [subsd<Xmm>] [subsd<M64>];
    Mulps_xmm_xmmm128: [mulps<Xmm>] [mulps<M128>];
    Mulpd_xmm_xmmm128: [mulpd<Xmm>] [mulpd<M128>];
    Mulss_xmm_xmmm32: [mulss<Xmm>] [mulss<M32>];
    Mulsd_xmm_xmmm64: [mulsd<Xmm>] [mulsd<M64>];
    Divps_xmm_xmmm128: [divps<Xmm>] [divps<M128>];
    Divpd_xmm_xmmm128: [divpd<Xmm>] [divpd<M128>];
    Divss_xmm_xmmm32: [divss<Xmm>] [divss<M32>];
    Divsd_xmm_xmmm64: [divsd<Xmm>] [divsd<M64>];
    Sqrtps_xmm_xmmm128: [sqrtps<Xmm>] [sqrtps<M128>];
    Sqrtpd_xmm_xmmm128: [sqrtpd<Xmm>] [sqrtpd<M128>];
    Sqrtss_xmm_xmmm32: [sqrtss<Xmm>] [sqrtss<M32>];
    Sqrtsd_xmm_xmmm64: [sqrtsd<Xmm>] [sqrtsd<M64>];
    Minps_xmm_xmmm128: [minps<Xmm>] [minps<M128>];
    Minpd_xmm_xmmm128: [minpd<Xmm>] [minpd<M128>];
    Minss_xmm_xmmm32: [minss<Xmm>] [minss<M32>];
    Minsd_xmm_xmmm64: [minsd<Xmm>] [minsd<M64>];
    Maxps_xmm_xmmm128: [maxps<Xmm>] [maxps<M128>];
    Maxpd_xmm_xmmm128: [maxpd<Xmm>] [maxpd<M128>];
    Maxss_xmm_xmmm32: [maxss<Xmm>] [maxss<M32>];
    Maxsd_xmm_xmmm64: [maxsd<Xmm>] [maxsd<M64>];
    Rcpps_xmm_xmmm128: [rcpps<Xmm>] [rcpps<M128>];
    Rcpss_xmm_xmmm32: [rcpss<Xmm>] [rcpss<M32>];
    Rsqrtps_xmm_xmmm128: [rsqrtps<Xmm>] [rsqrtps<M128>];
    Rsqrtss_xmm_xmmm32: [rsqrtss<Xmm>] [rsqrtss<M32>];
    Cmpps_xmm_xmmm128_imm8: [cmpps<Xmm>] [cmpps<M128>];
    Cmppd_xmm_xmmm128_imm8: [cmppd<Xmm>] [cmppd<M128>];
    Cmpss_xmm_xmmm32_imm8: [cmpss<Xmm>] [cmpss<M32>];
    Cmpsd_xmm_xmmm64_imm8: [cmpsd<Xmm>] [cmpsd<M64>];
    Comiss_xmm_xmmm32: [comiss<Xmm>] [comiss<M32>];
    Comisd_xmm_xmmm64: [comisd<Xmm>] [comisd<M64>];
    Ucomiss_xmm_xmmm32: [ucomiss<Xmm>] [ucomiss<M32>];
    Ucomisd_xmm_xmmm64: [ucomisd<Xmm>] [ucomisd<M64>];
    // Conversions.
    Cvtss2sd_xmm_xmmm32: [cvtss2sd<Xmm>] [cvtss2sd<M32>];
    Cvtsd2ss_xmm_xmmm64: [cvtsd2ss<Xmm>] [cvtsd2ss<M64>];
    Cvtps2pd_xmm_xmmm64: [cvtps2pd<Xmm>] [cvtps2pd<M64>];
    Cvtdq2pd_xmm_xmmm64: [cvtdq2pd<Xmm>] [cvtdq2pd<M64>];
    Cvtpd2ps_xmm_xmmm128: [cvtpd2ps<Xmm>] [cvtpd2ps<M128>];
    Cvtdq2ps_xmm_xmmm128: [cvtdq2ps<Xmm>] [cvtdq2ps<M128>];
    Cvtps2dq_xmm_xmmm128: [cvtps2dq<Xmm>] [cvtps2dq<M128>];
    Cvttps2dq_xmm_xmmm128: [cvttps2dq<Xmm>] [cvttps2dq<M128>];
    Cvtpd2dq_xmm_xmmm128: [cvtpd2dq<Xmm>] [cvtpd2dq<M128>];
    Cvttpd2dq_xmm_xmmm128: [cvttpd2dq<Xmm>] [cvttpd2dq<M128>];
    Cvtsi2ss_xmm_rm32: [cvtsi2ss_32<Gpr>] [cvtsi2ss_32<M32>];
    Cvtsi2ss_xmm_rm64: [cvtsi2ss_64<Gpr>] [cvtsi2ss_64<M64>];
    Cvtsi2sd_xmm_rm32: [cvtsi2sd_32<Gpr>] [cvtsi2sd_32<M32>];
    Cvtsi2sd_xmm_rm64: [cvtsi2sd_64<Gpr>] [cvtsi2sd_64<M64>];
    Cvtss2si_r32_xmmm32: [cvtss2si_32<Xmm>] [cvtss2si_32<M32>];
    Cvtss2si_r64_xmmm32: [cvtss2si_64<Xmm>] [cvtss2si_64<M32>];
    Cvttss2si_r32_xmmm32: [cvttss2si_32<Xmm>] [cvttss2si_32<M32>];
    Cvttss2si_r64_xmmm32: [cvttss2si_64<Xmm>] [cvttss2si_64<M32>];
    Cvtsd2si_r32_xmmm64: [cvtsd2si_32<Xmm>] [cvtsd2si_32<M64>];
    Cvtsd2si_r64_xmmm64: [cvtsd2si_64<Xmm>] [cvtsd2si_64<M64>];
    Cvttsd2si_r32_xmmm64: [cvttsd2si_32<Xmm>] [cvttsd2si_32<M64>];
    Cvttsd2si_r64_xmmm64: [cvttsd2si_64<Xmm>] [cvttsd2si_64<M64>];
}
