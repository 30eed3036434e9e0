//! Why nothing wakes a guest that has halted: each thing that could, and what keeps it from it.

use super::Pc;
use super::wiring::Line;
use crate::event::{WakeSource, WhyAsleep};

impl Pc {
    /// What of the PC could wake the guest, and why it does not.
    pub fn silence(&self) -> [(WakeSource, WhyAsleep); 3] {
        [
            (WakeSource::ApicTimer, self.wiring.local.silence()),
            (WakeSource::Timer, self.why(Line::Timer, self.counters.next_tick_ns().is_some())),
            (WakeSource::Com1, self.why(Line::Com1, true)),
        ]
    }

    fn why(&self, line: Line, is_set: bool) -> WhyAsleep {
        let wiring = &self.wiring;
        let by_pic = wiring.passes_8259() && !wiring.pics.is_masked(line.of_pic());
        let by_io_apic = !wiring.io.is_masked(line.of_io_apic());
        let waits = by_pic && wiring.pics.has_requested(line.of_pic())
            || by_io_apic && !wiring.io.awaits(line.of_io_apic(), &wiring.local);
        match (is_set, by_pic || by_io_apic, waits) {
            (false, ..) => WhyAsleep::Unset,
            (true, false, _) => WhyAsleep::Masked,
            (true, true, true) => WhyAsleep::HeldOff,
            (true, true, false) => WhyAsleep::Quiet,
        }
    }

    /// Why virtio device `slot`, whose interrupt is raised or not, does not.
    pub fn silence_of_virtio(&self, slot: usize, is_raised: bool) -> WhyAsleep {
        let by_message = self.pci.silence(slot, |vector| self.wiring.local.has_requested(vector));
        by_message.unwrap_or_else(|| self.silence_of_line(slot, is_raised))
    }

    fn silence_of_line(&self, slot: usize, is_raised: bool) -> WhyAsleep {
        match (self.wiring.is_shared_masked(slot), is_raised) {
            (true, _) => WhyAsleep::Masked,
            (false, true) => WhyAsleep::HeldOff,
            (false, false) => WhyAsleep::Quiet,
        }
    }
}
