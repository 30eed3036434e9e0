//! Who must act for a design to work: proved by putting one layer back to its 2018 base and seeing
//! whether a run stops being clean. The proof plans and judges; who runs the plans is not its
//! business.

use crate::outcome::Outcome;
use crate::scenario::design::Layer;
use crate::scenario::plan::Plan;
use crate::scenario::resolve::Origin;
use std::collections::{BTreeMap, BTreeSet};

/// The layers whose code or settings a machine of ours has, in the order of the tables.
const PROVABLE: [Layer; 6] = [
    Layer::GuestKernel,
    Layer::BootFirmware,
    Layer::Ultravisor,
    Layer::Hypervisor,
    Layer::Qemu,
    Layer::User,
];

/// One run of the selection that came back.
#[derive(Clone, Copy, Debug)]
pub struct Tried<'a> {
    /// What was run.
    pub plan: &'a Plan,
    /// What the plan was made from.
    pub origin: &'a Origin,
    /// How it came out.
    pub outcome: Outcome,
}

impl Tried<'_> {
    /// Whether who must act can be proved on it: a secure guest, really sealed, of a scenario that
    /// does not say `prove: false`.
    fn is_evidence(&self) -> bool {
        self.plan.guest.secure && !self.plan.what_if() && self.origin.prove
    }
}

/// What is known about who must act for a design.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No secure run of it was selected.
    Untried,
    /// It is clean in no secure run, so there is nothing to prove.
    NotClean,
    /// It is clean in a secure run, and each such run was tried without each layer.
    Proved,
}

/// Who must act for one design.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acting {
    /// How much is known.
    pub standing: Standing,
    /// The layers without which a run stops being clean.
    pub needed: Vec<Layer>,
    /// Layers that the design claims to change and that no run was seen to need.
    pub unproven: Vec<Layer>,
    /// Layers that are needed and that the design does not claim: its file is wrong.
    pub unclaimed: Vec<Layer>,
}

impl Acting {
    /// Everybody who must act as far as is known: what is needed, and what is claimed and cannot be
    /// shown to be superfluous.
    pub fn layers(&self) -> BTreeSet<Layer> {
        self.needed.iter().chain(&self.unproven).copied().collect()
    }
}

/// How one plan came back from a rerun; `None`: it did not run, which proves nothing.
pub type Rerun<'r> = &'r mut dyn FnMut(&[&Plan]) -> Vec<Option<Outcome>>;

/// A machine that was or will be run in one cell of a matrix, the design aside.
struct Known {
    plan: Plan,
    outcome: Option<Outcome>,
}

/// Every machine that is known, so that none is run twice: a design without its one layer is often
/// another design of the same matrix.
#[derive(Default)]
struct Machines {
    all: Vec<Known>,
    by_cell: BTreeMap<Cell, Vec<usize>>,
}

/// A scenario and the values of its axes but the design's.
type Cell = (String, Vec<(String, String)>);

/// The cell that a run is in: runs of one cell differ in their design alone.
pub fn cell(plan: &Plan) -> Cell {
    let axes = plan.axes.iter().filter(|(axis, _)| axis != "design");
    (plan.scenario.clone(), axes.cloned().collect())
}

impl Machines {
    /// The number of this machine in this cell.
    fn number(&mut self, plan: &Plan, outcome: Option<Outcome>) -> usize {
        let here = self.by_cell.entry(cell(plan)).or_default();
        let known = here.iter().find(|number| is_same_machine(&self.all[**number].plan, plan));
        if let Some(number) = known {
            return *number;
        }
        here.push(self.all.len());
        self.all.push(Known { plan: plan.clone(), outcome });
        self.all.len() - 1
    }
}

/// Whether two plans of one cell make the same machine do the same.
fn is_same_machine(one: &Plan, other: &Plan) -> bool {
    // Each field is named, so that a new one cannot be forgotten.
    let Plan {
        id: _,
        scenario: _,
        about: _,
        axes: _,
        design: _,
        changes: _,
        seed,
        machine,
        guest,
        limits,
        devices,
        work,
        expect: _,
        known_failures: _,
        twins: _,
        claim: _,
    } = one;
    *seed == other.seed
        && *machine == other.machine
        && *guest == other.guest
        && *limits == other.limits
        && *devices == other.devices
        && *work == other.work
}

/// One design without one layer, in one run: the number of the machine.
struct Attempt {
    design: String,
    layer: Layer,
    machine: usize,
}

/// Proves who must act for each design of `tried`. `rerun` runs what was not run already.
pub fn prove(tried: &[Tried<'_>], rerun: Rerun<'_>) -> BTreeMap<String, Acting> {
    let mut machines = Machines::default();
    for run in tried {
        machines.number(run.plan, Some(run.outcome));
    }
    let clean = clean_designs(tried);
    let mut attempts = Vec::new();
    let is_clean = |run: &&Tried<'_>| run.is_evidence() && run.outcome == Outcome::Clean;
    for run in tried.iter().filter(is_clean) {
        let Some(design) = &run.origin.design else { continue };
        for layer in PROVABLE {
            let Some(without) = design.without(layer) else { continue };
            // A machine that cannot be built shows nothing about the layer.
            let Some(plan) = run.origin.replan(run.plan, &without) else { continue };
            let (design, machine) = (design.name.clone(), machines.number(&plan, None));
            attempts.push(Attempt { design, layer, machine });
        }
    }
    run_unknown(&mut machines, rerun);
    let mut designs = BTreeMap::new();
    for run in tried {
        let Some(design) = &run.origin.design else { continue };
        let standing = clean.get(design.name.as_str()).copied().unwrap_or(Standing::Untried);
        designs.entry(design.name.clone()).or_insert_with(|| {
            let broken: BTreeSet<Layer> = attempts
                .iter()
                .filter(|attempt| attempt.design == design.name)
                .filter(|attempt| {
                    let outcome = machines.all[attempt.machine].outcome;
                    outcome.is_some_and(|outcome| outcome != Outcome::Clean)
                })
                .map(|attempt| attempt.layer)
                .collect();
            acting(standing, with_what_follows(broken, design), &design.changes)
        });
    }
    designs
}

fn clean_designs<'a>(tried: &[Tried<'a>]) -> BTreeMap<&'a str, Standing> {
    let mut standing = BTreeMap::new();
    for run in tried.iter().filter(|run| run.is_evidence()) {
        let Some(design) = &run.origin.design else { continue };
        let here = standing.entry(design.name.as_str()).or_insert(Standing::NotClean);
        if run.outcome == Outcome::Clean {
            *here = Standing::Proved;
        }
    }
    standing
}

fn run_unknown(machines: &mut Machines, rerun: Rerun<'_>) {
    let unknown: Vec<usize> =
        (0..machines.all.len()).filter(|at| machines.all[*at].outcome.is_none()).collect();
    let plans: Vec<&Plan> = unknown.iter().map(|at| &machines.all[*at].plan).collect();
    if plans.is_empty() {
        return;
    }
    let outcomes = rerun(&plans);
    for (at, outcome) in unknown.into_iter().zip(outcomes) {
        machines.all[at].outcome = outcome;
    }
}

/// Two layers have no code of ours, and follow: a bit that the virtio specification does not have
/// must be put there if those who use it are needed; an option that a user must set on each device
/// has to travel through the management stack.
fn with_what_follows(
    mut needed: BTreeSet<Layer>,
    design: &crate::scenario::design::Design,
) -> BTreeSet<Layer> {
    let uses_bits = needed.contains(&Layer::GuestKernel) || needed.contains(&Layer::Qemu);
    if design.is_beyond_spec() && uses_bits {
        needed.insert(Layer::VirtioSpec);
    }
    if design.is_set_per_device() && needed.contains(&Layer::User) {
        needed.insert(Layer::ManagementStack);
    }
    needed
}

fn acting(standing: Standing, needed: BTreeSet<Layer>, claimed: &[Layer]) -> Acting {
    let unproven = claimed.iter().copied().filter(|layer| !needed.contains(layer));
    let unproven: BTreeSet<Layer> = unproven.collect();
    let unclaimed = needed.iter().copied().filter(|layer| !claimed.contains(layer)).collect();
    Acting {
        standing,
        unproven: unproven.into_iter().collect(),
        unclaimed,
        needed: needed.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_claimed_and_not_needed_is_unproven_and_what_is_needed_and_not_claimed_is_wrong() {
        let needed = BTreeSet::from([Layer::Qemu, Layer::GuestKernel]);
        let found = acting(Standing::Proved, needed, &[Layer::Hypervisor, Layer::Qemu]);
        assert_eq!(found.needed, [Layer::GuestKernel, Layer::Qemu]);
        assert_eq!(found.unproven, [Layer::Hypervisor]);
        assert_eq!(found.unclaimed, [Layer::GuestKernel]);
        let all = BTreeSet::from([Layer::GuestKernel, Layer::Hypervisor, Layer::Qemu]);
        assert_eq!(found.layers(), all);
    }
}
