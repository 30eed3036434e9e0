//! What the types do not say themselves: examples, and notes on fields whose name alone is not
//! enough. Each must be used, or the test fails.

use std::collections::BTreeSet;

/// The type whose fields carry the comments of a file type's fields, where both have one of a name.
pub const MEANINGS: [(&str, &str); 14] = [
    ("MachineFile", "MachinePlan"),
    ("GuestFile", "GuestPlan"),
    ("LimitsFile", "Limits"),
    ("QemuFile", "QemuOptions"),
    ("DesignFile", "Design"),
    ("DesignGuestFile", "Kernel"),
    ("DesignQemuFile", "DesignQemu"),
    ("DesignUserFile", "DesignUser"),
    ("PolicyFile", "Policy"),
    ("RuleFile", "Rule"),
    ("WaiverFile", "Waiver"),
    ("KnownFile", "KnownFailure"),
    ("ArgumentFile", "Argument"),
    ("BugFile", "BugKind"),
];

/// `Type.field`, `Type.Variant.field` or `Type.Variant`: what it is, whatever the type says. A field
/// alone: what it is where the type says nothing. The longest name wins.
const NOTES: &[(&str, &str)] = &[
    ("format", "The format of this file."),
    (
        "ScenarioFile.name",
        "Unique in a selection: a-z, 0-9, `-`, and `/` between parts; run ids begin with it.",
    ),
    (
        "DesignFile.name",
        "Unique in a selection: a-z, 0-9, `-`; how scenarios and `--design` name it.",
    ),
    ("PolicyFile.name", "Unique in a selection: a-z, 0-9, `-`, and `/` between parts."),
    ("ScenarioFile.about", "One sentence that a student understands: the claim."),
    ("DesignFile.about", "One sentence that a student understands."),
    ("PolicyFile.about", "One sentence that a student understands."),
    (
        "ScenarioFile.design",
        "The design of every run, by name. As an axis it is in the run ids. Without one: D0.",
    ),
    ("ScenarioFile.machine", "The machine."),
    ("ScenarioFile.guest", "The guest."),
    ("ScenarioFile.limits", "What a run may use up. Past one of these it ends as `budget(..)`."),
    (
        "LimitsFile.console",
        "Console text of all consoles together. Default: \"1MiB\", at most \"16MiB\".",
    ),
    ("LimitsFile.log", "Events of the log. Default: 1 million, at most 4 million."),
    (
        "LimitsFile.memory",
        "Guest memory that is in use, however large the partition is. Default: \"256MiB\", at most \"1GiB\".",
    ),
    ("devices", "The devices, in the order of the device tree."),
    (
        "workload",
        "What the guest is asked to do; without it the guest boots and exits. One of these, or `Mixed` of several.",
    ),
    ("matrix", "What to cross: one run for each combination, at most 4096."),
    (
        "expect",
        "What is claimed about the runs. Without it a run has no verdict; with `[]` none is asked for.",
    ),
    ("known_failures", "Checks that are known to fail. Strict: one that passes is red."),
    ("claim", "Which of the thread's claims it settles."),
    ("prove", "Whether `compare` may prove on its runs who must act. Default: true."),
    ("MachineFile.memory", "RAM, a multiple of the unit, at most 16 TiB. Default: \"64MiB\"."),
    ("MachineFile.unit", "The unit of page protection. Default: \"64KiB\"."),
    (
        "MachineFile.swiotlb",
        "The guest's bounce pool, a multiple of 256 KiB, at most 256 MiB. Default: \"8MiB\".",
    ),
    (
        "MachineFile.kick_latency",
        "From a kick to the device's first touch. Default: \"3us\", an estimate.",
    ),
    ("MachineFile.interleave", "What is one indivisible step of a device."),
    ("GuestFile.wait", "Bound of each of the guest's waits. Default: \"500ms\"."),
    (
        "GuestFile.budget",
        "Work units after which the run ends as `budget(work-units)`. Default: 50 million.",
    ),
    (
        "GuestFile.bit_33",
        "Whether its drivers accept VIRTIO_F_ACCESS_PLATFORM, if not as the design says.",
    ),
    (
        "DesignGuestFile.bit_33",
        "Whether its drivers accept VIRTIO_F_ACCESS_PLATFORM. Default: IfOffered.",
    ),
    ("GuestFile.tce", "How it maps many pages at once in the IOMMU."),
    ("GuestFile.bug", "What its block driver does wrong."),
    ("GuestFile.switch", "When it becomes secure."),
    ("GuestFile.kexec", "Whether a new kernel takes over with live devices."),
    ("every", "With every how many-th data buffer."),
    ("id", "A name, unique in its list: a-z, 0-9, `-`."),
    ("sectors", "Size in sectors of 512 bytes."),
    ("contents", "What it holds at the start."),
    ("plugged", "When it is plugged."),
    ("qemu", "QEMU's options of this device, named as QEMU names them."),
    ("peer", "Who is at the other end."),
    ("ops", "The steps, in order."),
    ("order", "In which order it visits the disk."),
    ("placement", "Where its buffer lies."),
    ("refill", "Whether it fills its buffer before each write. Default: true."),
    ("requests", "How many requests."),
    ("bytes", "How many bytes each."),
    ("frames", "How many frames."),
    ("lines", "How many lines."),
    ("pages", "How many 4 KiB pages."),
    ("is", "What it must be."),
    ("has", "What must be among the findings."),
    ("when", "In which runs: values of axes of the matrix. Without it: in all."),
    ("counter", "Which counter; `uvsim explain` lists them."),
    ("phase", "When: Init, Steady, After or All. Default: All."),
    ("must", "How many."),
    ("device", "By which device."),
    ("queue", "Of which of its queues."),
    ("part", "What of a request or ring is touched."),
    ("direction", "Which way."),
    ("state", "The unit's state before the touch."),
    ("report", "As what the guest reports it."),
    ("ExpectFile.Reports.name", "The name that the guest reports."),
    ("CheckFile.Reports.name", "The name that the guest reports."),
    ("text", "What the console must say."),
    ("event", "What must not happen."),
    ("CheckFile.Rate.per", "For each how many of these, in integers."),
    (
        "CheckFile.NoMoreThan.per",
        "The sum of these counters of this run multiplies `plus`; without any, `plus` stands alone.",
    ),
    ("plus", "How much more than the base run is allowed. Default: 0."),
    ("base", "The design of the run that it is compared with."),
    ("only", "The layers that may have to act."),
    ("number", "Its number, 1 to 25."),
    ("WorkloadFile.None", "Nothing."),
    ("WorkloadFile.Block", "Requests to the first disk; every byte is verified."),
    ("WorkloadFile.Net", "Frames of the first network device."),
    ("WorkloadFile.Console", "Lines to the first console device."),
    ("WorkloadFile.Entropy", "Requests to the first entropy device."),
    ("WorkloadFile.Balloon", "Inflates and deflates the first balloon."),
    ("BlockOpFile.Write", "Writes patterns."),
    ("BlockOpFile.Read", "Reads and verifies what the disk holds."),
    ("BlockOpFile.ReadBack", "Reads back what the last `Write` wrote, and verifies it."),
    ("NetOpFile.Transmit", "Sends frames."),
    ("NetOpFile.Echo", "Sends frames and verifies each that comes back."),
    ("DeviceFile.Blk", "A disk, virtio-blk."),
    ("DeviceFile.Net", "A network device, virtio-net."),
    ("DeviceFile.Console", "A console, virtio-console."),
    ("DeviceFile.Entropy", "A source of entropy, virtio-rng."),
    ("DeviceFile.Balloon", "A balloon, virtio-balloon."),
    ("BugFile.None", "Nothing (default)."),
    ("ExpectFile.Outcome", "The outcome is this one."),
    ("ExpectFile.OutcomeIn", "The outcome is one of these."),
    ("ExpectFile.Finding", "This is among all that holds."),
    ("ExpectFile.Ended", "The run ends like this."),
    ("ExpectFile.Count", "A counter's value."),
    ("ExpectFile.Touches", "How often the host side touched something; what is not said is any."),
    ("ExpectFile.Reports", "The guest reported this name."),
    ("ExpectFile.Says", "The consoles' text holds this."),
    ("ExpectFile.Never", "This does not happen."),
    ("ExpectFile.SameView", "Somebody sees the same as in another run of the scenario."),
    ("CheckFile.SameView", "For scenarios only: a rule cannot say which run is meant."),
    ("onlooker", "Who looks."),
    ("until", "Up to when."),
    ("like", "The other run: the axes in which it differs."),
    ("CheckFile.Outcome", "The outcome is this one."),
    ("CheckFile.OutcomeIn", "The outcome is one of these."),
    ("CheckFile.Finding", "This is among all that holds."),
    ("CheckFile.Ended", "The run ends like this."),
    ("CheckFile.Count", "A counter's value."),
    ("CheckFile.Touches", "How often the host side touched something; what is not said is any."),
    ("CheckFile.Reports", "The guest reported this name."),
    ("CheckFile.Says", "The consoles' text holds this."),
    ("CheckFile.Never", "This does not happen."),
    ("CheckFile.Rate", "One counter, measured by another."),
    ("CheckFile.NoMoreThan", "Not more than the same run with another design."),
    (
        "CheckFile.WhoMustAct",
        "Nobody else must act for the run's design to be clean, as `compare` proves.",
    ),
    ("DesignFile.guest", "The guest's kernel."),
    ("hypervisor", "The hypervisor."),
    ("DesignFile.qemu", "What is new in QEMU's code."),
    ("KnownFile.check", "The id of the expectation that fails."),
    ("KnownFile.why", "Why it fails."),
];

/// Field or `Type.field`: the value that is shown. The longest name wins.
const EXAMPLES: &[(&str, &str)] = &[
    ("format", "1"),
    ("ScenarioFile.name", "\"mine/first\""),
    ("DesignFile.name", "\"mine-first\""),
    ("PolicyFile.name", "\"mine/first\""),
    ("about", "\"What it shows.\""),
    ("ScenarioFile.design", "\"d5-platform-hook\""),
    ("memory", "\"64MiB\""),
    ("swiotlb", "\"8MiB\""),
    ("GuestFile.wait", "\"500ms\""),
    ("GuestFile.budget", "50000000"),
    ("LimitsFile.host_steps", "1000000"),
    ("LimitsFile.calls", "100000"),
    ("LimitsFile.console", "\"1MiB\""),
    ("LimitsFile.log", "1000000"),
    ("LimitsFile.memory", "\"256MiB\""),
    ("LimitsFile.findings", "1000"),
    ("AxisFile.Design", "[\"d0-legacy-bypass\", \"d5-platform-hook\"]"),
    ("AxisFile.Memory", "[\"64MiB\", \"1GiB\"]"),
    ("AxisFile.Unit", "[\"4KiB\", \"64KiB\"]"),
    ("AxisFile.Swiotlb", "[\"1MiB\", \"8MiB\"]"),
    ("AxisFile.KickLatency", "[\"0ns\", \"3us\"]"),
    ("AxisFile.FdtNodes", "[20, 200, 2000]"),
    ("AxisFile.QueueSize", "[64, 256]"),
    ("fdt_nodes", "20"),
    ("decides", "Init"),
    ("virtio", "HookedOps"),
    ("DesignGuestFile.ops", "Swiotlb"),
    ("DesignGuestFile.bit_33", "IfOffered"),
    ("DesignFile.changes", "[GuestKernel]"),
    ("platform", "Pef"),
    ("Outcome.is", "Clean"),
    ("Finding.has", "Tampered"),
    ("Ended.is", "Exit(0)"),
    ("must", "Exactly(0)"),
    ("phase", "Steady"),
    ("queue", "0"),
    ("state", "Secure"),
    ("only", "[GuestKernel]"),
    ("Finding.Qualified", "\"the condition\""),
    ("Finding.NotMeasurable", "\"why, and what was measured instead\""),
    ("marks", "true"),
    ("indirect_desc", "true"),
    ("ioeventfd", "true"),
    ("queue_size", "256"),
    ("prove", "true"),
    ("refill", "true"),
    ("DeviceFile.Blk.id", "\"disk\""),
    ("DeviceFile.Net.id", "\"net\""),
    ("DeviceFile.Console.id", "\"console\""),
    ("DeviceFile.Entropy.id", "\"rng\""),
    ("DeviceFile.Balloon.id", "\"balloon\""),
    ("sectors", "4096"),
    ("bytes", "\"512B\""),
    ("NetOpFile.Transmit.bytes", "\"60B\""),
    ("NetOpFile.Echo.bytes", "\"60B\""),
    ("ExpectFile.Outcome.id", "\"clean\""),
    ("ExpectFile.OutcomeIn.id", "\"either\""),
    ("ExpectFile.Finding.id", "\"among\""),
    ("ExpectFile.Ended.id", "\"exits\""),
    ("ExpectFile.Count.id", "\"no-ping-pong\""),
    ("ExpectFile.Touches.id", "\"shared-only\""),
    ("ExpectFile.Reports.id", "\"by-name\""),
    ("ExpectFile.Says.id", "\"greets\""),
    ("ExpectFile.Never.id", "\"no-leak\""),
    ("ExpectFile.SameView.id", "\"same\""),
    ("like", "[Secure([false])]"),
    ("OutcomeIn.is", "[Clean, Slow]"),
    ("when", "[Unit([\"64KiB\"])]"),
    ("counter", "\"round_trips\""),
    ("device", "\"disk\""),
    ("Reports.name", "\"swiotlb-full\""),
    ("text", "\"hello\""),
    ("number", "6"),
    ("ArgumentFile.by", "\"Benjamin Herrenschmidt, 4 June 2018\""),
    ("ArgumentFile.says", "\"A page goes back and forth.\""),
    ("KnownFile.check", "\"no-ping-pong\""),
    ("KnownFile.why", "\"this is the bug on show\""),
    ("Proposed.by", "\"me\""),
    ("Proposed.when", "\"today\""),
    ("Proposed.source", "\"this file\""),
    ("RuleFile.id", "\"no-leak\""),
    ("RuleFile.title", "\"no secret shows in plain\""),
    ("RuleFile.runs", "\"*\""),
    ("RuleFile.help", "\"bounce what the device needs\""),
    ("WaiverFile.rule", "\"no-leak\""),
    ("WaiverFile.runs", "\"mine/*\""),
    ("WaiverFile.until", "\"2027-12-31\""),
    ("WaiverFile.reason", "\"known, and being worked on\""),
    ("WaiverFile.owner", "\"me\""),
    ("CheckFile.Rate.per", "\"requests\""),
    ("CheckFile.NoMoreThan.per", "[\"dma.maps\", \"dma.unmaps\"]"),
    ("plus", "5"),
    ("base", "\"d0-legacy-bypass\""),
];

/// Which notes and examples were used.
#[derive(Default)]
pub struct Used(BTreeSet<&'static str>);

impl Used {
    fn find(
        &mut self,
        table: &'static [(&'static str, &'static str)],
        path: &str,
        of_kind: impl Fn(&str) -> bool,
    ) -> Option<&'static str> {
        let fits =
            |name: &str| of_kind(name) && (path == name || path.ends_with(&format!(".{name}")));
        let found = table.iter().filter(|(name, _)| fits(name)).max_by_key(|(name, _)| name.len());
        let (name, text) = found?;
        self.0.insert(name);
        Some(text)
    }

    /// What is noted about `path`, of whatever type it is.
    pub fn note(&mut self, path: &str) -> Option<&'static str> {
        self.find(NOTES, path, |name| !name.contains('.'))
    }

    /// What is noted about `path` in its type.
    pub fn own_note(&mut self, path: &str) -> Option<&'static str> {
        self.find(NOTES, path, |name| name.contains('.'))
    }

    /// The value that is shown at `path`.
    pub fn example(&mut self, path: &str) -> Option<&'static str> {
        self.find(EXAMPLES, path, |_| true)
    }

    /// Names that nothing asked for.
    pub fn unused(&self) -> Vec<&'static str> {
        let all = NOTES.iter().chain(EXAMPLES).map(|(name, _)| *name);
        all.filter(|name| !self.0.contains(name)).collect()
    }
}
