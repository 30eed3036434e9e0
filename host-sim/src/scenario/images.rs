//! Guest images as scenarios see them: the one place where the front end asks what an image is.

use super::codes::Code;
use crate::image::{Image, ImageError, Limits, builtin};
use std::sync::Arc;

/// The built-in guest's bytes: what slof's boot disk holds.
pub fn builtin() -> Arc<[u8]> {
    builtin::GUEST.into()
}

/// What is wrong with `bytes` as an image for a guest with `memory_bytes` of RAM.
pub fn faults(bytes: &[u8], memory_bytes: u64) -> Vec<(Code, String)> {
    match Image::parse(bytes, &Limits::guest(memory_bytes)) {
        Ok(_) => Vec::new(),
        Err(errors) => {
            errors.iter().map(|error| (Code(error.rule.code()), sentence(error))).collect()
        }
    }
}

/// What is wrong, without the code, which is shown beside it.
fn sentence(error: &ImageError) -> String {
    let place =
        error.program_header.map_or_else(String::new, |at| format!("program header {at}: "));
    format!("{place}{} (found {:#x})", error.rule.sentence(), error.found)
}
