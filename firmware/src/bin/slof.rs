//! slof: boot firmware. Finds the first disk, loads the kernel image that begins at its first
//! sector, resets the disk and hands over by the boot protocol `elf64`.
//!
//! It runs in normal mode before any guest becomes secure. Today's drives the disk with raw
//! addresses, never accepts bit 33 and knows no IOMMU: what the thread calls "the firmware's
//! driver". One that knows TCE (`uvsim.slof=tce`) maps what it gives the disk, and unmaps it before
//! it hands over. Every trouble is a refusal.
#![cfg_attr(uv_guest, no_std, no_main)]

#[cfg(not(uv_guest))]
fn main() {}

#[cfg(uv_guest)]
mod boot {
    #![expect(unsafe_code, reason = "loads and starts an image")]

    extern crate alloc;

    use alloc::vec;
    use core::ptr;
    use firmware::bootargs::BootArgs;
    use firmware::calls::{Trouble, print};
    use firmware::device_tree::Machine;
    use firmware::dma::setup;
    use firmware::elf::{
        HEADER_BYTES, NotLoadable, PROGRAM_HEADER_BYTES, Segment, header, segment,
    };
    use firmware::heap::{self, UNIT_BYTES, own_units};
    use firmware::start::{hand_over, image_end};
    use firmware::virtio::Kind;
    use firmware::virtio::blk::Disk;
    use firmware::virtio::wait::Device;
    use firmware::workload::SECTOR_BYTES;
    use ultravisor_abi::boot::IMAGES;

    firmware::entry!(start);

    /// How long one request may take: a virtual second.
    const WAIT_NS: u64 = 1_000_000_000;
    /// What stays free below the stack pointer that is handed on.
    const STACK_BYTES: u64 = 64 << 10;

    extern "C" fn start(fdt: u64, stack: u64) -> ! {
        // SAFETY: the boot protocol leaves everything between this image and `IMAGES` to it.
        unsafe { heap::init(image_end(), IMAGES.0) };
        match load(fdt, stack) {
            // SAFETY: `load` put an image there; `stack` is what this one was started with.
            Ok(entry) => unsafe { hand_over(entry, fdt, stack) },
            Err(trouble) => trouble.give_up(),
        }
    }

    /// Loads the image; returns its entry.
    fn load(fdt: u64, stack: u64) -> Result<u64, Trouble> {
        // SAFETY: the boot protocol passes a tree that nobody else changes.
        let machine = unsafe { Machine::read(fdt) }?;
        // Bootargs of a kernel that is not ours say nothing about slof.
        if BootArgs::parse(machine.bootargs).is_ok_and(|args| args.slof_tce) {
            setup::init_firmware_with_iommu();
        }
        let mut devices = machine.devices().filter_map(Device::probe);
        let device = devices.find(|device| device.id == Kind::Blk.device_id());
        let device = device.ok_or(Trouble::refused("slof-no-disk"))?;
        let mut image = Image { disk: Disk::new(device, WAIT_NS)?, buffer: own_units(UNIT_BYTES) };
        let entry = image.load(stack.saturating_sub(STACK_BYTES))?;
        // The driver is not dropped: a reset ends all that it set up.
        core::mem::forget(image);
        device.reset();
        setup::detach(Kind::Blk as usize);
        print("slof: image loaded\n");
        Ok(entry)
    }

    /// An image on a disk.
    struct Image {
        disk: Disk,
        buffer: &'static mut [u8],
    }

    impl Image {
        /// Loads all segments, below `end`.
        fn load(&mut self, end: u64) -> Result<u64, Trouble> {
            let mut bytes = [0; HEADER_BYTES];
            self.read(0, &mut bytes)?;
            let header = header(&bytes).map_err(named)?;
            let mut table = vec![0; usize::from(header.program_headers) * PROGRAM_HEADER_BYTES];
            self.read(header.program_headers_offset, &mut table)?;
            let mut started = false;
            for entry in table.as_chunks::<PROGRAM_HEADER_BYTES>().0 {
                if let Some(segment) = segment(entry, end).map_err(named)? {
                    self.load_segment(&segment)?;
                    let last = segment.address + segment.memory_bytes;
                    started |= (segment.address..last).contains(&header.entry);
                }
            }
            if started { Ok(header.entry) } else { Err(Trouble::refused("slof-entry")) }
        }

        fn load_segment(&mut self, segment: &Segment) -> Result<(), Trouble> {
            let start = ptr::with_exposed_provenance_mut::<u8>(segment.address as usize);
            let (bytes, file_bytes) = (segment.memory_bytes as usize, segment.file_bytes as usize);
            // SAFETY: `segment` checked that this is RAM above all that slof uses and below the
            // stack; nothing else lies there yet.
            let memory = unsafe {
                ptr::write_bytes(start, 0, bytes);
                core::slice::from_raw_parts_mut(start, bytes)
            };
            self.read(segment.file_offset, &mut memory[..file_bytes])
        }

        /// Reads from byte `offset` of the disk on.
        fn read(&mut self, offset: u64, out: &mut [u8]) -> Result<(), Trouble> {
            let mut done = 0;
            while done < out.len() {
                let at = offset.checked_add(done as u64).ok_or(named(NotLoadable::Segment))?;
                let within = (at % SECTOR_BYTES) as usize;
                let count = (out.len() - done).min(self.buffer.len() - within);
                let whole = (within + count).next_multiple_of(SECTOR_BYTES as usize);
                let sector = at / SECTOR_BYTES;
                if sector + whole as u64 / SECTOR_BYTES > self.disk.sectors() {
                    return Err(Trouble::refused("slof-short"));
                }
                self.disk.read(sector, &mut self.buffer[..whole])?;
                out[done..done + count].copy_from_slice(&self.buffer[within..within + count]);
                done += count;
            }
            Ok(())
        }
    }

    const fn named(why: NotLoadable) -> Trouble {
        Trouble::refused(match why {
            NotLoadable::NotElf => "slof-not-elf",
            NotLoadable::WrongMachine => "slof-machine",
            NotLoadable::NotStatic => "slof-not-static",
            NotLoadable::ProgramHeaders => "slof-phdrs",
            NotLoadable::Segment => "slof-segment",
            NotLoadable::Outside => "slof-outside",
        })
    }
}
