//! Hypercalls: their numbers (PAPR; ultravisor document, "Hypercalls"; firmware `include/hvcall.h`).

numbered! {
    /// A hypercall.
    Hcall(u64), number, from_number {
        /// `(LIOBN, I/O address, TCE)`: map one IOMMU page.
        PutTce = 0x20, "H_PUT_TCE";
        /// `(size, address)`: how the ultravisor hands on a secure guest's MMIO load.
        LogicalCiLoad = 0x3C, "H_LOGICAL_CI_LOAD";
        /// `(size, address, value)`: how the ultravisor hands on a secure guest's MMIO store.
        LogicalCiStore = 0x40, "H_LOGICAL_CI_STORE";
        /// `(0, length at most 16, bytes 0-7, bytes 8-15)`: console output.
        PutTermChar = 0x58, "H_PUT_TERM_CHAR";
        /// `()`: the guest has nothing to do.
        Cede = 0xE0, "H_CEDE";
        /// `(LIOBN, I/O address, list GPA, count)`: map up to 512 IOMMU pages from a list in memory.
        PutTceIndirect = 0x13C, "H_PUT_TCE_INDIRECT";
        /// `(LIOBN, I/O address, TCE, count)`: map or clear a range to one value.
        StuffTce = 0x138, "H_STUFF_TCE";
        /// `(GPA, flags, order)`: the ultravisor asks for a unit. Flags: [`H_PAGE_IN_SHARED`] or 0.
        SvmPageIn = 0xEF00, "H_SVM_PAGE_IN";
        /// `(GPA, flags, order)`: the ultravisor asks that a unit be paged out.
        SvmPageOut = 0xEF04, "H_SVM_PAGE_OUT";
        /// `()`: a VM begins to become secure.
        SvmInitStart = 0xEF08, "H_SVM_INIT_START";
        /// `()`: it has become secure.
        SvmInitDone = 0xEF0C, "H_SVM_INIT_DONE";
        /// `()`: it could not become secure.
        SvmInitAbort = 0xEF14, "H_SVM_INIT_ABORT";
    }
}

/// H_SVM_PAGE_IN flag: the unit is to be shared (kernel `asm/hvcall.h`, `H_PAGE_IN_SHARED`).
pub const H_PAGE_IN_SHARED: u64 = 1;
