//! Segment registers, the local descriptor table and the task register: loads, stores, and the
//! questions about descriptors (SDM volume 2, MOV, POP, LDS/LES/LFS/LGS/LSS, LAR, LSL, VERR; volume
//! 3, 5.5 to 5.7).

use super::{Place, Source};
use crate::bus::Bus;
use crate::cpu::{Cpu, vector};
use crate::exec::stack::{self, Stack, peek, push};
use crate::exec::system::privileged;
use crate::flags::{Flags, bit, pack};
use crate::form::Form;
use crate::segment::{Attributes, Descriptor, Kind, Seg, Segment, System, selector};
use crate::uop::{Left, Uop};
use crate::width::Width;

/// The segment register that an instruction names.
fn named(number: u8) -> Seg {
    Seg::ALL[usize::from(number) % Seg::ALL.len()]
}

/// Whether privilege level `level` may load from it, given a selector that asks for `rpl`.
fn may_be_data(attributes: Attributes, rpl: u8, level: u8) -> bool {
    let reached = attributes.dpl() >= rpl.max(level);
    match attributes.kind() {
        Kind::Data { .. } => reached,
        Kind::Code { readable, conforming } => readable && (conforming || reached),
        Kind::System(_) => false,
    }
}

/// What `register`, which is not CS, holds once `selector` is loaded into it.
fn loaded(cpu: &mut Cpu, bus: &mut dyn Bus, register: Seg, selector: u16) -> Result<Segment, Left> {
    let stack = register == Seg::Ss;
    if selector::is_null(selector) {
        // A stack segment may be null in 64-bit mode, but for ring 3 (SDM volume 2, MOV).
        let bare = cpu.form == Form::Long && cpu.cpl < 3 && selector::rpl(selector) == cpu.cpl;
        let fine = !stack || bare;
        return if fine {
            Ok(Segment::null(selector))
        } else {
            Err(cpu.raise(vector::PROTECTION, Some(0)))
        };
    }
    let descriptor = cpu.required(bus, selector)?;
    let attributes = descriptor.attributes();
    let fine = if stack {
        attributes.may_be_stack(selector, cpu.cpl)
    } else {
        may_be_data(attributes, selector::rpl(selector), cpu.cpl)
    };
    if !fine {
        return Err(cpu.raise_for(vector::PROTECTION, selector));
    }
    if !attributes.present() {
        let vector = if stack { vector::STACK } else { vector::NOT_PRESENT };
        return Err(cpu.raise_for(vector, selector));
    }
    cpu.accessed(bus, selector, descriptor)
}

/// Puts `segment` into `register`; 32-bit code behind it may have to be decoded afresh.
fn hold(cpu: &mut Cpu, register: Seg, segment: Segment) {
    cpu.regs.set_segment(register, segment);
    if cpu.form.is_narrow() {
        cpu.settle();
    }
}

/// `mov sreg, source` (`dst` is the segment register).
pub(crate) fn load_segment<S: Source>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let selector = S::get::<u16>(cpu, bus, uop)? as u16;
    let register = named(uop.dst);
    let segment = loaded(cpu, bus, register, selector)?;
    hold(cpu, register, segment);
    if register == Seg::Ss {
        cpu.shade_stack(uop);
    }
    Ok(())
}

/// `mov place, sreg` (`src` is the segment register); a register of 32 or 64 bits is filled up
/// with zeros.
pub(crate) fn store_segment<T: Width, P: Place>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let selector = cpu.regs.selector(named(uop.src));
    P::write::<T>(cpu, bus, uop, selector.into())
}

/// `push fs`, `push gs`; in 32-bit code all six. Some processors leave the upper half of four bytes as
/// it is, some clear it (SDM volume 2, PUSH).
pub(crate) fn push_segment<T: Width, K: Stack>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let selector = cpu.regs.selector(named(uop.src));
    push::<T, K>(cpu, bus, selector.into())
}

/// `pop fs`, `pop gs`; in 32-bit code all but CS.
pub(crate) fn pop_segment<T: Width, K: Stack>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let selector = peek::<T, K>(cpu, bus, 0)? as u16;
    let register = named(uop.dst);
    let segment = loaded(cpu, bus, register, selector)?;
    // As wide as the stack was.
    stack::drop::<K>(cpu, u64::from(T::BITS / 8));
    hold(cpu, register, segment);
    if register == Seg::Ss {
        cpu.shade_stack(uop);
    }
    Ok(())
}

/// `lss`, `lfs`, `lgs`, `lds`, `les` (`small` is the segment register): an offset of width `T`, then a selector.
pub(crate) fn load_pointer<T: Width>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let (selector, offset) = far_pointer::<T>(cpu, bus, uop)?;
    let register = named(uop.small as u8);
    let segment = loaded(cpu, bus, register, selector)?;
    T::set(&mut cpu.regs.gpr, uop.dst, offset);
    hold(cpu, register, segment);
    Ok(())
}

/// The selector and the offset at the memory operand.
pub(crate) fn far_pointer<T: Width>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(u16, u64), Left> {
    let va = cpu.address(uop);
    let size = size_of::<T>();
    let mut bytes = [0; 10];
    cpu.load_bytes(bus, va, &mut bytes[..size + 2])?;
    let selector = u16::from_le_bytes([bytes[size], bytes[size + 1]]);
    let mut offset = [0; 8];
    offset[..size].copy_from_slice(&bytes[..size]);
    Ok((selector, u64::from_le_bytes(offset)))
}

/// `sldt` (`TASK` false), `str`.
pub(crate) fn store_table_selector<const TASK: bool, T: Width, P: Place>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let segment = if TASK { &cpu.regs.tr } else { &cpu.regs.ldtr };
    let selector = segment.selector;
    P::write::<T>(cpu, bus, uop, selector.into())
}

/// `lldt`. A null selector leaves no local table.
pub(crate) fn load_local_table<S: Source>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    privileged(cpu)?;
    let selector = S::get::<u16>(cpu, bus, uop)? as u16;
    cpu.regs.ldtr = if selector::is_null(selector) {
        Segment::null(selector)
    } else {
        system_segment(cpu, bus, selector, System::Ldt)?
    };
    Ok(())
}

/// `ltr`: the task-state segment is marked as in use.
pub(crate) fn load_task<S: Source>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    privileged(cpu)?;
    let selector = S::get::<u16>(cpu, bus, uop)? as u16;
    if selector::is_null(selector) {
        return Err(cpu.raise(vector::PROTECTION, Some(0)));
    }
    cpu.regs.tr = system_segment(cpu, bus, selector, System::Tss)?;
    Ok(())
}

/// The system segment of `selector`, which must be in the global table and of type `wanted`. Its
/// descriptor has 16 bytes in long mode, else 8. A 16-bit task-state segment is our limit.
fn system_segment(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    selector: u16,
    wanted: System,
) -> Result<Segment, Left> {
    let global = selector & selector::LOCAL == 0;
    let found = if global { cpu.system_descriptor(bus, selector)? } else { None };
    let is_16_bit = |low: Descriptor| low.system(false) == Some(System::Tss16);
    if wanted == System::Tss && !cpu.is_long_mode() && found.is_some_and(|(low, _)| is_16_bit(low))
    {
        return Err(cpu.unsupported());
    }
    let Some((descriptor, upper)) = found.filter(|(low, _)| low.system(true) == Some(wanted))
    else {
        return Err(cpu.raise_for(vector::PROTECTION, selector));
    };
    if !descriptor.attributes().present() {
        return Err(cpu.raise_for(vector::NOT_PRESENT, selector));
    }
    let segment = cpu.wide_segment(selector, descriptor, upper)?;
    if wanted == System::Tss {
        cpu.occupy(bus, selector, descriptor)?;
        return Ok(Segment { attributes: descriptor.busy().attributes(), ..segment });
    }
    Ok(segment)
}

/// What LAR, LSL, VERR and VERW ask of a descriptor.
pub(crate) trait Question {
    /// Whether it is asked of system descriptors of type `system`; those of 16 bits are none in long
    /// mode.
    fn of_system(system: System) -> bool;

    /// Whether the segment passes, given that it may be reached.
    fn passes(kind: Kind) -> bool;
}

pub(crate) struct Lar;
pub(crate) struct Lsl;
pub(crate) struct Verr;
pub(crate) struct Verw;

impl Question for Lar {
    fn of_system(system: System) -> bool {
        use System::*;
        let tables = matches!(system, Ldt | Tss | BusyTss | Tss16 | BusyTss16);
        tables || matches!(system, CallGate | CallGate16 | TaskGate)
    }

    fn passes(_: Kind) -> bool {
        true
    }
}

impl Question for Lsl {
    fn of_system(system: System) -> bool {
        use System::*;
        matches!(system, Ldt | Tss | BusyTss | Tss16 | BusyTss16)
    }

    fn passes(_: Kind) -> bool {
        true
    }
}

impl Question for Verr {
    fn of_system(_: System) -> bool {
        false
    }

    fn passes(kind: Kind) -> bool {
        matches!(kind, Kind::Data { .. } | Kind::Code { readable: true, .. })
    }
}

impl Question for Verw {
    fn of_system(_: System) -> bool {
        false
    }

    fn passes(kind: Kind) -> bool {
        matches!(kind, Kind::Data { writable: true, .. })
    }
}

/// The descriptor's bytes 4 to 7 and its limit, if the question is asked of it and answered yes.
fn asked<Q: Question>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    selector: u16,
) -> Result<Option<(u64, u64)>, Left> {
    if selector::is_null(selector) {
        return Ok(None);
    }
    let Some(descriptor) = cpu.descriptor(bus, selector)? else {
        return Ok(None);
    };
    let attributes = descriptor.attributes();
    let reached = attributes.dpl() >= cpu.cpl.max(selector::rpl(selector));
    let passes = match descriptor.system(cpu.is_long_mode()) {
        Some(system) => {
            Q::of_system(system) && reached && cpu.system_descriptor(bus, selector)?.is_some()
        }
        None => {
            let conforming = matches!(attributes.kind(), Kind::Code { conforming: true, .. });
            Q::passes(attributes.kind()) && (conforming || reached)
        }
    };
    Ok(passes.then_some((descriptor.0 >> 32, descriptor.limit().into())))
}

pub(super) fn set_zero(cpu: &mut Cpu, zero: bool) {
    let kept = cpu.flags.bits() & !bit::ZF;
    cpu.flags = Flags::known(kept | pack([(zero, bit::ZF)]));
}

/// `verr`, `verw`.
pub(crate) fn verify<Q: Question, S: Source>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let selector = S::get::<u16>(cpu, bus, uop)? as u16;
    let passes = asked::<Q>(cpu, bus, selector)?.is_some();
    set_zero(cpu, passes);
    Ok(())
}

/// `lar`: the attributes where the descriptor has them, in bits 8 to 23.
pub(crate) fn load_rights<T: Width, S: Source>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    const RIGHTS: u64 = 0x00f0_ff00;
    let selector = S::get::<u16>(cpu, bus, uop)? as u16;
    let found = asked::<Lar>(cpu, bus, selector)?;
    if let Some((upper, _)) = found {
        T::set(&mut cpu.regs.gpr, uop.dst, upper & RIGHTS & T::MASK);
    }
    set_zero(cpu, found.is_some());
    Ok(())
}

/// `lsl`: the limit in bytes.
pub(crate) fn load_limit<T: Width, S: Source>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    let selector = S::get::<u16>(cpu, bus, uop)? as u16;
    let found = asked::<Lsl>(cpu, bus, selector)?;
    if let Some((_, limit)) = found {
        T::set(&mut cpu.regs.gpr, uop.dst, limit & T::MASK);
    }
    set_zero(cpu, found.is_some());
    Ok(())
}
