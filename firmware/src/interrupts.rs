//! Interrupts, for a guest that sleeps while it waits: its table of handlers, the local APIC in x2APIC
//! mode, the I/O APIC's inputs that devices are at or the message that they send, and the sleep itself.
//!
//! They are let in while the guest sleeps and nowhere else. So a handler finds nothing half done, and
//! may change whatever a called function may.
#![expect(unsafe_code, reason = "descriptor tables, model-specific registers and handlers")]

use crate::device_tree::{DEVICES_MAX, Machine};
use crate::registers::{load, store};
use crate::single::Single;
use alloc::boxed::Box;
use core::arch::{asm, global_asm};
use ultravisor_abi::boot::{IO_APIC, VIRTIO_INPUT, VIRTIO_INPUTS};

/// The vector of the first input that devices are at; the others follow.
const DEVICES: usize = 0x40;
/// That of the message which each PCI function sends: nothing need be asked to find out whose it is.
pub const MESSAGE: u8 = 0x48;
/// The timer's, and that of an interrupt that went away before it was taken.
const TIMER: usize = 0x50;
const SPURIOUS: usize = 0xff;

/// Model-specific registers (SDM volume 4; volume 3, 11.12).
mod msr {
    pub const APIC_BASE: u32 = 0x1b;
    pub const TSC_DEADLINE: u32 = 0x6e0;
    pub const END: u32 = 0x80b;
    pub const SPURIOUS: u32 = 0x80f;
    pub const LOCAL_TIMER: u32 = 0x832;
    pub const LOCAL_LINT0: u32 = 0x835;
}

/// Offsets of a virtio-mmio device (virtio 1.4, 4.2.2).
const INTERRUPT_STATUS: u64 = 0x60;
const INTERRUPT_ACK: u64 = 0x64;

// Each handler has 16 bytes. The processor has aligned the stack and pushed five words.
global_asm!(
    r#"
    .pushsection .text.uv_handlers, "ax", @progbits
    .balign 16
    uv_device_handlers:
    .irp input, 0, 1, 2, 3, 4, 5, 6, 7
        .balign 16
        mov edi, \input
        jmp uv_device_handler
    .endr
    uv_device_handler:
        sub rsp, 8
        call {device}
        add rsp, 8
        iretq
    uv_message_handler:
        sub rsp, 8
        call {message}
        add rsp, 8
        iretq
    uv_timer_handler:
        sub rsp, 8
        call {timer}
        add rsp, 8
    uv_spurious_handler:
        iretq
    .popsection
    "#,
    device = sym device_asks,
    message = sym message_comes,
    timer = sym timer_expires,
);

unsafe extern "C" {
    static uv_device_handlers: u8;
    static uv_message_handler: u8;
    static uv_timer_handler: u8;
    static uv_spurious_handler: u8;
}

const HANDLER_BYTES: u64 = 16;

/// Flat segments, as the boot protocol left them: none, 64-bit code (8), data (16).
static SEGMENTS: [u64; 3] = [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];

/// What LGDT and LIDT read.
#[repr(C, packed)]
struct Table {
    limit: u16,
    base: u64,
}

/// What the handlers know. It lies on the heap: a guest that polls has no room to spare for it.
struct Known {
    /// Registers and input (from the first that devices are at) of each device.
    devices: [Option<(u64, usize)>; DEVICES_MAX],
    /// What the timer is set to, or 0.
    armed_ns: u64,
    /// The processor reads it while it delivers an interrupt.
    handlers: [[u64; 2]; 256],
}

static KNOWN: Single<Option<&'static mut Known>> = Single::new(None);

/// Whether a wait is a sleep.
pub fn are_on() -> bool {
    KNOWN.with(|known| known.is_some())
}

/// Has the devices of `machine` interrupt, those that the device tree gives an input.
pub fn turn_on(machine: &Machine) {
    let known = Box::leak(Box::new(Known {
        devices: [None; DEVICES_MAX],
        armed_ns: 0,
        handlers: [[0; 2]; 256],
    }));
    let inputs = machine.devices().filter_map(|device| {
        let input = (device.input? as usize).checked_sub(VIRTIO_INPUT)?;
        (input < VIRTIO_INPUTS).then_some((device.base, input))
    });
    for (place, device) in known.devices.iter_mut().zip(inputs) {
        *place = Some(device);
    }
    set_handlers(&mut known.handlers);
    load_tables(&known.handlers);
    set_up_local_apic();
    for (_, input) in known.devices.iter().flatten() {
        open_input(*input);
    }
    KNOWN.with(|place| *place = Some(known));
}

fn set_handlers(handlers: &mut [[u64; 2]; 256]) {
    let first = &raw const uv_device_handlers as u64;
    for (input, handler) in handlers[DEVICES..DEVICES + VIRTIO_INPUTS].iter_mut().enumerate() {
        *handler = gate(first + input as u64 * HANDLER_BYTES);
    }
    handlers[usize::from(MESSAGE)] = gate(&raw const uv_message_handler as u64);
    handlers[TIMER] = gate(&raw const uv_timer_handler as u64);
    handlers[SPURIOUS] = gate(&raw const uv_spurious_handler as u64);
}

/// An interrupt gate to `handler` in segment 8 (SDM volume 3, 6.14.1).
const fn gate(handler: u64) -> [u64; 2] {
    const PRESENT_INTERRUPT: u64 = 0x8e00 << 32;
    const CODE: u64 = 8 << 16;
    [handler & 0xffff | (handler >> 16 & 0xffff) << 48 | PRESENT_INTERRUPT | CODE, handler >> 32]
}

fn load_tables(handlers: &[[u64; 2]; 256]) {
    let segments =
        Table { limit: size_of_val(&SEGMENTS) as u16 - 1, base: &raw const SEGMENTS as u64 };
    let handlers =
        Table { limit: size_of_val(handlers) as u16 - 1, base: handlers.as_ptr() as u64 };
    // SAFETY: both tables stay where they are. The segments are those that are loaded; the handlers are
    // taken only while the guest sleeps.
    unsafe {
        asm!(
            "lgdt [{segments}]",
            "lidt [{handlers}]",
            segments = in(reg) &raw const segments,
            handlers = in(reg) &raw const handlers,
            options(nostack, preserves_flags),
        );
    }
}

fn set_up_local_apic() {
    const EXTENDED: u64 = 3 << 10;
    const ON: u64 = 1 << 8;
    const MASKED: u64 = 1 << 16;
    const DEADLINE: u64 = 2 << 17;
    write(msr::APIC_BASE, read(msr::APIC_BASE) | EXTENDED);
    write(msr::SPURIOUS, ON | SPURIOUS as u64);
    // The 8259As do not come through.
    write(msr::LOCAL_LINT0, MASKED);
    write(msr::LOCAL_TIMER, DEADLINE | TIMER as u64);
}

/// Opens input `input` of those that devices are at, level-triggered, to this processor (82093AA data
/// sheet, 3.2.4).
fn open_input(input: usize) {
    const LEVEL: u32 = 1 << 15;
    let low = 0x10 + 2 * (VIRTIO_INPUT + input) as u32;
    for (register, value) in [(low + 1, 0), (low, LEVEL | (DEVICES + input) as u32)] {
        store(IO_APIC.0, register);
        store(IO_APIC.0 + 0x10, value);
    }
}

/// Sleeps until a device interrupts, or `until_ns` at the latest; it is `now_ns`. It may end early:
/// whoever sleeps looks whether what it waits for has come.
#[inline(never)] // most guests poll: it is to take no room at each place that waits
pub fn sleep(now_ns: u64, until_ns: u64) {
    KNOWN.with(|known| {
        let Some(known) = known else { return };
        // One that is set to an earlier moment to come will do: it is then set again. So a wait
        // that ends in time need not set it at all.
        if known.armed_ns <= now_ns || known.armed_ns > until_ns {
            known.armed_ns = until_ns;
            write(msr::TSC_DEADLINE, until_ns);
        }
    });
    // SAFETY: a handler changes what a function may that is called here, and uses the stack as one
    // does. Nothing comes between STI and HLT, so no interrupt is slept through.
    unsafe { asm!("sti", "hlt", "cli", clobber_abi("C")) }
}

/// A device at `input` interrupts. All that share it are asked, and what they say is acknowledged.
extern "C" fn device_asks(input: usize) {
    KNOWN.with(|known| {
        let devices = known.iter().flat_map(|known| known.devices.iter().flatten());
        for (base, _) in devices.filter(|(_, at)| *at == input) {
            let status: u32 = load(base + INTERRUPT_STATUS);
            if status != 0 {
                store(base + INTERRUPT_ACK, status);
            }
        }
    });
    write(msr::END, 0);
}

/// A device sent its message: an edge, which nobody holds and nobody need acknowledge.
extern "C" fn message_comes() {
    write(msr::END, 0);
}

extern "C" fn timer_expires() {
    KNOWN.with(|known| known.iter_mut().for_each(|known| known.armed_ns = 0));
    write(msr::END, 0);
}

fn read(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the registers named above are there, and reading them has no effect.
    unsafe {
        asm!(
            "rdmsr",
            in("ecx") register,
            out("eax") low,
            out("edx") high,
            options(nostack, preserves_flags),
        );
    }
    u64::from(high) << 32 | u64::from(low)
}

fn write(register: u32, value: u64) {
    // SAFETY: those named above concern interrupts alone, which come only while the guest sleeps.
    unsafe {
        asm!(
            "wrmsr",
            in("ecx") register,
            in("eax") value as u32,
            in("edx") (value >> 32) as u32,
            options(nostack, preserves_flags),
        );
    }
}
