//! Vector and x87 instructions where the test against the processor does not reach: control
//! registers that forbid them, devices, pages that are mapped in part, the segment that a host keeps for itself,
//! and the bits of approximations.

mod common;

use common::{DATA, PAGE, Ram, Random, assemble, machine};
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use ultravisor_abi::Gpa;
use ultravisor_cpu::{Cpu, Exit, Page, Reg, Regs, control, flag};

type Body = fn(&mut CodeAssembler) -> Result<(), IcedError>;

const fn exception(vector: u8) -> Exit {
    Exit::Exception { vector, error: None, address: None }
}

const INVALID_OPCODE: Exit = exception(6);
const NOT_AVAILABLE: Exit = exception(7);
const SIMD: Exit = exception(19);

/// `body` and a halt, with rsi and rdi at the data and every vector register different from zero.
fn prepared(body: Body) -> (Cpu, Ram) {
    let code = assemble(|asm| {
        body(asm)?;
        asm.hlt()
    });
    let (mut cpu, mut ram) = machine(&code);
    ram.write(DATA, &[0x5a; 2 * PAGE as usize]);
    let mut random = Random(7);
    cpu.regs.xmm = std::array::from_fn(|_| u128::from(random.next() | 1) << 40 | 1);
    cpu.regs.set(Reg::Rsi, DATA);
    cpu.regs.set(Reg::Rdi, DATA);
    (cpu, ram)
}

/// Demands that `body` ends in `exit` and changes nothing, once `regs` are as `change` makes them.
fn leaves_no_trace(body: Body, exit: Exit, change: impl Fn(&mut Regs)) {
    let (mut cpu, mut ram) = prepared(body);
    change(&mut cpu.regs);
    let before = cpu.regs.clone();
    assert_eq!(cpu.run(&mut ram, 10), exit);
    // The flags of MXCSR tell what was unmasked.
    let mut after = cpu.regs.clone();
    after.mxcsr &= !0x3f | before.mxcsr;
    assert_eq!(after, before);
    assert!(ram.read(DATA, 2 * PAGE as usize).iter().all(|&byte| byte == 0x5a));
}

const OF_X87: [Body; 5] = [
    |asm| asm.fld1(),
    |asm| asm.fninit(),
    |asm| asm.fld(qword_ptr(rsi)),
    |asm| asm.fnstcw(word_ptr(rsi)),
    |asm| asm.fxsave(ptr(rsi)),
];

#[test]
fn without_x87_enabled_its_instructions_are_not_available() {
    for body in OF_X87 {
        leaves_no_trace(body, NOT_AVAILABLE, |regs| regs.cr0 |= control::TS);
        leaves_no_trace(body, NOT_AVAILABLE, |regs| regs.cr0 |= control::EM);
    }
    leaves_no_trace(|asm| asm.paddb(mm1, mm2), NOT_AVAILABLE, |regs| regs.cr0 |= control::TS);
    leaves_no_trace(|asm| asm.paddb(mm1, mm2), INVALID_OPCODE, |regs| regs.cr0 |= control::EM);
}

/// SDM volume 1, 8.7: by #MF with CR0.NE, and without it by a wire that this machine has not.
#[test]
fn a_pending_x87_exception_is_raised_by_the_next_instruction_that_waits() {
    let pend = |regs: &mut Regs| {
        regs.x87.set_status(1);
        regs.x87.set_control(0x37e);
    };
    leaves_no_trace(|asm| asm.fld1(), exception(16), pend);
    leaves_no_trace(|asm| asm.wait(), exception(16), pend);
    leaves_no_trace(|asm| asm.paddb(mm1, mm2), exception(16), pend);
    let (mut cpu, mut ram) = prepared(|asm| asm.fnclex());
    pend(&mut cpu.regs);
    assert_eq!(cpu.run(&mut ram, 10), Exit::Halt);
    let (mut cpu, mut ram) = prepared(|asm| asm.fld1());
    pend(&mut cpu.regs);
    cpu.regs.cr0 &= !control::NE;
    let exit = cpu.run(&mut ram, 10);
    assert!(matches!(exit, Exit::Unsupported { .. }), "{exit:?}");
}

/// SDM volume 1, 13.2 and 13.3.
#[test]
fn xsave_exists_once_the_guest_enables_it_and_xcr0_takes_what_is_offered() {
    leaves_no_trace(|asm| asm.xsave(ptr(rsi)), INVALID_OPCODE, |_| {});
    leaves_no_trace(|asm| asm.xgetbv(), INVALID_OPCODE, |_| {});
    let enabled = |number: u64, value: u64| {
        move |regs: &mut Regs| {
            regs.cr4 |= control::OSXSAVE;
            regs.set(Reg::Rcx, number);
            regs.set(Reg::Rax, value);
        }
    };
    let protection = Exit::Exception { vector: 13, error: Some(0), address: None };
    // No other register, x87 always, AVX never.
    for (number, value) in [(1, 3), (0, 2), (0, 7)] {
        leaves_no_trace(|asm| asm.xsetbv(), protection, enabled(number, value));
    }
    let (mut cpu, mut ram) = prepared(|asm| {
        asm.xsetbv()?;
        asm.xor(eax, eax)?;
        asm.xgetbv()
    });
    enabled(0, 3)(&mut cpu.regs);
    assert_eq!(cpu.run(&mut ram, 10), Exit::Halt);
    assert_eq!((cpu.regs.get(Reg::Rax), cpu.regs.get(Reg::Rdx)), (3, 0));
}

#[test]
fn a_random_number_is_the_machines_and_the_carry_says_that_it_is_there() {
    let (mut cpu, mut ram) = prepared(|asm| {
        asm.rdrand(rbx)?;
        asm.rdseed(cx)
    });
    cpu.regs.set(Reg::Rcx, u64::MAX);
    for value in [0x1111_2222_3333_4444, 0x5555] {
        assert_eq!(cpu.run(&mut ram, 10), Exit::Random);
        cpu.supply(value);
    }
    assert_eq!(cpu.run(&mut ram, 10), Exit::Halt);
    assert_eq!(cpu.regs.get(Reg::Rbx), 0x1111_2222_3333_4444);
    assert_eq!(cpu.regs.get(Reg::Rcx), 0xffff_ffff_ffff_5555);
    assert_eq!(cpu.rflags() & flag::ARITHMETIC, flag::CF);
}

const FAMILIES: [Body; 8] = [
    |asm| asm.movaps(xmm1, xmm2),
    |asm| asm.movups(xmm1, xmmword_ptr(rsi)),
    |asm| asm.movups(xmmword_ptr(rsi), xmm1),
    |asm| asm.pxor(xmm1, xmm1),
    |asm| asm.addsd(xmm1, qword_ptr(rsi)),
    |asm| asm.movd(eax, xmm1),
    |asm| asm.stmxcsr(dword_ptr(rsi)),
    |asm| asm.cvtsi2sd(xmm1, rax),
];

#[test]
fn without_sse_enabled_every_family_is_invalid_or_not_available() {
    for body in FAMILIES {
        leaves_no_trace(body, NOT_AVAILABLE, |regs| regs.cr0 |= control::TS);
        leaves_no_trace(body, INVALID_OPCODE, |regs| regs.cr0 |= control::TS | control::EM);
        leaves_no_trace(body, INVALID_OPCODE, |regs| regs.cr4 &= !control::OSFXSR);
    }
}

/// SDM volume 2, FXSAVE and FXRSTOR: whether they take the XMM registers then is the processor's to say.
#[test]
fn the_state_is_saved_and_restored_with_its_vectors_whether_or_not_sse_is_enabled() {
    let saved = |kept: u64| {
        let (mut cpu, mut ram) = prepared(|asm| {
            asm.fxsave(ptr(rsi))?;
            asm.hlt()?;
            asm.fxrstor(ptr(rsi))
        });
        cpu.regs.cr4 &= kept;
        let xmm = cpu.regs.xmm;
        assert_eq!(cpu.run(&mut ram, 10), Exit::Halt);
        cpu.regs.xmm = [0; 16];
        assert_eq!(cpu.run(&mut ram, 10), Exit::Halt);
        assert_eq!(cpu.regs.xmm, xmm);
        ram.read(DATA, 512).to_vec()
    };
    let (with, without) = (saved(u64::MAX), saved(!control::OSFXSR));
    assert_ne!(with, [0x5a; 512]);
    assert_eq!(with, without);
}

#[test]
fn an_unmasked_exception_is_an_invalid_opcode_to_a_guest_that_expects_none() {
    let unmask = |regs: &mut Regs| {
        (regs.mxcsr, regs.xmm[1], regs.xmm[2]) = (0, 0, 0);
    };
    leaves_no_trace(|asm| asm.divsd(xmm1, xmm2), SIMD, unmask);
    leaves_no_trace(
        |asm| asm.divsd(xmm1, xmm2),
        INVALID_OPCODE,
        |regs| {
            unmask(regs);
            regs.cr4 &= !control::OSXMMEXCPT;
        },
    );
}

#[test]
fn a_masked_store_touches_only_the_pages_of_the_bytes_it_stores() {
    let end = DATA + PAGE;
    let start = |mask: u128, at: u64| {
        let (mut cpu, mut ram) = prepared(|asm| asm.maskmovdqu(xmm1, xmm2));
        ram.map(end, 0, 0);
        cpu.regs.xmm[2] = mask;
        cpu.regs.set(Reg::Rdi, at);
        (cpu, ram)
    };
    let (mut cpu, mut ram) = start(0x80_00_80, end - 8);
    assert_eq!(cpu.run(&mut ram, 10), Exit::Halt);
    let value = cpu.regs.xmm[1].to_le_bytes();
    assert_eq!(ram.read(end - 8, 4), [value[0], 0x5a, value[2], 0x5a]);
    // One byte in each page: the second one faults, and the first is not stored.
    let (mut cpu, mut ram) = start(0x80 | 0x80 << 64, end - 8);
    let fault = Exit::Exception { vector: 14, error: Some(2), address: Some(end) };
    assert_eq!(cpu.run(&mut ram, 10), fault);
    assert!(ram.read(DATA, PAGE as usize).iter().all(|&byte| byte == 0x5a));
    // Nothing selected: nothing faults, wherever it points.
    let (mut cpu, mut ram) = start(0, end);
    assert_eq!(cpu.run(&mut ram, 10), Exit::Halt);
}

#[test]
fn scalar_moves_reach_devices_and_wider_ones_are_unsupported() {
    let run = |body: Body| {
        let (mut cpu, mut ram) = prepared(body);
        ram.special.insert(DATA, Page::Mmio);
        cpu.regs.xmm[1] = 0x1122_3344_5566_7788;
        cpu.run(&mut ram, 10)
    };
    let written = Exit::MmioWrite { gpa: Gpa(DATA), bytes: 8, value: 0x1122_3344_5566_7788 };
    assert_eq!(run(|asm| asm.movsd_2(qword_ptr(rsi), xmm1)), written);
    let read = Exit::MmioRead { gpa: Gpa(DATA), bytes: 4 };
    assert_eq!(run(|asm| asm.movd(xmm1, dword_ptr(rsi))), read);
    let wide: [Body; 2] =
        [|asm| asm.movups(xmm1, xmmword_ptr(rsi)), |asm| asm.movups(xmmword_ptr(rsi), xmm1)];
    for body in wide {
        let exit = run(body);
        assert!(matches!(exit, Exit::Unsupported { .. }), "{exit:?}");
    }
}

#[test]
fn addresses_may_be_relative_to_fs() {
    const FS: u8 = 0x64;
    let (mut cpu, mut ram) = prepared(|asm| {
        asm.movdqa(xmm2, xmmword_ptr(rsi + 32).fs())?;
        asm.db(&[FS])?;
        asm.maskmovdqu(xmm4, xmm5)
    });
    let bytes: [u8; 16] = std::array::from_fn(|i| i as u8);
    ram.write(DATA + 32, &bytes);
    cpu.regs.set_fs_base(DATA - 0x100);
    cpu.regs.set(Reg::Rsi, 0x100);
    cpu.regs.set(Reg::Rdi, 0x180);
    cpu.regs.xmm[5] = u128::MAX;
    assert_eq!(cpu.run(&mut ram, 10), Exit::Halt);
    assert_eq!(cpu.regs.xmm[2].to_le_bytes(), bytes);
    assert_eq!(ram.read(DATA + 0x80, 16), cpu.regs.xmm[4].to_le_bytes());
}

/// What an approximation of `source` gives in its lowest lane.
fn approximated(body: Body, source: u32) -> u128 {
    let (mut cpu, mut ram) = prepared(body);
    (cpu.regs.xmm[0], cpu.regs.xmm[1]) = (u128::MAX, source.into());
    assert_eq!(cpu.run(&mut ram, 10), Exit::Halt);
    cpu.regs.xmm[0]
}

#[test]
fn approximations_are_the_true_value_rounded_to_twelve_bits() {
    let mut random = Random(9);
    for _ in 0..300 {
        // From 2^-62 to 2^62, where both results are normal numbers.
        let source = (random.next() as u32 & 0x7f_ffff) | (65 + random.below(124) as u32) << 23;
        let true_value = f64::from(f32::from_bits(source));
        let cases: [(Body, f64); 2] = [
            (|asm| asm.rcpss(xmm0, xmm1), true_value.recip()),
            (|asm| asm.rsqrtss(xmm0, xmm1), true_value.sqrt().recip()),
        ];
        for (body, expected) in cases {
            let found = approximated(body, source);
            assert_eq!(found >> 32, u128::MAX >> 32, "the other lanes stay");
            let found = f32::from_bits(found as u32);
            assert_eq!(found.to_bits() & 0x7ff, 0, "twelve bits of fraction");
            let error = (f64::from(found) / expected - 1.0).abs();
            assert!(error <= 2.0_f64.powi(-13) * 1.0001, "{source:#x}: {error}");
        }
    }
}

#[test]
fn a_reciprocal_too_small_for_a_normal_number_is_zero() {
    // 1.0000000000001000... * 2^126 and above (SDM, RCPPS).
    for (source, result) in [(0x7e80_0000, 0x80_0000), (0x7e80_0c01, 0), (0xfe80_0c01, 0x8000_0000)]
    {
        let found = approximated(|asm| asm.rcpss(xmm0, xmm1), source);
        assert_eq!(found as u32, result, "{source:#x}");
    }
}
