//! Random bytes as code: no panic, no budget exceeded, and the same however it is sliced. Random
//! programs: the fast way leaves what the plain one does.

mod common;

use common::{CODE, DATA, Ram, Random, STACK, TABLES, machine, programs};
use ultravisor_cpu::{Cpu, Exit, Reg, Seg, Segment};

const PROGRAMS: u64 = 500;
const BYTES: usize = 600;
const UNITS: u64 = 400;

/// Bytes that decode to something supported more often than chance.
fn program(random: &mut Random) -> Vec<u8> {
    const LIKELY: [&[u8]; 16] = [
        &[0x48, 0x01],
        &[0x48, 0x29],
        &[0x0f, 0xaf],
        &[0x48, 0xff, 0xc1],
        &[0x75],
        &[0x74],
        &[0x50],
        &[0x58],
        &[0x85, 0xc0],
        &[0x48, 0x39],
        &[0xf3, 0xaa],
        &[0xf3, 0xa4],
        &[0x48, 0x8d],
        &[0xc1, 0xe0],
        &[0x11, 0xd8],
        &[0x0f, 0x94],
    ];
    let mut bytes = Vec::new();
    while bytes.len() < BYTES {
        match random.below(4) {
            0 => bytes.push(random.next() as u8),
            1 => bytes.extend([0xc0 | random.next() as u8 & 0x3f]),
            _ => bytes.extend(LIKELY[random.below(16) as usize]),
        }
    }
    bytes
}

/// How a run ended, registers, flags, instructions, and memory.
type Left = (Option<Exit>, Vec<u64>, u64, u64, Vec<u8>);

/// What a run of `code` leaves, in slices of `units`.
fn outcome(code: &[u8], seed: u64, units: u64) -> Left {
    let (mut cpu, mut ram) = machine(code);
    outcome_on(&mut cpu, &mut ram, seed, units)
}

/// The same of 32-bit code, whose DS ends in the middle of the data if it is `limited`.
fn outcome_of_32_bits(code: &[u8], seed: u64, units: u64, limited: bool) -> Left {
    let mut ram = Ram::identity();
    ram.write(CODE, code);
    let mut cpu = Cpu::new();
    cpu.enter_protected_mode(CODE as u32);
    if limited {
        let all = cpu.regs.segment(Seg::Ds);
        cpu.regs.set_segment(Seg::Ds, Segment { base: 4, limit: DATA as u32 + 0x7ff, ..all });
    }
    outcome_on(&mut cpu, &mut ram, seed, units)
}

fn outcome_on(cpu: &mut Cpu, ram: &mut Ram, seed: u64, units: u64) -> Left {
    let mut random = Random(seed);
    for reg in Reg::ALL {
        cpu.regs.set(reg, DATA + random.below(0x1000));
    }
    cpu.regs.set(Reg::Rsp, STACK);
    cpu.regs.set(Reg::Rcx, random.below(40));
    let mut end = None;
    while cpu.units() < UNITS && end.is_none() {
        let before = cpu.units();
        let slice = units.min(UNITS - before);
        match cpu.run(ram, slice) {
            Exit::Budget => assert_eq!(cpu.units(), before + slice),
            Exit::Halt | Exit::Pause | Exit::Call => {}
            Exit::TimeStamp => cpu.supply(cpu.units()),
            Exit::PortRead { .. } | Exit::MsrRead { .. } | Exit::MmioRead { .. } => {
                cpu.supply(cpu.units() ^ 0x5a5a)
            }
            Exit::PortWrite { .. } | Exit::MmioWrite { .. } => {}
            Exit::MsrWrite { number, .. } if number & 1 != 0 => cpu.refuse(),
            Exit::MsrWrite { .. } => cpu.supply(0),
            other @ (Exit::Memory { .. }
            | Exit::Random
            | Exit::Breakpoint
            | Exit::Interrupt { .. }
            | Exit::Exception { .. }
            | Exit::Shutdown { .. }
            | Exit::Unsupported { .. }) => end = Some(other),
        }
        assert!(cpu.units() <= before + slice, "budget exceeded");
    }
    let memory = [(CODE, 0x1000), (DATA, 0x3000), (STACK - 0x2000, 0x4000)]
        .map(|(start, bytes)| ram.read(start, bytes))
        .concat();
    let mut state = cpu.regs.gpr.values().to_vec();
    state.push(cpu.regs.rip);
    (end, state, cpu.rflags(), cpu.instructions(), memory)
}

#[test]
fn random_code_ends_the_same_however_it_is_sliced() {
    slices_do_not_show(PROGRAMS, outcome);
}

#[test]
fn random_32_bit_code_ends_the_same_however_it_is_sliced() {
    for limited in [false, true] {
        slices_do_not_show(PROGRAMS / 2, |code, seed, units| {
            outcome_of_32_bits(code, seed, units, limited)
        });
    }
}

fn slices_do_not_show(programs: u64, outcome: impl Fn(&[u8], u64, u64) -> Left) {
    let mut random = Random(99);
    let mut long = 0;
    for number in 0..programs {
        let code = program(&mut random);
        let seed = random.next();
        let whole = outcome(&code, seed, UNITS);
        long += u64::from(whole.3 > 20);
        for units in [1, 3, 17] {
            let parts = outcome(&code, seed, units);
            assert_eq!(parts.0, whole.0, "program {number} in slices of {units}");
            assert_eq!(parts.1, whole.1, "program {number} in slices of {units}");
            assert_eq!(parts.2, whole.2, "flags of program {number} in slices of {units}");
            assert_eq!(parts.3, whole.3, "program {number} in slices of {units}");
            assert!(parts.4 == whole.4, "memory of program {number} in slices of {units}");
        }
    }
    assert!(long > programs / 20, "only {long} programs got anywhere");
}

/// All that a program can have changed.
fn state(cpu: &Cpu, ram: &Ram) -> (Vec<u64>, u64, u64, u64, Vec<u8>) {
    let memory = [ram.read(DATA, programs::REACH as usize), ram.read(STACK - 0x400, 0x400)];
    let registers = cpu.regs.gpr.values().to_vec();
    (registers, cpu.regs.rip, cpu.rflags(), cpu.instructions(), memory.concat())
}

/// The plain way is one unit at a time: each instruction decoded by itself and executed alone,
/// with all its flags, nothing fused, no block led to from another.
#[test]
fn the_fast_way_leaves_what_the_plain_one_does_wherever_it_stops() {
    const UNITS: u64 = 1500;
    let mut random = Random(7);
    let mut stops = 0;
    for number in 0..60 {
        let code = common::assemble(|a| programs::write(a, &mut random));
        let (mut fast, mut fast_ram) = machine(&code);
        let (mut plain, mut plain_ram) = machine(&code);
        while fast.units() < UNITS {
            let most = if random.chance(2) { 12 } else { 400 };
            let units = 1 + random.below(most);
            assert_eq!(fast.run(&mut fast_ram, units), Exit::Budget, "program {number}");
            while plain.units() < fast.units() {
                assert_eq!(plain.run(&mut plain_ram, 1), Exit::Budget, "program {number}");
            }
            let (left, wanted) = (state(&fast, &fast_ram), state(&plain, &plain_ram));
            assert!(left == wanted, "program {number} after {} units", fast.units());
            stops += 1;
        }
    }
    assert!(stops > 500, "only {stops} stops");
}

#[test]
fn a_renewed_cpu_runs_as_a_new_one() {
    let mut random = Random(7);
    let (mut used, mut rams) = (Cpu::new(), Vec::new());
    for number in 0..PROGRAMS / 5 {
        let code = program(&mut random);
        let seed = random.next();
        let mut ram = Ram::identity();
        ram.write(CODE, &code);
        used = used.renewed();
        used.enter_long_mode(TABLES, CODE, STACK);
        let left = outcome_on(&mut used, &mut ram, seed, UNITS);
        assert!(left == outcome(&code, seed, UNITS), "program {number}: {:x?}", left.1);
        // An answer that nobody takes, a breakpoint, and memory that is not to be looked at again.
        used.supply(number);
        used.break_at(CODE + 3);
        rams.push(ram);
    }
}
