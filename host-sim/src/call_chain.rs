//! Who called whom in the guest: program counter and frame-pointer chain, with symbols.
//!
//! Reading it changes nothing: the guest's stack is looked at as the guest sees it, and no page
//! is converted for it.

use crate::event::{CallFrame, Chain};
use crate::image::Symbols;
use std::collections::BTreeMap;
use std::sync::Arc;
use ultravisor::memory::Memory;
use ultravisor_abi::Gpa;
use ultravisor_cpu::{Cpu, Reg};

/// Most frames of a chain.
pub const FRAMES_MAX: usize = 16;

/// Most different chains. Further ones are told as their program counter alone: the log keeps
/// every chain, so a guest that never kicks from the same stack twice would fill the host's memory.
const DIFFERENT_MAX: usize = 1 << 15;

/// Makes chains. A guest kicks from few places: each chain is made once and shared after.
pub struct Chains<'s> {
    symbols: Vec<&'s Symbols>,
    made: BTreeMap<Vec<u64>, Chain>,
}

impl<'s> Chains<'s> {
    /// Chains with the symbols of these images.
    pub fn new(symbols: Vec<&'s Symbols>) -> Self {
        Self { symbols, made: BTreeMap::new() }
    }

    /// The chain at this moment. Guest-virtual addresses are taken as guest-physical ones: boot
    /// protocol `elf64` maps the low 4 GiB so. A frame pointer that leads nowhere ends the chain.
    pub fn capture(&mut self, cpu: &Cpu, memory: &Memory) -> Chain {
        let counters = program_counters(cpu, memory);
        if let Some(chain) = self.made.get(&counters) {
            return Arc::clone(chain);
        }
        let full = self.made.len() >= DIFFERENT_MAX;
        let shown = if full { &counters[..1] } else { &counters[..] };
        let frame = |pc: &u64| CallFrame { pc: *pc, function: self.function(*pc) };
        let chain: Chain = shown.iter().map(frame).collect();
        if !full {
            self.made.insert(counters, Arc::clone(&chain));
        }
        chain
    }

    /// `function+0xoffset` at `pc`, escaped; empty if unknown.
    pub fn function(&self, pc: u64) -> String {
        self.symbols.iter().find_map(|all| all.describe(pc)).unwrap_or_default()
    }
}

fn program_counters(cpu: &Cpu, memory: &Memory) -> Vec<u64> {
    let mut counters = vec![cpu.regs.rip];
    let mut base = cpu.regs.get(Reg::Rbp);
    // Frames of 32-bit code have another form.
    if cpu.bitness() != 64 {
        return counters;
    }
    while counters.len() < FRAMES_MAX {
        let (Some(next), Some(back)) = (word(memory, base), word(memory, base.wrapping_add(8)))
        else {
            break;
        };
        if back == 0 {
            break;
        }
        counters.push(back);
        // A caller's frame lies above its callee's: anything else is no chain.
        if next <= base {
            break;
        }
        base = next;
    }
    counters
}

/// Eight bytes of guest memory as the guest sees them.
pub fn word(memory: &Memory, at: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    (at != 0 && memory.peek(Gpa(at), &mut bytes)).then(|| u64::from_le_bytes(bytes))
}
