//! virtio-balloon (virtio 1.4, 5.5) with its inflate and deflate queues, in the order of QEMU's
//! `hw/virtio/virtio-balloon.c`.
//!
//! A chain holds page numbers in units of 4 KiB, whatever the guest's page size: data, not
//! addresses for the device (facts 5.7). The host acts on those very guest pages, which it finds
//! by their guest-physical addresses.

use super::chain::Element;
use super::reason::Stop;
use super::ring::Step;
use super::transport::Identity;
use crate::event::{Event, Part, QueueIndex};
use crate::iommu::PAGE_BYTES;
use ultravisor_abi::Gpa;

const INFLATE: QueueIndex = QueueIndex(0);
/// Bytes of a page number.
const NUMBER_BYTES: usize = 4;
/// Most page numbers of one chain; Linux puts 256 into one. QEMU has no such limit; what comes
/// after is not looked at.
const CHAIN_NUMBERS_MAX: u64 = 4096;
/// Page numbers after which the device lets others run: it bounds what one step can cost.
const STEP_NUMBERS_MAX: u64 = 4 * CHAIN_NUMBERS_MAX;

/// A balloon. Nobody asks it to grow: the driver inflates and deflates as it likes.
#[derive(Debug, Default)]
pub(super) struct Balloon;

impl Balloon {
    pub fn identity(&self) -> Identity {
        // `actual` is the driver's to write.
        Identity { device_id: 5, features: 0, queues: 2, writable: 4..8 }
    }

    /// `struct virtio_balloon_config`: `num_pages`, `actual`.
    pub fn config(&self) -> Vec<u8> {
        vec![0; 8]
    }

    pub fn service(&mut self, queue: QueueIndex, step: &mut Step<'_, '_>) -> Result<(), Stop> {
        let mut left = STEP_NUMBERS_MAX;
        while let Some(element) = step.pop()? {
            left = left.saturating_sub(take(queue == INFLATE, &element, step)?);
            step.push(&element, 0)?;
            step.notify()?;
            if left == 0 {
                return step.look_again();
            }
        }
        Ok(())
    }
}

/// Takes the pages of one chain, or gives them back, which costs the host nothing. Returns how
/// many numbers there were.
fn take(inflate: bool, element: &Element, step: &Step<'_, '_>) -> Result<u64, Stop> {
    let count = (element.readable.bytes() / NUMBER_BYTES as u64).min(CHAIN_NUMBERS_MAX);
    let mut bytes = vec![0; count as usize * NUMBER_BYTES];
    step.access().gather(Part::Data, &element.readable, 0, &mut bytes)?;
    let (numbers, _) = bytes.as_chunks();
    let (mut pages, mut skipped, mut reclaimed) = (0, 0, 0);
    for number in numbers {
        let page = Gpa(u64::from(u32::from_le_bytes(*number)) * PAGE_BYTES);
        match (step.window().is_ram_page(page), inflate) {
            (false, _) => skipped += 1,
            (true, false) => pages += 1,
            (true, true) => {
                pages += 1;
                reclaimed += step.window().discard(page);
            }
        }
    }
    step.window().works(count);
    let device = step.window().device();
    step.window().log(Event::Balloon { device, inflate, pages, skipped, reclaimed });
    Ok(count)
}
