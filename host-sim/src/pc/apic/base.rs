//! IA32_APIC_BASE: whether the local APIC is on, and how it is accessed (SDM volume 3, 11.4.4 and
//! 11.12.5).

use super::Refused;
use ultravisor_abi::boot::LOCAL_APIC;

/// Where the registers are, as a local APIC starts and as it stays here.
const REGISTERS: u64 = LOCAL_APIC.0;

/// This is the processor that boots the others.
const BOOTS: u64 = 1 << 8;
const EXTENDED: u64 = 1 << 10;
const ENABLED: u64 = 1 << 11;
/// The bits of an address that are one here (`PHYSICAL_BITS` of the CPU).
const ADDRESS: u64 = ((1 << 48) - 1) & !0xfff;

/// How it is accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Not at all: it is off.
    Off,
    /// By memory.
    Memory,
    /// By model-specific registers (x2APIC).
    Registers,
}

/// The register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base(u64);

impl Default for Base {
    fn default() -> Self {
        Self(REGISTERS | ENABLED | BOOTS)
    }
}

const fn mode(value: u64) -> Option<Mode> {
    match (value & ENABLED != 0, value & EXTENDED != 0) {
        (false, false) => Some(Mode::Off),
        (true, false) => Some(Mode::Memory),
        (true, true) => Some(Mode::Registers),
        (false, true) => None,
    }
}

/// Whether it may go from one mode to another (SDM volume 3, figure 11-27).
#[rustfmt::skip]
const fn may_go(from: Mode, to: Mode) -> bool {
    use Mode::*;
    match (from, to) {
        (Off, Off) | (Memory, Memory) | (Registers, Registers) => true,
        (Off, Memory) | (Memory, Off | Registers) | (Registers, Off) => true,

        (Off, Registers) | (Registers, Memory) => false,
    }
}

impl Base {
    /// As the guest reads it.
    pub fn value(self) -> u64 {
        self.0
    }

    /// How the local APIC is accessed.
    pub fn mode(self) -> Mode {
        mode(self.0).unwrap_or(Mode::Off)
    }

    /// What it becomes if the guest writes `value`.
    pub fn written(self, value: u64) -> Result<Self, Refused> {
        let to = mode(value).ok_or(Refused::Protection)?;
        if value & !(ADDRESS | ENABLED | EXTENDED | BOOTS) != 0 || !may_go(self.mode(), to) {
            return Err(Refused::Protection);
        }
        if value & ADDRESS != REGISTERS {
            return Err(Refused::NotBuilt("a local APIC at another address"));
        }
        Ok(Self(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SDM volume 3, figure 11-27.
    #[test]
    fn from_each_mode_to_each_it_goes_as_the_figure_says() {
        // By (EXTD, EN): off, memory, not a mode, registers.
        let ways = [0, ENABLED, EXTENDED, ENABLED | EXTENDED];
        let allowed = [[true, true, false, false], [true, true, false, true], [false; 4], {
            [true, false, false, true]
        }];
        for (from, row) in ways.into_iter().zip(allowed) {
            if mode(from).is_none() {
                continue;
            }
            for (to, may) in ways.into_iter().zip(row) {
                let written = Base(REGISTERS | from).written(REGISTERS | to);
                assert_eq!(written.is_ok(), may, "{from:#x} to {to:#x}");
                assert!(may || written == Err(Refused::Protection));
            }
        }
    }

    /// SDM volume 3, 11.4.4.
    #[test]
    fn it_starts_on_and_stays_where_it_is() {
        let base = Base::default();
        assert_eq!((base.value(), base.mode()), (0xfee0_0900, Mode::Memory));
        assert!(matches!(base.written(0x1000_0900), Err(Refused::NotBuilt(_))));
        for reserved in [1, 0x200, 1 << 48, 1 << 63] {
            assert_eq!(base.written(0xfee0_0900 | reserved), Err(Refused::Protection));
        }
        assert_eq!(base.written(0xfee0_0c00).map(Base::mode), Ok(Mode::Registers));
    }
}
