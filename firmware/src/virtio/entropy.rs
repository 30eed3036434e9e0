//! An entropy source. `virtio-drivers`' driver waits without bound, so this uses its queue
//! directly.

use crate::calls::Trouble;
use crate::virtio::Kind;
use crate::virtio::one_queue::OneQueue;
use crate::virtio::wait::Device;

const INDEX: usize = Kind::Entropy as usize;
/// The only queue (virtio 1.2, section 5.4.2).
const REQUESTS: u16 = 0;
/// What `virtio-drivers`' own entropy driver uses.
const QUEUE_SIZE: usize = 8;

/// An entropy source that is ready for requests.
pub struct Source {
    queue: OneQueue<INDEX, QUEUE_SIZE>,
}

impl Source {
    /// Resets and initialises `device`.
    ///
    /// # Errors
    /// `rng-init`; refusals of the transport end the guest by their own names.
    pub fn new(device: Device, wait_ns: u64) -> Result<Self, Trouble> {
        Ok(Self { queue: OneQueue::new(device, REQUESTS, wait_ns)? })
    }

    /// Asks for random bytes; returns those that came, at most as many as `buffer` holds.
    ///
    /// # Errors
    /// By name; `rng-ioerr` also if the device claims more than was asked for.
    #[inline(never)] // a frame of its own in call chains
    pub fn fill<'a>(&mut self, buffer: &'a mut [u8]) -> Result<&'a [u8], Trouble> {
        let bytes = self.queue.receive(buffer)?;
        buffer.get(..bytes).ok_or(Kind::Entropy.troubles().io_error)
    }
}
