//! A guest finds its devices on the PCI bus, by ports and as memory, and has them interrupt it by
//! messages and by lines.

use super::interrupts::{
    and_return, apic, conversions, counting, msr, route, runs_the_same_in_small_steps, woken,
};
use super::ports::handle;
use super::small::{DATA, RING, SECTOR, Write, disk, run, small};
use firmware::bootargs::Waits;
use host_sim::device::transport::VERSION_1;
use host_sim::event::{DeviceIndex, Doing, Ended, Event, ExitReason, WakeSource, WhyAsleep};
use host_sim::log::RunLog;
use host_sim::scenario::plan::{Backend, Plan, Plugged, QemuOptions, Transport};
use host_sim::scenario::select;
use iced_x86::code_asm::{
    CodeAssembler, al, ax, byte_ptr, dword_ptr, dx, eax, qword_ptr, r12d, rbx, rdx, word_ptr,
};
use std::collections::BTreeSet;
use std::path::Path;
use ultravisor_abi::Gpa;
use ultravisor_abi::boot::{PCI_ECAM, PCI_MEMORY};

/// Where the MSI-X capability and the command register of the first device are, as memory.
const DEVICE: u64 = PCI_ECAM.0 + 0x8000;
const COMMAND: u64 = DEVICE + 4;
const MSIX_CONTROL: u64 = DEVICE + 0x42;
const TABLE: u64 = PCI_MEMORY.0 + 0x4000;

/// A guest with a disk on the PCI bus.
fn on_pci(write: impl FnOnce(&mut CodeAssembler)) -> Plan {
    let mut plan = small(write);
    plan.machine.transport = Transport::Pci;
    plan.devices = vec![disk(b"hello")];
    plan
}

/// Stores `bytes` bytes.
fn store(a: &mut CodeAssembler, at: u64, bytes: u8, value: u64) {
    a.mov(rbx, at).expect("a mov");
    match bytes {
        1 => a.mov(byte_ptr(rbx), value as i32),
        2 => a.mov(word_ptr(rbx), value as i32),
        4 => a.mov(dword_ptr(rbx), value as u32),
        _ => {
            a.mov(rdx, value).expect("a mov");
            a.mov(qword_ptr(rbx), rdx)
        }
    }
    .expect("a store");
}

/// The driver's start: queue 0 at [`RING`], with message `vector`.
fn start_disk(a: &mut CodeAssembler, vector: u64) {
    let of_common = [
        (0x14, 1, 0),
        (0x14, 1, 1),
        (0x14, 1, 3),
        (0x08, 4, 1),
        (0x0c, 4, VERSION_1 >> 32),
        (0x14, 1, 11),
        (0x16, 2, 0),
        (0x18, 2, 4),
        (0x1a, 2, vector),
        (0x20, 8, RING),
        (0x28, 8, RING + 0x1000),
        (0x30, 8, RING + 0x2000),
        (0x1c, 2, 1),
        (0x14, 1, 15),
    ];
    for (offset, bytes, value) in of_common {
        store(a, PCI_MEMORY.0 + offset, bytes, value);
    }
}

fn ask(a: &mut CodeAssembler, number: u64) {
    a.make_available(number, DATA, SECTOR, true);
    store(a, PCI_MEMORY.0 + 0x3000, 2, 0);
}

/// `in` or `out` of `eax`, `ax` or `al`.
fn from_port(a: &mut CodeAssembler, port: u32, bytes: u8) {
    a.mov(rdx, u64::from(port)).expect("a mov");
    match bytes {
        1 => a.in_(al, dx),
        2 => a.in_(ax, dx),
        _ => a.in_(eax, dx),
    }
    .expect("an in");
}

fn to_port(a: &mut CodeAssembler, port: u32, value: u32) {
    a.mov(rdx, u64::from(port)).expect("a mov");
    a.mov(eax, value).expect("a mov");
    a.out(dx, eax).expect("an out");
}

/// Ends with `code` unless `eax` is `value`.
fn demand(a: &mut CodeAssembler, value: u32, code: u64) {
    let mut right = a.create_label();
    a.cmp(eax, value as i32).expect("a cmp");
    a.je(right).expect("a jump");
    a.exit(code);
    a.set_label(&mut right).expect("a label");
    a.nop().expect("a nop");
}

fn load(a: &mut CodeAssembler, at: u64) {
    a.mov(rbx, at).expect("a mov");
    a.mov(eax, dword_ptr(rbx)).expect("a load");
}

fn exits(log: &RunLog, wanted: ExitReason) -> usize {
    log.records.iter().filter(|record| record.event == Event::Exit { reason: wanted }).count()
}

#[test]
fn configuration_space_is_the_same_by_ports_and_as_memory() {
    let log = run(&on_pci(|a| {
        let reads = [
            (0x8000_0000_u32, PCI_ECAM.0, 0x0008_1b36_u32),
            (0x8000_0800, DEVICE, 0x1042_1af4),
            (0x8000_0808, DEVICE + 8, 0x0100_0001),
            (0x8000_0804, COMMAND, 0x0010_0006),
            // Another function, another device, another bus.
            (0x8000_0900, DEVICE + 0x1000, u32::MAX),
            (0x8000_1000, PCI_ECAM.0 + 0x1_0000, u32::MAX),
            (0x8001_0000, PCI_ECAM.0 + 0x8_0000, u32::MAX),
        ];
        for (number, (address, memory, value)) in (1..).zip(reads) {
            to_port(a, 0xcf8, address);
            from_port(a, 0xcfc, 4);
            demand(a, value, number);
            load(a, memory);
            demand(a, value, 0x100 + number);
        }
        // Each byte and word of the data port is its part; the address reads back.
        to_port(a, 0xcf8, 0x8000_0803);
        from_port(a, 0xcf8, 4);
        demand(a, 0x8000_0800, 0x200);
        a.xor(eax, eax).expect("a xor");
        from_port(a, 0xcfe, 2);
        demand(a, 0x1042, 0x201);
        a.xor(eax, eax).expect("a xor");
        from_port(a, 0xcfd, 1);
        demand(a, 0x1a, 0x202);
        // A narrower access to the address is no access to it; switched off, nobody answers.
        a.mov(al, 0_i32).expect("a mov");
        a.mov(rdx, 0xcfb_u64).expect("a mov");
        a.out(dx, al).expect("an out");
        from_port(a, 0xcfc, 4);
        demand(a, 0x1042_1af4, 0x203);
        to_port(a, 0xcf8, 0x0000_0800);
        from_port(a, 0xcfc, 4);
        demand(a, u32::MAX, 0x204);
        a.exit(0);
    }));
    assert_eq!(log.ended, Ended::Exit(0));
}

#[test]
fn a_machine_without_devices_there_has_a_host_bridge_alone_and_one_with_them_no_mmio() {
    let mut plan = on_pci(|a| {
        load(a, PCI_ECAM.0 + 8);
        demand(a, 0x0600_0000, 1);
        load(a, DEVICE);
        demand(a, u32::MAX, 2);
        a.exit(0);
    });
    plan.machine.transport = Transport::Mmio;
    assert_eq!(run(&plan).ended, Ended::Exit(0));
    let log = run(&on_pci(|a| a.load_register(0)));
    assert!(matches!(log.ended, Ended::Fault { vector: 18, address: Some(0xd000_0000), .. }));
}

/// A guest that sleeps for its disk, `requests` times, interrupted at vector 0x50 by a message or by
/// its line.
fn sleeping(requests: u32, by_message: bool) -> Plan {
    on_pci(|a| {
        let mut handler = a.create_label();
        handle(a, 0x50, handler);
        if by_message {
            store(a, TABLE + 0x10, 8, 0xfee0_0000);
            store(a, TABLE + 0x18, 8, 0x50);
            store(a, MSIX_CONTROL, 2, 0x8000);
        } else {
            route(a, 16, 0x8050);
        }
        start_disk(a, if by_message { 1 } else { 0xffff });
        a.xor(r12d, r12d).expect("a xor");
        for number in 1..=requests {
            let (mut wait, mut done) = (a.create_label(), a.create_label());
            ask(a, number.into());
            a.set_label(&mut wait).expect("a label");
            a.cli().expect("a cli");
            a.cmp(r12d, number).expect("a cmp");
            a.jae(done).expect("a jump");
            a.sti().expect("a sti");
            a.hlt().expect("a hlt");
            a.jmp(wait).expect("a jump");
            a.set_label(&mut done).expect("a label");
            a.nop().expect("a nop");
        }
        a.exit(0);
        counting(a, &mut handler);
        if !by_message {
            a.mov(rbx, PCI_MEMORY.0 + 0x1000).expect("a mov");
            a.mov(al, byte_ptr(rbx)).expect("a load");
        }
        apic(a, 0xb0, 0);
        and_return(a);
    })
}

#[test]
fn a_disk_wakes_the_guest_by_a_message_without_a_look_at_its_registers() {
    let plan = sleeping(4, true);
    let log = run(&plan);
    assert_eq!((log.ended.clone(), woken(&log, 0x50).len()), (Ended::Exit(0), 4));
    let reads = |event: &Event| matches!(event, Event::Register { write: false, .. });
    assert!(!log.records.iter().any(|record| reads(&record.event)));
    assert_eq!(exits(&log, ExitReason::Notify), 4);
    runs_the_same_in_small_steps(&plan, &log);
}

#[test]
fn a_disk_wakes_the_guest_by_its_line_and_reading_the_isr_lets_go_of_it() {
    let plan = sleeping(4, false);
    let log = run(&plan);
    assert_eq!((log.ended.clone(), woken(&log, 0x50).len()), (Ended::Exit(0), 4));
    let isr = |event: &Event| {
        matches!(event, Event::Register { offset: 0x1000, write: false, value: 1, .. })
    };
    assert_eq!(log.records.iter().filter(|record| isr(&record.event)).count(), 4);
}

#[test]
fn a_message_that_is_masked_comes_when_it_is_not_any_more() {
    let log = run(&on_pci(|a| {
        let mut handler = a.create_label();
        handle(a, 0x50, handler);
        store(a, TABLE, 8, 0xfee0_0000);
        store(a, TABLE + 8, 8, 0x1_0000_0050);
        store(a, MSIX_CONTROL, 2, 0x8000);
        start_disk(a, 0);
        a.xor(r12d, r12d).expect("a xor");
        a.sti().expect("a sti");
        ask(a, 1);
        a.wait_for(1);
        load(a, TABLE + 0x800);
        demand(a, 1, 1);
        a.mov(eax, r12d).expect("a mov");
        demand(a, 0, 2);
        store(a, TABLE + 12, 4, 0);
        a.mov(eax, r12d).expect("a mov");
        demand(a, 1, 3);
        load(a, TABLE + 0x800);
        demand(a, 0, 4);
        a.exit(0);
        counting(a, &mut handler);
        apic(a, 0xb0, 0);
        and_return(a);
    }));
    assert_eq!(log.ended, Ended::Exit(0));
}

#[test]
fn a_guest_that_sleeps_for_a_message_that_cannot_come_is_told_why() {
    // Masked; held off by the task priority; to an address that is no processor's.
    let cases = [
        (0x1_0000_0050, 0xfee0_0000, 0, WhyAsleep::Masked),
        (0x50, 0xfee0_0000, 0x50, WhyAsleep::HeldOff),
        (0x50, 0xfed0_0000, 0, WhyAsleep::Quiet),
    ];
    for (data, address, priority, why) in cases {
        let log = run(&on_pci(|a| {
            store(a, TABLE, 8, address);
            store(a, TABLE + 8, 8, data);
            store(a, MSIX_CONTROL, 2, 0x8000);
            msr(a, 0x1b, 0xfee0_0d00);
            msr(a, 0x808, priority);
            start_disk(a, 0);
            ask(a, 1);
            a.sti().expect("a sti");
            a.hlt().expect("a hlt");
        }));
        assert_eq!(log.ended, Ended::Idle);
        let device = Some(DeviceIndex(0));
        let told = Event::Unwoken { source: WakeSource::Device, device, why };
        assert!(log.records.iter().any(|record| record.event == told), "{why:?}");
    }
}

#[test]
fn a_guest_moves_a_functions_memory_and_switches_it_off() {
    const MOVED: u64 = 0xda00_0000;
    let log = run(&on_pci(|a| {
        store(a, DEVICE + 0x20, 4, MOVED);
        load(a, MOVED + 0x10);
        // A field is what is at its offset, not its neighbour too.
        demand(a, 0xffff, 1);
        load(a, PCI_MEMORY.0 + 0x10);
        demand(a, u32::MAX, 2);
        store(a, COMMAND, 2, 0);
        load(a, MOVED + 0x10);
        demand(a, u32::MAX, 3);
        a.exit(0);
    }));
    assert_eq!(log.ended, Ended::Exit(0));
}

#[test]
fn registers_are_reached_through_configuration_space_by_a_port() {
    let log = run(&on_pci(|a| {
        // The window's capability is the last: common, notifications, ISR, device before it.
        const WINDOW: u32 = 0x4c + 16 + 20 + 16 + 16;
        for (field, value) in [(4, 4), (8, 0x14), (12, 1)] {
            to_port(a, 0xcf8, 0x8000_0800 + WINDOW + field);
            to_port(a, 0xcfc, value);
        }
        to_port(a, 0xcf8, 0x8000_0800 + WINDOW + 16);
        a.mov(rdx, 0xcfc_u64).expect("a mov");
        a.mov(al, 3_i32).expect("a mov");
        a.out(dx, al).expect("an out");
        a.xor(eax, eax).expect("a xor");
        from_port(a, 0xcfc, 1);
        demand(a, 3, 1);
        a.exit(0);
    }));
    assert_eq!(log.ended, Ended::Exit(0));
    let device = DeviceIndex(0);
    let told = Event::Status { device, status: 3 };
    assert!(log.records.iter().any(|record| record.event == told));
    assert_eq!(exits(&log, ExitReason::Mmio), 0);
}

#[test]
fn without_ioeventfd_a_notification_is_served_inside_the_exit() {
    let mut plan = on_pci(|a| {
        start_disk(a, 0xffff);
        ask(a, 1);
        a.wait_for(1);
        a.exit(0);
    });
    plan.devices[0].options = QemuOptions { ioeventfd: false, ..plan.devices[0].options };
    let log = run(&plan);
    assert_eq!((log.ended.clone(), exits(&log, ExitReason::Notify)), (Ended::Exit(0), 0));
    assert!(!log.records.iter().any(|record| matches!(record.event, Event::Wait { .. })));
}

#[test]
fn a_function_that_is_no_bus_master_touches_nothing_and_that_is_told() {
    let with = |command: u64, backend: Backend, ioeventfd: bool| {
        let mut plan = on_pci(|a| {
            store(a, COMMAND, 2, command);
            start_disk(a, 0xffff);
            ask(a, 1);
            a.wait_for(1);
            a.exit(0);
        });
        let options = plan.devices[0].options;
        plan.devices[0].options = QemuOptions { ioeventfd, backend, ..options };
        let log = run(&plan);
        let is_touch = |event: &Event| matches!(event, Event::Touch { .. });
        let touches = log.records.iter().filter(|record| is_touch(&record.event)).count();
        let is_barred = |event: &Event| matches!(event, Event::Actor { doing: Doing::Barred, .. });
        let barred = log.records.iter().any(|record| is_barred(&record.event));
        (log.ended, touches > 0, barred)
    };
    let ways = [(Backend::Qemu, true), (Backend::Qemu, false), (Backend::Poll, true)];
    for (backend, ioeventfd) in ways {
        assert_eq!(with(6, backend, ioeventfd), (Ended::Exit(0), true, false), "{backend:?}");
        assert_eq!(with(2, backend, ioeventfd), (Ended::Idle, false, true), "{backend:?}");
    }
}

#[test]
fn a_device_that_is_not_plugged_yet_is_not_on_the_bus() {
    let mut plan = on_pci(|a| {
        load(a, DEVICE);
        demand(a, u32::MAX, 1);
        load(a, PCI_MEMORY.0);
        demand(a, u32::MAX, 2);
        a.become_secure();
        load(a, DEVICE);
        demand(a, 0x1042_1af4, 3);
        a.exit(0);
    });
    plan.guest.secure = true;
    plan.devices[0].plugged = Plugged::AfterSwitch;
    let log = run(&plan);
    assert_eq!(log.ended, Ended::Exit(0));
    // What a secure guest does there, the hypervisor gets to see as a call.
    let seen = log.records.iter().any(|record| {
        matches!(&record.event, Event::HvCall { args, by_ultravisor: true, .. } if Gpa(args[1]) == Gpa(DEVICE))
    });
    assert!(seen);
}

/// The runs of these files of `scenarios/thread` whose devices can be functions, each over PCI.
fn over_pci(files: &[&str]) -> Vec<(Plan, Plan)> {
    let thread = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/thread");
    let files: Vec<_> = files.iter().map(|file| thread.join(file)).collect();
    let selection = select::select(&files, 1).expect("the shipped files are right");
    let plans = selection.runs.into_iter().map(|planned| planned.plan);
    let modern = plans.filter(|plan| {
        plan.devices.iter().all(|device| !device.options.legacy && !device.options.quirk)
    });
    let both = modern.map(|plan| {
        let mut over = plan.clone();
        over.machine.transport = Transport::Pci;
        (plan, over)
    });
    both.collect()
}

#[test]
fn each_design_converts_the_same_pages_over_pci_whether_its_guest_polls_or_sleeps() {
    let (mut designs, mut slept) = (BTreeSet::new(), 0);
    for (plan, over) in over_pci(&["secure.ron", "normal.ron"]) {
        if !designs.insert((plan.design.clone(), plan.guest.secure)) {
            continue;
        }
        let (ended, counts, ..) = conversions(&plan);
        let (ended_over, counts_over, interrupts, wakes) = conversions(&over);
        assert_eq!((ended_over, counts_over), (ended.clone(), counts.clone()), "{}", plan.id);
        assert_eq!((interrupts, wakes), (0, 0), "{}", plan.id);
        let mut asleep = over;
        asleep.guest.waits = Waits::Interrupts;
        let (ended_asleep, counts_asleep, interrupts, wakes) = conversions(&asleep);
        assert_eq!((ended_asleep, counts_asleep), (ended, counts), "{}", plan.id);
        assert!(wakes <= interrupts);
        slept += u64::from(wakes > 0);
    }
    assert!(designs.len() >= 38, "{}", designs.len());
    assert!(slept >= 30, "{slept}");
}

#[test]
fn each_kind_of_device_and_each_way_to_start_or_to_be_taken_over_is_the_same_over_pci() {
    let files = ["mixed.ron", "boot.ron", "hotplug.ron", "kexec.ron", "switch.ron", "balloon.ron"];
    let plans = over_pci(&files);
    for (plan, over) in &plans {
        let ((ended, counts, ..), (ended_over, counts_over, ..)) =
            (conversions(plan), conversions(over));
        assert_eq!((ended_over, counts_over), (ended, counts), "{}", plan.id);
    }
    assert!(plans.len() > 100, "{}", plans.len());
}
