//! Expectations: what the file says into what is judged, and in which runs.

use super::codes::Code;
use super::diagnostics::one_of;
use super::draft::{BOOT_DISK, Draft};
use super::expect::{Asked, CheckFile, Claim, ExpectFile, Expectation, TouchFilter};
use super::head;
use super::matrix::{self, Axis, AxisFile, Value};
use super::plan::Boot;
use super::reading::{At, Located, Reader};
use super::sense;
use crate::counters::Counter;
use crate::event::{DeviceIndex, QueueIndex};

/// One expectation with the runs that it is about.
#[derive(Clone, Debug)]
pub struct Conditional {
    id: String,
    claim: Claim,
    /// The device that it names; its place may differ from run to run.
    device: Option<At<String>>,
    when: Vec<Axis>,
}

impl Conditional {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether it is about the run of this combination.
    pub fn is_about(&self, cell: &[(&'static str, &Value)]) -> bool {
        is_met(&self.when, cell)
    }
}

/// Whether the run of this combination is among those that a `when:` means.
pub fn is_met(when: &[Axis], cell: &[(&'static str, &Value)]) -> bool {
    when.iter().all(|axis| {
        let here = cell.iter().find(|(name, _)| *name == axis.name);
        here.is_some_and(|(_, value)| axis.values.iter().any(|v| v.label == value.label))
    })
}

/// Reads `expect:`.
pub fn read<'a>(
    reader: &mut Reader<'a>,
    list: Vec<Located<'a, ExpectFile<'a>>>,
    axes: &[Axis],
) -> Vec<Conditional> {
    let mut claims: Vec<Conditional> = Vec::new();
    for item in list {
        let Some(item) = reader.take(item) else { continue };
        let Some((id, claim)) = one(reader, item, axes) else { continue };
        if claims.iter().any(|other| other.id == claim.id) {
            let message = format!("the expectation id `{}` is there twice", claim.id);
            reader.fault(Code::DUPLICATE, &id.span, message, None);
        }
        claims.push(claim);
    }
    claims
}

fn one<'a>(
    reader: &mut Reader<'a>,
    At { value: file, span }: At<ExpectFile<'a>>,
    axes: &[Axis],
) -> Option<(At<String>, Conditional)> {
    let ((id, when), check) = file.split();
    let asked = if let CheckFile::SameView { onlooker, until, like } = check {
        let is_said = !like.is_empty();
        let like = twin(reader, like, axes);
        let claim = Claim::SameView { onlooker, until, like, twin: 0 };
        if !is_said {
            sense::check(reader, &claim, &span);
        }
        Some(Asked::Claim { claim, device: None })
    } else {
        asked(reader, At { value: check, span })
    };
    let id = plain_id(reader, id);
    let when = conditions(reader, when, axes);
    // An expectation never splits into what only a rule can ask.
    let (id, Some(Asked::Claim { claim, device })) = (id?, asked) else { return None };
    let conditional = Conditional { id: id.value.clone(), claim, device, when };
    Some((id, conditional))
}

/// The axes in which another run of the scenario differs: each with one value.
fn twin<'a>(
    reader: &mut Reader<'a>,
    like: Vec<Located<'a, AxisFile<'a>>>,
    axes: &[Axis],
) -> Vec<(&'static str, String)> {
    let like = conditions(reader, like, axes);
    let mut values = Vec::new();
    for axis in like {
        match &axis.values[..] {
            [value] => values.push((axis.name, value.label.clone())),
            _ => {
                let message = format!("the other run has one value of `{}`", axis.name);
                reader.fault(Code::OUT_OF_RANGE, &axis.span, message, None);
            }
        }
    }
    values
}

/// What a check of a scenario or a policy asks.
pub fn asked<'a>(reader: &mut Reader<'a>, file: At<CheckFile<'a>>) -> Option<Asked> {
    let mut device = None;
    let claim = match file.value {
        CheckFile::Outcome { is } => Claim::Outcome(is),
        CheckFile::OutcomeIn { is } => Claim::OutcomeIn(is),
        CheckFile::Finding { has } => Claim::Finding(has),
        CheckFile::Ended { is } => Claim::Ended(is),
        CheckFile::Count { counter, phase: span, must } => {
            Claim::Count { counter: counter_called(reader, counter)?, span, must }
        }
        CheckFile::Touches { device: named, queue, part, direction, state, phase, must } => {
            device = reader.take_if(named);
            let filter = TouchFilter {
                device: None,
                queue: queue.map(QueueIndex),
                part: part.map(Into::into),
                direction: direction.map(Into::into),
                state: state.map(Into::into),
            };
            Claim::Touches { filter, span: phase, must }
        }
        CheckFile::Reports { report, name } => {
            Claim::Reports { report: report.map(Into::into), name }
        }
        CheckFile::Says { text } => Claim::Says(text),
        CheckFile::Never { event, phase: span } => Claim::Never { event, span },
        // An expectation of this kind does not come here.
        CheckFile::SameView { .. } => {
            let message = "only a scenario's expectation compares two of its runs".to_owned();
            reader.fault(Code::CONTRADICTION, &file.span, message, None);
            return None;
        }
        CheckFile::Rate { counter, per, phase: span, must } => {
            let (counter, per) = (counter_called(reader, counter), counter_called(reader, per));
            sense::check_bound(reader, must, &file.span);
            return Some(Asked::Rate { counter: counter?, per: per?, span, must });
        }
        CheckFile::NoMoreThan { base, counter, plus, per, phase: span } => {
            let base = reader.take(base);
            let counter = counter_called(reader, counter);
            let per = per.into_iter().filter_map(|name| counter_called(reader, name)).collect();
            let (base, counter) = (base?.value, counter?);
            return Some(Asked::NoMoreThan { base, counter, plus, per, span });
        }
        CheckFile::WhoMustAct { only } => {
            let layers = only.into_iter().filter_map(|layer| reader.take(layer));
            return Some(Asked::WhoMustAct { only: layers.map(|at| at.value).collect() });
        }
    };
    sense::check(reader, &claim, &file.span);
    Some(Asked::Claim { claim, device })
}

/// The id of an expectation or a rule, checked.
pub fn plain_id<'a>(reader: &mut Reader<'a>, id: Located<'a, String>) -> Option<At<String>> {
    let id = reader.take(id)?;
    if head::is_name(&id.value) && !id.value.contains('/') {
        return Some(id);
    }
    let message = "an id is made of a-z, 0-9 and `-`".to_owned();
    reader.fault(Code::BAD_NAME, &id.span, message, None);
    None
}

fn counter_called<'a>(reader: &mut Reader<'a>, name: Located<'a, String>) -> Option<Counter> {
    let name = reader.take(name)?;
    let known = Counter::from_name(&name.value);
    if known.is_none() {
        let names = || Counter::ALL.iter().map(|counter| counter.name());
        let what = format!("there is no counter `{}`", name.value);
        reader.unknown(&name.span, &what, &name.value, names());
    }
    known
}

/// Reads `when:`; each axis and value must be in the matrix.
pub fn conditions<'a>(
    reader: &mut Reader<'a>,
    when: Vec<Located<'a, AxisFile<'a>>>,
    axes: &[Axis],
) -> Vec<Axis> {
    let when = matrix::axes(reader, when);
    for condition in &when {
        let Some(axis) = axes.iter().find(|axis| axis.name == condition.name) else {
            let message = format!("the matrix has no axis `{}`", condition.name);
            reader.fault(Code::UNKNOWN_ID, &condition.span, message, None);
            continue;
        };
        for value in &condition.values {
            let labels = || axis.values.iter().map(|value| value.label.as_str());
            if !labels().any(|label| label == value.label) {
                let message = format!(
                    "the axis `{}` has {}, not `{}`",
                    axis.name,
                    one_of(labels()),
                    value.label
                );
                reader.fault(Code::UNKNOWN_ID, &value.setting.span, message, None);
            }
        }
    }
    when
}

/// The expectations of one run.
pub fn of_run(
    reader: &mut Reader<'_>,
    claims: &[Conditional],
    cell: &[(&'static str, &Value)],
    draft: &Draft,
) -> Vec<Expectation> {
    let about = claims.iter().filter(|claim| claim.is_about(cell));
    about
        .filter_map(|conditional| {
            let Conditional { id, claim, device, .. } = conditional.clone();
            let claim = match (claim, device) {
                (Claim::Touches { filter, span, must }, Some(device)) => {
                    let index = device_called(reader, &device, draft)?;
                    check_queue(reader, (&device, index), filter.queue, draft);
                    let device = Some(index);
                    Claim::Touches { filter: TouchFilter { device, ..filter }, span, must }
                }
                (claim, _) => claim,
            };
            Some(Expectation { id, claim })
        })
        .collect()
}

/// Refuses a queue that the device does not have: nothing would ever touch it.
fn check_queue(
    reader: &mut Reader<'_>,
    (named, index): (&At<String>, DeviceIndex),
    queue: Option<QueueIndex>,
    draft: &Draft,
) {
    let before = usize::from(draft.start.boot() == Boot::Slof);
    let device = usize::from(index.0).checked_sub(before).and_then(|at| draft.devices.get(at));
    // Boot firmware's own disk is none of the list's.
    let queues = device.map_or(1, |device| sense::queues(&device.value.kind));
    if let Some(queue) = queue.filter(|queue| queue.0 >= queues) {
        let message =
            format!("`{}` has no queue {}: its last is {}", named.value, queue.0, queues - 1);
        reader.fault(Code::OUT_OF_RANGE, &named.span, message, None);
    }
}

fn device_called(
    reader: &mut Reader<'_>,
    device: &At<String>,
    draft: &Draft,
) -> Option<DeviceIndex> {
    let boot = (draft.start.boot() == Boot::Slof).then_some(BOOT_DISK);
    let ids = || boot.into_iter().chain(draft.devices.iter().map(|at| at.value.id.as_str()));
    let place = ids().position(|id| id == device.value).and_then(|place| u8::try_from(place).ok());
    if place.is_none() && draft.devices_known {
        let what = format!("there is no device `{}`", device.value);
        reader.unknown(&device.span, &what, &device.value, ids());
    }
    place.map(DeviceIndex)
}
