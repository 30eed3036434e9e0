//! Guests of a few instructions, and the plans that run them.

use firmware::bootargs::{Rings, Waits};
use firmware::kernel::{Kernel, Kexec, Switch, Tce};
use host_sim::device::transport::VERSION_1;
use host_sim::event::{Event, Record};
use host_sim::log::RunLog;
use host_sim::run;
use host_sim::scenario::limits::Limits;
use host_sim::scenario::plan::{
    Boot, Contents, CostProfile, Describes, DeviceKind, DevicePlan, GuestPlan, ImagePlan, Iommu,
    MachinePlan, OnTamper, Plan, Platform, Plugged, QemuOptions, Transport,
};
use iced_x86::code_asm::{CodeAssembler, dword_ptr, eax, qword_ptr, rax, rbx, rcx, rdi, rdx, rsi};
use iced_x86::code_asm::{r8, r10, word_ptr};
use ultravisor_abi::boot::{IMAGES, VIRTIO_MMIO};
use ultravisor_abi::{Hcall, OurCall, Ucall, UnitSize};

/// Where a device's queue lies: descriptors, then the available ring, then the used ring, 4 KiB
/// each; header and status of a request behind them. All in one 64 KiB unit.
pub const RING: u64 = 0x40_0000;
const AVAIL: u64 = RING + 0x1000;
const USED: u64 = RING + 0x2000;
const HEADER: u64 = RING + 0x3000;
const STATUS: u64 = RING + 0x4000;
/// A unit of its own.
pub const DATA: u64 = 0x42_0000;
/// As far as a disk of one sector goes.
pub const SECTOR: u32 = 512;

/// A plan of the built-in guest, without work or devices.
pub fn builtin() -> Plan {
    Plan {
        id: "machine".into(),
        scenario: "machine".into(),
        about: String::new(),
        axes: Vec::new(),
        design: None,
        changes: Vec::new(),
        seed: 1,
        machine: MachinePlan {
            platform: Platform::Pef,
            memory_bytes: 64 << 20,
            unit: UnitSize::KIB_64,
            swiotlb_bytes: 1 << 20,
            cost: CostProfile::Firmware,
            kick_latency_ns: 3_000,
            on_tamper: OnTamper::Refault,
            interleave_touch: false,
            iommu: Iommu::Tce,
            transport: Transport::Mmio,
            describes: Describes::Nothing,
            fdt_nodes: 0,
            flips_at_esm: false,
        },
        guest: GuestPlan {
            image: ImagePlan::Builtin,
            boot: Boot::Elf64,
            boot_because: String::new(),
            command_line: String::new(),
            modules: Vec::new(),
            secure: false,
            marks: true,
            kernel: Kernel::PLATFORM_HOOK,
            tce: Tce::Single,
            bug: None,
            switch: Switch::BeforeProbe,
            kexec: Kexec::Never,
            slof_tce: false,
            rings: Rings::Together,
            waits: Waits::Polling,
            wait_ns: 1_000_000,
            units_max: 50_000_000,
        },
        limits: Limits::default(),
        devices: Vec::new(),
        work: Vec::new(),
        expect: None,
        known_failures: Vec::new(),
        twins: Vec::new(),
        claim: None,
    }
}

/// A plan of a guest that consists of what `write` writes, without symbols.
pub fn small(write: impl FnOnce(&mut CodeAssembler)) -> Plan {
    with_functions(&[], write)
}

/// A plan of a guest in whose code the functions of these names begin at these offsets.
pub fn with_functions(functions: &[(&str, u64)], write: impl FnOnce(&mut CodeAssembler)) -> Plan {
    let mut assembler = CodeAssembler::new(64).expect("64 is a bitness");
    write(&mut assembler);
    let code = assembler.assemble(IMAGES.0).expect("the test's code is right");
    let bytes = elf(&code, functions).into();
    let mut plan = builtin();
    plan.guest.image = ImagePlan::File { path: "small.elf".into(), bytes };
    plan.guest.marks = false;
    plan
}

/// An ELF image with `code` at the first address of images, and a symbol table.
fn elf(code: &[u8], functions: &[(&str, u64)]) -> Vec<u8> {
    let quads = |list: &[u64]| list.iter().flat_map(|quad| quad.to_le_bytes()).collect::<Vec<u8>>();
    let code_at = 64 + 56;
    let mut symbols = vec![0; 24];
    let mut names = vec![0];
    for (name, offset) in functions {
        symbols.extend((names.len() as u32).to_le_bytes());
        symbols.extend([0x12, 0, 1, 0]); // a global function, in section 1
        symbols.extend(quads(&[IMAGES.0 + offset, 0]));
        names.extend(name.bytes().chain([0]));
    }
    let symbols_at = code_at + code.len() as u64;
    let names_at = symbols_at + symbols.len() as u64;
    let sections_at = names_at + names.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    file.extend(quads(&[IMAGES.0, 64, sections_at]));
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 3, 0, 0, 0]);
    let bytes = code.len() as u64;
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]); // loaded, readable, executable
    file.extend(quads(&[code_at, IMAGES.0, IMAGES.0, bytes, bytes, 1]));
    file.extend(code);
    file.extend(&symbols);
    file.extend(&names);
    file.extend([0; 64]);
    for (kind, at, bytes, link, entry) in
        [(2_u64, symbols_at, symbols.len(), 2_u64, 24_u64), (3, names_at, names.len(), 0, 0)]
    {
        file.extend(quads(&[kind << 32, 0, 0, at, bytes as u64, link, 1, entry]));
    }
    file
}

/// Writes instructions; what cannot be encoded is a mistake of the test's.
pub trait Write {
    /// A `vmcall`; the status is in `rax`.
    fn request(&mut self, number: u64, args: [u64; 5]);
    /// Stores eight bytes.
    fn store(&mut self, at: u64, value: u64);
    /// Ends the run with what lies in `rax`.
    fn exit_with_rax(&mut self);
    /// Ends the run with `code`.
    fn exit(&mut self, code: u64);
    /// Becomes secure, and shares the unit at [`RING`].
    fn become_secure(&mut self);
    /// Stores to a register of device 0.
    fn register(&mut self, offset: u64, value: u32);
    /// Loads a register of device 0 into `rax`.
    fn load_register(&mut self, offset: u64);
    /// Brings device 0 up, a disk with its ring at [`RING`].
    fn start_disk(&mut self);
    /// The same, accepting these of the feature bits from 32 on.
    fn start_disk_with(&mut self, features: u64);
    /// Makes one request of the disk available: `bytes` at `data`, written by the device or read.
    fn ask(&mut self, number: u64, data: u64, bytes: u32, to_memory: bool);
    /// The same without a kick.
    fn make_available(&mut self, number: u64, data: u64, bytes: u32, to_memory: bool);
    /// Waits until `number` requests are done.
    fn wait_for(&mut self, number: u16);
}

impl Write for CodeAssembler {
    fn request(&mut self, number: u64, [a, b, c, d, e]: [u64; 5]) {
        let registers = [(rax, number), (rdi, a), (rsi, b), (rdx, c), (r10, d), (r8, e)];
        for (register, value) in registers {
            self.mov(register, value).expect("encodable");
        }
        self.vmcall().expect("encodable");
    }

    fn store(&mut self, at: u64, value: u64) {
        self.mov(rcx, at).expect("encodable");
        self.mov(rdx, value).expect("encodable");
        self.mov(qword_ptr(rcx), rdx).expect("encodable");
    }

    fn exit_with_rax(&mut self) {
        self.mov(rdi, rax).expect("encodable");
        self.mov(rax, OurCall::Exit.number()).expect("encodable");
        self.vmcall().expect("encodable");
    }

    fn exit(&mut self, code: u64) {
        self.request(OurCall::Exit.number(), [code, 0, 0, 0, 0]);
    }

    fn become_secure(&mut self) {
        self.request(Ucall::Esm.number(), [IMAGES.0, 0x1_0000, 0, 0, 0]);
        self.request(Ucall::SharePage.number(), [RING >> 16, 1, 0, 0, 0]);
    }

    fn register(&mut self, offset: u64, value: u32) {
        self.mov(rbx, VIRTIO_MMIO.0 + offset).expect("encodable");
        self.mov(dword_ptr(rbx), value).expect("encodable");
    }

    fn load_register(&mut self, offset: u64) {
        self.mov(rbx, VIRTIO_MMIO.0 + offset).expect("encodable");
        self.mov(eax, dword_ptr(rbx)).expect("encodable");
    }

    fn start_disk(&mut self) {
        self.start_disk_with(VERSION_1);
    }

    fn start_disk_with(&mut self, features: u64) {
        for status in [0, 1, 3] {
            self.register(0x70, status);
        }
        self.register(0x24, 1);
        self.register(0x20, (features >> 32) as u32);
        self.register(0x70, 11);
        self.register(0x30, 0);
        self.register(0x38, 4);
        for (offset, at) in [(0x80, RING), (0x90, AVAIL), (0xa0, USED)] {
            self.register(offset, at as u32);
            self.register(offset + 4, 0);
        }
        self.register(0x44, 1);
        self.register(0x70, 15);
    }

    fn ask(&mut self, number: u64, data: u64, bytes: u32, to_memory: bool) {
        self.make_available(number, data, bytes, to_memory);
        self.register(0x50, 0);
    }

    fn make_available(&mut self, number: u64, data: u64, bytes: u32, to_memory: bool) {
        const NEXT: u64 = 1;
        const WRITE: u64 = 2;
        let of_data = if to_memory { NEXT | WRITE } else { NEXT };
        let parts =
            [(HEADER, 16, NEXT, 1), (data, u64::from(bytes), of_data, 2), (STATUS, 1, WRITE, 0)];
        for (place, (at, bytes, flags, next)) in (0..).zip(parts) {
            self.store(RING + place * 16, at);
            self.store(RING + place * 16 + 8, bytes | flags << 32 | next << 48);
        }
        self.store(HEADER, u64::from(!to_memory));
        self.store(HEADER + 8, 0);
        // All entries of the ring are chain 0; flags 0, then the index.
        self.store(AVAIL, number << 16);
    }

    fn wait_for(&mut self, number: u16) {
        self.mov(rcx, USED + 2).expect("encodable");
        let mut again = self.create_label();
        let mut done = self.create_label();
        self.set_label(&mut again).expect("free");
        self.cmp(word_ptr(rcx), i32::from(number)).expect("encodable");
        self.je(done).expect("encodable");
        self.pause().expect("encodable");
        self.jmp(again).expect("encodable");
        self.set_label(&mut done).expect("free");
        self.nop().expect("encodable");
    }
}

/// A disk that begins with `contents`.
pub fn disk(contents: &[u8]) -> DevicePlan {
    let contents = Contents::File { path: "disk".into(), bytes: contents.into() };
    DevicePlan {
        id: "disk".into(),
        kind: DeviceKind::Blk { sectors: 64, contents },
        options: QemuOptions::default(),
        plugged: Plugged::AtStart,
    }
}

/// Runs a plan.
pub fn run(plan: &Plan) -> RunLog {
    run::run(plan).expect("the plan is right")
}

/// The hypercalls of the log: status and arguments of each, as the hypervisor saw them.
pub fn hypercalls(log: &RunLog, wanted: Hcall) -> Vec<(ultravisor_abi::HStatus, [u64; 6])> {
    let told = log.records.iter().filter_map(|record| match record.event {
        Event::HvCall { call, args, status, .. } if call == wanted => Some((status, args)),
        _ => None,
    });
    told.collect()
}

/// Where in the log the first event is that fits.
pub fn position(log: &RunLog, fits: impl Fn(&Event) -> bool) -> Option<usize> {
    log.records.iter().position(|record: &Record| fits(&record.event))
}
