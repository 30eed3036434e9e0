//! Status codes of ultracalls and hypercalls.
//!
//! U_* from the firmware's `include/uapi_uvcall.h`, except that U_BUSY follows Linux (H_BUSY = 1:
//! `asm/ultravisor-api.h`); a firmware header gives it the number of U_FUNCTION, so nothing here
//! returns it. H_* from the firmware's `include/hvcall.h`.

numbered! {
    /// The status of an ultracall.
    UStatus(i64), code, from_code {
        /// Done.
        Success = 0, "U_SUCCESS";
        /// Busy; try again.
        Busy = 1, "U_BUSY";
        /// No such function.
        Function = -2, "U_FUNCTION";
        /// The first argument is wrong.
        Parameter = -4, "U_PARAMETER";
        /// Not now; try again.
        Retry = -5, "U_RETRY";
        /// The caller is not entitled.
        Permission = -11, "U_PERMISSION";
        /// The second argument is wrong.
        P2 = -55, "U_P2";
        /// The third argument is wrong.
        P3 = -56, "U_P3";
        /// The fourth argument is wrong.
        P4 = -57, "U_P4";
        /// The fifth argument is wrong.
        P5 = -58, "U_P5";
        /// The VM's life does not allow it.
        State = -75, "U_STATE";
    }
}

numbered! {
    /// The status of a hypercall.
    HStatus(i64), code, from_code {
        /// Done.
        Success = 0, "H_SUCCESS";
        /// Busy; try again.
        Busy = 1, "H_BUSY";
        /// No such function.
        Function = -2, "H_FUNCTION";
        /// The first argument is wrong.
        Parameter = -4, "H_PARAMETER";
        /// Not enabled by the VMM.
        Authority = -10, "H_AUTHORITY";
        /// The caller is not entitled.
        Permission = -11, "H_PERMISSION";
        /// The second argument is wrong.
        P2 = -55, "H_P2";
        /// The third argument is wrong.
        P3 = -56, "H_P3";
        /// The fourth argument is wrong.
        P4 = -57, "H_P4";
        /// Not supported here.
        Unsupported = -67, "H_UNSUPPORTED";
        /// The VM's state does not allow it.
        State = -75, "H_STATE";
    }
}

impl HStatus {
    /// `Err` with the status, unless it is success.
    pub const fn ok(self) -> Result<(), Self> {
        if self.code() == 0 { Ok(()) } else { Err(self) }
    }
}
