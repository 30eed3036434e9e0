//! SSE and SSE2 against the processor that runs the tests: pure functions first, then every
//! instruction form in the engine.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod floating;
mod forms;
mod guest;
mod integer;
mod operands;
mod silicon;
mod state;

#[expect(dead_code, reason = "the engine uses more of it than the tests by function do")]
#[path = "../../src/exec"]
mod exec {
    pub mod mxcsr;
    pub mod sse_approximate;
    pub mod sse_convert;
    pub mod sse_format;
    pub mod sse_fp;
    pub mod sse_int;
    pub mod sse_round;
}
