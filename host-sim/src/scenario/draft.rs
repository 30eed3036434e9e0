//! The file's values with their places, checked one by one and completed by defaults, before the
//! matrix is applied.

use super::codes::Code;
use super::design::QemuOverrides;
use super::file::{
    BugFile, ContentsFile, DeviceFile, GuestFile, ImageFile, Interleave, MachineFile, ScenarioFile,
};
use super::head;
use super::images;
use super::limits::{Limits, WORK_UNITS};
use super::plan::{
    Contents, CostProfile, DeviceKind, ImagePlan, Iommu, OnTamper, Peer, Platform, Plugged,
    Transport,
};
use super::reading::{At, Located, Reader};
use super::size::{Size, Time};
use super::source::{DISK_BYTES_MAX, Files, Folder, IMAGE_BYTES_MAX};
use super::start::Start;
use super::words::{
    Bit33Word, KexecWord, OrderWord, PlacementWord, RingsWord, SwitchWord, TceWord, WaitsWord,
};
use firmware::workload::Work;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// A scenario has at most this many devices, slof's boot disk not counted.
pub const DEVICES_MAX: usize = 15;
/// A disk has at most this many sectors of 512 bytes (1 TiB).
pub const SECTORS_MAX: u64 = 1 << 31;
/// The id of slof's disk.
pub const BOOT_DISK: &str = "boot";

/// One device as the file says it.
#[derive(Clone, Debug)]
pub struct DeviceDraft {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: DeviceKind,
    /// Its own options.
    pub options: QemuOverrides,
    /// When it is plugged.
    pub plugged: Plugged,
}

/// A scenario whose axes are not applied yet. What the file does not say has its default and the
/// place of the scenario's name.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "documented at the plan, where they lead to")]
pub struct Draft {
    pub design: Option<At<String>>,
    pub platform: At<Platform>,
    pub memory: At<Size>,
    pub unit: At<Size>,
    pub swiotlb: At<Size>,
    pub cost: At<CostProfile>,
    pub kick_latency: At<Time>,
    pub on_tamper: At<OnTamper>,
    pub interleave: At<Interleave>,
    /// Where neither file nor axis says one, the design's, else TCE.
    pub iommu: Option<At<Iommu>>,
    pub transport: At<Transport>,
    pub fdt_nodes: At<u32>,
    pub image: At<ImagePlan>,
    pub start: Start,
    pub secure: At<bool>,
    pub marks: Option<bool>,
    pub rings: At<RingsWord>,
    pub waits: At<WaitsWord>,
    pub wait: At<Time>,
    pub budget: At<u64>,
    /// Overrides the design's kernel.
    pub bit_33: Option<At<Bit33Word>>,
    pub tce: At<TceWord>,
    pub bug: At<BugFile>,
    pub switch: At<SwitchWord>,
    pub kexec: At<KexecWord>,
    pub limits: Limits,
    pub devices: Vec<At<DeviceDraft>>,
    /// Whether these are all that the file names: after a fault in one, none is missed.
    pub devices_known: bool,
    /// Options that an axis sets for every device, and where.
    pub qemu: At<QemuOverrides>,
    pub work: Vec<At<Work>>,
    pub order: Option<At<OrderWord>>,
    pub placement: Option<At<PlacementWord>>,
    pub refill: Option<At<bool>>,
}

/// What reading a draft needs besides the text.
pub struct Surroundings<'a> {
    /// The folder that the file is in.
    pub folder: &'a Folder,
    /// Each file that was read, as shown, with its BLAKE3: results record them.
    pub inputs: &'a mut BTreeMap<String, String>,
    /// The files that were read.
    pub read: &'a mut Files,
}

impl Surroundings<'_> {
    /// The bytes of a file below the folder, which is noted as read.
    pub(super) fn read(&mut self, path: &str, bytes_max: u64) -> Result<Arc<[u8]>, (Code, String)> {
        let bytes = self.read.read(self.folder, path, bytes_max)?;
        self.inputs.insert(self.folder.shown(path), blake3::hash(&bytes).to_hex().to_string());
        Ok(bytes)
    }
}

impl Draft {
    /// All defaults. The costs and the latency are estimates and are printed as such.
    fn new(place: &Range<usize>) -> Self {
        fn at<T>(place: &Range<usize>, value: T) -> At<T> {
            At { value, span: place.clone() }
        }
        Self {
            design: None,
            platform: at(place, Platform::Pef),
            memory: at(place, Size(64 << 20)),
            unit: at(place, Size(64 << 10)),
            swiotlb: at(place, Size(8 << 20)),
            cost: at(place, CostProfile::Firmware),
            kick_latency: at(place, Time(3_000)),
            on_tamper: at(place, OnTamper::Refault),
            interleave: at(place, Interleave::Service),
            iommu: None,
            transport: at(place, Transport::Mmio),
            fdt_nodes: at(place, 0),
            image: at(place, ImagePlan::Builtin),
            start: Start::default(),
            secure: at(place, false),
            marks: None,
            rings: at(place, RingsWord::Together),
            waits: at(place, WaitsWord::Polling),
            wait: at(place, Time(500_000_000)),
            budget: at(place, WORK_UNITS.default),
            bit_33: None,
            tce: at(place, TceWord::Single),
            bug: at(place, BugFile::None),
            switch: at(place, SwitchWord::BeforeProbe),
            kexec: at(place, KexecWord::Never),
            limits: Limits::default(),
            devices: Vec::new(),
            devices_known: true,
            qemu: at(place, QemuOverrides::default()),
            work: Vec::new(),
            order: None,
            placement: None,
            refill: None,
        }
    }

    /// Reads all but name, matrix and expectations out of `file`.
    pub fn read<'a>(
        reader: &mut Reader<'a>,
        file: &mut ScenarioFile<'a>,
        place: &Range<usize>,
        around: &mut Surroundings<'_>,
    ) -> Self {
        let mut draft = Self::new(place);
        draft.design = reader.take_if(file.design.take());
        if let Some(machine) = reader.take_if(file.machine.take()) {
            draft.read_machine(reader, machine.value);
        }
        if let Some(guest) = reader.take_if(file.guest.take()) {
            draft.read_guest(reader, guest.value, around);
        }
        if let Some(limits) = reader.take_if(file.limits.take()) {
            draft.limits = Limits::read(reader, limits.value);
        }
        let devices = file.devices.take();
        draft.devices_known = devices.is_none();
        if let Some(devices) = reader.take_if(devices) {
            draft.devices_known = true;
            draft.read_devices(reader, devices, around);
        }
        if let Some(work) = reader.take_if(file.workload.take()) {
            draft.work = super::work::read(reader, work);
        }
        draft
    }

    fn read_machine<'a>(&mut self, reader: &mut Reader<'a>, file: MachineFile<'a>) {
        set(reader, &mut self.platform, file.platform);
        set(reader, &mut self.memory, file.memory);
        set(reader, &mut self.unit, file.unit);
        set(reader, &mut self.swiotlb, file.swiotlb);
        set(reader, &mut self.cost, file.cost);
        set(reader, &mut self.kick_latency, file.kick_latency);
        set(reader, &mut self.on_tamper, file.on_tamper);
        set(reader, &mut self.interleave, file.interleave);
        set(reader, &mut self.transport, file.transport);
        set(reader, &mut self.fdt_nodes, file.fdt_nodes);
        self.iommu = reader.take_if(file.iommu);
    }

    fn read_guest<'a>(
        &mut self,
        reader: &mut Reader<'a>,
        mut file: GuestFile<'a>,
        around: &mut Surroundings<'_>,
    ) {
        self.start = Start::read(reader, &mut file, around);
        if let Some(At { value: ImageFile::File(path), .. }) = reader.take_if(file.image) {
            (self.start.has_image, self.start.is_broken) = (true, true);
            if let Some(path) = reader.take(path)
                && let Some(image) = read_image(reader, &path, around)
            {
                self.start.announced = images::announced(&image);
                self.start.is_broken = images::is_broken(&image, self.start.boot());
                self.image = At { value: image, span: path.span };
            }
        }
        set(reader, &mut self.secure, file.secure);
        set(reader, &mut self.rings, file.rings);
        set(reader, &mut self.waits, file.waits);
        set(reader, &mut self.wait, file.wait);
        set(reader, &mut self.budget, file.budget);
        set(reader, &mut self.tce, file.tce);
        set(reader, &mut self.bug, file.bug);
        set(reader, &mut self.switch, file.switch);
        set(reader, &mut self.kexec, file.kexec);
        self.bit_33 = reader.take_if(file.bit_33);
        self.marks = reader.take_if(file.marks).map(|marks| marks.value);
    }

    fn read_devices<'a>(
        &mut self,
        reader: &mut Reader<'a>,
        list: At<Vec<Located<'a, DeviceFile<'a>>>>,
        around: &mut Surroundings<'_>,
    ) {
        if list.value.len() > DEVICES_MAX {
            let message = format!("{} devices, at most {DEVICES_MAX}", list.value.len());
            self.devices_known = false;
            return reader.fault(Code::COUNT_LIMIT, &list.span, message, None);
        }
        for item in list.value {
            let device = reader.take(item).and_then(|At { value, span }| {
                let (id, device) = read_device(reader, value, around)?;
                Some((id, device, span))
            });
            self.devices_known &= device.is_some();
            let Some((id, device, span)) = device else { continue };
            if self.devices.iter().any(|other| other.value.id == id.value) {
                let message = format!("the device id `{}` is there twice", id.value);
                reader.fault(Code::DUPLICATE, &id.span, message, None);
            }
            self.devices.push(At { value: device, span });
        }
    }
}

fn set<'a, T>(reader: &mut Reader<'a>, field: &mut At<T>, file: Option<Located<'a, T>>) {
    if let Some(at) = reader.take_if(file) {
        *field = at;
    }
}

/// What to do about a file that cannot be read.
pub(super) fn path_help(code: Code) -> Option<String> {
    let help = if code == Code::FILE_LIMIT {
        "take a smaller one: an image without debug information, a disk of which less is given"
    } else if code == Code::LEAVES_FOLDER {
        "put a copy of the file below the scenario's folder, and name it from there"
    } else {
        "the path begins at the scenario's folder, not at yours"
    };
    Some(help.to_owned())
}

fn read_image(
    reader: &mut Reader<'_>,
    path: &At<String>,
    around: &mut Surroundings<'_>,
) -> Option<ImagePlan> {
    match around.read(&path.value, IMAGE_BYTES_MAX) {
        Ok(bytes) => Some(ImagePlan::File { path: path.value.clone(), bytes }),
        Err((code, message)) => {
            reader.fault(code, &path.span, message, path_help(code));
            None
        }
    }
}

fn device_id<'a>(reader: &mut Reader<'a>, id: Located<'a, String>) -> Option<At<String>> {
    let id = reader.take(id)?;
    if id.value == BOOT_DISK {
        let message = format!("`{BOOT_DISK}` is the id of boot firmware's own disk");
        reader.fault(Code::DUPLICATE, &id.span, message, Some("take another id".to_owned()));
    } else if !head::is_name(&id.value) || id.value.contains('/') || id.value.len() > 32 {
        let message = "an id is made of a-z, 0-9 and `-`, at most 32 characters".to_owned();
        reader.fault(Code::BAD_NAME, &id.span, message, None);
    } else {
        return Some(id);
    }
    None
}

fn read_device<'a>(
    reader: &mut Reader<'a>,
    file: DeviceFile<'a>,
    around: &mut Surroundings<'_>,
) -> Option<(At<String>, DeviceDraft)> {
    let (id, kind, plugged, qemu) = match file {
        DeviceFile::Blk { id, sectors, contents, plugged, qemu } => {
            let sectors = reader.take(sectors)?;
            if !(1..=SECTORS_MAX).contains(&sectors.value) {
                let message = format!("{} sectors: a disk has 1 to {SECTORS_MAX}", sectors.value);
                reader.fault(Code::OUT_OF_RANGE, &sectors.span, message, None);
            }
            let contents = reader.take_if(contents);
            let contents = read_contents(reader, contents, sectors.value, around)?;
            (id, DeviceKind::Blk { sectors: sectors.value, contents }, plugged, qemu)
        }
        DeviceFile::Net { id, peer, plugged, qemu } => {
            let peer = reader.take_if(peer).map_or(Peer::Sink, |peer| peer.value);
            (id, DeviceKind::Net { peer }, plugged, qemu)
        }
        DeviceFile::Console { id, plugged, qemu } => (id, DeviceKind::Console, plugged, qemu),
        DeviceFile::Entropy { id, plugged, qemu } => (id, DeviceKind::Entropy, plugged, qemu),
        DeviceFile::Balloon { id, plugged, qemu } => (id, DeviceKind::Balloon, plugged, qemu),
    };
    let options = QemuOverrides::read(reader, qemu);
    let id = device_id(reader, id)?;
    let plugged = plugged.unwrap_or_default();
    let device = DeviceDraft { id: id.value.clone(), kind, options, plugged };
    Some((id, device))
}

fn read_contents<'a>(
    reader: &mut Reader<'a>,
    file: Option<At<ContentsFile<'a>>>,
    sectors: u64,
    around: &mut Surroundings<'_>,
) -> Option<Contents> {
    let path = match file.map(|at| at.value) {
        None | Some(ContentsFile::Pattern) => return Some(Contents::Pattern),
        Some(ContentsFile::Zero) => return Some(Contents::Zero),
        Some(ContentsFile::File(path)) => reader.take(path)?,
    };
    match around.read(&path.value, DISK_BYTES_MAX) {
        Ok(bytes) if bytes.len() as u64 > sectors.saturating_mul(512) => {
            let message =
                format!("the file has {} bytes and the disk {sectors} sectors", bytes.len());
            reader.fault(Code::OUT_OF_RANGE, &path.span, message, None);
            None
        }
        Ok(bytes) => Some(Contents::File { path: path.value, bytes }),
        Err((code, message)) => {
            reader.fault(code, &path.span, message, path_help(code));
            None
        }
    }
}
