//! The I/O APIC: 24 inputs, each with an entry that says what becomes of it.
//!
//! Source: Intel 82093AA data sheet, chapter 3. All lines are told as asserted or not, so the polarity
//! of an entry is kept and means nothing.

use super::delivery::{Delivery, Sender};
use super::local::{Destination, LocalApic, Message};

/// How many inputs it has.
pub const PINS: usize = 24;
/// Version 0x11, and the last entry.
const VERSION: u32 = 0x11 | (PINS as u32 - 1) << 16;

/// Bits of an entry (data sheet, 3.2.4).
const LOGICAL: u64 = 1 << 11;
const POLARITY: u64 = 1 << 13;
/// A level-triggered interrupt was accepted and has not ended.
const REMOTE_IRR: u64 = 1 << 14;
const LEVEL: u64 = 1 << 15;
const MASKED: u64 = 1 << 16;
const WRITABLE: u64 = 0xff << 56 | MASKED | LEVEL | POLARITY | LOGICAL | 0x7ff;

/// The I/O APIC.
pub struct IoApic {
    select: u8,
    id: u32,
    entries: [u64; PINS],
    /// Which lines are asserted.
    lines: u32,
}

impl Default for IoApic {
    fn default() -> Self {
        Self { select: 0, id: 0, entries: [MASKED; PINS], lines: 0 }
    }
}

const fn message(entry: u64) -> Option<Message> {
    let delivery = match Delivery::of(Sender::Io, entry as u32) {
        Some(delivery) => delivery,
        None => return None,
    };
    let to = Destination { logical: entry & LOGICAL != 0, name: (entry >> 56) as u32 };
    Some(Message { to, delivery, vector: entry as u8, level: entry & LEVEL != 0 })
}

impl IoApic {
    /// Line `pin` is asserted or not.
    pub fn set_line(&mut self, pin: usize, asserted: bool, local: &mut LocalApic) {
        let was = self.lines & 1 << pin != 0;
        self.lines = self.lines & !(1 << pin) | u32::from(asserted) << pin;
        if asserted && !was && self.entries[pin] & LEVEL == 0 {
            self.send(pin, local);
        }
        self.look(pin, local);
    }

    /// Line `pin` is asserted for a moment.
    pub fn pulse(&mut self, pin: usize, local: &mut LocalApic) {
        self.set_line(pin, true, local);
        self.set_line(pin, false, local);
    }

    /// A level-triggered entry whose line is asserted, and which is not being served, asks.
    fn look(&mut self, pin: usize, local: &mut LocalApic) {
        let asserted = self.lines & 1 << pin != 0;
        if asserted && self.entries[pin] & (LEVEL | REMOTE_IRR) == LEVEL && self.send(pin, local) {
            self.entries[pin] |= REMOTE_IRR;
        }
    }

    /// Sends what the entry says; *returns* whether it was accepted. What comes while it is masked
    /// is lost.
    fn send(&self, pin: usize, local: &mut LocalApic) -> bool {
        let entry = self.entries[pin];
        let message = message(entry).filter(|_| entry & MASKED == 0);
        message.is_some_and(|message| local.receive(message))
    }

    /// The level-triggered interrupt of `vector` is over: lines that are still asserted ask again.
    pub fn end(&mut self, vector: u8, local: &mut LocalApic) {
        for pin in 0..PINS {
            let entry = &mut self.entries[pin];
            if *entry as u8 == vector && *entry & LEVEL != 0 {
                *entry &= !REMOTE_IRR;
                self.look(pin, local);
            }
        }
    }

    /// Whether a pulse at `pin` would change anything for the processor.
    pub fn awaits(&self, pin: usize, local: &LocalApic) -> bool {
        let entry = self.entries[pin];
        let is_open = entry & MASKED == 0 && entry & REMOTE_IRR == 0;
        is_open
            && message(entry).is_some_and(|message| match message.delivery {
                Delivery::Fixed | Delivery::Lowest => !local.has_requested(message.vector),
                Delivery::NonMaskable => true,
                Delivery::External | Delivery::Management | Delivery::Init | Delivery::StartUp => {
                    false
                }
            })
    }

    /// Whether a pulse at `pin` would be a non-maskable interrupt.
    pub fn is_non_maskable(&self, pin: usize) -> bool {
        let delivery = message(self.entries[pin]).map(|message| message.delivery);
        self.entries[pin] & MASKED == 0 && delivery == Some(Delivery::NonMaskable)
    }

    /// Whether the entry of `pin` is masked.
    pub fn is_masked(&self, pin: usize) -> bool {
        self.entries[pin] & MASKED != 0
    }

    /// Whether the 8259As' interrupts go through here: they are at the first input too.
    pub fn passes_8259(&self) -> bool {
        let entry = self.entries[0];
        let delivery = message(entry).map(|message| message.delivery);
        entry & MASKED == 0 && delivery == Some(Delivery::External)
    }

    /// A load at `offset` of its page.
    ///
    /// *Errors*: what is not built.
    pub fn read(&self, offset: u64, bytes: u8) -> Result<u32, &'static str> {
        match place(offset, bytes)? {
            Place::Select => Ok(u32::from(self.select)),
            Place::Window => Ok(match self.select {
                0 | 2 => self.id,
                1 => VERSION,
                select => {
                    self.half(select).map_or(0, |(pin, shift)| (self.entries[pin] >> shift) as u32)
                }
            }),
            Place::Nothing => Ok(0),
        }
    }

    /// A store.
    ///
    /// *Errors*: as [`IoApic::read`].
    pub fn write(
        &mut self,
        offset: u64,
        bytes: u8,
        value: u32,
        local: &mut LocalApic,
    ) -> Result<(), &'static str> {
        match (place(offset, bytes)?, self.select) {
            (Place::Select, _) => self.select = value as u8,
            (Place::Window, 0) => self.id = value & 0xf << 24,
            (Place::Window, select) => {
                if let Some((pin, shift)) = self.half(select) {
                    return self.write_half(pin, shift, value, local);
                }
            }
            (Place::Nothing, _) => (),
        }
        Ok(())
    }

    /// The entry that register `select` is a half of, and where that half begins.
    fn half(&self, select: u8) -> Option<(usize, u32)> {
        let place = usize::from(select.checked_sub(0x10)?);
        (place / 2 < PINS).then_some((place / 2, place as u32 % 2 * 32))
    }

    fn write_half(
        &mut self,
        pin: usize,
        shift: u32,
        value: u32,
        local: &mut LocalApic,
    ) -> Result<(), &'static str> {
        let old = self.entries[pin];
        let half = u64::from(u32::MAX) << shift;
        let written = (old & !half | u64::from(value) << shift) & WRITABLE;
        // An entry that is made edge-triggered forgets that it was served.
        let kept = if written & LEVEL != 0 { old & REMOTE_IRR } else { 0 };
        if written & MASKED == 0 {
            match Delivery::of(Sender::Io, written as u32) {
                Some(
                    Delivery::Fixed | Delivery::Lowest | Delivery::NonMaskable | Delivery::External,
                ) => (),
                Some(_) | None => return Err("SMI and INIT by the I/O APIC"),
            }
        }
        self.entries[pin] = written | kept;
        self.look(pin, local);
        Ok(())
    }
}

/// What lies at an offset.
enum Place {
    Select,
    Window,
    Nothing,
}

fn place(offset: u64, bytes: u8) -> Result<Place, &'static str> {
    match (offset, bytes) {
        (0x00, 4) => Ok(Place::Select),
        (0x10, 4) => Ok(Place::Window),
        (_, 4) => Ok(Place::Nothing),
        _ => Err("the I/O APIC but by accesses of four bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both, the local one on.
    fn both() -> (IoApic, LocalApic) {
        (IoApic::default(), LocalApic::default())
    }

    fn set(io: &mut IoApic, local: &mut LocalApic, pin: usize, entry: u64) {
        for (half, value) in [(1, (entry >> 32) as u32), (0, entry as u32)] {
            io.write(0, 4, 0x10 + 2 * pin as u32 + half, local).expect("a selection");
            io.write(0x10, 4, value, local).expect("it is built");
        }
    }

    fn get(io: &mut IoApic, local: &mut LocalApic, select: u32) -> u32 {
        io.write(0, 4, select, local).expect("a selection");
        io.read(0x10, 4).expect("a load")
    }

    fn served(local: &mut LocalApic) -> Option<u8> {
        let vector = local.next()?;
        local.take(vector);
        Some(vector)
    }

    fn end(io: &mut IoApic, local: &mut LocalApic) {
        if let Some(vector) = local.write_memory(0xb0, 4, 0, 0).expect("an end") {
            io.end(vector, local);
        }
    }

    /// 82093AA data sheet, 3.2.2 and 3.2.4.
    #[test]
    fn it_has_24_entries_masked_at_first_and_keeps_what_may_be_written() {
        let (mut io, mut local) = both();
        assert_eq!(get(&mut io, &mut local, 1), 0x17_0011);
        for pin in 0..PINS {
            let select = 0x10 + 2 * pin as u32;
            assert_eq!(get(&mut io, &mut local, select), 0x1_0000);
            set(&mut io, &mut local, pin, u64::MAX);
            assert_eq!(get(&mut io, &mut local, select), 0x1_afff);
            assert_eq!(get(&mut io, &mut local, select + 1), 0xff00_0000);
        }
        assert_eq!((get(&mut io, &mut local, 0x40), get(&mut io, &mut local, 0xff)), (0, 0));
        io.write(0, 4, 0, &mut local).expect("the number");
        io.write(0x10, 4, u32::MAX, &mut local).expect("a store");
        assert_eq!(get(&mut io, &mut local, 2), 0xf00_0000, "the arbitration number is the number");
        assert!(io.read(0, 1).is_err() && io.read(0x10, 8).is_err());
    }

    /// 82093AA data sheet, 3.2.4 (interrupt mask).
    #[test]
    fn an_edge_is_one_interrupt_and_lost_while_it_is_masked() {
        let (mut io, mut local) = both();
        io.pulse(4, &mut local);
        set(&mut io, &mut local, 4, 0x44);
        assert_eq!(served(&mut local), None, "that one is lost");
        assert!(io.awaits(4, &local));
        io.set_line(4, true, &mut local);
        assert!(!io.awaits(4, &local), "it waits already");
        assert_eq!(served(&mut local), Some(0x44));
        end(&mut io, &mut local);
        io.set_line(4, true, &mut local);
        assert_eq!(served(&mut local), None, "no edge");
        io.set_line(4, false, &mut local);
        io.set_line(4, true, &mut local);
        assert_eq!(served(&mut local), Some(0x44));
    }

    /// 82093AA data sheet, 3.2.4 (remote IRR).
    #[test]
    fn a_level_is_told_until_it_falls_and_again_only_after_the_end() {
        let (mut io, mut local) = both();
        io.set_line(16, true, &mut local);
        set(&mut io, &mut local, 16, LEVEL | 0x50);
        assert_eq!(served(&mut local), Some(0x50), "a level is not lost by a mask");
        assert_eq!(get(&mut io, &mut local, 0x30), 0xc050, "remote IRR");
        io.set_line(16, true, &mut local);
        assert_eq!(served(&mut local), None);
        end(&mut io, &mut local);
        assert_eq!(served(&mut local), Some(0x50), "it is still asserted");
        io.set_line(16, false, &mut local);
        end(&mut io, &mut local);
        assert_eq!((served(&mut local), get(&mut io, &mut local, 0x30)), (None, 0x8050));
        // Another vector's end is none of its business.
        io.set_line(16, true, &mut local);
        io.end(0x51, &mut local);
        assert_eq!(get(&mut io, &mut local, 0x30), 0xc050);
        set(&mut io, &mut local, 16, 0x50);
        assert_eq!(get(&mut io, &mut local, 0x30), 0x50, "an edge has no remote IRR");
    }

    /// 82093AA data sheet, 3.2.4 (delivery status).
    #[test]
    fn what_is_not_accepted_is_told_when_it_can_be() {
        let (mut io, mut local) = both();
        local.write_memory(0xf0, 4, 0xff, 0).expect("off by its software");
        set(&mut io, &mut local, 20, LEVEL | 0x60);
        io.set_line(20, true, &mut local);
        assert_eq!(get(&mut io, &mut local, 0x38), 0x8060);
        local.write_memory(0xf0, 4, 0x1ff, 0).expect("on");
        io.set_line(20, true, &mut local);
        assert_eq!(served(&mut local), Some(0x60));
        // Nobody is meant.
        set(&mut io, &mut local, 21, 7 << 56 | LEVEL | 0x61);
        io.set_line(21, true, &mut local);
        assert_eq!((served(&mut local), get(&mut io, &mut local, 0x3a)), (None, 0x8061));
    }

    /// 82093AA data sheet, 3.2.4 (delivery mode).
    #[test]
    fn each_delivery_mode_is_delivered_or_refused() {
        for (mode, is_built) in
            [true, true, false, false, true, false, false, true].iter().enumerate()
        {
            let (mut io, mut local) = both();
            io.write(0, 4, 0x14, &mut local).expect("a selection");
            let entry = (mode << 8 | 0x42) as u32;
            assert_eq!(io.write(0x10, 4, entry, &mut local).is_ok(), *is_built, "{mode}");
            io.pulse(2, &mut local);
            let fixed = matches!(mode, 0 | 1).then_some(0x42);
            assert_eq!((served(&mut local), local.take_non_maskable()), (fixed, mode == 4));
            assert_eq!(io.is_non_maskable(2), mode == 4);
        }
        let (mut io, mut local) = both();
        assert!(!io.passes_8259());
        set(&mut io, &mut local, 0, 0x700);
        assert!(io.passes_8259());
    }
}
