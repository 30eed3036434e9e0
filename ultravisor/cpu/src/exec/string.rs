//! String instructions, with and without REP. With it, each iteration is a work unit, and the
//! instruction can stop between any two: for the budget, for a page that is away, for a fault.
//!
//! MOVS and STOS upwards are done in runs that stay inside a page; everything else one at a time.

use crate::blocks::{Block, Blocks};
use crate::bus::Bus;
use crate::cpu::{Cpu, Progress};
use crate::exec::alu::{Binary, Cmp};
use crate::flags::bit;
use crate::mem::{OFFSET, PAGE, Side};
use crate::paging::Place;
use crate::regs::Reg;
use crate::segment::Seg;
use crate::uop::{Cursor, Flow, Left, Stopped, Uop, note};
use crate::width::Width;

/// A string instruction: what one iteration does, and whether flags can end a repetition.
pub(crate) trait StringOp {
    /// REPE and REPNE look at ZF.
    const COMPARES: bool = false;

    /// Whether the guest may do it at all, be it not once.
    fn may<T: Width>(_: &mut Cpu, _: &mut dyn Bus) -> Result<(), Left> {
        Ok(())
    }

    fn once<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left>;

    /// Does several iterations at once, up to `most`; zero if it would rather not.
    fn many<T: Width>(_: &mut Cpu, _: &mut dyn Bus, _: &Uop, _most: u64) -> u64 {
        0
    }
}

pub(crate) struct Movs;
pub(crate) struct Stos;
pub(crate) struct Lods;
pub(crate) struct Cmps;
pub(crate) struct Scas;

/// The bits of an address register that count.
fn mask(uop: &Uop) -> u64 {
    match (uop.noted(note::ADDRESS_32), uop.noted(note::ADDRESS_16)) {
        (_, true) => 0xffff,
        (true, false) => 0xffff_ffff,
        (false, false) => u64::MAX,
    }
}

/// Sets an address register or the count: the upper half stays only with 16-bit addresses.
fn set(cpu: &mut Cpu, uop: &Uop, reg: Reg, value: u64) {
    let kept = if uop.noted(note::ADDRESS_16) { cpu.regs.gpr[reg] & !0xffff } else { 0 };
    cpu.regs.gpr[reg] = kept | value & mask(uop);
}

/// Where the source is: rsi, with the segment that prefixes chose.
pub(crate) fn source<T: Width>(cpu: &Cpu, uop: &Uop) -> u64 {
    let offset = cpu.regs.gpr[Reg::Rsi] & mask(uop);
    if uop.noted(note::CHECKED) {
        let segment = Seg::ALL[usize::from(uop.dst) % Seg::ALL.len()];
        return cpu.within(segment, offset, u64::from(T::BITS / 8), false);
    }
    offset.wrapping_add(cpu.regs.gpr.slot(uop.segment))
}

/// Where the target is: rdi, in ES; whether it is to be written.
pub(crate) fn target<T: Width>(cpu: &Cpu, uop: &Uop, write: bool) -> u64 {
    let offset = cpu.regs.gpr[Reg::Rdi] & mask(uop);
    if uop.noted(note::CHECKED) {
        return cpu.within(Seg::Es, offset, u64::from(T::BITS / 8), write);
    }
    offset
}

/// Moves an address register on by `count` elements.
pub(crate) fn advance<T: Width>(cpu: &mut Cpu, uop: &Uop, reg: Reg, count: u64) {
    // No iteration, no change: not even the cut to the address size.
    if count == 0 {
        return;
    }
    let by = u64::from(T::BITS / 8).wrapping_mul(count);
    let old = cpu.regs.gpr[reg];
    let new = if down(cpu) { old.wrapping_sub(by) } else { old.wrapping_add(by) };
    set(cpu, uop, reg, new);
}

fn down(cpu: &Cpu) -> bool {
    cpu.system_flags & bit::DF != 0
}

/// Elements from `va` to the end of its page.
fn to_page_end<T: Width>(va: u64) -> u64 {
    (PAGE - (va & OFFSET)) / u64::from(T::BITS / 8)
}

/// Whether a device is at `va`.
fn is_device(cpu: &mut Cpu, bus: &mut dyn Bus, va: u64, side: Side) -> Result<bool, Left> {
    match cpu.translate(bus, va, side)? {
        Place::Ram(..) => Ok(false),
        Place::Mmio(_) => Ok(true),
    }
}

/// Loads what a device answers for this iteration alone: the next one asks again.
fn load_once<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, va: u64) -> Result<u64, Left> {
    let value = cpu.load::<T>(bus, va)?;
    cpu.supplied = None;
    Ok(value)
}

/// These string instructions do not serve a device.
pub(crate) fn ram_only(cpu: &mut Cpu, bus: &mut dyn Bus, va: u64, side: Side) -> Result<(), Left> {
    match cpu.translate(bus, va, side)? {
        Place::Ram(..) => Ok(()),
        Place::Mmio(_) => Err(cpu.unsupported()),
    }
}

impl StringOp for Movs {
    fn once<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
        let (from, to) = (source::<T>(cpu, uop), target::<T>(cpu, uop, true));
        // What cannot be stored is not asked for. From device to device is our limit.
        if is_device(cpu, bus, from, Side::Read)? {
            ram_only(cpu, bus, to, Side::Write)?;
            cpu.may_store::<T>(bus, to)?;
        } else {
            is_device(cpu, bus, to, Side::Write)?;
        }
        let value = load_once::<T>(cpu, bus, from)?;
        cpu.store::<T>(bus, to, value)?;
        advance::<T>(cpu, uop, Reg::Rsi, 1);
        advance::<T>(cpu, uop, Reg::Rdi, 1);
        Ok(())
    }

    /// Where the target starts inside the source's run, an iteration reads what an earlier one
    /// wrote: such runs are cut to the distance, and close ones are left to `once`.
    fn many<T: Width>(cpu: &mut Cpu, _: &mut dyn Bus, uop: &Uop, most: u64) -> u64 {
        if uop.noted(note::CHECKED | note::ADDRESS_16) {
            return 0;
        }
        let size = u64::from(T::BITS / 8);
        let (from, to) = (source::<T>(cpu, uop), target::<T>(cpu, uop, true));
        let Some((_, from_page)) = cpu.tlb.page(Side::Read, from) else {
            return 0;
        };
        let Some((_, to_page)) = cpu.tlb.page(Side::Write, to) else {
            return 0;
        };
        let mut count = most.min(to_page_end::<T>(from)).min(to_page_end::<T>(to));
        let ahead = (to & OFFSET).wrapping_sub(from & OFFSET);
        if from_page == to_page && ahead < PAGE {
            count = count.min(ahead / size);
        }
        from_page.copy_to(from & OFFSET, to_page, to & OFFSET, (count * size) as usize);
        advance::<T>(cpu, uop, Reg::Rsi, count);
        advance::<T>(cpu, uop, Reg::Rdi, count);
        count
    }
}

impl StringOp for Stos {
    fn once<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
        let to = target::<T>(cpu, uop, true);
        let value = T::get(&cpu.regs.gpr, Reg::Rax as u8);
        cpu.store::<T>(bus, to, value)?;
        advance::<T>(cpu, uop, Reg::Rdi, 1);
        Ok(())
    }

    fn many<T: Width>(cpu: &mut Cpu, _: &mut dyn Bus, uop: &Uop, most: u64) -> u64 {
        if uop.noted(note::CHECKED | note::ADDRESS_16) {
            return 0;
        }
        let size = size_of::<T>();
        let to = target::<T>(cpu, uop, true);
        let Some((_, page)) = cpu.tlb.page(Side::Write, to) else {
            return 0;
        };
        let count = most.min(to_page_end::<T>(to));
        let pattern = cpu.regs.gpr[Reg::Rax].to_le_bytes();
        let same = pattern[..size].iter().all(|&byte| byte == pattern[0]);
        let pattern = if same { &pattern[..1] } else { &pattern[..size] };
        page.fill(to & OFFSET, pattern, count as usize * size);
        advance::<T>(cpu, uop, Reg::Rdi, count);
        count
    }
}

impl StringOp for Lods {
    fn once<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
        let from = source::<T>(cpu, uop);
        let value = load_once::<T>(cpu, bus, from)?;
        T::set(&mut cpu.regs.gpr, Reg::Rax as u8, value);
        advance::<T>(cpu, uop, Reg::Rsi, 1);
        Ok(())
    }
}

impl StringOp for Cmps {
    const COMPARES: bool = true;

    fn once<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
        let (from, to) = (source::<T>(cpu, uop), target::<T>(cpu, uop, false));
        ram_only(cpu, bus, from, Side::Read)?;
        let a = cpu.load::<T>(bus, from)?;
        ram_only(cpu, bus, to, Side::Read)?;
        let b = cpu.load::<T>(bus, to)?;
        Cmp::apply::<T, true>(cpu, a, b);
        advance::<T>(cpu, uop, Reg::Rsi, 1);
        advance::<T>(cpu, uop, Reg::Rdi, 1);
        Ok(())
    }
}

impl StringOp for Scas {
    const COMPARES: bool = true;

    fn once<T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
        let to = target::<T>(cpu, uop, false);
        let b = load_once::<T>(cpu, bus, to)?;
        let a = T::get(&cpu.regs.gpr, Reg::Rax as u8);
        Cmp::apply::<T, true>(cpu, a, b);
        advance::<T>(cpu, uop, Reg::Rdi, 1);
        Ok(())
    }
}

/// A string instruction without prefix.
pub(crate) fn single<O: StringOp, T: Width>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    uop: &Uop,
) -> Result<(), Left> {
    O::may::<T>(cpu, bus)?;
    O::once::<T>(cpu, bus, uop)
}

/// A string instruction with REP, REPE or REPNE. It ends its block; what is left of the budget
/// bounds its iterations. It keeps `rip` and progress itself.
pub(crate) fn repeat<O: StringOp, T: Width>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    at: Cursor<'_>,
    block: &Block,
    _: &Blocks,
) -> Stopped {
    block.left(repetitions::<O, T>(cpu, bus, at.uop()))
}

fn repetitions<O: StringOp, T: Width>(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Flow {
    let allowed = (cpu.allowed + cpu.reserve).saturating_sub(u64::from(uop.before));
    let behind = cpu.regs.rip;
    let mut done = 0;
    let mut outcome = O::may::<T>(cpu, bus);
    let mut ended = outcome.is_ok() && cpu.regs.gpr[Reg::Rcx] & mask(uop) == 0;
    while outcome.is_ok() && !ended && done < allowed && !cpu.must_leave() {
        let left = cpu.regs.gpr[Reg::Rcx] & mask(uop);
        let bulk =
            if down(cpu) { 0 } else { O::many::<T>(cpu, bus, uop, left.min(allowed - done)) };
        if bulk == 0 {
            outcome = O::once::<T>(cpu, bus, uop);
            if outcome.is_err() {
                break;
            }
        }
        let now = bulk.max(1);
        done += now;
        set(cpu, uop, Reg::Rcx, left - now);
        ended = left == now || (O::COMPARES && cpu.flags.zero() == uop.noted(note::REPEAT_NE));
    }
    if outcome.is_err() {
        cpu.leave_at(uop);
    }
    let before = u64::from(uop.before);
    cpu.progress = Progress {
        units: before + done.max(u64::from(ended)),
        instructions: before + u64::from(ended),
    };
    if !ended && done > 0 {
        cpu.pause_repeat(uop);
    }
    let at = cpu.block_va.wrapping_add(u64::from(uop.at));
    cpu.regs.rip = if ended { behind } else { cpu.form.cut(at) };
    if ended && cpu.done(Flow::Through) == Flow::Through { Flow::Counted } else { Flow::Left }
}
