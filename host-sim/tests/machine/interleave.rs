//! `interleave: Touch`: the guest runs between two touches of a device.

use super::small::{DATA, SECTOR, Write, disk, position, run, small};
use host_sim::event::{Ended, Event};
use host_sim::log::RunLog;
use host_sim::scenario::plan::Platform;
use iced_x86::code_asm::CodeAssembler;

/// The device's status register.
const STATUS: u64 = 0x70;

/// One request of a disk, then `then`.
fn served(touch_by_touch: bool, ioeventfd: bool, then: impl FnOnce(&mut CodeAssembler)) -> RunLog {
    let mut plan = small(|a| {
        a.start_disk();
        a.ask(1, DATA, SECTOR, true);
        then(a);
        a.exit(0);
    });
    plan.machine.platform = Platform::Plain;
    plan.machine.kick_latency_ns = 0;
    plan.machine.interleave_touch = touch_by_touch;
    plan.devices = vec![disk(b"x")];
    plan.devices[0].options.ioeventfd = ioeventfd;
    let log = run(&plan);
    assert_eq!(log.ended, Ended::Exit(0));
    log
}

fn is_touch(event: &Event) -> bool {
    matches!(event, Event::Touch { .. })
}

fn touches(log: &RunLog) -> usize {
    log.records.iter().filter(|record| is_touch(&record.event)).count()
}

/// How often the guest waited between the first touch and the end of the request.
fn waits_while_served(log: &RunLog) -> usize {
    let from = position(log, is_touch).expect("it is served");
    let to = position(log, |event| matches!(event, Event::Completed { .. })).expect("to the end");
    let between = &log.records[from..to];
    between.iter().filter(|record| matches!(record.event, Event::Wait { .. })).count()
}

#[test]
fn the_guest_runs_between_two_touches_and_not_within_a_service() {
    assert!(waits_while_served(&served(true, true, |a| a.wait_for(1))) > 2);
    assert_eq!(waits_while_served(&served(false, true, |a| a.wait_for(1))), 0);
}

#[test]
fn both_ways_a_request_takes_the_same_touches() {
    let [whole, apart] = [false, true].map(|apart| served(apart, true, |a| a.wait_for(1)));
    let parts = |log: &RunLog| -> Vec<String> {
        let touches = log.records.iter().filter_map(|record| match &record.event {
            Event::Touch { part, gpa, bytes, .. } => Some(format!("{part:?} {gpa:#x} {bytes}")),
            _ => None,
        });
        touches.collect()
    };
    assert_eq!(parts(&whole), parts(&apart));
}

#[test]
fn inside_an_exit_all_of_it_is_done_before_the_guest_runs() {
    assert_eq!(waits_while_served(&served(true, false, |a| a.wait_for(1))), 0);
}

#[test]
fn who_looks_at_a_register_waits_until_the_device_has_finished() {
    let log = served(true, true, |a| {
        // The first touch is made; the second is not due yet.
        a.nop().expect("encodable");
        a.load_register(STATUS);
        a.wait_for(1);
    });
    let read =
        |event: &Event| matches!(event, Event::Register { offset: STATUS, write: false, .. });
    let read = position(&log, read).expect("it looks");
    let first = position(&log, is_touch).expect("it is served");
    let done = position(&log, |event| matches!(event, Event::Completed { .. })).expect("it is");
    assert!(first < done && done < read, "{first} {done} {read}");
}

#[test]
fn a_run_that_ends_in_the_middle_of_a_service_ends() {
    let all = touches(&served(true, true, |a| a.wait_for(1)));
    let some = touches(&served(true, true, |a| a.nop().expect("encodable")));
    assert!(0 < some && some < all, "{some} of {all}");
}
