//! Device registers, notifications, and serving a queue.

use super::{Due, Idle, MACHINE_CHECK, Machine};
use crate::device::{Device, Effect, Serviced};
use crate::event::{Chain, DeviceIndex, Ended, Event, ExitReason, QueueIndex};
use crate::pc::PciPlace;
use crate::qemu;
use crate::scenario::plan::{Backend, QemuOptions, Transport};
use crate::window::Window;
use ultravisor::{Life, reflect};
use ultravisor_abi::{Gpa, HStatus};

/// What the guest accesses outside of its memory.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// A device's registers, at this offset.
    Device(DeviceIndex, u64),
    /// Something of the PCI bus's own.
    Pci(PciPlace),
}

impl From<PciPlace> for Target {
    fn from(place: PciPlace) -> Self {
        match place {
            // The bus has at most 32 devices.
            PciPlace::Registers { slot, offset } => Self::Device(DeviceIndex(slot as u8), offset),
            PciPlace::Address
            | PciPlace::Config { .. }
            | PciPlace::Msix { .. }
            | PciPlace::Nobody => Self::Pci(place),
        }
    }
}

/// How the guest gets there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// By an access to this address.
    Memory(Gpa),
    /// By a port.
    Port,
}

impl Way {
    const fn exit_reason(self) -> ExitReason {
        match self {
            Self::Memory(_) => ExitReason::Mmio,
            Self::Port => ExitReason::Port,
        }
    }
}

impl Machine<'_> {
    /// Who answers at guest-physical `gpa`.
    fn target(&self, gpa: Gpa, bytes: u8) -> Option<Target> {
        let by_mmio = match self.plan.machine.transport {
            Transport::Mmio => qemu::device_at(self.devices.len(), gpa),
            Transport::Pci => None,
        };
        let device = by_mmio.map(|(index, offset)| Target::Device(index, offset));
        device.or_else(|| self.pc.pci.at(gpa.0, bytes).map(Target::from))
    }

    /// The guest loads from a register of somebody's.
    pub(super) fn mmio_read(&mut self, gpa: Gpa, bytes: u8) -> Option<Ended> {
        if let Some(at) = self.pc.wiring.at(gpa.0) {
            return self.apic_read(gpa, at, bytes);
        }
        match self.target(gpa, bytes) {
            Some(target) => self.load(target, Way::Memory(gpa), bytes),
            None => Some(self.machine_check(gpa)),
        }
    }

    /// The guest stores to a register of somebody's.
    pub(super) fn mmio_write(&mut self, gpa: Gpa, bytes: u8, value: u64) -> Option<Ended> {
        if let Some(at) = self.pc.wiring.at(gpa.0) {
            return self.apic_write(gpa, at, bytes, value);
        }
        match self.target(gpa, bytes) {
            Some(target) => self.store(target, Way::Memory(gpa), bytes, value),
            None => Some(self.machine_check(gpa)),
        }
    }

    /// The guest loads what is at `target`.
    pub(super) fn load(&mut self, target: Target, way: Way, bytes: u8) -> Option<Ended> {
        if let Target::Device(index, _) = target
            && let Some(ended) = self.call_back(index)
        {
            return Some(ended);
        }
        self.host.hv.recorder.push(Event::Exit { reason: way.exit_reason() });
        if let Way::Memory(gpa) = way {
            self.reflect(reflect::mmio_load(gpa, bytes));
        }
        let value = match target {
            Target::Device(index, offset) => {
                let value = self.device_mut(index).read(offset, bytes);
                self.register(index, offset, false, bytes, value);
                value
            }
            Target::Pci(place) => self.pc.pci.read(place, bytes),
        };
        self.cpu.supply(value);
        None
    }

    /// The guest stores there.
    pub(super) fn store(
        &mut self,
        target: Target,
        way: Way,
        bytes: u8,
        value: u64,
    ) -> Option<Ended> {
        match target {
            Target::Device(index, offset) => {
                self.store_to_device(index, way, (offset, bytes, value))
            }
            Target::Pci(place) => {
                self.tell_store(way.exit_reason(), way, bytes, value);
                self.pc.pci.write(place, bytes, value);
                None
            }
        }
    }

    fn tell_store(&mut self, reason: ExitReason, way: Way, bytes: u8, value: u64) {
        self.host.hv.recorder.push(Event::Exit { reason });
        if let Way::Memory(gpa) = way {
            self.reflect(reflect::mmio_store(gpa, bytes, value));
        }
    }

    fn store_to_device(
        &mut self,
        index: DeviceIndex,
        way: Way,
        (offset, bytes, value): (u64, u8, u64),
    ) -> Option<Ended> {
        let in_kernel = self.has_ioeventfd(index);
        let over = self.plan.machine.transport;
        let effect = match Effect::of_notification(over, (offset, bytes, value)) {
            // The kernel takes it; QEMU need not be there.
            Some(notified) if in_kernel && self.is_away(index) => notified,
            Some(_) | None => {
                if let Some(ended) = self.call_back(index) {
                    return Some(ended);
                }
                self.device_mut(index).write(offset, bytes, value)
            }
        };
        let reason = match effect {
            Effect::Notify(_) if in_kernel => ExitReason::Notify,
            Effect::Notify(_)
            | Effect::Nothing
            | Effect::Reset
            | Effect::StatusChanged(_)
            | Effect::Configured => way.exit_reason(),
        };
        self.tell_store(reason, way, bytes, value);
        self.register(index, offset, true, bytes, value);
        match effect {
            Effect::Nothing => {}
            Effect::Notify(queue) => return self.kick(index, queue, in_kernel),
            Effect::Configured => self.configured(index),
            Effect::Reset => {
                self.due.retain(|due| due.device != index);
                self.host.hv.recorder.push(Event::Status { device: index, status: 0 });
                self.forget_dma(index);
                self.settle_dma(index);
                self.follow_status(index);
            }
            Effect::StatusChanged(status) => {
                self.host.hv.recorder.push(Event::Status { device: index, status });
                self.settle_dma(index);
                self.follow_status(index);
            }
        }
        None
    }

    /// A notification, which a back end that polls does not need: with ioeventfd a thread of
    /// QEMU's serves the queue a little later, without it the exit does.
    fn kick(&mut self, device: DeviceIndex, queue: QueueIndex, later: bool) -> Option<Ended> {
        let chain = self.chains.capture(&self.cpu, self.host.uv.memory());
        self.host.hv.recorder.push(Event::Kick { device, queue, chain: chain.clone() });
        let now = self.host.hv.recorder.now_ns();
        if self.is_polled(device) {
            None
        } else if later {
            self.schedule(now + self.plan.machine.kick_latency_ns, device, queue, Some(chain));
            None
        } else {
            // Inside the exit: the guest does not run before all of it is done.
            let due = Due { at_ns: now, device, queue, chain: Some(chain) };
            self.serve(due).or_else(|| self.call_back(device))
        }
    }

    /// Has a queue served at a time. One that is due already is not served twice.
    fn schedule(
        &mut self,
        at_ns: u64,
        device: DeviceIndex,
        queue: QueueIndex,
        chain: Option<Chain>,
    ) {
        if !self.due.iter().any(|due| (due.device, due.queue) == (device, queue)) {
            self.due.push(Due { at_ns, device, queue, chain });
        }
    }

    /// Whether the device may touch guest memory: a PCI function only as bus master (PCI Local Bus
    /// Specification 3.0, 6.2.2). QEMU's take nothing out of their queues else.
    pub(super) fn may_reach_memory(&self, index: DeviceIndex) -> bool {
        self.pc.pci.is_master(usize::from(index.0))
    }

    /// Serves one queue: one indivisible step, or one step for each touch.
    pub(super) fn serve(&mut self, due: Due) -> Option<Ended> {
        if !self.may_reach_memory(due.device) {
            return None;
        }
        if self.plan.machine.interleave_touch {
            return self.begin(due);
        }
        let Due { device: index, queue, .. } = due;
        let Some(device) = &mut self.devices[usize::from(index.0)] else { return None };
        let window = Window::new(&mut self.host, index, due.chain.clone());
        let serviced = device.service(queue, &window);
        drop(window);
        self.served(due, serviced)
    }

    /// A queue was served.
    pub(super) fn served(&mut self, due: Due, serviced: Serviced) -> Option<Ended> {
        let Due { device: index, queue, chain, .. } = due;
        self.idle = Idle::default();
        match serviced {
            Serviced::Done(more) => {
                let now = self.host.hv.recorder.now_ns();
                let again = more.again.then_some(queue);
                for queue in again.into_iter().chain(more.also) {
                    self.schedule(now, index, queue, chain.clone());
                }
                None
            }
            Serviced::QemuKilled => Some(Ended::QemuKilled),
        }
    }

    /// A device that is not away: [`Machine::call_back`] has seen to that.
    pub(super) fn device_mut(&mut self, index: DeviceIndex) -> &mut Device {
        self.devices[usize::from(index.0)].as_mut().expect("it was called back")
    }

    /// The same, to look at.
    pub(super) fn device(&self, index: DeviceIndex) -> &Device {
        self.devices[usize::from(index.0)].as_ref().expect("it was called back")
    }

    /// QEMU's options of a device; the virtio-iommu, which no plan lists, has the defaults.
    fn options(&self, index: DeviceIndex) -> QemuOptions {
        let plan = self.plan.devices.get(usize::from(index.0));
        plan.map_or_else(QemuOptions::default, |device| device.options)
    }

    fn has_ioeventfd(&self, index: DeviceIndex) -> bool {
        self.options(index).ioeventfd
    }

    fn is_polled(&self, index: DeviceIndex) -> bool {
        self.options(index).backend == Backend::Poll
    }

    /// A secure guest's access goes to the ultravisor first, which hands it on as a hypercall.
    pub(super) fn reflect(&mut self, (call, args): (ultravisor_abi::Hcall, [u64; 6])) {
        if self.host.uv.life() == Life::Secure {
            let status = HStatus::Success;
            self.host.hv.recorder.push(Event::HvCall { call, args, status, by_ultravisor: true });
        }
    }

    fn register(&mut self, device: DeviceIndex, offset: u64, write: bool, bytes: u8, value: u64) {
        self.host.hv.recorder.push(Event::Register { device, offset, write, bytes, value });
    }

    fn machine_check(&self, gpa: Gpa) -> Ended {
        let rip = self.cpu.regs.rip;
        Ended::Fault { vector: MACHINE_CHECK, rip, error: None, address: Some(gpa.0) }
    }
}
