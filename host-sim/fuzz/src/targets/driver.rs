//! The guest's drivers under a hostile device: the built-in guest does its work in a secure VM
//! while somebody writes into the rings, headers and buffers that it shares, and its devices lie
//! about their registers.
//!
//! The guest may fail, by name or by exit, and what it is given may be wrong. It does not fault,
//! it does not go on for ever, and no secret of its leaks.

use super::scenario;
use arbitrary::{Result, Unstructured};
use host_sim::event::{Ended, Event, Part};
use host_sim::log::RunLog;
use host_sim::machine::Machine;
use host_sim::run::Prepared;
use host_sim::scenario::diagnostics::SourceText;
use host_sim::scenario::plan::Plan;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use ultravisor_abi::Gpa;

/// A little of each kind of work. Waits are short: what never comes is waited for in full.
const SCENARIO: &str = r#"Scenario(
    format: 1, name: "fuzz/driver", about: "A hostile host.",
    design: "d5-platform-hook",
    machine: (memory: "16MiB", swiotlb: "1MiB", unit: "4KiB"),
    guest: (secure: true, wait: "100us", budget: 20_000_000),
    limits: (log: 20_000, host_steps: 20_000, calls: 10_000),
    devices: [Blk(id: "disk", sectors: 64), Net(id: "net", peer: Echo), Console(id: "console"),
        Entropy(id: "rng"), Balloon(id: "balloon")],
    workload: Mixed([Block(ops: [Write(requests: 2, bytes: "512B"), ReadBack]),
        Net(ops: [Echo(frames: 2, bytes: "60B")]), Console(lines: 1),
        Entropy(requests: 1, bytes: "16B"), Balloon(pages: 4)]),
    expect: [],
)"#;
/// Places that were touched last and may be written to.
const PLACES_MAX: usize = 48;

fn plan() -> &'static Plan {
    static PLAN: OnceLock<Plan> = OnceLock::new();
    PLAN.get_or_init(|| {
        let source = Arc::new(SourceText { path: "fuzz.ron".into(), text: SCENARIO.into() });
        let plans = scenario::plans(&source);
        let plans = plans.unwrap_or_else(|faults| panic!("{}", faults[0].message));
        plans.into_iter().next().expect("one run")
    })
}

/// Somebody on the host, who acts as the bytes say; without bytes nobody acts any more.
struct Meddler<'a> {
    bytes: Unstructured<'a>,
    /// Steps until the next act.
    wait: u32,
    /// Records seen.
    seen: usize,
    places: Vec<(u64, u64)>,
}

impl Meddler<'_> {
    /// Learns what devices touch, and acts if it is time. *Returns* for how many work units the
    /// guest may run until the next look.
    fn meddle(&mut self, machine: &mut Machine<'_>) -> u64 {
        let registers = self.look(machine);
        if self.bytes.is_empty() {
            return u64::MAX;
        }
        if self.wait > 0 {
            self.wait -= 1;
            return u64::MAX;
        }
        self.act(machine, registers).unwrap_or(u64::MAX)
    }

    /// *Returns* whether the guest reads a register just now.
    fn look(&mut self, machine: &Machine<'_>) -> bool {
        let records = machine.host().hv.recorder.records();
        let new = &records[self.seen..];
        for record in new {
            if let Event::Touch { gpa, bytes, part, .. } = &record.event
                && *part != Part::Hypercall
                && !self.places.contains(&(*gpa, *bytes))
            {
                self.places.push((*gpa, *bytes));
            }
        }
        self.seen = records.len();
        let extra = self.places.len().saturating_sub(PLACES_MAX);
        self.places.drain(..extra);
        new.last().is_some_and(|last| matches!(last.event, Event::Register { write: false, .. }))
    }

    fn act(&mut self, machine: &mut Machine<'_>, registers: bool) -> Result<u64> {
        let u = &mut self.bytes;
        let pause = u.arbitrary::<u8>()?;
        // Either some steps of the machine, or some instructions.
        self.wait = u32::from(pause >> 1) * u32::from(pause & 1);
        let units = if pause & 1 == 1 { u64::MAX } else { 1 + u64::from(pause) * 8 };
        let value = match u.int_in_range(0..=5)? {
            0 => u.arbitrary::<u64>()?,
            1 => u.int_in_range(0..=64)?,
            2 => u64::MAX,
            3 => u64::from(u.arbitrary::<u16>()?),
            4 => 1 << u.int_in_range(0..=63)?,
            _ => 0,
        };
        if registers {
            assert!(machine.lie(value), "a register is being read");
        } else if !self.places.is_empty() {
            let (gpa, bytes) = *u.choose(&self.places)?;
            let at = gpa + u.int_in_range(0..=bytes.saturating_sub(1).min(4095))?;
            let length = *u.choose(&[1, 2, 4, 8])?;
            machine.scribble(Gpa(at), &value.to_le_bytes()[..length]);
        }
        Ok(units)
    }
}

fn meddled(data: &[u8]) -> RunLog {
    static PREPARED: OnceLock<Prepared<'static>> = OnceLock::new();
    let prepared = PREPARED.get_or_init(|| Prepared::new(plan()).expect("the images are right"));
    let mut machine = prepared.power_on().expect("it starts");
    let bytes = Unstructured::new(data);
    let mut meddler = Meddler { bytes, wait: 0, seen: 0, places: Vec::new() };
    let ended = loop {
        let units = meddler.meddle(&mut machine);
        if let Some(ended) = machine.step(units) {
            break ended;
        }
    };
    let late = AtomicBool::new(false);
    prepared.conclude(machine.stop(ended), &late).expect("nobody set it")
}

pub fn run(data: &[u8]) {
    let log = meddled(data);
    let leaks = log.records.iter().filter(|record| matches!(record.event, Event::Leak { .. }));
    assert_eq!(leaks.count(), 0, "a secret shows: {}", log.ended);
    let fine = matches!(log.ended, Ended::Exit(_) | Ended::Budget(_) | Ended::Idle);
    assert!(fine, "{}", log.ended);
}
