//! SSE's state as a whole, its accesses to memory, and when it may be used, in the engine.

use crate::exec::sse_approximate;
use crate::guest::{DATA, DATA_BYTES, Guest};
use crate::operands::Seeded;
use crate::silicon::{Registers, SIGSEGV, Snippet};
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use ultravisor_abi::Gpa;
use ultravisor_cpu::{Exit, control};

/// The bytes that `body` assembles to.
fn assemble(body: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Vec<u8> {
    let mut asm = CodeAssembler::new(64).expect("64 is a bitness");
    body(&mut asm).expect("the snippet is encodable");
    asm.assemble(0x1_0000).expect("the snippet is encodable")
}

/// Registers with rsi at `address` and every other one different from zero.
fn registers(address: u64) -> Registers {
    let mut seeded = Seeded(address);
    let mut registers = Registers { rflags: 2, mxcsr: 0x1f80, ..Registers::default() };
    registers.xmm = std::array::from_fn(|_| seeded.register() | 1);
    registers.gpr = std::array::from_fn(|_| seeded.next() | 1);
    registers.gpr[4] = 0;
    registers.gpr[6] = address;
    registers.gpr[7] = address;
    registers
}

/// Runs `body` and demands that it leaves by `exit` with nothing changed but MXCSR's flags.
fn leaves_no_trace(
    guest: &mut Guest,
    start: Registers,
    exit: Exit,
    body: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
) {
    let before = vec![0x5a; DATA_BYTES];
    let (mut after, mut registers) = (before.clone(), start);
    assert_eq!(guest.run(&assemble(body), &mut registers, &mut after), Some(exit));
    assert_eq!((guest.position(), &after), (0, &before));
    registers.mxcsr &= !0x3f | start.mxcsr;
    assert_eq!(registers, start);
}

const fn exception(vector: u8, error: Option<u32>) -> Exit {
    Exit::Exception { vector, error, address: None }
}

const INVALID_OPCODE: Exit = exception(6, None);
const PROTECTION: Exit = exception(13, Some(0));

#[test]
fn ldmxcsr_takes_every_existing_bit_and_refuses_the_others_as_the_processor_does() {
    let mut guest = Guest::new();
    let native = Snippet::new(|asm| asm.ldmxcsr(dword_ptr(rsi)));
    // Bit 17 exists on some processors and not on others; here it does not.
    for bit in (0..32).filter(|&bit| bit != 17) {
        let value = (1_u32 << bit) | 0x1f80;
        let mut memory = value;
        let mut expected = registers((&raw mut memory) as u64);
        let faulted = native.run(&mut expected);
        let (mut found, mut data) = (registers(DATA), vec![0; DATA_BYTES]);
        data[..4].copy_from_slice(&value.to_le_bytes());
        let code = assemble(|asm| asm.ldmxcsr(dword_ptr(rsi)));
        let exit = guest.run(&code, &mut found, &mut data);
        assert_eq!(found.mxcsr, expected.mxcsr, "bit {bit}");
        match faulted {
            Ok(()) => assert_eq!(exit, None, "bit {bit}"),
            Err(signal) => assert_eq!((signal, exit), (SIGSEGV, Some(PROTECTION)), "bit {bit}"),
        }
    }
}

#[test]
fn fxsave_writes_what_the_processor_writes_and_fxrstor_takes_it_back() {
    #[repr(C, align(16))]
    struct Area([u8; 512]);
    let mut area = Area([0xa5; 512]);
    // x87 may have been used by whoever ran on this thread before.
    let native = Snippet::new(|asm| {
        asm.fninit()?;
        asm.fxsave(ptr(rsi))
    });
    let mut start = registers(area.0.as_mut_ptr() as u64);
    start.mxcsr = 0x7fa5;
    native.run(&mut start).expect("fxsave does not fault");

    let mut guest = Guest::new();
    start.gpr[6] = DATA;
    let (mut found, mut data) = (start, vec![0xa5; DATA_BYTES]);
    let saved = guest.run(&assemble(|asm| asm.fxsave(ptr(rsi))), &mut found, &mut data);
    assert_eq!((saved, found), (None, start));
    // Not compared: pointers of the last x87 instruction and MXCSR_MASK (24 to 32 holds MXCSR and
    // the mask), which differ between processors, and the x87 registers, which are empty.
    assert_eq!(data[..6], area.0[..6], "x87 control, status and tag words");
    assert_eq!(data[24..28], area.0[24..28], "MXCSR");
    assert_eq!(data[160..], [&area.0[160..], &[0xa5; DATA_BYTES - 512]].concat());

    let mut other = registers(DATA);
    let restored = guest.run(&assemble(|asm| asm.fxrstor(ptr(rsi))), &mut other, &mut data);
    assert_eq!(restored, None);
    assert_eq!((other.xmm, other.mxcsr), (start.xmm, start.mxcsr));
}

#[test]
fn fxsave_and_fxrstor_refuse_what_they_must() {
    let mut guest = Guest::new();
    leaves_no_trace(&mut guest, registers(DATA + 8), PROTECTION, |asm| asm.fxsave(ptr(rsi)));
    leaves_no_trace(&mut guest, registers(DATA + 8), PROTECTION, |asm| asm.fxrstor(ptr(rsi)));
    // The data's bytes are 0x5a: reserved bits in MXCSR's place.
    leaves_no_trace(&mut guest, registers(DATA), PROTECTION, |asm| asm.fxrstor(ptr(rsi)));
}

#[test]
fn an_x87_state_that_the_engine_cannot_hold_is_unsupported() {
    let mut guest = Guest::new();
    let (mut start, mut data) = (registers(DATA), vec![0; DATA_BYTES]);
    let exit = guest.run(&assemble(|asm| asm.fxrstor(ptr(rsi))), &mut start, &mut data);
    assert!(matches!(exit, Some(Exit::Unsupported { .. })), "{exit:?}");
}

#[test]
fn fxsave_without_the_guests_consent_to_sse_is_unsupported() {
    let mut guest = Guest::new();
    guest.cr4 &= !control::OSFXSR;
    for code in [assemble(|asm| asm.fxsave(ptr(rsi))), assemble(|asm| asm.fxrstor(ptr(rsi)))] {
        let exit = guest.run(&code, &mut registers(DATA), &mut vec![0; DATA_BYTES]);
        assert!(matches!(exit, Some(Exit::Unsupported { .. })), "{exit:?}");
    }
    guest.cr0 |= control::TS;
    leaves_no_trace(&mut guest, registers(DATA), exception(7, None), |asm| asm.fxsave(ptr(rsi)));
}

#[test]
fn without_sse_enabled_every_family_is_invalid_or_not_available() {
    type Body = fn(&mut CodeAssembler) -> Result<(), IcedError>;
    let bodies: [Body; 8] = [
        |asm| asm.movaps(xmm1, xmm2),
        |asm| asm.movups(xmm1, xmmword_ptr(rsi)),
        |asm| asm.movups(xmmword_ptr(rsi), xmm1),
        |asm| asm.pxor(xmm1, xmm1),
        |asm| asm.addsd(xmm1, qword_ptr(rsi)),
        |asm| asm.movd(eax, xmm1),
        |asm| asm.stmxcsr(dword_ptr(rsi)),
        |asm| asm.cvtsi2sd(xmm1, rax),
    ];
    for body in bodies {
        let mut guest = Guest::new();
        guest.cr0 |= control::TS;
        leaves_no_trace(&mut guest, registers(DATA), exception(7, None), body);
        guest.cr0 |= control::EM;
        leaves_no_trace(&mut guest, registers(DATA), INVALID_OPCODE, body);
        let mut guest = Guest::new();
        guest.cr4 &= !control::OSFXSR;
        leaves_no_trace(&mut guest, registers(DATA), INVALID_OPCODE, body);
    }
}

#[test]
fn an_unmasked_exception_is_an_invalid_opcode_to_a_guest_that_expects_none() {
    let mut guest = Guest::new();
    let mut start = registers(DATA);
    (start.mxcsr, start.xmm[1], start.xmm[2]) = (0, 0, 0);
    leaves_no_trace(&mut guest, start, exception(19, None), |asm| asm.divsd(xmm1, xmm2));
    guest.cr4 &= !control::OSXMMEXCPT;
    leaves_no_trace(&mut guest, start, INVALID_OPCODE, |asm| asm.divsd(xmm1, xmm2));
}

#[test]
fn an_access_across_two_pages_happens_whole_or_not_at_all() {
    let mut guest = Guest::new();
    let end = DATA + DATA_BYTES as u64;
    guest.unmap_from(end);
    for back in [1, 7, 8, 15] {
        let start = registers(end - back);
        let fault = |error| Exit::Exception { vector: 14, error: Some(error), address: Some(end) };
        leaves_no_trace(&mut guest, start, fault(2), |asm| asm.movups(xmmword_ptr(rsi), xmm1));
        leaves_no_trace(&mut guest, start, fault(0), |asm| asm.movdqu(xmm1, xmmword_ptr(rsi)));
    }
    let start = registers(end - 4);
    let fault = |error| Exit::Exception { vector: 14, error: Some(error), address: Some(end) };
    leaves_no_trace(&mut guest, start, fault(2), |asm| asm.movlps(qword_ptr(rsi), xmm1));
    leaves_no_trace(&mut guest, start, fault(0), |asm| asm.addsd(xmm1, qword_ptr(rsi)));
}

#[test]
fn a_masked_store_touches_only_the_pages_of_the_bytes_it_stores() {
    let mut guest = Guest::new();
    let end = DATA + DATA_BYTES as u64;
    guest.unmap_from(end);
    let code = assemble(|asm| asm.maskmovdqu(xmm1, xmm2));
    let mut start = registers(end - 8);
    start.xmm[2] = 0x80_00_80;
    let mut data = vec![0x5a; DATA_BYTES];
    assert_eq!(guest.run(&code, &mut start, &mut data), None);
    let value = start.xmm[1].to_le_bytes();
    assert_eq!(data[DATA_BYTES - 8..][..4], [value[0], 0x5a, value[2], 0x5a]);
    // One byte in each page: the second one faults, and the first is not stored.
    start.xmm[2] = 0x80 | 0x80 << 64;
    let fault = Exit::Exception { vector: 14, error: Some(2), address: Some(end) };
    leaves_no_trace(&mut guest, start, fault, |asm| asm.maskmovdqu(xmm1, xmm2));
    // Nothing selected: nothing faults, wherever it points.
    start.xmm[2] = 0;
    (start.gpr[6], start.gpr[7]) = (end, end);
    assert_eq!(guest.run(&code, &mut start, &mut data), None);
}

#[test]
fn scalar_moves_reach_devices_and_wider_ones_are_unsupported() {
    let mut guest = Guest::new();
    let device = crate::guest::DEVICE;
    let gpa = Gpa(device);
    let (mut start, mut data) = (registers(device), vec![0; DATA_BYTES]);
    start.xmm[1] = 0x1122_3344_5566_7788;
    let store = assemble(|asm| asm.movsd_2(qword_ptr(rsi), xmm1));
    let written = Exit::MmioWrite { gpa, bytes: 8, value: 0x1122_3344_5566_7788 };
    assert_eq!(guest.run(&store, &mut start, &mut data), Some(written));
    leaves_no_trace(&mut guest, start, Exit::MmioRead { gpa, bytes: 4 }, |asm| {
        asm.movd(xmm1, dword_ptr(rsi))
    });
    for wide in [
        assemble(|asm| asm.movups(xmm1, xmmword_ptr(rsi))),
        assemble(|asm| asm.movups(xmmword_ptr(rsi), xmm1)),
    ] {
        let exit = guest.run(&wide, &mut start, &mut data);
        assert!(matches!(exit, Some(Exit::Unsupported { .. })), "{exit:?}");
    }
}

#[test]
fn addresses_may_be_relative_to_rip_or_a_segment_or_be_32_bits_wide() {
    let mut guest = Guest::new();
    let mut data = vec![0; DATA_BYTES];
    let mut seeded = Seeded(6);
    data.fill_with(|| seeded.next() as u8);
    let at = |offset: usize| {
        data[offset..][..16].iter().rev().fold(0, |value, &byte| value << 8 | u128::from(byte))
    };
    let expected = (at(16), at(32), at(48));
    const FS: u8 = 0x64;
    let code = assemble(|asm| {
        asm.movdqa(xmm1, xmmword_ptr(DATA + 16))?;
        asm.movdqa(xmm2, xmmword_ptr(rsi + 32).fs())?;
        asm.mov(rax, 0xffff_ffff_0000_0000_u64 | DATA)?;
        asm.movdqa(xmm3, xmmword_ptr(eax + 48))?;
        asm.db(&[FS])?;
        asm.maskmovdqu(xmm4, xmm5)
    });
    let mut start = registers(0x100);
    start.xmm[5] = u128::MAX;
    guest.fs_base = DATA - 0x100;
    assert_eq!(guest.run(&code, &mut start, &mut data), None);
    assert_eq!((start.xmm[1], start.xmm[2], start.xmm[3]), expected);
    assert_eq!(data[..16], start.xmm[4].to_le_bytes());
}

#[test]
fn approximations_in_the_engine_are_the_documented_ones() {
    let mut guest = Guest::new();
    let mut seeded = Seeded(9);
    let code = assemble(|asm| {
        asm.rcpps(xmm2, xmm1)?;
        asm.rcpss(xmm3, xmm1)?;
        asm.rsqrtps(xmm4, xmm1)?;
        asm.rsqrtss(xmm5, xmm1)
    });
    for _ in 0..100 {
        let (mut now, mut data) = (registers(DATA), vec![0; DATA_BYTES]);
        now.xmm[1] = crate::operands::SINGLE.register(&mut seeded);
        let (a, b) = (now.xmm, now.xmm[1]);
        assert_eq!(guest.run(&code, &mut now, &mut data), None);
        assert_eq!(now.xmm[2], sse_approximate::rcpps(a[2], b));
        assert_eq!(now.xmm[3], sse_approximate::rcpss(a[3], b));
        assert_eq!(now.xmm[4], sse_approximate::rsqrtps(a[4], b));
        assert_eq!(now.xmm[5], sse_approximate::rsqrtss(a[5], b));
    }
}
