//! Claim 1 of the thread, on our own scenarios: until a guest enters secure mode nobody on the
//! host side can tell it from one that never will, and QEMU cannot even then, until the first
//! device reset. (The scenario of the claim itself says the same as an expectation.)

use host_sim::event::Record;
use host_sim::run;
use host_sim::scenario::plan::Plan;
use host_sim::scenario::select;
use host_sim::view::{Onlooker, Until, View};
use std::path::PathBuf;

fn runs() -> [Vec<Record>; 2] {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/basics"));
    let selection = select::select(&[folder], 1).unwrap_or_else(|_| panic!("basics are right"));
    let log = |wanted: &str| {
        let fits = |plan: &Plan| plan.scenario == wanted && plan.machine.unit.order() == 16;
        let planned = selection.runs.iter().find(|planned| fits(&planned.plan));
        run::run(&planned.expect("it is shipped").plan).expect("it runs").records
    };
    [log("basics/normal-legacy"), log("basics/secure-swiotlb")]
}

/// How many events were the same until the moment.
fn same(onlooker: Onlooker, until: Until) -> usize {
    let [normal, secure] = runs().map(|records| View::of(&records, onlooker, until));
    secure.same_until(&normal).expect("they are the same")
}

#[test]
fn the_host_sees_the_same_until_the_guest_enters_secure_mode() {
    let before = same(Onlooker::Host, Until::Switch);
    assert!(before > 100, "slof has used its disk: {before} events");
}

#[test]
fn qemu_sees_the_same_until_the_first_device_reset_after_it() {
    let (switch, reset) =
        (same(Onlooker::Qemu, Until::Switch), same(Onlooker::Qemu, Until::ResetAfterSwitch));
    // And it is the kernel's reset that ends it, not one of the boot firmware's.
    assert!(reset > switch, "QEMU saw nothing between the switch and the reset");
}

#[test]
fn a_normal_guest_never_comes_to_the_moment_and_a_difference_is_found() {
    let [normal, secure] = runs();
    let view = |records: &[Record]| View::of(records, Onlooker::Host, Until::Switch);
    assert!(view(&normal).same_until(&view(&secure)).is_err());
    let without_the_first = secure.iter().skip_while(|record| record.seq < 20);
    let without_the_first: Vec<Record> = without_the_first.cloned().collect();
    let error = view(&secure).same_until(&view(&without_the_first)).expect_err("they differ");
    assert!(error.contains("number 1 differs"), "{error}");
}
