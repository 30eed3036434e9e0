//! What the guest does with the local APIC's registers, by memory or by model-specific registers.

use super::Refused;
use super::base::Mode;
use super::delivery::{Delivery, Goes, Sender, goes};
use super::local::{Destination, LocalApic, SOFTWARE_ON, error};
use super::registers::{Access, Entry, LEVEL, MASKED, REMOTE_IRR, Register, WRITABLE, register};
use super::timer;
use super::vectors::FIRST;

/// Version 0x14, six entries in the local vector table.
const VERSION: u32 = 0x14 | 5 << 16;

impl LocalApic {
    /// A load of `bytes` bytes at `offset` of its page.
    pub fn read_memory(&mut self, offset: u64, bytes: u8, now_ns: u64) -> Result<u32, Refused> {
        match memory_register(offset, bytes)?.map(|register| (register, register.access().0)) {
            Some((register, Access::Both | Access::Read)) => Ok(self.read(register, now_ns)),
            Some((_, Access::Write)) => Ok(0),
            Some((_, Access::Nothing)) | None => {
                self.note(error::NO_REGISTER);
                Ok(0)
            }
        }
    }

    /// A store. *Returns* the vector whose level-triggered interrupt is over, if one is.
    pub fn write_memory(
        &mut self,
        offset: u64,
        bytes: u8,
        value: u32,
        now_ns: u64,
    ) -> Result<Option<u8>, Refused> {
        match memory_register(offset, bytes)?.map(|register| (register, register.access().0)) {
            Some((register, Access::Both | Access::Write)) => {
                self.write(register, u64::from(value), now_ns)
            }
            Some((_, Access::Read)) => Ok(None),
            Some((_, Access::Nothing)) | None => {
                self.note(error::NO_REGISTER);
                Ok(None)
            }
        }
    }

    /// `rdmsr` of 0x800 + `number`.
    pub fn read_register(&mut self, number: u8, now_ns: u64) -> Result<u64, Refused> {
        let register = self.extended(number)?;
        match (register.access().1, register) {
            (Access::Both, Register::Command) => Ok(self.command),
            (Access::Both | Access::Read, _) => Ok(u64::from(self.read(register, now_ns))),
            (Access::Write | Access::Nothing, _) => Err(Refused::Protection),
        }
    }

    /// `wrmsr` to 0x800 + `number`. *Returns* as [`LocalApic::write_memory`].
    pub fn write_register(
        &mut self,
        number: u8,
        value: u64,
        now_ns: u64,
    ) -> Result<Option<u8>, Refused> {
        let register = self.extended(number)?;
        match register.access().1 {
            Access::Both | Access::Write if value & !register.bits() == 0 => {
                self.write(register, value, now_ns)
            }
            Access::Both | Access::Write | Access::Read | Access::Nothing => {
                Err(Refused::Protection)
            }
        }
    }

    /// The register with this number, in x2APIC mode.
    fn extended(&self, number: u8) -> Result<Register, Refused> {
        let is_there = self.mode() == Mode::Registers;
        register(number).filter(|_| is_there).ok_or(Refused::Protection)
    }

    /// IA32_TSC_DEADLINE.
    pub fn deadline(&mut self, now_ns: u64) -> u64 {
        self.advance(now_ns);
        self.timer.deadline()
    }

    /// Writes it.
    pub fn set_deadline(&mut self, value: u64, now_ns: u64) {
        self.advance(now_ns);
        self.timer.set_deadline(value);
    }

    fn read(&mut self, register: Register, now_ns: u64) -> u32 {
        self.advance(now_ns);
        match register {
            Register::Id if self.mode() == Mode::Registers => u32::from(self.id),
            Register::Id => u32::from(self.id) << 24,
            Register::Version => VERSION,
            Register::TaskPriority => u32::from(self.task_priority),
            Register::ProcessorPriority => u32::from(self.processor_priority()),
            Register::LogicalDestination => self.logical(),
            Register::DestinationFormat => self.format,
            Register::Spurious => self.spurious,
            Register::Served(word) => self.served.word(word),
            Register::Trigger(word) => self.trigger.word(word),
            Register::Requested(word) => self.requested.word(word),
            Register::Errors => self.errors.1,
            Register::Command => self.command as u32,
            Register::CommandHigh => (self.command >> 32) as u32,
            Register::Local(entry) => self.entry(entry),
            Register::InitialCount => self.timer.initial(),
            Register::CurrentCount => self.timer.count(now_ns),
            Register::Divide => self.timer.divide(),
            Register::End | Register::SelfCommand => 0,
        }
    }

    /// The task priority, or the class of what is served (SDM volume 3, 11.8.3.1).
    fn processor_priority(&self) -> u8 {
        let served = self.served.highest().unwrap_or(0) & 0xf0;
        if self.task_priority & 0xf0 >= served { self.task_priority } else { served }
    }

    fn write(
        &mut self,
        register: Register,
        value: u64,
        now_ns: u64,
    ) -> Result<Option<u8>, Refused> {
        self.advance(now_ns);
        let low = value as u32;
        match register {
            Register::Id => self.id = (low >> 24) as u8,
            Register::TaskPriority => self.task_priority = low as u8,
            Register::End => return Ok(self.end()),
            Register::LogicalDestination => self.logical_id = (low >> 24) as u8,
            Register::DestinationFormat => self.format = low | 0x0fff_ffff,
            Register::Spurious => {
                self.spurious = low & 0x3ff;
                self.keep_masked();
            }
            Register::Errors => self.errors = (0, self.errors.0),
            Register::Command => return self.command(value).map(|()| None),
            Register::CommandHigh => {
                self.command = self.command & u64::from(u32::MAX) | u64::from(low) << 32;
            }
            Register::Local(entry) => return self.set_entry(entry, low, now_ns).map(|()| None),
            Register::InitialCount => self.timer.set_initial(low, now_ns),
            Register::Divide => self.timer.set_divide(low, now_ns),
            Register::SelfCommand => self.send_here(low as u8),
            Register::Version
            | Register::ProcessorPriority
            | Register::Served(_)
            | Register::Trigger(_)
            | Register::Requested(_)
            | Register::CurrentCount => (),
        }
        Ok(None)
    }

    /// Off by its software it masks all entries, and they stay so (SDM volume 3, 11.4.7.2).
    fn keep_masked(&mut self) {
        if self.spurious & SOFTWARE_ON == 0 {
            self.local.iter_mut().for_each(|entry| *entry |= MASKED);
        }
    }

    fn set_entry(&mut self, entry: Entry, value: u32, now_ns: u64) -> Result<(), Refused> {
        let writable = WRITABLE[entry as usize];
        let value = value & writable;
        if entry == Entry::Timer {
            let mode = timer::Mode::of(value);
            let mode =
                mode.ok_or(Refused::NotBuilt("the fourth mode of the local APIC's timer"))?;
            self.timer.set_mode(mode, now_ns);
        } else if value & MASKED == 0 {
            match Delivery::of(Sender::Local, value) {
                Some(Delivery::Fixed | Delivery::NonMaskable | Delivery::External) => (),
                Some(_) | None => return Err(Refused::NotBuilt("SMI and INIT by the local APIC")),
            }
        }
        let kept = self.entry(entry) & REMOTE_IRR & if value & LEVEL != 0 { u32::MAX } else { 0 };
        *self.entry_mut(entry) = value | kept;
        self.keep_masked();
        Ok(())
    }

    /// The most urgent interrupt that is served is over.
    fn end(&mut self) -> Option<u8> {
        let vector = self.served.highest()?;
        self.served.set(vector, false);
        if !self.trigger.contains(vector) {
            return None;
        }
        let pin = self.entry_mut(Entry::Lint0);
        if *pin as u8 == vector {
            *pin &= !REMOTE_IRR;
        }
        Some(vector)
    }

    /// The interrupt command register is written: it is sent.
    fn command(&mut self, value: u64) -> Result<(), Refused> {
        const STATUS: u64 = 1 << 12;
        const LOGICAL: u64 = 1 << 11;
        const UNDEFINED: Refused = Refused::NotBuilt("a command that the manual does not define");
        let extended = self.mode() == Mode::Registers;
        let high = if extended { value >> 32 << 32 } else { self.command >> 32 << 32 };
        self.command = high | value & 0xc_cfff & !STATUS;
        let low = self.command as u32;
        let delivery = Delivery::of(Sender::Command, low).ok_or(UNDEFINED)?;
        let name = if extended { (high >> 32) as u32 } else { (high >> 56) as u32 };
        let to = Destination { logical: value & LOGICAL != 0, name };
        let is_here = match goes(low, delivery) {
            Goes::ByDestination => self.is_meant(to),
            Goes::Here => true,
            Goes::Nowhere => false,
            Goes::Undefined => return Err(UNDEFINED),
        };
        match delivery {
            Delivery::Fixed | Delivery::Lowest if is_here => self.send_here(low as u8),
            Delivery::Fixed | Delivery::Lowest if (low as u8) < FIRST => {
                self.note(error::SENT_ILLEGAL);
            }
            Delivery::NonMaskable if is_here => self.non_maskable = true,
            Delivery::Init if is_here && is_asserted(low) => {
                return Err(Refused::NotBuilt("a processor that resets itself"));
            }
            Delivery::Management if is_here => {
                return Err(Refused::NotBuilt("system management mode"));
            }
            // Nobody is there who would take it.
            Delivery::Fixed
            | Delivery::Lowest
            | Delivery::NonMaskable
            | Delivery::Init
            | Delivery::Management
            | Delivery::StartUp
            | Delivery::External => (),
        }
        Ok(())
    }

    /// An interrupt from this processor to itself.
    fn send_here(&mut self, vector: u8) {
        if vector < FIRST {
            self.note(error::SENT_ILLEGAL);
        }
        self.accept(vector, false);
    }
}

/// Whether a command is not the "INIT level de-assert", which does nothing any more.
const fn is_asserted(command: u32) -> bool {
    const ASSERT: u32 = 1 << 14;
    command & LEVEL == 0 || command & ASSERT != 0
}

/// The register that an access by memory means. Other widths and places between registers are not
/// defined (SDM volume 3, 11.4.1).
fn memory_register(offset: u64, bytes: u8) -> Result<Option<Register>, Refused> {
    if bytes != 4 || !offset.is_multiple_of(16) {
        return Err(Refused::NotBuilt("the local APIC but by aligned accesses of four bytes"));
    }
    Ok(u8::try_from(offset / 16).ok().and_then(register))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPURIOUS: u64 = 0xf0;
    const COMMAND: u64 = 0x300;
    const TIMER: u64 = 0x320;
    const ERROR: u64 = 0x370;
    const INITIAL: u64 = 0x380;

    fn by_memory() -> LocalApic {
        let mut apic = LocalApic::default();
        store(&mut apic, SPURIOUS, 0x1ff);
        apic
    }

    fn by_registers() -> LocalApic {
        let mut apic = by_memory();
        apic.set_base(0xfee0_0d00).expect("x2APIC");
        apic
    }

    fn load(apic: &mut LocalApic, offset: u64) -> u32 {
        apic.read_memory(offset, 4, 0).expect("an aligned load")
    }

    fn store(apic: &mut LocalApic, offset: u64, value: u32) {
        apic.write_memory(offset, 4, value, 0).expect("it is built");
    }

    #[test]
    fn each_register_is_there_for_loads_and_stores_as_the_table_says() {
        // SDM volume 3, table 11-6: those of x2APIC mode, by what RDMSR and WRMSR of 0 do.
        let read: Vec<u8> =
            (0..=255).filter(|n| by_registers().read_register(*n, 0).is_ok()).collect();
        let mut expected = vec![0x02, 0x03, 0x08, 0x0a, 0x0d, 0x0f];
        expected.extend(0x10..=0x28);
        expected.extend([0x30, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3e]);
        assert_eq!(read, expected);
        let writes = |n: &u8| by_registers().write_register(*n, 0, 0).is_ok();
        let written: Vec<u8> = (0..=255).filter(writes).collect();
        let expected =
            [8, 0xb, 0xf, 0x28, 0x30, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x3e, 0x3f];
        assert_eq!(written, expected);
        // By memory what is not there is noted (table 11-1, and 11.5.3).
        let lacks = |offset: &u64| {
            let mut apic = by_memory();
            load(&mut apic, *offset);
            apic.errors.0 == error::NO_REGISTER
        };
        let there: Vec<u64> = (0..256).map(|n| n * 16).filter(|offset| !lacks(offset)).collect();
        let mut expected: Vec<u64> = vec![0x20, 0x30, 0x80, 0xa0, 0xb0, 0xd0, 0xe0, 0xf0];
        expected.extend((0x10..=0x28).map(|n| n * 16));
        expected.extend((0x30..=0x39).map(|n| n * 16));
        expected.push(0x3e0);
        assert_eq!(there, expected);
    }

    /// SDM volume 3, 11.12.1.3.
    #[test]
    fn in_x2apic_mode_a_reserved_bit_is_refused_and_by_memory_it_is_dropped() {
        let writable = [
            (0x08, 0xff),
            (0x0b, 0),
            (0x0f, 0x3ff),
            (0x28, 0),
            (0x32, 0x7_50ff),
            (0x35, 0x1_f7ff),
            (0x37, 0x1_50ff),
            (0x38, 0xffff_ffff_u64),
            (0x3e, 0xb),
            (0x3f, 0xff),
        ];
        for (number, bits) in writable {
            for bit in 0..64 {
                let written = by_registers().write_register(number, 1 << bit, 0);
                let is_reserved = written == Err(Refused::Protection);
                assert_eq!(is_reserved, bits >> bit & 1 == 0, "bit {bit} of {number:#x}");
            }
        }
        let mut apic = by_memory();
        for (offset, kept) in [(0x80, 0xff), (SPURIOUS, 0x3ff), (0x3e0, 0xb), (0x350, 0x1_a7ff)] {
            store(&mut apic, offset, u32::MAX);
            assert_eq!(load(&mut apic, offset), kept, "{offset:#x}");
        }
    }

    /// SDM volume 3, 11.4.1.
    #[test]
    fn by_other_than_aligned_accesses_of_four_bytes_nothing_is_said() {
        for (offset, bytes) in [(0x20, 1), (0x20, 8), (0x24, 4), (0x21, 4)] {
            assert!(matches!(by_memory().read_memory(offset, bytes, 0), Err(Refused::NotBuilt(_))));
            let written = by_memory().write_memory(offset, bytes, 0, 0);
            assert!(matches!(written, Err(Refused::NotBuilt(_))));
        }
    }

    #[test]
    fn the_processors_priority_is_the_tasks_or_that_of_what_it_serves() {
        // SDM volume 3, 11.8.3.1.
        for (task, served, expected) in
            [(0, None, 0), (0x25, None, 0x25), (0x25, Some(0x31), 0x30), (0x37, Some(0x31), 0x37)]
        {
            let mut apic = by_memory();
            store(&mut apic, 0x80, task);
            if let Some(vector) = served {
                apic.accept(vector, false);
                apic.take(vector);
            }
            assert_eq!(load(&mut apic, 0xa0), expected, "{task:#x} {served:?}");
        }
    }

    /// SDM volume 3, 11.8.5.
    #[test]
    fn the_end_of_an_interrupt_is_that_of_the_most_urgent_and_tells_of_its_level() {
        let mut apic = by_memory();
        for (vector, level) in [(0x31, true), (0x55, false)] {
            apic.accept(vector, level);
            apic.take(vector);
        }
        assert_eq!((load(&mut apic, 0x110), load(&mut apic, 0x120)), (1 << 17, 1 << 21));
        assert_eq!(apic.write_memory(0xb0, 4, 0, 0), Ok(None), "0x55 was edge-triggered");
        assert_eq!(apic.write_memory(0xb0, 4, 0, 0), Ok(Some(0x31)));
        assert_eq!(apic.write_memory(0xb0, 4, 0, 0), Ok(None), "nothing was served");
    }

    #[test]
    fn illegal_vectors_and_registers_are_told_at_the_write_of_the_status_and_interrupt_once() {
        // SDM volume 3, 11.5.3.
        let mut apic = by_memory();
        store(&mut apic, ERROR, 0xe0);
        load(&mut apic, 0x40);
        assert_eq!((load(&mut apic, 0x280), apic.next()), (0, Some(0xe0)));
        apic.take(0xe0);
        store(&mut apic, 0x280, 0);
        assert_eq!(load(&mut apic, 0x280), error::NO_REGISTER);
        // To itself, vector 15: sent and received.
        store(&mut apic, COMMAND, 0x4_000f);
        store(&mut apic, 0x280, 0);
        assert_eq!(load(&mut apic, 0x280), error::SENT_ILLEGAL | error::RECEIVED_ILLEGAL);
        // To nobody: sent.
        store(&mut apic, COMMAND, 0xc_000f);
        store(&mut apic, 0x280, 0);
        assert_eq!(load(&mut apic, 0x280), error::SENT_ILLEGAL);
        store(&mut apic, 0x280, 0);
        assert_eq!(load(&mut apic, 0x280), 0);
        // A timer without a vector.
        store(&mut apic, TIMER, 3);
        store(&mut apic, INITIAL, 1);
        apic.advance(100);
        assert_eq!(apic.errors.0, error::RECEIVED_ILLEGAL);
    }

    /// SDM volume 3, 11.4.7.2.
    #[test]
    fn off_by_its_software_its_entries_are_masked_and_stay_so() {
        let mut apic = by_memory();
        store(&mut apic, TIMER, 0x40);
        store(&mut apic, SPURIOUS, 0xff);
        assert_eq!(load(&mut apic, TIMER), 0x1_0040);
        store(&mut apic, TIMER, 0x41);
        assert_eq!(load(&mut apic, TIMER), 0x1_0041);
        store(&mut apic, SPURIOUS, 0x1ff);
        store(&mut apic, TIMER, 0x41);
        assert_eq!(load(&mut apic, TIMER), 0x41);
    }

    /// SDM volume 3, 11.6.1, 11.6.2.
    #[test]
    fn a_command_reaches_this_processor_by_number_by_set_and_by_shorthand() {
        let arrives = |high: u32, low: u32| {
            let mut apic = by_memory();
            store(&mut apic, 0xd0, 2 << 24);
            store(&mut apic, 0x310, high);
            store(&mut apic, COMMAND, low);
            assert_eq!(load(&mut apic, COMMAND), low, "nothing is pending");
            (apic.next(), apic.take_non_maskable())
        };
        for (high, low, expected) in [
            (0, 0x40, (Some(0x40), false)),
            (1 << 24, 0x40, (None, false)),
            (0xff << 24, 0x140, (Some(0x40), false)),
            (2 << 24, 0x840, (Some(0x40), false)),
            (1 << 24, 0x840, (None, false)),
            (1 << 24, 0x4_0040, (Some(0x40), false)),
            (1 << 24, 0x8_0040, (Some(0x40), false)),
            (0, 0xc_0040, (None, false)),
            (0, 0x400, (None, true)),
            (1 << 24, 0x400, (None, false)),
            // The others reset and start: nobody. A start that comes to one that runs is lost.
            (0, 0xc_4500, (None, false)),
            (0, 0xc_4608, (None, false)),
            (0, 0x608, (None, false)),
            (0, 0x8500, (None, false)),
        ] {
            assert_eq!(arrives(high, low), expected, "{high:#x} {low:#x}");
        }
        for undefined in [0x300, 0x700, 0x4_0400, 0x8_0100] {
            let written = by_memory().write_memory(COMMAND, 4, undefined, 0);
            assert!(matches!(written, Err(Refused::NotBuilt(_))), "{undefined:#x}");
        }
        for ours in [0x4500, 0x200] {
            let written = by_memory().write_memory(COMMAND, 4, ours, 0);
            assert!(matches!(written, Err(Refused::NotBuilt(_))), "{ours:#x}");
        }
    }

    #[test]
    fn x2apic_mode_has_numbers_of_32_bits_one_command_register_and_one_for_itself() {
        // SDM volume 3, 11.12.9 to 11.12.11.
        let mut apic = by_registers();
        assert_eq!((apic.read_register(2, 0), apic.read_register(0xd, 0)), (Ok(0), Ok(1)));
        for (command, arrives) in [
            (0x40, true),
            (1 << 32 | 0x40, false),
            (1 << 32 | 0x840, true),
            (2 << 32 | 0x840, false),
        ] {
            let mut apic = by_registers();
            apic.write_register(0x30, command, 0).expect("a command");
            assert_eq!(apic.read_register(0x30, 0), Ok(command));
            assert_eq!(apic.next(), arrives.then_some(0x40), "{command:#x}");
        }
        apic.write_register(0x3f, 0x77, 0).expect("to itself");
        assert_eq!(apic.next(), Some(0x77));
        assert_eq!(by_memory().read_register(2, 0), Err(Refused::Protection), "not in this mode");
    }

    /// SDM volume 3, 11.5.1, 11.5.4.
    #[test]
    fn the_timer_asks_by_its_entry_and_only_while_that_is_open() {
        let mut apic = by_memory();
        store(&mut apic, 0x3e0, 0b1011);
        store(&mut apic, TIMER, 2 << 16 | 0x50);
        store(&mut apic, INITIAL, 1000);
        assert_eq!(apic.next_ns(), Some(1000));
        apic.advance(1000);
        assert_eq!((apic.next(), apic.next_ns()), (Some(0x50), None), "it waits already");
        apic.take(0x50);
        assert_eq!(apic.next_ns(), Some(2000));
        assert_eq!(apic.read_memory(0x390, 4, 1700), Ok(300));
        apic.write_memory(TIMER, 4, 3 << 16 | 0x50, 1900).expect("masked");
        assert_eq!(apic.next_ns(), None);
        apic.advance(2500);
        apic.write_memory(TIMER, 4, 2 << 16 | 0x50, 2500).expect("open");
        assert_eq!((apic.next(), apic.next_ns()), (None, Some(3000)), "what came is lost");
        let fourth = apic.write_memory(TIMER, 4, 6 << 16 | 0x50, 2500);
        assert!(matches!(fourth, Err(Refused::NotBuilt(_))));
    }

    /// SDM volume 3, 11.5.1 (delivery modes).
    #[test]
    fn an_entry_that_would_reset_or_manage_is_ours_to_refuse_unless_it_is_masked() {
        for entry in [0x330, 0x350, 0x360] {
            for (mode, built) in
                [(0, true), (1, false), (2, false), (3, false), (4, true), (5, false), (6, false)]
            {
                let open = by_memory().write_memory(entry, 4, mode << 8 | 0x40, 0);
                assert_eq!(open.is_ok(), built, "{entry:#x} {mode}");
                assert!(by_memory().write_memory(entry, 4, mode << 8 | 0x1_0040, 0).is_ok());
            }
        }
    }
}
