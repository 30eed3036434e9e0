//! What stops a run: one enum, and the budgets that do.

/// What a run has only so much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Budget {
    /// Work units: what the guest executes, and what the host side copies and converts for it.
    WorkUnits,
    /// Steps of the host side: exits and calls served, queues served, looks at rings.
    HostSteps,
    /// Calls of the guest: ultracalls, hypercalls, our own.
    Calls,
    /// Console text, in bytes.
    Console,
    /// Events of the log.
    Log,
    /// Guest memory that is backed.
    Memory,
}

impl Budget {
    /// Every budget.
    pub const ALL: [Self; 6] =
        [Self::WorkUnits, Self::HostSteps, Self::Calls, Self::Console, Self::Log, Self::Memory];

    /// The name used in every output: `budget(NAME)`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WorkUnits => "work-units",
            Self::HostSteps => "host-steps",
            Self::Calls => "calls",
            Self::Console => "console",
            Self::Log => "log",
            Self::Memory => "memory",
        }
    }
}

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
    Budget(Budget),
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
        /// The error code, where the vector has one.
        error: Option<u32>,
        /// `cr2` for a page fault.
        address: Option<u64>,
    },
    /// Our limit: an instruction, mode or access that the machine does not implement.
    Unsupported {
        /// Program counter.
        rip: u64,
        /// The instruction's bytes; none if a device behind it is what does not do it.
        bytes: Vec<u8>,
        /// Its text, or what else is not supported.
        what: String,
    },
}

/// Why the ultravisor gives a VM up.
const WORDS: [&str; 2] = ["tampering", "aborted"];

impl Ended {
    /// Reads what [`Display`](std::fmt::Display) wrote. What that leaves out (an
    /// exception's error code and address, the text of an instruction) is left out here too.
    pub fn parse(text: &str) -> Option<Self> {
        let ended = match text.split_once('(') {
            None if text == "idle" => Self::Idle,
            None => (text == "qemu_killed").then_some(Self::QemuKilled)?,
            Some((kind, rest)) => Self::parse_with(kind, rest.strip_suffix(')')?)?,
        };
        // Only what would be written so again: no sign, no leading zero.
        (ended.to_string() == text).then_some(ended)
    }

    fn parse_with(kind: &str, inner: &str) -> Option<Self> {
        let hex = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
        let word = || WORDS.into_iter().find(|word| *word == inner);
        match kind {
            "exit" => inner.parse().ok().map(Self::Exit),
            "svm_terminated" => word().map(Self::SvmTerminated),
            "budget" => {
                Budget::ALL.into_iter().find(|budget| budget.name() == inner).map(Self::Budget)
            }
            "refault" => hex(inner).map(Self::Refault),
            "fault" => {
                let (vector, rip) = inner.split_once(", ")?;
                let (vector, rip) = (vector.parse().ok()?, hex(rip)?);
                Some(Self::Fault { vector, rip, error: None, address: None })
            }
            "unsupported" => {
                let (rip, bytes) = inner.split_once(", ").unwrap_or((inner, ""));
                let pairs = bytes.as_bytes().chunks(2).map(|pair| {
                    std::str::from_utf8(pair)
                        .ok()
                        .and_then(|pair| u8::from_str_radix(pair, 16).ok())
                });
                let bytes = pairs.collect::<Option<Vec<u8>>>()?;
                Some(Self::Unsupported { rip: hex(rip)?, bytes, what: String::new() })
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit({code})"),
            Self::SvmTerminated(why) => write!(f, "svm_terminated({why})"),
            Self::QemuKilled => write!(f, "qemu_killed"),
            Self::Budget(which) => write!(f, "budget({})", which.name()),
            Self::Idle => write!(f, "idle"),
            Self::Refault(gpa) => write!(f, "refault({gpa:#x})"),
            Self::Fault { vector, rip, .. } => write!(f, "fault({vector}, {rip:#x})"),
            Self::Unsupported { rip, bytes, .. } => {
                write!(f, "unsupported({rip:#x}{}", if bytes.is_empty() { "" } else { ", " })?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                write!(f, ")")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_run_ended_can_be_read_back_and_nothing_else_is_read() {
        let all = [
            Ended::Exit(0),
            Ended::Exit(u64::MAX),
            Ended::SvmTerminated("tampering"),
            Ended::SvmTerminated("aborted"),
            Ended::QemuKilled,
            Ended::Budget(Budget::WorkUnits),
            Ended::Budget(Budget::HostSteps),
            Ended::Budget(Budget::Calls),
            Ended::Budget(Budget::Console),
            Ended::Budget(Budget::Log),
            Ended::Budget(Budget::Memory),
            Ended::Idle,
            Ended::Refault(0x10_0000),
            Ended::Fault { vector: 14, rip: 0x123, error: None, address: None },
            Ended::Unsupported { rip: 5, bytes: vec![0x0f, 0xa2], what: String::new() },
            Ended::Unsupported { rip: 5, bytes: vec![], what: String::new() },
        ];
        for ended in all {
            assert_eq!(Ended::parse(&ended.to_string()), Some(ended));
        }
        let wrong = ["", "exit", "exit()", "exit(+1)", "exit(01)", "exit(1", "budget(x)", "idle()"];
        for text in wrong.into_iter().chain([
            "fault(300, 0x1)",
            "unsupported(0x5, 0)",
            "unsupported(0x5, )",
            "refault(1)",
        ]) {
            assert_eq!(Ended::parse(text), None, "{text}");
        }
    }
}
