//! The state of x87 and MMX (SDM volume 1, 8.1): eight registers of 80 bits used as a stack, and
//! the words that go with them.

/// Bits of the control word.
pub mod control {
    /// The exceptions that give a result instead of #MF, in the order of the status word's flags.
    pub const MASKS: u16 = 0x3f;
    /// After `fninit`: everything masked, 64 bits of precision, to nearest.
    pub const INITIAL: u16 = 0x37f;
    /// Reads as one.
    pub const ALWAYS: u16 = 0x40;
    /// The bits that exist.
    pub const EXISTING: u16 = 0x1f7f;
}

/// Bits of the status word.
pub mod status {
    /// The six exceptions.
    pub const EXCEPTIONS: u16 = 0x3f;
    /// An operation found a register empty that it needed, or full that it wanted.
    pub const STACK_FAULT: u16 = 0x40;
    /// An exception is pending that is not masked.
    pub const SUMMARY: u16 = 0x80;
    /// Condition code 0.
    pub const C0: u16 = 1 << 8;
    /// Condition code 1.
    pub const C1: u16 = 1 << 9;
    /// Condition code 2.
    pub const C2: u16 = 1 << 10;
    /// Where the top of the stack is, three bits.
    pub const TOP: u16 = 7 << 11;
    /// Condition code 3.
    pub const C3: u16 = 1 << 14;
    /// As [`SUMMARY`].
    pub const BUSY: u16 = 1 << 15;
}

/// The state of x87 and MMX.
///
/// Opcode and addresses of the last instruction are not kept: they read as zero, as processors may
/// have them where no exception is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct X87 {
    /// R0 to R7, 80 bits each; MM0 to MM7 are their low 64.
    pub registers: [u128; 8],
    /// The control word.
    pub control: u16,
    /// The status word.
    pub status: u16,
    /// A bit for each register that is not empty, R0 lowest.
    pub full: u8,
}

impl Default for X87 {
    /// As after `fninit`, with zeros in the registers.
    fn default() -> Self {
        Self { registers: [0; 8], control: control::INITIAL, status: 0, full: 0 }
    }
}

impl X87 {
    /// The number of the register that is ST(0).
    pub fn top(&self) -> u8 {
        (self.status >> 11) as u8 & 7
    }

    /// Makes register `top` ST(0).
    pub fn set_top(&mut self, top: u8) {
        self.status = self.status & !status::TOP | u16::from(top & 7) << 11;
    }

    /// The number of the register that is ST(`index`).
    pub fn number(&self, index: u8) -> u8 {
        (self.top() + index) & 7
    }

    /// What ST(`index`) holds, empty or not.
    pub fn st(&self, index: u8) -> u128 {
        self.registers[usize::from(self.number(index))]
    }

    /// Puts 80 bits into ST(`index`), which is not empty then.
    pub fn set_st(&mut self, index: u8, value: u128) {
        let number = self.number(index);
        self.registers[usize::from(number)] = value & (u128::MAX >> 48);
        self.full |= 1 << number;
    }

    /// Whether ST(`index`) is empty.
    pub fn is_empty(&self, index: u8) -> bool {
        self.full >> self.number(index) & 1 == 0
    }

    /// Makes ST(`index`) empty.
    pub fn set_empty(&mut self, index: u8) {
        self.full &= !(1 << self.number(index));
    }

    /// Sets the control word. Bits that do not exist are not kept; what is pending is seen afresh.
    pub fn set_control(&mut self, value: u16) {
        self.control = value & control::EXISTING | control::ALWAYS;
        self.summarise();
    }

    /// Sets the status word, as far as it is not a summary.
    pub fn set_status(&mut self, value: u16) {
        self.status = value & !(status::SUMMARY | status::BUSY);
        self.summarise();
    }

    /// Sets or clears the summary of the exceptions that are pending and not masked.
    pub fn summarise(&mut self) {
        let summary = status::SUMMARY | status::BUSY;
        let pending = self.status & !self.control & control::MASKS != 0;
        self.status = if pending { self.status | summary } else { self.status & !summary };
    }

    /// Whether the next waiting instruction is #MF.
    pub fn is_pending(&self) -> bool {
        self.status & status::SUMMARY != 0
    }

    /// The tag word, two bits a register as FSTENV has it: valid, zero, special, empty.
    pub fn tag_word(&self) -> u16 {
        (0..8).rev().fold(0, |word, number| {
            let tag = if self.full >> number & 1 == 0 { 3 } else { tag(self.registers[number]) };
            word << 2 | tag
        })
    }

    /// Takes a tag word: only "empty" counts.
    pub fn set_tag_word(&mut self, word: u16) {
        self.full =
            (0..8).fold(0, |full, number| full | u8::from(word >> (2 * number) & 3 != 3) << number);
    }
}

/// The tag of a register that is not empty.
fn tag(register: u128) -> u16 {
    let (exponent, significand) = ((register >> 64) as u16 & 0x7fff, register as u64);
    match (exponent, significand) {
        (0, 0) => 1,
        (0 | 0x7fff, _) => 2,
        _ if significand >> 63 == 0 => 2,
        _ => 0,
    }
}
