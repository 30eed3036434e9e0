//! Devices from the outside: a small driver, a host of plain memory that writes down each touch.

mod balloon;
mod blk;
mod fuzz;
mod garbage;
mod net;
mod pci;
mod rig;
mod streams;
mod transport;
mod viommu;
mod window;
