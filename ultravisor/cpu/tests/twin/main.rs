//! The engine against its twin: the same programs by a plain `match` over decoded instructions,
//! which shares nothing with the engine but iced's decoder, and takes its flags from the manual.
//!
//! They go instruction by instruction, side by side, and must leave the same registers, flags and
//! memory. What the manual leaves undefined of the flags the twin takes over from the engine.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "it has the instructions that the programs have, and stops at any other"
)]

mod bits;
#[path = "../common/mod.rs"]
mod common;
mod forms;
mod integer;
mod twin;

use common::{DATA, Ram, Random, STACK, machine, machine_32, programs};
use forms::Forms;
use iced_x86::code_asm::CodeAssembler;
use iced_x86::{Code, IcedError};
use std::collections::BTreeSet;
use twin::Twin;
use ultravisor_cpu::{Cpu, Exit, flag};

/// Programs of one kind, and instructions of each; `UVSIM_TWIN_PROGRAMS` asks for more.
const PROGRAMS: u64 = 1000;
const INSTRUCTIONS: usize = 600;
/// The arithmetic flags.
const ARITHMETIC: u64 = flag::CF | flag::PF | flag::AF | flag::ZF | flag::SF | flag::OF;

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

/// Writes a program.
type Write<'a> = dyn Fn(&mut CodeAssembler, &mut Random) -> Result<(), IcedError> + 'a;

/// Program `number` on the engine in slices of any length, on the engine unit by unit, and on the
/// twin. *Returns* the forms of the instructions that were compared.
fn compare(number: u64, bits: u32, write: &Write) -> Vec<Code> {
    let random = &mut Random(number);
    let code = common::assemble_for(bits, |a| write(a, random));
    let machine = if bits == 64 { machine } else { machine_32 };
    let (mut fast, mut fast_ram) = machine(&code);
    let (mut plain, mut plain_ram) = machine(&code);
    let mut twin = Twin::new(bits, &plain, &plain_ram);
    let mut compared = Vec::new();
    while compared.len() < INSTRUCTIONS {
        let most = if random.chance(2) { 12 } else { 400 };
        let end = fast.run(&mut fast_ram, 1 + random.below(most));
        assert_eq!(end, Exit::Budget, "program {number} at {:#x}", fast.regs.rip);
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
            assert!(
                found.is_empty(),
                "program {number} of {bits} bits: after {i} at {at:#x}: {found:?}"
            );
            compared.push(i.code());
        }
        if !within {
            let found = differences(&twin, &fast, &fast_ram);
            assert!(found.is_empty(), "program {number}, a slice of the fast way: {found:?}");
        }
    }
    compared
}

/// As many as are asked for, of programs that `write` writes. *Returns* the forms they had.
fn all(bits: u32, write: &Write) -> BTreeSet<Code> {
    let programs = std::env::var("UVSIM_TWIN_PROGRAMS").ok().and_then(|text| text.parse().ok());
    let programs: u64 = programs.unwrap_or(PROGRAMS);
    (0..programs).flat_map(|number| compare(number, bits, write)).collect()
}

/// The same of programs that have every form, which all must have been met.
fn all_forms(bits: u32) {
    let forms = Forms::new(bits);
    let met = all(bits, &|a, random| forms.write(a, random));
    let missing: Vec<_> = forms.all().iter().filter(|code| !met.contains(code)).collect();
    assert!(missing.is_empty(), "never met: {missing:?}");
}

#[test]
fn the_engine_leaves_what_a_plain_match_does_of_programs_as_compilers_write_them() {
    assert!(all(64, &programs::write).len() > 60);
}

#[test]
fn the_engine_leaves_what_a_plain_match_does_of_every_form_in_64_bit_code() {
    all_forms(64);
}

#[test]
fn the_engine_leaves_what_a_plain_match_does_of_every_form_in_32_bit_code() {
    all_forms(32);
}
