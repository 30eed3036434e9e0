//! Interrupts: what the controllers have for the guest, how it gets at their registers, and how it
//! sleeps and wakes.

use super::Machine;
use crate::event::{DeviceIndex, Ended, Event, ExitReason, WaitBy, WakeSource};
use crate::pc::{APIC_HZ, ApicMode, At, Refused, VIRTIO_INPUTS};
use ultravisor::reflect;
use ultravisor_abi::Gpa;
use ultravisor_cpu::{Interrupt, LocalApic, flag};

/// The local APIC timer's current count (SDM volume 3, 11.5.4), and the same in x2APIC mode (table 11-6).
const TIME_LEFT: At = At::Local(0x390);
const TIME_LEFT_REGISTER: u32 = 0x839;

/// How the guest stands towards interrupts.
#[derive(Debug, Default)]
pub(super) struct Attention {
    /// What was presented last.
    presented: Option<Interrupt>,
    /// Which devices raise their interrupts; of one that is away, as it was before.
    raised: Vec<bool>,
    /// It has halted, and waits for an interrupt.
    asleep: bool,
    /// Work units that the guest had done when it left the host last.
    entered: u64,
}

impl Attention {
    /// The guest had halted, and nothing has woken it yet.
    pub fn is_asleep(&self) -> bool {
        self.asleep
    }

    /// The guest goes on after `units` work units.
    pub fn enter(&mut self, units: u64) {
        self.entered = units;
    }
}

impl Machine<'_> {
    /// CPUID tells of the local APIC, as IA32_APIC_BASE has it.
    pub(super) fn tell_of_apic(&mut self) {
        let enabled = self.pc.wiring.local.mode() != ApicMode::Off;
        self.cpu.offer_apic(Some(LocalApic { enabled, clock_hz: APIC_HZ }));
    }

    /// What the interrupt controllers have for the CPU.
    pub(super) fn ask_for_interrupt(&mut self) {
        self.attention.raised.resize(self.devices.len(), false);
        let mut shared = [false; VIRTIO_INPUTS];
        for (slot, device) in self.devices.iter_mut().enumerate() {
            let raised = &mut self.attention.raised[slot];
            if let Some(device) = device {
                *raised = device.interrupts();
                device.take_asked().for_each(|vector| self.pc.pci.ask(slot, vector));
            }
            shared[slot % VIRTIO_INPUTS] |= self.pc.pci.set_line(slot, *raised);
        }
        self.pc.wiring.set_shared(shared);
        let presented = self.pc.present(self.host.hv.recorder.now_ns());
        self.attention.presented = presented.interrupt;
        self.cpu.present_interrupt(presented.interrupt);
        if presented.non_maskable {
            self.cpu.raise_nmi();
        }
    }

    /// Whether an interrupt comes before the guest's next instruction: it does not wait then.
    pub(super) fn is_interrupted(&mut self) -> bool {
        self.ask_for_interrupt();
        self.cpu.wakes()
    }

    /// The CPU goes to the handler of the interrupt that was presented.
    pub(super) fn take_interrupt(&mut self, vector: u8) {
        // Its delivery is one unit; if there are more the guest ran, and had to be stopped.
        if self.cpu.units() > self.attention.entered + 1 {
            self.host.hv.recorder.push(Event::Exit { reason: ExitReason::Interrupt });
        }
        self.attention.enter(self.cpu.units());
        if let Some(interrupt) = self.attention.presented.take() {
            self.pc.wiring.take(interrupt, self.host.hv.recorder.now_ns());
        }
        self.host.hv.recorder.push(Event::Taken { vector });
    }

    /// When a clock has something for the guest next: whether or not it listens, for that it may
    /// change at any instruction.
    pub(super) fn next_clock_ns(&self) -> Option<u64> {
        self.pc.next_clock_ns()
    }

    /// When a clock interrupts the guest next, if nothing else comes and it stays as willing as it is.
    pub(super) fn next_tick_ns(&self) -> Option<u64> {
        if self.is_willing() { self.pc.next_clock_ns() } else { self.pc.next_non_maskable_ns() }
    }

    fn is_willing(&self) -> bool {
        self.cpu.rflags() & flag::IF != 0
    }

    /// `hlt`. A guest that listens to interrupts sleeps until one comes. To one that does not, it is
    /// a `pause`: nothing would ever wake it, and it looks at its rings.
    pub(super) fn halt(&mut self) -> Option<Ended> {
        self.host.hv.recorder.push(Event::Exit { reason: ExitReason::Idle });
        if self.is_interrupted() {
            return None;
        }
        if self.is_willing() || self.pc.next_non_maskable_ns().is_some() {
            self.attention.asleep = true;
            return None;
        }
        self.wait(WaitBy::Halt)
    }

    /// The guest had halted: it is woken, or time goes on to whoever acts next.
    pub(super) fn sleep(&mut self) -> Option<Ended> {
        if !self.cpu.wakes() {
            return self.wait(WaitBy::Halt);
        }
        self.attention.asleep = false;
        self.attention.enter(self.cpu.units());
        let vector = if self.cpu.wakes_by_nmi() { None } else { self.attention.presented };
        let vector = vector.map(Interrupt::vector);
        self.host.hv.recorder.push(Event::Woken { vector });
        None
    }

    /// What could have woken the guest, and why it did not.
    pub(super) fn tell_silence(&mut self) {
        let of_pc = self.pc.silence().map(|(source, why)| (source, None, why));
        let raised = self.attention.raised.iter().enumerate();
        let of_devices = raised.filter_map(|(slot, raised)| {
            let device = Some(DeviceIndex(u8::try_from(slot).ok()?));
            Some((WakeSource::Device, device, self.pc.silence_of_virtio(slot, *raised)))
        });
        for (source, device, why) in of_pc.into_iter().chain(of_devices) {
            self.host.hv.recorder.push(Event::Unwoken { source, device, why });
        }
    }

    /// A load from an interrupt controller, by memory.
    pub(super) fn apic_read(&mut self, gpa: Gpa, at: At, bytes: u8) -> Option<Ended> {
        self.host.hv.recorder.push(Event::Exit { reason: ExitReason::Apic });
        self.reflect(reflect::mmio_load(gpa, bytes));
        if at == TIME_LEFT {
            self.idle.looks_at_a_clock();
        }
        let now_ns = self.host.hv.recorder.now_ns();
        let read = self.with_priority(|wiring| wiring.read(at, bytes, now_ns));
        self.answer_load(read.map(u64::from))
    }

    /// A store to one.
    pub(super) fn apic_write(&mut self, gpa: Gpa, at: At, bytes: u8, value: u64) -> Option<Ended> {
        self.host.hv.recorder.push(Event::Exit { reason: ExitReason::Apic });
        self.reflect(reflect::mmio_store(gpa, bytes, value));
        let now_ns = self.host.hv.recorder.now_ns();
        let written = self.with_priority(|wiring| wiring.write(at, bytes, value as u32, now_ns));
        match written {
            // By memory nothing is a protection fault.
            Ok(()) | Err(Refused::Protection) => None,
            Err(Refused::NotBuilt(what)) => Some(self.not_implemented(what.to_owned())),
        }
    }

    /// `rdmsr` of a register of the local APIC's.
    pub(super) fn apic_msr_read(&mut self, number: u32) -> Option<Ended> {
        self.host.hv.recorder.push(Event::Exit { reason: ExitReason::Apic });
        if number == TIME_LEFT_REGISTER {
            self.idle.looks_at_a_clock();
        }
        let now_ns = self.host.hv.recorder.now_ns();
        let read = self.with_priority(|wiring| wiring.read_register(number, now_ns));
        self.answer_load(read)
    }

    /// `wrmsr` to one.
    pub(super) fn apic_msr_write(&mut self, number: u32, value: u64) -> Option<Ended> {
        self.host.hv.recorder.push(Event::Exit { reason: ExitReason::Apic });
        let now_ns = self.host.hv.recorder.now_ns();
        let written = self.with_priority(|wiring| wiring.write_register(number, value, now_ns));
        self.tell_of_apic();
        self.answer_load(written.map(|()| 0))
    }

    /// The task priority is the processor's and the local APIC's: what either did to it counts.
    fn with_priority<T>(&mut self, access: impl FnOnce(&mut crate::pc::Wiring) -> T) -> T {
        let wiring = &mut self.pc.wiring;
        wiring.local.task_priority = self.cpu.regs.task_priority;
        let done = access(wiring);
        self.cpu.regs.task_priority = wiring.local.task_priority;
        done
    }

    fn answer_load(&mut self, answer: Result<u64, Refused>) -> Option<Ended> {
        match answer {
            Ok(value) => self.cpu.supply(value),
            Err(Refused::Protection) => self.cpu.refuse(),
            Err(Refused::NotBuilt(what)) => return Some(self.not_implemented(what.to_owned())),
        }
        None
    }
}
