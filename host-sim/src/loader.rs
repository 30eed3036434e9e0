//! What lies in guest memory when the guest starts, and where it starts: boot protocol `elf64`
//! (`ultravisor_abi::boot`), Multiboot 1, PVH.

mod acpi;
mod bios;
mod map;
mod mp;
mod multiboot;
mod pvh;

pub use acpi::{PM1_CONTROL, PM1_EVENT};

use crate::fdt::{self, FdtSpec, Reserved};
use crate::image::{HANDOVER, Image};
use crate::iommu;
use crate::scenario::plan::{Boot, Describes, ImagePlan, Iommu, MachinePlan, Plan, Transport};
use crate::scenario::start;
use firmware::bootargs::{BootArgs, Waits};
use firmware::workload::WORK_MAX;
use std::ops::Range;
use ultravisor::memory::Memory;
use ultravisor::platform::RamRange;
use ultravisor_abi::Gpa;
use ultravisor_abi::boot::{FDT, HIGH_RAM, IMAGES, LOW_RAM_END, PAGE_TABLES, STACK_BYTES};

/// Page-table entry: present and writable (SDM volume 3, table 4-15).
const PRESENT_WRITABLE: u64 = 0b11;
/// Page-directory entry: maps 2 MiB (SDM volume 3, table 4-18, PS).
const LARGE: u64 = 1 << 7;
/// Page directories for the low 4 GiB.
const DIRECTORIES: u64 = 4;

/// Guest RAM of `bytes` bytes: up to 3 GiB at 0, the rest from 4 GiB.
pub fn ram(bytes: u64) -> Vec<RamRange> {
    let low = bytes.min(LOW_RAM_END.0);
    let mut ranges = vec![RamRange { start: Gpa(0), bytes: low }];
    if bytes > low {
        ranges.push(RamRange { start: HIGH_RAM, bytes: bytes - low });
    }
    ranges
}

/// What their addresses are multiples of.
const RESERVED_ALIGN: u64 = 2 << 20;
/// What the size of a pool is a multiple of: a set of swiotlb slots.
const POOL_ALIGN: u64 = 256 << 10;
/// Room for rings, in a range for all devices and in a pool for one.
const RANGE_RINGS_BYTES: u64 = 1 << 20;
const POOL_RINGS_BYTES: u64 = 256 << 10;

/// What is reserved for `devices` devices: at the top of the low RAM, below the stack, the first
/// device's highest.
///
/// # Errors
/// That it does not fit, in words.
pub fn reserved(machine: &MachinePlan, devices: usize) -> Result<Reserved, String> {
    let low_end = machine.memory_bytes.min(LOW_RAM_END.0);
    let mut end = low_end.saturating_sub(STACK_BYTES);
    let mut below = |bytes: u64| {
        let start = end.checked_sub(bytes).map(|start| start & !(RESERVED_ALIGN - 1));
        let start = start.filter(|start| *start > IMAGES.0);
        end = start.ok_or("what the FDT reserves does not fit into the low RAM")?;
        Ok::<_, String>(RamRange { start: Gpa(end), bytes })
    };
    let share = machine.swiotlb_bytes / devices.max(1) as u64;
    let pool = (share & !(POOL_ALIGN - 1)).max(2 * POOL_ALIGN) + POOL_RINGS_BYTES;
    Ok(match machine.describes {
        Describes::Nothing => Reserved::Nothing,
        Describes::DmaRange => {
            Reserved::DmaRange(below(machine.swiotlb_bytes.saturating_add(RANGE_RINGS_BYTES))?)
        }
        Describes::RestrictedPools => {
            Reserved::Pools((0..devices).map(|_| below(pool)).collect::<Result<_, _>>()?)
        }
    })
}

/// How the CPU begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// In long mode.
    Long(Long),
    /// In 32-bit protected mode, without paging.
    Protected(Protected),
}

/// Where the CPU begins in long mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Long {
    /// First instruction.
    pub rip: u64,
    /// Stack.
    pub rsp: u64,
    /// Page tables.
    pub cr3: u64,
    /// FDT address, in `rdi`.
    pub rdi: u64,
}

/// Where the CPU begins in 32-bit protected mode: flat segments, no paging, no interrupts, no tables
/// (Multiboot Specification 0.6.96, 3.2; Xen's `docs/misc/pvh.pandoc`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protected {
    /// First instruction.
    pub eip: u32,
    /// What says that it was loaded by a Multiboot loader; 0 for PVH, which leaves it open.
    pub eax: u32,
    /// Where what is handed over begins.
    pub ebx: u32,
}

/// A file in the guest's memory, and what is said of it.
struct Module<'p> {
    place: Range<u64>,
    command_line: &'p str,
}

/// Writes what a guest with `devices` device slots finds when it starts, and `image`, into its memory.
///
/// # Errors
/// What does not fit, in words.
pub fn load(
    memory: &mut Memory,
    plan: &Plan,
    devices: usize,
    image: &Image,
) -> Result<Start, String> {
    for segment in &image.segments {
        write(memory, segment.gpa, &segment.bytes)?;
    }
    match plan.guest.boot {
        Boot::Elf64 | Boot::Slof => long(memory, plan, devices, image.entry).map(Start::Long),
        Boot::Multiboot1 => protected(memory, plan, devices, image, multiboot::hand_over),
        Boot::Pvh => protected(memory, plan, devices, image, pvh::hand_over),
    }
}

/// Page tables and FDT.
fn long(memory: &mut Memory, plan: &Plan, devices: usize, entry: u64) -> Result<Long, String> {
    page_tables(memory)?;
    let machine = &plan.machine;
    let window_bytes = iommu::window_bytes(machine.memory_bytes);
    let spec = FdtSpec {
        memory_bytes: machine.memory_bytes,
        ultravisor_unit: plan.guest.secure.then_some(machine.unit),
        devices,
        pci: machine.transport == Transport::Pci,
        bootargs: boot_args(plan).to_string(),
        // The built-in guest that polls has no use for them, and a longer tree takes longer to read.
        interrupts: plan.guest.waits == Waits::Interrupts || plan.guest.image != ImagePlan::Builtin,
        dma_window_bytes: (machine.iommu == Iommu::Tce).then_some(window_bytes),
        reserved: reserved(machine, devices)?,
        nodes_min: machine.fdt_nodes,
    };
    let tree = fdt::build(&spec).map_err(|error| error.to_string())?;
    write(memory, FDT, &tree)?;
    let top = plan.machine.memory_bytes.min(LOW_RAM_END.0);
    Ok(Long { rip: entry, rsp: top, cr3: PAGE_TABLES.0, rdi: FDT.0 })
}

/// What a protocol hands over: from entry, memory map, command line and modules to the bytes from the
/// start of [`HANDOVER`] on.
type HandOver = fn(u32, &[map::Range], &str, &[Module<'_>]) -> (Vec<u8>, Protected);

/// Modules, and what tells of them; and what a PC's firmware leaves in memory.
fn protected(
    memory: &mut Memory,
    plan: &Plan,
    devices: usize,
    image: &Image,
    hand_over: HandOver,
) -> Result<Start, String> {
    let guest = &plan.guest;
    let sizes = guest.modules.iter().map(|module| module.bytes.len() as u64);
    let places: Vec<Range<u64>> = start::places(image.end(), sizes).collect();
    for (module, place) in guest.modules.iter().zip(&places) {
        write(memory, Gpa(place.start), &module.bytes)?;
    }
    let said = guest.modules.iter().zip(places);
    let modules: Vec<Module<'_>> =
        said.map(|(module, place)| Module { place, command_line: &module.command_line }).collect();
    let map = map::memory_map(&ram(plan.machine.memory_bytes));
    let entry = u32::try_from(image.entry).map_err(|_| "the entry is not below 4 GiB")?;
    let (bytes, start) = hand_over(entry, &map, &guest.command_line, &modules);
    if HANDOVER.start + bytes.len() as u64 > HANDOVER.end {
        return Err(format!("{} bytes of command lines and lists do not fit", bytes.len()));
    }
    write(memory, Gpa(HANDOVER.start), &bytes)?;
    write(memory, Gpa(bios::DATA_AREA), &bios::data_area())?;
    let told = acpi::Told { devices, transport: plan.machine.transport };
    let mut tables = acpi::tables(told);
    tables.resize(tables.len().next_multiple_of(16), 0);
    let after = acpi::RSDP + tables.len() as u64;
    tables.extend(mp::tables(after, told));
    write(memory, Gpa(acpi::RSDP), &tables)?;
    Ok(Start::Protected(start))
}

/// What the guest is told.
pub fn boot_args(plan: &Plan) -> BootArgs {
    let mut work = [None; WORK_MAX];
    for (slot, asked) in work.iter_mut().zip(&plan.work) {
        *slot = Some(*asked);
    }
    BootArgs {
        secure: plan.guest.secure,
        boot_disk: plan.guest.boot == Boot::Slof,
        seed: plan.seed,
        kernel: plan.guest.kernel,
        tce: plan.guest.tce,
        bug: plan.guest.bug,
        switch: plan.guest.switch,
        kexec: plan.guest.kexec,
        slof_tce: plan.guest.slof_tce,
        swiotlb_bytes: plan.machine.swiotlb_bytes,
        rings: plan.guest.rings,
        waits: plan.guest.waits,
        work,
        wait_ns: plan.guest.wait_ns,
    }
}

/// The low 4 GiB, identity-mapped by 2 MiB pages: one table of each upper level, four directories.
fn page_tables(memory: &mut Memory) -> Result<(), String> {
    let page = |number: u64| PAGE_TABLES.0 + number * 4096;
    write(memory, Gpa(page(0)), &(page(1) | PRESENT_WRITABLE).to_le_bytes())?;
    for directory in 0..DIRECTORIES {
        let entry = page(2 + directory) | PRESENT_WRITABLE;
        write(memory, Gpa(page(1) + directory * 8), &entry.to_le_bytes())?;
        for index in 0..512 {
            let entry = ((directory * 512 + index) << 21) | PRESENT_WRITABLE | LARGE;
            write(memory, Gpa(page(2 + directory) + index * 8), &entry.to_le_bytes())?;
        }
    }
    Ok(())
}

fn write(memory: &mut Memory, gpa: Gpa, bytes: &[u8]) -> Result<(), String> {
    if bytes.is_empty() {
        return Ok(());
    }
    if !memory.is_ram(gpa, bytes.len() as u64) || !memory.normal().write(gpa, bytes) {
        return Err(format!(
            "{} bytes at {:#x} do not fit into the guest's RAM",
            bytes.len(),
            gpa.0
        ));
    }
    let unit = memory.unit();
    let last = Gpa(gpa.0 + bytes.len() as u64 - 1);
    for gfn in unit.gfn(gpa).0..=unit.gfn(last).0 {
        memory.note_write(ultravisor_abi::Gfn(gfn));
    }
    Ok(())
}
