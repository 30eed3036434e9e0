//! The local APIC of the one processor: which interrupts wait, and which are served.
//!
//! Source: SDM volume 3, chapter 11. The processor itself compares a waiting interrupt with the task
//! priority, which it changes without asking (CR8); here it is compared with what is served.

use super::Refused;
use super::base::{Base, Mode};
use super::delivery::{Delivery, Sender};
use super::registers::{Entry, LEVEL, MASKED, REMOTE_IRR};
use super::timer::Timer;
use super::vectors::{FIRST, Vectors, class};
use crate::event::WhyAsleep;

/// The spurious-interrupt vector register: it is on, as its software wants it.
pub(super) const SOFTWARE_ON: u32 = 1 << 8;

/// Bits of the error status register (SDM volume 3, figure 11-9).
pub(super) mod error {
    pub const SENT_ILLEGAL: u32 = 1 << 5;
    pub const RECEIVED_ILLEGAL: u32 = 1 << 6;
    pub const NO_REGISTER: u32 = 1 << 7;
}

/// Whom a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// By sets that the processors chose, not by number.
    pub logical: bool,
    pub name: u32,
}

/// A message of an I/O APIC or a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    pub to: Destination,
    pub delivery: Delivery,
    pub vector: u8,
    pub level: bool,
}

/// The local APIC.
pub struct LocalApic {
    pub(super) base: Base,
    /// The task priority, which is the processor's too: whoever calls keeps both the same.
    pub task_priority: u8,
    pub(super) id: u8,
    pub(super) logical_id: u8,
    /// Its lower 28 bits are ones.
    pub(super) format: u32,
    pub(super) spurious: u32,
    pub(super) local: [u32; 6],
    pub(super) command: u64,
    /// What is told at the next write of the error status register, and what was told at the last.
    pub(super) errors: (u32, u32),
    pub(super) requested: Vectors,
    pub(super) served: Vectors,
    pub(super) trigger: Vectors,
    pub(super) timer: Timer,
    /// The 8259As ask.
    pub(super) asked: bool,
    /// A non-maskable interrupt for the processor.
    pub(super) non_maskable: bool,
}

impl Default for LocalApic {
    /// As the firmware of a PC leaves it: "virtual wire mode", in which the 8259As' interrupts go
    /// through (MultiProcessor Specification 1.4, 3.6.2.2).
    fn default() -> Self {
        const EXTERNAL: u32 = 7 << 8;
        const NON_MASKABLE: u32 = 4 << 8;
        let mut apic = Self::reset(Base::default());
        apic.spurious |= SOFTWARE_ON;
        *apic.entry_mut(Entry::Lint0) = EXTERNAL;
        *apic.entry_mut(Entry::Lint1) = NON_MASKABLE;
        apic
    }
}

impl LocalApic {
    /// After a reset (SDM volume 3, 11.4.7.1).
    fn reset(base: Base) -> Self {
        Self {
            base,
            task_priority: 0,
            id: 0,
            logical_id: 0,
            format: u32::MAX,
            spurious: 0xff,
            local: [MASKED; 6],
            command: 0,
            errors: (0, 0),
            requested: Vectors::default(),
            served: Vectors::default(),
            trigger: Vectors::default(),
            timer: Timer::default(),
            asked: false,
            non_maskable: false,
        }
    }

    /// How it is accessed.
    pub fn mode(&self) -> Mode {
        self.base.mode()
    }

    /// IA32_APIC_BASE.
    pub fn base(&self) -> u64 {
        self.base.value()
    }

    /// Writes IA32_APIC_BASE. One that is turned off begins anew when it is turned on.
    pub fn set_base(&mut self, value: u64) -> Result<(), Refused> {
        let written = self.base.written(value)?;
        let (from, to) = (self.mode(), written.mode());
        if (from == Mode::Off) != (to == Mode::Off) {
            *self = Self::reset(written);
        }
        self.base = written;
        Ok(())
    }

    pub(super) fn entry(&self, entry: Entry) -> u32 {
        self.local[entry as usize]
    }

    pub(super) fn entry_mut(&mut self, entry: Entry) -> &mut u32 {
        &mut self.local[entry as usize]
    }

    /// Whether it takes fixed interrupts.
    fn is_on(&self) -> bool {
        self.mode() != Mode::Off && self.spurious & SOFTWARE_ON != 0
    }

    /// The interrupt that is next, if the task priority lets it pass.
    pub fn next(&self) -> Option<u8> {
        let vector = self.requested.highest()?;
        let served = self.served.highest().map_or(0, class);
        (class(vector) > served).then_some(vector)
    }

    /// The processor takes `vector`.
    pub fn take(&mut self, vector: u8) {
        self.requested.set(vector, false);
        self.served.set(vector, true);
    }

    /// Whether a non-maskable interrupt has come since this was asked.
    pub fn take_non_maskable(&mut self) -> bool {
        std::mem::take(&mut self.non_maskable)
    }

    /// Whether the 8259As' interrupts go to the processor past all this. If it is off, they do (SDM
    /// volume 3, 11.4.3).
    pub fn is_passed_by(&self) -> bool {
        let pin = self.entry(Entry::Lint0);
        let passes = Delivery::of(Sender::Local, pin) == Some(Delivery::External);
        self.mode() == Mode::Off || passes && pin & MASKED == 0
    }

    /// Whether what the 8259As ask for is a non-maskable interrupt.
    pub fn is_watched(&self) -> bool {
        let pin = self.entry(Entry::Lint0);
        let delivery = Delivery::of(Sender::Local, pin);
        self.is_on() && pin & MASKED == 0 && delivery == Some(Delivery::NonMaskable)
    }

    /// An interrupt comes to `vector`. *Returns* whether it was accepted.
    pub fn accept(&mut self, vector: u8, level: bool) -> bool {
        if !self.is_on() {
            return false;
        }
        if vector < FIRST {
            self.note(error::RECEIVED_ILLEGAL);
            return false;
        }
        self.requested.set(vector, true);
        self.trigger.set(vector, level);
        true
    }

    /// Whether `vector` waits already: once more makes no difference.
    pub fn has_requested(&self, vector: u8) -> bool {
        self.requested.contains(vector)
    }

    /// A message comes in; *returns* whether it was for this processor and is accepted.
    pub fn receive(&mut self, message: Message) -> bool {
        if self.mode() == Mode::Off || !self.is_meant(message.to) {
            return false;
        }
        match message.delivery {
            Delivery::Fixed | Delivery::Lowest => self.accept(message.vector, message.level),
            Delivery::NonMaskable => {
                self.non_maskable = true;
                true
            }
            // A processor that runs does not wait to be started; the others are not sent.
            Delivery::StartUp | Delivery::External | Delivery::Management | Delivery::Init => false,
        }
    }

    /// A device stores `data` at `address`; *returns* whether that is a message that was accepted
    /// (SDM volume 3, 11.11: the message address and data registers).
    pub fn receive_store(&mut self, address: u64, data: u32) -> bool {
        const MESSAGES: u64 = 0xfee;
        const LOGICAL: u64 = 1 << 2;
        const LEVEL: u32 = 1 << 15;
        let Some(delivery) = Delivery::of(Sender::Io, data) else { return false };
        let to =
            Destination { logical: address & LOGICAL != 0, name: (address >> 12 & 0xff) as u32 };
        let message = Message { to, delivery, vector: data as u8, level: data & LEVEL != 0 };
        address >> 20 == MESSAGES && self.receive(message)
    }

    /// Whether this processor is meant (SDM volume 3, 11.6.2 and 11.12.10).
    pub(super) fn is_meant(&self, to: Destination) -> bool {
        const FLAT: u32 = 0xf;
        let Destination { logical, name } = to;
        let all = match self.mode() {
            Mode::Registers => u32::MAX,
            Mode::Memory | Mode::Off => 0xff,
        };
        if name == all {
            return true;
        }
        match (logical, self.mode(), self.format >> 28) {
            (false, ..) => name == u32::from(self.id),
            (true, Mode::Registers, _) => {
                name >> 16 == self.logical() >> 16 && name & self.logical() & 0xffff != 0
            }
            (true, _, FLAT) => name & u32::from(self.logical_id) != 0,
            (true, ..) => {
                let (cluster, own) = (name >> 4, u32::from(self.logical_id) >> 4);
                (cluster == own || cluster == 0xf) && name & u32::from(self.logical_id) & 0xf != 0
            }
        }
    }

    /// The logical destination register.
    pub(super) fn logical(&self) -> u32 {
        match self.mode() {
            Mode::Registers => u32::from(self.id) >> 4 << 16 | 1 << (self.id & 0xf),
            Mode::Memory | Mode::Off => u32::from(self.logical_id) << 24,
        }
    }

    /// The line of the 8259As to the first pin is high or low.
    pub fn set_pin(&mut self, asks: bool) {
        let asked = std::mem::replace(&mut self.asked, asks);
        let rises = asks && !asked;
        let pin = self.entry(Entry::Lint0);
        let level = pin & LEVEL != 0;
        if pin & MASKED != 0 || !self.is_on() {
            return;
        }
        match Delivery::of(Sender::Local, pin) {
            Some(Delivery::Fixed) if level && asks && pin & REMOTE_IRR == 0 => {
                if self.accept(pin as u8, true) {
                    *self.entry_mut(Entry::Lint0) |= REMOTE_IRR;
                }
            }
            Some(Delivery::Fixed) if !level && rises => {
                self.accept(pin as u8, false);
            }
            Some(Delivery::NonMaskable) if rises => self.non_maskable = true,
            // Past it, or not to be set so.
            Some(_) | None => (),
        }
    }

    /// Virtual time is `now_ns`: what the timer has for the processor.
    pub fn advance(&mut self, now_ns: u64) {
        let entry = self.entry(Entry::Timer);
        if self.timer.take_expired(now_ns) && entry & MASKED == 0 {
            self.accept(entry as u8, false);
        }
    }

    /// When the timer asks for an interrupt next that does not wait already.
    pub fn next_ns(&self) -> Option<u64> {
        let entry = self.entry(Entry::Timer);
        let is_heard = self.is_on() && entry & MASKED == 0 && !self.has_requested(entry as u8);
        self.timer.next_ns().filter(|_| is_heard)
    }

    /// Why the timer does not wake the processor.
    pub fn silence(&self) -> WhyAsleep {
        let entry = self.entry(Entry::Timer);
        match (self.has_requested(entry as u8), self.timer.next_ns()) {
            (true, _) => WhyAsleep::HeldOff,
            (false, None) => WhyAsleep::Unset,
            (false, Some(_)) if entry & MASKED != 0 || !self.is_on() => WhyAsleep::Masked,
            (false, Some(_)) => WhyAsleep::Quiet,
        }
    }

    /// Something was wrong: it will be told, and the entry for errors asks for an interrupt.
    pub(super) fn note(&mut self, what: u32) {
        self.errors.0 |= what;
        let entry = self.entry(Entry::Error);
        let vector = entry as u8;
        if entry & MASKED == 0 && vector >= FIRST && self.is_on() {
            self.requested.set(vector, true);
            self.trigger.set(vector, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that is on, by memory, with all its entries masked.
    fn apic() -> LocalApic {
        let mut apic = LocalApic::reset(Base::default());
        apic.spurious = 0x1ff;
        apic
    }

    #[test]
    fn an_interrupt_passes_if_its_class_is_higher_than_that_of_all_that_is_served() {
        // SDM volume 3, 11.8.3.1: over all pairs of vectors.
        for served in FIRST..=255 {
            for asks in FIRST..=255 {
                let mut apic = apic();
                apic.accept(served, false);
                apic.take(served);
                apic.accept(asks, false);
                let passes = asks / 16 > served / 16;
                assert_eq!(apic.next(), passes.then_some(asks), "{asks} while {served}");
            }
        }
    }

    /// SDM volume 3, 11.8.4 (IRR, ISR).
    #[test]
    fn of_those_that_wait_the_highest_is_next_and_each_is_taken_once() {
        let mut apic = apic();
        for vector in [0x31, 0x52, 0x51, 0x31] {
            assert!(apic.accept(vector, false));
        }
        let mut taken = Vec::new();
        while let Some(vector) = apic.next() {
            apic.take(vector);
            taken.push(vector);
            apic.served = Vectors::default();
        }
        assert_eq!(taken, [0x52, 0x51, 0x31]);
    }

    /// SDM volume 3, 11.4.7.2.
    #[test]
    fn what_comes_while_it_is_off_is_not_accepted_and_what_waited_still_waits() {
        let mut apic = apic();
        apic.accept(0x40, false);
        apic.spurious = 0xff;
        assert!(!apic.accept(0x50, false));
        assert_eq!(apic.next(), Some(0x40), "SDM volume 3, 11.4.7.2");
        apic.set_base(0xfee0_0100).expect("it may be turned off");
        assert_eq!((apic.next(), apic.is_passed_by()), (None, true));
        let to = Destination { logical: false, name: 0 };
        let nmi = Message { to, delivery: Delivery::NonMaskable, vector: 0, level: false };
        assert!(!apic.receive(nmi));
        apic.set_base(0xfee0_0900).expect("and on again");
        assert_eq!((apic.spurious, apic.is_passed_by()), (0xff, false), "as after a reset");
    }

    #[test]
    fn destinations_mean_this_processor_or_not_in_each_way_of_naming() {
        // SDM volume 3, 11.6.2: flat, clusters; 11.12.10: x2APIC. Number 5, set 0x42.
        let mut apic = apic();
        (apic.id, apic.logical_id) = (5, 0x42);
        let meant = |apic: &LocalApic, logical| -> Vec<u32> {
            let means = |name: &u32| apic.is_meant(Destination { logical, name: *name });
            (0..=255).filter(means).collect()
        };
        assert_eq!(meant(&apic, false), [5, 255]);
        let flat: Vec<u32> = (0..=255).filter(|name| name & 0x42 != 0).collect();
        assert_eq!(meant(&apic, true), flat);
        apic.format = 0x0fff_ffff;
        let of_clusters = |name: &u32| matches!(name >> 4, 4 | 15) && name & 2 != 0;
        let mut clusters: Vec<u32> = (0..=255).filter(of_clusters).collect();
        clusters.dedup();
        assert_eq!(meant(&apic, true), clusters);
        apic.set_base(0xfee0_0d00).expect("x2APIC");
        assert_eq!(meant(&apic, false), [5], "255 is a number now");
        let means = |logical, name| apic.is_meant(Destination { logical, name });
        assert!(means(false, u32::MAX) && means(true, u32::MAX) && means(true, 1 << 5));
        assert!(!means(true, 1 << 4) && !means(true, 1 << 16 | 1 << 5));
    }

    /// SDM volume 3, 11.5.1 (LVT LINT0, delivery modes).
    #[test]
    fn the_first_pin_passes_the_8259as_by_or_has_a_vector_or_a_watchdog_of_its_own() {
        let mut apic = LocalApic::default();
        assert!(apic.is_passed_by(), "as firmware leaves it");
        *apic.entry_mut(Entry::Lint0) = MASKED | 0x700;
        assert!(!apic.is_passed_by());
        // Edge-triggered, to vector 0x60: once for each time that they begin to ask.
        *apic.entry_mut(Entry::Lint0) = 0x60;
        for (asks, next) in [(true, Some(0x60)), (true, None), (false, None), (true, Some(0x60))] {
            apic.set_pin(asks);
            assert_eq!(apic.next(), next, "{asks}");
            if let Some(vector) = apic.next() {
                apic.take(vector);
                apic.served = Vectors::default();
            }
        }
        // Level-triggered: again once it has ended, if they still ask.
        *apic.entry_mut(Entry::Lint0) = LEVEL | 0x60;
        apic.set_pin(true);
        assert_eq!(
            (apic.next(), apic.entry(Entry::Lint0)),
            (Some(0x60), LEVEL | REMOTE_IRR | 0x60)
        );
        apic.take(0x60);
        apic.set_pin(true);
        assert_eq!(apic.requested, Vectors::default());
        *apic.entry_mut(Entry::Lint0) = 0x400;
        assert!(apic.is_watched() && !apic.is_passed_by());
        apic.set_pin(true);
        assert!(!apic.take_non_maskable(), "it does not begin to ask");
        apic.set_pin(false);
        apic.set_pin(true);
        assert!(apic.take_non_maskable() && !apic.take_non_maskable());
    }
}
