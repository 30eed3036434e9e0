//! One run: a plan in, a log out.

use crate::cost;
use crate::host::HostSide;
use crate::hypervisor::Hypervisor;
use crate::image::{Image, Limits, builtin};
use crate::judge;
use crate::loader;
use crate::log::RunLog;
use crate::machine::Machine;
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
    let guest_file: Arc<[u8]> = match &plan.guest.image {
        ImagePlan::Builtin => builtin::GUEST.into(),
        ImagePlan::File { bytes, .. } => Arc::clone(bytes),
    };
    let guest = parse(&guest_file, &Limits::guest(plan.machine.memory_bytes))?;
    let slof = parse(builtin::SLOF, &Limits::slof())?;
    let (first, symbols, devices) = match plan.guest.boot {
        Boot::Elf64 => (&guest, vec![&guest.symbols], plan.devices.clone()),
        Boot::Slof => {
            let symbols = vec![&guest.symbols, &slof.symbols];
            (&slof, symbols, with_boot_disk(&plan.devices, &guest_file))
        }
    };
    let mut host = host_side(plan)?;
    let mut devices = qemu::plug(&devices, plan.seed);
    host.hv.iommus = qemu::add_iommu(&plan.machine, &mut devices);
    let memory = host.uv.memory_mut();
    let start = loader::load(memory, plan, devices.len(), first).map_err(CannotRun::Load)?;
    let machine = Machine::new(plan, host, devices, start, symbols);
    let mut stopped = machine.run(late).ok_or(CannotRun::WallClock)?;
    judge::judge(plan, &stopped.ended, &stopped.devices, &mut stopped.host);
    let needs_reset = judge::needs_reset(&stopped.devices);
    let (records, hash) = stopped.host.hv.recorder.finish();
    Ok(RunLog {
        records,
        ended: stopped.ended,
        hash,
        needs_reset,
        what_if: plan.what_if(),
        twins: Vec::new(),
    })
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
