//! `vmcall`: ultracalls, hypercalls and our own calls.

use super::Machine;
use crate::event::{Budget, Ended, Event, ExitReason, Mark, WaitBy};
use ultravisor::{Life, reflect};
use ultravisor_abi::ours::mark;
use ultravisor_abi::{CallRegs, Gfn, Gpa, HStatus, Hcall, OurCall, ReportKind, UStatus, Ucall};
use ultravisor_cpu::Reg;

/// The argument registers, in order.
const ARGS: [Reg; 6] = [Reg::Rdi, Reg::Rsi, Reg::Rdx, Reg::R10, Reg::R8, Reg::R9];

/// Untouched units that a walk over the partition passes at once (`ultravisor::unit_map`).
const UNITS_PER_BLOCK: u64 = 512;

impl Machine<'_> {
    /// Serves the call that the guest's registers hold.
    pub(super) fn call(&mut self) -> Option<Ended> {
        if !self.host.hv.recorder.take_call() {
            return Some(Ended::Budget(Budget::Calls));
        }
        let regs = CallRegs {
            number: self.cpu.regs.get(Reg::Rax),
            args: ARGS.map(|reg| self.cpu.regs.get(reg)),
        };
        if let Some(call) = OurCall::from_number(regs.number) {
            return self.our_call(call, regs.args);
        }
        if let Some(call) = Hcall::from_number(regs.number) {
            return self.hypercall(call, regs);
        }
        if let Some(call) = Ucall::from_number(regs.number) {
            self.host.hv.recorder.host_works(self.effort(call, regs.args));
            match call {
                Ucall::UnsharePage => {
                    self.host.look_before_unshare(Gfn(regs.args[0]), regs.args[1])
                }
                Ucall::UnshareAllPages => self.host.look_before_unshare(Gfn(0), u64::MAX),
                Ucall::Esm
                | Ucall::SharePage
                | Ucall::WritePate
                | Ucall::Return
                | Ucall::RegisterMemSlot
                | Ucall::UnregisterMemSlot
                | Ucall::PageIn
                | Ucall::PageOut
                | Ucall::PageInval
                | Ucall::SvmTerminate => (),
            }
            let status = self.host.uv.guest_call(&mut self.host.hv, regs);
            self.host.hv.absorb(&mut self.host.uv);
            self.answer(status.code());
            if call == Ucall::Esm && status == UStatus::Success {
                for device in self.slots() {
                    if let Some(ended) = self.call_back(device) {
                        return Some(ended);
                    }
                }
                self.became_secure();
            }
            return self.terminated();
        }
        self.answer(UStatus::Function.code());
        None
    }

    /// How many work units a call takes of the run's budget: one for each unit that it looks at, and
    /// for each block of units that it finds untouched.
    fn effort(&self, call: Ucall, args: [u64; 6]) -> u64 {
        let memory = self.host.uv.memory();
        let all = self.plan.machine.memory_bytes / memory.unit().bytes();
        let touched = memory.backed_units().saturating_add(all / UNITS_PER_BLOCK);
        match call {
            Ucall::SharePage => args[1].min(all),
            Ucall::UnsharePage => args[1].min(touched),
            Ucall::UnshareAllPages | Ucall::Esm => touched,
            Ucall::WritePate
            | Ucall::Return
            | Ucall::RegisterMemSlot
            | Ucall::UnregisterMemSlot
            | Ucall::PageIn
            | Ucall::PageOut
            | Ucall::PageInval
            | Ucall::SvmTerminate => 1,
        }
    }

    /// A secure guest's hypercall goes to the ultravisor, which reflects it; a normal guest's
    /// goes straight to the hypervisor.
    fn hypercall(&mut self, call: Hcall, regs: CallRegs) -> Option<Ended> {
        let secure = self.host.uv.life() == Life::Secure;
        if secure && reflect::arguments(call).is_none() {
            self.answer(HStatus::Function.code());
            return None;
        }
        self.host.hv.recorder.push(Event::Exit { reason: ExitReason::Hypercall });
        let args =
            if secure { reflect::hypercall(call, regs).unwrap_or_default() } else { regs.args };
        let status = self.host.hypercall(call, args, secure);
        self.answer(status.code());
        match call {
            Hcall::Cede => self.wait(WaitBy::Cede),
            Hcall::PutTce
            | Hcall::LogicalCiLoad
            | Hcall::LogicalCiStore
            | Hcall::PutTermChar
            | Hcall::PutTceIndirect
            | Hcall::StuffTce
            | Hcall::SvmPageIn
            | Hcall::SvmPageOut
            | Hcall::SvmInitStart
            | Hcall::SvmInitDone
            | Hcall::SvmInitAbort => None,
        }
    }

    /// How a guest speaks to the experiment: no virtual time, no page changes.
    fn our_call(&mut self, call: OurCall, args: [u64; 6]) -> Option<Ended> {
        let [first, second, third, ..] = args;
        self.answer(0);
        match call {
            OurCall::Exit => return Some(Ended::Exit(first)),
            OurCall::Mark => {
                let mark = match first {
                    mark::READY => Mark::Ready,
                    mark::DONE => Mark::Done,
                    _ => Mark::Label(name(second, third)),
                };
                self.tell_retired();
                self.host.hv.recorder.push(Event::Mark { mark });
            }
            OurCall::Secret => self.declare_secret(Gpa(first), second),
            OurCall::Report => match ReportKind::from_number(first) {
                Some(report) => {
                    let name = name(second, third);
                    self.host.hv.recorder.push(Event::Report { report, name });
                }
                None => self.answer(HStatus::Parameter.code()),
            },
        }
        None
    }

    fn declare_secret(&mut self, at: Gpa, bytes: u64) {
        let length = usize::try_from(bytes).ok().filter(|length| self.host.secrets.takes(*length));
        let mut secret = vec![0; length.unwrap_or(0)];
        let known = length.is_some() && self.host.uv.memory().peek(at, &mut secret);
        if known && self.host.secrets.add(&secret) {
            self.host.hv.recorder.push(Event::Secret { gpa: at.0, bytes });
        } else {
            self.answer(HStatus::Parameter.code());
        }
    }

    fn answer(&mut self, status: i64) {
        self.cpu.regs.set(Reg::Rax, status.cast_unsigned());
    }
}

/// A name of up to 16 bytes from two registers, escaped.
fn name(low: u64, high: u64) -> String {
    let bytes: Vec<u8> = [low.to_le_bytes(), high.to_le_bytes()].concat();
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes[..end].escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn a_name_ends_at_its_first_nul_and_is_escaped() {
        let low = u64::from_le_bytes(*b"swiotlb-");
        assert_eq!(name(low, u64::from_le_bytes(*b"full\0xyz")), "swiotlb-full");
        assert_eq!(name(u64::from_le_bytes(*b"\x1b[31m\0\0\0"), 0), "\\x1b[31m");
        assert_eq!(name(low, low), "swiotlb-swiotlb-");
    }
}
