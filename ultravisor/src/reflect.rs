//! What the hypervisor gets to see of a secure guest's call: its number and the arguments it
//! defines, everything else neutralised.
//!
//! "The ultravisor … will neutralise registers that the hypervisor does not need" (kernel
//! ultravisor document, "Hypercalls"; firmware `core/hvcall.c`, `core/mmio.c`).

use ultravisor_abi::{CallRegs, Gpa, Hcall};

/// How many argument registers a hypercall defines. H_SVM_* are the ultravisor's own: a guest
/// that issues one gets H_FUNCTION.
pub const fn arguments(call: Hcall) -> Option<usize> {
    match call {
        Hcall::PutTce => Some(3),
        Hcall::LogicalCiLoad => Some(2),
        Hcall::LogicalCiStore => Some(3),
        Hcall::PutTermChar => Some(4),
        Hcall::Cede => Some(0),
        Hcall::PutTceIndirect | Hcall::StuffTce => Some(4),
        Hcall::SvmPageIn
        | Hcall::SvmPageOut
        | Hcall::SvmInitStart
        | Hcall::SvmInitDone
        | Hcall::SvmInitAbort => None,
    }
}

/// The registers that the hypervisor sees of a secure guest's hypercall, or `None` if the call is
/// not the guest's to make.
pub fn hypercall(call: Hcall, regs: CallRegs) -> Option<[u64; 6]> {
    let used = arguments(call)?;
    let mut args = [0; 6];
    args[..used].copy_from_slice(&regs.args[..used]);
    Some(args)
}

/// A secure guest's MMIO load, as the hypervisor sees it: (size, address).
pub fn mmio_load(at: Gpa, bytes: u8) -> (Hcall, [u64; 6]) {
    (Hcall::LogicalCiLoad, [bytes.into(), at.0, 0, 0, 0, 0])
}

/// A secure guest's MMIO store, as the hypervisor sees it: (size, address, value).
pub fn mmio_store(at: Gpa, bytes: u8, value: u64) -> (Hcall, [u64; 6]) {
    (Hcall::LogicalCiStore, [bytes.into(), at.0, value, 0, 0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_does_not_define_is_neutral() {
        for call in Hcall::ALL {
            let regs = CallRegs { number: call.number(), args: [!0; 6] };
            match (arguments(*call), hypercall(*call, regs)) {
                (Some(used), Some(args)) => {
                    assert!(args[..used].iter().all(|arg| *arg == !0), "{call:?}");
                    assert!(args[used..].iter().all(|arg| *arg == 0), "{call:?}");
                }
                (None, None) => assert!(call.name().starts_with("H_SVM_"), "{call:?}"),
                other => panic!("{call:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn mmio_shows_size_address_and_value_only() {
        assert_eq!(mmio_load(Gpa(0xd000_0050), 4).1, [4, 0xd000_0050, 0, 0, 0, 0]);
        assert_eq!(mmio_store(Gpa(0xd000_0050), 4, 7).1, [4, 0xd000_0050, 7, 0, 0, 0]);
    }
}
