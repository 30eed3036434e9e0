//! PCMPESTRI and its kin: two strings of up to sixteen bytes or eight words compared in one of four
//! ways (SDM volume 2, 4.1), as pure functions.

use crate::flags::{bit, pack};

/// The fields of the immediate byte.
#[derive(Clone, Copy)]
struct Control(u8);

impl Control {
    fn words(self) -> bool {
        self.0 & 1 != 0
    }

    fn signed(self) -> bool {
        self.0 & 2 != 0
    }

    /// How many elements an operand has.
    fn elements(self) -> usize {
        if self.words() { 8 } else { 16 }
    }

    fn element(self, operand: u128, index: usize) -> i32 {
        match (self.words(), self.signed()) {
            (false, false) => i32::from((operand >> (8 * index)) as u8),
            (false, true) => i32::from((operand >> (8 * index)) as i8),
            (true, false) => i32::from((operand >> (16 * index)) as u16),
            (true, true) => i32::from((operand >> (16 * index)) as i16),
        }
    }

    /// The elements before the first that is zero.
    fn implicit_length(self, operand: u128) -> usize {
        let zero = |&index: &usize| self.element(operand, index) == 0;
        (0..self.elements()).find(zero).unwrap_or(self.elements())
    }

    /// A length from a register: its magnitude, cut to what there is.
    fn explicit_length(self, length: i64) -> usize {
        usize::try_from(length.unsigned_abs()).unwrap_or(usize::MAX).min(self.elements())
    }
}

/// What a comparison gives: a bit for each element of the second operand, and RFLAGS.
#[derive(Clone, Copy, Debug)]
pub struct Compared {
    matches: u16,
    control: u8,
    /// CF, ZF, SF and OF; AF and PF are clear.
    pub flags: u64,
}

/// Compares `a` and `b`, the lengths given by registers.
#[must_use]
pub fn explicit(a: u128, length_a: i64, b: u128, length_b: i64, control: u8) -> Compared {
    let fields = Control(control);
    compare(a, fields.explicit_length(length_a), b, fields.explicit_length(length_b), fields)
}

/// Compares `a` and `b`, each ended by a zero.
#[must_use]
pub fn implicit(a: u128, b: u128, control: u8) -> Compared {
    let fields = Control(control);
    compare(a, fields.implicit_length(a), b, fields.implicit_length(b), fields)
}

fn compare(a: u128, length_a: usize, b: u128, length_b: usize, control: Control) -> Compared {
    let count = control.elements();
    let at = |j: usize| element_matches(a, length_a, b, length_b, control, j);
    let found = (0..count).fold(0, |bits, j| bits | u16::from(at(j)) << j);
    let all = u16::MAX >> (16 - count);
    let valid = ((1_u32 << length_b) - 1) as u16;
    let matches = match control.0 >> 4 & 3 {
        0 | 2 => found,
        1 => !found & all,
        _ => found ^ valid,
    };
    let flags = pack([
        (matches != 0, bit::CF),
        (length_b < count, bit::ZF),
        (length_a < count, bit::SF),
        (matches & 1 != 0, bit::OF),
    ]);
    Compared { matches, control: control.0, flags }
}

/// Whether element `j` of `b` matches, by the way of comparing that the immediate says.
fn element_matches(
    a: u128,
    length_a: usize,
    b: u128,
    length_b: usize,
    control: Control,
    j: usize,
) -> bool {
    let (left, right) = (|i| control.element(a, i), |i| control.element(b, i));
    match control.0 >> 2 & 3 {
        // Any of the set `a`.
        0 => j < length_b && (0..length_a).any(|i| left(i) == right(j)),
        // In one of the ranges that `a` lists.
        1 => {
            let inside = |pair: usize| left(2 * pair) <= right(j) && right(j) <= left(2 * pair + 1);
            j < length_b && (0..length_a / 2).any(inside)
        }
        // Equal to its opposite; both past the end count as equal.
        2 => match (j < length_a, j < length_b) {
            (true, true) => left(j) == right(j),
            (false, false) => true,
            (true, false) | (false, true) => false,
        },
        // The string `a` starts here, or as much of it as there is room for.
        _ => (0..length_a)
            .take_while(|i| i + j < control.elements())
            .all(|i| i + j < length_b && left(i) == right(i + j)),
    }
}

impl Compared {
    /// The number of the first or last match (`pcmpestri`); how many there may be, if there is none.
    #[must_use]
    pub fn index(self) -> u64 {
        let none = Control(self.control).elements() as u64;
        match (self.matches, self.control >> 6 & 1) {
            (0, _) => none,
            (matches, 0) => matches.trailing_zeros().into(),
            (matches, _) => u64::from(15 - matches.leading_zeros()),
        }
    }

    /// The matches as a mask (`pcmpestrm`): of bits, or of whole elements.
    #[must_use]
    pub fn mask(self) -> u128 {
        let fields = Control(self.control);
        if self.control >> 6 & 1 == 0 {
            return self.matches.into();
        }
        let (width, ones) = if fields.words() { (16, 0xffff) } else { (8, 0xff) };
        (0..fields.elements())
            .filter(|i| self.matches >> i & 1 != 0)
            .fold(0, |out, i| out | ones << (width * i))
    }
}
