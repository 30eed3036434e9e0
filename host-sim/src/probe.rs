//! Probe points: guest functions whose entry and return the machine sees by their symbols.
//!
//! They cost no virtual time and grade nothing. A user's image that has functions of these names
//! gets the same counters (design, section 5).

use crate::event::Event;
use crate::image::Symbols;
use std::collections::{BTreeMap, BTreeSet};
use ultravisor_cpu::{Cpu, Reg};

/// Calls of probed functions that may be under way at once. One more, and the oldest is taken for
/// one that was left without returning.
const DEPTH_MAX: usize = 64;

/// Places to which probed functions return. Calls from further ones are not counted: each place is
/// a breakpoint, and a guest may jump to a probed function with any return address.
const RETURNS_MAX: usize = 4096;

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
    /// Instructions retired before it.
    before: u64,
    /// Instructions of the probed calls inside it, which are told with those.
    inner: u64,
}

/// The probed functions of one image, and the calls under way.
#[derive(Debug, Default)]
pub struct Probes {
    entries: BTreeMap<u64, Probe>,
    returns: BTreeSet<u64>,
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
        Self { entries, returns: BTreeSet::new(), open: Vec::new() }
    }

    /// The CPU stopped at a breakpoint: what that tells goes into `told`. `word` reads a word of
    /// the guest's memory: the return address, on top of its stack.
    pub fn hit(
        &mut self,
        cpu: &mut Cpu,
        word: impl FnOnce(u64) -> Option<u64>,
        told: &mut Vec<Event>,
    ) {
        let here = (cpu.regs.rip, cpu.regs.get(Reg::Rsp));
        self.close(here, cpu, told);
        if let Some(probe) = self.entries.get(&here.0)
            && let Some(back) = word(here.1)
        {
            let args = [Reg::Rdi, Reg::Rsi, Reg::Rdx, Reg::Rcx].map(|reg| cpu.regs.get(reg));
            if *probe == Probe::Bounce {
                told.push(bounced(args));
            } else {
                let back = (back, here.1.wrapping_add(8));
                self.enter(
                    Open { probe: *probe, args, back, before: cpu.instructions(), inner: 0 },
                    cpu,
                );
            }
        }
    }

    /// A probed function was entered.
    fn enter(&mut self, open: Open, cpu: &mut Cpu) {
        let place = open.back.0;
        if !self.returns.contains(&place) {
            if self.returns.len() == RETURNS_MAX {
                return;
            }
            self.returns.insert(place);
            cpu.break_at(place);
        }
        // The same call from the same frame: the one before was left without returning.
        self.open.retain(|other| (other.probe, other.back) != (open.probe, open.back));
        if self.open.len() == DEPTH_MAX {
            self.open.remove(0);
        }
        self.open.push(open);
    }

    /// A return to `here`: of the innermost call that returns there, and of those that tail-called
    /// it. What is open above it was left without returning.
    fn close(&mut self, here: (u64, u64), cpu: &Cpu, told: &mut Vec<Event>) {
        let Some(innermost) = self.open.iter().rposition(|open| open.back == here) else {
            return;
        };
        self.open.truncate(innermost + 1);
        let mut inner = 0;
        while let Some(open) = self.open.pop_if(|open| open.back == here) {
            let all = cpu.instructions() - open.before;
            inner += open.inner;
            told.extend(returned(&open, cpu.regs.get(Reg::Rax), all.saturating_sub(inner)));
            inner = if open.probe.has_instructions() { all } else { inner };
        }
        if let Some(outer) = self.open.last_mut() {
            outer.inner += inner;
        }
    }
}

impl Probe {
    /// Whether its event says how many instructions it took.
    const fn has_instructions(self) -> bool {
        match self {
            Self::Decide | Self::Map | Self::Unmap => true,
            Self::Alloc | Self::Free | Self::Bounce => false,
        }
    }
}

fn bounced([slot, original, bytes, back]: [u64; 4]) -> Event {
    Event::Bounce { slot, original, bytes, back: back != 0 }
}

/// What a call tells that returned `value` after so many `instructions` of its own.
fn returned(open: &Open, value: u64, instructions: u64) -> Option<Event> {
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
