//! Every ultracall, granted and refused, against a hypervisor that behaves as KVM does until a
//! test makes it misbehave.

mod arguments;
mod esm;
mod fake;
mod paging;
mod share;
mod states;
