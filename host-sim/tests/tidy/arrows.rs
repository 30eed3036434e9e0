//! Imports run one way: between crates, and inside each between the modules of its `lib.rs`.

use super::sources::Source;

/// The crates' folders.
pub const CRATES: [&str; 4] = ["ultravisor", "ultravisor/cpu", "firmware", "host-sim"];

/// Modules that know each other, and why that is right.
const KNOTS: [(&str, &[&str]); 1] =
    // A decoded operation is a function on the CPU, and the CPU owns the blocks of operations.
    [("ultravisor/cpu", &["uop", "blocks", "cpu"])];

/// What each crate may depend on, of ours (design, section 3).
const MAY_KNOW: [(&str, &[&str]); 5] = [
    ("ultravisor/abi", &[]),
    ("ultravisor/cpu", &["ultravisor-abi"]),
    ("ultravisor", &["ultravisor-abi"]),
    ("firmware", &["ultravisor-abi"]),
    ("host-sim", &["ultravisor-abi", "ultravisor-cpu", "ultravisor", "firmware"]),
];

const OURS: [&str; 5] = ["ultravisor-abi", "ultravisor-cpu", "ultravisor", "firmware", "host-sim"];

/// Complaints about imports of a module that stands below the importing one in `lib.rs`.
pub fn check(krate: &str, sources: &[Source]) -> Vec<String> {
    let prefix = format!("{krate}/src/");
    let lib = sources.iter().find(|source| source.path == format!("{prefix}lib.rs"));
    let order = lib.map(|lib| modules(&lib.text)).unwrap_or_default();
    let place = |name: &str| order.iter().position(|module| module == name);
    let mut complaints = Vec::new();
    for source in sources {
        let Some(inside) = source.path.strip_prefix(&prefix) else { continue };
        let top = inside.split('/').next().unwrap_or_default().trim_end_matches(".rs");
        let Some(here) = place(top) else { continue };
        let code = source.text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            for there in imported(line) {
                if place(there).is_some_and(|there| there > here) && !knotted(krate, top, there) {
                    let what = format!("`{top}` imports `{there}`, which stands below it");
                    complaints.push(format!("{}:{}: {what} in lib.rs", source.path, number + 1));
                }
            }
        }
    }
    complaints
}

fn knotted(krate: &str, here: &str, there: &str) -> bool {
    KNOTS.iter().any(|(name, knot)| *name == krate && knot.contains(&here) && knot.contains(&there))
}

/// The modules of a `lib.rs`, in its order.
fn modules(lib: &str) -> Vec<String> {
    let names = lib.lines().filter_map(|line| {
        let line = line.strip_prefix("pub ").unwrap_or(line);
        line.strip_prefix("mod ")?.strip_suffix(';')
    });
    names.map(str::to_owned).collect()
}

/// The modules of this crate that a line names: after `crate::`, or first in `use crate::{...}`.
fn imported(line: &str) -> Vec<&str> {
    let code = line.split("//").next().unwrap_or_default();
    let mut names = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let names_of = |text| -> Option<&str> {
            let text: &str = text;
            let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
            (end > 0).then(|| &text[..end])
        };
        match rest.strip_prefix('{') {
            Some(list) => names.extend(list.split(',').filter_map(|item| names_of(item.trim()))),
            None => names.extend(names_of(rest)),
        }
    }
    names
}

/// Complaints about crates that depend on one of ours that they should not hear of.
pub fn strangers(manifests: &[(String, String)]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (folder, manifest) in manifests {
        let known = MAY_KNOW.iter().find(|(name, _)| name == folder).map_or(&[][..], |row| row.1);
        for line in manifest.lines() {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if OURS.contains(&name) && !known.contains(&name) {
                complaints.push(format!("{folder}/Cargo.toml: may not know {name}"));
            }
        }
    }
    complaints
}
