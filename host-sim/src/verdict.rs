//! The judge: a run's log against what its plan expects. It never sees the machine.

use crate::counters::{Counter, Counters, PhaseClock, TouchKey};
use crate::event::{Ended, Event, Record};
use crate::findings;
use crate::log::RunLog;
use crate::outcome::Outcome;
use crate::scenario::expect::{Claim, EndedWord, Expectation, Incident, Span, TouchFilter};
use crate::scenario::plan::Plan;
use crate::view::{Onlooker, Until, View};
use serde::{Deserialize, Serialize};
use ultravisor::{Effect, PageOp, PageState};
use ultravisor_abi::ReportKind;
use ultravisor_abi::ucall::Caller;

/// A run's verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every expectation holds.
    Pass,
    /// One does not.
    Fail,
    /// What fails is listed as a known failure or waived.
    ExpectedFailure,
    /// Nothing was expected.
    None,
}

impl Verdict {
    /// The name used in outputs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::ExpectedFailure => "expected_failure",
            Self::None => "none",
        }
    }
}

/// One expectation, judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Its id.
    pub id: String,
    /// Whether it holds.
    pub verdict: Verdict,
    /// What was expected, in words.
    pub expected: String,
    /// What was found, in words.
    pub found: String,
    /// Why it is listed as a known failure, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<String>,
}

/// A run, judged.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// Whether the scenario says nothing about this run at all: no verdict, exit code 5.
    pub unjudged: bool,
    /// The outcome.
    pub outcome: Outcome,
    /// All that holds, worst first.
    pub findings: Vec<Outcome>,
    /// All counters.
    pub counters: Counters,
    /// Each expectation.
    pub checks: Vec<Check>,
}

/// Judges a run.
pub fn judge(plan: &Plan, log: &RunLog) -> Judged {
    let counters = Counters::of(&log.records, plan.guest.marks);
    let findings = findings::findings(plan, log, &counters);
    let outcome = findings.first().copied().unwrap_or(Outcome::Crashed);
    let expected = plan.expect.as_deref().unwrap_or_default();
    let bench = Bench { plan, log, counters: &counters, findings: &findings };
    let checks: Vec<Check> = expected.iter().map(|expectation| bench.expect(expectation)).collect();
    let verdict = sum(checks.iter().map(|check| check.verdict));
    let unjudged = plan.expect.is_none();
    Judged { verdict, unjudged, outcome, findings, counters, checks }
}

/// Several verdicts as one: a failure fails all, then what was expected to fail shows.
pub fn sum(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
    let worse = |one, other| match (one, other) {
        (Verdict::Fail, _) | (_, Verdict::Fail) => Verdict::Fail,
        (Verdict::ExpectedFailure, _) | (_, Verdict::ExpectedFailure) => Verdict::ExpectedFailure,
        (Verdict::Pass, _) | (_, Verdict::Pass) => Verdict::Pass,
        (Verdict::None, Verdict::None) => Verdict::None,
    };
    verdicts.into_iter().fold(Verdict::None, worse)
}

/// What was expected and found, in words, and whether it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What was expected.
    pub expected: String,
    /// What was found.
    pub found: String,
    /// Whether that is what was expected.
    pub holds: bool,
}

/// Said instead of a number where a guest that marks its steady state never came to it.
pub const NEVER_STEADY: &str = "steady state never reached";

/// One run before its judges: what a check may look at.
#[derive(Clone, Copy, Debug)]
pub struct Bench<'a> {
    /// What was to be run.
    pub plan: &'a Plan,
    /// What happened.
    pub log: &'a RunLog,
    /// Its counters.
    pub counters: &'a Counters,
    /// All that holds of it.
    pub findings: &'a [Outcome],
}

impl Bench<'_> {
    /// Asks one claim.
    pub fn ask(&self, claim: &Claim) -> Answer {
        let expected = self.expected(claim);
        if claim.is_about_steady() && !self.counters.steady_reached() {
            return Answer { expected, found: NEVER_STEADY.to_owned(), holds: false };
        }
        let (found, holds) = self.found(claim);
        Answer { expected, found, holds }
    }

    /// Asks one expectation, which may be listed as a known failure: then it must not hold.
    fn expect(&self, expectation: &Expectation) -> Check {
        let Expectation { id, claim } = expectation;
        let Answer { expected, mut found, holds } = self.ask(claim);
        let known = self.plan.known_failures.iter().find(|known| known.check == *id);
        let verdict = match (holds, known) {
            (true, None) => Verdict::Pass,
            (false, None) => Verdict::Fail,
            (false, Some(_)) => Verdict::ExpectedFailure,
            (true, Some(_)) => {
                found.push_str(": a known failure passed: remove the entry");
                Verdict::Fail
            }
        };
        let known = known.map(|known| known.why.clone());
        Check { id: id.clone(), verdict, expected, found, known }
    }

    fn expected(&self, claim: &Claim) -> String {
        match claim {
            Claim::Outcome(wanted) => format!("outcome {}", wanted.name()),
            Claim::OutcomeIn(wanted) => {
                let names: Vec<&str> = wanted.iter().map(|outcome| outcome.name()).collect();
                format!("outcome {}", names.join(" or "))
            }
            Claim::Finding(wanted) => format!("{} among the findings", wanted.name()),
            Claim::Ended(wanted) => format!("ended {}", ended_word(*wanted)),
            Claim::Count { counter, span, must } => {
                format!("{} in {}: {must}", counter.name(), span.name())
            }
            Claim::Touches { filter, span, must } => {
                format!("touches{} in {}: {must}", self.filter_text(filter), span.name())
            }
            Claim::Reports { report, name } => {
                let kind = report.map_or("", ReportKind::name);
                format!("the guest reports {kind} `{name}`").replace("  ", " ")
            }
            Claim::Says(text) => format!("console text `{text}`"),
            Claim::Never { event, span } => {
                format!("no {} in {}", incident_name(*event), span.name())
            }
            Claim::SameView { onlooker, until, like, .. } => {
                let like: Vec<String> =
                    like.iter().map(|(axis, value)| format!("{axis}={value}")).collect();
                let (who, when) = (onlooker.name(), until.name());
                format!("{who} sees the same as with {} until {when}", like.join(", "))
            }
        }
    }

    fn found(&self, claim: &Claim) -> (String, bool) {
        match claim {
            Claim::Outcome(wanted) => self.outcome(&[*wanted]),
            Claim::OutcomeIn(wanted) => self.outcome(wanted),
            Claim::Finding(wanted) => {
                let names: Vec<&str> = self.findings.iter().map(|found| found.name()).collect();
                (names.join(", "), self.findings.contains(wanted))
            }
            Claim::Ended(wanted) => {
                (format!("ended {}", self.log.ended), is_ended(&self.log.ended, *wanted))
            }
            Claim::Count { counter, span, must } => {
                let count = self.counters.sum(*counter, span.phases());
                (self.count_text(*counter, *span, count), must.holds(count))
            }
            Claim::Touches { filter, span, must } => {
                let count = self.touches(filter, *span);
                (count.to_string(), must.holds(count))
            }
            Claim::Reports { report, name } => self.reports(*report, name),
            Claim::Says(text) => {
                let said = console_text(&self.log.records);
                let holds = contains(&said, text.as_bytes());
                (format!("{} bytes of console text", said.len()), holds)
            }
            Claim::Never { event, span } => {
                let count = self.incidents(*event, *span);
                (format!("{count} of them"), count == 0)
            }
            Claim::SameView { onlooker, until, twin, .. } => {
                self.same_view(*onlooker, *until, *twin)
            }
        }
    }

    fn same_view(&self, onlooker: Onlooker, until: Until, twin: usize) -> (String, bool) {
        let Some(twin) = self.log.twins.get(twin) else {
            return ("the other run is not here".to_owned(), false);
        };
        let [ours, theirs] = [self.log, twin].map(|log| View::of(&log.records, onlooker, until));
        match ours.same_until(&theirs) {
            Ok(0) => ("nothing was seen until then".to_owned(), false),
            Ok(count) => (format!("{count} events, all the same"), true),
            Err(difference) => (difference, false),
        }
    }

    fn outcome(&self, wanted: &[Outcome]) -> (String, bool) {
        let outcome = self.findings.first();
        let found = format!("outcome {}", outcome.map_or("none", |outcome| outcome.name()));
        (found, outcome.is_some_and(|outcome| wanted.contains(outcome)))
    }

    /// A count; and per request too where that is what a reader wants next.
    fn count_text(&self, counter: Counter, span: Span, count: u64) -> String {
        let requests = self.counters.sum(Counter::Requests, span.phases());
        if counter == Counter::RoundTrips && requests > 0 && count > 0 {
            let hundredths = count.saturating_mul(100) / requests;
            return format!("{count} ({}.{:02} per request)", hundredths / 100, hundredths % 100);
        }
        count.to_string()
    }

    fn touches(&self, filter: &TouchFilter, span: Span) -> u64 {
        let wanted = |key: &TouchKey| {
            filter.device.is_none_or(|device| key.device == Some(device))
                && filter.queue.is_none_or(|queue| key.queue == Some(queue))
                && filter.part.is_none_or(|part| key.part == part)
                && filter.direction.is_none_or(|direction| key.direction == direction)
                && filter.state.is_none_or(|state| key.state == state)
        };
        self.counters
            .touches()
            .filter(|(key, phase, _)| wanted(key) && span.phases().contains(phase))
            .map(|(_, _, tally)| tally.count)
            .sum()
    }

    fn filter_text(&self, filter: &TouchFilter) -> String {
        let mut text = String::new();
        if let Some(device) = filter.device {
            let id = self.plan.devices.get(usize::from(device.0)).map_or("?", |device| &device.id);
            text.push_str(&format!(" by {id}"));
        }
        if let Some(queue) = filter.queue {
            text.push_str(&format!(" queue {}", queue.0));
        }
        if let Some(part) = filter.part {
            text.push_str(&format!(" of {}", part.name()));
        }
        if let Some(direction) = filter.direction {
            text.push_str(&format!(" {}", direction.doing()));
        }
        if let Some(state) = filter.state {
            text.push_str(&format!(" of {} units", state.name()));
        }
        text
    }

    fn reports(&self, report: Option<ReportKind>, wanted: &str) -> (String, bool) {
        let mut holds = false;
        let mut names: Vec<String> = Vec::new();
        for record in &self.log.records {
            let Event::Report { report: kind, name } = &record.event else { continue };
            holds |= name == wanted && report.is_none_or(|report| report == *kind);
            // The first few tell enough.
            if names.len() < 4 {
                names.push(format!("{} `{name}`", kind.name()));
            }
        }
        let found = if names.is_empty() { "no report".to_owned() } else { names.join(", ") };
        (found, holds)
    }

    fn incidents(&self, wanted: Incident, span: Span) -> u64 {
        let mut clock = PhaseClock::new(self.plan.guest.marks);
        let mut count = 0;
        for record in &self.log.records {
            let here = span.phases().contains(&clock.phase());
            count += u64::from(here && incident(&record.event) == Some(wanted));
            clock.follow(&record.event);
        }
        count
    }
}

/// What an event is an incident of, if of anything.
fn incident(event: &Event) -> Option<Incident> {
    match event {
        Event::Leak { .. } => Some(Incident::Leak),
        Event::Tampered { .. } => Some(Incident::Tampered),
        Event::Sigbus { .. } => Some(Incident::Sigbus),
        Event::Broken { .. } => Some(Incident::Broken),
        Event::Foreign { .. } => Some(Incident::Foreign),
        Event::Report { .. } => Some(Incident::Report),
        Event::HvCall { .. } => Some(Incident::Hypercall),
        Event::UvCall { caller, .. } => match caller {
            Caller::NormalGuest | Caller::SecureGuest => Some(Incident::Ultracall),
            Caller::Hypervisor => None,
        },
        Event::Touch { state, .. } => {
            (*state == PageState::Secure).then_some(Incident::SecureTouch)
        }
        Event::Page { op: PageOp::PageOut, .. } => Some(Incident::PageOut),
        Event::Page { op: PageOp::PageIn, effect: Effect::Unseal, .. } => Some(Incident::PageIn),
        Event::Page { .. }
        | Event::Exit { .. }
        | Event::Life { .. }
        | Event::Measured { .. }
        | Event::Register { .. }
        | Event::Kick { .. }
        | Event::Popped { .. }
        | Event::Completed { .. }
        | Event::Interrupt { .. }
        | Event::Status { .. }
        | Event::Wait { .. }
        | Event::Mark { .. }
        | Event::Retired { .. }
        | Event::Secret { .. }
        | Event::Console { .. }
        | Event::Decision { .. }
        | Event::DmaMap { .. }
        | Event::DmaUnmap { .. }
        | Event::DmaAlloc { .. }
        | Event::DmaFree { .. }
        | Event::Balloon { .. }
        | Event::Flip { .. }
        | Event::Plugged { .. }
        | Event::IotlbMiss { .. }
        | Event::IotlbHits { .. }
        | Event::Frame { .. }
        | Event::Taken { .. }
        | Event::Woken { .. }
        | Event::Unwoken { .. }
        | Event::Actor { .. }
        | Event::Hot { .. }
        | Event::LeaksLeftOut { .. }
        | Event::Bounce { .. }
        | Event::Comparison { .. } => None,
    }
}

fn incident_name(incident: Incident) -> &'static str {
    match incident {
        Incident::Leak => "leak",
        Incident::Tampered => "failed page-in",
        Incident::Sigbus => "SIGBUS",
        Incident::Broken => "broken ring",
        Incident::Foreign => "foreign DMA address",
        Incident::Report => "report",
        Incident::PageOut => "page-out",
        Incident::PageIn => "page-in",
        Incident::SecureTouch => "touch of a secure unit",
        Incident::Hypercall => "hypercall",
        Incident::Ultracall => "ultracall",
    }
}

fn ended_word(word: EndedWord) -> String {
    match word {
        EndedWord::Exit(code) => format!("exit({code})"),
        EndedWord::SvmTerminated => "svm_terminated".to_owned(),
        EndedWord::QemuKilled => "qemu_killed".to_owned(),
        EndedWord::Budget => "budget".to_owned(),
        EndedWord::Idle => "idle".to_owned(),
        EndedWord::Refault => "refault".to_owned(),
        EndedWord::Fault => "fault".to_owned(),
        EndedWord::Unsupported => "unsupported".to_owned(),
    }
}

fn is_ended(ended: &Ended, word: EndedWord) -> bool {
    match ended {
        Ended::Exit(code) => word == EndedWord::Exit(*code),
        Ended::SvmTerminated(_) => word == EndedWord::SvmTerminated,
        Ended::QemuKilled => word == EndedWord::QemuKilled,
        Ended::Budget(_) => word == EndedWord::Budget,
        Ended::Idle => word == EndedWord::Idle,
        Ended::Refault(_) => word == EndedWord::Refault,
        Ended::Fault { .. } => word == EndedWord::Fault,
        Ended::Unsupported { .. } => word == EndedWord::Unsupported,
    }
}

/// All console text of the log: the hypervisor's console and the devices', in order.
fn console_text(records: &[Record]) -> Vec<u8> {
    let mut text = Vec::new();
    for record in records {
        if let Event::Console { bytes, .. } = &record.event {
            text.extend_from_slice(bytes);
        }
    }
    text
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || text.windows(wanted.len()).any(|window| window == wanted)
}
