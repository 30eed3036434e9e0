//! Entry, the memory functions that compiled code calls, and what happens at a panic.
//!
//! The memory functions move eight bytes per iteration of a string instruction: the guest CPU
//! counts one work unit an iteration. `virtio-drivers`, `core` and `alloc` reach them by name.
#![expect(unsafe_code, reason = "code below the level at which Rust can be safe")]

use crate::calls::{EXIT_PANIC, Terminal, Trouble, exit, print};
use core::arch::{asm, global_asm};
use core::fmt::Write as _;
use core::panic::PanicInfo;

global_asm!(
    r#"
    .macro function name
        .pushsection .text.\name, "ax", @progbits
        .globl \name
        .type \name, @function
    \name:
    .endm
    .macro end_function name
        .size \name, . - \name
        .popsection
    .endm

    function memcpy
        mov rax, rdi
        mov rcx, rdx
        shr rcx, 3
        rep movsq
        mov ecx, edx
        and ecx, 7
        rep movsb
        ret
    end_function memcpy

    # Upwards unless the destination starts inside the source.
    function memmove
        mov rcx, rdi
        sub rcx, rsi
        cmp rcx, rdx
        jae memcpy
        mov rax, rdi
        lea rdi, [rdi + rdx - 1]
        lea rsi, [rsi + rdx - 1]
        mov ecx, edx
        and ecx, 7
        std
        rep movsb
        sub rdi, 7
        sub rsi, 7
        mov rcx, rdx
        shr rcx, 3
        rep movsq
        cld
        ret
    end_function memmove

    function memset
        mov r9, rdi
        movzx eax, sil
        mov r8, 0x0101010101010101
        imul rax, r8
        mov rcx, rdx
        shr rcx, 3
        rep stosq
        mov ecx, edx
        and ecx, 7
        rep stosb
        mov rax, r9
        ret
    end_function memset

    # A count of zero leaves the zero flag that the instruction before the string one set.
    function memcmp
        mov rcx, rdx
        shr rcx, 3
        xor eax, eax
        test eax, eax
        repe cmpsq
        je 1f
        sub rdi, 8
        sub rsi, 8
        mov ecx, 8
        jmp 2f
    1:  mov ecx, edx
        and ecx, 7
    2:  repe cmpsb
        je 3f
        movzx eax, byte ptr [rdi - 1]
        movzx ecx, byte ptr [rsi - 1]
        sub eax, ecx
    3:  ret
    end_function memcmp

    function bcmp
        jmp memcmp
    end_function bcmp

    function strlen
        mov rax, rdi
    1:  cmp byte ptr [rax], 0
        je 2f
        inc rax
        jmp 1b
    2:  sub rax, rdi
        ret
    end_function strlen
    "#
);

/// Defines `_start`: `main(fdt, stack)` gets what the boot protocol passes, on an aligned stack
/// whose frame-pointer chain ends here.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        core::arch::global_asm!(
            ".pushsection .text._start, \"ax\", @progbits",
            ".globl _start",
            ".type _start, @function",
            "_start:",
            "mov rsi, rsp",
            "and rsp, -16",
            "xor ebp, ebp",
            "call {main}",
            "ud2",
            ".size _start, . - _start",
            ".popsection",
            main = sym $main,
        );
    };
}

unsafe extern "C" {
    static __image_start: u8;
    static __image_end: u8;
}

/// The first byte of this image.
pub fn image_start() -> u64 {
    &raw const __image_start as u64
}

/// The byte after this image's last, `.bss` included.
pub fn image_end() -> u64 {
    &raw const __image_end as u64
}

/// Starts another image as the boot protocol `elf64` says.
///
/// # Safety
/// An image that honours the protocol is loaded with `entry` in it; `stack` is the one that this
/// image was started with, whose contents are lost.
pub unsafe fn hand_over(entry: u64, fdt: u64, stack: u64) -> ! {
    // SAFETY: the caller vouches for all three; nothing of this image is used any more.
    unsafe {
        asm!(
            "mov rsp, {stack}",
            "xor ebp, ebp",
            "jmp {entry}",
            stack = in(reg) stack,
            entry = in(reg) entry,
            in("rdi") fdt,
            options(noreturn),
        )
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    print("panic: ");
    // The terminal never refuses.
    let _ = writeln!(Terminal, "{}", info.message());
    Trouble::failed("panic").report();
    exit(EXIT_PANIC)
}

/// Named by prebuilt code even where panics abort; never called.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// As [`rust_eh_personality`].
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() {}
