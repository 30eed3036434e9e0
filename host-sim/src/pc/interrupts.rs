//! Two 8259As that nobody interrupts: their masks, and the order in which they are set up.
//!
//! Source: Intel 8259A data sheet, "Programming the 8259A".

/// Which byte of a set-up is due at the second port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Due {
    /// None: what is written there is the mask.
    #[default]
    Mask,
    /// The vector of its first interrupt.
    Icw2,
    /// Who hangs on whom.
    Icw3,
    /// Its mode.
    Icw4,
}

/// One of them.
pub struct Pic {
    mask: u8,
    due: Due,
    /// ICW1 of the set-up that is under way.
    icw1: u8,
}

impl Pic {
    pub fn read(&self, register: u16) -> u8 {
        // Requested and in service: nothing ever is.
        if register == 0 { 0 } else { self.mask }
    }

    pub fn write(&mut self, register: u16, value: u8) {
        const ICW1: u8 = 1 << 4;
        const SINGLE: u8 = 1 << 1;
        const ICW4_FOLLOWS: u8 = 1;
        if register == 0 {
            if value & ICW1 != 0 {
                (self.mask, self.due, self.icw1) = (0, Due::Icw2, value);
            }
            // OCW2 (end of interrupt) and OCW3 (which register is read) change nothing here.
            return;
        }
        let after_icw3 = if self.icw1 & ICW4_FOLLOWS != 0 { Due::Icw4 } else { Due::Mask };
        self.due = match self.due {
            Due::Mask => {
                self.mask = value;
                Due::Mask
            }
            Due::Icw2 if self.icw1 & SINGLE != 0 => after_icw3,
            Due::Icw2 => Due::Icw3,
            Due::Icw3 => after_icw3,
            Due::Icw4 => Due::Mask,
        };
    }
}

/// Both, as firmware leaves them: all masked.
pub struct Pics {
    pub first: Pic,
    pub second: Pic,
}

impl Default for Pics {
    fn default() -> Self {
        let masked = || Pic { mask: 0xff, due: Due::Mask, icw1: 0 };
        Self { first: masked(), second: masked() }
    }
}

impl Pics {
    /// Whether interrupt `line` (0 to 7) of the first would reach the CPU.
    pub fn lets_through(&self, line: u8) -> bool {
        self.first.due == Due::Mask && self.first.mask & (1 << line) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_up_takes_its_bytes_and_then_the_mask_is_back() {
        for (icw1, bytes) in [(0x11, 3), (0x10, 2), (0x13, 2), (0x12, 1)] {
            let mut pics = Pics::default();
            pics.first.write(0, icw1);
            for byte in 0..bytes {
                assert!(!pics.lets_through(0), "{icw1:#x}, before byte {byte}");
                pics.first.write(1, 0x20);
            }
            assert!(pics.lets_through(0), "{icw1:#x}: ICW1 clears the mask");
            pics.first.write(1, 0xfb);
            assert_eq!((pics.first.read(1), pics.first.read(0)), (0xfb, 0));
            assert!(pics.lets_through(2) && !pics.lets_through(0));
        }
    }

    #[test]
    fn the_end_of_an_interrupt_leaves_the_mask() {
        let mut pics = Pics::default();
        pics.second.write(0, 0x20);
        pics.second.write(0, 0x0b);
        assert_eq!(pics.second.read(1), 0xff);
    }
}
