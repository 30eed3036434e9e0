//! virtio-iommu (virtio 1.2, 5.13): the request queue, one request a chain.
//!
//! It parses and answers; what is attached and mapped is [`crate::iommu::domains`]'. Nothing is
//! ever put into its event queue.

use super::chain::{Access, Element};
use super::reason::{Reason, Stop};
use super::ring::Step;
use super::transport::Identity;
use crate::event::{Part, QueueIndex};
use crate::iommu::PAGE_BYTES;
use crate::iommu::domains::{Refused, Request};

const REQUESTS: QueueIndex = QueueIndex(0);
/// VIRTIO_IOMMU_F_MAP_UNMAP.
const F_MAP_UNMAP: u64 = 1 << 2;
/// VIRTIO_IOMMU_F_BYPASS_CONFIG: the configuration's `bypass` holds.
const F_BYPASS_CONFIG: u64 = 1 << 6;

/// Where `bypass` lies in configuration space.
pub(super) const BYPASS_AT: u64 = 36;

/// Bytes of a request's head and of its tail.
const HEAD_BYTES: usize = 4;
const TAIL_BYTES: u64 = 4;
/// Bytes of the longest request, MAP, without its tail.
const REQUEST_BYTES_MAX: usize = 36;

/// Request types.
const TYPE_ATTACH: u8 = 1;
const TYPE_DETACH: u8 = 2;
const TYPE_MAP: u8 = 3;
const TYPE_UNMAP: u8 = 4;

/// Status: done (VIRTIO_IOMMU_S_OK).
const STATUS_OK: u8 = 0;

/// A virtio-iommu.
#[derive(Debug, Default)]
pub(super) struct Viommu;

impl Viommu {
    pub fn identity(&self) -> Identity {
        let features = F_MAP_UNMAP | F_BYPASS_CONFIG;
        Identity { device_id: 23, features, queues: 2, writable: BYPASS_AT..BYPASS_AT + 1 }
    }

    /// `struct virtio_iommu_config`: pages of 4 KiB, any address, any domain, bypass on.
    pub fn config(&self) -> Vec<u8> {
        let mut config = vec![0; 40];
        config[0..8].copy_from_slice(&PAGE_BYTES.wrapping_neg().to_le_bytes());
        config[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
        config[28..32].copy_from_slice(&u32::MAX.to_le_bytes());
        config[36] = 1;
        config
    }

    pub fn service(&mut self, queue: QueueIndex, step: &mut Step<'_, '_>) -> Result<(), Stop> {
        if queue != REQUESTS {
            return Ok(());
        }
        while let Some(element) = step.pop()? {
            let parsed = parse(step.access(), &element)?;
            let done = parsed.and_then(|request| step.window().iommu(request));
            let status = done.map_or_else(|refused| refused as u8, |()| STATUS_OK);
            let at = element.writable.bytes() - TAIL_BYTES;
            step.access().scatter(Part::Status, &element.writable, at, &[status, 0, 0, 0])?;
            step.push(&element, TAIL_BYTES as u32)?;
            step.notify()?;
        }
        Ok(())
    }
}

/// The only place that refuses a chain.
fn parse(access: Access<'_, '_>, element: &Element) -> Result<Result<Request, Refused>, Stop> {
    let Element { readable, writable, .. } = element;
    if readable.bytes() < HEAD_BYTES as u64 || writable.bytes() < TAIL_BYTES {
        return Err(Reason::Request("an IOMMU request without head or tail").into());
    }
    let mut bytes = [0; REQUEST_BYTES_MAX];
    let length = access.gather(Part::Data, readable, 0, &mut bytes)?;
    Ok(Wire(&bytes[..length]).request())
}

/// A request's bytes.
struct Wire<'b>(&'b [u8]);

impl Wire<'_> {
    fn request(&self) -> Result<Request, Refused> {
        // Each type's domain stands right behind the head.
        let domain = || self.u32(4);
        match self.0[0] {
            TYPE_ATTACH if self.u32(12)? != 0 => Err(Refused::Invalid),
            TYPE_ATTACH => Ok(Request::Attach { domain: domain()?, endpoint: self.u32(8)? }),
            TYPE_DETACH => Ok(Request::Detach { domain: domain()?, endpoint: self.u32(8)? }),
            TYPE_MAP => Ok(Request::Map {
                domain: domain()?,
                start: self.u64(8)?,
                end: self.u64(16)?,
                physical: self.u64(24)?,
                flags: self.u32(32)?,
            }),
            TYPE_UNMAP => {
                Ok(Request::Unmap { domain: domain()?, start: self.u64(8)?, end: self.u64(16)? })
            }
            _ => Err(Refused::Unsupported),
        }
    }

    fn u32(&self, at: usize) -> Result<u32, Refused> {
        let bytes = self.0.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map(|bytes| u32::from_le_bytes(*bytes)).ok_or(Refused::Invalid)
    }

    fn u64(&self, at: usize) -> Result<u64, Refused> {
        let bytes = self.0.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map(|bytes| u64::from_le_bytes(*bytes)).ok_or(Refused::Invalid)
    }
}
