//! Every shipped scenario is a test, one for each run, by its run id; and what takes two runs to say.
#![expect(clippy::wildcard_enum_match_arm, reason = "a filter names what it keeps")]

use host_sim::event::{Event, Record};
use host_sim::run;
use host_sim::scenario::plan::Plan;
use host_sim::scenario::select;
use host_sim::verdict::{self, Verdict};
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::PathBuf;
use ultravisor::Life;

fn main() {
    let arguments = Arguments::from_args();
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios"));
    let selection = match select::select(&[folder], 1) {
        Ok(selection) => selection,
        Err(faults) => {
            let places: Vec<String> =
                faults.iter().map(|fault| format!("{} {}", fault.place(), fault.message)).collect();
            let trial =
                Trial::test("shipped files are right", move || Err(Failed::from(places.join("\n"))));
            libtest_mimic::run(&arguments, vec![trial]).exit();
        }
    };
    let twins =
        ["basics/normal-legacy", "basics/secure-swiotlb/design=d5-platform-hook/unit=64KiB"].map(
            |id| selection.runs.iter().find(|run| run.plan.id == id).map(|run| run.plan.clone()),
        );
    let same = Trial::test("a boot that goes secure looks like one that does not", move || {
        let [Some(normal), Some(secure)] = twins else { return Err("a twin is missing".into()) };
        same_boot(&normal, &secure)
    });
    let trials = selection.runs.into_iter().map(|planned| {
        let plan = planned.plan;
        Trial::test(plan.id.clone(), move || {
            let log = run::run(&plan).map_err(|why| Failed::from(why.to_string()))?;
            let judged = verdict::judge(&plan, &log);
            let failed = judged.checks.iter().filter(|check| check.verdict != Verdict::Pass);
            let told: Vec<String> = failed
                .map(|check| {
                    format!("{}: expected {}; found {}", check.id, check.expected, check.found)
                })
                .collect();
            match (judged.verdict, told.as_slice()) {
                (Verdict::Pass, []) => Ok(()),
                _ => Err(Failed::from(format!("ended {}\n{}", log.ended, told.join("\n")))),
            }
        })
    });
    libtest_mimic::run(&arguments, trials.chain([same]).collect()).exit();
}

/// What the host can see of an event: kind, device, queue, part, direction, address, length. `None`:
/// nothing.
fn seen_by_host(event: &Event) -> Option<String> {
    seen_by_qemu(event).or_else(|| match event {
        Event::Exit { reason } => Some(format!("exit {reason:?}")),
        Event::HvCall { call, args, .. } => Some(format!("{} {args:?}", call.name())),
        _ => None,
    })
}

/// As [`seen_by_host`], without what ends in the hypervisor.
fn seen_by_qemu(event: &Event) -> Option<String> {
    match event {
        Event::Touch { device: Some(device), queue, part, direction, gpa, bytes, .. } => {
            Some(format!("touch {device:?} {queue:?} {part:?} {direction:?} {gpa:#x} {bytes}"))
        }
        Event::Register { device, offset, write, bytes, .. } => {
            Some(format!("mmio {device:?} {offset:#x} {write} {bytes}"))
        }
        Event::Kick { device, queue, .. } => Some(format!("kick {device:?} {queue:?}")),
        Event::Status { device, status } => Some(format!("status {device:?} {status:#x}")),
        Event::Interrupt { device, queue } => Some(format!("interrupt {device:?} {queue:?}")),
        _ => None,
    }
}

/// Claim 1 of the thread: up to UV_ESM the host sees the same of both twins, and QEMU sees the same
/// until the first device is reset after it.
fn same_boot(normal: &Plan, secure: &Plan) -> Result<(), Failed> {
    let run = |plan: &Plan| run::run(plan).map_err(|why| Failed::from(why.to_string()));
    let (normal, secure) = (run(normal)?.records, run(secure)?.records);
    let esm = secure
        .iter()
        .position(|record| matches!(record.event, Event::Life { to: Life::Transient, .. }));
    let esm = esm.ok_or("the guest never called UV_ESM")?;
    let reset = secure[esm..]
        .iter()
        .position(|record| matches!(record.event, Event::Status { status: 0, .. }));
    let reset = esm + reset.ok_or("no device was reset after UV_ESM")?;
    same_start(&normal, &secure[..esm], seen_by_host)?;
    same_start(&normal, &secure[..=reset], seen_by_qemu)
}

fn same_start(
    normal: &[Record],
    secure: &[Record],
    seen: impl Fn(&Event) -> Option<String>,
) -> Result<(), Failed> {
    let view = |records: &[Record]| -> Vec<String> {
        records.iter().filter_map(|record| seen(&record.event)).collect()
    };
    let (normal, secure) = (view(normal), view(secure));
    if secure.len() < 100 {
        return Err(Failed::from(format!("only {} events: nothing was compared", secure.len())));
    }
    let differs = secure.iter().zip(&normal).position(|(secure, normal)| secure != normal);
    match differs {
        None if normal.len() >= secure.len() => Ok(()),
        None => Err("the normal boot ended early".into()),
        Some(at) => Err(Failed::from(format!(
            "event {at} of {}: secure sees `{}`, normal `{}`",
            secure.len(),
            secure[at],
            normal[at]
        ))),
    }
}
