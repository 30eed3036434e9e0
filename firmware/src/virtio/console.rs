//! A console's transmit queue. `virtio-drivers`' console driver waits without bound, so this
//! uses its queue directly.

use crate::calls::Trouble;
use crate::virtio::Kind;
use crate::virtio::one_queue::OneQueue;
use crate::virtio::wait::Device;

const INDEX: usize = Kind::Console as usize;
/// Queue 0 receives, queue 1 transmits (virtio 1.2, section 5.3.2).
const TRANSMIT: u16 = 1;
/// What `virtio-drivers`' own console driver uses.
const QUEUE_SIZE: usize = 2;

/// A console that is ready to write.
pub struct Console {
    queue: OneQueue<INDEX, QUEUE_SIZE>,
}

impl Console {
    /// Resets and initialises `device`.
    ///
    /// # Errors
    /// `con-init`; refusals of the transport end the guest by their own names.
    pub fn new(device: Device, wait_ns: u64) -> Result<Self, Trouble> {
        Ok(Self { queue: OneQueue::new(device, TRANSMIT, wait_ns)? })
    }

    /// Writes `text` and waits until the device took it.
    ///
    /// # Errors
    /// By name.
    #[inline(never)] // a frame of its own in call chains
    pub fn write(&mut self, text: &[u8]) -> Result<(), Trouble> {
        self.queue.send(text)
    }
}
