//! A machine without page protection, host or clock model: flat RAM, one CPU, devices that can be
//! told to misbehave. It shows what the guest images do by themselves.

pub mod device;
pub mod ram;

use device::Device;
use firmware::bootargs::{BootArgs, Rings};
use firmware::kernel::{Kernel, Kexec, Switch, Tce};
use firmware::workload::WORK_MAX;
use host_sim::fdt::{self, FdtSpec};
use host_sim::image::Image;
use ram::Ram;
use std::collections::BTreeMap;
use ultravisor_abi::boot::{FDT, VIRTIO_MMIO, VIRTIO_MMIO_STRIDE};
use ultravisor_abi::{Hcall, OurCall, ReportKind, Ucall, UnitSize};
use ultravisor_cpu::{Cpu, Exit, Reg};

pub const MEMORY: u64 = 64 << 20;
const UNITS_MAX: u64 = 200_000_000;

/// What the guest did, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Did {
    Ucall(Ucall, u64, u64),
    Mark(u64),
    Secret(u64, u64),
    Report(ReportKind, String),
    /// An access to the registers of the device with this index.
    Mmio(u64),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Exit(u64),
    Other(Exit),
}

pub struct Flat {
    pub ram: Ram,
    pub cpu: Cpu,
    pub devices: Vec<Device>,
    pub did: Vec<Did>,
    pub console: String,
    /// What UV_ESM returns.
    pub esm_status: i64,
    /// How often each watched function was entered.
    pub entered: BTreeMap<&'static str, u64>,
    watched: BTreeMap<u64, &'static str>,
    now_ns: u64,
}

/// What a guest is told if a test says nothing else.
pub fn args() -> BootArgs {
    BootArgs {
        secure: false,
        boot_disk: false,
        seed: 7,
        kernel: Kernel::LINUX_2018,
        tce: Tce::Single,
        bug: None,
        switch: Switch::BeforeProbe,
        kexec: Kexec::Never,
        slof_tce: false,
        swiotlb_bytes: 1 << 20,
        rings: Rings::Together,
        work: [None; WORK_MAX],
        wait_ns: 1_000_000,
    }
}

impl Flat {
    /// A machine about to start `image` with these bootargs and devices.
    pub fn new(image: &Image, bootargs: String, secure: bool, devices: Vec<Device>) -> Self {
        let mut ram = Ram::new(MEMORY);
        let root = ram.identity_map();
        let spec = FdtSpec {
            memory_bytes: MEMORY,
            ultravisor_unit: secure.then_some(UnitSize::KIB_64),
            devices: devices.len(),
            bootargs,
        };
        ram.write(FDT.0, &fdt::build(&spec).expect("the spec is good"));
        for segment in &image.segments {
            ram.write(segment.gpa.0, &segment.bytes);
        }
        let mut cpu = Cpu::new();
        cpu.enter_long_mode(root, image.entry, MEMORY);
        cpu.regs.gpr[Reg::Rdi] = FDT.0;
        Self {
            ram,
            cpu,
            devices,
            did: Vec::new(),
            console: String::new(),
            esm_status: 0,
            entered: BTreeMap::new(),
            watched: BTreeMap::new(),
            now_ns: 0,
        }
    }

    /// Counts how often these functions of `image` are entered.
    pub fn watch(&mut self, image: &Image, names: &[&'static str]) {
        for name in names {
            let address = image.symbols.address(name).expect("the image has it");
            self.cpu.break_at(address);
            self.watched.insert(address, name);
        }
    }

    pub fn run(&mut self) -> End {
        loop {
            let left = UNITS_MAX.saturating_sub(self.cpu.units());
            match self.cpu.run(&mut self.ram, left) {
                Exit::Call => {
                    if let Some(code) = self.call() {
                        return End::Exit(code);
                    }
                }
                Exit::MmioRead { gpa, bytes } => {
                    let value = self.mmio(gpa.0).map_or(0, |(device, at)| device.read(at, bytes));
                    self.cpu.supply(value);
                }
                Exit::MmioWrite { gpa, value, .. } => self.store(gpa.0, value),
                Exit::TimeStamp => self.cpu.supply(self.now_ns),
                Exit::Pause => self.now_ns += 1000,
                Exit::Breakpoint => {
                    let name = self.watched[&self.cpu.regs.rip];
                    *self.entered.entry(name).or_default() += 1;
                }
                other @ (Exit::Budget
                | Exit::PortRead { .. }
                | Exit::PortWrite { .. }
                | Exit::Memory { .. }
                | Exit::Halt
                | Exit::Random
                | Exit::Exception { .. }
                | Exit::Unsupported { .. }) => return End::Other(other),
            }
        }
    }

    fn mmio(&mut self, gpa: u64) -> Option<(&mut Device, u64)> {
        let offset = gpa.checked_sub(VIRTIO_MMIO.0)?;
        let index = offset / VIRTIO_MMIO_STRIDE;
        self.did.push(Did::Mmio(index));
        Some((self.devices.get_mut(index as usize)?, offset % VIRTIO_MMIO_STRIDE))
    }

    fn store(&mut self, gpa: u64, value: u64) {
        let kicked = self.mmio(gpa).is_some_and(|(device, at)| device.write(at, value as u32));
        if kicked {
            let index = ((gpa - VIRTIO_MMIO.0) / VIRTIO_MMIO_STRIDE) as usize;
            let written = self.devices[index].serve(&mut self.ram);
            for (start, bytes) in written {
                self.cpu.forget(ultravisor_abi::Gpa(start), bytes);
            }
        }
    }

    /// Answers a call; the exit code if it was the last.
    fn call(&mut self) -> Option<u64> {
        let [number, a, b, c, d] =
            [Reg::Rax, Reg::Rdi, Reg::Rsi, Reg::Rdx, Reg::R10].map(|reg| self.cpu.regs.gpr[reg]);
        let mut status = 0;
        if let Some(call) = OurCall::from_number(number) {
            match call {
                OurCall::Exit => return Some(a),
                OurCall::Mark => self.did.push(Did::Mark(a)),
                OurCall::Secret => self.did.push(Did::Secret(a, b)),
                OurCall::Report => {
                    let kind = ReportKind::from_number(a).expect("a kind");
                    let name = text(b, c).trim_end_matches('\0').to_owned();
                    self.did.push(Did::Report(kind, name));
                }
            }
        } else if let Some(call) = Ucall::from_number(number) {
            self.did.push(Did::Ucall(call, a, b));
            status = if call == Ucall::Esm { self.esm_status } else { 0 };
        } else {
            assert_eq!(number, Hcall::PutTermChar.number(), "an unknown call");
            self.console.push_str(&text(c, d)[..b as usize]);
        }
        self.cpu.regs.gpr[Reg::Rax] = status as u64;
        None
    }

    /// The last report.
    pub fn reported(&self) -> Option<(ReportKind, &str)> {
        self.did.iter().rev().find_map(|did| match did {
            Did::Report(kind, name) => Some((*kind, name.as_str())),
            Did::Ucall(..) | Did::Mark(_) | Did::Secret(..) | Did::Mmio(_) => None,
        })
    }
}

fn text(low: u64, high: u64) -> String {
    let bytes = [low.to_le_bytes(), high.to_le_bytes()].concat();
    String::from_utf8(bytes).expect("ASCII")
}
