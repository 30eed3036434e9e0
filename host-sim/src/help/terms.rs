//! The pages of outcomes, exit codes and of the words that uvsim uses in one sense only.

use super::page::Page;
use crate::counters::Counter;
use crate::outcome::Outcome;
use crate::scenario::design::Layer;

/// What an outcome means, and what to do about it.
const fn outcome_told(outcome: Outcome) -> (&'static str, &'static str) {
    match outcome {
        Outcome::Unsupported => (
            "The guest did something that this machine does not implement: an instruction, a form of \
             it, an access. The result would be a guess, so there is none.",
            "`ended` names the instruction's address and bytes. Build the guest without it, or add \
             it to `ultravisor/cpu`.",
        ),
        Outcome::Leaked => (
            "Sixteen bytes of a secret that the guest declared and never put into a request were seen \
             in plaintext where the host can read: in a read of the host side, or at the end in \
             normal memory, on a disk, on a wire or on a console.",
            "The events report has a `leak` event: who read, where, and the guest's call chain. Bounce \
             what the device needs, instead of sharing the page that it lies in.",
        ),
        Outcome::Corrupted => (
            "A byte comparison failed: what is on the disk or the wire is not what the guest meant, or \
             what the guest read back is not what it should be. It is never inferred from page states.",
            "Look at the `comparison` events. Ciphertext on a disk means that a device read a secure \
             page: the address given to it bypassed the DMA API.",
        ),
        Outcome::Tampered => (
            "A page-in failed verification: the host side wrote into a page that was paged out, so the \
             tag does not fit any more. The firmware lets the guest fault again for ever.",
            "Find the write among the `touch` events before the `tampered` event: a device was given \
             the raw address of a secure page to write to.",
        ),
        Outcome::Crashed => (
            "A guest exception without a handler, a VM that the ultravisor terminated, or QEMU killed by \
             SIGBUS because a page-out failed.",
            "`ended` says which; for a fault it has the vector and the address of the instruction.",
        ),
        Outcome::Stuck => (
            "A budget was used up, or nobody had anything left to do while the guest waited.",
            "The result says which limit it was, what everybody was doing and where the guest spent its \
             time. A legacy device goes silent after a ring that makes no sense, which is what \
             ciphertext looks like.",
        ),
        Outcome::Failed => (
            "A request ended in an error that the guest reported by name, and nothing wrong was stored \
             or delivered; or the guest exited with a code other than 0, or before its \"done\" mark.",
            "The `report` events carry the name, e.g. `swiotlb-full`.",
        ),
        Outcome::Refused => (
            "Somebody turned a device away before its first request, by name: that is how a design \
             should say no.",
            "The `report` event names who refused. To go on, set what the refusal asks for.",
        ),
        Outcome::Slow => (
            "All work was done and verified, but at least one page made a round trip in steady state: \
             ping-pong.",
            "`round_trips.PART` says what was touched: the descriptor table, a ring, a header, data or \
             a status byte. Share it once, or bounce it.",
        ),
        Outcome::Clean => (
            "The guest exited with 0, and none of the other outcomes holds: no ping-pong, nothing \
             wrong, nothing seen.",
            "Nothing. To know what it cost, look at conversions, bounces and exits.",
        ),
    }
}

/// The page of an outcome.
pub fn outcome(outcome: Outcome) -> Page {
    let (what, act) = outcome_told(outcome);
    let order: Vec<&str> = Outcome::ALL.iter().map(|outcome| outcome.name()).collect();
    Page {
        word: outcome.name().to_owned(),
        kind: "outcome",
        what: what.to_owned(),
        sections: vec![
            ("do", act.to_owned()),
            (
                "order",
                format!(
                    "A run's outcome is the first that holds of {}; all that hold are its findings.",
                    order.join(", ")
                ),
            ),
            ("rule in", "host-sim/src/findings.rs".to_owned()),
        ],
        verbatim: None,
    }
}

/// The page of a counter.
pub fn counter(counter: Counter) -> Page {
    let probed = ["dma.", "bounce."].iter().any(|part| counter.name().starts_with(part));
    let note = if counter == Counter::TimeNs {
        "\nModelled from the cost table in host-sim/src/cost.rs, mostly estimates; polling guests \
         pay for no interrupt or wake-up."
    } else if probed {
        "\nFrom the probe points: functions of the guest that the machine watches by symbol. A guest \
         without these symbols counts 0."
    } else {
        ""
    };
    Page {
        word: counter.name().to_owned(),
        kind: "counter",
        what: counter.sentence().to_owned(),
        sections: vec![
            (
                "phases",
                format!(
                    "Counted apart in init, steady and after (marks \"ready\" and \"done\").{note}"
                ),
            ),
            (
                "expect",
                format!(
                    "Count(id: \"my-check\", counter: \"{}\", phase: Steady, must: Exactly(0))",
                    counter.name()
                ),
            ),
            ("rule in", "host-sim/src/counters.rs".to_owned()),
        ],
        verbatim: None,
    }
}

/// Word, what it means, where that comes from.
pub const WORDS: &[(&str, &str, &str)] = &[
    (
        "unit",
        "The page size of the protection protocol: 64 KiB for PEF. A GFN counts units, not the CPU's \
         own pages.",
        "Linux Documentation/powerpc/ultravisor",
    ),
    (
        "touch",
        "One access by the host side (hypervisor, QEMU, a device) to one unit of guest memory. A touch \
         of a secure unit makes the hypervisor ask for it: it is paged out, sealed.",
        "Linux arch/powerpc/kvm/book3s_hv_uvmem.c",
    ),
    (
        "page-out",
        "A secure unit is encrypted, tagged and given to the host, because of a touch or because the \
         hypervisor asked: UV_PAGE_OUT.",
        "Linux Documentation/powerpc/ultravisor",
    ),
    (
        "page-in",
        "A unit that was paged out is verified, decrypted and secure again, because the guest touched \
         or shared it: UV_PAGE_IN.",
        "Linux Documentation/powerpc/ultravisor",
    ),
    (
        "round trip",
        "A page-out paired with the next successful page-in of the same unit. Its cause is that of the \
         page-out, its phase that of the page-in. A unit that never comes back is counted as one-way.",
        "host-sim/src/counters.rs",
    ),
    (
        "ping-pong",
        "Round trips caused by touches: the device wants the page, the guest wants it back, and each \
         time it is encrypted and decrypted. The word is Herrenschmidt's, of June 2018.",
        "the thread: RFC V2, virtio: Add platform specific DMA API translation",
    ),
    ("conversion", "Any of share, unshare, page-out, page-in.", "host-sim/src/counters.rs"),
    (
        "bounce",
        "One copy between a private buffer and a shared slot of swiotlb.",
        "Linux kernel/dma/swiotlb.c",
    ),
    (
        "steady state",
        "From the guest's \"ready\" mark to its \"done\" mark; before it is init, after it is after. A \
         guest without marks is all steady state. If \"ready\" is never reached, every expectation \
         about the steady state is red.",
        "host-sim/src/counters.rs",
    ),
    (
        "decision",
        "One run of the guest's predicate that picks the DMA path. Testing a cached answer, or calling \
         operations that were chosen before, is none.",
        "the thread: `decide at init` versus `in the data path`",
    ),
    (
        "who must act",
        "The layers whose code or defaults a design changes, or which somebody must configure: nobody, \
         guest kernel, boot firmware, ultravisor, hypervisor, QEMU, virtio spec, management stack, \
         user.",
        "the thread: who shall know that the guest is secure",
    ),
    (
        "what-if",
        "A run on the platform PefUnsealed: states, calls and charged times of PEF, but pages are \
         copied in plaintext. It shows what would follow if I/O went on.",
        "host-sim/src/scenario/plan.rs",
    ),
    (
        "ok",
        "The verdict of a run of which all holds that is expected of it. In its place a `?` says that \
         nothing was expected, or that it could not be judged, and a `-` that `expect: []` asks for \
         nothing.",
        "host-sim/src/verdict.rs",
    ),
    (
        "fail",
        "The verdict FAIL of a run that is not as expected: an expectation does not hold, a known \
         failure passed, or a rule of a policy denies it. The run's outcome is another thing.",
        "host-sim/src/verdict.rs",
    ),
    (
        "xfail",
        "The verdict of a run that fails as it is expected to: its `known_failures`, or a waiver of a \
         policy, say that it does and why.",
        "host-sim/src/verdict.rs",
    ),
    (
        "known failure",
        "A check that a scenario lists as failing, with the reason: its run is xfail. Strict: if the \
         check passes the run is FAIL, and the entry must go.",
        "host-sim/src/scenario/known.rs",
    ),
    (
        "waiver",
        "What a policy excuses: a rule, runs, a reason, an owner and the last day on which it holds. \
         After that day the rule denies again; one that excuses nothing is told.",
        "host-sim/src/policy/waivers.rs",
    ),
    (
        "ended",
        "What stopped a run: exit(CODE) that the guest asked for, fault(VECTOR, ADDRESS) of a guest \
         without a handler, unsupported(ADDRESS, BYTES), budget(LIMIT), idle or refault(ADDRESS) if \
         nobody could go on, or the end of the VM or of QEMU.",
        "host-sim/src/event/ended.rs",
    ),
    (
        "bit 33",
        "VIRTIO_F_ACCESS_PLATFORM, formerly VIRTIO_F_IOMMU_PLATFORM: the device accesses memory as the \
         platform lets it, not by raw guest addresses. QEMU's option is iommu_platform.",
        "virtio 1.2, section 6, Reserved Feature Bits",
    ),
];

/// The page of a word.
pub fn word(wanted: &str) -> Option<Page> {
    let (word, what, source) = WORDS.iter().find(|(word, _, _)| *word == wanted)?;
    Some(Page {
        word: (*word).to_owned(),
        kind: "word",
        what: (*what).to_owned(),
        sections: vec![("source", (*source).to_owned())],
        verbatim: None,
    })
}

/// Exit code, what it means, what CI does.
const EXITS: &[(u8, &str, &str)] = &[
    (0, "All runs were judged, all as expected.", "go on"),
    (1, "Judged, and something is not as expected.", "red: look at the change"),
    (2, "The command line is wrong.", "fix the command"),
    (3, "A scenario, design, policy or image is wrong; nothing was judged.", "fix the input"),
    (4, "Nothing was selected.", "fix the filter"),
    (5, "A run has no verdict.", "give the scenario an `expect`; or the machine ran out of memory"),
    (6, "A report could not be written.", "make room, make the folder"),
    (70, "A bug of uvsim; the message has the command that repeats it.", "report it"),
];

/// The page of the exit codes.
pub fn exit_codes() -> Page {
    let lines = EXITS.iter().map(|(code, what, act)| format!("{code}: {what} ({act})"));
    Page {
        word: "exit codes".to_owned(),
        kind: "word",
        what: "What the process says at its end; the last line says it in words.".to_owned(),
        sections: vec![
            ("codes", lines.collect::<Vec<_>>().join("\n")),
            ("order", "When several hold, the first of 70, 3, 5, 6, 1 wins.".to_owned()),
            ("rule in", "host-sim/src/streams.rs".to_owned()),
        ],
        verbatim: None,
    }
}

/// A layer as people say it.
pub const fn layer(layer: Layer) -> &'static str {
    match layer {
        Layer::GuestKernel => "guest kernel",
        Layer::BootFirmware => "boot firmware",
        Layer::Ultravisor => "ultravisor",
        Layer::Hypervisor => "hypervisor",
        Layer::Qemu => "QEMU",
        Layer::VirtioSpec => "virtio spec",
        Layer::ManagementStack => "management stack",
        Layer::User => "user",
    }
}
