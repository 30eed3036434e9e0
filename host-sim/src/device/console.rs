//! virtio-console (virtio 1.4, 5.3) with one port, in the order of QEMU's
//! `hw/char/virtio-serial-bus.c`: no notification suppression, one interrupt after all chains.
//!
//! It is QEMU's device with `max_ports=1` and without emergency write. Nobody types, so receive
//! buffers are never taken.

use super::reason::Stop;
use super::ring::Step;
use super::transport::Identity;
use crate::event::{Event, Part, QueueIndex};

const TRANSMIT: QueueIndex = QueueIndex(1);

/// A console.
#[derive(Debug, Default)]
pub(super) struct Console {
    text: Vec<u8>,
    dropped: u64,
}

impl Console {
    pub fn identity(&self) -> Identity {
        Identity { device_id: 3, features: 0, queues: 2, writable: 0..0 }
    }

    /// `struct virtio_console_config`: columns and rows are not told, one port.
    pub fn config(&self) -> Vec<u8> {
        let mut config = vec![0; 12];
        config[4..8].copy_from_slice(&1_u32.to_le_bytes());
        config
    }

    /// What was printed, raw, as far as the run's limit went.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// How many bytes came after that and were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    pub fn service(&mut self, queue: QueueIndex, step: &mut Step<'_, '_>) -> Result<(), Stop> {
        if queue != TRANSMIT {
            return Ok(());
        }
        while let Some(element) = step.pop()? {
            let bytes = element.readable.bytes();
            // What finds no room any more is not read either, so a chain's length costs nothing.
            let kept = step.window().take_console(bytes);
            let mut text = vec![0; kept as usize];
            step.access().gather(Part::Data, &element.readable, 0, &mut text)?;
            self.text.extend_from_slice(&text);
            self.dropped += bytes - kept;
            if !text.is_empty() {
                let device = Some(step.window().device());
                step.window().log(Event::Console { device, bytes: text });
            }
            step.push(&element, 0)?;
        }
        step.notify()
    }
}
