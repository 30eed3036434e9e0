//! guest: the kernel's stand-in. Becomes secure if told so, sets up its DMA path, resets and
//! probes the devices, does the work that it was given, verifies it, reports by name and exits.
#![cfg_attr(uv_guest, no_std, no_main)]

#[cfg(not(uv_guest))]
fn main() {}

#[cfg(uv_guest)]
mod kernel {
    #![expect(unsafe_code, reason = "owns the memory that the boot protocol gives it")]

    use core::mem::ManuallyDrop;
    use firmware::bootargs::BootArgs;
    use firmware::calls::{Trouble, exit, mark_done, mark_ready, print};
    use firmware::device_tree::{DEVICES_MAX, Machine};
    use firmware::dma::probes;
    use firmware::heap;
    use firmware::secure;
    use firmware::start::image_end;
    use firmware::tasks::block::BlockWork;
    use firmware::tasks::{block, console, entropy, net};
    use firmware::virtio::Kind;
    use firmware::virtio::blk::Disk;
    use firmware::virtio::console::Console;
    use firmware::virtio::entropy::Source;
    use firmware::virtio::net::Card;
    use firmware::virtio::wait::Device;
    use firmware::workload::Work;

    firmware::entry!(start);

    /// What the stack may use below the pointer that the boot protocol passes.
    const STACK_BYTES: u64 = 256 << 10;

    extern "C" fn start(fdt: u64, stack: u64) -> ! {
        // SAFETY: the boot protocol leaves all RAM from this image to the stack to it.
        unsafe { heap::init(image_end(), stack.saturating_sub(STACK_BYTES)) };
        match run(fdt) {
            Ok(()) => exit(0),
            Err(trouble) => trouble.give_up(),
        }
    }

    fn run(fdt: u64) -> Result<(), Trouble> {
        // SAFETY: the boot protocol passes a tree that nobody else changes.
        let machine = unsafe { Machine::read(fdt) }?;
        let args = BootArgs::parse(machine.bootargs).map_err(|_| Trouble::refused("bootargs"))?;
        // Before anything that the host could see differ: no device is touched until this.
        if args.secure {
            secure::enter(fdt)?;
            secure::plant_secret(args.seed);
        }
        probes::init(&args, machine.ultravisor_unit)?;
        let mut drivers = Drivers::probe(&machine, &args)?;
        print(if args.secure { "guest: secure, ready\n" } else { "guest: ready\n" });
        mark_ready();
        for work in args.work.iter().flatten() {
            drivers.work(work, args.seed)?;
        }
        mark_done();
        print("guest: done\n");
        Ok(())
    }

    /// The devices that the work needs, initialised. They are used to the end and never dropped:
    /// the drivers' own clean-up waits for the device without bound.
    #[derive(Default)]
    struct Drivers {
        disk: Option<Disk>,
        card: Option<Card>,
        console: Option<Console>,
        source: Option<Source>,
    }

    impl Drivers {
        /// Resets every device, then initialises those that the work needs.
        fn probe(machine: &Machine, args: &BootArgs) -> Result<ManuallyDrop<Self>, Trouble> {
            let mut found = [None; DEVICES_MAX];
            for (place, device) in found.iter_mut().zip(machine.devices()) {
                *place = Device::probe(device);
            }
            for device in found.iter().flatten() {
                device.reset();
            }
            if args.boot_disk
                && let Some(boot) = found.iter_mut().find(|device| is(device, Kind::Blk))
            {
                *boot = None;
            }
            let first = |kind: Kind, name| {
                let device = found.iter().find(|device| is(device, kind)).copied().flatten();
                device.ok_or(Trouble::refused(name))
            };
            let mut drivers = ManuallyDrop::new(Self::default());
            for work in args.work.iter().flatten() {
                drivers.initialise(work, args.wait_ns, &first)?;
            }
            Ok(drivers)
        }

        fn initialise(
            &mut self,
            work: &Work,
            wait_ns: u64,
            first: &impl Fn(Kind, &'static str) -> Result<Device, Trouble>,
        ) -> Result<(), Trouble> {
            match work {
                Work::Block { .. } if self.disk.is_none() => {
                    self.disk = Some(Disk::new(first(Kind::Blk, "no-blk")?, wait_ns)?);
                }
                Work::Net { .. } if self.card.is_none() => {
                    self.card = Some(Card::new(first(Kind::Net, "no-net")?, wait_ns)?);
                }
                Work::Console { .. } if self.console.is_none() => {
                    self.console = Some(Console::new(first(Kind::Console, "no-con")?, wait_ns)?);
                }
                Work::Entropy { .. } if self.source.is_none() => {
                    self.source = Some(Source::new(first(Kind::Entropy, "no-rng")?, wait_ns)?);
                }
                Work::Block { .. }
                | Work::Net { .. }
                | Work::Console { .. }
                | Work::Entropy { .. }
                | Work::Balloon { .. } => (),
            }
            Ok(())
        }

        fn work(&mut self, work: &Work, seed: u64) -> Result<(), Trouble> {
            match (*work, self) {
                (Work::Block { ops, order, placement, refill }, Self { disk: Some(disk), .. }) => {
                    block::run(&BlockWork { ops, order, placement, refill, seed }, disk)
                }
                (Work::Net { ops }, Self { card: Some(card), .. }) => net::run(&ops, seed, card),
                (Work::Console { lines }, Self { console: Some(console), .. }) => {
                    console::run(lines, seed, console)
                }
                (Work::Entropy { requests, bytes }, Self { source: Some(source), .. }) => {
                    entropy::run(requests, bytes, source)
                }
                // `probe` initialised a driver for every kind of work, or refused.
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

    fn is(device: &Option<Device>, kind: Kind) -> bool {
        device.is_some_and(|device| device.id == kind.device_id())
    }
}
