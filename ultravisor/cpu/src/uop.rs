//! The compact form an instruction is executed from, and how handlers hand on to each other.
#![expect(unsafe_code, reason = "a block is walked without asking for its end; each argued")]

use crate::blocks::{Block, BlockId, Blocks};
use crate::bus::Bus;
use crate::cpu::Cpu;
use crate::regs::slot;
use core::marker::PhantomData;
use core::ptr::NonNull;

/// Executes the uop at `at` of `block`, then hands on to the one behind it, and from the last of a
/// block to the first of the next one in `blocks`. The call in tail position is a jump when
/// optimised; unoptimised the depth is bounded by [`crate::run::CHAIN_UNITS`].
pub(crate) type Handler =
    fn(cpu: &mut Cpu, bus: &mut dyn Bus, at: Cursor<'_>, block: &Block, blocks: &Blocks) -> Stopped;

/// Where a chain of blocks stopped. [`Cpu::allowed`] is what was left when that block began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopped {
    pub block: BlockId,
    pub flow: Flow,
}

/// How a block was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Flow {
    /// Done whole, to the instruction behind it.
    Through,
    /// Done whole, to the one target that its last instruction names.
    Taken,
    /// Done whole, to an address computed.
    Indirect,
    /// Done whole, and somebody has to look after what was done before anything else is.
    Done,
    /// Done whole, to the instruction behind it; what it did is in [`Cpu::progress`].
    Counted,
    /// Left somewhere; what was done is in [`Cpu::progress`], and where, in `rip`.
    Left,
}

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

/// A straight run of uops, with one more behind them that ends it.
pub(crate) struct Code(Box<[Uop]>);

impl Default for Code {
    fn default() -> Self {
        Self::new(core::iter::empty())
    }
}

impl Code {
    pub fn new(uops: impl Iterator<Item = Uop>) -> Self {
        Self(uops.chain(core::iter::once(Uop::new(end, nothing))).collect())
    }

    /// The uops, without the one that ends them.
    pub fn uops(&self) -> &[Uop] {
        self.0.split_last().map_or(&[], |(_, uops)| uops)
    }

    /// The first uop.
    #[inline(always)]
    fn first(&self) -> Cursor<'_> {
        Cursor { at: NonNull::from(&*self.0).cast(), of: PhantomData }
    }
}

/// A uop of a [`Code`], which lives for `'a`: what comes behind it is there, too.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a> {
    at: NonNull<Uop>,
    of: PhantomData<&'a [Uop]>,
}

impl<'a> Cursor<'a> {
    #[inline(always)]
    pub fn uop(self) -> &'a Uop {
        // SAFETY: made by `Code::first` at the first element of a slice that is never empty and is
        // borrowed for `'a`, or by `next` at an element behind it.
        unsafe { self.at.as_ref() }
    }
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
    /// The address size is 16 bits.
    pub const ADDRESS_16: u8 = 16;
    /// REPNE rather than REPE or REP.
    pub const REPEAT_NE: u8 = 32;
    /// The address size is 32 bits.
    pub const ADDRESS_32: u8 = 64;
    /// Of string instructions: segments have to be looked at (`dst` is the source's).
    pub const CHECKED: u8 = 128;
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

    /// Whether the memory operand's address is its base and displacement alone.
    pub fn based(&self) -> bool {
        self.index == slot::ZERO && self.segment == slot::ZERO
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
    /// What the instruction does.
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<(), Left>;
}

impl<E: Quick> Exec for E {
    #[inline(always)]
    fn exec(cpu: &mut Cpu, bus: &mut dyn Bus, uop: &Uop) -> Result<(), Left> {
        E::exec(cpu, bus, uop)
    }

    #[inline(always)]
    fn quick(cpu: &mut Cpu, uop: &Uop) -> Result<(), Left> {
        E::exec(cpu, &mut TlbOnly, uop)
    }
}

/// An instruction that ends its block and says where that leads.
pub(crate) trait Leap {
    /// What the instruction does. The result is one of the first three.
    fn exec(cpu: &mut Cpu, bus: &mut (impl Beyond + ?Sized), uop: &Uop) -> Result<Flow, Left>;
}

/// The handler of `E`. The way that the TLB serves makes no call, so the compiler saves no
/// registers for it; what needs more is done from the start by [`again`]. A store that the TLB
/// serves hits no decoded code, so nobody asks then whether the block must be left.
pub(crate) fn step<E: Exec>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    at: Cursor<'_>,
    block: &Block,
    blocks: &Blocks,
) -> Stopped {
    match E::quick(cpu, at.uop()) {
        Ok(()) => next(cpu, bus, at, block, blocks),
        Err(Left) => again::<E>(cpu, bus, at, block, blocks),
    }
}

/// [`step`] with all that an access may lead to. A load too may have the block left: the walk for it
/// marks entries of page tables, and code may have been decoded from those.
#[inline(never)]
fn again<E: Exec>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    at: Cursor<'_>,
    block: &Block,
    blocks: &Blocks,
) -> Stopped {
    match E::exec(cpu, bus, at.uop()) {
        Ok(()) if cpu.must_leave() => block.left(cpu.leave_after(at.uop())),
        Ok(()) => next(cpu, bus, at, block, blocks),
        Err(Left) => block.left(cpu.leave_at(at.uop())),
    }
}

/// The handler of `L`, two ways as [`step`] has them.
pub(crate) fn leap<L: Leap>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    at: Cursor<'_>,
    block: &Block,
    blocks: &Blocks,
) -> Stopped {
    match L::exec(cpu, &mut TlbOnly, at.uop()) {
        Ok(flow) => block.lead_on(cpu, bus, blocks, flow),
        Err(Left) => leap_again::<L>(cpu, bus, at, block, blocks),
    }
}

#[inline(never)]
fn leap_again<L: Leap>(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    at: Cursor<'_>,
    block: &Block,
    _: &Blocks,
) -> Stopped {
    match L::exec(cpu, bus, at.uop()) {
        Ok(flow) => block.left(cpu.done(flow)),
        Err(Left) => block.left(cpu.leave_at(at.uop())),
    }
}

/// The handler of everything that is not worth one of its own: calls [`Uop::meaning`].
pub(crate) fn plain(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    at: Cursor<'_>,
    block: &Block,
    blocks: &Blocks,
) -> Stopped {
    let uop = at.uop();
    match (uop.meaning)(cpu, bus, uop) {
        Ok(()) if cpu.must_leave() && cpu.edge == Flow::Through => block.left(cpu.leave_after(uop)),
        Ok(()) => next(cpu, bus, at, block, blocks),
        Err(Left) => block.left(cpu.leave_at(uop)),
    }
}

/// The handler of what ends its block and puts `rip` where it goes on: calls [`Uop::meaning`].
pub(crate) fn transfer(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    at: Cursor<'_>,
    block: &Block,
    _: &Blocks,
) -> Stopped {
    match (at.uop().meaning)(cpu, bus, at.uop()) {
        Ok(()) => block.left(cpu.done(Flow::Indirect)),
        Err(Left) => block.left(cpu.leave_at(at.uop())),
    }
}

/// The meaning of uops whose handler does not look at [`Uop::meaning`].
pub(crate) fn nothing(_: &mut Cpu, _: &mut dyn Bus, _: &Uop) -> Result<(), Left> {
    Ok(())
}

/// The handler of the uop that ends a [`Code`]: the only one that stands there, and it stands
/// nowhere else.
fn end(cpu: &mut Cpu, bus: &mut dyn Bus, _: Cursor<'_>, block: &Block, blocks: &Blocks) -> Stopped {
    let edge = core::mem::replace(&mut cpu.edge, Flow::Through);
    let flow = cpu.done(edge);
    block.lead_on(cpu, bus, blocks, flow)
}

/// Goes on behind `at`.
#[inline(always)]
fn next(
    cpu: &mut Cpu,
    bus: &mut dyn Bus,
    at: Cursor<'_>,
    block: &Block,
    blocks: &Blocks,
) -> Stopped {
    // SAFETY: the last uop of a `Code` has the handler `end`, and a cursor at it is given to that
    // one only; `next` is called by the other handlers, so there is a uop behind theirs.
    let at = Cursor { at: unsafe { at.at.add(1) }, of: at.of };
    (at.uop().run)(cpu, bus, at, block, blocks)
}

impl Block {
    /// Begins to execute the block; the budget covers it.
    #[inline(always)]
    pub fn start(&self, cpu: &mut Cpu, bus: &mut dyn Bus, blocks: &Blocks) -> Stopped {
        cpu.block_va = self.va;
        cpu.regs.rip = self.end;
        let first = self.code.first();
        (first.uop().run)(cpu, bus, first, self, blocks)
    }

    /// Goes on by `flow` if the next block is known and the budget covers it.
    #[inline(always)]
    fn lead_on(&self, cpu: &mut Cpu, bus: &mut dyn Bus, blocks: &Blocks, flow: Flow) -> Stopped {
        let next = match flow {
            Flow::Through | Flow::Taken => blocks.linked(self, flow),
            Flow::Indirect => blocks.jump(cpu.regs.rip),
            Flow::Done | Flow::Counted | Flow::Left => None,
        };
        if let Some(next) = next.and_then(|id| blocks.block(id)) {
            let remaining = cpu.allowed - self.count;
            if next.count <= remaining {
                cpu.allowed = remaining;
                return next.start(cpu, bus, blocks);
            }
        }
        self.left(flow)
    }

    /// The chain ends here.
    #[inline(always)]
    pub fn left(&self, flow: Flow) -> Stopped {
        Stopped { block: self.id, flow }
    }
}
