//! A machine with descriptor tables, a task-state segment and pages for ring 3.

use crate::common::{CODE, DATA, PAGE, PRESENT, Ram, STACK, USER, WRITABLE, machine};
use ultravisor_cpu::{Attributes, Cpu, Exit, Reg, Seg, Segment};

/// Where the global descriptor table is.
pub const GDT: u64 = DATA + 0x2_0000;
/// Where the local descriptor table is.
pub const LDT: u64 = DATA + 0x2_1000;
/// Where the task-state segment is.
pub const TSS: u64 = DATA + 0x2_2000;
/// The stack for ring 0 in the task-state segment.
pub const RSP0: u64 = DATA + 0x2_5000;
/// A page of code that ring 3 may execute.
pub const USER_CODE: u64 = CODE + 0x2_0000;
/// The top of a stack of ring 3.
pub const USER_STACK: u64 = DATA + 0x3_0000;

/// Selectors of the global table.
pub mod sel {
    pub const KERNEL_CODE: u16 = 0x08;
    pub const KERNEL_DATA: u16 = 0x10;
    pub const USER_DATA: u16 = 0x18 | 3;
    pub const USER_CODE: u16 = 0x20 | 3;
    pub const CONFORMING: u16 = 0x28;
    pub const READ_ONLY: u16 = 0x30;
    pub const ABSENT_DATA: u16 = 0x38;
    pub const EXECUTE_ONLY: u16 = 0x40;
    pub const COMPATIBILITY: u16 = 0x48;
    pub const TSS: u16 = 0x50;
    pub const LDT: u16 = 0x60;
    pub const GATE: u16 = 0x70 | 3;
    pub const ABSENT_CODE: u16 = 0x80;
    pub const BOTH_SIZES: u16 = 0x88;
    pub const KERNEL_GATE: u16 = 0x90;
    pub const SMALL: u16 = 0xa0;
    /// The last byte of the table.
    pub const LIMIT: u16 = 0xa7;
    /// The first entry of the local table.
    pub const LOCAL: u16 = 4;
}

/// Where [`sel::GATE`] leads.
pub const GATE_TARGET: u64 = CODE + 0x100;

/// A descriptor with base 0 and no limit to speak of.
pub const fn flat(type_and_level: u64, long: bool, big: bool) -> u64 {
    let sizes = (long as u64) << 53 | (big as u64) << 54 | 1 << 55;
    0x000f_0000_0000_ffff | type_and_level << 40 | sizes
}

/// The two halves of a system descriptor.
pub const fn wide(kind: u64, base: u64, limit: u64) -> [u64; 2] {
    let low = limit & 0xffff | (base & 0xff_ffff) << 16 | kind << 40 | (base >> 24 & 0xff) << 56;
    [low, base >> 32]
}

/// The two halves of a gate.
pub const fn gate(kind: u64, selector: u16, target: u64, stack: u64) -> [u64; 2] {
    let low = target & 0xffff | (selector as u64) << 16 | stack << 32 | kind << 40;
    [low | (target >> 16 & 0xffff) << 48, target >> 32]
}

/// [`sel::SMALL`]: data of `0x1234_5678` on, `0x9abc` the last byte, 16 bit, not granular.
pub const SMALL: u64 = 0x1240_9334_5678_9abc;

fn table() -> Vec<u64> {
    let mut table = vec![
        0,
        flat(0x9a, true, false),
        flat(0x92, false, true),
        flat(0xf2, false, true),
        flat(0xfa, true, false),
        flat(0x9e, true, false),
        flat(0x90, false, true),
        flat(0x12, false, true),
        flat(0x98, true, false),
        flat(0x9a, false, true),
    ];
    table.extend(wide(0x89, TSS, 0x2068));
    table.extend(wide(0x82, LDT, 0xf));
    table.extend(gate(0xec, sel::KERNEL_CODE, GATE_TARGET, 0));
    table.extend([flat(0x1a, true, false), flat(0x9a, true, true)]);
    table.extend(gate(0x8c, sel::KERNEL_CODE, GATE_TARGET, 0));
    table.push(SMALL);
    table
}

/// A machine with these tables whose ring 0 runs `code`; TR and LDTR are loaded.
pub fn world(code: &[u8]) -> (Cpu, Ram) {
    let (mut cpu, mut ram) = machine(code);
    for (at, entry) in (GDT..).step_by(8).zip(table()) {
        ram.write_u64(at, entry);
    }
    ram.write_u64(LDT, flat(0xf2, false, true));
    ram.write_u64(TSS + 4, RSP0);
    let user = PRESENT | WRITABLE | USER;
    for page in [USER_CODE, USER_STACK - PAGE, USER_STACK - 2 * PAGE] {
        ram.map(page, page, user);
    }
    cpu.regs.gdtr = (GDT, sel::LIMIT);
    let attributes = Attributes(0x8b);
    cpu.regs.tr = Segment { selector: sel::TSS, base: TSS, limit: 0x2068, attributes };
    let attributes = Attributes(0x82);
    cpu.regs.ldtr = Segment { selector: sel::LDT, base: LDT, limit: 0xf, attributes };
    (cpu, ram)
}

/// The same; ring 3 runs `code`, which is at [`USER_CODE`], by a far return of ring 0's.
pub fn user_world(code: &[u8]) -> (Cpu, Ram) {
    let (mut cpu, mut ram) = world(&[0x48, 0xcb]);
    ram.write(USER_CODE, code);
    let frame = [USER_CODE, sel::USER_CODE.into(), USER_STACK, sel::USER_DATA.into()];
    for (at, word) in (STACK..).step_by(8).zip(frame) {
        ram.write_u64(at, word);
    }
    assert_eq!(cpu.run(&mut ram, 1), Exit::Budget);
    assert_eq!((cpu.regs.rip, cpu.level()), (USER_CODE, 3));
    (cpu, ram)
}

/// An exception that nobody handles.
pub fn exception(vector: u8, error: impl Into<Option<u32>>) -> Exit {
    Exit::Exception { vector, error: error.into(), address: None }
}

/// The selectors of SS and CS.
pub fn stack_and_code(cpu: &Cpu) -> (u16, u16) {
    (cpu.regs.selector(Seg::Ss), cpu.regs.selector(Seg::Cs))
}

/// Sets several registers.
pub fn set<const N: usize>(cpu: &mut Cpu, values: [(Reg, u64); N]) {
    for (reg, value) in values {
        cpu.regs.set(reg, value);
    }
}
