//! One cell of a matrix: the settings put into the draft, the whole checked, the plan made.

use super::codes::Code;
use super::design::{Design, Lookup, QemuOverrides, Slof, checked_size};
use super::draft::{BOOT_DISK, DeviceDraft, Draft};
use super::file::{BugFile, Interleave};
use super::images;
use super::limits::WORK_UNITS;
use super::matrix::Setting;
use super::plan::{
    Boot, Contents, Describes, DeviceKind, DevicePlan, GuestPlan, ImagePlan, Iommu, MachinePlan,
    Platform, Plugged, QemuOptions, Transport,
};
use super::reading::{At, Reader};
use super::size::{Size, Time};
use firmware::kernel::{Bug, BugKind, Kernel};
use firmware::workload::Work;
use std::ops::RangeInclusive;
use std::sync::Arc;
use ultravisor_abi::UnitSize;

/// RAM: room for page tables, device tree, images and stack, up to 16 TiB.
const MEMORY_BYTES_MIN: u64 = 16 << 20;
const MEMORY_BYTES_MAX: u64 = 16 << 40;
/// The swiotlb pool grows by sets of 128 slots of 2 KiB.
const POOL_SET_BYTES: u64 = 256 << 10;
const POOL_BYTES_MAX: u64 = 256 << 20;
/// A guest's waits end before the machine calls the run stuck (one second with nothing due).
const WAIT_NS: RangeInclusive<u64> = 1_000..=900_000_000;
const LATENCY_NS: RangeInclusive<u64> = 0..=100_000_000;
const BUDGET_UNITS: RangeInclusive<u64> = WORK_UNITS.range.0..=WORK_UNITS.range.1;
/// As many as fit where the boot protocol puts the tree.
const FDT_NODES: RangeInclusive<u64> = 0..=4000;

impl Draft {
    /// Puts one value of an axis in.
    pub fn apply(&mut self, setting: &At<Setting>) {
        let span = setting.span.clone();
        let at_qemu = |qemu: &mut At<QemuOverrides>| qemu.span = span.clone();
        match setting.value.clone() {
            Setting::Design(value) => self.design = Some(At { value, span }),
            Setting::Platform(value) => self.platform = At { value, span },
            Setting::Memory(value) => self.memory = At { value, span },
            Setting::Unit(value) => self.unit = At { value, span },
            Setting::Swiotlb(value) => self.swiotlb = At { value, span },
            Setting::Cost(value) => self.cost = At { value, span },
            Setting::KickLatency(value) => self.kick_latency = At { value, span },
            Setting::OnTamper(value) => self.on_tamper = At { value, span },
            Setting::Interleave(value) => self.interleave = At { value, span },
            Setting::Boot(value) => self.start.boot = Some(At { value, span }),
            Setting::Secure(value) => self.secure = At { value, span },
            Setting::Rings(value) => self.rings = At { value, span },
            Setting::Waits(value) => self.waits = At { value, span },
            Setting::Order(value) => self.order = Some(At { value, span }),
            Setting::Placement(value) => self.placement = Some(At { value, span }),
            Setting::Refill(value) => self.refill = Some(At { value, span }),
            Setting::Bit33(value) => self.bit_33 = Some(At { value, span }),
            Setting::Tce(value) => self.tce = At { value, span },
            Setting::Bug(value) => self.bug = At { value, span },
            Setting::Switch(value) => self.switch = At { value, span },
            Setting::Kexec(value) => self.kexec = At { value, span },
            Setting::Iommu(value) => self.iommu = Some(At { value, span }),
            Setting::Transport(value) => self.transport = At { value, span },
            Setting::FdtNodes(value) => self.fdt_nodes = At { value, span },
            Setting::Backend(value) => {
                at_qemu(&mut self.qemu);
                self.qemu.value.backend = Some(value);
            }
            Setting::IommuPlatform(value) => {
                at_qemu(&mut self.qemu);
                self.qemu.value.iommu_platform = Some(value);
            }
            Setting::Legacy(value) => {
                at_qemu(&mut self.qemu);
                self.qemu.value.legacy = Some(value);
            }
            Setting::EventIdx(value) => {
                at_qemu(&mut self.qemu);
                self.qemu.value.event_idx = Some(value);
            }
            Setting::IndirectDesc(value) => {
                at_qemu(&mut self.qemu);
                self.qemu.value.indirect_desc = Some(value);
            }
            Setting::Ioeventfd(value) => {
                at_qemu(&mut self.qemu);
                self.qemu.value.ioeventfd = Some(value);
            }
            Setting::QueueSize(value) => {
                at_qemu(&mut self.qemu);
                self.qemu.value.queue_size = Some(value);
            }
        }
    }

    /// The design, if one is named and exists.
    pub fn find_design(&self, reader: &mut Reader<'_>, lookup: &Lookup<'_>) -> Option<Arc<Design>> {
        let name = self.design.as_ref()?;
        match lookup.find(&name.value) {
            Ok(design) => Some(design),
            Err((message, help)) => {
                reader.fault(Code::UNKNOWN_ID, &name.span, message, help);
                None
            }
        }
    }

    /// The machine, checked.
    pub fn machine(&self, reader: &mut Reader<'_>, design: Option<&Design>) -> Option<MachinePlan> {
        let unit = self.unit(reader)?;
        self.check_memory(reader, unit);
        self.check_pool(reader);
        let nodes = self.fdt_nodes.clone().map(u64::from);
        check(reader, &nodes, &FDT_NODES, "nodes");
        check_time(reader, &self.kick_latency, &LATENCY_NS);
        if self.secure.value && self.platform.value == Platform::Plain {
            let message =
                "a guest cannot become secure on `Plain`: there is no ultravisor".to_owned();
            let help = Some("say `platform: Pef` or `secure: false`".to_owned());
            reader.fault(Code::CONTRADICTION, &self.secure.span, message, help);
        }
        Some(MachinePlan {
            platform: self.platform.value,
            memory_bytes: self.memory.value.0,
            unit,
            swiotlb_bytes: self.swiotlb.value.0,
            cost: self.cost.value,
            kick_latency_ns: self.kick_latency.value.0,
            on_tamper: self.on_tamper.value,
            interleave_touch: self.interleave.value == Interleave::Touch,
            iommu: match &self.iommu {
                Some(at) => at.value,
                None => design.and_then(|design| design.qemu.iommu).unwrap_or(Iommu::Tce),
            },
            transport: self.transport.value,
            describes: design.map_or(Describes::Nothing, |design| design.qemu.describes),
            fdt_nodes: self.fdt_nodes.value,
            flips_at_esm: design.is_some_and(Design::flips_at_esm),
        })
    }

    fn unit(&self, reader: &mut Reader<'_>) -> Option<UnitSize> {
        let unit = UnitSize::from_bytes(self.unit.value.0);
        if unit.is_none() {
            let message = "a unit is a power of two from 4 KiB to 2 MiB".to_owned();
            reader.fault(Code::OUT_OF_RANGE, &self.unit.span, message, None);
        }
        unit
    }

    fn check_memory(&self, reader: &mut Reader<'_>, unit: UnitSize) {
        let bytes = self.memory.value.0;
        let (code, message) = if bytes > MEMORY_BYTES_MAX {
            (Code::PARTITION, "a partition has at most 16 TiB".to_owned())
        } else if bytes < MEMORY_BYTES_MIN {
            (Code::OUT_OF_RANGE, "a guest needs at least 16 MiB".to_owned())
        } else if !bytes.is_multiple_of(unit.bytes()) {
            let (memory, unit) = (self.memory.value, Size(unit.bytes()));
            let message = format!("{memory} is no multiple of the unit, {unit}");
            (Code::OUT_OF_RANGE, message)
        } else {
            return;
        };
        reader.fault(code, &self.memory.span, message, None);
    }

    fn check_pool(&self, reader: &mut Reader<'_>) {
        let bytes = self.swiotlb.value.0;
        let (code, message) = if bytes > POOL_BYTES_MAX {
            (Code::POOL_LIMIT, "a swiotlb pool has at most 256 MiB".to_owned())
        } else if bytes == 0 || !bytes.is_multiple_of(POOL_SET_BYTES) {
            (Code::OUT_OF_RANGE, "a swiotlb pool is a multiple of 256 KiB, and not 0".to_owned())
        } else if bytes > self.memory.value.0 / 2 && self.memory.value.0 >= MEMORY_BYTES_MIN {
            let (pool, memory) = (self.swiotlb.value, self.memory.value);
            let message =
                format!("the swiotlb pool, {pool}, takes more than half of the memory, {memory}");
            (Code::CONTRADICTION, message)
        } else {
            return;
        };
        reader.fault(code, &self.swiotlb.span, message, None);
    }

    /// The guest, checked.
    pub fn guest(&self, reader: &mut Reader<'_>, design: Option<&Design>) -> GuestPlan {
        check_time(reader, &self.wait, &WAIT_NS);
        check(reader, &self.budget, &BUDGET_UNITS, "work units");
        let builtin = match self.image.value {
            ImagePlan::Builtin => true,
            ImagePlan::File { .. } => false,
        };
        self.check_start(reader);
        GuestPlan {
            image: self.image.value.clone(),
            boot: self.start.boot(),
            boot_because: self.start.boot_because(),
            command_line: self
                .start
                .command_line
                .as_ref()
                .map(|at| &at.value)
                .cloned()
                .unwrap_or_default(),
            modules: self.start.modules.iter().map(|at| at.value.clone()).collect(),
            secure: self.secure.value,
            marks: self.marks.unwrap_or(builtin),
            kernel: self.kernel(design),
            tce: self.tce.value.into(),
            bug: self.bug(reader),
            switch: self.switch.value.into(),
            kexec: self.kexec.value.into(),
            slof_tce: design.is_some_and(|design| design.slof == Slof::KnowsTce),
            rings: self.rings.value.into(),
            waits: self.waits.value.into(),
            wait_ns: self.wait.value.0,
            units_max: self.budget.value,
        }
    }

    /// Refuses what does not go with how the guest starts.
    fn check_start(&self, reader: &mut Reader<'_>) {
        self.start.check(reader);
        let boot = self.start.boot();
        if !boot.protocol().is_physical() {
            return;
        }
        let boot = boot.word();
        if !self.start.has_image {
            let message = format!("the built-in guest does not start by `{boot}`");
            let help = "say `boot: Elf64` or `boot: Slof`, or name an image of your own";
            let span = self.start.span(&self.image.span);
            reader.fault(Code::CONTRADICTION, &span, message, Some(help.to_owned()));
        }
        if let Some(work) = self.work.first() {
            let message = format!("a guest that starts by `{boot}` is not told of any workload");
            let help = "leave `workload` out: it brings its own, and `command_line` can steer it";
            reader.fault(Code::CONTRADICTION, &work.span, message, Some(help.to_owned()));
        }
    }

    fn kernel(&self, design: Option<&Design>) -> Kernel {
        let kernel = design.map_or(Kernel::LINUX_2018, |design| design.kernel);
        let bit_33 = self.bit_33.as_ref().map_or(kernel.bit_33, |at| at.value.into());
        Kernel { bit_33, ..kernel }
    }

    fn bug(&self, reader: &mut Reader<'_>) -> Option<Bug> {
        let (kind, every) = match self.bug.value {
            BugFile::None => return None,
            BugFile::RawSecure { every } => (BugKind::RawSecure, every),
            BugFile::RawShared { every } => (BugKind::RawShared, every),
            BugFile::RawOutside { every } => (BugKind::RawOutside, every),
            BugFile::NeverUnmap { every } => (BugKind::NeverUnmap, every),
            BugFile::ReadBack { every } => (BugKind::ReadBack, every),
            BugFile::FallThrough => (BugKind::FallThrough, 1),
        };
        if every == 0 {
            let message = "`every` is at least 1: every buffer".to_owned();
            reader.fault(Code::OUT_OF_RANGE, &self.bug.span, message, None);
        }
        Some(Bug { kind, every })
    }

    /// The devices in FDT order, slof's disk first.
    pub fn devices(&self, reader: &mut Reader<'_>, design: Option<&Design>) -> Vec<DevicePlan> {
        let base = design.map_or_else(QemuOptions::default, Design::options);
        let boot = match self.start.boot() {
            Boot::Elf64 | Boot::Multiboot1 | Boot::Pvh => None,
            Boot::Slof => Some(self.boot_disk(self.qemu.value.over(base))),
        };
        let own = self.devices.iter().map(|At { value, span }| {
            let DeviceDraft { id, kind, options, plugged } = value;
            let options = self.qemu.value.over(options.over(base));
            let (id, kind, plugged) = (id.clone(), kind.clone(), *plugged);
            (DevicePlan { id, kind, options, plugged }, span.clone())
        });
        let all: Vec<_> = boot
            .map(|disk| (disk, self.start.span(&self.image.span)))
            .into_iter()
            .chain(own)
            .collect();
        if let Some(value) = self.qemu.value.queue_size {
            checked_size(reader, &At { value, span: self.qemu.span.clone() });
        }
        for (device, span) in &all {
            let place = if self.qemu.value == QemuOverrides::NONE { span } else { &self.qemu.span };
            let at = At { value: device.options, span: place.clone() };
            check_options(reader, &at);
            self.check_transport(reader, &at);
        }
        all.into_iter().map(|(device, _)| device).collect()
    }

    /// Refuses what there is no virtio-pci function of.
    fn check_transport(&self, reader: &mut Reader<'_>, options: &At<QemuOptions>) {
        let At { value, span } = options;
        let what = match (self.transport.value, value.legacy, value.quirk) {
            (Transport::Mmio, ..) | (Transport::Pci, false, false) => return,
            (Transport::Pci, true, _) => "a legacy device",
            (Transport::Pci, false, true) => "a device with the quirk register",
        };
        let message = format!("{what} needs `transport: Mmio`: over PCI all are modern ones");
        let help = Some("take it out of these runs, or say `transport: Mmio`".to_owned());
        reader.fault(Code::CONTRADICTION, span, message, help);
    }

    fn boot_disk(&self, options: QemuOptions) -> DevicePlan {
        let (path, bytes) = match &self.image.value {
            ImagePlan::Builtin => ("builtin".to_owned(), images::builtin()),
            ImagePlan::File { path, bytes } => (path.clone(), bytes.clone()),
        };
        let sectors = (bytes.len() as u64).div_ceil(512).max(1);
        let contents = Contents::File { path, bytes };
        DevicePlan {
            id: BOOT_DISK.to_owned(),
            kind: DeviceKind::Blk { sectors, contents },
            options,
            plugged: Plugged::AtStart,
        }
    }

    /// The work, with what axes set for block workloads.
    pub fn work(&self) -> Vec<Work> {
        let works = self.work.iter().map(|at| at.value);
        works
            .map(|work| match work {
                Work::Block { ops, order, placement, refill } => Work::Block {
                    ops,
                    order: self.order.as_ref().map_or(order, |at| at.value.into()),
                    placement: self.placement.as_ref().map_or(placement, |at| at.value.into()),
                    refill: self.refill.as_ref().map_or(refill, |at| at.value),
                },
                other @ (Work::Net { .. }
                | Work::Console { .. }
                | Work::Entropy { .. }
                | Work::Balloon { .. }) => other,
            })
            .collect()
    }
}

fn check(reader: &mut Reader<'_>, at: &At<u64>, range: &RangeInclusive<u64>, what: &str) {
    if range.contains(&at.value) {
        return;
    }
    let message = format!("{} {what} is not from {} to {}", at.value, range.start(), range.end());
    reader.fault(Code::OUT_OF_RANGE, &at.span, message, None);
}

fn check_time(reader: &mut Reader<'_>, at: &At<Time>, range: &RangeInclusive<u64>) {
    if range.contains(&at.value.0) {
        return;
    }
    let (least, most) = (Time(*range.start()), Time(*range.end()));
    let message = format!("{} is not from {least} to {most}", at.value);
    reader.fault(Code::OUT_OF_RANGE, &at.span, message, None);
}

fn check_options(reader: &mut Reader<'_>, options: &At<QemuOptions>) {
    let At { value, span } = options;
    if value.legacy && value.iommu_platform {
        let message = "a legacy device has no bit 33, so `iommu_platform` cannot be on".to_owned();
        reader.fault(Code::CONTRADICTION, span, message, None);
    }
}
