//! Two 8259As: who asks for an interrupt, who is let through, and who is served.
//!
//! Source: Intel 8259A data sheet, "Interrupt sequence" and "Programming the 8259A"; on a PC the
//! second one is at input 2 of the first.

/// The input of the first at which the second one is.
const CASCADE: u8 = 2;

/// Which byte of a set-up is due at the second port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Due {
    /// None: what is written there is the mask.
    #[default]
    Mask,
    /// The vector of its first input.
    Icw2,
    /// Who hangs on whom.
    Icw3,
    /// Its mode.
    Icw4,
}

/// One of them.
#[derive(Default)]
pub struct Pic {
    mask: u8,
    due: Due,
    /// ICW1 of the set-up that is under way.
    icw1: u8,
    /// The vector of its first input.
    base: u8,
    /// It ends each interrupt itself when that is taken.
    ends_itself: bool,
    /// Inputs that have asked and were not taken yet.
    requested: u8,
    /// Inputs that were taken and whose end was not told yet.
    served: u8,
    /// What the first port reads: served, not requested.
    reads_served: bool,
}

impl Pic {
    pub fn read(&self, register: u16) -> u8 {
        match (register, self.reads_served) {
            (0, false) => self.requested,
            (0, true) => self.served,
            _ => self.mask,
        }
    }

    /// *Errors*: what is not built.
    pub fn write(&mut self, register: u16, value: u8) -> Result<(), &'static str> {
        const ICW1: u8 = 1 << 4;
        const OCW3: u8 = 1 << 3;
        match (register, value & ICW1 != 0, value & OCW3 != 0) {
            (0, true, _) => {
                *self = Self { due: Due::Icw2, icw1: value, base: self.base, ..Self::default() };
                Ok(())
            }
            (0, false, false) => self.end(value),
            (0, false, true) => self.choose(value),
            _ => self.set_up(value),
        }
    }

    /// OCW2: the end of an interrupt, the most urgent one or a named one.
    fn end(&mut self, value: u8) -> Result<(), &'static str> {
        match value >> 5 {
            0b001 => self.served &= self.served.wrapping_sub(1),
            0b011 => self.served &= !(1 << (value & 7)),
            0b000 | 0b010 => (), // nothing rotates
            _ => return Err("the PIC's rotating priorities"),
        }
        Ok(())
    }

    /// OCW3: which register is read.
    fn choose(&mut self, value: u8) -> Result<(), &'static str> {
        const POLL: u8 = 1 << 2;
        const SPECIAL_MASK: u8 = 1 << 6;
        const READ: u8 = 1 << 1;
        if value & (POLL | SPECIAL_MASK) != 0 {
            return Err("the PIC's poll command and special mask");
        }
        if value & READ != 0 {
            self.reads_served = value & 1 != 0;
        }
        Ok(())
    }

    /// A byte of a set-up, or the mask.
    fn set_up(&mut self, value: u8) -> Result<(), &'static str> {
        const SINGLE: u8 = 1 << 1;
        const ICW4_FOLLOWS: u8 = 1;
        const AUTOMATIC_END: u8 = 1 << 1;
        const FULLY_NESTED: u8 = 1 << 4;
        let after_icw3 = if self.icw1 & ICW4_FOLLOWS != 0 { Due::Icw4 } else { Due::Mask };
        self.due = match self.due {
            Due::Mask => {
                self.mask = value;
                Due::Mask
            }
            Due::Icw2 => {
                self.base = value & !7;
                if self.icw1 & SINGLE != 0 { after_icw3 } else { Due::Icw3 }
            }
            Due::Icw3 => after_icw3,
            Due::Icw4 if value & FULLY_NESTED != 0 => {
                return Err("the PIC's special fully nested mode");
            }
            Due::Icw4 => {
                self.ends_itself = value & AUTOMATIC_END != 0;
                Due::Mask
            }
        };
        Ok(())
    }

    /// The input that is next: asked for, not masked, and more urgent than all that is served.
    fn next(&self) -> Option<u8> {
        let asking = self.requested & !self.mask;
        let (input, served) = (asking.trailing_zeros(), self.served.trailing_zeros());
        (self.due == Due::Mask && input < served.min(8)).then_some(input as u8)
    }

    fn take(&mut self, input: u8) -> u8 {
        self.requested &= !(1 << input);
        if !self.ends_itself {
            self.served |= 1 << input;
        }
        self.base | input
    }
}

/// Both, as firmware leaves them: all masked.
pub struct Pics {
    pub first: Pic,
    pub second: Pic,
}

impl Default for Pics {
    fn default() -> Self {
        let masked = |base| Pic { mask: 0xff, base, ..Pic::default() };
        Self { first: masked(8), second: masked(0x70) }
    }
}

impl Pics {
    /// Input `line` of the first rises.
    pub fn request(&mut self, line: u8) {
        self.first.requested |= 1 << line;
    }

    /// The vector that the CPU is asked to take.
    pub fn vector(&mut self) -> Option<u8> {
        // The second one's output is the first one's input as long as it asks.
        match self.second.next() {
            Some(_) => self.first.requested |= 1 << CASCADE,
            None => self.first.requested &= !(1 << CASCADE),
        }
        match self.first.next()? {
            CASCADE => self.second.next().map(|input| self.second.base | input),
            input => Some(self.first.base | input),
        }
    }

    /// The CPU takes it.
    pub fn acknowledge(&mut self) {
        match self.first.next() {
            None => (),
            Some(CASCADE) => {
                self.first.take(CASCADE);
                if let Some(input) = self.second.next() {
                    self.second.take(input);
                }
            }
            Some(input) => {
                self.first.take(input);
            }
        }
    }

    /// Whether input `line` of the first would change anything if it rose: it is let through, and
    /// does not wait already.
    pub fn awaits(&self, line: u8) -> bool {
        let closed = self.first.mask | self.first.requested;
        self.first.due == Due::Mask && closed & (1 << line) == 0
    }

    /// Whether input `line` of the first asks, and was not taken yet.
    pub fn has_requested(&self, line: u8) -> bool {
        self.first.requested & (1 << line) != 0
    }

    /// Whether input `line` of the first is masked.
    pub fn is_masked(&self, line: u8) -> bool {
        self.first.mask & (1 << line) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_up(pics: &mut Pics, icw4: u8) {
        for (register, value) in [(0, 0x11), (1, 0x20), (1, 4), (1, icw4), (1, 0)] {
            pics.first.write(register, value).expect("it is built");
        }
        for (register, value) in [(0, 0x11), (1, 0x28), (1, 2), (1, icw4), (1, 0)] {
            pics.second.write(register, value).expect("it is built");
        }
    }

    /// 8259A data sheet, "Initialization command words".
    #[test]
    fn a_set_up_takes_its_bytes_and_then_the_mask_is_back() {
        for (icw1, bytes) in [(0x11, 3), (0x10, 2), (0x13, 2), (0x12, 1)] {
            let mut pics = Pics::default();
            pics.first.write(0, icw1).expect("it is built");
            for byte in 0..bytes {
                assert!(!pics.awaits(0), "{icw1:#x}, before byte {byte}");
                pics.first.write(1, 0x20).expect("it is built");
            }
            assert!(pics.awaits(0), "{icw1:#x}: ICW1 clears the mask");
            pics.first.write(1, 0xfb).expect("it is built");
            assert_eq!((pics.first.read(1), pics.first.read(0)), (0xfb, 0));
            assert!(pics.awaits(2) && !pics.awaits(0));
        }
    }

    /// 8259A data sheet, "Interrupt sequence" and "End of interrupt".
    #[test]
    fn an_interrupt_is_asked_for_taken_served_and_ended() {
        let mut pics = Pics::default();
        set_up(&mut pics, 1);
        assert_eq!(pics.vector(), None);
        pics.request(4);
        assert_eq!((pics.vector(), pics.first.read(0)), (Some(0x24), 0x10));
        pics.acknowledge();
        assert_eq!((pics.vector(), pics.first.read(0)), (None, 0));
        // Once more while it is served: it waits. A more urgent one does not.
        pics.request(4);
        assert_eq!(pics.vector(), None);
        pics.request(0);
        assert_eq!(pics.vector(), Some(0x20));
        pics.acknowledge();
        pics.first.write(0, 0x0b).expect("it is built");
        assert_eq!(pics.first.read(0), 0x11, "both are served");
        pics.first.write(0, 0x20).expect("it is built");
        assert_eq!((pics.first.read(0), pics.vector()), (0x10, None), "the urgent one ended");
        pics.first.write(0, 0x64).expect("it is built");
        assert_eq!(pics.vector(), Some(0x24), "number 4 was named");
    }

    /// 8259A data sheet, "Cascade mode".
    #[test]
    fn the_second_one_asks_through_input_2_and_both_ends_are_told() {
        let mut pics = Pics::default();
        set_up(&mut pics, 1);
        pics.second.requested = 1;
        assert_eq!(pics.vector(), Some(0x28));
        pics.acknowledge();
        assert_eq!((pics.first.served, pics.second.served), (4, 1));
        pics.second.requested = 2;
        assert_eq!(pics.vector(), None);
        pics.second.write(0, 0x20).expect("it is built");
        assert_eq!(pics.vector(), None, "the first still serves");
        pics.first.write(0, 0x20).expect("it is built");
        assert_eq!(pics.vector(), Some(0x29));
        pics.second.write(1, 0xff).expect("it is built");
        assert_eq!(pics.vector(), None, "masked there");
    }

    /// 8259A data sheet, "Automatic end of interrupt (AEOI) mode".
    #[test]
    fn with_automatic_ends_nothing_is_served() {
        let mut pics = Pics::default();
        set_up(&mut pics, 3);
        pics.request(1);
        pics.acknowledge();
        pics.request(1);
        assert_eq!((pics.first.served, pics.vector()), (0, Some(0x21)));
    }

    /// 8259A data sheet, "Operation command words".
    #[test]
    fn what_is_not_built_says_so() {
        let mut pics = Pics::default();
        for value in [0xa0, 0xe0, 0x80, 0x0c, 0x68] {
            assert!(pics.first.write(0, value).is_err(), "{value:#x}");
        }
        assert!(pics.first.write(0, 0x40).is_ok());
    }
}
