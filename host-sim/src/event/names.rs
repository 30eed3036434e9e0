//! The abi's and the ultravisor's enums in the log: written and read by their names.
//!
//! Those crates know nothing of serde, so each enum gets a `with` module here.

use serde::Deserialize;
use std::borrow::Cow;

/// A name, taken from the text without a copy where that can be.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

macro_rules! by_name {
    ($module:ident, $ty:ty, $all:expr, $name:expr) => {
        pub mod $module {
            use serde::de::Error;
            use serde::{Deserialize, Deserializer, Serializer};

            pub fn serialize<S: Serializer>(value: &$ty, out: S) -> Result<S::Ok, S::Error> {
                let name: fn(&$ty) -> &'static str = $name;
                out.serialize_str(name(value))
            }

            pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<$ty, D::Error> {
                let name: fn(&$ty) -> &'static str = $name;
                let text = super::Name::deserialize(from)?.0;
                $all.iter().copied().find(|value| name(value) == text).ok_or_else(|| {
                    D::Error::custom(format!("no such {}: {text}", stringify!($module)))
                })
            }
        }
    };
}

/// Bytes as lower-case hex.
pub mod hex {
    use super::{Deserialize, Name};
    use data_encoding::HEXLOWER;
    use serde::de::Error;
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&HEXLOWER.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        HEXLOWER.decode(Name::deserialize(from)?.0.as_bytes()).map_err(D::Error::custom)
    }
}

by_name!(ucall, ultravisor_abi::Ucall, ultravisor_abi::Ucall::ALL, |c| c.name());
by_name!(hcall, ultravisor_abi::Hcall, ultravisor_abi::Hcall::ALL, |c| c.name());
by_name!(ustatus, ultravisor_abi::UStatus, ultravisor_abi::UStatus::ALL, |c| c.name());
by_name!(hstatus, ultravisor_abi::HStatus, ultravisor_abi::HStatus::ALL, |c| c.name());
by_name!(page_state, ultravisor::PageState, ultravisor::PageState::ALL, |c| c.name());
by_name!(page_op, ultravisor::PageOp, ultravisor::PageOp::ALL, |c| c.name());
by_name!(effect, ultravisor::Effect, ultravisor::Effect::ALL, |c| c.name());
by_name!(life, ultravisor::Life, ultravisor::Life::ALL, |c| c.name());
by_name!(caller, ultravisor_abi::ucall::Caller, ultravisor_abi::ucall::Caller::ALL, |c| c.name());
by_name!(report, ultravisor_abi::ReportKind, ultravisor_abi::ReportKind::ALL, |c| c.name());
