//! Boot protocol `elf64`: where things lie when a guest starts (design, section 5).
//!
//! Static ET_EXEC ELF64; long mode; the low 4 GiB identity-mapped; interrupts off; `rdi` = FDT
//! address; `rsp` = a stack; entry `e_entry`. Segments load at `p_paddr`, which equals `p_vaddr`.

use crate::Gpa;

/// End of the RAM below 4 GiB (exclusive). The rest of a larger RAM starts at [`HIGH_RAM`].
pub const LOW_RAM_END: Gpa = Gpa(0xc000_0000);
/// Start of the RAM that does not fit below [`LOW_RAM_END`]. Not mapped at entry.
pub const HIGH_RAM: Gpa = Gpa(0x1_0000_0000);
/// The page tables that the machine builds: up to [`PAGE_TABLES_END`].
pub const PAGE_TABLES: Gpa = Gpa(0x1000);
/// End of the page tables (exclusive).
pub const PAGE_TABLES_END: Gpa = Gpa(0x8000);
/// The flattened device tree: up to [`FDT_END`].
pub const FDT: Gpa = Gpa(0x1_0000);
/// End of the room for the device tree (exclusive).
pub const FDT_END: Gpa = Gpa(0x8_0000);
/// Boot firmware (slof) lies from here up to [`IMAGES`].
pub const SLOF: Gpa = Gpa(0x8_0000);
/// The stack that a guest starts with begins at the end of the low RAM, and has so much room, in
/// bytes: neither its image nor what is reserved for devices lies there.
pub const STACK_BYTES: u64 = 1 << 20;
/// Guest images lie from here on.
pub const IMAGES: Gpa = Gpa(0x10_0000);
/// The first virtio-mmio device. In the FDT too.
pub const VIRTIO_MMIO: Gpa = Gpa(0xd000_0000);
/// Bytes from one virtio-mmio device to the next.
pub const VIRTIO_MMIO_STRIDE: u64 = 0x1000;
/// Where PCI functions' memory lies unless the guest moves it: up to [`PCI_MEMORY_END`].
pub const PCI_MEMORY: Gpa = Gpa(0xd800_0000);
/// End of the room for PCI functions' memory (exclusive).
pub const PCI_MEMORY_END: Gpa = Gpa(0xdc00_0000);
/// Configuration space of PCI bus 0, the only one, as memory (ECAM): 4 KiB for each function, its
/// device number in bits 15 to 19 and its function number in bits 12 to 14 (PCI Express Base
/// Specification 5.0, 7.2.2). Device 0 is the host bridge, and device slot n is device n + 1.
pub const PCI_ECAM: Gpa = Gpa(0xe000_0000);
/// Bytes of configuration space of one bus.
pub const PCI_ECAM_BYTES: u64 = 1 << 20;
/// The I/O APIC's registers.
pub const IO_APIC: Gpa = Gpa(0xfec0_0000);
/// The local APIC's registers.
pub const LOCAL_APIC: Gpa = Gpa(0xfee0_0000);
/// The first input of the I/O APIC that virtio devices are at, level-triggered; in the FDT too.
pub const VIRTIO_INPUT: usize = 16;
/// How many inputs they share: device n is at the first plus n modulo this.
pub const VIRTIO_INPUTS: usize = 8;
/// `/chosen/bootargs` is NUL-padded to this many bytes, so that its length never changes timing.
pub const BOOTARGS_BYTES: usize = 2048;
/// `compatible` of the FDT node that says that an ultravisor is there (kernel
/// `arch/powerpc/platforms/powernv/ultravisor.c` looks for this string).
pub const ULTRAVISOR_COMPATIBLE: &str = "ibm,ultravisor";
/// Path of that node below the root.
pub const ULTRAVISOR_NODE: &str = "ibm,ultravisor";
/// Property of that node: the unit size in bytes, a 32-bit cell.
pub const ULTRAVISOR_UNIT_PROPERTY: &str = "uvsim,unit-bytes";
