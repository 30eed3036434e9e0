//! The compact form an instruction is executed from, and how handlers hand on to each other.

use crate::bus::Bus;
use crate::cpu::Cpu;
use crate::regs::slot;

/// Executes `uop`, then hands on to the first of `rest`. The call in tail position is a jump
/// when optimised; unoptimised the depth is that of a block, at most [`crate::blocks::UOPS_MAX`].
pub(crate) type Handler = fn(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop, rest: &[Uop]);

/// The meaning of an instruction without the dispatch. See [`plain`].
pub(crate) type Meaning = fn(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left>;

/// The instruction cannot complete; why is in [`Cpu`] (see [`Cpu::leave`]), unless it was tried
/// with [`TlbOnly`]. Nothing that the guest can see has changed: handlers load, check and store
/// before they write registers, so it can be tried again from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left;

/// One decoded instruction; a comparison fused with its conditional jump; or the computation of
/// an address that the plain sum does not cover, for the uop that follows.
#[derive(Clone, Copy)]
pub(crate) struct Uop {
    pub run: Handler,
    /// For handler [`plain`].
    pub meaning: Meaning,
    /// A full-width immediate, or the target of a jump.
    pub imm: u64,
    /// Displacement of the memory operand; absolute for RIP-relative ones.
    pub disp: u64,
    /// An immediate beside a memory operand or a jump target, to be sign-extended.
    pub small: i32,
    /// Where the instruction starts in its block.
    pub at: u16,
    /// Its length in bytes, including what it is fused with.
    pub len: u8,
    /// How many instructions precede it in its block.
    pub before: u8,
    /// Register number of the destination, see [`slot`].
    pub dst: u8,
    /// Register number of the source.
    pub src: u8,
    /// Register number of the memory operand's base.
    pub base: u8,
    /// Register number of the memory operand's index.
    pub index: u8,
    /// The index is shifted left by this.
    pub scale: u8,
    /// Register number of the memory operand's segment base.
    pub segment: u8,
    /// Operand size in bits.
    pub bits: u8,
    /// Bits of [`note`].
    pub notes: u8,
}

/// What [`Uop::notes`] says.
pub(crate) mod note {
    /// The flags are precise before this uop: no dead computation of them was left out that
    /// an interruption here would miss.
    pub const EXACT: u8 = 1;
    /// The memory operand is relative to SS: a non-canonical address is #SS, not #GP.
    pub const STACK: u8 = 2;
    /// A comparison and a jump in one.
    pub const FUSED: u8 = 4;
    /// Computes an address for the uop behind it, whose instruction it belongs to.
    pub const PREPARES: u8 = 8;
    /// REPNE rather than REPE or REP.
    pub const REPEAT_NE: u8 = 32;
    /// The address size is 32 bits.
    pub const ADDRESS_32: u8 = 64;
}

impl Uop {
    /// A uop without operands.
    pub fn new(run: Handler, meaning: Meaning) -> Self {
        Self {
            run,
            meaning,
            imm: 0,
            disp: 0,
            small: 0,
            at: 0,
            len: 0,
            before: 0,
            dst: 0,
            src: 0,
            base: slot::ZERO,
            index: slot::ZERO,
            scale: 0,
            segment: slot::ZERO,
            bits: 64,
            notes: 0,
        }
    }

    /// How many instructions this is.
    pub fn count(&self) -> u8 {
        if self.notes & note::FUSED != 0 { 2 } else { 1 }
    }

    /// Whether `bit` of [`note`] is set.
    pub fn noted(&self, bit: u8) -> bool {
        self.notes & bit != 0
    }
}

/// Where an access may go that the TLB does not map.
pub(crate) trait Beyond {
    /// The bus.
    ///
    /// # Errors
    /// [`Left`] for [`TlbOnly`].
    fn bus(&mut self) -> Result<&mut dyn Bus, Left>;
}

/// Nowhere: see [`step`].
pub(crate) struct TlbOnly;

impl Beyond for TlbOnly {
    #[inline(always)]
    fn bus(&mut self) -> Result<&mut dyn Bus, Left> {
        Err(Left)
    }
}

impl Beyond for dyn Bus + '_ {
    #[inline(always)]
    fn bus(&mut self) -> Result<&mut dyn Bus, Left> {
        Ok(self)
    }
}

/// An instruction that has a handler of its own, monomorphised for operand kinds and sizes.
pub(crate) trait Exec {
    /// Whether it may store to memory, after which the block may have to be left.
    const STORES: bool;

    /// What the instruction does.
    fn exec(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left>;

    /// The same as far as the TLB maps what it needs; else [`Left`], and nothing has happened.
    #[inline(always)]
    fn quick(_: &mut Cpu, _: &Uop) -> Result<(), Left> {
        Err(Left)
    }
}

/// An instruction that is executed so often that its way without a call is worth its own code.
pub(crate) trait Quick {
    /// As [`Exec::STORES`].
    const STORES: bool;

    /// What the instruction does.
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<(), Left>;
}

impl<E: Quick> Exec for E {
    const STORES: bool = E::STORES;

    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
        E::exec(cpu, bus, uop)
    }

    #[inline(always)]
    fn quick(cpu: &mut Cpu, uop: &Uop) -> Result<(), Left> {
        E::exec(cpu, &mut TlbOnly, uop)
    }
}

/// The handler of `E`. The way that the TLB serves makes no call, so the compiler saves no
/// registers for it; what needs more is done from the start by [`again`]. A store that the TLB
/// serves hits no decoded code, so nobody asks then whether the block must be left.
pub(crate) fn step<E: Exec>(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop, rest: &[Uop]) {
    match E::quick(cpu, uop) {
        Ok(()) => next(cpu, bus, rest),
        Err(Left) => again::<E>(cpu, bus, uop, rest),
    }
}

/// [`step`] with all that an access may lead to.
#[inline(never)]
fn again<E: Exec>(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop, rest: &[Uop]) {
    match E::exec(cpu, bus, uop) {
        Ok(()) if E::STORES && cpu.must_leave() => cpu.leave_after(uop),
        Ok(()) => next(cpu, bus, rest),
        Err(Left) => cpu.leave_at(uop),
    }
}

/// The handler of everything that is not worth one of its own: calls [`Uop::meaning`].
pub(crate) fn plain(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop, rest: &[Uop]) {
    match (uop.meaning)(cpu, bus, uop) {
        Ok(()) if cpu.must_leave() => cpu.leave_after(uop),
        Ok(()) => next(cpu, bus, rest),
        Err(Left) => cpu.leave_at(uop),
    }
}

/// The handler of what ends its block and puts `rip` where it goes on: calls [`Uop::meaning`].
pub(crate) fn transfer(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop, _: &[Uop]) {
    if let Err(Left) = (uop.meaning)(cpu, bus, uop) {
        cpu.leave_at(uop);
    }
}

/// The meaning of uops whose handler does not look at [`Uop::meaning`].
pub(crate) fn nothing(_: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    Ok(())
}

#[inline(always)]
fn next(cpu: &mut Cpu, bus: &mut dyn Bus, rest: &[Uop]) {
    if let Some((uop, rest)) = rest.split_first() {
        (uop.run)(cpu, bus, uop, rest);
    }
}
