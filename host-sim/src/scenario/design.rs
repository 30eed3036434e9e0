//! Design files: a named bundle of choices at each layer, and where a design is looked for.

use super::codes::Code;
use super::diagnostics::{Fault, SourceText, nearest};
use super::file::QemuFile;
use super::plan::{Backend, Describes, Iommu, QemuOptions};
use super::reading::{self, At, Located, Reader};
use super::words::{Bit33Word, OpsWord, VirtioWord};
use firmware::kernel::Kernel;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
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

impl Layer {
    /// The words for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GuestKernel => "guest kernel",
            Self::BootFirmware => "boot firmware",
            Self::Ultravisor => "ultravisor",
            Self::Hypervisor => "hypervisor",
            Self::Qemu => "QEMU",
            Self::VirtioSpec => "virtio spec",
            Self::ManagementStack => "management stack",
            Self::User => "user",
        }
    }
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
    pub slof: Option<Slof>,
    #[serde(borrow)]
    pub hypervisor: Option<Located<'a, DesignHypervisorFile>>,
    #[serde(borrow)]
    pub qemu: Option<Located<'a, DesignQemuFile<'a>>>,
    #[serde(borrow)]
    pub user: Option<Located<'a, DesignUserFile<'a>>>,
    #[serde(borrow)]
    pub changes: Located<'a, Vec<Located<'a, Layer>>>,
}

/// `guest: (...)` of a design.
#[derive(Debug, Deserialize)]
#[serde(rename = "guest", deny_unknown_fields)]
#[expect(missing_docs, reason = "documented at `Design`, where it leads to")]
pub struct DesignGuestFile<'a> {
    #[serde(borrow)]
    pub virtio: Located<'a, VirtioWord>,
    #[serde(borrow)]
    pub ops: Located<'a, OpsWord>,
    pub bit_33: Option<Bit33Word>,
    pub identity_bit: Option<bool>,
    pub demands_bits: Option<bool>,
    pub pokes_quirk: Option<bool>,
}

/// `slof: ...` of a design: what boot firmware can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all(serialize = "kebab-case"))]
pub enum Slof {
    /// It knows no IOMMU (2018).
    #[default]
    Today,
    /// It maps what it gives to a device behind the TCE IOMMU.
    KnowsTce,
}

/// `hypervisor: (...)` of a design.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename = "hypervisor", deny_unknown_fields)]
pub struct DesignHypervisorFile {
    /// Whether KVM tells QEMU when the VM becomes secure.
    pub tells_qemu: bool,
}

/// `qemu: (...)` of a design: what is new in QEMU's code.
#[derive(Debug, Deserialize)]
#[serde(rename = "qemu", deny_unknown_fields)]
#[expect(missing_docs, reason = "documented at `DesignQemu`, where it leads to")]
pub struct DesignQemuFile<'a> {
    #[serde(borrow)]
    pub defaults: Option<Located<'a, QemuFile<'a>>>,
    pub flips_devices: Option<bool>,
    pub describes: Option<Describes>,
    pub iommu: Option<Iommu>,
}

/// `user: (...)` of a design: what somebody must set.
#[derive(Debug, Deserialize)]
#[serde(rename = "user", deny_unknown_fields)]
#[expect(missing_docs, reason = "documented at `DesignUser`, where it leads to")]
pub struct DesignUserFile<'a> {
    #[serde(borrow)]
    pub devices: Option<Located<'a, QemuFile<'a>>>,
    #[serde(borrow)]
    pub machine: Option<Located<'a, QemuFile<'a>>>,
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
    /// See [`QemuOptions::optional_33`].
    pub optional_33: Option<bool>,
    /// See [`QemuOptions::identity_bit`].
    pub identity_bit: Option<bool>,
    /// See [`QemuOptions::quirk`].
    pub quirk: Option<bool>,
    /// See [`QemuOptions::backend`].
    pub backend: Option<Backend>,
}

/// QEMU's bounds of `queue-size`.
const QUEUE_SIZE: RangeInclusive<u16> = 2..=1024;

/// A `queue_size` that QEMU takes.
pub(super) fn checked_size(reader: &mut Reader<'_>, size: &At<u16>) -> Option<u16> {
    if QUEUE_SIZE.contains(&size.value) && size.value.is_power_of_two() {
        return Some(size.value);
    }
    let (least, most) = (QUEUE_SIZE.start(), QUEUE_SIZE.end());
    let message = format!("`queue_size` {} is no power of two from {least} to {most}", size.value);
    reader.fault(Code::OUT_OF_RANGE, &size.span, message, None);
    None
}

impl QemuOverrides {
    /// Nothing differs.
    pub const NONE: Self = Self {
        iommu_platform: None,
        legacy: None,
        event_idx: None,
        indirect_desc: None,
        ioeventfd: None,
        queue_size: None,
        optional_33: None,
        identity_bit: None,
        quirk: None,
        backend: None,
    };

    /// Reads `qemu: (...)`.
    pub fn read<'a>(reader: &mut Reader<'a>, file: Option<Located<'a, QemuFile<'a>>>) -> Self {
        let Some(file) = reader.take_if(file) else { return Self::default() };
        let QemuFile { iommu_platform, legacy, event_idx, indirect_desc, ioeventfd, .. } =
            file.value;
        let QemuFile { queue_size, optional_33, identity_bit, quirk, backend, .. } = file.value;
        let queue_size = reader.take_if(queue_size).and_then(|size| checked_size(reader, &size));
        Self {
            iommu_platform,
            legacy,
            event_idx,
            indirect_desc,
            ioeventfd,
            queue_size,
            optional_33,
            identity_bit,
            quirk,
            backend,
        }
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
            optional_33: self.optional_33.unwrap_or(options.optional_33),
            identity_bit: self.identity_bit.unwrap_or(options.identity_bit),
            quirk: self.quirk.unwrap_or(options.quirk),
            backend: self.backend.unwrap_or(options.backend),
        }
    }
}

/// What is new in QEMU's code. Nothing, by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DesignQemu {
    /// Options whose defaults change, for every device.
    pub defaults: QemuOverrides,
    /// Whether it turns `iommu_platform` on for each device once it is told of the switch.
    pub flips_devices: bool,
    /// What it reserves in the FDT.
    pub describes: Describes,
    /// Which IOMMU it emulates, if not the machine's own.
    pub iommu: Option<Iommu>,
}

impl DesignQemu {
    /// QEMU of 2018.
    pub const QEMU_2018: Self = Self {
        defaults: QemuOverrides::NONE,
        flips_devices: false,
        describes: Describes::Nothing,
        iommu: None,
    };
}

/// What somebody must set when the VM is created. Nothing, by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DesignUser {
    /// On each device: QEMU of 2018 has these options already.
    pub devices: QemuOverrides,
    /// Once for the machine: QEMU of 2018 has no such option.
    pub machine: QemuOverrides,
}

impl DesignUser {
    /// Nothing is set.
    pub const NOTHING: Self = Self { devices: QemuOverrides::NONE, machine: QemuOverrides::NONE };
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
    /// The guest's kernel.
    pub kernel: Kernel,
    /// Boot firmware.
    pub slof: Slof,
    /// Whether KVM tells QEMU when the VM becomes secure.
    pub tells_qemu: bool,
    /// What is new in QEMU.
    pub qemu: DesignQemu,
    /// What somebody must set.
    pub user: DesignUser,
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
        reading::all_of(source, |reader| Self::read_with(reader, source))
    }

    fn read_with<'a>(reader: &mut Reader<'a>, source: &Arc<SourceText>) -> Option<Self> {
        let file: DesignFile<'a> = reader.whole()?;
        super::head::check_format(reader, file.format);
        let name = super::head::name(reader, file.name);
        let about = super::head::about(reader, file.about);
        let proposed = reader.take(file.proposed);
        let decides = reader.take(file.decides);
        let kernel = reader.take(file.guest).and_then(|guest| read_kernel(reader, guest.value));
        let hypervisor = reader.take_if(file.hypervisor).map(|at| at.value).unwrap_or_default();
        let qemu = read_qemu(reader, file.qemu);
        let user = read_user(reader, file.user);
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
            kernel: kernel?,
            slof: file.slof.unwrap_or_default(),
            tells_qemu: hypervisor.tells_qemu,
            qemu,
            user,
            changes,
            source: source.clone(),
        })
    }

    /// What is set for every device: new defaults, then the machine's options, then the devices'.
    pub fn options(&self) -> QemuOptions {
        let defaults = self.qemu.defaults.over(QemuOptions::default());
        self.user.devices.over(self.user.machine.over(defaults))
    }

    /// Whether QEMU turns `iommu_platform` on when the VM becomes secure.
    pub fn flips_at_esm(&self) -> bool {
        self.tells_qemu && self.qemu.flips_devices
    }

    /// This design with `layer` put back to its 2018 base; `None` if that changes nothing.
    pub fn without(&self, layer: Layer) -> Option<Self> {
        let mut base = self.clone();
        match layer {
            Layer::GuestKernel => base.kernel = Kernel::LINUX_2018,
            Layer::BootFirmware => base.slof = Slof::Today,
            Layer::Hypervisor => base.tells_qemu = false,
            Layer::Qemu => {
                base.qemu = DesignQemu::QEMU_2018;
                base.user.machine = QemuOverrides::NONE;
            }
            Layer::User => base.user = DesignUser::NOTHING,
            // No design changes the ultravisor; the other two are no code of this machine's.
            Layer::Ultravisor | Layer::VirtioSpec | Layer::ManagementStack => (),
        }
        (base != *self).then_some(base)
    }

    /// Whether it uses a bit that the virtio specification does not have.
    pub fn is_beyond_spec(&self) -> bool {
        let options = self.options();
        options.optional_33 || options.identity_bit || options.quirk
    }

    /// Whether somebody must set an option on each device: it has to travel through the management
    /// stack.
    pub fn is_set_per_device(&self) -> bool {
        self.user.devices != QemuOverrides::NONE
    }

    /// Whether `wanted` (of `--design`) means this design: its name, or the part before its first
    /// dash, in any case.
    pub fn is_called(name: &str, wanted: &str) -> bool {
        let short = name.split('-').next().unwrap_or(name);
        name.eq_ignore_ascii_case(wanted) || short.eq_ignore_ascii_case(wanted)
    }
}

fn read_kernel<'a>(reader: &mut Reader<'a>, file: DesignGuestFile<'a>) -> Option<Kernel> {
    let (virtio, ops) = (reader.take(file.virtio), reader.take(file.ops));
    let base = Kernel::LINUX_2018;
    Some(Kernel {
        virtio: virtio?.value.into(),
        ops: ops?.value.into(),
        bit_33: file.bit_33.map_or(base.bit_33, Into::into),
        identity_bit: file.identity_bit.unwrap_or(base.identity_bit),
        demands_bits: file.demands_bits.unwrap_or(base.demands_bits),
        pokes_quirk: file.pokes_quirk.unwrap_or(base.pokes_quirk),
    })
}

fn read_qemu<'a>(
    reader: &mut Reader<'a>,
    file: Option<Located<'a, DesignQemuFile<'a>>>,
) -> DesignQemu {
    let base = DesignQemu::QEMU_2018;
    let Some(At { value: file, .. }) = reader.take_if(file) else { return base };
    DesignQemu {
        defaults: QemuOverrides::read(reader, file.defaults),
        flips_devices: file.flips_devices.unwrap_or(base.flips_devices),
        describes: file.describes.unwrap_or(base.describes),
        iommu: file.iommu,
    }
}

fn read_user<'a>(
    reader: &mut Reader<'a>,
    file: Option<Located<'a, DesignUserFile<'a>>>,
) -> DesignUser {
    let Some(At { value: file, .. }) = reader.take_if(file) else { return DesignUser::NOTHING };
    DesignUser {
        devices: QemuOverrides::read(reader, file.devices),
        machine: QemuOverrides::read(reader, file.machine),
    }
}

/// Designs by name.
pub type Designs = BTreeMap<String, Arc<Design>>;

/// The shipped designs.
///
/// # Errors
/// A shipped file is wrong: a bug of ours.
pub fn shipped() -> Result<Designs, Vec<Fault>> {
    let mut designs = Designs::new();
    for (file, text) in crate::shipped::below("designs/") {
        let path = format!("(built in) scenarios/{file}");
        let source = Arc::new(SourceText { path, text: text.to_owned() });
        let design = Design::read(&source)?;
        designs.insert(design.name.clone(), Arc::new(design));
    }
    Ok(designs)
}

/// Where one scenario's designs are looked for, nearest first: the selection, `designs/` beside the
/// scenario, the shipped ones.
#[derive(Clone, Copy)]
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
            // `d2`, and `d2-` with a slip behind it, mean the same design.
            let number = name.split('-').next().unwrap_or(name);
            let short = known().find(|known| Design::is_called(known, number));
            let near = short.or_else(|| nearest(name, known()));
            let mut names: Vec<&str> = known().collect();
            names.sort_by(|one, other| natural_order(one, other));
            names.dedup();
            let message = format!(
                "there is no design `{name}`; there are {}",
                super::diagnostics::one_of(names)
            );
            let own = "put a design of your own into `designs/` beside the scenario, or name its \
                       file too";
            (message, Some(near.map_or(own.to_owned(), |near| format!("did you mean `{near}`?"))))
        })
    }
}

/// `d2` before `d10`: digits count as numbers, everything else as text.
pub fn natural_order(one: &str, other: &str) -> Ordering {
    let parts = |text: &str| -> Vec<(String, u64)> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let word = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let after = &rest[word..];
            let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            let number = after[..digits].parse().unwrap_or(u64::MAX);
            parts.push((rest[..word].to_owned(), if digits == 0 { 0 } else { number }));
            rest = &after[digits..];
        }
        parts
    };
    parts(one).cmp(&parts(other)).then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn designs_are_in_the_order_of_their_numbers() {
        let mut names = ["x-data", "d10-a", "d7b-x", "d2-b", "d7a-y", "d0-c"];
        names.sort_by(|one, other| natural_order(one, other));
        assert_eq!(names, ["d0-c", "d2-b", "d7a-y", "d7b-x", "d10-a", "x-data"]);
    }
}
