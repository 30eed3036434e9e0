//! MSI-X: a table of messages, a bit for each that waits because it is masked (PCI Local Bus
//! Specification 3.0, 6.8.2).

/// Bytes of an entry: the address, the data, the control.
const ENTRY: usize = 16;
const CONTROL: usize = 12;
/// Control: this message is masked. The other bits are reserved.
const MASKED: u8 = 1;
/// Where the bits of those that wait begin, in the BAR that the table is at the start of.
pub(super) const PENDING: u64 = 0x800;
/// The most messages of a function here: one word of pending bits.
const MESSAGES_MAX: usize = 64;

/// Message control: it interrupts by messages; all are masked; bits that can be written.
const ENABLED: u16 = 1 << 15;
const ALL_MASKED: u16 = 1 << 14;
pub(super) const CONTROL_BITS: u16 = ENABLED | ALL_MASKED;

/// A message: a store of 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it goes.
    pub address: u64,
    /// What is stored there.
    pub data: u32,
}

/// The table.
pub(super) struct Msix {
    table: Vec<u8>,
    pending: u64,
    control: u16,
}

impl Msix {
    /// A table of `messages` entries, all masked, switched off.
    pub fn new(messages: u16) -> Self {
        let messages = usize::from(messages).min(MESSAGES_MAX);
        let mut table = vec![0; messages * ENTRY];
        table.chunks_mut(ENTRY).for_each(|entry| entry[CONTROL] = MASKED);
        Self { table, pending: 0, control: 0 }
    }

    /// The guest wrote the message control of the capability.
    pub fn set_control(&mut self, control: u16) {
        self.control = control;
    }

    /// Whether the function interrupts by messages.
    pub fn is_enabled(&self) -> bool {
        self.control & ENABLED != 0
    }

    /// Reads `bytes` bytes at `offset` of its BAR.
    pub fn read(&self, offset: u64, bytes: u8) -> u64 {
        let mut value = [0; 8];
        for (to, at) in value.iter_mut().zip(offset..offset + u64::from(bytes)) {
            *to = self.byte(at);
        }
        u64::from_le_bytes(value)
    }

    fn byte(&self, at: u64) -> u8 {
        match at.checked_sub(PENDING) {
            Some(at) => self.pending.to_le_bytes().get(at as usize).copied().unwrap_or(0),
            None => self.table.get(at as usize).copied().unwrap_or(0),
        }
    }

    /// Writes there. Those that wait are not the guest's to write.
    pub fn write(&mut self, offset: u64, bytes: u8, value: u64) {
        for (at, new) in (offset as usize..).zip(value.to_le_bytes()).take(usize::from(bytes)) {
            let bits = match at % ENTRY {
                // A message goes to a multiple of four.
                0 => 0xfc,
                1..CONTROL => 0xff,
                CONTROL => MASKED,
                _ => 0,
            };
            if let Some(byte) = self.table.get_mut(at) {
                *byte = *byte & !bits | new & bits;
            }
        }
    }

    /// The message of `vector` is to be sent: once, however often this was asked for before.
    pub fn ask(&mut self, vector: u16) {
        if self.is_enabled() && usize::from(vector) * ENTRY < self.table.len() {
            self.pending |= 1 << vector;
        }
    }

    fn is_masked(&self, vector: usize) -> bool {
        self.control & ALL_MASKED != 0 || self.table[vector * ENTRY + CONTROL] & MASKED != 0
    }

    fn message(&self, vector: usize) -> Message {
        let at = (vector * ENTRY) as u64;
        Message { address: self.read(at, 8), data: self.read(at + 8, 4) as u32 }
    }

    /// Every message that is not masked.
    pub fn open(&self) -> impl Iterator<Item = Message> {
        let vectors = 0..self.table.len() / ENTRY;
        vectors.filter(|vector| !self.is_masked(*vector)).map(|vector| self.message(vector))
    }

    /// The messages that are to be sent now: those that are masked wait.
    pub fn take(&mut self) -> Vec<Message> {
        if self.pending == 0 || !self.is_enabled() {
            return Vec::new();
        }
        let waiting = (0..MESSAGES_MAX).filter(|vector| self.pending & 1 << vector != 0);
        let sent: Vec<usize> = waiting.filter(|vector| !self.is_masked(*vector)).collect();
        for vector in &sent {
            self.pending &= !(1 << vector);
        }
        sent.into_iter().map(|vector| self.message(vector)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three messages, switched on, the second open.
    fn table() -> Msix {
        let mut msix = Msix::new(3);
        msix.set_control(ENABLED);
        msix.write(0x10, 8, 0xfee0_0000);
        msix.write(0x18, 8, 0x41);
        msix
    }

    const SENT: Message = Message { address: 0xfee0_0000, data: 0x41 };

    /// PCI Local Bus Specification 3.0, 6.8.3.
    #[test]
    fn a_message_is_sent_once_for_all_that_asked() {
        let mut msix = table();
        msix.ask(1);
        msix.ask(1);
        assert_eq!((msix.take(), msix.take()), (vec![SENT], vec![]));
    }

    /// PCI Local Bus Specification 3.0, 6.8.2.9 (vector control), 6.8.3.4 (masking).
    #[test]
    fn one_that_is_masked_waits_and_says_so() {
        let mut msix = table();
        msix.write(0x1c, 4, 1);
        msix.ask(1);
        assert_eq!((msix.take(), msix.read(PENDING, 8)), (vec![], 0b10));
        msix.write(PENDING, 8, 0);
        assert_eq!(msix.read(PENDING, 8), 0b10, "it cannot be written");
        msix.write(0x1c, 4, 0);
        assert_eq!((msix.take(), msix.read(PENDING, 8)), (vec![SENT], 0));
        msix.set_control(ENABLED | ALL_MASKED);
        msix.ask(1);
        assert_eq!((msix.take(), msix.open().count()), (vec![], 0));
        msix.set_control(ENABLED);
        assert_eq!(msix.take(), [SENT]);
    }

    /// PCI Local Bus Specification 3.0, 6.8.2.3 (MSI-X enable, function mask).
    #[test]
    fn what_is_off_or_not_there_sends_nothing() {
        let mut msix = table();
        msix.set_control(0);
        msix.ask(1);
        msix.set_control(ENABLED);
        assert_eq!(msix.take(), []);
        msix.ask(3);
        msix.ask(0xffff);
        assert_eq!((msix.take(), msix.read(PENDING, 8)), (vec![], 0));
        msix.ask(0);
        assert_eq!(msix.take(), [], "each begins masked");
    }

    /// PCI Local Bus Specification 3.0, 6.8.2.6 to 6.8.2.9.
    #[test]
    fn reserved_bits_of_the_table_stay_0_and_past_its_end_there_is_nothing() {
        let mut msix = Msix::new(2);
        msix.write(0, 8, u64::MAX);
        msix.write(8, 8, u64::MAX);
        msix.write(0x1e, 8, u64::MAX);
        assert_eq!((msix.read(0, 8), msix.read(8, 8)), (u64::MAX - 3, 0x1_ffff_ffff));
        assert_eq!((msix.read(0x20, 8), msix.read(0x7fc, 8), msix.read(0xffc, 8)), (0, 0, 0));
        assert_eq!(Msix::new(0xffff).table.len(), 64 * 16);
    }
}
