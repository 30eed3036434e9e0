//! `perfetto=FILE`: a native trace for Perfetto's viewer, in virtual time.
//!
//! A run is a process; its tracks are the vCPU, the ultravisor, the hypervisor, each device and the
//! pages that are converted most; flows lead from the guest's kick to the touch that it caused, the
//! page-out that this took, and the page-in that followed.

pub mod proto;

use super::pages::Shade;
use super::{sentence, spent};
use crate::cost::CostTable;
use crate::counters::Counter;
use crate::event::{Cause, DeviceIndex, Event, Record};
use crate::saved::{Facts, Head};
use proto::{EventType, TracePacket, Track};
use std::collections::BTreeMap;
use std::io::{self, Write};
use ultravisor::{Effect, PageOp};
use ultravisor_abi::ucall::Caller;

/// Pages that get a track.
const PAGES_MAX: usize = 12;

/// Tracks of one run, counted from its first.
const VCPU: u64 = 1;
const ULTRAVISOR: u64 = 2;
const HYPERVISOR: u64 = 3;
const OUT: u64 = 4;
const REQUESTS: u64 = 5;
const BOUNCES: u64 = 6;
const DEVICES: u64 = 16;
const PAGES: u64 = 512;
/// Track ids of a run.
const TRACKS: u64 = 1024;

/// Writes runs one after the other into one trace.
#[derive(Clone, Copy, Debug, Default)]
pub struct Writer {
    runs: u64,
    flows: u64,
}

impl Writer {
    /// Adds one run.
    ///
    /// # Errors
    /// `out` fails.
    pub fn run(&mut self, out: &mut impl Write, head: &Head, records: &[Record]) -> io::Result<()> {
        self.runs += 1;
        let links = Links::of(records, self.flows);
        self.flows = links.next;
        let facts = &head.facts;
        let mut run = Run {
            out: Packets { out, sequence: self.runs },
            facts,
            table: spent::costs(facts),
            first: self.runs * TRACKS,
            links,
            pages: hottest(records),
            now: BTreeMap::new(),
            counts: [0; 3],
        };
        run.describe(head, self.runs)?;
        for (at, record) in records.iter().enumerate() {
            run.event(record, records.get(at + 1))?;
        }
        run.finish(records.last().map_or(0, |record| record.t_ns))
    }
}

/// The pages that are converted most, with the numbers of their tracks.
fn hottest(records: &[Record]) -> BTreeMap<u64, u64> {
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for record in records {
        if let Event::Page { gfn, op: PageOp::PageOut | PageOp::ShareCommit, .. } = &record.event {
            *counts.entry(*gfn).or_default() += 1;
        }
    }
    let mut pages: Vec<(u64, u64)> = counts.into_iter().collect();
    pages.sort_by_key(|(gfn, count)| (std::cmp::Reverse(*count), *gfn));
    pages.truncate(PAGES_MAX);
    pages.sort_unstable();
    pages.into_iter().zip(PAGES..).map(|((gfn, _), track)| (gfn, track)).collect()
}

/// The flows: which events belong to one round trip.
struct Links {
    /// For an event the flows that go through it, and those that end there.
    at: BTreeMap<u64, (Vec<u64>, Vec<u64>)>,
    next: u64,
}

/// What is known of a unit that is out.
struct Trip {
    kick: Option<u64>,
    touch: Option<u64>,
    out: u64,
}

impl Links {
    fn of(records: &[Record], first: u64) -> Self {
        let mut links = Self { at: BTreeMap::new(), next: first };
        let mut kicks: BTreeMap<DeviceIndex, u64> = BTreeMap::new();
        let mut touches: BTreeMap<u64, u64> = BTreeMap::new();
        let mut out: BTreeMap<u64, Trip> = BTreeMap::new();
        for record in records {
            let seq = record.seq;
            if let Event::Kick { device, .. } = &record.event {
                kicks.insert(*device, seq);
            }
            if let Event::Touch { gfn, .. } = &record.event {
                touches.insert(*gfn, seq);
            }
            let Event::Page { gfn, op, effect, cause, .. } = &record.event else { continue };
            match (op, cause) {
                (PageOp::PageOut, Some(Cause::Touch { device, .. })) => {
                    let kick = device.and_then(|device| kicks.get(&device).copied());
                    let touch = touches.get(gfn).copied();
                    out.insert(*gfn, Trip { kick, touch, out: seq });
                }
                (PageOp::PageIn, _) if *effect == Effect::Unseal => {
                    if let Some(trip) = out.remove(gfn) {
                        links.add(&trip, seq);
                    }
                }
                _ => (),
            }
        }
        links
    }

    fn add(&mut self, trip: &Trip, back: u64) {
        self.next += 1;
        let flow = self.next;
        for seq in [trip.kick, trip.touch, Some(trip.out)].into_iter().flatten() {
            self.at.entry(seq).or_default().0.push(flow);
        }
        self.at.entry(back).or_default().1.push(flow);
    }
}

/// Packets of one sequence.
struct Packets<'w, W> {
    out: &'w mut W,
    sequence: u64,
}

impl<W: Write> Packets<'_, W> {
    fn write(&mut self, mut packet: TracePacket) -> io::Result<()> {
        packet.trusted_packet_sequence_id = u32::try_from(self.sequence).ok();
        self.out.write_all(&proto::framed(packet))
    }
}

struct Run<'a, W> {
    out: Packets<'a, W>,
    facts: &'a Facts,
    table: CostTable,
    first: u64,
    links: Links,
    pages: BTreeMap<u64, u64>,
    /// The state that each page's track shows now.
    now: BTreeMap<u64, Shade>,
    /// Units that are out, requests, bounces.
    counts: [i64; 3],
}

impl<W: Write> Run<'_, W> {
    fn describe(&mut self, head: &Head, run: u64) -> io::Result<()> {
        let pid = i32::try_from(run).unwrap_or(i32::MAX);
        self.out.write(proto::process(self.first, pid, &head.run))?;
        let mut tracks = vec![
            (VCPU, Track::Named("guest vCPU".into())),
            (ULTRAVISOR, Track::Named("ultravisor".into())),
            (HYPERVISOR, Track::Named("hypervisor".into())),
            (OUT, Track::Counter("units that are paged out".into())),
            (REQUESTS, Track::Counter(Counter::Requests.name().into())),
            (BOUNCES, Track::Counter(Counter::BounceCopies.name().into())),
        ];
        for (device, track) in self.facts.devices.iter().take(256).zip(DEVICES..) {
            let name = format!("device {} ({})", device.id, device.kind_word());
            tracks.push((track, Track::Named(name)));
        }
        let pages = self.pages.iter();
        tracks.extend(pages.map(|(gfn, track)| (*track, Track::Named(format!("unit {gfn:#x}")))));
        for (number, track) in tracks {
            self.out.write(proto::track(self.first + number, self.first, track))?;
        }
        Ok(())
    }

    /// One slice with its flows; nested slices there are none.
    fn slice(&mut self, track: u64, record: &Record, ns: u64, name: &str) -> io::Result<()> {
        let track = self.first + track;
        let mut begin = proto::event(track, record.t_ns, EventType::SliceBegin);
        if let Some(event) = &mut begin.track_event {
            event.name = Some(name.to_owned());
            let about = sentence::of(self.facts, &record.event);
            event.debug_annotations =
                vec![proto::number("seq", record.seq), proto::text("what", &about)];
            if let Some((through, ending)) = self.links.at.remove(&record.seq) {
                (event.flow_ids, event.terminating_flow_ids) = (through, ending);
            }
        }
        self.out.write(begin)?;
        let end = record.t_ns.saturating_add(ns);
        self.out.write(proto::event(track, end, EventType::SliceEnd))
    }

    fn instant(&mut self, track: u64, record: &Record, name: &str) -> io::Result<()> {
        let mut packet = proto::event(self.first + track, record.t_ns, EventType::Instant);
        if let Some(event) = &mut packet.track_event {
            event.name = Some(name.to_owned());
            event.debug_annotations = vec![proto::number("seq", record.seq)];
        }
        self.out.write(packet)
    }

    fn count(&mut self, track: u64, t_ns: u64, by: i64) -> io::Result<()> {
        let at = usize::try_from(track - OUT).unwrap_or(0);
        self.counts[at] += by;
        let mut packet = proto::event(self.first + track, t_ns, EventType::Counter);
        if let Some(event) = &mut packet.track_event {
            event.counter_value = Some(self.counts[at]);
        }
        self.out.write(packet)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "what has no place in time is left out")]
    fn event(&mut self, record: &Record, next: Option<&Record>) -> io::Result<()> {
        let takes = self.table.of(&record.event, self.facts.machine.unit);
        match &record.event {
            Event::Exit { reason } if takes > 0 => {
                self.slice(VCPU, record, takes, &format!("exit: {reason:?}"))
            }
            Event::Wait { .. } => self.slice(VCPU, record, takes, "wait"),
            Event::Woken { .. } => self.slice(VCPU, record, takes, "wake-up"),
            Event::Kick { device, .. } => {
                let name = format!("kick {}", sentence::device(self.facts, Some(*device)));
                self.slice(VCPU, record, 0, &name)
            }
            Event::Bounce { back, .. } => {
                let until = next.map_or(record.t_ns, |next| next.t_ns);
                let name = if *back { "bounce back" } else { "bounce out" };
                self.slice(VCPU, record, until - record.t_ns, name)?;
                self.count(BOUNCES, record.t_ns, 1)
            }
            Event::Mark { .. }
            | Event::Report { .. }
            | Event::Leak { .. }
            | Event::Taken { .. } => {
                let name = sentence::of(self.facts, &record.event);
                self.instant(VCPU, record, &name)
            }
            Event::UvCall { call, caller, .. } => match caller {
                Caller::NormalGuest | Caller::SecureGuest => {
                    self.slice(ULTRAVISOR, record, takes, call.name())
                }
                Caller::Hypervisor => Ok(()),
            },
            Event::Tampered { .. } => self.slice(ULTRAVISOR, record, takes, "verification fails"),
            Event::Page { .. } => self.page(record, takes),
            Event::HvCall { call, .. } => self.instant(HYPERVISOR, record, call.name()),
            Event::Touch { device, .. } => self.touch(record, next, *device),
            Event::Completed { device, data, .. } => {
                let track = DEVICES + u64::from(device.0);
                self.instant(track, record, "chain given back")?;
                self.count(REQUESTS, record.t_ns, i64::from(*data))
            }
            Event::Broken { device, .. } => {
                self.instant(DEVICES + u64::from(device.0), record, "gives up its ring")
            }
            _ => Ok(()),
        }
    }

    /// A touch lasts as long as the page-out that it takes.
    fn touch(
        &mut self,
        record: &Record,
        next: Option<&Record>,
        device: Option<DeviceIndex>,
    ) -> io::Result<()> {
        let Event::Touch { part, direction, .. } = &record.event else { return Ok(()) };
        let takes = match next.map(|next| &next.event) {
            Some(event @ Event::Page { op: PageOp::PageOut, .. }) => {
                self.table.of(event, self.facts.machine.unit)
            }
            Some(_) | None => 0,
        };
        let track = device.map_or(HYPERVISOR, |device| DEVICES + u64::from(device.0));
        self.slice(track, record, takes, &format!("{} {}", direction.doing(), part.name()))
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the other rows move no unit out or in")]
    fn page(&mut self, record: &Record, takes: u64) -> io::Result<()> {
        let Event::Page { gfn, op, to, effect, .. } = &record.event else { return Ok(()) };
        if takes > 0 || self.links.at.contains_key(&record.seq) {
            self.slice(ULTRAVISOR, record, takes, &format!("{} {gfn:#x}", op.name()))?;
        }
        match op {
            PageOp::PageOut => self.count(OUT, record.t_ns, 1)?,
            PageOp::PageIn if *effect == Effect::Unseal => self.count(OUT, record.t_ns, -1)?,
            _ => (),
        }
        let Some(track) = self.pages.get(gfn).copied() else { return Ok(()) };
        let shade = Shade::of(*to);
        if self.now.get(&track) != Some(&shade) {
            if self.now.insert(track, shade).is_some() {
                self.out.write(proto::event(
                    self.first + track,
                    record.t_ns,
                    EventType::SliceEnd,
                ))?;
            }
            let mut begin = proto::event(self.first + track, record.t_ns, EventType::SliceBegin);
            if let Some(event) = &mut begin.track_event {
                event.name = Some(shade.name().to_owned());
            }
            self.out.write(begin)?;
        }
        Ok(())
    }

    /// What pages are in at the end they are in until the end.
    fn finish(mut self, end_ns: u64) -> io::Result<()> {
        for track in std::mem::take(&mut self.now).into_keys() {
            self.out.write(proto::event(self.first + track, end_ns, EventType::SliceEnd))?;
        }
        Ok(())
    }
}
