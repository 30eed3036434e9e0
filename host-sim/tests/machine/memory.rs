//! Devices that change memory under the CPU, and when they do.

use crate::small::{DATA, SECTOR, Write, disk, position, run, small};
use host_sim::cost;
use host_sim::event::{Ended, Event, Part};
use host_sim::host::HostSide;
use host_sim::hypervisor::{Hypervisor, Tag};
use host_sim::log::RunLog;
use host_sim::recorder::Recorder;
use host_sim::scenario::limits::Limits;
use host_sim::scenario::plan::{CostProfile, Plan, Platform};
use host_sim::touch::{Host, Touch, TouchFault};
use iced_x86::code_asm::{CodeAssembler, rax};
use ultravisor::platform::{Config, OnTamper, RamRange};
use ultravisor::{PageState, Ultravisor};
use ultravisor_abi::{DmaAddr, Gfn, Gpa, Hcall, UnitSize};

/// `mov eax, value; ret`.
fn code(value: u8) -> [u8; 8] {
    [0xb8, value, 0, 0, 0, 0xc3, 0x90, 0x90]
}

fn call_data(a: &mut CodeAssembler) {
    a.mov(rax, DATA).expect("encodable");
    a.call(rax).expect("encodable");
}

#[test]
fn code_that_a_device_overwrote_is_executed_as_it_is_now() {
    for ioeventfd in [true, false] {
        let mut plan = small(|a| {
            a.store(DATA, u64::from_le_bytes(code(1)));
            call_data(a);
            a.start_disk();
            a.ask(1, DATA, SECTOR, true);
            a.wait_for(1);
            call_data(a);
            a.exit_with_rax();
        });
        plan.devices = vec![disk(&code(2))];
        plan.devices[0].options.ioeventfd = ioeventfd;
        assert_eq!(run(&plan).ended, Ended::Exit(2), "ioeventfd {ioeventfd}");
    }
}

#[test]
fn code_in_a_unit_that_is_paged_out_is_paged_in_to_run_and_is_what_it_was() {
    for unit in [UnitSize::KIB_64, UnitSize::KIB_4] {
        let mut plan = small(|a| {
            a.request(0xf110, [0x10_0000, 0x1_0000, 0, 0, 0]);
            let first = 0x40_0000 >> unit.order();
            a.request(0xf130, [first, 0x1_0000 >> unit.order(), 0, 0, 0]);
            a.store(DATA, u64::from_le_bytes(code(3)));
            call_data(a);
            a.start_disk();
            a.ask(1, DATA, SECTOR, false);
            a.wait_for(1);
            call_data(a);
            a.exit_with_rax();
        });
        plan.devices = vec![disk(b"")];
        plan.machine.unit = unit;
        let log = run(&plan);
        assert_eq!(log.ended, Ended::Exit(3), "{unit:?}");
        let paged = |wanted: PageState| {
            let fits = |event: &Event| {
                matches!(event, Event::Page { gfn, to, .. }
                if *gfn == DATA >> unit.order() && *to == wanted)
            };
            log.records.iter().rposition(|record| fits(&record.event))
        };
        assert!(paged(PageState::PagedOut) < paged(PageState::Secure), "{unit:?}");
    }
}

fn one_request(kick_latency_ns: u64, ioeventfd: bool) -> RunLog {
    let mut plan = small(|a| {
        a.start_disk();
        a.ask(1, DATA, SECTOR, true);
        a.wait_for(1);
        a.exit(0);
    });
    plan.machine.platform = Platform::Plain;
    plan.machine.kick_latency_ns = kick_latency_ns;
    plan.devices = vec![disk(b"x")];
    plan.devices[0].options.ioeventfd = ioeventfd;
    let log = run(&plan);
    assert_eq!(log.ended, Ended::Exit(0));
    log
}

/// Nanoseconds from the kick to the first touch.
fn latency(log: &RunLog) -> u64 {
    let kick = position(log, |event| matches!(event, Event::Kick { .. })).expect("it kicks");
    let touch = position(log, |event| matches!(event, Event::Touch { .. })).expect("it is served");
    log.records[touch].t_ns - log.records[kick].t_ns
}

#[test]
fn a_kick_is_served_after_the_latency_or_inside_the_exit() {
    for ns in [1_000, 3_000, 1_000_000] {
        assert_eq!(latency(&one_request(ns, true)), ns);
        let inside = one_request(ns, false);
        assert_eq!(latency(&inside), 0);
        assert!(position(&inside, |event| matches!(event, Event::Wait { .. })).is_none());
    }
}

/// Kicks, then `then`, then everything that is due.
fn kicked(then: impl FnOnce(&mut CodeAssembler)) -> Plan {
    let mut plan = small(|a| {
        a.start_disk();
        a.ask(1, DATA, SECTOR, true);
        then(a);
        for _ in 0..3 {
            a.pause().expect("encodable");
        }
        a.exit(0);
    });
    plan.devices = vec![disk(b"x")];
    plan
}

fn count(log: &RunLog, fits: impl Fn(&Event) -> bool) -> usize {
    log.records.iter().filter(|record| fits(&record.event)).count()
}

#[test]
fn what_is_made_available_while_the_queue_is_due_is_served_and_kicks_are_all_counted() {
    let completed = |event: &Event| matches!(event, Event::Completed { .. });
    let kick = |event: &Event| matches!(event, Event::Kick { .. });
    let log = run(&kicked(|a| a.ask(2, DATA, SECTOR, true)));
    assert_eq!((count(&log, kick), count(&log, completed)), (2, 2));
    let log = run(&kicked(|_| {}));
    assert_eq!((count(&log, kick), count(&log, completed)), (1, 1));
}

#[test]
fn a_reset_forgets_what_is_due() {
    let log = run(&kicked(|a| a.register(0x70, 0)));
    assert_eq!(count(&log, |event| matches!(event, Event::Touch { .. })), 0);
    assert_eq!(log.ended, Ended::Exit(0));
}

#[test]
fn a_page_out_that_the_ultravisor_refuses_is_a_sigbus() {
    let unit = UnitSize::KIB_64;
    let ram = vec![RamRange { start: Gpa(0), bytes: 1 << 20 }];
    let uv = Ultravisor::new(Config {
        platform: ultravisor::platform::Platform::Pef,
        unit,
        ram: ram.clone(),
        seed: 1,
        on_tamper: OnTamper::Refault,
        secure_bytes: 1 << 30,
        backed_bytes_max: 1 << 30,
    });
    let costs = cost::table(Platform::Pef, CostProfile::Firmware);
    let mut host = HostSide::new(
        Hypervisor::new(ram, unit, Recorder::new(costs, unit, Limits::default())),
        uv.expect("a mebibyte can be mapped"),
        true,
    );
    // The hypervisor believes in a secure VM that the ultravisor knows nothing of.
    for call in [Hcall::SvmInitStart, Hcall::SvmInitDone] {
        ultravisor::Hypervisor::hcall(&mut host.hv, &mut host.uv, call, [0; 6]);
    }
    assert_eq!(host.hv.tag(Gfn(3)), Tag::SecureIn);
    let touch = Touch {
        device: host_sim::event::DeviceIndex(0),
        queue: host_sim::event::QueueIndex(0),
        part: Part::Data,
        direction: host_sim::event::Direction::Read,
        at: DmaAddr(3 << 16),
        bytes: 8,
        chain: None,
    };
    assert_eq!(host.touch(&touch).err(), Some(TouchFault::Sigbus));
    let (records, _) = host.hv.recorder.finish();
    assert!(records.iter().any(|record| record.event == Event::Sigbus { gfn: 3 }));
}
