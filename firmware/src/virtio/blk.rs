//! A disk: `virtio-drivers`' block driver with bounded waits.
#![expect(unsafe_code, reason = "requests that do not block promise to leave buffers alone")]

use crate::calls::Trouble;
use crate::dma::state::{cancel, mapping_bytes_max, reserve};
use crate::heap::{UNIT_BYTES, own_units_untouched};
use crate::virtio::Kind;
use crate::virtio::bugs::{goes_on_without_room, request_done};
use crate::virtio::hal::DeviceHal;
use crate::virtio::transport::Guarded;
use crate::virtio::wait::{Device, Patience};
use crate::workload::SECTOR_BYTES;
use virtio_drivers::Error;
use virtio_drivers::device::blk::{BlkReq, BlkResp, VirtIOBlk};

const INDEX: usize = Kind::Blk as usize;

/// What the device gets beside the data. It has a unit of its own, as the block layer's
/// preallocated requests have pages of their own.
#[derive(Default)]
struct Parts {
    header: BlkReq,
    status: BlkResp,
}

/// A disk that is ready for requests, one at a time.
pub struct Disk {
    driver: VirtIOBlk<DeviceHal<INDEX>, Guarded<INDEX>>,
    parts: &'static mut Parts,
    patience: Patience,
    /// Bytes of the indirect table of one request, if there is one.
    table_bytes: Option<usize>,
}

/// Bytes of one descriptor.
const DESCRIPTOR_BYTES: usize = 16;
/// Descriptors of a request: header, data, status.
const DESCRIPTORS: usize = 3;

impl Disk {
    /// Resets and initialises `device`.
    ///
    /// # Errors
    /// `blk-init`; refusals of the transport end the guest by their own names.
    pub fn new(device: Device, wait_ns: u64) -> Result<Self, Trouble> {
        let mut transport = Guarded::<INDEX>::new(device)?;
        let indirect = transport.offers_indirect();
        let driver = VirtIOBlk::new(transport).map_err(|_| Kind::Blk.troubles().init)?;
        let parts = own_units_untouched(size_of::<Parts>(), UNIT_BYTES).cast::<Parts>();
        // SAFETY: fresh memory, aligned to far more than `Parts` needs, given to nobody else.
        let parts = unsafe {
            parts.write(Parts::default());
            &mut *parts
        };
        Ok(Self {
            driver,
            parts,
            patience: Patience { device, kind: Kind::Blk, wait_ns },
            table_bytes: indirect.then_some(DESCRIPTORS * DESCRIPTOR_BYTES),
        })
    }

    /// Sectors that it has.
    pub fn sectors(&self) -> u64 {
        self.driver.capacity()
    }

    /// Reads from `sector` on into `data`, a whole number of sectors.
    ///
    /// # Errors
    /// By name; nothing is known about `data` then.
    #[inline(never)] // a frame of its own in call chains
    pub fn read(&mut self, sector: u64, data: &mut [u8]) -> Result<(), Trouble> {
        let piece_bytes = mapping_bytes_max(INDEX);
        let mut at = sector;
        for piece in data.chunks_mut(piece_bytes) {
            self.reserve(piece.len())?;
            let Parts { header, status } = self.parts;
            *status = BlkResp::default();
            // SAFETY: header, data and status stay borrowed here and are not looked at until the
            // request is complete. If it never completes, the guest ends.
            let token = unsafe { self.driver.read_blocks_nb(at as usize, header, piece, status) };
            let token = self.submitted(token)?;
            let Parts { header, status } = self.parts;
            // SAFETY: the same buffers.
            let done = unsafe { self.driver.complete_read_blocks(token, header, piece, status) };
            completed(done)?;
            at += piece.len() as u64 / SECTOR_BYTES;
        }
        Ok(())
    }

    /// Writes `data`, a whole number of sectors, from `sector` on.
    ///
    /// # Errors
    /// By name.
    #[inline(never)] // a frame of its own in call chains
    pub fn write(&mut self, sector: u64, data: &[u8]) -> Result<(), Trouble> {
        let piece_bytes = mapping_bytes_max(INDEX);
        let mut at = sector;
        for piece in data.chunks(piece_bytes) {
            self.reserve(piece.len())?;
            let Parts { header, status } = self.parts;
            *status = BlkResp::default();
            // SAFETY: as in `read`.
            let token = unsafe { self.driver.write_blocks_nb(at as usize, header, piece, status) };
            let token = self.submitted(token)?;
            let Parts { header, status } = self.parts;
            // SAFETY: the same buffers.
            let done = unsafe { self.driver.complete_write_blocks(token, header, piece, status) };
            completed(done)?;
            at += piece.len() as u64 / SECTOR_BYTES;
        }
        Ok(())
    }

    /// Slots for a request with `data_bytes` bytes of data, before the driver is called.
    fn reserve(&self, data_bytes: usize) -> Result<(), Trouble> {
        let small =
            || [size_of::<BlkReq>(), size_of::<BlkResp>()].into_iter().chain(self.table_bytes);
        match reserve(INDEX, small().chain([data_bytes])) {
            Err(_) if goes_on_without_room() => reserve(INDEX, small()),
            done => done,
        }
    }

    fn submitted(&mut self, token: virtio_drivers::Result<u16>) -> Result<u16, Trouble> {
        cancel(INDEX);
        let token = token.map_err(|_| Kind::Blk.troubles().io_error)?;
        let driver = &mut self.driver;
        self.patience.until(|| driver.peek_used().is_some())?;
        request_done();
        Ok(token)
    }
}

fn completed(done: virtio_drivers::Result<()>) -> Result<(), Trouble> {
    done.map_err(|error| {
        if error == Error::WrongToken {
            Kind::Blk.troubles().token
        } else {
            Kind::Blk.troubles().io_error
        }
    })
}
