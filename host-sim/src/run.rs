//! One run: a plan in, a log out.

use crate::cost;
use crate::host::HostSide;
use crate::hypervisor::Hypervisor;
use crate::image::{Image, Limits, builtin};
use crate::judge;
use crate::loader;
use crate::log::RunLog;
use crate::machine::{Machine, Stopped};
use crate::qemu;
use crate::recorder::Recorder;
use crate::scenario::codes::Code;
use crate::scenario::plan::{
    Boot, Contents, DeviceKind, DevicePlan, ImagePlan, OnTamper, Plan, Platform,
};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use ultravisor::Ultravisor;
use ultravisor::platform::{self, Config};

/// Secure memory of the machine: as much as a partition may be large.
const SECURE_BYTES: u64 = 16 << 40;

/// Why there is no log of a run. A checked plan gives none of these but for the host's limits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotRun {
    /// The operating system refused the guest's memory.
    #[error("the guest's memory cannot be mapped: {0}")]
    Memory(String),
    /// An image is not what it should be.
    #[error("{0}")]
    Image(String),
    /// Something does not fit into the guest.
    #[error("{0}")]
    Load(String),
    /// It was still going on when its time was up. How far it had come differs from time to time,
    /// so nothing of it is told.
    #[error(
        "{code}: it was still going on when its wall-clock time was up (`--wall-clock` sets it)",
        code = Code::WALL_CLOCK
    )]
    WallClock,
}

/// Runs `plan` to its end.
///
/// # Errors
/// [`CannotRun`] when it could not even start.
pub fn run(plan: &Plan) -> Result<RunLog, CannotRun> {
    run_until(plan, &AtomicBool::new(false))
}

/// As [`run`], given up soon after somebody has set `late`.
///
/// # Errors
/// [`CannotRun`] when it could not even start, or was given up.
pub fn run_until(plan: &Plan, late: &AtomicBool) -> Result<RunLog, CannotRun> {
    let mut log = one(plan, late)?;
    log.twins = plan.twins.iter().map(|twin| one(twin, late)).collect::<Result<_, _>>()?;
    Ok(log)
}

fn one(plan: &Plan, late: &AtomicBool) -> Result<RunLog, CannotRun> {
    let prepared = Prepared::new(plan)?;
    let stopped = prepared.power_on()?.run(late).ok_or(CannotRun::WallClock)?;
    prepared.conclude(stopped, late).ok_or(CannotRun::WallClock)
}

/// A plan with its images checked: a machine of it can be powered on as often as one likes, and each
/// does the same.
pub struct Prepared<'p> {
    plan: &'p Plan,
    guest_file: Arc<[u8]>,
    guest: Image,
    slof: Image,
}

impl<'p> Prepared<'p> {
    /// Checks the images of `plan`.
    ///
    /// # Errors
    /// [`CannotRun::Image`].
    pub fn new(plan: &'p Plan) -> Result<Self, CannotRun> {
        let guest_file: Arc<[u8]> = match &plan.guest.image {
            ImagePlan::Builtin => builtin::GUEST.into(),
            ImagePlan::File { bytes, .. } => Arc::clone(bytes),
        };
        let limits = Limits::of(plan.guest.boot.protocol(), plan.machine.memory_bytes);
        let guest = parse(&guest_file, &limits)?;
        let slof = parse(builtin::SLOF, &Limits::slof())?;
        Ok(Self { plan, guest_file, guest, slof })
    }

    /// The plan.
    pub fn plan(&self) -> &'p Plan {
        self.plan
    }

    /// The images that may run, the guest's first.
    pub fn images(&self) -> Vec<&Image> {
        match self.plan.guest.boot {
            Boot::Elf64 | Boot::Multiboot1 | Boot::Pvh => vec![&self.guest],
            Boot::Slof => vec![&self.guest, &self.slof],
        }
    }

    /// The images that may run, the guest's first.
    pub fn into_images(self) -> Vec<Image> {
        match self.plan.guest.boot {
            Boot::Elf64 | Boot::Multiboot1 | Boot::Pvh => vec![self.guest],
            Boot::Slof => vec![self.guest, self.slof],
        }
    }

    /// The guest's image file.
    pub fn guest_file(&self) -> &[u8] {
        &self.guest_file
    }

    /// A machine before its guest's first instruction.
    ///
    /// # Errors
    /// [`CannotRun`] when it does not fit together or the host has no memory for it.
    pub fn power_on(&self) -> Result<Machine<'_>, CannotRun> {
        let plan = self.plan;
        let (first, devices) = match plan.guest.boot {
            Boot::Elf64 | Boot::Multiboot1 | Boot::Pvh => (&self.guest, plan.devices.clone()),
            Boot::Slof => (&self.slof, with_boot_disk(&plan.devices, &self.guest_file)),
        };
        let symbols = self.images().into_iter().map(|image| &image.symbols).collect();
        let mut host = host_side(plan)?;
        let mut devices = qemu::plug(&devices, plan.machine.transport, plan.seed);
        host.hv.iommus = qemu::add_iommu(&plan.machine, &mut devices);
        let memory = host.uv.memory_mut();
        let start = loader::load(memory, plan, devices.len(), first).map_err(CannotRun::Load)?;
        Ok(Machine::new(plan, host, devices, start, symbols))
    }

    /// What a machine that has stopped leaves behind, judged by its bytes; `None` if somebody set
    /// `late` before that was done.
    pub fn conclude(&self, mut stopped: Stopped, late: &AtomicBool) -> Option<RunLog> {
        let told = (&stopped.ended, stopped.devices.as_slice());
        if !judge::judge(self.plan, told, &mut stopped.host, late) {
            return None;
        }
        let needs_reset = judge::needs_reset(&stopped.devices);
        let (records, hash) = stopped.host.hv.recorder.finish();
        Some(RunLog {
            records,
            ended: stopped.ended,
            hash,
            places: self.images().into_iter().flat_map(|image| image.places.clone()).collect(),
            needs_reset,
            what_if: self.plan.what_if(),
            twins: Vec::new(),
        })
    }
}

fn parse(bytes: &[u8], limits: &Limits) -> Result<Image, CannotRun> {
    Image::parse(bytes, limits).map_err(|errors| {
        CannotRun::Image(errors.first().map_or_else(String::new, ToString::to_string))
    })
}

/// The guest image goes onto the disk that slof boots from.
fn with_boot_disk(devices: &[DevicePlan], image: &Arc<[u8]>) -> Vec<DevicePlan> {
    let mut devices = devices.to_vec();
    if let Some(DeviceKind::Blk { contents, sectors }) = devices.first_mut().map(|d| &mut d.kind) {
        *sectors = (image.len() as u64).div_ceil(512);
        *contents = Contents::File { path: "boot".into(), bytes: Arc::clone(image) };
    }
    devices
}

fn host_side(plan: &Plan) -> Result<HostSide, CannotRun> {
    let machine = &plan.machine;
    let ram = loader::ram(machine.memory_bytes);
    let platform = match machine.platform {
        Platform::Plain => platform::Platform::Plain,
        Platform::Pef => platform::Platform::Pef,
        Platform::PefUnsealed => platform::Platform::PefUnsealed,
    };
    let on_tamper = match machine.on_tamper {
        OnTamper::Refault => platform::OnTamper::Refault,
        OnTamper::Terminate => platform::OnTamper::Terminate,
    };
    let uv = Ultravisor::new(Config {
        platform,
        unit: machine.unit,
        ram: ram.clone(),
        seed: plan.seed,
        on_tamper,
        secure_bytes: SECURE_BYTES,
        backed_bytes_max: plan.limits.memory_bytes,
    })
    .map_err(|error| CannotRun::Memory(error.to_string()))?;
    let costs = cost::table(machine.platform, machine.cost);
    let recorder = Recorder::new(costs, machine.unit, plan.limits);
    let hypervisor = Hypervisor::new(ram, machine.unit, recorder);
    Ok(HostSide::new(hypervisor, uv, platform.seals()))
}
