//! COM1: a 16550A by `vm-superio`, whose line goes to the console.

use std::cell::Cell;
use vm_superio::Trigger;
use vm_superio::serial::NoEvents;

/// Remembers that an interrupt was asked for.
#[derive(Default)]
struct Line(Cell<bool>);

impl Trigger for Line {
    type E = std::convert::Infallible;

    fn trigger(&self) -> Result<(), Self::E> {
        self.0.set(true);
        Ok(())
    }
}

/// The port.
pub struct Serial(vm_superio::Serial<Line, NoEvents, Vec<u8>>);

impl Serial {
    pub fn new() -> Self {
        Self(vm_superio::Serial::new(Line::default(), Vec::new()))
    }

    pub fn read(&mut self, register: u16) -> u8 {
        self.0.read(register as u8)
    }

    /// What was sent by it.
    pub fn write(&mut self, register: u16, value: u8) -> Vec<u8> {
        // It fails if its output or its interrupt does, or if a loop is full, which loses the byte.
        let _lost = self.0.write(register as u8, value);
        std::mem::take(self.0.writer_mut())
    }

    /// Whether it has asked for an interrupt since this was asked.
    pub fn has_interrupted(&self) -> bool {
        self.0.interrupt_evt().0.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PC16550D data sheet, line status register (THRE, TEMT).
    #[test]
    fn what_is_sent_comes_out_and_the_line_is_always_ready() {
        let mut serial = Serial::new();
        assert_eq!(serial.read(5) & 0x60, 0x60, "LSR: empty");
        assert_eq!(serial.write(0, b'x'), b"x");
        // The divisor is no text.
        assert!(serial.write(3, 0x80).is_empty() && serial.write(0, 1).is_empty());
        assert_eq!(serial.read(0), 1);
        assert!(!serial.has_interrupted());
    }

    /// PC16550D data sheet, modem control register (loop).
    #[test]
    fn a_loop_keeps_what_is_sent() {
        let mut serial = Serial::new();
        serial.write(4, 0x1e);
        assert!(serial.write(0, 0xae).is_empty());
        assert_eq!(serial.read(0), 0xae, "what drivers probe it by");
        for _ in 0..1000 {
            assert!(serial.write(0, 1).is_empty());
        }
    }
}
