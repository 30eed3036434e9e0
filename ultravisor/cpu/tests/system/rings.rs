//! Ring 3 against ring 0: pages, system calls, what is privileged, what may be opened.

use crate::common::{CODE, DATA, PAGE, PRESENT, Ram, STACK, USER, WRITABLE, assemble, machine};
use crate::world::*;
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use ultravisor_abi::Gpa;
use ultravisor_cpu::{Cpu, Exit, Page, Reg, Seg, control, flag};

const GP: u8 = 13;
const UD: u8 = 6;

/// A page that is mapped for ring 3.
const SHARED: u64 = USER_STACK - 2 * PAGE;

fn page_fault(error: u32, address: u64) -> Exit {
    Exit::Exception { vector: 14, error: Some(error), address: Some(address) }
}

/// Ring 0 runs what `write` emits, with some of CR4's bits on.
fn kernel(
    switched_on: u64,
    write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
) -> (Cpu, Ram) {
    let (mut cpu, ram) = world(&assemble(write));
    cpu.regs.cr4 |= switched_on;
    (cpu, ram)
}

#[test]
fn smap_keeps_the_supervisor_from_user_pages_unless_ac_is_set() {
    // SDM volume 3, 4.6.1 and 4.7; volume 2, STAC and CLAC.
    let code = |a: &mut CodeAssembler| {
        a.stac()?;
        a.mov(rax, qword_ptr(rbx))?;
        a.mov(qword_ptr(rbx), rcx)?;
        a.clac()?;
        a.mov(rdx, qword_ptr(rbx))?;
        a.hlt()
    };
    let (mut cpu, mut ram) = kernel(control::SMAP, code);
    ram.write_u64(SHARED, 5);
    set(&mut cpu, [(Reg::Rbx, SHARED), (Reg::Rcx, 6), (Reg::Rdx, 0)]);
    assert_eq!(cpu.run(&mut ram, 9), page_fault(1, SHARED));
    assert_eq!((cpu.regs.get(Reg::Rax), ram.read_u64(SHARED), cpu.units()), (5, 6, 4));
    // Without SMAP the flag means nothing.
    let (mut cpu, mut ram) = kernel(0, code);
    cpu.regs.set(Reg::Rbx, SHARED);
    assert_eq!(cpu.run(&mut ram, 9), Exit::Halt);
}

/// SDM volume 3, 4.6.1: CR4.SMAP counts at each access, whatever was cached before.
#[test]
fn smap_closes_also_what_was_open_when_it_was_switched_on() {
    let (mut cpu, mut ram) = kernel(0, |a| {
        a.mov(rax, qword_ptr(rbx))?;
        a.mov(rcx, cr4)?;
        a.bts(rcx, 21)?;
        a.mov(cr4, rcx)?;
        a.mov(rax, qword_ptr(rbx))
    });
    cpu.regs.set(Reg::Rbx, SHARED);
    assert_eq!(cpu.run(&mut ram, 9), page_fault(1, SHARED));
    assert_eq!(cpu.units(), 4);
}

#[test]
fn tables_that_lie_in_user_pages_are_closed_whatever_ac_says() {
    // SDM volume 3, 4.6.1: implicit accesses.
    let (mut cpu, mut ram) = kernel(control::SMAP, |a| {
        a.stac()?;
        a.mov(ds, eax)
    });
    cpu.regs.gdtr.0 = SHARED;
    ram.write_u64(SHARED + 0x10, SMALL);
    cpu.regs.set(Reg::Rax, 0x10);
    assert_eq!(cpu.run(&mut ram, 9), page_fault(1, SHARED + 0x10));
}

#[test]
fn smep_keeps_the_supervisor_from_user_code() {
    // SDM volume 3, 4.6.1.
    for (switched_on, told) in [(0, Exit::Halt), (control::SMEP, page_fault(0x11, USER_CODE))] {
        let (mut cpu, mut ram) = kernel(switched_on, |a| a.jmp(rbx));
        ram.write(USER_CODE, &[0xf4]);
        cpu.regs.set(Reg::Rbx, USER_CODE);
        assert_eq!(cpu.run(&mut ram, 9), told);
    }
}

/// SDM volume 2, STAC and CLAC.
#[test]
fn stac_and_clac_are_undefined_in_ring_three() {
    for code in [assemble(|a| a.stac()), assemble(|a| a.clac())] {
        let (mut cpu, mut ram) = user_world(&code);
        assert_eq!(cpu.run(&mut ram, 9), exception(UD, None));
    }
}

#[test]
fn every_level_of_the_tables_must_let_ring_three_in() {
    // SDM volume 3, 4.6: U/S is ANDed along the walk.
    for level in 1..=4 {
        let (mut cpu, mut ram) = user_world(&assemble(|a| a.mov(rax, qword_ptr(rbx))));
        cpu.regs.set(Reg::Rbx, SHARED);
        let at = ram.entry(SHARED, level);
        let entry = ram.read_u64(at);
        ram.write_u64(at, entry & !USER);
        cpu.forget(Gpa(0), u64::MAX);
        // Code and data share all but the lower two tables.
        let told = if level <= 2 { page_fault(5, SHARED) } else { page_fault(0x15, USER_CODE) };
        assert_eq!(cpu.run(&mut ram, 1), told, "level {level}");
    }
}

/// SDM volume 3, 4.6.1: CR0.WP is the supervisor's.
#[test]
fn ring_three_obeys_read_only_pages_without_write_protect() {
    let (mut cpu, mut ram) = user_world(&assemble(|a| a.mov(qword_ptr(rbx), rax)));
    cpu.regs.cr0 &= !control::WP;
    cpu.regs.set(Reg::Rbx, SHARED);
    ram.map(SHARED, SHARED, PRESENT | USER);
    cpu.forget(Gpa(0), u64::MAX);
    assert_eq!(cpu.run(&mut ram, 9), page_fault(7, SHARED));
}

#[test]
fn ring_three_may_ask_for_alignment() {
    // SDM volume 3, 6.15 (#AC): CR0.AM, RFLAGS.AC and ring 3 together.
    let code = assemble(|a| {
        a.mov(eax, dword_ptr(rbx + 4))?;
        a.mov(al, byte_ptr(rbx + 1))?;
        a.mov(ecx, dword_ptr(rbx + 2))?;
        a.nop()
    });
    for (am, ac, checked) in [(true, true, true), (true, false, false), (false, true, false)] {
        let (mut cpu, mut ram) = user_world(&code);
        cpu.regs.set(Reg::Rbx, SHARED);
        if am {
            cpu.regs.cr0 |= control::AM;
        }
        cpu.set_rflags(if ac { flag::AC } else { 0 });
        let told = if checked { exception(17, 0) } else { Exit::Budget };
        assert_eq!(cpu.run(&mut ram, 3), told);
        let [first, second, third] = [3, 3, 3];
        let done = if checked { first + second } else { first + second + third };
        assert_eq!(cpu.regs.rip, USER_CODE + done, "only the third is not aligned");
    }
    let (mut cpu, mut ram) = kernel(0, |a| a.mov(eax, dword_ptr(rbx + 2)));
    cpu.regs.cr0 |= control::AM;
    cpu.set_rflags(flag::AC);
    cpu.regs.set(Reg::Rbx, SHARED);
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget, "ring 0 need not align");
}

/// SDM volume 3, 6.15, "Interrupt 17".
#[test]
fn alignment_of_larger_operands_is_told_only_where_processors_agree() {
    // Those of 16 bytes: at a multiple of 64 none complains, elsewhere they differ.
    for (offset, done) in [(0, true), (64, true), (16, false), (8, false), (1, false)] {
        let (mut cpu, mut ram) = user_world(&assemble(|a| a.movups(xmm0, xmmword_ptr(rbx))));
        cpu.regs.set(Reg::Rbx, SHARED + offset);
        cpu.regs.cr0 |= control::AM;
        cpu.set_rflags(flag::AC);
        let end = cpu.run(&mut ram, 1);
        assert_eq!(end == Exit::Budget, done, "{offset}");
        assert_eq!(matches!(end, Exit::Unsupported { .. }), !done, "{offset}");
    }
}

/// Model-specific registers.
const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
const FMASK: u32 = 0xc000_0084;
const TSC_DEADLINE: u32 = 0x6e0;

/// Writes a model-specific register as ring 0 does.
fn wrmsr(cpu: &mut Cpu, ram: &mut Ram, number: u32, value: u64) -> Exit {
    let rip = cpu.regs.rip;
    let saved = [Reg::Rax, Reg::Rcx, Reg::Rdx].map(|reg| (reg, cpu.regs.get(reg)));
    ram.write(CODE + 0x900, &[0x0f, 0x30]);
    set(cpu, [(Reg::Rcx, number.into()), (Reg::Rax, value), (Reg::Rdx, value >> 32)]);
    cpu.regs.rip = CODE + 0x900;
    let exit = cpu.run(ram, 1);
    cpu.regs.rip = rip;
    set(cpu, saved);
    exit
}

#[test]
fn a_register_that_cpuid_does_not_tell_of_is_not_there_and_one_that_all_processors_have_is_our_limit()
 {
    // SDM volume 2, RDMSR and WRMSR; volume 4, table 2-2.
    for (number, is_there) in
        [(0x8b, true), (0x1a0, true), (0x1d9, true), (0xc001_0131, false), (0x1ff, false)]
    {
        for opcode in [0x30, 0x32] {
            let (mut cpu, mut ram) = world(&[0x0f, opcode]);
            set(&mut cpu, [(Reg::Rcx, number), (Reg::Rax, 0), (Reg::Rdx, 0)]);
            let exit = cpu.run(&mut ram, 1);
            let told = match is_there {
                true => matches!(exit, Exit::Unsupported { .. }),
                false => exit == Exit::Exception { vector: 13, error: Some(0), address: None },
            };
            assert!(told, "{number:#x}: {exit:?} at {:#x}", cpu.regs.rip);
        }
    }
}

#[test]
fn a_time_stamp_counter_that_was_written_goes_on_from_there_and_deadlines_with_it() {
    // SDM volume 3, 17.17 and 11.5.4.1. The machine's counter is at 1000, then at 1500.
    for (written, read) in [(0, 500), (1 << 62, (1 << 62) + 500), (1000, 1500)] {
        let (mut cpu, mut ram) = world(&assemble(|a| {
            a.wrmsr()?;
            a.rdtsc()?;
            a.mov(ecx, TSC_DEADLINE)?;
            a.wrmsr()?;
            a.rdmsr()?;
            a.hlt()
        }));
        set(&mut cpu, [(Reg::Rcx, 0x10), (Reg::Rax, written), (Reg::Rdx, written >> 32)]);
        assert_eq!(cpu.run(&mut ram, 100), Exit::TimeStamp);
        cpu.supply(1000);
        assert_eq!(cpu.run(&mut ram, 100), Exit::TimeStamp);
        cpu.supply(1500);
        // The deadline is what was read: now, whatever it is called.
        let number = TSC_DEADLINE;
        assert_eq!(cpu.run(&mut ram, 100), Exit::MsrWrite { number, value: 1500 });
        let pair = |cpu: &Cpu| cpu.regs.get(Reg::Rdx) << 32 | cpu.regs.get(Reg::Rax);
        assert_eq!(pair(&cpu), read);
        cpu.supply(0);
        assert_eq!(cpu.run(&mut ram, 100), Exit::MsrRead { number });
        cpu.supply(1500);
        assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
        assert_eq!(pair(&cpu), read);
    }
}

/// SDM volume 3, 11.5.4.1.
#[test]
fn a_deadline_before_the_machines_time_began_is_past_and_none_stays_none() {
    for (deadline, told) in [(0, 0), (5, 1), (1 << 40 | 7, 7)] {
        let (mut cpu, mut ram) = world(&assemble(|a| a.wrmsr()));
        cpu.regs.msrs.tsc_ahead = 1 << 40;
        let number = TSC_DEADLINE;
        let value: u64 = deadline;
        set(&mut cpu, [(Reg::Rcx, number.into()), (Reg::Rax, value), (Reg::Rdx, value >> 32)]);
        assert_eq!(cpu.run(&mut ram, 1), Exit::MsrWrite { number, value: told });
    }
}

#[test]
fn syscall_and_sysret_change_rings_without_a_table() {
    // SDM volume 2, SYSCALL and SYSRET; volume 3, 5.8.8.
    let entry = CODE + 0x400;
    let (mut cpu, mut ram) = world(&assemble(|a| a.sysretq()));
    cpu.regs.efer |= control::SCE;
    ram.write(USER_CODE, &assemble(|a| a.syscall()));
    ram.write(entry, &assemble(|a| a.sysretq()));
    // SYSRET's are 0x1b and 0x23 as the table has them.
    let star = u64::from(sel::KERNEL_CODE) << 32 | 0x13 << 48;
    for (number, value) in [(STAR, star), (LSTAR, entry), (FMASK, flag::IF | flag::DF)] {
        assert_eq!(wrmsr(&mut cpu, &mut ram, number, value), Exit::Budget);
    }
    let flags = flag::ALWAYS | flag::IF | flag::DF | flag::CF;
    set(&mut cpu, [(Reg::Rcx, USER_CODE), (Reg::R11, flags | flag::RF)]);
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!((cpu.level(), cpu.regs.rip, cpu.rflags()), (3, USER_CODE, flags));
    assert_eq!(stack_and_code(&cpu), (sel::USER_DATA, sel::USER_CODE));
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!((cpu.level(), cpu.regs.rip), (0, entry));
    assert_eq!(cpu.rflags(), flag::ALWAYS | flag::CF);
    assert_eq!(stack_and_code(&cpu), (sel::KERNEL_DATA, sel::KERNEL_CODE));
    let kept = [Reg::Rcx, Reg::R11, Reg::Rsp].map(|reg| cpu.regs.get(reg));
    assert_eq!(kept, [USER_CODE + 2, flags, STACK], "the stack is the handler's business");
    // Back it goes, and not to an address that is none: that is ring 0's fault.
    cpu.regs.set(Reg::Rcx, 1 << 47);
    assert_eq!(cpu.run(&mut ram, 1), exception(GP, 0));
    assert_eq!((cpu.level(), cpu.regs.rip), (0, entry));
}

/// SDM volume 3, 5.8.8, and volume 2, SYSCALL.
#[test]
fn system_calls_are_refused_where_they_are_not_set_up() {
    for code in [assemble(|a| a.syscall()), assemble(|a| a.sysretq())] {
        let (mut cpu, mut ram) = world(&code);
        assert_eq!(cpu.run(&mut ram, 1), exception(UD, None), "EFER.SCE is clear");
    }
    for code in [assemble(|a| a.sysenter()), assemble(|a| a.sysexitq())] {
        let (mut cpu, mut ram) = world(&code);
        assert_eq!(cpu.run(&mut ram, 1), exception(GP, 0), "SYSENTER has no segments");
    }
    for code in [assemble(|a| a.sysretq()), assemble(|a| a.sysexitq())] {
        let (mut cpu, mut ram) = user_world(&code);
        cpu.regs.efer |= control::SCE;
        cpu.regs.msrs.sysenter_cs = sel::KERNEL_CODE.into();
        assert_eq!(cpu.run(&mut ram, 1), exception(GP, 0), "ring 3 has nowhere to go back to");
    }
}

#[test]
fn sysenter_and_sysexit_take_stack_and_segments_from_registers() {
    // SDM volume 3, 5.8.7: code, +8, and for ring 3 in 64-bit mode +32, +40.
    let entry = CODE + 0x400;
    let (mut cpu, mut ram) = user_world(&assemble(|a| a.sysenter()));
    ram.write(entry, &assemble(|a| a.sysexitq()));
    let msrs = &mut cpu.regs.msrs;
    (msrs.sysenter_cs, msrs.sysenter_esp, msrs.sysenter_eip) = (0x1003, RSP0, entry);
    cpu.set_rflags(flag::IF);
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!((cpu.level(), cpu.regs.rip, cpu.regs.get(Reg::Rsp)), (0, entry, RSP0));
    assert_eq!((stack_and_code(&cpu), cpu.rflags()), ((0x1008, 0x1000), flag::ALWAYS));
    set(&mut cpu, [(Reg::Rcx, USER_STACK), (Reg::Rdx, USER_CODE)]);
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!((cpu.level(), cpu.regs.rip, cpu.regs.get(Reg::Rsp)), (3, USER_CODE, USER_STACK));
    assert_eq!(stack_and_code(&cpu), (0x102b, 0x1023));
}

#[test]
fn the_bases_of_fs_and_gs_are_open_to_all_once_cr4_says_so() {
    // SDM volume 2, RDFSBASE and WRFSBASE.
    let code = assemble(|a| {
        a.wrfsbase(rax)?;
        a.wrgsbase(ecx)?;
        a.rdfsbase(edx)?;
        a.rdgsbase(rsi)?;
        a.wrfsbase(rbx)
    });
    let values = [(Reg::Rax, 0x1234_5678_9abc), (Reg::Rcx, u64::MAX), (Reg::Rbx, 1 << 63)];
    let (mut cpu, mut ram) = user_world(&code);
    assert_eq!(cpu.run(&mut ram, 9), exception(UD, None));
    cpu.regs.cr4 |= control::FSGSBASE;
    set(&mut cpu, values);
    assert_eq!(cpu.run(&mut ram, 9), exception(GP, 0), "no address");
    assert_eq!((cpu.regs.fs_base(), cpu.regs.gs_base()), (0x1234_5678_9abc, 0xffff_ffff));
    assert_eq!((cpu.regs.get(Reg::Rdx), cpu.regs.get(Reg::Rsi)), (0x5678_9abc, 0xffff_ffff));
}

#[test]
fn vmcall_and_the_clock_can_be_kept_from_ring_three() {
    let (mut cpu, mut ram) = user_world(&assemble(|a| a.vmcall()));
    assert_eq!(cpu.run(&mut ram, 9), exception(GP, 0));
    // SDM volume 3, 2.5 (TSD).
    for (switched_on, told) in [(0, Exit::TimeStamp), (control::TSD, exception(GP, 0))] {
        for code in [assemble(|a| a.rdtsc()), assemble(|a| a.rdtscp())] {
            let (mut cpu, mut ram) = user_world(&code);
            cpu.regs.cr4 |= switched_on;
            assert_eq!(cpu.run(&mut ram, 9), told);
        }
    }
}

#[test]
fn ports_fill_and_empty_strings_an_answer_at_a_time() {
    // SDM volume 2, INS and OUTS with REP.
    let (mut cpu, mut ram) = kernel(0, |a| {
        a.rep().insw()?;
        a.mov(esi, DATA as u32)?;
        a.mov(ecx, 2)?;
        a.rep().outsw()?;
        a.hlt()
    });
    set(&mut cpu, [(Reg::Rcx, 2), (Reg::Rdx, 0x1f0), (Reg::Rdi, DATA)]);
    for word in [0x1111, 0x2222] {
        assert_eq!(cpu.run(&mut ram, 100), Exit::PortRead { port: 0x1f0, bytes: 2 });
        assert_eq!(cpu.regs.rip, CODE);
        cpu.supply(word);
    }
    for value in [0x1111, 0x2222] {
        assert_eq!(cpu.run(&mut ram, 100), Exit::PortWrite { port: 0x1f0, bytes: 2, value });
    }
    assert_eq!(ram.read_u64(DATA), 0x2222_1111);
    assert_eq!((cpu.units(), cpu.instructions()), (6, 4));
    assert_eq!(cpu.run(&mut ram, 100), Exit::Halt);
    let ends = [Reg::Rcx, Reg::Rdi, Reg::Rsi].map(|reg| cpu.regs.get(reg));
    assert_eq!(ends, [0, DATA + 4, DATA + 4]);
}

/// SDM volume 2, INS.
#[test]
fn a_port_is_not_read_for_memory_that_cannot_take_it() {
    let (mut cpu, mut ram) = kernel(0, |a| a.insb());
    ram.map(DATA, DATA, PRESENT);
    set(&mut cpu, [(Reg::Rdx, 0x60), (Reg::Rdi, DATA)]);
    assert_eq!(cpu.run(&mut ram, 9), page_fault(3, DATA));
    ram.map(DATA, DATA, PRESENT | WRITABLE);
    ram.special.insert(DATA, Page::Away);
    assert!(matches!(cpu.run(&mut ram, 9), Exit::Memory { .. }));
    ram.special.clear();
    assert_eq!(cpu.run(&mut ram, 9), Exit::PortRead { port: 0x60, bytes: 1 });
}

#[test]
fn the_machine_status_word_is_the_lower_part_of_cr0() {
    // SDM volume 2, LMSW, SMSW, CLTS.
    let (mut cpu, mut ram) = kernel(0, |a| {
        a.lmsw(ax)?;
        a.smsw(ecx)?;
        a.clts()?;
        a.smsw(rdx)?;
        a.smsw(word_ptr(DATA))?;
        a.hlt()
    });
    let before = cpu.regs.cr0;
    cpu.regs.set(Reg::Rax, control::TS | control::EM);
    assert_eq!(cpu.run(&mut ram, 9), Exit::Halt);
    // MP was set and is cleared; PE cannot be.
    let loaded = before & !control::MP | control::TS | control::EM;
    assert_eq!(cpu.regs.get(Reg::Rcx), loaded);
    assert_eq!(cpu.regs.get(Reg::Rdx), loaded & !control::TS);
    assert_eq!(ram.read_u64(DATA), loaded & !control::TS & 0xffff);
}

#[test]
fn what_control_registers_cannot_be_is_refused_and_what_we_cannot_do_is_our_limit() {
    // SDM volume 2, MOV (control registers).
    let load = |number| {
        assemble(|a| match number {
            0 => a.mov(cr0, rax),
            3 => a.mov(cr3, rax),
            _ => a.mov(cr4, rax),
        })
    };
    let (cpu, _) = machine(&[]);
    let (old0, old3, old4) = (cpu.regs.cr0, cpu.regs.cr3, cpu.regs.cr4);
    let refused = [
        (0, old0 | 1 << 32),
        (0, old0 & !control::PE),
        (0, old0 | control::NW),
        // Paging does not end in 64-bit mode.
        (0, old0 & !control::PG),
        (3, old3 | 1 << 63),
        (3, 1 << 48),
        (4, old4 & !control::PAE),
    ];
    for (number, value) in refused {
        let (mut cpu, mut ram) = machine(&load(number));
        cpu.regs.set(Reg::Rax, value);
        assert_eq!(cpu.run(&mut ram, 9), exception(GP, 0), "cr{number} {value:#x}");
    }
    for (number, value) in [(4, old4 | 1 << 6), (4, old4 | 1 << 12)] {
        let (mut cpu, mut ram) = machine(&load(number));
        cpu.regs.set(Reg::Rax, value);
        assert!(matches!(cpu.run(&mut ram, 9), Exit::Unsupported { .. }));
    }
    let (mut cpu, mut ram) = machine(&load(0));
    cpu.regs.set(Reg::Rax, old0 | control::CD | control::NW);
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!(cpu.regs.cr0, old0 | control::CD | control::NW);
}

#[test]
fn contexts_begin_at_zero_and_a_kept_translation_is_no_bit_of_cr3() {
    // SDM volume 3, 4.10.1 and 4.10.4.1.
    let code = assemble(|a| {
        a.mov(cr4, rax)?;
        a.mov(cr3, rcx)?;
        a.mov(rdx, cr3)?;
        a.hlt()
    });
    let (mut cpu, mut ram) = machine(&code);
    let pcide = cpu.regs.cr4 | control::PCIDE;
    let root = cpu.regs.cr3;
    set(&mut cpu, [(Reg::Rax, pcide), (Reg::Rcx, root | 5 | 1 << 63)]);
    assert_eq!(cpu.run(&mut ram, 9), Exit::Halt);
    assert_eq!((cpu.regs.cr3, cpu.regs.get(Reg::Rdx)), (root | 5, root | 5));
    let (mut cpu, mut ram) = machine(&code);
    cpu.regs.cr3 |= 5;
    cpu.regs.set(Reg::Rax, pcide);
    assert_eq!(cpu.run(&mut ram, 9), exception(GP, 0));
}

#[test]
fn invpcid_drops_what_it_names_and_refuses_what_is_none() {
    // SDM volume 2, INVPCID.
    let va = 0x7f12_3456_7000;
    let code = assemble(|a| {
        a.mov(rax, qword_ptr(rbx))?;
        a.mov(qword_ptr(rsi), rdi)?;
        a.invpcid(rdx, xmmword_ptr(DATA + 0x100))?;
        a.mov(rcx, qword_ptr(rbx))?;
        a.hlt()
    });
    for kind in 0..=4 {
        for (context, fine) in [(0, true), (1, kind > 1), (1 << 12, false)] {
            let (mut cpu, mut ram) = machine(&code);
            ram.map(va, DATA, PRESENT);
            ram.write_u64(DATA, 1);
            ram.write_u64(DATA + PAGE, 2);
            ram.write_u64(DATA + 0x100, context);
            ram.write_u64(DATA + 0x108, va);
            let entry = ram.entry(va, 1);
            set(&mut cpu, [(Reg::Rbx, va), (Reg::Rsi, entry), (Reg::Rdx, kind)]);
            cpu.regs.set(Reg::Rdi, (DATA + PAGE) | PRESENT);
            let told = if fine && kind < 4 { Exit::Halt } else { exception(GP, 0) };
            assert_eq!(cpu.run(&mut ram, 9), told, "kind {kind}, context {context}");
            if told == Exit::Halt {
                assert_eq!((cpu.regs.get(Reg::Rax), cpu.regs.get(Reg::Rcx)), (1, 2));
            }
        }
    }
}

#[test]
fn invlpg_anywhere_in_a_large_page_drops_all_of_it() {
    // SDM volume 3, 4.10.4.1.
    const LARGE: u64 = 0x80;
    let va = 0x7f12_3440_0000;
    let (mut cpu, mut ram) = kernel(0, |a| {
        a.mov(rax, qword_ptr(rbx))?;
        a.mov(qword_ptr(rsi), rdi)?;
        a.invlpg(byte_ptr(rbx + 0x5000))?;
        a.mov(rcx, qword_ptr(rbx))?;
        a.hlt()
    });
    let entry = ram.entry(va, 2);
    ram.write_u64(entry, PRESENT | LARGE);
    ram.write_u64(DATA, 1);
    ram.write_u64(0, 2);
    set(&mut cpu, [(Reg::Rbx, va), (Reg::Rsi, entry), (Reg::Rdi, 0x20_0000 | PRESENT | LARGE)]);
    assert_eq!(cpu.run(&mut ram, 9), Exit::Halt);
    assert_eq!((cpu.regs.get(Reg::Rax), cpu.regs.get(Reg::Rcx)), (2, 1));
}

#[test]
fn memory_types_are_kept_as_written_and_checked() {
    // SDM volume 3, 12.11 (MTRRs) and 12.12 (PAT).
    const PAT: u32 = 0x277;
    const DEFAULT: u32 = 0x2ff;
    let fine = [
        (PAT, 0x0007_0406_0007_0105),
        (DEFAULT, 0xc06),
        (0x200, 0x8000_0006),
        (0x20f, 0xffff_8000_0800),
        (0x250, 0x0606_0606_0505_0101),
        (0x26f, 6),
    ];
    for (number, value) in fine {
        let (mut cpu, mut ram) = world(&[0x0f, 0x32, 0xf4]);
        assert_eq!(wrmsr(&mut cpu, &mut ram, number, value), Exit::Budget, "{number:#x}");
        cpu.regs.set(Reg::Rcx, number.into());
        assert_eq!(cpu.run(&mut ram, 9), Exit::Halt);
        assert_eq!(cpu.regs.get(Reg::Rdx) << 32 | cpu.regs.get(Reg::Rax), value, "{number:#x}");
    }
    let wrong = [
        (PAT, 2),
        (DEFAULT, 2),
        (DEFAULT, 1 << 12),
        (0x200, 0x106),
        (0x200, 1 << 48),
        (0x201, 1),
        (0x250, 7),
        (0xfe, 0),
        (LSTAR, 1 << 63),
        (0xc000_0080, 1 << 1),
    ];
    for (number, value) in wrong {
        let (mut cpu, mut ram) = world(&[]);
        assert_eq!(wrmsr(&mut cpu, &mut ram, number, value), exception(GP, 0), "{number:#x}");
    }
}

/// SDM volume 3, 11.4.4, 11.12.1.
#[test]
fn the_apics_registers_are_the_machines() {
    let (mut cpu, mut ram) = world(&assemble(|a| {
        a.rdmsr()?;
        a.wrmsr()?;
        a.hlt()
    }));
    for number in [0x1b, 0x6e0, 0x800, 0x8ff] {
        cpu.regs.rip = CODE;
        cpu.regs.set(Reg::Rcx, number.into());
        assert_eq!(cpu.run(&mut ram, 9), Exit::MsrRead { number });
        cpu.supply(0x1_0000_0002);
        let value = 0x1_0000_0002;
        assert_eq!(cpu.run(&mut ram, 9), Exit::MsrWrite { number, value });
        let rip = cpu.regs.rip;
        assert_eq!(cpu.run(&mut ram, 9), Exit::MsrWrite { number, value }, "not answered yet");
        cpu.supply(0);
        assert_eq!(cpu.run(&mut ram, 9), Exit::Halt);
        // One that is refused is #GP(0) of the instruction.
        cpu.regs.rip = rip;
        cpu.run(&mut ram, 9);
        cpu.refuse();
        assert_eq!(cpu.run(&mut ram, 9), exception(GP, 0), "{number:#x}");
        assert_eq!(cpu.regs.rip, rip);
        assert_eq!(cpu.run(&mut ram, 9), Exit::MsrWrite { number, value }, "and over with that");
        cpu.regs.rip = CODE;
        cpu.run(&mut ram, 9);
        cpu.refuse();
        assert_eq!(cpu.run(&mut ram, 9), exception(GP, 0), "{number:#x}");
    }
}

/// SDM volume 2, SWAPGS.
#[test]
fn swapgs_exchanges_the_bases() {
    let (mut cpu, mut ram) = world(&[0x0f, 0x01, 0xf8]);
    cpu.regs.set_gs_base(1);
    cpu.regs.kernel_gs_base = 2;
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!((cpu.regs.gs_base(), cpu.regs.kernel_gs_base), (2, 1));
    assert_eq!(cpu.regs.segment(Seg::Gs).base, 2);
}
