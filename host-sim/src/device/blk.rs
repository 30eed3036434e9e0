//! virtio-blk (virtio 1.4, 5.2), in the order of QEMU's `hw/block/virtio-blk.c`.
//!
//! QEMU takes all chains first, reading each header, and starts reads and writes afterwards; what
//! needs no disk is answered at once.

use super::chain::{Access, Element};
use super::disk::{Disk, SECTOR_BYTES};
use super::reason::{Reason, Stop};
use super::ring::Step;
use super::transport::Identity;
use crate::event::{Part, QueueIndex};
use crate::scenario::plan::{Contents, QemuOptions};

/// VIRTIO_BLK_F_SEG_MAX: the configuration's `seg_max` holds.
const F_SEG_MAX: u64 = 1 << 2;
/// VIRTIO_BLK_F_BLK_SIZE: the configuration's `blk_size` holds.
const F_BLK_SIZE: u64 = 1 << 6;
/// VIRTIO_BLK_F_FLUSH.
const F_FLUSH: u64 = 1 << 9;

/// Bytes of a request's header.
const HEADER_BYTES: usize = 16;
/// Bytes of the answer to GET_ID.
pub const BLK_ID_BYTES: usize = 20;
/// Most data bytes of one request; QEMU's own limit is just under 2 GiB. What is larger fails as
/// there: an I/O error before any data is touched. It bounds what one step can cost.
const DATA_BYTES_MAX: u64 = 4 << 20;
/// `seg_max` of QEMU before 5.0: a queue of 128 less header and status.
const SEG_MAX: u32 = 126;

/// Request types; bit 0 says which way the data goes.
const TYPE_IN: u32 = 0;
const TYPE_OUT: u32 = 1;
const TYPE_FLUSH: u32 = 4;
const TYPE_GET_ID: u32 = 8;
/// Bits that QEMU does not look at to tell types apart: the direction, and the old barrier flag.
const TYPE_FLAGS: u32 = 0x8000_0001;

const STATUS_OK: u8 = 0;
const STATUS_IOERR: u8 = 1;
const STATUS_UNSUPPORTED: u8 = 2;

/// What the driver asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    /// Read `bytes` bytes from `sector` on.
    In { sector: u64, bytes: u64 },
    /// Write `bytes` bytes from `sector` on.
    Out { sector: u64, bytes: u64 },
    /// Make what was written durable.
    Flush,
    /// Tell the disk's name.
    GetId,
    /// Something else.
    Unsupported,
}

impl Request {
    /// The only place that refuses a chain. The header is read here, and nothing else.
    fn parse(access: Access<'_, '_>, element: &Element) -> Result<Self, Stop> {
        let Element { readable, writable, .. } = element;
        if readable.is_empty() || writable.is_empty() {
            return Err(Reason::Request("a block request without header or status").into());
        }
        let mut header = [0; HEADER_BYTES];
        if access.gather(Part::Header, readable, 0, &mut header)? < HEADER_BYTES {
            return Err(Reason::Request("a block request with a short header").into());
        }
        let Header { kind, sector } = Header::from_bytes(&header);
        Ok(match kind & !TYPE_FLAGS {
            TYPE_IN if kind & TYPE_OUT != 0 => {
                Self::Out { sector, bytes: readable.bytes() - HEADER_BYTES as u64 }
            }
            TYPE_IN => Self::In { sector, bytes: writable.bytes() - 1 },
            TYPE_FLUSH => Self::Flush,
            TYPE_GET_ID => Self::GetId,
            _ => Self::Unsupported,
        })
    }
}

/// A header's fields, in wire order.
struct Header {
    kind: u32,
    sector: u64,
}

impl Header {
    fn from_bytes(bytes: &[u8; HEADER_BYTES]) -> Self {
        let (kind, _reserved, sector) = (&bytes[0..4], &bytes[4..8], &bytes[8..16]);
        Self {
            kind: u32::from_le_bytes(kind.try_into().expect("four bytes")),
            sector: u64::from_le_bytes(sector.try_into().expect("eight bytes")),
        }
    }
}

/// A block device.
#[derive(Debug)]
pub(super) struct Blk {
    disk: Disk,
    id: [u8; BLK_ID_BYTES],
    seg_max: u32,
    /// One request's data, kept to save allocations.
    buffer: Vec<u8>,
}

impl Blk {
    pub fn new(
        id: &str,
        sectors: u64,
        contents: &Contents,
        options: &QemuOptions,
        seed: u64,
    ) -> Self {
        let mut serial = [0; BLK_ID_BYTES];
        let count = id.len().min(BLK_ID_BYTES);
        serial[..count].copy_from_slice(&id.as_bytes()[..count]);
        let seg_max = u32::from(options.queue_size.saturating_sub(2)).clamp(1, SEG_MAX);
        let disk = Disk::new(sectors, contents, seed);
        Self { disk, id: serial, seg_max, buffer: Vec::new() }
    }

    pub fn identity(&self) -> Identity {
        Identity {
            device_id: 2,
            features: F_SEG_MAX | F_BLK_SIZE | F_FLUSH,
            queues: 1,
            writable: 0..0,
        }
    }

    /// `struct virtio_blk_config` up to and with the topology.
    pub fn config(&self) -> Vec<u8> {
        let mut config = vec![0; 32];
        config[0..8].copy_from_slice(&self.disk.sectors().to_le_bytes());
        config[12..16].copy_from_slice(&self.seg_max.to_le_bytes());
        config[20..24].copy_from_slice(&(SECTOR_BYTES as u32).to_le_bytes());
        config
    }

    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    pub fn service(&mut self, _: QueueIndex, step: &mut Step<'_, '_>) -> Result<(), Stop> {
        let mut started = Vec::new();
        step.set_notification(false)?;
        while let Some(element) = step.pop()? {
            match Request::parse(step.access(), &element)? {
                Request::In { sector, bytes } | Request::Out { sector, bytes }
                    if !self.can_do(sector, bytes) =>
                {
                    complete(step, &element, STATUS_IOERR)?;
                }
                request @ (Request::In { .. } | Request::Out { .. } | Request::Flush) => {
                    started.push((request, element));
                }
                Request::GetId => {
                    let room = (element.writable.bytes() - 1).min(BLK_ID_BYTES as u64);
                    let id = &self.id[..room as usize];
                    step.access().scatter(Part::Data, &element.writable, 0, id)?;
                    complete(step, &element, STATUS_OK)?;
                }
                Request::Unsupported => complete(step, &element, STATUS_UNSUPPORTED)?,
            }
        }
        step.set_notification(true)?;
        step.look_again()?;
        started.iter().try_for_each(|(request, element)| self.finish(step, *request, element))
    }

    /// QEMU's `virtio_blk_sect_range_ok`: whole sectors, all of them on the disk.
    fn can_do(&self, sector: u64, bytes: u64) -> bool {
        let whole = bytes.is_multiple_of(SECTOR_BYTES);
        whole && bytes <= DATA_BYTES_MAX && self.disk.holds(sector, bytes)
    }

    fn finish(
        &mut self,
        step: &mut Step<'_, '_>,
        request: Request,
        element: &Element,
    ) -> Result<(), Stop> {
        let access = step.access();
        match request {
            Request::In { sector, bytes } => {
                self.buffer.resize(bytes as usize, 0);
                self.disk.read(sector * SECTOR_BYTES, &mut self.buffer);
                access.scatter(Part::Data, &element.writable, 0, &self.buffer)?;
            }
            Request::Out { sector, bytes } => {
                if !self.disk.has_room(bytes) {
                    return complete(step, element, STATUS_IOERR);
                }
                self.buffer.resize(bytes as usize, 0);
                let skip = HEADER_BYTES as u64;
                access.gather(Part::Data, &element.readable, skip, &mut self.buffer)?;
                self.disk.write(sector * SECTOR_BYTES, &self.buffer);
            }
            Request::Flush | Request::GetId | Request::Unsupported => {}
        }
        complete(step, element, STATUS_OK)
    }
}

/// Writes the status into the chain's last byte, gives the chain back and interrupts. As in QEMU
/// the length told is all that was writable, whatever was written.
fn complete(step: &mut Step<'_, '_>, element: &Element, status: u8) -> Result<(), Stop> {
    let writable = element.writable.bytes();
    step.access().scatter(Part::Status, &element.writable, writable - 1, &[status])?;
    step.push(element, u32::try_from(writable).unwrap_or(u32::MAX))?;
    step.notify()
}
