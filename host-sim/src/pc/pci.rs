//! PCI: one bus with a host bridge and, if the machine has its devices there, a function for each.
//!
//! Configuration space is reached by the ports 0xcf8 and 0xcfc (PCI Local Bus Specification 3.0,
//! 3.2.2.3.2: mechanism 1) and as memory (PCI Express Base Specification 5.0, 7.2.2: ECAM). An access
//! is first looked up ([`Bus::at_port`], [`Bus::at`]), then done: what leads to a device's own
//! registers is the machine's. Where nobody answers all is ones, and what is written is lost.

mod config;
mod function;
mod msix;

pub use msix::Message;

use crate::event::WhyAsleep;
use function::{Function, Inside};
use ultravisor_abi::boot::{PCI_ECAM, PCI_ECAM_BYTES, PCI_MEMORY, PCI_MEMORY_END};

/// The address of configuration space, and the data there.
const ADDRESS_PORT: u16 = 0xcf8;
const DATA_PORT: u16 = 0xcfc;
/// The address register: an access to the data port is one to configuration space.
const ENABLED: u32 = 1 << 31;
/// Its bits that can be written.
const ADDRESS_BITS: u32 = ENABLED | 0xff_fffc;

/// Most devices beside the host bridge.
pub const SLOTS_MAX: usize = 31;

/// What an access reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The address register.
    Address,
    /// Configuration space of a function, by its place on the bus.
    Config {
        /// Its place.
        function: usize,
        /// In bytes.
        offset: u16,
    },
    /// The MSI-X table and pending bits of a function.
    Msix {
        /// Its place.
        function: usize,
        /// In bytes, in their BAR.
        offset: u64,
    },
    /// A device's own registers.
    Registers {
        /// The device's slot.
        slot: usize,
        /// In bytes, in their BAR.
        offset: u64,
    },
    /// Nobody.
    Nobody,
}

/// The bus.
pub struct Bus {
    address: u32,
    /// The host bridge, then the devices in the order of their slots.
    functions: Vec<Function>,
}

impl Default for Bus {
    fn default() -> Self {
        Self::new(std::iter::empty())
    }
}

impl Bus {
    /// A bus with these devices, each by its virtio device id and its queues. Their memory is
    /// assigned and switched on, as firmware leaves them.
    pub fn new(devices: impl IntoIterator<Item = (u32, u16)>) -> Self {
        let devices = devices.into_iter().take(SLOTS_MAX).enumerate();
        let devices = devices.map(|(slot, (id, queues))| Function::virtio(slot, id, queues));
        Self {
            address: 0,
            functions: std::iter::once(Function::host_bridge()).chain(devices).collect(),
        }
    }

    /// Device `slot` is there from now on, or not yet.
    pub fn set_present(&mut self, slot: usize, is_present: bool) {
        if let Some(function) = self.functions.get_mut(slot + 1) {
            function.is_present = is_present;
        }
    }

    /// What an access of `bytes` bytes to `port` reaches, if it is PCI's.
    pub fn at_port(&self, port: u16, bytes: u8) -> Option<Place> {
        const DATA_END: u16 = DATA_PORT + 4;
        match port {
            // Narrower ones are other devices'.
            ADDRESS_PORT if bytes == 4 => Some(Place::Address),
            DATA_PORT..DATA_END if self.address & ENABLED != 0 => {
                let [register, function, bus, _] = self.address.to_le_bytes();
                let offset = u16::from(register) + (port - DATA_PORT);
                Some(self.config(usize::from(bus) << 8 | usize::from(function), offset, bytes))
            }
            DATA_PORT..DATA_END => Some(Place::Nobody),
            _ => None,
        }
    }

    /// What an access of `bytes` bytes at guest-physical `gpa` reaches, if it is PCI's.
    pub fn at(&self, gpa: u64, bytes: u8) -> Option<Place> {
        if let Some(offset) = gpa.checked_sub(PCI_ECAM.0).filter(|at| *at < PCI_ECAM_BYTES) {
            return Some(self.config((offset >> 12) as usize, (offset & 0xfff) as u16, bytes));
        }
        let mut behind = self.functions.iter().enumerate();
        let found = behind.find_map(|(number, function)| {
            Some(match function.at(gpa)? {
                Inside::Msix(offset) => Place::Msix { function: number, offset },
                Inside::Registers(offset) => {
                    Place::Registers { slot: number.checked_sub(1)?, offset }
                }
            })
        });
        let in_window = (PCI_MEMORY.0..PCI_MEMORY_END.0).contains(&gpa);
        found.or_else(|| in_window.then_some(Place::Nobody))
    }

    /// Configuration space at `offset` of the function that is addressed so: bits 3 to 7 are its device's
    /// number, above are the bus's. Each device has one function.
    fn config(&self, addressed: usize, offset: u16, bytes: u8) -> Place {
        let number = addressed >> 3;
        match self.functions.get(number) {
            Some(function) if addressed & 7 == 0 && function.is_present => {
                match function.window(offset, bytes) {
                    Some(offset) if number > 0 => Place::Registers { slot: number - 1, offset },
                    Some(_) | None => Place::Config { function: number, offset },
                }
            }
            Some(_) | None => Place::Nobody,
        }
    }

    /// Reads `bytes` bytes of what is no device's own.
    pub fn read(&self, place: Place, bytes: u8) -> u64 {
        match place {
            Place::Address => u64::from(self.address),
            Place::Config { function, offset } => {
                self.functions[function].config.read(offset, bytes)
            }
            Place::Msix { function, offset } => self.functions[function].read_msix(offset, bytes),
            Place::Registers { .. } | Place::Nobody => {
                u64::MAX >> (64 - 8 * u32::from(bytes.clamp(1, 8)))
            }
        }
    }

    /// Writes the low `bytes` bytes of `value` there.
    pub fn write(&mut self, place: Place, bytes: u8, value: u64) {
        match place {
            Place::Address => self.address = value as u32 & ADDRESS_BITS,
            Place::Config { function, offset } => {
                self.functions[function].write_config(offset, bytes, value);
            }
            Place::Msix { function, offset } => {
                self.functions[function].write_msix(offset, bytes, value);
            }
            Place::Registers { .. } | Place::Nobody => {}
        }
    }

    /// Whether device `slot` may reach memory. One that is not on this bus may.
    pub fn is_master(&self, slot: usize) -> bool {
        self.functions.get(slot + 1).is_none_or(Function::is_master)
    }

    /// Device `slot` wants the message of `vector` sent.
    pub fn ask(&mut self, slot: usize, vector: u16) {
        if let Some(function) = self.functions.get_mut(slot + 1) {
            function.ask(vector);
        }
    }

    /// Device `slot` has something to be acknowledged or not; *returns* whether it asserts its line.
    /// A device that is not on this bus has a line of its own.
    pub fn set_line(&mut self, slot: usize, raised: bool) -> bool {
        self.functions.get_mut(slot + 1).map_or(raised, |function| function.set_line(raised))
    }

    /// The messages that are to be sent now.
    pub fn take_messages(&mut self) -> Vec<Message> {
        self.functions.iter_mut().flat_map(Function::take_messages).collect()
    }

    /// Why no message of device `slot` comes, if it interrupts by messages. `waits` says of a vector
    /// of the processor's whether it is held off there.
    pub fn silence(&self, slot: usize, waits: impl Fn(u8) -> bool) -> Option<WhyAsleep> {
        self.functions.get(slot + 1)?.silence(waits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// splitmix64.
    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    #[test]
    fn whatever_is_written_where_somebody_answers() {
        let mut state = 1;
        let (mut reached, mut sent) = (0, 0);
        for _ in 0..100 {
            let mut bus = Bus::new([(2, 1), (1, 2), (23, 2)]);
            // The first sends messages until something else is written.
            for (at, bytes, value) in [
                (PCI_ECAM.0 + 0x8042, 2, 0x8000),
                (PCI_MEMORY.0 + 0x400c, 4, 0),
                (PCI_MEMORY.0 + 0x401c, 4, 0),
            ] {
                bus.write(bus.at(at, bytes).expect("it is the bus's"), bytes, value);
            }
            for _ in 0..500 {
                let number = random(&mut state);
                let bytes = [1, 2, 4, 8][(number >> 60) as usize & 3];
                let memory = match number & 3 {
                    0 | 1 => PCI_ECAM.0 + (number >> 8 & 0x1_ffff),
                    2 => PCI_MEMORY.0 + (number >> 8 & 0x1_ffff),
                    _ => number >> 8,
                };
                let place = match number & 4 {
                    0 => bus.at(memory, bytes),
                    _ => bus.at_port(0xcf8 + (number >> 8 & 7) as u16, bytes.min(4)),
                };
                let Some(place) = place else { continue };
                // Mostly what switches something on, and small numbers.
                let value = [number >> 32, 0x8000_0006, 0, u64::MAX][(number >> 4) as usize & 3];
                bus.write(place, bytes, value);
                bus.read(place, bytes);
                bus.ask((number & 3) as usize, (number >> 2 & 3) as u16);
                bus.set_line((number & 3) as usize, number & 4 != 0);
                bus.silence((number & 3) as usize, |vector| vector & 1 != 0);
                sent += bus.take_messages().len();
                reached += usize::from(place != Place::Nobody);
            }
        }
        assert!(reached > 5_000 && sent > 100, "{reached} reached, {sent} sent");
    }

    /// PCI Local Bus Specification 3.0, 3.2.2.3: five bits of a device's number.
    #[test]
    fn more_devices_than_there_are_numbers_are_left_out() {
        let bus = Bus::new([(2, 1); 40]);
        assert_eq!(bus.functions.len(), 32);
        let last = bus.at(PCI_ECAM.0 + 0xf_8000, 4).expect("the ECAM");
        assert_eq!(bus.read(last, 4), 0x1042_1af4);
    }
}
