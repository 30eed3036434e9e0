//! What a bare-metal guest of a PC expects at its I/O ports, as thin devices.
//!
//! Time is virtual time, of which the 8254, the local APIC's timer and the clock are made. The 8254's
//! counter 0 and COM1 interrupt through the 8259As and the I/O APIC (`wiring.rs`).

mod apic;
mod clock;
mod counters;
mod interrupts;
mod pci;
mod serial;
mod silence;
mod wiring;

pub use apic::{HZ as APIC_HZ, Mode as ApicMode, Refused};
pub use pci::{Bus as PciBus, Place as PciPlace};
pub use ultravisor_abi::boot::VIRTIO_INPUTS;
pub use wiring::{At, Presented, Wiring};

use crate::loader::{PM1_CONTROL, PM1_EVENT};
use clock::Clock;
use counters::Counters;
use serial::Serial;
use std::ops::RangeInclusive;
use wiring::Line;

/// Who answers at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Device {
    /// The first 8259A.
    Pic,
    /// The 8254.
    Pit,
    /// Port B of the system: the gate and the output of the 8254's counter 2.
    Speaker,
    /// The MC146818: index and data.
    Cmos,
    /// The second 8259A.
    SecondPic,
    /// The debug console of Bochs and QEMU.
    DebugConsole,
    /// QEMU's `isa-debug-exit` where its users put it.
    DebugExit,
    /// A 16550A.
    Com1,
    /// ACPI's fixed hardware: events, of which none comes, and PM1a control.
    PowerManagement,
}

/// The ports that somebody answers at (the IBM PC/AT's; QEMU `hw/i386/pc.c`, `hw/char/debugcon.c`,
/// `hw/misc/debugexit.c`, `hw/acpi/core.c`).
const PORTS: [(RangeInclusive<u16>, Device); 9] = [
    (0x20..=0x21, Device::Pic),
    (0x40..=0x43, Device::Pit),
    (0x61..=0x61, Device::Speaker),
    (0x70..=0x71, Device::Cmos),
    (0xa0..=0xa1, Device::SecondPic),
    (0xe9..=0xe9, Device::DebugConsole),
    (0xf4..=0xf7, Device::DebugExit),
    (0x3f8..=0x3ff, Device::Com1),
    (PM1_EVENT..=PM1_CONTROL + 1, Device::PowerManagement),
];

/// Text that has no line feed yet is told when it is so long, in bytes.
const LINE_BYTES_MAX: usize = 256;
/// PM1a control: ACPI is on (ACPI 6.5, table 4.17).
const SCI_EN: u16 = 1;
/// PM1a control: go to sleep now.
const SLP_EN: u16 = 1 << 13;
/// PM1a control: how deep; 0 is S5 on QEMU's machines.
const SLP_TYP: u16 = 7 << 10;

/// What an access did beside its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing that others see.
    Nothing,
    /// The guest ends with this status.
    Exit(u64),
    /// Our limit: what the guest wants here is not built.
    Unsupported(String),
}

/// The devices.
pub struct Pc {
    com1: Serial,
    /// The interrupt controllers.
    pub wiring: Wiring,
    /// What is on the PCI bus.
    pub pci: PciBus,
    counters: Counters,
    clock: Clock,
    power: u16,
    /// ACPI's events: which are there, and which the guest wants to be told.
    power_events: [u8; 4],
    /// Text of each console that has no line feed yet: COM1's and the debug console's.
    lines: [Vec<u8>; 2],
    /// Text that is to be told.
    told: Vec<Vec<u8>>,
}

impl Default for Pc {
    fn default() -> Self {
        Self {
            com1: Serial::new(),
            wiring: Wiring::default(),
            pci: PciBus::default(),
            counters: Counters::default(),
            clock: Clock::default(),
            power: SCI_EN,
            power_events: [0; 4],
            lines: [Vec::new(), Vec::new()],
            told: Vec::new(),
        }
    }
}

fn device_at(port: u16) -> Option<(Device, u16)> {
    let found = PORTS.iter().find(|(ports, _)| ports.contains(&port));
    found.map(|(ports, device)| (*device, port - ports.start()))
}

impl Pc {
    /// `in`: `bytes` (1, 2 or 4) from `port` on, at virtual time `now_ns`. A port at which nobody
    /// answers reads all ones, as on a bus that nobody drives.
    pub fn read(&mut self, port: u16, bytes: u8, now_ns: u64) -> u64 {
        if port == PM1_CONTROL && bytes >= 2 {
            return u64::from(self.power);
        }
        (0..bytes.min(8)).fold(0, |value, at| {
            let byte = self.read_byte(port.wrapping_add(u16::from(at)), now_ns);
            value | (u64::from(byte) << (8 * at))
        })
    }

    /// Whether a read of `port` says what time it is, or how long a counter is still to run.
    pub fn tells_time(&self, port: u16) -> bool {
        matches!(device_at(port), Some((Device::Pit | Device::Speaker | Device::Cmos, _)))
    }

    fn read_byte(&mut self, port: u16, now_ns: u64) -> u8 {
        match device_at(port) {
            None | Some((Device::DebugExit, _)) => 0xff,
            Some((Device::Pic, at)) => self.wiring.pics.first.read(at),
            Some((Device::SecondPic, at)) => self.wiring.pics.second.read(at),
            Some((Device::Pit, at)) => self.counters.read(at, now_ns),
            Some((Device::Speaker, _)) => self.counters.read_gate(now_ns),
            Some((Device::Cmos, at)) => self.clock.read(at, now_ns),
            Some((Device::DebugConsole, _)) => 0xe9,
            Some((Device::Com1, at)) => self.com1.read(at),
            Some((Device::PowerManagement, at)) => match self.power_events.get(usize::from(at)) {
                Some(event) => *event,
                None => self.power.to_le_bytes()[usize::from(at & 1)],
            },
        }
    }

    /// `out`: the low `bytes` (1, 2 or 4) of `value` to `port`, at virtual time `now_ns`. What is
    /// written where nobody answers is lost.
    pub fn write(&mut self, port: u16, bytes: u8, value: u32, now_ns: u64) -> Effect {
        if port == 0xf4 {
            // QEMU `hw/misc/debugexit.c`: the process ends with this status.
            let value = u64::from(value) & (u64::MAX >> (64 - 8 * u32::from(bytes.clamp(1, 4))));
            return Effect::Exit((value << 1) | 1);
        }
        if port == PM1_CONTROL && bytes >= 2 {
            return self.write_power(value as u16);
        }
        for at in 0..bytes.min(4) {
            let byte = (value >> (8 * at)) as u8;
            let effect = self.write_byte(port.wrapping_add(u16::from(at)), byte, now_ns);
            if effect != Effect::Nothing {
                return effect;
            }
        }
        Effect::Nothing
    }

    fn write_byte(&mut self, port: u16, value: u8, now_ns: u64) -> Effect {
        let done = match device_at(port) {
            None | Some((Device::DebugExit, _)) => Ok(()),
            Some((Device::PowerManagement, at)) => {
                // Status is cleared by ones, and none is set. One byte of the control register alone
                // changes nothing: its users write both.
                if let Some(enabled) =
                    self.power_events[2..].get_mut(usize::from(at.wrapping_sub(2)))
                {
                    *enabled = value;
                }
                Ok(())
            }
            Some((Device::Pic, at)) => self.wiring.pics.first.write(at, value),
            Some((Device::SecondPic, at)) => self.wiring.pics.second.write(at, value),
            Some((Device::Pit, at)) => self.counters.write(at, value, now_ns),
            Some((Device::Speaker, _)) => {
                self.counters.write_gate(value, now_ns);
                Ok(())
            }
            Some((Device::Cmos, at)) => self.clock.write(at, value),
            Some((Device::DebugConsole, _)) => {
                self.print(1, &[value]);
                Ok(())
            }
            Some((Device::Com1, at)) => {
                let text = self.com1.write(at, value);
                self.print(0, &text);
                Ok(())
            }
        };
        match done {
            Ok(()) => Effect::Nothing,
            Err(what) => Effect::Unsupported(what.to_owned()),
        }
    }

    /// What the interrupt controllers have for the processor at virtual time `now_ns`.
    pub fn present(&mut self, now_ns: u64) -> Presented {
        for message in self.pci.take_messages() {
            self.wiring.message(message);
        }
        if self.counters.has_ticked(now_ns) {
            self.wiring.pulse(Line::Timer);
        }
        if self.com1.has_interrupted() {
            self.wiring.pulse(Line::Com1);
        }
        self.wiring.present(now_ns)
    }

    /// When a clock changes next what there is for the processor, in virtual nanoseconds; later than
    /// when [`Pc::present`] was asked last.
    pub fn next_clock_ns(&self) -> Option<u64> {
        let tick = self.counters.next_tick_ns().filter(|_| self.wiring.awaits_tick());
        tick.into_iter().chain(self.wiring.local.next_ns()).min()
    }

    /// The same of what RFLAGS.IF does not hold off.
    pub fn next_non_maskable_ns(&self) -> Option<u64> {
        self.counters.next_tick_ns().filter(|_| self.wiring.tick_is_non_maskable())
    }

    fn write_power(&mut self, value: u16) -> Effect {
        self.power = (value & !SLP_EN) | SCI_EN;
        match (value & SLP_EN != 0, value & SLP_TYP) {
            (false, _) => Effect::Nothing,
            (true, 0) => Effect::Exit(0),
            (true, _) => Effect::Unsupported("an ACPI sleep that is not S5".to_owned()),
        }
    }

    fn print(&mut self, console: usize, text: &[u8]) {
        for byte in text {
            let line = &mut self.lines[console];
            line.push(*byte);
            if *byte == b'\n' || line.len() == LINE_BYTES_MAX {
                self.told.push(std::mem::take(line));
            }
        }
    }

    /// Lines that have been written since this was asked last.
    pub fn take_lines(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.told)
    }

    /// The guest is over: what it wrote without a line feed, too.
    pub fn take_rest(&mut self) -> Vec<Vec<u8>> {
        let rest = self.lines.iter_mut().map(std::mem::take).filter(|line| !line.is_empty());
        self.told.extend(rest);
        self.take_lines()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ultravisor_cpu::Interrupt;

    #[test]
    fn the_ports_are_in_order_and_nobody_has_two() {
        for pair in PORTS.windows(2) {
            assert!(pair[0].0.end() < pair[1].0.start(), "{pair:?}");
        }
        assert_eq!(device_at(0x3fd), Some((Device::Com1, 5)));
        assert_eq!(device_at(0x80), None);
    }

    #[test]
    fn where_nobody_answers_all_is_ones_and_lost() {
        let mut pc = Pc::default();
        assert_eq!(pc.read(0xcfc, 4, 0), 0xffff_ffff);
        assert_eq!(pc.write(0xcf8, 4, 0x8000_0000, 0), Effect::Nothing);
        assert_eq!(pc.read(0xcf8, 2, 0), 0xffff);
        assert_eq!(pc.read(0xffff, 4, 0), 0xffff_ffff);
        // A wide access reaches whoever answers at each of its bytes.
        assert_eq!(pc.read(0xe8, 2, 0), 0xe9ff);
    }

    #[test]
    fn the_guest_ends_by_the_debug_exit_and_by_the_power_switch() {
        let mut pc = Pc::default();
        assert_eq!(pc.write(0xf4, 1, 0x10, 0), Effect::Exit(33));
        assert_eq!(pc.write(0xf4, 4, u32::MAX, 0), Effect::Exit(0x1_ffff_ffff));
        assert_eq!(pc.write(0xf4, 1, 0xfff, 0), Effect::Exit(0x1ff));
        assert_eq!(pc.write(0x604, 2, 0x0001, 0), Effect::Nothing);
        assert_eq!(pc.write(0x604, 2, 0x2000, 0), Effect::Exit(0));
        assert!(matches!(pc.write(0x604, 2, 0x2400, 0), Effect::Unsupported(_)));
        assert_eq!(pc.read(0x604, 2, 0), 0x0401);
    }

    #[test]
    fn the_power_button_is_never_pressed_but_may_be_waited_for() {
        let mut pc = Pc::default();
        assert_eq!(pc.write(0x600, 4, 0x0120_ffff, 0), Effect::Nothing);
        assert_eq!((pc.read(0x600, 4, 0), pc.read(0x604, 1, 0)), (0x0120_0000, 1));
    }

    #[test]
    fn text_is_told_by_lines_and_each_console_has_its_own() {
        let mut pc = Pc::default();
        for (port, byte) in [(0x3f8, b'a'), (0xe9, b'x'), (0x3f8, b'\n'), (0x3f8, b'b')] {
            assert_eq!(pc.write(port, 1, u32::from(byte), 0), Effect::Nothing);
        }
        assert_eq!(pc.take_lines(), [b"a\n".to_vec()]);
        assert_eq!(pc.take_rest(), [b"b".to_vec(), b"x".to_vec()]);
        assert!(pc.take_rest().is_empty());
        for _ in 0..LINE_BYTES_MAX {
            pc.write(0xe9, 1, 7, 0);
        }
        assert_eq!(pc.take_lines(), [vec![7; LINE_BYTES_MAX]]);
    }

    /// What is presented at `now_ns`, by its vector.
    fn vector(pc: &mut Pc, now_ns: u64) -> Option<u8> {
        pc.present(now_ns).interrupt.map(Interrupt::vector)
    }

    fn take(pc: &mut Pc, vector: u8, now_ns: u64) {
        pc.wiring.take(Interrupt::External(vector), now_ns);
    }

    #[test]
    fn the_line_and_the_timer_interrupt_through_the_pic() {
        let mut pc = Pc::default();
        assert_eq!(pc.write(0x3f9, 1, 2, 0), Effect::Nothing, "COM1 is to say when it can send");
        assert_eq!(vector(&mut pc, 0), None, "masked");
        assert_eq!(pc.write(0x21, 1, 0xef, 0), Effect::Nothing);
        assert_eq!(vector(&mut pc, 0), Some(12));
        take(&mut pc, 12, 0);
        assert_eq!(vector(&mut pc, 0), None);
        // A thousand ticks a second.
        for (port, value) in [(0x43, 0x34), (0x40, 0xa9), (0x40, 0x04), (0x20, 0x20)] {
            assert_eq!(pc.write(port, 1, value, 0), Effect::Nothing);
        }
        assert_eq!(pc.next_clock_ns(), None, "masked");
        pc.write(0x21, 1, 0xfe, 0);
        let due = pc.next_clock_ns().expect("it ticks");
        assert_eq!((vector(&mut pc, due - 1), vector(&mut pc, due)), (None, Some(8)));
        assert_eq!(pc.next_clock_ns(), None, "once more would be the same");
        take(&mut pc, 8, due);
        assert!(pc.next_clock_ns().is_some_and(|next| next > due));
        pc.write(0x20, 1, 0x20, due);
        // Ticks that nobody took are one.
        assert_eq!(vector(&mut pc, 20 * due), Some(8));
        take(&mut pc, 8, 20 * due);
        pc.write(0x20, 1, 0x20, due);
        assert_eq!(vector(&mut pc, 20 * due), None);
    }
}
