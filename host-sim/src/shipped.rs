//! The files that ship with uvsim, built into the binary: scenarios, designs, policies.

/// Path below `scenarios/`, with `/` between folders, and text; in path order.
pub const FILES: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/shipped.rs"));

/// Those below `folder` (e.g. `designs/`).
pub fn below(folder: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    FILES.iter().copied().filter(move |(path, _)| path.starts_with(folder))
}
