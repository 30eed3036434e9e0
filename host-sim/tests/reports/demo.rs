//! `uvsim demo`: chapters and runs as a reader meets them, on paper and on a screen.

use host_sim::demo::{self, Actor, Browser, CHAPTERS, Key, Story};
use host_sim::scenario::chapter::Chapter;
use host_sim::scenario::codes::Code;
use host_sim::scenario::diagnostics::Fault;
use host_sim::scenario::plan::Plan;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use tempfile::TempDir;

fn runner(plan: &Plan, late: &AtomicBool) -> Result<host_sim::log::RunLog, String> {
    host_sim::run::run_until(plan, late).map_err(|why| why.to_string())
}

fn story_of(chapter: &Chapter) -> Result<Story, Vec<Fault>> {
    let runs = demo::runs_of(chapter, None, 1, &mut BTreeSet::new())?;
    demo::story_of(chapter, &runs, &runner)
}

fn ping_pong() -> &'static Story {
    static STORY: OnceLock<Story> = OnceLock::new();
    STORY.get_or_init(|| {
        let chapter = demo::chapter("ping-pong").expect("it ships");
        story_of(&chapter).expect("its moments come")
    })
}

fn uvsim(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_uvsim"));
    command.current_dir(folder).arg("demo").args(arguments);
    command.env_remove("UVSIM_ID").env_remove("UVSIM_DESIGN");
    command.output().expect("uvsim starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is UTF-8")
}

fn told(faults: &[Fault]) -> Vec<String> {
    faults
        .iter()
        .map(|fault| format!("{} {} {}", fault.code, fault.place(), fault.message))
        .collect()
}

#[test]
fn every_text_of_every_chapter_has_its_event() {
    for (word, _) in CHAPTERS {
        let chapter = demo::chapter(word).unwrap_or_else(|faults| panic!("{:#?}", told(&faults)));
        let story =
            story_of(&chapter).unwrap_or_else(|faults| panic!("{word}: {:#?}", told(&faults)));
        assert_eq!((story.name.as_str(), story.runs.len()), (word, chapter.runs.len()));
        for step in 0..story.len() {
            for run in 0..story.runs.len() {
                let says = story.says(step, run);
                assert!(says.chars().count() <= 460, "{word} {step}: {says}");
                if step > 0 {
                    assert!(story.at(step, run) >= story.at(step - 1, run), "{word} {step}");
                }
            }
        }
    }
}

#[test]
fn what_is_wrong_with_a_text_is_said_once_for_all_runs_that_it_is_said_of() {
    let folder = TempDir::new().expect("a temporary folder");
    let run = |key, id| {
        format!("Run(key: \"{key}\", scenario: \"demo/disk\", id: \"{id}\", label: \"{key}\")")
    };
    let chapter = format!(
        "Chapter(format: 1, name: \"mine\", about: \"A test.\", runs: [{}, {}],\n\
        steps: [Step(title: \"t\", views: [\n\
        View(of: [\"a\", \"b\"], at: Ready, says: \"In {{page}}.\"),\n\
        ])], ends: \"x\")",
        run("a", "*d0-*"),
        run("b", "*d5-*")
    );
    fs::write(folder.path().join("mine.ron"), chapter).expect("a file");
    let ran = uvsim(folder.path(), &["mine.ron"]);
    let err = text(&ran.stderr);
    assert_eq!((ran.status.code(), err.matches("E346").count()), (Some(3), 1), "{err}");
}

#[test]
fn a_text_for_an_event_that_never_comes_is_an_error_at_its_place() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("mine.ron");
    let chapter = "Chapter(format: 1, name: \"mine\", about: \"A test.\",\n\
        runs: [Run(key: \"a\", scenario: \"demo/disk\", id: \"*d5-*\", label: \"a\")],\n\
        steps: [Step(title: \"t\", views: [\n\
        View(of: [\"a\"], at: Leak, says: \"It leaks.\"),\n\
        ])], ends: \"x\")";
    fs::write(&file, chapter).expect("a file");
    let ran = uvsim(folder.path(), &["mine.ron"]);
    let err = text(&ran.stderr);
    assert_eq!(ran.status.code(), Some(3), "{err}");
    assert!(err.contains("E346") && err.contains("mine.ron:4:"), "{err}");
    let wrong = [
        ("scenario: \"demo/disk\"", "scenario: \"demo/disc\"", Code::UNKNOWN_ID),
        ("id: \"*d5-*\"", "id: \"*\"", Code::UNKNOWN_ID),
        ("at: Leak", "at: Leek", Code::UNKNOWN_WORD),
        ("of: [\"a\"]", "of: [\"b\"]", Code::UNKNOWN_ID),
        ("It leaks.", "{uv.pageout}", Code::UNKNOWN_ID),
        ("Leak, says: \"It leaks.\"", "Ready, says: \"In {page}.\"", Code::NO_MOMENT),
        ("at: Leak", "nth: 0, at: Leak", Code::OUT_OF_RANGE),
        ("of: [\"a\"]", "of: [\"a\", \"a\"]", Code::DUPLICATE),
        ("ends: \"x\"", "ends: \"\"", Code::NO_ABOUT),
        ("title: \"t\"", "titel: \"t\"", Code::UNKNOWN_WORD),
    ];
    for (right, slip, code) in wrong {
        fs::write(&file, chapter.replace(right, slip)).expect("a file");
        let ran = uvsim(folder.path(), &["mine.ron"]);
        let err = text(&ran.stderr);
        assert!(ran.status.code() == Some(3) && err.contains(&code.to_string()), "{slip}: {err}");
    }
}

#[test]
fn the_ping_pong_needs_no_file_and_is_told_without_a_terminal_in_numbered_steps() {
    let folder = TempDir::new().expect("a temporary folder");
    let ran = uvsim(folder.path(), &[]);
    let out = text(&ran.stdout);
    assert_eq!((ran.status.code(), text(&ran.stderr).as_str()), (Some(0), ""));
    assert!(!out.contains('\u{1b}'), "{out}");
    let steps = out.lines().filter(|line| line.contains("/14 ")).count();
    assert_eq!(steps, ping_pong().len());
    let facts = [
        "page 0x13 in again, its second round trip for two requests",
        "gave up the secrecy of 12 pages",
        "4 requests: 16 round trips",
        "The comparison:",
    ];
    for fact in facts {
        assert!(out.replace("\n    ", " ").contains(fact), "{fact}: {out}");
    }
    assert!(out.contains("who must act: guest kernel\n"), "{out}");
    assert!(out.contains("who must act: guest kernel, boot firmware, management stack, user\n"));
    let again = uvsim(folder.path(), &["--plain", "ping-pong"]);
    assert_eq!(again.stdout, ran.stdout);
}

/// The state of the page in focus, and the run's name.
fn looked_at(browser: &Browser<'_>) -> (Option<String>, String) {
    let scene = browser.scene();
    (scene.focus, scene.run.0)
}

#[test]
fn a_reader_goes_forward_and_back_follows_a_page_and_switches_the_design() {
    let mut browser = Browser::new(ping_pong());
    for _ in 0..4 {
        assert!(browser.press(Key::Next));
    }
    let here = browser.scene();
    assert_eq!((here.step.0, here.acting), (5, Actor::Ultravisor));
    let focus = here.focus.clone().expect("a page goes out");
    assert!(focus.contains("paged out"), "{focus}");
    assert_eq!(here.grid.iter().filter(|cell| cell.in_focus && cell.moved).count(), 1);
    assert!(here.code.iter().any(|line| line.is_next) && here.function.contains("virtio"));

    browser.press(Key::Next);
    browser.press(Key::Back);
    assert_eq!(browser.scene(), here, "back is where one was");

    browser.press(Key::NextMove);
    let (next, _) = looked_at(&browser);
    assert!(next.expect("the same page").contains("secure"), "it has come back");
    assert!(browser.scene().step.0 > 5);

    browser.press(Key::First);
    for _ in 0..4 {
        browser.press(Key::Next);
    }
    for _ in 0..3 {
        browser.press(Key::Design);
    }
    let (focus, run) = looked_at(&browser);
    assert_eq!((browser.scene().step.0, run.as_str()), (5, "copies; the guest decides"));
    assert!(focus.expect("a page is touched").contains("shared"));
    browser.press(Key::Design);
    assert_eq!(browser.scene(), here, "once round");

    browser.press(Key::Help);
    assert_eq!(browser.scene(), here);
    assert!(browser.press(Key::Next), "any key leaves the help");
    assert_eq!(browser.scene(), here);
    browser.press(Key::Last);
    assert!(browser.is_at_end());
    browser.press(Key::Next);
    assert_eq!(browser.note(), Some("this is the end"));
    browser.press(Key::Back);
    assert_eq!(browser.scene().step, (ping_pong().len(), ping_pong().len()));
    assert!(!browser.press(Key::Quit));
}

/// The screen of 80 x 24, as lines.
fn screen(browser: &Browser<'_>, look: demo::Look, size: (u16, u16)) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).expect("a test terminal");
    terminal.draw(|frame| demo::draw(frame, browser, look)).expect("it draws");
    let buffer = terminal.backend().buffer();
    let line = |y| (0..size.0).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..size.1).map(line).collect()
}

const ASCII: demo::Look = demo::Look { color: false, unicode: false };

#[test]
fn every_step_of_every_chapter_fits_on_80_x_24_without_colour_and_in_ascii() {
    for (word, _) in CHAPTERS {
        let chapter = demo::chapter(word).expect("it ships");
        let story = story_of(&chapter).expect("its moments come");
        let mut browser = Browser::new(&story);
        while !browser.is_at_end() {
            for _ in 0..story.runs.len() {
                let scene = browser.scene();
                let lines = screen(&browser, ASCII, (80, 24));
                let all = lines.join("\n");
                assert!(all.is_ascii(), "{all}");
                let says: Vec<&str> = scene.says.split_whitespace().collect();
                let shown: Vec<&str> =
                    lines[16..23].iter().flat_map(|l| l.split_whitespace()).collect();
                assert_eq!(shown, says, "{word}: all that is said is to be seen\n{all}");
                assert!(all.contains(&format!("=> {}", scene.acting.name())), "{all}");
                assert!(lines[23].contains("q quit"), "{all}");
                browser.press(Key::Design);
            }
            browser.press(Key::Next);
        }
        let end = screen(&browser, ASCII, (80, 24)).join("\n");
        for told in &story.runs {
            assert!(end.contains(&told.label), "{word}: {end}");
        }
        let last = story.ends.split_whitespace().last().expect("it says something");
        assert!(end.contains(last), "{end}");
    }
}

#[test]
fn states_and_actors_are_told_without_colour_and_colours_bring_their_own_background() {
    let mut browser = Browser::new(ping_pong());
    for _ in 0..4 {
        browser.press(Key::Next);
    }
    let plain = screen(&browser, ASCII, (80, 24)).join("\n");
    assert!(plain.contains("*#") && plain.contains(" S"), "{plain}");
    let look = demo::Look { color: true, unicode: true };
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).expect("a test terminal");
    terminal.draw(|frame| demo::draw(frame, &browser, look)).expect("it draws");
    let buffer = terminal.backend().buffer();
    let reset = ratatui::style::Color::Reset;
    for cell in buffer.content() {
        assert_eq!(
            cell.fg == reset,
            cell.bg == reset,
            "on a light terminal it would vanish: {cell:?}"
        );
    }
    assert!(buffer.content().iter().any(|cell| cell.bg != reset));
    let small = screen(&browser, look, (60, 20)).join("\n");
    assert!(small.contains("needs 80 columns"), "{small}");
}

#[test]
fn a_recording_is_the_same_each_time_and_its_times_only_grow() {
    let folder = TempDir::new().expect("a temporary folder");
    for file in ["a.cast", "b.cast"] {
        let ran = uvsim(folder.path(), &["leak", "--record", file]);
        assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    }
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("it is there");
    let cast = read("a.cast");
    assert_eq!(cast, read("b.cast"));
    let mut lines = cast.lines();
    let head: serde_json::Value =
        serde_json::from_str(lines.next().expect("a head")).expect("JSON");
    assert_eq!(
        (&head["version"], &head["width"], &head["height"]),
        (&2.into(), &80.into(), &24.into())
    );
    let mut last = 0.0;
    let mut shown = String::new();
    for line in lines {
        let (at, kind, data): (f64, String, String) = serde_json::from_str(line).expect("an event");
        assert!(kind == "o" && at >= last, "{line}");
        last = at;
        shown.push_str(&data);
    }
    assert!(last > 20.0 && shown.contains("shared where it lies"), "{last}");
    let ran = uvsim(folder.path(), &["leak", "--record", "c.cast", "--auto", "10ms"]);
    assert_eq!(ran.status.code(), Some(0));
    assert!(read("c.cast").lines().last().is_some_and(|line| line.starts_with("[0.0")));
}

#[test]
fn any_run_can_be_browsed_and_its_own_words_stay_inert() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("a.ron");
    let scenario = "Scenario(format: 1, name: \"t/a\", about: \"A \\u{1b}[31mtest.\", \
        machine: (memory: \"16MiB\", swiotlb: \"512KiB\"), guest: (secure: true), \
        devices: [Blk(id: \"disk\", sectors: 64)], \
        workload: Block(ops: [Write(requests: 1, bytes: \"4KiB\")]), \
        matrix: [Design([\"d0-legacy-bypass\", \"d5-platform-hook\"])])";
    fs::write(&file, scenario).expect("a file");
    let ran = uvsim(folder.path(), &["a.ron", "--id", "*d5*"]);
    let out = text(&ran.stdout);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    assert!(!out.contains('\u{1b}') && out.contains("\\x1b[31mtest."), "{out}");
    assert!(out.contains("It came out clean.") && !out.contains("run: d0"), "{out}");
    assert!(out.contains("has served a request (1 so far)"), "{out}");
    let both = text(&uvsim(folder.path(), &["a.ron"]).stdout);
    assert!(both.contains("run: d0") && both.contains("run: d5"), "{both}");
    let ran = uvsim(folder.path(), &["a.ron", "--id", "no-such"]);
    assert_eq!(ran.status.code(), Some(4));
    let ran = uvsim(folder.path(), &["pingpong"]);
    let err = text(&ran.stderr);
    assert!(ran.status.code() == Some(3) && err.contains("ping-pong"), "{err}");
}

#[test]
fn a_new_chapter_is_shown_as_it_is() {
    let folder = TempDir::new().expect("a temporary folder");
    let mut new = Command::new(env!("CARGO_BIN_EXE_uvsim"));
    let made = new.current_dir(folder.path()).args(["new", "chapter", "mine.ron"]).output();
    let made = made.expect("uvsim starts");
    assert!(text(&made.stderr).contains("next: uvsim demo mine.ron"), "{}", text(&made.stderr));
    let ran = uvsim(folder.path(), &["mine.ron"]);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    assert!(text(&ran.stdout).contains("4 requests served: clean."), "{}", text(&ran.stdout));
    // A scenario beside it is nearer than a shipped one.
    let shipped = host_sim::shipped::FILES.iter().find(|(path, _)| *path == "demo/disk.ron");
    let (_, disk) = shipped.expect("it ships");
    let shorter = disk.replace("Write(requests: 2,", "Write(requests: 1,");
    assert_ne!(shorter, *disk);
    fs::write(folder.path().join("disk.ron"), shorter).expect("a file");
    let ran = uvsim(folder.path(), &["mine.ron"]);
    assert!(text(&ran.stdout).contains("2 requests served: clean."), "{}", text(&ran.stdout));
}
