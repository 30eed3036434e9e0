//! Claim 1 of the thread, on our own scenarios: until a guest enters secure mode nobody on the
//! host side can tell it from one that never will, and QEMU cannot even then, until the first
//! device reset.
#![expect(clippy::wildcard_enum_match_arm, reason = "a filter names what it keeps")]

use host_sim::event::{Event, Record};
use host_sim::run;
use host_sim::scenario::plan::Plan;
use host_sim::scenario::select;
use std::path::PathBuf;
use ultravisor::Life;

/// What the host side can see of an event: kind, device, queue, part, direction, GPA, length.
type Visible = String;

/// What anybody on the host side sees.
fn host(record: &Record) -> Option<Visible> {
    let seen = match &record.event {
        Event::Exit { reason } => format!("exit {reason:?}"),
        Event::HvCall { call, args, by_ultravisor: false, .. } => format!("{call:?} {args:?}"),
        _ => return qemu(record),
    };
    Some(seen)
}

/// What QEMU sees.
fn qemu(record: &Record) -> Option<Visible> {
    let seen = match &record.event {
        Event::Touch { device, queue, part, direction, gpa, bytes, .. } => {
            format!("touch {device:?} {queue:?} {part:?} {direction:?} {gpa:#x} {bytes}")
        }
        Event::Register { device, offset, write, bytes, value } => {
            format!("register {device:?} {offset:#x} {write} {bytes} {value:#x}")
        }
        Event::Kick { device, queue, .. } => format!("kick {device:?} {queue:?}"),
        Event::Popped { device, queue, head, readable, writable } => {
            format!("popped {device:?} {queue:?} {head} {readable} {writable}")
        }
        Event::Completed { device, queue, head, written, .. } => {
            format!("completed {device:?} {queue:?} {head} {written}")
        }
        Event::Interrupt { device, queue } => format!("interrupt {device:?} {queue:?}"),
        Event::Status { device, status } => format!("status {device:?} {status}"),
        _ => return None,
    };
    Some(seen)
}

fn runs() -> (Vec<Record>, Vec<Record>) {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/basics"));
    let selection = select::select(&[folder], 1).unwrap_or_else(|_| panic!("basics are right"));
    let log = |wanted: &str| {
        let fits = |plan: &Plan| plan.scenario == wanted && plan.machine.unit.order() == 16;
        let planned = selection.runs.iter().find(|planned| fits(&planned.plan));
        run::run(&planned.expect("it is shipped").plan).expect("it runs").records
    };
    (log("basics/normal-legacy"), log("basics/secure-swiotlb"))
}

fn entered(record: &Record) -> bool {
    matches!(record.event, Event::Life { to: Life::Transient, .. })
}

#[test]
fn the_host_sees_the_same_until_the_guest_enters_secure_mode() {
    let (normal, secure) = runs();
    assert!(!normal.iter().any(entered));
    let before: Vec<Visible> =
        secure.iter().take_while(|record| !entered(record)).filter_map(host).collect();
    assert!(before.len() > 100, "slof has used its disk: {} events", before.len());
    let other: Vec<Visible> = normal.iter().filter_map(host).take(before.len()).collect();
    assert_eq!(before, other);
}

#[test]
fn qemu_sees_the_same_until_the_first_device_reset_after_it() {
    let (normal, secure) = runs();
    let switch = secure.iter().position(entered).expect("it becomes secure");
    let reset = secure[switch..]
        .iter()
        .position(|record| matches!(record.event, Event::Status { status: 0, .. }))
        .expect("the kernel resets its devices");
    let through: Vec<Visible> = secure[..switch + reset].iter().filter_map(qemu).collect();
    let other: Vec<Visible> = normal.iter().filter_map(qemu).take(through.len()).collect();
    assert_eq!(through, other);
    // And it is the kernel's reset that ends it, not one of the boot firmware's.
    let calls = secure[..switch].iter().filter_map(qemu).count();
    assert!(through.len() > calls, "QEMU saw nothing between the switch and the reset");
}
