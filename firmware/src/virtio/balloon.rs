//! A balloon (virtio 1.2, section 5.5): gives pages to the host and takes them back. It uses
//! `virtio-drivers`' queue directly, which has no driver for it.
#![expect(unsafe_code, reason = "requests that do not block promise to leave buffers alone")]

use crate::calls::Trouble;
use crate::dma::state::{cancel, reserve};
use crate::heap::own_units;
use crate::virtio::Kind;
use crate::virtio::hal::DeviceHal;
use crate::virtio::transport::Guarded;
use crate::virtio::wait::{Device, Patience};
use virtio_drivers::Error;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport as _;

const INDEX: usize = Kind::Balloon as usize;
const QUEUE_SIZE: usize = 16;
/// Page frame numbers of one request (kernel `virtio_balloon.c`, VIRTIO_BALLOON_ARRAY_PFNS_MAX).
pub const PFNS_MAX: usize = 256;
/// Bytes of one number: a little-endian u32, in units of 4 KiB whatever the guest's pages are.
const PFN_BYTES: usize = 4;
/// `actual` in the configuration space: how many pages the host has.
const ACTUAL: usize = 4;

/// What to do with pages. The value is the queue (section 5.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Change {
    /// The host gets them.
    Inflate = 0,
    /// The guest takes them back.
    Deflate = 1,
}

/// A balloon that is ready for requests, one at a time.
pub struct Balloon {
    transport: Guarded<INDEX>,
    inflate: VirtQueue<DeviceHal<INDEX>, QUEUE_SIZE>,
    deflate: VirtQueue<DeviceHal<INDEX>, QUEUE_SIZE>,
    /// The numbers of one request, in a unit of their own.
    pfns: &'static mut [u8],
    patience: Patience,
}

impl Balloon {
    /// Resets and initialises `device`.
    ///
    /// # Errors
    /// `bal-init`; refusals of the transport end the guest by their own names.
    pub fn new(device: Device, wait_ns: u64) -> Result<Self, Trouble> {
        let mut transport = Guarded::<INDEX>::new(device)?;
        let negotiated = transport.negotiate();
        let mut queue = |change: Change| {
            let (indirect, event_idx) = (negotiated.indirect, negotiated.event_idx);
            VirtQueue::new(&mut transport, change as u16, indirect, event_idx)
                .map_err(|_| Kind::Balloon.troubles().init)
        };
        let (inflate, deflate) = (queue(Change::Inflate)?, queue(Change::Deflate)?);
        transport.finish_init();
        Ok(Self {
            transport,
            inflate,
            deflate,
            pfns: own_units(PFNS_MAX * PFN_BYTES),
            patience: Patience { device, kind: Kind::Balloon, wait_ns },
        })
    }

    /// Tells the device about the pages with these numbers, at most [`PFNS_MAX`], and waits until it
    /// took note.
    ///
    /// # Errors
    /// By name.
    #[inline(never)] // a frame of its own in call chains
    pub fn change(
        &mut self,
        change: Change,
        pfns: impl ExactSizeIterator<Item = u32>,
    ) -> Result<(), Trouble> {
        let bytes = pfns.len().min(PFNS_MAX) * PFN_BYTES;
        let (places, _) = self.pfns.as_chunks_mut::<PFN_BYTES>();
        for (place, pfn) in places.iter_mut().zip(pfns) {
            *place = pfn.to_le_bytes();
        }
        let array = &self.pfns[..bytes];
        let queue = match change {
            Change::Inflate => &mut self.inflate,
            Change::Deflate => &mut self.deflate,
        };
        reserve(INDEX, [bytes])?;
        // SAFETY: the array stays borrowed until the request is complete. If it never completes,
        // the guest ends.
        let token = unsafe { queue.add(&[array], &mut []) };
        cancel(INDEX);
        let token = token.map_err(named)?;
        if queue.should_notify() {
            self.transport.notify(change as u16);
        }
        self.patience.until(|| queue.can_pop())?;
        // SAFETY: the same buffer.
        let done = unsafe { queue.pop_used(token, &[array], &mut []) };
        done.map(drop).map_err(named)
    }

    /// Writes down how many pages the host has now.
    ///
    /// # Errors
    /// `bal-ioerr` if the device has no place for it.
    pub fn report_actual(&mut self, pages: u32) -> Result<(), Trouble> {
        let written = self.transport.write_config_space(ACTUAL, pages.to_le());
        written.map_err(|_| Kind::Balloon.troubles().io_error)
    }
}

fn named(error: Error) -> Trouble {
    let troubles = Kind::Balloon.troubles();
    if error == Error::WrongToken { troubles.token } else { troubles.io_error }
}
