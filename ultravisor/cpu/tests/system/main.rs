//! The system side of the processor, against the manual (SDM volume 3): each test says which
//! section it is of.

#[path = "../common/mod.rs"]
mod common;
mod debug;
mod delivery;
mod gates32;
mod paging32;
mod protected;
mod rings;
mod segments;
mod world;
