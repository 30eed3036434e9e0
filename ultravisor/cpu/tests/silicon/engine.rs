//! The engine's side: the same pages at the same addresses, the same records.

use crate::common::{NO_EXECUTE, PRESENT, Ram, TABLES, USER, WRITABLE};
use crate::record::{
    CODE, CODE_MAX, DATA, DATA_END, ENTRY, FLAT, GS_BASE, GS_LIMIT, LIMITED, PAGE, READ_ONLY,
    Record, Trap, WINDOW, fx,
};
use std::ops::Range;
use ultravisor_abi::Gpa;
use ultravisor_cpu::{Attributes, Cpu, Exit, Reg, Seg, Segment, control, flag};

/// Where the code page is in guest-physical memory.
const CODE_AT: u64 = 0x10_0000;
/// Where the data pages are.
const DATA_AT: u64 = 0x20_0000;
/// Where ring 0's page is: what it takes to get to ring 3, where the processor's side runs.
const KERNEL: u64 = 0x7000_0000;
const KERNEL_AT: u64 = 0x30_0000;
const UNITS_MAX: u64 = 2000;

/// A guest.
pub struct Engine {
    cpu: Cpu,
    ram: Ram,
}

/// How the engine ended a run otherwise than by an exception.
#[derive(Debug)]
pub struct Unexpected(pub Exit);

/// Leaves ring 0, as a kernel does: by IRETQ.
fn go_to_ring_3(cpu: &mut Cpu, ram: &mut Ram) {
    const IRETQ: [u8; 2] = [0x48, 0xcf];
    const TABLE: u64 = 0x100;
    const STACK: u64 = 0x200;
    const USER_CODE: u64 = 8 | 3;
    const USER_DATA: u64 = 16 | 3;
    ram.map(KERNEL, KERNEL_AT, PRESENT | WRITABLE);
    ram.write(KERNEL_AT, &IRETQ);
    let table = [0, 0x00af_fb00_0000_ffff, 0x00cf_f300_0000_ffff];
    let frame = [ENTRY, USER_CODE, flag::ALWAYS, 0, USER_DATA];
    for (start, words) in [(TABLE, &table[..]), (STACK, &frame)] {
        for (at, &word) in (KERNEL_AT + start..).step_by(8).zip(words) {
            ram.write_u64(at, word);
        }
    }
    cpu.regs.gdtr = (KERNEL + TABLE, 23);
    cpu.regs.rip = KERNEL;
    cpu.regs.set(Reg::Rsp, KERNEL + STACK);
    let exit = cpu.run(ram, 1);
    assert_eq!((exit, cpu.level()), (Exit::Budget, 3));
}

/// What a segment register holds that is loaded with [`FLAT`] or [`LIMITED`].
fn segment(selector: u64) -> Segment {
    let attributes = Attributes::data(3);
    let flat = Segment { selector: FLAT, base: 0, limit: u32::MAX, attributes };
    if selector == u64::from(FLAT) {
        return flat;
    }
    Segment { selector: LIMITED, base: GS_BASE, limit: GS_LIMIT as u32, ..flat }
}

impl Engine {
    pub fn new() -> Self {
        let mut ram = Ram::new(4 << 20);
        ram.map(CODE, CODE_AT, PRESENT | WRITABLE | USER);
        for offset in (0..DATA_END - DATA).step_by(PAGE as usize) {
            let rights = if DATA + offset == READ_ONLY { 0 } else { WRITABLE };
            ram.map(DATA + offset, DATA_AT + offset, rights | PRESENT | USER | NO_EXECUTE);
        }
        let mut cpu = Cpu::new();
        cpu.enter_long_mode(TABLES, ENTRY, 0);
        cpu.regs.cr4 |= control::OSXSAVE;
        cpu.regs.efer |= control::SCE;
        go_to_ring_3(&mut cpu, &mut ram);
        cpu.regs.set_segment(Seg::Gs, segment(LIMITED.into()));
        cpu.regs.set_segment(Seg::Fs, Segment::default());
        cpu.regs.set_segment(Seg::Ss, segment(FLAT.into()));
        Self { cpu, ram }
    }

    /// Runs `start` to the exception that ends it.
    pub fn run(&mut self, start: &Record) -> Result<Record, Unexpected> {
        self.put(start);
        let exit = self.cpu.run(&mut self.ram, UNITS_MAX);
        let Exit::Exception { vector, error, address } = exit else {
            self.ram.write(DATA_AT, &[0; (READ_ONLY - DATA) as usize]);
            return Err(Unexpected(exit));
        };
        let trap = Trap {
            vector: vector.into(),
            error: error.unwrap_or(0).into(),
            address: address.unwrap_or(0),
        };
        Ok(self.take(start, trap))
    }

    fn put(&mut self, start: &Record) {
        self.ram.write(CODE_AT, &[0xcc; PAGE as usize]);
        self.ram.write(CODE_AT + (ENTRY - CODE), &start.code);
        self.cpu.forget_code(Gpa(CODE_AT), PAGE);
        if let Some(window) = window(start) {
            self.ram.write(window.start, &start.data);
        }
        let regs = &mut self.cpu.regs;
        let attributes =
            if start.is_narrow() { Attributes::code_32(3) } else { Attributes::code_64(3) };
        let selector = start.code_segment as u16;
        regs.set_segment(Seg::Cs, Segment { selector, base: 0, limit: u32::MAX, attributes });
        for register in [Seg::Ds, Seg::Es] {
            regs.set_segment(register, segment(start.data_segment));
        }
        for (reg, value) in Reg::ALL.into_iter().zip(start.gpr) {
            regs.set(reg, value);
        }
        regs.rip = start.rip;
        regs.xmm = std::array::from_fn(|number| start.xmm(number));
        regs.mxcsr = start.mxcsr();
        regs.xcr0 = 3;
        regs.x87.set_control(start.fx_u16(fx::CONTROL));
        regs.x87.set_status(start.fx_u16(fx::STATUS));
        (0..8).for_each(|number| regs.x87.set_st(number, start.st(number.into())));
        regs.x87.full = start.fx[fx::TAGS];
        self.cpu.set_rflags(start.rflags);
    }

    fn take(&mut self, start: &Record, trap: Trap) -> Record {
        let mut end = start.clone();
        let regs = &self.cpu.regs;
        end.gpr = regs.gpr.values();
        end.rip = regs.rip;
        end.rflags = self.cpu.rflags();
        for (number, &value) in regs.xmm.iter().enumerate() {
            end.set_xmm(number, value);
        }
        end.set_mxcsr(regs.mxcsr);
        end.set_fx_u16(fx::CONTROL, regs.x87.control);
        end.set_fx_u16(fx::STATUS, regs.x87.status);
        (0..8).for_each(|number| end.set_st(number.into(), regs.x87.st(number)));
        end.fx[fx::TAGS] = regs.x87.full;
        end.trap = trap;
        if let Some(window) = window(start) {
            end.data.copy_from_slice(self.ram.read(window.start, WINDOW));
            self.ram.write(window.start, &[0; WINDOW]);
        }
        let rest = self.ram.read(DATA_AT, (READ_ONLY - DATA) as usize);
        let stray = rest.iter().any(|&byte| byte != 0);
        if stray {
            self.ram.write(DATA_AT, &[0; (READ_ONLY - DATA) as usize]);
        }
        end.stray = stray.into();
        end
    }
}

/// Where the record's data lies in guest-physical memory, unless it is not to be written.
fn window(record: &Record) -> Option<Range<u64>> {
    let start = record.window.checked_sub(DATA)?;
    let end = start + WINDOW as u64;
    (end <= READ_ONLY - DATA).then_some(DATA_AT + start..DATA_AT + end)
}

const _: () = assert!(ENTRY + (CODE_MAX as u64) < CODE + PAGE, "a snippet ends in its page");
