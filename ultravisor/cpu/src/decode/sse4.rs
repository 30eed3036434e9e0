//! Which handlers SSE3, SSSE3, SSE4.1, SSE4.2, AES and PCLMULQDQ have: the table of forms.

use super::sse::{Row, rows};
use crate::exec::sse::{Gpr, M8, M16, M32, M64, M128, Unaligned, Xmm, pextrw};
use crate::exec::sse_move::load;
use crate::exec::sse4_forms::*;
use crate::uop::step;
use iced_x86::Code;

rows! {
    // SSE3.
    Movsldup_xmm_xmmm128: [movsldup<Xmm>] [movsldup<M128>];
    Movshdup_xmm_xmmm128: [movshdup<Xmm>] [movshdup<M128>];
    Haddpd_xmm_xmmm128: [haddpd<Xmm>] [haddpd<M128>];
    Haddps_xmm_xmmm128: [haddps<Xmm>] [haddps<M128>];
    Hsubpd_xmm_xmmm128: [hsubpd<Xmm>] [hsubpd<M128>];
    Hsubps_xmm_xmmm128: [hsubps<Xmm>] [hsubps<M128>];
    Addsubpd_xmm_xmmm128: [addsubpd<Xmm>] [addsubpd<M128>];
    Addsubps_xmm_xmmm128: [addsubps<Xmm>] [addsubps<M128>];
    Movddup_xmm_xmmm64: [movddup<Xmm>] [movddup<M64>];
    Lddqu_xmm_m128: [] [load<Unaligned>];
    // SSSE3.
    Pshufb_xmm_xmmm128: [pshufb<Xmm>] [pshufb<M128>];
    Phaddw_xmm_xmmm128: [phaddw<Xmm>] [phaddw<M128>];
    Phaddd_xmm_xmmm128: [phaddd<Xmm>] [phaddd<M128>];
    Phaddsw_xmm_xmmm128: [phaddsw<Xmm>] [phaddsw<M128>];
    Pmaddubsw_xmm_xmmm128: [pmaddubsw<Xmm>] [pmaddubsw<M128>];
    Phsubw_xmm_xmmm128: [phsubw<Xmm>] [phsubw<M128>];
    Phsubd_xmm_xmmm128: [phsubd<Xmm>] [phsubd<M128>];
    Phsubsw_xmm_xmmm128: [phsubsw<Xmm>] [phsubsw<M128>];
    Psignb_xmm_xmmm128: [psignb<Xmm>] [psignb<M128>];
    Psignw_xmm_xmmm128: [psignw<Xmm>] [psignw<M128>];
    Psignd_xmm_xmmm128: [psignd<Xmm>] [psignd<M128>];
    Pmulhrsw_xmm_xmmm128: [pmulhrsw<Xmm>] [pmulhrsw<M128>];
    Pabsb_xmm_xmmm128: [pabsb<Xmm>] [pabsb<M128>];
    Pabsw_xmm_xmmm128: [pabsw<Xmm>] [pabsw<M128>];
    Pabsd_xmm_xmmm128: [pabsd<Xmm>] [pabsd<M128>];
    Palignr_xmm_xmmm128_imm8: [palignr<Xmm>] [palignr<M128>];
    // SSE4.1.
    Pblendvb_xmm_xmmm128: [pblendvb<Xmm>] [pblendvb<M128>];
    Blendvps_xmm_xmmm128: [blendvps<Xmm>] [blendvps<M128>];
    Blendvpd_xmm_xmmm128: [blendvpd<Xmm>] [blendvpd<M128>];
    Ptest_xmm_xmmm128: [ptest<Xmm>] [ptest<M128>];
    Pmuldq_xmm_xmmm128: [pmuldq<Xmm>] [pmuldq<M128>];
    Pcmpeqq_xmm_xmmm128: [pcmpeqq<Xmm>] [pcmpeqq<M128>];
    Packusdw_xmm_xmmm128: [packusdw<Xmm>] [packusdw<M128>];
    Pminsb_xmm_xmmm128: [pminsb<Xmm>] [pminsb<M128>];
    Pminsd_xmm_xmmm128: [pminsd<Xmm>] [pminsd<M128>];
    Pminuw_xmm_xmmm128: [pminuw<Xmm>] [pminuw<M128>];
    Pminud_xmm_xmmm128: [pminud<Xmm>] [pminud<M128>];
    Pmaxsb_xmm_xmmm128: [pmaxsb<Xmm>] [pmaxsb<M128>];
    Pmaxsd_xmm_xmmm128: [pmaxsd<Xmm>] [pmaxsd<M128>];
    Pmaxuw_xmm_xmmm128: [pmaxuw<Xmm>] [pmaxuw<M128>];
    Pmaxud_xmm_xmmm128: [pmaxud<Xmm>] [pmaxud<M128>];
    Pmulld_xmm_xmmm128: [pmulld<Xmm>] [pmulld<M128>];
    Phminposuw_xmm_xmmm128: [phminposuw<Xmm>] [phminposuw<M128>];
    Pmovsxbw_xmm_xmmm64: [pmovsxbw<Xmm>] [pmovsxbw<M64>];
    Pmovsxbd_xmm_xmmm32: [pmovsxbd<Xmm>] [pmovsxbd<M32>];
    Pmovsxbq_xmm_xmmm16: [pmovsxbq<Xmm>] [pmovsxbq<M16>];
    Pmovsxwd_xmm_xmmm64: [pmovsxwd<Xmm>] [pmovsxwd<M64>];
    Pmovsxwq_xmm_xmmm32: [pmovsxwq<Xmm>] [pmovsxwq<M32>];
    Pmovsxdq_xmm_xmmm64: [pmovsxdq<Xmm>] [pmovsxdq<M64>];
    Pmovzxbw_xmm_xmmm64: [pmovzxbw<Xmm>] [pmovzxbw<M64>];
    Pmovzxbd_xmm_xmmm32: [pmovzxbd<Xmm>] [pmovzxbd<M32>];
    Pmovzxbq_xmm_xmmm16: [pmovzxbq<Xmm>] [pmovzxbq<M16>];
    Pmovzxwd_xmm_xmmm64: [pmovzxwd<Xmm>] [pmovzxwd<M64>];
    Pmovzxwq_xmm_xmmm32: [pmovzxwq<Xmm>] [pmovzxwq<M32>];
    Pmovzxdq_xmm_xmmm64: [pmovzxdq<Xmm>] [pmovzxdq<M64>];
    Movntdqa_xmm_m128: [] [load<M128>];
    Roundps_xmm_xmmm128_imm8: [roundps<Xmm>] [roundps<M128>];
    Roundpd_xmm_xmmm128_imm8: [roundpd<Xmm>] [roundpd<M128>];
    Roundss_xmm_xmmm32_imm8: [roundss<Xmm>] [roundss<M32>];
    Roundsd_xmm_xmmm64_imm8: [roundsd<Xmm>] [roundsd<M64>];
    Blendps_xmm_xmmm128_imm8: [blendps<Xmm>] [blendps<M128>];
    Blendpd_xmm_xmmm128_imm8: [blendpd<Xmm>] [blendpd<M128>];
    Pblendw_xmm_xmmm128_imm8: [pblendw<Xmm>] [pblendw<M128>];
    Dpps_xmm_xmmm128_imm8: [dpps<Xmm>] [dpps<M128>];
    Dppd_xmm_xmmm128_imm8: [dppd<Xmm>] [dppd<M128>];
    Mpsadbw_xmm_xmmm128_imm8: [mpsadbw<Xmm>] [mpsadbw<M128>];
    Pextrb_r32m8_xmm_imm8: [pextrb<Xmm>] [store_pextrb];
    Pextrw_r32m16_xmm_imm8: [pextrw<Xmm>] [store_pextrw];
    Pextrb_r64m8_xmm_imm8: [pextrb<Xmm>] [store_pextrb];
    Pextrw_r64m16_xmm_imm8: [pextrw<Xmm>] [store_pextrw];
    Pextrd_rm32_xmm_imm8: [pextrd<Xmm>] [store_pextrd];
    Pextrq_rm64_xmm_imm8: [pextrq<Xmm>] [store_pextrq];
    Extractps_rm32_xmm_imm8: [pextrd<Xmm>] [store_pextrd];
    Extractps_r64m32_xmm_imm8: [pextrd<Xmm>] [store_pextrd];
    Pinsrb_xmm_r32m8_imm8: [pinsrb<Gpr>] [pinsrb<M8>];
    Pinsrb_xmm_r64m8_imm8: [pinsrb<Gpr>] [pinsrb<M8>];
    Pinsrd_xmm_rm32_imm8: [pinsrd<Gpr>] [pinsrd<M32>];
    Pinsrq_xmm_rm64_imm8: [pinsrq<Gpr>] [pinsrq<M64>];
    Insertps_xmm_xmmm32_imm8: [insertps_register<Xmm>] [insertps_memory<M32>];
    // SSE4.2.
    Pcmpgtq_xmm_xmmm128: [pcmpgtq<Xmm>] [pcmpgtq<M128>];
    Pcmpestrm_xmm_xmmm128_imm8: [pcmpestrm<Xmm>] [pcmpestrm<Unaligned>];
    Pcmpestrm64_xmm_xmmm128_imm8: [pcmpestrm64<Xmm>] [pcmpestrm64<Unaligned>];
    Pcmpestri_xmm_xmmm128_imm8: [pcmpestri<Xmm>] [pcmpestri<Unaligned>];
    Pcmpestri64_xmm_xmmm128_imm8: [pcmpestri64<Xmm>] [pcmpestri64<Unaligned>];
    Pcmpistrm_xmm_xmmm128_imm8: [pcmpistrm<Xmm>] [pcmpistrm<Unaligned>];
    Pcmpistri_xmm_xmmm128_imm8: [pcmpistri<Xmm>] [pcmpistri<Unaligned>];
    // AES and PCLMULQDQ.
    Aesimc_xmm_xmmm128: [aesimc<Xmm>] [aesimc<M128>];
    Aesenc_xmm_xmmm128: [aesenc<Xmm>] [aesenc<M128>];
    Aesenclast_xmm_xmmm128: [aesenclast<Xmm>] [aesenclast<M128>];
    Aesdec_xmm_xmmm128: [aesdec<Xmm>] [aesdec<M128>];
    Aesdeclast_xmm_xmmm128: [aesdeclast<Xmm>] [aesdeclast<M128>];
    Aeskeygenassist_xmm_xmmm128_imm8: [aeskeygenassist<Xmm>] [aeskeygenassist<M128>];
    Pclmulqdq_xmm_xmmm128_imm8: [pclmulqdq<Xmm>] [pclmulqdq<M128>];
}
