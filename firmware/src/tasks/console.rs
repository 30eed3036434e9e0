//! Console work: lines of text.

use crate::calls::Trouble;
use crate::heap::own_units;
use crate::pattern::{CONSOLE_LINE_BYTES, console_line};
use crate::virtio::console::Console;

/// Writes `lines` lines from a buffer in a unit of its own.
///
/// # Errors
/// The console's troubles.
#[inline(never)] // a frame of its own in call chains
pub fn run(lines: u32, seed: u64, console: &mut Console) -> Result<(), Trouble> {
    let buffer = own_units(CONSOLE_LINE_BYTES);
    for number in 0..lines {
        buffer.copy_from_slice(&console_line(seed, number));
        console.write(buffer)?;
    }
    Ok(())
}
