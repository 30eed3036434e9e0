//! Whether both sides left the same.

use crate::case::Case;
use crate::functions;
use crate::record::{Record, Trap, fx};
use crate::structures::status;
use crate::undefined::{self, Undefined};
use ultravisor_cpu::flag;

const BREAKPOINT: u64 = 3;
const OVERFLOW: u64 = 4;
const STACK: u64 = 12;
const PROTECTION: u64 = 13;
const PAGE_FAULT: u64 = 14;
/// An error code's bit for a page that is there, but not for such an access.
const PRESENT: u64 = 1;
/// RFLAGS: the processor sets it in what it saves at a fault, so that a breakpoint there is passed.
const RESUME: u64 = 1 << 16;

/// The processor's record in the engine's terms.
fn normalised(mut native: Record) -> Record {
    if matches!(native.trap.vector, BREAKPOINT | OVERFLOW) {
        // A trap, so past it.
        native.rip -= 1;
    }
    if native.trap.vector != PAGE_FAULT {
        native.trap.address = 0;
    }
    if native.trap.vector == PAGE_FAULT && native.trap.address >> 63 != 0 {
        // The host's kernel may have something there; the engine's guest has nothing.
        native.trap.error &= !PRESENT;
    }
    native.rflags &= !RESUME;
    native
}

/// Takes what is not compared out of both.
fn cleared(record: &mut Record, undefined: &Undefined) {
    record.rflags &= !undefined.flags;
    let mut word = record.fx_u16(fx::STATUS) & !undefined.status;
    if undefined.unless_pending && word & status::SUMMARY != 0 {
        word &= !status::CONDITIONS;
        record.rflags &= !flag::ARITHMETIC;
    }
    record.set_fx_u16(fx::STATUS, word);
    if undefined.fault_address {
        record.trap.address = 0;
    }
    if undefined.stack_or_protection && record.trap.vector == STACK {
        record.trap.vector = PROTECTION;
    }
    if let Some((register, bits)) = undefined.gpr {
        record.gpr[register] &= !bits;
    }
    for address in undefined.bytes.iter().cloned().flatten() {
        record.poke(address, &[0]);
    }
    record.fx[fx::POINTERS].fill(0);
    record.fx[fx::MXCSR_MASK].fill(0);
}

/// What differs, for people; `None` if nothing does.
pub fn difference(case: &Case, native: Record, ours: &Record) -> Option<String> {
    let undefined = undefined::of(case).unwrap_or_default();
    let (mut native, mut ours) = (normalised(native), ours.clone());
    if undefined::is_approximate(case.instruction.code()) {
        approximate(case, &native, &mut ours)?;
    }
    if functions::is_one(case.instruction.mnemonic()) {
        functions::approximate(&native, &mut ours);
    }
    for record in [&mut native, &mut ours] {
        cleared(record, &undefined);
        record.fx[crate::record::FX_STATE..].fill(0);
    }
    (native != ours).then(|| describe(case, &native, &ours))
}

/// Lets approximations pass that keep the manual's bound, by making them equal; `None` never.
fn approximate(case: &Case, native: &Record, ours: &mut Record) -> Option<()> {
    let register = case.instruction.op0_register().number();
    let (expected, found) = (native.xmm(register), ours.xmm(register));
    let lane = |value: u128, lane: u32| f32::from_bits((value >> (32 * lane)) as u32);
    let near = (0..4).all(|index| {
        let (a, b) = (lane(expected, index), lane(found, index));
        // Twice the bound, as both sides may be that far off; near the smallest normal number the
        // manual lets processors differ.
        let tiny = f32::MIN_POSITIVE * 1.001;
        a.to_bits() == b.to_bits()
            || (a / b - 1.0).abs() <= 3.0 / 4096.0
            || a.abs() <= tiny && b.abs() <= tiny
    });
    if near {
        ours.set_xmm(register, expected);
    }
    Some(())
}

/// The parts that differ, the processor's first.
fn describe(case: &Case, native: &Record, ours: &Record) -> String {
    let mut lines = vec![format!(
        "{} ({:?}) {:02x?} at {:#x}",
        case.instruction,
        case.instruction.code(),
        case.start.code.iter().take_while(|&&byte| byte != 0xcc).collect::<Vec<_>>(),
        case.target,
    )];
    let mut part = |name: String, start: String, expected: String, found: String| {
        if expected != found {
            lines.push(format!("  {name}: from {start}, processor {expected}, engine {found}"));
        }
    };
    let start = &case.start;
    let trap = |trap: &Trap| format!("{trap:x?}");
    part("ended".into(), String::new(), trap(&native.trap), trap(&ours.trap));
    let number = |value: u64| format!("{value:#x}");
    for (i, name) in
        ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"].into_iter().enumerate()
    {
        part(name.into(), number(start.gpr[i]), number(native.gpr[i]), number(ours.gpr[i]));
    }
    for i in 8..16 {
        let (a, b) = (number(native.gpr[i]), number(ours.gpr[i]));
        part(format!("r{i}"), number(start.gpr[i]), a, b);
    }
    part("rip".into(), number(start.rip), number(native.rip), number(ours.rip));
    part("rflags".into(), number(start.rflags), number(native.rflags), number(ours.rflags));
    part("stray".into(), String::new(), number(native.stray), number(ours.stray));
    let wide = |value: u128| format!("{value:#x}");
    for i in 0..16 {
        part(format!("xmm{i}"), wide(start.xmm(i)), wide(native.xmm(i)), wide(ours.xmm(i)));
    }
    for i in 0..8 {
        part(format!("st({i})"), wide(start.st(i)), wide(native.st(i)), wide(ours.st(i)));
    }
    let word = |record: &Record, at: usize| format!("{:#x}", record.fx_u16(at));
    for (name, at) in [("fcw", fx::CONTROL), ("fsw", fx::STATUS), ("ftw", fx::TAGS)] {
        part(name.into(), word(start, at), word(native, at), word(ours, at));
    }
    let mxcsr = |record: &Record| format!("{:#x}", record.mxcsr());
    part("mxcsr".into(), mxcsr(start), mxcsr(native), mxcsr(ours));
    if let Some(at) = native.data.iter().zip(&ours.data).position(|(a, b)| a != b) {
        let bytes =
            |record: &Record| format!("{:02x?}", &record.data[at..record.data.len().min(at + 24)]);
        part(format!("data at +{at:#x}"), bytes(start), bytes(native), bytes(ours));
    }
    lines.push(format!("  sources: {}", sources(case)));
    lines.join("\n")
}

/// The values that the instruction started from.
fn sources(case: &Case) -> String {
    let (i, start) = (&case.instruction, &case.start);
    let mut out = Vec::new();
    for operand in 0..i.op_count() {
        let register = i.op_register(operand);
        if let Some(number) = crate::generate::number(register) {
            out.push(format!("{register:?}={:#x}", start.gpr[number]));
        } else if register.is_xmm() {
            out.push(format!("{register:?}={:#x}", start.xmm(register.number())));
        } else if register.is_st() || register.is_mm() {
            out.push(format!("{register:?}={:#x}", start.st(register.number())));
        }
    }
    if functions::is_one(i.mnemonic()) {
        (0..2).for_each(|number| out.push(format!("st({number})={:#x}", start.st(number))));
    }
    if let Some(offset) = start.offset(case.target, 16) {
        out.push(format!("memory={:02x?}", &start.data[offset..offset + 16]));
    }
    out.push(format!("mxcsr={:#x} fcw={:#x}", start.mxcsr(), start.fx_u16(fx::CONTROL)));
    out.join(" ")
}
