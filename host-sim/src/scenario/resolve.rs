//! From one scenario file to its plans, or to all that is wrong with it.

use super::claims::{self, Conditional};
use super::design::Lookup;
use super::diagnostics::{Fault, SourceText};
use super::draft::{Draft, Surroundings};
use super::expect::Expectation;
use super::file::ScenarioFile;
use super::matrix::{self, Axis};
use super::plan::{ImagePlan, Plan};
use super::reading::{At, Reader};
use super::work;
use super::{head, images};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What all the plans of one scenario have in common.
struct Common<'a> {
    name: At<String>,
    about: String,
    axes: Vec<Axis>,
    claims: Option<Vec<Conditional>>,
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
) -> Result<Vec<Plan>, Vec<Fault>> {
    let mut reader = Reader::new(source);
    let plans = read(&mut reader, lookup, around, seed);
    match plans {
        Some(plans) if !reader.is_faulty() => Ok(plans),
        Some(_) | None => Err(reader.into_faults()),
    }
}

/// The scenario's name, if it can be read: for finding names that are there twice.
pub fn name(source: &Arc<SourceText>) -> Option<At<String>> {
    let mut reader = Reader::new(source);
    let file: ScenarioFile<'_> = reader.whole()?;
    reader.take(file.name)
}

fn read<'a>(
    reader: &mut Reader<'a>,
    lookup: Lookup<'_>,
    around: &mut Surroundings<'_>,
    seed: u64,
) -> Option<Vec<Plan>> {
    let mut file: ScenarioFile<'a> = reader.whole()?;
    let place = 0..1;
    let draft = Draft::read(reader, &mut file, &place, around);
    head::check_format(reader, file.format);
    let name = head::name(reader, file.name);
    let about = head::about(reader, file.about);
    let matrix = reader.take_if(file.matrix).map_or_else(Vec::new, |list| list.value);
    let axes = matrix::axes(reader, matrix);
    let expect = reader.take_if(file.expect).map(|list| list.value);
    let claims = expect.map(|list| claims::read(reader, list, &axes));
    check_design_once(reader, &draft, &axes);
    work::check(reader, &draft);
    let runs = matrix::combinations(reader, &axes)?;
    let common = Common { name: name?, about: about?, axes, claims, lookup, seed };
    let plans: Option<Vec<Plan>> =
        (0..runs).map(|number| one(reader, &draft, &common, number)).collect();
    check_image(reader, &draft, plans.as_deref().unwrap_or_default());
    plans
}

fn check_design_once(reader: &mut Reader<'_>, draft: &Draft, axes: &[Axis]) {
    let axis = axes.iter().find(|axis| axis.name == "design");
    if let (Some(design), Some(_)) = (&draft.design, axis) {
        let message = "`design` is set here and crossed in the matrix".to_owned();
        reader.fault(super::codes::Code::CONTRADICTION, &design.span, message, None);
    }
}

/// Checks the guest's image once for each size of memory that it shall run in.
fn check_image(reader: &mut Reader<'_>, draft: &Draft, plans: &[Plan]) {
    let ImagePlan::File { bytes, .. } = &draft.image.value else { return };
    let memories: BTreeSet<u64> = plans.iter().map(|plan| plan.machine.memory_bytes).collect();
    for memory_bytes in memories {
        for (code, message) in images::faults(bytes, memory_bytes) {
            reader.fault(code, &draft.image.span, message, None);
        }
    }
}

fn one(reader: &mut Reader<'_>, draft: &Draft, common: &Common<'_>, number: usize) -> Option<Plan> {
    let cell = matrix::combination(&common.axes, number);
    let mut draft = draft.clone();
    cell.iter().for_each(|(_, value)| draft.apply(&value.setting));
    let design = draft.find_design(reader, &common.lookup);
    let design = design.as_deref();
    let expect: Option<Vec<Expectation>> =
        common.claims.as_ref().map(|claims| claims::of_run(reader, claims, &cell, &draft));
    let machine = draft.machine(reader, design.as_deref());
    let guest = draft.guest(reader, design);
    let devices = draft.devices(reader, design);
    let axes: Vec<(String, String)> =
        cell.iter().map(|(name, value)| ((*name).to_owned(), value.label.clone())).collect();
    let mut id = common.name.value.clone();
    axes.iter().for_each(|(axis, value)| id.push_str(&format!("/{axis}={value}")));
    Some(Plan {
        id,
        scenario: common.name.value.clone(),
        about: common.about.clone(),
        axes,
        design: draft.design.as_ref().map(|design| design.value.clone()),
        seed: common.seed,
        machine: machine?,
        guest,
        devices,
        work: draft.work(),
        // A scenario whose expectations are all about other runs says nothing about this one.
        expect: expect.filter(|expect| {
            !expect.is_empty() || common.claims.as_ref().is_some_and(Vec::is_empty)
        }),
    })
}
