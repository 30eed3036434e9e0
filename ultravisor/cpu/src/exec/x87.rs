//! x87 in the engine: its stack, its exceptions, and the instructions between its registers
//! (SDM volume 1, chapter 8). `dst` and `src` of a uop are positions on the stack.

use super::mxcsr::Rounding;
use super::x87_arithmetic::{self as arithmetic, Quotient};
use super::x87_number::{
    Class, Control, INDEFINITE, Operand, Outcome, SIGN, class, exception, is_negative,
};
use crate::bus::Bus;
use crate::cpu::{Cpu, control, vector};
use crate::flags::{Flags, bit};
use crate::uop::{Left, Uop};
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

pub(super) fn ready(cpu: &mut Cpu) -> Result<(), Left> {
    available(cpu)?;
    no_error(cpu)
}

pub(super) fn control_of(cpu: &Cpu) -> Control {
    Control(cpu.regs.x87.control)
}

/// Takes note of what an operation raised; whether its result is to be stored.
pub(super) fn respond(cpu: &mut Cpu, raised: u16, up: bool) -> bool {
    let x87 = &mut cpu.regs.x87;
    let unmasked = raised & !x87.control;
    let refused = unmasked & exception::BEFORE != 0;
    let (raised, up) = if refused { (raised & exception::BEFORE, false) } else { (raised, up) };
    x87.status = x87.status & !C1 | raised | if up { C1 } else { 0 };
    x87.summarise();
    !refused
}

/// A register was empty, or (`OVERFLOW`) not: whether the operation goes on with a NaN.
pub(super) fn stack_fault<const OVERFLOW: bool>(cpu: &mut Cpu) -> bool {
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

pub(super) fn pop_times(cpu: &mut Cpu, times: u8) {
    (0..times).for_each(|_| pop(cpu));
}

/// Pushes what `load` gives, unless the stack is full.
pub(super) fn push(cpu: &mut Cpu, outcome: Outcome) {
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

pub(super) fn put_on_top(cpu: &mut Cpu, bits: u128) {
    let x87 = &mut cpu.regs.x87;
    x87.set_top(x87.top().wrapping_sub(1));
    x87.set_st(0, bits);
}

/// Stores an operation's result to ST(`to`), and pops.
pub(super) fn settle(cpu: &mut Cpu, to: u8, outcome: Outcome, pops: u8) {
    if respond(cpu, outcome.raised, outcome.up) {
        cpu.regs.x87.set_st(to, outcome.bits);
        pop_times(cpu, pops);
    }
}

/// What an operation gives whose register is empty.
pub(super) fn settle_empty(cpu: &mut Cpu, to: u8, pops: u8) {
    if stack_fault::<false>(cpu) {
        cpu.regs.x87.set_st(to, INDEFINITE);
        pop_times(cpu, pops);
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

pub(super) fn operand(cpu: &Cpu, index: u8) -> Operand {
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
pub(super) fn compare_into_status<const UNORDERED: bool>(
    cpu: &mut Cpu,
    other: Option<Operand>,
    pops: u8,
) {
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
