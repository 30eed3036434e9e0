#!/bin/sh
# Builds hello.elf from hello.c. The image in this folder was built with gcc 12.2.
set -eu
cd "$(dirname "$0")"
gcc -std=c11 -O2 -Wall -Wextra -Werror -ffreestanding -fno-pic -fno-stack-protector \
    -fcf-protection=none -fno-asynchronous-unwind-tables -fno-omit-frame-pointer \
    -static -no-pie -nostdlib -Wl,--build-id=none -Wl,-T,hello.ld -o hello.elf hello.c
