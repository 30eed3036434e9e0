//! What CPUID says: what is implemented, and nothing else (SDM volume 2, CPUID).

use crate::bus::Bus;
use crate::cpu::{Cpu, LocalApic, control};
use crate::form::Form;
use crate::paging::PHYSICAL_BITS;
use crate::regs::Reg;
use crate::uop::{Left, Uop};

/// ORs the bits of the numbers given.
const fn bits<const N: usize>(numbers: [u32; N]) -> u32 {
    let (mut all, mut at) = (0, 0);
    while at < N {
        all |= 1 << numbers[at];
        at += 1;
    }
    all
}

/// Leaf 1, edx: FPU, DE, PSE, TSC, MSR, PAE, CX8, SEP, MTRR, PGE, CMOV, PAT, CLFSH, MMX, FXSR, SSE, SSE2.
const BASE_EDX: u32 = bits([0, 2, 3, 4, 5, 6, 8, 11, 12, 13, 15, 16, 19, 23, 24, 25, 26]);
/// Leaf 1, ecx: SSE3, PCLMULQDQ, SSSE3, CX16, PCID, SSE4.1, SSE4.2, MOVBE, POPCNT, AES, XSAVE, RDRAND,
/// and that a hypervisor is there.
const BASE_ECX: u32 = bits([0, 1, 9, 13, 17, 19, 20, 22, 23, 25, 26, 30, 31]);
/// Leaf 1, ecx: CR4.OSXSAVE is set.
const OSXSAVE: u32 = bits([27]);
/// Leaf 7, ebx: FSGSBASE, BMI1, SMEP, BMI2, INVPCID, RDSEED, ADX, SMAP.
const LATER_EBX: u32 = bits([0, 3, 7, 8, 10, 18, 19, 20]);
/// Leaf 0x8000_0001, edx: NX, 1 GiB pages, RDTSCP, long mode.
const EXTENDED_EDX: u32 = bits([20, 26, 27, 29]);
/// The same: SYSCALL, which is 64-bit mode's alone (SDM volume 2, CPUID).
const SYSCALL: u32 = bits([11]);
/// Leaf 0x8000_0001, ecx: LAHF and SAHF in 64-bit mode, LZCNT, PREFETCHW.
const EXTENDED_ECX: u32 = bits([0, 5, 8]);
/// CLFLUSH lines of 64 bytes, in units of 8.
const LINE: u32 = 8 << 8;
/// Nobody's vendor string, as ebx, edx, ecx spell it: "uvsim-x86-64".
const VENDOR: [u32; 3] =
    [u32::from_le_bytes(*b"uvsi"), u32::from_le_bytes(*b"m-x8"), u32::from_le_bytes(*b"6-64")];
/// Family 15: as the first 64-bit processors.
const SIGNATURE: u32 = 15 << 8;
/// The parts of the state that XCR0 may have, and the bytes that XSAVE takes for them.
const PARTS: u32 = bits([0, 1]);
const XSAVE_BYTES: u32 = 512 + 64;
/// Leaf 1, edx: there is a local APIC, and it is on.
const APIC: u32 = bits([9]);
/// Leaf 1, ecx: the local APIC has x2APIC mode, its timer TSC deadlines.
const OF_APIC: u32 = bits([21, 24]);
/// Leaf 6, eax: the local APIC's timer always runs.
const ALWAYS_RUNS: u32 = bits([2]);
/// The leaf that tells of XSAVE, and that of clocks.
const XSAVE: u32 = 0xd;
const CLOCKS: u32 = 0x15;
/// The last extended leaf.
const LAST_EXTENDED: u32 = 0x8000_0008;

/// `cpuid`. Leaves that are not offered read as zero.
pub(crate) fn identify(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    let restored = if cpu.regs.cr4 & control::OSXSAVE != 0 { OSXSAVE } else { 0 };
    let call = if cpu.form == Form::Long { SYSCALL } else { 0 };
    let (leaf, part) = (cpu.regs.gpr[Reg::Rax] as u32, cpu.regs.gpr[Reg::Rcx] as u32);
    let (last, [of_apic_ecx, of_apic_edx]) = match cpu.apic {
        None => (XSAVE, [0, 0]),
        Some(LocalApic { enabled: false, .. }) => (CLOCKS, [OF_APIC, 0]),
        Some(LocalApic { enabled: true, .. }) => (CLOCKS, [OF_APIC, APIC]),
    };
    let [eax, ebx, ecx, edx] = match (leaf, part) {
        (0, _) => [last, VENDOR[0], VENDOR[2], VENDOR[1]],
        (1, _) => [SIGNATURE, LINE, BASE_ECX | restored | of_apic_ecx, BASE_EDX | of_apic_edx],
        (7, 0) => [0, LATER_EBX, 0, 0],
        (XSAVE, 0) => [PARTS, XSAVE_BYTES, XSAVE_BYTES, 0],
        (0x8000_0000, _) => [LAST_EXTENDED, 0, 0, 0],
        (0x8000_0001, _) => [0, 0, EXTENDED_ECX, EXTENDED_EDX | call],
        (LAST_EXTENDED, _) => [PHYSICAL_BITS | 48 << 8, 0, 0, 0],
        _ => cpu.apic.map_or([0; 4], |apic| of_apic(apic, leaf, part)),
    };
    let gpr = &mut cpu.regs.gpr;
    gpr[Reg::Rax] = u64::from(eax);
    gpr[Reg::Rbx] = u64::from(ebx);
    gpr[Reg::Rcx] = u64::from(ecx);
    gpr[Reg::Rdx] = u64::from(edx);
    Ok(())
}

/// The leaves that are there for the local APIC's sake: its timer, where among others it stands (one
/// thread, one core, number 0; SDM volume 3, 11.12.8), and what its timer and the time-stamp counter
/// count.
const fn of_apic(apic: LocalApic, leaf: u32, part: u32) -> [u32; 4] {
    const THREAD: u32 = 1 << 8;
    const CORE: u32 = 2 << 8;
    match (leaf, part) {
        (6, _) => [ALWAYS_RUNS, 0, 0, 0],
        (0xb, 0) => [0, 1, THREAD, 0],
        (0xb, 1) => [0, 1, CORE | 1, 0],
        (0xb, _) => [0, 0, part & 0xff, 0],
        (CLOCKS, _) => [1, 1, apic.clock_hz, 0],
        _ => [0; 4],
    }
}
