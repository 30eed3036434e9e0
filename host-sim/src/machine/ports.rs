//! I/O ports and interrupts: what a guest of a PC finds.

use super::Machine;
use crate::event::{Ended, Event, ExitReason};
use crate::pc::Effect;
use ultravisor_cpu::flag;

impl Machine<'_> {
    /// `in`.
    pub(super) fn port_read(&mut self, port: u16, bytes: u8) {
        self.host.hv.recorder.push(Event::Exit { reason: ExitReason::Port });
        let value = self.pc.read(port, bytes, self.host.hv.recorder.now_ns());
        self.cpu.supply(value);
    }

    /// `out`.
    pub(super) fn port_write(&mut self, port: u16, bytes: u8, value: u32) -> Option<Ended> {
        self.host.hv.recorder.push(Event::Exit { reason: ExitReason::Port });
        let effect = self.pc.write(port, bytes, value, self.host.hv.recorder.now_ns());
        for line in self.pc.take_lines() {
            self.host.hv.print(&line);
        }
        match effect {
            Effect::Nothing => None,
            Effect::Exit(status) => Some(Ended::Exit(status)),
            Effect::Unsupported(what) => Some(self.not_implemented(what)),
        }
    }

    /// What was written without a line feed, when the run ends.
    pub(super) fn print_rest(&mut self) {
        for line in self.pc.take_rest() {
            self.host.hv.print(&line);
        }
    }

    /// What the interrupt controllers have for the CPU.
    pub(super) fn ask_for_interrupt(&mut self) {
        let vector = self.pc.vector(self.host.hv.recorder.now_ns());
        self.cpu.present_interrupt(vector);
    }

    /// Whether an interrupt comes before the guest's next instruction: it does not wait then.
    pub(super) fn is_interrupted(&mut self) -> bool {
        self.ask_for_interrupt();
        self.cpu.wakes()
    }

    /// The CPU goes to the handler of an interrupt that it was asked to take.
    pub(super) fn take_interrupt(&mut self, vector: u8) {
        self.pc.acknowledge();
        self.host.hv.recorder.push(Event::Taken { vector });
    }

    /// When the guest is interrupted next, if nothing else comes and it stays as willing as it is.
    pub(super) fn next_tick_ns(&self) -> Option<u64> {
        let is_willing = self.cpu.rflags() & flag::IF != 0;
        self.pc.next_interrupt_ns().filter(|_| is_willing)
    }
}
