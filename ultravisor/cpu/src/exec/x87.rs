//! x87 in the engine: its stack, its exceptions, and what its instructions read and write
//! (SDM volume 1, chapter 8). `dst` and `src` of a uop are positions on the stack.

use super::mxcsr::Rounding;
use super::x87_arithmetic::{self as arithmetic, Quotient};
use super::x87_number::{
    Class, Control, INDEFINITE, Operand, Outcome, QUIET, SIGN, class, exception, from_double,
    from_integer, from_single, is_negative, narrow, to_integer, to_magnitude,
};
use crate::bus::Bus;
use crate::cpu::{Cpu, control, vector};
use crate::flags::{Flags, bit};
use crate::uop::{Left, Uop};
use crate::width::Width;
use crate::x87::status::{C0, C1, C2, C3, STACK_FAULT};
use core::cmp::Ordering;

/// Whether the control registers let x87 be used (SDM volume 3, 2.5).
pub(super) fn available(cpu: &mut Cpu) -> Result<(), Left> {
    if cpu.regs.cr0 & (control::EM | control::TS) != 0 {
        return Err(cpu.raise(vector::DEVICE_NOT_AVAILABLE, None));
    }
    Ok(())
}

/// An exception that an earlier instruction left is raised now; by a wire to the interrupt
/// controller, where CR0 does not say by #MF, which is not implemented.
pub(super) fn no_error(cpu: &mut Cpu) -> Result<(), Left> {
    if !cpu.regs.x87.is_pending() {
        return Ok(());
    }
    if cpu.regs.cr0 & control::NE == 0 {
        return Err(cpu.unsupported());
    }
    Err(cpu.raise(vector::FLOATING_POINT, None))
}

fn ready(cpu: &mut Cpu) -> Result<(), Left> {
    available(cpu)?;
    no_error(cpu)
}

fn control_of(cpu: &Cpu) -> Control {
    Control(cpu.regs.x87.control)
}

/// Takes note of what an operation raised; whether its result is to be stored.
fn respond(cpu: &mut Cpu, raised: u16, up: bool) -> bool {
    let x87 = &mut cpu.regs.x87;
    let unmasked = raised & !x87.control;
    let refused = unmasked & exception::BEFORE != 0;
    let (raised, up) = if refused { (raised & exception::BEFORE, false) } else { (raised, up) };
    x87.status = x87.status & !C1 | raised | if up { C1 } else { 0 };
    x87.summarise();
    !refused
}

/// A register was empty, or (`OVERFLOW`) not: whether the operation goes on with a NaN.
fn stack_fault<const OVERFLOW: bool>(cpu: &mut Cpu) -> bool {
    let x87 = &mut cpu.regs.x87;
    x87.status = x87.status & !C1 | exception::INVALID | STACK_FAULT;
    x87.status |= if OVERFLOW { C1 } else { 0 };
    x87.summarise();
    x87.control & exception::INVALID != 0
}

fn pop(cpu: &mut Cpu) {
    let x87 = &mut cpu.regs.x87;
    x87.set_empty(0);
    x87.set_top(x87.top() + 1);
}

fn pop_times(cpu: &mut Cpu, times: u8) {
    (0..times).for_each(|_| pop(cpu));
}

/// Pushes what `load` gives, unless the stack is full.
fn push(cpu: &mut Cpu, outcome: Outcome) {
    let goes_on = if cpu.regs.x87.is_empty(7) {
        // A denormal number in a shorter format is loaded even if that is not masked.
        let denormal = outcome.raised == exception::DENORMAL;
        respond(cpu, outcome.raised, outcome.up) || denormal
    } else if stack_fault::<true>(cpu) {
        return put_on_top(cpu, INDEFINITE);
    } else {
        false
    };
    if goes_on {
        put_on_top(cpu, outcome.bits);
    }
}

fn put_on_top(cpu: &mut Cpu, bits: u128) {
    let x87 = &mut cpu.regs.x87;
    x87.set_top(x87.top().wrapping_sub(1));
    x87.set_st(0, bits);
}

/// Stores an operation's result to ST(`to`), and pops.
fn settle(cpu: &mut Cpu, to: u8, outcome: Outcome, pops: u8) {
    if respond(cpu, outcome.raised, outcome.up) {
        cpu.regs.x87.set_st(to, outcome.bits);
        pop_times(cpu, pops);
    }
}

/// What an operation gives whose register is empty.
fn settle_empty(cpu: &mut Cpu, to: u8, pops: u8) {
    if stack_fault::<false>(cpu) {
        cpu.regs.x87.set_st(to, INDEFINITE);
        pop_times(cpu, pops);
    }
}

/// A memory operand that becomes a number of 80 bits.
pub(crate) trait MemoryOperand {
    fn load(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<Operand, Left>;
}

pub(crate) struct Single;
pub(crate) struct Double;
pub(crate) struct Int16;
pub(crate) struct Int32;
pub(crate) struct Int64;

fn load_integer<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<Operand, Left> {
    let value = cpu.load::<T>(bus, cpu.address(uop))?;
    Ok(Operand { bits: from_integer(T::signed(value)), raised: 0 })
}

impl MemoryOperand for Single {
    fn load(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<Operand, Left> {
        cpu.load::<u32>(bus, cpu.address(uop)).map(from_single)
    }
}

impl MemoryOperand for Double {
    fn load(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<Operand, Left> {
        cpu.load::<u64>(bus, cpu.address(uop)).map(from_double)
    }
}

impl MemoryOperand for Int16 {
    fn load(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<Operand, Left> {
        load_integer::<u16>(cpu, bus, uop)
    }
}

impl MemoryOperand for Int32 {
    fn load(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<Operand, Left> {
        load_integer::<u32>(cpu, bus, uop)
    }
}

impl MemoryOperand for Int64 {
    fn load(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<Operand, Left> {
        load_integer::<u64>(cpu, bus, uop)
    }
}

/// An operation of destination and source.
pub(crate) trait Operation {
    fn apply(a: Operand, b: Operand, control: Control) -> Outcome;
}

/// Defines operations by the function that they are.
macro_rules! operations {
    ($($name:ident = |$a:ident, $b:ident, $control:ident| $body:expr;)*) => { $(
        pub(crate) struct $name;

        impl Operation for $name {
            fn apply($a: Operand, $b: Operand, $control: Control) -> Outcome {
                $body
            }
        }
    )* };
}

operations! {
    Add = |a, b, control| arithmetic::add(a, b, control);
    Multiply = |a, b, control| arithmetic::multiply(a, b, control);
    Subtract = |a, b, control| arithmetic::subtract(a, b, control);
    SubtractFrom = |a, b, control| arithmetic::subtract(b, a, control);
    Divide = |a, b, control| arithmetic::divide(a, b, control);
    DivideInto = |a, b, control| arithmetic::divide(b, a, control);
}

fn operand(cpu: &Cpu, index: u8) -> Operand {
    Operand { bits: cpu.regs.x87.st(index), raised: 0 }
}

/// `op ST(dst), ST(src)`, with `POPS` pops behind it.
pub(crate) fn on_registers<O: Operation, const POPS: u8>(
    cpu: &mut Cpu,
    _: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    ready(cpu)?;
    if cpu.regs.x87.is_empty(uop.dst) || cpu.regs.x87.is_empty(uop.src) {
        settle_empty(cpu, uop.dst, POPS);
        return Ok(());
    }
    let outcome = O::apply(operand(cpu, uop.dst), operand(cpu, uop.src), control_of(cpu));
    settle(cpu, uop.dst, outcome, POPS);
    Ok(())
}

/// `op ST(0), m`.
pub(crate) fn on_memory<O: Operation, M: MemoryOperand>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    ready(cpu)?;
    let source = M::load(cpu, bus, uop)?;
    if cpu.regs.x87.is_empty(0) {
        settle_empty(cpu, 0, 0);
        return Ok(());
    }
    let outcome = O::apply(operand(cpu, 0), source, control_of(cpu));
    settle(cpu, 0, outcome, 0);
    Ok(())
}

/// `fld`, `fild` of what is in memory. Of a signalling NaN in a shorter format it is invalid.
pub(crate) fn load<M: MemoryOperand>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    ready(cpu)?;
    let Operand { bits, raised } = M::load(cpu, bus, uop)?;
    let outcome = if class(bits) == Class::Signalling {
        Outcome { bits: bits | u128::from(QUIET), raised: exception::INVALID, up: false }
    } else {
        Outcome { bits, raised, up: false }
    };
    push(cpu, outcome);
    Ok(())
}

/// `fld m80`: any bits.
pub(crate) fn load_extended(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    ready(cpu)?;
    let mut bytes = [0; 16];
    cpu.load_bytes(bus, cpu.address(uop), &mut bytes[..10])?;
    push(cpu, Outcome::quiet(u128::from_le_bytes(bytes)));
    Ok(())
}

/// `fld ST(src)`.
pub(crate) fn load_register(cpu: &mut Cpu, _: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    ready(cpu)?;
    let bits = cpu.regs.x87.st(uop.src);
    if !cpu.regs.x87.is_empty(uop.src) {
        push(cpu, Outcome::quiet(bits));
    } else if stack_fault::<false>(cpu) {
        put_on_top(cpu, INDEFINITE);
    }
    Ok(())
}

/// The constants, with the digits behind the 64 that are kept, by which they are rounded: the
/// exponent of the number, its significand, and whether to add one when rounding up or to nearest.
pub(crate) mod constant {
    /// A constant: exponent field and sign, the significand cut off, whether that is below or above
    /// half a unit from the number.
    pub struct Constant {
        pub field: u16,
        pub significand: u64,
        /// Nearest is the next one up.
        pub above_half: bool,
        pub exact: bool,
    }

    const fn rounded(field: u16, significand: u64, above_half: bool) -> Constant {
        Constant { field, significand, above_half, exact: false }
    }

    /// Zero and one have no digits behind.
    pub const ZERO: usize = 0;
    pub const ONE: usize = 1;
    pub const LOG2_10: usize = 2;
    pub const LOG2_E: usize = 3;
    pub const PI: usize = 4;
    pub const LOG10_2: usize = 5;
    pub const LN_2: usize = 6;

    /// By their numbers. (The digits are those of the numbers themselves.)
    pub const ALL: [Constant; 7] = [
        Constant { field: 0, significand: 0, above_half: false, exact: true },
        Constant { field: 0x3fff, significand: 1 << 63, above_half: false, exact: true },
        rounded(0x4000, 0xd49a_784b_cd1b_8afe, false),
        rounded(0x3fff, 0xb8aa_3b29_5c17_f0bb, true),
        rounded(0x4000, 0xc90f_daa2_2168_c234, true),
        rounded(0x3ffd, 0x9a20_9a84_fbcf_f798, true),
        rounded(0x3ffe, 0xb172_17f7_d1cf_79ab, true),
    ];
}

/// `fld1`, `fldpi`, ...: rounded as the control word says, without an exception.
pub(crate) fn load_constant<const WHICH: usize>(
    cpu: &mut Cpu,
    _: &mut dyn Bus,
    _: &Uop,
) -> Result<(), Left> {
    ready(cpu)?;
    let constant = &constant::ALL[WHICH];
    let up = match control_of(cpu).rounding() {
        Rounding::Nearest => constant.above_half,
        Rounding::Up => !constant.exact,
        Rounding::Down | Rounding::Truncate => false,
    };
    let significand = constant.significand + u64::from(up);
    push(cpu, Outcome::quiet(u128::from(constant.field) << 64 | u128::from(significand)));
    Ok(())
}

/// A format that `fst` writes.
pub(crate) trait Stored {
    type Memory: Width;
    fn of(bits: u128, control: Control) -> Outcome;
}

impl Stored for Single {
    type Memory = u32;
    fn of(bits: u128, control: Control) -> Outcome {
        narrow::<super::sse_format::Single>(bits, control)
    }
}

impl Stored for Double {
    type Memory = u64;
    fn of(bits: u128, control: Control) -> Outcome {
        narrow::<super::sse_format::Double>(bits, control)
    }
}

impl Stored for Int16 {
    type Memory = u16;
    fn of(bits: u128, control: Control) -> Outcome {
        to_integer(bits, 16, control.rounding())
    }
}

impl Stored for Int32 {
    type Memory = u32;
    fn of(bits: u128, control: Control) -> Outcome {
        to_integer(bits, 32, control.rounding())
    }
}

impl Stored for Int64 {
    type Memory = u64;
    fn of(bits: u128, control: Control) -> Outcome {
        to_integer(bits, 64, control.rounding())
    }
}

/// What makes a store not happen, unmasked.
const NOT_STORED: u16 = exception::INVALID | exception::OVERFLOW | exception::UNDERFLOW;

/// What a store finds in ST(0), as the format wants it; empty, the indefinite one.
fn outgoing<F: Stored>(cpu: &Cpu, control: Control) -> Outcome {
    let bits = if cpu.regs.x87.is_empty(0) { INDEFINITE } else { cpu.regs.x87.st(0) };
    let outcome = F::of(bits, control);
    let raised = if cpu.regs.x87.is_empty(0) { exception::INVALID } else { outcome.raised };
    Outcome { raised, ..outcome }
}

/// Stores `outcome` unless that is refused, then takes note of it and pops.
fn store_outcome<T: Width, const POPS: u8>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
    outcome: Outcome,
) -> Result<(), Left> {
    let refused = outcome.raised & !cpu.regs.x87.control & NOT_STORED != 0;
    let va = cpu.address(uop);
    // What may not be written faults even if it will not be.
    cpu.load_for_update::<T>(bus, va)?;
    if !refused {
        cpu.store::<T>(bus, va, outcome.bits as u64)?;
    }
    finish_store::<POPS>(cpu, outcome, refused);
    Ok(())
}

fn finish_store<const POPS: u8>(cpu: &mut Cpu, outcome: Outcome, refused: bool) {
    if cpu.regs.x87.is_empty(0) {
        stack_fault::<false>(cpu);
    } else {
        respond(cpu, outcome.raised, outcome.up);
    }
    if !refused {
        pop_times(cpu, POPS);
    }
}

/// `fst`, `fist` and their popping kin.
pub(crate) fn store<F: Stored, const POPS: u8>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    ready(cpu)?;
    let outcome = outgoing::<F>(cpu, control_of(cpu));
    store_outcome::<F::Memory, POPS>(cpu, bus, uop, outcome)
}

/// `fisttp`.
pub(crate) fn store_truncated<F: Stored>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    const TRUNCATE: u16 = 3 << 10;
    ready(cpu)?;
    let outcome = outgoing::<F>(cpu, Control(cpu.regs.x87.control | TRUNCATE));
    store_outcome::<F::Memory, 1>(cpu, bus, uop, outcome)
}

/// Stores ten bytes, or only sees whether that could be.
fn store_ten(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
    bytes: &[u8],
    refused: bool,
) -> Result<(), Left> {
    let va = cpu.address(uop);
    if !refused {
        return cpu.store_bytes(bus, va, bytes);
    }
    cpu.load_for_update::<u64>(bus, va)?;
    cpu.load_for_update::<u16>(bus, va.wrapping_add(8)).map(|_| ())
}

/// `fstp m80`: any bits.
pub(crate) fn store_extended(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    ready(cpu)?;
    let empty = cpu.regs.x87.is_empty(0);
    let refused = empty && cpu.regs.x87.control & exception::INVALID == 0;
    let bits = if empty { INDEFINITE } else { cpu.regs.x87.st(0) };
    store_ten(cpu, bus, uop, &bits.to_le_bytes()[..10], refused)?;
    finish_store::<1>(cpu, Outcome::quiet(bits), refused);
    Ok(())
}

/// `fst`, `fstp` to ST(dst): any bits.
pub(crate) fn store_register<const POPS: u8>(
    cpu: &mut Cpu,
    _: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    ready(cpu)?;
    if cpu.regs.x87.is_empty(0) {
        settle_empty(cpu, uop.dst, POPS);
    } else {
        let bits = cpu.regs.x87.st(0);
        settle(cpu, uop.dst, Outcome::quiet(bits), POPS);
    }
    Ok(())
}

/// Decimal digits of packed BCD.
const DIGITS: usize = 18;

/// `fbld`: eighteen digits, two a byte, and a sign.
pub(crate) fn load_decimal(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    ready(cpu)?;
    let mut bytes = [0; 10];
    cpu.load_bytes(bus, cpu.address(uop), &mut bytes)?;
    let value = bytes[..9]
        .iter()
        .rev()
        .fold(0_i64, |value, &byte| value * 100 + i64::from(byte >> 4) * 10 + i64::from(byte & 15));
    let sign = if bytes[9] & 0x80 != 0 { SIGN } else { 0 };
    push(cpu, Outcome::quiet(from_integer(value) | sign));
    Ok(())
}

/// `fbstp`.
pub(crate) fn store_decimal(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    const INDEFINITE_DECIMAL: [u8; 10] = [0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff];
    ready(cpu)?;
    let bits = if cpu.regs.x87.is_empty(0) { INDEFINITE } else { cpu.regs.x87.st(0) };
    let limit = 10_u128.pow(DIGITS as u32);
    let rounded =
        to_magnitude(bits, control_of(cpu).rounding()).filter(|rounded| rounded.digits < limit);
    let (bytes, outcome) = match rounded {
        None => (INDEFINITE_DECIMAL, Outcome::invalid()),
        Some(rounded) => {
            let mut rest = rounded.digits as u64;
            let mut bytes = [0; 10];
            for byte in &mut bytes[..DIGITS / 2] {
                *byte = (rest % 10 + rest / 10 % 10 * 16) as u8;
                rest /= 100;
            }
            bytes[9] = if is_negative(bits) { 0x80 } else { 0 };
            let raised = if rounded.inexact { exception::PRECISION } else { 0 };
            (bytes, Outcome { bits: 0, raised, up: rounded.up })
        }
    };
    let refused = outcome.raised & !cpu.regs.x87.control & NOT_STORED != 0;
    store_ten(cpu, bus, uop, &bytes, refused)?;
    finish_store::<1>(cpu, outcome, refused);
    Ok(())
}

/// The condition codes of a comparison.
const fn condition(order: Option<Ordering>) -> u16 {
    match order {
        None => C0 | C2 | C3,
        Some(Ordering::Less) => C0,
        Some(Ordering::Equal) => C3,
        Some(Ordering::Greater) => 0,
    }
}

/// Compares ST(0) with `other` (`None` for an empty register); what comes out, unless refused.
fn compared<const UNORDERED: bool>(
    cpu: &mut Cpu,
    other: Option<Operand>,
) -> Option<Option<Ordering>> {
    let other = other.filter(|_| !cpu.regs.x87.is_empty(0));
    let Some(other) = other else {
        return stack_fault::<false>(cpu).then_some(None);
    };
    let (order, raised) = arithmetic::compare(operand(cpu, 0), other, !UNORDERED);
    respond(cpu, raised, false).then_some(order)
}

/// Into the condition codes.
fn compare_into_status<const UNORDERED: bool>(cpu: &mut Cpu, other: Option<Operand>, pops: u8) {
    if let Some(order) = compared::<UNORDERED>(cpu, other) {
        let x87 = &mut cpu.regs.x87;
        x87.status = x87.status & !(C0 | C2 | C3) | condition(order);
        pop_times(cpu, pops);
    }
}

fn if_full(cpu: &Cpu, index: u8) -> Option<Operand> {
    (!cpu.regs.x87.is_empty(index)).then(|| operand(cpu, index))
}

/// `fcom`, and (`UNORDERED`) `fucom`, with ST(src).
pub(crate) fn compare_register<const UNORDERED: bool, const POPS: u8>(
    cpu: &mut Cpu,
    _: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    ready(cpu)?;
    let other = if_full(cpu, uop.src);
    compare_into_status::<UNORDERED>(cpu, other, POPS);
    Ok(())
}

/// `fcompp`, `fucompp`: with ST(1), then both are gone.
pub(crate) fn compare_next<const UNORDERED: bool>(
    cpu: &mut Cpu,
    _: &mut dyn Bus,
    _: &Uop,
) -> Result<(), Left> {
    ready(cpu)?;
    let other = if_full(cpu, 1);
    compare_into_status::<UNORDERED>(cpu, other, 2);
    Ok(())
}

/// `fcom`, `ficom` with memory.
pub(crate) fn compare_memory<M: MemoryOperand, const POPS: u8>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    ready(cpu)?;
    let other = M::load(cpu, bus, uop)?;
    compare_into_status::<false>(cpu, Some(other), POPS);
    Ok(())
}

/// `ftst`: with zero.
pub(crate) fn compare_zero(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    ready(cpu)?;
    compare_into_status::<false>(cpu, Some(Operand { bits: 0, raised: 0 }), 0);
    Ok(())
}

/// `fcomi`, `fucomi`: into RFLAGS.
pub(crate) fn compare_into_flags<const UNORDERED: bool, const POPS: u8>(
    cpu: &mut Cpu,
    _: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    ready(cpu)?;
    let (other, kept) = (if_full(cpu, uop.src), cpu.regs.x87.status & C1);
    let full = other.is_some() && !cpu.regs.x87.is_empty(0);
    let order = compared::<UNORDERED>(cpu, other);
    // It has no use for the condition codes, and leaves C1 but at a stack fault.
    cpu.regs.x87.status |= if full { kept } else { 0 };
    if let Some(order) = order {
        cpu.flags = Flags::known(match order {
            None => bit::ZF | bit::PF | bit::CF,
            Some(Ordering::Less) => bit::CF,
            Some(Ordering::Equal) => bit::ZF,
            Some(Ordering::Greater) => 0,
        });
        pop_times(cpu, POPS);
    }
    Ok(())
}

/// `fxam`: the class of ST(0), and its sign in C1.
pub(crate) fn examine(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    ready(cpu)?;
    let x87 = &mut cpu.regs.x87;
    let bits = x87.st(0);
    let codes = match class(bits) {
        _ if x87.is_empty(0) => C3 | C0,
        Class::Unsupported => 0,
        Class::Quiet | Class::Signalling => C0,
        Class::Normal => C2,
        Class::Infinity => C2 | C0,
        Class::Zero => C3,
        Class::Denormal => C3 | C2,
    };
    let sign = if is_negative(bits) { C1 } else { 0 };
    x87.status = x87.status & !(C0 | C1 | C2 | C3) | codes | sign;
    Ok(())
}

/// Changes ST(0) by what needs no rounding.
fn on_top(cpu: &mut Cpu, f: impl Fn(u128, Control) -> Outcome) -> Result<(), Left> {
    ready(cpu)?;
    if cpu.regs.x87.is_empty(0) {
        settle_empty(cpu, 0, 0);
        return Ok(());
    }
    let outcome = f(cpu.regs.x87.st(0), control_of(cpu));
    settle(cpu, 0, outcome, 0);
    Ok(())
}

/// `fchs`.
pub(crate) fn change_sign(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    on_top(cpu, |a, _| Outcome::quiet(a ^ SIGN))
}

/// `fabs`.
pub(crate) fn magnitude(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    on_top(cpu, |a, _| Outcome::quiet(a & !SIGN))
}

/// `fsqrt`.
pub(crate) fn square_root(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    on_top(cpu, arithmetic::square_root)
}

/// `frndint`.
pub(crate) fn round_to_whole(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    on_top(cpu, arithmetic::round_to_whole)
}

/// `fscale`: ST(0) by the power in ST(1).
pub(crate) fn scale(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    ready(cpu)?;
    if cpu.regs.x87.is_empty(0) || cpu.regs.x87.is_empty(1) {
        settle_empty(cpu, 0, 0);
        return Ok(());
    }
    let (a, b) = (cpu.regs.x87.st(0), cpu.regs.x87.st(1));
    let outcome = arithmetic::scale(a, b, control_of(cpu));
    settle(cpu, 0, outcome, 0);
    Ok(())
}

/// `fxtract`: the exponent stays, the significand is pushed.
pub(crate) fn extract(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    ready(cpu)?;
    let (empty, full) = (cpu.regs.x87.is_empty(0), !cpu.regs.x87.is_empty(7));
    if empty || full {
        let goes_on = if empty { stack_fault::<false>(cpu) } else { stack_fault::<true>(cpu) };
        if goes_on {
            cpu.regs.x87.set_st(0, INDEFINITE);
            put_on_top(cpu, INDEFINITE);
        }
        return Ok(());
    }
    let (exponent, significand) = arithmetic::extract(cpu.regs.x87.st(0));
    if respond(cpu, exponent.raised, false) {
        cpu.regs.x87.set_st(0, exponent.bits);
        put_on_top(cpu, significand);
    }
    Ok(())
}

/// `fprem`, `fprem1` (`NEAREST`): ST(0) modulo ST(1).
pub(crate) fn remainder<const NEAREST: bool>(
    cpu: &mut Cpu,
    _: &mut dyn Bus,
    _: &Uop,
) -> Result<(), Left> {
    ready(cpu)?;
    cpu.regs.x87.status &= !C2;
    if cpu.regs.x87.is_empty(0) || cpu.regs.x87.is_empty(1) {
        settle_empty(cpu, 0, 0);
        return Ok(());
    }
    let (a, b) = (cpu.regs.x87.st(0), cpu.regs.x87.st(1));
    let left = arithmetic::remainder::<NEAREST>(a, b, control_of(cpu));
    if !respond(cpu, left.outcome.raised, false) {
        return Ok(());
    }
    let x87 = &mut cpu.regs.x87;
    x87.set_st(0, left.outcome.bits);
    match left.quotient {
        Quotient::None => {}
        Quotient::Partial => x87.status = x87.status & !(C0 | C3) | C2,
        Quotient::Whole(quotient) => {
            let digit = |digit: u8, code: u16| if quotient & digit != 0 { code } else { 0 };
            let codes = digit(4, C0) | digit(2, C3) | digit(1, C1);
            x87.status = x87.status & !(C0 | C1 | C3) | codes;
        }
    }
    Ok(())
}

/// `fxch`: ST(0) and ST(src).
pub(crate) fn exchange(cpu: &mut Cpu, _: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    ready(cpu)?;
    let x87 = &cpu.regs.x87;
    let (mut top, mut other) = (x87.st(0), x87.st(uop.src));
    let (top_empty, other_empty) = (x87.is_empty(0), x87.is_empty(uop.src));
    if top_empty || other_empty {
        if !stack_fault::<false>(cpu) {
            return Ok(());
        }
        top = if top_empty { INDEFINITE } else { top };
        other = if other_empty { INDEFINITE } else { other };
    } else {
        respond(cpu, 0, false);
    }
    cpu.regs.x87.set_st(uop.src, top);
    cpu.regs.x87.set_st(0, other);
    Ok(())
}

/// `fcmovcc`: ST(src) if the flags say so.
pub(crate) fn move_if<const CONDITION: u8>(
    cpu: &mut Cpu,
    _: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    ready(cpu)?;
    if cpu.regs.x87.is_empty(0) || cpu.regs.x87.is_empty(uop.src) {
        settle_empty(cpu, 0, 0);
        return Ok(());
    }
    if cpu.flags.holds::<CONDITION>() {
        let bits = cpu.regs.x87.st(uop.src);
        cpu.regs.x87.set_st(0, bits);
    }
    Ok(())
}

/// `ffree`, `ffreep`.
pub(crate) fn free<const POPS: u8>(cpu: &mut Cpu, _: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
    ready(cpu)?;
    cpu.regs.x87.set_empty(uop.dst);
    pop_times(cpu, POPS);
    Ok(())
}

/// `fincstp`, `fdecstp`: `BY` modulo 8.
pub(crate) fn turn_stack<const BY: u8>(
    cpu: &mut Cpu,
    _: &mut dyn Bus,
    _: &Uop,
) -> Result<(), Left> {
    ready(cpu)?;
    let x87 = &mut cpu.regs.x87;
    x87.status &= !C1;
    x87.set_top(x87.top() + BY);
    Ok(())
}

/// `fnop`.
pub(crate) fn nothing_but_wait(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    ready(cpu)
}

/// `wait`: with TS it is #NM only if MP is set, too.
pub(crate) fn wait(cpu: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    let both = control::MP | control::TS;
    if cpu.regs.cr0 & both == both {
        return Err(cpu.raise(vector::DEVICE_NOT_AVAILABLE, None));
    }
    no_error(cpu)
}
