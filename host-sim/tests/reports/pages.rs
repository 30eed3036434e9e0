//! The page, the trace and the packets: whole, inert and within their bounds.

use super::browser::uvsim;
use super::rows::HOSTILE;
use host_sim::escape;
use host_sim::event::{
    CallFrame, Cause, Chain, DeviceIndex, Direction, Event, Part, QueueIndex, Record, Seen, WaitBy,
};
use host_sim::image::{Place, PlaceKind};
use host_sim::report::digest::{Digest, Gathered};
use host_sim::report::html::{self, BYTES_MAX, Judgement, Page, Run};
use host_sim::report::packets;
use host_sim::report::trace::Writer;
use host_sim::saved::{Head, Reader, Saved, Source};
use host_sim::scenario::select;
use std::path::Path;
use ultravisor::{Effect, PageOp, PageState};

/// The first run of a shipped scenario, as a saved log has it.
pub fn recorded(scenario: &str) -> Saved {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(scenario);
    let selection = select::select(&[path], 1);
    let selection = selection.unwrap_or_else(|faults| panic!("{}", faults[0].message));
    let plan = &selection.runs[0].plan;
    let log = host_sim::run::run(plan).expect("it can start");
    let mut file = Vec::new();
    let written =
        host_sim::output::events::write_run(&mut file, &Source::default(), (plan, &log), &[]);
    written.expect("a Vec");
    Reader::new(&file[..], "e")
        .next()
        .expect("a run")
        .unwrap_or_else(|fault| panic!("{}", fault.message))
}

fn render(digests: Vec<Digest>, said: &str) -> String {
    let run = |digest| Run { digest, judgement: Judgement::default() };
    let runs = digests.into_iter().map(run).collect();
    let (command, data) = (said.to_owned(), said.to_owned());
    html::render(&Page { runs, command, conclusion: Some(said.to_owned()), data })
}

/// A run in whose file every text is `text`.
pub fn carrying(saved: &Saved, text: &str) -> Saved {
    let Saved { head, mut records } = saved.clone();
    let text = text.to_owned();
    for record in &mut records {
        let (Event::Touch { chain: Some(chain), .. } | Event::Kick { chain, .. }) =
            &mut record.event
        else {
            continue;
        };
        *chain = Chain::from([CallFrame { pc: 0x10_0000, function: text.clone() }].as_slice());
    }
    let mut facts = head.facts.clone();
    for field in [&mut facts.about, &mut facts.scenario, &mut facts.devices[0].id] {
        field.clone_from(&text);
    }
    facts.design = Some(text.clone());
    let inputs = [(text.clone(), text.clone())].into();
    let source = Source { repeat: text.clone(), inputs, tool_version: text.clone() };
    let plan = serde_json::json!({ "about": text });
    let place = Place { gpa: 0, bytes: u64::MAX, holds: PlaceKind::Object, name: text.clone() };
    let (places, hash) = (vec![place], text.clone());
    let head = Head { run: text.clone(), source, facts, places, plan, hash, ..head };
    Saved { head, records }
}

/// A page on which every text that a file can hold is `text`.
pub fn saying(saved: &Saved, text: &str) -> String {
    let Saved { head, records } = carrying(saved, text);
    let digests = vec![Digest::of(head.clone(), &records, None), Digest::of(head, &records, None)];
    render(digests, text)
}

/// The run of whose log [`saying`] makes pages.
pub fn ping_pong() -> Saved {
    recorded("basics/04-unsealed-legacy.ron")
}

#[test]
fn a_page_is_called_after_what_the_image_has_there() {
    let Saved { mut head, records } = recorded("basics/04-unsealed-legacy.ron");
    let labels = |head: &Head| -> Vec<String> {
        let digest = Digest::of(head.clone(), &records, None);
        let pages = digest.pics.expect("one run has room").pages;
        pages.rows.iter().map(|row| row.page.label()).collect()
    };
    let before = labels(&head);
    let text = before.iter().find(|label| label.contains("code that kicks")).expect("it kicks");
    assert!(text.contains(".text"), "{text}");
    assert!(!before.iter().any(|label| label.contains("RINGS")));
    let ring = |event: &Event| {
        if let Event::Touch { part: Part::Avail, gfn, .. } = event { Some(*gfn) } else { None }
    };
    let gfn = records.iter().find_map(|record| ring(&record.event)).expect("a ring is read");
    let gpa = (gfn + 1) * head.facts.machine.unit.bytes() - 1;
    head.places.push(Place { gpa, bytes: 100, holds: PlaceKind::Object, name: "RINGS".to_owned() });
    let named: Vec<String> =
        labels(&head).into_iter().filter(|label| label.contains("RINGS")).collect();
    assert_eq!(named.len(), 1, "its neighbour was not touched");
    assert!(named[0].contains(" avail") && named[0].ends_with(", RINGS"), "{named:?}");
}

#[test]
fn no_text_of_a_file_becomes_markup_or_moves_anything() {
    let page = saying(&ping_pong(), &HOSTILE.join(" "));
    assert!(
        !page.chars().any(|c| escape::is_active(c) && c != '\n'),
        "an active character came through"
    );
    let lower = page.to_lowercase();
    assert_eq!(lower.matches("<script").count(), 1);
    assert!(lower.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    for mark in ["<img", "<a href=\"http", "src=", "javascript:", "onerror", "<!--"] {
        assert!(!lower.contains(mark), "{mark}");
    }
}

#[test]
fn a_page_is_the_same_bytes_each_time() {
    let Saved { head, records } = ping_pong();
    let page = || render(vec![Digest::of(head.clone(), &records, None)], "said");
    assert_eq!(page(), page());
}

/// A log of many events over many pages, in which one page plays ping-pong.
fn many(events: u64) -> Vec<Record> {
    let event = |seq: u64| -> Event {
        let gfn = if seq % 8 < 4 { 19 } else { 1000 + seq / 64 % 5000 };
        let (device, queue) = (Some(DeviceIndex(0)), Some(QueueIndex(0)));
        let cause = Some(Cause::Touch { device: DeviceIndex(0).into(), queue, part: Part::Avail });
        let page = |op, from, to, effect, cause| Event::Page {
            gfn,
            op,
            from,
            to,
            effect,
            bytes: 65536,
            cause,
        };
        let (secure, out) = (PageState::Secure, PageState::PagedOut);
        match seq % 4 {
            0 => Event::Touch {
                device,
                queue,
                part: Part::Avail,
                direction: Direction::Read,
                gpa: gfn << 16,
                bytes: 2,
                gfn,
                state: secure,
                seen: Seen::Sealed,
                chain: None,
            },
            1 => page(PageOp::PageOut, secure, out, Effect::Seal, cause),
            2 => Event::Bounce {
                slot: 0x400_0000 + seq % 512 * 2048,
                original: gfn << 16,
                bytes: 512,
                back: false,
            },
            _ => page(PageOp::PageIn, out, secure, Effect::Unseal, None),
        }
    };
    (0..events).map(|seq| Record { seq, t_ns: seq * 700, event: event(seq) }).collect()
}

#[test]
fn a_run_of_many_events_folds_and_many_runs_stay_within_the_size() {
    let head = ping_pong().head;
    let page = render(vec![Digest::of(head.clone(), &many(300_000), None)], "said");
    assert!(page.len() < BYTES_MAX / 2, "{}", page.len());
    let mut gathered = Gathered::default();
    for number in 0..120 {
        let head = Head { run: format!("run-{number}"), ..head.clone() };
        gathered.push(Digest::of(head, &many(2_000 + number), None));
    }
    assert!(gathered.runs.iter().any(|run| run.pics.is_none()));
    let page = render(gathered.runs, "said");
    assert!(page.len() <= BYTES_MAX, "{}", page.len());
    assert!(page.contains("There was no room for the pictures of"));
    let rows = (0..120).filter(|number| page.contains(&format!(">run-{number}<"))).count();
    assert_eq!(rows, 120, "every run is in the table");
}

/// Each field as large as it can be.
fn largest() -> Vec<Record> {
    let max = u64::MAX;
    let (device, queue) = (DeviceIndex(u8::MAX), QueueIndex(u16::MAX));
    let cause = Some(Cause::Touch { device: Some(device), queue: Some(queue), part: Part::Data });
    let (from, to, effect) = (PageState::Secure, PageState::PagedOut, Effect::Seal);
    let out = |gfn| Event::Page { gfn, op: PageOp::PageOut, from, to, effect, bytes: max, cause };
    let map =
        |dma| Event::DmaMap { address: max, bytes: max, direction: max, dma, instructions: max };
    let bounce = || Event::Bounce { slot: max, original: max, bytes: max, back: false };
    let events = [
        Event::Wait { by: WaitBy::Pause, ns: max },
        out(max),
        out(max - 1),
        bounce(),
        map(max),
        bounce(),
        map(0),
        Event::IotlbHits { device, queue, hits: max },
        Event::Frame { device, queue, bytes: max, head: Vec::new() },
        Event::Completed { device, queue, head: 0, written: u32::MAX, data: true },
        Event::Retired { instructions: max, units: max },
        Event::Retired { instructions: max, units: max },
    ];
    let record = |(seq, event)| Record { seq, t_ns: max - 20 + seq, event };
    (0..).zip(events).map(record).collect()
}

#[test]
fn a_log_of_the_largest_numbers_there_are_makes_a_page_a_trace_and_packets() {
    let head = recorded("basics/06-mixed-swiotlb.ron").head;
    let records = largest();
    let digest = |page| Digest::of(head.clone(), &records, page);
    let page = render(vec![digest(None), digest(Some(u64::MAX))], "said");
    assert!(page.contains("0xffffffffffffffff"));
    let mut out = Vec::new();
    Writer::default().run(&mut out, &head, &records).expect("a Vec");
    packets::write_run(&mut out, &head, &records).expect("a Vec");
}

#[test]
fn a_page_whose_events_are_no_event_file_is_not_made() {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let result = folder.path().join("result.json");
    std::fs::write(&result, "{\n \"schema\": \"uvsim.result/1\"\n}\n").expect("a file");
    let ran = std::process::Command::new(env!("CARGO_BIN_EXE_uvsim"))
        .current_dir(folder.path())
        .args(["report", "result.json", "-o", "r.html"])
        .output()
        .expect("uvsim starts");
    let text = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(3), "{text}");
    assert!(text.contains("E344") && text.contains("has totals only"), "{text}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), 1);
    let arguments = ["report", "--help"].map(std::ffi::OsStr::new);
    uvsim(folder.path(), &arguments);
}
