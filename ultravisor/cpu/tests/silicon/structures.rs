//! Control words, and memory that instructions read as a structure.

use crate::common::Random;
use crate::record::{Record, fx};
use iced_x86::{Instruction, Mnemonic};

/// The x87 status word's fields (SDM volume 1, 8.1.3).
pub mod status {
    pub const EXCEPTIONS: u16 = 0x3f;
    pub const STACK_FAULT: u16 = 0x40;
    pub const SUMMARY: u16 = 0x80;
    pub const CONDITIONS: u16 = 0x4700;
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
