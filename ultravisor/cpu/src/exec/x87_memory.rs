//! x87's instructions with memory: numbers of all its formats loaded, stored, and operated on.

use super::x87::{
    Operation, compare_into_status, control_of, operand, pop_times, push, ready, respond, settle,
    settle_empty, stack_fault,
};
use super::x87_number::{
    Class, Control, INDEFINITE, Operand, Outcome, QUIET, SIGN, class, exception, from_double,
    from_integer, from_single, is_negative, narrow, to_integer, to_magnitude,
};
use crate::bus::Bus;
use crate::cpu::Cpu;
use crate::uop::{Left, Uop};
use crate::width::Width;

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
    cpu.may_store::<T>(bus, va)?;
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
    cpu.may_store::<u64>(bus, va)?;
    cpu.may_store::<u16>(bus, va.wrapping_add(8))
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
