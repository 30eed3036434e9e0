//! The registers of virtio-pci (virtio 1.4, 4.1.4), which lie in one BAR of the function as QEMU's
//! `hw/virtio/virtio-pci.c` lays them out.
//!
//! As in QEMU an access counts by where it begins: at a field's offset it is the field, as wide as the
//! access; elsewhere it reads 0 and is ignored when written.

use super::{Effect, Transport, half};
use crate::device::registers::Register;
use crate::event::QueueIndex;
use std::collections::BTreeSet;
use std::mem::take;

/// No message (virtio 1.4, 4.1.4.3: VIRTIO_MSI_NO_VECTOR).
pub(super) const NO_VECTOR: u16 = 0xffff;

/// Where each structure begins, and where the last ends.
const COMMON: u64 = 0;
const ISR: u64 = 0x1000;
const DEVICE: u64 = 0x2000;
const NOTIFY: u64 = 0x3000;
const END: u64 = 0x4000;
/// Bytes from one queue's notification to the next (`notify_off_multiplier`).
const NOTIFY_STRIDE: u64 = 4;

/// A field of `virtio_pci_common_cfg`; of a wide one, its halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    DeviceFeatureSelect,
    DeviceFeature,
    DriverFeatureSelect,
    DriverFeature,
    ConfigVector,
    NumQueues,
    DeviceStatus,
    ConfigGeneration,
    QueueSelect,
    QueueSize,
    QueueVector,
    QueueEnable,
    QueueNotifyOff,
    QueueDescLow,
    QueueDescHigh,
    QueueDriverLow,
    QueueDriverHigh,
    QueueDeviceLow,
    QueueDeviceHigh,
}

/// Offset, field.
#[rustfmt::skip]
const FIELDS: [(u64, Field); 19] = {
    use Field::*;
    [
        (0x00, DeviceFeatureSelect),
        (0x04, DeviceFeature),
        (0x08, DriverFeatureSelect),
        (0x0c, DriverFeature),
        (0x10, ConfigVector),
        (0x12, NumQueues),
        (0x14, DeviceStatus),
        (0x15, ConfigGeneration),
        (0x16, QueueSelect),
        (0x18, QueueSize),
        (0x1a, QueueVector),
        (0x1c, QueueEnable),
        (0x1e, QueueNotifyOff),
        (0x20, QueueDescLow),
        (0x24, QueueDescHigh),
        (0x28, QueueDriverLow),
        (0x2c, QueueDriverHigh),
        (0x30, QueueDeviceLow),
        (0x34, QueueDeviceHigh),
    ]
};

/// A structure, and an offset in it.
enum At {
    Common(u64),
    Isr,
    Device(u64),
    Notify(u64),
    Nowhere,
}

const fn at(offset: u64) -> At {
    match offset {
        ..ISR => At::Common(offset - COMMON),
        ISR => At::Isr,
        DEVICE..NOTIFY => At::Device(offset - DEVICE),
        NOTIFY..END => At::Notify(offset - NOTIFY),
        _ => At::Nowhere,
    }
}

/// Which queue an access at `offset` notifies, whatever is written.
pub(super) fn notified(offset: u64) -> Option<QueueIndex> {
    match at(offset) {
        At::Notify(at) => u16::try_from(at / NOTIFY_STRIDE).ok().map(QueueIndex),
        At::Common(_) | At::Isr | At::Device(_) | At::Nowhere => None,
    }
}

impl Transport {
    /// Its number (virtio 1.4, 5).
    pub fn device_id(&self) -> u32 {
        self.identity.device_id
    }

    /// Vectors whose messages are to be sent.
    pub fn take_asked(&mut self) -> BTreeSet<u16> {
        take(&mut self.asked)
    }

    /// Has a message sent.
    pub(super) fn ask(&mut self, vector: u16) {
        if vector != NO_VECTOR {
            self.asked.insert(vector);
        }
    }

    /// A read of the function's registers.
    pub(super) fn read_pci(&mut self, offset: u64, bytes: u8) -> u64 {
        if bytes == 8 {
            return self.read_pci(offset, 4) | self.read_pci(offset.wrapping_add(4), 4) << 32;
        }
        let value = match at(offset) {
            At::Common(at) => field(at).map_or(0, |field| self.read_field(field)),
            // Whoever reads it acknowledges (4.1.4.5).
            At::Isr => take(&mut self.interrupt_status),
            At::Device(at) => return self.read_config(at, bytes),
            At::Notify(_) | At::Nowhere => 0,
        };
        u64::from(value) & low(bytes)
    }

    /// A write of them.
    pub(super) fn write_pci(&mut self, offset: u64, bytes: u8, value: u64) -> Effect {
        if bytes == 8 && !matches!(at(offset), At::Notify(_) | At::Device(_)) {
            let first = self.write_pci(offset, 4, value & low(4));
            let second = self.write_pci(offset.wrapping_add(4), 4, value >> 32);
            return if second == Effect::Nothing { first } else { second };
        }
        match at(offset) {
            At::Common(at) => field(at).map_or(Effect::Nothing, |field| {
                self.write_field(field, (value & low(bytes)) as u32)
            }),
            At::Device(at) => self.write_config(at, bytes, value),
            At::Notify(_) => {
                let queue = notified(offset).filter(|queue| queue.0 < self.identity.queues);
                queue.map_or(Effect::Nothing, Effect::Notify)
            }
            At::Isr | At::Nowhere => Effect::Nothing,
        }
    }

    fn read_field(&self, field: Field) -> u32 {
        let queue = self.queues.get(self.queue_sel as usize);
        match field {
            Field::DeviceFeatureSelect => self.device_features_sel,
            Field::DeviceFeature => half(self.offered(), self.device_features_sel),
            Field::DriverFeatureSelect => self.driver_features_sel,
            Field::DriverFeature => half(self.requested, self.driver_features_sel),
            Field::ConfigVector => u32::from(self.config_vector),
            Field::NumQueues => u32::from(self.identity.queues),
            Field::DeviceStatus => u32::from(self.status),
            Field::ConfigGeneration => self.generation & 0xff,
            Field::QueueSelect => self.queue_sel,
            // 0: there is no such queue.
            Field::QueueSize => queue.map_or(0, |queue| queue.size),
            Field::QueueVector => u32::from(queue.map_or(NO_VECTOR, |queue| queue.vector)),
            Field::QueueEnable => queue.map_or(0, |queue| u32::from(queue.ready)),
            Field::QueueNotifyOff => queue.map_or(0, |_| self.queue_sel),
            Field::QueueDescLow => queue.map_or(0, |queue| half(queue.desc, 0)),
            Field::QueueDescHigh => queue.map_or(0, |queue| half(queue.desc, 1)),
            Field::QueueDriverLow => queue.map_or(0, |queue| half(queue.avail, 0)),
            Field::QueueDriverHigh => queue.map_or(0, |queue| half(queue.avail, 1)),
            Field::QueueDeviceLow => queue.map_or(0, |queue| half(queue.used, 0)),
            Field::QueueDeviceHigh => queue.map_or(0, |queue| half(queue.used, 1)),
        }
    }

    fn write_field(&mut self, field: Field, value: u32) -> Effect {
        let register = match field {
            Field::DeviceFeatureSelect => Register::DeviceFeaturesSel,
            Field::DriverFeatureSelect => Register::DriverFeaturesSel,
            Field::DriverFeature => Register::DriverFeatures,
            Field::DeviceStatus => Register::Status,
            Field::QueueSelect => Register::QueueSel,
            Field::QueueSize => Register::QueueSize,
            // A driver cannot take it back (4.1.4.3.2).
            Field::QueueEnable if value == 1 => Register::QueueReady,
            Field::QueueDescLow => Register::QueueDescLow,
            Field::QueueDescHigh => Register::QueueDescHigh,
            Field::QueueDriverLow => Register::QueueDriverLow,
            Field::QueueDriverHigh => Register::QueueDriverHigh,
            Field::QueueDeviceLow => Register::QueueDeviceLow,
            Field::QueueDeviceHigh => Register::QueueDeviceHigh,
            Field::ConfigVector => {
                self.config_vector = self.vector(value);
                return Effect::Nothing;
            }
            Field::QueueVector => {
                let vector = self.vector(value);
                if let Some(queue) = self.queues.get_mut(self.queue_sel as usize) {
                    queue.vector = vector;
                }
                return Effect::Nothing;
            }
            Field::QueueEnable
            | Field::DeviceFeature
            | Field::NumQueues
            | Field::ConfigGeneration
            | Field::QueueNotifyOff => {
                tracing::debug!(?field, value, "write to a read-only field");
                return Effect::Nothing;
            }
        };
        self.write_register(register, value)
    }

    /// A vector as it reads back: the function has one for each queue and one more.
    fn vector(&self, value: u32) -> u16 {
        let vector = u16::try_from(value).unwrap_or(NO_VECTOR);
        if vector <= self.identity.queues { vector } else { NO_VECTOR }
    }
}

fn field(at: u64) -> Option<Field> {
    FIELDS.iter().find(|row| row.0 == at).map(|row| row.1)
}

/// The low `bytes` bytes.
fn low(bytes: u8) -> u64 {
    u64::MAX >> (64 - 8 * u32::from(bytes.clamp(1, 8)))
}
