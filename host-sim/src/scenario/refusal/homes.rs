//! Where a field belongs that stands in the wrong struct: asked of the types that files are read
//! into.

use crate::scenario::argument::ArgumentFile;
use crate::scenario::chapter::{ChapterFile, RunFile, StepFile, ViewFile};
use crate::scenario::design::{
    DesignFile, DesignGuestFile, DesignHypervisorFile, DesignQemuFile, DesignUserFile, Proposed,
};
use crate::scenario::diagnostics::{nearest, one_of};
use crate::scenario::file::{
    BlockOpFile, DeviceFile, GuestFile, LimitsFile, MachineFile, NetOpFile, QemuFile, ScenarioFile,
    WorkloadFile,
};
use crate::scenario::known::KnownFile;
use crate::scenario::policy::{PolicyFile, RuleFile, WaiverFile};
use crate::scenario::reading::options;
use crate::scenario::scan::word_at;
use ron::Error;
use serde::Deserialize;

/// A field that more structs have is of no use as a hint.
const HOMES_MAX: usize = 3;

/// A struct as files name it, and its fields.
struct Home {
    name: &'static str,
    fields: &'static [&'static str],
}

/// Where the field `found`, which the struct with the fields `here` has not, belongs in a file that
/// begins with `head`.
pub(super) fn exact(head: &str, here: &[&str], found: &str) -> Option<String> {
    Some(format!("`{found}` is a field of {}", names(&others(head, here), found)?))
}

/// As [`exact`], for a field with a slip in it.
pub(super) fn nearly(head: &str, here: &[&str], found: &str) -> Option<String> {
    let others = others(head, here);
    let meant = nearest(found, others.iter().flat_map(|home| home.fields.iter().copied()))?;
    Some(format!("did you mean `{meant}`, a field of {}?", names(&others, meant)?))
}

/// The structs that have `field`, in words.
fn names(homes: &[Home], field: &str) -> Option<String> {
    let homes = homes.iter().filter(|home| home.fields.contains(&field));
    let names: Vec<&str> = homes.map(|home| home.name).collect();
    (1..=HOMES_MAX).contains(&names.len()).then(|| one_of(names))
}

/// The structs that stand near the one with the fields `here`; none if it is not in the list.
fn others(head: &str, here: &[&str]) -> Vec<Home> {
    let mut homes = structs(head);
    let all = homes.len();
    homes.retain(|home| home.fields != here);
    if homes.len() == all { Vec::new() } else { homes }
}

/// The structs that stand near each other in a file that begins with `head`.
fn structs(head: &str) -> Vec<Home> {
    match head {
        "Scenario" => scenario(),
        "Design" => design(),
        "Policy" => vec![
            plain::<PolicyFile<'static>>("Policy"),
            plain::<RuleFile<'static>>("Rule"),
            plain::<WaiverFile<'static>>("Waiver"),
        ],
        "Chapter" => vec![
            plain::<ChapterFile<'static>>("Chapter"),
            plain::<RunFile<'static>>("Run"),
            plain::<StepFile<'static>>("Step"),
            plain::<ViewFile<'static>>("View"),
        ],
        _ => Vec::new(),
    }
}

fn scenario() -> Vec<Home> {
    let mut homes = vec![
        plain::<ScenarioFile<'static>>("Scenario"),
        plain::<MachineFile<'static>>("machine"),
        plain::<GuestFile<'static>>("guest"),
        plain::<LimitsFile<'static>>("limits"),
        plain::<QemuFile<'static>>("qemu"),
        plain::<KnownFile<'static>>("known_failures"),
        plain::<ArgumentFile<'static>>("claim"),
    ];
    let devices = [
        "Blk(none: ())",
        "Net(none: ())",
        "Console(none: ())",
        "Entropy(none: ())",
        "Balloon(none: ())",
    ];
    homes.extend(devices.map(variant::<DeviceFile<'static>>));
    let workloads = [
        "Block(none: ())",
        "Net(none: ())",
        "Console(none: ())",
        "Entropy(none: ())",
        "Balloon(none: ())",
    ];
    homes.extend(workloads.map(variant::<WorkloadFile<'static>>));
    homes.extend(["Write(none: ())", "Read(none: ())"].map(variant::<BlockOpFile<'static>>));
    homes.extend(["Transmit(none: ())", "Echo(none: ())"].map(variant::<NetOpFile<'static>>));
    homes
}

fn design() -> Vec<Home> {
    vec![
        plain::<DesignFile<'static>>("Design"),
        plain::<Proposed>("proposed"),
        plain::<DesignGuestFile<'static>>("guest"),
        plain::<DesignHypervisorFile>("hypervisor"),
        plain::<DesignQemuFile<'static>>("qemu"),
        plain::<DesignUserFile<'static>>("user"),
        plain::<QemuFile<'static>>("qemu: defaults"),
        plain::<QemuFile<'static>>("user: devices"),
        plain::<QemuFile<'static>>("user: machine"),
    ]
}

/// A struct that is written without its name.
fn plain<T: Deserialize<'static>>(name: &'static str) -> Home {
    Home { name, fields: fields_of::<T>("(none: ())") }
}

/// A variant of an enum, by a text that has a field which it has not.
fn variant<T: Deserialize<'static>>(text: &'static str) -> Home {
    Home { name: word_at(text, 0), fields: fields_of::<T>(text) }
}

/// The fields of the struct that stands in `text` with one that it has not.
fn fields_of<T: Deserialize<'static>>(text: &'static str) -> &'static [&'static str] {
    match options().from_str::<T>(text).map_err(|error| error.code) {
        Err(Error::NoSuchStructField { expected, .. }) => expected,
        Ok(_) | Err(_) => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_struct_in_the_list_is_asked_for_its_fields() {
        for head in ["Scenario", "Design", "Policy", "Chapter"] {
            let structs = structs(head);
            assert!(structs.len() > 2, "{head}");
            for Home { name, fields } in structs {
                assert!(!fields.is_empty(), "{head}: {name}");
            }
        }
    }

    #[test]
    fn a_field_is_told_where_it_belongs_unless_too_many_have_it_or_none() {
        let machine = fields_of::<MachineFile<'static>>("(none: ())");
        let hint = |found| exact("Scenario", machine, found);
        assert_eq!(hint("secure").as_deref(), Some("`secure` is a field of `guest`"));
        let three = "`requests` is a field of `Entropy`, `Write` or `Read`";
        assert_eq!(hint("requests").as_deref(), Some(three));
        assert_eq!((hint("bytes"), hint("colour")), (None, None));
        let meant = "did you mean `sectors`, a field of `Blk`?";
        assert_eq!(nearly("Scenario", machine, "secotrs").as_deref(), Some(meant));
        assert_eq!(nearly("Scenario", machine, "colour"), None);
        assert_eq!(exact("Design", machine, "virtio"), None, "it is no design's struct");
    }
}
