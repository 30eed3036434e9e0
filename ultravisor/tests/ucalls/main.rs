//! Every ultracall, granted and refused, against a hypervisor that behaves as KVM does until a
//! test makes it misbehave.

mod arguments;
mod backing;
mod esm;
mod fake;
mod model;
mod paging;
mod pair;
mod peeking;
mod sequences;
mod share;
mod states;
