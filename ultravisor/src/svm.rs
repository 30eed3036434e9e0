//! TABLE 3: the life of a VM × the calls that change it.

/// Where a VM is in its life (kernel `arch/powerpc/kvm/book3s_hv_uvmem.c`, "VM states").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Life {
    /// Not protected.
    Normal,
    /// Inside UV_ESM. Runs no supervisor code.
    Transient,
    /// Protected.
    Secure,
    /// Was secure; its vCPU never runs again. KVM's table writes *normal* here, because it
    /// reboots another VM in the same structure; here a run has one boot.
    Terminated,
}

impl Life {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Normal, Self::Transient, Self::Secure, Self::Terminated];

    /// The name used in every output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Transient => "transient",
            Self::Secure => "secure",
            Self::Terminated => "terminated",
        }
    }
}

/// What changes a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LifeOp {
    /// H_SVM_INIT_START.
    InitStart,
    /// H_SVM_INIT_DONE.
    InitDone,
    /// H_SVM_INIT_ABORT.
    InitAbort,
    /// UV_SVM_TERMINATE, or the ultravisor aborts the VM.
    Terminate,
}

impl LifeOp {
    /// Every operation.
    pub const ALL: [Self; 4] = [Self::InitStart, Self::InitDone, Self::InitAbort, Self::Terminate];
}

/// The table: `None` is an error, and nothing changes.
#[rustfmt::skip]
pub const fn next_life(from: Life, op: LifeOp) -> Option<Life> {
    use {Life::*, LifeOp::*};
    match (from, op) {
        (Normal,     InitStart) => Some(Transient),
        (Normal,     InitDone | InitAbort) => None,
        (Normal,     Terminate) => Some(Normal),

        (Transient,  InitStart) => None,
        (Transient,  InitDone)  => Some(Secure),
        (Transient,  InitAbort) => Some(Normal),
        // KVM ends H_SVM_INIT_ABORT by UV_SVM_TERMINATE, and the guest goes on as a normal VM.
        (Transient,  Terminate) => Some(Normal),

        (Secure,     InitStart | InitDone | InitAbort) => None,
        (Secure,     Terminate) => Some(Terminated),

        (Terminated, InitStart | InitDone | InitAbort) => None,
        (Terminated, Terminate) => Some(Terminated),
    }
}
