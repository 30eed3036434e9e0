//! The messages of Perfetto's trace format that are written here, with their field numbers
//! (`protos/perfetto/trace/trace.proto`, `trace_packet.proto`, `track_event/track_event.proto`,
//! `track_descriptor.proto`, `process_descriptor.proto`, `counter_descriptor.proto` and
//! `debug_annotation.proto` of the Perfetto repository).

use crate::escape;
use prost::Message;

/// `Trace`.
#[derive(Clone, PartialEq, Message)]
pub struct Trace {
    /// The packets.
    #[prost(message, repeated, tag = "1")]
    pub packet: Vec<TracePacket>,
}

/// `TracePacket`.
#[derive(Clone, PartialEq, Message)]
pub struct TracePacket {
    /// Nanoseconds; here of virtual time.
    #[prost(uint64, optional, tag = "8")]
    pub timestamp: Option<u64>,
    /// Packets of one sequence stand in order.
    #[prost(uint32, optional, tag = "10")]
    pub trusted_packet_sequence_id: Option<u32>,
    /// An event.
    #[prost(message, optional, tag = "11")]
    pub track_event: Option<TrackEvent>,
    /// A track.
    #[prost(message, optional, tag = "60")]
    pub track_descriptor: Option<TrackDescriptor>,
}

/// `TrackEvent`.
#[derive(Clone, PartialEq, Message)]
pub struct TrackEvent {
    /// What is shown of it beside its name.
    #[prost(message, repeated, tag = "4")]
    pub debug_annotations: Vec<DebugAnnotation>,
    /// [`EventType`].
    #[prost(enumeration = "EventType", optional, tag = "9")]
    pub r#type: Option<i32>,
    /// Where it is shown.
    #[prost(uint64, optional, tag = "11")]
    pub track_uuid: Option<u64>,
    /// Its name.
    #[prost(string, optional, tag = "23")]
    pub name: Option<String>,
    /// A counter's value.
    #[prost(int64, optional, tag = "30")]
    pub counter_value: Option<i64>,
    /// Flows that go through it.
    #[prost(fixed64, repeated, packed = "false", tag = "47")]
    pub flow_ids: Vec<u64>,
    /// Flows that end there.
    #[prost(fixed64, repeated, packed = "false", tag = "48")]
    pub terminating_flow_ids: Vec<u64>,
}

/// `TrackEvent.Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum EventType {
    /// `TYPE_UNSPECIFIED`.
    Unspecified = 0,
    /// `TYPE_SLICE_BEGIN`.
    SliceBegin = 1,
    /// `TYPE_SLICE_END`.
    SliceEnd = 2,
    /// `TYPE_INSTANT`.
    Instant = 3,
    /// `TYPE_COUNTER`.
    Counter = 4,
}

/// `TrackDescriptor`.
#[derive(Clone, PartialEq, Message)]
pub struct TrackDescriptor {
    /// Its id.
    #[prost(uint64, optional, tag = "1")]
    pub uuid: Option<u64>,
    /// Its name.
    #[prost(string, optional, tag = "2")]
    pub name: Option<String>,
    /// It is a process.
    #[prost(message, optional, tag = "3")]
    pub process: Option<ProcessDescriptor>,
    /// The track that it is under.
    #[prost(uint64, optional, tag = "5")]
    pub parent_uuid: Option<u64>,
    /// It is a counter.
    #[prost(message, optional, tag = "8")]
    pub counter: Option<CounterDescriptor>,
}

/// `ProcessDescriptor`.
#[derive(Clone, PartialEq, Message)]
pub struct ProcessDescriptor {
    /// Its number.
    #[prost(int32, optional, tag = "1")]
    pub pid: Option<i32>,
    /// Its name.
    #[prost(string, optional, tag = "6")]
    pub process_name: Option<String>,
}

/// `CounterDescriptor`: that it is there says enough.
#[derive(Clone, PartialEq, Message)]
pub struct CounterDescriptor {}

/// `DebugAnnotation`.
#[derive(Clone, PartialEq, Message)]
pub struct DebugAnnotation {
    /// `uint_value`.
    #[prost(uint64, optional, tag = "3")]
    pub uint_value: Option<u64>,
    /// `string_value`.
    #[prost(string, optional, tag = "6")]
    pub string_value: Option<String>,
    /// Its name.
    #[prost(string, optional, tag = "10")]
    pub name: Option<String>,
}

/// What a track is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Track {
    /// A track of slices.
    Named(String),
    /// A counter's.
    Counter(String),
}

/// The packet that describes a process.
pub fn process(uuid: u64, pid: i32, name: &str) -> TracePacket {
    let process = ProcessDescriptor { pid: Some(pid), process_name: Some(name.to_owned()) };
    descriptor(TrackDescriptor { uuid: Some(uuid), process: Some(process), ..Default::default() })
}

/// The packet that describes a track below `parent`.
pub fn track(uuid: u64, parent: u64, track: Track) -> TracePacket {
    let (name, counter) = match track {
        Track::Named(name) => (name, None),
        Track::Counter(name) => (name, Some(CounterDescriptor {})),
    };
    let (uuid, parent_uuid) = (Some(uuid), Some(parent));
    descriptor(TrackDescriptor { uuid, name: Some(name), parent_uuid, counter, process: None })
}

fn descriptor(track: TrackDescriptor) -> TracePacket {
    TracePacket { track_descriptor: Some(track), ..Default::default() }
}

/// The packet of an event, which can be added to.
pub fn event(track: u64, t_ns: u64, kind: EventType) -> TracePacket {
    let event =
        TrackEvent { r#type: Some(kind.into()), track_uuid: Some(track), ..Default::default() };
    TracePacket { timestamp: Some(t_ns), track_event: Some(event), ..Default::default() }
}

/// An annotation with a number.
pub fn number(name: &str, value: u64) -> DebugAnnotation {
    DebugAnnotation { name: Some(name.to_owned()), uint_value: Some(value), string_value: None }
}

/// An annotation with a text.
pub fn text(name: &str, value: &str) -> DebugAnnotation {
    let string_value = Some(value.to_owned());
    DebugAnnotation { name: Some(name.to_owned()), uint_value: None, string_value }
}

/// A packet as a trace of its own: traces one after the other are one trace. Its texts are made
/// inert here: what reads traces writes them to pages and terminals.
pub fn framed(mut packet: TracePacket) -> Vec<u8> {
    texts(&mut packet).for_each(|text| *text = escape::terminal_cut(text, TEXT_CHARS_MAX));
    Trace { packet: vec![packet] }.encode_to_vec()
}

/// Longest text of a trace, in characters.
const TEXT_CHARS_MAX: usize = 1000;

/// All texts of a packet.
pub fn texts(packet: &mut TracePacket) -> impl Iterator<Item = &mut String> {
    let TracePacket { track_event, track_descriptor, .. } = packet;
    let of_event = track_event.iter_mut().flat_map(|event| {
        let annotations = event.debug_annotations.iter_mut();
        let annotations =
            annotations.flat_map(|one| [one.name.as_mut(), one.string_value.as_mut()]);
        [event.name.as_mut()].into_iter().chain(annotations)
    });
    let of_track =
        track_descriptor.iter_mut().flat_map(|TrackDescriptor { name, process, .. }| {
            let process = process.as_mut().and_then(|process| process.process_name.as_mut());
            [name.as_mut(), process]
        });
    of_event.chain(of_track).flatten()
}
