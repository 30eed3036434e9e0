//! A network card: `virtio-drivers`' raw driver with bounded waits.
#![expect(unsafe_code, reason = "requests that do not block promise to leave buffers alone")]

use crate::calls::Trouble;
use crate::dma::state::{cancel, reserve};
use crate::heap::own_units;
use crate::virtio::Kind;
use crate::virtio::hal::DeviceHal;
use crate::virtio::transport::Guarded;
use crate::virtio::wait::{Device, Patience};
use virtio_drivers::Error;
use virtio_drivers::device::net::VirtIONetRaw;

const INDEX: usize = Kind::Net as usize;
const QUEUE_SIZE: usize = 16;
/// Bytes of a receive buffer; the driver wants at least 1526.
const RECEIVE_BYTES: usize = 2048;
/// Bytes of a transmit buffer: the longest header and the longest frame fit.
const TRANSMIT_BYTES: usize = 2048;

/// A network card that is ready for frames, one at a time in each direction. Each direction has
/// one buffer, in units of its own.
pub struct Card {
    driver: VirtIONetRaw<DeviceHal<INDEX>, Guarded<INDEX>, QUEUE_SIZE>,
    transmit: &'static mut [u8],
    receive: &'static mut [u8],
    patience: Patience,
}

/// A receive buffer that the device has.
#[must_use = "the device has the buffer until `Card::received`"]
pub struct Posted {
    token: u16,
}

impl Card {
    /// Resets and initialises `device`.
    ///
    /// # Errors
    /// `net-init`; refusals of the transport end the guest by their own names.
    pub fn new(device: Device, wait_ns: u64) -> Result<Self, Trouble> {
        let transport = Guarded::<INDEX>::new(device)?;
        let driver = VirtIONetRaw::new(transport).map_err(|_| Kind::Net.troubles().init)?;
        Ok(Self {
            driver,
            transmit: own_units(TRANSMIT_BYTES),
            receive: own_units(RECEIVE_BYTES),
            patience: Patience { device, kind: Kind::Net, wait_ns },
        })
    }

    /// Sends one frame of `bytes` bytes that `write` writes, and waits until the device took it.
    ///
    /// # Errors
    /// By name.
    #[inline(never)] // a frame of its own in call chains
    pub fn send(&mut self, bytes: usize, write: impl FnOnce(&mut [u8])) -> Result<(), Trouble> {
        let troubles = Kind::Net.troubles();
        let header = self.driver.fill_buffer_header(self.transmit);
        let start = header.map_err(|_| troubles.io_error)?;
        let end = start + bytes;
        write(self.transmit.get_mut(start..end).ok_or(troubles.io_error)?);
        reserve(INDEX, [end])?;
        let buffer = &self.transmit[..end];
        // SAFETY: the buffer stays borrowed and unread until the request is complete. If it
        // never completes, the guest ends.
        let token = unsafe { self.driver.transmit_begin(buffer) };
        cancel(INDEX);
        let token = token.map_err(|_| troubles.io_error)?;
        self.patience.until(|| self.driver.poll_transmit().is_some())?;
        // SAFETY: the same buffer.
        let done = unsafe { self.driver.transmit_complete(token, buffer) };
        done.map(drop).map_err(named)
    }

    /// Gives the device the receive buffer, emptied.
    ///
    /// # Errors
    /// By name.
    #[inline(never)] // a frame of its own in call chains
    pub fn post_receive(&mut self) -> Result<Posted, Trouble> {
        self.receive.fill(0);
        reserve(INDEX, [RECEIVE_BYTES])?;
        // SAFETY: the buffer is only looked at in `received`, once the request is complete.
        let token = unsafe { self.driver.receive_begin(self.receive) };
        cancel(INDEX);
        token.map(|token| Posted { token }).map_err(named)
    }

    /// Waits for a frame in the buffer that was posted, and shows it.
    ///
    /// # Errors
    /// By name; `net-ioerr` also if the device claims more than the buffer holds.
    #[inline(never)] // a frame of its own in call chains
    pub fn received(&mut self, posted: Posted) -> Result<&[u8], Trouble> {
        self.patience.until(|| self.driver.poll_receive().is_some())?;
        // SAFETY: the buffer that was posted.
        let done = unsafe { self.driver.receive_complete(posted.token, self.receive) };
        let (header, bytes) = done.map_err(named)?;
        let end = header.checked_add(bytes);
        let frame = end.and_then(|end| self.receive.get(header..end));
        frame.ok_or(Kind::Net.troubles().io_error)
    }
}

fn named(error: Error) -> Trouble {
    let troubles = Kind::Net.troubles();
    if error == Error::WrongToken { troubles.token } else { troubles.io_error }
}
