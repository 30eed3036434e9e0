//! Guest images as scenarios see them: the one place where the front end asks what an image is.

use super::codes::Code;
use super::plan::{Boot, ImagePlan};
use crate::image::{self, Announced, Image, ImageError, Limits, Protocol, builtin};
use std::sync::Arc;

/// The built-in guest's bytes: what slof's boot disk holds.
pub fn builtin() -> Arc<[u8]> {
    builtin::GUEST.into()
}

/// How `image` wants to be started, if it says so. What is built in does not.
pub fn announced(image: &ImagePlan) -> Option<Announced> {
    match image {
        ImagePlan::Builtin => None,
        ImagePlan::File { bytes, .. } => image::announced(bytes),
    }
}

/// Whether something is wrong with `image` as one that starts so, whatever memory there is.
pub fn is_broken(image: &ImagePlan, boot: Boot) -> bool {
    match image {
        ImagePlan::Builtin => false,
        ImagePlan::File { bytes, .. } => end(bytes, boot.protocol(), u64::MAX).is_err(),
    }
}

/// Where `bytes` ends in the memory of a guest with `memory_bytes` of RAM, or what is wrong with it as
/// an image that is started by `protocol`, and what to do.
///
/// # Errors
/// One code, sentence and advice for each rule that is broken.
pub fn end(
    bytes: &[u8],
    protocol: Protocol,
    memory_bytes: u64,
) -> Result<u64, Vec<(Code, String, &'static str)>> {
    let told = |error: &ImageError| (Code(error.rule.code()), error.to_string(), error.rule.act());
    let image = Image::parse(bytes, &Limits::of(protocol, memory_bytes));
    image.map(|image| image.end()).map_err(|errors| errors.iter().map(told).collect())
}
