//! Segments: descriptors as memory holds them, and what a segment register keeps of one.
//!
//! A segment register is a selector and a hidden part (SDM volume 3, 3.4.3): base, limit and
//! attributes, as they were when it was loaded. The bases of all six stand among the numbers that
//! an address is made of ([`crate::regs::slot`]), where decoded instructions add them; the rest is
//! [`Hidden`], which only loads and far transfers look at.
//!
//! 64-bit mode uses the bases of FS and GS and no limit (SDM volume 3, 3.4.4), so its decoder puts
//! `slot::ZERO` for the other four. 32-bit code uses all of it, unless the segments are all memory
//! (see `mode`): [`Segment::holds`] is the limit, [`Segment::admits`] what may be done, and
//! [`Segment::linear`] where that is.

/// A segment register, numbered as instructions encode it (SDM volume 2, table B-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Seg {
    /// es
    Es,
    /// cs
    Cs,
    /// ss
    Ss,
    /// ds
    Ds,
    /// fs
    Fs,
    /// gs
    Gs,
}

impl Seg {
    /// All six, in encoding order.
    pub const ALL: [Self; 6] = [Self::Es, Self::Cs, Self::Ss, Self::Ds, Self::Fs, Self::Gs];
}

/// Type, S, DPL, P, AVL, L, D and G of a descriptor: its bits 40 to 55 without those of the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub u16);

/// What a segment is for (SDM volume 3, 3.4.5.1 and 3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Data, or a stack.
    Data {
        /// It may be stored to.
        writable: bool,
        /// Its limit is where it begins.
        expands_down: bool,
    },
    /// Code.
    Code {
        /// It may be loaded from.
        readable: bool,
        /// Less privileged code may go there, and stays less privileged.
        conforming: bool,
    },
    /// No segment, or one of the processor's own.
    System(System),
}

/// The types of system descriptors (SDM volume 3, table 3-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// None.
    Reserved,
    /// A 16-bit task-state segment that no task uses.
    Tss16,
    /// A local descriptor table.
    Ldt,
    /// A 16-bit task-state segment in use.
    BusyTss16,
    /// A gate for calls, 16-bit.
    CallGate16,
    /// A gate to a task.
    TaskGate,
    /// A gate for interrupts, 16-bit.
    InterruptGate16,
    /// A gate for exceptions, 16-bit.
    TrapGate16,
    /// A task-state segment that no processor uses.
    Tss,
    /// A task-state segment in use.
    BusyTss,
    /// A gate for calls.
    CallGate,
    /// A gate for interrupts: IF is cleared.
    InterruptGate,
    /// A gate for exceptions: IF stays.
    TrapGate,
}

impl System {
    /// By the type field.
    #[rustfmt::skip]
    pub const BY_TYPE: [Self; 16] = {
        use System::*;
        [
            Reserved, Tss16,    Ldt,             BusyTss16,
            CallGate16, TaskGate, InterruptGate16, TrapGate16,
            Reserved, Tss,      Reserved,        BusyTss,
            CallGate, Reserved, InterruptGate,   TrapGate,
        ]
    };

    /// What the type means in long mode, which has neither tasks nor 16-bit gates (SDM volume 3,
    /// table 3-2).
    #[rustfmt::skip]
    pub const fn in_long_mode(self) -> Self {
        use System::*;
        match self {
            Ldt | Tss | BusyTss | CallGate | InterruptGate | TrapGate => self,

            Reserved | Tss16 | BusyTss16 | CallGate16 | TaskGate | InterruptGate16 | TrapGate16
                => Reserved,
        }
    }
}

impl Attributes {
    const CODE: u16 = 8;
    const CONFORMING_OR_EXPANDS_DOWN: u16 = 4;
    const READABLE_OR_WRITABLE: u16 = 2;
    const ACCESSED: u16 = 1;
    const SEGMENT: u16 = 1 << 4;
    const PRESENT: u16 = 1 << 7;
    const LONG: u16 = 1 << 13;
    const BIG: u16 = 1 << 14;
    const GRANULAR: u16 = 1 << 15;
    /// The bits that are not the limit's.
    const MASK: u16 = 0xf0ff;

    /// Flat 64-bit code of privilege level `dpl`, in use.
    pub const fn code_64(dpl: u8) -> Self {
        let kind = Self::CODE | Self::READABLE_OR_WRITABLE | Self::ACCESSED | Self::SEGMENT;
        Self(kind | Self::PRESENT | Self::LONG | Self::GRANULAR | Self::level(dpl))
    }

    /// Flat 32-bit code of privilege level `dpl`, in use.
    pub const fn code_32(dpl: u8) -> Self {
        Self(Self::code_64(dpl).0 & !Self::LONG | Self::BIG)
    }

    /// A 32-bit task-state segment that is in use.
    pub(crate) const BUSY_TASK: Self = Self(11 | Self::PRESENT);

    /// Flat data of privilege level `dpl`, in use.
    pub const fn data(dpl: u8) -> Self {
        let kind = Self::READABLE_OR_WRITABLE | Self::ACCESSED | Self::SEGMENT;
        Self(kind | Self::PRESENT | Self::BIG | Self::GRANULAR | Self::level(dpl))
    }

    const fn level(dpl: u8) -> u16 {
        ((dpl & 3) as u16) << 5
    }

    const fn is(self, bit: u16) -> bool {
        self.0 & bit != 0
    }

    /// What it is for.
    pub const fn kind(self) -> Kind {
        let low = self.is(Self::READABLE_OR_WRITABLE);
        let high = self.is(Self::CONFORMING_OR_EXPANDS_DOWN);
        match (self.is(Self::SEGMENT), self.is(Self::CODE)) {
            (true, true) => Kind::Code { readable: low, conforming: high },
            (true, false) => Kind::Data { writable: low, expands_down: high },
            (false, true | false) => Kind::System(System::BY_TYPE[(self.0 & 15) as usize]),
        }
    }

    /// Descriptor privilege level.
    pub const fn dpl(self) -> u8 {
        (self.0 >> 5) as u8 & 3
    }

    /// P.
    pub const fn present(self) -> bool {
        self.is(Self::PRESENT)
    }

    /// L: 64-bit code.
    pub const fn long(self) -> bool {
        self.is(Self::LONG)
    }

    /// D or B: 32-bit code, a 32-bit stack.
    pub const fn big(self) -> bool {
        self.is(Self::BIG)
    }

    /// Whether a stack of privilege level `level` may be where `selector`, which has these, says.
    pub(crate) fn may_be_stack(self, selector: u16, level: u8) -> bool {
        matches!(self.kind(), Kind::Data { writable: true, .. })
            && selector::rpl(selector) == level
            && self.dpl() == level
    }

    const fn granular(self) -> bool {
        self.is(Self::GRANULAR)
    }
}

/// A segment register, or TR or LDTR: selector and hidden part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// What the guest loaded.
    pub selector: u16,
    /// Where it begins.
    pub base: u64,
    /// The last offset in it (the last that is not, if it expands down).
    pub limit: u32,
    /// What else the descriptor said; not present for the null selector.
    pub attributes: Attributes,
}

impl Segment {
    /// Loaded with a null selector.
    pub(crate) const fn null(selector: u16) -> Self {
        Self { selector, base: 0, limit: 0, attributes: Attributes(0) }
    }

    /// Whether `bytes` bytes from `offset` on are inside (SDM volume 3, 5.3). What goes around the
    /// end of a segment that is all of 4 GiB is let through, as the manual leaves open.
    pub(crate) fn holds(&self, offset: u64, bytes: u64) -> bool {
        let (limit, last) = (u64::from(self.limit), offset + bytes.saturating_sub(1));
        match self.attributes.kind() {
            Kind::Data { expands_down: true, .. } => {
                let top = if self.attributes.big() { 0xffff_ffff } else { 0xffff };
                offset > limit && last <= top
            }
            Kind::Data { expands_down: false, .. } | Kind::Code { .. } | Kind::System(_) => {
                self.limit == u32::MAX || last <= limit
            }
        }
    }

    /// Whether it may be loaded from, or stored to.
    pub(crate) fn admits(&self, write: bool) -> bool {
        let kind = match self.attributes.kind() {
            Kind::Data { writable, .. } => writable || !write,
            Kind::Code { readable, .. } => readable && !write,
            Kind::System(_) => false,
        };
        kind && self.attributes.present()
    }

    /// Where `offset` of it is in the 32-bit linear address space.
    pub(crate) const fn linear(&self, offset: u64) -> u64 {
        self.base.wrapping_add(offset) & 0xffff_ffff
    }

    /// All memory, from 0 on.
    pub(crate) const fn flat(selector: u16, attributes: Attributes) -> Self {
        Self { selector, base: 0, limit: u32::MAX, attributes }
    }
}

/// A segment register but for its base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hidden {
    pub selector: u16,
    pub limit: u32,
    pub attributes: Attributes,
}

/// The table that a selector is in, and where (SDM volume 3, 3.4.2).
pub(crate) mod selector {
    /// Requested privilege level.
    pub const RPL: u16 = 3;
    /// In the local table.
    pub const LOCAL: u16 = 4;

    /// Whether it selects nothing.
    pub const fn is_null(selector: u16) -> bool {
        selector & !RPL == 0
    }

    /// The requested privilege level.
    pub const fn rpl(selector: u16) -> u8 {
        (selector & RPL) as u8
    }
}

/// The eight bytes of a descriptor (SDM volume 3, figure 3-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor(pub u64);

impl Descriptor {
    const ACCESSED: u64 = 1 << 40;
    const BUSY: u64 = 1 << 41;

    pub const fn attributes(self) -> Attributes {
        Attributes((self.0 >> 40) as u16 & Attributes::MASK)
    }

    pub const fn kind(self) -> Kind {
        self.attributes().kind()
    }

    /// The system type, as long mode has it if it is `long`.
    pub const fn system(self, long: bool) -> Option<System> {
        match self.kind() {
            Kind::System(system) if long => Some(system.in_long_mode()),
            Kind::System(system) => Some(system),
            Kind::Code { .. } | Kind::Data { .. } => None,
        }
    }

    pub const fn base(self) -> u32 {
        (self.0 >> 16) as u32 & 0x00ff_ffff | (self.0 >> 32) as u32 & 0xff00_0000
    }

    /// The limit in bytes.
    pub const fn limit(self) -> u32 {
        let limit = self.0 as u32 & 0xffff | (self.0 >> 32) as u32 & 0x000f_0000;
        if self.attributes().granular() { limit << 12 | 0xfff } else { limit }
    }

    /// Of a gate: the code segment that it leads to.
    pub const fn gate_selector(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// Of a gate whose second half is `upper`: the instruction that it leads to.
    pub const fn gate_target(self, upper: u64) -> u64 {
        self.0 & 0xffff | self.0 >> 32 & 0xffff_0000 | upper << 32
    }

    /// Of a 32-bit call gate: how many words it passes on.
    pub const fn gate_words(self) -> usize {
        (self.0 >> 32) as usize & 31
    }

    /// The same, marked as accessed.
    pub const fn accessed(self) -> Self {
        Self(self.0 | Self::ACCESSED)
    }

    /// The same task-state segment, in use.
    pub const fn busy(self) -> Self {
        Self(self.0 | Self::BUSY)
    }

    /// What a register that is loaded with it holds.
    pub const fn segment(self, selector: u16) -> Segment {
        let base = self.base() as u64;
        Segment { selector, base, limit: self.limit(), attributes: self.attributes() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kernel code and user data as every 64-bit kernel has them.
    const CODE: Descriptor = Descriptor(0x00af_9b00_0000_ffff);
    const DATA: Descriptor = Descriptor(0x00cf_f300_0000_ffff);

    #[test]
    fn descriptors_say_what_they_are() {
        assert_eq!(CODE.attributes(), Attributes::code_64(0));
        assert_eq!(DATA.attributes(), Attributes::data(3));
        assert_eq!(CODE.kind(), Kind::Code { readable: true, conforming: false });
        assert_eq!(DATA.kind(), Kind::Data { writable: true, expands_down: false });
        assert_eq!((CODE.limit(), DATA.limit()), (u32::MAX, u32::MAX));
        let scattered = Descriptor(0xab00_8912_3456_789a);
        assert_eq!((scattered.base(), scattered.limit()), (0xab12_3456, 0x789a));
        assert_eq!(scattered.system(true), Some(System::Tss));
        assert_eq!(scattered.busy().system(true), Some(System::BusyTss));
    }

    #[test]
    fn marks_stay_however_often_they_are_made() {
        let task = Descriptor(0x0000_8900_0000_0000);
        assert_eq!(task.busy(), Descriptor(0x0000_8b00_0000_0000));
        assert_eq!(task.busy().busy(), task.busy());
        let data = Descriptor(0x0000_9200_0000_0000);
        assert_eq!(data.accessed(), Descriptor(0x0000_9300_0000_0000));
        assert_eq!(data.accessed().accessed(), data.accessed());
    }

    #[test]
    fn a_gate_leads_anywhere_in_64_bits() {
        // SDM volume 3, figures 5-8 (call gate) and 6-8.
        let gate = Descriptor(0x8765_8c03_0010_4321);
        assert_eq!(gate.gate_target(0xffff_8000), 0xffff_8000_8765_4321);
        assert_eq!((gate.gate_selector(), gate.gate_words()), (0x10, 3));
    }

    #[test]
    fn long_mode_has_six_system_types_and_each_is_its_own_number() {
        let known: Vec<usize> = (0..16)
            .filter(|&number| System::BY_TYPE[number].in_long_mode() != System::Reserved)
            .collect();
        assert_eq!(known, [2, 9, 11, 12, 14, 15]);
        for (number, system) in System::BY_TYPE.into_iter().enumerate() {
            let same = System::BY_TYPE.iter().filter(|other| **other == system).count();
            assert!(same == 1 || system == System::Reserved, "type {number}");
        }
    }

    fn data(limit: u32, kind: u16) -> Segment {
        Segment { selector: 16, base: 0xffff_f000, limit, attributes: Attributes(kind) }
    }

    #[test]
    fn a_segment_ends_at_its_limit_and_one_that_expands_down_begins_there() {
        // SDM volume 3, 5.3: the effective limit is the last address allowed.
        let up = data(0xfff, 0x4093);
        assert!(up.holds(0xffc, 4) && !up.holds(0xffd, 4) && up.holds(0xfff, 1));
        let down = data(0xfff, 0x4097);
        assert!(!down.holds(0xfff, 1) && down.holds(0x1000, 4) && down.holds(0xffff_fffc, 4));
        assert!(!down.holds(0xffff_fffd, 4));
        let down_16 = data(0xfff, 0x0097);
        assert!(down_16.holds(0xfffc, 4) && !down_16.holds(0xfffd, 4));
    }

    #[test]
    fn addresses_wrap_at_four_gigabytes() {
        assert_eq!(data(u32::MAX, 0x4093).linear(0x1234), 0x234);
    }

    #[test]
    fn code_is_not_stored_to_and_only_read_if_it_may_be() {
        assert!(data(0, 0x4093).admits(true) && !data(0, 0x4091).admits(true));
        assert!(data(0, 0x409b).admits(false) && !data(0, 0x409b).admits(true));
        assert!(!data(0, 0x4099).admits(false));
        // Not present: a null selector.
        assert!(!data(0, 0x4013).admits(false) && !data(0, 0).admits(false));
    }
}
