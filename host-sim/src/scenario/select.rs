//! What the command line selects: files found, read, resolved and filtered, in one order.

use super::argument;
use super::chapter::{self, Chapter};
use super::codes::Code;
use super::design::{self, Design, Designs, Lookup};
use super::diagnostics::{Fault, SourceText};
use super::draft::Surroundings;
use super::head::{self, Head};
use super::places::{self, Places};
use super::plan::Plan;
use super::policy::{Policy, PolicyFile};
use super::reading::At;
use super::resolve::{self, Made, Origin};
use super::source::{self, Files, Folder, Found};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// A selection has at most about so many runs.
const RUNS_MAX: usize = 65_536;

/// A run, and the file it is from.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The run.
    pub plan: Plan,
    /// The scenario file, as shown.
    pub file: String,
    /// What names it on the command line.
    pub typed: PathBuf,
    /// The file of its design, if that was named and is no other's.
    pub design_file: Option<PathBuf>,
    /// Where its expectations stand.
    pub places: Arc<Places>,
    /// What the plan was made from.
    pub origin: Origin,
}

/// All that was asked for.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// The runs in the order of paths and matrices.
    pub runs: Vec<Planned>,
    /// Each input file, as shown, with its BLAKE3 in hex.
    pub inputs: BTreeMap<String, String>,
    /// All files that were read, wherever they are.
    pub read: BTreeSet<PathBuf>,
    /// Scenario files read.
    pub scenarios: usize,
    /// Design files read.
    pub designs: usize,
    /// What is to be told of what was read, though nothing is wrong.
    pub notices: Vec<String>,
    /// Policy files read: validated, not applied.
    pub policies: usize,
    /// Of how many runs [`Selection::keep`] kept `runs`, and their designs.
    pub kept_of: (usize, BTreeSet<String>),
    /// Chapters of the demo read, and the folders that they are in: validated, not shown.
    pub chapters: Vec<(Chapter, PathBuf)>,
}

/// Which of the runs.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// `--design`.
    pub design: Option<String>,
    /// `--id`.
    pub id: Option<globset::GlobMatcher>,
}

impl Filter {
    fn takes(&self, plan: &Plan) -> bool {
        let by_design = self.design.as_ref().is_none_or(|wanted| {
            plan.design.as_ref().is_some_and(|design| Design::is_called(design, wanted))
        });
        by_design && self.id.as_ref().is_none_or(|glob| glob.is_match(&plan.id))
    }
}

/// One RON file of the selection.
struct Loaded {
    found: Found,
    source: Arc<SourceText>,
    head: Head,
}

/// Reads everything that `paths` mean and resolves it.
///
/// # Errors
/// Everything that is wrong anywhere: one bad file and nothing runs.
pub fn select(paths: &[PathBuf], seed: u64) -> Result<Selection, Vec<Fault>> {
    let mut faults = Vec::new();
    let loaded = load(&source::find(paths, source::SCENARIO_FILES)?, &mut faults);
    let mut selection = Selection::default();
    for file in &loaded {
        let hash = blake3::hash(file.source.text.as_bytes()).to_hex().to_string();
        selection.inputs.insert(file.source.path.clone(), hash);
        selection.read.insert(file.found.typed.clone());
    }
    let selected = read_designs(&loaded, &mut selection, &mut faults);
    selection.policies = read_policies(&loaded, &mut faults).len();
    selection.chapters = read_chapters(&loaded, &mut faults);
    check_names(&loaded, &mut faults);
    let shipped = design::shipped().unwrap_or_else(|wrong| {
        faults.extend(wrong);
        Designs::new()
    });
    let own = own_designs(&loaded, &selected, &shipped);
    let replaced = own.iter().filter(|(name, _)| shipped.contains_key(*name));
    selection.notices = replaced
        .map(|(name, file)| {
            format!("`{}` takes the place of the design `{name}` of uvsim's own", file.display())
        })
        .collect();
    let (mut beside, mut files) = (Beside::default(), Files::default());
    for file in loaded.iter().filter(|file| file.head == Head::Scenario) {
        selection.scenarios += 1;
        let near = beside.designs(&file.found, &mut selection, &mut faults);
        let lookup = Lookup { places: [&selected, near, &shipped] };
        if selection.runs.len() > RUNS_MAX {
            let message = format!("the selection has more than {RUNS_MAX} runs");
            let fault = Fault::bare(Code::COUNT_LIMIT, message);
            faults.push(fault.help("name the folders below it one after the other"));
            break;
        }
        let folder = &file.found.folder;
        let (inputs, read) = (&mut selection.inputs, &mut files);
        let mut around = Surroundings { folder, inputs, read };
        match resolve::plans(&file.source, lookup, &mut around, seed) {
            Ok(plans) => {
                let places = Arc::new(places::of_checks(&file.source));
                selection.runs.extend(plans.into_iter().map(|Made { plan, origin }| {
                    let Found { shown: file, typed, .. } = file.found.clone();
                    let design_file = plan.design.as_ref().and_then(|name| own.get(name)).cloned();
                    Planned { plan, file, typed, design_file, places: places.clone(), origin }
                }));
            }
            Err(wrong) => faults.extend(wrong),
        }
    }
    selection.read.extend(files.into_paths());
    let claims = selection.runs.iter().filter_map(|run| run.plan.claim.as_deref());
    faults.extend(argument::disagreements(claims));
    faults.sort_by_key(Fault::order);
    if faults.is_empty() { Ok(selection) } else { Err(faults) }
}

impl Selection {
    /// Keeps the runs that `filter` takes.
    pub fn keep(&mut self, filter: &Filter) {
        let designs = self.runs.iter().filter_map(|run| run.plan.design.clone());
        self.kept_of = (self.runs.len(), designs.collect());
        self.runs.retain(|run| filter.takes(&run.plan));
    }
}

fn load(found: &[Found], faults: &mut Vec<Fault>) -> Vec<Loaded> {
    let mut loaded = Vec::new();
    for found in found {
        let read = source::read_text(found).and_then(|source| {
            let head = head::kind(&source).map_err(|fault| found.without_strange_text(fault))?;
            Ok(Loaded { found: found.clone(), source, head })
        });
        match read {
            Ok(file) => loaded.push(file),
            Err(fault) => faults.push(fault),
        }
    }
    loaded
}

fn read_designs(loaded: &[Loaded], selection: &mut Selection, faults: &mut Vec<Fault>) -> Designs {
    let mut designs = Designs::new();
    for file in loaded.iter().filter(|file| file.head == Head::Design) {
        selection.designs += 1;
        match Design::read(&file.source) {
            Ok(design) => drop(designs.insert(design.name.clone(), Arc::new(design))),
            Err(wrong) => faults.extend(wrong),
        }
    }
    designs
}

/// The files of the selected designs that are not as uvsim has them, by the designs' names.
fn own_designs(
    loaded: &[Loaded],
    selected: &Designs,
    shipped: &Designs,
) -> BTreeMap<String, PathBuf> {
    let differs = |design: &Design| {
        shipped.get(&design.name).is_none_or(|own| own.source.text != design.source.text)
    };
    let own = selected.values().filter(|design| differs(design));
    let file = |design: &Arc<Design>| {
        let of = loaded.iter().find(|file| Arc::ptr_eq(&file.source, &design.source))?;
        Some((design.name.clone(), of.found.typed.clone()))
    };
    own.filter_map(file).collect()
}

fn read_policies(loaded: &[Loaded], faults: &mut Vec<Fault>) -> Vec<Policy> {
    let mut policies = Vec::new();
    for file in loaded.iter().filter(|file| file.head == Head::Policy) {
        match Policy::read(&file.source) {
            Ok(policy) => policies.push(policy),
            Err(wrong) => faults.extend(wrong),
        }
    }
    policies
}

/// Reads the chapters; how many they are.
fn read_chapters(loaded: &[Loaded], faults: &mut Vec<Fault>) -> Vec<(Chapter, PathBuf)> {
    let mut chapters = Vec::new();
    for file in loaded.iter().filter(|file| file.head == Head::Chapter) {
        match Chapter::read(&file.source) {
            Ok(chapter) => chapters.push((chapter, file.found.folder.path(""))),
            Err(wrong) => faults.extend(wrong),
        }
    }
    chapters
}

/// Reads the policies that `--policy` names: files, or folders of which the policies are taken.
/// Each file that was read is put into `inputs`.
///
/// # Errors
/// Everything that is wrong with them, and files that are named and are no policy.
pub fn policies(
    paths: &[PathBuf],
    inputs: &mut BTreeMap<String, String>,
) -> Result<Vec<Policy>, Vec<Fault>> {
    let mut faults = Vec::new();
    let found = source::find(paths, "policy files")?;
    let mut loaded = load(&found, &mut faults);
    for file in loaded.iter().filter(|file| file.head != Head::Policy && file.found.is_named) {
        let message = format!("`{}` is no policy: `--policy` takes `Policy(`", file.found.shown);
        faults.push(Fault::bare(Code::HEAD_WORD, message));
    }
    loaded.retain(|file| file.head == Head::Policy);
    if loaded.is_empty() && faults.is_empty() && !paths.is_empty() {
        let message = "there is no policy in the folders that `--policy` names".to_owned();
        faults.push(Fault::bare(Code::BAD_ARGUMENT, message));
    }
    let policies = read_policies(&loaded, &mut faults);
    check_names(&loaded, &mut faults);
    for file in &loaded {
        let hash = blake3::hash(file.source.text.as_bytes()).to_hex().to_string();
        inputs.insert(file.source.path.clone(), hash);
    }
    faults.sort_by_key(Fault::order);
    if faults.is_empty() { Ok(policies) } else { Err(faults) }
}

/// Refuses names that are there twice in the selection.
fn check_names(loaded: &[Loaded], faults: &mut Vec<Fault>) {
    let mut first: BTreeMap<String, &str> = BTreeMap::new();
    for file in loaded {
        let name = match file.head {
            Head::Scenario => resolve::name(&file.source),
            Head::Design => design_name(&file.source),
            Head::Policy => policy_name(&file.source),
            Head::Chapter => chapter::name(&file.source),
        };
        let Some(At { value, span }) = name else { continue };
        if let Some(other) = first.get(&value) {
            let message = format!("the name `{value}` is already that of {other}");
            let fault = Fault::at(&file.source, span, Code::DUPLICATE, message);
            let label = "must be unique in a selection";
            let help = "rename one of the two, or select one of them only";
            faults.push(Fault { label, ..fault }.help(help));
        } else {
            first.insert(value, &file.source.path);
        }
    }
}

fn design_name(source: &Arc<SourceText>) -> Option<At<String>> {
    let mut reader = super::reading::Reader::new(source);
    let file: design::DesignFile<'_> = reader.whole()?;
    reader.take(file.name)
}

fn policy_name(source: &Arc<SourceText>) -> Option<At<String>> {
    let mut reader = super::reading::Reader::new(source);
    let file: PolicyFile<'_> = reader.whole()?;
    reader.take(file.name)
}

/// The designs in `designs/` beside scenarios, read once for each folder.
#[derive(Default)]
struct Beside(BTreeMap<Folder, Designs>);

impl Beside {
    fn designs(
        &mut self,
        scenario: &Found,
        selection: &mut Selection,
        faults: &mut Vec<Fault>,
    ) -> &Designs {
        self.0.entry(scenario.folder.clone()).or_insert_with(|| {
            let found = scenario.folder.files_of("designs").unwrap_or_else(|wrong| {
                faults.extend(wrong);
                Vec::new()
            });
            let loaded = load(&found, faults);
            for file in &loaded {
                let hash = blake3::hash(file.source.text.as_bytes()).to_hex().to_string();
                selection.inputs.insert(file.source.path.clone(), hash);
                selection.read.insert(file.found.typed.clone());
            }
            read_designs(&loaded, &mut Selection::default(), faults)
        })
    }
}
