//! From one scenario file to its plans, or to all that is wrong with it.

use super::argument::{Argument, FindingWord};
use super::claims::{self, Conditional};
use super::codes::Code;
use super::design::{Design, Lookup};
use super::diagnostics::{Fault, SourceText};
use super::draft::{Draft, Surroundings};
use super::expect::{Claim, Expectation};
use super::file::ScenarioFile;
use super::known::{self, Entry};
use super::matrix::{self, Axis, Value};
use super::plan::{DevicePlan, GuestPlan, ImagePlan, MachinePlan, Plan};
use super::reading::{self, At, Reader};
use super::work;
use super::{head, images};
use crate::image::Protocol;
use firmware::workload::Work;
use std::collections::BTreeSet;
use std::sync::Arc;
use ultravisor_abi::boot::LOW_RAM_END;

/// A plan, and what it was made from.
#[derive(Clone, Debug)]
pub struct Made {
    /// The plan.
    pub plan: Plan,
    /// What it was made from.
    pub origin: Origin,
}

/// What one plan was made from: enough to make it again with another design.
#[derive(Clone, Debug)]
pub struct Origin {
    draft: Draft,
    source: Arc<SourceText>,
    /// The design, if the scenario has one.
    pub design: Option<Arc<Design>>,
    /// Whether this run may prove who must act for its design (`prove: false`: it may not).
    pub prove: bool,
}

impl Origin {
    /// `plan`, made again with `design` instead of its own; `None` if the two exclude each other.
    pub fn replan(&self, plan: &Plan, design: &Design) -> Option<Plan> {
        let mut reader = Reader::new(&self.source);
        let Arranged { machine, guest, devices, work } =
            arrange(&mut reader, &self.draft, Some(design))?;
        let changes = design.changes.clone();
        let design = Some(design.name.clone());
        let twins = Vec::new();
        let plan = Plan { design, changes, machine, guest, devices, work, twins, ..plan.clone() };
        (!reader.is_faulty()).then_some(plan)
    }
}

/// All runs of a scenario together have at most so many expectations.
const CHECKS_MAX: usize = 200_000;

/// What all the plans of one scenario have in common.
struct Common<'a> {
    name: At<String>,
    about: String,
    axes: Vec<Axis>,
    claims: Option<Vec<Conditional>>,
    known: Vec<Entry>,
    argument: Option<Arc<Argument>>,
    prove: bool,
    source: Arc<SourceText>,
    lookup: Lookup<'a>,
    seed: u64,
}

/// Reads a scenario.
///
/// # Errors
/// Everything that is wrong with it.
pub fn plans(
    source: &Arc<SourceText>,
    lookup: Lookup<'_>,
    around: &mut Surroundings<'_>,
    seed: u64,
) -> Result<Vec<Made>, Vec<Fault>> {
    reading::all_of(source, |reader| read(reader, source, lookup, around, seed))
}

/// The scenario's name, if it can be read: for finding names that are there twice.
pub fn name(source: &Arc<SourceText>) -> Option<At<String>> {
    let mut reader = Reader::new(source);
    let file: ScenarioFile<'_> = reader.whole()?;
    reader.take(file.name)
}

fn read<'a>(
    reader: &mut Reader<'a>,
    source: &Arc<SourceText>,
    lookup: Lookup<'_>,
    around: &mut Surroundings<'_>,
    seed: u64,
) -> Option<Vec<Made>> {
    let mut file: ScenarioFile<'a> = reader.whole()?;
    let place = reader.place(&file.name);
    let draft = Draft::read(reader, &mut file, &place, around);
    head::check_format(reader, file.format);
    let name = head::name(reader, file.name);
    let about = head::about(reader, file.about);
    let matrix = reader.take_if(file.matrix).map_or_else(Vec::new, |list| list.value);
    let axes = matrix::axes(reader, matrix);
    let expect = reader.take_if(file.expect);
    let expect_span = expect.as_ref().map(|list| list.span.clone());
    let expect = expect.map(|list| list.value);
    let mut claims = expect.map(|list| claims::read(reader, list, &axes));
    let known = reader.take_if(file.known_failures).map_or_else(Vec::new, |list| list.value);
    let known = known::read(reader, known, claims.as_deref().unwrap_or_default(), &axes);
    let argument = reader.take_if(file.claim);
    let argument_span = argument.as_ref().map(|at| at.span.clone());
    let argument = argument.and_then(|at| Argument::read(reader, at, source)).map(Arc::new);
    if let (Some(argument), Some(span)) = (&argument, &argument_span) {
        expect_something(reader, argument, span, &mut claims);
    }
    let prove = reader.take_if(file.prove).is_none_or(|prove| prove.value);
    check_design_once(reader, &draft, &axes);
    work::check(reader, &draft);
    let runs = matrix::combinations(reader, &axes, source.text.len())?;
    let checks = runs.saturating_mul(claims.as_ref().map_or(0, Vec::len));
    if let Some(span) = expect_span.filter(|_| checks > CHECKS_MAX) {
        let message = format!("{checks} expectations in {runs} runs, at most {CHECKS_MAX}");
        let help = Some("make several scenarios of it".to_owned());
        reader.fault(Code::COUNT_LIMIT, &span, message, help);
        return None;
    }
    if !reader.is_faulty() {
        known::check(reader, &known, claims.as_deref().unwrap_or_default(), &axes, runs);
        known::check_twice(reader, &known, &axes, runs);
    }
    let (name, about, source) = (name?, about?, source.clone());
    let common = Common { name, about, axes, claims, known, argument, prove, source, lookup, seed };
    let plans: Option<Vec<Made>> =
        (0..runs).map(|number| one(reader, &draft, &common, number)).collect();
    check_image(reader, &draft, plans.as_deref().unwrap_or_default());
    plans
}

/// A finding follows from checks; only what cannot be measured needs none.
fn expect_something(
    reader: &mut Reader<'_>,
    argument: &Argument,
    span: &std::ops::Range<usize>,
    claims: &mut Option<Vec<Conditional>>,
) {
    match argument.finding.word() {
        FindingWord::NotMeasurable => drop(claims.get_or_insert_default()),
        FindingWord::Supported | FindingWord::Refuted | FindingWord::Qualified => {
            if claims.as_ref().is_none_or(Vec::is_empty) {
                let message = "a finding about a claim follows from `expect`, and there is none";
                let help = Some("add `expect`, or say `finding: NotMeasurable(..)`".to_owned());
                reader.fault(Code::CONTRADICTION, span, message.to_owned(), help);
            }
        }
    }
}

fn check_design_once(reader: &mut Reader<'_>, draft: &Draft, axes: &[Axis]) {
    let axis = axes.iter().find(|axis| axis.name == "design");
    if let (Some(design), Some(_)) = (&draft.design, axis) {
        let message = "`design` is set here and crossed in the matrix".to_owned();
        reader.fault(Code::CONTRADICTION, &design.span, message, None);
    }
}

/// Checks the guest's image once for each way to start it and size of memory that it shall run in.
fn check_image(reader: &mut Reader<'_>, draft: &Draft, made: &[Made]) {
    let ImagePlan::File { bytes, .. } = &draft.image.value else { return };
    let of = |made: &Made| (made.plan.guest.boot.protocol(), made.plan.machine.memory_bytes);
    let starts: BTreeSet<(Protocol, u64)> = made.iter().map(of).collect();
    for (protocol, memory_bytes) in starts {
        match images::end(bytes, protocol, memory_bytes) {
            Ok(end) => draft.start.check_room(reader, end, memory_bytes.min(LOW_RAM_END.0)),
            Err(faults) => faults.into_iter().for_each(|(code, message, act)| {
                reader.fault(code, &draft.image.span, message, Some(act.to_owned()));
            }),
        }
    }
}

/// The parts of a plan that a design has a say in.
struct Arranged {
    machine: MachinePlan,
    guest: GuestPlan,
    devices: Vec<DevicePlan>,
    work: Vec<Work>,
}

fn arrange(reader: &mut Reader<'_>, draft: &Draft, design: Option<&Design>) -> Option<Arranged> {
    let machine = draft.machine(reader, design);
    let guest = draft.guest(reader, design);
    let devices = draft.devices(reader, design);
    Some(Arranged { machine: machine?, guest, devices, work: draft.work() })
}

fn one(reader: &mut Reader<'_>, base: &Draft, common: &Common<'_>, number: usize) -> Option<Made> {
    let cell = matrix::combination(&common.axes, number);
    let mut draft = base.clone();
    cell.iter().for_each(|(_, value)| draft.apply(&value.setting));
    let checks = common.claims.as_deref().unwrap_or_default();
    let mut expect: Option<Vec<Expectation>> =
        common.claims.as_ref().map(|claims| claims::of_run(reader, claims, &cell, &draft));
    let twins = twins(reader, base, common, &cell, expect.as_deref_mut().unwrap_or_default());
    let (mut plan, design) = plan(reader, &draft, common, &cell)?;
    plan.twins = twins;
    // A scenario whose expectations are all about other runs says nothing about this one.
    plan.expect = expect
        .filter(|expect| !expect.is_empty() || common.claims.as_ref().is_some_and(Vec::is_empty));
    plan.known_failures = known::of_run(&common.known, checks, &cell);
    let (source, prove) = (common.source.clone(), common.prove);
    Some(Made { plan, origin: Origin { draft, source, design, prove } })
}

/// A run's plan without what is expected of it, and its design.
fn plan(
    reader: &mut Reader<'_>,
    draft: &Draft,
    common: &Common<'_>,
    cell: &[(&'static str, &Value)],
) -> Option<(Plan, Option<Arc<Design>>)> {
    let design = draft.find_design(reader, &common.lookup);
    let Arranged { machine, guest, devices, work } = arrange(reader, draft, design.as_deref())?;
    let axes: Vec<(String, String)> =
        cell.iter().map(|(name, value)| ((*name).to_owned(), value.label.clone())).collect();
    let mut id = common.name.value.clone();
    axes.iter().for_each(|(axis, value)| id.push_str(&format!("/{axis}={value}")));
    let plan = Plan {
        id,
        scenario: common.name.value.clone(),
        about: common.about.clone(),
        axes,
        design: draft.design.as_ref().map(|design| design.value.clone()),
        changes: design.as_ref().map_or_else(Vec::new, |design| design.changes.clone()),
        seed: common.seed,
        machine,
        guest,
        limits: draft.limits,
        devices,
        work,
        expect: None,
        known_failures: Vec::new(),
        twins: Vec::new(),
        claim: common.argument.clone(),
    };
    Some((plan, design))
}

/// The plans of the runs that expectations compare this one with; each expectation learns its
/// place among them.
fn twins(
    reader: &mut Reader<'_>,
    base: &Draft,
    common: &Common<'_>,
    cell: &[(&'static str, &Value)],
    expect: &mut [Expectation],
) -> Vec<Plan> {
    let mut twins: Vec<Plan> = Vec::new();
    for Expectation { claim, .. } in expect {
        let Claim::SameView { like, twin, .. } = claim else { continue };
        let other: Vec<(&'static str, &Value)> = cell
            .iter()
            .map(|(name, value)| (*name, like_value(common, name, like, value)))
            .collect();
        let mut draft = base.clone();
        other.iter().for_each(|(_, value)| draft.apply(&value.setting));
        if let Some((plan, _)) = plan(reader, &draft, common, &other) {
            *twin = twins.len();
            twins.push(plan);
        }
    }
    twins
}

/// The value of the axis `name` in the run that `like` describes; `here` if it says nothing of it.
fn like_value<'c>(
    common: &'c Common<'_>,
    name: &str,
    like: &[(&'static str, String)],
    here: &'c Value,
) -> &'c Value {
    let wanted = like.iter().find(|(axis, _)| *axis == name);
    let found = wanted.and_then(|(_, label)| {
        let axis = common.axes.iter().find(|axis| axis.name == name)?;
        axis.values.iter().find(|value| value.label == *label)
    });
    found.unwrap_or(here)
}
