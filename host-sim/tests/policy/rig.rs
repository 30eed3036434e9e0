//! Folders of files, guests that do what a test says, and what the command makes of them.

use host_sim::cli::{self, Terminal, World};
use host_sim::event::{Ended, Event, Mark, Record};
use host_sim::log::RunLog;
use host_sim::scenario::plan::Plan;
use serde_json::Value;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use tempfile::TempDir;

/// What a guest does.
#[derive(Clone, Debug)]
pub struct Does {
    /// Before "ready".
    pub init: Vec<Event>,
    /// Between "ready" and "done".
    pub steady: Vec<Event>,
    /// Whether it comes to "ready" and "done".
    pub ready: bool,
    /// What stops it.
    pub ended: Ended,
}

impl Does {
    /// These events in steady state, and a clean end.
    pub fn steady(steady: Vec<Event>) -> Self {
        Self { init: Vec::new(), steady, ready: true, ended: Ended::Exit(0) }
    }

    /// Its log.
    pub fn log(self, plan: &Plan) -> RunLog {
        let mark = |mark| self.ready.then_some(Event::Mark { mark });
        let (ready, done) = (mark(Mark::Ready), mark(Mark::Done));
        let events = self.init.into_iter().chain(ready).chain(self.steady).chain(done);
        let records = events.zip(0..).map(|(event, seq)| Record { seq, t_ns: seq, event });
        RunLog {
            records: records.collect(),
            ended: self.ended,
            hash: *blake3::hash(plan.id.as_bytes()).as_bytes(),
            needs_reset: Vec::new(),
            what_if: plan.what_if(),
            places: Vec::new(),
            twins: Vec::new(),
        }
    }
}

/// A folder with these files.
pub fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    folder
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

/// A scenario with both of the base designs.
pub fn scenario(rest: &str) -> String {
    format!(
        "Scenario(format: 1, name: \"s\", about: \"A test.\",\n\
         guest: (secure: true), devices: [Blk(id: \"disk\", sectors: 64)],\n\
         matrix: [Design([\"d0-legacy-bypass\", \"d5-platform-hook\"])],\n{rest})"
    )
}

/// A policy of these rules and waivers.
pub fn policy(rules: &str, waivers: &str) -> String {
    format!(
        "Policy(format: 1, name: \"p\", about: \"A test.\",\n\
         rules: [{rules}],\nwaivers: [{waivers}])"
    )
}

/// A rule that denies.
pub fn rule(id: &str, check: &str) -> String {
    format!("Rule(id: \"{id}\", level: Deny, title: \"it holds\", check: {check}),")
}

/// What the command did.
pub struct Ran {
    /// Its exit code.
    pub code: u8,
    /// Its stdout.
    pub out: String,
    /// Its stderr.
    pub err: String,
    /// The JSON report.
    pub json: Value,
}

impl Ran {
    /// What the rule `rule` says about the run whose id ends in `run`.
    pub fn ruling(&self, run: &str, rule: &str) -> &Value {
        let runs = self.json["runs"].as_array().expect("runs");
        let run = runs.iter().find(|one| one["id"].as_str().is_some_and(|id| id.ends_with(run)));
        let rulings = run.expect("the run")["policy"].as_array().expect("rulings");
        rulings.iter().find(|one| one["rule"] == rule).unwrap_or(&Value::Null)
    }

    /// The verdict of the run whose id ends in `run`.
    pub fn verdict(&self, run: &str) -> &str {
        let runs = self.json["runs"].as_array().expect("runs");
        let run = runs.iter().find(|one| one["id"].as_str().is_some_and(|id| id.ends_with(run)));
        run.expect("the run")["verdict"].as_str().expect("a verdict")
    }
}

/// Runs the command with a JSON report; `does` says what each guest does.
pub fn run(does: &(dyn Fn(&Plan) -> Does + Sync), arguments: &[&str]) -> Ran {
    let reports = TempDir::new().expect("a temporary folder");
    let file = reports.path().join("result.json");
    let report = format!("json={}", text(&file));
    let wanted = ["run"].into_iter().chain(arguments.iter().copied()).chain(["--report", &report]);
    let Plain { code, out, err } = uvsim(does, &wanted.collect::<Vec<_>>());
    let json = fs::read_to_string(&file).ok().and_then(|text| serde_json::from_str(&text).ok());
    Ran { code, out, err, json: json.unwrap_or_default() }
}

/// Text whose lines are not broken.
pub fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What the command did, without a report.
pub struct Plain {
    /// Its exit code.
    pub code: u8,
    /// Its stdout.
    pub out: String,
    /// Its stderr.
    pub err: String,
}

/// Runs the command as it is.
pub fn uvsim(does: &(dyn Fn(&Plan) -> Does + Sync), arguments: &[&str]) -> Plain {
    let runner =
        |plan: &Plan, _: &AtomicBool| -> Result<RunLog, String> { Ok(does(plan).log(plan)) };
    let words = std::iter::once("uvsim").chain(arguments.iter().copied()).map(OsString::from);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let terminal = Terminal::default();
    let world = World { runner: &runner, out: &mut out, err: &mut err, terminal };
    let code = cli::main(words, world);
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    Plain { code, out: text(out), err: text(err) }
}

/// Runs a scenario under a policy on a given day.
pub fn judged(
    does: &(dyn Fn(&Plan) -> Does + Sync),
    scenario: &str,
    policy: &str,
    today: &str,
) -> Ran {
    let files = folder(&[("s.ron", scenario), ("policies/p.ron", policy)]);
    let path = files.path().join("policies/p.ron");
    run(does, &[text(files.path()), "--policy", text(&path), "--today", today])
}

/// Whether the run is of the design that this project takes for the base.
pub fn is_base(plan: &Plan) -> bool {
    plan.design.as_deref() == Some("d0-legacy-bypass")
}

/// A bounce of some bytes.
pub fn bounce() -> Event {
    Event::Bounce { slot: 0, original: 0, bytes: 16, back: false }
}

/// A completed request.
pub fn request() -> Event {
    let (device, queue) = (host_sim::event::DeviceIndex(0), host_sim::event::QueueIndex(0));
    Event::Completed { device, queue, head: 0, written: 0, data: true }
}

/// A mapping that took this many instructions.
pub fn map(instructions: u64) -> Event {
    Event::DmaMap { address: 0, bytes: 16, direction: 0, dma: 0, instructions }
}
