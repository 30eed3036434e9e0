//! Exceptions and interrupts as values: what they are, which is worse, what waits.

/// How an event came about: what is pushed and checked depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// An instruction that cannot complete: it is done again after the handler.
    Fault,
    /// The end of an instruction that did complete.
    Trap,
    /// An interrupt that RFLAGS.IF holds off.
    Interrupt,
    /// One that it does not.
    NonMaskable,
    /// `int n`, `int3`.
    Software,
}

/// An interrupt as an interrupt controller presents it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// The local APIC's, with this vector: the task priority may hold it off.
    Local(u8),
    /// An 8259A's, with this vector: it passes the local APIC by (ExtINT), and its task priority.
    External(u8),
}

impl Interrupt {
    /// Which entry of the table of handlers it goes to.
    pub const fn vector(self) -> u8 {
        match self {
            Self::Local(vector) | Self::External(vector) => vector,
        }
    }
}

/// Something to deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub vector: u8,
    pub error: Option<u32>,
    pub address: Option<u64>,
    pub cause: Cause,
}

/// What decides how an event goes together with one that comes up while it is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Benign,
    Contributory,
    PageFault,
    DoubleFault,
}

/// What becomes of two events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// The second is delivered; what led to the first happens again after its handler.
    Second,
    /// A double fault is.
    DoubleFault,
    /// The processor shuts down.
    Shutdown,
}

/// The classes of the exceptions by vector (SDM volume 3, table 6-5); the rest are benign.
#[rustfmt::skip]
const CLASSES: [Class; 16] = {
    use Class::*;
    [
        // #DE       #DB       NMI           #BP
        Contributory, Benign,  Benign,       Benign,
        // #OF       #BR       #UD           #NM
        Benign,      Benign,   Benign,       Benign,
        // #DF       9         #TS           #NP
        DoubleFault, Benign,   Contributory, Contributory,
        // #SS       #GP       #PF           15
        Contributory, Contributory, PageFault, Benign,
    ]
};

/// Conditions for a double fault (SDM volume 3, table 6-6), and after one.
#[rustfmt::skip]
pub(crate) const fn then(first: Class, second: Class) -> Then {
    use Class::*;
    match (first, second) {
        (Benign,       Benign | Contributory | PageFault) => Then::Second,
        (Contributory, Benign | PageFault)                => Then::Second,
        (Contributory, Contributory)                      => Then::DoubleFault,
        (PageFault,    Benign)                            => Then::Second,
        (PageFault,    Contributory | PageFault)          => Then::DoubleFault,
        (DoubleFault,  Benign)                            => Then::Second,
        (DoubleFault,  Contributory | PageFault)          => Then::Shutdown,

        // Nothing raises #DF but this table.
        (Benign | Contributory | PageFault | DoubleFault, DoubleFault) => Then::Shutdown,
    }
}

impl Event {
    pub const fn fault(vector: u8, error: Option<u32>, address: Option<u64>) -> Self {
        Self { vector, error, address, cause: Cause::Fault }
    }

    pub const fn new(vector: u8, cause: Cause) -> Self {
        Self { vector, error: None, address: None, cause }
    }

    /// Interrupts and what instructions ask for are benign whatever their vector.
    pub fn class(&self) -> Class {
        match self.cause {
            Cause::Fault | Cause::Trap => {
                CLASSES.get(usize::from(self.vector)).copied().unwrap_or(Class::Benign)
            }
            Cause::Interrupt | Cause::NonMaskable | Cause::Software => Class::Benign,
        }
    }
}

/// What is to be delivered at the next instruction boundary that lets it in. The marks are numbers
/// of retired instructions: what they say holds until one more has retired.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pending {
    /// Debug exceptions of what has retired, as DR6 has them.
    pub traps: u64,
    pub nmi: bool,
    /// What the interrupt controllers present.
    pub interrupt: Option<Interrupt>,
    /// STI set IF: interrupts wait.
    pub interrupt_shadow: Option<u64>,
    /// The stack segment was loaded: everything waits for its stack pointer.
    pub stack_shadow: Option<u64>,
    /// A repeated instruction has stopped between two of its iterations.
    pub inside_repeat: Option<u64>,
    /// RF is set.
    pub resumes: Option<u64>,
    /// Data breakpoints that the instruction has hit, as DR6 has them.
    pub touched: u64,
    /// The instruction that runs is to be followed by a debug exception.
    pub steps: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Class; 4] =
        [Class::Benign, Class::Contributory, Class::PageFault, Class::DoubleFault];

    #[test]
    fn a_second_fault_is_worse_than_the_first_or_takes_its_place() {
        for first in ALL {
            for second in ALL {
                let serious = |class| matches!(class, Class::Contributory | Class::PageFault);
                let expected = match then(first, second) {
                    // A page fault while delivering a contributory exception is just a page fault.
                    Then::Second => {
                        !serious(second)
                            || first == Class::Benign
                            || (first, second) == (Class::Contributory, Class::PageFault)
                    }
                    Then::DoubleFault => serious(first) && serious(second),
                    Then::Shutdown => first == Class::DoubleFault || second == Class::DoubleFault,
                };
                assert!(expected, "{first:?} then {second:?}");
            }
        }
    }

    #[test]
    fn contributory_are_six_vectors_and_only_as_exceptions() {
        let of = |cause| -> Vec<u8> {
            let class = |vector: &u8| Event::new(*vector, cause).class();
            (0..=255).filter(|vector| class(vector) != Class::Benign).collect()
        };
        assert_eq!(of(Cause::Fault), [0, 8, 10, 11, 12, 13, 14]);
        assert!(of(Cause::Software).is_empty() && of(Cause::Interrupt).is_empty());
    }
}
