//! CPUID offers exactly what is implemented: each feature bit against the forms that it stands for.

use crate::common::{assemble, machine};
use crate::{coverage, failed, forms};
use iced_x86::{Code, CpuidFeature};
use libtest_mimic::Failed;
use ultravisor_cpu::{Exit, Reg};

/// A feature, where CPUID tells of it (leaf, register, bit), and what is not implemented although
/// it belongs to it.
struct Offer {
    feature: CpuidFeature,
    leaf: u32,
    register: Reg,
    bit: u32,
    but_for: &'static [Code],
}

const fn offer(feature: CpuidFeature, leaf: u32, register: Reg, bit: u32) -> Offer {
    Offer { feature, leaf, register, bit, but_for: &[] }
}

/// A duplicate that nobody documents.
const OF_FPU: &[Code] = &[Code::Fstpnce_sti];

/// The prefetches that no processor has: they are reserved NOPs.
const RESERVED_PREFETCHES: &[Code] = &[
    Code::Prefetchreserved3_m8,
    Code::Prefetchreserved4_m8,
    Code::Prefetchreserved5_m8,
    Code::Prefetchreserved6_m8,
    Code::Prefetchreserved7_m8,
];

const EXTENDED: u32 = 0x8000_0001;

const OFFERS: &[Offer] = &[
    Offer { but_for: OF_FPU, ..offer(CpuidFeature::FPU, 1, Reg::Rdx, 0) },
    offer(CpuidFeature::TSC, 1, Reg::Rdx, 4),
    offer(CpuidFeature::MSR, 1, Reg::Rdx, 5),
    offer(CpuidFeature::CX8, 1, Reg::Rdx, 8),
    offer(CpuidFeature::CMOV, 1, Reg::Rdx, 15),
    offer(CpuidFeature::CLFSH, 1, Reg::Rdx, 19),
    offer(CpuidFeature::MMX, 1, Reg::Rdx, 23),
    offer(CpuidFeature::FXSR, 1, Reg::Rdx, 24),
    offer(CpuidFeature::SSE, 1, Reg::Rdx, 25),
    offer(CpuidFeature::SSE2, 1, Reg::Rdx, 26),
    offer(CpuidFeature::SSE3, 1, Reg::Rcx, 0),
    offer(CpuidFeature::PCLMULQDQ, 1, Reg::Rcx, 1),
    offer(CpuidFeature::SSSE3, 1, Reg::Rcx, 9),
    offer(CpuidFeature::CMPXCHG16B, 1, Reg::Rcx, 13),
    offer(CpuidFeature::SSE4_1, 1, Reg::Rcx, 19),
    offer(CpuidFeature::SSE4_2, 1, Reg::Rcx, 20),
    offer(CpuidFeature::MOVBE, 1, Reg::Rcx, 22),
    offer(CpuidFeature::POPCNT, 1, Reg::Rcx, 23),
    offer(CpuidFeature::AES, 1, Reg::Rcx, 25),
    offer(CpuidFeature::XSAVE, 1, Reg::Rcx, 26),
    offer(CpuidFeature::RDRAND, 1, Reg::Rcx, 30),
    offer(CpuidFeature::BMI1, 7, Reg::Rbx, 3),
    offer(CpuidFeature::BMI2, 7, Reg::Rbx, 8),
    offer(CpuidFeature::RDSEED, 7, Reg::Rbx, 18),
    offer(CpuidFeature::ADX, 7, Reg::Rbx, 19),
    offer(CpuidFeature::LZCNT, EXTENDED, Reg::Rcx, 5),
    Offer { but_for: RESERVED_PREFETCHES, ..offer(CpuidFeature::PREFETCHW, EXTENDED, Reg::Rcx, 8) },
    offer(CpuidFeature::RDTSCP, EXTENDED, Reg::Rdx, 27),
    offer(CpuidFeature::SEP, 1, Reg::Rdx, 11),
    offer(CpuidFeature::FSGSBASE, 7, Reg::Rbx, 0),
    offer(CpuidFeature::INVPCID, 7, Reg::Rbx, 10),
    offer(CpuidFeature::SMAP, 7, Reg::Rbx, 20),
    offer(CpuidFeature::SYSCALL, EXTENDED, Reg::Rdx, 11),
    // Not offered.
    offer(CpuidFeature::MONITOR, 1, Reg::Rcx, 3),
    offer(CpuidFeature::RTM, 7, Reg::Rbx, 11),
    offer(CpuidFeature::CLFLUSHOPT, 7, Reg::Rbx, 23),
    offer(CpuidFeature::CLWB, 7, Reg::Rbx, 24),
    offer(CpuidFeature::SHA, 7, Reg::Rbx, 29),
    offer(CpuidFeature::GFNI, 7, Reg::Rcx, 8),
    offer(CpuidFeature::RDPID, 7, Reg::Rcx, 22),
    offer(CpuidFeature::MOVDIRI, 7, Reg::Rcx, 27),
    offer(CpuidFeature::SSE4A, EXTENDED, Reg::Rcx, 6),
];

/// What CPUID says of leaf `leaf`, as the registers stand behind it.
fn cpuid(leaf: u32) -> Result<impl Fn(Reg) -> u64, Failed> {
    let code = assemble(|asm| {
        asm.cpuid()?;
        asm.hlt()
    });
    let (mut cpu, mut ram) = machine(&code);
    cpu.regs.set(Reg::Rax, leaf.into());
    cpu.regs.set(Reg::Rcx, 0);
    let exit = cpu.run(&mut ram, 10);
    if exit == Exit::Halt {
        Ok(move |reg| cpu.regs.get(reg))
    } else {
        Err(failed(format!("{exit:?}")))
    }
}

/// Whether each feature's bit is set if and only if its forms are there.
pub fn check() -> Result<(), Failed> {
    let mut wrong = Vec::new();
    for offer in OFFERS {
        let offered = cpuid(offer.leaf)?(offer.register) >> offer.bit & 1 != 0;
        let belongs = |code: &Code| {
            code.cpuid_features() == [offer.feature].as_slice()
                && forms::in_scope(*code)
                && !offer.but_for.contains(code)
        };
        for code in forms::all().filter(belongs) {
            let modes = [false, true].into_iter().filter(|&narrow| forms::exists(code, narrow));
            for narrow in modes {
                if coverage::supported(code, narrow) != offered {
                    let feature = offer.feature;
                    wrong.push(format!(
                        "{feature:?} is offered: {offered}, but {code:?} (32-bit: {narrow})"
                    ));
                }
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(failed(wrong.join("\n"))) }
}
