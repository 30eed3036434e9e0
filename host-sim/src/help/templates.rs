//! `uvsim new`: commented files to start from, each of which runs green as it is.

use crate::scenario::head;
use clap::ValueEnum;
use std::path::Path;

/// What to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A scenario with everything that most need: secure guest, disk, designs, expectations.
    Scenario,
    /// The shortest scenario.
    Minimal,
    /// Block requests: order, placement, bounces counted.
    Block,
    /// Network frames sent and echoed.
    Net,
    /// A design of your own, for `--design` or a matrix.
    Design,
    /// A policy: rules over runs, and waivers.
    Policy,
    /// A chapter of the demo: runs, their moments, and what you say about them.
    Chapter,
}

/// The name in the templates that a file's own name replaces.
const NAME: &str = "mine/first";

impl Kind {
    const fn text(self) -> &'static str {
        match self {
            Self::Scenario => include_str!("templates/scenario.ron"),
            Self::Minimal => include_str!("templates/minimal.ron"),
            Self::Block => include_str!("templates/block.ron"),
            Self::Net => include_str!("templates/net.ron"),
            Self::Design => include_str!("templates/design.ron"),
            Self::Policy => include_str!("templates/policy.ron"),
            Self::Chapter => include_str!("templates/chapter.ron"),
        }
    }

    /// The template, named after the file that it will be.
    pub fn named_after(self, file: &Path) -> String {
        let stem = file.file_stem().map(|stem| stem.to_string_lossy().to_lowercase());
        let stem = stem.unwrap_or_default().replace(['_', ' ', '.'], "-");
        let stem = stem.trim_matches('-');
        let (folder, _) = NAME.split_once('/').unwrap_or_default();
        let name = match self {
            Self::Design => stem.to_owned(),
            Self::Scenario
            | Self::Minimal
            | Self::Block
            | Self::Net
            | Self::Policy
            | Self::Chapter => format!("{folder}/{stem}"),
        };
        let fits = !stem.contains('/') && !stem.is_empty() && head::is_name(&name);
        let name = match (fits, self) {
            (true, _) => name,
            (false, Self::Design) => "first".to_owned(),
            (false, _) => NAME.to_owned(),
        };
        self.text().replace(&format!("name: \"{NAME}\""), &format!("name: \"{name}\""))
    }

    /// What to type next.
    pub fn next(self, file: &str) -> String {
        match self {
            Self::Scenario | Self::Minimal | Self::Block | Self::Net => {
                format!("uvsim run {file}")
            }
            Self::Design => {
                format!(
                    "uvsim check {file}, then name it in a scenario's `design:` or `Design([..])`"
                )
            }
            Self::Policy => format!("uvsim run scenarios --policy {file}"),
            Self::Chapter => format!("uvsim demo {file}"),
        }
    }
}
