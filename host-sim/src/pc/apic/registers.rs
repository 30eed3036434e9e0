//! The registers of a local APIC: their numbers, what may be done with each, and which bits it has.

/// Entries of the local vector table, in the order of their registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    Timer,
    /// Of a thermal sensor and of performance counters, which are not there: kept, and no more.
    Thermal,
    Counters,
    /// The pins: the 8259As are at the first, nobody at the second.
    Lint0,
    Lint1,
    Error,
}

pub const MASKED: u32 = 1 << 16;
pub const LEVEL: u32 = 1 << 15;
/// A level-triggered interrupt of a pin was accepted and has not ended.
pub const REMOTE_IRR: u32 = 1 << 14;

/// Which bits of each entry the guest writes (SDM volume 3, figure 11-8).
pub const WRITABLE: [u32; 6] = [0x7_00ff, 0x1_07ff, 0x1_07ff, 0x1_a7ff, 0x1_a7ff, 0x1_00ff];

/// A register; those of 256 bits are eight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    Id,
    Version,
    TaskPriority,
    ProcessorPriority,
    End,
    LogicalDestination,
    DestinationFormat,
    Spurious,
    Served(u8),
    Trigger(u8),
    Requested(u8),
    Errors,
    Command,
    CommandHigh,
    Local(Entry),
    InitialCount,
    CurrentCount,
    Divide,
    SelfCommand,
}

/// What may be done with a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Both,
    Read,
    Write,
    /// It is not there.
    Nothing,
}

/// The register with this number: 0x800 less than the model-specific register's, a sixteenth of the
/// offset (SDM volume 3, tables 11-1 and 11-6).
#[rustfmt::skip]
pub const fn register(number: u8) -> Option<Register> {
    use Register::*;
    Some(match number {
        0x02 => Id,
        0x03 => Version,
        0x08 => TaskPriority,
        0x0a => ProcessorPriority,
        0x0b => End,
        0x0d => LogicalDestination,
        0x0e => DestinationFormat,
        0x0f => Spurious,
        0x10..=0x17 => Served(number - 0x10),
        0x18..=0x1f => Trigger(number - 0x18),
        0x20..=0x27 => Requested(number - 0x20),
        0x28 => Errors,
        0x30 => Command,
        0x31 => CommandHigh,
        0x32 => Local(Entry::Timer),
        0x33 => Local(Entry::Thermal),
        0x34 => Local(Entry::Counters),
        0x35 => Local(Entry::Lint0),
        0x36 => Local(Entry::Lint1),
        0x37 => Local(Entry::Error),
        0x38 => InitialCount,
        0x39 => CurrentCount,
        0x3e => Divide,
        0x3f => SelfCommand,
        _ => return None,
    })
}

impl Register {
    /// What may be done with it by memory, and by model-specific registers.
    #[rustfmt::skip]
    pub const fn access(self) -> (Access, Access) {
        use Access::*;
        match self {
            Self::Id | Self::LogicalDestination                        => (Both, Read),
            Self::Version | Self::ProcessorPriority | Self::CurrentCount
            | Self::Served(_) | Self::Trigger(_) | Self::Requested(_)  => (Read, Read),
            Self::End                                                  => (Write, Write),
            Self::DestinationFormat | Self::CommandHigh                => (Both, Nothing),
            Self::SelfCommand                                          => (Nothing, Write),
            Self::TaskPriority | Self::Spurious | Self::Errors | Self::Command
            | Self::Local(_) | Self::InitialCount | Self::Divide       => (Both, Both),
        }
    }

    /// The bits that are not reserved, where a reserved one is refused: in x2APIC mode.
    pub const fn bits(self) -> u64 {
        match self {
            Self::TaskPriority | Self::SelfCommand => 0xff,
            // Bit 9, focus checking, is there on processors that have no use for it: Xen writes it.
            Self::Spurious => 0x3ff,
            Self::Command => 0xffff_ffff_000c_cfff,
            // Those that tell something may be written, and are not.
            Self::Local(entry) => WRITABLE[entry as usize] as u64 | 1 << 12 | REMOTE_IRR as u64,
            Self::InitialCount => 0xffff_ffff,
            Self::Divide => 0b1011,
            Self::Id
            | Self::Version
            | Self::ProcessorPriority
            | Self::End
            | Self::LogicalDestination
            | Self::DestinationFormat
            | Self::Served(_)
            | Self::Trigger(_)
            | Self::Requested(_)
            | Self::Errors
            | Self::CommandHigh
            | Self::CurrentCount => 0,
        }
    }
}
