//! Arguments: who is let in, and which of two simultaneous errors is reported (facts 2.6: a wrong
//! order U_P5, a wrong page U_P2, an unknown lpid U_PARAMETER, a dead VM U_STATE, a GPA outside
//! the slots U_P3).

use crate::fake::{LOW, UNITS, World, config, page_args};
use ultravisor::frames::{NORMAL_BASE, SECURE_BASE};
use ultravisor::platform::Config;
use ultravisor::ucall::entitled;
use ultravisor::{Hypervisor, LPID, Ultravisor};
use ultravisor_abi::ucall::Caller;
use ultravisor_abi::{CallRegs, Gfn, Gpa, HStatus, Hcall, UStatus, Ucall, UnitSize};

/// One way to get an argument wrong, and the status that tells of it.
struct Wrong {
    status: UStatus,
    make: fn(&mut [u64; 6], &World),
}

const fn wrong(status: UStatus, make: fn(&mut [u64; 6], &World)) -> Wrong {
    Wrong { status, make }
}

/// Each error alone, and each pair of them, `errors` being in the order of the checks.
fn each_pair_reports_the_first(world: &mut World, call: Ucall, good: [u64; 6], errors: &[Wrong]) {
    let before = world.snapshot();
    for (i, first) in errors.iter().enumerate() {
        for (j, second) in errors.iter().enumerate().skip(i) {
            let mut args = good;
            // The later check's argument is spoilt first: the earlier one's may depend on it.
            (second.make)(&mut args, world);
            (first.make)(&mut args, world);
            let status = if entitled(Caller::Hypervisor, call).is_ok() {
                world.uv.host_call(call, args)
            } else {
                world.uv.guest_call(&mut world.kvm, CallRegs { number: call.number(), args })
            };
            assert_eq!(status, first.status, "{call:?}: errors {i} and {j}, {args:x?}");
        }
    }
    assert_eq!(world.snapshot(), before, "a refused call changes nothing");
}

/// The hole between low RAM and 4 GiB.
fn hole(args: &mut [u64; 6], world: &World) {
    args[2] = LOW * world.unit.bytes();
    args[1] = NORMAL_BASE + args[2];
}

const PAGE_CALLS: [Wrong; 4] = [
    wrong(UStatus::P5, |args, _| args[4] += 1),
    wrong(UStatus::P2, |args, _| args[1] = 0),
    wrong(UStatus::Parameter, |args, _| args[0] = LPID + 1),
    wrong(UStatus::P3, hole),
];

#[test]
fn page_in_and_page_out_check_order_page_lpid_and_gpa_in_this_order() {
    for unit in UNITS {
        let mut world = World::secure(config(unit));
        let good = page_args(unit, Gfn(3));
        for call in [Ucall::PageIn, Ucall::PageOut] {
            each_pair_reports_the_first(&mut world, call, good, &PAGE_CALLS);
        }
        assert_eq!(world.page_out(Gfn(3)), UStatus::Success);
        assert_eq!(world.page_in(Gfn(3)), UStatus::Success);
    }
}

#[test]
fn a_dead_vm_is_noticed_after_the_lpid_and_before_the_gpa() {
    let mut world = World::secure(config(UnitSize::KIB_4));
    assert_eq!(world.terminate(), UStatus::Success);
    let good = page_args(world.unit, Gfn(3));
    let [order, page, lpid, _] = PAGE_CALLS;
    let errors = [order, page, lpid, wrong(UStatus::State, |_, _| {}), wrong(UStatus::P3, hole)];
    each_pair_reports_the_first(&mut world, Ucall::PageIn, good, &errors[..4]);
    let mut args = good;
    hole(&mut args, &world);
    assert_eq!(world.uv.host_call(Ucall::PageIn, args), UStatus::State);
}

#[test]
fn a_page_must_be_the_units_own_normal_page() {
    let mut world = World::secure(config(UnitSize::KIB_64));
    let good = page_args(world.unit, Gfn(3));
    let pages = [
        0,
        good[2],
        SECURE_BASE + good[2],
        good[1] + 0x1_0000,
        good[1] + 8,
        u64::MAX,
        NORMAL_BASE - 1,
    ];
    for call in [Ucall::PageOut, Ucall::PageIn] {
        for page in pages {
            let args = [good[0], page, good[2], 0, good[4], 0];
            assert_eq!(world.uv.host_call(call, args), UStatus::P2, "{page:#x}");
        }
        let inside = [good[0], good[1] + 4096, good[2] + 4096, 0, good[4], 0];
        assert_eq!(world.uv.host_call(call, inside), UStatus::P2, "not a unit's first byte");
        let far = 1 << 60;
        let args = [good[0], NORMAL_BASE + far, far, 0, good[4], 0];
        assert_eq!(world.uv.host_call(call, args), UStatus::P3, "past all memory");
    }
}

#[test]
fn the_flags_of_page_calls_are_ignored() {
    let mut world = World::secure(config(UnitSize::KIB_4));
    let mut args = page_args(world.unit, Gfn(3));
    args[3] = u64::MAX;
    assert_eq!(world.uv.host_call(Ucall::PageOut, args), UStatus::Success);
    assert_eq!(world.uv.host_call(Ucall::PageIn, args), UStatus::Success);
}

#[test]
fn a_vm_that_never_asked_to_be_secure_has_no_secure_pages() {
    let mut world = World::new(config(UnitSize::KIB_4));
    world.fill(Gfn(3), 1);
    let before = world.snapshot();
    assert_eq!(world.page_in(Gfn(3)), UStatus::Parameter);
    assert_eq!(world.page_out(Gfn(3)), UStatus::Parameter);
    assert_eq!(world.inval(Gfn(3)), UStatus::Parameter);
    assert_eq!(world.snapshot(), before);
}

#[test]
fn page_inval_checks_order_lpid_and_gpa_in_this_order() {
    for unit in UNITS {
        let mut world = World::secure(config(unit));
        assert_eq!(world.share(3, 1), UStatus::Success);
        let good = [LPID, unit.start(Gfn(3)).0, unit.order().into(), 0, 0, 0];
        let errors = [
            wrong(UStatus::P3, |args, _| args[2] = 0),
            wrong(UStatus::Parameter, |args, _| args[0] = 0),
            wrong(UStatus::P2, |args, world| args[1] = LOW * world.unit.bytes()),
        ];
        each_pair_reports_the_first(&mut world, Ucall::PageInval, good, &errors);
        for gpa in [good[1] + 8, u64::MAX, 1 << 60] {
            let args = [LPID, gpa, good[2], 0, 0, 0];
            assert_eq!(world.uv.host_call(Ucall::PageInval, args), UStatus::P2, "{gpa:#x}");
        }
        assert_eq!(world.inval(Gfn(3)), UStatus::Success);
    }
}

#[test]
fn register_mem_slot_checks_its_arguments_from_first_to_last() {
    for unit in UNITS {
        let room = (LOW - 1) * unit.bytes();
        let mut world = World::new(Config { secure_bytes: room, ..config(unit) });
        let good = [LPID, 0, unit.bytes(), 0, 7, 0];
        let errors = [
            wrong(UStatus::Parameter, |args, _| args[0] = 0),
            wrong(UStatus::P2, |args, _| args[1] = 8),
            wrong(UStatus::P3, |args, world| args[2] = (LOW + 1) * world.unit.bytes()),
            wrong(UStatus::P4, |args, _| args[3] = 1),
            wrong(UStatus::P5, |args, _| args[4] = 1 << 16),
        ];
        let call = Ucall::RegisterMemSlot;
        each_pair_reports_the_first(&mut world, call, good, &errors);
        let mut register =
            |start: u64, bytes: u64, id| world.uv.host_call(call, [LPID, start, bytes, 0, id, 0]);
        let size = unit.bytes();
        for bytes in [0, 1, size + 1, u64::MAX, 0u64.wrapping_sub(size)] {
            assert_eq!(register(0, bytes, 7), UStatus::P3, "{bytes:#x}");
        }
        assert_eq!(register(LOW * size, size, 7), UStatus::P2, "a hole");
        assert_eq!(register(0, LOW * size, 7), UStatus::Parameter, "no secure memory for it");
        assert_eq!(register(size, 2 * size, 7), UStatus::Success);
        assert_eq!(register(4 * size, size, 7), UStatus::P5, "the id is in use");
        for (start, units) in [(0, 2), (1, 1), (2, 1), (2, 2), (0, 4)] {
            let status = register(start * size, units * size, 8);
            assert_eq!(status, UStatus::P5, "{start}+{units} overlaps 1..3");
        }
        assert_eq!(register(0, size, 8), UStatus::Success, "adjoining below");
        assert_eq!(register(3 * size, size, 9), UStatus::Success, "adjoining above");
        assert_eq!(register(4 * size, room, 10), UStatus::P3);
        assert_eq!(register(4 * size, (LOW - 4) * size, 10), UStatus::Parameter);
    }
}

#[test]
fn unregister_mem_slot_checks_the_lpid_before_the_id() {
    let mut world = World::new(config(UnitSize::KIB_4));
    let register = [LPID, 0, 4096, 0, 7, 0];
    assert_eq!(world.uv.host_call(Ucall::RegisterMemSlot, register), UStatus::Success);
    let errors = [
        wrong(UStatus::Parameter, |args, _| args[0] = 0),
        wrong(UStatus::P2, |args, _| args[1] = 8),
    ];
    let good = [LPID, 7, 0, 0, 0, 0];
    each_pair_reports_the_first(&mut world, Ucall::UnregisterMemSlot, good, &errors);
    assert_eq!(world.uv.host_call(Ucall::UnregisterMemSlot, good), UStatus::Success);
    assert_eq!(world.uv.host_call(Ucall::UnregisterMemSlot, good), UStatus::P2, "it is gone");
    assert_eq!(world.uv.host_call(Ucall::RegisterMemSlot, register), UStatus::Success);
}

#[test]
fn write_pate_checks_the_lpid_before_the_vm() {
    let mut world = World::secure(config(UnitSize::KIB_4));
    let errors =
        [wrong(UStatus::Parameter, |args, _| args[0] = 0), wrong(UStatus::Permission, |_, _| {})];
    let good = [LPID, 1, 2, 0, 0, 0];
    each_pair_reports_the_first(&mut world, Ucall::WritePate, good, &errors);
}

#[test]
fn svm_terminate_knows_one_vm() {
    let mut world = World::secure(config(UnitSize::KIB_4));
    let errors = [wrong(UStatus::Parameter, |args, _| args[0] = 0)];
    each_pair_reports_the_first(&mut world, Ucall::SvmTerminate, [LPID; 6], &errors);
}

#[test]
fn esm_checks_the_image_before_the_device_tree() {
    let mut world = World::new(config(UnitSize::KIB_4));
    world.fill(Gfn(3), 1);
    let errors =
        [wrong(UStatus::P2, |args, _| args[0] = 0), wrong(UStatus::P3, |args, _| args[1] = 0)];
    each_pair_reports_the_first(&mut world, Ucall::Esm, [1, 1, 0, 0, 0, 0], &errors);
    assert!(world.kvm.asked.is_empty());
}

/// Slots that adjoin each other are one range to the guest; a gap between them is not.
#[test]
fn a_shared_range_may_span_slots_but_not_a_gap() {
    let unit = UnitSize::KIB_4;
    let slot = |first: u64, units: u64| ultravisor::platform::RamRange {
        start: unit.start(Gfn(first)),
        bytes: units * unit.bytes(),
    };
    let mut world = World::new(config(unit));
    world.kvm = crate::fake::Kvm::new(unit, vec![slot(4, 4), slot(0, 4), slot(10, 6)]);
    world.fill(Gfn(3), 1);
    assert_eq!(world.guest(Ucall::Esm, [1, 1]), UStatus::Success);
    assert_eq!(world.share(0, 8), UStatus::Success);
    let asked = world.kvm.asked.len();
    for (first, count) in [(7, 2), (8, 1), (9, 2), (0, 16)] {
        assert_eq!(world.share(first, count), UStatus::P2, "{first} {count}");
    }
    assert_eq!(world.kvm.asked.len(), asked, "nobody is asked");
    assert_eq!(world.share(10, 6), UStatus::Success);
    assert_eq!(world.page_out(Gfn(9)), UStatus::P3);
    assert_eq!(world.page_out(Gfn(10)), UStatus::Parameter, "shared");
}

// --- Who is let in

struct Nobody;

impl Hypervisor for Nobody {
    fn hcall(&mut self, _: &mut Ultravisor, call: Hcall, _: [u64; 6]) -> HStatus {
        panic!("{call:?}: a refused call reaches nobody")
    }

    fn page_fault(&mut self, _: &mut Ultravisor, at: Gpa) -> Result<(), HStatus> {
        panic!("{at:?}: nobody touched it")
    }
}

#[test]
fn the_wrong_caller_is_refused_whatever_the_arguments_and_nothing_changes() {
    let worlds = [
        (Caller::NormalGuest, World::new(config(UnitSize::KIB_4))),
        (Caller::SecureGuest, World::secure(config(UnitSize::KIB_4))),
    ];
    for (guest, mut world) in worlds {
        assert_eq!(world.uv.guest(), guest);
        let before = world.snapshot();
        for call in Ucall::ALL {
            for args in [[0; 6], [1; 6], [u64::MAX; 6], page_args(world.unit, Gfn(3))] {
                if let Err(status) = entitled(guest, *call) {
                    let regs = CallRegs { number: call.number(), args };
                    assert_eq!(world.uv.guest_call(&mut Nobody, regs), status, "{call:?}");
                }
                if let Err(status) = entitled(Caller::Hypervisor, *call) {
                    assert_eq!(world.uv.host_call(*call, args), status, "{call:?}");
                }
            }
        }
        assert_eq!(world.snapshot(), before);
    }
}

#[test]
fn a_number_that_is_no_call_is_no_function() {
    let mut world = World::secure(config(UnitSize::KIB_4));
    world.uv.take_events();
    for number in [0, 0xF100, 0xF105, 0xF144, 0xEF00, 0xFF00, u64::MAX] {
        let regs = CallRegs { number, args: [1; 6] };
        assert_eq!(world.uv.guest_call(&mut Nobody, regs), UStatus::Function, "{number:#x}");
    }
    assert_eq!(world.uv.take_events(), []);
}

/// Whatever the ultravisor is set up with, it says so and does not panic.
#[test]
fn ram_that_makes_no_sense_is_refused() {
    let unit = UnitSize::KIB_64;
    let range = |start, bytes| ultravisor::platform::RamRange { start: Gpa(start), bytes };
    let wrong = [
        vec![],
        vec![range(0, 0)],
        vec![range(0, 4096)],
        vec![range(4096, 0x1_0000)],
        vec![range(u64::MAX - 0xffff, 0x1_0000)],
        vec![range(0, 0u64.wrapping_sub(0x1_0000))],
        vec![range(0x1_0000, 0x1_0000), range(0, 0x1_0000)],
        vec![range(0, 0x2_0000), range(0x1_0000, 0x1_0000)],
    ];
    for ram in wrong {
        let text = format!("{ram:?}");
        assert!(Ultravisor::new(Config { ram, ..config(unit) }).is_err(), "{text}");
    }
}
