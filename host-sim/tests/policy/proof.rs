//! Who must act: proved by putting layers back, with guests that depend on the layers they are said
//! to depend on.

use crate::rig::{self, Does, policy, rule, scenario};
use firmware::kernel::Kernel;
use host_sim::event::{Event, LeakPlace};
use host_sim::scenario::plan::{Boot, Plan};
use std::sync::atomic::{AtomicUsize, Ordering};

const ONLY_KERNEL: &str = "WhoMustAct(only: [GuestKernel])";

fn clean() -> Does {
    Does::steady(Vec::new())
}

fn leaks() -> Does {
    Does::steady(vec![Event::Leak { place: LeakPlace::Memory, at: 0 }])
}

/// Clean with a kernel that is not that of 2018.
fn needs_kernel(plan: &Plan) -> Does {
    if plan.guest.kernel == Kernel::LINUX_2018 { leaks() } else { clean() }
}

fn judged(does: &(dyn Fn(&Plan) -> Does + Sync), files: &[(&str, &str)], check: &str) -> rig::Ran {
    let policy = policy(&rule("who", check), "");
    let files: Vec<(&str, &str)> =
        files.iter().copied().chain([("p.ron", policy.as_str())]).collect();
    let folder = rig::folder(&files);
    let p = folder.path().join("p.ron");
    rig::run(does, &[rig::text(folder.path()), "--policy", rig::text(&p), "--today", "2026-06-01"])
}

#[test]
fn the_platform_hook_needs_the_guest_kernel_and_nobody_else() {
    let text = scenario("expect: []");
    let ran = judged(&needs_kernel, &[("s.ron", &text)], ONLY_KERNEL);
    let ruling = ran.ruling("d5-platform-hook", "who");
    assert_eq!(
        (&ruling["verdict"], &ruling["found"]),
        (&"pass".into(), &"guest kernel must act".into())
    );
    // The base changes nothing, but it does not work either: that is not green.
    let base = ran.ruling("d0-legacy-bypass", "who");
    let found = "clean in no secure run, whoever acts";
    assert_eq!((&base["verdict"], &base["found"]), (&"fail".into(), &found.into()));
    let ran = judged(&needs_kernel, &[("s.ron", &text)], "WhoMustAct(only: [Qemu])");
    assert_eq!(ran.ruling("d5-platform-hook", "who")["verdict"], "fail");
}

#[test]
fn a_layer_that_is_claimed_and_that_no_run_needs_counts_as_acting() {
    let text = scenario("expect: []");
    let ran = judged(&|_| clean(), &[("s.ron", &text)], "WhoMustAct(only: [])");
    let ruling = ran.ruling("d5-platform-hook", "who");
    assert_eq!(ruling["verdict"], "fail");
    assert_eq!(ruling["found"], "guest kernel must act (unproven: guest kernel)");
}

#[test]
fn a_machine_that_was_run_already_is_not_run_again() {
    let runs = AtomicUsize::new(0);
    let does = |plan: &Plan| {
        runs.fetch_add(1, Ordering::Relaxed);
        needs_kernel(plan)
    };
    judged(&does, &[("s.ron", &scenario("expect: []"))], ONLY_KERNEL);
    // d5 without the kernel's change is d0, which is in the matrix.
    assert_eq!(runs.load(Ordering::Relaxed), 2);
    let alone = scenario("expect: []").replace("\"d0-legacy-bypass\", ", "");
    runs.store(0, Ordering::Relaxed);
    let ran = judged(&does, &[("s.ron", &alone)], ONLY_KERNEL);
    assert_eq!(runs.load(Ordering::Relaxed), 2);
    assert_eq!(ran.ruling("d5-platform-hook", "who")["found"], "guest kernel must act");
}

#[test]
fn scenarios_that_say_so_and_normal_guests_prove_nothing() {
    for rest in ["prove: false, expect: []", "expect: []"] {
        let mut text = scenario(rest);
        if !rest.contains("prove") {
            text = text.replace("secure: true", "secure: false");
        }
        let ran = judged(&needs_kernel, &[("s.ron", &text)], ONLY_KERNEL);
        let ruling = ran.ruling("d5-platform-hook", "who");
        assert_eq!(ruling["found"], "guest kernel must act (unproven: guest kernel)", "{rest}");
    }
}

#[test]
fn a_run_in_which_the_design_fails_proves_nothing_and_does_not_stop_the_others() {
    let text = scenario("expect: []").replace("])],", "]), Boot([Elf64, Slof])],");
    let only_elf = |plan: &Plan| match plan.guest.boot {
        Boot::Elf64 => needs_kernel(plan),
        Boot::Slof => leaks(),
        other @ (Boot::Multiboot1 | Boot::Pvh) => panic!("no run asks for {other:?}"),
    };
    let ran = judged(&only_elf, &[("s.ron", &text)], ONLY_KERNEL);
    let ruling = ran.ruling("d5-platform-hook/boot=elf64", "who");
    assert_eq!(ruling["found"], "guest kernel must act");
    let ran = judged(&|_| leaks(), &[("s.ron", &text)], ONLY_KERNEL);
    let ruling = ran.ruling("d5-platform-hook/boot=elf64", "who");
    assert_eq!(ruling["found"], "clean in no secure run, whoever acts");
}

#[test]
fn a_bug_of_ours_in_a_proof_is_a_bug_of_ours() {
    let alone = scenario("expect: []").replace("\"d0-legacy-bypass\", ", "");
    let does = |plan: &Plan| {
        assert!(plan.guest.kernel != Kernel::LINUX_2018, "only in the proof");
        clean()
    };
    let ran = judged(&does, &[("s.ron", &alone)], ONLY_KERNEL);
    assert_eq!(ran.code, 70);
    assert!(ran.err.contains("only in the proof (in a proof)"), "{}", ran.err);
}

#[test]
fn a_bit_beyond_the_specification_and_an_option_set_on_each_device_bring_their_layers_along() {
    let text = |design: &str| {
        scenario("expect: []").replace("\"d0-legacy-bypass\", \"d5-platform-hook\"", design)
    };
    let found = |does: &(dyn Fn(&Plan) -> Does + Sync), design: &str| {
        let text = text(&format!("\"{design}\""));
        let ran = judged(does, &[("s.ron", &text)], "WhoMustAct(only: [])");
        ran.ruling(design, "who")["found"].as_str().expect("words").to_owned()
    };
    let identity = |plan: &Plan| {
        let both = plan.guest.kernel.identity_bit && plan.devices[0].options.identity_bit;
        if both { clean() } else { leaks() }
    };
    let who = found(&identity, "d15-identity-bit");
    assert_eq!(who, "guest kernel, QEMU, virtio spec must act");
    let behind = |plan: &Plan| {
        let both =
            plan.guest.kernel != Kernel::LINUX_2018 && plan.devices[0].options.iommu_platform;
        if both { clean() } else { leaks() }
    };
    let d3 = found(&behind, "d3-user-sets-iommu");
    assert!(d3.starts_with("guest kernel, boot firmware, management stack, user must act"), "{d3}");
    assert!(d3.ends_with("(unproven: boot firmware)"), "{d3}");
}
