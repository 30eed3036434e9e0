//! What gdb's protocol asks of a target, answered from a replay.

use super::monitor::{self, View};
use super::replay::{Replay, Stop};
use super::watch::{Kind, Watch};
use crate::image::{Class, builtin};
use crate::scenario::plan::Boot;
use gdbstub::common::{Pid, Signal};
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::reverse_exec::{
    ReverseCont, ReverseContOps, ReverseStep, ReverseStepOps,
};
use gdbstub::target::ext::base::singlethread::{
    SingleThreadBase, SingleThreadResume, SingleThreadResumeOps, SingleThreadSingleStep,
    SingleThreadSingleStepOps,
};
use gdbstub::target::ext::breakpoints::{
    Breakpoints, BreakpointsOps, HwBreakpoint, HwBreakpointOps, HwWatchpoint, HwWatchpointOps,
    SwBreakpoint, SwBreakpointOps, WatchKind,
};
use gdbstub::target::ext::exec_file::{ExecFile, ExecFileOps};
use gdbstub::target::ext::host_io::{
    FsKind, HostIo, HostIoClose, HostIoCloseOps, HostIoErrno, HostIoError, HostIoFstat,
    HostIoFstatOps, HostIoOpen, HostIoOpenFlags, HostIoOpenMode, HostIoOpenOps, HostIoOps,
    HostIoPread, HostIoPreadOps, HostIoResult, HostIoSetfs, HostIoSetfsOps, HostIoStat,
};
use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd, MonitorCmdOps};
use gdbstub::target::{Target, TargetError, TargetResult};
use gdbstub_arch::x86::X86_64_SSE;
use gdbstub_arch::x86::reg::X86_64CoreRegs;
use ultravisor_abi::Gpa;
use ultravisor_cpu::Reg;

/// The files that gdb may read: the guest's image, and boot firmware's.
const GUEST_FILE: &str = "/guest.elf";
const SLOF_FILE: &str = "/slof.elf";

/// In which order gdb has the general-purpose registers.
const ORDER: [Reg; 16] = [
    Reg::Rax,
    Reg::Rbx,
    Reg::Rcx,
    Reg::Rdx,
    Reg::Rsi,
    Reg::Rdi,
    Reg::Rbp,
    Reg::Rsp,
    Reg::R8,
    Reg::R9,
    Reg::R10,
    Reg::R11,
    Reg::R12,
    Reg::R13,
    Reg::R14,
    Reg::R15,
];

/// What gdb wants the run to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// One instruction on.
    Step,
    /// On.
    Resume,
    /// One instruction back.
    StepBack,
    /// Back.
    ResumeBack,
}

/// A run as gdb sees it.
pub struct Debugged<'p> {
    /// The run.
    pub replay: Replay<'p>,
    /// What gdb asked for last.
    pub wanted: Wanted,
    /// Whose eyes memory is read with.
    pub view: View,
    /// Why the run stands still.
    pub stop: Stop,
}

impl<'p> Debugged<'p> {
    /// A run before its first instruction.
    pub fn new(replay: Replay<'p>) -> Self {
        Self { replay, wanted: Wanted::Step, view: View::Guest, stop: Stop::Start }
    }

    fn file(&self, name: &[u8]) -> Option<u32> {
        let name = name.strip_prefix(b"/").unwrap_or(name);
        let files = [GUEST_FILE, SLOF_FILE];
        let found = files.iter().position(|file| file.as_bytes().strip_prefix(b"/") == Some(name));
        let has_slof = self.replay.prepared().plan().guest.boot == Boot::Slof;
        let found = found.filter(|place| *place == 0 || has_slof)?;
        u32::try_from(found).ok().map(|place| place + FIRST_FD)
    }

    fn contents(&self, fd: u32) -> Option<&[u8]> {
        match fd.checked_sub(FIRST_FD)? {
            0 => Some(self.replay.prepared().guest_file()),
            1 => Some(builtin::SLOF),
            _ => None,
        }
    }
}

/// The number of the first file.
const FIRST_FD: u32 = 3;
/// gdb's error for what is not done.
const EPERM: u8 = 1;

impl Target for Debugged<'_> {
    type Arch = X86_64_SSE;
    type Error = &'static str;

    fn base_ops(&mut self) -> BaseOps<'_, Self::Arch, Self::Error> {
        BaseOps::SingleThread(self)
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }

    fn support_monitor_cmd(&mut self) -> Option<MonitorCmdOps<'_, Self>> {
        Some(self)
    }

    /// gdb takes the registers to be those of the file's class, and here they are x86-64's: a file
    /// of 32 bits is not shown to it.
    fn support_exec_file(&mut self) -> Option<ExecFileOps<'_, Self>> {
        let images = self.replay.prepared().images();
        let is_wide = images.first().is_some_and(|image| image.symbols.class() == Class::Elf64);
        is_wide.then_some(self)
    }

    fn support_host_io(&mut self) -> Option<HostIoOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadBase for Debugged<'_> {
    fn read_registers(&mut self, regs: &mut X86_64CoreRegs) -> TargetResult<(), Self> {
        let cpu = self.replay.machine().cpu();
        regs.regs = ORDER.map(|reg| cpu.regs.get(reg));
        regs.rip = cpu.regs.rip;
        regs.eflags = cpu.rflags() as u32;
        regs.xmm = cpu.regs.xmm;
        regs.mxcsr = cpu.regs.mxcsr;
        Ok(())
    }

    fn write_registers(&mut self, _: &X86_64CoreRegs) -> TargetResult<(), Self> {
        // It would be gone after the next step back.
        Err(TargetError::Errno(EPERM))
    }

    fn read_addrs(&mut self, start: u64, data: &mut [u8]) -> TargetResult<usize, Self> {
        let memory = self.replay.machine().host().uv.memory();
        let read = self.view.read(memory, Gpa(start), data);
        if read == 0 && !data.is_empty() { Err(TargetError::NonFatal) } else { Ok(read) }
    }

    fn write_addrs(&mut self, _: u64, _: &[u8]) -> TargetResult<(), Self> {
        Err(TargetError::Errno(EPERM))
    }

    fn support_resume(&mut self) -> Option<SingleThreadResumeOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadResume for Debugged<'_> {
    fn resume(&mut self, _: Option<Signal>) -> Result<(), Self::Error> {
        self.wanted = Wanted::Resume;
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<SingleThreadSingleStepOps<'_, Self>> {
        Some(self)
    }

    fn support_reverse_step(&mut self) -> Option<ReverseStepOps<'_, (), Self>> {
        Some(self)
    }

    fn support_reverse_cont(&mut self) -> Option<ReverseContOps<'_, (), Self>> {
        Some(self)
    }
}

impl SingleThreadSingleStep for Debugged<'_> {
    fn step(&mut self, _: Option<Signal>) -> Result<(), Self::Error> {
        self.wanted = Wanted::Step;
        Ok(())
    }
}

impl ReverseStep<()> for Debugged<'_> {
    fn reverse_step(&mut self, (): ()) -> Result<(), Self::Error> {
        self.wanted = Wanted::StepBack;
        Ok(())
    }
}

impl ReverseCont<()> for Debugged<'_> {
    fn reverse_cont(&mut self) -> Result<(), Self::Error> {
        self.wanted = Wanted::ResumeBack;
        Ok(())
    }
}

impl Breakpoints for Debugged<'_> {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_watchpoint(&mut self) -> Option<HwWatchpointOps<'_, Self>> {
        Some(self)
    }
}

impl SwBreakpoint for Debugged<'_> {
    fn add_sw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.replay.add_breakpoint(address))
    }

    fn remove_sw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.replay.remove_breakpoint(address))
    }
}

impl HwBreakpoint for Debugged<'_> {
    fn add_hw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.replay.add_breakpoint(address))
    }

    fn remove_hw_breakpoint(&mut self, address: u64, _: usize) -> TargetResult<bool, Self> {
        Ok(self.replay.remove_breakpoint(address))
    }
}

fn watch(address: u64, bytes: u64, kind: WatchKind) -> Watch {
    let kind = match kind {
        WatchKind::Write => Kind::Write,
        WatchKind::Read => Kind::Read,
        WatchKind::ReadWrite => Kind::Any,
    };
    Watch { address, bytes, kind }
}

impl HwWatchpoint for Debugged<'_> {
    fn add_hw_watchpoint(
        &mut self,
        address: u64,
        bytes: u64,
        kind: WatchKind,
    ) -> TargetResult<bool, Self> {
        Ok(self.replay.add_watch(watch(address, bytes, kind)))
    }

    fn remove_hw_watchpoint(
        &mut self,
        address: u64,
        bytes: u64,
        kind: WatchKind,
    ) -> TargetResult<bool, Self> {
        Ok(self.replay.remove_watch(watch(address, bytes, kind)))
    }
}

impl MonitorCmd for Debugged<'_> {
    fn handle_monitor_cmd(
        &mut self,
        command: &[u8],
        mut out: ConsoleOutput<'_>,
    ) -> Result<(), Self::Error> {
        let text = monitor::answer(self, &String::from_utf8_lossy(command));
        out.write_raw(text.as_bytes());
        Ok(())
    }
}

/// Copies what lies at `offset` of `bytes`; how much.
fn slice(bytes: &[u8], offset: u64, length: usize, out: &mut [u8]) -> usize {
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    let count = length.min(out.len()).min(bytes.len() - from);
    out[..count].copy_from_slice(&bytes[from..from + count]);
    count
}

impl ExecFile for Debugged<'_> {
    fn get_exec_file(
        &self,
        _: Option<Pid>,
        offset: u64,
        length: usize,
        out: &mut [u8],
    ) -> TargetResult<usize, Self> {
        Ok(slice(GUEST_FILE.as_bytes(), offset, length, out))
    }
}

impl HostIo for Debugged<'_> {
    fn support_open(&mut self) -> Option<HostIoOpenOps<'_, Self>> {
        Some(self)
    }

    fn support_close(&mut self) -> Option<HostIoCloseOps<'_, Self>> {
        Some(self)
    }

    fn support_pread(&mut self) -> Option<HostIoPreadOps<'_, Self>> {
        Some(self)
    }

    fn support_fstat(&mut self) -> Option<HostIoFstatOps<'_, Self>> {
        Some(self)
    }

    fn support_setfs(&mut self) -> Option<HostIoSetfsOps<'_, Self>> {
        Some(self)
    }
}

/// No file of this machine's can be opened: the two names stand for images in memory.
impl HostIoOpen for Debugged<'_> {
    fn open(
        &mut self,
        name: &[u8],
        flags: HostIoOpenFlags,
        _: HostIoOpenMode,
    ) -> HostIoResult<u32, Self> {
        if flags.intersects(HostIoOpenFlags::O_WRONLY | HostIoOpenFlags::O_RDWR) {
            return Err(HostIoError::Errno(HostIoErrno::EROFS));
        }
        self.file(name).ok_or(HostIoError::Errno(HostIoErrno::ENOENT))
    }
}

impl HostIoClose for Debugged<'_> {
    fn close(&mut self, fd: u32) -> HostIoResult<(), Self> {
        self.contents(fd).map(|_| ()).ok_or(HostIoError::Errno(HostIoErrno::EBADF))
    }
}

impl HostIoPread for Debugged<'_> {
    fn pread(
        &mut self,
        fd: u32,
        count: usize,
        offset: u64,
        out: &mut [u8],
    ) -> HostIoResult<usize, Self> {
        let bytes = self.contents(fd).ok_or(HostIoError::Errno(HostIoErrno::EBADF))?;
        Ok(slice(bytes, offset, count, out))
    }
}

impl HostIoFstat for Debugged<'_> {
    fn fstat(&mut self, fd: u32) -> HostIoResult<HostIoStat, Self> {
        let bytes = self.contents(fd).ok_or(HostIoError::Errno(HostIoErrno::EBADF))?;
        Ok(HostIoStat {
            st_dev: 0,
            st_ino: 0,
            st_mode: HostIoOpenMode::S_IFREG | HostIoOpenMode::S_IRUSR,
            st_nlink: 1,
            st_uid: 0,
            st_gid: 0,
            st_rdev: 0,
            st_size: bytes.len() as u64,
            st_blksize: 512,
            st_blocks: (bytes.len() as u64).div_ceil(512),
            st_atime: 0,
            st_mtime: 0,
            st_ctime: 0,
        })
    }
}

impl HostIoSetfs for Debugged<'_> {
    fn setfs(&mut self, _: FsKind) -> HostIoResult<(), Self> {
        Ok(())
    }
}
