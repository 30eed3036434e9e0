//! The machine: its parts, and the one written order in which they act.
//!
//! One thread, one clock. [`Machine::step`] is the order: first the CPU forgets what changed
//! under it, then whoever is due acts (ties by device, then queue), then the guest runs until
//! somebody is due. Nothing else moves time.

mod calls;
mod devices;
mod idle;
mod interleave;
mod interrupts;
mod meddle;
mod platform;
mod polls;
mod ports;
mod screen;
mod stuck;

use crate::call_chain::{self, Chains};
use crate::device::Device;
use crate::event::{Budget, Chain, DeviceIndex, Ended, Event, ExitReason, QueueIndex, WaitBy};
use crate::guest_bus::{GuestBus, Hidden};
use crate::host::HostSide;
use crate::image::{Class, Symbols};
use crate::loader::Start;
use crate::log::BY_TAMPERING;
use crate::pc::Pc;
use crate::probe::Probes;
use crate::scenario::plan::{OnTamper, Plan};
use iced_x86::Mnemonic;
use idle::Idle;
use interleave::Service;
use interrupts::Attention;
use polls::Polls;
use std::sync::atomic::{AtomicBool, Ordering};
use stuck::Samples;
use ultravisor::platform::RamRange;
use ultravisor::{Fault, Life};
use ultravisor_abi::Gpa;
use ultravisor_cpu::{Cpu, Exit, Reg};

/// A machine check (SDM volume 3, table 6-1): how an access that neither RAM nor a device answers
/// ends.
const MACHINE_CHECK: u8 = 18;

/// A queue that is to be served.
#[derive(Clone, Debug)]
struct Due {
    at_ns: u64,
    device: DeviceIndex,
    queue: QueueIndex,
    chain: Option<Chain>,
}

/// A machine.
pub struct Machine<'p> {
    plan: &'p Plan,
    cpu: Cpu,
    host: HostSide,
    /// `None` while it serves a queue touch by touch.
    devices: Vec<Option<Device>>,
    /// Queues that are being served touch by touch.
    services: Vec<Service>,
    probes: Probes,
    /// What a probe tells, on its way to the log; kept for its memory.
    probed: Vec<Event>,
    chains: Chains<'p>,
    due: Vec<Due>,
    polls: Polls,
    /// What devices behind bit 33 are limited to.
    limit: Option<RamRange>,
    /// What answers at I/O ports, and the interrupt controllers.
    pc: Pc,
    attention: Attention,
    /// What RDRAND and RDSEED give: the same in each run with the same seed.
    random: blake3::OutputReader,
    /// Its wait with nothing due.
    idle: Idle,
    /// (instructions, units) at the last `Retired` record.
    told: (u64, u64),
    /// What the guest waited by last, and how many units it had worked then.
    waited: Option<(WaitBy, u64)>,
    samples: Samples,
    hidden: Hidden,
    /// Whether the last step ended before an access to a hidden page.
    is_at_hidden: bool,
}

/// The source of the random numbers that instructions ask for.
fn random(seed: u64) -> blake3::OutputReader {
    blake3::Hasher::new_derive_key("uvsim rdrand 1").update(&seed.to_le_bytes()).finalize_xof()
}

/// What is left when a run has ended.
pub struct Stopped {
    /// The host side, with the log.
    pub host: HostSide,
    /// The devices.
    pub devices: Vec<Device>,
    /// Why.
    pub ended: Ended,
}

impl<'p> Machine<'p> {
    /// Puts a machine together; its memory is loaded. `symbols` are those of all images, the
    /// probed one's first.
    pub fn new(
        plan: &'p Plan,
        host: HostSide,
        devices: Vec<Device>,
        start: Start,
        symbols: Vec<&'p Symbols>,
    ) -> Self {
        let mut cpu = Cpu::new();
        match start {
            Start::Long(start) => {
                cpu.enter_long_mode(start.cr3, start.rip, start.rsp);
                cpu.regs.set(Reg::Rdi, start.rdi);
            }
            Start::Protected(start) => {
                cpu.enter_protected_mode(start.eip);
                cpu.regs.set(Reg::Rax, u64::from(start.eax));
                cpu.regs.set(Reg::Rbx, u64::from(start.ebx));
            }
        }
        // What they tell of lies in registers of 64 bits.
        let probed = symbols.first().filter(|known| known.class() == Class::Elf64);
        let probes = probed.map(|known| Probes::arm(known, &mut cpu)).unwrap_or_default();
        let mut machine = Self {
            plan,
            cpu,
            host,
            devices: devices.into_iter().map(Some).collect(),
            services: Vec::new(),
            probes,
            probed: Vec::new(),
            chains: Chains::new(symbols),
            due: Vec::new(),
            polls: Polls::default(),
            limit: platform::limit(plan),
            pc: Pc::default(),
            attention: Attention::default(),
            random: random(plan.seed),
            idle: Idle::default(),
            told: (0, 0),
            waited: None,
            samples: Samples::default(),
            hidden: Hidden::default(),
            is_at_hidden: false,
        };
        machine.power_on();
        machine.tell_of_apic();
        machine
    }

    /// Runs to the end; `None` if somebody set `late` before that. It is looked at between two
    /// steps, and changes nothing about them: it can only end the run.
    pub fn run(mut self, late: &AtomicBool) -> Option<Stopped> {
        let ended = loop {
            if late.load(Ordering::Relaxed) {
                self.break_off();
                return None;
            }
            if let Some(ended) = self.step(u64::MAX) {
                break ended;
            }
        };
        Some(self.stop(ended))
    }

    /// Takes the machine apart once it has ended.
    pub fn stop(mut self, ended: Ended) -> Stopped {
        self.print_rest();
        self.print_screen();
        self.host.hv.recorder.run_is_over();
        self.tell_stuck(&ended);
        self.break_off();
        self.tell_retired();
        let devices = self.devices.into_iter().flatten().collect();
        Stopped { host: self.host, devices, ended }
    }

    /// The virtual CPU, to look at.
    pub fn cpu(&self) -> &Cpu {
        &self.cpu
    }

    /// The host side, to look at: the log so far, guest memory.
    pub fn host(&self) -> &HostSide {
        &self.host
    }

    /// Has the guest stop before it accesses these pages ([`Machine::is_at_hidden`]); none, and it
    /// accesses all. The run is the same.
    pub fn hide(&mut self, hidden: Hidden) {
        for page in self.hidden.pages().chain(hidden.pages()) {
            self.cpu.forget(page, 4096);
        }
        self.hidden = hidden;
    }

    /// Whether the last step ended before an access to a hidden page. The access is tried again.
    pub fn is_at_hidden(&self) -> bool {
        self.is_at_hidden
    }

    /// Ends a step whenever the instruction at `address` is next. The run is the same.
    pub fn stop_at(&mut self, address: u64) {
        self.cpu.break_at(address);
    }

    /// The one written order. The guest runs for at most `units_max` (not 0) work units: whoever
    /// drives a machine in small steps gets the same run.
    pub fn step(&mut self, units_max: u64) -> Option<Ended> {
        self.is_at_hidden = false;
        if let Some(spent) = self.spent() {
            return Some(Ended::Budget(spent));
        }
        self.forget_what_changed();
        if let Some(place) = self.ready_service() {
            return self.host_step().or_else(|| self.go_on(place));
        }
        if let Some(due) = self.take_due() {
            return match self.host_step() {
                None => self.serve(due),
                over => {
                    self.due.push(due);
                    over
                }
            };
        }
        if let Some(device) = self.polls.take(self.host.hv.recorder.now_ns()) {
            let step = self.host_step().or_else(|| self.call_back(device));
            return step.or_else(|| self.poll(device));
        }
        self.ask_for_interrupt();
        if self.attention.is_asleep() {
            return self.sleep();
        }
        let left = self.units_left();
        let dues = self.next_service_ns().into_iter().chain(self.polls.next_ns());
        let next_ns = dues.chain(self.next_clock_ns()).min();
        let units = match next_ns {
            Some(at_ns) => left.min(self.host.hv.recorder.units_until(at_ns)),
            None => left,
        };
        let units = units.min(units_max);
        self.host.guest_runs();
        let before = self.cpu.units();
        let units = units.min(self.samples.units_to_next(before));
        let mut bus = GuestBus::without(self.host.uv.memory_mut(), &self.hidden);
        let exit = self.cpu.run(&mut bus, units);
        let now = self.cpu.units();
        self.host.hv.recorder.worked(now - before);
        self.samples.take(now, self.cpu.regs.rip);
        if let Exit::Memory { gpa, access } = exit
            && self.hidden.hides(Gpa(gpa.0 & !0xfff), access)
        {
            self.is_at_hidden = true;
            return None;
        }
        self.handle(exit)
    }

    /// Which budget is used up.
    fn spent(&self) -> Option<Budget> {
        self.host
            .hv
            .recorder
            .spent()
            .or_else(|| self.host.uv.memory().exhausted().then_some(Budget::Memory))
            .or_else(|| (self.units_left() == 0).then_some(Budget::WorkUnits))
    }

    /// Work units that are left to both sides.
    fn units_left(&self) -> u64 {
        let used = self.cpu.units().saturating_add(self.host.hv.recorder.host_units());
        self.plan.guest.units_max.saturating_sub(used)
    }

    /// The host side is about to take a step; the end, if it has had too many.
    fn host_step(&mut self) -> Option<Ended> {
        let may = self.host.hv.recorder.take_host_step();
        (!may).then_some(Ended::Budget(Budget::HostSteps))
    }

    /// What lies under the CPU's TLB and its decoded code may have moved or been written.
    fn forget_what_changed(&mut self) {
        let changed = self.host.hv.take_changed();
        let unit = self.host.uv.memory().unit();
        if changed.all {
            self.cpu.forget(Gpa(0), u64::MAX);
        } else {
            for gfn in changed.units {
                self.cpu.forget(unit.start(gfn), unit.bytes());
            }
        }
        for written in self.host.take_written() {
            self.cpu.forget_code(written.gpa, written.bytes);
        }
    }

    /// When a device is due next.
    fn next_service_ns(&self) -> Option<u64> {
        // What is due for a device that is away waits for it.
        let dues = self.due.iter().filter(|due| !self.is_away(due.device)).map(|due| due.at_ns);
        dues.chain(self.services.iter().map(Service::at_ns)).min()
    }

    /// When somebody is due next whom a guest that waits can wait for.
    fn next_due_ns(&self) -> Option<u64> {
        self.next_service_ns().into_iter().chain(self.next_tick_ns()).min()
    }

    /// The first queue that is due now.
    fn take_due(&mut self) -> Option<Due> {
        let now = self.host.hv.recorder.now_ns();
        let is_ready = |due: &Due| due.at_ns <= now && !self.is_away(due.device);
        let ready = self.due.iter().enumerate().filter(|(_, due)| is_ready(due));
        let (place, _) = ready.min_by_key(|(_, due)| (due.at_ns, due.device, due.queue))?;
        Some(self.due.swap_remove(place))
    }

    fn handle(&mut self, exit: Exit) -> Option<Ended> {
        if needs_the_host(&exit) {
            self.attention.enter(self.cpu.units());
            if let Some(ended) = self.host_step() {
                return Some(ended);
            }
        }
        match exit {
            Exit::Budget => None,
            Exit::Call => self.call(),
            Exit::MmioRead { gpa, bytes } => self.mmio_read(gpa, bytes),
            Exit::MmioWrite { gpa, bytes, value } => self.mmio_write(gpa, bytes, value),
            Exit::Memory { gpa, .. } => self.page_fault(gpa),
            Exit::Halt => self.halt(),
            Exit::Pause => self.wait(WaitBy::Pause),
            Exit::TimeStamp => {
                self.idle.looks_at_a_clock();
                self.host.hv.recorder.host_works(CLOCK_UNITS);
                self.cpu.supply(self.host.hv.recorder.now_ns());
                None
            }
            Exit::Breakpoint => {
                self.probe();
                None
            }
            Exit::Interrupt { vector } => {
                self.take_interrupt(vector);
                None
            }
            Exit::Exception { vector, error, address }
            | Exit::Shutdown { vector, error, address } => {
                Some(Ended::Fault { vector, rip: self.cpu.regs.rip, error, address })
            }
            Exit::Unsupported { bytes, length } => Some(self.unsupported(&bytes, length)),
            Exit::PortRead { port, bytes } => self.port_read(port, bytes),
            Exit::PortWrite { port, bytes, value } => self.port_write(port, bytes, value),
            Exit::MsrRead { number } => self.apic_msr_read(number),
            Exit::MsrWrite { number, value } => self.apic_msr_write(number, value),
            Exit::Random => {
                let mut bytes = [0; 8];
                self.random.fill(&mut bytes);
                self.cpu.supply(u64::from_le_bytes(bytes));
                None
            }
        }
    }

    /// The guest touched a unit that it cannot access: the ultravisor has it paged in.
    fn page_fault(&mut self, gpa: Gpa) -> Option<Ended> {
        self.host.hv.recorder.push(Event::Exit { reason: ExitReason::PageFault });
        let fault = self.host.uv.guest_fault(&mut self.host.hv, gpa);
        self.host.hv.absorb(&mut self.host.uv);
        match fault {
            Fault::Resumed => None,
            Fault::Terminated => self.terminated(),
            // The guest faults on it again and again; whether that ends is up to the others.
            Fault::Tampered | Fault::Refused(_) => match self.next_due_ns() {
                Some(_) => self.wait(WaitBy::Refault),
                None => Some(Ended::Refault(gpa.0)),
            },
        }
    }

    /// The guest waits: the clock jumps to whoever is due next. A poll is not somebody due: what
    /// is waited for polls alone counts as idle until one of them finds work.
    fn wait(&mut self, by: WaitBy) -> Option<Ended> {
        if self.is_interrupted() {
            return None;
        }
        self.waited = Some((by, self.cpu.units()));
        let now = self.host.hv.recorder.now_ns();
        let poll_ns = self.polls.next_ns();
        let ns = match (self.next_due_ns(), by) {
            (Some(at_ns), _) => {
                self.idle = Idle::default();
                poll_ns.map_or(at_ns, |ns| ns.min(at_ns)).saturating_sub(now)
            }
            (None, WaitBy::Halt | WaitBy::Cede | WaitBy::Refault) if poll_ns.is_none() => {
                return Some(Ended::Idle);
            }
            (None, _) => match self.idle.pause(poll_ns.map(|at_ns| at_ns.saturating_sub(now))) {
                Some(ns) => ns,
                None => return Some(Ended::Idle),
            },
        };
        self.host.hv.recorder.push(Event::Wait { by, ns });
        None
    }

    fn probe(&mut self) {
        let memory = self.host.uv.memory();
        self.probes.hit(&mut self.cpu, |at| call_chain::word(memory, at), &mut self.probed);
        for event in self.probed.drain(..) {
            self.host.note_dma(&event);
            self.host.hv.recorder.push(event);
        }
    }

    /// Says how much the guest has run since this was said last.
    fn tell_retired(&mut self) {
        let now = (self.cpu.instructions(), self.cpu.units());
        let (instructions, units) = (now.0 - self.told.0, now.1 - self.told.1);
        self.told = now;
        self.host.hv.recorder.push(Event::Retired { instructions, units });
    }

    fn unsupported(&self, bytes: &[u8; 15], length: u8) -> Ended {
        let rip = self.cpu.regs.rip;
        let bytes = bytes[..usize::from(length).min(15)].to_vec();
        let mut decoder = iced_x86::Decoder::with_ip(self.cpu.bitness(), &bytes, rip, 0);
        let instruction = decoder.decode();
        let what = match bytes.is_empty() {
            true => "code, or tables of pages, where there is no RAM".to_owned(),
            false if instruction.is_invalid() => {
                "bytes that are no instruction, or one that goes on where there is no RAM"
                    .to_owned()
            }
            false if matches!(instruction.mnemonic(), Mnemonic::Rdmsr | Mnemonic::Wrmsr) => {
                format!("{instruction} of register {:#x}", self.cpu.regs.get(Reg::Rcx) as u32)
            }
            false => instruction.to_string(),
        };
        Ended::Unsupported { rip, bytes, what }
    }

    fn not_implemented(&self, what: String) -> Ended {
        Ended::Unsupported { rip: self.cpu.regs.rip, bytes: Vec::new(), what }
    }

    /// Whether the ultravisor has given the VM up, and why. Under `on_tamper: Terminate` the first
    /// page-in that does not verify is the end, whether a touch or a call asked for it.
    fn terminated(&self) -> Option<Ended> {
        let terminates = self.plan.machine.on_tamper == OnTamper::Terminate;
        let why = if terminates && self.host.hv.tampered() { BY_TAMPERING } else { "aborted" };
        (self.host.uv.life() == Life::Terminated).then_some(Ended::SvmTerminated(why))
    }
}

/// Work units that reading the clock takes beside its own: it leaves the engine and comes back, in
/// the time of many instructions.
const CLOCK_UNITS: u64 = 15;

/// Whether somebody on the host side acts on an exit.
fn needs_the_host(exit: &Exit) -> bool {
    match exit {
        Exit::Call
        | Exit::MmioRead { .. }
        | Exit::MmioWrite { .. }
        | Exit::Memory { .. }
        | Exit::PortRead { .. }
        | Exit::PortWrite { .. }
        | Exit::MsrRead { .. }
        | Exit::MsrWrite { .. }
        | Exit::Halt => true,
        Exit::Budget
        | Exit::Pause
        | Exit::TimeStamp
        | Exit::Breakpoint
        | Exit::Interrupt { .. }
        | Exit::Exception { .. }
        | Exit::Shutdown { .. }
        | Exit::Unsupported { .. }
        | Exit::Random => false,
    }
}
