//! The devices that the work needs and their drivers.

use crate::bootargs::BootArgs;
use crate::calls::Trouble;
use crate::device_tree::{DEVICES_MAX, Machine};
use crate::heap::own_units;
use crate::tasks::block::BlockWork;
use crate::tasks::{balloon, block, console, entropy, net};
use crate::virtio::Kind;
use crate::virtio::balloon::Balloon;
use crate::virtio::blk::Disk;
use crate::virtio::console::Console;
use crate::virtio::entropy::Source;
use crate::virtio::net::Card;
use crate::virtio::wait::Device;
use crate::workload::{SECTOR_BYTES, Work, portions};
use core::mem::ManuallyDrop;
use core::ops::Range;

/// Random bytes of a warm-up.
const WARM_UP_BYTES: usize = 16;

/// What a device that is not there means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The guest cannot do its work: `no-blk` and so on.
    Refused,
    /// It may be plugged later.
    Later,
}

/// Drivers, initialised. They are used to the end and never dropped: the drivers' own clean-up
/// waits for the device without bound.
#[derive(Default)]
pub struct Drivers {
    disk: Option<Disk>,
    card: Option<Card>,
    console: Option<Console>,
    source: Option<Source>,
    balloon: Option<Balloon>,
}

/// The devices of a machine, as they are now.
struct Found([Option<Device>; DEVICES_MAX]);

impl Found {
    fn now(machine: &Machine) -> Self {
        let mut found = [None; DEVICES_MAX];
        for (place, device) in found.iter_mut().zip(machine.devices()) {
            *place = Device::probe(device);
        }
        Self(found)
    }

    fn reset(&self) {
        self.0.iter().flatten().for_each(Device::reset);
    }

    /// The disk that slof booted from is not the work's.
    fn without_boot_disk(mut self, args: &BootArgs) -> Self {
        let is_disk = |device: &&mut Option<Device>| is(device, Kind::Blk);
        if args.boot_disk
            && let Some(boot) = self.0.iter_mut().find(is_disk)
        {
            *boot = None;
        }
        self
    }

    fn first(&self, kind: Kind) -> Option<Device> {
        self.0.iter().find(|device| is(device, kind)).copied().flatten()
    }
}

fn is(device: &Option<Device>, kind: Kind) -> bool {
    device.is_some_and(|device| device.id == kind.device_id())
}

/// Resets every device.
pub fn reset_all(machine: &Machine) {
    Found::now(machine).reset();
}

/// Pokes the quirk register of every device.
pub fn poke_quirks(machine: &Machine) {
    Found::now(machine).0.iter().flatten().for_each(Device::poke_quirk);
}

impl Drivers {
    /// Resets every device, then initialises those that the work needs.
    ///
    /// # Errors
    /// Refusals and troubles of the drivers.
    pub fn probe(
        machine: &Machine,
        args: &BootArgs,
        missing: Missing,
    ) -> Result<ManuallyDrop<Self>, Trouble> {
        reset_all(machine);
        let mut drivers = ManuallyDrop::new(Self::default());
        drivers.complete(machine, args, missing)?;
        Ok(drivers)
    }

    /// Initialises what the work needs and has no driver yet.
    ///
    /// # Errors
    /// As [`Drivers::probe`].
    pub fn complete(
        &mut self,
        machine: &Machine,
        args: &BootArgs,
        missing: Missing,
    ) -> Result<(), Trouble> {
        let found = Found::now(machine).without_boot_disk(args);
        for work in args.work.iter().flatten() {
            let (kind, name, known) = self.needs(work);
            match found.first(kind) {
                _ if known => (),
                Some(device) => self.initialise(kind, device, args.wait_ns)?,
                None if missing == Missing::Later => (),
                None => return Err(Trouble::refused(name)),
            }
        }
        Ok(())
    }

    /// Which kind of device `work` needs, what it is called if there is none, and whether it
    /// has a driver.
    const fn needs(&self, work: &Work) -> (Kind, &'static str, bool) {
        match work {
            Work::Block { .. } => (Kind::Blk, "no-blk", self.disk.is_some()),
            Work::Net { .. } => (Kind::Net, "no-net", self.card.is_some()),
            Work::Console { .. } => (Kind::Console, "no-con", self.console.is_some()),
            Work::Entropy { .. } => (Kind::Entropy, "no-rng", self.source.is_some()),
            Work::Balloon { .. } => (Kind::Balloon, "no-bal", self.balloon.is_some()),
        }
    }

    fn initialise(&mut self, kind: Kind, device: Device, wait_ns: u64) -> Result<(), Trouble> {
        match kind {
            Kind::Blk => self.disk = Some(Disk::new(device, wait_ns)?),
            Kind::Net => self.card = Some(Card::new(device, wait_ns)?),
            Kind::Console => self.console = Some(Console::new(device, wait_ns)?),
            Kind::Entropy => self.source = Some(Source::new(device, wait_ns)?),
            Kind::Balloon => self.balloon = Some(Balloon::new(device, wait_ns)?),
        }
        Ok(())
    }

    /// Uses the devices a little, as a guest has by the time that it becomes secure: one sector
    /// read, a few random bytes. What would show outside (wire, console, balloon) is left alone.
    ///
    /// # Errors
    /// The devices' troubles.
    pub fn warm_up(&mut self) -> Result<(), Trouble> {
        if let Some(disk) = self.disk.as_mut().filter(|disk| disk.sectors() > 0) {
            disk.read(0, own_units(SECTOR_BYTES as usize))?;
        }
        if let Some(source) = &mut self.source {
            source.fill(own_units(WARM_UP_BYTES))?;
        }
        Ok(())
    }

    /// Leaves a receive buffer with the network card, if there is one: nobody will wait for it.
    ///
    /// # Errors
    /// The card's troubles.
    pub fn leave_receive_buffer(&mut self) -> Result<(), Trouble> {
        match &mut self.card {
            Some(card) => card.post_receive().map(drop),
            None => Ok(()),
        }
    }

    /// Does those of all steps of the work that are in `steps`.
    ///
    /// # Errors
    /// The work's troubles.
    pub fn work(&mut self, args: &BootArgs, steps: Range<usize>) -> Result<(), Trouble> {
        for (work, steps) in portions(&args.work, steps) {
            self.portion(work, steps, args.seed)?;
        }
        Ok(())
    }

    fn portion(&mut self, work: Work, steps: Range<usize>, seed: u64) -> Result<(), Trouble> {
        match (work, self) {
            (_, Self { .. }) if steps.is_empty() => Ok(()),
            (Work::Block { ops, order, placement, refill }, Self { disk: Some(disk), .. }) => {
                block::run(&BlockWork { ops, order, placement, refill, seed }, steps, disk)
            }
            (Work::Net { ops }, Self { card: Some(card), .. }) => net::run(&ops, steps, seed, card),
            (Work::Console { lines }, Self { console: Some(console), .. }) => {
                console::run(lines, seed, console)
            }
            (Work::Entropy { requests, bytes }, Self { source: Some(source), .. }) => {
                entropy::run(requests, bytes, source)
            }
            (Work::Balloon { pages }, Self { balloon: Some(balloon), .. }) => {
                balloon::run(pages, seed, balloon)
            }
            // `complete` initialised a driver for every kind of work, or refused.
            (
                Work::Block { .. }
                | Work::Net { .. }
                | Work::Console { .. }
                | Work::Entropy { .. }
                | Work::Balloon { .. },
                Self { .. },
            ) => Err(Trouble::failed("no-driver")),
        }
    }
}
