//! Network work: frames sent, and frames that must come back as they were sent.

use crate::calls::Trouble;
use crate::pattern::{frame, is_frame};
use crate::virtio::net::Card;
use crate::workload::NetOp;

/// Does the steps `ops` on `card`. Frames are numbered over all steps.
///
/// # Errors
/// The card's troubles; mismatch `net-echo` if another frame came back than was sent.
#[inline(never)] // a frame of its own in call chains
pub fn run(ops: &[Option<NetOp>], seed: u64, card: &mut Card) -> Result<(), Trouble> {
    let mut number = 0;
    for op in ops.iter().flatten() {
        let (frames, bytes, echo) = match *op {
            NetOp::Transmit { frames, bytes } => (frames, bytes as usize, false),
            NetOp::Echo { frames, bytes } => (frames, bytes as usize, true),
        };
        for _ in 0..frames {
            if echo {
                one_echo(card, seed, number, bytes)?;
            } else {
                card.send(bytes, |out| frame(seed, number, out))?;
            }
            number += 1;
        }
    }
    Ok(())
}

fn one_echo(card: &mut Card, seed: u64, number: u64, bytes: usize) -> Result<(), Trouble> {
    let posted = card.post_receive()?;
    card.send(bytes, |out| frame(seed, number, out))?;
    let back = card.received(posted)?;
    if back.len() == bytes && is_frame(seed, number, back) {
        Ok(())
    } else {
        Err(Trouble::mismatch("net-echo"))
    }
}
