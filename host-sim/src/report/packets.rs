//! `pcapng=FILE`: virtio-net's frames, in virtual time, an interface for each queue.
//!
//! A run is a section. A frame has a comment that says where it was on its way: which chain, which
//! swiotlb slot its bytes were bounced by, how many pages went out for it.

use super::sentence;
use crate::escape;
use crate::event::{Cause, DeviceIndex, Event, FRAME_HEAD_BYTES, Part, QueueIndex, Record};
use crate::saved::{Facts, Head};
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::{Block, PcapNgBlock, PcapNgWriter};
use pcap_file::{DataLink, Endianness, PcapError};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;
use ultravisor::PageOp;

/// The queue by which the guest sends.
const SENT: QueueIndex = QueueIndex(1);

/// `if_tsresol`: times are in units of 10^-9 s.
const NANOSECONDS: u8 = 9;

/// What happened for a queue since its last frame.
#[derive(Clone, Debug, Default)]
struct Since {
    page_outs: u64,
    pages: Vec<u64>,
    /// Where its data was touched first.
    data: Option<(u64, u64)>,
}

/// Writes one run as a section: its interfaces, then its frames.
///
/// # Errors
/// `out` fails.
pub fn write_run(out: &mut impl Write, head: &Head, records: &[Record]) -> io::Result<()> {
    let mut buffer = Vec::new();
    let mut section = Section::start(&mut buffer, head).map_err(as_io)?;
    let mut since: BTreeMap<(DeviceIndex, QueueIndex), Since> = BTreeMap::new();
    let mut slots = Slots::default();
    for record in records {
        slots.see(&record.event);
        if let Event::Frame { device, queue, bytes, head: first } = &record.event {
            let since = since.remove(&(*device, *queue)).unwrap_or_default();
            let comment = slots.comment(record.seq, *queue, &since);
            let frame = Frame { at: record.t_ns, bytes: *bytes, first, comment };
            section.frame((*device, *queue), frame).map_err(as_io)?;
        } else {
            note(&record.event, &mut since);
        }
    }
    out.write_all(&buffer)
}

fn as_io(error: PcapError) -> io::Error {
    if let PcapError::IoError(error) = error { error } else { io::Error::other(error.to_string()) }
}

/// Follows what a queue does to pages.
#[expect(clippy::wildcard_enum_match_arm, reason = "no other event is about a queue's pages")]
fn note(event: &Event, since: &mut BTreeMap<(DeviceIndex, QueueIndex), Since>) {
    match event {
        Event::Touch { device: Some(device), queue: Some(queue), gpa, gfn, part, .. } => {
            let here = since.entry((*device, *queue)).or_default();
            if *part == Part::Data {
                here.data.get_or_insert((*gpa, *gfn));
            }
        }
        Event::Page {
            gfn,
            op: PageOp::PageOut,
            cause: Some(Cause::Touch { device: Some(device), queue: Some(queue), .. }),
            ..
        } => {
            let here = since.entry((*device, *queue)).or_default();
            here.page_outs += 1;
            // The first few tell enough.
            if here.pages.len() < 4 && !here.pages.contains(gfn) {
                here.pages.push(*gfn);
            }
        }
        _ => (),
    }
}

/// What was copied into which slot last.
#[derive(Debug, Default)]
struct Slots {
    /// By the slot's address: the original, and how much.
    filled: BTreeMap<u64, (u64, u64)>,
}

impl Slots {
    fn see(&mut self, event: &Event) {
        if let Event::Bounce { slot, original, bytes, back: false } = event {
            self.filled.insert(*slot, (*original, *bytes));
        }
    }

    /// The slot that holds `gpa`, and the buffer that it stands for.
    fn of(&self, gpa: u64) -> Option<(u64, u64)> {
        let (slot, (original, bytes)) = self.filled.range(..=gpa).next_back()?;
        (gpa - slot < *bytes).then_some((*slot, *original))
    }

    fn comment(&self, seq: u64, queue: QueueIndex, since: &Since) -> String {
        let mut text = format!("event {seq}");
        if let Some((gpa, gfn)) = since.data {
            match self.of(gpa).filter(|_| queue == SENT) {
                Some((slot, original)) => {
                    text.push_str(&format!("; bounced by slot {slot:#x} from {original:#x}"));
                }
                None => text.push_str(&format!("; data at {gpa:#x}")),
            }
            text.push_str(&format!(", unit {gfn:#x}"));
        }
        match since.page_outs {
            0 => text.push_str("; no page-out"),
            1 => text.push_str("; 1 page-out"),
            many => text.push_str(&format!("; {many} page-outs")),
        }
        if !since.pages.is_empty() {
            let units: Vec<String> = since.pages.iter().map(|gfn| format!("{gfn:#x}")).collect();
            text.push_str(&format!(" (units {})", units.join(", ")));
        }
        text
    }
}

/// One frame with what is said of it.
struct Frame<'a> {
    at: u64,
    bytes: u64,
    first: &'a [u8],
    comment: String,
}

/// A section being written.
struct Section<'a> {
    writer: PcapNgWriter<&'a mut Vec<u8>>,
    interfaces: BTreeMap<(DeviceIndex, QueueIndex), u32>,
}

impl<'a> Section<'a> {
    fn start(buffer: &'a mut Vec<u8>, head: &Head) -> Result<Self, PcapError> {
        let header = SectionHeaderBlock {
            endianness: Endianness::Little,
            major_version: 1,
            minor_version: 0,
            section_length: -1,
            options: vec![
                SectionHeaderOption::Comment(Cow::from(format!("run {}", short(&head.run)))),
                SectionHeaderOption::UserApplication(Cow::from("uvsim")),
            ],
        };
        let mut writer = PcapNgWriter::with_section_header(buffer, header)?;
        let mut interfaces = BTreeMap::new();
        for (index, queue, name) in queues(&head.facts) {
            let description = InterfaceDescriptionBlock {
                linktype: DataLink::ETHERNET,
                snaplen: FRAME_HEAD_BYTES as u32,
                options: vec![
                    InterfaceDescriptionOption::IfName(Cow::from(name)),
                    InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
                ],
            };
            writer.write_block(&description.into_block())?;
            interfaces.insert((index, queue), interfaces.len() as u32);
        }
        Ok(Self { writer, interfaces })
    }

    fn frame(
        &mut self,
        from: (DeviceIndex, QueueIndex),
        frame: Frame<'_>,
    ) -> Result<(), PcapError> {
        // A frame of a device that the plan does not have is no frame.
        let Some(interface_id) = self.interfaces.get(&from).copied() else { return Ok(()) };
        let packet = EnhancedPacketBlock {
            interface_id,
            timestamp: Duration::from_nanos(frame.at),
            original_len: u32::try_from(frame.bytes).unwrap_or(u32::MAX),
            data: Cow::Borrowed(frame.first),
            options: vec![EnhancedPacketOption::Comment(Cow::from(frame.comment))],
        };
        self.writer.write_block(&Block::EnhancedPacket(packet))?;
        Ok(())
    }
}

/// An option has at most 65,535 bytes; a name of ours has far fewer.
fn short(text: &str) -> String {
    escape::terminal_cut(text, 1000)
}

/// The queues that carry frames, with their names.
fn queues(facts: &Facts) -> Vec<(DeviceIndex, QueueIndex, String)> {
    let mut queues = Vec::new();
    for (device, index) in facts.devices.iter().zip(0_u8..) {
        if device.kind_word() == "net" {
            let index = DeviceIndex(index);
            let id = short(sentence::device(facts, Some(index)));
            queues.push((index, QueueIndex(0), format!("{id} queue 0 (the guest receives)")));
            queues.push((index, QueueIndex(1), format!("{id} queue 1 (the guest sends)")));
        }
    }
    queues
}
