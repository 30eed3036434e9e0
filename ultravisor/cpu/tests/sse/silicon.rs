//! The arbiter: runs short snippets on the processor that runs the tests.
//!
//! A snippet is assembled between a prologue that loads all registers and an epilogue that stores
//! them. A fault (#XM, #GP, #PF of the snippet's own access) ends it: the signal handler continues
//! at the epilogue. Linux on x86-64 only, like the tests that use it.
#![expect(unsafe_code, reason = "executes code that it has just assembled, and catches its faults")]

use iced_x86::IcedError;
use iced_x86::code_asm::*;
use std::ffi::{c_int, c_void};
use std::mem::offset_of;
use std::sync::Once;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

/// The registers that a snippet sees and leaves.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// xmm0 to xmm15.
    pub xmm: [u128; 16],
    /// In encoding order: rax rcx rdx rbx rsp rbp rsi rdi r8..r15. rsp is the host's: 0 here.
    pub gpr: [u64; 16],
    /// Arithmetic flags; others must be clear.
    pub rflags: u64,
    /// MXCSR.
    pub mxcsr: u32,
}

const XMM: usize = offset_of!(Registers, xmm);
const GPR: usize = offset_of!(Registers, gpr);
const RFLAGS: usize = offset_of!(Registers, rflags);
const MXCSR: usize = offset_of!(Registers, mxcsr);

/// The signal that ended a snippet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(pub i32);

/// Arithmetic error: #XM here.
pub const SIGFPE: Signal = Signal(8);
/// #GP or #PF.
pub const SIGSEGV: Signal = Signal(11);

const GENERAL: [AsmRegister64; 16] =
    [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15];
const VECTOR: [AsmRegisterXmm; 16] = [
    xmm0, xmm1, xmm2, xmm3, xmm4, xmm5, xmm6, xmm7, xmm8, xmm9, xmm10, xmm11, xmm12, xmm13, xmm14,
    xmm15,
];

/// Assembled code, ready to run.
pub struct Snippet {
    code: memmap2::Mmap,
    epilogue: u64,
}

impl Snippet {
    /// Assembles what `body` emits. The body must leave rsp alone and fall through at its end.
    pub fn new(body: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Self {
        let mut asm = CodeAssembler::new(64).expect("64 is a bitness");
        let mut epilogue = asm.create_label();
        emit(&mut asm, &mut epilogue, body).expect("the snippet is encodable");
        let mut memory = memmap2::MmapMut::map_anon(4096).expect("a page");
        let base = memory.as_ptr() as u64;
        let options = iced_x86::BlockEncoderOptions::RETURN_NEW_INSTRUCTION_OFFSETS;
        let result = asm.assemble_options(base, options).expect("the snippet is encodable");
        let epilogue = result.label_ip(&epilogue).expect("the epilogue is there");
        let code = &result.inner.code_buffer;
        memory[..code.len()].copy_from_slice(code);
        Self { code: memory.make_exec().expect("a page may be made executable"), epilogue }
    }

    /// Runs it once. On a fault `registers` are those before the faulting instruction, with the
    /// flags that it left in MXCSR.
    pub fn run(&self, registers: &mut Registers) -> Result<(), Signal> {
        let _one = exclusive();
        RESUME.store(self.epilogue, Ordering::SeqCst);
        CAUGHT.store(0, Ordering::SeqCst);
        // SAFETY: the page holds a complete function of this type, made by `emit`: it saves what
        // the ABI says and reads and writes `registers` alone, and the snippets of our own tests
        // touch only memory that their registers point to.
        let function: extern "sysv64" fn(*mut Registers) =
            unsafe { std::mem::transmute(self.code.as_ptr()) };
        function(registers);
        RESUME.store(0, Ordering::SeqCst);
        registers.gpr[4] = 0;
        match CAUGHT.load(Ordering::SeqCst) {
            0 => Ok(()),
            signal => Err(Signal(signal)),
        }
    }
}

/// Prologue, body, epilogue.
fn emit(
    asm: &mut CodeAssembler,
    epilogue: &mut CodeLabel,
    body: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
) -> Result<(), IcedError> {
    for register in [rbx, rbp, r12, r13, r14, r15, rdi] {
        asm.push(register)?;
    }
    for (i, register) in VECTOR.into_iter().enumerate() {
        asm.movups(register, xmmword_ptr(rdi + XMM + 16 * i))?;
    }
    asm.ldmxcsr(dword_ptr(rdi + MXCSR))?;
    asm.push(qword_ptr(rdi + RFLAGS))?;
    asm.popfq()?;
    for (i, register) in GENERAL.into_iter().enumerate() {
        if register != rsp && register != rdi {
            asm.mov(register, qword_ptr(rdi + GPR + 8 * i))?;
        }
    }
    asm.mov(rdi, qword_ptr(rdi + GPR + 8 * 7))?;
    body(asm)?;
    asm.set_label(epilogue)?;
    // The snippet's rdi goes over the slot that held ours.
    asm.xchg(qword_ptr(rsp), rdi)?;
    for (i, register) in GENERAL.into_iter().enumerate() {
        if register != rsp && register != rdi {
            asm.mov(qword_ptr(rdi + GPR + 8 * i), register)?;
        }
    }
    asm.pop(qword_ptr(rdi + GPR + 8 * 7))?;
    asm.pushfq()?;
    asm.pop(qword_ptr(rdi + RFLAGS))?;
    asm.cld()?;
    asm.stmxcsr(dword_ptr(rdi + MXCSR))?;
    for (i, register) in VECTOR.into_iter().enumerate() {
        asm.movups(xmmword_ptr(rdi + XMM + 16 * i), register)?;
    }
    // What the ABI promises a Rust function: the default MXCSR.
    asm.push(0x1f80)?;
    asm.ldmxcsr(dword_ptr(rsp))?;
    asm.pop(rax)?;
    for register in [r15, r14, r13, r12, rbp, rbx] {
        asm.pop(register)?;
    }
    asm.ret()
}

/// Where to go on after a fault, 0 outside of a snippet; and which signal it was.
static RESUME: AtomicU64 = AtomicU64::new(0);
static CAUGHT: AtomicI32 = AtomicI32::new(0);

/// Snippets share one handler, so they run one at a time.
fn exclusive() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    static HANDLER: Once = Once::new();
    HANDLER.call_once(install);
    ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// glibc's `struct sigaction` on x86-64 Linux.
#[repr(C)]
struct SigAction {
    handler: extern "C" fn(c_int, *mut c_void, *mut UserContext),
    mask: [u64; 16],
    flags: c_int,
    restorer: usize,
}

/// The start of glibc's `ucontext_t` on x86-64 Linux, up to the instruction pointer.
#[repr(C)]
struct UserContext {
    flags: u64,
    link: usize,
    stack: [u64; 3],
    registers: [u64; 16],
    rip: u64,
}

unsafe extern "C" {
    fn sigaction(signal: c_int, new: *const SigAction, old: *mut SigAction) -> c_int;
    fn abort() -> !;
}

fn install() {
    const SA_SIGINFO: c_int = 4;
    let action = SigAction { handler: resume, mask: [0; 16], flags: SA_SIGINFO, restorer: 0 };
    for signal in [SIGFPE, SIGSEGV] {
        // SAFETY: `action` is laid out as glibc wants it; the handler lives for ever.
        let result = unsafe { sigaction(signal.0, &raw const action, std::ptr::null_mut()) };
        assert_eq!(result, 0, "the handler is accepted");
    }
}

extern "C" fn resume(signal: c_int, _: *mut c_void, context: *mut UserContext) {
    let epilogue = RESUME.swap(0, Ordering::SeqCst);
    if epilogue == 0 {
        // SAFETY: no preconditions. A fault outside a snippet is a bug of the test.
        unsafe { abort() }
    }
    CAUGHT.store(signal, Ordering::SeqCst);
    // SAFETY: the kernel passes a valid context; the epilogue needs only rsp, which snippets keep.
    unsafe { (*context).rip = epilogue }
}
