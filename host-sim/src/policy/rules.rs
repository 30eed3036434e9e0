//! What one rule asks of one run.

use crate::counters::{Counter, Counters};
use crate::event::DeviceIndex;
use crate::proof::{Acting, Standing};
use crate::scenario::design::Layer;
use crate::scenario::expect::{Asked, Bound, Claim, Span, TouchFilter};
use crate::scenario::plan::Plan;
use crate::verdict::{Answer, Bench, NEVER_STEADY};

/// How a rule takes a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asking {
    /// It names a device that this run does not have.
    NotAbout,
    /// It must know about other runs first.
    Later,
    /// It has its answer.
    Answered(Answer),
}

/// Asks `check` of a run alone.
pub fn ask(bench: &Bench<'_>, check: &Asked) -> Asking {
    match check {
        Asked::Claim { claim, device: None } => Asking::Answered(bench.ask(claim)),
        Asked::Claim { claim, device: Some(device) } => {
            match device_called(bench.plan, &device.value) {
                Some(device) => Asking::Answered(bench.ask(&of_device(claim, device))),
                None => Asking::NotAbout,
            }
        }
        Asked::Rate { counter, per, span, must } => {
            Asking::Answered(rate(bench.counters, (*counter, *per), *span, *must))
        }
        Asked::NoMoreThan { .. } | Asked::WhoMustAct { .. } => Asking::Later,
    }
}

fn device_called(plan: &Plan, id: &str) -> Option<DeviceIndex> {
    let place = plan.devices.iter().position(|device| device.id == id)?;
    u8::try_from(place).ok().map(DeviceIndex)
}

fn of_device(claim: &Claim, device: DeviceIndex) -> Claim {
    match claim {
        Claim::Touches { filter, span, must } => {
            let filter = TouchFilter { device: Some(device), ..*filter };
            Claim::Touches { filter, span: *span, must: *must }
        }
        // Only touches name a device.
        Claim::Outcome(_)
        | Claim::OutcomeIn(_)
        | Claim::Finding(_)
        | Claim::Ended(_)
        | Claim::Count { .. }
        | Claim::Reports { .. }
        | Claim::Says(_)
        | Claim::Never { .. }
        | Claim::SameView { .. } => claim.clone(),
    }
}

/// A bound of so many for each of `times`.
fn scaled(bound: Bound, times: u64) -> Bound {
    match bound {
        Bound::Exactly(n) => Bound::Exactly(n.saturating_mul(times)),
        Bound::AtMost(n) => Bound::AtMost(n.saturating_mul(times)),
        Bound::AtLeast(n) => Bound::AtLeast(n.saturating_mul(times)),
        Bound::Between(least, most) => {
            Bound::Between(least.saturating_mul(times), most.saturating_mul(times))
        }
    }
}

fn rate(
    counters: &Counters,
    (counter, per): (Counter, Counter),
    span: Span,
    must: Bound,
) -> Answer {
    let expected = format!("{} per {} in {}: {must}", counter.name(), per.name(), span.name());
    if span == Span::Steady && !counters.steady_reached() {
        return Answer { expected, found: NEVER_STEADY.to_owned(), holds: false };
    }
    let (count, times) = (counters.sum(counter, span.phases()), counters.sum(per, span.phases()));
    let found = format!("{count} for {times}");
    Answer { expected, found, holds: scaled(must, times).holds(count) }
}

/// Judges a [`Asked::NoMoreThan`] by the run itself and the one that it is compared with.
pub fn no_more_than(
    counters: &Counters,
    base_run: Option<&Counters>,
    check: &Asked,
) -> Option<Answer> {
    let Asked::NoMoreThan { base, counter, plus, per, span } = check else { return None };
    let (counter, span) = (*counter, *span);
    let more = match per.as_slice() {
        [] => format!("{plus}"),
        per => {
            let names: Vec<&str> = per.iter().map(|counter| counter.name()).collect();
            format!("{plus} for each of {}", names.join(" and "))
        }
    };
    let expected =
        format!("{} in {}: at most {more} more than with {base}", counter.name(), span.name());
    let red = |found: String| Some(Answer { expected: expected.clone(), found, holds: false });
    let Some(base_run) = base_run else {
        return red(format!("the selection has no such run with {base}"));
    };
    if span == Span::Steady && !counters.steady_reached() {
        return red(NEVER_STEADY.to_owned());
    }
    if span == Span::Steady && !base_run.steady_reached() {
        return red(format!("with {base}, {NEVER_STEADY}"));
    }
    let sum = |of: &Counters, counter| of.sum(counter, span.phases());
    let times = per.iter().map(|one| sum(counters, *one)).fold(0, u64::saturating_add);
    let times = if per.is_empty() { 1 } else { times };
    let (count, other) = (sum(counters, counter), sum(base_run, counter));
    let allowed = other.saturating_add(plus.saturating_mul(times));
    let found = format!("{count}, {other} with {base}, {allowed} allowed");
    Some(Answer { expected, found, holds: count <= allowed })
}

/// Judges a [`Asked::WhoMustAct`]: without a design, nobody.
pub fn who_must_act(acting: Option<&Acting>, only: &[Layer]) -> Answer {
    let names = |layers: &[Layer]| {
        let names: Vec<&str> = layers.iter().map(|layer| layer.name()).collect();
        if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
    };
    let expected = format!("nobody must act but {}", names(only));
    if acting.is_some_and(|acting| acting.standing == Standing::NotClean) {
        let found = "clean in no secure run, whoever acts".to_owned();
        return Answer { expected, found, holds: false };
    }
    let must: Vec<Layer> =
        acting.map_or_else(Vec::new, |acting| acting.layers().into_iter().collect());
    let holds = must.iter().all(|layer| only.contains(layer));
    let unproven = acting.map_or(&[][..], |acting| &acting.unproven);
    let mut found = format!("{} must act", names(&must));
    if !unproven.is_empty() {
        found.push_str(&format!(" (unproven: {})", names(unproven)));
    }
    Answer { expected, found, holds }
}
