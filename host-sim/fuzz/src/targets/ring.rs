//! The device side of the rings under a hostile driver: registers, descriptors, rings and buffers
//! written in any order.

use super::rig::{Areas, BUFFERS, Buffer, MEMORY_BYTES, RING, Rig, disk, options};
use arbitrary::{Result, Unstructured};
use host_sim::device::{Device, Serviced};
use host_sim::event::DeviceIndex;
use host_sim::scenario::plan::{DeviceKind, Peer, QemuOptions, Transport};

/// Actions of one driver.
const ACTIONS_MAX: usize = 64;
/// A ring's worth of chains of 1,024 descriptors is the most, each touched five times.
const TOUCHES_MAX: usize = 5 * 1024 * RING as usize;

fn rig(u: &mut Unstructured<'_>) -> Result<Rig> {
    let kind = match u.int_in_range(0..=6)? {
        0 | 1 => disk(64),
        2 => DeviceKind::Net { peer: Peer::Echo },
        3 => DeviceKind::Console,
        4 => DeviceKind::Balloon,
        5 => DeviceKind::Entropy,
        _ => {
            let mut rig = Rig::around(Device::virtio_iommu(DeviceIndex(0), Transport::Mmio));
            rig.start();
            return Ok(rig);
        }
    };
    let (legacy, event_idx, indirect_desc) = (u.arbitrary()?, u.arbitrary()?, u.arbitrary()?);
    Ok(Rig::new(kind, QemuOptions { legacy, event_idx, indirect_desc, ..options() }))
}

fn address(u: &mut Unstructured<'_>, rig: &Rig) -> Result<u64> {
    let Areas { desc, avail, used } = rig.areas(u.int_in_range(0..=1)?);
    Ok(match u.arbitrary::<u8>()? {
        0..=99 => BUFFERS + u64::from(u.arbitrary::<u16>()?),
        100..=139 => desc + u.int_in_range(0..=16 * u64::from(RING))?,
        140..=199 => avail + u.int_in_range(0..=64)?,
        200..=239 => used + u.int_in_range(0..=64)?,
        240..=249 => MEMORY_BYTES - u.int_in_range(0..=32)?,
        _ => u.arbitrary()?,
    })
}

fn act(u: &mut Unstructured<'_>, rig: &mut Rig) -> Result<()> {
    match u.int_in_range(0..=9)? {
        0 | 1 => {
            let table = rig.areas(u.int_in_range(0..=1)?).desc;
            let at = table + 16 * u.int_in_range(0..=u64::from(RING) - 1)?;
            let buffer = Buffer {
                at: address(u, rig)?,
                bytes: if u.ratio(7, 8)? { u.int_in_range(0..=4096)? } else { u.arbitrary()? },
                flags: if u.ratio(7, 8)? { u.int_in_range(0..=7)? } else { u.arbitrary()? },
            };
            let next = if u.ratio(7, 8)? { u.int_in_range(0..=RING)? } else { u.arbitrary()? };
            rig.descriptor(at, buffer, next);
        }
        2 | 3 => {
            let (queue, head) = (u.int_in_range(0..=1)?, u.int_in_range(0..=RING)?);
            rig.offer_head(queue, head);
        }
        4 => {
            let at = address(u, rig)?.min(MEMORY_BYTES - 8);
            rig.write(at, &u.arbitrary::<u64>()?.to_le_bytes());
        }
        5 => {
            let offset = if u.ratio(7, 8)? { u.int_in_range(0..=0x120)? } else { u.arbitrary()? };
            let bytes = *u.choose(&[1, 2, 4, 8])?;
            rig.device.write(offset, bytes, u.arbitrary()?);
            rig.device.read(offset, bytes);
        }
        6 if u.ratio(1, 4)? => rig.start(),
        _ => {
            let queue = u.int_in_range(0..=2)?;
            rig.host.seen.clear();
            let serviced = rig.serve(queue);
            assert_ne!(serviced, Serviced::QemuKilled, "nothing was poisoned");
            assert!(rig.host.seen.len() < TOUCHES_MAX, "{} touches", rig.host.seen.len());
            rig.host.events.clear();
            rig.host.given.clear();
        }
    }
    Ok(())
}

pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(mut rig) = rig(&mut u) else { return };
    for _ in 0..ACTIONS_MAX {
        if u.is_empty() || act(&mut u, &mut rig).is_err() {
            break;
        }
    }
}
