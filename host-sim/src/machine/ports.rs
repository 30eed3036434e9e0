//! I/O ports: what a guest of a PC finds.

use super::Machine;
use super::devices::{Target, Way};
use crate::event::{Ended, Event, ExitReason};
use crate::pc::Effect;

impl Machine<'_> {
    /// `in`.
    pub(super) fn port_read(&mut self, port: u16, bytes: u8) -> Option<Ended> {
        if let Some(place) = self.pc.pci.at_port(port, bytes) {
            return self.load(Target::from(place), Way::Port, bytes);
        }
        self.host.hv.recorder.push(Event::Exit { reason: ExitReason::Port });
        if self.pc.tells_time(port) {
            self.idle.looks_at_a_clock();
        }
        let value = self.pc.read(port, bytes, self.host.hv.recorder.now_ns());
        self.cpu.supply(value);
        None
    }

    /// `out`.
    pub(super) fn port_write(&mut self, port: u16, bytes: u8, value: u32) -> Option<Ended> {
        if let Some(place) = self.pc.pci.at_port(port, bytes) {
            return self.store(Target::from(place), Way::Port, bytes, u64::from(value));
        }
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
}
