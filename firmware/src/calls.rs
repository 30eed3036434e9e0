//! How the guest speaks to the outside: `vmcall` (design, section 5), and what it says when
//! something went wrong.
//!
//! Exit codes: 0 the work is done and verified; 1 a request or an initialisation failed; 2 a
//! device, a driver or the guest's own configuration was refused; 3 what was read back is not
//! what was written; 101 a panic. Before each but 0 stands a report that names what it was.
#![expect(unsafe_code, reason = "vmcall is an instruction")]

use core::arch::asm;
use core::fmt;
use ultravisor_abi::ours::mark;
use ultravisor_abi::{Hcall, OurCall, ReportKind, Ucall};

/// The exit code after a panic.
pub const EXIT_PANIC: u64 = 101;
/// Bytes of a report's name.
pub const NAME_BYTES: usize = 16;

/// Something that ends the guest's work, as it is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    kind: ReportKind,
    name: &'static str,
}

impl Trouble {
    /// A request or an initialisation that ended in an error.
    pub const fn failed(name: &'static str) -> Self {
        Self::new(ReportKind::Failed, name)
    }

    /// Something turned away before the first request.
    pub const fn refused(name: &'static str) -> Self {
        Self::new(ReportKind::Refused, name)
    }

    /// Something read back that is not what it should be.
    pub const fn mismatch(name: &'static str) -> Self {
        Self::new(ReportKind::Mismatch, name)
    }

    const fn new(kind: ReportKind, name: &'static str) -> Self {
        assert!(name.len() <= NAME_BYTES, "a report's name must fit two registers");
        Self { kind, name }
    }

    const fn exit_code(self) -> u64 {
        match self.kind {
            ReportKind::Failed => 1,
            ReportKind::Refused => 2,
            ReportKind::Mismatch => 3,
        }
    }

    /// Tells the experiment.
    pub fn report(self) {
        let mut name = [0; NAME_BYTES];
        name[..self.name.len()].copy_from_slice(self.name.as_bytes());
        let [low, high] = halves(name);
        ours(OurCall::Report, self.kind as u64, low, high);
    }

    /// Reports it and ends the run.
    pub fn give_up(self) -> ! {
        self.report();
        exit(self.exit_code())
    }
}

/// One call: number in `rax`, arguments in `rdi rsi rdx r10 r8 r9`, the status from `rax`.
fn vmcall(number: u64, [a, b, c, d, e, f]: [u64; 6]) -> i64 {
    let status;
    // SAFETY: the convention preserves every register but `rax` and the argument registers, all
    // of which are declared. Memory may change (sharing zeroes pages), hence no `nomem`.
    unsafe {
        asm!(
            "vmcall",
            inlateout("rax") number => status,
            inlateout("rdi") a => _,
            inlateout("rsi") b => _,
            inlateout("rdx") c => _,
            inlateout("r10") d => _,
            inlateout("r8") e => _,
            inlateout("r9") f => _,
            options(nostack),
        );
    }
    status
}

/// Asks the ultravisor; returns its status.
pub fn ultracall(call: Ucall, first: u64, second: u64) -> i64 {
    vmcall(call.number(), [first, second, 0, 0, 0, 0])
}

/// Asks the hypervisor (a secure guest through the ultravisor); returns its status.
pub fn hypercall(call: Hcall, [a, b, c, d]: [u64; 4]) -> i64 {
    vmcall(call.number(), [a, b, c, d, 0, 0])
}

fn ours(call: OurCall, first: u64, second: u64, third: u64) {
    // They cannot fail: nothing to do about the status.
    let _ = vmcall(call.number(), [first, second, third, 0, 0, 0]);
}

/// Initialisation is over: steady state begins.
pub fn mark_ready() {
    ours(OurCall::Mark, mark::READY, 0, 0);
}

/// The work is done: steady state ends.
pub fn mark_done() {
    ours(OurCall::Mark, mark::DONE, 0, 0);
}

/// Declares `bytes` bytes from `address` on as secret.
pub fn declare_secret(address: u64, bytes: u64) {
    ours(OurCall::Secret, address, bytes, 0);
}

/// Ends the run.
pub fn exit(code: u64) -> ! {
    ours(OurCall::Exit, code, 0, 0);
    // SAFETY: the call above does not come back. Should it, this ends the run as well.
    unsafe { asm!("ud2", options(noreturn, nostack)) }
}

const fn halves(bytes: [u8; 16]) -> [u64; 2] {
    let whole = u128::from_le_bytes(bytes);
    [whole as u64, (whole >> 64) as u64]
}

/// The hypervisor's console (H_PUT_TERM_CHAR), 16 bytes a call.
pub struct Terminal;

impl fmt::Write for Terminal {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.as_bytes().chunks(16) {
            let mut bytes = [0; 16];
            bytes[..piece.len()].copy_from_slice(piece);
            let [low, high] = halves(bytes);
            let _ = hypercall(Hcall::PutTermChar, [0, piece.len() as u64, low, high]);
        }
        Ok(())
    }
}

/// Writes a line to the hypervisor's console.
pub fn print(line: &str) {
    // The terminal never refuses.
    let _ = fmt::Write::write_str(&mut Terminal, line);
}
