//! When a guest becomes secure, and what happens when another kernel takes over.

use crate::bootargs::BootArgs;
use crate::calls::Trouble;
use crate::device_tree::Machine;
use crate::dma::setup::{became_secure, restart};
use crate::drivers::{Drivers, Missing, poke_quirks, reset_all};
use crate::kernel::{Kexec, Switch};
use crate::secure::{enter, plant_secret, take_back_all};
use crate::virtio::wait::pass;
use core::mem::ManuallyDrop;

/// How long a new kernel boots before it comes to its devices: a virtual millisecond.
const BOOT_NS: u64 = 1_000_000;

/// A guest: what it was told, and where.
pub struct Guest<'a> {
    /// Where its device tree lies.
    pub fdt: u64,
    /// What the tree says.
    pub machine: &'a Machine,
    /// What it was told.
    pub args: &'a BootArgs,
}

impl Guest<'_> {
    /// Becomes secure when it shall, if it shall, and has its drivers ready then.
    ///
    /// # Errors
    /// Refusals and troubles on the way.
    pub fn start(&self) -> Result<ManuallyDrop<Drivers>, Trouble> {
        if !self.args.secure {
            return self.probe(Missing::Refused);
        }
        match self.args.switch {
            // Before anything that the host could see differ: no device is touched until this.
            Switch::BeforeProbe => {
                self.become_secure()?;
                self.probe(Missing::Refused)
            }
            Switch::AfterProbe => {
                // Used once and left alone: the reset ends all that they set up.
                self.probe(Missing::Later)?.warm_up()?;
                self.become_secure()?;
                reset_all(self.machine);
                restart();
                self.probe(Missing::Refused)
            }
            Switch::Forgetful => {
                let mut drivers = self.probe(Missing::Later)?;
                drivers.warm_up()?;
                self.become_secure()?;
                drivers.complete(self.machine, self.args, Missing::Refused)?;
                Ok(drivers)
            }
        }
    }

    /// Does the work. Half-way, rounded up to a whole step, another kernel takes over if it shall.
    ///
    /// # Errors
    /// The work's troubles.
    pub fn work(&self, mut drivers: ManuallyDrop<Drivers>) -> Result<(), Trouble> {
        let steps = self.args.work.iter().flatten().map(|work| work.steps()).sum::<usize>();
        if self.args.kexec == Kexec::Never {
            return drivers.work(self.args, 0..steps);
        }
        let half = steps.div_ceil(2);
        drivers.work(self.args, 0..half)?;
        let mut drivers = self.take_over(drivers)?;
        drivers.work(self.args, half..steps)
    }

    fn probe(&self, missing: Missing) -> Result<ManuallyDrop<Drivers>, Trouble> {
        Drivers::probe(self.machine, self.args, missing)
    }

    fn become_secure(&self) -> Result<(), Trouble> {
        enter(self.fdt)?;
        if self.args.kernel.pokes_quirk {
            poke_quirks(self.machine);
        }
        plant_secret(self.args.seed, self.machine.ultravisor_unit);
        self.share()
    }

    fn share(&self) -> Result<(), Trouble> {
        match self.machine.ultravisor_unit {
            Some(unit) => became_secure(self.machine, unit),
            None => Ok(()),
        }
    }

    /// Another kernel takes over. This image stands for it too: it keeps nothing of what the old
    /// one set up.
    fn take_over(&self, mut old: ManuallyDrop<Drivers>) -> Result<ManuallyDrop<Drivers>, Trouble> {
        let live = self.args.kexec == Kexec::Live;
        if live {
            old.leave_receive_buffer()?;
        } else {
            reset_all(self.machine);
        }
        if self.args.secure {
            take_back_all()?;
        }
        if live {
            pass(BOOT_NS);
        }
        restart();
        if self.args.secure {
            self.share()?;
        }
        self.probe(Missing::Refused)
    }
}
