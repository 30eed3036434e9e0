//! Ultracalls: their numbers (kernel `arch/powerpc/include/asm/ultravisor-api.h`).

/// Who is entitled to issue a call (ultravisor document, "Ultracalls"; firmware `core/uvcall.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caller {
    /// Supervisor code of a VM that is not (yet) secure.
    NormalGuest,
    /// Supervisor code of a secure VM.
    SecureGuest,
    /// The hypervisor.
    Hypervisor,
}

impl Caller {
    /// Every caller, in the order of the call table.
    pub const ALL: [Self; 3] = [Self::NormalGuest, Self::SecureGuest, Self::Hypervisor];

    /// The name used in every output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NormalGuest => "normal_guest",
            Self::SecureGuest => "secure_guest",
            Self::Hypervisor => "hypervisor",
        }
    }
}

numbered! {
    /// An ultracall.
    Ucall(u64), number, from_number {
        /// `(lpid, dw0, dw1)`: the hypervisor writes a partition-table entry.
        WritePate = 0xF104, "UV_WRITE_PATE";
        /// `(image base, FDT)`: a normal VM asks to become secure.
        Esm = 0xF110, "UV_ESM";
        /// The hypervisor resumes a secure VM. Here returning from the reflected call does the same.
        Return = 0xF11C, "UV_RETURN";
        /// `(lpid, start GPA, bytes, flags, slot id)`: the hypervisor registers guest memory.
        RegisterMemSlot = 0xF120, "UV_REGISTER_MEM_SLOT";
        /// `(lpid, slot id)`.
        UnregisterMemSlot = 0xF124, "UV_UNREGISTER_MEM_SLOT";
        /// `(lpid, source real address, destination GPA, flags, order)`.
        PageIn = 0xF128, "UV_PAGE_IN";
        /// `(lpid, destination real address, source GPA, flags, order)`.
        PageOut = 0xF12C, "UV_PAGE_OUT";
        /// `(first GFN, count)`: a secure VM shares units with the hypervisor.
        SharePage = 0xF130, "UV_SHARE_PAGE";
        /// `(first GFN, count)`: a secure VM takes units back.
        UnsharePage = 0xF134, "UV_UNSHARE_PAGE";
        /// `(lpid, GPA, order)`: the hypervisor says that it took back a shared unit's backing.
        PageInval = 0xF138, "UV_PAGE_INVAL";
        /// `(lpid)`.
        SvmTerminate = 0xF13C, "UV_SVM_TERMINATE";
        /// `()`: a secure VM takes back all that it shared.
        UnshareAllPages = 0xF140, "UV_UNSHARE_ALL_PAGES";
    }
}
