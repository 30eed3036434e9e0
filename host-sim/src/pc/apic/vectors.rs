//! Sets of interrupt vectors as a local APIC keeps them, and their classes.

/// The first vector that an interrupt may have: those below are illegal (SDM volume 3, 11.5.2).
pub const FIRST: u8 = 16;

/// A vector's class: an interrupt passes if its class is higher (SDM volume 3, 11.8.3).
pub const fn class(vector: u8) -> u8 {
    vector >> 4
}

/// Which of the 256 vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vectors([u32; 8]);

const fn place(vector: u8) -> (usize, u32) {
    (vector as usize / 32, 1 << (vector % 32))
}

impl Vectors {
    pub const fn contains(&self, vector: u8) -> bool {
        let (word, bit) = place(vector);
        self.0[word] & bit != 0
    }

    pub fn set(&mut self, vector: u8, is_in: bool) {
        let (word, bit) = place(vector);
        self.0[word] &= !bit;
        self.0[word] |= if is_in { bit } else { 0 };
    }

    /// The highest, which is the most urgent.
    pub fn highest(&self) -> Option<u8> {
        let (word, bits) = (0_u8..8).zip(self.0).rev().find(|(_, bits)| *bits != 0)?;
        Some(word * 32 + bits.ilog2() as u8)
    }

    /// 32 of them, as one register shows them: from 0 on.
    pub fn word(&self, number: u8) -> u32 {
        self.0.get(usize::from(number)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SDM volume 3, 11.8.4 (IRR, ISR, TMR).
    #[test]
    fn every_vector_is_in_a_place_of_its_own_and_the_highest_is_found() {
        let mut all = Vectors::default();
        assert_eq!(all.highest(), None);
        for vector in 0..=255 {
            let mut one = Vectors::default();
            one.set(vector, true);
            assert_eq!((one.highest(), one.word(vector / 32)), (Some(vector), 1 << (vector % 32)));
            all.set(vector, true);
            assert_eq!(all.highest(), Some(vector));
        }
        for vector in (0..=255).rev() {
            assert_eq!(all.highest(), Some(vector));
            all.set(vector, false);
            assert!(!all.contains(vector));
        }
        assert_eq!(all, Vectors::default());
    }
}
