//! Decode and execute: any code in any state. It never panics, keeps to its budget, and ends the
//! same in slices of any size.

use super::cpu_rig::{CODE, DATA, PAGE, RAM_BYTES, Ram, STACK, TABLES};
use arbitrary::{Result, Unstructured};
use std::cell::Cell;
use std::collections::BTreeSet;
use ultravisor_abi::Gpa;
use ultravisor_cpu::{Access, Cpu, Exit, Page, Reg};

/// Work units of one run.
const UNITS: u64 = 128;
/// Longest code.
const CODE_BYTES_MAX: usize = 1024;
/// A bit of RFLAGS that always reads as zero: in the input it says that the code is 32-bit code.
const RESERVED_FLAG: u64 = 1 << 15;
/// Behind the code: INT3 ends a run that falls out of it.
const END: [u8; 16] = [0xcc; 16];
/// A page that is away until it is asked for.
const AWAY: u64 = DATA + 0x1000;
/// A page of registers.
const REGISTERS: u64 = DATA + 0x3000;

/// A machine that is used again for every input: making one costs more than a run.
struct Bench {
    cpu: Cpu,
    ram: Ram,
    written: BTreeSet<u64>,
}

/// What a run leaves behind, but for memory.
#[derive(Debug, PartialEq)]
struct Left {
    exit: Option<Exit>,
    regs: ultravisor_cpu::Regs,
    rflags: u64,
    instructions: u64,
    units: u64,
}

/// How a run begins.
struct Start<'a> {
    registers: [u64; 16],
    rflags: u64,
    /// In 32-bit protected mode without paging.
    narrow: bool,
    code: &'a [u8],
}

impl Bench {
    fn new() -> Self {
        Self { cpu: Cpu::new(), ram: Ram::identity(), written: BTreeSet::new() }
    }

    /// As if nothing had been run on it.
    fn cleared(mut self, pristine: &Ram) -> Self {
        for page in std::mem::take(&mut self.written) {
            self.ram.write(page, pristine.read(page, PAGE as usize));
        }
        Self { cpu: self.cpu.renewed(), ..self }
    }

    fn load(&mut self, start: &Start<'_>) {
        if start.narrow {
            self.cpu.enter_protected_mode(CODE as u32);
        } else {
            self.cpu.enter_long_mode(TABLES, CODE, STACK);
        }
        for (reg, value) in Reg::ALL.into_iter().zip(start.registers) {
            self.cpu.regs.set(reg, value);
        }
        // Vectors are made of the same numbers, so that code has something to compute with.
        let halves = start.registers.iter().zip(start.registers.iter().rev());
        for (xmm, (low, high)) in self.cpu.regs.xmm.iter_mut().zip(halves) {
            *xmm = u128::from(*high) << 64 | u128::from(*low);
        }
        self.cpu.set_rflags(start.rflags);
        self.ram.write(CODE, start.code);
        self.ram.write(CODE + start.code.len() as u64, &END);
        self.ram.write(DATA, start.code);
        self.written.extend([CODE, DATA]);
        self.ram.special = [(AWAY, Page::Away), (REGISTERS, Page::Mmio)].into();
    }

    /// Runs to an end in slices of `units`.
    fn run(&mut self, start: &Start<'_>, units: u64) -> Left {
        self.load(start);
        let mut end = None;
        while self.cpu.units() < UNITS && end.is_none() {
            let before = self.cpu.units();
            let slice = units.min(UNITS - before);
            let exit = self.cpu.run(&mut self.ram, slice);
            assert!(self.cpu.units() <= before + slice, "more units than were given");
            assert!(exit != Exit::Budget || self.cpu.units() == before + slice);
            end = self.answer(exit);
        }
        let asked = self.ram.asked.drain(..);
        let stored = asked.filter(|(page, access)| *access == Access::Write && *page < RAM_BYTES);
        self.written.extend(stored.map(|(page, _)| page));
        let (cpu, regs) = (&self.cpu, self.cpu.regs.clone());
        let (rflags, instructions, units) = (cpu.rflags(), cpu.instructions(), cpu.units());
        Left { exit: end, regs, rflags, instructions, units }
    }

    /// What a machine would do about an exit. *Returns* it if that is to end the run.
    fn answer(&mut self, exit: Exit) -> Option<Exit> {
        match exit {
            Exit::Budget | Exit::Halt | Exit::Pause | Exit::Call => {}
            Exit::PortWrite { .. } | Exit::MmioWrite { .. } => {}
            Exit::MsrWrite { number, .. } if number & 1 != 0 => self.cpu.refuse(),
            Exit::MsrWrite { .. } => self.cpu.supply(0),
            Exit::TimeStamp | Exit::Random => self.cpu.supply(self.cpu.units()),
            Exit::PortRead { .. } | Exit::MsrRead { .. } | Exit::MmioRead { .. } => {
                self.cpu.supply(self.cpu.units() ^ 0x5a5a);
            }
            Exit::Memory { gpa, .. } => {
                let page = gpa.0 & !(PAGE - 1);
                assert!(self.ram.special.remove(&page).is_some(), "{gpa:?} was not away");
                self.cpu.forget(Gpa(page), PAGE);
            }
            Exit::Breakpoint
            | Exit::Interrupt { .. }
            | Exit::Exception { .. }
            | Exit::Shutdown { .. }
            | Exit::Unsupported { .. } => return Some(exit),
        }
        None
    }
}

fn register(u: &mut Unstructured<'_>) -> Result<u64> {
    let word = u64::from(u.arbitrary::<u16>()?);
    Ok(match u.arbitrary::<u8>()? {
        0..=95 => DATA + (word & 0x3fff),
        96..=127 => word & 0x3f,
        128..=159 => CODE + (word & 0xfff),
        160..=191 => STACK + (word & 0xfff),
        192..=223 => word << 48 | word,
        _ => u.arbitrary()?,
    })
}

/// Registers, flags, and the size of the slices. A flag that no code starts with says that it is 32-bit
/// code.
fn begin(u: &mut Unstructured<'_>) -> Result<([u64; 16], u64, u64)> {
    let mut registers = [0; 16];
    for value in &mut registers {
        *value = register(u)?;
    }
    if u.ratio(3, 4)? {
        registers[Reg::Rsp as usize] = STACK;
    }
    Ok((registers, u.arbitrary::<u16>()?.into(), u.int_in_range(1..=40)?))
}

/// A state, the size of the slices, then code.
pub fn run(data: &[u8]) {
    thread_local! {
        static BENCHES: Cell<Option<[Bench; 2]>> = const { Cell::new(None) };
        static PRISTINE: Ram = Ram::identity();
    }
    let mut u = Unstructured::new(data);
    let Ok((registers, rflags, slice)) = begin(&mut u) else { return };
    let rest = u.take_rest();
    let narrow = rflags & RESERVED_FLAG != 0;
    let start = Start { registers, rflags, narrow, code: &rest[..rest.len().min(CODE_BYTES_MAX)] };
    let benches = BENCHES.take().unwrap_or_else(|| [Bench::new(), Bench::new()]);
    let [mut whole, mut parts] =
        PRISTINE.with(|pristine| benches.map(|bench| bench.cleared(pristine)));
    let at_once = whole.run(&start, UNITS);
    assert_eq!(parts.run(&start, slice), at_once, "in slices of {slice}");
    for page in whole.written.union(&parts.written) {
        let [one, other] = [&whole, &parts].map(|bench| bench.ram.read(*page, PAGE as usize));
        assert!(one == other, "page {page:#x}, in slices of {slice}");
    }
    BENCHES.set(Some([whole, parts]));
}
