//! What the guest images do by themselves, on a machine without a host: the order of their
//! calls, their DMA paths and mechanisms, and every trouble by its name.

mod alone;
mod flat;
mod mechanisms;
