//! A device's transport, whichever it is: `virtio-drivers`' over memory-mapped registers or over PCI.
#![expect(unsafe_code, reason = "device registers lie at addresses that the FDT names")]

use crate::device_tree::{Bus, Registers};
use crate::virtio::function::Function;
use crate::virtio::pci::Pci;
use core::ptr::{self, NonNull};
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{PhysAddr, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Either transport. What its methods do is what [`Transport`] says of those of the same name.
///
/// All devices' drivers share them, hence they are not inlined: the image is to stay small.
pub enum Either {
    /// Memory-mapped registers.
    Mmio(MmioTransport<'static>),
    /// A PCI function.
    Pci(Pci),
}

/// The same call of either.
macro_rules! either {
    ($either:expr, $transport:ident => $call:expr) => {
        match $either {
            Either::Mmio($transport) => $call,
            Either::Pci(Pci { transport: $transport, .. }) => $call,
        }
    };
}

impl Either {
    /// The transport of the device at `registers`; nothing if those are not a virtio device's that is
    /// known here.
    #[inline(never)]
    pub fn new(registers: &Registers) -> Option<Self> {
        match registers.bus {
            Bus::Mmio => {
                let header =
                    ptr::with_exposed_provenance_mut::<VirtIOHeader>(registers.base as usize);
                // SAFETY: the device tree says that these are the registers of a virtio-mmio device,
                // and no second driver is made for it.
                let transport =
                    unsafe { MmioTransport::new(NonNull::new(header)?, registers.bytes) };
                transport.ok().map(Self::Mmio)
            }
            Bus::Pci => Pci::new(Function(registers.base)).map(Self::Pci),
        }
    }

    #[inline(never)]
    pub fn device_type(&self) -> DeviceType {
        either!(self, transport => transport.device_type())
    }

    #[inline(never)]
    pub fn read_device_features(&mut self) -> u64 {
        either!(self, transport => transport.read_device_features())
    }

    #[inline(never)]
    pub fn write_driver_features(&mut self, features: u64) {
        either!(self, transport => transport.write_driver_features(features));
    }

    #[inline(never)]
    pub fn max_queue_size(&mut self, queue: u16) -> u32 {
        either!(self, transport => transport.max_queue_size(queue))
    }

    /// The one that each request needs.
    #[inline(always)]
    pub fn notify(&mut self, queue: u16) {
        match self {
            Self::Mmio(transport) => transport.notify(queue),
            Self::Pci(transport) => transport.notify(queue),
        }
    }

    #[inline(never)]
    pub fn get_status(&self) -> DeviceStatus {
        either!(self, transport => transport.get_status())
    }

    #[inline(never)]
    pub fn set_status(&mut self, status: DeviceStatus) {
        either!(self, transport => transport.set_status(status));
    }

    #[inline(never)]
    pub fn set_guest_page_size(&mut self, bytes: u32) {
        either!(self, transport => transport.set_guest_page_size(bytes));
    }

    #[inline(never)]
    pub fn requires_legacy_layout(&self) -> bool {
        either!(self, transport => transport.requires_legacy_layout())
    }

    /// Returns whether the device took the vector of the queue's interrupt, if it is to interrupt by
    /// message. If not, the queue is not set.
    #[inline(never)]
    pub fn queue_set(&mut self, queue: u16, size: u32, addresses: [PhysAddr; 3]) -> bool {
        match self {
            Self::Mmio(transport) => {
                let [table, avail, used] = addresses;
                transport.queue_set(queue, size, table, avail, used);
                true
            }
            Self::Pci(transport) => transport.queue_set(queue, size, addresses),
        }
    }

    #[inline(never)]
    pub fn queue_unset(&mut self, queue: u16) {
        either!(self, transport => transport.queue_unset(queue));
    }

    #[inline(never)]
    pub fn queue_used(&mut self, queue: u16) -> bool {
        either!(self, transport => transport.queue_used(queue))
    }

    #[inline(never)]
    pub fn ack_interrupt(&mut self) -> InterruptStatus {
        either!(self, transport => transport.ack_interrupt())
    }

    #[inline(never)]
    pub fn read_config_generation(&self) -> u32 {
        either!(self, transport => transport.read_config_generation())
    }

    #[inline(never)]
    pub fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T> {
        either!(self, transport => transport.read_config_space(offset))
    }

    #[inline(never)]
    pub fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        offset: usize,
        value: T,
    ) -> Result {
        either!(self, transport => transport.write_config_space(offset, value))
    }
}
