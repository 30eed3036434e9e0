//! Waits that end, and a device's registers as far as the drivers do not offer them.
#![expect(unsafe_code, reason = "reads the time stamp counter")]

use crate::calls::Trouble;
use crate::device_tree::{Bus, Registers};
use crate::interrupts;
use crate::registers::{load, store};
use crate::virtio::Kind;
use crate::virtio::function::Function;
use crate::virtio::pci::status_register;
use core::arch::x86_64::_rdtsc;
use core::hint::spin_loop;
use ultravisor_abi::ours::QUIRK_REGISTER;
use virtio_drivers::transport::DeviceStatus;

/// "virt" (virtio 1.2, section 4.2.2).
const MAGIC: u32 = 0x7472_6976;
const MAGIC_VALUE: u64 = 0x00;
const DEVICE_ID: u64 = 0x08;
const STATUS: u64 = 0x70;

/// Bytes of the registers that every virtio-mmio device has.
const REGISTERS_BYTES: usize = 0x100;

/// One virtio device, seen from outside its driver.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    registers: Registers,
    /// Where its status register is.
    status: u64,
    /// Its number (virtio 1.2, section 5).
    pub id: u32,
}

impl Device {
    /// The device at `registers`, unless there is none.
    pub fn probe(registers: Registers) -> Option<Self> {
        let (id, status) = match registers.bus {
            Bus::Mmio => (mmio_id(&registers)?, registers.base + STATUS),
            Bus::Pci => {
                let function = Function(registers.base);
                (function.virtio_id()?, status_register(function)?)
            }
        };
        Some(Self { registers, status, id })
    }

    /// Where its registers are.
    pub const fn registers(&self) -> Registers {
        self.registers
    }

    /// Resets it.
    pub fn reset(&self) {
        match self.registers.bus {
            Bus::Mmio => store(self.status, 0_u32),
            Bus::Pci => store(self.status, 0_u8),
        }
    }

    /// Pokes its quirk register: from its next reset on it shall offer bit 33 (D13). A PCI function has
    /// none.
    pub fn poke_quirk(&self) {
        if self.registers.bus == Bus::Mmio {
            store(self.registers.base + QUIRK_REGISTER, 1_u32);
        }
    }

    fn status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(match self.registers.bus {
            Bus::Mmio => load(self.status),
            Bus::Pci => load::<u8>(self.status).into(),
        })
    }
}

/// The number of the virtio-mmio device at `registers`, unless it is 0, a placeholder's.
fn mmio_id(registers: &Registers) -> Option<u32> {
    if registers.bytes < REGISTERS_BYTES || load::<u32>(registers.base + MAGIC_VALUE) != MAGIC {
        return None;
    }
    Some(load(registers.base + DEVICE_ID)).filter(|id| *id != 0)
}

/// How long to wait for which device.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The device.
    pub device: Device,
    /// Its kind.
    pub kind: Kind,
    /// The bound, in virtual nanoseconds.
    pub wait_ns: u64,
}

impl Patience {
    /// Asks until `done` says so; sleeps between where devices interrupt, else polls.
    ///
    /// # Errors
    /// At the bound: by name, depending on what the device's status register says.
    pub fn until(&self, mut done: impl FnMut() -> bool) -> Result<(), Trouble> {
        let start = now();
        while !done() {
            if now().wrapping_sub(start) >= self.wait_ns {
                return Err(self.stalled());
            }
            rest(start.wrapping_add(self.wait_ns));
        }
        Ok(())
    }

    fn stalled(&self) -> Trouble {
        let troubles = self.kind.troubles();
        if self.device.status().contains(DeviceStatus::DEVICE_NEEDS_RESET) {
            troubles.needs_reset
        } else {
            troubles.timeout
        }
    }
}

/// Lets `ns` virtual nanoseconds pass.
pub fn pass(ns: u64) {
    let start = now();
    while now().wrapping_sub(start) < ns {
        rest(start.wrapping_add(ns));
    }
}

/// Lets some time pass, not much beyond `until_ns`.
fn rest(until_ns: u64) {
    if interrupts::are_on() { interrupts::sleep(now(), until_ns) } else { spin_loop() }
}

/// Virtual nanoseconds: the time stamp counter counts them.
fn now() -> u64 {
    // SAFETY: reading the counter has no effect; nothing forbids it in ring 0.
    unsafe { _rdtsc() }
}
