//! A device driven by one queue, one buffer at a time: console and entropy source.
#![expect(unsafe_code, reason = "requests that do not block promise to leave buffers alone")]

use crate::calls::Trouble;
use crate::dma::state::{cancel, reserve};
use crate::virtio::Kind;
use crate::virtio::hal::DeviceHal;
use crate::virtio::transport::Guarded;
use crate::virtio::wait::{Device, Patience};
use virtio_drivers::Error;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::Transport as _;

/// The queue with number `index` of the device with index `DEVICE`.
pub struct OneQueue<const DEVICE: usize, const SIZE: usize> {
    transport: Guarded<DEVICE>,
    queue: VirtQueue<DeviceHal<DEVICE>, SIZE>,
    index: u16,
    patience: Patience,
}

impl<const DEVICE: usize, const SIZE: usize> OneQueue<DEVICE, SIZE> {
    const KIND: Kind = Kind::from_index(DEVICE);

    /// Resets and initialises `device` with that one queue.
    ///
    /// # Errors
    /// `...-init`; refusals of the transport end the guest by their own names.
    pub fn new(device: Device, index: u16, wait_ns: u64) -> Result<Self, Trouble> {
        let mut transport = Guarded::<DEVICE>::new(device)?;
        let negotiated = transport.negotiate();
        let queue =
            VirtQueue::new(&mut transport, index, negotiated.indirect, negotiated.event_idx);
        let queue = queue.map_err(|_| Self::KIND.troubles().init)?;
        transport.finish_init();
        let patience = Patience { device, kind: Self::KIND, wait_ns };
        Ok(Self { transport, queue, index, patience })
    }

    /// Lets the device read `buffer`, and waits until it did.
    ///
    /// # Errors
    /// By name.
    pub fn send(&mut self, buffer: &[u8]) -> Result<(), Trouble> {
        reserve(DEVICE, [buffer.len()])?;
        // SAFETY: `buffer` is borrowed until the request is complete. If it never completes,
        // the guest ends.
        let token = unsafe { self.queue.add(&[buffer], &mut []) };
        let token = self.submitted(token)?;
        // SAFETY: the same buffer.
        let done = unsafe { self.queue.pop_used(token, &[buffer], &mut []) };
        done.map(drop).map_err(Self::named)
    }

    /// Lets the device write `buffer`, and waits until it did. Returns how many bytes it says
    /// that it wrote.
    ///
    /// # Errors
    /// By name.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, Trouble> {
        reserve(DEVICE, [buffer.len()])?;
        // SAFETY: as in `send`.
        let token = unsafe { self.queue.add(&[], &mut [buffer]) };
        let token = self.submitted(token)?;
        // SAFETY: the same buffer.
        let done = unsafe { self.queue.pop_used(token, &[], &mut [buffer]) };
        done.map(|bytes| bytes as usize).map_err(Self::named)
    }

    fn submitted(&mut self, token: virtio_drivers::Result<u16>) -> Result<u16, Trouble> {
        cancel(DEVICE);
        let token = token.map_err(Self::named)?;
        if self.queue.should_notify() {
            self.transport.notify(self.index);
        }
        self.patience.until(|| self.queue.can_pop())?;
        Ok(token)
    }

    fn named(error: Error) -> Trouble {
        let troubles = Self::KIND.troubles();
        if error == Error::WrongToken { troubles.token } else { troubles.io_error }
    }
}
