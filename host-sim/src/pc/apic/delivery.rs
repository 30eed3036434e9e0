//! How an interrupt is delivered: the delivery modes of local APIC and I/O APIC, and where each of
//! them may stand.

/// A delivery mode (SDM volume 3, 11.5.1 and 11.6.1; 82093AA data sheet, 3.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// To its vector.
    Fixed,
    /// The same, to whoever is the least busy: with one processor that is no choice.
    Lowest,
    /// A system management interrupt.
    Management,
    /// A non-maskable interrupt.
    NonMaskable,
    /// A reset of the processor.
    Init,
    /// A processor that waits since its reset begins.
    StartUp,
    /// The 8259A gives the vector.
    External,
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// An entry of the local vector table.
    Local,
    /// The interrupt command register.
    Command,
    /// An entry of the I/O APIC.
    Io,
}

impl Delivery {
    /// What bits 8 to 10 of an entry or a command mean; `None`: reserved there.
    #[rustfmt::skip]
    pub const fn of(from: Sender, entry: u32) -> Option<Self> {
        use Sender::*;
        match (entry >> 8 & 7, from) {
            (0, Local | Command | Io) => Some(Self::Fixed),
            (1,         Command | Io) => Some(Self::Lowest),
            (2, Local | Command | Io) => Some(Self::Management),
            (4, Local | Command | Io) => Some(Self::NonMaskable),
            (5, Local | Command | Io) => Some(Self::Init),
            (6,         Command     ) => Some(Self::StartUp),
            (7, Local |           Io) => Some(Self::External),

            (1, Local) | (6, Local | Io) | (7, Command) | (_, Local | Command | Io) => None,
        }
    }
}

/// Where a command goes, on a machine of one processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goes {
    /// To whom its destination names.
    ByDestination,
    /// To the processor that sends it.
    Here,
    /// To the others, of which there are none.
    Nowhere,
    /// The manual does not say.
    Undefined,
}

/// Destination shorthands (bits 18 and 19 of the command register) and what they may be combined
/// with (SDM volume 3, table 11-3).
#[rustfmt::skip]
pub const fn goes(command: u32, delivery: Delivery) -> Goes {
    use Delivery::*;
    match (command >> 18 & 3, delivery) {
        (0, _)             => Goes::ByDestination,
        (1 | 2, Fixed)     => Goes::Here,
        (3, _)             => Goes::Nowhere,

        (_, Fixed | Lowest | Management | NonMaskable | Init | StartUp | External)
                           => Goes::Undefined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SDM volume 3, 11.5.1, 11.6.1; 82093AA data sheet, 3.2.4.
    #[test]
    fn each_mode_stands_where_the_manuals_have_it_and_nowhere_else() {
        use Delivery::*;
        let modes = |from| [0, 1, 2, 3, 4, 5, 6, 7].map(|mode| Delivery::of(from, mode << 8));
        let [fixed, lowest, smi, nmi] = [Fixed, Lowest, Management, NonMaskable].map(Some);
        let [init, start, external] = [Init, StartUp, External].map(Some);
        assert_eq!(modes(Sender::Local), [fixed, None, smi, None, nmi, init, None, external]);
        assert_eq!(modes(Sender::Command), [fixed, lowest, smi, None, nmi, init, start, None]);
        assert_eq!(modes(Sender::Io), [fixed, lowest, smi, None, nmi, init, None, external]);
        // No other bit counts.
        for from in [Sender::Local, Sender::Command, Sender::Io] {
            assert_eq!(Delivery::of(from, 0xffff_f8ff), fixed);
        }
    }

    /// SDM volume 3, table 11-3.
    #[test]
    fn to_itself_by_shorthand_a_processor_sends_fixed_interrupts_only() {
        use Delivery::*;
        for delivery in [Fixed, Lowest, Management, NonMaskable, Init, StartUp, External] {
            let of = |shorthand: u32| goes(shorthand << 18, delivery);
            let to_itself = if delivery == Fixed { Goes::Here } else { Goes::Undefined };
            assert_eq!([of(0), of(3)], [Goes::ByDestination, Goes::Nowhere], "{delivery:?}");
            assert_eq!([of(1), of(2)], [to_itself; 2], "{delivery:?}");
        }
    }
}
