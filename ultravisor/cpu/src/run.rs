//! The loop over blocks: budgets, breakpoints, and what ends a run.

use crate::blocks::{Block, BlockId, Blocks};
use crate::bus::Bus;
use crate::cpu::{Cpu, Progress, vector};
use crate::debug::SINGLE_STEP;
use crate::decode;
use crate::event::{Cause, Event};
use crate::exit::Exit;
use crate::flags::bit;
use crate::form::Form;
use crate::mem::{OFFSET, PAGE, Side};
use crate::paging::Place;
use crate::segment::Seg;
use crate::uop::{Flow, Left, Stopped, Uop, note};

/// How many work units a chain of blocks has at most: where calls in tail position are calls, so
/// many are nested.
pub(crate) const CHAIN_UNITS: u64 = 1024;

impl Cpu {
    /// Runs until something needs the machine, for at most `units` work units, and for exactly
    /// so many if it ends with [`Exit::Budget`].
    pub fn run(&mut self, bus: &mut dyn Bus, units: u64) -> Exit {
        // Blocks are borrowed while handlers change the rest of the CPU.
        let mut blocks = self.blocks.take().unwrap_or_default();
        let exit = self.run_blocks(&mut blocks, bus, units);
        self.blocks = Some(blocks);
        if matches!(exit, Exit::Unsupported { .. }) { self.unsupported_bytes(bus) } else { exit }
    }

    fn run_blocks(&mut self, blocks: &mut Blocks, bus: &mut dyn Bus, units: u64) -> Exit {
        let mut remaining = units;
        // Whoever runs the CPU may have changed its registers.
        self.settle();
        self.leave = false;
        if self.form == Form::Missing {
            return Exit::Unsupported { bytes: [0; 15], length: 0 };
        }
        loop {
            if remaining == 0 {
                return Exit::Budget;
            }
            blocks.enter(self.code_context());
            if self.form == Form::Segmented {
                self.enter_segment(blocks);
            }
            let done = if let Some(event) = self.next_event() {
                self.take_event(bus, event)
            } else if self.supplied.is_none()
                && self.passing != Some(self.regs.rip)
                && self.asked.contains(&self.code_address(self.regs.rip))
            {
                self.passing = Some(self.regs.rip);
                return Exit::Breakpoint;
            } else if self.supplied.is_none() && self.instruction_hits() != 0 {
                self.pending.traps |= self.instruction_hits();
                self.take_event(bus, Event::new(vector::DEBUG, Cause::Trap))
            } else if self.system_flags & bit::TF != 0 {
                self.single_step(blocks, bus)
            } else if self.supplied.is_some() || self.is_waited_for() {
                self.step_one(blocks, bus, remaining)
            } else {
                self.run_chain(blocks, bus, remaining)
            };
            if done.instructions > 0 {
                self.passing = None;
            }
            remaining -= done.units.min(remaining);
            for (frame, _) in core::mem::take(&mut self.code_hit) {
                blocks.forget(frame, frame, &mut self.code);
            }
            self.pending.traps |= core::mem::take(&mut self.pending.touched);
            if core::mem::take(&mut self.recut) {
                blocks.clear(&mut self.code);
            }
            if core::mem::take(&mut self.remapped) {
                blocks.next_epoch();
            }
            if self.delivers
                && let Some(fault) = self.take_fault()
            {
                // The instruction has not used its own unit, so there is one left.
                remaining -= self.deliver(bus, fault).units.min(remaining);
            }
            if let Some(exit) = self.take_stop() {
                return exit;
            }
        }
    }

    /// Executes one instruction, or one iteration, and has a debug exception follow it (TF; SDM
    /// volume 3, 17.3.1.4).
    #[cold]
    fn single_step(&mut self, blocks: &Blocks, bus: &mut dyn Bus) -> Progress {
        self.pending.steps = true;
        let done = self.step_one(blocks, bus, 1);
        if done.units > 0 && self.pending.steps {
            self.pending.traps |= SINGLE_STEP;
        }
        done
    }

    /// Drops what was decoded in a code segment of another base or limit.
    #[cold]
    fn enter_segment(&mut self, blocks: &mut Blocks) {
        let code = self.regs.segment(Seg::Cs);
        if self.decoded_in != (code.base, code.limit) {
            self.decoded_in = (code.base, code.limit);
            blocks.clear(&mut self.code);
        }
    }

    /// Executes block after block until the budget does not cover the next one whole, or
    /// something wants to leave.
    fn run_chain(&mut self, blocks: &mut Blocks, bus: &mut dyn Bus, units: u64) -> Progress {
        let mut sum = Progress::default();
        let mut known = blocks.jump(self.regs.rip);
        if known.is_none() && self.passing == Some(self.regs.rip) {
            known = blocks.stop(self.regs.rip);
        }
        let first = match known {
            Some(id) => Ok(id),
            None => self.look_up(blocks, bus),
        };
        let Ok(mut id) = first else {
            return sum;
        };
        // The walk for a fetch marks entries of page tables, and code may have been decoded from
        // those: it is dropped first.
        if self.must_leave() {
            return sum;
        }
        while let Some(block) = blocks.block(id) {
            let remaining = units - sum.units;
            if block.count > remaining {
                if remaining > 0 {
                    sum = sum.plus(self.run_part(blocks, block, bus, remaining));
                }
                break;
            }
            let (stopped, done) =
                self.execute(blocks, block, bus, remaining.min(CHAIN_UNITS), remaining);
            sum = sum.plus(done);
            if matches!(stopped.flow, Flow::Done | Flow::Left) || sum.units >= units {
                break;
            }
            match self.follow(blocks, bus, stopped) {
                Some(next) if !self.must_leave() => id = next,
                Some(_) | None => break,
            }
        }
        sum
    }

    /// Executes `block` and those that it leads to, as far as `chain` of the `units` units go.
    /// What was done: all blocks before the last one were done whole.
    #[inline(always)]
    fn execute(
        &mut self,
        blocks: &Blocks,
        block: &Block,
        bus: &mut dyn Bus,
        chain: u64,
        units: u64,
    ) -> (Stopped, Progress) {
        (self.granted, self.allowed) = (chain, chain);
        self.reserve = units - chain;
        let stopped = block.start(self, bus, blocks);
        let whole = chain - self.allowed;
        let whole = Progress { units: whole, instructions: whole };
        let last = match stopped.flow {
            Flow::Through | Flow::Taken | Flow::Indirect | Flow::Done => {
                let count = blocks.block(stopped.block).unwrap_or(block).count;
                Progress { units: count, instructions: count }
            }
            Flow::Counted | Flow::Left => self.progress,
        };
        let done = whole.plus(last);
        self.total = self.total.plus(done);
        self.granted = self.allowed;
        (stopped, done)
    }

    /// The block at `rip`, coming from where a chain stopped; links them where that may be.
    fn follow(&mut self, blocks: &mut Blocks, bus: &mut dyn Bus, from: Stopped) -> Option<BlockId> {
        let rip = self.regs.rip;
        if !self.breakpoints.is_empty() && self.breakpoints.contains(&self.code_address(rip)) {
            return None;
        }
        let epoch = blocks.epoch();
        let id = match blocks.jump(rip) {
            Some(id) => id,
            None => self.look_up(blocks, bus).ok()?,
        };
        let lasting = blocks.block(id).is_some_and(|block| block.second.is_none());
        if epoch == blocks.epoch() && lasting {
            blocks.link(from.block, from.flow, id);
        }
        Some(id)
    }

    /// The block at `rip`, from the cache by physical page, or decoded now.
    #[cold]
    fn look_up(&mut self, blocks: &mut Blocks, bus: &mut dyn Bus) -> Result<BlockId, Left> {
        let va = self.regs.rip;
        let linear = self.code_address(va);
        let frame = match self.translate(bus, linear, Side::Fetch)? {
            Place::Ram(frame, _) => frame,
            Place::Mmio(_) => return Err(self.unsupported()),
        };
        if let Some(id) = blocks.find(frame, va, self.form) {
            match blocks.block(id).and_then(|block| block.second) {
                None => {
                    self.remember(blocks, va, id);
                    return Ok(id);
                }
                Some(second) => {
                    let behind = (linear & !OFFSET).wrapping_add(PAGE);
                    if let Place::Ram(now, _) = self.translate(bus, behind, Side::Fetch)?
                        && now == second
                    {
                        return Ok(id);
                    }
                    blocks.forget(frame, frame, &mut self.code);
                }
            }
        }
        let block = decode::block(self, bus, va)?;
        let second = block.second;
        // A page that holds code has no entry on the write side.
        if !self.code.holds(frame) {
            self.tlb.forget_writes(frame);
        }
        let id = blocks.insert(block, &mut self.code);
        match second {
            Some(second) => self.tlb.forget_writes(second),
            None => self.remember(blocks, va, id),
        }
        Ok(id)
    }

    /// Makes a shortcut to block `id`; to one at a breakpoint, for those who go on from it only.
    fn remember(&self, blocks: &mut Blocks, va: u64, id: BlockId) {
        if self.breakpoints.contains(&self.code_address(va)) {
            blocks.remember_stop(va, id);
        } else {
            blocks.remember(va, id);
        }
    }

    /// Executes as much of `block` as `units` cover: a prefix that ends where the flags are
    /// precise, or else one instruction by itself.
    fn run_part(
        &mut self,
        blocks: &Blocks,
        block: &Block,
        bus: &mut dyn Bus,
        units: u64,
    ) -> Progress {
        let covered = |uop: &Uop| u64::from(uop.before) + u64::from(uop.count()) <= units;
        let uops = block.code.uops();
        let fits = uops.partition_point(covered);
        let end = (1..=fits).rev().find(|&end| {
            uops.get(end)
                .is_some_and(|uop| uop.noted(note::EXACT) && u64::from(uop.before) <= units)
                && !uops[end - 1].noted(note::PREPARES)
        });
        let Some((end, behind)) = end.and_then(|end| Some((end, uops.get(end)?))) else {
            return self.step_one(blocks, bus, units);
        };
        let count = u64::from(behind.before);
        let end_va = block.va.wrapping_add(u64::from(behind.at));
        let part = Block::new(block.va, end_va, 0, uops[..end].iter().copied(), count);
        self.execute(blocks, &part, bus, count, units).1
    }

    /// Executes the instruction at `rip` alone, decoded for this once.
    fn step_one(&mut self, blocks: &Blocks, bus: &mut dyn Bus, units: u64) -> Progress {
        let Ok(block) = decode::single(self, bus, self.regs.rip) else {
            return Progress::default();
        };
        let (_, progress) = self.execute(blocks, &block, bus, 1, units);
        if progress.instructions > 0 {
            self.supplied = None;
        }
        progress
    }

    /// The bytes at `rip`, as far as they can be fetched without an effect on the run.
    fn unsupported_bytes(&mut self, bus: &mut dyn Bus) -> Exit {
        let cr2 = self.regs.cr2;
        let (bytes, fetched) = decode::bytes_at(self, bus, self.regs.rip);
        self.take_stop();
        self.regs.cr2 = cr2;
        let length = decode::length_of(&bytes[..fetched], self.form);
        Exit::Unsupported { bytes, length }
    }
}

impl Progress {
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        Self {
            units: self.units + other.units,
            instructions: self.instructions + other.instructions,
        }
    }
}
