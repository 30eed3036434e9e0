//! The end of a run: what disks, wires and consoles hold against what the guest meant, and
//! whether a secret shows anywhere.
//!
//! What was meant is computed from the plan alone (`firmware::pattern`); nothing is inferred from
//! page states.

use crate::device::Device;
use crate::event::{Compared, DeviceIndex, Ended, Event, LeakPlace};
use crate::host::HostSide;
use crate::scenario::plan::{Boot, DeviceKind, ImagePlan, Plan};
use crate::secrets::Sweep;
use firmware::pattern::{self, Pattern, SectorSource, Stream};
use firmware::workload::{BlockOp, NetOp, SECTOR_BYTES, Work, block_regions};
use std::sync::atomic::{AtomicBool, Ordering};

/// Where bytes differ.
#[derive(Debug, Default, PartialEq, Eq)]
struct Difference {
    compared: u64,
    wrong: u64,
    first: Option<u64>,
}

impl Difference {
    /// Counts `found` at `offset`; each byte is right if one of `right` has it there.
    fn add(&mut self, offset: u64, found: &[u8], right: &[&[u8]]) {
        self.compared += found.len() as u64;
        if right.contains(&found) {
            return;
        }
        for (place, byte) in found.iter().enumerate() {
            if !right.iter().any(|meant| meant.get(place) == Some(byte)) {
                self.wrong += 1;
                self.first.get_or_insert(offset + place as u64);
            }
        }
    }
}

/// Compares and searches, and writes down what it finds. Only the built-in guest's intentions are
/// known: other images are searched for leaks, not compared.
///
/// *Returns* whether it came to an end before somebody set `late`.
pub fn judge(
    plan: &Plan,
    (ended, devices): (&Ended, &[Device]),
    host: &mut HostSide,
    late: &AtomicBool,
) -> bool {
    if plan.guest.image == ImagePlan::Builtin {
        let finished = *ended == Ended::Exit(0);
        for work in &plan.work {
            if let Some(found) = compare(plan, work, finished, devices) {
                host.hv.recorder.push(found);
            }
        }
    }
    if host.secrets.any() {
        let Some(leaks) = leaks(devices, host, late) else { return false };
        for leak in leaks {
            host.hv.recorder.push(leak);
        }
    }
    true
}

/// The device that a kind of work uses: the first of that kind, slof's disk excluded.
fn device_for<'d>(plan: &Plan, work: &Work, devices: &'d [Device]) -> Option<&'d Device> {
    let skip = usize::from(plan.guest.boot == Boot::Slof);
    let fits = |kind: &DeviceKind| match work {
        Work::Block { .. } => matches!(kind, DeviceKind::Blk { .. }),
        Work::Net { .. } => matches!(kind, DeviceKind::Net { .. }),
        Work::Console { .. } => matches!(kind, DeviceKind::Console),
        Work::Entropy { .. } => matches!(kind, DeviceKind::Entropy),
        Work::Balloon { .. } => matches!(kind, DeviceKind::Balloon),
    };
    let place = plan.devices.iter().skip(skip).position(|device| fits(&device.kind))? + skip;
    devices.get(place)
}

fn compare(plan: &Plan, work: &Work, finished: bool, devices: &[Device]) -> Option<Event> {
    let device = device_for(plan, work, devices)?;
    let (what, found) = match work {
        Work::Block { ops, refill, .. } => {
            (Compared::Disk, disk(plan.seed, ops, *refill, finished, device)?)
        }
        Work::Net { ops } => (Compared::Wire, wire(plan.seed, ops, device)?),
        Work::Console { lines } => (Compared::Console, console(plan.seed, *lines, device)?),
        Work::Entropy { .. } | Work::Balloon { .. } => return None,
    };
    let Difference { compared, wrong, first } = found;
    let device = device.index();
    Some(Event::Comparison { device, what, bytes: compared, wrong, first_wrong: first })
}

/// Every sector that was to be written or that was written, against what the guest meant. While
/// the guest has not finished, a sector may also hold what it held at the start.
fn disk(
    seed: u64,
    ops: &[Option<BlockOp>],
    refill: bool,
    finished: bool,
    device: &Device,
) -> Option<Difference> {
    let disk = device.disk()?;
    let mut sectors: Vec<u64> = disk
        .written()
        .flat_map(|(offset, block)| {
            let first = offset / SECTOR_BYTES;
            first..first + block.len() as u64 / SECTOR_BYTES
        })
        .collect();
    for (op, region) in ops.iter().zip(block_regions(ops)) {
        if let (Some(BlockOp::Write { .. }), Some(region)) = (op, region) {
            let end = disk.sectors().min(region.first_sector + region.sectors());
            sectors.extend(region.first_sector..end);
        }
    }
    sectors.sort_unstable();
    sectors.dedup();
    let pattern = Pattern::new(seed, Stream::Written);
    let mut difference = Difference::default();
    let [mut found, mut before, mut meant] = [[0; SECTOR_BYTES as usize]; 3];
    for sector in sectors.into_iter().filter(|sector| *sector < disk.sectors()) {
        let offset = sector * SECTOR_BYTES;
        disk.read(offset, &mut found);
        disk.initial(offset, &mut before);
        match pattern::sector_at_end(ops, refill, sector) {
            SectorSource::Initial => difference.add(offset, &found, &[&before]),
            SectorSource::Written(position) => {
                pattern.fill(position, &mut meant);
                let right: &[&[u8]] = if finished { &[&meant] } else { &[&meant, &before] };
                difference.add(offset, &found, right);
            }
        }
    }
    Some(difference)
}

/// The frames that went out, in order, against those that the guest meant to send.
fn wire(seed: u64, ops: &[Option<NetOp>], device: &Device) -> Option<Difference> {
    let wire = device.frames_sent()?;
    let lengths = ops.iter().flatten().flat_map(|op| match op {
        NetOp::Transmit { frames, bytes } | NetOp::Echo { frames, bytes } => {
            std::iter::repeat_n(*bytes as usize, *frames as usize)
        }
    });
    let mut difference = Difference::default();
    let mut offset = 0;
    for ((number, sent), bytes) in (0..).zip(wire.kept()).zip(lengths.map(Some).chain([None])) {
        let mut meant = vec![0; bytes.unwrap_or(0)];
        pattern::frame(seed, number, &mut meant);
        difference.add(offset, sent, &[&meant]);
        offset += sent.len() as u64;
    }
    Some(difference)
}

/// What the console shows against the lines that the guest meant to print.
fn console(seed: u64, lines: u32, device: &Device) -> Option<Difference> {
    let text = device.text()?;
    let meant: Vec<u8> =
        (0..lines).flat_map(|line| pattern::console_line(seed, line)).take(text.len()).collect();
    let mut difference = Difference::default();
    difference.add(0, text, &[&meant]);
    Some(difference)
}

/// A declared secret in plain where the host side can see it: normal memory, disks, wires,
/// consoles. Each place is told once for each unit, block or frame. `None`: it was too late.
fn leaks(devices: &[Device], host: &HostSide, late: &AtomicBool) -> Option<Vec<Event>> {
    let memory = host.uv.memory();
    let unit = memory.unit();
    let mut found = Vec::new();
    let mut bytes = vec![0; usize::try_from(unit.bytes()).unwrap_or(0)];
    let mut sweep = Sweep::default();
    for (gfn, _) in memory.touched() {
        if late.load(Ordering::Relaxed) {
            return None;
        }
        if host.normal().read(unit.start(gfn), &mut bytes)
            && let Some(at) = sweep.find(&host.secrets, unit.start(gfn).0, &bytes)
        {
            found.push(Event::Leak { place: LeakPlace::Memory, at });
        }
    }
    if let Some(at) = host.secrets.find(host.hv.terminal()) {
        found.push(Event::Leak { place: LeakPlace::Console, at: at as u64 });
    }
    for device in devices {
        let blocks = device.disk().into_iter().flat_map(|disk| disk.written());
        let mut sweep = Sweep::default();
        for (start, block) in blocks {
            if late.load(Ordering::Relaxed) {
                return None;
            }
            if let Some(at) = sweep.find(&host.secrets, start, block) {
                found.push(Event::Leak { place: LeakPlace::Disk, at });
            }
        }
        for frame in device.frames_sent().into_iter().flat_map(|wire| wire.kept()) {
            if let Some(at) = host.secrets.find(frame) {
                found.push(Event::Leak { place: LeakPlace::Wire, at: at as u64 });
            }
        }
        if let Some(at) = device.text().and_then(|text| host.secrets.find(text)) {
            found.push(Event::Leak { place: LeakPlace::Console, at: at as u64 });
        }
    }
    Some(found)
}

/// Which devices are left in DEVICE_NEEDS_RESET.
pub fn needs_reset(devices: &[Device]) -> Vec<DeviceIndex> {
    devices.iter().filter(|device| device.needs_reset()).map(Device::index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_right_if_any_of_the_right_ones_has_it() {
        let mut difference = Difference::default();
        difference.add(100, b"abXd", &[b"abcd", b"aXYd"]);
        assert_eq!(difference, Difference { compared: 4, wrong: 1, first: Some(102) });
        difference.add(200, b"aXYd", &[b"abcd", b"aXYd"]);
        assert_eq!(difference.wrong, 1);
    }

    #[test]
    fn what_comes_after_the_last_meant_byte_is_wrong() {
        let mut difference = Difference::default();
        difference.add(0, b"abcd", &[b"ab"]);
        assert_eq!((difference.wrong, difference.first), (2, Some(2)));
    }
}
