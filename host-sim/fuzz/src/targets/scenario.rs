//! A scenario's text to its plans, where there are no files: what a scenario names is not there.

use host_sim::scenario::design::{Designs, Lookup, shipped};
use host_sim::scenario::diagnostics::{Fault, SourceText};
use host_sim::scenario::draft::Surroundings;
use host_sim::scenario::plan::Plan;
use host_sim::scenario::resolve;
use host_sim::scenario::source::{Files, Folder};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

fn designs() -> &'static Designs {
    static SHIPPED: OnceLock<Designs> = OnceLock::new();
    SHIPPED.get_or_init(|| shipped().expect("the shipped designs are right"))
}

pub fn plans(source: &Arc<SourceText>) -> Result<Vec<Plan>, Vec<Fault>> {
    let (none, mut inputs) = (Designs::new(), BTreeMap::new());
    let lookup = Lookup { places: [&none, &none, designs()] };
    let folder = Folder::new(Path::new("/nowhere/uvsim-fuzz"), "");
    let (inputs, read) = (&mut inputs, &mut Files::default());
    let mut around = Surroundings { folder: &folder, inputs, read };
    let made = resolve::plans(source, lookup, &mut around, 1)?;
    Ok(made.into_iter().map(|made| made.plan).collect())
}
