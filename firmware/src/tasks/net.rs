//! Network work: frames sent, and frames that must come back as they were sent.
//!
//! A peer that echoes also sends back the frames of [`NetOp::Transmit`], for which nobody waits:
//! they arrive at the next [`NetOp::Echo`], before its own, and are skipped.

use crate::calls::Trouble;
use crate::pattern::{frame, is_frame};
use crate::virtio::net::Card;
use crate::workload::NetOp;
use core::ops::Range;

/// Does those of `ops` on `card` that are in `steps`. Frames are numbered over all of them.
///
/// # Errors
/// The card's troubles; mismatch `net-echo` if another frame came back than was sent.
#[inline(never)] // a frame of its own in call chains
pub fn run(
    ops: &[Option<NetOp>],
    steps: Range<usize>,
    seed: u64,
    card: &mut Card,
) -> Result<(), Trouble> {
    let mut number = 0;
    // The first frame that may still come back.
    let mut awaited = 0;
    for (step, op) in ops.iter().flatten().enumerate().take(steps.end) {
        let (frames, bytes, echo) = match *op {
            NetOp::Transmit { frames, bytes } => (frames, bytes as usize, false),
            NetOp::Echo { frames, bytes } => (frames, bytes as usize, true),
        };
        for _ in 0..frames {
            match (step >= steps.start, echo) {
                (true, true) => one_echo(card, seed, awaited..number, bytes)?,
                (true, false) => card.send(bytes, |out| frame(seed, number, out))?,
                // An earlier kernel did it.
                (false, _) => (),
            }
            if echo {
                awaited = number + 1;
            }
            number += 1;
        }
    }
    Ok(())
}

/// Sends the frame behind those numbered `earlier`, and waits until it comes back. Earlier ones may
/// come first, in order; some may have been lost.
fn one_echo(
    card: &mut Card,
    seed: u64,
    mut earlier: Range<u64>,
    bytes: usize,
) -> Result<(), Trouble> {
    let number = earlier.end;
    let mut posted = card.post_receive()?;
    card.send(bytes, |out| frame(seed, number, out))?;
    loop {
        let back = card.received(posted)?;
        if back.len() == bytes && is_frame(seed, number, back) {
            return Ok(());
        }
        // `find` also takes what lies before it out of the range.
        earlier.find(|sent| is_frame(seed, *sent, back)).ok_or(Trouble::mismatch("net-echo"))?;
        posted = card.post_receive()?;
    }
}
