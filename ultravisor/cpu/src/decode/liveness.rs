//! Flags that nobody reads are not computed.
//!
//! A writer is quieted only if, before anything can leave the block or read them, all flags that
//! it writes are written again: so at every point where a run can end, the flags are right. Uops
//! between a quieted writer and the next are marked as not exact, so that a budget does not
//! end there.

use super::{ALL_FLAGS, Lowered};
use crate::blocks::UOPS_MAX;
use crate::uop::note;

pub(super) fn drop_dead_flags(block: &mut [Lowered]) {
    let mut live = ALL_FLAGS;
    let mut quieted = [false; UOPS_MAX];
    for (lowered, quieted) in block.iter_mut().zip(&mut quieted).rev() {
        if let Some(quiet) = lowered.quiet
            && lowered.writes != 0
            && lowered.writes & live == 0
        {
            lowered.uop.run = quiet;
            *quieted = true;
        }
        live = (live & !lowered.writes) | lowered.reads;
        if lowered.exits {
            live = ALL_FLAGS;
        }
    }
    let mut stale = 0;
    for (lowered, quieted) in block.iter_mut().zip(quieted) {
        if stale == 0 {
            lowered.uop.notes |= note::EXACT;
        }
        stale = if quieted { stale | lowered.writes } else { stale & !lowered.writes };
    }
}
