//! The functions on the bus: a host bridge, and virtio devices as QEMU shows them (virtio 1.4, 4.1;
//! QEMU `hw/virtio/virtio-pci.c`, `hw/pci-host/gpex.c`).

use super::config::{COMMAND, Config, MASTER, MEMORY, NO_LINE};
use super::msix::{CONTROL_BITS, Message, Msix, PENDING};
use crate::event::WhyAsleep;
use ultravisor_abi::boot::PCI_MEMORY;

/// QEMU's generic host bridge, vendor and device; its class.
const HOST_BRIDGE: [u16; 2] = [0x1b36, 0x0008];
const HOST_BRIDGE_CLASS: u32 = 0x06_0000;
/// virtio's vendor, and what its modern devices count from (virtio 1.4, 4.1.2).
const VIRTIO: u16 = 0x1af4;
const MODERN: u16 = 0x1040;
const MODERN_REVISION: u8 = 1;
const SUBSYSTEM: u16 = 0x1100;

/// Which BAR has the MSI-X table, and which the registers, with their sizes.
const MSIX_BAR: usize = 1;
const MSIX_BYTES: u64 = 0x1000;
const REGISTERS_BAR: usize = 4;
const REGISTERS_BYTES: u64 = 0x4000;
/// What a BAR is: memory of 32 bits; memory of 64 bits that may be read ahead.
const NARROW: u32 = 0b0000;
const WIDE: u32 = 0b1100;
/// Room for the memory of one function.
const FUNCTION_BYTES: u64 = 0x8000;

/// Capability ids (PCI Local Bus Specification 3.0, appendix H).
const MSIX: u8 = 0x11;
const VENDOR: u8 = 0x09;

/// Structures of a virtio function (virtio 1.4, 4.1.4): type, offset in their BAR, bytes.
const STRUCTURES: [(u8, u32, u32); 4] =
    [(1, 0x0000, 0x1000), (2, 0x3000, 0x1000), (3, 0x1000, 0x1000), (4, 0x2000, 0x1000)];
/// The type of the structure for notifications, which says how far they are apart.
const NOTIFICATIONS: u8 = 2;
const NOTIFY_STRIDE: u32 = 4;
/// The type of the window by which configuration space reaches the BAR.
const WINDOW: u8 = 5;

/// Offsets of the window's fields in its capability (virtio 1.4, 4.1.4.9).
const WINDOW_BAR: usize = 4;
const WINDOW_OFFSET: usize = 8;
const WINDOW_BYTES: usize = 12;
const WINDOW_DATA: usize = 16;

/// Where in a function's memory something lies.
pub(super) enum Inside {
    /// MSI-X table and pending bits.
    Msix(u64),
    /// The device's registers.
    Registers(u64),
}

/// What is only a virtio function's.
struct Virtio {
    msix: Msix,
    /// Where the capabilities are.
    msix_at: usize,
    window_at: usize,
}

/// A function.
pub(super) struct Function {
    pub config: Config,
    /// Whether it is plugged.
    pub is_present: bool,
    virtio: Option<Virtio>,
}

impl Function {
    /// The bridge from the processor.
    pub fn host_bridge() -> Self {
        let config = Config::new(HOST_BRIDGE, HOST_BRIDGE_CLASS, 0);
        Self { config, is_present: true, virtio: None }
    }

    /// The device in `slot` of virtio device id `id`, with `queues` queues.
    pub fn virtio(slot: usize, id: u32, queues: u16) -> Self {
        let mut config = Config::new([VIRTIO, MODERN + id as u16], class(id), MODERN_REVISION);
        config.set(0x2c, &VIRTIO.to_le_bytes());
        config.set(0x2e, &SUBSYSTEM.to_le_bytes());
        // The line is no 8259A's (6.2.4); the pin is INTA.
        config.set(0x3c, &[0xff, 1]);
        config.open(0x3c, &[0xff]);
        config.set(COMMAND, &(MEMORY | MASTER).to_le_bytes());
        let base = PCI_MEMORY.0 + slot as u64 * FUNCTION_BYTES;
        config.add_bar(REGISTERS_BAR, WIDE, REGISTERS_BYTES, base);
        config.add_bar(MSIX_BAR, NARROW, MSIX_BYTES, base + REGISTERS_BYTES);
        let vectors = queues + 1;
        let msix_at = add_msix(&mut config, vectors);
        for structure in STRUCTURES {
            add_structure(&mut config, structure);
        }
        let window_at = add_window(&mut config);
        let virtio = Some(Virtio { msix: Msix::new(vectors), msix_at, window_at });
        Self { config, is_present: true, virtio }
    }

    /// What of its memory is at guest-physical `gpa`: nothing while it is switched off.
    pub fn at(&self, gpa: u64) -> Option<Inside> {
        let is_on = self.is_present && self.config.word(COMMAND) & MEMORY != 0;
        if self.virtio.is_none() || !is_on {
            return None;
        }
        let within = |base: u64, bytes: u64| gpa.checked_sub(base).filter(|at| *at < bytes);
        let registers = within(self.config.bar(REGISTERS_BAR, 8), REGISTERS_BYTES);
        let msix = || within(self.config.bar(MSIX_BAR, 4), MSIX_BYTES).map(Inside::Msix);
        registers.map(Inside::Registers).or_else(msix)
    }

    /// Where in the device's registers an access of `bytes` bytes to configuration space at `offset`
    /// leads by the window, if it does.
    pub fn window(&self, offset: u16, bytes: u8) -> Option<u64> {
        let at = self.virtio.as_ref()?.window_at;
        let field = |field: usize| self.config.read((at + field) as u16, 4);
        let is_data = usize::from(offset) == at + WINDOW_DATA;
        let is_registers = self.config.read((at + WINDOW_BAR) as u16, 1) == REGISTERS_BAR as u64;
        let is_as_said = field(WINDOW_BYTES) == u64::from(bytes);
        (is_data && is_registers && is_as_said).then(|| field(WINDOW_OFFSET))
    }

    /// Writes into configuration space.
    pub fn write_config(&mut self, offset: u16, bytes: u8, value: u64) {
        self.config.write(offset, bytes, value);
        if let Some(virtio) = &mut self.virtio {
            virtio.msix.set_control(self.config.word(virtio.msix_at + 2));
        }
    }

    /// Reads the MSI-X table.
    pub fn read_msix(&self, offset: u64, bytes: u8) -> u64 {
        self.virtio.as_ref().map_or(0, |virtio| virtio.msix.read(offset, bytes))
    }

    /// Writes it.
    pub fn write_msix(&mut self, offset: u64, bytes: u8, value: u64) {
        if let Some(virtio) = &mut self.virtio {
            virtio.msix.write(offset, bytes, value);
        }
    }

    /// The device wants a message sent.
    pub fn ask(&mut self, vector: u16) {
        if let Some(virtio) = &mut self.virtio {
            virtio.msix.ask(vector);
        }
    }

    /// Whether it may reach memory.
    pub fn is_master(&self) -> bool {
        self.config.word(COMMAND) & MASTER != 0
    }

    /// Messages that are to be sent now. One that may not reach memory sends none.
    pub fn take_messages(&mut self) -> Vec<Message> {
        let is_master = self.is_master();
        let virtio = self.virtio.as_mut().filter(|_| is_master);
        virtio.map_or(Vec::new(), |virtio| virtio.msix.take())
    }

    /// The device has something to be acknowledged or not; *returns* whether it asserts its line: not
    /// where it interrupts by messages.
    pub fn set_line(&mut self, raised: bool) -> bool {
        let by_message = self.virtio.as_ref().is_some_and(|virtio| virtio.msix.is_enabled());
        let raised = raised && !by_message;
        self.config.show_line(raised);
        raised && self.config.word(COMMAND) & NO_LINE == 0
    }

    /// Why no message comes, if it interrupts by messages.
    pub fn silence(&self, waits: impl Fn(u8) -> bool) -> Option<WhyAsleep> {
        let virtio = self.virtio.as_ref().filter(|virtio| virtio.msix.is_enabled())?;
        let mut open = virtio.msix.open().peekable();
        Some(match (open.peek().is_some(), open.any(|message| waits(message.data as u8))) {
            (false, _) => WhyAsleep::Masked,
            (true, true) => WhyAsleep::HeldOff,
            (true, false) => WhyAsleep::Quiet,
        })
    }
}

/// The class of a virtio device (QEMU `hw/virtio/virtio-*-pci.c`).
const fn class(id: u32) -> u32 {
    match id {
        1 => 0x02_0000,
        2 => 0x01_0000,
        3 => 0x07_8000,
        _ => 0x00_ff00,
    }
}

/// The MSI-X capability: table and pending bits in one BAR.
fn add_msix(config: &mut Config, vectors: u16) -> usize {
    let control = (vectors - 1).to_le_bytes();
    let places = [0, PENDING as u32].map(|at| (at | MSIX_BAR as u32).to_le_bytes());
    let at = config.add_capability(MSIX, &[&control[..], &places.concat()].concat());
    config.open(at + 2, &CONTROL_BITS.to_le_bytes());
    at
}

/// A virtio capability (virtio 1.4, 4.1.4): its length, the type, where the structure is.
fn add_structure(config: &mut Config, (kind, offset, bytes): (u8, u32, u32)) -> usize {
    let stride = NOTIFY_STRIDE.to_le_bytes();
    let more: &[u8] = match kind {
        NOTIFICATIONS => &stride,
        WINDOW => &[0; 4],
        _ => &[],
    };
    let length = 16 + more.len() as u8;
    let head = [length, kind, REGISTERS_BAR as u8, 0, 0, 0];
    let place = [offset.to_le_bytes(), bytes.to_le_bytes()].concat();
    config.add_capability(VENDOR, &[&head[..], &place, more].concat())
}

/// The window: its fields but for the type are the guest's.
fn add_window(config: &mut Config) -> usize {
    let at = add_structure(config, (WINDOW, 0, 0));
    config.set(at + WINDOW_BAR, &[0]);
    config.open(at + WINDOW_BAR, &[0xff]);
    config.open(at + WINDOW_OFFSET, &[0xff; 12]);
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> Function {
        Function::virtio(2, 2, 1)
    }

    /// Each capability: where it is, its id, its first bytes.
    fn capabilities(config: &Config) -> Vec<(u16, u8, u64)> {
        let mut found = Vec::new();
        let mut at = config.read(0x34, 1) as u16;
        while at != 0 {
            found.push((at, config.read(at, 1) as u8, config.read(at + 2, 2)));
            at = config.read(at + 1, 1) as u16;
        }
        found
    }

    /// Virtual I/O Device 1.2, 4.1.2 and 4.1.4.
    #[test]
    fn a_modern_disk_says_what_it_is_and_where_its_structures_are() {
        let Function { config, .. } = disk();
        assert_eq!((config.read(0, 4), config.read(8, 4)), (0x1042_1af4, 0x0100_0001));
        assert_eq!((config.read(0x2c, 4), config.read(0x3c, 2)), (0x1100_1af4, 0x01ff));
        let found = capabilities(&config);
        let kinds: Vec<_> = found.iter().map(|(_, id, head)| (*id, *head)).collect();
        // Two messages; then common, notifications, ISR, device, window, each with its length.
        let of = |kind: u64, length: u64| (VENDOR, kind << 8 | length);
        assert_eq!(kinds, [(MSIX, 1), of(1, 16), of(2, 20), of(3, 16), of(4, 16), of(5, 20)]);
        let notify = found[2].0;
        assert_eq!((config.read(notify + 8, 4), config.read(notify + 16, 4)), (0x3000, 4));
        assert_eq!((config.read(0x44, 4), config.read(0x48, 4)), (0x001, 0x801));
    }

    /// PCI Local Bus Specification 3.0, 6.2.2 and 6.2.5.
    #[test]
    fn memory_is_where_the_bars_say_while_it_is_switched_on() {
        let mut disk = disk();
        let registers = |disk: &Function, gpa| match disk.at(gpa) {
            Some(Inside::Registers(at)) => Some(at),
            Some(Inside::Msix(_)) | None => None,
        };
        assert_eq!(registers(&disk, 0xd801_0014), Some(0x14));
        assert!(matches!(disk.at(0xd801_4fff), Some(Inside::Msix(0xfff))));
        assert!(disk.at(0xd801_5000).is_none() && disk.at(0xd800_ffff).is_none());
        disk.write_config(0x20, 8, 0x12_3456_0000);
        assert_eq!(
            (registers(&disk, 0xd801_0014), registers(&disk, 0x12_3456_0014)),
            (None, Some(0x14))
        );
        disk.write_config(4, 2, 0);
        assert_eq!(registers(&disk, 0x12_3456_0014), None);
    }

    /// PCI Local Bus Specification 3.0, 6.2.2 (interrupt disable) and 6.8.
    #[test]
    fn the_line_is_silent_where_messages_are_and_where_the_guest_says_so() {
        let mut disk = disk();
        assert!(disk.set_line(true));
        assert_eq!(disk.config.read(6, 2), 0x18);
        disk.write_config(4, 2, u64::from(MEMORY | MASTER | NO_LINE));
        assert!(!disk.set_line(true));
        assert_eq!(disk.config.read(6, 2), 0x18, "it would");
        disk.write_config(4, 2, u64::from(MEMORY | MASTER));
        disk.write_config(0x42, 2, 0x8000);
        assert!(!disk.set_line(true));
        assert_eq!(disk.config.read(6, 2), 0x10);
    }

    /// PCI Local Bus Specification 3.0, 6.2.2 (bus master) and 6.8.3.
    #[test]
    fn messages_need_a_bus_master() {
        let mut disk = disk();
        disk.write_config(0x42, 2, 0x8000);
        disk.write_msix(0x0c, 4, 0);
        disk.ask(0);
        disk.write_config(4, 2, u64::from(MEMORY));
        assert_eq!(disk.take_messages(), []);
        disk.write_config(4, 2, u64::from(MEMORY | MASTER));
        assert_eq!(disk.take_messages().len(), 1);
    }

    /// Virtual I/O Device 1.2, 4.1.4, "PCI configuration access capability".
    #[test]
    fn the_window_leads_to_the_registers_as_its_fields_say() {
        let mut disk = disk();
        let (at, _, _) = *capabilities(&disk.config).last().expect("the window");
        let data = at + 16;
        assert_eq!(disk.window(data, 4), None, "of no bar");
        for (field, value) in [(4, 4), (8, 0x14), (12, 1)] {
            disk.write_config(at + field, 4, value);
        }
        assert_eq!((disk.window(data, 1), disk.window(data, 4)), (Some(0x14), None));
        assert_eq!((disk.window(at, 1), disk.config.read(at + 3, 1)), (None, 5));
        assert_eq!(Function::host_bridge().window(data, 1), None);
    }

    /// PCI Local Bus Specification 3.0, 6.8.3.4 (masking).
    #[test]
    fn why_no_message_comes() {
        let mut disk = disk();
        assert_eq!(disk.silence(|_| false), None, "it has a line");
        disk.write_config(0x42, 2, 0x8000);
        assert_eq!(disk.silence(|_| true), Some(WhyAsleep::Masked));
        disk.write_msix(8, 8, 0x41);
        assert_eq!(disk.silence(|vector| vector == 0x41), Some(WhyAsleep::HeldOff));
        assert_eq!(disk.silence(|_| false), Some(WhyAsleep::Quiet));
    }
}
