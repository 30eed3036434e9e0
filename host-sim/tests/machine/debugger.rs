//! `uvsim gdb`: a run is the same however it is driven, goes back to where it was, and is looked at
//! without a page being converted for it.

use crate::boot;
use host_sim::event::Event;
use host_sim::gdb::{EventBreak, Replay, Stop, View, Watch, WatchKind};
use host_sim::run::{self, Prepared};
use host_sim::scenario::plan::Plan;
use host_sim::scenario::select;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use tempfile::TempDir;
use ultravisor::{PageOp, PageState};
use ultravisor_abi::{Gfn, Gpa};

fn scenario() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/demo/disk.ron")
}

fn plan(design: &str) -> Plan {
    let selection = select::select(&[scenario()], 1).expect("the file is right");
    let mut runs = selection.runs.into_iter().map(|run| run.plan);
    runs.find(|plan| plan.id.contains(design)).expect("it is in the matrix")
}

fn event(name: &str) -> EventBreak {
    EventBreak::named(name, None).expect("there is such an event")
}

#[test]
fn a_run_in_small_steps_with_stops_and_watches_is_the_same_run() {
    let plan = plan("d5-");
    let log = run::run(&plan).expect("it starts");
    let prepared = Prepared::new(&plan).expect("the images are right");
    let mut replay = Replay::new(&prepared).expect("it powers on");
    let entry = replay.machine().cpu().regs.rip;
    assert!(replay.add_breakpoint(entry + 4));
    // The used ring and the stack: pages that are accessed all the time.
    assert!(replay.add_watch(Watch { address: 0x1a_1000, bytes: 8, kind: WatchKind::Any }));
    replay.events_mut().push(event("bounce"));
    for _ in 0..3000 {
        replay.step();
    }
    let (mut stops, mut units) = (0, 1);
    let ended = loop {
        match replay.resume(units) {
            Stop::Ended(ended) => break ended,
            Stop::Nothing => units = units % 977 + 13,
            _ => stops += 1,
        }
    };
    assert_eq!(ended, log.ended);
    assert!(stops > 22, "22 bounces, and accesses to the ring: {stops}");
    let told = replay.records();
    assert!(told.len() > 100 && told == &log.records[..told.len()]);
}

#[test]
fn a_step_back_over_a_page_out_finds_the_page_secure_and_forward_it_goes_out_again() {
    let plan = plan("d0-");
    let prepared = Prepared::new(&plan).expect("the images are right");
    let mut replay = Replay::new(&prepared).expect("it powers on");
    replay.events_mut().push(event("uv.page_out"));
    let Stop::Event { record, .. } = replay.resume(u64::MAX) else { panic!("a page goes out") };
    let Event::Page { gfn, op: PageOp::PageOut, .. } = replay.records()[record].event else {
        panic!("it stops at that event")
    };
    let state = |replay: &Replay<'_>| replay.machine().host().uv.memory().state(Gfn(gfn));
    let out = replay.position();
    assert_eq!(state(&replay), PageState::PagedOut);

    assert_eq!(replay.step_back().expect("it powers on"), Stop::Stepped);
    assert_eq!(state(&replay), PageState::Secure);
    assert!(replay.position() < out);
    assert_eq!(replay.resume(u64::MAX), Stop::Event { name: "uv.page_out".to_owned(), record });
    assert_eq!((replay.position(), state(&replay)), (out, PageState::PagedOut));

    // Back to the event itself, which is next then; and back again, to the start.
    let stop = replay.resume_back().expect("it powers on");
    assert_eq!(stop, Stop::Event { name: "uv.page_out".to_owned(), record });
    assert_eq!((replay.records().len(), state(&replay)), (record - 1, PageState::Secure));
    assert_eq!(replay.resume_back().expect("it powers on"), Stop::Start);
    assert_eq!(replay.position().units, 0);
    assert_eq!(replay.step_back().expect("it powers on"), Stop::Start);
}

#[test]
fn going_back_comes_to_the_same_breakpoints_and_watched_accesses_in_reverse() {
    let plan = plan("d5-");
    let prepared = Prepared::new(&plan).expect("the images are right");
    let map = prepared.images()[0].symbols.address("dma_map").expect("the guest has it");
    let mut replay = Replay::new(&prepared).expect("it powers on");
    assert!(replay.add_breakpoint(map));
    let mut met = Vec::new();
    while replay.resume(u64::MAX) == Stop::Breakpoint {
        met.push(replay.position());
    }
    assert!(met.len() >= 16, "four buffers for each of four requests: {}", met.len());
    for place in met.iter().rev() {
        assert_eq!(replay.resume_back().expect("it powers on"), Stop::Breakpoint);
        assert_eq!((replay.position(), replay.machine().cpu().regs.rip), (*place, map));
    }
    assert_eq!(replay.resume_back().expect("it powers on"), Stop::Start);
    assert!(replay.remove_breakpoint(map) && !replay.remove_breakpoint(map));

    // A store is seen when it has happened; going back, when it has not happened yet.
    replay.events_mut().push(event("request"));
    replay.resume(u64::MAX);
    let stack = replay.machine().cpu().regs.get(ultravisor_cpu::Reg::Rsp);
    let watch = Watch { address: stack - 8, bytes: 8, kind: WatchKind::Write };
    replay.events_mut().clear();
    assert!(replay.add_watch(watch));
    let word = |replay: &Replay<'_>| {
        let mut word = [0; 8];
        assert!(replay.machine().host().uv.memory().peek(Gpa(stack - 8), &mut word));
        word
    };
    let mut before = word(&replay);
    // Stores that change nothing are stores too.
    while word(&replay) == before {
        before = word(&replay);
        assert_eq!(replay.resume(u64::MAX), Stop::Watch(watch));
    }
    let (after, place) = (word(&replay), replay.position());
    assert_eq!(replay.resume_back().expect("it powers on"), Stop::Watch(watch));
    assert_eq!(word(&replay), before, "{after:x?}");
    assert!(replay.position() < place);
}

#[test]
fn nobody_is_shown_what_he_could_not_see_and_looking_converts_nothing() {
    let plan = plan("d0-");
    let prepared = Prepared::new(&plan).expect("the images are right");
    let mut replay = Replay::new(&prepared).expect("it powers on");
    replay.events_mut().push(event("uv.page_out"));
    let Stop::Event { record, .. } = replay.resume(u64::MAX) else { panic!("a page goes out") };
    let Event::Page { gfn, .. } = replay.records()[record].event else { panic!("it is one") };
    let at = Gpa(gfn * 65536);
    let read = |replay: &Replay<'_>, view: View| {
        let mut bytes = vec![0; 65536];
        let seen = view.read(replay.machine().host().uv.memory(), at, &mut bytes);
        bytes.truncate(seen);
        bytes
    };
    let [guest, host, inside] = [View::Guest, View::Host, View::Ultravisor];
    let (sealed, plain) = (read(&replay, host), read(&replay, inside));
    assert!(read(&replay, guest).is_empty(), "the page is away");
    assert_ne!(sealed, plain);

    replay.step_back().expect("it powers on");
    let (told, place) = (replay.records().len(), replay.position());
    assert_eq!(read(&replay, guest), plain);
    assert_eq!(read(&replay, host), sealed, "what a page-out will hand out");
    assert_eq!(read(&replay, inside), plain);
    let memory = replay.machine().host().uv.memory();
    assert_eq!(memory.state(Gfn(gfn)), PageState::Secure);
    let mut none = [0; 16];
    for view in [guest, host, inside] {
        for wild in [u64::MAX, u64::MAX - 8, 1 << 40, 16 << 20] {
            assert_eq!(view.read(memory, Gpa(wild), &mut none), 0);
        }
        assert_eq!(view.read(memory, Gpa((16 << 20) - 8), &mut none), 8, "up to the end of RAM");
    }
    assert_eq!((replay.records().len(), replay.position()), (told, place));
    replay.resume(u64::MAX);
    assert_eq!(read(&replay, host), sealed, "the look has used no nonce");
}

/// `uvsim gdb` and where it listens.
type Served = (Child, BufReader<ChildStdout>, String);

fn serve(design: &str) -> Served {
    serve_file(&scenario(), &["--design", design])
}

fn serve_file(scenario: &Path, more: &[&str]) -> Served {
    let mut command = Command::new(env!("CARGO_BIN_EXE_uvsim"));
    command.arg("gdb").arg(scenario).args(more).env_remove("UVSIM_ID");
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .expect("uvsim starts");
    let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut lines = String::new();
    for _ in 0..2 {
        out.read_line(&mut lines).expect("it says where");
    }
    let address = lines.split("target remote ").nth(1).expect("the line to paste");
    let address = address.trim_end().trim_end_matches('\'').to_owned();
    (child, out, address)
}

fn finished(mut child: Child) -> (Option<i32>, String) {
    let mut err = String::new();
    let mut pipe = child.stderr.take().expect("it is piped");
    pipe.read_to_string(&mut err).expect("it is text");
    (child.wait().expect("it ends").code(), err)
}

/// What Debian's gdb says to `commands` once it is connected, and all of it with its errors; `None`
/// without a gdb.
fn told_by_gdb(served: impl Fn() -> Served, commands: &[&str]) -> Option<(String, String)> {
    if Command::new("gdb").arg("--version").output().is_err() {
        return None;
    }
    let (child, _out, address) = served();
    let target = format!("target remote {address}");
    let mut gdb = Command::new("gdb");
    gdb.args(["-batch", "-nx"]);
    let first = ["set confirm off", "set pagination off", target.as_str()];
    for command in first.iter().chain(commands) {
        gdb.arg("-ex").arg(command);
    }
    let ran = gdb.stdin(Stdio::null()).output().expect("gdb starts");
    let out = String::from_utf8_lossy(&ran.stdout).into_owned();
    let all = format!("{out}\n--\n{}", String::from_utf8_lossy(&ran.stderr));
    let (code, err) = finished(child);
    assert_eq!(code, Some(0), "{err}{all}");
    Some((out, all))
}

#[test]
fn debians_gdb_finds_symbols_steps_back_over_a_page_out_and_stops_at_conversions() {
    let commands = [
        "printf \"start %#lx\\n\", $rip",
        "monitor break uv.page_out",
        "continue",
        "monitor why",
        "monitor page 0x13",
        "reverse-stepi",
        "monitor page 0x13",
        "x/1xg 0x130000",
        "monitor view host",
        "maint flush dcache",
        "x/1xg 0x130000",
        "monitor view guest",
        "monitor delete",
        "monitor break kick",
        "reverse-continue",
        "monitor why",
        "info symbol $rip",
        "monitor delete",
        "break dma_decide",
        "reverse-continue",
        "bt 3",
        "stepi",
        "delete",
        "continue",
        "monitor where",
        "reverse-continue",
        "monitor where",
        "monitor nonsense",
        "detach",
    ];
    let Some((out, all)) = told_by_gdb(|| serve("d0"), &commands) else {
        println!("skipped: there is no gdb here");
        return;
    };
    for fact in [
        "stopped at uv.page_out, event #",
        "page 0x13: page_out (secure -> paged_out): disk queue 0 touched used",
        "page 0x13 is paged_out",
        "page 0x13 is secure",
        "stopped at kick, event #",
        "notify",
        "dma_decide",
        "the run has ended: exit(",
        "the run is at its start",
        "there is no `monitor nonsense`",
    ] {
        assert!(all.contains(fact), "{fact}\n{all}");
    }
    let words: Vec<&str> =
        out.lines().filter_map(|line| line.strip_prefix("0x130000:\t")).collect();
    assert!(words.len() == 2 && words[0] != words[1], "plain, then ciphertext: {words:?}\n{all}");
}

#[test]
fn debians_gdb_steps_through_a_guest_whose_file_has_32_bits() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("a.ron");
    let text = "Scenario(format: 1, name: \"a\", about: \"A test.\", expect: [],\n\
        machine: (platform: Plain), guest: (image: File(\"a.elf\")))";
    let image = boot::multiboot_file(|a| {
        a.nop().expect("a nop");
        a.hlt().expect("a hlt");
    });
    fs::write(&path, text).expect("a file");
    fs::write(folder.path().join("a.elf"), image).expect("a file");
    let commands = ["stepi", "printf \"eax %#lx\\n\", $rax", "detach"];
    let Some((out, all)) = told_by_gdb(|| serve_file(&path, &[]), &commands) else {
        println!("skipped: there is no gdb here");
        return;
    };
    assert!(out.contains("eax 0x2badb002"), "{all}");
}

#[test]
fn debians_gdb_watches_a_word_forward_and_back_and_asks_for_the_reasons() {
    let commands = [
        "monitor break request",
        "continue",
        "monitor pages",
        "monitor delete",
        // The word that this function's first call puts onto the stack.
        "break dma_unmap",
        "continue",
        "delete",
        "watch *(unsigned long *)($rsp - 8)",
        "continue",
        "reverse-continue",
        "delete",
        "monitor break bounce",
        "reverse-continue",
        "monitor why",
        "monitor breaks",
        "detach",
    ];
    let Some((out, all)) = told_by_gdb(|| serve("d5"), &commands) else {
        println!("skipped: there is no gdb here");
        return;
    };
    let facts =
        ["10 secure, 12 shared", "Breakpoint 1, ", "1  bounce", "stopped at bounce, event #"];
    for fact in facts {
        assert!(all.contains(fact), "{fact}\n{all}");
    }
    let values = |what: &str| -> Vec<&str> {
        out.lines().filter_map(|line| line.strip_prefix(what)).collect()
    };
    let (old, new) = (values("Old value = "), values("New value = "));
    assert!(old.len() == 2 && new.len() == 2 && old[0] != new[0], "{all}");
    assert_eq!((old[0], new[0]), (new[1], old[1]), "going back is the store undone: {all}");
}

#[test]
fn while_one_debugger_is_served_nobody_else_gets_in() {
    let (child, _out, address) = serve("d5");
    let mut first = TcpStream::connect(&address).expect("it listens");
    first.write_all(b"$?#3f").expect("it reads");
    let mut answer = [0; 1];
    first.read_exact(&mut answer).expect("it answers");
    let second = TcpStream::connect(&address).expect_err("the door is shut");
    assert_eq!(second.kind(), std::io::ErrorKind::ConnectionRefused);
    drop(first);
    assert_eq!(finished(child).0, Some(0));
}

#[test]
fn no_packet_of_a_client_makes_it_panic() {
    // The same numbers each time.
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let starts = [
        "g",
        "G00",
        "p1",
        "m",
        "M0,1:00",
        "mffffffffffffffff,ffff",
        "m0,ffffffff",
        "Z0,",
        "Z2,0,",
        "Z3,fffffffffffffff0,ffffffff",
        "Z4,1000,8",
        "z2,1000,8",
        "vCont;s",
        "bs",
        "bc",
        "H",
        "qRcmd,",
        "qRcmd,6d6f6e",
        "qXfer:exec-file:read::0,fff",
        "vFile:open:67,0,0",
        "vFile:open:2f67756573742e656c66,0,0",
        "vFile:pread:3,ffffff,ffffffffffffffff",
        "vFile:fstat:3",
        "vFile:pread:9,1,0",
        "qSupported",
        "?",
        "X0,0:",
        "vFile:close:4",
        "T1",
        "k",
    ];
    for round in 0..4 {
        let (child, _out, address) = serve("d5");
        let mut stream = TcpStream::connect(&address).expect("it listens");
        let mut sent = Vec::new();
        for _ in 0..120 {
            let mut packet: Vec<u8> =
                starts[(random() % starts.len() as u64) as usize].bytes().collect();
            for _ in 0..random() % 12 {
                let bytes = b"0123456789abcdef,;:-#}*$\xff\x00";
                packet.push(bytes[(random() % bytes.len() as u64) as usize]);
            }
            let sum = packet.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
            let sum = if random() % 16 == 0 { sum.wrapping_add(1) } else { sum };
            sent.push(b'$');
            sent.extend(&packet);
            sent.extend(format!("#{sum:02x}+").bytes());
        }
        if round == 3 {
            // No packets at all.
            sent = (0..5000).map(|_| random() as u8).collect();
        }
        // It may hang up before it has read everything: that is its right.
        let _ = stream.write_all(&sent);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
        let (code, err) = finished(child);
        let (left, refused) =
            (code == Some(0), code == Some(6) && err.contains("not gdb's protocol"));
        assert!((left || refused) && !err.contains("bug in uvsim"), "{round}: {code:?} {err}");
    }
}

#[test]
fn it_is_served_on_this_machine_alone_and_for_one_run() {
    let uvsim = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_uvsim"));
        command.arg("gdb").arg(scenario()).args(arguments).env_remove("UVSIM_ID");
        let ran = command.output().expect("uvsim starts");
        (ran.status.code(), String::from_utf8(ran.stderr).expect("text"))
    };
    for open in ["0.0.0.0:0", "192.0.2.1:1234", "[::]:0"] {
        let (code, err) = uvsim(&["--design", "d5", "--listen", open]);
        assert!(code == Some(2) && err.contains("on this machine alone"), "{err}");
    }
    let (code, err) = uvsim(&[]);
    assert!(code == Some(2) && err.contains("choose one by --id"), "{err}");
    assert_eq!(uvsim(&["--id", "no-such"]).0, Some(4));
}
