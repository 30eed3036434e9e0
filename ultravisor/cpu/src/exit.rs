//! Why the CPU stopped: one enum.

use crate::bus::Access;
use ultravisor_abi::Gpa;

/// Why [`crate::Cpu::run`] came back. Registers and memory are precise: as between two
/// instructions, or (REP) between two iterations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The work units given are used up.
    Budget,
    /// `vmcall`; `rip` is past it.
    Call,
    /// A load of 1, 2, 4 or 8 bytes that is not RAM; `rip` is at the instruction. Answer with
    /// [`crate::Cpu::supply`], then run on.
    MmioRead {
        /// Where.
        gpa: Gpa,
        /// How many bytes: 1, 2, 4 or 8.
        bytes: u8,
    },
    /// A store of 1, 2, 4 or 8 bytes that is not RAM; `rip` is past it.
    MmioWrite {
        /// Where.
        gpa: Gpa,
        /// How many bytes: 1, 2, 4 or 8.
        bytes: u8,
        /// What, zero-extended.
        value: u64,
    },
    /// `in`; `rip` is at the instruction. Answer with [`crate::Cpu::supply`], then run on.
    PortRead {
        /// Which port.
        port: u16,
        /// How many bytes: 1, 2 or 4.
        bytes: u8,
    },
    /// `out`; `rip` is past it.
    PortWrite {
        /// Which port.
        port: u16,
        /// How many bytes: 1, 2 or 4.
        bytes: u8,
        /// What, zero-extended.
        value: u32,
    },
    /// `rdmsr` of a register of the local APIC's (IA32_APIC_BASE, IA32_TSC_DEADLINE, 0x800 to
    /// 0x8ff); `rip` is at the instruction. Answer with [`crate::Cpu::supply`] or
    /// [`crate::Cpu::refuse`].
    MsrRead {
        /// Which.
        number: u32,
    },
    /// `wrmsr` to one of them; `rip` is at the instruction. Answer with [`crate::Cpu::supply`] (any
    /// value) once it is written, or with [`crate::Cpu::refuse`].
    MsrWrite {
        /// Which.
        number: u32,
        /// What.
        value: u64,
    },
    /// The bus said [`crate::Page::Away`]; `rip` is at the instruction, which is tried again.
    Memory {
        /// The byte touched.
        gpa: Gpa,
        /// How.
        access: Access,
    },
    /// `hlt`; `rip` is past it.
    Halt,
    /// `pause`; `rip` is past it.
    Pause,
    /// `rdtsc` or `rdtscp`; `rip` is at the instruction. Answer with [`crate::Cpu::supply`].
    TimeStamp,
    /// `rdrand` or `rdseed`; `rip` is at the instruction. Answer with [`crate::Cpu::supply`].
    /// (Only where CPUID offers them.)
    Random,
    /// `rip` is at an address given to [`crate::Cpu::break_at`]; running on executes it.
    Breakpoint,
    /// The interrupt that was presented has been taken: `rip` is at its handler, and the interrupt
    /// controller may be told so.
    Interrupt {
        /// Which.
        vector: u8,
    },
    /// An exception of a guest that has never loaded a table of handlers. `rip` is at the faulting
    /// instruction.
    Exception {
        /// Vector, 0 to 31 (SDM volume 3, table 6-1), or that of an `int`.
        vector: u8,
        /// Error code, where the vector has one.
        error: Option<u32>,
        /// `cr2` for a page fault.
        address: Option<u64>,
    },
    /// A triple fault: neither an event could be delivered nor the exceptions that came of it.
    /// `rip` is where the first happened.
    Shutdown {
        /// The first event's vector.
        vector: u8,
        /// Its error code, where the vector has one.
        error: Option<u32>,
        /// Its `cr2`, if it is a page fault.
        address: Option<u64>,
    },
    /// An instruction that this engine does not implement. It is our limit, not the guest's
    /// fault. `rip` is at it.
    Unsupported {
        /// The bytes from `rip`, as far as they could be fetched.
        bytes: [u8; 15],
        /// How many of `bytes` are the instruction's.
        length: u8,
    },
}
