//! virtio-net (virtio 1.4, 5.1) with one queue pair, in the order of QEMU's `hw/net/virtio-net.c`
//! (`tx=bh`), and the peer at the other end of the wire.

use super::chain::Element;
use super::reason::{Reason, Stop};
use super::ring::Step;
use super::transport::{Identity, VERSION_1};
use crate::event::{DeviceIndex, Event, FRAME_HEAD_BYTES, Part, QueueIndex};
use crate::scenario::plan::Peer;
use std::collections::VecDeque;

/// VIRTIO_NET_F_MAC: the configuration's address holds.
const F_MAC: u64 = 1 << 5;
/// VIRTIO_NET_F_STATUS: the configuration's link status holds.
const F_STATUS: u64 = 1 << 16;

const RECEIVE: QueueIndex = QueueIndex(0);
const TRANSMIT: QueueIndex = QueueIndex(1);
/// Longest frame (QEMU's `NET_BUFSIZE`). A longer one is given back and not sent.
pub const FRAME_BYTES_MAX: usize = 4096 + 65536;
/// Frames sent before QEMU lets others run (`tx_burst`).
const BURST: u32 = 256;
/// Frames that may wait for receive buffers; what comes then is lost.
const BACKLOG_MAX: usize = 256;
/// Frames are kept for the judges up to this many bytes together; later ones count only.
pub const WIRE_BYTES_KEPT_MAX: u64 = 16 << 20;
/// Frames are kept up to this many.
const WIRE_FRAMES_KEPT_MAX: usize = 1 << 18;

/// What went over the wire, as the peer saw it.
#[derive(Clone, Debug, Default)]
pub struct Wire {
    frames: u64,
    bytes: u64,
    lost: u64,
    kept: Vec<Box<[u8]>>,
    hash: blake3::Hasher,
}

impl Wire {
    /// How many frames.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// How many bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Frames that were too long to send, or that came back and found no room.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// The first frames, in order: all, up to [`WIRE_BYTES_KEPT_MAX`] bytes.
    pub fn kept(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.kept.iter().map(|frame| &frame[..])
    }

    /// BLAKE3 over all frames, each as its length (u32, little-endian) and its bytes.
    pub fn hash(&self) -> blake3::Hash {
        self.hash.finalize()
    }

    fn add(&mut self, frame: &[u8]) {
        self.hash.update(&(frame.len() as u32).to_le_bytes());
        self.hash.update(frame);
        // The first frame that finds no room ends the list, so that it has no holes.
        let complete = self.kept.len() as u64 == self.frames;
        self.frames += 1;
        self.bytes += frame.len() as u64;
        if complete && self.bytes <= WIRE_BYTES_KEPT_MAX && self.kept.len() < WIRE_FRAMES_KEPT_MAX {
            self.kept.push(frame.into());
        }
    }
}

/// A network device.
#[derive(Debug)]
pub(super) struct Net {
    peer: Peer,
    mac: [u8; 6],
    sent: Wire,
    /// Frames that came and wait for receive buffers.
    backlog: VecDeque<Box<[u8]>>,
    buffer: Vec<u8>,
}

impl Net {
    /// Device `index` of the machine, with QEMU's default address for it.
    pub fn new(index: DeviceIndex, peer: Peer) -> Self {
        let mac = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56_u8.wrapping_add(index.0)];
        Self { peer, mac, sent: Wire::default(), backlog: VecDeque::new(), buffer: Vec::new() }
    }

    pub fn identity(&self) -> Identity {
        Identity { device_id: 1, features: F_MAC | F_STATUS, queues: 2, writable: 0..0 }
    }

    /// `struct virtio_net_config`: address, then status with the link up.
    pub fn config(&self) -> Vec<u8> {
        let mut config = self.mac.to_vec();
        config.extend_from_slice(&1_u16.to_le_bytes());
        config
    }

    pub fn sent(&self) -> &Wire {
        &self.sent
    }

    /// A reset purges what waits for the driver.
    pub fn reset(&mut self) {
        self.backlog.clear();
    }

    pub fn service(&mut self, queue: QueueIndex, step: &mut Step<'_, '_>) -> Result<(), Stop> {
        if queue == RECEIVE { self.receive(step) } else { self.transmit(step) }
    }

    /// Sends what is there, and once more after notifications are on again, for what came just
    /// before.
    fn transmit(&mut self, step: &mut Step<'_, '_>) -> Result<(), Stop> {
        step.set_notification(false)?;
        if self.flush(step)? >= BURST {
            step.serve_again();
        } else {
            step.set_notification(true)?;
            if self.flush(step)? > 0 {
                step.set_notification(false)?;
                step.serve_again();
            }
        }
        if !self.backlog.is_empty() {
            step.serve_also(RECEIVE);
        }
        Ok(())
    }

    /// Sends frames, a burst at most, and says how many.
    fn flush(&mut self, step: &mut Step<'_, '_>) -> Result<u32, Stop> {
        let mut frames = 0;
        while frames < BURST
            && let Some(element) = step.pop()?
        {
            self.send(step, &element)?;
            step.push(&element, 0)?;
            step.notify()?;
            frames += 1;
        }
        Ok(frames)
    }

    fn send(&mut self, step: &Step<'_, '_>, element: &Element) -> Result<(), Stop> {
        let access = step.access();
        let mut header = [0; 12];
        let header = &mut header[..header_bytes(step)];
        if access.gather(Part::Header, &element.readable, 0, header)? < header.len() {
            return Err(Reason::Request("a frame with a short virtio-net header").into());
        }
        let skip = header.len() as u64;
        let bytes = element.readable.bytes() - skip;
        if bytes > FRAME_BYTES_MAX as u64 {
            self.sent.lost += 1;
            return Ok(());
        }
        self.buffer.resize(bytes as usize, 0);
        access.gather(Part::Data, &element.readable, skip, &mut self.buffer)?;
        self.sent.add(&self.buffer);
        tell(step, TRANSMIT, &self.buffer);
        match self.peer {
            Peer::Sink => {}
            Peer::Echo if self.backlog.len() < BACKLOG_MAX => {
                self.backlog.push_back(self.buffer.as_slice().into());
            }
            Peer::Echo => self.sent.lost += 1,
        }
        Ok(())
    }

    /// Delivers frames as long as there are buffers. Where none waits, the ring is not touched.
    fn receive(&mut self, step: &mut Step<'_, '_>) -> Result<(), Stop> {
        while let Some(frame) = self.backlog.front() {
            if step.is_empty()? {
                step.set_notification(true)?;
                if step.is_empty()? {
                    return Ok(());
                }
            }
            step.set_notification(false)?;
            let Some(element) = step.pop()? else { return Ok(()) };
            if !deliver(step, &element, frame)? {
                self.sent.lost += 1;
            }
            self.backlog.pop_front();
        }
        Ok(())
    }
}

/// Writes down that a frame went over the wire.
fn tell(step: &Step<'_, '_>, queue: QueueIndex, frame: &[u8]) {
    let device = step.window().device();
    let head = frame[..frame.len().min(FRAME_HEAD_BYTES)].to_vec();
    step.window().log(Event::Frame { device, queue, bytes: frame.len() as u64, head });
}

/// Bytes of the header before each frame: `num_buffers` is there since VERSION_1 (a legacy device
/// has it only with MRG_RXBUF, which ours does not offer).
fn header_bytes(step: &Step<'_, '_>) -> usize {
    if step.has(VERSION_1) { 12 } else { 10 }
}

/// Puts one frame into one chain. A chain that is too short is put back into the available ring,
/// partly overwritten, and the frame is lost, as in QEMU without mergeable buffers. Returns whether
/// it was delivered.
fn deliver(step: &mut Step<'_, '_>, element: &Element, frame: &[u8]) -> Result<bool, Stop> {
    if element.writable.is_empty() {
        return Err(Reason::Request("a receive buffer with nothing to write").into());
    }
    let mut header = [0; 12];
    header[10] = 1; // num_buffers
    let header = &header[..header_bytes(step)];
    let access = step.access();
    let mut written = access.scatter(Part::Header, &element.writable, 0, header)?;
    written += access.scatter(Part::Data, &element.writable, header.len() as u64, frame)?;
    if written < header.len() + frame.len() {
        step.unpop();
        return Ok(false);
    }
    tell(step, RECEIVE, frame);
    step.push(element, written as u32)?;
    step.notify()?;
    Ok(true)
}
