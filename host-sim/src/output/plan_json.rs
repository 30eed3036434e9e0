//! A plan as JSON: what a saved log says about the run that it is of.

use crate::scenario::plan::{Boot, Contents, DeviceKind, DevicePlan, ImagePlan, Plan};
use firmware::bootargs::Rings;
use firmware::kernel::{Bug, Kernel};
use firmware::workload::{BlockOp, NetOp, Order, Placement, Work};
use serde_json::{Value, json};

/// The plan without the bytes of its files (their BLAKE3 stands for them) and its expectations.
pub fn plan(plan: &Plan) -> Value {
    let machine = &plan.machine;
    let guest = &plan.guest;
    let limits = &plan.limits;
    json!({
        "scenario": plan.scenario,
        "about": plan.about,
        "axes": plan.axes,
        "design": plan.design,
        "changes": plan.changes.iter().map(|layer| layer.name()).collect::<Vec<_>>(),
        "seed": plan.seed,
        "what_if": plan.what_if(),
        "machine": {
            "platform": machine.platform,
            "memory_bytes": machine.memory_bytes,
            "unit_bytes": machine.unit.bytes(),
            "swiotlb_bytes": machine.swiotlb_bytes,
            "cost": machine.cost,
            "kick_latency_ns": machine.kick_latency_ns,
            "on_tamper": machine.on_tamper,
            "interleave": if machine.interleave_touch { "touch" } else { "service" },
            "iommu": machine.iommu,
            "transport": machine.transport,
            "describes": machine.describes,
            "fdt_nodes": machine.fdt_nodes,
            "flips_at_esm": machine.flips_at_esm,
        },
        "guest": {
            "image": image(&guest.image),
            "boot": guest.boot,
            "boot_because": guest.boot_because,
            "command_line": guest.command_line,
            "modules": guest.modules.iter().map(|module| {
                json!({ "holds": file(&module.path, &module.bytes), "command_line": module.command_line })
            }).collect::<Vec<Value>>(),
            "secure": guest.secure,
            "marks": guest.marks,
            "kernel": kernel(guest.kernel),
            "tce": guest.tce.to_string(),
            "bug": guest.bug.map(bug),
            "switch": guest.switch.to_string(),
            "kexec": guest.kexec.to_string(),
            "slof_knows_tce": guest.slof_tce,
            "rings": rings(guest.rings),
            "waits": guest.waits.to_string(),
            "wait_ns": guest.wait_ns,
            "units_max": guest.units_max,
        },
        "limits": {
            "host_steps": limits.host_steps,
            "calls": limits.calls,
            "console_bytes": limits.console_bytes,
            "log_events": limits.log_events,
            "memory_bytes": limits.memory_bytes,
            "findings": limits.findings,
        },
        "devices": plan.devices.iter().enumerate().map(|(at, one)| {
            // The boot disk holds the guest's image, which a compiler may change.
            device(one, plan.guest.boot == Boot::Slof && at == 0)
        }).collect::<Vec<Value>>(),
        "work": plan.work.iter().map(work).collect::<Vec<Value>>(),
    })
}

fn image(image: &ImagePlan) -> Value {
    match image {
        ImagePlan::Builtin => json!("builtin"),
        ImagePlan::File { path, bytes } => file(path, bytes),
    }
}

fn file(path: &str, bytes: &[u8]) -> Value {
    json!({ "file": path, "bytes": bytes.len(), "blake3": blake3::hash(bytes).to_hex().as_str() })
}

/// The bootargs words: what the guest itself is told.
fn kernel(kernel: Kernel) -> Value {
    let text = kernel.to_string();
    let words = text.split(' ').filter_map(|word| word.strip_prefix("uvsim.")?.split_once('='));
    words.map(|(key, value)| (key.to_owned(), json!(value))).collect()
}

fn bug(bug: Bug) -> Value {
    json!({ "kind": bug.kind.to_string(), "every": bug.every })
}

fn rings(rings: Rings) -> &'static str {
    match rings {
        Rings::Together => "together",
        Rings::Apart => "apart",
    }
}

fn device(device: &DevicePlan, is_boot_disk: bool) -> Value {
    let kind = match &device.kind {
        DeviceKind::Blk { sectors, contents } => {
            let holds = match contents {
                Contents::Pattern => json!("pattern"),
                Contents::Zero => json!("zero"),
                Contents::File { .. } if is_boot_disk => json!("image"),
                Contents::File { path, bytes } => file(path, bytes),
            };
            json!({ "blk": { "sectors": sectors, "contents": holds } })
        }
        DeviceKind::Net { peer } => json!({ "net": { "peer": peer } }),
        DeviceKind::Console => json!("console"),
        DeviceKind::Entropy => json!("entropy"),
        DeviceKind::Balloon => json!("balloon"),
    };
    json!({
        "id": device.id,
        "kind": kind,
        "plugged": device.plugged,
        "qemu": device.options,
    })
}

fn work(work: &Work) -> Value {
    match work {
        Work::Block { ops, order, placement, refill } => json!({ "block": {
            "ops": ops.iter().flatten().map(block_op).collect::<Vec<Value>>(),
            "order": match order { Order::Sequential => "sequential", Order::Random => "random" },
            "placement": match placement {
                Placement::OwnUnit => "own-unit",
                Placement::Neighbour => "neighbour",
                Placement::BesideSecret => "beside-secret",
                Placement::Heap => "heap",
            },
            "refill": refill,
        } }),
        Work::Net { ops } => {
            json!({ "net": { "ops": ops.iter().flatten().map(net_op).collect::<Vec<Value>>() } })
        }
        Work::Console { lines } => json!({ "console": { "lines": lines } }),
        Work::Entropy { requests, bytes } => {
            json!({ "entropy": { "requests": requests, "bytes": bytes } })
        }
        Work::Balloon { pages } => json!({ "balloon": { "pages": pages } }),
    }
}

fn block_op(op: &BlockOp) -> Value {
    match op {
        BlockOp::Write { requests, bytes } => {
            json!({ "write": { "requests": requests, "bytes": bytes } })
        }
        BlockOp::Read { requests, bytes } => {
            json!({ "read": { "requests": requests, "bytes": bytes } })
        }
        BlockOp::ReadBack => json!("read-back"),
    }
}

fn net_op(op: &NetOp) -> Value {
    match op {
        NetOp::Transmit { frames, bytes } => {
            json!({ "transmit": { "frames": frames, "bytes": bytes } })
        }
        NetOp::Echo { frames, bytes } => json!({ "echo": { "frames": frames, "bytes": bytes } }),
    }
}
