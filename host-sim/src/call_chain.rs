//! Who called whom in the guest: program counter and frame-pointer chain, with symbols.
//!
//! Reading it changes nothing: the guest's stack is looked at as the guest sees it, and no page
//! is converted for it.

use crate::event::{CallFrame, Chain};
use crate::image::Symbols;
use ultravisor::memory::Memory;
use ultravisor_abi::Gpa;
use ultravisor_cpu::{Cpu, Reg};

/// Most frames of a chain.
pub const FRAMES_MAX: usize = 16;

/// The chain at this moment. Guest-virtual addresses are taken as guest-physical ones: boot
/// protocol `elf64` maps the low 4 GiB so. A frame pointer that leads nowhere ends the chain.
pub fn capture(cpu: &Cpu, memory: &Memory, symbols: &[&Symbols]) -> Chain {
    let frame = |pc: u64| CallFrame {
        pc,
        function: symbols.iter().find_map(|known| known.describe(pc)).unwrap_or_default(),
    };
    let mut frames = vec![frame(cpu.regs.rip)];
    let mut base = cpu.regs.get(Reg::Rbp);
    while frames.len() < FRAMES_MAX {
        let (Some(next), Some(back)) = (word(memory, base), word(memory, base.wrapping_add(8)))
        else {
            break;
        };
        if back == 0 {
            break;
        }
        frames.push(frame(back));
        // A caller's frame lies above its callee's: anything else is no chain.
        if next <= base {
            break;
        }
        base = next;
    }
    frames.into()
}

/// Eight bytes of guest memory as the guest sees them.
pub fn word(memory: &Memory, at: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    (at != 0 && memory.peek(Gpa(at), &mut bytes)).then(|| u64::from_le_bytes(bytes))
}
