//! Laws of the folds over the log: counters, outcome, verdict. Over hand-made logs, and over
//! generated ones that respect nothing but the events' types.

use host_sim::counters::{Counter, Counters, Phase};
use host_sim::event::{
    Budget, Cause, DeviceIndex, Direction, Ended, Event, Mark, Part, QueueIndex, Record, Seen,
};
use host_sim::findings;
use host_sim::log::{BY_TAMPERING, RunLog};
use host_sim::outcome::Outcome;
use host_sim::scenario::design::Designs;
use host_sim::scenario::diagnostics::SourceText;
use host_sim::scenario::draft::Surroundings;
use host_sim::scenario::expect::{Bound, Claim, Expectation, Incident, Span};
use host_sim::scenario::plan::Plan;
use host_sim::scenario::source::{Files, Folder};
use host_sim::scenario::{design, resolve};
use host_sim::verdict::{self, Verdict};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use ultravisor::{Effect, PageOp, PageState};
use ultravisor_abi::ReportKind;

const DISK: Option<DeviceIndex> = Some(DeviceIndex(0));
const QUEUE: Option<QueueIndex> = Some(QueueIndex(0));

fn log(events: Vec<Event>) -> Vec<Record> {
    let numbered = events.into_iter().zip(0_u64..);
    numbered.map(|(event, seq)| Record { seq, t_ns: seq * 10, event }).collect()
}

fn out(gfn: u64, cause: Option<Cause>) -> Event {
    let (from, to) = (PageState::Secure, PageState::PagedOut);
    Event::Page { gfn, op: PageOp::PageOut, from, to, effect: Effect::Seal, bytes: 65536, cause }
}

fn back(gfn: u64) -> Event {
    let (from, to) = (PageState::PagedOut, PageState::Secure);
    Event::Page {
        gfn,
        op: PageOp::PageIn,
        from,
        to,
        effect: Effect::Unseal,
        bytes: 65536,
        cause: None,
    }
}

fn touched(part: Part) -> Option<Cause> {
    Some(Cause::Touch { device: DISK, queue: QUEUE, part })
}

fn touch(part: Part, state: PageState) -> Event {
    let (direction, seen, chain) = (Direction::Read, Seen::Sealed, None);
    Event::Touch {
        device: DISK,
        queue: QUEUE,
        part,
        direction,
        gpa: 0,
        bytes: 16,
        gfn: 0,
        state,
        seen,
        chain,
    }
}

fn mark(mark: Mark) -> Event {
    Event::Mark { mark }
}

/// A plan of a guest that marks, with these expectations.
fn plan(expect: Option<Vec<Expectation>>) -> Plan {
    let text = r#"Scenario(format: 1, name: "law", about: "A law.", expect: [])"#;
    let source = Arc::new(SourceText { path: "law.ron".into(), text: text.into() });
    let none = Designs::new();
    let lookup = design::Lookup { places: [&none, &none, &none] };
    let mut inputs = BTreeMap::new();
    let folder = &Folder::new(Path::new("."), "");
    let (inputs, read) = (&mut inputs, &mut Files::default());
    let mut around = Surroundings { folder, inputs, read };
    let plans = resolve::plans(&source, lookup, &mut around, 1).expect("the scenario is right");
    Plan { expect, ..plans.into_iter().next().expect("one run").plan }
}

fn run(events: Vec<Event>, ended: Ended) -> RunLog {
    RunLog {
        records: log(events),
        ended,
        hash: [0; 32],
        needs_reset: Vec::new(),
        what_if: false,
        places: Vec::new(),
        twins: Vec::new(),
    }
}

fn findings(events: Vec<Event>, ended: Ended) -> Vec<Outcome> {
    let log = run(events, ended);
    findings::findings(&plan(None), &log, &Counters::of(&log.records, true))
}

/// A small generator: the same numbers on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn part(&mut self) -> Part {
        Part::ALL[usize::try_from(self.below(8)).expect("below 8")]
    }

    /// Any events, in any order, whether a machine could do so or not.
    fn events(&mut self) -> Vec<Event> {
        (0..200)
            .map(|_| match self.below(8) {
                0 | 1 => out(self.below(6), touched(self.part())),
                2 => out(self.below(6), Some(Cause::Asked)),
                3 | 4 => back(self.below(6)),
                5 => {
                    let state = usize::try_from(self.below(11)).expect("below 11");
                    touch(self.part(), PageState::ALL[state])
                }
                6 => mark(if self.below(2) == 0 { Mark::Ready } else { Mark::Done }),
                _ => Event::Retired { instructions: self.below(1000), units: 0 },
            })
            .collect()
    }
}

#[test]
fn round_trips_by_part_sum_up_and_every_touch_caused_page_out_is_counted_once() {
    let mut dice = Dice(42);
    for _ in 0..300 {
        let events = dice.events();
        let caused = events
            .iter()
            .filter(|event| matches!(event, Event::Page { cause: Some(Cause::Touch { .. }), .. }));
        let caused = caused.count() as u64;
        let touches =
            events.iter().filter(|event| matches!(event, Event::Touch { .. })).count() as u64;
        let counters = Counters::of(&log(events), true);
        for phase in Phase::ALL {
            let parts: u64 = Part::ALL
                .iter()
                .map(|part| counters.get(Counter::round_trips_by(*part), phase))
                .sum();
            assert_eq!(parts, counters.get(Counter::RoundTrips, phase));
        }
        let all = |counter| counters.sum(counter, &Phase::ALL);
        assert_eq!(all(Counter::RoundTrips) + all(Counter::OneWay), caused);
        let by_state = [
            Counter::TouchSecure,
            Counter::TouchShared,
            Counter::TouchPagedOut,
            Counter::TouchNormal,
        ];
        assert_eq!(by_state.into_iter().map(all).sum::<u64>(), touches);
        assert_eq!(counters.touches().map(|(_, _, tally)| tally.count).sum::<u64>(), touches);
    }
}

#[test]
fn time_is_told_whole_and_without_gaps_whatever_the_marks_say() {
    let mut dice = Dice(7);
    for marks in [true, false] {
        let records = log(dice.events());
        let end = records.last().map_or(0, |record| record.t_ns);
        assert_eq!(Counters::of(&records, marks).sum(Counter::TimeNs, &Phase::ALL), end);
    }
}

#[test]
fn a_unit_that_never_comes_back_is_one_way_and_in_the_phase_in_which_it_went() {
    let events = vec![out(1, touched(Part::Data)), mark(Mark::Ready), mark(Mark::Done)];
    let counters = Counters::of(&log(events), true);
    assert_eq!(counters.get(Counter::OneWay, Phase::Init), 1);
    assert_eq!(counters.sum(Counter::RoundTrips, &Phase::ALL), 0);
}

#[test]
fn a_unit_that_fails_verification_is_one_way_unless_it_comes_back_later() {
    let bad = Event::Tampered { gfn: 1, writer: None };
    let counters = Counters::of(&log(vec![out(1, touched(Part::Data)), bad.clone()]), false);
    assert_eq!(counters.get(Counter::OneWay, Phase::Steady), 1);
    let counters = Counters::of(&log(vec![out(1, touched(Part::Data)), bad, back(1)]), false);
    assert_eq!(counters.get(Counter::RoundTrips, Phase::Steady), 1);
    assert_eq!(counters.get(Counter::OneWay, Phase::Steady), 0);
}

#[test]
fn a_round_trip_has_the_cause_of_its_page_out_and_the_phase_of_its_page_in() {
    let events = vec![out(1, touched(Part::Used)), mark(Mark::Ready), back(1)];
    let counters = Counters::of(&log(events), true);
    assert_eq!(counters.get(Counter::RoundTripsUsed, Phase::Steady), 1);
    assert_eq!(counters.sum(Counter::RoundTrips, &[Phase::Init, Phase::After]), 0);
}

#[test]
fn a_page_out_that_the_hypervisor_asked_for_is_no_ping_pong() {
    let counters = Counters::of(&log(vec![out(1, Some(Cause::Asked)), back(1)]), false);
    assert_eq!(counters.get(Counter::UvPageOut, Phase::Steady), 1);
    assert_eq!(counters.get(Counter::RoundTrips, Phase::Steady), 0);
}

#[test]
fn a_guest_that_does_not_mark_is_all_steady_and_one_that_does_starts_in_init() {
    let kick = || Event::Foreign { device: DeviceIndex(0), queue: QueueIndex(0), dma: 0 };
    let events = || vec![kick(), mark(Mark::Ready), kick(), mark(Mark::Done), kick()];
    let unmarked = Counters::of(&log(events()), false);
    assert_eq!(unmarked.get(Counter::DmaForeign, Phase::Steady), 3);
    let marked = Counters::of(&log(events()), true);
    assert_eq!(Phase::ALL.map(|phase| marked.get(Counter::DmaForeign, phase)), [1, 1, 1]);
}

#[test]
fn counters_have_the_names_of_the_format_and_each_once() {
    let mut names: Vec<&str> = Counter::ALL.iter().map(|counter| counter.name()).collect();
    assert!(
        Counter::ALL.iter().all(|counter| Counter::from_name(counter.name()) == Some(*counter))
    );
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Counter::ALL.len());
    assert_eq!(names.len(), 45);
}

fn report(report: ReportKind) -> Event {
    Event::Report { report, name: "by-name".to_owned() }
}

fn completed() -> Event {
    let (device, queue) = (DeviceIndex(0), QueueIndex(0));
    Event::Completed { device, queue, head: 0, written: 1, data: true }
}

#[test]
fn every_way_to_end_has_an_outcome_of_its_own() {
    let marks = || vec![mark(Mark::Ready), mark(Mark::Done)];
    let unsupported = Ended::Unsupported { rip: 0, bytes: Vec::new(), what: String::new() };
    let cases = [
        (marks(), Ended::Exit(0), Outcome::Clean),
        (marks(), Ended::Exit(3), Outcome::Failed),
        (vec![mark(Mark::Ready)], Ended::Exit(0), Outcome::Failed),
        (marks(), unsupported, Outcome::Unsupported),
        (marks(), Ended::Fault { vector: 6, rip: 0, error: None, address: None }, Outcome::Crashed),
        (marks(), Ended::QemuKilled, Outcome::Crashed),
        (marks(), Ended::SvmTerminated("aborted"), Outcome::Crashed),
        (marks(), Ended::SvmTerminated(BY_TAMPERING), Outcome::Tampered),
        (marks(), Ended::Idle, Outcome::Stuck),
        (marks(), Ended::Budget(Budget::WorkUnits), Outcome::Stuck),
        (marks(), Ended::Refault(0), Outcome::Stuck),
    ];
    for (events, ended, wanted) in cases {
        let found = findings(events, ended.clone());
        assert_eq!(found.first(), Some(&wanted), "{ended}: {found:?}");
    }
}

#[test]
fn a_guest_turned_away_at_once_is_refused_and_one_turned_away_later_failed() {
    let at_once = findings(vec![report(ReportKind::Refused)], Ended::Exit(2));
    assert_eq!(at_once, [Outcome::Refused]);
    let late = findings(vec![completed(), report(ReportKind::Refused)], Ended::Exit(2));
    assert_eq!(late, [Outcome::Failed]);
}

#[test]
fn ping_pong_makes_verified_work_slow_and_nothing_else() {
    let trip = || vec![mark(Mark::Ready), out(1, touched(Part::Data)), back(1), mark(Mark::Done)];
    assert_eq!(findings(trip(), Ended::Exit(0)), [Outcome::Slow]);
    let mut mismatched = trip();
    mismatched.push(report(ReportKind::Mismatch));
    assert_eq!(findings(mismatched, Ended::Exit(3)), [Outcome::Corrupted, Outcome::Failed]);
}

#[test]
fn the_worst_of_all_that_holds_is_the_outcome() {
    let events = vec![
        Event::Leak { place: host_sim::event::LeakPlace::Disk, at: 0 },
        Event::Tampered { gfn: 1, writer: None },
        report(ReportKind::Failed),
    ];
    let found = findings(events, Ended::Refault(0));
    assert_eq!(found, [Outcome::Leaked, Outcome::Tampered, Outcome::Stuck, Outcome::Failed]);
}

fn expectation(claim: Claim) -> Option<Vec<Expectation>> {
    Some(vec![Expectation { id: "it".to_owned(), claim }])
}

#[test]
fn a_steady_state_that_is_never_reached_is_never_green() {
    let none =
        Claim::Count { counter: Counter::RoundTrips, span: Span::Steady, must: Bound::Exactly(0) };
    let judged = verdict::judge(&plan(expectation(none.clone())), &run(Vec::new(), Ended::Exit(0)));
    assert_eq!(judged.verdict, Verdict::Fail);
    assert_eq!(judged.checks[0].found, "steady state never reached");
    let reached = run(vec![mark(Mark::Ready), mark(Mark::Done)], Ended::Exit(0));
    assert_eq!(verdict::judge(&plan(expectation(none)), &reached).verdict, Verdict::Pass);
}

#[test]
fn each_claim_holds_where_it_should_and_fails_where_it_should_not() {
    let events = vec![
        mark(Mark::Ready),
        touch(Part::Data, PageState::Secure),
        report(ReportKind::Failed),
        Event::Console { device: None, bytes: b"hel".to_vec() },
        Event::Console { device: None, bytes: b"lo".to_vec() },
    ];
    let log = run(events, Ended::Exit(1));
    let never = |event, span| Claim::Never { event, span };
    let reports =
        |name: &str| Claim::Reports { report: Some(ReportKind::Failed), name: name.into() };
    let cases = [
        (Claim::Outcome(Outcome::Failed), true),
        (Claim::Outcome(Outcome::Clean), false),
        (Claim::OutcomeIn(vec![Outcome::Tampered, Outcome::Failed]), true),
        (Claim::OutcomeIn(vec![Outcome::Tampered, Outcome::Clean]), false),
        (Claim::OutcomeIn(vec![]), false),
        (Claim::Finding(Outcome::Failed), true),
        (Claim::Finding(Outcome::Leaked), false),
        (Claim::Says("hello".into()), true),
        (Claim::Says("help".into()), false),
        (reports("by-name"), true),
        (reports("by-nam"), false),
        (never(Incident::SecureTouch, Span::Init), true),
        (never(Incident::SecureTouch, Span::All), false),
        (never(Incident::Leak, Span::All), true),
    ];
    for (claim, holds) in cases {
        let judged = verdict::judge(&plan(expectation(claim.clone())), &log);
        let wanted = if holds { Verdict::Pass } else { Verdict::Fail };
        assert_eq!(judged.verdict, wanted, "{claim:?}: {:?}", judged.checks);
    }
}

#[test]
fn bounds_hold_at_their_edges_and_not_beside_them() {
    for (bound, holds) in [
        (Bound::Exactly(2), [false, true, false]),
        (Bound::AtMost(2), [true, true, false]),
        (Bound::AtLeast(2), [false, true, true]),
        (Bound::Between(2, 2), [false, true, false]),
    ] {
        assert_eq!([1, 2, 3].map(|count| bound.holds(count)), holds, "{bound}");
    }
}

#[test]
fn nothing_expected_is_no_verdict_and_no_expectations_at_all_is_unjudged() {
    let log = run(Vec::new(), Ended::Exit(0));
    let nothing = verdict::judge(&plan(Some(Vec::new())), &log);
    assert_eq!((nothing.verdict, nothing.unjudged), (Verdict::None, false));
    let silent = verdict::judge(&plan(None), &log);
    assert_eq!((silent.verdict, silent.unjudged), (Verdict::None, true));
}

#[test]
fn pages_of_the_balloon_and_look_ups_of_a_back_end_are_counted_where_they_are_told() {
    let (device, queue) = (DeviceIndex(1), QueueIndex(0));
    let balloon = |inflate, pages, reclaimed| Event::Balloon {
        device,
        inflate,
        pages,
        skipped: 5,
        reclaimed,
    };
    let events = vec![
        balloon(true, 3, 3 * 4096),
        Event::IotlbMiss { device, queue, dma: 0x1000 },
        mark(Mark::Ready),
        balloon(true, 2, 0),
        balloon(false, 4, 0),
        Event::IotlbMiss { device, queue, dma: 0x2000 },
        Event::IotlbHits { device, queue, hits: 7 },
        Event::Flip { device },
        Event::Plugged { device },
    ];
    let counters = Counters::of(&log(events), true);
    let both = |counter| (counters.get(counter, Phase::Init), counters.get(counter, Phase::Steady));
    assert_eq!(both(Counter::BalloonInflated), (3, 2));
    assert_eq!(both(Counter::BalloonDeflated), (0, 4));
    assert_eq!(both(Counter::BalloonReclaimed), (3 * 4096, 0));
    assert_eq!(both(Counter::VhostIotlbMisses), (1, 1));
    assert_eq!(both(Counter::VhostIotlbHits), (0, 7));
}

#[test]
fn what_qemu_does_is_written_and_read_by_name_and_differs_in_the_hash() {
    let (device, queue) = (DeviceIndex(1), QueueIndex(0));
    let balloon = |inflate| Event::Balloon { device, inflate, pages: 1, skipped: 2, reclaimed: 3 };
    let events = [
        balloon(true),
        balloon(false),
        Event::Flip { device },
        Event::Plugged { device },
        Event::IotlbMiss { device, queue, dma: 0x1000 },
        Event::IotlbHits { device, queue, hits: 0x1000 },
    ];
    let mut forms = BTreeMap::new();
    for event in events {
        let text = serde_json::to_string(&event).expect("it can be written");
        let back: Event = serde_json::from_str(&text).expect("it can be read");
        assert_eq!(back, event, "{text}");
        let mut bytes = Vec::new();
        Record { seq: 0, t_ns: 0, event }.encode(&mut bytes);
        assert_eq!(forms.insert(bytes, text), None, "two events have one form");
    }
}
