//! Configuration space of one function: its bytes, and which of their bits can be written (PCI Local Bus
//! Specification 3.0, chapter 6).

/// Bytes of the header and the capabilities. Of the rest of its 4 KiB nothing is there.
const BYTES: usize = 256;

/// Offsets in the header of type 0 (6.1).
pub(super) const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const BARS: usize = 0x10;
const CAPABILITIES: usize = 0x34;
const FIRST_CAPABILITY: usize = 0x40;

/// Command: it answers at its memory.
pub(super) const MEMORY: u16 = 1 << 1;
/// Command: it may reach memory itself.
pub(super) const MASTER: u16 = 1 << 2;
/// Command: it asserts no line.
pub(super) const NO_LINE: u16 = 1 << 10;
/// Status: it asserts its line, if that is not switched off.
const STATUS_LINE: u16 = 1 << 3;
/// Status: it has capabilities.
const STATUS_LIST: u16 = 1 << 4;

/// Configuration space.
pub(super) struct Config {
    bytes: [u8; BYTES],
    /// Bits that a write changes.
    writable: [u8; BYTES],
    /// Where the next capability goes, and the byte that is to point at it.
    free: usize,
    link: usize,
}

impl Config {
    /// A function with this vendor, device, class (base class, subclass, interface) and revision.
    pub fn new([vendor, device]: [u16; 2], class: u32, revision: u8) -> Self {
        let mut config = Self {
            bytes: [0; BYTES],
            writable: [0; BYTES],
            free: FIRST_CAPABILITY,
            link: CAPABILITIES,
        };
        config.set(0, &vendor.to_le_bytes());
        config.set(2, &device.to_le_bytes());
        config.set(8, &(class << 8 | u32::from(revision)).to_le_bytes());
        config.open(COMMAND, &(MEMORY | MASTER | NO_LINE).to_le_bytes());
        config
    }

    /// Sets bytes, whoever may write them.
    pub fn set(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Lets these bits be written.
    pub fn open(&mut self, at: usize, bits: &[u8]) {
        self.writable[at..at + bits.len()].copy_from_slice(bits);
    }

    /// A range of memory of `bytes` bytes, a power of two, which lies at `base`; `kind` are the bits
    /// that say what it is (6.2.5.1). A wide one takes the next BAR too.
    pub fn add_bar(&mut self, bar: usize, kind: u32, bytes: u64, base: u64) {
        let at = BARS + 4 * bar;
        let width = if kind & 0b110 == 0b100 { 8 } else { 4 };
        self.set(at, &(base | u64::from(kind)).to_le_bytes()[..width]);
        self.open(at, &bytes.wrapping_neg().to_le_bytes()[..width]);
    }

    /// Where a BAR of `width` bytes says that its memory is.
    pub fn bar(&self, bar: usize, width: u8) -> u64 {
        self.read((BARS + 4 * bar) as u16, width) & !0xf
    }

    /// Adds a capability: its id, the link, `body`. *Returns* where it is.
    pub fn add_capability(&mut self, id: u8, body: &[u8]) -> usize {
        let at = self.free;
        self.set(at, &[id, 0]);
        self.set(at + 2, body);
        self.bytes[self.link] = at as u8;
        (self.link, self.free) = (at + 1, (at + 2 + body.len()).next_multiple_of(4));
        self.set(STATUS, &STATUS_LIST.to_le_bytes());
        at
    }

    /// A word.
    pub fn word(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    /// What the status says of the line.
    pub fn show_line(&mut self, raised: bool) {
        let status = self.word(STATUS) & !STATUS_LINE | if raised { STATUS_LINE } else { 0 };
        self.set(STATUS, &status.to_le_bytes());
    }

    /// Reads `bytes` (at most 8) bytes from `offset` on.
    pub fn read(&self, offset: u16, bytes: u8) -> u64 {
        let mut value = [0; 8];
        let from = self.bytes.iter().skip(usize::from(offset));
        for (to, from) in value.iter_mut().zip(from.take(usize::from(bytes))) {
            *to = *from;
        }
        u64::from_le_bytes(value)
    }

    /// Writes what may be written of it.
    pub fn write(&mut self, offset: u16, bytes: u8, value: u64) {
        let places = self.bytes.iter_mut().zip(&self.writable).skip(usize::from(offset));
        for ((byte, bits), new) in places.zip(value.to_le_bytes()).take(usize::from(bytes)) {
            *byte = *byte & !bits | new & bits;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PCI Local Bus Specification 3.0, 6.1.
    #[test]
    fn what_may_not_be_written_stays() {
        let mut config = Config::new([0x1af4, 0x1042], 0x01_0000, 1);
        config.write(0, 4, 0);
        config.write(8, 4, 0);
        assert_eq!((config.read(0, 4), config.read(8, 4)), (0x1042_1af4, 0x0100_0001));
        config.write(4, 4, u64::MAX);
        assert_eq!(config.read(4, 4), 0x0000_0406, "status is not the guest's");
        assert_eq!((config.read(0, 8), config.read(3, 2)), (0x0000_0406_1042_1af4, 0x0610));
    }

    /// PCI Local Bus Specification 3.0, 6.2.5.1.
    #[test]
    fn the_size_of_a_bar_is_what_it_keeps_of_ones() {
        let mut config = Config::new([0x1af4, 0x1042], 0x01_0000, 1);
        config.add_bar(1, 0b0000, 0x1000, 0xd800_4000);
        config.add_bar(4, 0b1100, 0x4000, 0xd800_0000);
        assert_eq!((config.bar(1, 4), config.bar(4, 8)), (0xd800_4000, 0xd800_0000));
        config.write(0x14, 4, 0xffff_ffff);
        config.write(0x20, 8, u64::MAX);
        assert_eq!(
            (config.read(0x14, 4), config.read(0x20, 8)),
            (0xffff_f000, 0xffff_ffff_ffff_c00c)
        );
        config.write(0x14, 4, 0x1234_5678);
        assert_eq!(config.read(0x14, 4), 0x1234_5000);
    }

    /// PCI Local Bus Specification 3.0, 6.7.
    #[test]
    fn capabilities_are_a_list_that_ends() {
        let mut config = Config::new([0x1af4, 0x1042], 0x01_0000, 1);
        assert_eq!((config.read(0x34, 1), config.read(6, 2)), (0, 0));
        let first = config.add_capability(0x11, &[1; 10]);
        let second = config.add_capability(0x09, &[2; 5]);
        assert_eq!((first, second, config.read(0x34, 1)), (0x40, 0x4c, 0x40));
        assert_eq!((config.read(0x40, 4), config.read(0x4c, 4)), (0x0101_4c11, 0x0202_0009));
        assert_eq!(config.read(6, 2), 0x10, "it says that there is a list");
    }

    /// PCI Local Bus Specification 3.0, 6.1.
    #[test]
    fn past_its_end_there_is_nothing() {
        let mut config = Config::new([0x1af4, 0x1042], 0x01_0000, 1);
        config.write(254, 8, u64::MAX);
        config.write(0xfff, 8, u64::MAX);
        assert_eq!((config.read(254, 8), config.read(0x100, 4), config.read(0xfff, 8)), (0, 0, 0));
    }
}
