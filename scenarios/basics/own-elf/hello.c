/* An own guest in C: prints a line, computes something, says what came out, exits.
 *
 * Build: ./build.sh, which runs
 *
 *     gcc -std=c11 -O2 -Wall -Wextra -Werror -ffreestanding -fno-pic -fno-stack-protector \
 *         -fcf-protection=none -fno-asynchronous-unwind-tables -fno-omit-frame-pointer \
 *         -static -no-pie -nostdlib -Wl,--build-id=none -Wl,-T,hello.ld -o hello.elf hello.c
 *
 * It needs no library and no file of this project: only the boot protocol `elf64` (README) and
 * two calls. A call is `vmcall` with its number in rax and its arguments in rdi, rsi, rdx, r10,
 * r8, r9; the status comes back in rax.
 */
#include <stddef.h>
#include <stdint.h>

enum {
    H_PUT_TERM_CHAR = 0x58, /* rdi 0, rsi length at most 16, rdx and r10 the bytes, lowest first */
    CALL_EXIT = 0xFF04,     /* rdi the exit code */
    PRIMES_BELOW = 10000,
    PRIMES_EXPECTED = 1229,
};

static int64_t call(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    register uint64_t r10 __asm__("r10") = d;
    int64_t status;

    __asm__ volatile("vmcall"
                     : "=a"(status), "+D"(a), "+S"(b), "+d"(c), "+r"(r10)
                     : "a"(number)
                     : "r8", "r9", "memory");
    return status;
}

static void print(const char *text)
{
    while (*text) {
        uint64_t half[2] = {0, 0};
        unsigned count = 0;

        while (count < 16 && *text) {
            half[count / 8] |= (uint64_t)(unsigned char)*text++ << (count % 8 * 8);
            count++;
        }
        call(H_PUT_TERM_CHAR, 0, count, half[0], half[1]);
    }
}

static void print_number(unsigned number)
{
    char digits[11];
    char *place = digits + sizeof digits - 1;

    *place = '\0';
    do {
        *--place = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    print(place);
}

/* The sieve of Eratosthenes. */
static unsigned count_primes(void)
{
    static unsigned char composite[PRIMES_BELOW];
    unsigned count = 0;

    for (unsigned i = 2; i < PRIMES_BELOW; i++) {
        if (composite[i])
            continue;
        count++;
        for (unsigned multiple = 2 * i; multiple < PRIMES_BELOW; multiple += i)
            composite[multiple] = 1;
    }
    return count;
}

/* What the boot protocol passes: rdi the device tree, rsp a stack. */
__attribute__((noreturn, used)) static void start(const void *device_tree)
{
    static const unsigned char magic[4] = {0xd0, 0x0d, 0xfe, 0xed};
    const unsigned char *tree = device_tree;
    unsigned primes = count_primes();
    uint64_t code = primes == PRIMES_EXPECTED ? 0 : 1;

    for (size_t i = 0; i < sizeof magic; i++)
        if (tree[i] != magic[i])
            code = 2;
    print("Hello from a guest in C: ");
    print_number(primes);
    print(" primes below ");
    print_number(PRIMES_BELOW);
    print("\n");
    call(CALL_EXIT, code, 0, 0, 0);
    __builtin_trap();
}

/* The entry: nothing below this frame, the stack aligned as C wants it. */
__asm__(".globl _start\n"
        ".type _start, @function\n"
        "_start:\n"
        "    xor %ebp, %ebp\n"
        "    and $-16, %rsp\n"
        "    call start\n"
        "    ud2\n"
        ".size _start, . - _start\n");
