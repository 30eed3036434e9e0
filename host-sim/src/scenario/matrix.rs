//! The axes of a matrix: what can be crossed, and what a run's id says about it.

use super::codes::Code;
use super::file::{BugFile, Interleave};
use super::plan::{Backend, Boot, CostProfile, Iommu, OnTamper, Platform, Transport};
use super::reading::{At, Located, Reader};
use super::size::{Size, Time};
use super::words::{
    Bit33Word, KexecWord, OrderWord, PlacementWord, RingsWord, SwitchWord, TceWord, WaitsWord,
};
use serde::Deserialize;
use std::ops::Range;

/// A scenario has at most this many runs.
pub const RUNS_MAX: usize = 4096;

macro_rules! axes {
    ($($variant:ident: $ty:ty = $name:literal, $doc:literal;)*) => {
        /// One axis as a file writes it, e.g. `Unit(["4KiB", "64KiB"])`. A `when:` uses the same
        /// form for the values that it is about.
        #[derive(Clone, Debug, Deserialize)]
        pub enum AxisFile<'a> {
            $(#[doc = $doc] $variant(#[serde(borrow)] Vec<Located<'a, $ty>>),)*
        }

        /// The name of every axis.
        pub const AXES: &[&str] = &[$($name),*];

        /// One value of one axis.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Setting {
            $(#[doc = $doc] $variant($ty),)*
        }

        impl<'a> AxisFile<'a> {
            /// The axis's name in ids.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)* }
            }

            /// Its values in file order.
            pub fn values(self, reader: &mut Reader<'a>) -> Vec<Value> {
                match self {
                    $(Self::$variant(list) => list
                        .into_iter()
                        .filter_map(|item| reader.take_with_text(item))
                        .map(|(at, text)| {
                            let label = label(text);
                            Value { label, setting: at.map(Setting::$variant) }
                        })
                        .collect(),)*
                }
            }
        }
    };
}

axes! {
    Design: String = "design", "Designs by name.";
    Platform: Platform = "platform", "Which ultravisor.";
    Memory: Size = "memory", "RAM.";
    Unit: Size = "unit", "The protection unit.";
    Swiotlb: Size = "swiotlb", "The guest's swiotlb pool.";
    Cost: CostProfile = "cost", "Cost tables.";
    KickLatency: Time = "kick_latency", "From a kick to the device's first touch.";
    OnTamper: OnTamper = "on_tamper", "What a failed page-in leads to.";
    Interleave: Interleave = "interleave", "What is one step of a device.";
    Boot: Boot = "boot", "How the guest starts.";
    Secure: bool = "secure", "Whether the guest calls UV_ESM.";
    Rings: RingsWord = "rings", "Where rings lie under direct DMA.";
    Waits: WaitsWord = "waits", "What the guest does while it waits for a device.";
    Bit33: Bit33Word = "bit_33", "Whether the guest's kernel accepts bit 33.";
    Tce: TceWord = "tce", "How the guest maps many pages at once.";
    Bug: BugFile = "bug", "What the guest's block driver does wrong.";
    Switch: SwitchWord = "switch", "When the guest calls UV_ESM.";
    Kexec: KexecWord = "kexec", "Whether a new kernel takes over.";
    Iommu: Iommu = "iommu", "Which IOMMU.";
    Transport: Transport = "transport", "How the guest reaches its devices.";
    FdtNodes: u32 = "fdt_nodes", "How many nodes the FDT has at least.";
    Backend: Backend = "backend", "Who serves the queues of every device.";
    IommuPlatform: bool = "iommu_platform", "`iommu_platform` of every device.";
    Legacy: bool = "legacy", "`legacy` of every device.";
    EventIdx: bool = "event_idx", "`event_idx` of every device.";
    IndirectDesc: bool = "indirect_desc", "`indirect_desc` of every device.";
    Ioeventfd: bool = "ioeventfd", "`ioeventfd` of every device.";
    QueueSize: u16 = "queue_size", "`queue-size` of every device.";
    Order: OrderWord = "order", "In which order a block workload visits the disk.";
    Placement: PlacementWord = "placement", "Where a block workload's buffer lies.";
    Refill: bool = "refill", "Whether a block workload fills its buffer before each write.";
}

/// One value of an axis: how the id says it, and what it sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// As written without quotes; variants in kebab-case.
    pub label: String,
    /// What it sets, and where the file says so.
    pub setting: At<Setting>,
}

/// An axis that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Its name in ids.
    pub name: &'static str,
    /// Its values.
    pub values: Vec<Value>,
    /// Where it stands.
    pub span: Range<usize>,
}

/// `OwnUnit` as `own-unit`, `RawSecure(every: 8)` as `raw-secure-every-8`; everything that is not a
/// variant's name as it is.
fn label(text: &str) -> String {
    if !text.starts_with(|c: char| c.is_ascii_uppercase()) {
        return text.to_owned();
    }
    let text = text.replace([' ', ')'], "").replace(['(', ':', ','], "-");
    let mut out = String::with_capacity(text.len() + 4);
    for c in text.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// Reads the axes of `matrix:` or of a `when:`.
pub fn axes<'a>(reader: &mut Reader<'a>, list: Vec<Located<'a, AxisFile<'a>>>) -> Vec<Axis> {
    let mut axes: Vec<Axis> = Vec::new();
    for item in list {
        let Some(At { value, span }) = reader.take(item) else { continue };
        let axis = Axis { name: value.name(), values: value.values(reader), span };
        check_axis(reader, &axes, &axis);
        axes.push(axis);
    }
    axes
}

fn check_axis(reader: &mut Reader<'_>, before: &[Axis], axis: &Axis) {
    if before.iter().any(|other| other.name == axis.name) {
        let message = format!("the axis `{}` is there twice", axis.name);
        let help = Some("put all of its values into one list".to_owned());
        reader.fault(Code::DUPLICATE, &axis.span, message, help);
    }
    if axis.values.is_empty() && !reader.is_faulty() {
        let message = format!("the axis `{}` has no values, so there is nothing to run", axis.name);
        reader.fault(Code::OUT_OF_RANGE, &axis.span, message, None);
    }
    // More are told as too many; looking for pairs among them would take for ever.
    for (at, value) in axis.values.iter().enumerate().take(RUNS_MAX) {
        let is_same = |other: &&Value| other.setting.value == value.setting.value;
        if let Some(other) = axis.values[..at].iter().find(is_same) {
            let message = if other.label == value.label {
                format!("`{}` is in the axis `{}` twice", value.label, axis.name)
            } else {
                let (name, first) = (axis.name, &other.label);
                format!("`{}` is `{first}`, which is in the axis `{name}` already", value.label)
            };
            reader.fault(Code::DUPLICATE, &value.setting.span, message, None);
        }
    }
}

/// The runs of one scenario hold together at most so many times what its file says.
const PRODUCT_BYTES_MAX: usize = 128 << 20;

/// How many combinations `axes` have, or a fault if they are more than [`RUNS_MAX`], or more than
/// a file of `file_bytes` may have.
pub fn combinations(reader: &mut Reader<'_>, axes: &[Axis], file_bytes: usize) -> Option<usize> {
    let mut product = 1_usize;
    for axis in axes {
        match product.checked_mul(axis.values.len()) {
            Some(runs) if runs <= RUNS_MAX => product = runs,
            Some(_) | None => {
                let message = format!("up to here the matrix has more than {RUNS_MAX} runs");
                reader.fault(Code::MATRIX, &axis.span, message, None);
                return None;
            }
        }
    }
    let most = (PRODUCT_BYTES_MAX / file_bytes.max(1)).max(1);
    if let Some(axis) = axes.last().filter(|_| product > most) {
        let message =
            format!("{product} runs of a file of {file_bytes} bytes, which may have {most}");
        let help = "make several scenarios of it, each shorter".to_owned();
        reader.fault(Code::MATRIX, &axis.span, message, Some(help));
        return None;
    }
    Some(product)
}

/// The `number`th combination, the last axis turning fastest.
pub fn combination(axes: &[Axis], number: usize) -> Vec<(&'static str, &Value)> {
    let mut rest = number;
    let mut cell: Vec<_> = axes
        .iter()
        .rev()
        .map(|axis| {
            let value = &axis.values[rest % axis.values.len()];
            rest /= axis.values.len();
            (axis.name, value)
        })
        .collect();
    cell.reverse();
    cell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_are_kebab_case_and_sizes_stay_as_written() {
        assert_eq!(label("RawSecure(every: 8)"), "raw-secure-every-8");
        let labels = ["OwnUnit", "PefUnsealed", "64KiB", "d5-platform-hook", "true"].map(label);
        assert_eq!(labels, ["own-unit", "pef-unsealed", "64KiB", "d5-platform-hook", "true"]);
    }
}
