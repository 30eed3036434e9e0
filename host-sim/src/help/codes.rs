//! The page of every error code: why there is such a rule, what to do, and an input that breaks it.

use super::page::Page;
use crate::image::Rule;
use crate::scenario::codes::Code;

/// An input that is refused with the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Example {
    /// Fields of a scenario that is right otherwise.
    Fields(&'static str),
    /// A whole file.
    File(&'static str),
    /// What to type, or in words what is wrong: no text alone can show it.
    Words(&'static str),
}

/// What a page says beside the code's own sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The code.
    pub code: Code,
    /// Why there is such a rule.
    pub why: &'static str,
    /// What to do.
    pub act: &'static str,
    /// The file of ours that keeps the rule.
    pub rule: &'static str,
    /// What it refuses.
    pub example: Example,
}

const fn told(
    code: Code,
    rule: &'static str,
    why: &'static str,
    act: &'static str,
    example: Example,
) -> Told {
    Told { code, why, act, rule, example }
}

use Example::{Fields, File, Words};

/// A page for each code.
pub const PAGES: &[Told] = &[
    told(
        Code::TOO_LARGE,
        "scenario/source.rs",
        "A file of a pull request must not be able to fill the memory of whoever runs it.",
        "Split it: each scenario may be a file of its own, and a folder is one selection.",
        Words("a scenario, design or policy file of more than 1048576 bytes"),
    ),
    told(
        Code::TOO_DEEP,
        "scenario/refusal.rs",
        "Reading nested values takes stack; no scenario that means something is nested that deep.",
        "Take out the needless brackets; `Mixed` in `Mixed` is one `Mixed`.",
        Words("workload: Mixed([Mixed([ ... 70 times ... ])])"),
    ),
    told(
        Code::UNKNOWN_WORD,
        "scenario/refusal.rs",
        "A misspelt field that is silently left out would make a test green that tests nothing.",
        "Take the word that the message suggests; `uvsim schema scenario` lists all of them.",
        Fields("machine: (platform: Peff)"),
    ),
    told(
        Code::OUT_OF_RANGE,
        "scenario/draft.rs",
        "Values are checked before anything is allocated or run, so that a run never fails half-way \
         for a reason that was in the file.",
        "Write a value in the range that the message names. Sizes are binary: KiB, MiB, GiB, TiB.",
        Fields("machine: (memory: \"64MB\")"),
    ),
    told(
        Code::MISSING,
        "scenario/refusal.rs",
        "What has no sensible default must be said.",
        "Add the field; `uvsim new scenario FILE` writes a file that has all that must be there.",
        File("Scenario(format: 1, name: \"a\")"),
    ),
    told(
        Code::WRONG_SHAPE,
        "scenario/refusal.rs",
        "Values are typed: a word is no text, a size is no number, a list is no single value.",
        "Use the form that the message shows.",
        Fields("machine: (platform: \"Pef\")"),
    ),
    told(
        Code::SYNTAX,
        "scenario/refusal.rs",
        "Files are RON (Rusty Object Notation): `( )` around fields, `[ ]` around lists, a comma \
         after each, names without quotes.",
        "Look at the marked place and just before it: most often a bracket or a comma is missing.",
        File("Scenario(format: 1, name: \"a\", about: \"x\""),
    ),
    told(
        Code::NOT_TEXT,
        "scenario/source.rs",
        "RON is UTF-8 text. Another encoding would change what is shown and compared.",
        "Save the file as UTF-8.",
        Words("a file that holds the byte 0xff"),
    ),
    told(
        Code::LEAVES_FOLDER,
        "scenario/beneath.rs",
        "Scenarios come with pull requests: they may not make uvsim read anything but what lies \
         beside them, and no link leads out.",
        "Copy the file beside the scenario and name it relative to the scenario, with `/`.",
        Fields("guest: (image: File(\"../x.elf\"))"),
    ),
    told(
        Code::UNREADABLE,
        "scenario/beneath.rs",
        "A scenario that names a file means that file.",
        "Check the spelling; the path is relative to the scenario's folder, not to yours.",
        Fields("guest: (image: File(\"missing.elf\"))"),
    ),
    told(
        Code::BAD_ARGUMENT,
        "scenario/source.rs",
        "A path that is not there would otherwise select nothing, and nothing is green. Pipes and \
         devices are refused, because reading them may never end.",
        "Name files and folders that exist.",
        Words("uvsim run no/such/place.ron"),
    ),
    told(
        Code::BAD_NAME,
        "scenario/head.rs",
        "Names are parts of run ids, which stand in file names, globs, shells and XML.",
        "Use a-z, 0-9 and `-`, and `/` between parts where folders are allowed.",
        File("Scenario(format: 1, name: \"My Test\", about: \"x\")"),
    ),
    told(
        Code::NO_ABOUT,
        "scenario/head.rs",
        "Whoever sees a red run must be able to read what it claims.",
        "Write one sentence that a student understands.",
        File("Scenario(format: 1, name: \"a\", about: \"\")"),
    ),
    told(
        Code::DUPLICATE,
        "scenario/select.rs",
        "Run ids, checks and devices are found by name: two of one name could not be told apart.",
        "Rename one; or select fewer folders, if they hold copies of each other.",
        Fields("devices: [Console(id: \"c\"), Entropy(id: \"c\")]"),
    ),
    told(
        Code::UNKNOWN_ID,
        "scenario/claims.rs",
        "An expectation about a counter or a device that is not there could only be green by accident.",
        "Take the name that the message suggests. `uvsim explain` lists counters and designs.",
        Fields("expect: [Count(id: \"x\", counter: \"round_trip\", must: Exactly(0))]"),
    ),
    told(
        Code::CONTRADICTION,
        "scenario/work.rs",
        "A run of such a file would mean one of the two, and the reader might think of the other.",
        "Take one of the two out, or add what the message says is missing.",
        Fields("machine: (platform: Plain), guest: (secure: true)"),
    ),
    told(
        Code::FORMAT,
        "scenario/head.rs",
        "A file keeps its meaning for ever: what would change it gets a new format number.",
        "Write `format: 1`, or get a newer uvsim if the file comes from one.",
        File("Scenario(format: 99, name: \"a\", about: \"x\")"),
    ),
    told(
        Code::HEAD_WORD,
        "scenario/head.rs",
        "The first word says which kind of file it is; guessing it from the rest would give the \
         wrong error messages.",
        "Begin the file with its head word and `(`; `uvsim new KIND FILE` writes one.",
        File("Scenari(format: 1)"),
    ),
    told(
        Code::IMAGE,
        "image/check.rs",
        "Images are hostile input: each header is checked before a byte of it is believed.",
        "See the page of the rule's own code, and the README on own images.",
        Words("any of E321 to E339 and E350 to E364"),
    ),
    told(
        Code::BAD_GLOB,
        "scenario/policy.rs",
        "A pattern that means no run would make its rule or waiver say nothing.",
        "Write run ids with `*` for any text, `/` included, `?` for one character, `{a,b}` for either.",
        File(
            "Policy(format: 1, name: \"p\", about: \"x\", rules: [\n    \
             Rule(id: \"r\", level: Deny, title: \"t\", runs: \"[\", check: Never(event: Leak)),\n])",
        ),
    ),
    told(
        Code::BAD_DATE,
        "scenario/policy.rs",
        "A waiver ends on a day, and everybody must read the same day.",
        "Write YYYY-MM-DD, a day that there is.",
        File(
            "Policy(format: 1, name: \"p\", about: \"x\", rules: [\n    \
             Rule(id: \"r\", level: Deny, title: \"t\", check: Never(event: Leak)),\n], waivers: [\n    \
             Waiver(rule: \"r\", runs: \"*\", until: \"2027-02-30\", reason: \"why\", owner: \"who\"),\n])",
        ),
    ),
    told(
        Code::DISAGREEMENT,
        "scenario/argument.rs",
        "A claim has one finding. What holds under some condition only is `Qualified`.",
        "Make the findings and conditions of all scenarios of the claim agree.",
        Words("two scenarios with `claim: (number: 6, ...)`, one `Supported`, one `Refuted`"),
    ),
    told(
        Code::EVENTS,
        "saved.rs",
        "Pictures and verdicts are made from the recorded events alone. A file that was cut off or \
         changed by hand would show what no run did, so the hash over the events is checked too.",
        "Record the run again: uvsim run FILE --report events=events.ndjson. A result (`--report \
         json`) has totals only, and no report can be made from it.",
        Words("uvsim report result.json -o r.html"),
    ),
    told(
        Code::NO_RULES,
        "scenario/policy.rs",
        "A policy that demands nothing would be green whatever happens.",
        "Write a rule: `uvsim new policy FILE` writes some to start from.",
        File("Policy(format: 1, name: \"p\", about: \"x\", rules: [])"),
    ),
    told(
        Code::NO_MOMENT,
        "demo/story.rs",
        "A demo tells what the log says. A sentence about something that did not happen is a lie.",
        "Look at the run alone (`uvsim demo SCENARIO --id RUN`), and take a moment that comes.",
        Words("`at: Leak` in a view of a run in which no secret shows"),
    ),
    told(
        Code::WORK_UNITS,
        "scenario/limits.rs",
        "A run always ends. An instruction is a work unit, and so are a round of a REP, 64 bytes that a \
         device copies and 256 that a conversion goes over.",
        "Look where the guest spends its time: the `hot` lines. If it only has much to do, say \
         `guest: (budget: N)`: 50 million unless given, at most 10 billion.",
        Words("a guest that jumps to itself"),
    ),
    told(
        Code::DEADLOCK,
        "machine.rs",
        "The guest halts, or pauses for a virtual second without a look at a clock, or touches a page that does not come \
         back, and no device has anything to do: nothing would ever change.",
        "The `stuck` lines say what everybody was doing. Often a device has gone silent after a ring \
         that makes no sense to it.",
        Words("a guest that halts and was promised no answer"),
    ),
    told(
        Code::MEMORY,
        "scenario/limits.rs",
        "A partition may have 16 TiB, but what is in use of it takes the memory of whoever runs it.",
        "Have the guest touch less, or say `limits: (memory: \"1GiB\")`: 256 MiB unless given, at most \
         1 GiB.",
        Words("a guest that writes to more pages than fit into 256 MiB"),
    ),
    told(
        Code::CONSOLE,
        "scenario/limits.rs",
        "Console text is kept for the judges. What was cut off could hide a secret, so nothing is: the \
         run ends.",
        "Print less, or say `limits: (console: \"16MiB\")`: 1 MiB unless given, at most 16 MiB.",
        Words("a guest that prints more than 1 MiB"),
    ),
    told(
        Code::WALL_CLOCK,
        "watchdog.rs",
        "How far a run comes in a minute differs from time to time: it is given up without a verdict, \
         and nothing of it is told. Everything else that ends a run is counted, not timed.",
        "Run it with `--wall-clock SECONDS` (at most 3600) or on a machine that is less busy.",
        Words("uvsim run slow.ron --wall-clock 1"),
    ),
    told(
        Code::HOST_STEPS,
        "scenario/limits.rs",
        "A guest that does little may keep hypervisor and devices busy without end: each exit that is \
         served, each queue and each look at a ring is a step.",
        "Make fewer requests, or say `limits: (host_steps: N)`: 1 million unless given, at most 100 \
         million.",
        Words("a guest that reads a device's register for ever"),
    ),
    told(
        Code::CALLS,
        "scenario/limits.rs",
        "Each ultracall or hypercall may take long on the host side.",
        "Make fewer calls, or say `limits: (calls: N)`: 100 thousand unless given, at most 10 million.",
        Words("a guest that shares and unshares a page for ever"),
    ),
    told(
        Code::LOG,
        "scenario/limits.rs",
        "The log is kept in memory until the run is judged. Leaks have room of their own, so that none \
         can hide behind a full log.",
        "Make fewer requests, or say `limits: (log: N)`: 1 million events unless given, at most 4 \
         million.",
        Words("a guest whose driver makes a million requests"),
    ),
    told(
        Code::FINDINGS,
        "scenario/limits.rs",
        "A thousand places where a secret shows say no more than one: further ones are counted, by the \
         log's event `leaks.left_out`.",
        "Fix the first. To see more of them say `limits: (findings: N)`, at most 100 thousand.",
        Words("a secret that lies in two thousand pages that the host can read"),
    ),
    told(
        Code::MATRIX,
        "scenario/matrix.rs",
        "The product of a few axes grows fast; a scenario has at most 4096 runs.",
        "Take an axis out, or make two scenarios.",
        Words("a matrix of 4097 combinations"),
    ),
    told(
        Code::PARTITION,
        "scenario/draft.rs",
        "The page tables of the simulated machine end there.",
        "Ask for less. Memory that no one touches costs nothing, so a large partition is no problem.",
        Fields("machine: (memory: \"17TiB\")"),
    ),
    told(
        Code::FILE_LIMIT,
        "scenario/source.rs",
        "Images, modules and disk files (64 MiB each, 512 MiB in all) are kept in memory while their runs last.",
        "Strip the image, or put less on the disk: what follows a file's end reads as zeros.",
        Words("an image or a disk file of more than 64 MiB"),
    ),
    told(
        Code::COUNT_LIMIT,
        "scenario/draft.rs",
        "Guest map and boot arguments have room for so many and no more.",
        "Use fewer; workloads of several steps can be several scenarios.",
        Words("16 devices, or more than 10000 files"),
    ),
    told(
        Code::POOL_LIMIT,
        "scenario/draft.rs",
        "swiotlb pools are real memory from the first moment; Linux's default is 64 MiB.",
        "Ask for at most 256 MiB.",
        Fields("machine: (memory: \"4GiB\", swiotlb: \"1GiB\")"),
    ),
    told(
        Code::FAULTS,
        "scenario/reading.rs",
        "After a hundred faults the next one helps nobody, and a hostile file may hold a million.",
        "Mend the first ones; many of the others may have the same cause.",
        Words("a file with a list of 101 misspelt names"),
    ),
    told(
        Code::OUTPUT,
        "output/target.rs",
        "A report that is missing without a word would look like one that was never asked for: the \
         process exits with 6, and the verdicts on the screen hold.",
        "Make the folder, make room, or take what is in the way away. Reports are written beside \
         their place and moved there whole, so an old report is kept until then.",
        Words("uvsim run my.ron --report json=no/such/folder/result.json"),
    ),
];

/// The page of a code, if there is such a code.
pub fn page(code: Code) -> Option<Page> {
    if let Some(rule) = Rule::ALL.iter().find(|rule| rule.code() == code.0) {
        return Some(image_page(*rule));
    }
    let told = PAGES.iter().find(|told| told.code == code)?;
    let mut page = Page {
        word: code.to_string(),
        kind: "error code",
        what: code.sentence().to_owned(),
        sections: vec![
            ("why", told.why.to_owned()),
            ("do", told.act.to_owned()),
            ("rule in", format!("host-sim/src/{}", told.rule)),
            ("exit code", exit_code(code)),
        ],
        verbatim: None,
    };
    match told.example {
        Fields(text) | File(text) => {
            page.verbatim = Some(("refused, for example", text.to_owned()))
        }
        Words(text) => page.sections.push(("e.g.", text.to_owned())),
    }
    Some(page)
}

fn exit_code(code: Code) -> String {
    match code {
        Code::OUTPUT => "6: a report could not be written".to_owned(),
        Code::WALL_CLOCK => "5: the run has no verdict".to_owned(),
        Code::FINDINGS => "that of the runs: it ends nothing".to_owned(),
        Code(401..=409) => {
            "1, unless the scenario expects it: the run is `stuck`, or what else it is found to be"
                .to_owned()
        }
        _ => "3: wrong input, nothing was judged".to_owned(),
    }
}

fn image_page(rule: Rule) -> Page {
    let sentence = rule.sentence();
    let sections = vec![
        (
            "why",
            "Images are hostile input: a header that lies about sizes or places is refused before \
             it is followed."
                .to_owned(),
        ),
        ("do", format!("{}{}.", rule.act()[..1].to_uppercase(), &rule.act()[1..])),
        (
            "see",
            "The README under `Run your own ELF`: static, ET_EXEC, segments at p_paddr = p_vaddr, \
             none both writable and executable."
                .to_owned(),
        ),
        ("source", "System V ABI, ELF-64 object file format; the boot protocol `elf64`".to_owned()),
        ("rule in", "host-sim/src/image/check.rs".to_owned()),
        (
            "shown by",
            "scenarios/basics/09-own-elf.ron, with an image that keeps them all".to_owned(),
        ),
    ];
    Page {
        word: Code(rule.code()).to_string(),
        kind: "error code of guest images",
        what: format!("{}{}.", sentence[..1].to_uppercase(), &sentence[1..]),
        sections,
        verbatim: None,
    }
}

/// Every code that has a page, in the order of numbers.
pub fn all() -> Vec<Code> {
    let mut codes: Vec<Code> = PAGES.iter().map(|told| told.code).collect();
    codes.extend(Rule::ALL.iter().map(|rule| Code(rule.code())));
    codes.sort_unstable();
    codes
}
