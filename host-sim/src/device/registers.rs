//! Where virtio-mmio's registers are (virtio 1.4, 4.2.2 and 4.2.4).

use ultravisor_abi::ours::QUIRK_REGISTER;

/// One register of the table: [`REGISTERS`] gives each an offset and says who may use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Register {
    Magic,
    Version,
    DeviceId,
    Vendor,
    DeviceFeatures,
    DeviceFeaturesSel,
    DriverFeatures,
    DriverFeaturesSel,
    GuestPageSize,
    QueueSel,
    QueueSizeMax,
    QueueSize,
    QueueAlign,
    QueuePfn,
    QueueReady,
    QueueNotify,
    InterruptStatus,
    InterruptAck,
    Status,
    QueueDescLow,
    QueueDescHigh,
    QueueDriverLow,
    QueueDriverHigh,
    QueueDeviceLow,
    QueueDeviceHigh,
    ShmSel,
    ShmLenLow,
    ShmLenHigh,
    ShmBaseLow,
    ShmBaseHigh,
    Quirk,
    ConfigGeneration,
}

/// Which interface has a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interface {
    Both,
    Modern,
    Legacy,
}

/// Offset, register, interface that has it.
#[rustfmt::skip]
pub(super) const REGISTERS: [(u64, Register, Interface); 32] = {
    use {Interface::*, Register::*};
    [
        (0x000, Magic,             Both),
        (0x004, Version,           Both),
        (0x008, DeviceId,          Both),
        (0x00c, Vendor,            Both),
        (0x010, DeviceFeatures,    Both),
        (0x014, DeviceFeaturesSel, Both),
        (0x020, DriverFeatures,    Both),
        (0x024, DriverFeaturesSel, Both),
        (0x028, GuestPageSize,     Legacy),
        (0x030, QueueSel,          Both),
        (0x034, QueueSizeMax,      Both),
        (0x038, QueueSize,         Both),
        (0x03c, QueueAlign,        Legacy),
        (0x040, QueuePfn,          Legacy),
        (0x044, QueueReady,        Modern),
        (0x050, QueueNotify,       Both),
        (0x060, InterruptStatus,   Both),
        (0x064, InterruptAck,      Both),
        (0x070, Status,            Both),
        (0x080, QueueDescLow,      Modern),
        (0x084, QueueDescHigh,     Modern),
        (0x090, QueueDriverLow,    Modern),
        (0x094, QueueDriverHigh,   Modern),
        (0x0a0, QueueDeviceLow,    Modern),
        (0x0a4, QueueDeviceHigh,   Modern),
        (0x0ac, ShmSel,            Modern),
        (0x0b0, ShmLenLow,         Modern),
        (0x0b4, ShmLenHigh,        Modern),
        (0x0b8, ShmBaseLow,        Modern),
        (0x0bc, ShmBaseHigh,       Modern),
        (QUIRK_REGISTER, Quirk,    Modern),
        (0x0fc, ConfigGeneration,  Modern),
    ]
};
