//! Which handlers the later general-purpose instructions have (`exec/extension.rs`).

use super::Lowered;
use super::operand::{Kind, bits, kind, set_memory};
use crate::exec::extension::*;
use crate::exec::muldiv::DstValue;
use crate::exec::{Imm, Mem, Src};
use crate::uop::{Meaning, Uop, nothing};
use crate::width::with_width;
use iced_x86::{Code, Instruction, Mnemonic};

/// What the operand besides destination and source is.
enum Other {
    None,
    /// The register that VEX encodes, or an immediate, is operand number so-and-so.
    Number(u32),
    Destination,
}

pub(super) fn lower(i: &Instruction) -> Option<Lowered> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other families' mnemonics")]
    match i.mnemonic() {
        Mnemonic::Popcnt => extended::<Popcnt>(i, 1, Other::None),
        Mnemonic::Lzcnt => extended::<Lzcnt>(i, 1, Other::None),
        Mnemonic::Tzcnt => extended::<Tzcnt>(i, 1, Other::None),
        Mnemonic::Blsr => extended::<Blsr>(i, 1, Other::None),
        Mnemonic::Blsmsk => extended::<Blsmsk>(i, 1, Other::None),
        Mnemonic::Blsi => extended::<Blsi>(i, 1, Other::None),
        Mnemonic::Andn => extended::<Andn>(i, 2, Other::Number(1)),
        Mnemonic::Pext => extended::<Pext>(i, 2, Other::Number(1)),
        Mnemonic::Pdep => extended::<Pdep>(i, 2, Other::Number(1)),
        Mnemonic::Bextr => extended::<Bextr>(i, 1, Other::Number(2)),
        Mnemonic::Bzhi => extended::<Bzhi>(i, 1, Other::Number(2)),
        Mnemonic::Shlx => extended::<Shlx>(i, 1, Other::Number(2)),
        Mnemonic::Sarx => extended::<Sarx>(i, 1, Other::Number(2)),
        Mnemonic::Shrx => extended::<Shrx>(i, 1, Other::Number(2)),
        Mnemonic::Rorx => extended::<Rorx>(i, 1, Other::Number(2)),
        Mnemonic::Adcx => extended::<Adcx>(i, 1, Other::Destination),
        Mnemonic::Adox => extended::<Adox>(i, 1, Other::Destination),
        Mnemonic::Mulx => mulx(i),
        Mnemonic::Movbe => movbe(i),
        Mnemonic::Crc32 => crc32(i),
        _ => None,
    }
}

/// Fills the source in; whether it is memory.
fn source(uop: &mut Uop, i: &Instruction, number: u32) -> Option<bool> {
    match kind(i, number)? {
        Kind::Reg(register, _) => {
            uop.src = register;
            Some(false)
        }
        Kind::Mem => {
            set_memory(uop, i)?;
            Some(true)
        }
        Kind::Imm(_) => None,
    }
}

/// The register of operand `number`.
fn register(i: &Instruction, number: u32) -> Option<u8> {
    match kind(i, number)? {
        Kind::Reg(register, _) => Some(register),
        Kind::Mem | Kind::Imm(_) => None,
    }
}

fn meaning<O: Extension>(size: u32, memory: bool, other: &Other, immediate: bool) -> Meaning {
    with_width!(size, T => match (memory, other) {
        (false, Other::Number(_)) if immediate => extension::<O, T, Src, Imm> as Meaning,
        (true, Other::Number(_)) if immediate => extension::<O, T, Mem, Imm>,
        (false, Other::None | Other::Number(_)) => extension::<O, T, Src, Third>,
        (true, Other::None | Other::Number(_)) => extension::<O, T, Mem, Third>,
        (false, Other::Destination) => extension::<O, T, Src, DstValue>,
        (true, Other::Destination) => extension::<O, T, Mem, DstValue>,
    })
}

/// A form whose source is operand `rm`.
fn extended<O: Extension>(i: &Instruction, rm: u32, other: Other) -> Option<Lowered> {
    let mut lowered = Lowered::plain(i, nothing);
    lowered.uop.dst = register(i, 0)?;
    let memory = source(&mut lowered.uop, i, rm)?;
    let mut immediate = false;
    if let Other::Number(number) = other {
        match kind(i, number)? {
            Kind::Reg(register, _) => lowered.uop.small = register.into(),
            Kind::Imm(value) => {
                lowered.uop.small = value as i32;
                immediate = true;
            }
            Kind::Mem => return None,
        }
    }
    lowered.uop.meaning = meaning::<O>(bits(i, 0)?, memory, &other, immediate);
    lowered.reads = super::ALL_FLAGS;
    Some(lowered)
}

fn mulx(i: &Instruction) -> Option<Lowered> {
    let mut lowered = Lowered::plain(i, nothing);
    lowered.uop.dst = register(i, 0)?;
    lowered.uop.small = register(i, 1)?.into();
    let memory = source(&mut lowered.uop, i, 2)?;
    lowered.uop.meaning = with_width!(bits(i, 0)?, T => if memory {
        multiply_without_flags::<T, Mem> as Meaning
    } else {
        multiply_without_flags::<T, Src>
    });
    Some(lowered)
}

fn movbe(i: &Instruction) -> Option<Lowered> {
    if !matches!(i.code(), Code::Movbe_m16_r16 | Code::Movbe_m32_r32 | Code::Movbe_m64_r64) {
        return extended::<Movbe>(i, 1, Other::None);
    }
    let mut lowered = Lowered::plain(i, nothing);
    lowered.uop.src = register(i, 1)?;
    set_memory(&mut lowered.uop, i)?;
    lowered.uop.meaning = with_width!(bits(i, 1)?, T => store_swapped::<T> as Meaning);
    Some(lowered)
}

fn crc32(i: &Instruction) -> Option<Lowered> {
    let mut lowered = Lowered::plain(i, nothing);
    lowered.uop.dst = register(i, 0)?;
    let memory = source(&mut lowered.uop, i, 1)?;
    lowered.uop.meaning = with_width!(bits(i, 1)?, T => if memory {
        checksum::<T, Mem> as Meaning
    } else {
        checksum::<T, Src>
    });
    Some(lowered)
}
