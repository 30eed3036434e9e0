//! The fuzz targets: each takes any bytes, and panics if something is wrong. They need no fuzzer:
//! the ordinary tests (`host-sim/tests/wrong_input/fuzzed.rs`) put the seeds and every crash that
//! was ever found through them.

#[path = "../../../../ultravisor/cpu/tests/common/mod.rs"]
mod cpu_rig;
#[path = "../../../../ultravisor/tests/ucalls/fake.rs"]
#[allow(dead_code, reason = "the ultracalls' tests use all of it")]
mod fake;
#[path = "../../../../ultravisor/tests/ucalls/model.rs"]
mod model;
#[path = "../../../../ultravisor/tests/ucalls/pair.rs"]
#[allow(dead_code, reason = "the ultracalls' tests use all of it")]
mod pair;
#[path = "../../../tests/devices/rig.rs"]
#[allow(dead_code, reason = "the devices' tests use all of it")]
mod rig;

mod driver;
mod elf;
mod events;
mod execute;
mod ring;
mod scenario;
mod sealed;
mod text;
mod ucalls;

/// A target.
pub type Target = fn(&[u8]);

/// Every target and its name, which is also that of its corpus.
pub const TARGETS: [(&str, Target); 9] = [
    ("text", text::run),
    ("elf", elf::bytes),
    ("elf-header", elf::header),
    ("execute", execute::run),
    ("ucalls", ucalls::run),
    ("sealed", sealed::run),
    ("ring", ring::run),
    ("driver", driver::run),
    ("events", events::run),
];
