//! Who is wired to whom: devices to the 8259As and the I/O APIC, those to the local APIC, and that to
//! the processor.
//!
//! As on a PC (MultiProcessor Specification 1.4, 3.6.2; ACPI 6.5, 5.2.12.5): the 8254 is input 0 of the
//! first 8259A and input 2 of the I/O APIC, COM1 is input 4 of both, and the 8259As' output is the first
//! pin of the local APIC and input 0 of the I/O APIC. Virtio devices share inputs 16 to 23 of the
//! I/O APIC, level-triggered, as PCI's do.

use super::apic::{IoApic, LocalApic, Mode, Refused};
use super::interrupts::Pics;
use super::pci::Message;
use ultravisor_abi::boot::{IO_APIC, LOCAL_APIC, VIRTIO_INPUT, VIRTIO_INPUTS};
use ultravisor_cpu::Interrupt;

/// A device that asks by a pulse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// The 8254's counter 0.
    Timer,
    /// COM1.
    Com1,
}

impl Line {
    /// The input of the first 8259A.
    pub const fn of_pic(self) -> u8 {
        match self {
            Self::Timer => 0,
            Self::Com1 => 4,
        }
    }

    /// The input of the I/O APIC.
    pub const fn of_io_apic(self) -> usize {
        match self {
            Self::Timer => 2,
            Self::Com1 => 4,
        }
    }
}

/// What the interrupt controllers have for the processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Presented {
    /// What RFLAGS.IF and, if it is the local APIC's, the task priority may hold off.
    pub interrupt: Option<Interrupt>,
    /// A non-maskable one has come.
    pub non_maskable: bool,
}

/// The interrupt controllers.
#[derive(Default)]
pub struct Wiring {
    /// Two 8259As.
    pub pics: Pics,
    /// The processor's own.
    pub local: LocalApic,
    /// The one that devices are at.
    pub io: IoApic,
}

impl Wiring {
    /// `line` is asserted for a moment.
    pub fn pulse(&mut self, line: Line) {
        self.pics.request(line.of_pic());
        self.io.pulse(line.of_io_apic(), &mut self.local);
    }

    /// Which of the shared inputs are asserted, from the first on.
    pub fn set_shared(&mut self, asserted: [bool; VIRTIO_INPUTS]) {
        for (pin, asserted) in (VIRTIO_INPUT..).zip(asserted) {
            self.io.set_line(pin, asserted, &mut self.local);
        }
    }

    /// A device sends a message. One to anywhere but the processor's registers is lost.
    pub fn message(&mut self, message: Message) {
        if !self.local.receive_store(message.address, message.data) {
            tracing::debug!(?message, "a message that nobody accepts");
        }
    }

    /// Whether the input that virtio device `slot` is at is masked.
    pub fn is_shared_masked(&self, slot: usize) -> bool {
        self.io.is_masked(VIRTIO_INPUT + slot % VIRTIO_INPUTS)
    }

    /// Whether the 8259As' interrupts reach the processor as such.
    pub fn passes_8259(&self) -> bool {
        self.local.is_passed_by() || self.io.passes_8259()
    }

    /// What there is for the processor at virtual time `now_ns`.
    pub fn present(&mut self, now_ns: u64) -> Presented {
        self.local.advance(now_ns);
        let external = self.pics.vector();
        self.local.set_pin(external.is_some());
        let external = external.filter(|_| self.passes_8259()).map(Interrupt::External);
        let local = || self.local.next().map(Interrupt::Local);
        let interrupt = external.or_else(local);
        Presented { interrupt, non_maskable: self.local.take_non_maskable() }
    }

    /// The processor takes what was presented, at virtual time `now_ns`.
    pub fn take(&mut self, interrupt: Interrupt, now_ns: u64) {
        // What came while it waited is the same interrupt.
        self.local.advance(now_ns);
        match interrupt {
            Interrupt::Local(vector) => self.local.take(vector),
            Interrupt::External(_) => self.pics.acknowledge(),
        }
    }

    /// Whether a tick of the 8254 would change what there is for the processor.
    pub fn awaits_tick(&self) -> bool {
        self.pics.awaits(Line::Timer.of_pic())
            || self.io.awaits(Line::Timer.of_io_apic(), &self.local)
    }

    /// Whether a tick of the 8254 is a non-maskable interrupt, as a watchdog has it.
    pub fn tick_is_non_maskable(&self) -> bool {
        self.io.is_non_maskable(Line::Timer.of_io_apic())
            || self.local.is_watched() && self.pics.awaits(Line::Timer.of_pic())
    }

    /// A load of `bytes` bytes at `offset` of the local APIC's page, or of the I/O APIC's.
    pub fn read(&mut self, at: At, bytes: u8, now_ns: u64) -> Result<u32, Refused> {
        match at {
            At::Local(offset) => self.local.read_memory(offset, bytes, now_ns),
            At::Io(offset) => self.io.read(offset, bytes).map_err(Refused::NotBuilt),
        }
    }

    /// A store.
    pub fn write(&mut self, at: At, bytes: u8, value: u32, now_ns: u64) -> Result<(), Refused> {
        match at {
            At::Local(offset) => {
                let ended = self.local.write_memory(offset, bytes, value, now_ns)?;
                self.ended(ended);
                Ok(())
            }
            At::Io(offset) => {
                self.io.write(offset, bytes, value, &mut self.local).map_err(Refused::NotBuilt)
            }
        }
    }

    /// `rdmsr` of a register of the local APIC's.
    pub fn read_register(&mut self, number: u32, now_ns: u64) -> Result<u64, Refused> {
        match number {
            IA32_APIC_BASE => Ok(self.local.base()),
            IA32_TSC_DEADLINE => Ok(self.local.deadline(now_ns)),
            _ => self.local.read_register(number as u8, now_ns),
        }
    }

    /// `wrmsr` to one.
    pub fn write_register(&mut self, number: u32, value: u64, now_ns: u64) -> Result<(), Refused> {
        match number {
            IA32_APIC_BASE => self.local.set_base(value),
            IA32_TSC_DEADLINE => {
                self.local.set_deadline(value, now_ns);
                Ok(())
            }
            _ => {
                let ended = self.local.write_register(number as u8, value, now_ns)?;
                self.ended(ended);
                Ok(())
            }
        }
    }

    fn ended(&mut self, vector: Option<u8>) {
        if let Some(vector) = vector {
            self.io.end(vector, &mut self.local);
        }
    }

    /// Which register is at guest-physical `gpa`, if one is.
    pub fn at(&self, gpa: u64) -> Option<At> {
        const PAGE: u64 = 0x1000;
        let within = |base: u64| gpa.checked_sub(base).filter(|offset| *offset < PAGE);
        let local = within(LOCAL_APIC.0).filter(|_| self.local.mode() == Mode::Memory);
        let io = || within(IO_APIC.0).map(At::Io);
        local.map(At::Local).or_else(io)
    }
}

/// A place among the registers of an interrupt controller: an offset in its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The local APIC's.
    Local(u64),
    /// The I/O APIC's.
    Io(u64),
}

const IA32_APIC_BASE: u32 = 0x1b;
const IA32_TSC_DEADLINE: u32 = 0x6e0;

#[cfg(test)]
mod tests {
    use super::*;
    use ultravisor_abi::Gpa;

    /// The local APIC passes nothing by, and its vectors are open.
    fn symmetric() -> Wiring {
        let mut wiring = Wiring::default();
        wiring.write(At::Local(0x350), 4, 0x1_0000, 0).expect("LINT0 masked");
        wiring
    }

    fn route(wiring: &mut Wiring, pin: usize, entry: u32) {
        wiring.write(At::Io(0), 4, 0x10 + 2 * pin as u32, 0).expect("a selection");
        wiring.write(At::Io(0x10), 4, entry, 0).expect("an entry");
    }

    /// MultiProcessor Specification 1.4, 3.6.2 (interrupt modes).
    #[test]
    fn each_line_is_at_its_inputs_of_both_controllers() {
        for (line, input, pin) in [(Line::Timer, 0, 2), (Line::Com1, 4, 4)] {
            let mut wiring = symmetric();
            route(&mut wiring, pin, 0x70);
            wiring.pics.first.write(1, !(1 << input)).expect("a mask");
            wiring.pulse(line);
            assert_eq!(wiring.present(0).interrupt, Some(Interrupt::Local(0x70)), "{line:?}");
            wiring.take(Interrupt::Local(0x70), 0);
            assert_eq!(wiring.present(0).interrupt, None, "the 8259As do not get through");
            wiring.write(At::Local(0x350), 4, 0x700, 0).expect("LINT0 open");
            assert_eq!(wiring.present(0).interrupt, Some(Interrupt::External(8 + input)));
        }
    }

    /// MultiProcessor Specification 1.4, 3.6.2.2 (virtual wire mode).
    #[test]
    fn the_8259as_get_through_by_the_first_input_of_the_io_apic_too() {
        let mut wiring = symmetric();
        wiring.pics.first.write(1, 0xfe).expect("a mask");
        wiring.pulse(Line::Timer);
        assert_eq!(wiring.present(0).interrupt, None);
        route(&mut wiring, 0, 0x700);
        assert_eq!(wiring.present(0).interrupt, Some(Interrupt::External(8)));
    }

    /// SDM volume 3, 11.8.5; 82093AA data sheet, 3.2.4.
    #[test]
    fn virtio_devices_share_eight_inputs_and_the_end_of_an_interrupt_reaches_the_io_apic() {
        let mut wiring = symmetric();
        for slot in [0, 7, 8] {
            assert!(wiring.is_shared_masked(slot));
        }
        route(&mut wiring, 17, 0x8071);
        assert!(!wiring.is_shared_masked(1) && !wiring.is_shared_masked(9));
        let mut raised = [false; VIRTIO_INPUTS];
        raised[1] = true;
        wiring.set_shared(raised);
        assert_eq!(wiring.present(0).interrupt, Some(Interrupt::Local(0x71)));
        wiring.take(Interrupt::Local(0x71), 0);
        wiring.write(At::Local(0xb0), 4, 0, 0).expect("the end");
        assert_eq!(wiring.present(0).interrupt, Some(Interrupt::Local(0x71)), "still raised");
    }

    /// MultiProcessor Specification 1.4, 3.6.2.
    #[test]
    fn a_tick_is_awaited_once_at_each_controller_that_lets_it_through() {
        let mut wiring = symmetric();
        assert!(!wiring.awaits_tick(), "masked at both");
        route(&mut wiring, 2, 0x30);
        assert!(wiring.awaits_tick());
        wiring.pulse(Line::Timer);
        assert!(!wiring.awaits_tick());
        wiring.take(Interrupt::Local(0x30), 0);
        assert!(wiring.awaits_tick() && !wiring.tick_is_non_maskable());
        route(&mut wiring, 2, 0x400);
        assert!(wiring.tick_is_non_maskable());
        wiring.pulse(Line::Timer);
        assert!(wiring.present(0).non_maskable && !wiring.present(0).non_maskable);
        // By the first pin as a non-maskable one: the watchdog of old.
        let mut wiring = symmetric();
        wiring.write(At::Local(0x350), 4, 0x400, 0).expect("LINT0");
        wiring.pics.first.write(1, 0xfe).expect("a mask");
        assert!(wiring.tick_is_non_maskable());
        wiring.pulse(Line::Timer);
        assert!(wiring.present(0).non_maskable);
    }

    /// SDM volume 3, 11.12.2; 82093AA data sheet, 3.1.
    #[test]
    fn registers_lie_in_two_pages_one_of_which_is_gone_in_x2apic_mode() {
        let mut wiring = Wiring::default();
        let Gpa(local) = LOCAL_APIC;
        assert_eq!(wiring.at(local + 0xfff), Some(At::Local(0xfff)));
        assert_eq!(wiring.at(IO_APIC.0 + 0x10), Some(At::Io(0x10)));
        for gpa in [local - 1, local + 0x1000, IO_APIC.0 - 1, IO_APIC.0 + 0x1000] {
            assert_eq!(wiring.at(gpa), None, "{gpa:#x}");
        }
        wiring.write_register(IA32_APIC_BASE, 0xfee0_0d00, 0).expect("x2APIC");
        assert_eq!((wiring.at(local), wiring.read_register(0x803, 0)), (None, Ok(0x5_0014)));
    }
}
