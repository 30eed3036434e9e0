//! virtio-rng (virtio 1.4, 5.4), in the order of QEMU's `hw/virtio/virtio-rng.c`: it first walks
//! all chains to see how much is wanted, asks its backend, then takes and fills them.

use super::reason::Stop;
use super::ring::Step;
use super::transport::Identity;
use crate::event::{DeviceIndex, Part, QueueIndex};

/// Most bytes of one step. QEMU has no such limit; used buffers may be short (virtio 1.4, 5.4.6.2).
const STEP_BYTES_MAX: u64 = 1 << 20;

/// A source of bytes that are random for the guest and the same in each run with the same seed.
#[derive(Debug)]
pub(super) struct Entropy {
    source: blake3::OutputReader,
}

impl Entropy {
    /// The source of device `index` in a run with `seed`.
    pub fn new(index: DeviceIndex, seed: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("uvsim virtio-rng 1");
        hasher.update(&seed.to_le_bytes()).update(&[index.0]);
        Self { source: hasher.finalize_xof() }
    }

    pub fn identity(&self) -> Identity {
        Identity { device_id: 4, features: 0, queues: 1, writable: 0..0 }
    }

    pub fn config(&self) -> Vec<u8> {
        Vec::new()
    }

    pub fn service(&mut self, _: QueueIndex, step: &mut Step<'_, '_>) -> Result<(), Stop> {
        let mut wanted = step.writable_bytes()?.min(STEP_BYTES_MAX);
        if wanted == 0 {
            return Ok(());
        }
        while wanted > 0
            && let Some(element) = step.pop()?
        {
            let count = element.writable.bytes().min(wanted);
            let mut bytes = vec![0; count as usize];
            self.source.fill(&mut bytes);
            step.access().scatter(Part::Data, &element.writable, 0, &bytes)?;
            wanted -= count;
            step.push(&element, count as u32)?;
        }
        step.notify()?;
        step.look_again()
    }
}
