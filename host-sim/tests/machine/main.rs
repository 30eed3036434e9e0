//! The machine, run whole: how runs end, what calls and touches do, what is told of it.
#![expect(clippy::wildcard_enum_match_arm, reason = "a filter names what it keeps")]

mod boot;
mod calls;
mod debugger;
mod ends;
mod interleave;
mod interrupts;
mod iommu;
mod limits;
mod memory;
mod pci;
mod platform;
mod ports;
mod probes;
mod small;
mod whole;
