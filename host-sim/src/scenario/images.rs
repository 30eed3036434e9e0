//! Guest images as scenarios see them: the one place where the front end asks what an image is.

use super::codes::Code;
use crate::image::{Image, ImageError, Limits, builtin};
use std::sync::Arc;

/// The built-in guest's bytes: what slof's boot disk holds.
pub fn builtin() -> Arc<[u8]> {
    builtin::GUEST.into()
}

/// What is wrong with `bytes` as an image for a guest with `memory_bytes` of RAM, and what to do.
pub fn faults(bytes: &[u8], memory_bytes: u64) -> Vec<(Code, String, &'static str)> {
    let errors = Image::parse(bytes, &Limits::guest(memory_bytes)).err().unwrap_or_default();
    let told = |error: &ImageError| (Code(error.rule.code()), error.to_string(), error.rule.act());
    errors.iter().map(told).collect()
}
