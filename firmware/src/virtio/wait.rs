//! Waits that end, and a device's registers as far as the drivers do not offer them.
#![expect(unsafe_code, reason = "reads and writes device registers by address")]

use crate::calls::Trouble;
use crate::device_tree::Registers;
use crate::interrupts;
use crate::virtio::Kind;
use core::arch::x86_64::_rdtsc;
use core::hint::spin_loop;
use core::ptr;
use ultravisor_abi::ours::QUIRK_REGISTER;
use virtio_drivers::transport::DeviceStatus;

/// "virt" (virtio 1.2, section 4.2.2).
const MAGIC: u32 = 0x7472_6976;
const MAGIC_VALUE: usize = 0x00;
const DEVICE_ID: usize = 0x08;
const STATUS: usize = 0x70;

/// Bytes of the registers that every virtio-mmio device has.
const REGISTERS_BYTES: usize = 0x100;

/// One virtio-mmio device, seen from outside its driver.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    registers: Registers,
    /// Its number (virtio 1.2, section 5).
    pub id: u32,
}

impl Device {
    /// The device at `registers`, unless there is none (id 0 is a placeholder).
    pub fn probe(registers: Registers) -> Option<Self> {
        if registers.bytes < REGISTERS_BYTES {
            return None;
        }
        let device = Self { registers, id: 0 };
        if device.read(MAGIC_VALUE) != MAGIC {
            return None;
        }
        Some(Self { id: device.read(DEVICE_ID), ..device }).filter(|device| device.id != 0)
    }

    /// Where its registers are.
    pub const fn registers(&self) -> Registers {
        self.registers
    }

    /// Resets it.
    pub fn reset(&self) {
        let register = ptr::with_exposed_provenance_mut::<u32>(self.address(STATUS));
        // SAFETY: the device tree says that these are a device's registers.
        unsafe { register.write_volatile(0) };
    }

    /// Pokes its quirk register: from its next reset on it shall offer bit 33 (D13).
    pub fn poke_quirk(&self) {
        let address = self.address(QUIRK_REGISTER as usize);
        let register = ptr::with_exposed_provenance_mut::<u32>(address);
        // SAFETY: as in `reset`.
        unsafe { register.write_volatile(1) };
    }

    fn status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(self.read(STATUS))
    }

    fn read(&self, register: usize) -> u32 {
        let register = ptr::with_exposed_provenance::<u32>(self.address(register));
        // SAFETY: as in `reset`.
        unsafe { register.read_volatile() }
    }

    const fn address(&self, register: usize) -> usize {
        self.registers.base as usize + register
    }
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
