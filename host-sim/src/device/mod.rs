//! Virtio devices as QEMU emulates them.
//!
//! [`transport`] is the register file a driver talks to, `ring` the device's side of a virtqueue,
//! `chain` a request's bytes, and one file each is a device: it parses what the driver asked for
//! in one place, does it, and puts the chain back. A device reaches guest memory through its
//! [`Window`] only and never calls back: the machine calls [`Device::read`], [`Device::write`] and
//! [`Device::service`], and gets back what follows.

mod balloon;
mod blk;
mod chain;
mod console;
mod disk;
mod entropy;
mod net;
mod reason;
mod registers;
mod ring;
pub mod transport;
mod viommu;

pub use blk::BLK_ID_BYTES;
pub use disk::{DISK_BLOCK_BYTES, Disk};
pub use net::{FRAME_BYTES_MAX, WIRE_BYTES_KEPT_MAX, Wire};
pub use reason::Reason;
pub use ring::Due;
pub use transport::Effect;

use crate::event::{DeviceIndex, Event, QueueIndex};
use crate::iommu::{AddressSpace, Dma};
use crate::scenario::plan::{self, DeviceKind, DevicePlan, Iommu, Plugged, QemuOptions};
use crate::window::Window;
use balloon::Balloon;
use blk::Blk;
use console::Console;
use entropy::Entropy;
use net::Net;
use reason::Stop;
use ring::{Ring, Step};
use transport::{Addresses, Identity, Transport};
use ultravisor::platform::RamRange;
use viommu::Viommu;

/// What a device step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serviced {
    /// The queue is served; these queues have work now because of that.
    Done(Due),
    /// A page-out failed and QEMU died of SIGBUS. Nothing else may happen.
    QemuKilled,
}

/// What lies behind the transport.
#[derive(Debug)]
enum Backend {
    Blk(Blk),
    Net(Box<Net>),
    Console(Console),
    Entropy(Entropy),
    Balloon(Balloon),
    Viommu(Viommu),
}

impl Backend {
    fn identity(&self) -> Identity {
        match self {
            Self::Blk(blk) => blk.identity(),
            Self::Net(net) => net.identity(),
            Self::Console(console) => console.identity(),
            Self::Entropy(entropy) => entropy.identity(),
            Self::Balloon(balloon) => balloon.identity(),
            Self::Viommu(viommu) => viommu.identity(),
        }
    }

    fn config(&self) -> Vec<u8> {
        match self {
            Self::Blk(blk) => blk.config(),
            Self::Net(net) => net.config(),
            Self::Console(console) => console.config(),
            Self::Entropy(entropy) => entropy.config(),
            Self::Balloon(balloon) => balloon.config(),
            Self::Viommu(viommu) => viommu.config(),
        }
    }

    fn service(&mut self, queue: QueueIndex, step: &mut Step<'_, '_>) -> Result<(), Stop> {
        match self {
            Self::Blk(blk) => blk.service(queue, step),
            Self::Net(net) => net.service(queue, step),
            Self::Console(console) => console.service(queue, step),
            Self::Entropy(entropy) => entropy.service(queue, step),
            Self::Balloon(balloon) => balloon.service(queue, step),
            Self::Viommu(viommu) => viommu.service(queue, step),
        }
    }
}

/// One device.
#[derive(Debug)]
pub struct Device {
    index: DeviceIndex,
    id: String,
    options: QemuOptions,
    plugged: bool,
    transport: Transport,
    rings: Vec<Ring>,
    backend: Backend,
}

impl Device {
    /// What `plan` says as device `index`, over this transport. `seed` is the run's: disk contents
    /// and random bytes come from it.
    pub fn new(index: DeviceIndex, plan: &DevicePlan, over: plan::Transport, seed: u64) -> Self {
        let options = plan.options;
        let backend = match &plan.kind {
            DeviceKind::Blk { sectors, contents } => {
                Backend::Blk(Blk::new(&plan.id, *sectors, contents, &options, seed))
            }
            DeviceKind::Net { peer } => Backend::Net(Box::new(Net::new(index, *peer))),
            DeviceKind::Console => Backend::Console(Console::default()),
            DeviceKind::Entropy => Backend::Entropy(Entropy::new(index, seed)),
            DeviceKind::Balloon => Backend::Balloon(Balloon),
        };
        let plugged = plan.plugged == Plugged::AtStart;
        Self { id: plan.id.clone(), plugged, ..Self::around(backend, index, over, options) }
    }

    /// The machine's virtio-iommu as device `index`.
    pub fn virtio_iommu(index: DeviceIndex, over: plan::Transport) -> Self {
        Self::around(Backend::Viommu(Viommu), index, over, QemuOptions::default())
    }

    fn around(
        backend: Backend,
        index: DeviceIndex,
        over: plan::Transport,
        options: QemuOptions,
    ) -> Self {
        let transport = Transport::new(over, backend.identity(), backend.config(), &options);
        let queues = backend.identity().queues;
        let rings = (0..queues).map(|_| Ring::new(transport.queue_size_max())).collect();
        Self { index, id: String::new(), options, plugged: true, transport, rings, backend }
    }

    /// Its place in the plan's list.
    pub fn index(&self) -> DeviceIndex {
        self.index
    }

    /// Its name in the scenario.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its QEMU options.
    pub fn options(&self) -> &QemuOptions {
        &self.options
    }

    /// How its addresses are to be taken now, in a machine with this IOMMU that limits devices to
    /// `limit`, if to anything.
    pub fn dma(&self, iommu: Iommu, limit: Option<RamRange>) -> Dma {
        let space = match (self.transport.addresses(), limit, iommu) {
            (Addresses::Raw, ..) => AddressSpace::Raw,
            (Addresses::Identity, ..) => AddressSpace::Identity,
            (Addresses::Platform, Some(range), _) => AddressSpace::Limited(range),
            (Addresses::Platform, None, Iommu::Tce) => AddressSpace::Tce,
            (Addresses::Platform, None, Iommu::Absent) => AddressSpace::Identity,
            (Addresses::Platform, None, Iommu::VirtioIommu) => AddressSpace::VirtioIommu,
        };
        let has_own = self.options.backend == plan::Backend::Vhost;
        Dma { space, looks_up: has_own && space != AddressSpace::Raw }
    }

    /// Whether it is there for the guest.
    pub fn is_plugged(&self) -> bool {
        self.plugged
    }

    /// Plugs it. Returns whether that was new.
    pub fn plug(&mut self) -> bool {
        !std::mem::replace(&mut self.plugged, true)
    }

    /// QEMU, told of the switch, turns `iommu_platform` on, whatever the driver has done by then.
    /// Returns whether that was new.
    pub fn turn_platform_on(&mut self) -> bool {
        self.plugged && self.transport.turn_platform_on()
    }

    /// Whether endpoints in no domain bypass, if it is the virtio-iommu.
    pub fn iommu_bypass(&self) -> Option<bool> {
        let Backend::Viommu(_) = &self.backend else { return None };
        self.transport.configured(viommu::BYPASS_AT).map(|bypass| bypass != 0)
    }

    /// The status register.
    pub fn status(&self) -> u8 {
        self.transport.status()
    }

    /// Whether the device waits for a reset because a ring made no sense, told (DEVICE_NEEDS_RESET)
    /// or silent (legacy).
    pub fn broken(&self) -> bool {
        self.transport.broken()
    }

    /// Whether it says so in its status register.
    pub fn needs_reset(&self) -> bool {
        self.status() & transport::STATUS_NEEDS_RESET != 0
    }

    /// Whether it has raised an interrupt that its driver has not acknowledged.
    pub fn interrupts(&self) -> bool {
        self.transport.interrupt_status() != 0
    }

    /// Which messages it wants to be sent, by their vectors, since this was asked last.
    pub fn take_asked(&mut self) -> impl Iterator<Item = u16> + use<> {
        self.transport.take_asked().into_iter()
    }

    /// What PCI shows of it.
    pub fn identity(&self) -> (u32, u16) {
        (self.transport.device_id(), self.rings.len() as u16)
    }

    /// The guest reads `bytes` (1, 2, 4 or 8) bytes at `offset` of the device's window.
    pub fn read(&mut self, offset: u64, bytes: u8) -> u64 {
        if self.plugged { self.transport.read(offset, bytes) } else { transport::empty(offset) }
    }

    /// The guest writes the low `bytes` bytes of `value` at `offset` of the device's window.
    pub fn write(&mut self, offset: u64, bytes: u8, value: u64) -> Effect {
        if !self.plugged {
            return Effect::Nothing;
        }
        let effect = self.transport.write(offset, bytes, value);
        if effect == Effect::Reset {
            self.reset();
        }
        effect
    }

    /// Serves queue `queue` completely: all chains available at its start, in one step. Does
    /// nothing if the device is broken, the driver is not ready or the queue does not exist.
    pub fn service(&mut self, queue: QueueIndex, window: &Window<'_>) -> Serviced {
        assert_eq!(window.device(), self.index, "a device has its own window");
        let served = self.in_step(queue, window, |backend, step| {
            backend.service(queue, step)?;
            Ok(step.due())
        });
        self.end_step(queue, window);
        served.map_or(Serviced::QemuKilled, Serviced::Done)
    }

    /// A polling back end's look at each queue. Returns those in which the driver made something
    /// available; `None` if QEMU died of SIGBUS.
    pub fn poll(&mut self, window: &Window<'_>) -> Option<Vec<QueueIndex>> {
        let mut found = Vec::new();
        for queue in (0..).map(QueueIndex).take(self.rings.len()) {
            if self.in_step(queue, window, |_, step| step.poll())? {
                found.push(queue);
            }
        }
        Some(found)
    }

    /// Whether its back end polls.
    pub fn polls(&self) -> bool {
        self.options.backend == plan::Backend::Poll
    }

    /// Whether a polling back end looks at its queues now.
    pub fn is_up(&self) -> bool {
        !self.broken() && self.status() & transport::STATUS_DRIVER_OK != 0
    }

    /// Has `work` done with a queue, if the driver is ready and the queue exists; what else comes
    /// of it is the default. A ring that makes no sense breaks the device. `None`: QEMU died.
    fn in_step<T: Default>(
        &mut self,
        queue: QueueIndex,
        window: &Window<'_>,
        work: impl FnOnce(&mut Backend, &mut Step<'_, '_>) -> Result<T, Stop>,
    ) -> Option<T> {
        let layout = self.transport.layout(queue).filter(|_| self.transport.running());
        let (Some(layout), Some(ring)) = (layout, self.rings.get_mut(usize::from(queue.0))) else {
            return Some(T::default());
        };
        let step = Step::begin(window, queue, layout, ring, &mut self.transport);
        let done = step.and_then(|mut step| {
            if let Backend::Viommu(_) = &self.backend {
                step.is_control();
            }
            work(&mut self.backend, &mut step)
        });
        match done {
            Ok(done) => Some(done),
            Err(Stop::Killed) => None,
            Err(Stop::Broken(reason)) => {
                let needs_reset = self.transport.set_broken();
                let (device, reason) = (self.index, reason.to_string());
                window.log(Event::Broken { device, queue, needs_reset, reason });
                Some(T::default())
            }
        }
    }

    /// What is told of a step as a whole: the translations that a vhost back end knew.
    fn end_step(&self, queue: QueueIndex, window: &Window<'_>) {
        let hits = window.take_iotlb_hits();
        if hits > 0 {
            window.log(Event::IotlbHits { device: self.index, queue, hits });
        }
    }

    /// What a reset clears beside the registers. A disk keeps its contents, a wire its history.
    fn reset(&mut self) {
        self.rings.iter_mut().for_each(Ring::reset);
        if let Backend::Net(net) = &mut self.backend {
            net.reset();
        }
    }

    /// Its disk, if it is a block device.
    pub fn disk(&self) -> Option<&Disk> {
        match &self.backend {
            Backend::Blk(blk) => Some(blk.disk()),
            Backend::Net(_)
            | Backend::Console(_)
            | Backend::Entropy(_)
            | Backend::Balloon(_)
            | Backend::Viommu(_) => None,
        }
    }

    /// The frames that its driver sent, if it is a network device.
    pub fn frames_sent(&self) -> Option<&Wire> {
        match &self.backend {
            Backend::Net(net) => Some(net.sent()),
            Backend::Blk(_)
            | Backend::Console(_)
            | Backend::Entropy(_)
            | Backend::Balloon(_)
            | Backend::Viommu(_) => None,
        }
    }

    /// How many bytes its driver printed past the limit of the run, which were dropped.
    pub fn text_dropped(&self) -> u64 {
        match &self.backend {
            Backend::Console(console) => console.dropped(),
            Backend::Blk(_)
            | Backend::Net(_)
            | Backend::Entropy(_)
            | Backend::Balloon(_)
            | Backend::Viommu(_) => 0,
        }
    }

    /// What its driver printed, raw, if it is a console: as far as the limit of the run went.
    pub fn text(&self) -> Option<&[u8]> {
        match &self.backend {
            Backend::Console(console) => Some(console.text()),
            Backend::Blk(_)
            | Backend::Net(_)
            | Backend::Entropy(_)
            | Backend::Balloon(_)
            | Backend::Viommu(_) => None,
        }
    }
}
