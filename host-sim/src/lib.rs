//! The host around a secure guest: hypervisor, QEMU-like devices, the machine, scenarios, outputs.
//!
//! Data runs one way: scenario → plan → machine → events → counters → verdict → outputs. Modules
//! stand in an order in which each imports only what stands above it, and a test keeps that.

pub mod event;
pub mod escape;
pub mod outcome;
pub mod counters;
pub mod view;
pub mod shipped;
pub mod image;
pub mod scenario;
pub mod cost;
pub mod recorder;
pub mod log;
pub mod iommu;
pub mod fdt;
pub mod loader;
pub mod hypervisor;
pub mod secrets;
pub mod touch;
pub mod host;
pub mod window;
pub mod device;
pub mod qemu;
pub mod guest_bus;
pub mod call_chain;
pub mod probe;
pub mod pc;
pub mod machine;
pub mod judge;
pub mod run;
pub mod findings;
pub mod verdict;
pub mod saved;
pub mod proof;
pub mod policy;
pub mod compare;
pub mod debate;
pub mod output;
pub mod report;
pub mod help;
pub mod watchdog;
pub mod suite;
pub mod arguments;
pub mod streams;
pub mod tally;
pub mod help_verbs;
pub mod reports;
pub mod job;
pub mod comparing;
pub mod reporting;
pub mod demo;
pub mod gdb;
pub mod cli;
