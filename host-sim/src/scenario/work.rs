//! Workloads: what the file says into what the guest is told, and whether the devices fit it.

use super::codes::Code;
use super::draft::{DeviceDraft, Draft};
use super::file::{BlockOpFile, NetOpFile, WorkloadFile};
use super::plan::{Contents, DeviceKind, Peer};
use super::reading::{At, Located, Reader};
use super::size::Size;
use firmware::workload::{BlockOp, NetOp, OPS_MAX, Order, Placement, WORK_MAX, Work};
use std::ops::{Range, RangeInclusive};

/// Requests or frames of one step.
const REQUESTS: RangeInclusive<u32> = 1..=1_000_000;
/// Bytes of one block request: whole sectors, at most 1 MiB.
const BLOCK_BYTES: RangeInclusive<u64> = 512..=1 << 20;
/// Bytes of one Ethernet frame without its checksum.
const FRAME_BYTES: RangeInclusive<u64> = 60..=1514;
/// Bytes of one entropy request.
const ENTROPY_BYTES: RangeInclusive<u64> = 1..=4096;
/// Lines of a console workload.
const LINES: RangeInclusive<u32> = 1..=10_000;
/// Pages of 4 KiB: up to 256 MiB.
const BALLOON_PAGES: RangeInclusive<u32> = 1..=65_536;

/// Reads `workload:`.
pub fn read<'a>(reader: &mut Reader<'a>, file: At<WorkloadFile<'a>>) -> Vec<At<Work>> {
    let At { value, span } = file;
    let WorkloadFile::Mixed(list) = value else {
        return one(reader, value).map(|value| At { value, span }).into_iter().collect();
    };
    if list.is_empty() || list.len() > WORK_MAX {
        let message = format!("{} kinds of work: `Mixed` has 1 to {WORK_MAX}", list.len());
        reader.fault(Code::COUNT_LIMIT, &span, message, None);
        return Vec::new();
    }
    let mut works = Vec::new();
    for item in list {
        let Some(At { value, span }) = reader.take(item) else { continue };
        if matches!(value, WorkloadFile::Mixed(_)) {
            let message = "`Mixed` lists plain workloads, not another `Mixed`".to_owned();
            reader.fault(Code::CONTRADICTION, &span, message, None);
        } else if let Some(value) = one(reader, value) {
            works.push(At { value, span });
        }
    }
    works
}

fn one<'a>(reader: &mut Reader<'a>, file: WorkloadFile<'a>) -> Option<Work> {
    match file {
        WorkloadFile::None | WorkloadFile::Mixed(_) => None,
        WorkloadFile::Block { ops, order, placement, refill } => {
            let ops = steps(reader, ops, block_op)?;
            let order = order.map_or(Order::Sequential, Into::into);
            let placement = placement.map_or(Placement::OwnUnit, Into::into);
            Some(Work::Block { ops, order, placement, refill: refill.unwrap_or(true) })
        }
        WorkloadFile::Net { ops } => Some(Work::Net { ops: steps(reader, ops, net_op)? }),
        WorkloadFile::Console { lines } => {
            let lines = count(reader, lines, &LINES)?;
            Some(Work::Console { lines })
        }
        WorkloadFile::Entropy { requests, bytes } => {
            let requests = count(reader, requests, &REQUESTS);
            let bytes = bytes_in(reader, bytes, &ENTROPY_BYTES);
            Some(Work::Entropy { requests: requests?, bytes: bytes? })
        }
        WorkloadFile::Balloon { pages } => {
            let pages = count(reader, pages, &BALLOON_PAGES)?;
            Some(Work::Balloon { pages })
        }
    }
}

/// Reads the steps of a workload, each on its own.
fn steps<'a, F, S: Copy>(
    reader: &mut Reader<'a>,
    list: Located<'a, Vec<Located<'a, F>>>,
    step: impl Fn(&mut Reader<'a>, F) -> Option<S>,
) -> Option<[Option<S>; OPS_MAX]> {
    let At { value: list, span } = reader.take(list)?;
    if list.is_empty() || list.len() > OPS_MAX {
        let message = format!("{} steps: a workload has 1 to {OPS_MAX}", list.len());
        reader.fault(Code::COUNT_LIMIT, &span, message, None);
        return None;
    }
    let mut steps = [None; OPS_MAX];
    for (slot, item) in steps.iter_mut().zip(list) {
        *slot = reader.take(item).and_then(|at| step(reader, at.value));
    }
    Some(steps)
}

fn block_op<'a>(reader: &mut Reader<'a>, file: BlockOpFile<'a>) -> Option<BlockOp> {
    match file {
        BlockOpFile::Write { requests, bytes } => {
            let (requests, bytes) = block_requests(reader, requests, bytes)?;
            Some(BlockOp::Write { requests, bytes })
        }
        BlockOpFile::Read { requests, bytes } => {
            let (requests, bytes) = block_requests(reader, requests, bytes)?;
            Some(BlockOp::Read { requests, bytes })
        }
        BlockOpFile::ReadBack => Some(BlockOp::ReadBack),
    }
}

fn block_requests<'a>(
    reader: &mut Reader<'a>,
    requests: Located<'a, u32>,
    bytes: Located<'a, Size>,
) -> Option<(u32, u32)> {
    let requests = count(reader, requests, &REQUESTS);
    let bytes = reader.take(bytes)?;
    if !bytes.value.0.is_multiple_of(512) {
        let message = format!("{} bytes is not a whole number of sectors of 512", bytes.value.0);
        reader.fault(Code::OUT_OF_RANGE, &bytes.span, message, None);
        return None;
    }
    Some((requests?, in_range(reader, &bytes, &BLOCK_BYTES)?))
}

fn net_op<'a>(reader: &mut Reader<'a>, file: NetOpFile<'a>) -> Option<NetOp> {
    let (echo, frames, bytes) = match file {
        NetOpFile::Transmit { frames, bytes } => (false, frames, bytes),
        NetOpFile::Echo { frames, bytes } => (true, frames, bytes),
    };
    let frames = count(reader, frames, &REQUESTS);
    let bytes = bytes_in(reader, bytes, &FRAME_BYTES);
    let (frames, bytes) = (frames?, bytes?);
    Some(if echo { NetOp::Echo { frames, bytes } } else { NetOp::Transmit { frames, bytes } })
}

fn count<'a>(
    reader: &mut Reader<'a>,
    number: Located<'a, u32>,
    range: &RangeInclusive<u32>,
) -> Option<u32> {
    let At { value, span } = reader.take(number)?;
    if range.contains(&value) {
        return Some(value);
    }
    let message = format!("{value} is not from {} to {}", range.start(), range.end());
    reader.fault(Code::OUT_OF_RANGE, &span, message, None);
    None
}

fn bytes_in<'a>(
    reader: &mut Reader<'a>,
    bytes: Located<'a, Size>,
    range: &RangeInclusive<u64>,
) -> Option<u32> {
    let bytes = reader.take(bytes)?;
    in_range(reader, &bytes, range)
}

fn in_range(reader: &mut Reader<'_>, bytes: &At<Size>, range: &RangeInclusive<u64>) -> Option<u32> {
    let count = bytes.value.0;
    if range.contains(&count) {
        return u32::try_from(count).ok();
    }
    let [least, most] = [*range.start(), *range.end()].map(Size);
    let message = format!("{} is not from {least} to {most}", bytes.value);
    reader.fault(Code::OUT_OF_RANGE, &bytes.span, message, None);
    None
}

/// Refuses work that the devices cannot do.
pub fn check(reader: &mut Reader<'_>, draft: &Draft) {
    if !draft.devices_known {
        return;
    }
    for At { value, span } in &draft.work {
        match value {
            Work::Block { ops, .. } => check_block(reader, &draft.devices, ops, span),
            Work::Net { ops } => check_net(reader, &draft.devices, ops, span),
            Work::Console { .. } => {
                let device = first(&draft.devices, |kind| matches!(kind, DeviceKind::Console));
                demand(reader, device, "Console(id: \"console\")", span);
            }
            Work::Entropy { .. } => {
                let device = first(&draft.devices, |kind| matches!(kind, DeviceKind::Entropy));
                demand(reader, device, "Entropy(id: \"rng\")", span);
            }
            Work::Balloon { .. } => {
                let device = first(&draft.devices, |kind| matches!(kind, DeviceKind::Balloon));
                demand(reader, device, "Balloon(id: \"balloon\")", span);
            }
        }
    }
}

fn first(
    devices: &[At<DeviceDraft>],
    is_wanted: impl Fn(&DeviceKind) -> bool,
) -> Option<&DeviceDraft> {
    devices.iter().map(|at| &at.value).find(|device| is_wanted(&device.kind))
}

fn demand<'d>(
    reader: &mut Reader<'_>,
    device: Option<&'d DeviceDraft>,
    form: &str,
    span: &Range<usize>,
) -> Option<&'d DeviceDraft> {
    if device.is_none() {
        let message = "no device does this work".to_owned();
        let help = format!("add `{form}` to `devices`");
        reader.fault(Code::CONTRADICTION, span, message, Some(help));
    }
    device
}

fn check_block(
    reader: &mut Reader<'_>,
    devices: &[At<DeviceDraft>],
    ops: &[Option<BlockOp>; OPS_MAX],
    span: &Range<usize>,
) {
    let disk = first(devices, |kind| matches!(kind, DeviceKind::Blk { .. }));
    let form = "Blk(id: \"disk\", sectors: 4096)";
    let Some(DeviceKind::Blk { sectors, contents }) =
        demand(reader, disk, form, span).map(|d| &d.kind)
    else {
        return;
    };
    let reads = ops.iter().flatten().any(|op| matches!(op, BlockOp::Read { .. }));
    if reads && *contents != Contents::Pattern {
        let message =
            "`Read` compares what it reads with the pattern, and the disk does not hold it";
        let help = Some("say `contents: Pattern`, the default".to_owned());
        reader.fault(Code::CONTRADICTION, span, message.to_owned(), help);
    }
    let disk_bytes = sectors.saturating_mul(512);
    if disk_bytes == 0 {
        return; // Told at the disk.
    }
    let mut written = 0_u64;
    for (at, op) in ops.iter().enumerate() {
        // A step that could not be read may be the `Write` that is looked for.
        let all_known = ops[..at].iter().all(Option::is_some);
        let Some(op) = op else { continue };
        match op {
            BlockOp::Write { requests, bytes } | BlockOp::Read { requests, bytes } => {
                let total = u64::from(*requests) * u64::from(*bytes);
                written += if matches!(op, BlockOp::Write { .. }) { total } else { 0 };
                if total > disk_bytes {
                    let message = format!(
                        "{requests} requests of {bytes} bytes, each at its own place, need {total} \
                         bytes and the disk has {disk_bytes}"
                    );
                    reader.fault(Code::CONTRADICTION, span, message, None);
                }
            }
            BlockOp::ReadBack if written == 0 && all_known => {
                let message =
                    "`ReadBack` reads what a `Write` before it wrote: there is none".to_owned();
                reader.fault(Code::CONTRADICTION, span, message, None);
            }
            BlockOp::ReadBack => (),
        }
    }
}

fn check_net(
    reader: &mut Reader<'_>,
    devices: &[At<DeviceDraft>],
    ops: &[Option<NetOp>; OPS_MAX],
    span: &Range<usize>,
) {
    let net = first(devices, |kind| matches!(kind, DeviceKind::Net { .. }));
    let net = demand(reader, net, "Net(id: \"net\", peer: Echo)", span);
    let echoes = ops.iter().flatten().any(|op| matches!(op, NetOp::Echo { .. }));
    if echoes && net.is_some_and(|net| matches!(net.kind, DeviceKind::Net { peer: Peer::Sink })) {
        let message = "`Echo` waits for frames to come back, and the peer is a `Sink`".to_owned();
        reader.fault(Code::CONTRADICTION, span, message, Some("say `peer: Echo`".to_owned()));
    }
}
