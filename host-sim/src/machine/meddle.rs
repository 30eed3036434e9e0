//! What a hostile host may do to a running machine, between any two of its steps: for fuzzing.

use super::Machine;
use crate::event::Event;
use ultravisor_abi::Gpa;

impl Machine<'_> {
    /// Somebody on the host writes into normal memory, past page states and devices. *Returns*
    /// whether it is guest RAM.
    pub fn scribble(&mut self, gpa: Gpa, bytes: &[u8]) -> bool {
        self.host.scribble(gpa, bytes)
    }

    /// A device lies about a register: if the last step ended with the guest reading one, it is
    /// told this instead of what the log says. *Returns* whether it was.
    pub fn lie(&mut self, value: u64) -> bool {
        let last = self.host.hv.recorder.records().last().map(|record| &record.event);
        let is_read =
            self.cpu.is_supplied() && matches!(last, Some(Event::Register { write: false, .. }));
        if is_read {
            self.cpu.supply(value);
        }
        is_read
    }
}
