//! Each limit of a run, at the limit and one past it, and what a run that got stuck tells.

use crate::small::{DATA, Write, disk, run, small, with_functions};
use host_sim::event::{Budget, Doing, Ended, Event, LeakPlace};
use host_sim::log::RunLog;
use host_sim::output::stuck;
use host_sim::recorder::RECORDS_MAX;
use host_sim::run::{CannotRun, run_until};
use host_sim::scenario::limits::{FINDINGS, Limit, Limits};
use host_sim::scenario::plan::{DeviceKind, DevicePlan, Plan, Platform, Plugged, QemuOptions};
use host_sim::scenario::select;
use host_sim::suite::{self, Done, Pace};
use iced_x86::code_asm::{CodeAssembler, byte_ptr, rax, rbx, rcx, rdx};
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;
use ultravisor_abi::{Hcall, OurCall};

/// How a run of `plan` ends with `limit` set to each of two values.
fn ends(plan: &Plan, limit: impl Fn(&mut Plan, u64), values: [u64; 2]) -> [Ended; 2] {
    values.map(|value| {
        let mut plan = plan.clone();
        limit(&mut plan, value);
        run(&plan).ended
    })
}

fn many(times: u32, mut one: impl FnMut(&mut CodeAssembler)) -> Plan {
    let mut plan = small(|a| {
        (0..times).for_each(|_| one(a));
        a.exit(0);
    });
    plan.devices = vec![disk(b"")];
    plan
}

fn count(log: &RunLog, fits: impl Fn(&Event) -> bool) -> usize {
    log.records.iter().filter(|record| fits(&record.event)).count()
}

#[test]
fn no_log_is_longer_than_a_reader_of_logs_expects() {
    let most = |limit: Limit| limit.range.1;
    assert_eq!(most(Limit::of(Budget::Log)), 4_000_000);
    assert_eq!(most(FINDINGS), 100_000);
    // And a thousand records that tell of the end.
    assert_eq!(RECORDS_MAX, 4_101_000);
}

#[test]
fn a_run_has_as_many_host_steps_as_it_may_and_no_more() {
    // Ten loads and the exit.
    let plan = many(10, |a| a.load_register(0));
    let set = |plan: &mut Plan, steps| plan.limits.host_steps = steps;
    let over = Ended::Budget(Budget::HostSteps);
    assert_eq!(ends(&plan, set, [11, 10]), [Ended::Exit(0), over]);
}

#[test]
fn a_queue_that_is_served_is_a_host_step() {
    let mut plan = small(|a| {
        a.start_disk();
        a.ask(1, DATA, 512, true);
        a.wait_for(1);
        a.exit(0);
    });
    plan.devices = vec![disk(b"")];
    let exits = count(&run(&plan), |event| matches!(event, Event::Register { .. })) as u64 + 1;
    let set = |plan: &mut Plan, steps| plan.limits.host_steps = steps;
    let [at, past] = ends(&plan, set, [exits + 1, exits]);
    assert_eq!((at, past), (Ended::Exit(0), Ended::Budget(Budget::HostSteps)));
}

#[test]
fn a_run_has_as_many_calls_as_it_may_and_no_more() {
    let set = |plan: &mut Plan, calls| plan.limits.calls = calls;
    for number in [Hcall::PutTermChar.number(), OurCall::Mark.number(), 0xf130, 0x1234] {
        let plan = many(10, |a| a.request(number, [0; 5]));
        let over = Ended::Budget(Budget::Calls);
        assert_eq!(ends(&plan, set, [11, 10]), [Ended::Exit(0), over], "{number:#x}");
    }
}

#[test]
fn a_run_prints_as_much_as_it_may_and_no_more_on_all_consoles_together() {
    let put = Hcall::PutTermChar.number();
    let mut plan = small(|a| {
        a.request(put, [0, 16, 1, 2, 0]);
        a.request(put, [0, 5, 1, 2, 0]);
        // The console's transmit queue is its second.
        a.start_disk();
        for (offset, value) in [(0x30, 1), (0x38, 4), (0x80, 0x40_0000), (0x90, 0x40_1000)] {
            a.register(offset, value);
        }
        a.register(0xa0, 0x40_2000);
        a.register(0x44, 1);
        a.store(0x40_0000, DATA);
        a.store(0x40_0008, 7);
        a.store(0x40_1000, 1 << 16);
        a.register(0x50, 1);
        a.wait_for(1);
        a.exit(0);
    });
    plan.devices = vec![DevicePlan {
        id: "console".into(),
        kind: DeviceKind::Console,
        options: QemuOptions::default(),
        plugged: Plugged::AtStart,
    }];
    // Touch by touch the run is over before the text is read.
    for (interleave, kept) in [(false, 27), (true, 21)] {
        plan.machine.interleave_touch = interleave;
        let set = |plan: &mut Plan, bytes| plan.limits.console_bytes = bytes;
        let over = Ended::Budget(Budget::Console);
        assert_eq!(ends(&plan, set, [28, 27]), [Ended::Exit(0), over.clone()]);
        assert_eq!(ends(&plan, set, [21, 20]), [over.clone(), over]);
        plan.limits.console_bytes = 27;
        let printed = run(&plan).records.iter().fold(0, |sum, record| match &record.event {
            Event::Console { bytes, .. } => sum + bytes.len(),
            _ => sum,
        });
        assert_eq!(printed, kept, "interleave {interleave}");
    }
}

#[test]
fn a_log_holds_as_many_events_as_it_may_and_what_is_told_of_the_end_besides() {
    let plan = many(10, |a| a.load_register(0));
    let whole = run(&plan);
    // The last event is told when the run is over.
    let events = whole.records.len() as u64 - 1;
    let set = |plan: &mut Plan, events| plan.limits.log_events = events;
    let over = Ended::Budget(Budget::Log);
    assert_eq!(ends(&plan, set, [events, events - 1]), [Ended::Exit(0), over]);
    let mut short = plan.clone();
    set(&mut short, events - 1);
    let log = run(&short);
    assert_eq!(log.records[..events as usize - 1], whole.records[..events as usize - 1]);
    assert_eq!(count(&log, |event| matches!(event, Event::Retired { .. })), 1);
}

/// A guest that writes one byte into each of so many units.
fn writes_to(units: u64) -> Plan {
    let mut plan = small(|a| {
        for unit in 0..units {
            a.store(0x100_0000 + (unit << 16), 1);
        }
        a.exit(0);
    });
    plan.guest.units_max = 1_000_000;
    plan
}

#[test]
fn a_guest_uses_as_much_memory_as_it_may_and_no_more() {
    // Where there is an ultravisor, a unit may lie in both memories.
    for (platform, memories) in [(Platform::Plain, 1), (Platform::Pef, 2)] {
        uses_as_much_memory_as_it_may(platform, memories * (64 << 10));
    }
}

fn uses_as_much_memory_as_it_may(platform: Platform, unit: u64) {
    let fits = |plan: &Plan, units: u64| {
        let mut plan = plan.clone();
        plan.machine.platform = platform;
        plan.limits.memory_bytes = units * unit;
        match run(&plan).ended {
            Ended::Exit(0) => true,
            Ended::Budget(Budget::Memory) => false,
            other => panic!("{other}"),
        }
    };
    // What loading takes, in units.
    let loaded = (1..100).find(|units| fits(&writes_to(0), *units)).expect("a hundred are enough");
    for units in [1, 2, 50] {
        assert!(fits(&writes_to(units), loaded + units), "{units}");
        assert!(!fits(&writes_to(units), loaded + units - 1), "{units}");
    }
}

/// A guest that declares a secret and leaves it in so many units that the host can read.
fn spills(units: u64, then: impl FnOnce(&mut CodeAssembler)) -> Plan {
    let halves = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];
    small(|a| {
        let spill = |a: &mut CodeAssembler, at: u64| {
            a.store(at, halves[0]);
            a.store(at + 8, halves[1]);
        };
        spill(a, DATA);
        a.request(OurCall::Secret.number(), [DATA, 16, 0, 0, 0]);
        (1..units).for_each(|unit| spill(a, 0x100_0000 + (unit << 16)));
        then(a);
        a.exit(0);
    })
}

#[test]
fn leaks_are_told_one_by_one_as_far_as_they_may_and_counted_beyond() {
    let mut plan = spills(20, |_| {});
    let told = |log: &RunLog| count(log, |event| matches!(event, Event::Leak { .. }));
    for (findings, expected) in [(20, (20, 0)), (19, (19, 1)), (1, (1, 19))] {
        plan.limits.findings = findings;
        let log = run(&plan);
        let left_out = log.records.iter().find_map(|record| match record.event {
            Event::LeaksLeftOut { count } => Some(count),
            _ => None,
        });
        assert_eq!((told(&log), left_out.unwrap_or(0)), expected);
        assert_eq!(log.ended, Ended::Exit(0), "it ends nothing");
    }
}

#[test]
fn no_leak_hides_behind_a_full_log() {
    let mut plan = spills(1, |a| {
        let mut again = a.create_label();
        a.set_label(&mut again).expect("free");
        a.load_register(0);
        a.jmp(again).expect("encodable");
    });
    plan.devices = vec![disk(b"")];
    plan.limits.log_events = 500;
    let log = run(&plan);
    assert_eq!(log.ended, Ended::Budget(Budget::Log));
    let leak = Event::Leak { place: LeakPlace::Memory, at: DATA };
    assert_eq!(count(&log, |event| *event == leak), 1);
}

#[test]
fn a_run_whose_time_is_up_tells_nothing() {
    let endless = small(|a| {
        let mut again = a.create_label();
        a.set_label(&mut again).expect("free");
        a.jmp(again).expect("encodable");
    });
    let late = run_until(&endless, &AtomicBool::new(true)).expect_err("it is late");
    assert_eq!(late, CannotRun::WallClock);
    assert!(late.to_string().starts_with("E405: "), "{late}");
}

#[test]
fn a_stuck_run_says_what_everybody_did_and_where_the_guest_spent_its_time() {
    let mut plan = with_functions(&[("main", 0), ("spin", 12)], |a| {
        a.mov(rbx, 0x1234_5678_9abc_u64).expect("encodable");
        let mut again = a.create_label();
        a.nop().expect("encodable");
        a.nop().expect("encodable");
        a.set_label(&mut again).expect("free");
        a.jmp(again).expect("encodable");
    });
    plan.devices = vec![disk(b"")];
    plan.guest.units_max = 1_000_000;
    let log = run(&plan);
    assert_eq!(log.ended, Ended::Budget(Budget::WorkUnits));
    let lines = stuck::lines(&plan, &log);
    let said = [
        "E401: more than 1000000 work units; `guest: (budget: ..)` allows up to 10000000000",
        "the guest runs in spin+0x0",
        "disk is not set up, or needs a reset",
        "hot: spin+0x0 in 15 of 15 looks",
    ];
    assert_eq!(lines, said);
}

#[test]
fn a_guest_that_waits_for_ever_and_the_device_that_has_nothing_to_do_are_told() {
    let mut plan = small(|a| {
        a.start_disk();
        a.hlt().expect("encodable");
    });
    plan.devices = vec![disk(b"")];
    let log = run(&plan);
    assert_eq!(log.ended, Ended::Idle);
    let doing: Vec<Doing> = log
        .records
        .iter()
        .filter_map(|record| match &record.event {
            Event::Actor { doing, .. } => Some(*doing),
            _ => None,
        })
        .collect();
    assert_eq!(doing, [Doing::Waiting, Doing::Idling]);
    let lines = stuck::lines(&plan, &log);
    assert!(lines[0].starts_with("E402: the guest waits"), "{lines:?}");
}

#[test]
fn a_device_that_is_due_and_one_in_the_middle_of_its_work_are_told() {
    for (interleave, expected) in [(false, Doing::Due), (true, Doing::Serving)] {
        let mut plan = small(|a| {
            a.start_disk();
            a.ask(1, DATA, 512, true);
            a.mov(rcx, 40_000_u64).expect("encodable");
            let mut again = a.create_label();
            a.set_label(&mut again).expect("free");
            a.dec(rcx).expect("encodable");
            a.jnz(again).expect("encodable");
            a.mov(rdx, rax).expect("encodable");
            a.exit(0);
        });
        plan.devices = vec![disk(b"")];
        plan.machine.interleave_touch = interleave;
        let exits = count(&run(&plan), |event| matches!(event, Event::Register { .. })) as u64;
        // One step of the device, if it takes several; none, if it takes one.
        plan.limits.host_steps = exits + u64::from(interleave);
        let log = run(&plan);
        assert_eq!(log.ended, Ended::Budget(Budget::HostSteps));
        let stood = log.records.iter().find_map(|record| match &record.event {
            Event::Actor { device: Some(_), doing, queue, .. } => Some((*doing, queue.is_some())),
            _ => None,
        });
        assert_eq!(stood, Some((expected, true)), "interleave {interleave}");
    }
}

#[test]
fn every_budget_has_a_row_whose_default_lies_in_its_range() {
    for budget in Budget::ALL {
        let Limit { default, range: (least, most), code, .. } = Limit::of(budget);
        assert!(least <= default && default <= most, "{budget:?}");
        assert!((401..=409).contains(&code.0), "{budget:?}");
    }
    let mut plan = small(|a| a.mov(byte_ptr(rax), 0).expect("encodable"));
    plan.limits.log_events = 7;
    assert_eq!(plan.limits.of(Budget::Log, 3), 7);
    assert_eq!(plan.limits.of(Budget::WorkUnits, 3), 3);
}

/// How many of eight runs of `plan` on four threads were seen to go on at the same time.
fn at_the_same_time(plan: &Plan) -> usize {
    let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let runner = |plan: &Plan, late: &AtomicBool| {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // Others get their chance to begin, unless one did.
        for _ in 0..200_000 {
            if most.load(Ordering::SeqCst) > 1 {
                break;
            }
            thread::yield_now();
        }
        let log = run_until(plan, late).map_err(|error| error.to_string());
        now.fetch_sub(1, Ordering::SeqCst);
        log
    };
    let pace = Pace { threads: 4, wall_clock: Duration::from_secs(60) };
    let mut order = Vec::new();
    suite::run(&[plan; 8], pace, &runner, |number, done| {
        assert!(matches!(done, Done::Judged(_)), "{done:?}");
        order.push(number);
    });
    assert_eq!(order, [0, 1, 2, 3, 4, 5, 6, 7]);
    most.into_inner()
}

#[test]
fn runs_that_may_take_much_memory_wait_for_each_other_and_others_do_not() {
    let plan = many(10, |a| a.load_register(0));
    assert!(at_the_same_time(&plan) > 1);
    let mut large = plan;
    large.limits.memory_bytes = 1 << 30;
    assert_eq!(at_the_same_time(&large), 1);
}

#[test]
fn what_a_scenario_limits_is_what_its_run_is_held_to() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("a.ron");
    let text = "Scenario(format: 1, name: \"a\", about: \"A test.\", expect: [],\n\
        guest: (budget: 7), limits: (host_steps: 6, calls: 5, console: \"4B\", log: 3,\n\
        memory: \"2MiB\", findings: 1))";
    fs::write(&path, text).expect("a file");
    let selection = select::select(&[path], 1).expect("it is right");
    let plan = &selection.runs[0].plan;
    let limits = Limits {
        host_steps: 6,
        calls: 5,
        console_bytes: 4,
        log_events: 3,
        memory_bytes: 2 << 20,
        findings: 1,
    };
    assert_eq!((plan.limits, plan.guest.units_max), (limits, 7));
}
