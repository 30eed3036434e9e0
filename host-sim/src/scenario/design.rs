//! Design files: a named bundle of choices at each layer, and where a design is looked for.

use super::codes::Code;
use super::diagnostics::{Fault, SourceText, nearest};
use super::file::QemuFile;
use super::plan::QemuOptions;
use super::reading::{Located, Reader};
use super::words::DmaWord;
use firmware::bootargs::GuestDma;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// When the choice is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all(serialize = "kebab-case"))]
pub enum Decides {
    /// When the VM is created.
    VmCreation,
    /// In the guest's early initialisation, for the whole architecture.
    EarlyInit,
    /// At UV_ESM.
    Switch,
    /// When a device is probed.
    Probe,
    /// When features are negotiated.
    Negotiation,
    /// When a device's operations are chosen.
    Init,
    /// When a queue is created.
    Queue,
    /// For every buffer.
    Buffer,
}

/// Who must act: a layer whose code or defaults a design changes, or which somebody must configure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all(serialize = "kebab-case"))]
#[expect(missing_docs, reason = "the names say all")]
pub enum Layer {
    GuestKernel,
    BootFirmware,
    Ultravisor,
    Hypervisor,
    Qemu,
    VirtioSpec,
    ManagementStack,
    User,
}

/// Who proposed a design.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename = "proposed", deny_unknown_fields)]
pub struct Proposed {
    /// Whose idea it was.
    pub by: String,
    /// When, as exactly as the source says.
    pub when: String,
    /// Where that is written.
    pub source: String,
}

/// `Design(...)`.
#[derive(Debug, Deserialize)]
#[serde(rename = "Design", deny_unknown_fields)]
#[expect(missing_docs, reason = "documented at `Design`, where they lead to")]
pub struct DesignFile<'a> {
    #[serde(borrow)]
    pub format: Located<'a, u32>,
    #[serde(borrow)]
    pub name: Located<'a, String>,
    #[serde(borrow)]
    pub about: Located<'a, String>,
    #[serde(borrow)]
    pub proposed: Located<'a, Proposed>,
    #[serde(borrow)]
    pub decides: Located<'a, Decides>,
    #[serde(borrow)]
    pub guest: Located<'a, DesignGuestFile<'a>>,
    #[serde(borrow)]
    pub qemu: Option<Located<'a, QemuFile<'a>>>,
    #[serde(borrow)]
    pub changes: Located<'a, Vec<Located<'a, Layer>>>,
}

/// `guest: (...)` of a design.
#[derive(Debug, Deserialize)]
#[serde(rename = "guest", deny_unknown_fields)]
#[expect(missing_docs, reason = "documented at `Design`, where it leads to")]
pub struct DesignGuestFile<'a> {
    #[serde(borrow)]
    pub dma: Located<'a, DmaWord>,
}

/// Options that differ from what would be there without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QemuOverrides {
    /// See [`QemuOptions::iommu_platform`].
    pub iommu_platform: Option<bool>,
    /// See [`QemuOptions::legacy`].
    pub legacy: Option<bool>,
    /// See [`QemuOptions::event_idx`].
    pub event_idx: Option<bool>,
    /// See [`QemuOptions::indirect_desc`].
    pub indirect_desc: Option<bool>,
    /// See [`QemuOptions::ioeventfd`].
    pub ioeventfd: Option<bool>,
    /// See [`QemuOptions::queue_size`].
    pub queue_size: Option<u16>,
}

impl QemuOverrides {
    /// Reads `qemu: (...)`.
    pub fn read<'a>(reader: &mut Reader<'a>, file: Option<Located<'a, QemuFile<'a>>>) -> Self {
        let Some(file) = reader.take_if(file) else { return Self::default() };
        let QemuFile { iommu_platform, legacy, event_idx, indirect_desc, ioeventfd, queue_size } =
            file.value;
        let queue_size = reader.take_if(queue_size).map(|size| size.value);
        Self { iommu_platform, legacy, event_idx, indirect_desc, ioeventfd, queue_size }
    }

    /// `options` with what differs put in.
    pub fn over(self, options: QemuOptions) -> QemuOptions {
        QemuOptions {
            iommu_platform: self.iommu_platform.unwrap_or(options.iommu_platform),
            legacy: self.legacy.unwrap_or(options.legacy),
            event_idx: self.event_idx.unwrap_or(options.event_idx),
            indirect_desc: self.indirect_desc.unwrap_or(options.indirect_desc),
            ioeventfd: self.ioeventfd.unwrap_or(options.ioeventfd),
            queue_size: self.queue_size.unwrap_or(options.queue_size),
        }
    }
}

/// What a design means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Design {
    /// Its name.
    pub name: String,
    /// The sentence.
    pub about: String,
    /// Who proposed it, when, and where that is written.
    pub proposed: Proposed,
    /// When the choice is made.
    pub decides: Decides,
    /// The guest's DMA path.
    pub dma: GuestDma,
    /// The QEMU options that it sets for every device.
    pub qemu: QemuOverrides,
    /// The layers that it changes from the 2018 base.
    pub changes: Vec<Layer>,
    /// The file it is from.
    pub source: Arc<SourceText>,
}

impl Design {
    /// Reads a design file.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(source: &Arc<SourceText>) -> Result<Self, Vec<Fault>> {
        let mut reader = Reader::new(source);
        match Self::read_with(&mut reader, source) {
            Some(design) if !reader.is_faulty() => Ok(design),
            Some(_) | None => Err(reader.into_faults()),
        }
    }

    fn read_with<'a>(reader: &mut Reader<'a>, source: &Arc<SourceText>) -> Option<Self> {
        let file: DesignFile<'a> = reader.whole()?;
        super::head::check_format(reader, file.format);
        let name = super::head::name(reader, file.name);
        let about = super::head::about(reader, file.about);
        let proposed = reader.take(file.proposed);
        let decides = reader.take(file.decides);
        let dma = reader.take(file.guest).and_then(|guest| reader.take(guest.value.dma));
        let qemu = QemuOverrides::read(reader, file.qemu);
        let changes = reader.take(file.changes).map_or_else(Vec::new, |list| list.value);
        let changes = changes.into_iter().filter_map(|layer| reader.take(layer)).map(|at| at.value);
        let changes = changes.collect();
        let name = name?;
        if name.value.contains('/') {
            let message = "a design's name has no folder in it".to_owned();
            reader.fault(Code::BAD_NAME, &name.span, message, None);
        }
        Some(Self {
            name: name.value,
            about: about?,
            proposed: proposed?.value,
            decides: decides?.value,
            dma: dma?.value.into(),
            qemu,
            changes,
            source: source.clone(),
        })
    }

    /// Whether `wanted` (of `--design`) means this design: its name, or the part before its first
    /// dash, in any case.
    pub fn is_called(name: &str, wanted: &str) -> bool {
        let short = name.split('-').next().unwrap_or(name);
        name.eq_ignore_ascii_case(wanted) || short.eq_ignore_ascii_case(wanted)
    }
}

/// The designs that are built into the binary.
pub const SHIPPED: [(&str, &str); 4] = [
    ("d0-legacy-bypass.ron", include_str!("../../../scenarios/designs/d0-legacy-bypass.ron")),
    ("d5-platform-hook.ron", include_str!("../../../scenarios/designs/d5-platform-hook.ron")),
    ("x-data-direct.ron", include_str!("../../../scenarios/designs/x-data-direct.ron")),
    ("x-payload-direct.ron", include_str!("../../../scenarios/designs/x-payload-direct.ron")),
];

/// Designs by name.
pub type Designs = BTreeMap<String, Arc<Design>>;

/// The shipped designs.
///
/// # Errors
/// A shipped file is wrong: a bug of ours.
pub fn shipped() -> Result<Designs, Vec<Fault>> {
    let mut designs = Designs::new();
    for (file, text) in SHIPPED {
        let path = format!("(built in) scenarios/designs/{file}");
        let source = Arc::new(SourceText { path, text: text.to_owned() });
        let design = Design::read(&source)?;
        designs.insert(design.name.clone(), Arc::new(design));
    }
    Ok(designs)
}

/// Where one scenario's designs are looked for, nearest first: the selection, `designs/` beside the
/// scenario, the shipped ones.
pub struct Lookup<'a> {
    /// In that order.
    pub places: [&'a Designs; 3],
}

impl Lookup<'_> {
    /// The design called `name`, or what to say to whoever asked.
    ///
    /// # Errors
    /// Message and help.
    pub fn find(&self, name: &str) -> Result<Arc<Design>, (String, Option<String>)> {
        let found = self.places.iter().find_map(|designs| designs.get(name));
        found.cloned().ok_or_else(|| {
            let known =
                || self.places.iter().flat_map(|designs| designs.keys().map(String::as_str));
            let short = known().find(|known| Design::is_called(known, name));
            let near = short.or_else(|| nearest(name, known()));
            let mut names: Vec<&str> = known().collect();
            names.sort_unstable();
            names.dedup();
            let message = format!(
                "there is no design `{name}`; there are {}",
                super::diagnostics::one_of(names)
            );
            (message, near.map(|near| format!("did you mean `{near}`?")))
        })
    }
}
