//! Control words, and memory that instructions read as a structure.

use crate::common::Random;
use crate::numbers::extended;
use crate::record::{Record, fx};
use iced_x86::{Instruction, Mnemonic};

/// The x87 status word's fields (SDM volume 1, 8.1.3).
pub mod status {
    pub const EXCEPTIONS: u16 = 0x3f;
    pub const STACK_FAULT: u16 = 0x40;
    pub const SUMMARY: u16 = 0x80;
    pub const CONDITIONS: u16 = 0x4700;
    pub const C1: u16 = 1 << 9;
    pub const BUSY: u16 = 0x8000;
}

/// MXCSR: any rounding, DAZ and FTZ, some flags; now and then some exceptions unmasked.
pub fn mxcsr(random: &mut Random) -> u32 {
    let control = random.next() as u32 & 0xe060;
    let masks = if random.chance(4) { random.next() as u32 & 0x1f80 } else { 0x1f80 };
    let flags = if random.chance(4) { random.next() as u32 & 0x3f } else { 0 };
    control | masks | flags
}

/// A control word: rounding, precision (the reserved one excluded), masks.
pub fn control_word(random: &mut Random) -> u16 {
    if random.chance(3) {
        return 0x37f;
    }
    let precision = [0, 2, 3, 3][random.below(4) as usize] << 8;
    let rounding = (random.below(4) as u16) << 10;
    let masks = if random.chance(3) { random.next() as u16 & 0x3f } else { 0x3f };
    0x40 | precision | rounding | masks
}

/// A status word that goes with `control`: an exception is pending only now and then.
fn status_word(control: u16, random: &mut Random) -> u16 {
    use status::{BUSY, CONDITIONS, EXCEPTIONS, STACK_FAULT, SUMMARY};
    let any = random.next() as u16;
    let mut word = any & (CONDITIONS | 7 << 11);
    if random.chance(3) {
        word |= any & (EXCEPTIONS | STACK_FAULT);
        if !random.chance(16) {
            word &= !EXCEPTIONS | control;
        }
    }
    if word & !control & EXCEPTIONS != 0 { word | SUMMARY | BUSY } else { word }
}

/// The words of x87 that are not its registers.
pub fn x87_control(start: &mut Record, random: &mut Random) {
    let control = control_word(random);
    start.set_fx_u16(fx::CONTROL, control);
    let status = status_word(control, random);
    start.set_fx_u16(fx::STATUS, status);
    start.fx[fx::TAGS] = match random.below(4) {
        0 => random.next() as u8,
        1 => 0,
        _ => 0xff,
    };
}

/// Fills in what loads of whole states read.
pub fn tune(instruction: &Instruction, start: &mut Record, random: &mut Random) {
    if instruction.mnemonic() == Mnemonic::Ldmxcsr {
        everywhere(start, 4, |random| mxcsr(random).to_le_bytes(), random);
    }
}

/// A number of 80 bits, or eighteen decimal digits.
pub fn ten_bytes(instruction: &Instruction, start: &mut Record, at: u64, random: &mut Random) {
    let mut bytes: [u8; 10] =
        std::array::from_fn(|_| (random.below(10) + 16 * random.below(10)) as u8);
    if instruction.mnemonic() != Mnemonic::Fbld {
        bytes.copy_from_slice(&extended(random).to_le_bytes()[..10]);
    } else if random.chance(4) {
        bytes[1..9].fill(0);
    }
    start.poke(at, &bytes);
}

/// Makes a saved state at `at` one that may be loaded; whether the instruction loads such.
pub fn fill(instruction: &Instruction, start: &mut Record, at: u64, random: &mut Random) -> bool {
    let (control, words) = (control_word(random), random.next().to_le_bytes());
    let status = status_word(control, random).to_le_bytes();
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others load no state")]
    match instruction.mnemonic() {
        Mnemonic::Fldcw if random.chance(2) => start.poke(at, &control.to_le_bytes()),
        Mnemonic::Fldenv | Mnemonic::Frstor => {
            let step = if matches!(instruction.memory_size().size(), 14 | 94) { 2 } else { 4 };
            start.poke(at, &control.to_le_bytes());
            start.poke(at + step, &status);
            start.poke(at + 2 * step, &words[..2]);
        }
        Mnemonic::Fxrstor | Mnemonic::Fxrstor64 | Mnemonic::Xrstor | Mnemonic::Xrstor64 => {
            start.poke(at, &control.to_le_bytes());
            start.poke(at + 2, &status);
            start.poke(at + 4, &words[..1]);
            if !random.chance(8) {
                start.poke(at + 24, &mxcsr(random).to_le_bytes());
            }
            let mut header = [0; 64];
            header[0] = random.below(4) as u8;
            // Now and then a byte that must be zero, in the part of the header that all check.
            if random.chance(8) {
                header[8 + random.below(16) as usize] = 1;
            }
            start.poke(at + 512, &header);
        }
        _ => return false,
    }
    true
}

/// Repeats what `make` makes all over the data, wherever an operand may be.
fn everywhere<const N: usize>(
    start: &mut Record,
    step: usize,
    make: impl Fn(&mut Random) -> [u8; N],
    random: &mut Random,
) {
    let end = start.data.len() - N;
    for at in (0..=end).step_by(step) {
        start.data[at..at + N].copy_from_slice(&make(random));
    }
}
