//! One virtual CPU: its state, and how an instruction stops.

use crate::blocks::{Blocks, CodeMap};
use crate::event::Pending;
use crate::exit::Exit;
use crate::flags::{Flags, bit};
use crate::form::Form;
use crate::mem::{PAGE, Tlb, View, Who};
use crate::regs::{Reg, Regs};
use crate::uop::{Flow, Left, Uop, note};
use std::collections::BTreeSet;
use ultravisor_abi::Gpa;

/// Bits of the control registers and EFER that the engine knows (SDM volume 3, 2.5 and 2.2.1).
pub mod control {
    /// CR0: protection, monitor coprocessor, extension type, numeric error, write protect, paging.
    pub const PE: u64 = 1;
    /// CR0: FWAIT honours TS.
    pub const MP: u64 = 1 << 1;
    /// CR0: no x87; SSE is #UD.
    pub const EM: u64 = 1 << 2;
    /// CR0: task switched; SSE is #NM.
    pub const TS: u64 = 1 << 3;
    /// CR0: reads as one.
    pub const ET: u64 = 1 << 4;
    /// CR0: native x87 errors.
    pub const NE: u64 = 1 << 5;
    /// CR0: the supervisor, too, obeys read-only pages.
    pub const WP: u64 = 1 << 16;
    /// CR0: alignment mask.
    pub const AM: u64 = 1 << 18;
    /// CR0: not write-through.
    pub const NW: u64 = 1 << 29;
    /// CR0: cache disable.
    pub const CD: u64 = 1 << 30;
    /// CR0: paging.
    pub const PG: u64 = 1 << 31;
    /// CR4: the clock is ring 0's alone.
    pub const TSD: u64 = 1 << 2;
    /// CR4: DR4 and DR5 are none; I/O breakpoints.
    pub const DE: u64 = 1 << 3;
    /// CR4: 4 MiB pages, with 32-bit page-table entries.
    pub const PSE: u64 = 1 << 4;
    /// CR4: 64-bit page-table entries.
    pub const PAE: u64 = 1 << 5;
    /// CR4: global pages.
    pub const PGE: u64 = 1 << 7;
    /// CR4: counters are everybody's.
    pub const PCE: u64 = 1 << 8;
    /// CR4: the system saves SSE state; SSE is #UD without it.
    pub const OSFXSR: u64 = 1 << 9;
    /// CR4: unmasked SSE exceptions are #XM.
    pub const OSXMMEXCPT: u64 = 1 << 10;
    /// CR4: the bases of FS and GS are everybody's.
    pub const FSGSBASE: u64 = 1 << 16;
    /// CR4: translations of several contexts.
    pub const PCIDE: u64 = 1 << 17;
    /// CR4: XSAVE and its kin; XCR0.
    pub const OSXSAVE: u64 = 1 << 18;
    /// CR4: the supervisor executes no user pages.
    pub const SMEP: u64 = 1 << 20;
    /// CR4: the supervisor accesses no user pages while RFLAGS.AC is clear.
    pub const SMAP: u64 = 1 << 21;
    /// EFER: SYSCALL.
    pub const SCE: u64 = 1;
    /// EFER: long mode wanted.
    pub const LME: u64 = 1 << 8;
    /// EFER: long mode is on.
    pub const LMA: u64 = 1 << 10;
    /// EFER: the no-execute bit counts.
    pub const NXE: u64 = 1 << 11;
}

/// Exception vectors (SDM volume 3, table 6-1).
pub(crate) mod vector {
    pub const DIVIDE: u8 = 0;
    pub const DEBUG: u8 = 1;
    pub const NMI: u8 = 2;
    pub const BREAKPOINT: u8 = 3;
    pub const OVERFLOW: u8 = 4;
    pub const BOUND: u8 = 5;
    pub const INVALID_OPCODE: u8 = 6;
    pub const DEVICE_NOT_AVAILABLE: u8 = 7;
    pub const DOUBLE_FAULT: u8 = 8;
    pub const TASK_SEGMENT: u8 = 10;
    pub const NOT_PRESENT: u8 = 11;
    pub const STACK: u8 = 12;
    pub const PROTECTION: u8 = 13;
    pub const PAGE_FAULT: u8 = 14;
    pub const FLOATING_POINT: u8 = 16;
    pub const ALIGNMENT: u8 = 17;
}

/// What CPUID says of a local APIC, which itself is the machine's: with x2APIC mode and a timer that
/// knows TSC deadlines and always runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalApic {
    /// IA32_APIC_BASE has it on.
    pub enabled: bool,
    /// Ticks a second of its timer before that divides them, and of the time-stamp counter.
    pub clock_hz: u32,
}

/// Why a handler left its block.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stop {
    /// As it will be told.
    Exit(Exit),
    /// An address whose upper bits are not a sign extension: #SS or #GP, by segment.
    NonCanonical,
    /// Not implemented; the bytes are fetched when told.
    Unsupported,
}

/// What a run of uops has done; written by whoever leaves it early.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// Work units.
    pub units: u64,
    /// Retired instructions.
    pub instructions: u64,
}

/// One virtual CPU.
///
/// Once the guest has loaded an interrupt descriptor table, exceptions go to its handlers; before,
/// they end [`Cpu::run`] with [`Exit::Exception`].
pub struct Cpu {
    /// The registers. RFLAGS is behind [`Cpu::rflags`]. Whoever changes paging from outside
    /// (CR0, CR3, CR4, EFER) makes the CPU forget all translations: [`Cpu::forget`] from 0.
    pub regs: Regs,
    pub(crate) flags: Flags,
    /// RFLAGS but the arithmetic flags.
    pub(crate) system_flags: u64,
    /// The privilege level; changed by [`Cpu::set_level`].
    pub(crate) cpl: u8,
    /// What the code segment and the data segments make of code; kept by [`Cpu::settle`].
    pub(crate) form: Form,
    /// Base and limit of the code segment that [`Form::Segmented`] blocks were decoded in.
    pub(crate) decoded_in: (u64, u32),
    pub(crate) tlb: Tlb,
    /// Which bytes of guest-physical memory have been decoded.
    pub(crate) code: CodeMap,
    /// Decoded code that this run's stores have hit.
    pub(crate) code_hit: Vec<(u64, u64)>,
    /// Mappings changed: blocks must be looked up afresh.
    pub(crate) remapped: bool,
    /// The running block's first address.
    pub(crate) block_va: u64,
    /// Where a jump without a handler of its own leads.
    pub(crate) edge: Flow,
    /// What waits for an instruction's end.
    pub(crate) pending: Pending,
    /// An NMI is being handled: the next waits for IRET.
    pub(crate) nmi_blocked: bool,
    /// The guest has loaded a table of handlers.
    pub(crate) delivers: bool,
    pub(crate) progress: Progress,
    /// Work units that may be used from the start of the running block on, before the chain of
    /// blocks is looked after.
    pub(crate) allowed: u64,
    /// Work units that may be used beyond those.
    pub(crate) reserve: u64,
    /// What [`Cpu::allowed`] was when the chain began.
    pub(crate) granted: u64,
    pub(crate) leave: bool,
    pub(crate) stop: Option<Stop>,
    /// An answer for the next instruction, kept until that retires.
    pub(crate) supplied: Option<u64>,
    /// That answer is a refusal.
    pub(crate) refused: bool,
    /// The local APIC that CPUID tells of.
    pub(crate) apic: Option<LocalApic>,
    /// Where blocks end: at the breakpoints of whoever runs the CPU and at the guest's own.
    pub(crate) breakpoints: BTreeSet<u64>,
    /// The former alone.
    pub(crate) asked: BTreeSet<u64>,
    /// Where blocks end has changed.
    pub(crate) recut: bool,
    /// The breakpoint reported last, whose instruction has not retired since.
    pub(crate) passing: Option<u64>,
    /// `None` while they run.
    pub(crate) blocks: Option<Box<Blocks>>,
    pub(crate) total: Progress,
}

impl Default for Cpu {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for Cpu {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Cpu")
            .field("regs", &self.regs)
            .field("rflags", &self.rflags())
            .field("cpl", &self.cpl)
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

impl Cpu {
    /// A CPU in no usable mode yet: see [`Cpu::enter_long_mode`] and [`Cpu::enter_protected_mode`].
    pub fn new() -> Self {
        Self::around(Tlb::new(), Box::default(), CodeMap::default())
    }

    fn around(tlb: Tlb, blocks: Box<Blocks>, code: CodeMap) -> Self {
        Self {
            regs: Regs::default(),
            flags: Flags::known(0),
            system_flags: bit::ALWAYS,
            cpl: 0,
            form: Form::Missing,
            decoded_in: (0, 0),
            tlb,
            code,
            code_hit: Vec::new(),
            remapped: false,
            block_va: 0,
            edge: Flow::Through,
            pending: Pending::default(),
            nmi_blocked: false,
            delivers: false,
            progress: Progress::default(),
            allowed: 0,
            reserve: 0,
            granted: 0,
            leave: false,
            stop: None,
            supplied: None,
            refused: false,
            apic: None,
            breakpoints: BTreeSet::new(),
            asked: BTreeSet::new(),
            recut: false,
            passing: None,
            blocks: Some(blocks),
            total: Progress::default(),
        }
    }

    /// A CPU as [`Cpu::new`] makes it, in the memory of this one: for running very many short
    /// programs.
    pub fn renewed(mut self) -> Self {
        self.tlb.forget(0, u64::MAX);
        self.tlb.select(View::PROCESSOR);
        let mut blocks = self.blocks.take().unwrap_or_default();
        blocks.clear(&mut self.code);
        Self::around(self.tlb, blocks, self.code)
    }

    /// Flat long mode at `rip`: paging on with the tables at `cr3`, ring 0, interrupts off, SSE
    /// enabled, code segment 8 and data segments 16, of which no table in memory tells. The other
    /// registers stay.
    pub fn enter_long_mode(&mut self, cr3: u64, rip: u64, rsp: u64) {
        use control::{ET, LMA, LME, MP, NE, NXE, OSFXSR, OSXMMEXCPT, PAE, PE, PG, WP};
        self.regs.cr0 = PE | MP | ET | NE | WP | PG;
        self.regs.cr3 = cr3;
        self.regs.cr4 = PAE | OSFXSR | OSXMMEXCPT;
        self.regs.efer = LME | LMA | NXE;
        self.regs.rip = rip;
        self.regs.gpr[Reg::Rsp] = rsp;
        self.regs.set_flat_segments();
        self.begin();
    }

    /// Ring 0, interrupts off, nothing pending, in the mode that the registers say.
    pub(crate) fn begin(&mut self) {
        self.cpl = 0;
        self.pending = Pending::default();
        self.nmi_blocked = false;
        self.delivers = false;
        self.settle();
        self.leave = false;
        self.set_rflags(0);
        self.flush_all();
    }

    /// Answers [`Exit::MmioRead`], [`Exit::PortRead`], [`Exit::MsrRead`], [`Exit::MsrWrite`],
    /// [`Exit::TimeStamp`] or [`Exit::Random`]: consumed when the instruction is executed again,
    /// which is the next thing that happens.
    pub fn supply(&mut self, value: u64) {
        self.supplied = Some(value);
    }

    /// Answers [`Exit::MsrRead`] or [`Exit::MsrWrite`] with #GP(0): there is no such register, or it
    /// cannot hold that.
    pub fn refuse(&mut self) {
        self.supply(0);
        self.refused = true;
    }

    /// There is a local APIC, or none (as at first): what CPUID says of it, its timer and its clock.
    pub fn offer_apic(&mut self, apic: Option<LocalApic>) {
        self.apic = apic;
    }

    /// Whether an answer waits for the next instruction.
    pub fn is_supplied(&self) -> bool {
        self.supplied.is_some()
    }

    /// The bytes from `start` on are backed by something else now: drops what the CPU remembers
    /// of them.
    pub fn forget(&mut self, start: Gpa, bytes: u64) {
        if let Some((first, last)) = pages(start, bytes) {
            self.tlb.forget(first, last);
            self.forget_blocks(first, last);
        }
    }

    /// Somebody other than this CPU has written the bytes from `start` on, where they always were:
    /// drops what was decoded of them. Translations stay, as those of a processor do whose tables
    /// another one writes (SDM volume 3, 4.10.4).
    pub fn forget_code(&mut self, start: Gpa, bytes: u64) {
        if let Some((first, last)) = pages(start, bytes) {
            self.forget_blocks(first, last);
        }
    }

    fn forget_blocks(&mut self, first: u64, last: u64) {
        if let Some(blocks) = &mut self.blocks {
            blocks.forget(first, last, &mut self.code);
        }
    }

    /// Stops with [`Exit::Breakpoint`] whenever the instruction at guest-virtual `va` is next.
    pub fn break_at(&mut self, va: u64) {
        self.asked.insert(va);
        if self.breakpoints.insert(va)
            && let Some(blocks) = &mut self.blocks
        {
            blocks.clear(&mut self.code);
        }
    }

    /// Work units done since creation: an instruction is one, a REP prefixed one as many as it
    /// has iterations, at least one.
    pub fn units(&self) -> u64 {
        self.total.units
    }

    /// Instructions retired since creation; a REP prefixed one is one.
    pub fn instructions(&self) -> u64 {
        self.total.instructions
    }

    /// Instructions that had retired when the running block began: in a chain, each unit before
    /// the running block was one.
    pub(crate) fn retired_before_block(&self) -> u64 {
        self.total.instructions + (self.granted - self.allowed)
    }

    /// The privilege level, 0 to 3.
    pub fn level(&self) -> u8 {
        self.cpl
    }

    /// Goes to privilege level `level`: memory is accessed, and code found, as it may. The running
    /// block must end here.
    pub(crate) fn set_level(&mut self, level: u8) {
        self.cpl = level & 3;
        self.select_view();
        self.leave = true;
    }

    /// As whom memory is accessed.
    pub(crate) fn view(&self) -> View {
        let flag = self.system_flags & bit::AC != 0;
        let (user, supervisor) =
            (self.regs.cr0 & control::AM != 0, self.regs.cr4 & control::SMAP != 0);
        let who = match self.cpl {
            3 if flag && user => Who::UserAligned,
            3 => Who::User,
            _ if flag && supervisor => Who::SupervisorAtUser,
            _ => Who::Supervisor,
        };
        View { who, narrow: self.form.is_narrow() }
    }

    /// What the view depends on may have changed.
    pub(crate) fn select_view(&mut self) {
        self.tlb.select(self.view());
    }

    /// What code is executed as, as far as the cache of blocks must know: their code may be the
    /// same, but where their shortcuts lead is not everybody's to go.
    pub(crate) fn code_context(&self) -> usize {
        self.form as usize * 2 + usize::from(self.cpl == 3)
    }

    /// Whether the I/O privilege level lets at ports and at the interrupt flag.
    pub(crate) fn has_io_privilege(&self) -> bool {
        u64::from(self.cpl) <= (self.system_flags & bit::IOPL) >> bit::IOPL.trailing_zeros()
    }

    /// RFLAGS.
    pub fn rflags(&self) -> u64 {
        self.flags.bits() | self.system_flags
    }

    /// Sets RFLAGS; bits that are reserved read as they always do.
    pub fn set_rflags(&mut self, value: u64) {
        use bit::{AC, DF, ID, IF, IOPL, NT, TF};
        self.flags = Flags::known(value);
        self.system_flags = (value & (TF | IF | DF | IOPL | NT | AC | ID)) | bit::ALWAYS;
        self.select_view();
    }

    /// Drops all translations (SDM volume 3, 4.10.4.1); decoded code stays, by physical page.
    pub(crate) fn flush_all(&mut self) {
        self.tlb.flush();
        self.remapped = true;
    }

    /// The effective address of the memory operand.
    #[inline(always)]
    pub(crate) fn address(&self, uop: &Uop) -> u64 {
        let gpr = &self.regs.gpr;
        uop.disp
            .wrapping_add(gpr.slot(uop.base))
            .wrapping_add(gpr.slot(uop.index) << (uop.scale & 63))
            .wrapping_add(gpr.slot(uop.segment))
    }

    /// Ends the run with `exit`; the instruction has not happened.
    #[cold]
    pub(crate) fn leave(&mut self, exit: Exit) -> Left {
        self.stop = Some(Stop::Exit(exit));
        self.leave = true;
        Left
    }

    /// Ends the run with `exit` once the instruction has happened.
    #[cold]
    pub(crate) fn leave_when_done(&mut self, exit: Exit) {
        self.stop = Some(Stop::Exit(exit));
        self.leave = true;
    }

    /// Leaves the block once the instruction has happened, so that code which it has overwritten
    /// is decoded afresh.
    #[cold]
    pub(crate) fn leave_for_code(&mut self) {
        self.leave = true;
    }

    /// An exception.
    #[cold]
    pub(crate) fn raise(&mut self, vector: u8, error: Option<u32>) -> Left {
        self.leave(Exit::Exception { vector, error, address: None })
    }

    /// #GP(0) or #SS(0), by the segment of the memory operand.
    #[cold]
    pub(crate) fn non_canonical(&mut self) -> Left {
        self.stop = Some(Stop::NonCanonical);
        self.leave = true;
        Left
    }

    /// Our limit.
    #[cold]
    pub(crate) fn unsupported(&mut self) -> Left {
        self.stop = Some(Stop::Unsupported);
        self.leave = true;
        Left
    }

    #[inline(always)]
    pub(crate) fn must_leave(&self) -> bool {
        self.leave
    }

    /// Puts `rip` and progress to just before `uop`.
    #[cold]
    pub(crate) fn leave_at(&mut self, uop: &Uop) -> Flow {
        self.regs.rip = self.block_va.wrapping_add(u64::from(uop.at));
        let before = u64::from(uop.before);
        self.progress = Progress { units: before, instructions: before };
        self.pending.touched = 0;
        if let Some(Stop::NonCanonical) = self.stop {
            let vector = if uop.noted(note::STACK) { vector::STACK } else { vector::PROTECTION };
            self.stop = Some(Stop::Exit(Exit::Exception { vector, error: Some(0), address: None }));
        }
        Flow::Left
    }

    /// Puts `rip` and progress to just behind `uop`, which does not jump.
    #[cold]
    pub(crate) fn leave_after(&mut self, uop: &Uop) -> Flow {
        let behind = self.block_va.wrapping_add(u64::from(uop.at) + u64::from(uop.len));
        self.regs.rip = self.form.cut(behind);
        let done = u64::from(uop.before + uop.count());
        self.progress = Progress { units: done, instructions: done };
        Flow::Left
    }

    /// At the end of a block that leads on by `edge`: whether it may.
    #[inline(always)]
    pub(crate) fn done(&self, edge: Flow) -> Flow {
        if self.leave || self.remapped { Flow::Done } else { edge }
    }

    /// What the block that was left has to say, if the run ends. `None` for code overwritten.
    pub(crate) fn take_stop(&mut self) -> Option<Exit> {
        self.leave = false;
        match self.stop.take()? {
            Stop::Exit(exit) => Some(exit),
            Stop::NonCanonical => {
                Some(Exit::Exception { vector: vector::PROTECTION, error: Some(0), address: None })
            }
            Stop::Unsupported => Some(Exit::Unsupported { bytes: [0; 15], length: 0 }),
        }
    }
}

/// The first and the last guest-physical page of a range, unless it is empty.
fn pages(start: Gpa, bytes: u64) -> Option<(u64, u64)> {
    let last = start.0.saturating_add(bytes.checked_sub(1)?);
    Some((start.0 / PAGE, last / PAGE))
}
