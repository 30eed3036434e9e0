//! Event files are read back as they were written, or refused with the line that is wrong.

use host_sim::event::Record;
use host_sim::output::{events, json};
use host_sim::saved::{Reader, Saved, Source};
use host_sim::scenario::codes::Code;
use host_sim::scenario::diagnostics::Fault;
use host_sim::scenario::select;
use host_sim::verdict;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::OnceLock;

fn scenarios(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(path)
}

/// The runs of a shipped scenario, and the event file that they make.
fn recorded(scenario: &str) -> (Vec<Vec<Record>>, Vec<u8>) {
    let selection = select::select(&[scenarios(scenario)], 1);
    let selection = selection.unwrap_or_else(|faults| panic!("{}", faults[0].message));
    let (mut logs, mut file) = (Vec::new(), Vec::new());
    for planned in selection.runs {
        let plan = planned.plan;
        let log = host_sim::run::run(&plan).expect("it can start");
        let judged = verdict::judge(&plan, &log);
        let source = Source { repeat: "again".into(), ..Source::default() };
        events::write_run(&mut file, &source, (&plan, &log), &judged.checks).expect("a Vec");
        logs.push(log.records);
    }
    (logs, file)
}

/// A short run's event file.
fn short() -> &'static str {
    static FILE: OnceLock<String> = OnceLock::new();
    FILE.get_or_init(|| {
        let (_, file) = recorded("basics/09-own-elf.ron");
        String::from_utf8(file).expect("JSON is UTF-8")
    })
}

fn read(file: &[u8]) -> Result<Vec<Saved>, Fault> {
    Reader::new(file, "e.ndjson").collect()
}

/// What is said of a file that is refused; nothing comes after that.
fn refused(file: &[u8]) -> String {
    let mut reader = Reader::new(file, "e.ndjson");
    let fault = reader.find_map(Result::err).expect("it is refused");
    assert_eq!(fault.code, Code::EVENTS);
    assert!(reader.next().is_none());
    fault.message
}

#[test]
fn what_was_recorded_is_read_back_event_for_event() {
    for scenario in ["basics/04-unsealed-legacy.ron", "basics/06-mixed-swiotlb.ron"] {
        let (logs, file) = recorded(scenario);
        let saved = read(&file).unwrap_or_else(|fault| panic!("{}", fault.message));
        assert_eq!(saved.len(), logs.len());
        for (saved, records) in saved.iter().zip(&logs) {
            assert!(saved.records == *records, "{}", saved.head.run);
            assert!(!saved.head.checks.is_empty());
            assert_eq!(saved.head.source.repeat, "again");
        }
    }
}

#[test]
fn a_verdict_made_from_a_saved_log_is_that_of_the_run() {
    let selection = select::select(&[scenarios("basics/03-secure-legacy.ron")], 1).expect("right");
    for planned in selection.runs {
        let plan = planned.plan;
        let log = host_sim::run::run(&plan).expect("it can start");
        let judged = verdict::judge(&plan, &log);
        let mut file = Vec::new();
        events::write_run(&mut file, &Source::default(), (&plan, &log), &[]).expect("a Vec");
        let Saved { head, records } = read(&file).expect("right").remove(0);
        let counters = head.counters(&records);
        assert_eq!(head.findings(&records, &counters), judged.findings, "{}", plan.id);
        assert_eq!(head.ended.to_string(), log.ended.to_string());
        assert_eq!(head.facts.unit(), plan.machine.unit);
    }
}

#[test]
fn a_file_that_was_cut_off_says_so_wherever_it_was_cut() {
    let file = short();
    let lines: Vec<&str> = file.lines().collect();
    assert!(lines.len() > 5, "{file}");
    for kept in 1..lines.len() {
        let cut = format!("{}\n", lines[..kept].join("\n"));
        let why = refused(cut.as_bytes());
        let at = format!("`e.ndjson`, line {}: the file ends after {} events", kept + 1, kept - 1);
        assert!(why.starts_with(&at) && why.ends_with("it was cut off"), "{why}");
    }
    let why = refused(&file.as_bytes()[..file.len() - 3]);
    assert!(why.contains("the line does not end: the file was cut off"), "{why}");
}

#[test]
fn each_way_to_be_no_event_file_is_told_with_its_line() {
    let file = short();
    let swap = |a: &str, b: &str| {
        assert!(file.contains(a), "{a} is not in {file}");
        refused(file.replacen(a, b, 1).as_bytes())
    };
    let place = r#"{"gpa":0,"bytes":1,"holds":"data","name":"x"},"#;
    let told = [
        (refused(b""), "line 1: the file is empty"),
        (refused(b"{\n \"schema\": \"uvsim.result/1\",\n"), "has totals only, and no events"),
        (refused(b"{\"schema\":\"uvsim.result/1\",\"runs\":[]}\n"), "has totals only"),
        (refused(b"\xff\xfe\n"), "line 1: this is no event file"),
        (refused(b"[]\n"), "line 1: this is no event file"),
        (swap("uvsim.events/2", "uvsim.events/1"), "line 1: the schema is `uvsim.events/1`"),
        (
            swap("uvsim.events/2\",", "uvsim.events/1\",\"gone\":1,"),
            "line 1: the schema is `uvsim.events/1`; this version reads `uvsim.events/2`",
        ),
        (refused(b"{\"run\":\"r\"}\n"), "line 1: this is no event file of uvsim: missing field"),
        (swap("\"platform\":\"pef\"", "\"platform\":\"sev\""), "line 1: the plan is not one"),
        (swap("\"holds\":\"text\"", "\"holds\":\"tea\""), "unknown variant `tea`"),
        (
            swap("\"places\":[", &format!("\"places\":[{}", place.repeat(256))),
            "256 places of images",
        ),
        (swap("\"seq\":1,", "\"seq\":2,"), "line 3: event 2 where event 1 is due"),
        (swap("\"kind\":\"", "\"kind\":\"x"), "line 2: unknown variant"),
        (swap("\"kind\":", "\"extra\":1,\"kind\":"), "line 2: unknown field"),
        (
            swap("{\"run\":\"basics/own-elf\",\"seq\":0", "{\"run\":\"other\",\"seq\":0"),
            "not of run",
        ),
        (swap("\"end\":\"exit(0)\"", "\"end\":\"exit(00)\""), "is no way for a run to end"),
        (swap("\"seq\":0,\"t\":", "\"seq\":0,\"t\":9"), "time runs backwards"),
        (refused(format!("{file}{file}x\n").as_bytes()), "a run must begin here"),
    ];
    for (why, part) in told {
        assert!(why.contains(part), "{part}: {why}");
    }
}

#[test]
fn an_event_that_was_changed_by_hand_is_found_out() {
    let file = short();
    let at = file.rfind("\"instructions\":").expect("the last event but one counts instructions");
    let digit = at + "\"instructions\":".len();
    let other = if file.as_bytes()[digit] == b'7' { "8" } else { "7" };
    let mut changed = file.to_owned();
    changed.replace_range(digit..=digit, other);
    let why = refused(changed.as_bytes());
    assert!(why.contains("its events were changed"), "{why}");
}

#[test]
fn what_is_said_around_the_events_cannot_be_changed_either() {
    let file = short();
    for (written, other) in [
        ("\"verdict\":\"pass\"", "\"verdict\":\"fail\""),
        ("\"end\":\"exit(0)\"", "\"end\":\"exit(1)\""),
        ("\"repeat\":\"again\"", "\"repeat\":\"never\""),
        ("\"wait_ns\":", "\"wait_ns\":1"),
    ] {
        assert!(file.contains(written), "{written} is in {file}");
        let why = refused(file.replacen(written, other, 1).as_bytes());
        assert!(why.contains("were changed"), "{written}: {why}");
    }
    let at = file.find(",\"seal\":").expect("the last line is sealed");
    let why = refused(format!("{}}}\n", &file[..at]).as_bytes());
    assert!(why.contains("missing field `seal`"), "{why}");
    let windows = file.replace('\n', "\r\n");
    assert_eq!(read(windows.as_bytes()).expect("line ends say nothing").len(), 1);
}

#[test]
fn a_line_without_an_end_is_not_read_into_memory_whole() {
    let endless = BufReader::new(std::io::repeat(b'{').take(1 << 40));
    let fault = Reader::new(endless, "e").find_map(Result::err).expect("it is refused");
    assert!(fault.message.contains("longer than"), "{}", fault.message);
}

#[test]
fn every_line_that_is_read_is_written_so_again() {
    let Saved { records, .. } = read(short().as_bytes()).expect("right").remove(0);
    let lines: Vec<&str> = short().lines().skip(1).collect();
    for (record, line) in records.iter().zip(lines) {
        let mut out = Vec::new();
        json::write_line(&mut out, &events::Line::of("basics/own-elf", record)).expect("a Vec");
        assert_eq!(String::from_utf8(out).expect("UTF-8").trim_end(), line);
    }
}
