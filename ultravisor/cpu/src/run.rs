//! The loop over blocks: budgets, breakpoints, and what ends a run.

use crate::blocks::{Block, BlockId, Blocks};
use crate::bus::Bus;
use crate::cpu::{Cpu, Progress, control};
use crate::decode;
use crate::exit::Exit;
use crate::flags::bit;
use crate::mem::{OFFSET, PAGE, Side};
use crate::paging::Place;
use crate::uop::{Code, Flow, Left, Uop, note};

/// DR6: single step.
const SINGLE_STEP: u64 = 1 << 14;

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
        if !self.in_64_bit_mode() {
            return Exit::Unsupported { bytes: [0; 15], length: 0 };
        }
        loop {
            if remaining == 0 {
                return Exit::Budget;
            }
            blocks.enter(self.code_context());
            let done = if let Some(event) = self.next_event() {
                self.take_event(bus, event)
            } else if self.supplied.is_none()
                && self.passing != Some(self.regs.rip)
                && self.breakpoints.contains(&self.regs.rip)
            {
                self.passing = Some(self.regs.rip);
                return Exit::Breakpoint;
            } else if self.system_flags & bit::TF != 0 {
                self.single_step(bus)
            } else if self.supplied.is_some() || self.is_waited_for() {
                self.step_one(bus, remaining)
            } else {
                self.run_chain(blocks, bus, remaining)
            };
            self.total = self.total.plus(done);
            if done.instructions > 0 {
                self.passing = None;
            }
            remaining -= done.units.min(remaining);
            for (frame, _) in core::mem::take(&mut self.code_hit) {
                blocks.forget(frame, frame, &mut self.code);
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
    fn single_step(&mut self, bus: &mut dyn Bus) -> Progress {
        self.pending.steps = true;
        let done = self.step_one(bus, 1);
        if done.units > 0 && self.pending.steps {
            self.pending.traps |= SINGLE_STEP;
        }
        done
    }

    fn in_64_bit_mode(&self) -> bool {
        self.regs.efer & control::LMA != 0 && self.regs.cr0 & control::PG != 0
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
        while let Some(block) = blocks.block(id) {
            let remaining = units - sum.units;
            if block.count > remaining {
                if remaining > 0 {
                    sum = sum.plus(self.run_part(block, bus, remaining));
                }
                break;
            }
            self.block_va = block.va;
            self.regs.rip = block.end;
            self.allowed = remaining;
            let flow = block.code.run(self, bus);
            let whole = Progress { units: block.count, instructions: block.count };
            let next = match flow {
                Flow::Through | Flow::Taken => {
                    sum = sum.plus(whole);
                    blocks.linked(block, flow)
                }
                Flow::Indirect => {
                    sum = sum.plus(whole);
                    blocks.jump(self.regs.rip)
                }
                Flow::Counted => {
                    sum = sum.plus(self.progress);
                    blocks.linked(block, Flow::Through)
                }
                Flow::Done => {
                    sum = sum.plus(whole);
                    break;
                }
                Flow::Left => {
                    sum = sum.plus(self.progress);
                    break;
                }
            };
            id = match next {
                Some(next) => next,
                None if sum.units >= units => break,
                None => match self.follow(blocks, bus, id, flow) {
                    Some(next) => next,
                    None => break,
                },
            };
        }
        sum
    }

    /// The block at `rip`, coming from block `from` by `edge`; links them where that may be.
    #[cold]
    fn follow(
        &mut self,
        blocks: &mut Blocks,
        bus: &mut dyn Bus,
        from: BlockId,
        edge: Flow,
    ) -> Option<BlockId> {
        let rip = self.regs.rip;
        if !self.breakpoints.is_empty() && self.breakpoints.contains(&rip) {
            return None;
        }
        let epoch = blocks.epoch();
        let id = match blocks.jump(rip) {
            Some(id) => id,
            None => self.look_up(blocks, bus).ok()?,
        };
        let lasting = blocks.block(id).is_some_and(|block| block.second.is_none());
        if epoch == blocks.epoch() && lasting {
            blocks.link(from, if edge == Flow::Counted { Flow::Through } else { edge }, id);
        }
        Some(id)
    }

    /// The block at `rip`, from the cache by physical page, or decoded now.
    #[cold]
    fn look_up(&mut self, blocks: &mut Blocks, bus: &mut dyn Bus) -> Result<BlockId, Left> {
        let va = self.regs.rip;
        let frame = match self.translate(bus, va, Side::Fetch)? {
            Place::Ram(frame, _) => frame,
            Place::Mmio(_) => return Err(self.unsupported()),
        };
        if let Some(id) = blocks.find(frame, va) {
            match blocks.block(id).and_then(|block| block.second) {
                None => {
                    self.remember(blocks, va, id);
                    return Ok(id);
                }
                Some(second) => {
                    let behind = (va & !OFFSET).wrapping_add(PAGE);
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
        let id = blocks.insert(block, &mut self.code);
        self.tlb.forget_writes(frame);
        match second {
            Some(second) => self.tlb.forget_writes(second),
            None => self.remember(blocks, va, id),
        }
        Ok(id)
    }

    /// Makes a shortcut to block `id`; to one at a breakpoint, for those who go on from it only.
    fn remember(&self, blocks: &mut Blocks, va: u64, id: BlockId) {
        if self.breakpoints.contains(&va) {
            blocks.remember_stop(va, id);
        } else {
            blocks.remember(va, id);
        }
    }

    /// Executes as much of `block` as `units` cover: a prefix that ends where the flags are
    /// precise, or else one instruction by itself.
    fn run_part(&mut self, block: &Block, bus: &mut dyn Bus, units: u64) -> Progress {
        let covered = |uop: &Uop| u64::from(uop.before) + u64::from(uop.count()) <= units;
        let uops = block.code.uops();
        let fits = uops.partition_point(covered);
        let end = (1..=fits).rev().find(|&end| {
            uops.get(end)
                .is_some_and(|uop| uop.noted(note::EXACT) && u64::from(uop.before) <= units)
                && !uops[end - 1].noted(note::PREPARES)
        });
        let Some((end, behind)) = end.and_then(|end| Some((end, uops.get(end)?))) else {
            return self.step_one(bus, units);
        };
        let count = u64::from(behind.before);
        self.block_va = block.va;
        self.regs.rip = block.va.wrapping_add(u64::from(behind.at));
        self.execute(bus, &Code::new(uops[..end].to_vec()), count, units)
    }

    /// Executes the instruction at `rip` alone, decoded for this once.
    fn step_one(&mut self, bus: &mut dyn Bus, units: u64) -> Progress {
        let Ok(block) = decode::single(self, bus, self.regs.rip) else {
            return Progress::default();
        };
        self.block_va = block.va;
        self.regs.rip = block.end;
        let progress = self.execute(bus, &block.code, 1, units);
        if progress.instructions > 0 {
            self.supplied = None;
        }
        progress
    }

    /// Executes `code`, which has `count` instructions.
    fn execute(&mut self, bus: &mut dyn Bus, code: &Code, count: u64, units: u64) -> Progress {
        self.allowed = units;
        match code.run(self, bus) {
            Flow::Through | Flow::Taken | Flow::Indirect | Flow::Done => {
                Progress { units: count, instructions: count }
            }
            Flow::Counted | Flow::Left => self.progress,
        }
    }

    /// The bytes at `rip`, as far as they can be fetched without an effect on the run.
    fn unsupported_bytes(&mut self, bus: &mut dyn Bus) -> Exit {
        let cr2 = self.regs.cr2;
        let (bytes, fetched) = decode::bytes_at(self, bus, self.regs.rip);
        self.take_stop();
        self.regs.cr2 = cr2;
        Exit::Unsupported { bytes, length: decode::length_of(&bytes[..fetched]) }
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
