//! The machine, run whole: how runs end, what calls and touches do, what is told of it.

mod calls;
mod ends;
mod memory;
mod probes;
mod small;
mod whole;
