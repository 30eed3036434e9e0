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

/// Why the ultravisor gives a VM up, and the budgets that there are.
const WORDS: [&str; 5] = ["tampering", "aborted", "log", "memory", "work-units"];

impl Ended {
    /// Reads what [`Display`](std::fmt::Display) wrote. What that leaves out (a page fault's
    /// address, the text of an instruction) is left out here too.
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
            "budget" => word().map(Self::Budget),
            "refault" => hex(inner).map(Self::Refault),
            "fault" => {
                let (vector, rip) = inner.split_once(", ")?;
                let (vector, rip) = (vector.parse().ok()?, hex(rip)?);
                Some(Self::Fault { vector, rip, address: None })
            }
            "unsupported" => {
                let (rip, bytes) = inner.split_once(", ")?;
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
            Ended::Budget("work-units"),
            Ended::Budget("memory"),
            Ended::Budget("log"),
            Ended::Idle,
            Ended::Refault(0x10_0000),
            Ended::Fault { vector: 14, rip: 0x123, address: None },
            Ended::Unsupported { rip: 5, bytes: vec![0x0f, 0xa2], what: String::new() },
            Ended::Unsupported { rip: 5, bytes: vec![], what: String::new() },
        ];
        for ended in all {
            assert_eq!(Ended::parse(&ended.to_string()), Some(ended));
        }
        let wrong = ["", "exit", "exit()", "exit(+1)", "exit(01)", "exit(1", "budget(x)", "idle()"];
        for text in
            wrong.into_iter().chain(["fault(300, 0x1)", "unsupported(0x5, 0)", "refault(1)"])
        {
            assert_eq!(Ended::parse(text), None, "{text}");
        }
    }
}
