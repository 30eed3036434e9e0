//! The words of files for enums of other crates (which know no serde) and of the log (whose own
//! form is JSON's): each by its variant's name.

use crate::event::{Direction, Part};
use firmware::bootargs::{Rings, Waits};
use firmware::kernel::{Bit33, Kexec, Ops, Switch, Tce, Virtio};
use firmware::workload::{Order, Placement};
use serde::Deserialize;
use ultravisor::PageState;
use ultravisor_abi::ReportKind;

macro_rules! words {
    ($($word:ident => $meaning:ident { $($variant:ident),* })*) => {$(
        #[doc = concat!("[`", stringify!($meaning), "`] as a file writes it.")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
        #[expect(missing_docs, reason = "documented at the enum that they stand for")]
        pub enum $word { $($variant),* }

        impl From<$word> for $meaning {
            fn from(word: $word) -> Self {
                match word { $($word::$variant => Self::$variant),* }
            }
        }
    )*};
}

words! {
    RingsWord => Rings { Together, Apart }
    WaitsWord => Waits { Polling, Interrupts }
    OrderWord => Order { Sequential, Random }
    PlacementWord => Placement { OwnUnit, Neighbour, BesideSecret, Heap }
    VirtioWord => Virtio {
        PerBufferXen, PerQueue, PerBufferArch, PerBufferPlatform, PerBufferFlag, PerMappingQuirk,
        OwnOps, HookedOps, IdentityOrFail
    }
    OpsWord => Ops {
        Iommu, Swiotlb, SwiotlbMapped, SwiotlbOverIommu, LimitedRange, RestrictedPool,
        ShareInPlace, DataDirect, PayloadDirect
    }
    Bit33Word => Bit33 { Never, IfOffered, IfSecure }
    TceWord => Tce { Single, Indirect, IndirectUnshared }
    SwitchWord => Switch { BeforeProbe, AfterProbe, Forgetful }
    KexecWord => Kexec { Never, Reset, Live }
    PartWord => Part { Desc, Avail, Used, Indirect, Header, Data, Status, Hypercall }
    DirectionWord => Direction { Read, Write }
    ReportWord => ReportKind { Failed, Refused, Mismatch }
    StateWord => PageState {
        Normal, Secure, PagedOut, Shared, SharedInv, HvSharing, HvShared, HvSharedInv,
        HvUnsharing, HvUnsharingInv, HvUnshared
    }
}
