//! A machine without page protection, host or clock model: flat RAM, one CPU, TCE tables, devices
//! that can be told to misbehave. It shows what the guest images do by themselves.

pub mod device;
pub mod ram;
pub mod reach;

use device::Device;
use firmware::bootargs::{BootArgs, Rings, Waits};
use firmware::kernel::{Kernel, Kexec, Switch, Tce};
use firmware::workload::WORK_MAX;
use host_sim::fdt::{self, FdtSpec};
use host_sim::image::Image;
use host_sim::iommu::liobn;
use ram::Ram;
use reach::{Reach, Table};
use std::collections::{BTreeMap, BTreeSet};
use ultravisor_abi::boot::{FDT, VIRTIO_MMIO, VIRTIO_MMIO_STRIDE};
use ultravisor_abi::{Gpa, HStatus, Hcall, OurCall, ReportKind, Ucall, UnitSize};
use ultravisor_cpu::{Cpu, Exit, Reg};

pub const MEMORY: u64 = 64 << 20;
const UNITS_MAX: u64 = 200_000_000;

/// What the guest did, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Did {
    Ucall(Ucall, u64, u64),
    Hcall(Hcall, [u64; 4]),
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
    /// TCE tables by LIOBN.
    pub tables: BTreeMap<u64, Table>,
    /// What is returned instead of mapping: PAPR's H_PUT_TCE family fails.
    pub tce_status: i64,
    /// Units of 64 KiB that are shared now.
    pub shared: BTreeSet<u64>,
    /// Addresses that devices used and that led nowhere.
    pub faults: Vec<u64>,
    /// How often each watched function was entered.
    pub entered: BTreeMap<&'static str, u64>,
    watched: BTreeMap<u64, &'static str>,
    has_windows: bool,
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
        waits: Waits::Polling,
        work: [None; WORK_MAX],
        wait_ns: 1_000_000,
    }
}

impl Flat {
    /// A machine about to start `image` with these bootargs and devices.
    pub fn new(image: &Image, bootargs: String, secure: bool, devices: Vec<Device>) -> Self {
        let spec = FdtSpec {
            memory_bytes: MEMORY,
            ultravisor_unit: secure.then_some(UnitSize::KIB_64),
            devices: devices.len(),
            bootargs,
            ..FdtSpec::default()
        };
        Self::on(image, &spec, devices)
    }

    /// The same on a machine that is described so.
    pub fn on(image: &Image, spec: &FdtSpec, devices: Vec<Device>) -> Self {
        let mut ram = Ram::new(MEMORY);
        let root = ram.identity_map();
        ram.write(FDT.0, &fdt::build(spec).expect("the spec is good"));
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
            tables: BTreeMap::new(),
            tce_status: 0,
            shared: BTreeSet::new(),
            faults: Vec::new(),
            entered: BTreeMap::new(),
            watched: BTreeMap::new(),
            has_windows: spec.dma_window_bytes.is_some(),
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
                | Exit::MsrRead { .. }
                | Exit::MsrWrite { .. }
                | Exit::Memory { .. }
                | Exit::Halt
                | Exit::Random
                | Exit::Interrupt { .. }
                | Exit::Exception { .. }
                | Exit::Shutdown { .. }
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
            let translates = self.has_windows && self.devices[index].translates();
            let table = self.tables.entry(liobn(index)).or_default();
            let mut reach = Reach::new(&mut self.ram, translates.then_some(&*table));
            self.devices[index].serve(&mut reach);
            let Reach { written, faults, .. } = reach;
            self.faults.extend(faults);
            for (start, bytes) in written {
                self.cpu.forget(Gpa(start), bytes);
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
            status = self.ultracall(call, a, b);
        } else if number == Hcall::PutTermChar.number() {
            self.console.push_str(&text(c, d)[..b as usize]);
        } else {
            let call = Hcall::from_number(number).expect("a hypercall");
            self.did.push(Did::Hcall(call, [a, b, c, d]));
            status = self.hypercall(call, [a, b, c, d]);
        }
        self.cpu.regs.gpr[Reg::Rax] = status as u64;
        None
    }

    fn ultracall(&mut self, call: Ucall, first: u64, count: u64) -> i64 {
        let units: Vec<u64> = match call {
            Ucall::Esm => {
                self.devices.iter_mut().for_each(|device| device.late = false);
                return self.esm_status;
            }
            Ucall::SharePage => {
                (first..first + count).filter(|unit| self.shared.insert(*unit)).collect()
            }
            Ucall::UnsharePage => {
                (first..first + count).filter(|unit| self.shared.remove(unit)).collect()
            }
            Ucall::UnshareAllPages => std::mem::take(&mut self.shared).into_iter().collect(),
            Ucall::WritePate
            | Ucall::Return
            | Ucall::RegisterMemSlot
            | Ucall::UnregisterMemSlot
            | Ucall::PageIn
            | Ucall::PageOut
            | Ucall::PageInval
            | Ucall::SvmTerminate => panic!("no guest calls {call:?}"),
        };
        // Changing its state zeroes a unit.
        for unit in units {
            self.ram.write(unit << 16, &[0; 1 << 16]);
            self.cpu.forget(Gpa(unit << 16), 1 << 16);
        }
        0
    }

    fn hypercall(&mut self, call: Hcall, [bus, ioba, what, count]: [u64; 4]) -> i64 {
        assert_eq!(ioba % 4096, 0, "an I/O page begins there");
        if self.tce_status != HStatus::Success.code() {
            return self.tce_status;
        }
        let tces: Vec<u64> = match call {
            Hcall::PutTce => vec![what],
            Hcall::StuffTce => vec![what; count as usize],
            Hcall::PutTceIndirect => {
                assert!(count <= 512 && what % 4096 == 0, "a list fits one page");
                (0..count).map(|entry| self.ram.number(what + entry * 8, 8)).collect()
            }
            Hcall::LogicalCiLoad
            | Hcall::LogicalCiStore
            | Hcall::PutTermChar
            | Hcall::Cede
            | Hcall::SvmPageIn
            | Hcall::SvmPageOut
            | Hcall::SvmInitStart
            | Hcall::SvmInitDone
            | Hcall::SvmInitAbort => panic!("not for a TCE table: {call:?}"),
        };
        let table = self.tables.entry(bus).or_default();
        for (page, tce) in (ioba / 4096..).zip(tces) {
            if tce == 0 {
                table.remove(&page)
            } else {
                table.insert(page, tce)
            };
        }
        0
    }

    /// The arguments of every call of this number.
    pub fn hypercalls(&self, which: Hcall) -> impl Iterator<Item = [u64; 4]> {
        self.did.iter().filter_map(move |did| {
            if let Did::Hcall(call, arguments) = did {
                (*call == which).then_some(*arguments)
            } else {
                None
            }
        })
    }

    /// The last report.
    pub fn reported(&self) -> Option<(ReportKind, &str)> {
        self.did.iter().rev().find_map(|did| match did {
            Did::Report(kind, name) => Some((*kind, name.as_str())),
            Did::Ucall(..) | Did::Hcall(..) | Did::Mark(_) | Did::Secret(..) | Did::Mmio(_) => None,
        })
    }
}

fn text(low: u64, high: u64) -> String {
    let bytes = [low.to_le_bytes(), high.to_le_bytes()].concat();
    String::from_utf8(bytes).expect("ASCII")
}
