//! What reports use of a plan, as a saved log has it.

use crate::scenario::design::Layer;
use crate::scenario::plan::{Boot, CostProfile, Platform};
use serde::{Deserialize, Deserializer};
use ultravisor_abi::UnitSize;

/// The plan's facts. Fields that no report uses are left to the plan's own text.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Facts {
    /// The scenario's name.
    pub scenario: String,
    /// The scenario's sentence.
    pub about: String,
    /// The axes of this run, in matrix order.
    pub axes: Vec<(String, String)>,
    /// The design's name, if the scenario has one.
    pub design: Option<String>,
    /// The layers that the design says it changes.
    #[serde(deserialize_with = "layers")]
    pub changes: Vec<Layer>,
    /// The seed.
    pub seed: u64,
    /// Whether results say what would follow rather than what does.
    pub what_if: bool,
    /// The machine.
    pub machine: MachineFacts,
    /// The guest.
    pub guest: GuestFacts,
    /// The devices, in the order of their indices.
    pub devices: Vec<DeviceFacts>,
}

impl Facts {
    /// The protection unit.
    pub fn unit(&self) -> UnitSize {
        self.machine.unit
    }
}

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct MachineFacts {
    /// Which ultravisor.
    #[serde(deserialize_with = "platform")]
    pub platform: Platform,
    /// Cost table.
    #[serde(deserialize_with = "profile")]
    pub cost: CostProfile,
    /// The protection unit.
    #[serde(rename = "unit_bytes", deserialize_with = "unit")]
    pub unit: UnitSize,
    /// Guest RAM in bytes.
    pub memory_bytes: u64,
    /// The guest's swiotlb pool in bytes.
    pub swiotlb_bytes: u64,
}

/// The guest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct GuestFacts {
    /// How it is started.
    #[serde(deserialize_with = "boot")]
    pub boot: Boot,
    /// Whether it becomes secure.
    pub secure: bool,
    /// Whether it marks ready and done.
    pub marks: bool,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct DeviceFacts {
    /// Its name, which stands in many sentences.
    #[serde(deserialize_with = "short")]
    pub id: String,
    /// Its kind with what belongs to it.
    pub kind: serde_json::Value,
}

impl DeviceFacts {
    /// `blk`, `net`, `console`, `entropy` or `balloon`.
    pub fn kind_word(&self) -> &str {
        let keyed = self.kind.as_object().and_then(|object| object.keys().next());
        keyed.map(String::as_str).or_else(|| self.kind.as_str()).unwrap_or("device")
    }
}

/// The value among `all` that is written like this.
fn written<'de, D, T>(from: D, all: &[T]) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Copy + serde::Serialize,
{
    let word = serde_json::Value::deserialize(from)?;
    let is_it = |value: &&T| serde_json::to_value(value).is_ok_and(|text| text == word);
    all.iter()
        .find(is_it)
        .copied()
        .ok_or_else(|| serde::de::Error::custom(format!("there is no choice {word} here")))
}

/// Longest name of a device, in bytes.
const NAME_BYTES_MAX: usize = 1024;

fn short<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if text.len() > NAME_BYTES_MAX {
        let why = format!("the name of a device is longer than {NAME_BYTES_MAX} bytes");
        return Err(serde::de::Error::custom(why));
    }
    Ok(text)
}

fn platform<'de, D: Deserializer<'de>>(from: D) -> Result<Platform, D::Error> {
    written(from, &[Platform::Plain, Platform::Pef, Platform::PefUnsealed])
}

fn profile<'de, D: Deserializer<'de>>(from: D) -> Result<CostProfile, D::Error> {
    written(from, &[CostProfile::Firmware, CostProfile::VectorAes])
}

fn boot<'de, D: Deserializer<'de>>(from: D) -> Result<Boot, D::Error> {
    written(from, &Boot::ALL)
}

fn unit<'de, D: Deserializer<'de>>(from: D) -> Result<UnitSize, D::Error> {
    let bytes = u64::deserialize(from)?;
    UnitSize::from_bytes(bytes)
        .ok_or_else(|| serde::de::Error::custom(format!("no unit has {bytes} bytes")))
}

fn layers<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Layer>, D::Error> {
    const ALL: [Layer; 8] = [
        Layer::GuestKernel,
        Layer::BootFirmware,
        Layer::Ultravisor,
        Layer::Hypervisor,
        Layer::Qemu,
        Layer::VirtioSpec,
        Layer::ManagementStack,
        Layer::User,
    ];
    let names = Vec::<String>::deserialize(from)?;
    let layer = |name: &String| {
        ALL.into_iter()
            .find(|layer| layer.name() == name)
            .ok_or_else(|| serde::de::Error::custom(format!("there is no layer `{name}`")))
    };
    names.iter().map(layer).collect()
}
