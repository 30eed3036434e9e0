//! Debug registers: breakpoints on instructions, data and ports, and who may use the registers.

use crate::common::{CODE, DATA, Ram, STACK, assemble};
use crate::delivery::{frame, guest, handled, handler};
use crate::world::*;
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use ultravisor_cpu::{Cpu, Exit, Reg, control, flag};

/// DR7: breakpoint 1 enabled, waiting for writes or for accesses of so many bytes.
const WRITES_8: u64 = 1 << 2 | 0b1001 << 20;
const ACCESSES_4: u64 = 1 << 2 | 0b1111 << 20;
const ACCESSES_1: u64 = 1 << 2 | 0b0011 << 20;
const PORT_2: u64 = 1 << 2 | 0b0110 << 20;
/// DR6 as it is without a reason.
const NOTHING: u64 = 0xffff_0ff0;

/// Emits an instruction.
type Emit = fn(&mut CodeAssembler) -> Result<(), IcedError>;

/// A guest that sets DR1 to `address` and DR7 to `enabled`, then runs what `write` emits.
fn watching(
    address: u64,
    enabled: u64,
    write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
) -> (Cpu, Ram) {
    let code = assemble(|a| {
        a.mov(dr1, r14)?;
        a.mov(dr7, r15)?;
        write(a)
    });
    let (mut cpu, mut ram) = guest(&code);
    set(&mut cpu, [(Reg::R14, address), (Reg::R15, enabled), (Reg::Rbx, DATA)]);
    assert_eq!(cpu.run(&mut ram, 2), Exit::Budget);
    assert_eq!(cpu.regs.rip, CODE + 8);
    (cpu, ram)
}

#[test]
fn an_instruction_breakpoint_comes_before_and_is_passed_by_rf() {
    // SDM volume 3, 17.3.1.1.
    let next = CODE + 8;
    let (mut cpu, mut ram) = watching(next + 1, 1 << 2, |a| {
        a.nop()?;
        a.inc(ecx)?;
        a.nop()?;
        a.hlt()
    });
    // A handler that sets RF in the frame.
    let resumes = assemble(|a| {
        a.bts(dword_ptr(rsp + 16), 16)?;
        a.iretq()
    });
    ram.write(handler(1), &[0xe9]);
    let far = handler(1) + 0x800;
    ram.write(handler(1) + 1, &(far - handler(1) - 5).to_le_bytes()[..4]);
    ram.write(far, &resumes);
    cpu.regs.set(Reg::Rcx, 0);
    // NOP, the delivery, the jump.
    assert_eq!(cpu.run(&mut ram, 3), Exit::Budget);
    assert_eq!((cpu.regs.rip, cpu.regs.dr6), (far, NOTHING | 2));
    let [back, _, flags] = frame(&cpu, &ram);
    assert_eq!((back, flags & flag::RF, cpu.regs.get(Reg::Rcx)), (next + 1, 0, 0));
    assert_eq!(cpu.run(&mut ram, 9), Exit::Halt);
    assert_eq!((cpu.regs.rip, cpu.regs.get(Reg::Rcx)), (next + 5, 1));
}

/// SDM volume 3, 17.3.1.1.
#[test]
fn code_that_was_run_before_stops_at_a_breakpoint_set_later() {
    let (mut cpu, mut ram) = guest(&assemble(|a| {
        let (mut again, mut function) = (a.create_label(), a.create_label());
        a.set_label(&mut again)?;
        a.call(function)?;
        a.nop()?;
        a.dec(ecx)?;
        a.jnz(again)?;
        a.mov(dr7, r15)?;
        a.jmp(again)?;
        a.set_label(&mut function)?;
        a.ret()
    }));
    // In the middle of what was decoded as one piece.
    cpu.regs.dr[1] = CODE + 6;
    set(&mut cpu, [(Reg::Rcx, 10), (Reg::R15, 1 << 2)]);
    handled(&mut cpu, &mut ram, 1);
    assert_eq!(frame::<1>(&cpu, &ram), [CODE + 6]);
    assert_eq!(cpu.regs.get(Reg::Rcx), 0);
}

#[test]
fn a_write_is_told_behind_its_instruction_and_a_read_is_not() {
    // SDM volume 3, 17.3.1.2.
    let (mut cpu, mut ram) = watching(DATA + 8, WRITES_8, |a| {
        a.mov(rax, qword_ptr(rbx + 8))?;
        a.mov(byte_ptr(rbx + 7), 1)?;
        a.mov(byte_ptr(rbx + 16), 1)?;
        a.mov(word_ptr(rbx + 15), 1)?;
        a.nop()?;
        a.hlt()
    });
    handled(&mut cpu, &mut ram, 1);
    let [back, _, flags] = frame(&cpu, &ram);
    assert_eq!((back - CODE - 8, flags & flag::RF), (4 + 4 + 4 + 6, 0));
    assert_eq!(cpu.regs.dr6, NOTHING | 2);
    assert_eq!(ram.read(DATA + 15, 2), [1, 0]);
}

/// SDM volume 3, 17.3.1.2.
#[test]
fn an_access_is_told_whichever_way_it_is_made() {
    let ways: [Emit; 8] = [
        |a| a.mov(eax, dword_ptr(rbx)),
        |a| a.mov(qword_ptr(rbx - 4), rax),
        |a| a.add(byte_ptr(rbx + 3), 1),
        |a| a.movups(xmm0, xmmword_ptr(rbx - 8)),
        |a| a.push(qword_ptr(rbx)),
        |a| a.cmp(word_ptr(rbx + 2), 5),
        |a| a.lodsb(),
        |a| a.fld(qword_ptr(rbx)),
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let (mut cpu, mut ram) = watching(DATA + 0x100, ACCESSES_4, |a| {
            way(a)?;
            a.nop()?;
            a.hlt()
        });
        set(&mut cpu, [(Reg::Rbx, DATA + 0x100), (Reg::Rsi, DATA + 0x103)]);
        let length = assemble(way).len() as u64;
        handled(&mut cpu, &mut ram, 1);
        assert_eq!(frame::<1>(&cpu, &ram), [CODE + 8 + length], "way {number}");
        assert_eq!(cpu.regs.dr6, NOTHING | 2);
    }
}

/// SDM volume 3, 17.3.1.2: a trap, with the next instruction's address.
#[test]
fn a_jump_or_return_through_watched_memory_is_told_where_it_leads() {
    let (mut cpu, mut ram) = watching(DATA, ACCESSES_1, |a| a.jmp(qword_ptr(rbx)));
    ram.write_u64(DATA, CODE + 0x100);
    ram.write(CODE + 0x100, &[0x90, 0xf4]);
    handled(&mut cpu, &mut ram, 1);
    assert_eq!(frame::<1>(&cpu, &ram), [CODE + 0x100]);
    let (mut cpu, mut ram) = watching(STACK, ACCESSES_1, |a| a.ret());
    ram.write_u64(STACK, CODE + 0x100);
    handled(&mut cpu, &mut ram, 1);
    assert_eq!(frame::<1>(&cpu, &ram), [CODE + 0x100]);
}

#[test]
fn a_repeated_store_is_told_in_the_round_that_hits() {
    // SDM volume 3, 17.3.1.2: after the iteration.
    let (mut cpu, mut ram) = watching(DATA + 2, ACCESSES_1, |a| {
        a.rep().stosb()?;
        a.hlt()
    });
    set(&mut cpu, [(Reg::Rdi, DATA), (Reg::Rcx, 5)]);
    handled(&mut cpu, &mut ram, 1);
    let [back, _, flags] = frame(&cpu, &ram);
    assert_eq!((back, flags & flag::RF), (CODE + 8, flag::RF));
    assert_eq!((cpu.regs.get(Reg::Rcx), cpu.regs.get(Reg::Rdi)), (2, DATA + 3));
}

/// SDM volume 3, 17.3.1.2: a data breakpoint is told after the access.
#[test]
fn what_does_not_happen_is_not_told() {
    // A store that faults in its second page has not touched the first.
    let (mut cpu, mut ram) = watching(DATA + 0xff8, WRITES_8, |a| {
        a.mov(qword_ptr(rbx), rax)?;
        a.hlt()
    });
    cpu.regs.set(Reg::Rbx, DATA + 0xffc);
    ram.map(DATA + 0x1000, 0, 0);
    cpu.forget(ultravisor_abi::Gpa(0), u64::MAX);
    handled(&mut cpu, &mut ram, 14);
    assert_eq!(cpu.regs.dr6, NOTHING);
}

#[test]
fn ports_have_breakpoints_once_cr4_says_so() {
    // SDM volume 3, 17.2.4 (R/W = 10).
    for de in [true, false] {
        let (mut cpu, mut ram) = watching(0x3f8, PORT_2, |a| {
            a.out(dx, al)?;
            a.nop()?;
            a.hlt()
        });
        if de {
            cpu.regs.cr4 |= control::DE;
        }
        cpu.regs.set(Reg::Rdx, 0x3f9);
        assert!(matches!(cpu.run(&mut ram, 9), Exit::PortWrite { .. }));
        assert_eq!(cpu.run(&mut ram, 9), Exit::Halt);
        let at = if de { handler(1) + 1 } else { CODE + 8 + 3 };
        assert_eq!((cpu.regs.rip, cpu.regs.dr6 & 2 != 0), (at, de));
    }
}

/// SDM volume 3, 17.2.4 (L0 to G3).
#[test]
fn a_disabled_breakpoint_waits_for_nothing() {
    for enabled in [0, ACCESSES_4 & !0xff, 1 << 8] {
        let (mut cpu, mut ram) = watching(DATA, enabled, |a| {
            a.mov(qword_ptr(rbx), rax)?;
            a.hlt()
        });
        assert_eq!(cpu.run(&mut ram, 9), Exit::Halt);
        assert_eq!((cpu.regs.rip, cpu.regs.dr6), (CODE + 8 + 4, NOTHING));
    }
}

#[test]
fn debug_registers_are_ring_zeros_and_read_as_written_but_for_what_is_fixed() {
    // SDM volume 2, MOV (debug registers); volume 3, 17.2.2.
    let (mut cpu, mut ram) = guest(&assemble(|a| {
        a.mov(dr6, rax)?;
        a.mov(rcx, dr6)?;
        a.mov(rdx, dr4)?;
        a.mov(dr3, rax)?;
        a.mov(rsi, dr3)?;
        a.mov(rdi, dr5)?;
        a.mov(dr7, rbx)?;
        a.hlt()
    }));
    set(&mut cpu, [(Reg::Rax, 0xffff_ffff), (Reg::Rbx, 1 << 32)]);
    handled(&mut cpu, &mut ram, 13);
    let found = [Reg::Rcx, Reg::Rdx, Reg::Rsi, Reg::Rdi].map(|reg| cpu.regs.get(reg));
    assert_eq!(found, [0xffff_efff, 0xffff_efff, 0xffff_ffff, 0x400]);
    let (mut cpu, mut ram) = guest(&assemble(|a| a.mov(rdx, dr4)));
    cpu.regs.cr4 |= control::DE;
    handled(&mut cpu, &mut ram, 6);
    let (mut cpu, mut ram) = user_world(&assemble(|a| a.mov(rdx, dr6)));
    assert_eq!(cpu.run(&mut ram, 9), exception(13, 0));
}

#[test]
fn general_detect_guards_the_registers_until_its_handler() {
    // SDM volume 3, 17.2.4 (GD) and 17.3.1.3.
    let (mut cpu, mut ram) = watching(0, 1 << 13, |a| a.mov(rax, dr0));
    handled(&mut cpu, &mut ram, 1);
    assert_eq!(frame::<1>(&cpu, &ram), [CODE + 8]);
    assert_eq!((cpu.regs.dr6, cpu.regs.dr7), (NOTHING | 1 << 13, 0x400));
}
