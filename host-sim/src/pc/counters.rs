//! The 8254 as far as it can be polled: three counters that run with virtual time.
//!
//! Source: Intel 8254 data sheet, "Programming" and "Mode definitions"; IBM PC/AT for port B.

/// Input of the counters, in Hz: a twelfth of 14.31818 MHz.
const HZ: u64 = 1_193_182;
/// A period of the memory's refresh, which port B shows by turning a bit, in nanoseconds.
const REFRESH_NS: u64 = 15_085;

/// Which bytes of a counter are written and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bytes {
    Low,
    High,
    LowThenHigh,
}

/// What a counter does at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Mode 0: its output is high from then on.
    Once,
    /// Mode 2: it begins anew.
    Rate,
    /// Mode 3: as mode 2, its output high for half of the time; it counts by two.
    Square,
    /// Mode 4: its output, high before and after, is low for one period of the input.
    Strobe,
}

impl Mode {
    /// Whether it counts down once, on through 0 as 16 bits do.
    const fn is_once(self) -> bool {
        match self {
            Self::Once | Self::Strobe => true,
            Self::Rate | Self::Square => false,
        }
    }
}

/// One counter.
#[derive(Clone, Copy, Debug)]
struct Counter {
    mode: Mode,
    bytes: Bytes,
    /// From where it counts down, 1 to 65536; 0: it was not set yet.
    start: u64,
    /// Virtual time since which it counts, in nanoseconds.
    since_ns: u64,
    /// How long it has counted before that.
    counted_ns: u64,
    gate: bool,
    /// The low byte that was written while the high one is due.
    low: Option<u8>,
    /// The high byte is read next.
    high_next: bool,
    latched: Option<u16>,
    latched_status: Option<u8>,
    /// How often its output had risen when that was asked for last.
    told: u64,
}

impl Counter {
    const fn new(gate: bool) -> Self {
        Self {
            mode: Mode::Rate,
            bytes: Bytes::LowThenHigh,
            start: 0,
            since_ns: 0,
            counted_ns: 0,
            gate,
            low: None,
            high_next: false,
            latched: None,
            latched_status: None,
            told: 0,
        }
    }

    /// Periods of the input since it was set.
    fn ticks(&self, now_ns: u64) -> u64 {
        let running = if self.gate { now_ns.saturating_sub(self.since_ns) } else { 0 };
        let ns = self.counted_ns.saturating_add(running);
        u64::try_from(u128::from(ns) * u128::from(HZ) / 1_000_000_000).unwrap_or(u64::MAX)
    }

    fn value(&self, now_ns: u64) -> u16 {
        let ticks = self.ticks(now_ns);
        let start = self.start.max(1);
        let value = match self.mode {
            Mode::Once | Mode::Strobe => start.wrapping_sub(ticks),
            Mode::Rate => start - ticks % start,
            Mode::Square => start - ticks.wrapping_mul(2) % start,
        };
        value as u16
    }

    fn output(&self, now_ns: u64) -> bool {
        let (ticks, start) = (self.ticks(now_ns), self.start.max(1));
        match self.mode {
            Mode::Once => self.start != 0 && ticks >= start,
            Mode::Rate => self.start == 0 || ticks % start != start - 1,
            Mode::Square => ticks % start < start.div_ceil(2),
            Mode::Strobe => self.start == 0 || ticks != start,
        }
    }

    /// Periods of the input until its output rises for the first time.
    fn first_rise(&self) -> u64 {
        self.start + u64::from(self.mode == Mode::Strobe)
    }

    /// How often its output has risen since it was set.
    fn rises(&self, now_ns: u64) -> u64 {
        match (self.start, self.mode) {
            (0, _) => 0,
            (_, Mode::Once | Mode::Strobe) => u64::from(self.ticks(now_ns) >= self.first_rise()),
            (start, Mode::Rate | Mode::Square) => self.ticks(now_ns) / start,
        }
    }

    /// When its output rises for the `nth` time, if its gate stays open; `None`: never.
    fn rise_ns(&self, nth: u64) -> Option<u64> {
        if self.start == 0 || (self.mode.is_once() && nth > 1) {
            return None;
        }
        let ticks = u128::from(self.first_rise()) * u128::from(nth);
        let ns = (ticks * 1_000_000_000).div_ceil(u128::from(HZ));
        u64::try_from(ns).ok()?.checked_sub(self.counted_ns)?.checked_add(self.since_ns)
    }

    fn load(&mut self, start: u16, now_ns: u64) {
        self.start = if start == 0 { 0x1_0000 } else { u64::from(start) };
        (self.since_ns, self.counted_ns, self.told) = (now_ns, 0, 0);
    }

    fn write(&mut self, value: u8, now_ns: u64) {
        let high = u16::from(value) << 8;
        match (self.bytes, self.low.take()) {
            (Bytes::Low, _) => self.load(u16::from(value), now_ns),
            (Bytes::High, _) => self.load(high, now_ns),
            (Bytes::LowThenHigh, None) => self.low = Some(value),
            (Bytes::LowThenHigh, Some(low)) => self.load(high | u16::from(low), now_ns),
        }
    }

    fn read(&mut self, now_ns: u64) -> u8 {
        if let Some(status) = self.latched_status.take() {
            return status;
        }
        let value = self.latched.unwrap_or_else(|| self.value(now_ns));
        let [low, high] = value.to_le_bytes();
        let (byte, is_last) = match (self.bytes, self.high_next) {
            (Bytes::Low, _) => (low, true),
            (Bytes::High, _) => (high, true),
            (Bytes::LowThenHigh, false) => (low, false),
            (Bytes::LowThenHigh, true) => (high, true),
        };
        self.high_next = !is_last;
        if is_last {
            self.latched = None;
        }
        byte
    }

    fn status(&self, now_ns: u64) -> u8 {
        let bytes = match self.bytes {
            Bytes::Low => 1,
            Bytes::High => 2,
            Bytes::LowThenHigh => 3,
        };
        let mode = match self.mode {
            Mode::Once => 0,
            Mode::Rate => 2,
            Mode::Square => 3,
            Mode::Strobe => 4,
        };
        u8::from(self.output(now_ns)) << 7 | u8::from(self.start == 0) << 6 | bytes << 4 | mode << 1
    }

    /// The gate opens or closes: a closed one stops the count, and one that opens begins the modes
    /// that repeat anew.
    fn set_gate(&mut self, open: bool, now_ns: u64) {
        if self.gate && !open {
            self.counted_ns += now_ns.saturating_sub(self.since_ns);
        }
        if open && !self.gate {
            self.since_ns = now_ns;
            if !self.mode.is_once() {
                self.counted_ns = 0;
            }
        }
        self.gate = open;
    }
}

/// All three, and port B.
pub struct Counters {
    counters: [Counter; 3],
    /// What was written to port B: the gate of counter 2 and the speaker.
    port_b: u8,
}

impl Default for Counters {
    fn default() -> Self {
        let counters = [Counter::new(true), Counter::new(true), Counter::new(false)];
        Self { counters, port_b: 0 }
    }
}

impl Counters {
    /// Whether counter 0's output, which is interrupt 0, has risen since this was asked.
    pub fn has_ticked(&mut self, now_ns: u64) -> bool {
        let ticks = self.counters[0].rises(now_ns);
        std::mem::replace(&mut self.counters[0].told, ticks) < ticks
    }

    /// When it rises next after it was asked for last, in virtual nanoseconds.
    pub fn next_tick_ns(&self) -> Option<u64> {
        self.counters[0].rise_ns(self.counters[0].told.checked_add(1)?)
    }

    pub fn read(&mut self, register: u16, now_ns: u64) -> u8 {
        // The control word cannot be read.
        self.counters.get_mut(usize::from(register)).map_or(0xff, |counter| counter.read(now_ns))
    }

    /// *Errors*: a mode that is not built.
    pub fn write(&mut self, register: u16, value: u8, now_ns: u64) -> Result<(), &'static str> {
        match self.counters.get_mut(usize::from(register)) {
            Some(counter) => {
                counter.write(value, now_ns);
                Ok(())
            }
            None => self.control(value, now_ns),
        }
    }

    fn control(&mut self, value: u8, now_ns: u64) -> Result<(), &'static str> {
        let Some(counter) = self.counters.get_mut(usize::from(value >> 6)) else {
            self.read_back(value, now_ns);
            return Ok(());
        };
        counter.bytes = match (value >> 4) & 3 {
            0 => {
                counter.latched.get_or_insert(counter.value(now_ns));
                return Ok(());
            }
            1 => Bytes::Low,
            2 => Bytes::High,
            _ => Bytes::LowThenHigh,
        };
        if value & 1 != 0 {
            return Err("the PIT's decimal counting");
        }
        counter.mode = match (value >> 1) & 7 {
            0 => Mode::Once,
            2 | 6 => Mode::Rate,
            3 | 7 => Mode::Square,
            4 => Mode::Strobe,
            _ => return Err("the PIT's modes 1 and 5"),
        };
        *counter = Counter {
            start: 0,
            since_ns: now_ns,
            counted_ns: 0,
            low: None,
            high_next: false,
            latched: None,
            latched_status: None,
            told: 0,
            ..*counter
        };
        Ok(())
    }

    /// Latches count and status of the counters that are named.
    fn read_back(&mut self, value: u8, now_ns: u64) {
        const NOT_COUNT: u8 = 1 << 5;
        const NOT_STATUS: u8 = 1 << 4;
        for (at, counter) in self.counters.iter_mut().enumerate() {
            if value & (2 << at) == 0 {
                continue;
            }
            if value & NOT_COUNT == 0 {
                counter.latched.get_or_insert(counter.value(now_ns));
            }
            if value & NOT_STATUS == 0 {
                counter.latched_status.get_or_insert(counter.status(now_ns));
            }
        }
    }

    /// Port B: what was written, the refresh, and counter 2's output.
    pub fn read_gate(&self, now_ns: u64) -> u8 {
        let refresh = (now_ns / REFRESH_NS) as u8 & 1;
        self.port_b | refresh << 4 | u8::from(self.counters[2].output(now_ns)) << 5
    }

    /// Port B: the gate of counter 2, and the speaker, which nobody hears.
    pub fn write_gate(&mut self, value: u8, now_ns: u64) {
        self.port_b = value & 3;
        self.counters[2].set_gate(value & 1 != 0, now_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(counters: &mut Counters, register: u16, now_ns: u64) -> u16 {
        counters.write(3, (register as u8) << 6, now_ns).expect("a latch");
        let low = counters.read(register, now_ns + 1_000_000);
        u16::from_le_bytes([low, counters.read(register, now_ns + 2_000_000)])
    }

    fn set(counters: &mut Counters, control: u8, start: u16, now_ns: u64) {
        counters.write(3, control, now_ns).expect("a mode that is built");
        for byte in start.to_le_bytes() {
            counters.write(u16::from(control >> 6), byte, now_ns).expect("a byte");
        }
    }

    /// 8254 data sheet, "Counter latch command".
    #[test]
    fn a_latched_count_is_that_of_its_moment_and_goes_down_at_the_input_s_pace() {
        let mut counters = Counters::default();
        set(&mut counters, 0x34, 0, 0);
        assert_eq!(count(&mut counters, 0, 0), 0, "65536 reads as 0");
        // A second is 1193182 periods: 18 times 65536, and 13534 of the next.
        assert_eq!(count(&mut counters, 0, 1_000_000_000), (65536_u32 - 13534) as u16);
        set(&mut counters, 0x36, 1000, 0);
        assert_eq!(count(&mut counters, 0, 100_000), 1000 - 238, "119 periods, by two");
    }

    /// 8254 data sheet, "Mode 0" and "Gate pin operations".
    #[test]
    fn counter_2_is_timed_by_its_gate_and_polled_at_port_b() {
        let mut counters = Counters::default();
        set(&mut counters, 0xb0, 11932, 0);
        assert_eq!(counters.read_gate(1_000_000_000) & 0x23, 0, "the gate is closed");
        counters.write_gate(1, 1_000_000_000);
        assert_eq!(counters.read_gate(1_009_990_000) & 0x21, 1);
        // Closed for a while: that does not count.
        counters.write_gate(0, 1_005_000_000);
        counters.write_gate(1, 2_000_000_000);
        assert_eq!(counters.read_gate(2_004_990_000) & 0x20, 0);
        assert_eq!(counters.read_gate(2_005_010_000) & 0x20, 0x20, "10 ms in all");
    }

    #[test]
    fn a_read_back_tells_the_status_first_and_then_the_count() {
        let mut counters = Counters::default();
        for (control, mode) in [(0x30, 0x70), (0x34, 0xf4), (0x36, 0xf6), (0x38, 0xf8)] {
            counters.write(3, control, 0).expect("a control word");
            counters.write(3, 0xe2, 0).expect("a read-back of the status");
            // 8254 data sheet, "Mode Definitions": the output is low in mode 0 alone until it counts.
            assert_eq!(counters.read(0, 0), mode, "no count, both bytes");
        }
        set(&mut counters, 0x34, 5000, 0);
        counters.write(3, 0xc2, 0).expect("a read-back");
        assert_eq!(counters.read(0, 0), 0xb4, "output high, counting, both bytes, mode 2");
        assert_eq!(u16::from_le_bytes([counters.read(0, 9), counters.read(0, 9)]), 5000);
        assert!(counters.write(3, 0x35, 0).is_err(), "decimal");
        for control in [0x32, 0x3a] {
            assert!(counters.write(3, control, 0).is_err(), "{control:#x}");
        }
    }

    /// 8254 data sheet, "Mode 4: software triggered strobe".
    #[test]
    fn a_strobe_interrupts_once_each_time_that_it_is_set() {
        let mut counters = Counters::default();
        set(&mut counters, 0x38, 11931, 0);
        // 10 ms: the output falls, and rises a period later.
        assert!(!counters.has_ticked(9_999_000));
        let due = counters.next_tick_ns().expect("it is set");
        assert_eq!(due, 11932_u64 * 1_000_000_000 / HZ + 1);
        counters.write(3, 0xe2, due - 1).expect("a read-back of the status");
        assert_eq!(counters.read(0, due - 1), 0x38, "low, counting, both bytes, mode 4");
        assert!(!counters.has_ticked(due - 1) && counters.has_ticked(due));
        assert_eq!((counters.next_tick_ns(), counters.has_ticked(10 * due)), (None, false));
        assert_eq!(count(&mut counters, 0, due), u16::MAX, "on through 0");
        for byte in [0x9b, 0x2e] {
            counters.write(0, byte, due).expect("a byte");
        }
        assert!(counters.next_tick_ns().is_some_and(|next| next > due));
    }

    /// 8254 data sheet, "Control word format" (RW1, RW0).
    #[test]
    fn a_counter_of_one_byte_takes_and_gives_one() {
        let mut counters = Counters::default();
        counters.write(3, 0x54, 0).expect("counter 1, low byte, mode 2");
        counters.write(1, 18, 0).expect("a byte");
        assert_eq!((counters.read(1, 0), counters.read(1, 0)), (18, 18));
        assert_eq!(counters.read(3, 0), 0xff);
        assert_eq!(counters.next_tick_ns(), None);
    }
}
