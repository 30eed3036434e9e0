//! guest: the kernel's stand-in. Becomes secure if told so, sets up its DMA path, resets and
//! probes the devices, does the work that it was given, verifies it, reports by name and exits.
#![cfg_attr(uv_guest, no_std, no_main)]

#[cfg(not(uv_guest))]
fn main() {}

#[cfg(uv_guest)]
mod kernel {
    #![expect(unsafe_code, reason = "owns the memory that the boot protocol gives it")]

    use firmware::bootargs::{BootArgs, Waits};
    use firmware::calls::{Trouble, exit, mark_done, mark_ready, print};
    use firmware::device_tree::Machine;
    use firmware::dma::setup;
    use firmware::heap::{self, UNIT_BYTES};
    use firmware::interrupts;
    use firmware::life::Guest;
    use firmware::start::image_end;
    use firmware::virtio::bugs;

    firmware::entry!(start);

    /// What the stack may use below the pointer that the boot protocol passes.
    const STACK_BYTES: u64 = 256 << 10;

    extern "C" fn start(fdt: u64, stack: u64) -> ! {
        match run(fdt, stack) {
            Ok(()) => exit(0),
            Err(trouble) => trouble.give_up(),
        }
    }

    fn run(fdt: u64, stack: u64) -> Result<(), Trouble> {
        // SAFETY: the boot protocol passes a tree that nobody else changes.
        let machine = unsafe { Machine::read(fdt) }?;
        let args = BootArgs::parse(machine.bootargs).map_err(|_| Trouble::refused("bootargs"))?;
        let (start, end) = heap_range(&machine, stack);
        // SAFETY: the boot protocol leaves all RAM from this image to the stack to it, but for
        // what the tree reserves; nothing was allocated yet.
        unsafe { heap::init(start, end) };
        setup::init(&args, &machine)?;
        bugs::init(args.bug);
        if args.waits == Waits::Interrupts {
            interrupts::turn_on(&machine);
        }
        let guest = Guest { fdt, machine: &machine, args: &args };
        let drivers = guest.start()?;
        print(if args.secure { "guest: secure, ready\n" } else { "guest: ready\n" });
        mark_ready();
        guest.work(drivers)?;
        mark_done();
        print("guest: done\n");
        Ok(())
    }

    /// From the first unit that holds nothing of this image to the stack, or to the memory that is
    /// reserved below it: a unit that is shared in place must not hold the code that shares it.
    fn heap_range(machine: &Machine, stack: u64) -> (u64, u64) {
        let unit = machine.ultravisor_unit.map_or(0, |unit| unit.bytes()).max(UNIT_BYTES as u64);
        let below_stack = stack.saturating_sub(STACK_BYTES);
        let end = machine.reserved_start.map_or(below_stack, |start| start.min(below_stack));
        (image_end().next_multiple_of(unit), end)
    }
}
