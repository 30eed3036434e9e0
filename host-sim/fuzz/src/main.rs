//! The fuzzer: one binary with every target, so that it is linked once. `UVSIM_FUZZ_TARGET` says
//! which one; what follows on the command line is libFuzzer's.
#![no_main]

mod targets;

use std::alloc::System;
use std::sync::OnceLock;
use targets::Target;

/// What one input may have allocated at a time, with what the target keeps for all of them. An
/// allocation past it fails, and that ends the fuzzer.
const BYTES_MAX: usize = 256 << 20;

#[global_allocator]
static MEMORY: cap::Cap<System> = cap::Cap::new(System, BYTES_MAX);

fn chosen() -> Target {
    static CHOSEN: OnceLock<Target> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let name = std::env::var("UVSIM_FUZZ_TARGET").unwrap_or_default();
        let found = targets::TARGETS.iter().find(|(known, _)| *known == name);
        let names = targets::TARGETS.map(|(name, _)| name).join(", ");
        found.unwrap_or_else(|| panic!("UVSIM_FUZZ_TARGET is one of: {names}")).1
    })
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| chosen()(data));
