//! Probe points: guest functions whose entry and return the machine sees by their symbols.
//!
//! They cost no virtual time and grade nothing. A user's image that has functions of these names
//! gets the same counters (design, section 5).

use crate::event::Event;
use crate::image::Symbols;
use std::collections::BTreeMap;
use ultravisor_cpu::{Cpu, Reg};

/// Calls of probed functions that may be under way at once; deeper ones are not counted.
const DEPTH_MAX: usize = 64;

/// A probed function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Probe {
    Decide,
    Map,
    Unmap,
    Alloc,
    Free,
    Bounce,
}

/// Their C names.
const NAMES: [(&str, Probe); 6] = [
    ("dma_decide", Probe::Decide),
    ("dma_map", Probe::Map),
    ("dma_unmap", Probe::Unmap),
    ("dma_alloc", Probe::Alloc),
    ("dma_free", Probe::Free),
    ("swiotlb_bounce", Probe::Bounce),
];

/// A call under way.
#[derive(Clone, Copy, Debug)]
struct Open {
    probe: Probe,
    args: [u64; 4],
    /// Where it returns to, and the stack pointer then.
    back: (u64, u64),
    instructions: u64,
}

/// The probed functions of one image, and the calls under way.
#[derive(Debug, Default)]
pub struct Probes {
    entries: BTreeMap<u64, Probe>,
    open: Vec<Open>,
}

impl Probes {
    /// Finds the probed functions among `symbols` and has the CPU stop at them.
    pub fn arm(symbols: &Symbols, cpu: &mut Cpu) -> Self {
        let entries: BTreeMap<u64, Probe> = NAMES
            .iter()
            .filter_map(|(name, probe)| Some((symbols.address(name)?, *probe)))
            .collect();
        entries.keys().for_each(|entry| cpu.break_at(*entry));
        Self { entries, open: Vec::new() }
    }

    /// The CPU stopped at a breakpoint: what that tells. `return_address` is the word on top of
    /// the guest's stack.
    pub fn hit(&mut self, cpu: &mut Cpu, return_address: Option<u64>) -> Vec<Event> {
        let mut told = Vec::new();
        let here = (cpu.regs.rip, cpu.regs.get(Reg::Rsp));
        // A return: calls above it on the stack were left without returning.
        if let Some(place) = self.open.iter().rposition(|open| open.back == here) {
            told.extend(returned(&self.open[place], cpu));
            self.open.truncate(place);
        }
        if let (Some(probe), Some(back)) = (self.entries.get(&here.0), return_address) {
            let args = [Reg::Rdi, Reg::Rsi, Reg::Rdx, Reg::Rcx].map(|reg| cpu.regs.get(reg));
            if *probe == Probe::Bounce {
                told.push(bounced(args));
            } else if self.open.len() < DEPTH_MAX {
                cpu.break_at(back);
                let back = (back, here.1.wrapping_add(8));
                let instructions = cpu.instructions();
                self.open.push(Open { probe: *probe, args, back, instructions });
            }
        }
        told
    }
}

fn bounced([slot, original, bytes, back]: [u64; 4]) -> Event {
    Event::Bounce { slot, original, bytes, back: back != 0 }
}

fn returned(open: &Open, cpu: &Cpu) -> Option<Event> {
    let value = cpu.regs.get(Reg::Rax);
    let instructions = cpu.instructions() - open.instructions;
    let [first, second, third, _] = open.args;
    match open.probe {
        Probe::Decide => Some(Event::Decision { path: value, instructions }),
        Probe::Map => Some(Event::DmaMap {
            address: first,
            bytes: second,
            direction: third,
            dma: value,
            instructions,
        }),
        Probe::Unmap => {
            Some(Event::DmaUnmap { dma: first, bytes: second, direction: third, instructions })
        }
        Probe::Alloc => Some(Event::DmaAlloc { bytes: first, dma: value }),
        Probe::Free => Some(Event::DmaFree { dma: first, bytes: second }),
        Probe::Bounce => None,
    }
}
