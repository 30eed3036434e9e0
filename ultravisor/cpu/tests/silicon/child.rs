//! The processor's side: a process of its own in which snippets run natively.
//!
//! There is no prologue or epilogue. A snippet lies in a page of `int3`; whatever ends it is a
//! trap, and the signal handler, on a stack of its own, takes the registers out of the context
//! that the kernel saved, puts the next snippet's in, and returns into that. So every register is
//! the snippet's to use, the stack pointer included, and the kernel tells vector, error code and
//! fault address as the processor gave them. 32-bit code is entered the same way: by what the saved
//! context says of CS.
#![expect(unsafe_code, reason = "executes code that the test has made, and catches its traps")]

use crate::record::{
    CODE, CODE_MAX, DATA, DATA_END, ENTRY, FX_STATE, GS_BASE, GS_LIMIT, LIMITED, PAGE, READ_ONLY,
    Record, Trap, WINDOW,
};
use std::ffi::{c_int, c_void};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The word on the command line that makes a process this one.
pub const ARGUMENT: &str = "--run-snippets-natively";
/// How long one batch may take before the process ends itself.
const SECONDS_MAX: u32 = 20;
const INT3: u8 = 0xcc;
/// The kernel's word that an extended state follows the FXSAVE area, and where it is.
const EXTENDED: (usize, u32) = (464, 0x4650_5853);
/// Where the header of the extended state says which parts are not in their initial state.
const PARTS: usize = 512;
/// x87 and SSE among them.
const LEGACY_PARTS: u64 = 3;
/// The registers that the kernel saves, by its numbers.
type Registers = [libc::greg_t; 23];

const GENERAL: [c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// A batch while it runs.
struct Batch {
    records: Vec<Record>,
    /// How many have been started.
    started: usize,
    /// Where the batch was begun: registers and the FXSAVE area.
    home: Option<(Registers, [u8; FX_STATE])>,
}

/// The batch that the handler works on.
static BATCH: AtomicPtr<Batch> = AtomicPtr::new(ptr::null_mut());

/// Answers batches from stdin on stdout until stdin ends.
pub fn serve() -> io::Result<()> {
    map(CODE, PAGE, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC)?;
    map(DATA, DATA_END - DATA, libc::PROT_READ | libc::PROT_WRITE)?;
    protect_read_only()?;
    install()?;
    let (mut input, mut output) = (BufReader::new(io::stdin()), BufWriter::new(io::stdout()));
    let mut count = [0; 4];
    while input.read_exact(&mut count).is_ok() {
        let records: io::Result<Vec<Record>> =
            (0..u32::from_le_bytes(count)).map(|_| Record::read(&mut input)).collect();
        let mut batch = Batch { records: records?, started: 0, home: None };
        run(&mut batch);
        batch.records.iter().try_for_each(|record| record.write(&mut output))?;
        output.flush()?;
    }
    Ok(())
}

/// Runs a whole batch: the breakpoint's handler goes from snippet to snippet and comes back.
fn run(batch: &mut Batch) {
    BATCH.store(batch, Ordering::SeqCst);
    // SAFETY: `alarm` has no preconditions. The breakpoint traps to `handle`, which returns with
    // all registers as they were, so that nothing here notices.
    unsafe {
        libc::alarm(SECONDS_MAX);
        std::arch::asm!("int3");
        libc::alarm(0);
    }
    BATCH.store(ptr::null_mut(), Ordering::SeqCst);
}

fn map(at: u64, bytes: u64, rights: c_int) -> io::Result<()> {
    // Populated, so that an error code says "present" of the page that may only be read.
    let flags =
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE | libc::MAP_POPULATE;
    // SAFETY: with this flag the kernel refuses rather than replace what is mapped there.
    let got = unsafe { libc::mmap(at as *mut c_void, bytes as usize, rights, flags, -1, 0) };
    if got as u64 == at { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn protect_read_only() -> io::Result<()> {
    // SAFETY: the page is of our own mapping, to which no reference exists.
    let result =
        unsafe { libc::mprotect(READ_ONLY as *mut c_void, PAGE as usize, libc::PROT_READ) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// An entry of the local table as `modify_ldt` wants it: number, base, limit, and flags.
#[repr(C)]
struct Entry([u32; 4]);

/// A writable data segment of 32 bits, its limit in pages, present, and usable.
const DATA_SEGMENT: u32 = 1 | 1 << 4 | 1 << 6;

/// Makes [`LIMITED`] and puts it into GS: its base counts in 64-bit mode, too.
fn set_segment() -> io::Result<()> {
    const WRITE: c_int = 1;
    let entry = Entry([0, GS_BASE as u32, (GS_LIMIT / PAGE) as u32, DATA_SEGMENT]);
    let bytes = size_of::<Entry>();
    // SAFETY: the kernel reads the entry and makes a segment of ring 3; nothing of Rust's uses GS.
    let result = unsafe {
        let result = libc::syscall(libc::SYS_modify_ldt, WRITE, &raw const entry, bytes);
        if result == 0 {
            std::arch::asm!("mov gs, {0:x}", in(reg) LIMITED, options(nostack));
        }
        result
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets the handler and its stack, and what GS holds.
fn install() -> io::Result<()> {
    const STACK: usize = 256 * 1024;
    let stack = Box::leak(vec![0_u8; STACK].into_boxed_slice());
    let alternative =
        libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: STACK };
    // SAFETY: the stack lives for ever and is the handler's alone; the action is completely set,
    // zero being a valid value of each field not named.
    let results = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handle as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        let signals = [libc::SIGTRAP, libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];
        let set = |signal| libc::sigaction(signal, &raw const action, ptr::null_mut());
        libc::sigaltstack(&raw const alternative, ptr::null_mut())
            | signals.into_iter().fold(0, |results, signal| results | set(signal))
    };
    if results == 0 { set_segment() } else { Err(io::Error::last_os_error()) }
}

/// Ends the snippet that has trapped, if it was one, and starts the next.
extern "C" fn handle(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a context that is the handler's to change, and in it a pointer to
    // the FXSAVE area behind it. The batch is alive while `run` waits in its breakpoint; a trap
    // without one is a bug of the test, and the process may only die of it.
    let (context, fx, batch) = unsafe {
        let context = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext;
        let fx = context.fpregs.cast::<u8>();
        let Some(batch) = BATCH.load(Ordering::SeqCst).as_mut() else {
            libc::abort();
        };
        (context, fx, batch)
    };
    let general = &mut context.gregs;
    match batch.started {
        0 => batch.home = Some((*general, fx_state(fx))),
        number => take(general, fx, &mut batch.records[number - 1]),
    }
    if let Some(next) = batch.records.get(batch.started) {
        put(general, fx, next);
        batch.started += 1;
    } else if let Some((registers, state)) = batch.home.take() {
        *general = registers;
        set_fx_state(fx, &state);
    }
}

fn fx_state(fx: *const u8) -> [u8; FX_STATE] {
    // SAFETY: the kernel's area is larger.
    unsafe { fx.cast::<[u8; FX_STATE]>().read_unaligned() }
}

fn set_fx_state(fx: *mut u8, state: &[u8]) {
    // SAFETY: the kernel's area is larger than what is written, and where the kernel says so a
    // header follows whose first word says which parts it must load rather than initialise.
    unsafe {
        ptr::copy_nonoverlapping(state.as_ptr(), fx, FX_STATE.min(state.len()));
        if fx.add(EXTENDED.0).cast::<u32>().read_unaligned() == EXTENDED.1 {
            let parts = fx.add(PARTS).cast::<u64>();
            parts.write_unaligned(parts.read_unaligned() | LEGACY_PARTS);
        }
    }
}

/// Registers, data and code of `record` to where the processor will find them.
fn put(general: &mut Registers, fx: *mut u8, record: &Record) {
    for (place, value) in GENERAL.into_iter().zip(record.gpr) {
        general[place as usize] = value as i64;
    }
    general[libc::REG_RIP as usize] = record.rip as i64;
    general[libc::REG_EFL as usize] = record.rflags as i64;
    let segments = &mut general[libc::REG_CSGSFS as usize];
    *segments = *segments & !0xffff | record.code_segment as i64;
    set_fx_state(fx, &record.fx);
    // SAFETY: both selectors are of segments of ring 3 that may be read and written, and 64-bit code
    // asks for neither.
    unsafe {
        std::arch::asm!(
            "mov ds, {0:x}",
            "mov es, {0:x}",
            in(reg) record.data_segment,
            options(nostack, nomem),
        );
    }
    // SAFETY: all three ranges are of our own mappings, to which no reference exists; the window
    // is inside the pages that may be written or is not written at all.
    unsafe {
        ptr::write_bytes(CODE as *mut u8, INT3, PAGE as usize);
        ptr::copy_nonoverlapping(record.code.as_ptr(), ENTRY as *mut u8, CODE_MAX);
        ptr::write_bytes(DATA as *mut u8, 0, (READ_ONLY - DATA) as usize);
        if writable(record.window) {
            ptr::copy_nonoverlapping(record.data.as_ptr(), record.window as *mut u8, WINDOW);
        }
    }
}

fn writable(window: u64) -> bool {
    (DATA..=READ_ONLY - WINDOW as u64).contains(&window)
}

/// What the snippet left, into `record`.
fn take(general: &Registers, fx: *const u8, record: &mut Record) {
    for (place, value) in GENERAL.into_iter().zip(&mut record.gpr) {
        *value = general[place as usize] as u64;
    }
    record.rip = general[libc::REG_RIP as usize] as u64;
    record.rflags = general[libc::REG_EFL as usize] as u64;
    record.fx[..FX_STATE].copy_from_slice(&fx_state(fx));
    let [vector, error, address] = [libc::REG_TRAPNO, libc::REG_ERR, libc::REG_CR2]
        .map(|place| general[place as usize] as u64);
    record.trap = Trap { vector, error, address };
    // SAFETY: as in `put`.
    let stray = unsafe {
        if writable(record.window) {
            let window = record.window as *mut u8;
            ptr::copy_nonoverlapping(window, record.data.as_mut_ptr(), WINDOW);
            ptr::write_bytes(window, 0, WINDOW);
        }
        let data = std::slice::from_raw_parts(DATA as *const u8, (READ_ONLY - DATA) as usize);
        data.iter().any(|&byte| byte != 0)
    };
    record.stray = stray.into();
}
