//! Entropy work: random bytes asked for and looked at.

use crate::calls::Trouble;
use crate::heap::own_units;
use crate::virtio::entropy::Source;

/// From how many bytes on an answer of nothing but zeros is no chance any more (2^-128).
const SURE_BYTES: usize = 16;

/// Asks `requests` times for `bytes` bytes, into a buffer in a unit of its own.
///
/// # Errors
/// The source's troubles; `rng-empty` if an answer has no bytes; mismatch `rng-zeros` if it says
/// that there are bytes where none arrived.
#[inline(never)] // a frame of its own in call chains
pub fn run(requests: u32, bytes: u32, source: &mut Source) -> Result<(), Trouble> {
    let buffer = own_units(bytes as usize);
    for _ in 0..requests {
        buffer.fill(0);
        let answer = source.fill(buffer)?;
        if answer.is_empty() {
            return Err(Trouble::failed("rng-empty"));
        }
        if answer.len() >= SURE_BYTES && answer.iter().all(|byte| *byte == 0) {
            return Err(Trouble::mismatch("rng-zeros"));
        }
    }
    Ok(())
}
