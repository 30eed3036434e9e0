//! The MC146818: a clock that runs with virtual time, and its memory.
//!
//! Source: Motorola MC146818A data sheet; QEMU `hw/rtc/mc146818rtc.c` for the century.

use jiff::civil::DateTime;
use jiff::{SignedDuration, civil};

/// When virtual time begins: 4 June 2018, 00:00:00, the day of the mail that this program is about.
const START: DateTime = civil::date(2018, 6, 4).at(0, 0, 0, 0);

const SECONDS: usize = 0x00;
const MINUTES: usize = 0x02;
const HOURS: usize = 0x04;
const WEEKDAY: usize = 0x06;
const DAY: usize = 0x07;
const MONTH: usize = 0x08;
const YEAR: usize = 0x09;
const A: usize = 0x0a;
const B: usize = 0x0b;
const C: usize = 0x0c;
const D: usize = 0x0d;
const CENTURY: usize = 0x32;

/// B: it interrupts, periodically, at a time, after each second.
const INTERRUPTS: u8 = 7 << 4;
/// B: hours go to 24.
const HOURS_24: u8 = 1 << 1;
/// B: numbers are binary, not decimal digits.
const BINARY: u8 = 1 << 2;
/// Hours: afternoon, where they go to 12.
const AFTERNOON: u8 = 1 << 7;

/// The clock.
pub struct Clock {
    index: usize,
    memory: [u8; 128],
}

impl Default for Clock {
    fn default() -> Self {
        let mut memory = [0; 128];
        memory[A] = 0x26; // 32768 Hz, 1024 a second
        memory[B] = HOURS_24;
        Self { index: 0, memory }
    }
}

impl Clock {
    /// *Errors*: what is not built.
    pub fn write(&mut self, register: u16, value: u8) -> Result<(), &'static str> {
        if register == 0 {
            // The upper bit masks the NMI, which nobody raises.
            self.index = usize::from(value & 0x7f);
        } else if self.index == B && value & INTERRUPTS != 0 {
            return Err("interrupts of the clock");
        } else if !matches!(self.index, C | D) {
            self.memory[self.index] = value;
        }
        Ok(())
    }

    pub fn read(&self, register: u16, now_ns: u64) -> u8 {
        if register == 0 {
            return 0xff;
        }
        let now = SignedDuration::from_nanos(i64::try_from(now_ns).unwrap_or(i64::MAX));
        let now = START.checked_add(now).unwrap_or(DateTime::MAX);
        let number = match self.index {
            SECONDS => now.second(),
            MINUTES => now.minute(),
            HOURS => return self.hours(now.hour() as u8),
            WEEKDAY => now.weekday().to_sunday_one_offset(),
            DAY => now.day(),
            MONTH => now.month(),
            YEAR => (now.year() % 100) as i8,
            CENTURY => (now.year() / 100) as i8,
            A => return self.memory[A] & 0x7f, // never in the middle of an update
            C => return 0,
            D => return 0x80, // its battery is good
            other => return self.memory[other],
        };
        self.digits(number as u8)
    }

    fn digits(&self, number: u8) -> u8 {
        if self.memory[B] & BINARY != 0 { number } else { ((number / 10) << 4) | (number % 10) }
    }

    fn hours(&self, hour: u8) -> u8 {
        if self.memory[B] & HOURS_24 != 0 {
            return self.digits(hour);
        }
        let half = if hour >= 12 { AFTERNOON } else { 0 };
        self.digits((hour + 11) % 12 + 1) | half
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_NS: u64 = 3_600_000_000_000;

    fn at(clock: &mut Clock, index: usize, now_ns: u64) -> u8 {
        clock.write(0, index as u8).expect("it is built");
        clock.read(1, now_ns)
    }

    /// MC146818A data sheet, "Time, calendar and alarm locations".
    #[test]
    fn it_begins_on_the_day_of_the_mail_and_goes_on_with_virtual_time() {
        let mut clock = Clock::default();
        let date = |clock: &mut Clock, ns| {
            [CENTURY, YEAR, MONTH, DAY, WEEKDAY, HOURS, MINUTES, SECONDS].map(|i| at(clock, i, ns))
        };
        assert_eq!(date(&mut clock, 999_999_999), [0x20, 0x18, 0x06, 0x04, 2, 0, 0, 0]);
        let later = 27 * 24 * HOUR_NS - 1_000_000_000;
        assert_eq!(date(&mut clock, later), [0x20, 0x18, 0x06, 0x30, 7, 0x23, 0x59, 0x59]);
        assert_eq!(at(&mut clock, D, 0), 0x80);
    }

    /// MC146818A data sheet, "Register B" (24/12, DM).
    #[test]
    fn hours_and_digits_are_as_register_b_has_them() {
        let mut clock = Clock::default();
        let mut hour = |b: u8, hours: u64| {
            clock.write(0, B as u8).expect("it is built");
            clock.write(1, b).expect("it is built");
            at(&mut clock, HOURS, hours * HOUR_NS)
        };
        assert_eq!([hour(HOURS_24, 13), hour(HOURS_24 | BINARY, 13)], [0x13, 13]);
        assert_eq!([hour(0, 0), hour(0, 11), hour(0, 12), hour(0, 23)], [0x12, 0x11, 0x92, 0x91]);
        assert_eq!(hour(BINARY, 22), 10 | AFTERNOON);
    }

    /// MC146818A data sheet, "Static CMOS RAM".
    #[test]
    fn its_memory_keeps_bytes_and_the_far_future_is_the_end_of_time() {
        let mut clock = Clock::default();
        clock.write(0, 0xc0).expect("it is built");
        clock.write(1, 0x55).expect("it is built");
        assert_eq!(at(&mut clock, 0x40, 0), 0x55);
        at(&mut clock, YEAR, u64::MAX);
        clock.write(0, B as u8).expect("it is built");
        assert!(clock.write(1, 0x42).is_err(), "a periodic interrupt");
    }
}
