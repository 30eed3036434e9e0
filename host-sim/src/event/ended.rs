//! What stops a run: one enum.

/// What stopped the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The guest called exit.
    Exit(u64),
    /// The VM was terminated.
    SvmTerminated(&'static str),
    /// QEMU died of SIGBUS.
    QemuKilled,
    /// A budget was used up.
    Budget(&'static str),
    /// The guest halts and nothing is due.
    Idle,
    /// The guest touches a unit that cannot be paged in, and nothing is due.
    Refault(u64),
    /// A guest exception without a handler.
    Fault {
        /// Vector.
        vector: u8,
        /// Program counter.
        rip: u64,
        /// `cr2` for a page fault.
        address: Option<u64>,
    },
    /// Our limit: an instruction, mode or access that the machine does not implement.
    Unsupported {
        /// Program counter.
        rip: u64,
        /// The instruction's bytes.
        bytes: Vec<u8>,
        /// Its text, or what else is not supported.
        what: String,
    },
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit({code})"),
            Self::SvmTerminated(why) => write!(f, "svm_terminated({why})"),
            Self::QemuKilled => write!(f, "qemu_killed"),
            Self::Budget(which) => write!(f, "budget({which})"),
            Self::Idle => write!(f, "idle"),
            Self::Refault(gpa) => write!(f, "refault({gpa:#x})"),
            Self::Fault { vector, rip, .. } => write!(f, "fault({vector}, {rip:#x})"),
            Self::Unsupported { rip, bytes, .. } => {
                write!(f, "unsupported({rip:#x}, ")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                write!(f, ")")
            }
        }
    }
}
