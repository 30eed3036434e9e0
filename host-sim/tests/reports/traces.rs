//! The trace and the packets, read back by somebody else's code.

use super::pages::recorded;
use host_sim::counters::{Counter, Phase};
use host_sim::event::{Event, FRAME_HEAD_BYTES};
use host_sim::report::packets;
use host_sim::report::trace::Writer;
use host_sim::report::trace::proto::{EventType, Trace, TrackEvent};
use host_sim::saved::Saved;
use pcap_file::pcapng::{Block, PcapNgReader};
use prost::Message;
use std::collections::BTreeMap;
use std::process::Command;

fn decoded(runs: &[&Saved]) -> Trace {
    let (mut writer, mut file) = (Writer::default(), Vec::new());
    for run in runs {
        writer.run(&mut file, &run.head, &run.records).expect("a Vec");
    }
    Trace::decode(&file[..]).expect("it is a trace")
}

fn events(trace: &Trace) -> Vec<(u64, &TrackEvent)> {
    let of =
        |packet: &'_ host_sim::report::trace::proto::TracePacket| packet.timestamp.unwrap_or(0);
    trace
        .packet
        .iter()
        .filter_map(|packet| Some((of(packet), packet.track_event.as_ref()?)))
        .collect()
}

#[test]
fn every_slice_of_a_trace_begins_and_ends_on_a_track_that_is_described() {
    let ping_pong = recorded("basics/04-unsealed-legacy.ron");
    let mixed = recorded("basics/06-mixed-swiotlb.ron");
    let trace = decoded(&[&ping_pong, &mixed]);
    let described: BTreeMap<u64, &str> = trace
        .packet
        .iter()
        .filter_map(|packet| packet.track_descriptor.as_ref())
        .filter_map(|track| Some((track.uuid?, track.name.as_deref().unwrap_or("process"))))
        .collect();
    let mut open: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut slices = 0;
    for (t, event) in events(&trace) {
        let track = event.track_uuid.expect("each event has a track");
        assert!(described.contains_key(&track), "track {track} is not described");
        match event.r#type() {
            EventType::SliceBegin => open.entry(track).or_default().push(t),
            EventType::SliceEnd => {
                let begin = open.entry(track).or_default().pop().expect("it has begun");
                assert!(begin <= t, "{}: {begin} to {t}", described[&track]);
                slices += 1;
            }
            EventType::Counter => assert!(event.counter_value.is_some()),
            EventType::Instant => assert!(event.name.is_some()),
            EventType::Unspecified => panic!("an event of no kind"),
        }
    }
    assert!(open.values().all(Vec::is_empty), "{open:?}");
    assert!(slices > 1000, "{slices}");
    let names: Vec<&str> = described.values().copied().collect();
    for name in ["guest vCPU", "ultravisor", "hypervisor", "device disk (blk)", "unit 0x13"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
}

#[test]
fn slices_of_one_track_never_overlap() {
    for scenario in ["basics/04-unsealed-legacy.ron", "basics/10-touch-by-touch.ron"] {
        let trace = decoded(&[&recorded(scenario)]);
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        for (t, event) in events(&trace) {
            let kind = event.r#type();
            if kind == EventType::SliceBegin || kind == EventType::SliceEnd {
                let last = last.entry(event.track_uuid.expect("it has one")).or_default();
                assert!(*last <= t, "{scenario}: {event:?} at {t}, after {last}");
                *last = t;
            }
        }
    }
}

#[test]
fn each_round_trip_is_a_flow_from_kick_to_touch_to_page_out_to_page_in() {
    let run = recorded("basics/04-unsealed-legacy.ron");
    let trips = run.head.counters(&run.records).sum(Counter::RoundTrips, &Phase::ALL);
    assert!(trips > 100, "{trips}");
    let trace = decoded(&[&run]);
    let mut flows: BTreeMap<u64, Vec<(u64, String)>> = BTreeMap::new();
    for (t, event) in events(&trace) {
        for flow in event.flow_ids.iter().chain(&event.terminating_flow_ids) {
            let name = event.name.clone().unwrap_or_default();
            flows.entry(*flow).or_default().push((t, name));
        }
    }
    assert_eq!(flows.len() as u64, trips);
    for (flow, steps) in flows {
        assert!(steps.is_sorted_by_key(|(t, _)| *t), "{flow}: {steps:?}");
        let heads: Vec<&str> =
            steps.iter().map(|(_, name)| name.split(' ').next().unwrap_or_default()).collect();
        assert_eq!(heads.len(), 4, "{flow}: {steps:?}");
        assert_eq!(heads[0], "kick", "{flow}: {steps:?}");
        assert!(["reading", "writing"].contains(&heads[1]), "{flow}: {steps:?}");
        assert_eq!(heads[2..], ["page_out", "page_in"], "{flow}: {steps:?}");
    }
}

/// The frames of a run, as its log has them.
fn frames(run: &Saved) -> Vec<(u64, u64, Vec<u8>)> {
    let mut frames = Vec::new();
    for record in &run.records {
        if let Event::Frame { bytes, head, .. } = &record.event {
            frames.push((record.t_ns, *bytes, head.clone()));
        }
    }
    frames
}

#[test]
fn each_frame_of_a_run_is_a_packet_with_its_time_length_and_a_comment() {
    let run = recorded("basics/06-mixed-swiotlb.ron");
    let wanted = frames(&run);
    assert!(!wanted.is_empty());
    let mut file = Vec::new();
    packets::write_run(&mut file, &run.head, &run.records).expect("a Vec");
    let mut reader = PcapNgReader::new(&file[..]).expect("a section");
    let (mut found, mut interfaces) = (Vec::new(), 0);
    while let Some(block) = reader.next_block() {
        let block = block.expect("a block");
        interfaces += u32::from(matches!(block, Block::InterfaceDescription(_)));
        if let Block::EnhancedPacket(packet) = block {
            assert!(packet.data.len() <= FRAME_HEAD_BYTES);
            let comments = format!("{:?}", packet.options);
            assert!(comments.contains("; no page-out"), "{comments}");
            assert!(["slot 0x", "data at 0x"].iter().any(|word| comments.contains(word)));
            let at = u64::try_from(packet.timestamp.as_nanos()).expect("it fits");
            found.push((at, u64::from(packet.original_len), packet.data.to_vec()));
        }
    }
    assert_eq!(interfaces, 2);
    assert_eq!(found, wanted);
}

#[test]
fn tshark_reads_the_packets() {
    if Command::new("tshark").arg("--version").output().is_err() {
        super::browser::skipped("there is no tshark on this machine, so it read no packets");
        return;
    }
    let run = recorded("basics/06-mixed-swiotlb.ron");
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let path = folder.path().join("frames.pcapng");
    let mut file = Vec::new();
    // Two runs are two sections.
    for _ in 0..2 {
        packets::write_run(&mut file, &run.head, &run.records).expect("a Vec");
    }
    std::fs::write(&path, file).expect("it can be written");
    let fields = ["frame.time_epoch", "frame.len", "frame.comment", "frame.interface_name"];
    let mut command = Command::new("tshark");
    command.arg("-r").arg(&path).args(["-T", "fields"]);
    fields.iter().for_each(|field| {
        command.args(["-e", field]);
    });
    let ran = command.output().expect("tshark starts");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let wanted = frames(&run);
    assert_eq!(lines.len(), 2 * wanted.len(), "{text}");
    for (line, (t, bytes, _)) in lines.iter().zip(wanted.iter().chain(&wanted)) {
        let cells: Vec<&str> = line.split('\t').collect();
        let nanoseconds: u64 = cells[0].replace('.', "").parse().expect("seconds with nine digits");
        assert_eq!((nanoseconds, cells[1]), (*t, bytes.to_string().as_str()), "{line}");
        assert!(cells[2].contains("no page-out") && cells[3].contains("queue"), "{line}");
    }
}
